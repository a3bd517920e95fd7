/* result_part.h - the beginning of a result: what is known of each token so far, as part of a checkpoint.
 * A rank copies the rows that it has written itself out of the result file under way, so that nothing is held in memory and no rank
 * reads what another one may not have flushed yet. In the checkpoint they are datasets result/logprobs, result/hidden,
 * result/softmax_chunks/<layer>, cut at the checkpoint's position. Tests: tests/cli/resume.sh, tests/mpi/test_results.c */
#ifndef NATSL_RESULT_PART_H
#define NATSL_RESULT_PART_H

#include "files.h"
#include "h5.h"

/** From here on each rank notes which rows it writes: before the first row. Not collective. */
void natsl_result_keep_notes(natsl_result *r);

/** Copies the first `position` tokens' log-probabilities (those of tokens 1 to position, where there are so many), choices and hidden
 * rows into a checkpoint under way. All rows of them have been written, and noted, by some rank. Collective; the
 * same status on all ranks. NATSL_ERR_IO, NATSL_ERR_NOMEM. */
natsl_status natsl_result_part_put(natsl_result *r, int64_t position, natsl_h5_out *out);

/** Copies them back into a new result file, each rank a share; `seen` gets the share's log-probabilities and its status counts.
 * Collective; the same status on all ranks. NATSL_ERR_INPUT: missing, another shape, a number that cannot be one. */
natsl_status natsl_result_part_get(natsl_result *r, int64_t position, const char *path,
                                   natsl_status (*seen)(void *user, int64_t first, int64_t count, const float *values),
                                   void *user);

#endif
