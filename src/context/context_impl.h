/* context_impl.h - what a context and a model are made of. Private to src/context and src/app (statistics). */
#ifndef NATSL_CONTEXT_IMPL_H
#define NATSL_CONTEXT_IMPL_H

#include "agree.h"
#include "cost.h"
#include "files.h"
#include "kept.h"
#include "layout.h"
#include "part.h"
#include "stage.h"
#include <natsl/context.h>

struct natsl_h5_out; /* h5.h */

struct natsl_model {
    MPI_Comm comm, node; /* duplicates */
    MPI_Win window;      /* shared weights; MPI_WIN_NULL when each rank has its own */
    natsl_layout layout;
    natsl_weights weights;
    void *store;           /* [layout.store_bytes] */
    natsl_model_info info; /* what its file says */
    char *tokenizer_json;  /* [tokenizer_length] of the kind "json"; else NULL */
    size_t tokenizer_length;
    uint64_t digest;
};

/** A rank's part of a row. */
typedef struct natsl_span {
    int start, count;
} natsl_span;

/** Work space of one token (next.c). */
typedef struct natsl_next {
    float *rows;          /* one token's rows */
    float *message;       /* [value_dim + P * (2*heads + od)] parts of the output gate and partial softmaxes */
    float *parts;         /* [parts but the first, 2*heads + od] of the softmaxes over a rank's own kept units */
    uint8_t *choices;     /* [layers, groups] of the chunk that a token closes */
    size_t *first;        /* [P+1] panels of each rank, of the matrix in hand */
    int64_t *load;        /* [P] what each has to do besides */
    natsl_span *gates;    /* [P] parts of the output gate, as sent to the owner */
    int *counts, *starts; /* [P] of the row being gathered */
    int64_t *shown;       /* [P] kept units of the layer in hand that the token sees */
    double mark;          /* when the last phase ended */
} natsl_next;

struct natsl_context {
    MPI_Comm comm; /* duplicate */
    int rank, size;
    const natsl_model *model; /* borrowed */
    const natsl_config *config;
    natsl_options options; /* with defaults filled in */
    natsl_stage stage;
    int64_t position;
    int owner;          /* rank whose tails are valid: the one that read the last token */
    float **tails;      /* [layers][shape.tail.floats] */
    float *last_hidden; /* [D] after the final norm, of the last token; valid on the owner */
    natsl_arena arena;  /* of the kept units */
    natsl_kept *kept;   /* [layers]; unused for pure Gated DeltaNet layers */
    natsl_kept_inbox inbox;
    natsl_next next;
    int64_t halo_bytes, state_bytes, kept_bytes, directory_bytes, row_bytes, kept_chunks, chunks;
    int64_t
        attended; /* what this rank has computed of attention to kept chunks: pairs of a token and a unit, times natsl_attn_pair */
    size_t residual_bytes, resident_bytes;
    natsl_cost_machine machine; /* valid when machine_known; equal on all ranks */
    int machine_known;
};

/** A layer's weights, and the sizes that follow from its kind. */
static inline const natsl_layer *natsl_layer_of(const natsl_context *cx, int layer)
{
    return &cx->model->weights.layers[layer];
}

/** Layers that keep chunks (NAtS-L: some; attention: all), and layers with a delta rule: its state and halo. */
static inline int natsl_layer_keeps(const natsl_context *cx, int layer)
{
    return cx->config->kind[layer] != NATSL_LAYER_GDN;
}
static inline int natsl_layer_has_state(const natsl_context *cx, int layer)
{
    return cx->config->kind[layer] != NATSL_LAYER_ATTN;
}

/** natsl_context_save, with more in the file: `more` (may be NULL) is called by all ranks when the context is in it, and returns a status
 * that they have agreed on. */
natsl_status natsl_context_save_with(natsl_context *cx, const char *path,
                                     natsl_status (*more)(void *user, struct natsl_h5_out *out), void *user);
/** natsl_context_load of a file whose seal (seal.h) has been checked. */
natsl_status natsl_context_load_checked(MPI_Comm comm, const natsl_model *model, const natsl_options *options,
                                        const char *path, natsl_context **out);
/** Passes of at most `tokens` tokens from the next extension on, rounded up to the grid; 0 and less: no change. Equal on all ranks. Not
 * collective. */
void natsl_context_set_pass(natsl_context *cx, int64_t tokens);

/** Moves the tails of all layers (and the last hidden row) to rank `to`. Collective. */
void natsl_context_move(natsl_context *cx, int to);

/** Work space for one token on `size` ranks. NATSL_ERR_NOMEM, or NATSL_ERR_INPUT when a row exceeds one message. */
natsl_status natsl_next_create(const natsl_config *config, int size, natsl_next *next);
void natsl_next_free(natsl_next *next);
/** The token was its chunk's last: choices keep [groups], states, units of `layer`. On the owner. scores [2*Hn]: room.
 * NATSL_ERR_NOMEM. next_chunk.c */
natsl_status natsl_chunk_close(natsl_context *cx, int layer, float *scores, uint8_t *keep);
/** All ranks learn what the closed chunk left behind, or whose error `st` it was. keep [layers, most groups], valid on the owner.
 * Collective. */
natsl_status natsl_chunk_note(natsl_context *cx, uint8_t *keep, natsl_status st);

/** The plan's part about states: scan_passes, scan_bytes, and state_bytes where passes scan. `options` are complete. */
natsl_status natsl_state_plan(const natsl_config *config, const natsl_options *options, int ranks, int64_t tokens,
                              natsl_plan *plan);

/** The machine that the context runs on, measured when first asked for. Collective. */
natsl_status natsl_context_machine(natsl_context *cx, natsl_cost_machine *machine);

/** Share of kept chunks to expect: forced by the route, else as the options say, else `known` (0: unknown), else half. */
double natsl_expected_share(const natsl_options *options, double known);

/** An extension as the cost model sees it, with ranges of equal length. `o`: complete. */
natsl_cost_run natsl_cost_run_of(const natsl_config *config, const natsl_options *o, int ranks, int64_t begin,
                                 int64_t tokens, double kept_share, int scores);

/** Whether such a run should be balanced, by --balance and, for auto, by the prediction. Sets run->balance and *weights. Not collective. */
natsl_status natsl_balance_decide(natsl_cost_run *run, const natsl_options *o, const natsl_cost_machine *machine,
                                  natsl_part_weights *weights);
/** False where there is nothing to balance, whatever the machine is like: then it need not be measured. */
int natsl_balance_matters(const natsl_cost_run *run, const natsl_options *o);

/** The plan for a machine: whether ranges are balanced and how (then natsl_plan_ranges follows), memory that depends on it, and what
 * the run will take. known_share: as for natsl_expected_share. Not collective; the same arguments give the same plan. */
natsl_status natsl_plan_predict(const natsl_config *config, const natsl_options *options,
                                const natsl_cost_machine *machine, int64_t begin, int64_t tokens, double known_share,
                                int scores, natsl_plan *plan, natsl_prediction *prediction);
/** Resident bytes of a process before it opens a model, mean over ranks, for plan->baseline_bytes: after one small product, because
 * libraries of products take megabytes for themselves with the first. Collective. */
size_t natsl_plan_baseline(MPI_Comm comm);
/** Bytes per rank that the plan expects at most at one time, with this many ranks on a node: all parts, and the rank's share of the
 * weights. */
double natsl_plan_rank_bytes(const natsl_plan *plan, int ranks_per_node);

/** Largest pass and stage from the options, rounded to the grid. */
natsl_status natsl_options_complete(const natsl_config *config, int ranks, const natsl_options *in, natsl_options *out);

#endif
