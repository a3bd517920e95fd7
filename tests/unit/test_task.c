/* test_task.c - random numbers, needle texts and recall sequences: templates byte for byte, places and answers as told,
 * sizes, distributions, refused input. */
#define _GNU_SOURCE /* memmem */
#include "copy.h"
#include "fit.h"
#include "mqar.h"
#include "needle.h"

#include "../suite.h"

#include <ctype.h>
#include <math.h>
#include <natsl/status.h>
#include <stdlib.h>
#include <string.h>

#define UNIT  "The grass is green. The sky is blue. The sun is yellow. Here we go. There and back again."
#define PLAIN ((natsl_needle_task){.key_kind = NATSL_WORDS, .keys = 1, .values = 1, .questions = 1, .depth = -1.0})

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

/* ---- needles ---------------------------------------------------------------------------------------------------- */

static void memory_read(void *user, int64_t first, int64_t count, char *to)
{
    memcpy(to, (const char *)user + first, (size_t)count);
}

static natsl_hay hay_of(char *text)
{
    return (natsl_hay){.length = (int64_t)strlen(text), .read = memory_read, .user = text};
}

/** A text of `sentences` different sentences, some with a character of several bytes; the caller frees. */
static char *story(int sentences, const char *between)
{
    static const char *const verbs[] = {"rests", "sleeps", "caf\xc3\xa9", "na\xc3\xafve \xe2\x82\xac",
                                        "\xf0\x9f\x90\x9f swims"};
    char *text = calloc((size_t)sentences, 80);
    CU_ASSERT_PTR_NOT_NULL_FATAL(text);
    size_t at = 0;
    for (int i = 0; i < sentences; i++)
        at += (size_t)sprintf(text + at, "Fish %d %s in water%s", i, verbs[i % 5], i % 7 == 6 ? ".\n" : between);
    return text;
}

static natsl_needle_sample must_make(natsl_needle_task task, int64_t bytes, uint64_t seed)
{
    natsl_needle_sample s;
    natsl_rng rng = {seed};
    const natsl_status st = natsl_needle_make(&task, bytes, &rng, &s);
    EXPECT(st == NATSL_OK, "%s", natsl_error_text());
    CU_ASSERT_EQUAL_FATAL(st, NATSL_OK);
    return s;
}

/** Compares a text with what it should be, and shows where they part. */
static void same_text(const char *got, size_t length, const char *want)
{
    size_t i = 0;
    while (i < length && want[i] && got[i] == want[i]) i++;
    EXPECT(i == length && !want[i], "byte %zu: ...%.*s\n    expected ...%.60s", i,
           (int)(length - i < 60 ? length - i : 60), got + i, want + i);
}

/** One needle in noise, one question: the whole text, written out. */
static void test_single_exact(void)
{
    static const struct {
        natsl_word_kind kind;
        const char *one;
    } kinds[] = {{NATSL_NUMBERS, "number"}, {NATSL_UUIDS, "uuid"}, {NATSL_WORDS, "word"}};
    for (uint64_t seed = 0; seed < 60; seed++) {
        const char *one = kinds[seed % 3].one;
        char want[4096];
        natsl_needle_task task = PLAIN;
        task.value_kind = kinds[seed % 3].kind;
        natsl_needle_sample s = must_make(task, 2000, seed);
        CU_ASSERT_EQUAL_FATAL(s.n_needles, 1);
        CU_ASSERT_EQUAL_FATAL(s.n_answers, 1);
        const natsl_needle *n = &s.needles[0];
        int at = snprintf(
            want, sizeof want,
            "A special magic %s is hidden within the following text. Make sure to memorize it. I will quiz you "
            "about the %s afterwards.\n",
            one, one);
        int units = 0, told = 0;
        const int64_t before = (n->first - at) / (int64_t)sizeof UNIT; /* a unit and its newline */
        for (const char *p = s.text; (p = memmem(p, (size_t)(s.text + s.length - p), UNIT, strlen(UNIT))); p++) units++;
        for (int line = 0; line <= units; line++) {
            if (line == before) {
                told++;
                at += sprintf(want + at, "%sOne of the special magic %ss for %s is: %s.", line ? "\n" : "", one, n->key,
                              n->value);
            }
            if (line < units) at += sprintf(want + at, "%s%s", line || told ? "\n" : "", UNIT);
        }
        sprintf(want + at,
                "\nWhat is the special magic %s for %s mentioned in the provided text? The special magic %s for %s "
                "mentioned in "
                "the provided text is: %s.\n",
                one, n->key, one, n->key, n->value);
        same_text(s.text, (size_t)s.length, want);
        CU_ASSERT(s.length <= 2000 && s.length + (int64_t)sizeof UNIT > 2000 && units > 10);
        char answer[64];
        sprintf(answer, ": %s.\n", n->value);
        CU_ASSERT_EQUAL(s.answers[0].end, s.length);
        CU_ASSERT_EQUAL(s.answers[0].end - s.answers[0].begin, (int64_t)strlen(answer));
        CU_ASSERT_EQUAL(memcmp(s.text + s.answers[0].begin, answer, strlen(answer)), 0);
        natsl_needle_free(&s);
        CU_ASSERT_PTR_NULL(s.text);
    }
}

/** Several: what precedes the answers is RULER's prompt. */
static void test_plural_exact(void)
{
    char want[4096];
    natsl_needle_task task = PLAIN;
    task.keys = 3, task.values = 2, task.questions = 3, task.joint = 1;
    natsl_needle_sample s = must_make(task, 1500, 4);
    static const char header[] = "Some special magic numbers are hidden within the following text. Make sure to "
                                 "memorize it. I will quiz you about the "
                                 "numbers afterwards.\n";
    CU_ASSERT_EQUAL(memcmp(s.text, header, sizeof header - 1), 0);
    CU_ASSERT_EQUAL(s.context, (int64_t)sizeof header - 1);
    CU_ASSERT_EQUAL_FATAL(s.n_answers, 6);
    const natsl_needle *n[6];
    for (int i = 0; i < 6; i++) n[i] = &s.needles[s.answers[i].needle];
    sprintf(
        want,
        "\nWhat are all the special magic numbers for %s, %s, and %s mentioned in the provided text? The special magic "
        "numbers for %s, %s, and %s mentioned in the provided text are: %s, %s, %s, %s, %s, %s.\n",
        n[0]->key, n[2]->key, n[4]->key, n[0]->key, n[2]->key, n[4]->key, n[0]->value, n[1]->value, n[2]->value,
        n[3]->value, n[4]->value, n[5]->value);
    same_text(s.text + s.context_end, (size_t)(s.length - s.context_end), want);
    CU_ASSERT_STRING_EQUAL(n[0]->key, n[1]->key);
    CU_ASSERT_STRING_NOT_EQUAL(n[0]->value, n[1]->value);
    natsl_needle_free(&s);

    task = PLAIN;
    task.keys = 2, task.questions = 2;
    s = must_make(task, 1500, 5);
    const natsl_needle *a = &s.needles[s.answers[0].needle], *b = &s.needles[s.answers[1].needle];
    sprintf(want,
            "\nWhat is the special magic number for %s mentioned in the provided text? The special magic number for %s "
            "mentioned in the provided text is: %s.\n"
            "\nWhat is the special magic number for %s mentioned in the provided text? The special magic number for %s "
            "mentioned in the provided text is: %s.\n",
            a->key, a->key, a->value, b->key, b->key, b->value);
    same_text(s.text + s.context_end, (size_t)(s.length - s.context_end), want);
    CU_ASSERT_EQUAL(memcmp(s.text, "A special magic number is hidden", 32), 0); /* as a question asks for one */
    CU_ASSERT_STRING_NOT_EQUAL(a->key, b->key);
    natsl_needle_free(&s);
}

/** What a sample reports is what its text says. Returns how often needles come again. */
static size_t check_sample(const natsl_needle_task *task, const natsl_needle_sample *s, const char *type)
{
    CU_ASSERT_EQUAL(s->n_needles, (size_t)(task->keys * task->values));
    const size_t again = task->values == 1 ? s->n_needles * (size_t)task->restate : 0;
    CU_ASSERT_EQUAL(s->n_again, again);
    CU_ASSERT_EQUAL(s->n_answers, again + (size_t)(task->questions * task->values));
    for (size_t i = 0; i < s->n_needles; i++) {
        char want[200];
        const natsl_needle *n = &s->needles[i];
        const int length = sprintf(want, "One of the special magic %ss for %s is: %s.", type, n->key, n->value);
        const char *at = s->text, *first = memmem(s->text, (size_t)s->length, want, (size_t)length);
        int times = 0;
        EXPECT(first == s->text + n->first, "needle %zu is at %td, not %lld", i, first ? first - s->text : -1,
               (long long)n->first);
        CU_ASSERT(n->first >= s->context && n->first + length <= s->context_end);
        CU_ASSERT_DOUBLE_EQUAL(n->depth, (double)(n->first - s->context) / (double)(s->context_end - s->context),
                               1e-12);
        for (; (at = memmem(at, (size_t)(s->text + s->length - at), want, (size_t)length)); at++) times++;
        CU_ASSERT_EQUAL(times, 1 + task->restate);
        for (size_t j = 0; j < i; j++)
            CU_ASSERT((strcmp(n->key, s->needles[j].key) == 0) ==
                      (i / (size_t)task->values == j / (size_t)task->values));
    }
    for (size_t i = 0; i < s->n_answers; i++) {
        const natsl_needle_answer *a = &s->answers[i];
        const size_t length = strlen(s->needles[a->needle].value);
        CU_ASSERT_FATAL(a->begin > 0 && a->begin < a->end && a->end <= s->length);
        CU_ASSERT(i == 0 || a->begin >= s->answers[i - 1].end);
        CU_ASSERT_EQUAL(a->again, i < again);
        CU_ASSERT_EQUAL(memcmp(s->text + a->begin + 2, s->needles[a->needle].value, length), 0);
        if (a->again) {
            CU_ASSERT(a->begin > s->needles[a->needle].first + 40 && a->end <= s->context_end);
            CU_ASSERT_EQUAL(s->text[a->begin], ':');
            CU_ASSERT_EQUAL(a->end - a->begin, (int64_t)length + 3);
        } else {
            CU_ASSERT(a->begin > s->context_end);
            CU_ASSERT_EQUAL(s->text[a->begin], i == again || memcmp(s->text + a->begin - 2, "is", 2) == 0 ||
                                                       memcmp(s->text + a->begin - 3, "are", 3) == 0
                                                   ? ':'
                                                   : ',');
            if (i + 1 == s->n_answers) CU_ASSERT_EQUAL(memcmp(s->text + a->end - 2, ".\n", 2), 0);
        }
    }
    return again;
}

/** Many mixtures: places and answers are as reported, and the sample is as long as it can be. */
static void test_mixtures(void)
{
    static const char *const types[] = {"number", "word", "uuid"};
    char *text = story(3000, ". "), *none = story(3000, " and ");
    natsl_rng rng = {11};
    size_t again = 0;
    for (int i = 0; i < 400; i++) {
        natsl_needle_sample s;
        natsl_hay hay = hay_of(i % 6 < 3 ? text : none);
        natsl_needle_task task = PLAIN;
        if (i % 2) task.hay = &hay;
        if (i % 8 == 7) hay.length = 1 + (int64_t)natsl_rng_below(&rng, 300); /* repeated; may cut a character */
        task.key_kind = (natsl_word_kind)(1 + i % 3);
        task.value_kind = (natsl_word_kind)(i / 3 % 3);
        task.keys = 1 + (int)natsl_rng_below(&rng, 30);
        task.values = i % 4 == 0 ? 1 + (int)natsl_rng_below(&rng, 4) : 1;
        task.questions = 1 + (int)natsl_rng_below(&rng, (uint64_t)task.keys);
        task.restate = (int)natsl_rng_below(&rng, 4);
        task.joint = i % 5 == 0;
        const int64_t bytes = natsl_needle_bytes(&task) + (int64_t)natsl_rng_below(&rng, 5000);
        const natsl_status st = natsl_needle_make(&task, bytes, &rng, &s);
        EXPECT(st == NATSL_OK, "sample %d: %s", i, natsl_error_text());
        CU_ASSERT_EQUAL_FATAL(st, NATSL_OK);
        again += check_sample(&task, &s, types[task.value_kind]);
        EXPECT(s.length <= bytes && s.length + (task.hay ? 3 + 3 : (int64_t)sizeof UNIT) >= bytes,
               "sample %d: %lld of %lld", i, (long long)s.length, (long long)bytes);
        natsl_needle_free(&s);
    }
    CU_ASSERT(again > 1000);
    free(text);
    free(none);
}

/** Without its needles a text is a slice of the haystack, and needles begin where sentences do. */
static void test_text_haystack(void)
{
    char *text = story(500, ". ");
    const natsl_hay hay = hay_of(text);
    natsl_needle_task task = PLAIN;
    task.hay = &hay, task.keys = 6, task.questions = 2;
    int64_t starts[200];
    int at_start = 0, different = 0;
    for (uint64_t seed = 0; seed < 200; seed++) {
        natsl_needle_sample s = must_make(task, 4000, seed);
        char *context = calloc(1, (size_t)s.length + 1), *p;
        CU_ASSERT_PTR_NOT_NULL_FATAL(context);
        memcpy(context, s.text + s.context, (size_t)(s.context_end - s.context));
        while ((p = strstr(context, "One of the"))) {
            CU_ASSERT(p == context || p[-1] == '\n' || (p[-1] == ' ' && p[-2] == '.'));
            char *end = strstr(p, ". ") + 2;
            memmove(p, end, strlen(end) + 1);
        }
        const char *slice = strstr(text, context);
        CU_ASSERT_PTR_NOT_NULL_FATAL(slice);
        starts[seed] = slice - text;
        at_start += slice == text || slice[-1] == '\n' || slice[-2] == '.';
        different += seed > 0 && starts[seed] != starts[seed - 1];
        CU_ASSERT((slice[strlen(context)] & 0xc0) != 0x80); /* no character is cut */
        free(context);
        natsl_needle_free(&s);
    }
    CU_ASSERT_EQUAL(at_start, 200);
    CU_ASSERT(different > 180);
    free(text);
}

static void test_depth(void)
{
    char *text = story(3000, ". ");
    const natsl_hay hay = hay_of(text);
    for (int h = 0; h < 2; h++) {
        natsl_needle_task task = PLAIN;
        double sum = 0.0, squares = 0.0;
        task.hay = h ? &hay : NULL;
        for (uint64_t seed = 0; seed < 400; seed++) { /* anywhere: mean 1/2, variance 1/12 */
            natsl_needle_sample s = must_make(task, 9000, seed);
            sum += s.needles[0].depth;
            squares += s.needles[0].depth * s.needles[0].depth;
            natsl_needle_free(&s);
        }
        EXPECT(fabs(sum / 400 - 0.5) < 5.0 * sqrt(1.0 / 12 / 400), "haystack %d: mean depth %g", h, sum / 400);
        EXPECT(fabs(squares / 400 - 1.0 / 3) < 5.0 * sqrt(4.0 / 45 / 400), "haystack %d: mean square %g", h,
               squares / 400);
        task.keys = 5;
        for (int i = 0; i <= 10; i++) {
            task.depth = i / 10.0;
            natsl_needle_sample s = must_make(task, 20000, 77);
            const double depth = s.needles[s.answers[0].needle].depth;
            EXPECT(fabs(depth - task.depth) < 0.02, "haystack %d: depth %g, not %g", h, depth, task.depth);
            natsl_needle_free(&s);
        }
    }
    free(text);
}

/** Every size: refused, or within its bytes; from the promised size on never refused. */
static void test_sizes(void)
{
    char *text = story(50, ". ");
    const natsl_hay hay = hay_of(text);
    for (int h = 0; h < 2; h++) {
        natsl_needle_task task = PLAIN;
        task.hay = h ? &hay : NULL;
        task.keys = 2, task.restate = 1;
        const int64_t surely = natsl_needle_bytes(&task);
        int made = 0;
        for (int64_t bytes = -1; bytes < surely + 200; bytes++) {
            natsl_needle_sample s;
            natsl_rng rng = {(uint64_t)bytes};
            const natsl_status st = natsl_needle_make(&task, bytes, &rng, &s);
            CU_ASSERT(st == NATSL_OK || (st == NATSL_ERR_USAGE && bytes < surely));
            if (st == NATSL_OK) {
                CU_ASSERT(s.length <= bytes);
                (void)check_sample(&task, &s, "number");
                made++;
                natsl_needle_free(&s);
            } else {
                CU_ASSERT_PTR_NULL(s.text);
                CU_ASSERT_PTR_NOT_NULL(strstr(natsl_error_text(), "bytes"));
            }
        }
        CU_ASSERT(made > 200 && made < surely);
    }
    free(text);
}

static void test_needle_refused(void)
{
    natsl_hay empty = {.read = memory_read};
    natsl_needle_task wrong[13];
    for (size_t i = 0; i < COUNT(wrong); i++) wrong[i] = PLAIN;
    wrong[0].keys = 0;
    wrong[1].keys = NATSL_NEEDLE_MOST_KEYS + 1;
    wrong[2].keys = INT32_MIN;
    wrong[3].values = 0;
    wrong[4].values = INT32_MAX;
    wrong[5].questions = 0;
    wrong[6].questions = 2;
    wrong[7].restate = -1;
    wrong[8].restate = INT32_MAX;
    wrong[9].depth = 1.5;
    wrong[10].depth = NAN;
    wrong[11].hay = &empty;
    wrong[12].value_kind = (natsl_word_kind)9;
    for (size_t i = 0; i < COUNT(wrong); i++) {
        natsl_needle_sample s;
        natsl_rng rng = {1};
        EXPECT(natsl_needle_make(&wrong[i], 5000, &rng, &s) == NATSL_ERR_USAGE, "task %zu", i);
        CU_ASSERT_PTR_NULL(s.text);
        CU_ASSERT_EQUAL(rng.state, 1);
    }
    natsl_needle_task most = PLAIN; /* the largest there is, where it cannot fit */
    most.keys = most.questions = NATSL_NEEDLE_MOST_KEYS, most.values = NATSL_NEEDLE_MOST_VALUES;
    most.restate = NATSL_NEEDLE_MOST_AGAIN;
    natsl_needle_sample s;
    natsl_rng rng = {1};
    CU_ASSERT(natsl_needle_bytes(&most) > (int64_t)UINT32_MAX);
    CU_ASSERT_EQUAL(natsl_needle_make(&most, 1 << 20, &rng, &s), NATSL_ERR_USAGE);
    natsl_needle_task many = PLAIN; /* as many distinct keys as there may be */
    many.keys = NATSL_NEEDLE_MOST_KEYS;
    s = must_make(many, natsl_needle_bytes(&many), 1);
    CU_ASSERT_EQUAL(s.n_needles, NATSL_NEEDLE_MOST_KEYS);
    natsl_needle_free(&s);
}

static void test_repeatable(void)
{
    natsl_needle_task task = PLAIN;
    task.keys = 4, task.questions = 3, task.restate = 1;
    natsl_needle_sample a = must_make(task, 3000, 1), b = must_make(task, 3000, 1), c = must_make(task, 3000, 2);
    CU_ASSERT_EQUAL_FATAL(a.length, b.length);
    CU_ASSERT_EQUAL(memcmp(a.text, b.text, (size_t)a.length), 0);
    CU_ASSERT(a.length != c.length || memcmp(a.text, c.text, (size_t)a.length) != 0);
    natsl_needle_free(&a);
    natsl_needle_free(&b);
    natsl_needle_free(&c);
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

/** A haystack that is fixed begins where it says, however long the sample is. */
static void read_numbers(void *user, int64_t first, int64_t count, char *to)
{
    (void)user;
    for (int64_t i = 0; i < count; i++)
        to[i] = "abcdefghijklmnopqrstuvwxyz. "[(first + i) % 10 < 8 ? (first + i) / 10 % 26 : 18 + (first + i) % 10];
}

static void test_fixed(void)
{
    natsl_hay hay = {.length = 5000, .read = read_numbers, .fixed = 1, .start = 1204};
    natsl_needle_task task = PLAIN;
    task.hay = &hay;
    for (int64_t bytes = 600; bytes < 4000; bytes += 700) {
        natsl_needle_sample s;
        natsl_rng rng = {(uint64_t)bytes};
        task.depth = 1.0;
        CU_ASSERT_EQUAL_FATAL(natsl_needle_make(&task, bytes, &rng, &s), NATSL_OK);
        CU_ASSERT_EQUAL(memcmp(s.text + s.context, "qqqqqqqq. rrrrrrrr. ", 20), 0); /* the sentence around byte 1204 */
        natsl_needle_free(&s);
    }
    natsl_needle_sample s;
    natsl_rng rng = {1};
    hay.start = 5000;
    CU_ASSERT_EQUAL(natsl_needle_make(&task, 900, &rng, &s), NATSL_ERR_USAGE);
}

int main(void)
{
    static const test_entry tests[] = {{"random numbers", test_rng},
                                       {"random order", test_permute},
                                       {"words", test_words},
                                       {"one needle, byte for byte", test_single_exact},
                                       {"several needles, byte for byte", test_plural_exact},
                                       {"mixtures", test_mixtures},
                                       {"text as a haystack", test_text_haystack},
                                       {"depth", test_depth},
                                       {"sizes", test_sizes},
                                       {"needles refused", test_needle_refused},
                                       {"repeatable", test_repeatable},
                                       {"recall", test_mqar},
                                       {"gaps of recall", test_mqar_gaps},
                                       {"recall refused", test_mqar_refused},
                                       {"copies", test_copy},
                                       {"lengths found by trying", test_fit},
                                       {"a haystack from one place on", test_fixed}};
    return run_suite("task", tests, COUNT(tests));
}
