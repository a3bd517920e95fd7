/* files_check.h - what the tests of files share: a scratch directory for all ranks, paths in it, errors and their lines.
 * test_scratch is a suite's first test, test_clean its last. Needs _GNU_SOURCE (nftw). */
#ifndef NATSL_TEST_FILES_CHECK_H
#define NATSL_TEST_FILES_CHECK_H

#include "agree.h"
#include "files.h"
#include "h5.h"
#include "mpi_suite.h"

#include <dirent.h>
#include <ftw.h>
#include <hdf5.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define TINY                                                                                                           \
    "{\"hidden_size\": 24, \"num_hidden_layers\": 2, \"vocab_size\": 300, \"head_dim\": 8, \"intermediate_size\": "    \
    "20, "                                                                                                             \
    "\"gdn_layers\": [0]}"

static char scratch[512];

/** A path in the scratch directory; three at a time. */
static inline const char *at(const char *name)
{
    static char paths[3][1024];
    static int next;
    char *p = paths[next++ % 3];
    (void)snprintf(p, sizeof paths[0], "%s/%s", scratch, name);
    return p;
}

static inline int exists(const char *path) { return access(path, F_OK) == 0; }

/** Files in the scratch directory whose name contains `word`. */
static inline int count_files(const char *word)
{
    int n = 0;
    DIR *d = opendir(scratch);
    for (struct dirent *e = d ? readdir(d) : NULL; e; e = readdir(d)) n += strstr(e->d_name, word) != NULL;
    if (d) (void)closedir(d);
    return n;
}

static inline int remove_one(const char *path, const struct stat *s, int kind, struct FTW *f)
{
    (void)s, (void)kind, (void)f;
    return remove(path);
}

static inline void *must(void *p)
{
    if (!p) MPI_Abort(MPI_COMM_WORLD, 1);
    return p;
}

static inline natsl_config config_of(const char *json)
{
    natsl_config c;
    memset(&c, 0, sizeof c);
    EXPECT(natsl_config_parse(json, strlen(json), "test", &c) == NATSL_OK, "%s", natsl_error_text());
    return c;
}

static inline void write_bytes(const char *path, const void *bytes, size_t count)
{
    FILE *f = must(fopen(path, "wb"));
    if (fwrite(bytes, 1, count, f) != count || fclose(f) != 0) MPI_Abort(MPI_COMM_WORLD, 1);
}

/** Rank 0 alone makes something; the others wait. */
#define ON_RANK_0(...)                                                                                                 \
    do {                                                                                                               \
        if (world_rank == 0) {                                                                                         \
            __VA_ARGS__;                                                                                               \
        }                                                                                                              \
        MPI_Barrier(MPI_COMM_WORLD);                                                                                   \
    } while (0)

/** A status and a word of the line, on every rank that calls. */
static inline void failed_with(natsl_status st, natsl_status want, const char *word, const char *what)
{
    EXPECT(st == want, "%s: status %d, not %d (%s)", what, (int)st, (int)want,
           st == NATSL_OK ? "" : natsl_error_text());
    if (st == NATSL_OK) return;
    EXPECT(strstr(natsl_error_text(), word) != NULL, "%s: no \"%s\" in: %s", what, word, natsl_error_text());
}

/** The scratch directory, the same on all ranks, before any other test. */
static inline void test_scratch(void)
{
    if (world_rank == 0) {
        const char *tmp = getenv("TMPDIR");
        (void)snprintf(scratch, sizeof scratch, "%s/natsl-files-XXXXXX", tmp && *tmp ? tmp : "/tmp");
        if (!mkdtemp(scratch)) MPI_Abort(MPI_COMM_WORLD, 1);
    }
    MPI_Bcast(scratch, sizeof scratch, MPI_CHAR, 0, MPI_COMM_WORLD);
    CU_ASSERT_TRUE(exists(scratch));
}

static inline void test_clean(void)
{
    CU_ASSERT_EQUAL(count_files(".tmp-"), 0);
    MPI_Barrier(MPI_COMM_WORLD);
    if (world_rank == 0) CU_ASSERT_EQUAL(nftw(scratch, remove_one, 16, FTW_DEPTH | FTW_PHYS), 0);
}

#endif
