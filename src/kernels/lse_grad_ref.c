/* lse_grad_ref.c - gradient of log-softmax cross-entropy over tiles of the vocabulary, plain. Contract: kernels.h. */
#include "kernels_impl.h"

#include <math.h>

void natsl_kernel_lse_grad_ref(size_t m, size_t n, float *logits, size_t ld, size_t v0, const int32_t *targets,
                               const float *top, const double *sum, double scale)
{
    for (size_t i = 0; i < m; ++i) {
        float *x = logits + i * ld;
        for (size_t j = 0; j < n; ++j) {
            double p = exp((double)x[j] - (double)top[i]) / sum[i];
            int hit = targets[i] >= 0 && (size_t)targets[i] == v0 + j;
            x[j] = targets[i] < 0 ? 0.0f : (float)(scale * (hit ? p - 1.0 : p));
        }
    }
}
