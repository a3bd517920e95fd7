/* cmd_import.c - natsl import and natsl export: models of Hugging Face directories in and out. Rank 0 works. */
#include "app.h"
#include "core.h"
#include "hf.h"
#include "place.h"
#include "signals.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Bytes of one file of tensors, as the hub's own programs cut them: 5 GB. */
#define SHARD_BYTES INT64_C(5000000000)

static const char *const tokenizer_words[] = {"auto", "byte", "none", NULL}; /* natsl_hf_tokenizer */

#define AT(member) offsetof(natsl_args, member)
static const natsl_option import_options[] = {
    NATSL_OPTION_OUT("M.h5", "model file to write"),
    {.kind = NATSL_OPT_WORD,
     .name = "tokenizer",
     .value = "KIND",
     .offset = AT(tokenizer),
     .words = tokenizer_words,
     .help = "auto (default): tokenizer.json where there is one; byte: tokens are bytes; none"},
    {.kind = NATSL_OPT_END},
};

static const natsl_option export_options[] = {
    NATSL_OPTION_OUT("HF_DIR", "directory to write; it may not exist yet, or be empty"),
    {.kind = NATSL_OPT_COUNT,
     .name = "shard-size",
     .value = "BYTES",
     .offset = AT(shard_size),
     .least = 1,
     .most = INT64_MAX,
     .help = "most bytes of one file of tensors, unless a single tensor is larger (default: 5000000000)"},
    {.kind = NATSL_OPT_END},
};

static void say(natsl_app *app, const char *name, const natsl_hf_report *r)
{
    static const char *const families[] = {"NAtS-L", "Gated DeltaNet", "Qwen3-Next", "Qwen3.5"}; /* natsl_hf_family */
    char size[32];
    if (app->summary) {
        (void)json_object_set_new(app->summary, "parameters", json_integer((json_int_t)r->parameters));
        (void)json_object_set_new(app->summary, "tensor_bytes", json_integer((json_int_t)r->bytes));
        (void)json_object_set_new(app->summary, "left_out", json_integer((json_int_t)r->left_out));
        (void)json_object_set_new(app->summary, "tokenizer", json_string(r->tokenizer));
    }
    if (r->complaint[0]) fprintf(stderr, "warning: %s; the model takes token files, but no text\n", r->complaint);
    if (app->args.quiet) return;
    printf("%s: %s, %lld parameters, %s in %zu file%s (", name, families[r->family], (long long)r->parameters,
           natsl_format_bytes((double)r->bytes, size), r->shards, r->shards == 1 ? "" : "s");
    for (int t = NATSL_DTYPE_F32, some = 0; t <= NATSL_DTYPE_BF16; t++) {
        if (r->dtypes[t] == 0) continue;
        printf("%s%zu tensors %s", some ? ", " : "", r->dtypes[t], natsl_dtype_name((natsl_dtype)t));
        some = 1;
    }
    printf("), tokenizer %s\n", r->tokenizer);
    if (r->left_out > 0)
        printf("%s: without %zu tensors of pictures (model.visual.) and of tokens guessed ahead (mtp.): natsl reads "
               "text alone\n",
               name, r->left_out);
}

static natsl_status import_alone(natsl_app *app)
{
    natsl_args *a = &app->args;
    natsl_hf_report report;
    natsl_task("importing a model");
    natsl_status st =
        natsl_hf_import(a->operands[0], a->dry_run ? NULL : a->out, (natsl_hf_tokenizer)a->tokenizer, &report);
    if (st != NATSL_OK) return st;
    say(app, a->dry_run ? a->operands[0] : a->out, &report);
    return natsl_stdout_flush();
}

static natsl_status run_import(natsl_app *app)
{
    natsl_status st = app->args.dry_run ? NATSL_OK : natsl_app_check_out(app, app->args.out, NULL, 0);
    if (st != NATSL_OK) return st;
    return natsl_app_agree(app, app->rank == 0 ? import_alone(app) : NATSL_OK);
}

/** A directory may be written there: what is in the way is said before the work. */
static natsl_status check_directory(const char *out)
{
    struct stat s;
    if (stat(out, &s) != 0)
        return errno == ENOENT ? NATSL_OK : natsl_fail(NATSL_ERR_IO, "%s: %s", out, strerror(errno));
    if (!S_ISDIR(s.st_mode)) return natsl_fail(NATSL_ERR_IO, "%s: is a file, expected a directory to write", out);
    int full = 0;
    DIR *list = opendir(out);
    if (!list) return natsl_fail(NATSL_ERR_IO, "%s: %s", out, strerror(errno));
    for (struct dirent *e = readdir(list); e; e = readdir(list))
        full |= strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0;
    (void)closedir(list);
    return full ? natsl_fail(NATSL_ERR_IO, "%s: is there already and not empty", out) : NATSL_OK;
}

static natsl_status export_alone(natsl_app *app)
{
    natsl_args *a = &app->args;
    natsl_hf_report report;
    natsl_status st = a->dry_run ? NATSL_OK : check_directory(a->out);
    if (st != NATSL_OK) return st;
    natsl_task("exporting a model");
    st = natsl_hf_export(a->operands[0], a->dry_run ? NULL : a->out,
                         (size_t)(a->shard_size ? a->shard_size : SHARD_BYTES), natsl_signals_caught, &report);
    if (st != NATSL_OK) return st;
    say(app, a->dry_run ? a->operands[0] : a->out, &report);
    return natsl_stdout_flush();
}

static natsl_status run_export(natsl_app *app)
{
    natsl_signals_catch(); /* a directory is not removed by one call, as a signal's handler would have to */
    return natsl_app_agree(app, app->rank == 0 ? export_alone(app) : NATSL_OK);
}

const natsl_command natsl_command_import = {
    .name = "import",
    .usage = "import HF_DIR --out M.h5",
    .summary = "a model of a Hugging Face directory becomes a model file",
    .details =
        "HF_DIR has config.json (model_type gated_deltanet, qwen3_next, qwen3_5, qwen3_5_text or\n"
        "neural_attention_search_linear_attn_gdn; Qwen's without experts, and their text part) and model.safetensors,\n"
        "or its parts with model.safetensors.index.json. Tensors keep their type (F32, F16, BF16). tokenizer.json, "
        "special tokens\n"
        "and chat template are kept with them, for natsl export. Whatever is not supported is named, and nothing is "
        "written then.\n"
        "Under mpirun rank 0 does the work. --dry-run only checks, all but the values.\n",
    .options = import_options,
    .operand = "HF_DIR",
    .least = 1,
    .most = 1,
    .run = run_import,
};

const natsl_command natsl_command_export = {
    .name = "export",
    .usage = "export M.h5 --out HF_DIR",
    .summary = "a model file becomes a Hugging Face directory",
    .details = "Writes back what natsl import has read, bit for bit; a model of natsl's own gets a config.json of its "
               "class. The "
               "directory\n"
               "appears whole or not at all. Under mpirun rank 0 does the work.\n",
    .options = export_options,
    .operand = "M.h5",
    .least = 1,
    .most = 1,
    .run = run_export,
};
