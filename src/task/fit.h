/* fit.h - how many bytes a text should have so that it has nearly as many tokens as fit: found by trying.
 * Owns: nothing. MPI: none. Tests: tests/unit/test_task.c */
#ifndef NATSL_FIT_H
#define NATSL_FIT_H

#include <stdint.h>

/** Tokens that a text may fall short of what fits: a line of noise, or little. */
static inline int64_t natsl_fit_slack(int64_t room) { return 24 + room / 2048; }

/** Bytes to try next so that a text has `room` tokens. bytes, tokens: of the longest text that fitted, and of the shortest that did
 * not (bytes[1] 0: none yet). try: how many have been tried. */
int64_t natsl_fit_next(const int64_t bytes[2], const int64_t tokens[2], int64_t room, int try);

#endif
