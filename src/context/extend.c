/* extend.c - reads a window of tokens into a context, spread over ranks.
 *
 * A window is read in passes; in a pass each rank reads one contiguous range, in stages of bounded length. The ranges of all
 * passes form one chain (pass 0 rank 0, pass 0 rank 1, ..., pass 1 rank 0, ...): halo and state go from each to the next, so
 * that early ranks run ahead. Nothing inside a pass is a collective call.
 *
 * Kept units travel in two kinds of messages per pass and layer: those kept before the pass ("old": posted as soon as their
 * layer is done in the pass before) and those kept in the pass ("new": from ranks before the reader). Both go through the
 * softmax in global chunk order, after the tokens' own chunk: the order of summation does not depend on ranks.
 *
 * Errors are local until the end of a pass; a rank in trouble keeps its part of the conversation, and all ranks learn of it
 * by a nonblocking reduction one pass later. They then leave through one pass without arithmetic (`drain`), because messages
 * for it are already under way. */
#include "context_impl.h"

#include <limits.h>
#include <math.h>
#include <string.h>

/** One extension under way. */
typedef struct run {
    natsl_context *cx;
    const natsl_stream *stream;
    natsl_status st;         /* this rank's own trouble so far */
    int64_t begin, end;      /* window */
    int64_t pass_begin, pass_end, pass;
    int64_t *first;          /* [P+1] ranges of this pass */
    int64_t *first_before;   /* [P+1] of the pass before */
    int64_t *first_next;     /* [P+1] of the next pass; all empty when there is none */
    int has_next, drain;
    int prev, next;          /* chain neighbours of this rank's range; -1: none, or this rank itself */
    int64_t x_rows;          /* residual rows held */
    float *x;                /* [x_rows, D] */
    int32_t *ids;            /* [x_rows + 1] */
    float *logprobs, *hidden; /* [stage_tokens], [stage_tokens, D] */
    float *halo;             /* incoming */
    MPI_Request *state_sent; /* [layers, Hv] head groups under way */
    MPI_Request *halo_sent;  /* [layers] */
    int64_t *old_counts;     /* [layers, Hn]: own units before this pass */
    int64_t **counts[2];     /* [layers] own count messages of this and the last pass (they alternate) */
    natsl_sends counts_sent[2];
    int64_t *heard;          /* [layers, P, Hn] counts of this pass by rank */
    int64_t *heard_chunks;   /* incoming count message */
    size_t heard_capacity;
    int64_t *from_unit;      /* [Hn] first unit of the stage in hand */
    uint8_t *known;          /* [layers] the directory holds the pass that the layer was last read in */
    natsl_sends sends;       /* kept units under way */
    natsl_kept_runs runs;
    int *tags;
    size_t tags_capacity;
} run;

static int kept_tag(const run *r, int64_t pass, int layer, int is_new)
{
    return NATSL_TAG_KEPT_DATA + 2 * ((int)(pass & 1) * r->cx->config->num_hidden_layers + layer) + is_new;
}

/** One past the last token of the stage that starts at `first` in a range that ends at `last`. */
static int64_t stage_end(const natsl_context *cx, int64_t first, int64_t last)
{
    return natsl_min64(first - first % cx->stage.grid.unit + cx->options.stage_tokens, last);
}

static int stage_count(const natsl_context *cx, int64_t first, int64_t last)
{
    int n = 0;
    for (; first < last; n++) first = stage_end(cx, first, last);
    return n;
}

static void pass_set(run *r, int64_t pass_begin)
{
    natsl_context *cx = r->cx;
    const natsl_grid *g = &cx->stage.grid;
    r->pass_begin = pass_begin;
    r->pass_end = natsl_min64(pass_begin - pass_begin % g->unit + cx->options.pass_tokens, r->end);
    natsl_part_make(g, r->pass_begin, r->pass_end, cx->size, cx->owner, r->first);
    r->has_next = r->pass_end < r->end && !r->drain;
    const int64_t next_end = r->has_next ? natsl_min64(r->pass_end + cx->options.pass_tokens, r->end) : r->pass_end;
    int last_rank = natsl_part_prev(r->first, cx->size);
    natsl_part_make(g, r->pass_end, next_end, cx->size, last_rank < 0 ? 0 : last_rank, r->first_next);
}

/* ---- kept units: counts and data ------------------------------------------------------------------------------------ */

/** Own counts of `layer` in this pass, with the chunk indices of its units, to every other rank. */
static void counts_send(run *r, int layer, int64_t *message, size_t length)
{
    natsl_context *cx = r->cx;
    for (int to = 0; to < cx->size; to++) {
        if (to == cx->rank) continue;
        MPI_Request *request = natsl_sends_add(&r->counts_sent[r->pass & 1]);
        if (!request) { /* no memory for a request: the blocking form needs none */
            r->st = NATSL_ERR_NOMEM;
            NATSL_MPI(MPI_Send(message, (int)length, MPI_INT64_T, to, NATSL_TAG_KEPT_COUNT + layer, cx->comm));
            continue;
        }
        NATSL_MPI(MPI_Isend(message, (int)length, MPI_INT64_T, to, NATSL_TAG_KEPT_COUNT + layer, cx->comm, request));
        cx->directory_bytes += (int64_t)(length * sizeof(int64_t));
    }
}

/** Receives the counts of rank `from` for `layer`; its chunk indices land in heard_chunks. */
static void counts_receive(run *r, int layer, int from)
{
    natsl_context *cx = r->cx;
    const size_t heads = (size_t)cx->config->num_nats_head;
    const double start = natsl_now_s();
    NATSL_MPI(MPI_Recv(r->heard_chunks, (int)r->heard_capacity, MPI_INT64_T, from, NATSL_TAG_KEPT_COUNT + layer,
                       cx->comm, MPI_STATUS_IGNORE));
    cx->stage.seconds[NATSL_PHASE_WAIT] += natsl_now_s() - start;
    memcpy(r->heard + ((size_t)layer * (size_t)cx->size + (size_t)from) * heads, r->heard_chunks, heads * sizeof(int64_t));
}

/** Whether rank `from` still has to be heard on a pass with these ranges, after this rank's own part of it. */
static int unheard(const run *r, const int64_t *first, int from)
{
    const int rank = r->cx->rank, reads = first[rank] < first[rank + 1];
    /* Ranks before it have been heard during the pass, if this rank took part in it. */
    return first[from] < first[from + 1] && (from > rank || (from < rank && !reads));
}

/** Completes the directory of `layer` with a pass (ranges `first`) that this rank has left. Without `wait`: only if nobody
 * has to be waited for. Returns whether it is complete. */
static int directory_finish(run *r, int layer, const int64_t *first, int wait)
{
    natsl_context *cx = r->cx;
    const size_t heads = (size_t)cx->config->num_nats_head;
    const int64_t *heard = r->heard + (size_t)layer * (size_t)cx->size * heads;
    for (int from = 0; !wait && from < cx->size; from++) {
        int there = 1;
        if (unheard(r, first, from))
            NATSL_MPI(MPI_Iprobe(from, NATSL_TAG_KEPT_COUNT + layer, cx->comm, &there, MPI_STATUS_IGNORE));
        if (!there) return 0;
    }
    for (int from = 0; from < cx->size; from++) {
        if (unheard(r, first, from)) counts_receive(r, layer, from);
        if (first[from] == first[from + 1]) continue;
        const natsl_status st = natsl_kept_note(&cx->kept[layer], from, heard + (size_t)from * heads);
        /* Every rank lists the same units or the streams do not match: this failure cannot be deferred. */
        if (st != NATSL_OK) natsl_mpi_die(MPI_ERR_NO_MEM, "noting kept chunks", __FILE__, __LINE__);
    }
    r->known[layer] = 1;
    return 1;
}

/** Posts this rank's units of `layer` that the readers of `first` (a pass) need from before that pass. */
static void old_send(run *r, int layer, const int64_t *first, int64_t pass)
{
    natsl_context *cx = r->cx;
    natsl_kept_runs mine = {0};
    natsl_kept *kept = &cx->kept[layer];
    size_t own = 0;
    /* The directory lists all ranks' units in order; this rank's are sent in the order in which they will be read. */
    natsl_status st = natsl_kept_all(kept, cx->size, &mine);
    for (size_t i = 0; i < mine.count; i++) {
        if (mine.runs[i].rank == cx->rank) mine.runs[own++] = mine.runs[i];
    }
    for (int to = 0; st == NATSL_OK && to < cx->size; to++) {
        if (to == cx->rank) continue;
        for (int n = stage_count(cx, first[to], first[to + 1]); n > 0 && st == NATSL_OK; n--)
            st = natsl_kept_send(cx->comm, kept, mine.runs, own, to, kept_tag(r, pass, layer, 0), &r->sends,
                                 &cx->kept_bytes);
    }
    natsl_free(mine.runs);
    /* Readers wait for these units: without them nobody could go on, so this one failure cannot be deferred. */
    if (st != NATSL_OK) natsl_mpi_die(MPI_ERR_NO_MEM, "sending kept keys and values", __FILE__, __LINE__);
}

/** Posts this rank's units kept in this pass to the ranks after it. */
static void new_send(run *r, int layer)
{
    natsl_context *cx = r->cx;
    natsl_kept *kept = &cx->kept[layer];
    const int heads = cx->config->num_nats_head;
    natsl_kept_runs mine = {0};
    natsl_status st = NATSL_OK;
    for (int h = 0; h < heads && st == NATSL_OK; h++) {
        const int64_t start = r->old_counts[(size_t)layer * (size_t)heads + (size_t)h];
        st = natsl_kept_cut(&mine, kept->per_slab, cx->rank, h, start, kept->lists[h].count - start, NULL);
    }
    for (int to = cx->rank + 1; to < cx->size && st == NATSL_OK; to++) {
        for (int n = stage_count(cx, r->first[to], r->first[to + 1]); n > 0 && st == NATSL_OK; n--)
            st = natsl_kept_send(cx->comm, kept, mine.runs, mine.count, to, kept_tag(r, r->pass, layer, 1), &r->sends,
                                 &cx->kept_bytes);
    }
    natsl_free(mine.runs);
    if (st != NATSL_OK) natsl_mpi_die(MPI_ERR_NO_MEM, "sending kept keys and values", __FILE__, __LINE__);
}

/** Reserves units for the chunks that the gate keeps. Out of memory: the chunk is not kept, the pass ends in an error. */
static void reserve_units(run *r, int layer)
{
    natsl_context *cx = r->cx;
    const size_t heads = (size_t)cx->config->num_nats_head;
    for (int64_t j = 0; j < cx->stage.n_chunks; j++) {
        const int64_t chunk = cx->stage.chunk0 + j;
        if ((chunk + 1) * cx->stage.grid.chunk > cx->stage.last) break; /* still open */
        for (size_t h = 0; h < heads; h++) {
            uint8_t *keep = &cx->stage.keep[(size_t)j * heads + h];
            cx->chunks++;
            if (!*keep) continue;
            if (natsl_kept_append(&cx->kept[layer], (int)h, chunk)) {
                cx->kept_chunks++;
            } else {
                *keep = 0;
                r->st = NATSL_ERR_NOMEM;
            }
        }
    }
}

/** Copies keys and values of the stage's kept chunks into their units; `from` [heads]: the first unit of this stage. */
static void fill_units(run *r, int layer, const int64_t *from)
{
    natsl_context *cx = r->cx;
    const natsl_kept *kept = &cx->kept[layer];
    for (int h = 0; h < kept->heads; h++) {
        const natsl_kept_list *list = &kept->lists[h];
#pragma omp parallel for schedule(static) num_threads(cx->options.threads)
        for (int64_t i = from[h]; i < list->count; i++)
            natsl_stage_pack(&cx->stage, list->chunks[i] - cx->stage.chunk0, (size_t)h, natsl_kept_unit(kept, h, i));
    }
}

static void attend_run(void *user, const natsl_kept_run *units, const float *data)
{
    run *r = user;
    if (!r->drain) natsl_stage_attend(&r->cx->stage, (size_t)units->head, data, units->count, units->chunks);
}

/** Streams all units before the stage's tokens, in global order. new_chunks: indices heard from ranks before, per rank. */
static void attend_all(run *r, int layer, int64_t *const *new_chunks)
{
    natsl_context *cx = r->cx;
    const natsl_kept *kept = &cx->kept[layer];
    const int heads = cx->config->num_nats_head;
    natsl_status st;
    r->runs.count = 0;
    st = natsl_kept_all(kept, cx->size, &r->runs);
    const size_t old = r->runs.count;
    for (int from = 0; from < cx->rank && st == NATSL_OK; from++) {
        const int64_t *counts = r->heard + ((size_t)layer * (size_t)cx->size + (size_t)from) * (size_t)heads;
        const int64_t *chunks = new_chunks[from];
        if (r->first[from] == r->first[from + 1]) continue;
        for (int h = 0; h < heads && st == NATSL_OK; h++) {
            int64_t start = 0;
            for (size_t i = 0; i < kept->n_segments; i++) {
                if (kept->segments[i].rank == from) start += kept->segments[i].count[h];
            }
            st = natsl_kept_cut(&r->runs, kept->per_slab, from, h, start, counts[h], chunks);
            chunks += counts[h];
        }
    }
    for (int h = 0; h < heads && st == NATSL_OK; h++) {
        const int64_t start = r->old_counts[(size_t)layer * (size_t)heads + (size_t)h];
        if (kept->lists[h].count > start)
            st = natsl_kept_cut(&r->runs, kept->per_slab, cx->rank, h, start, kept->lists[h].count - start,
                                kept->lists[h].chunks + start);
    }
    if (st == NATSL_OK && r->runs.count > r->tags_capacity) {
        natsl_free(r->tags);
        r->tags = natsl_alloc(2 * r->runs.count, sizeof *r->tags, "tags");
        r->tags_capacity = r->tags ? 2 * r->runs.count : 0;
        if (!r->tags) st = NATSL_ERR_NOMEM;
    }
    if (st != NATSL_OK) natsl_mpi_die(MPI_ERR_NO_MEM, "listing kept keys and values", __FILE__, __LINE__);
    for (size_t i = 0; i < r->runs.count; i++) r->tags[i] = kept_tag(r, r->pass, layer, i >= old);
    natsl_kept_stream(cx->comm, kept, &cx->inbox, r->runs.runs, r->tags, r->runs.count, attend_run, r,
                      &cx->stage.seconds[NATSL_PHASE_WAIT]);
}

/* ---- halo and state along the chain --------------------------------------------------------------------------------- */

/** Incoming halo of the range; the previous range's rank sends it, or this rank has it from before. */
static void halo_receive(run *r, int layer)
{
    natsl_context *cx = r->cx;
    const size_t floats = (size_t)(cx->config->conv_size - 1) * cx->stage.conv_channels;
    if (r->prev < 0) {
        memcpy(r->halo, cx->tails[layer] + cx->stage.tail.halo, floats * sizeof(float));
        return;
    }
    const double start = natsl_now_s();
    NATSL_MPI(MPI_Recv(r->halo, (int)floats, MPI_FLOAT, r->prev, NATSL_TAG_HALO, cx->comm, MPI_STATUS_IGNORE));
    cx->stage.seconds[NATSL_PHASE_WAIT] += natsl_now_s() - start;
}

/** The stage's last raw rows become the tail's halo; after the range's last stage they go on. */
static void halo_pass(run *r, int layer, int last_stage)
{
    natsl_context *cx = r->cx;
    const size_t floats = (size_t)(cx->config->conv_size - 1) * cx->stage.conv_channels;
    float *out = cx->tails[layer] + cx->stage.tail.halo;
    NATSL_MPI(MPI_Wait(&r->halo_sent[layer], MPI_STATUS_IGNORE));
    natsl_stage_halo_out(&cx->stage, r->halo, out);
    if (!last_stage || r->next < 0) return;
    NATSL_MPI(MPI_Isend(out, (int)floats, MPI_FLOAT, r->next, NATSL_TAG_HALO, cx->comm, &r->halo_sent[layer]));
    cx->halo_bytes += (int64_t)(floats * sizeof(float));
}

/** State through the stage, one group of heads after the other, so that the next rank can start on the first. */
static void state_pass(run *r, int layer, int first_stage, int last_stage)
{
    natsl_context *cx = r->cx;
    const natsl_config *c = cx->config;
    const size_t heads = (size_t)c->num_v_heads, one = (size_t)c->head_dim * (size_t)c->head_v_dim;
    const size_t columns = ((size_t)c->head_v_dim + NATSL_STATE_COLUMNS - 1) / NATSL_STATE_COLUMNS;
    const int alone = r->prev < 0 && r->next < 0;
    const size_t group = alone ? heads : ((size_t)cx->options.threads + columns - 1) / columns;
    float *state = cx->tails[layer] + cx->stage.tail.state, *current = cx->tails[layer] + cx->stage.tail.current;
    for (size_t h = 0; h < heads; h += group) {
        const size_t end = h + group < heads ? h + group : heads;
        MPI_Request *sent = &r->state_sent[(size_t)layer * heads];
        for (size_t i = h; i < end; i++) NATSL_MPI(MPI_Wait(&sent[i], MPI_STATUS_IGNORE));
        if (first_stage && r->prev >= 0) {
            const double start = natsl_now_s();
            for (size_t i = h; i < end; i++)
                NATSL_MPI(MPI_Recv(state + i * one, (int)one, MPI_FLOAT, r->prev, NATSL_TAG_STATE, cx->comm,
                                   MPI_STATUS_IGNORE));
            cx->stage.seconds[NATSL_PHASE_WAIT] += natsl_now_s() - start;
        }
        if (!r->drain) natsl_stage_state(&cx->stage, &cx->model->weights.layers[layer], h, end, state, current);
        if (!last_stage || r->next < 0) continue;
        for (size_t i = h; i < end; i++) {
            NATSL_MPI(MPI_Isend(state + i * one, (int)one, MPI_FLOAT, r->next, NATSL_TAG_STATE, cx->comm, &sent[i]));
            cx->state_bytes += (int64_t)(one * sizeof(float));
        }
    }
}

/* ---- one layer ------------------------------------------------------------------------------------------------------- */

/** Choices, units and counts of one stage; `message` grows: counts [heads], then indices head by head after the last. */
static void gate_stage(run *r, int layer, const float *x)
{
    natsl_context *cx = r->cx;
    natsl_stage *s = &cx->stage;
    const int64_t first = s->first;
    const float *pool_in = first % s->grid.chunk ? cx->tails[layer] + s->tail.pool : NULL;
    natsl_stage_gate(s, &cx->model->weights.layers[layer], x, pool_in, (natsl_route_kind)cx->options.route);
    if (s->last % s->grid.chunk)
        memcpy(cx->tails[layer] + s->tail.pool, s->pool, (size_t)cx->config->hidden_size * sizeof(float));
    reserve_units(r, layer);
    const int64_t complete = s->last / s->grid.chunk - s->chunk0;
    if (r->stream->choices && complete > 0 && r->st == NATSL_OK)
        r->st = r->stream->choices(r->stream->user, layer, s->chunk0, complete, s->keep);
}

/** Says how many chunks this range kept in `layer`: after the gate of its last stage. */
static void counts_tell(run *r, int layer)
{
    natsl_context *cx = r->cx;
    const natsl_kept *kept = &cx->kept[layer];
    const int heads = kept->heads;
    int64_t *message = r->counts[r->pass & 1][layer];
    size_t length = (size_t)heads;
    for (int h = 0; h < heads; h++) {
        const int64_t start = r->old_counts[(size_t)layer * (size_t)heads + (size_t)h];
        message[h] = kept->lists[h].count - start;
        for (int64_t i = 0; i < message[h]; i++) message[length + (size_t)i] = kept->lists[h].chunks[start + i];
        length += (size_t)message[h];
    }
    memcpy(r->heard + ((size_t)layer * (size_t)cx->size + (size_t)cx->rank) * (size_t)heads, message,
           (size_t)heads * sizeof(int64_t));
    counts_send(r, layer, message, length);
}

/** Hears the counts of the ranks before this one; *all (to be freed) and chunks[rank] get their chunk indices. */
static void counts_hear(run *r, int layer, int64_t **all, int64_t **chunks)
{
    natsl_context *cx = r->cx;
    const size_t heads = (size_t)cx->config->num_nats_head;
    size_t total = 0;
    for (int from = 0; from < cx->rank; from++)
        total += (size_t)((r->first[from + 1] - r->first[from]) / cx->stage.grid.chunk + 2) * heads;
    *all = natsl_alloc(total, sizeof **all, "kept chunk indices");
    if (!*all) natsl_mpi_die(MPI_ERR_NO_MEM, "hearing of kept chunks", __FILE__, __LINE__);
    int64_t *to = *all;
    for (int from = 0; from < cx->rank; from++) {
        chunks[from] = to;
        if (r->first[from] == r->first[from + 1]) continue;
        counts_receive(r, layer, from);
        size_t n = 0;
        for (size_t h = 0; h < heads; h++) n += (size_t)r->heard_chunks[h];
        memcpy(to, r->heard_chunks + heads, n * sizeof *to);
        to += n;
    }
}

static void layer_pass(run *r, int l)
{
    natsl_context *cx = r->cx;
    natsl_stage *s = &cx->stage;
    const natsl_layer *layer = &cx->model->weights.layers[l];
    const int keeps = natsl_layer_keeps(cx, l);
    const int64_t first = r->first[cx->rank], last = r->first[cx->rank + 1];
    const size_t d = (size_t)cx->config->hidden_size, heads = (size_t)cx->config->num_nats_head;
    int64_t *all = NULL;
    int64_t **chunks = NULL;
    if (keeps) {
        for (size_t h = 0; h < heads; h++) r->old_counts[(size_t)l * heads + h] = cx->kept[l].lists[h].count;
        chunks = natsl_calloc((size_t)cx->size, sizeof *chunks, "kept chunk indices");
        if (!chunks) natsl_mpi_die(MPI_ERR_NO_MEM, "hearing of kept chunks", __FILE__, __LINE__);
    }
    for (int64_t t = first, end; t < last; t = end) {
        end = stage_end(cx, t, last);
        const int first_stage = t == first, last_stage = end == last;
        float *x = r->x + (size_t)(t - first) * d;
        natsl_stage_set(s, r->pass_begin, r->pass_end, t, end);
        if (!r->drain) natsl_stage_project(s, layer, x);
        const int early = natsl_stage_halo_complete(s); /* the halo can go on before one has come in */
        if (!first_stage) memcpy(r->halo, cx->tails[l] + s->tail.halo, s->conv_channels * (size_t)(cx->config->conv_size - 1) * sizeof(float));
        else if (!early || r->prev < 0) halo_receive(r, l);
        halo_pass(r, l, last_stage);
        if (keeps) {
            for (size_t h = 0; h < heads; h++) r->from_unit[h] = cx->kept[l].lists[h].count;
            if (!r->drain) gate_stage(r, l, x);
            if (last_stage) counts_tell(r, l);
        }
        if (first_stage && early && r->prev >= 0) halo_receive(r, l);
        if (!r->drain) {
            if (t % s->grid.chunk) natsl_stage_rows_load(s, layer, cx->tails[l]);
            natsl_stage_local(s, layer, r->halo);
            if (keeps) fill_units(r, l, r->from_unit);
        }
        if (keeps && last_stage) new_send(r, l);
        state_pass(r, l, first_stage, last_stage);
        if (keeps) {
            if (first_stage) counts_hear(r, l, &all, chunks);
            attend_all(r, l, chunks);
        }
        if (r->drain) continue;
        if (end % s->grid.chunk) natsl_stage_rows_save(s, layer, cx->tails[l]);
        natsl_stage_finish(s, layer, x);
    }
    natsl_free(all);
    natsl_free(chunks);
}

/* ---- a pass ---------------------------------------------------------------------------------------------------------- */

/** Token ids of the range (and the one after it), and their embeddings. */
static void embed_range(run *r)
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
        cx->stage.kernels->embed(m, d, r->ids + i, cx->model->weights.embeddings, r->x + i * d, d);
    }
}

/** Log-probabilities and hidden rows of the range; the last hidden row stays in the context. */
static void score_range(run *r)
{
    natsl_context *cx = r->cx;
    natsl_stage *s = &cx->stage;
    const int64_t first = r->first[cx->rank], last = r->first[cx->rank + 1];
    const size_t d = (size_t)cx->config->hidden_size;
    const natsl_stream *io = r->stream;
    /* ids shift by one to become targets; the text's last token has none */
    if (last == r->end) r->ids[last - first] = -1;
    for (int64_t t = first, end; (io->logprobs || io->hidden) && t < last; t = end) {
        end = stage_end(cx, t, last);
        natsl_stage_set(s, r->pass_begin, r->pass_end, t, end);
        natsl_stage_logits(s, r->x + (size_t)(t - first) * d, io->logprobs ? r->ids + (t - first) + 1 : NULL, r->logprobs,
                           io->hidden ? r->hidden : NULL);
        const int64_t scored = natsl_min64(end, r->end - 1) - t;
        if (io->logprobs && scored > 0 && r->st == NATSL_OK) r->st = io->logprobs(io->user, t, scored, r->logprobs);
        if (io->hidden && r->st == NATSL_OK) r->st = io->hidden(io->user, t, end - t, r->hidden);
    }
    if (last == r->pass_end)
        s->kernels->rms_norm(1, 1, d, r->x + (size_t)(last - first - 1) * d, d, cx->model->weights.norm,
                             cx->config->norm_eps, cx->last_hidden, d);
}

static void pass_run(run *r)
{
    natsl_context *cx = r->cx;
    const int64_t first = r->first[cx->rank], last = r->first[cx->rank + 1];
    const int layers = cx->config->num_hidden_layers;
    natsl_sends_wait(&r->counts_sent[r->pass & 1]); /* of the pass before last: their buffers are used again */
    if (first < last && !r->drain) embed_range(r);
    for (int l = 0; l < layers; l++) {
        if (natsl_layer_keeps(cx, l)) { /* the layer reads everything kept in earlier passes */
            if (!r->known[l]) {
                directory_finish(r, l, r->first_before, 1);
                old_send(r, l, r->first, r->pass);
            }
            r->known[l] = 0;
        }
        if (first < last) layer_pass(r, l);
        for (int done = 0; r->has_next && done <= l; done++) { /* what the next pass reads goes out as soon as it is known */
            if (natsl_layer_keeps(cx, done) && !r->known[done] && directory_finish(r, done, r->first, 0))
                old_send(r, done, r->first_next, r->pass + 1);
        }
        if (r->stream->progress && first < last && !r->drain)
            r->stream->progress(r->stream->user, r->pass_begin - r->begin + (r->pass_end - r->pass_begin) * (l + 1) / layers,
                                r->end - r->begin);
    }
    if (first < last && !r->drain) score_range(r);
    memcpy(r->first_before, r->first, ((size_t)cx->size + 1) * sizeof *r->first);
}

/** Chain neighbours of this rank's range, -1 where none or this rank itself. prev_last: last reader of the pass before. */
static void chain_set(run *r, int prev_last)
{
    natsl_context *cx = r->cx;
    r->prev = natsl_part_prev(r->first, cx->rank);
    if (r->prev < 0) r->prev = prev_last;
    r->next = natsl_part_next(r->first, cx->size, cx->rank);
    if (r->next < 0 && r->has_next) r->next = natsl_part_next(r->first_next, cx->size, -1);
    if (r->prev == cx->rank) r->prev = -1;
    if (r->next == cx->rank) r->next = -1;
}

static void run_free(run *r)
{
    natsl_context *cx = r->cx;
    for (int i = 0; i < 2; i++) {
        for (int l = 0; r->counts[i] && l < cx->config->num_hidden_layers; l++) natsl_free(r->counts[i][l]);
        natsl_free(r->counts[i]);
        natsl_sends_free(&r->counts_sent[i]);
    }
    natsl_sends_free(&r->sends);
    void *const all[] = {r->first, r->first_before, r->first_next, r->from_unit, r->known, r->x, r->ids, r->logprobs, r->hidden, r->halo, r->state_sent,
                         r->halo_sent, r->old_counts, r->heard, r->heard_chunks, r->runs.runs, r->tags};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) natsl_free(all[i]);
}

/** Local part: every allocation that depends on the window's length. */
static natsl_status run_allocate(run *r)
{
    natsl_context *cx = r->cx;
    const natsl_config *c = cx->config;
    const size_t layers = (size_t)c->num_hidden_layers, heads = (size_t)c->num_nats_head, size = (size_t)cx->size;
    const size_t d = (size_t)c->hidden_size, stage_rows = (size_t)cx->options.stage_tokens;
    int64_t most = 0, chunks = 0;
    r->first = natsl_alloc(size + 1, sizeof *r->first, "ranges");
    r->first_before = natsl_calloc(size + 1, sizeof *r->first_before, "ranges");
    r->first_next = natsl_alloc(size + 1, sizeof *r->first_next, "ranges");
    r->from_unit = natsl_alloc(heads, sizeof *r->from_unit, "counts");
    r->known = natsl_alloc(layers, 1, "counts");
    if (!r->first || !r->first_before || !r->first_next || !r->from_unit || !r->known) return NATSL_ERR_NOMEM;
    memset(r->known, 1, layers); /* of everything before the window */
    /* The pass that a window ends with may be one chunk, and fall to whichever rank read before it. */
    most = natsl_min64(cx->stage.grid.chunk, r->end - r->begin);
    for (int64_t at = r->begin; at < r->end; at = r->pass_end) { /* the largest range this rank will hold */
        pass_set(r, at);
        most = natsl_max64(most, r->first[cx->rank + 1] - r->first[cx->rank]);
        for (int i = 0; i < cx->size; i++)
            chunks = natsl_max64(chunks, (r->first[i + 1] - r->first[i]) / cx->stage.grid.chunk + 2);
        if (at - r->begin >= 2 * cx->options.pass_tokens && r->pass_end < r->end) { /* all middle passes are alike */
            const int64_t left = r->end - r->pass_end, skip = left / cx->options.pass_tokens - 1;
            if (skip > 0) r->pass_end += skip * cx->options.pass_tokens;
        }
    }
    const int64_t message = chunks * (int64_t)heads + (int64_t)heads;
    if (message > INT_MAX) return natsl_fail(NATSL_ERR_USAGE, "--pass-tokens: a pass of this length exceeds one message");
    r->x_rows = most;
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
    if (!r->x || !r->ids || !r->logprobs || !r->hidden || !r->halo || !r->state_sent || !r->halo_sent || !r->old_counts ||
        !r->heard || !r->heard_chunks)
        return NATSL_ERR_NOMEM;
    for (size_t i = 0; i < layers * (size_t)c->num_v_heads; i++) r->state_sent[i] = MPI_REQUEST_NULL;
    for (size_t i = 0; i < layers; i++) r->halo_sent[i] = MPI_REQUEST_NULL;
    for (int i = 0; i < 2; i++) {
        r->counts[i] = natsl_calloc(layers, sizeof(int64_t *), "counts");
        for (size_t l = 0; r->counts[i] && l < layers; l++) {
            r->counts[i][l] = natsl_alloc(natsl_layer_keeps(cx, (int)l) ? r->heard_capacity : 0, sizeof(int64_t), "counts");
            if (!r->counts[i][l]) return NATSL_ERR_NOMEM;
        }
        if (!r->counts[i]) return NATSL_ERR_NOMEM;
    }
    const size_t bytes = (size_t)most * (d + 1) * sizeof(float);
    if (bytes > cx->residual_bytes) cx->residual_bytes = bytes;
    return NATSL_OK;
}

/** Log-probability of the window's first token, from the last hidden row before it. On the owner. */
static natsl_status score_first(natsl_context *cx, const natsl_stream *stream)
{
    const size_t vocab = (size_t)cx->config->vocab_size, d = (size_t)cx->config->hidden_size;
    const natsl_kernels *k = cx->stage.kernels;
    float *tile = cx->stage.scratch[0], top = -INFINITY, picked = 0.0f, value;
    double sum = 0.0;
    int32_t id;
    natsl_status st = stream->tokens(stream->user, cx->position, 1, &id);
    if (st != NATSL_OK) return st;
    for (size_t v = 0; v < vocab; v += NATSL_VOCAB_TILE) {
        const size_t n = vocab - v < NATSL_VOCAB_TILE ? vocab - v : NATSL_VOCAB_TILE;
        k->linear(1, n, d, cx->last_hidden, d, cx->model->weights.head + v * d, tile, n, 0);
        k->lse_add(1, n, tile, n, v, &id, &top, &sum, &picked);
    }
    value = (float)((double)picked - (double)top - log(sum));
    return stream->logprobs(stream->user, cx->position - 1, 1, &value);
}

natsl_status natsl_context_extend(natsl_context *cx, int64_t count, const natsl_stream *stream)
{
    if (count < 0 || !stream || !stream->tokens || cx->position > INT64_MAX / 2 - count)
        return natsl_fail(NATSL_ERR_USAGE, "extend: %lld tokens, expected 0 or more and a source of tokens", (long long)count);
    if (count == 0) return NATSL_OK;
    run r = {.cx = cx, .stream = stream, .begin = cx->position, .end = cx->position + count};
    natsl_status st = run_allocate(&r);
    if (st == NATSL_OK && cx->rank == cx->owner && cx->position > 0 && stream->logprobs) st = score_first(cx, stream);
    if ((st = natsl_agree(cx->comm, st)) != NATSL_OK) goto cleanup;

    pass_set(&r, r.begin);
    natsl_context_move(cx, natsl_part_next(r.first, cx->size, -1));
    for (int l = 0; l < cx->config->num_hidden_layers; l++) {
        if (natsl_layer_keeps(cx, l)) old_send(&r, l, r.first, 0);
    }
    MPI_Request told = MPI_REQUEST_NULL; /* status of the pass before, on its way to all */
    int mine = 0, worst = 0, prev_last = -1;
    for (int64_t at = r.begin; at < r.end; at = r.pass_end, r.pass++) {
        pass_set(&r, at);
        chain_set(&r, prev_last);
        pass_run(&r);
        prev_last = natsl_part_prev(r.first, cx->size);
        cx->owner = prev_last;
        NATSL_MPI(MPI_Wait(&told, MPI_STATUS_IGNORE));
        if (r.drain) break;
        r.drain = worst != NATSL_OK; /* known on all ranks now: one more pass to receive what was sent for it */
        if (!r.has_next) break;
        mine = (int)r.st;
        NATSL_MPI(MPI_Iallreduce(&mine, &worst, 1, MPI_INT, MPI_MAX, cx->comm, &told));
    }
    for (int l = 0; l < cx->config->num_hidden_layers; l++) {
        if (natsl_layer_keeps(cx, l) && !r.known[l]) directory_finish(&r, l, r.first, 1);
    }
    natsl_sends_wait(&r.sends);
    natsl_sends_wait(&r.counts_sent[0]);
    natsl_sends_wait(&r.counts_sent[1]);
    for (int l = 0; l < cx->config->num_hidden_layers; l++) {
        NATSL_MPI(MPI_Wait(&r.halo_sent[l], MPI_STATUS_IGNORE));
        for (int h = 0; h < cx->config->num_v_heads; h++)
            NATSL_MPI(MPI_Wait(&r.state_sent[(size_t)l * (size_t)cx->config->num_v_heads + (size_t)h], MPI_STATUS_IGNORE));
    }
    st = natsl_agree(cx->comm, r.st);
    if (st == NATSL_OK) cx->position = r.end;
cleanup:
    run_free(&r);
    return st;
}

/** Source and sink of the array form. */
typedef struct arrays {
    int64_t begin;
    const int32_t *tokens;
    float *logprobs;
    int64_t count;
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
    arrays a = {.begin = cx->position, .tokens = tokens, .logprobs = logprobs, .count = count};
    const natsl_stream stream = {.user = &a, .tokens = array_tokens, .logprobs = logprobs ? array_logprobs : NULL};
    if (logprobs) memset(logprobs, 0, (size_t)count * sizeof *logprobs);
    const natsl_status st = natsl_context_extend(cx, count, &stream);
    /* Every value is non-zero on exactly one rank, so adding is exact. */
    if (st == NATSL_OK && logprobs)
        NATSL_MPI(MPI_Allreduce(MPI_IN_PLACE, logprobs, (int)count, MPI_FLOAT, MPI_SUM, cx->comm));
    return st;
}
