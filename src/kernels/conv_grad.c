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

/* Four taps, the usual number, in two passes that keep nothing pending in memory from row to row: first the gradients g of what
 * the SiLU was applied to, into dx, four rows at once; then dx, in place from the first row on. */
NATSL_INLINE float slope_four(const float *t0, size_t l, float a, float b, float c, float d, float dy)
{
    return dy * silu_slope(t0[l] * a + t0[BLOCK + l] * b + t0[2 * BLOCK + l] * c + t0[3 * BLOCK + l] * d);
}

NATSL_INLINE const float *raw_row(const float *x, size_t ldx, const float *halo, size_t ldhalo, size_t i)
{
    return i >= 3 ? x + (i - 3) * ldx : halo + i * ldhalo; /* i counts from the halo's first row */
}

NATSL_INLINE void slopes_four(size_t m, size_t n, const float *x, size_t ldx, const float *halo, size_t ldhalo,
                              const float *taps, float *dtaps, const float *dy, size_t lddy, float *g, size_t ldg)
{
    size_t i = 0;
    for (; i + 4 <= m; i += 4) {
        const float *r0 = raw_row(x, ldx, halo, ldhalo, i), *r1 = raw_row(x, ldx, halo, ldhalo, i + 1);
        const float *r2 = raw_row(x, ldx, halo, ldhalo, i + 2), *r3 = x + i * ldx, *y0 = dy + i * lddy;
        float *g0 = g + i * ldg;
#pragma omp simd
        for (size_t l = 0; l < n; ++l) {
            float x0 = r0[l], x1 = r1[l], x2 = r2[l], x3 = r3[l], x4 = r3[ldx + l], x5 = r3[2 * ldx + l];
            float x6 = r3[3 * ldx + l];
            float a = slope_four(taps, l, x0, x1, x2, x3, y0[l]), b = slope_four(taps, l, x1, x2, x3, x4, y0[lddy + l]);
            float c = slope_four(taps, l, x2, x3, x4, x5, y0[2 * lddy + l]);
            float d = slope_four(taps, l, x3, x4, x5, x6, y0[3 * lddy + l]);
            dtaps[l] += a * x0 + b * x1 + c * x2 + d * x3;
            dtaps[BLOCK + l] += a * x1 + b * x2 + c * x3 + d * x4;
            dtaps[2 * BLOCK + l] += a * x2 + b * x3 + c * x4 + d * x5;
            dtaps[3 * BLOCK + l] += a * x3 + b * x4 + c * x5 + d * x6;
            g0[l] = a, g0[ldg + l] = b, g0[2 * ldg + l] = c, g0[3 * ldg + l] = d;
        }
    }
    for (; i < m; ++i) {
        const float *r0 = raw_row(x, ldx, halo, ldhalo, i), *r1 = raw_row(x, ldx, halo, ldhalo, i + 1);
        const float *r2 = raw_row(x, ldx, halo, ldhalo, i + 2), *r3 = x + i * ldx;
#pragma omp simd
        for (size_t l = 0; l < n; ++l) {
            float a = slope_four(taps, l, r0[l], r1[l], r2[l], r3[l], dy[i * lddy + l]);
            dtaps[l] += a * r0[l];
            dtaps[BLOCK + l] += a * r1[l];
            dtaps[2 * BLOCK + l] += a * r2[l];
            dtaps[3 * BLOCK + l] += a * r3[l];
            g[i * ldg + l] = a;
        }
    }
}

/* One row near an end, counted from the halo's first: tap j meets it in row `row` - j of g. to [n]; with `pending` added. */
NATSL_INLINE void end_four(size_t m, size_t n, size_t row, const float *taps, const float *g, size_t ldg,
                           const float *pending, float *to)
{
    float sum[BLOCK];
    for (size_t l = 0; l < n; ++l) sum[l] = pending ? pending[l] : 0.0f;
    for (size_t j = 4; j-- > 0;) {
        if (row < j || row - j >= m) continue;
        const float *gi = g + (row - j) * ldg, *t = taps + j * BLOCK;
#pragma omp simd
        for (size_t l = 0; l < n; ++l) sum[l] += t[l] * gi[l];
    }
    memcpy(to, sum, n * sizeof *to);
}

/* pending [3, BLOCK]: of the last three of halo and x, from later rows; dhalo [3, lddhalo] =. */
NATSL_INLINE void rows_four(size_t m, size_t n, const float *taps, float *g, size_t ldg, const float *pending,
                            float *dhalo, size_t lddhalo)
{
    for (size_t row = 0; row < 3; ++row)
        end_four(m, n, row, taps, g, ldg, row >= m ? pending + (row - m) * BLOCK : NULL, dhalo + row * lddhalo);
    size_t i = 0;
    for (; i + 3 < m; ++i) {
        float *gi = g + i * ldg;
#pragma omp simd
        for (size_t l = 0; l < n; ++l)
            gi[l] = taps[3 * BLOCK + l] * gi[l] + taps[2 * BLOCK + l] * gi[ldg + l] +
                    taps[BLOCK + l] * gi[2 * ldg + l] + taps[l] * gi[3 * ldg + l];
    }
    for (; i < m; ++i) end_four(m, n, i + 3, taps, g, ldg, pending + (i + 3 - m) * BLOCK, g + i * ldg);
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
        if (width == 4) { /* pending[0] is empty */
            slopes_four(m, n, x + c0, ldx, halo + c0, c, taps[0], dtaps[0], dy + c0, lddy, dx + c0, lddx);
            rows_four(m, n, taps[0], dx + c0, lddx, pending[1], dhalo + c0, c);
        } else conv_block(m, n, width, x + c0, ldx, halo + c0, c, taps, dtaps, pending, dy + c0, lddy, dx + c0, lddx);
        for (size_t l = 0; l < n; ++l)
            for (size_t j = 0; j < width; ++j) {
                dw[(c0 + l) * width + j] += dtaps[j][l];
                if (j > 0 && width != 4) dhalo[(j - 1) * c + c0 + l] = pending[j][l];
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
