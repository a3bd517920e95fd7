/* config.c - the configuration's JSON. Every key is named here once: what it sets, or why it may be passed over.
 * Source: oracle.py DEFAULTS and class Config; the published configuration class. Tests: tests/unit/test_config.c */
#include "config_bounds.h"
#include "core.h"

#include <jansson.h>
#include <math.h>
#include <natsl/config.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Of a chunk, as config_bounds.h has the others. */
#define MAX_CHUNK (1 << 20)

typedef enum kind {
    KIND_SIZE, /* integer in [low, high]; default 0 with null_ok: derived */
    KIND_BOOL,
    KIND_REAL,     /* number > 0 */
    KIND_FLOAT,    /* the same, stored as float */
    KIND_LAYERS,   /* list of layer indices */
    KIND_ATTN,     /* attention layers: null, an object of attn_keys, or a list of them */
    KIND_ONLY_INT, /* exactly this integer */
    KIND_ONLY_TRUE,
    KIND_ONLY_FALSE,
    KIND_ONE_OF, /* one of the words in `words` */
    KIND_IGNORED /* of a type in `low`; does not change what natsl computes */
} kind;

/* JSON types that an ignored key may have, as bits of `low`. */
#define T_NULL    1
#define T_BOOL    2
#define T_INT     4
#define T_REAL    8 /* any number */
#define T_STRING  16
#define T_STRINGS 32  /* list of strings */
#define T_INTS    64  /* list of integers */
#define T_WORDS   128 /* object of strings */

typedef struct key {
    const char *name;
    kind kind;
    size_t offset;   /* in natsl_config */
    int null_ok;     /* null means the default */
    double standard; /* default */
    int64_t low, high;
    const char *words; /* "|a|b|" */
} key;

#define AT(member) offsetof(natsl_config, member)
static const key keys[] = {
    {"hidden_size", KIND_SIZE, AT(hidden_size), 0, 64, 1, NATSL_MAX_DIM, NULL},
    {"num_hidden_layers", KIND_SIZE, AT(num_hidden_layers), 0, 4, 1, NATSL_MAX_LAYERS, NULL},
    {"vocab_size", KIND_SIZE, AT(vocab_size), 0, 96, 1, NATSL_MAX_DIM, NULL},
    {"head_dim", KIND_SIZE, AT(head_dim), 0, 16, 1, NATSL_MAX_DIM, NULL},
    {"num_heads", KIND_SIZE, AT(num_heads), 0, 2, 1, NATSL_MAX_HEADS, NULL},
    {"num_v_heads", KIND_SIZE, AT(num_v_heads), 1, 0, 1, NATSL_MAX_HEADS, NULL},
    {"num_attn_heads", KIND_SIZE, AT(num_attn_heads), 0, 4, 1, NATSL_MAX_HEADS, NULL},
    {"num_nats_head", KIND_SIZE, AT(num_nats_head), 1, 0, 1, NATSL_MAX_HEADS, NULL},
    {"expand_v", KIND_REAL, AT(expand_v), 0, 2, 0, 0, NULL},
    {"conv_size", KIND_SIZE, AT(conv_size), 0, 4, 1, NATSL_MAX_CONV, NULL},
    {"hidden_ratio", KIND_REAL, SIZE_MAX, 0, 4, 0, 0, NULL},
    {"intermediate_size", KIND_SIZE, AT(intermediate_size), 1, 0, 1, NATSL_MAX_DIM, NULL},
    {"norm_eps", KIND_FLOAT, AT(norm_eps), 0, 1e-6, 0, 0, NULL},
    {"nats_block_size", KIND_SIZE, AT(chunk), 0, 64, 1, MAX_CHUNK, NULL},
    {"gdn_layers", KIND_LAYERS, 0, 0, 0, 0, 0, NULL},
    {"attn", KIND_ATTN, 0, 0, 0, 0, 0, NULL},
    {"allow_neg_eigval", KIND_BOOL, AT(allow_neg_eigval), 0, 0, 0, 0, NULL},
    {"attn_qk_norm", KIND_BOOL, AT(attn_qk_norm), 0, 1, 0, 0, NULL},
    {"attn_with_short_conv", KIND_BOOL, AT(attn_with_short_conv), 0, 1, 0, 0, NULL},
    {"attn_apply_pos_encoding", KIND_BOOL, AT(attn_apply_pos_encoding), 0, 0, 0, 0, NULL},
    {"attn_rope_theta", KIND_REAL, AT(rope_theta), 0, 10000.0, 0, 0, NULL},
    {"decay_for_non_gdn_blocks", KIND_BOOL, AT(decay_for_non_gdn_blocks), 0, 1, 0, 0, NULL},
    {"tie_word_embeddings", KIND_BOOL, AT(tie_word_embeddings), 0, 0, 0, 0, NULL},
    {"use_gate", KIND_BOOL, AT(use_gate), 0, 1, 0, 0, NULL},
    {"use_short_conv", KIND_BOOL, AT(use_short_conv), 0, 1, 0, 0, NULL},
    /* natsl's own: not in published files, and written only where they say something */
    {"head_v_dim", KIND_SIZE, AT(head_v_dim), 1, 0, 1, NATSL_MAX_DIM, NULL},
    {"norm_zero_centred", KIND_BOOL, AT(norm_zero_centred), 0, 0, 0, 0, NULL},
    /* one value is implemented, the published one */
    {"n_ops", KIND_ONLY_INT, 0, 0, 2, 0, 0, NULL},
    {"ops_for_incomplete_chunks", KIND_ONE_OF, 0, 0, 0, 0, 0, "|all|"},
    {"incomplete_block_start_with_ht", KIND_ONLY_TRUE, 0, 0, 0, 0, 0, NULL},
    {"nats_block_agg_type", KIND_ONE_OF, 0, 0, 0, 0, 0, "|mean|"},
    {"hidden_act", KIND_ONE_OF, 0, 0, 0, 0, 0, "|swish|silu|"},
    {"conv_bias", KIND_ONLY_FALSE, 0, 0, 0, 0, 0, NULL},
    {"outputs_are_wighted", KIND_ONLY_TRUE, 0, 0, 0, 0, 0, NULL}, /* spelt so in the published files */
    {"use_l2warp", KIND_ONLY_FALSE, 0, 0, 0, 0, 0, NULL},
    {"model_type", KIND_ONE_OF, 0, 0, 0, 0, 0,
     "|neural_attention_search_linear|neural_attention_search_linear_attn_gdn|"},
/* A published file carries these too. Nothing that natsl computes depends on them, for the reason given; a value of a
     * type that the key never has is still an error. */
#define IGNORED(name, types)                                                                                           \
    {                                                                                                                  \
        name, KIND_IGNORED, 0, 0, 0, types, 0, NULL                                                                    \
    }
    /* sizes of tables; natsl computes each position's angle, or needs none */
    IGNORED("max_position_embeddings", T_NULL | T_INT),
    IGNORED("attn_max_position_embeddings", T_NULL | T_INT),
    /* which of several equal GPU programs runs */
    IGNORED("attn_mode", T_STRING),
    IGNORED("fuse_norm", T_BOOL),
    IGNORED("fuse_swiglu", T_BOOL),
    IGNORED("fuse_cross_entropy", T_BOOL),
    IGNORED("use_cache", T_BOOL),
    /* training: where gradients go, how weights begin */
    IGNORED("compute_dnats_for_invalid_blocks_attn", T_NULL | T_BOOL),
    IGNORED("compute_dnats_for_invalid_blocks_att", T_NULL | T_BOOL),
    IGNORED("compute_dnats_for_invalid_blocks_linear_att", T_NULL | T_BOOL),
    IGNORED("nats_sample_strategy", T_STRING), /* reading always takes the best-scored operation */
    IGNORED("initializer_range", T_REAL),
    /* the tokenizer's business */
    IGNORED("pad_token_id", T_NULL | T_INT),
    IGNORED("bos_token_id", T_NULL | T_INT),
    IGNORED("eos_token_id", T_NULL | T_INT | T_INTS),
    /* how the published code is found and what wrote the file; tensors carry their own type */
    IGNORED("architectures", T_NULL | T_STRINGS),
    IGNORED("auto_map", T_NULL | T_WORDS),
    IGNORED("torch_dtype", T_NULL | T_STRING),
    IGNORED("dtype", T_NULL | T_STRING),
    IGNORED("transformers_version", T_NULL | T_STRING),
#undef IGNORED
};
#define KEYS (sizeof keys / sizeof keys[0])

/* An object of `attn`: flash-linear-attention's keys, then natsl's own. `layers` is read beside them. */
#define ATTN(member) offsetof(natsl_attn_config, member)
static const key attn_keys[] = {
    {"layers", KIND_LAYERS, 0, 0, 0, 0, 0, NULL},
    {"num_heads", KIND_SIZE, ATTN(num_heads), 0, 0, 1, NATSL_MAX_HEADS, NULL},
    {"num_kv_heads", KIND_SIZE, ATTN(num_kv_heads), 1, 0, 1, NATSL_MAX_HEADS, NULL},
    {"qkv_bias", KIND_BOOL, ATTN(qkv_bias), 0, 0, 0, 0, NULL},
    {"qk_norm", KIND_BOOL, ATTN(qk_norm), 0, 0, 0, 0, NULL},
    {"window_size", KIND_SIZE, ATTN(window_size), 1, 0, 1, INT32_MAX, NULL},
    {"rope_theta", KIND_REAL, ATTN(rope_theta), 1, 10000.0, 0, 0, NULL},
    {"head_dim", KIND_SIZE, ATTN(head_dim), 1, 0, 1, NATSL_MAX_DIM, NULL},
    {"rotary_dim", KIND_SIZE, ATTN(rotary_dim), 1, -1, 0, NATSL_MAX_DIM, NULL},
    {"qk_norm_eps", KIND_FLOAT, ATTN(qk_norm_eps), 1, 0, 0, 0, NULL},
    {"output_gate", KIND_BOOL, ATTN(output_gate), 0, 0, 0, 0, NULL},
};
#define ATTN_KEYS (sizeof attn_keys / sizeof attn_keys[0])

static int32_t *int_at(void *c, size_t offset) { return (int32_t *)(void *)((char *)c + offset); }
static int *bool_at(void *c, size_t offset) { return (int *)(void *)((char *)c + offset); }
static float *float_at(void *c, size_t offset) { return (float *)(void *)((char *)c + offset); }

static const key *find_key(const key *table, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(table[i].name, name) == 0) return &table[i];
    }
    return NULL;
}

static natsl_status wrong(const char *source, const char *name, const char *expected)
{
    return natsl_fail(NATSL_ERR_INPUT, "%s: configuration key %s: expected %s", source, name, expected);
}

/** Everything at its default; sizes that are derived stay 0. *ratio: hidden_ratio. */
static void set_defaults(natsl_config *c, double *ratio)
{
    memset(c, 0, sizeof *c);
    for (size_t i = 0; i < KEYS; i++) {
        const key *k = &keys[i];
        if (k->kind == KIND_SIZE) *int_at(c, k->offset) = (int32_t)k->standard;
        else if (k->kind == KIND_BOOL) *bool_at(c, k->offset) = (int)k->standard;
        else if (k->kind == KIND_REAL && k->offset != SIZE_MAX)
            memcpy((char *)c + k->offset, &k->standard, sizeof(double));
    }
    c->norm_eps = 1e-6f;
    *ratio = 4.0;
}

static natsl_status set_real(void *c, const key *k, const json_t *v, double *ratio, const char *source)
{
    const double x = json_is_number(v) ? json_number_value(v) : -1.0;
    if (!(x > 0.0) || !(x <= NATSL_MAX_REAL))
        return wrong(source, k->name, "a number above 0 up to " NATSL_MAX_REAL_TEXT);
    if (k->kind == KIND_FLOAT) {
        const float narrow = (float)x;
        memcpy((char *)c + k->offset, &narrow, sizeof narrow);
        if (!(narrow > 0.0f)) return wrong(source, k->name, "a number above 0 that float32 can hold");
    } else if (k->offset == SIZE_MAX) {
        *ratio = x;
    } else {
        memcpy((char *)c + k->offset, &x, sizeof x);
    }
    return NATSL_OK;
}

/** An ignored key's value has a type that it may have. */
static natsl_status check_ignored(const key *k, json_t *v, const char *source)
{
    static const struct {
        int64_t type;
        const char *name;
    } types[] = {{T_NULL, "null"},
                 {T_BOOL, "true or false"},
                 {T_INT, "an integer"},
                 {T_REAL, "a number"},
                 {T_STRING, "a string"},
                 {T_STRINGS, "a list of strings"},
                 {T_INTS, "a list of integers"},
                 {T_WORDS, "an object of strings"}};
    const int64_t want = k->low;
    int ok = ((want & T_NULL) && json_is_null(v)) || ((want & T_BOOL) && json_is_boolean(v)) ||
             ((want & T_INT) && json_is_integer(v)) || ((want & T_REAL) && json_is_number(v)) ||
             ((want & T_STRING) && json_is_string(v));
    if ((want & (T_STRINGS | T_INTS)) && json_is_array(v)) {
        ok = 1;
        for (size_t i = 0; i < json_array_size(v); i++) {
            const json_t *e = json_array_get(v, i);
            ok &= (want & T_STRINGS) ? json_is_string(e) : json_is_integer(e);
        }
    } else if ((want & T_WORDS) && json_is_object(v)) {
        ok = 1;
        for (void *it = json_object_iter(v); it; it = json_object_iter_next(v, it))
            ok &= json_is_string(json_object_iter_value(it));
    }
    if (ok) return NATSL_OK;
    char text[160] = "";
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        if (!(want & types[i].type)) continue;
        const size_t at = strlen(text);
        (void)snprintf(text + at, sizeof text - at, "%s%s", at ? " or " : "", types[i].name);
    }
    return wrong(source, k->name, text);
}

/** One key into a natsl_config or, for attn_keys, a natsl_attn_config. */
static natsl_status set_value(void *c, const key *k, json_t *v, double *ratio, const char *source)
{
    char text[128];
    if (json_is_null(v) && k->null_ok) return NATSL_OK;
    switch (k->kind) {
    case KIND_SIZE:
        if (!json_is_integer(v) || json_integer_value(v) < k->low || json_integer_value(v) > k->high) {
            (void)snprintf(text, sizeof text, "an integer from %lld to %lld%s", (long long)k->low, (long long)k->high,
                           k->null_ok ? ", or null" : "");
            return wrong(source, k->name, text);
        }
        *int_at(c, k->offset) = (int32_t)json_integer_value(v);
        return NATSL_OK;
    case KIND_BOOL:
        if (!json_is_boolean(v)) return wrong(source, k->name, "true or false");
        *bool_at(c, k->offset) = json_is_true(v);
        return NATSL_OK;
    case KIND_REAL:
    case KIND_FLOAT: return set_real(c, k, v, ratio, source);
    case KIND_ONLY_INT:
        if (json_is_integer(v) && json_integer_value(v) == (json_int_t)k->standard) return NATSL_OK;
        (void)snprintf(text, sizeof text, "%d, the only value supported", (int)k->standard);
        return wrong(source, k->name, text);
    case KIND_ONLY_TRUE: return json_is_true(v) ? NATSL_OK : wrong(source, k->name, "true, the only value supported");
    case KIND_ONLY_FALSE:
        return json_is_false(v) ? NATSL_OK : wrong(source, k->name, "false, the only value supported");
    case KIND_ONE_OF:
        if (json_is_string(v) && json_string_length(v) < sizeof text - 2) {
            (void)snprintf(text, sizeof text, "|%s|", json_string_value(v));
            if (!strchr(json_string_value(v), '|') && strstr(k->words, text)) return NATSL_OK;
        }
        (void)snprintf(text, sizeof text, "%.*s", (int)strlen(k->words) - 2, k->words + 1);
        for (char *p = text; *p; p++) {
            if (*p == '|') *p = ' ';
        }
        return natsl_fail(NATSL_ERR_INPUT, "%s: configuration key %s: expected one of: %s", source, k->name, text);
    case KIND_IGNORED: return check_ignored(k, v, source);
    case KIND_LAYERS:
    case KIND_ATTN: break; /* set_layers, set_attention, once the number of layers is known */
    }
    return NATSL_OK;
}

/** The layers of a list become layers of a kind; each may be named once. */
static natsl_status mark_layers(natsl_config *c, const json_t *v, natsl_layer_kind mark, const char *name,
                                const char *source)
{
    if (!json_is_array(v)) return wrong(source, name, "a list of layer numbers");
    for (size_t i = 0; i < json_array_size(v); i++) {
        const json_t *e = json_array_get(v, i);
        const json_int_t layer = json_is_integer(e) ? json_integer_value(e) : -1;
        if (layer < 0 || layer >= c->num_hidden_layers || c->kind[layer] != NATSL_LAYER_NATS)
            return wrong(source, name, "distinct layer numbers from 0 to num_hidden_layers - 1, in no other list");
        c->kind[layer] = (uint8_t)mark;
        c->attn_of[layer] = (uint8_t)(mark == NATSL_LAYER_ATTN ? c->num_attn : 0);
    }
    return NATSL_OK;
}

static natsl_status set_layers(natsl_config *c, const json_t *v, const char *source)
{
    if (v) return mark_layers(c, v, NATSL_LAYER_GDN, "gdn_layers", source);
    if (c->num_hidden_layers < 3)
        return wrong(source, "gdn_layers", "a list of layers (its default, 0 1 2, needs three)");
    memset(c->kind, NATSL_LAYER_GDN, 3); /* oracle.py's default */
    return NATSL_OK;
}

/** Sizes of an attention layer that follow from others, and whether they fit together. */
static natsl_status derive_attention(const natsl_config *c, natsl_attn_config *a, const char *source)
{
    if (!a->num_heads) return wrong(source, "attn.num_heads", "the number of heads of attention layers");
    if (!a->num_kv_heads) a->num_kv_heads = a->num_heads;
    if (a->num_heads % a->num_kv_heads) return wrong(source, "attn.num_kv_heads", "a divisor of attn.num_heads");
    if (!a->head_dim) {
        if (c->hidden_size % a->num_heads) return wrong(source, "attn.num_heads", "a divisor of hidden_size");
        a->head_dim = c->hidden_size / a->num_heads;
    }
    if ((int64_t)a->num_heads * a->head_dim > NATSL_MAX_DIM / 2)
        return wrong(source, "attn.num_heads", "attn.num_heads * attn.head_dim up to 2^23");
    if (a->rotary_dim < 0) a->rotary_dim = a->head_dim;
    if (a->rotary_dim > a->head_dim || a->rotary_dim % 2)
        return wrong(source, "attn.rotary_dim", "an even number up to attn.head_dim (its default)");
    if (!(a->qk_norm_eps > 0.0f)) a->qk_norm_eps = c->norm_eps;
    return NATSL_OK;
}

/** One object of `attn`. */
static natsl_status add_attention(natsl_config *c, json_t *v, const char *source)
{
    char inside[512]; /* errors name the key inside of attn */
    double none = 0.0;
    natsl_status st = NATSL_OK;
    if (!json_is_object(v)) return wrong(source, "attn", "null, an object or a list of objects");
    if (c->num_attn == NATSL_MAX_ATTN) return wrong(source, "attn", "a list of at most 8 objects");
    natsl_attn_config *a = &c->attn[c->num_attn];
    for (size_t i = 0; i < ATTN_KEYS; i++) {
        const key *k = &attn_keys[i];
        if (k->kind == KIND_SIZE) *int_at(a, k->offset) = (int32_t)k->standard;
        if (k->kind == KIND_REAL) memcpy((char *)a + k->offset, &k->standard, sizeof(double));
    }
    (void)snprintf(inside, sizeof inside, "%.480s: attn", source);
    for (void *it = json_object_iter(v); it && st == NATSL_OK; it = json_object_iter_next(v, it)) {
        const char *name = json_object_iter_key(it);
        const key *k = find_key(attn_keys, ATTN_KEYS, name);
        st = k ? set_value(a, k, json_object_iter_value(it), &none, inside)
               : natsl_fail(NATSL_ERR_INPUT, "%s: configuration key attn.%.80s is not known", source, name);
    }
    if (st == NATSL_OK) st = derive_attention(c, a, source);
    if (st == NATSL_OK) st = mark_layers(c, json_object_get(v, "layers"), NATSL_LAYER_ATTN, "attn.layers", source);
    c->num_attn++;
    return st;
}

/** After gdn_layers and norm_eps are known. */
static natsl_status set_attention(natsl_config *c, json_t *v, const char *source)
{
    natsl_status st = NATSL_OK;
    if (!v || json_is_null(v)) return NATSL_OK;
    if (!json_is_array(v)) return add_attention(c, v, source);
    for (size_t i = 0; i < json_array_size(v) && st == NATSL_OK; i++)
        st = add_attention(c, json_array_get(v, i), source);
    return st;
}

/** The size of value heads where none is given. */
static double expanded(const natsl_config *c) { return floor((double)c->head_dim * c->expand_v); }

/** The sizes that follow, and whether they fit together. */
static natsl_status derive(natsl_config *c, double ratio, const char *source)
{
    if (!c->num_v_heads) c->num_v_heads = c->num_heads;
    if (!c->num_nats_head) c->num_nats_head = c->num_heads;
    const double dv = expanded(c);
    if (!c->head_v_dim && !(dv >= 1.0 && dv <= NATSL_MAX_DIM))
        return wrong(source, "expand_v", "head_dim * expand_v from 1 to 2^24");
    if (!c->head_v_dim) c->head_v_dim = (int32_t)dv;
    const int64_t kd = (int64_t)c->num_heads * c->head_dim, vd = (int64_t)c->num_v_heads * c->head_v_dim;
    if (kd > NATSL_MAX_DIM) return wrong(source, "num_heads", "num_heads * head_dim up to 2^24");
    if (vd > NATSL_MAX_DIM) return wrong(source, "num_v_heads", "num_v_heads * head_dim * expand_v up to 2^24");
    c->key_dim = (int32_t)kd;
    c->value_dim = (int32_t)vd;
    if (c->num_v_heads % c->num_heads) return wrong(source, "num_v_heads", "a multiple of num_heads");
    if (c->num_v_heads % c->num_nats_head) return wrong(source, "num_nats_head", "a divisor of num_v_heads");
    if (c->num_attn_heads % c->num_nats_head) return wrong(source, "num_nats_head", "a divisor of num_attn_heads");
    if (c->key_dim % c->num_attn_heads) return wrong(source, "num_attn_heads", "a divisor of num_heads * head_dim");
    if (c->value_dim % c->num_attn_heads)
        return wrong(source, "num_attn_heads", "a divisor of num_v_heads * head_dim * expand_v");
    c->attn_k_dim = c->key_dim / c->num_attn_heads;
    c->attn_v_dim = c->value_dim / c->num_attn_heads;
    if (c->attn_apply_pos_encoding && c->attn_k_dim % 2)
        return wrong(source, "attn_apply_pos_encoding", "an even num_heads * head_dim / num_attn_heads to rotate");
    if (!c->intermediate_size) { /* 256 * ceil(hidden * ratio * 2/3 / 256), oracle.py */
        const double wide = floor((double)c->hidden_size * ratio * 2.0 / 3.0);
        if (!(wide >= 1.0 && wide <= NATSL_MAX_DIM))
            return wrong(source, "hidden_ratio", "a feed-forward size from 1 to 2^24");
        c->intermediate_size = 256 * (((int32_t)wide + 255) / 256);
    }
    return NATSL_OK;
}

natsl_status natsl_config_parse(const char *json, size_t length, const char *source, natsl_config *out)
{
    json_error_t e;
    natsl_config c;
    double ratio = 4.0;
    natsl_status st = NATSL_OK;
    if (length > NATSL_MAX_CONFIG_BYTES)
        return natsl_fail(NATSL_ERR_INPUT, "%s: configuration of %zu bytes, expected at most 1 MiB", source, length);
    json_t *root = json_loadb(json, length, JSON_REJECT_DUPLICATES, &e);
    if (!root) return natsl_fail(NATSL_ERR_INPUT, "%s: configuration: line %d: %s", source, e.line, e.text);
    if (!json_is_object(root)) {
        st = natsl_fail(NATSL_ERR_INPUT, "%s: configuration: expected a JSON object", source);
        goto cleanup;
    }
    set_defaults(&c, &ratio);
    for (void *it = json_object_iter(root); it; it = json_object_iter_next(root, it)) {
        const char *name = json_object_iter_key(it);
        const key *k = find_key(keys, KEYS, name);
        if (!k) {
            st = natsl_fail(NATSL_ERR_INPUT, "%s: configuration key %.80s is not known", source, name);
            goto cleanup;
        }
        NATSL_TRY(st, cleanup, set_value(&c, k, json_object_iter_value(it), &ratio, source));
    }
    NATSL_TRY(st, cleanup, set_layers(&c, json_object_get(root, "gdn_layers"), source));
    NATSL_TRY(st, cleanup, set_attention(&c, json_object_get(root, "attn"), source));
    NATSL_TRY(st, cleanup, derive(&c, ratio, source));
    *out = c;
cleanup:
    json_decref(root);
    return st;
}

/** The keys of a table with a configuration's values, but for lists. Returns whether something failed. */
static int put_keys(json_t *root, const key *table, size_t count, void *c)
{
    int bad = 0;
    for (size_t i = 0; i < count && !bad; i++) {
        const key *k = &table[i];
        double real = 0.0;
        if (k->kind == KIND_SIZE) {
            /* 0 where the key's range does not have it: null */
            const int32_t n = *int_at(c, k->offset);
            bad = json_object_set_new(root, k->name, n < k->low ? json_null() : json_integer(n));
        } else if (k->kind == KIND_BOOL) {
            bad = json_object_set_new(root, k->name, json_boolean(*bool_at(c, k->offset)));
        } else if (k->kind == KIND_FLOAT) {
            bad = json_object_set_new(root, k->name, json_real((double)*float_at(c, k->offset)));
        } else if (k->kind == KIND_REAL && k->offset != SIZE_MAX) {
            memcpy(&real, (char *)c + k->offset, sizeof real);
            bad = json_object_set_new(root, k->name, json_real(real));
        }
    }
    return bad;
}

/** Numbers of the layers of a kind; `which` counts for attention layers. NULL when out of memory. */
static json_t *list_layers(const natsl_config *c, natsl_layer_kind of, int which)
{
    json_t *layers = json_array();
    for (int i = 0; layers && i < c->num_hidden_layers; i++) {
        if (c->kind[i] != of || (of == NATSL_LAYER_ATTN && c->attn_of[i] != which)) continue;
        if (json_array_append_new(layers, json_integer(i))) {
            json_decref(layers);
            layers = NULL;
        }
    }
    return layers;
}

char *natsl_config_json(const natsl_config *config)
{
    natsl_config c = *config; /* int_at wants it writable */
    json_t *root = json_object(), *attn = c.num_attn ? json_array() : NULL;
    int bad = !root || (c.num_attn && !attn) || put_keys(root, keys, KEYS, &c);
    if (!bad) bad = json_object_set_new(root, "gdn_layers", list_layers(&c, NATSL_LAYER_GDN, 0));
    if (!bad && c.head_v_dim == expanded(&c)) bad = json_object_del(root, "head_v_dim");
    if (!bad && !c.norm_zero_centred) bad = json_object_del(root, "norm_zero_centred");
    for (int i = 0; i < c.num_attn && !bad; i++) {
        json_t *a = json_object();
        bad = !a || put_keys(a, attn_keys, ATTN_KEYS, &c.attn[i]) ||
              json_object_set_new(a, "layers", list_layers(&c, NATSL_LAYER_ATTN, i)) || json_array_append(attn, a);
        json_decref(a);
    }
    /* one object is what others read, too */
    if (!bad && attn) bad = json_object_set(root, "attn", c.num_attn == 1 ? json_array_get(attn, 0) : attn);
    char *text = bad ? NULL : json_dumps(root, JSON_COMPACT | JSON_REAL_PRECISION(17));
    json_decref(attn);
    json_decref(root);
    return text;
}
