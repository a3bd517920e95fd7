/* json_text.h - text from outside as JSON. Owns: nothing. MPI: none. Tests: tests/unit/test_eval_results.c */
#ifndef NATSL_JSON_TEXT_H
#define NATSL_JSON_TEXT_H

#include <jansson.h>
#include <stddef.h>

/** A JSON string of text that need not be UTF-8: a byte that is no part of a character becomes U+FFFD. NULL: no memory. */
json_t *natsl_json_text(const char *text, size_t length);
/** The same of a text that ends with NUL; NULL becomes JSON's null. */
json_t *natsl_json_text_or_null(const char *text);

#endif
