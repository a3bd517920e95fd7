/* natsl/status.h - what every natsl function returns, and the text that goes with it.
 * MPI: none. Values are the program's exit codes, so a status reaches the shell unchanged. */
#ifndef NATSL_STATUS_H
#define NATSL_STATUS_H

#ifdef __cplusplus
extern "C" {
#endif

/** Result of a call. 0 is success; among errors a larger value wins when ranks disagree. */
typedef enum natsl_status {
    NATSL_OK = 0,
    NATSL_ERR_USAGE = 2,    /**< wrong use: an option or an argument out of its range */
    NATSL_ERR_INPUT = 3,    /**< a file from outside is missing, damaged or does not fit */
    NATSL_ERR_NOMEM = 4,    /**< memory could not be had */
    NATSL_ERR_IO = 5,       /**< reading or writing failed: disk full, no permission */
    NATSL_INTERRUPTED = 6,  /**< SIGINT, SIGTERM, SIGHUP or SIGUSR1: stopped cleanly */
    NATSL_ERR_INTERNAL = 7, /**< a promise inside natsl is broken; please report it */
    NATSL_STALLED = 8       /**< the program's --watchdog: no rank made progress */
} natsl_status;

/** Short fixed text of a status ("bad input file"). Never NULL. Not collective. */
const char *natsl_status_name(natsl_status status);

/** One line (no newline) about the last error of this process: file or option, what was wrong, what was
 * expected. Empty after NATSL_OK only if nothing failed before. Owned by natsl, valid until the next error. Not
 * collective; after a collective function failed the text is the same on all ranks. Set from one thread at a time. */
const char *natsl_error_text(void);

#ifdef __cplusplus
}
#endif
#endif
