/* eval_run.c - one sample on a group of ranks. See eval_run.h. */
#include "eval_run.h"

#include "agree.h"
#include "context_impl.h"
#include "core.h"

#include <stdlib.h>
#include <string.h>

natsl_status natsl_eval_runner_start(natsl_eval_runner *r)
{
    const natsl_config *c = natsl_model_config(r->model);
    const size_t vocab = (size_t)c->vocab_size, layers = (size_t)c->num_hidden_layers;
    NATSL_MPI(MPI_Comm_rank(r->comm, &r->rank));
    NATSL_MPI(MPI_Comm_size(r->comm, &r->size));
    natsl_status st = natsl_tokenizer_create(natsl_model_tokenizer(r->model), c->vocab_size, &r->tokenizer);
    r->logits = natsl_alloc(vocab, sizeof *r->logits, "scores");
    r->scratch = natsl_alloc(r->rank == 0 ? vocab : 0, sizeof *r->scratch, "candidates");
    r->kept = natsl_calloc(layers, sizeof *r->kept, "choices");
    r->chunks = natsl_calloc(layers, sizeof *r->chunks, "choices");
    r->strip = natsl_calloc(layers * NATSL_STRIP_BINS * 2, sizeof *r->strip, "choices");
    if (st == NATSL_OK && !(r->logits && r->scratch && r->kept && r->chunks && r->strip)) st = NATSL_ERR_NOMEM;
    st = natsl_agree(r->comm, st);
    if (st != NATSL_OK) natsl_eval_runner_finish(r);
    return st;
}

void natsl_eval_runner_finish(natsl_eval_runner *r)
{
    natsl_free(r->logits);
    natsl_free(r->scratch);
    natsl_free(r->kept);
    natsl_free(r->chunks);
    natsl_free(r->strip);
    r->logits = NULL, r->scratch = NULL, r->kept = r->chunks = r->strip = NULL;
}

/* ---- reading --------------------------------------------------------------------------------------------------------- */

typedef struct reading {
    natsl_eval_runner *runner;
    const natsl_eval_sample *sample;
    int heads;      /* of the gate */
    int64_t chunks; /* of the prompt, whole ones; 1 where it has none */
    int64_t bins;
} reading;

static natsl_status give_tokens(void *user, int64_t first, int64_t count, int32_t *ids)
{
    const reading *w = user;
    size_t n = 0;
    if (w->runner->interrupted && w->runner->interrupted())
        return natsl_fail(NATSL_INTERRUPTED, "interrupted while reading a sample");
    return natsl_tokenizer_encode(&w->runner->tokenizer, w->sample->text + first, (size_t)count, ids, &n);
}

static natsl_status take_choices(void *user, int layer, int64_t first_chunk, int64_t count, const uint8_t *keep)
{
    const reading *w = user;
    for (int64_t i = 0; i < count; i++) {
        int64_t *at = w->runner->strip + 2 * (layer * w->bins + (first_chunk + i) * w->bins / w->chunks);
        int64_t kept = 0;
        for (int h = 0; h < w->heads; h++) kept += keep[i * w->heads + h];
        w->runner->kept[layer] += kept;
        at[0] += kept;
        at[1] += w->heads;
    }
    w->runner->chunks[layer] += count * w->heads;
    return NATSL_OK;
}

static void take_progress(void *user, int64_t done, int64_t total)
{
    const reading *w = user;
    if (w->runner->progress) w->runner->progress(w->runner->user, done, total);
}

static natsl_status read_prompt(natsl_eval_runner *r, natsl_context *cx, const natsl_eval_sample *sample,
                                natsl_eval_answer *out)
{
    const natsl_config *c = natsl_model_config(r->model);
    const size_t layers = (size_t)c->num_hidden_layers;
    const int64_t chunks = natsl_max64(sample->length / c->chunk, 1);
    reading w = {r, sample, c->num_nats_head, chunks, natsl_min64(chunks, NATSL_STRIP_BINS)};
    const size_t bins = layers * (size_t)w.bins;
    const natsl_stream stream = {.user = &w, .tokens = give_tokens, .choices = take_choices, .progress = take_progress};
    memset(r->kept, 0, layers * sizeof *r->kept);
    memset(r->chunks, 0, layers * sizeof *r->chunks);
    memset(r->strip, 0, 2 * bins * sizeof *r->strip);
    const double start = natsl_now_s();
    const natsl_status st = natsl_context_extend(cx, sample->length, &stream);
    out->read_s = natsl_now_s() - start;
    if (st != NATSL_OK) return st;
    NATSL_MPI(MPI_Allreduce(MPI_IN_PLACE, r->kept, (int)layers, MPI_INT64_T, MPI_SUM, r->comm));
    NATSL_MPI(MPI_Allreduce(MPI_IN_PLACE, r->chunks, (int)layers, MPI_INT64_T, MPI_SUM, r->comm));
    NATSL_MPI(MPI_Allreduce(MPI_IN_PLACE, r->strip, (int)(2 * bins), MPI_INT64_T, MPI_SUM, r->comm));
    out->strip_bins = (int)w.bins;
    for (size_t i = 0; i < bins; i++) {
        const int64_t kept = r->strip[2 * i], all = r->strip[2 * i + 1];
        out->strip[i] = '-';
        if (all > 0) out->strip[i] = (char)('0' + (9 * kept + all / 2) / all);
    }
    for (size_t l = 0; l < layers; l++)
        out->kept_share[l] = r->chunks[l] > 0 ? (double)r->kept[l] / (double)r->chunks[l] : -1.0;
    return NATSL_OK;
}

/* ---- generating ------------------------------------------------------------------------------------------------------ */

/** What rank 0 decides about each token. */
typedef struct decision {
    int32_t token, ends, status;
} decision;

static natsl_status append(natsl_eval_answer *out, const char *text, size_t length)
{
    char *more = realloc(out->text, out->length + length + 1);
    if (!more) return natsl_fail(NATSL_ERR_NOMEM, "prediction: no memory for %zu bytes", out->length + length + 1);
    out->text = more;
    if (length > 0) memcpy(out->text + out->length, text, length);
    out->length += length;
    out->text[out->length] = '\0';
    return NATSL_OK;
}

static natsl_status choose(natsl_eval_runner *r, natsl_text_stream *stream, natsl_rng *rng, natsl_eval_answer *out,
                           decision *d)
{
    char bytes[NATSL_TOKEN_BYTES];
    const char *ready = NULL;
    if (r->interrupted && r->interrupted())
        return natsl_fail(NATSL_INTERRUPTED, "interrupted while answering a sample");
    natsl_status st = natsl_sample(r->logits, (size_t)r->tokenizer.vocab_size, &r->how, rng, r->scratch, &d->token);
    if (st != NATSL_OK) return st;
    size_t length = natsl_tokenizer_decode(&r->tokenizer, d->token, bytes);
    st = natsl_text_stream_add(stream, bytes, length, &ready, &length, &d->ends);
    return st == NATSL_OK ? append(out, ready, length) : st;
}

static natsl_status generate(natsl_eval_runner *r, natsl_context *cx, int64_t max_new, natsl_rng *rng,
                             natsl_eval_answer *out)
{
    natsl_text_stream *stream = NULL;
    const double start = natsl_now_s();
    natsl_status st = r->rank == 0 ? natsl_text_stream_create(r->stops, r->n_stops, &stream) : NATSL_OK;
    st = natsl_agree(r->comm, st);
    while (st == NATSL_OK && out->generated < max_new) {
        decision d = {0};
        if ((st = natsl_context_logits(cx, r->logits)) != NATSL_OK) break;
        if (r->rank == 0) d.status = (int32_t)choose(r, stream, rng, out, &d);
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
    if (st == NATSL_OK && r->rank == 0) {
        const char *ready = NULL;
        size_t length = 0;
        natsl_text_stream_finish(stream, &ready, &length);
        st = append(out, ready, length);
    }
    natsl_text_stream_destroy(&stream);
    out->generate_s = natsl_now_s() - start;
    return natsl_agree(r->comm, st);
}

/** What the context has seen, and the machine it has measured, which the next context need not measure again. */
static natsl_status look_back(natsl_eval_runner *r, natsl_context *cx, natsl_eval_answer *out)
{
    natsl_stats stats;
    const natsl_status st = natsl_context_stats(cx, &stats);
    out->kept_chunks = stats.kept_chunks;
    out->chunks = stats.chunks;
    out->peak_bytes = stats.peak_bytes;
    if (cx->machine_known) {
        r->machine = cx->machine;
        r->machine_known = 1;
    }
    return st;
}

natsl_status natsl_eval_run(natsl_eval_runner *r, const natsl_eval_sample *sample, int64_t max_new, natsl_rng rng,
                            natsl_eval_answer *out)
{
    natsl_context *cx = NULL;
    natsl_options options = r->options;
    memset(out, 0, sizeof *out);
    out->kept_share = natsl_calloc((size_t)natsl_model_config(r->model)->num_hidden_layers, sizeof(double), "choices");
    out->strip = natsl_alloc((size_t)natsl_model_config(r->model)->num_hidden_layers, NATSL_STRIP_BINS, "choices");
    natsl_status st = natsl_agree(r->comm, out->kept_share && out->strip ? NATSL_OK : NATSL_ERR_NOMEM);
    /* Buffers as long as the text where that is short: a context is made for every sample. */
    if (options.stage_tokens == 0 && r->size == 1 && sample->length < INT32_MAX) {
        natsl_options automatic;
        if (natsl_options_complete(natsl_model_config(r->model), 1, &options, &automatic) == NATSL_OK)
            options.stage_tokens = natsl_min64(automatic.stage_tokens, sample->length);
    }
    if (st == NATSL_OK) st = natsl_context_create(r->comm, r->model, &options, &cx);
    if (st == NATSL_OK && r->machine_known) {
        cx->machine = r->machine;
        cx->machine_known = 1;
    }
    if (st == NATSL_OK) st = read_prompt(r, cx, sample, out);
    if (st == NATSL_OK) st = generate(r, cx, max_new, &rng, out);
    if (st == NATSL_OK) st = look_back(r, cx, out);
    natsl_context_destroy(&cx);
    if (st != NATSL_OK) natsl_eval_answer_free(out);
    return st;
}

void natsl_eval_answer_free(natsl_eval_answer *answer)
{
    free(answer->text);
    natsl_free(answer->kept_share);
    natsl_free(answer->strip);
    memset(answer, 0, sizeof *answer);
}
