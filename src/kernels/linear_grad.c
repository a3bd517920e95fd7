/* linear_grad.c - gradients of y = x W^T by small products. Owns: nothing. Contract: kernels.h.
 * dx sums over outputs, panel after panel in their order; a panel [k][width] has to be turned over for it, 64 inputs at a
 * time, which is little work beside the product of a tile of rows with it. */
#include "kernels_impl.h"
#include "vecmath.h"

enum { INPUTS = 64, ROWS = 256 };

void natsl_kernel_linear_grad_x(size_t m, const natsl_matrix *w, size_t l0, size_t l1, const float *dy, size_t lddy,
                                float *dx, size_t lddx, int accumulate, float *scratch)
{
    float *over = scratch, *wide = scratch + (size_t)INPUTS * NATSL_PANEL_MOST; /* [width, inputs]; [inputs, width] */
    for (size_t l = l0; l < l1; l += INPUTS) {
        const size_t k = l1 - l < INPUTS ? l1 - l : INPUTS;
        for (size_t p = 0; p < natsl_panels(w->n); ++p) {
            const size_t j = p * NATSL_PANEL, width = natsl_panel_end(w->n, p) - j;
            const void *panel = natsl_panel_data(w, p);
            const float *rows = (const float *)panel + l * width;
            if (w->type == NATSL_BF16) {
                natsl_widen(k * width, (const uint16_t *)panel + l * width, wide);
                rows = wide;
            }
            natsl_transpose(k, width, rows, width, over, k);
            natsl_gemm(NATSL_N, NATSL_N, m, k, width, dy + j, lddy, over, k, accumulate || p > 0 ? 1.0f : 0.0f,
                       dx + (l - l0), lddx);
        }
    }
}

void natsl_kernel_linear_grad_w(size_t m, size_t n, size_t k, const float *dy, size_t lddy, const float *x, size_t ldx,
                                float *dw, size_t lddw)
{
    for (size_t i = 0; i < m; i += ROWS) /* a tile of rows at a time: sums of sums lose less than one long chain */
        natsl_gemm(NATSL_T, NATSL_N, n, k, m - i < ROWS ? m - i : ROWS, dy + i * lddy, lddy, x + i * ldx, ldx, 1.0f, dw,
                   lddw);
}
