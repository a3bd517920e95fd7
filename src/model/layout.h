/* layout.h - where every tensor of a model lies: in one flat float32 array (as files hold them), and in the store that the
 * layer code reads (matrices as panels, matrix.h). Projections that share an input are one block, and so one product.
 * Owns: the tables. MPI: none.
 * Source: oracle.py parameter_shapes. Tests: tests/unit/test_layout.c */
#ifndef NATSL_LAYOUT_H
#define NATSL_LAYOUT_H

#include "matrix.h"
#include "shape.h"
#include <natsl/config.h>
#include <stddef.h>

/** One published tensor. */
typedef struct natsl_tensor {
    char name[64];     /* "model.layers.0.attn.q_proj.weight" */
    size_t offset;     /* floats from the start of the flat array */
    size_t count;      /* floats = product of shape */
    int rank;          /* 1..3 */
    size_t shape[3];   /* PyTorch's shape */
    int decays;        /* 1: weight decay applies in training (not on norms, A_log, dt_bias, embeddings) */
    size_t block, row; /* the block it is part of, and its first row there */
} natsl_tensor;

/** Tensors that are one thing to the layer code: rows of k floats, adjacent in the flat array. */
typedef struct natsl_block {
    size_t offset; /* floats, in the flat array; a cache line's multiple */
    size_t n, k;   /* rows, floats per row */
    int matrix;    /* 1: panels of the store's type; 0: rows of float32 as they are */
    size_t store;  /* bytes from the start of the store; a cache line's multiple */
} natsl_block;

typedef struct natsl_layout {
    natsl_tensor *tensors; /* [count], in the order of oracle.py's parameter_shapes */
    natsl_block *blocks;   /* [n_blocks] */
    size_t count, n_blocks;
    size_t floats; /* length of the flat array, including alignment gaps (zero) */
    natsl_storage type;
    size_t store_bytes; /* of the store, gaps included */
} natsl_layout;

/** Fills *out for `config`; `type`: how the store holds matrices (vectors, convolutions and the gate stay float32).
 * NATSL_ERR_INPUT when a size overflows, NATSL_ERR_NOMEM. Release with natsl_layout_free. */
natsl_status natsl_layout_create(const natsl_config *config, natsl_storage type, natsl_layout *out);
void natsl_layout_free(natsl_layout *layout);

/** Puts one tensor's values [count], in PyTorch's order, into the store [store_bytes]. */
void natsl_layout_put(const natsl_layout *layout, const natsl_tensor *tensor, const float *values, void *store);
/** And takes them out again: what bfloat16 has rounded stays rounded. */
void natsl_layout_get(const natsl_layout *layout, const natsl_tensor *tensor, const void *store, float *values);

/** Pointers into the store for one layer; NULL (matrices: data NULL) where the configuration has no such tensor. Rows of the joint
 * input projection: shape.h. conv channels in the order q, k, v. */
typedef struct natsl_layer {
    natsl_shape shape;
    const float *attn_norm, *mlp_norm; /* [D] */
    natsl_matrix w_in;                 /* [shape.n_in, D] */
    const float *bias;                 /* [shape.n_in] of attention layers that have it, else NULL */
    const float *conv;                 /* [2*key_dim + value_dim, conv_size] or NULL */
    const float *a_log, *dt_bias;      /* [Hv] */
    natsl_matrix g_proj;               /* [value_dim, D] or none */
    natsl_matrix o_proj;               /* [D, value_dim] */
    const float *o_norm;               /* gdn: [dv] */
    const float *o_norm1, *o_norm2;    /* NAtS-L: weight1/weight2 [dva], or o_norm.0 [dv], o_norm.1 [dva] */
    const float *nats;                 /* [2*Hn, D] */
    natsl_matrix nats_out;             /* [2*Ha, key_dim] or none */
    const float *q_norm, *k_norm;      /* [shape.attn.dk] or NULL */
    natsl_matrix w_gate_up;            /* [2*I, D]: gate rows, then up rows */
    natsl_matrix w_down;               /* [D, I] */
} natsl_layer;

/** A model's weights as the layer code reads them. */
typedef struct natsl_weights {
    natsl_config config;
    natsl_matrix embeddings; /* [V, D] */
    const float *norm;       /* [D] */
    natsl_matrix head;       /* [V, D]; = embeddings when tied */
    natsl_layer *layers;     /* [num_hidden_layers] */
    float *centred;          /* norms of a model with norm_zero_centred, 1 added; owned */
} natsl_weights;

/** Points `out` into the store (borrowed: must outlive `out`). Release with natsl_weights_free. */
natsl_status natsl_weights_bind(const natsl_config *config, const natsl_layout *layout, const void *store,
                                natsl_weights *out);
void natsl_weights_free(natsl_weights *weights);

#endif
