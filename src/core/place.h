/* place.h - where this process is: which rank on which host, at what work, in which layer; and how much it has done so far. For error
 * lines, for the handlers of fatal signals and for the watchdog, which read it at any moment.
 * Owns: the process's one place. MPI: none. Threads: natsl_worked from any, the rest from the main thread. Tests: tests/unit/test_core.c,
 * tests/cli/faults.sh */
#ifndef NATSL_PLACE_H
#define NATSL_PLACE_H

#include <stddef.h>
#include <stdint.h>

/** Names this process for messages. size 1: "" (nothing to tell apart). */
void natsl_self_set(int rank, int size, const char *host);
/** "rank 2 on node7", or "" for one process, or before it is known. */
const char *natsl_self(void);

/* All texts below are constants: they are kept by address. Except for natsl_wait_for, each call counts as work done. */

/** Begins a task: "reading". No layer yet. */
void natsl_task(const char *task);
/** The layer in hand; -1: none. */
void natsl_at_layer(int layer);
/** What is being done in it: "attention". */
void natsl_at(const char *doing);
/** Waits for `what` from rank `peer` (-1: from no single one), until natsl_at or natsl_wait_for(NULL, -1): no work. */
void natsl_wait_for(const char *what, int peer);
/** A piece of work is done. From any thread. */
void natsl_worked(void);

/** A number that grows with every piece of work. From any thread. */
uint64_t natsl_work_done(void);
/** "reading, layer 3, attention" into text [size]; always ended. Async-signal-safe. Returns its length. */
size_t natsl_place_text(char *text, size_t size);

/** Text and numbers without printf, for signal handlers: appends to text [size] at *at what fits, leaving room for an end. */
void natsl_append(char *text, size_t size, size_t *at, const char *what);
void natsl_append_number(char *text, size_t size, size_t *at, uint64_t number, unsigned base);

#endif
