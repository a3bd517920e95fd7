/* spec.h - a training's configuration (JSON): what is trained, how long, on what. README.md, "Train", lists every key.
 * Owns: the parsed text. MPI: none; all ranks parse the same bytes. Tests: tests/unit/test_spec.c, tests/cli/train.sh */
#ifndef NATSL_SPEC_H
#define NATSL_SPEC_H

#include "adamw.h"
#include <jansson.h>
#include <natsl/config.h>

#define NATSL_SPEC_LENGTHS 16

/** A part of the training: windows of these lengths, from these sources. */
typedef struct natsl_spec_phase {
    int64_t steps, windows; /* windows of a step, of all groups together */
    int64_t tokens[NATSL_SPEC_LENGTHS];
    size_t n_tokens;
    double kept_weight, kept_target; /* target below 0: none */
    double hint_weight;
    int route;          /* natsl_route: learned, or all choices forced */
    int gumbel;         /* 0: the largest score chooses */
    const json_t *data; /* borrowed from the spec */
} natsl_spec_phase;

typedef struct natsl_spec {
    json_t *json;
    natsl_config model;
    const char *
        tokenizer; /* "byte"; "none": token files only; "json": of tokenizer_file; where none is named, init's comes first */
    char *tokenizer_file; /* path of a tokenizer.json; NULL: none is named */
    int tokenizer_named;  /* the key is there */
    const char *init;     /* weights to start from; NULL: random */
    char *directory;      /* of the file: relative names in it start there; ends in '/' or is "" */
    int64_t seed;
    natsl_adamw_settings adamw;
    double learning_rate, least_rate; /* the cosine goes from the one to that part of it */
    int64_t warmup_steps;
    double temperature;
    int64_t hint_tokens; /* a chunk of which so many tokens tell something is one to keep */
    natsl_spec_phase *phases;
    size_t n_phases;
    int64_t steps;  /* of all phases */
    int64_t tokens; /* of the longest window, validation included */
    struct {
        int64_t every, windows;
        int64_t tokens[NATSL_SPEC_LENGTHS];
        size_t n_tokens;
        const json_t *data; /* NULL: the last phase's */
    } validation;           /* every 0: none */
    struct {
        int64_t every_steps;
        double every_minutes; /* 0: not by time */
        int64_t keep;
    } checkpoint;
} natsl_spec;

/** Parses `length` bytes of JSON; `path`: where they come from. The model's configuration may be in a file of its own, which is read
 * here. NATSL_ERR_INPUT with one line; NATSL_ERR_NOMEM. Release with natsl_spec_free (also after an error). */
natsl_status natsl_spec_parse(const char *text, size_t length, const char *path, natsl_spec *out);
void natsl_spec_free(natsl_spec *spec);

/** Phase of step `step` (0-based), and of windows drawn before it in all. */
size_t natsl_spec_phase_of(const natsl_spec *spec, int64_t step, int64_t *windows_before);
/** Learning rate of step `step`: linear warm-up, then a cosine over the steps that are left. */
double natsl_spec_rate(const natsl_spec *spec, int64_t step);
/** Length of window `window`, one of its phase's. */
int64_t natsl_spec_window_tokens(const natsl_spec *spec, size_t phase, int64_t window);

#endif
