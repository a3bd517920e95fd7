/* journal.c - the JSON log. See journal.h. */
#include "journal.h"

#include "agree.h"
#include "core.h"
#include "signals.h"

#include <cblas.h>
#include <errno.h>
#include <fcntl.h>
#include <natsl/version.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int log_fd = -1;
static const char *log_path; /* of argv */

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

natsl_status natsl_journal_open(natsl_app *app)
{
    natsl_status st = NATSL_OK;
    const char *path = app->args.log_json;
    if (!path) return NATSL_OK;
    if (app->rank == 0) {
        log_fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0666);
        log_path = path;
        if (log_fd < 0) st = natsl_fail(NATSL_ERR_IO, "--log-json: cannot write %s: %s", path, strerror(errno));
    }
    if ((st = natsl_agree(app->comm, st)) != NATSL_OK) return st;
    json_t *where = hosts(app);
    if (app->rank != 0) return NATSL_OK;
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

void natsl_journal_write(natsl_app *app, const char *event, json_t *object)
{
    static int failed;
    if (log_fd < 0 || !object || failed) {
        json_decref(object);
        return;
    }
    json_t *line = json_pack("{s:s, s:f}", "event", event, "time_s", natsl_now_s() - app->start_s);
    if (line) (void)json_object_update(line, object);
    char *text = line ? json_dumps(line, JSON_COMPACT) : NULL;
    const size_t length = text ? strlen(text) : 0;
    if (text) {
        text[length] = '\n'; /* over the NUL: one write, so that no reader sees half a line */
        failed = write(log_fd, text, length + 1) != (ssize_t)(length + 1);
        if (failed) fprintf(stderr, "warning: --log-json: writing %s failed, the log ends here\n", log_path);
    }
    free(text);
    json_decref(line);
    json_decref(object);
}

void natsl_journal_close(natsl_app *app, natsl_status status)
{
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
