/* conv.c - short causal convolution with SiLU, in place, vectorised over channels. Owns: nothing.
 * Contract: kernels.h. */
#include "kernels_impl.h"
#include "vecmath.h"

enum { BLOCK = 256, MAX_TAPS = 16 }; /* channels at once: their transposed taps (16 KiB at most) stay in L1 */

/* One block of channels. `width` is a constant where this is inlined with one, which unrolls the inner loop. */
NATSL_INLINE void conv_block(size_t m, size_t c, size_t width, float *x, size_t ldx, const float *halo, size_t ldhalo,
                             float (*taps)[BLOCK])
{
    const float *rows[MAX_TAPS];
    for (size_t i = m; i-- > 0;) { /* from the last row up: the rows above are still raw when they are read */
        for (size_t j = 0; j < width; ++j)
            rows[j] = i + j + 1 >= width ? x + (i + j + 1 - width) * ldx : halo + (i + j) * ldhalo;
        float *y = x + i * ldx;
#pragma omp simd
        for (size_t l = 0; l < c; ++l) {
            float s = taps[0][l] * rows[0][l];
            for (size_t j = 1; j < width; ++j) s += taps[j][l] * rows[j][l];
            y[l] = natsl_siluf(s);
        }
    }
}

NATSL_CLONES static void conv_any(size_t m, size_t c, size_t width, float *x, size_t ldx, const float *halo,
                                  const float *w)
{
    float taps[MAX_TAPS][BLOCK];
    for (size_t c0 = 0; c0 < c; c0 += BLOCK) {
        size_t n = c - c0 < BLOCK ? c - c0 : BLOCK;
        for (size_t l = 0; l < n; ++l)
            for (size_t j = 0; j < width; ++j) taps[j][l] = w[(c0 + l) * width + j];
        if (width == 4) conv_block(m, n, 4, x + c0, ldx, halo + c0, c, taps);
        else conv_block(m, n, width, x + c0, ldx, halo + c0, c, taps);
    }
}

NATSL_CLONES static void silu_rows(size_t m, size_t c, float *x, size_t ldx)
{
    for (size_t i = 0; i < m; ++i) {
        float *y = x + i * ldx;
#pragma omp simd
        for (size_t l = 0; l < c; ++l) y[l] = natsl_siluf(y[l]);
    }
}

void natsl_kernel_short_conv(size_t m, size_t c, size_t width, float *x, size_t ldx, const float *halo, const float *w)
{
    if (w == NULL) silu_rows(m, c, x, ldx);
    else if (width >= 1 && width <= MAX_TAPS) conv_any(m, c, width, x, ldx, halo, w);
    else natsl_kernel_short_conv_ref(m, c, width, x, ldx, halo, w); /* no published model is this wide */
}
