/* test_tokenizer.c - byte tokenizer, and text that is shown while it is being made: unfinished characters and stop texts, cut
 * everywhere. */
#include "tokenizer.h"
#include "utf8.h"

#include "../suite.h"

#include <CUnit/Basic.h>
#include <natsl/status.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static natsl_status refused(const char *kind, int32_t vocab)
{
    natsl_tokenizer *t = NULL;
    const natsl_status st = natsl_tokenizer_create(kind, vocab, NULL, 0, "", &t);
    natsl_tokenizer_destroy(&t);
    return st;
}

static void test_bytes(void)
{
    natsl_tokenizer *t = NULL;
    natsl_decoder *d = NULL;
    natsl_ids ids = {0};
    natsl_bytes out = {0};
    char text[256];
    CU_ASSERT_EQUAL_FATAL(natsl_tokenizer_create("byte", 264, NULL, 0, "", &t), NATSL_OK);
    CU_ASSERT_EQUAL_FATAL(natsl_decoder_create(t, 0, &d), NATSL_OK);
    for (int i = 0; i < 256; i++) text[i] = (char)i; /* also NUL, and bytes that are no UTF-8 */
    CU_ASSERT_EQUAL(natsl_tokenizer_encode(t, text, 256, 1, &ids), NATSL_OK);
    CU_ASSERT_EQUAL_FATAL(ids.count, 256);
    for (int i = 0; i < 256; i++) {
        CU_ASSERT_EQUAL(ids.at[i], i);
        CU_ASSERT_EQUAL(natsl_decoder_add(d, ids.at[i], &out), NATSL_OK);
    }
    CU_ASSERT(out.length == 256 && memcmp(out.at, text, 256) == 0);
    static const int32_t special[] = {256, 263, 264, -1, INT32_MAX, INT32_MIN};
    for (size_t i = 0; i < sizeof special / sizeof special[0]; i++)
        CU_ASSERT_EQUAL(natsl_decoder_add(d, special[i], &out), NATSL_OK);
    CU_ASSERT(natsl_decoder_finish(d, &out) == NATSL_OK && out.length == 256);
    CU_ASSERT(natsl_tokenizer_encode(t, "", 0, 0, &ids) == NATSL_OK && ids.count == 256);
    CU_ASSERT(natsl_tokenizer_is_byte(t) && natsl_tokenizer_cuts(t) && natsl_tokenizer_vocab(t) == 264);
    natsl_decoder_destroy(&d);
    natsl_tokenizer_destroy(&t);
    natsl_ids_free(&ids);
    natsl_bytes_free(&out);
    CU_ASSERT_EQUAL(refused("none", 256), NATSL_ERR_INPUT);
    CU_ASSERT_EQUAL(refused("none", 255), NATSL_ERR_INPUT);
    CU_ASSERT_EQUAL(refused("byte", 255), NATSL_ERR_INPUT);
    CU_ASSERT_EQUAL(refused("", 300), NATSL_ERR_INPUT);
    CU_ASSERT_EQUAL(refused("sentencepiece", 300), NATSL_ERR_INPUT);
}

static void test_utf8(void)
{
    static const struct {
        const char *text;
        size_t whole;
    } cases[] = {
        {"", 0},
        {"abc", 3},
        {"ab\xc3", 2},     /* begun */
        {"ab\xc3\xa4", 4}, /* finished */
        {"\xe2\x82", 0},   /* two of three */
        {"\xe2\x82\xac", 3},
        {"x\xf0\x9f\x98", 1}, /* three of four */
        {"x\xf0\x9f\x98\x80", 5},
        {"\x80\x80", 2},     /* never was a character */
        {"\xc3\xa4\xa4", 3}, /* one too many */
        {"\xc0", 1},         /* cannot begin one */
        {"\xff", 1},
        {"\xe0\x80", 2}, /* overlong: can no longer become one */
        {"\xe0\xa0", 0},
        {"\xed\xa0", 2}, /* a surrogate */
        {"\xed\x9f", 0},
        {"\xf4\x90", 2}, /* past U+10FFFF */
        {"\xf4\x8f", 0},
        {"\xf0\x80\x80", 3}, /* overlong */
        {"\xf5\x80", 2},
        {"\xe2\xe2", 1}, /* the first will not be finished, the second may */
        {"\xf0\x9f\x98\x80\xf0", 4},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const size_t got = natsl_utf8_whole(cases[i].text, strlen(cases[i].text));
        if (got != cases[i].whole) {
            fprintf(stderr, "case %zu: %zu bytes, expected %zu\n", i, got, cases[i].whole);
            CU_FAIL("utf-8");
        }
    }
}

/** Feeds text in pieces of `step` bytes. shown [>= length + 1] gets what came out; returns whether it stopped. Checks that
 * nothing is shown that does not end whole. */
static int feed(const char *const *stops, size_t n_stops, const char *text, size_t step, char *shown)
{
    natsl_text_stream *s = NULL;
    const char *ready = NULL;
    size_t length = 0, out = 0;
    int stopped = 0;
    CU_ASSERT_EQUAL_FATAL(natsl_text_stream_create(stops, n_stops, &s), NATSL_OK);
    for (size_t at = 0, n = strlen(text); at < n; at += step) {
        CU_ASSERT_EQUAL_FATAL(
            natsl_text_stream_add(s, text + at, n - at < step ? n - at : step, &ready, &length, &stopped), NATSL_OK);
        memcpy(shown + out, ready, length);
        out += length;
        if (!stopped) CU_ASSERT_EQUAL(natsl_utf8_whole(shown, out), out);
    }
    natsl_text_stream_finish(s, &ready, &length);
    memcpy(shown + out, ready, length);
    shown[out + length] = '\0';
    natsl_text_stream_destroy(&s);
    CU_ASSERT_PTR_NULL(s);
    return stopped;
}

static void test_stops(void)
{
    static const struct {
        const char *stops[3];
        size_t n;
        const char *text, *shown;
        int stopped;
    } cases[] = {
        {{0}, 0, "plain text", "plain text", 0},
        {{"END"}, 1, "text END more", "text ", 1},
        {{"END"}, 1, "ENDlich", "", 1},
        {{"END"}, 1, "EN EN", "EN EN", 0}, /* begun at the end, never finished: shown */
        {{"END"}, 1, "EENDX", "E", 1},     /* begins inside a false beginning */
        {{"aab"}, 1, "aaab", "a", 1},
        {{"abab"}, 1, "abaabab!", "aba", 1},
        {{"X", "abc"}, 2, "ababcX", "ab", 1},
        {{"abcd", "bc"}, 2, "abcx", "a", 1}, /* the longer one fails, the shorter is inside it */
        {{"abcd", "bc"}, 2, "abc", "a", 1},  /* and also when the text ends there */
        {{"abcd", "bc"}, 2, "abcd", "", 1},  /* begins first */
        {{"\n\n"}, 1, "a\nb\n\nc", "a\nb", 1},
        {{"\xc3\xa4"}, 1, "x\xc3\xb6y\xc3\xa4z", "x\xc3\xb6y", 1},
        {{"stop"}, 1, "\xf0\x9f\x98\x80 stop", "\xf0\x9f\x98\x80 ", 1},
        {{"stop"}, 1, "cut \xf0\x9f\x98", "cut \xf0\x9f\x98", 0}, /* an unfinished end comes at the end */
        {{"stop"}, 1, "cut \xf0\x9fstop", "cut \xf0\x9f", 1},
        {{"stop"}, 1, "", "", 0},
    };
    char shown[256];
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        for (size_t step = 1; step <= 12; step++) {
            const int stopped = feed(cases[i].stops, cases[i].n, cases[i].text, step, shown);
            /* "abc" alone: whether "abcd" will come is known only at the end, when nothing more is added */
            const int late = i == 9;
            if (strcmp(shown, cases[i].shown) != 0 || (!late && stopped != cases[i].stopped)) {
                fprintf(stderr, "case %zu, pieces of %zu: '%s' stopped %d, expected '%s' stopped %d\n", i, step, shown,
                        stopped, cases[i].shown, cases[i].stopped);
                CU_FAIL("stop text");
            }
        }
    }
    natsl_text_stream *s = NULL;
    const char *const empty[] = {"a", ""};
    CU_ASSERT_EQUAL(natsl_text_stream_create(empty, 2, &s), NATSL_ERR_USAGE);
    CU_ASSERT_PTR_NULL(s);
    natsl_text_stream_destroy(&s);
}

/** Text is shown as soon as nothing speaks against it, and the stream's memory does not grow with what was shown. */
static void test_prompt(void)
{
    natsl_text_stream *s = NULL;
    const char *ready = NULL, *const stops[] = {"zz"};
    size_t length = 0;
    int stopped = 0;
    CU_ASSERT_EQUAL_FATAL(natsl_text_stream_create(stops, 1, &s), NATSL_OK);
    for (int i = 0; i < 100000; i++) {
        CU_ASSERT_EQUAL_FATAL(natsl_text_stream_add(s, "abc", 3, &ready, &length, &stopped), NATSL_OK);
        CU_ASSERT_EQUAL_FATAL(length, 3);
        if (memcmp(ready, "abc", 3) != 0) CU_FAIL_FATAL("other text");
    }
    CU_ASSERT_EQUAL(natsl_text_stream_add(s, "az", 2, &ready, &length, &stopped), NATSL_OK);
    CU_ASSERT_EQUAL(length, 1);
    CU_ASSERT_EQUAL(natsl_text_stream_add(s, "", 0, &ready, &length, &stopped), NATSL_OK);
    CU_ASSERT_EQUAL(length, 0);
    CU_ASSERT_EQUAL(natsl_text_stream_add(s, "zb", 2, &ready, &length, &stopped), NATSL_OK);
    CU_ASSERT_EQUAL(length, 0);
    CU_ASSERT(stopped);
    CU_ASSERT_EQUAL(natsl_text_stream_add(s, "more", 4, &ready, &length, &stopped), NATSL_OK);
    CU_ASSERT_EQUAL(length, 0);
    natsl_text_stream_finish(s, &ready, &length);
    CU_ASSERT_EQUAL(length, 0);
    natsl_text_stream_destroy(&s);
}

/** Whole characters only: of every length, cut short, with each byte wrong. */
static void test_character(void)
{
    static const char *const whole[] = {"a", "\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x90\x9f"};
    static const char *const none[] = {"\x80", "\xc0\xaf", "\xe0\x9f\xbf", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xff"};
    for (size_t n = 1; n <= 4; n++) {
        char text[8];
        (void)snprintf(text, sizeof text, "%sx", whole[n - 1]);
        CU_ASSERT_EQUAL(natsl_utf8_character(text, n + 1), n);
        for (size_t left = 0; left < n; left++) CU_ASSERT_EQUAL(natsl_utf8_character(text, left), 0);
        for (size_t i = 1; i < n; i++) {
            text[i] = 'x';
            CU_ASSERT_EQUAL(natsl_utf8_character(text, n), 0);
            text[i] = whole[n - 1][i];
        }
    }
    for (size_t i = 0; i < COUNT(none); i++) CU_ASSERT_EQUAL(natsl_utf8_character(none[i], strlen(none[i])), 0);
}

/** Tokens as text up to a stop text, and what is held back at the end. */
static void test_token_text(void)
{
    static const char *const stops[] = {"stop"}, *const empty[] = {""};
    static const struct {
        const char *tokens, *shown;
        int stopped;
    } cases[] = {{"go on", "go on", 0},
                 {"a stop here", "a ", 1},
                 {"a sto", "a sto", 0},
                 {"stop", "", 1},
                 {"\xe2\x82", "\xe2\x82", 0}};
    natsl_tokenizer *t = NULL;
    natsl_token_text *words = NULL;
    CU_ASSERT_EQUAL_FATAL(natsl_tokenizer_create("byte", 256, NULL, 0, "", &t), NATSL_OK);
    CU_ASSERT_EQUAL(natsl_token_text_create(t, empty, 1, &words), NATSL_ERR_USAGE);
    CU_ASSERT_PTR_NULL(words);
    for (size_t c = 0; c < COUNT(cases); c++) {
        char got[64] = "";
        const char *ready = NULL;
        size_t length = 0;
        int stopped = 0;
        CU_ASSERT_EQUAL_FATAL(natsl_token_text_create(t, stops, 1, &words), NATSL_OK);
        CU_ASSERT_EQUAL(natsl_token_text_before(words, 's'), NATSL_OK); /* no part of the text */
        for (const char *p = cases[c].tokens; *p && !stopped; p++) {
            CU_ASSERT_EQUAL(natsl_token_text_add(words, (unsigned char)*p, &ready, &length, &stopped), NATSL_OK);
            strncat(got, ready, length);
        }
        CU_ASSERT_EQUAL(stopped, cases[c].stopped);
        CU_ASSERT_EQUAL(natsl_token_text_finish(words, &ready, &length, &stopped), NATSL_OK);
        strncat(got, ready, length);
        EXPECT(strcmp(got, cases[c].shown) == 0 && stopped == cases[c].stopped, "%s: %s", cases[c].tokens, got);
        natsl_token_text_destroy(&words);
        CU_ASSERT_PTR_NULL(words);
    }
    natsl_tokenizer_destroy(&t);
}

int main(void)
{
    static const test_entry tests[] = {{"byte tokenizer", test_bytes}, {"unfinished characters", test_utf8},
                                       {"stop texts", test_stops},     {"shown at once", test_prompt},
                                       {"characters", test_character}, {"tokens as text", test_token_text}};
    return run_suite("tokenizer", tests, sizeof tests / sizeof tests[0]);
}
