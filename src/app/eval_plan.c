/* eval_plan.c - how many ranks read a sample together, and what an evaluation takes. See eval_job.h. */
#include "eval_job.h"

#include "agree.h"
#include "context_impl.h"
#include "core.h"
#include "machine.h"

#include <stdio.h>
#include <string.h>

/* Of the memory that a node has free: the rest is for what is not counted. */
#define MEMORY_SHARE 0.8

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

/** Bytes of a rank without weights if every chunk were kept; negative: the plan cannot be made. */
static double rank_bytes(const natsl_eval_job *j, int ranks, int64_t tokens, size_t *weights)
{
    natsl_plan plan;
    if (natsl_plan_make(&j->info.config, (natsl_storage)j->app->args.weights, ranks, &j->options, tokens, &plan) !=
        NATSL_OK)
        return -1.0;
    *weights = plan.weight_bytes;
    return natsl_plan_rank_bytes(&plan, 1) - (double)plan.weight_bytes +
           ((double)plan.kept_bytes_all - (double)plan.kept_bytes) +
           (j->shares ? (double)plan.kept_bytes_all : 0.0); /* a context that is branched is there twice */
}

natsl_status natsl_eval_choose_ranks(natsl_eval_job *j, int weights_loaded)
{
    natsl_app *app = j->app;
    MPI_Comm node = MPI_COMM_NULL;
    int on_node = 1;
    NATSL_MPI(MPI_Comm_split_type(app->comm, MPI_COMM_TYPE_SHARED, app->rank, MPI_INFO_NULL, &node));
    NATSL_MPI(MPI_Comm_size(node, &on_node));
    NATSL_MPI(MPI_Barrier(node)); /* what is free is looked at when nobody on the node takes more yet */
    const double bytes = free_bytes();
    NATSL_MPI(MPI_Comm_free(&node));
    for (size_t i = 0; i < j->n_lengths; i++) {
        int ranks = app->args.ranks_per_sample > 0 ? (int)app->args.ranks_per_sample : 1;
        while (app->args.ranks_per_sample == 0 && ranks < app->size && bytes >= 0.0) {
            size_t weights = 0;
            const double each = rank_bytes(j, ranks, j->lengths[i], &weights);
            const double room = MEMORY_SHARE * bytes - (weights_loaded ? 0.0 : (double)weights);
            if (each < 0.0 || each * on_node <= room) break;
            ranks = 2 * ranks < app->size ? 2 * ranks : app->size;
        }
        j->per_sample[i] = ranks < app->size ? ranks : app->size;
    }
    NATSL_MPI(MPI_Allreduce(MPI_IN_PLACE, j->per_sample, (int)j->n_lengths, MPI_INT, MPI_MAX, app->comm));
    return NATSL_OK;
}

int natsl_eval_groups(const natsl_eval_job *j, size_t i) { return j->app->size / j->per_sample[i]; }

natsl_status natsl_eval_print_plan(natsl_eval_job *j)
{
    natsl_app *app = j->app;
    natsl_options complete;
    natsl_cost_machine machine;
    double all_s = 0.0;
    char a[32], b[32];
    natsl_status st = natsl_options_complete(&j->info.config, app->size, &j->options, &complete);
    if ((st = natsl_app_agree(app, st)) != NATSL_OK) return st;
    if ((st = natsl_machine_find(app->comm, &j->info.config, &complete, (natsl_storage)app->args.weights, &machine)) !=
        NATSL_OK)
        return st;
    if ((st = natsl_eval_choose_ranks(j, 0)) != NATSL_OK) return st;
    for (size_t i = 0; i < j->n_lengths && st == NATSL_OK && app->rank == 0; i++) {
        natsl_plan plan;
        natsl_prediction prediction;
        size_t weights = 0;
        int64_t samples = 0, most = 0;
        const int64_t groups = natsl_eval_groups(j, i);
        for (size_t t = 0; t < j->n_tasks; t++) {
            const int64_t n = natsl_eval_samples_of(j, t, j->lengths[i]);
            samples += n;
            if (n > most) most = n;
        }
        st = natsl_plan_make(&j->info.config, (natsl_storage)app->args.weights, j->per_sample[i], &j->options,
                             j->lengths[i], &plan);
        if (st == NATSL_OK)
            st = natsl_plan_predict(&j->info.config, &j->options, &machine, 0, j->lengths[i], j->info.kept_share, 0,
                                    &plan, &prediction);
        if (st != NATSL_OK) break;
        const double seconds = prediction.seconds * (double)((samples + groups - 1) / groups);
        all_s += seconds;
        printf("length      %lld: %zu task%s of %lld samples, %d rank%s per sample, %lld group%s side by side\n",
               (long long)j->lengths[i], j->n_tasks, j->n_tasks == 1 ? "" : "s", (long long)most, j->per_sample[i],
               j->per_sample[i] == 1 ? "" : "s", (long long)groups, groups == 1 ? "" : "s");
        printf("            reading a sample %.3g s, all of them %s; at most %s per rank beside the weights (%s per "
               "node)\n",
               prediction.seconds, natsl_format_seconds(seconds, a),
               natsl_format_bytes(rank_bytes(j, j->per_sample[i], j->lengths[i], &weights), b),
               natsl_format_bytes((double)plan.weight_bytes, (char[32]){0}));
    }
    if (st == NATSL_OK && app->rank == 0) {
        printf("in all      %s, without generating\n", natsl_format_seconds(all_s, a));
        st = natsl_stdout_flush();
    }
    return natsl_app_agree(app, st);
}
