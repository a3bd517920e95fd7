/* data_spec.c - one source of training data from its JSON object. See data.h. */
#include "data_impl.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define MOST_FILES 32768 /* a process may have 65530 maps */
#define MOST_PAIRS (1 << 24)

/** What is being read, for messages and defaults. */
typedef struct reading {
    const json_t *object;
    const char *where, *directory, *tokenizer;
    const natsl_config *config;
} reading;

static natsl_status wrong(const reading *r, const char *key, const char *expected)
{
    return natsl_fail(NATSL_ERR_INPUT, "%s: key %s: expected %s", r->where, key, expected);
}

static natsl_status read_range(const reading *r, const char *key, int least, int most, range *out)
{
    const json_t *v = json_object_get(r->object, key), *lo = v, *hi = v;
    char text[160];
    if (!v) return NATSL_OK;
    if (json_is_array(v) && json_array_size(v) == 2) {
        lo = json_array_get(v, 0);
        hi = json_array_get(v, 1);
    }
    const json_int_t a = json_integer_value(lo), b = json_integer_value(hi);
    if (json_is_integer(lo) && json_is_integer(hi) && a >= least && b >= a && b <= most) {
        *out = (range){(int)a, (int)b};
        return NATSL_OK;
    }
    (void)snprintf(text, sizeof text, "an integer from %d to %d, or a range [lo, hi] of them", least, most);
    return wrong(r, key, text);
}

/** A number in (least, most], or [least, most] with `closed`. */
static natsl_status read_number(const reading *r, const char *key, double least, double most, int closed, double *out)
{
    const json_t *v = json_object_get(r->object, key);
    char text[160];
    if (!v) return NATSL_OK;
    const double x = json_number_value(v);
    if (json_is_number(v) && isfinite(x) && (closed ? x >= least : x > least) && x <= most) {
        *out = x;
        return NATSL_OK;
    }
    (void)snprintf(text, sizeof text, "a number %s %g, at most %g", closed ? "from" : "above", least, most);
    return wrong(r, key, text);
}

/** One of words [count]; its index in *out, unchanged when the key is not there. */
static natsl_status read_word(const reading *r, const char *key, const char *const *words, int count, int *out)
{
    const json_t *v = json_object_get(r->object, key);
    char text[160] = "one of:";
    if (!v) return NATSL_OK;
    for (int i = 0; i < count; i++) {
        if (json_is_string(v) && json_string_length(v) == strlen(words[i]) && !strcmp(json_string_value(v), words[i])) {
            *out = i;
            return NATSL_OK;
        }
        const size_t at = strlen(text);
        (void)snprintf(text + at, sizeof text - at, " %s", words[i]);
    }
    return wrong(r, key, text);
}

/** Only keys of the list, which ends in NULL, are there. */
static natsl_status only_keys(const reading *r, const char *const *known)
{
    json_t *object = (json_t *)(uintptr_t)r->object; /* jansson's iterators take no const, and change nothing */
    for (void *it = json_object_iter(object); it; it = json_object_iter_next(object, it)) {
        const char *name = json_object_iter_key(it);
        size_t i = 0;
        while (known[i] && strcmp(known[i], name) != 0) i++;
        if (!known[i]) return natsl_fail(NATSL_ERR_INPUT, "%s: key %.80s is not known", r->where, name);
    }
    return NATSL_OK;
}

/** The key "files" as paths; release with free_paths. */
static natsl_status read_paths(const reading *r, char ***out, size_t *count)
{
    static const char expected[] = "a list of file names, at least one and at most 32768";
    const json_t *v = json_object_get(r->object, "files");
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
    double validation = 0.05;
    natsl_status st = read_number(r, "validation", 0.0, 0.5, 1, &validation);
    if (st != NATSL_OK) return st;
    NATSL_TRY(st, cleanup, read_paths(r, &paths, &count));
    st = natsl_corpus_open(paths, count, r->config->vocab_size, r->tokenizer, text_only, &s->corpus);
    if (st == NATSL_ERR_INPUT) {
        char line[1024];
        (void)snprintf(line, sizeof line, "%s", natsl_error_text());
        st = natsl_fail(st, "%s: key files: %s", r->where, line);
    }
    if (st != NATSL_OK) goto cleanup;
    const int64_t length = natsl_corpus_length(s->corpus);
    const int64_t held = (int64_t)(validation * (double)length);
    s->held_out = length - held;
    if (s->held_out < 2 || (validation > 0.0 && held < 2))
        st =
            natsl_fail(NATSL_ERR_INPUT,
                       "%s: key files: %lld tokens in all, of which %lld are for validation; expected at least two for "
                       "training and two for validation",
                       r->where, (long long)length, (long long)held);
cleanup:
    free_paths(paths, count);
    return st;
}

static natsl_status parse_text(const reading *r, source *s)
{
    static const char *const keys[] = {"kind", "weight", "loss", "files", "validation", NULL};
    static const char *const losses[] = {"all"};
    int loss = 0;
    natsl_status st = only_keys(r, keys);
    if (st == NATSL_OK) st = read_word(r, "loss", losses, 1, &loss);
    if (st == NATSL_OK) st = read_corpus(r, 0, s);
    s->all = 1;
    return st;
}

static natsl_status parse_needle(const reading *r, source *s)
{
    static const char *const known[] = {"kind",       "weight",     "loss",   "haystack",  "files",
                                        "validation", "keys",       "values", "questions", "restate",
                                        "key_kind",   "value_kind", NULL};
    static const char *const haystacks[] = {"noise", "text"};
    static const char *const losses[] = {"answers", "all"};
    static const char *const key_kinds[] = {"words", "syllables", "uuids"};
    static const char *const value_kinds[] = {"numbers", "words", "uuids"};
    static const natsl_word_kind key_kind[] = {NATSL_WORDS, NATSL_SYLLABLES, NATSL_UUIDS};
    static const natsl_word_kind value_kind[] = {NATSL_NUMBERS, NATSL_WORDS, NATSL_UUIDS};
    int haystack = 0, key = 0, value = 0;
    s->keys = s->values = s->questions = (range){1, 1};
    natsl_status st = only_keys(r, known);
    if (st == NATSL_OK && (strcmp(r->tokenizer, "byte") != 0 || r->config->vocab_size < 256))
        st = wrong(r, "kind", "another kind: needles need a model with a byte tokenizer");
    if (st == NATSL_OK) st = read_word(r, "haystack", haystacks, 2, &haystack);
    if (st == NATSL_OK) st = read_word(r, "loss", losses, 2, &s->all);
    if (st == NATSL_OK) st = read_word(r, "key_kind", key_kinds, 3, &key);
    if (st == NATSL_OK) st = read_word(r, "value_kind", value_kinds, 3, &value);
    if (st == NATSL_OK) st = read_range(r, "keys", 1, NATSL_NEEDLE_MOST_KEYS, &s->keys);
    if (st == NATSL_OK) st = read_range(r, "values", 1, NATSL_NEEDLE_MOST_VALUES, &s->values);
    if (st == NATSL_OK) st = read_range(r, "questions", 1, NATSL_NEEDLE_MOST_KEYS, &s->questions);
    if (st == NATSL_OK) st = read_range(r, "restate", 0, NATSL_NEEDLE_MOST_AGAIN, &s->restate);
    s->key_kind = key_kind[key];
    s->value_kind = value_kind[value];
    if (st != NATSL_OK) return st;
    if (haystack == 1) return read_corpus(r, 1, s);
    if (json_object_get(r->object, "files")) return wrong(r, "files", "none: the haystack is noise");
    if (json_object_get(r->object, "validation")) return wrong(r, "validation", "none: the haystack is noise");
    return NATSL_OK;
}

static natsl_status parse_mqar(const reading *r, source *s)
{
    static const char *const known[] = {"kind", "weight", "loss", "pairs", "vocabulary", "random_non_queries", NULL};
    static const char *const losses[] = {"answers"};
    const json_t *fill = json_object_get(r->object, "random_non_queries");
    const int32_t vocab = r->config->vocab_size;
    range vocabulary = {vocab, vocab};
    int loss = 0;
    natsl_status st = only_keys(r, known);
    if (st == NATSL_OK && vocab < 4) st = wrong(r, "kind", "another kind: recall needs a vocabulary of at least 4");
    if (st == NATSL_OK) st = read_word(r, "loss", losses, 1, &loss);
    if (st == NATSL_OK && json_is_array(json_object_get(r->object, "vocabulary")))
        st = wrong(r, "vocabulary", "an integer");
    if (st == NATSL_OK) st = read_range(r, "vocabulary", 4, vocab, &vocabulary);
    const int32_t most = vocabulary.lo / 2 - 1;
    if (st == NATSL_OK && !json_object_get(r->object, "pairs"))
        st = wrong(r, "pairs", "a number of pairs, or a range [lo, hi]");
    if (st == NATSL_OK) st = read_range(r, "pairs", 1, most < MOST_PAIRS ? most : MOST_PAIRS, &s->pairs);
    if (st == NATSL_OK && fill && !json_is_boolean(fill)) st = wrong(r, "random_non_queries", "true or false");
    s->vocabulary = vocabulary.lo;
    s->random_non_queries = !json_is_false(fill);
    return st;
}

static natsl_status parse_copy(const reading *r, source *s)
{
    static const char *const known[] = {"kind", "weight", "loss", "length", "alphabet", NULL};
    static const char *const losses[] = {"answers"};
    static const char *const alphabets[] = {"digits", "hex", "letters", "all"};
    range length = {8, 32};
    int loss = 0, alphabet = NATSL_ALPHABET_ALL;
    natsl_status st = only_keys(r, known);
    if (st == NATSL_OK && (strcmp(r->tokenizer, "byte") != 0 || r->config->vocab_size < 256))
        st = wrong(r, "kind", "another kind: copies need a model with a byte tokenizer");
    if (st == NATSL_OK) st = read_word(r, "loss", losses, 1, &loss);
    if (st == NATSL_OK) st = read_word(r, "alphabet", alphabets, 4, &alphabet);
    if (st == NATSL_OK) st = read_range(r, "length", NATSL_COPY_LEAST, NATSL_COPY_MOST, &length);
    s->copy = (natsl_copy_task){(natsl_alphabet)alphabet, length.lo, length.hi};
    return st;
}

natsl_status natsl_source_parse(const json_t *spec, const char *where, const char *directory,
                                const natsl_config *config, const char *tokenizer, source *out)
{
    static const char *const kinds[] = {
        [SOURCE_TEXT] = "text", [SOURCE_NEEDLE] = "needle", [SOURCE_MQAR] = "mqar", [SOURCE_COPY] = "copy"};
    const reading r = {
        .object = spec, .where = where, .directory = directory, .tokenizer = tokenizer, .config = config};
    int kind = -1;
    out->weight = 1.0;
    if (!json_is_object(spec)) return natsl_fail(NATSL_ERR_INPUT, "%s: expected an object with a key kind", where);
    natsl_status st = read_word(&r, "kind", kinds, 4, &kind);
    if (st != NATSL_OK) return st;
    if (kind < 0) return wrong(&r, "kind", "one of: text needle mqar copy");
    out->kind = (source_kind)kind;
    st = read_number(&r, "weight", 0.0, 1e9, 0, &out->weight);
    if (st != NATSL_OK) return st;
    if (out->kind == SOURCE_TEXT) return parse_text(&r, out);
    if (out->kind == SOURCE_COPY) return parse_copy(&r, out);
    return out->kind == SOURCE_NEEDLE ? parse_needle(&r, out) : parse_mqar(&r, out);
}

void natsl_source_close(source *s) { natsl_corpus_close(&s->corpus); }
