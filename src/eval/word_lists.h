/* word_lists.h - the word lists of the Python package wonderwords, which RULER draws keys and words from: nounlist.txt,
 * adjectivelist.txt and verblist.txt, one word a line.
 * Owns: the words. MPI: none. Tests: tests/unit/test_ruler.c */
#ifndef NATSL_WORD_LISTS_H
#define NATSL_WORD_LISTS_H

#include <natsl/status.h>
#include <stddef.h>
#include <stdint.h>

/** Room for a key and its NUL. */
#define NATSL_KEY_BYTES 96

typedef struct natsl_words {
    char **words; /* [count] sorted by code point, distinct */
    size_t count;
    char *bytes; /* that they point into */
} natsl_words;

/** Keys of adjectives that may come between one another: "able-" and "able-bodied-". */
typedef struct natsl_key_group {
    size_t first, adjectives; /* of the sorted adjectives */
    uint64_t begin;           /* number of its first key */
    char **keys;              /* sorted, distinct; NULL: one adjective, keys in the order of the nouns */
    char *bytes;
} natsl_key_group;

typedef struct natsl_word_lists {
    natsl_words nouns, adjectives, all; /* all: verbs too */
    natsl_key_group *groups;            /* [n_groups] */
    size_t n_groups;
    uint64_t n_keys; /* distinct "adjective-noun" */
    char digest[65]; /* SHA-256 of the three files, nouns, adjectives, verbs */
} natsl_word_lists;

/** Reads the three files of a directory. NATSL_ERR_INPUT, NATSL_ERR_NOMEM. *out is empty on error. */
natsl_status natsl_word_lists_open(const char *directory, natsl_word_lists *out);
void natsl_word_lists_free(natsl_word_lists *lists);

/** Key `i` < n_keys of all keys sorted by code point. */
void natsl_word_lists_key(const natsl_word_lists *lists, uint64_t i, char key[NATSL_KEY_BYTES]);

#endif
