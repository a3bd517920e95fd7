/* grad_mixer.c - backward phases over the sequence: attention, the delta rule's state, the gate's choice. Source:
 * oracle_grad.py selected_attention, gated_delta_rule, choose. */
#include "grad_impl.h"

#include <math.h>
#include <omp.h>
#include <string.h>

/* ---- attention ------------------------------------------------------------------------------------------------------------ */

/** Keys [k0,k1) of one head of chunk `chunk` against the run's rows [q0,q1). */
typedef struct key_block {
    const float *keys, *values; /* turned over; rows */
    size_t ldk, ldv;
    float *dkeys, *dvalues;
    size_t lddk, lddv;
} key_block;

static double block_back(natsl_backward *b, size_t h, int64_t q0, int64_t q1, size_t n, ptrdiff_t causal,
                         const key_block *k)
{
    natsl_stage *s = b->stage;
    const natsl_config *c = s->config;
    const size_t kd = (size_t)c->key_dim, vd = (size_t)c->value_dim, heads = (size_t)c->num_attn_heads;
    const size_t dk = (size_t)c->attn_k_dim, dv = (size_t)c->attn_v_dim;
    const size_t row = (size_t)(q0 - s->first), in_stage = (size_t)(q0 - s->base), at = in_stage * heads + h;
    return s->kernels->attn_grad((size_t)(q1 - q0), n, dk, dv, s->qa + in_stage * kd + h * dk, kd, k->keys, k->ldk,
                                 k->values, k->ldv, 1.0f / sqrtf((float)dk), causal, s->top + at, s->sum + at,
                                 b->dots + row * heads + h, heads, b->d_oa + row * vd + h * dv, vd,
                                 b->dqa + row * kd + h * dk, kd, k->dkeys, k->lddk, k->dvalues, k->lddv,
                                 b->scratch[omp_get_thread_num()]);
}

void natsl_backward_own(natsl_backward *b)
{
    natsl_stage *s = b->stage;
    const natsl_config *c = s->config;
    const size_t kd = (size_t)c->key_dim, vd = (size_t)c->value_dim, rows = (size_t)(s->last - s->first);
    const size_t dk = (size_t)c->attn_k_dim, dv = (size_t)c->attn_v_dim, heads = (size_t)c->num_attn_heads;
    const int64_t chunk = s->grid.chunk;
    const float *values = c->attn_with_short_conv ? s->qkv + 2 * kd : s->va;
    const size_t ldv = c->attn_with_short_conv ? s->n_in : vd;
    memset(b->dqa, 0, rows * kd * sizeof(float));
    memset(b->dka, 0, rows * kd * sizeof(float));
    memset(b->dva, 0, rows * vd * sizeof(float));
    memset(b->dsoft, 0, (size_t)s->n_chunks * heads * sizeof(double));
#pragma omp parallel for schedule(dynamic, 1) num_threads(s->threads)
    for (int64_t i = 0; i < s->n_chunks * (int64_t)heads; i++) {
        const int64_t j = i / (int64_t)heads, begin = (s->chunk0 + j) * chunk;
        const int64_t end = natsl_min64(begin + chunk, s->last);
        const size_t h = (size_t)(i % (int64_t)heads);
        for (int64_t k0 = begin; k0 < end; k0 += NATSL_ATTN_KEYS) {
            const int64_t k1 = natsl_min64(k0 + NATSL_ATTN_KEYS, end);
            const size_t row = (size_t)(k0 - s->first);
            const key_block k = {.keys = s->ka + ((size_t)j * kd + h * dk) * (size_t)chunk + (size_t)(k0 - begin),
                                 .ldk = (size_t)chunk,
                                 .values = values + (size_t)(k0 - s->base) * ldv + h * dv,
                                 .ldv = ldv,
                                 .dkeys = b->dka + row * kd + h * dk,
                                 .lddk = kd,
                                 .dvalues = b->dva + row * vd + h * dv,
                                 .lddv = vd};
            (void)block_back(b, h, k0, end, (size_t)(k1 - k0), 0, &k); /* rows before k0 see none of them */
        }
    }
}

/** Attention head h, the a-th of its gate head: a unit against those of rows [q0,q1) that see it. grads [chunk, dk], [chunk, dv] =.
 * Returns what the factor on the chunk's exponentials gets. */
static double unit_back(natsl_backward *b, size_t h, size_t a, const natsl_one_unit *u, int64_t q0, int64_t q1,
                        float *grads)
{
    natsl_stage *s = b->stage;
    const natsl_config *c = s->config;
    const size_t rows = (size_t)c->chunk, dk = (size_t)c->attn_k_dim, dv = (size_t)c->attn_v_dim;
    const natsl_attn_shape shape = natsl_attn_shape_nats(c);
    float *dkeys = grads, *dvalues = dkeys + rows * dk;
    double factor = 0.0;
    memset(dkeys, 0, rows * (dk + dv) * sizeof(float));
    q0 = natsl_max64(q0, (u->chunk + 1) * s->grid.chunk); /* rows after the chunk see it */
    if (q0 >= q1) return 0.0;
    const float *keys = natsl_unit_head(s, &shape, u->unit, a, natsl_stage_room(s, omp_get_thread_num()));
    for (size_t k0 = 0; k0 < rows; k0 += NATSL_ATTN_KEYS) {
        const key_block k = {.keys = keys + k0,
                             .ldk = rows,
                             .values = keys + rows * dk + k0 * dv,
                             .ldv = dv,
                             .dkeys = dkeys + k0 * dk,
                             .lddk = dk,
                             .dvalues = dvalues + k0 * dv,
                             .lddv = dv};
        factor += block_back(b, h, q0, q1, rows - k0 < NATSL_ATTN_KEYS ? rows - k0 : NATSL_ATTN_KEYS, -1, &k);
    }
    return factor;
}

/** The next units of gate head g to its part of b->batch, from *list and *at on; returns how many. */
static size_t next_units(natsl_backward *b, const natsl_unit_list *lists, size_t n, size_t g, size_t *list, int64_t *at)
{
    const natsl_config *c = b->stage->config;
    const natsl_attn_shape shape = natsl_attn_shape_nats(c);
    const size_t unit = natsl_unit_floats(&shape, b->stage->kept), grad = natsl_unit_grad_floats(c);
    size_t count = 0;
    for (; *list < n; ++*list, *at = 0) {
        const natsl_unit_list *l = &lists[*list];
        if (l->head != g) continue;
        for (; *at < l->count; ++*at) {
            if (count == b->batch_units) return count;
            b->batch[g * b->batch_units + count++] = (natsl_one_unit){
                .unit = l->units + (size_t)*at * unit, .grad = l->grads + (size_t)*at * grad, .chunk = l->chunks[*at]};
        }
    }
    return count;
}

void natsl_backward_attend(natsl_backward *b, const natsl_unit_list *lists, size_t n)
{
    natsl_stage *s = b->stage;
    const natsl_config *c = s->config;
    const size_t heads = (size_t)c->num_attn_heads, gates = (size_t)c->num_nats_head, group = heads / gates;
    const size_t one = (size_t)c->chunk * ((size_t)c->attn_k_dim + (size_t)c->attn_v_dim), most = b->batch_units;
    const natsl_attn_shape shape = natsl_attn_shape_nats(c);
    const size_t numbers = natsl_unit_numbers(&shape);
    const double f = (double)s->first, l = (double)s->last;
    /* Two parts of the rows with equal work, as a row sees more units the later it is: so that three heads keep two threads
     * busy. A part of a head on one thread: the gradients of its queries are sums over all units, in their order. */
    const int64_t middle = s->first + ((int64_t)sqrt(0.5 * (f * f + l * l)) - s->first) / 64 * 64;
    for (size_t g = 0; g < gates; g++) b->cursor[g] = (natsl_unit_cursor){0};
    for (int any = 1; any;) {
        any = 0;
        for (size_t g = 0; g < gates; g++) {
            natsl_unit_cursor *at = &b->cursor[g];
            at->count = next_units(b, lists, n, g, &at->list, &at->unit);
            any |= at->count > 0;
        }
#pragma omp parallel for schedule(dynamic, 1) num_threads(s->threads)
        for (size_t i = 0; i < 2 * heads; i++) {
            const size_t h = i % heads, g = h / group, a = h % group;
            for (size_t u = 0; u < b->cursor[g].count; u++) {
                const natsl_one_unit *unit = &b->batch[g * most + u];
                const size_t at = h * most + u;
                if (i < heads) b->late[at] = unit_back(b, h, a, unit, middle, s->last, unit->grad + a * one);
                else if ((unit->chunk + 1) * s->grid.chunk < middle)
                    b->early[at] = unit_back(b, h, a, unit, s->first, middle, b->early_grads + at * one);
            }
        }
#pragma omp parallel for schedule(static) num_threads(s->threads)
        for (size_t i = 0; i < heads * most; i++) {
            const size_t h = i / most, g = h / group, a = h % group;
            if (i % most >= b->cursor[g].count) continue;
            const natsl_one_unit *unit = &b->batch[g * most + i % most];
            double factor = b->late[i];
            if ((unit->chunk + 1) * s->grid.chunk < middle) {
                for (size_t k = 0; k < one; k++) unit->grad[a * one + k] += b->early_grads[i * one + k];
                factor += b->early[i];
            }
            unit->grad[numbers + a] = (float)factor;
        }
    }
}

void natsl_backward_unit(natsl_backward *b, int64_t chunk, size_t n, const float *grad)
{
    natsl_stage *s = b->stage;
    const natsl_config *c = s->config;
    const size_t rows = (size_t)c->chunk, dk = (size_t)c->attn_k_dim, dv = (size_t)c->attn_v_dim;
    const size_t heads = (size_t)c->num_attn_heads, group = heads / (size_t)c->num_nats_head;
    const size_t kd = (size_t)c->key_dim, vd = (size_t)c->value_dim;
    const size_t row = (size_t)((s->chunk0 + chunk) * s->grid.chunk - s->first);
    for (size_t a = 0; a < group; a++) {
        const size_t h = n * group + a;
        const float *dkeys = grad + a * rows * (dk + dv), *dvalues = dkeys + rows * dk;
        for (size_t i = 0; i < rows; i++) {
            float *to_k = b->dka + (row + i) * kd + h * dk, *to_v = b->dva + (row + i) * vd + h * dv;
            for (size_t l = 0; l < dk; l++) to_k[l] += dkeys[i * dk + l];
            for (size_t l = 0; l < dv; l++) to_v[l] += dvalues[i * dv + l];
        }
        b->dsoft[(size_t)chunk * heads + h] += (double)grad[group * rows * (dk + dv) + a];
    }
}

/* ---- the delta rule's state ------------------------------------------------------------------------------------------------ */

/** What a value head's pass through the run's chunks needs to know. */
typedef struct head_pass {
    size_t h, key_head;
    const natsl_layer *layer;
    float *scratch, *states; /* states: [block, dk, dv], before each block; one more at the end */
} head_pass;

static int chunk_kept(const natsl_stage *s, const head_pass *p, int64_t j)
{
    const natsl_config *c = s->config;
    if (p->layer->shape.kind == NATSL_LAYER_GDN) return 0;
    return s->keep[(size_t)j * (size_t)c->num_nats_head + p->h / ((size_t)c->num_v_heads / (size_t)c->num_nats_head)];
}

/** Forward once more: the states before all blocks. */
static void states_forward(const natsl_backward *b, const head_pass *p, const float *state)
{
    const natsl_stage *s = b->stage;
    const natsl_config *c = s->config;
    const size_t dk = (size_t)c->head_dim, dv = (size_t)c->head_v_dim, one = dk * dv, n_in = s->n_in;
    const size_t kd = (size_t)c->key_dim;
    float *at = p->states;
    memcpy(at, state, one * sizeof(float));
    for (int64_t j = 0; j < s->n_chunks; j++) {
        const int64_t begin = (s->chunk0 + j) * s->grid.chunk, end = natsl_min64(begin + s->grid.chunk, s->last);
        const float *start = at;
        float total = 0.0f;
        for (int64_t t = begin; t < end; t += NATSL_DELTA_BLOCK, at += one) {
            const size_t row = (size_t)(t - s->base), m = (size_t)natsl_min64(NATSL_DELTA_BLOCK, end - t);
            const size_t in = p->h * s->capacity + row;
            const float *q = s->qkv + row * n_in + p->key_head * dk;
            /* first = m: no outputs are wanted */
            s->kernels->delta_apply(m, m, dk, dv, q, n_in, q + kd, n_in, s->qkv + row * n_in + 2 * kd + p->h * dv, n_in,
                                    s->g + in, s->t + in * NATSL_DELTA_BLOCK, s->a + in * NATSL_DELTA_BLOCK, at,
                                    at + one, dv, NULL, 0, p->scratch);
            total += s->g[in + m - 1];
        }
        if (!chunk_kept(s, p, j)) continue;
        const float decay = c->decay_for_non_gdn_blocks ? expf(total) : 1.0f;
        for (size_t i = 0; i < one; i++) at[i] = decay * start[i];
    }
}

static double dot(size_t n, const float *x, const float *y)
{
    double sum = 0.0;
    for (size_t i = 0; i < n; i++) sum += (double)x[i] * (double)y[i];
    return sum;
}

/** The chunk's blocks from the last back: dstate in: of the state after the chunk (inside it), out: at its start. */
static void chunk_back(natsl_backward *b, const head_pass *p, int64_t begin, int64_t end, const float *start,
                       float *dstate)
{
    natsl_stage *s = b->stage;
    const natsl_config *c = s->config;
    const size_t dk = (size_t)c->head_dim, dv = (size_t)c->head_v_dim, kd = (size_t)c->key_dim, n_in = s->n_in;
    const size_t vd = (size_t)c->value_dim, heads = (size_t)c->num_v_heads;
    const size_t q_at = p->key_head * dk, v_at = 2 * kd + p->h * dv, decay_at = s->conv_channels + p->h;
    for (int64_t block = (end - begin - 1) / NATSL_DELTA_BLOCK; block >= 0; block--) {
        const int64_t t = begin + block * NATSL_DELTA_BLOCK;
        const size_t row = (size_t)(t - s->base), own = (size_t)(t - s->first);
        const size_t m = (size_t)natsl_min64(NATSL_DELTA_BLOCK, end - t);
        const float *rows = s->qkv + row * n_in;
        float *to = b->dqkv + own * n_in;
        s->kernels->delta_grad(m, dk, dv, rows + q_at, n_in, rows + kd + q_at, n_in, rows + v_at, n_in,
                               s->log_decay + row * heads + p->h, s->beta + row * heads + p->h, heads,
                               start + (size_t)block * dk * dv, b->d_o + own * vd + p->h * dv, vd, dstate, to + q_at,
                               n_in, to + kd + q_at, n_in, to + v_at, n_in, to + decay_at, to + decay_at + heads, n_in,
                               p->scratch);
    }
}

/** One value head through the run's chunks, from the last back. */
static void head_back(natsl_backward *b, const head_pass *p, float *dstate)
{
    natsl_stage *s = b->stage;
    const natsl_config *c = s->config;
    const size_t one = (size_t)c->head_dim * (size_t)c->head_v_dim, heads = (size_t)c->num_v_heads;
    const int64_t chunk = s->grid.chunk, per_chunk = (chunk + NATSL_DELTA_BLOCK - 1) / NATSL_DELTA_BLOCK;
    float *passed = p->states + b->blocks * one + one; /* of what goes past a chunk that stays out of the state */
    for (int64_t j = s->n_chunks - 1; j >= 0; j--) {
        const int64_t begin = (s->chunk0 + j) * chunk, end = natsl_min64(begin + chunk, s->last);
        const float *start = p->states + (size_t)(j * per_chunk) * one; /* only the last chunk may be shorter */
        const float *after = p->states + (size_t)(j * per_chunk + (end - begin - 1) / NATSL_DELTA_BLOCK + 1) * one;
        double *factor = &b->dlinear[(size_t)j * heads + p->h];
        double total = 0.0, decay = 1.0;
        for (int64_t t = begin; t < end; t++) total += (double)s->log_decay[(size_t)(t - s->base) * heads + p->h];
        *factor = 0.0;
        if (!chunk_kept(s, p, j)) {
            /* what the chunk adds to the decayed state carries the factor; after the text's last chunk dstate is 0 */
            if (p->layer->shape.kind == NATSL_LAYER_NATS)
                *factor = dot(one, dstate, after) - exp(total) * dot(one, dstate, start);
            chunk_back(b, p, begin, end, start, dstate);
            continue;
        }
        if (c->decay_for_non_gdn_blocks) decay = exp(total);
        memcpy(passed, dstate, one * sizeof(float));
        memset(dstate, 0, one * sizeof(float));
        chunk_back(b, p, begin, end, start, dstate);
        const float of_decay = c->decay_for_non_gdn_blocks ? (float)(decay * dot(one, passed, start)) : 0.0f;
        for (int64_t t = begin; t < end; t++)
            b->dqkv[(size_t)(t - s->first) * s->n_in + s->conv_channels + p->h] += of_decay;
        for (size_t i = 0; i < one; i++) dstate[i] += (float)decay * passed[i];
    }
}

void natsl_backward_states(natsl_backward *b, const natsl_layer *layer, size_t h0, size_t h1, const float *state,
                           float *dstate)
{
    natsl_stage *s = b->stage;
    const natsl_config *c = s->config;
    const size_t dk = (size_t)c->head_dim, one = dk * (size_t)c->head_v_dim, kd = (size_t)c->key_dim;
    const size_t group = (size_t)c->num_v_heads / (size_t)c->num_heads, rows = (size_t)(s->last - s->first);
    /* A key head on one thread: its value heads add to the same queries and keys. */
#pragma omp parallel for schedule(dynamic, 1) num_threads(s->threads)
    for (size_t key_head = h0; key_head < h1; key_head++) {
        for (size_t i = 0; i < rows; i++) {
            memset(b->dqkv + i * s->n_in + key_head * dk, 0, dk * sizeof(float));
            memset(b->dqkv + i * s->n_in + kd + key_head * dk, 0, dk * sizeof(float));
        }
        for (size_t h = key_head * group; h < (key_head + 1) * group; h++) {
            const head_pass p = {.h = h,
                                 .key_head = key_head,
                                 .layer = layer,
                                 .scratch = b->scratch[omp_get_thread_num()],
                                 .states = b->states[omp_get_thread_num()]};
            states_forward(b, &p, state + h * one);
            head_back(b, &p, dstate + h * one);
        }
    }
}

/* ---- the gate's choice ------------------------------------------------------------------------------------------------------- */

void natsl_backward_gate(natsl_backward *b, const natsl_layer *layer, natsl_layer_grad *grad, const float *x,
                         natsl_route_kind route)
{
    natsl_stage *s = b->stage;
    const natsl_config *c = s->config;
    const size_t d = (size_t)c->hidden_size, heads = (size_t)c->num_nats_head, rows = (size_t)c->chunk;
    const size_t a_group = (size_t)c->num_attn_heads / heads, v_group = (size_t)c->num_v_heads / heads;
    const int64_t complete = s->last / s->grid.chunk - s->chunk0;
    const int forced = route != NATSL_ROUTE_LEARNED; /* the choices are constants: hints alone teach the gate */
    if (layer->shape.kind == NATSL_LAYER_GDN || (forced && !b->hints)) return;
#pragma omp parallel for schedule(static) num_threads(s->threads)
    for (int64_t j = 0; j < complete; j++) {
        const size_t row = (size_t)((s->chunk0 + j) * s->grid.chunk - s->first);
        float *sum = b->pools + (size_t)j * d, *xn = b->scratch[omp_get_thread_num()];
        memset(sum, 0, d * sizeof(float));
        for (size_t i = row; i < row + rows; i++) {
            s->kernels->rms_norm(1, 1, d, x + i * d, d, layer->attn_norm, c->norm_eps, xn, d);
            s->kernels->pool_add(1, d, xn, d, sum);
        }
    }
    for (int64_t j = 0; j < complete; j++) { /* in order: all add to the same weights */
        float *sum = b->pools + (size_t)j * d;
        const uint8_t *keep = s->keep + (size_t)j * heads;
        float *noise = s->noise.temperature > 0.0 ? b->scratch[0] : NULL;
        if (noise) natsl_gate_noise_of(&s->noise, heads, s->chunk0 + j, noise);
        for (size_t n = 0; n < heads; n++) {
            const double *soft = b->dsoft + ((size_t)j * heads + n) * a_group;
            const double *linear = b->dlinear + ((size_t)j * heads + n) * v_group;
            double chosen = 0.0;
            for (size_t i = 0; i < (keep[n] ? a_group : v_group); i++) chosen += keep[n] ? soft[i] : linear[i];
            /* a weight on the softmax operation's share: with two shares that sum to 1, minus that on the other's */
            b->sum[n] = forced ? 0.0 : chosen + (keep[n] ? b->kept_weight : -b->kept_weight);
        }
        const int8_t hint = b->hints ? b->hints[s->chunk0 + j] : -1;
        const double hint_weight = hint < 0 ? 0.0 : b->hint_weight[hint > 0];
        s->kernels->gate_grad(heads, d, sum, rows, layer->nats, keep, b->sum, noise, noise ? s->noise.temperature : 1.0,
                              hint > 0 ? 1.0 : 0.0, hint_weight, b->dz, grad->nats, b->sum + heads);
        for (size_t n = 0; n < heads; n++) b->expected += b->sum[heads + n];
        memcpy(sum, b->dz, d * sizeof(float));
    }
#pragma omp parallel for schedule(static) num_threads(s->threads)
    for (int64_t j = 0; j < complete; j++) {
        const size_t row = (size_t)((s->chunk0 + j) * s->grid.chunk - s->first);
        const float *add = b->pools + (size_t)j * d;
        for (size_t i = row; i < row + rows; i++) {
            for (size_t l = 0; l < d; l++) b->dxn[i * d + l] += add[l];
        }
    }
}
