/* shards.c - sums and updates, each rank for its part. See shards.h. */
#include "shards.h"

#include "place.h"
#include <limits.h>
#include <string.h>

/** Floats of each shard that are summed at a time: large enough for the network, and the inbox, which takes that of every rank, at
 * most 64 MiB up to 4096 ranks. */
static size_t round_floats(const natsl_shards *s)
{
    const size_t most = ((size_t)1 << 24) / (size_t)s->size, least = 4096, all = (size_t)1 << 18;
    const size_t n = most < least ? least : most > all ? all : most;
    return s->each < n ? s->each : n;
}

natsl_status natsl_shards_create(MPI_Comm comm, size_t floats, natsl_shards *s)
{
    memset(s, 0, sizeof *s);
    s->comm = comm;
    NATSL_MPI(MPI_Comm_size(comm, &s->size));
    NATSL_MPI(MPI_Comm_rank(comm, &s->rank));
    const size_t size = (size_t)s->size;
    s->floats = floats;
    s->each = (floats + size - 1) / size;
    if (s->each * size > (size_t)INT_MAX)
        return natsl_fail(NATSL_ERR_USAGE, "gradients of %zu weights: more than 2^31 are not supported", floats);
    s->inbox = natsl_alloc(size, round_floats(s) * sizeof(float), "gradients of other ranks");
    s->reals = natsl_alloc(size, sizeof *s->reals, "sums of other ranks");
    return s->inbox && s->reals ? NATSL_OK : NATSL_ERR_NOMEM;
}

void natsl_shards_free(natsl_shards *s)
{
    natsl_free(s->inbox);
    natsl_free(s->reals);
    memset(s, 0, sizeof *s);
}

void natsl_shards_sum(const natsl_shards *s, float *flat)
{
    const size_t size = (size_t)s->size, most = round_floats(s);
    if (size == 1) return;
    MPI_Datatype strided; /* the same piece of every shard, one after the other */
    for (size_t at = 0, n; at < s->each; at += n) {
        n = s->each - at < most ? s->each - at : most;
        natsl_worked();
        MPI_Datatype piece;
        NATSL_MPI(MPI_Type_contiguous((int)n, MPI_FLOAT, &piece));
        NATSL_MPI(MPI_Type_create_resized(piece, 0, (MPI_Aint)(s->each * sizeof(float)), &strided));
        NATSL_MPI(MPI_Type_commit(&strided));
        NATSL_MPI(MPI_Alltoall(flat + at, 1, strided, s->inbox, (int)n, MPI_FLOAT, s->comm));
        NATSL_MPI(MPI_Type_free(&strided));
        NATSL_MPI(MPI_Type_free(&piece));
        float *own = flat + (size_t)s->rank * s->each + at;
        memcpy(own, s->inbox, n * sizeof(float));
        for (size_t r = 1; r < size; r++) {
            for (size_t i = 0; i < n; i++) own[i] += s->inbox[r * n + i];
        }
    }
}

void natsl_shards_gather(const natsl_shards *s, float *flat)
{
    if (s->size == 1) return;
    NATSL_MPI(MPI_Allgather(MPI_IN_PLACE, 0, MPI_DATATYPE_NULL, flat, (int)s->each, MPI_FLOAT, s->comm));
}

double natsl_shards_sum_real(const natsl_shards *s, double mine)
{
    double sum = 0.0;
    NATSL_MPI(MPI_Allgather(&mine, 1, MPI_DOUBLE, s->reals, 1, MPI_DOUBLE, s->comm));
    for (int r = 0; r < s->size; r++) sum += s->reals[r];
    return sum;
}
