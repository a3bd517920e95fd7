/* seal.c - see seal.h. */
#include "seal.h"

#include "agree.h"
#include "digest.h"
#include "place.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/** All of `bytes` from `at` on; 0: the file ends before, or cannot be read (errno). */
static int read_all(int fd, void *to, size_t bytes, int64_t at)
{
    for (size_t done = 0; done < bytes;) {
        const ssize_t n = pread(fd, (char *)to + done, bytes - done, (off_t)at + (off_t)done);
        if (n < 0 && errno == EINTR) continue;
        if (n == 0) errno = ENODATA;
        if (n <= 0) return 0;
        done += (size_t)n;
    }
    return 1;
}

static void seal_text(char text[NATSL_SEAL_BYTES + 1], int64_t bytes, uint64_t digest)
{
    char words[2 * NATSL_SEAL_BYTES];
    (void)snprintf(words, sizeof words, "\nnatsl-seal-1 bytes=%016" PRIx64 " digest=%016" PRIx64, (uint64_t)bytes,
                   digest);
    (void)snprintf(text, NATSL_SEAL_BYTES + 1, "%-*.*s\n", NATSL_SEAL_BYTES - 1, NATSL_SEAL_BYTES - 1, words);
}

/** Reads a seal's numbers; false when it is none. */
static int seal_parse(const char text[NATSL_SEAL_BYTES], int64_t *bytes, uint64_t *digest)
{
    char copy[NATSL_SEAL_BYTES + 1], same[NATSL_SEAL_BYTES + 1];
    uint64_t length = 0;
    memcpy(copy, text, NATSL_SEAL_BYTES);
    copy[NATSL_SEAL_BYTES] = '\0';
    if (sscanf(copy, "\nnatsl-seal-1 bytes=%16" SCNx64 " digest=%16" SCNx64, &length, digest) != 2) return 0;
    if (length > INT64_MAX) return 0;
    *bytes = (int64_t)length;
    seal_text(same, *bytes, *digest);
    return memcmp(copy, same, NATSL_SEAL_BYTES) == 0;
}

/** Digest of the file's first `bytes` bytes, valid on rank 0. `bytes` is equal on all ranks. Collective: the status is each rank's
 * own, and the caller agrees. */
static natsl_status digest_file(MPI_Comm comm, const char *file, const char *path, int64_t bytes, uint64_t *digest)
{
    int rank = 0, size = 1;
    NATSL_MPI(MPI_Comm_rank(comm, &rank));
    NATSL_MPI(MPI_Comm_size(comm, &size));
    const int64_t block = (int64_t)NATSL_SEAL_BLOCK, blocks = (bytes + block - 1) / block;
    natsl_status st = NATSL_OK;
    if (blocks > INT_MAX) return natsl_fail(NATSL_ERR_IO, "%s: the file is too long for a checksum", path);
    const int64_t first = blocks * rank / size, last = blocks * (rank + 1) / size;
    uint64_t *mine = natsl_calloc((size_t)(last - first), sizeof *mine, "a checksum");
    uint64_t *all = natsl_calloc(rank == 0 ? (size_t)blocks : 0, sizeof *all, "a checksum");
    int *counts = natsl_alloc(2 * (size_t)size, sizeof *counts, "a checksum"), *starts = counts ? counts + size : NULL;
    char *buffer = natsl_alloc(NATSL_SEAL_BLOCK, 1, "a checksum");
    const int fd = open(file, O_RDONLY | O_CLOEXEC);
    if (!mine || !all || !counts || !buffer) st = NATSL_ERR_NOMEM;
    else if (fd < 0) st = natsl_fail(NATSL_ERR_IO, "%s: %s", path, strerror(errno));
    for (int64_t b = first; b < last && st == NATSL_OK; b++) {
        natsl_worked();
        const size_t n = (size_t)(bytes - b * block < block ? bytes - b * block : block);
        if (read_all(fd, buffer, n, b * block)) mine[b - first] = natsl_digest(buffer, n);
        else st = natsl_fail(NATSL_ERR_IO, "%s: cannot be read back: %s", path, strerror(errno));
    }
    if (fd >= 0) (void)close(fd);
    if ((st = natsl_agree(comm, st)) == NATSL_OK) {
        for (int r = 0; r < size; r++) {
            starts[r] = (int)(blocks * r / size);
            counts[r] = (int)(blocks * (r + 1) / size) - starts[r];
        }
        NATSL_MPI(MPI_Gatherv(mine, (int)(last - first), MPI_UINT64_T, all, counts, starts, MPI_UINT64_T, 0, comm));
        *digest = 0;
        for (int64_t b = 0; rank == 0 && b < blocks; b++) *digest = natsl_digest_add(*digest, all[b]);
    }
    natsl_free(buffer);
    natsl_free(counts);
    natsl_free(all);
    natsl_free(mine);
    return st;
}

static natsl_status append(const char *file, const char *path, int64_t bytes, uint64_t digest)
{
    char text[NATSL_SEAL_BYTES + 1];
    natsl_status st = NATSL_OK;
    seal_text(text, bytes, digest);
    const int fd = open(file, O_WRONLY | O_CLOEXEC);
    if (fd < 0) return natsl_fail(NATSL_ERR_IO, "%s: %s", path, strerror(errno));
    for (size_t done = 0; done < NATSL_SEAL_BYTES;) {
        const ssize_t n = pwrite(fd, text + done, NATSL_SEAL_BYTES - done, (off_t)bytes + (off_t)done);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) {
            st = natsl_fail(NATSL_ERR_IO, "%s: cannot be written: %s", path, strerror(errno));
            break;
        }
        done += (size_t)n;
    }
    if (close(fd) != 0 && st == NATSL_OK)
        st = natsl_fail(NATSL_ERR_IO, "%s: cannot be written: %s", path, strerror(errno));
    return st;
}

natsl_status natsl_seal_put(MPI_Comm comm, const char *file, const char *path)
{
    struct stat s;
    int rank = 0;
    int64_t bytes = -1;
    uint64_t digest = 0;
    NATSL_MPI(MPI_Comm_rank(comm, &rank));
    if (rank == 0 && stat(file, &s) == 0) bytes = (int64_t)s.st_size;
    NATSL_MPI(MPI_Bcast(&bytes, 1, MPI_INT64_T, 0, comm));
    if (bytes < 0) return natsl_fail(NATSL_ERR_IO, "%s: the file is gone", path);
    natsl_status st = digest_file(comm, file, path, bytes, &digest);
    if (st == NATSL_OK && rank == 0) st = append(file, path, bytes, digest);
    return natsl_agree(comm, st);
}

/** Rank 0: what the seal says; *bytes -1: there is none. */
static natsl_status look(const char *path, int required, int64_t *bytes, uint64_t *digest)
{
    char text[NATSL_SEAL_BYTES];
    struct stat s = {0};
    natsl_status st = NATSL_OK;
    *bytes = -1;
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 || fstat(fd, &s) != 0) {
        st = natsl_fail(NATSL_ERR_INPUT, "%s: %s", path, strerror(errno));
    } else if (!S_ISREG(s.st_mode)) {
        st = natsl_fail(NATSL_ERR_INPUT, "%s: not a regular file, expected an HDF5 file", path);
    } else if (s.st_size >= NATSL_SEAL_BYTES && !read_all(fd, text, sizeof text, s.st_size - NATSL_SEAL_BYTES)) {
        st = natsl_fail(NATSL_ERR_INPUT, "%s: %s", path, strerror(errno));
    } else if (s.st_size < NATSL_SEAL_BYTES || !seal_parse(text, bytes, digest)) {
        *bytes = -1;
        if (required) st = natsl_fail(NATSL_ERR_INPUT, "%s: damaged: no checksum at its end", path);
    } else if (*bytes != (int64_t)s.st_size - NATSL_SEAL_BYTES) {
        st = natsl_fail(NATSL_ERR_INPUT, "%s: damaged: it has %lld bytes, expected %lld", path, (long long)s.st_size,
                        (long long)(*bytes < INT64_MAX - NATSL_SEAL_BYTES ? *bytes + NATSL_SEAL_BYTES : INT64_MAX));
    }
    if (fd >= 0) (void)close(fd);
    return st;
}

natsl_status natsl_seal_check(MPI_Comm comm, const char *path, int required)
{
    int rank = 0;
    int64_t bytes = -1;
    uint64_t want = 0, digest = 0;
    NATSL_MPI(MPI_Comm_rank(comm, &rank));
    natsl_status st = natsl_agree(comm, rank == 0 ? look(path, required, &bytes, &want) : NATSL_OK);
    if (st != NATSL_OK) return st;
    NATSL_MPI(MPI_Bcast(&bytes, 1, MPI_INT64_T, 0, comm));
    if (bytes < 0) return NATSL_OK;
    st = digest_file(comm, path, path, bytes, &digest);
    if (st == NATSL_ERR_IO) st = NATSL_ERR_INPUT; /* whose trouble it is: the file is read here, not read back */
    if (st == NATSL_OK && rank == 0 && digest != want)
        st = natsl_fail(NATSL_ERR_INPUT, "%s: damaged: its checksum is %016" PRIx64 ", expected %016" PRIx64, path,
                        digest, want);
    return natsl_agree(comm, st);
}
