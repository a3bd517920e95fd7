/* conv_grad.c - gradient of the short causal convolution with SiLU, vectorised over channels. Owns: nothing. Contract:
 * kernels.h. */
#include "kernels_impl.h"
#include "vecmath.h"

enum { BLOCK = 128, MAX_TAPS = 16 }; /* channels at once: taps, their gradients and what is pending stay in L1 */

/* e^-|x| gives both the sigmoid and, without cancellation, its complement. */
NATSL_INLINE float silu_slope(float x)
{
    float e = natsl_expf_nonpos(-fabsf(x)), inv = 1.0f / (1.0f + e);
    float s = (x < 0.0f ? e : 1.0f) * inv, not_s = (x < 0.0f ? 1.0f : e) * inv;
    return s * (1.0f + x * not_s);
}

/* One block of n channels; see conv_grad_ref.c for what `pending` is. */
NATSL_INLINE void conv_block(size_t m, size_t n, size_t width, const float *x, size_t ldx, const float *halo,
                             size_t ldhalo, float (*taps)[BLOCK], float (*dtaps)[BLOCK], float (*pending)[BLOCK],
                             const float *dy, size_t lddy, float *dx, size_t lddx)
{
    const float *rows[MAX_TAPS];
    for (size_t i = m; i-- > 0;) {
        for (size_t j = 0; j < width; ++j)
            rows[j] = i + j + 1 >= width ? x + (i + j + 1 - width) * ldx : halo + (i + j) * ldhalo;
        const float *dyi = dy + i * lddy;
        float *dxi = dx + i * lddx;
#pragma omp simd
        for (size_t l = 0; l < n; ++l) {
            float s = taps[0][l] * rows[0][l];
            for (size_t j = 1; j < width; ++j) s += taps[j][l] * rows[j][l];
            float g = dyi[l] * silu_slope(s);
            for (size_t j = 0; j < width; ++j) dtaps[j][l] += g * rows[j][l];
            /* pending[j+1] is of the raw row that meets tap j+1 of row i; pending[0] is empty */
            for (size_t j = width; j-- > 0;) pending[j][l] += g * taps[j][l];
            dxi[l] = pending[width - 1][l];
            for (size_t j = width - 1; j > 0; --j) pending[j][l] = pending[j - 1][l];
            pending[0][l] = 0.0f;
        }
    }
}

NATSL_CLONES static void conv_any(size_t m, size_t c, size_t width, const float *x, size_t ldx, const float *halo,
                                  const float *w, const float *dy, size_t lddy, float *dx, size_t lddx, float *dhalo,
                                  float *dw)
{
    float taps[MAX_TAPS][BLOCK], dtaps[MAX_TAPS][BLOCK], pending[MAX_TAPS][BLOCK];
    for (size_t c0 = 0; c0 < c; c0 += BLOCK) {
        size_t n = c - c0 < BLOCK ? c - c0 : BLOCK;
        for (size_t l = 0; l < n; ++l)
            for (size_t j = 0; j < width; ++j) {
                taps[j][l] = w[(c0 + l) * width + j];
                dtaps[j][l] = 0.0f;
                pending[j][l] = j > 0 ? dhalo[(j - 1) * c + c0 + l] : 0.0f;
            }
        if (width == 4)
            conv_block(m, n, 4, x + c0, ldx, halo + c0, c, taps, dtaps, pending, dy + c0, lddy, dx + c0, lddx);
        else conv_block(m, n, width, x + c0, ldx, halo + c0, c, taps, dtaps, pending, dy + c0, lddy, dx + c0, lddx);
        for (size_t l = 0; l < n; ++l)
            for (size_t j = 0; j < width; ++j) {
                dw[(c0 + l) * width + j] += dtaps[j][l];
                if (j > 0) dhalo[(j - 1) * c + c0 + l] = pending[j][l];
            }
    }
}

NATSL_CLONES static void silu_rows(size_t m, size_t c, const float *x, size_t ldx, const float *dy, size_t lddy,
                                   float *dx, size_t lddx)
{
    for (size_t i = 0; i < m; ++i) {
        const float *xi = x + i * ldx, *dyi = dy + i * lddy;
        float *dxi = dx + i * lddx;
#pragma omp simd
        for (size_t l = 0; l < c; ++l) dxi[l] = dyi[l] * silu_slope(xi[l]);
    }
}

void natsl_kernel_short_conv_grad(size_t m, size_t c, size_t width, const float *x, size_t ldx, const float *halo,
                                  const float *w, const float *dy, size_t lddy, float *dx, size_t lddx, float *dhalo,
                                  float *dw)
{
    if (w == NULL) silu_rows(m, c, x, ldx, dy, lddy, dx, lddx);
    else if (width >= 1 && width <= MAX_TAPS) conv_any(m, c, width, x, ldx, halo, w, dy, lddy, dx, lddx, dhalo, dw);
    else natsl_kernel_short_conv_grad_ref(m, c, width, x, ldx, halo, w, dy, lddy, dx, lddx, dhalo, dw);
}
