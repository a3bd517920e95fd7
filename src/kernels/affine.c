/* affine.c - the map of a span of tokens applied to a state, or to another span's map: one product. Contract: kernels.h. */
#include "kernels_impl.h"

#include <string.h>

void natsl_kernel_affine(size_t dk, size_t n, const float *a, const float *x, size_t ldx, const float *b, size_t ldb,
                         float *y, size_t ldy)
{
    if (b != NULL && b != y) {
        for (size_t i = 0; i < dk; ++i) memcpy(y + i * ldy, b + i * ldb, n * sizeof *y);
    }
    natsl_gemm(NATSL_N, NATSL_N, dk, n, dk, a, dk, x, ldx, b != NULL ? 1.0f : 0.0f, y, ldy);
}
