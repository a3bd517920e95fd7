/* dtype.h - types of stored tensors, and how 16-bit floating-point numbers become float32.
 * Owns: nothing. MPI: none. Source: IEEE 754 binary16; bfloat16 is the upper half of binary32. Tests: tests/unit/test_safetensors.c */
#ifndef NATSL_DTYPE_H
#define NATSL_DTYPE_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/** How a tensor's numbers stand in a file, little-endian. */
typedef enum natsl_dtype { NATSL_DTYPE_F32 = 0, NATSL_DTYPE_F16, NATSL_DTYPE_BF16 } natsl_dtype;

static inline size_t natsl_dtype_bytes(natsl_dtype type) { return type == NATSL_DTYPE_F32 ? 4 : 2; }

/** "F32", "F16", "BF16": the names of the safetensors format. */
static inline const char *natsl_dtype_name(natsl_dtype type)
{
    static const char *const names[] = {"F32", "F16", "BF16"};
    return names[type];
}

/** The float32 of equal value. Every 16-bit number has one; NaN stays NaN, infinity infinity. */
static inline float natsl_from_half_bits(uint16_t bits, natsl_dtype type)
{
    uint32_t wide = (uint32_t)bits << 16;
    float value = 0.0f;
    if (type == NATSL_DTYPE_F16) {
        const uint32_t sign = wide & 0x80000000u, exponent = (bits >> 10) & 31u, mantissa = bits & 0x3ffu;
        if (exponent == 0) { /* zero and subnormal numbers: mantissa * 2^-24, exact */
            value = (float)mantissa * 0x1p-24f;
            memcpy(&wide, &value, sizeof wide);
            wide |= sign;
        } else {
            wide = sign | (exponent == 31 ? 0x7f800000u : (exponent + 112) << 23) | mantissa << 13;
        }
    }
    memcpy(&value, &wide, sizeof value);
    return value;
}

/** `count` stored numbers to float32: from [count * natsl_dtype_bytes(type)] (any alignment), to [count]. `from` may be the
 * last bytes of `to`: numbers widen from the front. */
void natsl_dtype_widen(natsl_dtype type, size_t count, const void *from, float *to);

/** Index of the first stored number that is NaN or infinite; `count` when there is none. from: any alignment. */
size_t natsl_dtype_not_finite(natsl_dtype type, size_t count, const void *from);

#endif
