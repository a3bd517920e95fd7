/* eval_task.h - the benchmark's tasks and their samples: prompts, expected outputs, where in the text they are told.
 * A sample is a pure function of (settings, task, length, index): any rank makes any of them, and adding samples or
 * lengths changes no other.
 * Owns: a sample's text and lists. MPI: none. Source: RULER (tasks, templates, lengths of answers). Tests:
 * tests/unit/test_eval.c */
#ifndef NATSL_EVAL_TASK_H
#define NATSL_EVAL_TASK_H

#include "measure.h"
#include "needle.h"
#include <natsl/status.h>

/** Depths are evenly spread over this many bands in any whole number of as many samples. */
#define NATSL_EVAL_BANDS 10

/** How a task's text is made. */
typedef enum natsl_eval_kind {
    NATSL_EVAL_NIAH = 0, /* needles */
    NATSL_EVAL_VT,       /* variable tracking: a chain of assignments in noise */
    NATSL_EVAL_CWE,      /* common words of a list */
    NATSL_EVAL_FWE,      /* frequent words of a coded text */
    NATSL_EVAL_QA,       /* questions about documents */
    NATSL_EVAL_PASSKEY,  /* digits told twice in noise */
    NATSL_EVAL_KV,       /* a JSON object of identifiers */
    NATSL_EVAL_CLASSIC,  /* the needle of the first test of its kind, in a text */
    NATSL_EVAL_FILE,     /* samples of a user's file */
    NATSL_EVAL_MQAR,     /* token ids: pairs, then keys among fill */
    NATSL_EVAL_BABI,     /* facts of bAbI's stories among sentences of a text */
    NATSL_EVAL_DOCUMENT  /* a text, of which every token's probability counts */
} natsl_eval_kind;

/** When an expected output counts as found, and what several of them make of a sample. */
typedef enum natsl_eval_metric {
    NATSL_EVAL_ALL = 0, /* it is in the prediction; the share of those found */
    NATSL_EVAL_PART,    /* it is in the prediction; any one will do */
    NATSL_EVAL_INTEGER, /* the first whole number of the prediction equals it; any one will do */
    NATSL_EVAL_WORD,    /* it is among the prediction's words, once punctuation became blanks; any one will do */
    NATSL_EVAL_LABEL, /* it is the only label of the task in the prediction's first sentence, but for the question's */
    NATSL_EVAL_PLACE, /* output i is the prediction's word number i; the share of those that are */
    NATSL_EVAL_LIKELIHOOD /* none: the loss counts */
} natsl_eval_metric;

/** One task. */
typedef struct natsl_eval_task {
    const char *suite, *name;
    natsl_eval_kind kind;
    int max_new; /* tokens that the benchmark generates */
    natsl_eval_metric metric;
    int text;      /* 1: the haystack is a text */
    int bare;      /* 1: the haystack is other needles */
    int keys;      /* of needles; bare: as many as fit */
    int values;    /* per key */
    int questions; /* keys asked for, in one question */
    natsl_word_kind key_kind, value_kind;
    int digits;                           /* of a pass key */
    const struct natsl_eval_lines *lines; /* of a file of samples (borrowed) */
    const struct natsl_babi *stories;     /* of a file of bAbI's (borrowed) */
    const natsl_hay *document; /* bytes; or, where lengths are not in bytes, their length in tokens (borrowed) */
    /* of a document in tokens: ids [first, first + count) of it */
    natsl_status (*document_ids)(void *user, int64_t first, int64_t count, int32_t *ids);
} natsl_eval_task;

/** Whether a sample's score is the share of its outputs that are found; else one of them will do. */
static inline int natsl_eval_share_counts(natsl_eval_metric metric)
{
    return metric == NATSL_EVAL_ALL || metric == NATSL_EVAL_PLACE;
}

/** All tasks, ended by name NULL. */
extern const natsl_eval_task natsl_eval_tasks[];

/** What all samples have in common. */
typedef struct natsl_essay natsl_essay;
typedef struct natsl_questions natsl_questions;
typedef struct natsl_eval_settings {
    uint64_t seed;
    natsl_measure *measure; /* lengths are in its tokens; NULL: in bytes (borrowed) */
    const int32_t *before;  /* [n_before] tokens of every prompt that come before its text (borrowed) */
    size_t n_before;
    int64_t max_new;                           /* tokens to generate; 0: the task's own number */
    const natsl_hay *hay;                      /* NULL: none (borrowed) */
    int exact;                                 /* 1: upstream's own samples (natsl_ruler_open), one after the other */
    const struct natsl_ruler_sources *sources; /* for all but needles in spread mode (borrowed) */
    int64_t questions;                         /* about one haystack, where tasks have several (kv); 0 is 1 */
    int64_t pairs;                             /* of recall in token ids; 0: as many as fit */
    int32_t vocabulary;                        /* of recall in token ids */
    int zeros;                                 /* 1: its fill is the id 0, not random ids */
} natsl_eval_settings;

typedef struct natsl_eval_output {
    char *text;   /* NUL-terminated */
    double depth; /* of the text that tells it, in the context: 0 .. 1; -1: it has no place */
} natsl_eval_output;

typedef struct natsl_eval_sample {
    char *text;     /* [length] the prompt, with the beginning of the answer */
    int64_t length; /* bytes; of a prompt in token ids alone, tokens */
    int64_t input;  /* bytes before the beginning of the answer ("answer_prefix") */
    int64_t
        shared; /* bytes at the beginning that other samples may have, too: they are read in a window of their own; 0: none */
    int32_t *ids;          /* [tokens] the prompt in tokens; NULL: they are the bytes of its text */
    int64_t tokens;        /* of the prompt; as ids and shared_tokens set by natsl_eval_tokens */
    int64_t shared_tokens; /* of `shared` bytes: those that do not depend on what follows */
    int64_t *asked;        /* [n_outputs] with ids: output i is the token after this one; ascending */
    natsl_eval_output *outputs;
    size_t n_outputs;
    char *question;            /* NULL: the metric needs none. NUL-terminated */
    const char *const *labels; /* [n_labels] all answers of the task, with NATSL_EVAL_LABEL (borrowed) */
    size_t n_labels;
} natsl_eval_sample;

/** Room for `count` outputs, all empty. NATSL_ERR_NOMEM. */
natsl_status natsl_eval_outputs(natsl_eval_sample *sample, size_t count);
/** Sets an output to a copy of text[0..length). NATSL_ERR_NOMEM. */
natsl_status natsl_eval_output_set(natsl_eval_output *output, const char *text, size_t length, double depth);

/** The first sample of the haystack that sample `index` asks about: all from there to `index` begin with the same `shared` bytes. */
int64_t natsl_eval_first(const natsl_eval_settings *settings, const natsl_eval_task *task, int64_t index);

/** Whether the cleaned prediction has output i of the sample. */
int natsl_eval_hit(natsl_eval_metric metric, const natsl_eval_sample *sample, size_t i, const char *text,
                   size_t length);

/** The task of a name; NULL when there is none. */
const natsl_eval_task *natsl_eval_task_find(const char *suite, const char *name);

/** Tokens that are generated for a task. */
int64_t natsl_eval_max_new(const natsl_eval_settings *settings, const natsl_eval_task *task);

/** Samples of the task fit in `length` tokens, prompt, beginning of the answer and generated tokens together, whatever
 * is drawn, and its haystack is there. NATSL_ERR_USAGE says what is missing. */
natsl_status natsl_eval_check(const natsl_eval_settings *settings, const natsl_eval_task *task, int64_t length);

/** Where sample `index` has its (first) needle: each NATSL_EVAL_BANDS samples in a row have one in every band of depth,
 * in random order, and within the bands they are spread, too. */
double natsl_eval_depth(const natsl_eval_settings *settings, const natsl_eval_task *task, int64_t length,
                        int64_t index);

/** Sample `index` >= 0 in spread mode: text, input and outputs. Release with natsl_eval_sample_free. NATSL_ERR_USAGE as
 * natsl_eval_check; NATSL_ERR_NOMEM. *out is empty on error. */
natsl_status natsl_eval_make(const natsl_eval_settings *settings, const natsl_eval_task *task, int64_t length,
                             int64_t index, natsl_eval_sample *out);

/** How long the text of several questions is: where lengths are in tokens, its bytes are found by trying, once for all of them. Zeroed
 * before the first use; for one natsl_eval_settings. */
typedef struct natsl_eval_fit {
    const natsl_eval_task *task; /* NULL: nothing is known (borrowed) */
    int64_t length, first, bytes;
} natsl_eval_fit;

/** natsl_eval_make of one sample after the other: the same samples, faster where several ask about one haystack. */
natsl_status natsl_eval_make_next(const natsl_eval_settings *settings, const natsl_eval_task *task, int64_t length,
                                  int64_t index, natsl_eval_fit *fit, natsl_eval_sample *out);
/** Random numbers of the answer to sample `index`, at a temperature above 0. */
natsl_rng natsl_eval_answer_rng(const natsl_eval_settings *settings, const natsl_eval_task *task, int64_t length,
                                int64_t index);

void natsl_eval_sample_free(natsl_eval_sample *sample);

/** The sample's text as the model reads it: ids, tokens, shared_tokens, with settings->before. NATSL_ERR_NOMEM, NATSL_ERR_INPUT. */
natsl_status natsl_eval_tokens(const natsl_eval_settings *settings, natsl_eval_sample *sample);

#endif
