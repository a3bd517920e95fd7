/* cost.c - operations and seconds by counting. See cost.h; the run on many ranks: cost_predict.c. */
#include "cost.h"

#include <math.h>

/** Pairs of a token t < n and a token at or before it that it sees. */
static double pairs(int64_t window, int64_t n)
{
    const double ramp = (double)(window > 0 ? natsl_min64(window, n) : n);
    return ramp * (ramp + 1.0) / 2.0 + ((double)n - ramp) * ramp;
}

/** Those in the same chunk. */
static double own_pairs(int64_t chunk, int64_t window, int64_t n)
{
    return (double)(n / chunk) * pairs(window, chunk) + pairs(window, n % chunk);
}

double natsl_cost_pairs_before(int64_t chunk, int64_t window, int64_t begin, int64_t end)
{
    return pairs(window, end) - own_pairs(chunk, window, end) -
           (pairs(window, begin) - own_pairs(chunk, window, begin));
}

double natsl_cost_share(const natsl_config *c, int layer, double kept_share)
{
    return c->kind[layer] == NATSL_LAYER_ATTN ? 1.0 : c->kind[layer] == NATSL_LAYER_NATS ? kept_share : 0.0;
}

/** Sums over the blocks of the delta rule in a run of tokens: of m, m^2, m^3, and of m over the blocks that end a chunk. */
typedef struct blocks {
    double tokens, squares, cubes, last;
} blocks;

/** Adds tokens [a, b) of one chunk. */
static void add_blocks(blocks *s, int64_t chunk, int64_t a, int64_t b, double times)
{
    for (int64_t from = a, to; from < b; from = to) {
        to = natsl_min64((from / NATSL_DELTA_BLOCK + 1) * NATSL_DELTA_BLOCK, b);
        const double m = (double)(to - from);
        s->tokens += times * m;
        s->squares += times * m * m;
        s->cubes += times * m * m * m;
        if (from / NATSL_DELTA_BLOCK == (chunk - 1) / NATSL_DELTA_BLOCK) s->last += times * m;
    }
}

static blocks blocks_of(int64_t chunk, int64_t begin, int64_t end)
{
    blocks s = {0};
    const int64_t c0 = begin / chunk, c1 = end / chunk;
    if (c0 == c1) {
        add_blocks(&s, chunk, begin % chunk, end % chunk, 1.0);
        return s;
    }
    add_blocks(&s, chunk, begin % chunk, chunk, 1.0);
    add_blocks(&s, chunk, 0, chunk, (double)(c1 - c0 - 1));
    add_blocks(&s, chunk, 0, end % chunk, 1.0);
    return s;
}

/** What softmax attention of a layer adds. */
static void add_attention(natsl_work *w, const natsl_attn_shape *a, int64_t begin, int64_t end, double share)
{
    const int64_t chunk = (int64_t)a->chunk;
    const double pair = 2.0 * (double)(a->heads * (a->dk + a->dv));
    w->of[NATSL_WORK_OWN] = pair * (own_pairs(chunk, a->window, end) - own_pairs(chunk, a->window, begin));
    w->of[NATSL_WORK_KEPT] = pair * share * natsl_cost_pairs_before(chunk, a->window, begin, end);
}

natsl_work natsl_cost_layer(const natsl_config *c, int layer, int64_t begin, int64_t end, double kept_share)
{
    natsl_work w = {{0}};
    const natsl_shape shape = natsl_shape_of(c, layer);
    const natsl_attn_shape *a = &shape.attn;
    const double n = (double)(end - begin), d = c->hidden_size, kd = c->key_dim, vd = c->value_dim;
    const double wide = c->intermediate_size, dk = c->head_dim, dv = c->head_v_dim, hv = c->num_v_heads;
    const int nats = shape.kind == NATSL_LAYER_NATS;
    if (end <= begin) return w;
    w.of[NATSL_WORK_FEED_FORWARD] = 6.0 * n * d * wide;
    if (shape.kind == NATSL_LAYER_ATTN) {
        w.of[NATSL_WORK_PROJECT] = 2.0 * n * d * (double)(shape.n_in + a->od);
        add_attention(&w, a, begin, end, 1.0);
        /* Norms: two of D read and written; queries, keys and values copied, the answer gated. */
        w.of[NATSL_WORK_ROWS] = n * (4.0 * d + 2.0 * (double)(a->qd + a->kd) + 3.0 * (double)a->od) * sizeof(float);
        return w;
    }
    const blocks b = blocks_of(c->chunk, begin, end);
    double project = d * (double)shape.n_in + vd * d;
    if (c->use_gate) project += d * vd + (nats ? 2.0 * (double)a->heads * kd : 0.0);
    w.of[NATSL_WORK_PROJECT] = 2.0 * n * project;
    w.of[NATSL_WORK_LOCAL] = (double)c->num_heads * 2.0 * b.squares * dk + hv * b.cubes / 3.0;
    const double into_state = nats ? b.tokens - kept_share * b.last : b.tokens;
    w.of[NATSL_WORK_STATE] = hv * (4.0 * b.tokens * dk * dv + 2.0 * b.squares * dv + 2.0 * into_state * dk * dv);
    /* Floats per row. Norms: three of D read and written (two without the output gate); the convolution and unit rows; the answers
     * mixed. NAtS-L layers: rows pooled once more, queries and keys copied, a second answer. */
    double rows = 2.0 * d * (c->use_gate ? 3.0 : 2.0) + 2.0 * (2.0 * kd + vd) + 4.0 * kd + 4.0 * hv + 3.0 * vd;
    if (nats) {
        const double chunks = (double)(end / c->chunk - begin / c->chunk);
        rows += 2.0 * d + 4.0 * kd + 3.0 * vd;
        w.of[NATSL_WORK_PROJECT] += chunks * 4.0 * d * (double)a->groups;
        add_attention(&w, a, begin, end, kept_share);
    }
    w.of[NATSL_WORK_ROWS] = n * rows * sizeof(float);
    return w;
}

natsl_work natsl_cost_count(const natsl_config *c, int64_t begin, int64_t end, double kept_share, int64_t scored)
{
    natsl_work sum = {{0}};
    for (int l = 0; l < c->num_hidden_layers; l++) {
        const natsl_work one = natsl_cost_layer(c, l, begin, end, kept_share);
        for (int k = 0; k < NATSL_WORK_KINDS; k++) sum.of[k] += one.of[k];
    }
    sum.of[NATSL_WORK_LOGITS] = 2.0 * (double)c->hidden_size * (double)c->vocab_size * (double)scored;
    return sum;
}

natsl_cost_machine natsl_cost_machine_guess(double gflops, int threads)
{
    /* Shares of the speed of big products, and bytes per operation, as measured on processors with AVX-512 (natsl bench). */
    static const double shares[NATSL_WORK_KINDS] = {
        [NATSL_WORK_PROJECT] = 1.0, [NATSL_WORK_FEED_FORWARD] = 0.95, [NATSL_WORK_LOGITS] = 0.85,
        [NATSL_WORK_LOCAL] = 0.2,   [NATSL_WORK_STATE] = 0.5,         [NATSL_WORK_OWN] = 0.2,
        [NATSL_WORK_KEPT] = 0.45,   [NATSL_WORK_ROWS] = 0.03};
    natsl_cost_machine m = {.threads = threads,
                            .stage_s = 20e-6,
                            .latency_s = 5e-6,
                            .bytes_per_s = 10e9,
                            .near_latency_s = 1e-6,
                            .near_bytes_per_s = 5e9,
                            .ranks_per_node = 1};
    for (int k = 0; k < NATSL_WORK_KINDS; k++) m.per_s[k] = shares[k] * gflops * 1e9;
    return m;
}

double natsl_cost_seconds(const natsl_cost_machine *m, const natsl_work *w)
{
    double s = 0.0;
    for (int k = 0; k < NATSL_WORK_KINDS; k++) s += w->of[k] / m->per_s[k];
    return s;
}

natsl_part_weights natsl_cost_weights_of(double token_s, double token_chunk_s)
{
    natsl_part_weights w = {.each = NATSL_PART_WEIGHT};
    const double slope = token_chunk_s / token_s * (double)NATSL_PART_WEIGHT;
    if (slope >= (double)NATSL_PART_MOST_WEIGHT) w.per_chunk = NATSL_PART_MOST_WEIGHT;
    else if (slope > 0.0) w.per_chunk = (int64_t)slope; /* false for NaN */
    return w;
}

natsl_part_weights natsl_cost_weights(const natsl_config *c, const natsl_cost_machine *m, double kept_share, int scores)
{
    /* One chunk of tokens, with no chunk and with one before it. Behind a window's length its cost does not grow. */
    const int64_t chunk = c->chunk;
    natsl_work none = {{0}}, one = {{0}};
    for (int l = 0; l < c->num_hidden_layers; l++) {
        const int64_t window = natsl_shape_of(c, l).attn.window;
        const int64_t at = window > 0 ? (window / chunk + 2) * chunk : 0;
        const natsl_work here = natsl_cost_layer(c, l, at, at + chunk, kept_share);
        for (int k = 0; k < NATSL_WORK_KINDS; k++) none.of[k] += here.of[k];
        if (window == 0)
            one.of[NATSL_WORK_KEPT] += natsl_cost_layer(c, l, chunk, 2 * chunk, kept_share).of[NATSL_WORK_KEPT];
    }
    if (scores) none.of[NATSL_WORK_LOGITS] = 2.0 * (double)c->hidden_size * (double)c->vocab_size * (double)chunk;
    return natsl_cost_weights_of(natsl_cost_seconds(m, &none), natsl_cost_seconds(m, &one));
}

double natsl_cost_skew(const natsl_cost_run *r, const natsl_part_weights *w)
{
    const int64_t chunk = r->config->chunk, end = natsl_min64(r->begin + r->pass_tokens, r->begin + r->tokens);
    const double first = (double)(r->begin / chunk), chunks = (double)((end - r->begin) / chunk), p = r->ranks;
    const double mean = (double)w->each + (double)w->per_chunk * (first + chunks / 2.0);
    const double last = (double)w->each + (double)w->per_chunk * (first + chunks * (1.0 - 0.5 / p));
    return last / mean - 1.0;
}
