/* grad.h - gradients of one layer over one stage, on one process and its threads.
 * A layer's forward pass is run again on the stage (project, gate, local, state, attend: stage.h) from its saved input rows;
 * then these phases, in this order, turn the gradient of its output rows into that of its input rows and add the layer's
 * share to the gradients of its weights. As in stage.h, what comes from outside is an argument:
 * What the forward pass has left in a natsl_saved is not computed again: project becomes unraw; state, attend and most of outer's
 * own forward part fall away.
 *   raw        keeps the raw projections                                     (after project, before local)
 *   outer      feed-forward, output projection, mixing                       (after attend, instead of finish)
 *   own        attention inside each chunk                                   (needs nothing)
 *   attend     runs of kept chunks: queries here, keys and values anywhere   (needs their keys and values)
 *   unit       what other ranks found for a kept chunk of this one
 *   states     the delta rule, head by head, from the last chunk back        (needs the gradient of the state after the run)
 *   gate       the choice of operation, straight through                     (needs attend, unit and states)
 *   inner      head norms, convolution, input projection, norm               (needs the gradient of the next run's halo)
 * Rows here are those of the run alone, [last-first, .]: nothing of the forward's tiles is promised, so results for other
 * splits agree to rounding. Within a run they do not depend on the number of threads.
 * Owns: its buffers. MPI: none. Source: oracle_grad.py. Tests: tests/mpi/test_train.c, tests/cli/grad.sh */
#ifndef NATSL_GRAD_H
#define NATSL_GRAD_H

#include "stage.h"

/** Gradients of a layer's weights, named and shaped as in natsl_layer, row-major; NULL where it has no such tensor. */
typedef struct natsl_layer_grad {
    float *attn_norm, *mlp_norm;
    float *w_in, *conv, *a_log, *dt_bias;
    float *g_proj, *o_proj;
    float *o_norm, *o_norm1, *o_norm2;
    float *nats, *nats_out, *q_norm, *k_norm;
    float *w_gate_up, *w_down;
} natsl_layer_grad;

typedef struct natsl_gradients {
    float *embeddings, *norm, *head; /* head = embeddings when tied */
    natsl_layer_grad *layers;
} natsl_gradients;

/** Points `out` into flat [layout->floats] (borrowed). Release with natsl_gradients_free. */
natsl_status natsl_gradients_bind(const natsl_config *config, const natsl_layout *layout, float *flat,
                                  natsl_gradients *out);
void natsl_gradients_free(natsl_gradients *gradients);

/** Kept chunks of one gate head: `count` units (stage.h), their global chunk indices, and what their gradients are to be
 * written to: [count, natsl_unit_grad_floats]. */
typedef struct natsl_unit_list {
    size_t head; /* of the gate */
    int64_t count;
    const int64_t *chunks;
    const float *units;
    float *grads;
} natsl_unit_list;

/** One of them, and how far a gate head has got in its lists. */
typedef struct natsl_one_unit {
    const float *unit;
    float *grad;
    int64_t chunk;
} natsl_one_unit;
typedef struct natsl_unit_cursor {
    size_t list, count; /* count: units in hand */
    int64_t unit;
} natsl_unit_cursor;

/** Floats of a unit's gradient: for each of its attention heads keys [chunk,attn_k_dim], values [chunk,attn_v_dim]; then, per
 * attention head, the gradient of the factor 1 on the chunk's exponentials. */
size_t natsl_unit_grad_floats(const natsl_config *config);

/** Rows that go through the row-by-row phases at once. */
#define NATSL_GRAD_ROWS 512

/** A layer's matrices turned over: the gradient by x of y = x W^T is a product with them. */
typedef struct natsl_turned {
    natsl_matrix w_in, g_proj, o_proj, nats_out, w_gate_up, w_down;
} natsl_turned;

/** What a layer's forward pass found, kept for its backward pass: time for memory. */
typedef struct natsl_saved {
    float *raw, *gate, *x1, *gu; /* [tokens, .]: n_in, value_dim, D, 2*I */
    float *o, *oa, *top,
        *sum; /* [stage's capacity, .]: value_dim twice, Ha twice; the last three not for Gated DeltaNet */
} natsl_saved;

/** Its bytes, for runs of up to `tokens` tokens; 0 when it overflows. */
size_t natsl_saved_bytes(const natsl_config *config, int64_t tokens, int is_gdn);
/** NATSL_ERR_NOMEM. Release with natsl_saved_free, in any case. */
natsl_status natsl_saved_create(const natsl_stage *stage, int64_t tokens, int is_gdn, natsl_saved *out);
void natsl_saved_free(natsl_saved *saved);

typedef struct natsl_backward {
    natsl_stage *stage;       /* borrowed */
    natsl_saved own;          /* buffers of b and of the stage in its place: raw, o, oa, top, sum */
    const natsl_saved *saved; /* in use instead, or NULL */
    /* [capacity, .] */
    float *raw, *dqkv;       /* n_in: raw projections; gradients of unit q, k, of v, log decay, beta, then of raw */
    float *dxn;              /* [D] of the normed input rows */
    float *d_o, *d_oa;       /* [value_dim] of both operations' outputs */
    float *dqa, *dka, *dva;  /* [key_dim] twice, [value_dim]: of attention's queries, keys, values */
    float *dmix, *dots;      /* [2*Ha]; [Ha] d_oa . oa */
    double *dsoft, *dlinear; /* [chunks, Ha], [chunks, Hv] of the factor on what a chunk gives to either operation */
    float *pools;            /* [chunks, D] pooled rows, then what their gradient gives each row */
    natsl_turned turned;
    float *turned_data; /* [turned_floats]: of one layer, or of the head */
    /* [NATSL_GRAD_ROWS, .] */
    float *xn, *x1, *z, *dz;       /* [D] */
    float *y, *dy, *gate, *dgate;  /* [value_dim] */
    float *gu, *dgu, *u, *du;      /* [2*I] twice, [I] twice */
    float *conv, *logits;          /* [conv_channels], [V] */
    float *top, *picked, *partial; /* [1] twice; sums of slices of rows, to be added up in order */
    double *sum;                   /* [NATSL_GRAD_ROWS], [2*Hn] at least */
    const int8_t *hints;   /* [chunks of the window] what the gate should do: 1 keep, 0 fold, -1 no hint; NULL: none */
    double hint_weight[2]; /* of a chunk's cross-entropy for hints 0 and 1, for each gate head */
    double kept_weight;    /* gradient of the loss by each chunk's expected choice of softmax; 0 as created */
    double expected;       /* natsl_backward_gate adds those expected choices: sum over chunks and gate heads */
    size_t partial_floats, blocks;
    natsl_one_unit *batch;     /* [Hn, batch_units] in hand */
    natsl_unit_cursor *cursor; /* [Hn] */
    size_t batch_units;
    float *early_grads;        /* [Ha, batch_units] keys and values of a unit: what the first of the run's rows give */
    double *early, *late;      /* [Ha, batch_units] of the factor, from the first rows and from the others */
    float **scratch, **states; /* [threads]; states: [blocks + 2, dk, dv] of one head */
} natsl_backward;

/** Bytes of the buffers for runs of up to `tokens` tokens; 0 when it overflows. */
size_t natsl_backward_bytes(const natsl_config *config, int64_t tokens, int threads);
/** Buffers for runs of up to `tokens` tokens of `stage` (borrowed). NATSL_ERR_NOMEM. */
natsl_status natsl_backward_create(natsl_stage *stage, int64_t tokens, natsl_backward *out);
void natsl_backward_free(natsl_backward *b);

/** Final norm, logits, cross-entropy: x [rows, D] are the last layer's output, targets as in natsl_stage_logits. Returns the sum
 * of -log p(target); dx = gradient of `scale` times that sum; gradients of the head and the final norm are added. */
double natsl_backward_logits(natsl_backward *b, const float *x, const int32_t *targets, double scale,
                             natsl_gradients *gradients, float *dx);

/** The same sum without gradients: hits [rows] = 1 where the target has the highest score (the lowest id among equals), else 0. */
double natsl_backward_score(natsl_backward *b, const float *x, const int32_t *targets, uint8_t *hits);

/** Adds rows dx to the gradient of the embedding table. */
void natsl_backward_embed(natsl_backward *b, const int32_t *ids, const float *dx, float *dtable);

/** From now on the stage's o, oa, top, sum and b->raw are those of `saved` (borrowed until the next call); NULL: their own. */
void natsl_backward_use(natsl_backward *b, const natsl_saved *saved);
/** natsl_stage_finish, x to out [rows, D] (not in place), and keeps what it finds in the natsl_saved in use. */
void natsl_backward_finish(natsl_backward *b, const natsl_layer *layer, const float *x, float *out);
/** Instead of natsl_stage_project, the second time: raw projections out of `saved`. */
void natsl_backward_unraw(natsl_backward *b, const natsl_saved *saved);

void natsl_backward_raw(natsl_backward *b);
/** x [rows, D]: the layer's input. dx in: of its output; out: of the rows between mixer and feed-forward. */
void natsl_backward_outer(natsl_backward *b, const natsl_layer *layer, natsl_layer_grad *grad, const float *x,
                          float *dx);
void natsl_backward_own(natsl_backward *b);
/** All kept chunks that rows of the run see, own ones included. Gradients of units are overwritten. */
void natsl_backward_attend(natsl_backward *b, const natsl_unit_list *lists, size_t n);
/** Adds the gradient of a unit of this run (chunk: index within the run, n: gate head). After own. */
void natsl_backward_unit(natsl_backward *b, int64_t chunk, size_t n, const float *grad);
/** Key heads [h0,h1) and their value heads: state [Hv,dk,dv] before the run's first chunk; dstate [Hv,dk,dv] in: of the state
 * after the run, out: of `state`. */
void natsl_backward_states(natsl_backward *b, const natsl_layer *layer, size_t h0, size_t h1, const float *state,
                           float *dstate);
/** route: forced choices are constants and give no gradient; what hints ask of the gate is learned all the same. */
void natsl_backward_gate(natsl_backward *b, const natsl_layer *layer, natsl_layer_grad *grad, const float *x,
                         natsl_route_kind route);
/** dhalo [conv_size-1, conv_channels] in: what later runs add to the last raw rows before them; out: the same for this run.
 * dx in: as outer left it; out: of the layer's input. */
void natsl_backward_inner(natsl_backward *b, const natsl_layer *layer, natsl_layer_grad *grad, const float *x,
                          float *dhalo, float *dx);

#endif
