/* test_next.c - single tokens over ranks: the same bits as on one rank, the same numbers as a window, after loading, and when the
 * memory of the rank that keeps a chunk runs out.
 * usage: test_next GOLDEN_DIR SCRATCH_DIR. Run at 1, 2, 3, 5 ranks. */
#include "context_check.h"
#include "context_impl.h" /* to fill a rank's memory */

/* The same text in another window: other product shapes, so only rounding differs. */
#define WINDOW_TOL 5e-5
/* Kept keys in bfloat16: a float32 rounding apart may be a bfloat16 rounding apart, 2^-9 of a key or value. */
#define KEPT_BF16_TOL 2e-2

/** Tokens [at, end) one by one into both contexts, logits after each. Returns the largest difference between the two; *same:
 * every bit of all logits and states is equal. */
static double step_both(natsl_context *all, natsl_context *self, const natsl_config *c, const int32_t *tokens, int at,
                        int end, int *same)
{
    const size_t vocab = (size_t)c->vocab_size;
    float *logits = must(malloc(2 * vocab * sizeof *logits));
    double most = 0.0;
    size_t floats = 0;
    *same = 1;
    for (; at < end; at++) {
        CU_ASSERT_EQUAL(natsl_context_next(all, tokens[at]), NATSL_OK);
        CU_ASSERT_EQUAL(natsl_context_next(self, tokens[at]), NATSL_OK);
        CU_ASSERT_EQUAL(natsl_context_logits(all, logits), NATSL_OK);
        CU_ASSERT_EQUAL(natsl_context_logits(self, logits + vocab), NATSL_OK);
        const double d = furthest(logits, logits + vocab, vocab);
        if (d > most) most = d;
        if (memcmp(logits, logits + vocab, vocab * sizeof *logits) != 0) *same = 0;
    }
    float *a = all_states(all, c, &floats), *b = all_states(self, c, &floats);
    const double d = furthest(a, b, floats);
    if (d > most) most = d;
    if (memcmp(a, b, floats * sizeof *a) != 0) *same = 0;
    free(a);
    free(b);
    free(logits);
    return most;
}

static const struct {
    natsl_kernel_set kernels;
    natsl_storage weights, kept;
    natsl_route route;
    int tokens;
} next_ways[] = {{NATSL_KERNELS_FAST, NATSL_F32, NATSL_F32, NATSL_LEARNED, 200},
                 {NATSL_KERNELS_FAST, NATSL_BF16, NATSL_BF16, NATSL_LEARNED, 140},
                 {NATSL_KERNELS_FAST, NATSL_BF16, NATSL_F32, NATSL_ALL_SOFTMAX, 130},
                 {NATSL_KERNELS_REF, NATSL_F32, NATSL_F32, NATSL_LEARNED, 70},
                 {NATSL_KERNELS_REF, NATSL_BF16, NATSL_BF16, NATSL_ALL_SOFTMAX, 70}};

/** From an empty context on: all kept chunks are the owner's, so every number of ranks and threads gives the same bits; and
 * reading the same text in one window gives the same up to rounding. */
static void test_next_same_bits(void)
{
    for (int kind = 0; kind < KINDS; kind++) {
        for (size_t i = 0; i < sizeof next_ways / sizeof next_ways[0]; i++) {
            /* threads spin while they wait: more of them than cores, and each product takes milliseconds */
            const natsl_options many = {
                .kernels = next_ways[i].kernels, .kept = next_ways[i].kept, .threads = 1, .route = next_ways[i].route};
            natsl_options one = many;
            if (world_size == 1) one.threads = 2;
            natsl_model *m = kind_model_as(kind, MPI_COMM_WORLD, next_ways[i].weights);
            natsl_model *alone = kind_model_as(kind, MPI_COMM_SELF, next_ways[i].weights);
            const natsl_config *c = natsl_model_config(m);
            int32_t tokens[TEXT];
            int same = 0;
            size_t floats = 0;
            const int n = next_ways[i].tokens;
            make_text(m, tokens, TEXT);
            natsl_context *all = new_context(MPI_COMM_WORLD, m, &many), *self = new_context(MPI_COMM_SELF, alone, &one);
            const double d = step_both(all, self, c, tokens, 0, n, &same);
            if (!same) {
                fprintf(stderr, "%s, way %zu: single tokens on %d ranks differ from one rank by %g\n", kinds[kind].name,
                        i, world_size, d);
                CU_FAIL("single tokens");
            }
            natsl_stats stats;
            CU_ASSERT_EQUAL(natsl_context_stats(all, &stats), NATSL_OK);
            CU_ASSERT(world_size > 1 ? stats.row_bytes > 0 : stats.row_bytes == 0);
            CU_ASSERT_EQUAL(stats.kept_bytes, 0);
            natsl_context *window = new_context(MPI_COMM_WORLD, m, &many);
            CU_ASSERT_EQUAL(natsl_context_extend_array(window, n, tokens, NULL), NATSL_OK);
            float *a = all_states(all, c, &floats), *b = all_states(window, c, &floats);
            const double e = furthest(a, b, floats);
            const double most = next_ways[i].kept == NATSL_BF16 ? KEPT_BF16_TOL : WINDOW_TOL * 10;
            if (!(e <= most)) {
                fprintf(stderr, "%s, way %zu: single tokens differ from one window by %g\n", kinds[kind].name, i, e);
                CU_FAIL("single tokens against a window");
            }
            free(a);
            free(b);
            natsl_context_destroy(&window);
            natsl_context_destroy(&all);
            natsl_context_destroy(&self);
            natsl_model_close(&alone);
            natsl_model_close(&m);
        }
    }
}

/** After a context saved by one rank was loaded by all: kept chunks lie on several ranks, so sums over them are in another order;
 * with none kept not even that, but for attention layers, which keep all. The tokens go on inside a chunk and over the next borders. */
static void test_next_loaded(void)
{
    for (int kind = 0; kind < KINDS; kind++) {
        for (int i = 0; i < 3; i++) {
            const natsl_options o = {.kept = i == 1 ? NATSL_BF16 : NATSL_F32,
                                     .threads = 1,
                                     .route = i == 2 ? NATSL_ALL_LINEAR : NATSL_LEARNED};
            const natsl_storage weights = i == 1 ? NATSL_BF16 : NATSL_F32;
            char path[4096];
            natsl_model *m = kind_model_as(kind, MPI_COMM_WORLD, weights);
            natsl_model *alone = kind_model_as(kind, MPI_COMM_SELF, weights);
            const natsl_config *c = natsl_model_config(m);
            const int cut = 641, end = 720;
            int32_t tokens[TEXT];
            int same = 0;
            make_text(m, tokens, TEXT);
            snprintf(path, sizeof path, "%s/next-%d-%d-%d.h5", scratch_dir, kind, i, world_rank);
            natsl_context *all = NULL, *self = new_context(MPI_COMM_SELF, alone, &o);
            CU_ASSERT_EQUAL(natsl_context_extend_array(self, cut, tokens, NULL), NATSL_OK);
            if (world_rank == 0) CU_ASSERT_EQUAL(natsl_context_save(self, path), NATSL_OK);
            MPI_Barrier(MPI_COMM_WORLD);
            MPI_Bcast(path, sizeof path, MPI_CHAR, 0, MPI_COMM_WORLD);
            CU_ASSERT_EQUAL_FATAL(natsl_context_load(MPI_COMM_WORLD, m, &o, path, &all), NATSL_OK);
            const double d = step_both(all, self, c, tokens, cut, end, &same);
            if (!(d <= (i == 1 ? KEPT_BF16_TOL : WINDOW_TOL * 10)) || (i == 2 && c->num_attn == 0 && !same)) {
                fprintf(stderr, "%s, way %d: single tokens after loading on %d ranks differ by %g\n", kinds[kind].name,
                        i, world_size, d);
                CU_FAIL("single tokens after loading");
            }
            natsl_context_destroy(&all);
            natsl_context_destroy(&self);
            natsl_model_close(&alone);
            natsl_model_close(&m);
        }
    }
}

/** The owner has no memory left for a chunk that is to be kept: all ranks end with that status and the owner's text. */
static void test_next_trouble(void)
{
    natsl_model *m = kind_model(2, MPI_COMM_WORLD); /* chunks of three tokens */
    const natsl_options o = {.route = NATSL_ALL_SOFTMAX, .threads = 1};
    natsl_context *cx = new_context(MPI_COMM_WORLD, m, &o);
    const size_t reserve = cx->arena.reserve;
    const int shared = cx->arena.own != NULL;
    CU_ASSERT_EQUAL(shared, world_size > 1);
    if (shared && world_rank == 0) cx->arena.reserve = cx->arena.used;
    CU_ASSERT_EQUAL(natsl_context_next(cx, 1), NATSL_OK);
    CU_ASSERT_EQUAL(natsl_context_next(cx, 2), NATSL_OK);
    CU_ASSERT_EQUAL(natsl_context_next(cx, 3), shared ? NATSL_ERR_NOMEM : NATSL_OK);
    if (shared) CU_ASSERT_PTR_NOT_NULL(strstr(natsl_error_text(), "kept keys and values"));
    cx->arena.reserve = reserve; /* what is unmapped */
    natsl_context_destroy(&cx);
    natsl_model_close(&m);
}

/** Weights that overflow: all ranks say which token, and it is not read. */
static void test_next_overflow(void)
{
    natsl_model *m = kind_model(2, MPI_COMM_WORLD);
    const natsl_options o = {.threads = 1};
    natsl_context *cx = new_context(MPI_COMM_WORLD, m, &o);
    CU_ASSERT_EQUAL(natsl_context_next(cx, 1), NATSL_OK);
    MPI_Barrier(MPI_COMM_WORLD);
    if (m->window == MPI_WIN_NULL || world_rank == 0)
        ((float *)m->weights.norm)[0] = INFINITY; /* memory of its own, or one for the node */
    MPI_Barrier(MPI_COMM_WORLD);
    CU_ASSERT_EQUAL(natsl_context_next(cx, 2), NATSL_ERR_INPUT);
    CU_ASSERT_PTR_NOT_NULL(strstr(natsl_error_text(), "token 1: values that are not finite"));
    CU_ASSERT_EQUAL(natsl_context_position(cx), 1);
    natsl_context_destroy(&cx);
    natsl_model_close(&m);
}

int main(int argc, char **argv)
{
    static const test_entry tests[] = {
        {"same bits", test_next_same_bits},
        {"after loading", test_next_loaded},
        {"no memory", test_next_trouble},
        {"overflow", test_next_overflow},
    };
    return run_suite_context(argc, argv, "next", tests, COUNT(tests));
}
