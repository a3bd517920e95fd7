/* test_data_tokens.c - made texts in the tokens of a tokenizer.json, beside those of bytes, which stay what they were. */
#define _GNU_SOURCE /* memmem, scratch.h */
#include "core.h"
#include "data_check.h"
#include "digest.h"
#include "made_check.h"
#include "measure.h"
#include "rng.h"

static int8_t told[MOST];
static natsl_answer answers[4096];

/** Opens a specification for a model with this tokenizer.json; NULL: of bytes. */
static natsl_status spec_with(const char *spec, int32_t vocab, const natsl_tokenizer *t, natsl_data **out)
{
    const natsl_corpus_ranks alone = {.comm = MPI_COMM_NULL, .tokenizer = t};
    return open_spec(spec, vocab, t ? "json" : "byte", t ? &alone : NULL, 1, out);
}

static natsl_data *open_with(const char *spec, int32_t vocab, const natsl_tokenizer *t)
{
    natsl_data *d = NULL;
    EXPECT(spec_with(spec, vocab, t, &d) == NATSL_OK, "%s", natsl_error_text());
    CU_ASSERT_PTR_NOT_NULL_FATAL(d);
    return d;
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
        natsl_data *d = open_with(cases[c].spec, 264, NULL);
        const uint64_t found = digest_of(d);
        EXPECT(found == cases[c].digest, "source %zu: digest 0x%016llx", c, (unsigned long long)found);
        natsl_data_close(&d);
    }
}

/* ---- needles ------------------------------------------------------------------------------------------------------------- */

/** All that is promised of windows of one source. */
static void needle_windows(const natsl_tokenizer *t, const char *spec, int64_t tokens, int all)
{
    static char text[TEXT], answer[TEXT];
    static int64_t ends[MOST];
    static uint8_t counts[MOST];
    const int32_t vocab = natsl_tokenizer_vocab(t);
    natsl_data *d = open_with(spec, vocab, t);
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
    natsl_data *a = open_with(spec, 700, t), *b = open_with(spec, 700, t);
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
    a = open_with("[{'kind': 'needle', 'questions': 2, 'keys': 2}]", 700, t);
    b = open_with("[{'kind': 'needle', 'questions': 2, 'keys': 2, 'special_tokens': true}]", 700, t);
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
    scratch_write("split.txt", bytes, 100000);
    free(bytes);
    natsl_tokenizer *t = open_tokenizer("qwen");
    natsl_data *d = open_with(
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
        natsl_data *d = open_with(specs[c], 600, t);
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
        natsl_data *d = open_with("[{'kind': 'copy', 'length': [5, 40]}]", 600, t);
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
        EXPECT(spec_with(cases[c].spec, 700, t, &d) == NATSL_ERR_INPUT, "%s", cases[c].spec);
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
    scratch_write("story.txt", story, at);
    natsl_rng rng = {7};
    for (size_t i = 0, left = 0, kind = 0; i < 100000; i++, left--) { /* prose and numbers take turns */
        if (left == 0) kind = !kind, left = 200 + (size_t)natsl_rng_below(&rng, 3000);
        mixed[i] = kind ? story[i] : "0123456789-, "[natsl_rng_below(&rng, 13)];
    }
    scratch_write("mixed.txt", mixed, 100000);
    free(mixed);
    for (size_t i = 0; i < 5000; i++) story[i] = (char)(i * i * 31 + i / 7); /* no UTF-8 */
    scratch_write("odd.txt", story, 5000);
    for (size_t i = 0; i < 5000; i++)
        story[i] = story[i] == 0 ? ' ' : story[i]; /* so that C's functions go through it */
    scratch_write("odder.txt", story, 5000);
    free(story);
}

int main(void)
{
    static const test_entry tests[] = {{"bytes as ever", test_bytes}, {"needles", test_needles},
                                       {"pure function", test_pure},  {"held out", test_held_out},
                                       {"least", test_least},         {"copies", test_copies},
                                       {"refused", test_refused}};
    scratch_make();
    write_texts();
    const int failed = run_suite("data in tokens", tests, COUNT(tests));
    return scratch_remove() != 0 || failed;
}
