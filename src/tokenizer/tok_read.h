/* tok_read.h - what the readers of a tokenizer.json's parts have in common. Private to tok_read.c (the whole, the model, the
 * post-processor), tok_steps.c (normalizers, pre-tokenizers, decoders) and tok_added.c (added tokens).
 * What is not supported is an error that names it: a tokenizer that is nearly right would give a model tokens that it was not trained
 * on. Owns: nothing. MPI: none. Tests: tests/unit/test_tok.c */
#ifndef NATSL_TOK_READ_H
#define NATSL_TOK_READ_H

#include "core.h"
#include "tok.h"

#include <stdio.h>

typedef struct natsl_tok_reading {
    natsl_tok *tok;
    char where[512]; /* file and part, for messages */
    const char *file;
    int ends; /* pre-tokenizers: ByteLevel has come, nothing may follow */
} natsl_tok_reading;

static inline natsl_status natsl_tok_not_supported(const natsl_tok_reading *r, const char *type)
{
    return natsl_fail(NATSL_ERR_INPUT, "%s: \"%.60s\" is not supported", r->where, type);
}

/** One object of a part, of this type: into r->tok. NATSL_ERR_INPUT names what is wrong or not supported, NATSL_ERR_NOMEM. */
typedef natsl_status natsl_tok_read_one(natsl_tok_reading *r, const json_t *object, const char *type);
natsl_tok_read_one natsl_tok_normalizer, natsl_tok_pre_tokenizer, natsl_tok_decoder_step;

/** Once all decoders are read: which of them get one text instead of tokens; some can only work on tokens, as they would need all of
 * the text: NATSL_ERR_INPUT. */
natsl_status natsl_tok_check_decoders(const natsl_tok_reading *r);

/** The array added_tokens (NULL: none), after model and normalizers: r->tok->added, in_text, in_normalized, by_id, end.
 * NATSL_ERR_INPUT, NATSL_ERR_NOMEM. */
natsl_status natsl_tok_read_added(natsl_tok_reading *r, const json_t *list);

#endif
