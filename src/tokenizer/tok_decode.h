/* tok_decode.h - ids to text, token by token: what comes out is whole as soon as no later token can change it.
 * Owns: what is held back. MPI: none. Tests: tests/unit/test_tok.c */
#ifndef NATSL_TOK_DECODE_H
#define NATSL_TOK_DECODE_H

#include "tok.h"

typedef struct natsl_tok_decoder natsl_tok_decoder;

/** special: texts of special tokens are shown, too. */
natsl_status natsl_tok_decoder_create(const natsl_tok *tok, int special, natsl_tok_decoder **out);
void natsl_tok_decoder_destroy(natsl_tok_decoder **decoder);

/** Appends the text of a token to `to`: bytes, so a character may come in parts. An id that is no token has no text. */
natsl_status natsl_tok_decoder_add(natsl_tok_decoder *d, int32_t id, natsl_bytes *to);
/** Appends what was held back. */
natsl_status natsl_tok_decoder_finish(natsl_tok_decoder *d, natsl_bytes *to);

#endif
