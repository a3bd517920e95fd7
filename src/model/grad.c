/* grad.c - buffers of the backward pass, gradients' places, products over threads, loss and embedding. Phases of a layer:
 * grad_rows.c (row by row), grad_mixer.c (over the sequence). */
#include "grad_impl.h"

#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <string.h>

/* ---- where gradients lie ---------------------------------------------------------------------------------------------- */

/** The block of tensor `name`, in flat; NULL when the model has none. `*hint`: where the search starts and goes on from. */
static float *find(const natsl_layout *layout, float *flat, size_t *hint, int layer, const char *name)
{
    char full[sizeof layout->tensors[0].name];
    if (layer >= 0) (void)snprintf(full, sizeof full, "model.layers.%d.%s", layer, name);
    else (void)snprintf(full, sizeof full, "%s", name);
    for (size_t i = 0; i < layout->count; i++) {
        const size_t k = (*hint + i) % layout->count;
        if (strcmp(layout->tensors[k].name, full) != 0) continue;
        *hint = k;
        return flat + layout->blocks[layout->tensors[k].block].offset;
    }
    return NULL;
}

natsl_status natsl_gradients_bind(const natsl_config *c, const natsl_layout *layout, float *flat, natsl_gradients *out)
{
    size_t at = 0;
    memset(out, 0, sizeof *out);
    out->layers = natsl_calloc((size_t)c->num_hidden_layers, sizeof *out->layers, "gradients");
    if (!out->layers) return NATSL_ERR_NOMEM;
    out->embeddings = find(layout, flat, &at, -1, "model.embeddings.weight");
    out->norm = find(layout, flat, &at, -1, "model.norm.weight");
    out->head = c->tie_word_embeddings ? out->embeddings : find(layout, flat, &at, -1, "lm_head.weight");
    for (int i = 0; i < c->num_hidden_layers; i++) {
        natsl_layer_grad *g = &out->layers[i];
        const struct {
            float **to;
            const char *name;
        } all[] = {{&g->attn_norm, "attn_norm.weight"},
                   {&g->mlp_norm, "mlp_norm.weight"},
                   {&g->w_in, "attn.q_proj.weight"},
                   {&g->conv, "attn.q_conv1d.weight"},
                   {&g->a_log, "attn.A_log"},
                   {&g->dt_bias, "attn.dt_bias"},
                   {&g->g_proj, "attn.g_proj.weight"},
                   {&g->o_proj, "attn.o_proj.weight"},
                   {&g->o_norm, "attn.o_norm.weight"},
                   {&g->o_norm1, c->use_gate ? "attn.o_norm.weight1" : "attn.o_norm.0.weight"},
                   {&g->o_norm2, c->use_gate ? "attn.o_norm.weight2" : "attn.o_norm.1.weight"},
                   {&g->nats, "attn.nats_layer.weight"},
                   {&g->nats_out, "attn.nats_out_weights_layer.weight"},
                   {&g->q_norm, "attn.q_norm.weight"},
                   {&g->k_norm, "attn.k_norm.weight"},
                   {&g->w_gate_up, "mlp.gate_proj.weight"},
                   {&g->w_down, "mlp.down_proj.weight"}};
        for (size_t k = 0; k < sizeof all / sizeof all[0]; k++) *all[k].to = find(layout, flat, &at, i, all[k].name);
    }
    return NATSL_OK;
}

void natsl_gradients_free(natsl_gradients *gradients)
{
    natsl_free(gradients->layers);
    memset(gradients, 0, sizeof *gradients);
}

/* ---- buffers ---------------------------------------------------------------------------------------------------------- */

static size_t max_size(size_t a, size_t b) { return a > b ? a : b; }

size_t natsl_unit_grad_floats(const natsl_config *c)
{
    const natsl_attn_shape shape = natsl_attn_shape_nats(c);
    return natsl_unit_numbers(&shape) + (size_t)c->num_attn_heads / (size_t)c->num_nats_head;
}

/** Rows of kept chunks of a gate head whose gradients are under way at once. */
#define BATCH_ROWS 1024

/** Sizes of the buffers; one place for create and for the memory plan. */
typedef struct back_sizes {
    size_t rows, chunks, blocks, partial, scratch, states, turned;
    size_t batch, early; /* units of a gate head at once; floats of early_grads */
    size_t row_floats, tile_floats;
} back_sizes;

static back_sizes sizes_of(const natsl_config *c, int64_t tokens)
{
    const size_t d = (size_t)c->hidden_size, kd = (size_t)c->key_dim, vd = (size_t)c->value_dim;
    const size_t dk = (size_t)c->head_dim, dv = (size_t)c->head_v_dim, chunk = (size_t)c->chunk;
    const size_t n_in = 2 * kd + vd + 2 * (size_t)c->num_v_heads, wide = (size_t)c->intermediate_size;
    back_sizes s = {.rows = (size_t)tokens};
    s.chunks = s.rows / chunk + 2;
    s.blocks = s.chunks * ((chunk + NATSL_DELTA_BLOCK - 1) / NATSL_DELTA_BLOCK);
    s.partial = 2 * max_size(max_size(d, dv), max_size((size_t)c->attn_k_dim, (size_t)c->attn_v_dim));
    s.partial = max_size(s.partial, 2 * (size_t)c->num_v_heads);
    s.scratch = max_size(natsl_linear_scratch(), natsl_delta_scratch(dk, dv));
    s.scratch = max_size(s.scratch, natsl_delta_grad_scratch(dk, dv));
    s.scratch = max_size(s.scratch, natsl_attn_grad_scratch((size_t)c->attn_k_dim, (size_t)c->attn_v_dim));
    /* a slice of a convolution's halo and of its gradient */
    s.scratch = max_size(s.scratch, 2 * (size_t)c->conv_size * (2 * kd + vd));
    s.scratch = (max_size(s.scratch, d) + 15) / 16 * 16;
    s.batch = chunk < BATCH_ROWS ? BATCH_ROWS / chunk : 1;
    s.early = s.batch * chunk * (kd + vd);
    s.turned = (n_in + 3 * wide + 2 * vd) * d + 2 * (size_t)c->num_attn_heads * kd;
    s.turned = max_size(s.turned, (size_t)c->vocab_size * d);
    s.states = (s.blocks + 2) * dk;
    s.row_floats = 2 * n_in + d + 3 * vd + 2 * kd + 3 * (size_t)c->num_attn_heads;
    s.tile_floats = 4 * d + 4 * vd + 6 * wide + 2 * kd + vd + (size_t)c->vocab_size + 4;
    return s;
}

size_t natsl_backward_bytes(const natsl_config *c, int64_t tokens, int threads)
{
    const back_sizes s = sizes_of(c, tokens);
    size_t bytes = 0, part = 0;
    int ok = natsl_size_mul(&bytes, s.rows, s.row_floats * sizeof(float));
    ok &= natsl_size_mul(&part, s.tile_floats, NATSL_GRAD_ROWS * sizeof(float)) && natsl_size_add(&bytes, bytes, part);
    ok &= natsl_size_mul(&part, s.turned + s.early, sizeof(float)) && natsl_size_add(&bytes, bytes, part);
    ok &= natsl_size_mul(&part, s.states, (size_t)c->head_v_dim * sizeof(float)) &&
          natsl_size_add(&part, part, s.scratch * sizeof(float)) && natsl_size_mul(&part, part, (size_t)threads) &&
          natsl_size_add(&bytes, bytes, part);
    return ok ? bytes : 0;
}

natsl_status natsl_backward_create(natsl_stage *stage, int64_t tokens, natsl_backward *out)
{
    const natsl_config *c = stage->config;
    const back_sizes s = sizes_of(c, tokens);
    const size_t d = (size_t)c->hidden_size, kd = (size_t)c->key_dim, vd = (size_t)c->value_dim;
    const size_t wide = (size_t)c->intermediate_size, heads = (size_t)c->num_attn_heads;
    natsl_backward *b = out;
    memset(b, 0, sizeof *b);
    b->stage = stage;
    b->partial_floats = s.partial;
    b->blocks = s.blocks;
    const struct {
        float **where;
        size_t rows, width;
    } all[] = {{&b->raw, s.rows, stage->n_in},
               {&b->dqkv, s.rows, stage->n_in},
               {&b->dxn, s.rows, d},
               {&b->d_o, s.rows, vd},
               {&b->d_oa, s.rows, vd},
               {&b->dqa, s.rows, kd},
               {&b->dka, s.rows, kd},
               {&b->dva, s.rows, vd},
               {&b->dmix, s.rows, 2 * heads},
               {&b->dots, s.rows, heads},
               {&b->pools, s.chunks, d},
               {&b->xn, NATSL_GRAD_ROWS, d},
               {&b->x1, NATSL_GRAD_ROWS, d},
               {&b->z, NATSL_GRAD_ROWS, d},
               {&b->dz, NATSL_GRAD_ROWS, d},
               {&b->y, NATSL_GRAD_ROWS, vd},
               {&b->dy, NATSL_GRAD_ROWS, vd},
               {&b->gate, NATSL_GRAD_ROWS, vd},
               {&b->dgate, NATSL_GRAD_ROWS, vd},
               {&b->gu, NATSL_GRAD_ROWS, 2 * wide},
               {&b->dgu, NATSL_GRAD_ROWS, 2 * wide},
               {&b->u, NATSL_GRAD_ROWS, wide},
               {&b->du, NATSL_GRAD_ROWS, wide},
               {&b->conv, NATSL_GRAD_ROWS, stage->conv_channels},
               {&b->logits, NATSL_GRAD_ROWS, (size_t)c->vocab_size},
               {&b->top, NATSL_GRAD_ROWS, 1},
               {&b->picked, NATSL_GRAD_ROWS, 1},
               {&b->partial, NATSL_GRAD_SLICES, s.partial}};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        *all[i].where = natsl_alloc(all[i].rows, all[i].width * sizeof(float), "gradients of a stage");
        if (!*all[i].where) goto nomem;
    }
    b->turned_data = natsl_alloc(s.turned, sizeof(float), "a layer's weights, turned over");
    b->batch_units = s.batch;
    b->batch = natsl_alloc((size_t)c->num_nats_head, s.batch * sizeof *b->batch, "kept units in hand");
    b->cursor = natsl_alloc((size_t)c->num_nats_head, sizeof *b->cursor, "kept units in hand");
    b->early_grads = natsl_alloc(s.early, sizeof(float), "gradients of kept units");
    b->early = natsl_alloc(heads, s.batch * sizeof(double), "gradients of kept units");
    b->late = natsl_alloc(heads, s.batch * sizeof(double), "gradients of kept units");
    if (!b->turned_data || !b->batch || !b->cursor || !b->early_grads || !b->early || !b->late) goto nomem;
    b->sum =
        natsl_alloc(max_size(NATSL_GRAD_ROWS, 2 * (size_t)c->num_nats_head), sizeof(double), "gradients of a stage");
    b->dsoft = natsl_alloc(s.chunks, heads * sizeof(double), "gradients of a stage");
    b->dlinear = natsl_alloc(s.chunks, (size_t)c->num_v_heads * sizeof(double), "gradients of a stage");
    b->scratch = natsl_calloc((size_t)stage->threads, sizeof(float *), "scratch");
    b->states = natsl_calloc((size_t)stage->threads, sizeof(float *), "scratch");
    if (!b->sum || !b->dsoft || !b->dlinear || !b->scratch || !b->states) goto nomem;
    for (int i = 0; i < stage->threads; i++) {
        b->scratch[i] = natsl_alloc(s.scratch, sizeof(float), "scratch");
        b->states[i] = natsl_alloc(s.states, (size_t)c->head_v_dim * sizeof(float), "states of a head");
        if (!b->scratch[i] || !b->states[i]) goto nomem;
    }
    b->own = (natsl_saved){.raw = b->raw, .o = stage->o, .oa = stage->oa, .top = stage->top, .sum = stage->sum};
    return NATSL_OK;
nomem:
    natsl_backward_free(b);
    return NATSL_ERR_NOMEM;
}

void natsl_backward_free(natsl_backward *b)
{
    if (b->own.raw) natsl_backward_use(b, NULL); /* what is not its own is not freed */
    void *const all[] = {b->raw,     b->dqkv,  b->dxn,     b->d_o,         b->d_oa,  b->dqa,    b->dka,
                         b->dva,     b->dmix,  b->dots,    b->xn,          b->x1,    b->z,      b->dz,
                         b->y,       b->dy,    b->gate,    b->gu,          b->dgu,   b->u,      b->du,
                         b->conv,    b->top,   b->sum,     b->dgate,       b->pools, b->logits, b->picked,
                         b->partial, b->dsoft, b->dlinear, b->turned_data, b->batch, b->cursor, b->early_grads,
                         b->early,   b->late};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) natsl_free(all[i]);
    for (int i = 0; b->stage && i < b->stage->threads; i++) {
        if (b->scratch) natsl_free(b->scratch[i]);
        if (b->states) natsl_free(b->states[i]);
    }
    natsl_free(b->scratch);
    natsl_free(b->states);
    memset(b, 0, sizeof *b);
}

/* ---- work that all phases share ---------------------------------------------------------------------------------------- */

void natsl_grad_product(const natsl_backward *b, size_t m, const natsl_matrix *w, const float *x, size_t ldx, float *y,
                        size_t ldy, int accumulate)
{
    const natsl_stage *s = b->stage;
    const size_t panels = natsl_panels(w->n), pieces = (m + NATSL_GRAD_PIECE - 1) / NATSL_GRAD_PIECE;
#pragma omp parallel for collapse(2) schedule(static) num_threads(s->threads)
    for (size_t i = 0; i < pieces; i++) {
        for (size_t p = 0; p < panels; p++) {
            const size_t row = i * NATSL_GRAD_PIECE, rows = m - row < NATSL_GRAD_PIECE ? m - row : NATSL_GRAD_PIECE;
            s->kernels->linear(rows, w, p, p + 1, x + row * ldx, ldx, y + row * ldy + p * NATSL_PANEL, ldy, accumulate,
                               b->scratch[omp_get_thread_num()]);
        }
    }
}

/** Inputs of a block of dw: narrow where there are few, so that all threads get some. */
static size_t inputs_of(size_t k) { return k > 8 * NATSL_PANEL ? 4 * NATSL_PANEL : NATSL_PANEL; }

void natsl_grad_product_w(const natsl_backward *b, size_t m, const natsl_matrix *w, const float *dy, size_t lddy,
                          const float *x, size_t ldx, float *dw)
{
    const natsl_stage *s = b->stage;
    const size_t step = inputs_of(w->k), panels = natsl_panels(w->n), blocks = w->k / step > 0 ? w->k / step : 1;
#pragma omp parallel for collapse(2) schedule(static) num_threads(s->threads)
    for (size_t p = 0; p < panels; p++) {
        for (size_t i = 0; i < blocks; i++) {
            const size_t j = p * NATSL_PANEL, l = i * step, end = i + 1 < blocks ? l + step : w->k;
            s->kernels->linear_grad_w(m, natsl_panel_end(w->n, p) - j, end - l, dy + j, lddy, x + l, ldx,
                                      dw + j * w->k + l, w->k);
        }
    }
}

/** `to` becomes w turned over, in *at, which moves on. */
static void turn(const natsl_backward *b, const natsl_matrix *w, natsl_matrix *to, float **at)
{
    const natsl_stage *s = b->stage;
    float *data = *at;
    *to = (natsl_matrix){.n = w->k, .k = w->n, .type = NATSL_F32, .data = data};
    if (w->n * w->k == 0) return;
#pragma omp parallel for schedule(static) num_threads(s->threads)
    for (size_t p = 0; p < natsl_panels(w->k); p++)
        natsl_matrix_turn(w, p, p + 1, data, b->scratch[omp_get_thread_num()]);
    *at += w->n * w->k;
}

void natsl_grad_turn_layer(natsl_backward *b, const natsl_layer *layer)
{
    float *at = b->turned_data;
    const struct {
        const natsl_matrix *from;
        natsl_matrix *to;
    } all[] = {{&layer->w_in, &b->turned.w_in},           {&layer->g_proj, &b->turned.g_proj},
               {&layer->o_proj, &b->turned.o_proj},       {&layer->nats_out, &b->turned.nats_out},
               {&layer->w_gate_up, &b->turned.w_gate_up}, {&layer->w_down, &b->turned.w_down}};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) turn(b, all[i].from, all[i].to, &at);
}

void natsl_grad_norm(const natsl_backward *b, size_t m, const float *x, const float *w, float *y)
{
    const natsl_stage *s = b->stage;
    const size_t d = (size_t)s->config->hidden_size;
#pragma omp parallel for schedule(static) num_threads(s->threads)
    for (size_t i = 0; i < m; i += NATSL_GRAD_SLICE)
        s->kernels->rms_norm(m - i < NATSL_GRAD_SLICE ? m - i : NATSL_GRAD_SLICE, 1, d, x + i * d, d, w,
                             s->config->norm_eps, y + i * d, d);
}

void natsl_grad_partial_add(const natsl_backward *b, size_t m, size_t at, size_t ld, size_t n, float *dw)
{
    for (size_t i = 0; i * NATSL_GRAD_SLICE < m; i++) {
        const float *from = b->partial + at + i * ld;
        for (size_t j = 0; j < n; j++) dw[j] += from[j];
    }
}

void natsl_grad_norm_back(const natsl_backward *b, size_t m, size_t heads, size_t d, const float *x, size_t ldx,
                          const float *w, const float *dy, size_t lddy, float *dx, size_t lddx, int accumulate,
                          float *dw)
{
    const natsl_stage *s = b->stage;
#pragma omp parallel for schedule(static) num_threads(s->threads)
    for (size_t i = 0; i < m; i += NATSL_GRAD_SLICE) {
        float *part = b->partial + i / NATSL_GRAD_SLICE * b->partial_floats;
        memset(part, 0, d * sizeof(float));
        s->kernels->rms_norm_grad(m - i < NATSL_GRAD_SLICE ? m - i : NATSL_GRAD_SLICE, heads, d, x + i * ldx, ldx, w,
                                  s->config->norm_eps, dy + i * lddy, lddy, dx + i * lddx, lddx, accumulate, part);
    }
    natsl_grad_partial_add(b, m, 0, b->partial_floats, d, dw);
}

/* ---- loss and embedding -------------------------------------------------------------------------------------------------- */

double natsl_backward_logits(natsl_backward *b, const float *x, const int32_t *targets, double scale,
                             natsl_gradients *gradients, float *dx)
{
    natsl_stage *s = b->stage;
    const natsl_kernels *k = s->kernels;
    const natsl_weights *w = s->weights;
    const size_t d = (size_t)s->config->hidden_size, vocab = (size_t)s->config->vocab_size;
    double loss = 0.0;
    natsl_matrix over;
    float *at = b->turned_data;
    turn(b, &w->head, &over, &at);
    for (size_t i = 0; i < natsl_own_groups(s); i++) {
        const natsl_own_rows r = natsl_own_rows_of(s, i);
        const size_t m = r.m;
        const int32_t *want = targets + r.row;
        natsl_grad_norm(b, m, x + r.row * d, w->norm, b->xn);
        natsl_grad_product(b, m, &w->head, b->xn, d, b->logits, vocab, 0);
#pragma omp parallel for schedule(static) num_threads(s->threads)
        for (size_t j = 0; j < m; j++) {
            b->top[j] = -INFINITY, b->sum[j] = 0.0, b->picked[j] = 0.0f;
            k->lse_add(1, vocab, b->logits + j * vocab, vocab, 0, want + j, b->top + j, b->sum + j, b->picked + j);
            k->lse_grad(1, vocab, b->logits + j * vocab, vocab, 0, want + j, b->top + j, b->sum + j, scale);
        }
        for (size_t j = 0; j < m; j++)
            if (want[j] >= 0) loss += (double)b->top[j] + log(b->sum[j]) - (double)b->picked[j];
        natsl_grad_product_w(b, m, &w->head, b->logits, vocab, b->xn, d, gradients->head);
        natsl_grad_product(b, m, &over, b->logits, vocab, b->dz, d, 0);
        natsl_grad_norm_back(b, m, 1, d, x + r.row * d, d, w->norm, b->dz, d, dx + r.row * d, d, 0, gradients->norm);
    }
    return loss;
}

double natsl_backward_score(natsl_backward *b, const float *x, const int32_t *targets, uint8_t *hits)
{
    natsl_stage *s = b->stage;
    const natsl_weights *w = s->weights;
    const size_t d = (size_t)s->config->hidden_size, vocab = (size_t)s->config->vocab_size;
    double loss = 0.0;
    for (size_t i = 0; i < natsl_own_groups(s); i++) {
        const natsl_own_rows r = natsl_own_rows_of(s, i);
        const int32_t *want = targets + r.row;
        natsl_grad_norm(b, r.m, x + r.row * d, w->norm, b->xn);
        natsl_grad_product(b, r.m, &w->head, b->xn, d, b->logits, vocab, 0);
#pragma omp parallel for schedule(static) num_threads(s->threads)
        for (size_t j = 0; j < r.m; j++) {
            const float *logits = b->logits + j * vocab;
            b->top[j] = -INFINITY, b->sum[j] = 0.0, b->picked[j] = 0.0f;
            s->kernels->lse_add(1, vocab, logits, vocab, 0, want + j, b->top + j, b->sum + j, b->picked + j);
            size_t best = 0;
            for (size_t v = 1; v < vocab; v++) best = logits[v] > logits[best] ? v : best;
            hits[r.row + j] = want[j] >= 0 && best == (size_t)want[j];
        }
        for (size_t j = 0; j < r.m; j++)
            if (want[j] >= 0) loss += (double)b->top[j] + log(b->sum[j]) - (double)b->picked[j];
    }
    return loss;
}

void natsl_backward_embed(natsl_backward *b, const int32_t *ids, const float *dx, float *dtable)
{
    natsl_stage *s = b->stage;
    const size_t d = (size_t)s->config->hidden_size, rows = (size_t)(s->last - s->first);
#pragma omp parallel for schedule(static) num_threads(s->threads)
    for (size_t l = 0; l < d; l += NATSL_PANEL)
        s->kernels->embed_grad(rows, ids, l, d - l < NATSL_PANEL ? d : l + NATSL_PANEL, dx, d, dtable, d);
}
