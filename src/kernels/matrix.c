/* matrix.c - into panels, between float32 and bfloat16, and turned over. See matrix.h, kernels.h. Owns: nothing. */
#include "matrix.h"

#include "kernels.h"
#include "vecmath.h"

void natsl_matrix_put(size_t n, size_t k, natsl_storage type, void *data, size_t row, size_t count, const float *rows)
{
    for (size_t j = row; j < row + count; ++j) {
        const float *from = rows + (j - row) * k;
        size_t at = natsl_matrix_at(n, k, j, 0), step = k > 1 ? natsl_matrix_at(n, k, j, 1) - at : 0;
        if (type == NATSL_BF16) {
            uint16_t *to = (uint16_t *)data + at;
            for (size_t l = 0; l < k; ++l) to[l * step] = natsl_to_bf16(from[l]);
        } else {
            float *to = (float *)data + at;
            for (size_t l = 0; l < k; ++l) to[l * step] = from[l];
        }
    }
}

NATSL_CLONES void natsl_widen(size_t n, const uint16_t *from, float *to)
{
#pragma omp simd
    for (size_t i = 0; i < n; ++i) {
        uint32_t bits = (uint32_t)from[i] << 16;
        memcpy(&to[i], &bits, sizeof bits);
    }
}

void natsl_narrow(size_t n, const float *from, uint16_t *to)
{
    for (size_t i = 0; i < n; ++i) to[i] = natsl_to_bf16(from[i]);
}

void natsl_transpose(size_t m, size_t d, const float *x, size_t ldx, float *y, size_t ldy)
{
    enum { SIDE = 16 }; /* 16 x 16 floats: a cache line of each row on both sides */
    for (size_t j0 = 0; j0 < d; j0 += SIDE) {
        size_t j1 = d - j0 < SIDE ? d : j0 + SIDE;
        for (size_t i0 = 0; i0 < m; i0 += SIDE) {
            size_t i1 = m - i0 < SIDE ? m : i0 + SIDE;
            for (size_t j = j0; j < j1; ++j)
                for (size_t i = i0; i < i1; ++i) y[j * ldy + i] = x[i * ldx + j];
        }
    }
}

void natsl_matrix_turn(const natsl_matrix *w, size_t p0, size_t p1, float *to, float *scratch)
{
    for (size_t q = p0; q < p1; ++q) {
        const size_t l = q * NATSL_PANEL, inputs = natsl_panel_end(w->k, q) - l;
        for (size_t p = 0; p < natsl_panels(w->n); ++p) {
            const size_t j = p * NATSL_PANEL, width = natsl_panel_end(w->n, p) - j;
            const void *panel = natsl_panel_data(w, p);
            const float *rows = (const float *)panel + l * width;
            if (w->type == NATSL_BF16) {
                natsl_widen(inputs * width, (const uint16_t *)panel + l * width, scratch);
                rows = scratch;
            }
            natsl_transpose(inputs, width, rows, width, to + l * w->n + j * inputs, inputs);
        }
    }
}
