/* cmd_grad.c - natsl grad: loss of a document and its gradient with respect to every weight. */
#include "agree.h"
#include "app.h"
#include "core.h"
#include "job.h"
#include "train.h"

#include <math.h>

#define AT(member) offsetof(natsl_args, member)
static const natsl_option options[] = {
    NATSL_OPTION_MODEL,
    NATSL_OPTION_OUT("G.h5", "gradient file to write"),
    {.kind = NATSL_OPT_END},
};

/** What common options cannot mean here is refused, not ignored. */
static natsl_status check_options(const natsl_args *a, int64_t tokens)
{
    if (a->state_pass == NATSL_STATE_SCAN)
        return natsl_fail(NATSL_ERR_USAGE, "--state-pass: grad passes states in order, expected auto or relay");
    if (a->balance == NATSL_BALANCE_ON)
        return natsl_fail(NATSL_ERR_USAGE, "--balance: grad cuts ranges of equal length, expected auto or off");
    if (a->pass_tokens > 0 && a->pass_tokens < tokens)
        return natsl_fail(NATSL_ERR_USAGE,
                          "--pass-tokens: grad reads a text in one pass, expected %lld or more (or 0: automatic)",
                          (long long)tokens);
    return NATSL_OK;
}

static natsl_status print_plan(natsl_job *s, int64_t tokens)
{
    natsl_app *app = s->app;
    natsl_train_plan plan;
    int64_t *first = natsl_alloc((size_t)app->size + 1, sizeof *first, "ranges");
    natsl_status st = first ? natsl_train_plan_make(&s->info.config, (natsl_storage)app->args.weights, app->size,
                                                    &s->options, tokens, &plan, first)
                            : NATSL_ERR_NOMEM;
    if ((st = natsl_app_agree(app, st)) == NATSL_OK && app->rank == 0) {
        char a[32], b[32], c[32], d[32], e[32];
        const double per_rank = (double)plan.rows_bytes + (double)plan.buffer_bytes + (double)plan.gradient_bytes;
        printf("tokens      %lld in one window, at most %lld per rank (a stage may have %lld)\n", (long long)tokens,
               (long long)plan.most_tokens, (long long)plan.stage_tokens);
        printf("ranks       %d, %d thread%s each\n", app->size, s->options.threads, s->options.threads == 1 ? "" : "s");
        printf("memory      weights %s per node; per rank %s (rows of all layers %s, buffers %s, gradients %s)\n",
               natsl_format_bytes((double)plan.weight_bytes, a), natsl_format_bytes(per_rank, b),
               natsl_format_bytes((double)plan.rows_bytes, c), natsl_format_bytes((double)plan.buffer_bytes, d),
               natsl_format_bytes((double)plan.gradient_bytes, e));
        printf("            %d of %d layers keep what their forward pass finds, the others compute it again\n",
               plan.saved_layers, s->info.config.num_hidden_layers);
        printf("            kept keys and values, if every chunk were kept: %s on the last rank\n",
               natsl_format_bytes((double)plan.kept_bytes_all, a));
        st = natsl_stdout_flush();
    }
    natsl_free(first);
    return natsl_app_agree(app, st);
}

/** Every token is to be said after the one before it. */
static natsl_status give_tokens(void *user, int64_t first, int64_t count, int32_t *ids, int32_t *targets)
{
    natsl_job *s = user;
    const int64_t more = first + count < natsl_doc_length(s->doc);
    natsl_status st = natsl_doc_read(s->doc, first, count, ids);
    if (st == NATSL_OK) st = natsl_doc_read(s->doc, first + 1, count - 1 + more, targets);
    if (!more) targets[count - 1] = -1;
    return st;
}

static natsl_status report(natsl_app *app, const natsl_trainer *t, int64_t tokens, double loss)
{
    double s[3];
    natsl_trainer_seconds(t, &s[0], &s[1], &s[2]);
    NATSL_MPI(MPI_Allreduce(MPI_IN_PLACE, s, 3, MPI_DOUBLE, MPI_MAX, app->comm));
    natsl_summary_count(app, "tokens", tokens);
    natsl_summary_real(app, "loss", loss);
    natsl_summary_real(app, "forward_seconds", s[0]);
    natsl_summary_real(app, "backward_seconds", s[1]);
    natsl_summary_real(app, "sum_seconds", s[2]);
    if (app->rank == 0 && !app->args.quiet) {
        char memory[32];
        printf("tokens      %lld, loss %.9g\n", (long long)tokens, loss);
        printf("time        forward %.2f s, backward %.2f s, sum over ranks %.2f s (largest of all ranks)\n", s[0],
               s[1], s[2]);
        printf("memory      at most %s on rank 0\n", natsl_format_bytes((double)natsl_peak_bytes(), memory));
        return natsl_app_agree(app, natsl_stdout_flush());
    }
    return natsl_app_agree(app, NATSL_OK);
}

static natsl_status gradients(natsl_job *s)
{
    natsl_app *app = s->app;
    natsl_trainer *t = NULL;
    double loss = NAN;
    const int64_t tokens = natsl_doc_length(s->doc);
    const natsl_window window = {.tokens = tokens, .user = s, .read = give_tokens, .scale = 1.0 / (double)(tokens - 1)};
    natsl_status st = natsl_trainer_create(app->comm, s->model, &s->options, 0, tokens, &t);
    if (st == NATSL_OK) st = natsl_trainer_add(t, &window);
    if (st == NATSL_OK) {
        loss = natsl_trainer_sum(t)->loss / (double)(tokens - 1);
        natsl_shards_gather(natsl_trainer_shards(t), natsl_trainer_gradients(t));
    }
    if (st == NATSL_OK && !isfinite(loss))
        st = natsl_fail(NATSL_ERR_INPUT, "%s: the loss is %g, expected a finite number", app->args.model, loss);
    if (st == NATSL_OK)
        st = natsl_grad_file_write(app->comm, app->args.out, &s->info.config, natsl_trainer_layout(t),
                                   natsl_trainer_gradients(t), tokens, loss);
    if (st == NATSL_OK) st = report(app, t, tokens, loss);
    natsl_trainer_destroy(&t);
    return st;
}

static natsl_status run(natsl_app *app)
{
    const natsl_args *a = &app->args;
    const char *inputs[] = {a->model, a->operands[0]};
    natsl_job s;
    natsl_status st = a->dry_run ? NATSL_OK : natsl_app_check_out(app, a->out, inputs, 2);
    if (st != NATSL_OK) return st;
    st = natsl_job_look(&s, app);
    if (st == NATSL_OK) st = natsl_job_open_doc(&s, a->operands[0]);
    if (st == NATSL_OK) st = check_options(a, natsl_doc_length(s.doc));
    if (st == NATSL_OK && a->dry_run) st = print_plan(&s, natsl_doc_length(s.doc));
    if (st == NATSL_OK && !a->dry_run) {
        st = natsl_model_open(app->comm, a->model, (natsl_storage)a->weights, &s.model);
        if (st == NATSL_OK) st = gradients(&s);
    }
    natsl_job_close(&s);
    return st;
}

const natsl_command natsl_command_grad = {
    .name = "grad",
    .usage = "grad --model M.h5 TOKENS.h5 --out G.h5",
    .summary = "loss of a text and its gradient by every weight",
    .details =
        "TOKENS.h5 is an HDF5 token file, a text file or - (text from standard input). The loss is the mean of -log p "
        "of\n"
        "every token but the first (natural logarithm). G.h5 gets it as attribute loss and, under every tensor's name "
        "as "
        "in\n"
        "the model file, its gradient (float64). The choice of chunks gets its gradient straight through: the choice "
        "counts\n"
        "as the softmax of its two scores. A forced choice (--route) has none.\n"
        "The text is read in one window, and each rank's range passes through a layer at once: --stage-tokens says how "
        "long\n"
        "it may be. Results for other numbers of ranks agree to rounding.\n",
    .options = options,
    .operand = "TOKENS.h5",
    .least = 1,
    .most = 1,
    .run = run,
};
