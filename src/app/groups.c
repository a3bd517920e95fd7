/* groups.c - see groups.h. */
#include "groups.h"

#include "agree.h"
#include "context_impl.h"
#include "core.h"
#include "place.h"
#include "signals.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

/* Of the memory that a node has free: the rest is for what is not counted. */
#define MEMORY_SHARE 0.8

#define TAG_STOP 1

/* ---- memory ---------------------------------------------------------------------------------------------------------- */

/** A number of bytes or kilobytes in a file of the kernel's, after `key` ("": at its beginning); -1: there is none. */
static double number_in(const char *path, const char *key)
{
    char line[256];
    double value = -1.0;
    FILE *file = fopen(path, "r");
    while (file && value < 0.0 && fgets(line, sizeof line, file)) {
        unsigned long long n = 0;
        if (strncmp(line, key, strlen(key)) == 0 && sscanf(line + strlen(key), "%llu", &n) == 1) value = (double)n;
    }
    if (file) (void)fclose(file);
    return value;
}

/** Bytes that this node's processes may still take together; -1: nobody knows. */
static double free_bytes(void)
{
    double bytes = number_in("/proc/meminfo", "MemAvailable:");
    if (bytes >= 0.0) bytes *= 1024.0;
    const double most = number_in("/sys/fs/cgroup/memory.max", ""),
                 used = number_in("/sys/fs/cgroup/memory.current", "");
    if (most >= 0.0 && used >= 0.0) {
        const double left = most > used ? most - used : 0.0;
        if (bytes < 0.0 || left < bytes) bytes = left;
    }
    return bytes;
}

double natsl_groups_rank_bytes(const natsl_app *app, const natsl_groups_need *need, int ranks, int64_t tokens,
                               size_t *weights)
{
    natsl_plan plan;
    if (natsl_plan_make(&need->info->config, (natsl_storage)app->args.weights, ranks, need->options, tokens, &plan) !=
        NATSL_OK)
        return -1.0;
    *weights = plan.weight_bytes;
    return natsl_plan_rank_bytes(&plan, 1) - (double)plan.weight_bytes +
           ((double)plan.kept_bytes_all - (double)plan.kept_bytes) + (need->twice ? (double)plan.kept_bytes_all : 0.0);
}

void natsl_groups_choose(natsl_app *app, const natsl_groups_need *need, const int64_t *lengths, size_t n, int *ranks)
{
    MPI_Comm node = MPI_COMM_NULL;
    int on_node = 1;
    NATSL_MPI(MPI_Comm_split_type(app->comm, MPI_COMM_TYPE_SHARED, app->rank, MPI_INFO_NULL, &node));
    NATSL_MPI(MPI_Comm_size(node, &on_node));
    NATSL_MPI(MPI_Barrier(node)); /* what is free is looked at when nobody on the node takes more yet */
    const double bytes = free_bytes();
    NATSL_MPI(MPI_Comm_free(&node));
    for (size_t i = 0; i < n; i++) {
        while (ranks[i] < app->size && bytes >= 0.0) {
            size_t weights = 0;
            const double each = natsl_groups_rank_bytes(app, need, ranks[i], lengths[i], &weights);
            const double room = MEMORY_SHARE * bytes - (need->weights_loaded ? 0.0 : (double)weights);
            if (each < 0.0 || each * on_node <= room) break;
            ranks[i] *= 2;
        }
        if (ranks[i] > app->size) ranks[i] = app->size;
    }
    for (size_t at = 0; at < n; at += (size_t)1 << 30) {
        const size_t count = n - at < (size_t)1 << 30 ? n - at : (size_t)1 << 30;
        NATSL_MPI(MPI_Allreduce(MPI_IN_PLACE, ranks + at, (int)count, MPI_INT, MPI_MAX, app->comm));
    }
}

/* ---- groups ---------------------------------------------------------------------------------------------------------- */

void natsl_groups_split(natsl_app *app, int per, natsl_groups *g)
{
    *g = (natsl_groups){.app = app, .per = per, .count = app->size / per, .number = app->rank / per};
    if (g->number >= g->count) g->number = g->count - 1; /* ranks that are left over */
    NATSL_MPI(MPI_Comm_dup(app->comm, &g->control));
    NATSL_MPI(MPI_Comm_set_errhandler(g->control, MPI_ERRORS_RETURN));
    NATSL_MPI(MPI_Comm_split(app->comm, g->number, app->rank, &g->comm));
    NATSL_MPI(MPI_Comm_set_errhandler(g->comm, MPI_ERRORS_RETURN));
    NATSL_MPI(MPI_Comm_rank(g->comm, &g->rank));
    NATSL_MPI(MPI_Comm_size(g->comm, &g->size));
    g->leads = g->rank == 0;
}

natsl_app natsl_groups_app(const natsl_groups *g)
{
    natsl_app app = *g->app;
    app.comm = g->comm;
    app.rank = g->rank;
    app.size = g->size;
    app.summary = NULL;
    app.args.log_json = NULL;
    return app;
}

void natsl_groups_free(natsl_groups *g)
{
    NATSL_MPI(MPI_Comm_free(&g->comm));
    NATSL_MPI(MPI_Comm_free(&g->control));
}

int natsl_groups_stopped(natsl_groups *g)
{
    if (g->leads && !g->stop) NATSL_MPI(MPI_Iprobe(MPI_ANY_SOURCE, TAG_STOP, g->control, &g->stop, MPI_STATUS_IGNORE));
    return g->stop || natsl_signals_caught();
}

int natsl_groups_asked_to_stop(natsl_groups *g)
{
    int stop = natsl_groups_stopped(g);
    NATSL_MPI(MPI_Bcast(&stop, 1, MPI_INT, 0, g->comm));
    return stop;
}

void natsl_groups_tell_to_stop(natsl_groups *g)
{
    if (g->told) return;
    g->told = 1;
    for (int other = 0; other < g->count; other++) { /* messages without contents need no receiver to leave */
        if (other * g->per != g->app->rank)
            NATSL_MPI(MPI_Send(NULL, 0, MPI_BYTE, other * g->per, TAG_STOP, g->control));
    }
}

/** Until all groups are at their end. The error text stays. */
static void wait_for_others(natsl_groups *g)
{
    const struct timespec moment = {.tv_nsec = 5000000};
    MPI_Request request;
    char text[1024];
    (void)snprintf(text, sizeof text, "%s", natsl_error_text());
    natsl_wait_for("the other groups", -1);
    NATSL_MPI(MPI_Ibarrier(g->control, &request));
    for (int there = 0;;) {
        NATSL_MPI(MPI_Test(&request, &there, MPI_STATUS_IGNORE));
        if (there) break;
        if (natsl_signals_caught()) natsl_groups_tell_to_stop(g);
        if (g->meanwhile) g->meanwhile(g->user);
        (void)nanosleep(&moment, NULL);
    }
    natsl_wait_for(NULL, -1);
    natsl_error_set(text);
}

natsl_status natsl_groups_agree(natsl_groups *g, natsl_status mine)
{
    int tellers = 0;
    if (mine != NATSL_OK && g->leads) natsl_groups_tell_to_stop(g);
    wait_for_others(g);
    /* A group that was told to stop has no error of its own: whoever told it has a worse one, or a signal. */
    if (mine == NATSL_INTERRUPTED) natsl_error_set("interrupted");
    natsl_status st = natsl_app_agree(g->app, mine == NATSL_INTERRUPTED ? NATSL_OK : mine);
    if (st == NATSL_OK) st = natsl_app_agree(g->app, mine);
    /* Nobody tells any more; what was told too late to matter is received. */
    NATSL_MPI(MPI_Allreduce(&g->told, &tellers, 1, MPI_INT, MPI_SUM, g->control));
    for (int left = tellers - g->told; g->leads && left > 0; left--)
        NATSL_MPI(MPI_Recv(NULL, 0, MPI_BYTE, MPI_ANY_SOURCE, TAG_STOP, g->control, MPI_STATUS_IGNORE));
    return st;
}
