/* cmd_init.c - natsl init: a model file with random weights. */
#include "app.h"
#include "core.h"
#include "files.h"
#include "init.h"
#include "tokenizer.h"

#include <natsl/config.h>
#include <natsl/version.h>
#include <stdio.h>
#include <string.h>

static const char *const tokenizer_words[] = {"auto", "byte", "none", NULL};
enum { TOKENIZER_AUTO, TOKENIZER_BYTE, TOKENIZER_NONE };

#define AT(member) offsetof(natsl_args, member)
static const natsl_option options[] = {
    {.kind = NATSL_OPT_TEXT,
     .name = "config",
     .value = "C.json",
     .offset = AT(config),
     .need = NATSL_REQUIRED,
     .help = "configuration in the published keys"},
    {.kind = NATSL_OPT_COUNT,
     .name = "seed",
     .value = "S",
     .offset = AT(seed),
     .need = NATSL_REQUIRED,
     .most = INT64_MAX,
     .help = "the same seed gives the same weights"},
    NATSL_OPTION_OUT("M.h5", "model file to write"),
    {.kind = NATSL_OPT_WORD,
     .name = "tokenizer",
     .value = "KIND",
     .offset = AT(tokenizer),
     .words = tokenizer_words,
     .help = "byte, none, or auto: byte when the vocabulary has 256 tokens or more"},
    {.kind = NATSL_OPT_END},
};

static natsl_status create(natsl_app *app)
{
    const natsl_args *a = &app->args;
    natsl_config config;
    natsl_layout layout = {0};
    float *flat = NULL;
    char origin[128];
    natsl_status st = natsl_app_read_config(a->config, &config);
    if (st != NATSL_OK) return st;
    const char *kind =
        a->tokenizer == TOKENIZER_AUTO ? natsl_tokenizer_unnamed(config.vocab_size) : tokenizer_words[a->tokenizer];
    if (a->tokenizer == TOKENIZER_BYTE && config.vocab_size < NATSL_BYTE_TOKENS)
        return natsl_fail(NATSL_ERR_USAGE, "--tokenizer: byte needs %d tokens, but %s says vocab_size %d",
                          NATSL_BYTE_TOKENS, a->config, config.vocab_size);
    NATSL_TRY(st, cleanup, natsl_layout_create(&config, NATSL_F32, &layout));
    int64_t parameters = 0;
    for (size_t i = 0; i < layout.count; i++) parameters += (int64_t)layout.tensors[i].count;
    if (!a->dry_run) {
        flat = natsl_alloc(layout.floats, sizeof *flat, "weights");
        if (!flat) {
            st = NATSL_ERR_NOMEM;
            goto cleanup;
        }
        natsl_init_weights(&config, &layout, (uint64_t)a->seed, flat);
        (void)snprintf(origin, sizeof origin, "natsl init, version %s, seed %lld", NATSL_VERSION_TEXT,
                       (long long)a->seed);
        NATSL_TRY(st, cleanup, natsl_model_file_write(a->out, &config, kind, origin, &layout, flat));
    }
    if (app->summary) (void)json_object_set_new(app->summary, "parameters", json_integer((json_int_t)parameters));
    if (!a->quiet) {
        char size[32];
        printf("%s: %lld parameters, %s, tokenizer %s\n", a->dry_run ? a->config : a->out, (long long)parameters,
               natsl_format_bytes((double)layout.floats * sizeof(float), size), kind);
        st = natsl_stdout_flush();
    }
cleanup:
    natsl_free(flat);
    natsl_layout_free(&layout);
    return st;
}

static natsl_status run(natsl_app *app)
{
    const char *inputs[] = {app->args.config};
    natsl_status st = app->args.dry_run ? NATSL_OK : natsl_app_check_out(app, app->args.out, inputs, 1);
    if (st != NATSL_OK) return st;
    return natsl_app_agree(app, app->rank == 0 ? create(app) : NATSL_OK);
}

const natsl_command natsl_command_init = {
    .name = "init",
    .usage = "init --config C.json --seed S --out M.h5",
    .summary = "write a model with random weights, initialised as published",
    .details = "Reads a configuration (JSON, the keys of the published models; missing keys take their defaults) and "
               "writes a model\n"
               "file. Under mpirun rank 0 does the work.\n",
    .options = options,
    .run = run,
};
