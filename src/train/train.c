/* train.c - a window's loss and gradient: what it needs, forward, backward, sums over ranks. See train.h. */
#include "train_impl.h"

#include "place.h"
#include <cblas.h>
#include <limits.h>
#include <math.h>
#include <omp.h>
#include <string.h>

/** Memory per rank that layers may keep of their forward pass in any case. */
#define SAVED_LEAST ((size_t)1 << 28)

/* ---- plan ------------------------------------------------------------------------------------------------------------------ */

/** Kept units of a layer, at most, of the ranges up to token `last`. */
static size_t units_most(const natsl_config *c, int64_t last)
{
    return (size_t)(last / c->chunk) * (size_t)c->num_nats_head;
}

/** Layers that keep what their forward pass found, from the last, as long as it takes no more memory than all else per rank, or than
 * SAVED_LEAST: so much is there where a model is small. False: too large to count. */
static int plan_saved(const natsl_config *c, natsl_train_plan *plan)
{
    const size_t others = plan->rows_bytes + plan->buffer_bytes + plan->gradient_bytes;
    size_t left = others > SAVED_LEAST ? others : SAVED_LEAST;
    for (int l = c->num_hidden_layers - 1; l >= 0; l--) {
        const size_t bytes = natsl_saved_bytes(c, plan->most_tokens, c->kind[l] == NATSL_LAYER_GDN);
        if (bytes == 0) return 0;
        if (bytes > left) break;
        left -= bytes;
        plan->saved_layers++;
        if (!natsl_size_add(&plan->rows_bytes, plan->rows_bytes, bytes)) return 0;
    }
    return 1;
}

/** Layers and norms that have a gradient here. */
static natsl_status check_model(const natsl_config *c)
{
    for (int l = 0; l < c->num_hidden_layers; l++) {
        if (c->kind[l] == NATSL_LAYER_ATTN)
            return natsl_fail(NATSL_ERR_USAGE,
                              "layer %d is a layer of softmax attention: natsl reads with such models, but has no "
                              "gradients of them",
                              l);
    }
    if (c->norm_zero_centred)
        return natsl_fail(NATSL_ERR_USAGE, "norm_zero_centred: natsl reads with such models, but has no gradients of "
                                           "their norms");
    return NATSL_OK;
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
    natsl_status st = check_model(c);
    if (st == NATSL_OK) st = natsl_options_complete(c, ranks, options, &o);
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
    const natsl_attn_shape attn = natsl_attn_shape_nats(c);
    const size_t unit = natsl_unit_floats(&attn, o.kept), per_unit = unit + natsl_unit_grad_floats(c);
    size_t keeping = 0, own = 0;
    for (size_t l = 0; l < layers; l++) keeping += c->kind[l] == NATSL_LAYER_NATS;
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
    ok &= plan_saved(c, plan);
    ok &= natsl_size_mul(&part, keeping ? units_most(c, tokens) : 0, per_unit * sizeof(float));
    ok &= natsl_size_mul(&own, units_most(c, plan->most_tokens), unit * sizeof(float)) &&
          natsl_size_mul(&own, own, keeping) && natsl_size_add(&part, part, own);
    plan->kept_bytes_all = part;
    natsl_layout_free(&layout);
    return ok ? NATSL_OK : natsl_fail(NATSL_ERR_NOMEM, "gradients of %lld tokens are too large", (long long)tokens);
}

/* ---- life ------------------------------------------------------------------------------------------------------------------ */

/** Rows by layer, for windows in which this rank reads up to t->most tokens before token `end`. */
static natsl_status allocate_range(natsl_trainer *t, int64_t end)
{
    const natsl_config *c = t->config;
    const size_t d = (size_t)c->hidden_size, layers = (size_t)c->num_hidden_layers, heads = (size_t)c->num_nats_head;
    const size_t rows = (size_t)t->most;
    const size_t state = (size_t)c->num_v_heads * (size_t)c->head_dim * (size_t)c->head_v_dim;
    const natsl_kernels *kernels = t->options.kernels == NATSL_KERNELS_REF ? &natsl_kernels_ref : &natsl_kernels_fast;
    natsl_status st =
        natsl_stage_create(&t->model->weights, kernels, t->options.kept, t->most, t->options.threads, &t->stage);
    if (st == NATSL_OK) st = natsl_backward_create(&t->stage, t->most, &t->back);
    if (st != NATSL_OK) return st;
    t->x = natsl_calloc(layers + 1, sizeof(float *), "rows");
    t->states = natsl_calloc(layers, sizeof(float *), "states");
    t->halos = natsl_calloc(layers, sizeof(float *), "halos");
    t->own_keep = natsl_calloc(layers, sizeof(uint8_t *), "choices");
    t->saved = natsl_calloc(layers, sizeof *t->saved, "what a layer keeps for its gradient");
    t->own_units = natsl_calloc(layers, sizeof(float *), "kept keys and values");
    if (!t->x || !t->states || !t->halos || !t->own_keep || !t->own_units || !t->saved) return NATSL_ERR_NOMEM;
    const size_t halo = (size_t)c->conv_size * t->stage.conv_channels;
    for (size_t l = 0; l <= layers; l++) {
        if (!(t->x[l] = natsl_alloc(rows, d * sizeof(float), "input rows of a layer"))) return NATSL_ERR_NOMEM;
        if (l == layers) break;
        t->states[l] = natsl_alloc(state, sizeof(float), "states");
        t->halos[l] = natsl_alloc(halo, sizeof(float), "halos");
        if (!t->states[l] || !t->halos[l]) return NATSL_ERR_NOMEM;
    }
    for (size_t l = layers - (size_t)t->saved_layers; l < layers && st == NATSL_OK; l++)
        st = natsl_saved_create(&t->stage, t->most, c->kind[l] == NATSL_LAYER_GDN, &t->saved[l]);
    if (st != NATSL_OK) return st;
    const size_t units = units_most(c, end), own = units_most(c, t->most);
    const natsl_attn_shape attn = natsl_attn_shape_nats(c);
    const size_t unit_bytes = natsl_unit_floats(&attn, t->options.kept) * sizeof(float);
    const size_t grad_bytes = natsl_unit_grad_floats(c) * sizeof(float);
    size_t keeping = 0; /* without a layer that keeps chunks there are no units */
    for (size_t l = 0; l < layers; l++) {
        if (c->kind[l] == NATSL_LAYER_GDN) continue;
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
    t->ids = natsl_alloc(rows, sizeof *t->ids, "tokens");
    t->targets = natsl_alloc(rows, sizeof *t->targets, "targets");
    t->keep = natsl_alloc(units, 1, "choices");
    t->chunks = natsl_alloc(units, sizeof *t->chunks, "chunk indices");
    t->units = natsl_alloc(keeping * units, unit_bytes, "kept keys and values");
    t->unit_grads = natsl_alloc(keeping * units, grad_bytes, "gradients of kept keys and values");
    t->unit_inbox = natsl_alloc(keeping * own, grad_bytes, "gradients of kept keys and values");
    t->lists = natsl_alloc((size_t)(t->rank + 1) * heads, sizeof *t->lists, "lists");
    t->block = natsl_alloc((size_t)t->rank + 2, sizeof *t->block, "lists");
    if (!t->dx || !t->state || !t->current || !t->dstate || !t->halo_out || !t->dhalo || !t->ids || !t->targets ||
        !t->keep || !t->chunks || !t->units || !t->unit_grads || !t->unit_inbox || !t->lists || !t->block)
        return NATSL_ERR_NOMEM;
    return NATSL_OK;
}

/** Cuts a window of `tokens` tokens. */
static void cut(natsl_trainer *t, int64_t tokens)
{
    const natsl_grid grid = natsl_grid_make(t->config->chunk);
    t->tokens = tokens;
    natsl_part_make(&grid, 0, tokens, t->size, 0, t->first);
    t->prev = natsl_part_prev(t->first, t->rank);
    t->next = natsl_part_next(t->first, t->size, t->rank);
    t->reads = t->first[t->rank] < t->first[t->rank + 1];
}

static natsl_status allocate(natsl_trainer *t, const natsl_options *options)
{
    natsl_train_plan plan;
    const size_t layers = (size_t)t->config->num_hidden_layers;
    t->first = natsl_alloc((size_t)t->size + 1, sizeof *t->first, "ranges");
    t->sums.kept = natsl_alloc(layers, sizeof *t->sums.kept, "counts");
    t->sums.chunks = natsl_alloc(layers, sizeof *t->sums.chunks, "counts");
    if (!t->first || !t->sums.kept || !t->sums.chunks) return NATSL_ERR_NOMEM;
    natsl_status st =
        natsl_train_plan_make(t->config, t->model->layout.type, t->size, options, t->capacity, &plan, t->first);
    if (st == NATSL_OK) st = natsl_options_complete(t->config, t->size, options, &t->options);
    if (st == NATSL_OK) st = natsl_shards_create(t->all, t->model->layout.floats, &t->shards);
    if (st != NATSL_OK) return st;
    t->saved_layers = plan.saved_layers;
    t->most = plan.most_tokens; /* of any rank: ranges of shorter windows are no longer than that */
    t->flat = natsl_calloc(t->shards.each * (size_t)t->shards.size, sizeof(float), "gradients");
    if (!t->flat) return NATSL_ERR_NOMEM;
    st = natsl_gradients_bind(t->config, &t->model->layout, t->flat, &t->gradients);
    return st == NATSL_OK ? allocate_range(t, t->capacity) : st;
}

natsl_status natsl_trainer_create(MPI_Comm comm, const natsl_model *model, const natsl_options *options, int group,
                                  int64_t tokens, natsl_trainer **out)
{
    natsl_trainer *t = natsl_calloc(1, sizeof *t, "gradients");
    natsl_status st = t ? NATSL_OK : NATSL_ERR_NOMEM;
    natsl_options own = options ? *options : (natsl_options){0};
    int size = 1, rank = 0;
    *out = NULL;
    NATSL_MPI(MPI_Comm_size(comm, &size));
    NATSL_MPI(MPI_Comm_rank(comm, &rank));
    /* sizes of messages follow from the number of threads: one for all ranks; one out of range is refused below, on all */
    if (own.threads == 0) own.threads = omp_get_max_threads();
    NATSL_MPI(MPI_Allreduce(MPI_IN_PLACE, &own.threads, 1, MPI_INT, MPI_MIN, comm));
    if (group == 0) group = size;
    if (st == NATSL_OK && (group < 1 || size % group != 0))
        st = natsl_fail(NATSL_ERR_USAGE, "%d ranks cannot be groups of %d, expected a divisor", size, group);
    if ((st = natsl_agree(comm, st)) != NATSL_OK) {
        natsl_free(t);
        return st;
    }
    t->model = model;
    t->config = &model->weights.config;
    t->capacity = tokens;
    t->groups = size / group;
    t->group = rank / group;
    NATSL_MPI(MPI_Comm_dup(comm, &t->all));
    NATSL_MPI(MPI_Comm_set_errhandler(t->all, MPI_ERRORS_RETURN));
    NATSL_MPI(MPI_Comm_split(t->all, t->group, rank, &t->comm));
    NATSL_MPI(MPI_Comm_set_errhandler(t->comm, MPI_ERRORS_RETURN));
    NATSL_MPI(MPI_Comm_size(t->comm, &t->size));
    NATSL_MPI(MPI_Comm_rank(t->comm, &t->rank));
    st = allocate(t, &own);
    openblas_set_num_threads(1); /* as in natsl_context_create */
    if ((st = natsl_agree(comm, st)) != NATSL_OK) {
        natsl_trainer_destroy(&t);
        return st;
    }
    natsl_trainer_clear(t);
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
        if (t->saved) natsl_saved_free(&t->saved[l]);
    }
    void *const all[] = {t->first,    t->flat,      t->x,         t->states,      t->halos,
                         t->dx,       t->state,     t->current,   t->dstate,      t->dhalo,
                         t->ids,      t->targets,   t->keep,      t->chunks,      t->units,
                         t->lists,    t->block,     t->halo_out,  t->unit_grads,  t->unit_inbox,
                         t->own_keep, t->own_units, t->sums.kept, t->sums.chunks, t->saved};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) natsl_free(all[i]);
    natsl_sends_free(&t->sends);
    natsl_sends_free(&t->announced);
    natsl_gradients_free(&t->gradients);
    natsl_backward_free(&t->back);
    natsl_stage_free(&t->stage);
    natsl_shards_free(&t->shards);
    NATSL_MPI(MPI_Comm_free(&t->comm));
    NATSL_MPI(MPI_Comm_free(&t->all));
    natsl_free(t);
    *trainer = NULL;
}

/* ---- windows --------------------------------------------------------------------------------------------------------------- */

/** A number of the vocabulary, or (least -1) none. */
static natsl_status check_tokens(const natsl_trainer *t, const int32_t *ids, int64_t count, int32_t least)
{
    for (int64_t i = 0; i < count; i++) {
        if (ids[i] < least || ids[i] >= t->config->vocab_size)
            return natsl_fail(NATSL_ERR_INPUT, "token %lld is %d, expected 0 to %d",
                              (long long)(t->first[t->rank] + i + (least < 0)), ids[i], t->config->vocab_size - 1);
    }
    return NATSL_OK;
}

/** Takes a window in hand: its cut, this rank's tokens and targets. Collective on the group. */
static natsl_status begin(natsl_trainer *t, const natsl_window *w)
{
    natsl_status st = NATSL_OK;
    if (w->tokens < 2 || w->tokens > t->capacity)
        return natsl_fail(NATSL_ERR_USAGE, "a window of %lld tokens, expected 2 to %lld", (long long)w->tokens,
                          (long long)t->capacity);
    cut(t, w->tokens);
    const int64_t at = t->first[t->rank], rows = t->first[t->rank + 1] - at;
    if (rows > t->most) st = natsl_fail(NATSL_ERR_USAGE, "a range of %lld tokens is too long", (long long)rows);
    else if (t->reads) {
        st = w->read(w->user, at, rows, t->ids, t->targets);
        if (st == NATSL_OK) st = check_tokens(t, t->ids, rows, 0);
        if (st == NATSL_OK) st = check_tokens(t, t->targets, rows, -1);
    }
    t->stage.noise = w->choice;
    t->noise_stream = w->choice.stream;
    t->route = w->route == NATSL_LEARNED ? t->options.route : w->route;
    return natsl_agree(t->comm, st);
}

static void forward(natsl_trainer *t)
{
    const size_t d = (size_t)t->config->hidden_size, rows = (size_t)(t->first[t->rank + 1] - t->first[t->rank]);
    natsl_task("reading a window");
#pragma omp parallel for schedule(static) num_threads(t->options.threads)
    for (size_t i = 0; i < rows; i += NATSL_TILE)
        t->stage.kernels->embed(rows - i < NATSL_TILE ? rows - i : NATSL_TILE, &t->model->weights.embeddings,
                                t->ids + i, t->x[0] + i * d, d);
    for (int l = 0; l < t->config->num_hidden_layers; l++) {
        natsl_train_forward(t, l);
        if (t->config->kind[l] == NATSL_LAYER_GDN) continue;
        const int64_t choices = natsl_train_chunks(t, t->rank) * t->config->num_nats_head;
        t->sums.choices += choices;
        t->sums.chunks[l] += choices;
        for (int64_t i = 0; i < choices; i++) t->sums.kept[l] += t->own_keep[l][i] != 0;
    }
}

/** Choices of a chunk: gate heads of all NAtS-L layers. */
static int64_t gates_of(const natsl_trainer *t)
{
    int64_t layers = 0;
    for (int l = 0; l < t->config->num_hidden_layers; l++) layers += t->config->kind[l] == NATSL_LAYER_NATS;
    return layers * t->config->num_nats_head;
}

/** Weights of a hint of either kind in one gate head and layer. */
static void weigh_hints(natsl_trainer *t, const natsl_window *w)
{
    const int64_t chunks = t->tokens / t->config->chunk;
    int64_t counts[2] = {0, 0};
    t->back.hints = w->hints;
    for (int64_t i = 0; w->hints && i < chunks; i++)
        if (w->hints[i] >= 0) counts[w->hints[i] > 0]++;
    for (int k = 0; k < 2; k++)
        t->back.hint_weight[k] = counts[k] > 0 ? 0.5 * w->hint_scale / (double)(counts[k] * gates_of(t)) : 0.0;
}

static void backward(natsl_trainer *t, const natsl_window *w)
{
    const int layers = t->config->num_hidden_layers;
    const int64_t choices = gates_of(t) * (t->tokens / t->config->chunk); /* of all ranks of the group */
    natsl_task("gradients of a window");
    natsl_train_announce(t);
    t->back.kept_weight = choices > 0 ? w->kept_scale / (double)choices : 0.0;
    t->back.expected = 0.0;
    weigh_hints(t, w);
    t->sums.loss += natsl_backward_logits(&t->back, t->x[layers], t->targets, w->scale, &t->gradients, t->dx);
    for (int l = layers - 1; l >= 0; l--) natsl_train_backward(t, l);
    natsl_backward_embed(&t->back, t->ids, t->dx, t->gradients.embeddings);
    t->sums.expected += t->back.expected;
}

static void count_targets(natsl_trainer *t)
{
    const int64_t rows = t->first[t->rank + 1] - t->first[t->rank];
    for (int64_t i = 0; i < rows; i++) t->sums.targets += t->targets[i] >= 0;
}

void natsl_trainer_clear(natsl_trainer *t)
{
    const size_t layers = (size_t)t->config->num_hidden_layers;
    memset(t->flat, 0, t->shards.each * (size_t)t->shards.size * sizeof(float));
    memset(t->sums.kept, 0, layers * sizeof *t->sums.kept);
    memset(t->sums.chunks, 0, layers * sizeof *t->sums.chunks);
    t->sums.loss = t->sums.expected = 0.0;
    t->sums.targets = t->sums.choices = 0;
    t->forward_s = t->backward_s = t->sum_s = 0.0;
}

natsl_status natsl_trainer_add(natsl_trainer *t, const natsl_window *w)
{
    const natsl_status st = begin(t, w);
    if (st != NATSL_OK || !t->reads) return st;
    const double start = natsl_now_s();
    count_targets(t);
    forward(t);
    const double middle = natsl_now_s();
    backward(t, w);
    natsl_sends_wait(&t->sends);
    natsl_sends_wait(&t->announced);
    t->forward_s += middle - start;
    t->backward_s += natsl_now_s() - middle;
    return NATSL_OK;
}

natsl_status natsl_trainer_evaluate(natsl_trainer *t, const natsl_window *w, uint8_t *hits)
{
    const natsl_status st = begin(t, w);
    if (st != NATSL_OK) return st;
    memset(hits, 0, (size_t)t->tokens);
    if (t->reads) {
        const double start = natsl_now_s();
        count_targets(t);
        forward(t);
        t->sums.loss +=
            natsl_backward_score(&t->back, t->x[t->config->num_hidden_layers], t->targets, hits + t->first[t->rank]);
        natsl_sends_wait(&t->sends);
        natsl_sends_wait(&t->announced);
        t->forward_s += natsl_now_s() - start;
    }
    for (int64_t at = 0, n; at < t->tokens; at += n) {
        n = natsl_min64(t->tokens - at, INT_MAX);
        NATSL_MPI(MPI_Allreduce(MPI_IN_PLACE, hits + at, (int)n, MPI_UINT8_T, MPI_MAX, t->comm));
    }
    return NATSL_OK;
}

const natsl_train_sums *natsl_trainer_sum(natsl_trainer *t)
{
    const double start = natsl_now_s();
    natsl_task("summing gradients over ranks");
    natsl_shards_sum(&t->shards, t->flat);
    t->sums.loss = natsl_shards_sum_real(&t->shards, t->sums.loss);
    t->sums.expected = natsl_shards_sum_real(&t->shards, t->sums.expected);
    NATSL_MPI(MPI_Allreduce(MPI_IN_PLACE, &t->sums.targets, 1, MPI_INT64_T, MPI_SUM, t->all));
    NATSL_MPI(MPI_Allreduce(MPI_IN_PLACE, &t->sums.choices, 1, MPI_INT64_T, MPI_SUM, t->all));
    NATSL_MPI(MPI_Allreduce(MPI_IN_PLACE, t->sums.kept, t->config->num_hidden_layers, MPI_INT64_T, MPI_SUM, t->all));
    NATSL_MPI(MPI_Allreduce(MPI_IN_PLACE, t->sums.chunks, t->config->num_hidden_layers, MPI_INT64_T, MPI_SUM, t->all));
    t->sum_s += natsl_now_s() - start;
    return &t->sums;
}

float *natsl_trainer_gradients(natsl_trainer *t) { return t->flat; }
const natsl_layout *natsl_trainer_layout(const natsl_trainer *t) { return &t->model->layout; }
const natsl_shards *natsl_trainer_shards(const natsl_trainer *t) { return &t->shards; }

int natsl_trainer_group(const natsl_trainer *t, int *groups)
{
    *groups = t->groups;
    return t->group;
}

void natsl_trainer_seconds(const natsl_trainer *t, double *forward_s, double *backward_s, double *sum_s)
{
    *forward_s = t->forward_s;
    *backward_s = t->backward_s;
    *sum_s = t->sum_s;
}
