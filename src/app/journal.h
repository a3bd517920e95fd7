/* journal.h - the log of --log-json: one JSON object per line, each written at once and whole. Rank 0 writes it.
 * Owns: the file. Lines: {"event": "start" | "progress" | "end", ...}. Tests: tests/cli/score.sh */
#ifndef NATSL_APP_JOURNAL_H
#define NATSL_APP_JOURNAL_H

#include "app.h"

/** Opens the log if --log-json was given and writes the start line (version, command line, ranks, threads, hosts, OpenBLAS's
 * core). Collective. NATSL_ERR_IO when it cannot be written. */
natsl_status natsl_journal_open(natsl_app *app);

/** Takes `object` (may be NULL: out of memory, nothing is written) and writes it with "event" and "time_s". Not collective;
 * only rank 0's calls do anything. A write that fails is told once on stderr; the work goes on. */
void natsl_journal_write(natsl_app *app, const char *event, json_t *object);

/** The last line: app->summary, status, error text. Closes the log. Not collective. */
void natsl_journal_close(natsl_app *app, natsl_status status);

#endif
