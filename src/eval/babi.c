/* babi.c - bAbI's stories among the sentences of a text. See babi.h. */
#include "babi.h"

#include "core.h"
#include "recall.h"
#include "text_buffer.h"
#include "whole_file.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MOST_BYTES ((size_t)1 << 28)
#define REACH      1024 /* how far a fact is moved back to get to the end of a sentence */

static const char head[] = "Facts about persons and things are hidden in the following text. Read it, then answer the "
                           "question at its end. Only "
                           "the facts count, and of several that speak of the same the last.\n\n",
                  ask[] = "\n\nQuestion: ", tail[] = "\nAnswer:";

/* ---- files ----------------------------------------------------------------------------------------------------------- */

static char *strip(char *text)
{
    size_t n = strlen(text);
    while (n > 0 && (text[n - 1] == ' ' || text[n - 1] == '\t' || text[n - 1] == '\r')) text[--n] = '\0';
    while (*text == ' ') text++;
    return text;
}

/** One line, which is cut into its parts. number: in the file, from 1. */
static natsl_status read_line(natsl_babi *b, char *line, const char *path, int64_t number)
{
    char *text = NULL;
    const long id = strtol(line, &text, 10);
    natsl_babi_line *to = &b->lines[b->n_lines];
    const int64_t before = b->n_lines > 0 ? b->n_lines - b->lines[b->n_lines - 1].story : 0;
    if (text == line || *text != ' ')
        return natsl_fail(NATSL_ERR_INPUT, "%s, line %lld: no number and blank at its beginning", path,
                          (long long)number);
    if (id != 1 && id != before + 1)
        return natsl_fail(NATSL_ERR_INPUT, "%s, line %lld: number %ld, expected %lld or 1", path, (long long)number, id,
                          (long long)before + 1);
    *to = (natsl_babi_line){.story = id == 1 ? b->n_lines : b->lines[b->n_lines - 1].story, .support = -1};
    char *answer = strchr(text, '\t'), *support = answer ? strchr(answer + 1, '\t') : NULL;
    if (answer) *answer++ = '\0';
    if (support) {
        *support++ = '\0';
        const long fact = strtol(support, NULL, 10);
        if (fact < 1 || fact >= id)
            return natsl_fail(NATSL_ERR_INPUT, "%s, line %lld: the fact it needs is no line of the story before it",
                              path, (long long)number);
        to->support = to->story + fact - 1;
    }
    to->text = strip(text);
    if (answer) to->answer = strip(answer);
    if (!to->text[0] || (answer && !to->answer[0]))
        return natsl_fail(NATSL_ERR_INPUT, "%s, line %lld: an empty %s", path, (long long)number,
                          to->text[0] ? "answer" : "text");
    if (answer) b->questions[b->n_questions++] = b->n_lines;
    b->n_lines++;
    return NATSL_OK;
}

/** Bytes of the facts before a question, and how many they are. */
static int64_t facts_before(const natsl_babi *b, int64_t question, int64_t *count)
{
    int64_t bytes = 0;
    *count = 0;
    for (int64_t i = b->lines[question].story; i < question; i++) {
        if (b->lines[i].answer) continue;
        bytes += (int64_t)strlen(b->lines[i].text) + 1;
        (*count)++;
    }
    return bytes;
}

static void add_label(natsl_babi *b, char *label)
{
    for (char *p = label; *p; p++) *p = (char)(*p >= 'A' && *p <= 'Z' ? *p + 32 : *p);
    if (label[0]) b->labels[b->n_labels++] = label;
}

static int by_text(const void *a, const void *b)
{
    const char *const *const *x = a, *const *const *y = b;
    const int order = strcmp(**x, **y);
    return order != 0 ? order : (*x > *y) - (*x < *y);
}

/** Leaves the first of equal ones, in their order. */
static natsl_status drop_equal(natsl_babi *b)
{
    size_t left = 0;
    const char ***sorted = natsl_alloc(b->n_labels, sizeof *sorted, "answers");
    if (!sorted) return NATSL_ERR_NOMEM;
    for (size_t i = 0; i < b->n_labels; i++) sorted[i] = &b->labels[i];
    qsort(sorted, b->n_labels, sizeof *sorted, by_text);
    const char *before = NULL;
    for (size_t i = 0; i < b->n_labels; i++) {
        const char *label = *sorted[i];
        if (before && strcmp(before, label) == 0) *sorted[i] = NULL;
        before = label;
    }
    for (size_t i = 0; i < b->n_labels; i++) {
        if (b->labels[i]) b->labels[left++] = b->labels[i];
    }
    b->n_labels = left;
    natsl_free((void *)sorted);
    return NATSL_OK;
}

/** All answers; one of more than 3 bytes with commas is several. */
static natsl_status find_labels(natsl_babi *b)
{
    size_t bytes = 1, parts = 1;
    for (int64_t q = 0; q < b->n_questions; q++) {
        const char *answer = b->lines[b->questions[q]].answer;
        bytes += strlen(answer) + 1;
        for (parts++; *answer; answer++) parts += *answer == ',';
    }
    b->labels = natsl_alloc(parts, sizeof *b->labels, "answers");
    b->label_text = natsl_alloc(bytes, 1, "answers");
    if (!b->labels || !b->label_text) return NATSL_ERR_NOMEM;
    char *at = b->label_text;
    for (int64_t q = 0; q < b->n_questions; q++) {
        const char *answer = b->lines[b->questions[q]].answer;
        const size_t n = strlen(answer);
        memcpy(at, answer, n + 1);
        for (char *p = at; n > 3 && (p = strchr(at, ',')) != NULL; at = p + 1) {
            *p = '\0';
            add_label(b, at);
        }
        add_label(b, at);
        at += strlen(at) + 1;
    }
    return drop_equal(b);
}

natsl_status natsl_babi_open(const char *path, natsl_babi **out)
{
    size_t length = 0, lines = 1;
    *out = NULL;
    natsl_babi *b = natsl_calloc(1, sizeof *b, "stories");
    natsl_status st = b ? natsl_whole_file(path, MOST_BYTES, "a file of bAbI's", &b->text, &length) : NATSL_ERR_NOMEM;
    if (st == NATSL_OK && memchr(b->text, '\0', length)) st = natsl_fail(NATSL_ERR_INPUT, "%s: no text", path);
    for (size_t i = 0; st == NATSL_OK && i < length; i++) lines += b->text[i] == '\n';
    if (st == NATSL_OK) {
        b->lines = natsl_alloc(lines, sizeof *b->lines, "stories");
        b->questions = natsl_alloc(lines, sizeof *b->questions, "stories");
        if (!b->lines || !b->questions) st = NATSL_ERR_NOMEM;
    }
    int64_t number = 1;
    for (char *p = st == NATSL_OK ? b->text : NULL, *end; p && *p && st == NATSL_OK; p = end, number++) {
        end = strchr(p, '\n');
        if (end) *end++ = '\0';
        char *line = strip(p);
        if (line[0]) st = read_line(b, line, path, number);
    }
    if (st == NATSL_OK && b->n_questions == 0)
        st = natsl_fail(NATSL_ERR_INPUT, "%s: no questions (lines with a tab and an answer)", path);
    if (st == NATSL_OK) st = find_labels(b);
    for (int64_t q = 0; st == NATSL_OK && q < b->n_questions; q++) {
        int64_t count;
        const int64_t need = facts_before(b, b->questions[q], &count) +
                             (int64_t)(strlen(b->lines[b->questions[q]].text) + sizeof head + sizeof ask + sizeof tail);
        if (need > b->longest) b->longest = need;
    }
    if (st == NATSL_OK) *out = b;
    else natsl_babi_close(&b);
    return st;
}

void natsl_babi_close(natsl_babi **babi)
{
    natsl_babi *b = *babi;
    if (!b) return;
    natsl_free(b->text);
    natsl_free(b->lines);
    natsl_free(b->questions);
    natsl_free(b->labels);
    natsl_free(b->label_text);
    natsl_free(b);
    *babi = NULL;
}

/* ---- samples --------------------------------------------------------------------------------------------------------- */

natsl_status natsl_babi_check(const natsl_babi *babi, const char *name, int64_t room)
{
    if (room >= babi->longest) return NATSL_OK;
    return natsl_fail(
        NATSL_ERR_USAGE,
        "%s: %lld tokens do not hold its longest story and question, which take %lld beside the tokens to "
        "generate",
        name, (long long)(room > 0 ? room : 0), (long long)babi->longest);
}

static int ascending(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static int ends_sentence(const char *text, int64_t length, int64_t at)
{
    return text[at - 1] == '.' && (at == length || text[at] == ' ' || text[at] == '\n');
}

/** The end of a sentence at or a little before `place`; else that of a word; else the beginning of a character. */
static int64_t sentence_end(const char *text, int64_t length, int64_t place)
{
    int64_t back = place;
    while (back > 0 && place - back < REACH && !ends_sentence(text, length, back)) back--;
    if (back == 0 || ends_sentence(text, length, back)) return back;
    for (back = place; back > 0 && place - back < REACH && back < length; back--) {
        if (text[back] == ' ' || text[back] == '\n') return back;
    }
    while (place > 0 && place < length && ((unsigned char)text[place] & 0xc0) == 0x80) place--;
    return place;
}

/** Places of `count` facts, ascending; number `needed` is at depth. */
static void draw_places(natsl_rng *rng, double depth, int64_t count, int64_t needed, double *places)
{
    for (int64_t i = 0; i < count; i++) {
        const double u = natsl_rng_uniform(rng);
        places[i] = i == needed ? depth : i < needed ? u * depth : depth + u * (1.0 - depth);
    }
    qsort(places, (size_t)count, sizeof *places, ascending);
}

natsl_status natsl_babi_make(const natsl_babi *babi, const natsl_hay *hay, int64_t room, int64_t index, natsl_rng *rng,
                             double depth, natsl_eval_sample *out)
{
    const int64_t at = babi->questions[index % babi->n_questions];
    const natsl_babi_line *question = &babi->lines[at];
    int64_t count = 0, done = 0, k = 0, needed = 0;
    const int64_t fixed =
        facts_before(babi, at, &count) + (int64_t)(strlen(question->text) + sizeof head + sizeof ask + sizeof tail - 3);
    int64_t length = room - fixed;
    double found = -1.0;
    natsl_buffer b = {0};
    if (length < 0) return natsl_fail(NATSL_ERR_USAGE, "a story does not fit in %lld bytes", (long long)room);
    char *text = natsl_hay_slice(hay, rng, &length);
    double *places = natsl_alloc((size_t)count, sizeof *places, "facts");
    natsl_status st = text && places ? NATSL_OK : NATSL_ERR_NOMEM;
    for (int64_t i = question->story; i < question->support; i++) /* facts before the one it needs */
        needed += babi->lines[i].answer == NULL;
    if (st == NATSL_OK) draw_places(rng, depth, count, question->support >= 0 ? needed : count - 1, places);
    natsl_puts(&b, head);
    for (int64_t i = question->story; st == NATSL_OK && i < at; i++) {
        if (babi->lines[i].answer) continue;
        int64_t place = sentence_end(text, length, llround(places[k++] * (double)length));
        if (place < done) place = done; /* the end of a word before it may lie behind that of its sentence */
        natsl_put(&b, text + done, (size_t)(place - done));
        done = place;
        if (i == question->support) found = (double)b.length;
        if (place > 0) natsl_puts(&b, " ");
        natsl_puts(&b, babi->lines[i].text);
        if (place == 0) natsl_puts(&b, " ");
    }
    if (st == NATSL_OK) natsl_put(&b, text + done, (size_t)(length - done));
    natsl_puts(&b, ask);
    natsl_puts(&b, question->text);
    out->input = (int64_t)b.length;
    natsl_puts(&b, tail);
    if (b.failed) st = NATSL_ERR_NOMEM;
    if (st == NATSL_OK) st = natsl_eval_outputs(out, 1);
    if (st == NATSL_OK)
        st = natsl_eval_output_set(&out->outputs[0], question->answer, strlen(question->answer),
                                   found < 0.0 ? -1.0 : found / (double)b.length);
    if (st == NATSL_OK && !(out->question = natsl_alloc(strlen(question->text) + 1, 1, "a question")))
        st = NATSL_ERR_NOMEM;
    if (st == NATSL_OK) memcpy(out->question, question->text, strlen(question->text) + 1);
    out->labels = babi->labels;
    out->n_labels = babi->n_labels;
    out->text = b.text;
    out->length = (int64_t)b.length;
    natsl_free(text);
    natsl_free(places);
    return st;
}
