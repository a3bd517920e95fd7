/* needle.c - words, questions and size of a needle sample. See needle.h. */
#include "needle_impl.h"

#include <stdlib.h>
#include <string.h>

void natsl_sink_put(sink *s, const char *bytes, size_t count)
{
    if (s->text && count <= s->room - s->at) memcpy(s->text + s->at, bytes, count);
    s->at += count; /* past the room: the caller has measured wrongly, and looks */
}

void natsl_sink_word(sink *s, const char *word) { natsl_sink_put(s, word, strlen(word)); }

/** "number" or "numbers". */
static void put_type(sink *s, natsl_word_kind kind, int plural)
{
    static const char *const names[] = {
        [NATSL_NUMBERS] = "number", [NATSL_WORDS] = "word", [NATSL_UUIDS] = "uuid", [NATSL_SYLLABLES] = "word"};
    natsl_sink_word(s, names[kind]);
    if (plural) natsl_sink_word(s, "s");
}

void natsl_needle_sentence(sink *s, natsl_word_kind value_kind, const char *key, const char *value)
{
    natsl_sink_word(s, "One of the special magic ");
    put_type(s, value_kind, 1);
    natsl_sink_word(s, " for ");
    natsl_sink_word(s, key);
    natsl_sink_word(s, " is: ");
    natsl_sink_word(s, value);
    natsl_sink_word(s, ".");
}

static void put_header(sink *s, natsl_word_kind kind, int plural)
{
    natsl_sink_word(s, plural ? "Some" : "A");
    natsl_sink_word(s, " special magic ");
    put_type(s, kind, plural);
    natsl_sink_word(s, plural ? " are" : " is");
    natsl_sink_word(s, " hidden within the following text. Make sure to memorize it. I will quiz you about the ");
    put_type(s, kind, plural);
    natsl_sink_word(s, " afterwards.\n");
}

/** One key, or "a, b, and c". ("a, and b" of two: RULER's rule.) */
static void put_query(sink *s, const natsl_needle_task *task, const natsl_needle *needles, const int *keys, int count)
{
    for (int i = 0; i < count; i++) {
        if (i > 0) natsl_sink_word(s, i + 1 < count ? ", " : ", and ");
        natsl_sink_word(s, needles[(size_t)keys[i] * (size_t)task->values].key);
    }
}

/** A question for `count` keys and its answer. Answers are appended where text is written. */
static void put_question(sink *s, const natsl_needle_task *task, const int *keys, int count,
                         natsl_needle_sample *sample)
{
    const natsl_word_kind kind = task->value_kind;
    const int plural = count > 1 || task->values > 1;
    natsl_sink_word(s, plural ? "\nWhat are all the special magic " : "\nWhat is the special magic ");
    put_type(s, kind, plural);
    natsl_sink_word(s, " for ");
    put_query(s, task, sample->needles, keys, count);
    natsl_sink_word(s, " mentioned in the provided text? The special magic ");
    put_type(s, kind, plural);
    natsl_sink_word(s, " for ");
    put_query(s, task, sample->needles, keys, count);
    natsl_sink_word(s, plural ? " mentioned in the provided text are" : " mentioned in the provided text is");
    for (int i = 0; i < count; i++) {
        for (int v = 0; v < task->values; v++) {
            const int needle = keys[i] * task->values + v, last = i + 1 == count && v + 1 == task->values;
            const size_t begin = s->at;
            natsl_sink_word(s, i == 0 && v == 0 ? ": " : ", ");
            natsl_sink_word(s, sample->needles[needle].value);
            if (last) natsl_sink_word(s, ".\n");
            if (s->text)
                sample->answers[sample->n_answers++] =
                    (natsl_needle_answer){.begin = (int64_t)begin, .end = (int64_t)s->at, .needle = needle};
        }
    }
}

static void put_questions(sink *s, const natsl_needle_task *task, const int *asked, natsl_needle_sample *sample)
{
    const int each = task->joint ? task->questions : 1;
    for (int q = 0; q < task->questions; q += each) put_question(s, task, asked + q, each, sample);
}

static int is_plural(const natsl_needle_task *task) { return task->values > 1 || (task->joint && task->questions > 1); }

static natsl_status check(const natsl_needle_task *t)
{
    const int kinds = (unsigned)t->key_kind <= NATSL_SYLLABLES && (unsigned)t->value_kind <= NATSL_SYLLABLES;
    if (kinds && t->keys >= 1 && t->keys <= natsl_needle_most_keys(t->key_kind) && t->values >= 1 &&
        t->values <= NATSL_NEEDLE_MOST_VALUES && t->questions >= 1 && t->questions <= t->keys && t->restate >= 0 &&
        t->restate <= NATSL_NEEDLE_MOST_AGAIN && t->depth <= 1.0 &&
        (!t->hay ||
         (t->hay->length >= 1 && (!t->hay->fixed || (t->hay->start >= 0 && t->hay->start < t->hay->length)))) &&
        !(t->bare && (t->hay || t->restate > 0)))
        return NATSL_OK;
    return natsl_fail(
        NATSL_ERR_USAGE,
        "needles: %d keys of %d values, %d questions, %d restatements, depth %g; expected 1 to %d keys of "
        "1 to %d values, 1 to as many questions as keys, 0 to %d restatements, a depth of at most 1, and a "
        "haystack that is not empty and begins in its text (bare: none, and no restatements)",
        t->keys, t->values, t->questions, t->restate, t->depth, natsl_needle_most_keys(t->key_kind),
        NATSL_NEEDLE_MOST_VALUES, NATSL_NEEDLE_MOST_AGAIN);
}

int64_t natsl_needle_bytes(const natsl_needle_task *task)
{
    /* All sizes grow with the lengths of keys and values: counts below 2^27 of sentences below 2^8. */
    const int64_t key = (int64_t)natsl_word_longest(task->key_kind),
                  value = (int64_t)natsl_word_longest(task->value_kind);
    const int64_t questions = task->questions, values = task->values;
    sink head = {0}, sentence = {0}, question = {0};
    natsl_needle none[NATSL_NEEDLE_MOST_VALUES]; /* one key and its values, all empty */
    memset(none, 0, sizeof none);
    natsl_needle_task one = *task;
    natsl_needle_sample sample = {.needles = none};
    put_header(&head, task->value_kind, is_plural(task));
    natsl_needle_sentence(&sentence, task->value_kind, "", "");
    one.joint = 0;
    put_question(&question, &one, &(int){0}, 1, &sample);
    /* a joint question is shorter than as many single ones, but for one value its words are plural: 4 more, once */
    return (int64_t)head.at + questions * ((int64_t)question.at + 2 * key + values * value) + (task->joint ? 8 : 0) +
           (int64_t)task->keys * values * (1 + task->restate) * ((int64_t)sentence.at + key + value + 1);
}

/** 64 bits of a word, for the table of keys seen. */
static uint64_t hash(const char *word)
{
    uint64_t h = 0xcbf29ce484222325u; /* FNV-1a */
    for (; *word; word++) h = (h ^ (unsigned char)*word) * 0x100000001b3u;
    return h ^ h >> 32;
}

/** Distinct keys, and for each distinct values. */
static natsl_status draw_words(const natsl_needle_task *task, natsl_rng *rng, natsl_needle *needles)
{
    size_t places = 2; /* of an open table that is at most half full: index of a key's first needle + 1, 0: free */
    while (places < 2 * (size_t)task->keys) places *= 2;
    int *table = natsl_calloc(places, sizeof *table, "keys of needles");
    if (!table) return NATSL_ERR_NOMEM;
    for (int k = 0; k < task->keys; k++) {
        natsl_needle *of = needles + (size_t)k * (size_t)task->values;
        for (int fresh = 0; !fresh;) { /* the fewest words of a kind are 65536, twice the most keys */
            natsl_word_draw(task->key_kind, rng, of->key);
            size_t at = (size_t)hash(of->key) & (places - 1);
            while (table[at] && strcmp(needles[table[at] - 1].key, of->key) != 0) at = (at + 1) & (places - 1);
            fresh = table[at] == 0;
            if (fresh) table[at] = (int)(of - needles) + 1;
        }
        for (int v = 0; v < task->values; v++) {
            memcpy(of[v].key, of->key, sizeof of->key);
            for (int same = 1; same;) {
                natsl_word_draw(task->value_kind, rng, of[v].value);
                same = 0;
                for (int w = 0; w < v; w++) same |= strcmp(of[w].value, of[v].value) == 0;
            }
        }
    }
    natsl_free(table);
    return NATSL_OK;
}

/** The keys that are asked for, first to last: asked [keys], of which `questions` count. */
static void draw_asked(const natsl_needle_task *task, natsl_rng *rng, int *asked)
{
    for (int i = 0; i < task->keys; i++) asked[i] = i;
    for (int i = 0; i < task->questions; i++) {
        const int j = i + (int)natsl_rng_below(rng, (uint64_t)(task->keys - i)), swap = asked[i];
        asked[i] = asked[j];
        asked[j] = swap;
    }
}

/** Keys, values and who is asked; *asked [keys] is the caller's to free. */
static natsl_status prepare(const natsl_needle_task *task, natsl_rng *rng, natsl_needle_sample *out, int **asked)
{
    /* at most 2^20 needles, 2^26 answers */
    out->n_needles = (size_t)task->keys * (size_t)task->values;
    const size_t again = task->values == 1 ? out->n_needles * (size_t)task->restate : 0;
    out->needles = natsl_calloc(out->n_needles, sizeof *out->needles, "needles");
    out->answers = natsl_calloc(again + (size_t)task->questions * (size_t)task->values, sizeof *out->answers,
                                "answers of needles");
    out->told = natsl_calloc(out->n_needles, (1 + (size_t)task->restate) * sizeof *out->told, "places of needles");
    *asked = natsl_calloc((size_t)task->keys, sizeof **asked, "questions");
    if (!out->needles || !out->answers || !out->told || !*asked) return NATSL_ERR_NOMEM;
    const natsl_status st = draw_words(task, rng, out->needles);
    if (st == NATSL_OK) draw_asked(task, rng, *asked);
    return st;
}

/** Bytes of a sample with an empty haystack; SIZE_MAX: surely more than `most`. */
static natsl_status measure(const natsl_needle_task *task, int64_t most, natsl_rng rng, size_t *bytes)
{
    sink head = {0}, questions = {0};
    natsl_needle_sample sample = {0};
    int *asked = NULL;
    *bytes = SIZE_MAX;
    if (natsl_needle_bytes(task) / 16 > most) return NATSL_OK;
    const natsl_status st = prepare(task, &rng, &sample, &asked);
    if (st == NATSL_OK) {
        put_header(&head, task->value_kind, is_plural(task));
        put_questions(&questions, task, asked, &sample);
        *bytes = head.at + questions.at + natsl_needle_context_bytes(task, &sample);
    }
    natsl_free(asked);
    natsl_needle_free(&sample);
    return st;
}

natsl_status natsl_needle_most(const natsl_needle_task *task, int64_t bytes, const natsl_rng *rng, int *keys)
{
    natsl_needle_task one = *task;
    int fits = 0, above = natsl_needle_most_keys(task->key_kind) + 1;
    *keys = 0;
    one.keys = task->questions;
    natsl_status st = check(&one);
    while (st == NATSL_OK && above - fits > 1) {
        size_t needs = 0;
        one.keys = fits + (above - fits) / 2;
        if (one.keys < task->questions) one.keys = task->questions;
        if (one.keys >= above) break; /* fewer keys than questions */
        if ((st = measure(&one, bytes, *rng, &needs)) != NATSL_OK) break;
        if (bytes >= 1 && needs <= (size_t)bytes) fits = one.keys;
        else above = one.keys;
    }
    /* Which key is asked changes with their number, and so may a question's length: what fits is sure, the most is not. */
    if (st == NATSL_OK) *keys = fits;
    return st;
}

natsl_status natsl_needle_make(const natsl_needle_task *task, int64_t bytes, natsl_rng *rng, natsl_needle_sample *out)
{
    sink s = {0}, head = {0}, questions = {0};
    int *asked = NULL;
    natsl_status st = check(task);
    *out = (natsl_needle_sample){0};
    if (st != NATSL_OK) return st;
    /* Before anything is drawn or allocated: the shortest words are not a tenth of the longest. */
    if (bytes < 1 || natsl_needle_bytes(task) / 16 > bytes)
        return natsl_fail(NATSL_ERR_USAGE, "needles: they take up to %lld bytes, more than the %lld of the sample",
                          (long long)natsl_needle_bytes(task), (long long)bytes);
    NATSL_TRY(st, cleanup, prepare(task, rng, out, &asked));
    put_header(&head, task->value_kind, is_plural(task));
    put_questions(&questions, task, asked, out);
    const size_t fixed = head.at + questions.at, least = fixed + natsl_needle_context_bytes(task, out);
    if (least > (size_t)bytes) {
        st = natsl_fail(NATSL_ERR_USAGE, "needles: they take %zu bytes, more than the %lld of the sample", least,
                        (long long)bytes);
        goto cleanup;
    }
    s.room = (size_t)bytes;
    s.text = natsl_alloc(s.room, 1, "text of needles");
    if (!(out->text = s.text)) {
        st = NATSL_ERR_NOMEM;
        goto cleanup;
    }
    put_header(&s, task->value_kind, is_plural(task));
    NATSL_TRY(st, cleanup, natsl_needle_fill(task, asked[0], s.room - fixed, rng, &s, out));
    put_questions(&s, task, asked, out);
    if (s.at > s.room) st = natsl_fail(NATSL_ERR_INTERNAL, "needles: %zu bytes of %zu", s.at, s.room);
    out->length = (int64_t)s.at;
cleanup:
    natsl_free(asked);
    if (st != NATSL_OK) natsl_needle_free(out);
    return st;
}

void natsl_needle_free(natsl_needle_sample *sample)
{
    natsl_free(sample->text);
    natsl_free(sample->needles);
    natsl_free(sample->answers);
    natsl_free(sample->told);
    *sample = (natsl_needle_sample){0};
}
