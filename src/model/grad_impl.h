/* grad_impl.h - what the files of the backward pass share: where a run's rows lie, and products spread over threads.
 * Private to src/model. */
#ifndef NATSL_GRAD_IMPL_H
#define NATSL_GRAD_IMPL_H

#include "grad.h"

/** Rows that one thread works on at once: where a sum over rows is wanted too (sums of slices are added up in order), and in a
 * product. */
#define NATSL_GRAD_SLICE  32
#define NATSL_GRAD_SLICES (NATSL_GRAD_ROWS / NATSL_GRAD_SLICE)
#define NATSL_GRAD_PIECE  128

/** A group of up to NATSL_GRAD_ROWS rows: `row` among the run's, `in_stage` among the stage's. */
typedef struct natsl_own_rows {
    size_t row, in_stage, m;
} natsl_own_rows;

static inline size_t natsl_own_groups(const natsl_stage *s)
{
    return ((size_t)(s->last - s->first) + NATSL_GRAD_ROWS - 1) / NATSL_GRAD_ROWS;
}

static inline natsl_own_rows natsl_own_rows_of(const natsl_stage *s, size_t group)
{
    const size_t row = group * NATSL_GRAD_ROWS, rest = (size_t)(s->last - s->first) - row;
    return (natsl_own_rows){.row = row,
                            .in_stage = row + (size_t)(s->first - s->base),
                            .m = rest < NATSL_GRAD_ROWS ? rest : NATSL_GRAD_ROWS};
}

/** y (+)= x W^T: product of a group of rows, spread over threads by pieces of rows and by panels. */
void natsl_grad_product(const natsl_backward *b, size_t m, const natsl_matrix *w, const float *x, size_t ldx, float *y,
                        size_t ldy, int accumulate);
/** dw += dy^T x, spread by blocks of dw. */
void natsl_grad_product_w(const natsl_backward *b, size_t m, const natsl_matrix *w, const float *dy, size_t lddy,
                          const float *x, size_t ldx, float *dw);
/** b->turned from the layer's matrices. */
void natsl_grad_turn_layer(natsl_backward *b, const natsl_layer *layer);

/** RMS norm of a group's rows and heads, and its gradient (dx += or =; dw +=), spread over threads by slices. */
void natsl_grad_norm(const natsl_backward *b, size_t m, const float *x, const float *w, float *y);
void natsl_grad_norm_back(const natsl_backward *b, size_t m, size_t heads, size_t d, const float *x, size_t ldx,
                          const float *w, const float *dy, size_t lddy, float *dx, size_t lddx, int accumulate,
                          float *dw);
/** dw [n] += the slices' sums, row distance `ld` from partial + at. */
void natsl_grad_partial_add(const natsl_backward *b, size_t m, size_t at, size_t ld, size_t n, float *dw);

#endif
