/* signals.c - orderly end on signals. See signals.h. */
#include "signals.h"

#include "core.h"
#include "place.h"

#include <natsl/status.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

static volatile sig_atomic_t loud, log_fd = -1, done_status = -1, catching, caught;

void natsl_signals_abandon(int status, const char *error)
{
    char line[256];
    size_t at = 0;
    natsl_temporary_remove();
    if (log_fd < 0) return;
    natsl_append(line, sizeof line - 4, &at, "{\"event\": \"end\", \"status\": ");
    natsl_append_number(line, sizeof line - 4, &at, (uint64_t)status, 10);
    natsl_append(line, sizeof line - 4, &at, ", \"error\": \"");
    natsl_append(line, sizeof line - 4, &at, error);
    natsl_append(line, sizeof line, &at, "\"}\n");
    const ssize_t ignored = write((int)log_fd, line, at);
    (void)ignored;
    log_fd = -1;
}

/** Async-signal-safe: unlink, write and _exit only. */
static void end_now(int number)
{
    static const char line[] = "natsl: interrupted, nothing was saved\n";
    ssize_t ignored = 0;
    (void)number;
    if (done_status >= 0) _exit(done_status);
    if (catching && !caught) {
        caught = 1;
        return;
    }
    natsl_signals_abandon(NATSL_INTERRUPTED, "interrupted, nothing was saved");
    if (loud > 1) ignored = write(STDERR_FILENO, "\n", 1); /* a progress bar may stand there */
    if (loud) ignored = write(STDERR_FILENO, line, sizeof line - 1);
    (void)ignored;
    _exit(NATSL_INTERRUPTED);
}

void natsl_signals_install(int speaks)
{
    static const int numbers[] = {SIGINT, SIGTERM, SIGHUP, SIGUSR1};
    struct sigaction action, old;
    memset(&action, 0, sizeof action);
    sigfillset(&action.sa_mask); /* a second signal waits: the first one ends the program anyway */
    action.sa_handler = end_now;
    loud = speaks ? 1 + isatty(STDERR_FILENO) : 0;
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        if (sigaction(numbers[i], NULL, &old) == 0 && old.sa_handler == SIG_IGN) continue;
        (void)sigaction(numbers[i], &action, NULL);
    }
    action.sa_handler = SIG_IGN;
    (void)sigaction(SIGPIPE, &action, NULL);
    (void)sigaction(SIGXFSZ, &action, NULL); /* beyond ulimit -f the write fails instead, and is reported */
}

void natsl_signals_catch(void) { catching = 1; }

int natsl_signals_caught(void) { return caught; }

void natsl_signals_done(int status) { done_status = status; }

void natsl_signals_log(int fd) { log_fd = fd; }
