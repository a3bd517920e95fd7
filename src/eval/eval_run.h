/* eval_run.h - one sample on a group of ranks: the prompt is read, then tokens are chosen until there are enough or a
 * stop text comes; or a document's loss is measured, or recall in token ids.
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

/** Counts that a sample under way has, so far. Each rank has its part: together they are the sum, or (most) the largest. */
typedef struct natsl_eval_counts {
    int64_t *at; /* [n] */
    size_t n;
    int most;
} natsl_eval_counts;

#define NATSL_EVAL_COUNTS 5

/** A sample under way between two passes, but for its context. */
typedef struct natsl_eval_halfway {
    uint64_t digest; /* of the text that the window in hand ends, from the sample's first token on */
    int64_t end;     /* its tokens */
    uint64_t sample; /* digest of the whole sample */
    int shared;      /* 1: the window is what several samples begin with */
    natsl_eval_counts counts[NATSL_EVAL_COUNTS];
    size_t n_counts;
    int64_t read; /* tokens read for this sample */
    double read_s;
} natsl_eval_halfway;

/** Keeps samples under way, so that a job that is killed need not read them again (app/eval_resume.h: in files). Collective on the
 * runner's communicator, but for due and stops, which any rank is asked. */
typedef struct natsl_eval_keeper {
    void *user;
    int (*due)(void *user);   /* after each pass: a checkpoint is due, or the work is to end */
    int (*stops)(void *user); /* the work is to end */
    /* Tokens of a pass at a speed in tokens per second. */
    int64_t (*pass)(void *user, const natsl_context *cx, double tps, int64_t most);
    natsl_status (*save)(void *user, natsl_context *cx, const natsl_eval_halfway *h);
    /* *cx: a context that has read 1 to h->end of these tokens, and the rest of *h, all counts on rank 0; NULL: there is none.
     * *same: it was this very sample. */
    natsl_status (*load)(void *user, const natsl_model *model, const natsl_options *options, natsl_eval_halfway *h,
                         int *same, natsl_context **cx);
    double least_s; /* before an answer is generated: a checkpoint, if more than that was read since the last one */
} natsl_eval_keeper;

typedef struct natsl_eval_runner {
    MPI_Comm comm; /* of the group (borrowed) */
    int rank, size;
    const natsl_model *model; /* opened by these ranks and perhaps others (borrowed) */
    natsl_options options;
    int ids_only;                     /* 1: all prompts are in token ids, the model need not have a tokenizer */
    const natsl_tokenizer *tokenizer; /* of the answers (borrowed); NULL with ids_only */
    const int32_t *ends;              /* [n_ends] tokens that end an answer (borrowed) */
    size_t n_ends;
    natsl_sampling how;
    const char *const *stops; /* (borrowed) */
    size_t n_stops;
    int (*interrupted)(void);                                  /* asked on every rank, often */
    void (*progress)(void *user, int64_t done, int64_t total); /* tokens of the prompt; NULL: not wanted */
    void *user;
    const natsl_eval_keeper *keeper;  /* NULL: samples under way are not kept (borrowed) */
    double tps;                       /* tokens per second of the last window read with it; 0: none yet */
    float *logits;                    /* [vocab_size] */
    natsl_candidate *scratch;         /* [vocab_size] */
    int64_t *strip;                   /* [layers][strip_bins][2] the same along the prompt: kept, in all */
    int64_t *kept;                    /* [layers] of the sample in hand: chunks kept, this rank's part of reading */
    int64_t *chunks;                  /* [layers] and in all */
    natsl_context *base;              /* what several samples begin with, read; NULL: nothing */
    char *base_text;                  /* its tokens: the bytes of its text, or ids */
    int64_t *base_kept, *base_chunks; /* [layers] kept and chunks of it */
    natsl_cost_machine machine;       /* measured with the first context that asks for it */
    int machine_known;
} natsl_eval_runner;

/** Loss of the tokens at positions [from,to) of a window. */
typedef struct natsl_eval_bin {
    int64_t from, to, tokens;
    double nats; /* sum of -log p */
} natsl_eval_bin;

/** Most bins of a window. */
#define NATSL_EVAL_BINS 4096

/** What came of a sample. On rank 0 of the group, but for seconds. */
typedef struct natsl_eval_answer {
    char *text; /* [length] as generated, without the stop text (free with natsl_eval_answer_free) */
    size_t length;
    int64_t generated; /* tokens */
    int stopped;       /* a stop text, or a token that ends it, has come */
    double read_s, generate_s;
    int64_t kept_chunks, chunks; /* (chunk, head, NAtS-L layer) triples, the generated ones included */
    double *kept_share;          /* [layers] of the prompt; -1: a layer that chooses nothing, or no whole chunk */
    char *
        strip; /* [layers][strip_bins] kept share of chunks along the prompt: '0' .. '9', '-': a layer without a gate */
    int strip_bins;       /* no more than the prompt has chunks; 0: part of it was read for another sample */
    int64_t read;         /* tokens that were read for this sample */
    natsl_eval_bin *bins; /* [n_bins] of a document; tokens that no bin has are not counted */
    size_t n_bins;
    size_t peak_bytes; /* largest resident memory of a rank so far */
} natsl_eval_answer;

/** Work space; r->comm, model, options, ids_only, tokenizer, ends, how, stops, interrupted and progress are set by the caller. Collective
 * on r->comm. NATSL_ERR_NOMEM. */
natsl_status natsl_eval_runner_start(natsl_eval_runner *r);
void natsl_eval_runner_finish(natsl_eval_runner *r);

/** Reads and answers `sample`, equal on all ranks of the group, with tokens as natsl_eval_tokens sets them. rng: of the choice of tokens, at a temperature above 0. A sample with
 * `shared` bytes is always read in two windows, of which the first ends with the last whole chunk of their tokens: so what it gives does
 * not depend on whether that window was read for it. more: the next sample begins with the same bytes; the context at the end of the
 * first window is kept for it, and copied for this one.
 * Collective on r->comm. NATSL_INTERRUPTED when r->interrupted says so on a rank that is asked; else what the context
 * returns. *out is empty on error. */
natsl_status natsl_eval_run(natsl_eval_runner *r, const natsl_eval_sample *sample, int64_t max_new, int more,
                            natsl_rng rng, natsl_eval_answer *out);

/** Reads a prompt in token ids in one window: out->text has the most probable token after each place that is asked for, with blanks
 * between them. */
natsl_status natsl_eval_run_ids(natsl_eval_runner *r, const natsl_eval_sample *sample, natsl_eval_answer *out);

/** Reads a document in one window: out->bins has the loss by position. bin: tokens of a bin; 0: bins end at 64, 128, 256 ... The sums are
 * whole numbers of 2^-20 nats: the same for any number of ranks whose log-probabilities are the same. NATSL_ERR_USAGE: more than
 * NATSL_EVAL_BINS bins. */
natsl_status natsl_eval_run_document(natsl_eval_runner *r, const natsl_eval_sample *sample, int64_t bin,
                                     natsl_eval_answer *out);

void natsl_eval_answer_free(natsl_eval_answer *answer);

#endif
