/* conv_grad_ref.c - gradient of the short causal convolution with SiLU, plain. Contract: kernels.h. */
#include "kernels_impl.h"

#include <math.h>

/* silu'(x) = s (1 + x (1 - s)), s = sigmoid(x) */
static double silu_slope(double x)
{
    double s = 0.5 * (1.0 + tanh(0.5 * x));
    return s * (1.0 + x * (1.0 - s));
}

/* Raw row `row` counted from the halo's first. */
static double raw(const float *x, size_t ldx, const float *halo, size_t c, size_t width, size_t row, size_t l)
{
    return (double)(row + 1 >= width ? x[(row + 1 - width) * ldx + l] : halo[row * c + l]);
}

void natsl_kernel_short_conv_grad_ref(size_t m, size_t c, size_t width, const float *x, size_t ldx, const float *halo,
                                      const float *w, const float *dy, size_t lddy, float *dx, size_t lddx,
                                      float *dhalo, float *dw)
{
    for (size_t l = 0; l < c; ++l) {
        for (size_t i = m; i-- > 0;) { /* last row first */
            double g = (double)dy[i * lddy + l], s = 0.0;
            if (w == NULL) {
                dx[i * lddx + l] = (float)(g * silu_slope((double)x[i * ldx + l]));
                continue;
            }
            for (size_t j = 0; j < width; ++j) s += raw(x, ldx, halo, c, width, i + j, l) * (double)w[l * width + j];
            g *= silu_slope(s);
            for (size_t j = 0; j < width; ++j)
                dw[l * width + j] = (float)((double)dw[l * width + j] + g * raw(x, ldx, halo, c, width, i + j, l));
            /* dhalo stands for the width-1 raw rows that end at row i: that row is complete with this one, the others move
             * up by one and a new one comes in at the far end. */
            const float last = width > 1 ? dhalo[(width - 2) * c + l] : 0.0f;
            dx[i * lddx + l] = (float)((double)last + g * (double)w[l * width + width - 1]);
            for (size_t j = width - 1; j-- > 0;) {
                double before = j > 0 ? (double)dhalo[(j - 1) * c + l] : 0.0;
                dhalo[j * c + l] = (float)(before + g * (double)w[l * width + j]);
            }
        }
    }
}
