/* part.h - which rank reads which tokens of a window. Owns: nothing. MPI: none (pure arithmetic, equal on all ranks).
 * Tests: tests/unit/test_part.c */
#ifndef NATSL_PART_H
#define NATSL_PART_H

#include "grid.h"

/** Cuts [begin, end) into `size` contiguous ranges: rank r reads [first[r], first[r+1]), first[size] = end. Cuts lie at
 * multiples of the chunk (of the grid's unit where the window is long enough for it to cost no balance); ranges may be empty. A window
 * that touches one chunk only goes to `owner`, the rank that holds the open chunk. */
void natsl_part_make(const natsl_grid *grid, int64_t begin, int64_t end, int size, int owner, int64_t *first);

/** The next rank after `rank` (before, for prev) whose range is not empty; -1 when there is none. */
int natsl_part_next(const int64_t *first, int size, int rank);
int natsl_part_prev(const int64_t *first, int rank);

#endif
