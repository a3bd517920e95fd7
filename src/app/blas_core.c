/* blas_core.c - OpenBLAS's core against the CPU. See blas_core.h. */
#include "blas_core.h"

#include <cblas.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/auxv.h>
#include <unistd.h>

/* Set for the second start: it holds the core that was asked for, so that a start that changed nothing is not repeated. */
#define TRIED "NATSL_BLAS_CORE_TRIED"

/** Vector units that a core of OpenBLAS uses; -1 for a name not in this list (newer than it, or another architecture). */
static int core_simd(const char *core)
{
    static const struct {
        const char *name;
        natsl_simd simd;
    } cores[] = {
        {"Katmai", NATSL_SIMD_SSE},       {"Coppermine", NATSL_SIMD_SSE},    {"Northwood", NATSL_SIMD_SSE},
        {"Prescott", NATSL_SIMD_SSE},     {"Banias", NATSL_SIMD_SSE},        {"Atom", NATSL_SIMD_SSE},
        {"Core2", NATSL_SIMD_SSE},        {"Penryn", NATSL_SIMD_SSE},        {"Dunnington", NATSL_SIMD_SSE},
        {"Nehalem", NATSL_SIMD_SSE},      {"Athlon", NATSL_SIMD_SSE},        {"Opteron", NATSL_SIMD_SSE},
        {"Opteron_SSE3", NATSL_SIMD_SSE}, {"Barcelona", NATSL_SIMD_SSE},     {"Bobcat", NATSL_SIMD_SSE},
        {"Nano", NATSL_SIMD_SSE},         {"Generic", NATSL_SIMD_SSE},       {"Sandybridge", NATSL_SIMD_AVX},
        {"Bulldozer", NATSL_SIMD_AVX},    {"Piledriver", NATSL_SIMD_AVX},    {"Steamroller", NATSL_SIMD_AVX},
        {"Excavator", NATSL_SIMD_AVX},    {"Haswell", NATSL_SIMD_AVX2},      {"Zen", NATSL_SIMD_AVX2},
        {"SkylakeX", NATSL_SIMD_AVX512},  {"Cooperlake", NATSL_SIMD_AVX512}, {"SapphireRapids", NATSL_SIMD_AVX512}};
    for (size_t i = 0; i < sizeof cores / sizeof cores[0]; i++) {
        if (strcasecmp(core, cores[i].name) == 0) return (int)cores[i].simd;
    }
    return -1;
}

natsl_blas_advice natsl_blas_advise(const char *core, natsl_simd cpu, const char *by_user, const char *tried)
{
    const int has = core_simd(core);
    const char *best = cpu >= NATSL_SIMD_AVX512 ? "SkylakeX" : cpu == NATSL_SIMD_AVX2 ? "Haswell" : "Sandybridge";
    natsl_blas_advice advice = {NATSL_BLAS_KEEP, best};
    if (has < 0 || has == (int)cpu) return advice;
    if (has > (int)cpu) { /* asked for by the user: it will end in an illegal instruction */
        advice.action = by_user ? NATSL_BLAS_WARN : NATSL_BLAS_KEEP;
        return advice;
    }
    if (by_user) {
        advice.action = NATSL_BLAS_WARN;
    } else if (!tried) {
        advice.action = NATSL_BLAS_RESTART;
    } else if (strcmp(tried, "SkylakeX") == 0 && has < (int)NATSL_SIMD_AVX2) {
        /* An OpenBLAS built without AVX-512 refuses the first; the next best is still four times SSE. */
        advice = (natsl_blas_advice){NATSL_BLAS_RESTART, "Haswell"};
    } else {
        advice.action = NATSL_BLAS_WARN;
    }
    return advice;
}

#if defined(__x86_64__)
static natsl_simd cpu_simd(void)
{
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512cd"))
        return NATSL_SIMD_AVX512;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return NATSL_SIMD_AVX2;
    return __builtin_cpu_supports("avx") ? NATSL_SIMD_AVX : NATSL_SIMD_SSE;
}
#endif

const char *natsl_blas_core_fit(char *const argv[])
{
#if defined(__x86_64__)
    static char warning[256];
    const char *core = openblas_get_corename(), *set = getenv("OPENBLAS_CORETYPE"), *tried = getenv(TRIED);
    const char *by_user = set && (!tried || strcmp(set, tried) != 0) ? set : NULL;
    const natsl_blas_advice advice = natsl_blas_advise(core, cpu_simd(), by_user, tried);
    if (advice.action == NATSL_BLAS_KEEP) return NULL;
    /* AT_BASE is 0 when the dynamic loader itself was the program started (`ld.so natsl ...`): /proc/self/exe is then not
     * this program. */
    if (advice.action == NATSL_BLAS_RESTART && getauxval(AT_BASE) != 0 && setenv(TRIED, advice.core, 1) == 0 &&
        setenv("OPENBLAS_CORETYPE", advice.core, 1) == 0)
        execv("/proc/self/exe", argv); /* returns only when it failed */
    (void)snprintf(
        warning, sizeof warning,
        "OpenBLAS uses its core \"%.32s\"%s, which does not fit this CPU and may be several times too slow or "
        "fail; set OPENBLAS_CORETYPE=%s or install a newer OpenBLAS",
        core, by_user ? " because OPENBLAS_CORETYPE says so" : "", advice.core);
    return warning;
#else
    (void)argv;
    return NULL;
#endif
}
