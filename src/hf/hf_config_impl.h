/* hf_config_impl.h - what the readers of the model types' configurations have in common. Private to hf_config*.c.
 * Owns: nothing. MPI: none. Tests: tests/unit/test_hf_config.c */
#ifndef NATSL_HF_CONFIG_IMPL_H
#define NATSL_HF_CONFIG_IMPL_H

#include "hf_config.h"

#include <jansson.h>

/** Whether a key is one of the words, ended by NULL. */
int natsl_hf_is_word(const char *key, const char *const *words);

/** A key that transformers gives every model and that does not change what is computed; and model_type, which is looked at first. */
int natsl_hf_is_harmless(const char *key);

/** Whether a family's file may have a key. */
typedef int natsl_hf_knows(const char *key, natsl_hf_family family);

/** Nothing is passed over in silence: NATSL_ERR_INPUT with a line that names the first key that is not known, after `inside` ("attn.";
 * "" at the top). No object (or NULL): no keys. */
natsl_status natsl_hf_check_keys(json_t *object, const char *inside, natsl_hf_knows *knows, natsl_hf_family family,
                                 const char *source);

/** NATSL_ERR_INPUT with a line that names the key. */
natsl_status natsl_hf_wrong(const char *source, const char *key, const char *expected);

/** A whole number above 0. */
static inline int natsl_hf_is_count(const json_t *value)
{
    return json_is_integer(value) && json_integer_value(value) > 0;
}

/** gdn_layers: all that no object of the list attn has; and the sizes of a gate, which such models lack. NATSL_ERR_NOMEM. */
natsl_status natsl_hf_fill_layers(json_t *to);

/** Whether that is a model_type of Qwen's, and then which family. */
int natsl_hf_is_qwen(const char *type, natsl_hf_family *family);

/** natsl's keys, into `to`, for a model of Qwen's. As natsl_hf_config_parse; keys of the file are checked so far that
 * natsl_config_parse takes what comes out. */
natsl_status natsl_hf_from_qwen(json_t *root, natsl_hf_family family, json_t *to, const char *source);

#endif
