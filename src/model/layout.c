/* layout.c - the tensor table and the pointers into the flat array. See layout.h. */
#include "layout.h"

#include "core.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Tensors (and groups of adjacent tensors) start on a cache line. */
#define ALIGN_FLOATS 16

/** A table under construction. Overflow anywhere leaves `ok` false. */
typedef struct builder {
    natsl_tensor *tensors; /* NULL while only counting */
    size_t count, floats;
    int ok;
} builder;

static void align(builder *b)
{
    size_t up = 0;
    b->ok &= natsl_size_add(&up, b->floats, ALIGN_FLOATS - 1);
    b->floats = up - up % ALIGN_FLOATS;
}

/** The next tensor in the table, at the given place of the array (which grows to hold it). */
static size_t place(builder *b, size_t offset, const char *prefix, const char *name, int decays, int rank, size_t s0,
                    size_t s1, size_t s2)
{
    size_t count = 0, end = 0;
    b->ok &= natsl_size_mul(&count, s0, s1) && natsl_size_mul(&count, count, s2) && natsl_size_add(&end, offset, count);
    if (b->tensors) {
        natsl_tensor *t = &b->tensors[b->count];
        *t = (natsl_tensor){.offset = offset, .count = count, .rank = rank, .shape = {s0, s1, s2}, .decays = decays};
        (void)snprintf(t->name, sizeof t->name, "%s%s", prefix, name);
    }
    b->count++;
    if (end > b->floats) b->floats = end;
    return end;
}

/** A tensor of its own. */
static void single(builder *b, const char *prefix, const char *name, int decays, int rank, size_t s0, size_t s1)
{
    align(b);
    place(b, b->floats, prefix, name, decays, rank, s0, s1, 1);
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
    align(b);
    size_t at = b->floats, conv = at, size = 0;
    b->ok &= natsl_size_mul(&size, channels + 2 * heads, d) && natsl_size_add(&conv, at, size);
    conv = (conv + ALIGN_FLOATS - 1) / ALIGN_FLOATS * ALIGN_FLOATS;
    for (int i = 0; i < 3; i++) {
        (void)snprintf(name, sizeof name, "%s_proj.weight", names[i]);
        at = place(b, at, p, name, 1, 2, rows[i], d, 1);
        if (!c->use_short_conv) continue;
        (void)snprintf(name, sizeof name, "%s_conv1d.weight", names[i]);
        conv = place(b, conv, p, name, 1, 3, rows[i], 1, width);
    }
    at = place(b, at, p, "a_proj.weight", 1, 2, heads, d, 1);
    place(b, at, p, "b_proj.weight", 1, 2, heads, d, 1);
    single(b, p, "A_log", 0, 1, heads, 1);
    single(b, p, "dt_bias", 0, 1, heads, 1);
    if (c->use_gate) single(b, p, "g_proj.weight", 1, 2, vd, d);
    single(b, p, "o_proj.weight", 1, 2, d, vd);
    if (is_gdn) {
        single(b, p, "o_norm.weight", 0, 1, (size_t)c->head_v_dim, 1);
        return;
    }
    single(b, p, "nats_layer.weight", 1, 2, 2 * (size_t)c->num_nats_head, d);
    single(b, p, "nats_out_weights_layer.weight", 1, 2, 2 * (size_t)c->num_attn_heads, kd);
    if (c->use_gate) {
        single(b, p, "o_norm.weight1", 0, 1, (size_t)c->attn_v_dim, 1);
        single(b, p, "o_norm.weight2", 0, 1, (size_t)c->attn_v_dim, 1);
    } else {
        single(b, p, "o_norm.0.weight", 0, 1, (size_t)c->head_v_dim, 1);
        single(b, p, "o_norm.1.weight", 0, 1, (size_t)c->attn_v_dim, 1);
    }
    if (!c->attn_qk_norm) return;
    single(b, p, "q_norm.weight", 0, 1, (size_t)c->attn_k_dim, 1);
    single(b, p, "k_norm.weight", 0, 1, (size_t)c->attn_k_dim, 1);
}

static void add_all(builder *b, const natsl_config *c)
{
    const size_t d = (size_t)c->hidden_size, wide = (size_t)c->intermediate_size, vocab = (size_t)c->vocab_size;
    single(b, "", "model.embeddings.weight", 0, 2, vocab, d);
    single(b, "", "model.norm.weight", 0, 1, d, 1);
    if (!c->tie_word_embeddings) single(b, "", "lm_head.weight", 1, 2, vocab, d);
    for (int i = 0; i < c->num_hidden_layers; i++) {
        char p[40];
        (void)snprintf(p, sizeof p, "model.layers.%d.", i);
        single(b, p, "attn_norm.weight", 0, 1, d, 1);
        single(b, p, "mlp_norm.weight", 0, 1, d, 1);
        add_mixer(b, c, p, c->is_gdn[i]);
        single(b, p, "mlp.gate_proj.weight", 1, 2, wide, d);
        place(b, b->floats, p, "mlp.up_proj.weight", 1, 2, wide, d, 1); /* right behind: one product */
        single(b, p, "mlp.down_proj.weight", 1, 2, d, wide);
    }
    align(b);
}

natsl_status natsl_layout_create(const natsl_config *config, natsl_layout *out)
{
    builder b = {.ok = 1};
    memset(out, 0, sizeof *out);
    add_all(&b, config);
    size_t bytes = 0;
    if (!b.ok || !natsl_size_mul(&bytes, b.floats, sizeof(float)))
        return natsl_fail(NATSL_ERR_INPUT, "the configuration's tensors exceed the address space");
    const size_t count = b.count;
    b = (builder){.ok = 1, .tensors = natsl_calloc(count, sizeof *b.tensors, "tensor table")};
    if (!b.tensors) return NATSL_ERR_NOMEM;
    add_all(&b, config);
    *out = (natsl_layout){.tensors = b.tensors, .count = b.count, .floats = b.floats};
    return NATSL_OK;
}

void natsl_layout_free(natsl_layout *layout)
{
    natsl_free(layout->tensors);
    memset(layout, 0, sizeof *layout);
}

/** Address of a tensor, NULL when the model has none of that name. `*hint` is where the search starts (and goes on
 * from). */
static const float *find(const natsl_layout *layout, const float *flat, size_t *hint, const char *format, ...)
    NATSL_PRINTF(4, 5);
static const float *find(const natsl_layout *layout, const float *flat, size_t *hint, const char *format, ...)
{
    char name[64];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(name, sizeof name, format, arguments);
    va_end(arguments);
    for (size_t i = 0; i < layout->count; i++) {
        const size_t k = (*hint + i) % layout->count;
        if (strcmp(layout->tensors[k].name, name) != 0) continue;
        *hint = k;
        return flat + layout->tensors[k].offset;
    }
    return NULL;
}

natsl_status natsl_weights_bind(const natsl_config *config, const natsl_layout *layout, const float *flat,
                                natsl_weights *out)
{
    size_t at = 0;
    memset(out, 0, sizeof *out);
    out->layers = natsl_calloc((size_t)config->num_hidden_layers, sizeof *out->layers, "layers");
    if (!out->layers) return NATSL_ERR_NOMEM;
    out->config = *config;
    out->embeddings = find(layout, flat, &at, "model.embeddings.weight");
    out->norm = find(layout, flat, &at, "model.norm.weight");
    out->head = config->tie_word_embeddings ? out->embeddings : find(layout, flat, &at, "lm_head.weight");
    for (int i = 0; i < config->num_hidden_layers; i++) {
        natsl_layer *l = &out->layers[i];
#define FIND(name) find(layout, flat, &at, "model.layers.%d." name, i)
        l->is_gdn = config->is_gdn[i];
        l->attn_norm = FIND("attn_norm.weight");
        l->mlp_norm = FIND("mlp_norm.weight");
        l->w_in = FIND("attn.q_proj.weight");
        l->conv = config->use_short_conv ? FIND("attn.q_conv1d.weight") : NULL;
        l->a_log = FIND("attn.A_log");
        l->dt_bias = FIND("attn.dt_bias");
        l->g_proj = config->use_gate ? FIND("attn.g_proj.weight") : NULL;
        l->o_proj = FIND("attn.o_proj.weight");
        if (l->is_gdn) {
            l->o_norm = FIND("attn.o_norm.weight");
        } else {
            l->nats = FIND("attn.nats_layer.weight");
            l->nats_out = FIND("attn.nats_out_weights_layer.weight");
            l->o_norm1 = config->use_gate ? FIND("attn.o_norm.weight1") : FIND("attn.o_norm.0.weight");
            l->o_norm2 = config->use_gate ? FIND("attn.o_norm.weight2") : FIND("attn.o_norm.1.weight");
            l->q_norm = config->attn_qk_norm ? FIND("attn.q_norm.weight") : NULL;
            l->k_norm = config->attn_qk_norm ? FIND("attn.k_norm.weight") : NULL;
        }
        l->w_gate_up = FIND("mlp.gate_proj.weight");
        l->w_down = FIND("mlp.down_proj.weight");
#undef FIND
    }
    return NATSL_OK;
}

void natsl_weights_free(natsl_weights *weights)
{
    natsl_free(weights->layers);
    memset(weights, 0, sizeof *weights);
}
