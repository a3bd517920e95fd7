/* test_spec.c - a training's configuration: members found, defaults, messages that say where; learning rates, phases and lengths
 * step by step. */
#include "fields.h"
#include "spec.h"
#include <natsl/context.h>

#include "../suite.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MODEL                                                                                                          \
    "'model': {'hidden_size': 32, 'num_hidden_layers': 1, 'vocab_size': 64, 'head_dim': 16, 'num_heads': 2, "          \
    "'num_attn_heads': 2, 'gdn_layers': []}"
#define DATA  "'data': [{'kind': 'mqar', 'pairs': 4}]"
#define PHASE "'phases': [{'steps': 10, 'windows': 3, 'tokens': 128}]"

/** JSON with ' for ". */
static natsl_status parse(const char *text, const char *path, natsl_spec *s)
{
    char json[8192];
    (void)snprintf(json, sizeof json, "%s", text);
    for (char *p = json; *p; p++) *p = *p == '\'' ? '"' : *p;
    return natsl_spec_parse(json, strlen(json), path, s);
}

/* ---- fields ---------------------------------------------------------------------------------------------------------------- */

typedef struct record {
    int64_t count;
    double real;
    const char *text;
    int word;
    const json_t *object, *array, *any;
} record;

static const char *const words[] = {"red", "green", "blue", NULL};
static const natsl_field fields[] = {{NATSL_FIELD_COUNT, "count", offsetof(record, count), 1, -2, 5, NULL},
                                     {NATSL_FIELD_REAL, "real", offsetof(record, real), 0, 0, 1, NULL},
                                     {NATSL_FIELD_TEXT, "text", offsetof(record, text), 0, 0, 0, NULL},
                                     {NATSL_FIELD_WORD, "word", offsetof(record, word), 0, 0, 0, words},
                                     {NATSL_FIELD_OBJECT, "object", offsetof(record, object), 0, 0, 0, NULL},
                                     {NATSL_FIELD_ARRAY, "array", offsetof(record, array), 0, 0, 0, NULL},
                                     {NATSL_FIELD_ANY, "any", offsetof(record, any), 0, 0, 0, NULL},
                                     {.kind = NATSL_FIELD_END}};

static void test_fields(void)
{
    static const struct {
        const char *json, *message; /* NULL: taken */
    } cases[] = {
        {"{'count': 5, 'real': 1, 'text': 'x', 'word': 'blue', 'object': {}, 'array': [1], 'any': null}", NULL},
        {"{'count': -2, 'real': 0.25}", NULL},
        {"{'count': 6}", "F: count: expected a whole number, -2 to 5"},
        {"{'count': -3}", "F: count: expected a whole number, -2 to 5"},
        {"{'count': 1.0}", "F: count: expected a whole number, -2 to 5"},
        {"{'count': true}", "F: count: expected a whole number, -2 to 5"},
        {"{'count': 9223372036854775807}", "F: count: expected a whole number, -2 to 5"},
        {"{'real': 1}", "F: count: missing"},
        {"{'count': 1, 'real': 1.0001}", "F: real: expected a number, 0 to 1"},
        {"{'count': 1, 'real': -1e-300}", "F: real: expected a number, 0 to 1"},
        {"{'count': 1, 'real': '1'}", "F: real: expected a number, 0 to 1"},
        {"{'count': 1, 'text': ''}", "F: text: expected a text"},
        {"{'count': 1, 'text': 3}", "F: text: expected a text"},
        {"{'count': 1, 'word': 'gree'}", "F: word: expected red, green or blue; \"gree\" is not supported"},
        {"{'count': 1, 'word': 1}", "F: word: expected red, green or blue"},
        {"{'count': 1, 'object': []}", "F: object: expected an object"},
        {"{'count': 1, 'array': {}}", "F: array: expected a list of one element at least"},
        {"{'count': 1, 'array': []}", "F: array: expected a list of one element at least"},
        {"{'count': 1, 'Count': 1}", "F: Count: not a known key"},
        {"[]", "F: expected an object"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        char json[256];
        record r = {.real = 0.5, .word = -1};
        (void)snprintf(json, sizeof json, "%s", cases[i].json);
        for (char *p = json; *p; p++) *p = *p == '\'' ? '"' : *p;
        json_t *v = json_loads(json, 0, NULL);
        natsl_error_set("");
        const natsl_status st = natsl_fields_read(v, "F: ", fields, &r);
        EXPECT(st == (cases[i].message ? NATSL_ERR_INPUT : NATSL_OK), "%s: status %d", cases[i].json, (int)st);
        if (cases[i].message)
            EXPECT(strcmp(natsl_error_text(), cases[i].message) == 0, "%s: '%s'", cases[i].json, natsl_error_text());
        if (i == 0) {
            CU_ASSERT(r.count == 5 && r.real == 1.0 && r.word == 2 && strcmp(r.text, "x") == 0);
            CU_ASSERT(json_is_object(r.object) && json_array_size(r.array) == 1 && json_is_null(r.any));
        }
        if (i == 1) CU_ASSERT(r.count == -2 && r.real == 0.25 && r.word == -1 && !r.text && !r.any);
        json_decref(v);
    }
}

static void test_where(void)
{
    char to[32];
    CU_ASSERT_STRING_EQUAL(natsl_fields_where(to, sizeof to, "T.json: ", "data", -1), "T.json: data");
    CU_ASSERT_STRING_EQUAL(natsl_fields_where(to, sizeof to, "T.json: phases[1]", "data", 3),
                           "T.json: phases[1].data[3]");
    CU_ASSERT_STRING_EQUAL(natsl_fields_where(to, 8, "T.json: ", "data", 3), "T.json:");
}

/* ---- configurations --------------------------------------------------------------------------------------------------------- */

static void test_defaults(void)
{
    natsl_spec s;
    EXPECT(parse("{" MODEL ", " DATA ", " PHASE "}", "some/where/T.json", &s) == NATSL_OK, "%s", natsl_error_text());
    if (!s.phases) return;
    CU_ASSERT_STRING_EQUAL(s.directory, "some/where/");
    CU_ASSERT(s.model.hidden_size == 32 && !s.init && s.seed == 0 && s.phases[0].gumbel == 0 && s.temperature == 1.0);
    CU_ASSERT(s.learning_rate == 1e-3 && s.least_rate == 0.1 && s.warmup_steps == 100);
    CU_ASSERT(s.adamw.beta1 == 0.9 && s.adamw.beta2 == 0.95 && s.adamw.epsilon == 1e-8);
    CU_ASSERT(s.adamw.weight_decay == 0.1 && s.adamw.clip == 1.0);
    CU_ASSERT(s.n_phases == 1 && s.steps == 10 && s.tokens == 128 && s.phases[0].kept_weight == 0.0);
    CU_ASSERT(s.validation.every == 0 && s.checkpoint.every_steps == 0 && s.checkpoint.every_minutes == 10.0);
    CU_ASSERT(s.checkpoint.keep == 2 && s.phases[0].data == json_object_get(s.json, "data"));
    natsl_spec_free(&s);
    CU_ASSERT(!s.json && !s.phases && !s.directory);
    CU_ASSERT(parse("{" MODEL ", " DATA ", " PHASE "}", "T.json", &s) == NATSL_OK);
    CU_ASSERT_STRING_EQUAL(s.directory, "");
    natsl_spec_free(&s);
}

static void test_everything(void)
{
    natsl_spec s;
    CU_ASSERT(parse("{" MODEL ", " DATA ", 'init': 'm.h5', 'seed': 9007199254740992, "
                    "'optimizer': {'learning_rate': 2, 'least_rate': 0, 'warmup_steps': 3, 'beta1': 0, 'beta2': 0.5, "
                    "'epsilon': 1e-4, 'weight_decay': 0, 'clip': 0}, "
                    "'gate': {'choice': 'gumbel', 'temperature': 0.25, 'kept_weight': -0.5, 'hint_tokens': 7}, "
                    "'phases': [{'steps': 1, 'windows': 2, 'tokens': [100, 200]}, "
                    "{'steps': 3, 'windows': 5, 'tokens': 300, 'kept_weight': 2, 'kept_target': 0.25, 'hint_weight': "
                    "3, 'route': 'linear', "
                    "'choice': 'argmax', 'data': [{'kind': 'text'}]}], "
                    "'validation': {'every': 4, 'windows': 6, 'tokens': [7, 500]}, "
                    "'checkpoint': {'every_steps': 11, 'every_minutes': 0, 'keep': 1}}",
                    "T.json", &s) == NATSL_OK);
    CU_ASSERT(strcmp(s.init, "m.h5") == 0 && s.seed == 9007199254740992);
    CU_ASSERT(s.learning_rate == 2.0 && s.least_rate == 0.0 && s.warmup_steps == 3 && s.adamw.beta1 == 0.0);
    CU_ASSERT(s.adamw.beta2 == 0.5 && s.adamw.epsilon == 1e-4 && s.adamw.weight_decay == 0.0 && s.adamw.clip == 0.0);
    CU_ASSERT(s.phases[0].gumbel == 1 && s.temperature == 0.25 && s.steps == 4 && s.tokens == 500);
    CU_ASSERT(s.phases[0].kept_weight == -0.5 && s.phases[1].kept_weight == 2.0);
    CU_ASSERT(strcmp(s.tokenizer, "none") == 0 && s.hint_tokens == 7);
    CU_ASSERT(s.phases[0].hint_weight == 0.0 && s.phases[1].hint_weight == 3.0);
    CU_ASSERT(s.phases[0].kept_target < 0.0 && s.phases[1].kept_target == 0.25);
    CU_ASSERT(s.phases[0].route == NATSL_LEARNED && s.phases[1].route == NATSL_ALL_LINEAR && s.phases[1].gumbel == 0);
    CU_ASSERT(s.phases[0].n_tokens == 2 && s.phases[0].tokens[1] == 200 && s.phases[1].data != s.phases[0].data);
    CU_ASSERT(s.validation.every == 4 && s.validation.windows == 6 && s.validation.n_tokens == 2);
    CU_ASSERT(s.validation.data == s.phases[1].data);
    CU_ASSERT(s.checkpoint.every_steps == 11 && s.checkpoint.every_minutes == 0.0 && s.checkpoint.keep == 1);
    natsl_spec_free(&s);
}

static void test_refused(void)
{
    static const struct {
        const char *json, *message; /* how it begins */
    } cases[] = {
        {"", "T.json: line"},
        {"{" MODEL ", " DATA "}", "T.json: phases: missing"},
        {"{" DATA ", " PHASE "}", "T.json: model: missing"},
        {"{" MODEL ", " PHASE "}", "T.json: phases[0]: no data"},
        {"{" MODEL ", " DATA ", 'phases': []}", "T.json: phases: expected a list"},
        {"{" MODEL ", " DATA ", " PHASE ", 'seed': 9007199254740993}", "T.json: seed: expected a whole number"},
        {"{" MODEL ", " DATA ", " PHASE ", 'optimizer': {'clip': null}}", "T.json: optimizer.clip: expected a number"},
        {"{" MODEL ", " DATA ", 'phases': [{'steps': 1, 'windows': 1, 'tokens': [1]}]}",
         "T.json: phases[0].tokens: expected numbers of tokens"},
        {"{" MODEL ", " DATA ", 'phases': [{'steps': 1, 'windows': 1, 'tokens': {}}]}",
         "T.json: phases[0].tokens: expected numbers of tokens"},
        {"{" MODEL ", " DATA ", 'phases': [{'steps': 1e3, 'windows': 1, 'tokens': 9}]}",
         "T.json: phases[0].steps: expected a whole number"},
        {"{" MODEL ", " DATA ", 'phases': [{'steps': 1000000000000, 'windows': 1, 'tokens': 9}, "
         "{'steps': 1, 'windows': 1, 'tokens': 9}]}",
         "T.json: phases: too many steps"},
        {"{" MODEL ", " DATA ", " PHASE ", 'tokenizer': 'byte'}", "T.json: tokenizer: byte needs vocab_size 256"},
        {"{" MODEL ", " DATA ", " PHASE ", 'tokenizer': 'bpe'}", "T.json: tokenizer: expected byte, none or"},
        {"{" MODEL ", " DATA ", " PHASE ", 'gate': {'hint_weight': -1}}",
         "T.json: gate.hint_weight: expected a number"},
        {"{" MODEL ", " DATA ", " PHASE ", 'validation': {'every': 1, 'windows': 1}}",
         "T.json: validation.tokens: missing"},
        {"{" MODEL ", " DATA ", " PHASE ", 'checkpoint': {'keep': 0}}", "T.json: checkpoint.keep: expected"},
        {"{'model': {'hidden_size': 0}, " DATA ", " PHASE "}", "T.json: model"},
        {"{'model': 'none/such.json', " DATA ", " PHASE "}", "T.json: model: none/such.json: No such file"},
        {"{'model': [], " DATA ", " PHASE "}", "T.json: model: expected a configuration"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        natsl_spec s;
        natsl_error_set("");
        const natsl_status st = parse(cases[i].json, "T.json", &s);
        EXPECT(st == NATSL_ERR_INPUT, "%s: status %d", cases[i].json, (int)st);
        EXPECT(strncmp(natsl_error_text(), cases[i].message, strlen(cases[i].message)) == 0, "%s: '%s'", cases[i].json,
               natsl_error_text());
        natsl_spec_free(&s);
    }
}

/** A model in a file of its own: relative to the configuration's directory. */
static void test_model_file(void)
{
    char directory[] = "/tmp/natsl-spec-XXXXXX", path[64];
    natsl_spec s;
    if (!mkdtemp(directory)) abort();
    (void)snprintf(path, sizeof path, "%s/m.json", directory);
    FILE *f = fopen(path, "w");
    if (!f ||
        fputs("{\"hidden_size\": 96, \"head_dim\": 16, \"num_heads\": 2, \"num_attn_heads\": 2, \"gdn_layers\": []}",
              f) < 0 ||
        fclose(f) != 0)
        abort();
    (void)snprintf(path, sizeof path, "%s/T.json", directory);
    EXPECT(parse("{'model': 'm.json', " DATA ", " PHASE "}", path, &s) == NATSL_OK, "%s", natsl_error_text());
    CU_ASSERT(s.model.hidden_size == 96);
    natsl_spec_free(&s);
    (void)snprintf(path, sizeof path, "%s/m.json", directory);
    (void)unlink(path);
    (void)rmdir(directory);
}

/* ---- step by step ------------------------------------------------------------------------------------------------------------ */

static void test_rate(void)
{
    natsl_spec s = {.learning_rate = 2.0, .least_rate = 0.1, .warmup_steps = 4, .steps = 24};
    const double pi = 3.14159265358979323846;
    for (int64_t i = 0; i < 4; i++) CU_ASSERT_DOUBLE_EQUAL(natsl_spec_rate(&s, i), 2.0 * (double)(i + 1) / 5.0, 1e-15);
    CU_ASSERT_DOUBLE_EQUAL(natsl_spec_rate(&s, 4), 2.0, 1e-15);
    CU_ASSERT_DOUBLE_EQUAL(natsl_spec_rate(&s, 14), 2.0 * 0.55, 1e-15);
    CU_ASSERT_DOUBLE_EQUAL(natsl_spec_rate(&s, 9), 2.0 * (0.1 + 0.9 * 0.5 * (1.0 + cos(pi / 4))), 1e-14);
    CU_ASSERT_DOUBLE_EQUAL(natsl_spec_rate(&s, 24), 0.2, 1e-15); /* where the last step ends */
    CU_ASSERT_DOUBLE_EQUAL(natsl_spec_rate(&s, 100), 0.2, 1e-15);
    for (int64_t i = 4; i < 24; i++) CU_ASSERT(natsl_spec_rate(&s, i + 1) < natsl_spec_rate(&s, i));
    s.warmup_steps = 24; /* nothing is left for the cosine */
    CU_ASSERT_DOUBLE_EQUAL(natsl_spec_rate(&s, 23), 2.0 * 24.0 / 25.0, 1e-15);
    CU_ASSERT_DOUBLE_EQUAL(natsl_spec_rate(&s, 24), 0.2, 1e-15);
    s.warmup_steps = 0;
    CU_ASSERT_DOUBLE_EQUAL(natsl_spec_rate(&s, 0), 2.0, 1e-15);
}

static void test_phases(void)
{
    natsl_spec_phase p[3] = {{.steps = 2, .windows = 3}, {.steps = 1, .windows = 7}, {.steps = 4, .windows = 1}};
    const natsl_spec s = {.phases = p, .n_phases = 3, .steps = 7};
    static const int64_t want[][2] = {{0, 0}, {0, 3}, {1, 6}, {2, 13}, {2, 14}, {2, 15}, {2, 16}, {2, 17}};
    for (int64_t i = 0; i < (int64_t)COUNT(want); i++) {
        int64_t before = -1;
        const size_t phase = natsl_spec_phase_of(&s, i, &before);
        EXPECT((int64_t)phase == want[i][0] && before == want[i][1], "step %lld: phase %zu, %lld windows before",
               (long long)i, phase, (long long)before);
    }
    /* the most that a configuration may ask for */
    natsl_spec_phase huge = {.steps = 1000000000000, .windows = 1000000};
    const natsl_spec most = {.phases = &huge, .n_phases = 1, .steps = huge.steps};
    int64_t before = 0;
    CU_ASSERT(natsl_spec_phase_of(&most, huge.steps, &before) == 0 && before == 1000000000000000000);
}

static void test_lengths(void)
{
    natsl_spec_phase p = {.tokens = {100, 200, 300}, .n_tokens = 3};
    natsl_spec s = {.phases = &p, .n_phases = 1, .seed = 1}, t = s;
    int64_t counts[4] = {0}, differ = 0;
    t.seed = 2;
    for (int64_t i = 0; i < 3000; i++) {
        const int64_t n = natsl_spec_window_tokens(&s, 0, i);
        CU_ASSERT(n == 100 || n == 200 || n == 300);
        CU_ASSERT(n == natsl_spec_window_tokens(&s, 0, i));
        counts[n / 100]++;
        differ += n != natsl_spec_window_tokens(&t, 0, i);
    }
    for (int k = 1; k < 4; k++) EXPECT(counts[k] > 900 && counts[k] < 1100, "%lld of 3000", (long long)counts[k]);
    CU_ASSERT(differ > 1800 && differ < 2200); /* another seed: another order */
}

int main(void)
{
    static const test_entry tests[] = {
        {"fields are checked", test_fields},  {"places in messages", test_where},
        {"defaults", test_defaults},          {"every member", test_everything},
        {"what is refused", test_refused},    {"a model in a file", test_model_file},
        {"learning rates", test_rate},        {"phases", test_phases},
        {"lengths of windows", test_lengths},
    };
    return run_suite("spec", tests, COUNT(tests));
}
