/* tok_decode.c - ids to text. See tok_decode.h. Each decoder is a stage: tokens go in, tokens (or parts of one text) go on. */
#include "tok_decode.h"

#include "core.h"
#include "utf8.h"
#include <string.h>

typedef struct stage {
    natsl_bytes
        held; /* BYTE_FALLBACK: bytes of tokens that stand for one; SUFFIX: the last token; CUT: what may be cut */
    natsl_bytes work;
    natsl_regex_match *match;
    int64_t seen; /* tokens so far */
    int cut;      /* CUT of one text: cut at its beginning so far; -1: no more */
} stage;

struct natsl_tok_decoder {
    const natsl_tok *tok;
    int special;
    int64_t seen;
    natsl_bytes *to; /* of the call in hand */
    stage stages[NATSL_TOK_STEPS];
};

static natsl_status push(natsl_tok_decoder *d, size_t k, const char *text, size_t length);

static natsl_status bytes_of_letters(natsl_tok_decoder *d, size_t k, const char *text, size_t length)
{
    natsl_bytes *work = &d->stages[k].work;
    work->length = 0;
    natsl_status st = natsl_bytes_reserve(work, length);
    if (st != NATSL_OK) return st;
    for (size_t at = 0, n = 0; at < length; at += n) {
        const int byte = natsl_letter_byte(natsl_utf8_get(text + at, &n));
        if (byte < 0) return push(d, k + 1, text, length); /* a token with another character stands for itself */
        work->at[work->length++] = (char)byte;
    }
    return push(d, k + 1, work->at, work->length);
}

/** Bytes that have come one by one: the characters that they are, or one U+FFFD for each where they are none. */
static natsl_status bytes_end(natsl_tok_decoder *d, size_t k)
{
    stage *s = &d->stages[k];
    size_t used = 0, at = 0, have = 0;
    natsl_status st = NATSL_OK;
    if (s->held.length == 0) return NATSL_OK;
    s->work.length = 0;
    st = natsl_utf8_mend(&s->work, s->held.at, s->held.length, 1, &used);
    /* mended text differs from the bytes exactly where they are no UTF-8 */
    const int good = s->work.length == s->held.length && memcmp(s->work.at, s->held.at, s->held.length) == 0;
    at = s->held.length;
    s->held.length = 0;
    if (st == NATSL_OK && good) return push(d, k + 1, s->work.at, s->work.length);
    for (; have < at && st == NATSL_OK; have++) st = push(d, k + 1, "\xef\xbf\xbd", 3);
    return st;
}

static int hex(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static natsl_status byte_fallback(natsl_tok_decoder *d, size_t k, const char *text, size_t length)
{
    if (length == 6 && memcmp(text, "<0x", 3) == 0 && text[5] == '>' && hex(text[4]) >= 0 &&
        (hex(text[3]) >= 0 || text[3] == '+')) {
        const char byte = (char)((text[3] == '+' ? 0 : hex(text[3])) * 16 + hex(text[4]));
        return natsl_bytes_add(&d->stages[k].held, &byte, 1);
    }
    const natsl_status st = bytes_end(d, k);
    return st == NATSL_OK ? push(d, k + 1, text, length) : st;
}

/** Whether text[at..) begins with the character, and its bytes. */
static int has_character(const char *text, size_t length, size_t at, uint32_t character, size_t *n)
{
    return at < length && natsl_utf8_length((unsigned char)text[at]) <= length - at &&
           natsl_utf8_length((unsigned char)text[at]) > 0 && natsl_utf8_get(text + at, n) == character;
}

static natsl_status cut_token(natsl_tok_decoder *d, size_t k, const char *text, size_t length)
{
    const natsl_tok_step *step = &d->tok->decoders.step[k];
    size_t begin = 0, end = length, n = 0;
    for (int i = 0; i < step->left && has_character(text, length, begin, step->character, &n); i++) begin += n;
    for (int i = 0; i < step->right && end > begin; i++) {
        size_t at = end - 1;
        while (at > begin && natsl_utf8_inside(text[at])) at--;
        if (!has_character(text, end, at, step->character, &n)) break;
        end = at;
    }
    return push(d, k + 1, text + begin, end - begin);
}

/** The same of one text that comes in parts: what may be its end waits. */
static natsl_status cut_text(natsl_tok_decoder *d, size_t k, const char *text, size_t length)
{
    const natsl_tok_step *step = &d->tok->decoders.step[k];
    stage *s = &d->stages[k];
    size_t begin = 0, n = 0, ready = 0;
    while (s->cut >= 0 && begin < length) {
        if (s->cut == step->left || !has_character(text, length, begin, step->character, &n)) s->cut = -1;
        else s->cut++, begin += n;
    }
    natsl_status st = natsl_bytes_add(&s->held, text + begin, length - begin);
    if (st != NATSL_OK) return st;
    ready = s->held.length;
    for (int i = 0; i < step->right && ready > 0; i++) {
        size_t at = ready - 1;
        while (at > 0 && natsl_utf8_inside(s->held.at[at])) at--;
        if (!has_character(s->held.at, ready, at, step->character, &n)) break;
        ready = at;
    }
    st = push(d, k + 1, s->held.at, ready);
    natsl_bytes_drop(&s->held, ready);
    return st;
}

static natsl_status metaspace(natsl_tok_decoder *d, size_t k, const char *text, size_t length, int first)
{
    const natsl_tok_step *step = &d->tok->decoders.step[k];
    natsl_bytes *work = &d->stages[k].work;
    work->length = 0;
    natsl_status st = natsl_bytes_reserve(work, length);
    for (size_t at = 0, n = 0; at < length && st == NATSL_OK; at += n) {
        n = 1;
        if (!has_character(text, length, at, step->character, &n)) {
            work->at[work->length++] = text[at];
            n = 1;
        } else if (!first || !step->left) {
            work->at[work->length++] = ' ';
        }
    }
    return st == NATSL_OK ? push(d, k + 1, work->at, work->length) : st;
}

/** The last token's suffix becomes nothing, those of others a space: a token waits for the next. */
static natsl_status suffix(natsl_tok_decoder *d, size_t k, const char *with)
{
    const natsl_tok_step *step = &d->tok->decoders.step[k];
    stage *s = &d->stages[k];
    natsl_status st = NATSL_OK;
    s->work.length = 0;
    for (size_t at = 0; at < s->held.length && st == NATSL_OK;) {
        if (step->length > 0 && s->held.length - at >= step->length &&
            memcmp(s->held.at + at, step->text, step->length) == 0) {
            st = natsl_bytes_add(&s->work, with, strlen(with));
            at += step->length;
        } else {
            st = natsl_bytes_add(&s->work, s->held.at + at++, 1);
        }
    }
    return st == NATSL_OK ? push(d, k + 1, s->work.at, s->work.length) : st;
}

/** One token, or one part of a text, into stage k. */
static natsl_status push(natsl_tok_decoder *d, size_t k, const char *text, size_t length)
{
    if (k == d->tok->decoders.count) return natsl_bytes_add(d->to, text, length);
    const natsl_tok_step *step = &d->tok->decoders.step[k];
    stage *s = &d->stages[k];
    natsl_status st = NATSL_OK;
    const int first = s->seen++ == 0 || step->fused;
    switch (step->kind) {
    case NATSL_TOK_BYTE_LEVEL: return bytes_of_letters(d, k, text, length);
    case NATSL_TOK_BYTE_FALLBACK: return byte_fallback(d, k, text, length);
    case NATSL_TOK_FUSE: return push(d, k + 1, text, length);
    case NATSL_TOK_CUT: return step->fused ? cut_text(d, k, text, length) : cut_token(d, k, text, length);
    case NATSL_TOK_METASPACE: return metaspace(d, k, text, length, first);
    case NATSL_TOK_SUFFIX:
        if (s->seen > 1) st = suffix(d, k, " ");
        s->held.length = 0;
        return st == NATSL_OK ? natsl_bytes_add(&s->held, text, length) : st;
    default: /* NATSL_TOK_REPLACE, NATSL_TOK_CHARACTER */
        st = natsl_tok_normalize(step, s->match, text, length, NULL, 1, 0, NATSL_TOK_MOST_BYTES, &s->work, NULL);
        return st == NATSL_OK ? push(d, k + 1, s->work.at, s->work.length) : st;
    }
}

natsl_status natsl_tok_decoder_add(natsl_tok_decoder *d, int32_t id, natsl_bytes *to)
{
    size_t length = 0;
    int special = 0;
    const char *text = natsl_tok_text(d->tok, id, &length, &special);
    natsl_status st = NATSL_OK;
    if (!text || (special && !d->special)) return NATSL_OK;
    d->to = to;
    if (!d->tok->has_decoder && d->seen > 0) st = natsl_bytes_add(to, " ", 1); /* words, as far as is known */
    d->seen++;
    return st == NATSL_OK ? push(d, 0, text, length) : st;
}

natsl_status natsl_tok_decoder_finish(natsl_tok_decoder *d, natsl_bytes *to)
{
    natsl_status st = NATSL_OK;
    d->to = to;
    for (size_t k = 0; k < d->tok->decoders.count && st == NATSL_OK; k++) {
        if (d->tok->decoders.step[k].kind == NATSL_TOK_BYTE_FALLBACK) st = bytes_end(d, k);
        if (d->tok->decoders.step[k].kind == NATSL_TOK_SUFFIX && d->stages[k].seen > 0) st = suffix(d, k, "");
    }
    return st;
}

natsl_status natsl_tok_decoder_create(const natsl_tok *tok, int special, natsl_tok_decoder **out)
{
    natsl_tok_decoder *d = natsl_calloc(1, sizeof *d, "tokenizer");
    natsl_status st = NATSL_OK;
    *out = NULL;
    if (!d) return NATSL_ERR_NOMEM;
    d->tok = tok;
    d->special = special;
    for (size_t k = 0; k < tok->decoders.count && st == NATSL_OK; k++) {
        if (tok->decoders.step[k].regex)
            st = natsl_regex_match_create(tok->decoders.step[k].regex, &d->stages[k].match);
    }
    if (st != NATSL_OK) natsl_tok_decoder_destroy(&d);
    *out = d;
    return st;
}

void natsl_tok_decoder_destroy(natsl_tok_decoder **decoder)
{
    natsl_tok_decoder *d = *decoder;
    if (!d) return;
    for (size_t k = 0; k < NATSL_TOK_STEPS; k++) {
        natsl_bytes_free(&d->stages[k].held);
        natsl_bytes_free(&d->stages[k].work);
        natsl_regex_match_destroy(&d->stages[k].match);
    }
    natsl_free(d);
    *decoder = NULL;
}
