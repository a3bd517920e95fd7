/* linear_grad_ref.c - gradients of y = x W^T, plain. Contract: kernels.h. Source: the product rule. */
#include "kernels_impl.h"

void natsl_kernel_linear_grad_w_ref(size_t m, size_t n, size_t k, const float *dy, size_t lddy, const float *x,
                                    size_t ldx, float *dw, size_t lddw)
{
    for (size_t j = 0; j < n; ++j) {
        for (size_t l = 0; l < k; ++l) {
            double s = (double)dw[j * lddw + l];
            for (size_t i = 0; i < m; ++i) s += (double)dy[i * lddy + j] * (double)x[i * ldx + l];
            dw[j * lddw + l] = (float)s;
        }
    }
}
