/* gemm.c - the one door to matrix products, on the calling thread: libxsmm's generated code for what it can do, OpenBLAS for the
 * rest. Owns: nothing (libxsmm keeps the code it has generated). Contract: kernels_impl.h.
 * Why two libraries: OpenBLAS first copies both operands into its own layout, which pays only for matrices of thousands of
 * rows; natsl's are a tile, a chunk or a block high. libxsmm writes code for the very shape at run time, for whatever vector
 * units the CPU has, and adds up each element's k terms in order: the bits of a row do not depend on how many rows are
 * computed with it (wherever more than 16 columns are). Where it cannot (another architecture, memory that may not be made
 * executable, a build without it), the same products go to OpenBLAS. */
#include "kernels_impl.h"

#include <cblas.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef NATSL_HAVE_XSMM
#include <libxsmm.h>
#endif

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

#ifdef NATSL_HAVE_XSMM
/* libxsmm counts by columns: row-major c = a b is, to it, c' = b' a' with b' read as it lies. Returns 0 when it has no code. */
static int generated(enum natsl_trans ta, size_t m, size_t n, size_t k, const float *a, size_t lda, const float *b,
                     size_t ldb, float beta, float *c, size_t ldc)
{
    const int row_b = blas_ld(ldb, n), row_a = blas_ld(lda, ta == NATSL_T ? m : k), row_c = blas_ld(ldc, n);
    const int flags = ta == NATSL_T ? LIBXSMM_GEMM_FLAG_TRANS_B : LIBXSMM_GEMM_FLAG_NONE;
    const float one = 1.0f;
    const libxsmm_smmfunction code =
        libxsmm_smmdispatch(blas_int(n), blas_int(m), blas_int(k), &row_b, &row_a, &row_c, &one, &beta, &flags, NULL);
    if (code == NULL) return 0;
    code(b, a, c);
    return 1;
}
#endif

void natsl_gemm(enum natsl_trans ta, enum natsl_trans tb, size_t m, size_t n, size_t k, const float *a, size_t lda,
                const float *b, size_t ldb, float beta, float *c, size_t ldc)
{
    if (m == 0 || n == 0) return;
    if (k == 0 && beta == 0.0f) { /* said here: what BLAS does with k = 0 differs between libraries */
        for (size_t i = 0; i < m; ++i) memset(c + i * ldc, 0, n * sizeof *c);
        return;
    }
    if (k == 0 && beta == 1.0f) return;
#ifdef NATSL_HAVE_XSMM
    if (tb == NATSL_N && generated(ta, m, n, k, a, lda, b, ldb, beta, c, ldc)) return;
#endif
    cblas_sgemm(CblasRowMajor, ta == NATSL_T ? CblasTrans : CblasNoTrans, tb == NATSL_T ? CblasTrans : CblasNoTrans,
                blas_int(m), blas_int(n), blas_int(k), 1.0f, a, blas_ld(lda, ta == NATSL_T ? m : k), b,
                blas_ld(ldb, tb == NATSL_T ? k : n), beta, c, blas_ld(ldc, n));
}

const char *natsl_gemm_name(void)
{
#ifdef NATSL_HAVE_XSMM
    const float one = 1.0f, zero = 0.0f;
    static char text[64];
    if (libxsmm_smmdispatch(64, 64, 64, NULL, NULL, NULL, &one, &zero, NULL, NULL) != NULL) {
        (void)snprintf(text, sizeof text, "libxsmm %s, %s", LIBXSMM_VERSION, libxsmm_get_target_arch());
        return text;
    }
#endif
    return "OpenBLAS";
}
