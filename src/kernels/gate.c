/* gate.c - decay, beta and the gate's choice. Owns: nothing. Contract: kernels.h.
 * Double precision although this is the fast set: there are a few numbers per token, log decays are summed over chunks,
 * and a choice flipped by rounding changes everything after it. */
#include "kernels_impl.h"
#include "vecmath.h"

void natsl_kernel_decay_beta(size_t m, size_t heads, const float *ab, size_t ldab, const float *a_log,
                             const float *dt_bias, int neg_eigval, float *log_decay, float *beta)
{
    double top = neg_eigval ? 2.0 : 1.0;
    for (size_t h = 0; h < heads; ++h) {
        double rate = -exp((double)a_log[h]), bias = (double)dt_bias[h];
        for (size_t i = 0; i < m; ++i) {
            double z = (double)ab[i * ldab + h] + bias;
            double b = (double)ab[i * ldab + heads + h];
            /* softplus and sigmoid by e^-|z|: no overflow, full relative accuracy on both sides */
            double softplus = log1p(exp(-fabs(z))) + (z > 0.0 ? z : 0.0);
            log_decay[i * heads + h] = (float)(rate * softplus);
            beta[i * heads + h] = (float)(top / (1.0 + exp(-b)));
        }
    }
}

NATSL_CLONES void natsl_kernel_pool_add(size_t m, size_t d, const float *x, size_t ldx, float *sum)
{
    for (size_t i = 0; i < m; ++i) {
        const float *xi = x + i * ldx;
#pragma omp simd
        for (size_t j = 0; j < d; ++j) sum[j] += xi[j];
    }
}

NATSL_CLONES static double dot_mean(size_t d, const float *sum, double count, const float *w)
{
    double s = 0.0;
#pragma omp simd reduction(+ : s)
    for (size_t j = 0; j < d; ++j) s += (double)sum[j] / count * (double)w[j];
    return s;
}

void natsl_kernel_gate_choose(size_t heads, size_t d, const float *sum, size_t count, const float *w, float *logits,
                              uint8_t *keep)
{
    for (size_t h = 0; h < heads; ++h) {
        for (size_t op = 2 * h; op < 2 * h + 2; ++op) logits[op] = (float)dot_mean(d, sum, (double)count, w + op * d);
        /* compared as returned: summation order cannot break a tie */
        keep[h] = (uint8_t)(logits[2 * h] >= logits[2 * h + 1]);
    }
}
