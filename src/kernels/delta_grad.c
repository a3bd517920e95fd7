/* delta_grad.c - gradient of one block of the gated delta rule: products by gemm.c, the rest vectorised. Owns: nothing.
 * Contract and formulas: kernels.h. Everything of the forward pass that the block needs is computed again from its rows: a
 * few products of 64 rows beside a dozen, and nothing to keep. As in delta.c no exponential of a positive number occurs. */
#include "kernels_impl.h"
#include "vecmath.h"

#include <assert.h>

enum { B = NATSL_DELTA_BLOCK };

/* kk, qk [m, B] times exp(g_i - g_j), 0 above the diagonal (kk: and on it); decay [m, B] holds the factors; l = beta kk. */
NATSL_CLONES static void weigh(size_t m, const double *g, const float *beta, size_t lds, float *kk, float *qk,
                               float *decay, float *l)
{
    for (size_t i = 0; i < m; ++i) {
        float *row = decay + i * B, *kki = kk + i * B, *qki = qk + i * B, *li = l + i * B, b = beta[i * lds];
        const double gi = g[i];
        const int last = (int)i;
#pragma omp simd
        for (int j = 0; j < B; ++j) {
            float diff = (float)(gi - g[j]);
            float e = natsl_expf_nonpos(j <= last ? diff : 0.0f);
            row[j] = j <= last ? e : 0.0f;
            kki[j] = j < last ? kki[j] * e : 0.0f;
            qki[j] = j <= last ? qki[j] * e : 0.0f;
            li[j] = b * kki[j];
        }
    }
}

/* What the gradients of a [m, B] and of L say about g and beta, and then, times the decays, about the bare products. */
NATSL_CLONES static void unweigh(size_t m, const float *beta, size_t lds, const float *kk, const float *qk,
                                 const float *decay, float *dkk, float *dqk, double *dg, double *dbeta)
{
    float column[B] = {0};
    for (size_t i = 0; i < m; ++i) {
        const float *kki = kk + i * B, *qki = qk + i * B, *ei = decay + i * B, b = beta[i * lds];
        float *dkki = dkk + i * B, *dqki = dqk + i * B, row = 0.0f, of_beta = 0.0f;
        const int last = (int)i;
#pragma omp simd reduction(+ : row, of_beta)
        for (int j = 0; j < B; ++j) {
            /* columns past m are whatever was there: never multiplied */
            float dl = j < last ? dkki[j] : 0.0f, da = j <= last ? dqki[j] : 0.0f;
            float lw = dl * kki[j], w = da * qki[j] + b * lw;
            of_beta += lw;
            row += w;
            column[j] += w;
            dkki[j] = dl * b * ei[j];
            dqki[j] = da * ei[j];
        }
        dg[i] += (double)row;
        dbeta[i] += (double)of_beta;
    }
    for (size_t j = 0; j < m; ++j) dg[j] -= (double)column[j];
}

/* y [m,n] (contiguous) = sign * f[i] x. */
NATSL_CLONES static void scale_rows(size_t m, size_t n, float sign, const float *f, const float *x, size_t ldx,
                                    float *y)
{
    for (size_t i = 0; i < m; ++i) {
        float s = sign * f[i];
        const float *xi = x + i * ldx;
        float *yi = y + i * n;
#pragma omp simd
        for (size_t j = 0; j < n; ++j) yi[j] = s * xi[j];
    }
}

/* to [m, ldto] += sign * f[i] x [m,n]; returns into along[i] the dot of what was added with row i of `with`. */
NATSL_CLONES static void add_rows(size_t m, size_t n, float sign, const float *f, const float *x, const float *with,
                                  size_t ldwith, float *to, size_t ldto, double *along)
{
    for (size_t i = 0; i < m; ++i) {
        float s = sign * f[i], sum = 0.0f;
        const float *xi = x + i * n, *wi = with + i * ldwith;
        float *ti = to + i * ldto;
#pragma omp simd reduction(+ : sum)
        for (size_t j = 0; j < n; ++j) {
            float v = s * xi[j];
            ti[j] += v;
            sum += v * wi[j];
        }
        along[i] = (double)sum;
    }
}

NATSL_CLONES static float dot(size_t n, const float *x, const float *y)
{
    float s = 0.0f;
#pragma omp simd reduction(+ : s)
    for (size_t j = 0; j < n; ++j) s += x[j] * y[j];
    return s;
}

NATSL_CLONES static void scale_all(size_t n, float f, float *x)
{
#pragma omp simd
    for (size_t j = 0; j < n; ++j) x[j] *= f;
}

/** Where things lie in scratch. */
typedef struct parts {
    float *kk, *qk, *decay, *x, *dkk, *dqk;      /* [m, B] */
    float *over, *rows, *scaled;                 /* [dk, B], [m, dk] twice */
    float *err, *d, *dd, *du, *d_over, *scratch; /* [m, dv] four times, [dv, B], [m, dv] */
    float *s_over, *ds_over;                     /* [dv, dk] */
} parts;

static parts parts_of(size_t dk, size_t dv, float *at)
{
    parts p = {.kk = at};
    p.qk = p.kk + B * B;
    p.decay = p.qk + B * B;
    p.x = p.decay + B * B;
    p.dkk = p.x + B * B;
    p.dqk = p.dkk + B * B;
    p.over = p.dqk + B * B;
    p.rows = p.over + B * dk;
    p.scaled = p.rows + B * dk;
    p.err = p.scaled + B * dk;
    p.d = p.err + B * dv;
    p.dd = p.d + B * dv;
    p.du = p.dd + B * dv;
    p.d_over = p.du + B * dv;
    p.scratch = p.d_over + B * dv;
    p.s_over = p.scratch + B * dv;
    p.ds_over = p.s_over + dk * dv;
    return p;
}

void natsl_kernel_delta_grad(size_t m, size_t dk, size_t dv, const float *q, size_t ldq, const float *k, size_t ldk,
                             const float *v, size_t ldv, const float *log_decay, const float *beta, size_t lds,
                             const float *s, const float *dout, size_t lddo, float *dstate, float *dq, size_t lddq,
                             float *dkey, size_t lddk, float *dval, size_t lddv, float *dlog_decay, float *dbeta,
                             size_t ldds, float *scratch)
{
    assert(m <= B);
    if (m == 0) return;
    const parts p = parts_of(dk, dv, scratch);
    double g[B] = {0}, dg[B] = {0}, db[B] = {0}, along[B], running = 0.0;
    float to_start[B], to_end[B], b[B];
    for (size_t i = 0; i < m; ++i) {
        double step = (double)log_decay[i * lds];
        running += step < NATSL_DECAY_FLOOR ? NATSL_DECAY_FLOOR : step;
        g[i] = running;
        b[i] = beta[i * lds];
    }
    for (size_t i = 0; i < m; ++i) {
        to_start[i] = natsl_expf((float)g[i]);
        to_end[i] = natsl_expf((float)(running - g[i]));
    }
    /* the forward pass again: rows against rows, E, U, D */
    natsl_transpose(m, dk, k, ldk, p.over, B);
    natsl_gemm(NATSL_N, NATSL_N, m, m, dk, k, ldk, p.over, B, 0.0f, p.kk, B);
    natsl_gemm(NATSL_N, NATSL_N, m, m, dk, q, ldq, p.over, B, 0.0f, p.qk, B);
    weigh(m, g, beta, lds, p.kk, p.qk, p.decay, p.dkk);
    natsl_unit_lower_inverse(m, p.dkk, p.x);
    scale_rows(m, dk, -1.0f, to_start, k, ldk, p.scaled);
    for (size_t i = 0; i < m; ++i) memcpy(p.err + i * dv, v + i * ldv, dv * sizeof(float));
    natsl_gemm(NATSL_N, NATSL_N, m, dv, dk, p.scaled, dk, s, dv, 1.0f, p.err, dv);
    scale_rows(m, dv, 1.0f, b, p.err, dv, p.scratch);
    natsl_gemm(NATSL_N, NATSL_N, m, dv, m, p.x, B, p.scratch, dv, 0.0f, p.d, dv);
    /* dD, dU, dV and what beta gets from U */
    scale_rows(m, dk, 1.0f, to_end, k, ldk, p.rows);
    natsl_gemm(NATSL_N, NATSL_N, m, dv, dk, p.rows, dk, dstate, dv, 0.0f, p.dd, dv);
    natsl_gemm(NATSL_T, NATSL_N, m, dv, m, p.qk, B, dout, lddo, 1.0f, p.dd, dv);
    natsl_gemm(NATSL_T, NATSL_N, m, dv, m, p.x, B, p.dd, dv, 0.0f, p.du, dv);
    for (size_t i = 0; i < m; ++i) db[i] = (double)dot(dv, p.err + i * dv, p.du + i * dv);
    scale_rows(m, dv, 1.0f, b, p.du, dv, p.scratch); /* dV, also -exp(g) times what K S gets */
    for (size_t i = 0; i < m; ++i) memcpy(dval + i * lddv, p.scratch + i * dv, dv * sizeof(float));
    /* rows against rows */
    natsl_transpose(m, dv, p.d, dv, p.d_over, B);
    natsl_gemm(NATSL_N, NATSL_N, m, m, dv, dout, lddo, p.d_over, B, 0.0f, p.dqk, B);
    natsl_gemm(NATSL_N, NATSL_N, m, m, dv, p.du, dv, p.d_over, B, 0.0f, p.dkk, B);
    scale_all(m * B, -1.0f, p.dkk);
    unweigh(m, beta, lds, p.kk, p.qk, p.decay, p.dkk, p.dqk, dg, db);
    natsl_gemm(NATSL_N, NATSL_N, m, dk, m, p.dqk, B, k, ldk, 1.0f, dq, lddq);
    natsl_gemm(NATSL_T, NATSL_N, m, dk, m, p.dqk, B, q, ldq, 1.0f, dkey, lddk);
    natsl_gemm(NATSL_N, NATSL_N, m, dk, m, p.dkk, B, k, ldk, 1.0f, dkey, lddk);
    natsl_gemm(NATSL_T, NATSL_N, m, dk, m, p.dkk, B, k, ldk, 1.0f, dkey, lddk);
    /* against the states before and after */
    natsl_transpose(dk, dv, s, dv, p.s_over, dk);
    natsl_transpose(dk, dv, dstate, dv, p.ds_over, dk);
    float *product = p.over; /* [m, dk] */
    natsl_gemm(NATSL_N, NATSL_N, m, dk, dv, dout, lddo, p.s_over, dk, 0.0f, product, dk);
    add_rows(m, dk, 1.0f, to_start, product, q, ldq, dq, lddq, along);
    for (size_t i = 0; i < m; ++i) dg[i] += along[i];
    natsl_gemm(NATSL_N, NATSL_N, m, dk, dv, p.scratch, dv, p.s_over, dk, 0.0f, product, dk);
    add_rows(m, dk, -1.0f, to_start, product, k, ldk, dkey, lddk, along);
    for (size_t i = 0; i < m; ++i) dg[i] += along[i];
    natsl_gemm(NATSL_N, NATSL_N, m, dk, dv, p.d, dv, p.ds_over, dk, 0.0f, product, dk);
    add_rows(m, dk, 1.0f, to_end, product, k, ldk, dkey, lddk, along);
    for (size_t i = 0; i < m; ++i) dg[i] -= along[i], dg[m - 1] += along[i];
    /* dS */
    const float decay = to_start[m - 1];
    for (size_t l = 0; l < dk; ++l) dg[m - 1] += (double)(decay * dot(dv, dstate + l * dv, s + l * dv));
    scale_all(dk * dv, decay, dstate);
    scale_rows(m, dk, 1.0f, to_start, q, ldq, p.rows);
    natsl_gemm(NATSL_T, NATSL_N, dk, dv, m, p.rows, dk, dout, lddo, 1.0f, dstate, dv);
    natsl_gemm(NATSL_T, NATSL_N, dk, dv, m, p.scaled, dk, p.scratch, dv, 1.0f, dstate, dv); /* scaled: -exp(g) k */
    for (size_t i = m; i-- > 0;) {
        if (i + 1 < m) dg[i] += dg[i + 1];
        dlog_decay[i * ldds] = (float)dg[i];
        dbeta[i * ldds] = (float)db[i];
    }
}
