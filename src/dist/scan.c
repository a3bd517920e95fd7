/* scan.c - prefix over ranks of affine maps of states. See scan.h. */
#include "scan.h"

#include "agree.h"
#include "place.h"

#include <limits.h>
#include <string.h>

/* Columns that one item of a composition computes: shapes do not depend on threads. */
#define COLUMNS 128

int natsl_scan_slots(int me, int n)
{
    int slots = 0;
    for (int64_t d = 1; d <= me && me + d < n; d *= 2) slots++;
    return slots;
}

void natsl_scan_messages(int n, int64_t *pairs, int64_t *states)
{
    *pairs = *states = 0;
    for (int64_t d = 1; d < n; d *= 2) { /* reader j to j + d; before the step its map reaches back d ranges */
        const int64_t all = n - d, reach = d < all ? d : all;
        *states += reach;
        *pairs += all - reach;
    }
}

static size_t state_floats(const natsl_scan_shape *s)
{
    size_t n = 0;
    return natsl_size_mul(&n, s->dk, s->dv) && natsl_size_mul(&n, n, (size_t)s->heads) ? n : 0;
}

size_t natsl_scan_pair_floats(const natsl_scan_shape *s)
{
    const size_t state = state_floats(s);
    size_t n = 0;
    if (!state || !natsl_size_mul(&n, s->dk, s->dk) || !natsl_size_mul(&n, n, (size_t)s->heads)) return 0;
    return natsl_size_add(&n, n, state) ? n : 0;
}

size_t natsl_scan_bytes(const natsl_scan_shape *s, int slots)
{
    const size_t pair = natsl_scan_pair_floats(s), state = state_floats(s);
    size_t layer = 0, work = 0, bytes = 0;
    /* per layer: slots and one state; once: before and heard, and a product smaller than a pair */
    const int ok = pair && natsl_size_mul(&layer, pair, (size_t)slots) && natsl_size_add(&layer, layer, state) &&
                   natsl_size_mul(&bytes, layer, (size_t)s->layers) && natsl_size_mul(&work, pair, 3) &&
                   natsl_size_add(&bytes, bytes, work - state) && natsl_size_mul(&bytes, bytes, sizeof(float));
    return ok ? bytes : 0;
}

natsl_status natsl_scan_create(MPI_Comm comm, int size, const natsl_kernels *kernels, int threads,
                               const natsl_scan_shape *shape, int slots, size_t piece, natsl_scan *s)
{
    memset(s, 0, sizeof *s);
    if (natsl_scan_bytes(shape, slots) == 0)
        return natsl_fail(NATSL_ERR_NOMEM, "summaries of %d layers and %d heads are too large", shape->layers,
                          shape->heads);
    s->comm = comm;
    s->kernels = kernels;
    s->threads = threads;
    s->shape = *shape;
    s->state_floats = state_floats(shape);
    s->pair_floats = natsl_scan_pair_floats(shape);
    s->slots = slots;
    s->piece = piece ? piece : INT_MAX;
    s->me = -1;
    const size_t layers = (size_t)shape->layers, pieces = (s->pair_floats - 1) / s->piece + 1;
    size_t steps = 0;
    for (int64_t d = 1; d < size; d *= 2) steps++;
    s->requests = steps * pieces;
    const size_t one_a = shape->dk * shape->dk * sizeof(float);
    s->pairs = natsl_calloc(layers * (size_t)slots, s->pair_floats * sizeof(float), "summaries of ranges");
    s->states = natsl_calloc(layers, s->state_floats * sizeof(float), "states under way");
    s->sent = natsl_alloc(layers * s->requests, sizeof(MPI_Request), "requests");
    s->n_sent = natsl_calloc(layers, sizeof *s->n_sent, "requests");
    s->before = natsl_calloc(s->pair_floats, sizeof(float), "summaries of ranges");
    s->heard = natsl_calloc(s->pair_floats, sizeof(float), "summaries of ranges");
    s->product = natsl_calloc((size_t)shape->heads, one_a, "summaries of ranges");
    s->readers = natsl_calloc((size_t)size, sizeof *s->readers, "ranges");
    for (int i = 0; i < 2; i++) s->coming[i] = natsl_alloc(pieces, sizeof(MPI_Request), "requests");
    if (!s->pairs || !s->states || !s->sent || !s->n_sent || !s->before || !s->heard || !s->product || !s->readers ||
        !s->coming[0] || !s->coming[1]) {
        natsl_scan_free(s);
        return NATSL_ERR_NOMEM;
    }
    return NATSL_OK;
}

void natsl_scan_free(natsl_scan *s)
{
    void *const all[] = {s->pairs, s->states,  s->sent,    s->n_sent,    s->before,
                         s->heard, s->product, s->readers, s->coming[0], s->coming[1]};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) natsl_free(all[i]);
    memset(s, 0, sizeof *s);
}

void natsl_scan_set(natsl_scan *s, const int64_t *first, int size, int rank)
{
    s->n = 0;
    s->me = -1;
    for (int r = 0; r < size; r++) {
        if (first[r] == first[r + 1]) continue;
        if (r == rank) s->me = s->n;
        s->readers[s->n++] = r;
    }
}

static float *slot(const natsl_scan *s, int layer, int i)
{
    return s->pairs + ((size_t)layer * (size_t)s->slots + (size_t)i) * s->pair_floats;
}

float *natsl_scan_b(const natsl_scan *s, int layer) { return slot(s, layer, 0); }
float *natsl_scan_a(const natsl_scan *s, int layer) { return slot(s, layer, 0) + s->state_floats; }

static size_t pieces_of(const natsl_scan *s, size_t floats) { return (floats + s->piece - 1) / s->piece; }

/** What this rank sent in this layer one pass ago has left its buffers, now that they are used again. */
static void layer_free(natsl_scan *s, int layer)
{
    const double start = natsl_now_s();
    NATSL_MPI(MPI_Waitall((int)s->n_sent[layer], s->sent + (size_t)layer * s->requests, MPI_STATUSES_IGNORE));
    s->n_sent[layer] = 0;
    s->wait_s += natsl_now_s() - start;
}

static void post_send(natsl_scan *s, int layer, const float *data, size_t floats, int to)
{
    MPI_Request *requests = s->sent + (size_t)layer * s->requests;
    for (size_t at = 0; at < floats; at += s->piece) {
        const size_t n = floats - at < s->piece ? floats - at : s->piece;
        NATSL_MPI(MPI_Isend(data + at, (int)n, MPI_FLOAT, s->readers[to], NATSL_TAG_SCAN, s->comm,
                            &requests[s->n_sent[layer]++]));
    }
    s->bytes += (int64_t)(floats * sizeof(float));
}

/** Posts the receive of step d = 2^k, if this reader has one. The first goes straight to `before`. */
static void post_receive(natsl_scan *s, int k)
{
    const int64_t d = (int64_t)1 << k;
    if (d > s->me) return;
    const size_t floats = s->me - d < d ? s->state_floats : s->pair_floats;
    float *to = k == 0 ? s->before : s->heard;
    MPI_Request *requests = s->coming[k > 0];
    for (size_t at = 0, i = 0; at < floats; at += s->piece, i++) {
        const size_t n = floats - at < s->piece ? floats - at : s->piece;
        NATSL_MPI(MPI_Irecv(to + at, (int)n, MPI_FLOAT, s->readers[s->me - d], NATSL_TAG_SCAN, s->comm, &requests[i]));
    }
}

static void wait_receive(natsl_scan *s, int k, int is_state)
{
    const double start = natsl_now_s();
    const size_t floats = is_state ? s->state_floats : s->pair_floats;
    natsl_wait_for("a map of the state from an earlier range", -1);
    NATSL_MPI(MPI_Waitall((int)pieces_of(s, floats), s->coming[k > 0], MPI_STATUSES_IGNORE));
    natsl_wait_for(NULL, -1);
    s->wait_s += natsl_now_s() - start;
}

/** out = later o earlier: (A2 A1, A2 B1 + B2). `earlier` and out may be states (no A); out may be `later`. */
static void compose(natsl_scan *s, const float *later, const float *earlier, int is_state, float *out)
{
    if (s->idle) return;
    const double start = natsl_now_s();
    const size_t heads = (size_t)s->shape.heads, dk = s->shape.dk, dv = s->shape.dv;
    const size_t b_blocks = (dv + COLUMNS - 1) / COLUMNS, a_blocks = is_state ? 0 : (dk + COLUMNS - 1) / COLUMNS;
    const size_t blocks = a_blocks + b_blocks;
    const float *a2 = later + s->state_floats, *a1 = earlier + s->state_floats;
    float *a_out = out == later ? s->product : out + s->state_floats;
#pragma omp parallel for schedule(dynamic, 1) num_threads(s->threads)
    for (size_t i = 0; i < heads * blocks; i++) {
        const size_t h = i / blocks, block = i % blocks;
        const int of_b = block < b_blocks;
        const size_t c0 = (of_b ? block : block - b_blocks) * COLUMNS, ld = of_b ? dv : dk;
        const size_t n = ld - c0 < COLUMNS ? ld - c0 : COLUMNS, at = h * dk * ld + c0;
        if (of_b) s->kernels->affine(dk, n, a2 + h * dk * dk, earlier + at, dv, later + at, dv, out + at, dv);
        else s->kernels->affine(dk, n, a2 + h * dk * dk, a1 + at, dk, NULL, 0, a_out + at, dk);
    }
    if (a_blocks && a_out == s->product) memcpy(out + s->state_floats, s->product, heads * dk * dk * sizeof(float));
    s->compose_s += natsl_now_s() - start;
}

void natsl_scan_first(natsl_scan *s, int layer, const float *state)
{
    float *to = s->states + (size_t)layer * s->state_floats;
    layer_free(s, layer);
    memcpy(to, state, s->state_floats * sizeof(float));
    for (int64_t d = 1; d < s->n; d *= 2) post_send(s, layer, to, s->state_floats, (int)d);
}

void natsl_scan_begin(natsl_scan *s, int layer)
{
    layer_free(s, layer);
    post_receive(s, 0);
    post_receive(s, 1);
}

void natsl_scan_prefix(natsl_scan *s, int layer, float *state)
{
    float *whole = s->states + (size_t)layer * s->state_floats; /* the map that reaches back to the first reader */
    int used = 0;                                               /* slot that holds the map of up to d ranges */
    int64_t d = 1;
    for (int k = 0; d < s->n; k++, d *= 2) {
        const int complete = s->me < d;
        if (s->me + d < s->n) {
            if (complete) post_send(s, layer, whole, s->state_floats, (int)(s->me + d));
            else post_send(s, layer, slot(s, layer, used), s->pair_floats, (int)(s->me + d));
        }
        if (complete) continue;
        const int is_state = s->me - d < d;
        wait_receive(s, k, is_state);
        if (k > 0) {
            compose(s, s->before, s->heard, is_state, s->before);
            post_receive(s, k + 1); /* the one after the first was posted with it */
        }
        if (s->me + 2 * d >= s->n) continue;
        if (is_state) compose(s, slot(s, layer, 0), s->before, 1, whole);
        else compose(s, slot(s, layer, 0), s->before, 0, slot(s, layer, ++used));
    }
    memcpy(state, s->before, s->state_floats * sizeof(float));
}

void natsl_scan_finish(natsl_scan *s)
{
    for (int l = 0; l < s->shape.layers && s->sent; l++) layer_free(s, l);
}
