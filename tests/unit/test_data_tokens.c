/* test_data_tokens.c - made texts in the tokens of a tokenizer.json, beside those of bytes, which stay what they were. */
#define _GNU_SOURCE /* memmem */
#include "core.h"
#include "data.h"
#include "digest.h"
#include "made_text.h"
#include "measure.h"
#include "rng.h"
#include "utf8.h"

#include "../suite.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MOST 20000  /* tokens of a window here */
#define TEXT 200000 /* bytes of one */

static char directory[256];
static int32_t ids[MOST], targets[MOST];
static int8_t told[MOST];
static natsl_answer answers[4096];

static const char *in_directory(const char *name)
{
    static char path[1024];
    (void)snprintf(path, sizeof path, "%s/%s", directory, name);
    return path;
}

static void write_file(const char *name, const void *bytes, size_t count)
{
    FILE *f = fopen(in_directory(name), "wb");
    if (!f || fwrite(bytes, 1, count, f) != count || fclose(f) != 0) abort();
}

/** Opens a specification in JSON with ' for ". */
static natsl_status open_data(const char *spec, int32_t vocab, const natsl_tokenizer *t, natsl_data **out)
{
    char text[4096];
    natsl_config config;
    json_error_t e;
    memset(&config, 0, sizeof config);
    config.vocab_size = vocab;
    (void)snprintf(text, sizeof text, "%s", spec);
    for (char *p = text; *p; p++) {
        if (*p == '\'') *p = '"';
    }
    json_t *json = json_loads(text, 0, &e);
    if (!json) abort();
    const natsl_corpus_ranks alone = {.comm = MPI_COMM_NULL, .tokenizer = t};
    const natsl_status st =
        natsl_data_open(json, "T.json: data", directory, &config, t ? "json" : "byte", t ? &alone : NULL, 1, out);
    json_decref(json);
    return st;
}

static natsl_data *must_open(const char *spec, int32_t vocab, const natsl_tokenizer *t)
{
    natsl_data *d = NULL;
    EXPECT(open_data(spec, vocab, t, &d) == NATSL_OK, "%s", natsl_error_text());
    CU_ASSERT_PTR_NOT_NULL_FATAL(d);
    return d;
}

/** Another text for each time that one comes in `text`. */
static void change(char *text, size_t size, const char *from, const char *to)
{
    int n = 0;
    for (char *at = text; (at = strstr(at, from)) != NULL; at += strlen(to), n++) {
        if (strlen(text) + strlen(to) >= size) abort();
        memmove(at + strlen(to), at + strlen(from), strlen(at + strlen(from)) + 1);
        memcpy(at, to, strlen(to));
    }
    if (n == 0) abort();
}

/** A tokenizer of tests/golden/tokenizer. "whole": bytes.json without accents, which is never cut; "plain": the same, cut; "crossing": bytes.json
 * with a token " is:", where nothing splits. */
static natsl_tokenizer *open_tokenizer(const char *tokenizer)
{
    static char text[1 << 16];
    const int changed = strcmp(tokenizer, "whole") == 0 || strcmp(tokenizer, "plain") == 0,
              crossing = strcmp(tokenizer, "crossing") == 0;
    const char *name = changed || crossing ? "bytes" : tokenizer;
    char path[1024];
    natsl_tokenizer *t = NULL;
    (void)snprintf(path, sizeof path, "%s/tokenizer/%s.json", NATSL_GOLDEN_DIR, name);
    FILE *f = fopen(path, "rb");
    size_t length = f ? fread(text, 1, sizeof text - 1, f) : 0;
    if (!f || fclose(f) != 0) abort();
    text[length] = '\0';
    if (crossing) {
        change(text, sizeof text, "\"single_word\":true", "\"single_word\":false");
        change(text, sizeof text, "\"use_regex\":true", "\"use_regex\":false");
        change(text, sizeof text, "\"vocab\":{", "\"vocab\":{\"\xc4\xa0is:\":700,");
        change(text, sizeof text, "\"merges\":[", "\"merges\":[[\"\xc4\xa0is\",\":\"],");
        length = strlen(text);
    }
    if (changed) {
        change(
            text, sizeof text, "\"normalizer\":null",
            "\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"NFD\"},{\"type\":\"StripAccents\"}]}");
        if (strcmp(tokenizer, "plain") == 0) change(text, sizeof text, "\"single_word\":true", "\"single_word\":false");
        length = strlen(text);
    }
    EXPECT(natsl_tokenizer_create("json", 0, text, length, path, &t) == NATSL_OK, "%s", natsl_error_text());
    CU_ASSERT_PTR_NOT_NULL_FATAL(t);
    return t;
}

/** Text of ids[0..count), and where each token ends in it (NULL: not wanted). */
static size_t decode(const natsl_tokenizer *t, const int32_t *from, int64_t count, char *text, int64_t *ends)
{
    natsl_decoder *d = NULL;
    natsl_bytes bytes = {0};
    if (natsl_decoder_create(t, 1, &d) != NATSL_OK) abort();
    for (int64_t i = 0; i < count; i++) {
        if (natsl_decoder_add(d, from[i], &bytes) != NATSL_OK) abort();
        if (ends) ends[i] = (int64_t)bytes.length;
    }
    if (natsl_decoder_finish(d, &bytes) != NATSL_OK || bytes.length >= TEXT) abort();
    if (ends && count > 0) ends[count - 1] = (int64_t)bytes.length;
    memcpy(text, bytes.at, bytes.length);
    text[bytes.length] = '\0';
    const size_t length = bytes.length;
    natsl_bytes_free(&bytes);
    natsl_decoder_destroy(&d);
    return length;
}

/** A window into ids, targets, told, answers; its length. */
static int64_t window(natsl_data *d, natsl_data_part part, int64_t index, int64_t tokens, size_t *n_answers)
{
    int64_t count = -1;
    *n_answers = COUNT(answers);
    for (int64_t i = 0; i < tokens; i++) ids[i] = targets[i] = -7, told[i] = 7;
    const natsl_status st =
        natsl_data_window_told(d, part, index, tokens, ids, targets, &count, answers, n_answers, told);
    EXPECT(st == NATSL_OK, "window %lld: %s", (long long)index, natsl_error_text());
    CU_ASSERT_FATAL(st == NATSL_OK && count >= 2 && count <= tokens && targets[count - 1] == -1);
    for (int64_t i = count; i < tokens; i++) CU_ASSERT_FATAL(ids[i] == -7 && targets[i] == -7);
    return count;
}

/** All that a window says, of windows of several lengths. */
static uint64_t digest_of(natsl_data *d)
{
    static const int64_t lengths[] = {700, 1024, 4096, 16384};
    uint64_t sum = 0;
    for (int64_t i = 0; i < 24; i++) {
        for (int part = 0; part < 2; part++) {
            int64_t count = 0;
            size_t n = COUNT(answers);
            EXPECT(natsl_data_window_told(d, (natsl_data_part)part, i, lengths[i % 4], ids, targets, &count, answers,
                                          &n, told) == NATSL_OK,
                   "%s", natsl_error_text());
            sum = natsl_digest_add(sum, natsl_digest(ids, (size_t)count * sizeof *ids));
            sum = natsl_digest_add(sum, natsl_digest(targets, (size_t)count * sizeof *targets));
            sum = natsl_digest_add(sum, natsl_digest(told, (size_t)count));
            for (size_t a = 0; a < n; a++) {
                const int64_t of[3] = {answers[a].begin, answers[a].end, answers[a].again};
                sum = natsl_digest_add(sum, natsl_digest(of, sizeof of));
                sum = natsl_digest_add(sum, natsl_digest(&answers[a].depth, sizeof answers[a].depth));
            }
        }
    }
    return sum;
}

/** Windows of bytes are those that the models that come with natsl were trained on: jobs/models/needle.json has these sources. */
static void test_bytes(void)
{
    static const struct {
        const char *spec;
        uint64_t digest;
    } cases[] = {
        {"[{'kind': 'copy', 'length': [8, 40], 'weight': 0.2},"
         " {'kind': 'needle', 'haystack': 'noise', 'keys': [1, 4], 'questions': [1, 4], 'restate': [0, 1], 'weight': "
         "0.4},"
         " {'kind': 'needle', 'haystack': 'text', 'files': ['story.txt'], 'keys': [1, 4], 'questions': [1, 4],"
         " 'restate': [0, 1], 'weight': 0.4}]",
         0x015288e91f9e54b0},
        {"[{'kind': 'copy', 'length': [12, 40]}, {'kind': 'copy', 'alphabet': 'hex', 'length': 300}]",
         0xd7ff9ab5ed89360b},
        {"[{'kind': 'needle', 'haystack': 'text', 'files': ['story.txt', 'odd.txt'], 'keys': [1, 40], 'questions': [1, "
         "20],"
         " 'values': [1, 3], 'value_kind': 'uuids', 'key_kind': 'syllables', 'loss': 'all'}]",
         0xbd3915e93abc2596},
    };
    for (size_t c = 0; c < COUNT(cases); c++) {
        natsl_data *d = must_open(cases[c].spec, 264, NULL);
        const uint64_t found = digest_of(d);
        EXPECT(found == cases[c].digest, "source %zu: digest 0x%016llx", c, (unsigned long long)found);
        natsl_data_close(&d);
    }
}

/* ---- which tokens hold what ---------------------------------------------------------------------------------------------- */

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

/* ---- needles ------------------------------------------------------------------------------------------------------------- */

/** All that is promised of windows of one source. */
static void needle_windows(const natsl_tokenizer *t, const char *spec, int64_t tokens, int all)
{
    static char text[TEXT], answer[TEXT];
    static int64_t ends[MOST];
    static uint8_t counts[MOST];
    const int32_t vocab = natsl_tokenizer_vocab(t);
    natsl_data *d = must_open(spec, vocab, t);
    natsl_measure *measure = NULL;
    int64_t shortest = tokens, shared = 0;
    CU_ASSERT_FATAL(natsl_measure_create(NATSL_MEASURE_TOKENS, t, &measure) == NATSL_OK);
    EXPECT(natsl_data_check(d, tokens) == NATSL_OK, "%s", natsl_error_text());
    for (int64_t i = 0; i < (tokens > 4000 ? 8 : 24); i++) {
        size_t n = 0;
        const int64_t count = window(d, (natsl_data_part)(i % 2), i / 2, tokens, &n);
        const size_t length = decode(t, ids, count, text, ends);
        const char *question = strstr(text, "\nWhat ");
        CU_ASSERT_FATAL(question != NULL && n >= 1);
        CU_ASSERT_EQUAL(memcmp(text + length - 2, ".\n", 2), 0);
        if (count < shortest) shortest = count;
        memset(counts, 0, sizeof counts);
        int64_t prompt = 0; /* tokens before the first answer to a question */
        for (size_t a = 0; a < n; a++) {
            char value[64] = "", needle[200];
            const int64_t from = answers[a].begin + 1, to = answers[a].end + 1;
            CU_ASSERT_FATAL(from >= 1 && from < to && to <= count);
            for (int64_t k = from; k < to; k++) counts[k - 1] = 1;
            (void)decode(t, ids + from, to - from, answer, NULL);
            const char *colon = strchr(answer, ':');
            if (answers[a].again) { /* each of its tokens holds some of ": V." */
                CU_ASSERT_PTR_NOT_NULL_FATAL(colon);
                CU_ASSERT_EQUAL_FATAL(sscanf(colon, ": %63[0-9a-z-]", value), 1);
                const char *stop = strchr(colon, '.');
                CU_ASSERT_PTR_NOT_NULL_FATAL(stop);
                const int64_t begin = from > 0 ? ends[from - 1] : 0;
                const char *at = text + begin + (colon - answer), *end = text + ends[to - 1] - strlen(stop + 1);
                CU_ASSERT(ends[from] > at - text && ends[to - 2] < end - text && at < question);
            } else {
                if (!prompt) prompt = from;
                /* the answer's bytes and no other: ": V.\n", or one of several values */
                CU_ASSERT_EQUAL_FATAL(sscanf(answer, "%*[:,] %63[0-9a-z-]", value), 1);
                CU_ASSERT(strcmp(answer + 2 + strlen(value), ".\n") == 0 || answer[2 + strlen(value)] == '\0');
            }
            const int size = snprintf(needle, sizeof needle, " is: %s.", value);
            const char *found = memmem(text, length, needle, (size_t)size);
            CU_ASSERT(found != NULL && found < question);
        }
        for (int64_t k = 0; k + 1 < count; k++) CU_ASSERT_EQUAL_FATAL(targets[k], all || counts[k] ? ids[k + 1] : -1);
        /* the prompt has the tokens that eval gives it */
        natsl_ids alone = {0};
        const size_t first = decode(t, ids, prompt, answer, NULL);
        const size_t skip = answer[0] == ' '; /* bytes.json puts a space before a text */
        CU_ASSERT_EQUAL(natsl_measure_ids(measure, answer + skip, first - skip, 0, &alone, &shared), NATSL_OK);
        EXPECT((int64_t)alone.count == prompt && memcmp(alone.at, ids, alone.count * sizeof *ids) == 0,
               "%zu tokens of the prompt, %lld in the window", alone.count, (long long)prompt);
        natsl_ids_free(&alone);
        /* marks: tokens that hold any of a needle's sentence */
        memset(counts, 0, sizeof counts);
        for (const char *at = text; (at = strstr(at, "One of the special magic ")) != NULL;) {
            const char *end = strchr(at, '.') + 1;
            for (int64_t k = 0; k < count; k++)
                if (ends[k] > at - text && (k == 0 ? 0 : ends[k - 1]) < end - text) counts[k] = 1;
            at = end;
        }
        for (int64_t k = 0; k < count; k++) {
            const int behind = ends[k] > question - text;
            EXPECT(told[k] == (counts[k] ? 1
                               : behind  ? -1
                                         : 0),
                   "token %lld of %lld is marked %d", (long long)k, (long long)count, told[k]);
        }
    }
    /* a line of noise may have 60 tokens */
    EXPECT(tokens - shortest <= tokens / 2048 + (strstr(spec, "'text'") ? 24 : 60), "a window of %lld tokens of %lld",
           (long long)shortest, (long long)tokens);
    natsl_measure_destroy(&measure);
    natsl_data_close(&d);
}

static void test_needles(void)
{
    static const char *const names[] = {"bytes", "qwen", "metaspace", "plain", "crossing"};
    for (size_t k = 0; k < COUNT(names); k++) {
        natsl_tokenizer *t = open_tokenizer(names[k]);
        needle_windows(t, "[{'kind': 'needle'}]", 500, 0);
        needle_windows(t, "[{'kind': 'needle', 'keys': [1, 4], 'questions': [1, 4], 'restate': [0, 3], 'loss': 'all'}]",
                       3000, 1);
        needle_windows(t,
                       "[{'kind': 'needle', 'keys': [1, 4], 'questions': [1, 4], 'restate': [0, 2], 'haystack': 'text',"
                       " 'files': ['story.txt'], 'key_kind': 'syllables', 'value_kind': 'words'}]",
                       2048, 0);
        needle_windows(t,
                       "[{'kind': 'needle', 'keys': 3, 'questions': 2, 'haystack': 'text', 'files': ['odder.txt'],"
                       " 'value_kind': 'uuids', 'key_kind': 'uuids'}]",
                       5000, 0);
        needle_windows(t, "[{'kind': 'needle', 'keys': [1, 2], 'values': 3, 'questions': 2}]", MOST, 0);
        needle_windows(t, "[{'kind': 'needle', 'keys': [900, 1000], 'questions': 1000, 'restate': 64}]", 900, 0);
        needle_windows(t, "[{'kind': 'needle', 'haystack': 'text', 'files': ['mixed.txt']}]", 6000, 0);
        natsl_tokenizer_destroy(&t);
    }
}

/** The same whoever asks, and whatever was asked before; special tokens come first and take their room. */
static void test_pure(void)
{
    enum { N = 10, T = 700 };
    static int32_t first[2][N][T], others[2][N][T];
    natsl_tokenizer *t = open_tokenizer("bytes");
    static const char spec[] = "[{'kind': 'needle', 'keys': [1, 4], 'questions': [1, 3]}, {'kind': 'copy'},"
                               " {'kind': 'needle', 'haystack': 'text', 'files': ['story.txt']}]";
    natsl_data *a = must_open(spec, 700, t), *b = must_open(spec, 700, t);
    size_t n = 0;
    for (int part = 0; part < 2; part++)
        for (int i = 0; i < N; i++) {
            const int64_t count = window(a, (natsl_data_part)part, i, T, &n);
            memcpy(first[part][i], ids, (size_t)count * sizeof *ids);
            memcpy(others[part][i], targets, (size_t)count * sizeof *ids);
        }
    for (int part = 1; part >= 0; part--)
        for (int i = N - 1; i >= 0; i--) {
            const int64_t count = window(b, (natsl_data_part)part, i, T, &n);
            CU_ASSERT_EQUAL(memcmp(first[part][i], ids, (size_t)count * sizeof *ids), 0);
            CU_ASSERT_EQUAL(memcmp(others[part][i], targets, (size_t)count * sizeof *ids), 0);
            CU_ASSERT_NOT_EQUAL(memcmp(first[!part][i], ids, (size_t)count * sizeof *ids), 0);
        }
    natsl_data_close(&a);
    natsl_data_close(&b);
    a = must_open("[{'kind': 'needle', 'questions': 2, 'keys': 2}]", 700, t);
    b = must_open("[{'kind': 'needle', 'questions': 2, 'keys': 2, 'special_tokens': true}]", 700, t);
    for (int i = 0; i < N; i++) {
        const int64_t count = window(a, NATSL_DATA_TRAIN, i, T - 1, &n);
        memcpy(first[0][0], ids, sizeof first[0][0]);
        memcpy(first[0][1], targets, sizeof first[0][1]);
        const int64_t begin = answers[0].begin;
        size_t same = 0;
        CU_ASSERT_EQUAL_FATAL(window(b, NATSL_DATA_TRAIN, i, T, &same), count + 1);
        CU_ASSERT(ids[0] == 0 && targets[0] == -1 && told[0] == 0 && same == n && answers[0].begin == begin + 1);
        CU_ASSERT_EQUAL(memcmp(first[0][0], ids + 1, (size_t)count * sizeof *ids), 0);
        CU_ASSERT_EQUAL(memcmp(first[0][1], targets + 1, (size_t)count * sizeof *ids), 0);
    }
    natsl_data_close(&a);
    natsl_data_close(&b);
    natsl_tokenizer_destroy(&t);
}

/** Haystacks of training windows come from the first part of the text, of validation from what is held out. */
static void test_held_out(void)
{
    static char text[TEXT];
    char *bytes = malloc(100000);
    for (int i = 0; i < 100000; i++) bytes[i] = i % 20 == 18 ? '.' : i % 20 == 19 ? ' ' : i < 80000 ? '<' : '>';
    write_file("split.txt", bytes, 100000);
    free(bytes);
    natsl_tokenizer *t = open_tokenizer("qwen");
    natsl_data *d = must_open(
        "[{'kind': 'needle', 'haystack': 'text', 'files': ['split.txt'], 'validation': 0.2, 'keys': [1, 9]}]", 600, t);
    for (int64_t i = 0; i < 40; i++) {
        for (int part = 0; part < 2; part++) {
            size_t n = 0;
            (void)decode(t, ids, window(d, (natsl_data_part)part, i, i % 2 ? 3000 : 600, &n), text, NULL);
            CU_ASSERT_PTR_NULL(strchr(text, part ? '<' : '>'));
            CU_ASSERT_PTR_NOT_NULL(strchr(text, part ? '>' : '<'));
        }
    }
    natsl_data_close(&d);
    natsl_tokenizer_destroy(&t);
}

/** From what natsl_data_check says on every window is made. */
static void test_least(void)
{
    static const char *const specs[] = {
        "[{'kind': 'needle', 'keys': [1, 50], 'questions': 50, 'restate': 3}]",
        "[{'kind': 'needle', 'keys': 9, 'values': 5, 'haystack': 'text', 'files': ['story.txt'], 'key_kind': 'uuids'}]",
        "[{'kind': 'copy', 'length': [5, 60]}]"};
    natsl_tokenizer *t = open_tokenizer("qwen");
    for (size_t c = 0; c < COUNT(specs); c++) {
        natsl_data *d = must_open(specs[c], 600, t);
        int64_t least = 2;
        while (natsl_data_check(d, least) != NATSL_OK) {
            CU_ASSERT_PTR_NOT_NULL_FATAL(strstr(natsl_error_text(), "T.json: data[0]: windows of "));
            least++;
            CU_ASSERT_FATAL(least < 500);
        }
        CU_ASSERT(least > 100);
        for (int64_t tokens = least; tokens < least + 12; tokens++)
            for (int64_t i = 0; i < 20; i++) {
                size_t n = 0;
                (void)window(d, NATSL_DATA_TRAIN, i, tokens, &n);
                CU_ASSERT(n >= 1);
            }
        int64_t count = 0;
        for (int64_t tokens = 2; tokens < least; tokens += 1 + tokens / 3) {
            const natsl_status st = natsl_data_window(d, NATSL_DATA_TRAIN, 0, tokens, ids, targets, &count, NULL, NULL);
            CU_ASSERT(st == NATSL_ERR_USAGE || (st == NATSL_OK && count <= tokens));
        }
        natsl_data_close(&d);
    }
    natsl_tokenizer_destroy(&t);
}

/* ---- copies -------------------------------------------------------------------------------------------------------------- */

/** A line said again has the tokens that it had, and those behind its cue count. */
static void test_copies(void)
{
    static const char *const names[] = {"bytes", "qwen", "metaspace"};
    static char text[TEXT];
    static int64_t ends[MOST];
    for (size_t k = 0; k < COUNT(names); k++) {
        natsl_tokenizer *t = open_tokenizer(names[k]);
        natsl_data *d = must_open("[{'kind': 'copy', 'length': [5, 40]}]", 600, t);
        for (int64_t i = 0; i < 20; i++) {
            size_t n = 0;
            const int64_t count = window(d, (natsl_data_part)(i % 2), i, 1000, &n);
            const size_t length = decode(t, ids, count, text, ends);
            int64_t counted = 0;
            CU_ASSERT(n >= 1 && count > 1000 - 42 && text[length - 1] == '\n');
            for (size_t a = 0; a < n; a++) {
                const int64_t from = answers[a].begin + 1, to = answers[a].end + 1;
                const int64_t first = (int64_t)(answers[a].depth * (double)count + 0.5);
                CU_ASSERT_FATAL(from >= 1 && from < to && to <= count);
                int64_t line = from - 1; /* the line's first token */
                while (line > 0 && text[ends[line - 1] - 1] != '\n') line--;
                const int64_t begin = line > 0 ? ends[line - 1] : 0;
                CU_ASSERT_EQUAL(text[ends[to - 1] - 1], '\n');
                CU_ASSERT_FATAL(first < line);
                CU_ASSERT_EQUAL(memcmp(ids + first, ids + line, (size_t)(to - line) * sizeof *ids), 0);
                /* the cue is in the tokens before, and the last of these has some of it */
                CU_ASSERT(ends[from - 1] - begin >= 3 && (from - 2 < line || ends[from - 2] - begin < 3));
                for (int64_t j = from; j < to; j++, counted++) CU_ASSERT_EQUAL_FATAL(targets[j - 1], ids[j]);
            }
            for (int64_t j = 0; j < count; j++) counted -= targets[j] >= 0;
            CU_ASSERT_EQUAL(counted, 0);
        }
        natsl_data_close(&d);
        natsl_tokenizer_destroy(&t);
    }
}

/* ---- refused ------------------------------------------------------------------------------------------------------------- */

static void test_refused(void)
{
    static const struct {
        const char *tokenizer, *spec, *words;
    } cases[] = {
        /* digits.json puts a space before each digit */
        {"digits", "[{'kind': 'needle'}]", "T.json: data[0].key_kind: the model's tokenizer cannot write"},
        {"digits", "[{'kind': 'needle', 'key_kind': 'syllables'}]",
         "T.json: data[0].value_kind: the model's tokenizer cannot write"},
        {"digits", "[{'kind': 'copy', 'alphabet': 'hex'}]", "T.json: data[0].alphabet: expected another one"},
        /* without its accents the text is shorter, and as it is never cut nobody knows where */
        {"whole", "[{'kind': 'needle', 'haystack': 'text', 'files': ['story.txt']}]",
         "T.json: data[0].files: the tokenizer changes text and does not split it"},
        {"qwen", "[{'kind': 'needle', 'haystack': 'text', 'files': ['none.txt']}]", "T.json: data[0].files: "},
        {"qwen", "[{'kind': 'needle', 'haystack': 'text'}]", "T.json: data[0].files: "},
        {"qwen", "[{'kind': 'needle', 'special_tokens': 1}]", "T.json: data[0].special_tokens: expected true or false"},
        {NULL, "[{'kind': 'needle', 'special_tokens': true}]", "T.json: data[0].special_tokens: expected false"},
    };
    for (size_t c = 0; c < COUNT(cases); c++) {
        natsl_tokenizer *t = cases[c].tokenizer ? open_tokenizer(cases[c].tokenizer) : NULL;
        natsl_data *d = NULL;
        EXPECT(open_data(cases[c].spec, 700, t, &d) == NATSL_ERR_INPUT, "%s", cases[c].spec);
        EXPECT(strstr(natsl_error_text(), cases[c].words) != NULL, "%s: %s", cases[c].spec, natsl_error_text());
        CU_ASSERT_PTR_NULL(d);
        natsl_tokenizer_destroy(&t);
    }
}

/** 100 KB of sentences. */
static void write_texts(void)
{
    char *story = malloc(101000), *mixed = malloc(100000);
    size_t at = 0;
    for (int i = 0; at < 100000; i++)
        at += (size_t)sprintf(story + at, "%s %d is here, \xc3\xbc%d. ", i % 3 ? "Word" : "A long sentence about word",
                              i * 7919 % 1000, i);
    write_file("story.txt", story, at);
    natsl_rng rng = {7};
    for (size_t i = 0, left = 0, kind = 0; i < 100000; i++, left--) { /* prose and numbers take turns */
        if (left == 0) kind = !kind, left = 200 + (size_t)natsl_rng_below(&rng, 3000);
        mixed[i] = kind ? story[i] : "0123456789-, "[natsl_rng_below(&rng, 13)];
    }
    write_file("mixed.txt", mixed, 100000);
    free(mixed);
    for (size_t i = 0; i < 5000; i++) story[i] = (char)(i * i * 31 + i / 7); /* no UTF-8 */
    write_file("odd.txt", story, 5000);
    for (size_t i = 0; i < 5000; i++)
        story[i] = story[i] == 0 ? ' ' : story[i]; /* so that C's functions go through it */
    write_file("odder.txt", story, 5000);
    free(story);
}

int main(void)
{
    static const test_entry tests[] = {{"bytes as ever", test_bytes},
                                       {"places", test_places},
                                       {"needles", test_needles},
                                       {"pure function", test_pure},
                                       {"a decoder that holds back", test_held_back},
                                       {"held out", test_held_out},
                                       {"least", test_least},
                                       {"copies", test_copies},
                                       {"refused", test_refused}};
    static const char *const files[] = {"story.txt", "odd.txt", "odder.txt", "split.txt", "mixed.txt"};
    const char *temporary = getenv("TMPDIR");
    (void)snprintf(directory, sizeof directory, "%s/natsl-data-XXXXXX", temporary && *temporary ? temporary : "/tmp");
    if (!mkdtemp(directory)) return 1;
    write_texts();
    const int failed = run_suite("data in tokens", tests, COUNT(tests));
    for (size_t i = 0; i < COUNT(files); i++) (void)unlink(in_directory(files[i]));
    return failed || rmdir(directory) != 0;
}
