/* grad_rows.c - backward phases that work row by row, a group of rows after the other: what lies outside the two operations over the
 * sequence (outer) and what lies inside, before them (inner). Source: oracle_grad.py mixer, forward. */
#include "grad_impl.h"

#include <math.h>
#include <omp.h>
#include <string.h>

void natsl_backward_raw(natsl_backward *b)
{
    const natsl_stage *s = b->stage;
    const size_t rows = (size_t)(s->last - s->first);
    const float *from = s->qkv + (size_t)(s->first - s->base) * s->n_in;
#pragma omp parallel for schedule(static) num_threads(s->threads)
    for (size_t i = 0; i < rows; i++) memcpy(b->raw + i * s->n_in, from + i * s->n_in, s->n_in * sizeof(float));
}

/* ---- outer --------------------------------------------------------------------------------------------------------------- */

static void copy_rows(const natsl_backward *b, size_t m, size_t n, const float *from, float *to)
{
#pragma omp parallel for schedule(static) num_threads(b->stage->threads)
    for (size_t i = 0; i < m; i++) memcpy(to + i * n, from + i * n, n * sizeof(float));
}

/** Both operations' answers of a group of rows mixed into b->y; attention's are finished on the way unless they are. */
static void mix_rows(natsl_backward *b, const natsl_layer *layer, const natsl_own_rows *r, const float *gate,
                     int finished)
{
    natsl_stage *s = b->stage;
    const natsl_config *c = s->config;
    const natsl_kernels *k = s->kernels;
    const size_t vd = (size_t)c->value_dim, dv = (size_t)c->head_v_dim, heads = (size_t)c->num_v_heads;
    const size_t a_heads = (size_t)c->num_attn_heads, dva = (size_t)c->attn_v_dim;
#pragma omp parallel for schedule(static) num_threads(s->threads)
    for (size_t i = 0; i < r->m; i += NATSL_GRAD_SLICE) {
        const size_t m = r->m - i < NATSL_GRAD_SLICE ? r->m - i : NATSL_GRAD_SLICE, row = r->in_stage + i;
        const float *g = gate ? gate + i * vd : NULL;
        float *o = s->o + row * vd, *oa = s->oa + row * vd, *y = b->y + i * vd;
        if (layer->shape.kind == NATSL_LAYER_GDN) {
            k->gated_norm(m, heads, dv, o, vd, layer->o_norm, c->norm_eps, g, vd, y, vd);
            continue;
        }
        for (size_t h = 0; h < a_heads && !finished; h++)
            k->attn_finish(m, dva, s->sum + row * a_heads + h, a_heads, oa + h * dva, vd);
        k->nats_mix(m, heads, dv, a_heads, dva, o, vd, oa, vd, layer->o_norm1, layer->o_norm2, c->norm_eps,
                    g ? s->mix + row * 2 * a_heads : NULL, 2 * a_heads, g, vd, y, vd);
    }
}

/** The same backwards: from b->dy to d_o, d_oa, dmix, b->dgate, dots and the norms' weights. */
static void mix_rows_back(natsl_backward *b, const natsl_layer *layer, natsl_layer_grad *grad, const natsl_own_rows *r,
                          const float *gate)
{
    natsl_stage *s = b->stage;
    const natsl_config *c = s->config;
    const natsl_kernels *k = s->kernels;
    const size_t vd = (size_t)c->value_dim, dv = (size_t)c->head_v_dim, heads = (size_t)c->num_v_heads;
    const size_t a_heads = (size_t)c->num_attn_heads, dva = (size_t)c->attn_v_dim, half = b->partial_floats / 2;
#pragma omp parallel for schedule(static) num_threads(s->threads)
    for (size_t i = 0; i < r->m; i += NATSL_GRAD_SLICE) {
        const size_t m = r->m - i < NATSL_GRAD_SLICE ? r->m - i : NATSL_GRAD_SLICE, row = r->in_stage + i;
        const float *g = gate ? gate + i * vd : NULL, *o = s->o + row * vd, *oa = s->oa + row * vd;
        float *part = b->partial + i / NATSL_GRAD_SLICE * b->partial_floats, *dgate = b->dgate + i * vd;
        float *d_o = b->d_o + (r->row + i) * vd, *d_oa = b->d_oa + (r->row + i) * vd;
        memset(part, 0, b->partial_floats * sizeof(float));
        if (layer->shape.kind == NATSL_LAYER_GDN) {
            k->gated_norm_grad(m, heads, dv, o, vd, layer->o_norm, c->norm_eps, g, vd, b->dy + i * vd, vd, d_o, vd,
                               dgate, vd, part);
            continue;
        }
        k->nats_mix_grad(m, heads, dv, a_heads, dva, o, vd, oa, vd, layer->o_norm1, layer->o_norm2, c->norm_eps,
                         g ? s->mix + row * 2 * a_heads : NULL, 2 * a_heads, g, vd, b->dy + i * vd, vd, d_o, vd, d_oa,
                         vd, b->dmix + (r->row + i) * 2 * a_heads, 2 * a_heads, dgate, vd, part, part + half);
        for (size_t j = 0; j < m * a_heads; j++) {
            const size_t at = j / a_heads * vd + j % a_heads * dva;
            float dot = 0.0f;
            for (size_t l = 0; l < dva; l++) dot += d_oa[at + l] * oa[at + l];
            b->dots[(r->row + i) * a_heads + j] = dot;
        }
    }
    if (layer->shape.kind == NATSL_LAYER_GDN) {
        natsl_grad_partial_add(b, r->m, 0, b->partial_floats, dv, grad->o_norm);
        return;
    }
    natsl_grad_partial_add(b, r->m, 0, b->partial_floats, c->use_gate ? dva : dv, grad->o_norm1);
    natsl_grad_partial_add(b, r->m, half, b->partial_floats, dva, grad->o_norm2);
}

/** Where a group's rows of the forward pass lie, and whether they are there. */
typedef struct outer_rows {
    float *gate, *x1, *gu;
    int done;
} outer_rows;

static outer_rows outer_rows_of(const natsl_backward *b, const natsl_own_rows *r)
{
    const natsl_config *c = b->stage->config;
    const natsl_saved *s = b->saved;
    outer_rows o = {.gate = b->gate, .x1 = b->x1, .gu = b->gu};
    if (s) {
        o.gate = s->gate + r->row * (size_t)c->value_dim;
        o.x1 = s->x1 + r->row * (size_t)c->hidden_size;
        o.gu = s->gu + r->row * 2 * (size_t)c->intermediate_size;
        o.done = 1;
    }
    if (!c->use_gate) o.gate = NULL;
    return o;
}

/** The forward pass of a group of rows as far as the backward pass needs it: o's rows unless they are done, b->xn, b->y, b->z. */
static void outer_forward(natsl_backward *b, const natsl_layer *layer, const natsl_own_rows *r, const outer_rows *o,
                          const float *x)
{
    natsl_stage *s = b->stage;
    const natsl_config *c = s->config;
    const size_t d = (size_t)c->hidden_size, vd = (size_t)c->value_dim, wide = (size_t)c->intermediate_size;
    if (o->gate) {
        natsl_grad_norm(b, r->m, x, layer->attn_norm, b->xn);
        if (!o->done) natsl_grad_product(b, r->m, &layer->g_proj, b->xn, d, o->gate, vd, 0);
    }
    mix_rows(b, layer, r, o->gate, o->done);
    if (!o->done) {
        copy_rows(b, r->m, d, x, o->x1);
        natsl_grad_product(b, r->m, &layer->o_proj, b->y, vd, o->x1, d, 1);
    }
    natsl_grad_norm(b, r->m, o->x1, layer->mlp_norm, b->z);
    if (!o->done) natsl_grad_product(b, r->m, &layer->w_gate_up, b->z, d, o->gu, 2 * wide, 0);
}

void natsl_backward_finish(natsl_backward *b, const natsl_layer *layer, const float *x, float *out)
{
    natsl_stage *s = b->stage;
    const size_t d = (size_t)s->config->hidden_size, wide = (size_t)s->config->intermediate_size;
    for (size_t i = 0; i < natsl_own_groups(s); i++) {
        const natsl_own_rows r = natsl_own_rows_of(s, i);
        outer_rows o = outer_rows_of(b, &r);
        o.done = 0;
        outer_forward(b, layer, &r, &o, x + r.row * d);
#pragma omp parallel for schedule(static) num_threads(s->threads)
        for (size_t j = 0; j < r.m; j++)
            s->kernels->swiglu(1, wide, o.gu + j * 2 * wide, 2 * wide, b->u + j * wide, wide);
        copy_rows(b, r.m, d, o.x1, out + r.row * d);
        natsl_grad_product(b, r.m, &layer->w_down, b->u, wide, out + r.row * d, d, 1);
    }
}

/** Feed-forward of a group of rows whose forward pass is there; dx += what it gives. */
static void feed_forward_back(natsl_backward *b, const natsl_layer *layer, natsl_layer_grad *grad, size_t m,
                              const outer_rows *o, float *dx)
{
    natsl_stage *s = b->stage;
    const natsl_kernels *k = s->kernels;
    const size_t d = (size_t)s->config->hidden_size, wide = (size_t)s->config->intermediate_size;
    natsl_grad_product(b, m, &b->turned.w_down, dx, d, b->du, wide, 0);
#pragma omp parallel for schedule(static) num_threads(s->threads)
    for (size_t i = 0; i < m; i++) {
        k->swiglu_grad(1, wide, o->gu + i * 2 * wide, 2 * wide, b->du + i * wide, wide, b->dgu + i * 2 * wide, 2 * wide,
                       b->u + i * wide, wide);
    }
    natsl_grad_product_w(b, m, &layer->w_down, dx, d, b->u, wide, grad->w_down);
    natsl_grad_product_w(b, m, &layer->w_gate_up, b->dgu, 2 * wide, b->z, d, grad->w_gate_up);
    natsl_grad_product(b, m, &b->turned.w_gate_up, b->dgu, 2 * wide, b->dz, d, 0);
    natsl_grad_norm_back(b, m, 1, d, o->x1, d, layer->mlp_norm, b->dz, d, dx, d, 1, grad->mlp_norm);
}

void natsl_backward_outer(natsl_backward *b, const natsl_layer *layer, natsl_layer_grad *grad, const float *x,
                          float *dx)
{
    natsl_stage *s = b->stage;
    const natsl_config *c = s->config;
    const size_t d = (size_t)c->hidden_size, vd = (size_t)c->value_dim;
    natsl_grad_turn_layer(b, layer);
    for (size_t i = 0; i < natsl_own_groups(s); i++) {
        const natsl_own_rows r = natsl_own_rows_of(s, i);
        const outer_rows o = outer_rows_of(b, &r);
        float *dxt = dx + r.row * d;
        outer_forward(b, layer, &r, &o, x + r.row * d);
        feed_forward_back(b, layer, grad, r.m, &o, dxt);
        natsl_grad_product_w(b, r.m, &layer->o_proj, dxt, d, b->y, vd, grad->o_proj);
        natsl_grad_product(b, r.m, &b->turned.o_proj, dxt, d, b->dy, vd, 0);
        mix_rows_back(b, layer, grad, &r, o.gate);
        if (c->use_gate) {
            natsl_grad_product_w(b, r.m, &layer->g_proj, b->dgate, vd, b->xn, d, grad->g_proj);
            natsl_grad_product(b, r.m, &b->turned.g_proj, b->dgate, vd, b->dxn + r.row * d, d, 0);
        } else {
            memset(b->dxn + r.row * d, 0, r.m * d * sizeof(float));
        }
    }
}

/* ---- inner --------------------------------------------------------------------------------------------------------------- */

/** to [m, ldto] += from [m,n], spread over threads. */
static void add_rows(const natsl_backward *b, size_t m, size_t n, const float *from, size_t ldfrom, float *to,
                     size_t ldto)
{
#pragma omp parallel for schedule(static) num_threads(b->stage->threads)
    for (size_t i = 0; i < m; i++) {
        for (size_t j = 0; j < n; j++) to[i * ldto + j] += from[i * ldfrom + j];
    }
}

static void rotary_back(const natsl_backward *b, const natsl_own_rows *r, float *dx)
{
    const natsl_stage *s = b->stage;
    const natsl_config *c = s->config;
    const size_t kd = (size_t)c->key_dim, heads = (size_t)c->num_attn_heads, dk = (size_t)c->attn_k_dim;
#pragma omp parallel for schedule(static) num_threads(s->threads)
    for (size_t i = 0; i < r->m; i++)
        s->kernels->rotary_grad(1, heads, dk, dx + i * kd, kd, s->first + (int64_t)(r->row + i), c->rope_theta);
}

/** a and b of a group back through the decay and beta. */
static void decay_back(natsl_backward *b, const natsl_layer *layer, natsl_layer_grad *grad, const natsl_own_rows *r)
{
    const natsl_stage *s = b->stage;
    const size_t heads = (size_t)s->config->num_v_heads, at = r->row * s->n_in + s->conv_channels;
#pragma omp parallel for schedule(static) num_threads(s->threads)
    for (size_t i = 0; i < r->m; i += NATSL_GRAD_SLICE) {
        const size_t m = r->m - i < NATSL_GRAD_SLICE ? r->m - i : NATSL_GRAD_SLICE;
        float *part = b->partial + i / NATSL_GRAD_SLICE * b->partial_floats;
        memset(part, 0, 2 * heads * sizeof(float));
        s->kernels->decay_beta_grad(m, heads, b->raw + at + i * s->n_in, s->n_in, layer->a_log, layer->dt_bias,
                                    s->config->allow_neg_eigval, b->dqkv + at + i * s->n_in, s->n_in, part,
                                    part + heads);
    }
    natsl_grad_partial_add(b, r->m, 0, b->partial_floats, heads, grad->a_log);
    natsl_grad_partial_add(b, r->m, heads, b->partial_floats, heads, grad->dt_bias);
}

/** Attention's queries, keys and values of a group of rows back to the columns they came from: `from` [m, ldfrom] holds those, `to`
 * [m, n_in] gets their gradients added. */
static void attention_rows_back(natsl_backward *b, const natsl_layer *layer, natsl_layer_grad *grad,
                                const natsl_own_rows *r, const float *from, size_t ldfrom, float *to)
{
    natsl_stage *s = b->stage;
    const natsl_config *c = s->config;
    const size_t kd = (size_t)c->key_dim, vd = (size_t)c->value_dim, heads = (size_t)c->num_attn_heads;
    const size_t dk = (size_t)c->attn_k_dim;
    const struct {
        float *dy;
        const float *w;
        float *dw;
    } both[2] = {{b->dqa + r->row * kd, layer->q_norm, grad->q_norm},
                 {b->dka + r->row * kd, layer->k_norm, grad->k_norm}};
    for (size_t i = 0; i < 2; i++) {
        if (c->attn_apply_pos_encoding) rotary_back(b, r, both[i].dy);
        if (both[i].w)
            natsl_grad_norm_back(b, r->m, heads, dk, from + i * kd, ldfrom, both[i].w, both[i].dy, kd, to + i * kd,
                                 s->n_in, 1, both[i].dw);
        else add_rows(b, r->m, kd, both[i].dy, kd, to + i * kd, s->n_in);
    }
    add_rows(b, r->m, vd, b->dva + r->row * vd, vd, to + 2 * kd, s->n_in);
}

/** The i-th of the conv_size-1 raw rows before row `row` of the run, [conv_channels]: its own, or those before its first tile. */
static const float *raw_before(const natsl_backward *b, size_t row, size_t i)
{
    const natsl_stage *s = b->stage;
    const size_t h = (size_t)s->config->conv_size - 1;
    return row + i >= h ? b->raw + (row + i - h) * s->n_in : s->tails + (row + i) * s->conv_channels;
}

/** Convolution of a group of rows: dqkv's columns become gradients of the raw rows. Spread over threads by channels, whose
 * halos lie apart and are gathered for it. */
static void conv_back(natsl_backward *b, const natsl_layer *layer, natsl_layer_grad *grad, const natsl_own_rows *r,
                      float *dhalo)
{
    enum { CHANNELS = 64 };
    natsl_stage *s = b->stage;
    const size_t width = (size_t)s->config->conv_size, h = width - 1, channels = s->conv_channels;
    const float *raw = b->raw + r->row * s->n_in;
    float *rows = b->dqkv + r->row * s->n_in;
#pragma omp parallel for schedule(static) num_threads(s->threads)
    for (size_t c = 0; c < channels; c += CHANNELS) {
        const size_t n = channels - c < CHANNELS ? channels - c : CHANNELS;
        float *before = b->scratch[omp_get_thread_num()], *after = before + h * n;
        for (size_t i = 0; i < h; i++) {
            memcpy(before + i * n, raw_before(b, r->row, i) + c, n * sizeof(float));
            memcpy(after + i * n, dhalo + i * channels + c, n * sizeof(float));
        }
        s->kernels->short_conv_grad(r->m, n, width, raw + c, s->n_in, before,
                                    layer->conv ? layer->conv + c * width : NULL, rows + c, s->n_in, rows + c, s->n_in,
                                    after, layer->conv ? grad->conv + c * width : NULL);
        for (size_t i = 0; i < h; i++) memcpy(dhalo + i * channels + c, after + i * n, n * sizeof(float));
    }
}

/** b->conv: the convolution's output for a group of rows, once more; then the gradients of unit queries and keys become those of what
 * was normed. By slices of rows, each with the raw rows before it. */
static void conv_again(natsl_backward *b, const natsl_layer *layer, const natsl_own_rows *r)
{
    natsl_stage *s = b->stage;
    const natsl_config *c = s->config;
    const size_t h = (size_t)c->conv_size - 1, channels = s->conv_channels, n_in = s->n_in, kd = (size_t)c->key_dim;
    const size_t dk = (size_t)c->head_dim, heads = (size_t)c->num_heads;
    const float *raw = b->raw + r->row * n_in;
#pragma omp parallel for schedule(static) num_threads(s->threads)
    for (size_t i = 0; i < r->m; i += NATSL_GRAD_SLICE) {
        const size_t m = r->m - i < NATSL_GRAD_SLICE ? r->m - i : NATSL_GRAD_SLICE;
        float *before = b->scratch[omp_get_thread_num()], *conv = b->conv + i * channels;
        float *rows = b->dqkv + (r->row + i) * n_in;
        for (size_t j = 0; j < h; j++)
            memcpy(before + j * channels, raw_before(b, r->row + i, j), channels * sizeof(float));
        for (size_t j = 0; j < m; j++) memcpy(conv + j * channels, raw + (i + j) * n_in, channels * sizeof(float));
        s->kernels->short_conv(m, channels, h + 1, conv, channels, before, layer->conv);
        s->kernels->l2_norm_grad(m, heads, dk, conv, channels, 1.0f / sqrtf((float)dk), rows, n_in, rows, n_in);
        s->kernels->l2_norm_grad(m, heads, dk, conv + kd, channels, 1.0f, rows + kd, n_in, rows + kd, n_in);
    }
}

static void inner_rows(natsl_backward *b, const natsl_layer *layer, natsl_layer_grad *grad, size_t index,
                       const float *x, float *dhalo, float *dx)
{
    natsl_stage *s = b->stage;
    const natsl_config *c = s->config;
    const natsl_own_rows r = natsl_own_rows_of(s, index);
    const size_t d = (size_t)c->hidden_size, channels = s->conv_channels, n_in = s->n_in;
    const size_t a_heads = (size_t)c->num_attn_heads;
    const float *raw = b->raw + r.row * n_in, *xt = x + r.row * d;
    float *rows = b->dqkv + r.row * n_in, *dxt = dx + r.row * d, *dxn = b->dxn + r.row * d;
    conv_again(b, layer, &r);
    if (layer->shape.kind == NATSL_LAYER_NATS && c->attn_with_short_conv)
        attention_rows_back(b, layer, grad, &r, b->conv, channels, rows);
    if (layer->shape.kind == NATSL_LAYER_NATS && c->use_gate) {
        const float *dmix = b->dmix + r.row * 2 * a_heads;
        natsl_grad_product_w(b, r.m, &layer->nats_out, dmix, 2 * a_heads, b->conv, channels, grad->nats_out);
        natsl_grad_product(b, r.m, &b->turned.nats_out, dmix, 2 * a_heads, rows, n_in, 1);
    }
    conv_back(b, layer, grad, &r, dhalo);
    if (layer->shape.kind == NATSL_LAYER_NATS && !c->attn_with_short_conv)
        attention_rows_back(b, layer, grad, &r, raw, n_in, rows);
    decay_back(b, layer, grad, &r);
    natsl_grad_norm(b, r.m, xt, layer->attn_norm, b->xn);
    natsl_grad_product_w(b, r.m, &layer->w_in, rows, n_in, b->xn, d, grad->w_in);
    natsl_grad_product(b, r.m, &b->turned.w_in, rows, n_in, dxn, d, 1);
    natsl_grad_norm_back(b, r.m, 1, d, xt, d, layer->attn_norm, dxn, d, dxt, d, 1, grad->attn_norm);
}

void natsl_backward_inner(natsl_backward *b, const natsl_layer *layer, natsl_layer_grad *grad, const float *x,
                          float *dhalo, float *dx)
{
    for (size_t i = natsl_own_groups(b->stage); i-- > 0;) inner_rows(b, layer, grad, i, x, dhalo, dx);
}
