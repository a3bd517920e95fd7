/* test_ruler.c - RULER's samples to the byte: digests of prompts that its own program has made (whitespace tokens). Tests
 * that draw words need the lists of wonderwords: NATSL_WORD_LISTS names their directory; else they are left out, aloud. */
#define _GNU_SOURCE /* memmem */
#include "ruler.h"
#include "sha256.h"

#include "../suite.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static natsl_word_lists lists;
static int have_lists;
static natsl_ruler_sources sources = {.seed = 42}; /* measure: words, set by main */

static int left_out(const char *what)
{
    if (!have_lists) printf("(%s left out: NATSL_WORD_LISTS is not set) ", what);
    return !have_lists;
}

/** The first 16 digits of the SHA-256 of bytes [0, length). */
static const char *digest(const char *text, int64_t length)
{
    static char hex[65];
    natsl_sha256 s;
    natsl_sha256_start(&s);
    natsl_sha256_add(&s, text, (size_t)length);
    natsl_sha256_finish(&s, hex);
    hex[16] = '\0';
    return hex;
}

static natsl_eval_task needles(int keys, int values, int questions, int bare, natsl_word_kind key,
                               natsl_word_kind value)
{
    return (natsl_eval_task){.suite = "ruler",
                             .name = "niah",
                             .keys = keys,
                             .values = values,
                             .questions = questions,
                             .bare = bare,
                             .key_kind = key,
                             .value_kind = value,
                             .max_new = 128};
}

static void check_single(const natsl_eval_task *t, int64_t units, int64_t vocabulary, const char *want)
{
    natsl_eval_sample s;
    const natsl_status st = natsl_ruler_single(&sources, t, units, vocabulary, &s);
    EXPECT(st == NATSL_OK, "%s: %s", t->name, natsl_error_text());
    if (st != NATSL_OK) return;
    EXPECT(strcmp(digest(s.text, s.length), want) == 0, "%s: %s", want, digest(s.text, s.length));
    natsl_eval_sample_free(&s);
}

/** One build right after seeding. */
static void test_single(void)
{
    const natsl_eval_task uuids = needles(1, 1, 1, 1, NATSL_UUIDS, NATSL_UUIDS);
    check_single(&uuids, 25, 0, "21c7000f9010dbb4");
    check_single(natsl_eval_task_find("ruler", "vt"), 10, 0, "104f4c5fb978b1ff");
    check_single(natsl_eval_task_find("ruler", "fwe"), 500, 80, "b0e3fc95fa2b0609");
    if (left_out("needles and common words")) return;
    const natsl_eval_task single = needles(1, 1, 1, 0, NATSL_WORDS, NATSL_NUMBERS),
                          others = needles(1, 1, 1, 1, NATSL_WORDS, NATSL_NUMBERS),
                          values = needles(1, 4, 1, 0, NATSL_WORDS, NATSL_NUMBERS),
                          questions = needles(4, 1, 4, 0, NATSL_WORDS, NATSL_NUMBERS);
    check_single(&single, 25, 0, "64ccdba1984f4a29");
    check_single(&others, 25, 0, "835978f23003558b");
    check_single(&values, 25, 0, "bc7fc4c703c5ff5b");
    check_single(&questions, 25, 0, "9b3218511035dd5e");
    check_single(natsl_eval_task_find("ruler", "cwe"), 100, 0, "5f0bd5212f6eb66b");
}

/** Samples 0 and 1 of the whole pipeline at 4096 tokens: digest without the answer's beginning, tokens, outputs. */
static void check_task(const natsl_ruler_sources *from, const natsl_eval_task *t, const int64_t tokens[2],
                       const char *const digests[2], const char *outputs)
{
    const char *task = t->name;
    natsl_ruler *r = NULL;
    char all[256] = "";
    const natsl_status st = natsl_ruler_open(from, t, 4096, t->max_new, &r);
    EXPECT(st == NATSL_OK, "%s: %s", task, natsl_error_text());
    for (int i = 0; i < 2 && st == NATSL_OK; i++) {
        natsl_eval_sample s;
        CU_ASSERT_EQUAL_FATAL(natsl_ruler_next(r, &s), NATSL_OK);
        const int64_t n = natsl_count_words(s.text, (size_t)s.length) + t->max_new;
        EXPECT(n == tokens[i], "%s, sample %d: %lld tokens, not %lld", task, i, (long long)n, (long long)tokens[i]);
        EXPECT(strcmp(digest(s.text, s.input), digests[i]) == 0, "%s, sample %d: %s, not %s", task, i,
               digest(s.text, s.input), digests[i]);
        for (size_t k = 0; k < s.n_outputs && i == 0; k++)
            (void)snprintf(all + strlen(all), sizeof all - strlen(all), "%s%s", k ? " " : "", s.outputs[k].text);
        natsl_eval_sample_free(&s);
    }
    if (outputs) EXPECT(strcmp(all, outputs) == 0, "%s: %s", task, all);
    natsl_ruler_close(&r);
}

static void check_pipeline(const char *task, const int64_t tokens[2], const char *const digests[2], const char *outputs)
{
    check_task(&sources, natsl_eval_task_find("ruler", task), tokens, digests, outputs);
}

/** Where the answers of niah_single_1 stand: what RULER's program writes as the samples' index. */
static void check_places(void)
{
    static const struct {
        const char *answer;
        ptrdiff_t at;
    } want[] = {{"7022674", 8108}, {"8707870", 12518}};
    const natsl_eval_task *t = natsl_eval_task_find("ruler", "niah_single_1");
    natsl_ruler *r = NULL;
    CU_ASSERT_EQUAL_FATAL(natsl_ruler_open(&sources, t, 4096, t->max_new, &r), NATSL_OK);
    for (size_t i = 0; i < COUNT(want); i++) {
        natsl_eval_sample s;
        CU_ASSERT_EQUAL_FATAL(natsl_ruler_next(r, &s), NATSL_OK);
        CU_ASSERT_STRING_EQUAL(s.outputs[0].text, want[i].answer);
        const char *found = memmem(s.text, (size_t)s.length, want[i].answer, strlen(want[i].answer));
        EXPECT(found && found - s.text == want[i].at, "sample %zu: at %td", i, found ? found - s.text : -1);
        natsl_eval_sample_free(&s);
    }
    natsl_ruler_close(&r);
}

static void test_pipeline(void)
{
    check_pipeline("niah_multikey_3", (int64_t[]){4096, 4096}, (const char *[]){"b81a262ddfb9c851", "f78cf422d052664d"},
                   NULL);
    check_pipeline("vt", (int64_t[]){4093, 4093}, (const char *[]){"ac38dc22b3de90e5", "454e351a7fc1464f"},
                   "DMNOI TLVXL XLEWL TVHUM GLSGI");
    check_pipeline("fwe", (int64_t[]){3990, 3990}, (const char *[]){"6f9e1ea8a8977694", "48ad8f929277c685"},
                   "ufnllw iwshay rhbtmq");
    if (left_out("needles and common words")) return;
    check_places();
    check_pipeline("niah_single_1", (int64_t[]){4081, 4081}, (const char *[]){"9179098aff434e89", "55dc7257786cb21a"},
                   "7022674");
    check_pipeline("niah_multikey_2", (int64_t[]){4096, 3846}, (const char *[]){"03567fb75fe07af4", "692a9e920013ce67"},
                   "7669861");
    check_pipeline("cwe", (int64_t[]){4096, 4096}, (const char *[]){"b3e6b387c9398bbb", "1283a90168d06554"}, NULL);
}

/** The text of paragraph p of article a. */
static void put_paragraph(FILE *file, int a, int p)
{
    fprintf(file, "Fact %d-%d", a, p);
    for (int k = 0; k < 40; k++) fprintf(file, " w%d", (a * 31 + p * 17 + k) % 97);
}

/** A file like SQuAD's: articles of paragraphs (some of them the same), of which every third has a question without an answer. */
static void write_squad(const char *path, int articles, int paragraphs, int different)
{
    FILE *file = fopen(path, "w");
    CU_ASSERT_PTR_NOT_NULL_FATAL(file);
    fprintf(file, "{\"data\": [");
    for (int a = 0; a < articles; a++) {
        fprintf(file, "%s{\"paragraphs\": [", a ? ", " : "");
        for (int p = 0; p < paragraphs; p++) {
            fprintf(file, "%s{\"context\": \"", p ? ", " : "");
            put_paragraph(file, a, p % different);
            fprintf(file,
                    "\", \"qas\": [{\"question\": \"What is %d-%d?\", \"is_impossible\": %s, \"answers\": [{\"text\": "
                    "\"w%d\"}, {\"text\": \"it\"}]}]}",
                    a, p, p % 3 == 2 ? "true" : "false", (a * 31 + p * 17) % 97);
        }
        fprintf(file, "]}");
    }
    fprintf(file, "]}");
    (void)fclose(file);
}

/** Questions about documents, against a few lines of Python that do as RULER's program does (whole pipeline, seed 42). */
static void test_questions(void)
{
    static const struct {
        int64_t length, tokens;
        const char *digests[3];
    } cases[] = {{1000, 962, {"66ecfed0d9fbc5f8", "d59c1bfcf4c00ab2", "764b2efabe8c8811"}},  /* some of the article's */
                 {2000, 1974, {"13faf7b4c31d2b60", "30958ce1325c31c5", "a017d084ccc58f8d"}}, /* others, too */
                 {6000, 5978, {"2dbaacc0c14d203b", "b25ebc417ff59200", "63b5035d9f8de79f"}}}; /* all, repeated */
    char path[] = "/tmp/natsl-test-ruler-XXXXXX";
    natsl_questions *questions = NULL;
    const natsl_eval_task *t = natsl_eval_task_find("ruler", "qa_1");
    const int fd = mkstemp(path);
    CU_ASSERT_FATAL(fd >= 0);
    (void)close(fd);
    write_squad(path, 2, 30, 30);
    CU_ASSERT_EQUAL_FATAL(natsl_questions_open(path, 0, &questions), NATSL_OK);
    CU_ASSERT(questions->n_documents == 60 && questions->n_questions == 40);
    natsl_ruler_sources with = sources;
    with.questions[0] = questions;
    for (size_t c = 0; c < COUNT(cases); c++) {
        natsl_ruler *r = NULL;
        CU_ASSERT_EQUAL_FATAL(natsl_ruler_open(&with, t, cases[c].length, 32, &r), NATSL_OK);
        for (int i = 0; i < 3; i++) {
            natsl_eval_sample s;
            CU_ASSERT_EQUAL_FATAL(natsl_ruler_next(r, &s), NATSL_OK);
            CU_ASSERT_EQUAL(natsl_count_words(s.text, (size_t)s.length) + 32, cases[c].tokens);
            EXPECT(strcmp(digest(s.text, s.input), cases[c].digests[i]) == 0, "%lld, %d: %s",
                   (long long)cases[c].length, i, digest(s.text, s.input));
            CU_ASSERT(s.n_outputs == 2 && strcmp(s.outputs[1].text, "it") == 0);
            natsl_eval_sample_free(&s);
        }
        natsl_ruler_close(&r);
    }
    for (int i = 0; i <= 10; i++) { /* spread: the document is where it should be */
        natsl_eval_sample s;
        with.measure = NULL;
        CU_ASSERT_EQUAL_FATAL(natsl_ruler_spread(&with, t, 7000, 32, 0, natsl_rng_at(1, 2, (uint64_t)i), i / 10.0, &s),
                              NATSL_OK);
        CU_ASSERT(s.length + 32 <= 7000 && s.length > 6500);
        EXPECT(s.outputs[0].depth > i / 10.0 * 0.976 - 0.03 && s.outputs[0].depth < i / 10.0 * 0.976 + 0.03, "%d: %g",
               i, s.outputs[0].depth);
        natsl_eval_sample_free(&s);
    }
    natsl_questions_close(&questions);
    CU_ASSERT_EQUAL(natsl_questions_open(path, 1, &questions), NATSL_ERR_INPUT);
    (void)unlink(path);
}

/** An article that repeats its paragraphs has more of them than the file has documents. */
static void test_repeated(void)
{
    char path[] = "/tmp/natsl-test-ruler-XXXXXX";
    natsl_questions *questions = NULL;
    natsl_ruler *r = NULL;
    natsl_eval_sample s;
    const int fd = mkstemp(path);
    CU_ASSERT_FATAL(fd >= 0);
    (void)close(fd);
    write_squad(path, 1, 60, 30);
    CU_ASSERT_EQUAL_FATAL(natsl_questions_open(path, 0, &questions), NATSL_OK);
    CU_ASSERT(questions->n_documents == 30 && questions->questions[0].n_more == 58);
    natsl_ruler_sources with = sources;
    with.questions[0] = questions;
    CU_ASSERT_EQUAL_FATAL(natsl_ruler_open(&with, natsl_eval_task_find("ruler", "qa_1"), 1000, 32, &r), NATSL_OK);
    for (int i = 0; i < 6; i++) {
        CU_ASSERT_EQUAL_FATAL(natsl_ruler_next(r, &s), NATSL_OK);
        CU_ASSERT(natsl_count_words(s.text, (size_t)s.length) + 32 <= 1000);
        natsl_eval_sample_free(&s);
    }
    natsl_ruler_close(&r);
    natsl_questions_close(&questions);
    (void)unlink(path);
}

/** Questions with ten documents of their own each, as HotpotQA's. */
static void test_many_documents(void)
{
    char path[] = "/tmp/natsl-test-ruler-XXXXXX";
    natsl_questions *questions = NULL;
    natsl_ruler_sources with = sources;
    natsl_eval_sample s;
    const natsl_eval_task *t = natsl_eval_task_find("ruler", "qa_2");
    const int fd = mkstemp(path);
    FILE *file = fd >= 0 ? fdopen(fd, "w") : NULL;
    CU_ASSERT_PTR_NOT_NULL_FATAL(file);
    for (int q = 0; q < 6; q++) {
        fprintf(file, "%s{\"question\": \"who is %d?\", \"answer\": \"a%d\", \"context\": [", q ? ", " : "[", q, q);
        for (int d = 0; d < 10; d++) /* two of them are one */
            fprintf(file, "%s[\"title %d\", [\"A sentence. \", \"Another, %d.\"]]", d ? ", " : "",
                    10 * q + (d < 9 ? d : 1), 10 * q + (d < 9 ? d : 1));
        fprintf(file, "]}");
    }
    fprintf(file, "]");
    (void)fclose(file);
    CU_ASSERT_EQUAL_FATAL(natsl_questions_open(path, 1, &questions), NATSL_OK);
    CU_ASSERT(questions->n_documents == 54 && questions->questions[0].n_gold == 10);
    with.questions[1] = questions;
    with.measure = NULL;
    for (int i = 0; i <= 4; i++) {
        CU_ASSERT_EQUAL_FATAL(natsl_ruler_spread(&with, t, 2000, 32, 0, natsl_rng_at(1, 2, (uint64_t)i), i / 4.0, &s),
                              NATSL_OK);
        CU_ASSERT(s.length + 32 <= 2000 && s.length > 1800);
        EXPECT(fabs(s.outputs[0].depth - i / 4.0) < 0.08, "%d: %g", i, s.outputs[0].depth);
        natsl_eval_sample_free(&s);
    }
    CU_ASSERT_EQUAL(natsl_ruler_spread(&with, t, 600, 32, 0, natsl_rng_at(1, 2, 0), 0.5, &s), NATSL_ERR_USAGE);
    natsl_questions_close(&questions);
    (void)unlink(path);
}

/** Needles in a text that begins and ends with a line break and comes again, against a few lines of Python that do as RULER's program
 * does, with keys that need no word lists. */
static void test_text(void)
{
    static char text[32768];
    size_t length = (size_t)sprintf(text, "\n");
    for (int i = 0; i < 200; i++) {
        length += (size_t)sprintf(text + length, "Fact %d", i);
        for (int k = 0; k < 5 + i % 9; k++) length += (size_t)sprintf(text + length, " w%d", (i * 31 + k * k) % 97);
        length += (size_t)sprintf(text + length, "%s%s", i % 5 ? "." : "?", i % 7 ? " " : "\n");
    }
    natsl_essay *e = NULL;
    CU_ASSERT_EQUAL_FATAL(natsl_essay_create(text, length, "text", &e), NATSL_OK);
    CU_ASSERT_EQUAL(e->count, 2195);
    natsl_ruler_sources with = sources;
    with.essay = e;
    natsl_eval_task t = {.suite = "ruler",
                         .name = "essay",
                         .text = 1,
                         .keys = 4,
                         .values = 1,
                         .questions = 4,
                         .max_new = 128,
                         .key_kind = NATSL_UUIDS,
                         .value_kind = NATSL_NUMBERS};
    check_task(&with, &t, (int64_t[]){4096, 4096}, (const char *[]){"691943684ad893f0", "81a5d14032fc82d4"}, NULL);
    t.keys = t.questions = 1;
    t.values = 4;
    check_task(&with, &t, (int64_t[]){4096, 4096}, (const char *[]){"894911130d173824", "f1a530ec8e0eb888"}, NULL);
    natsl_essay_destroy(&e);
}

/** The user's text as words and sentences. */
static void test_essay(void)
{
    static const char text[] = "  Dr. Who  came\tat 5 p.m. today.\nHe said \"Stop!\" and went. Did he? J. did. ";
    static const char ends[] =
        "000000010000101010"; /* Dr. Who came at 5 p.m. today. He said "Stop!" and went. Did he? J. did. */
    natsl_essay *e = NULL;
    CU_ASSERT_EQUAL_FATAL(natsl_essay_create(text, sizeof text - 1, "text", &e), NATSL_OK);
    CU_ASSERT_EQUAL_FATAL(e->count, 18); /* an empty one at either end */
    for (size_t i = 0; i < e->count; i++)
        EXPECT(e->ends[i] == ends[i] - '0', "word %zu, '%.8s'", i, e->text + e->begin[i]);
    CU_ASSERT_NSTRING_EQUAL(e->text, " Dr. Who came at 5 p.m. today. He said \"Stop!\" and went.", 56);
    const natsl_eval_task t = {.suite = "ruler",
                               .name = "essay",
                               .text = 1,
                               .keys = 1,
                               .values = 1,
                               .questions = 1,
                               .max_new = 8,
                               .key_kind = NATSL_UUIDS,
                               .value_kind = NATSL_NUMBERS};
    natsl_ruler_sources with = sources;
    with.essay = e;
    natsl_eval_sample s;
    CU_ASSERT_EQUAL_FATAL(natsl_ruler_single(&with, &t, 40, 0, &s), NATSL_OK); /* repeated */
    CU_ASSERT_PTR_NOT_NULL(memmem(s.text, (size_t)s.length, "One of the special magic numbers for ", 37));
    CU_ASSERT_EQUAL(natsl_count_words(s.text, (size_t)s.length), 40 - 5 + 10 + 23 + 13 + 12);
    CU_ASSERT_PTR_NULL(memmem(s.text, (size_t)s.length, "did.  Dr.", 9)); /* sentences are joined by one blank */
    natsl_eval_sample_free(&s);
    natsl_essay_destroy(&e);
    CU_ASSERT_EQUAL_FATAL(natsl_essay_create("so it goes\n", 11, "text", &e), NATSL_OK); /* no sentence ends */
    CU_ASSERT_EQUAL(e->count, 4);
    with.essay = e;
    CU_ASSERT_EQUAL_FATAL(natsl_ruler_single(&with, &t, 8, 0, &s), NATSL_OK);
    CU_ASSERT_PTR_NOT_NULL(memmem(s.text, (size_t)s.length, "so it goes  so it goes", 22));
    CU_ASSERT_PTR_NULL(memmem(s.text, (size_t)s.length, "goes  \n", 7));
    natsl_eval_sample_free(&s);
    natsl_essay_destroy(&e);
    CU_ASSERT_EQUAL(natsl_essay_create(" \n ", 3, "text", &e), NATSL_ERR_INPUT);
}

static void test_lists(void)
{
    char key[NATSL_KEY_BYTES], before[NATSL_KEY_BYTES] = "";
    natsl_mt p;
    if (left_out("word lists")) return;
    CU_ASSERT_EQUAL(lists.n_keys, 6171620);
    CU_ASSERT_EQUAL(lists.all.count, 8166);
    natsl_py_seed(&p, 42);
    natsl_word_lists_key(&lists, natsl_py_below(&p, lists.n_keys), key);
    CU_ASSERT_STRING_EQUAL(key, "tenuous-thirst");
    CU_ASSERT_EQUAL(natsl_py_randint(&p, 1000000, 9999999), 2867825);
    for (uint64_t i = 0; i < lists.n_keys; i++) {
        natsl_word_lists_key(&lists, i, key);
        if (strcmp(before, key) >= 0) {
            EXPECT(0, "'%s' before '%s'", before, key);
            break;
        }
        memcpy(before, key, sizeof key);
    }
}

int main(void)
{
    static const test_entry tests[] = {
        {"word lists and keys", test_lists},
        {"single samples", test_single},
        {"the whole pipeline", test_pipeline},
        {"questions about documents", test_questions},
        {"questions with many documents", test_many_documents},
        {"paragraphs that come again", test_repeated},
        {"the user's text", test_essay},
        {"needles in a text", test_text},
    };
    const char *directory = getenv("NATSL_WORD_LISTS");
    if (directory && directory[0]) {
        have_lists = natsl_word_lists_open(directory, &lists) == NATSL_OK;
        if (!have_lists) {
            printf("%s\n", natsl_error_text());
            return 1;
        }
        sources.lists = &lists;
    }
    if (natsl_measure_create(NATSL_MEASURE_WORDS, NULL, &sources.measure) != NATSL_OK) return 1;
    const int failed = run_suite("ruler", tests, COUNT(tests));
    natsl_measure_destroy(&sources.measure);
    natsl_word_lists_free(&lists);
    return failed;
}
