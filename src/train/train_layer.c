/* train_layer.c - one layer of a window, forward and backward, and what its ranks tell each other. */
#include "train_impl.h"

#include "place.h"
#include <string.h>

/* Floats per message: an int counts them, and the receiver can put a message away while the next one travels. */
#define MESSAGE_FLOATS ((size_t)1 << 26)

/** Posts floats to a rank; they stay untouched until `sends` has been waited for. */
static void post_on(natsl_trainer *t, natsl_sends *sends, const float *from, size_t count, int to, int tag)
{
    for (size_t i = 0; i < count; i += MESSAGE_FLOATS) {
        const int n = (int)(count - i < MESSAGE_FLOATS ? count - i : MESSAGE_FLOATS);
        MPI_Request *request = natsl_sends_add(sends);
        if (!request) natsl_die_nomem(); /* others wait for it */
        NATSL_MPI(MPI_Isend(from + i, n, MPI_FLOAT, to, tag, t->comm, request));
    }
}

static void post(natsl_trainer *t, const float *from, size_t count, int to, int tag)
{
    post_on(t, &t->sends, from, count, to, tag);
}

static void receive(natsl_trainer *t, float *to, size_t count, int from, int tag)
{
    for (size_t i = 0; i < count; i += MESSAGE_FLOATS) {
        const int n = (int)(count - i < MESSAGE_FLOATS ? count - i : MESSAGE_FLOATS);
        natsl_wait_for("its part of the layer", from);
        NATSL_MPI(MPI_Recv(to + i, n, MPI_FLOAT, from, tag, t->comm, MPI_STATUS_IGNORE));
        natsl_wait_for(NULL, -1);
    }
}

static int has_range(const natsl_trainer *t, int r) { return t->first[r] < t->first[r + 1]; }

/* ---- kept units --------------------------------------------------------------------------------------------------------- */

/** Floats of a kept unit. */
static size_t unit_floats(const natsl_trainer *t)
{
    const natsl_attn_shape shape = natsl_attn_shape_nats(t->config);
    return natsl_unit_floats(&shape, t->stage.kept);
}

/** Posts own choices and units of layer l to the ranges after this one; both stay as they are until the step ends. */
static void units_send(natsl_trainer *t, int l)
{
    natsl_sends *sends = &t->announced;
    const size_t heads = (size_t)t->config->num_nats_head, unit = unit_floats(t);
    const size_t choices = (size_t)natsl_train_chunks(t, t->rank) * heads;
    size_t count = 0;
    for (size_t i = 0; i < choices; i++) count += t->own_keep[l][i] != 0;
    for (int to = t->rank + 1; to < t->size && choices > 0; to++) {
        if (!has_range(t, to)) continue;
        MPI_Request *request = natsl_sends_add(sends);
        if (!request) natsl_die_nomem();
        NATSL_MPI(MPI_Isend(t->own_keep[l], (int)choices, MPI_BYTE, to, NATSL_TAG_CHOICES, t->comm, request));
        post_on(t, sends, t->own_units[l], count * unit, to, NATSL_TAG_UNITS);
    }
}

void natsl_train_announce(natsl_trainer *t)
{
    for (int l = t->config->num_hidden_layers - 1; l >= 0; l--) {
        if (t->config->kind[l] == NATSL_LAYER_NATS) units_send(t, l);
    }
}

/** Choices of the ranges before this one, and its own, to t->keep. */
static void choices_receive(natsl_trainer *t, int l)
{
    const size_t heads = (size_t)t->config->num_nats_head;
    for (int r = 0; r <= t->rank; r++) {
        uint8_t *at = t->keep + (size_t)(t->first[r] / t->stage.grid.chunk) * heads;
        const int bytes = (int)((size_t)natsl_train_chunks(t, r) * heads);
        if (bytes == 0) continue;
        if (r == t->rank) memcpy(at, t->own_keep[l], (size_t)bytes);
        else NATSL_MPI(MPI_Recv(at, bytes, MPI_BYTE, r, NATSL_TAG_CHOICES, t->comm, MPI_STATUS_IGNORE));
    }
}

/** Where every kept unit of the ranges up to this one lies. */
static void lists_make(natsl_trainer *t)
{
    const size_t heads = (size_t)t->config->num_nats_head, unit = unit_floats(t);
    const size_t grad = natsl_unit_grad_floats(t->config);
    int64_t n = 0;
    for (int r = 0; r <= t->rank; r++) {
        const int64_t chunk0 = t->first[r] / t->stage.grid.chunk;
        t->block[r] = n;
        for (size_t h = 0; h < heads; h++) {
            natsl_unit_list *list = &t->lists[(size_t)r * heads + h];
            *list = (natsl_unit_list){.head = h,
                                      .chunks = t->chunks + n,
                                      .units = t->units + (size_t)n * unit,
                                      .grads = t->unit_grads + (size_t)n * grad};
            for (int64_t j = chunk0; j < chunk0 + natsl_train_chunks(t, r); j++) {
                if (t->keep[(size_t)j * heads + h]) t->chunks[n++] = j;
            }
            list->count = t->chunks + n - list->chunks;
        }
    }
    t->block[t->rank + 1] = n;
}

/** Keys and values of this range's kept chunks into own_units. */
static void units_pack(natsl_trainer *t, int l)
{
    natsl_stage *s = &t->stage;
    const size_t heads = (size_t)t->config->num_nats_head, unit = unit_floats(t);
    const int64_t chunks = natsl_train_chunks(t, t->rank);
    float *to = t->own_units[l];
    memcpy(t->own_keep[l], s->keep, (size_t)chunks * heads);
    for (size_t h = 0; h < heads; h++) {
        for (int64_t j = 0; j < chunks; j++) {
            if (!s->keep[(size_t)j * heads + h]) continue;
            natsl_stage_pack(s, &t->model->weights.layers[l], j, h, to);
            to += unit;
        }
    }
}

/** Keys and values of this range to those after it (the first time), and of those before it. After natsl_stage_local. */
static void exchange_units(natsl_trainer *t, int l, int again)
{
    const size_t unit = unit_floats(t);
    if (!again) {
        units_pack(t, l);
        units_send(t, l);
    }
    choices_receive(t, l);
    lists_make(t);
    for (int r = 0; r <= t->rank; r++) {
        float *at = t->units + (size_t)t->block[r] * unit;
        const size_t floats = (size_t)(t->block[r + 1] - t->block[r]) * unit;
        if (r == t->rank) memcpy(at, t->own_units[l], floats * sizeof(float));
        else receive(t, at, floats, r, NATSL_TAG_UNITS);
    }
}

/** What this range found for the units of those before it goes back to them; what those after it found for its own is added,
 * in rank order. */
static void return_unit_grads(natsl_trainer *t)
{
    const size_t heads = (size_t)t->config->num_nats_head, grad = natsl_unit_grad_floats(t->config);
    const natsl_unit_list *own = &t->lists[(size_t)t->rank * heads];
    const size_t floats = (size_t)(t->block[t->rank + 1] - t->block[t->rank]) * grad;
    for (int r = 0; r < t->rank; r++)
        post(t, t->unit_grads + (size_t)t->block[r] * grad, (size_t)(t->block[r + 1] - t->block[r]) * grad, r,
             NATSL_TAG_UNIT_GRADS);
    for (int r = t->rank; r < t->size; r++) {
        if (!has_range(t, r)) continue;
        const float *from = t->unit_grads + (size_t)t->block[t->rank] * grad;
        if (r > t->rank) {
            receive(t, t->unit_inbox, floats, r, NATSL_TAG_UNIT_GRADS);
            from = t->unit_inbox;
        }
        for (size_t h = 0; h < heads; h++) {
            for (int64_t i = 0; i < own[h].count; i++, from += grad)
                natsl_backward_unit(&t->back, own[h].chunks[i] - t->stage.chunk0, h, from);
        }
    }
}

/* ---- states and halos ----------------------------------------------------------------------------------------------------- */

/** Heads at once where states travel: as many as the threads can work on. */
static size_t group_of(const natsl_trainer *t, size_t heads)
{
    const size_t threads = (size_t)t->options.threads;
    return t->prev < 0 && t->next < 0 ? heads : (threads < heads ? threads : heads);
}

/** State through the range; with `travel` it comes from the range before (and is kept) and goes on to the next. */
static void state_forward(natsl_trainer *t, int l, int travel)
{
    const natsl_config *c = t->config;
    const size_t heads = (size_t)c->num_v_heads, one = (size_t)c->head_dim * (size_t)c->head_v_dim;
    const size_t group = travel ? group_of(t, heads) : heads;
    for (size_t h = 0; h < heads; h += group) {
        const size_t end = h + group < heads ? h + group : heads, floats = (end - h) * one;
        float *in = t->states[l] + h * one;
        if (travel && t->prev >= 0) receive(t, in, floats, t->prev, NATSL_TAG_STATE);
        else if (travel) memset(in, 0, floats * sizeof(float));
        memcpy(t->state + h * one, in, floats * sizeof(float));
        natsl_stage_state(&t->stage, &t->model->weights.layers[l], h, end, t->state, t->current);
        if (travel && t->next >= 0) post(t, t->state + h * one, floats, t->next, NATSL_TAG_STATE);
    }
}

static void state_backward(natsl_trainer *t, int l)
{
    const natsl_config *c = t->config;
    const size_t per_key = (size_t)c->num_v_heads / (size_t)c->num_heads, key_heads = (size_t)c->num_heads;
    const size_t one = per_key * (size_t)c->head_dim * (size_t)c->head_v_dim, group = group_of(t, key_heads);
    for (size_t h = 0; h < key_heads; h += group) {
        const size_t end = h + group < key_heads ? h + group : key_heads, floats = (end - h) * one;
        float *d = t->dstate + h * one;
        if (t->next >= 0) receive(t, d, floats, t->next, NATSL_TAG_STATE_GRAD);
        else memset(d, 0, floats * sizeof(float));
        natsl_backward_states(&t->back, &t->model->weights.layers[l], h, end, t->states[l], t->dstate);
        if (t->prev >= 0) post(t, d, floats, t->prev, NATSL_TAG_STATE_GRAD);
    }
}

static size_t halo_floats(const natsl_trainer *t)
{
    return (size_t)(t->config->conv_size - 1) * t->stage.conv_channels;
}

/** Raw rows before the range, kept; the range's last ones go on. */
static void halo_forward(natsl_trainer *t, int l)
{
    const size_t floats = halo_floats(t);
    float *in = t->halos[l];
    if (t->prev >= 0) receive(t, in, floats, t->prev, NATSL_TAG_HALO);
    else memset(in, 0, floats * sizeof(float));
    if (t->next < 0) return;
    natsl_stage_halo_out(&t->stage, in, t->halo_out);
    post(t, t->halo_out, floats, t->next, NATSL_TAG_HALO);
}

/* ---- one layer ---------------------------------------------------------------------------------------------------------- */

/** What layer l keeps of its forward pass; NULL: nothing. */
static const natsl_saved *saved_of(const natsl_trainer *t, int l)
{
    return l >= t->config->num_hidden_layers - t->saved_layers ? &t->saved[l] : NULL;
}

/** Everything of the layer up to both operations' answers. again: the second time, for the backward pass. */
static void mixer(natsl_trainer *t, int l, int again)
{
    natsl_stage *s = &t->stage;
    const natsl_layer *layer = &t->model->weights.layers[l];
    const natsl_saved *saved = saved_of(t, l);
    natsl_sends_wait(&t->sends); /* of the layer before: their buffers are used again */

    natsl_backward_use(&t->back, again ? NULL : saved); /* local writes into what is to be used, the second time */
    natsl_stage_set(s, 0, t->tokens, t->first[t->rank], t->first[t->rank + 1]);
    s->noise.stream = t->noise_stream + ((uint64_t)l + 1) * 0xd1b54a32d192ed03u; /* the same both times */
    if (again && saved) natsl_backward_unraw(&t->back, saved);
    else natsl_stage_project(s, layer, t->x[l]);
    if (again != (saved != NULL)) natsl_backward_raw(&t->back);
    if (!again) halo_forward(t, l);
    natsl_stage_gate(s, layer, t->x[l], NULL, (natsl_route_kind)t->route);
    natsl_stage_local(s, layer, t->halos[l]);
    if (layer->shape.kind == NATSL_LAYER_NATS) exchange_units(t, l, again);
    if (again && saved) {
        natsl_backward_use(&t->back, saved);
        return;
    }
    state_forward(t, l, !again);
    if (layer->shape.kind == NATSL_LAYER_GDN) return;
    const size_t n = (size_t)(t->rank + 1) * (size_t)t->config->num_nats_head;
    for (size_t i = 0; i < n; i++) {
        const natsl_unit_list *list = &t->lists[i];
        natsl_stage_attend(s, layer, list->head, list->units, list->count, list->chunks, 0);
    }
}

void natsl_train_forward(natsl_trainer *t, int l)
{
    natsl_at_layer(l);
    mixer(t, l, 0);
    if (saved_of(t, l)) {
        natsl_backward_finish(&t->back, &t->model->weights.layers[l], t->x[l], t->x[l + 1]);
        return;
    }
    memcpy(t->x[l + 1], t->x[l],
           (size_t)(t->stage.last - t->stage.first) * (size_t)t->config->hidden_size * sizeof(float));
    natsl_stage_finish(&t->stage, &t->model->weights.layers[l], t->x[l + 1]);
}

void natsl_train_backward(natsl_trainer *t, int l)
{
    const natsl_layer *layer = &t->model->weights.layers[l];
    natsl_layer_grad *grad = &t->gradients.layers[l];
    natsl_backward *b = &t->back;
    natsl_at_layer(l);
    mixer(t, l, 1);
    natsl_at("gradients");
    natsl_backward_outer(b, layer, grad, t->x[l], t->dx);
    if (layer->shape.kind == NATSL_LAYER_NATS) {
        natsl_backward_own(b);
        natsl_backward_attend(b, t->lists, (size_t)(t->rank + 1) * (size_t)t->config->num_nats_head);
        natsl_at("gradients of attention");
        return_unit_grads(t);
    }
    natsl_at("gradients of states");
    state_backward(t, l);
    natsl_backward_gate(b, layer, grad, t->x[l], (natsl_route_kind)t->route);
    if (t->next >= 0) receive(t, t->dhalo, halo_floats(t), t->next, NATSL_TAG_HALO_GRAD);
    else memset(t->dhalo, 0, halo_floats(t) * sizeof(float));
    natsl_backward_inner(b, layer, grad, t->x[l], t->dhalo, t->dx);
    if (t->prev >= 0) post(t, t->dhalo, halo_floats(t), t->prev, NATSL_TAG_HALO_GRAD);
}

void natsl_trainer_kept(const natsl_trainer *t, int32_t *kept)
{
    const int64_t chunk0 = t->first[t->rank] / t->config->chunk;
    const size_t heads = (size_t)t->config->num_nats_head;
    for (int l = 0; t->reads && l < t->config->num_hidden_layers; l++) {
        if (t->config->kind[l] == NATSL_LAYER_GDN) continue;
        for (int64_t j = 0; j < natsl_train_chunks(t, t->rank); j++) {
            for (size_t h = 0; h < heads; h++) kept[chunk0 + j] += t->own_keep[l][(size_t)j * heads + h];
        }
    }
}
