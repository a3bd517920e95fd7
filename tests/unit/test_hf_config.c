/* test_hf_config.c - config.json of both families: what becomes of every key, defaults of the published class, and what is refused. */
#include "core.h"
#include "hf_config.h"

#include "../suite.h"
#include <stdlib.h>
#include <string.h>

#define GDN "\"model_type\":\"gated_deltanet\""

static natsl_status parse(const char *json, natsl_config *c, natsl_hf_family *family)
{
    return natsl_hf_config_parse(json, strlen(json), "dir/config.json", c, family);
}

static void deltanet_defaults(void)
{
    natsl_config c;
    natsl_hf_family family = NATSL_HF_NATSL;
    EXPECT(parse("{" GDN "}", &c, &family) == NATSL_OK, "%s", natsl_error_text());
    CU_ASSERT(family == NATSL_HF_GATED_DELTANET);
    CU_ASSERT(c.hidden_size == 2048 && c.num_hidden_layers == 21 && c.vocab_size == 32000 && c.head_dim == 256);
    CU_ASSERT(c.num_heads == 6 && c.num_v_heads == 6 && c.head_v_dim == 512 && c.conv_size == 4);
    CU_ASSERT(c.intermediate_size == 5632 && c.norm_eps == 1e-6f && c.use_gate && c.use_short_conv);
    CU_ASSERT(!c.allow_neg_eigval && !c.tie_word_embeddings);
    for (int i = 0; i < 21; i++) CU_ASSERT(c.kind[i] == NATSL_LAYER_GDN);
}

static void deltanet_keys(void)
{
    natsl_config c;
    natsl_hf_family family;
    const natsl_status st = parse(
        "{" GDN ",\"hidden_size\":96,\"num_hidden_layers\":2,\"vocab_size\":80,\"head_dim\":16,\"num_heads\":3,"
        "\"num_v_heads\":6,\"expand_v\":1.5,\"conv_size\":3,\"hidden_ratio\":null,\"intermediate_size\":100,\"norm_"
        "eps\":1e-5,"
        "\"use_gate\":false,\"use_short_conv\":false,\"allow_neg_eigval\":true,\"tie_word_embeddings\":true,"
        "\"conv_bias\":false,\"hidden_act\":\"silu\",\"output_gate_activation\":\"swish\",\"attnres_block_size\":null,"
        "\"attn\":null,\"attn_mode\":\"fused_recurrent\",\"fuse_norm\":false,\"use_l2warp\":true,\"norm_first\":false,"
        "\"max_position_embeddings\":8192,\"initializer_range\":0.006,\"torch_dtype\":\"bfloat16\",\"use_cache\":true,"
        "\"architectures\":[\"GatedDeltaNetForCausalLM\"],\"transformers_version\":\"4.50.0\",\"eos_token_id\":2}",
        &c, &family);
    EXPECT(st == NATSL_OK, "%s", natsl_error_text());
    CU_ASSERT(c.hidden_size == 96 && c.num_hidden_layers == 2 && c.vocab_size == 80 && c.head_dim == 16);
    CU_ASSERT(c.num_heads == 3 && c.num_v_heads == 6 && c.head_v_dim == 24 && c.conv_size == 3);
    CU_ASSERT(c.intermediate_size == 100 && c.norm_eps == 1e-5f && !c.use_gate && !c.use_short_conv);
    CU_ASSERT(c.allow_neg_eigval && c.tie_word_embeddings && c.kind[0] == NATSL_LAYER_GDN &&
              c.kind[1] == NATSL_LAYER_GDN);
    /* no attention layer is none, however it is said */
    CU_ASSERT(parse("{" GDN ",\"attn\":{\"layers\":[],\"num_heads\":4}}", &c, &family) == NATSL_OK);
    CU_ASSERT(parse("{" GDN ",\"attn\":[]}", &c, &family) == NATSL_OK);
}

static const struct {
    const char *json, *says;
} refused[] = {
    {"", "line"},
    {"[]", "model_type"},
    {"{\"model_type\":3}", "model_type"},
    {"{\"model_type\":\"llama\"}", "model_type llama is not supported"},
    {"{" GDN "," GDN "}", "duplicate"},
    {"{" GDN ",\"surprise\":1}", "key surprise is not known"},
    {"{" GDN ",\"hidden_size\":\"2048\"}", "hidden_size"},
    {"{" GDN ",\"hidden_size\":0}", "hidden_size"},
    {"{" GDN ",\"num_hidden_layers\":100000}", "num_hidden_layers"},
    {"{" GDN ",\"num_heads\":99999999999}", "num_heads"},
    {"{" GDN ",\"num_v_heads\":7}", "num_v_heads"},
    {"{" GDN ",\"expand_v\":0.3,\"head_dim\":16}", "expand_v"},
    {"{" GDN ",\"conv_bias\":true}", "conv_bias"},
    {"{" GDN ",\"hidden_act\":\"powlu\"}", "hidden_act"},
    {"{" GDN ",\"output_gate_activation\":\"sigmoid\"}", "output_gate_activation"},
    {"{" GDN ",\"attnres_block_size\":4}", "attnres_block_size"},
    {"{" GDN ",\"quantization_config\":{}}", "quantization_config"},
    {"{" GDN ",\"attn\":{\"layers\":[5,11],\"num_heads\":8}}", "attn: layer 5 and 1 more have full softmax attention"},
    {"{" GDN ",\"attn\":[{\"layers\":[3],\"num_heads\":8,\"window_size\":2048}]}",
     "layer 3 and 0 more have windowed (2048"},
    {"{" GDN ",\"attn\":{\"layers\":7,\"num_heads\":8}}", "attn"},
    {"{" GDN ",\"attn\":3}", "attn"},
    {"{" GDN ",\"attn\":[3]}", "attn"},
    {"{" GDN ",\"gdn_layers\":[0]}", "gdn_layers is not known"},
    {"{\"model_type\":\"neural_attention_search_linear\"}", "hidden_size"},
    {"{\"model_type\":\"neural_attention_search_linear\",\"hidden_size\":64,\"num_hidden_layers\":3,\"vocab_size\":96,"
     "\"head_dim\":16,\"num_heads\":2,\"expand_v\":2,\"num_attn_heads\":4,\"nats_block_size\":64}",
     "gdn_layers"},
    {"{\"model_type\":\"neural_attention_search_linear\",\"hidden_size\":64,\"num_hidden_layers\":3,\"vocab_size\":96,"
     "\"head_dim\":16,\"num_heads\":2,\"expand_v\":2,\"num_attn_heads\":4,\"nats_block_size\":64,\"gdn_layers\":[0],"
     "\"n_ops\":3}",
     "n_ops"},
};

static void refusals(void)
{
    for (size_t i = 0; i < COUNT(refused); i++) {
        natsl_config c;
        natsl_hf_family family;
        EXPECT(parse(refused[i].json, &c, &family) == NATSL_ERR_INPUT, "%s", refused[i].json);
        EXPECT(strstr(natsl_error_text(), refused[i].says) && strstr(natsl_error_text(), "dir/config.json: "),
               "%s: %s, expected %s", refused[i].json, natsl_error_text(), refused[i].says);
    }
    natsl_config c;
    natsl_hf_family family;
    const size_t huge = ((size_t)1 << 20) + 1;
    char *blanks = malloc(huge);
    memset(blanks, ' ', huge);
    CU_ASSERT(natsl_hf_config_parse(blanks, huge, "x", &c, &family) == NATSL_ERR_INPUT);
    free(blanks);
}

/** natsl's own configuration goes out and comes back the same. */
static void own(void)
{
    static const char json[] =
        "{\"hidden_size\":48,\"num_hidden_layers\":3,\"vocab_size\":64,\"num_v_heads\":4,\"num_nats_head\":2,\"expand_"
        "v\":1,"
        "\"gdn_layers\":[1],\"allow_neg_eigval\":true,\"attn_qk_norm\":false,\"attn_apply_pos_encoding\":true,"
        "\"attn_rope_theta\":12345.678,\"norm_eps\":3e-5,\"tie_word_embeddings\":true}";
    natsl_config c, again;
    natsl_hf_family family = NATSL_HF_GATED_DELTANET;
    memset(&c, 0, sizeof c);
    memset(&again, 0, sizeof again);
    CU_ASSERT(natsl_config_parse(json, strlen(json), "x", &c) == NATSL_OK);
    char *text = natsl_hf_config_json(&c);
    CU_ASSERT_FATAL(text != NULL);
    EXPECT(parse(text, &again, &family) == NATSL_OK, "%s", natsl_error_text());
    CU_ASSERT(family == NATSL_HF_NATSL);
    char *a = natsl_config_json(&c), *b = natsl_config_json(&again);
    CU_ASSERT(a && b && strcmp(a, b) == 0);
    CU_ASSERT(c.kind[1] == again.kind[1] && c.norm_eps == again.norm_eps);
    free(a);
    free(b);
    free(text);
}

static const test_entry tests[] = {{"gated_deltanet's defaults", deltanet_defaults},
                                   {"gated_deltanet's keys", deltanet_keys},
                                   {"refusals", refusals},
                                   {"natsl's own", own}};

int main(void) { return run_suite("hf_config", tests, COUNT(tests)); }
