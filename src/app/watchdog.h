/* watchdog.h - ends a job in which no rank gets any work done.
 *
 * A thread of each rank looks at the rank's own count of work (place.h) several times in the time allowed. When it has grown, or when
 * another rank's has that this one was told of, it tells other ranks: rank r tells r+1, r+2, r+4, ..., so that news is everywhere after
 * few steps. A rank
 * that only waits is kept alive by the others' news; a job in which all wait, or wait for a rank that has been stopped or whose node is
 * gone, has no news. Time in which this process itself did not run does not count, so that a job which is suspended as a whole
 * goes on afterwards. Who sees no news for long enough asks all ranks where they are; each says so on stderr (crash.h), and the job
 * ends with NATSL_STALLED.
 * These messages have a communicator of their own and go from and to these threads only: nothing that the work sends or waits for
 * changes, and MPI must offer MPI_THREAD_MULTIPLE (main.c asks for it when the option is there).
 * Owns: one thread, one communicator. MPI: start and stop are collective. Tests: tests/cli/faults.sh */
#ifndef NATSL_APP_WATCHDOG_H
#define NATSL_APP_WATCHDOG_H

#include "app.h"

/** Starts watching with the time of --watchdog; 0: does nothing. NATSL_ERR_NOMEM; NATSL_ERR_INTERNAL where MPI lacks threads. */
natsl_status natsl_watchdog_start(natsl_app *app);
/** Stops. What was not started may be stopped. */
void natsl_watchdog_stop(natsl_app *app);

/** Whether the command line has --watchdog: to be known before MPI starts. */
int natsl_watchdog_wanted(int argc, char **argv);

#endif
