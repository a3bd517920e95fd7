/* test_context.c - the context on any number of ranks: against the oracle's golden cases, against itself read in other windows,
 * passes, stages and ranks, and its behaviour when a rank runs into trouble.
 * usage: test_context GOLDEN_DIR SCRATCH_DIR. Run at 1, 2, 3, 5 ranks. CUnit on every rank; the worst result counts. */
#include "context_check.h"

/* Tolerances. float32 against float64 over a few layers is at 5e-6; the rest is room for other CPUs' kernels. */
#define LOGPROB_TOL 1e-4
#define STATE_TOL   1e-4
/* The same text in other windows: other product shapes, so only rounding differs. */
#define WINDOW_TOL 5e-5

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
        if (c->kind[l] == NATSL_LAYER_ATTN) continue;
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
    const char *const names[] = {"hybrid", "allnats", "options", "attn", "centred"};
    for (int set = NATSL_KERNELS_FAST; set <= NATSL_KERNELS_REF; set++) {
        for (int i = 0; i < 5; i++) {
            const natsl_options plain = {.kernels = (natsl_kernel_set)set, .threads = 1};
            const natsl_options passes = {.kernels = (natsl_kernel_set)set, .threads = 2, .pass_tokens = 256};
            golden_case(names[i], &plain);
            golden_case(names[i], &passes);
            const natsl_options scan = {.kernels = (natsl_kernel_set)set, .threads = 1, .state_pass = NATSL_STATE_SCAN};
            golden_case(names[i], &scan);
        }
    }
}

/* ---- one text, many ways ---------------------------------------------------------------------------------------------- */

/* Single tokens past the end of the longest chunk, 300, and of a tile. */
#define UNTIL 330

static void test_windows(void)
{
    static const struct {
        int windows[4];
        int until; /* from there on the rest in one window; all ranks wait for one another in each */
    } cuts[] = {{{1, 1, 1, 1}, UNTIL},    {{63, 63, 63, 63}, TEXT},        {{64, 64, 64, 64}, TEXT},
                {{65, 65, 65, 65}, TEXT}, {{300, 300, 300, 300}, TEXT},    {{0, 0, 0, 0}, UNTIL},
                {{130, 0, 0, 7}, TEXT},   {{1000, 1000, 1000, 1000}, TEXT}};
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
            if (!taken(kind, i)) continue;
            memcpy(got, want, sizeof got); /* natsl_context_next gives no values: those places are not compared */
            cx = read_until(MPI_COMM_WORLD, m, NULL, tokens, cuts[i].windows, 4, cuts[i].until, got);
            float *s = all_states(cx, c, &floats);
            natsl_context_logits(cx, logits + c->vocab_size);
            const double a = furthest(want, got, TEXT), b = furthest(states, s, floats);
            const double e = furthest(logits, logits + c->vocab_size, (size_t)c->vocab_size);
            if (!(a <= WINDOW_TOL && b <= WINDOW_TOL * 10 && e <= WINDOW_TOL * 10)) {
                fprintf(stderr, "%s, windows %d,%d,..: logprobs %g, states %g, logits %g\n", kinds[kind].name,
                        cuts[i].windows[0], cuts[i].windows[1], a, b, e);
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

/** The same bits on one rank and on all, in one pass or several, in one stage or several, with any number of threads, in
 * ranges of equal length or of equal cost. */
static void test_same_bits(void)
{
    static const natsl_options ways[] = {
        {.threads = 1},
        {.threads = 2},
        {.pass_tokens = 256, .threads = 1},
        {.stage_tokens = 256, .pass_tokens = 1024, .threads = 1},
        {.pass_tokens = 600, .threads = 3, .stage_tokens = 300},
        {.exchange = NATSL_EXCHANGE_MESSAGES, .threads = 1},
        {.exchange = NATSL_EXCHANGE_MESSAGES, .pass_tokens = 300, .stage_tokens = 256},
        {.balance = NATSL_BALANCE_OFF, .threads = 1},
        {.balance = NATSL_BALANCE_ON, .threads = 1},
        {.balance = NATSL_BALANCE_ON, .threads = 1, .pass_tokens = 500, .kept_share = 1.0},
        {.balance = NATSL_BALANCE_ON, .threads = 2, .pass_tokens = 300, .exchange = NATSL_EXCHANGE_MESSAGES},
        {.balance = NATSL_BALANCE_ON, .threads = 1, .stage_tokens = 256, .pass_tokens = 1024}};
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
            if (!taken(kind, i)) continue;
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

/** A layer with a window gives up what lies behind it: memory stays bounded, and the bits are those of one long pass, also where the
 * memory is used again, after saving, loading and copying, and by single tokens. */
static void test_window_memory(void)
{
    /* units of 64 KiB, 32 in a slab: 512 tokens */
    static const char json[] =
        "{\"hidden_size\":32,\"num_hidden_layers\":2,\"vocab_size\":50,\"head_dim\":8,\"intermediate_size\":"
        "32,\"gdn_layers\":[0],\"nats_block_size\":16,\"attn\":{\"layers\":[1],\"num_heads\":1,\"head_dim\":512,"
        "\"window_size\":300,\"rotary_dim\":8}}";
    enum { LONG = 6144, CUT = 5000 };
    char path[4096], saved[4096];
    snprintf(path, sizeof path, "%s/window-%d.h5", scratch_dir, world_size);
    snprintf(saved, sizeof saved, "%s/window-context-%d.h5", scratch_dir, world_size);
    make_model(json, 77, path);
    natsl_model *m = open_model(MPI_COMM_WORLD, path);
    int32_t *tokens = must(malloc(LONG * sizeof *tokens));
    float *want = must(calloc(LONG, sizeof *want)), *got = must(calloc(LONG, sizeof *got));
    make_text(m, tokens, LONG);
    const natsl_options whole = {.threads = 1},
                        passes[] = {
                            {.threads = 1, .pass_tokens = 512},
                            {.threads = 1, .pass_tokens = 512, .exchange = NATSL_EXCHANGE_MESSAGES},
                            {.threads = 1, .pass_tokens = 1024, .stage_tokens = 256, .balance = NATSL_BALANCE_ON}};
    natsl_context *cx = new_context(MPI_COMM_WORLD, m, &whole), *copy = NULL;
    natsl_stats all, stats;
    CU_ASSERT_EQUAL(natsl_context_extend_array(cx, LONG, tokens, want), NATSL_OK);
    CU_ASSERT_EQUAL(natsl_context_stats(cx, &all), NATSL_OK);
    CU_ASSERT_EQUAL(all.chunks, 0); /* no gate */
    natsl_context_destroy(&cx);
    for (size_t i = 0; i < sizeof passes / sizeof passes[0]; i++) {
        memset(got, 0, LONG * sizeof *got);
        cx = new_context(MPI_COMM_WORLD, m, &passes[i]);
        CU_ASSERT_EQUAL(natsl_context_extend_array(cx, LONG, tokens, got), NATSL_OK);
        CU_ASSERT_EQUAL(memcmp(want, got, LONG * sizeof *got), 0);
        CU_ASSERT_EQUAL(natsl_context_stats(cx, &stats), NATSL_OK);
        /* the window, three passes and what fills a slab; one rank alone would hold 12 slabs */
        if (world_size == 1) CU_ASSERT(stats.kept_store_bytes <= all.kept_store_bytes * (i < 2 ? 6 : 9) / 12);
        CU_ASSERT(stats.kept_store_bytes <= all.kept_store_bytes * 2);
        natsl_context_destroy(&cx);
    }
    /* on from a file, from a copy, and token by token */
    cx = new_context(MPI_COMM_WORLD, m, &passes[0]);
    CU_ASSERT_EQUAL(natsl_context_extend_array(cx, CUT, tokens, NULL), NATSL_OK);
    CU_ASSERT_EQUAL_FATAL(natsl_context_save(cx, saved), NATSL_OK);
    CU_ASSERT_EQUAL_FATAL(natsl_context_copy(cx, &copy), NATSL_OK);
    natsl_context_destroy(&cx);
    CU_ASSERT_EQUAL_FATAL(natsl_context_load(MPI_COMM_WORLD, m, &passes[1], saved, &cx), NATSL_OK);
    CU_ASSERT_EQUAL(natsl_context_extend_array(cx, LONG - CUT, tokens + CUT, got), NATSL_OK);
    CU_ASSERT_EQUAL(natsl_context_extend_array(copy, LONG - CUT, tokens + CUT, want), NATSL_OK);
    CU_ASSERT_EQUAL(memcmp(want, got, (LONG - CUT) * sizeof *got), 0);
    natsl_context_destroy(&copy);
    CU_ASSERT_EQUAL_FATAL(natsl_context_save(cx, saved), NATSL_OK); /* of a context that was loaded */
    CU_ASSERT_EQUAL_FATAL(natsl_context_load(MPI_COMM_WORLD, m, &whole, saved, &copy), NATSL_OK);
    float logits[2][50];
    for (int t = 0; t < 20; t++) CU_ASSERT_EQUAL(natsl_context_next(copy, tokens[t]), NATSL_OK);
    CU_ASSERT_EQUAL(natsl_context_extend_array(cx, 20, tokens, NULL), NATSL_OK);
    CU_ASSERT_EQUAL(natsl_context_logits(copy, logits[0]), NATSL_OK);
    CU_ASSERT_EQUAL(natsl_context_logits(cx, logits[1]), NATSL_OK);
    CU_ASSERT(furthest(logits[0], logits[1], 50) <= WINDOW_TOL * 10);
    natsl_context_destroy(&copy);
    natsl_context_destroy(&cx);
    free(tokens);
    free(want);
    free(got);
    natsl_model_close(&m);
}

/* ---- trouble ----------------------------------------------------------------------------------------------------------- */

/** A source that fails for one rank in any of several passes ends the extension on all ranks with its status. */
static void test_trouble(void)
{
    natsl_model *m = kind_model(0, MPI_COMM_WORLD);
    int32_t tokens[TEXT];
    make_text(m, tokens, TEXT);
    const int64_t length = 6 * 512;
    for (int64_t at = 0; at < length; at += 500) {
        const natsl_options o = {
            .pass_tokens = 512, .threads = 1, .balance = at % 1000 ? NATSL_BALANCE_ON : NATSL_BALANCE_OFF};
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

/* ---- breaks ------------------------------------------------------------------------------------------------------------ */

/** Asks for a break after so many questions, on one rank only. */
typedef struct breaks {
    collected got; /* first: the callbacks of golden cases take it */
    int rank, asked, after;
} breaks;

static int ask_break(void *user)
{
    breaks *b = user;
    return world_rank == b->rank && ++b->asked == b->after;
}

/** Read with breaks, in each of which the context is saved and loaded; and on from the last one by fewer ranks: the same bits as in
 * one go. */
static void test_pause(void)
{
    char path[4096];
    int32_t tokens[TEXT];
    static float want[TEXT], logprobs[TEXT];
    MPI_Comm half;
    MPI_Comm_split(MPI_COMM_WORLD, world_rank < (world_size + 1) / 2, world_rank, &half);
    for (int kind = 0; kind < KINDS; kind++) {
        snprintf(path, sizeof path, "%s/pause-%d-%d.h5", scratch_dir, kind, world_size);
        const natsl_options o = {.pass_tokens = 1};
        natsl_model *models[2] = {kind_model(kind, MPI_COMM_WORLD), kind_model(kind, half)};
        const natsl_config *c = natsl_model_config(models[0]);
        make_text(models[0], tokens, TEXT);
        natsl_context *cx = new_context(MPI_COMM_WORLD, models[0], &o);
        CU_ASSERT_EQUAL(natsl_context_extend_array(cx, TEXT, tokens, want), NATSL_OK);
        size_t floats = 0;
        float *state = all_states(cx, c, &floats);
        natsl_context_destroy(&cx);

        breaks b = {.got = {.tokens = tokens, .logprobs = logprobs}, .rank = world_size - 1, .after = 1};
        natsl_stream stream = {.user = &b, .tokens = give_tokens, .logprobs = take_logprobs, .pause = ask_break};
        memset(logprobs, 0, sizeof logprobs);
        cx = new_context(MPI_COMM_WORLD, models[0], &o);
        int stops = 0;
        for (int64_t at = 0; at < TEXT; at = natsl_context_position(cx), stops++) {
            b.asked = 0;
            CU_ASSERT_EQUAL(natsl_context_extend(cx, TEXT - at, &stream), NATSL_OK);
            CU_ASSERT(natsl_context_position(cx) > at);
            if (natsl_context_position(cx) == TEXT) break;
            CU_ASSERT_EQUAL(natsl_context_position(cx) % c->chunk, 0);
            stream.goes_on = 1;
            CU_ASSERT_EQUAL(natsl_context_save(cx, path), NATSL_OK);
            natsl_context_destroy(&cx);
            CU_ASSERT_EQUAL(natsl_context_load(MPI_COMM_WORLD, models[0], &o, path, &cx), NATSL_OK);
        }
        CU_ASSERT(stops > 0);
        MPI_Allreduce(MPI_IN_PLACE, logprobs, TEXT, MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD);
        CU_ASSERT_EQUAL(memcmp(logprobs, want + 1, (TEXT - 1) * sizeof *want), 0);
        size_t same = 0;
        float *again = all_states(cx, c, &same);
        CU_ASSERT_EQUAL(memcmp(state, again, floats * sizeof *state), 0);
        free(again);
        natsl_context_destroy(&cx);

        /* the last break once more, by half of the ranks */
        if (stops > 0) {
            int64_t from = 0;
            CU_ASSERT_EQUAL(natsl_context_load(half, models[1], &o, path, &cx), NATSL_OK);
            from = natsl_context_position(cx);
            memset(logprobs, 0, sizeof logprobs);
            stream.pause = NULL;
            CU_ASSERT_EQUAL(natsl_context_extend(cx, TEXT - from, &stream), NATSL_OK);
            MPI_Allreduce(MPI_IN_PLACE, logprobs, TEXT, MPI_FLOAT, MPI_SUM, half);
            CU_ASSERT_EQUAL(logprobs[from - 1], 0.0f); /* token `from` has been given before the break */
            CU_ASSERT_EQUAL(memcmp(logprobs + from, want + from + 1, (size_t)(TEXT - from - 1) * sizeof *want), 0);
            again = all_states(cx, c, &same);
            CU_ASSERT_EQUAL(memcmp(state, again, floats * sizeof *state), 0);
            free(again);
            natsl_context_destroy(&cx);
        }
        free(state);
        natsl_model_close(&models[1]);
        natsl_model_close(&models[0]);
    }
    MPI_Comm_free(&half);
}

/** A context file with a number that is not finite is refused, also where its seal has gone with the change. */
static void test_poisoned(void)
{
    char path[4096];
    int32_t tokens[TEXT];
    natsl_model *m = kind_model(0, MPI_COMM_WORLD);
    natsl_context *cx = new_context(MPI_COMM_WORLD, m, NULL);
    make_text(m, tokens, TEXT);
    snprintf(path, sizeof path, "%s/poisoned-%d.h5", scratch_dir, world_size);
    CU_ASSERT_EQUAL(natsl_context_extend_array(cx, TEXT, tokens, NULL), NATSL_OK);
    CU_ASSERT_EQUAL(natsl_context_save(cx, path), NATSL_OK);
    natsl_context_destroy(&cx);
    static const char *const sets[] = {"last_hidden", "tail/0/state", "kept/0/0/units"};
    for (int i = 0; i < 3; i++) {
        float old = 0.0f;
        hid_t file = -1, set = -1;
        const hsize_t one = 1, at[2] = {0, 0};
        for (int restore = 0; restore < 2; restore++) {
            if (world_rank == 0) {
                file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT);
                set = H5Dopen2(file, sets[i], H5P_DEFAULT);
                const hid_t space = H5Dget_space(set), memory = H5Screate_simple(1, &one, NULL);
                H5Sselect_elements(space, H5S_SELECT_SET, 1, at);
                const float bad = i == 1 ? INFINITY : NAN;
                if (!restore) H5Dread(set, H5T_NATIVE_FLOAT, memory, space, H5P_DEFAULT, &old);
                H5Dwrite(set, H5T_NATIVE_FLOAT, memory, space, H5P_DEFAULT, restore ? &old : &bad);
                H5Sclose(memory);
                H5Sclose(space);
                H5Dclose(set);
                H5Fclose(file);
            }
            MPI_Barrier(MPI_COMM_WORLD);
            const natsl_status st = natsl_context_load(MPI_COMM_WORLD, m, NULL, path, &cx);
            CU_ASSERT_EQUAL(st, restore ? NATSL_OK : NATSL_ERR_INPUT);
            if (!restore) CU_ASSERT(strstr(natsl_error_text(), sets[i]) && strstr(natsl_error_text(), "finite"));
            natsl_context_destroy(&cx);
            MPI_Barrier(MPI_COMM_WORLD);
        }
    }
    natsl_model_close(&m);
}

int main(int argc, char **argv)
{
    static const test_entry tests[] = {
        {"golden cases", test_golden}, {"windows", test_windows},
        {"same bits", test_same_bits}, {"copy", test_copy},
        {"save and load", test_save},  {"pause", test_pause},
        {"not finite", test_poisoned}, {"windows in memory", test_window_memory},
        {"trouble", test_trouble},
    };
    return run_suite_context(argc, argv, "context", tests, COUNT(tests));
}
