/* init.h - random weights as the published models start with. Owns: nothing. MPI: none. Tests:
 * tests/unit/test_layout.c */
#ifndef NATSL_INIT_H
#define NATSL_INIT_H

#include "layout.h"

/** Fills flat[layout->floats]: linear layers and embeddings normal(0, 0.02); convolutions uniform(-1/sqrt(w),
 * 1/sqrt(w)) for w taps; A = exp(A_log) uniform in (0, 16); dt log-uniform in 0.001..0.1, at least 1e-4, dt_bias its
 * inverse softplus; norms 1. Each tensor has its own stream of random numbers, from the seed and the tensor's name:
 * order does not matter. Gaps are zero. Source: the initialiser of the published NAtS-L code (Gated DeltaNet of
 * flash-linear-attention). */
void natsl_init_weights(const natsl_config *config, const natsl_layout *layout, uint64_t seed, float *flat);

/** One tensor of them: values[tensor->count]. */
void natsl_init_tensor(const natsl_config *config, const natsl_tensor *tensor, uint64_t seed, float *values);

#endif
