/* test_eval_results.c - scores by RULER's rules, intervals, means, finished samples on disk. */
#define _GNU_SOURCE /* scratch.h */
#include "eval_results.h"
#include "json_text.h"
#include "score.h"

#include "../suite.h"
#include "scratch.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- scores ---------------------------------------------------------------------------------------------------------- */

static void test_clean(void)
{
    static const char *const cases[][2] = {{"  a b \n", "a b"},
                                           {"", ""},
                                           {" \t\n", ""},
                                           {"\x01\x02", ""},
                                           {"a\tb\x01"
                                            "c",
                                            "a\nb\nc"},
                                           {"\x01 x \x02", "x"},
                                           {"\u00a0\u3000 \u2003", ""},
                                           {"\u00a0 \u00e0\u3000x\u2028\xc2\x85", "\u00e0\u3000x"},
                                           {" \xc2", "\xc2"}};
    for (size_t i = 0; i < COUNT(cases); i++) {
        char text[64];
        (void)snprintf(text, sizeof text, "%s", cases[i][0]);
        const int null = natsl_score_is_null(text, strlen(text));
        text[natsl_score_clean(text, strlen(text))] = '\0';
        CU_ASSERT_STRING_EQUAL(text, cases[i][1]);
        CU_ASSERT_EQUAL(null, cases[i][1][0] == '\0');
    }
    CU_ASSERT(natsl_score_contains("The Answer is 12345.", 20, "answer IS 12345"));
    CU_ASSERT(!natsl_score_contains("1234", 4, "12345"));
    CU_ASSERT(natsl_score_contains("91234567", 8, "1234567")); /* no word boundaries */
    CU_ASSERT(natsl_score_contains("", 0, ""));
    CU_ASSERT(!natsl_score_contains("abc", 3, "abcd"));
    CU_ASSERT(!natsl_score_contains("aab", 3, "ac"));
    CU_ASSERT(natsl_score_contains("aaab", 4, "aab"));
    static const char *const pairs[][2] = {{"ÉCOLE", "école"},   {"Ž", "ž"}, {"Ł", "ł"},   {"ΩMEGA", "ωmega"},
                                           {"МОСКВА", "москва"}, {"Ё", "ё"}, {"Ÿ", "ÿ"},   {"Đ", "đ"},
                                           {"ΆΏ", "άώ"},         {"Ǆ", "ǆ"}, {"ԱՖ", "աֆ"}, {"ẾỸ", "ếỹ"},
                                           {"Ｚ", "ｚ"},         {"𐐀", "𐐨"}};
    for (size_t i = 0; i < COUNT(pairs); i++) {
        EXPECT(natsl_score_contains(pairs[i][0], strlen(pairs[i][0]), pairs[i][1]), "%s", pairs[i][0]);
        EXPECT(natsl_score_contains(pairs[i][1], strlen(pairs[i][1]), pairs[i][0]), "%s", pairs[i][1]);
    }
    CU_ASSERT(!natsl_score_contains("×", 2, "÷")); /* no letters */
    CU_ASSERT(!natsl_score_contains("\xc3", 1, "é") &&
              natsl_score_contains("a\xffÉ", 4, "\xffé")); /* bytes that are no text */
}

static void test_wilson(void)
{
    double low, high; /* by hand and with statsmodels' proportion_confint(method="wilson") */
    natsl_score_wilson(0.0, 10.0, &low, &high);
    CU_ASSERT(low == 0.0 && fabs(high - 0.2775328) < 1e-6);
    natsl_score_wilson(1.0, 10.0, &low, &high);
    CU_ASSERT(fabs(low - 0.7224672) < 1e-6 && high == 1.0);
    natsl_score_wilson(0.5, 100.0, &low, &high);
    CU_ASSERT(fabs(low - 0.4038315) < 1e-6 && fabs(high - 0.5961685) < 1e-6);
}

static json_t *record_of(int64_t index, int hit, double depth)
{
    return json_pack("{s:I, s:s, s:[s], s:i, s:i, s:[f], s:[i], s:i, s:i}", "index", (json_int_t)index, "pred",
                     hit ? "x" : "\n", "outputs", "x", "length", 10, "prompt", 8, "depth", depth, "hits", hit,
                     "kept_chunks", 1, "chunks", 4);
}

static json_t *run_of(int64_t index)
{
    return json_pack("{s:I, s:f, s:f, s:i}", "index", (json_int_t)index, "read_seconds", 2.0, "generate_seconds", 1.0,
                     "peak_bytes", 1000);
}

/** As Python's round: what lies in the middle between two hundredths goes to the even one. */
static void test_rounding(void)
{
    static const struct {
        int hits;
        double score;
    } cases[] = {{1, 3.12}, {3, 9.38}, {5, 15.62}, {11, 34.38}, {31, 96.88}};
    for (size_t i = 0; i < COUNT(cases); i++) {
        natsl_eval_store store;
        natsl_eval_score score;
        natsl_eval_cell cell = {.task = "one", .length = 10};
        CU_ASSERT_EQUAL_FATAL(natsl_eval_store_start(&store, "none", &cell, 1), NATSL_OK);
        for (int k = 0; k < 32; k++)
            CU_ASSERT_EQUAL(natsl_eval_cell_append(&store.cells[0], record_of(k, k < cases[i].hits, 0.5)), NATSL_OK);
        natsl_eval_cell_score(&store.cells[0], &score);
        EXPECT(score.score == cases[i].score, "%d of 32: %g", cases[i].hits, score.score);
        natsl_eval_store_free(&store);
    }
}

/** Of several outputs of which any will do the sample has one, where it was found. */
static void test_any(void)
{
    static const struct {
        int hits[3], band, found;
    } cases[] = {{{0, 0, 0}, 1, 0}, {{0, 1, 0}, 5, 1}, {{1, 0, 1}, 1, 1}};
    for (size_t i = 0; i < COUNT(cases); i++) {
        natsl_eval_store store;
        natsl_eval_score score;
        natsl_eval_cell cell = {.task = "one", .length = 10, .metric = NATSL_EVAL_PART};
        const int *h = cases[i].hits;
        CU_ASSERT_EQUAL_FATAL(natsl_eval_store_start(&store, "none", &cell, 1), NATSL_OK);
        json_t *record = json_pack("{s:i, s:s, s:[s, s, s], s:[f, f, f], s:[i, i, i]}", "index", 0, "pred", "x",
                                   "outputs", "a", "b", "c", "depth", 0.15, 0.55, 0.95, "hits", h[0], h[1], h[2]);
        CU_ASSERT_EQUAL(natsl_eval_cell_append(&store.cells[0], record), NATSL_OK);
        natsl_eval_cell_score(&store.cells[0], &score);
        CU_ASSERT_EQUAL(score.score, 100.0 * cases[i].found);
        for (int b = 0; b < NATSL_EVAL_BANDS; b++) {
            CU_ASSERT_EQUAL(score.band_outputs[b], b == cases[i].band);
            CU_ASSERT_EQUAL(score.band_hits[b], b == cases[i].band && cases[i].found);
        }
        natsl_eval_store_free(&store);
    }
}

static void test_summary(void)
{
    static const int64_t lengths[] = {4096, 8192, 16384, 32768, 65536, 131072};
    const double llama[] = {96.5, 95.8, 95.4, 94.8, 88.4, 66.6};
    natsl_eval_summary s = natsl_eval_summarise(lengths, llama, 6);
    CU_ASSERT(fabs(s.average - 89.6) < 0.05 && fabs(s.increasing - 85.5) < 0.05 && fabs(s.decreasing - 93.7) < 0.05);
    CU_ASSERT(s.effective == 65536 && !s.all_effective);
    const double gap[] = {90.0, NAN, 90.0};
    s = natsl_eval_summarise(lengths, gap, 3);
    CU_ASSERT(fabs(s.average - 60.0) < 1e-9 && s.effective == 4096);
    const double low[] = {85.5, 100.0}, all[] = {85.6, 100.0};
    CU_ASSERT_EQUAL(natsl_eval_summarise(lengths, low, 2).effective, 0);
    s = natsl_eval_summarise(lengths, all, 2);
    CU_ASSERT(s.effective == 8192 && s.all_effective);
}

/** Text of any bytes as JSON: what is no UTF-8 is U+FFFD, byte by byte. */
static void test_json_text(void)
{
    static const struct {
        const char *bytes;
        size_t length;
        const char *want;
    } cases[] = {{"plain", 5, "plain"},
                 {"", 0, ""},
                 {"\xc3\xa9\xff\xe2\x82x\xe2\x82\xac", 10, "\xc3\xa9\ufffd\ufffd\ufffdx\xe2\x82\xac"},
                 {"\xed\xa0\x80", 3, "\ufffd\ufffd\ufffd"}};
    for (size_t i = 0; i < COUNT(cases); i++) {
        json_t *text = natsl_json_text(cases[i].bytes, cases[i].length);
        EXPECT(text && strcmp(json_string_value(text), cases[i].want) == 0, "case %zu", i);
        json_decref(text);
    }
    json_t *nul = natsl_json_text("a\0\xff", 3), *none = natsl_json_text_or_null(NULL);
    CU_ASSERT(json_string_length(nul) == 5 && memcmp(json_string_value(nul), "a\0\ufffd", 5) == 0);
    CU_ASSERT(json_is_null(none));
    json_decref(nul);
}

/* ---- files ----------------------------------------------------------------------------------------------------------- */

static int exists(const char *name) { return access(scratch_path(name), F_OK) == 0; }

static natsl_status merged(natsl_eval_store *store)
{
    natsl_eval_cell cells[2] = {{.task = "one", .length = 10, .samples = 4},
                                {.task = "two", .length = 10, .samples = 4}};
    CU_ASSERT_EQUAL_FATAL(natsl_eval_store_start(store, scratch, cells, 2), NATSL_OK);
    const natsl_status st = natsl_eval_store_read(store);
    return st == NATSL_OK ? natsl_eval_store_merge(store) : st;
}

static void test_store(void)
{
    natsl_eval_store store;
    natsl_eval_cell cell = {.task = "one", .length = 10}, two = {.task = "two", .length = 10};
    natsl_eval_score score;
    int a = -1, b = -1;
    scratch_make();
    CU_ASSERT_EQUAL(natsl_eval_part_open(scratch, 0, &a), NATSL_OK);
    CU_ASSERT_EQUAL(natsl_eval_part_open(scratch, 3, &b), NATSL_OK);
    CU_ASSERT_EQUAL(natsl_eval_part_add(a, &cell, record_of(2, 1, 0.25), run_of(2)), NATSL_OK);
    CU_ASSERT_EQUAL(natsl_eval_part_add(b, &cell, record_of(0, 0, 0.99), run_of(0)), NATSL_OK);
    CU_ASSERT_EQUAL(natsl_eval_part_add(b, &two, record_of(9, 1, 1.0), run_of(9)), NATSL_OK);
    CU_ASSERT_EQUAL(write(b, "{\"task\": \"one\", \"le", 19), 19); /* killed here */
    (void)close(a);
    (void)close(b);
    CU_ASSERT_EQUAL(merged(&store), NATSL_OK);
    CU_ASSERT(!exists("part-0.jsonl") && !exists("part-3.jsonl") && exists("one/10.jsonl") &&
              exists("one/10.runs.jsonl"));
    natsl_eval_cell_score(&store.cells[0], &score);
    CU_ASSERT(score.samples == 2 && score.nulls == 1 && score.score == 50.0 && score.kept_share == 0.25);
    CU_ASSERT(score.band_outputs[2] == 1 && score.band_hits[2] == 1 && score.band_outputs[9] == 1 &&
              score.band_hits[9] == 0);
    CU_ASSERT(score.read_tps == 4.0 && score.seconds == 6.0 && score.peak_bytes == 1000.0);
    natsl_eval_cell_score(&store.cells[1], &score);
    CU_ASSERT(score.samples == 0 && isnan(score.score)); /* sample 9 is kept, but not one of the four wanted */
    CU_ASSERT(store.cells[1].room > 9 && store.cells[1].records[9] != NULL);
    json_t *results = natsl_eval_results_json(&store);
    CU_ASSERT(json_array_size(json_object_get(results, "tasks")) == 2);
    json_decref(results);
    natsl_eval_store_free(&store);
    /* again: from the files, with one more; one that is there already does not count */
    CU_ASSERT_EQUAL(natsl_eval_part_open(scratch, 1, &a), NATSL_OK);
    CU_ASSERT_EQUAL(natsl_eval_part_add(a, &cell, record_of(1, 1, 0.5), run_of(1)), NATSL_OK);
    CU_ASSERT_EQUAL(natsl_eval_part_add(a, &cell, record_of(0, 1, 0.99), run_of(0)), NATSL_OK);
    (void)close(a);
    CU_ASSERT_EQUAL(merged(&store), NATSL_OK);
    natsl_eval_cell_score(&store.cells[0], &score);
    CU_ASSERT(score.samples == 3 && fabs(score.score - 66.67) < 1e-9);
    natsl_eval_store_free(&store);
}

static void test_hostile_files(void)
{
    static const struct {
        const char *text;
        size_t length;
        const char *says;
    } cases[] = {
#define CASE(text, says) {text, sizeof text - 1, says}
        CASE("{\"index\":0", "line 1"),
        CASE("\n", "line 1"),
        CASE("[]\n", "no JSON object"),
        CASE("{\"index\":0}\n", "not a sample"),
        CASE("{\"index\":0,\"pred\":\"\",\"length\":1,\"outputs\":[],\"hits\":[],\"depth\":[]}\n", "not a sample"),
        CASE("{\"index\":0,\"pred\":\"\",\"length\":1,\"outputs\":[\"a\"],\"hits\":[1],\"depth\":[\"x\"]}\n",
             "not a sample"),
        CASE("{\"index\":-1,\"pred\":\"\",\"length\":1,\"outputs\":[\"a\"],\"hits\":[1],\"depth\":[0.5]}\n", "index"),
        CASE("{\"index\":99999999999,\"pred\":\"\",\"length\":1,\"outputs\":[\"a\"],\"hits\":[1],\"depth\":[0.5]}\n",
             "index"),
        CASE("{\"index\":0,\"index\":0}\n", "line 1"),
        CASE("{\"index\":0,\"pred\":\"\xff\"}\n", "line 1"),
        CASE("\0\n", "line 1"),
    };
    natsl_eval_store store;
    for (size_t i = 0; i < COUNT(cases); i++) {
        scratch_write("one/10.jsonl", cases[i].text, cases[i].length);
        CU_ASSERT_EQUAL(merged(&store), NATSL_ERR_INPUT);
        EXPECT(strstr(natsl_error_text(), cases[i].says) && strstr(natsl_error_text(), "one/10.jsonl"), "case %zu: %s",
               i, natsl_error_text());
        natsl_eval_store_free(&store);
    }
    scratch_write("one/10.jsonl", "", 0);
    scratch_write("part-7.jsonl", "{}\n", 3);
    CU_ASSERT_EQUAL(merged(&store), NATSL_ERR_INPUT);
    CU_ASSERT(exists("part-7.jsonl")); /* nothing is thrown away */
    natsl_eval_store_free(&store);
    CU_ASSERT_EQUAL(scratch_remove(), 0);
}

int main(void)
{
    static const test_entry tests[] = {
        {"predictions as RULER cleans them", test_clean},
        {"Wilson's interval", test_wilson},
        {"scores as RULER rounds them", test_rounding},
        {"any of several outputs", test_any},
        {"text of any bytes", test_json_text},
        {"means and effective length", test_summary},
        {"finished samples on disk", test_store},
        {"damaged files of samples", test_hostile_files},
    };
    return run_suite("eval results", tests, COUNT(tests));
}
