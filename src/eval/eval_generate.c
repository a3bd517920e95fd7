/* eval_generate.c - answers: tokens chosen one after the other. See eval_run_impl.h. */
#include "eval_run_impl.h"

#include <stdlib.h>
#include <string.h>

/** What rank 0 decides about each token. */
typedef struct decision {
    int32_t token, ends, status;
} decision;

natsl_status natsl_eval_answer_add(natsl_eval_answer *out, const char *text, size_t length)
{
    char *more = realloc(out->text, out->length + length + 1);
    if (!more) return natsl_fail(NATSL_ERR_NOMEM, "prediction: no memory for %zu bytes", out->length + length + 1);
    out->text = more;
    if (length > 0) memcpy(out->text + out->length, text, length);
    out->length += length;
    out->text[out->length] = '\0';
    return NATSL_OK;
}

static natsl_status choose(natsl_eval_runner *r, natsl_token_text *words, natsl_rng *rng, natsl_eval_answer *out,
                           decision *d)
{
    const size_t vocab = (size_t)natsl_tokenizer_vocab(r->tokenizer);
    const char *ready = NULL;
    if (r->interrupted && r->interrupted())
        return natsl_fail(NATSL_INTERRUPTED, "interrupted while answering a sample");
    size_t length = 0;
    natsl_status st = natsl_sample(r->logits, vocab, &r->how, rng, r->scratch, &d->token);
    for (size_t i = 0; i < r->n_ends && st == NATSL_OK; i++) d->ends |= r->ends[i] == d->token;
    if (st != NATSL_OK || d->ends) return st;
    st = natsl_token_text_add(words, d->token, &ready, &length, &d->ends);
    return st == NATSL_OK ? natsl_eval_answer_add(out, ready, length) : st;
}

/** What is still held back. */
static natsl_status finish_text(natsl_token_text *words, natsl_eval_answer *out)
{
    const char *ready = NULL;
    size_t length = 0;
    int stopped = 0;
    const natsl_status st = natsl_token_text_finish(words, &ready, &length, &stopped);
    out->stopped |= stopped;
    return st == NATSL_OK ? natsl_eval_answer_add(out, ready, length) : st;
}

/** Rank 0: what makes text of the tokens after the sample's. */
static natsl_status start_text(const natsl_eval_runner *r, const natsl_eval_sample *sample, natsl_token_text **words)
{
    const natsl_status st = natsl_token_text_create(r->tokenizer, r->stops, r->n_stops, words);
    if (st != NATSL_OK || !sample->ids) return st;
    return natsl_token_text_before(*words, sample->ids[sample->tokens - 1]);
}

natsl_status natsl_eval_generate(natsl_eval_runner *r, natsl_context *cx, const natsl_eval_sample *sample,
                                 int64_t max_new, natsl_rng *rng, natsl_eval_answer *out)
{
    natsl_token_text *words = NULL;
    const double start = natsl_now_s();
    natsl_status st = r->rank == 0 ? start_text(r, sample, &words) : NATSL_OK;
    st = natsl_agree(r->comm, st);
    while (st == NATSL_OK && out->generated < max_new) {
        decision d = {0};
        if ((st = natsl_context_logits(cx, r->logits)) != NATSL_OK) break;
        if (r->rank == 0) d.status = (int32_t)choose(r, words, rng, out, &d);
        NATSL_MPI(MPI_Bcast(&d, sizeof d, MPI_BYTE, 0, r->comm));
        if (d.status != NATSL_OK) {
            st = natsl_agree(r->comm, (natsl_status)d.status);
            break;
        }
        out->generated++;
        out->stopped = d.ends;
        if (d.ends || out->generated == max_new) break;
        st = natsl_context_next(cx, d.token);
    }
    if (st == NATSL_OK && r->rank == 0) st = finish_text(words, out);
    natsl_token_text_destroy(&words);
    out->generate_s = natsl_now_s() - start;
    return natsl_agree(r->comm, st);
}
