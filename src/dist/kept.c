/* kept.c - store, directory and stream of kept keys and values. See kept.h. */
#include "kept.h"

#include "agree.h"
#include "place.h"
#include <limits.h>
#include <string.h>

int64_t natsl_kept_per_slab(size_t unit_floats)
{
    const size_t n = NATSL_SLAB_BYTES / (unit_floats * sizeof(float));
    return n > 0 ? (int64_t)n : 1;
}

natsl_status natsl_kept_create(int heads, size_t unit_floats, natsl_arena *arena, natsl_kept *kept)
{
    memset(kept, 0, sizeof *kept);
    /* One message is one slab, counted in floats by an int. */
    if (unit_floats > INT_MAX) return natsl_fail(NATSL_ERR_INPUT, "a chunk's keys and values exceed one message");
    kept->arena = arena;
    kept->heads = heads;
    kept->unit_floats = unit_floats;
    kept->per_slab = natsl_kept_per_slab(unit_floats);
    kept->lists = natsl_calloc((size_t)heads, sizeof *kept->lists, "lists of kept chunks");
    kept->views = natsl_calloc((size_t)arena->size * (size_t)heads, sizeof *kept->views, "lists of kept chunks");
    kept->held = natsl_calloc((size_t)arena->size, sizeof *kept->held, "directory of kept chunks");
    if (kept->lists && kept->views && kept->held) return NATSL_OK;
    natsl_kept_free(kept);
    return NATSL_ERR_NOMEM;
}

void natsl_kept_free(natsl_kept *kept)
{
    for (int h = 0; kept->lists && h < kept->heads; h++) {
        natsl_kept_list *list = &kept->lists[h];
        natsl_free(list->slabs);
        natsl_free(list->chunks);
    }
    for (size_t i = 0; i < kept->n_segments; i++) natsl_free(kept->segments[i].count);
    for (int i = 0; kept->views && i < kept->arena->size * kept->heads; i++) natsl_free(kept->views[i].offsets);
    natsl_free(kept->views);
    natsl_free(kept->spare);
    natsl_free(kept->lists);
    natsl_free(kept->segments);
    natsl_free(kept->held);
    memset(kept, 0, sizeof *kept);
}

/** A larger copy of an array of `count` elements; the old one is freed. NULL (old one kept) when out of memory. */
static void *grown(void *old, size_t count, size_t new_count, size_t size, const char *what)
{
    void *p = natsl_alloc(new_count, size, what);
    if (!p) return NULL;
    if (count) memcpy(p, old, count * size);
    natsl_free(old);
    return p;
}

/** A slab: one that was dropped, or fresh memory. NULL: out of memory. */
static float *take_slab(natsl_kept *kept)
{
    if (kept->n_spare > 0) return kept->spare[--kept->n_spare];
    return natsl_arena_alloc(kept->arena, (size_t)kept->per_slab * kept->unit_floats * sizeof(float),
                             "kept keys and values");
}

/** Makes room for one more unit; in a slab that is not there when `absent`. False: out of memory, nothing changed. */
static int append_unit(natsl_kept *kept, int head, int64_t chunk, int absent)
{
    natsl_kept_list *list = &kept->lists[head];
    if (list->count == list->capacity) {
        const int64_t capacity = list->capacity ? 2 * list->capacity : 64;
        int64_t *chunks =
            grown(list->chunks, (size_t)list->count, (size_t)capacity, sizeof *chunks, "kept chunk indices");
        if (!chunks) return 0;
        list->chunks = chunks;
        list->capacity = capacity;
    }
    if (list->count == (int64_t)list->n_slabs * kept->per_slab) { /* all slabs are full: one more */
        if ((list->n_slabs & (list->n_slabs - 1)) == 0) {         /* and so is their table: 0, 1, 2, 4 ... */
            const size_t room = list->n_slabs ? 2 * list->n_slabs : 1;
            float **slabs = grown(list->slabs, list->n_slabs, room, sizeof *slabs, "slabs");
            if (!slabs) return 0;
            list->slabs = slabs;
        }
        float *slab = absent ? NULL : take_slab(kept);
        if (!slab && !absent) return 0;
        list->slabs[list->n_slabs++] = slab;
    }
    list->chunks[list->count++] = chunk;
    list->dropped += absent;
    return 1;
}

float *natsl_kept_append(natsl_kept *kept, int head, int64_t chunk)
{
    return append_unit(kept, head, chunk, 0) ? natsl_kept_unit(kept, head, kept->lists[head].count - 1) : NULL;
}

void natsl_kept_drop(natsl_kept *kept, int64_t first)
{
    for (int h = 0; h < kept->heads; h++) {
        natsl_kept_list *list = &kept->lists[h];
        for (int64_t end; (end = list->dropped + kept->per_slab) <= list->count && list->chunks[end - 1] < first;) {
            if (kept->n_spare == kept->spare_capacity) {
                const size_t capacity = kept->spare_capacity ? 2 * kept->spare_capacity : 16;
                float **spare = grown(kept->spare, kept->n_spare, capacity, sizeof *spare, "slabs");
                if (!spare) return; /* they stay, then */
                kept->spare = spare;
                kept->spare_capacity = capacity;
            }
            float **slab = &list->slabs[list->dropped / kept->per_slab];
            kept->spare[kept->n_spare++] = *slab;
            *slab = NULL;
            list->dropped = end;
        }
    }
}

float *natsl_kept_unit(const natsl_kept *kept, int head, int64_t i)
{
    return kept->lists[head].slabs[i / kept->per_slab] + (size_t)(i % kept->per_slab) * kept->unit_floats;
}

int64_t natsl_kept_slab_offset(const natsl_kept *kept, int head, size_t i)
{
    if (!kept->arena->own || !kept->lists[head].slabs[i]) return 0;
    return (int64_t)((unsigned char *)kept->lists[head].slabs[i] - kept->arena->own);
}

/** Unit i of another rank's list, read in place. */
static const float *view_unit(const natsl_kept *kept, int rank, int head, int64_t i)
{
    const natsl_kept_view *view = &kept->views[(size_t)rank * (size_t)kept->heads + (size_t)head];
    const unsigned char *slab = kept->arena->base[rank] + view->offsets[i / kept->per_slab];
    return (const float *)(const void *)slab + (size_t)(i % kept->per_slab) * kept->unit_floats;
}

natsl_status natsl_kept_view_add(natsl_kept *kept, int rank, int head, const int64_t *offsets, int64_t count)
{
    natsl_kept_view *view = &kept->views[(size_t)rank * (size_t)kept->heads + (size_t)head];
    if (view->count + count > view->capacity) {
        const int64_t capacity = 2 * (view->count + count);
        int64_t *p =
            grown(view->offsets, (size_t)view->count, (size_t)capacity, sizeof *p, "kept chunks of other ranks");
        if (!p) return NATSL_ERR_NOMEM;
        view->offsets = p;
        view->capacity = capacity;
    }
    for (int64_t i = 0; i < count; i++) view->offsets[view->count++] = offsets[i];
    return NATSL_OK;
}

natsl_status natsl_kept_share(MPI_Comm comm, natsl_kept *kept)
{
    const size_t heads = (size_t)kept->heads, size = (size_t)kept->arena->size;
    natsl_status st = NATSL_OK;
    int64_t *mine = NULL, *all = NULL, total = 0, n = 0;
    int *lengths = natsl_alloc(2 * size, sizeof *lengths, "kept chunks of other ranks");
    int64_t *counts = natsl_alloc((size + 1) * heads, sizeof *counts, "kept chunks of other ranks");
    if ((st = natsl_agree(comm, lengths && counts ? NATSL_OK : NATSL_ERR_NOMEM)) != NATSL_OK) goto cleanup;
    int64_t *own = counts + size * heads;
    for (size_t h = 0; h < heads; h++) n += own[h] = (int64_t)kept->lists[h].n_slabs;
    NATSL_MPI(MPI_Allgather(own, (int)heads, MPI_INT64_T, counts, (int)heads, MPI_INT64_T, comm));
    for (size_t r = 0; r < size; r++) {
        int64_t sum = 0;
        for (size_t h = 0; h < heads; h++) sum += counts[r * heads + h];
        lengths[r] = (int)sum; /* slabs, those dropped too; that an int counts them is looked at below */
        lengths[size + r] = (int)total;
        total += sum;
    }
    mine = natsl_alloc((size_t)n, sizeof *mine, "kept chunks of other ranks");
    all = natsl_alloc((size_t)total, sizeof *all, "kept chunks of other ranks");
    if (!mine || !all || total > INT_MAX) st = NATSL_ERR_NOMEM;
    if ((st = natsl_agree(comm, st)) != NATSL_OK) goto cleanup;
    n = 0;
    for (size_t h = 0; h < heads; h++) {
        for (size_t i = 0; i < kept->lists[h].n_slabs; i++) mine[n++] = natsl_kept_slab_offset(kept, (int)h, i);
    }
    NATSL_MPI(MPI_Allgatherv(mine, (int)n, MPI_INT64_T, all, lengths, lengths + size, MPI_INT64_T, comm));
    const int64_t *at = all;
    for (size_t r = 0; r < size; r++) {
        for (size_t h = 0; h < heads; h++) {
            kept->views[r * heads + h].count = 0;
            if (st == NATSL_OK && natsl_arena_reads(kept->arena, (int)r))
                st = natsl_kept_view_add(kept, (int)r, (int)h, at, counts[r * heads + h]);
            at += counts[r * heads + h];
        }
    }
    st = natsl_agree(comm, st);
cleanup:
    natsl_free(mine);
    natsl_free(all);
    natsl_free(lengths);
    natsl_free(counts);
    return st;
}

natsl_status natsl_kept_note(natsl_kept *kept, int rank, const int64_t *counts)
{
    int64_t all = 0;
    for (int h = 0; h < kept->heads; h++) all += counts[h];
    if (!all) return NATSL_OK;
    if (kept->n_segments && kept->segments[kept->n_segments - 1].rank == rank) {
        for (int h = 0; h < kept->heads; h++) kept->segments[kept->n_segments - 1].count[h] += counts[h];
        kept->held[rank] += all;
        return NATSL_OK;
    }
    if (kept->n_segments == kept->segment_capacity) {
        const size_t capacity = kept->segment_capacity ? 2 * kept->segment_capacity : 16;
        natsl_segment *s = grown(kept->segments, kept->n_segments, capacity, sizeof *s, "directory of kept chunks");
        if (!s) return NATSL_ERR_NOMEM;
        kept->segments = s;
        kept->segment_capacity = capacity;
    }
    int64_t *copy = natsl_alloc((size_t)kept->heads, sizeof *copy, "directory of kept chunks");
    if (!copy) return NATSL_ERR_NOMEM;
    memcpy(copy, counts, (size_t)kept->heads * sizeof *copy);
    kept->segments[kept->n_segments++] = (natsl_segment){.rank = rank, .count = copy};
    kept->held[rank] += all;
    return NATSL_OK;
}

void natsl_kept_shown(const natsl_kept *kept, int64_t first, int64_t end, int64_t *shown)
{
    const size_t bytes = (size_t)kept->arena->size * sizeof *shown;
    if (first <= kept->skipped) {
        memcpy(shown, kept->held, bytes);
        return;
    }
    memset(shown, 0, bytes);
    for (size_t i = kept->n_segments; i > 0 && end > first; i--) { /* from the last: a window is short */
        const natsl_segment *s = &kept->segments[i - 1];
        const int64_t begin = end - s->count[0];
        shown[s->rank] += (end - (begin > first ? begin : first)) * kept->heads;
        end = begin;
    }
}

size_t natsl_kept_bytes(const natsl_kept *kept)
{
    size_t n = kept->n_spare;
    for (int h = 0; h < kept->heads; h++)
        n += kept->lists[h].n_slabs - (size_t)(kept->lists[h].dropped / kept->per_slab);
    return n * (size_t)kept->per_slab * kept->unit_floats * sizeof(float);
}

natsl_status natsl_kept_copy(const natsl_kept *kept, natsl_arena *arena, natsl_kept *out)
{
    natsl_status st = natsl_kept_create(kept->heads, kept->unit_floats, arena, out);
    out->skipped = kept->skipped;
    for (int h = 0; st == NATSL_OK && h < kept->heads; h++) {
        const natsl_kept_list *list = &kept->lists[h];
        for (int64_t i = 0; st == NATSL_OK && i < list->count; i++) {
            if (!append_unit(out, h, list->chunks[i], i < list->dropped)) st = NATSL_ERR_NOMEM;
            else if (i >= list->dropped)
                memcpy(natsl_kept_unit(out, h, i), natsl_kept_unit(kept, h, i), kept->unit_floats * sizeof(float));
        }
    }
    for (size_t i = 0; st == NATSL_OK && i < kept->n_segments; i++)
        st = natsl_kept_note(out, kept->segments[i].rank, kept->segments[i].count);
    if (st != NATSL_OK) natsl_kept_free(out);
    return st;
}

natsl_status natsl_kept_cut(natsl_kept_runs *runs, int64_t per_slab, int rank, int head, int64_t start, int64_t count,
                            int64_t place, const int64_t *chunks)
{
    while (count > 0) {
        const int64_t room = per_slab - start % per_slab, n = count < room ? count : room;
        if (runs->count == runs->capacity) {
            const size_t capacity = runs->capacity ? 2 * runs->capacity : 64;
            natsl_kept_run *p = grown(runs->runs, runs->count, capacity, sizeof *p, "runs of kept chunks");
            if (!p) return NATSL_ERR_NOMEM;
            runs->runs = p;
            runs->capacity = capacity;
        }
        runs->runs[runs->count++] = (natsl_kept_run){rank, head, start, n, place, chunks};
        start += n;
        place += n;
        count -= n;
        if (chunks) chunks += n;
    }
    return NATSL_OK;
}

int64_t natsl_kept_before(const int64_t *chunks, int64_t count, int64_t first)
{
    int64_t low = 0;
    while (low < count) {
        const int64_t middle = low + (count - low) / 2;
        if (chunks[middle] < first) low = middle + 1;
        else count = middle;
    }
    return low;
}

natsl_status natsl_kept_all(const natsl_kept *kept, int size, int64_t skip, natsl_kept_runs *runs)
{
    /* Where each rank's list stands while we walk the segments, and all of them together. */
    int64_t *at = natsl_calloc(((size_t)size + 1) * (size_t)kept->heads, sizeof *at, "directory of kept chunks");
    if (!at) return NATSL_ERR_NOMEM;
    int64_t *places = at + (size_t)size * (size_t)kept->heads;
    for (int h = 0; h < kept->heads; h++) places[h] = kept->skipped;
    natsl_status st = NATSL_OK;
    for (size_t i = 0; i < kept->n_segments; i++) {
        const natsl_segment *s = &kept->segments[i];
        for (int h = 0; st == NATSL_OK && h < kept->heads; h++) {
            int64_t *start = &at[(size_t)s->rank * (size_t)kept->heads + (size_t)h], *place = &places[h];
            int64_t left_out = skip - *place; /* of this segment */
            if (left_out < 0) left_out = 0;
            if (left_out < s->count[h])
                st = natsl_kept_cut(runs, kept->per_slab, s->rank, h, *start + left_out, s->count[h] - left_out,
                                    *place + left_out, NULL);
            *start += s->count[h];
            *place += s->count[h];
        }
    }
    natsl_free(at);
    return st;
}

MPI_Request *natsl_sends_add(natsl_sends *s)
{
    if (s->count == s->capacity) {
        size_t live = 0; /* drop what has finished before growing */
        for (size_t i = 0; i < s->count; i++) {
            int done = 0;
            NATSL_MPI(MPI_Test(&s->requests[i], &done, MPI_STATUS_IGNORE));
            if (!done) s->requests[live++] = s->requests[i];
        }
        s->count = live;
        if (live >= s->capacity / 2) {
            const size_t capacity = s->capacity ? 2 * s->capacity : 64;
            MPI_Request *p = grown(s->requests, s->count, capacity, sizeof *p, "requests");
            if (!p) return NULL;
            s->requests = p;
            s->capacity = capacity;
        }
    }
    return &s->requests[s->count++];
}

void natsl_sends_wait(natsl_sends *s)
{
    for (size_t i = 0; i < s->count; i++) NATSL_MPI(MPI_Wait(&s->requests[i], MPI_STATUS_IGNORE));
    s->count = 0;
}

void natsl_sends_free(natsl_sends *s)
{
    natsl_free(s->requests);
    memset(s, 0, sizeof *s);
}

natsl_status natsl_kept_inbox_create(size_t slab_floats, natsl_kept_inbox *inbox)
{
    inbox->slab_floats = slab_floats;
    inbox->buffers = natsl_alloc(NATSL_KEPT_INFLIGHT * inbox->slab_floats, sizeof(float), "incoming keys and values");
    return inbox->buffers ? NATSL_OK : NATSL_ERR_NOMEM;
}

void natsl_kept_inbox_free(natsl_kept_inbox *inbox)
{
    natsl_free(inbox->buffers);
    inbox->buffers = NULL;
}

natsl_status natsl_kept_send(MPI_Comm comm, const natsl_kept *kept, const natsl_kept_run *runs, size_t n, int to,
                             int tag, natsl_sends *sends, int64_t *bytes)
{
    if (natsl_arena_reads(kept->arena, to)) return NATSL_OK;
    for (size_t i = 0; i < n; i++) {
        MPI_Request *request = natsl_sends_add(sends);
        if (!request) return NATSL_ERR_NOMEM;
        const size_t floats = (size_t)runs[i].count * kept->unit_floats; /* at most a slab: fits an int */
        NATSL_MPI(MPI_Isend(natsl_kept_unit(kept, runs[i].head, runs[i].start), (int)floats, MPI_FLOAT, to, tag, comm,
                            request));
        *bytes += (int64_t)(floats * sizeof(float));
    }
    return NATSL_OK;
}

void natsl_kept_stream(MPI_Comm comm, const natsl_kept *kept, const natsl_kept_inbox *inbox, const natsl_kept_run *runs,
                       const int *tags, size_t n, natsl_kept_sink *sink, void *user, double *wait_s)
{
    int self;
    NATSL_MPI(MPI_Comm_rank(comm, &self));
    MPI_Request inflight[NATSL_KEPT_INFLIGHT];
    size_t posted = 0, posted_remote = 0, taken_remote = 0;
    for (size_t i = 0; i < n; i++) {
        /* Post receives ahead, in order, while a buffer is free. */
        for (; posted < n; posted++) {
            if (runs[posted].rank == self || natsl_arena_reads(kept->arena, runs[posted].rank)) continue;
            if (posted_remote - taken_remote == NATSL_KEPT_INFLIGHT) break;
            const size_t slot = posted_remote++ % NATSL_KEPT_INFLIGHT;
            const int floats = (int)((size_t)runs[posted].count * kept->unit_floats);
            NATSL_MPI(MPI_Irecv(inbox->buffers + slot * inbox->slab_floats, floats, MPI_FLOAT, runs[posted].rank,
                                tags[posted], comm, &inflight[slot]));
        }
        if (runs[i].rank == self) {
            sink(user, &runs[i], natsl_kept_unit(kept, runs[i].head, runs[i].start));
        } else if (natsl_arena_reads(kept->arena, runs[i].rank)) {
            sink(user, &runs[i], view_unit(kept, runs[i].rank, runs[i].head, runs[i].start));
        } else {
            const size_t slot = taken_remote % NATSL_KEPT_INFLIGHT;
            const double start = natsl_now_s();
            natsl_wait_for("kept keys and values", runs[i].rank);
            NATSL_MPI(MPI_Wait(&inflight[slot], MPI_STATUS_IGNORE));
            natsl_wait_for(NULL, -1);
            *wait_s += natsl_now_s() - start;
            sink(user, &runs[i], inbox->buffers + slot * inbox->slab_floats);
            taken_remote++;
        }
    }
}
