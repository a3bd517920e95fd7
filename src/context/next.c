/* next.c - one token into a context, by the one-token form of every kernel, and the scores of the one after it.
 * A row through a matrix costs what reading the matrix costs, so the ranks share the panels of every matrix (share.h): each
 * reads its own, and the outputs are gathered. All ranks hold the residual row and do the small norms themselves. What belongs to
 * the open chunk (convolution, state, attention to its rows) is the owner's; meanwhile the others attend to their kept units
 * and compute the output gate, of which the owner gets that much less. Per layer:
 *   all      norm, input projection                         -> gathered on the owner
 *   owner    convolution (not for softmax attention alone), norms  -> queries to all, where others hold kept units
 *   owner    state (likewise), open chunk;  all: own kept units, gate  -> gathered on the owner
 *   owner    merge, mix                                     -> the mixed row to all
 *   all      output projection, feed-forward in and out     -> each gathered on all
 * Who computes a panel does not change its bits. Partial softmaxes are merged open chunk first, then rank by rank: the same
 * bits on any number of ranks as long as one of them holds all of a layer's kept units, else equal up to rounding.
 * Source: oracle.py. Tests: tests/mpi/test_context.c, tests/unit/test_share.c */
#include "context_impl.h"
#include "place.h"
#include "share.h"

#include <limits.h>
#include <math.h>
#include <omp.h>
#include <string.h>

/* What the owner does besides, in bytes of panels that take as long to read as one number of ...: measured for the shape of
 * the 340M model, one thread. */
#define CONV_COST  64 /* a channel of the convolution: taps, weights, SiLU, the rows before moved on */
#define STATE_COST 8  /* the state in delta_step: read twice, written once */
#define KEPT_COST  6  /* a kept unit in attn_block */

/* Kept units are attended to in up to PARTS parts of PART_UNITS or more. */
enum { PARTS = 16, PART_UNITS = 8 };

/** Rows of one token, cut from natsl_next.rows. */
typedef struct token_rows {
    float *x, *xn, *out;     /* [D] */
    float *in;               /* [n_in] projections, convolved */
    float *raw;              /* [conv_channels] before the convolution */
    float *qa, *ka;          /* attention's rows [qd], [kd] */
    float *mix;              /* [2*Ha] */
    float *o;                /* [value_dim], then the mixed row [o_proj.k] */
    float *oa, *gate;        /* [od], [value_dim] */
    float *top, *sum;        /* [heads] */
    float *log_decay, *beta; /* [Hv] */
    float *scores;           /* [2*Hn] */
    float *wide;             /* [2*I] */
    size_t floats;
} token_rows;

static token_rows rows_of(const natsl_config *c, const natsl_widths *m, float *base)
{
    const size_t d = (size_t)c->hidden_size, kd = (size_t)c->key_dim, vd = (size_t)c->value_dim;
    const size_t ha = (size_t)c->num_attn_heads, hv = (size_t)c->num_v_heads;
    token_rows t;
    float *p = base;
    t.x = p, p += d;
    t.xn = p, p += d;
    t.out = p, p += d;
    t.in = p, p += m->n_in;
    t.raw = p, p += 2 * kd + vd;
    t.qa = p, p += m->qd;
    t.ka = p, p += m->kd;
    t.mix = p, p += 2 * ha;
    t.o = p, p += m->od > vd ? m->od : vd;
    t.oa = p, p += m->od;
    t.gate = p, p += vd;
    t.top = p, p += m->heads;
    t.sum = p, p += m->heads;
    t.log_decay = p, p += hv;
    t.beta = p, p += hv;
    t.scores = p, p += 2 * (size_t)c->num_nats_head;
    t.wide = p, p += 2 * (size_t)c->intermediate_size;
    t.floats = (size_t)(p - base);
    return t;
}

/** Softmaxes under way, of all heads: largest score, sum of weights [heads], weighted sum of values [od]. */
typedef struct softmax {
    float *top, *sum, *acc;
} softmax;

/** Floats of such a row: top, sum, acc. */
static size_t partial_floats(const natsl_attn_shape *a) { return 2 * a->heads + a->od; }

static softmax softmax_at(const natsl_attn_shape *a, float *row)
{
    return (softmax){row, row + a->heads, row + 2 * a->heads};
}

natsl_status natsl_next_create(const natsl_config *c, int size, natsl_next *next)
{
    float none;
    const natsl_widths m = natsl_widths_of(c);
    const size_t ranks = (size_t)size, one = 2 * m.heads + m.od, vd = (size_t)c->value_dim;
    size_t message = 0;
    memset(next, 0, sizeof *next);
    /* A row travels in one message, counted by an int. */
    if (!natsl_size_mul(&message, ranks, one) || !natsl_size_add(&message, message, vd) || message > INT_MAX ||
        2 * (int64_t)c->intermediate_size > INT_MAX || m.n_in > INT_MAX)
        return natsl_fail(NATSL_ERR_INPUT, "a row of one token exceeds one message");
    next->rows = natsl_calloc(rows_of(c, &m, &none).floats, sizeof(float), "one token's rows");
    next->message = natsl_alloc(message, sizeof(float), "partial softmaxes");
    next->parts = natsl_alloc(PARTS - 1, one * sizeof(float), "partial softmaxes");
    next->choices = natsl_calloc((size_t)c->num_hidden_layers, m.groups, "choices");
    next->first = natsl_alloc(ranks + 1, sizeof *next->first, "shares of ranks");
    next->load = natsl_alloc(ranks, sizeof *next->load, "shares of ranks");
    next->gates = natsl_alloc(ranks, sizeof *next->gates, "shares of ranks");
    next->counts = natsl_alloc(ranks, sizeof *next->counts, "shares of ranks");
    next->starts = natsl_alloc(ranks, sizeof *next->starts, "shares of ranks");
    next->shown = natsl_calloc(ranks, sizeof *next->shown, "shares of ranks");
    if (next->rows && next->message && next->parts && next->choices && next->first && next->load && next->gates &&
        next->counts && next->starts && next->shown)
        return NATSL_OK;
    natsl_next_free(next);
    return NATSL_ERR_NOMEM;
}

void natsl_next_free(natsl_next *next)
{
    natsl_free(next->rows);
    natsl_free(next->message);
    natsl_free(next->parts);
    natsl_free(next->choices);
    natsl_free(next->first);
    natsl_free(next->load);
    natsl_free(next->gates);
    natsl_free(next->counts);
    natsl_free(next->starts);
    natsl_free(next->shown);
    memset(next, 0, sizeof *next);
}

static int is_owner(const natsl_context *cx) { return cx->rank == cx->owner; }

/** The time since the last lap was this phase's. */
static void lap(natsl_context *cx, natsl_phase phase)
{
    const double now = natsl_now_s();
    cx->stage.seconds[phase] += now - cx->next.mark;
    cx->next.mark = now;
}

/* ---- products over ranks ----------------------------------------------------------------------------------------------- */

/** y = W x for panels [p0,p1), spread over threads; y starts with the first of them. */
static void product(natsl_context *cx, const natsl_matrix *w, size_t p0, size_t p1, const float *x, float *y)
{
#pragma omp parallel for schedule(static) num_threads(cx->options.threads)
    for (size_t p = p0; p < p1; p++)
        cx->stage.kernels->linear(1, w, p, p + 1, x, w->k, y + (p - p0) * NATSL_PANEL, w->n, 0,
                                  natsl_stage_scratch(&cx->stage, omp_get_thread_num()));
}

/** This rank's panels of W x into their place in the row y [n]; next.first, counts and starts are those of W then. */
static void product_share(natsl_context *cx, const natsl_matrix *w, const int64_t *load, const float *x, float *y)
{
    natsl_next *next = &cx->next;
    natsl_share_make(w->n, cx->size, load, next->first);
    for (int r = 0; r < cx->size; r++) {
        next->starts[r] = (int)natsl_share_output(w->n, next->first[r]);
        next->counts[r] = (int)natsl_share_output(w->n, next->first[r + 1]) - next->starts[r];
    }
    product(cx, w, next->first[cx->rank], next->first[cx->rank + 1], x, y + next->starts[cx->rank]);
}

/** Parts of a row, by next.counts and starts, from all ranks to the owner: its own lie in `row`, the others' at `part`. */
static void gather_on_owner(natsl_context *cx, const float *part, float *row)
{
    const natsl_next *next = &cx->next;
    if (cx->size == 1) return;
    const int mine = is_owner(cx);
    NATSL_MPI(MPI_Gatherv(mine ? MPI_IN_PLACE : part, next->counts[cx->rank], MPI_FLOAT, row, next->counts,
                          next->starts, MPI_FLOAT, cx->owner, cx->comm));
    if (!mine) cx->row_bytes += next->counts[cx->rank] * (int64_t)sizeof(float);
    lap(cx, NATSL_PHASE_WAIT);
}

/** The same to all ranks. */
static void gather_on_all(natsl_context *cx, float *row)
{
    const natsl_next *next = &cx->next;
    if (cx->size == 1) return;
    NATSL_MPI(MPI_Allgatherv(MPI_IN_PLACE, 0, MPI_DATATYPE_NULL, row, next->counts, next->starts, MPI_FLOAT, cx->comm));
    cx->row_bytes += next->counts[cx->rank] * (int64_t)sizeof(float) * (cx->size - 1);
    lap(cx, NATSL_PHASE_WAIT);
}

/** A row from the owner to all. */
static void broadcast_row(natsl_context *cx, float *row, int count)
{
    if (cx->size == 1) return;
    NATSL_MPI(MPI_Bcast(row, count, MPI_FLOAT, cx->owner, cx->comm));
    if (is_owner(cx)) cx->row_bytes += count * (int64_t)sizeof(float) * (cx->size - 1);
    lap(cx, NATSL_PHASE_WAIT);
}

/* ---- attention --------------------------------------------------------------------------------------------------------- */

/** The queries of `heads` heads from h on, which share keys, against `count` of these, the first of them of token `begin`, into
 * their softmaxes: top, sum [heads of the layer], acc [od]. */
static void attend_keys(natsl_context *cx, const natsl_attn_shape *a, size_t h, size_t heads, int64_t begin,
                        size_t count, const float *qa, const float *keys, const float *values, size_t ldv, softmax to)
{
    const float scale = 1.0f / sqrtf((float)a->dk);
    float *scratch = natsl_stage_scratch(&cx->stage, omp_get_thread_num());
    for (size_t k0 = 0; k0 < count; k0 += NATSL_ATTN_KEYS) {
        const size_t k = count - k0 < NATSL_ATTN_KEYS ? count - k0 : NATSL_ATTN_KEYS;
        const int64_t hidden = a->window > 0 ? cx->position + 1 - a->window - begin - (int64_t)k0 : 0;
        /* To attn_block rows are tokens, each of which sees one key less at the window's side; here all are the same token. */
        const size_t at_once = hidden > 0 ? 1 : heads;
        for (size_t i = h; i < h + heads; i += at_once)
            cx->stage.kernels->attn_block(at_once, k, a->dk, a->dv, qa + i * a->dk, a->dk, keys + k0, a->chunk,
                                          values + k0 * ldv, ldv, scale, -1,
                                          hidden > 0 ? (ptrdiff_t)hidden : NATSL_ATTN_ALL, to.top + i, to.sum + i, 1,
                                          to.acc + i * a->dv, a->dv, scratch);
    }
}

/** Softmaxes of heads [h, h + heads), fresh. */
static void softmax_clear(const natsl_attn_shape *a, size_t h, size_t heads, softmax s)
{
    for (size_t i = h; i < h + heads; i++) s.top[i] = -INFINITY, s.sum[i] = 0.0f;
    memset(s.acc + h * a->dv, 0, heads * a->dv * sizeof(float));
}

/** Those of `from` into those of `to`. */
static void softmax_merge(const natsl_context *cx, const natsl_attn_shape *a, size_t h, size_t heads, softmax from,
                          softmax to)
{
    for (size_t i = h; i < h + heads; i++)
        cx->stage.kernels->attn_merge(1, a->dv, to.top + i, to.sum + i, 1, to.acc + i * a->dv, a->dv, from.top + i,
                                      from.sum + i, 1, from.acc + i * a->dv, a->dv);
}

/** Parts in which `units` kept units are attended to. It follows from the units alone: the same bits with any number of threads. */
static size_t parts_of(int64_t units)
{
    const int64_t parts = (units + PART_UNITS - 1) / PART_UNITS;
    return (size_t)(parts < 1 ? 1 : parts < PARTS ? parts : PARTS);
}

/** This rank's kept units of `layer` into softmaxes of the queries qa, which it clears first. A unit is read once for all heads that
 * share its keys; few heads with many units are in parts, for as many threads. */
static void attend_own_units(natsl_context *cx, int layer, const float *qa, softmax to)
{
    const natsl_kept *kept = &cx->kept[layer];
    const natsl_attn_shape *a = &natsl_layer_of(cx, layer)->shape.attn;
    const size_t sharing = natsl_attn_sharing(a), in_group = natsl_attn_group(a) / sharing;
    const int64_t first = natsl_attn_first_chunk(a, cx->position);
#pragma omp parallel for schedule(dynamic, 1) num_threads(cx->options.threads)
    for (size_t task = 0; task < a->kv_heads * PARTS; task++) {
        const size_t key_head = task / PARTS, part = task % PARTS, h = key_head * sharing;
        const int n = (int)(key_head / in_group);
        const natsl_kept_list *list = &kept->lists[n];
        const int64_t begin = natsl_kept_before(list->chunks, list->count, first), units = list->count - begin;
        const size_t parts = parts_of(units);
        const softmax into = part == 0 ? to : softmax_at(a, cx->next.parts + (part - 1) * partial_floats(a));
        if (part >= parts) continue;
        softmax_clear(a, h, sharing, into);
        for (int64_t i = begin + units * (int64_t)part / (int64_t)parts;
             i < begin + units * (int64_t)(part + 1) / (int64_t)parts; i++) {
            const float *keys = natsl_unit_head(&cx->stage, a, natsl_kept_unit(kept, n, i), key_head % in_group,
                                                natsl_stage_room(&cx->stage, omp_get_thread_num()));
            attend_keys(cx, a, h, sharing, list->chunks[i] * (int64_t)a->chunk, a->chunk, qa, keys,
                        keys + a->chunk * a->dk, a->dv, into);
        }
    }
    for (size_t key_head = 0; key_head < a->kv_heads; key_head++) {
        const natsl_kept_list *list = &kept->lists[key_head / in_group];
        const size_t parts = parts_of(list->count - natsl_kept_before(list->chunks, list->count, first));
        for (size_t part = 1; part < parts; part++)
            softmax_merge(cx, a, key_head * sharing, sharing,
                          softmax_at(a, cx->next.parts + (part - 1) * partial_floats(a)), to);
    }
}

/** Softmax over the open chunk's rows 0..row, into t->top, sum, oa. */
static void attend_open(natsl_context *cx, const natsl_shape *shape, const float *tail, size_t row, token_rows *t)
{
    const natsl_tail_layout *tl = &shape->tail;
    const natsl_attn_shape *a = &shape->attn;
    const size_t sharing = natsl_attn_sharing(a);
    const softmax to = {t->top, t->sum, t->oa};
#pragma omp parallel for schedule(static) num_threads(cx->options.threads)
    for (size_t i = 0; i < a->kv_heads; i++)
        attend_keys(cx, a, i * sharing, sharing, cx->position - (int64_t)row, row + 1, t->qa,
                    tail + tl->ka + i * a->dk * a->chunk, tail + tl->va + i * a->dv, a->vd, to);
}

/** Sets next.shown, equal on all ranks, and says whether a rank other than the owner has some of those units. */
static int find_units(natsl_context *cx, int layer)
{
    int64_t *shown = cx->next.shown, others = 0;
    memset(shown, 0, (size_t)cx->size * sizeof *shown);
    if (!natsl_layer_keeps(cx, layer)) return 0;
    natsl_kept_shown(&cx->kept[layer], natsl_attn_first_chunk(&natsl_layer_of(cx, layer)->shape.attn, cx->position),
                     cx->position / cx->config->chunk, shown);
    for (int r = 0; r < cx->size; r++) others += r != cx->owner ? shown[r] : 0;
    return others > 0;
}

/** Partial softmaxes of all ranks that hold units which the token sees, from their messages into the open chunk's. On the owner. */
static void merge_partials(natsl_context *cx, int layer, float *messages, token_rows *t)
{
    const natsl_attn_shape *a = &natsl_layer_of(cx, layer)->shape.attn;
    const softmax to = {t->top, t->sum, t->oa};
    for (int r = 0; r < cx->size; r++) {
        if (cx->next.shown[r] == 0) continue;
        softmax_merge(cx, a, 0, a->heads, softmax_at(a, messages + cx->next.starts[r] + cx->next.gates[r].count), to);
    }
    for (size_t h = 0; h < a->heads; h++)
        cx->stage.kernels->attn_finish(1, a->dv, t->sum + h, 1, t->oa + h * a->dv, a->dv);
}

/* ---- the parts of a layer ---------------------------------------------------------------------------------------------- */

/** Attention's queries, keys and values from a projected row `from`; they join the open chunk. On the owner. */
static void attention_row(natsl_context *cx, int layer, size_t row, float *from, token_rows *t)
{
    const natsl_layer *w = natsl_layer_of(cx, layer);
    const natsl_attn_shape *a = &w->shape.attn;
    const natsl_tail_layout *tl = &w->shape.tail;
    float *tail = cx->tails[layer];
    natsl_attn_rows(cx->stage.kernels, w, 1, cx->position, from, cx->stage.n_in, t->qa, t->ka);
    for (size_t i = 0; i < a->kd; i++) tail[tl->ka + i * a->chunk + row] = t->ka[i];
    memcpy(tail + tl->va + row * a->vd, from + a->v_at, a->vd * sizeof(float));
}

/** From the input projection's row to attention's queries, keys and values; the token's rows join the open chunk. On the owner.
 * Leaves t->in as the two operations want it but for the unit norms. */
static void convolve(natsl_context *cx, int layer, size_t row, token_rows *t)
{
    const natsl_config *c = cx->config;
    const natsl_kernels *k = cx->stage.kernels;
    const natsl_layer *w = natsl_layer_of(cx, layer);
    const natsl_tail_layout *tl = &w->shape.tail;
    const size_t d = (size_t)c->hidden_size, n_in = cx->stage.n_in;
    const size_t channels = cx->stage.conv_channels, width = (size_t)c->conv_size, hv = (size_t)c->num_v_heads;
    float *tail = cx->tails[layer], *halo = tail + tl->halo;
    k->decay_beta(1, hv, t->in + channels, n_in, w->a_log, w->dt_bias, c->allow_neg_eigval, t->log_decay, t->beta);
    memcpy(t->raw, t->in, channels * sizeof(float));
    k->short_conv(1, channels, width, t->in, n_in, halo, w->conv);
    if (width > 1) {
        memmove(halo, halo + channels, (width - 2) * channels * sizeof(float));
        memcpy(halo + (width - 2) * channels, t->raw, channels * sizeof(float));
    }
    if (w->shape.kind == NATSL_LAYER_GDN) return;
    k->pool_add(1, d, t->xn, d, tail + tl->pool);
    attention_row(cx, layer, row, c->attn_with_short_conv ? t->in : t->raw, t);
}

/** Unit queries and keys of the delta rule; its rows join the open chunk. On the owner. */
static void unit_rows(natsl_context *cx, int layer, size_t row, token_rows *t)
{
    const natsl_config *c = cx->config;
    const natsl_kernels *k = cx->stage.kernels;
    const natsl_tail_layout *tl = &natsl_layer_of(cx, layer)->shape.tail;
    const size_t kd = (size_t)c->key_dim, vd = (size_t)c->value_dim, n_in = cx->stage.n_in, dk = (size_t)c->head_dim;
    const size_t hv = (size_t)c->num_v_heads;
    float *tail = cx->tails[layer];
    k->l2_norm(1, (size_t)c->num_heads, dk, t->in, n_in, 1.0f / sqrtf((float)dk), t->in, n_in);
    k->l2_norm(1, (size_t)c->num_heads, dk, t->in + kd, n_in, 1.0f, t->in + kd, n_in);
    memcpy(tail + tl->k + row * kd, t->in + kd, kd * sizeof(float));
    memcpy(tail + tl->v + row * vd, t->in + 2 * kd, vd * sizeof(float));
    memcpy(tail + tl->log_decay + row * hv, t->log_decay, hv * sizeof(float));
    memcpy(tail + tl->beta + row * hv, t->beta, hv * sizeof(float));
}

/** Delta rule on the current state. On the owner. */
static void step_state(natsl_context *cx, int layer, token_rows *t)
{
    const natsl_config *c = cx->config;
    const size_t kd = (size_t)c->key_dim, dk = (size_t)c->head_dim, dv = (size_t)c->head_v_dim;
    const size_t hv = (size_t)c->num_v_heads, per_key = hv / (size_t)c->num_heads;
    float *current = cx->tails[layer] + natsl_layer_of(cx, layer)->shape.tail.current;
#pragma omp parallel for schedule(static) num_threads(cx->options.threads)
    for (size_t h = 0; h < hv; h++) {
        cx->stage.kernels->delta_step(dk, dv, t->in + h / per_key * dk, t->in + kd + h / per_key * dk,
                                      t->in + 2 * kd + h * dv, t->log_decay[h], t->beta[h], current + h * dk * dv,
                                      t->o + h * dv);
    }
}

/** Everything that the owner does for the open chunk between convolution and mixing. */
static void operate(natsl_context *cx, int layer, size_t row, token_rows *t)
{
    const natsl_layer *w = natsl_layer_of(cx, layer);
    if (w->nats_out.data) product(cx, &w->nats_out, 0, natsl_panels(w->nats_out.n), t->in, t->mix);
    if (w->shape.kind != NATSL_LAYER_ATTN) {
        unit_rows(cx, layer, row, t);
        lap(cx, NATSL_PHASE_CONV);
        step_state(cx, layer, t);
        lap(cx, NATSL_PHASE_STATE);
    }
    if (w->shape.kind == NATSL_LAYER_GDN) return;
    softmax_clear(&w->shape.attn, 0, w->shape.attn.heads, (softmax){t->top, t->sum, t->oa});
    attend_open(cx, &w->shape, cx->tails[layer], row, t);
    lap(cx, NATSL_PHASE_ATTEND);
}

/** What every rank does besides its panels of the output gate, in outputs of it. */
static const int64_t *loads(natsl_context *cx, int layer, size_t row)
{
    const natsl_config *c = cx->config;
    const natsl_attn_shape *a = &natsl_layer_of(cx, layer)->shape.attn;
    const natsl_matrix *g = &natsl_layer_of(cx, layer)->g_proj;
    const int64_t output = (int64_t)(g->k * natsl_storage_bytes(g->type));
    const int64_t state = (int64_t)c->num_v_heads * c->head_dim * c->head_v_dim;
    const int64_t conv = (int64_t)cx->stage.conv_channels * CONV_COST;
    const int64_t open = ((int64_t)row + 1) * (int64_t)(a->kd + a->vd);
    const int64_t unit = (int64_t)natsl_unit_numbers(a);
    const int nats = natsl_layer_keeps(cx, layer);
    for (int r = 0; r < cx->size; r++) {
        const int64_t own = r == cx->owner ? conv + state * STATE_COST + (nats ? open * KEPT_COST : 0) : 0;
        cx->next.load[r] = (own + cx->next.shown[r] * unit * KEPT_COST) / output;
    }
    return cx->next.load;
}

/** A rank's message to the owner: its part of the output gate (the owner's own stays in place), then its partial softmax if it
 * holds units that the token sees. From the shares of g_proj to next.counts and starts of the messages; the gate's: next.gates. */
static void lay_out_messages(natsl_context *cx, const natsl_attn_shape *a, int gate)
{
    natsl_next *next = &cx->next;
    int total = 0;
    for (int r = 0; r < cx->size; r++) {
        next->gates[r] = (natsl_span){gate ? next->starts[r] : 0, gate && r != cx->owner ? next->counts[r] : 0};
        next->counts[r] = next->gates[r].count + (next->shown[r] ? (int)partial_floats(a) : 0);
        next->starts[r] = total;
        total += next->counts[r];
    }
}

/** Kept units and the output gate, on all ranks; on the owner t->gate and, merged, t->oa. Other ranks with units have the
 * queries in t->qa. */
static void attend_and_gate(natsl_context *cx, int layer, size_t row, token_rows *t)
{
    const natsl_layer *w = natsl_layer_of(cx, layer);
    const natsl_attn_shape *a = &w->shape.attn;
    natsl_next *next = &cx->next;
    const int mine = is_owner(cx), gate = w->g_proj.data != NULL;
    if (gate) {
        product_share(cx, &w->g_proj, loads(cx, layer, row), t->xn, t->gate);
        lap(cx, NATSL_PHASE_PROJECT);
    }
    lay_out_messages(cx, a, gate);
    const natsl_span own = next->gates[cx->rank];
    float *message = next->message + (mine ? next->starts[cx->rank] : 0);
    memcpy(message, t->gate + own.start, (size_t)own.count * sizeof(float));
    if (next->shown[cx->rank]) {
        attend_own_units(cx, layer, t->qa, softmax_at(a, message + own.count));
        lap(cx, NATSL_PHASE_ATTEND);
    }
    if (next->starts[cx->size - 1] + next->counts[cx->size - 1] > 0) gather_on_owner(cx, message, next->message);
    if (!mine) return;
    for (int r = 0; r < cx->size; r++) {
        const natsl_span g = next->gates[r];
        memcpy(t->gate + g.start, next->message + next->starts[r], (size_t)g.count * sizeof(float));
    }
    if (natsl_layer_keeps(cx, layer)) merge_partials(cx, layer, next->message, t);
    lap(cx, NATSL_PHASE_MIX);
}

/** The answers become one row, t->o. On the owner. */
static void mix(natsl_context *cx, int layer, token_rows *t)
{
    const natsl_config *c = cx->config;
    const natsl_kernels *k = cx->stage.kernels;
    const natsl_layer *w = natsl_layer_of(cx, layer);
    const natsl_attn_shape *a = &w->shape.attn;
    const size_t vd = (size_t)c->value_dim, heads = (size_t)c->num_v_heads, dv = (size_t)c->head_v_dim;
    const float *gate = w->g_proj.data ? t->gate : NULL;
    switch (w->shape.kind) {
    case NATSL_LAYER_GDN: k->gated_norm(1, heads, dv, t->o, vd, w->o_norm, c->norm_eps, gate, vd, t->o, vd); break;
    case NATSL_LAYER_NATS:
        k->nats_mix(1, heads, dv, a->heads, a->dv, t->o, vd, t->oa, vd, w->o_norm1, w->o_norm2, c->norm_eps,
                    gate ? t->mix : NULL, 2 * a->heads, gate, vd, t->o, vd);
        break;
    case NATSL_LAYER_ATTN:
        if (a->gated) k->sigmoid_gate(1, a->heads, a->dv, t->oa, a->od, t->in + a->dk, 0, a->q_step, t->o, a->od);
        else memcpy(t->o, t->oa, a->od * sizeof(float));
        break;
    }
    lap(cx, NATSL_PHASE_MIX);
}

/** y = W x on all ranks. */
static void product_on_all(natsl_context *cx, const natsl_matrix *w, const float *x, float *y, natsl_phase phase)
{
    product_share(cx, w, NULL, x, y);
    lap(cx, phase);
    gather_on_all(cx, y);
}

/** Output projection and feed-forward, on all ranks. */
static void finish(natsl_context *cx, int layer, token_rows *t)
{
    const natsl_config *c = cx->config;
    const natsl_kernels *k = cx->stage.kernels;
    const natsl_layer *w = &cx->model->weights.layers[layer];
    const size_t d = (size_t)c->hidden_size, wide = (size_t)c->intermediate_size;
    product_on_all(cx, &w->o_proj, t->o, t->out, NATSL_PHASE_PROJECT);
    for (size_t i = 0; i < d; i++) t->x[i] += t->out[i];
    k->rms_norm(1, 1, d, t->x, d, w->mlp_norm, c->norm_eps, t->xn, d);
    product_on_all(cx, &w->w_gate_up, t->xn, t->wide, NATSL_PHASE_FEED_FORWARD);
    k->swiglu(1, wide, t->wide, 2 * wide, t->wide, 2 * wide);
    product_on_all(cx, &w->w_down, t->wide, t->out, NATSL_PHASE_FEED_FORWARD);
    for (size_t i = 0; i < d; i++) t->x[i] += t->out[i];
}

/* ---- a token ----------------------------------------------------------------------------------------------------------- */

natsl_status natsl_context_next(natsl_context *cx, int32_t token)
{
    const natsl_config *c = cx->config;
    if (token < 0 || token >= c->vocab_size)
        return natsl_fail(NATSL_ERR_USAGE, "token %d is outside the vocabulary, expected 0 to %d", token,
                          c->vocab_size - 1);
    const size_t row = (size_t)(cx->position % c->chunk), d = (size_t)c->hidden_size;
    const int mine = is_owner(cx), closes = (int64_t)row + 1 == c->chunk;
    const natsl_kernels *k = cx->stage.kernels;
    uint8_t *choices = cx->next.choices;
    token_rows t = rows_of(c, &cx->stage.most, cx->next.rows);
    natsl_status st = NATSL_OK;
    cx->next.mark = natsl_now_s();
    natsl_task("generating");
    k->embed(1, &cx->model->weights.embeddings, &token, t.x, d);
    for (int l = 0; l < c->num_hidden_layers; l++) {
        const natsl_layer *w = natsl_layer_of(cx, l);
        const natsl_attn_shape *a = &w->shape.attn;
        natsl_at_layer(l);
        if (mine && row == 0 && w->shape.kind == NATSL_LAYER_NATS)
            memset(cx->tails[l] + w->shape.tail.pool, 0, d * sizeof(float));
        k->rms_norm(1, 1, d, t.x, d, w->attn_norm, c->norm_eps, t.xn, d);
        lap(cx, NATSL_PHASE_NORM);
        product_share(cx, &w->w_in, NULL, t.xn, t.in);
        lap(cx, NATSL_PHASE_PROJECT);
        gather_on_owner(cx, t.in + cx->next.starts[cx->rank], t.in);
        if (mine && w->shape.kind != NATSL_LAYER_ATTN) convolve(cx, l, row, &t);
        else if (mine) attention_row(cx, l, row, t.in, &t);
        lap(cx, NATSL_PHASE_CONV);
        if (find_units(cx, l)) broadcast_row(cx, t.qa, (int)a->qd);
        if (mine) operate(cx, l, row, &t);
        attend_and_gate(cx, l, row, &t);
        if (mine) mix(cx, l, &t);
        broadcast_row(cx, t.o, (int)w->o_proj.k);
        finish(cx, l, &t);
        if (mine && closes && st == NATSL_OK)
            st = natsl_chunk_close(cx, l, t.scores, choices + (size_t)l * cx->stage.most.groups);
        lap(cx, NATSL_PHASE_FEED_FORWARD);
    }
    k->rms_norm(1, 1, d, t.x, d, cx->model->weights.norm, c->norm_eps, cx->last_hidden, d);
    lap(cx, NATSL_PHASE_NORM);
    if (!natsl_all_finite(cx->last_hidden, d)) /* the same row on all ranks, so all say so */
        st =
            natsl_fail(NATSL_ERR_INPUT, "token %lld: values that are not finite, expected weights that do not overflow",
                       (long long)cx->position);
    if (closes) {
        st = natsl_chunk_note(cx, choices, st);
        lap(cx, NATSL_PHASE_WAIT);
    }
    if (st == NATSL_OK) cx->position++;
    return st;
}

natsl_status natsl_context_logits(natsl_context *cx, float *logits)
{
    if (cx->position == 0) return natsl_fail(NATSL_ERR_USAGE, "an empty context has no next token's scores");
    cx->next.mark = natsl_now_s();
    broadcast_row(cx, cx->last_hidden, cx->config->hidden_size);
    product_on_all(cx, &cx->model->weights.head, cx->last_hidden, logits, NATSL_PHASE_LOGITS);
    return NATSL_OK;
}
