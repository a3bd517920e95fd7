/* shape.c - see shape.h. */
#include "shape.h"

natsl_attn_shape natsl_attn_shape_nats(const natsl_config *c)
{
    const size_t kd = (size_t)c->key_dim, vd = (size_t)c->value_dim, heads = (size_t)c->num_attn_heads;
    return (natsl_attn_shape){.heads = heads,
                              .kv_heads = heads,
                              .groups = (size_t)c->num_nats_head,
                              .dk = kd / heads,
                              .dv = vd / heads,
                              .qd = kd,
                              .kd = kd,
                              .vd = vd,
                              .od = vd,
                              .q_step = kd / heads,
                              .k_at = kd,
                              .v_at = 2 * kd,
                              .chunk = (size_t)c->chunk,
                              .rotary = c->attn_apply_pos_encoding ? kd / heads : 0,
                              .theta = c->rope_theta,
                              .norm_eps = c->norm_eps};
}

static natsl_attn_shape of_attention(const natsl_config *c, const natsl_attn_config *a)
{
    const size_t heads = (size_t)a->num_heads, kv = (size_t)a->num_kv_heads, d = (size_t)a->head_dim;
    const size_t step = a->output_gate ? 2 * d : d;
    return (natsl_attn_shape){.heads = heads,
                              .kv_heads = kv,
                              .groups = kv,
                              .dk = d,
                              .dv = d,
                              .qd = heads * d,
                              .kd = kv * d,
                              .vd = kv * d,
                              .od = heads * d,
                              .q_step = step,
                              .k_at = heads * step,
                              .v_at = heads * step + kv * d,
                              .chunk = (size_t)c->chunk,
                              .rotary = (size_t)a->rotary_dim,
                              .theta = a->rope_theta,
                              .window = a->window_size,
                              .norm_eps = a->qk_norm_eps,
                              .gated = a->output_gate};
}

static natsl_tail_layout tail_of(const natsl_config *c, natsl_layer_kind kind, const natsl_attn_shape *a)
{
    const size_t heads = (size_t)c->num_v_heads, chunk = (size_t)c->chunk;
    const size_t state = heads * (size_t)c->head_dim * (size_t)c->head_v_dim;
    const size_t channels = 2 * (size_t)c->key_dim + (size_t)c->value_dim;
    natsl_tail_layout t = {0};
    if (kind != NATSL_LAYER_ATTN) {
        t.current = t.state + state;
        t.halo = t.current + state;
        t.pool = t.halo + (size_t)(c->conv_size - 1) * channels;
        t.fixed = t.k = t.pool + (size_t)c->hidden_size;
        t.v = t.k + chunk * (size_t)c->key_dim;
        t.log_decay = t.v + chunk * (size_t)c->value_dim;
        t.beta = t.log_decay + chunk * heads;
        t.ka = t.beta + chunk * heads;
    }
    t.va = t.ka + chunk * a->kd;
    t.floats = t.va + chunk * a->vd;
    return t;
}

natsl_shape natsl_shape_of(const natsl_config *c, int layer)
{
    natsl_shape s = {.kind = (natsl_layer_kind)c->kind[layer]};
    s.n_in = 2 * (size_t)c->key_dim + (size_t)c->value_dim + 2 * (size_t)c->num_v_heads;
    if (s.kind == NATSL_LAYER_NATS) s.attn = natsl_attn_shape_nats(c);
    if (s.kind == NATSL_LAYER_ATTN) {
        s.attn = of_attention(c, &c->attn[c->attn_of[layer]]);
        s.n_in = s.attn.v_at + s.attn.vd;
    }
    s.tail = tail_of(c, s.kind, &s.attn);
    return s;
}

int natsl_state_layers(const natsl_config *c)
{
    int n = 0;
    for (int l = 0; l < c->num_hidden_layers; l++) n += c->kind[l] != NATSL_LAYER_ATTN;
    return n;
}

static void raise(size_t *most, size_t n) { *most = *most > n ? *most : n; }

natsl_widths natsl_widths_of(const natsl_config *c)
{
    natsl_widths w = {0};
    for (int l = 0; l < c->num_hidden_layers; l++) {
        const natsl_shape s = natsl_shape_of(c, l);
        const natsl_attn_shape *a = &s.attn;
        raise(&w.n_in, s.n_in);
        raise(&w.heads, a->heads);
        raise(&w.groups, a->groups);
        raise(&w.qd, a->qd);
        raise(&w.kd, a->kd);
        raise(&w.vd, a->vd);
        raise(&w.od, a->od);
        raise(&w.unit_head, a->chunk * (a->dk + a->dv));
    }
    return w;
}

size_t natsl_unit_numbers(const natsl_attn_shape *a)
{
    return a->groups ? a->kv_heads / a->groups * (a->dk + a->dv) * a->chunk : 0;
}

size_t natsl_unit_floats(const natsl_attn_shape *a, natsl_storage kept)
{
    const size_t numbers = natsl_unit_numbers(a);
    return kept == NATSL_BF16 ? (numbers + 1) / 2 : numbers;
}
