/* mix_grad_ref.c - gradients of norms, gates and mixing of the two operations' outputs, and of the feed-forward activation,
 * plain. Contract: kernels.h. Source: oracle_grad.py mixer, forward. */
#include "kernels_impl.h"

#include <math.h>

static double sigmoid(double x) { return 0.5 * (1.0 + tanh(0.5 * x)); }
static double silu(double x) { return x * sigmoid(x); }
static double silu_slope(double x) { return sigmoid(x) * (1.0 + x * (1.0 - sigmoid(x))); }

static double inverse_rms(const float *x, size_t d, float eps)
{
    double s = 0.0;
    for (size_t j = 0; j < d; ++j) s += (double)x[j] * (double)x[j];
    return 1.0 / sqrt(s / (double)d + (double)eps);
}

/* One head normed and weighed: n = x r w, used as weight * n * silu(gate) with gradient dy. `along` is the sum of
 * dy silu(gate) n. dx may be dy. */
static void head(size_t d, double weight, double along, const float *x, double r, const float *w, const float *gate,
                 const float *dy, float *dx, float *dw)
{
    for (size_t j = 0; j < d; ++j) {
        double n = (double)x[j] * r, g = weight * (double)dy[j] * (gate ? silu((double)gate[j]) : 1.0);
        dw[j] = (float)((double)dw[j] + g * n);
        dx[j] = (float)(r * (g * (double)w[j] - n * weight * along / (double)d));
    }
}

static double along_of(size_t d, const float *x, double r, const float *w, const float *gate, const float *dy)
{
    double s = 0.0;
    for (size_t j = 0; j < d; ++j)
        s += (double)dy[j] * (gate ? silu((double)gate[j]) : 1.0) * (double)x[j] * r * (double)w[j];
    return s;
}

void natsl_kernel_gated_norm_grad_ref(size_t m, size_t heads, size_t d, const float *o, size_t ldo, const float *w,
                                      float eps, const float *gate, size_t ldg, const float *dy, size_t lddy,
                                      float *d_o, size_t lddo, float *dgate, size_t lddg, float *dw)
{
    for (size_t i = 0; i < m; ++i) {
        for (size_t h = 0; h < heads; ++h) {
            const float *x = o + i * ldo + h * d, *gi = gate ? gate + i * ldg + h * d : NULL;
            const float *dyi = dy + i * lddy + h * d;
            double r = inverse_rms(x, d, eps), along = along_of(d, x, r, w, gi, dyi);
            for (size_t j = 0; gi && j < d; ++j)
                dgate[i * lddg + h * d + j] =
                    (float)((double)dyi[j] * (double)x[j] * r * (double)w[j] * silu_slope((double)gi[j]));
            head(d, 1.0, along, x, r, w, gi, dyi, d_o + i * lddo + h * d, dw);
        }
    }
}

void natsl_kernel_nats_mix_grad_ref(size_t m, size_t v_heads, size_t dv, size_t a_heads, size_t dva, const float *o,
                                    size_t ldo, const float *oa, size_t ldoa, const float *w1, const float *w2,
                                    float eps, const float *mix, size_t ldmix, const float *gate, size_t ldg,
                                    const float *dy, size_t lddy, float *d_o, size_t lddo, float *d_oa, size_t lddoa,
                                    float *dmix, size_t lddmix, float *dgate, size_t lddg, float *dw1, float *dw2)
{
    for (size_t i = 0; i < m; ++i) {
        for (size_t h = 0; mix == NULL && h < v_heads; ++h) {
            const float *x = o + i * ldo + h * dv, *g = dy + i * lddy + h * dv;
            double r = inverse_rms(x, dv, eps);
            head(dv, 1.0, along_of(dv, x, r, w1, NULL, g), x, r, w1, NULL, g, d_o + i * lddo + h * dv, dw1);
        }
        for (size_t h = 0; h < a_heads; ++h) {
            const float *x2 = oa + i * ldoa + h * dva, *g = dy + i * lddy + h * dva;
            double r2 = inverse_rms(x2, dva, eps);
            if (mix == NULL) {
                head(dva, 1.0, along_of(dva, x2, r2, w2, NULL, g), x2, r2, w2, NULL, g, d_oa + i * lddoa + h * dva,
                     dw2);
                continue;
            }
            const float *x1 = o + i * ldo + h * dva, *gi = gate + i * ldg + h * dva;
            double r1 = inverse_rms(x1, dva, eps);
            double p1 = sigmoid((double)mix[i * ldmix + 2 * h] - (double)mix[i * ldmix + 2 * h + 1]), p2 = 1.0 - p1;
            double a1 = along_of(dva, x1, r1, w1, gi, g), a2 = along_of(dva, x2, r2, w2, gi, g);
            dmix[i * lddmix + 2 * h] = (float)(p1 * p2 * (a1 - a2));
            dmix[i * lddmix + 2 * h + 1] = (float)(p1 * p2 * (a2 - a1));
            for (size_t j = 0; j < dva; ++j) {
                double both = p1 * (double)x1[j] * r1 * (double)w1[j] + p2 * (double)x2[j] * r2 * (double)w2[j];
                dgate[i * lddg + h * dva + j] = (float)((double)g[j] * both * silu_slope((double)gi[j]));
            }
            head(dva, p1, a1, x1, r1, w1, gi, g, d_o + i * lddo + h * dva, dw1);
            head(dva, p2, a2, x2, r2, w2, gi, g, d_oa + i * lddoa + h * dva, dw2);
        }
    }
}

void natsl_kernel_swiglu_grad_ref(size_t m, size_t n, const float *gu, size_t ldgu, const float *dy, size_t lddy,
                                  float *dgu, size_t lddgu, float *y, size_t ldy)
{
    for (size_t i = 0; i < m; ++i) {
        for (size_t j = 0; j < n; ++j) {
            double g = (double)gu[i * ldgu + j], u = (double)gu[i * ldgu + n + j], d = (double)dy[i * lddy + j];
            dgu[i * lddgu + j] = (float)(d * u * silu_slope(g));
            dgu[i * lddgu + n + j] = (float)(d * silu(g));
            y[i * ldy + j] = (float)(silu(g) * u);
        }
    }
}
