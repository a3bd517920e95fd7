/* arena.c - see arena.h. */
#define _GNU_SOURCE
#include "arena.h"

#include "agree.h"
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#define LINE 64

/** Address space for one arena: the machine's memory, but little enough that the arenas of all ranks on a node fit the
 * 47 bits that a process can address. */
static size_t reserve_of(int node_size)
{
    const long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    size_t bytes = pages > 0 && page > 0 ? (size_t)pages * (size_t)page : (size_t)1 << 36;
    const size_t most = ((size_t)1 << 45) / (size_t)node_size;
    if (bytes > most) bytes = most;
    return bytes / (1 << 21) * (1 << 21);
}

/** This rank's anonymous file, mapped, with `cookie` in its first bytes. -1: cannot be had. */
static int create_own(natsl_arena *a, uint64_t cookie)
{
    /* A limit on file sizes holds for memory, too, and reaching it is a deadly signal. */
    struct rlimit limit;
    if (getrlimit(RLIMIT_FSIZE, &limit) != 0 || (limit.rlim_cur != RLIM_INFINITY && limit.rlim_cur < a->reserve))
        return -1;
    const int fd = memfd_create("natsl-arena", MFD_CLOEXEC);
    if (fd < 0) return -1;
    void *p = MAP_FAILED;
    if (ftruncate(fd, (off_t)a->reserve) == 0)
        p = mmap(NULL, a->reserve, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);
    if (p == MAP_FAILED) {
        (void)close(fd);
        return -1;
    }
    a->own = p;
    a->used = LINE;
    memcpy(a->own, &cookie, sizeof cookie);
    return fd;
}

/** Where a rank's arena can be opened, and how to know that it is the right one. */
typedef struct card {
    int64_t pid, fd;
    uint64_t cookie, reserve;
    int32_t rank, ok;
} card;

/** Maps another rank's arena to read. NULL: not possible. */
static unsigned char *open_other(const card *c)
{
    char path[64];
    uint64_t found = 0;
    (void)snprintf(path, sizeof path, "/proc/%lld/fd/%lld", (long long)c->pid, (long long)c->fd);
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return NULL;
    void *p = mmap(NULL, c->reserve, PROT_READ, MAP_SHARED | MAP_NORESERVE, fd, 0);
    (void)close(fd);
    if (p == MAP_FAILED) return NULL;
    memcpy(&found, p, sizeof found);
    if (found == c->cookie) return p;
    (void)munmap(p, c->reserve);
    return NULL;
}

/** Undoes sharing: the arena becomes a private one. */
static void unmap_all(natsl_arena *a, const card *cards, int n)
{
    for (int i = 0; i < n; i++) {
        unsigned char **p = &a->base[cards[i].rank];
        if (*p && *p != a->own) (void)munmap(*p, cards[i].reserve);
        *p = NULL;
    }
    if (a->own) (void)munmap(a->own, a->reserve);
    a->own = NULL;
    a->used = 0;
}

static natsl_status share(MPI_Comm comm, natsl_arena *a)
{
    MPI_Comm node;
    int rank = 0, n = 1, ok = 1;
    NATSL_MPI(MPI_Comm_rank(comm, &rank));
    NATSL_MPI(MPI_Comm_split_type(comm, MPI_COMM_TYPE_SHARED, rank, MPI_INFO_NULL, &node));
    NATSL_MPI(MPI_Comm_size(node, &n));
    card *cards = natsl_calloc((size_t)n, sizeof *cards, "arenas");
    natsl_status st = natsl_agree(node, cards ? NATSL_OK : NATSL_ERR_NOMEM);
    if (st != NATSL_OK || n == 1) goto cleanup;
    a->reserve = reserve_of(n);
    const uint64_t cookie = (uint64_t)getpid() * 0x9e3779b97f4a7c15u ^ (uint64_t)rank ^ (uint64_t)(natsl_now_s() * 1e9);
    const int fd = create_own(a, cookie);
    card mine = {.pid = getpid(), .fd = fd, .cookie = cookie, .reserve = a->reserve, .rank = rank, .ok = fd >= 0};
    NATSL_MPI(MPI_Allgather(&mine, sizeof mine, MPI_BYTE, cards, sizeof mine, MPI_BYTE, node));
    for (int i = 0; i < n; i++) ok &= cards[i].ok;
    for (int i = 0; i < n && ok; i++) {
        unsigned char *p = cards[i].rank == rank ? a->own : open_other(&cards[i]);
        a->base[cards[i].rank] = p;
        ok = p != NULL;
    }
    /* all or none: senders must know without asking what receivers read in place */
    NATSL_MPI(MPI_Allreduce(MPI_IN_PLACE, &ok, 1, MPI_INT, MPI_MIN, node));
    if (fd >= 0) (void)close(fd); /* the mappings keep it alive */
    if (!ok) unmap_all(a, cards, n);
cleanup:
    natsl_free(cards);
    NATSL_MPI(MPI_Comm_free(&node));
    return st;
}

natsl_status natsl_arena_create(MPI_Comm comm, int allow_shared, natsl_arena *arena)
{
    memset(arena, 0, sizeof *arena);
    NATSL_MPI(MPI_Comm_size(comm, &arena->size));
    arena->base = natsl_calloc((size_t)arena->size, sizeof *arena->base, "arenas");
    natsl_status st = natsl_agree(comm, arena->base ? NATSL_OK : NATSL_ERR_NOMEM);
    if (st == NATSL_OK && allow_shared) st = natsl_agree(comm, share(comm, arena));
    if (st != NATSL_OK) natsl_arena_free(arena);
    return st;
}

void natsl_arena_free(natsl_arena *arena)
{
    for (int r = 0; arena->base && r < arena->size; r++) {
        if (arena->base[r]) (void)munmap(arena->base[r], arena->reserve);
    }
    for (size_t i = 0; i < arena->n_blocks; i++) natsl_free(arena->blocks[i]);
    natsl_free(arena->blocks);
    natsl_free(arena->base);
    memset(arena, 0, sizeof *arena);
}

void *natsl_arena_alloc(natsl_arena *a, size_t bytes, const char *what)
{
    if (a->own) {
        size_t rounded = 0;
        if (!natsl_fault() && natsl_size_add(&rounded, bytes, LINE - 1) &&
            (rounded -= rounded % LINE) <= a->reserve - a->used) {
            void *p = a->own + a->used;
            a->used += rounded;
            return p;
        }
        (void)natsl_fail(NATSL_ERR_NOMEM, "out of memory: %s, %zu bytes more than this rank's %zu", what, bytes,
                         a->used);
        return NULL;
    }
    if (a->n_blocks == a->block_capacity) {
        const size_t capacity = a->block_capacity ? 2 * a->block_capacity : 64;
        void **blocks = natsl_alloc(capacity, sizeof *blocks, what);
        if (!blocks) return NULL;
        if (a->n_blocks) memcpy(blocks, a->blocks, a->n_blocks * sizeof *blocks);
        natsl_free(a->blocks);
        a->blocks = blocks;
        a->block_capacity = capacity;
    }
    void *p = natsl_alloc(bytes, 1, what);
    if (p) a->blocks[a->n_blocks++] = p;
    return p;
}
