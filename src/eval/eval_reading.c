/* eval_reading.c - prompts read, with checkpoints and what the gate chose. See eval_run_impl.h. */
#include "eval_run_impl.h"

#include "digest.h"

#include <string.h>

natsl_status natsl_reading_room(natsl_eval_runner *r, natsl_eval_answer *out)
{
    const size_t layers = (size_t)natsl_model_config(r->model)->num_hidden_layers;
    memset(out, 0, sizeof *out);
    out->kept_share = natsl_calloc(layers, sizeof(double), "choices");
    out->strip = natsl_alloc(layers, NATSL_STRIP_BINS, "choices");
    return natsl_agree(r->comm, out->kept_share && out->strip ? NATSL_OK : NATSL_ERR_NOMEM);
}

static natsl_status give_tokens(void *user, int64_t first, int64_t count, int32_t *ids)
{
    const natsl_reading *w = user;
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
    const natsl_reading *w = user;
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
    const natsl_reading *w = user;
    const int64_t before = natsl_context_position(w->cx);
    if (w->runner->progress) w->runner->progress(w->runner->user, before + done, before + total);
}

static int ask_pause(void *user)
{
    const natsl_reading *w = user;
    return w->first || w->runner->keeper->due(w->runner->keeper->user);
}

void natsl_reading_start(natsl_eval_runner *r, const natsl_eval_sample *sample, natsl_reading *w, natsl_stream *stream)
{
    const natsl_config *c = natsl_model_config(r->model);
    const size_t layers = (size_t)c->num_hidden_layers;
    const int64_t chunks = natsl_max64(sample->tokens / c->chunk, 1);
    *w = (natsl_reading){.runner = r,
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
static natsl_status between_passes(natsl_reading *w, natsl_eval_answer *out)
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

natsl_status natsl_reading_to(natsl_reading *w, int64_t end, const natsl_stream *how, natsl_eval_answer *out)
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
static natsl_options options_of(const natsl_reading *w)
{
    const natsl_eval_runner *r = w->runner;
    natsl_options options = r->options, automatic;
    /* Buffers as long as the text where that is short: a context is made for every sample. */
    if (options.stage_tokens == 0 && r->size == 1 && w->sample->tokens < INT32_MAX &&
        natsl_options_complete(natsl_model_config(r->model), 1, &options, &automatic) == NATSL_OK)
        options.stage_tokens = natsl_min64(automatic.stage_tokens, w->sample->tokens);
    return options;
}

natsl_status natsl_reading_keep(natsl_reading *w, int64_t end, int shared, const natsl_eval_counts *more,
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

void natsl_reading_finish(natsl_eval_runner *r, const natsl_reading *w, natsl_eval_answer *out)
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

natsl_status natsl_reading_context(natsl_reading *w, int64_t end, int shared, const natsl_eval_counts *more,
                                   natsl_eval_answer *answer, natsl_context **out)
{
    natsl_eval_runner *r = w->runner;
    *out = NULL;
    natsl_status st = end > 0 ? natsl_reading_keep(w, end, shared, more, answer, out) : NATSL_OK;
    if (st != NATSL_OK || *out) return st;
    const natsl_options options = options_of(w);
    st = natsl_context_create(r->comm, r->model, &options, out);
    if (st == NATSL_OK) know_machine(r, *out);
    return st;
}

natsl_status natsl_reading_look_back(natsl_eval_runner *r, natsl_context *cx, natsl_eval_answer *out)
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
