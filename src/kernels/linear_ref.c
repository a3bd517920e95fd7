/* linear_ref.c - y = x W^T as a plain triple loop. Contract: kernels.h. Source: oracle.py, every `x @ w.T`. */
#include "kernels_impl.h"

void natsl_kernel_linear_ref(size_t m, const natsl_matrix *w, size_t p0, size_t p1, const float *x, size_t ldx,
                             float *y, size_t ldy, int accumulate, float *scratch)
{
    (void)scratch;
    if (p0 == p1) return;
    const size_t first = p0 * NATSL_PANEL, last = natsl_panel_end(w->n, p1 - 1);
    for (size_t i = 0; i < m; ++i) {
        for (size_t j = first; j < last; ++j) {
            double s = accumulate ? (double)y[i * ldy + (j - first)] : 0.0;
            for (size_t l = 0; l < w->k; ++l) s += (double)x[i * ldx + l] * (double)natsl_matrix_get(w, j, l);
            y[i * ldy + (j - first)] = (float)s;
        }
    }
}
