/* signals.h - SIGINT, SIGTERM, SIGHUP and SIGUSR1 (which mpirun passes on at once, unlike SIGTERM) end the program with exit
 * code 6 and leave no temporary file.
 * Owns: the handlers. MPI: none in handlers. Tests: tests/cli/signals.sh */
#ifndef NATSL_APP_SIGNALS_H
#define NATSL_APP_SIGNALS_H

/** Installs the handlers; a signal that the parent ignores (nohup) stays ignored. SIGPIPE is ignored: writes to a closed
 * pipe return an error. `speaks`: this rank tells the user. */
void natsl_signals_install(int speaks);

/** From here on the first signal only sets a flag, so that the program can save its work; a second one ends it at once. */
void natsl_signals_catch(void);
/** Whether a signal has come since. */
int natsl_signals_caught(void);

/** The status is agreed and told: from here on a signal ends the process with it, silently. (mpirun terminates ranks that are
 * still on their way out when the first has ended with a status other than 0.) */
void natsl_signals_done(int status);

/** The process ends for another reason than a signal of these: removes the temporary file and writes the log's last line, with this
 * status and (plain) error. Once; later calls do nothing. Async-signal-safe. */
void natsl_signals_abandon(int status, const char *error);

/** A file descriptor that gets the log's last line when a signal ends the program; -1: none. */
void natsl_signals_log(int fd);

#endif
