/* ruler.c - RULER's samples, as its own program makes them: how much fits, and one after the other. See ruler.h. */
#include "ruler_impl.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char upper[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";

#define EXAMPLE_TOKENS 500
#define MOST_UNITS     ((int64_t)1 << 28)

/* ---- small things ---------------------------------------------------------------------------------------------------- */

/** The permutation that a fresh generator gives: what comes to place i was at order[i]. */
size_t *natsl_ruler_order(const natsl_ruler *r, size_t n)
{
    natsl_mt fresh;
    size_t *order = natsl_alloc(n, sizeof *order, "a permutation");
    natsl_py_seed(&fresh, r->fixed);
    if (order) natsl_py_shuffle(&fresh, n, order);
    return order;
}

/** Gives the text to the sample. NATSL_ERR_NOMEM when it is not whole. */
natsl_status natsl_ruler_take(natsl_buffer *b, natsl_eval_sample *out)
{
    if (b->failed) {
        natsl_buffer_free(b);
        return NATSL_ERR_NOMEM;
    }
    out->text = b->text;
    out->length = (int64_t)b->length;
    *b = (natsl_buffer){0};
    return NATSL_OK;
}

/* ---- the example of variable tracking -------------------------------------------------------------------------------- */

/** Everywhere in *b: what -> with, of the same or another length. */
static void replace(natsl_buffer *b, const char *what, const char *with)
{
    const size_t n = strlen(what);
    natsl_buffer out = {0};
    for (size_t i = 0; i < b->length;) {
        if (n <= b->length - i && memcmp(b->text + i, what, n) == 0) {
            natsl_puts(&out, with);
            i += n;
        } else natsl_put(&out, b->text + i++, 1);
    }
    out.failed |= b->failed;
    natsl_buffer_free(b);
    *b = out;
}

/** The example with names and value of its own, before the text of the sample. */
static natsl_status add_example(natsl_ruler *r, natsl_eval_sample *sample)
{
    natsl_buffer b = {0};
    char words[NATSL_RULER_HOPS + 1][64], fresh[64];
    natsl_put(&b, r->example.text, r->example.length);
    size_t end = b.length; /* the last five words, as they are before any is replaced */
    for (size_t i = NATSL_RULER_HOPS + 1; i-- > 0;) {
        while (end > 0 && natsl_blank_bytes(b.text + end - 1, 1)) end--;
        size_t begin = end;
        while (begin > 0 && !natsl_blank_bytes(b.text + begin - 1, 1)) begin--;
        (void)snprintf(words[i], sizeof words[i], "%.*s", (int)(end - begin < 60 ? end - begin : 60), b.text + begin);
        end = begin;
    }
    for (size_t i = 0; i <= NATSL_RULER_HOPS; i++) {
        natsl_py_choices(&r->p, upper, strlen(words[i]), fresh);
        replace(&b, words[i], fresh);
    }
    (void)snprintf(fresh, sizeof fresh, "%lld", (long long)natsl_np_randint(&r->q, 10000, 99999));
    replace(&b, "12345", fresh);
    natsl_put(&b, "\n", 1);
    const int64_t before = (int64_t)b.length;
    natsl_put(&b, sample->text, (size_t)sample->length);
    natsl_free(sample->text);
    sample->text = NULL;
    const int64_t input = sample->input + before;
    const natsl_status st = natsl_ruler_take(&b, sample);
    sample->input = input;
    return st;
}

/* ---- questions about documents --------------------------------------------------------------------------------------- */

static int among(const size_t *list, size_t n, size_t what)
{
    for (size_t i = 0; i < n; i++) {
        if (list[i] == what) return 1;
    }
    return 0;
}

/** Numbers of n documents for a question, those that answer it first. */
static natsl_status pick_documents(natsl_ruler *r, const natsl_questions *qs, const natsl_question *q, size_t n,
                                   size_t *picks)
{
    natsl_status st = NATSL_OK;
    if (n >= qs->n_documents) {
        for (size_t i = 0; i < n; i++) picks[i] = i % qs->n_documents;
        return st;
    }
    if (n < q->n_gold)
        return natsl_fail(NATSL_ERR_USAGE, "%s: %zu documents are fewer than the %zu that answer a question",
                          r->task->name, n, q->n_gold);
    memcpy(picks, q->gold, q->n_gold * sizeof *picks);
    const size_t wanted = n - q->n_gold;
    const int all_more = wanted > q->n_more;
    size_t pool = 0;
    /* an article that has a document twice names it twice */
    size_t *others =
        natsl_alloc(qs->n_documents > q->n_more ? qs->n_documents : q->n_more, sizeof *others, "documents");
    if (!others) return NATSL_ERR_NOMEM;
    if (all_more) {
        memcpy(picks + q->n_gold, q->more, q->n_more * sizeof *picks);
        for (size_t i = 0; i < qs->n_documents; i++) {
            if (!among(q->gold, q->n_gold, i) && !among(q->more, q->n_more, i)) others[pool++] = i;
        }
    } else {
        memcpy(others, q->more, q->n_more * sizeof *others);
        pool = q->n_more;
    }
    const size_t first = q->n_gold + (all_more ? q->n_more : 0), draws = n - first;
    size_t *drawn = natsl_alloc(draws, sizeof *drawn, "documents");
    st = drawn ? natsl_py_sample(&r->p, pool, draws, drawn) : NATSL_ERR_NOMEM;
    for (size_t i = 0; i < draws && st == NATSL_OK; i++) picks[first + i] = others[drawn[i]];
    natsl_free(drawn);
    natsl_free(others);
    return st;
}

static const char qa_begin[] =
    "Answer the question based on the given documents. Only give me the answer and do not output "
    "any other words.\n\nThe following are given documents.\n\n",
                  qa_middle[] =
                      "\n\nAnswer the question based on the given documents. Only give me the answer and do not "
                      "output any other words.\n\nQuestion: ";

static natsl_status qa(natsl_ruler *r, int64_t index, int64_t n, natsl_eval_sample *out)
{
    const natsl_questions *qs = r->sources->questions[strcmp(r->task->name, "qa_2") == 0];
    const natsl_question *q = &qs->questions[(size_t)index % qs->n_questions];
    natsl_buffer b = {0};
    size_t *picks = natsl_alloc((size_t)n, sizeof *picks, "documents"), *order = natsl_ruler_order(r, (size_t)n);
    natsl_status st = picks && order ? pick_documents(r, qs, q, (size_t)n, picks) : NATSL_ERR_NOMEM;
    if (st == NATSL_OK && r->depth >= 0.0) { /* the first document that answers goes to its place */
        size_t from = 0;
        const size_t to = (size_t)llround(r->depth * (double)(n - 1));
        while (from + 1 < (size_t)n && picks[order[from]] != q->gold[0]) from++;
        const size_t moved = order[from];
        for (; from < to; from++) order[from] = order[from + 1];
        for (; from > to; from--) order[from] = order[from - 1];
        order[to] = moved;
    }
    natsl_puts(&b, qa_begin);
    const size_t context = b.length;
    size_t gold = SIZE_MAX;
    for (size_t i = 0; i < (size_t)n && st == NATSL_OK; i++) {
        const size_t pick = picks[order[i]];
        if (i) natsl_puts(&b, "\n\n");
        if (gold == SIZE_MAX && pick == q->gold[0]) gold = b.length;
        natsl_puts(&b, "Document ");
        natsl_put_number(&b, (long long)i + 1);
        natsl_puts(&b, ":\n");
        natsl_puts(&b, qs->documents[pick]);
    }
    const double depth = gold == SIZE_MAX ? -1.0 : (double)(gold - context) / (double)(b.length - context);
    natsl_puts(&b, qa_middle);
    natsl_puts(&b, q->query);
    out->input = (int64_t)b.length;
    natsl_puts(&b, " Answer:");
    if (st == NATSL_OK) st = natsl_eval_outputs(out, q->n_answers);
    for (size_t i = 0; i < q->n_answers && st == NATSL_OK; i++)
        st = natsl_eval_output_set(&out->outputs[i], q->answers[i], strlen(q->answers[i]), depth);
    if (st == NATSL_OK) st = natsl_ruler_take(&b, out);
    natsl_buffer_free(&b);
    natsl_free(picks);
    natsl_free(order);
    return st;
}

/* ---- fitting the length ---------------------------------------------------------------------------------------------- */

/** One sample with n units of haystack. */
static natsl_status build(natsl_ruler *r, int64_t index, int64_t n, natsl_eval_sample *out)
{
    natsl_status st = NATSL_OK;
    memset(out, 0, sizeof *out);
    if (n < 1 || n > MOST_UNITS)
        return natsl_fail(NATSL_ERR_USAGE, "%s: %lld units of haystack", r->task->name, (long long)n);
    switch (r->task->kind) {
    case NATSL_EVAL_NIAH: st = natsl_ruler_niah(r, n, out); break;
    case NATSL_EVAL_VT: st = natsl_ruler_track(r, n, 5, NULL, out); break;
    case NATSL_EVAL_CWE: st = natsl_ruler_cwe(r, n, out); break;
    case NATSL_EVAL_QA: st = qa(r, index, n, out); break;
    default: st = natsl_fail(NATSL_ERR_INTERNAL, "%s has no units", r->task->name);
    }
    if (st != NATSL_OK) natsl_eval_sample_free(out);
    return st;
}

/** Whether a sample, example and answer included, has r->length tokens or fewer. */
static natsl_status fits_length(const natsl_ruler *r, const natsl_eval_sample *s, int *fits)
{
    const int64_t room = r->length - r->max_new - r->example_tokens - r->before;
    int64_t tokens = 0;
    const natsl_status st = natsl_measure_count(r->sources->measure, s->text, (size_t)s->length, room, &tokens);
    *fits = tokens <= room;
    return st;
}

/** The most units that fit, as upstream looks for them: r->units. */
static natsl_status find_units(natsl_ruler *r)
{
    const int common = r->task->kind == NATSL_EVAL_CWE;
    const int64_t probe = common ? 4096 : r->step;
    natsl_eval_sample s;
    int64_t tokens = 0;
    natsl_status st = build(r, 0, probe, &s);
    if (st != NATSL_OK) return st;
    /* the probe's answer is not counted */
    st = natsl_measure_count(r->sources->measure, s.text, (size_t)s.length, INT64_MAX, &tokens);
    const double each = (double)tokens / (double)probe;
    natsl_eval_sample_free(&s);
    if (st != NATSL_OK) return st;
    int64_t lo = r->step,
            hi = common ? (int64_t)floor((double)r->length / each) * 2 : (int64_t)((double)r->length / each * 3.0);
    if (hi < 2 * r->step) hi = 2 * r->step;
    r->units = 0;
    while (lo <= hi) {
        const int64_t middle = (lo + hi) / 2;
        int fits = 0;
        if ((st = build(r, 0, middle, &s)) != NATSL_OK) return st;
        st = fits_length(r, &s, &fits);
        natsl_eval_sample_free(&s);
        if (st != NATSL_OK) return st;
        if (fits) r->units = middle, lo = middle + 1;
        else hi = middle - 1;
    }
    if (r->units == 0) r->units = r->step;
    return NATSL_OK;
}

/** A sample of at most r->length tokens, with fewer units where r->units are too many. */
static natsl_status fit(natsl_ruler *r, int64_t index, natsl_eval_sample *out)
{
    for (int64_t n = r->units;; n -= r->step) {
        int fits = 0;
        natsl_status st = build(r, index, n, out);
        if (st == NATSL_OK) st = fits_length(r, out, &fits);
        if (st != NATSL_OK || fits) return st;
        natsl_eval_sample_free(out);
        if (n <= r->step)
            return natsl_fail(NATSL_ERR_USAGE,
                              "%s: sample %lld does not fit in %lld tokens with %lld units of haystack", r->task->name,
                              (long long)index, (long long)r->length, (long long)n);
    }
}

static int64_t step_of(const natsl_eval_task *t, int64_t length)
{
    switch (t->kind) {
    case NATSL_EVAL_NIAH: return t->text ? 500 : length < 4096 ? 5 : 25;
    case NATSL_EVAL_VT: return length < 4096 ? 5 : 10;
    default: return 10;
    }
}

static natsl_status check_sources(const natsl_ruler_sources *s, const natsl_eval_task *t, int lists)
{
    if (lists && !s->lists)
        return natsl_fail(
            NATSL_ERR_USAGE,
            "%s: exact samples need the lists of the Python package wonderwords, expected --word-lists DIR "
            "(tools/setup --word-lists gets them)",
            t->name);
    if (t->kind == NATSL_EVAL_NIAH && t->text && !s->essay)
        return natsl_fail(NATSL_ERR_USAGE, "%s: hides its needles in a text, expected --haystack FILE", t->name);
    if (t->kind == NATSL_EVAL_QA && !s->questions[strcmp(t->name, "qa_2") == 0])
        return natsl_fail(NATSL_ERR_USAGE, "%s: asks about documents of a file of yours, expected %s", t->name,
                          strcmp(t->name, "qa_2") == 0
                              ? "--hotpot hotpot_dev_distractor_v1.json (of HotpotQA's web site)"
                              : "--squad dev-v2.0.json (SQuAD 2.0's development set, of its web site)");
    return NATSL_OK;
}

static int wants_lists(const natsl_eval_task *t)
{
    return t->kind == NATSL_EVAL_CWE || (t->kind == NATSL_EVAL_NIAH && t->key_kind == NATSL_WORDS);
}

natsl_status natsl_ruler_check(const natsl_ruler_sources *sources, const natsl_eval_task *task, int64_t length,
                               int64_t max_new, int exact)
{
    const natsl_status st = check_sources(sources, task, exact && wants_lists(task));
    /* what samples need in all is known when they are made */
    const int64_t least = natsl_measure_of(sources->measure) == NATSL_MEASURE_BYTES ? 256 : 64;
    if (st != NATSL_OK || length >= max_new + least) return st;
    return natsl_fail(NATSL_ERR_USAGE, "%s: does not fit in %lld tokens with %lld to generate", task->name,
                      (long long)length, (long long)max_new);
}

static natsl_status start(natsl_ruler *r, const natsl_ruler_sources *sources, const natsl_eval_task *task,
                          int64_t length, int64_t max_new)
{
    *r = (natsl_ruler){.sources = sources,
                       .task = task,
                       .length = length,
                       .max_new = max_new,
                       .fixed = sources->seed,
                       .depth = -1.0,
                       .step = step_of(task, length),
                       .small = length < 4096,
                       .vocabulary = (length - max_new) / 50};
    natsl_py_seed(&r->p, sources->seed);
    natsl_np_seed(&r->q, (uint32_t)sources->seed);
    if (task->kind != NATSL_EVAL_CWE || !sources->lists) return NATSL_OK;
    r->words = natsl_ruler_order(r, sources->lists->all.count);
    return r->words ? NATSL_OK : NATSL_ERR_NOMEM;
}

static void finish(natsl_ruler *r)
{
    natsl_free(r->words);
    natsl_buffer_free(&r->example);
}

/** The example of variable tracking: a sample of 500 tokens with short names, and its answer. */
static natsl_status make_example(natsl_ruler *r)
{
    natsl_ruler small = *r;
    natsl_eval_sample s = {0};
    int64_t lo = 5, hi = 10, n = 5, tokens = 0;
    natsl_status st = NATSL_OK;
    for (int probe = 1; st == NATSL_OK && (probe || lo <= hi); probe = 0) {
        const int64_t middle = probe ? 5 : (lo + hi) / 2;
        natsl_eval_sample_free(&s);
        if ((st = natsl_ruler_track(&small, middle, 3, "12345", &s)) != NATSL_OK) break;
        st = natsl_measure_count(r->sources->measure, s.text, (size_t)s.length, INT64_MAX, &tokens);
        if (st != NATSL_OK) break;
        if (probe) {
            const int64_t guess = (int64_t)(EXAMPLE_TOKENS / ((double)tokens / 5.0) * 3.0);
            hi = guess > 10 ? guess : 10;
        } else if (tokens <= EXAMPLE_TOKENS) n = middle, lo = middle + 1;
        else hi = middle - 1;
    }
    do { /* where tokens are small not even the shortest fits: upstream would try for ever */
        natsl_eval_sample_free(&s);
        if (st == NATSL_OK) st = natsl_ruler_track(&small, n, 3, "12345", &s);
        if (st == NATSL_OK) st = natsl_measure_count(r->sources->measure, s.text, (size_t)s.length, INT64_MAX, &tokens);
        n -= 5;
    } while (st == NATSL_OK && tokens > EXAMPLE_TOKENS && n >= 5);
    if (st == NATSL_OK) {
        natsl_put(&r->example, s.text, (size_t)s.length);
        for (size_t i = 0; i < s.n_outputs; i++) {
            natsl_put(&r->example, " ", 1);
            natsl_puts(&r->example, s.outputs[i].text);
        }
        natsl_put(&r->example, "\n", 1);
        if (r->example.failed) st = NATSL_ERR_NOMEM;
    }
    natsl_eval_sample_free(&s);
    r->p = small.p;
    if (st == NATSL_OK)
        st =
            natsl_measure_count(r->sources->measure, r->example.text, r->example.length, INT64_MAX, &r->example_tokens);
    return st;
}

natsl_status natsl_ruler_open(const natsl_ruler_sources *sources, const natsl_eval_task *task, int64_t length,
                              int64_t max_new, natsl_ruler **out)
{
    natsl_eval_sample s = {0};
    *out = NULL;
    natsl_status st = natsl_ruler_check(sources, task, length, max_new, 1);
    if (st != NATSL_OK) return st;
    natsl_ruler *r = natsl_alloc(1, sizeof *r, "samples");
    if (!r) return NATSL_ERR_NOMEM;
    st = start(r, sources, task, length, max_new);
    if (st == NATSL_OK && task->kind == NATSL_EVAL_VT) st = make_example(r);
    if (st == NATSL_OK && task->kind != NATSL_EVAL_FWE) st = find_units(r);
    if (st == NATSL_OK && task->kind == NATSL_EVAL_FWE) st = natsl_ruler_fwe(r, &r->units, &s);
    natsl_eval_sample_free(&s);
    if (st != NATSL_OK) natsl_ruler_close(&r);
    *out = r;
    return st;
}

void natsl_ruler_close(natsl_ruler **ruler)
{
    if (!*ruler) return;
    finish(*ruler);
    natsl_free(*ruler);
    *ruler = NULL;
}

natsl_status natsl_ruler_next(natsl_ruler *r, natsl_eval_sample *out)
{
    memset(out, 0, sizeof *out);
    int64_t words = r->units; /* shrinks for this sample only */
    natsl_status st = r->task->kind == NATSL_EVAL_FWE ? natsl_ruler_fwe(r, &words, out) : fit(r, r->index, out);
    if (st == NATSL_OK && r->example.length > 0) st = add_example(r, out);
    if (st != NATSL_OK) natsl_eval_sample_free(out);
    r->index++;
    return st;
}

natsl_status natsl_ruler_single(const natsl_ruler_sources *sources, const natsl_eval_task *task, int64_t units,
                                int64_t vocabulary, natsl_eval_sample *out)
{
    natsl_ruler r;
    memset(out, 0, sizeof *out);
    natsl_status st = start(&r, sources, task, 4096, 128);
    r.vocabulary = vocabulary;
    if (st == NATSL_OK && task->kind == NATSL_EVAL_FWE) {
        natsl_code_word *codes = NULL;
        size_t count = 0;
        st = natsl_ruler_codes(&r, &codes, &count);
        if (st == NATSL_OK) st = natsl_ruler_coded_text(&r, codes, count, units, out);
        natsl_free(codes);
    } else if (st == NATSL_OK) {
        st = build(&r, 0, units, out);
    }
    finish(&r);
    if (st != NATSL_OK) natsl_eval_sample_free(out);
    return st;
}

/** Units of the smallest sample. */
static int64_t least_units(const natsl_ruler *r, int64_t index)
{
    if (r->task->kind == NATSL_EVAL_CWE) return 16;
    if (r->task->kind != NATSL_EVAL_QA) return NATSL_RULER_HOPS + 1;
    const natsl_questions *qs = r->sources->questions[strcmp(r->task->name, "qa_2") == 0];
    const int64_t gold = (int64_t)qs->questions[(size_t)index % qs->n_questions].n_gold;
    return gold > NATSL_RULER_HOPS + 1 ? gold : NATSL_RULER_HOPS + 1;
}

/** r's units: the most with which a sample drawn from these generators fits. */
static natsl_status fill(natsl_ruler *r, int64_t index, natsl_eval_sample *out)
{
    const natsl_mt p = r->p, q = r->q;
    int64_t fits = 0, above = 0;
    natsl_status st = NATSL_OK;
    for (int64_t n = least_units(r, index); st == NATSL_OK && above - fits != 1;) {
        r->p = p;
        r->q = q;
        natsl_eval_sample_free(out);
        int small = 0;
        st = build(r, index, n, out);
        if (st == NATSL_OK) st = fits_length(r, out, &small);
        if (st != NATSL_OK) break;
        if (small) fits = n;
        else above = n;
        if (fits == 0)
            return natsl_fail(NATSL_ERR_USAGE, "%s: does not fit in %lld tokens", r->task->name, (long long)r->length);
        n = above == 0 ? 2 * fits : fits + (above - fits) / 2;
    }
    if (st == NATSL_OK) {
        r->p = p;
        r->q = q;
        natsl_eval_sample_free(out);
        st = build(r, index, fits, out);
    }
    return st;
}

/** As many coded words as fit. */
static natsl_status fill_codes(natsl_ruler *r, natsl_eval_sample *out)
{
    natsl_code_word *codes = NULL;
    size_t count = 0;
    int64_t fits = 0, above = r->length; /* a word has a byte and a blank at least */
    natsl_status st = natsl_ruler_codes(r, &codes, &count);
    while (st == NATSL_OK && above - fits > 1) {
        const int64_t middle = fits + (above - fits) / 2;
        natsl_eval_sample_free(out);
        int small = 0;
        st = natsl_ruler_coded_text(r, codes, count, middle, out);
        if (st == NATSL_OK) st = fits_length(r, out, &small);
        if (small) fits = middle;
        else above = middle;
    }
    natsl_eval_sample_free(out);
    if (st == NATSL_OK && fits < 50) /* fewer, and the third most frequent word does not come */
        st = natsl_fail(NATSL_ERR_USAGE, "fwe: no coded text fits in %lld tokens", (long long)r->length);
    if (st == NATSL_OK) st = natsl_ruler_coded_text(r, codes, count, fits, out);
    natsl_free(codes);
    return st;
}

natsl_status natsl_ruler_spread(const natsl_ruler_sources *sources, const natsl_eval_task *task, int64_t length,
                                int64_t max_new, int64_t before, natsl_rng rng, double depth, natsl_eval_sample *out)
{
    natsl_ruler r;
    natsl_ruler_sources own = *sources;
    memset(out, 0, sizeof *out);
    natsl_status st = check_sources(sources, task, 0);
    if (st != NATSL_OK) return st;
    own.seed = natsl_rng_next(&rng);
    st = start(&r, &own, task, length, max_new);
    const int64_t index = task->kind == NATSL_EVAL_QA ? (int64_t)(natsl_rng_next(&rng) >> 2) : 0;
    if (task->kind == NATSL_EVAL_QA) r.depth = depth;
    /* bytes: about as many words as upstream's tokens below 4096 */
    r.small = length < (natsl_measure_of(sources->measure) == NATSL_MEASURE_BYTES ? 16384 : 4096);
    r.before = before;
    if (st == NATSL_OK && task->kind == NATSL_EVAL_FWE) {
        st = fill_codes(&r, out);
    } else if (st == NATSL_OK) {
        st = fill(&r, index, out);
    }
    finish(&r);
    if (st != NATSL_OK) natsl_eval_sample_free(out);
    return st;
}
