/* corpus.h - files of text or tokens as one sequence: what training windows are cut from, and haystacks.
 * Owns: open files and their maps. MPI: none; every rank opens its own. Tests: tests/unit/test_data.c */
#ifndef NATSL_CORPUS_H
#define NATSL_CORPUS_H

#include <natsl/status.h>
#include <stddef.h>
#include <stdint.h>

/** Files joined into one sequence of tokens. */
typedef struct natsl_corpus natsl_corpus;

/** Opens `count` files. vocab, tokenizer: as of a model file. text_only: token files are refused. NATSL_ERR_INPUT,
 * NATSL_ERR_NOMEM. */
natsl_status natsl_corpus_open(char *const *paths, size_t count, int32_t vocab, const char *tokenizer, int text_only,
                               natsl_corpus **out);
void natsl_corpus_close(natsl_corpus **corpus);
int64_t natsl_corpus_length(const natsl_corpus *corpus); /* tokens, >= 1 */
/** Tokens [first, first+count) of the sequence. */
natsl_status natsl_corpus_read(natsl_corpus *corpus, int64_t first, int64_t count, int32_t *ids);
/** The same of a corpus of texts alone, as bytes. */
void natsl_corpus_bytes(const natsl_corpus *corpus, int64_t first, int64_t count, char *to);

#endif
