/* data.c - windows of training data: whose turn it is, and what is in them. See data.h. */
#include "data_impl.h"

#include "mqar.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/** A share of all: what turn[] counts in. */
#define WHOLE ((uint64_t)1 << 32)

natsl_rng natsl_data_generator(const natsl_data *d, size_t k, natsl_data_part part, natsl_purpose purpose,
                               uint64_t index)
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
    st = natsl_corpus_agree(ranks, st);
    if (st != NATSL_OK) goto cleanup;
    d->seed = seed;
    if (ranks) {
        d->tokenizer = ranks->tokenizer;
        NATSL_TRY(st, cleanup, natsl_corpus_agree(ranks, natsl_made_create(ranks->tokenizer, &d->made)));
    }
    (void)snprintf(d->where, sizeof d->where, "%s", where);
    while (d->count < n) {
        char at[512];
        (void)snprintf(at, sizeof at, "%s[%zu]", d->where, d->count);
        source *s = &d->sources[d->count++]; /* counted now: what it opens is closed */
        st = natsl_source_parse(d, json_array_get(spec, d->count - 1), at, directory, config, tokenizer, ranks, s);
        NATSL_TRY(st, cleanup, natsl_corpus_agree(ranks, st));
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
    natsl_made_destroy(&d->made);
    natsl_free(d->sources);
    natsl_free(d);
    *data = NULL;
}

/** What a tokenizer says of a made text names the source, too. */
static natsl_status named(const natsl_data *d, size_t k, natsl_status st)
{
    char line[1024];
    if (st != NATSL_ERR_INPUT) return st;
    (void)snprintf(line, sizeof line, "%s", natsl_error_text());
    return natsl_fail(st, "%s[%zu]: %s", d->where, k, line);
}

natsl_status natsl_data_check(natsl_data *d, int64_t tokens)
{
    for (size_t k = 0; k < d->count; k++) {
        const source *s = &d->sources[k];
        int64_t least = s->kind == SOURCE_MQAR ? 4 : 2;
        natsl_status st = NATSL_OK;
        if (s->kind == SOURCE_NEEDLE) st = named(d, k, natsl_needle_least(d, s, &least));
        if (st != NATSL_OK) return st;
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
        natsl_rng shift = natsl_data_generator(d, k, part, NATSL_FOR_SHIFT, epoch);
        first += (int64_t)natsl_rng_below(&shift, (uint64_t)(length - (int64_t)windows * n) + 1);
        w = natsl_rng_permute(natsl_data_generator(d, k, part, NATSL_FOR_ORDER, epoch).state, windows, w);
    }
    const natsl_status st = natsl_corpus_read(s->corpus, first + (int64_t)w * n, n, ids);
    if (st != NATSL_OK) return st;
    memcpy(targets, ids + 1, (size_t)(n - 1) * sizeof *targets);
    targets[n - 1] = -1;
    *count = n;
    return NATSL_OK;
}

int natsl_data_draw(natsl_rng *rng, range r) { return r.lo + (int)natsl_rng_below(rng, (uint64_t)(r.hi - r.lo) + 1); }

/** A line as the middle of a text (natsl_copy_coder). */
static natsl_status encode_line(void *user, const char *line, int64_t bytes, int64_t room, int32_t *ids, int64_t *count,
                                int64_t *cue)
{
    natsl_made_text *made = user;
    natsl_text_span span = {.begin = 0, .end = NATSL_COPY_CUE};
    natsl_status st = natsl_made_encode(made, line, bytes, 0, NULL, 0);
    if (st == NATSL_OK) st = natsl_made_locate(made, &span, 1);
    if (st != NATSL_OK) return st;
    const int32_t *all = natsl_made_ids(made, count);
    if (*count <= room) memcpy(ids, all, (size_t)*count * sizeof *ids);
    *cue = span.last;
    return NATSL_OK;
}

static natsl_status copy_window(natsl_data *d, size_t k, natsl_data_part part, uint64_t turn, int64_t tokens,
                                int32_t *ids, int32_t *targets, int64_t *count, natsl_answer *answers,
                                size_t *n_answers)
{
    natsl_rng rng = natsl_data_generator(d, k, part, NATSL_FOR_WINDOW, turn);
    natsl_copy_again *again = NULL;
    if (n_answers && !(again = natsl_alloc(*n_answers, sizeof *again, "repeated strings"))) return NATSL_ERR_NOMEM;
    const natsl_copy_coder coder = {.encode = encode_line, .user = d->made};
    const natsl_status st = natsl_copy_make(&d->sources[k].copy, d->made ? &coder : NULL, tokens, &rng, ids, targets,
                                            count, again, n_answers);
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
    natsl_rng counts = natsl_data_generator(d, k, part, NATSL_FOR_COUNTS, turn),
              rng = natsl_data_generator(d, k, part, NATSL_FOR_WINDOW, turn);
    int64_t n = natsl_data_draw(&counts, s->pairs);
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
    case SOURCE_NEEDLE:
        return named(d, k,
                     natsl_needle_window(d, k, part, turn, tokens, ids, targets, count, answers, n_answers, told));
    case SOURCE_MQAR: return mqar_window(d, k, part, turn, tokens, ids, targets, count, answers, n_answers);
    case SOURCE_COPY:
        return named(d, k, copy_window(d, k, part, turn, tokens, ids, targets, count, answers, n_answers));
    case SOURCE_TEXT:
        if (n_answers) *n_answers = 0;
        return text_window(d, k, part, turn, tokens, ids, targets, count);
    }
    return natsl_fail(NATSL_ERR_INTERNAL, "training data: a source of kind %d", (int)d->sources[k].kind);
}
