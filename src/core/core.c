/* core.c - checked sizes, aligned memory, time. See core.h. */
#include "core.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define ALIGNMENT 64

int natsl_size_mul(size_t *out, size_t a, size_t b) { return !__builtin_mul_overflow(a, b, out); }
int natsl_size_add(size_t *out, size_t a, size_t b) { return !__builtin_add_overflow(a, b, out); }

int natsl_fault(void)
{
    static long left = -1; /* calls until the one that fails; 0: never */
    if (left == -1) {
        const char *text = getenv("NATSL_FAULT");
        left = text ? strtol(text, NULL, 10) : 0;
        if (left < 0) left = 0;
    }
    if (left == 0) return 0;
    return --left == 0;
}

void *natsl_alloc(size_t count, size_t size, const char *what)
{
    size_t bytes = 0, rounded = 0;
    if (!natsl_size_mul(&bytes, count, size) || !natsl_size_add(&rounded, bytes, ALIGNMENT)) {
        (void)natsl_fail(NATSL_ERR_NOMEM, "out of memory: %s, %zu times %zu bytes", what, count, size);
        return NULL;
    }
    rounded -= rounded % ALIGNMENT; /* at least one line, so that an empty array has an address */
    void *p = natsl_fault() ? NULL : aligned_alloc(ALIGNMENT, rounded);
    if (!p) {
        (void)natsl_fail(NATSL_ERR_NOMEM, "out of memory: %s, %zu bytes", what, bytes);
        return NULL;
    }
#ifdef NATSL_DEBUG
    memset(p, 0xff, rounded); /* float32 NaN: what was never written shows */
#endif
    return p;
}

void *natsl_calloc(size_t count, size_t size, const char *what)
{
    void *p = natsl_alloc(count, size, what);
    if (p) memset(p, 0, count * size);
    return p;
}

void natsl_free(void *p) { free(p); }

double natsl_now_s(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

double natsl_thread_s(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

size_t natsl_peak_bytes(void)
{
    struct rusage usage;
    if (getrusage(RUSAGE_SELF, &usage) != 0) return 0;
    return (size_t)usage.ru_maxrss * 1024; /* Linux counts in KiB */
}

size_t natsl_resident_bytes(void)
{
    char line[256];
    unsigned long long kib = 0, pages = 0;
    FILE *file = fopen("/proc/self/smaps_rollup", "r");
    while (file && fgets(line, sizeof line, file) && sscanf(line, "Pss: %llu kB", &kib) != 1) continue;
    if (file) (void)fclose(file);
    if (kib > 0) return (size_t)kib * 1024;
    file = fopen("/proc/self/statm", "r");
    if (file && fscanf(file, "%*u %llu", &pages) != 1) pages = 0;
    if (file) (void)fclose(file);
    return (size_t)pages * (size_t)sysconf(_SC_PAGESIZE);
}

char natsl_temporary_path[4096];
static char outer_path[sizeof natsl_temporary_path]; /* of the file that was under way when the other one was begun */

static char beside_path[sizeof natsl_temporary_path];

/** A signal handler may remove the file at any moment: it must never see the beginning of a path only. */
static void set_path(char *to, const char *path)
{
    to[0] = '\0';
    atomic_signal_fence(memory_order_seq_cst);
    const size_t length = strlen(path);
    if (length == 0 || length >= sizeof natsl_temporary_path) return;
    memcpy(to + 1, path + 1, length);
    atomic_signal_fence(memory_order_seq_cst);
    ((volatile char *)to)[0] = path[0];
}

void natsl_temporary_set(const char *path)
{
    if (*path && natsl_temporary_path[0]) set_path(outer_path, natsl_temporary_path);
    set_path(natsl_temporary_path, *path ? path : outer_path);
    if (!*path) set_path(outer_path, "");
}

void natsl_temporary_beside(const char *path) { set_path(beside_path, path); }

void natsl_temporary_unlink(const char *path)
{
    static const char before[] = "/dev/shm/sem.OMPIO_";
    char semaphore[sizeof before + 256];
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    const size_t length = strlen(name);
    (void)unlink(path);
    if (length >= sizeof semaphore - sizeof before) return;
    memcpy(semaphore, before, sizeof before - 1);
    memcpy(semaphore + sizeof before - 1, name, length + 1);
    (void)unlink(semaphore);
}

void natsl_temporary_remove(void)
{
    if (beside_path[0]) (void)unlink(beside_path);
    if (natsl_temporary_path[0]) natsl_temporary_unlink(natsl_temporary_path);
    if (outer_path[0]) natsl_temporary_unlink(outer_path);
}

int natsl_all_finite(const float *x, size_t n)
{
    uint32_t bad = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, x + i, sizeof bits);
        bad |= (bits & 0x7f800000u) == 0x7f800000u;
    }
    return !bad;
}
