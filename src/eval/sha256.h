/* sha256.h - SHA-256 digests of haystacks and prompts. Owns: nothing. MPI: none. Source: FIPS 180-4.
 * Tests: tests/unit/test_eval.c */
#ifndef NATSL_SHA256_H
#define NATSL_SHA256_H

#include <stddef.h>
#include <stdint.h>

typedef struct natsl_sha256 {
    uint32_t state[8];
    uint64_t length; /* bytes so far */
    unsigned char block[64];
} natsl_sha256;

void natsl_sha256_start(natsl_sha256 *s);
void natsl_sha256_add(natsl_sha256 *s, const void *data, size_t length);
/** hex: 64 digits, lower case, and NUL. */
void natsl_sha256_finish(natsl_sha256 *s, char hex[65]);

#endif
