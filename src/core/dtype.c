/* dtype.c - see dtype.h. */
#include "dtype.h"

void natsl_dtype_widen(natsl_dtype type, size_t count, const void *from, float *to)
{
    if (type == NATSL_DTYPE_F32) {
        if (from != (const void *)to) memmove(to, from, count * sizeof *to);
        return;
    }
    for (size_t i = 0; i < count; i++) {
        uint16_t bits;
        memcpy(&bits, (const char *)from + 2 * i, sizeof bits);
        to[i] = natsl_from_half_bits(bits, type);
    }
}

size_t natsl_dtype_not_finite(natsl_dtype type, size_t count, const void *from)
{
    const uint32_t exponent = type == NATSL_DTYPE_F16 ? 0x7c00u : 0x7f80u;
    for (size_t i = 0; i < count; i++) {
        uint16_t upper;
        memcpy(&upper, (const char *)from + (type == NATSL_DTYPE_F32 ? 4 * i + 2 : 2 * i), sizeof upper);
        if ((upper & exponent) == exponent) return i;
    }
    return count;
}
