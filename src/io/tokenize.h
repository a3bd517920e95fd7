/* tokenize.h - a text file to tokens, by all ranks together. Tests: tests/cli/tokenize.sh */
#ifndef NATSL_TOKENIZE_H
#define NATSL_TOKENIZE_H

#include "spool.h"
#include "tokenizer.h"

/** Tokens of the text in descriptor fd, `length` bytes: the same as one rank alone makes, for any number of ranks. special: with the
 * tokenizer's special tokens around it. Every rank gets a part (close part->spool). path: for messages. Collective on comm;
 * NATSL_ERR_INPUT, NATSL_ERR_IO, NATSL_ERR_NOMEM. */
natsl_status natsl_tokenize(MPI_Comm comm, const char *path, int fd, int64_t length, const natsl_tokenizer *tokenizer,
                            int special, natsl_token_part *part);

/** Writes a token file: dataset tokens [total] int32, attribute vocab_size. Under a temporary name, flushed, renamed. Collective. */
natsl_status natsl_token_file_write(MPI_Comm comm, const char *path, int32_t vocab, const natsl_token_part *part);

#endif
