/* shape.h - the sizes of one layer's mixer that follow from the configuration: its softmax attention, the rows of its joint input
 * projection, and what it remembers. Layers of one model may differ, so nothing outside asks the configuration itself.
 * Owns: nothing. MPI: none. Tests: tests/unit/test_layout.c */
#ifndef NATSL_SHAPE_H
#define NATSL_SHAPE_H

#include <natsl/config.h>
#include <natsl/storage.h>
#include <stddef.h>

/** Softmax attention of one layer, in numbers (floats of a float32 array). All zero in Gated DeltaNet layers.
 * A chunk's keys and values of one group are a unit: what is kept, stored and sent together. In NAtS-L layers a group is what a
 * head of the gate decides on; in attention layers it is one key head, and every chunk is kept. */
typedef struct natsl_attn_shape {
    size_t heads;          /* of queries */
    size_t kv_heads;       /* of keys and values; a divisor of heads */
    size_t groups;         /* a divisor of kv_heads */
    size_t dk, dv;         /* of a head */
    size_t qd, kd, vd, od; /* rows of queries, keys, values, outputs */
    size_t q_step;         /* from one query head to the next in the projection's row (gates may lie between) */
    size_t k_at, v_at;     /* where keys and values begin in that row */
    size_t chunk;          /* tokens */
    size_t rotary;         /* dimensions of a head that are rotated; 0: none */
    double theta;
    int64_t window; /* tokens that a token sees, itself included; 0: all */
    float norm_eps; /* of query and key norms */
    int gated; /* outputs are multiplied by the sigmoid of their gate, dk behind the query in the projection's row */
} natsl_attn_shape;

/** What a layer remembers at the end of a window, as offsets (in floats) into one flat buffer, so that it travels in one
 * message. Rows of the open chunk: unit keys, values, log decay, beta; attention keys and values (not in Gated DeltaNet
 * layers). Attention layers have only the latter. */
typedef struct natsl_tail_layout {
    size_t state;                     /* [Hv, dk, dv] at the start of the open chunk */
    size_t current;                   /* [Hv, dk, dv] after the last token */
    size_t halo;                      /* [conv_size-1, 2*key_dim+value_dim] raw rows, oldest first */
    size_t pool;                      /* [D] sum of the open chunk's normed rows */
    size_t fixed;                     /* floats up to here: all that a complete chunk leaves behind */
    size_t k, v, log_decay, beta, va; /* [chunk, .] rows of the open chunk */
    size_t ka;                        /* [attn.kd, chunk] its attention keys, turned over */
    size_t floats;
} natsl_tail_layout;

/** One layer. */
typedef struct natsl_shape {
    natsl_layer_kind kind;
    size_t n_in; /* rows of the joint input projection: q, k, v, a, b; in attention layers q (and gate), k, v */
    natsl_attn_shape attn;
    natsl_tail_layout tail;
} natsl_shape;

natsl_shape natsl_shape_of(const natsl_config *config, int layer);

/** Layers with a delta rule, and so with a state and a halo. */
int natsl_state_layers(const natsl_config *config);

/** Attention of the model's NAtS-L layers, whether it has any or not. */
natsl_attn_shape natsl_attn_shape_nats(const natsl_config *config);

/** The largest of every number over all layers: sizes of buffers that layers share. */
typedef struct natsl_widths {
    size_t n_in, heads, groups, qd, kd, vd, od;
    size_t unit_head; /* numbers of one key head in a unit: chunk * (dk + dv) */
} natsl_widths;
natsl_widths natsl_widths_of(const natsl_config *config);

/** Query heads of a group, and those that share a key head. */
static inline size_t natsl_attn_group(const natsl_attn_shape *a) { return a->heads / a->groups; }
static inline size_t natsl_attn_sharing(const natsl_attn_shape *a) { return a->heads / a->kv_heads; }

/** First chunk of which token t sees something: 0 without a window. */
static inline int64_t natsl_attn_first_chunk(const natsl_attn_shape *a, int64_t t)
{
    return a->window > 0 && t >= a->window ? (t + 1 - a->window) / (int64_t)a->chunk : 0;
}

/** Multiply-adds of a query row with one key, over all heads of a group: what attention costs per pair. */
static inline size_t natsl_attn_pair(const natsl_attn_shape *a) { return natsl_attn_group(a) * (a->dk + a->dv); }

/** Numbers in one unit: for each of its key heads keys turned over [dk,chunk], then values [chunk,dv]; and the floats of memory that
 * they take (bfloat16: half, rounded up). */
size_t natsl_unit_numbers(const natsl_attn_shape *attn);
size_t natsl_unit_floats(const natsl_attn_shape *attn, natsl_storage kept);

#endif
