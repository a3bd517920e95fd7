/* bench_kernels.c - each kernel at the shapes that a layer of the configuration gives it: first on one thread while all else
 * rests, then on all threads of all ranks, each with rows of its own (weights are shared, as in a layer).
 * A kernel that computes is called again and again on one set of arrays. One that moves memory goes round a ring of sets larger
 * than the last cache, so that it is measured against memory; so does the product of one row, which only reads weights.
 * See bench.h. */
#include "agree.h"
#include "bench.h"
#include "grid.h"
#include "kernels.h"
#include "stage.h"

#include <cblas.h>
#include <math.h>
#include <omp.h>
#include <stdarg.h>
#include <string.h>

#define MAX_CASES  48
#define MAX_ARRAYS 8
#define LINE       ((size_t)16) /* floats of a cache line */

typedef struct bench_case bench_case;
typedef void call_fn(const bench_case *k, float *const p[], float *scratch);

struct bench_case {
    const char *name, *formula; /* of flop for kernels that compute, else of bytes */
    char shape[96];
    double flop, bytes; /* per call; bytes > 0: memory is the limit */
    size_t m, n, k, h;  /* what the call makes of them */
    size_t dv;          /* of attention */
    const natsl_kernels *kernels;
    const natsl_config *config;
    call_fn *call;
    size_t arrays[MAX_ARRAYS]; /* floats */
    int n_arrays, n_shared;    /* the first n_shared are the same for all threads */
    int in_place;              /* results overwrite inputs: filled again before every round */
    float low, high;           /* values that arrays are filled with */
    natsl_storage type;        /* of the matrix in array 0 */
    size_t weights;            /* its elements; 0: array 0 is none */
};

/* ---- the calls: one line each; p are the case's arrays ---------------------------------------------------------------- */

/** The weight matrix in array 0. */
static natsl_matrix weights(const bench_case *k, size_t n, size_t cols, float *const p[])
{
    return (natsl_matrix){.n = n, .k = cols, .type = k->type, .data = p[0]};
}
static void call_linear(const bench_case *k, float *const p[], float *scratch)
{
    const natsl_matrix w = weights(k, k->n, k->k, p);
    k->kernels->linear(k->m, &w, 0, natsl_panels(k->n), p[1], k->k, p[2], k->n, 0, scratch);
}
static void call_linear_down(const bench_case *k, float *const p[], float *scratch)
{
    const natsl_matrix w = weights(k, k->n, k->k, p); /* rows of the feed-forward lie in the wide buffer */
    k->kernels->linear(k->m, &w, 0, natsl_panels(k->n), p[1], 2 * k->k, p[2], k->n, 0, scratch);
}
static void call_rms_norm(const bench_case *k, float *const p[], float *scratch)
{
    (void)scratch;
    k->kernels->rms_norm(k->m, 1, k->n, p[1], k->n, p[0], k->config->norm_eps, p[2], k->n);
}
static void call_l2_norm(const bench_case *k, float *const p[], float *scratch)
{
    (void)scratch;
    k->kernels->l2_norm(k->m, k->h, k->n, p[0], k->h * k->n, 1.0f, p[0], k->h * k->n);
}
static void call_short_conv(const bench_case *k, float *const p[], float *scratch)
{
    (void)scratch;
    k->kernels->short_conv(k->m, k->n, k->k, p[2], k->h, p[1], k->config->use_short_conv ? p[0] : NULL);
}
static void call_rotary(const bench_case *k, float *const p[], float *scratch)
{
    (void)scratch;
    k->kernels->rotary(k->m, k->h, k->k, k->n, p[0], k->h * k->k, 4096, k->config->rope_theta);
}
static void call_decay_beta(const bench_case *k, float *const p[], float *scratch)
{
    (void)scratch;
    k->kernels->decay_beta(k->m, k->h, p[2], 2 * k->h, p[0], p[1], 0, p[3], p[4]);
}
static void call_pool_add(const bench_case *k, float *const p[], float *scratch)
{
    (void)scratch;
    k->kernels->pool_add(k->m, k->n, p[0], k->n, p[1]);
}
static void call_gate_choose(const bench_case *k, float *const p[], float *scratch)
{
    (void)scratch;
    k->kernels->gate_choose(k->h, k->n, p[1], 64, p[0], p[2], (uint8_t *)(void *)p[3]);
}
/* arrays: q, k, v, log decay, beta, g, t, a, state, out, ... */
static void call_delta_prepare(const bench_case *k, float *const p[], float *scratch)
{
    k->kernels->delta_prepare(k->m, k->k, p[0], k->k, p[1], k->k, p[2], p[2], 1, p[3], p[4], p[5], scratch);
}
static void call_delta_apply(const bench_case *k, float *const p[], float *scratch)
{
    const size_t state = k->k * k->n;
    k->kernels->delta_apply(k->m, 0, k->k, k->n, p[0], k->k, p[1], k->k, p[2], k->n, p[3], p[4], p[5], p[6],
                            p[6] + state, k->n, p[7], k->n, scratch);
}
static void call_delta_step(const bench_case *k, float *const p[], float *scratch)
{
    (void)scratch;
    k->kernels->delta_step(k->k, k->n, p[0], p[1], p[2], -0.1f, 0.5f, p[3], p[4]);
}
static void call_sigmoid_gate(const bench_case *k, float *const p[], float *scratch)
{
    const size_t row = k->h * k->n;
    (void)scratch;
    k->kernels->sigmoid_gate(k->m, k->h, k->n, p[0], row, p[1], 2 * row, 2 * k->n, p[2], row);
}
static void call_attn(const bench_case *k, float *const p[], float *scratch)
{
    k->kernels->attn_block(k->m, k->n, k->k, k->dv, p[0], k->k, p[1], k->n, p[2], k->dv, 1.0f / sqrtf((float)k->k),
                           k->h ? 0 : -1, NATSL_ATTN_ALL, p[3], p[4], 1, p[5], k->dv, scratch);
}
static void call_attn_finish(const bench_case *k, float *const p[], float *scratch)
{
    (void)scratch;
    k->kernels->attn_finish(k->m, k->n, p[0], 1, p[1], k->n);
}
static void call_attn_merge(const bench_case *k, float *const p[], float *scratch)
{
    (void)scratch;
    k->kernels->attn_merge(k->m, k->n, p[0], p[1], 1, p[2], k->n, p[3], p[4], 1, p[5], k->n);
}
static void call_gated_norm(const bench_case *k, float *const p[], float *scratch)
{
    const size_t row = k->h * k->n;
    (void)scratch;
    k->kernels->gated_norm(k->m, k->h, k->n, p[1], row, p[0], k->config->norm_eps, k->config->use_gate ? p[2] : NULL,
                           row, p[3], row);
}
static void call_nats_mix(const bench_case *k, float *const p[], float *scratch)
{
    const natsl_config *c = k->config;
    const size_t row = (size_t)c->value_dim, ha = (size_t)c->num_attn_heads;
    (void)scratch;
    k->kernels->nats_mix(k->m, (size_t)c->num_v_heads, (size_t)c->head_v_dim, ha, (size_t)c->attn_v_dim, p[2], row,
                         p[3], row, p[0], p[1], c->norm_eps, c->use_gate ? p[4] : NULL, 2 * ha,
                         c->use_gate ? p[5] : NULL, row, p[6], row);
}
static void call_swiglu(const bench_case *k, float *const p[], float *scratch)
{
    (void)scratch;
    k->kernels->swiglu(k->m, k->n, p[0], 2 * k->n, p[0], 2 * k->n);
}
static void call_embed(const bench_case *k, float *const p[], float *scratch)
{
    int32_t ids[NATSL_TILE];
    (void)scratch;
    for (size_t i = 0; i < k->m; i++) ids[i] = (int32_t)(i * 2654435761u % k->h);
    const natsl_matrix table = weights(k, k->h, k->n, p);
    k->kernels->embed(k->m, &table, ids, p[1], k->n);
}
static void call_lse_add(const bench_case *k, float *const p[], float *scratch)
{
    int32_t targets[NATSL_TILE];
    (void)scratch;
    for (size_t i = 0; i < k->m; i++) targets[i] = (int32_t)(i % k->n);
    k->kernels->lse_add(k->m, k->n, p[0], k->n, 0, targets, p[1], (double *)(void *)p[2], p[3]);
}

/* ---- the cases -------------------------------------------------------------------------------------------------------- */

typedef struct case_list {
    bench_case cases[MAX_CASES];
    int n;
    const natsl_kernels *kernels;
    const natsl_config *config;
    natsl_storage type;
} case_list;

/** Floats of room for a matrix of so many elements. */
static size_t matrix_floats(natsl_storage type, size_t elements)
{
    return (elements * natsl_storage_bytes(type) + sizeof(float) - 1) / sizeof(float);
}

/** Adds a case with the given arrays, ended by a size of 0. */
static bench_case *add(case_list *l, const char *name, call_fn *call, size_t m, size_t n, size_t k, size_t h, ...)
{
    va_list sizes;
    bench_case *c = &l->cases[l->n++];
    *c = (bench_case){.name = name, .call = call, .m = m, .n = n, .k = k, .h = h, .low = -1.0f, .high = 1.0f};
    c->kernels = l->kernels;
    c->config = l->config;
    c->type = l->type;
    va_start(sizes, h);
    for (size_t size = va_arg(sizes, size_t); size > 0; size = va_arg(sizes, size_t)) c->arrays[c->n_arrays++] = size;
    va_end(sizes);
    return c;
}

/** A product y = x W^T of m rows; it is memory's where there is one row. */
static void add_linear(case_list *l, const char *name, size_t m, size_t n, size_t k, int down)
{
    bench_case *c = add(l, name, down ? call_linear_down : call_linear, m, n, k, 0, matrix_floats(l->type, n * k),
                        m * k * (down ? 2 : 1), m * n, (size_t)0);
    const double dm = (double)m, dn = (double)n, dk = (double)k;
    (void)snprintf(c->shape, sizeof c->shape, "%zu x %zu x %zu", m, n, k);
    c->flop = 2.0 * dm * dn * dk;
    c->formula = "2 m n k";
    c->n_shared = m > 1;
    c->weights = n * k;
    if (m == 1) c->bytes = (double)natsl_storage_bytes(l->type) * dn * dk + 4.0 * (dn + dk);
}

/** Sets what a kernel that moves memory is measured by. */
static void moves(bench_case *c, double floats, const char *formula)
{
    c->bytes = 4.0 * floats;
    c->formula = formula;
}

static void add_products(case_list *l, size_t tile)
{
    const natsl_config *c = l->config;
    const size_t d = (size_t)c->hidden_size, kd = (size_t)c->key_dim, vd = (size_t)c->value_dim;
    const size_t wide = (size_t)c->intermediate_size, n_in = 2 * kd + vd + 2 * (size_t)c->num_v_heads;
    const size_t vocab = (size_t)natsl_min64(c->vocab_size, NATSL_VOCAB_TILE);
    add_linear(l, "linear in", tile, n_in, d, 0);
    if (c->use_gate) add_linear(l, "linear gate", tile, vd, d, 0);
    add_linear(l, "linear out", tile, d, vd, 0);
    add_linear(l, "linear up", tile, 2 * wide, d, 0);
    add_linear(l, "linear down", tile, d, wide, 1);
    add_linear(l, "linear head", tile, vocab, d, 0);
    add_linear(l, "linear 1 row", 1, 2 * wide, d, 0);
}

static void add_delta(case_list *l)
{
    const natsl_config *c = l->config;
    const size_t m = (size_t)natsl_min64(c->chunk, NATSL_DELTA_BLOCK), dk = (size_t)c->head_dim;
    const size_t dv = (size_t)c->head_v_dim, n = dv < NATSL_STATE_COLUMNS ? dv : NATSL_STATE_COLUMNS;
    const double dm = (double)m, ddk = (double)dk, dn = (double)n;
    bench_case *k = add(l, "delta_prepare", call_delta_prepare, m, (size_t)0, dk, (size_t)0, m * dk, m * dk, m, m,
                        m * m, m * m, (size_t)0);
    (void)snprintf(k->shape, sizeof k->shape, "%zu rows, dk %zu", m, dk);
    k->flop = 2.0 * dm * dm * ddk + dm * dm * dm / 3.0;
    k->formula = "2 m^2 dk + m^3/3 (K K^T, Q K^T as halves; a triangular inverse)";
    k->low = -0.2f;
    k->high = -0.05f; /* also what log decay is filled with */
    k = add(l, "delta_apply", call_delta_apply, m, n, dk, (size_t)0, m * dk, m * dk, m * n, m, m * m, m * m, 2 * dk * n,
            m * n, (size_t)0);
    (void)snprintf(k->shape, sizeof k->shape, "%zu rows, dk %zu, dv %zu", m, dk, n);
    k->flop = 6.0 * dm * ddk * dn + 2.0 * dm * dm * dn;
    k->formula = "6 m dk dv + 2 m^2 dv (K S, Q S, K^T D; T and A as halves)";
    k->low = -0.2f;
    k->high = -0.05f;
    k = add(l, "delta_step", call_delta_step, (size_t)1, dv, dk, (size_t)0, dk, dk, dv, dk * dv, dv, (size_t)0);
    (void)snprintf(k->shape, sizeof k->shape, "1 row, dk %zu, dv %zu", dk, dv);
    k->flop = 6.0 * ddk * (double)dv;
    k->formula = "6 dk dv (S^T k, the update, S^T q)";
    k->low = -0.05f;
    k->high = 0.05f; /* keys of length below 1 keep the state bounded */
}

static void add_attention(case_list *l, const natsl_attn_shape *a, size_t tile)
{
    const size_t n = (size_t)natsl_min64((int64_t)a->chunk, NATSL_ATTN_KEYS), dk = a->dk, dv = a->dv, ha = a->heads;
    const double both = (double)dk + (double)dv, dn = (double)n;
    const struct {
        const char *name;
        size_t m, causal;
    } calls[] = {{"attn_block kept", tile, 0}, {"attn_block own", n, 1}, {"attn_block 1 row", 1, 0}};
    for (int i = 0; i < 3; i++) {
        const size_t m = calls[i].m;
        bench_case *k = add(l, calls[i].name, call_attn, m, n, dk, calls[i].causal, m * dk, n * dk, n * dv, m, m,
                            m * dv, (size_t)0);
        k->dv = dv;
        (void)snprintf(k->shape, sizeof k->shape, "%zu rows, %zu keys, dk %zu, dv %zu", m, n, dk, dv);
        k->flop = calls[i].causal ? both * dn * (dn + 1.0) : 2.0 * both * (double)m * dn;
        k->formula = calls[i].causal ? "2 (dk + dv) n (n + 1) / 2" : "2 (dk + dv) m n";
    }
    bench_case *k = add(l, "attn_finish", call_attn_finish, tile, dv, (size_t)0, (size_t)0, tile, tile * dv, (size_t)0);
    (void)snprintf(k->shape, sizeof k->shape, "%zu x %zu", tile, dv);
    k->low = 1.0f; /* sums of exponentials are never near 0 */
    k->in_place = 1;
    moves(k, 2.0 * (double)(tile * dv), "8 m dv bytes");
    k = add(l, "attn_merge", call_attn_merge, ha, dv, (size_t)0, (size_t)0, ha, ha, ha * dv, ha, ha, ha * dv,
            (size_t)0);
    (void)snprintf(k->shape, sizeof k->shape, "%zu x %zu", ha, dv);
    k->in_place = 1;
    moves(k, 3.0 * (double)(ha * dv), "12 m dv bytes");
    if (a->rotary) {
        k = add(l, "rotary", call_rotary, tile, a->rotary, dk, ha, tile * a->qd, (size_t)0);
        (void)snprintf(k->shape, sizeof k->shape, "%zu x %zu heads x %zu of %zu", tile, ha, a->rotary, dk);
        k->in_place = 1;
        moves(k, 2.0 * (double)(tile * ha * a->rotary), "8 m heads d bytes");
    }
    if (a->gated) {
        k = add(l, "sigmoid_gate", call_sigmoid_gate, tile, dv, (size_t)0, ha, tile * a->od, tile * a->k_at,
                tile * a->od, (size_t)0);
        (void)snprintf(k->shape, sizeof k->shape, "%zu x %zu heads x %zu", tile, ha, dv);
        moves(k, 3.0 * (double)(tile * a->od), "12 m heads d bytes");
    }
}

/** Attention of NAtS-L layers, and what else only they have. */
static void add_nats(case_list *l, size_t tile)
{
    const natsl_config *c = l->config;
    const natsl_attn_shape a = natsl_attn_shape_nats(c);
    const size_t d = (size_t)c->hidden_size, ha = a.heads, hn = a.groups, dv = a.dv;
    add_attention(l, &a, tile);
    if (c->use_gate) add_linear(l, "linear mix", tile, 2 * ha, a.kd, 0);
    bench_case *k =
        add(l, "gate_choose", call_gate_choose, (size_t)1, d, (size_t)0, hn, 2 * hn * d, d, 2 * hn, hn, (size_t)0);
    (void)snprintf(k->shape, sizeof k->shape, "%zu heads, d %zu", hn, d);
    k->flop = 4.0 * (double)(hn * d);
    k->formula = "2 (2 heads) d";
    k->n_shared = 1;
    const size_t row = tile * (size_t)c->value_dim;
    k = add(l, "nats_mix", call_nats_mix, tile, (size_t)c->value_dim, (size_t)0, ha, (size_t)c->head_v_dim, dv, row,
            row, tile * 2 * ha, row, row, (size_t)0);
    (void)snprintf(k->shape, sizeof k->shape, "%zu x %d", tile, c->value_dim);
    moves(k, (c->use_gate ? 4.0 : 3.0) * (double)row, c->use_gate ? "16 m n bytes" : "12 m n bytes");
}

static void add_movers(case_list *l, size_t tile, int any_gdn)
{
    const natsl_config *c = l->config;
    const size_t d = (size_t)c->hidden_size, kd = (size_t)c->key_dim, vd = (size_t)c->value_dim;
    const size_t channels = 2 * kd + vd, heads = (size_t)c->num_v_heads, n_in = channels + 2 * heads;
    const size_t wide = (size_t)c->intermediate_size, taps = (size_t)c->conv_size;
    const size_t vocab = (size_t)natsl_min64(c->vocab_size, NATSL_VOCAB_TILE);
    const size_t pooled = (size_t)natsl_min64(c->chunk, NATSL_TILE), table = (size_t)natsl_min64(c->vocab_size, 4096);
    bench_case *k = add(l, "rms_norm", call_rms_norm, tile, d, (size_t)0, (size_t)1, d, tile * d, tile * d, (size_t)0);
    (void)snprintf(k->shape, sizeof k->shape, "%zu x %zu", tile, d);
    moves(k, 2.0 * (double)(tile * d), "8 m d bytes");
    k = add(l, "l2_norm", call_l2_norm, tile, (size_t)c->head_dim, (size_t)0, (size_t)c->num_heads, tile * kd,
            (size_t)0);
    (void)snprintf(k->shape, sizeof k->shape, "%zu x %d heads x %d", tile, c->num_heads, c->head_dim);
    k->in_place = 1;
    moves(k, 2.0 * (double)(tile * kd), "8 m heads d bytes");
    k = add(l, "short_conv", call_short_conv, tile, channels, taps, n_in, channels * taps, taps * channels, tile * n_in,
            (size_t)0);
    (void)snprintf(k->shape, sizeof k->shape, "%zu x %zu, %zu taps", tile, channels, taps);
    k->in_place = 1;
    moves(k, 2.0 * (double)(tile * channels), "8 m channels bytes");
    k = add(l, "decay_beta", call_decay_beta, tile, (size_t)0, (size_t)0, heads, heads, heads, tile * 2 * heads,
            tile * heads, tile * heads, (size_t)0);
    (void)snprintf(k->shape, sizeof k->shape, "%zu x %zu heads", tile, heads);
    moves(k, 4.0 * (double)(tile * heads), "16 m heads bytes");
    k = add(l, "pool_add", call_pool_add, pooled, d, (size_t)0, (size_t)0, pooled * d, d, (size_t)0);
    (void)snprintf(k->shape, sizeof k->shape, "%zu x %zu", pooled, d);
    moves(k, (double)(pooled * d), "4 m d bytes");
    k->in_place = 1;
    if (any_gdn) {
        k = add(l, "gated_norm", call_gated_norm, tile, (size_t)c->head_v_dim, (size_t)0, heads, (size_t)c->head_v_dim,
                tile * vd, tile * vd, tile * vd, (size_t)0);
        (void)snprintf(k->shape, sizeof k->shape, "%zu x %zu heads x %d", tile, heads, c->head_v_dim);
        moves(k, (c->use_gate ? 3.0 : 2.0) * (double)(tile * vd),
              c->use_gate ? "12 m heads d bytes" : "8 m heads d bytes");
    }
    k = add(l, "swiglu", call_swiglu, tile, wide, (size_t)0, (size_t)0, tile * 2 * wide, (size_t)0);
    (void)snprintf(k->shape, sizeof k->shape, "%zu x %zu", tile, wide);
    k->in_place = 1;
    moves(k, 3.0 * (double)(tile * wide), "12 m n bytes");
    k = add(l, "embed", call_embed, tile, d, (size_t)0, table, matrix_floats(l->type, table * d), tile * d, (size_t)0);
    (void)snprintf(k->shape, sizeof k->shape, "%zu x %zu, %zu words", tile, d, table);
    k->n_shared = 1;
    k->weights = table * d;
    moves(k, (1.0 + (double)natsl_storage_bytes(l->type) / 4.0) * (double)(tile * d),
          l->type == NATSL_BF16 ? "6 m d bytes" : "8 m d bytes");
    k = add(l, "lse_add", call_lse_add, tile, vocab, (size_t)0, (size_t)0, tile * vocab, tile, 2 * tile, tile,
            (size_t)0);
    (void)snprintf(k->shape, sizeof k->shape, "%zu x %zu", tile, vocab);
    k->in_place = 1;
    moves(k, (double)(tile * vocab), "4 m n bytes");
}

static void make_cases(case_list *l, const natsl_config *c, const natsl_kernels *kernels, natsl_storage type)
{
    const size_t tile = (size_t)natsl_grid_make(c->chunk).tile;
    int kinds[3] = {0};
    for (int i = 0; i < c->num_hidden_layers; i++) kinds[c->kind[i]]++;
    *l = (case_list){.kernels = kernels, .config = c, .type = type};
    add_products(l, tile);
    add_delta(l);
    if (kinds[NATSL_LAYER_NATS]) add_nats(l, tile);
    for (int i = 0; i < c->num_hidden_layers; i++) { /* the first kind of attention layers */
        if (c->kind[i] != NATSL_LAYER_ATTN) continue;
        const natsl_shape shape = natsl_shape_of(c, i);
        add_linear(l, "linear attn in", tile, shape.n_in, (size_t)c->hidden_size, 0);
        add_linear(l, "linear attn out", tile, (size_t)c->hidden_size, shape.attn.od, 0);
        add_attention(l, &shape.attn, tile);
        break;
    }
    add_movers(l, tile, kinds[NATSL_LAYER_GDN] > 0);
}

/* ---- measuring -------------------------------------------------------------------------------------------------------- */

/** One case under way: where its arrays lie, and how it is called. */
typedef struct measuring {
    const bench_case *k;
    float *base;              /* shared arrays, then sets */
    float **scratch;          /* [threads] */
    size_t shared, set, sets; /* floats, floats, sets per thread */
    size_t calls;             /* per thread and round */
    int threads;
} measuring;

static size_t whole_lines(size_t floats) { return (floats + LINE - 1) / LINE * LINE; }

static void layout_case(measuring *r, const bench_case *k, size_t ring, int threads)
{
    r->k = k;
    r->shared = r->set = 0;
    r->threads = threads;
    for (int i = 0; i < k->n_arrays; i++) *(i < k->n_shared ? &r->shared : &r->set) += whole_lines(k->arrays[i]);
    r->sets = k->bytes > 0.0 ? ring / r->set / (size_t)threads + 1 : 1;
}

static void pointers(const measuring *r, size_t set, float *p[MAX_ARRAYS])
{
    float *shared = r->base, *own = r->base + r->shared + set * r->set;
    for (int i = 0; i < r->k->n_arrays; i++) {
        float **from = i < r->k->n_shared ? &shared : &own;
        p[i] = *from;
        *from += whole_lines(r->k->arrays[i]);
    }
}

static void random_floats(float *x, size_t n, float low, float high)
{
    uint32_t state = 12345;
    for (size_t i = 0; i < n; i++) {
        state = state * 1664525u + 1013904223u;
        x[i] = low + (high - low) * (float)(state >> 8) * 0x1p-24f;
    }
}

/** Array 0 as the case's matrix holds it. */
static void fill_weights(const bench_case *k, float *array)
{
    uint16_t *half = (uint16_t *)(void *)array;
    if (k->weights == 0 || k->type != NATSL_BF16) return;
    for (size_t i = 0; i < k->weights; i++) half[i] = natsl_to_bf16((float)(i % 251) * 0.008f - 1.0f);
}

/** Fills the shared arrays and every thread's sets, by the thread itself. */
static void fill(void *user)
{
    const measuring *r = user;
    random_floats(r->base, r->shared, r->k->low, r->k->high);
    if (r->k->n_shared > 0) fill_weights(r->k, r->base);
#pragma omp parallel num_threads(r->threads)
    {
        const size_t first = (size_t)omp_get_thread_num() * r->sets;
        float *own = r->base + r->shared + first * r->set;
        random_floats(own, r->set, r->k->low, r->k->high);
        if (r->k->n_shared == 0) fill_weights(r->k, own);
        for (size_t i = 1; i < r->sets; i++) memcpy(own + i * r->set, own, r->set * sizeof(float));
    }
}

static void run_calls(void *user)
{
    const measuring *r = user;
#pragma omp parallel num_threads(r->threads)
    {
        const size_t thread = (size_t)omp_get_thread_num();
        float *p[MAX_ARRAYS];
        for (size_t i = 0, set = 0; i < r->calls; i++, set = set + 1 < r->sets ? set + 1 : 0) {
            pointers(r, thread * r->sets + set, p);
            r->k->call(r->k, p, r->scratch[thread]);
        }
    }
}

/** Calls per round: as many as fit `target` seconds, and at least one round of the ring. */
static size_t calibrate(measuring *r, double target)
{
    r->calls = r->sets;
    run_calls(r);
    for (;;) {
        const double start = natsl_now_s();
        run_calls(r);
        const double seconds = natsl_now_s() - start;
        if (seconds >= target || r->calls >= (size_t)1 << 24) return r->calls;
        const double grow = seconds > 0.0 ? target / seconds : 100.0;
        r->calls *= (size_t)(grow < 2.0 ? 2.0 : grow > 100.0 ? 100.0 : grow);
    }
}

/** Seconds per call: [0] one thread of rank 0 alone, [1] all threads of all ranks. */
static void measure(natsl_bench *b, const bench_case *k, float *base, float **scratch, size_t ring, double seconds[2])
{
    const int threads = (int)b->app->args.threads;
    const double budget = b->budget_s / 5.0;
    void (*again)(void *) = k->in_place ? fill : NULL;
    double values[2] = {0.0, 0.0}; /* seconds and calls of the first measurement */
    measuring r = {.base = base, .scratch = scratch};
    layout_case(&r, k, ring, 1);
    if (b->app->rank == 0) {
        fill(&r);
        /* what is filled again must not be called too often in between: values would drift */
        if (k->in_place) r.calls = r.sets;
        else values[1] = (double)calibrate(&r, budget / 8.0) / (double)r.sets;
        values[0] = natsl_bench_best(MPI_COMM_SELF, budget, run_calls, again, &r) / (double)r.calls;
    }
    natsl_bench_rest(b);
    natsl_bench_share(b, values, 2);
    layout_case(&r, k, ring, threads);
    fill(&r);
    const double rounds = ceil(values[1]); /* of the ring, or calls where there is one set */
    r.calls = k->in_place || rounds < 1.0 ? r.sets : r.sets * (size_t)rounds;
    seconds[0] = values[0];
    seconds[1] = natsl_bench_best(b->app->comm, budget, run_calls, again, &r) / (double)r.calls;
}

static const char *format_time(double seconds, char text[32])
{
    if (seconds < 1e-3) (void)snprintf(text, 32, "%.2f us", 1e6 * seconds);
    else (void)snprintf(text, 32, "%.2f ms", 1e3 * seconds);
    return text;
}

static void report(natsl_bench *b, json_t *list, const bench_case *k, const double seconds[2])
{
    const natsl_machine *m = &b->machine;
    const double all = (double)b->app->args.threads * b->app->size;
    const int memory = k->bytes > 0.0;
    const double work = 1e-9 * (memory ? k->bytes : k->flop), one = work / seconds[0], sum = all * work / seconds[1];
    const double share = one / (memory ? m->memory_gbytes_per_s[0] : m->peak_one_thread_gflops);
    const double share_all = sum / (memory ? m->memory_gbytes_per_s[1] : m->peak_gflops);
    char a[32], c[32];
    natsl_bench_say(b, "  %-16s %-32s %10s %8.1f %4.0f %% %10s %8.1f %4.0f %%  %s\n", k->name, k->shape,
                    format_time(seconds[0], a), one, 100.0 * share, format_time(seconds[1], c), sum, 100.0 * share_all,
                    k->formula);
    json_t *j = list ? json_object() : NULL, *j_all = list ? json_object() : NULL;
    natsl_bench_text(b, j, "name", k->name);
    natsl_bench_text(b, j, "shape", k->shape);
    natsl_bench_text(b, j, "formula", k->formula);
    natsl_bench_text(b, j, "limit", memory ? "memory" : "arithmetic");
    natsl_bench_real(b, j, "seconds", seconds[0]);
    natsl_bench_real(b, j, "gflops", k->flop > 0.0 ? 1e-9 * k->flop / seconds[0] : NAN);
    natsl_bench_real(b, j, "share_of_peak", memory ? NAN : share);
    natsl_bench_real(b, j, "gbytes_per_s", memory ? one : NAN);
    natsl_bench_real(b, j, "share_of_memory", memory ? share : NAN);
    natsl_bench_real(b, j, "share_of_copy", memory ? one / m->copy_gbytes_per_s[0] : NAN);
    natsl_bench_count(b, j_all, "threads", (int64_t)all);
    natsl_bench_real(b, j_all, "seconds", seconds[1]);
    natsl_bench_real(b, j_all, "gflops", k->flop > 0.0 ? all * 1e-9 * k->flop / seconds[1] : NAN);
    natsl_bench_real(b, j_all, "share_of_peak", memory ? NAN : share_all);
    natsl_bench_real(b, j_all, "gbytes_per_s", memory ? sum : NAN);
    natsl_bench_real(b, j_all, "share_of_memory", memory ? share_all : NAN);
    natsl_bench_real(b, j_all, "share_of_copy", memory ? sum / m->copy_gbytes_per_s[1] : NAN);
    natsl_bench_put(b, j, "all_threads", j_all);
    if (list && json_array_append_new(list, j) != 0) b->json_failed = 1;
}

natsl_status natsl_bench_kernels(natsl_bench *b)
{
    const natsl_config *c = &b->config;
    const int threads = (int)b->app->args.threads;
    const size_t ring = (size_t)b->machine.ring_bytes / sizeof(float);
    const size_t needs[3] = {natsl_delta_scratch((size_t)c->head_dim, (size_t)c->head_v_dim),
                             natsl_attn_scratch(NATSL_TILE), natsl_linear_scratch()};
    size_t own = 0;
    for (int i = 0; i < 3; i++) own = needs[i] > own ? needs[i] : own;
    own = whole_lines(own);
    size_t floats = 0;
    case_list *list = natsl_calloc(1, sizeof *list, "kernels");
    float *base = NULL, *space = natsl_alloc((size_t)threads * own, sizeof(float), "scratch");
    float **scratch = natsl_alloc((size_t)threads, sizeof *scratch, "scratch");
    if (list) {
        make_cases(list, c, b->app->args.kernels ? &natsl_kernels_ref : &natsl_kernels_fast,
                   (natsl_storage)b->app->args.weights);
        for (int i = 0; i < list->n; i++) {
            for (int t = 1; t <= threads; t += threads > 1 ? threads - 1 : 1) {
                measuring r = {0};
                layout_case(&r, &list->cases[i], ring, t);
                const size_t need = r.shared + r.set * r.sets * (size_t)t;
                if (need > floats) floats = need;
            }
        }
        base = natsl_alloc(floats, sizeof(float), "arrays of kernels");
    }
    natsl_status st = natsl_app_agree(b->app, base && space && scratch ? NATSL_OK : NATSL_ERR_NOMEM);
    if (st == NATSL_OK) {
        openblas_set_num_threads(1);
        json_t *j = b->json ? json_array() : NULL;
        natsl_bench_say(b,
                        "\nkernels (%s), GFLOP/s, those that move memory GB/s; shares of the peak, of copy or update\n",
                        b->app->args.kernels ? "ref" : "fast");
        natsl_bench_say(b, "  %-16s %-32s %10s %8s %6s %10s %8s %6s  %s\n", "kernel", "shape", "1 thread", "rate",
                        "share", "all", "rate", "share", "counted");
        for (int t = 0; t < threads; t++) scratch[t] = space + (size_t)t * own;
        for (int i = 0; i < list->n && st == NATSL_OK; i++) {
            double seconds[2];
            measure(b, &list->cases[i], base, scratch, ring, seconds);
            report(b, j, &list->cases[i], seconds);
            st = natsl_bench_show(b);
        }
        natsl_bench_put(b, b->json, "kernels", j);
    }
    natsl_free(base);
    natsl_free(scratch);
    natsl_free(space);
    natsl_free(list);
    return st;
}
