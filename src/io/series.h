/* series.h - the numbered checkpoints of a directory: checkpoint-<number>.h5, eight digits or more, the number from 1 on.
 * Training (number: steps) and reading (number: tokens) keep theirs so. MPI: none; rank 0 calls. Owns: nothing.
 * Tests: tests/mpi/test_results.c, tests/cli/train_refused.sh, tests/cli/resume.sh */
#ifndef NATSL_SERIES_H
#define NATSL_SERIES_H

#include "core.h"

#define NATSL_SERIES_PATH 3072

/** Path of a checkpoint, in path [NATSL_SERIES_PATH]. NATSL_ERR_USAGE: too long. */
natsl_status natsl_series_path(const char *directory, int64_t number, char *path);

/** Makes the directory where its parent exists, and sees that it can be written. `option` names it in messages ("--out"), `what` what
 * it is for ("log and checkpoints"). NATSL_ERR_IO. */
natsl_status natsl_series_directory(const char *directory, const char *option, const char *what);

/** Takes the directory for this process until *fd is closed. NATSL_ERR_USAGE: another process has it. Where the file system has no
 * locks, *fd is open and nothing is locked. */
natsl_status natsl_series_lock(const char *directory, const char *option, int *fd);

/** Numbers of all checkpoints there, ascending; free with natsl_free. NATSL_ERR_IO, NATSL_ERR_NOMEM. */
natsl_status natsl_series_list(const char *directory, int64_t **numbers, size_t *count);

/** Removes all but the newest `keep`; what cannot be removed stays. How many were removed. */
size_t natsl_series_prune(const char *directory, size_t keep);

/** Removes what killed runs have left of the file `directory`/`name` half-written ("<name>.tmp-..."); name NULL: of checkpoints. The
 * caller has the place to itself. */
void natsl_series_sweep(const char *directory, const char *name);
/** The same of all files in a directory, looked through once, for whose names `own` says so. */
void natsl_series_sweep_all(const char *directory, int (*own)(void *user, const char *name), void *user);

#endif
