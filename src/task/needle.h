/* needle.h - needle-in-a-haystack texts: sentences that give keys their values, hidden in noise or in a text, and
 * questions for the values. Templates, needles and noise are those of RULER (base model template), byte for byte;
 * places and words are drawn by natsl's own generator.
 * One sample:
 *   header "\n" context { "\n" question " " prefix ": " values ".\n" } once per question
 * A question asks for all values of one key (with `joint` one question asks for all keys asked), in the order in which
 * they are written in `needles`. The header, too, has the form for one value where a question asks for one: all bytes
 * before the first answer are a prompt of RULER. The answer begins where the prefix ends, with the ":" that follows
 * "is" in a needle.
 * Owns: a sample's text and lists. MPI: none. Deterministic. Source: RULER's niah.py and its constants.
 * Tests: tests/unit/test_needle.c */
#ifndef NATSL_NEEDLE_H
#define NATSL_NEEDLE_H

#include "words.h"
#include <natsl/status.h>

#define NATSL_NEEDLE_MOST_KEYS   16384
#define NATSL_NEEDLE_MOST_VALUES 64 /* per key */
#define NATSL_NEEDLE_MOST_AGAIN  64 /* restatements */

/** Text of a haystack: `length` bytes, read in pieces. */
typedef struct natsl_hay {
    int64_t length;
    /* bytes [first, first+count) into `to`; 0 <= first, first+count <= length. Cannot fail. */
    void (*read)(void *user, int64_t first, int64_t count, char *to);
    void *user;
    int fixed;     /* 1: samples of any length begin at `start`; 0: each anywhere */
    int64_t start; /* 0 .. length - 1 */
} natsl_hay;

typedef struct natsl_needle_task {
    const natsl_hay *hay;     /* NULL: noise. A text shorter than the sample is repeated. (borrowed) */
    natsl_word_kind key_kind; /* not NATSL_NUMBERS in RULER, but possible */
    natsl_word_kind value_kind;
    int keys;      /* 1 .. natsl_needle_most_keys(key_kind), distinct */
    int values;    /* per key, 1 .. MOST_VALUES, distinct for one key; one needle each */
    int questions; /* 1 .. keys: how many keys are asked for */
    int restate;   /* 0 .. MOST_AGAIN: how often each needle comes again after its first place */
    int joint;     /* 1: one question for all keys asked ("a, b, and c") */
    int bare; /* 1: needles only, no haystack between them (hay is NULL, restate 0); natsl_needle_most says how many keys */
    double
        depth; /* 0 .. 1: where the needles of the first key asked are first; negative: anywhere, as the others are */
} natsl_needle_task;

/** One needle. */
typedef struct natsl_needle {
    char key[NATSL_WORD_BYTES], value[NATSL_WORD_BYTES];
    int64_t first; /* byte of the text where its sentence is for the first time */
    double depth;  /* of that byte, in the context: 0 .. 1 */
} natsl_needle;

/** Bytes [begin, end) of the text give a needle's value: ": V.\n" after a question (": V" and ", V" and ", V.\n" of
 * several), ": V." where a needle comes again (only of keys with one value: else nobody could know which one follows).
 */
typedef struct natsl_needle_answer {
    int64_t begin, end;
    int needle; /* index into needles */
    int again;  /* 1: a needle that comes again; 0: after a question */
} natsl_needle_answer;

/** Bytes [begin, end) of the text are a needle's sentence, with its full stop. */
typedef struct natsl_needle_told {
    int64_t begin, end;
} natsl_needle_told;

typedef struct natsl_needle_sample {
    char *text; /* [length], no NUL */
    int64_t length;
    int64_t context, context_end; /* its bytes */
    natsl_needle *needles;        /* [n_needles] key after key */
    natsl_needle_answer *answers; /* [n_answers] in the order of the text */
    natsl_needle_told *told;      /* [n_told] every time that a needle is in the context, in the order of the text */
    size_t n_told;
    size_t n_needles, n_answers, n_again; /* the first n_again answers are needles that come again */
} natsl_needle_sample;

/** Bytes in which a sample of this task surely fits, whatever is drawn, with an empty haystack. */
int64_t natsl_needle_bytes(const natsl_needle_task *task);

/** Most keys of a kind: of identifiers there are enough for any length, of others so many that distinct ones are found soon. */
static inline int natsl_needle_most_keys(natsl_word_kind kind)
{
    return kind == NATSL_UUIDS ? 1 << 18 : kind == NATSL_WORDS ? 1 << 15 : NATSL_NEEDLE_MOST_KEYS;
}

/** The most keys of `task` (its `keys` does not count) with which a sample drawn from this generator fits in `bytes` bytes,
 * whatever its haystack: *keys, 0 when not even one does. The generator is not advanced. NATSL_ERR_USAGE, NATSL_ERR_NOMEM. */
natsl_status natsl_needle_most(const natsl_needle_task *task, int64_t bytes, const natsl_rng *rng, int *keys);

/** A sample of at most `bytes` bytes: its haystack is as long as that allows (whole units of noise). Advances rng.
 * Release with natsl_needle_free. NATSL_ERR_USAGE: a member out of its range, or needles and questions that do not fit;
 * NATSL_ERR_NOMEM. *out is empty on error. */
natsl_status natsl_needle_make(const natsl_needle_task *task, int64_t bytes, natsl_rng *rng, natsl_needle_sample *out);
void natsl_needle_free(natsl_needle_sample *sample);

#endif
