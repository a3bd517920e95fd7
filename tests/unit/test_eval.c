/* test_eval.c - samples of benchmarks. Scores of finished ones: test_eval_results.c. */
#define _GNU_SOURCE /* memmem */
#include "babi.h"
#include "core.h"
#include "eval_task.h"
#include "recall.h"
#include "ruler.h"
#include "score.h"
#include "sha256.h"

#include "../suite.h"
#include "scratch.h"

#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- digests --------------------------------------------------------------------------------------------------------- */

static const char *digest(const char *data, size_t length, size_t piece)
{
    static char hex[65];
    natsl_sha256 s;
    natsl_sha256_start(&s);
    for (size_t at = 0; at < length; at += piece)
        natsl_sha256_add(&s, data + at, piece < length - at ? piece : length - at);
    natsl_sha256_finish(&s, hex);
    return hex;
}

static void test_sha256(void)
{
    static char many[1000000];
    memset(many, 'a', sizeof many);
    CU_ASSERT_STRING_EQUAL(digest("", 0, 1), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    CU_ASSERT_STRING_EQUAL(digest("abc", 3, 3), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    const char *two = "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";
    CU_ASSERT_STRING_EQUAL(digest(two, strlen(two), 5),
                           "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
    CU_ASSERT_STRING_EQUAL(digest(many, sizeof many, 997),
                           "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

/* ---- samples --------------------------------------------------------------------------------------------------------- */

static const char prose[] =
    "It was a bright morning. Nobody had seen the river so high! What could be done? They waited "
    "for the boats and talked of other years.\nThen the water fell again. ";

static void read_prose(void *user, int64_t first, int64_t count, char *to)
{
    (void)user;
    for (int64_t i = 0; i < count; i++) to[i] = prose[(size_t)(first + i) % (sizeof prose - 1)];
}

static const natsl_hay hay = {.length = 20000, .read = read_prose};
static const natsl_ruler_sources sources = {.measure = NULL};
static const natsl_eval_settings settings = {.seed = 7, .hay = &hay, .sources = &sources};

static size_t occurrences(const char *text, size_t length, const char *what)
{
    size_t n = 0;
    const char *end = text + length;
    for (const char *p = text; (p = memmem(p, (size_t)(end - p), what, strlen(what))) != NULL; p++) n++;
    return n;
}

/** Sample `index` has the form, size and needles of its task. */
static void check_sample(const natsl_eval_task *t, int64_t length, int64_t index)
{
    natsl_eval_sample s;
    const natsl_status st = natsl_eval_make(&settings, t, length, index, &s);
    EXPECT(st == NATSL_OK, "%s, %lld: %s", t->name, (long long)length, natsl_error_text());
    if (st != NATSL_OK) return;
    const size_t n = (size_t)s.length;
    const int several = t->values * t->questions > 1;
    /* as long as whole units of the haystack allow: noise 90 bytes, needles 121, a text to the byte (a character) */
    EXPECT(s.length + 128 <= length && s.length + 128 > length - (t->text   ? 4
                                                                  : t->bare ? 130
                                                                            : 92),
           "%s: %lld of %lld", t->name, (long long)s.length, (long long)length);
    CU_ASSERT_EQUAL(s.n_outputs, (size_t)(t->values * t->questions));
    const char *kind = t->value_kind == NATSL_UUIDS ? "uuid" : "number";
    char head[64], tail[64];
    (void)snprintf(head, sizeof head, several ? "Some special magic %ss are hidden" : "A special magic %s is hidden",
                   kind);
    (void)snprintf(tail, sizeof tail, " mentioned in the provided text %s", several ? "are" : "is");
    CU_ASSERT(strncmp(s.text, head, strlen(head)) == 0);
    CU_ASSERT(n > strlen(tail) && memcmp(s.text + n - strlen(tail), tail, strlen(tail)) == 0);
    CU_ASSERT(s.input > 0 && s.text[s.input - 1] == '?' && s.text[s.input] == ' ');
    for (size_t i = 0; i < s.n_outputs; i++) {
        char told[64];
        (void)snprintf(told, sizeof told, " is: %s.", s.outputs[i].text);
        EXPECT(occurrences(s.text, n, told) == 1, "%s: '%s'", t->name, told);
        const char *at = memmem(s.text, n, told, strlen(told));
        /* the depth is that of the sentence, which begins before */
        if (at)
            EXPECT(fabs((double)(at - s.text) / (double)n - s.outputs[i].depth) < 600.0 / (double)n, "%s: depth %g",
                   t->name, s.outputs[i].depth);
        CU_ASSERT(s.outputs[i].depth >= 0.0 && s.outputs[i].depth <= 1.0);
        for (size_t k = 0; k < i; k++) CU_ASSERT_STRING_NOT_EQUAL(s.outputs[i].text, s.outputs[k].text);
    }
    const size_t needles = occurrences(s.text, n, "One of the special magic ");
    if (t->bare) {
        EXPECT(needles > (n - 600) / 125, "%zu needles in %zu bytes", needles, n);
        CU_ASSERT_EQUAL(occurrences(s.text, n, "The grass is green."), 0);
    } else {
        CU_ASSERT_EQUAL(needles, (size_t)(t->keys * t->values));
        CU_ASSERT((occurrences(s.text, n, "The grass is green.") > 0) == !t->text);
        CU_ASSERT((occurrences(s.text, n, "the river") > 0) == t->text);
    }
    natsl_eval_sample_free(&s);
}

static void test_samples(void)
{
    static const int64_t lengths[] = {2048, 2049, 4096, 65536};
    size_t tasks = 0;
    for (const natsl_eval_task *t = natsl_eval_tasks; t->name; t++, tasks++) {
        if (t->kind != NATSL_EVAL_NIAH) continue;
        for (size_t l = 0; l < COUNT(lengths); l++) {
            for (int64_t i = 0; i < 3; i++) check_sample(t, lengths[l], i);
        }
        CU_ASSERT_PTR_EQUAL(natsl_eval_task_find(t->suite, t->name), t);
    }
    CU_ASSERT_EQUAL(tasks, 18);
    CU_ASSERT_PTR_NULL(natsl_eval_task_find("ruler", "niah"));
    CU_ASSERT_PTR_NULL(natsl_eval_task_find("rule", "niah_single_1"));
}

/** A sample depends on what it is, and on nothing else. */
static void test_pure(void)
{
    const natsl_eval_task *t = natsl_eval_task_find("ruler", "niah_single_2");
    natsl_eval_settings other = settings;
    natsl_eval_sample a, b, c, d;
    other.seed = 8;
    CU_ASSERT_EQUAL_FATAL(natsl_eval_make(&settings, t, 3000, 5, &a), NATSL_OK);
    CU_ASSERT_EQUAL_FATAL(natsl_eval_make(&settings, t, 3000, 6, &b), NATSL_OK);
    CU_ASSERT_EQUAL_FATAL(natsl_eval_make(&other, t, 3000, 5, &c), NATSL_OK);
    CU_ASSERT_EQUAL_FATAL(natsl_eval_make(&settings, t, 3000, 5, &d), NATSL_OK);
    CU_ASSERT(a.length == d.length && memcmp(a.text, d.text, (size_t)a.length) == 0);
    CU_ASSERT_STRING_NOT_EQUAL(a.outputs[0].text, b.outputs[0].text);
    CU_ASSERT_STRING_NOT_EQUAL(a.outputs[0].text, c.outputs[0].text);
    natsl_eval_sample_free(&a);
    natsl_eval_sample_free(&b);
    natsl_eval_sample_free(&c);
    natsl_eval_sample_free(&d);
}

static void test_depths(void)
{
    const natsl_eval_task *t = natsl_eval_task_find("ruler", "niah_single_1");
    const natsl_eval_task *bare = natsl_eval_task_find("ruler", "niah_multikey_2");
    int order = 0;
    for (int64_t block = 0; block < 20; block++) {
        int seen = 0;
        for (int64_t i = 0; i < NATSL_EVAL_BANDS; i++) {
            const double d = natsl_eval_depth(&settings, t, 4096, block * NATSL_EVAL_BANDS + i);
            CU_ASSERT_FATAL(d >= 0.0 && d < 1.0);
            seen |= 1 << (int)(d * NATSL_EVAL_BANDS);
            order += (int)(d * NATSL_EVAL_BANDS) == i;
        }
        CU_ASSERT_EQUAL(seen, (1 << NATSL_EVAL_BANDS) - 1);
    }
    EXPECT(order < 60, "%d of 200 in ascending order", order);
    for (int64_t i = 0; i < 10; i++) { /* and there the needle is, among other needles too */
        natsl_eval_sample s;
        CU_ASSERT_EQUAL_FATAL(natsl_eval_make(&settings, t, 65536, i, &s), NATSL_OK);
        EXPECT(fabs(s.outputs[0].depth - natsl_eval_depth(&settings, t, 65536, i)) < 0.005, "%g", s.outputs[0].depth);
        natsl_eval_sample_free(&s);
        CU_ASSERT_EQUAL_FATAL(natsl_eval_make(&settings, bare, 65536, i, &s), NATSL_OK);
        EXPECT(fabs(s.outputs[0].depth - natsl_eval_depth(&settings, bare, 65536, i)) < 0.01, "%g", s.outputs[0].depth);
        natsl_eval_sample_free(&s);
    }
}

/** The tasks that needle.h has not, without any list or file. */
static void test_spread(void)
{
    static const char *const tasks[] = {"vt", "cwe", "fwe"};
    static const int64_t lengths[] = {4096, 32768};
    for (size_t i = 0; i < COUNT(tasks); i++) {
        const natsl_eval_task *t = natsl_eval_task_find("ruler", tasks[i]);
        for (size_t l = 0; l < COUNT(lengths); l++) {
            natsl_eval_sample s, again;
            for (int64_t index = 0; index < 3; index++) {
                CU_ASSERT_EQUAL_FATAL(natsl_eval_make(&settings, t, lengths[l], index, &s), NATSL_OK);
                EXPECT(s.length + t->max_new <= lengths[l] &&
                           s.length + t->max_new > lengths[l] - lengths[l] / 16 - 500,
                       "%s: %lld of %lld", t->name, (long long)s.length, (long long)lengths[l]);
                CU_ASSERT_EQUAL(s.n_outputs, i == 0 ? 5 : i == 1 ? 10 : 3);
                for (size_t k = 0; k < s.n_outputs; k++) {
                    EXPECT(occurrences(s.text, (size_t)s.input, s.outputs[k].text) > (i == 0 ? 0 : 5), "%s: '%s'",
                           t->name, s.outputs[k].text);
                    CU_ASSERT(i == 0 ? s.outputs[k].depth >= 0.0 && s.outputs[k].depth < 1.0
                                     : s.outputs[k].depth == -1.0);
                }
                CU_ASSERT_EQUAL_FATAL(natsl_eval_make(&settings, t, lengths[l], index + 1, &again), NATSL_OK);
                CU_ASSERT_STRING_NOT_EQUAL(s.outputs[0].text, again.outputs[0].text);
                natsl_eval_sample_free(&again);
                natsl_eval_sample_free(&s);
            }
        }
    }
}

/** Pass keys, numbers, values of a JSON object. */
static void test_recall(void)
{
    static const char *const tasks[] = {"passkey", "number", "kv"};
    static const int64_t lengths[] = {1024, 5000, 65536};
    for (size_t i = 0; i < COUNT(tasks); i++) {
        const natsl_eval_task *t = natsl_eval_task_find(tasks[i], tasks[i]);
        for (size_t l = 0; l < COUNT(lengths); l++) {
            for (int64_t index = 0; index < 12; index++) {
                natsl_eval_sample s;
                CU_ASSERT_EQUAL_FATAL(natsl_eval_make(&settings, t, lengths[l], index, &s), NATSL_OK);
                EXPECT(s.length + t->max_new <= lengths[l] && s.length + t->max_new > lengths[l] - 95,
                       "%s: %lld of %lld", t->name, (long long)s.length, (long long)lengths[l]);
                CU_ASSERT_EQUAL(s.n_outputs, 1);
                CU_ASSERT_EQUAL(strlen(s.outputs[0].text), i == 0 ? 5 : i == 1 ? 10 : 36);
                CU_ASSERT_EQUAL(occurrences(s.text, (size_t)s.length, s.outputs[0].text), i == 2 ? 1 : 2);
                const char *at = memmem(s.text, (size_t)s.length, s.outputs[0].text, strlen(s.outputs[0].text));
                EXPECT(at && fabs((double)(at - s.text) / (double)s.length - s.outputs[0].depth) <
                                 400.0 / (double)s.length,
                       "%s: %g", t->name, s.outputs[0].depth);
                EXPECT(fabs(s.outputs[0].depth - natsl_eval_depth(&settings, t, lengths[l], index)) <
                           100.0 / (double)lengths[l] + 0.05,
                       "%s: %g", t->name, s.outputs[0].depth);
                CU_ASSERT(s.input > 0 && s.input < s.length);
                natsl_eval_sample_free(&s);
            }
        }
        CU_ASSERT_EQUAL(natsl_eval_check(&settings, t, 100), NATSL_ERR_USAGE);
    }
    const natsl_eval_task *t = natsl_eval_task_find("niah", "niah"); /* the classic one, in a text */
    for (int64_t index = 0; index < 20; index++) {
        natsl_eval_sample s;
        CU_ASSERT_EQUAL_FATAL(natsl_eval_make(&settings, t, 30000, index, &s), NATSL_OK);
        CU_ASSERT(s.length + 200 == 30000 && s.n_outputs == 7);
        static const char told[] =
            "\nThe best thing to do in San Francisco is eat a sandwich and sit in Dolores Park on a sunny day.\n";
        const char *at = memmem(s.text, (size_t)s.length, told, sizeof told - 1);
        CU_ASSERT_PTR_NOT_NULL_FATAL(at);
        EXPECT(at == s.text || at[-1] == '.', "'%.30s'", at - 10);
        EXPECT(fabs(s.outputs[0].depth - natsl_eval_depth(&settings, t, 30000, index)) < 0.02, "%g",
               s.outputs[0].depth);
        EXPECT(fabs((double)(at - s.text) / (double)s.length - s.outputs[0].depth) < 0.01, "%g", s.outputs[0].depth);
        natsl_eval_sample_free(&s);
    }
    CU_ASSERT(natsl_score_integer("it is 0123, no 5", 16, "123") && !natsl_score_integer("it is 1234", 10, "123"));
    CU_ASSERT(!natsl_score_integer("none", 4, "1") && !natsl_score_integer("1 123", 5, "123") &&
              natsl_score_integer("000", 3, "0"));
    CU_ASSERT(natsl_score_word("\"a-1\", b", 8, "a-1") && !natsl_score_word("a-12", 4, "a-1") &&
              !natsl_score_word("", 0, "a"));
}

/** Recall in token ids: pairs are told where the depth says, and asked for where `asked` does. */
static void test_mqar(void)
{
    const natsl_eval_task *t = natsl_eval_task_find("mqar", "mqar");
    natsl_eval_settings own = settings;
    natsl_eval_sample s, again;
    own.vocabulary = 60;
    CU_ASSERT_EQUAL(natsl_eval_max_new(&own, t), 0);
    for (int i = 0; i < 4; i++) {
        own.pairs = i == 3 ? 3 : 0;
        own.zeros = i % 2;
        CU_ASSERT_EQUAL_FATAL(natsl_eval_make(&own, t, 96, i, &s), NATSL_OK);
        CU_ASSERT_EQUAL_FATAL(natsl_eval_make(&own, t, 96, i, &again), NATSL_OK);
        CU_ASSERT(s.length == 96 && !s.text && s.n_outputs == (i == 3 ? 3 : 24) && s.shared == 0);
        CU_ASSERT(memcmp(s.ids, again.ids, 96 * sizeof *s.ids) == 0);
        for (size_t k = 0; k < s.n_outputs; k++) {
            const int64_t pair = llround(s.outputs[k].depth * 96.0);
            CU_ASSERT_FATAL(s.asked[k] >= 2 * (int64_t)s.n_outputs && s.asked[k] < 96);
            CU_ASSERT(k == 0 || s.asked[k] > s.asked[k - 1]);
            CU_ASSERT(pair % 2 == 0 && s.ids[pair] == s.ids[s.asked[k]] && s.ids[pair + 1] == atoi(s.outputs[k].text) &&
                      s.ids[pair] < 30 && s.ids[pair + 1] >= 30);
        }
        natsl_eval_sample_free(&s);
        natsl_eval_sample_free(&again);
    }
    own.pairs = 25; /* no four tokens each */
    CU_ASSERT_EQUAL(natsl_eval_check(&own, t, 96), NATSL_ERR_USAGE);
    own.pairs = 30; /* no two ids each */
    CU_ASSERT_EQUAL(natsl_eval_check(&own, t, 960), NATSL_ERR_USAGE);
    CU_ASSERT(natsl_score_place("12 5\n7", 6, 1, "5") && natsl_score_place("12 5\n7", 6, 2, "7"));
    CU_ASSERT(!natsl_score_place("12 5", 4, 0, "1") && !natsl_score_place("12 5", 4, 2, "5") &&
              !natsl_score_place("", 0, 0, ""));
}

/** Stories in a text: the fact that is needed at its depth, the others in order around it. */
static void test_babi(void)
{
    static const char stories[] = "1 Ann is in the den.\n2 Bob took the hat.\n3 Where is Ann? \tDen\t1\n4 Ann left.\n"
                                  "5 Which things has Bob?\that,cup\t2\n1 Cid sits.\n2 Does Cid sit?\tyes\n";
    char path[512];
    natsl_babi *b = NULL;
    natsl_eval_sample s;
    scratch_make();
    scratch_write("qa1.txt", stories, sizeof stories - 1);
    (void)snprintf(path, sizeof path, "%s/qa1.txt", scratch);
    CU_ASSERT_EQUAL_FATAL(natsl_babi_open(path, &b), NATSL_OK);
    CU_ASSERT(b->n_questions == 3 && b->n_lines == 7 && b->n_labels == 4);
    CU_ASSERT_STRING_EQUAL(b->labels[0], "den");
    CU_ASSERT_STRING_EQUAL(b->labels[2], "cup");
    const natsl_eval_task t = {.suite = "babilong",
                               .name = "qa1",
                               .kind = NATSL_EVAL_BABI,
                               .max_new = 20,
                               .metric = NATSL_EVAL_LABEL,
                               .stories = b};
    CU_ASSERT_EQUAL(natsl_eval_check(&settings, &t, b->longest + 20), NATSL_OK);
    CU_ASSERT_EQUAL(natsl_eval_check(&settings, &t, b->longest + 19), NATSL_ERR_USAGE);
    for (int64_t i = 0; i < 12; i++) {
        const int64_t length = i < 3 ? b->longest + 20 : 6000;
        CU_ASSERT_EQUAL_FATAL(natsl_eval_make(&settings, &t, length, i, &s), NATSL_OK);
        CU_ASSERT(s.length + 20 <= length && s.length + 20 > length - (i < 3 ? 100 : 4));
        const size_t n = (size_t)s.length;
        const char *ann = memmem(s.text, n, "Ann is in the den.", 18),
                   *hat = memmem(s.text, n, "Bob took the hat.", 17), *left = memmem(s.text, n, "Ann left.", 9),
                   *cid = memmem(s.text, n, "Cid sits.", 9);
        CU_ASSERT(i % 3 == 2 ? cid && !ann : ann && hat && ann < hat && !cid);
        CU_ASSERT(i % 3 == 1 ? left && hat < left : !left);
        CU_ASSERT_EQUAL(occurrences(s.text, n, "?") - occurrences(s.text, n, "done?"), 1);
        if (i >= 3 && i % 3 != 2) {
            const char *at = i % 3 == 0 ? ann : hat;
            EXPECT(fabs((double)(at - s.text) / (double)n - s.outputs[0].depth) < 0.001, "%g", s.outputs[0].depth);
            EXPECT(fabs(s.outputs[0].depth - natsl_eval_depth(&settings, &t, length, i)) < 0.05, "%g",
                   s.outputs[0].depth);
        }
        if (i % 3 == 2) CU_ASSERT_EQUAL(s.outputs[0].depth, -1.0);
        CU_ASSERT(s.n_labels == 4 && s.question && memmem(s.text, n, s.question, strlen(s.question)));
        natsl_eval_sample_free(&s);
    }
    const struct {
        const char *text, *want, *question;
        int right;
    } cases[] = {{"In the DEN. Not the hat", "den", "Where?", 1},
                 {"den or hat", "den", "Where?", 0},
                 {"den or hat", "den", "Has the hat?", 1},
                 {"nowhere", "den", "Where?", 0},
                 {"the cup and the hat", "hat,cup", "Which?", 1},
                 {"the hat", "hat,cup", "Which?", 0},
                 {"hat, cup, den", "hat,cup", "Which?", 0},
                 {"", "yes", "Does he?", 0},
                 {". den", "den", "Where?", 0},
                 {"Den", "den", "Which den?", 0}};
    for (size_t i = 0; i < COUNT(cases); i++)
        EXPECT(natsl_score_label(cases[i].text, strlen(cases[i].text), cases[i].want, cases[i].question, b->labels,
                                 b->n_labels) == cases[i].right,
               "case %zu", i);
    natsl_babi_close(&b);
    CU_ASSERT_PTR_NULL(b);
    CU_ASSERT_EQUAL(natsl_babi_open(scratch, &b), NATSL_ERR_INPUT);
    CU_ASSERT_EQUAL(scratch_remove(), 0);
}

/** Questions about one haystack: the same bytes but for what is asked. */
static void test_shared(void)
{
    const natsl_eval_task *t = natsl_eval_task_find("kv", "kv");
    natsl_eval_settings own = settings;
    natsl_eval_sample s[4];
    own.questions = 3;
    for (int64_t i = 0; i < 4; i++) {
        CU_ASSERT_EQUAL_FATAL(natsl_eval_make(&own, t, 4096, i, &s[i]), NATSL_OK);
        CU_ASSERT_EQUAL(natsl_eval_first(&own, t, i), i / 3 * 3);
        CU_ASSERT(s[i].shared > 3500 && s[i].shared == s[0].shared && s[i].shared < s[i].input);
    }
    CU_ASSERT(memcmp(s[0].text, s[1].text, (size_t)s[0].shared) == 0 &&
              memcmp(s[0].text, s[2].text, (size_t)s[0].shared) == 0 &&
              memcmp(s[0].text, s[3].text, (size_t)s[0].shared) != 0);
    CU_ASSERT_STRING_NOT_EQUAL(s[0].outputs[0].text, s[1].outputs[0].text);
    CU_ASSERT(memmem(s[0].text, (size_t)s[0].shared, s[2].outputs[0].text, 36) != NULL);
    for (int i = 0; i < 4; i++) natsl_eval_sample_free(&s[i]);
    const natsl_hay document = {.length = 2500, .read = read_prose};
    const natsl_eval_task d = {.name = "d", .suite = "perplexity", .kind = NATSL_EVAL_DOCUMENT, .document = &document};
    CU_ASSERT(natsl_document_windows(&document, 1000) == 2 && natsl_document_windows(&document, 2501) == 1);
    CU_ASSERT_EQUAL_FATAL(natsl_eval_make(&settings, &d, 1000, 1, &s[0]), NATSL_OK);
    CU_ASSERT(s[0].length == 1000 && s[0].n_outputs == 0 && s[0].text[7] == prose[1007 % (sizeof prose - 1)]);
    natsl_eval_sample_free(&s[0]);
    CU_ASSERT_EQUAL_FATAL(natsl_eval_make(&settings, &d, 9000, 0, &s[0]), NATSL_OK);
    CU_ASSERT_EQUAL(s[0].length, 2500);
    natsl_eval_sample_free(&s[0]);
}

/** Files of samples: fields of several dialects, and damaged lines. */
static void test_lines(void)
{
    static const char good[] = "{\"input\": \"a?\", \"outputs\": [\"b\", \"c\"], \"answer_prefix\": \" is\"}\n"
                               "{\"context\": \"long\", \"input\": \"what\", \"answer\": \"x\", \"options\": []}\n"
                               "{\"context\": \"c\", \"question\": \"q\", \"answer\": [\"x\"], \"depth\": [0.25]}";
    static const struct {
        const char *line;
        size_t length;
        const char *says;
    } bad[] = {
#define LINE(text, says) {text, sizeof text - 1, says}
        LINE("{\"input\": \"a\", \"outp", "column"),
        LINE("{\"outputs\": [\"b\"]}", "no \"input\""),
        LINE("{\"input\": 1, \"outputs\": [\"b\"]}", "are texts"),
        LINE("{\"input\": \"a\"}", "no \"outputs\""),
        LINE("{\"input\": \"a\", \"outputs\": []}", "no \"outputs\""),
        LINE("{\"input\": \"a\", \"outputs\": [1]}", "output 0"),
        LINE("{\"input\": \"a\", \"outputs\": [\"\"]}", "output 0"),
        LINE("{\"input\": \"\", \"outputs\": [\"b\"]}", "empty"),
        LINE("{\"input\": \"\xff\", \"outputs\": [\"b\"]}", "column"),
        LINE("{\"input\": \"\\u0000\", \"outputs\": [\"b\"]}", "column"),
        LINE("{\"input\": \"\0\", \"outputs\": [\"b\"]}", "column"),
        LINE("[]", "no JSON object"),
        LINE("", "column"),
    };
    natsl_eval_lines lines;
    natsl_eval_task t = {.suite = "jsonl", .kind = NATSL_EVAL_FILE, .max_new = 4, .lines = &lines};
    natsl_eval_sample s;
    char path[512], text[512];
    scratch_make();
    scratch_write("good.jsonl", good, sizeof good - 1);
    (void)snprintf(path, sizeof path, "%s/good.jsonl", scratch);
    CU_ASSERT_EQUAL_FATAL(natsl_eval_lines_scan(path, 0, NULL, &lines), NATSL_OK);
    CU_ASSERT(lines.count == 3 && lines.bad == 0 && lines.longest == 11);
    CU_ASSERT_STRING_EQUAL(lines.name, "good");
    t.name = lines.name;
    static const char *const prompts[] = {"a? is", "long\n\nwhat\n", "c\n\nq\n"};
    for (int64_t i = 0; i < 3; i++) {
        CU_ASSERT_EQUAL_FATAL(natsl_eval_make(&settings, &t, 20, i, &s), NATSL_OK);
        CU_ASSERT(s.length == (int64_t)strlen(prompts[i]) && memcmp(s.text, prompts[i], strlen(prompts[i])) == 0);
        CU_ASSERT(s.shared == (i == 0 ? 0 : i == 1 ? 6 : 3) && natsl_eval_first(&settings, &t, i) == i);
        CU_ASSERT(s.n_outputs == (i == 0 ? 2 : 1) && s.outputs[0].depth == (i == 2 ? 0.25 : -1.0));
        natsl_eval_sample_free(&s);
    }
    natsl_eval_lines_free(&lines);
    for (size_t i = 0; i < COUNT(bad); i++) {
        const int n = snprintf(text, sizeof text, "{\"input\": \"a\", \"outputs\": [\"b\"]}\n");
        memcpy(text + n, bad[i].line, bad[i].length);
        text[(size_t)n + bad[i].length] = '\n';
        scratch_write("good.jsonl", text, (size_t)n + bad[i].length + 1);
        CU_ASSERT_EQUAL(natsl_eval_lines_scan(path, 0, NULL, &lines), NATSL_ERR_INPUT);
        EXPECT(strstr(natsl_error_text(), "line 2") && strstr(natsl_error_text(), bad[i].says), "case %zu: %s", i,
               natsl_error_text());
        CU_ASSERT_EQUAL(natsl_eval_lines_scan(path, 1, NULL, &lines), NATSL_OK);
        CU_ASSERT(lines.count == 1 && lines.bad == 1 && strstr(lines.complaint, bad[i].says));
        natsl_eval_lines_free(&lines);
    }
    scratch_write("good.jsonl", "{}\n", 3);
    CU_ASSERT_EQUAL(natsl_eval_lines_scan(path, 1, NULL, &lines), NATSL_ERR_INPUT);
    CU_ASSERT_EQUAL(scratch_remove(), 0);
}

static void test_refused(void)
{
    const natsl_eval_task *words = natsl_eval_task_find("ruler", "niah_multikey_2"),
                          *uuids = natsl_eval_task_find("ruler", "niah_multikey_3");
    CU_ASSERT_EQUAL(natsl_eval_check(&settings, words, 1 << 20), NATSL_OK);
    CU_ASSERT_EQUAL(natsl_eval_check(&settings, words, 1 << 21), NATSL_ERR_USAGE);
    CU_ASSERT_EQUAL(natsl_eval_check(&settings, uuids, 1 << 24), NATSL_OK);
    CU_ASSERT_EQUAL(natsl_eval_check(&settings, uuids, 1 << 26), NATSL_ERR_USAGE);
    const natsl_eval_settings without = {.seed = 1};
    natsl_eval_sample s;
    const natsl_eval_task *text = natsl_eval_task_find("ruler", "niah_single_2");
    CU_ASSERT_EQUAL(natsl_eval_make(&without, text, 4096, 0, &s), NATSL_ERR_USAGE);
    CU_ASSERT_PTR_NOT_NULL(strstr(natsl_error_text(), "--haystack"));
    CU_ASSERT_PTR_NULL(s.text);
    for (const natsl_eval_task *t = natsl_eval_tasks; t->name; t++) {
        int64_t least = 1;
        if (t->kind == NATSL_EVAL_QA) continue;
        CU_ASSERT_EQUAL(natsl_eval_make(&settings, t, 0, 0, &s), NATSL_ERR_USAGE);
        while (least < 5000 && natsl_eval_check(&settings, t, least) != NATSL_OK) least++;
        if (t->kind != NATSL_EVAL_NIAH) continue;
        EXPECT(least < 2000, "%s needs %lld", t->name, (long long)least);
        for (int64_t i = 0; i < 20; i++) {
            EXPECT(natsl_eval_make(&settings, t, least, i, &s) == NATSL_OK, "%s: %s", t->name, natsl_error_text());
            natsl_eval_sample_free(&s);
        }
    }
}

int main(void)
{
    static const test_entry tests[] = {
        {"SHA-256 of published vectors", test_sha256},
        {"samples: form, size, needles", test_samples},
        {"samples depend on nothing else", test_pure},
        {"depths are spread evenly", test_depths},
        {"tracking, common words, coded text", test_spread},
        {"pass keys and values of JSON objects", test_recall},
        {"recall in token ids", test_mqar},
        {"stories in a text", test_babi},
        {"questions about one haystack", test_shared},
        {"files of samples", test_lines},
        {"what does not fit is refused", test_refused},
    };
    return run_suite("eval", tests, COUNT(tests));
}
