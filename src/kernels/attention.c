/* attention.c - softmax attention block by block of keys (online softmax): products by gemm.c, the rest in one vectorised
 * pass over the scores. Owns: nothing. Contract: kernels.h. */
#include "kernels_impl.h"
#include "vecmath.h"

#include <assert.h>

/* s[j] <- exp(scale s[j] - top), and their sum. */
NATSL_INLINE float row_exp(float *s, size_t n, float scale, float top)
{
    float sum = 0.0f;
#pragma omp simd reduction(+ : sum)
    for (size_t j = 0; j < n; ++j) {
        float e = natsl_expf_nonpos(scale * s[j] - top);
        s[j] = e;
        sum += e;
    }
    return sum;
}

NATSL_INLINE void scale_row(float *x, size_t n, float f)
{
#pragma omp simd
    for (size_t j = 0; j < n; ++j) x[j] *= f;
}

/* Products q.k [m,n] become weights; row i sees those from hidden + i on (from the first where that is negative) and before
 * min(n, visible + i * step), the others get weight 0. */
NATSL_CLONES static void weigh_rows(size_t m, size_t n, size_t dv, float scale, size_t visible, size_t step,
                                    ptrdiff_t hidden, float *scores, float *top, float *sum, size_t lds, float *acc,
                                    size_t ldacc)
{
    for (size_t i = 0; i < m; ++i) {
        float *s = scores + i * n;
        size_t end = visible + i * step < n ? visible + i * step : n;
        size_t from = hidden + (ptrdiff_t)i > 0 ? (size_t)(hidden + (ptrdiff_t)i) : 0, seen = 0;
        if (from > 0) memset(s, 0, (from < n ? from : n) * sizeof *s);
        if (end < n) memset(s + end, 0, (n - end) * sizeof *s);
        if (from >= end) continue; /* nothing that it sees */
        s += from, seen = end - from;
        /* scale > 0: the largest score is the scaled largest product; a fused multiply-add in row_exp may leave it a rounding
         * above `now`, which exp of a tiny positive number bears */
        float old = top[i * lds], largest = scale * natsl_max(s, seen, -INFINITY), now = largest > old ? largest : old;
        if (now == -INFINITY) { /* nothing but -inf so far: exp(-inf - -inf) would be NaN */
            float bad = 0.0f;   /* ... unless a score is NaN, which must not vanish */
            for (size_t j = 0; j < seen; ++j) bad = s[j] != s[j] ? s[j] : bad;
            sum[i * lds] += bad;
            memset(s, 0, seen * sizeof *s);
            continue;
        }
        if (now != old) { /* the maximum moved: what was summed before shrinks */
            float f = natsl_expf(old - now);
            sum[i * lds] *= f;
            scale_row(acc + i * ldacc, dv, f);
            top[i * lds] = now;
        }
        sum[i * lds] += row_exp(s, seen, scale, now);
    }
}

void natsl_kernel_attn_block(size_t m, size_t n, size_t dk, size_t dv, const float *q, size_t ldq, const float *keys,
                             size_t ldk, const float *values, size_t ldv, float scale, ptrdiff_t causal,
                             ptrdiff_t hidden, float *top, float *sum, size_t lds, float *acc, size_t ldacc,
                             float *scratch)
{
    assert(n <= NATSL_ATTN_KEYS);
    if (n == 0) return;
    /* At an edge, fewer rows at once leave fewer masked scores to compute. */
    size_t tile = causal < 0 && hidden + (ptrdiff_t)m <= 1 ? NATSL_ATTN_ROWS : 64;
    for (size_t i = 0; i < m; i += tile) {
        size_t rows = m - i < tile ? m - i : tile;
        ptrdiff_t behind = hidden + (ptrdiff_t)i;
        size_t from = behind > 0 ? (size_t)behind : 0;            /* the first row sees most of the window's side */
        size_t visible = causal < 0 ? n : (size_t)causal + i + 1; /* keys that row i sees */
        size_t step = causal < 0 ? 0 : 1;
        size_t used = visible + (rows - 1) * step < n ? visible + (rows - 1) * step : n; /* the last row sees most */
        if (from >= used) continue;
        const size_t some = used - from;
        natsl_gemm(NATSL_N, NATSL_N, rows, some, dk, q + i * ldq, ldq, keys + from, ldk, 0.0f, scratch, some);
        weigh_rows(rows, some, dv, scale, visible > from ? visible - from : 0, step, behind - (ptrdiff_t)from, scratch,
                   top + i * lds, sum + i * lds, lds, acc + i * ldacc, ldacc);
        natsl_gemm(NATSL_N, NATSL_N, rows, dv, some, scratch, some, values + from * ldv, ldv, 1.0f, acc + i * ldacc,
                   ldacc);
    }
}

NATSL_CLONES void natsl_kernel_attn_finish(size_t m, size_t dv, const float *sum, size_t lds, float *acc, size_t ldacc)
{
    for (size_t i = 0; i < m; ++i) {
        float s = sum[i * lds];
        if (s == 0.0f) memset(acc + i * ldacc, 0, dv * sizeof *acc);
        else scale_row(acc + i * ldacc, dv, 1.0f / s);
    }
}

NATSL_CLONES void natsl_kernel_attn_merge(size_t m, size_t dv, float *top, float *sum, size_t lds, float *acc,
                                          size_t ldacc, const float *top2, const float *sum2, size_t lds2,
                                          const float *acc2, size_t ldacc2)
{
    for (size_t i = 0; i < m; ++i) {
        float t1 = top[i * lds], t2 = top2[i * lds2];
        float now = t2 > t1 ? t2 : t1;
        int none = now == -INFINITY; /* both empty: sums are 0, or NaN from scores that were NaN */
        float f1 = none ? 1.0f : natsl_expf(t1 - now), f2 = none ? 1.0f : natsl_expf(t2 - now);
        float *a1 = acc + i * ldacc;
        const float *a2 = acc2 + i * ldacc2;
        top[i * lds] = now;
        sum[i * lds] = f1 * sum[i * lds] + f2 * sum2[i * lds2];
#pragma omp simd
        for (size_t j = 0; j < dv; ++j) a1[j] = f1 * a1[j] + f2 * a2[j];
    }
}
