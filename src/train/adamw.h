/* adamw.h - AdamW with decoupled weight decay, every rank for its shard of the weights.
 * MPI: collective unless said. Deterministic: the same ranks give the same bits.
 * Source: Loshchilov and Hutter, "Decoupled Weight Decay Regularization", ICLR 2019, algorithm 2.
 * Tests: tests/mpi/test_adamw.c */
#ifndef NATSL_ADAMW_H
#define NATSL_ADAMW_H

#include "layout.h"
#include "shards.h"

typedef struct natsl_adamw_settings {
    double beta1, beta2, epsilon; /* of the moments */
    double weight_decay;          /* times the learning rate; on tensors whose `decays` says so */
    double clip;                  /* the gradient's norm is scaled down to it; 0: never */
} natsl_adamw_settings;

typedef struct natsl_adamw {
    const natsl_layout *layout; /* borrowed */
    const natsl_shards *shards; /* borrowed */
    natsl_adamw_settings settings;
    float *weights;        /* [shards->size * each] flat, equal on all ranks */
    float *first, *second; /* [each] moments of this rank's shard */
    int64_t steps;         /* that changed weights */
} natsl_adamw;

/** All zero. Not collective. NATSL_ERR_NOMEM. Release with natsl_adamw_free. */
natsl_status natsl_adamw_create(const natsl_layout *layout, const natsl_shards *shards,
                                const natsl_adamw_settings *settings, natsl_adamw *out);
void natsl_adamw_free(natsl_adamw *a);
/** One step: `flat` has this rank's shard of the gradient. *norm: of the whole gradient, before clipping. Where that is not finite,
 * or beyond 2^62 after clipping, nothing changes (and steps stays). */
void natsl_adamw_step(natsl_adamw *a, const float *flat, double learning_rate, double *norm);

#endif
