/* data.c - windows of training data: whose turn it is, and what is in them. See data.h. */
#define _GNU_SOURCE /* memmem */
#include "agree.h"
#include "data_impl.h"

#include "mqar.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/** A share of all: what turn[] counts in. */
#define WHOLE ((uint64_t)1 << 32)

/** What random numbers are for, beside the source and the part. */
enum purpose { FOR_WINDOW = 0, FOR_COUNTS, FOR_SHIFT, FOR_ORDER };

static natsl_rng generator(const natsl_data *d, size_t k, natsl_data_part part, enum purpose purpose, uint64_t index)
{
    return natsl_rng_at(d->seed, (uint64_t)k << 8 | (uint64_t)part << 4 | (uint64_t)purpose, index);
}

void natsl_source_region(const source *s, natsl_data_part part, int64_t *first, int64_t *count)
{
    const int held = part == NATSL_DATA_VALIDATION;
    *first = held ? s->held_out : 0;
    *count = held ? natsl_corpus_length(s->corpus) - s->held_out : s->held_out;
}

static int has_part(const source *s, natsl_data_part part)
{
    int64_t first = 0, count = 1;
    if (s->corpus) natsl_source_region(s, part, &first, &count);
    return count > 0;
}

/** Shares of each source, of what those before it leave. */
static void divide(natsl_data *d)
{
    for (int part = 0; part < 2; part++) {
        double left = 0.0;                    /* the weight of this source and of those after it */
        for (size_t k = d->count; k-- > 0;) { /* from the last, so that what is left is never less than its part */
            const source *s = &d->sources[k];
            if (!has_part(s, (natsl_data_part)part)) continue;
            const int last = left == 0.0;
            left += s->weight;
            const uint64_t share = (uint64_t)rint(s->weight / left * (double)WHOLE);
            d->turn[part][k] = share < 1 ? 1 : share >= WHOLE && !last ? WHOLE - 1 : share; /* each comes some day */
        }
    }
}

natsl_status natsl_data_open(const json_t *spec, const char *where, const char *directory, const natsl_config *config,
                             const char *tokenizer, const natsl_corpus_ranks *ranks, uint64_t seed, natsl_data **out)
{
    natsl_status st = NATSL_OK;
    *out = NULL;
    const size_t n = json_array_size(spec);
    if (!json_is_array(spec) || n < 1 || n > MOST_SOURCES)
        return natsl_fail(NATSL_ERR_INPUT, "%s: expected a list of 1 to %zu sources of data", where, MOST_SOURCES);
    natsl_data *d = natsl_calloc(1, sizeof *d, "training data");
    if (!d || !(d->sources = natsl_calloc(n, sizeof *d->sources, "training data"))) st = NATSL_ERR_NOMEM;
    if (ranks) st = natsl_agree(ranks->comm, st);
    if (st != NATSL_OK) goto cleanup;
    d->seed = seed;
    (void)snprintf(d->where, sizeof d->where, "%s", where);
    while (d->count < n) {
        char at[512];
        (void)snprintf(at, sizeof at, "%s[%zu]", d->where, d->count);
        source *s = &d->sources[d->count++]; /* counted now: what it opens is closed */
        NATSL_TRY(st, cleanup,
                  natsl_source_parse(json_array_get(spec, d->count - 1), at, directory, config, tokenizer, ranks, s));
    }
    divide(d);
    *out = d;
    return NATSL_OK;
cleanup:
    natsl_data_close(&d);
    return st;
}

void natsl_data_close(natsl_data **data)
{
    natsl_data *d = *data;
    if (!d) return;
    for (size_t k = 0; k < d->count; k++) natsl_source_close(&d->sources[k]);
    natsl_free(d->sources);
    natsl_free(d);
    *data = NULL;
}

natsl_status natsl_data_check(const natsl_data *d, int64_t tokens)
{
    for (size_t k = 0; k < d->count; k++) {
        const source *s = &d->sources[k];
        int64_t least = s->kind == SOURCE_MQAR ? 4 : 2;
        if (s->kind == SOURCE_NEEDLE) /* counts are lowered as far as that */
            least = natsl_needle_bytes(&(natsl_needle_task){
                .key_kind = s->key_kind, .value_kind = s->value_kind, .keys = 1, .values = 1, .questions = 1});
        if (s->kind == SOURCE_COPY) least = natsl_copy_bytes(&s->copy);
        if (tokens < least)
            return natsl_fail(NATSL_ERR_INPUT,
                              "%s[%zu]: windows of %lld tokens are too short for this source, expected at least %lld",
                              d->where, k, (long long)tokens, (long long)least);
    }
    return NATSL_OK;
}

int natsl_data_has_validation(const natsl_data *d)
{
    for (size_t k = 0; k < d->count; k++) {
        if (d->turn[NATSL_DATA_VALIDATION][k]) return 1;
    }
    return 0;
}

/** How many of the first n <= 2^63 turns a share takes: n * share / WHOLE, rounded. */
static uint64_t taken(uint64_t n, uint64_t share)
{
    return (n >> 32) * share + (((n & (WHOLE - 1)) * share + WHOLE / 2) >> 32);
}

/** Whose turn window `index` is, and how many windows that source had before. SIZE_MAX: no source has this part. */
static size_t whose(const natsl_data *d, natsl_data_part part, uint64_t index, uint64_t *turn)
{
    for (size_t k = 0; k < d->count; k++) {
        const uint64_t share = d->turn[part][k], before = taken(index, share);
        if (!share) continue;
        if (taken(index + 1, share) > before) {
            *turn = before;
            return k;
        }
        index -= before;
    }
    return SIZE_MAX;
}

/** How many of the first n windows are source k's. */
static uint64_t windows_of(const natsl_data *d, natsl_data_part part, size_t k, uint64_t n)
{
    for (size_t j = 0; j < k; j++) n -= taken(n, d->turn[part][j]);
    return taken(n, d->turn[part][k]);
}

int64_t natsl_data_epoch(const natsl_data *d, natsl_data_part part, int64_t tokens)
{
    uint64_t longest = 0;
    if ((part != NATSL_DATA_TRAIN && part != NATSL_DATA_VALIDATION) || tokens < 2) return 0;
    for (size_t k = 0; k < d->count; k++) {
        int64_t first, count;
        if (d->sources[k].kind != SOURCE_TEXT || !d->turn[part][k]) continue;
        natsl_source_region(&d->sources[k], part, &first, &count);
        const uint64_t want = count < tokens ? 1 : (uint64_t)(count / tokens);
        uint64_t few = 0, enough = INT64_MAX; /* the least number of windows of which it has as many */
        while (enough - few > 1) {
            const uint64_t middle = few + (enough - few) / 2;
            if (windows_of(d, part, k, middle) >= want) enough = middle;
            else few = middle;
        }
        if (enough > longest) longest = enough;
    }
    return (int64_t)longest;
}

static natsl_status text_window(natsl_data *d, size_t k, natsl_data_part part, uint64_t turn, int64_t tokens,
                                int32_t *ids, int32_t *targets, int64_t *count)
{
    const source *s = &d->sources[k];
    int64_t first, length;
    natsl_source_region(s, part, &first, &length);
    const int64_t n = length < tokens ? length : tokens;
    const uint64_t windows = (uint64_t)(length / n), epoch = turn / windows;
    uint64_t w = turn % windows;
    if (part == NATSL_DATA_TRAIN) {
        natsl_rng shift = generator(d, k, part, FOR_SHIFT, epoch);
        first += (int64_t)natsl_rng_below(&shift, (uint64_t)(length - (int64_t)windows * n) + 1);
        w = natsl_rng_permute(generator(d, k, part, FOR_ORDER, epoch).state, windows, w);
    }
    const natsl_status st = natsl_corpus_read(s->corpus, first + (int64_t)w * n, n, ids);
    if (st != NATSL_OK) return st;
    memcpy(targets, ids + 1, (size_t)(n - 1) * sizeof *targets);
    targets[n - 1] = -1;
    *count = n;
    return NATSL_OK;
}

/** Part of a corpus of texts, as a haystack. */
typedef struct region {
    const natsl_corpus *corpus;
    int64_t first;
} region;

static void read_region(void *user, int64_t first, int64_t count, char *to)
{
    const region *r = user;
    natsl_corpus_bytes(r->corpus, r->first + first, count, to);
}

static int draw(natsl_rng *rng, range r) { return r.lo + (int)natsl_rng_below(rng, (uint64_t)(r.hi - r.lo) + 1); }

/** Lowers counts until the sample surely fits, or is the smallest there is. What takes most bytes goes first. */
static void lower(natsl_needle_task *t, int64_t bytes)
{
    while (natsl_needle_bytes(t) > bytes) {
        natsl_needle_task fewer = *t;
        fewer.questions = 1;
        const int64_t questions = natsl_needle_bytes(t) - natsl_needle_bytes(&fewer);
        int *count = NULL;
        if (t->questions > 1 && 2 * questions > natsl_needle_bytes(t)) count = &t->questions;
        else if (t->restate > 0) count = &t->restate;
        else if (t->keys > 1) count = &t->keys;
        else if (t->values > 1) count = &t->values;
        else return;
        *count -= (*count + 7) / 8;
        if (count != &t->restate && *count < 1) *count = 1;
        if (t->questions > t->keys) t->questions = t->keys;
    }
}

/** told [length]: 1 in needles, wherever they are in the context, 0 elsewhere in it and before, -1 behind it. */
static void mark_told(const natsl_needle_sample *s, int8_t *told)
{
    for (int64_t i = 0; i < s->length; i++) told[i] = i < s->context_end ? 0 : -1;
    for (size_t k = 0; k < s->n_needles; k++) {
        const natsl_needle *n = &s->needles[k];
        const char *from = s->text + n->first;
        const char *at = memmem(from, (size_t)(s->length - n->first), n->value, strlen(n->value));
        const size_t bytes = at ? (size_t)(at - from) + strlen(n->value) + 1 : 0; /* with its full stop */
        memset(told + n->first, 1, bytes);
        for (size_t a = 0; a < s->n_again; a++) {
            if (s->answers[a].needle == (int)k) memset(told + s->answers[a].end - (int64_t)bytes, 1, bytes);
        }
    }
}

static natsl_status needle_window(natsl_data *d, size_t k, natsl_data_part part, uint64_t turn, int64_t tokens,
                                  int32_t *ids, int32_t *targets, int64_t *count, natsl_answer *answers,
                                  size_t *n_answers, int8_t *told)
{
    const source *s = &d->sources[k];
    natsl_rng counts = generator(d, k, part, FOR_COUNTS, turn), rng = generator(d, k, part, FOR_WINDOW, turn);
    natsl_needle_task task = {.key_kind = s->key_kind, .value_kind = s->value_kind, .depth = -1.0};
    natsl_needle_sample sample;
    region r = {.corpus = s->corpus};
    natsl_hay hay = {.read = read_region, .user = &r};
    if (s->corpus) {
        natsl_source_region(s, part, &r.first, &hay.length);
        task.hay = &hay;
    }
    task.keys = draw(&counts, s->keys);
    task.values = draw(&counts, s->values);
    task.questions = draw(&counts, s->questions);
    task.restate = draw(&counts, s->restate);
    if (task.questions > task.keys) task.questions = task.keys;
    lower(&task, tokens);
    const natsl_status st = natsl_needle_make(&task, tokens, &rng, &sample);
    if (st != NATSL_OK) return st;
    const size_t room = n_answers ? *n_answers : 0;
    *count = sample.length;
    for (int64_t i = 0; i < sample.length; i++) ids[i] = (unsigned char)sample.text[i];
    for (int64_t i = 0; i < sample.length; i++) targets[i] = s->all && i + 1 < sample.length ? ids[i + 1] : -1;
    for (size_t a = 0; a < sample.n_answers; a++) {
        const natsl_needle_answer *from = &sample.answers[a];
        /* token i is the target of position i - 1; the header is before every answer */
        for (int64_t i = from->begin; i < from->end; i++) targets[i - 1] = ids[i];
        if (a < room)
            answers[a] = (natsl_answer){.begin = from->begin - 1,
                                        .end = from->end - 1,
                                        .depth = sample.needles[from->needle].depth,
                                        .again = from->again};
    }
    if (n_answers) *n_answers = sample.n_answers < room ? sample.n_answers : room;
    if (told) mark_told(&sample, told);
    natsl_needle_free(&sample);
    return NATSL_OK;
}

static natsl_status copy_window(natsl_data *d, size_t k, natsl_data_part part, uint64_t turn, int64_t tokens,
                                int32_t *ids, int32_t *targets, int64_t *count, natsl_answer *answers,
                                size_t *n_answers)
{
    natsl_rng rng = generator(d, k, part, FOR_WINDOW, turn);
    natsl_copy_again *again = NULL;
    if (n_answers && !(again = natsl_alloc(*n_answers, sizeof *again, "repeated strings"))) return NATSL_ERR_NOMEM;
    const natsl_status st = natsl_copy_make(&d->sources[k].copy, tokens, &rng, ids, targets, count, again, n_answers);
    for (size_t a = 0; st == NATSL_OK && n_answers && a < *n_answers; a++)
        answers[a] = (natsl_answer){
            .begin = again[a].begin, .end = again[a].end, .depth = (double)again[a].first / (double)*count};
    natsl_free(again);
    return st;
}

static natsl_status mqar_window(natsl_data *d, size_t k, natsl_data_part part, uint64_t turn, int64_t tokens,
                                int32_t *ids, int32_t *targets, int64_t *count, natsl_answer *answers,
                                size_t *n_answers)
{
    const source *s = &d->sources[k];
    natsl_rng counts = generator(d, k, part, FOR_COUNTS, turn), rng = generator(d, k, part, FOR_WINDOW, turn);
    int64_t n = draw(&counts, s->pairs);
    if (n > tokens / 4) n = tokens / 4;
    if (n < 1)
        return natsl_fail(NATSL_ERR_USAGE, "a window of %lld tokens: recall needs at least 4", (long long)tokens);
    natsl_mqar_query *queries = natsl_alloc((size_t)n, sizeof *queries, "queries");
    if (!queries) return NATSL_ERR_NOMEM;
    const natsl_status st =
        natsl_mqar_make(s->vocabulary, n, s->random_non_queries, tokens, &rng, ids, targets, queries);
    const size_t room = n_answers ? *n_answers : 0, shown = (uint64_t)n < room ? (size_t)n : room;
    for (size_t a = 0; a < shown && st == NATSL_OK; a++)
        answers[a] = (natsl_answer){.begin = queries[a].position,
                                    .end = queries[a].position + 1,
                                    .depth = 2.0 * (double)queries[a].pair / (double)tokens};
    if (n_answers && st == NATSL_OK) *n_answers = shown;
    *count = tokens;
    natsl_free(queries);
    return st;
}

natsl_status natsl_data_window(natsl_data *d, natsl_data_part part, int64_t index, int64_t tokens, int32_t *ids,
                               int32_t *targets, int64_t *count, natsl_answer *answers, size_t *n_answers)
{
    return natsl_data_window_told(d, part, index, tokens, ids, targets, count, answers, n_answers, NULL);
}

natsl_status natsl_data_window_told(natsl_data *d, natsl_data_part part, int64_t index, int64_t tokens, int32_t *ids,
                                    int32_t *targets, int64_t *count, natsl_answer *answers, size_t *n_answers,
                                    int8_t *told)
{
    uint64_t turn = 0;
    if (index < 0 || tokens < 2 || (part != NATSL_DATA_TRAIN && part != NATSL_DATA_VALIDATION))
        return natsl_fail(NATSL_ERR_USAGE,
                          "window %lld of %lld tokens: expected an index from 0 on and 2 tokens or more",
                          (long long)index, (long long)tokens);
    const size_t k = whose(d, part, (uint64_t)index, &turn);
    if (k == SIZE_MAX)
        return natsl_fail(NATSL_ERR_USAGE, "training data: no source holds anything back for validation");
    if (told && d->sources[k].kind != SOURCE_NEEDLE) memset(told, -1, (size_t)tokens);
    switch (d->sources[k].kind) {
    case SOURCE_NEEDLE: return needle_window(d, k, part, turn, tokens, ids, targets, count, answers, n_answers, told);
    case SOURCE_MQAR: return mqar_window(d, k, part, turn, tokens, ids, targets, count, answers, n_answers);
    case SOURCE_COPY: return copy_window(d, k, part, turn, tokens, ids, targets, count, answers, n_answers);
    case SOURCE_TEXT:
        if (n_answers) *n_answers = 0;
        return text_window(d, k, part, turn, tokens, ids, targets, count);
    }
    return natsl_fail(NATSL_ERR_INTERNAL, "training data: a source of kind %d", (int)d->sources[k].kind);
}
