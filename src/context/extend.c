/* extend.c - reads a window of tokens into a context, spread over ranks.
 *
 * A window is read in passes; in a pass each rank reads one contiguous range, in stages of bounded length. The ranges of all
 * passes form one chain (pass 0 rank 0, pass 0 rank 1, ..., pass 1 rank 0, ...): halo and state go from each to the next (the
 * state inside a pass also by a scan: state.c), so that early ranks run ahead. Nothing inside a pass is a collective call.
 *
 * Errors are local until the end of a pass; a rank in trouble keeps its part of the conversation, and all ranks learn of it
 * by a nonblocking reduction one pass later. They then leave through one pass without arithmetic (`drain`), because messages
 * for it are already under way. A pause (natsl_stream) is heard of in the same way, and the pass that has been prepared is read. */
#include "extend_impl.h"

#include "place.h"
#include <limits.h>
#include <math.h>
#include <string.h>

/* Looking up this process's memory takes milliseconds: only after extensions that take more. */
#define RESIDENT_TOKENS 2048

/* What ranks tell one another after a pass: nothing, this, or a status above it. */
#define WANTS_PAUSE 1

/** Takes a pass in hand. `cut`: its ranges have been cut already, as those of the pass after the last. */
static void pass_set(natsl_run *r, int64_t pass_begin, int cut)
{
    natsl_context *cx = r->cx;
    const natsl_grid *g = &cx->stage.grid;
    r->pass_begin = pass_begin;
    r->pass_end = natsl_min64(pass_begin - pass_begin % g->unit + cx->options.pass_tokens, r->end);
    /* The pass before has told its neighbours by these ranges: weights learned since then are for later passes. */
    if (cut) memcpy(r->first, r->first_next, ((size_t)cx->size + 1) * sizeof *r->first);
    else natsl_run_cut(r, r->pass_begin, r->pass_end, cx->owner, r->first);
    r->has_next = r->pass_end < r->end && !r->drain && !r->stop;
    const int64_t next_end = r->has_next ? natsl_min64(r->pass_end + cx->options.pass_tokens, r->end) : r->pass_end;
    int last_rank = natsl_part_prev(r->first, cx->size);
    natsl_run_cut(r, r->pass_end, next_end, last_rank < 0 ? 0 : last_rank, r->first_next);
}

/* ---- halo along the chain ------------------------------------------------------------------------------------------- */

/** Incoming halo of the range; the previous range's rank sends it, or this rank has it from before. */
static void halo_receive(natsl_run *r, int layer)
{
    natsl_context *cx = r->cx;
    const size_t floats = (size_t)(cx->config->conv_size - 1) * cx->stage.conv_channels;
    if (r->prev < 0) {
        memcpy(r->halo, cx->tails[layer] + natsl_layer_of(cx, layer)->shape.tail.halo, floats * sizeof(float));
        return;
    }
    const double start = natsl_now_s();
    natsl_wait_for("the halo", r->prev);
    NATSL_MPI(MPI_Recv(r->halo, (int)floats, MPI_FLOAT, r->prev, NATSL_TAG_HALO, cx->comm, MPI_STATUS_IGNORE));
    natsl_wait_for(NULL, -1);
    cx->stage.seconds[NATSL_PHASE_WAIT] += natsl_now_s() - start;
}

/** The stage's last raw rows become the tail's halo; after the range's last stage they go on. */
static void halo_pass(natsl_run *r, int layer, int last_stage)
{
    natsl_context *cx = r->cx;
    const size_t floats = (size_t)(cx->config->conv_size - 1) * cx->stage.conv_channels;
    float *out = cx->tails[layer] + natsl_layer_of(cx, layer)->shape.tail.halo;
    NATSL_MPI(MPI_Wait(&r->halo_sent[layer], MPI_STATUS_IGNORE));
    natsl_stage_halo_out(&cx->stage, r->halo, out);
    if (!last_stage || r->next < 0) return;
    NATSL_MPI(MPI_Isend(out, (int)floats, MPI_FLOAT, r->next, NATSL_TAG_HALO, cx->comm, &r->halo_sent[layer]));
    cx->halo_bytes += (int64_t)(floats * sizeof(float));
}

/* ---- one layer ------------------------------------------------------------------------------------------------------- */

/** Choices and units of one stage. */
static void gate_stage(natsl_run *r, int layer, const float *x)
{
    natsl_context *cx = r->cx;
    natsl_stage *s = &cx->stage;
    const int64_t first = s->first;
    const int learned = cx->config->kind[layer] == NATSL_LAYER_NATS;
    float *pool = cx->tails[layer] + natsl_layer_of(cx, layer)->shape.tail.pool;
    natsl_stage_gate(s, natsl_layer_of(cx, layer), x, first % s->grid.chunk ? pool : NULL,
                     (natsl_route_kind)cx->options.route);
    if (learned && s->last % s->grid.chunk) memcpy(pool, s->pool, (size_t)cx->config->hidden_size * sizeof(float));
    natsl_run_reserve_units(r, layer);
    const int64_t complete = s->last / s->grid.chunk - s->chunk0;
    if (r->stream->choices && learned && complete > 0 && r->st == NATSL_OK)
        r->st = r->stream->choices(r->stream->user, layer, s->chunk0, complete, s->keep);
}

static void layer_pass(natsl_run *r, int l)
{
    natsl_context *cx = r->cx;
    natsl_stage *s = &cx->stage;
    const natsl_layer *layer = natsl_layer_of(cx, l);
    const int keeps = natsl_layer_keeps(cx, l), has_state = natsl_layer_has_state(cx, l);
    const int64_t first = r->first[cx->rank], last = r->first[cx->rank + 1];
    const size_t d = (size_t)cx->config->hidden_size, heads = layer->shape.attn.groups, most = cx->stage.most.groups;
    int64_t *all = NULL;
    int64_t **chunks = NULL;
    if (keeps) {
        for (size_t h = 0; h < heads; h++) r->old_counts[(size_t)l * most + h] = cx->kept[l].lists[h].count;
        chunks = natsl_calloc((size_t)cx->size, sizeof *chunks, "kept chunk indices");
        if (!chunks) natsl_die_nomem();
    }
    for (int64_t t = first, end; t < last; t = end) {
        end = natsl_run_stage_end(cx, t, last);
        const int first_stage = t == first, last_stage = end == last;
        float *x = r->x + (size_t)(t - first) * d;
        natsl_stage_set(s, r->pass_begin, r->pass_end, t, end);
        if (!r->drain) natsl_stage_project(s, layer, x);
        const int early = natsl_stage_halo_complete(s); /* the halo can go on before one has come in */
        if (!has_state) {                               /* nor a halo */
        } else if (!first_stage) {
            memcpy(r->halo, cx->tails[l] + layer->shape.tail.halo,
                   s->conv_channels * (size_t)(cx->config->conv_size - 1) * sizeof(float));
        } else if (!early || r->prev < 0) {
            halo_receive(r, l);
        }
        if (has_state) halo_pass(r, l, last_stage);
        if (keeps) {
            for (size_t h = 0; h < heads; h++) r->from_unit[h] = cx->kept[l].lists[h].count;
            if (!r->drain) gate_stage(r, l, x);
        }
        if (has_state && first_stage && early && r->prev >= 0) halo_receive(r, l);
        if (!r->drain) {
            if (t % s->grid.chunk) natsl_stage_rows_load(s, layer, cx->tails[l]);
            natsl_stage_local(s, layer, r->halo);
            if (keeps) natsl_run_fill_units(r, l, r->from_unit);
        }
        if (keeps && last_stage) { /* who hears of the units may read them */
            natsl_run_counts_tell(r, l);
            natsl_run_new_send(r, l);
        }
        if (has_state) natsl_run_state(r, l, first_stage, last_stage);
        if (keeps) {
            if (first_stage) natsl_run_counts_hear(r, l, &all, chunks);
            natsl_run_attend(r, l, chunks);
        }
        if (r->drain) continue;
        if (end % s->grid.chunk) natsl_stage_rows_save(s, layer, cx->tails[l]);
        natsl_stage_finish(s, layer, x);
        if (s->overflow && r->st == NATSL_OK) /* it would go on into states, kept chunks and the saved context */
            r->st = natsl_fail(NATSL_ERR_INPUT,
                               "the model's layer %d gives tokens %lld to %lld values that are not finite, expected "
                               "weights that do not overflow",
                               l, (long long)t, (long long)end - 1);
        s->overflow = 0;
    }
    natsl_free(all);
    natsl_free(chunks);
}

/* ---- a pass ---------------------------------------------------------------------------------------------------------- */

/** Token ids of the range (and the one after it), and their embeddings. */
static void embed_range(natsl_run *r)
{
    natsl_context *cx = r->cx;
    const int64_t first = r->first[cx->rank], last = r->first[cx->rank + 1];
    const size_t d = (size_t)cx->config->hidden_size, n = (size_t)(last - first);
    const size_t want = n + (last < r->end);
    if (r->st == NATSL_OK) r->st = r->stream->tokens(r->stream->user, first, (int64_t)want, r->ids);
    for (size_t i = 0; r->st == NATSL_OK && i < want; i++) {
        if (r->ids[i] < 0 || r->ids[i] >= cx->config->vocab_size)
            r->st = natsl_fail(NATSL_ERR_INPUT, "token %lld is %d, expected 0 to %d", (long long)first + (long long)i,
                               r->ids[i], cx->config->vocab_size - 1);
    }
    if (r->st != NATSL_OK) memset(r->ids, 0, (n + 1) * sizeof *r->ids);
    const size_t step = NATSL_TILE;
#pragma omp parallel for schedule(static) num_threads(cx->options.threads)
    for (size_t i = 0; i < n; i += step) {
        const size_t m = n - i < step ? n - i : step;
        cx->stage.kernels->embed(m, &cx->model->weights.embeddings, r->ids + i, r->x + i * d, d);
    }
}

/** Log-probabilities and hidden rows of the range; the last hidden row stays in the context. */
static void score_range(natsl_run *r)
{
    natsl_context *cx = r->cx;
    natsl_stage *s = &cx->stage;
    const int64_t first = r->first[cx->rank], last = r->first[cx->rank + 1];
    const size_t d = (size_t)cx->config->hidden_size;
    const natsl_stream *io = r->stream;
    /* ids shift by one to become targets; the text's last token has none */
    if (last == r->end) r->ids[last - first] = -1;
    for (int64_t t = first, end; (io->logprobs || io->hidden) && t < last; t = end) {
        end = natsl_run_stage_end(cx, t, last);
        natsl_stage_set(s, r->pass_begin, r->pass_end, t, end);
        natsl_stage_logits(s, r->x + (size_t)(t - first) * d, io->logprobs ? r->ids + (t - first) + 1 : NULL,
                           r->logprobs, io->hidden ? r->hidden : NULL);
        const int64_t scored = natsl_min64(end, r->end - 1) - t;
        if (io->logprobs && scored > 0 && r->st == NATSL_OK) r->st = io->logprobs(io->user, t, scored, r->logprobs);
        if (io->hidden && r->st == NATSL_OK) r->st = io->hidden(io->user, t, end - t, r->hidden);
    }
    if (last == r->pass_end)
        s->kernels->rms_norm(1, 1, d, r->x + (size_t)(last - first - 1) * d, d, cx->model->weights.norm,
                             cx->config->norm_eps, cx->last_hidden, d);
}

static void pass_run(natsl_run *r)
{
    natsl_context *cx = r->cx;
    const int64_t first = r->first[cx->rank], last = r->first[cx->rank + 1];
    const int layers = cx->config->num_hidden_layers;
    natsl_sends_wait(&r->counts_sent[r->pass & 1]); /* of the pass before last: their buffers are used again */
    if (first < last && !r->drain) embed_range(r);
    for (int l = 0; l < layers; l++) {
        natsl_at_layer(l);
        if (natsl_layer_keeps(cx, l)) { /* the layer reads everything kept in earlier passes */
            if (!r->known[l]) {
                natsl_run_directory_finish(r, l, r->first_before, 1);
                natsl_run_old_send(r, l, r->first, r->pass);
            }
            r->known[l] = 0;
        }
        if (first < last) layer_pass(r, l);
        for (int done = 0; r->has_next && done <= l;
             done++) { /* what the next pass reads goes out as soon as it is known */
            if (natsl_layer_keeps(cx, done) && !r->known[done] && natsl_run_directory_finish(r, done, r->first, 0))
                natsl_run_old_send(r, done, r->first_next, r->pass + 1);
        }
        if (r->stream->progress && first < last && !r->drain)
            r->stream->progress(r->stream->user,
                                r->pass_begin - r->begin + (r->pass_end - r->pass_begin) * (l + 1) / layers,
                                r->end - r->begin);
    }
    natsl_at_layer(-1);
    if (first < last && !r->drain) score_range(r);
    r->tokens_read += last - first;
    memcpy(r->first_before, r->first, ((size_t)cx->size + 1) * sizeof *r->first);
}

/** Gives up kept units that a window hides from token t and all after it. */
static void drop_units(natsl_context *cx, int64_t t)
{
    for (int l = 0; l < cx->config->num_hidden_layers; l++) {
        const natsl_attn_shape *a = &natsl_layer_of(cx, l)->shape.attn;
        if (a->window > 0) natsl_kept_drop(&cx->kept[l], natsl_attn_first_chunk(a, t));
    }
}

/** Chain neighbours of this rank's range, -1 where none or this rank itself. prev_last: last reader of the pass before. */
static void chain_set(natsl_run *r, int prev_last)
{
    natsl_context *cx = r->cx;
    r->prev = natsl_part_prev(r->first, cx->rank);
    if (r->prev < 0) r->prev = prev_last;
    r->next = natsl_part_next(r->first, cx->size, cx->rank);
    if (r->next < 0 && r->has_next) r->next = natsl_part_next(r->first_next, cx->size, -1);
    if (r->prev == cx->rank) r->prev = -1;
    if (r->next == cx->rank) r->next = -1;
}

static void run_free(natsl_run *r)
{
    natsl_context *cx = r->cx;
    for (int i = 0; i < 2; i++) {
        for (int l = 0; r->counts[i] && l < cx->config->num_hidden_layers; l++) natsl_free(r->counts[i][l]);
        natsl_free(r->counts[i]);
        natsl_sends_free(&r->counts_sent[i]);
    }
    for (int i = 0; i < 3; i++) natsl_sends_free(&r->sends[i]);
    natsl_scan_free(&r->scan);
    void *const all[] = {r->first,      r->first_before, r->first_next,   r->from_unit, r->known,      r->x,
                         r->ids,        r->logprobs,     r->hidden,       r->halo,      r->state_sent, r->halo_sent,
                         r->old_counts, r->heard,        r->heard_chunks, r->runs.runs, r->tags};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) natsl_free(all[i]);
}

/** Local part: every allocation that depends on the window's length. */
static natsl_status run_allocate(natsl_run *r)
{
    natsl_context *cx = r->cx;
    const natsl_config *c = cx->config;
    const size_t layers = (size_t)c->num_hidden_layers, heads = cx->stage.most.groups, size = (size_t)cx->size;
    const size_t d = (size_t)c->hidden_size, stage_rows = (size_t)cx->options.stage_tokens;
    int64_t most = 0, chunks = 0;
    int scans = 0, slots = 0;
    r->first = natsl_alloc(size + 1, sizeof *r->first, "ranges");
    r->first_before = natsl_calloc(size + 1, sizeof *r->first_before, "ranges");
    r->first_next = natsl_alloc(size + 1, sizeof *r->first_next, "ranges");
    r->from_unit = natsl_alloc(heads, sizeof *r->from_unit, "counts");
    r->known = natsl_alloc(layers, 1, "counts");
    if (!r->first || !r->first_before || !r->first_next || !r->from_unit || !r->known) return NATSL_ERR_NOMEM;
    memset(r->known, 1, layers); /* of everything before the window */
    /* The pass that a window ends with may be one chunk, and fall to whichever rank read before it. */
    most = natsl_min64(cx->stage.grid.chunk, r->end - r->begin);
    for (int64_t at = r->begin, pass = 0; at < r->end; at = r->pass_end, pass++) { /* the largest range of this rank */
        pass_set(r, at, 0);
        natsl_run_state_size(r, &scans, &slots);
        most = natsl_max64(most, r->first[cx->rank + 1] - r->first[cx->rank]);
        for (int i = 0; i < cx->size; i++)
            chunks = natsl_max64(chunks, (r->first[i + 1] - r->first[i]) / cx->stage.grid.chunk + 2);
        if (r->balanced && pass > 1) { /* weights may have changed by then */
            const int64_t longest =
                natsl_part_longest(&cx->stage.grid, at, r->pass_end, cx->size, cx->options.stage_tokens);
            most = natsl_max64(most, longest);
            chunks = natsl_max64(chunks, longest / cx->stage.grid.chunk + 2);
        }
        if (at - r->begin >= 2 * cx->options.pass_tokens && r->pass_end < r->end) { /* all middle passes are alike */
            const int64_t left = r->end - r->pass_end, skip = left / cx->options.pass_tokens - 1;
            if (skip > 0) r->pass_end += skip * cx->options.pass_tokens;
        }
    }
    /* counts, chunk indices, and at most one new slab for each unit and a half-filled one */
    const int64_t message = 2 * (chunks + 2) * (int64_t)heads;
    if (message > INT_MAX)
        return natsl_fail(NATSL_ERR_USAGE, "--pass-tokens: a pass of this length exceeds one message");
    r->x = natsl_alloc((size_t)most, d * sizeof(float), "residual rows");
    r->ids = natsl_alloc((size_t)most + 1, sizeof *r->ids, "tokens");
    r->logprobs = natsl_alloc(stage_rows, sizeof(float), "log-probabilities");
    r->hidden = natsl_alloc(r->stream->hidden ? stage_rows : 0, d * sizeof(float), "hidden rows");
    r->halo = natsl_alloc((size_t)c->conv_size, cx->stage.conv_channels * sizeof(float), "halo");
    r->state_sent = natsl_alloc(layers * (size_t)c->num_v_heads, sizeof(MPI_Request), "requests");
    r->halo_sent = natsl_alloc(layers, sizeof(MPI_Request), "requests");
    r->old_counts = natsl_calloc(layers * heads, sizeof(int64_t), "counts");
    r->heard = natsl_calloc(layers * size * heads, sizeof(int64_t), "counts");
    r->heard_capacity = (size_t)message;
    r->heard_chunks = natsl_alloc(r->heard_capacity, sizeof(int64_t), "counts");
    if (!r->x || !r->ids || !r->logprobs || !r->hidden || !r->halo || !r->state_sent || !r->halo_sent ||
        !r->old_counts || !r->heard || !r->heard_chunks)
        return NATSL_ERR_NOMEM;
    for (size_t i = 0; i < layers * (size_t)c->num_v_heads; i++) r->state_sent[i] = MPI_REQUEST_NULL;
    for (size_t i = 0; i < layers; i++) r->halo_sent[i] = MPI_REQUEST_NULL;
    for (int i = 0; i < 2; i++) {
        r->counts[i] = natsl_calloc(layers, sizeof(int64_t *), "counts");
        for (size_t l = 0; r->counts[i] && l < layers; l++) {
            r->counts[i][l] =
                natsl_alloc(natsl_layer_keeps(cx, (int)l) ? r->heard_capacity : 0, sizeof(int64_t), "counts");
            if (!r->counts[i][l]) return NATSL_ERR_NOMEM;
        }
        if (!r->counts[i]) return NATSL_ERR_NOMEM;
    }
    if (scans && natsl_run_state_allocate(r, slots) != NATSL_OK) return NATSL_ERR_NOMEM;
    const size_t bytes = (size_t)most * (d + 1) * sizeof(float);
    if (bytes > cx->residual_bytes) cx->residual_bytes = bytes;
    return NATSL_OK;
}

/** Log-probability of the window's first token, from the last hidden row before it. On the owner. */
static natsl_status score_first(natsl_context *cx, const natsl_stream *stream)
{
    const size_t vocab = (size_t)cx->config->vocab_size, d = (size_t)cx->config->hidden_size;
    const natsl_kernels *k = cx->stage.kernels;
    float *own = natsl_stage_scratch(&cx->stage, 0), *tile = own + cx->stage.scratch_own, top = -INFINITY,
          picked = 0.0f, value;
    double sum = 0.0;
    int32_t id;
    natsl_status st = stream->tokens(stream->user, cx->position, 1, &id);
    if (st != NATSL_OK) return st;
    for (size_t p = 0; p < natsl_panels(vocab); p++) {
        const size_t v = p * NATSL_PANEL, n = natsl_panel_end(vocab, p) - v;
        k->linear(1, &cx->model->weights.head, p, p + 1, cx->last_hidden, d, tile, n, 0, own);
        k->lse_add(1, n, tile, n, v, &id, &top, &sum, &picked);
    }
    value = (float)((double)picked - (double)top - log(sum));
    return stream->logprobs(stream->user, cx->position - 1, 1, &value);
}

natsl_status natsl_context_extend(natsl_context *cx, int64_t count, const natsl_stream *stream)
{
    if (count < 0 || !stream || !stream->tokens || cx->position > INT64_MAX / 2 - count)
        return natsl_fail(NATSL_ERR_USAGE, "extend: %lld tokens, expected 0 or more and a source of tokens",
                          (long long)count);
    if (count == 0) return NATSL_OK;
    natsl_task("reading");
    natsl_run r = {.cx = cx, .stream = stream, .begin = cx->position, .end = cx->position + count};
    natsl_status st = natsl_run_balance_begin(&r);
    if (st != NATSL_OK) return st;
    st = run_allocate(&r);
    if (st == NATSL_OK && cx->rank == cx->owner && cx->position > 0 && stream->logprobs && !stream->goes_on)
        st = score_first(cx, stream);
    if ((st = natsl_agree(cx->comm, st)) != NATSL_OK) goto cleanup;

    drop_units(cx, cx->position);
    for (int l = 0; l < cx->config->num_hidden_layers && st == NATSL_OK; l++) {
        if (natsl_layer_keeps(cx, l)) st = natsl_kept_share(cx->comm, &cx->kept[l]);
    }
    if (st != NATSL_OK) goto cleanup;
    pass_set(&r, r.begin, 0);
    natsl_context_move(cx, natsl_part_next(r.first, cx->size, -1));
    for (int l = 0; l < cx->config->num_hidden_layers; l++) {
        if (natsl_layer_keeps(cx, l)) natsl_run_old_send(&r, l, r.first, 0);
    }
    MPI_Request told[2] = {MPI_REQUEST_NULL,
                           MPI_REQUEST_NULL}; /* of the pass before, on their way to all: status, numbers */
    int mine = 0, worst = 0, prev_last = -1;
    int64_t before = r.begin; /* where the pass before began */
    for (int64_t at = r.begin; at < r.end; before = at, at = r.pass_end, r.pass++) {
        if (r.pass > 1) { /* all ranks have ended the pass before the last: nobody reads for it any more */
            natsl_sends_wait(&r.sends[(r.pass + 1) % 3]);
            drop_units(cx, before);
        }
        pass_set(&r, at, r.pass > 0);
        chain_set(&r, prev_last);
        natsl_run_state_pass(&r);
        pass_run(&r);
        prev_last = natsl_part_prev(r.first, cx->size);
        cx->owner = prev_last;
        const int heard = told[1] != MPI_REQUEST_NULL;
        natsl_wait_for("all ranks to end the pass before", -1);
        NATSL_MPI(MPI_Waitall(2, told, MPI_STATUSES_IGNORE));
        natsl_wait_for(NULL, -1);
        if (heard) natsl_run_balance_hear(&r);
        if (r.drain) break;
        /* known on all ranks now: one more pass to receive what was sent for it */
        r.drain = worst > WANTS_PAUSE;
        r.stop = worst == WANTS_PAUSE;
        if (!r.has_next) break;
        mine = r.st != NATSL_OK                               ? (int)r.st + WANTS_PAUSE
               : stream->pause && stream->pause(stream->user) ? WANTS_PAUSE
                                                              : 0;
        NATSL_MPI(MPI_Iallreduce(&mine, &worst, 1, MPI_INT, MPI_MAX, cx->comm, &told[0]));
        if (!r.balanced) continue;
        natsl_run_balance_tell(&r);
        NATSL_MPI(MPI_Iallreduce(r.told, r.heard_sums, BALANCE_NUMBERS, MPI_INT64_T, MPI_SUM, cx->comm, &told[1]));
    }
    for (int l = 0; l < cx->config->num_hidden_layers; l++) {
        if (natsl_layer_keeps(cx, l) && !r.known[l]) natsl_run_directory_finish(&r, l, r.first, 1);
    }
    natsl_wait_for("ranks to take what they were sent", -1);
    for (int i = 0; i < 3; i++) natsl_sends_wait(&r.sends[i]);
    natsl_sends_wait(&r.counts_sent[0]);
    natsl_sends_wait(&r.counts_sent[1]);
    for (int l = 0; l < cx->config->num_hidden_layers; l++) NATSL_MPI(MPI_Wait(&r.halo_sent[l], MPI_STATUS_IGNORE));
    natsl_run_state_finish(&r);
    st = natsl_agree(cx->comm, r.st);
    if (st == NATSL_OK) cx->position = r.pass_end;                             /* r.end unless paused */
    if (count >= RESIDENT_TOKENS) cx->resident_bytes = natsl_resident_bytes(); /* while the run's buffers are there */
cleanup:
    run_free(&r);
    return st;
}

/** Source and sink of the array form. */
typedef struct arrays {
    int64_t begin;
    const int32_t *tokens;
    float *logprobs;
} arrays;

static natsl_status array_tokens(void *user, int64_t first, int64_t count, int32_t *ids)
{
    const arrays *a = user;
    memcpy(ids, a->tokens + (first - a->begin), (size_t)count * sizeof *ids);
    return NATSL_OK;
}

static natsl_status array_logprobs(void *user, int64_t first, int64_t count, const float *values)
{
    arrays *a = user;
    memcpy(a->logprobs + (first + 1 - a->begin), values, (size_t)count * sizeof *values);
    return NATSL_OK;
}

natsl_status natsl_context_extend_array(natsl_context *cx, int64_t count, const int32_t *tokens, float *logprobs)
{
    if (count < 0 || count > INT_MAX)
        return natsl_fail(NATSL_ERR_USAGE, "extend: %lld tokens in an array, expected 0 to 2^31-1", (long long)count);
    arrays a = {.begin = cx->position, .tokens = tokens, .logprobs = logprobs};
    const natsl_stream stream = {.user = &a, .tokens = array_tokens, .logprobs = logprobs ? array_logprobs : NULL};
    if (logprobs) memset(logprobs, 0, (size_t)count * sizeof *logprobs);
    const natsl_status st = natsl_context_extend(cx, count, &stream);
    /* Every value is non-zero on exactly one rank, so adding is exact. */
    if (st == NATSL_OK && logprobs)
        NATSL_MPI(MPI_Allreduce(MPI_IN_PLACE, logprobs, (int)count, MPI_FLOAT, MPI_SUM, cx->comm));
    return st;
}
