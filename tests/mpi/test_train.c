/* test_train.c - loss and gradients of whole models on any number of ranks: against the oracle's golden cases, and for models with
 * other chunk sizes and switches against the same window on one rank.
 * usage: test_train GOLDEN_DIR SCRATCH_DIR. Run at 1, 2, 3, 5 ranks. CUnit on every rank; the worst result counts. */
#include "mpi_suite.h"

#include "checkpoint.h"
#include "model_update.h"
#include "train_impl.h"
#include <hdf5.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *golden_dir, *scratch_dir;

/* Each tensor, norm of the difference relative to the norm. */
#define GOLDEN_TOL 1e-4 /* float32 against float64 through a few layers, there and back */
#define SPLIT_TOL  1e-5 /* other ranks, other product shapes: only rounding differs */
#define LOSS_TOL   1e-6

static void *must(void *p)
{
    if (!p) {
        fprintf(stderr, "out of memory in the test\n");
        MPI_Abort(MPI_COMM_WORLD, 1);
    }
    return p;
}

static void must_ok(natsl_status st)
{
    if (st == NATSL_OK) return;
    fprintf(stderr, "%s\n", natsl_error_text());
    MPI_Abort(MPI_COMM_WORLD, 1);
}

/** Tokens from a fixed stream of numbers, or from an array. */
typedef struct source {
    const int32_t *ids;
    int32_t vocab;
    int64_t tokens;
    uint64_t stream;
    int64_t every; /* only these positions count for the loss; 0: all */
} source;

static int32_t token_of(const source *s, int64_t i)
{
    uint64_t z = ((uint64_t)i + s->stream + 1) * 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    return s->ids ? s->ids[i] : (int32_t)((z >> 33) % (uint64_t)s->vocab);
}

static natsl_status give(void *user, int64_t first, int64_t count, int32_t *ids, int32_t *targets)
{
    const source *s = user;
    for (int64_t i = first; i < first + count; i++) {
        ids[i - first] = token_of(s, i);
        targets[i - first] = i + 1 < s->tokens && (s->every == 0 || i % s->every == 0) ? token_of(s, i + 1) : -1;
    }
    return NATSL_OK;
}

static double relative(size_t n, const float *got, const double *want)
{
    double error = 0.0, norm = 0.0;
    for (size_t i = 0; i < n; i++) {
        error += ((double)got[i] - want[i]) * ((double)got[i] - want[i]);
        norm += want[i] * want[i];
    }
    return sqrt(error) / (sqrt(norm) > 1e-30 ? sqrt(norm) : 1e-30);
}

/** Gradients of one step [layout floats] (caller frees) and the loss. */
static float *gradients(MPI_Comm comm, const natsl_model *m, const natsl_options *o, int64_t tokens, source *from,
                        double *loss)
{
    natsl_trainer *t = NULL;
    must_ok(natsl_trainer_create(comm, m, o, 0, tokens, &t));
    from->tokens = tokens;
    const natsl_window w = {.tokens = tokens, .user = from, .read = give, .scale = 1.0 / (double)(tokens - 1)};
    const size_t floats = natsl_trainer_layout(t)->floats;
    float *out = must(malloc(floats * sizeof *out));
    double *first = must(malloc(floats * sizeof *first));
    const int planned = t->saved_layers; /* of these small models all */
    CU_ASSERT(planned == t->config->num_hidden_layers);
    /* nothing is left over from a step; what is kept of the forward pass changes nothing */
    for (int k = 0; k < 2; k++) {
        t->saved_layers = k == 0 ? planned / 2 : planned;
        natsl_trainer_clear(t);
        must_ok(natsl_trainer_add(t, &w));
        const natsl_train_sums *sums = natsl_trainer_sum(t);
        *loss = sums->loss / (double)(tokens - 1);
        CU_ASSERT(sums->targets == tokens - 1);
        natsl_shards_gather(natsl_trainer_shards(t), natsl_trainer_gradients(t));
        memcpy(out, natsl_trainer_gradients(t), floats * sizeof *out);
        for (size_t i = 0; k == 0 && i < floats; i++) first[i] = (double)out[i];
        CU_ASSERT(relative(floats, out, first) < 1e-5);
    }
    free(first);
    natsl_trainer_destroy(&t);
    return out;
}

static double *dataset(hid_t file, const char *tensor, size_t count)
{
    char name[80];
    (void)snprintf(name, sizeof name, "%s", tensor);
    for (char *p = name; *p; p++)
        if (*p == '.') *p = '/';
    double *out = must(malloc((count + 1) * sizeof *out));
    const hid_t set = H5Dopen2(file, name, H5P_DEFAULT);
    if (set < 0 || H5Dread(set, H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL, H5P_DEFAULT, out) < 0)
        MPI_Abort(MPI_COMM_WORLD, 1);
    (void)H5Dclose(set);
    return out;
}

static void check_golden(const char *name, const natsl_options *o, int64_t tokens)
{
    char path[4096];
    natsl_model *m = NULL;
    (void)snprintf(path, sizeof path, "%s/%s-model.h5", golden_dir, name);
    must_ok(natsl_model_open(MPI_COMM_WORLD, path, NATSL_F32, &m));
    (void)snprintf(path, sizeof path, "%s/%s-tokens.h5", golden_dir, name);
    hid_t file = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT), set = H5Dopen2(file, "tokens", H5P_DEFAULT);
    int32_t *ids = must(malloc((size_t)tokens * sizeof *ids));
    CU_ASSERT(H5Dread(set, H5T_NATIVE_INT32, H5S_ALL, H5S_ALL, H5P_DEFAULT, ids) >= 0);
    (void)H5Dclose(set);
    (void)H5Fclose(file);
    natsl_layout layout;
    must_ok(natsl_layout_create(natsl_model_config(m), NATSL_F32, &layout));
    double loss = 0.0, want = 0.0, worst = 0.0;
    source from = {.ids = ids};
    float *got = gradients(MPI_COMM_WORLD, m, o, tokens, &from, &loss);
    (void)snprintf(path, sizeof path, "%s/%s-grad.h5", golden_dir, name);
    file = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT);
    const hid_t attribute = H5Aopen(file, "loss", H5P_DEFAULT);
    CU_ASSERT(H5Aread(attribute, H5T_NATIVE_DOUBLE, &want) >= 0);
    (void)H5Aclose(attribute);
    CU_ASSERT(fabs(loss - want) <= LOSS_TOL * want);
    if (!(fabs(loss - want) <= LOSS_TOL * want)) printf("\n    %s: loss %.9g, expected %.9g", name, loss, want);
    for (size_t i = 0; i < layout.count; i++) {
        const natsl_tensor *t = &layout.tensors[i];
        double *g = dataset(file, t->name, t->count);
        const double error = relative(t->count, got + t->offset, g);
        CU_ASSERT(error <= GOLDEN_TOL);
        if (!(error <= GOLDEN_TOL)) printf("\n    %s, rank %d: %s: error %.3g", name, world_rank, t->name, error);
        if (!(error <= worst)) worst = error;
        free(g);
    }
    if (world_rank == 0) printf("\n    %s: worst tensor %.2g, loss %.2g", name, worst, fabs(loss - want) / want);
    (void)H5Fclose(file);
    natsl_layout_free(&layout);
    free(got);
    free(ids);
    natsl_model_close(&m);
}

static void golden_cases(natsl_kernel_set kernels, int threads)
{
    const natsl_options o = {.kernels = kernels, .threads = threads};
    check_golden("hybrid", &o, 332);
    check_golden("allnats", &o, 275);
    check_golden("options", &o, 260);
}

static void test_golden_fast(void) { golden_cases(NATSL_KERNELS_FAST, 1); }
static void test_golden_ref(void) { golden_cases(NATSL_KERNELS_REF, 2); }

/* ---- other splits --------------------------------------------------------------------------------------------------------- */

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
    natsl_config c;
    natsl_layout layout;
    if (world_rank == 0) {
        must_ok(natsl_config_parse(json, strlen(json), "test", &c));
        must_ok(natsl_layout_create(&c, NATSL_F32, &layout));
        float *flat = must(calloc(layout.floats, sizeof *flat));
        for (size_t i = 0; i < layout.count; i++) {
            const natsl_tensor *t = &layout.tensors[i];
            for (size_t k = 0; k < t->count; k++) {
                double v = normal(&seed) / sqrt((double)t->shape[t->rank - 1]);
                if (strstr(t->name, "A_log")) v = log(0.05 + 3.95 * uniform(&seed));
                else if (strstr(t->name, "dt_bias")) v = log(expm1(exp(log(1e-3) + log(100.0) * uniform(&seed))));
                else if (strstr(t->name, "norm") && t->rank == 1) v = 1.0 + 0.2 * normal(&seed);
                flat[t->offset + k] = (float)v;
            }
        }
        must_ok(natsl_model_file_write(path, &c, "none", "test", &layout, flat));
        natsl_layout_free(&layout);
        free(flat);
    }
    MPI_Barrier(MPI_COMM_WORLD);
}

/* Chunks of one token (ranges shorter than the convolution's halo), of several delta-rule blocks, of more than a tile; models
 * without gate, convolution, head norms; more ranks than chunks. */
static void test_splits(void)
{
    static const struct {
        int64_t tokens;
        const char *json;
    } cases[] = {
        {9, "{\"hidden_size\":24,\"num_hidden_layers\":2,\"vocab_size\":40,\"head_dim\":8,\"num_heads\":2,"
            "\"num_attn_heads\":4,\"nats_block_size\":1,\"gdn_layers\":[0]}"},
        {4, "{\"hidden_size\":24,\"num_hidden_layers\":2,\"vocab_size\":40,\"head_dim\":8,\"num_heads\":2,"
            "\"num_attn_heads\":4,\"nats_block_size\":1,\"gdn_layers\":[]}"},
        {333, "{\"hidden_size\":40,\"num_hidden_layers\":3,\"vocab_size\":70,\"head_dim\":12,\"num_heads\":3,"
              "\"num_attn_heads\":3,\"num_v_heads\":6,\"nats_block_size\":16,\"gdn_layers\":[1]}"},
        {620, "{\"hidden_size\":32,\"num_hidden_layers\":2,\"vocab_size\":70,\"head_dim\":8,\"num_heads\":2,"
              "\"num_attn_heads\":2,\"nats_block_size\":100,\"gdn_layers\":[],\"use_gate\":false,\"conv_size\":3,"
              "\"allow_neg_eigval\":true}"},
        {270, "{\"hidden_size\":32,\"num_hidden_layers\":2,\"vocab_size\":70,\"head_dim\":8,\"num_heads\":2,"
              "\"num_attn_heads\":2,\"num_nats_head\":1,\"nats_block_size\":7,\"gdn_layers\":[1],"
              "\"use_short_conv\":false,\"attn_qk_norm\":false}"},
        {1200, "{\"hidden_size\":32,\"num_hidden_layers\":2,\"vocab_size\":64,\"head_dim\":8,\"num_heads\":2,"
               "\"num_attn_heads\":2,\"nats_block_size\":290,\"gdn_layers\":[],\"attn_apply_pos_encoding\":true,"
               "\"attn_with_short_conv\":false,\"expand_v\":1.5,\"decay_for_non_gdn_blocks\":false}"},
        {700, "{\"hidden_size\":48,\"num_hidden_layers\":2,\"vocab_size\":130,\"head_dim\":16,\"num_heads\":2,"
              "\"num_attn_heads\":4,\"gdn_layers\":[0],\"tie_word_embeddings\":true}"}};
    char path[4096];
    (void)snprintf(path, sizeof path, "%s/split.h5", scratch_dir);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        make_model(cases[i].json, 40 + i, path);
        natsl_model *m = NULL, *alone = NULL;
        must_ok(natsl_model_open(MPI_COMM_WORLD, path, NATSL_F32, &m));
        must_ok(natsl_model_open(MPI_COMM_SELF, path, NATSL_F32, &alone));
        natsl_layout layout;
        must_ok(natsl_layout_create(natsl_model_config(m), NATSL_F32, &layout));
        double loss = 0.0, loss2 = 0.0, loss_alone = 0.0;
        source from = {.vocab = natsl_model_config(m)->vocab_size};
        const natsl_options one = {.threads = 1}, two = {.threads = 2},
                            ref = {.threads = 1, .kernels = NATSL_KERNELS_REF};
        float *got = gradients(MPI_COMM_WORLD, m, &one, cases[i].tokens, &from, &loss);
        float *again = gradients(MPI_COMM_WORLD, m, &two, cases[i].tokens, &from, &loss2);
        float *want =
            gradients(MPI_COMM_SELF, alone, world_size == 1 ? &ref : &one, cases[i].tokens, &from, &loss_alone);
        CU_ASSERT(memcmp(got, again, layout.floats * sizeof *got) == 0 && loss == loss2); /* threads change no bit */
        CU_ASSERT(fabs(loss - loss_alone) <= LOSS_TOL * loss_alone);
        /* against one rank; on one rank against the reference kernels, which round differently all the way */
        const double limit = world_size == 1 ? GOLDEN_TOL : SPLIT_TOL;
        double worst = 0.0;
        for (size_t k = 0; k < layout.count; k++) {
            const natsl_tensor *t = &layout.tensors[k];
            double *w = must(malloc((t->count + 1) * sizeof *w));
            for (size_t j = 0; j < t->count; j++) w[j] = (double)want[t->offset + j];
            const double error = relative(t->count, got + t->offset, w);
            CU_ASSERT(error <= limit);
            if (!(error <= limit)) printf("\n    case %zu, rank %d: %s: error %.3g", i, world_rank, t->name, error);
            if (!(error <= worst)) worst = error;
            free(w);
        }
        if (world_rank == 0) printf("\n    case %zu: worst tensor %.2g", i, worst);
        free(got);
        free(again);
        free(want);
        natsl_layout_free(&layout);
        natsl_model_close(&alone);
        natsl_model_close(&m);
    }
    MPI_Barrier(MPI_COMM_WORLD);
    if (world_rank == 0) (void)unlink(path);
}

/* ---- several windows ------------------------------------------------------------------------------------------------------ */

static const char *const small_model =
    "{\"hidden_size\":32,\"num_hidden_layers\":3,\"vocab_size\":70,\"head_dim\":8,\"num_heads\":2,"
    "\"num_attn_heads\":2,\"nats_block_size\":16,\"gdn_layers\":[1]}";

#define WINDOWS 7
static const int64_t window_tokens[WINDOWS] = {400, 17, 2, 399, 64, 130, 33};

/** Gradients of all windows, by groups of `group` ranks of comm; every third position counts. */
static float *many_gradients(MPI_Comm comm, const natsl_model *m, int group, double temperature, double *loss,
                             natsl_train_sums *counts)
{
    natsl_trainer *t = NULL;
    const natsl_options o = {.threads = 1};
    int groups = 1;
    must_ok(natsl_trainer_create(comm, m, &o, group, 400, &t));
    const int own = natsl_trainer_group(t, &groups);
    for (int w = own; w < WINDOWS; w += groups) {
        source from = {.vocab = 70, .tokens = window_tokens[w], .stream = (uint64_t)w * 1000, .every = 3};
        int8_t hints[400 / 16];
        for (int i = 0; i < 400 / 16; i++) hints[i] = (int8_t)((i + w) % 3 - 1);
        const natsl_window window = {.tokens = window_tokens[w],
                                     .user = &from,
                                     .read = give,
                                     .scale = 1e-2,
                                     .kept_scale = 0.3,
                                     .hints = w % 2 ? hints : NULL,
                                     .hint_scale = 0.2,
                                     .choice = {temperature, (uint64_t)w + 5}};
        must_ok(natsl_trainer_add(t, &window));
    }
    const natsl_train_sums *sums = natsl_trainer_sum(t);
    *loss = sums->loss;
    *counts = *sums;
    counts->kept = counts->chunks = NULL;
    CU_ASSERT(sums->chunks[0] == sums->chunks[2] && sums->chunks[1] == 0 && sums->kept[1] == 0);
    CU_ASSERT(sums->chunks[0] + sums->chunks[2] == sums->choices && sums->kept[0] <= sums->chunks[0]);
    natsl_shards_gather(natsl_trainer_shards(t), natsl_trainer_gradients(t));
    const size_t floats = natsl_trainer_layout(t)->floats;
    float *out = must(malloc(floats * sizeof *out));
    memcpy(out, natsl_trainer_gradients(t), floats * sizeof *out);
    natsl_trainer_destroy(&t);
    return out;
}

/* Groups of any size find the same gradient; noise on the choices is that of the window, whoever takes it. */
static void test_groups(void)
{
    char path[4096];
    natsl_model *m = NULL, *alone = NULL;
    (void)snprintf(path, sizeof path, "%s/groups.h5", scratch_dir);
    make_model(small_model, 77, path);
    must_ok(natsl_model_open(MPI_COMM_WORLD, path, NATSL_F32, &m));
    must_ok(natsl_model_open(MPI_COMM_SELF, path, NATSL_F32, &alone));
    for (int noise = 0; noise < 2; noise++) {
        double loss = 0.0, want_loss = 0.0;
        natsl_train_sums counts, want_counts;
        float *want = many_gradients(MPI_COMM_SELF, alone, 1, noise ? 0.7 : 0.0, &want_loss, &want_counts);
        for (int group = 1; group <= world_size; group++) {
            if (world_size % group != 0) continue;
            float *got = many_gradients(MPI_COMM_WORLD, m, group, noise ? 0.7 : 0.0, &loss, &counts);
            CU_ASSERT(fabs(loss - want_loss) <= LOSS_TOL * want_loss);
            CU_ASSERT(counts.targets == want_counts.targets && counts.choices == want_counts.choices);
            CU_ASSERT(fabs(counts.expected - want_counts.expected) <= 1e-4 * want_counts.expected);
            for (size_t k = 0; k < m->layout.count; k++) {
                const natsl_tensor *t = &m->layout.tensors[k];
                double *w = must(malloc((t->count + 1) * sizeof *w));
                for (size_t j = 0; j < t->count; j++) w[j] = (double)want[t->offset + j];
                const double error = relative(t->count, got + t->offset, w);
                CU_ASSERT(error <= SPLIT_TOL);
                if (!(error <= SPLIT_TOL))
                    printf("\n    groups of %d, noise %d: %s: error %.3g", group, noise, t->name, error);
                free(w);
            }
            free(got);
        }
        free(want);
    }
    natsl_model_close(&alone);
    natsl_model_close(&m);
    MPI_Barrier(MPI_COMM_WORLD);
    if (world_rank == 0) (void)unlink(path);
}

/** Sum of the gate's expected choices over one window, and the gradient of their mean by the last layer's gate. */
static double expected_share(natsl_trainer *t, natsl_window *w, const natsl_tensor *gate, float *gradient)
{
    natsl_trainer_clear(t);
    must_ok(natsl_trainer_add(t, w));
    const natsl_train_sums *sums = natsl_trainer_sum(t);
    natsl_shards_gather(natsl_trainer_shards(t), natsl_trainer_gradients(t));
    memcpy(gradient, natsl_trainer_gradients(t) + gate->offset, gate->count * sizeof *gradient);
    return sums->expected / (double)sums->choices;
}

/* A weight on the kept share: against differences of the share; with noise and without. */
static void test_kept_weight(void)
{
    char path[4096];
    natsl_model *m = NULL;
    natsl_trainer *t = NULL;
    (void)snprintf(path, sizeof path, "%s/kept.h5", scratch_dir);
    make_model(small_model, 78, path);
    must_ok(natsl_model_open(MPI_COMM_WORLD, path, NATSL_F32, &m));
    must_ok(natsl_trainer_create(MPI_COMM_WORLD, m, NULL, 0, 200, &t));
    const natsl_tensor *gate = NULL;
    for (size_t i = 0; i < m->layout.count; i++)
        if (strcmp(m->layout.tensors[i].name, "model.layers.2.attn.nats_layer.weight") == 0)
            gate = &m->layout.tensors[i];
    CU_ASSERT_FATAL(gate != NULL); /* equal on all ranks */
    float *flat = must(calloc(m->layout.floats, sizeof *flat)), *g = must(malloc(gate->count * sizeof *g));
    float *unused = must(malloc(gate->count * sizeof *unused));
    must_ok(natsl_model_file_read_flat(path, &m->layout, flat));
    source from = {.vocab = 70, .tokens = 200};
    for (int noise = 0; noise < 2; noise++) {
        natsl_window w = {.tokens = 200, .user = &from, .read = give, .kept_scale = 1.0};
        w.choice = (natsl_gate_noise){noise ? 1.5 : 0.0, 9};
        const double share = expected_share(t, &w, gate, g);
        CU_ASSERT(share > 0.05 && share < 0.95);
        for (size_t i = 0; i < gate->count; i += 13) {
            const float step = 0x1p-6f, here = flat[gate->offset + i];
            double ends[2];
            for (int k = 0; k < 2; k++) {
                flat[gate->offset + i] = here + (k ? step : -step);
                must_ok(natsl_model_update(m, flat));
                ends[k] = expected_share(t, &w, gate, unused);
            }
            flat[gate->offset + i] = here;
            must_ok(natsl_model_update(m, flat));
            const double slope = (ends[1] - ends[0]) / (2.0 * (double)step);
            CU_ASSERT(fabs(slope - (double)g[i]) <= 2e-3 * fabs(slope) + 2e-6);
            if (!(fabs(slope - (double)g[i]) <= 2e-3 * fabs(slope) + 2e-6))
                printf("\n    noise %d, weight %zu: gradient %g, difference %g", noise, i, (double)g[i], slope);
        }
    }
    free(flat);
    free(g);
    free(unused);
    natsl_trainer_destroy(&t);
    natsl_model_close(&m);
    MPI_Barrier(MPI_COMM_WORLD);
    if (world_rank == 0) (void)unlink(path);
}

/* Evaluation: the loss of training, and hits that are what the scores say, on any number of ranks. */
static void test_evaluate(void)
{
    char path[4096];
    natsl_model *m = NULL, *alone = NULL;
    uint8_t hits[400], want[400];
    double losses[3];
    (void)snprintf(path, sizeof path, "%s/evaluate.h5", scratch_dir);
    make_model(small_model, 79, path);
    must_ok(natsl_model_open(MPI_COMM_WORLD, path, NATSL_F32, &m));
    must_ok(natsl_model_open(MPI_COMM_SELF, path, NATSL_F32, &alone));
    source from = {.vocab = 70, .tokens = 333, .every = 2};
    const natsl_window w = {.tokens = 333, .user = &from, .read = give, .scale = 1.0};
    for (int k = 0; k < 3; k++) {
        natsl_trainer *t = NULL;
        must_ok(natsl_trainer_create(k == 0 ? MPI_COMM_SELF : MPI_COMM_WORLD, k == 0 ? alone : m, NULL, 0, 400, &t));
        must_ok(k == 2 ? natsl_trainer_add(t, &w) : natsl_trainer_evaluate(t, &w, k == 0 ? want : hits));
        losses[k] = natsl_trainer_sum(t)->loss;
        natsl_trainer_destroy(&t);
    }
    CU_ASSERT(fabs(losses[1] - losses[0]) <= LOSS_TOL * losses[0] &&
              fabs(losses[2] - losses[0]) <= LOSS_TOL * losses[0]);
    CU_ASSERT(memcmp(hits, want, 333) == 0);
    /* by generation's own form: after every token, the best score */
    natsl_context *cx = NULL;
    float *logits = must(malloc(70 * sizeof *logits));
    const natsl_options o = {.threads = 1};
    must_ok(natsl_context_create(MPI_COMM_SELF, alone, &o, &cx));
    int right = 0;
    for (int64_t i = 0; i < 333; i++) {
        must_ok(natsl_context_next(cx, token_of(&from, i)));
        must_ok(natsl_context_logits(cx, logits));
        int best = 0;
        for (int v = 1; v < 70; v++) best = logits[v] > logits[best] ? v : best;
        const int counts = i + 1 < 333 && i % 2 == 0, hit = counts && best == token_of(&from, i + 1);
        right += hit;
        CU_ASSERT(hit == want[i]);
    }
    CU_ASSERT(right > 0); /* of 166 by chance about 2: the seed is one where it is so */
    free(logits);
    natsl_context_destroy(&cx);
    natsl_model_close(&alone);
    natsl_model_close(&m);
    MPI_Barrier(MPI_COMM_WORLD);
    if (world_rank == 0) (void)unlink(path);
}

static void test_refusals(void)
{
    char path[4096];
    natsl_model *m = NULL;
    natsl_trainer *t = NULL;
    (void)snprintf(path, sizeof path, "%s/hybrid-model.h5", golden_dir);
    must_ok(natsl_model_open(MPI_COMM_WORLD, path, NATSL_F32, &m));
    const natsl_options small = {.stage_tokens = 256};
    CU_ASSERT(natsl_trainer_create(MPI_COMM_WORLD, m, NULL, 0, 1, &t) == NATSL_ERR_USAGE && t == NULL);
    CU_ASSERT(natsl_trainer_create(MPI_COMM_WORLD, m, &small, 0, 256 * world_size + 300, &t) == NATSL_ERR_USAGE);
    CU_ASSERT(strstr(natsl_error_text(), "--stage-tokens") != NULL && t == NULL);
    CU_ASSERT(natsl_trainer_create(MPI_COMM_WORLD, m, NULL, world_size + 1, 64, &t) == NATSL_ERR_USAGE && t == NULL);
    const int64_t tokens = 260;
    source from = {.vocab = 1000,
                   .tokens = tokens}; /* beyond the vocabulary: refused on all ranks, and the next works */
    natsl_window w = {.tokens = tokens + 1, .user = &from, .read = give, .scale = 0.01};
    must_ok(natsl_trainer_create(MPI_COMM_WORLD, m, NULL, 0, tokens, &t));
    CU_ASSERT(natsl_trainer_add(t, &w) == NATSL_ERR_USAGE);
    w.tokens = tokens;
    CU_ASSERT(natsl_trainer_add(t, &w) == NATSL_ERR_INPUT);
    from.vocab = 96;
    CU_ASSERT(natsl_trainer_add(t, &w) == NATSL_OK && natsl_trainer_sum(t)->loss > 0.0);
    natsl_trainer_destroy(&t);
    const natsl_options forced = {.route = NATSL_ALL_SOFTMAX};
    must_ok(natsl_trainer_create(MPI_COMM_WORLD, m, &forced, 0, tokens, &t));
    CU_ASSERT(natsl_trainer_add(t, &w) == NATSL_OK);
    (void)natsl_trainer_sum(t);
    natsl_shards_gather(natsl_trainer_shards(t), natsl_trainer_gradients(t));
    const natsl_layout *layout = natsl_trainer_layout(t);
    size_t gates = 0;
    for (size_t i = 0; i < layout->count; i++) {
        double sum = 0.0;
        const natsl_tensor *tensor = &layout->tensors[i];
        for (size_t j = 0; j < tensor->count; j++) sum += fabs((double)natsl_trainer_gradients(t)[tensor->offset + j]);
        const int gate = strstr(tensor->name, "nats_layer") != NULL; /* a forced choice is a constant */
        CU_ASSERT(gate ? sum == 0.0 : sum > 0.0);
        gates += (size_t)gate;
    }
    CU_ASSERT(gates == 1);
    natsl_trainer_destroy(&t);
    natsl_model_close(&m);
}

int main(int argc, char **argv)
{
    static const test_entry tests[] = {{"golden cases", test_golden_fast},
                                       {"golden cases, reference kernels", test_golden_ref},
                                       {"splits, threads", test_splits},
                                       {"groups of ranks", test_groups},
                                       {"weight on the kept share", test_kept_weight},
                                       {"evaluation", test_evaluate},
                                       {"refusals, forced choice", test_refusals}};
    if (argc != 3) return 2;
    golden_dir = argv[1];
    scratch_dir = argv[2];
    return run_suite_mpi(&argc, &argv, "gradients of models", tests, sizeof tests / sizeof tests[0]);
}
