/* embed.c - rows of the embedding table, gathered from its panels. A row's elements lie a panel's width apart: a cache line each,
 * once per token and not per layer, which is little beside the token's products. Owns: nothing. Contract: kernels.h. */
#include "kernels_impl.h"

void natsl_kernel_embed(size_t m, const natsl_matrix *table, const int32_t *ids, float *y, size_t ldy)
{
    const size_t d = table->k;
    for (size_t i = 0; i < m && d > 0; ++i) {
        const size_t at = natsl_matrix_at(table->n, d, (size_t)ids[i], 0);
        const size_t step = d > 1 ? natsl_matrix_at(table->n, d, (size_t)ids[i], 1) - at : 0;
        if (table->type == NATSL_BF16) {
            const uint16_t *from = (const uint16_t *)table->data + at;
            for (size_t l = 0; l < d; ++l) y[i * ldy + l] = natsl_from_bf16(from[l * step]);
        } else {
            const float *from = (const float *)table->data + at;
            for (size_t l = 0; l < d; ++l) y[i * ldy + l] = from[l * step];
        }
    }
}
