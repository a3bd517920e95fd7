/* scratch.h - a directory of a test's own in TMPDIR, for files that it writes. */
#ifndef NATSL_TEST_SCRATCH_H
#define NATSL_TEST_SCRATCH_H

#ifndef _GNU_SOURCE
#error "nftw and mkdtemp: define _GNU_SOURCE first"
#endif
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char scratch[256];

static inline void scratch_make(void)
{
    const char *temporary = getenv("TMPDIR");
    const char *in = temporary && *temporary ? temporary : "/tmp";
    if (snprintf(scratch, sizeof scratch, "%s/natsl-test-XXXXXX", in) >= (int)sizeof scratch || !mkdtemp(scratch))
        abort();
}

/** The path of a file there, until the next call. */
static inline const char *scratch_path(const char *name)
{
    static char path[1024];
    (void)snprintf(path, sizeof path, "%s/%s", scratch, name);
    return path;
}

static inline void scratch_write(const char *name, const void *bytes, size_t count)
{
    FILE *f = fopen(scratch_path(name), "wb");
    if (!f || fwrite(bytes, 1, count, f) != count || fclose(f) != 0) abort();
}

static inline int scratch_remove_one(const char *path, const struct stat *s, int kind, struct FTW *at)
{
    (void)s, (void)kind, (void)at;
    return remove(path);
}

/** The directory and all that is in it; 0: gone. */
static inline int scratch_remove(void) { return nftw(scratch, scratch_remove_one, 8, FTW_DEPTH | FTW_PHYS); }

#endif
