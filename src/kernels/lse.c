/* lse.c - running log-sum-exp over tiles of the vocabulary, vectorised. Owns: nothing. Contract: kernels.h. */
#include "kernels_impl.h"
#include "vecmath.h"

enum { RUN = 512 }; /* exponentials summed in float before they join the double */

NATSL_INLINE double exp_sum(const float *x, size_t n, float top)
{
    double total = 0.0;
    for (size_t j0 = 0; j0 < n; j0 += RUN) {
        size_t end = n - j0 < RUN ? n : j0 + RUN;
        float s = 0.0f;
#pragma omp simd reduction(+ : s)
        for (size_t j = j0; j < end; ++j) s += natsl_expf_nonpos(x[j] - top);
        total += (double)s;
    }
    return total;
}

NATSL_CLONES void natsl_kernel_lse_add(size_t m, size_t n, const float *logits, size_t ld, size_t v0,
                                       const int32_t *targets, float *top, double *sum, float *picked)
{
    for (size_t i = 0; i < m; ++i) {
        const float *x = logits + i * ld;
        float now = natsl_max(x, n, top[i]), nan = 0.0f;
        if (targets[i] >= 0 && (size_t)targets[i] >= v0 && (size_t)targets[i] - v0 < n)
            picked[i] = x[(size_t)targets[i] - v0];
        if (now == -INFINITY) { /* nothing but -inf (no weight), or NaN, which must not vanish */
            for (size_t j = 0; j < n; ++j) nan = x[j] != x[j] ? x[j] : nan;
            sum[i] += (double)nan;
            continue;
        }
        if (now != top[i]) sum[i] *= exp((double)top[i] - (double)now);
        sum[i] += exp_sum(x, n, now);
        top[i] = now;
    }
}
