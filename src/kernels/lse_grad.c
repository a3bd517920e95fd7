/* lse_grad.c - gradient of log-softmax cross-entropy over tiles of the vocabulary, vectorised. Owns: nothing. Contract:
 * kernels.h. */
#include "kernels_impl.h"
#include "vecmath.h"

NATSL_CLONES void natsl_kernel_lse_grad(size_t m, size_t n, float *logits, size_t ld, size_t v0, const int32_t *targets,
                                        const float *top, const double *sum, double scale)
{
    for (size_t i = 0; i < m; ++i) {
        float *x = logits + i * ld;
        if (targets[i] < 0) {
            memset(x, 0, n * sizeof *x);
            continue;
        }
        const size_t target = (size_t)targets[i];
        const int here = target >= v0 && target - v0 < n;
        /* 1 - p of the target in double: p may round to 1 */
        const double of_target = here ? scale * (exp((double)x[target - v0] - (double)top[i]) / sum[i] - 1.0) : 0.0;
        const float t = top[i], f = (float)(scale / sum[i]);
#pragma omp simd
        for (size_t j = 0; j < n; ++j) x[j] = f * natsl_expf_nonpos(x[j] - t);
        if (here) x[target - v0] = (float)of_target;
    }
}
