/* linear_ref.c - y = x W^T as a plain triple loop. Contract: kernels.h. Source: oracle.py, every `x @ w.T`. */
#include "kernels_impl.h"

void natsl_kernel_linear_ref(size_t m, size_t n, size_t k, const float *x, size_t ldx, const float *w, float *y,
                             size_t ldy, int accumulate)
{
    for (size_t i = 0; i < m; ++i) {
        for (size_t j = 0; j < n; ++j) {
            double s = accumulate ? (double)y[i * ldy + j] : 0.0;
            for (size_t l = 0; l < k; ++l) s += (double)x[i * ldx + l] * (double)w[j * k + l];
            y[i * ldy + j] = (float)s;
        }
    }
}
