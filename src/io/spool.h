/* spool.h - token ids in a temporary file that no directory lists: as many as the disk holds, not as memory does.
 * Owns: the file. MPI: as said. Tests: tests/cli/tokenize.sh */
#ifndef NATSL_SPOOL_H
#define NATSL_SPOOL_H

#include "grow.h"
#include <mpi.h>
#include <natsl/status.h>

typedef struct natsl_spool {
    int fd;        /* -1: none */
    int64_t count; /* ids in it */
} natsl_spool;

/** A fresh one in TMPDIR. NATSL_ERR_IO. Not collective. */
natsl_status natsl_spool_create(natsl_spool *spool);
/** Appends ids. Not collective. */
natsl_status natsl_spool_add(natsl_spool *spool, const int32_t *ids, size_t count);
/** Reads ids [first, first + count). Not collective. */
natsl_status natsl_spool_read(const natsl_spool *spool, int64_t first, int64_t count, int32_t *ids);
/** The first `count` ids are not needed any more: their room on the disk may be given back. */
void natsl_spool_forget(const natsl_spool *spool, int64_t count);
void natsl_spool_close(natsl_spool *spool);

/** Tokens that the ranks hold in parts: this one's are [first, first + count) of `total`, in its own spool from `skip` on. */
typedef struct natsl_token_part {
    natsl_spool spool;
    int64_t skip, first, count, total;
    int ranks; /* that had a part of the work */
} natsl_token_part;

/** All parts in one file per node, which the node's ranks have open: what has been taken over is forgotten, so that together they take
 * about 4 bytes a token. Collective on comm; *whole is empty on error. */
natsl_status natsl_spool_gather(MPI_Comm comm, natsl_token_part *part, natsl_spool *whole);

#endif
