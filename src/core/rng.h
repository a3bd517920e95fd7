/* rng.h - random numbers: the same on every rank and machine. No source of secrets.
 * Owns: nothing, allocates nothing. MPI: none. Tests: tests/unit/test_task.c, test_sample.c */
#ifndef NATSL_RNG_H
#define NATSL_RNG_H

#include <stdint.h>

/** State of the generator; any value is a good seed. */
typedef struct natsl_rng {
    uint64_t state;
} natsl_rng;

/** The generator of one thing of many: `index` (a window, a sample) of `stream` (what it is for) under the user's seed.
 * Neighbours have nothing in common, so that any rank can make any of them. */
natsl_rng natsl_rng_at(uint64_t seed, uint64_t stream, uint64_t index);

/** 64 random bits. splitmix64 (Steele, Lea, Flood 2014). */
uint64_t natsl_rng_next(natsl_rng *rng);

/** A number in [0, 1), uniform on multiples of 2^-53. */
double natsl_rng_uniform(natsl_rng *rng);

/** A number from 0 to n - 1, each equally likely; n >= 1. */
uint64_t natsl_rng_below(natsl_rng *rng, uint64_t n);

/** Place of `i` in a random order of 0 .. n - 1 that `key` chooses: i < n, n <= 2^62. Needs no table: a Feistel network
 * on the smallest even number of bits that holds n, walked until it is back below n (expected steps: fewer than four).
 */
uint64_t natsl_rng_permute(uint64_t key, uint64_t n, uint64_t i);

#endif
