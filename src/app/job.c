/* job.c - model, context, document. See job.h. */
#include "job.h"

#include "agree.h"
#include "core.h"

#include <math.h>
#include <string.h>
#include <sys/resource.h>

void natsl_job_begin(natsl_job *s, natsl_app *app)
{
    const natsl_args *a = &app->args;
    memset(s, 0, sizeof *s);
    s->app = app;
    s->options = (natsl_options){.threads = (int)a->threads,
                                 .kernels = (natsl_kernel_set)a->kernels,
                                 .route = (natsl_route)a->route,
                                 .kept = (natsl_storage)a->kept,
                                 .state_pass = (natsl_state_pass)a->state_pass,
                                 .balance = (natsl_balance)a->balance,
                                 .pass_tokens = a->pass_tokens,
                                 .stage_tokens = a->stage_tokens};
}

/** The model's tokenizer, where it has one that text can be read with. */
static natsl_status make_tokenizer(natsl_job *s, const char *json, size_t length)
{
    const int32_t vocab = s->info.config.vocab_size;
    natsl_status st = NATSL_OK;
    if (json || (vocab >= NATSL_BYTE_TOKENS && strcmp(s->info.tokenizer, "none") != 0))
        st = natsl_tokenizer_create(s->info.tokenizer, vocab, json, length, s->app->args.model, &s->tokenizer);
    st = natsl_app_agree(s->app, st);
    if (!json || st != NATSL_ERR_INPUT) return st;
    natsl_tokenizer_destroy(&s->tokenizer);
    (void)snprintf(s->no_tokenizer, sizeof s->no_tokenizer, "%s", natsl_error_text());
    return NATSL_OK;
}

natsl_status natsl_job_look(natsl_job *s, natsl_app *app)
{
    natsl_job_begin(s, app);
    natsl_status st = app->rank == 0 ? natsl_model_file_info(app->args.model, &s->info) : NATSL_OK;
    if ((st = natsl_app_agree(app, st)) != NATSL_OK) return st;
    NATSL_MPI(MPI_Bcast(&s->info, sizeof s->info, MPI_BYTE, 0, app->comm));
    char *json = NULL;
    size_t length = 0;
    st = natsl_model_file_tokenizer(app->comm, app->args.model, s->info.tokenizer, &json, &length);
    if (st == NATSL_OK) st = make_tokenizer(s, json, length);
    natsl_free(json);
    return st;
}

natsl_status natsl_job_open(natsl_job *s, natsl_app *app, const char *context)
{
    const double start = natsl_now_s();
    natsl_job_begin(s, app);
    s->baseline_bytes = natsl_plan_baseline(app->comm);
    natsl_status st = natsl_model_open(app->comm, app->args.model, (natsl_storage)app->args.weights, &s->model);
    if (st != NATSL_OK) return st;
    s->load_s = natsl_now_s() - start;
    s->info = s->model->info;
    size_t length = 0;
    const char *json = natsl_model_tokenizer_json(s->model, &length);
    st = make_tokenizer(s, json, length);
    if (st != NATSL_OK) natsl_job_close(s);
    if (st != NATSL_OK) return st;
    st = context ? natsl_context_load(app->comm, s->model, &s->options, context, &s->cx)
                 : natsl_context_create(app->comm, s->model, &s->options, &s->cx);
    if (st != NATSL_OK) natsl_job_close(s);
    return st;
}

void natsl_job_close(natsl_job *s)
{
    natsl_result_abandon(&s->result);
    natsl_doc_close(&s->doc);
    natsl_tokenizer_destroy(&s->tokenizer);
    natsl_context_destroy(&s->cx);
    natsl_model_close(&s->model);
}

natsl_status natsl_job_no_text(const natsl_job *s)
{
    return s->no_tokenizer[0]
               ? natsl_fail(NATSL_ERR_INPUT, "%s", s->no_tokenizer)
               : natsl_fail(NATSL_ERR_INPUT, "%s: the model has no tokenizer: text cannot be read", s->app->args.model);
}

natsl_status natsl_job_doc_status(natsl_status st, const char *no_tokenizer)
{
    if (st != NATSL_ERR_INPUT || !no_tokenizer[0] || !strstr(natsl_error_text(), "tokenizer.json")) return st;
    return natsl_fail(st, "%s", no_tokenizer); /* the text needs it */
}

natsl_status natsl_job_open_doc(natsl_job *s, const char *path)
{
    const int special = s->app->args.special_tokens;
    const natsl_status st = natsl_doc_open(s->app->comm, path, &s->info, s->tokenizer, special, &s->doc);
    return natsl_job_doc_status(st, s->no_tokenizer);
}

/* ---- reading --------------------------------------------------------------------------------------------------------- */

/** Whether the reading is to end before its end. */
static natsl_status given_up(const natsl_job *s)
{
    if (!s->give_up || !s->give_up(s->watcher)) return NATSL_OK;
    return natsl_fail(NATSL_INTERRUPTED, "interrupted while reading");
}

static natsl_status give_tokens(void *user, int64_t first, int64_t count, int32_t *ids)
{
    natsl_job *s = user;
    const natsl_status st = given_up(s);
    return st != NATSL_OK ? st : natsl_doc_read(s->doc, first - s->doc_begin, count, ids);
}

natsl_status natsl_job_add(void *job, int64_t first, int64_t count, const float *values)
{
    natsl_job *s = job;
    for (int64_t i = 0; i < count; i++) {
        const double v = (double)values[i];
        if (!(fabs(v) <= 0x1p30)) /* also NaN; the bound keeps the sum of 2^32 tokens in 96 bits */
            return natsl_fail(NATSL_ERR_INPUT, "%s: gives token %lld the log-probability %g, expected 0 to -1e9",
                              s->app->args.model, (long long)(first + i + 1), v);
        s->sum.units += (__int128)nearbyint(v * 0x1p30);
    }
    return NATSL_OK;
}

static natsl_status take_logprobs(void *user, int64_t first, int64_t count, const float *values)
{
    natsl_job *s = user;
    const natsl_status st = natsl_job_add(s, first, count, values);
    return st == NATSL_OK ? natsl_result_logprobs(s->result, first, count, values) : st;
}

static natsl_status take_hidden(void *user, int64_t first, int64_t count, const float *rows)
{
    natsl_job *s = user;
    return natsl_result_hidden(s->result, first, count, rows);
}

static natsl_status take_choices(void *user, int layer, int64_t first_chunk, int64_t count, const uint8_t *keep)
{
    natsl_job *s = user;
    const natsl_status st = given_up(s);
    return st != NATSL_OK ? st : natsl_result_choices(s->result, layer, first_chunk, count, keep);
}

static void take_progress(void *user, int64_t done, int64_t total)
{
    natsl_job *s = user;
    const int64_t before = natsl_context_position(s->cx) - s->run_begin; /* of this run, in windows before this one */
    natsl_progress_update(&s->progress, before + done, before + total);
    if (s->watch) s->watch(s->watcher, natsl_context_position(s->cx) - s->doc_begin + done);
}

static int ask_pause(void *user)
{
    natsl_job *s = user;
    return s->pause(s->pauser);
}

/** Seconds of processors that this process has used. */
static double cpu_s(void)
{
    struct rusage u;
    if (getrusage(RUSAGE_SELF, &u) != 0) return NAN;
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) + 1e-6 * (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec);
}

natsl_status natsl_job_predict(natsl_job *s, double known_share, natsl_plan *plan, natsl_prediction *prediction)
{
    natsl_status st = natsl_plan_make(&s->info.config, (natsl_storage)s->app->args.weights, s->app->size, &s->options,
                                      s->predicted_tokens, plan);
    if (st == NATSL_OK)
        st = natsl_plan_predict(&s->info.config, &s->options, &s->machine, s->predicted_begin, s->predicted_tokens,
                                known_share, s->predicted_scores, plan, prediction);
    plan->baseline_bytes = s->baseline_bytes;
    return st;
}

/** What reading `length` more tokens will take: for the report, so where there is none, nothing is measured or computed. */
static natsl_status predict(natsl_job *s, int64_t length, int scores)
{
    natsl_app *app = s->app;
    if (app->args.quiet && !app->args.log_json) return NATSL_OK;
    natsl_status st = natsl_context_machine(s->cx, &s->machine);
    s->predicted_begin = natsl_context_position(s->cx);
    s->predicted_tokens = length;
    s->predicted_scores = scores;
    if (st == NATSL_OK && app->rank == 0)
        st = natsl_job_predict(s, s->model->info.kept_share, &s->plan, &s->prediction);
    return natsl_app_agree(app, st);
}

natsl_status natsl_job_read_start(natsl_job *s, int64_t begin)
{
    s->doc_begin = begin;
    s->run_begin = natsl_context_position(s->cx);
    return predict(s, begin + natsl_doc_length(s->doc) - s->run_begin, s->result != NULL);
}

natsl_status natsl_job_read_go(natsl_job *s)
{
    const int64_t at = natsl_context_position(s->cx), length = s->doc_begin + natsl_doc_length(s->doc) - at;
    natsl_stream stream = {.user = s, .tokens = give_tokens, .progress = take_progress, .goes_on = at > s->doc_begin};
    if (s->result) {
        stream.logprobs = take_logprobs;
        stream.choices = take_choices;
        if (s->write_hidden) stream.hidden = take_hidden;
    }
    if (s->pause) stream.pause = ask_pause;
    const double start = natsl_now_s();
    const double cpu = cpu_s();
    if (at == s->run_begin) natsl_progress_start(&s->progress, s->app, "reading");
    const natsl_status st = natsl_context_extend(s->cx, length, &stream);
    natsl_progress_finish(&s->progress);
    s->read_s += natsl_now_s() - start;
    s->cpu_s += cpu_s() - cpu;
    if (st == NATSL_OK) s->read += natsl_context_position(s->cx) - at;
    return st;
}

natsl_status natsl_job_read_doc(natsl_job *s)
{
    const natsl_status st = natsl_job_read_start(s, natsl_context_position(s->cx));
    return st == NATSL_OK ? natsl_job_read_go(s) : st;
}

double natsl_job_mean(natsl_job *s, int64_t count)
{
    /* Two int64: the high part signed, the low 32 bits never negative. Their sums over ranks fit, and put together again they are
     * the exact sum. */
    int64_t parts[2] = {(int64_t)(s->sum.units >> 32), (int64_t)(s->sum.units & 0xffffffff)};
    NATSL_MPI(MPI_Allreduce(MPI_IN_PLACE, parts, 2, MPI_INT64_T, MPI_SUM, s->app->comm));
    const __int128 units = ((__int128)parts[0] * ((__int128)1 << 32)) + parts[1];
    return count > 0 ? (double)units / (0x1p30 * (double)count) : NAN;
}
