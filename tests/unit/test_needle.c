/* test_needle.c - needle texts: templates byte for byte, places and answers as told, sizes, distributions, refused input. */
#define _GNU_SOURCE /* memmem */
#include "needle.h"

#include "../suite.h"

#include <math.h>
#include <natsl/status.h>
#include <stdlib.h>
#include <string.h>

#define UNIT  "The grass is green. The sky is blue. The sun is yellow. Here we go. There and back again."
#define PLAIN ((natsl_needle_task){.key_kind = NATSL_WORDS, .keys = 1, .values = 1, .questions = 1, .depth = -1.0})

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
    static const test_entry tests[] = {{"one needle, byte for byte", test_single_exact},
                                       {"several needles, byte for byte", test_plural_exact},
                                       {"mixtures", test_mixtures},
                                       {"text as a haystack", test_text_haystack},
                                       {"depth", test_depth},
                                       {"sizes", test_sizes},
                                       {"needles refused", test_needle_refused},
                                       {"repeatable", test_repeatable},
                                       {"a haystack from one place on", test_fixed}};
    return run_suite("needle", tests, COUNT(tests));
}
