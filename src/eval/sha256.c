/* sha256.c - see sha256.h. */
#include "sha256.h"

#include <nettle/base16.h>

void natsl_sha256_start(natsl_sha256 *s) { sha256_init(s); }

void natsl_sha256_add(natsl_sha256 *s, const void *data, size_t length) { sha256_update(s, length, data); }

void natsl_sha256_finish(natsl_sha256 *s, char hex[65])
{
    uint8_t digest[SHA256_DIGEST_SIZE];
    sha256_digest(s, sizeof digest, digest);
    base16_encode_update(hex, sizeof digest, digest);
    hex[64] = '\0';
}
