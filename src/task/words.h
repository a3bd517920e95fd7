/* words.h - words, numbers and identifiers that texts of tasks are made of. Owns: nothing. MPI: none.
 * Tests: tests/unit/test_task.c */
#ifndef NATSL_WORDS_H
#define NATSL_WORDS_H

#include "rng.h"
#include <stddef.h>

typedef enum natsl_word_kind {
    NATSL_NUMBERS = 0, /* seven digits, 1000000 .. 9999999 */
    NATSL_WORDS,       /* adjective-noun, of 256 each */
    NATSL_UUIDS,       /* version 4, lower case, 36 characters */
    NATSL_SYLLABLES    /* two to four syllables of a consonant and a vowel */
} natsl_word_kind;

/** Room for any of them and its NUL. */
#define NATSL_WORD_BYTES 40

/** Longest text of a kind, without NUL. */
size_t natsl_word_longest(natsl_word_kind kind);

/** A random one, with NUL. */
void natsl_word_draw(natsl_word_kind kind, natsl_rng *rng, char word[NATSL_WORD_BYTES]);

/** How many texts of the kind NATSL_WORDS there are, and the one of number i. */
#define NATSL_WORD_PAIRS 65536
void natsl_word_pair(uint32_t i, char word[NATSL_WORD_BYTES]);

#endif
