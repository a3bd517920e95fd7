/* linear.c - matrix products through CBLAS, on the calling thread.
 * Owns: nothing. No threads: callers set OpenBLAS to one thread. Contract: kernels.h. */
#include "kernels_impl.h"

#include <cblas.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int blas_int(size_t v)
{
    if (v > (size_t)INT_MAX) { /* only a broken promise of the caller gets here: sizes were checked on input */
        (void)fprintf(stderr, "natsl: matrix dimension %zu does not fit BLAS\n", v);
        abort();
    }
    return (int)v;
}

/* BLAS wants a leading dimension of at least 1 and of at least the row's length. */
static int blas_ld(size_t ld, size_t row) { return blas_int(ld > row ? ld : (row > 0 ? row : 1)); }

void natsl_gemm(enum natsl_trans ta, enum natsl_trans tb, size_t m, size_t n, size_t k, float alpha, const float *a,
                size_t lda, const float *b, size_t ldb, float beta, float *c, size_t ldc)
{
    if (m == 0 || n == 0) return;
    if (k == 0 && beta == 0.0f) { /* said here: what BLAS does with k = 0 differs between libraries */
        for (size_t i = 0; i < m; ++i) memset(c + i * ldc, 0, n * sizeof *c);
        return;
    }
    if (k == 0 && beta == 1.0f) return;
    cblas_sgemm(CblasRowMajor, ta == NATSL_T ? CblasTrans : CblasNoTrans, tb == NATSL_T ? CblasTrans : CblasNoTrans,
                blas_int(m), blas_int(n), blas_int(k), alpha, a, blas_ld(lda, ta == NATSL_T ? m : k), b,
                blas_ld(ldb, tb == NATSL_T ? k : n), beta, c, blas_ld(ldc, n));
}

enum {
    /* up to here row by row: sgemm first copies all of w into its own layout, which costs as much as about ten rows */
    FEW_ROWS = 8,
    W_BLOCK = 64 * 1024, /* floats of w that stay in the cache from row to row */
};

void natsl_kernel_linear(size_t m, size_t n, size_t k, const float *x, size_t ldx, const float *w, float *y, size_t ldy,
                         int accumulate)
{
    float beta = accumulate ? 1.0f : 0.0f;
    if (m > FEW_ROWS || n == 0 || k == 0) {
        natsl_gemm(NATSL_N, NATSL_T, m, n, k, 1.0f, x, ldx, w, k, beta, y, ldy);
        return;
    }
    size_t block = k < W_BLOCK / 8 ? W_BLOCK / k / 8 * 8 : 8; /* the same for one row as for eight: so are the bits */
    for (size_t j = 0; j < n; j += block) {
        size_t cols = n - j < block ? n - j : block;
        for (size_t i = 0; i < m; ++i)
            cblas_sgemv(CblasRowMajor, CblasNoTrans, blas_int(cols), blas_int(k), 1.0f, w + j * k, blas_int(k),
                        x + i * ldx, 1, beta, y + i * ldy + j, 1);
    }
}
