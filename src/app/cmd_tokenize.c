/* cmd_tokenize.c - natsl tokenize: a text to a token file. */
#include "agree.h"
#include "app.h"
#include "core.h"
#include "files.h"
#include "job.h"
#include "tokenize.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const natsl_option options[] = {
    NATSL_OPTION_TEXT("model", "M.h5", model, NATSL_OPTIONAL, "the model whose tokenizer it is"),
    NATSL_OPTION_TEXT("tokenizer", "T.json", tokenizer_file, NATSL_OPTIONAL, "or a Hugging Face tokenizer.json"),
    NATSL_OPTION_OUT("T.h5", "token file to write"),
    NATSL_OPTION_SPECIAL,
    {.kind = NATSL_OPT_END},
};

static natsl_status tokenize(natsl_app *app, const natsl_tokenizer *tokenizer)
{
    const natsl_args *a = &app->args;
    natsl_token_part part = {.spool.fd = -1};
    int64_t bytes = 0;
    int fd = -1;
    natsl_status st = natsl_text_open(app->comm, a->operands[0], &fd, &bytes);
    if (st != NATSL_OK) return st;
    const double start = natsl_now_s();
    st = natsl_tokenize(app->comm, a->operands[0], fd, bytes, tokenizer, a->special_tokens, &part);
    const double seconds = natsl_now_s() - start;
    (void)close(fd);
    if (st != NATSL_OK) return st;
    if (part.total == 0) st = natsl_fail(NATSL_ERR_INPUT, "%s: has no tokens", a->operands[0]);
    if (st == NATSL_OK && !a->dry_run)
        st = natsl_token_file_write(app->comm, a->out, natsl_tokenizer_vocab(tokenizer), &part);
    natsl_spool_close(&part.spool);
    if (st != NATSL_OK) return st;
    natsl_summary_count(app, "bytes", bytes);
    natsl_summary_count(app, "tokens", part.total);
    natsl_summary_real(app, "seconds", seconds);
    natsl_summary_count(app, "ranks_used", part.ranks);
    if (app->rank == 0 && !a->quiet) {
        printf("tokens      %lld of %lld bytes (%.2f bytes per token), %.2f s, %.1f MB/s, %d rank%s\n",
               (long long)part.total, (long long)bytes, (double)bytes / (double)part.total, seconds,
               seconds > 0.0 ? 1e-6 * (double)bytes / seconds : 0.0, part.ranks, part.ranks == 1 ? "" : "s");
        if (!natsl_tokenizer_cuts(tokenizer))
            printf("            with this tokenizer a text cannot be cut: rank 0 did it all, in memory\n");
    }
    return natsl_app_agree(app, app->rank == 0 ? natsl_stdout_flush() : NATSL_OK);
}

static natsl_status run(natsl_app *app)
{
    const natsl_args *a = &app->args;
    const char *inputs[] = {a->model, a->tokenizer_file, a->operands[0]};
    natsl_job s;
    natsl_tokenizer *tokenizer = NULL;
    natsl_status st = NATSL_OK;
    if (!a->model == !a->tokenizer_file)
        return natsl_fail(NATSL_ERR_USAGE, "tokenize: expected --model M.h5 or --tokenizer T.json, one of them");
    if (!a->dry_run) st = natsl_app_check_out(app, a->out, inputs, 3);
    if (st != NATSL_OK) return st;
    natsl_job_begin(&s, app);
    if (a->model) st = natsl_job_look(&s, app);
    else st = natsl_app_tokenizer_file(app, a->tokenizer_file, &tokenizer);
    if (st == NATSL_OK && a->model && !s.tokenizer) st = natsl_job_no_text(&s);
    if (st == NATSL_OK) st = tokenize(app, a->model ? s.tokenizer : tokenizer);
    natsl_tokenizer_destroy(&tokenizer);
    natsl_job_close(&s);
    return st;
}

const natsl_command natsl_command_tokenize = {
    .name = "tokenize",
    .usage = "tokenize (--model M.h5 | --tokenizer T.json) DOC --out T.h5",
    .summary = "a text to a token file",
    .details =
        "DOC is a text file or - (text from standard input). T.h5 gets its tokens (dataset tokens), for score, read, "
        "grad and\n"
        "train; the same for any number of ranks. Bytes that are no UTF-8 become U+FFFD, unless tokens are bytes.\n",
    .options = options,
    .operand = "DOC",
    .least = 1,
    .most = 1,
    .run = run,
};
