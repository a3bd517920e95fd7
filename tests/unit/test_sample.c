/* test_sample.c - token sampling: greedy ties, the frequencies that temperature, top-k and top-p promise, repeatability,
 * refused input. Expected probabilities are computed here, in the plainest way. */
#include "sample.h"

#include "../suite.h"

#include <CUnit/Basic.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define VOCAB 7
#define DRAWS 200000

static const float scores[VOCAB] = {0.5f, 2.0f, -1.0f, 2.0f, 1.25f, -30.0f, 0.0f};

static natsl_status sample(const float *logits, size_t vocab, natsl_sampling how, natsl_rng *rng, int32_t *token)
{
    natsl_candidate *scratch = calloc(vocab, sizeof *scratch);
    const natsl_status st = natsl_sample(logits, vocab, &how, rng, scratch, token);
    free(scratch);
    return st;
}

static void test_greedy(void)
{
    natsl_rng rng = {42};
    int32_t token = -1;
    CU_ASSERT_EQUAL(
        natsl_sample(scores, VOCAB, &(natsl_sampling){.temperature = 0.0, .top_p = 1.0}, &rng, NULL, &token), NATSL_OK);
    CU_ASSERT_EQUAL(token, 1); /* 3 has the same score: the lower id wins */
    CU_ASSERT_EQUAL(rng.state, 42);
    const float one[] = {-5.0f}, last[] = {-INFINITY, 0.0f};
    CU_ASSERT_EQUAL(sample(one, 1, (natsl_sampling){.temperature = 0.0, .top_p = 1.0}, &rng, &token), NATSL_OK);
    CU_ASSERT_EQUAL(token, 0);
    CU_ASSERT_EQUAL(sample(one, 1, (natsl_sampling){.temperature = 3.0, .top_p = 0.5, .top_k = 9}, &rng, &token),
                    NATSL_OK);
    CU_ASSERT_EQUAL(token, 0);
    CU_ASSERT_EQUAL(sample(last, 2, (natsl_sampling){.temperature = 0.0, .top_p = 1.0}, &rng, &token), NATSL_ERR_INPUT);
}

/** Probabilities by the definitions: sort by probability (lower id first), cut, renormalise. */
static void expected(natsl_sampling how, double p[VOCAB])
{
    int order[VOCAB], n = VOCAB;
    double all = 0.0, kept = 0.0, total = 0.0;
    for (int i = 0; i < VOCAB; i++) {
        p[i] = exp(((double)scores[i] - 2.0) / how.temperature); /* 2 is the largest */
        order[i] = i;
        all += p[i];
    }
    for (int i = 0; i < VOCAB; i++) {
        p[i] /= all;
        for (int j = i; j > 0 && p[order[j]] > p[order[j - 1]]; j--) {
            const int swap = order[j];
            order[j] = order[j - 1];
            order[j - 1] = swap;
        }
    }
    if (how.top_k > 0 && how.top_k < n) n = (int)how.top_k;
    for (int i = 0; i < n; i++) kept += p[order[i]];
    int m = 0;
    for (double sum = 0.0; m < n && (m == 0 || sum < how.top_p * kept - 1e-12); m++) sum += p[order[m]];
    for (int i = m; i < VOCAB; i++) p[order[i]] = 0.0;
    for (int i = 0; i < VOCAB; i++) total += p[i];
    for (int i = 0; i < VOCAB; i++) p[i] /= total;
}

static void test_frequencies(void)
{
    static const natsl_sampling ways[] = {
        {1.0, 0, 1.0},  {0.3, 0, 1.0},  {5.0, 0, 1.0},  {1.0, 1, 1.0},  {1.0, 2, 1.0}, {1.0, 3, 1.0},  {2.0, 6, 1.0},
        {1.0, 7, 1.0},  {1.0, 99, 1.0}, {1.0, 0, 0.1},  {1.0, 0, 0.5},  {1.0, 0, 0.9}, {1.0, 0, 0.97}, {4.0, 0, 0.6},
        {1.0, 3, 0.99}, {1.0, 3, 0.8},  {2.0, 4, 0.75}, {1e-3, 0, 1.0}, {1e6, 0, 1.0}, {1.0, 2, 0.5},  {5e-324, 0, 1.0},
    };
    natsl_candidate scratch[VOCAB];
    for (size_t w = 0; w < sizeof ways / sizeof ways[0]; w++) {
        double p[VOCAB];
        int64_t seen[VOCAB] = {0};
        natsl_rng rng = {1000 + w};
        expected(ways[w], p);
        for (int i = 0; i < DRAWS; i++) {
            int32_t token = -1;
            if (natsl_sample(scores, VOCAB, &ways[w], &rng, scratch, &token) != NATSL_OK || token < 0 ||
                token >= VOCAB) {
                CU_FAIL("a draw failed");
                return;
            }
            seen[token]++;
        }
        for (int i = 0; i < VOCAB; i++) {
            const double share = (double)seen[i] / DRAWS;
            /* five standard deviations; a token that was cut must never come */
            const double room = 5.0 * sqrt(p[i] * (1.0 - p[i]) / DRAWS) + (p[i] > 0.0 ? 1e-6 : 0.0);
            if (!(fabs(share - p[i]) <= room)) {
                fprintf(stderr, "temperature %g top-k %lld top-p %g: token %d came %g, expected %g\n",
                        ways[w].temperature, (long long)ways[w].top_k, ways[w].top_p, i, share, p[i]);
                CU_FAIL("frequency");
            }
        }
    }
}

/** Large vocabularies go through selection: compared with sorting. */
static int by_score(const void *a, const void *b)
{
    const float *x = a, *y = b; /* score, id */
    if (x[0] != y[0]) return x[0] > y[0] ? -1 : 1;
    return x[1] < y[1] ? -1 : x[1] > y[1];
}

static void test_selection(void)
{
    enum { MANY = 5000 };
    static float logits[MANY], sorted[MANY][2];
    natsl_rng numbers = {7};
    for (int kind = 0; kind < 5; kind++) {
        for (int i = 0; i < MANY; i++) {
            const double u = natsl_rng_uniform(&numbers);
            /* random; few distinct scores; rising; falling; all equal */
            logits[i] = kind == 0   ? (float)u
                        : kind == 1 ? (float)(int)(u * 5.0)
                        : kind == 2 ? (float)i * 1e-3f
                        : kind == 3 ? (float)-i * 1e-3f
                                    : 1.0f;
            sorted[i][0] = logits[i];
            sorted[i][1] = (float)i;
        }
        qsort(sorted, MANY, sizeof sorted[0], by_score);
        for (int64_t k = 1; k < MANY; k = k * 3 + 1) {
            uint8_t allowed[MANY] = {0};
            for (int64_t i = 0; i < k; i++) allowed[(int)sorted[i][1]] = 1;
            natsl_rng rng = {(uint64_t)k};
            for (int draw = 0; draw < 200; draw++) {
                int32_t token = -1;
                CU_ASSERT_EQUAL_FATAL(sample(logits, MANY, (natsl_sampling){1.0, k, 1.0}, &rng, &token), NATSL_OK);
                if (token < 0 || token >= MANY || !allowed[token]) {
                    fprintf(stderr, "kind %d, top-k %lld: token %d is none of the first\n", kind, (long long)k, token);
                    CU_FAIL("selection");
                    break;
                }
            }
        }
    }
}

static void test_repeatable(void)
{
    const natsl_sampling how = {1.5, 5, 0.95};
    natsl_rng a = {9}, b = {9}, c = {10};
    int differs = 0;
    for (int i = 0; i < 100; i++) {
        int32_t x = -1, y = -1, z = -1;
        CU_ASSERT_EQUAL(sample(scores, VOCAB, how, &a, &x), NATSL_OK);
        CU_ASSERT_EQUAL(sample(scores, VOCAB, how, &b, &y), NATSL_OK);
        CU_ASSERT_EQUAL(sample(scores, VOCAB, how, &c, &z), NATSL_OK);
        CU_ASSERT_EQUAL(x, y);
        differs |= x != z;
    }
    CU_ASSERT_EQUAL(a.state, b.state);
    CU_ASSERT(differs);
    double least = 1.0, most = 0.0, sum = 0.0;
    for (int i = 0; i < DRAWS; i++) {
        const double u = natsl_rng_uniform(&a);
        if (u < least) least = u;
        if (u > most) most = u;
        sum += u;
    }
    CU_ASSERT(least >= 0.0 && least < 1e-3 && most < 1.0 && most > 1.0 - 1e-3);
    CU_ASSERT(fabs(sum / DRAWS - 0.5) < 5.0 * sqrt(1.0 / 12.0 / DRAWS));
}

static void test_refused(void)
{
    static const natsl_sampling wrong[] = {{-1.0, 0, 1.0}, {NAN, 0, 1.0},  {INFINITY, 0, 1.0}, {1.0, -1, 1.0},
                                           {1.0, 0, 0.0},  {1.0, 0, -0.5}, {1.0, 0, 1.5},      {1.0, 0, NAN}};
    static const float bad[] = {NAN, INFINITY, -INFINITY};
    natsl_rng rng = {5};
    int32_t token = 77;
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        CU_ASSERT_EQUAL(sample(scores, VOCAB, wrong[i], &rng, &token), NATSL_ERR_USAGE);
    CU_ASSERT_EQUAL(natsl_sample(scores, 0, &(natsl_sampling){1.0, 0, 1.0}, &rng, NULL, &token), NATSL_ERR_USAGE);
    for (size_t i = 0; i < 3; i++) {
        for (int at = 0; at < VOCAB; at++) {
            float logits[VOCAB];
            memcpy(logits, scores, sizeof logits);
            logits[at] = bad[i];
            CU_ASSERT_EQUAL(sample(logits, VOCAB, (natsl_sampling){1.0, 2, 0.5}, &rng, &token), NATSL_ERR_INPUT);
            CU_ASSERT_EQUAL(sample(logits, VOCAB, (natsl_sampling){0.0, 0, 1.0}, &rng, &token), NATSL_ERR_INPUT);
        }
    }
    CU_ASSERT_EQUAL(token, 77);
    CU_ASSERT_EQUAL(rng.state, 5);
    const float far[] = {-3e38f, 3e38f}; /* their difference does not fit a float */
    CU_ASSERT_EQUAL(sample(far, 2, (natsl_sampling){1.0, 0, 1.0}, &rng, &token), NATSL_OK);
    CU_ASSERT_EQUAL(token, 1);
}

int main(void)
{
    static const test_entry tests[] = {{"greedy", test_greedy},
                                       {"frequencies", test_frequencies},
                                       {"selection of top-k", test_selection},
                                       {"repeatable", test_repeatable},
                                       {"refused", test_refused}};
    return run_suite("sample", tests, sizeof tests / sizeof tests[0]);
}
