/* recall.c - pass keys, numbers, values of JSON objects, the user's own samples. See recall.h. */
#include "recall.h"

#include "babi.h"
#include "core.h"
#include "eval_store.h"
#include "mqar.h"
#include "text_buffer.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char unit[] = "The grass is green. The sky is blue. The sun is yellow. Here we go. There and back again. ";

/* ---- a pass key ------------------------------------------------------------------------------------------------------ */

/** Everything but the haystack. */
typedef struct frame {
    natsl_buffer head, needle, tail;
    size_t input; /* bytes of the tail before the answer's beginning */
} frame;

static void free_frame(frame *f)
{
    natsl_buffer_free(&f->head);
    natsl_buffer_free(&f->needle);
    natsl_buffer_free(&f->tail);
}

static void passkey_frame(const natsl_eval_task *task, const char *key, frame *f)
{
    const int number = strcmp(task->name, "number") == 0;
    const char *what = number ? "sequence of digits" : "pass key";
    natsl_puts(&f->head, "There is an important info hidden inside a lot of irrelevant text. Find it");
    if (!number) natsl_puts(&f->head, " and memorize them");
    natsl_puts(&f->head, ". I will quiz you about the important information there.\n\n");
    natsl_puts(&f->needle, "The ");
    natsl_puts(&f->needle, what);
    natsl_puts(&f->needle, " is ");
    natsl_puts(&f->needle, key);
    natsl_puts(&f->needle, ". Remember it. ");
    natsl_puts(&f->needle, key);
    natsl_puts(&f->needle, " is the ");
    natsl_puts(&f->needle, what);
    natsl_puts(&f->needle, ". ");
    natsl_puts(&f->tail, "\n\nWhat is the ");
    natsl_puts(&f->tail, what);
    natsl_puts(&f->tail, "?");
    f->input = f->tail.length;
    natsl_puts(&f->tail, "\n\nThe ");
    natsl_puts(&f->tail, what);
    natsl_puts(&f->tail, " is");
}

static natsl_status passkey(const natsl_eval_task *task, int64_t room, natsl_rng *rng, double depth,
                            natsl_eval_sample *out)
{
    char key[32];
    frame f = {0};
    natsl_buffer b = {0};
    for (int i = 0; i < task->digits; i++) key[i] = (char)('0' + natsl_rng_below(rng, 10));
    if (key[0] == '0') key[0] = '1';
    key[task->digits] = '\0';
    passkey_frame(task, key, &f);
    const int64_t fixed = (int64_t)(f.head.length + f.needle.length + f.tail.length);
    if (room < fixed) {
        free_frame(&f);
        return natsl_fail(NATSL_ERR_USAGE, "%s: does not fit in %lld bytes", task->name, (long long)room);
    }
    const int64_t units = (room - fixed) / (int64_t)(sizeof unit - 1), place = llround(depth * (double)units);
    natsl_put(&b, f.head.text, f.head.length);
    size_t at = b.length;
    for (int64_t i = 0; i <= units; i++) {
        if (i == place) {
            at = b.length;
            natsl_put(&b, f.needle.text, f.needle.length);
        }
        if (i < units) natsl_put(&b, unit, sizeof unit - 1);
    }
    const double found = (double)(at - f.head.length) / (double)(b.length - f.head.length);
    out->input = (int64_t)(b.length + f.input);
    natsl_put(&b, f.tail.text, f.tail.length);
    natsl_status st =
        b.failed || f.head.failed || f.needle.failed || f.tail.failed ? NATSL_ERR_NOMEM : natsl_eval_outputs(out, 1);
    if (st == NATSL_OK) st = natsl_eval_output_set(&out->outputs[0], key, strlen(key), found);
    out->text = b.text;
    out->length = (int64_t)b.length;
    free_frame(&f);
    return st;
}

/* ---- a JSON object --------------------------------------------------------------------------------------------------- */

#define PAIR_BYTES (2 * 36 + 8) /* "key": "value", */

static const char kv_head[] =
    "Extract the value corresponding to the specified key in the JSON object below.\n\nJSON data:\n{",
                  kv_key[] = "}\n\nKey: \"", kv_tail[] = "\nThe value associated with the specified key is:";

static natsl_status kv(int64_t room, natsl_rng *rng, double depth, int shared, natsl_eval_sample *out)
{
    natsl_buffer b = {0};
    char key[NATSL_WORD_BYTES], value[NATSL_WORD_BYTES], asked[NATSL_WORD_BYTES] = "", answer[NATSL_WORD_BYTES] = "";
    const int64_t fixed = (int64_t)(sizeof kv_head + sizeof kv_key + sizeof kv_tail) - 3 + 36 + 1 - 2;
    const int64_t pairs = (room - fixed) / PAIR_BYTES, place = llround(depth * (double)(pairs - 1));
    double found = 0.0;
    if (pairs < 1) return natsl_fail(NATSL_ERR_USAGE, "kv: does not fit in %lld bytes", (long long)room);
    natsl_puts(&b, kv_head);
    for (int64_t i = 0; i < pairs; i++) {
        natsl_word_draw(NATSL_UUIDS, rng, key);
        natsl_word_draw(NATSL_UUIDS, rng, value);
        if (i == place) {
            memcpy(asked, key, sizeof asked);
            memcpy(answer, value, sizeof answer);
            found = (double)i / (double)pairs;
        }
        natsl_puts(&b, i ? ", \"" : "\"");
        natsl_puts(&b, key);
        natsl_puts(&b, "\": \"");
        natsl_puts(&b, value);
        natsl_puts(&b, "\"");
    }
    natsl_puts(&b, kv_key);
    if (shared) out->shared = (int64_t)b.length;
    natsl_puts(&b, asked);
    natsl_puts(&b, "\"");
    out->input = (int64_t)b.length;
    natsl_puts(&b, kv_tail);
    natsl_status st = b.failed ? NATSL_ERR_NOMEM : natsl_eval_outputs(out, 1);
    if (st == NATSL_OK) st = natsl_eval_output_set(&out->outputs[0], answer, strlen(answer), found);
    out->text = b.text;
    out->length = (int64_t)b.length;
    return st;
}

/* ---- the classic needle ---------------------------------------------------------------------------------------------- */

static const char classic_needle[] =
    "\nThe best thing to do in San Francisco is eat a sandwich and sit in Dolores Park on a sunny day.\n",
                  classic_question[] = "\n\nWhat is the best thing to do in San Francisco?",
                  classic_prefix[] = " The best thing to do in San Francisco is";

/** How far the slice's beginning and the needle are moved to get to the end of a sentence. */
#define REACH 4096

static int inside_character(char c) { return ((unsigned char)c & 0xc0) == 0x80; }

char *natsl_hay_slice(const natsl_hay *hay, natsl_rng *rng, int64_t *length)
{
    const int64_t want = *length + REACH;
    char *text = natsl_alloc((size_t)want, 1, "haystack");
    if (!text) return NULL;
    int64_t from = (int64_t)natsl_rng_below(rng, (uint64_t)hay->length), skip = 0;
    for (int64_t at = 0; at < want; from = 0) {
        const int64_t n = want - at < hay->length - from ? want - at : hay->length - from;
        hay->read(hay->user, from, n, text + at);
        at += n;
    }
    while (skip < REACH - 2 && !(text[skip] == '.' && (text[skip + 1] == ' ' || text[skip + 1] == '\n'))) skip++;
    skip = skip < REACH - 2 ? skip + 2 : 0;
    while (skip < REACH && inside_character(text[skip])) skip++;
    memmove(text, text + skip, (size_t)*length);
    int64_t end = *length; /* a character that the end would cut goes */
    while (end > 0 && *length - end < 3 && inside_character(text[end - 1])) end--;
    if (end > 0 && (unsigned char)text[end - 1] >= 0xc0) {
        const unsigned char c = (unsigned char)text[end - 1];
        if (end - 1 + (c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : 2) > *length) *length = end - 1;
    }
    return text;
}

static natsl_status classic(const natsl_hay *hay, int64_t room, natsl_rng *rng, double depth, natsl_eval_sample *out)
{
    /* words of the needle that say something: without a judge the test scores how many of them come again */
    static const char *const words[] = {"eat", "sandwich", "sit", "Dolores", "Park", "sunny", "day"};
    int64_t length = room - (int64_t)(sizeof classic_needle + sizeof classic_question + sizeof classic_prefix - 3);
    natsl_buffer b = {0};
    if (length < 1) return natsl_fail(NATSL_ERR_USAGE, "niah: does not fit in %lld bytes", (long long)room);
    char *text = natsl_hay_slice(hay, rng, &length);
    if (!text) return NATSL_ERR_NOMEM;
    int64_t place = llround(depth * (double)length), back = place;
    while (back > 0 && place - back < REACH && text[back - 1] != '.') back--;
    if (place < length && (back == 0 || text[back - 1] == '.')) place = back; /* else no sentence ends in reach */
    while (place > 0 && place < length && inside_character(text[place])) place--;
    natsl_put(&b, text, (size_t)place);
    natsl_puts(&b, classic_needle);
    natsl_put(&b, text + place, (size_t)(length - place));
    const double found = (double)place / (double)b.length;
    natsl_puts(&b, classic_question);
    out->input = (int64_t)b.length;
    natsl_puts(&b, classic_prefix);
    natsl_free(text);
    natsl_status st = b.failed ? NATSL_ERR_NOMEM : natsl_eval_outputs(out, sizeof words / sizeof words[0]);
    for (size_t i = 0; st == NATSL_OK && i < out->n_outputs; i++)
        st = natsl_eval_output_set(&out->outputs[i], words[i], strlen(words[i]), found);
    out->text = b.text;
    out->length = (int64_t)b.length;
    return st;
}

/* ---- files of samples ------------------------------------------------------------------------------------------------ */

/** Text of the first of some keys; NULL: none is there. *bad: one is there and is no text. */
static const json_t *first_text(const json_t *object, const char *const *keys, int *bad)
{
    for (; *keys; keys++) {
        const json_t *value = json_object_get(object, *keys);
        if (!value || json_is_null(value)) continue;
        *bad |= !json_is_string(value);
        return json_is_string(value) ? value : NULL;
    }
    return NULL;
}

static void put_json(natsl_buffer *b, const json_t *text)
{
    natsl_put(b, json_string_value(text), json_string_length(text));
}

/** Outputs of a line. */
static natsl_status read_outputs(const json_t *object, const char *where, natsl_eval_sample *out)
{
    const json_t *outputs = json_object_get(object, "outputs"), *depth = json_object_get(object, "depth"), *one;
    size_t i;
    if (!outputs) outputs = json_object_get(object, "answer");
    const size_t n = json_is_array(outputs) ? json_array_size(outputs) : json_is_string(outputs) ? 1 : 0;
    if (n == 0)
        return natsl_fail(NATSL_ERR_INPUT, "%s: no \"outputs\" or \"answer\" with a text or a list of texts", where);
    natsl_status st = natsl_eval_outputs(out, n);
    for (i = 0; i < n && st == NATSL_OK; i++) {
        one = json_is_array(outputs) ? json_array_get(outputs, i) : outputs;
        const json_t *d = json_array_get(depth, i);
        if (!json_is_string(one) || json_string_length(one) == 0)
            return natsl_fail(NATSL_ERR_INPUT, "%s: expected output %zu is no text, or empty", where, i);
        st = natsl_eval_output_set(&out->outputs[i], json_string_value(one), json_string_length(one),
                                   json_is_number(d) ? json_number_value(d) : -1.0);
    }
    return st;
}

/** One line as a sample; the caller frees what is there also after an error. */
static natsl_status read_sample(const char *line, size_t length, const char *where, natsl_eval_sample *out)
{
    static const char *const questions[] = {"input", "question", "query", NULL},
                             *const prefixes[] = {"answer_prefix", NULL}, *const contexts[] = {"context", NULL};
    json_error_t error;
    natsl_buffer b = {0};
    int bad = 0;
    json_t *object = json_loadb(line, length, JSON_REJECT_DUPLICATES, &error);
    if (!object) return natsl_fail(NATSL_ERR_INPUT, "%s, column %d: %s", where, error.column, error.text);
    const json_t *question = first_text(object, questions, &bad), *context = first_text(object, contexts, &bad),
                 *prefix = first_text(object, prefixes, &bad);
    natsl_status st = NATSL_OK;
    if (!json_is_object(object)) st = natsl_fail(NATSL_ERR_INPUT, "%s: no JSON object", where);
    else if (bad)
        st = natsl_fail(NATSL_ERR_INPUT,
                        "%s: \"input\", \"question\", \"query\", \"context\" and \"answer_prefix\" are texts", where);
    else if (!question) st = natsl_fail(NATSL_ERR_INPUT, "%s: no \"input\", \"question\" or \"query\"", where);
    if (st == NATSL_OK) {
        if (context) {
            put_json(&b, context);
            natsl_puts(&b, "\n\n");
            out->shared = (int64_t)b.length;
        }
        put_json(&b, question);
        out->input = (int64_t)b.length;
        if (prefix) put_json(&b, prefix);
        else if (context) natsl_puts(&b, "\n");
        if (b.failed) st = NATSL_ERR_NOMEM;
        else if (b.length == 0) st = natsl_fail(NATSL_ERR_INPUT, "%s: the prompt is empty", where);
        out->text = b.text;
        out->length = (int64_t)b.length;
    }
    if (st == NATSL_OK) st = read_outputs(object, where, out);
    json_decref(object);
    return st;
}

void natsl_task_name(const char *path, char *name, size_t size)
{
    const char *parts[4] = {path, path, path, path}; /* the last ones: length, "data", task, file */
    for (const char *p = path; *p; p++) {
        if (*p != '/' || !p[1]) continue;
        memmove(parts, parts + 1, 3 * sizeof *parts);
        parts[3] = p + 1;
    }
    const char *dot = strrchr(parts[3], '.');
    const int known = dot && dot > parts[3] && (strcmp(dot, ".jsonl") == 0 || strcmp(dot, ".txt") == 0);
    const size_t stem = known ? (size_t)(dot - parts[3]) : strlen(parts[3]);
    if (stem == 10 && strncmp(parts[3], "validation", 10) == 0 && strncmp(parts[1], "data/", 5) == 0)
        (void)snprintf(name, size, "%.*s_%.*s", (int)strcspn(parts[2], "/"), parts[2], (int)strcspn(parts[0], "/"),
                       parts[0]);
    else (void)snprintf(name, size, "%.*s", (int)stem, parts[3]);
}

/** Room for more samples than `space`, which is doubled. */
static natsl_status grow_lines(natsl_eval_lines *lines, size_t *space)
{
    int64_t **arrays[] = {&lines->begin, &lines->bytes, &lines->first};
    const size_t more = *space ? 2 * *space : 256;
    for (size_t i = 0; i < 3; i++) {
        int64_t *grown = natsl_alloc(more, sizeof *grown, "samples");
        if (!grown) return NATSL_ERR_NOMEM;
        if (*space > 0) memcpy(grown, *arrays[i], *space * sizeof *grown);
        natsl_free(*arrays[i]);
        *arrays[i] = grown;
    }
    *space = more;
    return NATSL_OK;
}

/** Takes in a line that is sample `s`; `before`: the sample before it. */
static natsl_status add_line(natsl_eval_lines *lines, size_t *space, int64_t at, size_t length, natsl_measure *measure,
                             const natsl_eval_sample *s, const natsl_eval_sample *before)
{
    const int64_t i = lines->count;
    int64_t tokens = 0;
    const natsl_status counted = natsl_measure_count(measure, s->text, (size_t)s->length, INT64_MAX, &tokens);
    if (counted != NATSL_OK) return counted;
    if ((size_t)i == *space) {
        const natsl_status st = grow_lines(lines, space);
        if (st != NATSL_OK) return st;
    }
    const int same =
        i > 0 && s->shared > 0 && s->shared == before->shared && memcmp(s->text, before->text, (size_t)s->shared) == 0;
    lines->begin[i] = at;
    lines->bytes[i] = (int64_t)length;
    lines->first[i] = same ? lines->first[i - 1] : i;
    lines->shares |= same;
    lines->count++;
    if (tokens > lines->longest) lines->longest = tokens;
    return NATSL_OK;
}

natsl_status natsl_eval_lines_scan(const char *path, int keep_going, natsl_measure *measure, natsl_eval_lines *out)
{
    char *line = NULL, where[4096];
    size_t room = 0, length = 0, space = 0;
    int ended = 0;
    int64_t at = 0;
    natsl_eval_sample before = {0};
    natsl_status st = NATSL_OK;
    *out = (natsl_eval_lines){.path = path};
    natsl_task_name(path, out->name, sizeof out->name);
    FILE *file = fopen(path, "rb");
    if (!file) return natsl_fail(NATSL_ERR_INPUT, "%s: %s", path, strerror(errno));
    for (int64_t number = 1; st == NATSL_OK; number++, at += (int64_t)length + 1) {
        natsl_eval_sample s = {0};
        st = natsl_line_read(file, path, number, &line, &room, &length, &ended);
        if (st != NATSL_OK || (length == 0 && !ended)) break;
        (void)snprintf(where, sizeof where, "%s, line %lld", path, (long long)number);
        st = read_sample(line, length, where, &s);
        if (st == NATSL_ERR_INPUT && keep_going) {
            if (out->bad++ == 0) (void)snprintf(out->complaint, sizeof out->complaint, "%s", natsl_error_text());
            st = NATSL_OK;
        } else if (st == NATSL_OK && (st = add_line(out, &space, at, length, measure, &s, &before)) == NATSL_OK) {
            const natsl_eval_sample last = before;
            before = s;
            s = last;
        }
        natsl_eval_sample_free(&s);
    }
    natsl_eval_sample_free(&before);
    free(line);
    (void)fclose(file);
    if (st == NATSL_OK && out->count == 0)
        st = natsl_fail(NATSL_ERR_INPUT, "%s: no samples%s%.400s", path, out->bad ? "; " : "", out->complaint);
    if (st != NATSL_OK) natsl_eval_lines_free(out);
    return st;
}

void natsl_eval_lines_free(natsl_eval_lines *lines)
{
    natsl_free(lines->begin);
    natsl_free(lines->bytes);
    natsl_free(lines->first);
    lines->begin = lines->bytes = lines->first = NULL;
    lines->count = 0;
}

static natsl_status file_sample(const natsl_eval_lines *lines, int64_t index, natsl_eval_sample *out)
{
    char where[4096];
    if (index >= lines->count)
        return natsl_fail(NATSL_ERR_INTERNAL, "%s: sample %lld of %lld", lines->path, (long long)index,
                          (long long)lines->count);
    const size_t length = (size_t)lines->bytes[index];
    char *line = natsl_alloc(length + 1, 1, "a sample");
    if (!line) return NATSL_ERR_NOMEM;
    natsl_status st = NATSL_OK;
    FILE *file = fopen(lines->path, "rb");
    if (!file || fseeko(file, lines->begin[index], SEEK_SET) != 0 || fread(line, 1, length, file) != length)
        st = natsl_fail(NATSL_ERR_INPUT, "%s: it has changed, or cannot be read", lines->path);
    if (file) (void)fclose(file);
    (void)snprintf(where, sizeof where, "%s, sample %lld", lines->path, (long long)index);
    if (st == NATSL_OK) st = read_sample(line, length, where, out);
    natsl_free(line);
    return st;
}

/* ---- recall in token ids ---------------------------------------------------------------------------------------------- */

static int64_t mqar_pairs(const natsl_eval_settings *settings, int64_t length)
{
    const int64_t most = settings->vocabulary / 2 - 1;
    if (settings->pairs > 0) return settings->pairs;
    return length / 4 < most ? length / 4 : most;
}

static natsl_status mqar(const natsl_eval_settings *settings, int64_t length, natsl_rng *rng, natsl_eval_sample *out)
{
    const int64_t n = mqar_pairs(settings, length);
    char text[32];
    int32_t *targets = natsl_alloc((size_t)length, sizeof *targets, "answers");
    natsl_mqar_query *queries = natsl_alloc((size_t)n, sizeof *queries, "questions");
    out->ids = natsl_alloc((size_t)length, sizeof *out->ids, "a sample");
    out->asked = natsl_alloc((size_t)n, sizeof *out->asked, "questions");
    out->length = out->input = length;
    natsl_status st = targets && queries && out->ids && out->asked ? NATSL_OK : NATSL_ERR_NOMEM;
    if (st == NATSL_OK)
        st = natsl_mqar_make(settings->vocabulary, n, !settings->zeros, length, rng, out->ids, targets, queries);
    if (st == NATSL_OK) st = natsl_eval_outputs(out, (size_t)n);
    for (int64_t i = 0; i < n && st == NATSL_OK; i++) {
        const int digits = snprintf(text, sizeof text, "%d", targets[queries[i].position]);
        out->asked[i] = queries[i].position;
        st = natsl_eval_output_set(&out->outputs[i], text, (size_t)digits,
                                   (double)(2 * queries[i].pair) / (double)length);
    }
    natsl_free(targets);
    natsl_free(queries);
    return st;
}

/* ---- documents --------------------------------------------------------------------------------------------------------- */

int64_t natsl_document_windows(const natsl_hay *document, int64_t length)
{
    return document->length > length ? document->length / length : 1;
}

static natsl_status window(const natsl_eval_task *task, int64_t length, int64_t index, natsl_eval_sample *out)
{
    const natsl_hay *document = task->document;
    const int64_t from = index * length, count = document->length - from < length ? document->length - from : length;
    out->length = out->input = count;
    if (task->document_ids) {
        out->ids = natsl_alloc((size_t)count, sizeof *out->ids, "a document");
        return out->ids ? task->document_ids(document->user, from, count, out->ids) : NATSL_ERR_NOMEM;
    }
    out->text = natsl_alloc((size_t)count, 1, "a document");
    if (!out->text) return NATSL_ERR_NOMEM;
    document->read(document->user, from, count, out->text);
    return NATSL_OK;
}

/* ---- all of them ----------------------------------------------------------------------------------------------------- */

natsl_status natsl_recall_check(const natsl_eval_settings *settings, const natsl_eval_task *task, int64_t length)
{
    const int bytes = natsl_measure_of(settings->measure) == NATSL_MEASURE_BYTES;
    const int64_t max_new = natsl_eval_max_new(settings, task), least = task->kind == NATSL_EVAL_FILE ? 1
                                                                        : task->kind == NATSL_EVAL_DOCUMENT
                                                                            ? 2
                                                                            : max_new + (bytes ? 512 : 128);
    if ((task->kind == NATSL_EVAL_CLASSIC || task->kind == NATSL_EVAL_BABI) && !settings->hay)
        return natsl_fail(NATSL_ERR_USAGE, "%s: hides its %s in a text, expected --haystack FILE", task->name,
                          task->kind == NATSL_EVAL_BABI ? "facts" : "needle");
    if (task->kind == NATSL_EVAL_BABI && bytes) return natsl_babi_check(task->stories, task->name, length - max_new);
    if (task->kind == NATSL_EVAL_MQAR) {
        const int64_t pairs = mqar_pairs(settings, length);
        if (pairs >= 1 && pairs <= length / 4 && pairs <= settings->vocabulary / 2 - 1) return NATSL_OK;
        return natsl_fail(NATSL_ERR_USAGE,
                          "%s: %lld pairs in %lld tokens of a vocabulary of %d; expected at least one, four tokens and "
                          "two ids each (and one id more)",
                          task->name, (long long)pairs, (long long)length, settings->vocabulary);
    }
    if (length >= least) return NATSL_OK;
    return natsl_fail(NATSL_ERR_USAGE, "%s: does not fit in %lld tokens with %lld to generate, expected %lld or more",
                      task->name, (long long)length, (long long)max_new, (long long)least);
}

natsl_status natsl_recall_make(const natsl_eval_settings *settings, const natsl_eval_task *task, int64_t length,
                               int64_t index, int64_t bytes, natsl_rng rng, natsl_eval_sample *out)
{
    const double depth = natsl_eval_depth(settings, task, length, index);
    natsl_status st;
    memset(out, 0, sizeof *out);
    switch (task->kind) {
    case NATSL_EVAL_FILE: st = file_sample(task->lines, index, out); break;
    case NATSL_EVAL_KV: st = kv(bytes, &rng, depth, settings->questions > 1, out); break;
    case NATSL_EVAL_MQAR: st = mqar(settings, length, &rng, out); break;
    case NATSL_EVAL_DOCUMENT: st = window(task, length, index, out); break;
    case NATSL_EVAL_BABI: st = natsl_babi_make(task->stories, settings->hay, bytes, index, &rng, depth, out); break;
    case NATSL_EVAL_CLASSIC: st = classic(settings->hay, bytes, &rng, depth, out); break;
    default: st = passkey(task, bytes, &rng, depth, out);
    }
    if (st != NATSL_OK) natsl_eval_sample_free(out);
    return st;
}
