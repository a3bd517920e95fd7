/* cmd_train.c - natsl train: what is trained, steps of windows, the run. Its words are train_report.c's, its files train_files.c's. */
#include "agree.h"
#include "app.h"
#include "checkpoint.h"
#include "core.h"
#include "init.h"
#include "job.h"
#include "model_update.h"
#include "signals.h"
#include "train_job.h"

#include <stdio.h>
#include <string.h>

#define MOST_SKIPPED 50 /* steps in a row without a finite gradient: the training has failed */

#define AT(member) offsetof(natsl_args, member)
static const natsl_option options[] = {
    {.kind = NATSL_OPT_TEXT,
     .name = "config",
     .value = "T.json",
     .offset = AT(config),
     .need = NATSL_REQUIRED,
     .help = "what is trained, on what"},
    NATSL_OPTION_OUT("DIR", "directory for log, checkpoints and model"),
    {.kind = NATSL_OPT_COUNT,
     .name = "group",
     .value = "N",
     .offset = AT(group),
     .least = 0,
     .most = 1 << 20,
     .help = "ranks that share a window (default: 1)"},
    {.kind = NATSL_OPT_COUNT,
     .name = "log-every",
     .value = "N",
     .offset = AT(log_every),
     .least = 0,
     .most = 1 << 20,
     .help = "steps of a line in the log (default: 10)"},
    {.kind = NATSL_OPT_FLAG, .name = "changed", .offset = AT(changed), .help = "go on though T.json has changed"},
    {.kind = NATSL_OPT_END},
};

/* ---- what is trained -------------------------------------------------------------------------------------------------------- */

/** Where training starts, in path [4096]. */
static natsl_status init_path(const natsl_train_job *j, char *path)
{
    const int n = snprintf(path, 4096, "%s%s", j->spec.init[0] == '/' ? "" : j->spec.directory, j->spec.init);
    return n >= 0 && n < 4096 ? NATSL_OK
                              : natsl_fail(NATSL_ERR_INPUT, "%s: init: the path is too long", j->app->args.config);
}

/** The tokenizer that is named, or that of the model to start from where none is named: a model goes on in its own tokens, and one that
 * has no tokenizer does not get one. */
static natsl_status open_tokenizer(natsl_train_job *j)
{
    natsl_app *app = j->app;
    const natsl_spec *s = &j->spec;
    char path[4096] = "";
    natsl_status st = NATSL_OK;
    j->from.bos_token = -1;
    if (s->init && !s->tokenizer_named) {
        if ((st = init_path(j, path)) != NATSL_OK) return st;
        st = natsl_app_agree(app, app->rank == 0 ? natsl_model_file_info(path, &j->from) : NATSL_OK);
        if (st != NATSL_OK) return st;
        NATSL_MPI(MPI_Bcast(&j->from, sizeof j->from, MPI_BYTE, 0, app->comm));
        st = natsl_model_file_tokenizer(app->comm, path, j->from.tokenizer, &j->json, &j->json_length);
        j->tokenizer = j->from.tokenizer;
    } else if (s->tokenizer_file) {
        (void)snprintf(path, sizeof path, "%s", s->tokenizer_file);
        st = natsl_app_whole_file(app, s->tokenizer_file, NATSL_MAX_TOKENIZER_BYTES, "a tokenizer.json", &j->json,
                                  &j->json_length);
    }
    if (st == NATSL_OK && j->json)
        st = natsl_app_agree(
            app, natsl_tokenizer_create("json", s->model.vocab_size, j->json, j->json_length, path, &j->texts));
    return st;
}

/** The configuration: read by rank 0, parsed by all. */
static natsl_status open_spec(natsl_train_job *j)
{
    natsl_app *app = j->app;
    size_t length = 0;
    natsl_status st = natsl_app_whole_file(app, app->args.config, NATSL_MAX_CONFIG_BYTES, "a training's configuration",
                                           &j->text, &length);
    if (st != NATSL_OK) return st;
    if (memchr(j->text, '\0', length))
        return natsl_fail(NATSL_ERR_INPUT, "%s: a zero byte, expected JSON", app->args.config);
    st = natsl_spec_parse(j->text, length, app->args.config, &j->spec);
    j->tokenizer = j->spec.tokenizer;
    st = natsl_app_agree(app, st);
    return st == NATSL_OK ? open_tokenizer(j) : st;
}

static natsl_status check_options(const natsl_app *app)
{
    const natsl_args *a = &app->args;
    if (a->group > 0 && app->size % a->group != 0)
        return natsl_fail(NATSL_ERR_USAGE, "--group: %d ranks are no multiple of %lld, expected equal groups",
                          app->size, (long long)a->group);
    if (a->state_pass == NATSL_STATE_SCAN)
        return natsl_fail(NATSL_ERR_USAGE, "--state-pass: train passes states in order, expected auto or relay");
    if (a->balance == NATSL_BALANCE_ON)
        return natsl_fail(NATSL_ERR_USAGE, "--balance: train cuts ranges of equal length, expected auto or off");
    if (a->pass_tokens > 0)
        return natsl_fail(NATSL_ERR_USAGE, "--pass-tokens: train reads a window in one pass, expected 0 (automatic)");
    if (a->weights != NATSL_F32) return natsl_fail(NATSL_ERR_USAGE, "--weights: train needs float32, expected f32");
    return NATSL_OK;
}

static natsl_options train_options(const natsl_train_job *j)
{
    const natsl_args *a = &j->app->args;
    natsl_options o = {.threads = (int)a->threads,
                       .kernels = (natsl_kernel_set)a->kernels,
                       .route = (natsl_route)a->route,
                       .kept = (natsl_storage)a->kept,
                       .stage_tokens = a->stage_tokens};
    /* a range goes through a layer in one stage: as long as the longest, unless the user bounds it */
    if (o.stage_tokens == 0) o.stage_tokens = j->spec.tokens + j->spec.model.chunk;
    return o;
}

/** Sources of every phase (equal ones once) and of validation. */
static natsl_status open_data(natsl_train_job *j)
{
    const natsl_spec *s = &j->spec;
    const json_t *shared = json_object_get(s->json, "data");
    const natsl_corpus_ranks together = {.comm = j->app->comm, .tokenizer = j->texts},
                             *ranks = j->texts ? &together : NULL;
    char where[512];
    natsl_status st = NATSL_OK;
    j->data = natsl_calloc(s->n_phases, sizeof *j->data, "sources");
    if (!j->data) st = NATSL_ERR_NOMEM;
    if ((st = natsl_app_agree(j->app, st)) != NATSL_OK) return st;
    for (size_t i = 0; st == NATSL_OK && i < s->n_phases; i++) {
        for (size_t k = 0; k < i && !j->data[i]; k++) {
            if (s->phases[k].data == s->phases[i].data) j->data[i] = j->data[k];
        }
        if (s->phases[i].data == shared) (void)snprintf(where, sizeof where, "%s: data", j->app->args.config);
        else (void)snprintf(where, sizeof where, "%s: phases[%zu].data", j->app->args.config, i);
        if (!j->data[i])
            st = natsl_data_open(s->phases[i].data, where, s->directory, &s->model, j->tokenizer, ranks,
                                 (uint64_t)s->seed, &j->data[i]);
        for (size_t k = 0; st == NATSL_OK && k < s->phases[i].n_tokens; k++)
            st = natsl_data_check(j->data[i], s->phases[i].tokens[k]);
        st = natsl_app_agree(j->app, st); /* opening the next is collective, and a rank may be short of memory */
    }
    if (st != NATSL_OK || s->validation.every == 0) return st;
    (void)snprintf(where, sizeof where, "%s: validation.data", j->app->args.config);
    st = natsl_data_open(s->validation.data, where, s->directory, &s->model, j->tokenizer, ranks, (uint64_t)s->seed,
                         &j->validation);
    if (st == NATSL_OK && !natsl_data_has_validation(j->validation))
        st = natsl_fail(NATSL_ERR_INPUT, "%s: no source holds anything back for validation", where);
    for (size_t k = 0; st == NATSL_OK && k < s->validation.n_tokens; k++)
        st = natsl_data_check(j->validation, s->validation.tokens[k]);
    return st;
}

/** Hints of a window, at most. */
static size_t hint_room(const natsl_train_job *j) { return (size_t)(j->spec.tokens / j->spec.model.chunk + 1); }

/** Windows of a step that this rank's group takes, at most. */
static int64_t own_windows(const natsl_train_job *j)
{
    int64_t most = 1;
    for (size_t i = 0; i < j->spec.n_phases; i++) {
        const int64_t n = (j->spec.phases[i].windows + j->groups - 1) / j->groups;
        most = n > most ? n : most;
    }
    return most;
}

static natsl_status allocate(natsl_train_job *j)
{
    const size_t windows = (size_t)own_windows(j), tokens = (size_t)j->spec.tokens;
    size_t ids = 0;
    if (!natsl_size_mul(&ids, windows, tokens)) return natsl_fail(NATSL_ERR_NOMEM, "a step's windows are too large");
    j->ids = natsl_alloc(ids, sizeof *j->ids, "windows");
    j->targets = natsl_alloc(ids, sizeof *j->targets, "windows");
    j->counts = natsl_alloc(windows, sizeof *j->counts, "windows");
    j->hits = natsl_alloc(tokens, sizeof *j->hits, "windows");
    j->answers = natsl_alloc(NATSL_TRAIN_ANSWERS, sizeof *j->answers, "windows");
    j->told = natsl_alloc(tokens, sizeof *j->told, "windows");
    j->hints = natsl_alloc(windows, hint_room(j) * sizeof *j->hints, "hints for the gate");
    const int have = j->ids && j->targets && j->counts && j->hits && j->answers && j->told && j->hints;
    return have ? NATSL_OK : NATSL_ERR_NOMEM;
}

/** Model, trainer, optimizer with the weights to start from. */
static natsl_status open_model(natsl_train_job *j, int resumes)
{
    natsl_app *app = j->app;
    const natsl_options o = train_options(j);
    natsl_status st = natsl_model_random(app->comm, &j->spec.model, (uint64_t)j->spec.seed, NATSL_F32, &j->model);
    if (st == NATSL_OK)
        st = natsl_trainer_create(app->comm, j->model, &o, app->args.group > 0 ? (int)app->args.group : 1,
                                  j->spec.tokens, &j->trainer);
    if (st != NATSL_OK) return st;
    int rank = 0, groups = 1;
    j->group = natsl_trainer_group(j->trainer, &groups);
    j->groups = groups;
    rank = app->rank - j->group * (app->size / groups);
    j->leads = rank == 0;
    const natsl_layout *layout = natsl_trainer_layout(j->trainer);
    st = natsl_adamw_create(layout, natsl_trainer_shards(j->trainer), &j->spec.adamw, &j->adamw);
    if (st == NATSL_OK) st = allocate(j);
    if ((st = natsl_app_agree(app, st)) != NATSL_OK) return st;
    if (resumes) {
        st = natsl_train_load(j);
    } else if (j->spec.init) {
        char path[4096];
        natsl_model_info info;
        st = init_path(j, path);
        if (st == NATSL_OK) st = natsl_model_file_info(path, &info);
        if (st == NATSL_OK) st = natsl_model_file_read_flat(path, layout, j->adamw.weights);
        st = natsl_app_agree(app, st);
    } else {
        natsl_init_weights(&j->spec.model, layout, (uint64_t)j->spec.seed, j->adamw.weights);
    }
    return st == NATSL_OK ? natsl_model_update(j->model, j->adamw.weights) : st;
}

static void close_job(natsl_train_job *j)
{
    for (size_t i = 0; j->data && i < j->spec.n_phases; i++) {
        natsl_data *one = j->data[i];
        for (size_t k = i; k < j->spec.n_phases; k++) j->data[k] = j->data[k] == one ? NULL : j->data[k];
        natsl_data_close(&one);
    }
    natsl_data_close(&j->validation);
    void *const all[] = {j->data,    j->ids,  j->targets, j->counts, j->hits,
                         j->answers, j->told, j->hints,   j->text,   j->json};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) natsl_free(all[i]);
    natsl_adamw_free(&j->adamw);
    natsl_trainer_destroy(&j->trainer);
    natsl_model_close(&j->model);
    natsl_tokenizer_destroy(&j->texts);
    natsl_spec_free(&j->spec);
    natsl_train_log_close(j);
}

/* ---- windows ---------------------------------------------------------------------------------------------------------------- */

/** A number of its own for every window of the training: the stream of its gate's noise. */
static uint64_t stream_of(const natsl_train_job *j, int64_t window)
{
    uint64_t z = (uint64_t)j->spec.seed * 0x9e3779b97f4a7c15u + (uint64_t)window;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/** What the text tells, chunk by chunk: 1 where a chunk has enough of it, 0 where it has none, else -1. */
static void make_hints(const natsl_train_job *j, int64_t tokens, int8_t *hints)
{
    const int64_t chunk = j->spec.model.chunk;
    for (int64_t c = 0; c < tokens / chunk; c++) {
        int64_t told = 0, not_known = 0;
        for (int64_t i = c * chunk; i < (c + 1) * chunk; i++) told += j->told[i] > 0, not_known += j->told[i] < 0;
        hints[c] = (int8_t)(told >= j->spec.hint_tokens ? 1 : told > 0 || not_known > 0 ? -1 : 0);
    }
}

/** This group's windows of the step: *own of them in j->ids and so on; targets of all groups together in *targets. */
static natsl_status make_windows(natsl_train_job *j, size_t phase, int64_t before, int64_t *own, int64_t *targets)
{
    const natsl_spec_phase *p = &j->spec.phases[phase];
    const size_t room = (size_t)j->spec.tokens;
    natsl_status st = NATSL_OK;
    *own = *targets = 0;
    for (int64_t w = j->group; st == NATSL_OK && w < p->windows; w += j->groups, (*own)++) {
        int32_t *want = j->targets + (size_t)*own * room;
        st = natsl_data_window_told(j->data[phase], NATSL_DATA_TRAIN, before + w,
                                    natsl_spec_window_tokens(&j->spec, phase, before + w), j->ids + (size_t)*own * room,
                                    want, &j->counts[*own], NULL, NULL, j->told);
        if (st == NATSL_OK) make_hints(j, j->counts[*own], j->hints + (size_t)*own * hint_room(j));
        for (int64_t i = 0; st == NATSL_OK && j->leads && i < j->counts[*own]; i++) *targets += want[i] >= 0;
    }
    if ((st = natsl_app_agree(j->app, st)) != NATSL_OK) return st;
    NATSL_MPI(MPI_Allreduce(MPI_IN_PLACE, targets, 1, MPI_INT64_T, MPI_SUM, j->app->comm));
    return NATSL_OK;
}

/** The loss's gradient by the expected share of kept chunks: a weight, or with a target the slope of the weighted square of what
 * the share was off in the step before. */
static double kept_price(const natsl_train_job *j, const natsl_spec_phase *p)
{
    if (p->kept_target < 0.0) return p->kept_weight;
    return j->last_expected < 0.0 ? 0.0 : 2.0 * p->kept_weight * (j->last_expected - p->kept_target);
}

/** One step: gradients of all windows, then the weights. */
static natsl_status step(natsl_train_job *j)
{
    int64_t before = 0, own = 0, targets = 0;
    const double start = natsl_now_s();
    const size_t phase = natsl_spec_phase_of(&j->spec, j->step, &before), room = (size_t)j->spec.tokens;
    const natsl_spec_phase *p = &j->spec.phases[phase];
    natsl_status st = make_windows(j, phase, before, &own, &targets);
    if (st != NATSL_OK) return st;
    natsl_trainer_clear(j->trainer);
    for (int64_t w = 0; st == NATSL_OK && w < own; w++) {
        const int64_t index = before + j->group + w * j->groups;
        natsl_train_text text = {j->ids + (size_t)w * room, j->targets + (size_t)w * room};
        const natsl_window window = {.tokens = j->counts[w],
                                     .user = &text,
                                     .read = natsl_train_give,
                                     .scale = targets > 0 ? 1.0 / (double)targets : 0.0,
                                     .kept_scale = kept_price(j, p) / (double)p->windows,
                                     .hints = p->hint_weight > 0.0 ? j->hints + (size_t)w * hint_room(j) : NULL,
                                     .hint_scale = p->hint_weight / (double)p->windows,
                                     .choice = {p->gumbel ? j->spec.temperature : 0.0, stream_of(j, index)},
                                     .route = j->app->args.route ? NATSL_LEARNED : (natsl_route)p->route};
        st = natsl_trainer_add(j->trainer, &window);
        if (j->leads) j->tokens += j->counts[w];
    }
    if ((st = natsl_app_agree(j->app, st)) != NATSL_OK) return st;
    const natsl_train_sums *sums = natsl_trainer_sum(j->trainer);
    double norm = 0.0, seconds[3];
    const int64_t updates = j->adamw.steps;
    natsl_adamw_step(&j->adamw, natsl_trainer_gradients(j->trainer), natsl_spec_rate(&j->spec, j->step), &norm);
    if (j->adamw.steps > updates) {
        st = natsl_model_update(j->model, j->adamw.weights);
        j->skipped = 0;
    } else if (++j->skipped >= MOST_SKIPPED) {
        st = natsl_fail(NATSL_ERR_INPUT, "step %lld: no finite gradient for %d steps; a lower learning rate may help",
                        (long long)j->step + 1, MOST_SKIPPED);
    }
    j->step++;
    j->steps++;
    j->loss += sums->targets > 0 ? sums->loss / (double)sums->targets : 0.0;
    j->norm += norm;
    j->targets_done += sums->targets;
    j->expected += sums->expected;
    j->choices += sums->choices;
    const int chose = j->app->args.route == NATSL_LEARNED && p->route == NATSL_LEARNED && sums->choices > 0;
    j->last_expected = chose ? sums->expected / (double)sums->choices : -1.0;
    int64_t kept = 0;
    for (int l = 0; l < j->spec.model.num_hidden_layers; l++) kept += sums->kept[l];
    j->kept += kept;
    if (sums->choices > 0) {
        /* a sliding mean over steps, not over lines of the log: those depend on where a run was interrupted */
        const double now = (double)kept / (double)sums->choices;
        j->kept_share = j->kept_share > 0.0 ? 0.9 * j->kept_share + 0.1 * now : now;
    }
    natsl_trainer_seconds(j->trainer, &seconds[0], &seconds[1], &seconds[2]);
    j->forward_s += seconds[0], j->backward_s += seconds[1], j->sum_s += seconds[2];
    j->seconds += natsl_now_s() - start;
    return st;
}

/* ---- the run ---------------------------------------------------------------------------------------------------------------- */

/** What rank 0's clock and any rank's signals ask for: bit 0 a checkpoint, bit 1 the end. */
static int asked(natsl_train_job *j)
{
    int ask = natsl_signals_caught() ? 3 : 0;
    const double minutes = j->spec.checkpoint.every_minutes;
    if (j->app->rank == 0 && minutes > 0.0 && natsl_now_s() - j->saved_s >= 60.0 * minutes) ask |= 1;
    NATSL_MPI(MPI_Allreduce(MPI_IN_PLACE, &ask, 1, MPI_INT, MPI_BOR, j->app->comm));
    return ask;
}

static int due(int64_t step, int64_t every) { return every > 0 && step % every == 0; }

static natsl_status loop(natsl_train_job *j)
{
    const int64_t every = j->app->args.log_every > 0 ? j->app->args.log_every : 10;
    natsl_status st = NATSL_OK;
    while (st == NATSL_OK && j->step < j->spec.steps) {
        const double rate = natsl_spec_rate(&j->spec, j->step);
        if ((st = step(j)) != NATSL_OK) break;
        const int last = j->step == j->spec.steps, ask = asked(j);
        if (last || ask & 2 || due(j->step, every)) natsl_train_report(j, rate);
        if (j->spec.validation.every > 0 && !(ask & 2) && (last || due(j->step, j->spec.validation.every)))
            st = natsl_train_validate(j);
        if (st == NATSL_OK && (last || ask & 1 || due(j->step, j->spec.checkpoint.every_steps)))
            st = natsl_train_save(j);
        if (st == NATSL_OK && ask & 2 && !last)
            st = natsl_fail(NATSL_INTERRUPTED,
                            "interrupted after step %lld, which is saved in %s; the same command goes on",
                            (long long)j->step, j->app->args.out);
    }
    return st;
}

static natsl_status print_plan(natsl_train_job *j)
{
    natsl_app *app = j->app;
    const int group = app->args.group > 0 ? (int)app->args.group : 1;
    const natsl_options o = train_options(j);
    j->groups = app->size / group;
    natsl_train_plan plan;
    natsl_layout layout = {0};
    int64_t *first = natsl_alloc((size_t)group + 1, sizeof *first, "ranges");
    natsl_status st = first ? natsl_layout_create(&j->spec.model, NATSL_F32, &layout) : NATSL_ERR_NOMEM;
    if (st == NATSL_OK) st = natsl_train_plan_make(&j->spec.model, NATSL_F32, group, &o, j->spec.tokens, &plan, first);
    if ((st = natsl_app_agree(app, st)) == NATSL_OK && app->rank == 0) {
        char a[32], b[32], c[32], d[32], e[32];
        const double weights = (double)layout.floats * sizeof(float);
        const double windows = (double)own_windows(j) * (double)j->spec.tokens * 2 * sizeof(int32_t);
        double tokens = 0.0;
        for (size_t i = 0; i < j->spec.n_phases; i++) {
            const natsl_spec_phase *p = &j->spec.phases[i];
            double mean = 0.0;
            for (size_t k = 0; k < p->n_tokens; k++) mean += (double)p->tokens[k] / (double)p->n_tokens;
            printf("phase %-5zu %lld steps of %lld windows of at most %.0f tokens\n", i, (long long)p->steps,
                   (long long)p->windows, mean);
            tokens += mean * (double)p->windows * (double)p->steps;
        }
        printf("in all      %lld steps, at most %.0f tokens, longest window %lld tokens\n", (long long)j->spec.steps,
               tokens, (long long)j->spec.tokens);
        printf("ranks       %d, %d thread%s each, in groups of %d\n", app->size, o.threads, o.threads == 1 ? "" : "s",
               group);
        printf("memory      weights %s per node; per rank %s (rows and buffers %s, gradients and weights %s, moments "
               "%s)\n",
               natsl_format_bytes((double)plan.weight_bytes, a),
               natsl_format_bytes((double)plan.rows_bytes + (double)plan.buffer_bytes + windows + 2.0 * weights +
                                      2.0 * weights / (double)app->size,
                                  b),
               natsl_format_bytes((double)plan.rows_bytes + (double)plan.buffer_bytes + windows, c),
               natsl_format_bytes(2.0 * weights, d), natsl_format_bytes(2.0 * weights / (double)app->size, e));
        printf("            kept keys and values, if every chunk were kept: %s\n",
               natsl_format_bytes((double)plan.kept_bytes_all, a));
        st = natsl_stdout_flush();
    }
    natsl_layout_free(&layout);
    natsl_free(first);
    return natsl_app_agree(app, st);
}

static natsl_status train(natsl_train_job *j)
{
    natsl_app *app = j->app;
    int resumes = 0;
    natsl_status st = natsl_app_agree(app, open_data(j));
    if (st != NATSL_OK || app->args.dry_run) return st == NATSL_OK ? print_plan(j) : st;
    st = natsl_train_directory(app, app->args.out, &resumes);
    if (st == NATSL_OK) st = open_model(j, resumes);
    if (st == NATSL_OK) st = natsl_train_log_open(j);
    if (st != NATSL_OK) return st;
    natsl_train_log(j, j->step > 0 ? "resume" : "start",
                    json_pack("{s:i, s:i, s:i, s:I}", "ranks", app->size, "groups", j->groups, "threads",
                              (int)app->args.threads, "steps", (json_int_t)j->spec.steps));
    if (app->rank == 0 && !app->args.quiet) {
        if (j->step > 0) printf("going on after step %lld\n", (long long)j->step);
        (void)fflush(stdout);
    }
    natsl_signals_catch();
    j->saved_s = natsl_now_s();
    st = loop(j);
    if (st == NATSL_OK) st = natsl_train_export(j);
    if (st == NATSL_OK) natsl_train_log(j, "end", json_object());
    natsl_summary_count(app, "steps", j->step);
    return st;
}

static natsl_status run(natsl_app *app)
{
    natsl_train_job j = {.app = app, .log_fd = -1, .last_expected = -1.0};
    natsl_status st = check_options(app);
    if (st == NATSL_OK) st = open_spec(&j);
    if (st == NATSL_OK) st = train(&j);
    close_job(&j);
    return st;
}

const natsl_command natsl_command_train = {
    .name = "train",
    .usage = "train --config T.json --out DIR",
    .summary = "train a model, the gate's choices with the weights",
    .details =
        "T.json says which model, which windows of tokens from which texts and tasks, for how many steps (README.md, "
        "\"Train\").\n"
        "DIR gets log.jsonl, checkpoints and at the end model.h5; a checkpoint is also a model file. The same command "
        "goes on\n"
        "from the newest checkpoint in DIR: on as many ranks it ends with the same bits as without the break. SIGTERM, "
        "SIGINT\n"
        "and SIGUSR1 finish the step, save it and end the program with code 6.\n"
        "Ranks form groups that take different windows; --group N spreads every window over N ranks.\n",
    .options = options,
    .run = run,
};
