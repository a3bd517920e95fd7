/* natsl/config.h - the configuration of a NAtS-L model: the published keys, checked, and the sizes that follow.
 * MPI: none. Source: ../tests/oracle/oracle.py class Config, parameter_shapes. */
#ifndef NATSL_CONFIG_H
#define NATSL_CONFIG_H

#include <natsl/status.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Most layers a model may have. */
#define NATSL_MAX_LAYERS 512

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
    uint8_t is_gdn[NATSL_MAX_LAYERS]; /* 1: pure Gated DeltaNet layer (gdn_layers); 0: NAtS-L layer */
    /* derived */
    int32_t head_v_dim; /* dv = int(head_dim * expand_v) */
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
