/* matrix.h - a weight matrix as products read it: panels of 64 outputs, each from its first input to its last.
 * y = x W^T needs, for every input l, the weights of neighbouring outputs side by side: so W [n,k] is stored as panels
 * [k][width], and a product, whether of 256 tokens or of one, reads memory front to back. All panels are NATSL_PANEL wide but
 * the last, which takes what is left over: up to 2 NATSL_PANEL - 1 (a narrow one would have its own order of summation).
 * Owns: nothing. MPI: none. Tests: tests/unit/test_kernels.c, test_layout.c */
#ifndef NATSL_MATRIX_H
#define NATSL_MATRIX_H

#include <natsl/storage.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define NATSL_PANEL      64
#define NATSL_PANEL_MOST (2 * NATSL_PANEL - 1)

/** W [n,k], n and k >= 0; data borrowed. */
typedef struct natsl_matrix {
    size_t n, k; /* outputs, inputs */
    natsl_storage type;
    const void *data; /* [n*k] elements of the type */
} natsl_matrix;

/** Number of panels: at least 1. Panel p holds outputs [64 p, natsl_panel_end). */
static inline size_t natsl_panels(size_t n) { return n / NATSL_PANEL > 0 ? n / NATSL_PANEL : 1; }
static inline size_t natsl_panel_end(size_t n, size_t p)
{
    return p + 1 >= natsl_panels(n) ? n : (p + 1) * NATSL_PANEL;
}

static inline size_t natsl_storage_bytes(natsl_storage type) { return type == NATSL_BF16 ? 2 : sizeof(float); }

/** First element of panel p. */
static inline const void *natsl_panel_data(const natsl_matrix *w, size_t p)
{
    return (const char *)w->data + p * NATSL_PANEL * w->k * natsl_storage_bytes(w->type);
}

/** Where W[j][l] lies, in elements from the start. */
static inline size_t natsl_matrix_at(size_t n, size_t k, size_t j, size_t l)
{
    size_t p = j / NATSL_PANEL;
    if (p >= natsl_panels(n)) p = natsl_panels(n) - 1;
    const size_t first = p * NATSL_PANEL, width = natsl_panel_end(n, p) - first;
    return first * k + l * width + (j - first);
}

static inline float natsl_from_bf16(uint16_t v)
{
    const uint32_t bits = (uint32_t)v << 16;
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

/** To nearest, ties to even; a finite value that would round to infinity becomes the largest finite one; NaN stays NaN. */
static inline uint16_t natsl_to_bf16(float f)
{
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    const uint32_t magnitude = bits & 0x7fffffffu;
    if (magnitude > 0x7f800000u) return (uint16_t)(bits >> 16 | 0x40u);
    if (magnitude >= 0x7f7f8000u && magnitude < 0x7f800000u) return (uint16_t)((bits & 0x80000000u) >> 16 | 0x7f7fu);
    return (uint16_t)((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

/** W[j][l] as a number, for checks and for the reference kernels. */
static inline float natsl_matrix_get(const natsl_matrix *w, size_t j, size_t l)
{
    const size_t at = natsl_matrix_at(w->n, w->k, j, l);
    return w->type == NATSL_BF16 ? natsl_from_bf16(((const uint16_t *)w->data)[at]) : ((const float *)w->data)[at];
}

/** Stores rows [row, row+count) of W [n,k], given as `rows` [count,k], into the matrix at `data`. */
void natsl_matrix_put(size_t n, size_t k, natsl_storage type, void *data, size_t row, size_t count, const float *rows);

#endif
