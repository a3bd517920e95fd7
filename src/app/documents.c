/* documents.c - groups of ranks at work on documents, and the run as a whole. See documents.h. */
#include "documents.h"

#include "agree.h"
#include "core.h"
#include "journal.h"
#include "signals.h"

#include <string.h>
#include <unistd.h>

#define TAG_PROGRESS 2
#define ASK_S        0.1 /* between two looks for news of other groups */
#define SEND_S       1.0 /* between two words of a group about its progress */
#define WARNINGS     20  /* documents that are named when they are left out; the table has all */

/* ---- a group at work --------------------------------------------------------------------------------------------------- */

/** Tokens of documents that are done; and of those whose results were there. */
typedef struct count {
    int64_t done, skipped;
} count;

typedef struct group {
    natsl_documents *d;
    natsl_groups groups;
    natsl_app app;              /* the program as this group's ranks see it: its own communicator, silent */
    natsl_cost_machine machine; /* measured once */
    int machine_known;
    int has_loaded;        /* the context that all documents go on from, so that its seal is known to be whole */
    count own, out;        /* of the documents before the one in hand; the word under way */
    MPI_Request sent;      /* of it */
    int64_t n_sent, heard; /* words that this rank has sent, received */
    double asked_s, sent_s;
    natsl_progress *progress; /* rank 0's, of all documents */
    count *others;            /* [groups] rank 0: their last words */
    const count *before;      /* of the phases before this one */
    int64_t total;
} group;

static void take_word(group *g, const MPI_Status *from)
{
    count word;
    NATSL_MPI(MPI_Recv(&word, 2, MPI_INT64_T, from->MPI_SOURCE, TAG_PROGRESS, g->groups.control, MPI_STATUS_IGNORE));
    const int number = from->MPI_SOURCE / g->groups.per;
    if (number < g->groups.count) g->others[number] = word;
    g->heard++;
}

/** Rank 0 hears of the others and shows all; others tell rank 0. `now`: tokens of the document in hand. */
static void share_progress(group *g, int64_t now)
{
    const double time = natsl_now_s();
    int there = 1;
    if (g->app.rank != 0) return;
    count mine = {g->own.done + now, g->own.skipped};
    if (g->d->app->rank == 0) {
        MPI_Status status;
        for (;;) {
            NATSL_MPI(MPI_Iprobe(MPI_ANY_SOURCE, TAG_PROGRESS, g->groups.control, &there, &status));
            if (!there) break;
            take_word(g, &status);
        }
        mine.done += g->before->done;
        mine.skipped += g->before->skipped;
        for (int k = 1; k < g->groups.count; k++) mine.done += g->others[k].done, mine.skipped += g->others[k].skipped;
        natsl_progress_update(g->progress, mine.done, g->total - mine.skipped);
        return;
    }
    if (time - g->sent_s < SEND_S) return;
    NATSL_MPI(MPI_Test(&g->sent, &there, MPI_STATUS_IGNORE));
    if (!there) return;
    g->sent_s = time;
    g->out = mine;
    g->n_sent++;
    NATSL_MPI(MPI_Isend(&g->out, 2, MPI_INT64_T, 0, TAG_PROGRESS, g->groups.control, &g->sent));
}

/** natsl_job's watch. */
static void watch(void *user, int64_t done)
{
    group *g = user;
    const double now = natsl_now_s();
    if (!g->groups.leads || now - g->asked_s < ASK_S) return;
    g->asked_s = now;
    (void)natsl_groups_stopped(&g->groups);
    share_progress(g, done);
}

/** Whether this rank knows that the group is to stop. */
static int stops(void *user)
{
    const group *g = user;
    return g->groups.stop || natsl_signals_caught();
}

/** Takes over what the result of an earlier run says, or what this one has found. Collective on the group. */
static void account(group *g, natsl_document *one, natsl_job *s, const natsl_resume *r)
{
    natsl_stats stats = {0};
    double seconds = s->before_s + s->read_s;
    one->ranks = g->groups.size;
    one->tokens = natsl_doc_length(s->doc);
    if (r->finished) {
        one->state = NATSL_DOCUMENT_BEFORE;
        if (g->groups.leads) natsl_document_recall(g->d, one);
        return;
    }
    one->state = NATSL_DOCUMENT_DONE;
    NATSL_MPI(MPI_Allreduce(MPI_IN_PLACE, &seconds, 1, MPI_DOUBLE, MPI_MAX, g->groups.comm));
    one->seconds = seconds;
    one->mean = g->d->order->scores && one->tokens > 1 ? s->mean : 0.0;
    if (natsl_context_stats(s->cx, &stats) == NATSL_OK) {
        one->kept_chunks = stats.kept_chunks;
        one->chunks = stats.chunks;
    }
}

/** Reads one document, as it would be read alone. Collective on the group. */
static natsl_status read_one(group *g, natsl_document *one)
{
    natsl_documents *d = g->d;
    natsl_job s;
    natsl_resume r = {0};
    natsl_resume_order order = d->resume;
    char out[NATSL_SERIES_PATH], checkpoints[NATSL_SERIES_PATH];
    natsl_job_begin(&s, &g->app);
    s.info = d->info;
    s.model = d->model;
    s.tokenizer = d->tokenizer;
    memcpy(s.no_tokenizer, d->no_tokenizer, sizeof s.no_tokenizer);
    s.watch = watch;
    s.watcher = g;
    natsl_document_path(d->app->args.out, one, ".h5", out);
    order.out = out;
    order.swept = 1; /* natsl_documents_take_places */
    order.write = d->order->write;
    order.stop = stops;
    order.stopper = g;
    if (order.directory) {
        natsl_document_path(order.directory, one, "", checkpoints);
        order.directory = checkpoints;
    } else {
        s.give_up = stops; /* there is nothing to be saved at the end of a pass */
    }
    const char *context = d->order->context;
    natsl_status st = !context        ? natsl_context_create(g->groups.comm, d->model, &s.options, &s.cx)
                      : g->has_loaded ? natsl_context_load_checked(g->groups.comm, d->model, &s.options, context, &s.cx)
                                      : natsl_context_load(g->groups.comm, d->model, &s.options, context, &s.cx);
    if (st == NATSL_OK) g->has_loaded = 1;
    if (st == NATSL_OK && g->machine_known) {
        s.cx->machine = g->machine;
        s.cx->machine_known = 1;
    }
    if (st == NATSL_OK) st = natsl_job_open_doc(&s, one->path);
    if (st == NATSL_OK) st = natsl_resume_begin(&r, &s, &order);
    if (st == NATSL_OK && !r.finished) st = d->order->one(&s, &r, d->order->user);
    st = natsl_resume_end(&r, st, stdout);
    if (st == NATSL_OK) account(g, one, &s, &r);
    if (st == NATSL_OK && order.directory && g->groups.leads)
        (void)rmdir(checkpoints); /* empty, unless somebody else uses it */
    if (s.cx && s.cx->machine_known) {
        g->machine = s.cx->machine;
        g->machine_known = 1;
    }
    s.model = NULL; /* all documents' */
    s.tokenizer = NULL;
    natsl_job_close(&s);
    return st;
}

/** Whether other documents go on after this. */
static int goes_on(const natsl_documents *d, natsl_status st)
{
    return st == NATSL_OK || (d->app->args.keep_going && st != NATSL_ERR_NOMEM && st < NATSL_INTERRUPTED);
}

/** This group's documents of a phase. */
static natsl_status work(group *g, const natsl_documents_phase *phase)
{
    natsl_documents *d = g->d;
    for (size_t i = phase->first; i < phase->first + phase->n; i++) {
        natsl_document *one = &d->all[d->turn[i]];
        const int64_t expected = one->tokens;
        if (one->group != g->groups.number) continue;
        if (natsl_groups_asked_to_stop(&g->groups)) return NATSL_INTERRUPTED;
        const natsl_status st = read_one(g, one);
        one->ranks = g->groups.size;
        one->led = g->groups.leads;
        if (st == NATSL_INTERRUPTED) one->state = NATSL_DOCUMENT_INTERRUPTED;
        else if (st != NATSL_OK) natsl_document_fail(one, st);
        if (!goes_on(d, st)) return st;
        if (st != NATSL_OK && g->groups.leads)
            fprintf(stderr, "warning: %s; the document is left out\n", natsl_error_text());
        if (st == NATSL_OK && one->state == NATSL_DOCUMENT_DONE) g->own.done += expected;
        else g->own.skipped += expected;
        share_progress(g, 0);
    }
    return NATSL_OK;
}

static void show_progress(void *user) { share_progress(user, 0); }

/** All documents of a phase; *before: counts so far, equal on all ranks. */
static natsl_status run_phase(natsl_documents *d, const natsl_documents_phase *phase, natsl_progress *progress,
                              count *before, int64_t total)
{
    natsl_app *app = d->app;
    group g = {.d = d, .sent = MPI_REQUEST_NULL, .progress = progress, .before = before, .total = total};
    natsl_groups_split(app, phase->per, &g.groups);
    g.groups.meanwhile = show_progress;
    g.groups.user = &g;
    g.app = natsl_groups_app(&g.groups);
    g.app.args.quiet = 1;
    g.others = natsl_calloc((size_t)g.groups.count, sizeof *g.others, "groups");
    natsl_status st = natsl_app_agree(app, g.others ? NATSL_OK : NATSL_ERR_NOMEM);
    if (st == NATSL_OK) {
        st = work(&g, phase);
        /* an INTERNAL error inside a group has left nobody waiting: its ranks have agreed on it */
        st = natsl_groups_agree(&g.groups, st);
        int64_t words = 0, mine[2] = {g.groups.leads ? g.own.done : 0, g.groups.leads ? g.own.skipped : 0};
        NATSL_MPI(MPI_Reduce(&g.n_sent, &words, 1, MPI_INT64_T, MPI_SUM, 0, g.groups.control));
        while (app->rank == 0 && g.heard < words) {
            MPI_Status status;
            NATSL_MPI(MPI_Probe(MPI_ANY_SOURCE, TAG_PROGRESS, g.groups.control, &status));
            take_word(&g, &status);
        }
        NATSL_MPI(MPI_Wait(&g.sent, MPI_STATUS_IGNORE));
        NATSL_MPI(MPI_Allreduce(MPI_IN_PLACE, mine, 2, MPI_INT64_T, MPI_SUM, app->comm));
        before->done += mine[0];
        before->skipped += mine[1];
        natsl_journal_gather(app);
    }
    natsl_free(g.others);
    natsl_groups_free(&g.groups);
    return st;
}

/* ---- the whole ----------------------------------------------------------------------------------------------------------- */

/** What the groups' ranks know comes together: on all ranks, but for texts, which rank 0 gets. A document was one group's alone, so that a
 * sum over leaders is its number. */
static natsl_status gather(natsl_documents *d)
{
    enum { STATE, STATUS, RANKS, OWNER, INTS };
    enum { TOKENS, KEPT, CHUNKS, LONGS };
    enum { MEAN, SECONDS, REALS };
    natsl_app *app = d->app;
    int *ints = natsl_alloc(d->n, INTS * sizeof *ints, "documents"),
        *owner = natsl_alloc(d->n, sizeof *owner, "documents");
    int64_t *longs = natsl_alloc(d->n, LONGS * sizeof *longs, "documents");
    double *reals = natsl_calloc(d->n, REALS * sizeof *reals, "documents");
    natsl_status st = natsl_app_agree(app, ints && owner && longs && reals ? NATSL_OK : NATSL_ERR_NOMEM);
    for (size_t i = 0; i < d->n && st == NATSL_OK; i++) {
        natsl_document *one = &d->all[i];
        ints[INTS * i + STATE] = (int)one->state;
        ints[INTS * i + STATUS] = (int)one->status;
        ints[INTS * i + RANKS] = one->ranks;
        ints[INTS * i + OWNER] = one->led ? app->rank : -1;
        longs[LONGS * i + TOKENS] = one->tokens;
        longs[LONGS * i + KEPT] = one->kept_chunks;
        longs[LONGS * i + CHUNKS] = one->chunks;
    }
    for (size_t at = 0; at < d->n && st == NATSL_OK; at += (size_t)1 << 24) {
        const int n = (int)(d->n - at < (size_t)1 << 24 ? d->n - at : (size_t)1 << 24);
        NATSL_MPI(MPI_Allreduce(MPI_IN_PLACE, ints + INTS * at, INTS * n, MPI_INT, MPI_MAX, app->comm));
        NATSL_MPI(MPI_Allreduce(MPI_IN_PLACE, longs + LONGS * at, LONGS * n, MPI_INT64_T, MPI_MAX, app->comm));
    }
    /* a group's leader speaks for it */
    for (size_t i = 0; i < d->n && st == NATSL_OK; i++) {
        owner[i] = ints[INTS * i + OWNER];
        if (owner[i] != app->rank) continue;
        reals[REALS * i + MEAN] = d->all[i].mean;
        reals[REALS * i + SECONDS] = d->all[i].seconds;
    }
    if (st == NATSL_OK) {
        NATSL_MPI(MPI_Allreduce(MPI_IN_PLACE, reals, REALS * (int)d->n, MPI_DOUBLE, MPI_SUM, app->comm));
        for (size_t i = 0; i < d->n; i++) {
            natsl_document *one = &d->all[i];
            one->state = (natsl_document_state)ints[INTS * i + STATE];
            one->status = (natsl_status)ints[INTS * i + STATUS];
            one->ranks = ints[INTS * i + RANKS];
            one->tokens = longs[LONGS * i + TOKENS];
            one->kept_chunks = longs[LONGS * i + KEPT];
            one->chunks = longs[LONGS * i + CHUNKS];
            one->mean = reals[REALS * i + MEAN];
            one->seconds = reals[REALS * i + SECONDS];
        }
        natsl_documents_gather_errors(d, owner);
    }
    natsl_free(ints);
    natsl_free(owner);
    natsl_free(longs);
    natsl_free(reals);
    return st;
}

/** The worst failed document's status with a line about all that failed; NATSL_OK: none has. Rank 0. */
static natsl_status worst_of(const natsl_documents *d, const char *failed, const char *more)
{
    natsl_status worst = NATSL_OK;
    const natsl_document *first = NULL;
    size_t n = 0;
    for (size_t i = 0; i < d->n; i++) {
        if (d->all[i].state != NATSL_DOCUMENT_FAILED) continue;
        n++;
        if (!first) first = &d->all[i];
        if (d->all[i].status > worst) worst = d->all[i].status;
    }
    if (n == 0) return NATSL_OK;
    const char *text = first->error ? first->error : natsl_status_name(first->status);
    return natsl_fail(worst, "%zu of %zu documents %s (%s): %.700s", n, d->n, failed, more, text);
}

/** Names those that are left out before anything is read. Rank 0. */
static void warn(const natsl_documents *d)
{
    size_t n = 0;
    for (size_t i = 0; i < d->n; i++) {
        const natsl_document *one = &d->all[i];
        if (one->state != NATSL_DOCUMENT_FAILED || n++ >= WARNINGS) continue;
        natsl_error_set(one->error ? one->error : one->path); /* with its control characters made harmless */
        fprintf(stderr, "warning: %s; the document is left out\n", natsl_error_text());
    }
    if (n > WARNINGS) fprintf(stderr, "warning: %zu more documents are left out\n", n - WARNINGS);
}

/** Reads all that wait. */
static natsl_status read_all(natsl_documents *d)
{
    natsl_app *app = d->app;
    natsl_progress progress;
    count before = {0, 0};
    int64_t total = 0;
    natsl_status st = natsl_documents_plan(d, 1);
    for (size_t i = 0; i < d->n_turns && st == NATSL_OK; i++) total += d->all[d->turn[i]].tokens;
    if (d->resume.directory) natsl_signals_catch(); /* else there is nothing to be saved: a signal ends all at once */
    natsl_progress_start(&progress, app, "reading");
    for (size_t k = 0; k < d->n_phases && st == NATSL_OK; k++)
        st = run_phase(d, &d->phases[k], &progress, &before, total);
    natsl_progress_finish(&progress);
    return st;
}

/** What is told at the end: of a run that ended as it should, or was interrupted. */
static natsl_status end(natsl_documents *d, natsl_status st)
{
    const natsl_args *a = &d->app->args;
    char text[1024], more[512];
    (void)snprintf(text, sizeof text, "%s", natsl_error_text());
    natsl_status told = natsl_documents_write_tables(d);
    natsl_documents_summarise(d);
    if (told == NATSL_OK) told = natsl_stdout_flush();
    if (st != NATSL_OK && st != NATSL_INTERRUPTED) { /* the reason why all has ended */
        natsl_error_set(text);
        return st;
    }
    if (told != NATSL_OK) return told;
    const size_t done = natsl_documents_count(d, NATSL_DOCUMENT_DONE) + natsl_documents_count(d, NATSL_DOCUMENT_BEFORE);
    if (st == NATSL_INTERRUPTED)
        return natsl_fail(st,
                          "interrupted; %zu of %zu documents are done, and what was read of the others is saved in %s; "
                          "the same command with --resume goes on",
                          done, d->n, a->checkpoint);
    (void)snprintf(more, sizeof more, "%.400s/documents.csv has them", a->out);
    return worst_of(d, "failed", more);
}

static natsl_status run(natsl_documents *d)
{
    natsl_app *app = d->app;
    const natsl_args *a = &app->args;
    natsl_job look;
    natsl_status st = natsl_documents_list(d);
    if (st != NATSL_OK) return st;
    st = natsl_job_look(&look, app);
    d->tokenizer = look.tokenizer;
    memcpy(d->no_tokenizer, look.no_tokenizer, sizeof d->no_tokenizer);
    if (st != NATSL_OK) return st;
    d->info = look.info;
    d->options = look.options;
    if ((st = natsl_documents_check(d)) != NATSL_OK) return st;
    if (!a->keep_going) {
        st = natsl_app_agree(app,
                             app->rank == 0 ? worst_of(d, "cannot be read", "--keep-going leaves them out") : NATSL_OK);
        if (st != NATSL_OK) return st;
    } else if (app->rank == 0) {
        warn(d);
    }
    if (!a->dry_run && (st = natsl_documents_take_places(d)) != NATSL_OK) return st;
    if (a->dry_run) st = natsl_documents_print_plan(d);
    else if (natsl_documents_count(d, NATSL_DOCUMENT_WAITS) > 0) {
        st = natsl_model_open(app->comm, a->model, (natsl_storage)a->weights, &d->model);
        if (st != NATSL_OK) return st; /* nothing is begun: no table */
        st = read_all(d);
        char text[1024];
        (void)snprintf(text, sizeof text, "%s", natsl_error_text());
        const natsl_status together = gather(d);
        if (together != NATSL_OK && st == NATSL_OK) st = together;
        else natsl_error_set(text);
    }
    if (a->dry_run) {
        if (st == NATSL_OK)
            st = natsl_app_agree(app, app->rank == 0 ? worst_of(d, "cannot be read", "left out") : NATSL_OK);
        return st;
    }
    return natsl_app_agree(app, app->rank == 0 ? end(d, st) : NATSL_OK);
}

natsl_status natsl_documents_run(natsl_app *app, const natsl_documents_order *order)
{
    natsl_documents d = {.app = app, .order = order, .lock = -1, .start_s = natsl_now_s()};
    natsl_status st = natsl_resume_order_make(app, &d.resume);
    if (st != NATSL_OK) return st;
    st = run(&d);
    natsl_model_close(&d.model);
    natsl_tokenizer_destroy(&d.tokenizer);
    natsl_documents_free(&d);
    return st;
}
