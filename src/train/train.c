/* train.c - a window's loss and gradient: what it needs, forward, backward, sums over ranks. See train.h. */
#include "train_impl.h"

#include <cblas.h>
#include <limits.h>
#include <math.h>
#include <omp.h>
#include <string.h>

/* Floats of the gradient that one rank sums at a time: small enough for the inbox, large enough for the network. */
#define SUM_FLOATS ((size_t)1 << 18)

/* ---- plan ------------------------------------------------------------------------------------------------------------------ */

/** Kept units of a layer, at most, of the ranges up to token `last`. */
static size_t units_most(const natsl_config *c, int64_t last)
{
    return (size_t)(last / c->chunk) * (size_t)c->num_nats_head;
}

natsl_status natsl_train_plan_make(const natsl_config *c, natsl_storage weights, int ranks,
                                   const natsl_options *options, int64_t tokens, natsl_train_plan *plan, int64_t *first)
{
    const natsl_grid grid = natsl_grid_make(c->chunk);
    natsl_options o;
    natsl_layout layout;
    memset(plan, 0, sizeof *plan);
    if (tokens < 2)
        return natsl_fail(NATSL_ERR_USAGE, "a text of %lld token has no loss, expected two tokens or more",
                          (long long)tokens);
    natsl_status st = natsl_options_complete(c, ranks, options, &o);
    if (st != NATSL_OK) return st;
    natsl_part_make(&grid, 0, tokens, ranks, 0, first);
    for (int r = 0; r < ranks; r++) plan->most_tokens = natsl_max64(plan->most_tokens, first[r + 1] - first[r]);
    plan->stage_tokens = o.stage_tokens;
    if (plan->most_tokens > o.stage_tokens)
        return natsl_fail(
            NATSL_ERR_USAGE,
            "gradients of %lld tokens on %d rank%s: a rank's range of %lld tokens goes through a layer at "
            "once, more than a stage's %lld; set --stage-tokens %lld or more (and see the memory it takes "
            "with --dry-run), or use more ranks",
            (long long)tokens, ranks, ranks == 1 ? "" : "s", (long long)plan->most_tokens, (long long)o.stage_tokens,
            (long long)plan->most_tokens);
    if (units_most(c, tokens) > (size_t)INT_MAX)
        return natsl_fail(NATSL_ERR_USAGE, "gradients of %lld tokens: the choices of all chunks exceed one message",
                          (long long)tokens);
    if ((st = natsl_layout_create(c, weights, &layout)) != NATSL_OK) return st;
    const size_t d = (size_t)c->hidden_size, layers = (size_t)c->num_hidden_layers, rows = (size_t)plan->most_tokens;
    const size_t state = (size_t)c->num_v_heads * (size_t)c->head_dim * (size_t)c->head_v_dim;
    const size_t halo = (size_t)c->conv_size * (2 * (size_t)c->key_dim + (size_t)c->value_dim);
    const size_t unit = natsl_unit_floats(c, o.kept), per_unit = unit + natsl_unit_grad_floats(c);
    size_t keeping = 0, own = 0;
    for (size_t l = 0; l < layers; l++) keeping += !c->is_gdn[l];
    size_t part = 0;
    int ok = natsl_size_mul(&part, rows, (layers + 2) * d * sizeof(float));
    plan->rows_bytes = part;
    ok &= natsl_size_mul(&part, layers + 4, (state + halo) * sizeof(float));
    const size_t stage = natsl_stage_bytes(c, plan->most_tokens, o.threads);
    const size_t back = natsl_backward_bytes(c, plan->most_tokens, o.threads);
    ok &= stage > 0 && back > 0 && natsl_size_add(&part, part, stage) && natsl_size_add(&part, part, back);
    plan->buffer_bytes = part;
    ok &= natsl_size_mul(&part, layout.floats, sizeof(float));
    plan->gradient_bytes = part;
    plan->weight_bytes = layout.store_bytes;
    ok &= natsl_size_mul(&part, keeping ? units_most(c, tokens) : 0, per_unit * sizeof(float));
    ok &= natsl_size_mul(&own, units_most(c, plan->most_tokens), unit * sizeof(float)) &&
          natsl_size_mul(&own, own, keeping) && natsl_size_add(&part, part, own);
    plan->kept_bytes_all = part;
    natsl_layout_free(&layout);
    return ok ? NATSL_OK : natsl_fail(NATSL_ERR_NOMEM, "gradients of %lld tokens are too large", (long long)tokens);
}

/* ---- life ------------------------------------------------------------------------------------------------------------------ */

/** Floats of the flat gradient, rounded up so that every rank sums the same number in every round. */
static size_t flat_floats(const natsl_trainer *t)
{
    const size_t size = (size_t)t->size, floats = t->model->layout.floats;
    return (floats + size - 1) / size * size;
}

/** Rows by layer, for a rank that has a range. */
static natsl_status allocate_range(natsl_trainer *t)
{
    const natsl_config *c = t->config;
    const size_t d = (size_t)c->hidden_size, layers = (size_t)c->num_hidden_layers, heads = (size_t)c->num_nats_head;
    const int64_t begin = t->first[t->rank], end = t->first[t->rank + 1];
    const size_t rows = (size_t)(end - begin);
    const size_t state = (size_t)c->num_v_heads * (size_t)c->head_dim * (size_t)c->head_v_dim;
    const natsl_kernels *kernels = t->options.kernels == NATSL_KERNELS_REF ? &natsl_kernels_ref : &natsl_kernels_fast;
    natsl_status st =
        natsl_stage_create(&t->model->weights, kernels, t->options.kept, end - begin, t->options.threads, &t->stage);
    if (st == NATSL_OK) st = natsl_backward_create(&t->stage, end - begin, &t->back);
    if (st != NATSL_OK) return st;
    t->x = natsl_calloc(layers + 1, sizeof(float *), "rows");
    t->states = natsl_calloc(layers, sizeof(float *), "states");
    t->halos = natsl_calloc(layers, sizeof(float *), "halos");
    t->own_keep = natsl_calloc(layers, sizeof(uint8_t *), "choices");
    t->own_units = natsl_calloc(layers, sizeof(float *), "kept keys and values");
    if (!t->x || !t->states || !t->halos || !t->own_keep || !t->own_units) return NATSL_ERR_NOMEM;
    const size_t halo = (size_t)c->conv_size * t->stage.conv_channels;
    for (size_t l = 0; l <= layers; l++) {
        if (!(t->x[l] = natsl_alloc(rows, d * sizeof(float), "input rows of a layer"))) return NATSL_ERR_NOMEM;
        if (l == layers) break;
        t->states[l] = natsl_alloc(state, sizeof(float), "states");
        t->halos[l] = natsl_alloc(halo, sizeof(float), "halos");
        if (!t->states[l] || !t->halos[l]) return NATSL_ERR_NOMEM;
    }
    const size_t units = units_most(c, end);
    const size_t own = (size_t)(end / c->chunk - begin / c->chunk) * heads;
    const size_t unit_bytes = natsl_unit_floats(c, t->options.kept) * sizeof(float);
    const size_t grad_bytes = natsl_unit_grad_floats(c) * sizeof(float);
    size_t keeping = 0; /* without a layer that keeps chunks there are no units */
    for (size_t l = 0; l < layers; l++) {
        if (c->is_gdn[l]) continue;
        keeping = 1;
        t->own_keep[l] = natsl_alloc(own, 1, "choices");
        t->own_units[l] = natsl_alloc(own, unit_bytes, "kept keys and values");
        if (!t->own_keep[l] || !t->own_units[l]) return NATSL_ERR_NOMEM;
    }
    t->dx = natsl_alloc(rows, d * sizeof(float), "gradients of rows");
    t->state = natsl_alloc(state, sizeof(float), "states");
    t->current = natsl_alloc(state, sizeof(float), "states");
    t->dstate = natsl_alloc(state, sizeof(float), "states");
    t->halo_out = natsl_alloc(halo, sizeof(float), "halos");
    t->dhalo = natsl_alloc(halo, sizeof(float), "halos");
    t->ids = natsl_alloc(rows + 1, sizeof *t->ids, "tokens");
    t->keep = natsl_alloc(units, 1, "choices");
    t->chunks = natsl_alloc(units, sizeof *t->chunks, "chunk indices");
    t->units = natsl_alloc(keeping * units, unit_bytes, "kept keys and values");
    t->unit_grads = natsl_alloc(keeping * units, grad_bytes, "gradients of kept keys and values");
    t->unit_inbox = natsl_alloc(keeping * own, grad_bytes, "gradients of kept keys and values");
    t->lists = natsl_alloc((size_t)(t->rank + 1) * heads, sizeof *t->lists, "lists");
    t->block = natsl_alloc((size_t)t->rank + 2, sizeof *t->block, "lists");
    if (!t->dx || !t->state || !t->current || !t->dstate || !t->halo_out || !t->dhalo || !t->ids || !t->keep ||
        !t->chunks || !t->units || !t->unit_grads || !t->unit_inbox || !t->lists || !t->block)
        return NATSL_ERR_NOMEM;
    return NATSL_OK;
}

static natsl_status allocate(natsl_trainer *t, const natsl_options *options)
{
    natsl_train_plan plan;
    t->first = natsl_alloc((size_t)t->size + 1, sizeof *t->first, "ranges");
    if (!t->first) return NATSL_ERR_NOMEM;
    natsl_status st =
        natsl_train_plan_make(t->config, t->model->layout.type, t->size, options, t->tokens, &plan, t->first);
    if (st == NATSL_OK) st = natsl_options_complete(t->config, t->size, options, &t->options);
    if (st != NATSL_OK) return st;
    t->prev = natsl_part_prev(t->first, t->rank);
    t->next = natsl_part_next(t->first, t->size, t->rank);
    t->reads = t->first[t->rank] < t->first[t->rank + 1];
    t->flat = natsl_calloc(flat_floats(t), sizeof(float), "gradients");
    t->inbox = natsl_alloc((size_t)t->size, SUM_FLOATS * sizeof(float), "gradients of other ranks");
    if (!t->flat || !t->inbox) return NATSL_ERR_NOMEM;
    st = natsl_gradients_bind(t->config, &t->model->layout, t->flat, &t->gradients);
    return st == NATSL_OK && t->reads ? allocate_range(t) : st;
}

natsl_status natsl_trainer_create(MPI_Comm comm, const natsl_model *model, const natsl_options *options, int64_t tokens,
                                  natsl_trainer **out)
{
    natsl_trainer *t = natsl_calloc(1, sizeof *t, "gradients");
    natsl_status st = t ? NATSL_OK : NATSL_ERR_NOMEM;
    natsl_options own = options ? *options : (natsl_options){0};
    *out = NULL;
    /* sizes of messages follow from the number of threads: one for all ranks; one out of range is refused below, on all */
    if (own.threads == 0) own.threads = omp_get_max_threads();
    NATSL_MPI(MPI_Allreduce(MPI_IN_PLACE, &own.threads, 1, MPI_INT, MPI_MIN, comm));
    if (t) {
        t->comm = MPI_COMM_NULL;
        t->model = model;
        t->config = &model->weights.config;
        t->tokens = tokens;
        NATSL_MPI(MPI_Comm_size(comm, &t->size));
        NATSL_MPI(MPI_Comm_rank(comm, &t->rank));
        st = allocate(t, &own);
    }
    openblas_set_num_threads(1); /* as in natsl_context_create */
    if ((st = natsl_agree(comm, st)) != NATSL_OK) {
        natsl_trainer_destroy(&t);
        return st;
    }
    NATSL_MPI(MPI_Comm_dup(comm, &t->comm));
    NATSL_MPI(MPI_Comm_set_errhandler(t->comm, MPI_ERRORS_RETURN));
    *out = t;
    return NATSL_OK;
}

void natsl_trainer_destroy(natsl_trainer **trainer)
{
    natsl_trainer *t = *trainer;
    if (!t) return;
    for (int l = 0; l <= t->config->num_hidden_layers; l++) {
        if (t->x) natsl_free(t->x[l]);
        if (l == t->config->num_hidden_layers) break;
        if (t->states) natsl_free(t->states[l]);
        if (t->halos) natsl_free(t->halos[l]);
        if (t->own_keep) natsl_free(t->own_keep[l]);
        if (t->own_units) natsl_free(t->own_units[l]);
    }
    void *const all[] = {t->first, t->flat,    t->inbox,  t->x,        t->states,     t->halos,     t->dx,
                         t->state, t->current, t->dstate, t->dhalo,    t->ids,        t->keep,      t->chunks,
                         t->units, t->lists,   t->block,  t->halo_out, t->unit_grads, t->unit_inbox};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) natsl_free(all[i]);
    natsl_free(t->own_keep);
    natsl_free(t->own_units);
    natsl_sends_free(&t->sends);
    natsl_sends_free(&t->announced);
    natsl_gradients_free(&t->gradients);
    natsl_backward_free(&t->back);
    natsl_stage_free(&t->stage);
    if (t->comm != MPI_COMM_NULL) NATSL_MPI(MPI_Comm_free(&t->comm));
    natsl_free(t);
    *trainer = NULL;
}

/* ---- a step ---------------------------------------------------------------------------------------------------------------- */

/** ids [rows + 1]: the range's tokens and the one after it, -1 where the text ends. */
static natsl_status read_tokens(natsl_trainer *t,
                                natsl_status (*tokens)(void *user, int64_t first, int64_t count, int32_t *ids),
                                void *user)
{
    const int64_t begin = t->first[t->rank], rows = t->first[t->rank + 1] - begin;
    const int64_t want = rows + (begin + rows < t->tokens);
    natsl_status st = tokens(user, begin, want, t->ids);
    for (int64_t i = 0; st == NATSL_OK && i < want; i++) {
        if (t->ids[i] < 0 || t->ids[i] >= t->config->vocab_size)
            st = natsl_fail(NATSL_ERR_INPUT, "token %lld is %d, expected 0 to %d", (long long)(begin + i), t->ids[i],
                            t->config->vocab_size - 1);
    }
    if (want == rows) t->ids[rows] = -1;
    return st;
}

static void forward(natsl_trainer *t)
{
    const size_t d = (size_t)t->config->hidden_size, rows = (size_t)(t->first[t->rank + 1] - t->first[t->rank]);
#pragma omp parallel for schedule(static) num_threads(t->options.threads)
    for (size_t i = 0; i < rows; i += NATSL_TILE)
        t->stage.kernels->embed(rows - i < NATSL_TILE ? rows - i : NATSL_TILE, &t->model->weights.embeddings,
                                t->ids + i, t->x[0] + i * d, d);
    for (int l = 0; l < t->config->num_hidden_layers; l++) natsl_train_forward(t, l);
    natsl_train_announce(t);
}

static double backward(natsl_trainer *t)
{
    const int layers = t->config->num_hidden_layers;
    const double loss =
        natsl_backward_logits(&t->back, t->x[layers], t->ids + 1, 1.0 / (double)(t->tokens - 1), &t->gradients, t->dx);
    for (int l = layers - 1; l >= 0; l--) natsl_train_backward(t, l);
    natsl_backward_embed(&t->back, t->ids, t->dx, t->gradients.embeddings);
    natsl_sends_wait(&t->sends);
    natsl_sends_wait(&t->announced);
    return loss;
}

/** flat becomes the sum over ranks, added in rank order, on all ranks. In rounds: every rank gets one part of a block from
 * all, sums it, and gives it to all. Collective. */
static void sum_over_ranks(natsl_trainer *t)
{
    const size_t size = (size_t)t->size, floats = flat_floats(t);
    for (size_t at = 0, n; at < floats && size > 1; at += n * size) {
        n = (floats - at) / size < SUM_FLOATS ? (floats - at) / size : SUM_FLOATS;
        NATSL_MPI(MPI_Alltoall(t->flat + at, (int)n, MPI_FLOAT, t->inbox, (int)n, MPI_FLOAT, t->comm));
        for (size_t r = 1; r < size; r++) {
            for (size_t i = 0; i < n; i++) t->inbox[i] += t->inbox[r * n + i];
        }
        NATSL_MPI(MPI_Allgather(t->inbox, (int)n, MPI_FLOAT, t->flat + at, (int)n, MPI_FLOAT, t->comm));
    }
}

natsl_status natsl_trainer_step(natsl_trainer *t,
                                natsl_status (*tokens)(void *user, int64_t first, int64_t count, int32_t *ids),
                                void *user, double *loss)
{
    double mine = 0.0, *all = natsl_alloc((size_t)t->size, sizeof *all, "losses");
    natsl_status st = !all ? NATSL_ERR_NOMEM : t->reads ? read_tokens(t, tokens, user) : NATSL_OK;
    if ((st = natsl_agree(t->comm, st)) != NATSL_OK) {
        natsl_free(all);
        return st;
    }
    memset(t->flat, 0, flat_floats(t) * sizeof(float));
    const double start = natsl_now_s();
    if (t->reads) forward(t);
    t->forward_s = natsl_now_s() - start;
    if (t->reads) mine = backward(t);
    t->backward_s = natsl_now_s() - start - t->forward_s;
    sum_over_ranks(t);
    NATSL_MPI(MPI_Allgather(&mine, 1, MPI_DOUBLE, all, 1, MPI_DOUBLE, t->comm));
    *loss = 0.0;
    for (int r = 0; r < t->size; r++) *loss += all[r];
    *loss /= (double)(t->tokens - 1);
    t->sum_s = natsl_now_s() - start - t->forward_s - t->backward_s;
    natsl_free(all);
    return NATSL_OK;
}

const float *natsl_trainer_gradients(const natsl_trainer *t) { return t->flat; }
const natsl_layout *natsl_trainer_layout(const natsl_trainer *t) { return &t->model->layout; }

void natsl_trainer_seconds(const natsl_trainer *t, double *forward_s, double *backward_s, double *sum_s)
{
    *forward_s = t->forward_s;
    *backward_s = t->backward_s;
    *sum_s = t->sum_s;
}
