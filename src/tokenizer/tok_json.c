/* tok_json.c - checked members of JSON objects. See tok_json.h. */
#include "tok_json.h"

#include "core.h"
#include <string.h>

natsl_status natsl_json_flag(const json_t *object, const char *name, int otherwise, const char *where, int *out)
{
    const json_t *value = json_object_get(object, name);
    *out = otherwise;
    if (!value || json_is_null(value)) return NATSL_OK;
    if (!json_is_boolean(value)) return natsl_fail(NATSL_ERR_INPUT, "%s: %s: expected true or false", where, name);
    *out = json_is_true(value);
    return NATSL_OK;
}

natsl_status natsl_json_copy(const json_t *object, const char *name, const char *where, char **out, size_t *length)
{
    const json_t *value = json_object_get(object, name);
    *out = NULL;
    *length = 0;
    if (!value || json_is_null(value)) return NATSL_OK;
    if (!json_is_string(value)) return natsl_fail(NATSL_ERR_INPUT, "%s: %s: expected a text", where, name);
    *length = json_string_length(value);
    if (!(*out = natsl_alloc(*length + 1, 1, "tokenizer"))) return NATSL_ERR_NOMEM;
    memcpy(*out, json_string_value(value), *length + 1);
    return NATSL_OK;
}

natsl_status natsl_json_need(const json_t *object, const char *name, const char *where, const char **out,
                             size_t *length)
{
    const json_t *value = json_object_get(object, name);
    if (!json_is_string(value)) return natsl_fail(NATSL_ERR_INPUT, "%s: %s: expected a text", where, name);
    *out = json_string_value(value);
    *length = json_string_length(value);
    return NATSL_OK;
}

natsl_status natsl_json_count(const json_t *object, const char *name, json_int_t most, const char *where,
                              json_int_t *out)
{
    const json_t *value = json_object_get(object, name);
    if (!json_is_integer(value) || json_integer_value(value) < 0 || json_integer_value(value) > most)
        return natsl_fail(NATSL_ERR_INPUT, "%s: %s: expected a whole number from 0 to %lld", where, name,
                          (long long)most);
    *out = json_integer_value(value);
    return NATSL_OK;
}

natsl_status natsl_json_word(const json_t *object, const char *name, const char *const *words, int otherwise,
                             const char *where, int *out)
{
    const json_t *value = json_object_get(object, name);
    *out = otherwise;
    if (!value || json_is_null(value)) return NATSL_OK;
    for (int i = 0; json_is_string(value) && words[i]; i++) {
        if (strcmp(json_string_value(value), words[i]) != 0) continue;
        *out = i;
        return NATSL_OK;
    }
    return natsl_fail(NATSL_ERR_INPUT, "%s: %s: \"%.60s\" is not supported", where, name,
                      json_is_string(value) ? json_string_value(value) : "(not a text)");
}
