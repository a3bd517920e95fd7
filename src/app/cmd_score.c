/* cmd_score.c - natsl score: log-probabilities of a document. */
#include "agree.h"
#include "app.h"
#include "core.h"
#include "documents.h"
#include "job.h"
#include "resume.h"

#include <math.h>
#include <string.h>

#define AT(member) offsetof(natsl_args, member)
static const natsl_option options[] = {
    NATSL_OPTION_MODEL,
    NATSL_OPTION_OUT("R.h5", "result file to write; several DOCs: directory for results"),
    {.kind = NATSL_OPT_TEXT,
     .name = "write",
     .value = "WHAT",
     .offset = AT(write),
     .help = "write more: hidden (final rows), state (last states), or hidden,state"},
    NATSL_OPTIONS_CHECKPOINT,
    NATSL_OPTION_SPECIAL,
    NATSL_OPTIONS_DOCUMENTS,
    {.kind = NATSL_OPT_END},
};

static natsl_status parse_write(const char *list, int *hidden, int *state)
{
    *hidden = *state = 0;
    for (const char *p = list; p && *p;) {
        const size_t length = strcspn(p, ",");
        if (length == 6 && strncmp(p, "hidden", 6) == 0) *hidden = 1;
        else if (length == 5 && strncmp(p, "state", 5) == 0) *state = 1;
        else
            return natsl_fail(NATSL_ERR_USAGE, "--write: '%.*s' is unknown, expected hidden, state or hidden,state",
                              (int)(length < 100 ? length : 100), p);
        p += length;
        if (*p == ',' && *++p == '\0')
            return natsl_fail(NATSL_ERR_USAGE, "--write: '%s' ends in a comma, expected hidden, state or hidden,state",
                              list);
    }
    return NATSL_OK;
}

/** logits_last, and with write_state the states, into the result. */
static natsl_status write_last(natsl_job *s, int write_state)
{
    const natsl_config *c = &s->info.config;
    const int writes = s->app->rank == 0;
    const size_t state_floats = (size_t)c->num_v_heads * (size_t)c->head_dim * (size_t)c->head_v_dim;
    float *logits = natsl_alloc((size_t)c->vocab_size, sizeof *logits, "scores");
    float *state = natsl_alloc(write_state ? 2 * state_floats : 0, sizeof *state, "states");
    natsl_status st = natsl_app_agree(s->app, logits && state ? NATSL_OK : NATSL_ERR_NOMEM), mine = NATSL_OK;
    if (st == NATSL_OK) st = natsl_context_logits(s->cx, logits);
    if (st == NATSL_OK && writes) mine = natsl_result_logits_last(s->result, logits);
    for (int l = 0; write_state && st == NATSL_OK && l < c->num_hidden_layers; l++) {
        float *block_state = c->kind[l] == NATSL_LAYER_NATS ? state + state_floats : NULL;
        if (c->kind[l] == NATSL_LAYER_ATTN) continue; /* no state */
        st = natsl_context_state(s->cx, l, state, block_state);
        if (st == NATSL_OK && writes && mine == NATSL_OK) mine = natsl_result_state(s->result, l, state, block_state);
    }
    if (st == NATSL_OK) st = natsl_app_agree(s->app, mine);
    natsl_free(state);
    natsl_free(logits);
    return st;
}

static natsl_status write_attributes(natsl_job *s, int64_t tokens, double mean, double seconds)
{
    natsl_status st = natsl_result_attribute(s->result, "tokens", (double)tokens);
    if (st == NATSL_OK) st = natsl_result_attribute(s->result, "seconds", seconds);
    if (st == NATSL_OK && tokens > 1) st = natsl_result_attribute(s->result, "mean_logprob", mean);
    if (st == NATSL_OK && tokens > 1) st = natsl_result_attribute(s->result, "perplexity", exp(-mean));
    return st;
}

static natsl_status report(natsl_job *s, int64_t tokens, double mean)
{
    natsl_app *app = s->app;
    const int bytes = strcmp(s->info.tokenizer, "byte") == 0;
    natsl_summary_count(app, "tokens", tokens);
    natsl_summary_real(app, "mean_logprob", mean);
    natsl_summary_real(app, "perplexity", exp(-mean));
    if (bytes) natsl_summary_real(app, "bits_per_byte", -mean / log(2.0));
    if (app->rank == 0 && !app->args.quiet) {
        printf("tokens      %lld", (long long)tokens);
        if (tokens > 1) printf(", perplexity %.6g", exp(-mean));
        if (tokens > 1 && bytes) printf(", %.6g bits per byte", -mean / log(2.0));
        printf("\n");
    }
    const natsl_status st = natsl_job_report(s, stdout);
    if (st != NATSL_OK) return st;
    return natsl_app_agree(app, app->rank == 0 ? natsl_stdout_flush() : NATSL_OK);
}

/** Reads the document that is open, writes and reports its result. */
static natsl_status score_doc(natsl_job *s, natsl_resume *r, int write_hidden, int write_state)
{
    natsl_app *app = s->app;
    const int64_t tokens = natsl_doc_length(s->doc);
    natsl_status st =
        natsl_result_create(app->comm, r->order.out, &s->info.config, tokens, write_hidden, write_state, &s->result);
    if (st != NATSL_OK) return st;
    s->write_hidden = write_hidden;
    if ((st = natsl_resume_read(r)) != NATSL_OK) return st;
    if ((st = write_last(s, write_state)) != NATSL_OK) return st;
    const double mean = s->mean = natsl_job_mean(s, tokens - 1);
    double seconds = s->before_s + s->read_s;
    NATSL_MPI(MPI_Allreduce(MPI_IN_PLACE, &seconds, 1, MPI_DOUBLE, MPI_MAX, app->comm));
    if ((st = write_attributes(s, tokens, mean, seconds)) != NATSL_OK) return st;
    if ((st = natsl_resume_mark(r)) != NATSL_OK) return st;
    if ((st = natsl_result_commit(&s->result)) != NATSL_OK) return st;
    return report(s, tokens, mean);
}

/** What --write asks for. */
typedef struct extras {
    int hidden, state;
} extras;

static const char *write_words(const extras *write)
{
    static const char *const words[] = {"", "hidden", "state", "hidden,state"};
    return words[write->hidden + 2 * write->state];
}

static natsl_status score_one(natsl_job *s, natsl_resume *r, void *user)
{
    const extras *write = user;
    return score_doc(s, r, write->hidden, write->state);
}

static natsl_status score(natsl_job *s, natsl_resume_order order, const extras *write)
{
    natsl_resume r = {0};
    natsl_status st = natsl_job_open_doc(s, s->app->args.operands[0]);
    if (st != NATSL_OK) return st;
    order.write = write_words(write);
    st = natsl_resume_begin(&r, s, &order);
    if (st == NATSL_OK && !r.finished) st = score_doc(s, &r, write->hidden, write->state);
    return natsl_resume_end(&r, st, stdout);
}

static natsl_status run(natsl_app *app)
{
    const natsl_args *a = &app->args;
    const char *inputs[] = {a->model, a->operands[0]};
    natsl_job s;
    natsl_resume_order order;
    extras write = {0};
    int several = 0;
    natsl_status st = parse_write(a->write, &write.hidden, &write.state);
    if (st == NATSL_OK) st = natsl_documents_asked(app, &several);
    if (st == NATSL_OK && several)
        return natsl_documents_run(
            app, &(natsl_documents_order){.one = score_one, .user = &write, .write = write_words(&write), .scores = 1});
    if (st == NATSL_OK) st = natsl_resume_order_make(app, &order);
    if (st != NATSL_OK) return st;
    if (a->dry_run) {
        st = natsl_job_look(&s, app);
        if (st == NATSL_OK) st = natsl_job_open_doc(&s, a->operands[0]);
        if (st == NATSL_OK) st = natsl_job_print_plan(&s, natsl_doc_length(s.doc));
    } else {
        if ((st = natsl_app_check_out(app, a->out, inputs, 2)) != NATSL_OK) return st;
        st = natsl_job_open(&s, app, NULL);
        if (st == NATSL_OK) st = score(&s, order, &write);
    }
    natsl_job_close(&s);
    return st;
}

const natsl_command natsl_command_score = {
    .name = "score",
    .usage = "score --model M.h5 DOC --out R.h5, or DOC ... | @LIST --out DIR",
    .summary = "log-probabilities, perplexity, which chunks were kept",
    .details =
        "DOC is a text file, an HDF5 token file or - (text from standard input). R.h5 gets the natural logarithm of "
        "each\n"
        "token's probability given all before it (logprobs), the scores after the last token (logits_last), which "
        "chunks\n"
        "the gate kept for softmax attention (softmax_chunks), and as attributes tokens, mean_logprob, perplexity and\n"
        "seconds. The log-probabilities are the same for any number of ranks.\n"
        "With --checkpoint DIR the work so far is kept in DIR between passes; SIGTERM, SIGINT and SIGUSR1 keep it and "
        "end\n"
        "natsl with code 6. The same command with --resume goes on from there, on any number of ranks, to the same "
        "bits; "
        "when\n"
        "R.h5 is there, the checkpoints are removed (README.md, \"Checkpoints\").\n"
        "Several DOCs, or @LIST (a file with a path on each line), are read side by side by groups of ranks; --out is "
        "then "
        "a\n"
        "directory: a result for each, documents.csv and documents.jsonl (README.md, \"Many documents\").\n",
    .options = options,
    .operand = "DOC",
    .least = 1,
    .most = NATSL_MAX_DOCS,
    .run = run,
};
