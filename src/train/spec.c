/* spec.c - see spec.h. */
#include "spec.h"

#include "fields.h"
#include "tokenizer.h"
#include "whole_file.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_STEPS  1e12
#define MAX_TOKENS 1e9

/* ---- lengths --------------------------------------------------------------------------------------------------------------- */

/** A number, or a list of numbers. */
static natsl_status read_lengths(const json_t *v, const char *where, int64_t *to, size_t *n)
{
    const size_t count = json_is_array(v) ? json_array_size(v) : 1;
    if (count == 0 || count > NATSL_SPEC_LENGTHS)
        return natsl_fail(NATSL_ERR_INPUT, "%s: expected a number of tokens, or a list of 1 to %d of them", where,
                          NATSL_SPEC_LENGTHS);
    for (size_t i = 0; i < count; i++) {
        const json_t *one = json_is_array(v) ? json_array_get(v, i) : v;
        if (!json_is_integer(one) || json_integer_value(one) < 2 || (double)json_integer_value(one) > MAX_TOKENS)
            return natsl_fail(NATSL_ERR_INPUT, "%s: expected numbers of tokens, 2 to %.0f", where, MAX_TOKENS);
        to[i] = (int64_t)json_integer_value(one);
    }
    *n = count;
    return NATSL_OK;
}

static int64_t longest(const int64_t *tokens, size_t n)
{
    int64_t most = 0;
    for (size_t i = 0; i < n; i++) most = tokens[i] > most ? tokens[i] : most;
    return most;
}

/* ---- parts ----------------------------------------------------------------------------------------------------------------- */

typedef struct raw_spec {
    const json_t *model, *optimizer, *gate, *data, *phases, *validation, *checkpoint;
    const char *init;
    int64_t seed;
    const char *tokenizer;
} raw_spec;

#define AT(type, member) offsetof(type, member)

static natsl_status read_optimizer(natsl_spec *s, const json_t *v, const char *where)
{
    static const natsl_field fields[] = {
        {NATSL_FIELD_REAL, "learning_rate", AT(natsl_spec, learning_rate), 0, 0, 1e3, NULL},
        {NATSL_FIELD_REAL, "least_rate", AT(natsl_spec, least_rate), 0, 0, 1, NULL},
        {NATSL_FIELD_COUNT, "warmup_steps", AT(natsl_spec, warmup_steps), 0, 0, MAX_STEPS, NULL},
        {NATSL_FIELD_REAL, "beta1", AT(natsl_spec, adamw.beta1), 0, 0, 0.999999, NULL},
        {NATSL_FIELD_REAL, "beta2", AT(natsl_spec, adamw.beta2), 0, 0, 0.999999, NULL},
        {NATSL_FIELD_REAL, "epsilon", AT(natsl_spec, adamw.epsilon), 0, 1e-30, 1, NULL},
        {NATSL_FIELD_REAL, "weight_decay", AT(natsl_spec, adamw.weight_decay), 0, 0, 10, NULL},
        {NATSL_FIELD_REAL, "clip", AT(natsl_spec, adamw.clip), 0, 0, 1e9, NULL},
        {.kind = NATSL_FIELD_END}};
    char place[512];
    return v ? natsl_fields_read(v, natsl_fields_where(place, sizeof place, where, "optimizer", -1), fields, s)
             : NATSL_OK;
}

typedef struct raw_gate {
    int choice;
    double temperature, kept_weight, hint_weight;
    int64_t hint_tokens;
} raw_gate;

static const char *const choices[] = {"argmax", "gumbel", NULL};

static natsl_status read_gate(natsl_spec *s, const json_t *v, const char *where, raw_gate *out)
{
    static const natsl_field fields[] = {
        {NATSL_FIELD_WORD, "choice", AT(raw_gate, choice), 0, 0, 0, choices},
        {NATSL_FIELD_REAL, "temperature", AT(raw_gate, temperature), 0, 1e-3, 1e3, NULL},
        {NATSL_FIELD_REAL, "kept_weight", AT(raw_gate, kept_weight), 0, -1e6, 1e6, NULL},
        {NATSL_FIELD_REAL, "hint_weight", AT(raw_gate, hint_weight), 0, 0, 1e6, NULL},
        {NATSL_FIELD_COUNT, "hint_tokens", AT(raw_gate, hint_tokens), 0, 1, MAX_TOKENS, NULL},
        {.kind = NATSL_FIELD_END}};
    char place[512];
    natsl_status st = NATSL_OK;
    *out = (raw_gate){.temperature = 1.0, .hint_tokens = 2};
    if (v) st = natsl_fields_read(v, natsl_fields_where(place, sizeof place, where, "gate", -1), fields, out);
    s->temperature = out->temperature;
    s->hint_tokens = out->hint_tokens;
    return st;
}

typedef struct raw_phase {
    int64_t steps, windows;
    const json_t *tokens, *data;
    double kept_weight, kept_target, hint_weight;
    int route, choice;
} raw_phase;

static natsl_status read_phases(natsl_spec *s, const raw_spec *raw, const char *where, const raw_gate *gate)
{
    static const char *const routes[] = {"learned", "softmax", "linear", NULL}; /* in natsl_route's order */
    static const natsl_field fields[] = {
        {NATSL_FIELD_COUNT, "steps", AT(raw_phase, steps), 1, 1, MAX_STEPS, NULL},
        {NATSL_FIELD_COUNT, "windows", AT(raw_phase, windows), 1, 1, 1e6, NULL},
        {NATSL_FIELD_ANY, "tokens", AT(raw_phase, tokens), 1, 0, 0, NULL},
        {NATSL_FIELD_REAL, "kept_weight", AT(raw_phase, kept_weight), 0, -1e6, 1e6, NULL},
        {NATSL_FIELD_REAL, "hint_weight", AT(raw_phase, hint_weight), 0, 0, 1e6, NULL},
        {NATSL_FIELD_REAL, "kept_target", AT(raw_phase, kept_target), 0, 0, 1, NULL},
        {NATSL_FIELD_WORD, "choice", AT(raw_phase, choice), 0, 0, 0, choices},
        {NATSL_FIELD_WORD, "route", AT(raw_phase, route), 0, 0, 0, routes},
        {NATSL_FIELD_ARRAY, "data", AT(raw_phase, data), 0, 0, 0, NULL},
        {.kind = NATSL_FIELD_END}};
    const size_t n = json_array_size(raw->phases);
    s->phases = natsl_calloc(n, sizeof *s->phases, "phases");
    if (!s->phases) return NATSL_ERR_NOMEM;
    s->n_phases = n;
    for (size_t i = 0; i < n; i++) {
        char place[256], tokens[512];
        raw_phase p = {.data = raw->data,
                       .kept_weight = gate->kept_weight,
                       .hint_weight = gate->hint_weight,
                       .kept_target = -1.0,
                       .choice = gate->choice};
        natsl_fields_where(place, sizeof place, where, "phases", (int64_t)i);
        natsl_status st = natsl_fields_read(json_array_get(raw->phases, i), place, fields, &p);
        if (st == NATSL_OK)
            st = read_lengths(p.tokens, natsl_fields_where(tokens, sizeof tokens, place, "tokens", -1),
                              s->phases[i].tokens, &s->phases[i].n_tokens);
        if (st == NATSL_OK && !p.data)
            st = natsl_fail(NATSL_ERR_INPUT, "%s: no data, expected a list of sources there or for all phases", place);
        if (st != NATSL_OK) return st;
        s->phases[i].steps = p.steps;
        s->phases[i].windows = p.windows;
        s->phases[i].kept_weight = p.kept_weight;
        s->phases[i].data = p.data;
        s->phases[i].route = p.route;
        s->phases[i].gumbel = p.choice;
        s->phases[i].kept_target = p.kept_target;
        s->phases[i].hint_weight = p.hint_weight;
        s->steps += p.steps;
        const int64_t most = longest(s->phases[i].tokens, s->phases[i].n_tokens);
        s->tokens = most > s->tokens ? most : s->tokens;
    }
    if ((double)s->steps > MAX_STEPS) return natsl_fail(NATSL_ERR_INPUT, "%sphases: too many steps", where);
    return NATSL_OK;
}

typedef struct raw_validation {
    int64_t every, windows;
    const json_t *tokens, *data;
} raw_validation;

static natsl_status read_validation(natsl_spec *s, const json_t *v, const char *where)
{
    static const natsl_field fields[] = {{NATSL_FIELD_COUNT, "every", AT(raw_validation, every), 1, 1, MAX_STEPS, NULL},
                                         {NATSL_FIELD_COUNT, "windows", AT(raw_validation, windows), 1, 1, 1e6, NULL},
                                         {NATSL_FIELD_ANY, "tokens", AT(raw_validation, tokens), 1, 0, 0, NULL},
                                         {NATSL_FIELD_ARRAY, "data", AT(raw_validation, data), 0, 0, 0, NULL},
                                         {.kind = NATSL_FIELD_END}};
    char place[256], tokens[512];
    raw_validation raw = {.data = s->phases[s->n_phases - 1].data};
    if (!v) return NATSL_OK;
    natsl_fields_where(place, sizeof place, where, "validation", -1);
    natsl_status st = natsl_fields_read(v, place, fields, &raw);
    if (st == NATSL_OK)
        st = read_lengths(raw.tokens, natsl_fields_where(tokens, sizeof tokens, place, "tokens", -1),
                          s->validation.tokens, &s->validation.n_tokens);
    if (st != NATSL_OK) return st;
    s->validation.every = raw.every;
    s->validation.windows = raw.windows;
    s->validation.data = raw.data;
    const int64_t most = longest(s->validation.tokens, s->validation.n_tokens);
    s->tokens = most > s->tokens ? most : s->tokens;
    return NATSL_OK;
}

static natsl_status read_checkpoint(natsl_spec *s, const json_t *v, const char *where)
{
    static const natsl_field fields[] = {
        {NATSL_FIELD_COUNT, "every_steps", AT(natsl_spec, checkpoint.every_steps), 0, 0, MAX_STEPS, NULL},
        {NATSL_FIELD_REAL, "every_minutes", AT(natsl_spec, checkpoint.every_minutes), 0, 0, 1e6, NULL},
        {NATSL_FIELD_COUNT, "keep", AT(natsl_spec, checkpoint.keep), 0, 1, 1e6, NULL},
        {.kind = NATSL_FIELD_END}};
    char place[512];
    return v ? natsl_fields_read(v, natsl_fields_where(place, sizeof place, where, "checkpoint", -1), fields, s)
             : NATSL_OK;
}

/** The model's configuration: an object, or the name of a file that has it. */
static natsl_status read_model(natsl_spec *s, const json_t *v, const char *where)
{
    char path[4096], place[512];
    natsl_status st;
    natsl_fields_where(place, sizeof place, where, "model", -1);
    if (json_is_object(v)) {
        char *text = json_dumps(v, JSON_COMPACT);
        st = text ? natsl_config_parse(text, strlen(text), place, &s->model)
                  : natsl_fail(NATSL_ERR_NOMEM, "out of memory: configuration");
        free(text);
        return st;
    }
    if (!json_is_string(v))
        return natsl_fail(NATSL_ERR_INPUT, "%s: expected a configuration, or the name of a file that has one", place);
    const char *name = json_string_value(v);
    const int n = snprintf(path, sizeof path, "%s%s", name[0] == '/' ? "" : s->directory, name);
    if (n < 0 || (size_t)n >= sizeof path) return natsl_fail(NATSL_ERR_INPUT, "%s: the path is too long", place);
    char *text = NULL;
    size_t length = 0;
    st = natsl_whole_file(path, NATSL_MAX_CONFIG_BYTES, "a configuration", &text, &length);
    if (st == NATSL_ERR_INPUT) {
        char line[1024];
        (void)snprintf(line, sizeof line, "%s", natsl_error_text());
        return natsl_fail(st, "%s: %s", place, line);
    }
    if (st == NATSL_OK) st = natsl_config_parse(text, length, path, &s->model);
    natsl_free(text);
    return st;
}

/* ---- the whole ------------------------------------------------------------------------------------------------------------- */

static natsl_status read_tokenizer(natsl_spec *s, const char *name, const char *where)
{
    s->tokenizer_named = name != NULL;
    s->tokenizer = natsl_tokenizer_unnamed(s->model.vocab_size);
    if (!name || (strcmp(name, "byte") == 0 && strcmp(s->tokenizer, "byte") == 0)) return NATSL_OK;
    if (strcmp(name, "byte") == 0)
        return natsl_fail(NATSL_ERR_INPUT, "%stokenizer: byte needs vocab_size %d or more, found %d", where,
                          NATSL_BYTE_TOKENS, s->model.vocab_size);
    s->tokenizer = "none";
    if (strcmp(name, "none") == 0) return NATSL_OK;
    const size_t n = strlen(name);
    if (n < 5 || strcmp(name + n - 5, ".json") != 0)
        return natsl_fail(NATSL_ERR_INPUT, "%stokenizer: expected byte, none or the name of a tokenizer.json", where);
    const size_t size = strlen(s->directory) + n + 1;
    s->tokenizer = "json";
    if (!(s->tokenizer_file = natsl_alloc(size, 1, "a path"))) return NATSL_ERR_NOMEM;
    (void)snprintf(s->tokenizer_file, size, "%s%s", name[0] == '/' ? "" : s->directory, name);
    return NATSL_OK;
}

static natsl_status read_all(natsl_spec *s, const char *where)
{
    static const natsl_field fields[] = {{NATSL_FIELD_ANY, "model", AT(raw_spec, model), 1, 0, 0, NULL},
                                         {NATSL_FIELD_TEXT, "tokenizer", AT(raw_spec, tokenizer), 0, 0, 0, NULL},
                                         {NATSL_FIELD_TEXT, "init", AT(raw_spec, init), 0, 0, 0, NULL},
                                         {NATSL_FIELD_COUNT, "seed", AT(raw_spec, seed), 0, 0, 0x1p53, NULL},
                                         {NATSL_FIELD_OBJECT, "optimizer", AT(raw_spec, optimizer), 0, 0, 0, NULL},
                                         {NATSL_FIELD_OBJECT, "gate", AT(raw_spec, gate), 0, 0, 0, NULL},
                                         {NATSL_FIELD_ARRAY, "data", AT(raw_spec, data), 0, 0, 0, NULL},
                                         {NATSL_FIELD_ARRAY, "phases", AT(raw_spec, phases), 1, 0, 0, NULL},
                                         {NATSL_FIELD_OBJECT, "validation", AT(raw_spec, validation), 0, 0, 0, NULL},
                                         {NATSL_FIELD_OBJECT, "checkpoint", AT(raw_spec, checkpoint), 0, 0, 0, NULL},
                                         {.kind = NATSL_FIELD_END}};
    raw_spec raw = {0};
    raw_gate gate;
    natsl_status st = natsl_fields_read(s->json, where, fields, &raw);
    if (st == NATSL_OK) st = read_model(s, raw.model, where);
    if (st == NATSL_OK) st = read_tokenizer(s, raw.tokenizer, where);
    if (st == NATSL_OK) st = read_optimizer(s, raw.optimizer, where);
    if (st == NATSL_OK) st = read_gate(s, raw.gate, where, &gate);
    if (st == NATSL_OK) st = read_phases(s, &raw, where, &gate);
    if (st == NATSL_OK) st = read_validation(s, raw.validation, where);
    if (st == NATSL_OK) st = read_checkpoint(s, raw.checkpoint, where);
    s->seed = raw.seed;
    s->init = raw.init;
    return st;
}

natsl_status natsl_spec_parse(const char *text, size_t length, const char *path, natsl_spec *s)
{
    char where[400];
    json_error_t error;
    const char *slash = strrchr(path, '/');
    const size_t n = slash ? (size_t)(slash - path) + 1 : 0;
    memset(s, 0, sizeof *s);
    s->learning_rate = 1e-3;
    s->least_rate = 0.1;
    s->warmup_steps = 100;
    s->adamw = (natsl_adamw_settings){.beta1 = 0.9, .beta2 = 0.95, .epsilon = 1e-8, .weight_decay = 0.1, .clip = 1.0};
    s->checkpoint.keep = 2;
    s->checkpoint.every_minutes = 10.0;
    s->directory = natsl_alloc(n + 1, 1, "a path");
    if (!s->directory) return NATSL_ERR_NOMEM;
    memcpy(s->directory, path, n);
    s->directory[n] = '\0';
    s->json = json_loadb(text, length, JSON_REJECT_DUPLICATES, &error);
    if (!s->json) return natsl_fail(NATSL_ERR_INPUT, "%s: line %d: %s", path, error.line, error.text);
    (void)snprintf(where, sizeof where, "%s: ", path);
    return read_all(s, where);
}

void natsl_spec_free(natsl_spec *s)
{
    natsl_free(s->directory);
    natsl_free(s->tokenizer_file);
    natsl_free(s->phases);
    json_decref(s->json);
    memset(s, 0, sizeof *s);
}

size_t natsl_spec_phase_of(const natsl_spec *s, int64_t step, int64_t *windows_before)
{
    size_t i = 0;
    *windows_before = 0;
    for (; i + 1 < s->n_phases && step >= s->phases[i].steps; i++) {
        step -= s->phases[i].steps;
        *windows_before += s->phases[i].steps * s->phases[i].windows;
    }
    *windows_before += step * s->phases[i].windows;
    return i;
}

double natsl_spec_rate(const natsl_spec *s, int64_t step)
{
    if (step < s->warmup_steps) return s->learning_rate * (double)(step + 1) / (double)(s->warmup_steps + 1);
    const double left = (double)(s->steps - s->warmup_steps);
    const double at = left > 0.0 ? (double)(step - s->warmup_steps) / left : 1.0;
    const double part = 0.5 * (1.0 + cos(3.14159265358979323846 * (at < 1.0 ? at : 1.0)));
    return s->learning_rate * (s->least_rate + (1.0 - s->least_rate) * part);
}

int64_t natsl_spec_window_tokens(const natsl_spec *s, size_t phase, int64_t window)
{
    const natsl_spec_phase *p = &s->phases[phase];
    uint64_t z = ((uint64_t)window + (uint64_t)s->seed * 0x2545f4914f6cdd1du + 1) * 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return p->tokens[(z ^ (z >> 31)) % p->n_tokens];
}
