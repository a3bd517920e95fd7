/* grad_saved.c - what a layer's forward pass leaves for its backward pass. Owns: the buffers of a natsl_saved. Contract: grad.h. */
#include "grad_impl.h"

#include <string.h>

/** Floats per row: of the run, of the stage. */
static void widths(const natsl_config *c, int is_gdn, size_t *run, size_t *stage)
{
    const size_t kd = (size_t)c->key_dim, vd = (size_t)c->value_dim, wide = (size_t)c->intermediate_size;
    *run = 2 * kd + vd + 2 * (size_t)c->num_v_heads + (c->use_gate ? vd : 0) + (size_t)c->hidden_size + 2 * wide;
    *stage = vd + (is_gdn ? 0 : vd + 2 * (size_t)c->num_attn_heads);
}

size_t natsl_saved_bytes(const natsl_config *c, int64_t tokens, int is_gdn)
{
    const natsl_grid grid = natsl_grid_make(c->chunk);
    size_t run, stage, bytes = 0, part = 0, rows = (size_t)tokens + 2 * (size_t)grid.tile + (size_t)grid.chunk;
    widths(c, is_gdn, &run, &stage);
    const int ok = natsl_size_mul(&bytes, (size_t)tokens, run * sizeof(float)) &&
                   natsl_size_mul(&part, rows, stage * sizeof(float)) && natsl_size_add(&bytes, bytes, part);
    return ok ? bytes : 0;
}

natsl_status natsl_saved_create(const natsl_stage *stage, int64_t tokens, int is_gdn, natsl_saved *out)
{
    const natsl_config *c = stage->config;
    const size_t vd = (size_t)c->value_dim, heads = (size_t)c->num_attn_heads;
    const size_t rows = (size_t)tokens, all = stage->capacity;
    memset(out, 0, sizeof *out);
    const struct {
        float **where;
        size_t rows, width;
    } parts[] = {{&out->raw, rows, stage->n_in},
                 {&out->gate, rows, c->use_gate ? vd : 0},
                 {&out->x1, rows, (size_t)c->hidden_size},
                 {&out->gu, rows, 2 * (size_t)c->intermediate_size},
                 {&out->o, all, vd},
                 {&out->oa, is_gdn ? 0 : all, vd},
                 {&out->top, is_gdn ? 0 : all, heads},
                 {&out->sum, is_gdn ? 0 : all, heads}};
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        *parts[i].where =
            natsl_alloc(parts[i].rows, parts[i].width * sizeof(float), "what a layer keeps for its gradient");
        if (!*parts[i].where) return NATSL_ERR_NOMEM;
    }
    return NATSL_OK;
}

void natsl_saved_free(natsl_saved *s)
{
    float *const all[] = {s->raw, s->gate, s->x1, s->gu, s->o, s->oa, s->top, s->sum};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) natsl_free(all[i]);
    memset(s, 0, sizeof *s);
}

void natsl_backward_use(natsl_backward *b, const natsl_saved *saved)
{
    natsl_stage *s = b->stage;
    const natsl_saved *use = saved ? saved : &b->own;
    b->saved = saved;
    b->raw = use->raw;
    s->o = use->o;
    s->oa = use->oa;
    s->top = use->top;
    s->sum = use->sum;
}

void natsl_backward_unraw(natsl_backward *b, const natsl_saved *saved)
{
    const natsl_stage *s = b->stage;
    const size_t rows = (size_t)(s->last - s->first), n = s->n_in, before = (size_t)(s->first - s->base);
    const size_t after = s->n_tiles > 0 ? (size_t)(s->tiles[s->n_tiles - 1].end - s->last) : 0;
    float *to = s->qkv + before * n;
    /* rows of other ranks in shared tiles: what the product of zero rows is */
    memset(s->qkv, 0, before * n * sizeof(float));
    memset(to + rows * n, 0, after * n * sizeof(float));
#pragma omp parallel for schedule(static) num_threads(s->threads)
    for (size_t i = 0; i < rows; i++) memcpy(to + i * n, saved->raw + i * n, n * sizeof(float));
}
