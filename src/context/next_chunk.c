/* next_chunk.c - single tokens have filled a chunk: the gate's choices, the states and kept units that it leaves, and what other ranks
 * must know of them. Source: oracle.py. Tests: tests/mpi/test_next.c */
#include "context_impl.h"

#include <math.h>
#include <string.h>

/** The state at the end of a chunk, for value heads whose gate head keeps it (keep NULL: none does). On the owner. */
static void close_state(natsl_context *cx, int layer, const uint8_t *keep)
{
    const natsl_config *c = cx->config;
    const natsl_tail_layout *tl = &natsl_layer_of(cx, layer)->shape.tail;
    const size_t hv = (size_t)c->num_v_heads, hn = (size_t)c->num_nats_head,
                 one = (size_t)c->head_dim * (size_t)c->head_v_dim;
    float *tail = cx->tails[layer];
    for (size_t h = 0; h < hv; h++) {
        float *state = tail + tl->state + h * one, *current = tail + tl->current + h * one;
        if (!keep || !keep[h / (hv / hn)]) {
            memcpy(state, current, one * sizeof(float));
            continue;
        }
        float total = 0.0f;
        for (size_t i = 0; i < (size_t)c->chunk; i++) total += tail[tl->log_decay + i * hv + h];
        const float decay = c->decay_for_non_gdn_blocks ? expf(total) : 1.0f;
        for (size_t i = 0; i < one; i++) current[i] = state[i] *= decay;
    }
}

natsl_status natsl_chunk_close(natsl_context *cx, int layer, float *scores, uint8_t *keep)
{
    const natsl_config *c = cx->config;
    const natsl_layer *w = natsl_layer_of(cx, layer);
    const size_t groups = w->shape.attn.groups;
    float *tail = cx->tails[layer];
    if (w->shape.kind == NATSL_LAYER_NATS) {
        float *pool = tail + w->shape.tail.pool;
        cx->stage.kernels->gate_choose(groups, (size_t)c->hidden_size, pool, (size_t)c->chunk, w->nats, scores, keep);
        if (cx->options.route != NATSL_LEARNED) memset(keep, cx->options.route == NATSL_ALL_SOFTMAX, groups);
        memset(pool, 0, (size_t)c->hidden_size * sizeof(float));
        cx->chunks += (int64_t)groups;
    } else {
        memset(keep, 1, groups);
    }
    if (natsl_layer_has_state(cx, layer)) close_state(cx, layer, w->shape.kind == NATSL_LAYER_NATS ? keep : NULL);
    for (size_t n = 0; n < groups; n++) {
        if (!keep[n]) continue;
        float *unit = natsl_kept_append(&cx->kept[layer], (int)n, cx->position / c->chunk);
        if (!unit) return NATSL_ERR_NOMEM;
        natsl_unit_pack(cx->stage.kept, &w->shape.attn, n, tail + w->shape.tail.ka, tail + w->shape.tail.va,
                        w->shape.attn.vd, unit);
        cx->kept_chunks += w->shape.kind == NATSL_LAYER_NATS;
    }
    /* each rank reads its own units only, so nobody else has to know */
    if (w->shape.attn.window > 0)
        natsl_kept_drop(&cx->kept[layer], natsl_attn_first_chunk(&w->shape.attn, cx->position + 1));
    return NATSL_OK;
}

natsl_status natsl_chunk_note(natsl_context *cx, uint8_t *keep, natsl_status st)
{
    const int layers = cx->config->num_hidden_layers, most = (int)cx->stage.most.groups;
    if ((st = natsl_agree(cx->comm, st)) != NATSL_OK) return st;
    NATSL_MPI(MPI_Bcast(keep, layers * most, MPI_UINT8_T, cx->owner, cx->comm));
    int64_t *counts = natsl_alloc((size_t)most, sizeof *counts, "counts");
    st = counts ? NATSL_OK : NATSL_ERR_NOMEM;
    for (int l = 0; l < layers && st == NATSL_OK; l++) {
        if (!natsl_layer_keeps(cx, l)) continue;
        for (int h = 0; h < cx->kept[l].heads; h++) counts[h] = keep[l * most + h];
        st = natsl_kept_note(&cx->kept[l], cx->owner, counts);
    }
    natsl_free(counts);
    return natsl_agree(cx->comm, st);
}
