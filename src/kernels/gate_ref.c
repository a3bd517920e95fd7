/* gate_ref.c - decay, beta and the gate's choice, plain. Contract: kernels.h. Source: oracle.py mixer. */
#include "kernels_impl.h"

#include <math.h>

void natsl_kernel_decay_beta_ref(size_t m, size_t heads, const float *ab, size_t ldab, const float *a_log,
                                 const float *dt_bias, int neg_eigval, float *log_decay, float *beta)
{
    for (size_t i = 0; i < m; ++i) {
        for (size_t h = 0; h < heads; ++h) {
            double z = (double)ab[i * ldab + h] + (double)dt_bias[h];
            double b = (double)ab[i * ldab + heads + h];
            double softplus = fmax(z, 0.0) + log1p(exp(-fabs(z))); /* logaddexp(0, z) */
            log_decay[i * heads + h] = (float)(-exp((double)a_log[h]) * (isnan(z) ? z : softplus));
            beta[i * heads + h] = (float)(1.0 / (1.0 + exp(-b)) * (neg_eigval ? 2.0 : 1.0));
        }
    }
}

/* In float although the rule here is double: the sum is carried in float from call to call, and its bits may not
 * depend on how a chunk was cut into calls. */
void natsl_kernel_pool_add_ref(size_t m, size_t d, const float *x, size_t ldx, float *sum)
{
    for (size_t i = 0; i < m; ++i)
        for (size_t j = 0; j < d; ++j) sum[j] += x[i * ldx + j];
}

void natsl_kernel_gate_choose_ref(size_t heads, size_t d, const float *sum, size_t count, const float *w, float *logits,
                                  uint8_t *keep)
{
    for (size_t h = 0; h < heads; ++h) {
        for (size_t op = 2 * h; op < 2 * h + 2; ++op) {
            double s = 0.0;
            for (size_t j = 0; j < d; ++j) s += (double)sum[j] / (double)count * (double)w[op * d + j];
            logits[op] = (float)s;
        }
        keep[h] = (uint8_t)(logits[2 * h] >= logits[2 * h + 1]); /* argmax: the first wins a tie */
    }
}
