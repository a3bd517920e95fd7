/* report.c - the plan before and the account after reading. See job.h. */
#include "job.h"

#include "agree.h"
#include "core.h"
#include "machine.h"

#include <math.h>
#include <stdlib.h>

void natsl_summary_real(natsl_app *app, const char *name, double value)
{
    if (app->summary && isfinite(value)) (void)json_object_set_new(app->summary, name, json_real(value));
}

void natsl_summary_count(natsl_app *app, const char *name, int64_t value)
{
    if (app->summary) (void)json_object_set_new(app->summary, name, json_integer((json_int_t)value));
}

/** The ranges of the first pass. */
static void print_ranges(const natsl_plan *plan, const int64_t *first)
{
    printf("first pass  ");
    for (int r = 0; r < plan->ranks; r++) {
        if (plan->ranks > 8 && r == 4) {
            printf("... ");
            r = plan->ranks - 2;
        }
        printf("[%lld, %lld) ", (long long)first[r], (long long)first[r + 1]);
    }
    printf("\n");
}

/** How states go from rank to rank. */
static void print_state_pass(const natsl_plan *plan, natsl_state_pass asked)
{
    if (plan->scan_passes == 0 && asked == NATSL_STATE_SCAN)
        printf("state pass  relay: a scan wants three ranks that read, and no range of several stages\n");
    else if (plan->scan_passes == 0) printf("state pass  relay\n");
    else if (plan->scan_passes == plan->passes) printf("state pass  scan\n");
    else
        printf(
            "state pass  scan in %lld of %lld passes, relay where fewer than three ranks read or a range takes several "
            "stages\n",
            (long long)plan->scan_passes, (long long)plan->passes);
}

/** What the run will take, and how the tokens are spread. */
static void print_prediction(const natsl_plan *plan, const natsl_prediction *p, const natsl_cost_machine *m,
                             int64_t tokens)
{
    char a[32];
    printf("predicted   %s (%.3g s), %.0f tokens/s, efficiency %.0f %%: a rank works %.3g s (busiest %.3g s), waits "
           "%.3g s\n",
           natsl_format_seconds(p->seconds, a), p->seconds, p->seconds > 0.0 ? (double)tokens / p->seconds : 0.0,
           100.0 * p->efficiency, p->busy_mean_s, p->busy_most_s, p->wait_mean_s);
    printf("            at %.0f GFLOP/s per rank (feed-forward), %.0f %% of chunks kept; ranges of equal %s: ranks "
           "read %.0f "
           "to %.0f tokens\n",
           1e-9 * m->per_s[NATSL_WORK_FEED_FORWARD], 100.0 * plan->kept_share, plan->balanced ? "cost" : "length",
           p->tokens_least, p->tokens_most);
    const int threads = m->ranks_per_node * m->threads;
    if (m->cores_per_node > 0 && threads > m->cores_per_node)
        printf("            %d threads of a node share %d cores\n", threads, m->cores_per_node);
}

static void print_memory(const natsl_plan *plan, const natsl_cost_machine *m)
{
    char a[32], b[32], c[32], d[32], e[32], f[32];
    const double all = natsl_plan_rank_bytes(plan, m->ranks_per_node);
    printf("memory      per rank %s, its share of the weights (%s per node) included: buffers %s, rows %s, context %s,",
           natsl_format_bytes(all, a), natsl_format_bytes((double)plan->weight_bytes, b),
           natsl_format_bytes((double)plan->stage_bytes, c), natsl_format_bytes((double)plan->residual_bytes, d),
           natsl_format_bytes((double)plan->context_bytes, e));
    if (plan->scan_passes > 0) printf(" summaries %s,", natsl_format_bytes((double)plan->scan_bytes, f));
    printf("\n            kept keys and values %s (%s if every chunk were kept), lists %s, libraries %s\n",
           natsl_format_bytes((double)plan->kept_bytes, a), natsl_format_bytes((double)plan->kept_bytes_all, b),
           natsl_format_bytes((double)plan->other_bytes, c), natsl_format_bytes((double)plan->baseline_bytes, f));
}

static void plan_summary(natsl_app *app, const natsl_plan *plan, const natsl_prediction *p, double bytes)
{
    natsl_summary_real(app, "predicted_seconds", p->seconds);
    natsl_summary_real(app, "predicted_efficiency", p->efficiency);
    natsl_summary_real(app, "predicted_wait_seconds", p->wait_mean_s);
    natsl_summary_real(app, "expected_kept_share", plan->kept_share);
    natsl_summary_count(app, "balanced", plan->balanced);
    natsl_summary_real(app, "planned_bytes", bytes);
}

natsl_status natsl_job_print_plan(natsl_job *s, int64_t tokens)
{
    natsl_plan plan;
    natsl_prediction prediction;
    natsl_cost_machine machine;
    natsl_options complete;
    natsl_app *app = s->app;
    const natsl_storage weights = (natsl_storage)app->args.weights;
    natsl_status st = natsl_plan_make(&s->info.config, weights, app->size, &s->options, tokens, &plan);
    if (st == NATSL_OK) st = natsl_options_complete(&s->info.config, app->size, &s->options, &complete);
    if ((st = natsl_app_agree(app, st)) != NATSL_OK) return st;
    plan.baseline_bytes = natsl_plan_baseline(app->comm);
    if ((st = natsl_machine_find(app->comm, &s->info.config, &complete, weights, &machine)) != NATSL_OK) return st;
    if (app->rank == 0) {
        st = natsl_plan_predict(&s->info.config, &s->options, &machine, 0, tokens, s->info.kept_share, 1, &plan,
                                &prediction);
        int64_t *first = natsl_alloc((size_t)plan.ranks + 1, sizeof *first, "ranges");
        if (!first) st = NATSL_ERR_NOMEM;
        if (st == NATSL_OK) {
            char a[32], b[32], c[32];
            natsl_plan_ranges(&s->info.config, &plan, tokens, 0, first);
            printf("tokens      %lld in %lld pass%s of at most %lld, stages of at most %lld\n", (long long)tokens,
                   (long long)plan.passes, plan.passes == 1 ? "" : "es", (long long)plan.pass_tokens,
                   (long long)plan.stage_tokens);
            printf("ranks       %d, %d thread%s each\n", plan.ranks, plan.threads, plan.threads == 1 ? "" : "s");
            print_ranges(&plan, first);
            print_state_pass(&plan, s->options.state_pass);
            print_prediction(&plan, &prediction, &machine, tokens);
            print_memory(&plan, &machine);
            printf("exchange    halo %s, states %s, kept keys and values at most %s\n",
                   natsl_format_bytes((double)plan.halo_bytes, a), natsl_format_bytes((double)plan.state_bytes, b),
                   natsl_format_bytes((double)plan.kept_bytes_all_sent, c));
            plan_summary(app, &plan, &prediction, natsl_plan_rank_bytes(&plan, machine.ranks_per_node));
            st = natsl_stdout_flush();
        }
        natsl_free(first);
    }
    return natsl_app_agree(app, st);
}

/** Plan and prediction with the share of chunks that were kept: what is left of the error is the model's own. */
typedef struct hindsight {
    natsl_plan plan;
    natsl_prediction prediction;
} hindsight;

static void summarise(natsl_job *s, const natsl_stats *stats, const hindsight *after, double cpu)
{
    natsl_app *app = s->app;
    natsl_summary_count(app, "tokens_read", s->read);
    natsl_summary_real(app, "seconds", s->read_s);
    natsl_summary_real(app, "cpu_seconds", cpu);
    natsl_summary_real(app, "load_seconds", s->load_s);
    natsl_summary_real(app, "tokens_per_s", s->read_s > 0.0 ? (double)s->read / s->read_s : NAN);
    natsl_summary_count(app, "threads", s->options.threads);
    natsl_summary_count(app, "halo_bytes", stats->halo_bytes);
    natsl_summary_count(app, "state_bytes", stats->state_bytes);
    natsl_summary_count(app, "kept_bytes", stats->kept_bytes);
    natsl_summary_count(app, "directory_bytes", stats->directory_bytes);
    natsl_summary_count(app, "row_bytes", stats->row_bytes);
    natsl_summary_count(app, "kept_chunks", stats->kept_chunks);
    natsl_summary_count(app, "chunks", stats->chunks);
    natsl_summary_count(app, "resident_bytes", (int64_t)stats->resident_bytes);
    natsl_summary_count(app, "peak_bytes", (int64_t)stats->peak_bytes);
    natsl_summary_count(app, "weight_bytes", (int64_t)stats->weight_bytes);
    natsl_summary_count(app, "stage_bytes", (int64_t)stats->stage_bytes);
    natsl_summary_count(app, "residual_bytes", (int64_t)stats->residual_bytes);
    natsl_summary_count(app, "kept_store_bytes", (int64_t)stats->kept_store_bytes);
    natsl_summary_real(app, "wait_seconds", stats->wait_s);
    if (app->rank == 0 && s->prediction.seconds > 0.0) {
        const int per_node = s->machine.ranks_per_node;
        plan_summary(app, &s->plan, &s->prediction, natsl_plan_rank_bytes(&s->plan, per_node));
        natsl_summary_real(app, "prediction_error", s->prediction.seconds / s->read_s - 1.0);
        natsl_summary_real(app, "predicted_busy_seconds", after->prediction.busy_mean_s);
        natsl_summary_real(app, "predicted_seconds_kept", after->prediction.seconds);
        natsl_summary_real(app, "prediction_error_kept", after->prediction.seconds / s->read_s - 1.0);
        natsl_summary_real(app, "planned_bytes_kept", natsl_plan_rank_bytes(&after->plan, per_node));
    }
    json_t *phases = json_object();
    for (int i = 0; phases && natsl_stats_phase_name(i); i++)
        (void)json_object_set_new(phases, natsl_stats_phase_name(i), json_real(stats->phase_s[i]));
    if (phases && app->summary) (void)json_object_set(app->summary, "phase_seconds", phases);
    json_decref(phases);
}

natsl_status natsl_job_report(natsl_job *s, FILE *to)
{
    natsl_stats stats;
    hindsight after = {0};
    double cpu = s->cpu_s;
    natsl_status st = natsl_context_stats(s->cx, &stats);
    if (st != NATSL_OK) return st;
    NATSL_MPI(MPI_Allreduce(MPI_IN_PLACE, &cpu, 1, MPI_DOUBLE, MPI_SUM, s->app->comm));
    cpu /= s->app->size;
    const double share = stats.chunks > 0 ? (double)stats.kept_chunks / (double)stats.chunks : 0.0;
    if (s->app->rank == 0 && s->prediction.seconds > 0.0)
        st = natsl_job_predict(s, share, &after.plan, &after.prediction);
    if ((st = natsl_app_agree(s->app, st)) != NATSL_OK) return st;
    summarise(s, &stats, &after, cpu);
    if (s->app->rank != 0 || s->app->args.quiet) return NATSL_OK;
    char a[32], b[32], c[32], d[32];
    fprintf(to, "time        %.2f s, %.0f tokens/s (model loaded in %.2f s)\n", s->read_s,
            s->read_s > 0.0 ? (double)s->read / s->read_s : 0.0, s->load_s);
    if (s->prediction.seconds > 0.0)
        fprintf(to,
                "predicted   %.2f s for %.0f %% of chunks kept: %+.0f %%; %.2f s for those that were kept: %+.0f %% "
                "(processors: "
                "%.2f s per rank)\n",
                s->prediction.seconds, 100.0 * s->plan.kept_share, 100.0 * (s->prediction.seconds / s->read_s - 1.0),
                after.prediction.seconds, 100.0 * (after.prediction.seconds / s->read_s - 1.0), cpu);
    fprintf(to, "phases      ");
    for (int i = 0; natsl_stats_phase_name(i); i++)
        fprintf(to, "%s %.2f  ", natsl_stats_phase_name(i), stats.phase_s[i]);
    fprintf(to, "(seconds, slowest rank of each)\n");
    fprintf(
        to,
        "memory      %s at most per rank, pages of others that it reads included; weights %s per node, kept keys and "
        "values %s\n",
        natsl_format_bytes((double)stats.peak_bytes, a), natsl_format_bytes((double)stats.weight_bytes, b),
        natsl_format_bytes((double)stats.kept_store_bytes, c));
    const double planned = natsl_plan_rank_bytes(&after.plan, s->machine.ranks_per_node);
    if (stats.resident_bytes > 0 && s->prediction.seconds > 0.0)
        fprintf(to, "            %s at most per rank, each page counted once; planned %s for what was kept: %+.0f %%\n",
                natsl_format_bytes((double)stats.resident_bytes, a), natsl_format_bytes(planned, b),
                100.0 * (planned / (double)stats.resident_bytes - 1.0));
    fprintf(to, "exchanged   halo %s, states %s, kept keys and values %s, directory %s\n",
            natsl_format_bytes((double)stats.halo_bytes, a), natsl_format_bytes((double)stats.state_bytes, b),
            natsl_format_bytes((double)stats.kept_bytes, c), natsl_format_bytes((double)stats.directory_bytes, d));
    if (stats.chunks > 0)
        fprintf(to, "kept        %.1f %% of %lld chunks (chunk, head, NAtS-L layer)\n",
                100.0 * (double)stats.kept_chunks / (double)stats.chunks, (long long)stats.chunks);
    return NATSL_OK;
}
