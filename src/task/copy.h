/* copy.h - random strings, each said once or more: the plainest text in which what comes next can be looked up. A line is a new
 * string or, as often, one of those before. What begins as an earlier line goes on like it: that is what is to be predicted.
 * Owns: nothing. MPI: none. Tests: tests/unit/test_task.c */
#ifndef NATSL_COPY_H
#define NATSL_COPY_H

#include "rng.h"
#include <natsl/status.h>
#include <stddef.h>

typedef enum natsl_alphabet {
    NATSL_ALPHABET_DIGITS = 0,
    NATSL_ALPHABET_HEX,
    NATSL_ALPHABET_LETTERS,
    NATSL_ALPHABET_ALL
} natsl_alphabet;

#define NATSL_COPY_CUE   3 /* bytes of a repeated string that tell which one it is */
#define NATSL_COPY_LEAST 5 /* bytes of a string */
#define NATSL_COPY_MOST  4096

typedef struct natsl_copy_task {
    natsl_alphabet alphabet; /* all: one of the others for each string */
    int least, most;         /* bytes of a string, NATSL_COPY_LEAST .. NATSL_COPY_MOST */
} natsl_copy_task;

/** A string said again: targets [begin, end) are all of it but its cue, and the newline after it. */
typedef struct natsl_copy_again {
    int64_t begin, end;
    int64_t first; /* where the line began that it repeats */
} natsl_copy_again;

/** Bytes as ids [tokens] and targets [tokens] (-1 where nothing counts); *count <= tokens are filled, whole lines only.
 * again: [*n_again] room in, filled out; NULL with n_again NULL. Advances rng. NATSL_ERR_USAGE where not even two of the longest
 * lines fit, or lengths are out of range. */
natsl_status natsl_copy_make(const natsl_copy_task *task, int64_t tokens, natsl_rng *rng, int32_t *ids,
                             int32_t *targets, int64_t *count, natsl_copy_again *again, size_t *n_again);

/** Tokens that are enough. */
int64_t natsl_copy_bytes(const natsl_copy_task *task);

#endif
