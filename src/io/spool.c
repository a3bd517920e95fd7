/* spool.c - token ids in a temporary file. See spool.h. */
#define _GNU_SOURCE /* fallocate */
#include "spool.h"

#include "agree.h"
#include "place.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BLOCK_IDS ((int64_t)1 << 18)

/** A file with a name (a template of mkstemp in name [4096], replaced). */
static natsl_status named(char *name, int *fd)
{
    const char *directory = getenv("TMPDIR");
    const int n = snprintf(name, 4096, "%s/natsl-tokens-XXXXXX", directory && *directory ? directory : "/tmp");
    *fd = -1;
    if (n < 0 || n >= 4096) return natsl_fail(NATSL_ERR_USAGE, "TMPDIR: the path is too long");
    *fd = mkstemp(name);
    if (*fd < 0) return natsl_fail(NATSL_ERR_IO, "tokens: temporary file %s: %s", name, strerror(errno));
    return NATSL_OK;
}

natsl_status natsl_spool_create(natsl_spool *spool)
{
    char name[4096];
    *spool = (natsl_spool){.fd = -1};
    const natsl_status st = named(name, &spool->fd);
    if (st == NATSL_OK) (void)unlink(name);
    return st;
}

natsl_status natsl_spool_add(natsl_spool *spool, const int32_t *ids, size_t count)
{
    const char *from = (const char *)ids;
    for (size_t left = count * sizeof *ids; left > 0;) {
        const ssize_t n = write(spool->fd, from, left);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0)
            return natsl_fail(NATSL_ERR_IO, "tokens: temporary file: %s", n < 0 ? strerror(errno) : "nothing written");
        from += n;
        left -= (size_t)n;
    }
    spool->count += (int64_t)count;
    return NATSL_OK;
}

natsl_status natsl_spool_read(const natsl_spool *spool, int64_t first, int64_t count, int32_t *ids)
{
    char *to = (char *)ids;
    off_t at = (off_t)(first * (int64_t)sizeof *ids);
    for (size_t left = (size_t)count * sizeof *ids; left > 0;) {
        const ssize_t n = pread(spool->fd, to, left, at);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0)
            return natsl_fail(NATSL_ERR_IO, "tokens: temporary file: %s",
                              n < 0 ? strerror(errno) : "shorter than expected");
        to += n;
        at += n;
        left -= (size_t)n;
    }
    return NATSL_OK;
}

void natsl_spool_forget(const natsl_spool *spool, int64_t count)
{
    /* where a file system cannot, the room is taken until the spool is closed */
    (void)fallocate(spool->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
                    (off_t)(count * (int64_t)sizeof(int32_t)));
}

void natsl_spool_close(natsl_spool *spool)
{
    if (spool->fd >= 0) (void)close(spool->fd);
    *spool = (natsl_spool){.fd = -1};
}

/** The node's first rank makes the file, the others open it. Collective on node. */
static natsl_status open_on_node(MPI_Comm node, natsl_spool *whole)
{
    char name[4096] = {0};
    int rank = 0;
    natsl_status st = NATSL_OK;
    NATSL_MPI(MPI_Comm_rank(node, &rank));
    if (rank == 0) st = named(name, &whole->fd);
    if (whole->fd >= 0) natsl_temporary_set(name);
    st = natsl_agree(node, st);
    NATSL_MPI(MPI_Bcast(name, sizeof name, MPI_CHAR, 0, node));
    if (st == NATSL_OK && rank != 0 && (whole->fd = open(name, O_RDONLY | O_CLOEXEC)) < 0)
        st = natsl_fail(NATSL_ERR_IO, "tokens: temporary file %s: %s", name, strerror(errno));
    st = natsl_agree(node, st);
    if (rank == 0 && whole->fd >= 0) {
        (void)unlink(name);
        natsl_temporary_set("");
    }
    return st;
}

/** Every rank's part in turn, block by block, to all nodes. A rank in trouble goes on with the others' steps. */
static natsl_status send_all(MPI_Comm comm, const natsl_token_part *part, int writes, natsl_spool *whole,
                             int32_t *block)
{
    int rank = 0, size = 1;
    natsl_status mine = NATSL_OK;
    NATSL_MPI(MPI_Comm_rank(comm, &rank));
    NATSL_MPI(MPI_Comm_size(comm, &size));
    for (int r = 0; r < size; r++) {
        int64_t left = part->count;
        NATSL_MPI(MPI_Bcast(&left, 1, MPI_INT64_T, r, comm));
        for (int64_t at = 0; at < left; at += BLOCK_IDS) {
            const int64_t n = left - at < BLOCK_IDS ? left - at : BLOCK_IDS;
            if (r == rank && mine == NATSL_OK) mine = natsl_spool_read(&part->spool, part->skip + at, n, block);
            NATSL_MPI(MPI_Bcast(block, (int)n, MPI_INT32_T, r, comm));
            natsl_worked();
            if (writes && mine == NATSL_OK) mine = natsl_spool_add(whole, block, (size_t)n);
            if (r == rank) natsl_spool_forget(&part->spool, part->skip + at + n);
        }
    }
    return mine;
}

natsl_status natsl_spool_gather(MPI_Comm comm, natsl_token_part *part, natsl_spool *whole)
{
    MPI_Comm node;
    int rank = 0, size = 1, on_node = 0;
    *whole = (natsl_spool){.fd = -1};
    NATSL_MPI(MPI_Comm_rank(comm, &rank));
    NATSL_MPI(MPI_Comm_size(comm, &size));
    if (size == 1 && part->skip == 0) { /* the part is all there is */
        *whole = part->spool;
        whole->count = part->total;
        part->spool.fd = -1;
        return NATSL_OK;
    }
    NATSL_MPI(MPI_Comm_split_type(comm, MPI_COMM_TYPE_SHARED, rank, MPI_INFO_NULL, &node));
    NATSL_MPI(MPI_Comm_rank(node, &on_node));
    natsl_status st = natsl_agree(comm, open_on_node(node, whole));
    int32_t *block = natsl_calloc((size_t)BLOCK_IDS, sizeof *block, "tokens");
    st = natsl_agree(comm, st == NATSL_OK && !block ? NATSL_ERR_NOMEM : st);
    if (st == NATSL_OK) st = natsl_agree(comm, send_all(comm, part, on_node == 0, whole, block));
    whole->count = part->total;
    NATSL_MPI(MPI_Comm_free(&node));
    natsl_free(block);
    if (st != NATSL_OK) natsl_spool_close(whole);
    return st;
}
