/* hf_config.h - config.json of a Hugging Face directory as natsl's configuration.
 * MPI: none. Source: flash-linear-attention 0.6.0, fla/models/gated_deltanet/configuration_gated_deltanet.py (keys, defaults),
 * fla/layers/gated_deltanet.py (which sizes fit), fla/models/configuration_utils.py and fla/layers/attn.py (attn); transformers 5.24.0,
 * configuration_utils.py (keys of every model), models/qwen3_next/configuration_qwen3_next.py, models/qwen3_5/configuration_qwen3_5.py. Tests: tests/unit/test_hf_config.c */
#ifndef NATSL_HF_CONFIG_H
#define NATSL_HF_CONFIG_H

#include <natsl/config.h>
#include <natsl/status.h>
#include <stddef.h>

/** The families of models that natsl reads; which tensors they have: hf_names.h. */
typedef enum natsl_hf_family {
    NATSL_HF_NATSL = 0,      /* neural_attention_search_linear_attn_gdn, neural_attention_search_linear */
    NATSL_HF_GATED_DELTANET, /* gated_deltanet */
    NATSL_HF_QWEN3_NEXT,     /* qwen3_next without experts */
    NATSL_HF_QWEN3_5         /* qwen3_5_text, and the text part of qwen3_5 */
} natsl_hf_family;

/** Reads the text of a config.json (`length` bytes). A key that would change what is computed and that natsl does not implement,
 * one that is not known, sizes that are missing or do not fit: NATSL_ERR_INPUT with a line that names `source` and the key. *out and
 * *family are written on success only. Not collective. */
natsl_status natsl_hf_config_parse(const char *json, size_t length, const char *source, natsl_config *out,
                                   natsl_hf_family *family);

/** A config.json for a model that has none: natsl's own, which config_parse reads as the same configuration. In a string to be
 * released with free(); NULL when out of memory. */
char *natsl_hf_config_json(const natsl_config *config);

#endif
