/* documents_plan.c - which groups of ranks read which documents. See documents.h. */
#include "documents.h"

#include "agree.h"
#include "core.h"
#include "journal.h"
#include "machine.h"

#include <math.h>
#include <stdlib.h>

/* What twice the ranks lose of their double speed. A guess: it decides between equals. */
#define LOSS 0.03

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
        if (asked) return;
        if (takes < best * (1.0 - 1e-9)) best = takes, best_part = part;
    }
    set_ranks(p, best_part);
    (void)make_phases(p);
}

natsl_status natsl_documents_plan(natsl_documents *d, int weights_loaded)
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

natsl_status natsl_documents_print_plan(natsl_documents *d)
{
    natsl_app *app = d->app;
    const natsl_storage storage = (natsl_storage)app->args.weights;
    const natsl_groups_need need = {.info = &d->info, .options = &d->options};
    natsl_options complete;
    natsl_cost_machine machine;
    double all_s = 0.0;
    int64_t tokens = 0;
    char a[32], b[32];
    natsl_status st = natsl_documents_plan(d, 0);
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
