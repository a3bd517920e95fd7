/* kernels_check.h - what the kernel tests share: numbers, buffers with canaries, comparison, tolerances.
 * Owns: buffers until buf_free. The expected values are computed in the tests, in double, from oracle.py's formulas:
 * nothing here calls a kernel. */
#ifndef NATSL_TEST_KERNELS_CHECK_H
#define NATSL_TEST_KERNELS_CHECK_H

#include "kernels.h"

#include <CUnit/Basic.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

/* |got - want| <= atol + rtol |want|. eps = 2^-24 = 6e-8 is half a float32 spacing. */
enum tol_id {
    TOL_EXACT,
    TOL_EXP,
    TOL_ELEMENT,
    TOL_REDUCED,
    TOL_CANCEL,
    TOL_PRODUCT,
    TOL_DELTA,
    TOL_DELTA_RESET,
    TOL_DELTA_REFLECT,
    TOL_SOFTMAX,
    TOL_LSE,
    TOL_GRAD,
    TOL_GRAD_SUM
};
static const struct tolerance {
    double atol, rtol;
    const char *reason;
} tolerances[] = {
    [TOL_EXACT] = {0.0, 0.0, "copies, choices, zeros: no rounding at all"},
    [TOL_EXP] = {1.7e-38, 1.5e-7, "1.25 float32 spacings; near the end of the normal range a weight may be 0"},
    [TOL_ELEMENT] = {1e-7, 1e-6, "a few roundings and one exp of 1 ulp"},
    [TOL_REDUCED] = {1e-7, 3e-6, "an element after one sum of squares of up to 1024 terms"},
    [TOL_CANCEL] = {4e-6, 3e-6, "up to 17 terms of size 2, or two gated ones of size 20, that may cancel"},
    [TOL_PRODUCT] = {2e-5, 1e-5, "dot products of up to 1024 terms of size 1, any order: sqrt(1024) eps per unit"},
    [TOL_DELTA] = {3e-5, 3e-5, "blocks of 64: dependent products and a triangular solve, carried over blocks"},
    [TOL_DELTA_RESET] = {2e-4, 2e-4, "g in float32 near -800 has spacing 6e-5, and exp(g_last - g) its relative error"},
    [TOL_DELTA_REFLECT] = {1e-3, 1e-4, "one key, beta 2, no decay: 64 reflections of errors near 30, t in float32"},
    [TOL_SOFTMAX] = {2e-6, 2e-6, "weights of sum 1, values of size 1, scores of size 10: eps times 10"},
    [TOL_LSE] = {2e-6, 1e-6, "float exponentials of 1 ulp, summed in double"},
    [TOL_GRAD] = {5e-6, 1e-5, "a few roundings of values of size 1; the finite differences are good to 1e-8"},
    [TOL_GRAD_SUM] = {6e-5, 5e-5, "sums over up to 64 rows and a triangular solve, or 300 rows, of values of size 1"},
};

static const natsl_kernels *const kernel_sets[2] = {&natsl_kernels_ref, &natsl_kernels_fast};

/* xorshift: the same numbers on every machine. */
static inline double uniform(uint64_t *state) /* (-1, 1) */
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return (double)(int64_t)(*state >> 11) / 4503599627370496.0 - 1.0;
}

/** rows x cols floats at distance ld >= cols, starting `shift` floats after a 64-byte boundary; all other floats hold a
 * canary. */
typedef struct buf {
    float *base, *p;
    size_t rows, cols, ld, total;
} buf;

static const float canary = -1234.5678f;

static inline buf buf_make(size_t rows, size_t cols, size_t gap, size_t shift)
{
    buf b = {.rows = rows, .cols = cols, .ld = cols + gap};
    b.total = (rows * b.ld + shift + 32 + 15) / 16 * 16;
    b.base = aligned_alloc(64, b.total * sizeof(float));
    if (b.base == NULL) abort();
    for (size_t i = 0; i < b.total; ++i) b.base[i] = canary;
    b.p = b.base + shift;
    for (size_t i = 0; i < rows; ++i)
        for (size_t j = 0; j < cols; ++j)
            b.p[i * b.ld + j] = NAN; /* a kernel that reads what it should write shows it */
    return b;
}

static inline void buf_set(buf *b, float v)
{
    for (size_t i = 0; i < b->rows; ++i)
        for (size_t j = 0; j < b->cols; ++j) b->p[i * b->ld + j] = v;
}

static inline buf buf_random(size_t rows, size_t cols, size_t gap, size_t shift, uint64_t seed, double size)
{
    buf b = buf_make(rows, cols, gap, shift);
    uint64_t state = seed * 0x9E3779B97F4A7C15u + 1;
    for (size_t i = 0; i < rows; ++i)
        for (size_t j = 0; j < cols; ++j) b.p[i * b.ld + j] = (float)(size * uniform(&state));
    return b;
}

static inline buf buf_copy(const buf *a)
{
    buf b = *a;
    b.base = aligned_alloc(64, b.total * sizeof(float));
    if (b.base == NULL) abort();
    memcpy(b.base, a->base, b.total * sizeof(float));
    b.p = b.base + (a->p - a->base);
    return b;
}

static inline float buf_at(const buf *b, size_t i, size_t j) { return b->p[i * b->ld + j]; }

/* Number of floats outside the rows that are no longer the canary. */
static inline size_t buf_spoiled(const buf *b)
{
    size_t n = 0;
    for (size_t f = 0; f < b->total; ++f) {
        size_t shift = (size_t)(b->p - b->base);
        int inside = f >= shift && f - shift < b->rows * b->ld && (f - shift) % b->ld < b->cols;
        if (!inside && memcmp(&b->base[f], &canary, sizeof canary) != 0) ++n;
    }
    return n;
}

static inline void buf_free(buf *b)
{
    free(b->base);
    b->base = b->p = NULL;
}

static inline double *doubles(size_t n)
{
    double *p = calloc(n > 0 ? n : 1, sizeof *p);
    if (p == NULL) abort();
    return p;
}

/** One comparison of many values. */
typedef struct check {
    char what[96];
    struct tolerance tol;
    size_t failures, values;
    double worst;
} check;

static inline check check_begin(const char *set, const char *what, size_t case_index, enum tol_id tol)
{
    check c = {.tol = tolerances[tol]};
    (void)snprintf(c.what, sizeof c.what, "%s %s case %zu", set, what, case_index);
    return c;
}

static inline void check_value(check *c, size_t i, size_t j, double got, double want)
{
    double diff = fabs(got - want);
    ++c->values;
    if (!isfinite(want) || !(diff <= c->tol.atol + c->tol.rtol * fabs(want))) { /* so written that NaN fails */
        if (c->failures++ < 3) printf("\n    %s [%zu,%zu]: got %.9g, want %.9g", c->what, i, j, got, want);
    }
    if (!(diff <= c->worst)) c->worst = diff;
}

static inline void check_true(check *c, int ok, const char *why)
{
    ++c->values;
    if (!ok && c->failures++ < 3) printf("\n    %s: %s", c->what, why);
}

static inline void check_rows(check *c, const buf *got, const double *want)
{
    for (size_t i = 0; i < got->rows; ++i)
        for (size_t j = 0; j < got->cols; ++j) check_value(c, i, j, (double)buf_at(got, i, j), want[i * got->cols + j]);
    check_true(c, buf_spoiled(got) == 0, "wrote outside its rows");
}

static inline void check_end(const check *c)
{
    if (c->failures > 0)
        printf("\n    %s: %zu of %zu wrong, worst error %.3g (%s)\n", c->what, c->failures, c->values, c->worst,
               c->tol.reason);
    CU_ASSERT_EQUAL(c->failures, 0);
}

typedef struct test_entry {
    const char *name;
    CU_TestFunc run;
} test_entry;

/* Runs the tests; 0 when all passed. */
static inline int run_suite(const char *name, const test_entry *tests, size_t count)
{
    if (CU_initialize_registry() != CUE_SUCCESS) return 2;
    CU_pSuite suite = CU_add_suite(name, NULL, NULL);
    if (suite == NULL) return 2;
    for (size_t i = 0; i < count; ++i)
        if (CU_add_test(suite, tests[i].name, tests[i].run) == NULL) return 2;
    CU_basic_set_mode(CU_BRM_VERBOSE);
    CU_ErrorCode run = CU_basic_run_tests();
    unsigned failed = CU_get_number_of_failures() + CU_get_number_of_tests_failed();
    unsigned ran = CU_get_number_of_tests_run();
    CU_cleanup_registry();
    return run != CUE_SUCCESS || failed > 0 || ran != count;
}

#endif
