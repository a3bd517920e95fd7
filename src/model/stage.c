/* stage.c - buffers and geometry of a stage, and the rows of an open chunk. Phases: layer.c. */
#include "stage.h"

#include <string.h>

const char *const natsl_phase_names[NATSL_PHASES] = {"norm",   "projections", "convolution", "gate",   "local",
                                                     "state",  "summary",     "attention",   "mixing", "feed-forward",
                                                     "logits", "idle",        "exchange",    "waiting"};

static size_t max_size(size_t a, size_t b) { return a > b ? a : b; }

void natsl_unit_put(natsl_storage kept, float *unit, size_t at, size_t count, const float *from)
{
    if (kept == NATSL_BF16) natsl_narrow(count, from, (uint16_t *)(void *)unit + at);
    else memcpy(unit + at, from, count * sizeof *from);
}

void natsl_unit_get(natsl_storage kept, const float *unit, size_t at, size_t count, float *to)
{
    if (kept == NATSL_BF16) natsl_widen(count, (const uint16_t *)(const void *)unit + at, to);
    else memcpy(to, unit + at, count * sizeof *to);
}

const float *natsl_unit_head(const natsl_stage *s, const natsl_attn_shape *a, const float *unit, size_t i, float *room)
{
    const size_t one = a->chunk * (a->dk + a->dv);
    if (s->kept == NATSL_F32) return unit + i * one;
    natsl_unit_get(s->kept, unit, i * one, one, room);
    return room;
}

/** Sizes of the buffers; one place for create, for the memory plan and for overflow checks. */
typedef struct stage_sizes {
    size_t rows, tiles, chunks, scratch;
    size_t own;        /* floats of scratch for a kernel */
    size_t room;       /* ... and for a head of a unit */
    size_t mixed;      /* of a row that goes into the output projection */
    size_t row_floats; /* floats per row of all [capacity, .] buffers */
    size_t bytes;
    int ok;
} stage_sizes;

static stage_sizes sizes_of(const natsl_config *c, int64_t tokens, int threads)
{
    const natsl_grid grid = natsl_grid_make(c->chunk);
    stage_sizes s = {.ok = 1};
    /* A shared tile adds rows of other ranks on both sides, an open chunk the rows before the window. */
    s.rows = (size_t)tokens + 2 * (size_t)grid.tile + (size_t)grid.chunk;
    s.tiles = s.rows / (size_t)natsl_min64(grid.tile, NATSL_TILE) + 4;
    if (grid.chunk > NATSL_TILE) s.tiles += s.rows / (size_t)grid.chunk + 2;
    s.chunks = s.rows / (size_t)grid.chunk + 2;
    const size_t kd = (size_t)c->key_dim, vd = (size_t)c->value_dim, heads = (size_t)c->num_v_heads;
    const size_t ha = (size_t)c->num_attn_heads, d = (size_t)c->hidden_size;
    const natsl_widths m = natsl_widths_of(c);
    s.row_floats = m.n_in + m.qd + (c->attn_with_short_conv ? 0 : vd) + 2 * ha + 2 * heads + vd + m.od + 2 * m.heads +
                   heads * (1 + 2 * (size_t)NATSL_DELTA_BLOCK);
    s.mixed = max_size(vd, m.od);
    /* kernels' own (keys of a tile before they are turned over, too), a head of a unit; xn, out [TILE, D]; y, gate [TILE, vd];
     * wide [TILE, max(2I, vocabulary tile)] */
    const size_t wide = max_size(2 * (size_t)c->intermediate_size, NATSL_VOCAB_COLUMNS);
    s.own = max_size(natsl_delta_scratch((size_t)c->head_dim, (size_t)c->head_v_dim), natsl_attn_scratch(NATSL_TILE));
    s.own = max_size(max_size(s.own, natsl_linear_scratch()), NATSL_TILE * max_size(kd, m.kd));
    s.own = (s.own + 15) / 16 * 16; /* what follows stays on cache lines */
    s.room = (m.unit_head + 15) / 16 * 16;
    s.scratch = s.own + s.room + (size_t)NATSL_TILE * (2 * d + 2 * s.mixed + wide + 8) + 64;
    size_t bytes = 0, part = 0;
    s.ok &= natsl_size_mul(&bytes, s.rows, s.row_floats * sizeof(float));
    s.ok &=
        natsl_size_mul(&part, s.chunks * (size_t)c->chunk, m.kd * sizeof(float)) && natsl_size_add(&bytes, bytes, part);
    s.ok &= natsl_size_mul(&part, s.scratch * sizeof(float), (size_t)threads) && natsl_size_add(&bytes, bytes, part);
    s.ok &= natsl_size_mul(&part, (s.tiles + 1) * sizeof(float), (size_t)c->conv_size * (2 * kd + vd)) &&
            natsl_size_add(&bytes, bytes, part);
    s.bytes = bytes;
    return s;
}

size_t natsl_stage_bytes(const natsl_config *config, int64_t tokens, int threads)
{
    const stage_sizes s = sizes_of(config, tokens, threads);
    return s.ok ? s.bytes : 0;
}

natsl_status natsl_stage_create(const natsl_weights *weights, const natsl_kernels *kernels, natsl_storage kept,
                                int64_t tokens, int threads, natsl_stage *stage)
{
    const natsl_config *c = &weights->config;
    const stage_sizes s = sizes_of(c, tokens, threads);
    memset(stage, 0, sizeof *stage);
    if (!s.ok) return natsl_fail(NATSL_ERR_NOMEM, "a stage of %lld tokens is too large", (long long)tokens);
    stage->weights = weights;
    stage->config = c;
    stage->kernels = kernels;
    stage->kept = kept;
    stage->grid = natsl_grid_make(c->chunk);
    stage->threads = threads;
    stage->capacity = s.rows;
    stage->most = natsl_widths_of(c);
    const size_t kd = (size_t)c->key_dim, vd = (size_t)c->value_dim, heads = (size_t)c->num_v_heads;
    const size_t ha = (size_t)c->num_attn_heads;
    const natsl_widths *m = &stage->most;
    stage->conv_channels = 2 * kd + vd;
    stage->n_in = m->n_in;
    stage->scratch_own = s.own;
    stage->scratch_room = s.room;
    stage->mixed = s.mixed;
    const struct {
        float **where;
        size_t width;
    } rows[] = {{&stage->qkv, stage->n_in},
                {&stage->qa, m->qd},
                {&stage->va, c->attn_with_short_conv ? 0 : vd},
                {&stage->mix, 2 * ha},
                {&stage->log_decay, heads},
                {&stage->beta, heads},
                {&stage->o, vd},
                {&stage->oa, m->od},
                {&stage->top, m->heads},
                {&stage->sum, m->heads},
                {&stage->g, heads},
                {&stage->t, heads * NATSL_DELTA_BLOCK},
                {&stage->a, heads * NATSL_DELTA_BLOCK}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (!(*rows[i].where = natsl_alloc(s.rows, rows[i].width * sizeof(float), "a stage's rows"))) goto nomem;
    }
    if (!(stage->ka = natsl_alloc(s.chunks * (size_t)c->chunk, m->kd * sizeof(float), "a stage's keys"))) goto nomem;
    if (!(stage->clocks = natsl_calloc((size_t)threads, sizeof *stage->clocks, "clocks"))) goto nomem;
    if (!(stage->tiles = natsl_alloc(s.tiles, sizeof(natsl_tile), "tiles"))) goto nomem;
    if (!(stage->tails = natsl_alloc((s.tiles + 1) * (size_t)c->conv_size, stage->conv_channels * sizeof(float),
                                     "convolution halos")))
        goto nomem;
    if (!(stage->keep = natsl_alloc(s.chunks, m->groups, "choices"))) goto nomem;
    if (!(stage->pool = natsl_alloc((size_t)c->hidden_size, sizeof(float), "pooled rows"))) goto nomem;
    if (!(stage->scratch = natsl_calloc((size_t)threads, sizeof(float *), "scratch"))) goto nomem;
    for (int i = 0; i < threads; i++) {
        if (!(stage->scratch[i] = natsl_alloc(s.scratch, sizeof(float), "scratch"))) goto nomem;
    }
    return NATSL_OK;
nomem:
    natsl_stage_free(stage);
    return NATSL_ERR_NOMEM;
}

void natsl_stage_free(natsl_stage *stage)
{
    float *const rows[] = {stage->qkv,       stage->qa,   stage->ka, stage->va, stage->mix,
                           stage->log_decay, stage->beta, stage->o,  stage->oa, stage->top,
                           stage->sum,       stage->g,    stage->t,  stage->a,  stage->tails};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) natsl_free(rows[i]);
    if (stage->scratch) {
        for (int i = 0; i < stage->threads; i++) natsl_free(stage->scratch[i]);
    }
    natsl_free(stage->scratch);
    natsl_free(stage->clocks);
    natsl_free(stage->tiles);
    natsl_free(stage->keep);
    natsl_free(stage->pool);
    memset(stage, 0, sizeof *stage);
}

void natsl_stage_seconds(const natsl_stage *s, double *out)
{
    double counted = 0.0;
    for (int p = 0; p < NATSL_PHASES; p++) {
        double sum = 0.0;
        for (int i = 0; i < s->threads; i++) sum += s->clocks[i].s[p];
        counted += sum;
        out[p] = s->seconds[p] + sum / s->threads;
    }
    const double idle = s->regions_s - counted / s->threads;
    out[NATSL_PHASE_IDLE] += idle > 0.0 ? idle : 0.0;
}

float *natsl_stage_scratch(const natsl_stage *s, int thread) { return s->scratch[thread]; }
float *natsl_stage_room(const natsl_stage *s, int thread) { return s->scratch[thread] + s->scratch_own; }

void natsl_stage_set(natsl_stage *s, int64_t window_begin, int64_t window_end, int64_t first, int64_t last)
{
    const natsl_grid *g = &s->grid;
    s->window_begin = window_begin;
    s->window_end = window_end;
    s->first = first;
    s->last = last;
    s->n_tiles = 0;
    for (int64_t t = first; t < last;) {
        natsl_tile *tile = &s->tiles[s->n_tiles++];
        const int64_t end = natsl_tile_end(g, t);
        tile->begin = natsl_max64(natsl_tile_begin(g, t), window_begin);
        tile->end = natsl_min64(end, window_end);
        tile->first = t;
        tile->last = natsl_min64(end, last);
        t = tile->last;
    }
    const int64_t chunk_begin = first - first % g->chunk;
    s->base = s->n_tiles ? natsl_min64(chunk_begin, s->tiles[0].begin) : chunk_begin;
    s->chunk0 = first / g->chunk;
    s->n_chunks = last > first ? (last - 1) / g->chunk - s->chunk0 + 1 : 0;
}

int natsl_stage_halo_complete(const natsl_stage *s) { return s->last - s->first >= s->config->conv_size - 1; }

void natsl_stage_halo_out(const natsl_stage *s, const float *halo_in, float *out)
{
    const size_t width = (size_t)s->config->conv_size - 1, channels = s->conv_channels;
    const size_t have = (size_t)(s->last - s->first), own = have < width ? have : width;
    if (own < width) memcpy(out, halo_in + own * channels, (width - own) * channels * sizeof(float));
    for (size_t i = 0; i < own; i++) {
        const size_t row = (size_t)(s->last - s->base) - own + i;
        memcpy(out + (width - own + i) * channels, s->qkv + row * s->n_in, channels * sizeof(float));
    }
}

const float *natsl_stage_values(const natsl_stage *s, const natsl_layer *layer, size_t row, size_t *ld)
{
    const natsl_attn_shape *a = &layer->shape.attn;
    const int own = layer->shape.kind == NATSL_LAYER_NATS && !s->config->attn_with_short_conv;
    *ld = own ? a->vd : s->n_in;
    return own ? s->va + row * a->vd : s->qkv + row * s->n_in + a->v_at;
}

void natsl_unit_pack(natsl_storage kept, const natsl_attn_shape *a, size_t n, const float *keys, const float *values,
                     size_t ldv, float *unit)
{
    const size_t rows = a->chunk, dk = a->dk, dv = a->dv, group = a->kv_heads / a->groups;
    size_t at = 0;
    for (size_t h = n * group; h < (n + 1) * group; h++) {
        natsl_unit_put(kept, unit, at, dk * rows, keys + h * dk * rows);
        at += dk * rows;
        for (size_t i = 0; i < rows; i++, at += dv) natsl_unit_put(kept, unit, at, dv, values + i * ldv + h * dv);
    }
}

void natsl_stage_pack(const natsl_stage *s, const natsl_layer *layer, int64_t chunk, size_t n, float *unit)
{
    const natsl_attn_shape *a = &layer->shape.attn;
    size_t ldv;
    const float *values = natsl_stage_values(s, layer, (size_t)((s->chunk0 + chunk) * s->grid.chunk - s->base), &ldv);
    natsl_unit_pack(s->kept, a, n, s->ka + (size_t)chunk * a->kd * a->chunk, values, ldv, unit);
}

/** Copies `rows` rows of `width` floats between arrays with row distances lds (source) and ldd. */
static void copy_rows(float *to, size_t ldd, const float *from, size_t lds, size_t width, size_t rows)
{
    for (size_t i = 0; i < rows; i++) memcpy(to + i * ldd, from + i * lds, width * sizeof(float));
}

void natsl_stage_rows_load(natsl_stage *s, const natsl_layer *layer, const float *tail)
{
    const natsl_config *c = s->config;
    const natsl_tail_layout *tl = &layer->shape.tail;
    const natsl_attn_shape *a = &layer->shape.attn;
    const int64_t begin = s->chunk0 * s->grid.chunk;
    const size_t rows = (size_t)(s->first - begin), row0 = (size_t)(begin - s->base), n_in = s->n_in;
    const size_t kd = (size_t)c->key_dim, vd = (size_t)c->value_dim, heads = (size_t)c->num_v_heads;
    if (rows == 0) return;
    float *qkv = s->qkv + row0 * n_in;
    if (layer->shape.kind == NATSL_LAYER_ATTN) {
        copy_rows(qkv + a->v_at, n_in, tail + tl->va, a->vd, a->vd, rows);
    } else {
        /* Their outputs were given long ago, so queries do not matter; zero keeps them finite. */
        for (size_t i = 0; i < rows; i++) memset(qkv + i * n_in, 0, kd * sizeof(float));
        copy_rows(qkv + kd, n_in, tail + tl->k, kd, kd, rows);
        copy_rows(qkv + 2 * kd, n_in, tail + tl->v, vd, vd, rows);
        copy_rows(s->log_decay + row0 * heads, heads, tail + tl->log_decay, heads, heads, rows);
        copy_rows(s->beta + row0 * heads, heads, tail + tl->beta, heads, heads, rows);
    }
    if (layer->shape.kind == NATSL_LAYER_GDN) return;
    /* the open chunk is the run's first */
    copy_rows(s->ka, a->chunk, tail + tl->ka, a->chunk, rows, a->kd);
    if (layer->shape.kind == NATSL_LAYER_NATS && !c->attn_with_short_conv)
        copy_rows(s->va + row0 * vd, vd, tail + tl->va, vd, vd, rows);
}

void natsl_stage_rows_save(const natsl_stage *s, const natsl_layer *layer, float *tail)
{
    const natsl_config *c = s->config;
    const natsl_tail_layout *tl = &layer->shape.tail;
    const natsl_attn_shape *a = &layer->shape.attn;
    const int64_t begin = s->last - s->last % s->grid.chunk;
    const size_t rows = (size_t)(s->last - begin), row0 = (size_t)(begin - s->base), n_in = s->n_in;
    const size_t kd = (size_t)c->key_dim, vd = (size_t)c->value_dim, heads = (size_t)c->num_v_heads;
    if (rows == 0) return;
    const float *qkv = s->qkv + row0 * n_in;
    if (layer->shape.kind != NATSL_LAYER_ATTN) {
        copy_rows(tail + tl->k, kd, qkv + kd, n_in, kd, rows);
        copy_rows(tail + tl->v, vd, qkv + 2 * kd, n_in, vd, rows);
        copy_rows(tail + tl->log_decay, heads, s->log_decay + row0 * heads, heads, heads, rows);
        copy_rows(tail + tl->beta, heads, s->beta + row0 * heads, heads, heads, rows);
    }
    if (layer->shape.kind == NATSL_LAYER_GDN) return;
    /* the open chunk is the run's last */
    copy_rows(tail + tl->ka, a->chunk, s->ka + (size_t)(s->n_chunks - 1) * a->kd * a->chunk, a->chunk, rows, a->kd);
    size_t ldv;
    const float *values = natsl_stage_values(s, layer, row0, &ldv);
    copy_rows(tail + tl->va, a->vd, values, ldv, a->vd, rows);
}
