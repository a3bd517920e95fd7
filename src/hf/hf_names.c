/* hf_names.c - see hf_names.h. */
#include "hf_names.h"

#include "core.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/** Which rows of a joint tensor a part has, from the configuration: at, block, stride, and the rows of the whole. */
typedef struct rows {
    size_t at, block, stride, whole;
} rows;

/** One of natsl's names (behind the layer) and Qwen's. `rows` NULL: the whole tensor. */
typedef struct pair {
    const char *own, *theirs;
    rows (*rows)(const natsl_config *c);
    int families; /* bits */
} pair;

#define NEXT (1 << NATSL_HF_QWEN3_NEXT)
#define Q3_5 (1 << NATSL_HF_QWEN3_5)
#define BOTH (NEXT | Q3_5)

/* queries, keys, values, one after the other: conv1d and in_proj_qkv */
static rows joint(const natsl_config *c, size_t at, size_t n)
{
    return (rows){at, n, n, 2 * (size_t)c->key_dim + (size_t)c->value_dim};
}
static rows joint_q(const natsl_config *c) { return joint(c, 0, (size_t)c->key_dim); }
static rows joint_k(const natsl_config *c) { return joint(c, (size_t)c->key_dim, (size_t)c->key_dim); }
static rows joint_v(const natsl_config *c) { return joint(c, 2 * (size_t)c->key_dim, (size_t)c->value_dim); }

/* in_proj_qkvz and in_proj_ba: for each key head its query, its key, the values and gates (b and a) of its value heads */
static size_t head_values(const natsl_config *c) { return (size_t)(c->value_dim / c->num_heads); }
static rows by_head(const natsl_config *c, size_t at, size_t n)
{
    const size_t step = 2 * (size_t)c->head_dim + 2 * head_values(c);
    return (rows){at, n, step, step * (size_t)c->num_heads};
}
static rows head_q(const natsl_config *c) { return by_head(c, 0, (size_t)c->head_dim); }
static rows head_k(const natsl_config *c) { return by_head(c, (size_t)c->head_dim, (size_t)c->head_dim); }
static rows head_v(const natsl_config *c) { return by_head(c, 2 * (size_t)c->head_dim, head_values(c)); }
static rows head_z(const natsl_config *c)
{
    return by_head(c, 2 * (size_t)c->head_dim + head_values(c), head_values(c));
}
static rows head_ba(const natsl_config *c, size_t second)
{
    const size_t n = (size_t)(c->num_v_heads / c->num_heads);
    return (rows){second * n, n, 2 * n, 2 * (size_t)c->num_v_heads};
}
static rows head_b(const natsl_config *c) { return head_ba(c, 0); }
static rows head_a(const natsl_config *c) { return head_ba(c, 1); }

static const pair delta[] = {
    {"attn.q_proj.weight", "linear_attn.in_proj_qkvz.weight", head_q, NEXT},
    {"attn.k_proj.weight", "linear_attn.in_proj_qkvz.weight", head_k, NEXT},
    {"attn.v_proj.weight", "linear_attn.in_proj_qkvz.weight", head_v, NEXT},
    {"attn.g_proj.weight", "linear_attn.in_proj_qkvz.weight", head_z, NEXT},
    {"attn.b_proj.weight", "linear_attn.in_proj_ba.weight", head_b, NEXT},
    {"attn.a_proj.weight", "linear_attn.in_proj_ba.weight", head_a, NEXT},
    {"attn.q_proj.weight", "linear_attn.in_proj_qkv.weight", joint_q, Q3_5},
    {"attn.k_proj.weight", "linear_attn.in_proj_qkv.weight", joint_k, Q3_5},
    {"attn.v_proj.weight", "linear_attn.in_proj_qkv.weight", joint_v, Q3_5},
    {"attn.g_proj.weight", "linear_attn.in_proj_z.weight", NULL, Q3_5},
    {"attn.b_proj.weight", "linear_attn.in_proj_b.weight", NULL, Q3_5},
    {"attn.a_proj.weight", "linear_attn.in_proj_a.weight", NULL, Q3_5},
    {"attn.q_conv1d.weight", "linear_attn.conv1d.weight", joint_q, BOTH},
    {"attn.k_conv1d.weight", "linear_attn.conv1d.weight", joint_k, BOTH},
    {"attn.v_conv1d.weight", "linear_attn.conv1d.weight", joint_v, BOTH},
    {"attn.A_log", "linear_attn.A_log", NULL, BOTH},
    {"attn.dt_bias", "linear_attn.dt_bias", NULL, BOTH},
    {"attn.o_norm.weight", "linear_attn.norm.weight", NULL, BOTH},
    {"attn.o_proj.weight", "linear_attn.out_proj.weight", NULL, BOTH},
};

static const pair attention[] = {
    {"attn.q_proj.weight", "self_attn.q_proj.weight", NULL, BOTH},
    {"attn.k_proj.weight", "self_attn.k_proj.weight", NULL, BOTH},
    {"attn.v_proj.weight", "self_attn.v_proj.weight", NULL, BOTH},
    {"attn.o_proj.weight", "self_attn.o_proj.weight", NULL, BOTH},
    {"attn.q_norm.weight", "self_attn.q_norm.weight", NULL, BOTH},
    {"attn.k_norm.weight", "self_attn.k_norm.weight", NULL, BOTH},
};

static const pair either[] = {
    {"attn_norm.weight", "input_layernorm.weight", NULL, BOTH},
    {"mlp_norm.weight", "post_attention_layernorm.weight", NULL, BOTH},
    {"mlp.gate_proj.weight", "mlp.gate_proj.weight", NULL, BOTH},
    {"mlp.up_proj.weight", "mlp.up_proj.weight", NULL, BOTH},
    {"mlp.down_proj.weight", "mlp.down_proj.weight", NULL, BOTH},
};

static const pair *find(const pair *table, size_t count, natsl_hf_family family, const char *own)
{
    for (size_t i = 0; i < count; i++) {
        if ((table[i].families & 1 << family) && strcmp(table[i].own, own) == 0) return &table[i];
    }
    return NULL;
}

/** The name in a directory of Qwen's, and which of its rows. 0: natsl has a tensor that such models do not. */
static int name_qwen(natsl_hf_family family, const char *prefix, const natsl_config *c, const char *own, char *to,
                     size_t size, rows *r)
{
#define COUNT(table) (sizeof(table) / sizeof(table)[0])
    static const char layers[] = "model.layers.";
    if (strncmp(own, layers, sizeof layers - 1) != 0) {
        if (strcmp(own, "model.embeddings.weight") == 0) (void)snprintf(to, size, "%sembed_tokens.weight", prefix);
        else if (strcmp(own, "model.norm.weight") == 0) (void)snprintf(to, size, "%snorm.weight", prefix);
        else (void)snprintf(to, size, "%s", own); /* lm_head.weight */
        return 1;
    }
    char *rest = NULL;
    const long layer = strtol(own + sizeof layers - 1, &rest, 10);
    const pair *n = find(either, COUNT(either), family, rest + 1);
    if (!n && c->kind[layer] == NATSL_LAYER_ATTN) n = find(attention, COUNT(attention), family, rest + 1);
    else if (!n) n = find(delta, COUNT(delta), family, rest + 1);
    if (!n) return 0;
    if (n->rows) *r = n->rows(c);
    (void)snprintf(to, size, "%slayers.%ld.%s", prefix, layer, n->theirs);
    return 1;
#undef COUNT
}

natsl_status natsl_hf_names_create(natsl_hf_family family, const char *prefix, const natsl_config *config,
                                   const natsl_layout *layout, natsl_hf_names *out)
{
    const int qwen = family == NATSL_HF_QWEN3_NEXT || family == NATSL_HF_QWEN3_5;
    memset(out, 0, sizeof *out);
    out->places = natsl_calloc(layout->count, sizeof *out->places, "tensor table");
    out->tensors = natsl_calloc(layout->count, sizeof *out->tensors, "tensor table");
    if (!out->places || !out->tensors) {
        natsl_hf_names_free(out);
        return NATSL_ERR_NOMEM;
    }
    for (size_t i = 0; i < layout->count; i++) {
        const natsl_tensor *t = &layout->tensors[i];
        natsl_hf_tensor f = {.rank = t->rank, .shape = {t->shape[0], t->shape[1], t->shape[2]}};
        rows r = {0, t->shape[0], t->shape[0], t->shape[0]};
        if (!qwen) {
            (void)snprintf(f.name, sizeof f.name, "%s", t->name);
        } else if (!name_qwen(family, prefix, config, t->name, f.name, sizeof f.name, &r)) {
            natsl_hf_names_free(out);
            return natsl_fail(NATSL_ERR_INPUT, "tensor %s: models of this family have none", t->name);
        }
        f.shape[0] = r.whole;
        size_t k = r.whole != t->shape[0] ? out->count : 0; /* one of several parts: is there another one already? */
        while (k > 0 && strcmp(out->tensors[k - 1].name, f.name) != 0) k--;
        k = k > 0 ? k - 1 : out->count++;
        if (out->tensors[k].parts == 0) out->tensors[k] = f;
        out->tensors[k].parts++;
        out->places[i] = (natsl_hf_place){.tensor = k, .at = r.at, .block = r.block, .stride = r.stride};
        if (!natsl_size_mul(&out->tensors[k].count, f.shape[0], t->count / t->shape[0])) {
            natsl_hf_names_free(out);
            return natsl_fail(NATSL_ERR_INPUT, "tensor %s exceeds the address space", f.name);
        }
    }
    return NATSL_OK;
}

void natsl_hf_names_free(natsl_hf_names *names)
{
    natsl_free(names->places);
    natsl_free(names->tensors);
    memset(names, 0, sizeof *names);
}

int natsl_hf_is_left_out(natsl_hf_family family, const char *name)
{
    if (family != NATSL_HF_QWEN3_NEXT && family != NATSL_HF_QWEN3_5) return 0;
    return strncmp(name, "mtp.", 4) == 0 || (family == NATSL_HF_QWEN3_5 && strncmp(name, "model.visual.", 13) == 0);
}
