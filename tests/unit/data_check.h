/* data_check.h - what the tests of training windows share: a specification in a test's own directory, and where a window goes. */
#ifndef NATSL_TEST_DATA_CHECK_H
#define NATSL_TEST_DATA_CHECK_H

#include "data.h"
#include "scratch.h"

#include "../suite.h"

#include <hdf5.h>

#define MOST 20000 /* tokens of a window */

static int32_t ids[MOST], targets[MOST];

/** A token file of ids first, first + 1, ... */
static inline void write_tokens(const char *name, const char *dataset, int32_t first, size_t count)
{
    const hsize_t dims[1] = {count};
    int32_t *values = malloc(count * sizeof *values);
    const hid_t file = H5Fcreate(scratch_path(name), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    const hid_t space = H5Screate_simple(1, dims, NULL);
    const hid_t set = H5Dcreate2(file, dataset, H5T_STD_I32LE, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    for (size_t i = 0; i < count; i++) values[i] = first + (int32_t)i;
    if (H5Dwrite(set, H5T_NATIVE_INT32, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) < 0) abort();
    (void)H5Dclose(set);
    (void)H5Sclose(space);
    (void)H5Fclose(file);
    free(values);
}

/** Opens a specification in JSON with ' for ". */
static inline natsl_status open_spec(const char *spec, int32_t vocab, const char *tokenizer,
                                     const natsl_corpus_ranks *ranks, uint64_t seed, natsl_data **out)
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
    json_t *json = json_loads(text, JSON_DECODE_ANY | JSON_ALLOW_NUL, &e);
    if (!json) {
        printf("\n    %s: %s\n", text, e.text);
        abort();
    }
    const natsl_status st = natsl_data_open(json, "T.json: data", scratch, &config, tokenizer, ranks, seed, out);
    json_decref(json); /* nothing of it is kept */
    return st;
}

/** The same of a model without a tokenizer.json. */
static inline natsl_status open_data(const char *spec, int32_t vocab, const char *tokenizer, uint64_t seed,
                                     natsl_data **out)
{
    return open_spec(spec, vocab, tokenizer, NULL, seed, out);
}

static inline natsl_data *must_open(const char *spec, int32_t vocab, const char *tokenizer, uint64_t seed)
{
    natsl_data *d = NULL;
    const natsl_status st = open_data(spec, vocab, tokenizer, seed, &d);
    EXPECT(st == NATSL_OK, "%s", natsl_error_text());
    CU_ASSERT_PTR_NOT_NULL_FATAL(d);
    return d;
}

#endif
