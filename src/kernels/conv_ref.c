/* conv_ref.c - short causal convolution with SiLU, in place, plain. Contract: kernels.h.
 * Source: oracle.py short_conv. */
#include "kernels_impl.h"

#include <math.h>

void natsl_kernel_short_conv_ref(size_t m, size_t c, size_t width, float *x, size_t ldx, const float *halo,
                                 const float *w)
{
    for (size_t i = m; i-- > 0;) { /* last row first: a row is overwritten after all rows that look back at it */
        for (size_t l = 0; l < c; ++l) {
            double s = 0.0;
            if (w == NULL) {
                s = (double)x[i * ldx + l];
            } else {
                for (size_t j = 0; j < width; ++j) { /* tap j meets row i + j - (width-1); negative rows: the halo */
                    size_t row = i + j;
                    float v = row + 1 >= width ? x[(row + 1 - width) * ldx + l] : halo[row * c + l];
                    s += (double)v * (double)w[l * width + j];
                }
            }
            x[i * ldx + l] = (float)(s * 0.5 * (1.0 + tanh(0.5 * s)));
        }
    }
}
