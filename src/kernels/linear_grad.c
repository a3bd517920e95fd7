/* linear_grad.c - gradient of y = x W^T by W, by small products. Owns: nothing. Contract: kernels.h.
 * Blocks of dw small enough to stay in the first-level cache while all rows go by: it is read and written once. */
#include "kernels_impl.h"

enum { INPUTS = 64, ROWS = 256 };

void natsl_kernel_linear_grad_w(size_t m, size_t n, size_t k, const float *dy, size_t lddy, const float *x, size_t ldx,
                                float *dw, size_t lddw)
{
    for (size_t l = 0, width; l < k; l += width) {
        width = k - l < 2 * INPUTS ? k - l : INPUTS; /* no narrow rest */
        for (size_t i = 0; i < m; i += ROWS) /* a tile of rows at a time: sums of sums lose less than one long chain */
            natsl_gemm(NATSL_T, NATSL_N, n, width, m - i < ROWS ? m - i : ROWS, dy + i * lddy, lddy, x + i * ldx + l,
                       ldx, 1.0f, dw + l, lddw);
    }
}
