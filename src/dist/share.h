/* share.h - panels of a weight matrix divided among ranks, for products of a single row.
 * One row through a matrix costs what reading the matrix costs, so ranks share its panels: contiguous runs in rank order, cut
 * at the panel borders nearest to equal work. All in integers: every rank computes the same cuts.
 * MPI: none. Tests: tests/unit/test_share.c */
#ifndef NATSL_SHARE_H
#define NATSL_SHARE_H

#include "matrix.h"

/** Rank r gets panels [first[r], first[r+1]) of a matrix of n >= 0 outputs; first [size+1], size >= 1.
 * load [size] or NULL: what each rank has to do besides, in outputs of this matrix (>= 0, sums below 2^48). Ranks whose load
 * exceeds what the others end up with get none; the others end equal, up to half a panel at each cut. */
void natsl_share_make(size_t n, int size, const int64_t *load, size_t *first);

/** First output of panel p; n for p = natsl_panels(n). */
static inline size_t natsl_share_output(size_t n, size_t p) { return p < natsl_panels(n) ? p * NATSL_PANEL : n; }

#endif
