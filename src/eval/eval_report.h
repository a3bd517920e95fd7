/* eval_report.h - results as one page of HTML without scripts, network or other files: tables, charts (inline SVG), for light and dark;
 * one run or several side by side. Owns: what it returns. MPI: none. Tests: tests/unit/test_eval_report.c, tests/cli/eval.sh */
#ifndef NATSL_EVAL_REPORT_H
#define NATSL_EVAL_REPORT_H

#include "text_buffer.h"
#include <jansson.h>
#include <natsl/status.h>

/** One run. */
typedef struct natsl_eval_result {
    const char *name;      /* as given (borrowed) */
    const json_t *results; /* results.json (borrowed) */
} natsl_eval_result;

/** Reads DIR/results.json, or a file. NATSL_ERR_INPUT: not one that natsl has written. */
natsl_status natsl_eval_result_read(const char *path, json_t **out);

/** The page, into *page (free with natsl_buffer_free). NATSL_ERR_NOMEM. */
natsl_status natsl_eval_report(const natsl_eval_result *runs, size_t count, natsl_buffer *page);

/** The heat map of needle tests, depth by length, as a picture of its own (SVG, for light and dark): a panel for every task and model
 * whose expected outputs have depths. Runs of one model (and route, mode, haystack) go into one panel; where several have a
 * length, the one with most samples counts. *out as above. NATSL_ERR_INPUT: nothing has a depth; NATSL_ERR_NOMEM. */
natsl_status natsl_eval_heatmap(const natsl_eval_result *runs, size_t count, natsl_buffer *out);

#endif
