/* pyrandom.h - random numbers as Python's `random` and NumPy's legacy generator draw them, so that samples equal those that
 * other programs make. Both are MT19937 (Matsumoto, Nishimura 1998); they differ in seeding and in how they use its numbers.
 * Owns: nothing, allocates nothing (but natsl_py_sample its result's places). MPI: none. Tests: tests/unit/test_pyrandom.c */
#ifndef NATSL_PYRANDOM_H
#define NATSL_PYRANDOM_H

#include <natsl/status.h>
#include <stddef.h>
#include <stdint.h>

typedef struct natsl_mt {
    uint32_t state[624];
    int next; /* of the state's numbers; 624: make new ones */
} natsl_mt;

/** random.seed(seed). */
void natsl_py_seed(natsl_mt *g, uint64_t seed);
/** numpy.random.seed(seed). */
void natsl_np_seed(natsl_mt *g, uint32_t seed);

/** 32 random bits. */
uint32_t natsl_mt_next(natsl_mt *g);

/** random.getrandbits(bits), bits 1 .. 64. */
uint64_t natsl_py_bits(natsl_mt *g, int bits);
/** A number from 0 to n - 1, n >= 1: what choice, randint and shuffle draw. */
uint64_t natsl_py_below(natsl_mt *g, uint64_t n);
/** random.random(). */
double natsl_py_random(natsl_mt *g);
/** random.randint(lo, hi), both included. */
int64_t natsl_py_randint(natsl_mt *g, int64_t lo, int64_t hi);
/** "".join(random.choices(alphabet, k=count)) and NUL: to [count + 1]. */
void natsl_py_choices(natsl_mt *g, const char *alphabet, size_t count, char *to);
/** Where shuffle puts things: order[i] is the index of what comes to place i. order [n]. */
void natsl_py_shuffle(natsl_mt *g, size_t n, size_t *order);
/** random.sample(range(n), k) into places [k]. NATSL_ERR_USAGE: k > n; NATSL_ERR_NOMEM. */
natsl_status natsl_py_sample(natsl_mt *g, size_t n, size_t k, size_t *places);
/** str(uuid.UUID(int=random.getrandbits(128), version=4)): to [37]. */
void natsl_py_uuid(natsl_mt *g, char to[37]);

/** numpy.random.randint(lo, hi), hi not included, hi - lo <= 2^32. */
int64_t natsl_np_randint(natsl_mt *g, int64_t lo, int64_t hi);

#endif
