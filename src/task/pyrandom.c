/* pyrandom.c - Python's and NumPy's random numbers. See pyrandom.h. */
#include "pyrandom.h"

#include "core.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define N 624
#define M 397

void natsl_np_seed(natsl_mt *g, uint32_t seed)
{
    g->state[0] = seed;
    for (uint32_t i = 1; i < N; i++) g->state[i] = 1812433253u * (g->state[i - 1] ^ g->state[i - 1] >> 30) + i;
    g->next = N;
}

void natsl_py_seed(natsl_mt *g, uint64_t seed)
{
    const uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
    const uint32_t length = key[1] ? 2 : 1;
    uint32_t i = 1, j = 0, *s = g->state;
    natsl_np_seed(g, 19650218u);
    for (int k = N; k > 0; k--) {
        s[i] = (s[i] ^ (s[i - 1] ^ s[i - 1] >> 30) * 1664525u) + key[j] + j;
        if (++i == N) s[0] = s[N - 1], i = 1;
        if (++j == length) j = 0;
    }
    for (int k = N - 1; k > 0; k--) {
        s[i] = (s[i] ^ (s[i - 1] ^ s[i - 1] >> 30) * 1566083941u) - i;
        if (++i == N) s[0] = s[N - 1], i = 1;
    }
    s[0] = 0x80000000u;
}

uint32_t natsl_mt_next(natsl_mt *g)
{
    uint32_t *s = g->state;
    if (g->next >= N) {
        for (int i = 0; i < N; i++) {
            const uint32_t y = (s[i] & 0x80000000u) | (s[(i + 1) % N] & 0x7fffffffu);
            s[i] = s[(i + M) % N] ^ y >> 1 ^ (y & 1 ? 0x9908b0dfu : 0);
        }
        g->next = 0;
    }
    uint32_t y = s[g->next++];
    y ^= y >> 11;
    y ^= y << 7 & 0x9d2c5680u;
    y ^= y << 15 & 0xefc60000u;
    return y ^ y >> 18;
}

uint64_t natsl_py_bits(natsl_mt *g, int bits)
{
    if (bits <= 32) return natsl_mt_next(g) >> (32 - bits);
    const uint64_t low = natsl_mt_next(g);
    return low | (uint64_t)(natsl_mt_next(g) >> (64 - bits)) << 32;
}

uint64_t natsl_py_below(natsl_mt *g, uint64_t n)
{
    int bits = 0;
    while (bits < 64 && n >> bits) bits++;
    for (;;) {
        const uint64_t r = natsl_py_bits(g, bits);
        if (r < n) return r;
    }
}

double natsl_py_random(natsl_mt *g)
{
    const uint32_t a = natsl_mt_next(g) >> 5, b = natsl_mt_next(g) >> 6;
    return ((double)a * 67108864.0 + (double)b) / 9007199254740992.0;
}

int64_t natsl_py_randint(natsl_mt *g, int64_t lo, int64_t hi)
{
    return lo + (int64_t)natsl_py_below(g, (uint64_t)(hi - lo) + 1);
}

void natsl_py_choices(natsl_mt *g, const char *alphabet, size_t count, char *to)
{
    const double n = (double)strlen(alphabet);
    for (size_t i = 0; i < count; i++) to[i] = alphabet[(size_t)(natsl_py_random(g) * n)];
    to[count] = '\0';
}

void natsl_py_shuffle(natsl_mt *g, size_t n, size_t *order)
{
    for (size_t i = 0; i < n; i++) order[i] = i;
    for (size_t i = n; i-- > 1;) {
        const size_t j = (size_t)natsl_py_below(g, i + 1), swap = order[i];
        order[i] = order[j];
        order[j] = swap;
    }
}

natsl_status natsl_py_sample(natsl_mt *g, size_t n, size_t k, size_t *places)
{
    if (k > n) return natsl_fail(NATSL_ERR_USAGE, "%zu things of %zu cannot be drawn without replacement", k, n);
    double set_size = 21.0;
    if (k > 5) set_size += pow(4.0, ceil(log((double)k * 3.0) / log(4.0)));
    if ((double)n <= set_size) {
        size_t *pool = natsl_alloc(n, sizeof *pool, "a sample");
        if (!pool) return NATSL_ERR_NOMEM;
        for (size_t i = 0; i < n; i++) pool[i] = i;
        for (size_t i = 0; i < k; i++) {
            const size_t j = (size_t)natsl_py_below(g, n - i);
            places[i] = pool[j];
            pool[j] = pool[n - i - 1];
        }
        natsl_free(pool);
        return NATSL_OK;
    }
    unsigned char *seen = natsl_calloc(n / 8 + 1, 1, "a sample");
    if (!seen) return NATSL_ERR_NOMEM;
    for (size_t i = 0; i < k; i++) {
        size_t j;
        do j = (size_t)natsl_py_below(g, n);
        while (seen[j / 8] >> (j % 8) & 1);
        seen[j / 8] = (unsigned char)(seen[j / 8] | 1 << (j % 8));
        places[i] = j;
    }
    natsl_free(seen);
    return NATSL_OK;
}

void natsl_py_uuid(natsl_mt *g, char to[37])
{
    uint32_t w[4]; /* least significant first */
    for (int i = 0; i < 4; i++) w[i] = natsl_mt_next(g);
    w[1] = (w[1] & 0x3fffffffu) | 0x80000000u; /* variant: the upper bits of the second half */
    w[2] = (w[2] & 0xffff0fffu) | 0x00004000u; /* version 4 */
    (void)snprintf(to, 37, "%08x-%04x-%04x-%04x-%04x%08x", w[3], w[2] >> 16, w[2] & 0xffff, w[1] >> 16, w[1] & 0xffff,
                   w[0]);
}

int64_t natsl_np_randint(natsl_mt *g, int64_t lo, int64_t hi)
{
    const uint32_t most = (uint32_t)(hi - lo - 1);
    uint32_t mask = most, r;
    if (most == 0) return lo; /* nothing is drawn */
    for (int shift = 1; shift < 32; shift *= 2) mask |= mask >> shift;
    do r = natsl_mt_next(g) & mask;
    while (r > most);
    return lo + (int64_t)r;
}
