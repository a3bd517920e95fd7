/* train_files.c - a training's directory: log, checkpoints, the trained model. See train_job.h. */
#include "agree.h"
#include "checkpoint.h"
#include "core.h"
#include "newest.h"
#include "seal.h"
#include "series.h"
#include "train_job.h"

#include <errno.h>
#include <fcntl.h>
#include <natsl/version.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#define PATH_BYTES 4096

static natsl_status path_of(const char *directory, const char *name, char *path)
{
    const int n = snprintf(path, PATH_BYTES, "%s/%s", directory, name);
    if (n < 0 || n >= PATH_BYTES) return natsl_fail(NATSL_ERR_USAGE, "--out: the path is too long");
    return NATSL_OK;
}

static natsl_status look(const char *directory, int *resumes)
{
    int64_t *steps = NULL;
    size_t count = 0;
    natsl_status st = natsl_series_directory(directory, "--out", "log, checkpoints and model");
    if (st == NATSL_OK) st = natsl_series_list(directory, &steps, &count);
    *resumes = st == NATSL_OK && count > 0;
    natsl_free(steps);
    return st;
}

natsl_status natsl_train_directory(natsl_app *app, const char *directory, int *resumes)
{
    *resumes = 0;
    const natsl_status st = natsl_app_agree(app, app->rank == 0 ? look(directory, resumes) : NATSL_OK);
    NATSL_MPI(MPI_Bcast(resumes, 1, MPI_INT, 0, app->comm));
    return st;
}

/* ---- log ------------------------------------------------------------------------------------------------------------------- */

natsl_status natsl_train_log_open(natsl_train_job *j)
{
    char path[PATH_BYTES];
    natsl_status st = NATSL_OK;
    if (j->app->rank == 0) {
        st = path_of(j->app->args.out, "log.jsonl", path);
        if (st == NATSL_OK && (j->log_fd = open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0666)) < 0)
            st = natsl_fail(NATSL_ERR_IO, "%s: %s", path, strerror(errno));
        /* two runs in one directory would remove each other's checkpoints; where there are no locks, the user must know */
        if (st == NATSL_OK && flock(j->log_fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK)
            st = natsl_fail(NATSL_ERR_USAGE, "--out: %s: another training runs there, expected a directory of its own",
                            j->app->args.out);
        if (st == NATSL_OK) { /* what killed runs have left half-written */
            natsl_series_sweep(j->app->args.out, NULL);
            natsl_series_sweep(j->app->args.out, "model.h5");
        }
        /* a line that a kill cut short ends here */
        char last = '\n';
        const off_t end = st == NATSL_OK ? lseek(j->log_fd, 0, SEEK_END) : 0;
        if (end > 0 && pread(j->log_fd, &last, 1, end - 1) == 1 && last != '\n' && write(j->log_fd, "\n", 1) != 1)
            st = natsl_fail(NATSL_ERR_IO, "%s: %s", path, strerror(errno));
    }
    return natsl_app_agree(j->app, st);
}

void natsl_train_log_close(natsl_train_job *j)
{
    if (j->log_fd >= 0) (void)close(j->log_fd);
    j->log_fd = -1;
}

void natsl_train_log(natsl_train_job *j, const char *event, json_t *object)
{
    json_t *line =
        j->log_fd >= 0 && object ? json_pack("{s:s, s:I}", "event", event, "step", (json_int_t)j->step) : NULL;
    if (line) (void)json_object_update(line, object);
    char *text = line ? json_dumps(line, JSON_COMPACT | JSON_REAL_PRECISION(9)) : NULL;
    const size_t length = text ? strlen(text) : 0;
    if (text) {
        text[length] = '\n'; /* over the NUL: one write, so that no reader sees half a line */
        if (write(j->log_fd, text, length + 1) != (ssize_t)(length + 1)) {
            fprintf(stderr, "warning: %s/log.jsonl: writing failed, the log ends here\n", j->app->args.out);
            natsl_train_log_close(j);
        }
    }
    free(text);
    json_decref(line);
    json_decref(object);
}

/* ---- checkpoints ------------------------------------------------------------------------------------------------------------ */

/** The weights and this rank's moments, for a file. */
static natsl_checkpoint state_of(natsl_train_job *j)
{
    const natsl_adamw *a = &j->adamw;
    const natsl_shards *s = a->shards;
    natsl_checkpoint c = {.step = j->step,
                          .updates = a->steps,
                          .weights = a->weights,
                          .first_moment = a->first,
                          .second_moment = a->second,
                          .first = (size_t)s->rank * s->each,
                          .last = (size_t)(s->rank + 1) * s->each,
                          .expected = j->last_expected,
                          .kept_share = j->kept_share,
                          .special = j->from.n_eos > 0 || j->from.bos_token >= 0 ? &j->from : NULL,
                          .json = j->json,
                          .json_length = j->json_length,
                          .spec = j->text};
    if (c.first > s->floats) c.first = s->floats;
    if (c.last > s->floats) c.last = s->floats;
    return c;
}

static natsl_status write_state(natsl_train_job *j, const char *path, natsl_checkpoint *c)
{
    char origin[128];
    (void)snprintf(origin, sizeof origin, "natsl train, version %s, step %lld", NATSL_VERSION_TEXT, (long long)j->step);
    return natsl_checkpoint_write(j->app->comm, path, &j->spec.model, j->tokenizer, origin,
                                  natsl_trainer_layout(j->trainer), c);
}

natsl_status natsl_train_save(natsl_train_job *j)
{
    char path[PATH_BYTES];
    natsl_checkpoint c = state_of(j);
    natsl_status st = natsl_series_path(j->app->args.out, j->step, path);
    if (st == NATSL_OK) st = write_state(j, path, &c);
    if (st != NATSL_OK) return st;
    j->saved_s = natsl_now_s();
    if (j->app->rank == 0) natsl_series_prune(j->app->args.out, (size_t)j->spec.checkpoint.keep);
    natsl_train_log(j, "checkpoint", json_pack("{s:s}", "file", strrchr(path, '/') + 1));
    return NATSL_OK;
}

/** Loads one checkpoint (natsl_newest_load). */
static natsl_status load(void *user, int64_t step, const char *path)
{
    natsl_train_job *j = user;
    natsl_checkpoint c = state_of(j);
    natsl_status st = natsl_seal_check(j->app->comm, path, 0); /* the first trainings' checkpoints have no seal */
    if (st != NATSL_OK) return st;
    c.spec = NULL;
    st = natsl_checkpoint_read(path, &j->spec.model, natsl_trainer_layout(j->trainer), &c);
    if (st == NATSL_OK && c.step != step)
        st = natsl_fail(NATSL_ERR_INPUT, "%s: says step %lld, its name another", path, (long long)c.step);
    if (st == NATSL_OK && step > j->spec.steps)
        st = natsl_fail(NATSL_ERR_USAGE, "%s: beyond the %lld steps that are configured", path,
                        (long long)j->spec.steps);
    if (st == NATSL_OK && !j->app->args.changed && strcmp(c.spec, j->text) != 0)
        st = natsl_fail(NATSL_ERR_USAGE,
                        "%s: was trained by another configuration than %s; give --changed to go on with that, or --out "
                        "another directory",
                        path, j->app->args.config);
    natsl_free(c.spec);
    st = natsl_app_agree(j->app, st);
    if (st != NATSL_OK) return st;
    j->step = c.step;
    j->adamw.steps = c.updates;
    j->last_expected = c.expected;
    j->kept_share = c.kept_share;
    return NATSL_OK;
}

natsl_status natsl_train_load(natsl_train_job *j)
{
    int64_t step = 0;
    return natsl_newest_find(j->app, j->app->args.out, load, j, &step);
}

natsl_status natsl_train_export(natsl_train_job *j)
{
    char path[PATH_BYTES];
    natsl_checkpoint c = state_of(j);
    natsl_status st = path_of(j->app->args.out, "model.h5", path);
    c.spec = NULL; /* a model without its training */
    return st == NATSL_OK ? write_state(j, path, &c) : st;
}
