/* scan.h - a prefix over ranks of the maps that their ranges make of the delta rule's state, S -> A S + B.
 * The readers of a pass are its ranks with tokens, in rank order. The first one knows its incoming state and gives the state
 * at its range's end; every other reader summarises its range, all at once, and gets its incoming state by recursive
 * doubling: in step k it sends the map of up to 2^k ranges that ends with its own to the reader 2^k further on and composes
 * what the reader 2^k before it sends with what it has, ceil(log2 n) steps in all. Maps that reach back to the first reader
 * are states: then S travels instead of (A, B). A reader receives from earlier readers only, and what it sends stays in
 * buffers of its layer until the same layer of the next pass: nobody waits for a later reader inside a pass.
 * Owns: the buffers. MPI: point to point, not collective; all ranks call the same functions for a pass and layer.
 * Source: Hillis and Steele, "Data parallel algorithms", 1986. Tests: tests/mpi/test_scan.c */
#ifndef NATSL_SCAN_H
#define NATSL_SCAN_H

#include "core.h"
#include "kernels.h"
#include <mpi.h>

/** Sizes of one layer's maps: `heads` value heads, A [dk,dk] and B [dk,dv] each. */
typedef struct natsl_scan_shape {
    int layers, heads;
    size_t dk, dv;
} natsl_scan_shape;

/** A pair in memory and in a message: B of all heads [heads,dk,dv], then A of all heads [heads,dk,dk]; a state is the first
 * part alone. */
typedef struct natsl_scan {
    MPI_Comm comm;                /* borrowed */
    const natsl_kernels *kernels; /* borrowed */
    int threads;
    natsl_scan_shape shape;
    size_t state_floats, pair_floats;
    int slots;              /* pairs that this rank may have under way in a layer */
    size_t piece;           /* most floats of one message */
    size_t requests;        /* per layer */
    float *pairs;           /* [layers][slots][pair_floats]: own summary, then its compositions with earlier ones */
    float *states;          /* [layers][state_floats]: the state at the end of the range */
    MPI_Request *sent;      /* [layers][requests] */
    size_t *n_sent;         /* [layers] */
    float *before;          /* pair: what the ranges heard of so far do, at last the incoming state */
    float *heard;           /* pair */
    float *product;         /* [heads,dk,dk] */
    MPI_Request *coming[2]; /* [pieces] of the receives into before and heard */
    int *readers;           /* [n] ranks of this pass's readers */
    int n, me;              /* me: this rank's place among them, -1: it reads nothing */
    int idle;               /* keep the conversation, leave out the arithmetic */
    int64_t bytes;          /* sent so far */
    double wait_s, compose_s;
} natsl_scan;

/** Pairs that reader `me` of n sends. */
int natsl_scan_slots(int me, int n);
/** Messages of one layer and pass with n readers, all ranks together: pairs and states. */
void natsl_scan_messages(int n, int64_t *pairs, int64_t *states);
/** Floats of a layer's pair and state. 0 when the size overflows. */
size_t natsl_scan_pair_floats(const natsl_scan_shape *shape);
/** Bytes of the buffers of a rank with `slots` slots. 0 when the size overflows. */
size_t natsl_scan_bytes(const natsl_scan_shape *shape, int slots);

/** Makes the buffers. size: ranks of comm. piece: most floats of a message, 0: as many as an int counts. Not collective.
 * NATSL_ERR_NOMEM. Release with natsl_scan_free, which accepts a zeroed scan. */
natsl_status natsl_scan_create(MPI_Comm comm, int size, const natsl_kernels *kernels, int threads,
                               const natsl_scan_shape *shape, int slots, size_t piece, natsl_scan *scan);
/** After natsl_scan_finish. */
void natsl_scan_free(natsl_scan *scan);

/** Takes the ranges first [size+1] of a pass in hand. */
void natsl_scan_set(natsl_scan *scan, const int64_t *first, int size, int rank);

/** First reader: state [heads,dk,dv] (copied) at the end of its range goes to those that need it. */
void natsl_scan_first(natsl_scan *scan, int layer, const float *state);

/** Other readers, before the summary: receives are posted. The summary is then written to natsl_scan_a and natsl_scan_b,
 * if natsl_scan_summarises: the last reader needs none. */
void natsl_scan_begin(natsl_scan *scan, int layer);
static inline int natsl_scan_summarises(const natsl_scan *scan) { return scan->me > 0 && scan->me + 1 < scan->n; }
float *natsl_scan_a(const natsl_scan *scan, int layer);
float *natsl_scan_b(const natsl_scan *scan, int layer);
/** Other readers, after it: state [heads,dk,dv] = the state before this rank's range. */
void natsl_scan_prefix(natsl_scan *scan, int layer, float *state);

/** Waits until all that was sent has left its buffers. */
void natsl_scan_finish(natsl_scan *scan);

#endif
