/* context_impl.h - what a context and a model are made of. Private to src/context and src/app (statistics). */
#ifndef NATSL_CONTEXT_IMPL_H
#define NATSL_CONTEXT_IMPL_H

#include "agree.h"
#include "kept.h"
#include "layout.h"
#include "part.h"
#include "stage.h"
#include <natsl/context.h>

struct natsl_model {
    MPI_Comm comm, node; /* duplicates */
    MPI_Win window;      /* shared weights; MPI_WIN_NULL when each rank has its own */
    natsl_layout layout;
    natsl_weights weights;
    void *store; /* [layout.store_bytes] */
    char tokenizer[16];
    uint64_t digest;
};

struct natsl_context {
    MPI_Comm comm; /* duplicate */
    int rank, size;
    const natsl_model *model; /* borrowed */
    const natsl_config *config;
    natsl_options options; /* with defaults filled in */
    natsl_stage stage;
    int64_t position;
    int owner;          /* rank whose tails are valid: the one that read the last token */
    float **tails;      /* [layers][tail.floats] */
    float *last_hidden; /* [D] after the final norm, of the last token; valid on the owner */
    natsl_arena arena;  /* of the kept units */
    natsl_kept *kept;   /* [layers]; unused for pure Gated DeltaNet layers */
    natsl_kept_inbox inbox;
    float *next_rows; /* one token's rows */
    float *partial;   /* [P, 2*Ha + value_dim] partial softmaxes of one token */
    uint8_t *choices; /* [layers, Hn] of the chunk that a token closes */
    int64_t halo_bytes, state_bytes, kept_bytes, directory_bytes, kept_chunks, chunks;
    size_t residual_bytes;
};

/** Layers that keep chunks. */
static inline int natsl_layer_keeps(const natsl_context *cx, int layer) { return !cx->config->is_gdn[layer]; }

/** Moves the tails of all layers (and the last hidden row) to rank `to`. Collective. */
void natsl_context_move(natsl_context *cx, int to);

/** Floats of next_rows. */
size_t natsl_next_floats(const natsl_config *config);

/** The plan's part about states: scan_passes, scan_bytes, and state_bytes where passes scan. `options` are complete. */
natsl_status natsl_state_plan(const natsl_config *config, const natsl_options *options, int ranks, int64_t tokens,
                              natsl_plan *plan);

/** Largest pass and stage from the options, rounded to the grid. */
natsl_status natsl_options_complete(const natsl_config *config, int ranks, const natsl_options *in, natsl_options *out);

#endif
