/* mlp_ref.c - the gated activation of the feed-forward part, plain. Contract: kernels.h. Source: oracle.py forward. */
#include "kernels_impl.h"

#include <math.h>

void natsl_kernel_swiglu_ref(size_t m, size_t n, const float *gu, size_t ldgu, float *y, size_t ldy)
{
    for (size_t i = 0; i < m; ++i) {
        for (size_t j = 0; j < n; ++j) {
            double g = (double)gu[i * ldgu + j];
            y[i * ldy + j] = (float)(g * 0.5 * (1.0 + tanh(0.5 * g)) * (double)gu[i * ldgu + n + j]);
        }
    }
}
