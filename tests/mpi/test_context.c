/* test_context.c - the context on any number of ranks: against the oracle's golden cases, against itself read in other windows,
 * passes, stages and ranks, and its behaviour when a rank runs into trouble.
 * usage: test_context GOLDEN_DIR SCRATCH_DIR. Run at 1, 2, 3, 5, 8 ranks. CUnit on every rank; the worst result counts. */
#include <CUnit/Basic.h>
#include <hdf5.h>
#include <math.h>
#include <natsl/context.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "files.h"
#include "layout.h"

static const char *golden_dir, *scratch_dir;
static int world_rank, world_size;

/* Tolerances. float32 against float64 over a few layers is at 5e-6; the rest is room for other CPUs' kernels. */
#define LOGPROB_TOL 1e-4
#define STATE_TOL   1e-4
/* The same text in other windows: other product shapes, so only rounding differs. */
#define WINDOW_TOL 5e-5

/* ---- helpers --------------------------------------------------------------------------------------------------------- */

static void *must(void *p)
{
    if (!p) {
        fprintf(stderr, "out of memory in the test\n");
        MPI_Abort(MPI_COMM_WORLD, 1);
    }
    return p;
}

/** A whole dataset as doubles; *count elements. Caller frees. NULL when it does not exist. */
static double *dataset(const char *path, const char *name, size_t *count)
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

static natsl_model *open_model(MPI_Comm comm, const char *path)
{
    natsl_model *m = NULL;
    const natsl_status st = natsl_model_open(comm, path, NATSL_F32, &m);
    if (st != NATSL_OK) {
        fprintf(stderr, "%s\n", natsl_error_text());
        MPI_Abort(MPI_COMM_WORLD, 1);
    }
    return m;
}

static natsl_context *new_context(MPI_Comm comm, const natsl_model *m, const natsl_options *o)
{
    natsl_context *cx = NULL;
    if (natsl_context_create(comm, m, o, &cx) != NATSL_OK) {
        fprintf(stderr, "%s\n", natsl_error_text());
        MPI_Abort(MPI_COMM_WORLD, 1);
    }
    return cx;
}

static uint64_t mix64(uint64_t *s)
{
    uint64_t z = (*s += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static double uniform(uint64_t *s) { return ((double)(mix64(s) >> 11) + 0.5) * 0x1p-53; }

static double normal(uint64_t *s) { return sqrt(-2.0 * log(uniform(s))) * cos(6.283185307179586 * uniform(s)); }

/** A model file with weights large enough that every path matters (as oracle.py random_parameters). Rank 0 writes. */
static void make_model(const char *json, uint64_t seed, const char *path)
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

static double relative(const double *want, const float *got, size_t n)
{
    double num = 0.0, den = 0.0;
    for (size_t i = 0; i < n; i++) num += (want[i] - got[i]) * (want[i] - got[i]), den += want[i] * want[i];
    return sqrt(num) / (sqrt(den) + 1e-30);
}

/** Largest absolute difference; NaN counts as infinite. */
static double furthest(const float *a, const float *b, size_t n)
{
    double most = 0.0;
    for (size_t i = 0; i < n; i++) {
        const double d = fabs((double)a[i] - (double)b[i]);
        if (!(d <= most)) most = isfinite(d) ? d : INFINITY;
    }
    return most;
}

/* ---- golden cases ---------------------------------------------------------------------------------------------------- */

typedef struct collected {
    const int32_t *tokens;
    float *logprobs, *hidden;
    uint8_t *keep; /* [layers, chunks, heads] */
    int64_t chunks;
    int heads;
    size_t d;
} collected;

static natsl_status give_tokens(void *user, int64_t first, int64_t count, int32_t *ids)
{
    const collected *c = user;
    memcpy(ids, c->tokens + first, (size_t)count * sizeof *ids);
    return NATSL_OK;
}
static natsl_status take_logprobs(void *user, int64_t first, int64_t count, const float *v)
{
    memcpy(((collected *)user)->logprobs + first, v, (size_t)count * sizeof *v);
    return NATSL_OK;
}
static natsl_status take_hidden(void *user, int64_t first, int64_t count, const float *v)
{
    collected *c = user;
    memcpy(c->hidden + (size_t)first * c->d, v, (size_t)count * c->d * sizeof *v);
    return NATSL_OK;
}
static natsl_status take_choices(void *user, int layer, int64_t first, int64_t count, const uint8_t *keep)
{
    collected *c = user;
    memcpy(c->keep + ((size_t)(layer * c->chunks + first)) * (size_t)c->heads, keep, (size_t)count * (size_t)c->heads);
    return NATSL_OK;
}

static void golden_case(const char *name, const natsl_options *options)
{
    char model_path[4096], tokens_path[4096], score_path[4096], set[64];
    snprintf(model_path, sizeof model_path, "%s/%s-model.h5", golden_dir, name);
    snprintf(tokens_path, sizeof tokens_path, "%s/%s-tokens.h5", golden_dir, name);
    snprintf(score_path, sizeof score_path, "%s/%s-score.h5", golden_dir, name);
    natsl_model *model = open_model(MPI_COMM_WORLD, model_path);
    natsl_context *cx = new_context(MPI_COMM_WORLD, model, options);
    const natsl_config *c = natsl_model_config(model);
    size_t n = 0, m = 0;
    double *t = dataset(tokens_path, "tokens", &n), *want;
    int32_t *tokens = must(malloc(n * sizeof *tokens));
    for (size_t i = 0; i < n; i++) tokens[i] = (int32_t)t[i];
    free(t);
    const size_t d = (size_t)c->hidden_size, chunks = n / (size_t)c->chunk, heads = (size_t)c->num_nats_head;
    collected got = {.tokens = tokens, .chunks = (int64_t)chunks, .heads = c->num_nats_head, .d = d};
    const size_t keep_bytes = (size_t)c->num_hidden_layers * chunks * heads;
    got.logprobs = must(calloc(n, sizeof(float)));
    got.hidden = must(calloc(n * d, sizeof(float)));
    got.keep = must(calloc(keep_bytes, 1));
    const natsl_stream stream = {
        .user = &got, .tokens = give_tokens, .logprobs = take_logprobs, .hidden = take_hidden, .choices = take_choices};
    CU_ASSERT_EQUAL_FATAL(natsl_context_extend(cx, (int64_t)n, &stream), NATSL_OK);
    CU_ASSERT_EQUAL(natsl_context_position(cx), (int64_t)n);
    MPI_Allreduce(MPI_IN_PLACE, got.logprobs, (int)n, MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD);
    MPI_Allreduce(MPI_IN_PLACE, got.hidden, (int)(n * d), MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD);
    MPI_Allreduce(MPI_IN_PLACE, got.keep, (int)keep_bytes, MPI_UINT8_T, MPI_SUM, MPI_COMM_WORLD);

    want = dataset(score_path, "logprobs", &m);
    CU_ASSERT_EQUAL_FATAL(m, n - 1);
    for (size_t i = 0; i < m; i++) {
        if (!(fabs(want[i] - got.logprobs[i]) <= LOGPROB_TOL)) {
            fprintf(stderr, "%s: logprob %zu: got %g, want %g\n", name, i, got.logprobs[i], want[i]);
            CU_FAIL("logprobs");
            break;
        }
    }
    free(want);
    want = dataset(score_path, "hidden", &m);
    CU_ASSERT(relative(want, got.hidden, m) <= STATE_TOL);
    free(want);
    const size_t vocab = (size_t)c->vocab_size;
    float *logits = must(malloc(vocab * sizeof *logits));
    CU_ASSERT_EQUAL(natsl_context_logits(cx, logits), NATSL_OK);
    want = dataset(score_path, "logits_last", &m);
    CU_ASSERT_EQUAL_FATAL(m, vocab);
    CU_ASSERT(relative(want, logits, m) <= STATE_TOL);
    free(want);
    const size_t state_floats = (size_t)c->num_v_heads * (size_t)c->head_dim * (size_t)c->head_v_dim;
    float *state = must(malloc(2 * state_floats * sizeof *state));
    for (int l = 0; l < c->num_hidden_layers; l++) {
        CU_ASSERT_EQUAL(natsl_context_state(cx, l, state, state + state_floats), NATSL_OK);
        snprintf(set, sizeof set, "state/%d", l);
        want = dataset(score_path, set, &m);
        CU_ASSERT_EQUAL_FATAL(m, state_floats);
        CU_ASSERT(relative(want, state, m) <= STATE_TOL);
        free(want);
        snprintf(set, sizeof set, "block_state/%d", l);
        if (!(want = dataset(score_path, set, &m))) continue;
        CU_ASSERT(relative(want, state + state_floats, m) <= STATE_TOL);
        free(want);
        snprintf(set, sizeof set, "softmax_chunks/%d", l);
        want = dataset(score_path, set, &m);
        CU_ASSERT_EQUAL_FATAL(m, chunks * heads);
        for (size_t i = 0; i < m; i++) CU_ASSERT_EQUAL(got.keep[(size_t)l * chunks * heads + i], (uint8_t)want[i]);
        free(want);
    }
    free(state);
    free(logits);
    free(got.keep);
    free(got.hidden);
    free(got.logprobs);
    free(tokens);
    natsl_context_destroy(&cx);
    natsl_model_close(&model);
}

static void test_golden(void)
{
    const char *const names[] = {"hybrid", "allnats", "options"};
    for (int set = NATSL_KERNELS_FAST; set <= NATSL_KERNELS_REF; set++) {
        for (int i = 0; i < 3; i++) {
            const natsl_options plain = {.kernels = (natsl_kernel_set)set, .threads = 1};
            const natsl_options passes = {.kernels = (natsl_kernel_set)set, .threads = 2, .pass_tokens = 256};
            golden_case(names[i], &plain);
            golden_case(names[i], &passes);
        }
    }
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
};
#define KINDS ((int)(sizeof kinds / sizeof kinds[0]))
#define TEXT  1000

static natsl_model *kind_model(int kind, MPI_Comm comm)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/kind-%d-%d.h5", scratch_dir, kind, world_size);
    int there = access(path, R_OK) == 0;
    MPI_Bcast(&there, 1, MPI_INT, 0, MPI_COMM_WORLD);
    if (!there) make_model(kinds[kind].json, 1234 + (uint64_t)kind, path);
    return open_model(comm, path);
}

static void make_text(const natsl_model *m, int32_t *tokens, size_t n)
{
    uint64_t s = 99;
    for (size_t i = 0; i < n; i++) tokens[i] = (int32_t)(mix64(&s) % (uint64_t)natsl_model_config(m)->vocab_size);
}

/** States of all layers behind one another. */
static float *all_states(natsl_context *cx, const natsl_config *c, size_t *floats)
{
    const size_t one = (size_t)c->num_v_heads * (size_t)c->head_dim * (size_t)c->head_v_dim;
    *floats = 2 * one * (size_t)c->num_hidden_layers;
    float *s = must(malloc(*floats * sizeof *s));
    for (int l = 0; l < c->num_hidden_layers; l++)
        CU_ASSERT_EQUAL(natsl_context_state(cx, l, s + 2 * (size_t)l * one, s + (2 * (size_t)l + 1) * one), NATSL_OK);
    return s;
}

/** Reads the text in windows of the given lengths, cycling; 0 means one token by natsl_context_next (no log-probability). */
static natsl_context *read_in(MPI_Comm comm, const natsl_model *m, const natsl_options *o, const int32_t *tokens,
                              const int *windows, int n_windows, float *logprobs)
{
    natsl_context *cx = new_context(comm, m, o);
    for (int64_t at = 0, i = 0; at < TEXT; i++) {
        const int w = windows[i % n_windows];
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

static void test_windows(void)
{
    static const int cuts[][4] = {{1, 1, 1, 1},         {63, 63, 63, 63}, {64, 64, 64, 64}, {65, 65, 65, 65},
                                  {300, 300, 300, 300}, {0, 0, 0, 0},     {130, 0, 0, 7},   {1000, 1000, 1000, 1000}};
    for (int kind = 0; kind < KINDS; kind++) {
        natsl_model *m = kind_model(kind, MPI_COMM_WORLD);
        const natsl_config *c = natsl_model_config(m);
        int32_t tokens[TEXT];
        float want[TEXT], got[TEXT];
        size_t floats = 0;
        const int whole[] = {TEXT};
        make_text(m, tokens, TEXT);
        natsl_context *cx = read_in(MPI_COMM_WORLD, m, NULL, tokens, whole, 1, want);
        float *states = all_states(cx, c, &floats);
        float *logits = must(malloc((size_t)c->vocab_size * 2 * sizeof *logits));
        natsl_context_logits(cx, logits);
        natsl_context_destroy(&cx);
        for (size_t i = 0; i < sizeof cuts / sizeof cuts[0]; i++) {
            memcpy(got, want, sizeof got); /* natsl_context_next gives no values: those places are not compared */
            cx = read_in(MPI_COMM_WORLD, m, NULL, tokens, cuts[i], 4, got);
            float *s = all_states(cx, c, &floats);
            natsl_context_logits(cx, logits + c->vocab_size);
            const double a = furthest(want, got, TEXT), b = furthest(states, s, floats);
            const double e = furthest(logits, logits + c->vocab_size, (size_t)c->vocab_size);
            if (!(a <= WINDOW_TOL && b <= WINDOW_TOL * 10 && e <= WINDOW_TOL * 10)) {
                fprintf(stderr, "%s, windows %d,%d,..: logprobs %g, states %g, logits %g\n", kinds[kind].name,
                        cuts[i][0], cuts[i][1], a, b, e);
                CU_FAIL("windows");
            }
            free(s);
            natsl_context_destroy(&cx);
        }
        free(states);
        free(logits);
        natsl_model_close(&m);
    }
}

/** The same bits on one rank and on all, in one pass or several, in one stage or several, with any number of threads. */
static void test_same_bits(void)
{
    static const natsl_options ways[] = {
        {.threads = 1},
        {.threads = 2},
        {.pass_tokens = 256, .threads = 1},
        {.stage_tokens = 256, .pass_tokens = 1024, .threads = 1},
        {.pass_tokens = 600, .threads = 3, .stage_tokens = 300},
        {.exchange = NATSL_EXCHANGE_MESSAGES, .threads = 1},
        {.exchange = NATSL_EXCHANGE_MESSAGES, .pass_tokens = 300, .stage_tokens = 256}};
    for (int kind = 0; kind < KINDS; kind++) {
        natsl_model *m = kind_model(kind, MPI_COMM_WORLD), *self = kind_model(kind, MPI_COMM_SELF);
        int32_t tokens[TEXT];
        float want[TEXT], got[TEXT];
        size_t floats = 0;
        const int whole[] = {TEXT};
        make_text(m, tokens, TEXT);
        natsl_context *cx = read_in(MPI_COMM_SELF, self, &ways[0], tokens, whole, 1, want);
        float *states = all_states(cx, natsl_model_config(m), &floats);
        natsl_context_destroy(&cx);
        for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++) {
            cx = read_in(MPI_COMM_WORLD, m, &ways[i], tokens, whole, 1, got);
            float *s = all_states(cx, natsl_model_config(m), &floats);
            if (memcmp(want, got, sizeof want) != 0 || memcmp(states, s, floats * sizeof *s) != 0) {
                fprintf(stderr, "%s, way %zu: logprobs differ by %g, states by %g\n", kinds[kind].name, i,
                        furthest(want, got, TEXT), furthest(states, s, floats));
                CU_FAIL("same bits");
            }
            free(s);
            natsl_context_destroy(&cx);
        }
        free(states);
        natsl_model_close(&m);
        natsl_model_close(&self);
    }
}

static void test_copy(void)
{
    natsl_model *m = kind_model(0, MPI_COMM_WORLD);
    int32_t tokens[TEXT];
    float a[TEXT], b[TEXT];
    make_text(m, tokens, TEXT);
    natsl_context *cx = new_context(MPI_COMM_WORLD, m, NULL), *copy = NULL;
    CU_ASSERT_EQUAL(natsl_context_extend_array(cx, 777, tokens, NULL), NATSL_OK);
    CU_ASSERT_EQUAL_FATAL(natsl_context_copy(cx, &copy), NATSL_OK);
    /* the copy goes its own way first; the original must not notice */
    CU_ASSERT_EQUAL(natsl_context_extend_array(copy, 200, tokens, b), NATSL_OK);
    natsl_context_destroy(&copy);
    CU_ASSERT_EQUAL_FATAL(natsl_context_copy(cx, &copy), NATSL_OK);
    CU_ASSERT_EQUAL(natsl_context_extend_array(cx, TEXT - 777, tokens + 777, a), NATSL_OK);
    CU_ASSERT_EQUAL(natsl_context_extend_array(copy, TEXT - 777, tokens + 777, b), NATSL_OK);
    CU_ASSERT_EQUAL(memcmp(a, b, (TEXT - 777) * sizeof *a), 0);
    natsl_context_destroy(&copy);
    natsl_context_destroy(&cx);
    natsl_model_close(&m);
}

/** A context saved here and loaded on one rank, on all, and half of them gives the same bits. */
static void test_save(void)
{
    for (int kind = 0; kind < KINDS; kind++) {
        char path[4096];
        snprintf(path, sizeof path, "%s/context-%d-%d.h5", scratch_dir, kind, world_size);
        natsl_model *m = kind_model(kind, MPI_COMM_WORLD);
        int32_t tokens[TEXT];
        float a[TEXT], b[TEXT];
        const int64_t cut = 641; /* inside a chunk for most kinds */
        make_text(m, tokens, TEXT);
        natsl_context *cx = new_context(MPI_COMM_WORLD, m, NULL), *again = NULL;
        CU_ASSERT_EQUAL(natsl_context_extend_array(cx, cut, tokens, NULL), NATSL_OK);
        CU_ASSERT_EQUAL_FATAL(natsl_context_save(cx, path), NATSL_OK);
        CU_ASSERT_EQUAL(natsl_context_extend_array(cx, TEXT - cut, tokens + cut, a), NATSL_OK);
        natsl_context_destroy(&cx);
        CU_ASSERT_EQUAL_FATAL(natsl_context_load(MPI_COMM_WORLD, m, NULL, path, &again), NATSL_OK);
        CU_ASSERT_EQUAL(natsl_context_position(again), cut);
        CU_ASSERT_EQUAL(natsl_context_extend_array(again, TEXT - cut, tokens + cut, b), NATSL_OK);
        CU_ASSERT_EQUAL(memcmp(a, b, (size_t)(TEXT - cut) * sizeof *a), 0);
        natsl_context_destroy(&again);
        natsl_model_close(&m);

        MPI_Comm half;
        MPI_Comm_split(MPI_COMM_WORLD, world_rank < (world_size + 1) / 2, world_rank, &half);
        m = kind_model(kind, half);
        CU_ASSERT_EQUAL_FATAL(natsl_context_load(half, m, NULL, path, &again), NATSL_OK);
        CU_ASSERT_EQUAL(natsl_context_extend_array(again, TEXT - cut, tokens + cut, b), NATSL_OK);
        CU_ASSERT_EQUAL(memcmp(a, b, (size_t)(TEXT - cut) * sizeof *a), 0);
        natsl_context_destroy(&again);
        natsl_model_close(&m);
        MPI_Comm_free(&half);
        MPI_Barrier(MPI_COMM_WORLD);
    }
    /* another model's context is refused */
    char path[4096];
    snprintf(path, sizeof path, "%s/context-%d-%d.h5", scratch_dir, 0, world_size);
    natsl_model *m = kind_model(1, MPI_COMM_WORLD);
    natsl_context *cx = NULL;
    CU_ASSERT_EQUAL(natsl_context_load(MPI_COMM_WORLD, m, NULL, path, &cx), NATSL_ERR_INPUT);
    CU_ASSERT_PTR_NULL(cx);
    natsl_model_close(&m);
}

/* ---- trouble ----------------------------------------------------------------------------------------------------------- */

typedef struct trouble {
    const int32_t *tokens;
    int64_t at; /* the token whose reading fails */
} trouble;

static natsl_status failing_tokens(void *user, int64_t first, int64_t count, int32_t *ids)
{
    const trouble *t = user;
    if (first <= t->at && t->at < first + count) return NATSL_ERR_IO;
    for (int64_t i = 0; i < count; i++) ids[i] = t->tokens[(first + i) % TEXT];
    return NATSL_OK;
}

/** A source that fails for one rank in any of several passes ends the extension on all ranks with its status. */
static void test_trouble(void)
{
    natsl_model *m = kind_model(0, MPI_COMM_WORLD);
    int32_t tokens[TEXT];
    make_text(m, tokens, TEXT);
    const int64_t length = 6 * 512;
    for (int64_t at = 0; at < length; at += 500) {
        const natsl_options o = {.pass_tokens = 512, .threads = 1};
        natsl_context *cx = new_context(MPI_COMM_WORLD, m, &o);
        trouble t = {tokens, at};
        const natsl_stream stream = {.user = &t, .tokens = failing_tokens};
        CU_ASSERT_EQUAL(natsl_context_extend(cx, length, &stream), NATSL_ERR_IO);
        natsl_context_destroy(&cx);
    }
    natsl_context *cx = new_context(MPI_COMM_WORLD, m, NULL);
    float logits[96];
    tokens[5] = 96; /* outside the vocabulary */
    CU_ASSERT_EQUAL(natsl_context_logits(cx, logits), NATSL_ERR_USAGE);
    CU_ASSERT_EQUAL(natsl_context_next(cx, -1), NATSL_ERR_USAGE);
    CU_ASSERT_EQUAL(natsl_context_extend_array(cx, 0, tokens, NULL), NATSL_OK);
    CU_ASSERT_EQUAL(natsl_context_extend_array(cx, 10, tokens, NULL), NATSL_ERR_INPUT);
    natsl_context_destroy(&cx);
    natsl_model_close(&m);
}

int main(int argc, char **argv)
{
    int provided = 0;
    MPI_Init_thread(&argc, &argv, MPI_THREAD_FUNNELED, &provided);
    MPI_Comm_rank(MPI_COMM_WORLD, &world_rank);
    MPI_Comm_size(MPI_COMM_WORLD, &world_size);
    if (argc != 3) {
        fprintf(stderr, "usage: test_context GOLDEN_DIR SCRATCH_DIR\n");
        MPI_Abort(MPI_COMM_WORLD, 2);
    }
    golden_dir = argv[1];
    scratch_dir = argv[2];
    if (world_rank != 0 && !freopen("/dev/null", "w", stdout)) return 1; /* one CUnit report is enough */
    CU_initialize_registry();
    CU_pSuite suite = CU_add_suite("context", NULL, NULL);
    CU_add_test(suite, "golden cases", test_golden);
    CU_add_test(suite, "windows", test_windows);
    CU_add_test(suite, "same bits", test_same_bits);
    CU_add_test(suite, "copy", test_copy);
    CU_add_test(suite, "save and load", test_save);
    CU_add_test(suite, "trouble", test_trouble);
    CU_basic_set_mode(CU_BRM_VERBOSE);
    CU_basic_run_tests();
    int failed = (int)CU_get_number_of_failures() + (CU_get_number_of_tests_run() == 0);
    CU_cleanup_registry();
    MPI_Allreduce(MPI_IN_PLACE, &failed, 1, MPI_INT, MPI_SUM, MPI_COMM_WORLD);
    MPI_Finalize();
    return failed != 0;
}
