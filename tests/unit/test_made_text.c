/* test_made_text.c - which tokens of a tokenizer.json hold which bytes of a text. */
#include "made_check.h"
#include "made_text.h"
#include "rng.h"
#include "utf8.h"

/** Random text with broken characters: the tokens of a span are those that its decoded tokens' places say; what is between cuts has the
 * tokens that it has alone. */
static void test_places(void)
{
    static const char *const names[] = {"qwen", "metaspace"};
    static const char *const words[] = {"One",      " of",  " 123456", ": ",     ".\n", "\n\n",    "\xc3\xbc",
                                        "\xe2\x82", "\xff", "'ll",     "-magic", "  ",  "numbers", "\xf0\x9f\x98\x80",
                                        "is",       "\tthe"};
    static char text[4000], decoded[TEXT];
    static int64_t ends[8000];
    for (size_t k = 0; k < COUNT(names); k++) {
        natsl_tokenizer *t = open_tokenizer(names[k]);
        natsl_made_text *made = NULL;
        natsl_rng rng = {k + 3};
        CU_ASSERT_FATAL(natsl_made_create(t, &made) == NATSL_OK);
        int inside = 0, broken = 0;
        for (int round = 0; round < 60; round++) {
            natsl_text_span spans[40];
            natsl_ids expect = {0};
            int64_t cuts[3], length = 0, count = 0;
            size_t n = 0;
            for (int w = 0; w < 200; w++) {
                const char *word = words[natsl_rng_below(&rng, COUNT(words))];
                memcpy(text + length, word, strlen(word));
                length += (int64_t)strlen(word);
            }
            for (int c = 0; c < 3; c++) {
                const int64_t from = length * c / 3;
                for (cuts[c] = from;
                     (unsigned char)text[cuts[c]] >= 128 || (cuts[c] > 0 && (unsigned char)text[cuts[c] - 1] >= 128);)
                    cuts[c]++;
            }
            while (n < COUNT(spans)) {
                const int64_t a = (int64_t)natsl_rng_below(&rng, (uint64_t)length - 30),
                              b = a + 1 + (int64_t)natsl_rng_below(&rng, 30);
                if ((unsigned char)text[a] < 128 && (unsigned char)text[b - 1] < 128)
                    spans[n++] = (natsl_text_span){.begin = a, .end = b};
            }
            EXPECT(natsl_made_encode(made, text, length, 1, cuts, 3) == NATSL_OK, "%s", natsl_error_text());
            EXPECT(natsl_made_locate(made, spans, n) == NATSL_OK, "%s", natsl_error_text());
            const int32_t *of = natsl_made_ids(made, &count);
            const size_t bytes = decode(t, of, count, decoded, ends);
            for (size_t i = 0; i < n; i++) {
                natsl_bytes before = {0}, with = {0}; /* the span in mended text */
                size_t used = 0;
                if (natsl_utf8_mend(&before, text, (size_t)spans[i].begin, 1, &used) != NATSL_OK ||
                    natsl_utf8_mend(&with, text, (size_t)spans[i].end, 1, &used) != NATSL_OK)
                    abort();
                const int64_t from = (int64_t)before.length, to = (int64_t)with.length;
                broken += from != spans[i].begin;
                CU_ASSERT_FATAL((size_t)to <= bytes &&
                                memcmp(decoded + from, with.at + from, (size_t)(to - from)) == 0);
                int64_t first = 0, last = 0;
                while (ends[first] <= from) first++;
                while (ends[last] < to) last++;
                EXPECT(spans[i].first == first && spans[i].last == last + 1,
                       "%s: bytes %lld..%lld: %lld..%lld for %lld..%lld", names[k], (long long)from, (long long)to,
                       (long long)spans[i].first, (long long)spans[i].last, (long long)first, (long long)last + 1);
                inside += first > 0 && ends[first - 1] < from;
                natsl_bytes_free(&before);
                natsl_bytes_free(&with);
            }
            /* the first part as a text of its own, as a prompt is */
            if (natsl_tokenizer_encode(t, text, (size_t)cuts[1], 0, &expect) != NATSL_OK) abort();
            CU_ASSERT(cuts[0] > 0 || memcmp(of, expect.at, expect.count * sizeof *of) == 0);
            natsl_ids_free(&expect);
        }
        EXPECT(inside > 100 && broken > 100, "%d inside of a token, %d behind a broken character", inside, broken);
        natsl_made_destroy(&made);
        natsl_tokenizer_destroy(&t);
    }
}

/** A decoder that holds a token back until the next one comes: the whole word counts. */
static void test_held_back(void)
{
    static const char json[] =
        "{\"pre_tokenizer\":{\"type\":\"WhitespaceSplit\"},\"decoder\":{\"type\":\"BPEDecoder\",\"suffix\":\"</w>\"},"
        "\"model\":{\"type\":\"BPE\",\"end_of_word_suffix\":\"</w>\",\"vocab\":{\"1\":0,\"2\":1,\"3\":2,\"12\":3,"
        "\",</w>\":4,\":</w>\":5},\"merges\":[[\"1\",\"2\"]]}}";
    static const char text[] = ": 123, :";
    natsl_tokenizer *t = NULL;
    natsl_made_text *made = NULL;
    natsl_text_span spans[] = {
        {.begin = 0, .end = 1}, {.begin = 2, .end = 5}, {.begin = 4, .end = 5}, {.begin = 7, .end = 8}};
    int64_t count = 0;
    CU_ASSERT_EQUAL_FATAL(natsl_tokenizer_create("json", 0, json, sizeof json - 1, "test", &t), NATSL_OK);
    CU_ASSERT_EQUAL_FATAL(natsl_made_create(t, &made), NATSL_OK);
    CU_ASSERT_EQUAL_FATAL(natsl_made_encode(made, text, sizeof text - 1, 1, NULL, 0), NATSL_OK);
    (void)natsl_made_ids(made, &count);
    CU_ASSERT_EQUAL(count, 5);
    CU_ASSERT_EQUAL(natsl_made_locate(made, spans, COUNT(spans)), NATSL_OK);
    CU_ASSERT(spans[0].first == 0 && spans[0].last == 1);
    CU_ASSERT(spans[1].first == 1 && spans[1].last == 4);
    CU_ASSERT(spans[2].first == 1 && spans[2].last == 4);
    CU_ASSERT(spans[3].first == 4 && spans[3].last == 5);
    natsl_made_destroy(&made);
    natsl_tokenizer_destroy(&t);
}

int main(void)
{
    static const test_entry tests[] = {{"places", test_places}, {"a decoder that holds back", test_held_back}};
    return run_suite("made text", tests, COUNT(tests));
}
