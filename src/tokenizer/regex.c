/* regex.c - regular expressions of tokenizer.json. See regex.h.
 * The rewriting: Oniguruma's \s is White_Space, \w is Alphabetic, M, Nd, Pc (and, but for classes, six signs of Latin-1), \d is Nd; ^ and $ are at lines; {n,m}+ repeats
 * (it is not possessive); \p{Han} is the script, not the script extensions. Source: Oniguruma's doc/RE, PCRE2's pcre2pattern. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "regex.h"

#include "core.h"
#include "grow.h"
#include "utf8.h"
#include <pcre2.h>
#include <stdio.h>
#include <string.h>

/* Steps of one search: enough for any pattern whose work is proportional to the text it matches, ended within a second else. */
#define MATCH_LIMIT     10000000
#define HEAP_LIMIT_KIB  (256 * 1024)
#define JIT_STACK_BYTES ((size_t)8 << 20)
#define MAX_PATTERN     ((size_t)64 << 10)
#define MAX_GROUPS      200

/* Characters of words: in a class; and of \w by itself and \b, for which Oniguruma asks another table below U+0100: with ^2 ^3 ^1 1/4 1/2
 * 3/4. Found by comparing every character. */
#define WORD_ITEMS "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}"
#define WORD       "[" WORD_ITEMS "\\x{b2}\\x{b3}\\x{b9}\\x{bc}-\\x{be}]"
#define NO_WORD    "[^" WORD_ITEMS "\\x{b2}\\x{b3}\\x{b9}\\x{bc}-\\x{be}]"

struct natsl_regex {
    pcre2_code *code;
    pcre2_match_context *context;
    int forward, compiled; /* compiled: JIT has made code of it */
};

struct natsl_regex_match {
    const natsl_regex *regex;
    pcre2_match_data *data;
    pcre2_match_context *context; /* with a stack of this match's own */
    pcre2_jit_stack *stack;
};

/* ---- rewriting ------------------------------------------------------------------------------------------------------- */

typedef struct rewriting {
    const char *pattern, *where;
    size_t length, at;
    natsl_bytes out;
    size_t atom;               /* in out: where the last atom begins, which a repeat would repeat */
    size_t groups[MAX_GROUPS]; /* in out: where open groups begin */
    int depth, context;        /* context: matches depend on what stands before or where the text ends */
} rewriting;

static natsl_status refuse(const rewriting *w, const char *what)
{
    return natsl_fail(NATSL_ERR_INPUT, "%s: regular expression: %s at byte %zu is not supported", w->where, what,
                      w->at);
}

static natsl_status put(rewriting *w, const char *text) { return natsl_bytes_add(&w->out, text, strlen(text)); }

static int next_is(const rewriting *w, const char *text)
{
    const size_t n = strlen(text);
    return w->length - w->at >= n && memcmp(w->pattern + w->at, text, n) == 0;
}

/** Properties that both know under this name and mean the same by; what is neither here nor a general category is a script. */
static int same_property(const char *name, size_t length)
{
    static const char *const known[] = {"Any",       "Alphabetic",   "White_Space",       "Uppercase", "Lowercase",
                                        "Math",      "Emoji",        "Ideographic",       "ID_Start",  "ID_Continue",
                                        "XID_Start", "XID_Continue", "Hex_Digit",         "Dash",      "Diacritic",
                                        "Extender",  "Cased",        "Emoji_Presentation"};
    if (length <= 2) return 1; /* general categories */
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (strlen(known[i]) == length && memcmp(known[i], name, length) == 0) return 1;
    }
    return 0;
}

/** \p{...} or \P{...}; w->at is behind the p. */
static natsl_status property(rewriting *w, int negative)
{
    char text[80];
    size_t end = w->at + 1;
    if (!next_is(w, "{")) return refuse(w, "a property without braces");
    if (end < w->length && w->pattern[end] == '^') negative = !negative, w->at++, end++;
    const size_t begin = end;
    while (end < w->length && w->pattern[end] != '}') {
        const char c = w->pattern[end];
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_'))
            return refuse(w, "a property's name");
        end++;
    }
    const size_t n = end - begin;
    if (end == w->length || n == 0 || n > 48) return refuse(w, "a property");
    (void)snprintf(text, sizeof text, "\\%c{%s%.*s}", negative ? 'P' : 'p',
                   same_property(w->pattern + begin, n) ? "" : "sc:", (int)n, w->pattern + begin);
    w->at = end + 1;
    return put(w, text);
}

/** Hexadecimal digits at w->at, `least` to `most` of them, as a character. */
static natsl_status hexadecimal(rewriting *w, int least, int most, unsigned long limit)
{
    char text[24];
    unsigned long value = 0;
    int n = 0;
    for (; n < most && w->at < w->length; n++, w->at++) {
        const char c = w->pattern[w->at];
        const int digit = c >= '0' && c <= '9'                 ? c - '0'
                          : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10
                                                               : -1;
        if (digit < 0) break;
        value = 16 * value + (unsigned long)digit;
    }
    if (n < least || value > limit) return refuse(w, "a hexadecimal character");
    (void)snprintf(text, sizeof text, "\\x{%lx}", value);
    return put(w, text);
}

/** What follows a backslash; inside: in a character class. */
static natsl_status escape(rewriting *w, int inside)
{
    if (w->at >= w->length) return refuse(w, "a backslash at the end");
    const char c = w->pattern[w->at++];
    const char plain[3] = {'\\', c, '\0'};
    switch (c) {
    case 's': return put(w, "\\p{White_Space}");
    case 'S': return put(w, "\\P{White_Space}");
    case 'd': return put(w, "\\p{Nd}");
    case 'D': return put(w, "\\P{Nd}");
    case 'w': return put(w, inside ? WORD_ITEMS : WORD);
    case 'W': return inside ? refuse(w, "\\W in a class") : put(w, NO_WORD);
    case 'p': return property(w, 0);
    case 'P': return property(w, 1);
    case 'r':
    case 'n':
    case 't':
    case 'f':
    case 'a':
    case 'e': return put(w, plain);
    case 'v': return put(w, "\\x{b}");
    case 'x':
        if (!next_is(w, "{")) return hexadecimal(w, 1, 2, 0x7f); /* a byte: past ASCII no character */
        w->at++;
        const natsl_status st = hexadecimal(w, 1, 6, 0x10ffff);
        if (st != NATSL_OK) return st;
        if (!next_is(w, "}")) return refuse(w, "a hexadecimal character");
        w->at++;
        return NATSL_OK;
    case 'u': return hexadecimal(w, 4, 4, 0xffff);
    default: break;
    }
    if (!inside && (c == 'b' || c == 'B' || c == 'A' || c == 'z')) {
        w->context = 1;
        if (c == 'A' || c == 'z') return put(w, plain);
        return put(w, c == 'b' ? "(?:(?<=" WORD ")(?!" WORD ")|(?<!" WORD ")(?=" WORD "))"
                               : "(?:(?<=" WORD ")(?=" WORD ")|(?<!" WORD ")(?!" WORD "))");
    }
    if ((unsigned char)c < 0x80 && !((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')))
        return put(w, plain); /* a sign for itself */
    return refuse(w, "this escape");
}

/** A character class, w->at behind its bracket. */
static natsl_status class(rewriting *w)
{
    natsl_status st = put(w, "[");
    if (st == NATSL_OK && next_is(w, "^")) w->at++, st = put(w, "^");
    if (st == NATSL_OK && next_is(w, "]")) return refuse(w, "an empty class");
    while (st == NATSL_OK) {
        if (w->at >= w->length) return refuse(w, "a class without end");
        const char c = w->pattern[w->at];
        if (c == '[') return refuse(w, "a class in a class");
        if (next_is(w, "&&")) return refuse(w, "an intersection of classes");
        w->at++;
        if (c == '\\') st = escape(w, 1);
        else st = natsl_bytes_add(&w->out, &c, 1);
        if (c == ']') return st;
    }
    return st;
}

/** A group, w->at behind its parenthesis. */
static natsl_status group(rewriting *w)
{
    static const char *const kinds[] = {"?:", "?=", "?!", "?>", "?i:", "?-i:", "?<=", "?<!", NULL};
    if (w->depth >= MAX_GROUPS) return refuse(w, "so many groups in one another");
    w->groups[w->depth++] = w->out.length;
    natsl_status st = put(w, "(");
    if (!next_is(w, "?")) return st;
    if (next_is(w, "?i)") && w->depth == 1 && w->out.length == 1) { /* for all that follows */
        w->at += 3;
        w->depth--;
        return put(w, "?i)");
    }
    for (size_t i = 0; kinds[i]; i++) {
        if (!next_is(w, kinds[i])) continue;
        w->at += strlen(kinds[i]);
        if (kinds[i][1] == '<') w->context = 1;
        return st == NATSL_OK ? put(w, kinds[i]) : st;
    }
    return refuse(w, "this kind of group");
}

/** {n}, {n,}, {,m}, {n,m} at w->at, which is behind the brace; or a brace that stands for itself. */
static natsl_status braces(rewriting *w)
{
    char text[64];
    size_t end = w->at;
    int digits[2] = {0, 0}, comma = 0;
    while (end < w->length &&
           ((w->pattern[end] >= '0' && w->pattern[end] <= '9') || (w->pattern[end] == ',' && !comma))) {
        if (w->pattern[end] == ',') comma = 1;
        else digits[comma]++;
        end++;
    }
    if (end >= w->length || w->pattern[end] != '}' || digits[0] + digits[1] == 0 || digits[0] > 5 || digits[1] > 5)
        return put(w, "\\{");
    (void)snprintf(text, sizeof text, "{%s%.*s}", digits[0] ? "" : "0", (int)(end - w->at), w->pattern + w->at);
    w->at = end + 1;
    natsl_status st = put(w, text);
    if (st == NATSL_OK && next_is(w, "?") && !comma) return refuse(w, "{n}?");
    if (st != NATSL_OK || !next_is(w, "+")) return st;
    /* a repeat of the repeat: (?:x{n,m})+ */
    if ((st = put(w, ")   ")) != NATSL_OK) return st;
    memmove(w->out.at + w->atom + 3, w->out.at + w->atom, w->out.length - 3 - w->atom);
    memcpy(w->out.at + w->atom, "(?:", 3);
    return NATSL_OK;
}

static natsl_status rewrite(rewriting *w)
{
    natsl_status st = NATSL_OK;
    while (w->at < w->length && st == NATSL_OK) {
        const char c = w->pattern[w->at++];
        if (c != '{' && c != '*' && c != '+' && c != '?') {
            if (!natsl_utf8_inside(c)) w->atom = w->out.length; /* a character's first byte */
        }
        switch (c) {
        case '\\': st = escape(w, 0); break;
        case '[': st = class(w); break;
        case '(': st = group(w); break;
        case ')':
            if (w->depth == 0) return refuse(w, "a parenthesis that closes nothing");
            w->atom = w->groups[--w->depth];
            st = put(w, ")");
            break;
        case '{': st = braces(w); break;
        case '^':
        case '$':
            w->context = 1;
            st = put(w, c == '^' ? "(?m:^)" : "(?m:$)");
            break;
        default: st = natsl_bytes_add(&w->out, &c, 1); break;
        }
    }
    if (st == NATSL_OK && w->depth > 0) return refuse(w, "a group without end");
    return st;
}

/* ---- compiling ------------------------------------------------------------------------------------------------------- */

static natsl_status compile(const char *text, size_t length, uint32_t options, const char *where, natsl_regex **out)
{
    int error = 0;
    PCRE2_SIZE at = 0;
    uint32_t empty = 1, behind = 1;
    natsl_regex *r = natsl_calloc(1, sizeof *r, "regular expression");
    *out = NULL;
    if (!r) return NATSL_ERR_NOMEM;
    pcre2_compile_context *how = pcre2_compile_context_create(NULL);
    r->context = pcre2_match_context_create(NULL);
    natsl_status st = NATSL_OK;
    if (!how || !r->context) {
        st = natsl_fail(NATSL_ERR_NOMEM, "out of memory: regular expression");
    } else {
        (void)pcre2_set_newline(how, PCRE2_NEWLINE_LF);
        r->code = pcre2_compile((PCRE2_SPTR)text, length, PCRE2_UTF | options, &error, &at, how);
        if (!r->code) {
            PCRE2_UCHAR message[200] = {0};
            (void)pcre2_get_error_message(error, message, sizeof message);
            st = natsl_fail(NATSL_ERR_INPUT, "%s: regular expression: %s", where, (const char *)message);
        }
    }
    if (st == NATSL_OK) {
        r->compiled = pcre2_jit_compile(r->code, PCRE2_JIT_COMPLETE | PCRE2_JIT_PARTIAL_HARD) == 0;
        (void)pcre2_set_match_limit(r->context, MATCH_LIMIT);
        (void)pcre2_set_heap_limit(r->context, HEAP_LIMIT_KIB);
        (void)pcre2_pattern_info(r->code, PCRE2_INFO_MATCHEMPTY, &empty);
        (void)pcre2_pattern_info(r->code, PCRE2_INFO_MAXLOOKBEHIND, &behind);
        r->forward = !empty && behind == 0;
    }
    pcre2_compile_context_free(how);
    if (st != NATSL_OK) natsl_regex_destroy(&r);
    *out = r;
    return st;
}

natsl_status natsl_regex_create(const char *pattern, size_t length, const char *where, natsl_regex **out)
{
    rewriting w = {.pattern = pattern, .where = where, .length = length};
    *out = NULL;
    if (length == 0 || length > MAX_PATTERN)
        return natsl_fail(NATSL_ERR_INPUT, "%s: regular expression of %zu bytes, expected 1 to %zu", where, length,
                          MAX_PATTERN);
    natsl_status st = rewrite(&w);
    if (st == NATSL_OK) st = compile(w.out.at, w.out.length, PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C, where, out);
    if (st == NATSL_OK && w.context) (*out)->forward = 0;
    natsl_bytes_free(&w.out);
    return st;
}

natsl_status natsl_regex_literal(const char *text, size_t length, natsl_regex **out)
{
    return compile(text, length, PCRE2_LITERAL, "pattern", out);
}

void natsl_regex_destroy(natsl_regex **regex)
{
    natsl_regex *r = *regex;
    if (!r) return;
    pcre2_match_context_free(r->context);
    pcre2_code_free(r->code);
    natsl_free(r);
    *regex = NULL;
}

int natsl_regex_forward(const natsl_regex *regex) { return regex->forward; }

/* ---- searching ------------------------------------------------------------------------------------------------------- */

natsl_status natsl_regex_match_create(const natsl_regex *regex, natsl_regex_match **out)
{
    natsl_regex_match *m = natsl_calloc(1, sizeof *m, "regular expression");
    *out = NULL;
    if (!m) return NATSL_ERR_NOMEM;
    m->regex = regex;
    m->data = pcre2_match_data_create(1, NULL);
    m->context = pcre2_match_context_copy(regex->context);
    m->stack = regex->compiled ? pcre2_jit_stack_create((size_t)32 << 10, JIT_STACK_BYTES, NULL) : NULL;
    if (!m->data || !m->context || (regex->compiled && !m->stack)) {
        natsl_regex_match_destroy(&m);
        return natsl_fail(NATSL_ERR_NOMEM, "out of memory: regular expression");
    }
    if (m->stack) pcre2_jit_stack_assign(m->context, NULL, m->stack);
    *out = m;
    return NATSL_OK;
}

void natsl_regex_match_destroy(natsl_regex_match **match)
{
    natsl_regex_match *m = *match;
    if (!m) return;
    pcre2_match_data_free(m->data);
    pcre2_match_context_free(m->context);
    pcre2_jit_stack_free(m->stack);
    natsl_free(m);
    *match = NULL;
}

natsl_status natsl_regex_find(natsl_regex_match *m, const char *text, size_t length, size_t from, int open,
                              natsl_found *found, size_t *begin, size_t *end)
{
    const uint32_t options = PCRE2_NO_UTF_CHECK | (open ? PCRE2_PARTIAL_HARD : 0);
    int n = PCRE2_ERROR_JIT_STACKLIMIT;
    if (m->regex->compiled)
        n = pcre2_jit_match(m->regex->code, (PCRE2_SPTR)text, length, from, options, m->data, m->context);
    if (n == PCRE2_ERROR_JIT_STACKLIMIT) /* or no JIT here; the interpreter's stack is the heap */
        n = pcre2_match(m->regex->code, (PCRE2_SPTR)text, length, from, options | PCRE2_NO_JIT, m->data, m->context);
    const PCRE2_SIZE *at = pcre2_get_ovector_pointer(m->data);
    if (n >= 0) {
        *found = NATSL_FOUND;
        *begin = at[0];
        *end = at[1];
        return NATSL_OK;
    }
    *found = n == PCRE2_ERROR_PARTIAL ? NATSL_FOUND_PARTLY : NATSL_FOUND_NONE;
    if (n == PCRE2_ERROR_NOMATCH || n == PCRE2_ERROR_PARTIAL) return NATSL_OK;
    if (n == PCRE2_ERROR_NOMEMORY) return natsl_fail(NATSL_ERR_NOMEM, "out of memory: regular expression");
    return natsl_fail(NATSL_ERR_INPUT, "the search for a regular expression was given up after %d steps", MATCH_LIMIT);
}
