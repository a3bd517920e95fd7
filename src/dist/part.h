/* part.h - which rank reads which tokens of a window. Owns: nothing. MPI: none (pure arithmetic on integers, so equal on all
 * ranks that are given the same numbers).
 * Tests: tests/unit/test_part.c */
#ifndef NATSL_PART_H
#define NATSL_PART_H

#include "grid.h"

/** Cuts [begin, end) into `size` contiguous ranges: rank r reads [first[r], first[r+1]), first[size] = end. Cuts lie at
 * multiples of the chunk (of the grid's unit where the window is long enough for it to cost no balance); ranges may be empty. A window
 * that touches one chunk only goes to `owner`, the rank that holds the open chunk. */
void natsl_part_make(const natsl_grid *grid, int64_t begin, int64_t end, int size, int owner, int64_t *first);

/** What reading chunk c of the text costs: each + per_chunk * c, in any unit: later tokens attend to more kept chunks.
 * 0 <= each, per_chunk <= NATSL_PART_MOST_WEIGHT; both 0, or per_chunk 0: all chunks cost the same. */
typedef struct natsl_part_weights {
    int64_t each, per_chunk;
} natsl_part_weights;
#define NATSL_PART_WEIGHT      ((int64_t)1 << 20) /* a good scale for `each` */
#define NATSL_PART_MOST_WEIGHT ((int64_t)1 << 30)

/** The same with ranges of equal cost instead of equal length, none longer than natsl_part_longest (of the same stage_tokens).
 * Where per_chunk is 0: natsl_part_make. */
void natsl_part_balance(const natsl_grid *grid, int64_t begin, int64_t end, int size, int owner,
                        const natsl_part_weights *weights, int64_t stage_tokens, int64_t *first);

/** The longest range of natsl_part_balance, whatever the weights: one stage where equal ranges are no longer than that (a
 * longer one would hold back the state that the next rank waits for), else twice the equal share. */
int64_t natsl_part_longest(const natsl_grid *grid, int64_t begin, int64_t end, int size, int64_t stage_tokens);

/** The next rank after `rank` (before, for prev) whose range is not empty; -1 when there is none. */
int natsl_part_next(const int64_t *first, int size, int rank);
int natsl_part_prev(const int64_t *first, int rank);

#endif
