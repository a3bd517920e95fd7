/* context.c - life of a context: options, creation, copies, moving its tail, what it holds. */
#include "context_impl.h"

#include <cblas.h>
#include <limits.h>
#include <omp.h>
#include <string.h>

/* Defaults: a stage of about this many bytes per rank, and no more tokens than this (longer ones gain nothing). */
#define STAGE_BYTES     ((size_t)512 << 20)
#define STAGE_TOKENS    16384
#define MAX_PASS_TOKENS ((int64_t)1 << 40)

/** Whether later tokens cost more. */
static int has_attention(const natsl_config *config)
{
    for (int l = 0; l < config->num_hidden_layers; l++) {
        if (config->kind[l] != NATSL_LAYER_GDN) return 1;
    }
    return 0;
}

natsl_status natsl_options_complete(const natsl_config *config, int ranks, const natsl_options *in, natsl_options *out)
{
    const natsl_grid grid = natsl_grid_make(config->chunk);
    natsl_options o = in ? *in : (natsl_options){0};
    if (o.threads < 0 || o.threads > 4096)
        return natsl_fail(NATSL_ERR_USAGE, "threads: %d is out of range, expected 0 (automatic) to 4096", o.threads);
    if (o.stage_tokens < 0 || o.stage_tokens > MAX_PASS_TOKENS)
        return natsl_fail(NATSL_ERR_USAGE, "stage tokens: %lld is out of range, expected 0 (automatic) to 2^40",
                          (long long)o.stage_tokens);
    if (o.pass_tokens < 0 || o.pass_tokens > MAX_PASS_TOKENS)
        return natsl_fail(NATSL_ERR_USAGE, "pass tokens: %lld is out of range, expected 0 (automatic) to 2^40",
                          (long long)o.pass_tokens);
    if (o.state_pass > NATSL_STATE_SCAN)
        return natsl_fail(NATSL_ERR_USAGE, "state pass: %d is unknown, expected 0 (auto), 1 (relay) or 2 (scan)",
                          (int)o.state_pass);
    if (o.balance > NATSL_BALANCE_OFF)
        return natsl_fail(NATSL_ERR_USAGE, "balance: %d is unknown, expected 0 (auto), 1 (on) or 2 (off)",
                          (int)o.balance);
    if (!(o.kept_share >= 0.0 && o.kept_share <= 1.0))
        return natsl_fail(NATSL_ERR_USAGE, "kept share: %g is out of range, expected 0 (unknown) to 1", o.kept_share);
    if (o.threads == 0) o.threads = omp_get_max_threads();
    /* The longest range of a balanced pass should still be one stage: a longer one keeps the next rank waiting for a state, and
     * cannot be passed by scan. So there equal ranges are two thirds of a stage. */
    const int room = ranks > 1 && o.balance != NATSL_BALANCE_OFF && has_attention(config);
    int64_t share = 0;
    if (o.stage_tokens == 0) {
        /* What a unit costs does not depend on threads: ranks with different bindings choose the same stages. */
        const size_t one = natsl_stage_bytes(config, grid.unit, 1), two = natsl_stage_bytes(config, 2 * grid.unit, 1);
        int64_t units = (int64_t)(STAGE_BYTES / (two > one ? two - one : 1));
        units = natsl_min64(units, STAGE_TOKENS / grid.unit);
        units = natsl_max64(units, 1);
        share = units * grid.unit;
        o.stage_tokens = (room ? units + units / 2 : units) * grid.unit;
    }
    /* Both are whole units, so that every pass but a text's last ends between chunks and between tiles. */
    o.stage_tokens = (o.stage_tokens + grid.unit - 1) / grid.unit * grid.unit;
    if (share == 0) share = room ? natsl_max64(o.stage_tokens / grid.unit * 2 / 3, 1) * grid.unit : o.stage_tokens;
    if (o.pass_tokens == 0) o.pass_tokens = share * ranks;
    o.pass_tokens = (o.pass_tokens + grid.unit - 1) / grid.unit * grid.unit;
    *out = o;
    return NATSL_OK;
}

void natsl_context_set_pass(natsl_context *cx, int64_t tokens)
{
    const int64_t unit = cx->stage.grid.unit;
    if (tokens > 0) cx->options.pass_tokens = (natsl_min64(tokens, MAX_PASS_TOKENS) + unit - 1) / unit * unit;
}

/** Local part of creation: allocations only. */
static natsl_status allocate(natsl_context *cx)
{
    const natsl_config *c = cx->config;
    const size_t layers = (size_t)c->num_hidden_layers;
    const natsl_kernels *kernels = cx->options.kernels == NATSL_KERNELS_REF ? &natsl_kernels_ref : &natsl_kernels_fast;
    natsl_status st = natsl_stage_create(&cx->model->weights, kernels, cx->options.kept, cx->options.stage_tokens,
                                         cx->options.threads, &cx->stage);
    if (st != NATSL_OK) return st;
    cx->tails = natsl_calloc(layers, sizeof *cx->tails, "context");
    cx->kept = natsl_calloc(layers, sizeof *cx->kept, "context");
    cx->last_hidden = natsl_calloc((size_t)c->hidden_size, sizeof(float), "context");
    if (!cx->tails || !cx->kept || !cx->last_hidden) return NATSL_ERR_NOMEM;
    if ((st = natsl_next_create(c, cx->size, &cx->next)) != NATSL_OK) return st;
    /* One head's state and one halo travel in one message each, counted by an int. */
    if ((int64_t)c->head_dim * c->head_v_dim > INT_MAX ||
        (int64_t)c->conv_size * (int64_t)cx->stage.conv_channels > INT_MAX)
        return natsl_fail(NATSL_ERR_INPUT, "a head's state or the convolution's halo exceeds one message");
    size_t slab = 0;
    for (size_t l = 0; l < layers; l++) {
        const natsl_shape *shape = &natsl_layer_of(cx, (int)l)->shape;
        cx->tails[l] = natsl_calloc(shape->tail.floats, sizeof(float), "context");
        if (!cx->tails[l]) return NATSL_ERR_NOMEM;
        if (!natsl_layer_keeps(cx, (int)l)) continue;
        const size_t unit = natsl_unit_floats(&shape->attn, cx->options.kept);
        if ((st = natsl_kept_create((int)shape->attn.groups, unit, &cx->arena, &cx->kept[l])) != NATSL_OK) return st;
        const size_t one = (size_t)natsl_kept_per_slab(unit) * unit;
        slab = slab > one ? slab : one;
    }
    return natsl_kept_inbox_create(slab, &cx->inbox);
}

natsl_status natsl_context_create(MPI_Comm comm, const natsl_model *model, const natsl_options *options,
                                  natsl_context **out)
{
    natsl_status st = NATSL_OK;
    natsl_context *cx = natsl_calloc(1, sizeof *cx, "context");
    int size = 1, rank = 0;
    *out = NULL;
    NATSL_MPI(MPI_Comm_size(comm, &size));
    NATSL_MPI(MPI_Comm_rank(comm, &rank));
    if (cx) {
        cx->comm = MPI_COMM_NULL;
        cx->rank = rank;
        cx->size = size;
        cx->model = model;
        cx->config = &model->weights.config;
        st = natsl_options_complete(cx->config, size, options, &cx->options);
    } else {
        st = NATSL_ERR_NOMEM;
    }
    /* natsl spreads items over its own threads; each product runs on the thread that asks for it. */
    openblas_set_num_threads(1);
    if ((st = natsl_agree(comm, st)) == NATSL_OK) { /* decisions follow from the number of threads: one for all ranks */
        NATSL_MPI(MPI_Allreduce(MPI_IN_PLACE, &cx->options.threads, 1, MPI_INT, MPI_MIN, comm));
        st = natsl_arena_create(comm, cx->options.exchange == NATSL_EXCHANGE_AUTO, &cx->arena);
    }
    if (st == NATSL_OK) st = natsl_agree(comm, allocate(cx));
    if (st != NATSL_OK) {
        natsl_context_destroy(&cx);
        return st;
    }
    NATSL_MPI(MPI_Comm_dup(comm, &cx->comm));
    NATSL_MPI(MPI_Comm_set_errhandler(cx->comm, MPI_ERRORS_RETURN));
    *out = cx;
    return NATSL_OK;
}

void natsl_context_destroy(natsl_context **context)
{
    natsl_context *cx = *context;
    if (!cx) return;
    const size_t layers = (size_t)cx->config->num_hidden_layers;
    for (size_t l = 0; l < layers; l++) {
        if (cx->tails) natsl_free(cx->tails[l]);
        if (cx->kept) natsl_kept_free(&cx->kept[l]);
    }
    natsl_free(cx->tails);
    natsl_free(cx->kept);
    natsl_free(cx->last_hidden);
    natsl_next_free(&cx->next);
    natsl_arena_free(&cx->arena);
    natsl_kept_inbox_free(&cx->inbox);
    natsl_stage_free(&cx->stage);
    if (cx->comm != MPI_COMM_NULL) NATSL_MPI(MPI_Comm_free(&cx->comm));
    natsl_free(cx);
    *context = NULL;
}

natsl_status natsl_context_copy(const natsl_context *from, natsl_context **out)
{
    natsl_context *cx = NULL;
    natsl_status st = natsl_context_create(from->comm, from->model, &from->options, &cx);
    *out = NULL;
    if (st != NATSL_OK) return st;
    const natsl_config *c = from->config;
    cx->position = from->position;
    cx->owner = from->owner;
    cx->kept_chunks = from->kept_chunks;
    cx->chunks = from->chunks;
    memcpy(cx->last_hidden, from->last_hidden, (size_t)c->hidden_size * sizeof(float));
    for (int l = 0; l < c->num_hidden_layers && st == NATSL_OK; l++) {
        memcpy(cx->tails[l], from->tails[l], natsl_layer_of(from, l)->shape.tail.floats * sizeof(float));
        if (!natsl_layer_keeps(from, l)) continue;
        natsl_kept_free(&cx->kept[l]);
        st = natsl_kept_copy(&from->kept[l], &cx->arena, &cx->kept[l]);
    }
    if ((st = natsl_agree(cx->comm, st)) != NATSL_OK) natsl_context_destroy(&cx);
    *out = cx;
    return st;
}

int64_t natsl_context_position(const natsl_context *context) { return context->position; }

/** Sends `count` floats in blocks that an int can count. */
static void send_floats(const float *from, size_t count, int to, int tag, MPI_Comm comm)
{
    for (size_t i = 0; i < count; i += INT_MAX / 2) {
        const size_t n = count - i < INT_MAX / 2 ? count - i : INT_MAX / 2;
        NATSL_MPI(MPI_Send(from + i, (int)n, MPI_FLOAT, to, tag, comm));
    }
}

static void receive_floats(float *to, size_t count, int from, int tag, MPI_Comm comm)
{
    for (size_t i = 0; i < count; i += INT_MAX / 2) {
        const size_t n = count - i < INT_MAX / 2 ? count - i : INT_MAX / 2;
        NATSL_MPI(MPI_Recv(to + i, (int)n, MPI_FLOAT, from, tag, comm, MPI_STATUS_IGNORE));
    }
}

void natsl_context_move(natsl_context *cx, int to)
{
    const int from = cx->owner;
    if (from != to && cx->position > 0) {
        for (int l = 0; l < cx->config->num_hidden_layers; l++) {
            /* Between chunks there are no open rows, and an empty context has nothing but zeros everywhere. */
            const natsl_tail_layout *tl = &natsl_layer_of(cx, l)->shape.tail;
            const size_t floats = cx->position % cx->stage.grid.chunk ? tl->floats : tl->fixed;
            if (cx->rank == from) cx->state_bytes += (int64_t)(floats * sizeof(float));
            if (cx->rank == from) send_floats(cx->tails[l], floats, to, NATSL_TAG_TAIL, cx->comm);
            if (cx->rank == to) receive_floats(cx->tails[l], floats, from, NATSL_TAG_TAIL, cx->comm);
        }
        if (cx->rank == from)
            send_floats(cx->last_hidden, (size_t)cx->config->hidden_size, to, NATSL_TAG_TAIL, cx->comm);
        if (cx->rank == to)
            receive_floats(cx->last_hidden, (size_t)cx->config->hidden_size, from, NATSL_TAG_TAIL, cx->comm);
    }
    cx->owner = to;
}

/** Broadcasts `count` floats in blocks that an int can count. */
static void broadcast(float *data, size_t count, int root, MPI_Comm comm)
{
    for (size_t i = 0; i < count; i += INT_MAX / 2) {
        const size_t n = count - i < INT_MAX / 2 ? count - i : INT_MAX / 2;
        NATSL_MPI(MPI_Bcast(data + i, (int)n, MPI_FLOAT, root, comm));
    }
}

natsl_status natsl_context_state(natsl_context *cx, int layer, float *state, float *block_state)
{
    if (layer < 0 || layer >= cx->config->num_hidden_layers)
        return natsl_fail(NATSL_ERR_USAGE, "layer %d does not exist, expected 0 to %d", layer,
                          cx->config->num_hidden_layers - 1);
    if (!natsl_layer_has_state(cx, layer))
        return natsl_fail(NATSL_ERR_USAGE, "layer %d is a layer of softmax attention, which has no state", layer);
    const natsl_tail_layout *tl = &natsl_layer_of(cx, layer)->shape.tail;
    const size_t floats = tl->current - tl->state;
    if (cx->rank == cx->owner) {
        memcpy(state, cx->tails[layer] + tl->current, floats * sizeof(float));
        if (block_state) memcpy(block_state, cx->tails[layer] + tl->state, floats * sizeof(float));
    }
    broadcast(state, floats, cx->owner, cx->comm);
    if (block_state) broadcast(block_state, floats, cx->owner, cx->comm);
    return NATSL_OK;
}

natsl_status natsl_context_stats(natsl_context *cx, natsl_stats *stats)
{
    size_t store = 0;
    for (int l = 0; l < cx->config->num_hidden_layers; l++) {
        if (natsl_layer_keeps(cx, l)) store += natsl_kept_bytes(&cx->kept[l]);
    }
    int64_t sums[7] = {cx->halo_bytes,  cx->state_bytes, cx->kept_bytes, cx->directory_bytes,
                       cx->kept_chunks, cx->chunks,      cx->row_bytes};
    int64_t resident = (int64_t)cx->resident_bytes;
    double most[4 + NATSL_PHASES] = {
        (double)natsl_peak_bytes(), (double)store, (double)cx->residual_bytes,
        (double)natsl_stage_bytes(cx->config, cx->options.stage_tokens, cx->options.threads)};
    double mean[NATSL_PHASES];
    natsl_stage_seconds(&cx->stage, most + 4);
    memcpy(mean, most + 4, sizeof mean);
    NATSL_MPI(MPI_Allreduce(MPI_IN_PLACE, sums, 7, MPI_INT64_T, MPI_SUM, cx->comm));
    NATSL_MPI(MPI_Allreduce(MPI_IN_PLACE, &resident, 1, MPI_INT64_T, MPI_MAX, cx->comm));
    NATSL_MPI(MPI_Allreduce(MPI_IN_PLACE, most, 4 + NATSL_PHASES, MPI_DOUBLE, MPI_MAX, cx->comm));
    memset(stats, 0, sizeof *stats);
    NATSL_MPI(MPI_Allreduce(mean, stats->phase_mean_s, NATSL_PHASES, MPI_DOUBLE, MPI_SUM, cx->comm));
    for (int i = 0; i < NATSL_PHASES; i++) stats->phase_mean_s[i] /= cx->size;
    stats->halo_bytes = sums[0];
    stats->state_bytes = sums[1];
    stats->kept_bytes = sums[2];
    stats->directory_bytes = sums[3];
    stats->kept_chunks = sums[4];
    stats->chunks = sums[5];
    stats->resident_bytes = (size_t)resident;
    stats->row_bytes = sums[6];
    stats->peak_bytes = (size_t)most[0];
    stats->kept_store_bytes = (size_t)most[1];
    stats->residual_bytes = (size_t)most[2];
    stats->stage_bytes = (size_t)most[3];
    stats->weight_bytes = natsl_model_bytes(cx->model);
    stats->wait_s = most[4 + NATSL_PHASE_WAIT];
    memcpy(stats->phase_s, most + 4, sizeof cx->stage.seconds);
    return NATSL_OK;
}

const char *natsl_stats_phase_name(int i) { return i >= 0 && i < NATSL_PHASES ? natsl_phase_names[i] : NULL; }
