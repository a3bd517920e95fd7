/* mix.c - norms, gates and mixing of the two operations' outputs, each in one pass per head. Owns: nothing.
 * Contract: kernels.h. */
#include "kernels_impl.h"
#include "vecmath.h"

NATSL_INLINE float inverse_rms(const float *x, size_t d, float eps)
{
    return 1.0f / sqrtf(natsl_sum_squares(x, d) / (float)d + eps);
}

NATSL_CLONES void natsl_kernel_gated_norm(size_t m, size_t heads, size_t d, const float *o, size_t ldo, const float *w,
                                          float eps, const float *gate, size_t ldg, float *y, size_t ldy)
{
    if (gate == NULL) {
        natsl_kernel_rms_norm(m, heads, d, o, ldo, w, eps, y, ldy);
        return;
    }
    for (size_t i = 0; i < m; ++i) {
        for (size_t h = 0; h < heads; ++h) {
            const float *oi = o + i * ldo + h * d, *gi = gate + i * ldg + h * d;
            float *yi = y + i * ldy + h * d;
            float inv = inverse_rms(oi, d, eps);
#pragma omp simd
            for (size_t j = 0; j < d; ++j) yi[j] = oi[j] * inv * w[j] * natsl_siluf(gi[j]);
        }
    }
}

/* One row, weighted and gated: heads of attention on both sides. */
NATSL_INLINE void mix_gated(size_t heads, size_t d, const float *o, const float *oa, const float *w1, const float *w2,
                            float eps, const float *mix, const float *gate, float *y)
{
    for (size_t h = 0; h < heads; ++h) {
        const float *oh = o + h * d, *ah = oa + h * d, *gh = gate + h * d;
        float *yh = y + h * d;
        float diff = mix[2 * h] - mix[2 * h + 1]; /* softmax of a pair: sigmoids of +- the difference */
        float p1 = inverse_rms(oh, d, eps) * natsl_sigmoidf(diff);
        float p2 = inverse_rms(ah, d, eps) * natsl_sigmoidf(-diff);
#pragma omp simd
        for (size_t j = 0; j < d; ++j) yh[j] = (oh[j] * p1 * w1[j] + ah[j] * p2 * w2[j]) * natsl_siluf(gh[j]);
    }
}

/* One row, plain sum of the two norms: the two sides are cut into heads of different width. */
NATSL_INLINE void mix_plain(size_t v_heads, size_t dv, size_t a_heads, size_t dva, const float *o, const float *oa,
                            const float *w1, const float *w2, float eps, float *y)
{
    for (size_t h = 0; h < v_heads; ++h) {
        const float *oh = o + h * dv;
        float *yh = y + h * dv;
        float inv = inverse_rms(oh, dv, eps);
#pragma omp simd
        for (size_t j = 0; j < dv; ++j) yh[j] = oh[j] * inv * w1[j];
    }
    for (size_t h = 0; h < a_heads; ++h) {
        const float *ah = oa + h * dva;
        float *yh = y + h * dva;
        float inv = inverse_rms(ah, dva, eps);
#pragma omp simd
        for (size_t j = 0; j < dva; ++j) yh[j] += ah[j] * inv * w2[j];
    }
}

NATSL_CLONES void natsl_kernel_nats_mix(size_t m, size_t v_heads, size_t dv, size_t a_heads, size_t dva, const float *o,
                                        size_t ldo, const float *oa, size_t ldoa, const float *w1, const float *w2,
                                        float eps, const float *mix, size_t ldmix, const float *gate, size_t ldg,
                                        float *y, size_t ldy)
{
    for (size_t i = 0; i < m; ++i) {
        if (mix != NULL)
            mix_gated(a_heads, dva, o + i * ldo, oa + i * ldoa, w1, w2, eps, mix + i * ldmix, gate + i * ldg,
                      y + i * ldy);
        else mix_plain(v_heads, dv, a_heads, dva, o + i * ldo, oa + i * ldoa, w1, w2, eps, y + i * ldy);
    }
}

NATSL_CLONES void natsl_kernel_sigmoid_gate(size_t m, size_t heads, size_t d, const float *o, size_t ldo,
                                            const float *gate, size_t ldg, size_t step, float *y, size_t ldy)
{
    for (size_t i = 0; i < m; ++i) {
        for (size_t h = 0; h < heads; ++h) {
            const float *oi = o + i * ldo + h * d, *gi = gate + i * ldg + h * step;
            float *yi = y + i * ldy + h * d;
#pragma omp simd
            for (size_t j = 0; j < d; ++j) yi[j] = oi[j] * natsl_sigmoidf(gi[j]);
        }
    }
}
