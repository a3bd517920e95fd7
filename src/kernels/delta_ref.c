/* delta_ref.c - the gated delta rule in blocks, plain, as the formulas stand in kernels.h. Source: oracle.py
 * gated_delta_rule; Yang et al., "Gated Delta Networks", 2025, section 3.3. */
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

void natsl_kernel_delta_prepare_ref(size_t m, size_t dk, const float *q, size_t ldq, const float *k, size_t ldk,
                                    const float *log_decay, const float *beta, size_t lds, float *g, float *t, float *a,
                                    float *scratch)
{
    assert(m <= B);
    (void)scratch;
    double sum[B], l[B][B], inverse[B][B], running = 0.0;
    for (size_t i = 0; i < m; ++i) {
        double step = (double)log_decay[i * lds];
        running += step < NATSL_DECAY_FLOOR ? NATSL_DECAY_FLOOR : step;
        sum[i] = running;
        g[i] = (float)running;
    }
    for (size_t i = 0; i < m; ++i) {
        for (size_t j = 0; j < m; ++j) {
            double decay = j <= i ? exp(sum[i] - sum[j]) : 0.0;
            l[i][j] = j < i ? (double)beta[i * lds] * dot(dk, k + i * ldk, k + j * ldk) * decay : 0.0;
            a[i * m + j] = j <= i ? (float)(dot(dk, q + i * ldq, k + j * ldk) * decay) : 0.0f;
        }
    }
    for (size_t i = 0; i < m; ++i) {
        for (size_t j = 0; j < m; ++j) {
            double s = i == j ? 1.0 : 0.0;
            for (size_t r = j; r < i; ++r) /* column j of the inverse is zero above its diagonal */
                s -= l[i][r] * inverse[r][j];
            inverse[i][j] = s;
            t[i * m + j] = j <= i ? (float)(s * (double)beta[j * lds]) : 0.0f;
        }
    }
}

void natsl_kernel_delta_apply_ref(size_t m, size_t first, size_t dk, size_t dv, const float *q, size_t ldq,
                                  const float *k, size_t ldk, const float *v, size_t ldv, const float *g,
                                  const float *t, const float *a, const float *s, float *s_out, size_t ld_state,
                                  float *o, size_t ldo, float *scratch)
{
    assert(m <= B && first <= m);
    (void)scratch;
    for (size_t c = 0; c < dv; ++c) { /* columns are independent: one at a time */
        double error[B], d[B];
        for (size_t i = 0; i < m; ++i) {
            double ks = 0.0;
            for (size_t l = 0; l < dk; ++l) ks += (double)k[i * ldk + l] * (double)s[l * ld_state + c];
            error[i] = (v != NULL ? (double)v[i * ldv + c] : 0.0) - exp((double)g[i]) * ks;
        }
        for (size_t i = 0; i < m; ++i) {
            d[i] = 0.0;
            for (size_t j = 0; j <= i; ++j) d[i] += (double)t[i * m + j] * error[j];
        }
        for (size_t i = first; i < m; ++i) {
            double qs = 0.0, ad = 0.0;
            for (size_t l = 0; l < dk; ++l) qs += (double)q[i * ldq + l] * (double)s[l * ld_state + c];
            for (size_t j = 0; j <= i; ++j) ad += (double)a[i * m + j] * d[j];
            o[(i - first) * ldo + c] = (float)(exp((double)g[i]) * qs + ad);
        }
        if (s_out == NULL) continue;
        for (size_t l = 0; l < dk; ++l) {
            double next = (double)s[l * ld_state + c];
            if (m > 0) next *= exp((double)g[m - 1]);
            for (size_t i = 0; i < m; ++i) next += (double)k[i * ldk + l] * exp((double)g[m - 1] - (double)g[i]) * d[i];
            s_out[l * ld_state + c] = (float)next;
        }
    }
}

void natsl_kernel_delta_step_ref(size_t dk, size_t dv, const float *q, const float *k, const float *v, float log_decay,
                                 float beta, float *s, float *o)
{
    double decay = exp((double)log_decay);
    for (size_t c = 0; c < dv; ++c) {
        double ks = 0.0, out = 0.0;
        for (size_t l = 0; l < dk; ++l) ks += decay * (double)s[l * dv + c] * (double)k[l];
        double d = (double)beta * ((double)v[c] - ks);
        for (size_t l = 0; l < dk; ++l) {
            double next = decay * (double)s[l * dv + c] + (double)k[l] * d;
            s[l * dv + c] = (float)next;
            out += next * (double)q[l];
        }
        o[c] = (float)out;
    }
}
