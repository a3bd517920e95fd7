/* delta.c - the gated delta rule in blocks of at most 64 tokens (WY form): products by gemm.c, the rest vectorised.
 * Owns: nothing. Contract: kernels.h. Source: Yang et al., "Gated Delta Networks", 2025, section 3.3.
 * No exponential of a positive number is ever taken: running sums of log decays fall, and only g_i - g_j with j <= i
 * and g_last - g_i occur. So every factor lies in [0,1] and a decay to exactly 0 stays 0, never 0 * inf. */
#include "kernels_impl.h"
#include "vecmath.h"

#include <assert.h>

enum { B = NATSL_DELTA_BLOCK };

/* Weighs the products by exp(g_i - g_j): l [m, ld B] holds k_i.k_j and becomes L, a [m,m] holds q_i.k_j. What lies
 * above the diagonals is assigned 0, not multiplied, so that an infinite product cannot become NaN there; its exponent
 * is replaced by 0 before exp. Always B lanes, whatever i: no remainders. */
NATSL_CLONES static void weigh_products(size_t m, const double *g, const float *beta, size_t lds, float *l, float *a)
{
    for (size_t i = 0; i < m; ++i) {
        float row[B], b = beta[i * lds];
        double gi = g[i];
        int last = (int)i;
#pragma omp simd
        for (int j = 0; j < B; ++j) {
            float diff = (float)(gi - g[j]);
            row[j] = natsl_expf_nonpos(j <= last ? diff : 0.0f);
        }
        float *li = l + i * B, *ai = a + i * m;
#pragma omp simd
        for (int j = 0; j < B; ++j) li[j] = j < last ? li[j] * (b * row[j]) : 0.0f;
#pragma omp simd
        for (size_t j = 0; j < m; ++j) ai[j] = (int)j <= last ? ai[j] * row[j] : 0.0f;
    }
}

/* t [m,m] = x diag(beta); x [m, ld B] is zero above its diagonal, and 0 is assigned there for the same reason. */
NATSL_CLONES static void scale_columns(size_t m, const float *x, const float *beta, size_t lds, float *t)
{
    float b[B];
    for (size_t j = 0; j < m; ++j) b[j] = beta[j * lds];
    for (size_t i = 0; i < m; ++i) {
        int last = (int)i;
#pragma omp simd
        for (size_t j = 0; j < m; ++j) t[i * m + j] = (int)j <= last ? x[i * B + j] * b[j] : 0.0f;
    }
}

/* x [m, B] = (I + L)^-1, L [m, ld B] strictly lower. Forward substitution by whole rows, x_i = e_i - sum_j<i L_ij x_j,
 * four rows j at a time; columns right of i are zero in all of them and left out in steps of 16. The products before it
 * cost several times as much, so an inverse blocked into small products has nothing to gain. */
NATSL_CLONES void natsl_unit_lower_inverse(size_t m, const float *l, float *x)
{
    for (size_t i = 0; i < m; ++i) {
        float row[B] = {0};
        size_t width = (i + 16) / 16 * 16;
        size_t j = 0;
        for (; j + 4 <= i; j += 4) {
            float l0 = l[i * B + j], l1 = l[i * B + j + 1], l2 = l[i * B + j + 2], l3 = l[i * B + j + 3];
            const float *x0 = x + j * B, *x1 = x0 + B, *x2 = x1 + B, *x3 = x2 + B;
#pragma omp simd
            for (size_t c = 0; c < width; ++c) row[c] -= (l0 * x0[c] + l1 * x1[c]) + (l2 * x2[c] + l3 * x3[c]);
        }
        for (; j < i; ++j) {
            float l0 = l[i * B + j];
            const float *x0 = x + j * B;
#pragma omp simd
            for (size_t c = 0; c < width; ++c) row[c] -= l0 * x0[c];
        }
        row[i] = 1.0f; /* so far 0: x_j is zero right of j < i */
        memcpy(x + i * B, row, sizeof row);
    }
}

void natsl_kernel_delta_prepare(size_t m, size_t dk, const float *q, size_t ldq, const float *k, size_t ldk,
                                const float *log_decay, const float *beta, size_t lds, float *g, float *t, float *a,
                                float *scratch)
{
    assert(m <= B);
    double sum[B] = {0}; /* in double: the exponents are small differences of sums that may be large */
    double running = 0.0;
    for (size_t i = 0; i < m; ++i) {
        double step = (double)log_decay[i * lds];
        running += step < NATSL_DECAY_FLOOR ? NATSL_DECAY_FLOOR : step;
        sum[i] = running;
        g[i] = (float)running;
    }
    float *l = scratch, *x = scratch + B * B, *over = x + B * B;
    natsl_transpose(m, dk, k, ldk, over, B);
    natsl_gemm(NATSL_N, NATSL_N, m, m, dk, k, ldk, over, B, 0.0f, l, B);
    natsl_gemm(NATSL_N, NATSL_N, m, m, dk, q, ldq, over, B, 0.0f, a, m);
    weigh_products(m, sum, beta, lds, l, a);
    natsl_unit_lower_inverse(m, l, x);
    scale_columns(m, x, beta, lds, t);
}

/* y [m,n] (contiguous) = rows of x times sign * factor[i]. */
NATSL_CLONES static void scale_rows(size_t m, size_t n, float sign, const float *factor, const float *x, size_t ldx,
                                    float *y)
{
    for (size_t i = 0; i < m; ++i) {
        float f = sign * factor[i];
        const float *xi = x + i * ldx;
        float *yi = y + i * n;
#pragma omp simd
        for (size_t j = 0; j < n; ++j) yi[j] = f * xi[j];
    }
}

/* y = f x, same row distance; y may be x. */
NATSL_CLONES static void scale_state(size_t m, size_t n, float f, const float *x, float *y, size_t ld)
{
    for (size_t i = 0; i < m; ++i) {
        const float *xi = x + i * ld;
        float *yi = y + i * ld;
#pragma omp simd
        for (size_t j = 0; j < n; ++j) yi[j] = f * xi[j];
    }
}

NATSL_CLONES static void exp_from(size_t m, const float *g, float *to_start, float *to_end)
{
    float last = g[m - 1];
#pragma omp simd
    for (size_t i = 0; i < m; ++i) {
        to_start[i] = natsl_expf(g[i]);
        to_end[i] = natsl_expf(last - g[i]);
    }
}

/* y [m,n] = x; x NULL: zero. */
static void copy_rows(size_t m, size_t n, const float *x, size_t ldx, float *y, size_t ldy)
{
    for (size_t i = 0; i < m; ++i) {
        if (x != NULL) memcpy(y + i * ldy, x + i * ldx, n * sizeof *y);
        else memset(y + i * ldy, 0, n * sizeof *y);
    }
}

void natsl_kernel_delta_apply(size_t m, size_t first, size_t dk, size_t dv, const float *q, size_t ldq, const float *k,
                              size_t ldk, const float *v, size_t ldv, const float *g, const float *t, const float *a,
                              const float *s, float *s_out, size_t ld_state, float *o, size_t ldo, float *scratch)
{
    assert(m <= B && first <= m);
    if (m == 0) {
        if (s_out != NULL && s_out != s) copy_rows(dk, dv, s, ld_state, s_out, ld_state);
        return;
    }
    float to_start[B], to_end[B];
    float *scaled = scratch;      /* [m,dk]: rows of k, q, then k again, times their decays */
    float *err = scaled + B * dk; /* [m,dv]: V - exp(g) K S */
    float *d = err + B * dv;      /* [m,dv] */
    exp_from(m, g, to_start, to_end);
    scale_rows(m, dk, -1.0f, to_start, k, ldk, scaled);
    copy_rows(m, dv, v, ldv, err, dv);
    natsl_gemm(NATSL_N, NATSL_N, m, dv, dk, scaled, dk, s, ld_state, 1.0f, err, dv);
    natsl_gemm(NATSL_N, NATSL_N, m, dv, m, t, m, err, dv, 0.0f, d, dv);
    if (first < m) {
        size_t rows = m - first;
        scale_rows(rows, dk, 1.0f, to_start + first, q + first * ldq, ldq, scaled);
        natsl_gemm(NATSL_N, NATSL_N, rows, dv, dk, scaled, dk, s, ld_state, 0.0f, o, ldo);
        natsl_gemm(NATSL_N, NATSL_N, rows, dv, m, a + first * m, m, d, dv, 1.0f, o, ldo);
    }
    if (s_out != NULL) { /* last: s_out may be s */
        scale_rows(m, dk, 1.0f, to_end, k, ldk, scaled);
        scale_state(dk, dv, to_start[m - 1], s, s_out, ld_state);
        natsl_gemm(NATSL_T, NATSL_N, dk, dv, m, scaled, dk, d, dv, 1.0f, s_out, ld_state);
    }
}

/* One token on 64 columns (or fewer) of the state: two passes over them, both in row order. */
NATSL_INLINE void step_columns(size_t dk, size_t n, size_t ld, const float *q, const float *k, const float *v,
                               float decay, float beta, float *s, float *o)
{
    float r[B] = {0}, out[B] = {0};
    for (size_t i = 0; i < dk; ++i) {
        const float *si = s + i * ld;
        float ki = k[i];
#pragma omp simd
        for (size_t c = 0; c < n; ++c) r[c] += ki * si[c];
    }
#pragma omp simd
    for (size_t c = 0; c < n; ++c) r[c] = beta * (v[c] - decay * r[c]);
    for (size_t i = 0; i < dk; ++i) {
        float *si = s + i * ld;
        float ki = k[i], qi = q[i];
#pragma omp simd
        for (size_t c = 0; c < n; ++c) {
            float next = decay * si[c] + ki * r[c];
            si[c] = next;
            out[c] += qi * next;
        }
    }
    memcpy(o, out, n * sizeof *o);
}

NATSL_CLONES void natsl_kernel_delta_step(size_t dk, size_t dv, const float *q, const float *k, const float *v,
                                          float log_decay, float beta, float *s, float *o)
{
    float decay = natsl_expf(log_decay);
    size_t c = 0;
    for (; c + B <= dv; c += B) /* constant width: the accumulators stay in registers */
        step_columns(dk, B, dv, q, k, v + c, decay, beta, s + c, o + c);
    if (c < dv) step_columns(dk, dv - c, dv, q, k, v + c, decay, beta, s + c, o + c);
}
