/* fields.h - checked reading of JSON objects from outside: every key is named in a table; others, wrong types and numbers out of
 * range are NATSL_ERR_INPUT with one line that says where. MPI: none. Tests: tests/unit/test_spec.c */
#ifndef NATSL_FIELDS_H
#define NATSL_FIELDS_H

#include "core.h"
#include <jansson.h>

typedef enum natsl_field_kind {
    NATSL_FIELD_END = 0,
    NATSL_FIELD_COUNT,  /* int64_t in low .. high */
    NATSL_FIELD_REAL,   /* double in low .. high */
    NATSL_FIELD_TEXT,   /* const char *, borrowed from the JSON */
    NATSL_FIELD_WORD,   /* int: index into words */
    NATSL_FIELD_FLAG,   /* int: true or false */
    NATSL_FIELD_RANGE,  /* natsl_field_range in low .. high: a whole number or [lo, hi] */
    NATSL_FIELD_OBJECT, /* const json_t *, borrowed */
    NATSL_FIELD_ARRAY,  /* the same, of one element at least */
    NATSL_FIELD_ANY     /* the same, of any type */
} natsl_field_kind;

typedef struct natsl_field_range {
    int lo, hi;
} natsl_field_range;

typedef struct natsl_field {
    natsl_field_kind kind;
    const char *name;
    size_t offset; /* in the structure that is filled */
    int required;
    double low, high;
    const char *const *words; /* ended by NULL */
} natsl_field;

/** Fills members of `out` for the keys that are there; the others keep their values. where: the object's place, for messages
 * ("T.json: phases[0]"). */
natsl_status natsl_fields_read(const json_t *object, const char *where, const natsl_field *fields, void *out);

/** One key of an object that may have others. */
natsl_status natsl_field_read(const json_t *object, const char *where, const natsl_field *field, void *out);

/** "where.name" or "where.name[index]" (index >= 0), cut to `size`. Returned. */
const char *natsl_fields_where(char *to, size_t size, const char *where, const char *name, int64_t index);

#endif
