/* embed_ref.c - rows of the embedding table, plain. Contract: kernels.h. Source: oracle.py forward. */
#include "kernels_impl.h"

void natsl_kernel_embed_ref(size_t m, size_t d, const int32_t *ids, const float *table, float *y, size_t ldy)
{
    for (size_t i = 0; i < m; ++i)
        for (size_t j = 0; j < d; ++j) y[i * ldy + j] = table[(size_t)ids[i] * d + j];
}
