/* ruler_files.c - the user's files: a text as sentences, questions about documents. See ruler.h. */
#include "ruler.h"

#include "core.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

/* ---- essay ----------------------------------------------------------------------------------------------------------- */

/** A word after which a sentence may end. */
static int ends_sentence(const char *word, size_t length)
{
    static const char *const abbreviations[] = {"Mr.",  "Mrs.", "Ms.",  "Dr.",   "St.", "vs.",
                                                "etc.", "e.g.", "i.e.", "Prof.", "No."};
    if (length == 0) return 0;
    while (length > 1 && strchr("\"')]}", word[length - 1])) length--;
    if (!strchr(".!?", word[length - 1])) return 0;
    for (size_t i = 0; i < sizeof abbreviations / sizeof abbreviations[0]; i++) {
        if (length == strlen(abbreviations[i]) && memcmp(word, abbreviations[i], length) == 0) return 0;
    }
    return !(length == 2 && word[0] >= 'A' && word[0] <= 'Z' && word[1] == '.'); /* an initial */
}

/** One more word, and a blank behind it. */
static void add_word(natsl_essay *e, size_t *at, const char *word, size_t length)
{
    e->begin[e->count++] = *at;
    memcpy(e->text + *at, word, length);
    *at += length;
    e->text[(*at)++] = ' ';
}

/** The text's words, with room for two more of them than it has. */
static void split_essay(natsl_essay *e, const char *text, size_t length)
{
    size_t begin = 0, end = 0, at = 0;
    int inside = 0;
    if (natsl_blank_bytes(text, length)) add_word(e, &at, "", 0);
    for (size_t i = 0; i <= length;) {
        const size_t blank = i < length ? natsl_blank_bytes(text + i, length - i) : 1;
        if (!blank && !inside) begin = i, inside = 1;
        if (blank && inside) {
            add_word(e, &at, text + begin, i - begin);
            inside = 0;
            end = i;
        }
        i += blank ? blank : 1;
    }
    if (end < length) add_word(e, &at, "", 0);
    e->begin[e->count] = at;
}

natsl_status natsl_essay_create(const char *text, size_t length, const char *name, natsl_essay **out)
{
    natsl_status st = NATSL_OK;
    natsl_essay *e = natsl_calloc(1, sizeof *e, "haystack");
    *out = NULL;
    if (!e) return NATSL_ERR_NOMEM;
    const size_t words = (size_t)natsl_count_words(text, length) + 2;
    e->text = natsl_alloc(length + 1, 1, "haystack");
    e->begin = natsl_alloc(words + 1, sizeof *e->begin, "haystack");
    e->ends = natsl_calloc(words, 1, "haystack");
    if (!e->text || !e->begin || !e->ends) st = NATSL_ERR_NOMEM;
    else if (words == 2) st = natsl_fail(NATSL_ERR_INPUT, "%s: no words", name);
    if (st == NATSL_OK) {
        split_essay(e, text, length);
        for (size_t w = 0; w < e->count; w++) { /* behind the last word the first one comes again */
            size_t next = w;
            do next = (next + 1) % e->count;
            while (natsl_essay_word(e, next) == 0);
            const char c = e->text[e->begin[next]];
            e->ends[w] = (unsigned char)(ends_sentence(e->text + e->begin[w], natsl_essay_word(e, w)) &&
                                         !(c >= 'a' && c <= 'z'));
        }
    }
    if (st != NATSL_OK) natsl_essay_destroy(&e);
    *out = e;
    return st;
}

void natsl_essay_destroy(natsl_essay **essay)
{
    natsl_essay *e = *essay;
    if (!e) return;
    natsl_free(e->text);
    natsl_free(e->begin);
    natsl_free(e->ends);
    natsl_free(e);
    *essay = NULL;
}

/* ---- questions ------------------------------------------------------------------------------------------------------- */

static char *copy(const char *text)
{
    const size_t n = strlen(text) + 1;
    char *out = natsl_alloc(n, 1, "questions");
    if (out) memcpy(out, text, n);
    return out;
}

static int compare(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

/** Number of a document in the sorted list. It is there. */
static size_t number_of(const natsl_questions *q, const char *document)
{
    char *const *found = bsearch(&document, q->documents, q->n_documents, sizeof *q->documents, compare);
    return found ? (size_t)(found - q->documents) : 0;
}

static const char *text_of(const json_t *object, const char *name)
{
    return json_string_value(json_object_get(object, name));
}

static natsl_status damaged(const char *path, const char *what, size_t number)
{
    return natsl_fail(NATSL_ERR_INPUT, "%s: %s %zu has a part that is missing or of the wrong type", path, what,
                      number);
}

/** Sorts the documents, once each. */
static void settle(natsl_questions *q)
{
    size_t n = 0;
    qsort(q->documents, q->n_documents, sizeof *q->documents, compare);
    for (size_t i = 0; i < q->n_documents; i++) {
        if (n > 0 && strcmp(q->documents[n - 1], q->documents[i]) == 0) natsl_free(q->documents[i]);
        else q->documents[n++] = q->documents[i];
    }
    q->n_documents = n;
}

/** Room for `n` more, `room` known. */
static natsl_status reserve(natsl_questions *q, size_t documents, size_t questions)
{
    q->documents = natsl_calloc(documents, sizeof *q->documents, "documents");
    q->questions = natsl_calloc(questions, sizeof *q->questions, "questions");
    return q->documents && q->questions ? NATSL_OK : NATSL_ERR_NOMEM;
}

static natsl_status set_question(natsl_question *to, const char *query, size_t answers, size_t gold, size_t more)
{
    to->query = copy(query);
    to->answers = natsl_calloc(answers, sizeof *to->answers, "questions");
    to->gold = natsl_calloc(gold, sizeof *to->gold, "questions");
    to->more = natsl_calloc(more, sizeof *to->more, "questions");
    return to->query && to->answers && to->gold && to->more ? NATSL_OK : NATSL_ERR_NOMEM;
}

/** One paragraph's questions that have answers. */
static natsl_status squad_paragraph(natsl_questions *q, const char *path, size_t article, const json_t *paragraphs,
                                    const json_t *paragraph)
{
    size_t i, k;
    const json_t *one, *other, *answer;
    const size_t gold = number_of(q, text_of(paragraph, "context"));
    json_array_foreach(json_object_get(paragraph, "qas"), i, one)
    {
        const json_t *impossible = json_object_get(one, "is_impossible"), *answers = json_object_get(one, "answers");
        if (json_is_true(impossible)) continue;
        if (!text_of(one, "question") || !json_is_array(answers) || json_array_size(answers) == 0)
            return damaged(path, "a question of article", article);
        natsl_question *to = &q->questions[q->n_questions++];
        natsl_status st =
            set_question(to, text_of(one, "question"), json_array_size(answers), 1, json_array_size(paragraphs));
        json_array_foreach(answers, k, answer)
        {
            if (st == NATSL_OK && !text_of(answer, "text")) return damaged(path, "an answer of article", article);
            if (st == NATSL_OK && !(to->answers[to->n_answers++] = copy(text_of(answer, "text")))) st = NATSL_ERR_NOMEM;
        }
        if (st != NATSL_OK) return st;
        to->gold[to->n_gold++] = gold;
        json_array_foreach(paragraphs, k, other)
        {
            const size_t number = number_of(q, text_of(other, "context"));
            if (number != gold) to->more[to->n_more++] = number;
        }
    }
    return NATSL_OK;
}

static natsl_status read_squad(natsl_questions *q, const char *path, const json_t *root)
{
    size_t a, p, documents = 0, questions = 0;
    const json_t *article, *paragraph, *data = json_object_get(root, "data");
    if (!json_is_array(data))
        return natsl_fail(NATSL_ERR_INPUT, "%s: no \"data\", expected SQuAD's dev-v2.0.json", path);
    json_array_foreach(data, a, article)
    {
        json_array_foreach(json_object_get(article, "paragraphs"), p, paragraph)
        {
            if (!text_of(paragraph, "context")) return damaged(path, "a paragraph of article", a);
            documents++;
            questions += json_array_size(json_object_get(paragraph, "qas"));
        }
    }
    natsl_status st = reserve(q, documents, questions);
    json_array_foreach(data, a, article)
    {
        json_array_foreach(json_object_get(article, "paragraphs"), p, paragraph)
        {
            if (st == NATSL_OK && !(q->documents[q->n_documents++] = copy(text_of(paragraph, "context"))))
                st = NATSL_ERR_NOMEM;
        }
    }
    if (st != NATSL_OK) return st;
    settle(q);
    json_array_foreach(data, a, article)
    {
        const json_t *paragraphs = json_object_get(article, "paragraphs");
        json_array_foreach(paragraphs, p, paragraph)
        {
            if (st == NATSL_OK) st = squad_paragraph(q, path, a, paragraphs, paragraph);
        }
    }
    return st;
}

/** "title\nsentences" of one document of a HotpotQA question; NULL: damaged, or no memory (*short_of). */
static char *hotpot_document(const json_t *pair, int *short_of)
{
    const char *title = json_string_value(json_array_get(pair, 0));
    const json_t *sentences = json_array_get(pair, 1), *one;
    size_t i, length = 0;
    if (!title || !json_is_array(sentences)) return NULL;
    length = strlen(title) + 2;
    json_array_foreach(sentences, i, one)
    {
        if (!json_is_string(one)) return NULL;
        length += json_string_length(one);
    }
    char *text = natsl_alloc(length, 1, "documents");
    if (!(*short_of = !text)) {
        size_t at = strlen(title);
        memcpy(text, title, at);
        text[at++] = '\n';
        json_array_foreach(sentences, i, one)
        {
            memcpy(text + at, json_string_value(one), json_string_length(one));
            at += json_string_length(one);
        }
        text[at] = '\0';
    }
    return text;
}

static natsl_status read_hotpot(natsl_questions *q, const char *path, const json_t *root)
{
    size_t i, k, documents = 0;
    const json_t *one, *pair;
    int short_of = 0;
    if (!json_is_array(root))
        return natsl_fail(NATSL_ERR_INPUT, "%s: no array, expected HotpotQA's hotpot_dev_distractor_v1.json", path);
    json_array_foreach(root, i, one) documents += json_array_size(json_object_get(one, "context"));
    natsl_status st = reserve(q, documents, json_array_size(root));
    json_array_foreach(root, i, one)
    {
        json_array_foreach(json_object_get(one, "context"), k, pair)
        {
            if (st != NATSL_OK) return st;
            q->documents[q->n_documents] = hotpot_document(pair, &short_of);
            if (!q->documents[q->n_documents])
                st = short_of ? NATSL_ERR_NOMEM : damaged(path, "a document of question", i);
            else q->n_documents++;
        }
    }
    if (st != NATSL_OK) return st;
    settle(q);
    json_array_foreach(root, i, one)
    {
        const json_t *context = json_object_get(one, "context");
        if (!text_of(one, "question") || !text_of(one, "answer") || json_array_size(context) == 0)
            return damaged(path, "question", i);
        natsl_question *to = &q->questions[q->n_questions++];
        st = set_question(to, text_of(one, "question"), 1, json_array_size(context), 0);
        if (st == NATSL_OK && !(to->answers[to->n_answers++] = copy(text_of(one, "answer")))) st = NATSL_ERR_NOMEM;
        json_array_foreach(context, k, pair)
        {
            char *text = st == NATSL_OK ? hotpot_document(pair, &short_of) : NULL;
            if (!text) return NATSL_ERR_NOMEM;
            to->gold[to->n_gold++] = number_of(q, text);
            natsl_free(text);
        }
    }
    return st;
}

natsl_status natsl_questions_open(const char *path, int hotpot, natsl_questions **out)
{
    json_error_t error;
    *out = NULL;
    json_t *root = json_load_file(path, 0, &error);
    if (!root) return natsl_fail(NATSL_ERR_INPUT, "%s, line %d: %s", path, error.line, error.text);
    natsl_questions *q = natsl_calloc(1, sizeof *q, "questions");
    natsl_status st = q ? (hotpot ? read_hotpot : read_squad)(q, path, root) : NATSL_ERR_NOMEM;
    if (st == NATSL_OK && q->n_questions == 0)
        st = natsl_fail(NATSL_ERR_INPUT, "%s: no question that has an answer", path);
    json_decref(root);
    if (st != NATSL_OK) natsl_questions_close(&q);
    *out = q;
    return st;
}

void natsl_questions_close(natsl_questions **questions)
{
    natsl_questions *q = *questions;
    if (!q) return;
    for (size_t i = 0; i < q->n_documents; i++) natsl_free(q->documents[i]);
    for (size_t i = 0; i < q->n_questions; i++) {
        natsl_question *one = &q->questions[i];
        for (size_t k = 0; k < one->n_answers; k++) natsl_free(one->answers[k]);
        natsl_free(one->query);
        natsl_free(one->answers);
        natsl_free(one->gold);
        natsl_free(one->more);
    }
    natsl_free(q->documents);
    natsl_free(q->questions);
    natsl_free(q);
    *questions = NULL;
}
