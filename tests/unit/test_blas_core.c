/* test_blas_core.c - what natsl does about OpenBLAS's choice of core, for CPUs that are not here. */
#include "../../src/app/blas_core.h"

#include "../suite.h"

#include <CUnit/Basic.h>
#include <stdio.h>
#include <string.h>

static void test_advice(void)
{
    static const struct {
        const char *core;
        natsl_simd cpu;
        const char *by_user, *tried;
        natsl_blas_action action;
        const char *want;
    } cases[] = {
        /* fits */
        {"SkylakeX", NATSL_SIMD_AVX512, NULL, NULL, NATSL_BLAS_KEEP, NULL},
        {"Cooperlake", NATSL_SIMD_AVX512, NULL, NULL, NATSL_BLAS_KEEP, NULL},
        {"Zen", NATSL_SIMD_AVX2, NULL, NULL, NATSL_BLAS_KEEP, NULL},
        {"haswell", NATSL_SIMD_AVX2, NULL, NULL, NATSL_BLAS_KEEP, NULL},
        {"Nehalem", NATSL_SIMD_SSE, NULL, NULL, NATSL_BLAS_KEEP, NULL},
        /* unknown names are left alone: they are newer than the list, or another architecture */
        {"GraniteRapids", NATSL_SIMD_AVX512, NULL, NULL, NATSL_BLAS_KEEP, NULL},
        {"neoversev1", NATSL_SIMD_SSE, NULL, NULL, NATSL_BLAS_KEEP, NULL},
        /* poorer than the CPU */
        {"Prescott", NATSL_SIMD_AVX512, NULL, NULL, NATSL_BLAS_RESTART, "SkylakeX"},
        {"Core2", NATSL_SIMD_AVX512, NULL, NULL, NATSL_BLAS_RESTART, "SkylakeX"},
        {"Zen", NATSL_SIMD_AVX512, NULL, NULL, NATSL_BLAS_RESTART, "SkylakeX"},
        {"Haswell", NATSL_SIMD_AVX512, NULL, NULL, NATSL_BLAS_RESTART, "SkylakeX"},
        {"Sandybridge", NATSL_SIMD_AVX2, NULL, NULL, NATSL_BLAS_RESTART, "Haswell"},
        {"Barcelona", NATSL_SIMD_AVX2, NULL, NULL, NATSL_BLAS_RESTART, "Haswell"},
        {"Prescott", NATSL_SIMD_AVX, NULL, NULL, NATSL_BLAS_RESTART, "Sandybridge"},
        /* the first restart did not help: next best, then a warning, never the same again */
        {"Prescott", NATSL_SIMD_AVX512, NULL, "SkylakeX", NATSL_BLAS_RESTART, "Haswell"},
        {"Prescott", NATSL_SIMD_AVX512, NULL, "Haswell", NATSL_BLAS_WARN, "SkylakeX"},
        {"Haswell", NATSL_SIMD_AVX512, NULL, "SkylakeX", NATSL_BLAS_WARN, "SkylakeX"},
        {"Haswell", NATSL_SIMD_AVX512, NULL, "Haswell", NATSL_BLAS_WARN, "SkylakeX"},
        {"Prescott", NATSL_SIMD_AVX2, NULL, "Haswell", NATSL_BLAS_WARN, "Haswell"},
        {"SkylakeX", NATSL_SIMD_AVX512, NULL, "SkylakeX", NATSL_BLAS_KEEP, NULL},
        /* the user's word is respected, and what it costs is said */
        {"Prescott", NATSL_SIMD_AVX512, "Prescott", NULL, NATSL_BLAS_WARN, "SkylakeX"},
        {"Haswell", NATSL_SIMD_AVX512, "Haswell", NULL, NATSL_BLAS_WARN, "SkylakeX"},
        {"SkylakeX", NATSL_SIMD_AVX512, "SkylakeX", NULL, NATSL_BLAS_KEEP, NULL},
        {"SkylakeX", NATSL_SIMD_AVX2, "SkylakeX", NULL, NATSL_BLAS_WARN, "Haswell"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const natsl_blas_advice got = natsl_blas_advise(cases[i].core, cases[i].cpu, cases[i].by_user, cases[i].tried);
        if (got.action != cases[i].action || (cases[i].want && strcmp(got.core, cases[i].want) != 0)) {
            fprintf(stderr, "case %zu (%s): action %d %s, expected %d %s\n", i, cases[i].core, (int)got.action,
                    got.core, (int)cases[i].action, cases[i].want ? cases[i].want : "");
            CU_FAIL("advice");
        }
    }
}

/** However often a restart does not help, there is an end. */
static void test_ends(void)
{
    static const char *const cores[] = {"Prescott", "Sandybridge", "Haswell", "SkylakeX", "Unknown"};
    for (int cpu = NATSL_SIMD_SSE; cpu <= NATSL_SIMD_AVX512; cpu++) {
        for (size_t c = 0; c < sizeof cores / sizeof cores[0]; c++) {
            const char *tried = NULL;
            int starts = 0;
            for (; starts < 10; starts++) {
                const natsl_blas_advice a = natsl_blas_advise(cores[c], (natsl_simd)cpu, NULL, tried);
                if (a.action != NATSL_BLAS_RESTART) break;
                tried = a.core;
            }
            CU_ASSERT(starts <= 2);
        }
    }
}

int main(void)
{
    static const test_entry tests[] = {{"advice", test_advice}, {"no endless restarts", test_ends}};
    return run_suite("OpenBLAS core", tests, sizeof tests / sizeof tests[0]);
}
