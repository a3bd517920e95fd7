/* mpi_suite.h - a table of tests on every rank of MPI_COMM_WORLD. Rank 0 reports, the others print what fails on them; the
 * exit code counts all ranks. A test that communicates uses no CU_..._FATAL: it would jump out of this rank and leave the
 * others waiting. */
#ifndef NATSL_TEST_MPI_SUITE_H
#define NATSL_TEST_MPI_SUITE_H

#include "../suite.h"

#include <mpi.h>

static int world_rank, world_size;

static inline int run_suite_mpi(int *argc, char ***argv, const char *name, const test_entry *tests, size_t count)
{
    int provided = 0;
    if (MPI_Init_thread(argc, argv, MPI_THREAD_FUNNELED, &provided) != MPI_SUCCESS) return 1;
    MPI_Comm_rank(MPI_COMM_WORLD, &world_rank);
    MPI_Comm_size(MPI_COMM_WORLD, &world_size);
    int failed = suite_failures(name, tests, count, world_rank == 0 ? CU_BRM_VERBOSE : CU_BRM_SILENT);
    MPI_Allreduce(MPI_IN_PLACE, &failed, 1, MPI_INT, MPI_MAX, MPI_COMM_WORLD);
    MPI_Finalize();
    return failed != 0;
}

#endif
