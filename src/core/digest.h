/* digest.h - a fast digest of bytes, to notice damage and to tell things apart; it does not resist forgery.
 * Every step is a bijection of the lane it changes, so bytes that differ within one aligned word of 8 always have another
 * digest; other differences go unnoticed once in 2^64. Memory bandwidth is the limit. Owns: nothing. MPI: none.
 * Tests: tests/unit/test_core.c */
#ifndef NATSL_DIGEST_H
#define NATSL_DIGEST_H

#include <stddef.h>
#include <stdint.h>

/** Digest of `bytes` bytes; the length counts, too. The same on machines of the same byte order. */
uint64_t natsl_digest(const void *data, size_t bytes);

/** The digest of a sequence after one more digest: start with 0, add in order. */
static inline uint64_t natsl_digest_add(uint64_t sequence, uint64_t next)
{
    const uint64_t h = (sequence ^ next) * 0x9fb21c651e98df25u;
    return (h ^ h >> 32) + 0x9e3779b97f4a7c15u; /* so that a first digest of 0 counts */
}

#endif
