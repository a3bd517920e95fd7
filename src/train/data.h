/* data.h - what a model is trained on: windows of tokens from texts and retrieval tasks, mixed by weight.
 * A window is a pure function of (sources, seed, part, index, tokens): any rank makes any of them, and a training that
 * goes on sees what it would have seen. Sources take turns in fixed proportions: of any n windows in a row each has n
 * times its share, to within one per source before it.
 * What is held out for validation is the end of a source's text, the same for windows of any length; made texts have
 * random numbers of their own for validation.
 * Owns: open files and their maps. MPI: none; every rank opens its own. One thread at a time. Tests:
 * tests/unit/test_data.c */
#ifndef NATSL_DATA_H
#define NATSL_DATA_H

#include "corpus.h"
#include <jansson.h>
#include <natsl/config.h>
#include <natsl/status.h>
#include <stddef.h>
#include <stdint.h>

typedef struct natsl_data natsl_data;

typedef enum natsl_data_part { NATSL_DATA_TRAIN = 0, NATSL_DATA_VALIDATION } natsl_data_part;

/** The tokens targets[begin .. end) of a window are one answer: right when every one of them is predicted. */
typedef struct natsl_answer {
    int64_t begin, end;
    double depth; /* where the answer was told: of a needle, in its haystack; of a pair, in the window; 0 .. 1 */
    int again;    /* 1: a needle that the text tells again (restate), 0: an answer to a question */
} natsl_answer;

/** Opens the sources of `spec`, a JSON array of one or more objects. Keys of all: "kind"; "weight", a number above 0
 * (default 1).
 * - "text": "files", a list of paths; "validation", the share held out, 0 .. 0.5 (default 0.05). Text files need the
 *   byte tokenizer, or "json" and `ranks` (corpus.h); HDF5 files have a dataset `tokens`. Files
 *   are joined in their order, with a newline between them where they are texts or the tokenizer is "byte". Every token
 *   counts for the loss.
 * - "needle" (tokenizer "byte" or "json"): "haystack", "noise" (default) or "text", then with "files" (texts) and
 *   "validation"; "keys", "values", "questions" (default 1 each), "restate" (default 0): a number or a range [lo, hi],
 *   drawn for each window and lowered to what fits in it; "key_kind", "words" (default), "syllables" or "uuids";
 *   "value_kind", "numbers" (default), "words" or "uuids"; "loss", "answers" (default) or "all"; "special_tokens" (default false;
 *   "json"): the tokenizer's tokens before a text come first. The texts are those of needle.h. As "json" they are tokenized in
 *   parts: what is before the first answer, as a text; then each answer and what follows it, so that no token is on both
 *   sides. A needle that comes again stands in the first part: a token that holds any byte of its answer counts for it.
 * - "mqar": "pairs", a number or a range, lowered to a fourth of the tokens; "vocabulary" (default: the model's);
 *   "random_non_queries" (default true). Its targets are those of mqar.h: not the next token.
 * - "copy" (as "needle"): "length", bytes of a string, a number or a range (default [8, 32]); "alphabet", "digits", "hex",
 *   "letters" or "all" (default). The texts are those of copy.h. As "json" every line is tokenized by itself; what counts are the
 *   tokens behind those that hold any of its first NATSL_COPY_CUE bytes.
 * Relative paths start at `directory` ("" or NULL: the working directory). `where` begins every message about the
 * specification. Copies what it needs. ranks: with tokenizer "json" (its tokenizer is borrowed until natsl_data_close), else
 * NULL; then, and only then, collective on its communicator. NATSL_ERR_INPUT: a key that is not known or missing, a value of
 * the wrong type or out of range, a file that cannot be used; NATSL_ERR_NOMEM. *out is NULL on error. Release with
 * natsl_data_close. A file must not be cut short while it is open (it is mapped). */
natsl_status natsl_data_open(const json_t *spec, const char *where, const char *directory, const natsl_config *config,
                             const char *tokenizer, const natsl_corpus_ranks *ranks, uint64_t seed, natsl_data **out);
/** Accepts NULL; sets *data to NULL. */
void natsl_data_close(natsl_data **data);

/** Every source can fill a window of `tokens` tokens, whatever is drawn. NATSL_ERR_INPUT names the first that cannot,
 * and how many it needs; NATSL_ERR_NOMEM. */
natsl_status natsl_data_check(natsl_data *data, int64_t tokens);

/** Whether there are validation windows: a source that makes its texts, or one that holds some back. */
int natsl_data_has_validation(const natsl_data *data);

/** Windows of `tokens` tokens after which every text of `part` has been seen once: of the source that takes longest; 0
 * when no source has an end (needles and recall have none). */
int64_t natsl_data_epoch(const natsl_data *data, natsl_data_part part, int64_t tokens);

/** Window `index` >= 0 of at most `tokens` >= 2 tokens. Training windows of a text are in random order, each once
 * before any comes again; where they begin is shifted from one turn to the next, by what is left over at the end.
 * \param ids       [tokens]; *count of them are written, 2 <= *count <= tokens.
 * \param targets   [tokens]; targets[i] is what is to be predicted from ids[0..i] (ids[i+1], but for mqar), -1 where
 *                  nothing counts, always at the last; *count are written.
 * \param answers   [*n_answers]; in: room, out: how many were written, in the order of the window. NULL with n_answers
 *                  NULL.
 * \return NATSL_OK; NATSL_ERR_USAGE: index or tokens out of range, a window too short for its source's shortest, no
 *         validation; NATSL_ERR_INPUT: a token file that cannot be read, or a token not in the vocabulary;
 *         NATSL_ERR_NOMEM. */
natsl_status natsl_data_window(natsl_data *data, natsl_data_part part, int64_t index, int64_t tokens, int32_t *ids,
                               int32_t *targets, int64_t *count, natsl_answer *answers, size_t *n_answers);

/** The same, and told [tokens]: 1 where the text tells what is asked for later or might be (of each needle every token that holds any
 * of it), 0 elsewhere before the first question, -1 from there on and in windows of other sources; *count of them are written.
 * NULL: not wanted. */
natsl_status natsl_data_window_told(natsl_data *data, natsl_data_part part, int64_t index, int64_t tokens, int32_t *ids,
                                    int32_t *targets, int64_t *count, natsl_answer *answers, size_t *n_answers,
                                    int8_t *told);

#endif
