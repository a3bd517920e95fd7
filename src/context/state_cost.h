/* state_cost.h - which of the two ways to pass states costs less time, and where a scan is possible at all.
 * Owns: nothing. MPI: none (pure arithmetic, equal on all ranks). Tests: tests/unit/test_state_cost.c */
#ifndef NATSL_STATE_COST_H
#define NATSL_STATE_COST_H

#include "grid.h"
#include <natsl/config.h>

/** Below this many ranks `auto` always takes the relay: its skew is then small for any model, and answers have the same bits on
 * any number of ranks. */
#define NATSL_SCAN_LEAST_RANKS 32

/** What the choice rests on. Seconds of one rank. */
typedef struct natsl_state_costs {
    int ranks;                      /* that read in a pass */
    int layers;                     /* of the model */
    int groups;                     /* groups of heads that a relay sends on one after the other */
    double passes;                  /* of the window */
    double state_s;                 /* state phase of a range in one layer, all heads */
    double summary_s;               /* (A, B) of a range in one layer, all heads */
    double compose_s;               /* composing two pairs and the state before, all heads */
    double latency_s;               /* of a message */
    double bytes_per_s;             /* of a message */
    double state_bytes, pair_bytes; /* of one layer */
} natsl_state_costs;

/** Seconds that the relay adds to a window: the last rank starts when the first group of heads has gone through all ranks
 * before it. Paid once: after that every rank is late by the same amount in all layers and passes.
 * (ranks - 1) * ((state_s + state_bytes / bytes_per_s) / groups + latency_s) */
double natsl_state_relay_s(const natsl_state_costs *costs);
/** Seconds that the scan adds to a window: in every layer of every pass the summary, and ceil(log2 ranks) steps of a message
 * and a composition, none of them hidden.
 * passes * layers * (summary_s + steps * (latency_s + pair_bytes / bytes_per_s + compose_s)) */
double natsl_state_scan_s(const natsl_state_costs *costs);

/** The rule of `auto`: true for scan. At least NATSL_SCAN_LEAST_RANKS ranks, and the scan adds less than the relay. */
int natsl_state_pass_choose(const natsl_state_costs *costs);

/** Costs by counting arithmetic, for `ranks` ranges of up to `tokens` tokens, at NATSL_STATE_FLOPS_PER_S a thread and for
 * the network NATSL_STATE_LATENCY_S, NATSL_STATE_BYTES_PER_S. threads: of a rank. */
natsl_state_costs natsl_state_costs_count(const natsl_config *config, int threads, int ranks, int64_t tokens,
                                          double passes);

/** Groups of heads that a relay sends on one after the other, and heads in one, for this many threads. */
int natsl_state_group(const natsl_config *config, int threads);

/** Whether a pass with these ranges (first [size+1]) can scan: at least three ranks read (two have nothing to summarise), and
 * each range is one stage, because its summary is needed before its rows leave the layer. */
int natsl_state_scan_possible(const natsl_grid *grid, int64_t stage_tokens, const int64_t *first, int size);

/** One past the last token of the stage that starts at `first` in a range that ends at `last`. */
static inline int64_t natsl_stage_end(const natsl_grid *grid, int64_t stage_tokens, int64_t first, int64_t last)
{
    return natsl_min64(first - first % grid->unit + stage_tokens, last);
}

/* What one thread does in the state phase and the summary, blocks of 64 on 128 columns with dk 128: measured as CPU time on one core
 * of a Xeon with AVX-512, 82 to 100 GFLOP/s. The network is assumed, not measured: what a cluster's usually does. */
#define NATSL_STATE_FLOPS_PER_S 9e10
#define NATSL_STATE_LATENCY_S   5e-6
#define NATSL_STATE_BYTES_PER_S 5e9

#endif
