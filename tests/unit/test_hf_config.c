/* test_hf_config.c - config.json of every family: what becomes of every key, defaults of the published class, and what is refused; and
 * which tensors a directory has. */
#include "core.h"
#include "hf_config.h"
#include "hf_names.h"

#include "../suite.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GDN  "\"model_type\":\"gated_deltanet\""
#define NEXT "\"model_type\":\"qwen3_next\",\"num_experts\":0"
#define TEXT "\"model_type\":\"qwen3_5_text\""

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

/** Layers with attention, in flash-linear-attention's words. */
static void deltanet_attention(void)
{
    natsl_config c;
    natsl_hf_family family;
    natsl_status st =
        parse("{" GDN ",\"num_hidden_layers\":4,\"norm_eps\":1e-6,\"attn\":{\"layers\":[1,3],\"num_heads\":16}}", &c,
              &family);
    EXPECT(st == NATSL_OK, "%s", natsl_error_text());
    CU_ASSERT(family == NATSL_HF_GATED_DELTANET && c.num_attn == 1);
    CU_ASSERT(c.kind[0] == NATSL_LAYER_GDN && c.kind[1] == NATSL_LAYER_ATTN && c.kind[2] == NATSL_LAYER_GDN);
    CU_ASSERT(c.kind[3] == NATSL_LAYER_ATTN && c.attn_of[1] == 0 && c.attn_of[3] == 0);
    CU_ASSERT(c.attn[0].num_heads == 16 && c.attn[0].num_kv_heads == 16 && c.attn[0].head_dim == 128);
    CU_ASSERT(c.attn[0].rotary_dim == 128 && c.attn[0].window_size == 0 && c.attn[0].rope_theta == 10000.0);
    CU_ASSERT(!c.attn[0].qkv_bias && !c.attn[0].qk_norm && !c.attn[0].output_gate && !c.norm_zero_centred);

    st = parse(
        "{" GDN
        ",\"num_hidden_layers\":4,\"norm_eps\":1e-6,\"attn\":[{\"layers\":[2],\"num_heads\":8,\"num_kv_heads\":2,"
        "\"qkv_bias\":true,\"qk_norm\":true,\"window_size\":512,\"rope_theta\":5e5},{\"layers\":[],\"num_heads\":3},"
        "{\"layers\":[0],\"num_heads\":4,\"num_kv_heads\":null,\"window_size\":null}]}",
        &c, &family);
    EXPECT(st == NATSL_OK, "%s", natsl_error_text());
    CU_ASSERT(c.num_attn == 2 && c.attn_of[2] == 0 && c.attn_of[0] == 1 && c.kind[1] == NATSL_LAYER_GDN);
    CU_ASSERT(c.attn[0].num_kv_heads == 2 && c.attn[0].head_dim == 256 && c.attn[0].window_size == 512);
    CU_ASSERT(c.attn[0].qkv_bias && c.attn[0].qk_norm && c.attn[0].rope_theta == 5e5);
    CU_ASSERT(c.attn[0].qk_norm_eps == 1e-5f); /* the library's own, not norm_eps */
    CU_ASSERT(c.attn[1].num_heads == 4 && c.attn[1].num_kv_heads == 4 && c.attn[1].window_size == 0);
    /* every layer may have attention */
    CU_ASSERT(parse("{" GDN ",\"num_hidden_layers\":2,\"attn\":{\"layers\":[1,0],\"num_heads\":2}}", &c, &family) ==
              NATSL_OK);
    CU_ASSERT(c.kind[0] == NATSL_LAYER_ATTN && c.kind[1] == NATSL_LAYER_ATTN);
}

static void qwen_defaults(void)
{
    natsl_config c;
    natsl_hf_family family;
    EXPECT(parse("{" NEXT "}", &c, &family) == NATSL_OK, "%s", natsl_error_text());
    CU_ASSERT(family == NATSL_HF_QWEN3_NEXT);
    CU_ASSERT(c.hidden_size == 2048 && c.num_hidden_layers == 48 && c.vocab_size == 151936 &&
              c.intermediate_size == 5632);
    CU_ASSERT(c.num_heads == 16 && c.num_v_heads == 32 && c.head_dim == 128 && c.head_v_dim == 128 && c.conv_size == 4);
    CU_ASSERT(c.use_gate && c.use_short_conv && !c.allow_neg_eigval && c.norm_zero_centred && !c.tie_word_embeddings);
    CU_ASSERT(c.norm_eps == 1e-6f && c.num_attn == 1);
    const natsl_attn_config *a = &c.attn[0];
    CU_ASSERT(a->num_heads == 16 && a->num_kv_heads == 2 && a->head_dim == 256 && a->rotary_dim == 64);
    CU_ASSERT(a->rope_theta == 10000.0 && a->qk_norm && a->qk_norm_eps == 1e-6f && a->output_gate && !a->qkv_bias);
    CU_ASSERT(a->window_size == 0);
    for (int i = 0; i < 48; i++) CU_ASSERT(c.kind[i] == (i % 4 == 3 ? NATSL_LAYER_ATTN : NATSL_LAYER_GDN));

    EXPECT(parse("{" TEXT "}", &c, &family) == NATSL_OK, "%s", natsl_error_text());
    CU_ASSERT(family == NATSL_HF_QWEN3_5);
    CU_ASSERT(c.hidden_size == 4096 && c.num_hidden_layers == 32 && c.vocab_size == 248320 &&
              c.intermediate_size == 12288);
    CU_ASSERT(c.attn[0].num_heads == 16 && c.attn[0].num_kv_heads == 4 && c.attn[0].head_dim == 256);
    CU_ASSERT(c.kind[3] == NATSL_LAYER_ATTN && c.kind[31] == NATSL_LAYER_ATTN && c.kind[30] == NATSL_LAYER_GDN);
}

static void qwen_keys(void)
{
    natsl_config c;
    natsl_hf_family family;
    /* as the published file of the model without experts and with pictures has it, but for sizes */
    natsl_status st = parse(
        "{\"architectures\":[\"Qwen3_5ForConditionalGeneration\"],\"image_token_id\":248056,\"language_model_only\":"
        "false,\"model_type\":\"qwen3_5\","
        "\"text_config\":{\"attention_bias\":false,\"attention_dropout\":0.0,\"attn_output_gate\":true,\"dtype\":"
        "\"bfloat16\","
        "\"eos_token_id\":248044,\"full_attention_interval\":4,\"head_dim\":48,\"hidden_act\":\"silu\",\"hidden_size\":"
        "96,"
        "\"initializer_range\":0.02,\"intermediate_size\":128,\"layer_types\":[\"full_attention\",\"linear_attention\","
        "\"full_attention\"],\"linear_conv_kernel_dim\":3,\"linear_key_head_dim\":16,\"linear_num_key_heads\":2,"
        "\"linear_num_value_heads\":6,\"linear_value_head_dim\":20,\"max_position_embeddings\":262144,\"mlp_only_"
        "layers\":[],"
        "\"model_type\":\"qwen3_5_text\",\"mtp_num_hidden_layers\":1,\"mtp_use_dedicated_embeddings\":false,"
        "\"num_attention_heads\":8,\"num_hidden_layers\":3,\"num_key_value_heads\":2,\"rms_norm_eps\":1e-05,\"use_"
        "cache\":true,"
        "\"vocab_size\":300,\"mamba_ssm_dtype\":\"float32\",\"output_gate_type\":\"swish\",\"rope_parameters\":"
        "{\"mrope_interleaved\":true,\"mrope_section\":[11,11,10],\"rope_type\":\"default\",\"rope_theta\":10000000,"
        "\"partial_rotary_factor\":0.5}},\"tie_word_embeddings\":true,\"transformers_version\":\"4.57.0.dev0\","
        "\"video_token_id\":1,\"vision_config\":{\"depth\":27},\"vision_end_token_id\":2,\"vision_start_token_id\":3}",
        &c, &family);
    EXPECT(st == NATSL_OK, "%s", natsl_error_text());
    CU_ASSERT(family == NATSL_HF_QWEN3_5 && c.tie_word_embeddings && c.hidden_size == 96 && c.vocab_size == 300);
    CU_ASSERT(c.num_heads == 2 && c.num_v_heads == 6 && c.head_dim == 16 && c.head_v_dim == 20 && c.conv_size == 3);
    CU_ASSERT(c.kind[0] == NATSL_LAYER_ATTN && c.kind[1] == NATSL_LAYER_GDN && c.kind[2] == NATSL_LAYER_ATTN);
    CU_ASSERT(c.attn[0].head_dim == 48 && c.attn[0].rotary_dim == 24 && c.attn[0].rope_theta == 1e7);
    CU_ASSERT(c.attn[0].num_heads == 8 && c.attn[0].num_kv_heads == 2 && c.norm_eps == 1e-5f);

    /* as the published file of Qwen3-Next writes positions; experts in no layer, in each of three ways */
    st = parse(
        "{\"model_type\":\"qwen3_next\",\"num_experts\":512,\"decoder_sparse_step\":4,\"mlp_only_layers\":[3,7],"
        "\"num_hidden_layers\":8,\"partial_rotary_factor\":0.125,\"rope_theta\":1e6,\"rope_scaling\":null,"
        "\"full_attention_interval\":2,\"use_sliding_window\":false,\"norm_topk_prob\":true,\"layer_types\":null}",
        &c, &family);
    EXPECT(st == NATSL_OK, "%s", natsl_error_text());
    CU_ASSERT(c.attn[0].rotary_dim == 32 && c.attn[0].rope_theta == 1e6 && c.kind[1] == NATSL_LAYER_ATTN);
    CU_ASSERT(c.kind[0] == NATSL_LAYER_GDN && c.kind[7] == NATSL_LAYER_ATTN && !c.tie_word_embeddings);
    /* what stands in rope_parameters goes before the keys beside it, as rope_scaling does in older files */
    EXPECT(parse("{" NEXT ",\"rope_theta\":5.0,\"partial_rotary_factor\":0.5,\"rope_scaling\":{\"type\":\"default\","
                 "\"rope_theta\":7.0},\"rope_parameters\":{}}",
                 &c, &family) == NATSL_OK,
           "%s", natsl_error_text());
    CU_ASSERT(c.attn[0].rope_theta == 7.0 && c.attn[0].rotary_dim == 128);
    /* no layer with attention, or nothing that turns */
    CU_ASSERT(parse("{" NEXT ",\"full_attention_interval\":49}", &c, &family) == NATSL_OK && c.num_attn == 0);
    CU_ASSERT(parse("{" TEXT ",\"partial_rotary_factor\":0}", &c, &family) == NATSL_OK && c.attn[0].rotary_dim == 0);
    /* one of two that says so is enough */
    CU_ASSERT(
        parse(
            "{\"model_type\":\"qwen3_5\",\"tie_word_embeddings\":false,\"text_config\":{\"tie_word_embeddings\":true}}",
            &c, &family) == NATSL_OK &&
        c.tie_word_embeddings);
}

/** The tensors of a directory, from the layout of a model. */
static natsl_hf_names names_of(const char *json, const char *prefix, natsl_config *c, natsl_layout *layout)
{
    natsl_hf_names names = {0};
    natsl_hf_family family;
    CU_ASSERT_FATAL(parse(json, c, &family) == NATSL_OK);
    CU_ASSERT_FATAL(natsl_layout_create(c, NATSL_F32, layout) == NATSL_OK);
    CU_ASSERT_FATAL(natsl_hf_names_create(family, prefix, c, layout, &names) == NATSL_OK);
    return names;
}

/** Tensor of that name, and in *part where natsl's stands. */
static const natsl_hf_tensor *find(const natsl_hf_names *names, const natsl_layout *layout, const char *own,
                                   natsl_hf_place *part)
{
    for (size_t i = 0; i < layout->count; i++) {
        if (strcmp(layout->tensors[i].name, own) != 0) continue;
        *part = names->places[i];
        return &names->tensors[part->tensor];
    }
    return NULL;
}

#define SMALL                                                                                                          \
    ",\"hidden_size\":10,\"num_hidden_layers\":2,\"vocab_size\":30,\"intermediate_size\":12,\"num_attention_heads\":"  \
    "2,"                                                                                                               \
    "\"num_key_value_heads\":1,\"head_dim\":8,\"linear_num_key_heads\":2,\"linear_num_value_heads\":6,"                \
    "\"linear_key_head_dim\":4,\"linear_value_head_dim\":5,\"full_attention_interval\":2}"

static void names(void)
{
    static const struct {
        const char *json, *prefix, *own, *theirs;
        size_t rows, first, last; /* of the whole; where natsl's first and last row stand */
    } cases[] = {
        /* a key head's rows: 4 of its query, 4 of its key, 15 values, 15 gates; and of b and a 3 each */
        {"{" NEXT SMALL, NATSL_HF_PREFIX, "q_proj.weight", "model.layers.0.linear_attn.in_proj_qkvz.weight", 76, 0, 41},
        {"{" NEXT SMALL, NATSL_HF_PREFIX, "k_proj.weight", "model.layers.0.linear_attn.in_proj_qkvz.weight", 76, 4, 45},
        {"{" NEXT SMALL, NATSL_HF_PREFIX, "v_proj.weight", "model.layers.0.linear_attn.in_proj_qkvz.weight", 76, 8, 60},
        {"{" NEXT SMALL, NATSL_HF_PREFIX, "g_proj.weight", "model.layers.0.linear_attn.in_proj_qkvz.weight", 76, 23,
         75},
        {"{" NEXT SMALL, NATSL_HF_PREFIX, "b_proj.weight", "model.layers.0.linear_attn.in_proj_ba.weight", 12, 0, 8},
        {"{" NEXT SMALL, NATSL_HF_PREFIX, "a_proj.weight", "model.layers.0.linear_attn.in_proj_ba.weight", 12, 3, 11},
        {"{" NEXT SMALL, NATSL_HF_PREFIX, "v_conv1d.weight", "model.layers.0.linear_attn.conv1d.weight", 46, 16, 45},
        {"{" NEXT SMALL, NATSL_HF_PREFIX, "o_norm.weight", "model.layers.0.linear_attn.norm.weight", 5, 0, 4},
        {"{" TEXT SMALL, NATSL_HF_PREFIX_TEXT, "k_proj.weight",
         "model.language_model.layers.0.linear_attn.in_proj_qkv.weight", 46, 8, 15},
        {"{" TEXT SMALL, NATSL_HF_PREFIX_TEXT, "g_proj.weight",
         "model.language_model.layers.0.linear_attn.in_proj_z.weight", 30, 0, 29},
        {"{" TEXT SMALL, NATSL_HF_PREFIX, "a_proj.weight", "model.layers.0.linear_attn.in_proj_a.weight", 6, 0, 5},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        natsl_config c;
        natsl_layout layout;
        natsl_hf_place p = {0};
        char own[64];
        natsl_hf_names n = names_of(cases[i].json, cases[i].prefix, &c, &layout);
        (void)snprintf(own, sizeof own, "model.layers.0.attn.%s", cases[i].own);
        const natsl_hf_tensor *t = find(&n, &layout, own, &p);
        size_t last = 0;
        for (size_t k = 0; k < layout.count; k++) {
            if (strcmp(layout.tensors[k].name, own) == 0) last = layout.tensors[k].shape[0] - 1;
        }
        EXPECT(t && strcmp(t->name, cases[i].theirs) == 0, "%s: %s", own, t ? t->name : "none");
        CU_ASSERT(t && t->shape[0] == cases[i].rows);
        EXPECT(natsl_hf_row(&p, 0) == cases[i].first && natsl_hf_row(&p, last) == cases[i].last, "%s: %zu to %zu", own,
               natsl_hf_row(&p, 0), natsl_hf_row(&p, last));
        /* every row of every tensor is exactly one of natsl's */
        for (size_t f = 0; f < n.count; f++) {
            unsigned char seen[128] = {0};
            size_t rows = 0;
            for (size_t k = 0; k < layout.count; k++) {
                for (size_t r = 0; n.places[k].tensor == f && r < layout.tensors[k].shape[0]; r++, rows++) {
                    const size_t at = natsl_hf_row(&n.places[k], r);
                    CU_ASSERT_FATAL(at < n.tensors[f].shape[0] && at < sizeof seen && !seen[at]);
                    seen[at] = 1;
                }
            }
            CU_ASSERT(rows == n.tensors[f].shape[0]);
        }
        natsl_hf_names_free(&n);
        natsl_layout_free(&layout);
    }
    CU_ASSERT(natsl_hf_is_left_out(NATSL_HF_QWEN3_NEXT, "mtp.fc.weight"));
    CU_ASSERT(!natsl_hf_is_left_out(NATSL_HF_QWEN3_NEXT, "model.visual.x"));
    CU_ASSERT(natsl_hf_is_left_out(NATSL_HF_QWEN3_5, "model.visual.x"));
    CU_ASSERT(!natsl_hf_is_left_out(NATSL_HF_GATED_DELTANET, "mtp.fc.weight"));
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
    {"{" GDN ",\"attn\":{\"layers\":7,\"num_heads\":8}}", "attn.layers"},
    {"{" GDN ",\"attn\":{\"num_heads\":8}}", "attn.layers"},
    {"{" GDN ",\"attn\":{\"layers\":[1]}}", "attn.num_heads"},
    {"{" GDN ",\"attn\":{\"layers\":[1],\"num_heads\":0}}", "attn.num_heads"},
    {"{" GDN ",\"attn\":{\"layers\":[1],\"num_heads\":99999999}}", "attn"},
    {"{" GDN ",\"attn\":{\"layers\":[1],\"num_heads\":7}}", "attn.num_heads: expected a divisor of hidden_size"},
    {"{" GDN ",\"attn\":{\"layers\":[1],\"num_heads\":8,\"num_kv_heads\":3}}", "attn.num_kv_heads"},
    {"{" GDN ",\"attn\":{\"layers\":[1,1],\"num_heads\":8}}", "attn.layers"},
    {"{" GDN ",\"attn\":{\"layers\":[21],\"num_heads\":8}}", "attn.layers"},
    {"{" GDN ",\"attn\":{\"layers\":[-1],\"num_heads\":8}}", "attn.layers"},
    {"{" GDN ",\"attn\":{\"layers\":[\"1\"],\"num_heads\":8}}", "attn.layers"},
    {"{" GDN ",\"attn\":{\"layers\":[5000000000],\"num_heads\":8}}", "attn.layers"},
    {"{" GDN ",\"attn\":[{\"layers\":[2],\"num_heads\":8},{\"layers\":[3,2],\"num_heads\":4}]}", "attn.layers"},
    {"{" GDN ",\"attn\":{\"layers\":[1],\"num_heads\":8,\"window_size\":0}}", "window_size"},
    {"{" GDN ",\"attn\":{\"layers\":[1],\"num_heads\":8,\"rope_theta\":null}}", "attn.rope_theta"},
    {"{" GDN ",\"attn\":{\"layers\":[1],\"num_heads\":8,\"rope_theta\":-1}}", "rope_theta"},
    {"{" GDN ",\"attn\":{\"layers\":[1],\"num_heads\":8,\"qkv_bias\":1}}", "qkv_bias"},
    {"{" GDN ",\"attn\":{\"layers\":[1],\"num_heads\":8,\"output_gate\":true}}", "attn.output_gate is not known"},
    {"{" GDN ",\"attn\":{\"layers\":[1],\"num_heads\":8,\"head_dim\":64}}", "attn.head_dim is not known"},
    {"{" GDN ",\"attn\":3}", "attn"},
    {"{" GDN ",\"attn\":[3]}", "attn"},
    {"{" GDN ",\"hidden_size\":6,\"attn\":{\"layers\":[1],\"num_heads\":2}}", "rotary"},
    {"{" NEXT ",\"hidden_size\":\"2048\"}", "hidden_size"},
    {"{" NEXT ",\"hidden_size\":99999999999}", "hidden_size"},
    {"{" NEXT ",\"num_hidden_layers\":513}", "num_hidden_layers"},
    {"{" NEXT ",\"linear_num_key_heads\":0}", "linear_num_key_heads"},
    {"{" NEXT ",\"linear_num_value_heads\":17}", "linear_num_value_heads: expected a multiple of linear_num_key_heads"},
    {"{" NEXT ",\"linear_key_head_dim\":16777216}", "linear_num_key_heads * linear_key_head_dim"},
    {"{" NEXT ",\"linear_value_head_dim\":16777216}", "linear_num_value_heads * linear_value_head_dim"},
    {"{" NEXT ",\"linear_conv_kernel_dim\":257}", "linear_conv_kernel_dim"},
    {"{" NEXT ",\"num_key_value_heads\":3}", "num_key_value_heads: expected a divisor of num_attention_heads"},
    {"{" NEXT ",\"head_dim\":16777216}", "num_attention_heads * head_dim"},
    {"{" NEXT ",\"head_dim\":null}", "head_dim"},
    {"{" NEXT ",\"full_attention_interval\":0}", "full_attention_interval"},
    {"{" NEXT ",\"layer_types\":[\"linear_attention\"]}", "layer_types: expected a list of 48"},
    {"{" NEXT ",\"num_hidden_layers\":1,\"layer_types\":[\"sliding_attention\"]}", "layer_types"},
    {"{" NEXT ",\"num_hidden_layers\":1,\"layer_types\":[1]}", "layer_types"},
    {"{" NEXT ",\"layer_types\":\"full_attention\"}", "layer_types"},
    {"{" NEXT ",\"rms_norm_eps\":0}", "rms_norm_eps"},
    {"{" NEXT ",\"rms_norm_eps\":1e-60}", "rms_norm_eps"},
    {"{" NEXT ",\"tie_word_embeddings\":1}", "tie_word_embeddings"},
    {"{" NEXT ",\"hidden_act\":\"gelu\"}", "hidden_act"},
    {"{" NEXT ",\"attention_bias\":true}", "attention_bias"},
    {"{" NEXT ",\"attn_output_gate\":false}", "attn_output_gate"},
    {"{" NEXT ",\"output_gate_type\":\"sigmoid\"}", "output_gate_type"},
    {"{" NEXT ",\"use_sliding_window\":true}", "use_sliding_window"},
    {"{" NEXT ",\"rope_theta\":0}", "rope_theta"},
    {"{" NEXT ",\"partial_rotary_factor\":1.5}", "partial_rotary_factor"},
    {"{" NEXT ",\"partial_rotary_factor\":0.0041}", "partial_rotary_factor: expected an even number"},
    {"{" NEXT ",\"rope_parameters\":[]}", "rope_parameters"},
    {"{" NEXT ",\"rope_parameters\":{\"rope_type\":\"yarn\",\"factor\":4}}", "rope_type"},
    {"{" NEXT ",\"rope_scaling\":{\"type\":\"yarn\",\"factor\":4.0}}", "rope_scaling.type: expected default"},
    {"{" NEXT ",\"rope_parameters\":{\"rope_type\":3}}", "rope_parameters.rope_type"},
    {"{" NEXT ",\"rope_parameters\":{\"factor\":2}}", "rope_parameters.factor is not known"},
    {"{" NEXT ",\"rope_parameters\":{\"partial_rotary_factor\":-1}}", "rope_parameters.partial_rotary_factor"},
    {"{" NEXT ",\"rope_parameters\":{\"partial_rotary_factor\":1e300}}", "rope_parameters.partial_rotary_factor"},
    {"{" NEXT ",\"rope_parameters\":{\"full_attention\":{\"rope_theta\":1}}}",
     "rope_parameters.full_attention is not known"},
    {"{" NEXT ",\"rope_parameters\":{\"rope_theta\":1},\"rope_scaling\":{\"rope_theta\":2}}", "rope_scaling"},
    {"{" NEXT ",\"decoder_sparse_step\":0}", "decoder_sparse_step"},
    {"{" NEXT ",\"mlp_only_layers\":3}", "mlp_only_layers"},
    {"{" NEXT ",\"mlp_only_layers\":[\"a\"]}", "mlp_only_layers"},
    {"{" NEXT ",\"surprise\":1}", "key surprise is not known"},
    {"{" NEXT ",\"vision_config\":{}}", "key vision_config is not known"},
    {"{" NEXT ",\"quantization_config\":{}}", "quantization_config"},
    {"{\"model_type\":\"qwen3_next\"}", "num_experts: layer 0 is a mixture of 512 experts"},
    {"{\"model_type\":\"qwen3_next\",\"num_experts\":-1}", "num_experts"},
    {"{\"model_type\":\"qwen3_next\",\"num_experts\":4,\"num_hidden_layers\":3,\"mlp_only_layers\":[0,2,900,-4]}",
     "num_experts: layer 1 is"},
    {"{\"model_type\":\"qwen3_5_moe\"}", "model_type qwen3_5_moe is not supported"},
    {"{" TEXT ",\"num_experts\":0}", "key num_experts is not known"},
    {"{" TEXT ",\"text_config\":{}}", "key text_config is not known"},
    {"{\"model_type\":\"qwen3_5\"}", "text_config"},
    {"{\"model_type\":\"qwen3_5\",\"text_config\":[]}", "text_config"},
    {"{\"model_type\":\"qwen3_5\",\"text_config\":{\"model_type\":\"qwen3_5_moe_text\"}}", "text_config.model_type"},
    {"{\"model_type\":\"qwen3_5\",\"text_config\":{\"hidden_size\":-3}}", "hidden_size"},
    {"{\"model_type\":\"qwen3_5\",\"hidden_size\":64,\"text_config\":{}}", "key hidden_size is not known"},
    {"{\"model_type\":\"qwen3_5\",\"text_config\":{\"quantization_config\":{}}}", "quantization_config"},
    {"{\"model_type\":\"qwen3_5\",\"tie_word_embeddings\":null,\"text_config\":{}}", "tie_word_embeddings"},
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
                                   {"gated_deltanet's attention layers", deltanet_attention},
                                   {"Qwen's defaults", qwen_defaults},
                                   {"Qwen's keys", qwen_keys},
                                   {"tensors' names", names},
                                   {"refusals", refusals},
                                   {"natsl's own", own}};

int main(void) { return run_suite("hf_config", tests, COUNT(tests)); }
