/* corpus.h - files of text or tokens as one sequence: what training windows are cut from, and haystacks.
 * Owns: open files and their maps. MPI: none but where said; every rank opens its own. Tests: tests/unit/test_data.c */
#ifndef NATSL_CORPUS_H
#define NATSL_CORPUS_H

#include "tokenizer.h"
#include <mpi.h>
#include <natsl/status.h>
#include <stddef.h>
#include <stdint.h>

/** Files joined into one sequence of tokens. */
typedef struct natsl_corpus natsl_corpus;

/** A tokenizer of another kind than bytes, and the ranks that tokenize together. MPI_COMM_NULL: this process alone,
 * which then can read no texts as tokens. */
typedef struct natsl_corpus_ranks {
    MPI_Comm comm;
    const natsl_tokenizer *tokenizer;
} natsl_corpus_ranks;

/** natsl_agree among them; ranks NULL, or alone: st. */
natsl_status natsl_corpus_agree(const natsl_corpus_ranks *ranks, natsl_status st);

/** Opens `count` files. vocab, tokenizer: as of a model file. text_only: the sequence is the texts' bytes, whatever the
 * tokenizer is; token files are refused. ranks: of kind "json" (else NULL, and not collective): texts that are not to
 * be bytes are tokenized now, by all of them, into temporary files (4 bytes a token and node), each with the special
 * tokens that belong around a text; collective, and all ranks get the same status. NATSL_ERR_INPUT, NATSL_ERR_NOMEM. */
natsl_status natsl_corpus_open(char *const *paths, size_t count, int32_t vocab, const char *tokenizer, int text_only,
                               const natsl_corpus_ranks *ranks, natsl_corpus **out);
void natsl_corpus_close(natsl_corpus **corpus);
int64_t natsl_corpus_length(const natsl_corpus *corpus); /* tokens, >= 1 */
/** Tokens [first, first+count) of the sequence. */
natsl_status natsl_corpus_read(natsl_corpus *corpus, int64_t first, int64_t count, int32_t *ids);
/** The same of a corpus of texts alone, as bytes. */
void natsl_corpus_bytes(const natsl_corpus *corpus, int64_t first, int64_t count, char *to);

#endif
