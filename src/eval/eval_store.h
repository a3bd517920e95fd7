/* eval_store.h - finished samples on disk, so that a run that was killed goes on where it stopped and ends with the same
 * files.
 * DIR/<task>/<length>.jsonl has one line per sample, in the order of the index: what does not depend on when and on how
 * many ranks it was computed. DIR/<task>/<length>.runs.jsonl has the rest (seconds, memory). While a run goes on, every
 * group appends whole lines to a file of its own, DIR/part-<rank>.jsonl; natsl_eval_store_merge puts them into the
 * others and removes them. A last line that a kill has cut is dropped: its sample is computed again.
 * Owns: the samples' lines. MPI: none; one process of a run holds the store. Tests: tests/unit/test_eval_results.c,
 * tests/cli/eval.sh */
#ifndef NATSL_EVAL_STORE_H
#define NATSL_EVAL_STORE_H

#include <jansson.h>
#include <natsl/status.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/** One task at one length. */
typedef struct natsl_eval_cell {
    const char *task; /* name (borrowed) */
    int64_t length;
    int64_t samples;  /* wanted */
    json_t **records; /* [room] by index; NULL: not finished */
    json_t **runs;    /* [room] */
    int64_t room;
    int metric;  /* natsl_eval_metric */
    int changed; /* since the file was written */
} natsl_eval_cell;

typedef struct natsl_eval_store {
    const char *directory; /* (borrowed) */
    natsl_eval_cell *cells;
    size_t n_cells;
    int elsewhere; /* 1: predictions are in other files, made elsewhere; the directory has scores only */
} natsl_eval_store;

/** Most bytes of a line of a file from outside. */
#define NATSL_LINE_BYTES ((size_t)1 << 30)

/** The next line of `file` without its line feed, into *line [*room] (grown by realloc; free it), NUL-terminated.
 * *ended: it ends in a line feed; a last line need not. length 0 and ended 0: no more lines. NATSL_ERR_INPUT: longer
 * than NATSL_LINE_BYTES; NATSL_ERR_IO; NATSL_ERR_NOMEM. */
natsl_status natsl_line_read(FILE *file, const char *path, int64_t number, char **line, size_t *room, size_t *length,
                             int *ended);

/** An empty store for these cells: task, length and samples of each are set by the caller, n_cells >= 1. */
natsl_status natsl_eval_store_start(natsl_eval_store *store, const char *directory, natsl_eval_cell *cells,
                                    size_t n_cells);
void natsl_eval_store_free(natsl_eval_store *store);

/** Reads the files of all cells. NATSL_ERR_INPUT names file, line and what is wrong with it. */
natsl_status natsl_eval_store_read(natsl_eval_store *store);

/** A sample at the end of a cell, whose `samples` it raises; takes the reference. NATSL_ERR_NOMEM. */
natsl_status natsl_eval_cell_append(natsl_eval_cell *cell, json_t *record);

/** Takes in all parts in the directory (of other cells, too: those are refused as NATSL_ERR_INPUT), writes the files of
 * cells that have changed, each under a temporary name first, and removes the parts. */
natsl_status natsl_eval_store_merge(natsl_eval_store *store);

/** Opens a part for appending. */
natsl_status natsl_eval_part_open(const char *directory, int rank, int *fd);
/** Appends one sample and flushes it to the disk; takes both references. NATSL_ERR_IO, NATSL_ERR_NOMEM. */
natsl_status natsl_eval_part_add(int fd, const natsl_eval_cell *cell, json_t *record, json_t *run);

#endif
