/* mqar.c - multi-query associative recall. See mqar.h. */
#include "mqar.h"

#include "core.h"

#include <math.h>
#include <stdlib.h>

/** A gap and when it is drawn. */
typedef struct gap {
    double time;
    int64_t index;
} gap;

static int by_time(const void *a, const void *b)
{
    const gap *x = a, *y = b;
    if (x->time != y->time) return x->time < y->time ? -1 : 1;
    return x->index < y->index ? -1 : x->index > y->index;
}

static int by_position(const void *a, const void *b)
{
    const natsl_mqar_query *x = a, *y = b;
    return x->position < y->position ? -1 : x->position > y->position;
}

/** The first n of a random order of first .. first+count-1, into ids[0], ids[2], ... pool [count]. */
static void draw_ids(natsl_rng *rng, int32_t first, int64_t count, int64_t n, int32_t *pool, int32_t *ids)
{
    for (int64_t i = 0; i < count; i++) pool[i] = first + (int32_t)i;
    for (int64_t i = 0; i < n; i++) {
        const int64_t j = i + (int64_t)natsl_rng_below(rng, (uint64_t)(count - i));
        ids[2 * i] = pool[j];
        pool[j] = pool[i];
    }
}

natsl_status natsl_mqar_make(int32_t vocabulary, int64_t n, int random_non_queries, int64_t tokens, natsl_rng *rng,
                             int32_t *ids, int32_t *targets, natsl_mqar_query *queries)
{
    const int32_t half = vocabulary / 2;
    if (n < 1 || n > tokens / 4 || vocabulary < 4 || n > half - 1)
        return natsl_fail(NATSL_ERR_USAGE,
                          "recall: %lld pairs in %lld tokens of a vocabulary of %d; expected at least one, four tokens "
                          "and two ids each (and one id more)",
                          (long long)n, (long long)tokens, vocabulary);
    const int64_t space = (tokens - 2 * n) / 2;
    gap *gaps = natsl_alloc((size_t)space, sizeof *gaps, "gaps of queries");
    int32_t *pool = natsl_alloc((size_t)(vocabulary - half), sizeof *pool, "ids of pairs");
    if (!gaps || !pool) {
        natsl_free(gaps);
        natsl_free(pool);
        return NATSL_ERR_NOMEM;
    }
    draw_ids(rng, 1, half - 1, n, pool, ids);
    draw_ids(rng, half, vocabulary - half, n, pool, ids + 1);
    /* Each gap waits an exponential time at the rate of its weight: the order in which they come is that of drawing one
     * after the other without replacement (Efraimidis, Spirakis 2006). */
    for (int64_t i = 0; i < space; i++) {
        const double u = natsl_rng_uniform(rng);
        gaps[i] = (gap){-log1p(-u) * pow((double)(i + 1), 0.99), i};
    }
    qsort(gaps, (size_t)space, sizeof *gaps, by_time);
    for (int64_t i = 2 * n; i < tokens; i++)
        ids[i] = random_non_queries ? (int32_t)natsl_rng_below(rng, (uint64_t)vocabulary) : 0;
    for (int64_t i = 0; i < tokens; i++) targets[i] = -1;
    for (int64_t j = 0; j < n; j++) {
        queries[j] = (natsl_mqar_query){2 * n + 2 * gaps[j].index, j};
        ids[queries[j].position] = ids[2 * j];
        targets[queries[j].position] = ids[2 * j + 1];
    }
    qsort(queries, (size_t)n, sizeof *queries, by_position);
    natsl_free(gaps);
    natsl_free(pool);
    return NATSL_OK;
}
