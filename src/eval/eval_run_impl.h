/* eval_run_impl.h - between eval_run.c (what is done with a sample), eval_reading.c (prompts read, window by window) and eval_generate.c
 * (answers). MPI: collective on the runner's communicator unless said. */
#ifndef NATSL_EVAL_RUN_IMPL_H
#define NATSL_EVAL_RUN_IMPL_H

#include "agree.h"
#include "context_impl.h"
#include "core.h"
#include "eval_run.h"

/** A sample being read. */
typedef struct natsl_reading {
    natsl_eval_runner *runner;
    const natsl_eval_sample *sample;
    natsl_context *cx;
    int heads;      /* of the gate */
    int64_t chunks; /* of the prompt, whole ones; 1 where it has none */
    int64_t bins;
    int64_t bin, *nats, *tokens; /* of a document */
    int64_t *answers;            /* [n_outputs] of a prompt in token ids; -1: not this rank's */
    float *scratch;
    float *rows,
        *scores; /* [ASKED, D], [ASKED, vocabulary]: final rows that are asked for, and what the head makes of them */
    natsl_eval_halfway halfway; /* end 0: this window is not kept */
    double saved_s;             /* when it was last */
    int first;                  /* its speed is not known yet */
    int64_t pass_most;          /* no longer passes */
} natsl_reading;

/* ---- eval_reading.c ---------------------------------------------------------------------------------------------------- */

/** Room for what comes of a sample. NATSL_ERR_NOMEM. */
natsl_status natsl_reading_room(natsl_eval_runner *r, natsl_eval_answer *out);
/** *w and how it is read, up to natsl_eval_run's two windows, natsl_eval_run_ids' hidden rows or natsl_eval_run_document's
 * log-probabilities; nothing of it is counted yet. Not collective. */
void natsl_reading_start(natsl_eval_runner *r, const natsl_eval_sample *sample, natsl_reading *w, natsl_stream *stream);
/** The window of w's sample that ends at `end` is kept while it is read; more: counts of other tasks, beside those of choices, which are of
 * nothing yet; NULL: none. A checkpoint of it, if there is one, becomes *cx; else NULL. */
natsl_status natsl_reading_keep(natsl_reading *w, int64_t end, int shared, const natsl_eval_counts *more,
                                natsl_eval_answer *out, natsl_context **cx);
/** A context that has read nothing or, where the window up to `end` is kept (0: none is), some of it. */
natsl_status natsl_reading_context(natsl_reading *w, int64_t end, int shared, const natsl_eval_counts *more,
                                   natsl_eval_answer *answer, natsl_context **out);
/** Reads up to `end` with w->cx. */
natsl_status natsl_reading_to(natsl_reading *w, int64_t end, const natsl_stream *how, natsl_eval_answer *out);
/** What the gate chose, of all ranks. */
void natsl_reading_finish(natsl_eval_runner *r, const natsl_reading *w, natsl_eval_answer *out);
/** What the context has seen, and the machine it has measured, which the next context need not measure again. */
natsl_status natsl_reading_look_back(natsl_eval_runner *r, natsl_context *cx, natsl_eval_answer *out);

/* ---- eval_generate.c --------------------------------------------------------------------------------------------------- */

/** Appends to the answer's text. NATSL_ERR_NOMEM. Not collective. */
natsl_status natsl_eval_answer_add(natsl_eval_answer *out, const char *text, size_t length);
/** Chooses up to max_new tokens after the sample, which cx has read: out->text on rank 0, generated, stopped, generate_s. */
natsl_status natsl_eval_generate(natsl_eval_runner *r, natsl_context *cx, const natsl_eval_sample *sample,
                                 int64_t max_new, natsl_rng *rng, natsl_eval_answer *out);

#endif
