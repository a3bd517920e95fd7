/* journal.h - the log of --log-json: one JSON object per line, each written at once and whole. Rank 0 writes it.
 * What leaders of other groups of ranks (groups.h) have to tell waits there until the groups are together: such lines have a "rank", and
 * stand behind later ones. Owns: the file, and what waits. Lines: {"event": "start" | "progress" | "end", ...}.
 * Tests: tests/cli/score.sh, tests/cli/eval_resume.sh */
#ifndef NATSL_APP_JOURNAL_H
#define NATSL_APP_JOURNAL_H

#include "app.h"

/** Opens the log if --log-json was given and writes the start line (version, command line, ranks, threads, hosts, OpenBLAS's
 * core). Collective. NATSL_ERR_IO when it cannot be written. */
natsl_status natsl_journal_open(natsl_app *app);

/** Takes `object` (may be NULL: out of memory, nothing is written) and writes it with "event" and "time_s". Not collective;
 * only calls of rank 0, and of a group's rank 0 with natsl_groups_app, do anything. A write that fails is told once on stderr; the work
 * goes on. */
void natsl_journal_write(natsl_app *app, const char *event, json_t *object);

/** Writes what waits on all ranks. Collective on the whole program's app->comm. */
void natsl_journal_gather(natsl_app *app);

/** The last line: app->summary, status, error text. Closes the log. Not collective. */
void natsl_journal_close(natsl_app *app, natsl_status status);

#endif
