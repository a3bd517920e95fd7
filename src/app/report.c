/* report.c - the plan before and the account after reading. See job.h. */
#include "job.h"

#include "agree.h"
#include "core.h"

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

natsl_status natsl_job_print_plan(natsl_job *s, int64_t tokens)
{
    natsl_plan plan;
    natsl_status st =
        natsl_plan_make(&s->info.config, (natsl_storage)s->app->args.weights, s->app->size, &s->options, tokens, &plan);
    if ((st = natsl_app_agree(s->app, st)) != NATSL_OK) return st;
    if (s->app->rank == 0) {
        int64_t *first = natsl_alloc((size_t)plan.ranks + 1, sizeof *first, "ranges");
        if (!first) st = NATSL_ERR_NOMEM;
        if (st == NATSL_OK) {
            char a[32], b[32], c[32], d[32], e[32];
            natsl_plan_ranges(&s->info.config, &plan, tokens, 0, first);
            printf("tokens      %lld in %lld pass%s of at most %lld, stages of at most %lld\n", (long long)tokens,
                   (long long)plan.passes, plan.passes == 1 ? "" : "es", (long long)plan.pass_tokens,
                   (long long)plan.stage_tokens);
            printf("ranks       %d, %d thread%s each\n", plan.ranks, plan.threads, plan.threads == 1 ? "" : "s");
            print_ranges(&plan, first);
            print_state_pass(&plan, s->options.state_pass);
            const double per_rank = (double)plan.stage_bytes + (double)plan.residual_bytes +
                                    (double)plan.context_bytes + (double)plan.scan_bytes;
            printf("memory      weights %s per node; per rank %s (buffers %s, rows %s, context %s",
                   natsl_format_bytes((double)plan.weight_bytes, a), natsl_format_bytes(per_rank, b),
                   natsl_format_bytes((double)plan.stage_bytes, c), natsl_format_bytes((double)plan.residual_bytes, d),
                   natsl_format_bytes((double)plan.context_bytes, e));
            if (plan.scan_passes > 0) printf(", summaries %s", natsl_format_bytes((double)plan.scan_bytes, a));
            printf(")\n            kept keys and values, if every chunk were kept: %s per rank\n",
                   natsl_format_bytes((double)plan.kept_bytes_all, a));
            printf("exchange    halo %s, states %s, kept keys and values at most %s\n",
                   natsl_format_bytes((double)plan.halo_bytes, a), natsl_format_bytes((double)plan.state_bytes, b),
                   natsl_format_bytes((double)plan.kept_bytes_all_sent, c));
            st = natsl_stdout_flush();
        }
        natsl_free(first);
    }
    return natsl_app_agree(s->app, st);
}

static void summarise(natsl_job *s, const natsl_stats *stats)
{
    natsl_app *app = s->app;
    natsl_summary_count(app, "tokens_read", s->read);
    natsl_summary_real(app, "seconds", s->read_s);
    natsl_summary_real(app, "load_seconds", s->load_s);
    natsl_summary_real(app, "tokens_per_s", s->read_s > 0.0 ? (double)s->read / s->read_s : NAN);
    natsl_summary_count(app, "threads", s->options.threads);
    natsl_summary_count(app, "halo_bytes", stats->halo_bytes);
    natsl_summary_count(app, "state_bytes", stats->state_bytes);
    natsl_summary_count(app, "kept_bytes", stats->kept_bytes);
    natsl_summary_count(app, "directory_bytes", stats->directory_bytes);
    natsl_summary_count(app, "kept_chunks", stats->kept_chunks);
    natsl_summary_count(app, "chunks", stats->chunks);
    natsl_summary_count(app, "peak_bytes", (int64_t)stats->peak_bytes);
    natsl_summary_count(app, "weight_bytes", (int64_t)stats->weight_bytes);
    natsl_summary_count(app, "stage_bytes", (int64_t)stats->stage_bytes);
    natsl_summary_count(app, "residual_bytes", (int64_t)stats->residual_bytes);
    natsl_summary_count(app, "kept_store_bytes", (int64_t)stats->kept_store_bytes);
    natsl_summary_real(app, "wait_seconds", stats->wait_s);
    json_t *phases = json_object();
    for (int i = 0; phases && natsl_stats_phase_name(i); i++)
        (void)json_object_set_new(phases, natsl_stats_phase_name(i), json_real(stats->phase_s[i]));
    if (phases && app->summary) (void)json_object_set(app->summary, "phase_seconds", phases);
    json_decref(phases);
}

natsl_status natsl_job_report(natsl_job *s, FILE *to)
{
    natsl_stats stats;
    const natsl_status st = natsl_context_stats(s->cx, &stats);
    if (st != NATSL_OK) return st;
    summarise(s, &stats);
    if (s->app->rank != 0 || s->app->args.quiet) return NATSL_OK;
    char a[32], b[32], c[32], d[32];
    fprintf(to, "time        %.2f s, %.0f tokens/s (model loaded in %.2f s)\n", s->read_s,
            s->read_s > 0.0 ? (double)s->read / s->read_s : 0.0, s->load_s);
    fprintf(to, "phases      ");
    for (int i = 0; natsl_stats_phase_name(i); i++)
        fprintf(to, "%s %.2f  ", natsl_stats_phase_name(i), stats.phase_s[i]);
    fprintf(to, "(seconds, slowest rank of each)\n");
    fprintf(to, "memory      %s at most per rank; weights %s per node, kept keys and values %s\n",
            natsl_format_bytes((double)stats.peak_bytes, a), natsl_format_bytes((double)stats.weight_bytes, b),
            natsl_format_bytes((double)stats.kept_store_bytes, c));
    fprintf(to, "exchanged   halo %s, states %s, kept keys and values %s, directory %s\n",
            natsl_format_bytes((double)stats.halo_bytes, a), natsl_format_bytes((double)stats.state_bytes, b),
            natsl_format_bytes((double)stats.kept_bytes, c), natsl_format_bytes((double)stats.directory_bytes, d));
    if (stats.chunks > 0)
        fprintf(to, "kept        %.1f %% of %lld chunks (chunk, head, NAtS-L layer)\n",
                100.0 * (double)stats.kept_chunks / (double)stats.chunks, (long long)stats.chunks);
    return NATSL_OK;
}
