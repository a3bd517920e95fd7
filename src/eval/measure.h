/* measure.h - how long a text is in tokens: in bytes, in words between blanks, or in the tokens of a tokenizer.
 * Benchmarks are cut to a length by trying, so almost the same text is measured again and again. What a tokenizer makes of a block of
 * text, up to the last place in it that nothing behind the block can change, depends on the block alone and on where in a part it
 * begins (tok_encode.c): so that is remembered, and a text whose blocks have been seen costs a look at its bytes.
 * Owns: an encoder and what is remembered, at most about 40 MiB. MPI: none; one thread's. Tests: tests/unit/test_measure.c */
#ifndef NATSL_MEASURE_H
#define NATSL_MEASURE_H

#include "tokenizer.h"

typedef enum natsl_measure_kind {
    NATSL_MEASURE_BYTES = 0, /* tokens of the byte tokenizer */
    NATSL_MEASURE_WORDS,     /* maximal runs of characters that are no blanks (as Python's str.split has them) */
    NATSL_MEASURE_TOKENS
} natsl_measure_kind;

typedef struct natsl_measure natsl_measure; /* NULL stands for bytes */

/** tokenizer: of NATSL_MEASURE_TOKENS (borrowed, must outlive it); one of bytes is taken as NATSL_MEASURE_BYTES. NATSL_ERR_NOMEM. */
natsl_status natsl_measure_create(natsl_measure_kind kind, const natsl_tokenizer *tokenizer, natsl_measure **out);
/** Accepts NULL; sets *measure to NULL. */
void natsl_measure_destroy(natsl_measure **measure);

natsl_measure_kind natsl_measure_of(const natsl_measure *measure);

/** Tokens of text[0..length), without special ones around it. enough: counting may end as soon as there are more than these; what comes
 * out then is any number above. NATSL_ERR_NOMEM, NATSL_ERR_INPUT. */
natsl_status natsl_measure_count(natsl_measure *measure, const char *text, size_t length, int64_t enough,
                                 int64_t *tokens);

/** The ids of a text, appended to `ids`; *shared_ids: how many of them any text has that begins with its first `shared` bytes. Of
 * NATSL_MEASURE_TOKENS only. */
natsl_status natsl_measure_ids(natsl_measure *measure, const char *text, size_t length, size_t shared, natsl_ids *ids,
                               int64_t *shared_ids);

/** Bytes of the blank (of Python's str.isspace) that text[0..left) begins with, left >= 1; 0: it begins with none. */
size_t natsl_blank_bytes(const char *text, size_t left);
/** Words, as NATSL_MEASURE_WORDS counts them. */
int64_t natsl_count_words(const char *text, size_t length);

#endif
