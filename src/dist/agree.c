/* agree.c - agreement on errors. See agree.h. */
#include "agree.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

void natsl_mpi_die(int code, const char *call, const char *file, int line)
{
    char text[MPI_MAX_ERROR_STRING] = "unknown error";
    int length = 0, rank = -1;
    (void)MPI_Error_string(code, text, &length);
    (void)MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    (void)fprintf(stderr, "natsl: rank %d, %s:%d: %s: %s\n", rank, file, line, call, text);
    (void)fflush(stderr);
    (void)MPI_Abort(MPI_COMM_WORLD, NATSL_ERR_INTERNAL);
}

void natsl_die_nomem(void)
{
    int rank = -1;
    (void)MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    (void)fprintf(stderr, "natsl: rank %d: %s\n", rank, natsl_error_text());
    (void)fflush(stderr);
    natsl_temporary_remove();
    (void)MPI_Abort(MPI_COMM_WORLD, NATSL_ERR_NOMEM);
}

natsl_status natsl_agree(MPI_Comm comm, natsl_status mine)
{
    struct {
        int status, rank;
    } in = {(int)mine, 0}, out = {0, 0};
    NATSL_MPI(MPI_Comm_rank(comm, &in.rank));
    NATSL_MPI(MPI_Allreduce(&in, &out, 1, MPI_2INT, MPI_MAXLOC, comm));
    if (out.status == NATSL_OK) return NATSL_OK;
    char text[1024] = {0};
    (void)snprintf(text, sizeof text, "%s", natsl_error_text());
    NATSL_MPI(MPI_Bcast(text, sizeof text, MPI_CHAR, out.rank, comm));
    text[sizeof text - 1] = '\0';
    natsl_error_set(text);
    return (natsl_status)out.status;
}
