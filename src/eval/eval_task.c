/* eval_task.c - tasks and their samples. See eval_task.h. */
#include "eval_task.h"

#include "core.h"
#include "fit.h"
#include "recall.h"
#include "ruler.h"
#include "score.h"

#include <string.h>

/* What a sample's random numbers are for. */
enum { STREAM_TEXT = 1, STREAM_BANDS, STREAM_SHIFT, STREAM_ANSWER };

/** A number that names (what, task, length). */
static uint64_t stream_of(int what, const natsl_eval_task *task, int64_t length)
{
    uint64_t h = 0xcbf29ce484222325u ^ (uint64_t)what; /* FNV-1a */
    for (const char *p = task->suite; *p; p++) h = (h ^ (unsigned char)*p) * 0x100000001b3u;
    h = (h ^ '/') * 0x100000001b3u;
    for (const char *p = task->name; *p; p++) h = (h ^ (unsigned char)*p) * 0x100000001b3u;
    return h ^ (uint64_t)length * 0x9e3779b97f4a7c15u;
}

int64_t natsl_eval_max_new(const natsl_eval_settings *settings, const natsl_eval_task *task)
{
    if (task->kind == NATSL_EVAL_MQAR || task->kind == NATSL_EVAL_DOCUMENT) return 0;
    return settings->max_new > 0 ? settings->max_new : task->max_new;
}

int64_t natsl_eval_first(const natsl_eval_settings *settings, const natsl_eval_task *task, int64_t index)
{
    if (task->kind == NATSL_EVAL_FILE) return task->lines->first[index];
    if (task->kind == NATSL_EVAL_KV && settings->questions > 1) return index - index % settings->questions;
    return index;
}

int natsl_eval_hit(natsl_eval_metric metric, const natsl_eval_sample *s, size_t i, const char *text, size_t length)
{
    const char *want = s->outputs[i].text;
    switch (metric) {
    case NATSL_EVAL_INTEGER: return natsl_score_integer(text, length, want);
    case NATSL_EVAL_WORD: return natsl_score_word(text, length, want);
    case NATSL_EVAL_PLACE: return natsl_score_place(text, length, i, want);
    case NATSL_EVAL_LABEL:
        return natsl_score_label(text, length, want, s->question ? s->question : "", s->labels, s->n_labels);
    case NATSL_EVAL_LIKELIHOOD: return 0;
    default: return natsl_score_contains(text, length, want);
    }
}

const natsl_eval_task *natsl_eval_task_find(const char *suite, const char *name)
{
    for (const natsl_eval_task *t = natsl_eval_tasks; t->name; t++) {
        if (strcmp(t->suite, suite) == 0 && strcmp(t->name, name) == 0) return t;
    }
    return NULL;
}

static natsl_needle_task needle_task(const natsl_eval_settings *settings, const natsl_eval_task *task)
{
    return (natsl_needle_task){.hay = task->text ? settings->hay : NULL,
                               .key_kind = task->key_kind,
                               .value_kind = task->value_kind,
                               .keys = task->keys,
                               .values = task->values,
                               .questions = task->questions,
                               .joint = 1,
                               .bare = task->bare,
                               .depth = -1.0};
}

/** Bytes of the answer as needle.h writes it: ": V", ", V" ..., and ".\n". Numbers and identifiers have one length. */
static int64_t answer_bytes(const natsl_eval_task *task)
{
    const int64_t outputs = (int64_t)task->questions * task->values;
    return outputs * (2 + (int64_t)natsl_word_longest(task->value_kind)) + 2;
}

natsl_status natsl_eval_check(const natsl_eval_settings *settings, const natsl_eval_task *task, int64_t length)
{
    const int64_t new = natsl_eval_max_new(settings, task);
    if (task->kind >= NATSL_EVAL_PASSKEY) return natsl_recall_check(settings, task, length);
    if (settings->exact || task->kind != NATSL_EVAL_NIAH)
        return natsl_ruler_check(settings->sources, task, length, new, settings->exact);
    if (task->text && !settings->hay)
        return natsl_fail(NATSL_ERR_USAGE,
                          "%s: hides its needles in a text, expected --haystack FILE (any plain text of your own; "
                          "scores of different texts cannot be compared)",
                          task->name);
    const natsl_needle_task needles = needle_task(settings, task);
    const int bytes = natsl_measure_of(settings->measure) == NATSL_MEASURE_BYTES;
    /* tokens: what a sample needs in all is known when it is made */
    const int64_t least = bytes ? natsl_needle_bytes(&needles) - answer_bytes(task) + new : new + 32;
    if (length >= least && task->bare) { /* other needles fill it: are there enough? */
        natsl_rng rng = natsl_rng_at(settings->seed, stream_of(STREAM_TEXT, task, length), 0);
        const int most = natsl_needle_most_keys(task->key_kind);
        int keys = 0;
        const natsl_status st = natsl_needle_most(&needles, length - new, &rng, &keys);
        if (st == NATSL_OK && keys == most)
            return natsl_fail(NATSL_ERR_USAGE,
                              "%s: %lld tokens take more than the %d different needles that there are%s", task->name,
                              (long long)length, most,
                              task->key_kind == NATSL_UUIDS ? "" : ", expected about 2M at most (or --mode exact)");
        return st;
    }
    if (length >= least) return NATSL_OK;
    return natsl_fail(NATSL_ERR_USAGE, "%s: does not fit in %lld tokens with %lld to generate, expected %lld or more",
                      task->name, (long long)length, (long long)new, (long long)least);
}

double natsl_eval_depth(const natsl_eval_settings *settings, const natsl_eval_task *task, int64_t length, int64_t index)
{
    const uint64_t block = (uint64_t)index / NATSL_EVAL_BANDS, place = (uint64_t)index % NATSL_EVAL_BANDS;
    natsl_rng order = natsl_rng_at(settings->seed, stream_of(STREAM_BANDS, task, length), block);
    natsl_rng shift = natsl_rng_at(settings->seed, stream_of(STREAM_SHIFT, task, length), 0);
    const uint64_t band = natsl_rng_permute(natsl_rng_next(&order), NATSL_EVAL_BANDS, place);
    /* multiples of the golden ratio, modulo 1: of any number of them in a row none is far from where even spacing would
     * have it */
    const double start = natsl_rng_uniform(&shift);
    double inside = start + (double)(block % 1000003) * 0.61803398874989485;
    inside -= (double)(int64_t)inside;
    return ((double)band + inside) / NATSL_EVAL_BANDS;
}

natsl_status natsl_eval_outputs(natsl_eval_sample *sample, size_t count)
{
    sample->outputs = natsl_calloc(count, sizeof *sample->outputs, "expected outputs");
    sample->n_outputs = sample->outputs ? count : 0;
    return sample->outputs ? NATSL_OK : NATSL_ERR_NOMEM;
}

natsl_status natsl_eval_output_set(natsl_eval_output *output, const char *text, size_t length, double depth)
{
    output->text = natsl_alloc(length + 1, 1, "expected output");
    if (!output->text) return NATSL_ERR_NOMEM;
    memcpy(output->text, text, length);
    output->text[length] = '\0';
    output->depth = depth;
    return NATSL_OK;
}

/** Sample `index` of needles with a prompt of at most `bytes` bytes. *full: no more needles are there to fill it. */
static natsl_status make_needles(const natsl_eval_settings *settings, const natsl_eval_task *task, int64_t length,
                                 int64_t index, natsl_rng rng, int64_t bytes, natsl_eval_sample *out, int *full)
{
    natsl_needle_sample made = {0};
    natsl_needle_task needles = needle_task(settings, task);
    const int64_t room = bytes + answer_bytes(task);
    natsl_status st = NATSL_OK;
    /* The needles of one key all have their places by chance; of several keys, the first one asked is where the depth
     * says. */
    if (task->values == 1) needles.depth = natsl_eval_depth(settings, task, length, index);
    if (task->bare && (st = natsl_needle_most(&needles, room, &rng, &needles.keys)) != NATSL_OK) return st;
    *full = task->bare && needles.keys == natsl_needle_most_keys(task->key_kind);
    if ((st = natsl_needle_make(&needles, room, &rng, &made)) != NATSL_OK) return st;

    const size_t answer = made.n_again, count = made.n_answers - made.n_again;
    st = natsl_eval_outputs(out, count);
    for (size_t i = 0; i < count && st == NATSL_OK; i++) {
        const natsl_needle *needle = &made.needles[made.answers[answer + i].needle];
        st = natsl_eval_output_set(&out->outputs[i], needle->value, strlen(needle->value), needle->depth);
    }
    if (st == NATSL_OK) {
        out->text = made.text;
        made.text = NULL;
        out->length = made.answers[answer].begin;
        /* The answer begins after the question mark: the last one, as keys have none. */
        out->input = out->length;
        while (out->input > 0 && out->text[out->input - 1] != '?') out->input--;
    }
    natsl_needle_free(&made);
    return st;
}

/** The sample with a prompt of at most `bytes` bytes. */
static natsl_status make_bytes(const natsl_eval_settings *settings, const natsl_eval_task *task, int64_t length,
                               int64_t index, natsl_rng rng, int64_t bytes, natsl_eval_sample *out, int *full)
{
    memset(out, 0, sizeof *out);
    *full = 0;
    const natsl_status st = task->kind == NATSL_EVAL_NIAH
                                ? make_needles(settings, task, length, index, rng, bytes, out, full)
                                : natsl_recall_make(settings, task, length, index, bytes, rng, out);
    if (st != NATSL_OK) natsl_eval_sample_free(out);
    return st;
}

/* Questions about one haystack have one number of bytes, that of the first: what another key may take more, of 36 bytes. */
#define KEY_TOKENS 40

static int shares(const natsl_eval_settings *settings, const natsl_eval_task *task)
{
    return task->kind == NATSL_EVAL_KV && settings->questions > 1;
}

static int64_t prompt_tokens(const natsl_eval_settings *settings, const natsl_eval_task *task, int64_t length)
{
    return length - natsl_eval_max_new(settings, task) - (int64_t)settings->n_before;
}

/** The sample with nearly as many tokens as fit: the number of its bytes is found by trying. The same for any rank and run. */
static natsl_status make_tokens(const natsl_eval_settings *settings, const natsl_eval_task *task, int64_t length,
                                int64_t index, natsl_rng rng, natsl_eval_sample *out)
{
    const int64_t room = prompt_tokens(settings, task, length) - (shares(settings, task) ? KEY_TOKENS : 0);
    const int64_t slack = natsl_fit_slack(room);
    int64_t bytes[2] = {0, 0}, tokens[2] = {0, 0}, try_bytes = room > 0 ? 4 * room : 4;
    int full = 0;
    natsl_status st = NATSL_OK;
    for (int try = 0; try < 40 && (bytes[1] == 0 || bytes[1] - bytes[0] > 16); try++) {
        natsl_eval_sample s;
        int64_t n = 0;
        st = make_bytes(settings, task, length, index, rng, try_bytes, &s, &full);
        if (st == NATSL_ERR_USAGE && !out->text) { /* what it must have takes more bytes than these */
            if (try_bytes > 64 * room) break;
            bytes[0] = try_bytes;
            try_bytes = bytes[1] == 0 ? 2 * try_bytes : bytes[0] + (bytes[1] - bytes[0]) / 2;
            st = NATSL_OK;
            continue;
        }
        if (st == NATSL_OK) st = natsl_measure_count(settings->measure, s.text, (size_t)s.length, INT64_MAX, &n);
        if (st != NATSL_OK) {
            natsl_eval_sample_free(&s);
            break;
        }
        const int over = n > room;
        bytes[over] = try_bytes;
        tokens[over] = n;
        if (over) natsl_eval_sample_free(&s);
        else natsl_eval_sample_free(out), *out = s;
        if (!over && (room - n <= slack || full)) break;
        try_bytes = natsl_fit_next(bytes, tokens, room - slack / 2, try);
    }
    if (st == NATSL_OK && out->text && full && room - tokens[0] > slack)
        st = natsl_fail(NATSL_ERR_USAGE, "%s: %lld tokens take more than the different needles that there are",
                        task->name, (long long)length);
    if (st == NATSL_OK && out->text) return st;
    natsl_eval_sample_free(out);
    if (st != NATSL_OK && st != NATSL_ERR_USAGE) return st;
    if (st == NATSL_ERR_USAGE && full) return st;
    return natsl_fail(NATSL_ERR_USAGE, "%s: sample %lld does not fit in %lld tokens with %lld to generate", task->name,
                      (long long)index, (long long)length, (long long)natsl_eval_max_new(settings, task));
}

/** A question about the haystack of sample `first`, whose text has as many bytes as that of the first one. */
static natsl_status make_question(const natsl_eval_settings *settings, const natsl_eval_task *task, int64_t length,
                                  int64_t index, int64_t first, natsl_rng rng, natsl_eval_fit *fit,
                                  natsl_eval_sample *out)
{
    const int64_t room = prompt_tokens(settings, task, length);
    int64_t tokens = 0;
    int full = 0;
    if (fit->task != task || fit->length != length || fit->first != first) {
        const natsl_status st = make_tokens(settings, task, length, first, rng, out);
        if (st != NATSL_OK) return st;
        *fit = (natsl_eval_fit){task, length, first, out->length};
        if (index == first) return NATSL_OK;
        natsl_eval_sample_free(out);
    }
    natsl_status st = make_bytes(settings, task, length, index, rng, fit->bytes, out, &full);
    if (st == NATSL_OK) st = natsl_measure_count(settings->measure, out->text, (size_t)out->length, room, &tokens);
    if (st == NATSL_OK && tokens > room)
        st = natsl_fail(NATSL_ERR_USAGE, "%s: sample %lld does not fit in %lld tokens", task->name, (long long)index,
                        (long long)length);
    if (st != NATSL_OK) natsl_eval_sample_free(out);
    return st;
}

natsl_status natsl_eval_make_next(const natsl_eval_settings *settings, const natsl_eval_task *task, int64_t length,
                                  int64_t index, natsl_eval_fit *fit, natsl_eval_sample *out)
{
    const int64_t max_new = natsl_eval_max_new(settings, task);
    /* questions about one haystack draw the same */
    const int64_t first = task->kind == NATSL_EVAL_KV ? natsl_eval_first(settings, task, index) : index;
    const int own_length =
        task->kind == NATSL_EVAL_FILE || task->kind == NATSL_EVAL_MQAR || task->kind == NATSL_EVAL_DOCUMENT;
    const natsl_rng rng = natsl_rng_at(settings->seed, stream_of(STREAM_TEXT, task, length), (uint64_t)first);
    int full = 0;
    memset(out, 0, sizeof *out);
    natsl_status st = NATSL_OK;
    /* a bare one was checked with all others before the first; the check draws its words many times */
    if (!task->bare && (st = natsl_eval_check(settings, task, length)) != NATSL_OK) return st;
    if (task->kind > NATSL_EVAL_NIAH && task->kind < NATSL_EVAL_PASSKEY)
        return natsl_ruler_spread(settings->sources, task, length, max_new, (int64_t)settings->n_before, rng,
                                  natsl_eval_depth(settings, task, length, index), out);
    if (natsl_measure_of(settings->measure) != NATSL_MEASURE_BYTES && !own_length)
        return shares(settings, task) ? make_question(settings, task, length, index, first, rng, fit, out)
                                      : make_tokens(settings, task, length, index, rng, out);
    st = make_bytes(settings, task, length, index, rng, length - max_new, out, &full);
    if (st == NATSL_OK && !own_length && out->length + max_new > length) {
        st = natsl_fail(NATSL_ERR_INTERNAL, "%s: sample %lld has %lld tokens and %lld to generate, more than %lld",
                        task->name, (long long)index, (long long)out->length, (long long)max_new, (long long)length);
        natsl_eval_sample_free(out);
    }
    return st;
}

natsl_status natsl_eval_make(const natsl_eval_settings *settings, const natsl_eval_task *task, int64_t length,
                             int64_t index, natsl_eval_sample *out)
{
    natsl_eval_fit fit = {0};
    return natsl_eval_make_next(settings, task, length, index, &fit, out);
}

natsl_rng natsl_eval_answer_rng(const natsl_eval_settings *settings, const natsl_eval_task *task, int64_t length,
                                int64_t index)
{
    return natsl_rng_at(settings->seed, stream_of(STREAM_ANSWER, task, length), (uint64_t)index);
}

natsl_status natsl_eval_tokens(const natsl_eval_settings *settings, natsl_eval_sample *sample)
{
    const size_t n = settings->n_before;
    const int bytes = natsl_measure_of(settings->measure) == NATSL_MEASURE_BYTES;
    natsl_ids ids = {0};
    sample->tokens = sample->length;
    sample->shared_tokens = sample->shared;
    if (sample->ids || bytes) return NATSL_OK;
    natsl_status st = natsl_ids_add(&ids, settings->before, n);
    if (st == NATSL_OK)
        st = natsl_measure_ids(settings->measure, sample->text, (size_t)sample->length, (size_t)sample->shared, &ids,
                               &sample->shared_tokens);
    if (st == NATSL_OK && ids.count == 0) st = natsl_fail(NATSL_ERR_INPUT, "a sample without tokens");
    if (st == NATSL_OK && !(sample->ids = natsl_alloc(ids.count, sizeof *ids.at, "a prompt"))) st = NATSL_ERR_NOMEM;
    if (st == NATSL_OK) {
        memcpy(sample->ids, ids.at, ids.count * sizeof *ids.at);
        sample->tokens = (int64_t)ids.count;
        if (sample->shared > 0) sample->shared_tokens += (int64_t)n;
    }
    natsl_ids_free(&ids);
    return st;
}

void natsl_eval_sample_free(natsl_eval_sample *sample)
{
    for (size_t i = 0; i < sample->n_outputs; i++) natsl_free(sample->outputs[i].text);
    natsl_free(sample->text);
    natsl_free(sample->ids);
    natsl_free(sample->asked);
    natsl_free(sample->question);
    natsl_free(sample->outputs);
    memset(sample, 0, sizeof *sample);
}

/* haystack, keys, values, questions */
#define NIAH(task, hay_is_text, hay_is_needles, n_keys, n_values, n_questions, key, value)                             \
    {                                                                                                                  \
        .suite = "ruler", .name = task, .max_new = 128, .text = hay_is_text, .bare = hay_is_needles, .keys = n_keys,   \
        .values = n_values, .questions = n_questions, .key_kind = key, .value_kind = value                             \
    }

const natsl_eval_task natsl_eval_tasks[] = {
    NIAH("niah_single_1", 0, 0, 1, 1, 1, NATSL_WORDS, NATSL_NUMBERS),
    NIAH("niah_single_2", 1, 0, 1, 1, 1, NATSL_WORDS, NATSL_NUMBERS),
    NIAH("niah_single_3", 1, 0, 1, 1, 1, NATSL_WORDS, NATSL_UUIDS),
    NIAH("niah_multikey_1", 1, 0, 4, 1, 1, NATSL_WORDS, NATSL_NUMBERS),
    NIAH("niah_multikey_2", 0, 1, 1, 1, 1, NATSL_WORDS, NATSL_NUMBERS),
    NIAH("niah_multikey_3", 0, 1, 1, 1, 1, NATSL_UUIDS, NATSL_UUIDS),
    NIAH("niah_multivalue", 1, 0, 1, 4, 1, NATSL_WORDS, NATSL_NUMBERS),
    NIAH("niah_multiquery", 1, 0, 4, 1, 4, NATSL_WORDS, NATSL_NUMBERS),
    {.suite = "ruler", .name = "vt", .kind = NATSL_EVAL_VT, .max_new = 30},
    {.suite = "ruler", .name = "cwe", .kind = NATSL_EVAL_CWE, .max_new = 120},
    {.suite = "ruler", .name = "fwe", .kind = NATSL_EVAL_FWE, .max_new = 50},
    {.suite = "ruler", .name = "qa_1", .kind = NATSL_EVAL_QA, .max_new = 32, .metric = NATSL_EVAL_PART},
    {.suite = "ruler", .name = "qa_2", .kind = NATSL_EVAL_QA, .max_new = 32, .metric = NATSL_EVAL_PART},
    {.suite = "niah", .name = "niah", .kind = NATSL_EVAL_CLASSIC, .max_new = 200},
    {.suite = "passkey",
     .name = "passkey",
     .kind = NATSL_EVAL_PASSKEY,
     .max_new = 6,
     .metric = NATSL_EVAL_INTEGER,
     .digits = 5},
    {.suite = "number",
     .name = "number",
     .kind = NATSL_EVAL_PASSKEY,
     .max_new = 12,
     .metric = NATSL_EVAL_INTEGER,
     .digits = 10},
    {.suite = "kv", .name = "kv", .kind = NATSL_EVAL_KV, .max_new = 50, .metric = NATSL_EVAL_WORD},
    {.suite = "mqar", .name = "mqar", .kind = NATSL_EVAL_MQAR, .metric = NATSL_EVAL_PLACE},
    {.name = NULL},
};
