/* train_report.c - what a training says: lines of steps, and validation. See train_job.h. */
#include "agree.h"
#include "core.h"
#include "train_job.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

natsl_status natsl_train_give(void *user, int64_t first, int64_t count, int32_t *ids, int32_t *targets)
{
    const natsl_train_text *w = user;
    memcpy(ids, w->ids + first, (size_t)count * sizeof *ids);
    memcpy(targets, w->targets + first, (size_t)count * sizeof *targets);
    return NATSL_OK;
}

/** JSON knows no infinity: null. */
static json_t *number(double x) { return isfinite(x) ? json_real(x) : json_null(); }

void natsl_train_report(natsl_train_job *j, double rate)
{
    int64_t before = 0;
    const size_t phase = natsl_spec_phase_of(&j->spec, j->step - 1, &before);
    NATSL_MPI(MPI_Allreduce(MPI_IN_PLACE, &j->tokens, 1, MPI_INT64_T, MPI_SUM, j->app->comm));
    const double n = (double)j->steps, kept = j->choices > 0 ? (double)j->kept / (double)j->choices : 0.0;
    const double expected = j->choices > 0 ? j->expected / (double)j->choices : 0.0;
    const double speed = j->seconds > 0.0 ? (double)j->tokens / j->seconds : 0.0;
    if (j->app->rank == 0) {
        natsl_train_log(j, "step",
                        json_pack("{s:i, s:o, s:o, s:f, s:f, s:o, s:f, s:I, s:f, s:f, s:f, s:f, s:I}", "phase",
                                  (int)phase, "loss", number(j->loss / n), "gradient_norm", number(j->norm / n),
                                  "learning_rate", rate, "kept", kept, "expected_kept", number(expected),
                                  "tokens_per_s", speed, "tokens", (json_int_t)j->tokens, "seconds", j->seconds,
                                  "forward_s", j->forward_s, "backward_s", j->backward_s, "sum_s", j->sum_s, "updates",
                                  (json_int_t)j->adamw.steps));
        if (!j->app->args.quiet) {
            printf("step %lld of %lld  loss %.4f  norm %.3f  rate %.2e  kept %.3f (expected %.3f)  %.0f tokens/s\n",
                   (long long)j->step, (long long)j->spec.steps, j->loss / n, j->norm / n, rate, kept, expected, speed);
            (void)fflush(stdout);
        }
    }
    j->loss = j->norm = j->seconds = j->forward_s = j->backward_s = j->sum_s = j->expected = 0.0;
    j->steps = j->tokens = j->targets_done = j->kept = j->choices = 0;
}

/** Right answers and right tokens among the hits of a window. */
static void count_hits(const natsl_train_job *j, const int32_t *targets, int64_t tokens, size_t answers,
                       int64_t *counts)
{
    for (int64_t i = 0; i < tokens; i++) counts[0] += targets[i] >= 0, counts[1] += j->hits[i];
    for (size_t a = 0; a < answers; a++) {
        int64_t right = 1;
        if (j->answers[a].again) continue; /* a needle told once more, which is not a question */
        for (int64_t i = j->answers[a].begin; i < j->answers[a].end; i++) right &= j->hits[i];
        counts[2]++, counts[3] += right;
    }
}

/** Validation windows of one length. */
static natsl_status validate_length(natsl_train_job *j, int64_t tokens, int64_t *kept, int64_t *choices)
{
    int64_t counts[4] = {0}; /* tokens, right ones, answers, right ones */
    const double start = natsl_now_s();
    natsl_status st = NATSL_OK;
    natsl_trainer_clear(j->trainer);
    for (int64_t w = j->group; st == NATSL_OK && w < j->spec.validation.windows; w += j->groups) {
        size_t answers = NATSL_TRAIN_ANSWERS;
        st = natsl_data_window(j->validation, NATSL_DATA_VALIDATION, w, tokens, j->ids, j->targets, &j->counts[0],
                               j->answers, &answers);
        natsl_train_text text = {j->ids, j->targets};
        const natsl_window window = {.tokens = j->counts[0], .user = &text, .read = natsl_train_give, .scale = 1.0};
        if (st == NATSL_OK) st = natsl_trainer_evaluate(j->trainer, &window, j->hits);
        if (st == NATSL_OK && j->leads) count_hits(j, j->targets, j->counts[0], answers, counts);
    }
    if ((st = natsl_app_agree(j->app, st)) != NATSL_OK) return st;
    NATSL_MPI(MPI_Allreduce(MPI_IN_PLACE, counts, 4, MPI_INT64_T, MPI_SUM, j->app->comm));
    const natsl_train_sums *sums = natsl_trainer_sum(j->trainer);
    json_t *layers = json_array();
    for (int l = 0; layers && l < j->spec.model.num_hidden_layers; l++) {
        const double share = sums->chunks[l] > 0 ? (double)sums->kept[l] / (double)sums->chunks[l] : 0.0;
        if (j->spec.model.kind[l] == NATSL_LAYER_NATS) (void)json_array_append_new(layers, json_real(share));
        *kept += sums->kept[l];
        *choices += sums->chunks[l];
    }
    const double loss = sums->targets > 0 ? sums->loss / (double)sums->targets : 0.0;
    const double right = counts[0] > 0 ? (double)counts[1] / (double)counts[0] : 0.0;
    const double answers = counts[2] > 0 ? (double)counts[3] / (double)counts[2] : 0.0;
    if (j->app->rank == 0 && !j->app->args.quiet) {
        printf("validation %lld tokens  loss %.4f  tokens right %.3f", (long long)tokens, loss, right);
        if (counts[2] > 0)
            printf("  answers right %.3f (%lld of %lld)", answers, (long long)counts[3], (long long)counts[2]);
        printf("  kept");
        for (size_t i = 0; i < json_array_size(layers); i++)
            printf(" %.3f", json_real_value(json_array_get(layers, i)));
        printf("\n");
        (void)fflush(stdout);
    }
    json_t *line = json_pack("{s:I, s:I, s:o, s:f, s:o?, s:f}", "window_tokens", (json_int_t)tokens, "windows",
                             (json_int_t)j->spec.validation.windows, "loss", number(loss), "token_accuracy", right,
                             "kept_by_layer", layers, "seconds", natsl_now_s() - start);
    if (line && counts[2] > 0) {
        (void)json_object_set_new(line, "answers", json_integer((json_int_t)counts[2]));
        (void)json_object_set_new(line, "answer_accuracy", json_real(answers));
    }
    natsl_train_log(j, "validation", line);
    return NATSL_OK;
}

natsl_status natsl_train_validate(natsl_train_job *j)
{
    natsl_status st = NATSL_OK;
    int64_t kept = 0, choices = 0;
    for (size_t i = 0; st == NATSL_OK && i < j->spec.validation.n_tokens; i++)
        st = validate_length(j, j->spec.validation.tokens[i], &kept, &choices);
    if (st == NATSL_OK && choices > 0) j->kept_share = (double)kept / (double)choices;
    return st;
}
