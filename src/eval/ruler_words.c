/* ruler_words.c - common words of a list, frequent words of a coded text. See ruler.h. */
#include "ruler_impl.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define ZETA2  1.6449340668482264
#define COMMON 10

static const char letters[] = "abcdefghijklmnopqrstuvwxyz";

/* ---- words ----------------------------------------------------------------------------------------------------------- */

/** m words (all words of the list come to a place by r->words), `common` of them c times, the others u times, numbered. The
 * common ones are in picks[0..COMMON). */
static natsl_status put_list(natsl_ruler *r, int64_t m, int c, int u, size_t *picks, natsl_buffer *b)
{
    const natsl_word_lists *l = r->sources->lists;
    const size_t all = l ? l->all.count : NATSL_WORD_PAIRS;
    char pair[NATSL_WORD_BYTES];
    if ((size_t)m > all || m < COMMON)
        return natsl_fail(NATSL_ERR_USAGE, "cwe: %lld words, expected 10 to the %zu that there are", (long long)m, all);
    natsl_status st = natsl_py_sample(&r->p, all, (size_t)m, picks);
    if (st != NATSL_OK) return st;
    const size_t total = (size_t)COMMON * (size_t)c + ((size_t)m - COMMON) * (size_t)u;
    size_t *order = natsl_ruler_order(r, total);
    if (!order) return NATSL_ERR_NOMEM;
    for (size_t i = 0; i < total; i++) {
        /* lists repeated as wholes: common c times, then the others u times */
        const size_t at = order[i], others = (size_t)m - COMMON;
        const size_t pick =
            at < (size_t)COMMON * (size_t)c ? at % COMMON : COMMON + (at - (size_t)COMMON * (size_t)c) % others;
        if (i) natsl_put(b, " ", 1);
        natsl_put_number(b, (long long)i + 1);
        natsl_puts(b, ". ");
        if (l) natsl_puts(b, l->all.words[r->words[picks[pick]]]);
        else natsl_word_pair((uint32_t)picks[pick], pair), natsl_puts(b, pair);
    }
    natsl_free(order);
    return NATSL_OK;
}

static void put_pick(const natsl_ruler *r, size_t pick, natsl_buffer *b)
{
    char pair[NATSL_WORD_BYTES];
    if (r->sources->lists) natsl_puts(b, r->sources->lists->all.words[r->words[pick]]);
    else natsl_word_pair((uint32_t)pick, pair), natsl_puts(b, pair);
}

static const char cwe_begin[] =
    "Below is a numbered list of words. In these words, some appear more often than others. "
    "Memorize the ones that appear most often.\n",
                  cwe_question[] = "\nQuestion: What are the 10 most common words in the above list?",
                  cwe_prefix[] = " Answer: The top 10 words that appear most often in the list are:";

natsl_status natsl_ruler_cwe(natsl_ruler *r, int64_t n, natsl_eval_sample *out)
{
    const int small = r->small, example = small ? 20 : 40;
    natsl_buffer b = {0};
    size_t *picks = natsl_alloc((size_t)(n > example ? n : example), sizeof *picks, "words");
    if (!picks) return NATSL_ERR_NOMEM;
    natsl_puts(&b, cwe_begin);
    natsl_status st = put_list(r, example, small ? 3 : 10, small ? 1 : 3, picks, &b);
    natsl_puts(&b, cwe_question);
    natsl_puts(&b, cwe_prefix);
    for (size_t i = 0; i < COMMON && st == NATSL_OK; i++) {
        natsl_put(&b, " ", 1);
        natsl_put_number(&b, (long long)i + 1);
        natsl_puts(&b, ". ");
        put_pick(r, picks[i], &b);
    }
    natsl_put(&b, "\n", 1);
    natsl_puts(&b, cwe_begin);
    if (st == NATSL_OK) st = put_list(r, n, small ? 6 : 30, small ? 1 : 3, picks, &b);
    natsl_puts(&b, cwe_question);
    out->input = (int64_t)b.length;
    natsl_puts(&b, cwe_prefix);
    if (st == NATSL_OK) st = natsl_eval_outputs(out, COMMON);
    for (size_t i = 0; i < COMMON && st == NATSL_OK; i++) {
        natsl_buffer word = {0};
        put_pick(r, picks[i], &word);
        st = word.failed ? NATSL_ERR_NOMEM : natsl_eval_output_set(&out->outputs[i], word.text, word.length, -1.0);
        natsl_buffer_free(&word);
    }
    if (st == NATSL_OK) st = natsl_ruler_take(&b, out);
    natsl_buffer_free(&b);
    natsl_free(picks);
    return st;
}

/* ---- coded text ------------------------------------------------------------------------------------------------------ */

#define CODE_LETTERS ((int)sizeof(natsl_code_word) - 1)

static int compare_codes(const void *a, const void *b) { return strcmp(a, b); }

/** The words that a text is coded with, the most frequent first; the first is noise. */
natsl_status natsl_ruler_codes(natsl_ruler *r, natsl_code_word **out, size_t *count)
{
    size_t room = 2 * (size_t)r->vocabulary + 64, n = (size_t)r->vocabulary, different = 0;
    natsl_code_word *codes = natsl_alloc(room, sizeof *codes, "coded words");
    size_t *order = NULL;
    if (!codes) return NATSL_ERR_NOMEM;
    for (size_t i = 0; i < n; i++) natsl_py_choices(&r->p, letters, CODE_LETTERS, codes[i]);
    for (;;) { /* more, one at a time, until enough are distinct */
        qsort(codes, n, sizeof *codes, compare_codes);
        different = 0;
        for (size_t i = 0; i < n; i++) {
            if (different == 0 || strcmp(codes[different - 1], codes[i]) != 0)
                memmove(codes[different++], codes[i], sizeof *codes);
        }
        n = different;
        if (n >= (size_t)r->vocabulary) break;
        natsl_py_choices(&r->p, letters, CODE_LETTERS, codes[n++]);
    }
    *out = natsl_alloc(n, sizeof **out, "coded words");
    order = natsl_ruler_order(r, n);
    if (*out && order) {
        for (size_t i = 0; i < n; i++) memcpy((*out)[i], codes[order[i]], sizeof *codes);
        (void)snprintf((*out)[0], sizeof **out, "...");
    }
    const int ok = *out && order;
    natsl_free(codes);
    natsl_free(order);
    *count = n;
    return ok ? NATSL_OK : NATSL_ERR_NOMEM;
}

natsl_status natsl_ruler_coded_text(natsl_ruler *r, const natsl_code_word *codes, size_t count, int64_t words,
                                    natsl_eval_sample *out)
{
    natsl_buffer b = {0};
    size_t total = 0, place = 0;
    for (size_t k = 0; k < count; k++) total += (size_t)((double)words * pow((double)(k + 1), -2.0) / ZETA2);
    size_t *which = natsl_alloc(total, sizeof *which, "coded words"), *order = natsl_ruler_order(r, total);
    natsl_status st = which && order ? NATSL_OK : NATSL_ERR_NOMEM;
    for (size_t k = 0; k < count && st == NATSL_OK; k++) {
        const size_t times = (size_t)((double)words * pow((double)(k + 1), -2.0) / ZETA2);
        for (size_t i = 0; i < times; i++) which[place++] = k;
    }
    natsl_puts(
        &b, "Read the following coded text and track the frequency of each coded word. Find the three most frequently "
            "appeared coded words. ");
    for (size_t i = 0; i < total && st == NATSL_OK; i++) {
        if (i) natsl_put(&b, " ", 1);
        natsl_puts(&b, codes[which[order[i]]]);
    }
    natsl_puts(&b, "\nQuestion: Do not provide any explanation. Please ignore the dots '....'. What are the three most "
                   "frequently appeared words in the above coded text?");
    out->input = (int64_t)b.length;
    natsl_puts(&b, " Answer: According to the coded text above, the three most frequently appeared words are:");
    if (st == NATSL_OK && count < 4)
        st = natsl_fail(NATSL_ERR_USAGE, "fwe: %zu coded words, expected four or more", count);
    if (st == NATSL_OK) st = natsl_eval_outputs(out, 3);
    for (size_t i = 0; i < 3 && st == NATSL_OK; i++)
        st = natsl_eval_output_set(&out->outputs[i], codes[i + 1], strlen(codes[i + 1]), -1.0);
    if (st == NATSL_OK) st = natsl_ruler_take(&b, out);
    natsl_buffer_free(&b);
    natsl_free(which);
    natsl_free(order);
    return st;
}

/** The first time (r->units 0) the number of words is found: it grows until the text is too long. Else it shrinks until the
 * text is short enough. *words is what it came to. */
natsl_status natsl_ruler_fwe(natsl_ruler *r, int64_t *words, natsl_eval_sample *out)
{
    const int64_t budget = r->length - r->max_new, step = budget / 32;
    const int grows = *words == 0;
    natsl_code_word *codes = NULL;
    size_t count = 0;
    natsl_status st = natsl_ruler_codes(r, &codes, &count);
    if (grows) *words = budget / CODE_LETTERS;
    while (st == NATSL_OK) {
        natsl_eval_sample_free(out);
        st = natsl_ruler_coded_text(r, codes, count, *words, out);
        if (st != NATSL_OK) break;
        int64_t tokens = 0;
        st = natsl_measure_count(r->sources->measure, out->text, (size_t)out->length, budget, &tokens);
        if (st != NATSL_OK) break;
        if (grows ? tokens >= budget : tokens <= budget) break;
        *words += grows ? step : -step;
        if (*words < 1 || step < 1)
            st = natsl_fail(NATSL_ERR_USAGE, "fwe: no coded text fits in %lld tokens", (long long)r->length);
    }
    if (st == NATSL_OK && grows) *words -= step;
    natsl_free(codes);
    return st;
}
