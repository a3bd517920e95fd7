/* cmd_bench.c - natsl bench: how fast this machine is, and how much of that the program gets. Options, order, JSON; the
 * measuring is in bench_*.c. */
#include "agree.h"
#include "bench.h"
#include "natsl_default_config.h"

#include <math.h>
#include <natsl/version.h>
#include <natsl_describe.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define AT(member) offsetof(natsl_args, member)
static const natsl_option options[] = {
    {.kind = NATSL_OPT_TEXT,
     .name = "parts",
     .value = "LIST",
     .offset = AT(parts),
     .help = "what to measure, of machine,kernels,prefill,decode,train; all but train by default"},
    {.kind = NATSL_OPT_TEXT,
     .name = "config",
     .value = "C.json",
     .offset = AT(config),
     .help = "configuration of a model with random weights; the published 340M one by default"},
    {.kind = NATSL_OPT_TEXT, .name = "model", .value = "M.h5", .offset = AT(model), .help = "or a model file"},
    {.kind = NATSL_OPT_COUNT,
     .name = "seed",
     .value = "S",
     .offset = AT(seed),
     .most = INT64_MAX,
     .help = "of random weights and of the random text; 0 by default"},
    {.kind = NATSL_OPT_TEXT,
     .name = "lengths",
     .value = "LIST",
     .offset = AT(lengths),
     .help = "tokens to read for prefill, and in the window of train, as 2K,64K,1M; 2048,8192 by default"},
    {.kind = NATSL_OPT_COUNT,
     .name = "repeat",
     .value = "N",
     .offset = AT(repeat),
     .least = 1,
     .most = 1000,
     .help = "read each length, or train on it, N times, the best counts; once by default"},
    {.kind = NATSL_OPT_FLAG, .name = "no-logits", .offset = AT(no_logits), .help = "prefill without scoring tokens"},
    {.kind = NATSL_OPT_COUNT,
     .name = "context-tokens",
     .value = "N",
     .offset = AT(context_tokens),
     .least = 1,
     .most = (int64_t)1 << 40,
     .help = "tokens to read before decoding; 1024 by default"},
    {.kind = NATSL_OPT_COUNT,
     .name = "decode-tokens",
     .value = "N",
     .offset = AT(decode_tokens),
     .least = 1,
     .most = (int64_t)1 << 30,
     .help = "tokens to decode; 32 by default"},
    {.kind = NATSL_OPT_REAL,
     .name = "seconds",
     .value = "S",
     .offset = AT(seconds),
     .low = 0.0,
     .high = 3600.0,
     .open = 1,
     .help = "time for each measurement of the machine; a fifth of it for each of a kernel; 0.5 by default"},
    {.kind = NATSL_OPT_TEXT,
     .name = "json",
     .value = "FILE",
     .offset = AT(json_file),
     .help = "write all results as JSON"},
    {.kind = NATSL_OPT_END},
};

/* ---- what the parts share --------------------------------------------------------------------------------------------- */

void natsl_bench_say(const natsl_bench *b, const char *format, ...)
{
    va_list values;
    if (b->app->rank != 0 || b->app->args.quiet) return;
    va_start(values, format);
    (void)vprintf(format, values);
    va_end(values);
}

natsl_status natsl_bench_show(const natsl_bench *b)
{
    const int prints = b->app->rank == 0 && !b->app->args.quiet;
    return natsl_app_agree(b->app, prints ? natsl_stdout_flush() : NATSL_OK);
}

void natsl_bench_put(natsl_bench *b, json_t *object, const char *name, json_t *value)
{
    if (!b->json) return;
    if (!object || !value || json_object_set_new(object, name, value) != 0) b->json_failed = 1;
}

void natsl_bench_real(natsl_bench *b, json_t *object, const char *name, double value)
{
    if (b->json) natsl_bench_put(b, object, name, isfinite(value) ? json_real(value) : json_null());
}

void natsl_bench_count(natsl_bench *b, json_t *object, const char *name, int64_t value)
{
    if (b->json) natsl_bench_put(b, object, name, json_integer((json_int_t)value));
}

void natsl_bench_text(natsl_bench *b, json_t *object, const char *name, const char *value)
{
    if (!b->json) return;
    json_t *text = value ? json_string(value) : json_null(); /* NULL when it is no UTF-8 */
    natsl_bench_put(b, object, name, text ? text : json_string("(not UTF-8)"));
}

/* ---- options ---------------------------------------------------------------------------------------------------------- */

static natsl_status parse_parts(const char *list, int *parts)
{
    static const char *const names[] = {"machine", "kernels", "prefill", "decode", "train"};
    *parts = 0;
    for (const char *p = list ? list : "machine,kernels,prefill,decode";; p++) {
        const size_t length = strcspn(p, ",");
        int found = 0;
        for (int i = 0; i < 5; i++) {
            if (strlen(names[i]) == length && strncmp(p, names[i], length) == 0) found = 1 << i;
        }
        if (!found)
            return natsl_fail(NATSL_ERR_USAGE,
                              "--parts: '%.*s' is unknown, expected a list of machine, kernels, prefill, decode, train",
                              (int)(length < 100 ? length : 100), p);
        *parts |= found;
        p += length;
        if (*p == '\0') return NATSL_OK;
    }
}

static natsl_status parse_lengths(const char *list, natsl_bench *b)
{
    for (const char *p = list ? list : "2048,8192";; p++) {
        const size_t length = strcspn(p, ",");
        char word[32] = "";
        int64_t tokens = 0;
        if (length < sizeof word) (void)snprintf(word, sizeof word, "%.*s", (int)length, p);
        if (!natsl_parse_count(word, &tokens) || tokens < 1 || tokens > (int64_t)1 << 40)
            return natsl_fail(NATSL_ERR_USAGE,
                              "--lengths: '%.*s', expected whole numbers from 1 to 2^40 with commas between them",
                              (int)(length < 100 ? length : 100), p);
        if (b->n_lengths == NATSL_BENCH_LENGTHS)
            return natsl_fail(NATSL_ERR_USAGE, "--lengths: too many, expected at most %d", NATSL_BENCH_LENGTHS);
        b->lengths[b->n_lengths++] = tokens;
        p += length;
        if (*p == '\0') return NATSL_OK;
    }
}

/** The configuration of --model or --config, or the built-in one; the same on all ranks. */
static natsl_status find_config(natsl_bench *b)
{
    natsl_app *app = b->app;
    natsl_status st = NATSL_OK;
    if (app->args.model) {
        if ((st = natsl_job_look(&b->job, app)) == NATSL_OK) b->config = b->job.info.config;
        return st;
    }
    if (app->rank == 0)
        st = app->args.config ? natsl_app_read_config(app->args.config, &b->config)
                              : natsl_config_parse(natsl_default_config, sizeof natsl_default_config - 1,
                                                   "built-in configuration", &b->config);
    if ((st = natsl_app_agree(app, st)) != NATSL_OK) return st;
    NATSL_MPI(MPI_Bcast(&b->config, sizeof b->config, MPI_BYTE, 0, app->comm));
    memcpy(&b->job.info.config, &b->config, sizeof b->config);
    return NATSL_OK;
}

/* ---- JSON ------------------------------------------------------------------------------------------------------------- */

static void begin_json(natsl_bench *b)
{
    if (b->app->rank != 0 || !b->app->args.json_file) return;
    b->json = json_object();
    if (!b->json) {
        b->json_failed = 1;
        return;
    }
    const time_t now = time(NULL);
    struct tm utc;
    char date[32] = "";
    if (gmtime_r(&now, &utc)) (void)strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%SZ", &utc);
    char *text = natsl_config_json(&b->config);
    json_t *config = text ? json_loads(text, 0, NULL) : NULL, *words = json_array();
    for (int i = 1; words && i < b->app->argc; i++) {
        json_t *word = json_string(b->app->argv[i]); /* NULL when it is no UTF-8 */
        (void)json_array_append_new(words, word ? word : json_string("(not UTF-8)"));
    }
    free(text);
    natsl_bench_text(b, b->json, "format", "natsl-bench");
    natsl_bench_count(b, b->json, "format_version", 1);
    natsl_bench_text(b, b->json, "natsl", NATSL_VERSION_TEXT);
    natsl_bench_text(b, b->json, "revision", NATSL_GIT_DESCRIBE);
    natsl_bench_text(b, b->json, "date", date);
    natsl_bench_put(b, b->json, "arguments", words);
    natsl_bench_text(b, b->json, "kernel_set", b->app->args.kernels ? "ref" : "fast");
    natsl_bench_text(b, b->json, "weights", b->app->args.weights == NATSL_BF16 ? "bf16" : "f32");
    natsl_bench_text(b, b->json, "kept", b->job.options.kept == NATSL_BF16 ? "bf16" : "f32");
    natsl_bench_put(b, b->json, "config", config);
}

/** On rank 0. */
static natsl_status write_json(natsl_bench *b, const char *path)
{
    if (b->json_failed) return natsl_fail(NATSL_ERR_NOMEM, "out of memory: results as JSON");
    return natsl_app_write_json(b->json, path);
}

/* ---- the command ------------------------------------------------------------------------------------------------------ */

static natsl_status measure(natsl_bench *b)
{
    const natsl_app *app = b->app;
    const natsl_config *c = &b->config;
    natsl_bench_say(b, "natsl %s (%s)\n%s: D %d, %d layers, vocabulary %d; %d rank%s x %d thread%s\n",
                    NATSL_VERSION_TEXT, NATSL_GIT_DESCRIBE,
                    app->args.model    ? app->args.model
                    : app->args.config ? app->args.config
                                       : "configuration natsl_340M",
                    c->hidden_size, c->num_hidden_layers, c->vocab_size, app->size, app->size == 1 ? "" : "s",
                    (int)app->args.threads, app->args.threads == 1 ? "" : "s");
    natsl_status st = natsl_bench_machine(b);
    if (st == NATSL_OK) st = natsl_bench_show(b);
    if (st == NATSL_OK && b->parts & NATSL_BENCH_KERNELS) st = natsl_bench_kernels(b);
    if (st == NATSL_OK && b->parts & (NATSL_BENCH_PREFILL | NATSL_BENCH_DECODE | NATSL_BENCH_TRAIN))
        st = natsl_bench_open_model(b);
    if (st == NATSL_OK && b->parts & NATSL_BENCH_PREFILL) st = natsl_bench_prefill(b);
    if (st == NATSL_OK && b->parts & NATSL_BENCH_DECODE) st = natsl_bench_decode(b);
    if (st == NATSL_OK && b->parts & NATSL_BENCH_TRAIN) st = natsl_bench_train(b);
    if (st != NATSL_OK) return st;
    if (app->args.json_file)
        st = natsl_app_agree(b->app, app->rank == 0 ? write_json(b, app->args.json_file) : NATSL_OK);
    return st == NATSL_OK ? natsl_bench_show(b) : st;
}

static natsl_status run(natsl_app *app)
{
    const natsl_args *a = &app->args;
    const char *inputs[] = {a->model, a->config};
    natsl_bench *b = natsl_calloc(1, sizeof *b, "benchmark");
    natsl_status st = natsl_app_agree(app, b ? NATSL_OK : NATSL_ERR_NOMEM);
    if (st != NATSL_OK) {
        natsl_free(b);
        return st;
    }
    b->app = app;
    b->budget_s = a->seconds > 0.0 ? a->seconds : 0.5;
    natsl_job_begin(&b->job, app);
    if (a->model && a->config)
        st = natsl_fail(NATSL_ERR_USAGE, "bench: both --model and --config are given, expected one");
    if (st == NATSL_OK) st = parse_parts(a->parts, &b->parts);
    if (st == NATSL_OK) st = parse_lengths(a->lengths, b);
    if (st == NATSL_OK && a->json_file && !a->dry_run) st = natsl_app_check_out(app, a->json_file, inputs, 2);
    if (st == NATSL_OK) st = find_config(b);
    if (st == NATSL_OK && a->dry_run) {
        for (int i = 0; i < b->n_lengths && st == NATSL_OK; i++) st = natsl_job_print_plan(&b->job, b->lengths[i]);
    } else if (st == NATSL_OK) {
        begin_json(b);
        st = measure(b);
    }
    json_decref(b->json);
    natsl_job_close(&b->job);
    natsl_free(b);
    return st;
}

const natsl_command natsl_command_bench = {
    .name = "bench",
    .usage = "bench [--parts LIST] [--config C.json | --model M.h5] [--json FILE]",
    .summary = "measure this machine, and how much of its speed natsl gets",
    .details =
        "machine: products of 2048 x 2048 matrices by OpenBLAS, and natsl's own, on one thread and on all threads of "
        "all\n"
        "ranks (the largest is the peak that shares refer to), copying and reading memory, messages between ranks.\n"
        "kernels: every kernel at the shapes that the configuration gives it. prefill: reading random texts, by a "
        "model with\n"
        "random weights unless --model is given: tokens/s, GFLOP/s by the textbook's count (printed), time by phase, "
        "bytes\n"
        "between ranks against the least that must travel. decode: one token after the other, against the bytes that "
        "each\n"
        "must read. train: loss and gradient of one window of random text, as natsl grad and train compute them, "
        "against "
        "three\n"
        "times the operations of reading it (a product has two gradients); it has to be asked for: it takes the memory "
        "and the\n"
        "time of a training step. Run it on a machine that does nothing else, with the ranks and threads of your jobs. "
        "A short "
        "--seconds\n"
        "makes quick, coarse numbers; it also shortens the memory gone over, so that caches help. --dry-run prints the "
        "plan\n"
        "of each length. tools/plot-bench draws the JSON.\n",
    .options = options,
    .run = run,
};
