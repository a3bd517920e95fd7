/* mqar.h - multi-query associative recall, as token ids: n pairs of key and value, then keys again among fill, each to
 * be answered with its value at once.
 * Owns: nothing. MPI: none. Source: zoology's multiquery_ar. Tests: tests/unit/test_task.c */
#ifndef NATSL_MQAR_H
#define NATSL_MQAR_H

#include "rng.h"
#include <natsl/status.h>
#include <stddef.h>

/** Where one key is asked for. */
typedef struct natsl_mqar_query {
    int64_t position; /* of the query: targets[position] is the value */
    int64_t pair;     /* its key is ids[2 * pair], its value ids[2 * pair + 1] */
} natsl_mqar_query;

/** ids [tokens] and targets [tokens]: keys are distinct ids from 1 .. vocabulary/2 - 1, values distinct ids from
 * vocabulary/2 .. vocabulary - 1. ids[0 .. 2n) are the pairs; query j is at 2n + 2 (i - 1) for a gap i that is drawn
 * without replacement from 1 .. (tokens - 2n)/2 with probability proportional to 0.01 i^-0.99. targets is -1 but at
 * queries; other ids after the pairs are 0, or random ids of the vocabulary with `random_non_queries`. queries [n], in
 * the order of positions. Advances rng. NATSL_ERR_USAGE: n < 1, 4n > tokens, or a vocabulary that has no n keys;
 * NATSL_ERR_NOMEM. */
natsl_status natsl_mqar_make(int32_t vocabulary, int64_t n, int random_non_queries, int64_t tokens, natsl_rng *rng,
                             int32_t *ids, int32_t *targets, natsl_mqar_query *queries);

#endif
