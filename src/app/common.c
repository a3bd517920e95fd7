/* common.c - small things that commands share. See app.h. */
#define _GNU_SOURCE /* CPU sets */
#include "agree.h"
#include "app.h"
#include "core.h"
#include "text_out.h"
#include "tokenizer.h"
#include "whole_file.h"

#include <errno.h>
#include <omp.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

natsl_status natsl_stdout_flush(void)
{
    errno = 0;
    if (fflush(stdout) == 0 && !ferror(stdout)) return NATSL_OK;
    if (errno == EPIPE) {
        natsl_error_set("");
        return NATSL_INTERRUPTED;
    }
    return natsl_fail(NATSL_ERR_IO, "standard output: %s", errno ? strerror(errno) : "writing failed");
}

natsl_status natsl_app_agree(natsl_app *app, natsl_status mine) { return natsl_agree(app->comm, mine); }

/** A line about more threads than cores, or NULL: on the node (all ranks' threads against the cores that any of them may use), or in
 * a rank that is bound to fewer cores than it has threads. Collective. */
static void warn_of_threads(natsl_app *app, int threads, int own_cores, int node_ranks, int node_cores)
{
    static char text[512];
    /* how far a rank is beyond its cores, then how far a node is beyond its own; the worst of all ranks counts */
    struct {
        double excess;
        int rank;
    } mine[2] = {{(double)threads / own_cores, app->rank}, {(double)threads * node_ranks / node_cores, app->rank}},
      worst[2];
    int about[3] = {own_cores, node_ranks, node_cores};
    NATSL_MPI(MPI_Allreduce(mine, worst, 2, MPI_DOUBLE_INT, MPI_MAXLOC, app->comm));
    const int node = worst[1].excess > worst[0].excess;
    if (worst[node].excess <= 1.0) return;
    NATSL_MPI(MPI_Bcast(about, 3, MPI_INT, worst[node].rank, app->comm));
    if (node)
        (void)snprintf(
            text, sizeof text,
            "%d rank%s with %d thread%s each share %d core%s and will wait for one another; use fewer, or at least "
            "OMPI_MCA_mpi_yield_when_idle=1 and OMP_WAIT_POLICY=passive",
            about[1], about[1] == 1 ? "" : "s", threads, threads == 1 ? "" : "s", about[2], about[2] == 1 ? "" : "s");
    else
        (void)snprintf(text, sizeof text,
                       "rank %d may use %d core%s but has %d threads; give each rank its cores, as with mpirun "
                       "--map-by slot:PE=%d or srun --cpus-per-task=%d",
                       worst[0].rank, about[0], about[0] == 1 ? "" : "s", threads, threads, threads);
    app->threads_warning = text;
}

void natsl_app_choose_threads(natsl_app *app)
{
    int threads = app->args.threads > 0 ? (int)app->args.threads : omp_get_max_threads();
    cpu_set_t mine;
    CPU_ZERO(&mine);
    const int known = sched_getaffinity(0, sizeof mine, &mine) == 0;
    if (app->args.threads == 0 && !getenv("OMP_NUM_THREADS") && known) threads = CPU_COUNT(&mine);
    MPI_Comm node;
    int node_size = 1, sharing = 0, own_cores = 0, node_cores = 0;
    NATSL_MPI(MPI_Comm_split_type(app->comm, MPI_COMM_TYPE_SHARED, app->rank, MPI_INFO_NULL, &node));
    NATSL_MPI(MPI_Comm_size(node, &node_size));
    cpu_set_t *all = natsl_calloc((size_t)node_size, sizeof *all, "affinity masks");
    int have = all != NULL;
    NATSL_MPI(MPI_Allreduce(MPI_IN_PLACE, &have, 1, MPI_INT, MPI_MIN, node));
    if (have) {
        NATSL_MPI(MPI_Allgather(&mine, sizeof mine, MPI_BYTE, all, sizeof mine, MPI_BYTE, node));
        for (int r = 0; r < node_size; r++) sharing += CPU_EQUAL(&all[r], &mine) != 0;
        for (int r = 1; r < node_size; r++) CPU_OR(&all[0], &all[0], &all[r]);
        own_cores = CPU_COUNT(&mine);
        node_cores = CPU_COUNT(&all[0]);
        if (app->args.threads == 0 && !getenv("OMP_NUM_THREADS")) threads /= sharing;
    }
    natsl_free(all);
    NATSL_MPI(MPI_Comm_free(&node));
    if (threads < 1) threads = 1;
    if (threads > 4096) threads = 4096;
    NATSL_MPI(MPI_Allreduce(MPI_IN_PLACE, &threads, 1, MPI_INT, MPI_MIN, app->comm));
    app->args.threads = threads;
    have = known && own_cores > 0;
    NATSL_MPI(MPI_Allreduce(MPI_IN_PLACE, &have, 1, MPI_INT, MPI_MIN, app->comm));
    if (have) warn_of_threads(app, threads, own_cores, node_size, node_cores);
}

/** The file's directory, in `text` [size]. */
static natsl_status directory_of(const char *path, char *text, size_t size)
{
    const char *slash = strrchr(path, '/');
    const size_t length = slash ? (size_t)(slash - path) : 0;
    if (length >= size)
        return natsl_fail(NATSL_ERR_USAGE, "--out: the path has %zu bytes, expected fewer", strlen(path));
    memcpy(text, path, length);
    text[length] = '\0';
    if (length == 0) (void)snprintf(text, size, "%s", slash ? "/" : ".");
    return NATSL_OK;
}

static natsl_status check_out(const char *out, const char *const *inputs, int n_inputs)
{
    char directory[4096];
    struct stat there;
    natsl_status st = directory_of(out, directory, sizeof directory);
    if (st != NATSL_OK) return st;
    if (stat(directory, &there) != 0) return natsl_fail(NATSL_ERR_IO, "%s: %s", directory, strerror(errno));
    if (!S_ISDIR(there.st_mode))
        return natsl_fail(NATSL_ERR_IO, "%s: is no directory, expected one to write to", directory);
    if (access(directory, W_OK | X_OK) != 0)
        return natsl_fail(NATSL_ERR_IO, "%s: cannot be written to: %s", directory, strerror(errno));
    if (stat(out, &there) != 0) {
        if (errno == ENOENT) return NATSL_OK;
        return natsl_fail(NATSL_ERR_IO, "%s: %s", out, strerror(errno));
    }
    if (!S_ISREG(there.st_mode))
        return natsl_fail(NATSL_ERR_IO, "%s: is %s, expected a file to write", out,
                          S_ISDIR(there.st_mode) ? "a directory" : "not a regular file");
    for (int i = 0; i < n_inputs; i++) {
        if (inputs[i] && strcmp(inputs[i], "-") != 0 && natsl_same_file(inputs[i], out))
            return natsl_fail(NATSL_ERR_USAGE, "--out: %s is also read, expected another file", out);
    }
    return NATSL_OK;
}

natsl_status natsl_app_check_out(natsl_app *app, const char *out, const char *const *inputs, int n_inputs)
{
    return natsl_app_agree(app, app->rank == 0 ? check_out(out, inputs, n_inputs) : NATSL_OK);
}

natsl_status natsl_app_read_config(const char *path, natsl_config *config)
{
    char *text = NULL;
    size_t length = 0;
    natsl_status st = natsl_whole_file(path, NATSL_MAX_CONFIG_BYTES, "a configuration", &text, &length);
    if (st == NATSL_OK) st = natsl_config_parse(text, length, path, config);
    natsl_free(text);
    return st;
}

natsl_status natsl_app_whole_file(natsl_app *app, const char *path, size_t limit, const char *what, char **bytes,
                                  size_t *length)
{
    *bytes = NULL;
    *length = 0;
    const natsl_status st = app->rank == 0 ? natsl_whole_file(path, limit, what, bytes, length) : NATSL_OK;
    return natsl_agree_bytes(app->comm, st, what, bytes, length);
}

natsl_status natsl_app_tokenizer_file(natsl_app *app, const char *path, natsl_tokenizer **out)
{
    char *json = NULL;
    size_t length = 0;
    *out = NULL;
    natsl_status st = natsl_app_whole_file(app, path, NATSL_MAX_TOKENIZER_BYTES, "a tokenizer.json", &json, &length);
    if (st == NATSL_OK) st = natsl_app_agree(app, natsl_tokenizer_create("json", 0, json, length, path, out));
    natsl_free(json);
    if (st != NATSL_OK) natsl_tokenizer_destroy(out);
    return st;
}

natsl_status natsl_app_write_json(const json_t *json, const char *path)
{
    natsl_text_out out;
    const natsl_status st = natsl_text_out_open(path, &out);
    if (st != NATSL_OK) return st;
    const int bad = json_dumpf(json, out.file, JSON_INDENT(1)) != 0 || fputc('\n', out.file) == EOF;
    return natsl_text_out_close(&out, bad);
}

const char *natsl_format_bytes(double bytes, char text[32])
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
    size_t u = 0;
    for (; bytes >= 1024.0 && u + 1 < sizeof units / sizeof units[0]; u++) bytes /= 1024.0;
    (void)snprintf(text, 32, u == 0 ? "%.0f %s" : "%.1f %s", bytes, units[u]);
    return text;
}

const char *natsl_format_seconds(double seconds, char text[32])
{
    const long long s = seconds < 0.0 ? 0 : seconds > 1e9 ? 1000000000 : (long long)(seconds + 0.5);
    if (s >= 3600) (void)snprintf(text, 32, "%lld:%02lld:%02lld", s / 3600, s / 60 % 60, s % 60);
    else (void)snprintf(text, 32, "%02lld:%02lld", s / 60, s % 60);
    return text;
}
