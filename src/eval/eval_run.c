/* eval_run.c - one sample on a group of ranks. See eval_run.h. */
#include "eval_run_impl.h"

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

/* ---- prompts and answers ---------------------------------------------------------------------------------------------- */

/** Of a sample's two windows the longer one is kept: whether that is the first one, up to `split`. */
static int is_long(const natsl_eval_sample *sample, int64_t split) { return split >= sample->tokens / 2; }

/** w->cx becomes a context that has read the first `split` tokens of the sample: a copy of the base, which is read now if it is not what
 * was read before; or, when no other sample wants it, the base itself. */
static natsl_status read_base(natsl_eval_runner *r, natsl_reading *w, int64_t split, int more,
                              const natsl_stream *stream, natsl_eval_answer *out)
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
        st = natsl_reading_context(w, is_long(w->sample, split) ? split : 0, 1, NULL, out, &r->base);
        w->cx = r->base;
        if (st == NATSL_OK) st = natsl_reading_to(w, split, stream, out);
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
static natsl_status go_on_behind_base(natsl_reading *w, int more, natsl_eval_answer *out)
{
    const natsl_status st = natsl_reading_keep(w, w->sample->tokens, 0, NULL, out, &w->cx);
    if (w->cx && !more) drop_base(w->runner);
    return st;
}

natsl_status natsl_eval_run(natsl_eval_runner *r, const natsl_eval_sample *sample, int64_t max_new, int more,
                            natsl_rng rng, natsl_eval_answer *out)
{
    const int64_t chunk = natsl_model_config(r->model)->chunk,
                  split = natsl_min64(sample->shared_tokens, sample->tokens - 1) / chunk * chunk;
    natsl_reading w;
    natsl_stream stream;
    natsl_status st = natsl_reading_room(r, out);
    natsl_reading_start(r, sample, &w, &stream);
    if (st == NATSL_OK && split == 0) st = natsl_reading_context(&w, sample->tokens, 0, NULL, out, &w.cx);
    if (st == NATSL_OK && split > 0 && !is_long(sample, split)) st = go_on_behind_base(&w, more, out);
    if (st == NATSL_OK && split > 0 && !w.cx) st = read_base(r, &w, split, more, &stream, out);
    if (st == NATSL_OK) st = natsl_reading_to(&w, sample->tokens, &stream, out);
    if (st == NATSL_OK) natsl_reading_finish(r, &w, out);
    if (st == NATSL_OK) st = natsl_eval_generate(r, w.cx, sample, max_new, &rng, out);
    if (st == NATSL_OK) st = natsl_reading_look_back(r, w.cx, out);
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
    const natsl_reading *w = user;
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
    natsl_reading w;
    natsl_stream stream;
    natsl_buffer b = {0};
    natsl_status st = natsl_reading_room(r, out);
    natsl_reading_start(r, sample, &w, &stream);
    stream.hidden = take_hidden;
    w.answers = natsl_alloc(sample->n_outputs, sizeof *w.answers, "answers");
    w.scratch = natsl_alloc(natsl_linear_scratch(), sizeof *w.scratch, "answers");
    w.rows = natsl_alloc(ASKED, (size_t)natsl_model_config(r->model)->hidden_size * sizeof *w.rows, "answers");
    w.scores = natsl_alloc(ASKED, (size_t)natsl_model_config(r->model)->vocab_size * sizeof *w.scores, "answers");
    if (st == NATSL_OK)
        st = natsl_agree(r->comm, w.answers && w.scratch && w.rows && w.scores ? NATSL_OK : NATSL_ERR_NOMEM);
    for (size_t i = 0; st == NATSL_OK && i < sample->n_outputs; i++) w.answers[i] = -1;
    const natsl_eval_counts answers = {w.answers, sample->n_outputs, 1};
    if (st == NATSL_OK) st = natsl_reading_context(&w, sample->tokens, 0, &answers, out, &w.cx);
    if (st == NATSL_OK) st = natsl_reading_to(&w, sample->tokens, &stream, out);
    if (st == NATSL_OK) {
        natsl_reading_finish(r, &w, out);
        /* each place is one rank's; a count of outputs fits an int, as they are tokens of a vocabulary */
        NATSL_MPI(MPI_Allreduce(MPI_IN_PLACE, w.answers, (int)sample->n_outputs, MPI_INT64_T, MPI_MAX, r->comm));
        for (size_t i = 0; i < sample->n_outputs; i++) {
            if (i > 0) natsl_puts(&b, " ");
            natsl_put_number(&b, w.answers[i]);
        }
        st = natsl_agree(r->comm, b.failed ? NATSL_ERR_NOMEM : natsl_eval_answer_add(out, b.text, b.length));
    }
    if (st == NATSL_OK) st = natsl_reading_look_back(r, w.cx, out);
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
    const natsl_reading *w = user;
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
    natsl_reading w;
    natsl_stream stream;
    if (n > NATSL_EVAL_BINS)
        return natsl_fail(NATSL_ERR_USAGE, "a document of %lld tokens has %lld bins, expected at most %d",
                          (long long)sample->tokens, (long long)n, NATSL_EVAL_BINS);
    natsl_status st = natsl_reading_room(r, out);
    natsl_reading_start(r, sample, &w, &stream);
    stream.logprobs = take_logprobs;
    w.bin = bin;
    w.nats = natsl_calloc((size_t)(2 * n), sizeof *w.nats, "loss");
    w.tokens = w.nats ? w.nats + n : NULL;
    out->bins = natsl_calloc((size_t)n, sizeof *out->bins, "loss");
    if (st == NATSL_OK) st = natsl_agree(r->comm, w.nats && out->bins ? NATSL_OK : NATSL_ERR_NOMEM);
    const natsl_eval_counts loss = {w.nats, (size_t)(2 * n), 0};
    if (st == NATSL_OK) st = natsl_reading_context(&w, sample->tokens, 0, &loss, out, &w.cx);
    if (st == NATSL_OK) st = natsl_reading_to(&w, sample->tokens, &stream, out);
    if (st == NATSL_OK) {
        natsl_reading_finish(r, &w, out);
        NATSL_MPI(MPI_Allreduce(MPI_IN_PLACE, w.nats, (int)(2 * n), MPI_INT64_T, MPI_SUM, r->comm));
        for (int64_t i = 0; i < n; i++)
            out->bins[i] =
                (natsl_eval_bin){bin_start(bin, i), bin_start(bin, i + 1), w.tokens[i], (double)w.nats[i] / NAT};
        out->n_bins = (size_t)n;
        st = natsl_agree(r->comm, natsl_eval_answer_add(out, "", 0));
    }
    if (st == NATSL_OK) st = natsl_reading_look_back(r, w.cx, out);
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
