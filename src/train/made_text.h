/* made_text.h - made texts as tokens of a tokenizer.json: tokenized in parts, and which tokens hold which bytes.
 * A prompt and what follows it are tokenized apart, as they are where a model answers: the prompt's tokens are then those that
 * `natsl eval` gives it, and an answer's are its own. No token is on both sides of a cut.
 * Owns: an encoder and the text in hand; the tokenizer is borrowed. MPI: none. One thread's. Tests: tests/unit/test_made_text.c */
#ifndef NATSL_MADE_TEXT_H
#define NATSL_MADE_TEXT_H

#include "tokenizer.h"

typedef struct natsl_made_text natsl_made_text;

/** Bytes [begin, end) of a text, and the tokens [first, last) that hold any of them. */
typedef struct natsl_text_span {
    int64_t begin, end;  /* in; begin < end */
    int64_t first, last; /* out */
} natsl_text_span;

/** NATSL_ERR_NOMEM. */
natsl_status natsl_made_create(const natsl_tokenizer *tokenizer, natsl_made_text **out);
/** Accepts NULL; sets *made to NULL. */
void natsl_made_destroy(natsl_made_text **made);

/** Tokenizes text[0..length), cut before bytes cuts[0] <= cuts[1] <= ...; what is between two cuts is tokenized alone.
 * begins: the text begins here; else, and behind a cut, it goes on from what is before. The text is borrowed until the
 * next call; bytes that are no UTF-8 become U+FFFD. NATSL_ERR_INPUT: what the tokenizer cannot take; NATSL_ERR_NOMEM. */
natsl_status natsl_made_encode(natsl_made_text *made, const char *text, int64_t length, int begins, const int64_t *cuts,
                               size_t n_cuts);
/** The tokens of the text in hand (borrowed until the next call of natsl_made_encode). */
const int32_t *natsl_made_ids(const natsl_made_text *made, int64_t *count);

/** Which tokens hold the bytes of each span, whose first and last bytes are ASCII. first == last: none, the tokenizer
 * drops them. What a token holds is known where the decoded tokens of a word (what the pre-tokenizer makes one, or
 * merges can reach) are as long as the word; else (a normalizer that changes lengths, say) every token of the word
 * counts as holding all of it. NATSL_ERR_INPUT: a word so long that this would say nothing; NATSL_ERR_NOMEM. */
natsl_status natsl_made_locate(natsl_made_text *made, natsl_text_span *spans, size_t count);

/** How many bytes before byte `at` have about `tokens` tokens, of mended text; at most `at`. */
int64_t natsl_made_back(const natsl_made_text *made, int64_t at, int64_t tokens);

/** Whether these letters, as the middle of a text, are decoded to the same letters. NATSL_ERR_INPUT, NATSL_ERR_NOMEM. */
natsl_status natsl_made_keeps(natsl_made_text *made, const char *letters, int *keeps);

#endif
