/* cmd_generate.c - natsl generate: text that follows a document and a prompt. */
#include "agree.h"
#include "app.h"
#include "core.h"
#include "job.h"
#include "json_text.h"
#include "sample.h"
#include "tokenizer.h"

#include <stdlib.h>
#include <string.h>

#define AT(member) offsetof(natsl_args, member)
static const natsl_option options[] = {
    NATSL_OPTION_MODEL,
    {.kind = NATSL_OPT_TEXT,
     .name = "prompt",
     .value = "TEXT",
     .offset = AT(prompt),
     .help = "text after the document; needed where there is no document and no context"},
    {.kind = NATSL_OPT_COUNT,
     .name = "max-new",
     .value = "N",
     .offset = AT(max_new),
     .need = NATSL_REQUIRED,
     .least = 1,
     .most = INT32_MAX,
     .help = "most tokens to generate"},
    {.kind = NATSL_OPT_TEXT,
     .name = "context",
     .value = "CTX.h5",
     .offset = AT(context),
     .help = "what natsl read kept, instead of DOC"},
    NATSL_OPTIONS_SAMPLING,
    {.kind = NATSL_OPT_COUNT,
     .name = "seed",
     .value = "S",
     .offset = AT(seed),
     .most = INT64_MAX,
     .help = "of the random choice; the same seed gives the same text (default 0)"},
    {.kind = NATSL_OPT_STOPS,
     .name = "stop",
     .value = "TEXT",
     .help = "end before this text; may be given several times"},
    {.kind = NATSL_OPT_FLAG,
     .name = "ignore-eos",
     .offset = AT(ignore_eos),
     .help = "go on behind a token that ends a text"},
    {.kind = NATSL_OPT_FLAG,
     .name = "json",
     .offset = AT(json),
     .help = "print one JSON object at the end instead of text"},
    NATSL_OPTION_SPECIAL,
    {.kind = NATSL_OPT_END},
};

/** What rank 0 decides about each token. */
typedef struct decision {
    int32_t token, eos, ends, status;
} decision;

/** Text on its way to stdout, or to the JSON object. Rank 0 only. */
typedef struct output {
    int json;
    natsl_token_text *words; /* NULL: the model has no tokenizer; ids are written instead of text */
    char *text;              /* [length] all text so far, with --json */
    size_t length, capacity;
    json_t *tokens;
    int stopped;
    int first; /* nothing is written yet */
} output;

static natsl_status put(output *o, const char *text, size_t length)
{
    if (!o->json) {
        (void)fwrite(text, 1, length, stdout);
        return natsl_stdout_flush();
    }
    if (length > o->capacity - o->length) {
        const size_t capacity = 2 * (o->length + length);
        char *more = realloc(o->text, capacity);
        if (!more) return natsl_fail(NATSL_ERR_NOMEM, "text: no memory for %zu bytes", capacity);
        o->text = more;
        o->capacity = capacity;
    }
    if (length > 0) memcpy(o->text + o->length, text, length);
    o->length += length;
    return NATSL_OK;
}

static natsl_status put_token(output *o, int32_t token)
{
    const char *ready = NULL;
    size_t length = 0;
    if (o->json && json_array_append_new(o->tokens, json_integer(token)) != 0)
        return natsl_fail(NATSL_ERR_NOMEM, "--json: no memory for the tokens");
    if (!o->words) {
        char id[16];
        const int n = snprintf(id, sizeof id, "%s%d", o->first ? "" : " ", token);
        o->first = 0;
        return o->json ? NATSL_OK : put(o, id, (size_t)n);
    }
    const natsl_status st = natsl_token_text_add(o->words, token, &ready, &length, &o->stopped);
    return st == NATSL_OK ? put(o, ready, length) : st;
}

/** The rest of the text and a last newline, or the JSON object. Rank 0. */
static natsl_status put_end(output *o, int64_t made)
{
    const char *ready = "";
    size_t length = 0;
    int stopped = 0;
    natsl_status st = o->words ? natsl_token_text_finish(o->words, &ready, &length, &stopped) : NATSL_OK;
    if (st == NATSL_OK) st = put(o, ready, length);
    if (st != NATSL_OK) return st;
    o->stopped |= stopped;
    if (!o->json) return put(o, "\n", 1);
    json_t *text = o->words ? natsl_json_text(o->text ? o->text : "", o->length) : json_null();
    json_t *object = json_pack("{s:o?, s:O, s:I, s:s}", "text", text, "tokens", o->tokens, "count", (json_int_t)made,
                               "end", o->stopped ? "stop" : "max-new");
    char *line = object ? json_dumps(object, JSON_COMPACT) : NULL;
    if (line) puts(line);
    free(line);
    json_decref(object);
    return line ? natsl_stdout_flush() : natsl_fail(NATSL_ERR_NOMEM, "--json: no memory for the result");
}

/** Generates. logits [vocab] on all ranks; scratch [vocab] on rank 0. */
static natsl_status loop(natsl_job *s, output *o, float *logits, natsl_candidate *scratch, int64_t *made)
{
    natsl_app *app = s->app;
    const natsl_args *a = &app->args;
    const natsl_sampling how = {.temperature = a->temperature, .top_k = a->top_k, .top_p = a->top_p};
    natsl_rng rng = {(uint64_t)a->seed};
    natsl_status st = NATSL_OK;
    for (*made = 0; *made < a->max_new;) {
        decision d = {0};
        if ((st = natsl_context_logits(s->cx, logits)) != NATSL_OK) return st;
        if (app->rank == 0) {
            natsl_status mine = natsl_sample(logits, (size_t)s->info.config.vocab_size, &how, &rng, scratch, &d.token);
            for (int i = 0; i < s->info.n_eos && !a->ignore_eos; i++) d.eos |= s->info.eos_tokens[i] == d.token;
            if (mine == NATSL_OK && d.eos) o->stopped = 1;
            else if (mine == NATSL_OK) mine = put_token(o, d.token);
            d.status = (int32_t)mine;
            d.ends = o->stopped;
        }
        NATSL_MPI(MPI_Bcast(&d, sizeof d, MPI_BYTE, 0, app->comm));
        if (d.status != NATSL_OK) return natsl_app_agree(app, (natsl_status)d.status);
        if (d.eos) break; /* no part of the text */
        ++*made;
        if (d.ends || *made == a->max_new) break;
        if ((st = natsl_context_next(s->cx, d.token)) != NATSL_OK) return st;
    }
    return NATSL_OK;
}

/** Tokens of the prompt: of a text that begins, or that goes on where something was read before. */
static natsl_status prompt_ids(const natsl_job *s, const char *prompt, natsl_ids *ids)
{
    const int begins = natsl_context_position(s->cx) == 0;
    size_t around = 0;
    const int32_t *before = natsl_tokenizer_around(s->tokenizer, 0, &around);
    natsl_encoder *e = NULL;
    natsl_status st = natsl_encoder_create(s->tokenizer, begins, &e);
    if (st == NATSL_OK && begins && s->app->args.special_tokens) st = natsl_ids_add(ids, before, around);
    if (st == NATSL_OK) st = natsl_encoder_add(e, prompt, strlen(prompt), 1, 0, ids);
    natsl_encoder_destroy(&e);
    return st;
}

/** Reads the prompt. On rank 0 o->words sees it, too. */
static natsl_status read_prompt(natsl_job *s, const char *prompt, output *o)
{
    natsl_ids ids = {0};
    int32_t last = 0;
    const int64_t length = s->doc ? natsl_doc_length(s->doc) : 0;
    natsl_status st = *prompt ? prompt_ids(s, prompt, &ids) : NATSL_OK;
    if (st == NATSL_OK && length > 0 && o->words) {
        st = natsl_doc_read(s->doc, length - 1, 1, &last);
        if (st == NATSL_OK) st = natsl_token_text_before(o->words, last);
    }
    for (size_t i = 0; st == NATSL_OK && o->words && i < ids.count; i++)
        st = natsl_token_text_before(o->words, ids.at[i]);
    st = natsl_app_agree(s->app, st);
    const double start = natsl_now_s();
    if (st == NATSL_OK && ids.count > 0) {
        st = natsl_context_extend_array(s->cx, (int64_t)ids.count, ids.at, NULL);
        s->read += (int64_t)ids.count;
        s->read_s += natsl_now_s() - start;
    }
    natsl_ids_free(&ids);
    return st;
}

static natsl_status report(natsl_job *s, int64_t made, double seconds)
{
    natsl_app *app = s->app;
    natsl_summary_count(app, "tokens", natsl_context_position(s->cx));
    natsl_summary_count(app, "tokens_generated", made);
    natsl_summary_real(app, "generate_seconds", seconds);
    if (app->rank == 0 && !app->args.quiet)
        fprintf(stderr,
                "tokens      %lld in the context, %lld of them read now; generated %lld in %.2f s, %.1f tokens/s\n",
                (long long)natsl_context_position(s->cx), (long long)s->read, (long long)made, seconds,
                seconds > 0.0 ? (double)made / seconds : 0.0);
    return natsl_job_report(s, stderr);
}

static natsl_status generate(natsl_job *s, const char *prompt)
{
    natsl_app *app = s->app;
    const natsl_args *a = &app->args;
    const size_t vocab = (size_t)s->info.config.vocab_size;
    output o = {.json = a->json, .first = 1};
    float *logits = NULL;
    natsl_candidate *scratch = NULL;
    int64_t made = 0;
    natsl_status st = NATSL_OK;
    if (!s->tokenizer && (*prompt || a->n_stops > 0)) return natsl_job_no_text(s);
    if (s->tokenizer && app->rank == 0) st = natsl_token_text_create(s->tokenizer, a->stops, a->n_stops, &o.words);
    NATSL_TRY(st, cleanup, natsl_app_agree(app, st));
    if (a->n_operands > 0) {
        NATSL_TRY(st, cleanup, natsl_job_open_doc(s, a->operands[0]));
        NATSL_TRY(st, cleanup, natsl_job_read_doc(s));
    }
    NATSL_TRY(st, cleanup, read_prompt(s, prompt, &o));

    logits = natsl_alloc(vocab, sizeof *logits, "scores");
    scratch = app->rank == 0 ? natsl_alloc(vocab, sizeof *scratch, "candidates") : NULL;
    if (!logits || (app->rank == 0 && !scratch)) st = NATSL_ERR_NOMEM;
    if (st == NATSL_OK && app->rank == 0 && o.json && !(o.tokens = json_array()))
        st = natsl_fail(NATSL_ERR_NOMEM, "--json: no memory for the tokens");
    NATSL_TRY(st, cleanup, natsl_app_agree(app, st));
    const double start = natsl_now_s();
    NATSL_TRY(st, cleanup, loop(s, &o, logits, scratch, &made));
    const double seconds = natsl_now_s() - start;
    NATSL_TRY(st, cleanup, natsl_app_agree(app, app->rank == 0 ? put_end(&o, made) : NATSL_OK));
    st = report(s, made, seconds);
cleanup:
    json_decref(o.tokens);
    free(o.text);
    natsl_token_text_destroy(&o.words);
    natsl_free(scratch);
    natsl_free(logits);
    return st;
}

static natsl_status run(natsl_app *app)
{
    const natsl_args *a = &app->args;
    const char *prompt = a->prompt ? a->prompt : "";
    natsl_job s;
    natsl_status st;
    if (a->context && a->n_operands > 0)
        return natsl_fail(NATSL_ERR_USAGE,
                          "generate: both DOC and --context, expected one of them (natsl read --context "
                          "continues a context)");
    if (!a->context && a->n_operands == 0 && !*prompt)
        return natsl_fail(NATSL_ERR_USAGE, "generate: no text to continue, expected --prompt TEXT, DOC or --context");
    if (a->dry_run) {
        st = natsl_job_look(&s, app);
        if (st == NATSL_OK && a->n_operands > 0) st = natsl_job_open_doc(&s, a->operands[0]);
        if (st == NATSL_OK)
            st = natsl_job_print_plan(&s, (s.doc ? natsl_doc_length(s.doc) : 0) + (int64_t)strlen(prompt));
    } else {
        st = natsl_job_open(&s, app, a->context);
        if (st == NATSL_OK) st = generate(&s, prompt);
    }
    natsl_job_close(&s);
    return st;
}

const natsl_command natsl_command_generate = {
    .name = "generate",
    .usage = "generate --model M.h5 [DOC | --context CTX.h5] --prompt TEXT --max-new N",
    .summary = "text that follows a document and a prompt",
    .details =
        "Reads DOC (a text file, an HDF5 token file or -) or loads the context that natsl read kept, reads the prompt, "
        "and\n"
        "prints what follows, as it comes. Statistics go to standard error. The text ends after --max-new tokens,\n"
        "before a --stop text, or before a token that ends texts (natsl info says which, if the model has one). A "
        "model without a tokenizer goes on from a token file, and ids are printed.\n",
    .options = options,
    .operand = "DOC",
    .least = 0,
    .most = 1,
    .run = run,
};
