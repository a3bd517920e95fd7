/* embed_ref.c - rows of the embedding table, plain. Contract: kernels.h. Source: oracle.py forward. */
#include "kernels_impl.h"

void natsl_kernel_embed_ref(size_t m, const natsl_matrix *table, const int32_t *ids, float *y, size_t ldy)
{
    for (size_t i = 0; i < m; ++i)
        for (size_t l = 0; l < table->k; ++l) y[i * ldy + l] = natsl_matrix_get(table, (size_t)ids[i], l);
}
