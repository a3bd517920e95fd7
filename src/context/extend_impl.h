/* extend_impl.h - one extension under way: shared by extend.c (chain, layers, passes), state.c (states) and
 * exchange.c (kept units).
 * Private to src/context. */
#ifndef NATSL_EXTEND_IMPL_H
#define NATSL_EXTEND_IMPL_H

#include "context_impl.h"
#include "scan.h"
#include "state_cost.h"

/** What ranks add up to balance later passes: kept chunks and chunks of the gate, nanoseconds of attention and what it has computed
 * (natsl_context.attended), nanoseconds of everything else, tokens. */
enum {
    BALANCE_KEPT = 0,
    BALANCE_CHUNKS,
    BALANCE_ATTEND_NS,
    BALANCE_PAIRS,
    BALANCE_OTHER_NS,
    BALANCE_TOKENS,
    BALANCE_NUMBERS
};

/** One extension under way. */
typedef struct natsl_run {
    natsl_context *cx;
    const natsl_stream *stream;
    natsl_status st;    /* this rank's own trouble so far */
    int64_t begin, end; /* window */
    int64_t pass_begin, pass_end, pass;
    int64_t *first;        /* [P+1] ranges of this pass */
    int64_t *first_before; /* [P+1] of the pass before */
    int64_t *first_next;   /* [P+1] of the next pass; all empty when there is none */
    int has_next, drain;
    int stop;                   /* some rank wants a pause: the pass in hand is the last one */
    int balanced;               /* ranges have equal cost */
    natsl_part_weights weights; /* of the pass after this one; of passes that were cut before they do not matter */
    int64_t told[BALANCE_NUMBERS],
        heard_sums[BALANCE_NUMBERS]; /* what the next weights are made of, on its way to all */
    double seconds_before[NATSL_PHASES], kept_before, chunks_before; /* of the context when the run began */
    int64_t attended_before, tokens_read;
    int prev, next;           /* chain neighbours of this rank's range; -1: none, or this rank itself */
    float *x;                 /* [most tokens of a range, D] */
    int32_t *ids;             /* [the same + 1] */
    float *logprobs, *hidden; /* [stage_tokens], [stage_tokens, D] */
    float *halo;              /* incoming */
    MPI_Request *state_sent;  /* [layers, Hv] head groups under way */
    natsl_scan scan;          /* zero when no pass of the window scans */
    int wants_scan, scans;    /* in this window; in this pass */
    MPI_Request *halo_sent;   /* [layers] */
    int64_t *old_counts;      /* [layers, most groups]: own units before this pass */
    int64_t **counts[2];      /* [layers] own count messages of this and the last pass (they alternate) */
    natsl_sends counts_sent[2];
    int64_t *heard;        /* [layers, P, most groups] counts of this pass by rank */
    int64_t *heard_chunks; /* incoming count message */
    size_t heard_capacity;
    int64_t *from_unit;   /* [most groups] first unit of the stage in hand */
    uint8_t *known;       /* [layers] the directory holds the pass that the layer was last read in */
    natsl_sends sends[3]; /* kept units under way, to the readers of pass p in [p % 3] */
    natsl_kept_runs runs;
    int *tags;
    size_t tags_capacity;
} natsl_run;

/** One past the last token of the stage that starts at `first` in a range that ends at `last`. */
static inline int64_t natsl_run_stage_end(const natsl_context *cx, int64_t first, int64_t last)
{
    return natsl_stage_end(&cx->stage.grid, cx->options.stage_tokens, first, last);
}

static inline int natsl_run_stage_count(const natsl_context *cx, int64_t first, int64_t last)
{
    int n = 0;
    for (; first < last; n++) first = natsl_run_stage_end(cx, first, last);
    return n;
}

/** Sizes over the passes of a window: of the pass in hand. Sets wants_scan with the first one. *scans: some pass scans; *slots: the
 * most pairs that this rank has under way. Then the buffers. */
void natsl_run_state_size(natsl_run *r, int *scans, int *slots);
natsl_status natsl_run_state_allocate(natsl_run *r, int slots);
/** Takes the pass in hand: relay or scan. */
void natsl_run_state_pass(natsl_run *r);
/** The state before the stage, from wherever it comes; the state phase; and on to whoever needs it. */
void natsl_run_state(natsl_run *r, int layer, int first_stage, int last_stage);
/** Waits for all states sent and adds up the account. */
void natsl_run_state_finish(natsl_run *r);

/** Decides on balance and the first passes' weights, equal on all ranks. Collective. NATSL_ERR_INPUT, NATSL_ERR_NOMEM. */
natsl_status natsl_run_balance_begin(natsl_run *r);
/** This rank's numbers so far into r->told, for a sum over ranks into r->heard_sums. */
void natsl_run_balance_tell(natsl_run *r);
/** New weights from r->heard_sums. */
void natsl_run_balance_hear(natsl_run *r);
/** Cuts a pass. */
void natsl_run_cut(const natsl_run *r, int64_t begin, int64_t end, int owner, int64_t *first);

/** Posts this rank's units of `layer` that the readers of pass `pass` (ranges `first`) need from before that pass. */
void natsl_run_old_send(natsl_run *r, int layer, const int64_t *first, int64_t pass);
/** Posts this rank's units kept in this pass to the ranks after it. */
void natsl_run_new_send(natsl_run *r, int layer);
/** Reserves units for the chunks that the gate keeps. Out of memory: the chunk is not kept, the pass ends in an error. */
void natsl_run_reserve_units(natsl_run *r, int layer);
/** Copies keys and values of the stage's kept chunks into their units; from [heads]: the first unit of this stage. */
void natsl_run_fill_units(natsl_run *r, int layer, const int64_t *from);
/** Tells every other rank which chunks this range kept in `layer`, and where: after the units of its last stage are filled. */
void natsl_run_counts_tell(natsl_run *r, int layer);
/** Hears the counts of the ranks before this one; *all (free with natsl_free) and chunks[rank] get their chunk indices. */
void natsl_run_counts_hear(natsl_run *r, int layer, int64_t **all, int64_t **chunks);
/** Completes the directory of `layer` with a pass (ranges `first`) that this rank has left. Without `wait`: only if nobody
 * has to be waited for. Returns whether it is complete. */
int natsl_run_directory_finish(natsl_run *r, int layer, const int64_t *first, int wait);
/** Streams all units before the stage's tokens through attention, in global order. new_chunks: indices heard, per rank. */
void natsl_run_attend(natsl_run *r, int layer, int64_t *const *new_chunks);

#endif
