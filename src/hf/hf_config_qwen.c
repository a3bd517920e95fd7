/* hf_config_qwen.c - configurations of Qwen3-Next and Qwen3.5 (text, without experts). See hf_config_impl.h. Every key of the classes
 * is named here once, as in hf_config.c. */
#include "hf_config_impl.h"

#include "config_bounds.h"
#include "core.h"

#include <stdio.h>
#include <string.h>

/* Members of natsl_hf_family as bits. */
#define NEXT (1 << NATSL_HF_QWEN3_NEXT)
#define Q3_5 (1 << NATSL_HF_QWEN3_5)
#define BOTH (NEXT | Q3_5)

typedef enum what {
    SIZE,     /* an integer from 1 to `most` that natsl's key `own` gets, or with "" that is looked at below */
    OTHER,    /* looked at below */
    IS_FALSE, /* the only value, or null */
    IS_TRUE,
    IS_SILU, /* or its other name, the only value */
    PASSED   /* does not change what is computed */
} what;

typedef struct rule {
    const char *key;
    what what;
    const char *own;
    int64_t next, q3_5; /* the classes' defaults of a size */
    int64_t most;
    int families;
} rule;

#define HEADS   "linear_num_key_heads"
#define V_HEADS "linear_num_value_heads"
#define Q_HEADS "num_attention_heads"
#define KV      "num_key_value_heads"

static const rule rules[] = {
    {"hidden_size", SIZE, "hidden_size", 2048, 4096, NATSL_MAX_DIM, BOTH},
    {"num_hidden_layers", SIZE, "num_hidden_layers", 48, 32, NATSL_MAX_LAYERS, BOTH},
    {"vocab_size", SIZE, "vocab_size", 151936, 248320, NATSL_MAX_DIM, BOTH},
    {"intermediate_size", SIZE, "intermediate_size", 5632, 12288, NATSL_MAX_DIM, BOTH},
    {"linear_key_head_dim", SIZE, "head_dim", 128, 128, NATSL_MAX_DIM, BOTH},
    {"linear_value_head_dim", SIZE, "head_v_dim", 128, 128, NATSL_MAX_DIM, BOTH},
    {HEADS, SIZE, "num_heads", 16, 16, NATSL_MAX_HEADS, BOTH},
    {V_HEADS, SIZE, "num_v_heads", 32, 32, NATSL_MAX_HEADS, BOTH},
    {"linear_conv_kernel_dim", SIZE, "conv_size", 4, 4, NATSL_MAX_CONV, BOTH},
    {Q_HEADS, SIZE, "", 16, 16, NATSL_MAX_HEADS, BOTH},
    {KV, SIZE, "", 2, 4, NATSL_MAX_HEADS, BOTH},
    {"head_dim", SIZE, "", 256, 256, NATSL_MAX_DIM, BOTH},
    {"full_attention_interval", SIZE, "", 4, 4, INT32_MAX, BOTH},
    {"layer_types", OTHER, NULL, 0, 0, 0, BOTH},
    {"rms_norm_eps", OTHER, NULL, 0, 0, 0, BOTH},
    {"tie_word_embeddings", OTHER, NULL, 0, 0, 0, BOTH},
    {"rope_parameters", OTHER, NULL, 0, 0, 0, BOTH},
    {"rope_scaling", OTHER, NULL, 0, 0, 0, BOTH},
    {"rope_theta", OTHER, NULL, 0, 0, 0, BOTH},
    {"partial_rotary_factor", OTHER, NULL, 0, 0, 0, BOTH},
    {"num_experts", OTHER, NULL, 0, 0, 0, NEXT},
    {"decoder_sparse_step", OTHER, NULL, 0, 0, 0, NEXT},
    {"mlp_only_layers", OTHER, NULL, 0, 0, 0, BOTH},
    {"hidden_act", IS_SILU, NULL, 0, 0, 0, BOTH},
    {"attention_bias", IS_FALSE, NULL, 0, 0, 0, BOTH},
    {"use_sliding_window", IS_FALSE, NULL, 0, 0, 0, BOTH},
    {"attn_output_gate", IS_TRUE, NULL, 0, 0, 0, BOTH},
    {"output_gate_type", IS_SILU, NULL, 0, 0, 0, BOTH},
    /* of layers with experts, which no layer of these models is */
    {"moe_intermediate_size", PASSED, NULL, 0, 0, 0, NEXT},
    {"shared_expert_intermediate_size", PASSED, NULL, 0, 0, 0, NEXT},
    {"num_experts_per_tok", PASSED, NULL, 0, 0, 0, NEXT},
    {"norm_topk_prob", PASSED, NULL, 0, 0, 0, NEXT},
    {"output_router_logits", PASSED, NULL, 0, 0, 0, NEXT},
    {"router_aux_loss_coef", PASSED, NULL, 0, 0, 0, NEXT},
    /* training's; windows that are off; how weights begin; the size of a table; the type that another program keeps states in */
    {"attention_dropout", PASSED, NULL, 0, 0, 0, BOTH},
    {"sliding_window", PASSED, NULL, 0, 0, 0, BOTH},
    {"max_window_layers", PASSED, NULL, 0, 0, 0, BOTH},
    {"initializer_range", PASSED, NULL, 0, 0, 0, BOTH},
    {"max_position_embeddings", PASSED, NULL, 0, 0, 0, BOTH},
    {"mamba_ssm_dtype", PASSED, NULL, 0, 0, 0, BOTH},
    /* heads that guess further tokens ahead, which import leaves out */
    {"mtp_num_hidden_layers", PASSED, NULL, 0, 0, 0, BOTH},
    {"mtp_use_dedicated_embeddings", PASSED, NULL, 0, 0, 0, BOTH},
};
#define RULES (sizeof rules / sizeof rules[0])

/* Keys of qwen3_5 beside text_config: of pictures, which natsl does not read. (Some published models have language_model_only, which
 * tells a server whether to load the part for pictures.) */
static const char *const around[] = {"text_config",         "vision_config",         "image_token_id",
                                     "video_token_id",      "vision_start_token_id", "vision_end_token_id",
                                     "language_model_only", "tie_word_embeddings",   NULL};

int natsl_hf_is_qwen(const char *type, natsl_hf_family *family)
{
    if (strcmp(type, "qwen3_next") == 0) *family = NATSL_HF_QWEN3_NEXT;
    else if (strcmp(type, "qwen3_5") == 0 || strcmp(type, "qwen3_5_text") == 0) *family = NATSL_HF_QWEN3_5;
    else return 0;
    return 1;
}

static natsl_status no_memory(void) { return natsl_fail(NATSL_ERR_NOMEM, "out of memory: configuration"); }

static const rule *find_rule(const char *key)
{
    for (size_t i = 0; i < RULES; i++) {
        if (strcmp(rules[i].key, key) == 0) return &rules[i];
    }
    return NULL;
}

static int knows_text(const char *key, natsl_hf_family family)
{
    const rule *r = find_rule(key);
    return (r && r->families & 1 << family) || natsl_hf_is_harmless(key);
}

static int knows_around(const char *key, natsl_hf_family family)
{
    (void)family;
    return natsl_hf_is_word(key, around) || natsl_hf_is_harmless(key);
}

static int knows_rope(const char *key, natsl_hf_family family)
{
    static const char *const known[] = {"rope_theta",    "partial_rotary_factor", "rope_type", "type",
                                        "mrope_section", "mrope_interleaved",     NULL};
    (void)family;
    return natsl_hf_is_word(key, known);
}

/** A size, or the class's default. */
static int64_t size_of(const json_t *text, natsl_hf_family family, const char *key)
{
    const rule *r = find_rule(key);
    const json_t *value = json_object_get(text, key);
    return value ? json_integer_value(value) : family == NATSL_HF_QWEN3_NEXT ? r->next : r->q3_5;
}

/** Checks one key of the text model by its rule alone, and gives natsl its size. */
static natsl_status take(const rule *r, json_t *text, natsl_hf_family family, json_t *to, const char *source)
{
    json_t *value = json_object_get(text, r->key);
    const char *word = json_string_value(value);
    char expected[64];
    switch (r->what) {
    case SIZE:
        if (value && (!natsl_hf_is_count(value) || json_integer_value(value) > r->most)) {
            (void)snprintf(expected, sizeof expected, "an integer from 1 to %lld", (long long)r->most);
            return natsl_hf_wrong(source, r->key, expected);
        }
        if (!r->own[0]) return NATSL_OK;
        return json_object_set_new(to, r->own, json_integer(size_of(text, family, r->key))) == 0 ? NATSL_OK
                                                                                                 : no_memory();
    case IS_FALSE:
        if (!value || json_is_false(value) || json_is_null(value)) return NATSL_OK;
        return natsl_hf_wrong(source, r->key, "false, the only value supported");
    case IS_TRUE:
        return !value || json_is_true(value) ? NATSL_OK
                                             : natsl_hf_wrong(source, r->key, "true, the only value supported");
    case IS_SILU:
        if (!value || (word && (strcmp(word, "silu") == 0 || strcmp(word, "swish") == 0))) return NATSL_OK;
        return natsl_hf_wrong(source, r->key, "silu, the only value supported");
    case OTHER:
    case PASSED: return NATSL_OK;
    }
    return NATSL_OK;
}

/** How the dimensions of a head turn. */
typedef struct rope {
    double theta, factor;
} rope;

/** A number in (0, most], or [0, most] with `zero`, of `from` into *to; left alone when the key is missing. */
static natsl_status get_number(const json_t *from, const char *key, const char *name, double most, int zero, double *to,
                               const char *source)
{
    const json_t *value = json_object_get(from, key);
    char expected[64];
    if (!value) return NATSL_OK;
    *to = json_number_value(value);
    if (json_is_number(value) && *to <= most && (*to > 0.0 || (zero && *to == 0.0))) return NATSL_OK;
    (void)snprintf(expected, sizeof expected, "a number %s 0 up to %g", zero ? "from" : "above", most);
    return natsl_hf_wrong(source, name, expected);
}

/** rope_parameters, or as older files say rope_scaling, goes before the keys beside it. Three equal positions (of text, not of a
 * picture's rows and columns) make mrope the plain one, whatever its sections. */
static natsl_status get_rope(const json_t *text, natsl_hf_family family, rope *out, const char *source)
{
    static const char *const types[] = {"rope_type", "type", NULL};
    json_t *now = json_object_get(text, "rope_parameters"), *old = json_object_get(text, "rope_scaling");
    const char *key = json_object_size(old) > 0 ? "rope_scaling" : "rope_parameters";
    json_t *spec = json_object_size(old) > 0 ? old : now;
    char name[128];
    natsl_status st = NATSL_OK;
    *out = (rope){.theta = 10000.0, .factor = 0.25};
    if ((now && !json_is_null(now) && !json_is_object(now)) || (old && !json_is_null(old) && !json_is_object(old)))
        return natsl_hf_wrong(source,
                              now && !json_is_null(now) && !json_is_object(now) ? "rope_parameters" : "rope_scaling",
                              "null or an object");
    if (json_object_size(old) > 0 && json_object_size(now) > 0)
        return natsl_hf_wrong(source, "rope_scaling", "null beside rope_parameters");
    NATSL_TRY(st, done, get_number(text, "rope_theta", "rope_theta", NATSL_MAX_REAL, 0, &out->theta, source));
    NATSL_TRY(st, done,
              get_number(text, "partial_rotary_factor", "partial_rotary_factor", 1.0, 1, &out->factor, source));
    for (size_t i = 0; types[i]; i++) { /* before the other keys: those of another kind say less */
        const json_t *type = json_object_get(spec, types[i]);
        if (!type || (json_is_string(type) && strcmp(json_string_value(type), "default") == 0)) continue;
        (void)snprintf(name, sizeof name, "%s.%s", key, types[i]);
        return natsl_hf_wrong(source, name, "default: other kinds of rotary positions are not supported");
    }
    (void)snprintf(name, sizeof name, "%s.", key);
    NATSL_TRY(st, done, natsl_hf_check_keys(spec, name, knows_rope, family, source));
    (void)snprintf(name, sizeof name, "%s.rope_theta", key);
    NATSL_TRY(st, done, get_number(spec, "rope_theta", name, NATSL_MAX_REAL, 0, &out->theta, source));
    (void)snprintf(name, sizeof name, "%s.partial_rotary_factor", key);
    NATSL_TRY(st, done, get_number(spec, "partial_rotary_factor", name, 1.0, 1, &out->factor, source));
done:
    return st;
}

/** The numbers of the layers with softmax attention, a new list in *out. */
static natsl_status list_attention(const json_t *text, natsl_hf_family family, json_t **out, const char *source)
{
    const json_t *types = json_object_get(text, "layer_types");
    const int64_t layers = size_of(text, family, "num_hidden_layers");
    const int64_t interval = size_of(text, family, "full_attention_interval");
    char expected[96];
    if (json_is_null(types)) types = NULL;
    if (types && (!json_is_array(types) || (int64_t)json_array_size(types) != layers)) {
        (void)snprintf(expected, sizeof expected, "a list of %lld words, one for each layer", (long long)layers);
        return natsl_hf_wrong(source, "layer_types", expected);
    }
    if (!(*out = json_array())) return no_memory();
    for (int64_t i = 0; i < layers; i++) {
        const char *word = types ? json_string_value(json_array_get(types, (size_t)i)) : NULL;
        if (types && (!word || (strcmp(word, "linear_attention") != 0 && strcmp(word, "full_attention") != 0))) {
            (void)snprintf(expected, sizeof expected, "linear_attention or full_attention for layer %lld",
                           (long long)i);
            return natsl_hf_wrong(source, "layer_types", expected);
        }
        const int full = types ? strcmp(word, "full_attention") == 0 : (i + 1) % interval == 0;
        if (full && json_array_append_new(*out, json_integer(i)) != 0) return no_memory();
    }
    return NATSL_OK;
}

/** attn: one object for all of them. */
static natsl_status put_attention(const json_t *text, natsl_hf_family family, json_t *to, const char *source)
{
    rope r;
    json_t *layers = NULL, *attn = NULL;
    const int64_t heads = size_of(text, family, Q_HEADS), kv = size_of(text, family, KV);
    const int64_t width = size_of(text, family, "head_dim");
    if (heads % kv) return natsl_hf_wrong(source, KV, "a divisor of " Q_HEADS);
    if (heads * width > NATSL_MAX_DIM / 2) return natsl_hf_wrong(source, Q_HEADS, Q_HEADS " * head_dim up to 2^23");
    natsl_status st = get_rope(text, family, &r, source);
    const int64_t rotary = st == NATSL_OK ? (int64_t)((double)width * r.factor) : 0;
    if (st == NATSL_OK && rotary % 2)
        st = natsl_hf_wrong(source, "partial_rotary_factor",
                            "an even number of dimensions: head_dim * partial_rotary_factor");
    if (st == NATSL_OK) st = list_attention(text, family, &layers, source);
    if (st == NATSL_OK && json_array_size(layers) > 0) {
        attn = json_pack("[{s:O,s:I,s:I,s:I,s:I,s:f,s:b,s:b}]", "layers", layers, "num_heads", (json_int_t)heads,
                         "num_kv_heads", (json_int_t)kv, "head_dim", (json_int_t)width, "rotary_dim",
                         (json_int_t)rotary, "rope_theta", r.theta, "qk_norm", 1, "output_gate", 1);
        if (!attn || json_object_set(to, "attn", attn) != 0) st = no_memory();
    }
    json_decref(attn);
    json_decref(layers);
    return st;
}

/** No layer may have experts: where there are some, each layer must be in mlp_only_layers or be passed over by decoder_sparse_step. */
static natsl_status check_dense(const json_t *text, natsl_hf_family family, const char *source)
{
    uint8_t dense[NATSL_MAX_LAYERS] = {0};
    const json_t *list = json_object_get(text, "mlp_only_layers"), *n = json_object_get(text, "num_experts");
    const json_t *step = json_object_get(text, "decoder_sparse_step");
    if (list && !json_is_null(list) && !json_is_array(list))
        return natsl_hf_wrong(source, "mlp_only_layers", "null or a list of layer numbers");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *e = json_array_get(list, i);
        if (!json_is_integer(e)) return natsl_hf_wrong(source, "mlp_only_layers", "a list of layer numbers");
        if (json_integer_value(e) >= 0 && json_integer_value(e) < NATSL_MAX_LAYERS) dense[json_integer_value(e)] = 1;
    }
    if (family != NATSL_HF_QWEN3_NEXT) return NATSL_OK; /* the class has no experts */
    if (n && (!json_is_integer(n) || json_integer_value(n) < 0))
        return natsl_hf_wrong(source, "num_experts", "an integer from 0");
    if (step && !natsl_hf_is_count(step)) return natsl_hf_wrong(source, "decoder_sparse_step", "an integer above 0");
    const int64_t experts = n ? json_integer_value(n) : 512, every = step ? json_integer_value(step) : 1;
    for (int64_t i = 0; experts > 0 && i < size_of(text, family, "num_hidden_layers"); i++) {
        if (dense[i] || (i + 1) % every != 0) continue;
        return natsl_fail(NATSL_ERR_INPUT,
                          "%s: configuration key num_experts: layer %lld is a mixture of %lld experts, which is not "
                          "supported; expected 0, or every layer in mlp_only_layers",
                          source, (long long)i, (long long)experts);
    }
    return NATSL_OK;
}

/** *tied: the head is the embeddings. Where a file says so twice, one yes is enough: a head of its own would be a tensor too many. */
static natsl_status get_tied(const json_t *from, int *tied, const char *source)
{
    const json_t *value = json_object_get(from, "tie_word_embeddings");
    if (value && !json_is_boolean(value)) return natsl_hf_wrong(source, "tie_word_embeddings", "true or false");
    *tied |= json_is_true(value);
    return NATSL_OK;
}

natsl_status natsl_hf_from_qwen(json_t *root, natsl_hf_family family, json_t *to, const char *source)
{
    json_t *text = root;
    const char *type = json_string_value(json_object_get(root, "model_type"));
    int tied = 0;
    double eps = 1e-6;
    natsl_status st = NATSL_OK;
    if (strcmp(type, "qwen3_5") == 0) {
        text = json_object_get(root, "text_config");
        if (!json_is_object(text)) return natsl_hf_wrong(source, "text_config", "an object, the text model's keys");
        const json_t *inner = json_object_get(text, "model_type");
        if (inner && (!json_is_string(inner) || strcmp(json_string_value(inner), "qwen3_5_text") != 0))
            return natsl_hf_wrong(source, "text_config.model_type", "qwen3_5_text");
        if (json_object_get(text, "quantization_config"))
            return natsl_hf_wrong(source, "quantization_config", "none: quantized weights are not supported");
        NATSL_TRY(st, done, natsl_hf_check_keys(root, "", knows_around, family, source));
        NATSL_TRY(st, done, get_tied(root, &tied, source));
    }
    NATSL_TRY(st, done, natsl_hf_check_keys(text, "", knows_text, family, source));
    for (size_t i = 0; i < RULES; i++) {
        if (rules[i].families & 1 << family) NATSL_TRY(st, done, take(&rules[i], text, family, to, source));
    }
    const int64_t heads = size_of(text, family, HEADS), v_heads = size_of(text, family, V_HEADS);
    if (v_heads % heads) return natsl_hf_wrong(source, V_HEADS, "a multiple of " HEADS);
    if (heads * size_of(text, family, "linear_key_head_dim") > NATSL_MAX_DIM)
        return natsl_hf_wrong(source, HEADS, HEADS " * linear_key_head_dim up to 2^24");
    if (v_heads * size_of(text, family, "linear_value_head_dim") > NATSL_MAX_DIM)
        return natsl_hf_wrong(source, V_HEADS, V_HEADS " * linear_value_head_dim up to 2^24");
    NATSL_TRY(st, done, get_tied(text, &tied, source));
    NATSL_TRY(st, done, get_number(text, "rms_norm_eps", "rms_norm_eps", NATSL_MAX_REAL, 0, &eps, source));
    if (!((float)eps > 0.0f)) return natsl_hf_wrong(source, "rms_norm_eps", "a number that float32 can hold");
    NATSL_TRY(st, done, check_dense(text, family, source));
    NATSL_TRY(st, done, put_attention(text, family, to, source));
    NATSL_TRY(st, done, natsl_hf_fill_layers(to));
    if (json_object_set_new(to, "norm_eps", json_real(eps)) != 0 ||
        json_object_set_new(to, "tie_word_embeddings", json_boolean(tied)) != 0 ||
        json_object_set_new(to, "norm_zero_centred", json_true()) != 0)
        st = no_memory();
done:
    return st;
}
