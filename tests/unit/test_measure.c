/* test_measure.c - lengths in tokens: what is counted by blocks that are remembered is what the tokenizer makes of the whole text. */
#include "measure.h"
#include "ruler.h"

#include "../suite.h"
#include <stdlib.h>
#include <string.h>

static const char golden[] = NATSL_GOLDEN_DIR;

static char *file_of(const char *name, size_t *length)
{
    char path[1024];
    (void)snprintf(path, sizeof path, "%s/tokenizer/%s", golden, name);
    FILE *file = fopen(path, "rb");
    CU_ASSERT_PTR_NOT_NULL_FATAL(file);
    char *text = malloc(1 << 17);
    CU_ASSERT_PTR_NOT_NULL_FATAL(text);
    *length = fread(text, 1, 1 << 17, file);
    (void)fclose(file);
    return text;
}

/** A tokenizer that may be cut (cuts 1: where the file has a token that must be a word of its own, that is taken back). */
static natsl_tokenizer *tokenizer_of(const char *name, int cuts)
{
    natsl_tokenizer *t = NULL;
    size_t length = 0;
    char *json = file_of(name, &length);
    json[length] = '\0';
    for (char *at = json; cuts && (at = strstr(at, "\"single_word\":true")) != NULL; at++)
        memcpy(at, "\"single_word\":null", 18); /* which is false */
    CU_ASSERT_EQUAL_FATAL(natsl_tokenizer_create("json", 0, json, length, name, &t), NATSL_OK);
    free(json);
    return t;
}

static int64_t whole(const natsl_tokenizer *t, const char *text, size_t length)
{
    natsl_ids ids = {0};
    CU_ASSERT_EQUAL(natsl_tokenizer_encode(t, text, length, 0, &ids), NATSL_OK);
    const int64_t n = (int64_t)ids.count;
    natsl_ids_free(&ids);
    return n;
}

/** Noise with needles, prose of many scripts, bytes that are no text, one long word: 40 KB, other ones for other seeds. */
static size_t make_text(int kind, unsigned seed, char *to, size_t room)
{
    static const char unit[] =
        "The grass is green. The sky is blue. The sun is yellow. Here we go. There and back again.\n";
    size_t length = 0, n = 0;
    char *prose = file_of("text.bin", &n);
    srand(seed);
    const size_t needle = (size_t)rand() % (room / 2);
    while (length + 256 < room) {
        if (length >= needle && length < needle + 90)
            length += (size_t)sprintf(to + length, "One of the special magic numbers for k-%u is: %d.\n", seed, rand());
        if (kind == 0) memcpy(to + length, unit, sizeof unit - 1), length += sizeof unit - 1;
        else if (kind == 1) {
            const size_t from = (length * 7) % (n - 100), count = 50 + (size_t)rand() % 50;
            memcpy(to + length, prose + from, count);
            length += count;
        } else if (kind == 2) to[length++] = (char)rand();
        else to[length++] = (char)('a' + rand() % 3);
    }
    free(prose);
    return length;
}

static void test_counts(void)
{
    static const struct {
        const char *name;
        int cuts;
    } files[] = {{"bytes.json", 1}, {"bytes.json", 0}, {"digits.json", 0}, {"metaspace.json", 0}};
    static char text[16000];
    for (size_t f = 0; f < COUNT(files); f++) {
        natsl_tokenizer *t = tokenizer_of(files[f].name, files[f].cuts);
        natsl_measure *m = NULL;
        if (files[f].cuts) CU_ASSERT(natsl_tokenizer_cuts(t));
        CU_ASSERT_EQUAL_FATAL(natsl_measure_create(NATSL_MEASURE_TOKENS, t, &m), NATSL_OK);
        for (int kind = 0; kind < 4; kind++) {
            for (unsigned seed = 0; seed < 6;
                 seed++) { /* the third time on all of it has been seen, but for the needle */
                const size_t length = make_text(kind, seed / 2, text, kind == 3 ? 5000 : sizeof text);
                for (size_t part = length; part > 100; part = part * 2 / 3) {
                    int64_t n = -1, few = -1;
                    const int64_t want = whole(t, text, part);
                    CU_ASSERT_EQUAL(natsl_measure_count(m, text, part, INT64_MAX, &n), NATSL_OK);
                    EXPECT(n == want, "%s, kind %d, seed %u, %zu bytes: %lld tokens, not %lld", files[f].name, kind,
                           seed, part, (long long)n, (long long)want);
                    CU_ASSERT_EQUAL(natsl_measure_count(m, text, part, want / 2, &few), NATSL_OK);
                    CU_ASSERT(few > want / 2 && few <= want);
                }
            }
        }
        natsl_measure_destroy(&m);
        natsl_tokenizer_destroy(&t);
    }
}

/** Tokens that a text shares with others are theirs whatever follows. */
static void test_shared(void)
{
    static char text[9000];
    natsl_tokenizer *t = tokenizer_of("bytes.json", 1);
    natsl_measure *m = NULL;
    CU_ASSERT_EQUAL_FATAL(natsl_measure_create(NATSL_MEASURE_TOKENS, t, &m), NATSL_OK);
    const size_t length = make_text(1, 1, text, sizeof text);
    natsl_ids one = {0}, other = {0}, all = {0};
    int64_t shared = 0, again = 0;
    CU_ASSERT_EQUAL(natsl_measure_ids(m, text, length, 6000, &one, &shared), NATSL_OK);
    CU_ASSERT_EQUAL(natsl_tokenizer_encode(t, text, length, 0, &all), NATSL_OK);
    CU_ASSERT(one.count == all.count && memcmp(one.at, all.at, all.count * sizeof *all.at) == 0);
    for (size_t i = 6000; i < length; i++) text[i] = (char)('a' + i % 7);
    CU_ASSERT_EQUAL(natsl_measure_ids(m, text, length, 6000, &other, &again), NATSL_OK);
    CU_ASSERT(shared == again && shared > 1000);
    CU_ASSERT((size_t)shared <= other.count && memcmp(one.at, other.at, (size_t)shared * sizeof *one.at) == 0);
    natsl_ids_free(&one);
    natsl_ids_free(&other);
    natsl_ids_free(&all);
    natsl_measure_destroy(&m);
    natsl_tokenizer_destroy(&t);
}

static char prose[60000];
static void read_prose(void *user, int64_t first, int64_t count, char *to)
{
    (void)user;
    memcpy(to, prose + first, (size_t)count);
}

/** Samples of natsl's own kind are as long as they should be, in tokens; the same whenever they are made. */
static void test_samples(void)
{
    static const struct {
        const char *suite, *task;
        int64_t length, least; /* tokens that must be used */
    } cases[] = {{"ruler", "niah_single_1", 2000, 1900},
                 {"ruler", "niah_single_1", 700, 600},
                 {"ruler", "niah_single_2", 3000, 2900},
                 {"ruler", "niah_multikey_2", 4000, 3850},
                 {"ruler", "niah_multikey_3", 4000, 3800},
                 {"ruler", "niah_multiquery", 3000, 2700},
                 {"ruler", "vt", 3000, 2800},
                 {"ruler", "cwe", 12000, 11000},
                 {"ruler", "fwe", 3000, 2950},
                 {"passkey", "passkey", 2000, 1900},
                 {"kv", "kv", 4000, 3800},
                 {"niah", "niah", 3000, 2900}};
    static const int32_t before[3] = {1, 2, 3};
    const natsl_hay hay = {.length = sizeof prose, .read = read_prose};
    (void)make_text(1, 3, prose, sizeof prose);
    for (int i = 0; i < 2; i++) {
        natsl_tokenizer *t = tokenizer_of(i ? "metaspace.json" : "bytes.json", !i);
        natsl_measure *m[2] = {NULL, NULL};
        for (int k = 0; k < 2; k++)
            CU_ASSERT_EQUAL_FATAL(natsl_measure_create(NATSL_MEASURE_TOKENS, t, &m[k]), NATSL_OK);
        for (size_t c = 0; c < COUNT(cases); c++) {
            const natsl_eval_task *task = natsl_eval_task_find(cases[c].suite, cases[c].task);
            natsl_ruler_sources sources = {.measure = m[0]};
            natsl_eval_settings settings = {
                .seed = 5, .measure = m[0], .hay = &hay, .sources = &sources, .before = before, .n_before = 3};
            for (int64_t index = 0; index < 4; index++) {
                natsl_eval_sample s = {0}, again = {0};
                const natsl_status st = natsl_eval_make(&settings, task, cases[c].length, index, &s);
                EXPECT(st == NATSL_OK, "%s: %s", cases[c].task, natsl_error_text());
                if (st != NATSL_OK) continue;
                CU_ASSERT_EQUAL(natsl_eval_tokens(&settings, &s), NATSL_OK);
                const int64_t n = s.tokens + natsl_eval_max_new(&settings, task);
                EXPECT(n <= cases[c].length && n >= cases[c].least, "%s, sample %lld: %lld of %lld tokens",
                       cases[c].task, (long long)index, (long long)n, (long long)cases[c].length);
                CU_ASSERT(s.ids && s.ids[0] == 1 && s.ids[2] == 3 &&
                          s.tokens == 3 + whole(t, s.text, (size_t)s.length));
                settings.measure = sources.measure = m[1]; /* which remembers other texts */
                CU_ASSERT_EQUAL(natsl_eval_make(&settings, task, cases[c].length, index, &again), NATSL_OK);
                settings.measure = sources.measure = m[0];
                CU_ASSERT(s.length == again.length && memcmp(s.text, again.text, (size_t)s.length) == 0);
                natsl_eval_sample_free(&again);
                natsl_eval_sample_free(&s);
            }
            natsl_eval_sample none = {0};
            CU_ASSERT_EQUAL(natsl_eval_make(&settings, task, natsl_eval_max_new(&settings, task) + 20, 0, &none),
                            NATSL_ERR_USAGE);
        }
        natsl_measure_destroy(&m[0]);
        natsl_measure_destroy(&m[1]);
        natsl_tokenizer_destroy(&t);
    }
}

/** The length of a haystack that several questions share is found once: samples are the same with it and without. */
static void test_fit(void)
{
    natsl_tokenizer *t = tokenizer_of("bytes.json", 1);
    natsl_measure *m = NULL;
    CU_ASSERT_EQUAL_FATAL(natsl_measure_create(NATSL_MEASURE_TOKENS, t, &m), NATSL_OK);
    const natsl_eval_task *kv = natsl_eval_task_find("kv", "kv");
    const natsl_eval_settings settings = {.seed = 5, .measure = m, .questions = 3};
    natsl_eval_fit fit = {0};
    natsl_eval_sample s, alone;
    int64_t bytes = 0;
    for (int64_t index = 1; index < 7; index++) { /* of the first haystack not the first question */
        CU_ASSERT_EQUAL_FATAL(natsl_eval_make_next(&settings, kv, 3000, index, &fit, &s), NATSL_OK);
        CU_ASSERT_EQUAL_FATAL(natsl_eval_make(&settings, kv, 3000, index, &alone), NATSL_OK);
        CU_ASSERT(s.length == alone.length && memcmp(s.text, alone.text, (size_t)s.length) == 0);
        CU_ASSERT(fit.task == kv && fit.length == 3000 && fit.first == index / 3 * 3 && fit.bytes >= s.length);
        bytes = s.length;
        natsl_eval_sample_free(&s);
        natsl_eval_sample_free(&alone);
    }
    fit.first = 6;
    fit.bytes /= 2; /* that it is taken from there shows */
    CU_ASSERT_EQUAL_FATAL(natsl_eval_make_next(&settings, kv, 3000, 7, &fit, &s), NATSL_OK);
    CU_ASSERT(s.length < bytes * 2 / 3);
    natsl_eval_sample_free(&s);
    CU_ASSERT_EQUAL_FATAL(natsl_eval_make_next(&settings, kv, 2000, 7, &fit, &s),
                          NATSL_OK); /* and not where it is another's */
    CU_ASSERT(fit.length == 2000 && fit.first == 6);
    natsl_eval_sample_free(&s);
    natsl_measure_destroy(&m);
    natsl_tokenizer_destroy(&t);
}

int main(void)
{
    static const test_entry tests[] = {{"counts", test_counts},
                                       {"shared beginnings", test_shared},
                                       {"samples", test_samples},
                                       {"length of a haystack", test_fit}};
    return run_suite("measure", tests, COUNT(tests));
}
