/* tok_normalize.c - normalizers. See tok.h. Unicode's tables are utf8proc's. */
#include "tok.h"

#include "core.h"
#include "utf8.h"
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

/** Where the result comes from, written while it grows. */
typedef struct writer {
    natsl_bytes *to;
    natsl_sources *sources; /* NULL: not wanted */
    const uint32_t *from;
    size_t known; /* sources->at[0..known) are written */
    size_t most;  /* bytes that it may have */
} writer;

static natsl_status reserve(writer *w, size_t more)
{
    if (more > w->most || w->to->length > w->most - more) /* each step of a hostile file may make a text longer */
        return natsl_fail(NATSL_ERR_INPUT, "a text grows beyond %zu bytes by the steps of its tokenizer", w->most);
    natsl_status st = natsl_bytes_reserve(w->to, more);
    if (st != NATSL_OK || !w->sources || w->sources->room > w->to->room) return st;
    uint32_t *at = natsl_fault() ? NULL : realloc(w->sources->at, (w->to->room + 1) * sizeof *at);
    if (!at) return natsl_fail(NATSL_ERR_NOMEM, "out of memory: text");
    w->sources->at = at;
    w->sources->room = w->to->room + 1;
    return NATSL_OK;
}

/** Appends n bytes that come from the source byte `from` on. */
static natsl_status put(writer *w, size_t from, const char *text, size_t n)
{
    const natsl_status st = reserve(w, n + 1);
    if (st != NATSL_OK) return st;
    memcpy(w->to->at + w->to->length, text, n);
    if (w->sources) {
        /* after text that was removed, the place before it counts: cut there, and it is removed again */
        if (w->known == w->to->length) w->sources->at[w->known++] = w->from[from];
        else if (w->sources->at[w->to->length] == NATSL_SOURCE_NONE) w->sources->at[w->to->length] = w->from[from];
        while (w->known < w->to->length + n) w->sources->at[w->known++] = NATSL_SOURCE_NONE;
    }
    w->to->length += n;
    return NATSL_OK;
}

/** Appends n bytes that belong to what was put last. */
static natsl_status put_inside(writer *w, const char *text, size_t n)
{
    const natsl_status st = reserve(w, n + 1);
    if (st != NATSL_OK) return st;
    memcpy(w->to->at + w->to->length, text, n);
    w->to->length += n;
    while (w->sources && w->known < w->to->length) w->sources->at[w->known++] = NATSL_SOURCE_NONE;
    return NATSL_OK;
}

/** A character that became nothing. */
static natsl_status put_nothing(writer *w, size_t from)
{
    const natsl_status st = reserve(w, 1);
    if (st == NATSL_OK && w->sources && w->known == w->to->length) w->sources->at[w->known++] = w->from[from];
    return st;
}

static natsl_status finish(writer *w, size_t from)
{
    const natsl_status st = reserve(w, 1);
    if (st == NATSL_OK && w->sources && w->known == w->to->length) w->sources->at[w->known++] = w->from[from];
    return st;
}

/* ---- normal forms ---------------------------------------------------------------------------------------------------- */

/* What must come out is what the tokenizers library makes, whose tables for normal forms are those of Unicode 9: to it, marks and
 * decompositions that have come since are characters like others. Found by comparing every character. */
static const struct {
    uint32_t first, last;
} newer[] = {{0x7fd, 0x7fd},     {0x898, 0x89f},     {0x8ca, 0x8d3},     {0x9fe, 0x9fe},     {0xc3c, 0xc3c},
             {0xd3b, 0xd3c},     {0xeba, 0xeba},     {0x1715, 0x1715},   {0x1abf, 0x1ace},   {0x1df6, 0x1dfa},
             {0x32ff, 0x32ff},   {0xa7f2, 0xa7f4},   {0xa82c, 0xa82c},   {0xab69, 0xab69},   {0x10781, 0x10785},
             {0x10787, 0x107b0}, {0x107b2, 0x107ba}, {0x10d24, 0x10d27}, {0x10eab, 0x10eac}, {0x10efd, 0x10eff},
             {0x10f46, 0x10f50}, {0x10f82, 0x10f85}, {0x11070, 0x11070}, {0x1133b, 0x1133b}, {0x1145e, 0x1145e},
             {0x11839, 0x1183a}, {0x11938, 0x11938}, {0x1193d, 0x1193e}, {0x11943, 0x11943}, {0x119e0, 0x119e0},
             {0x11a34, 0x11a34}, {0x11a47, 0x11a47}, {0x11a99, 0x11a99}, {0x11d42, 0x11d42}, {0x11d44, 0x11d45},
             {0x11d97, 0x11d97}, {0x11f41, 0x11f42}, {0x16ff0, 0x16ff1}, {0x1e030, 0x1e06d}, {0x1e08f, 0x1e08f},
             {0x1e130, 0x1e136}, {0x1e2ae, 0x1e2ae}, {0x1e2ec, 0x1e2ef}, {0x1e4ec, 0x1e4ef}, {0x1f16c, 0x1f16c},
             {0x1fbf0, 0x1fbf9}};

static int is_newer(uint32_t c)
{
    size_t lo = 0, hi = sizeof newer / sizeof newer[0];
    if (c < newer[0].first) return 0;
    while (hi - lo > 1) {
        const size_t middle = lo + (hi - lo) / 2;
        if (newer[middle].first <= c) lo = middle;
        else hi = middle;
    }
    return c <= newer[lo].last;
}

/** A character that nothing before it can combine with: class 0, no mark (all second halves of compositions are marks, but for
 * conjoining jamo), and the same of the first character that it decomposes to. */
static int begins_anew(uint32_t c)
{
    utf8proc_int32_t parts[32];
    if (c < 0x300 || is_newer(c)) return 1;
    const utf8proc_property_t *p = utf8proc_get_property((utf8proc_int32_t)c);
    for (int round = 0;; round++) {
        if (p->combining_class != 0 || p->category == UTF8PROC_CATEGORY_MN || p->category == UTF8PROC_CATEGORY_MC ||
            p->category == UTF8PROC_CATEGORY_ME)
            return 0;
        if ((c >= 0x1160 && c <= 0x11ff) || (c >= 0xd7b0 && c <= 0xd7ff)) return 0;
        if (round == 1 || p->decomp_seqindex == UINT16_MAX) return 1;
        int boundary = 0;
        const utf8proc_ssize_t n =
            utf8proc_decompose_char((utf8proc_int32_t)c, parts, 32, UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT, &boundary);
        if (n < 1 || n > 32) return 0;
        c = (uint32_t)parts[0];
        p = utf8proc_get_property(parts[0]);
    }
}

/** Whether a character that stands between two that begin anew stays as it is. */
static int stays(natsl_tok_kind form, uint32_t c)
{
    if (c < 0x80) return 1;
    if ((form == NATSL_TOK_NFC && c < 0x300) || is_newer(c)) return 1;
    return !(c >= 0xac00 && c <= 0xd7a3) && utf8proc_get_property((utf8proc_int32_t)c)->decomp_seqindex == UINT16_MAX;
}

/** text[0..length), which begins anew and after which something does, into its normal form. */
static natsl_status put_normal(writer *w, natsl_tok_kind form, size_t from, const char *text, size_t length)
{
    const int compose = form == NATSL_TOK_NFC || form == NATSL_TOK_NFKC;
    const int compatible = form == NATSL_TOK_NFKC || form == NATSL_TOK_NFKD;
    const utf8proc_option_t options = (utf8proc_option_t)(UTF8PROC_STABLE | (compatible ? UTF8PROC_COMPAT : 0) |
                                                          (compose ? UTF8PROC_COMPOSE : UTF8PROC_DECOMPOSE));
    utf8proc_int32_t few[64], *many = few;
    char out[4];
    utf8proc_ssize_t n = utf8proc_decompose((const utf8proc_uint8_t *)text, (utf8proc_ssize_t)length, few, 64, options);
    if (n > 64) {
        many = natsl_alloc((size_t)n, sizeof *many, "normal form");
        if (!many) return NATSL_ERR_NOMEM;
        n = utf8proc_decompose((const utf8proc_uint8_t *)text, (utf8proc_ssize_t)length, many, n, options);
    }
    if (n >= 0) n = utf8proc_normalize_utf32(many, n, options);
    natsl_status st = n < 0 ? natsl_fail(NATSL_ERR_INPUT, "normal form: %s", utf8proc_errmsg(n)) : NATSL_OK;
    if (n == 0) st = put_nothing(w, from);
    for (utf8proc_ssize_t i = 0; i < n && st == NATSL_OK; i++) {
        const size_t bytes = natsl_utf8_put((uint32_t)many[i], out);
        st = i == 0 ? put(w, from, out, bytes) : put_inside(w, out, bytes);
    }
    if (many != few) natsl_free(many);
    return st;
}

static natsl_status normal_form(writer *w, natsl_tok_kind form, const char *text, size_t length, int open)
{
    natsl_status st = NATSL_OK;
    size_t n = 0;
    for (size_t at = 0, end = 0; at < length && st == NATSL_OK; at = end) {
        const uint32_t c = natsl_utf8_get(text + at, &n);
        int anew = 0;
        end = at + n;
        anew = is_newer(c); /* what follows one is a piece of its own */
        while (!anew && end < length && !(anew = begins_anew(natsl_utf8_get(text + end, &n)))) end += n;
        if (!anew && open) return finish(w, at); /* may go on */
        if (end - at == natsl_utf8_length((unsigned char)text[at]) && stays(form, c))
            st = put(w, at, text + at, end - at);
        else st = put_normal(w, form, at, text + at, end - at);
    }
    return st == NATSL_OK ? finish(w, length) : st;
}

/* ---- character by character ------------------------------------------------------------------------------------------ */

static natsl_status put_lower(writer *w, size_t at, uint32_t c, const char *text, size_t n)
{
    char out[8];
    if (c == 0x130) return put(w, at, "i\xcc\x87", 3); /* the one character whose small form is two */
    const uint32_t lower = (uint32_t)utf8proc_tolower((utf8proc_int32_t)c);
    if (lower == c) return put(w, at, text, n);
    return put(w, at, out, natsl_utf8_put(lower, out));
}

static natsl_status put_letters(writer *w, size_t at, const char *text, size_t n)
{
    char out[16];
    size_t length = 0;
    for (size_t i = 0; i < n; i++) length += natsl_utf8_put(natsl_byte_letter((unsigned char)text[i]), out + length);
    return put(w, at, out, length);
}

static natsl_status characters(writer *w, const natsl_tok_step *s, const char *text, size_t length)
{
    natsl_status st = NATSL_OK;
    for (size_t at = 0, n = 0; at < length && st == NATSL_OK; at += n) {
        const uint32_t c = natsl_utf8_get(text + at, &n);
        switch (s->kind) {
        case NATSL_TOK_LOWERCASE: st = put_lower(w, at, c, text + at, n); break;
        case NATSL_TOK_LETTERS: st = put_letters(w, at, text + at, n); break;
        case NATSL_TOK_STRIP_ACCENTS: {
            const utf8proc_category_t category =
                c < 0x300 ? UTF8PROC_CATEGORY_CN : utf8proc_category((utf8proc_int32_t)c);
            st =
                category == UTF8PROC_CATEGORY_MN || category == UTF8PROC_CATEGORY_MC || category == UTF8PROC_CATEGORY_ME
                    ? put_nothing(w, at)
                    : put(w, at, text + at, n);
            break;
        }
        default: /* NATSL_TOK_CHARACTER */
            if (c != s->character) st = put(w, at, text + at, n);
            else st = s->length > 0 ? put(w, at, s->text, s->length) : put_nothing(w, at);
        }
    }
    return st == NATSL_OK ? finish(w, length) : st;
}

/* ---- kinds of characters --------------------------------------------------------------------------------------------- */

int natsl_tok_is_white(uint32_t c)
{
    return (c >= 9 && c <= 13) || c == 32 || c == 0x85 || c == 0xa0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200a) ||
           c == 0x2028 || c == 0x2029 || c == 0x202f || c == 0x205f || c == 0x3000;
}

int natsl_tok_is_word(uint32_t c)
{
    switch (utf8proc_category((utf8proc_int32_t)c)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_PC: return 1;
    default: return (c >= 0x24b6 && c <= 0x24e9) || (c >= 0x1f130 && c <= 0x1f189) || c == 0x200c || c == 0x200d;
    }
}

/* ---- the rest, of whole texts only ----------------------------------------------------------------------------------- */

static natsl_status strip(writer *w, const natsl_tok_step *s, const char *text, size_t length)
{
    size_t begin = 0, end = length, n = 0;
    while (s->left && begin < end && natsl_tok_is_white(natsl_utf8_get(text + begin, &n))) begin += n;
    while (s->right && end > begin) {
        size_t at = end - 1;
        while (natsl_utf8_inside(text[at])) at--;
        if (!natsl_tok_is_white(natsl_utf8_get(text + at, &n))) break;
        end = at;
    }
    return end > begin ? put(w, begin, text + begin, end - begin) : NATSL_OK;
}

static natsl_status replace(writer *w, const natsl_tok_step *s, natsl_regex_match *match, const char *text,
                            size_t length)
{
    natsl_status st = NATSL_OK;
    size_t copied = 0, from = 0, n = 0;
    int64_t last = -1; /* end of the last match: no empty one right behind it */
    while (st == NATSL_OK && from <= length) {
        natsl_found found;
        size_t begin = 0, end = 0;
        st = natsl_regex_find(match, text, length, from, 0, &found, &begin, &end);
        if (st != NATSL_OK || found != NATSL_FOUND) break;
        if (begin == end && (int64_t)end == last) {
            if (from < length) (void)natsl_utf8_get(text + from, &n);
            from += from < length ? n : 1;
            continue;
        }
        if (begin > copied) st = put(w, copied, text + copied, begin - copied);
        if (st == NATSL_OK && s->length > 0) st = put(w, begin, s->text, s->length);
        copied = from = end;
        last = (int64_t)end;
    }
    return st == NATSL_OK && length > copied ? put(w, copied, text + copied, length - copied) : st;
}

natsl_status natsl_tok_normalize(const natsl_tok_step *s, natsl_regex_match *match, const char *text, size_t length,
                                 const uint32_t *from, int begin, int open, size_t most, natsl_bytes *to,
                                 natsl_sources *to_from)
{
    writer w = {.to = to, .sources = from ? to_from : NULL, .from = from, .most = most};
    natsl_status st = NATSL_OK;
    to->length = 0;
    switch (s->kind) {
    case NATSL_TOK_NFC:
    case NATSL_TOK_NFD:
    case NATSL_TOK_NFKC:
    case NATSL_TOK_NFKD: return normal_form(&w, s->kind, text, length, open);
    case NATSL_TOK_STRIP: return strip(&w, s, text, length);
    case NATSL_TOK_REPLACE: return replace(&w, s, match, text, length);
    case NATSL_TOK_PREPEND:
    case NATSL_TOK_PREFIX:
        if (begin && length > 0 && s->length > 0) st = put(&w, 0, s->text, s->length);
        for (size_t at = 0, n = 0; at < length && st == NATSL_OK; at += n) {
            n = natsl_utf8_length((unsigned char)text[at]);
            st = put(&w, at, text + at, n);
        }
        return st == NATSL_OK ? finish(&w, length) : st;
    default: return characters(&w, s, text, length);
    }
}
