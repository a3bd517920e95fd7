/* attention_grad_ref.c - gradient of one block of keys of softmax attention, plain. Contract: kernels.h. Source:
 * oracle_grad.py selected_attention (by autograd). With P the weights: dP = dO V^T, dS = P (dP - rowsum(dO o)). */
#include "kernels_impl.h"

#include <assert.h>
#include <math.h>

double natsl_kernel_attn_grad_ref(size_t m, size_t n, size_t dk, size_t dv, const float *q, size_t ldq,
                                  const float *keys, size_t ldk, const float *values, size_t ldv, float scale,
                                  ptrdiff_t causal, const float *top, const float *sum, const float *dots, size_t lds,
                                  const float *dout, size_t lddo, float *dq, size_t lddq, float *dkeys, size_t lddk,
                                  float *dvalues, size_t lddv, float *scratch)
{
    assert(n <= NATSL_ATTN_KEYS);
    (void)scratch;
    double factor = 0.0;
    for (size_t i = 0; i < m; ++i) {
        size_t seen = causal >= 0 && (size_t)causal + i + 1 < n ? (size_t)causal + i + 1 : n;
        for (size_t j = 0; j < seen; ++j) {
            double s = 0.0, dp = 0.0;
            for (size_t l = 0; l < dk; ++l) s += (double)q[i * ldq + l] * (double)keys[l * ldk + j];
            s *= (double)scale;
            const double p = s == -INFINITY ? 0.0 : exp(s - (double)top[i * lds]) / (double)sum[i * lds];
            for (size_t c = 0; c < dv; ++c) {
                const double g = (double)dout[i * lddo + c];
                dp += g * (double)values[j * ldv + c];
                dvalues[j * lddv + c] = (float)((double)dvalues[j * lddv + c] + p * g);
            }
            const double ds = p * (dp - (double)dots[i * lds]);
            factor += ds;
            for (size_t l = 0; l < dk; ++l) {
                const double to_q = (double)scale * ds * (double)keys[l * ldk + j];
                dq[i * lddq + l] = (float)((double)dq[i * lddq + l] + to_q);
                const double to_k = (double)scale * ds * (double)q[i * ldq + l];
                dkeys[j * lddk + l] = (float)((double)dkeys[j * lddk + l] + to_k);
            }
        }
    }
    return factor;
}
