/* train.h - loss of one window of tokens and its gradient with respect to every weight, on all ranks of a communicator.
 * The window begins at a text's first token and is cut into one range per rank, as a pass of natsl_context_extend is; a rank's
 * range goes through a layer in one stage. Forward, every rank keeps its input rows of every layer and the state and halo
 * that came in; backward, layer after layer from the last, it computes the rest again. Gradients of states and halos go
 * from each range to the one before, those of kept keys and values back to the ranges they came from, and the
 * weights' gradients are summed over ranks at the end: all sums in a fixed order, so that the same run gives the same
 * bits; other numbers of ranks agree to rounding.
 * Memory per rank: natsl_train_plan. A rank keeps its own kept keys and values of every layer from the forward pass on; those of
 * all ranges before its own are in its memory for one layer at a time.
 * Source: oracle_grad.py. Tests: tests/mpi/test_train.c, tests/cli/grad.sh */
#ifndef NATSL_TRAIN_H
#define NATSL_TRAIN_H

#include "layout.h"
#include <natsl/context.h>

typedef struct natsl_trainer natsl_trainer;

/** What a window of `tokens` tokens would take, by arithmetic alone. Not collective. */
typedef struct natsl_train_plan {
    int64_t most_tokens;                                             /* of a rank */
    int64_t stage_tokens;                                            /* most that are allowed */
    size_t weight_bytes;                                             /* per node */
    size_t rows_bytes, buffer_bytes, gradient_bytes, kept_bytes_all; /* per rank; kept: if every chunk were kept */
} natsl_train_plan;
/** first [ranks+1]: tokens [first[r], first[r+1]) belong to rank r. NATSL_ERR_USAGE when there are fewer than two tokens, or when a
 * rank's range is longer than a stage may be: the line says what to set. */
natsl_status natsl_train_plan_make(const natsl_config *config, natsl_storage weights, int ranks,
                                   const natsl_options *options, int64_t tokens, natsl_train_plan *plan,
                                   int64_t *first);

/** Everything for windows of exactly `tokens` tokens; the model is borrowed. Collective on comm. Release with natsl_trainer_destroy.
 * NATSL_ERR_USAGE, NATSL_ERR_NOMEM. */
natsl_status natsl_trainer_create(MPI_Comm comm, const natsl_model *model, const natsl_options *options, int64_t tokens,
                                  natsl_trainer **out);
/** Collective. Accepts NULL. */
void natsl_trainer_destroy(natsl_trainer **trainer);

/** Mean of -log p(token[t+1] | token[0..t]) over the window, natural logarithm, and its gradient into natsl_trainer_gradients, both
 * equal on all ranks. tokens as in natsl_stream: each rank asks for its range and the token after it. Collective. A
 * status of `tokens` ends it on all ranks. */
natsl_status natsl_trainer_step(natsl_trainer *trainer,
                                natsl_status (*tokens)(void *user, int64_t first, int64_t count, int32_t *ids),
                                void *user, double *loss);

/** Gradients of the last step: flat [layout->floats], each tensor at its offset. Borrowed. Not collective. */
const float *natsl_trainer_gradients(const natsl_trainer *trainer);
const natsl_layout *natsl_trainer_layout(const natsl_trainer *trainer);

/** Seconds of the last step on this rank: forward, backward, sum over ranks. Not collective. */
void natsl_trainer_seconds(const natsl_trainer *trainer, double *forward, double *backward, double *sum);

#endif
