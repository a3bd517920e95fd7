/* arena.h - memory that the ranks of a node read in place.
 * Each rank has one arena: address space as large as the machine's memory, backed by an anonymous file that only the ranks
 * of its node have mapped; pages cost nothing until they are written, and nothing is left behind however a job ends. Blocks
 * are never freed one by one. Where ranks of a node may not see each other's files (separate containers), or on
 * request, the arena is private: the same calls, and everything between ranks goes by messages.
 * Tests: tests/mpi/test_context.c (both kinds) */
#ifndef NATSL_ARENA_H
#define NATSL_ARENA_H

#include "core.h"
#include <mpi.h>

typedef struct natsl_arena {
    int size;             /* ranks of the communicator */
    unsigned char **base; /* [size] this rank's view of each rank's arena; NULL: not readable from here */
    unsigned char *own;   /* = base[rank], NULL when private */
    size_t reserve, used; /* bytes of address space per arena; taken from the own one */
    void **blocks;        /* private: what was allocated, to free it */
    size_t n_blocks, block_capacity;
} natsl_arena;

/** Maps the arenas of all ranks on this node, or sets up a private one (`allow_shared` 0, or sharing does not work; then on all
 * ranks of the node). Collective. NATSL_ERR_NOMEM. */
natsl_status natsl_arena_create(MPI_Comm comm, int allow_shared, natsl_arena *arena);
void natsl_arena_free(natsl_arena *arena);

/** `bytes` of the own arena, 64-byte aligned, never moved; NULL: out of memory. Not collective. */
void *natsl_arena_alloc(natsl_arena *arena, size_t bytes, const char *what);

/** Whether this rank reads blocks of `rank` in place. */
static inline int natsl_arena_reads(const natsl_arena *arena, int rank) { return arena->base[rank] != NULL; }

#endif
