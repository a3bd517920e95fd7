/* eval_job.h - natsl eval: what is evaluated, by whom, and what is finished. Private to cmd_eval.c and eval_*.c.
 * MPI: collective on app->comm unless said. */
#ifndef NATSL_APP_EVAL_JOB_H
#define NATSL_APP_EVAL_JOB_H

#include "app.h"
#include "data_impl.h"
#include "eval_results.h"
#include "eval_run.h"
#include "files.h"

#define NATSL_EVAL_LENGTHS 32
#define NATSL_EVAL_TASKS   64

typedef struct natsl_eval_job {
    natsl_app *app;
    const natsl_eval_task *tasks[NATSL_EVAL_TASKS];
    size_t n_tasks;
    int64_t lengths[NATSL_EVAL_LENGTHS]; /* longest first */
    int per_sample[NATSL_EVAL_LENGTHS];  /* ranks that read a sample together, by length */
    size_t n_lengths;
    int64_t samples;
    natsl_eval_settings settings;
    natsl_corpus *text; /* the haystack; NULL: none */
    natsl_hay hay;
    char hay_digest[65];
    natsl_model_info info;
    natsl_options options;
    natsl_model *model;
    natsl_eval_store store; /* cells on all ranks, longest first, samples in them on rank 0 */
    uint8_t *done;          /* [n_cells][samples] on all ranks */
} natsl_eval_job;

/** Sets per_sample for all lengths: --ranks-per-sample, or the fewest (1, 2, 4 ... all) with which the memory of every node
 * is enough though every chunk were kept. weights_loaded: the model is in memory already. */
natsl_status natsl_eval_choose_ranks(natsl_eval_job *j, int weights_loaded);
/** Groups of ranks that work side by side on samples of lengths[i]. */
int natsl_eval_groups(const natsl_eval_job *j, size_t i);
/** Prints what would be done, and what it takes. */
natsl_status natsl_eval_print_plan(natsl_eval_job *j);

/** Answers all samples that are not done, longest first, and appends each to a part of the store. NATSL_INTERRUPTED after
 * a signal: the samples in hand are given up. */
natsl_status natsl_eval_samples(natsl_eval_job *j);

#endif
