/* utf8.c - text of any bytes made UTF-8. See utf8.h. */
#include "utf8.h"

#include <string.h>

/** Bytes of ASCII at the beginning of text[0..length), eight at a time. */
static size_t ascii_run(const unsigned char *text, size_t length)
{
    size_t n = 0;
    for (; n + 8 <= length; n += 8) {
        uint64_t eight;
        memcpy(&eight, text + n, 8);
        if (eight & 0x8080808080808080u) break;
    }
    while (n < length && text[n] < 0x80) n++;
    return n;
}

natsl_status natsl_utf8_mend(natsl_bytes *to, const char *text, size_t length, int last, size_t *used)
{
    const unsigned char *b = (const unsigned char *)text;
    size_t at = 0, good = 0; /* text[good..at) is valid and not yet copied */
    natsl_status st = NATSL_OK;
    *used = 0;
    while (at < length && st == NATSL_OK) {
        if (b[at] < 0x80) {
            at += ascii_run(b + at, length - at);
            continue;
        }
        const size_t want = natsl_utf8_length(b[at]);
        size_t have = want ? 1 : 0;
        while (have > 0 && have < want && at + have < length &&
               (have == 1 ? natsl_utf8_second(b[at], b[at + 1]) : (b[at + have] & 0xc0) == 0x80))
            have++;
        if (have == want && want > 0) {
            at += want;
            continue;
        }
        if (have > 0 && at + have == length && !last) break; /* may still be finished */
        st = natsl_bytes_add(to, text + good, at - good);
        if (st == NATSL_OK) st = natsl_bytes_add(to, "\xef\xbf\xbd", 3);
        at += have > 0 ? have : 1;
        good = at;
    }
    if (st == NATSL_OK) st = natsl_bytes_add(to, text + good, at - good);
    *used = at;
    return st;
}
