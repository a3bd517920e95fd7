/* layout.h - where every tensor of a model lies in one flat float32 array, and the same as pointers per layer.
 * Projections that share an input lie in adjacent rows, so that they are one product. Owns: the tensor table. MPI: none.
 * Source: oracle.py parameter_shapes. Tests: tests/unit/test_layout.c */
#ifndef NATSL_LAYOUT_H
#define NATSL_LAYOUT_H

#include <natsl/config.h>
#include <stddef.h>

/** One published tensor. */
typedef struct natsl_tensor {
    char name[64];   /* "model.layers.0.attn.q_proj.weight" */
    size_t offset;   /* floats from the start of the flat array */
    size_t count;    /* floats = product of shape */
    int rank;        /* 1..3 */
    size_t shape[3]; /* PyTorch's shape */
    int decays;      /* 1: weight decay applies in training (not on norms, A_log, dt_bias, embeddings) */
} natsl_tensor;

typedef struct natsl_layout {
    natsl_tensor *tensors; /* [count], in the order of oracle.py's parameter_shapes */
    size_t count;
    size_t floats; /* length of the flat array, including alignment gaps (zero) */
} natsl_layout;

/** Fills *out for `config`. NATSL_ERR_INPUT when a size overflows, NATSL_ERR_NOMEM. Release with natsl_layout_free. */
natsl_status natsl_layout_create(const natsl_config *config, natsl_layout *out);
void natsl_layout_free(natsl_layout *layout);

/** Pointers into the flat array for one layer; NULL where the configuration has no such tensor. n_in = 2*key_dim +
 * value_dim + 2*Hv rows of the joint input projection, in the order q, k, v, a, b. conv channels in the order q, k, v. */
typedef struct natsl_layer {
    int is_gdn;
    const float *attn_norm, *mlp_norm; /* [D] */
    const float *w_in;                 /* [n_in, D] */
    const float *conv;                 /* [2*key_dim + value_dim, conv_size] or NULL */
    const float *a_log, *dt_bias;      /* [Hv] */
    const float *g_proj;               /* [value_dim, D] or NULL */
    const float *o_proj;               /* [D, value_dim] */
    const float *o_norm;               /* gdn: [dv] */
    const float *o_norm1, *o_norm2;    /* NAtS-L: weight1/weight2 [dva], or o_norm.0 [dv], o_norm.1 [dva] */
    const float *nats;                 /* [2*Hn, D] */
    const float *nats_out;             /* [2*Ha, key_dim] */
    const float *q_norm, *k_norm;      /* [attn_k_dim] or NULL */
    const float *w_gate_up;            /* [2*I, D]: gate rows, then up rows */
    const float *w_down;               /* [D, I] */
} natsl_layer;

/** A model's weights as the layer code reads them. */
typedef struct natsl_weights {
    natsl_config config;
    const float *embeddings; /* [V, D] */
    const float *norm;       /* [D] */
    const float *head;       /* [V, D]; = embeddings when tied */
    natsl_layer *layers;     /* [num_hidden_layers] */
} natsl_weights;

/** Points `out` into flat[layout->floats] (borrowed: must outlive `out`). Release with natsl_weights_free. */
natsl_status natsl_weights_bind(const natsl_config *config, const natsl_layout *layout, const float *flat,
                                natsl_weights *out);
void natsl_weights_free(natsl_weights *weights);

#endif
