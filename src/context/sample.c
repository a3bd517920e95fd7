/* sample.c - chooses the next token from its scores. See sample.h. */
#include "sample.h"

#include "core.h"

#include <math.h>
#include <stdlib.h>

/** Most probable first, lower ids first among equals: a total order, so that sorting has one result. */
static int before(const natsl_candidate *a, const natsl_candidate *b)
{
    return a->weight != b->weight ? a->weight > b->weight : a->token < b->token;
}

static int compare(const void *a, const void *b)
{
    if (before(a, b)) return -1;
    return before(b, a);
}

/** Moves the k first candidates of the order to c[0..k), in any order. Expected time linear in n: the pivot is the median of
 * three, and the range halves. */
static void select_first(natsl_candidate *c, size_t n, size_t k)
{
    size_t lo = 0, hi = n; /* the k-th lies in [lo, hi) */
    while (hi - lo > 1 && k > lo && k < hi) {
        natsl_candidate x = c[lo], y = c[lo + (hi - lo) / 2], z = c[hi - 1], pivot;
        if (before(&y, &x)) pivot = x, x = y, y = pivot;
        pivot = before(&z, &y) ? (before(&z, &x) ? x : z) : y;
        size_t i = lo, j = hi - 1;
        for (;;) {
            while (before(&c[i], &pivot)) i++;
            while (before(&pivot, &c[j])) j--;
            if (i >= j) break;
            const natsl_candidate swap = c[i];
            c[i++] = c[j];
            c[j--] = swap;
        }
        /* c[lo..j] are not after the pivot, c[j+1..hi) not before it (order is total: no equals but itself) */
        if (k <= j) hi = j + 1 < hi ? j + 1 : hi - 1;
        else lo = j + 1;
    }
}

/** Keeps the fewest candidates whose weights reach `share` of all, sorted; returns how many. */
static size_t nucleus(natsl_candidate *c, size_t n, double share)
{
    double total = 0.0, sum = 0.0;
    size_t likely = 0, kept = 0;
    for (size_t i = 0; i < n; i++) total += c[i].weight;
    /* Candidates below this weight together weigh less than 1 - share: none is needed, and most need not be sorted. The
     * margin covers the rounding of the sums. */
    const double least = total * (1.0 - share) / (double)n * (1.0 - 1e-9);
    for (size_t i = 0; i < n; i++) {
        if (c[i].weight >= least) c[likely++] = c[i];
    }
    qsort(c, likely, sizeof *c, compare);
    while (kept < likely && (kept == 0 || sum < share * total)) sum += c[kept++].weight;
    return kept;
}

natsl_status natsl_sample(const float *logits, size_t vocab, const natsl_sampling *how, natsl_rng *rng,
                          natsl_candidate *scratch, int32_t *token)
{
    if (vocab < 1 || vocab > INT32_MAX || !(how->temperature >= 0.0) || !isfinite(how->temperature) || how->top_k < 0 ||
        !(how->top_p > 0.0) || !(how->top_p <= 1.0))
        return natsl_fail(NATSL_ERR_USAGE,
                          "sampling: temperature %g, top-k %lld, top-p %g of %zu tokens; expected a finite "
                          "temperature >= 0, top-k >= 0, 0 < top-p <= 1",
                          how->temperature, (long long)how->top_k, how->top_p, vocab);
    size_t best = 0, n = vocab;
    for (size_t i = 0; i < vocab; i++) {
        if (!isfinite(logits[i]))
            return natsl_fail(NATSL_ERR_INPUT, "the model gives token %zu the score %g, expected finite numbers", i,
                              (double)logits[i]);
        if (logits[i] > logits[best]) best = i;
    }
    if (how->temperature == 0.0) {
        *token = (int32_t)best;
        return NATSL_OK;
    }
    for (size_t i = 0; i < vocab; i++) {
        scratch[i].token = (int32_t)i;
        /* The largest first subtracted: no overflow, and the largest itself is exactly 1 at any temperature. */
        scratch[i].weight = exp(((double)logits[i] - (double)logits[best]) / how->temperature);
    }
    if (how->top_k > 0 && (uint64_t)how->top_k < vocab) {
        n = (size_t)how->top_k;
        select_first(scratch, vocab, n);
        qsort(scratch, n, sizeof *scratch, compare); /* sums below then run in one order */
    }
    if (how->top_p < 1.0) n = nucleus(scratch, n, how->top_p);
    double total = 0.0, sum = 0.0;
    for (size_t i = 0; i < n; i++) total += scratch[i].weight;
    const double target = natsl_rng_uniform(rng) * total;
    *token = (int32_t)best;
    for (size_t i = 0; i < n; i++) {
        sum += scratch[i].weight;
        if (scratch[i].weight > 0.0) *token = scratch[i].token; /* rounding may leave target at the very end */
        if (sum > target) break;
    }
    return NATSL_OK;
}
