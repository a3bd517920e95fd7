/* test_task.c - random numbers, words, recall sequences and copies: distributions, places as told, refused input; lengths found by
 * trying. Needle texts: test_needle.c. */
#include "copy.h"
#include "fit.h"
#include "mqar.h"
#include "words.h"

#include "../suite.h"

#include <ctype.h>
#include <math.h>
#include <natsl/status.h>
#include <stdlib.h>
#include <string.h>

/* ---- random numbers --------------------------------------------------------------------------------------------- */

static void test_rng(void)
{
    natsl_rng zero = {0};
    CU_ASSERT_EQUAL(natsl_rng_next(&zero), 0xe220a8397b1dcdafu); /* the published generator's first numbers */
    CU_ASSERT_EQUAL(natsl_rng_next(&zero), 0x6e789e6aa1b965f4u);
    natsl_rng rng = natsl_rng_at(1, 2, 3);
    CU_ASSERT_EQUAL(rng.state, natsl_rng_at(1, 2, 3).state);
    CU_ASSERT_NOT_EQUAL(rng.state, natsl_rng_at(1, 2, 4).state);
    CU_ASSERT_NOT_EQUAL(rng.state, natsl_rng_at(1, 3, 3).state);
    CU_ASSERT_NOT_EQUAL(rng.state, natsl_rng_at(2, 2, 3).state);
    CU_ASSERT_NOT_EQUAL(natsl_rng_at(1, 2, 3).state, natsl_rng_at(2, 1, 3).state);
    enum { DRAWS = 70000, SIDES = 7 };
    int seen[SIDES] = {0};
    for (int i = 0; i < DRAWS; i++) { /* also the first numbers of neighbouring generators are independent */
        natsl_rng each = natsl_rng_at(5, 0, (uint64_t)i);
        seen[natsl_rng_below(i % 2 ? &rng : &each, SIDES)]++;
    }
    for (int i = 0; i < SIDES; i++)
        EXPECT(fabs(seen[i] - DRAWS / 7.0) < 5.0 * sqrt(DRAWS * 6.0 / 49.0), "%d came %d times", i, seen[i]);
    CU_ASSERT_EQUAL(natsl_rng_below(&rng, 1), 0);
    /* Bound 3 * 2^62: were the remainder of 64 bits taken, 2/3 instead of 1/2 would lie in the lower half ... */
    int low = 0;
    for (int i = 0; i < 10000; i++) low += natsl_rng_below(&rng, (uint64_t)3 << 62) < (uint64_t)3 << 61;
    EXPECT(abs(low - 5000) < 5 * 50, "%d of 10000 in the lower half", low);
}

static void test_permute(void)
{
    enum { MOST = 700 };
    int moved = 0, other = 0;
    for (uint64_t n = 1; n <= MOST; n++) {
        uint8_t seen[MOST] = {0};
        for (uint64_t i = 0; i < n; i++) {
            const uint64_t at = natsl_rng_permute(n * 17, n, i);
            CU_ASSERT_FATAL(at < n);
            seen[at]++;
            moved += at != i;
            other += natsl_rng_permute(n * 17 + 1, n, i) != at;
        }
        for (uint64_t i = 0; i < n; i++) CU_ASSERT_EQUAL_FATAL(seen[i], 1);
    }
    EXPECT(moved > MOST * MOST / 2 * 9 / 10 && other > MOST * MOST / 2 * 9 / 10, "%d moved, %d differ", moved, other);
    /* every place is as likely, also of few: 24 orders of 4, by key */
    int orders[256] = {0};
    for (uint64_t key = 0; key < 24000; key++) {
        int word = 0;
        for (uint64_t i = 0; i < 4; i++) word = word * 4 + (int)natsl_rng_permute(key, 4, i);
        orders[word]++;
    }
    int found = 0;
    for (int i = 0; i < 256; i++) {
        found += orders[i] > 0;
        if (orders[i]) EXPECT(abs(orders[i] - 1000) < 200, "order %d: %d", i, orders[i]);
    }
    CU_ASSERT_EQUAL(found, 24);
    const uint64_t huge = (uint64_t)1 << 62;
    CU_ASSERT(natsl_rng_permute(1, huge, huge - 1) < huge);
    CU_ASSERT_NOT_EQUAL(natsl_rng_permute(1, huge, 0), natsl_rng_permute(1, huge, 1));
}

/* ---- words ------------------------------------------------------------------------------------------------------ */

static int is_uuid4(const char *w)
{
    if (strlen(w) != 36 || w[14] != '4' || !strchr("89ab", w[19])) return 0;
    for (int i = 0; i < 36; i++) {
        if (i == 8 || i == 13 || i == 18 || i == 23 ? w[i] != '-' : !strchr("0123456789abcdef", w[i])) return 0;
    }
    return 1;
}

static int compare_words(const void *a, const void *b) { return strcmp(a, b); }

static void test_words(void)
{
    enum { DRAWS = 20000 };
    static char halves[2][DRAWS][NATSL_WORD_BYTES];
    natsl_rng rng = {3};
    char w[NATSL_WORD_BYTES];
    for (int i = 0; i < DRAWS; i++) {
        natsl_word_draw(NATSL_NUMBERS, &rng, w);
        CU_ASSERT_FATAL(strlen(w) == 7 && strspn(w, "0123456789") == 7 && w[0] != '0');
        natsl_word_draw(NATSL_UUIDS, &rng, w);
        CU_ASSERT_FATAL(is_uuid4(w));
        natsl_word_draw(NATSL_SYLLABLES, &rng, w);
        const size_t n = strlen(w);
        CU_ASSERT_FATAL(n % 2 == 0 && n >= 4 && n <= natsl_word_longest(NATSL_SYLLABLES));
        for (size_t c = 0; c < n; c++)
            CU_ASSERT_FATAL(islower((unsigned char)w[c]) && !strchr("aeiou", w[c]) == !(c % 2));
        natsl_word_draw(NATSL_WORDS, &rng, w);
        const size_t first = strcspn(w, "-");
        CU_ASSERT_FATAL(strlen(w) <= natsl_word_longest(NATSL_WORDS) && w[first] == '-');
        CU_ASSERT_FATAL(strspn(w, "abcdefghijklmnopqrstuvwxyz") == first);
        CU_ASSERT_FATAL(strspn(w + first + 1, "abcdefghijklmnopqrstuvwxyz") == strlen(w + first + 1));
        (void)snprintf(halves[1][i], sizeof halves[1][i], "%s", w + first + 1);
        w[first] = '\0';
        (void)snprintf(halves[0][i], sizeof halves[0][i], "%s", w);
    }
    for (int h = 0; h < 2; h++) { /* 256 different words each */
        int distinct = 1;
        qsort(halves[h], DRAWS, sizeof halves[h][0], compare_words);
        for (int i = 1; i < DRAWS; i++) distinct += strcmp(halves[h][i - 1], halves[h][i]) != 0;
        CU_ASSERT_EQUAL(distinct, 256);
        CU_ASSERT(halves[h][0][0] != '\0');
    }
}

/* ---- recall ----------------------------------------------------------------------------------------------------- */

static void test_mqar(void)
{
    enum { MOST = 1024, VOCAB = 600 };
    static int32_t ids[MOST], targets[MOST];
    natsl_mqar_query queries[MOST / 4];
    static const int64_t shapes[][2] = {{64, 4}, {64, 16},   {65, 16},    {4, 1},   {5, 1},
                                        {7, 1},  {512, 128}, {1024, 256}, {1024, 1}};
    for (size_t c = 0; c < 2 * COUNT(shapes); c++) {
        const int64_t tokens = shapes[c / 2][0], n = shapes[c / 2][1];
        const int fill = (int)(c % 2);
        natsl_rng rng = {c};
        uint8_t seen[VOCAB] = {0};
        int64_t labelled = 0, zeros = 0;
        CU_ASSERT_EQUAL_FATAL(natsl_mqar_make(VOCAB, n, fill, tokens, &rng, ids, targets, queries), NATSL_OK);
        for (int64_t i = 0; i < 2 * n; i++) {
            CU_ASSERT(i % 2 ? ids[i] >= VOCAB / 2 && ids[i] < VOCAB : ids[i] >= 1 && ids[i] < VOCAB / 2);
            CU_ASSERT_EQUAL(seen[ids[i]]++, 0); /* without replacement */
            CU_ASSERT_EQUAL(targets[i], -1);
        }
        for (int64_t i = 2 * n; i < tokens; i++) {
            CU_ASSERT(ids[i] >= 0 && ids[i] < VOCAB);
            labelled += targets[i] >= 0;
            zeros += targets[i] < 0 && ids[i] == 0;
            if (targets[i] >= 0) CU_ASSERT_EQUAL((i - 2 * n) % 2, 0);
        }
        CU_ASSERT_EQUAL(labelled, n);
        if (!fill) CU_ASSERT_EQUAL(zeros, tokens - 3 * n);
        if (fill && tokens > 500) CU_ASSERT(zeros < 20);
        for (int64_t j = 0; j < n; j++) {
            const natsl_mqar_query q = queries[j];
            CU_ASSERT_FATAL(q.position >= 2 * n && q.position < tokens && q.pair >= 0 && q.pair < n);
            CU_ASSERT(j == 0 || q.position > queries[j - 1].position);
            CU_ASSERT_EQUAL(ids[q.position], ids[2 * q.pair]);
            CU_ASSERT_EQUAL(targets[q.position], ids[2 * q.pair + 1]);
        }
    }
}

/** Frequencies of gaps: of one query proportional to i^-0.99, of two by drawing one after the other. */
static void test_mqar_gaps(void)
{
    enum { DRAWS = 100000, SPACE = 6 };
    int32_t ids[2 * SPACE + 4], targets[2 * SPACE + 4];
    natsl_mqar_query q[2];
    double p[SPACE], total = 0.0;
    natsl_rng rng = {8};
    for (int i = 0; i < SPACE; i++) total += p[i] = 0.01 * pow(i + 1, 0.01 - 1.0);
    for (int i = 0; i < SPACE; i++) p[i] /= total;
    int one[SPACE] = {0}, two[SPACE][SPACE] = {{0}};
    for (int i = 0; i < DRAWS; i++) {
        CU_ASSERT_EQUAL_FATAL(natsl_mqar_make(100, 1, 1, 2 + 2 * SPACE, &rng, ids, targets, q), NATSL_OK);
        one[(q[0].position - 2) / 2]++;
        CU_ASSERT_EQUAL_FATAL(natsl_mqar_make(100, 2, 1, 4 + 2 * SPACE, &rng, ids, targets, q), NATSL_OK);
        const int first = q[0].pair == 0 ? 0 : 1; /* the pair that was drawn first */
        two[(q[first].position - 4) / 2][(q[!first].position - 4) / 2]++;
    }
    for (int i = 0; i < SPACE; i++) {
        EXPECT(fabs(one[i] - DRAWS * p[i]) < 5.0 * sqrt(DRAWS * p[i]), "gap %d: %d, expected %g", i, one[i],
               DRAWS * p[i]);
        for (int j = 0; j < SPACE; j++) {
            const double want = i == j ? 0.0 : DRAWS * p[i] * p[j] / (1.0 - p[i]);
            EXPECT(fabs(two[i][j] - want) <= 5.0 * sqrt(want), "gaps %d %d: %d, expected %g", i, j, two[i][j], want);
        }
    }
}

static void test_mqar_refused(void)
{
    int32_t ids[8], targets[8];
    natsl_mqar_query q[8];
    natsl_rng rng = {1};
    static const int64_t wrong[][3] = {{100, 0, 8}, {100, -1, 8}, {100, 3, 8}, {100, 1, 3},         {100, 1, -5},
                                       {3, 1, 8},   {4, 2, 8},    {5, 2, 8},   {100, INT64_MAX, 8}, {INT32_MIN, 1, 8}};
    for (size_t i = 0; i < COUNT(wrong); i++)
        EXPECT(natsl_mqar_make((int32_t)wrong[i][0], wrong[i][1], 1, wrong[i][2], &rng, ids, targets, q) ==
                   NATSL_ERR_USAGE,
               "case %zu", i);
    CU_ASSERT_EQUAL(natsl_mqar_make(4, 1, 1, 8, &rng, ids, targets, q), NATSL_OK);
    CU_ASSERT_EQUAL(ids[0], 1);
}

/* Every line is new or said before; targets are the rest of those said before, and nothing else. */
static void test_copy(void)
{
    enum { TOKENS = 700 };
    static const char *const letters[] = {"0123456789", "0123456789abcdef-", "abcdefghijklmnopqrstuvwxyz -"};
    int32_t ids[TOKENS], targets[TOKENS], other[TOKENS], other_targets[TOKENS];
    natsl_copy_again again[TOKENS];
    for (int alphabet = NATSL_ALPHABET_DIGITS; alphabet <= NATSL_ALPHABET_ALL; alphabet++) {
        for (int64_t tokens = 82; tokens <= TOKENS; tokens += 103) {
            const natsl_copy_task task = {(natsl_alphabet)alphabet, 5, 40};
            natsl_rng rng = {(uint64_t)tokens}, same = rng;
            size_t n = TOKENS, few = 1;
            int64_t count = 0, other_count = 0, counted = 0, lines = 0;
            CU_ASSERT_EQUAL_FATAL(natsl_copy_make(&task, NULL, tokens, &rng, ids, targets, &count, again, &n),
                                  NATSL_OK);
            CU_ASSERT_EQUAL_FATAL(
                natsl_copy_make(&task, NULL, tokens, &same, other, other_targets, &other_count, NULL, NULL), NATSL_OK);
            EXPECT(count == other_count && memcmp(ids, other, (size_t)count * sizeof *ids) == 0, "not repeatable");
            EXPECT(count <= tokens && count > tokens - 41 && ids[count - 1] == '\n' && targets[count - 1] == -1,
                   "%lld of %lld tokens", (long long)count, (long long)tokens);
            EXPECT(n >= 1 && again[0].first == 0, "the second line is no copy of the first");
            size_t a = 0;
            for (int64_t at = 0, end; at < count; at = end + 1, lines++) {
                for (end = at; ids[end] != '\n'; end++) {
                    int known = 0;
                    for (int k = 0; k < 3; k++)
                        known |=
                            (alphabet == NATSL_ALPHABET_ALL || alphabet == k) && strchr(letters[k], ids[end]) != NULL;
                    EXPECT(known, "byte %d of alphabet %d", ids[end], alphabet);
                }
                EXPECT(end - at >= 5 && end - at <= 40, "a line of %lld", (long long)(end - at));
                if (a == n || again[a].begin != at + NATSL_COPY_CUE - 1) continue;
                EXPECT(again[a].end == end && again[a].first < at, "line at %lld", (long long)at);
                EXPECT(memcmp(ids + again[a].first, ids + at, (size_t)(end - at + 1) * sizeof *ids) == 0, "no copy");
                for (int64_t i = again[a].begin; i < again[a].end; i++, counted++)
                    EXPECT(targets[i] == ids[i + 1], "target %lld", (long long)i);
                a++;
            }
            EXPECT(a == n && lines > (int64_t)n, "%zu of %zu copies among %lld lines", a, n, (long long)lines);
            for (int64_t i = 0; i < count; i++) counted -= targets[i] >= 0;
            EXPECT(counted == 0, "%lld targets elsewhere", (long long)-counted);
            same = (natsl_rng){(uint64_t)tokens};
            CU_ASSERT_EQUAL(
                natsl_copy_make(&task, NULL, tokens, &same, other, other_targets, &other_count, again, &few), NATSL_OK);
            CU_ASSERT_EQUAL(few, 1);
        }
    }
    int64_t count = 0;
    natsl_rng rng = {1};
    static const int wrong[][3] = {{4, 9, 700}, {9, 8, 700}, {5, 4097, 10000}, {5, 40, 81}, {-1, 40, 700}};
    for (size_t i = 0; i < COUNT(wrong); i++) {
        const natsl_copy_task task = {NATSL_ALPHABET_ALL, wrong[i][0], wrong[i][1]};
        EXPECT(natsl_copy_make(&task, NULL, wrong[i][2], &rng, ids, targets, &count, NULL, NULL) == NATSL_ERR_USAGE,
               "case %zu", i);
    }
}

/** Texts whose tokens grow with their bytes in one way or another: a length is found in a few tries. */
static int64_t tokens_of(int way, int64_t bytes)
{
    if (way == 0) return bytes / 4;
    if (way == 1) return bytes < 3000 ? bytes : 3000 + (bytes - 3000) / 7;
    return (int64_t)(3.0 * sqrt((double)bytes)) + bytes % 5;
}

static void test_fit(void)
{
    for (int way = 0; way < 3; way++) {
        for (int64_t room = 100; room < 1000000; room = room * 3 + 1) {
            int64_t bytes[2] = {0, 0}, tokens[2] = {0, 0}, next = 4 * room;
            const int64_t slack = natsl_fit_slack(room);
            int tries = 0;
            while ((bytes[0] == 0 || room - tokens[0] > slack) && tries < 60) {
                const int64_t n = tokens_of(way, next);
                bytes[n > room] = next;
                tokens[n > room] = n;
                next = natsl_fit_next(bytes, tokens, room - slack / 2, tries++);
                CU_ASSERT(next > 0 && (bytes[1] == 0 || (next >= bytes[0] && next <= bytes[1])));
            }
            EXPECT(tokens[0] <= room && room - tokens[0] <= slack && tries <= (way == 0 ? 3 : 25),
                   "way %d, room %lld: %lld tokens in %d tries", way, (long long)room, (long long)tokens[0], tries);
        }
    }
}

int main(void)
{
    static const test_entry tests[] = {
        {"random numbers", test_rng}, {"random order", test_permute},       {"words", test_words},
        {"recall", test_mqar},        {"gaps of recall", test_mqar_gaps},   {"recall refused", test_mqar_refused},
        {"copies", test_copy},        {"lengths found by trying", test_fit}};
    return run_suite("task", tests, COUNT(tests));
}
