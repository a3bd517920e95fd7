/* tok_encode.h - text to ids, as a stream: parts come in, ids go out as soon as nothing that follows can change them.
 * Owns: the text not yet done, scratch, a cache of words; one thread's. MPI: none. Tests: tests/unit/test_tok.c */
#ifndef NATSL_TOK_ENCODE_H
#define NATSL_TOK_ENCODE_H

#include "tok.h"
#include "tokenizer.h"

typedef struct natsl_tok_encoder natsl_tok_encoder;

/** begin: the text begins here; else it is taken up in the middle of a part, at any character. */
natsl_status natsl_tok_encoder_create(const natsl_tok *tok, int begin, natsl_tok_encoder **out);
void natsl_tok_encoder_destroy(natsl_tok_encoder **encoder);

/** Adds text of any bytes; what is no UTF-8 is mended (natsl_utf8_mend). last: it ends here, and nothing is held back. settle: go as
 * far as can be gone now. NATSL_ERR_INPUT: an expression took too many steps; NATSL_ERR_NOMEM. */
natsl_status natsl_tok_encoder_add(natsl_tok_encoder *e, const char *text, size_t length, int last, int settle,
                                   natsl_ids *ids);

/** As natsl_encoder_restart, natsl_encoder_done. */
void natsl_tok_encoder_restart(natsl_tok_encoder *e, int begin, uint32_t part);
natsl_mark natsl_tok_encoder_done(const natsl_tok_encoder *e);

/** Bytes of mended text taken so far. */
uint64_t natsl_tok_encoder_taken(const natsl_tok_encoder *e);

/** From now on marks are kept; all of them, ascending. Borrowed until the encoder is used again. */
void natsl_tok_encoder_keep_marks(natsl_tok_encoder *e);
const natsl_mark *natsl_tok_encoder_marks(const natsl_tok_encoder *e, size_t *count);
/** Forgets those before byte `at`. */
void natsl_tok_encoder_drop_marks(natsl_tok_encoder *e, uint64_t at);

#endif
