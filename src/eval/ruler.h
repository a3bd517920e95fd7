/* ruler.h - RULER's samples as its own program makes them: the same random numbers in the same order, so that prompts are
 * equal to the byte for the same tokenizer, word lists and user's files. Samples come one after the other.
 * Not to the byte: the essay tasks, which cut the user's text into sentences by a rule of natsl's own (a word that ends in
 * . ! or ?, quotes and brackets aside, where no lower-case letter follows and which is no common abbreviation).
 * Owns: what its functions make. MPI: none. Source: RULER, data/synthetic/{niah,variable_tracking,common_words_extraction,
 * freq_words_extraction,qa}.py and their constants. Tests: tests/unit/test_ruler.c */
#ifndef NATSL_RULER_H
#define NATSL_RULER_H

#include "eval_task.h"
#include "measure.h"
#include "pyrandom.h"
#include "word_lists.h"

/** What samples are made of. NULL: not there. */
typedef struct natsl_ruler_sources {
    const natsl_word_lists *lists;
    const natsl_essay *essay;
    const natsl_questions *questions[2]; /* of qa_1, qa_2 */
    natsl_measure *measure;              /* of a text; NULL: its bytes */
    uint64_t seed;                       /* 42 upstream */
} natsl_ruler_sources;

/** A user's text as words. As upstream splits at single blanks, a text that begins or ends with blanks (a line break) has an empty word
 * there. */
struct natsl_essay {
    char *text;
    size_t *begin;       /* [count + 1] word i is text[begin[i] .. begin[i+1] - 1), a blank between two */
    unsigned char *ends; /* [count] word i ends a sentence */
    size_t count;
};
/** Bytes of a word; the first and the last one may be empty. */
static inline size_t natsl_essay_word(const natsl_essay *e, size_t i) { return e->begin[i + 1] - 1 - e->begin[i]; }
/** text [length], copied. NATSL_ERR_INPUT: no words; NATSL_ERR_NOMEM. */
natsl_status natsl_essay_create(const char *text, size_t length, const char *name, natsl_essay **out);
void natsl_essay_destroy(natsl_essay **essay);

/** One question of a user's file. */
typedef struct natsl_question {
    char *query;
    char **answers;
    size_t *gold, *more; /* documents, those that answer it and others of the same article */
    size_t n_answers, n_gold, n_more;
} natsl_question;

struct natsl_questions {
    char **documents; /* [n_documents] sorted by code point, distinct */
    natsl_question *questions;
    size_t n_documents, n_questions;
};
/** Reads SQuAD's dev-v2.0.json (hotpot 0) or HotpotQA's hotpot_dev_distractor_v1.json (1). NATSL_ERR_INPUT says what is
 * wrong with it; NATSL_ERR_NOMEM. */
natsl_status natsl_questions_open(const char *path, int hotpot, natsl_questions **out);
void natsl_questions_close(natsl_questions **questions);

/** The samples of one task at one length, in order. */
typedef struct natsl_ruler natsl_ruler;

/** Seeds both generators, makes the example where the task has one and finds how much haystack fits. `sources` are
 * borrowed and must outlive it. NATSL_ERR_USAGE: something is missing, or nothing fits; NATSL_ERR_NOMEM. */
natsl_status natsl_ruler_open(const natsl_ruler_sources *sources, const natsl_eval_task *task, int64_t length,
                              int64_t max_new, natsl_ruler **out);
void natsl_ruler_close(natsl_ruler **ruler);
/** The next sample: prompt, and `units` of haystack in it where not NULL. */
natsl_status natsl_ruler_next(natsl_ruler *ruler, natsl_eval_sample *out);
/** A single sample with `units` units of haystack from generators just seeded, without an example of variable tracking. fwe:
 * units are words, of a vocabulary of `vocabulary`. For tests. */
natsl_status natsl_ruler_single(const natsl_ruler_sources *sources, const natsl_eval_task *task, int64_t units,
                                int64_t vocabulary, natsl_eval_sample *out);

/** Whether the sources of a task are there and a sample may fit. NATSL_ERR_USAGE. */
natsl_status natsl_ruler_check(const natsl_ruler_sources *sources, const natsl_eval_task *task, int64_t length,
                               int64_t max_new, int exact);

/** Sample `index` of natsl's own kind for the tasks that needle.h has not: the same texts with random numbers of their
 * own, as full as fits beside `before` tokens; the document that answers a question is at `depth`. */
natsl_status natsl_ruler_spread(const natsl_ruler_sources *sources, const natsl_eval_task *task, int64_t length,
                                int64_t max_new, int64_t before, natsl_rng rng, double depth, natsl_eval_sample *out);

#endif
