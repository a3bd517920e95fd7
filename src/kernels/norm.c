/* norm.c - RMS and L2 norms of heads, vectorised. Owns: nothing. Contract: kernels.h. */
#include "kernels_impl.h"
#include "vecmath.h"

NATSL_CLONES void natsl_kernel_rms_norm(size_t m, size_t heads, size_t d, const float *x, size_t ldx, const float *w,
                                        float eps, float *y, size_t ldy)
{
    for (size_t i = 0; i < m; ++i) {
        for (size_t h = 0; h < heads; ++h) {
            const float *xi = x + i * ldx + h * d;
            float *yi = y + i * ldy + h * d;
            float inv = 1.0f / sqrtf(natsl_sum_squares(xi, d) / (float)d + eps);
#pragma omp simd
            for (size_t j = 0; j < d; ++j) yi[j] = xi[j] * inv * w[j];
        }
    }
}

NATSL_CLONES void natsl_kernel_l2_norm(size_t m, size_t heads, size_t d, const float *x, size_t ldx, float scale,
                                       float *y, size_t ldy)
{
    for (size_t i = 0; i < m; ++i) {
        for (size_t h = 0; h < heads; ++h) {
            const float *xi = x + i * ldx + h * d;
            float *yi = y + i * ldy + h * d;
            float factor = scale / sqrtf(natsl_sum_squares(xi, d) + 1e-6f);
#pragma omp simd
            for (size_t j = 0; j < d; ++j) yi[j] = xi[j] * factor;
        }
    }
}
