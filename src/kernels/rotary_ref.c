/* rotary_ref.c - rotate-half rotary embedding, plain. Contract: kernels.h. Source: oracle.py rotary, attention. */
#include "kernels_impl.h"

#include <math.h>

void natsl_kernel_rotary_ref(size_t m, size_t heads, size_t d, size_t r, float *x, size_t ldx, int64_t pos0,
                             double theta)
{
    size_t half = r / 2;
    for (size_t j = 0; j < half; ++j) {
        double freq = pow(theta, -((double)j / (double)half));
        for (size_t i = 0; i < m; ++i) {
            double angle = (double)(pos0 + (int64_t)i) * freq;
            double cosine = cos(angle), sine = sin(angle);
            for (size_t h = 0; h < heads; ++h) {
                float *p = x + i * ldx + h * d + j;
                double x1 = (double)p[0], x2 = (double)p[half];
                p[0] = (float)(x1 * cosine - x2 * sine);
                p[half] = (float)(x2 * cosine + x1 * sine);
            }
        }
    }
}
