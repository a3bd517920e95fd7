/* test_data_refused.c - specifications of training data and files that are refused, each with a line that says what is wrong. */
#define _GNU_SOURCE /* scratch.h */
#include "data_check.h"

static void test_refused(void)
{
    write_tokens("c.h5", "tokens", 0, 30);
    scratch_write("empty.txt", "", 0);
    scratch_write("one.txt", "x", 1);
    scratch_write("ten.txt", "0123456789", 10);
    write_tokens("wrong.h5", "other", 0, 10);
    scratch_write("damaged.h5", "\211HDF\r\n\032\n and no more", 20);
    static const struct {
        const char *spec, *words; /* all words of the line, separated by | */
    } cases[] = {
        {"{}", "T.json: data: expected a list"},
        {"[]", "expected a list of 1 to 64"},
        {"[7]", "T.json: data[0]: expected an object"},
        {"[{}]", "T.json: data[0].kind: missing"},
        {"[{'kind': 'txt'}]", ".kind"},
        {"[{'kind': 'text\\u0000'}]", ".kind"},
        {"[{'kind': 'mqar', 'pairs': 3}, {'kind': 'text'}]", "data[1].files"},
        {"[{'kind': 'text', 'files': []}]", ".files: expected a list"},
        {"[{'kind': 'text', 'files': 'one.txt'}]", ".files"},
        {"[{'kind': 'text', 'files': ['']}]", ".files"},
        {"[{'kind': 'text', 'files': ['ten.txt', 'ten\\u0000.txt']}]", ".files"},
        {"[{'kind': 'text', 'files': ['ten.txt', 'missing.txt']}]", "data[0].files: |missing.txt: No such file"},
        {"[{'kind': 'text', 'files': ['.']}]", "not a regular file"},
        {"[{'kind': 'text', 'files': ['empty.txt']}]", "empty.txt: empty"},
        {"[{'kind': 'text', 'files': ['one.txt']}]", "1 tokens in all"},
        {"[{'kind': 'text', 'files': ['ten.txt']}]", "at least two for training and two for validation"},
        {"[{'kind': 'text', 'files': ['wrong.h5']}]", "wrong.h5|without dataset tokens"},
        {"[{'kind': 'text', 'files': ['damaged.h5']}]", "damaged.h5"},
        {"[{'kind': 'text', 'files': ['ten.txt'], 'validation': 0.6}]", ".validation: expected a number, 0 to 0.5"},
        {"[{'kind': 'text', 'files': ['ten.txt'], 'validation': -1}]", ".validation"},
        {"[{'kind': 'text', 'files': ['ten.txt'], 'weight': 0}]", ".weight: expected a number"},
        {"[{'kind': 'text', 'files': ['ten.txt'], 'weight': -1e300}]", ".weight"},
        {"[{'kind': 'text', 'files': ['ten.txt'], 'weight': 1e300}]", ".weight"},
        {"[{'kind': 'text', 'files': ['ten.txt'], 'weight': true}]", ".weight"},
        {"[{'kind': 'text', 'files': ['ten.txt'], 'loss': 'answers'}]", ".loss: expected all"},
        {"[{'kind': 'text', 'files': ['ten.txt'], 'keys': 3}]", ".keys: not a known key"},
        {"[{'kind': 'text', 'files': ['ten.txt'], 'n\\no': 3}]", ".n?o: not a known key"},
        {"[{'kind': 'needle', 'keys': 0}]", ".keys: expected a whole number, 1 to 16384, or a range"},
        {"[{'kind': 'needle', 'keys': 1000000000000000000}]", ".keys"},
        {"[{'kind': 'needle', 'keys': 4294967297}]", ".keys"},
        {"[{'kind': 'needle', 'keys': 1.5}]", ".keys"},
        {"[{'kind': 'needle', 'keys': [3, 2]}]", ".keys"},
        {"[{'kind': 'needle', 'keys': [1, '2']}]", ".keys"},
        {"[{'kind': 'needle', 'keys': null}]", ".keys"},
        {"[{'kind': 'needle', 'values': [1, 65]}]", ".values"},
        {"[{'kind': 'needle', 'questions': -1}]", ".questions"},
        {"[{'kind': 'needle', 'restate': 65}]", ".restate"},
        {"[{'kind': 'needle', 'key_kind': 'numbers'}]", ".key_kind: expected words, syllables or uuids"},
        {"[{'kind': 'needle', 'value_kind': 'syllables'}]", ".value_kind"},
        {"[{'kind': 'needle', 'haystack': 'essay'}]", ".haystack: expected noise or text"},
        {"[{'kind': 'needle', 'haystack': 'text'}]", ".files"},
        {"[{'kind': 'needle', 'haystack': 'text', 'files': ['c.h5']}]", "c.h5: an HDF5 file, expected a text"},
        {"[{'kind': 'needle', 'files': ['ten.txt']}]", ".files: expected none"},
        {"[{'kind': 'needle', 'validation': 0.1}]", ".validation: expected none"},
        {"[{'kind': 'copy', 'length': 4}]", ".length: expected a whole number, 5 to 4096"},
        {"[{'kind': 'copy', 'alphabet': 'greek'}]", ".alphabet: expected digits, hex, letters or all"},
        {"[{'kind': 'copy', 'loss': 'all'}]", ".loss"},
        {"[{'kind': 'copy', 'pairs': 3}]", ".pairs: not a known key"},
        {"[{'kind': 'mqar'}]", ".pairs"},
        {"[{'kind': 'mqar', 'pairs': 128}]", ".pairs: expected at most 127"},
        {"[{'kind': 'mqar', 'pairs': 5, 'vocabulary': 257}]", ".vocabulary: expected a whole number, 4 to 256"},
        {"[{'kind': 'mqar', 'pairs': 5, 'vocabulary': 11}]", ".pairs: expected at most 4"},
        {"[{'kind': 'mqar', 'pairs': 5, 'vocabulary': [100, 200]}]", ".vocabulary: expected a whole number"},
        {"[{'kind': 'mqar', 'pairs': 5, 'random_non_queries': 1}]", ".random_non_queries: expected true or false"},
        {"[{'kind': 'mqar', 'pairs': 5, 'loss': 'all'}]", ".loss"},
        {"[{'kind': 'mqar', 'pairs': 5, 'files': []}]", ".files: not a known key"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        natsl_data *d = (natsl_data *)(uintptr_t)1;
        char words[256];
        EXPECT(open_data(cases[i].spec, 256, "byte", 1, &d) == NATSL_ERR_INPUT, "%s", cases[i].spec);
        CU_ASSERT_PTR_NULL(d);
        (void)snprintf(words, sizeof words, "%s", cases[i].words);
        EXPECT(strncmp(natsl_error_text(), "T.json: data", 12) == 0, "%s: %s", cases[i].spec, natsl_error_text());
        for (char *w = strtok(words, "|"); w; w = strtok(NULL, "|"))
            EXPECT(strstr(natsl_error_text(), w) != NULL, "%s: %s", cases[i].spec, natsl_error_text());
    }
}

/** Models that a source does not fit, and token files that do not fit the model. */
static void test_other_models(void)
{
    natsl_data *d = NULL;
    int64_t count = 0;
    scratch_write("story.txt", "Once upon a time.", 17);
    CU_ASSERT_EQUAL(open_data("[{'kind': 'needle'}]", 255, "byte", 1, &d), NATSL_ERR_INPUT);
    CU_ASSERT_EQUAL(open_data("[{'kind': 'needle'}]", 300, "none", 1, &d), NATSL_ERR_INPUT);
    CU_ASSERT_PTR_NOT_NULL(strstr(natsl_error_text(), "byte tokenizer"));
    CU_ASSERT_EQUAL(open_data("[{'kind': 'text', 'files': ['story.txt']}]", 200, "none", 1, &d), NATSL_ERR_INPUT);
    CU_ASSERT_PTR_NOT_NULL(strstr(natsl_error_text(), "expected a token file"));
    CU_ASSERT_EQUAL(open_data("[{'kind': 'mqar', 'pairs': 1}]", 3, "none", 1, &d), NATSL_ERR_INPUT);
    write_tokens("low.h5", "tokens", -1, 30);
    write_tokens("high.h5", "tokens", 80, 30);
    static const char *const specs[] = {"[{'kind': 'text', 'files': ['low.h5'], 'validation': 0}]",
                                        "[{'kind': 'text', 'files': ['high.h5'], 'validation': 0}]"};
    for (size_t i = 0; i < COUNT(specs); i++) {
        d = must_open(specs[i], 100, "none", 1);
        CU_ASSERT_EQUAL(natsl_data_window(d, NATSL_DATA_TRAIN, 0, 30, ids, targets, &count, NULL, NULL),
                        NATSL_ERR_INPUT);
        CU_ASSERT_PTR_NOT_NULL(strstr(natsl_error_text(), i ? "token 20 is 100" : "token 0 is -1"));
        natsl_data_close(&d);
    }
    char many[4096] = "[";
    for (int i = 0; i < 65; i++) strcat(many, i ? ",{'kind':'needle'}" : "{'kind':'needle'}");
    strcat(many, "]");
    CU_ASSERT_EQUAL(open_data(many, 256, "byte", 1, &d), NATSL_ERR_INPUT);
}

int main(void)
{
    static const test_entry tests[] = {{"refused", test_refused}, {"other models", test_other_models}};
    scratch_make();
    const int failed = run_suite("data refused", tests, COUNT(tests));
    return scratch_remove() != 0 || failed;
}
