/* sha256.h - SHA-256 digests of haystacks and prompts, by nettle. Owns: nothing. MPI: none. Tests: tests/unit/test_eval.c */
#ifndef NATSL_SHA256_H
#define NATSL_SHA256_H

#include <nettle/sha2.h>
#include <stddef.h>

typedef struct sha256_ctx natsl_sha256;

void natsl_sha256_start(natsl_sha256 *s);
void natsl_sha256_add(natsl_sha256 *s, const void *data, size_t length);
/** hex: 64 digits, lower case, and NUL. */
void natsl_sha256_finish(natsl_sha256 *s, char hex[65]);

#endif
