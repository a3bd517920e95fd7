/* test_layout.c - the tensor table against oracle.py's parameter_shapes, what is adjacent and aligned, the pointers
 * per layer, and the random initialisation's distributions. */
#include "../suite.h"
#include "init.h"
#include "layout.h"

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static natsl_config config_of(const char *json)
{
    natsl_config c;
    memset(&c, 0, sizeof c);
    EXPECT(natsl_config_parse(json, strlen(json), "test", &c) == NATSL_OK, "%s", natsl_error_text());
    return c;
}

#define OPTIONS                                                                                                        \
    "{\"hidden_size\": 48, \"num_hidden_layers\": 2, \"vocab_size\": 63, \"num_v_heads\": 4, \"num_nats_head\": 2, "   \
    "\"expand_v\": 1, \"conv_size\": 3, \"gdn_layers\": [1]"
static const char *const cases[] = {
    "{\"hidden_size\": 20, \"intermediate_size\": 37}",
    OPTIONS "}",
    OPTIONS ", \"tie_word_embeddings\": true, \"use_gate\": false, \"attn_qk_norm\": false, \"use_short_conv\": false}",
    OPTIONS ", \"use_gate\": false}",
    OPTIONS ", \"attn\": [{\"layers\": [0], \"num_heads\": 3, \"num_kv_heads\": 1, \"qkv_bias\": true, "
            "\"output_gate\": true}]}",
    "{\"hidden_size\": 20, \"gdn_layers\": [], \"attn\": {\"layers\": [1, 2], \"num_heads\": 2, \"qk_norm\": true}}",
};

/** oracle.py's parameter_shapes for the second case, written out. */
static void test_table(void)
{
    static const struct {
        const char *name;
        int rank;
        size_t shape[3];
    } want[] = {
        {"model.embeddings.weight", 2, {63, 48}},
        {"model.norm.weight", 1, {48}},
        {"lm_head.weight", 2, {63, 48}},
        {"model.layers.0.attn_norm.weight", 1, {48}},
        {"model.layers.0.mlp_norm.weight", 1, {48}},
        {"model.layers.0.attn.q_proj.weight", 2, {32, 48}},
        {"model.layers.0.attn.q_conv1d.weight", 3, {32, 1, 3}},
        {"model.layers.0.attn.k_proj.weight", 2, {32, 48}},
        {"model.layers.0.attn.k_conv1d.weight", 3, {32, 1, 3}},
        {"model.layers.0.attn.v_proj.weight", 2, {64, 48}},
        {"model.layers.0.attn.v_conv1d.weight", 3, {64, 1, 3}},
        {"model.layers.0.attn.a_proj.weight", 2, {4, 48}},
        {"model.layers.0.attn.b_proj.weight", 2, {4, 48}},
        {"model.layers.0.attn.A_log", 1, {4}},
        {"model.layers.0.attn.dt_bias", 1, {4}},
        {"model.layers.0.attn.g_proj.weight", 2, {64, 48}},
        {"model.layers.0.attn.o_proj.weight", 2, {48, 64}},
        {"model.layers.0.attn.nats_layer.weight", 2, {4, 48}},
        {"model.layers.0.attn.nats_out_weights_layer.weight", 2, {8, 32}},
        {"model.layers.0.attn.o_norm.weight1", 1, {16}},
        {"model.layers.0.attn.o_norm.weight2", 1, {16}},
        {"model.layers.0.attn.q_norm.weight", 1, {8}},
        {"model.layers.0.attn.k_norm.weight", 1, {8}},
        {"model.layers.0.mlp.gate_proj.weight", 2, {256, 48}},
        {"model.layers.0.mlp.up_proj.weight", 2, {256, 48}},
        {"model.layers.0.mlp.down_proj.weight", 2, {48, 256}},
        {"model.layers.1.attn_norm.weight", 1, {48}},
        {"model.layers.1.mlp_norm.weight", 1, {48}},
        {"model.layers.1.attn.q_proj.weight", 2, {32, 48}},
        {"model.layers.1.attn.q_conv1d.weight", 3, {32, 1, 3}},
        {"model.layers.1.attn.k_proj.weight", 2, {32, 48}},
        {"model.layers.1.attn.k_conv1d.weight", 3, {32, 1, 3}},
        {"model.layers.1.attn.v_proj.weight", 2, {64, 48}},
        {"model.layers.1.attn.v_conv1d.weight", 3, {64, 1, 3}},
        {"model.layers.1.attn.a_proj.weight", 2, {4, 48}},
        {"model.layers.1.attn.b_proj.weight", 2, {4, 48}},
        {"model.layers.1.attn.A_log", 1, {4}},
        {"model.layers.1.attn.dt_bias", 1, {4}},
        {"model.layers.1.attn.g_proj.weight", 2, {64, 48}},
        {"model.layers.1.attn.o_proj.weight", 2, {48, 64}},
        {"model.layers.1.attn.o_norm.weight", 1, {16}},
        {"model.layers.1.mlp.gate_proj.weight", 2, {256, 48}},
        {"model.layers.1.mlp.up_proj.weight", 2, {256, 48}},
        {"model.layers.1.mlp.down_proj.weight", 2, {48, 256}},
    };
    const natsl_config c = config_of(cases[1]);
    natsl_layout l;
    CU_ASSERT_EQUAL(natsl_layout_create(&c, NATSL_F32, &l), NATSL_OK);
    EXPECT(l.count == COUNT(want), "%zu tensors, not %zu", l.count, COUNT(want));
    for (size_t i = 0; i < COUNT(want) && i < l.count; i++) {
        const natsl_tensor *t = &l.tensors[i];
        EXPECT(strcmp(t->name, want[i].name) == 0, "%zu: %s, not %s", i, t->name, want[i].name);
        EXPECT(t->rank == want[i].rank, "%s: rank %d", t->name, t->rank);
        size_t count = 1;
        for (int k = 0; k < want[i].rank; k++) {
            EXPECT(t->shape[k] == want[i].shape[k], "%s: [%d] %zu", t->name, k, t->shape[k]);
            count *= want[i].shape[k];
        }
        EXPECT(t->count == count, "%s: %zu", t->name, t->count);
        /* weight decay: matrices and convolutions, but no vectors and no embeddings */
        EXPECT(t->decays == (t->rank > 1 && i != 0), "%s: decays %d", t->name, t->decays);
    }
    natsl_layout_free(&l);
}

static const natsl_tensor *named(const natsl_layout *l, const char *name)
{
    for (size_t i = 0; i < l->count; i++)
        if (strcmp(l->tensors[i].name, name) == 0) return &l->tensors[i];
    return NULL;
}

/** No two tensors overlap, none leaves the array, all start on a cache line but those that continue a joint one. */
static void test_places(void)
{
    for (size_t n = 0; n < COUNT(cases); n++) {
        const natsl_config c = config_of(cases[n]);
        natsl_layout l;
        CU_ASSERT_EQUAL(natsl_layout_create(&c, NATSL_F32, &l), NATSL_OK);
        unsigned char *used = calloc(l.floats, 1);
        if (!used) {
            CU_FAIL("no memory");
            return;
        }
        size_t in_tensors = 0;
        for (size_t i = 0; i < l.count; i++) {
            const natsl_tensor *t = &l.tensors[i];
            const int joint = strstr(t->name, ".attn.k_proj") || strstr(t->name, ".attn.v_proj") ||
                              strstr(t->name, "k_conv1d") || strstr(t->name, "v_conv1d") ||
                              strstr(t->name, ".attn.a_proj") || strstr(t->name, ".attn.b_proj") ||
                              strstr(t->name, "mlp.up_proj");
            EXPECT(joint || t->offset % 16 == 0, "case %zu: %s at %zu", n, t->name, t->offset);
            EXPECT(t->offset <= l.floats && t->count <= l.floats - t->offset, "case %zu: %s leaves the array", n,
                   t->name);
            in_tensors += t->count;
            size_t twice = 0;
            for (size_t k = t->offset; k < t->offset + t->count && k < l.floats; k++) twice += used[k]++;
            EXPECT(twice == 0, "case %zu: %s overlaps another", n, t->name);
        }
        EXPECT(l.floats - in_tensors < 16 * l.count + 16, "case %zu: %zu floats wasted", n, l.floats - in_tensors);
        free(used);
        for (int i = 0; i < c.num_hidden_layers; i++) {
            static const char *const chains[][6] = {
                {"mlp.gate_proj.weight", "mlp.up_proj.weight", NULL},
                {"attn.q_proj.weight", "attn.k_proj.weight", "attn.v_proj.weight", NULL},
                {"attn.v_proj.weight", "attn.a_proj.weight", "attn.b_proj.weight", NULL},
                {"attn.q_conv1d.weight", "attn.k_conv1d.weight", "attn.v_conv1d.weight", NULL},
                {"attn.q_proj.bias", "attn.k_proj.bias", "attn.v_proj.bias", NULL}};
            const int attn = c.kind[i] == NATSL_LAYER_ATTN;
            const int has[] = {1, 1, !attn, !attn && c.use_short_conv, attn && c.attn[c.attn_of[i]].qkv_bias};
            for (size_t k = 0; k < COUNT(chains); k++) {
                for (int m = 0; has[k] && chains[k][m] && chains[k][m + 1]; m++) {
                    char name[2][64];
                    for (int w = 0; w < 2; w++)
                        (void)snprintf(name[w], sizeof name[w], "model.layers.%d.%s", i, chains[k][m + w]);
                    const natsl_tensor *a = named(&l, name[0]), *b = named(&l, name[1]);
                    EXPECT(a && b && b->offset == a->offset + a->count, "case %zu: %s is not right behind %s", n,
                           name[1], name[0]);
                }
            }
        }
        natsl_layout_free(&l);
        natsl_layout_free(&l); /* twice is fine */
    }
}

/** Sizes at their bounds multiply to more than the address space, or to an array that is counted right. */
static void test_overflow(void)
{
    natsl_layout l;
    natsl_config c = config_of("{\"hidden_size\": 16777216, \"intermediate_size\": 16777216, \"vocab_size\": 16777216,"
                               "\"num_hidden_layers\": 512, \"gdn_layers\": []}");
    const natsl_status st = natsl_layout_create(&c, NATSL_F32, &l);
    if (st == NATSL_OK) { /* 2^48 floats a matrix: three per layer, and the embeddings twice */
        EXPECT(l.floats > ((size_t)3 * 512 + 2) << 48, "%zu", l.floats);
        EXPECT(l.floats < ((size_t)3 * 512 + 3) << 48, "%zu", l.floats);
        natsl_layout_free(&l);
    } else {
        CU_ASSERT_EQUAL(st, NATSL_ERR_INPUT);
    }
    c.hidden_size = INT32_MAX; /* beyond what parse lets through: still no wrap-around */
    c.intermediate_size = INT32_MAX;
    CU_ASSERT_EQUAL(natsl_layout_create(&c, NATSL_F32, &l), NATSL_ERR_INPUT);
    CU_ASSERT_PTR_NULL(l.tensors);
}

/** Every pointer of the weights is where its tensor's block lies in the store, and no two blocks overlap; numbers put into the
 * store come out of it, exactly or rounded to bfloat16 (matrices), and other tensors' stay as they are. */
static void test_bind(void)
{
    for (size_t n = 0; n < COUNT(cases) * 2; n++) {
        const natsl_config c = config_of(cases[n / 2]);
        const natsl_storage type = n % 2 ? NATSL_BF16 : NATSL_F32;
        natsl_layout l;
        natsl_weights w;
        char name[80];
        CU_ASSERT_EQUAL(natsl_layout_create(&c, type, &l), NATSL_OK);
        char *store = calloc(l.store_bytes, 1);
        float *values = calloc(l.floats, sizeof *values), *back = calloc(l.floats, sizeof *back);
        if (!store || !values || !back) {
            CU_FAIL("no memory");
            return;
        }
        for (size_t i = 0; i < l.floats; i++) values[i] = sinf((float)i);
        for (size_t i = 0; i < l.count; i++) natsl_layout_put(&l, &l.tensors[i], values + l.tensors[i].offset, store);
        size_t end = 0;
        for (size_t i = 0; i < l.n_blocks; i++) {
            const natsl_block *b = &l.blocks[i];
            EXPECT(b->store % 64 == 0 && b->store >= end, "case %zu: block %zu at %zu, expected behind %zu", n, i,
                   b->store, end);
            end = b->store + b->n * b->k * (b->matrix ? natsl_storage_bytes(type) : sizeof(float));
        }
        EXPECT(end <= l.store_bytes && l.store_bytes - end < 64, "case %zu: store of %zu bytes, used %zu", n,
               l.store_bytes, end);
        for (size_t i = 0; i < l.count; i++) {
            const natsl_tensor *t = &l.tensors[i];
            const int rounds = type == NATSL_BF16 && l.blocks[t->block].matrix;
            natsl_layout_get(&l, t, store, back + t->offset);
            size_t wrong = 0;
            for (size_t k = t->offset; k < t->offset + t->count; k++)
                wrong += back[k] != (rounds ? natsl_from_bf16(natsl_to_bf16(values[k])) : values[k]);
            EXPECT(wrong == 0, "case %zu: %zu values of %s changed in the store", n, wrong, t->name);
        }
        CU_ASSERT_EQUAL(natsl_weights_bind(&c, &l, store, &w), NATSL_OK);
#define PLACE(...)                                                                                                     \
    ((void)snprintf(name, sizeof name, __VA_ARGS__), named(&l, name) ? &l.blocks[named(&l, name)->block] : NULL)
#define ROWS(pointer, ...)                                                                                             \
    do {                                                                                                               \
        const natsl_block *b_ = PLACE(__VA_ARGS__);                                                                    \
        EXPECT((const void *)(pointer) == (b_ ? store + b_->store : NULL) && (!b_ || !b_->matrix), "case %zu: %s", n,  \
               name);                                                                                                  \
    } while (0)
#define MATRIX(m, rows, inputs, ...)                                                                                   \
    do {                                                                                                               \
        const natsl_block *b_ = PLACE(__VA_ARGS__);                                                                    \
        EXPECT((m).data == (b_ ? store + b_->store : NULL) && (!b_ || b_->matrix), "case %zu: %s", n, name);           \
        EXPECT(!b_ || ((m).n == (size_t)(rows) && (m).k == (size_t)(inputs) && (m).type == type),                      \
               "case %zu: %s is %zu x %zu", n, name, (m).n, (m).k);                                                    \
    } while (0)
        MATRIX(w.embeddings, c.vocab_size, c.hidden_size, "model.embeddings.weight");
        ROWS(w.norm, "model.norm.weight");
        if (c.tie_word_embeddings) CU_ASSERT_PTR_EQUAL(w.head.data, w.embeddings.data);
        if (!c.tie_word_embeddings) MATRIX(w.head, c.vocab_size, c.hidden_size, "lm_head.weight");
        CU_ASSERT_PTR_NOT_NULL(w.head.data);
        CU_ASSERT_EQUAL(memcmp(&w.config, &c, sizeof c), 0);
        for (int i = 0; i < c.num_hidden_layers; i++) {
            const natsl_layer *a = &w.layers[i];
            const natsl_shape shape = natsl_shape_of(&c, i);
            const natsl_attn_config *attn = c.kind[i] == NATSL_LAYER_ATTN ? &c.attn[c.attn_of[i]] : NULL;
            const int nats = c.kind[i] == NATSL_LAYER_NATS, gdn = c.kind[i] == NATSL_LAYER_GDN;
            const size_t n_in = attn ? (size_t)attn->head_dim * (size_t)((attn->output_gate ? 2 : 1) * attn->num_heads +
                                                                         2 * attn->num_kv_heads)
                                     : (size_t)(2 * c.key_dim + c.value_dim + 2 * c.num_v_heads);
            const int32_t width = attn ? attn->num_heads * attn->head_dim : c.value_dim;
            CU_ASSERT_EQUAL(memcmp(&a->shape, &shape, sizeof shape), 0);
            CU_ASSERT_EQUAL((int)shape.kind, c.kind[i]);
            ROWS(a->attn_norm, "model.layers.%d.attn_norm.weight", i);
            ROWS(a->mlp_norm, "model.layers.%d.mlp_norm.weight", i);
            MATRIX(a->w_in, n_in, c.hidden_size, "model.layers.%d.attn.q_proj.weight", i);
            ROWS(a->conv, "model.layers.%d.attn.q_conv1d.weight", i);
            ROWS(a->a_log, "model.layers.%d.attn.A_log", i);
            ROWS(a->dt_bias, "model.layers.%d.attn.dt_bias", i);
            MATRIX(a->g_proj, c.value_dim, c.hidden_size, "model.layers.%d.attn.g_proj.weight", i);
            MATRIX(a->o_proj, c.hidden_size, width, "model.layers.%d.attn.o_proj.weight", i);
            ROWS(a->o_norm, "model.layers.%d.attn.o_norm.weight", i);
            ROWS(a->o_norm1, "model.layers.%d.attn.o_norm.%s", i, c.use_gate ? "weight1" : "0.weight");
            ROWS(a->o_norm2, "model.layers.%d.attn.o_norm.%s", i, c.use_gate ? "weight2" : "1.weight");
            ROWS(a->nats, "model.layers.%d.attn.nats_layer.weight", i);
            MATRIX(a->nats_out, 2 * c.num_attn_heads, c.key_dim, "model.layers.%d.attn.nats_out_weights_layer.weight",
                   i);
            ROWS(a->bias, "model.layers.%d.attn.q_proj.bias", i);
            ROWS(a->q_norm, "model.layers.%d.attn.q_norm.weight", i);
            ROWS(a->k_norm, "model.layers.%d.attn.k_norm.weight", i);
            MATRIX(a->w_gate_up, 2 * c.intermediate_size, c.hidden_size, "model.layers.%d.mlp.gate_proj.weight", i);
            MATRIX(a->w_down, c.hidden_size, c.intermediate_size, "model.layers.%d.mlp.down_proj.weight", i);
            /* what the layer code relies on to be there, or not */
            CU_ASSERT(a->w_in.data && a->o_proj.data && a->w_gate_up.data && a->w_down.data);
            CU_ASSERT_EQUAL(a->o_norm != NULL, gdn);
            CU_ASSERT_EQUAL(a->o_norm1 != NULL, nats);
            CU_ASSERT_EQUAL(a->o_norm2 != NULL, nats);
            CU_ASSERT_EQUAL(a->nats != NULL, nats);
            CU_ASSERT_EQUAL(a->nats_out.data != NULL, nats);
            CU_ASSERT_EQUAL(a->q_norm != NULL, attn ? attn->qk_norm : nats && c.attn_qk_norm);
            CU_ASSERT_EQUAL(a->k_norm != NULL, attn ? attn->qk_norm : nats && c.attn_qk_norm);
            CU_ASSERT_EQUAL(a->bias != NULL, attn && attn->qkv_bias);
            CU_ASSERT_EQUAL(a->conv != NULL, !attn && c.use_short_conv);
            CU_ASSERT_EQUAL(a->g_proj.data != NULL, !attn && c.use_gate);
            CU_ASSERT_EQUAL(a->a_log != NULL, !attn);
        }
        natsl_weights_free(&w);
        natsl_weights_free(&w);
        free(store);
        free(values);
        free(back);
        natsl_layout_free(&l);
    }
}

/* ---- random initialisation
 * -------------------------------------------------------------------------------------------- */

/** Norms that multiply by 1 + weight have it in copies of their own; those of the operations' outputs stay where they are. */
static void test_centred(void)
{
    const natsl_config c =
        config_of(OPTIONS ", \"norm_zero_centred\": true, \"attn\": {\"layers\": [0], \"num_heads\": 3, "
                          "\"qk_norm\": true}}");
    natsl_layout l;
    natsl_weights w;
    CU_ASSERT_EQUAL_FATAL(natsl_layout_create(&c, NATSL_F32, &l), NATSL_OK);
    float *values = calloc(l.floats, sizeof *values);
    char *store = calloc(l.store_bytes, 1);
    if (!values || !store) {
        CU_FAIL("no memory");
        return;
    }
    for (size_t i = 0; i < l.count; i++) {
        for (size_t k = 0; k < l.tensors[i].count; k++) values[k] = 0.25f + 0.125f * (float)k + (float)i;
        natsl_layout_put(&l, &l.tensors[i], values, store);
    }
    CU_ASSERT_EQUAL_FATAL(natsl_weights_bind(&c, &l, store, &w), NATSL_OK);
    const struct {
        const float *got;
        const char *name;
        float added;
    } norms[] = {{w.norm, "model.norm.weight", 1.0f},
                 {w.layers[0].attn_norm, "model.layers.0.attn_norm.weight", 1.0f},
                 {w.layers[0].mlp_norm, "model.layers.0.mlp_norm.weight", 1.0f},
                 {w.layers[0].q_norm, "model.layers.0.attn.q_norm.weight", 1.0f},
                 {w.layers[0].k_norm, "model.layers.0.attn.k_norm.weight", 1.0f},
                 {w.layers[1].attn_norm, "model.layers.1.attn_norm.weight", 1.0f},
                 {w.layers[1].mlp_norm, "model.layers.1.mlp_norm.weight", 1.0f},
                 {w.layers[1].o_norm, "model.layers.1.attn.o_norm.weight", 0.0f}};
    for (size_t i = 0; i < COUNT(norms); i++) {
        const natsl_tensor *t = named(&l, norms[i].name);
        CU_ASSERT_PTR_NOT_NULL(t);
        for (size_t k = 0; t && k < t->count; k++)
            EXPECT(norms[i].got[k] == norms[i].added + 0.25f + 0.125f * (float)k + (float)(t - l.tensors), "%s",
                   norms[i].name);
        if (t && norms[i].added > 0.0f) { /* and start where they add nothing */
            natsl_init_tensor(&c, t, 3, values);
            for (size_t k = 0; k < t->count; k++) CU_ASSERT_EQUAL(values[k], 0.0f);
        }
    }
    natsl_weights_free(&w);
    natsl_layout_free(&l);
    free(store);
    free(values);
}

typedef struct moments {
    double mean, deviation, low, high;
    size_t beyond; /* values further from 0 than two deviations of 0.02 */
} moments;

static moments moments_of(const float *w, size_t count)
{
    moments m = {0.0, 0.0, INFINITY, -INFINITY, 0};
    for (size_t i = 0; i < count; i++) {
        const double v = (double)w[i];
        m.mean += v / (double)count;
        m.deviation += v * v / (double)count;
        m.low = v < m.low ? v : m.low;
        m.high = v > m.high ? v : m.high;
        m.beyond += fabs(v) > 0.04;
    }
    m.deviation = sqrt(m.deviation - m.mean * m.mean);
    return m;
}

/** Distributions, by moments and ends over enough values: five standard errors. */
static void test_init_distributions(void)
{
    const natsl_config c =
        config_of("{\"hidden_size\": 256, \"num_hidden_layers\": 2, \"vocab_size\": 400, \"head_dim\": 8,"
                  "\"num_heads\": 512, \"num_attn_heads\": 512, \"gdn_layers\": [0]}");
    natsl_layout l;
    CU_ASSERT_EQUAL(natsl_layout_create(&c, NATSL_F32, &l), NATSL_OK);
    float *w = malloc(l.floats * sizeof *w);
    if (!w) {
        CU_FAIL("no memory");
        return;
    }
    memset(w, 0xff, l.floats * sizeof *w);
    natsl_init_weights(&c, &l, 7, w);
    for (size_t i = 0; i < l.count; i++) {
        const natsl_tensor *t = &l.tensors[i];
        const moments m = moments_of(w + t->offset, t->count);
        const double n = (double)t->count, bound = 0.5; /* 1/sqrt(conv_size) */
        EXPECT(isfinite(m.mean) && isfinite(m.deviation), "%s", t->name);
        if (strstr(t->name, "A_log")) { /* exp of it is uniform in (0, 16) */
            double mean = 0.0;
            for (size_t k = 0; k < t->count; k++) mean += exp((double)w[t->offset + k]) / n;
            EXPECT(fabs(mean - 8.0) < 5.0 * 16.0 / sqrt(12.0 * n), "%s: %g", t->name, mean);
            EXPECT(exp(m.high) <= 16.00001 && exp(m.high) > 15.0 && exp(m.low) < 1.0, "%s: %g %g", t->name, m.low,
                   m.high);
        } else if (strstr(t->name, "dt_bias")) { /* log softplus of it is uniform in log 0.001 .. log 0.1 */
            double mean = 0.0, low = 1.0, high = 0.0;
            for (size_t k = 0; k < t->count; k++) {
                const double dt = log1p(exp((double)w[t->offset + k]));
                mean += log(dt) / n;
                low = dt < low ? dt : low;
                high = dt > high ? dt : high;
            }
            EXPECT(fabs(mean - log(0.01)) < 5.0 * log(100.0) / sqrt(12.0 * n), "%s: %g", t->name, mean);
            EXPECT(low >= 0.000999 && low < 0.0012 && high <= 0.1001 && high > 0.08, "%s: %g %g", t->name, low, high);
        } else if (strstr(t->name, "conv1d")) {
            EXPECT(fabs(m.mean) < 5.0 * bound / sqrt(3.0 * n), "%s: %g", t->name, m.mean);
            EXPECT(fabs(m.deviation - bound / sqrt(3.0)) < 0.01, "%s: %g", t->name, m.deviation);
            EXPECT(m.low >= -bound && m.low < -0.49 && m.high <= bound && m.high > 0.49, "%s: %g %g", t->name, m.low,
                   m.high);
        } else if (t->rank == 1) {
            EXPECT(m.low == 1.0 && m.high == 1.0, "%s: %g %g", t->name, m.low, m.high);
        } else {
            EXPECT(fabs(m.mean) < 5.0 * 0.02 / sqrt(n), "%s: %g", t->name, m.mean);
            EXPECT(fabs(m.deviation - 0.02) < 5.0 * 0.02 / sqrt(2.0 * n), "%s: %g", t->name, m.deviation);
            const double beyond = (double)m.beyond / n; /* 4.55 % of a normal; 0 of a uniform one */
            EXPECT(fabs(beyond - 0.0455) < 5.0 * sqrt(0.0455 / n), "%s: %g", t->name, beyond);
        }
    }
    free(w);
    natsl_layout_free(&l);
}

/** The seed and a tensor's name decide its values: not its place, not the other tensors, not the threads. */
static void test_init_streams(void)
{
    const natsl_config c = config_of(cases[1]), tied = config_of(OPTIONS ", \"tie_word_embeddings\": true}");
    natsl_layout l, m;
    CU_ASSERT_EQUAL(natsl_layout_create(&c, NATSL_F32, &l), NATSL_OK);
    CU_ASSERT_EQUAL(natsl_layout_create(&tied, NATSL_F32, &m), NATSL_OK);
    float *a = malloc(l.floats * sizeof *a), *b = malloc(l.floats * sizeof *b), *d = malloc(m.floats * sizeof *d);
    if (!a || !b || !d) {
        CU_FAIL("no memory");
        return;
    }
    memset(a, 0xff, l.floats * sizeof *a);
    memset(b, 0, l.floats * sizeof *b);
    natsl_init_weights(&c, &l, 1, a);
    natsl_init_weights(&c, &l, 1, b);
    CU_ASSERT_EQUAL(memcmp(a, b, l.floats * sizeof *a), 0); /* gaps between tensors too */
    natsl_init_weights(&tied, &m, 1, d);
    for (size_t i = 0; i < m.count; i++) {
        const natsl_tensor *t = named(&l, m.tensors[i].name);
        EXPECT(t && memcmp(a + t->offset, d + m.tensors[i].offset, t->count * sizeof *a) == 0, "%s", m.tensors[i].name);
    }
    natsl_init_weights(&c, &l, 2, b);
    for (size_t i = 0; i < l.count; i++) {
        const natsl_tensor *t = &l.tensors[i];
        if (t->rank == 1 && strstr(t->name, "norm")) continue;
        size_t equal = 0;
        for (size_t k = 0; k < t->count; k++) equal += a[t->offset + k] == b[t->offset + k];
        EXPECT(equal * 100 <= t->count, "%s: %zu of %zu values do not depend on the seed", t->name, equal, t->count);
        for (size_t j = 0; j < i; j++) { /* no two tensors alike */
            const natsl_tensor *u = &l.tensors[j];
            if (u->count != t->count || (u->rank == 1 && strstr(u->name, "norm"))) continue;
            EXPECT(memcmp(a + t->offset, a + u->offset, t->count * sizeof *a) != 0, "%s = %s", t->name, u->name);
        }
    }
    free(a);
    free(b);
    free(d);
    natsl_layout_free(&l);
    natsl_layout_free(&m);
}

int main(void)
{
    static const test_entry tests[] = {
        {"the tensor table", test_table},
        {"places: adjacent, aligned, apart", test_places},
        {"sizes that overflow", test_overflow},
        {"norms about zero", test_centred},
        {"pointers per layer", test_bind},
        {"random weights: distributions", test_init_distributions},
        {"random weights: seeds and names", test_init_streams},
    };
    return run_suite("layout", tests, COUNT(tests));
}
