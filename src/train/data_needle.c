/* data_needle.c - windows of needles in haystacks, in bytes or in the tokens of a tokenizer.json. See data.h. */
#include "data_impl.h"

#include "fit.h"

#include <stdio.h>
#include <string.h>

/* A sample of so many bytes says how many bytes a token has. */
#define PROBE_BYTES 32768
/* Samples that are drawn to know what the longest words take, and other words that are drawn where these do not fit. */
#define PROBES 64
/* Places of a text that are tried where a needle would be in a word of which nobody can tell what its tokens hold. */
#define PLACES 16

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

/** What a window tells and asks. region, hay: room for its haystack, which stays the caller's. */
static natsl_needle_task draw_task(const natsl_data *d, size_t k, natsl_data_part part, uint64_t turn, region *r,
                                   natsl_hay *hay)
{
    const source *s = &d->sources[k];
    natsl_rng counts = natsl_data_generator(d, k, part, NATSL_FOR_COUNTS, turn);
    natsl_needle_task task = {.key_kind = s->key_kind, .value_kind = s->value_kind, .depth = -1.0};
    *r = (region){.corpus = s->corpus};
    *hay = (natsl_hay){.read = read_region, .user = r};
    if (s->corpus) {
        natsl_source_region(s, part, &r->first, &hay->length);
        task.hay = hay;
    }
    task.keys = natsl_data_draw(&counts, s->keys);
    task.values = natsl_data_draw(&counts, s->values);
    task.questions = natsl_data_draw(&counts, s->questions);
    task.restate = natsl_data_draw(&counts, s->restate);
    if (task.questions > task.keys) task.questions = task.keys;
    return task;
}

/** The smallest sample that a source can have: counts are lowered as far as that. */
static natsl_needle_task least_task(const source *s)
{
    return (natsl_needle_task){
        .key_kind = s->key_kind, .value_kind = s->value_kind, .keys = 1, .values = 1, .questions = 1, .depth = -1.0};
}

/** A sample, and where each answer, each needle and what follows the context are in it: in bytes, and in positions of the window. */
typedef struct window {
    natsl_needle_sample sample;
    natsl_text_span *spans; /* [n_answers] answers, [n_told] needles, 1: from the end of the context on */
    int64_t length;
} window;

static natsl_status list_spans(window *w)
{
    const natsl_needle_sample *s = &w->sample;
    w->spans = natsl_alloc(s->n_answers + s->n_told + 1, sizeof *w->spans, "places of answers");
    if (!w->spans) return NATSL_ERR_NOMEM;
    for (size_t a = 0; a < s->n_answers; a++)
        w->spans[a] = (natsl_text_span){.begin = s->answers[a].begin, .end = s->answers[a].end};
    for (size_t k = 0; k < s->n_told; k++)
        w->spans[s->n_answers + k] = (natsl_text_span){.begin = s->told[k].begin, .end = s->told[k].end};
    w->spans[s->n_answers + s->n_told] = (natsl_text_span){.begin = s->context_end, .end = s->length};
    return NATSL_OK;
}

/** Targets, answers and marks of a window whose ids are there. */
static void label(const source *s, const window *w, const int32_t *ids, int32_t *targets, natsl_answer *answers,
                  size_t *n_answers, int8_t *told)
{
    const natsl_needle_sample *sample = &w->sample;
    const size_t room = n_answers ? *n_answers : 0;
    size_t n = 0;
    for (int64_t i = 0; i < w->length; i++) targets[i] = s->all && i + 1 < w->length ? ids[i + 1] : -1;
    for (size_t a = 0; a < sample->n_answers; a++) {
        const natsl_needle_answer *from = &sample->answers[a];
        const natsl_text_span *at = &w->spans[a];
        /* token i is the target of position i - 1; the header is before every answer */
        for (int64_t i = at->first; i < at->last; i++) targets[i - 1] = ids[i];
        if (n < room && at->first < at->last)
            answers[n++] = (natsl_answer){.begin = at->first - 1,
                                          .end = at->last - 1,
                                          .depth = sample->needles[from->needle].depth,
                                          .again = from->again};
    }
    if (n_answers) *n_answers = n;
    if (!told) return;
    const natsl_text_span *of = w->spans + sample->n_answers;
    for (int64_t i = 0; i < w->length; i++) told[i] = i < of[sample->n_told].first ? 0 : -1;
    for (size_t k = 0; k < sample->n_told; k++)
        for (int64_t i = of[k].first; i < of[k].last; i++) told[i] = 1;
}

/* ---- in bytes --------------------------------------------------------------------------------------------------------------- */

static natsl_status make_bytes(natsl_needle_task *task, int64_t tokens, natsl_rng rng, window *w, int32_t *ids)
{
    lower(task, tokens);
    natsl_status st = natsl_needle_make(task, tokens, &rng, &w->sample);
    if (st == NATSL_OK) st = list_spans(w);
    if (st != NATSL_OK) return st;
    w->length = w->sample.length;
    for (int64_t i = 0; i < w->length; i++) ids[i] = (unsigned char)w->sample.text[i];
    for (size_t i = 0; i <= w->sample.n_answers + w->sample.n_told; i++) {
        w->spans[i].first = w->spans[i].begin;
        w->spans[i].last = w->spans[i].end;
    }
    return NATSL_OK;
}

/* ---- in tokens -------------------------------------------------------------------------------------------------------------- */

/** Tokenizes a sample, cut where an answer begins that follows a question, and where it ends. */
static natsl_status encode(natsl_data *d, const natsl_needle_sample *s, int64_t *count)
{
    const natsl_needle_answer *a = s->answers;
    size_t n = 0;
    int64_t *cuts = natsl_alloc(s->n_answers, 2 * sizeof *cuts, "answers");
    if (!cuts) return NATSL_ERR_NOMEM;
    for (size_t i = s->n_again; i < s->n_answers; i++) { /* values that stand side by side are one answer */
        if (i == s->n_again || a[i].begin != a[i - 1].end) cuts[n++] = a[i].begin;
        if (i + 1 == s->n_answers || a[i + 1].begin != a[i].end) cuts[n++] = a[i].end;
    }
    const natsl_status st = natsl_made_encode(d->made, s->text, s->length, 1, cuts, n);
    (void)natsl_made_ids(d->made, count);
    natsl_free(cuts);
    return st;
}

/** The sample with nearly as many tokens as `room`, tokenized: the number of its bytes is found by trying.
 * NATSL_ERR_USAGE: none fits. */
static natsl_status fit(natsl_data *d, const source *s, const natsl_needle_task *task, int64_t room, natsl_rng rng,
                        natsl_needle_sample *out)
{
    const int64_t slack = natsl_fit_slack(room);
    int64_t bytes[2] = {0, 0}, tokens[2] = {0, 0}, n = 0;
    /* of a text rather too much: then it is known what to leave out */
    const double most = (double)(room - slack / 2) * s->bytes_per_token * (s->corpus ? 1.1 : 1.0);
    int64_t try_bytes = room > slack ? (int64_t)most + 1 : 1;
    int in_hand = 0; /* *out is what was tokenized last */
    natsl_status st = NATSL_OK;
    *out = (natsl_needle_sample){0};
    for (int try = 0; try < 48 && (bytes[1] == 0 || bytes[1] - bytes[0] > (out->text ? 16 : 1)); try++) {
        natsl_needle_sample made;
        natsl_rng own = rng;
        st = natsl_needle_make(task, try_bytes, &own, &made);
        if (st == NATSL_ERR_USAGE && !out->text) { /* what it must have takes more bytes than these */
            st = NATSL_OK;
            if (try_bytes > 64 * room + PROBE_BYTES) break;
            bytes[0] = try_bytes;
            try_bytes = bytes[1] == 0 ? 2 * try_bytes : bytes[0] + (bytes[1] - bytes[0]) / 2;
            continue;
        }
        if (st == NATSL_OK) st = encode(d, &made, &n);
        if (st != NATSL_OK) {
            natsl_needle_free(&made);
            break;
        }
        const int over = n > room;
        /* without the end of the haystack that is too much */
        const int64_t shorter = try_bytes - natsl_made_back(d->made, made.context_end, n - room + slack / 2);
        bytes[over] = try_bytes;
        tokens[over] = n;
        in_hand = !over;
        if (over) natsl_needle_free(&made);
        else natsl_needle_free(out), *out = made;
        if (!over && room - n <= slack) break;
        try_bytes = natsl_fit_next(bytes, tokens, room - slack / 2, try);
        if (over && shorter > bytes[0] && shorter < bytes[1] && try < 8) try_bytes = shorter;
    }
    if (st == NATSL_OK && !out->text)
        st = natsl_fail(NATSL_ERR_USAGE, "needles: they take more than the %lld tokens of the sample", (long long)room);
    if (st == NATSL_OK && !in_hand) st = encode(d, out, &n);
    if (st != NATSL_OK) natsl_needle_free(out);
    return st;
}

static natsl_status make_tokens(natsl_data *d, const source *s, natsl_needle_task *task, natsl_hay *hay, int64_t tokens,
                                natsl_rng rng, window *w, int32_t *ids)
{
    size_t before = 0;
    int64_t n = 0;
    const int32_t *special = s->special ? natsl_tokenizer_around(d->tokenizer, 0, &before) : NULL;
    const int64_t shift = (int64_t)before, room = tokens - shift;
    natsl_status st = NATSL_OK;
    if (task->hay) { /* where it begins must not depend on how long it is, which is found by trying */
        const double most = (double)tokens * s->bytes_per_token * 1.1;
        const uint64_t whole = (uint64_t)task->hay->length, want = (uint64_t)most;
        hay->fixed = 1;
        hay->start = (int64_t)natsl_rng_below(&rng, whole > want ? whole - want : whole);
    }
    lower(task, (int64_t)((double)(room > 0 ? room : 0) * s->needle_bytes));
    for (int try = 0;; try++) {
        st = fit(d, s, task, room, rng, &w->sample);
        if (st != NATSL_ERR_USAGE || try == PROBES) break;
        const int64_t needs = natsl_needle_bytes(task);
        lower(task, needs - 1);
        if (natsl_needle_bytes(task) == needs) (void)natsl_rng_next(&rng); /* nothing is left to lower: other words */
    }
    if (st == NATSL_OK) st = list_spans(w);
    if (st == NATSL_OK) st = natsl_made_locate(d->made, w->spans, w->sample.n_answers + w->sample.n_told + 1);
    if (st != NATSL_OK) return st;
    const int32_t *made = natsl_made_ids(d->made, &n);
    if (before > 0) memcpy(ids, special, before * sizeof *ids);
    memcpy(ids + before, made, (size_t)n * sizeof *ids);
    w->length = n + shift;
    for (size_t i = 0; i <= w->sample.n_answers + w->sample.n_told; i++) {
        w->spans[i].first += shift;
        w->spans[i].last += shift;
        /* nothing foretells the first token: should an answer be in a word at the beginning of which nobody knows what holds what */
        if (i < w->sample.n_answers && w->spans[i].first < 1) w->spans[i].first = 1;
    }
    return NATSL_OK;
}

natsl_status natsl_needle_window(natsl_data *d, size_t k, natsl_data_part part, uint64_t turn, int64_t tokens,
                                 int32_t *ids, int32_t *targets, int64_t *count, natsl_answer *answers,
                                 size_t *n_answers, int8_t *told)
{
    const source *s = &d->sources[k];
    natsl_rng rng = natsl_data_generator(d, k, part, NATSL_FOR_WINDOW, turn);
    region r;
    natsl_hay hay;
    natsl_needle_task task = draw_task(d, k, part, turn, &r, &hay);
    window w = {0};
    natsl_status st = NATSL_OK;
    for (int place = 0;; place++) {
        st = d->made ? make_tokens(d, s, &task, &hay, tokens, rng, &w, ids) : make_bytes(&task, tokens, rng, &w, ids);
        if (st != NATSL_ERR_INPUT || place == PLACES) break;
        (void)natsl_rng_next(&rng);
        natsl_free(w.spans);
        natsl_needle_free(&w.sample);
        w = (window){0};
    }
    if (st == NATSL_OK) label(s, &w, ids, targets, answers, n_answers, told);
    *count = w.length;
    natsl_free(w.spans);
    natsl_needle_free(&w.sample);
    return st;
}

/* ---- before the first window ------------------------------------------------------------------------------------------------ */

natsl_status natsl_needle_least(natsl_data *d, const source *s, int64_t *least)
{
    natsl_needle_task task = least_task(s);
    natsl_rng rng = natsl_rng_at(0, 0, 0);
    size_t before = 0;
    *least = natsl_needle_bytes(&task);
    if (!d->made) return NATSL_OK;
    if (s->special) (void)natsl_tokenizer_around(d->tokenizer, 0, &before);
    task.bare = 1;
    const int64_t room = *least;
    *least = 0;
    for (int i = 0; i < PROBES; i++) {
        natsl_needle_sample sample;
        int64_t n = 0;
        natsl_status st = natsl_needle_make(&task, room, &rng, &sample);
        if (st == NATSL_OK) st = encode(d, &sample, &n);
        natsl_needle_free(&sample);
        if (st != NATSL_OK) return st;
        if (n > *least) *least = n;
    }
    *least += (int64_t)before + 4; /* what joins a needle to a text, and words that were not among these */
    return NATSL_OK;
}

/** Bytes per token of a sample of the task (of_bound: of its longest possible text, not of its own), of which is also
 * seen whether what it asks and tells can be found among the tokens. */
static natsl_status measure(natsl_data *d, const natsl_needle_task *task, int64_t bytes, int of_bound, double *ratio)
{
    natsl_rng rng = natsl_rng_at(0, 0, 0);
    window w = {0};
    int64_t n = 0;
    natsl_status st = natsl_needle_make(task, bytes, &rng, &w.sample);
    if (st != NATSL_OK) return st;
    st = encode(d, &w.sample, &n);
    if (st == NATSL_OK) st = list_spans(&w);
    if (st == NATSL_OK) st = natsl_made_locate(d->made, w.spans, w.sample.n_answers + w.sample.n_told + 1);
    *ratio = (double)(of_bound ? bytes : w.sample.length) / (double)(n > 0 ? n : 1);
    natsl_free(w.spans);
    natsl_needle_free(&w.sample);
    return st;
}

natsl_status natsl_needle_prepare(natsl_data *d, source *s, const char *where)
{
    static const char *const letters[] = {[NATSL_NUMBERS] = "0123456789",
                                          [NATSL_WORDS] = "abcdefghijklmnopqrstuvwxyz-",
                                          [NATSL_UUIDS] = "0123456789abcdef-",
                                          [NATSL_SYLLABLES] = "abcdefghijklmnopqrstuvwxyz"};
    natsl_needle_task task = least_task(s), many = least_task(s);
    region r = {.corpus = s->corpus};
    natsl_hay hay = {.read = read_region, .user = &r};
    const char *key = "kind";
    natsl_status st = NATSL_OK;
    for (int value = 0; value < 2 && st == NATSL_OK; value++) {
        int keeps = 0;
        st = natsl_made_keeps(d->made, letters[value ? s->value_kind : s->key_kind], &keeps);
        if (st == NATSL_OK && !keeps)
            return natsl_fail(
                NATSL_ERR_INPUT,
                "%s.%s: the model's tokenizer cannot write what these are made of (%s comes out otherwise), "
                "expected another kind, or another tokenizer",
                where, value ? "value_kind" : "key_kind", letters[value ? s->value_kind : s->key_kind]);
    }
    many.bare = 1;
    many.keys = 16;
    many.questions = 4;
    if (st == NATSL_OK) st = measure(d, &many, natsl_needle_bytes(&many), 1, &s->needle_bytes);
    s->needle_bytes *= 0.9; /* others may have more tokens */
    if (s->corpus) {
        natsl_source_region(s, NATSL_DATA_TRAIN, &r.first, &hay.length);
        task.hay = &hay;
        if (st == NATSL_OK) key = "files";
    }
    if (st == NATSL_OK) st = measure(d, &task, PROBE_BYTES, 0, &s->bytes_per_token);
    if (st != NATSL_ERR_INPUT) return st;
    char line[1024];
    (void)snprintf(line, sizeof line, "%s", natsl_error_text());
    return natsl_fail(st, "%s.%s: %s", where, key, line);
}
