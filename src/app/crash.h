/* crash.h - where this process is, with the functions that called one another, told from signal handlers: when it crashes (SIGSEGV,
 * SIGBUS, SIGFPE, SIGILL, SIGABRT), and when the watchdog asks.
 * Owns: the handlers. MPI: none. Everything in the handlers is async-signal-safe. Source: signal-safety(7); libunwind(3), local
 * unwinding. Tests: tests/cli/faults.sh */
#ifndef NATSL_APP_CRASH_H
#define NATSL_APP_CRASH_H

/** From the main thread, after MPI_Init (Open MPI has handlers of its own, which know neither rank nor layer). On a crash: one line
 * (rank, host, signal, address, task, layer), the calls, the temporary file removed, the log ended, and the signal again with its
 * usual effect (a core file where the system writes them). */
void natsl_crash_install(void);

/** Makes the main thread tell where it is, on stderr. From another thread. Waits for it up to two seconds, then says that it does not
 * answer. */
void natsl_crash_ask(void);

#endif
