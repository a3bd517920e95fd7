/* test_adamw.c - AdamW over shards against a plain loop in double precision; sums and gathers at odd sizes; checkpoints written on
 * all ranks and read on fewer. usage: test_adamw GOLDEN_DIR SCRATCH_DIR. Run at 1, 2, 3, 5 ranks. */
#include "mpi_suite.h"

#include "adamw.h"
#include "checkpoint.h"
#include "init.h"
#include <math.h>
#include <natsl/model.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *scratch_dir;

static void *must(void *p)
{
    if (!p) MPI_Abort(MPI_COMM_WORLD, 1);
    return p;
}

static void must_ok(natsl_status st)
{
    if (st == NATSL_OK) return;
    fprintf(stderr, "%s\n", natsl_error_text());
    MPI_Abort(MPI_COMM_WORLD, 1);
}

/** A number in -1 .. 1 of its own for every (stream, i). */
static double number(uint64_t stream, uint64_t i)
{
    uint64_t z = (i + 1) * 0x9e3779b97f4a7c15u + stream * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return (double)(int64_t)(z ^ (z >> 31)) / 0x1p63;
}

/* ---- shards ---------------------------------------------------------------------------------------------------------------- */

static void test_shards(void)
{
    /* fewer than ranks, none left over, one left over, several rounds of the inbox */
    static const size_t sizes[] = {1, 2, 7, 30, 31, 1000, 3 * 262144 + 5};
    for (size_t k = 0; k < COUNT(sizes); k++) {
        natsl_shards s;
        must_ok(natsl_shards_create(MPI_COMM_WORLD, sizes[k], &s));
        const size_t all = s.each * (size_t)s.size, from = s.each * (size_t)s.rank;
        CU_ASSERT(all >= sizes[k] && all < sizes[k] + (size_t)s.size && s.floats == sizes[k]);
        float *flat = must(malloc(all * sizeof *flat));
        /* small integers: their sums are exact in any order */
        for (size_t i = 0; i < all; i++) flat[i] = (float)((i % 1009) * (size_t)(s.rank + 1));
        natsl_shards_sum(&s, flat);
        size_t wrong = 0;
        const float ranks = (float)(s.size * (s.size + 1) / 2);
        for (size_t i = 0; i < all; i++) {
            const float own = i >= from && i < from + s.each ? ranks : (float)(s.rank + 1);
            wrong += flat[i] != (float)(i % 1009) * own;
        }
        EXPECT(wrong == 0, "%zu floats: %zu wrong after the sum", sizes[k], wrong);
        natsl_shards_gather(&s, flat);
        wrong = 0;
        for (size_t i = 0; i < all; i++) wrong += flat[i] != (float)(i % 1009) * ranks;
        EXPECT(wrong == 0, "%zu floats: %zu wrong after gathering", sizes[k], wrong);
        free(flat);
        natsl_shards_free(&s);
    }
}

/** Sums run in rank order: the bits are those of a loop. */
static void test_order(void)
{
    natsl_shards s;
    const size_t n = 997;
    must_ok(natsl_shards_create(MPI_COMM_WORLD, n, &s));
    float *flat = must(calloc(s.each * (size_t)s.size, sizeof *flat));
    for (size_t i = 0; i < n; i++) flat[i] = (float)number((uint64_t)s.rank, i);
    natsl_shards_sum(&s, flat);
    natsl_shards_gather(&s, flat);
    size_t wrong = 0;
    double sum = 0.0;
    for (size_t i = 0; i < n; i++) {
        float want = (float)number(0, i);
        for (int r = 1; r < s.size; r++) want += (float)number((uint64_t)r, i);
        wrong += want != flat[i];
    }
    CU_ASSERT(wrong == 0);
    for (int r = 0; r < s.size; r++) sum += 1.0 / (3.0 + r);
    CU_ASSERT(natsl_shards_sum_real(&s, 1.0 / (3.0 + s.rank)) == sum);
    free(flat);
    natsl_shards_free(&s);
}

/* ---- AdamW ----------------------------------------------------------------------------------------------------------------- */

/** Tensors that decay and that do not, with gaps between them and borders inside shards. */
static natsl_tensor tensors[] = {{.offset = 0, .count = 37, .decays = 1},
                                 {.offset = 48, .count = 5, .decays = 0},
                                 {.offset = 64, .count = 131, .decays = 1},
                                 {.offset = 208, .count = 1, .decays = 0}};
static const natsl_layout layout = {.tensors = tensors, .count = COUNT(tensors), .floats = 209};

static const natsl_tensor *tensor_at(size_t i)
{
    for (size_t k = 0; k < layout.count; k++) {
        if (i >= tensors[k].offset && i < tensors[k].offset + tensors[k].count) return &tensors[k];
    }
    return NULL;
}

#define STEPS 40

/** Some steps with these settings, against the textbook's formulas in double precision. */
static void follow(const natsl_adamw_settings *settings, double size)
{
    natsl_shards s;
    natsl_adamw a;
    double weights[209], first[209] = {0}, second[209] = {0};
    must_ok(natsl_shards_create(MPI_COMM_WORLD, layout.floats, &s));
    must_ok(natsl_adamw_create(&layout, &s, settings, &a));
    float *flat = must(calloc(s.each * (size_t)s.size, sizeof *flat));
    for (size_t i = 0; i < layout.floats; i++) {
        a.weights[i] = tensor_at(i) ? (float)number(1, i) : 0.0f;
        weights[i] = (double)a.weights[i];
    }
    for (int t = 1; t <= STEPS; t++) {
        const double rate = 0.01 / t;
        double norm = 0.0, got = 0.0, worst = 0.0;
        for (size_t i = 0; i < layout.floats; i++) {
            flat[i] = tensor_at(i) ? (float)(size * number((uint64_t)(100 + t), i)) : 0.0f;
            norm += (double)flat[i] * (double)flat[i];
        }
        norm = sqrt(norm);
        const double scale = settings->clip > 0.0 && norm > settings->clip ? settings->clip / norm : 1.0;
        for (size_t i = 0; i < layout.floats; i++) {
            if (!tensor_at(i)) continue;
            const double g = scale * (double)flat[i];
            first[i] = settings->beta1 * first[i] + (1.0 - settings->beta1) * g;
            second[i] = settings->beta2 * second[i] + (1.0 - settings->beta2) * g * g;
            const double m = first[i] / (1.0 - pow(settings->beta1, t)),
                         v = second[i] / (1.0 - pow(settings->beta2, t));
            if (tensor_at(i)->decays) weights[i] -= rate * settings->weight_decay * weights[i];
            weights[i] -= rate * m / (sqrt(v) + settings->epsilon);
        }
        for (size_t i = 0; i < layout.floats; i++) /* other ranks' parts of the gradient are not looked at */
            if (i / s.each != (size_t)s.rank) flat[i] = NAN;
        natsl_adamw_step(&a, flat, rate, &got);
        CU_ASSERT_DOUBLE_EQUAL(got, norm, 1e-12 * norm);
        for (size_t i = 0; i < layout.floats; i++) {
            const double error = fabs((double)a.weights[i] - (tensor_at(i) ? weights[i] : 0.0));
            if (!(error <= worst)) worst = error;
        }
        EXPECT(worst < 1e-6, "step %d: a weight is off by %g", t, worst);
        CU_ASSERT(a.steps == t);
    }
    free(flat);
    natsl_adamw_free(&a);
    natsl_shards_free(&s);
}

static void test_adamw(void)
{
    const natsl_adamw_settings plain = {.beta1 = 0.9, .beta2 = 0.95, .epsilon = 1e-8};
    natsl_adamw_settings s = plain;
    follow(&s, 1.0);
    s.weight_decay = 5.0; /* moves weights as far as the gradient does */
    follow(&s, 1.0);
    s.clip = 0.01; /* always cuts; epsilon near the moments, or the scale would cancel */
    s.epsilon = 1e-3;
    follow(&s, 1.0);
    s.clip = 1e3; /* never cuts */
    follow(&s, 1.0);
    s = plain;
    s.beta1 = 0.0, s.beta2 = 0.0, s.epsilon = 1e-2;
    follow(&s, 1e-3);
}

/** What is not finite on one rank, or too large to be squared, changes nothing anywhere. */
static void test_not_finite(void)
{
    static const float bad[] = {NAN, INFINITY, -INFINITY, 3e38f, 1e19f};
    natsl_shards s;
    natsl_adamw a;
    const natsl_adamw_settings settings = {.beta1 = 0.9, .beta2 = 0.95, .epsilon = 1e-8, .weight_decay = 0.1};
    must_ok(natsl_shards_create(MPI_COMM_WORLD, layout.floats, &s));
    must_ok(natsl_adamw_create(&layout, &s, &settings, &a));
    float *flat = must(calloc(s.each * (size_t)s.size, sizeof *flat));
    float *before = must(calloc(s.each * (size_t)s.size, sizeof *before));
    double norm = 0.0;
    for (size_t i = 0; i < layout.floats; i++) a.weights[i] = (float)number(1, i);
    for (size_t k = 0; k < COUNT(bad); k++) {
        for (size_t i = 0; i < layout.floats; i++) flat[i] = (float)number(2, i);
        natsl_adamw_step(&a, flat, 0.01, &norm);
        memcpy(before, a.weights, layout.floats * sizeof *before);
        const float m = a.first[0], v = a.second[0];
        const int64_t steps = a.steps;
        flat[k * 50] = bad[k]; /* in another rank's shard each time */
        natsl_adamw_step(&a, flat, 0.01, &norm);
        CU_ASSERT(!(norm < 1e18) && a.steps == steps && a.first[0] == m && a.second[0] == v);
        EXPECT(memcmp(before, a.weights, layout.floats * sizeof *before) == 0, "%g changed weights", (double)bad[k]);
    }
    a.settings.clip = 1.0; /* cut down, the finite ones can be used */
    for (size_t i = 0; i < layout.floats; i++) flat[i] = (float)number(2, i);
    flat[0] = 3e38f;
    natsl_adamw_step(&a, flat, 0.01, &norm);
    CU_ASSERT(a.steps == (int64_t)COUNT(bad) + 1 && memcmp(before, a.weights, layout.floats * sizeof *before) != 0);
    for (size_t i = 0; i < s.each; i++) CU_ASSERT(isfinite(a.first[i]) && isfinite(a.second[i]));
    free(before);
    free(flat);
    natsl_adamw_free(&a);
    natsl_shards_free(&s);
}

/* ---- checkpoints ------------------------------------------------------------------------------------------------------------ */

/** This rank's shard of moments that all know: c's arrays are allocated. */
static void shard(const natsl_shards *s, natsl_checkpoint *c)
{
    c->first = (size_t)s->rank * s->each;
    c->last = c->first + s->each;
    if (c->first > s->floats) c->first = s->floats;
    if (c->last > s->floats) c->last = s->floats;
    c->first_moment = must(calloc(s->each, sizeof(float)));
    c->second_moment = must(calloc(s->each, sizeof(float)));
}

static void check_read(MPI_Comm comm, const char *path, const natsl_config *config, const natsl_layout *l,
                       const float *weights, const char *spec)
{
    natsl_shards s;
    natsl_checkpoint c = {0};
    must_ok(natsl_shards_create(comm, l->floats, &s));
    shard(&s, &c);
    c.weights = must(malloc(l->floats * sizeof(float)));
    memset(c.weights, 0xff, l->floats * sizeof(float));
    const natsl_status st = natsl_checkpoint_read(path, config, l, &c);
    EXPECT(st == NATSL_OK, "%s", natsl_error_text());
    CU_ASSERT(memcmp(c.weights, weights, l->floats * sizeof(float)) == 0);
    CU_ASSERT(c.step == 41 && c.updates == 40 && c.expected == 0.125 && c.kept_share == 0.3 && c.spec &&
              strcmp(c.spec, spec) == 0);
    size_t wrong = 0;
    for (size_t i = c.first; i < c.last; i++)
        wrong += c.first_moment[i - c.first] != (float)number(7, i) ||
                 c.second_moment[i - c.first] != (float)fabs(number(8, i));
    EXPECT(wrong == 0, "%zu moments are wrong on %d ranks", wrong, s.size);
    natsl_free(c.spec);
    free(c.weights);
    free(c.first_moment);
    free(c.second_moment);
    natsl_shards_free(&s);
}

static void test_checkpoint(void)
{
    static const char json[] = "{\"hidden_size\": 32, \"num_hidden_layers\": 2, \"vocab_size\": 67, \"head_dim\": 16, "
                               "\"num_heads\": 2, \"num_attn_heads\": 2, \"gdn_layers\": [0]}";
    natsl_config config, other;
    natsl_layout l;
    natsl_shards s;
    natsl_checkpoint c = {.step = 41, .updates = 40, .expected = 0.125, .kept_share = 0.3};
    char path[1024];
    must_ok(natsl_config_parse(json, strlen(json), "here", &config));
    must_ok(natsl_layout_create(&config, NATSL_F32, &l));
    must_ok(natsl_shards_create(MPI_COMM_WORLD, l.floats, &s));
    float *weights = must(calloc(l.floats, sizeof *weights));
    natsl_init_weights(&config, &l, 11, weights);
    c.weights = weights;
    shard(&s, &c);
    for (size_t i = c.first; i < c.last; i++) {
        c.first_moment[i - c.first] = (float)number(7, i);
        c.second_moment[i - c.first] = (float)fabs(number(8, i));
    }
    char *spec = must(malloc(100001)); /* more than an attribute may have */
    memset(spec, 'x', 100000);
    spec[100000] = '\0';
    c.spec = spec;
    (void)snprintf(path, sizeof path, "%s/checkpoint.h5", scratch_dir);
    must_ok(natsl_checkpoint_write(MPI_COMM_WORLD, path, &config, "none", "test_adamw", &l, &c));

    MPI_Comm part; /* as many ranks; halves of them; each alone */
    check_read(MPI_COMM_WORLD, path, &config, &l, weights, spec);
    MPI_Comm_split(MPI_COMM_WORLD, world_rank % 2, world_rank, &part);
    check_read(part, path, &config, &l, weights, spec);
    MPI_Comm_free(&part);
    check_read(MPI_COMM_SELF, path, &config, &l, weights, spec);

    /* the same file is a model */
    natsl_model *model = NULL;
    float *flat = must(malloc(l.floats * sizeof *flat));
    EXPECT(natsl_model_file_read_flat(path, &l, flat) == NATSL_OK, "%s", natsl_error_text());
    CU_ASSERT(memcmp(flat, weights, l.floats * sizeof *flat) == 0);
    EXPECT(natsl_model_open(MPI_COMM_WORLD, path, NATSL_F32, &model) == NATSL_OK, "%s", natsl_error_text());
    natsl_model_close(&model);

    /* of another model, or no checkpoint at all */
    other = config;
    other.norm_eps *= 2;
    natsl_checkpoint d = {.weights = flat,
                          .first_moment = c.first_moment,
                          .second_moment = c.second_moment,
                          .first = c.first,
                          .last = c.last};
    CU_ASSERT(natsl_checkpoint_read(path, &other, &l, &d) == NATSL_ERR_INPUT && !d.spec);
    MPI_Barrier(MPI_COMM_WORLD);
    c.spec = NULL;
    must_ok(natsl_checkpoint_write(MPI_COMM_WORLD, path, &config, "none", "test_adamw", &l, &c));
    CU_ASSERT(natsl_checkpoint_read(path, &config, &l, &d) == NATSL_ERR_INPUT && !d.spec);
    CU_ASSERT(natsl_model_file_read_flat(path, &l, flat) == NATSL_OK);
    MPI_Barrier(MPI_COMM_WORLD);
    if (world_rank == 0) (void)unlink(path);
    free(flat);
    free(spec);
    free(weights);
    free(c.first_moment);
    free(c.second_moment);
    natsl_shards_free(&s);
    natsl_layout_free(&l);
}

int main(int argc, char **argv)
{
    static const test_entry tests[] = {
        {"shards are summed and gathered", test_shards},         {"sums run in rank order", test_order},
        {"AdamW against double precision", test_adamw},          {"gradients that cannot be used", test_not_finite},
        {"checkpoints on any number of ranks", test_checkpoint},
    };
    if (argc != 3) return 2;
    scratch_dir = argv[2];
    return run_suite_mpi(&argc, &argv, "adamw", tests, COUNT(tests));
}
