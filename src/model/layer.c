/* layer.c - the phases of one layer over a stage. Which product has which shape follows from grid.h alone; which thread does
 * an item never changes its bits. Source: oracle.py mixer, forward. */
#include "stage.h"

#include "place.h"
#include <math.h>
#include <omp.h>
#include <string.h>

/** Scratch of the calling thread, cut into the parts that sizes_of counts. */
typedef struct parts {
    float *xn, *out;     /* [TILE, D] */
    float *y, *gate;     /* [TILE, stage->mixed] */
    float *wide;         /* [TILE, max(2I, NATSL_VOCAB_COLUMNS)] */
    float *top, *picked; /* [TILE] */
    double *sum;         /* [TILE] */
    float *own, *room;   /* kernels' scratch; a head of a kept unit */
} parts;

static parts parts_of(const natsl_stage *s)
{
    const natsl_config *c = s->config;
    const size_t d = (size_t)c->hidden_size, wide = 2 * (size_t)c->intermediate_size;
    parts p;
    p.own = natsl_stage_scratch(s, omp_get_thread_num());
    p.room = natsl_stage_room(s, omp_get_thread_num());
    p.xn = p.room + s->scratch_room;
    p.out = p.xn + NATSL_TILE * d;
    p.y = p.out + NATSL_TILE * d;
    p.gate = p.y + NATSL_TILE * s->mixed;
    p.wide = p.gate + NATSL_TILE * s->mixed;
    p.top = p.wide + NATSL_TILE * (wide > NATSL_VOCAB_COLUMNS ? wide : NATSL_VOCAB_COLUMNS);
    p.picked = p.top + NATSL_TILE;
    p.sum = (double *)(void *)(p.picked + NATSL_TILE);
    return p;
}

/* Every item of a parallel region adds its time to its thread's clock: start, then a lap after each part. */
static double clock_now(const natsl_stage *s) { return s->thread_time ? natsl_thread_s() : natsl_now_s(); }

static void clock_start(natsl_stage *s) { s->clocks[omp_get_thread_num()].mark = clock_now(s); }

static void clock_lap(natsl_stage *s, natsl_phase phase)
{
    natsl_clock *c = &s->clocks[omp_get_thread_num()];
    const double now = clock_now(s);
    c->s[phase] += now - c->mark;
    c->mark = now;
    natsl_worked();
}

/** All of x W^T for a tile. */
static void product(const natsl_stage *s, const parts *p, size_t rows, const natsl_matrix *w, const float *x,
                    size_t ldx, float *y, size_t ldy)
{
    s->kernels->linear(rows, w, 0, natsl_panels(w->n), x, ldx, y, ldy, 0, p->own);
}

/** Normed rows of a tile in p->xn, in the tile's product shape: rows of other ranks are zero. Returns the row count. */
static size_t norm_tile(const natsl_stage *s, const natsl_tile *t, const float *x, const float *w, float *xn)
{
    const size_t d = (size_t)s->config->hidden_size, rows = (size_t)(t->end - t->begin);
    const size_t before = (size_t)(t->first - t->begin), own = (size_t)(t->last - t->first);
    memset(xn, 0, before * d * sizeof(float));
    s->kernels->rms_norm(own, 1, d, x + (size_t)(t->first - s->first) * d, d, w, s->config->norm_eps, xn + before * d,
                         d);
    memset(xn + (before + own) * d, 0, (rows - before - own) * d * sizeof(float));
    return rows;
}

void natsl_stage_project(natsl_stage *s, const natsl_layer *layer, const float *x)
{
    const double start = natsl_now_s();
    const size_t d = (size_t)s->config->hidden_size;
    natsl_at(natsl_phase_names[NATSL_PHASE_PROJECT]);
#pragma omp parallel for schedule(dynamic, 1) num_threads(s->threads)
    for (size_t i = 0; i < s->n_tiles; i++) {
        const natsl_tile *t = &s->tiles[i];
        const parts p = parts_of(s);
        clock_start(s);
        const size_t rows = norm_tile(s, t, x, layer->attn_norm, p.xn);
        clock_lap(s, NATSL_PHASE_NORM);
        product(s, &p, rows, &layer->w_in, p.xn, d, s->qkv + (size_t)(t->begin - s->base) * s->n_in, s->n_in);
        clock_lap(s, NATSL_PHASE_PROJECT);
    }
    s->regions_s += natsl_now_s() - start;
}

void natsl_gate_noise_of(const natsl_gate_noise *noise, size_t heads, int64_t chunk, float *out)
{
    for (size_t h = 0; h < heads; h++) {
        uint64_t z = noise->stream + ((uint64_t)chunk * heads + h + 1) * 0x9e3779b97f4a7c15u; /* splitmix64 */
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
        const double u = ((double)((z ^ (z >> 31)) >> 11) + 0.5) * 0x1p-53; /* in (0,1) */
        out[h] = (float)log(u / (1.0 - u)); /* the difference of two Gumbel numbers is logistic */
    }
}

void natsl_stage_gate(natsl_stage *s, const natsl_layer *layer, const float *x, const float *pool_in,
                      natsl_route_kind route)
{
    const natsl_config *c = s->config;
    const double start = natsl_now_s();
    const size_t d = (size_t)c->hidden_size, heads = (size_t)c->num_nats_head;
    const int64_t chunk = s->grid.chunk;
    if (layer->shape.kind == NATSL_LAYER_GDN) return;
    if (layer->shape.kind == NATSL_LAYER_ATTN) {
        const size_t groups = layer->shape.attn.groups;
        for (int64_t j = 0; j < s->n_chunks; j++)
            memset(s->keep + (size_t)j * groups, (s->chunk0 + j + 1) * chunk <= s->last, groups);
        return;
    }
    natsl_at(natsl_phase_names[NATSL_PHASE_GATE]);
#pragma omp parallel for schedule(static) num_threads(s->threads)
    for (int64_t j = 0; j < s->n_chunks; j++) {
        const parts p = parts_of(s);
        float *sum = p.out;
        clock_start(s);
        const int64_t begin = natsl_max64((s->chunk0 + j) * chunk, s->first);
        const int64_t end = natsl_min64((s->chunk0 + j + 1) * chunk, s->last);
        if (j == 0 && pool_in) memcpy(sum, pool_in, d * sizeof(float));
        else memset(sum, 0, d * sizeof(float));
        for (int64_t t = begin; t < end; t += NATSL_TILE) { /* the normed rows, in pieces that fit the scratch */
            const size_t m = (size_t)natsl_min64(NATSL_TILE, end - t);
            s->kernels->rms_norm(m, 1, d, x + (size_t)(t - s->first) * d, d, layer->attn_norm, c->norm_eps, p.xn, d);
            s->kernels->pool_add(m, d, p.xn, d, sum);
        }
        uint8_t *keep = s->keep + (size_t)j * heads;
        if (end < (s->chunk0 + j + 1) * chunk) { /* still open: no choice yet */
            memcpy(s->pool, sum, d * sizeof(float));
            memset(keep, 0, heads);
            clock_lap(s, NATSL_PHASE_GATE);
            continue;
        }
        s->kernels->gate_choose(heads, d, sum, (size_t)chunk, layer->nats, p.wide, keep);
        if (s->noise.temperature > 0.0) {
            float *noise = p.wide + 2 * heads; /* room for 2*intermediate_size floats and more */
            natsl_gate_noise_of(&s->noise, heads, s->chunk0 + j, noise);
            for (size_t h = 0; h < heads; h++) keep[h] = p.wide[2 * h] + noise[h] >= p.wide[2 * h + 1];
        }
        if (route != NATSL_ROUTE_LEARNED) memset(keep, route == NATSL_ROUTE_SOFTMAX, heads);
        clock_lap(s, NATSL_PHASE_GATE);
    }
    s->regions_s += natsl_now_s() - start;
}

/** Raw rows before every tile: tails[i] holds the conv_size-1 rows before tile i. */
static void collect_tails(natsl_stage *s, const float *halo)
{
    const size_t width = (size_t)s->config->conv_size - 1, channels = s->conv_channels, one = width * channels;
    memcpy(s->tails, halo, one * sizeof(float));
    for (size_t i = 0; i + 1 < s->n_tiles; i++) {
        const natsl_tile *t = &s->tiles[i];
        const size_t have = (size_t)(t->last - t->first), own = have < width ? have : width;
        const float *before = s->tails + i * one;
        float *to = s->tails + (i + 1) * one;
        memcpy(to, before + own * channels, (width - own) * channels * sizeof(float));
        for (size_t k = 0; k < own; k++) {
            const size_t row = (size_t)(t->last - s->base) - own + k;
            memcpy(to + (width - own + k) * channels, s->qkv + row * s->n_in, channels * sizeof(float));
        }
    }
}

/** Keys of rows [row, row+m) (from [m, kd]) to their places, chunk by chunk turned over. */
static void place_keys(natsl_stage *s, size_t kd, size_t row, size_t m, const float *from)
{
    const size_t chunk = (size_t)s->grid.chunk;
    const size_t lead = (size_t)(s->chunk0 * s->grid.chunk - s->base); /* rows before the run's first chunk */
    for (size_t i = 0, n; i < m; i += n) {
        const size_t in = row + i - lead, column = in % chunk;
        n = chunk - column < m - i ? chunk - column : m - i;
        natsl_transpose(n, kd, from + i * kd, kd, s->ka + in / chunk * kd * chunk + column, chunk);
    }
}

void natsl_attn_rows(const natsl_kernels *k, const natsl_layer *layer, size_t m, int64_t position, float *from,
                     size_t ld, float *q, float *keys)
{
    const natsl_attn_shape *a = &layer->shape.attn;
    const struct {
        const float *from, *w;
        size_t heads, step;
        float *to;
    } both[2] = {{from, layer->q_norm, a->heads, a->q_step, q},
                 {from + a->k_at, layer->k_norm, a->kv_heads, a->dk, keys}};
    for (size_t r = 0; layer->bias && r < m; r++) {
        for (size_t i = 0; i < layer->shape.n_in; i++) from[r * ld + i] += layer->bias[i];
    }
    for (int i = 0; i < 2; i++) {
        const size_t width = both[i].heads * a->dk,
                     run = both[i].step == a->dk ? both[i].heads : 1; /* adjacent heads */
        for (size_t h = 0; h < both[i].heads; h += run) {
            const float *source = both[i].from + h * both[i].step;
            float *to = both[i].to + h * a->dk;
            if (both[i].w) k->rms_norm(m, run, a->dk, source, ld, both[i].w, a->norm_eps, to, width);
            for (size_t r = 0; !both[i].w && r < m; r++)
                memcpy(to + r * width, source + r * ld, run * a->dk * sizeof(float));
        }
        if (a->rotary) k->rotary(m, both[i].heads, a->dk, a->rotary, both[i].to, width, position, a->theta);
    }
}

/** Queries, keys and values of attention for rows [row, row+m), from the columns of qkv as they are now. */
static void attention_rows(natsl_stage *s, const natsl_layer *layer, const parts *p, size_t row, size_t m)
{
    const natsl_attn_shape *a = &layer->shape.attn;
    float *from = s->qkv + row * s->n_in;
    natsl_attn_rows(s->kernels, layer, m, s->base + (int64_t)row, from, s->n_in, s->qa + row * a->qd, p->own);
    place_keys(s, a->kd, row, m, p->own);
    if (layer->shape.kind == NATSL_LAYER_ATTN || s->config->attn_with_short_conv) return;
    for (size_t r = 0; r < m; r++)
        memcpy(s->va + (row + r) * a->vd, from + r * s->n_in + a->v_at, a->vd * sizeof(float));
}

/** Convolution, gates and head norms of one tile. */
static void local_tile(natsl_stage *s, const natsl_layer *layer, size_t index)
{
    const natsl_config *c = s->config;
    const natsl_tile *t = &s->tiles[index];
    const size_t kd = (size_t)c->key_dim, heads = (size_t)c->num_v_heads, width = (size_t)c->conv_size;
    const size_t row = (size_t)(t->first - s->base), m = (size_t)(t->last - t->first);
    float *rows = s->qkv + row * s->n_in;
    const parts p = parts_of(s);
    const int nats = layer->shape.kind == NATSL_LAYER_NATS;
    clock_start(s);
    if (layer->shape.kind == NATSL_LAYER_ATTN) {
        attention_rows(s, layer, &p, row, m);
        clock_lap(s, NATSL_PHASE_CONV);
        return;
    }
    s->kernels->decay_beta(m, heads, rows + s->conv_channels, s->n_in, layer->a_log, layer->dt_bias,
                           c->allow_neg_eigval, s->log_decay + row * heads, s->beta + row * heads);
    if (nats && !c->attn_with_short_conv) attention_rows(s, layer, &p, row, m);
    s->kernels->short_conv(m, s->conv_channels, width, rows, s->n_in, s->tails + index * (width - 1) * s->conv_channels,
                           layer->conv);
    if (nats) {
        if (c->attn_with_short_conv) attention_rows(s, layer, &p, row, m);
        if (c->use_gate) {
            const size_t begin = (size_t)(t->begin - s->base), n = 2 * (size_t)c->num_attn_heads;
            product(s, &p, (size_t)(t->end - t->begin), &layer->nats_out, s->qkv + begin * s->n_in, s->n_in,
                    s->mix + begin * n, n);
        }
    }
    const size_t dk = (size_t)c->head_dim, key_heads = (size_t)c->num_heads;
    s->kernels->l2_norm(m, key_heads, dk, rows, s->n_in, 1.0f / sqrtf((float)dk), rows, s->n_in);
    s->kernels->l2_norm(m, key_heads, dk, rows + kd, s->n_in, 1.0f, rows + kd, s->n_in);
    clock_lap(s, NATSL_PHASE_CONV);
}

/** What attn_block's `hidden` is for queries from token q0 on and keys from token k0 on. */
static ptrdiff_t hidden_from(const natsl_attn_shape *a, int64_t q0, int64_t k0)
{
    return a->window > 0 ? (ptrdiff_t)(q0 + 1 - a->window - k0) : NATSL_ATTN_ALL;
}

/** Softmax inside one chunk for query head h: rows of the stage's tokens see their own chunk's rows up to themselves. */
static void own_chunk(natsl_stage *s, const natsl_layer *layer, int64_t chunk, size_t h)
{
    const natsl_attn_shape *a = &layer->shape.attn;
    const size_t heads = a->heads, dk = a->dk, dv = a->dv, key_head = h / natsl_attn_sharing(a);
    const int64_t begin = (s->chunk0 + chunk) * s->grid.chunk, end = natsl_min64(begin + s->grid.chunk, s->last);
    const float *keys = s->ka + ((size_t)chunk * a->kd + key_head * dk) * a->chunk;
    size_t ldv;
    const float *values = natsl_stage_values(s, layer, (size_t)(begin - s->base), &ldv) + key_head * dv;
    const float scale = 1.0f / sqrtf((float)dk);
    const parts p = parts_of(s);
    for (int64_t q0 = natsl_max64(begin, s->first), q1; q0 < end; q0 = q1) {
        /* Query rows advance in steps aligned to the chunk, so that a cut inside a chunk keeps the key blocks. */
        q1 = natsl_min64(begin + ((q0 - begin) / NATSL_TILE + 1) * NATSL_TILE, end);
        const size_t row = (size_t)(q0 - s->base), m = (size_t)(q1 - q0);
        float *top = s->top + row * heads + h, *sum = s->sum + row * heads + h, *acc = s->oa + row * a->od + h * dv;
        for (size_t i = 0; i < m; i++) {
            top[i * heads] = -INFINITY;
            sum[i * heads] = 0.0f;
            memset(acc + i * a->od, 0, dv * sizeof(float));
        }
        for (int64_t k0 = begin; k0 < q1; k0 += NATSL_ATTN_KEYS) {
            const int64_t k1 = natsl_min64(k0 + NATSL_ATTN_KEYS, q1);
            s->kernels->attn_block(m, (size_t)(k1 - k0), dk, dv, s->qa + row * a->qd + h * dk, a->qd,
                                   keys + (k0 - begin), a->chunk, values + (size_t)(k0 - begin) * ldv, ldv, scale,
                                   k1 <= q0 ? -1 : (ptrdiff_t)(q0 - k0), hidden_from(a, q0, k0), top, sum, heads, acc,
                                   a->od, p.own);
        }
    }
}

/** Delta-rule blocks of one chunk and value head. */
static void prepare_chunk(natsl_stage *s, int64_t chunk, size_t h)
{
    const natsl_config *c = s->config;
    const size_t heads = (size_t)c->num_v_heads, dk = (size_t)c->head_dim, kd = (size_t)c->key_dim;
    const size_t key_head = h / (heads / (size_t)c->num_heads);
    const int64_t begin = (s->chunk0 + chunk) * s->grid.chunk, end = natsl_min64(begin + s->grid.chunk, s->last);
    const parts p = parts_of(s);
    for (int64_t b = begin; b < end; b += NATSL_DELTA_BLOCK) {
        const size_t row = (size_t)(b - s->base), m = (size_t)natsl_min64(NATSL_DELTA_BLOCK, end - b);
        const float *q = s->qkv + row * s->n_in + key_head * dk;
        const size_t at = h * s->capacity + row;
        s->kernels->delta_prepare(m, dk, q, s->n_in, q + kd, s->n_in, s->log_decay + row * heads + h,
                                  s->beta + row * heads + h, heads, s->g + at, s->t + at * NATSL_DELTA_BLOCK,
                                  s->a + at * NATSL_DELTA_BLOCK, p.own);
    }
}

void natsl_stage_local(natsl_stage *s, const natsl_layer *layer, const float *halo)
{
    const double start = natsl_now_s();
    const natsl_attn_shape *a = &layer->shape.attn;
    const int delta = layer->shape.kind != NATSL_LAYER_ATTN;
    const int64_t v_heads = delta ? s->config->num_v_heads : 0, a_heads = (int64_t)a->heads;
    if (delta) collect_tails(s, halo);
    s->seconds[NATSL_PHASE_CONV] += natsl_now_s() - start;
    const double region = natsl_now_s();
    natsl_at(natsl_phase_names[NATSL_PHASE_LOCAL]);
#pragma omp parallel num_threads(s->threads)
    {
#pragma omp for schedule(dynamic, 1)
        for (size_t i = 0; i < s->n_tiles; i++) local_tile(s, layer, i);
#pragma omp for schedule(dynamic, 4)
        for (int64_t i = 0; i < s->n_chunks * (v_heads + a_heads); i++) {
            const int64_t chunk = i / (v_heads + a_heads), h = i % (v_heads + a_heads);
            clock_start(s);
            if (h < v_heads) prepare_chunk(s, chunk, (size_t)h);
            else own_chunk(s, layer, chunk, (size_t)(h - v_heads));
            clock_lap(s, h < v_heads ? NATSL_PHASE_LOCAL : NATSL_PHASE_ATTEND);
        }
    }
    s->regions_s += natsl_now_s() - region;
    /* Rows of other ranks in shared tiles take part in products: they must be finite, and stay so. */
    for (size_t i = 0; layer->shape.kind != NATSL_LAYER_GDN && i < s->n_tiles; i++) {
        const natsl_tile *t = &s->tiles[i];
        for (int64_t r = t->begin; r < t->end; r++) {
            if (r == t->first) r = t->last;
            if (r >= t->end) break;
            const size_t row = (size_t)(r - s->base);
            for (size_t h = 0; h < a->heads; h++) s->top[row * a->heads + h] = 0.0f, s->sum[row * a->heads + h] = 1.0f;
            memset(s->qa + row * a->qd, 0, a->qd * sizeof(float));
            memset(s->oa + row * a->od, 0, a->od * sizeof(float));
        }
    }
}

/** Carries columns [c0, c0+n) of value head h's state through the run's chunks. */
static void state_columns(natsl_stage *s, const natsl_layer *layer, size_t h, size_t c0, size_t n, float *state,
                          float *current)
{
    const natsl_config *c = s->config;
    const size_t heads = (size_t)c->num_v_heads, dk = (size_t)c->head_dim, dv = (size_t)c->head_v_dim;
    const size_t kd = (size_t)c->key_dim, vd = (size_t)c->value_dim, n_in = s->n_in;
    const size_t key_head = h / (heads / (size_t)c->num_heads);
    const int nats = layer->shape.kind == NATSL_LAYER_NATS;
    const size_t nats_head = nats ? h / (heads / (size_t)c->num_nats_head) : 0;
    const parts p = parts_of(s);
    int open = 0;
    for (int64_t j = 0; j < s->n_chunks; j++) {
        const int64_t begin = (s->chunk0 + j) * s->grid.chunk, full = begin + s->grid.chunk;
        const int64_t end = natsl_min64(full, s->last);
        const int kept = nats && s->keep[(size_t)j * (size_t)c->num_nats_head + nats_head];
        open = end < full;
        /* A chunk that stays out of the state, or is not known yet, works on `current` and leaves `state` alone. */
        float *to = kept || open ? current : state;
        const float *from = state;
        float total = 0.0f;
        for (int64_t b = begin; b < end; b += NATSL_DELTA_BLOCK) {
            const size_t row = (size_t)(b - s->base), m = (size_t)natsl_min64(NATSL_DELTA_BLOCK, end - b);
            const size_t first = (size_t)natsl_min64(natsl_max64(s->first - b, 0), (int64_t)m);
            const size_t at = h * s->capacity + row;
            const float *q = s->qkv + row * n_in + key_head * dk;
            s->kernels->delta_apply(m, first, dk, n, q, n_in, q + kd, n_in, s->qkv + row * n_in + 2 * kd + h * dv + c0,
                                    n_in, s->g + at, s->t + at * NATSL_DELTA_BLOCK, s->a + at * NATSL_DELTA_BLOCK, from,
                                    kept && end - b <= NATSL_DELTA_BLOCK ? NULL : to, dv,
                                    s->o + (row + first) * vd + h * dv + c0, vd, p.own);
            total += s->g[at + m - 1];
            from = to;
        }
        if (kept && c->decay_for_non_gdn_blocks) {
            const float decay = expf(total);
            for (size_t i = 0; i < dk; i++) {
                for (size_t k = 0; k < n; k++) state[i * dv + k] *= decay;
            }
        }
    }
    if (open) return;
    for (size_t i = 0; i < dk; i++) memcpy(current + i * dv, state + i * dv, n * sizeof(float));
}

void natsl_stage_state(natsl_stage *s, const natsl_layer *layer, size_t h0, size_t h1, float *state, float *current)
{
    const double start = natsl_now_s();
    const size_t dk = (size_t)s->config->head_dim, dv = (size_t)s->config->head_v_dim;
    const size_t blocks = (dv + NATSL_STATE_COLUMNS - 1) / NATSL_STATE_COLUMNS;
    natsl_at(natsl_phase_names[NATSL_PHASE_STATE]);
#pragma omp parallel for schedule(dynamic, 1) num_threads(s->threads)
    for (size_t i = h0 * blocks; i < h1 * blocks; i++) {
        const size_t h = i / blocks, c0 = i % blocks * NATSL_STATE_COLUMNS,
                     n = dv - c0 < NATSL_STATE_COLUMNS ? dv - c0 : NATSL_STATE_COLUMNS;
        clock_start(s);
        state_columns(s, layer, h, c0, n, state + h * dk * dv + c0, current + h * dk * dv + c0);
        clock_lap(s, NATSL_PHASE_STATE);
    }
    s->regions_s += natsl_now_s() - start;
}

/** Kept units of group n into the rows of one tile, for query head `q` of the group. */
static void attend_tile(natsl_stage *s, const natsl_layer *layer, const natsl_tile *t, size_t n, size_t q,
                        const float *units, int64_t count, const int64_t *chunks, int64_t first)
{
    const natsl_attn_shape *a = &layer->shape.attn;
    const size_t heads = a->heads, h = n * natsl_attn_group(a) + q, dk = a->dk, dv = a->dv, chunk = a->chunk;
    const size_t unit = natsl_unit_floats(a, s->kept);
    const float scale = 1.0f / sqrtf((float)dk);
    const parts p = parts_of(s);
    for (int64_t u = 0; u < count; u++) {
        /* Rows after the chunk see it, up to the window's end. The shape depends on the window that is read and its tile, not on
         * who owns its rows. */
        const int64_t begin = (chunks ? chunks[u] : first + u) * s->grid.chunk, after = begin + s->grid.chunk;
        const int64_t q0 = chunks ? natsl_max64(t->begin, after) : t->begin;
        const int64_t q1 = a->window > 0 ? natsl_min64(t->end, after + a->window - 1) : t->end;
        if (q0 >= t->last || q1 <= t->first) continue;
        const size_t row = (size_t)(q0 - s->base), m = (size_t)(q1 - q0);
        const float *keys = natsl_unit_head(s, a, units + (size_t)u * unit, q / natsl_attn_sharing(a), p.room);
        const float *values = keys + chunk * dk;
        for (size_t k0 = 0; k0 < chunk; k0 += NATSL_ATTN_KEYS) {
            const size_t k = chunk - k0 < NATSL_ATTN_KEYS ? chunk - k0 : NATSL_ATTN_KEYS;
            s->kernels->attn_block(m, k, dk, dv, s->qa + row * a->qd + h * dk, a->qd, keys + k0, chunk,
                                   values + k0 * dv, dv, scale, -1, hidden_from(a, q0, begin + (int64_t)k0),
                                   s->top + row * heads + h, s->sum + row * heads + h, heads,
                                   s->oa + row * a->od + h * dv, a->od, p.own);
        }
    }
}

void natsl_stage_attend(natsl_stage *s, const natsl_layer *layer, size_t n, const float *units, int64_t count,
                        const int64_t *chunks, int64_t first)
{
    const double start = natsl_now_s();
    const size_t group = natsl_attn_group(&layer->shape.attn);
    natsl_at(natsl_phase_names[NATSL_PHASE_ATTEND]);
#pragma omp parallel for schedule(dynamic, 1) num_threads(s->threads)
    for (size_t i = 0; i < s->n_tiles * group; i++) {
        clock_start(s);
        attend_tile(s, layer, &s->tiles[i / group], n, i % group, units, count, chunks, first);
        clock_lap(s, NATSL_PHASE_ATTEND);
    }
    s->regions_s += natsl_now_s() - start;
}

/** x[own rows] += rows of `out` (tile shape). */
static void add_rows(const natsl_stage *s, const natsl_tile *t, const float *out, float *x)
{
    const size_t d = (size_t)s->config->hidden_size, n = (size_t)(t->last - t->first) * d;
    const float *from = out + (size_t)(t->first - t->begin) * d;
    float *to = x + (size_t)(t->first - s->first) * d;
    for (size_t i = 0; i < n; i++) to[i] += from[i];
}

/** The two operations' answers as rows y [m, o_proj.k] of the tile's own tokens; gate: their output gate or NULL. */
static void mix_rows(natsl_stage *s, const natsl_layer *layer, size_t row, size_t m, const float *gate, float *y)
{
    const natsl_config *c = s->config;
    const natsl_kernels *k = s->kernels;
    const natsl_attn_shape *a = &layer->shape.attn;
    const size_t vd = (size_t)c->value_dim, dv = (size_t)c->head_v_dim, heads = (size_t)c->num_v_heads;
    float *o = s->o + row * vd, *oa = s->oa + row * a->od;
    for (size_t h = 0; h < a->heads; h++)
        k->attn_finish(m, a->dv, s->sum + row * a->heads + h, a->heads, oa + h * a->dv, a->od);
    switch (layer->shape.kind) {
    case NATSL_LAYER_GDN: k->gated_norm(m, heads, dv, o, vd, layer->o_norm, c->norm_eps, gate, vd, y, vd); break;
    case NATSL_LAYER_NATS:
        k->nats_mix(m, heads, dv, a->heads, a->dv, o, vd, oa, vd, layer->o_norm1, layer->o_norm2, c->norm_eps,
                    gate ? s->mix + row * 2 * a->heads : NULL, 2 * a->heads, gate, vd, y, vd);
        break;
    case NATSL_LAYER_ATTN:
        if (a->gated)
            k->sigmoid_gate(m, a->heads, a->dv, oa, a->od, s->qkv + row * s->n_in + a->dk, s->n_in, a->q_step, y,
                            a->od);
        else memcpy(y, oa, m * a->od * sizeof(float));
        break;
    }
}

static void finish_tile(natsl_stage *s, const natsl_layer *layer, const natsl_tile *t, float *x)
{
    const natsl_config *c = s->config;
    const natsl_kernels *k = s->kernels;
    const size_t d = (size_t)c->hidden_size, wide = (size_t)c->intermediate_size, width = layer->o_proj.k;
    const size_t before = (size_t)(t->first - t->begin), m = (size_t)(t->last - t->first);
    const size_t row = (size_t)(t->first - s->base), rows = (size_t)(t->end - t->begin);
    const parts p = parts_of(s);
    const float *gate = NULL;
    clock_start(s);
    if (layer->g_proj.data) {
        /* The rows are normed again: cheaper than keeping value_dim floats a row from the first projection to here. */
        norm_tile(s, t, x, layer->attn_norm, p.xn);
        clock_lap(s, NATSL_PHASE_NORM);
        product(s, &p, rows, &layer->g_proj, p.xn, d, p.gate, width);
        clock_lap(s, NATSL_PHASE_PROJECT);
        gate = p.gate + before * width;
    }
    memset(p.y, 0, before * width * sizeof(float));
    memset(p.y + (before + m) * width, 0, (rows - before - m) * width * sizeof(float));
    mix_rows(s, layer, row, m, gate, p.y + before * width);
    clock_lap(s, NATSL_PHASE_MIX);
    product(s, &p, rows, &layer->o_proj, p.y, width, p.out, d);
    add_rows(s, t, p.out, x);
    clock_lap(s, NATSL_PHASE_PROJECT);
    norm_tile(s, t, x, layer->mlp_norm, p.xn);
    clock_lap(s, NATSL_PHASE_NORM);
    product(s, &p, rows, &layer->w_gate_up, p.xn, d, p.wide, 2 * wide);
    k->swiglu(rows, wide, p.wide, 2 * wide, p.wide, 2 * wide);
    product(s, &p, rows, &layer->w_down, p.wide, 2 * wide, p.out, d);
    add_rows(s, t, p.out, x);
    if (!natsl_all_finite(x + (size_t)(t->first - s->first) * d, m * d)) {
#pragma omp atomic write
        s->overflow = 1;
    }
    clock_lap(s, NATSL_PHASE_FEED_FORWARD);
}

void natsl_stage_finish(natsl_stage *s, const natsl_layer *layer, float *x)
{
    const double start = natsl_now_s();
    natsl_at(natsl_phase_names[NATSL_PHASE_FEED_FORWARD]);
#pragma omp parallel for schedule(dynamic, 1) num_threads(s->threads)
    for (size_t i = 0; i < s->n_tiles; i++) finish_tile(s, layer, &s->tiles[i], x);
    s->regions_s += natsl_now_s() - start;
}

static void logits_tile(natsl_stage *s, const natsl_tile *t, const float *x, const int32_t *targets, float *logprobs,
                        float *hidden)
{
    const natsl_kernels *k = s->kernels;
    const size_t d = (size_t)s->config->hidden_size, vocab = (size_t)s->config->vocab_size;
    const size_t before = (size_t)(t->first - t->begin), m = (size_t)(t->last - t->first);
    const size_t at = (size_t)(t->first - s->first);
    const parts p = parts_of(s);
    clock_start(s);
    const size_t rows = norm_tile(s, t, x, s->weights->norm, p.xn);
    if (hidden) memcpy(hidden + at * d, p.xn + before * d, m * d * sizeof(float));
    clock_lap(s, NATSL_PHASE_NORM);
    if (!targets) return;
    for (size_t i = 0; i < m; i++) p.top[i] = -INFINITY, p.sum[i] = 0.0, p.picked[i] = 0.0f;
    const size_t panels = natsl_panels(vocab), step = NATSL_VOCAB_TILE / NATSL_PANEL;
    for (size_t p0 = 0; p0 < panels; p0 += step) {
        const size_t p1 = panels - p0 < step ? panels : p0 + step;
        const size_t v = p0 * NATSL_PANEL, n = natsl_panel_end(vocab, p1 - 1) - v;
        k->linear(rows, &s->weights->head, p0, p1, p.xn, d, p.wide, n, 0, p.own);
        k->lse_add(m, n, p.wide + before * n, n, v, targets + at, p.top, p.sum, p.picked);
    }
    for (size_t i = 0; i < m; i++) {
        const double log_p = (double)p.picked[i] - (double)p.top[i] - log(p.sum[i]);
        logprobs[at + i] = targets[at + i] >= 0 ? (float)log_p : 0.0f;
    }
    clock_lap(s, NATSL_PHASE_LOGITS);
}

void natsl_stage_logits(natsl_stage *s, const float *x, const int32_t *targets, float *logprobs, float *hidden)
{
    const double start = natsl_now_s();
    natsl_at(natsl_phase_names[NATSL_PHASE_LOGITS]);
#pragma omp parallel for schedule(dynamic, 1) num_threads(s->threads)
    for (size_t i = 0; i < s->n_tiles; i++) logits_tile(s, &s->tiles[i], x, targets, logprobs, hidden);
    s->regions_s += natsl_now_s() - start;
}
