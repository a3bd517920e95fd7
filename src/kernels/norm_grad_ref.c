/* norm_grad_ref.c - gradients of RMS and L2 norms of heads, plain. Contract: kernels.h.
 * With r = 1 / root and n = x r: d(x r) / dx = r (I - n n^T c), c = 1/d for the root mean square, 1 for the root of the sum. */
#include "kernels_impl.h"

#include <math.h>

static double sum_squares(const float *x, size_t d)
{
    double s = 0.0;
    for (size_t j = 0; j < d; ++j) s += (double)x[j] * (double)x[j];
    return s;
}

void natsl_kernel_rms_norm_grad_ref(size_t m, size_t heads, size_t d, const float *x, size_t ldx, const float *w,
                                    float eps, const float *dy, size_t lddy, float *dx, size_t lddx, int accumulate,
                                    float *dw)
{
    for (size_t i = 0; i < m; ++i) {
        for (size_t h = 0; h < heads; ++h) {
            const float *xi = x + i * ldx + h * d, *dyi = dy + i * lddy + h * d;
            float *dxi = dx + i * lddx + h * d;
            double r = 1.0 / sqrt(sum_squares(xi, d) / (double)d + (double)eps), along = 0.0;
            for (size_t j = 0; j < d; ++j) along += (double)w[j] * (double)dyi[j] * (double)xi[j] * r;
            for (size_t j = 0; j < d; ++j) {
                double n = (double)xi[j] * r, g = (double)dyi[j];
                double v = r * ((double)w[j] * g - n * along / (double)d);
                dxi[j] = (float)(accumulate ? (double)dxi[j] + v : v);
                dw[j] = (float)((double)dw[j] + g * n);
            }
        }
    }
}

void natsl_kernel_l2_norm_grad_ref(size_t m, size_t heads, size_t d, const float *x, size_t ldx, float scale,
                                   const float *dy, size_t lddy, float *dx, size_t lddx)
{
    for (size_t i = 0; i < m; ++i) {
        for (size_t h = 0; h < heads; ++h) {
            const float *xi = x + i * ldx + h * d, *dyi = dy + i * lddy + h * d;
            double r = 1.0 / sqrt(sum_squares(xi, d) + 1e-6), along = 0.0;
            for (size_t j = 0; j < d; ++j) along += (double)dyi[j] * (double)xi[j] * r;
            for (size_t j = 0; j < d; ++j)
                dx[i * lddx + h * d + j] = (float)((double)scale * r * ((double)dyi[j] - (double)xi[j] * r * along));
        }
    }
}
