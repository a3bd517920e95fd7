/* rotary.c - rotate-half rotary embedding, vectorised over a head's dimensions. Owns: nothing. Contract: kernels.h.
 * Angles are the oracle's: position times theta^(-i/half), both in double, reduced by libm. A table of angles with
 * addition theorems would save time nobody sees (below 1 % of a layer) and move the result at far positions. */
#include "kernels_impl.h"
#include "vecmath.h"

enum { BLOCK = 128 }; /* frequencies at once */

/* n frequencies of heads of d dimensions; a pair lies `half` apart. */
NATSL_CLONES static void rotate_heads(size_t heads, size_t d, size_t half, size_t n, float *x, const float *cosine,
                                      const float *sine)
{
    for (size_t h = 0; h < heads; ++h) {
        float *x1 = x + h * d, *x2 = x1 + half;
#pragma omp simd
        for (size_t j = 0; j < n; ++j) {
            float a = x1[j], b = x2[j];
            x1[j] = a * cosine[j] - b * sine[j];
            x2[j] = b * cosine[j] + a * sine[j];
        }
    }
}

void natsl_kernel_rotary(size_t m, size_t heads, size_t d, size_t r, float *x, size_t ldx, int64_t pos0, double theta)
{
    size_t half = r / 2;
    double freq[BLOCK];
    float cosine[BLOCK], sine[BLOCK];
    for (size_t f0 = 0; f0 < half; f0 += BLOCK) {
        size_t n = half - f0 < BLOCK ? half - f0 : BLOCK;
        for (size_t j = 0; j < n; ++j) freq[j] = pow(theta, -((double)(f0 + j) / (double)half));
        for (size_t i = 0; i < m; ++i) {
            double pos = (double)(pos0 + (int64_t)i);
            for (size_t j = 0; j < n; ++j) {
                cosine[j] = (float)cos(pos * freq[j]);
                sine[j] = (float)sin(pos * freq[j]);
            }
            rotate_heads(heads, d, half, n, x + i * ldx + f0, cosine, sine);
        }
    }
}
