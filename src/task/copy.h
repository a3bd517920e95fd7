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

/** The letters of one alphabet, not of all. */
const char *natsl_copy_letters(natsl_alphabet alphabet);

#define NATSL_COPY_CUE   3 /* bytes of a repeated string that tell which one it is */
#define NATSL_COPY_LEAST 5 /* bytes of a string */
#define NATSL_COPY_MOST  4096

typedef struct natsl_copy_task {
    natsl_alphabet alphabet; /* all: one of the others for each string */
    int least, most;         /* bytes of a string, NATSL_COPY_LEAST .. NATSL_COPY_MOST */
} natsl_copy_task;

/** A string said again: targets [begin, end) are all of it but its cue, and the newline after it (a
 * string whose cue's tokens are the whole line is none). */
typedef struct natsl_copy_again {
    int64_t begin, end;
    int64_t first; /* where the line began that it repeats */
} natsl_copy_again;

/** How a line becomes tokens, where they are not its bytes: to ids, where they are no more than `room` (else nothing is
 * written), counted in *count. *cue: how many hold any of the line's first NATSL_COPY_CUE bytes. The same line must
 * always give the same. */
typedef struct natsl_copy_coder {
    natsl_status (*encode)(void *user, const char *line, int64_t bytes, int64_t room, int32_t *ids, int64_t *count,
                           int64_t *cue);
    void *user;
} natsl_copy_coder;

/** Lines as ids [tokens] (coder NULL: bytes) and targets [tokens] (-1 where nothing counts); *count <= tokens are
 * filled, whole lines only. again: [*n_again] room in, filled out; NULL with n_again NULL. Advances rng.
 * NATSL_ERR_USAGE where not even two of the longest lines surely fit, or lengths are out of range; NATSL_ERR_NOMEM;
 * what the coder returns. */
natsl_status natsl_copy_make(const natsl_copy_task *task, const natsl_copy_coder *coder, int64_t tokens, natsl_rng *rng,
                             int32_t *ids, int32_t *targets, int64_t *count, natsl_copy_again *again, size_t *n_again);

/** Tokens that are enough, where a token has a byte or more. */
int64_t natsl_copy_bytes(const natsl_copy_task *task);

#endif
