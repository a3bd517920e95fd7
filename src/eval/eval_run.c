/* eval_run.c - one sample on a group of ranks. See eval_run.h. */
#include "eval_run.h"

#include "agree.h"
#include "context_impl.h"
#include "core.h"
#include "digest.h"
#include "text_buffer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

natsl_status natsl_eval_runner_start(natsl_eval_runner *r)
{
    const natsl_config *c = natsl_model_config(r->model);
    const size_t vocab = (size_t)c->vocab_size, layers = (size_t)c->num_hidden_layers;
    NATSL_MPI(MPI_Comm_rank(r->comm, &r->rank));
    NATSL_MPI(MPI_Comm_size(r->comm, &r->size));
    natsl_status st = NATSL_OK;
    r->logits = natsl_alloc(vocab, sizeof *r->logits, "scores");
    r->scratch = natsl_alloc(r->rank == 0 ? vocab : 0, sizeof *r->scratch, "candidates");
    r->kept = natsl_calloc(layers, sizeof *r->kept, "choices");
    r->chunks = natsl_calloc(layers, sizeof *r->chunks, "choices");
    r->base_kept = natsl_calloc(layers, sizeof *r->kept, "choices");
    r->base_chunks = natsl_calloc(layers, sizeof *r->chunks, "choices");
    r->strip = natsl_calloc(layers * NATSL_STRIP_BINS * 2, sizeof *r->strip, "choices");
    if (!(r->logits && r->scratch && r->kept && r->chunks && r->base_kept && r->base_chunks && r->strip))
        st = NATSL_ERR_NOMEM;
    st = natsl_agree(r->comm, st);
    if (st != NATSL_OK) natsl_eval_runner_finish(r);
    return st;
}

static void drop_base(natsl_eval_runner *r)
{
    natsl_context_destroy(&r->base);
    natsl_free(r->base_text);
    r->base_text = NULL;
}

void natsl_eval_runner_finish(natsl_eval_runner *r)
{
    drop_base(r);
    natsl_bytes_free(&r->piece);
    natsl_free(r->logits);
    natsl_free(r->scratch);
    natsl_free(r->kept);
    natsl_free(r->chunks);
    natsl_free(r->base_kept);
    natsl_free(r->base_chunks);
    natsl_free(r->strip);
    r->logits = NULL, r->scratch = NULL;
    r->kept = r->chunks = r->base_kept = r->base_chunks = r->strip = NULL;
}

/* ---- reading --------------------------------------------------------------------------------------------------------- */

typedef struct reading {
    natsl_eval_runner *runner;
    const natsl_eval_sample *sample;
    natsl_context *cx;
    int heads;      /* of the gate */
    int64_t chunks; /* of the prompt, whole ones; 1 where it has none */
    int64_t bins;
    int64_t bin, *nats, *tokens; /* of a document */
    int64_t *answers;            /* [n_outputs] of a prompt in token ids; -1: not this rank's */
    float *scratch;
    float *rows,
        *scores; /* [ASKED, D], [ASKED, vocabulary]: final rows that are asked for, and what the head makes of them */
    natsl_eval_halfway halfway; /* end 0: this window is not kept */
    double saved_s;             /* when it was last */
    int first;                  /* its speed is not known yet */
    int64_t pass_most;          /* no longer passes */
} reading;

static natsl_status give_tokens(void *user, int64_t first, int64_t count, int32_t *ids)
{
    const reading *w = user;
    if (w->halfway.end == 0 && w->runner->interrupted && w->runner->interrupted())
        return natsl_fail(NATSL_INTERRUPTED, "interrupted while reading a sample");
    if (w->sample->ids) {
        memcpy(ids, w->sample->ids + first, (size_t)count * sizeof *ids);
        return NATSL_OK;
    }
    for (int64_t i = 0; i < count; i++) ids[i] = (unsigned char)w->sample->text[first + i];
    return NATSL_OK;
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
    const int64_t before = natsl_context_position(w->cx);
    if (w->runner->progress) w->runner->progress(w->runner->user, before + done, before + total);
}

static int ask_pause(void *user)
{
    const reading *w = user;
    return w->first || w->runner->keeper->due(w->runner->keeper->user);
}

static void start_reading(natsl_eval_runner *r, const natsl_eval_sample *sample, reading *w, natsl_stream *stream)
{
    const natsl_config *c = natsl_model_config(r->model);
    const size_t layers = (size_t)c->num_hidden_layers;
    const int64_t chunks = natsl_max64(sample->tokens / c->chunk, 1);
    *w = (reading){.runner = r,
                   .sample = sample,
                   .heads = c->num_nats_head,
                   .chunks = chunks,
                   .bins = natsl_min64(chunks, NATSL_STRIP_BINS)};
    *stream = (natsl_stream){.user = w, .tokens = give_tokens, .choices = take_choices, .progress = take_progress};
    memset(r->kept, 0, layers * sizeof *r->kept);
    memset(r->chunks, 0, layers * sizeof *r->chunks);
    memset(r->strip, 0, 2 * layers * (size_t)w->bins * sizeof *r->strip);
}

/** Between two passes: a checkpoint where one is due; the speed so far says how long passes are. Collective. */
static natsl_status between_passes(reading *w, natsl_eval_answer *out)
{
    natsl_eval_runner *r = w->runner;
    const natsl_eval_keeper *k = r->keeper;
    int asks[2] = {k->due(k->user), k->stops(k->user)};
    natsl_status st = NATSL_OK;
    NATSL_MPI(MPI_Allreduce(MPI_IN_PLACE, asks, 2, MPI_INT, MPI_MAX, r->comm));
    w->halfway.read = out->read;
    w->halfway.read_s = out->read_s;
    if (asks[0] || asks[1]) {
        st = k->save(k->user, w->cx, &w->halfway);
        w->saved_s = natsl_now_s();
    }
    if (st == NATSL_OK && asks[1]) st = natsl_fail(NATSL_INTERRUPTED, "interrupted while reading a sample");
    w->first = 0;
    if (st == NATSL_OK && r->options.pass_tokens == 0)
        natsl_context_set_pass(w->cx, k->pass(k->user, w->cx, r->tps, w->pass_most));
    return st;
}

/** Reads up to `end`. */
static natsl_status read_to(reading *w, int64_t end, const natsl_stream *how, natsl_eval_answer *out)
{
    natsl_eval_runner *r = w->runner;
    natsl_stream stream = *how;
    natsl_status st = NATSL_OK;
    if (w->halfway.end == end) {
        stream.pause = ask_pause;
        w->pass_most = w->cx->options.pass_tokens;
        w->first = r->tps <= 0.0;
        if (r->options.pass_tokens == 0)
            natsl_context_set_pass(w->cx,
                                   r->keeper->pass(r->keeper->user, w->cx, w->first ? 1.0 : r->tps, w->pass_most));
        w->saved_s = natsl_now_s();
    }
    while (st == NATSL_OK && natsl_context_position(w->cx) < end) {
        const int64_t at = natsl_context_position(w->cx);
        const double start = natsl_now_s();
        stream.goes_on = at > 0;
        st = natsl_context_extend(w->cx, end - at, &stream);
        const double seconds = natsl_now_s() - start;
        const int64_t tokens = natsl_context_position(w->cx) - at;
        out->read_s += seconds;
        out->read += tokens;
        if (w->halfway.end == end && seconds > 0.0) r->tps = (double)tokens / seconds;
        if (st == NATSL_OK && at + tokens < end) st = between_passes(w, out);
    }
    if (st == NATSL_OK && w->halfway.end == end) { /* what comes now is not kept */
        int due = natsl_now_s() - w->saved_s > r->keeper->least_s;
        NATSL_MPI(MPI_Bcast(&due, 1, MPI_INT, 0, r->comm));
        w->halfway.read = out->read;
        w->halfway.read_s = out->read_s;
        if (due) st = r->keeper->save(r->keeper->user, w->cx, &w->halfway);
        w->halfway.end = 0;
    }
    return st;
}

static uint64_t digest_of(const natsl_eval_sample *sample, int64_t tokens)
{
    if (sample->ids) return natsl_digest(sample->ids, (size_t)tokens * sizeof *sample->ids);
    return natsl_digest(sample->text, (size_t)tokens);
}

/** What has been measured once holds for every context. */
static void know_machine(const natsl_eval_runner *r, natsl_context *cx)
{
    if (!r->machine_known) return;
    cx->machine = r->machine;
    cx->machine_known = 1;
}

/** Options of a context for this sample. */
static natsl_options options_of(const reading *w)
{
    const natsl_eval_runner *r = w->runner;
    natsl_options options = r->options, automatic;
    /* Buffers as long as the text where that is short: a context is made for every sample. */
    if (options.stage_tokens == 0 && r->size == 1 && w->sample->tokens < INT32_MAX &&
        natsl_options_complete(natsl_model_config(r->model), 1, &options, &automatic) == NATSL_OK)
        options.stage_tokens = natsl_min64(automatic.stage_tokens, w->sample->tokens);
    return options;
}

/** The window of w's sample that ends at `end` is kept while it is read; counts: of other tasks, beside those of choices, which are of
 * nothing yet. A checkpoint of it, if there is one, becomes *cx. Collective. */
static natsl_status keep_window(reading *w, int64_t end, int shared, const natsl_eval_counts *more,
                                natsl_eval_answer *out, natsl_context **cx)
{
    natsl_eval_runner *r = w->runner;
    const size_t layers = (size_t)natsl_model_config(r->model)->num_hidden_layers, bins = layers * (size_t)w->bins;
    const natsl_options options = options_of(w);
    natsl_eval_halfway *h = &w->halfway;
    int same = 0;
    *cx = NULL;
    if (!r->keeper) return NATSL_OK;
    *h = (natsl_eval_halfway){.digest = digest_of(w->sample, end),
                              .end = end,
                              .sample = digest_of(w->sample, w->sample->tokens),
                              .shared = shared,
                              .counts = {{r->kept, layers, 0}, {r->chunks, layers, 0}, {r->strip, 2 * bins, 0}},
                              .n_counts = 3};
    if (more) h->counts[h->n_counts++] = *more;
    const natsl_status st = r->keeper->load(r->keeper->user, r->model, &options, h, &same, cx);
    if (st != NATSL_OK || !*cx) return st;
    know_machine(r, *cx);
    if (same) {
        out->read = h->read;
        out->read_s = h->read_s;
    } else { /* read for another one, whose places along the text are other ones */
        memset(r->strip, 0, 2 * bins * sizeof *r->strip);
    }
    return st;
}

/** What the gate chose, of all ranks. */
static void finish_reading(natsl_eval_runner *r, const reading *w, natsl_eval_answer *out)
{
    const size_t layers = (size_t)natsl_model_config(r->model)->num_hidden_layers, bins = layers * (size_t)w->bins;
    NATSL_MPI(MPI_Allreduce(MPI_IN_PLACE, r->kept, (int)layers, MPI_INT64_T, MPI_SUM, r->comm));
    NATSL_MPI(MPI_Allreduce(MPI_IN_PLACE, r->chunks, (int)layers, MPI_INT64_T, MPI_SUM, r->comm));
    NATSL_MPI(MPI_Allreduce(MPI_IN_PLACE, r->strip, (int)(2 * bins), MPI_INT64_T, MPI_SUM, r->comm));
    out->strip_bins = out->read == w->sample->tokens ? (int)w->bins : 0;
    for (size_t i = 0; i < bins; i++) {
        const int64_t kept = r->strip[2 * i], all = r->strip[2 * i + 1];
        out->strip[i] = '-';
        if (all > 0) out->strip[i] = (char)('0' + (9 * kept + all / 2) / all);
    }
    for (size_t l = 0; l < layers; l++)
        out->kept_share[l] = r->chunks[l] > 0 ? (double)r->kept[l] / (double)r->chunks[l] : -1.0;
}

/** Room for what comes of a sample. */
static natsl_status start_sample(natsl_eval_runner *r, natsl_eval_answer *out)
{
    const size_t layers = (size_t)natsl_model_config(r->model)->num_hidden_layers;
    memset(out, 0, sizeof *out);
    out->kept_share = natsl_calloc(layers, sizeof(double), "choices");
    out->strip = natsl_alloc(layers, NATSL_STRIP_BINS, "choices");
    return natsl_agree(r->comm, out->kept_share && out->strip ? NATSL_OK : NATSL_ERR_NOMEM);
}

/** A context that has read nothing or, where the window up to `end` is kept, some of it. */
static natsl_status new_context(reading *w, int64_t end, int shared, const natsl_eval_counts *more,
                                natsl_eval_answer *answer, natsl_context **out)
{
    natsl_eval_runner *r = w->runner;
    *out = NULL;
    natsl_status st = end > 0 ? keep_window(w, end, shared, more, answer, out) : NATSL_OK;
    if (st != NATSL_OK || *out) return st;
    const natsl_options options = options_of(w);
    st = natsl_context_create(r->comm, r->model, &options, out);
    if (st == NATSL_OK) know_machine(r, *out);
    return st;
}

/** Of a sample's two windows the longer one is kept: whether that is the first one, up to `split`. */
static int is_long(const natsl_eval_sample *sample, int64_t split) { return split >= sample->tokens / 2; }

/** w->cx becomes a context that has read the first `split` tokens of the sample: a copy of the base, which is read now if it is not what
 * was read before; or, when no other sample wants it, the base itself. */
static natsl_status read_base(natsl_eval_runner *r, reading *w, int64_t split, int more, const natsl_stream *stream,
                              natsl_eval_answer *out)
{
    const size_t bytes = (size_t)natsl_model_config(r->model)->num_hidden_layers * sizeof *r->kept;
    const void *tokens = w->sample->ids ? (const void *)w->sample->ids : w->sample->text;
    const size_t size = (size_t)split * (w->sample->ids ? sizeof *w->sample->ids : 1);
    natsl_status st = NATSL_OK;
    if (r->base && natsl_context_position(r->base) == split && memcmp(r->base_text, tokens, size) == 0) {
        memcpy(r->kept, r->base_kept, bytes);
        memcpy(r->chunks, r->base_chunks, bytes);
    } else {
        drop_base(r);
        st = new_context(w, is_long(w->sample, split) ? split : 0, 1, NULL, out, &r->base);
        w->cx = r->base;
        if (st == NATSL_OK) st = read_to(w, split, stream, out);
        w->cx = NULL;
        if (st != NATSL_OK) return st; /* drop_base comes with the next sample, or the end */
        memcpy(r->base_kept, r->kept, bytes);
        memcpy(r->base_chunks, r->chunks, bytes);
        r->base_text = natsl_alloc(size, 1, "a prompt");
        if (r->base_text) memcpy(r->base_text, tokens, size);
        st = natsl_agree(r->comm, r->base_text ? NATSL_OK : NATSL_ERR_NOMEM);
    }
    if (st == NATSL_OK && more) {
        st = natsl_context_copy(r->base, &w->cx);
        if (st == NATSL_OK) { /* which a copy does not know */
            w->cx->machine = r->base->machine;
            w->cx->machine_known = r->base->machine_known;
        }
    } else if (st == NATSL_OK) {
        w->cx = r->base;
        r->base = NULL;
        drop_base(r);
    }
    return st;
}

/** A sample whose second window is the longer one: a checkpoint of it becomes w->cx, before there is a base in memory beside it. A next
 * sample that wants the base reads it. */
static natsl_status go_on_behind_base(reading *w, int more, natsl_eval_answer *out)
{
    const natsl_status st = keep_window(w, w->sample->tokens, 0, NULL, out, &w->cx);
    if (w->cx && !more) drop_base(w->runner);
    return st;
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
    const size_t vocab = (size_t)natsl_tokenizer_vocab(r->tokenizer);
    const char *ready = NULL;
    if (r->interrupted && r->interrupted())
        return natsl_fail(NATSL_INTERRUPTED, "interrupted while answering a sample");
    size_t length = 0;
    natsl_status st = natsl_sample(r->logits, vocab, &r->how, rng, r->scratch, &d->token);
    r->piece.length = 0;
    if (st == NATSL_OK) st = natsl_decoder_add(r->decoder, d->token, &r->piece);
    for (size_t i = 0; i < r->n_ends; i++) d->ends |= r->ends[i] == d->token;
    if (st != NATSL_OK || d->ends) return st;
    st = natsl_text_stream_add(stream, r->piece.at ? r->piece.at : "", r->piece.length, &ready, &length, &d->ends);
    return st == NATSL_OK ? append(out, ready, length) : st;
}

/** What the decoder and the stream still hold back. */
static natsl_status finish_text(natsl_eval_runner *r, natsl_text_stream *stream, natsl_eval_answer *out)
{
    const char *ready = NULL;
    size_t length = 0;
    int stopped = out->stopped;
    r->piece.length = 0;
    natsl_status st = natsl_decoder_finish(r->decoder, &r->piece);
    if (st == NATSL_OK)
        st = natsl_text_stream_add(stream, r->piece.at ? r->piece.at : "", r->piece.length, &ready, &length, &stopped);
    if (st == NATSL_OK) st = append(out, ready, length);
    out->stopped |= stopped;
    natsl_text_stream_finish(stream, &ready, &length);
    return st == NATSL_OK ? append(out, ready, length) : st;
}

static natsl_status generate(natsl_eval_runner *r, natsl_context *cx, const natsl_eval_sample *sample, int64_t max_new,
                             natsl_rng *rng, natsl_eval_answer *out)
{
    natsl_text_stream *stream = NULL;
    const double start = natsl_now_s();
    natsl_status st = r->rank == 0 ? natsl_text_stream_create(r->stops, r->n_stops, &stream) : NATSL_OK;
    if (st == NATSL_OK) st = natsl_decoder_create(r->tokenizer, 0, &r->decoder);
    /* what a token's text is may depend on the one before */
    if (st == NATSL_OK && sample->ids) st = natsl_decoder_add(r->decoder, sample->ids[sample->tokens - 1], &r->piece);
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
    if (st == NATSL_OK && r->rank == 0) st = finish_text(r, stream, out);
    natsl_text_stream_destroy(&stream);
    natsl_decoder_destroy(&r->decoder);
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

natsl_status natsl_eval_run(natsl_eval_runner *r, const natsl_eval_sample *sample, int64_t max_new, int more,
                            natsl_rng rng, natsl_eval_answer *out)
{
    const int64_t chunk = natsl_model_config(r->model)->chunk,
                  split = natsl_min64(sample->shared_tokens, sample->tokens - 1) / chunk * chunk;
    reading w;
    natsl_stream stream;
    natsl_status st = start_sample(r, out);
    start_reading(r, sample, &w, &stream);
    if (st == NATSL_OK && split == 0) st = new_context(&w, sample->tokens, 0, NULL, out, &w.cx);
    if (st == NATSL_OK && split > 0 && !is_long(sample, split)) st = go_on_behind_base(&w, more, out);
    if (st == NATSL_OK && split > 0 && !w.cx) st = read_base(r, &w, split, more, &stream, out);
    if (st == NATSL_OK) st = read_to(&w, sample->tokens, &stream, out);
    if (st == NATSL_OK) finish_reading(r, &w, out);
    if (st == NATSL_OK) st = generate(r, w.cx, sample, max_new, &rng, out);
    if (st == NATSL_OK) st = look_back(r, w.cx, out);
    natsl_context_destroy(&w.cx);
    if (st != NATSL_OK) natsl_eval_answer_free(out);
    return st;
}

/* Questions that the head answers at a time. */
#define ASKED ((size_t)32)

/* ---- recall in token ids ---------------------------------------------------------------------------------------------- */

static int32_t largest(const float *scores, size_t n)
{
    size_t best = 0;
    for (size_t v = 1; v < n; v++) {
        if (scores[v] > scores[best]) best = v;
    }
    return (int32_t)best;
}

/** The most probable tokens after the places of these rows that are asked for. The head is read once for ASKED of them: always as many
 * rows, some of zeros, so that a row's bits do not depend on how many are at hand. */
static natsl_status take_hidden(void *user, int64_t first, int64_t count, const float *rows)
{
    const reading *w = user;
    const natsl_eval_sample *sample = w->sample;
    const natsl_matrix *head = &w->runner->model->weights.head;
    const size_t d = (size_t)natsl_model_config(w->runner->model)->hidden_size;
    size_t i = 0, high = sample->n_outputs;
    while (i < high) { /* the first that is asked for here */
        const size_t middle = i + (high - i) / 2;
        if (sample->asked[middle] < first) i = middle + 1;
        else high = middle;
    }
    for (size_t n = 0; i < sample->n_outputs && sample->asked[i] < first + count; i += n) {
        memset(w->rows, 0, ASKED * d * sizeof *w->rows);
        for (n = 0; n < ASKED && i + n < sample->n_outputs && sample->asked[i + n] < first + count; n++)
            memcpy(w->rows + n * d, rows + (size_t)(sample->asked[i + n] - first) * d, d * sizeof *rows);
        w->cx->stage.kernels->linear(ASKED, head, 0, natsl_panels(head->n), w->rows, d, w->scores, head->n, 0,
                                     w->scratch);
        for (size_t k = 0; k < n; k++) w->answers[i + k] = largest(w->scores + k * head->n, head->n);
    }
    return NATSL_OK;
}

natsl_status natsl_eval_run_ids(natsl_eval_runner *r, const natsl_eval_sample *sample, natsl_eval_answer *out)
{
    reading w;
    natsl_stream stream;
    natsl_buffer b = {0};
    natsl_status st = start_sample(r, out);
    start_reading(r, sample, &w, &stream);
    stream.hidden = take_hidden;
    w.answers = natsl_alloc(sample->n_outputs, sizeof *w.answers, "answers");
    w.scratch = natsl_alloc(natsl_linear_scratch(), sizeof *w.scratch, "answers");
    w.rows = natsl_alloc(ASKED, (size_t)natsl_model_config(r->model)->hidden_size * sizeof *w.rows, "answers");
    w.scores = natsl_alloc(ASKED, (size_t)natsl_model_config(r->model)->vocab_size * sizeof *w.scores, "answers");
    if (st == NATSL_OK)
        st = natsl_agree(r->comm, w.answers && w.scratch && w.rows && w.scores ? NATSL_OK : NATSL_ERR_NOMEM);
    for (size_t i = 0; st == NATSL_OK && i < sample->n_outputs; i++) w.answers[i] = -1;
    const natsl_eval_counts answers = {w.answers, sample->n_outputs, 1};
    if (st == NATSL_OK) st = new_context(&w, sample->tokens, 0, &answers, out, &w.cx);
    if (st == NATSL_OK) st = read_to(&w, sample->tokens, &stream, out);
    if (st == NATSL_OK) {
        finish_reading(r, &w, out);
        /* each place is one rank's; a count of outputs fits an int, as they are tokens of a vocabulary */
        NATSL_MPI(MPI_Allreduce(MPI_IN_PLACE, w.answers, (int)sample->n_outputs, MPI_INT64_T, MPI_MAX, r->comm));
        for (size_t i = 0; i < sample->n_outputs; i++) {
            if (i > 0) natsl_puts(&b, " ");
            natsl_put_number(&b, w.answers[i]);
        }
        st = natsl_agree(r->comm, b.failed ? NATSL_ERR_NOMEM : append(out, b.text, b.length));
    }
    if (st == NATSL_OK) st = look_back(r, w.cx, out);
    natsl_buffer_free(&b);
    natsl_context_destroy(&w.cx);
    natsl_free(w.answers);
    natsl_free(w.scratch);
    natsl_free(w.rows);
    natsl_free(w.scores);
    if (st != NATSL_OK) natsl_eval_answer_free(out);
    return st;
}

/* ---- documents --------------------------------------------------------------------------------------------------------- */

#define FIRST_BIN 64
#define NAT       1048576.0 /* of the whole numbers that are added: 2^31 tokens of 4096 nats are fewer than 2^63 */

static int64_t bin_of(int64_t bin, int64_t position)
{
    if (bin > 0) return position / bin;
    int64_t i = 0;
    for (int64_t end = FIRST_BIN; position >= end; end *= 2) i++;
    return i;
}

static int64_t bin_start(int64_t bin, int64_t i) { return bin > 0 ? i * bin : i == 0 ? 0 : FIRST_BIN << (i - 1); }

static natsl_status take_logprobs(void *user, int64_t first, int64_t count, const float *values)
{
    const reading *w = user;
    for (int64_t i = 0; i < count; i++) {
        const int64_t at = bin_of(w->bin, first + i + 1);
        w->nats[at] -= llround(fmax((double)values[i], -4096.0) * NAT);
        w->tokens[at]++;
    }
    return NATSL_OK;
}

natsl_status natsl_eval_run_document(natsl_eval_runner *r, const natsl_eval_sample *sample, int64_t bin,
                                     natsl_eval_answer *out)
{
    const int64_t n = bin_of(bin, sample->tokens - 1) + 1;
    reading w;
    natsl_stream stream;
    if (n > NATSL_EVAL_BINS)
        return natsl_fail(NATSL_ERR_USAGE, "a document of %lld tokens has %lld bins, expected at most %d",
                          (long long)sample->tokens, (long long)n, NATSL_EVAL_BINS);
    natsl_status st = start_sample(r, out);
    start_reading(r, sample, &w, &stream);
    stream.logprobs = take_logprobs;
    w.bin = bin;
    w.nats = natsl_calloc((size_t)(2 * n), sizeof *w.nats, "loss");
    w.tokens = w.nats ? w.nats + n : NULL;
    out->bins = natsl_calloc((size_t)n, sizeof *out->bins, "loss");
    if (st == NATSL_OK) st = natsl_agree(r->comm, w.nats && out->bins ? NATSL_OK : NATSL_ERR_NOMEM);
    const natsl_eval_counts loss = {w.nats, (size_t)(2 * n), 0};
    if (st == NATSL_OK) st = new_context(&w, sample->tokens, 0, &loss, out, &w.cx);
    if (st == NATSL_OK) st = read_to(&w, sample->tokens, &stream, out);
    if (st == NATSL_OK) {
        finish_reading(r, &w, out);
        NATSL_MPI(MPI_Allreduce(MPI_IN_PLACE, w.nats, (int)(2 * n), MPI_INT64_T, MPI_SUM, r->comm));
        for (int64_t i = 0; i < n; i++)
            out->bins[i] =
                (natsl_eval_bin){bin_start(bin, i), bin_start(bin, i + 1), w.tokens[i], (double)w.nats[i] / NAT};
        out->n_bins = (size_t)n;
        st = natsl_agree(r->comm, append(out, "", 0));
    }
    if (st == NATSL_OK) st = look_back(r, w.cx, out);
    natsl_context_destroy(&w.cx);
    natsl_free(w.nats);
    if (st != NATSL_OK) natsl_eval_answer_free(out);
    return st;
}

void natsl_eval_answer_free(natsl_eval_answer *answer)
{
    free(answer->text);
    natsl_free(answer->kept_share);
    natsl_free(answer->strip);
    natsl_free(answer->bins);
    memset(answer, 0, sizeof *answer);
}
