/* sample.h - chooses the next token from its scores.
 * Deterministic: the same scores, settings and generator state give the same token on every rank and machine with the same
 * libm. Owns: nothing, allocates nothing. MPI: none. Tests: tests/unit/test_sample.c */
#ifndef NATSL_SAMPLE_H
#define NATSL_SAMPLE_H

#include "rng.h"
#include <natsl/status.h>
#include <stddef.h>
#include <stdint.h>

/** How to choose. Applied in this order: temperature, top_k, top_p (the latter on what top_k left, renormalised). */
typedef struct natsl_sampling {
    double temperature; /* >= 0; 0: the highest score, the lowest id among equals (the other members are then unused) */
    int64_t top_k;      /* >= 0; the k most probable tokens, lower ids first among equals; 0: all */
    double top_p;       /* (0, 1]; the fewest most probable tokens whose probabilities reach top_p; 1: all */
} natsl_sampling;

/** One token under consideration. */
typedef struct natsl_candidate {
    double weight; /* exp((logit - largest) / temperature) */
    int32_t token;
} natsl_candidate;

/** Chooses a token. Not collective.
 * \param logits  f32 [vocab], all finite; vocab in 1 .. 2^31-1.  (borrowed)
 * \param scratch [vocab] candidates, overwritten; unused (may be NULL) at temperature 0.
 * \param rng     advanced by one number, also when only one token is left; untouched at temperature 0.
 * \return NATSL_OK; NATSL_ERR_USAGE for settings out of range; NATSL_ERR_INPUT for a logit that is not finite (the error
 *         text names it). On error *token and *rng are untouched. */
natsl_status natsl_sample(const float *logits, size_t vocab, const natsl_sampling *how, natsl_rng *rng,
                          natsl_candidate *scratch, int32_t *token);

#endif
