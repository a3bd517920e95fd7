/* resume.c - see resume.h. */
#include "resume.h"

#include "agree.h"
#include "core.h"
#include "digest.h"
#include "h5.h"
#include "journal.h"
#include "json_text.h"
#include "newest.h"
#include "place.h"
#include "result_part.h"
#include "seal.h"
#include "signals.h"

#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* A signal is answered within three passes (natsl_stream): so long may one take where its length is natsl's to choose. */
#define PASS_S 10.0
/* But tiles that one thread reads in a pass, at least: with fewer, threads wait for one another. */
#define PASS_TILES 4
/* Tokens of a block of the document's digest. */
#define DIGEST_TOKENS ((int64_t)1 << 18)

natsl_status natsl_resume_order_make(const natsl_app *app, natsl_resume_order *order)
{
    const natsl_args *a = &app->args;
    if (!a->checkpoint && (a->resume || a->checkpoint_every >= 0.0))
        return natsl_fail(NATSL_ERR_USAGE, "--%s: needs the directory of the checkpoints, expected --checkpoint DIR",
                          a->resume ? "resume" : "checkpoint-every");
    *order = (natsl_resume_order){.directory = a->checkpoint,
                                  .every_s = a->checkpoint_every >= 0.0 ? a->checkpoint_every : NATSL_RESUME_EVERY_S,
                                  .resume = a->resume,
                                  .out = a->out,
                                  .command = app->command->name,
                                  .write = ""};
    return NATSL_OK;
}

/* ---- what a run is about ------------------------------------------------------------------------------------------------- */

/** Digest of all tokens, equal on all ranks; each reads a share. */
static natsl_status digest_document(natsl_job *s, uint64_t *digest)
{
    const natsl_app *app = s->app;
    const int64_t length = natsl_doc_length(s->doc), blocks = (length + DIGEST_TOKENS - 1) / DIGEST_TOKENS;
    natsl_status st = NATSL_OK;
    if (blocks > INT_MAX) return natsl_fail(NATSL_ERR_INPUT, "the document is too long for a checkpoint");
    uint64_t *all = natsl_calloc((size_t)blocks, sizeof *all, "the document's digest");
    int32_t *ids = natsl_alloc((size_t)DIGEST_TOKENS, sizeof *ids, "the document's digest");
    if (!all || !ids) st = NATSL_ERR_NOMEM;
    for (int64_t b = blocks * app->rank / app->size; b < blocks * (app->rank + 1) / app->size && st == NATSL_OK; b++) {
        const int64_t first = b * DIGEST_TOKENS, n = length - first < DIGEST_TOKENS ? length - first : DIGEST_TOKENS;
        st = natsl_doc_read(s->doc, first, n, ids);
        natsl_worked();
        if (st == NATSL_OK) all[b] = natsl_digest(ids, (size_t)n * sizeof *ids);
    }
    if ((st = natsl_app_agree(s->app, st)) == NATSL_OK) {
        /* every block is not zero on one rank at most */
        NATSL_MPI(MPI_Allreduce(MPI_IN_PLACE, all, (int)blocks, MPI_UINT64_T, MPI_BOR, app->comm));
        *digest = 0;
        for (int64_t b = 0; b < blocks; b++) *digest = natsl_digest_add(*digest, all[b]);
    }
    natsl_free(ids);
    natsl_free(all);
    return st;
}

/** What the context remembers before the document, by its last hidden row, which all of it has a part in. */
static uint64_t digest_before(const natsl_job *s)
{
    uint64_t digest = 0;
    if (natsl_context_position(s->cx) == 0) return 0;
    if (s->cx->rank == s->cx->owner)
        digest = natsl_digest(s->cx->last_hidden, (size_t)s->info.config.hidden_size * sizeof(float));
    NATSL_MPI(MPI_Bcast(&digest, 1, MPI_UINT64_T, s->cx->owner, s->cx->comm));
    return digest;
}

/** r->run: model, document and all options that decide what is computed, but for ranks, threads and lengths of passes and stages. */
static natsl_status describe(natsl_resume *r)
{
    natsl_job *s = r->job;
    char options[256];
    uint64_t document = 0;
    const natsl_status st = digest_document(s, &document);
    if (st != NATSL_OK) return st;
    (void)snprintf(r->run, sizeof r->run,
                   "command=%s model=%016" PRIx64 " tokens=%lld document=%016" PRIx64 " begin=%lld before=%016" PRIx64
                   " %s write=%s",
                   r->order.command, natsl_model_digest(s->model), (long long)natsl_doc_length(s->doc), document,
                   (long long)r->begin, digest_before(s), natsl_options_text(&s->app->args, options, sizeof options),
                   r->order.write);
    return NATSL_OK;
}

natsl_status natsl_resume_compare(const char *run, const char *path, const char *found)
{
    const char *a = found, *b = run;
    if (strcmp(a, b) == 0) return NATSL_OK;
    for (;;) {
        const size_t n = strcspn(a, " "), m = strcspn(b, " ");
        if (n != m || memcmp(a, b, n) != 0 || a[n] == '\0' || b[m] == '\0')
            return natsl_fail(NATSL_ERR_USAGE,
                              "%s: of another run: it has %.*s, this one %.*s; give --checkpoint another directory",
                              path, (int)(n < 100 ? n : 100), a, (int)(m < 100 ? m : 100), b);
        a += n + 1;
        b += m + 1;
    }
}

/* ---- going on ------------------------------------------------------------------------------------------------------------ */

/** Rank 0: the words and seconds of a checkpoint. */
static natsl_status look(const natsl_resume *r, const char *path, double *seconds)
{
    hid_t file = -1;
    char *run = NULL;
    natsl_status st = natsl_h5_open(path, &file);
    if (st != NATSL_OK) return st;
    st = natsl_h5_text(file, path, "run", sizeof r->run, &run);
    if (st == NATSL_OK) st = natsl_resume_compare(r->run, path, run);
    if (st == NATSL_OK) st = natsl_h5_real(file, path, "reading_seconds", seconds);
    natsl_free(run);
    (void)H5Fclose(file);
    return st;
}

/** Loads one checkpoint in the place of the job's context (natsl_newest_load). */
static natsl_status load(void *user, int64_t number, const char *path)
{
    natsl_resume *r = user;
    natsl_job *s = r->job;
    double seconds = 0.0;
    natsl_status st = natsl_seal_check(s->app->comm, path, 1);
    if (st == NATSL_OK) st = natsl_app_agree(s->app, s->app->rank == 0 ? look(r, path, &seconds) : NATSL_OK);
    if (st != NATSL_OK) return st;
    NATSL_MPI(MPI_Bcast(&seconds, 1, MPI_DOUBLE, 0, s->app->comm));
    const natsl_cost_machine machine = s->cx ? s->cx->machine : s->machine;
    const int known = s->cx && s->cx->machine_known;
    natsl_context_destroy(&s->cx); /* never two of them in memory */
    st = natsl_context_load_checked(s->app->comm, s->model, &s->options, path, &s->cx);
    if (st != NATSL_OK) return st;
    if (known) { /* measured once is enough */
        s->cx->machine = machine;
        s->cx->machine_known = 1;
    }
    const int64_t position = natsl_context_position(s->cx), end = r->begin + natsl_doc_length(s->doc);
    if (position != number || position <= r->begin || position >= end)
        return natsl_fail(NATSL_ERR_INPUT, "%s: a checkpoint at token %lld, expected one at %lld", path,
                          (long long)position, (long long)number);
    s->before_s = seconds;
    (void)snprintf(r->path, sizeof r->path, "%s", path);
    return NATSL_OK;
}

/** Rank 0: whether the file order.out says that it is this run's result. */
static int has_run(const natsl_resume *r)
{
    hid_t file = -1;
    char *run = NULL;
    if (natsl_h5_open(r->order.out, &file) != NATSL_OK) return 0;
    const int same = H5Aexists(file, "run") > 0 &&
                     natsl_h5_text(file, r->order.out, "run", sizeof r->run, &run) == NATSL_OK &&
                     strcmp(run, r->run) == 0;
    natsl_free(run);
    (void)H5Fclose(file);
    return same;
}

/** Whether order.out is this run's result: nothing is left to do then. What is something else, or damaged, is written anew; HDF5
 * does not get to see what the seal shows to be damaged. Collective. */
static int is_finished(const natsl_resume *r)
{
    const natsl_app *app = r->job->app;
    struct stat s;
    int is = app->rank == 0 && stat(r->order.out, &s) == 0 && S_ISREG(s.st_mode);
    NATSL_MPI(MPI_Bcast(&is, 1, MPI_INT, 0, app->comm));
    if (!is || natsl_seal_check(app->comm, r->order.out, 0) != NATSL_OK) return 0;
    is = app->rank == 0 && has_run(r);
    NATSL_MPI(MPI_Bcast(&is, 1, MPI_INT, 0, app->comm));
    return is;
}

/** Rank 0: the directory, made, locked, and swept of what killed runs have left. */
static natsl_status take_directory(natsl_resume *r)
{
    const natsl_resume_order *o = &r->order;
    int64_t *numbers = NULL;
    size_t count = 0;
    natsl_status st = natsl_series_directory(o->directory, "--checkpoint", "checkpoints");
    if (st == NATSL_OK) st = natsl_series_lock(o->directory, "--checkpoint", &r->lock);
    if (st == NATSL_OK) st = natsl_series_list(o->directory, &numbers, &count);
    if (st == NATSL_OK && count > 0 && !o->resume)
        st = natsl_fail(NATSL_ERR_USAGE,
                        "--checkpoint: %s: has checkpoints already; give --resume to go on from them, or remove them",
                        o->directory);
    natsl_free(numbers);
    if (st != NATSL_OK) return st;
    natsl_series_sweep(o->directory, NULL);
    if (o->resume && !o->swept) { /* the killed run's result under way */
        char directory[NATSL_SERIES_PATH];
        const char *slash = strrchr(o->out, '/');
        const int n = slash ? (int)(slash - o->out) + 1 : 0;
        if (n < (int)sizeof directory) {
            (void)snprintf(directory, sizeof directory, "%.*s", n, o->out);
            natsl_series_sweep(n > 0 ? directory : ".", slash ? slash + 1 : o->out);
        }
    }
    return NATSL_OK;
}

/* ---- length of passes ---------------------------------------------------------------------------------------------------- */

int64_t natsl_resume_pass(const natsl_context *cx, double tps, double every_s, int64_t most)
{
    const double every = every_s / 4.0, seconds = every > 0.0 && every < PASS_S ? every : PASS_S;
    const natsl_grid grid = natsl_grid_make(cx->config->chunk);
    const int64_t least = natsl_min64(grid.unit * PASS_TILES * cx->options.threads * cx->size, most);
    int64_t tokens = tps > 0.0 && tps * seconds < (double)most ? (int64_t)(tps * seconds) : most;
    tokens = natsl_max64(tokens, least);
    NATSL_MPI(MPI_Bcast(&tokens, 1, MPI_INT64_T, 0, cx->comm));
    return tokens;
}

/** Before the first pass: by the prediction, which measures the machine. */
static natsl_status choose_passes(natsl_resume *r)
{
    natsl_job *s = r->job;
    natsl_plan plan;
    natsl_prediction p = {0};
    if (s->app->args.pass_tokens > 0) return NATSL_OK;
    const int64_t length = natsl_doc_length(s->doc);
    r->pass_tokens = s->cx->options.pass_tokens;
    natsl_status st = natsl_context_machine(s->cx, &s->machine);
    s->predicted_begin = natsl_context_position(s->cx);
    s->predicted_tokens = length;
    s->predicted_scores = strcmp(r->order.command, "score") == 0;
    if (st == NATSL_OK && s->app->rank == 0) st = natsl_job_predict(s, s->model->info.kept_share, &plan, &p);
    if ((st = natsl_app_agree(s->app, st)) != NATSL_OK) return st;
    s->options.pass_tokens =
        natsl_resume_pass(s->cx, p.seconds > 0.0 ? (double)length / p.seconds : 0.0, r->order.every_s, r->pass_tokens);
    natsl_context_set_pass(s->cx, s->options.pass_tokens);
    return NATSL_OK;
}

/* ---- the steps ----------------------------------------------------------------------------------------------------------- */

natsl_status natsl_resume_begin(natsl_resume *r, natsl_job *job, const natsl_resume_order *order)
{
    natsl_app *app = job->app;
    memset(r, 0, sizeof *r);
    r->job = job;
    r->order = *order;
    r->lock = -1;
    r->begin = natsl_context_position(job->cx);
    if (!order->directory) return NATSL_OK;
    natsl_status st = natsl_app_agree(app, app->rank == 0 ? take_directory(r) : NATSL_OK);
    if (st == NATSL_OK) st = describe(r);
    if (st != NATSL_OK) return st;
    if (order->resume) {
        r->finished = is_finished(r);
        if (r->finished) {
            natsl_summary_count(app, "finished_before", 1);
            if (app->rank == 0 && !app->args.quiet)
                printf("finished    %s is there already: the result of this very run\n", order->out);
            return natsl_app_agree(app, app->rank == 0 ? natsl_stdout_flush() : NATSL_OK);
        }
    }
    if ((st = choose_passes(r)) != NATSL_OK) return st;
    if (order->resume && (st = natsl_newest_find(app, order->directory, load, r, &r->loaded)) != NATSL_OK) return st;
    if (order->resume && app->rank == 0 && !app->args.quiet) {
        if (r->loaded > 0)
            fprintf(stderr, "going on from %s, after %lld of %lld tokens\n", r->path, (long long)(r->loaded - r->begin),
                    (long long)natsl_doc_length(job->doc));
        else fprintf(stderr, "no checkpoint in %s: beginning at the first token\n", order->directory);
    }
    if (r->loaded > 0)
        natsl_journal_write(
            app, "resume",
            json_pack("{s:o, s:I}", "file", natsl_json_text_or_null(r->path), "position", (json_int_t)r->loaded));
    natsl_signals_catch();
    return NATSL_OK;
}

/** Whether this rank is asked to end. */
static int stops(const natsl_resume *r)
{
    return natsl_signals_caught() || (r->order.stop && r->order.stop(r->order.stopper));
}

/** natsl_stream's pause. */
static int wants_pause(void *user)
{
    const natsl_resume *r = user;
    if (stops(r)) return 1;
    return r->job->app->rank == 0 && r->order.every_s > 0.0 && natsl_now_s() - r->saved_s >= r->order.every_s;
}

natsl_status natsl_resume_put(void *user, struct natsl_h5_out *out)
{
    const natsl_resume *r = user;
    if (!r->order.directory) return NATSL_OK;
    return natsl_agree(out->comm, natsl_h5_put_text(out->file, out->path, "run", r->run));
}

natsl_status natsl_resume_mark(natsl_resume *r)
{
    return r->order.directory ? natsl_result_text(r->job->result, "run", r->run) : NATSL_OK;
}

static natsl_status put_checkpoint(void *user, struct natsl_h5_out *out)
{
    natsl_resume *r = user;
    natsl_job *s = r->job;
    const double seconds = s->before_s + s->read_s;
    double most = 0.0;
    natsl_status st = natsl_resume_put(user, out);
    NATSL_MPI(MPI_Allreduce(&seconds, &most, 1, MPI_DOUBLE, MPI_MAX, out->comm));
    if (st == NATSL_OK) st = natsl_agree(out->comm, natsl_h5_put_real(out->file, out->path, "reading_seconds", most));
    if (st == NATSL_OK && s->result)
        st = natsl_result_part_put(s->result, natsl_context_position(s->cx) - r->begin, out);
    return st;
}

natsl_status natsl_resume_save(natsl_app *app, natsl_context *cx, const char *directory,
                               natsl_status (*more)(void *user, struct natsl_h5_out *out), void *user, int ends)
{
    char path[NATSL_SERIES_PATH], why[1024];
    const int64_t position = natsl_context_position(cx);
    int older = 0;
    natsl_status st = natsl_series_path(directory, position, path); /* the same on all ranks */
    if (st != NATSL_OK) return st;
    for (int again = 0;; again = 1) {
        st = natsl_app_agree(app, app->rank == 0 ? natsl_series_directory(directory, "--checkpoint", "checkpoints")
                                                 : NATSL_OK);
        if (st == NATSL_OK) st = natsl_context_save_with(cx, path, more, user);
        if (st != NATSL_ERR_IO || again) break;
        (void)snprintf(why, sizeof why, "%s", natsl_error_text());
        if (app->rank == 0) older = natsl_series_prune(directory, 1) > 0; /* its room may be what is missing */
        natsl_error_set(why);
        NATSL_MPI(MPI_Bcast(&older, 1, MPI_INT, 0, app->comm));
        if (!older) break;
    }
    if (st == NATSL_OK && app->rank == 0) (void)natsl_series_prune(directory, NATSL_RESUME_KEEP);
    if (st != NATSL_ERR_IO) return st;
    if (ends)
        return natsl_fail(st, "%.700s; interrupted: what was read since the last checkpoint is not saved",
                          natsl_error_text());
    if (app->rank == 0) {
        fprintf(stderr, "warning: %s; no checkpoint at token %lld, the reading goes on\n", natsl_error_text(),
                (long long)position);
        natsl_journal_write(app, "checkpoint_failed",
                            json_pack("{s:o, s:I}", "text", natsl_json_text_or_null(natsl_error_text()), "position",
                                      (json_int_t)position));
    }
    return st;
}

/** A checkpoint; one that cannot be written ends the run only when that ends anyway. */
static natsl_status save(natsl_resume *r, int ends)
{
    natsl_job *s = r->job;
    char path[NATSL_SERIES_PATH];
    const double start = natsl_now_s();
    const int64_t position = natsl_context_position(s->cx);
    natsl_status st = natsl_resume_save(s->app, s->cx, r->order.directory, put_checkpoint, r, ends);
    r->saved_s = natsl_now_s();
    r->spent_s += r->saved_s - start;
    if (st == NATSL_ERR_IO && !ends) {
        r->failed++;
        return NATSL_OK;
    }
    if (st == NATSL_OK) st = natsl_series_path(r->order.directory, position, path);
    if (st != NATSL_OK) return st;
    r->saved++;
    natsl_journal_write(s->app, "checkpoint",
                        json_pack("{s:o, s:I, s:f}", "file", natsl_json_text_or_null(path), "position",
                                  (json_int_t)position, "seconds", r->saved_s - start));
    return NATSL_OK;
}

natsl_status natsl_resume_read(natsl_resume *r)
{
    natsl_job *s = r->job;
    natsl_app *app = s->app;
    natsl_status st = NATSL_OK;
    if (!r->order.directory) return natsl_job_read_doc(s);
    const int64_t end = r->begin + natsl_doc_length(s->doc);
    if (s->result) {
        natsl_result_keep_notes(s->result);
        if (r->loaded > 0) st = natsl_result_part_get(s->result, r->loaded - r->begin, r->path, natsl_job_add, s);
    }
    s->pause = wants_pause;
    s->pauser = r;
    if (st == NATSL_OK) st = natsl_job_read_start(s, r->begin);
    r->saved_s = natsl_now_s();
    while (st == NATSL_OK && natsl_context_position(s->cx) < end) {
        const int64_t at = natsl_context_position(s->cx);
        const double before = s->read_s;
        if ((st = natsl_job_read_go(s)) != NATSL_OK || natsl_context_position(s->cx) == end) break;
        int caught = stops(r);
        NATSL_MPI(MPI_Allreduce(MPI_IN_PLACE, &caught, 1, MPI_INT, MPI_MAX, app->comm));
        if ((st = save(r, caught)) != NATSL_OK) break;
        if (caught)
            st = natsl_fail(NATSL_INTERRUPTED,
                            "interrupted after %lld of %lld tokens, which are saved in %s; the same command with "
                            "--resume goes on",
                            (long long)(natsl_context_position(s->cx) - r->begin), (long long)(end - r->begin),
                            r->order.directory);
        if (st == NATSL_OK && r->pass_tokens > 0) /* what the passes so far took */
            natsl_context_set_pass(
                s->cx, natsl_resume_pass(s->cx, (double)(natsl_context_position(s->cx) - at) / (s->read_s - before),
                                         r->order.every_s, r->pass_tokens));
    }
    s->pause = NULL;
    return st;
}

natsl_status natsl_resume_end(natsl_resume *r, natsl_status st, FILE *to)
{
    if (!r->job || !r->order.directory) return st;
    natsl_app *app = r->job->app;
    if (st == NATSL_OK && app->rank == 0) (void)natsl_series_prune(r->order.directory, 0);
    natsl_summary_count(app, "checkpoints", r->saved);
    natsl_summary_real(app, "checkpoint_seconds", r->spent_s);
    if (r->failed > 0) natsl_summary_count(app, "checkpoints_failed", r->failed);
    if (r->loaded > 0) natsl_summary_count(app, "resumed_at", r->loaded);
    if (st == NATSL_OK && !r->finished && app->rank == 0 && !app->args.quiet) {
        fprintf(to, "checkpoints %lld in %.2f s, removed: the result is there", (long long)r->saved, r->spent_s);
        if (r->failed > 0) fprintf(to, "; %lld more could not be written", (long long)r->failed);
        fprintf(to, "\n");
    }
    if (r->lock >= 0) (void)close(r->lock);
    r->lock = -1;
    return st;
}
