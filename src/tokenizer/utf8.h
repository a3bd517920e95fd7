/* utf8.h - characters of UTF-8 text: one at a time, and text of any bytes made UTF-8.
 * Owns: nothing. MPI: none. Tests: tests/unit/test_tokenizer.c */
#ifndef NATSL_UTF8_H
#define NATSL_UTF8_H

#include "grow.h"

/** Bytes of the character that `lead` begins; 0 when no character begins so. */
static inline size_t natsl_utf8_length(unsigned char lead)
{
    if (lead < 0x80) return 1;
    if (lead >= 0xc2 && lead <= 0xdf) return 2;
    if (lead >= 0xe0 && lead <= 0xef) return 3;
    if (lead >= 0xf0 && lead <= 0xf4) return 4;
    return 0;
}

/** Whether `second` may follow `lead`: overlong forms, surrogates and values past U+10FFFF are excluded by it. */
static inline int natsl_utf8_second(unsigned char lead, unsigned char second)
{
    switch (lead) {
    case 0xe0: return second >= 0xa0 && second <= 0xbf;
    case 0xed: return second >= 0x80 && second <= 0x9f;
    case 0xf0: return second >= 0x90 && second <= 0xbf;
    case 0xf4: return second >= 0x80 && second <= 0x8f;
    default: return second >= 0x80 && second <= 0xbf;
    }
}

/** Bytes of the whole character at text[0..left); 0 when none begins there, or it is cut. */
static inline size_t natsl_utf8_character(const char *text, size_t left)
{
    const size_t n = left > 0 ? natsl_utf8_length((unsigned char)text[0]) : 0;
    if (n == 0 || n > left || (n > 1 && !natsl_utf8_second((unsigned char)text[0], (unsigned char)text[1]))) return 0;
    for (size_t i = 2; i < n; i++) {
        if (((unsigned char)text[i] & 0xc0) != 0x80) return 0;
    }
    return n;
}

/** The character at *text, which is valid UTF-8, and how many bytes it has. */
static inline uint32_t natsl_utf8_get(const char *text, size_t *length)
{
    const unsigned char *b = (const unsigned char *)text;
    if (b[0] < 0x80) return *length = 1, b[0];
    if (b[0] < 0xe0) return *length = 2, (uint32_t)(b[0] & 0x1f) << 6 | (b[1] & 0x3f);
    if (b[0] < 0xf0) return *length = 3, (uint32_t)(b[0] & 0x0f) << 12 | (uint32_t)(b[1] & 0x3f) << 6 | (b[2] & 0x3f);
    return *length = 4,
           (uint32_t)(b[0] & 0x07) << 18 | (uint32_t)(b[1] & 0x3f) << 12 | (uint32_t)(b[2] & 0x3f) << 6 | (b[3] & 0x3f);
}

/** Writes a character, at most 4 bytes; returns how many. */
static inline size_t natsl_utf8_put(uint32_t c, char *to)
{
    if (c < 0x80) return to[0] = (char)c, 1;
    if (c < 0x800) return to[0] = (char)(0xc0 | c >> 6), to[1] = (char)(0x80 | (c & 0x3f)), 2;
    if (c < 0x10000)
        return to[0] = (char)(0xe0 | c >> 12), to[1] = (char)(0x80 | (c >> 6 & 0x3f)),
               to[2] = (char)(0x80 | (c & 0x3f)), 3;
    return to[0] = (char)(0xf0 | c >> 18), to[1] = (char)(0x80 | (c >> 12 & 0x3f)),
           to[2] = (char)(0x80 | (c >> 6 & 0x3f)), to[3] = (char)(0x80 | (c & 0x3f)), 4;
}

/** Whether a byte is inside a character. */
static inline int natsl_utf8_inside(char byte) { return ((unsigned char)byte & 0xc0) == 0x80; }

/** Appends text[0..length) to `to` as valid UTF-8: each longest beginning of a character that was not finished, and each other
 * byte that cannot be, becomes one U+FFFD (as Unicode recommends, and Python's errors="replace" and Rust's from_utf8_lossy
 * do). last: nothing follows; else a character at the end that could still be finished is left alone. *used: bytes taken.
 * NATSL_ERR_NOMEM. */
natsl_status natsl_utf8_mend(natsl_bytes *to, const char *text, size_t length, int last, size_t *used);

#endif
