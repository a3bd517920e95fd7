/* cmd_eval.c - natsl eval: makes, answers and scores a benchmark of long contexts. */
#include "agree.h"
#include "core.h"
#include "digest.h"
#include "eval_files.h"
#include "eval_job.h"
#include "eval_resume.h"
#include "json_text.h"
#include "series.h"
#include "signals.h"

#include <natsl/version.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/** Ids that recall's samples have: the user's number, or all of the model's. */
static natsl_status choose_vocabulary(natsl_eval_job *j)
{
    const natsl_args *a = &j->app->args;
    const int32_t vocabulary = j->info.config.vocab_size; /* 0: no model */
    if (a->model && a->vocabulary > vocabulary)
        return natsl_fail(NATSL_ERR_USAGE, "--vocabulary: %lld, the model has %d ids", (long long)a->vocabulary,
                          vocabulary);
    j->settings.vocabulary = a->vocabulary > 0 ? (int32_t)a->vocabulary : vocabulary;
    return NATSL_OK;
}

static natsl_status set_settings(natsl_eval_job *j)
{
    const natsl_args *a = &j->app->args;
    const int exact = a->mode == NATSL_EVAL_EXACT;
    int64_t seed = exact ? 42 : 0;
    if (a->eval_seed && (!natsl_parse_count(a->eval_seed, &seed) || (exact && seed > UINT32_MAX)))
        return natsl_fail(NATSL_ERR_USAGE, "--seed: '%s', expected a whole number (exact: below 2^32)", a->eval_seed);
    j->settings = (natsl_eval_settings){.seed = (uint64_t)seed,
                                        .max_new = a->max_new,
                                        .measure = j->measure,
                                        .exact = exact,
                                        .questions = a->questions,
                                        .pairs = a->pairs,
                                        .zeros = a->fill};
    if (a->special_tokens && j->tokenizer)
        j->settings.before = natsl_tokenizer_around(j->tokenizer, 0, &j->settings.n_before);
    j->bin = a->bins;
    j->shares |= a->questions > 1;
    return j->ids_only ? choose_vocabulary(j) : NATSL_OK;
}

/** The cells of the store: all tasks at all lengths. */
static natsl_status start_store(natsl_eval_job *j)
{
    const size_t n = j->n_lengths * j->n_tasks;
    natsl_eval_cell *cells = natsl_calloc(n, sizeof *cells, "results");
    if (!cells) return NATSL_ERR_NOMEM;
    for (size_t i = 0; i < n; i++)
        cells[i] = (natsl_eval_cell){.task = j->tasks[i % j->n_tasks]->name,
                                     .length = j->lengths[i / j->n_tasks],
                                     .samples = natsl_eval_samples_of(j, i % j->n_tasks, j->lengths[i / j->n_tasks]),
                                     .metric = (int)j->tasks[i % j->n_tasks]->metric};
    const natsl_status st = natsl_eval_store_start(&j->store, j->app->args.out, cells, n);
    natsl_free(cells);
    return st;
}

/** Everything that needs no weights. Collective, but equal on all ranks only when they have agreed. */
static natsl_status prepare(natsl_eval_job *j)
{
    const natsl_args *a = &j->app->args;
    const natsl_eval_files files = natsl_eval_files_of(a->suite);
    natsl_status st = natsl_eval_check_options(a);
    if (st == NATSL_OK && files == NATSL_FILES_NONE) st = natsl_eval_parse_tasks(j);
    if (st == NATSL_OK) st = natsl_eval_parse_lengths(j);
    if (st == NATSL_OK && a->score_only) return natsl_eval_digest_files(j);
    if (st == NATSL_OK) st = natsl_eval_open_tokenizer(j);
    j->samples = a->samples > 0 ? a->samples : 100;
    if (st == NATSL_OK && files != NATSL_FILES_NONE) st = natsl_eval_open_files(j);
    if (st == NATSL_OK) st = set_settings(j);
    if (st == NATSL_OK) st = natsl_eval_open_sources(j);
    for (size_t l = 0; l < j->n_lengths && st == NATSL_OK; l++) {
        if (j->bin > 0 && (j->lengths[l] - 1) / j->bin >= NATSL_EVAL_BINS)
            return natsl_fail(NATSL_ERR_USAGE, "--bins: %lld tokens have %lld of them, expected at most %d",
                              (long long)j->lengths[l], (long long)((j->lengths[l] - 1) / j->bin + 1), NATSL_EVAL_BINS);
        for (size_t t = 0; t < j->n_tasks && st == NATSL_OK; t++)
            st = natsl_eval_check(&j->settings, j->tasks[t], j->lengths[l]);
    }
    return st == NATSL_OK ? start_store(j) : st;
}

/* ---- the directory --------------------------------------------------------------------------------------------------- */

/** What samples and answers depend on. A run that goes on must have the same. */
static json_t *settings_json(const natsl_eval_job *j)
{
    const natsl_args *a = &j->app->args;
    char digest[32] = "";
    json_t *stops = json_array(), *files = json_array();
    for (size_t i = 0; files && i < j->n_files; i++)
        (void)json_array_append_new(files,
                                    json_pack("{s:o, s:s}", "task",
                                              natsl_json_text_or_null(a->score_only ? a->operands[i] : j->names[i]),
                                              "sha256", j->file_digests[i]));
    for (size_t i = 0; stops && i < a->n_stops; i++)
        (void)json_array_append_new(stops, natsl_json_text(a->stops[i], strlen(a->stops[i])));
    if (j->model) (void)snprintf(digest, sizeof digest, "%016llx", (unsigned long long)natsl_model_digest(j->model));
    json_t *settings = json_pack(
        "{s:s, s:s, s:I, s:s?, s:s?, s:s?, s:s?, s:s?, s:I, s:o?, s:f, s:I, s:f, s:s, s:s, s:s, s:s, s:s, s:s}",
        "suite", a->suite, "mode", natsl_eval_mode_words[a->mode], "seed", (json_int_t)j->settings.seed, "model_digest",
        digest[0] ? digest : NULL, "haystack_sha256", j->text ? j->hay_digest : NULL, "squad_sha256",
        a->squad ? j->documents_digest[0] : NULL, "hotpot_sha256", a->hotpot ? j->documents_digest[1] : NULL,
        "word_lists_sha256", j->lists.n_keys ? j->lists.digest : NULL, "max_new", (json_int_t)a->max_new, "stops",
        stops, "temperature", a->temperature, "top_k", (json_int_t)a->top_k, "top_p", a->top_p, "route",
        natsl_option_word(a, "route"), "weights", natsl_option_word(a, "weights"), "kept", natsl_option_word(a, "kept"),
        "kernels", natsl_option_word(a, "kernels"), "state_pass", natsl_option_word(a, "state-pass"), "keep_inputs",
        natsl_eval_keep_words[a->keep_inputs], "files", files, "metric", natsl_eval_metric_words[a->metric]);
    /* only where a suite has them */
    if (settings && a->questions > 1)
        (void)json_object_set_new(settings, "questions", json_integer((json_int_t)a->questions));
    if (settings && j->ids_only) {
        (void)json_object_set_new(settings, "pairs", json_integer((json_int_t)a->pairs));
        (void)json_object_set_new(settings, "vocabulary", json_integer(j->settings.vocabulary));
        (void)json_object_set_new(settings, "fill", json_string(natsl_eval_fill_words[a->fill]));
    }
    if (settings && natsl_measure_of(j->measure) == NATSL_MEASURE_TOKENS) {
        size_t length = 0;
        const char *json = j->model ? natsl_model_tokenizer_json(j->model, &length) : NULL;
        (void)snprintf(digest, sizeof digest, "%016llx", (unsigned long long)(json ? natsl_digest(json, length) : 0));
        (void)json_object_set_new(settings, "tokenizer_digest", json_string(digest));
        (void)json_object_set_new(settings, "special_tokens", json_boolean(a->special_tokens));
    }
    if (settings && a->bins > 0) (void)json_object_set_new(settings, "bins", json_integer((json_int_t)a->bins));
    return settings;
}

/** Whether a setting is the same as before. */
static natsl_status compare_one(const char *path, const char *key, const json_t *before, const json_t *now)
{
    if (json_equal(before, now)) return NATSL_OK;
    char *was = json_dumps(before, JSON_ENCODE_ANY | JSON_COMPACT),
         *is = json_dumps(now, JSON_ENCODE_ANY | JSON_COMPACT);
    const natsl_status st = natsl_fail(NATSL_ERR_USAGE,
                                       "%s: samples there were computed with %s %s, not %s; expected the same, or "
                                       "another directory",
                                       path, key, was ? was : "unset", is ? is : "unset");
    free(was);
    free(is);
    return st;
}

static natsl_status compare_settings(const json_t *now, const char *path)
{
    json_error_t error;
    const char *key;
    json_t *value, *before = json_load_file(path, JSON_REJECT_DUPLICATES, &error);
    natsl_status st = NATSL_OK;
    if (!json_is_object(before)) st = natsl_fail(NATSL_ERR_INPUT, "%s: %s", path, before ? "no object" : error.text);
    json_object_foreach((json_t *)(uintptr_t)now, key, value)
    {
        if (st == NATSL_OK) st = compare_one(path, key, json_object_get(before, key), value);
    }
    json_object_foreach(before, key, value)
    {
        if (st == NATSL_OK && !json_object_get(now, key)) st = compare_one(path, key, value, NULL);
    }
    json_decref(before);
    return st;
}

/** The directory is there, no other run writes to it, and what is in it was computed with the same settings. *lock: to be
 * closed at the end. Rank 0. */
static natsl_status open_directory(natsl_eval_job *j, int *lock)
{
    const char *out = j->app->args.out;
    char path[4096];
    json_t *settings = settings_json(j);
    natsl_status st = settings ? NATSL_OK : natsl_fail(NATSL_ERR_NOMEM, "no memory for the settings");
    const int n = snprintf(path, sizeof path, "%s/settings.json", out);
    if (st == NATSL_OK && (n < 0 || (size_t)n >= sizeof path - 64))
        st = natsl_fail(NATSL_ERR_USAGE, "--out: the path is too long");
    if (st == NATSL_OK) st = natsl_series_directory(out, "--out", "results");
    if (st == NATSL_OK && (st = natsl_series_lock(out, "--out", lock)) == NATSL_ERR_USAGE)
        st = natsl_fail(st, "--out: %s: another natsl eval writes there, expected another directory", out);
    if (st == NATSL_OK && access(path, F_OK) == 0) st = compare_settings(settings, path);
    else if (st == NATSL_OK) st = natsl_app_write_json(settings, path);
    json_decref(settings);
    /* of every task now: a file of that name would be met when all samples are answered */
    for (size_t t = 0; t < j->n_tasks && st == NATSL_OK && !j->app->args.score_only; t++) {
        const int length = snprintf(path, sizeof path, "%s/%s", out, j->tasks[t]->name);
        st = length > 0 && (size_t)length < sizeof path ? natsl_series_directory(path, "--out", "a task's predictions")
                                                        : natsl_fail(NATSL_ERR_USAGE, "--out: the path is too long");
    }
    return st;
}

/** Reads what is finished; all ranks learn it. */
static natsl_status find_done(natsl_eval_job *j, int64_t *before)
{
    natsl_app *app = j->app;
    const size_t each = (size_t)j->samples, all = j->store.n_cells * each;
    natsl_status st = NATSL_OK;
    *before = 0;
    j->done = natsl_calloc(all, 1, "finished samples");
    if (!j->done) st = NATSL_ERR_NOMEM;
    if (st == NATSL_OK && app->rank == 0) st = natsl_eval_store_read(&j->store);
    if (st == NATSL_OK && app->rank == 0) st = natsl_eval_store_merge(&j->store);
    if ((st = natsl_app_agree(app, st)) != NATSL_OK) return st;
    for (size_t i = 0; app->rank == 0 && i < all; i++) {
        const natsl_eval_cell *c = &j->store.cells[i / each];
        const int64_t index = (int64_t)(i % each);
        j->done[i] = index < c->room && c->records[index] != NULL;
        *before += j->done[i];
    }
    for (size_t at = 0; at < all; at += (size_t)1 << 30) {
        const size_t n = all - at < (size_t)1 << 30 ? all - at : (size_t)1 << 30;
        NATSL_MPI(MPI_Bcast(j->done + at, (int)n, MPI_UINT8_T, 0, app->comm));
    }
    return NATSL_OK;
}

/* ---- results --------------------------------------------------------------------------------------------------------- */

static natsl_status write_results(natsl_eval_job *j)
{
    const natsl_args *a = &j->app->args;
    char path[4096];
    json_t *settings = settings_json(j), *scores = natsl_eval_results_json(&j->store);
    json_t *results = json_pack(
        "{s:s, s:i, s:s, s:o, s:I, s:o, s:I, s:i, s:i, s:O?}", "format", "natsl-eval", "format_version", 1, "natsl",
        NATSL_VERSION_TEXT, "model", natsl_json_text_or_null(a->model), "parameters",
        j->model ? (json_int_t)natsl_model_parameters(j->model) : 0, "haystack", natsl_json_text_or_null(a->haystack),
        "samples", (json_int_t)j->samples, "ranks", j->app->size, "threads", (int)a->threads, "settings", settings);
    natsl_status st = NATSL_OK;
    if (!results || !scores || json_object_update(results, scores) != 0)
        st = natsl_fail(NATSL_ERR_NOMEM, "results.json: no memory");
    (void)snprintf(path, sizeof path, "%s/results.json", a->out);
    if (st == NATSL_OK) st = natsl_app_write_json(results, path);
    if (st == NATSL_OK) st = natsl_eval_write_tables(&j->store);
    if (st == NATSL_OK) st = natsl_eval_write_h5(a->out, results);
    if (st == NATSL_OK) st = natsl_eval_write_report(&(natsl_eval_result){a->out, results}, 1, a->out, "report.html");
    if (st == NATSL_OK) st = natsl_eval_write_heatmap(&(natsl_eval_result){a->out, results}, 1, a->out, "heatmap.svg");
    if (st == NATSL_ERR_INPUT) st = NATSL_OK; /* tasks without depths have none */
    if (st == NATSL_OK) {
        if (j->text) printf("haystack %s, sha256 %.16s...\n", a->haystack, j->hay_digest);
        natsl_eval_results_print(stdout, &j->store, a->suite);
        st = natsl_stdout_flush();
    }
    if (st == NATSL_OK) natsl_summary_real(j->app, "average", json_number_value(json_object_get(results, "average")));
    json_decref(settings);
    json_decref(scores);
    json_decref(results);
    return st;
}

static int64_t count_done(const natsl_eval_job *j)
{
    int64_t n = 0;
    for (size_t i = 0; i < j->store.n_cells; i++) {
        const natsl_eval_cell *c = &j->store.cells[i];
        for (int64_t k = 0; k < c->samples && k < c->room; k++) n += c->records[k] != NULL;
    }
    return n;
}

static natsl_status evaluate(natsl_eval_job *j)
{
    natsl_app *app = j->app;
    int64_t all = 0;
    for (size_t i = 0; i < j->store.n_cells; i++) all += j->store.cells[i].samples;
    int64_t before = 0;
    int lock = -1, lock2 = -1;
    natsl_status st = natsl_app_agree(app, app->rank == 0 ? natsl_eval_resume_check(app) : NATSL_OK);
    if (st == NATSL_OK) st = natsl_model_open(app->comm, app->args.model, (natsl_storage)app->args.weights, &j->model);
    if (st != NATSL_OK) return st;
    st = natsl_app_agree(app, app->rank == 0 ? open_directory(j, &lock) : NATSL_OK);
    if (st == NATSL_OK) st = natsl_app_agree(app, app->rank == 0 ? natsl_eval_resume_take(app, &lock2) : NATSL_OK);
    if (st == NATSL_OK) st = find_done(j, &before);
    if (st == NATSL_OK) {
        if (app->rank == 0 && before > 0 && !app->args.quiet)
            fprintf(stderr, "%lld of %lld samples are finished already\n", (long long)before, (long long)all);
        natsl_signals_catch();
        const natsl_status ran = natsl_eval_samples(j);
        natsl_status mine = NATSL_OK;
        if (ran == NATSL_OK || ran == NATSL_INTERRUPTED) {
            if (app->rank == 0) mine = natsl_eval_store_merge(&j->store);
            if (mine == NATSL_OK && ran == NATSL_OK && app->rank == 0) mine = write_results(j);
            if (mine == NATSL_OK && ran == NATSL_OK && app->rank == 0) natsl_eval_resume_sweep(j);
            if (mine == NATSL_OK && ran == NATSL_INTERRUPTED && app->rank == 0)
                mine = natsl_fail(NATSL_INTERRUPTED,
                                  "interrupted; %lld of %lld samples are finished and kept in %s%s%s; the same command "
                                  "goes on",
                                  (long long)count_done(j), (long long)all, app->args.out,
                                  app->args.checkpoint ? ", what was read of others in " : "",
                                  app->args.checkpoint ? app->args.checkpoint : "");
        }
        st = ran == NATSL_OK || ran == NATSL_INTERRUPTED ? natsl_app_agree(app, mine) : ran;
        natsl_summary_count(app, "samples", count_done(j));
        natsl_summary_count(app, "samples_before", before);
    }
    if (lock2 >= 0) (void)close(lock2);
    if (lock >= 0) (void)close(lock);
    return st;
}

static natsl_status score_only(natsl_eval_job *j)
{
    natsl_app *app = j->app;
    int lock = -1;
    j->samples = 0;
    natsl_status st = natsl_eval_score_files(j), mine = NATSL_OK;
    if (st != NATSL_OK || app->args.dry_run) return st;
    if (app->rank == 0) mine = open_directory(j, &lock);
    if (mine == NATSL_OK && app->rank == 0) mine = write_results(j);
    st = natsl_app_agree(app, mine);
    if (lock >= 0) (void)close(lock);
    return st;
}

static natsl_status run(natsl_app *app)
{
    natsl_eval_job j = {.app = app};
    natsl_job_begin(&j.look, app);
    j.options = j.look.options;
    natsl_status st = natsl_app_agree(app, prepare(&j));
    if (st == NATSL_OK && app->args.score_only) {
        st = score_only(&j);
    } else if (st == NATSL_OK && app->args.data_only) {
        st = natsl_eval_write_data(&j);
    } else if (st == NATSL_OK && app->args.dry_run) {
        st = natsl_eval_print_plan(&j);
    } else if (st == NATSL_OK) {
        st = evaluate(&j);
    }
    natsl_eval_store_free(&j.store);
    natsl_free(j.done);
    natsl_eval_close_sources(&j);
    natsl_model_close(&j.model);
    natsl_measure_destroy(&j.measure);
    natsl_tokenizer_destroy(&j.own_tokenizer);
    natsl_job_close(&j.look);
    return st;
}

const natsl_command natsl_command_eval = {
    .name = "eval",
    .usage = "eval --model M.h5 --suite ruler --lengths 4K,64K --out DIR",
    .summary = "how much of a long context a model can use: benchmarks, made, run and scored",
    .details =
        "Makes the samples of a benchmark, reads each prompt, generates an answer and scores it. Groups of ranks work "
        "on\n"
        "different samples, the longest first. DIR gets a line for every finished sample (<task>/<length>.jsonl) and "
        "at "
        "the\n"
        "end results.json; a run that was killed goes on where it stopped when the same command is given again, and "
        "ends with\n"
        "the same predictions. A table of scores with 95 % intervals goes to standard output (README.md, "
        "\"Evaluate\").\n"
        "--score-only scores predictions that are there: files of RULER's program "
        "(DIR/synthetic/<length>/pred/*.jsonl) or of "
        "natsl.\n"
        "Tasks of ruler: niah_single_1, niah_multikey_2, niah_multikey_3, vt, cwe, fwe; with --haystack "
        "niah_single_2,\n"
        "niah_single_3, niah_multikey_1, niah_multivalue, niah_multiquery; with --squad qa_1, with --hotpot qa_2.\n",
    .options = natsl_eval_options,
    .operand = "FILE",
    .least = 0,
    .most = NATSL_MAX_OPERANDS,
    .run = run,
};
