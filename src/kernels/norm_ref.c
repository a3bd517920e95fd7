/* norm_ref.c - RMS and L2 norms of heads, plain. Contract: kernels.h. Source: oracle.py rms_norm, l2_norm. */
#include "kernels_impl.h"

#include <math.h>

static double sum_squares(const float *x, size_t d)
{
    double s = 0.0;
    for (size_t j = 0; j < d; ++j) s += (double)x[j] * (double)x[j];
    return s;
}

void natsl_kernel_rms_norm_ref(size_t m, size_t heads, size_t d, const float *x, size_t ldx, const float *w, float eps,
                               float *y, size_t ldy)
{
    for (size_t i = 0; i < m; ++i) {
        for (size_t h = 0; h < heads; ++h) {
            const float *xi = x + i * ldx + h * d;
            double root = sqrt(sum_squares(xi, d) / (double)d + (double)eps);
            for (size_t j = 0; j < d; ++j) y[i * ldy + h * d + j] = (float)((double)xi[j] / root * (double)w[j]);
        }
    }
}

void natsl_kernel_l2_norm_ref(size_t m, size_t heads, size_t d, const float *x, size_t ldx, float scale, float *y,
                              size_t ldy)
{
    for (size_t i = 0; i < m; ++i) {
        for (size_t h = 0; h < heads; ++h) {
            const float *xi = x + i * ldx + h * d;
            double root = sqrt(sum_squares(xi, d) + 1e-6);
            for (size_t j = 0; j < d; ++j) y[i * ldy + h * d + j] = (float)((double)scale * (double)xi[j] / root);
        }
    }
}
