/* test_eval_report.c - charts and the page of results: numbers, places, colours, hostile names; files of results. */
#define _GNU_SOURCE /* memmem */
#include "eval_chart.h"
#include "eval_files.h"

#include "../suite.h"

#include <math.h>
#include <stdlib.h>
#include <unistd.h>

static int has(const natsl_buffer *b, const char *what)
{
    return memmem(b->text, b->length, what, strlen(what)) != NULL;
}

static void test_colours(void)
{
    char text[24];
    CU_ASSERT_STRING_EQUAL(natsl_heat_colour(0.0, text), "#f0496e");
    CU_ASSERT_STRING_EQUAL(natsl_heat_colour(0.5, text), "#ebb839");
    CU_ASSERT_STRING_EQUAL(natsl_heat_colour(1.0, text), "#0cd79f");
    CU_ASSERT_STRING_EQUAL(natsl_heat_colour(-3.0, text), "#f0496e");
    CU_ASSERT_STRING_EQUAL(natsl_heat_colour(7.0, text), "#0cd79f");
    CU_ASSERT_STRING_EQUAL(natsl_heat_colour(0.25, text), "#ee8154");
    CU_ASSERT_STRING_EQUAL(natsl_short_tokens(1048576, text), "1M");
    CU_ASSERT_STRING_EQUAL(natsl_short_tokens(65536, text), "64K");
    CU_ASSERT_STRING_EQUAL(natsl_short_tokens(1000, text), "1000");
}

static void test_charts(void)
{
    natsl_buffer b = {0};
    static const int64_t lengths[] = {1024, 2048, 4096};
    static const double y[] = {100.0, NAN, 50.0}, low[] = {90.0, NAN, 40.0}, high[] = {100.0, NAN, 60.0};
    const natsl_series series = {"a", 0, y, low, high};
    natsl_chart_lines(&b, 300, 146, "a < b & \"c\"", lengths, 3, &series, 1, 100.0, "");
    CU_ASSERT(has(&b, "a &lt; b &amp; &quot;c&quot;") && has(&b, ">2K</text>"));
    /* the plot is 110 high and ends at 120: 100 is at 10, 50 at 65; a line does not cross what is missing */
    CU_ASSERT(has(&b, "d=\"M60.0 10.0M274.0 65.0\""));
    CU_ASSERT(has(&b, "M274.0 76.0V54.0"));
    CU_ASSERT(!has(&b, "nan"));
    natsl_buffer_free(&b);
    /* a scale that does not begin at 0 */
    static const double loss[] = {2.1, NAN, 1.7};
    const natsl_series of_loss = {"a", 0, loss, NULL, NULL};
    natsl_chart_lines(&b, 300, 146, "loss", lengths, 3, &of_loss, 1, -1.0, "");
    /* two steps of 0.25 from 1.5 end below 2.1: steps of 0.5, and 2.1 is 0.6 of the way up */
    CU_ASSERT(has(&b, ">1.5</text>") && has(&b, ">2.5</text>") && !has(&b, ">0</text>"));
    CU_ASSERT(has(&b, "d=\"M60.0 54.0M274.0 98.0\""));
    natsl_buffer_free(&b);
    static const double flat[] = {3.0, 3.0, 3.0};
    natsl_chart_lines(&b, 300, 146, "flat", lengths, 3, &(natsl_series){"a", 0, flat, NULL, NULL}, 1, -1.0, "");
    CU_ASSERT(has(&b, ">3</text>") && !has(&b, "nan") && !has(&b, "inf"));
    natsl_buffer_free(&b);
    static const double cells[] = {0.0, 1.0, NAN, 0.5, 0.25, 0.75};
    static const char *const rows[] = {"0", "50"};
    natsl_chart_heat(&b, 400, 200, "heat", "Depth Percent", rows, 2, lengths, 3, cells, 1);
    CU_ASSERT(has(&b, "#f0496e") && has(&b, "#0cd79f") && has(&b, "#ebb839") && has(&b, "Token Limit") &&
              has(&b, "Depth Percent"));
    CU_ASSERT(has(&b, "class=\"n\"") && !has(&b, "nan"));
    natsl_buffer_free(&b);
}

static json_t *example(const char *model)
{
    return json_pack(
        "{s:s, s:i, s:s, s:i, s:f, s:i, s:{s:s, s:s, s:i, s:s, s:s, s:n}, s:[{s:i, s:f}],"
        "s:[{s:s, s:i, s:i, s:f, s:f, s:f, s:f, s:f, s:[f, f], s:[{s:f, s:f, s:f}], s:{s:[s, s], s:[f], s:[i]}}]}",
        "format", "natsl-eval", "format_version", 1, "model", model, "samples", 4, "average", 75.0, "effective_length",
        0, "settings", "suite", "ruler", "mode", "spread", "seed", 3, "model_digest", "00ff", "route", "learned",
        "haystack_sha256", "lengths", "length", 4096, "score", 75.0, "tasks", "task", "niah_single_1", "length", 4096,
        "samples", 4, "score", 75.0, "low", 30.1, "high", 95.4, "kept_share", 0.25, "read_tokens_per_s", 1234.0,
        "kept_share_by_layer", -1.0, 0.25, "by_depth", "outputs", 4.0, "found", 3.0, "score", 75.0, "strip", "layers",
        "----", "0099", "depth", 0.5, "hits", 1);
}

static void test_page(void)
{
    natsl_buffer page;
    json_t *one = example("<script>alert(1)</script>"), *two = example("b");
    CU_ASSERT_PTR_NOT_NULL_FATAL(one);
    const natsl_eval_result runs[] = {{"run & one", one}, {"two", two}};
    CU_ASSERT_EQUAL(natsl_eval_report(runs, 1, &page), NATSL_OK);
    CU_ASSERT(has(&page, "&lt;script&gt;") && !has(&page, "<script") && !has(&page, "http") && !has(&page, "nan"));
    CU_ASSERT(has(&page, "prefers-color-scheme:dark") && has(&page, "niah_single_1, 4K") &&
              has(&page, "75.0 <small>30&ndash;95, n=4"));
    CU_ASSERT(page.length > 8 && memcmp(page.text + page.length - 8, "</html>\n", 8) == 0);
    natsl_buffer_free(&page);
    CU_ASSERT_EQUAL(natsl_eval_report(runs, 2, &page), NATSL_OK);
    CU_ASSERT(has(&page, "run &amp; one") && has(&page, "class=\"legend\""));
    natsl_buffer_free(&page);
    json_decref(one);
    json_decref(two);
}

/** A picture of its own: one panel for lengths of one model, whichever run has them; others beside it. */
static void test_heatmap(void)
{
    natsl_buffer picture;
    json_t *one = example("m"), *two = example("m"), *three = example("<m>");
    CU_ASSERT_FATAL(one && two && three);
    json_t *cell = json_array_get(json_object_get(two, "tasks"), 0);
    (void)json_object_set_new(cell, "length", json_integer(1 << 20));
    (void)json_object_set_new(json_object_get(three, "settings"), "model_digest", json_string("0a"));
    const natsl_eval_result runs[] = {{"a", one}, {"b", two}, {"<c>", three}};
    CU_ASSERT_EQUAL_FATAL(natsl_eval_heatmap(runs, 2, &picture), NATSL_OK);
    CU_ASSERT(has(&picture, ">niah_single_1</text>") && has(&picture, ">4K</text>") && has(&picture, ">1M</text>"));
    CU_ASSERT(has(&picture, "<title>3 of 4</title>") && has(&picture, ">75</text>") && has(&picture, "n = 4<"));
    CU_ASSERT(has(&picture, "prefers-color-scheme:dark") && has(&picture, "Token Limit") && !has(&picture, "nan"));
    CU_ASSERT(memcmp(picture.text, "<svg ", 5) == 0 && !has(&picture, "<script"));
    natsl_buffer_free(&picture);
    CU_ASSERT_EQUAL_FATAL(natsl_eval_heatmap(runs, 3, &picture), NATSL_OK);
    CU_ASSERT(has(&picture, "niah_single_1, a<") && has(&picture, "niah_single_1, &lt;c&gt;<"));
    natsl_buffer_free(&picture);
    /* of two runs of one length the one with more samples counts */
    (void)json_object_set_new(cell, "length", json_integer(4096));
    (void)json_object_set_new(cell, "samples", json_integer(9));
    CU_ASSERT_EQUAL_FATAL(natsl_eval_heatmap(runs, 2, &picture), NATSL_OK);
    CU_ASSERT(has(&picture, "n = 9<") && !has(&picture, "n = 4<"));
    natsl_buffer_free(&picture);
    (void)json_object_del(json_array_get(json_object_get(one, "tasks"), 0), "by_depth");
    CU_ASSERT_EQUAL(natsl_eval_heatmap(runs, 1, &picture), NATSL_ERR_INPUT);
    json_decref(one);
    json_decref(two);
    json_decref(three);
}

static json_t *loss_example(const int *ends, int n, double loss)
{
    json_t *results = example("m"), *bins = json_array();
    for (int i = 0; i < n; i++)
        (void)json_array_append_new(bins, json_pack("{s:i, s:i, s:i, s:f}", "from", i ? ends[i - 1] : 0, "to", ends[i],
                                                    "tokens", 5, "loss", loss + i));
    json_t *cell = json_array_get(json_object_get(results, "tasks"), 0);
    (void)json_object_set_new(cell, "by_position", bins);
    (void)json_object_set_new(cell, "loss", json_real(loss));
    return results;
}

static size_t count_of(const natsl_buffer *b, const char *what)
{
    size_t n = 0;
    for (size_t i = 0; i + strlen(what) <= b->length; i++) n += memcmp(b->text + i, what, strlen(what)) == 0;
    return n;
}

/** Runs whose bins end elsewhere have a chart of their own; means that a task is missing for are none; nothing of a file's is markup. */
static void test_runs(void)
{
    static const int doubled[] = {64, 128, 256}, even[] = {100, 200, 300};
    natsl_buffer page;
    json_t *runs[] = {loss_example(doubled, 3, 1.0), loss_example(even, 3, 2.0), loss_example(doubled, 2, 3.0)};
    const natsl_eval_result all[] = {{"a", runs[0]}, {"b", runs[1]}, {"c", runs[2]}};
    CU_ASSERT_EQUAL_FATAL(natsl_eval_report(all, 3, &page), NATSL_OK);
    CU_ASSERT_EQUAL(count_of(&page, ">256</text>"), 1);
    CU_ASSERT_EQUAL(count_of(&page, ">300</text>"), 1);
    CU_ASSERT_EQUAL(count_of(&page, "<title>2</title>"), 2); /* of the first run's second bin, the second's first */
    natsl_buffer_free(&page);

    /* a run that ends early has the bins of both others, which differ; and a name that is no text */
    static const int thirds[] = {64, 128, 192};
    json_t *short_first[] = {loss_example(doubled, 2, 1.0), loss_example(doubled, 3, 2.0),
                             loss_example(thirds, 3, 3.0)};
    const natsl_eval_result other[] = {{"x\xff", short_first[0]}, {"y", short_first[1]}, {"z", short_first[2]}};
    CU_ASSERT_EQUAL_FATAL(natsl_eval_report(other, 3, &page), NATSL_OK);
    CU_ASSERT(count_of(&page, ">256</text>") == 1 && count_of(&page, ">192</text>") == 1);
    CU_ASSERT(has(&page, "x\xef\xbf\xbd") && !has(&page, "x\xff"));
    natsl_buffer_free(&page);
    for (int i = 0; i < 3; i++) json_decref(short_first[i]);

    json_t *settings = json_object_get(runs[0], "settings"), *lengths = json_object_get(runs[0], "lengths");
    (void)json_object_set_new(settings, "haystack_sha256", json_string("<b>\x01"));
    (void)json_object_set_new(runs[0], "haystack", json_string("h"));
    CU_ASSERT_EQUAL_FATAL(natsl_eval_report(all, 1, &page), NATSL_OK);
    CU_ASSERT(has(&page, "<code>&lt;b&gt;\xef\xbf\xbd</code>"));
    const size_t points = count_of(&page, "<title>75</title>");
    natsl_buffer_free(&page);
    (void)json_object_set_new(json_array_get(lengths, 0), "score",
                              json_null()); /* of one task the score, of all none */
    CU_ASSERT_EQUAL_FATAL(natsl_eval_report(all, 1, &page), NATSL_OK);
    CU_ASSERT_EQUAL(count_of(&page, "<title>75</title>"), points - 1);
    natsl_buffer_free(&page);
    for (int i = 0; i < 3; i++) json_decref(runs[i]);
}

static void test_files(void)
{
    char directory[] = "/tmp/natsl-test-report-XXXXXX", path[128], command[160];
    CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(directory));
    json_t *one = example("m"), *back = NULL;
    CU_ASSERT_EQUAL(natsl_eval_write_h5(directory, one), NATSL_OK);
    (void)snprintf(path, sizeof path, "%s/results.h5", directory);
    CU_ASSERT_EQUAL(access(path, R_OK), 0);
    (void)snprintf(path, sizeof path, "%s/results.json", directory);
    char *text = json_dumps(one, 0);
    CU_ASSERT_EQUAL(natsl_eval_write_text(path, text, strlen(text)), NATSL_OK);
    CU_ASSERT_EQUAL(natsl_eval_result_read(directory, &back), NATSL_OK);
    CU_ASSERT(json_equal(one, back));
    json_decref(back);
    static const char *const bad[] = {
        "",
        "[]",
        "{}",
        "{\"format\":\"natsl-eval\",\"format_version\":1,\"tasks\":[],\"settings\":{}}",
        "{\"format\":\"natsl-eval\",\"format_version\":1,\"tasks\":[{\"task\":1,\"length\":2}],\"settings\":{}}",
        "{\"format\":\"natsl-eval\",\"format_version\":1,\"tasks\":[{\"task\":\"a\",\"length\":-2}],\"settings\":{}}"};
    for (size_t i = 0; i < COUNT(bad); i++) {
        CU_ASSERT_EQUAL(natsl_eval_write_text(path, bad[i], strlen(bad[i])), NATSL_OK);
        CU_ASSERT_EQUAL(natsl_eval_result_read(path, &back), NATSL_ERR_INPUT);
        CU_ASSERT_PTR_NULL(back);
    }
    free(text);
    json_decref(one);
    (void)snprintf(command, sizeof command, "rm -r %s", directory);
    CU_ASSERT_EQUAL(system(command), 0);
}

int main(void)
{
    static const test_entry tests[] = {
        {"colours and numbers", test_colours},
        {"charts", test_charts},
        {"the page", test_page},
        {"heat map", test_heatmap},
        {"several runs", test_runs},
        {"files", test_files},
    };
    return run_suite("eval_report", tests, COUNT(tests));
}
