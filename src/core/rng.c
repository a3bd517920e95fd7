/* rng.c - random numbers. See rng.h. */
#include "rng.h"

#define WEYL 0x9e3779b97f4a7c15u

/** A bijection of 64 bits in which every bit of the argument moves every bit of the result. */
static uint64_t finalise(uint64_t z)
{
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

natsl_rng natsl_rng_at(uint64_t seed, uint64_t stream, uint64_t index)
{
    /* Each step is a bijection of its last argument: two indices of a stream never share a state. */
    uint64_t z = finalise(seed + WEYL);
    z = finalise((z ^ stream) + WEYL);
    return (natsl_rng){finalise((z ^ index) + WEYL)};
}

uint64_t natsl_rng_next(natsl_rng *rng) { return finalise(rng->state += WEYL); }

double natsl_rng_uniform(natsl_rng *rng) { return (double)(natsl_rng_next(rng) >> 11) * 0x1p-53; }

uint64_t natsl_rng_below(natsl_rng *rng, uint64_t n)
{
    /* The first 2^64 mod n numbers are drawn again: what is left is a multiple of n. */
    const uint64_t least = (0 - n) % n;
    for (;;) {
        const uint64_t x = natsl_rng_next(rng);
        if (x >= least) return x % n;
    }
}

uint64_t natsl_rng_permute(uint64_t key, uint64_t n, uint64_t i)
{
    unsigned half = 1; /* bits of each half */
    while (half < 31 && n > (uint64_t)1 << 2 * half) half++;
    const uint64_t mask = ((uint64_t)1 << half) - 1;
    do {
        uint64_t left = i >> half, right = i & mask;
        for (uint64_t round = 0; round < 8; round++) {
            const uint64_t swap = left ^ (natsl_rng_at(key, round, right).state & mask);
            left = right;
            right = swap;
        }
        i = left << half | right;
    } while (i >= n);
    return i;
}
