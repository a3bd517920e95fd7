/* cost.h - what reading costs: operations by kind of work, seconds on a machine, and a whole run on many ranks, event by event.
 * Owns: nothing that lives on. MPI: none, arithmetic only. Counts are textbook counts: 2 per multiply-add, nothing twice.
 * Tests: tests/unit/test_cost.c; tools/simgrid compares with the real chain on a simulated cluster. */
#ifndef NATSL_COST_H
#define NATSL_COST_H

#include "part.h"
#include "stage.h"
#include <natsl/storage.h>

/** Kinds of work, each with a speed of its own. Unit: floating-point operations, of ROWS bytes read and written. */
typedef enum natsl_work_kind {
    NATSL_WORK_PROJECT = 0,  /* every weight matrix of a layer but the feed-forward's, once per token */
    NATSL_WORK_FEED_FORWARD, /* 6 D I per token */
    NATSL_WORK_LOGITS,       /* 2 D V per scored token */
    NATSL_WORK_LOCAL, /* delta rule in blocks of m <= 64 tokens: 2 m^2 dk per key head (K K^T and Q K^T as halves) and
                              * m^3/3 per value head */
    NATSL_WORK_STATE, /* per value head and token 4 dk dv (K S, Q S), 2 m dv (two halves of a product), and 2 dk dv
                              * (K^T D) where the block goes into a state */
    NATSL_WORK_OWN,   /* attention inside the chunk: 2 (dk + dv) per head and visible pair */
    NATSL_WORK_KEPT,  /* attention to the kept chunks before: the same */
    NATSL_WORK_ROWS,  /* norms, convolution, gate, mixing: bytes */
    NATSL_WORK_KINDS
} natsl_work_kind;

typedef struct natsl_work {
    double of[NATSL_WORK_KINDS];
} natsl_work;

/** Tokens [begin, end) of a text in one layer; kept_share: expected share of (chunk, gate head) pairs that are kept, 0..1 (layers of
 * softmax attention keep all). No logits. */
natsl_work natsl_cost_layer(const natsl_config *config, int layer, int64_t begin, int64_t end, double kept_share);
/** The same in all layers, and the head for `scored` tokens. */
natsl_work natsl_cost_count(const natsl_config *config, int64_t begin, int64_t end, double kept_share, int64_t scored);
/** Pairs of a token t of [begin, end) and a token before t's own chunk that t sees, if every chunk is kept. window as in
 * natsl_attn_shape: 0: none. */
double natsl_cost_pairs_before(int64_t chunk, int64_t window, int64_t begin, int64_t end);
/** Share of a layer's chunks that are kept: kept_share, or all, or none. */
double natsl_cost_share(const natsl_config *config, int layer, double kept_share);

/** A machine: what one rank does with all its threads, and what lies between ranks. */
typedef struct natsl_cost_machine {
    double per_s[NATSL_WORK_KINDS];          /* > 0 */
    int threads;                             /* of a rank */
    double stage_s;                          /* of a layer and stage, beside its work */
    double latency_s, bytes_per_s;           /* between nodes; bytes_per_s of a node, shared by its ranks */
    double near_latency_s, near_bytes_per_s; /* between ranks of a node */
    int ranks_per_node;                      /* >= 1 */
    int cores_per_node;                      /* 0: one for each thread */
} natsl_cost_machine;

/** A machine of `gflops` per rank at big products, the other kinds in usual proportion to it. */
natsl_cost_machine natsl_cost_machine_guess(double gflops, int threads);

/** Seconds of work on one rank. */
double natsl_cost_seconds(const natsl_cost_machine *machine, const natsl_work *work);

/** A run to predict. */
typedef struct natsl_cost_run {
    const natsl_config *config;
    int ranks;
    int64_t begin, tokens; /* the window [begin, begin + tokens) */
    int64_t pass_tokens, stage_tokens;
    double kept_share;
    natsl_storage kept;
    int scores;  /* 1: log-probabilities of all tokens */
    int balance; /* 1: ranges of equal cost */
    int scan;    /* 1: states by scan where possible, 0: relay */
} natsl_cost_run;

typedef struct natsl_prediction {
    double seconds;                             /* of the whole run */
    double one_rank_s;                          /* of all work on one such rank */
    double busy_mean_s, busy_most_s;            /* of ranks */
    double wait_mean_s;                         /* of ranks: seconds in which they are not busy */
    double efficiency;                          /* one_rank_s / (ranks * seconds) */
    double halo_bytes, state_bytes, kept_bytes; /* sent between nodes and ranks; kept: between nodes */
    double tokens_least, tokens_most;           /* read by a rank */
    int64_t longest;                            /* tokens of a range */
    int64_t passes, scan_passes;
} natsl_prediction;

/** Weights of a partition: what a chunk costs, and how that grows. The same numbers give the same weights. */
natsl_part_weights natsl_cost_weights(const natsl_config *config, const natsl_cost_machine *machine, double kept_share,
                                      int scores);
/** The same from seconds of a token without chunks before it, and what each such chunk adds (in all layers, as far as it is kept). */
natsl_part_weights natsl_cost_weights_of(double token_s, double token_chunk_s);

/** How much longer than the mean the costliest of equal ranges of the window's first pass takes, as a share of the mean. */
double natsl_cost_skew(const natsl_cost_run *run, const natsl_part_weights *weights);

/** Follows a run through passes, layers and ranks. Every rank's work in a layer and stage takes its counted time; halo and states
 * wait for the rank before (relay: head group by head group; scan: log2 steps of pairs), attention for the counts and units of
 * the ranks before, nothing for later ones. More threads than cores: no rank is slowed down, but the whole takes no less
 * than all work on all cores. busy_s [ranks]: seconds of work of each rank, or NULL. Cost: O(passes * layers * ranks).
 * NATSL_ERR_NOMEM, NATSL_ERR_USAGE. */
natsl_status natsl_cost_predict(const natsl_cost_run *run, const natsl_cost_machine *machine, natsl_prediction *out,
                                double *busy_s);

#endif
