/* affine_ref.c - y = a x + b, plain, as it stands in kernels.h. */
#include "kernels_impl.h"

void natsl_kernel_affine_ref(size_t dk, size_t n, const float *a, const float *x, size_t ldx, const float *b,
                             size_t ldb, float *y, size_t ldy)
{
    for (size_t i = 0; i < dk; ++i) {
        for (size_t c = 0; c < n; ++c) {
            double s = b != NULL ? (double)b[i * ldb + c] : 0.0;
            for (size_t l = 0; l < dk; ++l) s += (double)a[i * dk + l] * (double)x[l * ldx + c];
            y[i * ldy + c] = (float)s;
        }
    }
}
