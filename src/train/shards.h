/* shards.h - flat arrays that all ranks have and each answers for a part of: gradients are summed there, weights updated there.
 * MPI: collective on the communicator unless said. Sums run in rank order: the same ranks give the same bits.
 * Tests: tests/mpi/test_train.c */
#ifndef NATSL_SHARDS_H
#define NATSL_SHARDS_H

#include "agree.h"

typedef struct natsl_shards {
    MPI_Comm comm; /* borrowed */
    int rank, size;
    size_t floats; /* that count */
    size_t each;   /* of a shard: rank r has [r * each, (r+1) * each); the arrays have size * each floats */
    float *inbox;
    double *reals; /* [size] one number of each rank */
} natsl_shards;

/** NATSL_ERR_NOMEM, NATSL_ERR_USAGE for arrays beyond what MPI's int can address. Not collective. */
natsl_status natsl_shards_create(MPI_Comm comm, size_t floats, natsl_shards *out);
void natsl_shards_free(natsl_shards *shards);
/** This rank's shard of flat becomes the sum over ranks; the other parts are left as they are. */
void natsl_shards_sum(const natsl_shards *shards, float *flat);
/** All ranks get all shards. */
void natsl_shards_gather(const natsl_shards *shards, float *flat);
/** Sum over ranks, in rank order, of one number each; the same on all. */
double natsl_shards_sum_real(const natsl_shards *shards, double mine);

#endif
