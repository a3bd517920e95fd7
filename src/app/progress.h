/* progress.h - how far the work is: a bar with tokens/s and time left on a terminal, a line every ten seconds elsewhere, and
 * lines in the log. Rank 0 only. Owns: nothing. MPI: none. */
#ifndef NATSL_APP_PROGRESS_H
#define NATSL_APP_PROGRESS_H

#include "app.h"

typedef struct natsl_progress {
    natsl_app *app;
    const char *what; /* "reading" */
    int active, terminal, drawn;
    double start_s, shown_s, logged_s;
} natsl_progress;

void natsl_progress_start(natsl_progress *p, natsl_app *app, const char *what);
/** done of total tokens (total >= 1). Cheap when called often. */
void natsl_progress_update(natsl_progress *p, int64_t done, int64_t total);
/** Removes the bar. */
void natsl_progress_finish(natsl_progress *p);

#endif
