/* next.c - one token into a context, by the one-token form of every kernel.
 * The owner of the open chunk does the layer; for attention it shows its queries to all ranks that hold kept units, each
 * attends to its own, and the partial softmaxes are merged: open chunk first, then rank by rank. Source: oracle.py. */
#include "context_impl.h"

#include <math.h>
#include <omp.h>
#include <string.h>

/** Rows of one token, cut from cx->next_rows. */
typedef struct token_rows {
    float *x, *xn, *out;     /* [D] */
    float *in;               /* [n_in] projections, convolved */
    float *raw;              /* [conv_channels] before the convolution */
    float *qa, *ka, *va;     /* attention's rows [key_dim], [key_dim], [value_dim] */
    float *mix;              /* [2*Ha] */
    float *o, *oa, *gate;    /* [value_dim] */
    float *top, *sum;        /* [Ha] */
    float *log_decay, *beta; /* [Hv] */
    float *scores;           /* [2*Hn] */
    float *wide;             /* [2*I] */
    size_t floats;
} token_rows;

static token_rows rows_of(const natsl_config *c, float *base)
{
    const size_t d = (size_t)c->hidden_size, kd = (size_t)c->key_dim, vd = (size_t)c->value_dim;
    const size_t ha = (size_t)c->num_attn_heads, hv = (size_t)c->num_v_heads;
    token_rows t;
    float *p = base;
    t.x = p, p += d;
    t.xn = p, p += d;
    t.out = p, p += d;
    t.in = p, p += 2 * kd + vd + 2 * hv;
    t.raw = p, p += 2 * kd + vd;
    t.qa = p, p += kd;
    t.ka = p, p += kd;
    t.va = p, p += vd;
    t.mix = p, p += 2 * ha;
    t.o = p, p += vd;
    t.oa = p, p += vd;
    t.gate = p, p += vd;
    t.top = p, p += ha;
    t.sum = p, p += ha;
    t.log_decay = p, p += hv;
    t.beta = p, p += hv;
    t.scores = p, p += 2 * (size_t)c->num_nats_head;
    t.wide = p, p += 2 * (size_t)c->intermediate_size;
    t.floats = (size_t)(p - base);
    return t;
}

size_t natsl_next_floats(const natsl_config *config)
{
    float none;
    return rows_of(config, &none).floats;
}

/** y [n] = W x, panels of W spread over threads. */
static void matvec(natsl_context *cx, const natsl_matrix *w, const float *x, float *y)
{
    const size_t panels = natsl_panels(w->n);
#pragma omp parallel for schedule(static) num_threads(cx->options.threads)
    for (size_t p = 0; p < panels; p++)
        cx->stage.kernels->linear(1, w, p, p + 1, x, w->k, y + p * NATSL_PANEL, w->n, 0,
                                  natsl_stage_scratch(&cx->stage, omp_get_thread_num()));
}

/** This rank's kept units of `layer` into a softmax of the queries qa: top, sum [Ha], acc [value_dim]. */
static void attend_own_units(natsl_context *cx, int layer, const float *qa, float *top, float *sum, float *acc)
{
    const natsl_config *c = cx->config;
    const natsl_kept *kept = &cx->kept[layer];
    const size_t heads = (size_t)c->num_attn_heads, group = heads / (size_t)c->num_nats_head;
    const size_t dk = (size_t)c->attn_k_dim, dv = (size_t)c->attn_v_dim, chunk = (size_t)c->chunk;
    const float scale = 1.0f / sqrtf((float)dk);
#pragma omp parallel for schedule(dynamic, 1) num_threads(cx->options.threads)
    for (size_t h = 0; h < heads; h++) {
        const int n = (int)(h / group), thread = omp_get_thread_num();
        for (int64_t i = 0; i < kept->lists[n].count; i++) {
            const float *keys = natsl_unit_head(&cx->stage, natsl_kept_unit(kept, n, i), h % group,
                                                natsl_stage_room(&cx->stage, thread)),
                        *values = keys + chunk * dk;
            for (size_t k0 = 0; k0 < chunk; k0 += NATSL_ATTN_KEYS) {
                const size_t k = chunk - k0 < NATSL_ATTN_KEYS ? chunk - k0 : NATSL_ATTN_KEYS;
                cx->stage.kernels->attn_block(1, k, dk, dv, qa + h * dk, dk, keys + k0, chunk, values + k0 * dv, dv,
                                              scale, -1, top + h, sum + h, 1, acc + h * dv, dv,
                                              natsl_stage_scratch(&cx->stage, thread));
            }
        }
    }
}

/** Fresh softmax rows. */
static void softmax_clear(const natsl_config *c, float *top, float *sum, float *acc)
{
    for (int h = 0; h < c->num_attn_heads; h++) top[h] = -INFINITY, sum[h] = 0.0f;
    memset(acc, 0, (size_t)c->value_dim * sizeof(float));
}

/** Softmax over the open chunk's rows 0..row. */
static void attend_open(natsl_context *cx, const float *tail, size_t row, token_rows *t)
{
    const natsl_config *c = cx->config;
    const natsl_tail_layout *tl = &cx->stage.tail;
    const size_t vd = (size_t)c->value_dim, dk = (size_t)c->attn_k_dim, dv = (size_t)c->attn_v_dim,
                 chunk = (size_t)c->chunk;
    const float scale = 1.0f / sqrtf((float)dk);
#pragma omp parallel for schedule(static) num_threads(cx->options.threads)
    for (size_t h = 0; h < (size_t)c->num_attn_heads; h++) {
        for (size_t k0 = 0; k0 <= row; k0 += NATSL_ATTN_KEYS) {
            const size_t k = row + 1 - k0 < NATSL_ATTN_KEYS ? row + 1 - k0 : NATSL_ATTN_KEYS;
            cx->stage.kernels->attn_block(1, k, dk, dv, t->qa + h * dk, dk, tail + tl->ka + h * dk * chunk + k0, chunk,
                                          tail + tl->va + k0 * vd + h * dv, vd, scale, -1, t->top + h, t->sum + h, 1,
                                          t->oa + h * dv, dv, natsl_stage_scratch(&cx->stage, omp_get_thread_num()));
        }
    }
}

/** Attention of one token, all ranks: t->oa on the owner. remote: some other rank holds units of this layer. */
static void attend(natsl_context *cx, int layer, int remote, size_t row, token_rows *t)
{
    const natsl_config *c = cx->config;
    const size_t vd = (size_t)c->value_dim, ha = (size_t)c->num_attn_heads, one = vd + 2 * ha,
                 dv = (size_t)c->attn_v_dim;
    const int mine = cx->rank == cx->owner;
    if (mine) {
        softmax_clear(c, t->top, t->sum, t->oa);
        attend_open(cx, cx->tails[layer], row, t);
    }
    if (!remote) {
        if (mine) attend_own_units(cx, layer, t->qa, t->top, t->sum, t->oa);
    } else {
        /* top, sum, acc of every rank, side by side */
        float *all = cx->partial, *part = all + (mine ? (size_t)cx->rank * one : 0);
        NATSL_MPI(MPI_Bcast(t->qa, c->key_dim, MPI_FLOAT, cx->owner, cx->comm));
        softmax_clear(c, part, part + ha, part + 2 * ha);
        attend_own_units(cx, layer, t->qa, part, part + ha, part + 2 * ha);
        NATSL_MPI(
            MPI_Gather(mine ? MPI_IN_PLACE : part, (int)one, MPI_FLOAT, all, (int)one, MPI_FLOAT, cx->owner, cx->comm));
        cx->kept_bytes += (int64_t)(one * sizeof(float)) * !mine;
        for (int r = 0; mine && r < cx->size; r++) {
            const float *p = all + (size_t)r * one;
            for (size_t h = 0; h < ha; h++)
                cx->stage.kernels->attn_merge(1, dv, t->top + h, t->sum + h, 1, t->oa + h * dv, dv, p + h, p + ha + h,
                                              1, p + 2 * ha + h * dv, dv);
        }
    }
    for (size_t h = 0; mine && h < ha; h++) cx->stage.kernels->attn_finish(1, dv, t->sum + h, 1, t->oa + h * dv, dv);
}

/** Projections, convolution, norms; the token's rows join the open chunk. On the owner. */
static void project(natsl_context *cx, int layer, size_t row, token_rows *t)
{
    const natsl_config *c = cx->config;
    const natsl_kernels *k = cx->stage.kernels;
    const natsl_layer *w = &cx->model->weights.layers[layer];
    const natsl_tail_layout *tl = &cx->stage.tail;
    const size_t d = (size_t)c->hidden_size, kd = (size_t)c->key_dim, vd = (size_t)c->value_dim, n_in = cx->stage.n_in;
    const size_t channels = cx->stage.conv_channels, width = (size_t)c->conv_size, hv = (size_t)c->num_v_heads;
    const size_t ha = (size_t)c->num_attn_heads, dka = (size_t)c->attn_k_dim, dk = (size_t)c->head_dim;
    float *tail = cx->tails[layer], *halo = tail + tl->halo;
    k->rms_norm(1, 1, d, t->x, d, w->attn_norm, c->norm_eps, t->xn, d);
    matvec(cx, &w->w_in, t->xn, t->in);
    k->decay_beta(1, hv, t->in + channels, n_in, w->a_log, w->dt_bias, c->allow_neg_eigval, t->log_decay, t->beta);
    memcpy(t->raw, t->in, channels * sizeof(float));
    k->short_conv(1, channels, width, t->in, n_in, halo, w->conv);
    if (width > 1) {
        memmove(halo, halo + channels, (width - 2) * channels * sizeof(float));
        memcpy(halo + (width - 2) * channels, t->raw, channels * sizeof(float));
    }
    if (!w->is_gdn) {
        const float *from = c->attn_with_short_conv ? t->in : t->raw;
        k->pool_add(1, d, t->xn, d, tail + tl->pool);
        memcpy(t->qa, from, kd * sizeof(float));
        memcpy(t->ka, from + kd, kd * sizeof(float));
        memcpy(t->va, from + 2 * kd, vd * sizeof(float));
        if (w->q_norm) k->rms_norm(1, ha, dka, t->qa, kd, w->q_norm, c->norm_eps, t->qa, kd);
        if (w->k_norm) k->rms_norm(1, ha, dka, t->ka, kd, w->k_norm, c->norm_eps, t->ka, kd);
        if (c->attn_apply_pos_encoding) {
            k->rotary(1, ha, dka, t->qa, kd, cx->position, c->rope_theta);
            k->rotary(1, ha, dka, t->ka, kd, cx->position, c->rope_theta);
        }
        for (size_t i = 0; i < kd; i++) tail[tl->ka + i * (size_t)c->chunk + row] = t->ka[i];
        memcpy(tail + tl->va + row * vd, t->va, vd * sizeof(float));
        if (c->use_gate) matvec(cx, &w->nats_out, t->in, t->mix);
    }
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
    float *current = cx->tails[layer] + cx->stage.tail.current;
#pragma omp parallel for schedule(static) num_threads(cx->options.threads)
    for (size_t h = 0; h < hv; h++) {
        cx->stage.kernels->delta_step(dk, dv, t->in + h / per_key * dk, t->in + kd + h / per_key * dk,
                                      t->in + 2 * kd + h * dv, t->log_decay[h], t->beta[h], current + h * dk * dv,
                                      t->o + h * dv);
    }
}

/** Mixing, output projection, feed-forward. On the owner. */
static void finish(natsl_context *cx, int layer, token_rows *t)
{
    const natsl_config *c = cx->config;
    const natsl_kernels *k = cx->stage.kernels;
    const natsl_layer *w = &cx->model->weights.layers[layer];
    const size_t d = (size_t)c->hidden_size, vd = (size_t)c->value_dim, wide = (size_t)c->intermediate_size;
    const size_t ha = (size_t)c->num_attn_heads;
    const float *gate = c->use_gate ? t->gate : NULL;
    if (gate) matvec(cx, &w->g_proj, t->xn, t->gate);
    if (w->is_gdn) {
        k->gated_norm(1, (size_t)c->num_v_heads, (size_t)c->head_v_dim, t->o, vd, w->o_norm, c->norm_eps, gate, vd,
                      t->o, vd);
    } else {
        k->nats_mix(1, (size_t)c->num_v_heads, (size_t)c->head_v_dim, ha, (size_t)c->attn_v_dim, t->o, vd, t->oa, vd,
                    w->o_norm1, w->o_norm2, c->norm_eps, gate ? t->mix : NULL, 2 * ha, gate, vd, t->o, vd);
    }
    matvec(cx, &w->o_proj, t->o, t->out);
    for (size_t i = 0; i < d; i++) t->x[i] += t->out[i];
    k->rms_norm(1, 1, d, t->x, d, w->mlp_norm, c->norm_eps, t->xn, d);
    matvec(cx, &w->w_gate_up, t->xn, t->wide);
    k->swiglu(1, wide, t->wide, 2 * wide, t->wide, 2 * wide);
    matvec(cx, &w->w_down, t->wide, t->out);
    for (size_t i = 0; i < d; i++) t->x[i] += t->out[i];
}

/** Copies the open chunk's attention rows into a unit. */
static void pack_open(const natsl_context *cx, const float *tail, size_t n, float *unit)
{
    const natsl_config *c = cx->config;
    const size_t vd = (size_t)c->value_dim, dk = (size_t)c->attn_k_dim, dv = (size_t)c->attn_v_dim;
    const size_t group = (size_t)c->num_attn_heads / (size_t)c->num_nats_head, chunk = (size_t)c->chunk;
    size_t at = 0;
    for (size_t h = n * group; h < (n + 1) * group; h++) {
        natsl_unit_put(cx->stage.kept, unit, at, dk * chunk, tail + cx->stage.tail.ka + h * dk * chunk);
        at += dk * chunk;
        for (size_t i = 0; i < chunk; i++, at += dv)
            natsl_unit_put(cx->stage.kept, unit, at, dv, tail + cx->stage.tail.va + i * vd + h * dv);
    }
}

/** The token was its chunk's last: choices, states, units. keep [Hn]. On the owner. */
static natsl_status close_chunk(natsl_context *cx, int layer, token_rows *t, uint8_t *keep)
{
    const natsl_config *c = cx->config;
    const natsl_layer *w = &cx->model->weights.layers[layer];
    const natsl_tail_layout *tl = &cx->stage.tail;
    const size_t hv = (size_t)c->num_v_heads, hn = (size_t)c->num_nats_head,
                 one = (size_t)c->head_dim * (size_t)c->head_v_dim;
    float *tail = cx->tails[layer];
    memset(keep, 0, hn);
    if (!w->is_gdn) {
        cx->stage.kernels->gate_choose(hn, (size_t)c->hidden_size, tail + tl->pool, (size_t)c->chunk, w->nats,
                                       t->scores, keep);
        if (cx->options.route != NATSL_LEARNED) memset(keep, cx->options.route == NATSL_ALL_SOFTMAX, hn);
        memset(tail + tl->pool, 0, (size_t)c->hidden_size * sizeof(float));
    }
    for (size_t h = 0; h < hv; h++) {
        float *state = tail + tl->state + h * one, *current = tail + tl->current + h * one;
        if (!keep[h / (hv / hn)]) {
            memcpy(state, current, one * sizeof(float));
            continue;
        }
        float total = 0.0f;
        for (size_t i = 0; i < (size_t)c->chunk; i++) total += tail[tl->log_decay + i * hv + h];
        const float decay = c->decay_for_non_gdn_blocks ? expf(total) : 1.0f;
        for (size_t i = 0; i < one; i++) current[i] = state[i] *= decay;
    }
    for (size_t n = 0; n < hn; n++) {
        if (!keep[n]) continue;
        float *unit = natsl_kept_append(&cx->kept[layer], (int)n, cx->position / c->chunk);
        if (!unit) return NATSL_ERR_NOMEM;
        pack_open(cx, tail, n, unit);
        cx->kept_chunks++;
    }
    if (!w->is_gdn) cx->chunks += (int64_t)hn;
    return NATSL_OK;
}

/** Whether a rank other than the owner holds units of this layer: equal on all ranks. */
static int remote_units(const natsl_context *cx, int layer)
{
    for (size_t i = 0; i < cx->kept[layer].n_segments; i++) {
        if (cx->kept[layer].segments[i].rank != cx->owner) return 1;
    }
    return 0;
}

/** All ranks learn what the closed chunk left behind. keep [layers, Hn], valid on the owner. */
static natsl_status note_chunk(natsl_context *cx, uint8_t *keep, natsl_status st)
{
    const int layers = cx->config->num_hidden_layers, hn = cx->config->num_nats_head;
    if ((st = natsl_agree(cx->comm, st)) != NATSL_OK) return st;
    NATSL_MPI(MPI_Bcast(keep, layers * hn, MPI_UINT8_T, cx->owner, cx->comm));
    int64_t *counts = natsl_alloc((size_t)hn, sizeof *counts, "counts");
    st = counts ? NATSL_OK : NATSL_ERR_NOMEM;
    for (int l = 0; l < layers && st == NATSL_OK; l++) {
        if (!natsl_layer_keeps(cx, l)) continue;
        for (int h = 0; h < hn; h++) counts[h] = keep[l * hn + h];
        st = natsl_kept_note(&cx->kept[l], cx->owner, counts);
    }
    natsl_free(counts);
    return natsl_agree(cx->comm, st);
}

natsl_status natsl_context_next(natsl_context *cx, int32_t token)
{
    const natsl_config *c = cx->config;
    if (token < 0 || token >= c->vocab_size)
        return natsl_fail(NATSL_ERR_USAGE, "token %d is outside the vocabulary, expected 0 to %d", token,
                          c->vocab_size - 1);
    const size_t row = (size_t)(cx->position % c->chunk), d = (size_t)c->hidden_size;
    const int mine = cx->rank == cx->owner, closes = (int64_t)row + 1 == c->chunk;
    token_rows t = rows_of(c, cx->next_rows);
    natsl_status st = NATSL_OK;
    if (mine) cx->stage.kernels->embed(1, &cx->model->weights.embeddings, &token, t.x, d);
    for (int l = 0; l < c->num_hidden_layers; l++) {
        const int gdn = c->is_gdn[l], remote = !gdn && remote_units(cx, l);
        if (mine && row == 0 && !gdn) memset(cx->tails[l] + cx->stage.tail.pool, 0, d * sizeof(float));
        if (mine) project(cx, l, row, &t);
        if (mine) step_state(cx, l, &t);
        if (!gdn && (mine || remote)) attend(cx, l, remote, row, &t);
        if (!mine) continue;
        finish(cx, l, &t);
        if (closes && st == NATSL_OK) st = close_chunk(cx, l, &t, cx->choices + (size_t)l * (size_t)c->num_nats_head);
    }
    if (mine) cx->stage.kernels->rms_norm(1, 1, d, t.x, d, cx->model->weights.norm, c->norm_eps, cx->last_hidden, d);
    if (closes && (st = note_chunk(cx, cx->choices, st)) != NATSL_OK) return st;
    cx->position++;
    return NATSL_OK;
}
