/* digest.c - see digest.h. */
#include "digest.h"

#include <string.h>

/* Four interleaved multiply-xor lanes: a processor has several such steps under way at a time. */
#define LANES 4

static void mix(uint64_t lane[LANES], const char *data)
{
    for (size_t k = 0; k < LANES; k++) {
        uint64_t v;
        memcpy(&v, data + sizeof v * k, sizeof v);
        lane[k] = (lane[k] ^ v) * 0x9fb21c651e98df25u;
        lane[k] ^= lane[k] >> 32;
    }
}

uint64_t natsl_digest(const void *data, size_t bytes)
{
    uint64_t lane[LANES] = {0x9e3779b97f4a7c15u, 0xbf58476d1ce4e5b9u, 0x94d049bb133111ebu, 0x2545f4914f6cdd1du};
    const char *at = data;
    const size_t whole = bytes / sizeof lane * sizeof lane;
    for (size_t i = 0; i < whole; i += sizeof lane) mix(lane, at + i);
    if (whole < bytes) {
        char last[sizeof lane] = {0};
        memcpy(last, at + whole, bytes - whole);
        mix(lane, last);
    }
    return lane[0] ^ lane[1] * 3 ^ lane[2] * 5 ^ lane[3] * 7 ^ (uint64_t)bytes;
}
