/* job.h - a model, a context and documents read into it: what score, read and generate share.
 * Owns: what it opens, until natsl_job_close. MPI: collective on app->comm unless said. */
#ifndef NATSL_APP_JOB_H
#define NATSL_APP_JOB_H

#include "app.h"
#include "files.h"
#include "progress.h"

#include "context_impl.h"
#include <natsl/context.h>

/** A sum of log-probabilities that does not depend on the order of its terms, so neither on the number of ranks: an integer
 * in units of 2^-30. */
typedef struct natsl_exact_sum {
    __int128 units;
} natsl_exact_sum;

typedef struct natsl_job {
    natsl_app *app;
    natsl_model_info info; /* equal on all ranks */
    natsl_options options;
    natsl_model *model;
    char no_tokenizer[512]; /* why the model's tokenizer.json cannot be used; token files can be read all the same */
    natsl_tokenizer *tokenizer; /* the model's; NULL: it has none, and text is no document */
    natsl_context *cx;
    double load_s;               /* for opening the model */
    natsl_prediction prediction; /* of reading the document, before it began; seconds 0: none was made */
    natsl_plan plan;             /* with it; rank 0 */
    size_t baseline_bytes;       /* of this process before it opened the model */
    natsl_cost_machine machine;  /* that it is about */
    int64_t predicted_begin, predicted_tokens;
    int predicted_scores;
    /* of the reading so far */
    natsl_exact_sum sum;
    int64_t read;         /* tokens read by this run */
    double read_s, cpu_s; /* seconds by the clock; of processors, this process */
    double before_s;      /* seconds by the clock of earlier runs that this one goes on from */
    natsl_progress progress;
    natsl_doc *doc;
    int64_t doc_begin;          /* position of the document's first token */
    int64_t run_begin;          /* position where this run began to read it */
    int (*pause)(void *pauser); /* natsl_stream's, or NULL */
    void *pauser;
    void (*watch)(void *watcher,
                  int64_t done); /* told on every rank, often: tokens of the document that are done as far as it
                                                   knows; NULL: nobody */
    int (*give_up)(
        void *watcher); /* asked at every stage; nonzero on any rank ends the reading with NATSL_INTERRUPTED; or NULL */
    void *watcher;
    double mean; /* log-probability of a token, once the document is scored */
    natsl_result *result;
    int write_hidden;
} natsl_job;

/** An empty job: s->options from the command line, nothing opened. Not collective. */
void natsl_job_begin(natsl_job *s, natsl_app *app);

/** Configuration and tokenizer only, for --dry-run. */
natsl_status natsl_job_look(natsl_job *s, natsl_app *app);

/** Opens the model and an empty context, or the one saved in `context` (NULL: empty). */
natsl_status natsl_job_open(natsl_job *s, natsl_app *app, const char *context);
void natsl_job_close(natsl_job *s);

/** NATSL_ERR_INPUT and why this model's tokenizer, or the lack of one, allows no text. */
natsl_status natsl_job_no_text(const natsl_job *s);
/** The status of opening a document, with the reason where it is a text and no_tokenizer says why the model's tokenizer cannot be used. */
natsl_status natsl_job_doc_status(natsl_status st, const char *no_tokenizer);
/** Opens a document; --special-tokens: with the tokenizer's special tokens around it. */
natsl_status natsl_job_open_doc(natsl_job *s, const char *path);

/** Reads the open document into the context; log-probabilities, choices and (write_hidden) hidden rows go to s->result unless
 * that is NULL; then they are neither computed nor summed. */
natsl_status natsl_job_read_doc(natsl_job *s);

/** The two steps of that, for documents that are read with breaks. Start: the first token's position is `begin`, the context may have
 * read on from there; predicts the rest. Go: reads on until the document's end or until s->pause says so; to be
 * called again until the context's position is the document's end. */
natsl_status natsl_job_read_start(natsl_job *s, int64_t begin);
natsl_status natsl_job_read_go(natsl_job *s);

/** Adds log-probabilities to the job's sum (job: a natsl_job). NATSL_ERR_INPUT: one that cannot be. Not collective. */
natsl_status natsl_job_add(void *job, int64_t first, int64_t count, const float *values);

/** Plan and prediction for what s->predicted_... say. known_share: of kept chunks, 0: unknown. Not collective; rank 0's counts. */
natsl_status natsl_job_predict(natsl_job *s, double known_share, natsl_plan *plan, natsl_prediction *prediction);

/** Mean of the log-probabilities of `count` tokens, equal for any number of ranks; NaN for count 0. */
double natsl_job_mean(natsl_job *s, int64_t count);

/** Prints the plan for a text of `tokens` tokens (after `before` that a loaded context holds) on rank 0. */
natsl_status natsl_job_print_plan(natsl_job *s, int64_t tokens);

/** What reading has cost, to `to` (rank 0, unless --quiet) and to the log's last line. */
natsl_status natsl_job_report(natsl_job *s, FILE *to);

/** Adds a value to the log's last line; rank 0's calls count. Not collective. A NaN is left out. */
void natsl_summary_real(natsl_app *app, const char *name, double value);
void natsl_summary_count(natsl_app *app, const char *name, int64_t value);

#endif
