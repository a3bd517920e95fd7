/* test_data.c - training windows: every window of a text once, nothing held out ever trained on, targets and answers as
 * promised, proportions of a mixture, the same window whoever asks. What is refused: test_data_refused.c. */
#define _GNU_SOURCE /* memmem, scratch.h */
#include "data_check.h"

#include <math.h>

static natsl_answer answers[4096];

/** A window into ids, targets, answers; its length. */
static int64_t window(natsl_data *d, natsl_data_part part, int64_t index, int64_t tokens, size_t *n_answers)
{
    int64_t count = -1;
    size_t n = COUNT(answers);
    for (int64_t i = 0; i < tokens; i++) ids[i] = targets[i] = -7;
    const natsl_status st = natsl_data_window(d, part, index, tokens, ids, targets, &count, answers, &n);
    EXPECT(st == NATSL_OK, "window %lld: %s", (long long)index, natsl_error_text());
    CU_ASSERT_FATAL(st == NATSL_OK && count >= 2 && count <= tokens);
    CU_ASSERT_EQUAL(targets[count - 1], -1);
    for (int64_t i = 0; i < count; i++) CU_ASSERT_FATAL(ids[i] >= 0 && targets[i] >= -1);
    for (int64_t i = count; i < tokens; i++)
        CU_ASSERT_FATAL(ids[i] == -7 && targets[i] == -7); /* nothing past the end */
    if (n_answers) *n_answers = n;
    return count;
}

static void next_tokens(int64_t count)
{
    for (int64_t i = 0; i + 1 < count; i++) CU_ASSERT_EQUAL_FATAL(targets[i], ids[i + 1]);
    CU_ASSERT_EQUAL(targets[count - 1], -1);
}

/* ---- texts ------------------------------------------------------------------------------------------------------ */

/** Token files in which a token is its own place: every window of an epoch once, all of it before what is held out. */
static void test_epochs(void)
{
    enum { ALL = 10000, HELD = 9000 };
    static const int64_t lengths[] = {2, 3, 64, 100, 999, 4499, 4501, 9000, 15000};
    write_tokens("a.h5", "tokens", 0, 6000);
    write_tokens("b.h5", "tokens", 6000, 4000);
    natsl_data *d = must_open("[{'kind': 'text', 'files': ['a.h5', 'b.h5'], 'validation': 0.1}]", ALL, "none", 5);
    for (size_t c = 0; c < COUNT(lengths); c++) {
        const int64_t tokens = lengths[c], n = tokens < HELD ? HELD / tokens : 1;
        int shifted = 0, in_order = 0;
        CU_ASSERT_EQUAL(natsl_data_epoch(d, NATSL_DATA_TRAIN, tokens), n);
        for (int64_t epoch = 0; epoch < 6; epoch++) {
            static uint8_t seen[ALL];
            int64_t least = ALL, before = -1;
            memset(seen, 0, sizeof seen);
            for (int64_t i = 0; i < n; i++) {
                const int64_t count = window(d, NATSL_DATA_TRAIN, epoch * n + i, tokens, NULL);
                CU_ASSERT_EQUAL_FATAL(count, tokens < HELD ? tokens : HELD);
                CU_ASSERT_FATAL(ids[0] >= 0 && ids[0] + count <= HELD);
                for (int64_t k = 0; k < count; k++) {
                    CU_ASSERT_EQUAL_FATAL(ids[k], ids[0] + k);
                    CU_ASSERT_EQUAL_FATAL(seen[ids[k]]++, 0);
                }
                next_tokens(count);
                if (ids[0] < least) least = ids[0];
                in_order += ids[0] == before + count;
                before = ids[0];
            }
            shifted += least > 0;
        }
        if (n > 10)
            EXPECT(in_order < n / 2, "%lld of %lld windows follow the one before", (long long)in_order, 6LL * n);
        if (HELD % tokens > 10 && tokens < HELD) CU_ASSERT(shifted >= 2);
        const int64_t held = tokens < ALL - HELD ? (ALL - HELD) / tokens : 1;
        CU_ASSERT_EQUAL(natsl_data_epoch(d, NATSL_DATA_VALIDATION, tokens), held);
        for (int64_t i = 0; i < held + 2; i++) { /* in order, and from the beginning again */
            const int64_t count = window(d, NATSL_DATA_VALIDATION, i, tokens, NULL);
            CU_ASSERT_EQUAL(ids[0], HELD + i % held * count);
            CU_ASSERT_EQUAL(count, tokens < ALL - HELD ? tokens : ALL - HELD);
            CU_ASSERT(ids[count - 1] == ids[0] + count - 1 && ids[count - 1] < ALL);
            next_tokens(count);
        }
    }
    (void)window(d, NATSL_DATA_TRAIN, INT64_MAX, 64, NULL); /* far away, as good as any */
    (void)window(d, NATSL_DATA_VALIDATION, INT64_MAX, 64, NULL);
    natsl_data_close(&d);
    CU_ASSERT_PTR_NULL(d);
    natsl_data_close(&d);
    d = must_open("[{'kind': 'text', 'files': ['a.h5'], 'validation': 0}]", ALL, "none", 5);
    CU_ASSERT_EQUAL(natsl_data_has_validation(d), 0);
    CU_ASSERT_EQUAL(natsl_data_epoch(d, NATSL_DATA_TRAIN, 100), 60);
    int64_t count = 0;
    CU_ASSERT_EQUAL(natsl_data_window(d, NATSL_DATA_VALIDATION, 0, 100, ids, targets, &count, NULL, NULL),
                    NATSL_ERR_USAGE);
    natsl_data_close(&d);
}

/** Texts are joined by new lines; bytes are tokens. */
static void test_joined(void)
{
    static const char joined[] = "caf\xc3\xa9\n\xff\x01second\nlast\n";
    scratch_write("1.txt", "caf\xc3\xa9", 5);
    scratch_write("2.txt", "\xff\x01second", 8);
    scratch_write("3.txt", "last\n", 5);
    natsl_data *d =
        must_open("[{'kind': 'text', 'files': ['1.txt', '2.txt', '3.txt'], 'validation': 0}]", 256, "byte", 1);
    int64_t count = window(d, NATSL_DATA_TRAIN, 3, 500, NULL);
    CU_ASSERT_EQUAL_FATAL(count, (int64_t)sizeof joined - 1);
    for (int64_t i = 0; i < count; i++) CU_ASSERT_EQUAL(ids[i], (unsigned char)joined[i]);
    next_tokens(count);
    int64_t found = 0;
    for (int64_t i = 0; i < 200; i++) { /* windows that cross files */
        char text[8];
        CU_ASSERT_EQUAL_FATAL(window(d, NATSL_DATA_TRAIN, i, 7, NULL), 7);
        for (int k = 0; k < 7; k++) text[k] = (char)ids[k];
        found += memmem(joined, sizeof joined - 1, text, 7) != NULL;
    }
    CU_ASSERT_EQUAL(found, 200);
    natsl_data_close(&d);
    write_tokens("c.h5", "tokens", 65, 3); /* token files of a byte model are texts, too */
    d = must_open("[{'kind': 'text', 'files': ['c.h5', 'c.h5'], 'validation': 0}]", 256, "byte", 1);
    count = window(d, NATSL_DATA_TRAIN, 0, 50, NULL);
    CU_ASSERT_EQUAL_FATAL(count, 7);
    CU_ASSERT(ids[2] == 67 && ids[3] == '\n' && ids[4] == 65);
    natsl_data_close(&d);
}

/* ---- mixtures --------------------------------------------------------------------------------------------------- */

/** Shares are kept at every moment, and each source goes its own way as if it were alone. */
static void test_mixture(void)
{
    static const double shares[] = {0.5, 0.3, 0.2};
    write_tokens("x.h5", "tokens", 1000, 1000);
    write_tokens("y.h5", "tokens", 2000, 1000);
    write_tokens("z.h5", "tokens", 3000, 1000);
    natsl_data *d = must_open("[{'kind': 'text', 'files': ['x.h5'], 'weight': 5},"
                              " {'kind': 'text', 'files': ['y.h5'], 'weight': 3, 'validation': 0},"
                              " {'kind': 'text', 'files': ['z.h5'], 'weight': 2}]",
                              4000, "none", 9);
    static uint8_t seen[4000];
    int came[3] = {0}, checked = 0;
    const int64_t epoch = natsl_data_epoch(d, NATSL_DATA_TRAIN, 10); /* 95 windows, every fifth turn */
    EXPECT(llabs(epoch - 475) < 5, "%lld windows", (long long)epoch);
    for (int64_t i = 0; i < epoch; i++) {
        CU_ASSERT(checked < 95); /* the last window is the one that was missing */
        CU_ASSERT_EQUAL_FATAL(window(d, NATSL_DATA_TRAIN, i, 10, NULL), 10);
        const int k = ids[0] / 1000 - 1;
        came[k]++;
        for (int s = 0; s < 3; s++)
            EXPECT(fabs(came[s] - shares[s] * (double)(i + 1)) <= 1.0 + s, "source %d came %d times of %lld", s,
                   came[s], (long long)i + 1);
        if (k == 2) seen[ids[0]]++, checked++;
    }
    CU_ASSERT_EQUAL(checked, 95);
    for (int i = 0; i < 4000; i++) CU_ASSERT(seen[i] <= 1);
    int held[3] = {0};
    for (int64_t i = 0; i < 70; i++) { /* the second holds nothing back: 5 to 2 */
        (void)window(d, NATSL_DATA_VALIDATION, i, 10, NULL);
        held[ids[0] / 1000 - 1]++;
        CU_ASSERT(ids[0] % 1000 >= 950);
    }
    EXPECT(held[0] == 50 && held[1] == 0 && held[2] == 20, "%d %d %d", held[0], held[1], held[2]);
    natsl_data_close(&d);
    d = must_open("[{'kind': 'text', 'files': ['x.h5'], 'weight': 1e9},"
                  " {'kind': 'text', 'files': ['y.h5'], 'weight': 1e-9}]",
                  4000, "none", 9); /* the last one's turn comes, some day */
    (void)window(d, NATSL_DATA_TRAIN, ((int64_t)1 << 31) + 5, 10, NULL);
    CU_ASSERT_EQUAL(ids[0] / 1000, 1);
    int rare = 0;
    for (int64_t i = -2; i < 2; i++) {
        (void)window(d, NATSL_DATA_TRAIN, ((int64_t)1 << 31) + i, 10, NULL);
        rare += ids[0] / 1000 == 2;
    }
    CU_ASSERT_EQUAL(rare, 1);
    natsl_data_close(&d);
}

/** Same bits for the same window in any order and from a second opening; others for another seed, part or index. */
static void test_pure(void)
{
    enum { N = 12, T = 900 };
    static int32_t first[2][N][T];
    static const char spec[] = "[{'kind': 'needle', 'keys': [1, 4], 'questions': [1, 3], 'haystack': 'text', 'files': "
                               "['story.txt']}, {'kind': 'text', 'files': ['story.txt'], 'validation': 0.4}, {'kind': "
                               "'mqar', 'pairs': [2, 9]}]";
    char *story = malloc(50000);
    size_t at = 0;
    for (int i = 0; at < 49000; i++) at += (size_t)sprintf(story + at, "Word %d is here. ", i);
    scratch_write("story.txt", story, at);
    free(story);
    natsl_data *a = must_open(spec, 256, "byte", 1), *b = must_open(spec, 256, "byte", 1),
               *c = must_open(spec, 256, "byte", 2);
    for (int part = 0; part < 2; part++) {
        for (int i = 0; i < N; i++) {
            (void)window(a, (natsl_data_part)part, i, T, NULL);
            memcpy(first[part][i], ids, sizeof first[part][i]);
        }
    }
    int other = 0;
    for (int part = 0; part < 2; part++) {
        for (int i = N - 1; i >= 0; i--) {
            (void)window(b, (natsl_data_part)part, i, T, NULL);
            CU_ASSERT_EQUAL(memcmp(first[part][i], ids, sizeof first[part][i]), 0);
            (void)window(c, (natsl_data_part)part, i, T, NULL);
            other += memcmp(first[part][i], ids, sizeof first[part][i]) != 0;
            for (int j = 0; j < i; j++)
                CU_ASSERT_NOT_EQUAL(memcmp(first[part][i], first[part][j], sizeof first[part][i]), 0);
            for (int j = 0; j < N; j++)
                CU_ASSERT_NOT_EQUAL(memcmp(first[part][i], first[!part][j], sizeof first[part][i]), 0);
        }
    }
    EXPECT(other >= 2 * N - N / 3 - 2, "%d of %d differ", other,
           2 * N); /* a text's validation is the same for any seed */
    natsl_data_close(&a);
    natsl_data_close(&b);
    natsl_data_close(&c);
}

/* ---- needles and recall ----------------------------------------------------------------------------------------- */

static size_t text_of_window(char *text, int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        CU_ASSERT_FATAL(ids[i] < 256);
        text[i] = (char)ids[i];
    }
    text[count] = '\0';
    return (size_t)count;
}

/** Answers say what the needles say; nothing else counts (or all does). */
static void needle_windows(const char *spec, int64_t tokens, int all, int most_questions)
{
    static char text[MOST + 1];
    static uint8_t counted[MOST];
    natsl_data *d = must_open(spec, 256, "byte", 3);
    int questions_seen = 0;
    CU_ASSERT_EQUAL(natsl_data_epoch(d, NATSL_DATA_TRAIN, tokens), 0);
    for (int64_t i = 0; i < 60; i++) {
        size_t n = 0;
        const int64_t count = window(d, (natsl_data_part)(i % 2), i / 2, tokens, &n);
        const size_t length = text_of_window(text, count);
        int questions = 0;
        for (const char *p = text; (p = strstr(p, "\nWhat is the special magic number for ")); p++) questions++;
        CU_ASSERT(questions >= 1 && questions <= most_questions);
        if (questions > questions_seen) questions_seen = questions;
        CU_ASSERT((size_t)questions <= n);
        CU_ASSERT_EQUAL(memcmp(text + length - 2, ".\n", 2), 0); /* the last question is whole */
        memset(counted, 0, sizeof counted);
        for (size_t a = 0; a < n; a++) {
            char key[64] = "", value[64] = "", needle[200], from[200];
            CU_ASSERT_FATAL(answers[a].begin >= 0 && answers[a].begin < answers[a].end && answers[a].end < count);
            for (int64_t k = answers[a].begin; k < answers[a].end; k++) {
                CU_ASSERT_EQUAL(targets[k], ids[k + 1]);
                counted[k] = 1;
            }
            /* the answer's bytes: ": V.\n" or ": V." */
            CU_ASSERT_EQUAL_FATAL(sscanf(text + answers[a].begin + 1, ": %63[0-9]", value), 1);
            CU_ASSERT_EQUAL(text[answers[a].begin + 1 + 2 + (int64_t)strlen(value)], '.');
            memcpy(from, text + (answers[a].begin < 150 ? 0 : answers[a].begin - 149), 150);
            from[150] = '\0';
            char *word = NULL; /* the last "for " before it names the key */
            for (char *p = from; (p = strstr(p, " for ")); p++) word = p;
            CU_ASSERT_PTR_NOT_NULL_FATAL(word);
            CU_ASSERT_EQUAL(answers[a].again, answers[a].begin < strstr(text, "\nWhat is the") - text);
            CU_ASSERT_EQUAL_FATAL(sscanf(word, " for %63s", key), 1);
            const int size = sprintf(needle, "One of the special magic numbers for %s is: %s.", key, value);
            const char *told = memmem(text, length, needle, (size_t)size);
            CU_ASSERT_PTR_NOT_NULL_FATAL(told);
            CU_ASSERT(told - text + size <= answers[a].begin + 1);
            const char *context = strstr(text, "afterwards.\n") + 12, *end = strstr(text, "\nWhat is the special");
            CU_ASSERT_DOUBLE_EQUAL(answers[a].depth, (double)(told - context) / (double)(end - context), 1e-12);
        }
        for (int64_t k = 0; k + 1 < count; k++) CU_ASSERT_EQUAL_FATAL(targets[k] >= 0, all || counted[k]);
        if (all) next_tokens(count);
    }
    CU_ASSERT_EQUAL(questions_seen, most_questions);
    natsl_data_close(&d);
}

static void test_needles(void)
{
    needle_windows("[{'kind': 'needle'}]", 700, 0, 1);
    needle_windows("[{'kind': 'needle', 'keys': [1, 6], 'questions': [1, 4]}]", 2500, 0, 4);
    needle_windows(
        "[{'kind': 'needle', 'keys': 5, 'questions': 2, 'restate': [0, 3], 'key_kind': 'syllables', 'loss': 'all'}]",
        3000, 1, 2);
    needle_windows("[{'kind': 'needle', 'keys': [1, 16384], 'questions': 16384, 'restate': 64, 'key_kind': 'uuids'}]",
                   800, 0, 2);
    /* few bytes of answers asked for, and room for fewer */
    natsl_data *d = must_open("[{'kind': 'needle', 'keys': 4, 'questions': 4}]", 300, "byte", 3);
    int64_t count = 0;
    size_t n = 2;
    answers[2].begin = 77;
    CU_ASSERT_EQUAL(natsl_data_window(d, NATSL_DATA_TRAIN, 0, 2000, ids, targets, &count, answers, &n), NATSL_OK);
    CU_ASSERT(n == 2 && answers[2].begin == 77 && answers[1].begin > answers[0].begin);
    CU_ASSERT_EQUAL(natsl_data_window(d, NATSL_DATA_TRAIN, 0, 2000, ids, targets, &count, NULL, NULL), NATSL_OK);
    natsl_data_close(&d);
    d = must_open("[{'kind': 'needle', 'keys': 2, 'values': [2, 3], 'value_kind': 'words'}]", 256, "byte", 3);
    static char text[MOST + 1];
    for (int64_t i = 0; i < 10; i++) {
        (void)text_of_window(text, window(d, NATSL_DATA_TRAIN, i, 1500, &n));
        CU_ASSERT(n == 2 || n == 3);
        CU_ASSERT_PTR_NOT_NULL(strstr(text, "What are all the special magic words for "));
        CU_ASSERT(text[answers[0].begin + 1] == ':' && text[answers[1].begin + 1] == ',');
        CU_ASSERT_EQUAL(answers[1].begin, answers[0].end);
    }
    natsl_data_close(&d);
}

/** Marks of what is told: every sentence about a magic number before the first question, nothing else; no marks where a source has
 * no such thing. */
static void test_told(void)
{
    static int8_t told[MOST];
    static char text[MOST + 1];
    natsl_data *d = must_open("[{'kind': 'needle', 'keys': [1, 5], 'questions': [1, 3], 'restate': [0, 3]}, "
                              "{'kind': 'copy'}, {'kind': 'mqar', 'pairs': 3}]",
                              256, "byte", 4);
    int needles = 0, others = 0;
    for (int64_t i = 0; i < 30; i++) {
        int64_t count = 0, marked = 0;
        memset(told, 5, sizeof told);
        CU_ASSERT_EQUAL_FATAL(
            natsl_data_window_told(d, NATSL_DATA_TRAIN, i, 2000, ids, targets, &count, NULL, NULL, told), NATSL_OK);
        (void)window(d, NATSL_DATA_TRAIN, i, 2000, NULL); /* the same window */
        (void)text_of_window(text, count);
        const char *question = strstr(text, "\nWhat is the special magic number for ");
        if (!question) {
            others++;
            for (int64_t k = 0; k < count; k++) CU_ASSERT_EQUAL_FATAL(told[k], -1);
            continue;
        }
        needles++;
        for (int64_t k = 0; k < count; k++) {
            marked += told[k] == 1;
            CU_ASSERT_FATAL(k < question - text ? told[k] == 0 || told[k] == 1 : told[k] == -1);
        }
        for (const char *at = text; (at = strstr(at, "One of the special magic numbers for ")) != NULL;) {
            const char *end = strchr(at, '.') + 1;
            for (; at < end; at++, marked--) CU_ASSERT_EQUAL_FATAL(told[at - text], 1);
        }
        CU_ASSERT_EQUAL(marked, 0);
    }
    CU_ASSERT(needles == 10 && others == 20);
    natsl_data_close(&d);
    /* of several values, too, though they do not count as answers when they come again */
    d = must_open("[{'kind': 'needle', 'values': 2, 'restate': 2}]", 256, "byte", 4);
    int64_t count = 0, marked = 0;
    CU_ASSERT_EQUAL_FATAL(natsl_data_window_told(d, NATSL_DATA_TRAIN, 0, 2000, ids, targets, &count, NULL, NULL, told),
                          NATSL_OK);
    (void)text_of_window(text, count);
    for (int64_t k = 0; k < count; k++) marked += told[k] == 1;
    for (const char *at = text; (at = strstr(at, "One of the special magic numbers for ")) != NULL;)
        for (const char *end = strchr(at, '.') + 1; at < end; at++, marked--) CU_ASSERT_EQUAL_FATAL(told[at - text], 1);
    CU_ASSERT_EQUAL(marked, 0);
    natsl_data_close(&d);
}

/** Haystacks of training windows come from the first part of the text, of validation from what is held out. */
static void test_haystack_split(void)
{
    enum { ALL = 100000, HELD = 80000 };
    char *bytes = malloc(ALL);
    for (int i = 0; i < ALL; i++) bytes[i] = i % 20 == 18 ? '.' : i % 20 == 19 ? ' ' : i < HELD ? '<' : '>';
    scratch_write("split.txt", bytes, ALL);
    free(bytes);
    natsl_data *d =
        must_open("[{'kind': 'needle', 'haystack': 'text', 'files': ['split.txt'], 'validation': 0.2, 'keys': [1, 9]}]",
                  256, "byte", 4);
    static char text[MOST + 1];
    static const int64_t lengths[] = {600, 3000, MOST};
    for (int64_t i = 0; i < 120; i++) {
        for (int part = 0; part < 2; part++) {
            const int64_t tokens = lengths[i % 3], count = window(d, (natsl_data_part)part, i, tokens, NULL);
            CU_ASSERT_EQUAL(count, tokens); /* text fills to the last byte */
            (void)text_of_window(text, count);
            CU_ASSERT_PTR_NULL(strchr(text, part ? '<' : '>'));
            CU_ASSERT_PTR_NOT_NULL(strchr(text, part ? '>' : '<'));
        }
    }
    natsl_data_close(&d);
}

static void test_recall(void)
{
    natsl_data *d = must_open("[{'kind': 'mqar', 'pairs': [1, 40], 'vocabulary': 200}]", 8192, "none", 6);
    size_t fewest = 100, most = 0;
    for (int64_t i = 0; i < 100; i++) {
        size_t n = 0;
        CU_ASSERT_EQUAL_FATAL(window(d, (natsl_data_part)(i % 2), i, 128, &n), 128);
        int64_t labelled = 0;
        for (int k = 0; k < 128; k++) {
            CU_ASSERT(ids[k] < 200);
            labelled += targets[k] >= 0;
        }
        CU_ASSERT_EQUAL(labelled, (int64_t)n);
        for (size_t a = 0; a < n; a++) {
            const int64_t at = answers[a].begin, pair = llround(answers[a].depth * 64);
            CU_ASSERT_EQUAL(answers[a].end, at + 1);
            CU_ASSERT(ids[2 * pair] == ids[at] && ids[2 * pair + 1] == targets[at]);
        }
        if (n < fewest) fewest = n;
        if (n > most) most = n;
    }
    EXPECT(fewest < 5 && most == 32, "%zu to %zu pairs", fewest, most); /* 40 do not fit */
    natsl_data_close(&d);
}

/** From 2 tokens on a window is made, or refused as too short; nothing is written past it (sanitizers look, too). */
static void test_tiny(void)
{
    static const char *const specs[] = {
        "[{'kind': 'text', 'files': ['story.txt']}]",
        "[{'kind': 'needle', 'keys': [1, 50], 'questions': 50, 'restate': 3}]",
        "[{'kind': 'needle', 'keys': 9, 'values': 5, 'haystack': 'text', 'files': ['1.txt'], 'validation': 0}]",
        "[{'kind': 'mqar', 'pairs': 100}]",
    };
    static const int64_t least[] = {2, 250, 250, 4};
    for (size_t c = 0; c < COUNT(specs); c++) {
        natsl_data *d = must_open(specs[c], 256, "byte", 1);
        int64_t shortest = 0, count = 0, sure = 0;
        for (int64_t tokens = INT64_MIN; tokens < 700; tokens = tokens < 0 ? 0 : tokens + 1) {
            int32_t *exact = malloc(2 * sizeof *exact * (size_t)(tokens > 0 ? tokens : 1));
            natsl_answer few[3];
            size_t n = 3;
            const natsl_status st = natsl_data_window(d, NATSL_DATA_TRAIN, 7, tokens, exact,
                                                      exact + (tokens > 0 ? tokens : 0), &count, few, &n);
            if (natsl_data_check(d, tokens) == NATSL_OK) sure = sure ? sure : tokens;
            else CU_ASSERT(!sure && strstr(natsl_error_text(), "T.json: data[0]: windows of "));
            CU_ASSERT(!sure || st == NATSL_OK);
            if (st == NATSL_OK && !shortest) shortest = tokens;
            EXPECT(st == (shortest ? NATSL_OK : NATSL_ERR_USAGE), "%lld tokens: %s", (long long)tokens,
                   natsl_error_text());
            if (st == NATSL_OK) CU_ASSERT(count >= 2 && count <= tokens && n <= 3);
            free(exact);
        }
        EXPECT(shortest >= least[c] && shortest < least[c] + 250, "source %zu: from %lld tokens on", c,
               (long long)shortest);
        CU_ASSERT(sure >= shortest && sure < shortest + 40); /* longer by what the longest words would be longer */
        if (least[c] < 10) CU_ASSERT(shortest == least[c] && sure == least[c]);
        CU_ASSERT_EQUAL(natsl_data_window(d, NATSL_DATA_TRAIN, -1, 700, ids, targets, &count, NULL, NULL),
                        NATSL_ERR_USAGE);
        CU_ASSERT_EQUAL(natsl_data_window(d, NATSL_DATA_TRAIN, INT64_MIN, 700, ids, targets, &count, NULL, NULL),
                        NATSL_ERR_USAGE);
        CU_ASSERT_EQUAL(natsl_data_window(d, (natsl_data_part)2, 0, 700, ids, targets, &count, NULL, NULL),
                        NATSL_ERR_USAGE);
        (void)window(d, NATSL_DATA_TRAIN, INT64_MAX, 700, NULL);
        natsl_data_close(&d);
    }
}

int main(void)
{
    static const test_entry tests[] = {{"every window once", test_epochs},
                                       {"files joined", test_joined},
                                       {"mixture", test_mixture},
                                       {"pure function", test_pure},
                                       {"needles", test_needles},
                                       {"what is told", test_told},
                                       {"held out of haystacks", test_haystack_split},
                                       {"recall", test_recall},
                                       {"tiny windows", test_tiny}};
    scratch_make();
    const int failed = run_suite("data", tests, COUNT(tests));
    return scratch_remove() != 0 || failed;
}
