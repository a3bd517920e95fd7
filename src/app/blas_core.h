/* blas_core.h - does OpenBLAS use this CPU's vector units? It chooses a "core" when it is loaded, and a version older than
 * the CPU may choose one that is five times too slow. Owns: nothing. MPI: none, runs before MPI starts.
 * Tests: tests/unit/test_blas_core.c */
#ifndef NATSL_BLAS_CORE_H
#define NATSL_BLAS_CORE_H

/** Vector units, each including those before it. */
typedef enum natsl_simd { NATSL_SIMD_SSE = 0, NATSL_SIMD_AVX, NATSL_SIMD_AVX2, NATSL_SIMD_AVX512 } natsl_simd;

/** What the program should do about OpenBLAS's core. */
typedef enum natsl_blas_action {
    NATSL_BLAS_KEEP = 0, /* it fits, or nothing is known about it */
    NATSL_BLAS_RESTART,  /* start again with OPENBLAS_CORETYPE = core */
    NATSL_BLAS_WARN      /* it does not fit, and restarting is not ours to do or did not help */
} natsl_blas_action;

typedef struct natsl_blas_advice {
    natsl_blas_action action;
    const char *core; /* RESTART: the value to set; WARN: the value to recommend. Static text */
} natsl_blas_advice;

/** The decision alone.
 * \param core    what OpenBLAS calls its core ("Prescott", "SkylakeX").
 * \param cpu     the CPU's vector units.
 * \param by_user OPENBLAS_CORETYPE as the user set it, or NULL.
 * \param tried   the value that an earlier start of this program has set, or NULL. */
natsl_blas_advice natsl_blas_advise(const char *core, natsl_simd cpu, const char *by_user, const char *tried);

/** Checks, and if OpenBLAS's core is poorer than the CPU, starts this program again with OPENBLAS_CORETYPE set (does not
 * return then). Otherwise a warning line (static, without newline) or NULL. Call before MPI and before threads start. */
const char *natsl_blas_core_fit(char *const argv[]);

#endif
