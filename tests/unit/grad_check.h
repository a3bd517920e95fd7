/* grad_check.h - finite differences in double for the tests of gradient kernels. A test writes the forward step once more, in
 * double, as a function of its inputs (the oracle's formulas; nothing here calls a kernel), and its loss: the outputs
 * times fixed numbers. */
#ifndef NATSL_TEST_GRAD_CHECK_H
#define NATSL_TEST_GRAD_CHECK_H

#include "kernels_check.h"

/** Loss of the inputs in[0], in[1], ...: contiguous rows of doubles. */
typedef double loss_fn(double *const *in, const void *shape);

/** Central differences of order 4 of f with respect to in[which][0..count). */
static inline double *numeric(loss_fn *f, double *const *in, size_t which, size_t count, const void *shape)
{
    double *out = doubles(count);
    const double h = 1e-4;
    for (size_t i = 0; i < count; ++i) {
        double *p = &in[which][i], x = *p, v[4];
        const double at[4] = {-2.0, -1.0, 1.0, 2.0};
        for (size_t k = 0; k < 4; ++k) {
            *p = x + at[k] * h;
            v[k] = f(in, shape);
        }
        *p = x;
        out[i] = (v[0] - 8.0 * v[1] + 8.0 * v[2] - v[3]) / (12.0 * h);
    }
    return out;
}

static inline double *double_rows(const buf *b)
{
    double *p = doubles(b->rows * b->cols);
    for (size_t i = 0; i < b->rows; ++i)
        for (size_t j = 0; j < b->cols; ++j) p[i * b->cols + j] = (double)buf_at(b, i, j);
    return p;
}

/** Compares what a kernel gave for input `which` with the finite differences, plus what was there before (start NULL: 0). */
static inline void check_grad(check *c, const buf *got, loss_fn *f, double *const *in, size_t which, const void *shape,
                              const buf *start)
{
    double *want = numeric(f, in, which, got->rows * got->cols, shape);
    for (size_t i = 0; start != NULL && i < got->rows; ++i)
        for (size_t j = 0; j < got->cols; ++j) want[i * got->cols + j] += (double)buf_at(start, i, j);
    check_rows(c, got, want);
    free(want);
}

static inline double d_sigmoid(double x) { return 1.0 / (1.0 + exp(-x)); }
static inline double d_silu(double x) { return x * d_sigmoid(x); }

/** y = x / sqrt(mean x^2 + eps) * w over d. */
static inline void d_rms(size_t d, const double *x, const double *w, double eps, double *y)
{
    double s = 0.0;
    for (size_t j = 0; j < d; ++j) s += x[j] * x[j];
    for (size_t j = 0; j < d; ++j) y[j] = x[j] / sqrt(s / (double)d + eps) * w[j];
}

static inline double d_dot(size_t n, const double *x, const double *y)
{
    double s = 0.0;
    for (size_t i = 0; i < n; ++i) s += x[i] * y[i];
    return s;
}

#endif
