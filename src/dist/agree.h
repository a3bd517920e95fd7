/* agree.h - ranks agree on errors; MPI's own failures end the job.
 * MPI: everything here is collective unless said. Tests: tests/mpi/test_agree.c */
#ifndef NATSL_AGREE_H
#define NATSL_AGREE_H

#include "core.h"
#include <mpi.h>

/** Calls an MPI function; on failure prints rank, file:line and MPI's text to stderr and aborts the job. */
#define NATSL_MPI(call)                                                                                                \
    do {                                                                                                               \
        int natsl_mpi_rc_ = (call);                                                                                    \
        if (natsl_mpi_rc_ != MPI_SUCCESS) natsl_mpi_die(natsl_mpi_rc_, #call, __FILE__, __LINE__);                     \
    } while (0)
void natsl_mpi_die(int code, const char *call, const char *file, int line);

/** Out of memory where other ranks already wait for what this one owes them: says so in one line (the error text of the
 * failed allocation), removes the file under way (natsl_temporary_path) and ends the job with NATSL_ERR_NOMEM. */
void natsl_die_nomem(void);

/** The same for any error: this rank's ends the job from inside where the others cannot be asked. Not collective. */
void natsl_die(natsl_status status);

/** Every rank gives its own status; all return the worst one and its owner's error text. Collective on comm. */
natsl_status natsl_agree(MPI_Comm comm, natsl_status mine);

/** The same after a step in which libraries below have a conversation of their own (MPI-IO, HDF5): a rank whose part has failed may
 * have left the others waiting in it for ever. When they do not come, it says so itself, removes the file under way and ends
 * the job with its status. */
natsl_status natsl_agree_or_die(MPI_Comm comm, natsl_status mine);

/** What rank 0 has read, on all ranks: its bytes [*length], with a NUL behind them (free with natsl_free, as rank 0's own), or its
 * status. Others pass NATSL_OK and NULL. what: for messages. Below 2 GiB. On error *bytes is NULL on all ranks, and what rank 0 had is freed.
 * Collective. */
natsl_status natsl_agree_bytes(MPI_Comm comm, natsl_status mine, const char *what, char **bytes, size_t *length);

/** All tags of point-to-point messages, so that no two meanings share one. */
enum natsl_tag {
    NATSL_TAG_HALO = 1,         /* raw rows for the short convolution, to the next range */
    NATSL_TAG_STATE,            /* delta-rule state of one value head, to the next range */
    NATSL_TAG_SCAN,             /* a map of the state or a state, all heads of a layer, to a later range of the pass */
    NATSL_TAG_TAIL,             /* a context's tail, from its owner to the first rank of the next window */
    NATSL_TAG_CHOICES,          /* training: which chunks a range keeps, to the ranges after it */
    NATSL_TAG_UNITS,            /* training: kept keys and values, to the ranges after it */
    NATSL_TAG_UNIT_GRADS,       /* training: their gradients, back to the range they came from */
    NATSL_TAG_HALO_GRAD,        /* training: gradient of the halo, to the range before */
    NATSL_TAG_STATE_GRAD,       /* training: gradient of the state, head by head, to the range before */
    NATSL_TAG_TOKENS,           /* tokenizing: how many of its tokens the next rank drops */
    NATSL_TAG_KEPT_COUNT = 100, /* + layer: how many chunks a rank kept in this layer and pass, and which */
    NATSL_TAG_KEPT_DATA = 1000  /* + 2 * (parity of the pass * layers + layer) + is_new: kept keys and values */
};
#endif
