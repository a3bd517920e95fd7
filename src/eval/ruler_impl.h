/* ruler_impl.h - between ruler.c (fitting the length), ruler_needle.c (needles, chains of assignments) and ruler_words.c (lists and
 * coded texts). */
#ifndef NATSL_RULER_IMPL_H
#define NATSL_RULER_IMPL_H

#include "core.h"
#include "ruler.h"
#include "text_buffer.h"

#define NATSL_RULER_HOPS 4 /* of a chain of assignments: five variables */

struct natsl_ruler {
    const natsl_ruler_sources *sources;
    const natsl_eval_task *task;
    int64_t length, max_new;
    natsl_mt p, q;
    uint64_t fixed;       /* seed of the permutations that upstream makes with a fresh generator each */
    int64_t units, step;  /* of haystack, as found */
    int64_t index;        /* of the next sample */
    size_t *words;        /* cwe: the permutation of the word list */
    natsl_buffer example; /* vt */
    int64_t example_tokens;
    int64_t before;     /* tokens that come before the prompt and count */
    int64_t vocabulary; /* fwe */
    int small;          /* cwe: fewer repetitions, for short texts */
    double depth;       /* qa, where natsl chooses the place; else -1 */
};

/** The permutation that a fresh generator gives: what comes to place i was at order[i]. NULL: no memory. */
size_t *natsl_ruler_order(const natsl_ruler *r, size_t n);
/** Gives the text to the sample. NATSL_ERR_NOMEM when it is not whole. */
natsl_status natsl_ruler_take(natsl_buffer *b, natsl_eval_sample *out);

/* Samples with n units of haystack; *out is empty before, the caller frees it also after an error. */
natsl_status natsl_ruler_niah(natsl_ruler *r, int64_t n, natsl_eval_sample *out);
/** letters: of a variable's name. value NULL: drawn. */
natsl_status natsl_ruler_track(natsl_ruler *r, int64_t n, size_t letters, const char *value, natsl_eval_sample *out);
natsl_status natsl_ruler_cwe(natsl_ruler *r, int64_t n, natsl_eval_sample *out);

/** A word of a coded text. */
typedef char natsl_code_word[7];
/** The words that a text is coded with, the most frequent first; the first is noise. Free with natsl_free. */
natsl_status natsl_ruler_codes(natsl_ruler *r, natsl_code_word **out, size_t *count);
natsl_status natsl_ruler_coded_text(natsl_ruler *r, const natsl_code_word *codes, size_t count, int64_t words,
                                    natsl_eval_sample *out);
/** The first time (*words 0) their number is found: it grows until the text is too long, and goes back by one step. Else it shrinks
 * until the text is short enough, which is the sample. */
natsl_status natsl_ruler_fwe(natsl_ruler *r, int64_t *words, natsl_eval_sample *out);

#endif
