/* mix_grad.c - gradients of norms, gates and mixing of the two operations' outputs, and of the feed-forward activation, in two
 * passes per head. Owns: nothing. Contract: kernels.h; formulas: mix_grad_ref.c. */
#include "kernels_impl.h"
#include "vecmath.h"

NATSL_INLINE float inverse_rms(const float *x, size_t d, float eps)
{
    return 1.0f / sqrtf(natsl_sum_squares(x, d) / (float)d + eps);
}

/* silu(x) = x s and its slope s (1 + x (1 - s)); e^-|x| gives s and 1 - s without cancellation. */
NATSL_INLINE float silu_and_slope(float x, float *slope)
{
    float e = natsl_expf_nonpos(-fabsf(x)), inv = 1.0f / (1.0f + e);
    float s = (x < 0.0f ? e : 1.0f) * inv, not_s = (x < 0.0f ? 1.0f : e) * inv;
    *slope = s * (1.0f + x * not_s);
    return x * s;
}

/* Sum of dy silu(gate) w x. */
NATSL_INLINE float along_gated(size_t d, const float *x, const float *w, const float *gate, const float *dy)
{
    float s = 0.0f;
#pragma omp simd reduction(+ : s)
    for (size_t j = 0; j < d; ++j) s += dy[j] * natsl_siluf(gate[j]) * w[j] * x[j];
    return s;
}

NATSL_CLONES void natsl_kernel_gated_norm_grad(size_t m, size_t heads, size_t d, const float *o, size_t ldo,
                                               const float *w, float eps, const float *gate, size_t ldg,
                                               const float *dy, size_t lddy, float *d_o, size_t lddo, float *dgate,
                                               size_t lddg, float *dw)
{
    if (gate == NULL) {
        natsl_kernel_rms_norm_grad(m, heads, d, o, ldo, w, eps, dy, lddy, d_o, lddo, 0, dw);
        return;
    }
    for (size_t i = 0; i < m; ++i) {
        for (size_t h = 0; h < heads; ++h) {
            const float *x = o + i * ldo + h * d, *gi = gate + i * ldg + h * d, *dyi = dy + i * lddy + h * d;
            float *dxi = d_o + i * lddo + h * d, *dgi = dgate + i * lddg + h * d;
            float r = inverse_rms(x, d, eps), back = along_gated(d, x, w, gi, dyi) * r * r / (float)d;
#pragma omp simd
            for (size_t j = 0; j < d; ++j) {
                float slope, open = silu_and_slope(gi[j], &slope), g = dyi[j], n = x[j] * r;
                dgi[j] = g * n * w[j] * slope;
                dw[j] += g * open * n;
                dxi[j] = r * (g * open * w[j] - x[j] * back);
            }
        }
    }
}

NATSL_CLONES static void mix_gated(size_t heads, size_t d, const float *o, const float *oa, const float *w1,
                                   const float *w2, float eps, const float *mix, const float *gate, const float *dy,
                                   float *d_o, float *d_oa, float *dmix, float *dgate, float *dw1, float *dw2)
{
    for (size_t h = 0; h < heads; ++h) {
        const float *x1 = o + h * d, *x2 = oa + h * d, *gh = gate + h * d, *dyh = dy + h * d;
        float *dx1 = d_o + h * d, *dx2 = d_oa + h * d, *dgh = dgate + h * d;
        const float diff = mix[2 * h] - mix[2 * h + 1], p1 = natsl_sigmoidf(diff), p2 = natsl_sigmoidf(-diff);
        const float r1 = inverse_rms(x1, d, eps), r2 = inverse_rms(x2, d, eps);
        const float a1 = along_gated(d, x1, w1, gh, dyh) * r1, a2 = along_gated(d, x2, w2, gh, dyh) * r2;
        const float back1 = p1 * a1 * r1 / (float)d, back2 = p2 * a2 * r2 / (float)d;
        dmix[2 * h] = p1 * p2 * (a1 - a2);
        dmix[2 * h + 1] = p1 * p2 * (a2 - a1);
#pragma omp simd
        for (size_t j = 0; j < d; ++j) {
            float slope, open = silu_and_slope(gh[j], &slope), g = dyh[j], n1 = x1[j] * r1, n2 = x2[j] * r2;
            dgh[j] = g * (p1 * n1 * w1[j] + p2 * n2 * w2[j]) * slope;
            dw1[j] += g * open * p1 * n1;
            dw2[j] += g * open * p2 * n2;
            dx1[j] = r1 * (g * open * p1 * w1[j] - x1[j] * back1);
            dx2[j] = r2 * (g * open * p2 * w2[j] - x2[j] * back2);
        }
    }
}

void natsl_kernel_nats_mix_grad(size_t m, size_t v_heads, size_t dv, size_t a_heads, size_t dva, const float *o,
                                size_t ldo, const float *oa, size_t ldoa, const float *w1, const float *w2, float eps,
                                const float *mix, size_t ldmix, const float *gate, size_t ldg, const float *dy,
                                size_t lddy, float *d_o, size_t lddo, float *d_oa, size_t lddoa, float *dmix,
                                size_t lddmix, float *dgate, size_t lddg, float *dw1, float *dw2)
{
    if (mix == NULL) {
        natsl_kernel_rms_norm_grad(m, v_heads, dv, o, ldo, w1, eps, dy, lddy, d_o, lddo, 0, dw1);
        natsl_kernel_rms_norm_grad(m, a_heads, dva, oa, ldoa, w2, eps, dy, lddy, d_oa, lddoa, 0, dw2);
        return;
    }
    for (size_t i = 0; i < m; ++i)
        mix_gated(a_heads, dva, o + i * ldo, oa + i * ldoa, w1, w2, eps, mix + i * ldmix, gate + i * ldg, dy + i * lddy,
                  d_o + i * lddo, d_oa + i * lddoa, dmix + i * lddmix, dgate + i * lddg, dw1, dw2);
}

NATSL_CLONES void natsl_kernel_swiglu_grad(size_t m, size_t n, const float *gu, size_t ldgu, const float *dy,
                                           size_t lddy, float *dgu, size_t lddgu, float *y, size_t ldy)
{
    for (size_t i = 0; i < m; ++i) {
        const float *gate = gu + i * ldgu, *up = gate + n, *dyi = dy + i * lddy;
        float *dgate = dgu + i * lddgu, *dup = dgate + n, *yi = y + i * ldy;
#pragma omp simd
        for (size_t j = 0; j < n; ++j) {
            float slope, open = silu_and_slope(gate[j], &slope), g = dyi[j], u = up[j];
            dgate[j] = g * u * slope;
            dup[j] = g * open;
            yi[j] = open * u;
        }
    }
}
