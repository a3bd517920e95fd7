/* babi.h - bAbI's files of little stories, and BABILong's samples made of them: a story's facts, in their order, among the sentences
 * of a long text, then a question about them.
 * Owns: a file's contents. MPI: none; every rank reads its own. Source: Weston et al. 2015 (format), Kuratov et al. 2024 (BABILong:
 * samples, scores); prompts are natsl's own. Tests: tests/unit/test_eval.c */
#ifndef NATSL_BABI_H
#define NATSL_BABI_H

#include "eval_task.h"

/** A line of a story: a fact, or a question with its answer. All texts NUL-terminated. */
typedef struct natsl_babi_line {
    const char *text;
    const char *answer; /* NULL: a fact */
    int64_t story;      /* the story's first line */
    int64_t support;    /* of a question: the line of the (first) fact that it needs; -1: not said */
} natsl_babi_line;

typedef struct natsl_babi {
    char *text; /* the file; the lines point into it */
    natsl_babi_line *lines;
    int64_t n_lines;
    int64_t *questions; /* [n_questions] lines */
    int64_t n_questions;
    const char **labels; /* [n_labels] distinct answers, and parts of answers with commas */
    char *label_text;    /* what labels point into */
    size_t n_labels;
    int64_t longest; /* bytes that a sample needs beside the text, at most */
} natsl_babi;

/** Reads a file of lines "NUMBER TEXT" and "NUMBER QUESTION<tab>ANSWER<tab>NUMBERS"; number 1 begins a story. NATSL_ERR_INPUT names line
 * and reason; NATSL_ERR_NOMEM. */
natsl_status natsl_babi_open(const char *path, natsl_babi **out);
/** Accepts NULL; sets *babi to NULL. */
void natsl_babi_close(natsl_babi **babi);

/** Whether every question fits in `room` bytes. NATSL_ERR_USAGE. */
natsl_status natsl_babi_check(const natsl_babi *babi, const char *name, int64_t room);

/** Question `index`: the fact that it needs stands at `depth`, those before and after it at random places on their sides, at ends of
 * sentences of the haystack. NATSL_ERR_NOMEM. */
natsl_status natsl_babi_make(const natsl_babi *babi, const natsl_hay *hay, int64_t room, int64_t index, natsl_rng *rng,
                             double depth, natsl_eval_sample *out);

#endif
