/* train.h - loss of windows of tokens and its gradient with respect to every weight, on all ranks of a communicator.
 * The ranks form groups of equal size. A group takes one window at a time: the window begins at a text's first token and is cut
 * into one range per rank of the group, as a pass of natsl_context_extend is; a rank's range goes through a layer in one
 * stage. Forward, every rank keeps its input rows of every layer and the state and halo that came in; backward, layer after
 * layer from the last, it computes the rest again, but where there is memory to keep it (natsl_train_plan.saved_layers). Gradients of states and halos go from each range to the one before, those
 * of kept keys and values back to the ranges they came from. Gradients of windows add up on each rank, and are summed over
 * all ranks of all groups when natsl_trainer_sum is called: all sums in a fixed order, so that the same run gives the same
 * bits; other numbers of ranks, and other groups, agree to rounding.
 * Memory per rank: natsl_train_plan. A rank keeps its own kept keys and values of every layer from the forward pass on; those of
 * all ranges before its own are in its memory for one layer at a time.
 * Source: oracle_grad.py. Tests: tests/mpi/test_train.c, tests/cli/grad.sh, tests/cli/train.sh */
#ifndef NATSL_TRAIN_H
#define NATSL_TRAIN_H

#include "layout.h"
#include "shards.h"
#include "stage.h"
#include <natsl/context.h>

typedef struct natsl_trainer natsl_trainer;

/** What a window of `tokens` tokens would take, by arithmetic alone. Not collective. */
typedef struct natsl_train_plan {
    int64_t most_tokens;  /* of a rank */
    int64_t stage_tokens; /* most that are allowed */
    int saved_layers;     /* the last ones keep what their forward pass found */
    size_t weight_bytes;  /* per node */
    /* per rank; rows: input rows of all layers, and all that saved_layers keep; kept: if every chunk were kept */
    size_t rows_bytes, buffer_bytes, gradient_bytes, kept_bytes_all;
} natsl_train_plan;
/** ranks: of a group. first [ranks+1]: tokens [first[r], first[r+1]) belong to its rank r. NATSL_ERR_USAGE when there are
 * fewer than two tokens, or when a rank's range is longer than a stage may be: the line says what to set. */
natsl_status natsl_train_plan_make(const natsl_config *config, natsl_storage weights, int ranks,
                                   const natsl_options *options, int64_t tokens, natsl_train_plan *plan,
                                   int64_t *first);

/** Everything for windows of up to `tokens` tokens; the model is borrowed. group: ranks of comm that share a window, a divisor of
 * their number; 0: all. Collective on comm. Release with natsl_trainer_destroy. NATSL_ERR_USAGE, NATSL_ERR_NOMEM. */
natsl_status natsl_trainer_create(MPI_Comm comm, const natsl_model *model, const natsl_options *options, int group,
                                  int64_t tokens, natsl_trainer **out);
/** Collective. Accepts NULL. */
void natsl_trainer_destroy(natsl_trainer **trainer);

/** A text and what is to be learned from it. */
typedef struct natsl_window {
    int64_t tokens; /* 2 .. those of natsl_trainer_create */
    void *user;
    /** ids [count]: tokens first .. first+count; targets [count]: what the model should say after each, -1: does not count.
     * Each rank of the group asks for its range. */
    natsl_status (*read)(void *user, int64_t first, int64_t count, int32_t *ids, int32_t *targets);
    double scale;      /* of the sum of -log p(target): what the gradient is of */
    double kept_scale; /* of the expected share of kept chunks of this window, 0..1: added to that; 0: none */
    const int8_t
        *hints; /* [tokens / chunk] which chunks the gate should keep: 1 keep, 0 fold, -1 no hint; NULL: none */
    double
        hint_scale; /* of the gate's cross-entropy with hints: mean over chunks to keep plus mean over those to fold, halved,
                              * mean over gate heads and layers */
    natsl_gate_noise choice; /* temperature 0: the largest score; else Gumbel noise, another one in every layer */
    natsl_route route;       /* learned: as natsl_trainer_create was told; else every choice of this window is forced */
} natsl_window;

/** Sums over windows. */
typedef struct natsl_train_sums {
    double loss;     /* of -log p(target), natural logarithm */
    int64_t targets; /* their number */
    double expected; /* of the gate's shares for softmax, over (chunk, gate head, NAtS-L layer) with a learned choice */
    int64_t choices; /* complete (chunk, gate head, NAtS-L layer) */
    int64_t *kept, *chunks; /* [layers] the same by layer, kept and all; 0 for Gated DeltaNet layers */
} natsl_train_sums;

/** Gradients and sums become zero. Not collective. */
void natsl_trainer_clear(natsl_trainer *trainer);
/** Adds a window: loss, gradient, choices. Collective on the group; a status of `read` ends it on all its ranks, with what has been
 * added so far unchanged. */
natsl_status natsl_trainer_add(natsl_trainer *trainer, const natsl_window *window);
/** Sums over all ranks of all groups: losses and counts equal on all ranks; of the gradient each rank has its shard (shards.h),
 * which natsl_shards_gather completes. Collective on comm. The sums are borrowed, until the next clear. */
const natsl_train_sums *natsl_trainer_sum(natsl_trainer *trainer);

/** Loss only: adds to the sums; no gradient. hits [window->tokens]: 1 where the target was the most probable token (lowest id among
 * equals), 0 elsewhere, equal on all ranks of the group. Collective on the group. */
natsl_status natsl_trainer_evaluate(natsl_trainer *trainer, const natsl_window *window, uint8_t *hits);

/** Gradients: flat [shards->each * shards->size], each tensor at its offset in layout. Borrowed. Not collective. */
float *natsl_trainer_gradients(natsl_trainer *trainer);
const natsl_layout *natsl_trainer_layout(const natsl_trainer *trainer);
const natsl_shards *natsl_trainer_shards(const natsl_trainer *trainer);
/** This rank's group and how many there are. Not collective. */
int natsl_trainer_group(const natsl_trainer *trainer, int *groups);

/** Adds to kept [tokens / chunk]: in how many pairs of layer and gate head this rank's chunks were kept in the last window. Not
 * collective. */
void natsl_trainer_kept(const natsl_trainer *trainer, int32_t *kept);

/** Seconds of this rank since natsl_trainer_clear: forward, backward, sum over ranks. Not collective. */
void natsl_trainer_seconds(const natsl_trainer *trainer, double *forward, double *backward, double *sum);

#endif
