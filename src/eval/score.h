/* score.h - scores of predictions by RULER's rules, and intervals around them.
 * Owns: nothing. MPI: none. Source: RULER's evaluate.py and metrics; InfiniteBench; BABILong;
 * Wilson 1927. Tests: tests/unit/test_eval_results.c */
#ifndef NATSL_SCORE_H
#define NATSL_SCORE_H

#include <natsl/status.h>
#include <stddef.h>

/** Text as RULER's evaluation sees it: without blanks at both ends, control characters as line breaks. In place; the new
 * length is returned. An empty one is a "null". */
size_t natsl_score_clean(char *text, size_t length);

/** Whether nothing is left of a prediction when it is cleaned. */
int natsl_score_is_null(const char *text, size_t length);

/** Whether `want` occurs in the cleaned prediction, both in lower case. want NUL-terminated; an empty one always does. */
int natsl_score_contains(const char *text, size_t length, const char *want);

/** Whether the first whole number in the cleaned prediction has the digits of `want` (zeros before them do not count). */
int natsl_score_integer(const char *text, size_t length, const char *want);

/** Whether `want` is one of the cleaned prediction's words, once punctuation (of ASCII; but "-", which identifiers have) became
 * blanks. */
int natsl_score_word(const char *text, size_t length, const char *want);

/** Whether word number i (from 0) of the cleaned prediction, words between blanks, is `want`. */
int natsl_score_place(const char *text, size_t length, size_t i, const char *want);

/** Whether the labels in the prediction's first sentence (to its first "."), without those that the question has, are `want` and no
 * other, in lower case. want of more than 3 bytes may be several with commas between them. labels [n] distinct. */
int natsl_score_label(const char *text, size_t length, const char *want, const char *question,
                      const char *const *labels, size_t n);

/** 95 % interval of a share `p` of n >= 1 trials (Wilson's score interval): 0 <= *low <= p <= *high <= 1. */
void natsl_score_wilson(double p, double n, double *low, double *high);

#endif
