/* natsl/config.h - the configuration of a model: the published keys and a few of natsl's own, checked, and the sizes that follow.
 * MPI: none. Source: ../tests/oracle/oracle.py class Config, parameter_shapes. */
#ifndef NATSL_CONFIG_H
#define NATSL_CONFIG_H

#include <natsl/status.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Most layers a model may have, and most kinds of attention layers among them. */
#define NATSL_MAX_LAYERS 512
#define NATSL_MAX_ATTN   8

/** Most bytes of a configuration's text. */
#define NATSL_MAX_CONFIG_BYTES ((size_t)1 << 20)

/** What mixes a layer's tokens: Gated DeltaNet and softmax attention by the gate's choice, Gated DeltaNet alone, softmax
 * attention alone. */
typedef enum natsl_layer_kind { NATSL_LAYER_NATS = 0, NATSL_LAYER_GDN, NATSL_LAYER_ATTN } natsl_layer_kind;

/** A kind of attention layers: an object of the key `attn`. Rotary positions in the rotate-half form. */
typedef struct natsl_attn_config {
    int32_t num_heads;
    int32_t num_kv_heads; /* a divisor of num_heads */
    int32_t head_dim;     /* hidden_size / num_heads unless given */
    int32_t rotary_dim;   /* first dimensions of a head that are rotated, even; 0: none; head_dim unless given */
    int32_t window_size;  /* tokens that a token sees, itself included; 0: all */
    float qk_norm_eps;    /* norm_eps unless given */
    double rope_theta;
    int qkv_bias, qk_norm;
    int output_gate; /* q_proj has for each head its query, then its gate, a sigmoid on the head's output */
} natsl_attn_config;

/** Plain data; copy freely. Every size is >= 1 unless said. */
typedef struct natsl_config {
    int32_t hidden_size; /* D */
    int32_t num_hidden_layers;
    int32_t vocab_size;
    int32_t head_dim;          /* dk of the delta rule */
    int32_t num_heads;         /* key heads */
    int32_t num_v_heads;       /* Hv, a multiple of num_heads */
    int32_t num_attn_heads;    /* Ha, a multiple of num_nats_head */
    int32_t num_nats_head;     /* Hn: heads of the gate; num_v_heads is a multiple of it */
    int32_t conv_size;         /* taps of the short convolution */
    int32_t intermediate_size; /* I of the feed-forward */
    int32_t chunk;             /* nats_block_size: tokens per chunk */
    float norm_eps;
    double rope_theta; /* attn_rope_theta */
    double expand_v;
    int allow_neg_eigval, attn_qk_norm, attn_with_short_conv, attn_apply_pos_encoding, decay_for_non_gdn_blocks;
    int tie_word_embeddings, use_gate, use_short_conv;
    int norm_zero_centred;             /* norms multiply by 1 + weight, but for the two operations' output norms */
    int32_t head_v_dim;                /* dv; int(head_dim * expand_v) unless given */
    uint8_t kind[NATSL_MAX_LAYERS];    /* natsl_layer_kind: gdn_layers, attn.layers, all others NAtS-L */
    uint8_t attn_of[NATSL_MAX_LAYERS]; /* attention layers: which of attn */
    int32_t num_attn;                  /* kinds of attention layers */
    natsl_attn_config attn[NATSL_MAX_ATTN];
    /* derived */
    int32_t key_dim;    /* num_heads * head_dim */
    int32_t value_dim;  /* num_v_heads * head_v_dim */
    int32_t attn_k_dim; /* key_dim / num_attn_heads */
    int32_t attn_v_dim; /* value_dim / num_attn_heads */
} natsl_config;

/** Reads a configuration from JSON text (`length` bytes, need not end in NUL). Missing keys take oracle.py's defaults.
 * An unknown key, a value of the wrong type or out of range, sizes that do not divide, or an option value that natsl
 * does not implement is NATSL_ERR_INPUT with a line naming `source` (a file name), the key and what was expected.
 * *out is written only on success. Not collective. */
natsl_status natsl_config_parse(const char *json, size_t length, const char *source, natsl_config *out);

/** The configuration as JSON text in the published keys (all that parse reads), in a string to be released with
 * free(); parse of it gives the same configuration. NULL when out of memory. */
char *natsl_config_json(const natsl_config *config);

#ifdef __cplusplus
}
#endif
#endif
