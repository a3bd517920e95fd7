/* eval_run.h - one sample on a group of ranks: the prompt is read, then tokens are chosen until there are enough or a
 * stop text comes.
 * Owns: work space. MPI: as said; samples on different groups do not know of one another. Tests: tests/cli/eval.sh */
#ifndef NATSL_EVAL_RUN_H
#define NATSL_EVAL_RUN_H

#include "cost.h"
#include "eval_task.h"
#include "sample.h"
#include "tokenizer.h"

#include <natsl/context.h>

/** Parts of equal length that a prompt is cut into, at most, to see where chunks are kept. */
#define NATSL_STRIP_BINS 200

typedef struct natsl_eval_runner {
    MPI_Comm comm; /* of the group (borrowed) */
    int rank, size;
    const natsl_model *model; /* opened by these ranks and perhaps others (borrowed) */
    natsl_options options;
    natsl_tokenizer tokenizer;
    natsl_sampling how;
    const char *const *stops; /* (borrowed) */
    size_t n_stops;
    int (*interrupted)(void);                                  /* asked on every rank, often */
    void (*progress)(void *user, int64_t done, int64_t total); /* tokens of the prompt; NULL: not wanted */
    void *user;
    float *logits;              /* [vocab_size] */
    natsl_candidate *scratch;   /* [vocab_size] */
    int64_t *strip;             /* [layers][strip_bins][2] the same along the prompt: kept, in all */
    int64_t *kept;              /* [layers] of the sample in hand: chunks kept, this rank's part of reading */
    int64_t *chunks;            /* [layers] and in all */
    natsl_cost_machine machine; /* measured with the first context that asks for it */
    int machine_known;
} natsl_eval_runner;

/** What came of a sample. On rank 0 of the group, but for seconds. */
typedef struct natsl_eval_answer {
    char *text; /* [length] as generated, without the stop text (free with natsl_eval_answer_free) */
    size_t length;
    int64_t generated; /* tokens */
    int stopped;       /* a stop text has come */
    double read_s, generate_s;
    int64_t kept_chunks, chunks; /* (chunk, head, NAtS-L layer) triples, the generated ones included */
    double *kept_share;          /* [layers] of the prompt; -1: a layer that chooses nothing, or no whole chunk */
    char *
        strip; /* [layers][strip_bins] kept share of chunks along the prompt: '0' .. '9', '-': a layer without a gate */
    int strip_bins;    /* no more than the prompt has chunks */
    size_t peak_bytes; /* largest resident memory of a rank so far */
} natsl_eval_answer;

/** Work space; r->comm, model, options, how, stops, interrupted and progress are set by the caller. Collective on
 * r->comm. NATSL_ERR_NOMEM; NATSL_ERR_INPUT: the model has no tokenizer for texts. */
natsl_status natsl_eval_runner_start(natsl_eval_runner *r);
void natsl_eval_runner_finish(natsl_eval_runner *r);

/** Reads and answers `sample`, equal on all ranks of the group. rng: of the choice of tokens, at a temperature above 0.
 * Collective on r->comm. NATSL_INTERRUPTED when r->interrupted says so on a rank that is asked; else what the context
 * returns. *out is empty on error. */
natsl_status natsl_eval_run(natsl_eval_runner *r, const natsl_eval_sample *sample, int64_t max_new, natsl_rng rng,
                            natsl_eval_answer *out);
void natsl_eval_answer_free(natsl_eval_answer *answer);

#endif
