/* attention_grad.c - gradient of softmax attention, block by block of keys: the weights once more from the finished running
 * maximum and sum, five products, one vectorised pass. Owns: nothing. Contract: kernels.h; formulas:
 * attention_grad_ref.c. */
#include "kernels_impl.h"
#include "vecmath.h"

#include <assert.h>

/* Products q.k [m,n] become weights p, and dp = dout . values becomes scale p (dp - dots). Returns the sum of p (dp - dots). */
NATSL_CLONES static double weigh_rows(size_t m, size_t n, float scale, size_t visible, size_t step, const float *top,
                                      const float *sum, const float *dots, size_t lds, float *p, float *dp)
{
    double factor = 0.0;
    for (size_t i = 0; i < m; ++i) {
        float *pi = p + i * n, *di = dp + i * n, row = 0.0f;
        const size_t seen = visible + i * step < n ? visible + i * step : n;
        const float t = top[i * lds], dot = dots[i * lds], inv = sum[i * lds] > 0.0f ? 1.0f / sum[i * lds] : 0.0f;
#pragma omp simd reduction(+ : row)
        for (size_t j = 0; j < seen; ++j) {
            float w = inv * natsl_expf_nonpos(scale * pi[j] - t), ds = w * (di[j] - dot);
            pi[j] = w;
            di[j] = scale * ds;
            row += ds;
        }
        factor += (double)row;
        if (seen == n) continue;
        memset(pi + seen, 0, (n - seen) * sizeof *pi);
        memset(di + seen, 0, (n - seen) * sizeof *di);
    }
    return factor;
}

double natsl_kernel_attn_grad(size_t m, size_t n, size_t dk, size_t dv, const float *q, size_t ldq, const float *keys,
                              size_t ldk, const float *values, size_t ldv, float scale, ptrdiff_t causal,
                              const float *top, const float *sum, const float *dots, size_t lds, const float *dout,
                              size_t lddo, float *dq, size_t lddq, float *dkeys, size_t lddk, float *dvalues,
                              size_t lddv, float *scratch)
{
    assert(n <= NATSL_ATTN_KEYS);
    if (n == 0 || m == 0) return 0.0;
    float *p = scratch, *dp = p + NATSL_ATTN_ROWS * NATSL_ATTN_KEYS;
    float *rows = dp + NATSL_ATTN_ROWS * NATSL_ATTN_KEYS, *over = rows + NATSL_ATTN_KEYS * dk;
    double factor = 0.0;
    natsl_transpose(dk, n, keys, ldk, rows, dk);
    natsl_transpose(n, dv, values, ldv, over, n);
    const size_t tile = causal < 0 ? NATSL_ATTN_ROWS : 64;
    for (size_t i = 0; i < m; i += tile) {
        const size_t r = m - i < tile ? m - i : tile;
        const size_t visible = causal < 0 ? n : (size_t)causal + i + 1, step = causal < 0 ? 0 : 1;
        const size_t used = visible + (r - 1) * step < n ? visible + (r - 1) * step : n; /* the last row sees most */
        const float *qi = q + i * ldq, *gi = dout + i * lddo;
        natsl_gemm(NATSL_N, NATSL_N, r, used, dk, qi, ldq, keys, ldk, 0.0f, p, used);
        natsl_gemm(NATSL_N, NATSL_N, r, used, dv, gi, lddo, over, n, 0.0f, dp, used);
        factor += weigh_rows(r, used, scale, visible, step, top + i * lds, sum + i * lds, dots + i * lds, lds, p, dp);
        natsl_gemm(NATSL_T, NATSL_N, used, dv, r, p, used, gi, lddo, 1.0f, dvalues, lddv);
        natsl_gemm(NATSL_N, NATSL_N, r, dk, used, dp, used, rows, dk, 1.0f, dq + i * lddq, lddq);
        natsl_gemm(NATSL_T, NATSL_N, used, dk, r, dp, used, qi, ldq, 1.0f, dkeys, lddk);
    }
    return factor;
}
