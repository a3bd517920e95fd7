/* eval_page.h - what pages and pictures of results share: the lengths and tasks of all runs. Private to
 * eval_report*.c and eval_heatmap.c. Owns: nothing. MPI: none. */
#ifndef NATSL_EVAL_PAGE_H
#define NATSL_EVAL_PAGE_H

#include "eval_report.h"

#include <math.h>

#define MOST_LENGTHS 64
#define MOST_TASKS   1024

/** Lengths and tasks of all runs together. */
typedef struct natsl_page {
    const natsl_eval_result *runs;
    size_t n_runs, n_lengths, n_tasks;
    int64_t lengths[MOST_LENGTHS]; /* ascending */
    const char *tasks[MOST_TASKS];
    size_t left_out; /* results of tasks and lengths that have no place */
    natsl_buffer *out;
} natsl_page;

/** Fills lengths and tasks from the runs. */
void natsl_page_survey(natsl_page *p);
/** The cell of a run; NULL: it has none. */
const json_t *natsl_page_cell(const natsl_page *p, size_t run, const char *task, int64_t length);

/* ---- eval_report_gate.c ---- */

/** Share of chunks kept by layer and length: a chart, where there are gates. */
void natsl_page_layers(natsl_page *p, size_t run);
/** Where along the prompt chunks of one sample of each task were kept. */
void natsl_page_strips(natsl_page *p);

/** NaN: there is no number. */
static inline double natsl_page_real(const json_t *object, const char *name)
{
    const json_t *value = json_object_get(object, name);
    return json_is_number(value) ? json_number_value(value) : NAN;
}

/** NULL: there is no text. */
static inline const char *natsl_page_word(const json_t *object, const char *name)
{
    return json_string_value(json_object_get(object, name));
}

#endif
