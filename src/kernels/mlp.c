/* mlp.c - the gated activation of the feed-forward part, vectorised. Owns: nothing. Contract: kernels.h. */
#include "kernels_impl.h"
#include "vecmath.h"

NATSL_CLONES void natsl_kernel_swiglu(size_t m, size_t n, const float *gu, size_t ldgu, float *y, size_t ldy)
{
    for (size_t i = 0; i < m; ++i) {
        const float *gate = gu + i * ldgu, *up = gate + n;
        float *yi = y + i * ldy;
#pragma omp simd
        for (size_t j = 0; j < n; ++j) yi[j] = natsl_siluf(gate[j]) * up[j];
    }
}
