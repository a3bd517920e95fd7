/* stage.h - one layer over one contiguous run of tokens, on one process and its threads.
 * A stage holds what a layer needs between its phases; every phase takes what comes from outside (halo, state, kept keys and
 * values) as an argument, so that sequence parallelism is only the question who supplies it. The phases of a layer, in order:
 *   project    norm and joint input projection of every tile            (needs nothing)
 *   gate       pooled scores per chunk, the choice of operation         (needs nothing)
 *   local      convolution, head norms, delta-rule blocks, own-chunk attention  (needs the halo)
 *   state      the delta rule's state through the chunks, head by head  (needs the state)
 *   summarise  instead, or before: the affine map of the run, S -> A S + B  (needs nothing more)
 *   attend     one run of kept chunks into the online softmax           (needs their keys and values)
 *   finish     mixing, output projection, feed-forward                  (needs all of the above)
 * Owns: its buffers. MPI: none. Threads: every phase spreads its items over stage->threads.
 * Source: oracle.py mixer, forward. Tests: tests/mpi/test_context.c */
#ifndef NATSL_STAGE_H
#define NATSL_STAGE_H

#include "core.h"
#include "grid.h"
#include "kernels.h"
#include "layout.h"

/** Which operation chunks get: learned by the gate, or forced (to measure what the gate buys). */
typedef enum natsl_route_kind { NATSL_ROUTE_LEARNED = 0, NATSL_ROUTE_SOFTMAX, NATSL_ROUTE_LINEAR } natsl_route_kind;

/** Columns of the vocabulary per product when scoring: wide enough for the product, small enough for the cache. */
#define NATSL_VOCAB_TILE    1024
#define NATSL_VOCAB_COLUMNS (NATSL_VOCAB_TILE - NATSL_PANEL + NATSL_PANEL_MOST) /* the last tile may be wider */

/** Columns of a value head that one item of the state phase carries through the chunks. */
#define NATSL_STATE_COLUMNS 128

/** A tile's tokens: [begin,end) lie in the window (the shape of products), [first,last) belong to this stage. */
typedef struct natsl_tile {
    int64_t begin, end, first, last;
} natsl_tile;

/** What time is spent on, summed over layers. */
typedef enum natsl_phase {
    NATSL_PHASE_NORM = 0, /* norms of a layer's input rows */
    NATSL_PHASE_PROJECT,  /* input, gate and output projections */
    NATSL_PHASE_CONV,  /* short convolution, head norms, decays: what lies between projections and the two operations */
    NATSL_PHASE_GATE,  /* which operation a chunk gets */
    NATSL_PHASE_LOCAL, /* the delta rule inside blocks, before a state is known */
    NATSL_PHASE_STATE, /* the delta rule's state through the chunks */
    NATSL_PHASE_SUMMARY,      /* ranges as maps of the state, and their composition: state passing by scan */
    NATSL_PHASE_ATTEND,       /* softmax attention, own chunk and kept ones */
    NATSL_PHASE_MIX,          /* norms and weights of the two answers */
    NATSL_PHASE_FEED_FORWARD, /* the products and the activation of the feed-forward part */
    NATSL_PHASE_LOGITS,       /* scores over the vocabulary */
    NATSL_PHASE_IDLE,         /* threads with nothing left to do while others of the rank work */
    NATSL_PHASE_EXCHANGE,     /* packing and handing over what other ranks need */
    NATSL_PHASE_WAIT,         /* for other ranks */
    NATSL_PHASES
} natsl_phase;
extern const char *const natsl_phase_names[NATSL_PHASES];

/** A thread's seconds by phase, on cache lines of its own. */
typedef struct natsl_clock {
    double s[NATSL_PHASES], mark;
    char apart[64];
} natsl_clock;

/** Gumbel noise on the gate's scores, for training: the difference of a head's two scores gets a logistic random number, a
 * function of stream and of the chunk's place in the window; the softmax that carries the gradient has `temperature`. */
typedef struct natsl_gate_noise {
    double temperature; /* > 0; 0: no noise, and the gradient's softmax has temperature 1 */
    uint64_t stream;    /* of this layer, window and step */
} natsl_gate_noise;

/** noise [heads] of the window's chunk `chunk`. */
void natsl_gate_noise_of(const natsl_gate_noise *noise, size_t heads, int64_t chunk, float *out);

typedef struct natsl_stage {
    const natsl_weights *weights; /* borrowed */
    const natsl_config *config;   /* = &weights->config */
    const natsl_kernels *kernels;
    natsl_grid grid;
    int threads;
    size_t capacity;      /* rows that the buffers hold */
    size_t n_in;          /* row distance of qkv: the widest projection of all layers */
    size_t conv_channels; /* of layers with a delta rule */
    natsl_widths most;    /* of all layers */

    /* the run of tokens in hand; row(t) = t - base */
    int64_t window_begin, window_end, base, first, last;
    natsl_tile *tiles;
    size_t n_tiles;
    int64_t chunk0;   /* index of the first chunk touched */
    int64_t n_chunks; /* chunks touched, an open one included */

    /* [capacity, .], with the row distances of the layer in hand: shape.attn */
    float *qkv;     /* n_in: raw projections, then convolved; q and k end as unit rows. Attention layers: with biases */
    float *qa, *va; /* attention's queries [qd]; values [vd] only when not shared with qkv */
    float *ka;      /* attention's keys, chunk by chunk turned over: [chunks, kd, chunk] */
    float *mix;     /* [2*Ha] */
    float *log_decay, *beta;      /* [Hv] */
    float *o, *oa;                /* outputs of the delta rule [value_dim] and of attention [od] */
    float *top, *sum;             /* [heads] running softmax */
    float *g, *t, *a;             /* [Hv, capacity], [Hv, capacity, block] twice */
    float *tails;                 /* [tiles + 1, conv_size-1, conv_channels] raw rows before each tile */
    uint8_t *keep;                /* [chunks, groups] */
    float *pool;                  /* [D] of the open chunk */
    float **scratch;              /* [threads] */
    size_t scratch_own;           /* floats of it for kernels */
    size_t scratch_room;          /* ... and behind them for a head of a unit */
    size_t mixed;                 /* widest row that goes into an output projection */
    natsl_storage kept;           /* how units hold keys and values */
    natsl_gate_noise noise;       /* training; temperature 0 (as created): none */
    int overflow;                 /* natsl_stage_finish has met a value that is not finite; the caller clears it */
    natsl_clock *clocks;          /* [threads] */
    int thread_time;              /* clocks count processor time: to measure on a machine that does other things, too */
    double regions_s;             /* spent in parallel regions */
    double seconds[NATSL_PHASES]; /* of the calling thread, outside of them */
} natsl_stage;

/** Seconds by phase so far: means over threads, idle included, so that they add up to this rank's time (but for what nobody
 * counts). out [NATSL_PHASES]. */
void natsl_stage_seconds(const natsl_stage *stage, double *out);

/** Bytes of a stage's buffers for runs of up to `tokens` new tokens. 0 when it overflows. Not collective. */
size_t natsl_stage_bytes(const natsl_config *config, int64_t tokens, int threads);

/** Creates the buffers for runs of up to `tokens` new tokens. NATSL_ERR_NOMEM. Release with natsl_stage_free. */
natsl_status natsl_stage_create(const natsl_weights *weights, const natsl_kernels *kernels, natsl_storage kept,
                                int64_t tokens, int threads, natsl_stage *stage);
void natsl_stage_free(natsl_stage *stage);

/** Takes the run [first,last) of the window [window_begin,window_end) in hand. first is a chunk multiple, or the window's
 * begin inside an open chunk. */
void natsl_stage_set(natsl_stage *stage, int64_t window_begin, int64_t window_end, int64_t first, int64_t last);

/** x [last-first, D] residual rows; not changed. */
void natsl_stage_project(natsl_stage *stage, const natsl_layer *layer, const float *x);

/** The last conv_size-1 raw rows of the run; when the run is shorter the missing ones come from `halo_in` (may be NULL
 * only if natsl_stage_halo_complete). out [conv_size-1, conv_channels]. After project, before local. */
int natsl_stage_halo_complete(const natsl_stage *stage);
void natsl_stage_halo_out(const natsl_stage *stage, const float *halo_in, float *out);

/** Choices of all complete chunks into stage->keep (attention layers: all are kept); pool_in [D] is the open chunk's sum so far (NULL:
 * zero), stage->pool the one after this run. */
void natsl_stage_gate(natsl_stage *stage, const natsl_layer *layer, const float *x, const float *pool_in,
                      natsl_route_kind route);

/** halo [conv_size-1, conv_channels]: raw rows before the run. Attention layers need none. */
void natsl_stage_local(natsl_stage *stage, const natsl_layer *layer, const float *halo);

/** Value heads [h0,h1): state [Hv,dk,dv] in: before the run's first chunk; out: at the start of the chunk open at the run's
 * end. current: the state after the run's last token (also used on the way). */
void natsl_stage_state(natsl_stage *stage, const natsl_layer *layer, size_t h0, size_t h1, float *state,
                       float *current);

/** The run as a map of the state, S -> A S + B, for value heads [h0,h1): what natsl_stage_state would make of any incoming
 * `state`, without outputs. a [Hv,dk,dk] and b [Hv,dk,dv]: only heads [h0,h1) are written. A chunk open at the run's end
 * contributes nothing. A past that has shrunk below 2^-96 counts as forgotten: A is then 0. After local. */
void natsl_stage_summarise(natsl_stage *stage, const natsl_layer *layer, size_t h0, size_t h1, float *a, float *b);

/** Numbers of float32 into a unit, from its number `at` on, and back. */
void natsl_unit_put(natsl_storage kept, float *unit, size_t at, size_t count, const float *from);
void natsl_unit_get(natsl_storage kept, const float *unit, size_t at, size_t count, float *to);
/** Group n's keys (turned over: [kv_heads, dk, chunk]) and values (rows of distance ldv) of one complete chunk into a unit. */
void natsl_unit_pack(natsl_storage kept, const natsl_attn_shape *attn, size_t n, const float *keys, const float *values,
                     size_t ldv, float *unit);
/** Copies group n's keys and values of complete chunk `chunk` (index within the run) into unit. After local. */
void natsl_stage_pack(const natsl_stage *stage, const natsl_layer *layer, int64_t chunk, size_t n, float *unit);
/** Keys of key head i (within its group) in a unit: float32 [dk,chunk], values [chunk,dv] right behind.
 * In place, or widened into room [chunk*(dk+dv)]. */
const float *natsl_unit_head(const natsl_stage *stage, const natsl_attn_shape *attn, const float *unit, size_t i,
                             float *room);
/** Attention's rows of m tokens from token `position` on: q [m, qd] and keys [m, kd], normed and rotated, from projections `from`
 * [m, n_in] (row distance ld), which get the layer's bias. In NAtS-L layers they may be convolved. */
void natsl_attn_rows(const natsl_kernels *kernels, const natsl_layer *layer, size_t m, int64_t position, float *from,
                     size_t ld, float *q, float *keys);
/** Attention's values from a row of the stage on, *ld floats apart. After local. */
const float *natsl_stage_values(const natsl_stage *stage, const natsl_layer *layer, size_t row, size_t *ld);
/** Where natsl_unit_head's room lies in a thread's scratch: behind what a kernel needs. */
float *natsl_stage_room(const natsl_stage *stage, int thread);
/** Scratch of a thread for any kernel on up to NATSL_TILE rows. */
float *natsl_stage_scratch(const natsl_stage *stage, int thread);

/** `count` kept units of group n into the softmax of every row after their chunk that sees it. chunks [count]: their global chunk
 * indices, or NULL: all lie before the window; then those of attention layers are chunks first, first+1, ... */
void natsl_stage_attend(natsl_stage *stage, const natsl_layer *layer, size_t n, const float *units, int64_t count,
                        const int64_t *chunks, int64_t first);

/** Adds the mixer's and the feed-forward's output to x [last-first, D]. A sum that is not finite sets stage->overflow. */
void natsl_stage_finish(natsl_stage *stage, const natsl_layer *layer, float *x);

/** Open chunk: what the run leaves behind into / takes from a tail buffer (rows only; state, halo, pool are the caller's).
 * load: after set and project, before local. save: after local. */
void natsl_stage_rows_load(natsl_stage *stage, const natsl_layer *layer, const float *tail);
void natsl_stage_rows_save(const natsl_stage *stage, const natsl_layer *layer, float *tail);

/** Final norm of rows x [last-first, D] into hidden (NULL: not wanted), and log p(targets[i] | ...) into logprobs (targets[i] < 0 gives
 * 0; targets NULL: nothing). */
void natsl_stage_logits(natsl_stage *stage, const float *x, const int32_t *targets, float *logprobs, float *hidden);

#endif
