/* eval_files.h - files of results beside results.json: RULER's tables, HDF5 for plots of one's own, the page.
 * Every file is written under a temporary name, then renamed. Owns: nothing. MPI: none. Tests: tests/unit/test_eval_report.c,
 * tests/cli/eval.sh */
#ifndef NATSL_EVAL_FILES_H
#define NATSL_EVAL_FILES_H

#include "eval_report.h"
#include "eval_store.h"

/** Writes `length` bytes to a file. NATSL_ERR_IO, NATSL_ERR_USAGE. */
natsl_status natsl_eval_write_text(const char *path, const char *text, size_t length);

/** DIR/synthetic/<length>/pred/summary.csv and submission.csv as RULER's evaluation writes them, of the finished samples, and links
 * <task>.jsonl to the predictions, so that its own program can score them, too. NATSL_ERR_IO, NATSL_ERR_NOMEM. */
natsl_status natsl_eval_write_tables(const natsl_eval_store *store);

/** DIR/results.h5: the numbers of results.json as datasets [tasks, lengths, ...], NaN where there is none. NATSL_ERR_IO,
 * NATSL_ERR_NOMEM. */
natsl_status natsl_eval_write_h5(const char *directory, const json_t *results);

/** The page about `count` runs; directory NULL: `name` is a path. NATSL_ERR_IO, NATSL_ERR_NOMEM. */
natsl_status natsl_eval_write_report(const natsl_eval_result *runs, size_t count, const char *directory,
                                     const char *name);
/** The heat map of `count` runs, likewise. NATSL_ERR_INPUT: nothing has a depth. */
natsl_status natsl_eval_write_heatmap(const natsl_eval_result *runs, size_t count, const char *directory,
                                      const char *name);

#endif
