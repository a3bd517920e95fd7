/* journal.c - the JSON log. See journal.h. */
#include "journal.h"

#include "agree.h"
#include "core.h"
#include "signals.h"
#include "whole_file.h"

#include <cblas.h>
#include <errno.h>
#include <fcntl.h>
#include <natsl/version.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define BLOCK_BYTES 65536
#define TAG_LINES   3
#define LOG_BEGIN   "{\"event\":\"start\"" /* of a log's first line */

static int log_fd = -1;
static int log_failed;
static const char *log_path; /* of argv */
static int own_rank = -1;    /* of a rank that keeps its lines for rank 0; -1: it does not */
static char *kept;           /* [kept_length] these lines */
static size_t kept_length;

/** Hosts with their number of ranks, in rank order. Collective; NULL on other ranks than 0, or out of memory. */
static json_t *hosts(natsl_app *app)
{
    char name[MPI_MAX_PROCESSOR_NAME] = {0}, *all = NULL;
    int length = 0;
    NATSL_MPI(MPI_Get_processor_name(name, &length));
    if (app->rank == 0) all = natsl_calloc((size_t)app->size, sizeof name, "host names");
    /* without memory on rank 0 the names go nowhere, but the call must be made */
    int have = all != NULL;
    NATSL_MPI(MPI_Bcast(&have, 1, MPI_INT, 0, app->comm));
    if (!have) return NULL;
    NATSL_MPI(MPI_Gather(name, sizeof name, MPI_CHAR, all, sizeof name, MPI_CHAR, 0, app->comm));
    if (app->rank != 0) return NULL;
    json_t *list = json_object();
    for (int r = 0; list && r < app->size; r++) {
        const char *host = all + (size_t)r * sizeof name;
        const json_int_t before = json_integer_value(json_object_get(list, host)); /* 0 when not there yet */
        (void)json_object_set_new(list, host, json_integer(before + 1));
    }
    natsl_free(all);
    return list;
}

/** That the log is not written over a file that is read, which would be empty before anybody reads it, nor over any other that is no
 * log. */
static natsl_status check_log(const natsl_args *a)
{
    const char *const inputs[] = {a->model, a->config, a->context, a->tokenizer_file, a->haystack, a->squad, a->hotpot};
    const size_t n = sizeof inputs / sizeof inputs[0];
    struct stat there;
    if (stat(a->log_json, &there) != 0 || !S_ISREG(there.st_mode)) return NATSL_OK;
    for (size_t i = 0; i < n + (size_t)a->n_operands; i++) {
        const char *path = i < n ? inputs[i] : a->operands[i - n];
        if (path && path[0] == '@') path++; /* a list */
        if (path && natsl_same_file(path, a->log_json))
            return natsl_fail(NATSL_ERR_USAGE, "--log-json: %s is also read, expected another file", a->log_json);
    }
    char head[sizeof LOG_BEGIN] = "";
    FILE *file = fopen(a->log_json, "rb");
    const size_t have = file ? fread(head, 1, sizeof LOG_BEGIN - 1, file) : 0;
    if (file) (void)fclose(file);
    if (have > 0 && strcmp(head, LOG_BEGIN) != 0)
        return natsl_fail(NATSL_ERR_USAGE, "--log-json: %s is there and is no log, expected another file", a->log_json);
    return NATSL_OK;
}

natsl_status natsl_journal_open(natsl_app *app)
{
    natsl_status st = NATSL_OK;
    const char *path = app->args.log_json;
    if (!path) return NATSL_OK;
    if (app->rank == 0 && (st = check_log(&app->args)) == NATSL_OK) {
        log_fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0666);
        log_path = path;
        if (log_fd < 0) st = natsl_fail(NATSL_ERR_IO, "--log-json: cannot write %s: %s", path, strerror(errno));
    }
    if ((st = natsl_agree(app->comm, st)) != NATSL_OK) return st;
    json_t *where = hosts(app);
    if (app->rank != 0) {
        own_rank = app->rank;
        return NATSL_OK;
    }
    natsl_signals_log(log_fd);
    json_t *words = json_array();
    for (int i = 0; words && i < app->argc; i++) {
        json_t *word = json_string(app->argv[i]); /* NULL when it is no UTF-8 */
        (void)json_array_append_new(words, word ? word : json_string("(not UTF-8)"));
    }
    natsl_journal_write(app, "start",
                        json_pack("{s:s, s:s, s:o, s:i, s:i, s:o?, s:s, s:s}", "version", NATSL_VERSION_TEXT, "command",
                                  app->command->name, "arguments", words, "ranks", app->size, "threads",
                                  (int)app->args.threads, "hosts", where, "blas_core", openblas_get_corename(),
                                  "warning", app->warning ? app->warning : ""));
    return NATSL_OK;
}

static void write_lines(const char *text, size_t length)
{
    if (log_failed) return;
    log_failed = write(log_fd, text, length) != (ssize_t)length;
    if (log_failed) fprintf(stderr, "warning: --log-json: writing %s failed, the log ends here\n", log_path);
}

static void keep_line(const char *text, size_t length)
{
    char *more = realloc(kept, kept_length + length);
    if (!more) return; /* the work matters more */
    memcpy(more + kept_length, text, length);
    kept = more;
    kept_length += length;
}

void natsl_journal_write(natsl_app *app, const char *event, json_t *object)
{
    const int keeps = own_rank >= 0 && app->rank == 0; /* a group's leader */
    if ((log_fd < 0 && !keeps) || !object || log_failed) {
        json_decref(object);
        return;
    }
    json_t *line = json_pack("{s:s, s:f}", "event", event, "time_s", natsl_now_s() - app->start_s);
    if (line) (void)json_object_update(line, object);
    if (line && keeps) (void)json_object_set_new(line, "rank", json_integer(own_rank));
    char *text = line ? json_dumps(line, JSON_COMPACT) : NULL;
    const size_t length = text ? strlen(text) : 0;
    if (text) {
        text[length] = '\n'; /* over the NUL: one write, so that no reader sees half a line */
        (keeps ? keep_line : write_lines)(text, length + 1);
    }
    free(text);
    json_decref(line);
    json_decref(object);
}

void natsl_journal_gather(natsl_app *app)
{
    char block[BLOCK_BYTES];
    if (!app->args.log_json) return;
    for (int rank = 1; rank < app->size; rank++) { /* few lines, of few ranks: one after the other */
        uint64_t length = kept_length;
        if (app->rank != 0 && app->rank != rank) continue;
        if (app->rank == rank) {
            NATSL_MPI(MPI_Send(&length, 1, MPI_UINT64_T, 0, TAG_LINES, app->comm));
            for (size_t at = 0; at < kept_length; at += BLOCK_BYTES) {
                const size_t n = kept_length - at < BLOCK_BYTES ? kept_length - at : BLOCK_BYTES;
                NATSL_MPI(MPI_Send(kept + at, (int)n, MPI_CHAR, 0, TAG_LINES, app->comm));
            }
            continue;
        }
        NATSL_MPI(MPI_Recv(&length, 1, MPI_UINT64_T, rank, TAG_LINES, app->comm, MPI_STATUS_IGNORE));
        for (uint64_t at = 0; at < length; at += BLOCK_BYTES) {
            const size_t n = length - at < BLOCK_BYTES ? (size_t)(length - at) : BLOCK_BYTES;
            NATSL_MPI(MPI_Recv(block, (int)n, MPI_CHAR, rank, TAG_LINES, app->comm, MPI_STATUS_IGNORE));
            write_lines(block, n);
        }
    }
    free(kept);
    kept = NULL;
    kept_length = 0;
}

void natsl_journal_close(natsl_app *app, natsl_status status)
{
    free(kept);
    kept = NULL;
    if (log_fd < 0) return;
    json_t *end = app->summary ? json_incref(app->summary) : json_object();
    if (end) {
        (void)json_object_set_new(end, "status", json_integer(status));
        if (status != NATSL_OK) {
            json_t *text = json_string(natsl_error_text());
            (void)json_object_set_new(end, "error", text ? text : json_string(natsl_status_name(status)));
        }
    }
    natsl_journal_write(app, "end", end);
    natsl_signals_log(-1);
    (void)close(log_fd);
    log_fd = -1;
}
