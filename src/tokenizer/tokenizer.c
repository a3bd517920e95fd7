/* tokenizer.c - the byte tokenizer, and the way to the other kind. See tokenizer.h. */
#include "tokenizer.h"

#include "core.h"
#include "tok.h"
#include "tok_decode.h"
#include "tok_encode.h"

#include <string.h>

struct natsl_tokenizer {
    int32_t vocab_size;
    natsl_tok *tok; /* NULL: bytes */
};

struct natsl_encoder {
    natsl_tok_encoder *tok;
    uint64_t taken;
};

struct natsl_decoder {
    natsl_tok_decoder *tok;
    int32_t vocab_size;
};

const char *natsl_tokenizer_unnamed(int32_t vocab_size) { return vocab_size >= NATSL_BYTE_TOKENS ? "byte" : "none"; }

natsl_status natsl_tokenizer_create_parsed(const json_t *json, int32_t vocab_size, const char *where,
                                           natsl_tokenizer **out)
{
    natsl_tokenizer *t = natsl_calloc(1, sizeof *t, "tokenizer");
    *out = NULL;
    if (!t) return NATSL_ERR_NOMEM;
    natsl_status st = natsl_tok_read(json, where, &t->tok);
    if (st == NATSL_OK && vocab_size > 0 && t->tok->end > vocab_size)
        st = natsl_fail(NATSL_ERR_INPUT, "%s: the tokenizer has the token %d, but the model only tokens 0 to %d", where,
                        t->tok->end - 1, vocab_size - 1);
    if (st == NATSL_OK) t->vocab_size = vocab_size > 0 ? vocab_size : t->tok->end;
    if (st != NATSL_OK) natsl_tokenizer_destroy(&t);
    *out = t;
    return st;
}

static natsl_status create_json(const char *text, size_t length, int32_t vocab_size, const char *where,
                                natsl_tokenizer **out)
{
    json_error_t e;
    json_t *json = json_loadb(text, length, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &e);
    if (!json) return natsl_fail(NATSL_ERR_INPUT, "%s: line %d, column %d: %s", where, e.line, e.column, e.text);
    const natsl_status st = natsl_tokenizer_create_parsed(json, vocab_size, where, out);
    json_decref(json);
    return st;
}

natsl_status natsl_tokenizer_create(const char *kind, int32_t vocab_size, const char *json, size_t length,
                                    const char *where, natsl_tokenizer **out)
{
    *out = NULL;
    if (strcmp(kind, "json") == 0) return create_json(json, length, vocab_size, where, out);
    if (strcmp(kind, "none") == 0)
        return natsl_fail(NATSL_ERR_INPUT, "the model names no tokenizer: text cannot be read, expected a token file");
    if (strcmp(kind, "byte") != 0)
        return natsl_fail(NATSL_ERR_INPUT, "tokenizer '%s' is unknown, expected byte or json", kind);
    if (vocab_size < NATSL_BYTE_TOKENS)
        return natsl_fail(NATSL_ERR_INPUT,
                          "the model's tokenizer is byte and its vocabulary of %d tokens is too small for bytes: text "
                          "cannot be read, expected a token file",
                          vocab_size);
    natsl_tokenizer *t = natsl_calloc(1, sizeof *t, "tokenizer");
    if (!t) return NATSL_ERR_NOMEM;
    t->vocab_size = vocab_size;
    *out = t;
    return NATSL_OK;
}

void natsl_tokenizer_destroy(natsl_tokenizer **t)
{
    if (!*t) return;
    natsl_tok_destroy(&(*t)->tok);
    natsl_free(*t);
    *t = NULL;
}

int natsl_tokenizer_is_byte(const natsl_tokenizer *t) { return !t->tok; }
int32_t natsl_tokenizer_vocab(const natsl_tokenizer *t) { return t->vocab_size; }
int natsl_tokenizer_cuts(const natsl_tokenizer *t) { return !t->tok || !t->tok->whole; }

const int32_t *natsl_tokenizer_around(const natsl_tokenizer *t, int end, size_t *count)
{
    *count = 0;
    if (!t->tok) return NULL;
    *count = end ? t->tok->after.count : t->tok->before.count;
    return end ? t->tok->after.at : t->tok->before.at;
}

/* ---- encoding -------------------------------------------------------------------------------------------------------- */

static natsl_status add_bytes(const char *text, size_t length, natsl_ids *ids)
{
    const natsl_status st = natsl_ids_reserve(ids, length);
    if (st != NATSL_OK) return st;
    for (size_t i = 0; i < length; i++) ids->at[ids->count + i] = (unsigned char)text[i];
    ids->count += length;
    return NATSL_OK;
}

natsl_status natsl_tokenizer_encode(const natsl_tokenizer *t, const char *text, size_t length, int special,
                                    natsl_ids *ids)
{
    natsl_tok_encoder *e = NULL;
    if (!t->tok) return add_bytes(text, length, ids);
    natsl_status st = natsl_tok_encoder_create(t->tok, 1, &e);
    if (st == NATSL_OK && special) st = natsl_ids_add(ids, t->tok->before.at, t->tok->before.count);
    if (st == NATSL_OK) st = natsl_tok_encoder_add(e, text, length, 1, 0, ids);
    if (st == NATSL_OK && special) st = natsl_ids_add(ids, t->tok->after.at, t->tok->after.count);
    natsl_tok_encoder_destroy(&e);
    return st;
}

natsl_status natsl_encoder_create(const natsl_tokenizer *t, int begin, natsl_encoder **out)
{
    natsl_encoder *e = natsl_calloc(1, sizeof *e, "tokenizer");
    *out = NULL;
    if (!e) return NATSL_ERR_NOMEM;
    const natsl_status st = t->tok ? natsl_tok_encoder_create(t->tok, begin, &e->tok) : NATSL_OK;
    if (st != NATSL_OK) natsl_encoder_destroy(&e);
    *out = e;
    return st;
}

void natsl_encoder_destroy(natsl_encoder **e)
{
    if (!*e) return;
    natsl_tok_encoder_destroy(&(*e)->tok);
    natsl_free(*e);
    *e = NULL;
}

natsl_status natsl_encoder_add(natsl_encoder *e, const char *text, size_t length, int last, int settle, natsl_ids *ids)
{
    e->taken += length;
    return e->tok ? natsl_tok_encoder_add(e->tok, text, length, last, settle, ids) : add_bytes(text, length, ids);
}

uint64_t natsl_encoder_taken(const natsl_encoder *e) { return e->tok ? natsl_tok_encoder_taken(e->tok) : e->taken; }

void natsl_encoder_keep_marks(natsl_encoder *e)
{
    if (e->tok) natsl_tok_encoder_keep_marks(e->tok);
}

const natsl_mark *natsl_encoder_marks(const natsl_encoder *e, size_t *count)
{
    *count = 0;
    return e->tok ? natsl_tok_encoder_marks(e->tok, count) : NULL;
}

void natsl_encoder_drop_marks(natsl_encoder *e, uint64_t at)
{
    if (e->tok) natsl_tok_encoder_drop_marks(e->tok, at);
}

void natsl_encoder_restart(natsl_encoder *e, int begin, uint32_t part)
{
    e->taken = 0;
    if (e->tok) natsl_tok_encoder_restart(e->tok, begin, part);
}

natsl_mark natsl_encoder_done(const natsl_encoder *e)
{
    return e->tok ? natsl_tok_encoder_done(e->tok) : (natsl_mark){.at = e->taken, .ids = e->taken};
}

/* ---- decoding -------------------------------------------------------------------------------------------------------- */

natsl_status natsl_decoder_create(const natsl_tokenizer *t, int special, natsl_decoder **out)
{
    natsl_decoder *d = natsl_calloc(1, sizeof *d, "tokenizer");
    *out = NULL;
    if (!d) return NATSL_ERR_NOMEM;
    d->vocab_size = t->vocab_size;
    const natsl_status st = t->tok ? natsl_tok_decoder_create(t->tok, special, &d->tok) : NATSL_OK;
    if (st != NATSL_OK) natsl_decoder_destroy(&d);
    *out = d;
    return st;
}

void natsl_decoder_destroy(natsl_decoder **d)
{
    if (!*d) return;
    natsl_tok_decoder_destroy(&(*d)->tok);
    natsl_free(*d);
    *d = NULL;
}

natsl_status natsl_decoder_add(natsl_decoder *d, int32_t id, natsl_bytes *text)
{
    if (d->tok) return natsl_tok_decoder_add(d->tok, id, text);
    if (id < 0 || id >= NATSL_BYTE_TOKENS || id >= d->vocab_size) return NATSL_OK;
    return natsl_bytes_add(text, &(char){(char)(unsigned char)id}, 1);
}

natsl_status natsl_decoder_finish(natsl_decoder *d, natsl_bytes *text)
{
    return d->tok ? natsl_tok_decoder_finish(d->tok, text) : NATSL_OK;
}
