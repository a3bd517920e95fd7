/* layout.c - the tensor and block tables and the pointers into the store. See layout.h. */
#include "layout.h"

#include "core.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Blocks start on a cache line in both arrays. */
#define ALIGN_FLOATS 16
#define ALIGN_BYTES  64

/** The tables under construction. Overflow anywhere leaves `ok` false. */
typedef struct builder {
    natsl_tensor *tensors; /* NULL while only counting, like blocks */
    natsl_block *blocks;
    size_t count, n_blocks, floats;
    int ok;
} builder;

static size_t align(builder *b, size_t at)
{
    size_t up = 0;
    b->ok &= natsl_size_add(&up, at, ALIGN_FLOATS - 1);
    return up - up % ALIGN_FLOATS;
}

/** A block under construction: where its next tensor goes. */
typedef struct open_block {
    size_t index, offset, at, k, rows;
} open_block;

/** A new block of rows of k floats at `offset` or behind. */
static open_block block_open(builder *b, size_t offset, size_t k, int matrix)
{
    const open_block o = {.index = b->n_blocks++, .offset = align(b, offset), .at = align(b, offset), .k = k};
    if (b->blocks) b->blocks[o.index] = (natsl_block){.offset = o.offset, .k = k, .matrix = matrix};
    return o;
}

/** The next tensor in the table, with the next s0 rows of the block (s1 * s2 = the block's k). */
static void add(builder *b, open_block *o, const char *prefix, const char *name, int decays, int rank, size_t s0,
                size_t s1, size_t s2)
{
    size_t count = 0, end = 0;
    b->ok &= natsl_size_mul(&count, s0, s1) && natsl_size_mul(&count, count, s2) && natsl_size_add(&end, o->at, count);
    if (b->tensors) {
        natsl_tensor *t = &b->tensors[b->count];
        *t = (natsl_tensor){.offset = o->at,
                            .count = count,
                            .rank = rank,
                            .shape = {s0, s1, s2},
                            .decays = decays,
                            .block = o->index,
                            .row = o->rows};
        (void)snprintf(t->name, sizeof t->name, "%s%s", prefix, name);
    }
    b->count++;
    o->at = end;
    o->rows += s0;
    if (b->blocks) b->blocks[o->index].n = o->rows;
    if (end > b->floats) b->floats = end;
}

/** A matrix of its own. */
static void matrix(builder *b, const char *prefix, const char *name, int decays, size_t rows, size_t k)
{
    open_block o = block_open(b, b->floats, k, 1);
    add(b, &o, prefix, name, decays, 2, rows, k, 1);
}

/** A vector of its own: one row, of a block whose row length is 1 so that rows count its elements. */
static void vector(builder *b, const char *prefix, const char *name, size_t length)
{
    open_block o = block_open(b, b->floats, 1, 0);
    add(b, &o, prefix, name, 0, 1, length, 1, 1);
}

/** An attention layer's: rows of the joint input projection and its bias: q (with gates), k, v. */
static void add_attention(builder *b, const natsl_config *c, const char *layer, const natsl_attn_config *config,
                          const natsl_shape *s)
{
    const natsl_attn_shape *a = &s->attn;
    const size_t d = (size_t)c->hidden_size;
    const char *const names[3] = {"q", "k", "v"};
    const size_t rows[3] = {a->k_at, a->kd, a->vd};
    char p[56], name[32];
    (void)snprintf(p, sizeof p, "%sattn.", layer);
    size_t size = 0, end = 0;
    open_block in = block_open(b, b->floats, d, 1), bias = {0};
    b->ok &= natsl_size_mul(&size, s->n_in, d) && natsl_size_add(&end, in.at, size);
    if (config->qkv_bias) bias = block_open(b, end, 1, 0);
    for (int i = 0; i < 3; i++) {
        (void)snprintf(name, sizeof name, "%s_proj.weight", names[i]);
        add(b, &in, p, name, 1, 2, rows[i], d, 1);
        if (!config->qkv_bias) continue;
        (void)snprintf(name, sizeof name, "%s_proj.bias", names[i]);
        add(b, &bias, p, name, 0, 1, rows[i], 1, 1);
    }
    matrix(b, p, "o_proj.weight", 1, d, a->od);
    if (!config->qk_norm) return;
    vector(b, p, "q_norm.weight", a->dk);
    vector(b, p, "k_norm.weight", a->dk);
}

static void add_mixer(builder *b, const natsl_config *c, const char *layer, int is_gdn)
{
    const size_t d = (size_t)c->hidden_size, kd = (size_t)c->key_dim, vd = (size_t)c->value_dim;
    const size_t heads = (size_t)c->num_v_heads, width = (size_t)c->conv_size, channels = 2 * kd + vd;
    const char *const names[3] = {"q", "k", "v"};
    const size_t rows[3] = {kd, kd, vd};
    char p[56], name[32];
    (void)snprintf(p, sizeof p, "%sattn.", layer);
    /* rows of the joint input projection: q, k, v, a, b; channels of the convolution: q, k, v */
    size_t size = 0, end = 0;
    open_block in = block_open(b, b->floats, d, 1), conv = {0};
    b->ok &= natsl_size_mul(&size, channels + 2 * heads, d) && natsl_size_add(&end, in.at, size);
    if (c->use_short_conv) conv = block_open(b, end, width, 0);
    for (int i = 0; i < 3; i++) {
        (void)snprintf(name, sizeof name, "%s_proj.weight", names[i]);
        add(b, &in, p, name, 1, 2, rows[i], d, 1);
        if (!c->use_short_conv) continue;
        (void)snprintf(name, sizeof name, "%s_conv1d.weight", names[i]);
        add(b, &conv, p, name, 1, 3, rows[i], 1, width);
    }
    add(b, &in, p, "a_proj.weight", 1, 2, heads, d, 1);
    add(b, &in, p, "b_proj.weight", 1, 2, heads, d, 1);
    vector(b, p, "A_log", heads);
    vector(b, p, "dt_bias", heads);
    if (c->use_gate) matrix(b, p, "g_proj.weight", 1, vd, d);
    matrix(b, p, "o_proj.weight", 1, d, vd);
    if (is_gdn) {
        vector(b, p, "o_norm.weight", (size_t)c->head_v_dim);
        return;
    }
    /* the gate's rows stay as they are, and in float32: its choice changes everything after it */
    open_block gate = block_open(b, b->floats, d, 0);
    add(b, &gate, p, "nats_layer.weight", 1, 2, 2 * (size_t)c->num_nats_head, d, 1);
    matrix(b, p, "nats_out_weights_layer.weight", 1, 2 * (size_t)c->num_attn_heads, kd);
    vector(b, p, c->use_gate ? "o_norm.weight1" : "o_norm.0.weight",
           (size_t)(c->use_gate ? c->attn_v_dim : c->head_v_dim));
    vector(b, p, c->use_gate ? "o_norm.weight2" : "o_norm.1.weight", (size_t)c->attn_v_dim);
    if (!c->attn_qk_norm) return;
    vector(b, p, "q_norm.weight", (size_t)c->attn_k_dim);
    vector(b, p, "k_norm.weight", (size_t)c->attn_k_dim);
}

static void add_all(builder *b, const natsl_config *c)
{
    const size_t d = (size_t)c->hidden_size, wide = (size_t)c->intermediate_size, vocab = (size_t)c->vocab_size;
    matrix(b, "", "model.embeddings.weight", 0, vocab, d);
    vector(b, "", "model.norm.weight", d);
    if (!c->tie_word_embeddings) matrix(b, "", "lm_head.weight", 1, vocab, d);
    for (int i = 0; i < c->num_hidden_layers; i++) {
        char p[40];
        (void)snprintf(p, sizeof p, "model.layers.%d.", i);
        vector(b, p, "attn_norm.weight", d);
        vector(b, p, "mlp_norm.weight", d);
        if (c->kind[i] == NATSL_LAYER_ATTN) {
            const natsl_shape shape = natsl_shape_of(c, i);
            add_attention(b, c, p, &c->attn[c->attn_of[i]], &shape);
        } else {
            add_mixer(b, c, p, c->kind[i] == NATSL_LAYER_GDN);
        }
        open_block gate_up = block_open(b, b->floats, d, 1);
        add(b, &gate_up, p, "mlp.gate_proj.weight", 1, 2, wide, d, 1);
        add(b, &gate_up, p, "mlp.up_proj.weight", 1, 2, wide, d, 1);
        matrix(b, p, "mlp.down_proj.weight", 1, d, wide);
    }
    b->floats = align(b, b->floats);
}

/** Gives every block its place in the store. 0: too large. */
static int place_blocks(natsl_layout *l)
{
    size_t at = 0, bytes = 0;
    int ok = 1;
    for (size_t i = 0; i < l->n_blocks; i++) {
        natsl_block *b = &l->blocks[i];
        b->store = at;
        ok &= natsl_size_mul(&bytes, b->n, b->k) &&
              natsl_size_mul(&bytes, bytes, b->matrix ? natsl_storage_bytes(l->type) : sizeof(float)) &&
              natsl_size_add(&bytes, bytes, ALIGN_BYTES - 1) && natsl_size_add(&at, at, bytes - bytes % ALIGN_BYTES);
    }
    l->store_bytes = at;
    return ok;
}

natsl_status natsl_layout_create(const natsl_config *config, natsl_storage type, natsl_layout *out)
{
    builder b = {.ok = 1};
    memset(out, 0, sizeof *out);
    add_all(&b, config);
    size_t bytes = 0;
    if (!b.ok || !natsl_size_mul(&bytes, b.floats, sizeof(float)))
        return natsl_fail(NATSL_ERR_INPUT, "the configuration's tensors exceed the address space");
    natsl_layout l = {.tensors = natsl_calloc(b.count, sizeof *l.tensors, "tensor table"),
                      .blocks = natsl_calloc(b.n_blocks, sizeof *l.blocks, "tensor table"),
                      .type = type};
    if (!l.tensors || !l.blocks) {
        natsl_layout_free(&l);
        return NATSL_ERR_NOMEM;
    }
    b = (builder){.ok = 1, .tensors = l.tensors, .blocks = l.blocks};
    add_all(&b, config);
    l.count = b.count;
    l.n_blocks = b.n_blocks;
    l.floats = b.floats;
    if (!place_blocks(&l)) {
        natsl_layout_free(&l);
        return natsl_fail(NATSL_ERR_INPUT, "the configuration's tensors exceed the address space");
    }
    *out = l;
    return NATSL_OK;
}

void natsl_layout_free(natsl_layout *layout)
{
    natsl_free(layout->tensors);
    natsl_free(layout->blocks);
    memset(layout, 0, sizeof *layout);
}

void natsl_layout_put(const natsl_layout *layout, const natsl_tensor *tensor, const float *values, void *store)
{
    const natsl_block *b = &layout->blocks[tensor->block];
    char *to = (char *)store + b->store;
    if (b->matrix) natsl_matrix_put(b->n, b->k, layout->type, to, tensor->row, tensor->shape[0], values);
    else memcpy(to + tensor->row * b->k * sizeof(float), values, tensor->count * sizeof(float));
}

void natsl_layout_get(const natsl_layout *layout, const natsl_tensor *tensor, const void *store, float *values)
{
    const natsl_block *b = &layout->blocks[tensor->block];
    const char *from = (const char *)store + b->store;
    if (!b->matrix) {
        memcpy(values, from + tensor->row * b->k * sizeof(float), tensor->count * sizeof(float));
        return;
    }
    const natsl_matrix w = {.n = b->n, .k = b->k, .type = layout->type, .data = from};
    for (size_t j = 0; j < tensor->shape[0]; j++) {
        for (size_t l = 0; l < b->k; l++) values[j * b->k + l] = natsl_matrix_get(&w, tensor->row + j, l);
    }
}

/** Block of a tensor, NULL when the model has none of that name. `*hint` is where the search starts (and goes on from). */
static const natsl_block *find(const natsl_layout *layout, size_t *hint, const char *format, va_list arguments)
{
    char name[64];
    (void)vsnprintf(name, sizeof name, format, arguments);
    for (size_t i = 0; i < layout->count; i++) {
        const size_t k = (*hint + i) % layout->count;
        if (strcmp(layout->tensors[k].name, name) != 0) continue;
        *hint = k;
        return &layout->blocks[layout->tensors[k].block];
    }
    return NULL;
}

static natsl_matrix find_matrix(const natsl_layout *layout, const void *store, size_t *hint, const char *format, ...)
    NATSL_PRINTF(4, 5);
static natsl_matrix find_matrix(const natsl_layout *layout, const void *store, size_t *hint, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    const natsl_block *b = find(layout, hint, format, arguments);
    va_end(arguments);
    if (!b) return (natsl_matrix){0};
    return (natsl_matrix){.n = b->n, .k = b->k, .type = layout->type, .data = (const char *)store + b->store};
}

static const float *find_rows(const natsl_layout *layout, const void *store, size_t *hint, const char *format, ...)
    NATSL_PRINTF(4, 5);
static const float *find_rows(const natsl_layout *layout, const void *store, size_t *hint, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    const natsl_block *b = find(layout, hint, format, arguments);
    va_end(arguments);
    return b ? (const float *)(const void *)((const char *)store + b->store) : NULL;
}

/** With norm_zero_centred, a norm's weight [n] becomes a copy at *room with 1 added, and *room moves on. */
static const float *centre(const natsl_config *c, const float *w, size_t n, float **room)
{
    float *to = *room;
    if (!c->norm_zero_centred || !w) return w;
    for (size_t i = 0; i < n; i++) to[i] = 1.0f + w[i];
    *room += n;
    return to;
}

/** Norms that multiply by 1 + weight. */
static natsl_status centre_norms(natsl_weights *out)
{
    const natsl_config *c = &out->config;
    const size_t d = (size_t)c->hidden_size;
    size_t floats = d;
    for (int i = 0; i < c->num_hidden_layers; i++) floats += 2 * d + 2 * out->layers[i].shape.attn.dk;
    if (!c->norm_zero_centred) return NATSL_OK;
    if (!(out->centred = natsl_alloc(floats, sizeof(float), "norms"))) return NATSL_ERR_NOMEM;
    float *room = out->centred;
    out->norm = centre(c, out->norm, d, &room);
    for (int i = 0; i < c->num_hidden_layers; i++) {
        natsl_layer *l = &out->layers[i];
        l->attn_norm = centre(c, l->attn_norm, d, &room);
        l->mlp_norm = centre(c, l->mlp_norm, d, &room);
        l->q_norm = centre(c, l->q_norm, l->shape.attn.dk, &room);
        l->k_norm = centre(c, l->k_norm, l->shape.attn.dk, &room);
    }
    return NATSL_OK;
}

natsl_status natsl_weights_bind(const natsl_config *config, const natsl_layout *layout, const void *store,
                                natsl_weights *out)
{
    size_t at = 0;
    memset(out, 0, sizeof *out);
    out->layers = natsl_calloc((size_t)config->num_hidden_layers, sizeof *out->layers, "layers");
    if (!out->layers) return NATSL_ERR_NOMEM;
    out->config = *config;
    out->embeddings = find_matrix(layout, store, &at, "model.embeddings.weight");
    out->norm = find_rows(layout, store, &at, "model.norm.weight");
    out->head = config->tie_word_embeddings ? out->embeddings : find_matrix(layout, store, &at, "lm_head.weight");
    for (int i = 0; i < config->num_hidden_layers; i++) {
        natsl_layer *l = &out->layers[i];
#define MATRIX(name) find_matrix(layout, store, &at, "model.layers.%d." name, i)
#define ROWS(name)   find_rows(layout, store, &at, "model.layers.%d." name, i)
        l->shape = natsl_shape_of(config, i);
        l->attn_norm = ROWS("attn_norm.weight");
        l->mlp_norm = ROWS("mlp_norm.weight");
        l->w_in = MATRIX("attn.q_proj.weight");
        l->o_proj = MATRIX("attn.o_proj.weight");
        if (l->shape.kind == NATSL_LAYER_ATTN) {
            const natsl_attn_config *a = &config->attn[config->attn_of[i]];
            l->bias = a->qkv_bias ? ROWS("attn.q_proj.bias") : NULL;
            l->q_norm = a->qk_norm ? ROWS("attn.q_norm.weight") : NULL;
            l->k_norm = a->qk_norm ? ROWS("attn.k_norm.weight") : NULL;
        } else {
            l->conv = config->use_short_conv ? ROWS("attn.q_conv1d.weight") : NULL;
            l->a_log = ROWS("attn.A_log");
            l->dt_bias = ROWS("attn.dt_bias");
            if (config->use_gate) l->g_proj = MATRIX("attn.g_proj.weight");
        }
        if (l->shape.kind == NATSL_LAYER_GDN) l->o_norm = ROWS("attn.o_norm.weight");
        if (l->shape.kind == NATSL_LAYER_NATS) {
            l->nats = ROWS("attn.nats_layer.weight");
            l->nats_out = MATRIX("attn.nats_out_weights_layer.weight");
            l->o_norm1 = config->use_gate ? ROWS("attn.o_norm.weight1") : ROWS("attn.o_norm.0.weight");
            l->o_norm2 = config->use_gate ? ROWS("attn.o_norm.weight2") : ROWS("attn.o_norm.1.weight");
            l->q_norm = config->attn_qk_norm ? ROWS("attn.q_norm.weight") : NULL;
            l->k_norm = config->attn_qk_norm ? ROWS("attn.k_norm.weight") : NULL;
        }
        l->w_gate_up = MATRIX("mlp.gate_proj.weight");
        l->w_down = MATRIX("mlp.down_proj.weight");
#undef MATRIX
#undef ROWS
    }
    const natsl_status st = centre_norms(out);
    if (st != NATSL_OK) natsl_weights_free(out);
    return st;
}

void natsl_weights_free(natsl_weights *weights)
{
    natsl_free(weights->centred);
    natsl_free(weights->layers);
    memset(weights, 0, sizeof *weights);
}
