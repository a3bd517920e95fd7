/* eval_resume.c - see eval_resume.h. */
#include "eval_resume.h"

#include "agree.h"
#include "core.h"
#include "h5.h"
#include "newest.h"
#include "seal.h"
#include "series.h"
#include "whole_file.h"

#include <dirent.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Part of the time between checkpoints that an answer may lose. */
#define LEAST_PART 0.1

/* Behind the number of a haystack's first sample. */
#define SHARED "-shared"

/* ---- what is read ---------------------------------------------------------------------------------------------------------- */

/** r->run: model, text and all options that decide what is computed, but for ranks, threads and lengths of passes. */
static void describe(natsl_eval_resume *r, const natsl_eval_halfway *h)
{
    char options[256];
    (void)snprintf(r->run, sizeof r->run,
                   "command=eval model=%016" PRIx64 " tokens=%lld text=%016" PRIx64 " shared=%d bins=%lld %s",
                   natsl_model_digest(r->job->model), (long long)h->end, h->digest, h->shared, (long long)r->job->bin,
                   natsl_options_text(&r->app.args, options, sizeof options));
}

/** directory [NATSL_SERIES_PATH]: of the sample in hand, or of its haystack. */
static natsl_status place(const natsl_eval_resume *r, int shared, char *directory)
{
    const int n = snprintf(directory, NATSL_SERIES_PATH, "%s/%s-%lld-%lld%s", r->app.args.checkpoint, r->cell->task,
                           (long long)r->cell->length, (long long)(shared ? r->first : r->index), shared ? SHARED : "");
    if (n > 0 && n < NATSL_SERIES_PATH) return NATSL_OK;
    return natsl_fail(NATSL_ERR_USAGE, "--checkpoint: the path is too long");
}

/* ---- saving ---------------------------------------------------------------------------------------------------------------- */

typedef struct saving {
    const natsl_eval_resume *resume;
    const natsl_eval_halfway *halfway;
} saving;

/** One dataset of counts, those of all ranks together; rank 0 writes. */
static natsl_status put_counts(const natsl_eval_counts *c, int number, natsl_h5_out *out)
{
    const hsize_t shape[1] = {c->n};
    char name[32];
    hid_t dataset = -1;
    int rank = 0;
    NATSL_MPI(MPI_Comm_rank(out->comm, &rank));
    (void)snprintf(name, sizeof name, "eval/%d", number);
    int64_t *all = natsl_alloc(c->n, sizeof *all, "counts");
    natsl_status st = natsl_agree(out->comm, all ? NATSL_OK : NATSL_ERR_NOMEM);
    if (st == NATSL_OK) {
        NATSL_MPI(MPI_Reduce(c->at, all, (int)c->n, MPI_INT64_T, c->most ? MPI_MAX : MPI_SUM, 0, out->comm));
        st = natsl_h5_new_dataset(out, name, H5T_STD_I64LE, 1, shape, &dataset);
    }
    if (st == NATSL_OK) {
        if (rank == 0)
            st = natsl_h5_write_rows(dataset, out->path, name, H5T_NATIVE_INT64, 0, (int64_t)c->n, sizeof *all, all);
        if (H5Dclose(dataset) < 0 && st == NATSL_OK)
            st = natsl_fail(NATSL_ERR_IO, "%s: writing %s failed", out->path, name);
        st = natsl_agree(out->comm, st);
    }
    natsl_free(all);
    return st;
}

static natsl_status put_more(void *user, struct natsl_h5_out *out)
{
    const saving *s = user;
    const natsl_eval_halfway *h = s->halfway;
    char sample[20];
    double seconds = 0.0;
    (void)snprintf(sample, sizeof sample, "%016" PRIx64, h->sample);
    NATSL_MPI(MPI_Allreduce(&h->read_s, &seconds, 1, MPI_DOUBLE, MPI_MAX, out->comm));
    natsl_status st = natsl_h5_put_text(out->file, out->path, "run", s->resume->run);
    if (st == NATSL_OK) st = natsl_h5_put_text(out->file, out->path, "sample", sample);
    if (st == NATSL_OK) st = natsl_h5_put_int(out->file, out->path, "read", h->read);
    if (st == NATSL_OK) st = natsl_h5_put_real(out->file, out->path, "reading_seconds", seconds);
    st = natsl_agree(out->comm, st);
    for (size_t i = 0; i < h->n_counts && st == NATSL_OK; i++) st = put_counts(&h->counts[i], (int)i, out);
    return st;
}

static int stops(void *user)
{
    natsl_eval_resume *r = user;
    return natsl_groups_stopped(r->groups);
}

static int due(void *user)
{
    natsl_eval_resume *r = user;
    if (stops(r)) return 1;
    return r->groups->leads && r->every_s > 0.0 && natsl_now_s() - r->saved_s >= r->every_s;
}

static natsl_status save(void *user, natsl_context *cx, const natsl_eval_halfway *h)
{
    natsl_eval_resume *r = user;
    int ends = stops(r);
    NATSL_MPI(MPI_Allreduce(MPI_IN_PLACE, &ends, 1, MPI_INT, MPI_MAX, cx->comm));
    const natsl_status st = natsl_resume_save(&r->app, cx, r->directory, put_more, &(saving){r, h}, ends);
    r->saved_s = natsl_now_s();
    if (st == NATSL_OK) r->saved++;
    if (st != NATSL_ERR_IO || ends) return st;
    r->failed++; /* warned of */
    return NATSL_OK;
}

/* ---- going on -------------------------------------------------------------------------------------------------------------- */

typedef struct loading {
    natsl_eval_resume *resume;
    const natsl_model *model;
    const natsl_options *options;
    natsl_eval_halfway *halfway;
    natsl_context **cx;
    int same;
} loading;

/** Rank 0: what a checkpoint says beside its context. */
static natsl_status look(const loading *l, const char *path, int *same)
{
    natsl_eval_halfway *h = l->halfway;
    hid_t file = -1;
    char *text = NULL, own[20];
    natsl_status st = natsl_h5_open(path, &file);
    if (st != NATSL_OK) return st;
    st = natsl_h5_text(file, path, "run", sizeof l->resume->run, &text);
    if (st == NATSL_OK) st = natsl_resume_compare(l->resume->run, path, text);
    natsl_free(text);
    text = NULL;
    (void)snprintf(own, sizeof own, "%016" PRIx64, h->sample);
    if (st == NATSL_OK) st = natsl_h5_text(file, path, "sample", sizeof own, &text);
    *same = st == NATSL_OK && strcmp(text, own) == 0;
    natsl_free(text);
    if (st == NATSL_OK) st = natsl_h5_int(file, path, "read", &h->read);
    if (st == NATSL_OK) st = natsl_h5_real(file, path, "reading_seconds", &h->read_s);
    for (size_t i = 0; i < h->n_counts && st == NATSL_OK; i++) {
        const natsl_eval_counts *c = &h->counts[i];
        const hsize_t shape[1] = {c->n};
        char name[32];
        hid_t dataset = -1;
        (void)snprintf(name, sizeof name, "eval/%zu", i);
        if (!*same && i >= 2) break; /* of another sample's length; it is not wanted */
        st = natsl_h5_dataset(file, path, name, H5T_INTEGER, 1, shape, &dataset);
        if (st == NATSL_OK)
            st = natsl_h5_read_rows(dataset, path, name, H5T_NATIVE_INT64, 0, (int64_t)c->n, sizeof *c->at, c->at);
        if (dataset >= 0) (void)H5Dclose(dataset);
        for (size_t k = 0; k < c->n && st == NATSL_OK; k++) {
            if (c->at[k] < (c->most ? -1 : INT64_MIN / 2) || c->at[k] > INT64_MAX / 2)
                st = natsl_fail(NATSL_ERR_INPUT, "%s: dataset %s: %lld cannot be", path, name, (long long)c->at[k]);
        }
    }
    (void)H5Fclose(file);
    return st;
}

/** Nothing is counted yet on this rank. */
static void clear(const natsl_eval_halfway *h)
{
    for (size_t i = 0; i < h->n_counts; i++)
        for (size_t k = 0; k < h->counts[i].n; k++) h->counts[i].at[k] = h->counts[i].most ? -1 : 0;
}

/** natsl_newest_find's. */
static natsl_status load_one(void *user, int64_t number, const char *path)
{
    loading *l = user;
    natsl_eval_resume *r = l->resume;
    natsl_eval_halfway *h = l->halfway;
    struct {
        double seconds;
        int64_t read, same;
    } all = {0.0, 0, 0};
    int same = 0;
    natsl_status st = natsl_seal_check(r->app.comm, path, 1);
    if (st == NATSL_OK) st = natsl_app_agree(&r->app, r->app.rank == 0 ? look(l, path, &same) : NATSL_OK);
    if (st != NATSL_OK) return st;
    all.seconds = h->read_s, all.read = h->read, all.same = same;
    NATSL_MPI(MPI_Bcast(&all, sizeof all, MPI_BYTE, 0, r->app.comm));
    h->read_s = all.seconds, h->read = all.read, l->same = (int)all.same;
    st = natsl_context_load_checked(r->app.comm, l->model, l->options, path, l->cx);
    if (st != NATSL_OK) return st;
    const int64_t position = natsl_context_position(*l->cx);
    if (position == number && position > 0 && position <= h->end && h->read >= 0 && h->read <= position)
        return NATSL_OK;
    natsl_context_destroy(l->cx);
    return natsl_fail(NATSL_ERR_INPUT, "%s: a checkpoint at token %lld, expected one at %lld", path,
                      (long long)position, (long long)number);
}

static natsl_status load(void *user, const natsl_model *model, const natsl_options *options, natsl_eval_halfway *h,
                         int *same, natsl_context **cx)
{
    natsl_eval_resume *r = user;
    loading l = {r, model, options, h, cx, 0};
    int64_t number = 0;
    *cx = NULL;
    r->saved_s = natsl_now_s();
    natsl_status st = place(r, h->shared, r->directory); /* the same on all ranks */
    if (st != NATSL_OK) return st;
    describe(r, h);
    int there = r->app.rank == 0 && access(r->directory, F_OK) == 0;
    NATSL_MPI(MPI_Bcast(&there, 1, MPI_INT, 0, r->app.comm));
    if (!there) return NATSL_OK;
    if (r->app.rank == 0) natsl_series_sweep(r->directory, NULL);
    st = natsl_newest_find(&r->app, r->directory, load_one, &l, &number);
    if (!*cx || r->app.rank != 0) clear(h); /* look may have begun to fill them */
    *same = l.same;
    if (st == NATSL_OK && *cx && r->app.rank == 0 && !r->job->app->args.quiet)
        fprintf(stderr, "going on from %s/..., after %lld tokens of sample %lld of %s\n", r->directory,
                (long long)number, (long long)r->index, r->cell->task);
    return st;
}

static int64_t pass(void *user, const natsl_context *cx, double tps, int64_t most)
{
    const natsl_eval_resume *r = user;
    return natsl_resume_pass(cx, tps, r->every_s, most);
}

/* ---- for eval_samples.c ------------------------------------------------------------------------------------------------------ */

void natsl_eval_resume_start(natsl_eval_resume *r, natsl_eval_job *job, natsl_groups *groups)
{
    const natsl_args *a = &job->app->args;
    r->job = job;
    r->groups = groups;
    if (!a->checkpoint) return;
    r->app = natsl_groups_app(groups);
    r->every_s = a->checkpoint_every >= 0.0 ? a->checkpoint_every : NATSL_RESUME_EVERY_S;
    r->keeper = (natsl_eval_keeper){.user = r,
                                    .due = due,
                                    .stops = stops,
                                    .pass = pass,
                                    .save = save,
                                    .load = load,
                                    .least_s = r->every_s > 0.0 ? LEAST_PART * r->every_s : HUGE_VAL};
}

void natsl_eval_resume_sample(natsl_eval_resume *r, const natsl_eval_cell *cell, int64_t index, int64_t first)
{
    r->cell = cell;
    r->index = index;
    r->first = first;
}

static void remove_directory(const char *directory)
{
    natsl_series_sweep(directory, NULL);
    natsl_series_prune(directory, 0);
    (void)rmdir(directory);
}

void natsl_eval_resume_finished(natsl_eval_resume *r, int more)
{
    char directory[NATSL_SERIES_PATH];
    if (!r->app.args.checkpoint || !r->groups->leads) return;
    for (int shared = 0; shared < (more ? 1 : 2); shared++) {
        if (place(r, shared, directory) == NATSL_OK && access(directory, F_OK) == 0) remove_directory(directory);
    }
}

void natsl_eval_resume_report(const natsl_eval_resume *r, natsl_eval_job *job)
{
    int64_t n[2] = {r->groups->leads ? r->saved : 0, r->groups->leads ? r->failed : 0};
    if (!job->app->args.checkpoint) return;
    NATSL_MPI(MPI_Allreduce(MPI_IN_PLACE, n, 2, MPI_INT64_T, MPI_SUM, job->app->comm));
    job->checkpoints += n[0];
    job->checkpoints_failed += n[1];
    natsl_summary_count(job->app, "checkpoints", job->checkpoints);
    if (job->checkpoints_failed > 0) natsl_summary_count(job->app, "checkpoints_failed", job->checkpoints_failed);
}

natsl_status natsl_eval_resume_check(const natsl_app *app)
{
    const char *root = app->args.checkpoint, *out = app->args.out;
    if (!root || !natsl_same_file(root, out)) return NATSL_OK;
    return natsl_fail(NATSL_ERR_USAGE, "--checkpoint: %s: is --out, too, expected a directory of its own", root);
}

natsl_status natsl_eval_resume_take(const natsl_app *app, int *lock)
{
    const char *root = app->args.checkpoint;
    *lock = -1;
    if (!root) return NATSL_OK;
    natsl_status st = natsl_series_directory(root, "--checkpoint", "checkpoints");
    if (st == NATSL_OK) st = natsl_eval_resume_check(app); /* both are there now */
    return st == NATSL_OK ? natsl_series_lock(root, "--checkpoint", lock) : st;
}

void natsl_eval_resume_sweep(const natsl_eval_job *j)
{
    const char *root = j->app->args.checkpoint;
    char path[NATSL_SERIES_PATH];
    DIR *d = root ? opendir(root) : NULL;
    for (struct dirent *e; d && (e = readdir(d)) != NULL;) {
        for (size_t i = 0; i < j->store.n_cells; i++) {
            const natsl_eval_cell *c = &j->store.cells[i];
            char name[256], own[sizeof name + 32];
            const int n = snprintf(name, sizeof name, "%s-%lld-", c->task, (long long)c->length);
            if (n <= 0 || (size_t)n >= sizeof name || strncmp(e->d_name, name, (size_t)n) != 0) continue;
            const int length = snprintf(own, sizeof own, "%s%lld", name, strtoll(e->d_name + n, NULL, 10));
            if (strncmp(own, e->d_name, (size_t)length) != 0) continue;
            if (e->d_name[length] != '\0' && strcmp(e->d_name + length, SHARED) != 0) continue;
            (void)snprintf(path, sizeof path, "%.2000s/%.255s", root, e->d_name);
            remove_directory(path);
        }
    }
    if (d) (void)closedir(d);
}
