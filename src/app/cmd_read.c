/* cmd_read.c - natsl read: a document into a context that is kept in a file. */
#include "agree.h"
#include "app.h"
#include "core.h"
#include "documents.h"
#include "job.h"
#include "resume.h"

#define AT(member) offsetof(natsl_args, member)
static const natsl_option options[] = {
    NATSL_OPTION_MODEL,
    NATSL_OPTION_OUT("CTX.h5", "context file to write; several DOCs: directory for contexts"),
    {.kind = NATSL_OPT_TEXT,
     .name = "context",
     .value = "CTX.h5",
     .offset = AT(context),
     .help = "continue this context instead of an empty one"},
    NATSL_OPTIONS_CHECKPOINT,
    NATSL_OPTION_SPECIAL,
    NATSL_OPTIONS_DOCUMENTS,
    {.kind = NATSL_OPT_END},
};

/** Reads the document that is open, saves the context and reports. */
static natsl_status read_and_save(natsl_job *s, natsl_resume *r)
{
    natsl_app *app = s->app;
    natsl_status st = natsl_resume_read(r);
    if (st == NATSL_OK) st = natsl_context_save_with(s->cx, r->order.out, natsl_resume_put, r);
    if (st != NATSL_OK) return st;
    const int64_t position = natsl_context_position(s->cx);
    natsl_summary_count(app, "tokens", position);
    if (app->rank == 0 && !app->args.quiet)
        printf("tokens      %lld, the context holds %lld\n", (long long)natsl_doc_length(s->doc), (long long)position);
    if ((st = natsl_job_report(s, stdout)) != NATSL_OK) return st;
    return natsl_app_agree(app, app->rank == 0 ? natsl_stdout_flush() : NATSL_OK);
}

static natsl_status read_one(natsl_job *s, natsl_resume *r, void *user)
{
    (void)user;
    return read_and_save(s, r);
}

static natsl_status read_doc(natsl_job *s, const natsl_resume_order *order)
{
    natsl_resume r = {0};
    natsl_status st = natsl_job_open_doc(s, s->app->args.operands[0]);
    if (st == NATSL_OK) st = natsl_resume_begin(&r, s, order);
    if (st == NATSL_OK && !r.finished) st = read_and_save(s, &r);
    return natsl_resume_end(&r, st, stdout);
}

static natsl_status run(natsl_app *app)
{
    const natsl_args *a = &app->args;
    /* --out may be the context that is continued: it is read whole before the new one takes its name. */
    const char *inputs[] = {a->model, a->operands[0], NULL};
    natsl_job s;
    natsl_resume_order order;
    int several = 0;
    natsl_status st = natsl_documents_asked(app, &several);
    if (st == NATSL_OK && several)
        return natsl_documents_run(app, &(natsl_documents_order){.one = read_one, .write = "", .context = a->context});
    if (st == NATSL_OK) st = natsl_resume_order_make(app, &order);
    if (st != NATSL_OK) return st;
    if (a->dry_run) {
        st = natsl_job_look(&s, app);
        if (st == NATSL_OK) st = natsl_job_open_doc(&s, a->operands[0]);
        if (st == NATSL_OK) st = natsl_job_print_plan(&s, natsl_doc_length(s.doc));
    } else {
        /* but then a job that is started again could not tell its result from what it began with */
        if (a->checkpoint) inputs[2] = a->context;
        if ((st = natsl_app_check_out(app, a->out, inputs, 3)) != NATSL_OK) return st;
        st = natsl_job_open(&s, app, a->context);
        if (st == NATSL_OK) st = read_doc(&s, &order);
    }
    natsl_job_close(&s);
    return st;
}

const natsl_command natsl_command_read = {
    .name = "read",
    .usage = "read --model M.h5 DOC --out CTX.h5, or DOC ... | @LIST --out DIR",
    .summary = "read a document once, keep its context",
    .details =
        "DOC is a text file, an HDF5 token file or - (text from standard input). What the model remembers of it "
        "goes to\n"
        "CTX.h5, for natsl generate --context or another natsl read --context, on any number of ranks.\n"
        "With --checkpoint DIR the work so far is kept in DIR between passes; SIGTERM, SIGINT and SIGUSR1 keep it "
        "and end\n"
        "natsl with code 6. The same command with --resume goes on from there, on any number of ranks "
        "(README.md,\n"
        "\"Checkpoints\").\n"
        "Several DOCs, or @LIST (a file with a path on each line), are read side by side by groups of ranks, each on "
        "its own;\n"
        "--out is then a directory: a context for each, documents.csv and documents.jsonl (README.md, \"Many "
        "documents\").\n",
    .options = options,
    .operand = "DOC",
    .least = 1,
    .most = NATSL_MAX_DOCS,
    .run = run,
};
