/* norm_grad.c - gradients of RMS and L2 norms of heads, vectorised. Owns: nothing. Contract: kernels.h; formulas:
 * norm_grad_ref.c. */
#include "kernels_impl.h"
#include "vecmath.h"

NATSL_CLONES void natsl_kernel_rms_norm_grad(size_t m, size_t heads, size_t d, const float *x, size_t ldx,
                                             const float *w, float eps, const float *dy, size_t lddy, float *dx,
                                             size_t lddx, int accumulate, float *dw)
{
    for (size_t i = 0; i < m; ++i) {
        for (size_t h = 0; h < heads; ++h) {
            const float *xi = x + i * ldx + h * d, *dyi = dy + i * lddy + h * d;
            float *dxi = dx + i * lddx + h * d;
            float r = 1.0f / sqrtf(natsl_sum_squares(xi, d) / (float)d + eps), along = 0.0f;
#pragma omp simd reduction(+ : along)
            for (size_t j = 0; j < d; ++j) along += w[j] * dyi[j] * xi[j];
            float back = along * r * r / (float)d;
#pragma omp simd
            for (size_t j = 0; j < d; ++j) dw[j] += dyi[j] * xi[j] * r;
            if (accumulate) {
#pragma omp simd
                for (size_t j = 0; j < d; ++j) dxi[j] += r * (w[j] * dyi[j] - xi[j] * back);
            } else {
#pragma omp simd
                for (size_t j = 0; j < d; ++j) dxi[j] = r * (w[j] * dyi[j] - xi[j] * back);
            }
        }
    }
}

NATSL_CLONES void natsl_kernel_l2_norm_grad(size_t m, size_t heads, size_t d, const float *x, size_t ldx, float scale,
                                            const float *dy, size_t lddy, float *dx, size_t lddx)
{
    for (size_t i = 0; i < m; ++i) {
        for (size_t h = 0; h < heads; ++h) {
            const float *xi = x + i * ldx + h * d, *dyi = dy + i * lddy + h * d;
            float *dxi = dx + i * lddx + h * d;
            float r = 1.0f / sqrtf(natsl_sum_squares(xi, d) + 1e-6f), along = 0.0f;
#pragma omp simd reduction(+ : along)
            for (size_t j = 0; j < d; ++j) along += dyi[j] * xi[j];
            float back = along * r * r, factor = scale * r;
#pragma omp simd
            for (size_t j = 0; j < d; ++j) dxi[j] = factor * (dyi[j] - xi[j] * back);
        }
    }
}
