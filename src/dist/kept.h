/* kept.h - the kept chunks' keys and values: where they lie, who has which, and their stream between ranks.
 * A unit is one chunk's attention keys and values of one gate head (natsl_unit_floats; of layers of softmax attention alone, which keep every
 * chunk, of one key head). Units stay on the rank that made them,
 * in slabs that never move, so that sends need no copy. The directory says, per layer and in global chunk order, how many
 * units of each head each rank holds: every rank can list the whole document's units in that order.
 * Tests: tests/mpi/test_context.c */
#ifndef NATSL_KEPT_H
#define NATSL_KEPT_H

#include "arena.h"
#include "core.h"
#include <mpi.h>

/** Most bytes of a slab (at least one unit fits): also the size of a message. */
#define NATSL_SLAB_BYTES ((size_t)2 << 20)

/** Units of one layer and gate head on this rank, in global chunk order. */
typedef struct natsl_kept_list {
    float **slabs;   /* NULL for those dropped */
    int64_t *chunks; /* [count] global chunk index of every unit */
    int64_t count, capacity;
    int64_t dropped; /* units at the beginning that are no longer there */
    size_t n_slabs;
} natsl_kept_list;

/** Where the slabs of another rank's list lie in its arena: what it takes to read its units in place. */
typedef struct natsl_kept_view {
    int64_t *offsets;
    int64_t count, capacity;
} natsl_kept_view;

/** A run of consecutive units (in global order) that lie on one rank: `count[h]` of each gate head. */
typedef struct natsl_segment {
    int rank;
    int64_t *count; /* [heads] */
} natsl_segment;

/** One layer's store and directory. */
typedef struct natsl_kept {
    natsl_arena *arena; /* borrowed */
    int heads;
    size_t unit_floats;
    int64_t per_slab;       /* units in a slab */
    natsl_kept_list *lists; /* [heads] */
    natsl_kept_view *views; /* [arena->size, heads]; used for ranks whose arena this rank reads */
    float **spare;          /* slabs dropped by any list, to be used again */
    size_t n_spare, spare_capacity;
    int64_t skipped; /* units of each head before the directory's first: of a text read before, behind a window's end */
    natsl_segment *segments; /* all ranks' units, global order; neighbours of one rank are merged */
    size_t n_segments, segment_capacity;
    int64_t *held; /* [arena->size] units of each rank by the directory, all heads */
} natsl_kept;

/** An empty store; the arena is borrowed and outlives it. */
natsl_status natsl_kept_create(int heads, size_t unit_floats, natsl_arena *arena, natsl_kept *kept);
void natsl_kept_free(natsl_kept *kept);
/** Units per slab for units of this size; the same on all ranks. */
int64_t natsl_kept_per_slab(size_t unit_floats);

/** Makes room for one more unit of `head` and returns it; the caller fills it. NULL: out of memory, nothing changed. */
float *natsl_kept_append(natsl_kept *kept, int head, int64_t chunk);
/** Gives up slabs all of whose units are of chunks before `first`: nobody may read them any more. Their places stay. */
void natsl_kept_drop(natsl_kept *kept, int64_t first);
/** Unit i of a head's list. */
float *natsl_kept_unit(const natsl_kept *kept, int head, int64_t i);
/** Offset of slab i of a head's list in this rank's arena (0 in a private one: nobody reads it in place). */
int64_t natsl_kept_slab_offset(const natsl_kept *kept, int head, size_t i);
/** Notes `count` more slabs of another rank's list. */
natsl_status natsl_kept_view_add(natsl_kept *kept, int rank, int head, const int64_t *offsets, int64_t count);
/** All ranks learn where all slabs of all ranks lie, from scratch. Collective on comm. */
natsl_status natsl_kept_share(MPI_Comm comm, natsl_kept *kept);
/** Adds counts [heads] of `rank` at the end of the directory. */
natsl_status natsl_kept_note(natsl_kept *kept, int rank, const int64_t *counts);
/** shown [arena->size]: units of each rank by the directory, all heads, of chunks from `first` on. first > 0 only where every chunk
 * is kept; the text has `end` chunks then. */
void natsl_kept_shown(const natsl_kept *kept, int64_t first, int64_t end, int64_t *shown);
/** Bytes of the slabs on this rank, those to be used again included. */
size_t natsl_kept_bytes(const natsl_kept *kept);
/** *out becomes a copy of `kept` in another arena; views are not copied (natsl_kept_share makes them). */
natsl_status natsl_kept_copy(const natsl_kept *kept, natsl_arena *arena, natsl_kept *out);

/** A run of units inside one slab: what one message carries. */
typedef struct natsl_kept_run {
    int rank, head;
    int64_t start, count;  /* in the list of that rank and head */
    int64_t place;         /* of the first among all units of the head, in global order; chunks NULL only */
    const int64_t *chunks; /* [count] their chunk indices, or NULL: all before the window */
} natsl_kept_run;

/** A growing array of runs. */
typedef struct natsl_kept_runs {
    natsl_kept_run *runs;
    size_t count, capacity;
} natsl_kept_runs;

/** Appends the runs (cut at slab borders) of units [start, start+count) of a rank's head, the first of them at `place`. */
natsl_status natsl_kept_cut(natsl_kept_runs *runs, int64_t per_slab, int rank, int head, int64_t start, int64_t count,
                            int64_t place, const int64_t *chunks);
/** Appends all runs of the directory in global order, without those before place `skip` of each head. */
natsl_status natsl_kept_all(const natsl_kept *kept, int size, int64_t skip, natsl_kept_runs *runs);
/** How many of chunks [count], ascending, lie before chunk `first`. */
int64_t natsl_kept_before(const int64_t *chunks, int64_t count, int64_t first);

/** Outstanding sends of this rank. Buffers belong to slabs (never moved) or to the caller. */
typedef struct natsl_sends {
    MPI_Request *requests;
    size_t count, capacity;
} natsl_sends;
/** Room for one more request (valid until the next call), or NULL. Finished requests are dropped now and then. */
MPI_Request *natsl_sends_add(natsl_sends *sends);
/** Waits for all and empties the list. */
void natsl_sends_wait(natsl_sends *sends);
void natsl_sends_free(natsl_sends *sends);

/** Called for every run, in order; units lie at `units`. */
typedef void natsl_kept_sink(void *user, const natsl_kept_run *run, const float *units);

/** Buffers of a receiving stream, made once. */
typedef struct natsl_kept_inbox {
    float *buffers; /* NATSL_KEPT_INFLIGHT slabs */
    size_t slab_floats;
} natsl_kept_inbox;
#define NATSL_KEPT_INFLIGHT 4
/** slab_floats: of the largest slab that comes. */
natsl_status natsl_kept_inbox_create(size_t slab_floats, natsl_kept_inbox *inbox);
void natsl_kept_inbox_free(natsl_kept_inbox *inbox);

/** Posts sends of this rank's runs to `to`, in order; nothing when `to` reads them in place. Not collective; nonblocking. *bytes grows by what is sent. */
natsl_status natsl_kept_send(MPI_Comm comm, const natsl_kept *kept, const natsl_kept_run *runs, size_t n, int to,
                             int tag, natsl_sends *sends, int64_t *bytes);

/** Gives every run to `sink` in order: own runs and those of ranks on the node in place, others as their messages arrive (tags[i] of run i), with at
 * most NATSL_KEPT_INFLIGHT receives posted ahead. *wait_s grows by the time spent waiting. */
void natsl_kept_stream(MPI_Comm comm, const natsl_kept *kept, const natsl_kept_inbox *inbox, const natsl_kept_run *runs,
                       const int *tags, size_t n, natsl_kept_sink *sink, void *user, double *wait_s);

#endif
