/* eval_plan.c - how many ranks read a sample together, and what an evaluation takes. See eval_job.h. */
#include "eval_job.h"

#include "agree.h"
#include "context_impl.h"
#include "core.h"
#include "groups.h"
#include "machine.h"

#include <stdio.h>

/** A context that is branched is there twice. */
static natsl_groups_need need_of(const natsl_eval_job *j, int weights_loaded)
{
    return (natsl_groups_need){
        .info = &j->info, .options = &j->options, .twice = j->shares, .weights_loaded = weights_loaded};
}

natsl_status natsl_eval_choose_ranks(natsl_eval_job *j, int weights_loaded)
{
    natsl_app *app = j->app;
    const natsl_groups_need need = need_of(j, weights_loaded);
    const int64_t asked = app->args.ranks_per_sample;
    for (size_t i = 0; i < j->n_lengths; i++)
        j->per_sample[i] = asked == 0 ? 1 : asked < app->size ? (int)asked : app->size;
    if (asked == 0) natsl_groups_choose(app, &need, j->lengths, j->n_lengths, j->per_sample);
    return NATSL_OK;
}

/** Groups of ranks that work side by side on samples of lengths[i]. */
static int groups_of(const natsl_eval_job *j, size_t i) { return j->app->size / j->per_sample[i]; }

natsl_status natsl_eval_print_plan(natsl_eval_job *j)
{
    natsl_app *app = j->app;
    natsl_options complete;
    natsl_cost_machine machine;
    const natsl_groups_need need = need_of(j, 0);
    double all_s = 0.0;
    char a[32], b[32];
    natsl_status st = natsl_options_complete(&j->info.config, app->size, &j->options, &complete);
    if ((st = natsl_app_agree(app, st)) != NATSL_OK) return st;
    if ((st = natsl_machine_find(app->comm, &j->info.config, &complete, (natsl_storage)app->args.weights, &machine)) !=
        NATSL_OK)
        return st;
    if ((st = natsl_eval_choose_ranks(j, 0)) != NATSL_OK) return st;
    for (size_t i = 0; i < j->n_lengths && st == NATSL_OK && app->rank == 0; i++) {
        natsl_plan plan;
        natsl_prediction prediction;
        size_t weights = 0;
        int64_t samples = 0, most = 0;
        const int64_t groups = groups_of(j, i);
        for (size_t t = 0; t < j->n_tasks; t++) {
            const int64_t n = natsl_eval_samples_of(j, t, j->lengths[i]);
            samples += n;
            if (n > most) most = n;
        }
        st = natsl_plan_make(&j->info.config, (natsl_storage)app->args.weights, j->per_sample[i], &j->options,
                             j->lengths[i], &plan);
        if (st == NATSL_OK)
            st = natsl_plan_predict(&j->info.config, &j->options, &machine, 0, j->lengths[i], j->info.kept_share, 0,
                                    &plan, &prediction);
        if (st != NATSL_OK) break;
        const double seconds = prediction.seconds * (double)((samples + groups - 1) / groups);
        all_s += seconds;
        printf("length      %lld: %zu task%s of %lld samples, %d rank%s per sample, %lld group%s side by side\n",
               (long long)j->lengths[i], j->n_tasks, j->n_tasks == 1 ? "" : "s", (long long)most, j->per_sample[i],
               j->per_sample[i] == 1 ? "" : "s", (long long)groups, groups == 1 ? "" : "s");
        printf("            reading a sample %.3g s, all of them %s; at most %s per rank beside the weights (%s per "
               "node)\n",
               prediction.seconds, natsl_format_seconds(seconds, a),
               natsl_format_bytes(natsl_groups_rank_bytes(app, &need, j->per_sample[i], j->lengths[i], &weights), b),
               natsl_format_bytes((double)plan.weight_bytes, (char[32]){0}));
    }
    if (st == NATSL_OK && app->rank == 0) {
        printf("in all      %s, without generating\n", natsl_format_seconds(all_s, a));
        st = natsl_stdout_flush();
    }
    return natsl_app_agree(app, st);
}
