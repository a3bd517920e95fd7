/* attention_ref.c - softmax attention block by block of keys, plain. Contract: kernels.h. Source: oracle.py
 * selected_attention, attention, softmax. */
#include "kernels_impl.h"

#include <assert.h>
#include <math.h>

void natsl_kernel_attn_block_ref(size_t m, size_t n, size_t dk, size_t dv, const float *q, size_t ldq,
                                 const float *keys, size_t ldk, const float *values, size_t ldv, float scale,
                                 ptrdiff_t causal, ptrdiff_t hidden, float *top, float *sum, size_t lds, float *acc,
                                 size_t ldacc, float *scratch)
{
    assert(n <= NATSL_ATTN_KEYS);
    (void)scratch;
    for (size_t i = 0; i < m; ++i) {
        size_t seen = causal >= 0 && (size_t)causal + i + 1 < n ? (size_t)causal + i + 1 : n;
        size_t from = hidden + (ptrdiff_t)i > 0 ? (size_t)(hidden + (ptrdiff_t)i) : 0;
        double p[NATSL_ATTN_KEYS], total = 0.0, old = (double)top[i * lds], now = old;
        for (size_t j = from; j < seen; ++j) {
            p[j] = 0.0;
            for (size_t l = 0; l < dk; ++l) p[j] += (double)q[i * ldq + l] * (double)keys[l * ldk + j];
            /* rounded to float: the maximum is carried as one, and weights above 1 are of no use */
            p[j] = (double)(float)(p[j] * (double)scale);
            if (p[j] > now) now = p[j];
        }
        double shrink = now == old ? 1.0 : exp(old - now);
        for (size_t j = from; j < seen; ++j) {
            p[j] = p[j] == -INFINITY ? 0.0 : exp(p[j] - now);
            total += p[j];
        }
        for (size_t c = 0; c < dv; ++c) {
            double s = shrink * (double)acc[i * ldacc + c];
            for (size_t j = from; j < seen; ++j) s += p[j] * (double)values[j * ldv + c];
            acc[i * ldacc + c] = (float)s;
        }
        top[i * lds] = (float)now;
        sum[i * lds] = (float)(shrink * (double)sum[i * lds] + total);
    }
}

void natsl_kernel_attn_finish_ref(size_t m, size_t dv, const float *sum, size_t lds, float *acc, size_t ldacc)
{
    for (size_t i = 0; i < m; ++i) {
        double s = (double)sum[i * lds];
        for (size_t c = 0; c < dv; ++c) acc[i * ldacc + c] = s == 0.0 ? 0.0f : (float)((double)acc[i * ldacc + c] / s);
    }
}

void natsl_kernel_attn_merge_ref(size_t m, size_t dv, float *top, float *sum, size_t lds, float *acc, size_t ldacc,
                                 const float *top2, const float *sum2, size_t lds2, const float *acc2, size_t ldacc2)
{
    for (size_t i = 0; i < m; ++i) {
        double t1 = (double)top[i * lds], t2 = (double)top2[i * lds2], now = t2 > t1 ? t2 : t1;
        double f1 = t1 == now ? 1.0 : exp(t1 - now), f2 = t2 == now ? 1.0 : exp(t2 - now);
        top[i * lds] = (float)now;
        sum[i * lds] = (float)(f1 * (double)sum[i * lds] + f2 * (double)sum2[i * lds2]);
        for (size_t c = 0; c < dv; ++c)
            acc[i * ldacc + c] = (float)(f1 * (double)acc[i * ldacc + c] + f2 * (double)acc2[i * ldacc2 + c]);
    }
}
