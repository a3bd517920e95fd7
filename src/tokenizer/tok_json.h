/* tok_json.h - checked members of JSON objects: every one names what was expected. Private to src/tokenizer.
 * Owns: nothing. MPI: none. Tests: tests/unit/test_tok.c */
#ifndef NATSL_TOK_JSON_H
#define NATSL_TOK_JSON_H

#include <jansson.h>
#include <natsl/status.h>

/** A boolean member, `otherwise` where it is missing or null. NATSL_ERR_INPUT. */
natsl_status natsl_json_flag(const json_t *object, const char *name, int otherwise, const char *where, int *out);
/** A text member, copied (free with natsl_free); NULL and 0 where it is missing or null. */
natsl_status natsl_json_copy(const json_t *object, const char *name, const char *where, char **out, size_t *length);
/** A text member that must be there; borrowed. */
natsl_status natsl_json_need(const json_t *object, const char *name, const char *where, const char **out,
                             size_t *length);
/** A whole number that must be there, 0 .. most. */
natsl_status natsl_json_count(const json_t *object, const char *name, json_int_t most, const char *where,
                              json_int_t *out);
/** Index of a text member among words (ended by NULL), `otherwise` where it is missing. */
natsl_status natsl_json_word(const json_t *object, const char *name, const char *const *words, int otherwise,
                             const char *where, int *out);

#endif
