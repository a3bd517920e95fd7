/* vecmath.h - exp, sigmoid and SiLU in float32 that a compiler turns into vector code, and the macro that builds a loop
 * for several generations of x86-64 and picks one when the program is loaded.
 * Owns: nothing. Private to src/kernels (fast set). Tests: tests/unit/test_kernels.c (exp). */
#ifndef NATSL_VECMATH_H
#define NATSL_VECMATH_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* NATSL_CLONES before a function: compiled for AVX-512, AVX2+FMA and plain x86-64; the dynamic loader chooses. Needs
 * ifunc (glibc). Left out under the sanitizers, whose run time is not yet up when ifunc resolvers run, and with clang,
 * where the plain loops are vectorised for the machine that the build names. */
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && defined(__gnu_linux__) && defined(__GLIBC__) && \
    !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) && !defined(NATSL_NO_CLONES)
#if __GNUC__ >= 12
#define NATSL_CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#define NATSL_HAVE_CLONES
#endif
#endif
#ifndef NATSL_CLONES
#define NATSL_CLONES
#endif

/* Helpers must be inlined into every clone, or they would stay code for the plain machine. */
#define NATSL_INLINE static inline __attribute__((always_inline))

/** e^x, error below 1.1 ulp, with FMA or without. Exact: e^0 = 1, e^-inf = 0, e^inf = inf; NaN stays NaN. Results below
 * the normal range become subnormal, they are not flushed.
 * x = n ln2 + r, |r| <= ln2/2; e^r = 1 + r + r^2 p(r), p interpolated at Chebyshev points; 2^n in two factors, since
 * n reaches -150 and 129, beyond one float's exponent. */
NATSL_INLINE float natsl_expf(float x)
{
    const float shift = 0x1.8p23f; /* adding it leaves round(v) in the low bits of the sum */
    /* e^-104 rounds to 0 and e^89 to inf, so clamping there changes no result; both comparisons are false for NaN. */
    x = x < -104.0f ? -104.0f : x;
    x = x > 89.0f ? 89.0f : x;
    float t = x * 0x1.715476p0f + shift;
    float n = t - shift;
    float r = x - n * 0x1.63p-1f; /* ln2, upper 9 bits: n times it is exact */
    r = r + n * 0x1.bd0106p-13f;  /* ln2 - 0x1.63p-1 = -0x1.bd0105c6p-13 */
    float p = 0x1.6d1380p-10f;
    p = p * r + 0x1.120de4p-7f;
    p = p * r + 0x1.555518p-5f;
    p = p * r + 0x1.5554dap-3f;
    p = p * r + 0.5f;
    p = (r * r) * p + r;
    p = p + 1.0f;
    uint32_t bits, shift_bits = 0x4B400000u; /* of `shift` */
    memcpy(&bits, &t, sizeof bits);
    int32_t e = (int32_t)(bits - shift_bits); /* n; anything for NaN, whose p is NaN whatever it is multiplied by */
    int32_t e1 = e >> 1, e2 = e - e1;
    uint32_t b1 = ((uint32_t)e1 + 127u) << 23, b2 = ((uint32_t)e2 + 127u) << 23;
    float s1, s2;
    memcpy(&s1, &b1, sizeof s1);
    memcpy(&s2, &b2, sizeof s2);
    return p * s1 * s2;
}

/** e^x for x <= 0, for the loops where it is the cost: a third fewer instructions, since no clamping from above and one
 * power of two are enough. Same accuracy; results below e^-87 = 1.6e-38 are 0. e^0 = 1, e^-inf = 0, NaN stays NaN. */
NATSL_INLINE float natsl_expf_nonpos(float x)
{
    const float shift = 0x1.8p23f;
    float z = x < -87.0f ? -87.0f : x;
    float t = z * 0x1.715476p0f + shift;
    float n = t - shift;
    float r = z - n * 0x1.63p-1f;
    r = r + n * 0x1.bd0106p-13f;
    float p = 0x1.6d1380p-10f;
    p = p * r + 0x1.120de4p-7f;
    p = p * r + 0x1.555518p-5f;
    p = p * r + 0x1.5554dap-3f;
    p = p * r + 0.5f;
    p = (r * r) * p + r;
    p = p + 1.0f;
    uint32_t bits;
    memcpy(&bits, &t, sizeof bits);
    bits = (bits << 23) + 0x3F800000u; /* n >= -126 from the low bits of t into the exponent */
    float s;
    memcpy(&s, &bits, sizeof s);
    return x < -87.0f ? 0.0f : p * s;
}

/** Written with e^-|x|, which cannot overflow. sigmoid(-inf) = 0, sigmoid(inf) = 1, both exactly. */
NATSL_INLINE float natsl_sigmoidf(float x)
{
    float e = natsl_expf_nonpos(-fabsf(x));
    return (x < 0.0f ? e : 1.0f) / (1.0f + e);
}

NATSL_INLINE float natsl_siluf(float x)
{
    float e = natsl_expf_nonpos(-fabsf(x));
    return (x < 0.0f ? x * e : x) / (1.0f + e);
}

/** Sum of squares of a row. The order of summation depends on d and the CPU alone: never on the row's address (vector
 * loads are unaligned) or its number. Four quarters at a time: one chain of additions is as long as a quarter, and one
 * vector is left to be summed across. */
NATSL_INLINE float natsl_sum_squares(const float *x, size_t d)
{
    float sum = 0.0f, rest = 0.0f;
    size_t quarter = d / 64 * 16;
    const float *x1 = x + quarter, *x2 = x1 + quarter, *x3 = x2 + quarter;
#pragma omp simd reduction(+ : sum)
    for (size_t i = 0; i < quarter; ++i) sum += (x[i] * x[i] + x1[i] * x1[i]) + (x2[i] * x2[i] + x3[i] * x3[i]);
    if (4 * quarter == d) return sum;
#pragma omp simd reduction(+ : rest)
    for (size_t i = 4 * quarter; i < d; ++i) rest += x[i] * x[i];
    return sum + rest;
}

/** Largest of `top` and x[0..n). NaN is passed over: its exponential brings it into the sum. */
NATSL_INLINE float natsl_max(const float *x, size_t n, float top)
{
    size_t quarter = n / 64 * 16;
    const float *x1 = x + quarter, *x2 = x1 + quarter, *x3 = x2 + quarter;
#pragma omp simd reduction(max : top)
    for (size_t i = 0; i < quarter; ++i) {
        /* a NaN on the left of > loses: each of the four is taken only if it is larger */
        float a = x[i] > -INFINITY ? x[i] : -INFINITY, b = x2[i] > -INFINITY ? x2[i] : -INFINITY;
        a = x1[i] > a ? x1[i] : a;
        b = x3[i] > b ? x3[i] : b;
        a = b > a ? b : a;
        top = a > top ? a : top;
    }
#pragma omp simd reduction(max : top)
    for (size_t i = 4 * quarter; i < n; ++i) top = x[i] > top ? x[i] : top;
    return top;
}

#endif
