/* delta_grad_ref.c - gradient of one block of the gated delta rule, plain, as the formulas stand in kernels.h. Source:
 * oracle_grad.py gated_delta_rule (by autograd); the block's form: delta_ref.c. */
#include "kernels_impl.h"

#include <assert.h>
#include <math.h>

enum { B = NATSL_DELTA_BLOCK };

static double dot(size_t n, const float *x, const float *y)
{
    double s = 0.0;
    for (size_t i = 0; i < n; ++i) s += (double)x[i] * (double)y[i];
    return s;
}

/** What the block's rows are to each other. */
typedef struct pairs {
    double g[B], beta[B];
    double kk[B][B], qk[B][B]; /* products weighed by exp(g_i - g_j): j < i, j <= i; else 0 */
    double dkk[B][B], dqk[B][B];
} pairs;

static void pairs_set(pairs *p, size_t m, size_t dk, const float *q, size_t ldq, const float *k, size_t ldk,
                      const float *log_decay, const float *beta, size_t lds)
{
    double running = 0.0;
    for (size_t i = 0; i < m; ++i) {
        double step = (double)log_decay[i * lds];
        running += step < NATSL_DECAY_FLOOR ? NATSL_DECAY_FLOOR : step;
        p->g[i] = running;
        p->beta[i] = (double)beta[i * lds];
    }
    for (size_t i = 0; i < m; ++i) {
        for (size_t j = 0; j < m; ++j) {
            double decay = j <= i ? exp(p->g[i] - p->g[j]) : 0.0;
            p->kk[i][j] = j < i ? dot(dk, k + i * ldk, k + j * ldk) * decay : 0.0;
            p->qk[i][j] = j <= i ? dot(dk, q + i * ldq, k + j * ldk) * decay : 0.0;
            p->dkk[i][j] = p->dqk[i][j] = 0.0;
        }
    }
}

/** One column: E, D and dU of it into [m] at distance dv; adds to dkk (of beta kk, without its decay), dqk and dbeta. */
static void column(pairs *p, size_t m, size_t dk, size_t dv, size_t c, const float *k, size_t ldk, const float *v,
                   size_t ldv, const float *s, const float *dout, size_t lddo, const float *dstate, double *d,
                   double *du, double *dbeta)
{
    double error[B], dd[B], last = m > 0 ? p->g[m - 1] : 0.0;
    for (size_t i = 0; i < m; ++i) {
        double ks = 0.0;
        for (size_t l = 0; l < dk; ++l) ks += (double)k[i * ldk + l] * (double)s[l * dv + c];
        error[i] = (double)v[i * ldv + c] - exp(p->g[i]) * ks;
        double sum = p->beta[i] * error[i];
        for (size_t j = 0; j < i; ++j) sum -= p->beta[i] * p->kk[i][j] * d[j * dv + c];
        d[i * dv + c] = sum;
    }
    for (size_t i = 0; i < m; ++i) {
        double ks = 0.0;
        for (size_t l = 0; l < dk; ++l) ks += (double)k[i * ldk + l] * (double)dstate[l * dv + c];
        dd[i] = exp(last - p->g[i]) * ks;
        for (size_t j = i; j < m; ++j) dd[i] += p->qk[j][i] * (double)dout[j * lddo + c];
    }
    for (size_t i = m; i-- > 0;) { /* (I + L)^T dU = dD from the last row up */
        double sum = dd[i];
        for (size_t j = i + 1; j < m; ++j) sum -= p->beta[j] * p->kk[j][i] * du[j * dv + c];
        du[i * dv + c] = sum;
        dbeta[i] += error[i] * sum;
    }
    for (size_t i = 0; i < m; ++i) {
        for (size_t j = 0; j <= i; ++j) {
            p->dqk[i][j] += (double)dout[i * lddo + c] * d[j * dv + c];
            if (j < i) p->dkk[i][j] -= du[i * dv + c] * d[j * dv + c];
        }
    }
}

void natsl_kernel_delta_grad_ref(size_t m, size_t dk, size_t dv, const float *q, size_t ldq, const float *k, size_t ldk,
                                 const float *v, size_t ldv, const float *log_decay, const float *beta, size_t lds,
                                 const float *s, const float *dout, size_t lddo, float *dstate, float *dq, size_t lddq,
                                 float *dkey, size_t lddk, float *dval, size_t lddv, float *dlog_decay, float *dbeta,
                                 size_t ldds, float *scratch)
{
    assert(m <= B);
    pairs p;
    double *d = (double *)(void *)scratch, *du = d + B * dv, dg[B] = {0}, db[B] = {0};
    if (m == 0) return;
    pairs_set(&p, m, dk, q, ldq, k, ldk, log_decay, beta, lds);
    for (size_t c = 0; c < dv; ++c) column(&p, m, dk, dv, c, k, ldk, v, ldv, s, dout, lddo, dstate, d, du, db);
    const double last = p.g[m - 1];
    for (size_t i = 0; i < m; ++i) {
        for (size_t j = 0; j <= i; ++j) { /* through the decays between rows, and beta of L */
            double w = p.dqk[i][j] * p.qk[i][j] + p.dkk[i][j] * p.beta[i] * p.kk[i][j];
            dg[i] += w;
            dg[j] -= w;
            db[i] += p.dkk[i][j] * p.kk[i][j];
        }
        const double to_start = exp(p.g[i]), to_end = exp(last - p.g[i]);
        for (size_t l = 0; l < dk; ++l) {
            double q_state = 0.0, k_state = 0.0, k_after = 0.0, dql, dkl;
            for (size_t c = 0; c < dv; ++c) {
                const double sc = (double)s[l * dv + c];
                q_state += to_start * sc * (double)dout[i * lddo + c];
                k_state -= to_start * sc * p.beta[i] * du[i * dv + c];
                k_after += to_end * (double)dstate[l * dv + c] * d[i * dv + c];
            }
            const double qil = (double)q[i * ldq + l], kil = (double)k[i * ldk + l];
            dg[i] += qil * q_state + kil * (k_state - k_after);
            dg[m - 1] += kil * k_after;
            dql = q_state;
            dkl = k_state + k_after;
            for (size_t j = 0; j < m; ++j) {
                double between = j <= i ? exp(p.g[i] - p.g[j]) : exp(p.g[j] - p.g[i]);
                if (j <= i) dql += p.dqk[i][j] * between * (double)k[j * ldk + l];
                if (j < i) dkl += p.dkk[i][j] * p.beta[i] * between * (double)k[j * ldk + l];
                if (j >= i) dkl += p.dqk[j][i] * between * (double)q[j * ldq + l];
                if (j > i) dkl += p.dkk[j][i] * p.beta[j] * between * (double)k[j * ldk + l];
            }
            dq[i * lddq + l] = (float)((double)dq[i * lddq + l] + dql);
            dkey[i * lddk + l] = (float)((double)dkey[i * lddk + l] + dkl);
        }
        for (size_t c = 0; c < dv; ++c) dval[i * lddv + c] = (float)(p.beta[i] * du[i * dv + c]);
        dbeta[i * ldds] = (float)db[i];
    }
    for (size_t l = 0; l < dk; ++l) {
        for (size_t c = 0; c < dv; ++c) {
            double next = exp(last) * (double)dstate[l * dv + c];
            dg[m - 1] += next * (double)s[l * dv + c];
            for (size_t i = 0; i < m; ++i)
                next += exp(p.g[i]) * ((double)q[i * ldq + l] * (double)dout[i * lddo + c] -
                                       (double)k[i * ldk + l] * p.beta[i] * du[i * dv + c]);
            dstate[l * dv + c] = (float)next;
        }
    }
    for (size_t i = m; i-- > 0;) { /* g is a running sum */
        if (i + 1 < m) dg[i] += dg[i + 1];
        dlog_decay[i * ldds] = (float)dg[i];
    }
}
