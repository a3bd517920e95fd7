/* bpe.h - a vocabulary and its merges: words to tokens, as the model "BPE" of tokenizer.json says.
 * A word is cut into characters (or bytes), then the pair with the best rank is merged, the first of several, until no pair has
 * a rank. Owns: vocabulary and merges; work space is the caller's, one per thread. MPI: none. Tests: tests/unit/test_tok.c.
 * Source: Sennrich, Haddow, Birch 2016; the tokenizers library's models/bpe is what it must agree with. */
#ifndef NATSL_BPE_H
#define NATSL_BPE_H

#include "grow.h"
#include <jansson.h>

/** Ids are below this: an array by id stays small whatever a file says. */
#define NATSL_MAX_TOKENS (1 << 24)

typedef struct natsl_bpe natsl_bpe;
typedef struct natsl_bpe_work natsl_bpe_work;

/** From the object `model`. bytes: words are bytes, which the vocabulary writes as the byte-level alphabet. where: for messages.
 * NATSL_ERR_INPUT names what is wrong or not supported; NATSL_ERR_NOMEM. */
natsl_status natsl_bpe_create(const json_t *model, int bytes, const char *where, natsl_bpe **out);
void natsl_bpe_destroy(natsl_bpe **bpe);

/** Number of tokens of the vocabulary, and one more than its largest id. */
int32_t natsl_bpe_size(const natsl_bpe *bpe);
int32_t natsl_bpe_end(const natsl_bpe *bpe);

/** The token's text as the vocabulary has it (borrowed), NULL where no token has this id. */
const char *natsl_bpe_text(const natsl_bpe *bpe, int32_t id, size_t *length);
/** The id of a text of the vocabulary, -1 for none. */
int32_t natsl_bpe_find(const natsl_bpe *bpe, const char *text, size_t length);

natsl_status natsl_bpe_work_create(natsl_bpe_work **out);
void natsl_bpe_work_destroy(natsl_bpe_work **work);

/** Appends the tokens of a word (valid UTF-8, 0 bytes: none). NATSL_ERR_NOMEM; NATSL_ERR_INPUT: a word past 1 GiB, or the unknown
 * token is not in the vocabulary. */
natsl_status natsl_bpe_word(const natsl_bpe *bpe, natsl_bpe_work *work, const char *word, size_t length,
                            natsl_ids *ids);

/** Whether words may be cut between merges at all: natsl_bpe_cut finds places. */
int natsl_bpe_cuts(const natsl_bpe *bpe);

/** The first place after the character at `from`, before text[length], that no merge can ever cross: tokens on both sides are
 * those of the two sides alone. `length` where there is none.
 * Why that is safe: what merges make is a run of initial symbols, and a merge that crosses a place joins a left operand that ends
 * with the symbol before it and a right operand that begins with the one after it. Where no merge of the vocabulary has operands
 * with these two at its seam, no merge crosses, so every merge happens within one side; ranks order those of each side as
 * they would be alone. Places beside symbols that are unknown or written in bytes are never taken. */
size_t natsl_bpe_cut(const natsl_bpe *bpe, const char *text, size_t length, size_t from);

/** The character that stands for a byte in the byte-level alphabet (GPT-2's): printable ones for themselves, others from U+0100
 * on. And back: -1 for a character that stands for none. */
uint32_t natsl_byte_letter(unsigned char byte);
int natsl_letter_byte(uint32_t letter);

#endif
