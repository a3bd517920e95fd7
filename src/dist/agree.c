/* agree.c - agreement on errors. See agree.h. */
#include "agree.h"

#include "place.h"
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* A rank whose part of a collective step of a file has failed waits this long for the others to come out of theirs. */
#define PATIENCE_S 2.0

/** "natsl: rank 2 on node7: " before a line that one rank prints by itself. */
static const char *who(void)
{
    static char text[400];
    (void)snprintf(text, sizeof text, "natsl: %s%s", natsl_self(), natsl_self()[0] ? ": " : "");
    return text;
}

void natsl_mpi_die(int code, const char *call, const char *file, int line)
{
    char text[MPI_MAX_ERROR_STRING] = "unknown error";
    int length = 0;
    (void)MPI_Error_string(code, text, &length);
    (void)fprintf(stderr, "%s%s:%d: %s: %s\n", who(), file, line, call, text);
    (void)fflush(stderr);
    natsl_temporary_remove();
    (void)MPI_Abort(MPI_COMM_WORLD, NATSL_ERR_INTERNAL);
}

void natsl_die(natsl_status st)
{
    (void)fprintf(stderr, "%s%s\n", who(), natsl_error_text());
    (void)fflush(stderr);
    natsl_temporary_remove();
    (void)MPI_Abort(MPI_COMM_WORLD, (int)st);
}

void natsl_die_nomem(void) { natsl_die(NATSL_ERR_NOMEM); }

/** The error text goes to all with the name of the rank that met it, where that may say something: its memory, its file system, its
 * node. What is wrong with an option or a file is the same everywhere, and rank 0 found it for all. */
static void name_rank(natsl_status st, char *text, size_t size)
{
    const size_t length = strlen(text), own = strlen(natsl_self());
    const int local = st == NATSL_ERR_NOMEM || st == NATSL_ERR_IO || st == NATSL_ERR_INTERNAL;
    if (!local || own == 0 || length + own + 4 > size) return;
    if (length > 0 && text[length - 1] == ')' && strstr(text, " (rank ")) return; /* agreed on before */
    (void)snprintf(text + length, size - length, " (%s)", natsl_self());
}

/** The sum of an agreement: all know the worst status; its owner's text goes to all. */
static natsl_status spread_text(MPI_Comm comm, natsl_status worst, int rank, int owner, natsl_status mine)
{
    char text[1024] = {0};
    if (worst == NATSL_OK) return NATSL_OK;
    (void)snprintf(text, sizeof text, "%s", natsl_error_text());
    if (rank == owner) name_rank(mine, text, sizeof text);
    NATSL_MPI(MPI_Bcast(text, sizeof text, MPI_CHAR, owner, comm));
    text[sizeof text - 1] = '\0';
    natsl_error_set(text);
    return worst;
}

typedef struct vote {
    int status, rank;
} vote;

natsl_status natsl_agree(MPI_Comm comm, natsl_status mine)
{
    vote in = {(int)mine, 0}, out = {0, 0};
    NATSL_MPI(MPI_Comm_rank(comm, &in.rank));
    natsl_wait_for("all ranks to agree", -1);
    NATSL_MPI(MPI_Allreduce(&in, &out, 1, MPI_2INT, MPI_MAXLOC, comm));
    natsl_wait_for(NULL, -1);
    return spread_text(comm, (natsl_status)out.status, in.rank, out.rank, mine);
}

natsl_status natsl_agree_or_die(MPI_Comm comm, natsl_status mine)
{
    const double start = natsl_now_s();
    const struct timespec moment = {.tv_nsec = 200000};
    vote in = {(int)mine, 0}, out = {0, 0};
    MPI_Request request;
    int done = 0;
    NATSL_MPI(MPI_Comm_rank(comm, &in.rank));
    natsl_wait_for("all ranks to agree", -1);
    NATSL_MPI(MPI_Iallreduce(&in, &out, 1, MPI_2INT, MPI_MAXLOC, comm, &request));
    for (;;) {
        NATSL_MPI(MPI_Test(&request, &done, MPI_STATUS_IGNORE));
        if (done) break;
        const double waited_s = natsl_now_s() - start;
        if (mine != NATSL_OK && waited_s > PATIENCE_S) natsl_die(mine);
        if (waited_s > 0.01) (void)nanosleep(&moment, NULL);
    }
    natsl_wait_for(NULL, -1);
    return spread_text(comm, (natsl_status)out.status, in.rank, out.rank, mine);
}

natsl_status natsl_agree_bytes(MPI_Comm comm, natsl_status mine, const char *what, char **bytes, size_t *length)
{
    int rank = 0;
    NATSL_MPI(MPI_Comm_rank(comm, &rank));
    if (rank == 0 && mine == NATSL_OK && *length > INT_MAX)
        mine = natsl_fail(NATSL_ERR_INPUT, "%s of %zu bytes, expected less than 2 GiB", what, *length);
    natsl_status st = natsl_agree(comm, mine);
    if (st == NATSL_OK) {
        uint64_t n = rank == 0 ? *length : 0;
        NATSL_MPI(MPI_Bcast(&n, 1, MPI_UINT64_T, 0, comm));
        *length = (size_t)n;
        if (rank != 0 && !(*bytes = natsl_calloc(*length + 1, 1, what))) st = NATSL_ERR_NOMEM;
        st = natsl_agree(comm, st);
    }
    if (st == NATSL_OK) {
        NATSL_MPI(MPI_Bcast(*bytes, (int)*length, MPI_CHAR, 0, comm));
    } else {
        natsl_free(*bytes);
        *bytes = NULL;
        *length = 0;
    }
    return st;
}
