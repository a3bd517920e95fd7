/* score.c - RULER's rules of scoring. See score.h. */
#include "score.h"

#include "measure.h"
#include "utf8.h"

#include <math.h>
#include <stdint.h>
#include <string.h>
#include <utf8proc.h>

/** Blanks of one byte, as Python strips them from text. */
static int is_blank(unsigned char c) { return c == ' ' || (c >= '\t' && c <= '\r') || (c >= 0x1c && c <= 0x1f); }

/** Without blanks at both ends, those of Unicode, too, as Python's str.strip. */
static size_t strip(char *text, size_t length)
{
    size_t begin = length, end = length; /* of what is not blank */
    for (size_t i = 0; i < length;) {
        const size_t blank = natsl_blank_bytes(text + i, length - i);
        if (!blank && begin == length) begin = i;
        i += blank ? blank : 1;
        if (!blank) end = i;
    }
    memmove(text, text + begin, end - begin);
    return end - begin;
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
    for (size_t i = 0; i < length;) {
        const size_t blank = natsl_blank_bytes(text + i, length - i);
        if (!blank && (unsigned char)text[i] >= 0x20) return 0;
        i += blank ? blank : 1;
    }
    return 1;
}

/** The next character of text[*at .. length), in lower case; a byte that begins none stands for itself. */
static uint32_t next_lower(const char *text, size_t length, size_t *at)
{
    size_t n = natsl_utf8_character(text + *at, length - *at);
    if (n == 0) return (unsigned char)text[(*at)++] | 0x80000000u;
    const uint32_t c = natsl_utf8_get(text + *at, &n);
    *at += n;
    if (c < 0x80) return c >= 'A' && c <= 'Z' ? c + 32 : c;
    return c == 0x130 ? c : (uint32_t)utf8proc_tolower((utf8proc_int32_t)c); /* that one becomes two characters */
}

int natsl_score_contains(const char *text, size_t length, const char *want)
{
    const size_t n = strlen(want);
    for (size_t begin = 0; begin <= length;) {
        size_t at = begin, i = 0;
        while (i < n && at < length) {
            if (next_lower(text, length, &at) != next_lower(want, n, &i)) {
                at = length + 1;
                break;
            }
        }
        if (at <= length && i == n) return 1;
        if (begin == length) break;
        (void)next_lower(text, length, &begin);
    }
    return 0;
}

static int is_digit(char c) { return c >= '0' && c <= '9'; }

int natsl_score_integer(const char *text, size_t length, const char *want)
{
    size_t begin = 0, end;
    while (begin < length && !is_digit(text[begin])) begin++;
    if (begin == length) return 0;
    for (end = begin; end < length && is_digit(text[end]);) end++;
    while (end - begin > 1 && text[begin] == '0') begin++;
    while (want[0] == '0' && want[1]) want++;
    return strlen(want) == end - begin && memcmp(text + begin, want, end - begin) == 0;
}

/** What stays when punctuation becomes blanks. */
static int is_word(char c)
{
    const unsigned char u = (unsigned char)c;
    return u >= 0x80 || u == '-' || is_digit(c) || (u >= 'A' && u <= 'Z') || (u >= 'a' && u <= 'z');
}

int natsl_score_word(const char *text, size_t length, const char *want)
{
    const size_t n = strlen(want);
    for (size_t begin = 0, end; begin < length; begin = end + 1) {
        for (end = begin; end < length && is_word(text[end]);) end++;
        if (end - begin == n && n > 0 && memcmp(text + begin, want, n) == 0) return 1;
    }
    return 0;
}

int natsl_score_place(const char *text, size_t length, size_t i, const char *want)
{
    for (size_t at = 0, end, word = 0; at < length; at = end) {
        while (at < length && is_blank((unsigned char)text[at])) at++;
        for (end = at; end < length && !is_blank((unsigned char)text[end]);) end++;
        if (end > at && word++ == i) return strlen(want) == end - at && memcmp(text + at, want, end - at) == 0;
    }
    return 0;
}

/** The one label among labels [n] that is text[0..length), whatever the case; n: none. */
static size_t label_of(const char *text, size_t length, const char *const *labels, size_t n)
{
    size_t i = 0;
    while (i < n && (strlen(labels[i]) != length || !natsl_score_contains(text, length, labels[i]))) i++;
    return i;
}

int natsl_score_label(const char *text, size_t length, const char *want, const char *question,
                      const char *const *labels, size_t n)
{
    const char *stop = length > 0 ? memchr(text, '.', length) : NULL;
    const size_t sentence = stop ? (size_t)(stop - text) : length;
    const int several = strlen(want) > 3 && strchr(want, ',') != NULL;
    size_t found = 0, wanted = 0;
    for (size_t i = 0; i < n; i++)
        found += natsl_score_contains(text, sentence, labels[i]) &&
                 !natsl_score_contains(question, strlen(question), labels[i]);
    for (const char *p = want; p; wanted++) {
        const size_t part = several ? strcspn(p, ",") : strlen(p);
        const size_t i = label_of(p, part, labels, n);
        if (i == n || !natsl_score_contains(text, sentence, labels[i]) ||
            natsl_score_contains(question, strlen(question), labels[i]))
            return 0;
        p = p[part] ? p + part + 1 : NULL;
    }
    return found == wanted;
}

void natsl_score_wilson(double p, double n, double *low, double *high)
{
    const double z = 1.959963984540054, z2 = z * z;
    const double middle = p + z2 / (2.0 * n), half = z * sqrt(p * (1.0 - p) / n + z2 / (4.0 * n * n));
    const double scale = 1.0 + z2 / n;
    *low = fmax(0.0, fmin(p, (middle - half) / scale));
    *high = fmin(1.0, fmax(p, (middle + half) / scale));
}
