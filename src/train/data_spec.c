/* data_spec.c - one source of training data from its JSON object. See data.h. */
#include "data_impl.h"

#include <stdio.h>
#include <string.h>

#define MOST_FILES 32768 /* a process may have 65530 maps */
#define MOST_PAIRS (1 << 24)

/** The object as read, and its surroundings. */
typedef struct reading {
    natsl_data *data;
    const char *where, *directory, *tokenizer;
    const natsl_config *config;
    const natsl_corpus_ranks *ranks;
    int kind, loss, haystack, key_kind, value_kind, alphabet, random_non_queries, special;
    double weight, validation;
    const json_t *files;
    range keys, values, questions, restate, pairs, length;
    int64_t vocabulary;
} reading;

#define AT(member) offsetof(reading, member)
#define KIND                                                                                                           \
    {                                                                                                                  \
        .kind = NATSL_FIELD_WORD, .name = "kind", .offset = AT(kind), .words = kinds, .required = 1                    \
    }
#define WEIGHT                                                                                                         \
    {                                                                                                                  \
        .kind = NATSL_FIELD_REAL, .name = "weight", .offset = AT(weight), .low = 1e-9, .high = 1e9                     \
    }
#define LOSS(WORDS)                                                                                                    \
    {                                                                                                                  \
        .kind = NATSL_FIELD_WORD, .name = "loss", .offset = AT(loss), .words = (WORDS)                                 \
    }
#define RANGE(MEMBER, LOW, HIGH)                                                                                       \
    {                                                                                                                  \
        .kind = NATSL_FIELD_RANGE, .name = #MEMBER, .offset = AT(MEMBER), .low = (LOW), .high = (HIGH)                 \
    }
#define WORD(MEMBER, WORDS)                                                                                            \
    {                                                                                                                  \
        .kind = NATSL_FIELD_WORD, .name = #MEMBER, .offset = AT(MEMBER), .words = (WORDS)                              \
    }
#define FILES                                                                                                          \
    {                                                                                                                  \
        .kind = NATSL_FIELD_ANY, .name = "files", .offset = AT(files)                                                  \
    }
#define VALIDATION                                                                                                     \
    {                                                                                                                  \
        .kind = NATSL_FIELD_REAL, .name = "validation", .offset = AT(validation), .low = 0.0, .high = 0.5              \
    }

static const char *const kinds[] = {
    [SOURCE_TEXT] = "text", [SOURCE_NEEDLE] = "needle", [SOURCE_MQAR] = "mqar", [SOURCE_COPY] = "copy", NULL};
static const char *const loss_all[] = {"all", NULL};
static const char *const loss_answers[] = {"answers", NULL};
static const char *const loss_either[] = {"answers", "all", NULL};

static natsl_status wrong(const reading *r, const char *key, const char *expected)
{
    return natsl_fail(NATSL_ERR_INPUT, "%s.%s: expected %s", r->where, key, expected);
}

/** The key "files" as paths; release with free_paths. */
static natsl_status read_paths(const reading *r, char ***out, size_t *count)
{
    static const char expected[] = "a list of file names, at least one and at most 32768";
    const json_t *v = r->files;
    const char *directory = r->directory ? r->directory : "";
    const size_t n = json_array_size(v);
    *out = NULL;
    *count = 0;
    if (!json_is_array(v) || n < 1 || n > MOST_FILES) return wrong(r, "files", expected);
    char **paths = natsl_calloc(n, sizeof *paths, "file names");
    if (!paths) return NATSL_ERR_NOMEM;
    *out = paths;
    for (*count = 0; *count < n; ++*count) {
        const json_t *e = json_array_get(v, *count);
        const char *name = json_string_value(e);
        if (!name || !*name || strlen(name) != json_string_length(e)) return wrong(r, "files", expected);
        const int relative = name[0] != '/' && *directory;
        const size_t size = strlen(name) + (relative ? strlen(directory) + 1 : 0) + 1;
        if (!(paths[*count] = natsl_alloc(size, 1, "file name"))) return NATSL_ERR_NOMEM;
        (void)snprintf(paths[*count], size, "%s%s%s", relative ? directory : "", relative ? "/" : "", name);
    }
    return NATSL_OK;
}

static void free_paths(char **paths, size_t count)
{
    for (size_t i = 0; i < count; i++) natsl_free(paths[i]);
    natsl_free(paths);
}

static natsl_status read_corpus(const reading *r, int text_only, source *s)
{
    char **paths = NULL;
    size_t count = 0;
    const double validation = r->validation < 0.0 ? 0.05 : r->validation;
    natsl_status st = NATSL_OK;
    st = read_paths(r, &paths, &count);
    st = natsl_corpus_agree(r->ranks, st);
    if (st != NATSL_OK) goto cleanup;
    st = natsl_corpus_open(paths, count, r->config->vocab_size, r->tokenizer, text_only, r->ranks, &s->corpus);
    if (st == NATSL_ERR_INPUT) {
        char line[1024];
        (void)snprintf(line, sizeof line, "%s", natsl_error_text());
        st = natsl_fail(st, "%s.files: %s", r->where, line);
    }
    if (st != NATSL_OK) goto cleanup;
    const int64_t length = natsl_corpus_length(s->corpus);
    const int64_t held = (int64_t)(validation * (double)length);
    s->held_out = length - held;
    if (s->held_out < 2 || (validation > 0.0 && held < 2))
        st = natsl_fail(NATSL_ERR_INPUT,
                        "%s.files: %lld %s in all, of which %lld are for validation; expected at least two for "
                        "training and two for validation",
                        r->where, (long long)length, text_only && r->ranks ? "bytes" : "tokens", (long long)held);
cleanup:
    free_paths(paths, count);
    return st;
}

static natsl_status parse_text(const json_t *spec, reading *r, source *s)
{
    static const natsl_field fields[] = {KIND, WEIGHT, LOSS(loss_all), FILES, VALIDATION, {.kind = NATSL_FIELD_END}};
    s->all = 1;
    const natsl_status st = natsl_fields_read(spec, r->where, fields, r);
    return st == NATSL_OK ? read_corpus(r, 0, s) : st;
}

/** Whether texts that are made can become the model's tokens. */
static int makes_texts(const reading *r)
{
    return r->data->made || (strcmp(r->tokenizer, "byte") == 0 && r->config->vocab_size >= NATSL_BYTE_TOKENS);
}

static natsl_status parse_needle(const json_t *spec, reading *r, source *s)
{
    static const char *const haystacks[] = {"noise", "text", NULL};
    static const char *const key_kinds[] = {"words", "syllables", "uuids", NULL};
    static const char *const value_kinds[] = {"numbers", "words", "uuids", NULL};
    static const natsl_word_kind key_kind[] = {NATSL_WORDS, NATSL_SYLLABLES, NATSL_UUIDS};
    static const natsl_word_kind value_kind[] = {NATSL_NUMBERS, NATSL_WORDS, NATSL_UUIDS};
    static const natsl_field fields[] = {KIND,
                                         WEIGHT,
                                         LOSS(loss_either),
                                         FILES,
                                         VALIDATION,
                                         WORD(haystack, haystacks),
                                         WORD(key_kind, key_kinds),
                                         WORD(value_kind, value_kinds),
                                         RANGE(keys, 1, NATSL_NEEDLE_MOST_KEYS),
                                         RANGE(values, 1, NATSL_NEEDLE_MOST_VALUES),
                                         RANGE(questions, 1, NATSL_NEEDLE_MOST_KEYS),
                                         RANGE(restate, 0, NATSL_NEEDLE_MOST_AGAIN),
                                         {.kind = NATSL_FIELD_FLAG, .name = "special_tokens", .offset = AT(special)},
                                         {.kind = NATSL_FIELD_END}};
    if (!makes_texts(r)) return wrong(r, "kind", "another kind: needles need a byte tokenizer or a tokenizer.json");
    r->keys = r->values = r->questions = (range){1, 1};
    natsl_status st = natsl_fields_read(spec, r->where, fields, r);
    if (st != NATSL_OK) return st;
    if (r->special && !r->data->made) return wrong(r, "special_tokens", "false: a byte tokenizer has none");
    s->special = r->special;
    s->all = r->loss;
    s->keys = r->keys;
    s->values = r->values;
    s->questions = r->questions;
    s->restate = r->restate;
    s->key_kind = key_kind[r->key_kind];
    s->value_kind = value_kind[r->value_kind];
    if (r->haystack == 0 && r->files) return wrong(r, "files", "none: the haystack is noise");
    if (r->haystack == 0 && r->validation >= 0.0) return wrong(r, "validation", "none: the haystack is noise");
    if (r->haystack == 1) st = read_corpus(r, 1, s);
    return st == NATSL_OK && r->data->made ? natsl_needle_prepare(r->data, s, r->where) : st;
}

static natsl_status parse_mqar(const json_t *spec, reading *r, source *s)
{
    const int32_t vocab = r->config->vocab_size;
    const natsl_field fields[] = {
        KIND,
        WEIGHT,
        LOSS(loss_answers),
        {.kind = NATSL_FIELD_COUNT, .name = "vocabulary", .offset = AT(vocabulary), .low = 4.0, .high = vocab},
        {.kind = NATSL_FIELD_FLAG, .name = "random_non_queries", .offset = AT(random_non_queries)},
        {.kind = NATSL_FIELD_RANGE, .name = "pairs", .offset = AT(pairs), .low = 1, .high = MOST_PAIRS, .required = 1},
        {.kind = NATSL_FIELD_END}};
    if (vocab < 4) return wrong(r, "kind", "another kind: recall needs a vocabulary of at least 4");
    r->vocabulary = vocab;
    r->random_non_queries = 1;
    const natsl_status st = natsl_fields_read(spec, r->where, fields, r);
    if (st != NATSL_OK) return st;
    if (r->pairs.hi > r->vocabulary / 2 - 1) {
        char text[96];
        (void)snprintf(text, sizeof text, "at most %lld: half of the vocabulary are keys",
                       (long long)(r->vocabulary / 2 - 1));
        return wrong(r, "pairs", text);
    }
    s->pairs = r->pairs;
    s->vocabulary = (int32_t)r->vocabulary;
    s->random_non_queries = r->random_non_queries;
    return NATSL_OK;
}

static natsl_status parse_copy(const json_t *spec, reading *r, source *s)
{
    static const char *const alphabets[] = {"digits", "hex", "letters", "all", NULL};
    static const natsl_field fields[] = {KIND,
                                         WEIGHT,
                                         LOSS(loss_answers),
                                         WORD(alphabet, alphabets),
                                         RANGE(length, NATSL_COPY_LEAST, NATSL_COPY_MOST),
                                         {.kind = NATSL_FIELD_END}};
    if (!makes_texts(r)) return wrong(r, "kind", "another kind: copies need a byte tokenizer or a tokenizer.json");
    r->length = (range){8, 32};
    r->alphabet = NATSL_ALPHABET_ALL;
    natsl_status st = natsl_fields_read(spec, r->where, fields, r);
    s->copy = (natsl_copy_task){(natsl_alphabet)r->alphabet, r->length.lo, r->length.hi};
    for (int a = 0; r->data->made && a < NATSL_ALPHABET_ALL && st == NATSL_OK; a++) {
        char line[64];
        int keeps = 0;
        if (s->copy.alphabet != NATSL_ALPHABET_ALL && (int)s->copy.alphabet != a) continue;
        (void)snprintf(line, sizeof line, "%s\n", natsl_copy_letters((natsl_alphabet)a));
        st = natsl_made_keeps(r->data->made, line, &keeps);
        if (st == NATSL_OK && !keeps)
            st = wrong(r, "alphabet", "another one, or another tokenizer: the model's cannot write such lines");
    }
    return st;
}

natsl_status natsl_source_parse(natsl_data *d, const json_t *spec, const char *where, const char *directory,
                                const natsl_config *config, const char *tokenizer, const natsl_corpus_ranks *ranks,
                                source *out)
{
    static const natsl_field kind = KIND;
    static natsl_status (*const parse[])(const json_t *, reading *, source *) = {[SOURCE_TEXT] = parse_text,
                                                                                 [SOURCE_NEEDLE] = parse_needle,
                                                                                 [SOURCE_MQAR] = parse_mqar,
                                                                                 [SOURCE_COPY] = parse_copy};
    reading r = {.data = d,
                 .where = where,
                 .directory = directory,
                 .tokenizer = tokenizer,
                 .ranks = ranks,
                 .config = config,
                 .weight = 1.0,
                 .validation = -1.0};
    if (!json_is_object(spec)) return natsl_fail(NATSL_ERR_INPUT, "%s: expected an object with a key kind", where);
    natsl_status st = natsl_field_read(spec, where, &kind, &r);
    if (st != NATSL_OK) return st;
    st = parse[r.kind](spec, &r, out);
    out->kind = (source_kind)r.kind;
    out->weight = r.weight;
    return st;
}

void natsl_source_close(source *s) { natsl_corpus_close(&s->corpus); }
