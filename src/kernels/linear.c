/* linear.c - y = x W^T panel by panel. Owns: nothing. Contract: kernels.h.
 * A panel's block of inputs is read once per tile of rows and stays in the second-level cache; the sum over inputs goes on in y
 * from block to block, so every element is one chain of additions in the order of the inputs, whatever the blocks are. */
#include "kernels_impl.h"
#include "vecmath.h"

enum {
    K_F32 = 1024, /* inputs at once: 64 x 1024 floats are 256 KiB */
#ifdef NATSL_HAVE_CLONES
    FEW_ROWS = 3 /* up to here a bfloat16 panel is widened on the way, not stored first */
#else
    FEW_ROWS = 0 /* compiled for a plain machine that loop is slow, and rounds otherwise than gemm's fused products */
#endif
};

/* y [count] += or = x [k] times columns of a bfloat16 panel [k][ld], count <= 64; the constant-width call keeps its sums in
 * registers. */
NATSL_INLINE void narrow_columns(size_t count, size_t k, const float *x, const uint16_t *w, size_t ld, float *y,
                                 int accumulate)
{
    float s[NATSL_PANEL];
    for (size_t j = 0; j < count; ++j) s[j] = accumulate ? y[j] : 0.0f;
    for (size_t l = 0; l < k; ++l) {
        const uint16_t *row = w + l * ld;
        float xl = x[l];
#pragma omp simd
        for (size_t j = 0; j < count; ++j) {
            uint32_t bits = (uint32_t)row[j] << 16;
            float f;
            memcpy(&f, &bits, sizeof f);
            s[j] += xl * f;
        }
    }
    for (size_t j = 0; j < count; ++j) y[j] = s[j];
}

NATSL_CLONES static void narrow_row(size_t width, size_t k, const float *x, const uint16_t *w, float *y, int accumulate)
{
    size_t j = 0;
    for (; j + NATSL_PANEL <= width; j += NATSL_PANEL)
        narrow_columns(NATSL_PANEL, k, x, w + j, width, y + j, accumulate);
    if (j < width) narrow_columns(width - j, k, x, w + j, width, y + j, accumulate);
}

void natsl_kernel_linear(size_t m, const natsl_matrix *w, size_t p0, size_t p1, const float *x, size_t ldx, float *y,
                         size_t ldy, int accumulate, float *scratch)
{
    const int narrow = w->type == NATSL_BF16;
    const size_t block = narrow ? NATSL_LINEAR_K_BF16 : K_F32, first = p0 * NATSL_PANEL;
    if (m == 0) return;
    for (size_t l = 0; l < w->k || l == 0; l += block) {
        const size_t k = w->k - l < block ? w->k - l : block;
        const int add = accumulate || l > 0;
        for (size_t p = p0; p < p1; ++p) {
            const size_t j = p * NATSL_PANEL, width = natsl_panel_end(w->n, p) - j;
            const void *panel = natsl_panel_data(w, p);
            float *to = y + (j - first);
            if (!narrow) {
                natsl_gemm(NATSL_N, NATSL_N, m, width, k, x + l, ldx, (const float *)panel + l * width, width,
                           add ? 1.0f : 0.0f, to, ldy);
                continue;
            }
            const uint16_t *half = (const uint16_t *)panel + l * width;
            if (m <= FEW_ROWS) {
                for (size_t i = 0; i < m; ++i) narrow_row(width, k, x + i * ldx + l, half, to + i * ldy, add);
            } else {
                natsl_widen(k * width, half, scratch);
                natsl_gemm(NATSL_N, NATSL_N, m, width, k, x + l, ldx, scratch, width, add ? 1.0f : 0.0f, to, ldy);
            }
        }
    }
}
