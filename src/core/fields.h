/* fields.h - checked reading of JSON objects from outside: every key is named in a table; others, wrong types and numbers out of
 * range are NATSL_ERR_INPUT with one line that says where. MPI: none. Tests: tests/unit/test_spec.c, tests/unit/test_tok.c */
#ifndef NATSL_FIELDS_H
#define NATSL_FIELDS_H

#include "core.h"
#include <jansson.h>

typedef enum natsl_field_kind {
    NATSL_FIELD_END = 0,
    NATSL_FIELD_COUNT,  /* int64_t in low .. high */
    NATSL_FIELD_REAL,   /* double in low .. high */
    NATSL_FIELD_TEXT,   /* const char *, borrowed from the JSON; not empty */
    NATSL_FIELD_BYTES,  /* natsl_field_bytes, borrowed: a text that may be empty and hold NUL */
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

typedef struct natsl_field_bytes {
    const char *at;
    size_t length;
} natsl_field_bytes;

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

/* Single members of objects that may have any others (a tokenizer.json). where: "FILE: place", without a colon at its end. */

/** A boolean member, `otherwise` where it is missing or null. */
natsl_status natsl_json_flag(const json_t *object, const char *name, int otherwise, const char *where, int *out);
/** A text member, copied (free with natsl_free); NULL and 0 where it is missing or null. */
natsl_status natsl_json_copy(const json_t *object, const char *name, const char *where, char **out, size_t *length);
/** A text member that must be there; borrowed. */
natsl_status natsl_json_need(const json_t *object, const char *name, const char *where, const char **out,
                             size_t *length);
/** A whole number that must be there, 0 .. most. */
natsl_status natsl_json_count(const json_t *object, const char *name, json_int_t most, const char *where,
                              json_int_t *out);
/** Index of a text member among words (ended by NULL), `otherwise` where it is missing or null. */
natsl_status natsl_json_word(const json_t *object, const char *name, const char *const *words, int otherwise,
                             const char *where, int *out);

#endif
