/* score.c - RULER's rules of scoring. See score.h. */
#include "score.h"

#include <math.h>
#include <string.h>

/** Blanks of one byte, as Python strips them from text. */
static int is_blank(unsigned char c) { return c == ' ' || (c >= '\t' && c <= '\r') || (c >= 0x1c && c <= 0x1f); }

static size_t strip(char *text, size_t length)
{
    size_t begin = 0;
    while (length > 0 && is_blank((unsigned char)text[length - 1])) length--;
    while (begin < length && is_blank((unsigned char)text[begin])) begin++;
    memmove(text, text + begin, length - begin);
    return length - begin;
}

size_t natsl_score_clean(char *text, size_t length)
{
    length = strip(text, length);
    for (size_t i = 0; i < length; i++) {
        if ((unsigned char)text[i] < 0x20) text[i] = '\n';
    }
    return strip(text, length);
}

int natsl_score_is_null(const char *text, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        if (!is_blank((unsigned char)text[i]) && (unsigned char)text[i] >= 0x20) return 0;
    }
    return 1;
}

static unsigned char lower(char c) { return (unsigned char)(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c); }

int natsl_score_contains(const char *text, size_t length, const char *want)
{
    const size_t n = strlen(want);
    for (size_t at = 0; at + n <= length; at++) {
        size_t i = 0;
        while (i < n && lower(text[at + i]) == lower(want[i])) i++;
        if (i == n) return 1;
    }
    return 0;
}

void natsl_score_wilson(double p, double n, double *low, double *high)
{
    const double z = 1.959963984540054, z2 = z * z;
    const double middle = p + z2 / (2.0 * n), half = z * sqrt(p * (1.0 - p) / n + z2 / (4.0 * n * n));
    const double scale = 1.0 + z2 / n;
    *low = fmax(0.0, fmin(p, (middle - half) / scale));
    *high = fmin(1.0, fmax(p, (middle + half) / scale));
}
