/* test_config.c - the configuration's JSON: defaults and derived sizes as oracle.py's class Config gives them, every
 * check, and the way back to JSON. */
#include "../suite.h"

#include <natsl/config.h>
#include <stdlib.h>
#include <string.h>

static natsl_status parse(const char *json, natsl_config *c)
{
    return natsl_config_parse(json, strlen(json), "c.json", c);
}

/** Refused with a line that names the source and `word`; *out stays as it was. */
static void refuse(const char *json, const char *word)
{
    natsl_config c, before;
    memset(&c, 0x5a, sizeof c);
    before = c;
    const natsl_status st = parse(json, &c);
    EXPECT(st == NATSL_ERR_INPUT, "status %d for %s", (int)st, json);
    if (st != NATSL_ERR_INPUT) return;
    EXPECT(strstr(natsl_error_text(), "c.json") != NULL, "%s: %s", json, natsl_error_text());
    EXPECT(strstr(natsl_error_text(), word) != NULL, "%s: no \"%s\" in: %s", json, word, natsl_error_text());
    EXPECT(strchr(natsl_error_text(), '\n') == NULL, "%s", natsl_error_text());
    CU_ASSERT_EQUAL(memcmp(&c, &before, sizeof c), 0);
}

static void accept(const char *json)
{
    natsl_config c;
    const natsl_status st = parse(json, &c);
    EXPECT(st == NATSL_OK, "%s: %s", json, natsl_error_text());
}

/** {} is oracle.py's DEFAULTS. */
static void test_defaults(void)
{
    natsl_config c;
    CU_ASSERT_EQUAL(parse("{}", &c), NATSL_OK);
    const int32_t got[] = {c.hidden_size, c.num_hidden_layers, c.vocab_size,     c.head_dim,
                           c.num_heads,   c.num_v_heads,       c.num_attn_heads, c.num_nats_head,
                           c.conv_size,   c.intermediate_size, c.chunk,          c.head_v_dim,
                           c.key_dim,     c.value_dim,         c.attn_k_dim,     c.attn_v_dim};
    static const int32_t want[] = {64, 4, 96, 16, 2, 2, 4, 2, 4, 256, 64, 32, 32, 64, 8, 16};
    for (size_t i = 0; i < COUNT(want); i++) EXPECT(got[i] == want[i], "size %zu is %d, not %d", i, got[i], want[i]);
    CU_ASSERT_EQUAL(c.norm_eps, 1e-6f);
    CU_ASSERT_EQUAL(c.rope_theta, 10000.0);
    CU_ASSERT_EQUAL(c.expand_v, 2.0);
    CU_ASSERT_FALSE(c.allow_neg_eigval);
    CU_ASSERT_TRUE(c.attn_qk_norm);
    CU_ASSERT_TRUE(c.attn_with_short_conv);
    CU_ASSERT_FALSE(c.attn_apply_pos_encoding);
    CU_ASSERT_TRUE(c.decay_for_non_gdn_blocks);
    CU_ASSERT_FALSE(c.tie_word_embeddings);
    CU_ASSERT_TRUE(c.use_gate);
    CU_ASSERT_TRUE(c.use_short_conv);
    for (int i = 0; i < NATSL_MAX_LAYERS; i++) CU_ASSERT_EQUAL(c.kind[i], i < 3 ? NATSL_LAYER_GDN : NATSL_LAYER_NATS);
    CU_ASSERT_EQUAL(c.num_attn, 0);
    CU_ASSERT_FALSE(c.norm_zero_centred);
}

/** Every key that sets something sets it, and nothing else. */
static void test_every_key(void)
{
    natsl_config c, d;
    CU_ASSERT_EQUAL(parse("{}", &d), NATSL_OK);
#define SETS(json, member, value)                                                                                      \
    do {                                                                                                               \
        EXPECT(parse(json, &c) == NATSL_OK, "%s", natsl_error_text());                                                 \
        CU_ASSERT_EQUAL(c.member, value);                                                                              \
        CU_ASSERT_NOT_EQUAL(d.member, value);                                                                          \
    } while (0)
    SETS("{\"hidden_size\": 100}", hidden_size, 100);
    SETS("{\"num_hidden_layers\": 512}", num_hidden_layers, 512);
    SETS("{\"vocab_size\": 16777216}", vocab_size, 16777216);
    SETS("{\"head_dim\": 20}", head_dim, 20);
    SETS("{\"num_heads\": 4}", num_heads, 4);
    SETS("{\"num_v_heads\": 4}", num_v_heads, 4);
    SETS("{\"num_attn_heads\": 8}", num_attn_heads, 8);
    SETS("{\"num_nats_head\": 1}", num_nats_head, 1);
    SETS("{\"expand_v\": 1.5}", head_v_dim, 24);
    SETS("{\"expand_v\": 3}", expand_v, 3.0);
    SETS("{\"conv_size\": 3}", conv_size, 3);
    SETS("{\"hidden_ratio\": 8}", intermediate_size, 512);
    SETS("{\"intermediate_size\": 7}", intermediate_size, 7);
    SETS("{\"norm_eps\": 1e-5}", norm_eps, 1e-5f);
    SETS("{\"nats_block_size\": 1}", chunk, 1);
    SETS("{\"attn_rope_theta\": 500000}", rope_theta, 500000.0);
    SETS("{\"allow_neg_eigval\": true}", allow_neg_eigval, 1);
    SETS("{\"attn_qk_norm\": false}", attn_qk_norm, 0);
    SETS("{\"attn_with_short_conv\": false}", attn_with_short_conv, 0);
    SETS("{\"attn_apply_pos_encoding\": true}", attn_apply_pos_encoding, 1);
    SETS("{\"decay_for_non_gdn_blocks\": false}", decay_for_non_gdn_blocks, 0);
    SETS("{\"tie_word_embeddings\": true}", tie_word_embeddings, 1);
    SETS("{\"use_gate\": false}", use_gate, 0);
    SETS("{\"use_short_conv\": false}", use_short_conv, 0);
    SETS("{\"gdn_layers\": [3, 0]}", kind[3], NATSL_LAYER_GDN);
    SETS("{\"gdn_layers\": []}", kind[0], NATSL_LAYER_NATS);
    SETS("{\"norm_zero_centred\": true}", norm_zero_centred, 1);
    SETS("{\"head_v_dim\": 10}", head_v_dim, 10);
    SETS("{\"attn\": {\"layers\": [3], \"num_heads\": 4}}", kind[3], NATSL_LAYER_ATTN);
#undef SETS
    /* null where oracle.py's default is null */
    CU_ASSERT_EQUAL(parse("{\"num_v_heads\": null, \"num_nats_head\": null, \"intermediate_size\": null}", &c),
                    NATSL_OK);
    CU_ASSERT_EQUAL(memcmp(&c, &d, sizeof c), 0);
}

/** Sizes that follow, as oracle.py computes them: int() cuts, // divides, the feed-forward is rounded up to 256. */
static void test_derived(void)
{
    static const struct {
        const char *json;
        int32_t dv, kd, vd, dk_attn, dv_attn, wide;
    } cases[] = {
        {"{\"hidden_size\": 96, \"num_hidden_layers\": 2, \"num_heads\": 3, \"num_attn_heads\": 6, \"gdn_layers\": []}",
         32, 48, 96, 8, 16, 256},
        {"{\"hidden_size\": 48, \"num_v_heads\": 4, \"num_nats_head\": 2, \"expand_v\": 1}", 16, 32, 64, 8, 16, 256},
        {"{\"hidden_size\": 1024, \"head_dim\": 128, \"num_heads\": 6, \"num_attn_heads\": 12}", 256, 768, 1536, 64,
         128, 2816},
        {"{\"hidden_size\": 1536, \"head_dim\": 192, \"num_heads\": 6, \"num_attn_heads\": 18}", 384, 1152, 2304, 64,
         128, 4096},
        {"{\"head_dim\": 10, \"expand_v\": 1.39, \"num_attn_heads\": 2}", 13, 20, 26, 10, 13, 256}, /* int(13.9) */
        {"{\"hidden_size\": 385, \"hidden_ratio\": 1}", 32, 32, 64, 8, 16, 256},                    /* int(256.67) */
        {"{\"hidden_size\": 387, \"hidden_ratio\": 1}", 32, 32, 64, 8, 16, 512},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        natsl_config c;
        EXPECT(parse(cases[i].json, &c) == NATSL_OK, "%s", natsl_error_text());
        EXPECT(c.head_v_dim == cases[i].dv && c.key_dim == cases[i].kd && c.value_dim == cases[i].vd,
               "case %zu: %d %d %d", i, c.head_v_dim, c.key_dim, c.value_dim);
        EXPECT(c.attn_k_dim == cases[i].dk_attn && c.attn_v_dim == cases[i].dv_attn, "case %zu: %d %d", i, c.attn_k_dim,
               c.attn_v_dim);
        EXPECT(c.intermediate_size == cases[i].wide, "case %zu: %d", i, c.intermediate_size);
    }
}

static void test_types_and_ranges(void)
{
    static const char *const sizes[] = {"hidden_size", "num_hidden_layers", "vocab_size",     "head_dim",
                                        "num_heads",   "num_v_heads",       "num_attn_heads", "num_nats_head",
                                        "conv_size",   "intermediate_size", "nats_block_size"};
    static const char *const bad_sizes[] = {"\"64\"",
                                            "64.5",
                                            "64.0",
                                            "true",
                                            "[64]",
                                            "{}",
                                            "0",
                                            "-1",
                                            "16777217",
                                            "2147483648",
                                            "4294967297",
                                            "9223372036854775807",
                                            "-9223372036854775808"};
    static const char *const flags[] = {"allow_neg_eigval",
                                        "attn_qk_norm",
                                        "attn_with_short_conv",
                                        "attn_apply_pos_encoding",
                                        "decay_for_non_gdn_blocks",
                                        "tie_word_embeddings",
                                        "use_gate",
                                        "use_short_conv"};
    static const char *const bad_flags[] = {"0", "1", "\"true\"", "null", "[]"};
    static const char *const reals[] = {"expand_v", "hidden_ratio", "norm_eps", "attn_rope_theta"};
    static const char *const bad_reals[] = {"\"2\"", "true", "null", "0", "-1", "-0.0", "1e30", "1e300", "[]"};
    char json[160];
    for (size_t i = 0; i < COUNT(sizes); i++)
        for (size_t k = 0; k < COUNT(bad_sizes); k++) {
            (void)snprintf(json, sizeof json, "{\"%s\": %s}", sizes[i], bad_sizes[k]);
            refuse(json, sizes[i]);
        }
    for (size_t i = 0; i < COUNT(flags); i++)
        for (size_t k = 0; k < COUNT(bad_flags); k++) {
            (void)snprintf(json, sizeof json, "{\"%s\": %s}", flags[i], bad_flags[k]);
            refuse(json, flags[i]);
        }
    for (size_t i = 0; i < COUNT(reals); i++)
        for (size_t k = 0; k < COUNT(bad_reals); k++) {
            (void)snprintf(json, sizeof json, "{\"%s\": %s}", reals[i], bad_reals[k]);
            refuse(json, reals[i]);
            refuse(json, "a number above 0 up to 1e15"); /* both bounds */
        }
    refuse("{\"hidden_size\": null}", "hidden_size");
    refuse("{\"num_hidden_layers\": 513}", "512");
    refuse("{\"nats_block_size\": 1048577}", "nats_block_size");
    refuse("{\"norm_eps\": 1e-60}", "norm_eps"); /* 0 as float32 */
    refuse("{\"expand_v\": 0.05}", "expand_v");  /* head_v_dim 0 */
    refuse("{\"expand_v\": 1e9}", "expand_v");
    refuse("{\"hidden_size\": 16777216, \"hidden_ratio\": 4}", "hidden_ratio");
    accept("{\"hidden_size\": 16777216, \"hidden_ratio\": 1.5}"); /* 2^24 */
    refuse("{\"head_dim\": 8388608, \"num_heads\": 4, \"expand_v\": 0.25}", "num_heads");
    refuse("{\"head_dim\": 65536, \"num_heads\": 65536}", "num_heads:"); /* 0 in 32 bits */
    refuse("{\"head_dim\": 8388608, \"num_heads\": 2, \"num_v_heads\": 4}", "num_v_heads");
}

static void test_divisions(void)
{
    refuse("{\"num_heads\": 2, \"num_v_heads\": 3}", "num_v_heads");
    refuse("{\"num_heads\": 2, \"num_v_heads\": 1}", "num_v_heads");
    refuse("{\"num_nats_head\": 3}", "num_nats_head");
    refuse("{\"num_heads\": 4, \"num_v_heads\": 8, \"num_nats_head\": 8, \"num_attn_heads\": 4}", "num_nats_head");
    refuse("{\"num_attn_heads\": 6}", "num_attn_heads"); /* key_dim 32 */
    refuse("{\"num_attn_heads\": 32, \"expand_v\": 0.75, \"head_dim\": 16, \"num_heads\": 2}",
           "num_attn_heads"); /* value_dim 24 */
    refuse("{\"head_dim\": 12, \"num_heads\": 2, \"num_attn_heads\": 8, \"attn_apply_pos_encoding\": true}",
           "attn_apply_pos_encoding"); /* attn_k_dim 3 */
    accept("{\"head_dim\": 12, \"num_heads\": 2, \"num_attn_heads\": 8}");
}

static void test_layers(void)
{
    refuse("{\"gdn_layers\": [0, 1, 1]}", "gdn_layers");
    refuse("{\"gdn_layers\": [4]}", "gdn_layers");
    refuse("{\"gdn_layers\": [-1]}", "gdn_layers");
    refuse("{\"gdn_layers\": [0.0]}", "gdn_layers");
    refuse("{\"gdn_layers\": [\"0\"]}", "gdn_layers");
    refuse("{\"gdn_layers\": [true]}", "gdn_layers");
    refuse("{\"gdn_layers\": [[0]]}", "gdn_layers");
    refuse("{\"gdn_layers\": [4294967296]}", "gdn_layers"); /* 0 in 32 bits */
    refuse("{\"gdn_layers\": 0}", "gdn_layers");
    refuse("{\"gdn_layers\": null}", "gdn_layers");
    refuse("{\"gdn_layers\": {\"0\": 1}}", "gdn_layers");
    refuse("{\"num_hidden_layers\": 2}", "gdn_layers"); /* the default names layer 2 */
    accept("{\"num_hidden_layers\": 2, \"gdn_layers\": [1, 0]}");
    accept("{\"num_hidden_layers\": 512, \"gdn_layers\": [511]}");
}

/** Attention layers: what is derived, in which layers, and what is refused. */
static void test_attention(void)
{
    natsl_config c;
    /* flash-linear-attention's object: everything else follows */
    EXPECT(parse("{\"gdn_layers\": [0, 2], \"norm_eps\": 1e-5, \"attn\": {\"layers\": [1, 3], \"num_heads\": 4,"
                 " \"num_kv_heads\": null, \"qkv_bias\": true, \"window_size\": null, \"rope_theta\": 5e5}}",
                 &c) == NATSL_OK,
           "%s", natsl_error_text());
    static const natsl_layer_kind kinds[] = {NATSL_LAYER_GDN, NATSL_LAYER_ATTN, NATSL_LAYER_GDN, NATSL_LAYER_ATTN};
    for (int i = 0; i < 4; i++) CU_ASSERT_EQUAL(c.kind[i], kinds[i]);
    const natsl_attn_config *a = &c.attn[0];
    CU_ASSERT(c.num_attn == 1 && c.attn_of[1] == 0 && c.attn_of[3] == 0);
    CU_ASSERT(a->num_heads == 4 && a->num_kv_heads == 4 && a->head_dim == 16 && a->rotary_dim == 16);
    CU_ASSERT(a->window_size == 0 && a->qkv_bias && !a->qk_norm && !a->output_gate && a->rope_theta == 5e5);
    CU_ASSERT_EQUAL(a->qk_norm_eps, 1e-5f);
    /* a list, and natsl's own keys */
    EXPECT(parse("{\"gdn_layers\": [0], \"attn\": [{\"layers\": [3], \"num_heads\": 6, \"num_kv_heads\": 2, "
                 "\"head_dim\": 10,"
                 " \"rotary_dim\": 4, \"output_gate\": true, \"qk_norm\": true, \"qk_norm_eps\": 1e-3},"
                 " {\"layers\": [1], \"num_heads\": 1, \"window_size\": 7, \"rotary_dim\": 0}]}",
                 &c) == NATSL_OK,
           "%s", natsl_error_text());
    CU_ASSERT(c.num_attn == 2 && c.attn_of[3] == 0 && c.attn_of[1] == 1 && c.kind[2] == NATSL_LAYER_NATS);
    CU_ASSERT(a->head_dim == 10 && a->rotary_dim == 4 && a->num_kv_heads == 2 && a->output_gate && a->qk_norm);
    CU_ASSERT(a->qk_norm_eps == 1e-3f && a[1].window_size == 7 && a[1].rotary_dim == 0 && a[1].head_dim == 64);
#define ATTN(text) "{\"gdn_layers\": [0], \"attn\": {" text "}}"
    refuse(ATTN("\"num_heads\": 4"), "attn.layers");
    refuse(ATTN("\"layers\": [1]"), "attn.num_heads");
    refuse(ATTN("\"layers\": [0], \"num_heads\": 4"), "attn.layers"); /* a Gated DeltaNet layer */
    refuse(ATTN("\"layers\": [1, 1], \"num_heads\": 4"), "attn.layers");
    refuse(ATTN("\"layers\": [4], \"num_heads\": 4"), "attn.layers");
    refuse(ATTN("\"layers\": 1, \"num_heads\": 4"), "attn.layers");
    refuse(ATTN("\"layers\": [1], \"num_heads\": 0"), "num_heads");
    refuse(ATTN("\"layers\": [1], \"num_heads\": 5"), "attn.num_heads"); /* hidden_size 64 */
    refuse(ATTN("\"layers\": [1], \"num_heads\": 4, \"num_kv_heads\": 3"), "attn.num_kv_heads");
    refuse(ATTN("\"layers\": [1], \"num_heads\": 4, \"window_size\": 0"), "window_size");
    refuse(ATTN("\"layers\": [1], \"num_heads\": 4, \"window_size\": 2147483648"), "window_size");
    refuse(ATTN("\"layers\": [1], \"num_heads\": 4, \"rotary_dim\": 18"), "attn.rotary_dim");
    refuse(ATTN("\"layers\": [1], \"num_heads\": 4, \"rotary_dim\": 3"), "attn.rotary_dim");
    refuse(ATTN("\"layers\": [1], \"num_heads\": 4, \"head_dim\": 9"), "attn.rotary_dim"); /* odd */
    refuse(ATTN("\"layers\": [1], \"num_heads\": 16384, \"head_dim\": 1024"), "attn.num_heads");
    refuse(ATTN("\"layers\": [1], \"num_heads\": 4, \"rope_theta\": 0"), "rope_theta");
    refuse(ATTN("\"layers\": [1], \"num_heads\": 4, \"qk_norm_eps\": -1"), "qk_norm_eps");
    refuse(ATTN("\"layers\": [1], \"num_heads\": 4, \"qkv_bias\": 1"), "qkv_bias");
    refuse(ATTN("\"layers\": [1], \"num_heads\": 4, \"o_bias\": false"), "attn.o_bias");
    refuse("{\"gdn_layers\": [0], \"attn\": [null]}", "attn");
    refuse("{\"gdn_layers\": [0], \"attn\": [[]]}", "attn");
    char nine[1024] = "{\"gdn_layers\": [], \"num_hidden_layers\": 9, \"attn\": [";
    for (int i = 0; i < 9; i++) {
        const size_t at = strlen(nine);
        (void)snprintf(nine + at, sizeof nine - at, "%s{\"layers\": [%d], \"num_heads\": 1}", i ? "," : "", i);
    }
    (void)strncat(nine, "]}", sizeof nine - strlen(nine) - 1);
    refuse(nine, "attn");
#undef ATTN
}

/** Options with one implemented value, and keys that do not matter: any other value, type or key is named, never
 * passed over. */
static void test_other_keys(void)
{
    static const struct {
        const char *key, *good[4], *bad[6];
    } cases[] = {
        {"n_ops", {"2"}, {"1", "3", "2.0", "\"2\"", "null"}},
        {"ops_for_incomplete_chunks", {"\"all\""}, {"\"gated_delta_net\"", "\"\"", "\"al\"", "\"all|\"", "null", "1"}},
        {"incomplete_block_start_with_ht", {"true"}, {"false", "1", "null"}},
        {"nats_block_agg_type", {"\"mean\""}, {"\"max\"", "null"}},
        {"hidden_act", {"\"swish\"", "\"silu\""}, {"\"gelu\"", "\"swish|silu\"", "null"}},
        {"conv_bias", {"false"}, {"true", "0", "null"}},
        {"outputs_are_wighted", {"true"}, {"false", "null"}},
        {"attn", {"null"}, {"{}", "{\"layers\": [0], \"num_heads\": 2}", "false"}},
        {"use_l2warp", {"false"}, {"true", "null"}},
        {"model_type",
         {"\"neural_attention_search_linear_attn_gdn\"", "\"neural_attention_search_linear\""},
         {"\"gated_deltanet\"", "\"neural_attention_search_linear_transformer_based\"", "\"neural\"", "null", "1"}},
        {"architectures", {"[\"A\"]", "[]", "null"}, {"\"A\"", "[1]", "{}"}},
        {"auto_map", {"{\"AutoModel\": \"a.B\"}", "null"}, {"[]", "{\"a\": 1}", "\"a\""}},
        {"torch_dtype", {"\"bfloat16\"", "null"}, {"32", "{}"}},
        {"dtype", {"\"float32\"", "null"}, {"32"}},
        {"transformers_version", {"\"4.51.3\""}, {"4.5", "[]"}},
        {"use_cache", {"true", "false"}, {"1", "\"yes\""}},
        {"pad_token_id", {"null", "0"}, {"\"0\"", "0.5"}},
        {"bos_token_id", {"1", "null"}, {"true"}},
        {"eos_token_id", {"2", "[2, 3]"}, {"[\"2\"]", "\"2\""}},
        {"initializer_range", {"0.02", "1"}, {"\"0.02\"", "null"}},
        {"max_position_embeddings", {"2048", "null"}, {"\"2048\"", "2048.5"}},
        {"attn_max_position_embeddings", {"null", "4096"}, {"\"4096\"", "true"}},
        {"attn_mode", {"\"chunk\""}, {"1", "null"}},
        {"fuse_norm", {"true", "false"}, {"1"}},
        {"fuse_swiglu", {"true", "false"}, {"null"}},
        {"fuse_cross_entropy", {"true", "false"}, {"\"true\""}},
        {"nats_sample_strategy", {"\"argmax\"", "\"gumbel\""}, {"1", "null"}},
        {"compute_dnats_for_invalid_blocks_attn", {"true", "false"}, {"1"}},
        {"compute_dnats_for_invalid_blocks_linear_att", {"true", "false"}, {"\"no\""}},
    };
    char json[200];
    for (size_t i = 0; i < COUNT(cases); i++) {
        for (size_t k = 0; k < COUNT(cases[i].good) && cases[i].good[k]; k++) {
            (void)snprintf(json, sizeof json, "{\"%s\": %s}", cases[i].key, cases[i].good[k]);
            natsl_config c, d;
            accept(json);
            CU_ASSERT_EQUAL(parse(json, &c), parse("{}", &d));
            CU_ASSERT_EQUAL(memcmp(&c, &d, sizeof c), 0);
        }
        for (size_t k = 0; k < COUNT(cases[i].bad) && cases[i].bad[k]; k++) {
            (void)snprintf(json, sizeof json, "{\"%s\": %s}", cases[i].key, cases[i].bad[k]);
            refuse(json, cases[i].key);
        }
    }
    refuse("{\"hidden_sise\": 64}", "hidden_sise");
    refuse("{\"Hidden_size\": 64}", "Hidden_size");
    refuse("{\"\": 64}", "configuration key");
    refuse("{\"a\\nb\": 64}", "a?b"); /* no second line in the terminal */
}

static void test_json(void)
{
    refuse("", "configuration");
    refuse("[]", "object");
    refuse("null", "configuration");
    refuse("{\"hidden_size\": 64", "configuration");
    refuse("{} {}", "configuration");
    refuse("{\"hidden_size\": 64, \"hidden_size\": 64}", "hidden_size");
    refuse("{\"hidden_size\": NaN}", "configuration");
    refuse("{\"hidden_size\": 99999999999999999999}", "configuration");
    refuse("{\"norm_eps\": 1e999}", "configuration");
    refuse("{\"\\u0000\": 1}", "configuration");
    refuse("{\"\xff\": 1}", "configuration");
    /* the text is as long as said: a NUL inside is no end, bytes past the end are not read */
    natsl_config c;
    CU_ASSERT_EQUAL(natsl_config_parse("{}\0{}", 5, "c.json", &c), NATSL_ERR_INPUT);
    char *exact = malloc(2);
    if (exact) {
        memcpy(exact, "{}", 2);
        CU_ASSERT_EQUAL(natsl_config_parse(exact, 2, "c.json", &c), NATSL_OK);
        free(exact);
    }
    /* deep nesting and long texts end as errors, not as a crash */
    const size_t size = (size_t)2 << 20;
    char *text = malloc(size);
    if (!text) {
        CU_FAIL("no memory");
        return;
    }
    memset(text, '[', size);
    CU_ASSERT_EQUAL(natsl_config_parse(text, 1 << 20, "c.json", &c), NATSL_ERR_INPUT);
    memset(text, ' ', size);
    text[0] = '{', text[1] = '}';
    CU_ASSERT_EQUAL(natsl_config_parse(text, 1 << 20, "c.json", &c), NATSL_OK);
    CU_ASSERT_EQUAL(natsl_config_parse(text, (1 << 20) + 1, "c.json", &c), NATSL_ERR_INPUT);
    free(text);
}

/** JSON and back gives the same configuration, member by member. */
static void test_round_trip(void)
{
    static const char *const cases[] = {
        "{}",
        "{\"gdn_layers\": []}",
        "{\"num_hidden_layers\": 512, \"gdn_layers\": [511, 0, 7]}",
        ("{\"hidden_size\": 48, \"num_hidden_layers\": 3, \"vocab_size\": 64, \"num_v_heads\": 4, \"num_nats_head\": 2,"
         " \"expand_v\": 1, \"gdn_layers\": [1], \"allow_neg_eigval\": true, \"attn_qk_norm\": false,"
         " \"attn_with_short_conv\": false, \"attn_apply_pos_encoding\": true, \"decay_for_non_gdn_blocks\": false,"
         " \"tie_word_embeddings\": true, \"use_gate\": false, \"use_short_conv\": false}"),
        ("{\"norm_eps\": 3.3333e-7, \"attn_rope_theta\": 123456.78901234567, \"expand_v\": 1.3, \"num_attn_heads\": 2,"
         " \"intermediate_size\": 333, \"conv_size\": 7, \"nats_block_size\": 48}"),
        "{\"norm_zero_centred\": true, \"head_dim\": 12, \"head_v_dim\": 7, \"num_attn_heads\": 2}",
        "{\"gdn_layers\": [0], \"attn\": {\"layers\": [3, 1], \"num_heads\": 4, \"window_size\": 2147483647}}",
        ("{\"gdn_layers\": [], \"attn\": [{\"layers\": [2], \"num_heads\": 6, \"num_kv_heads\": 3, \"head_dim\": 10,"
         " \"rotary_dim\": 0, \"output_gate\": true, \"qk_norm\": true, \"qk_norm_eps\": 1.7e-5, \"qkv_bias\": true,"
         " \"rope_theta\": 123456.78901234567}, {\"layers\": [0, 3], \"num_heads\": 1, \"window_size\": 1}]}"),
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        natsl_config c, d;
        memset(&d, 0x33, sizeof d);
        EXPECT(parse(cases[i], &c) == NATSL_OK, "%s", natsl_error_text());
        char *json = natsl_config_json(&c);
        CU_ASSERT_PTR_NOT_NULL(json);
        if (!json) continue;
        EXPECT(parse(json, &d) == NATSL_OK, "%s: %s", json, natsl_error_text());
        EXPECT(memcmp(&c, &d, sizeof c) == 0, "%s", json);
        free(json);
    }
}

/** The configurations that natsl ships. */
static void test_shipped(void)
{
    static const char *const names[] = {"natsl_340M", "natsl_760M", "byte-small"};
    for (size_t i = 0; i < COUNT(names); i++) {
        char path[4096];
        static char text[1 << 16];
        natsl_config c;
        (void)snprintf(path, sizeof path, "%s/../../jobs/configs/%s.json", NATSL_GOLDEN_DIR, names[i]);
        FILE *file = fopen(path, "r");
        EXPECT(file != NULL, "%s", path);
        if (!file) continue;
        const size_t length = fread(text, 1, sizeof text, file);
        (void)fclose(file);
        EXPECT(natsl_config_parse(text, length, path, &c) == NATSL_OK, "%s", natsl_error_text());
    }
}

int main(void)
{
    static const test_entry tests[] = {
        {"defaults", test_defaults},
        {"every key sets its member", test_every_key},
        {"derived sizes", test_derived},
        {"types and ranges", test_types_and_ranges},
        {"sizes that must divide", test_divisions},
        {"gdn_layers", test_layers},
        {"attention layers", test_attention},
        {"keys with one value, keys that do not matter, unknown keys", test_other_keys},
        {"damaged JSON", test_json},
        {"to JSON and back", test_round_trip},
        {"shipped configurations", test_shipped},
    };
    return run_suite("config", tests, COUNT(tests));
}
