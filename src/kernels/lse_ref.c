/* lse_ref.c - running log-sum-exp over tiles of the vocabulary, plain. Contract: kernels.h. Source: oracle.py score. */
#include "kernels_impl.h"

#include <math.h>

void natsl_kernel_lse_add_ref(size_t m, size_t n, const float *logits, size_t ld, size_t v0, const int32_t *targets,
                              float *top, double *sum, float *picked)
{
    for (size_t i = 0; i < m; ++i) {
        const float *x = logits + i * ld;
        float now = top[i];
        for (size_t j = 0; j < n; ++j)
            if (x[j] > now) now = x[j];
        if (now > top[i]) sum[i] *= exp((double)top[i] - (double)now);
        for (size_t j = 0; j < n; ++j) {
            sum[i] += x[j] == -INFINITY ? 0.0 : exp((double)x[j] - (double)now);
            if (targets[i] >= 0 && (size_t)targets[i] == v0 + j) picked[i] = x[j];
        }
        top[i] = now;
    }
}
