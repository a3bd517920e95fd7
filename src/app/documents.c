/* documents.c - who reads which document, and the groups at work. See documents.h. */
#include "documents.h"

#include "agree.h"
#include "core.h"
#include "journal.h"
#include "machine.h"
#include "place.h"
#include "signals.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define TAG_PROGRESS 2
#define ASK_S        0.1 /* between two looks for news of other groups */
#define SEND_S       1.0 /* between two words of a group about its progress */
#define WARNINGS     20  /* documents that are named when they are left out; the table has all */
/* What twice the ranks lose of their double speed. A guess: it decides between equals. */
#define LOSS 0.03

/* ---- who reads what -------------------------------------------------------------------------------------------------- */

static const natsl_documents *sorting; /* for qsort */

static int by_length(const void *a, const void *b)
{
    const size_t x = *(const size_t *)a, y = *(const size_t *)b;
    const int64_t m = sorting->all[x].tokens, n = sorting->all[y].tokens;
    if (m != n) return m > n ? -1 : 1;
    return (x > y) - (x < y);
}

/** Of reading a document, in any unit: later tokens attend to more. */
static double cost_of(const natsl_documents *d, const natsl_part_weights *w, int64_t tokens)
{
    const double chunks = (double)tokens / d->info.config.chunk;
    return (double)w->each * (chunks + 1.0) + (double)w->per_chunk * chunks * chunks / 2.0;
}

static natsl_part_weights weights_of(const natsl_documents *d)
{
    const natsl_cost_machine guess = natsl_cost_machine_guess(50.0, (int)d->app->args.threads);
    return natsl_cost_weights(&d->info.config, &guess, natsl_expected_share(&d->options, d->info.kept_share),
                              d->order->scores);
}

static double speed_of(int ranks) { return ranks / (1.0 + LOSS * log2((double)ranks)); }

/** Work of the planning. */
typedef struct planning {
    natsl_documents *d;
    natsl_part_weights weights;
    size_t n;           /* documents to read */
    size_t *sorted;     /* [n] longest first */
    int *least, *ranks; /* [n] that memory wants; that are tried */
    char *taken;        /* [n] */
    double *loads;      /* [size] of groups */
} planning;

/** Gives document `i` of the sorted ones to the group with least to do, unless that would then have more than `most`. */
static int give(planning *p, size_t i, int per, int groups, double most)
{
    natsl_documents *d = p->d;
    int g = 0;
    for (int k = 1; k < groups; k++) {
        if (p->loads[k] < p->loads[g]) g = k;
    }
    const int ranks = g < groups - 1 ? per : d->app->size - g * per;
    const double load = p->loads[g] + cost_of(d, &p->weights, d->all[p->sorted[i]].tokens) / speed_of(ranks);
    if (load > most) return 0;
    p->loads[g] = load;
    p->taken[i] = 1;
    d->all[p->sorted[i]].group = g;
    d->turn[d->n_turns++] = p->sorted[i];
    return 1;
}

/** Phases for p->ranks (which do not grow along the sorted documents): in each, documents of one number of ranks, and shorter ones as long
 * as there is a group that would else have nothing to do. Returns what all takes. */
static double make_phases(planning *p)
{
    natsl_documents *d = p->d;
    double total = 0.0;
    d->n_turns = d->n_phases = 0;
    memset(p->taken, 0, p->n);
    for (size_t first = 0;; first++) {
        while (first < p->n && p->taken[first]) first++;
        if (first == p->n) return total;
        const int per = p->ranks[first], groups = d->app->size / per;
        natsl_documents_phase *phase = &d->phases[d->n_phases++];
        *phase = (natsl_documents_phase){.per = per, .first = d->n_turns, .longest = p->sorted[first]};
        for (int g = 0; g < groups; g++) p->loads[g] = 0.0;
        size_t i = first;
        for (; i < p->n && (p->taken[i] || p->ranks[i] == per); i++) {
            if (!p->taken[i]) (void)give(p, i, per, groups, INFINITY);
        }
        for (int g = 0; g < groups; g++) phase->most = fmax(phase->most, p->loads[g]);
        for (; i < p->n && groups > 1; i++) {
            if (!p->taken[i]) (void)give(p, i, per, groups, phase->most);
        }
        phase->n = d->n_turns - phase->first;
        total += phase->most;
    }
}

/** No document is read by so few ranks that it would take longer than `part` of all of them on all ranks. */
static void set_ranks(planning *p, double part)
{
    const int size = p->d->app->size;
    double all = 0.0;
    for (size_t i = 0; i < p->n; i++) all += cost_of(p->d, &p->weights, p->d->all[p->sorted[i]].tokens);
    for (size_t i = 0; i < p->n; i++) {
        const double cost = cost_of(p->d, &p->weights, p->d->all[p->sorted[i]].tokens);
        int ranks = p->least[i];
        while (ranks < size && cost / ranks > part * all / size * (1.0 + 1e-9)) ranks *= 2;
        p->ranks[i] = ranks < size ? ranks : size;
        if (i > 0 && p->ranks[i] > p->ranks[i - 1]) p->ranks[i] = p->ranks[i - 1];
    }
}

/** Rank 0's part. */
static void make_plan(planning *p)
{
    natsl_documents *d = p->d;
    const int asked = d->app->args.ranks_per_doc > 0;
    double best = INFINITY, best_part = 1.0;
    /* Where documents are few, those that are read last leave ranks without work: more of them to each may be better. */
    const double least = asked || p->n > 64 * (size_t)d->app->size ? 1.0 : 1.0 / d->app->size;
    for (double part = asked ? (double)INFINITY : 1.0; part >= least; part /= 2.0) {
        set_ranks(p, part);
        const double takes = make_phases(p);
        if (takes < best * (1.0 - 1e-9)) best = takes, best_part = part;
        if (asked) break;
    }
    set_ranks(p, asked ? (double)INFINITY : best_part);
    (void)make_phases(p);
}

/** Phases, turns and groups, equal on all ranks. */
static natsl_status plan_all(natsl_documents *d, int weights_loaded)
{
    natsl_app *app = d->app;
    const int64_t asked = app->args.ranks_per_doc;
    const natsl_groups_need need = {.info = &d->info, .options = &d->options, .weights_loaded = weights_loaded};
    planning p = {.d = d, .weights = weights_of(d)};
    int64_t *lengths = natsl_alloc(d->n, sizeof *lengths, "documents");
    int *groups = natsl_alloc(d->n, sizeof *groups, "documents");
    d->turn = natsl_alloc(d->n, sizeof *d->turn, "documents");
    p.sorted = natsl_alloc(d->n, sizeof *p.sorted, "documents");
    p.least = natsl_alloc(d->n, sizeof *p.least, "documents");
    p.ranks = natsl_alloc(d->n, sizeof *p.ranks, "documents");
    p.taken = natsl_alloc(d->n, 1, "documents");
    p.loads = natsl_alloc((size_t)app->size, sizeof *p.loads, "documents");
    const int have = lengths && groups && d->turn && p.sorted && p.least && p.ranks && p.taken && p.loads;
    natsl_status st = natsl_app_agree(app, have ? NATSL_OK : NATSL_ERR_NOMEM);
    if (st == NATSL_OK) {
        for (size_t i = 0; i < d->n; i++) {
            if (d->all[i].state == NATSL_DOCUMENT_WAITS) p.sorted[p.n++] = i;
        }
        sorting = d;
        qsort(p.sorted, p.n, sizeof *p.sorted, by_length);
        for (size_t i = 0; i < p.n; i++) {
            lengths[i] = d->all[p.sorted[i]].tokens;
            p.least[i] = asked == 0 ? 1 : asked < app->size ? (int)asked : app->size;
        }
        if (asked == 0) natsl_groups_choose(app, &need, lengths, p.n, p.least);
        /* one rank's decision: sums of floating-point numbers may differ from node to node */
        if (app->rank == 0) make_plan(&p);
        for (size_t i = 0; i < d->n; i++) groups[i] = d->all[i].group;
        NATSL_MPI(MPI_Bcast(groups, (int)d->n, MPI_INT, 0, app->comm));
        NATSL_MPI(MPI_Bcast(&d->n_turns, sizeof d->n_turns, MPI_BYTE, 0, app->comm));
        NATSL_MPI(MPI_Bcast(&d->n_phases, sizeof d->n_phases, MPI_BYTE, 0, app->comm));
        NATSL_MPI(MPI_Bcast(d->phases, sizeof d->phases, MPI_BYTE, 0, app->comm));
        NATSL_MPI(MPI_Bcast(d->turn, (int)(d->n_turns * sizeof *d->turn), MPI_BYTE, 0, app->comm));
        for (size_t i = 0; i < d->n; i++) d->all[i].group = groups[i];
    }
    natsl_free(lengths);
    natsl_free(groups);
    natsl_free(p.sorted);
    natsl_free(p.least);
    natsl_free(p.ranks);
    natsl_free(p.taken);
    natsl_free(p.loads);
    return st;
}

/** --dry-run: how documents are spread, and what it takes. */
static natsl_status print_plan(natsl_documents *d)
{
    natsl_app *app = d->app;
    const natsl_storage storage = (natsl_storage)app->args.weights;
    const natsl_groups_need need = {.info = &d->info, .options = &d->options};
    natsl_options complete;
    natsl_cost_machine machine;
    double all_s = 0.0;
    int64_t tokens = 0;
    char a[32], b[32];
    natsl_status st = plan_all(d, 0);
    if (st == NATSL_OK)
        st = natsl_app_agree(app, natsl_options_complete(&d->info.config, app->size, &d->options, &complete));
    if (st == NATSL_OK) st = natsl_machine_find(app->comm, &d->info.config, &complete, storage, &machine);
    if (st != NATSL_OK || app->rank != 0) return natsl_app_agree(app, st);
    const natsl_part_weights weights = weights_of(d);
    for (size_t i = 0; i < d->n_turns; i++) tokens += d->all[d->turn[i]].tokens;
    printf("documents   %zu of %lld tokens together", d->n_turns, (long long)tokens);
    if (d->n_turns < d->n) printf(", %zu left out", d->n - d->n_turns);
    printf("\n");
    for (size_t k = 0; k < d->n_phases && st == NATSL_OK; k++) {
        const natsl_documents_phase *phase = &d->phases[k];
        const natsl_document *longest = &d->all[phase->longest];
        const int groups = app->size / phase->per;
        natsl_plan plan;
        natsl_prediction prediction;
        size_t bytes = 0;
        st = natsl_plan_make(&d->info.config, storage, phase->per, &d->options, longest->tokens, &plan);
        if (st == NATSL_OK)
            st = natsl_plan_predict(&d->info.config, &d->options, &machine, 0, longest->tokens, d->info.kept_share,
                                    d->order->scores, &plan, &prediction);
        if (st != NATSL_OK) break;
        const double alone = cost_of(d, &weights, longest->tokens) / speed_of(phase->per),
                     seconds = prediction.seconds * fmax(phase->most / alone, 1.0);
        all_s += seconds;
        printf("groups      %d of %d rank%s side by side: %zu document%s, the longest %lld tokens; predicted %s\n",
               groups, phase->per, phase->per == 1 ? "" : "s", phase->n, phase->n == 1 ? "" : "s",
               (long long)longest->tokens, natsl_format_seconds(seconds, a));
        printf("            at most %s per rank beside the weights (%s per node)\n",
               natsl_format_bytes(natsl_groups_rank_bytes(app, &need, phase->per, longest->tokens, &bytes), a),
               natsl_format_bytes((double)plan.weight_bytes, b));
    }
    if (st == NATSL_OK) {
        printf("in all      %s\n", natsl_format_seconds(all_s, a));
        natsl_summary_count(app, "documents", (int64_t)d->n);
        natsl_summary_count(app, "phases", (int64_t)d->n_phases);
        natsl_summary_real(app, "predicted_seconds", all_s);
        st = natsl_stdout_flush();
    }
    return natsl_app_agree(app, st);
}

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
    s.watch = watch;
    s.watcher = g;
    natsl_document_path(d->app->args.out, one, ".h5", out);
    order.out = out;
    order.write = d->order->write;
    order.stop = stops;
    order.stopper = g;
    if (order.directory) {
        natsl_document_path(order.directory, one, "", checkpoints);
        order.directory = checkpoints;
    } else {
        s.give_up = stops; /* there is nothing to be saved at the end of a pass */
    }
    natsl_status st = d->order->context
                          ? natsl_context_load(g->groups.comm, d->model, &s.options, d->order->context, &s.cx)
                          : natsl_context_create(g->groups.comm, d->model, &s.options, &s.cx);
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

/** Until all groups are at their end: a signal is passed on, progress shown; the processor is free for those that still work. */
static void wait_for_others(group *g)
{
    const struct timespec moment = {.tv_nsec = 5000000};
    MPI_Request request;
    natsl_wait_for("the other groups", -1);
    NATSL_MPI(MPI_Ibarrier(g->groups.control, &request));
    for (int there = 0;;) {
        NATSL_MPI(MPI_Test(&request, &there, MPI_STATUS_IGNORE));
        if (there) break;
        if (natsl_signals_caught()) natsl_groups_tell_to_stop(&g->groups);
        share_progress(g, 0);
        (void)nanosleep(&moment, NULL);
    }
    natsl_wait_for(NULL, -1);
}

/** All documents of a phase; *before: counts so far, equal on all ranks. */
static natsl_status run_phase(natsl_documents *d, const natsl_documents_phase *phase, natsl_progress *progress,
                              count *before, int64_t total)
{
    natsl_app *app = d->app;
    group g = {.d = d, .sent = MPI_REQUEST_NULL, .progress = progress, .before = before, .total = total};
    natsl_groups_split(app, phase->per, &g.groups);
    g.app = *app;
    g.app.comm = g.groups.comm;
    g.app.rank = g.groups.rank;
    g.app.size = g.groups.size;
    g.app.summary = NULL;
    g.app.args.quiet = 1;
    g.app.args.log_json = NULL;
    g.others = natsl_calloc((size_t)g.groups.count, sizeof *g.others, "groups");
    natsl_status st = natsl_app_agree(app, g.others ? NATSL_OK : NATSL_ERR_NOMEM);
    if (st == NATSL_OK) {
        st = work(&g, phase);
        /* an INTERNAL error inside a group has left nobody waiting: its ranks have agreed on it */
        if (st != NATSL_OK && g.groups.leads) natsl_groups_tell_to_stop(&g.groups);
        char text[1024];
        (void)snprintf(text, sizeof text, "%s", natsl_error_text());
        wait_for_others(&g);
        natsl_error_set(text);
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
    natsl_status st = plan_all(d, 1);
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
    if (a->dry_run) st = print_plan(d);
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
