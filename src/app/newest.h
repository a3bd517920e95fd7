/* newest.h - the newest checkpoint that is whole: what train, score and read go on from.
 * MPI: collective on app->comm. Owns: nothing. Tests: tests/cli/resume.sh, tests/cli/train_refused.sh */
#ifndef NATSL_APP_NEWEST_H
#define NATSL_APP_NEWEST_H

#include "app.h"

/** Loads a checkpoint: collective, the same status on all ranks. NATSL_ERR_INPUT: it is damaged, and the one before may do; any other
 * failure ends the search. */
typedef natsl_status natsl_newest_load(void *user, int64_t number, const char *path);

/** Tries the checkpoints of a directory (series.h), the newest first; each that is damaged is named in a line on rank 0's standard error.
 * *number: of the one that was loaded, 0 where there is none at all. NATSL_ERR_INPUT: there are some, but none is whole; and
 * what else `load` returns. */
natsl_status natsl_newest_find(natsl_app *app, const char *directory, natsl_newest_load *load, void *user,
                               int64_t *number);

#endif
