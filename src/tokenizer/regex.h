/* regex.h - the regular expressions of tokenizer.json: written for Oniguruma, run by PCRE2.
 * What the two understand differently is rewritten or refused (regex.c). Text is valid UTF-8.
 * Owns: compiled code; a match has scratch of its own, so that threads can share the code. MPI: none.
 * Tests: tests/unit/test_tok.c */
#ifndef NATSL_REGEX_H
#define NATSL_REGEX_H

#include <natsl/status.h>
#include <stddef.h>

typedef struct natsl_regex natsl_regex;
typedef struct natsl_regex_match natsl_regex_match;

/** Compiles pattern[0..length). where: for messages. NATSL_ERR_INPUT: it is no regular expression, or not supported. */
natsl_status natsl_regex_create(const char *pattern, size_t length, const char *where, natsl_regex **out);
/** The text itself as a pattern. */
natsl_status natsl_regex_literal(const char *text, size_t length, natsl_regex **out);
void natsl_regex_destroy(natsl_regex **regex);

/** Whether matches from a place on depend on that text alone: no looking behind, no anchors, no empty matches. Then a search
 * may begin anew wherever one match has ended. */
int natsl_regex_forward(const natsl_regex *regex);

natsl_status natsl_regex_match_create(const natsl_regex *regex, natsl_regex_match **out);
void natsl_regex_match_destroy(natsl_regex_match **match);

typedef enum natsl_found {
    NATSL_FOUND_NONE = 0,
    NATSL_FOUND,
    NATSL_FOUND_PARTLY /* the text ends where the search wanted to look further */
} natsl_found;

/** The first match in text[0..length) that begins at `from` or later. open: more text may follow; then a match is reported only
 * if the search for it has looked at nothing past the end, so that no text that follows can change it.
 * NATSL_ERR_INPUT: the search was given up (too many steps). */
natsl_status natsl_regex_find(natsl_regex_match *match, const char *text, size_t length, size_t from, int open,
                              natsl_found *found, size_t *begin, size_t *end);

#endif
