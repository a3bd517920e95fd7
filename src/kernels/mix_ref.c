/* mix_ref.c - norms, gates and mixing of the two operations' outputs, plain. Contract: kernels.h. Source: oracle.py
 * mixer (after the two operations), attention (output gate), rms_norm, softmax, silu. */
#include "kernels_impl.h"

#include <math.h>

static double root_mean_square(const float *x, size_t d, float eps)
{
    double s = 0.0;
    for (size_t j = 0; j < d; ++j) s += (double)x[j] * (double)x[j];
    return sqrt(s / (double)d + (double)eps);
}

static double silu(double x) { return x * 0.5 * (1.0 + tanh(0.5 * x)); }

void natsl_kernel_gated_norm_ref(size_t m, size_t heads, size_t d, const float *o, size_t ldo, const float *w,
                                 float eps, const float *gate, size_t ldg, float *y, size_t ldy)
{
    for (size_t i = 0; i < m; ++i) {
        for (size_t h = 0; h < heads; ++h) {
            double root = root_mean_square(o + i * ldo + h * d, d, eps);
            for (size_t j = 0; j < d; ++j) {
                double v = (double)o[i * ldo + h * d + j] / root * (double)w[j];
                y[i * ldy + h * d + j] = (float)(gate == NULL ? v : v * silu((double)gate[i * ldg + h * d + j]));
            }
        }
    }
}

void natsl_kernel_nats_mix_ref(size_t m, size_t v_heads, size_t dv, size_t a_heads, size_t dva, const float *o,
                               size_t ldo, const float *oa, size_t ldoa, const float *w1, const float *w2, float eps,
                               const float *mix, size_t ldmix, const float *gate, size_t ldg, float *y, size_t ldy)
{
    size_t d1 = mix != NULL ? dva : dv; /* width of the delta rule's heads as the norm sees them */
    for (size_t i = 0; i < m; ++i) {
        double root2 = 0.0;
        for (size_t h = 0; h < v_heads * dv / d1; ++h) {
            double root1 = root_mean_square(o + i * ldo + h * d1, d1, eps);
            for (size_t j = 0; j < d1; ++j) {
                size_t c = h * d1 + j, ha = c / dva;
                if (c % dva == 0) root2 = root_mean_square(oa + i * ldoa + c, dva, eps); /* a head begins */
                double v1 = (double)o[i * ldo + c] / root1 * (double)w1[j];
                double v2 = (double)oa[i * ldoa + c] / root2 * (double)w2[c - ha * dva];
                if (mix == NULL) {
                    y[i * ldy + c] = (float)(v1 + v2);
                    continue;
                }
                double s1 = (double)mix[i * ldmix + 2 * ha], s2 = (double)mix[i * ldmix + 2 * ha + 1];
                double p1 = 1.0 / (1.0 + exp(s2 - s1)), p2 = 1.0 / (1.0 + exp(s1 - s2));
                y[i * ldy + c] = (float)((p1 * v1 + p2 * v2) * silu((double)gate[i * ldg + c]));
            }
        }
    }
    (void)a_heads;
}

void natsl_kernel_sigmoid_gate_ref(size_t m, size_t heads, size_t d, const float *o, size_t ldo, const float *gate,
                                   size_t ldg, size_t step, float *y, size_t ldy)
{
    for (size_t i = 0; i < m; ++i) {
        for (size_t h = 0; h < heads; ++h) {
            for (size_t j = 0; j < d; ++j) {
                double g = 0.5 * (1.0 + tanh(0.5 * (double)gate[i * ldg + h * step + j]));
                y[i * ldy + h * d + j] = (float)((double)o[i * ldo + h * d + j] * g);
            }
        }
    }
}
