/* exchange.c - kept units of an extension: who keeps what, and the stream of keys and values between ranks.
 * Kept units travel in two kinds of messages per pass and layer: those kept before the pass ("old": posted as soon as their
 * layer is done in the pass before) and those kept in the pass ("new": from ranks before the reader). Both go through the
 * softmax in global chunk order, after the tokens' own chunk: the order of summation does not depend on ranks. Units of ranks
 * on the same node are read in place (arena.h); then only the counts travel, once the units are filled. */
#include "extend_impl.h"

#include "place.h"
#include <limits.h>
#include <string.h>

static int kept_tag(const natsl_run *r, int64_t pass, int layer, int is_new)
{
    return NATSL_TAG_KEPT_DATA + 2 * ((int)(pass & 1) * r->cx->config->num_hidden_layers + layer) + is_new;
}

/** Own counts of `layer` in this pass, with the chunk indices of its units, to every other rank. */
static void counts_send(natsl_run *r, int layer, int64_t *message, size_t length)
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

/** Counts of rank `from` for `layer` in this pass, of each group. */
static int64_t *heard_counts(const natsl_run *r, int layer, int from)
{
    return r->heard + ((size_t)layer * (size_t)r->cx->size + (size_t)from) * r->cx->stage.most.groups;
}

/** Own units of a group before this pass. */
static int64_t old_count(const natsl_run *r, int layer, int head)
{
    return r->old_counts[(size_t)layer * r->cx->stage.most.groups + (size_t)head];
}

/** Receives the counts of rank `from` for `layer`; its chunk indices land in heard_chunks. */
static void counts_receive(natsl_run *r, int layer, int from)
{
    natsl_context *cx = r->cx;
    const size_t heads = (size_t)cx->kept[layer].heads;
    const double start = natsl_now_s();
    natsl_wait_for("the counts of kept chunks", from);
    NATSL_MPI(MPI_Recv(r->heard_chunks, (int)r->heard_capacity, MPI_INT64_T, from, NATSL_TAG_KEPT_COUNT + layer,
                       cx->comm, MPI_STATUS_IGNORE));
    natsl_wait_for(NULL, -1);
    cx->stage.seconds[NATSL_PHASE_WAIT] += natsl_now_s() - start;
    memcpy(heard_counts(r, layer, from), r->heard_chunks, heads * sizeof(int64_t));
    if (!natsl_arena_reads(&cx->arena, from)) return;
    /* counts, numbers of new slabs, chunk indices, then where the new slabs lie: their units are filled by now */
    const int64_t *slabs = r->heard_chunks + heads, *offsets = slabs + heads;
    for (size_t h = 0; h < heads; h++) offsets += r->heard_chunks[h];
    for (size_t h = 0; h < heads; h++) {
        if (natsl_kept_view_add(&cx->kept[layer], from, (int)h, offsets, slabs[h]) != NATSL_OK) natsl_die_nomem();
        offsets += slabs[h];
    }
}

/** Whether rank `from` still has to be heard on a pass with these ranges, after this rank's own part of it. */
static int unheard(const natsl_run *r, const int64_t *first, int from)
{
    const int rank = r->cx->rank, reads = first[rank] < first[rank + 1];
    /* Ranks before it have been heard during the pass, if this rank took part in it. */
    return first[from] < first[from + 1] && (from > rank || (from < rank && !reads));
}

/** Completes the directory of `layer` with a pass (ranges `first`) that this rank has left. Without `wait`: only if nobody
 * has to be waited for. Returns whether it is complete. */
int natsl_run_directory_finish(natsl_run *r, int layer, const int64_t *first, int wait)
{
    natsl_context *cx = r->cx;
    for (int from = 0; !wait && from < cx->size; from++) {
        int there = 1;
        if (unheard(r, first, from))
            NATSL_MPI(MPI_Iprobe(from, NATSL_TAG_KEPT_COUNT + layer, cx->comm, &there, MPI_STATUS_IGNORE));
        if (!there) return 0;
    }
    for (int from = 0; from < cx->size; from++) {
        if (unheard(r, first, from)) counts_receive(r, layer, from);
        if (first[from] == first[from + 1]) continue;
        const natsl_status st = natsl_kept_note(&cx->kept[layer], from, heard_counts(r, layer, from));
        /* Every rank lists the same units or the streams do not match: this failure cannot be deferred. */
        if (st != NATSL_OK) natsl_die_nomem();
    }
    r->known[layer] = 1;
    return 1;
}

/** First chunk that a stage from token t on reads in `layer`: not 0 where a window hides those before. */
static int64_t first_read(const natsl_run *r, int layer, int64_t t)
{
    return natsl_attn_first_chunk(&natsl_layer_of(r->cx, layer)->shape.attn, t);
}

/** This rank's units of `layer` from before this pass, in the order in which they will be read, without those before chunk `from`
 * (not 0 only where every chunk is kept, so that a unit's place is its chunk). */
static natsl_status list_old(natsl_run *r, int layer, int64_t from, natsl_kept_runs *mine)
{
    size_t own = 0;
    mine->count = 0;
    const natsl_status st = natsl_kept_all(&r->cx->kept[layer], r->cx->size, from, mine);
    for (size_t i = 0; i < mine->count; i++) {
        if (mine->runs[i].rank == r->cx->rank) mine->runs[own++] = mine->runs[i];
    }
    mine->count = own;
    return st;
}

/** The same for those kept in this pass. */
static natsl_status list_new(natsl_run *r, int layer, int64_t from, natsl_kept_runs *mine)
{
    const natsl_kept *kept = &r->cx->kept[layer];
    natsl_status st = NATSL_OK;
    mine->count = 0;
    for (int h = 0; h < kept->heads && st == NATSL_OK; h++) {
        const int64_t old = old_count(r, layer, h);
        const int64_t start = old + natsl_kept_before(kept->lists[h].chunks + old, kept->lists[h].count - old, from);
        st = natsl_kept_cut(mine, kept->per_slab, r->cx->rank, h, start, kept->lists[h].count - start, 0, NULL);
    }
    return st;
}

/** Posts this rank's units, new ones of this pass or those before it, to rank `to`, once for each of its stages in `first`. */
static natsl_status send_stages(natsl_run *r, int layer, const int64_t *first, int64_t pass, int to, int is_new,
                                natsl_kept_runs *mine, int64_t *listed)
{
    natsl_context *cx = r->cx;
    natsl_status st = NATSL_OK;
    const int tag = kept_tag(r, pass, layer, is_new);
    for (int64_t t = first[to]; t < first[to + 1] && st == NATSL_OK; t = natsl_run_stage_end(cx, t, first[to + 1])) {
        const int64_t from = first_read(r, layer, t);
        if (from != *listed) st = (is_new ? list_new : list_old)(r, layer, *listed = from, mine);
        if (st == NATSL_OK)
            st = natsl_kept_send(cx->comm, &cx->kept[layer], mine->runs, mine->count, to, tag, &r->sends[pass % 3],
                                 &cx->kept_bytes);
    }
    return st;
}

/** Posts this rank's units of `layer` that the readers of `first` (a pass) need from before that pass. */
void natsl_run_old_send(natsl_run *r, int layer, const int64_t *first, int64_t pass)
{
    natsl_kept_runs mine = {0};
    natsl_status st = NATSL_OK;
    int64_t listed = -1;
    for (int to = 0; st == NATSL_OK && to < r->cx->size; to++) {
        if (to != r->cx->rank) st = send_stages(r, layer, first, pass, to, 0, &mine, &listed);
    }
    natsl_free(mine.runs);
    /* Readers wait for these units: without them nobody could go on, so this one failure cannot be deferred. */
    if (st != NATSL_OK) natsl_die_nomem();
}

/** Posts this rank's units kept in this pass to the ranks after it. */
void natsl_run_new_send(natsl_run *r, int layer)
{
    natsl_kept_runs mine = {0};
    natsl_status st = NATSL_OK;
    int64_t listed = -1;
    for (int to = r->cx->rank + 1; to < r->cx->size && st == NATSL_OK; to++)
        st = send_stages(r, layer, r->first, r->pass, to, 1, &mine, &listed);
    natsl_free(mine.runs);
    if (st != NATSL_OK) natsl_die_nomem();
}

/** Reserves units for the chunks that the gate keeps. Out of memory: the chunk is not kept, the pass ends in an error. */
void natsl_run_reserve_units(natsl_run *r, int layer)
{
    natsl_context *cx = r->cx;
    const size_t heads = (size_t)cx->kept[layer].heads;
    const int counts = cx->config->kind[layer] == NATSL_LAYER_NATS; /* the share of kept chunks is the gate's */
    for (int64_t j = 0; j < cx->stage.n_chunks; j++) {
        const int64_t chunk = cx->stage.chunk0 + j;
        if ((chunk + 1) * cx->stage.grid.chunk > cx->stage.last) break; /* still open */
        for (size_t h = 0; h < heads; h++) {
            uint8_t *keep = &cx->stage.keep[(size_t)j * heads + h];
            cx->chunks += counts;
            if (!*keep) continue;
            if (natsl_kept_append(&cx->kept[layer], (int)h, chunk)) {
                cx->kept_chunks += counts;
            } else {
                *keep = 0;
                r->st = NATSL_ERR_NOMEM;
            }
        }
    }
}

/** Copies keys and values of the stage's kept chunks into their units; `from` [heads]: the first unit of this stage. */
void natsl_run_fill_units(natsl_run *r, int layer, const int64_t *from)
{
    natsl_context *cx = r->cx;
    const natsl_kept *kept = &cx->kept[layer];
    const double start = natsl_now_s();
    for (int h = 0; h < kept->heads; h++) {
        const natsl_kept_list *list = &kept->lists[h];
#pragma omp parallel for schedule(static) num_threads(cx->options.threads)
        for (int64_t i = from[h]; i < list->count; i++)
            natsl_stage_pack(&cx->stage, natsl_layer_of(cx, layer), list->chunks[i] - cx->stage.chunk0, (size_t)h,
                             natsl_kept_unit(kept, h, i));
    }
    cx->stage.seconds[NATSL_PHASE_EXCHANGE] += natsl_now_s() - start;
}

/** Streaming into a layer. */
typedef struct attending {
    natsl_run *run;
    const natsl_layer *layer;
} attending;

static void attend_run(void *user, const natsl_kept_run *units, const float *data)
{
    const attending *to = user;
    natsl_run *r = to->run;
    const natsl_stage *s = &r->cx->stage;
    const natsl_attn_shape *a = &to->layer->shape.attn;
    int64_t pairs = 0;
    for (int64_t i = 0; i < units->count; i++) {
        const int64_t after = ((units->chunks ? units->chunks[i] : units->place + i) + 1) * s->grid.chunk;
        const int64_t end = a->window > 0 ? natsl_min64(s->last, after + a->window - 1) : s->last;
        pairs += natsl_max64(end - (units->chunks ? natsl_max64(s->first, after) : s->first), 0);
    }
    r->cx->attended += pairs * (int64_t)natsl_attn_pair(a);
    if (!r->drain)
        natsl_stage_attend(&r->cx->stage, to->layer, (size_t)units->head, data, units->count, units->chunks,
                           units->place);
}

/** Streams all units before the stage's tokens, in global order. new_chunks: indices heard from ranks before, per rank. */
void natsl_run_attend(natsl_run *r, int layer, int64_t *const *new_chunks)
{
    natsl_context *cx = r->cx;
    const natsl_kept *kept = &cx->kept[layer];
    const int heads = kept->heads;
    const int64_t first = first_read(r, layer, cx->stage.first);
    attending to = {r, natsl_layer_of(cx, layer)};
    natsl_status st;
    r->runs.count = 0;
    st = natsl_kept_all(kept, cx->size, first, &r->runs);
    const size_t old = r->runs.count;
    for (int from = 0; from < cx->rank && st == NATSL_OK; from++) {
        const int64_t *counts = heard_counts(r, layer, from);
        const int64_t *chunks = new_chunks[from];
        if (r->first[from] == r->first[from + 1]) continue;
        for (int h = 0; h < heads && st == NATSL_OK; h++) {
            int64_t start = 0;
            for (size_t i = 0; i < kept->n_segments; i++) {
                if (kept->segments[i].rank == from) start += kept->segments[i].count[h];
            }
            const int64_t unseen = natsl_kept_before(chunks, counts[h], first);
            st = natsl_kept_cut(&r->runs, kept->per_slab, from, h, start + unseen, counts[h] - unseen, 0,
                                chunks + unseen);
            chunks += counts[h];
        }
    }
    for (int h = 0; h < heads && st == NATSL_OK; h++) {
        const natsl_kept_list *list = &kept->lists[h];
        const int64_t old_units = old_count(r, layer, h);
        const int64_t start = old_units + natsl_kept_before(list->chunks + old_units, list->count - old_units, first);
        if (list->count > start)
            st = natsl_kept_cut(&r->runs, kept->per_slab, cx->rank, h, start, list->count - start, 0,
                                list->chunks + start);
    }
    if (st == NATSL_OK && r->runs.count > r->tags_capacity) {
        natsl_free(r->tags);
        r->tags = natsl_alloc(2 * r->runs.count, sizeof *r->tags, "tags");
        r->tags_capacity = r->tags ? 2 * r->runs.count : 0;
        if (!r->tags) st = NATSL_ERR_NOMEM;
    }
    if (st != NATSL_OK) natsl_die_nomem();
    for (size_t i = 0; i < r->runs.count; i++) r->tags[i] = kept_tag(r, r->pass, layer, i >= old);
    natsl_kept_stream(cx->comm, kept, &cx->inbox, r->runs.runs, r->tags, r->runs.count, attend_run, &to,
                      &cx->stage.seconds[NATSL_PHASE_WAIT]);
}

/** Says how many chunks this range kept in `layer`: after the units of its last stage are filled. */
void natsl_run_counts_tell(natsl_run *r, int layer)
{
    natsl_context *cx = r->cx;
    const natsl_kept *kept = &cx->kept[layer];
    const int heads = kept->heads;
    int64_t *message = r->counts[r->pass & 1][layer];
    size_t length = 2 * (size_t)heads;
    for (int h = 0; h < heads; h++) {
        const int64_t start = old_count(r, layer, h);
        message[h] = kept->lists[h].count - start;
        for (int64_t i = 0; i < message[h]; i++) message[length++] = kept->lists[h].chunks[start + i];
    }
    for (int h = 0; h < heads; h++) {
        const int64_t start = old_count(r, layer, h);
        const size_t first = (size_t)((start + kept->per_slab - 1) / kept->per_slab), n = kept->lists[h].n_slabs;
        message[heads + h] = (int64_t)(n - first);
        for (size_t i = first; i < n; i++) message[length++] = natsl_kept_slab_offset(kept, h, i);
    }
    memcpy(heard_counts(r, layer, cx->rank), message, (size_t)heads * sizeof(int64_t));
    counts_send(r, layer, message, length);
}

/** Hears the counts of the ranks before this one; *all (to be freed) and chunks[rank] get their chunk indices. */
void natsl_run_counts_hear(natsl_run *r, int layer, int64_t **all, int64_t **chunks)
{
    natsl_context *cx = r->cx;
    const size_t heads = (size_t)cx->kept[layer].heads;
    size_t total = 0;
    for (int from = 0; from < cx->rank; from++)
        total += (size_t)((r->first[from + 1] - r->first[from]) / cx->stage.grid.chunk + 2) * heads;
    *all = natsl_alloc(total, sizeof **all, "kept chunk indices");
    if (!*all) natsl_die_nomem();
    int64_t *to = *all;
    for (int from = 0; from < cx->rank; from++) {
        chunks[from] = to;
        if (r->first[from] == r->first[from + 1]) continue;
        counts_receive(r, layer, from);
        size_t n = 0;
        for (size_t h = 0; h < heads; h++) n += (size_t)r->heard_chunks[h];
        memcpy(to, r->heard_chunks + 2 * heads, n * sizeof *to);
        to += n;
    }
}
