/* context_check.h - what the tests of a context share: models, texts, reading in windows, comparison, a source that fails.
 * usage of such a test: test_x GOLDEN_DIR SCRATCH_DIR. CUnit on every rank; the worst result counts. */
#ifndef NATSL_TEST_CONTEXT_CHECK_H
#define NATSL_TEST_CONTEXT_CHECK_H

#include "files.h"
#include "layout.h"
#include "mpi_suite.h"

#include <hdf5.h>
#include <math.h>
#include <natsl/context.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *golden_dir, *scratch_dir;

static inline void *must(void *p)
{
    if (!p) {
        fprintf(stderr, "out of memory in the test\n");
        MPI_Abort(MPI_COMM_WORLD, 1);
    }
    return p;
}

/** A whole dataset as doubles; *count elements. Caller frees. NULL when it does not exist. */
static inline double *dataset(const char *path, const char *name, size_t *count)
{
    double *out = NULL;
    const hid_t file = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT);
    hid_t set;
    H5E_BEGIN_TRY { set = H5Dopen2(file, name, H5P_DEFAULT); }
    H5E_END_TRY
    if (set >= 0) {
        const hid_t space = H5Dget_space(set);
        *count = (size_t)H5Sget_simple_extent_npoints(space);
        out = must(malloc((*count + 1) * sizeof *out));
        H5Dread(set, H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL, H5P_DEFAULT, out);
        H5Sclose(space);
        H5Dclose(set);
    }
    H5Fclose(file);
    return out;
}

static inline natsl_model *open_model_as(MPI_Comm comm, const char *path, natsl_storage weights)
{
    natsl_model *m = NULL;
    const natsl_status st = natsl_model_open(comm, path, weights, &m);
    if (st != NATSL_OK) {
        fprintf(stderr, "%s\n", natsl_error_text());
        MPI_Abort(MPI_COMM_WORLD, 1);
    }
    return m;
}

static inline natsl_model *open_model(MPI_Comm comm, const char *path) { return open_model_as(comm, path, NATSL_F32); }

static inline natsl_context *new_context(MPI_Comm comm, const natsl_model *m, const natsl_options *o)
{
    natsl_context *cx = NULL;
    if (natsl_context_create(comm, m, o, &cx) != NATSL_OK) {
        fprintf(stderr, "%s\n", natsl_error_text());
        MPI_Abort(MPI_COMM_WORLD, 1);
    }
    return cx;
}

static inline uint64_t mix64(uint64_t *s)
{
    uint64_t z = (*s += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static inline double uniform(uint64_t *s) { return ((double)(mix64(s) >> 11) + 0.5) * 0x1p-53; }

static inline double normal(uint64_t *s) { return sqrt(-2.0 * log(uniform(s))) * cos(6.283185307179586 * uniform(s)); }

/** A model file with weights large enough that every path matters (as oracle.py random_parameters). Rank 0 writes. */
static inline void make_model(const char *json, uint64_t seed, const char *path)
{
    if (world_rank == 0) {
        natsl_config c;
        natsl_layout layout;
        natsl_status st = natsl_config_parse(json, strlen(json), "test", &c);
        if (st == NATSL_OK) st = natsl_layout_create(&c, NATSL_F32, &layout);
        float *flat = st == NATSL_OK ? must(calloc(layout.floats, sizeof *flat)) : NULL;
        for (size_t i = 0; st == NATSL_OK && i < layout.count; i++) {
            const natsl_tensor *t = &layout.tensors[i];
            const double last = (double)t->shape[t->rank - 1];
            for (size_t k = 0; k < t->count; k++) {
                double v = normal(&seed) / sqrt(last);
                if (strstr(t->name, "A_log")) v = log(0.05 + 3.95 * uniform(&seed));
                else if (strstr(t->name, "dt_bias")) v = log(expm1(exp(log(1e-3) + log(100.0) * uniform(&seed))));
                else if (strstr(t->name, "norm") && t->rank == 1) v = 1.0 + 0.2 * normal(&seed);
                else if (strstr(t->name, "embeddings")) v = normal(&seed);
                flat[t->offset + k] = (float)v;
            }
        }
        if (st == NATSL_OK) st = natsl_model_file_write(path, &c, "none", "test", &layout, flat);
        if (st != NATSL_OK) {
            fprintf(stderr, "%s\n", natsl_error_text());
            MPI_Abort(MPI_COMM_WORLD, 1);
        }
        natsl_layout_free(&layout);
        free(flat);
    }
    MPI_Barrier(MPI_COMM_WORLD);
}

static inline double relative(const double *want, const float *got, size_t n)
{
    double num = 0.0, den = 0.0;
    for (size_t i = 0; i < n; i++) num += (want[i] - got[i]) * (want[i] - got[i]), den += want[i] * want[i];
    return sqrt(num) / (sqrt(den) + 1e-30);
}

/** Largest absolute difference; NaN counts as infinite. */
static inline double furthest(const float *a, const float *b, size_t n)
{
    double most = 0.0;
    for (size_t i = 0; i < n; i++) {
        const double d = fabs((double)a[i] - (double)b[i]);
        if (!(d <= most)) most = isfinite(d) ? d : INFINITY;
    }
    return most;
}

/* ---- one text, many ways ---------------------------------------------------------------------------------------------- */

/* Several kinds of models; chunks smaller and larger than a tile, and not dividing it. */
static const struct {
    const char *name, *json;
} kinds[] = {
    {"hybrid",
     "{\"hidden_size\":64,\"num_hidden_layers\":3,\"vocab_size\":96,\"gdn_layers\":[1],\"nats_block_size\":64}"},
    {"options", "{\"hidden_size\":48,\"num_hidden_layers\":2,\"vocab_size\":64,\"num_v_heads\":4,\"num_nats_head\":2,"
                "\"expand_v\":1,"
                "\"gdn_layers\":[1],\"allow_neg_eigval\":true,\"attn_qk_norm\":false,\"attn_with_short_conv\":false,"
                "\"attn_apply_pos_encoding\":true,\"decay_for_non_gdn_blocks\":false,\"tie_word_embeddings\":true,"
                "\"nats_block_size\":48}"},
    {"tiny", "{\"hidden_size\":32,\"num_hidden_layers\":2,\"vocab_size\":50,\"head_dim\":8,\"gdn_layers\":[],\"nats_"
             "block_size\":3,"
             "\"conv_size\":2,\"use_gate\":false}"},
    {"large", "{\"hidden_size\":32,\"num_hidden_layers\":2,\"vocab_size\":50,\"head_dim\":8,\"gdn_layers\":[],\"nats_"
              "block_size\":300,"
              "\"use_short_conv\":false}"},
    {"one", "{\"hidden_size\":32,\"num_hidden_layers\":2,\"vocab_size\":50,\"head_dim\":8,\"gdn_layers\":[0],\"nats_"
            "block_size\":1,"
            "\"conv_size\":1}"},
    {"attention",
     "{\"hidden_size\":32,\"num_hidden_layers\":4,\"vocab_size\":50,\"head_dim\":8,\"intermediate_size\":32,"
     "\"gdn_layers\":[0],\"nats_block_size\":16,\"norm_zero_centred\":true,\"head_v_dim\":6,\"num_attn_heads\":2,"
     "\"attn\":[{\"layers\":[1],\"num_heads\":4,\"num_kv_heads\":2,\"qkv_bias\":true},"
     "{\"layers\":[2],\"num_heads\":6,\"num_kv_heads\":2,\"head_dim\":10,\"rotary_dim\":4,\"output_gate\":true,"
     "\"qk_norm\":true,\"window_size\":100},"
     "{\"layers\":[3],\"num_heads\":2,\"window_size\":5}]}"},
    {"wide attention",
     "{\"hidden_size\":32,\"num_hidden_layers\":2,\"vocab_size\":50,\"intermediate_size\":32,\"gdn_layers\":[],"
     "\"nats_block_size\":300,\"attn\":[{\"layers\":[0],\"num_heads\":4,\"num_kv_heads\":1},"
     "{\"layers\":[1],\"num_heads\":2,\"window_size\":290,\"output_gate\":true}]}"},
};
#define KINDS ((int)(sizeof kinds / sizeof kinds[0]))
#define TEXT  1000

/** Whether this kind of model is read in this way: in all of them; under sanitizers, which look at accesses and are slow, each
 * kind in a third of the ways and each way by a third of the kinds. */
static inline int taken(int kind, size_t way)
{
#ifdef __SANITIZE_ADDRESS__
    return ((size_t)kind + way) % 3 == 0;
#else
    (void)kind, (void)way;
    return 1;
#endif
}

static inline natsl_model *kind_model_as(int kind, MPI_Comm comm, natsl_storage weights)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/kind-%d-%d.h5", scratch_dir, kind, world_size);
    int there = access(path, R_OK) == 0;
    MPI_Bcast(&there, 1, MPI_INT, 0, MPI_COMM_WORLD);
    if (!there) make_model(kinds[kind].json, 1234 + (uint64_t)kind, path);
    return open_model_as(comm, path, weights);
}

static inline natsl_model *kind_model(int kind, MPI_Comm comm) { return kind_model_as(kind, comm, NATSL_F32); }

static inline void make_text(const natsl_model *m, int32_t *tokens, size_t n)
{
    uint64_t s = 99;
    for (size_t i = 0; i < n; i++) tokens[i] = (int32_t)(mix64(&s) % (uint64_t)natsl_model_config(m)->vocab_size);
}

/** States of all layers behind one another. */
static inline float *all_states(natsl_context *cx, const natsl_config *c, size_t *floats)
{
    const size_t one = (size_t)c->num_v_heads * (size_t)c->head_dim * (size_t)c->head_v_dim;
    *floats = 2 * one * (size_t)c->num_hidden_layers;
    float *s = must(calloc(*floats, sizeof *s)); /* zeros for layers without a state */
    for (int l = 0; l < c->num_hidden_layers; l++)
        CU_ASSERT_EQUAL(natsl_context_state(cx, l, s + 2 * (size_t)l * one, s + (2 * (size_t)l + 1) * one),
                        c->kind[l] == NATSL_LAYER_ATTN ? NATSL_ERR_USAGE : NATSL_OK);
    return s;
}

/** Reads the text in windows of the given lengths, cycling, up to token `until`, and the rest in one window; 0 means one token by
 * natsl_context_next (no log-probability). */
static inline natsl_context *read_until(MPI_Comm comm, const natsl_model *m, const natsl_options *o,
                                        const int32_t *tokens, const int *windows, int n_windows, int64_t until,
                                        float *logprobs)
{
    natsl_context *cx = new_context(comm, m, o);
    for (int64_t at = 0, i = 0; at < TEXT; i++) {
        const int64_t w = at < until ? windows[i % n_windows] : TEXT;
        int64_t n = w ? w : 1;
        if (n > TEXT - at) n = TEXT - at;
        if (w) {
            CU_ASSERT_EQUAL_FATAL(natsl_context_extend_array(cx, n, tokens + at, logprobs + at), NATSL_OK);
        } else {
            CU_ASSERT_EQUAL_FATAL(natsl_context_next(cx, tokens[at]), NATSL_OK);
        }
        at += n;
    }
    return cx;
}

static inline natsl_context *read_in(MPI_Comm comm, const natsl_model *m, const natsl_options *o, const int32_t *tokens,
                                     const int *windows, int n_windows, float *logprobs)
{
    return read_until(comm, m, o, tokens, windows, n_windows, TEXT, logprobs);
}

/* ---- trouble ----------------------------------------------------------------------------------------------------------- */

typedef struct trouble {
    const int32_t *tokens;
    int64_t at; /* the token whose reading fails */
} trouble;

static inline natsl_status failing_tokens(void *user, int64_t first, int64_t count, int32_t *ids)
{
    const trouble *t = user;
    if (first <= t->at && t->at < first + count) return NATSL_ERR_IO;
    for (int64_t i = 0; i < count; i++) ids[i] = t->tokens[(first + i) % TEXT];
    return NATSL_OK;
}

/** Takes the two directories from the command line and runs the table. */
static inline int run_suite_context(int argc, char **argv, const char *name, const test_entry *tests, size_t count)
{
    if (argc != 3) {
        fprintf(stderr, "usage: %s GOLDEN_DIR SCRATCH_DIR\n", argv[0]);
        return 2;
    }
    golden_dir = argv[1];
    scratch_dir = argv[2];
    return run_suite_mpi(&argc, &argv, name, tests, count);
}

#endif
