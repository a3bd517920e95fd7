/* fields.c - see fields.h. */
#include "fields.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

const char *natsl_fields_where(char *to, size_t size, const char *where, const char *name, int64_t index)
{
    const size_t n = strlen(where);
    const char *dot = n > 0 && where[n - 1] == ' ' ? "" : "."; /* after the file's name */
    if (index < 0) (void)snprintf(to, size, "%s%s%s", where, dot, name);
    else (void)snprintf(to, size, "%s%s%s[%lld]", where, dot, name, (long long)index);
    return to;
}

static const natsl_field *find(const natsl_field *fields, const char *name)
{
    for (; fields->kind != NATSL_FIELD_END; fields++) {
        if (strcmp(fields->name, name) == 0) return fields;
    }
    return NULL;
}

/** "a, b or c". */
static void join(const char *const *words, char *to, size_t size)
{
    to[0] = '\0';
    for (size_t i = 0; words[i]; i++) {
        const size_t at = strlen(to);
        (void)snprintf(to + at, size - at, "%s%s", i == 0 ? "" : words[i + 1] ? ", " : " or ", words[i]);
    }
}

static natsl_status read_range(const json_t *v, const char *place, const natsl_field *f, natsl_field_range *out)
{
    const json_t *lo = v, *hi = v;
    if (json_is_array(v) && json_array_size(v) == 2) {
        lo = json_array_get(v, 0);
        hi = json_array_get(v, 1);
    }
    const json_int_t a = json_integer_value(lo), b = json_integer_value(hi);
    if (!json_is_integer(lo) || !json_is_integer(hi) || a < (json_int_t)f->low || b < a || b > (json_int_t)f->high)
        return natsl_fail(NATSL_ERR_INPUT, "%s: expected a whole number, %.0f to %.0f, or a range [lo, hi] of them",
                          place, f->low, f->high);
    *out = (natsl_field_range){(int)a, (int)b};
    return NATSL_OK;
}

static natsl_status read_one(const json_t *v, const char *where, const natsl_field *f, void *out)
{
    char place[512], words[256];
    void *to = (char *)out + f->offset;
    natsl_fields_where(place, sizeof place, where, f->name, -1);
    switch (f->kind) {
    case NATSL_FIELD_COUNT:
        if (!json_is_integer(v) || json_integer_value(v) < (json_int_t)f->low ||
            json_integer_value(v) > (json_int_t)f->high)
            return natsl_fail(NATSL_ERR_INPUT, "%s: expected a whole number, %.0f to %.0f", place, f->low, f->high);
        *(int64_t *)to = (int64_t)json_integer_value(v);
        return NATSL_OK;
    case NATSL_FIELD_REAL:
        if (!json_is_number(v) || !(json_number_value(v) >= f->low && json_number_value(v) <= f->high))
            return natsl_fail(NATSL_ERR_INPUT, "%s: expected a number, %g to %g", place, f->low, f->high);
        *(double *)to = json_number_value(v);
        return NATSL_OK;
    case NATSL_FIELD_TEXT:
        if (!json_is_string(v) || json_string_length(v) != strlen(json_string_value(v)) || !*json_string_value(v))
            return natsl_fail(NATSL_ERR_INPUT, "%s: expected a text", place);
        *(const char **)to = json_string_value(v);
        return NATSL_OK;
    case NATSL_FIELD_BYTES:
        if (!json_is_string(v)) return natsl_fail(NATSL_ERR_INPUT, "%s: expected a text", place);
        *(natsl_field_bytes *)to = (natsl_field_bytes){json_string_value(v), json_string_length(v)};
        return NATSL_OK;
    case NATSL_FIELD_WORD:
        for (int i = 0; json_is_string(v) && f->words[i]; i++) {
            if (strlen(f->words[i]) != json_string_length(v) || strcmp(f->words[i], json_string_value(v)) != 0)
                continue; /* a JSON text may hold NUL */
            *(int *)to = i;
            return NATSL_OK;
        }
        join(f->words, words, sizeof words);
        if (!json_is_string(v)) return natsl_fail(NATSL_ERR_INPUT, "%s: expected %s", place, words);
        return natsl_fail(NATSL_ERR_INPUT, "%s: expected %s; \"%.60s\" is not supported", place, words,
                          json_string_value(v));
    case NATSL_FIELD_FLAG:
        if (!json_is_boolean(v)) return natsl_fail(NATSL_ERR_INPUT, "%s: expected true or false", place);
        *(int *)to = json_is_true(v);
        return NATSL_OK;
    case NATSL_FIELD_RANGE: return read_range(v, place, f, to);
    case NATSL_FIELD_OBJECT:
        if (!json_is_object(v)) return natsl_fail(NATSL_ERR_INPUT, "%s: expected an object", place);
        break;
    case NATSL_FIELD_ARRAY:
        if (!json_is_array(v) || json_array_size(v) == 0)
            return natsl_fail(NATSL_ERR_INPUT, "%s: expected a list of one element at least", place);
        break;
    case NATSL_FIELD_ANY:
    case NATSL_FIELD_END: break;
    }
    *(const json_t **)to = v;
    return NATSL_OK;
}

static natsl_status missing(const char *where, const natsl_field *f)
{
    char place[512];
    return natsl_fail(NATSL_ERR_INPUT, "%s: missing", natsl_fields_where(place, sizeof place, where, f->name, -1));
}

natsl_status natsl_field_read(const json_t *object, const char *where, const natsl_field *field, void *out)
{
    const json_t *value = json_object_get(object, field->name);
    if (value) return read_one(value, where, field, out);
    return field->required ? missing(where, field) : NATSL_OK;
}

natsl_status natsl_fields_read(const json_t *object, const char *where, const natsl_field *fields, void *out)
{
    char place[512];
    const char *name;
    json_t *value;
    if (!json_is_object(object)) {
        const size_t n = strlen(where);
        const char *end = n > 2 && strcmp(where + n - 2, ": ") == 0 ? "" : ": ";
        return natsl_fail(NATSL_ERR_INPUT, "%s%sexpected an object", where, end);
    }
    for (const natsl_field *f = fields; f->kind != NATSL_FIELD_END; f++) {
        if (f->required && !json_object_get(object, f->name)) return missing(where, f);
    }
    json_object_foreach((json_t *)object, name, value)
    {
        const natsl_field *f = find(fields, name);
        if (!f)
            return natsl_fail(NATSL_ERR_INPUT, "%s: not a known key",
                              natsl_fields_where(place, sizeof place, where, name, -1));
        const natsl_status st = read_one(value, where, f, out);
        if (st != NATSL_OK) return st;
    }
    return NATSL_OK;
}

/* ---- single members ---------------------------------------------------------------------------------------------------- */

/** A member that may be missing or null, unless it is required. */
static natsl_status member(const json_t *object, const char *where, const natsl_field *field, void *out)
{
    char place[400];
    const json_t *value = json_object_get(object, field->name);
    (void)snprintf(place, sizeof place, "%s: ", where);
    if (field->required && !value) return missing(place, field);
    return !value || (!field->required && json_is_null(value)) ? NATSL_OK : read_one(value, place, field, out);
}

natsl_status natsl_json_flag(const json_t *object, const char *name, int otherwise, const char *where, int *out)
{
    *out = otherwise;
    return member(object, where, &(natsl_field){.kind = NATSL_FIELD_FLAG, .name = name}, out);
}

natsl_status natsl_json_copy(const json_t *object, const char *name, const char *where, char **out, size_t *length)
{
    natsl_field_bytes text = {NULL, 0};
    *out = NULL;
    *length = 0;
    const natsl_status st = member(object, where, &(natsl_field){.kind = NATSL_FIELD_BYTES, .name = name}, &text);
    if (st != NATSL_OK || !text.at) return st;
    if (!(*out = natsl_alloc(text.length + 1, 1, name))) return NATSL_ERR_NOMEM;
    memcpy(*out, text.at, text.length + 1);
    *length = text.length;
    return NATSL_OK;
}

natsl_status natsl_json_need(const json_t *object, const char *name, const char *where, const char **out,
                             size_t *length)
{
    natsl_field_bytes text = {NULL, 0};
    const natsl_status st =
        member(object, where, &(natsl_field){.kind = NATSL_FIELD_BYTES, .name = name, .required = 1}, &text);
    *out = text.at;
    *length = text.length;
    return st;
}

natsl_status natsl_json_count(const json_t *object, const char *name, json_int_t most, const char *where,
                              json_int_t *out)
{
    int64_t count = 0;
    const natsl_status st =
        member(object, where,
               &(natsl_field){.kind = NATSL_FIELD_COUNT, .name = name, .required = 1, .low = 0.0, .high = (double)most},
               &count);
    *out = (json_int_t)count;
    return st;
}

natsl_status natsl_json_word(const json_t *object, const char *name, const char *const *words, int otherwise,
                             const char *where, int *out)
{
    *out = otherwise;
    return member(object, where, &(natsl_field){.kind = NATSL_FIELD_WORD, .name = name, .words = words}, out);
}
