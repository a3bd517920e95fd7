/* grad_impl.h - what the files of the backward pass share: where a run's rows lie, and products spread over threads.
 * Private to src/model. */
#ifndef NATSL_GRAD_IMPL_H
#define NATSL_GRAD_IMPL_H

#include "grad.h"

/** Rows of a tile that one thread works on at once where a sum over rows is wanted too: sums of slices are added up in order. */
#define NATSL_GRAD_SLICE  32
#define NATSL_GRAD_SLICES (NATSL_TILE / NATSL_GRAD_SLICE)

/** A tile's own rows: `row` among the run's, `in_stage` among the stage's. */
typedef struct natsl_own_rows {
    size_t row, in_stage, m;
} natsl_own_rows;

static inline natsl_own_rows natsl_own_rows_of(const natsl_stage *s, const natsl_tile *t)
{
    return (natsl_own_rows){.row = (size_t)(t->first - s->first),
                            .in_stage = (size_t)(t->first - s->base),
                            .m = (size_t)(t->last - t->first)};
}

/** y = x W^T; dx (+)= dy W; dw += dy^T x: a tile's product, spread over threads by outputs, inputs, rows of W. */
void natsl_grad_product(const natsl_backward *b, size_t m, const natsl_matrix *w, const float *x, size_t ldx, float *y,
                        size_t ldy);
void natsl_grad_product_x(const natsl_backward *b, size_t m, const natsl_matrix *w, const float *dy, size_t lddy,
                          float *dx, size_t lddx, int accumulate);
void natsl_grad_product_w(const natsl_backward *b, size_t m, const natsl_matrix *w, const float *dy, size_t lddy,
                          const float *x, size_t ldx, float *dw);

/** RMS norm of a tile's rows and heads, and its gradient (dx += or =; dw +=), spread over threads by slices. */
void natsl_grad_norm(const natsl_backward *b, size_t m, const float *x, const float *w, float *y);
void natsl_grad_norm_back(const natsl_backward *b, size_t m, size_t heads, size_t d, const float *x, size_t ldx,
                          const float *w, const float *dy, size_t lddy, float *dx, size_t lddx, int accumulate,
                          float *dw);
/** dw [n] += the slices' sums, row distance `ld` from partial + at. */
void natsl_grad_partial_add(const natsl_backward *b, size_t m, size_t at, size_t ld, size_t n, float *dw);

#endif
