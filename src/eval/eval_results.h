/* eval_results.h - scores of finished samples: by task and length, by depth, means, effective length.
 * Owns: nothing beyond what its functions return. MPI: none. Source: RULER's paper and repository (means, threshold).
 * Tests: tests/unit/test_eval_results.c */
#ifndef NATSL_EVAL_RESULTS_H
#define NATSL_EVAL_RESULTS_H

#include "eval_store.h"
#include "eval_task.h"

/** Score (in percent) that a length must reach to count as effective: Llama2-7B-chat's at 4K. */
#define NATSL_EFFECTIVE_SCORE 85.6

/** Of one task at one length. */
typedef struct natsl_eval_score {
    int64_t samples;         /* finished, of those wanted */
    int64_t nulls;           /* empty predictions */
    int64_t unfit;           /* samples that do not fit in their length: they count as failures */
    double score, low, high; /* percent; a 95 % interval. NaN without samples */
    int64_t band_outputs[NATSL_EVAL_BANDS],
        band_hits[NATSL_EVAL_BANDS]; /* expected outputs by depth, and those found */
    double kept_share;               /* of all samples' chunks; NaN: none */
    double read_tps, generate_tps;   /* tokens per second of one group of ranks */
    double seconds;                  /* of all samples together */
    int64_t tokens;                  /* of prompts */
    double peak_bytes;               /* of a rank, largest of all samples */
    double loss;                     /* nats per token of documents; NaN: no documents */
    double loss_tokens;
} natsl_eval_score;

/** Scores the cell's first `samples` samples that are finished. */
void natsl_eval_cell_score(const natsl_eval_cell *cell, natsl_eval_score *score);

/** Over lengths, ascending: scores[i] is the mean score at lengths[i], NaN where a task has none. */
typedef struct natsl_eval_summary {
    double average, increasing, decreasing; /* weights 1, 1 .. n, n .. 1; a length without score counts 0 */
    int64_t effective; /* largest length that reaches NATSL_EFFECTIVE_SCORE with all shorter ones; 0: none */
    int all_effective; /* the longest one does */
} natsl_eval_summary;
natsl_eval_summary natsl_eval_summarise(const int64_t *lengths, const double *scores, size_t n);

/** The finished parts of results.json: "tasks" (by task and length), "lengths", "average" ... NULL: no memory. */
json_t *natsl_eval_results_json(const natsl_eval_store *store);

/** A table of scores, tasks by lengths. */
void natsl_eval_results_print(FILE *to, const natsl_eval_store *store, const char *suite);

#endif
