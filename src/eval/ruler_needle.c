/* ruler_needle.c - needles in a haystack, chains of assignments. See ruler.h. */
#include "ruler_impl.h"

#include <stdlib.h>
#include <string.h>

static const char unit[] = "The grass is green. The sky is blue. The sun is yellow. Here we go. There and back again.";
static const char upper[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";

static void draw(natsl_ruler *r, natsl_word_kind kind, char to[NATSL_KEY_BYTES])
{
    if (kind == NATSL_NUMBERS)
        (void)snprintf(to, NATSL_KEY_BYTES, "%lld", (long long)natsl_py_randint(&r->p, 1000000, 9999999));
    else if (kind == NATSL_UUIDS) natsl_py_uuid(&r->p, to);
    else natsl_word_lists_key(r->sources->lists, natsl_py_below(&r->p, r->sources->lists->n_keys), to);
}

/* ---- needles --------------------------------------------------------------------------------------------------------- */

typedef struct needle {
    char key[NATSL_KEY_BYTES], value[NATSL_KEY_BYTES];
    size_t at; /* byte of the text where its sentence begins */
} needle;

static const char *type_of(natsl_word_kind kind)
{
    return kind == NATSL_UUIDS ? "uuid" : kind == NATSL_WORDS ? "word" : "number";
}

static void put_needle(natsl_buffer *b, const natsl_ruler *r, needle *n)
{
    n->at = b->length;
    natsl_puts(b, "One of the special magic ");
    natsl_puts(b, type_of(r->task->value_kind));
    natsl_puts(b, "s for ");
    natsl_puts(b, n->key);
    natsl_puts(b, " is: ");
    natsl_puts(b, n->value);
    natsl_puts(b, ".");
}

static int descending(const void *a, const void *b)
{
    const size_t x = *(const size_t *)a, y = *(const size_t *)b;
    return x > y ? -1 : x < y;
}

/** n lines of noise or of other needles, and needles[order[i]] before line places[i] (counted from the end). */
static natsl_status put_lines(natsl_ruler *r, int64_t n, needle *needles, const size_t *order, size_t count,
                              natsl_buffer *b)
{
    needle *others = natsl_alloc(r->task->bare ? (size_t)n : 0, sizeof *others, "needles");
    size_t *places = natsl_alloc(count, sizeof *places, "places of needles");
    natsl_status st = others && places ? NATSL_OK : NATSL_ERR_NOMEM;
    for (int64_t i = 0; st == NATSL_OK && r->task->bare && i < n; i++) {
        draw(r, r->task->key_kind, others[i].key);
        draw(r, r->task->value_kind, others[i].value);
    }
    if (st == NATSL_OK) st = natsl_py_sample(&r->p, (size_t)n, count, places);
    if (st == NATSL_OK) qsort(places, count, sizeof *places, descending);
    size_t left = count, lines = 0;
    for (size_t line = 0; st == NATSL_OK && line < (size_t)n; line++) {
        for (; left > 0 && places[left - 1] == line; left--) {
            if (lines++) natsl_put(b, "\n", 1);
            put_needle(b, r, &needles[order[left - 1]]);
        }
        if (lines++) natsl_put(b, "\n", 1);
        if (r->task->bare) put_needle(b, r, &others[line]);
        else natsl_put(b, unit, sizeof unit - 1);
    }
    natsl_free(others);
    natsl_free(places);
    return st;
}

/** The first n words of the essay, and needles between sentences. */
static natsl_status put_essay(natsl_ruler *r, int64_t n, needle *needles, const size_t *order, size_t count,
                              natsl_buffer *b)
{
    static const int depths[40] = {0,  3,  5,  8,  10, 13, 15, 18, 21, 23, 26, 28, 31, 33, 36, 38, 41, 44, 46, 49,
                                   51, 54, 56, 59, 62, 64, 67, 69, 72, 74, 77, 79, 82, 85, 87, 90, 92, 95, 97, 100};
    const natsl_essay *e = r->sources->essay;
    size_t places[40], sentences = 0, sentence = 0, next = count, gaps = 0;
    int begins = 1; /* a sentence */
    natsl_status st = natsl_py_sample(&r->p, 40, count, places);
    if (st != NATSL_OK) return st;
    for (int64_t i = 0; i < n; i++) {
        const size_t w = (size_t)i % e->count;
        if (natsl_essay_word(e, w) == 0) continue; /* an empty word */
        begins = e->ends[w];
        sentences += e->ends[w];
    }
    sentences += !begins;
    for (size_t i = 0; i < count; i++) places[i] = (size_t)((double)sentences * ((double)depths[places[i]] / 100.0));
    qsort(places, count, sizeof *places, descending);
    /* Segments and needles by turns, joined by blanks: an empty segment has its blanks, too. An empty word is one more blank, but between
     * sentences, and at the end. */
    begins = 1;
    for (int64_t i = 0, in_segment = 0;; i++) {
        const size_t w = (size_t)i % e->count, bytes = natsl_essay_word(e, w);
        if (i < n && bytes == 0) {
            gaps += !begins;
            continue;
        }
        if (i == n) begins = 1, sentence = sentences;
        for (; begins && next > 0 && places[next - 1] == sentence; in_segment = 0) {
            natsl_put(b, " ", 1);
            put_needle(b, r, &needles[order[count - next--]]);
            natsl_put(b, " ", 1);
        }
        if (i == n) return NATSL_OK;
        if (in_segment++) natsl_put(b, " ", 1);
        for (; gaps > 0; gaps--) natsl_put(b, " ", 1);
        natsl_put(b, e->text + e->begin[w], bytes);
        begins = e->ends[w];
        sentence += e->ends[w];
    }
}

static void put_query(natsl_buffer *b, const natsl_ruler *r, const needle *needles, const size_t *asked)
{
    const int n = r->task->questions;
    for (int i = 0; i < n; i++) {
        if (i > 0) natsl_puts(b, i + 1 < n ? ", " : ", and ");
        natsl_puts(b, needles[asked[i] * (size_t)r->task->values].key);
    }
}

natsl_status natsl_ruler_niah(natsl_ruler *r, int64_t n, natsl_eval_sample *out)
{
    const natsl_eval_task *t = r->task;
    const size_t keys = (size_t)t->keys, values = (size_t)t->values, count = keys * values;
    const int several = t->values * t->questions > 1;
    const char *type = type_of(t->value_kind), *s = several ? "s" : "";
    natsl_buffer b = {0};
    size_t asked[64];
    needle *needles = natsl_calloc(count, sizeof *needles, "needles");
    size_t *order = natsl_ruler_order(r, count);
    natsl_status st = needles && order ? NATSL_OK : NATSL_ERR_NOMEM;
    for (size_t k = 0; st == NATSL_OK && k < keys; k++) {
        draw(r, t->key_kind, needles[k * values].key);
        for (size_t v = 0; v < values; v++) {
            memcpy(needles[k * values + v].key, needles[k * values].key, NATSL_KEY_BYTES);
            draw(r, t->value_kind, needles[k * values + v].value);
        }
    }
    natsl_puts(&b, several ? "Some special magic " : "A special magic ");
    natsl_puts(&b, type);
    natsl_puts(&b, s);
    natsl_puts(&b, several ? " are" : " is");
    natsl_puts(&b, " hidden within the following text. Make sure to memorize it. I will quiz you about the ");
    natsl_puts(&b, type);
    natsl_puts(&b, s);
    natsl_puts(&b, " afterwards.\n");
    const size_t context = b.length;
    if (st == NATSL_OK) st = (t->text ? put_essay : put_lines)(r, n, needles, order, count, &b);
    const size_t context_end = b.length;
    if (st == NATSL_OK) st = natsl_py_sample(&r->p, keys, (size_t)t->questions, asked);
    if (st == NATSL_OK) {
        natsl_puts(&b, several ? "\nWhat are all the special magic " : "\nWhat is the special magic ");
        natsl_puts(&b, type);
        natsl_puts(&b, s);
        natsl_puts(&b, " for ");
        put_query(&b, r, needles, asked);
        natsl_puts(&b, " mentioned in the provided text?");
        out->input = (int64_t)b.length;
        natsl_puts(&b, " The special magic ");
        natsl_puts(&b, type);
        natsl_puts(&b, s);
        natsl_puts(&b, " for ");
        put_query(&b, r, needles, asked);
        natsl_puts(&b, several ? " mentioned in the provided text are" : " mentioned in the provided text is");
        st = natsl_eval_outputs(out, (size_t)t->questions * values);
    }
    for (size_t i = 0; st == NATSL_OK && i < out->n_outputs; i++) {
        const needle *one = &needles[asked[i / values] * values + i % values];
        st = natsl_eval_output_set(&out->outputs[i], one->value, strlen(one->value),
                                   (double)(one->at - context) / (double)(context_end - context));
    }
    if (st == NATSL_OK) st = natsl_ruler_take(&b, out);
    natsl_buffer_free(&b);
    natsl_free(needles);
    natsl_free(order);
    return st;
}

/* ---- variable tracking ----------------------------------------------------------------------------------------------- */

static int known(char (*names)[8], size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++) {
        if (strcmp(names[i], name) == 0) return 1;
    }
    return 0;
}

/** letters: of a variable's name. value NULL: drawn. */
natsl_status natsl_ruler_track(natsl_ruler *r, int64_t n, size_t name_letters, const char *value,
                               natsl_eval_sample *out)
{
    char names[NATSL_RULER_HOPS + 1][8], drawn[16];
    size_t places[NATSL_RULER_HOPS + 1], at[NATSL_RULER_HOPS + 1], distinct = 0;
    natsl_buffer b = {0};
    for (size_t i = 0; i <= NATSL_RULER_HOPS; i++) {
        natsl_py_choices(&r->p, upper, name_letters, names[i]);
        distinct += !known(names, i, names[i]);
    }
    for (char more[8];
         distinct <= NATSL_RULER_HOPS;) { /* upstream appends names until five are distinct, and takes the first five */
        natsl_py_choices(&r->p, upper, name_letters, more);
        distinct += !known(names, NATSL_RULER_HOPS + 1, more);
    }
    if (!value) {
        (void)snprintf(drawn, sizeof drawn, "%lld", (long long)natsl_np_randint(&r->q, 10000, 99999));
        value = drawn;
    }
    natsl_status st = natsl_py_sample(&r->p, (size_t)n, NATSL_RULER_HOPS + 1, places);
    if (st != NATSL_OK) return st;
    qsort(places, NATSL_RULER_HOPS + 1, sizeof *places, descending);
    natsl_puts(&b, "Memorize and track the chain(s) of variable assignment hidden in the following text.\n\n");
    const size_t context = b.length;
    size_t hop = 0;
    for (size_t line = 0; line < (size_t)n + NATSL_RULER_HOPS + 1; line++) {
        if (line) natsl_put(&b, "\n", 1);
        if (hop <= NATSL_RULER_HOPS && places[NATSL_RULER_HOPS - hop] + hop == line) {
            at[hop] = b.length;
            natsl_puts(&b, "VAR ");
            natsl_puts(&b, names[hop]);
            natsl_puts(&b, hop ? " = VAR " : " = ");
            natsl_puts(&b, hop ? names[hop - 1] : value);
            if (hop) natsl_put(&b, " ", 1);
            hop++;
        } else natsl_put(&b, unit, sizeof unit - 1);
    }
    const double size = (double)(b.length - context);
    natsl_puts(&b, "\nQuestion: Find all variables that are assigned the value ");
    natsl_puts(&b, value);
    natsl_puts(&b, " in the text above.");
    out->input = (int64_t)b.length;
    natsl_puts(&b,
               " Answer: According to the chain(s) of variable assignment in the text above, 5 variables are assigned "
               "the value ");
    natsl_puts(&b, value);
    natsl_puts(&b, ", they are: ");
    st = natsl_eval_outputs(out, NATSL_RULER_HOPS + 1);
    for (size_t i = 0; st == NATSL_OK && i <= NATSL_RULER_HOPS; i++)
        st = natsl_eval_output_set(&out->outputs[i], names[i], strlen(names[i]), (double)(at[i] - context) / size);
    if (st == NATSL_OK) st = natsl_ruler_take(&b, out);
    natsl_buffer_free(&b);
    return st;
}
