/* test_scan.c - states passed by scan: the prefix on its own against a chain in double, then whole texts against the relay, on
 * any number of ranks. usage: test_scan GOLDEN_DIR SCRATCH_DIR. Run at 2, 3, 5 ranks. */
#include "context_check.h"
#include "context_impl.h"
#include "scan.h"

/* What scan and relay may differ by: they round differently, no more. Relative; of log-probabilities near 0, which are
 * differences of scores of size 1 and more, absolute. */
#define SCAN_TOL 1e-5

/* ---- the prefix alone ------------------------------------------------------------------------------------------------- */

enum { HEADS = 3, DK = 5, DV = 4, LAYERS = 2, PASSES = 3, STATE = HEADS * DK * DV, PAIR = STATE + HEADS * DK * DK };

/** Range `rank`'s map in a layer and pass: B of all heads, then A; the same on all ranks. A shrinks, as decays make it. */
static void make_pair(int pass, int layer, int rank, float *pair)
{
    uint64_t s = (uint64_t)((pass * 100 + layer) * 1000 + rank);
    for (int i = 0; i < PAIR; i++) pair[i] = (float)(i < STATE ? normal(&s) : 0.3 * normal(&s));
}

/** state [STATE] -> A state + B, in double. */
static void apply_pair(const float *pair, double *state)
{
    double next[STATE];
    for (int h = 0; h < HEADS; h++) {
        for (int i = 0; i < DK; i++) {
            for (int c = 0; c < DV; c++) {
                const int at = (h * DK + i) * DV + c;
                next[at] = (double)pair[at];
                for (int l = 0; l < DK; l++)
                    next[at] += (double)pair[STATE + (h * DK + i) * DK + l] * state[(h * DK + l) * DV + c];
            }
        }
    }
    memcpy(state, next, sizeof next);
}

/** Ranges of pass `pass`: bit r of readers says whether rank r reads. */
static void make_ranges(unsigned readers, int64_t *first)
{
    first[0] = 0;
    for (int r = 0; r < world_size; r++) first[r + 1] = first[r] + (readers >> r & 1 ? 64 : 0);
}

/** One conversation of several passes and layers; every reader's incoming state against the chain. */
static void prefix_case(const natsl_kernels *kernels, unsigned readers, size_t piece)
{
    const natsl_scan_shape shape = {.layers = LAYERS, .heads = HEADS, .dk = DK, .dv = DV};
    natsl_scan scan;
    int64_t first[65], pairs = 0, states = 0, want_bytes = 0;
    int n = 0, me = -1;
    for (int r = 0; r < world_size; r++) {
        if (r == world_rank && readers >> r & 1) me = n;
        n += (int)(readers >> r & 1);
    }
    const int slots = me < 0 ? 0 : natsl_scan_slots(me, n);
    const natsl_status st = natsl_scan_create(MPI_COMM_WORLD, world_size, kernels, 2, &shape, slots, piece, &scan);
    CU_ASSERT_EQUAL(st, NATSL_OK);
    if (st != NATSL_OK) MPI_Abort(MPI_COMM_WORLD, 1);
    make_ranges(readers, first);
    for (int pass = 0; pass < PASSES && me >= 0; pass++) {
        natsl_scan_set(&scan, first, world_size, world_rank);
        CU_ASSERT(scan.n == n && scan.me == me);
        for (int layer = 0; layer < LAYERS; layer++) {
            float pair[PAIR], got[STATE];
            double want[STATE] = {0};
            uint64_t s = 77;
            for (int i = 0; i < STATE; i++) want[i] = (double)(float)normal(&s);
            for (int r = 0, i = 0; r < world_size && i < me; r++) {
                if (!(readers >> r & 1)) continue;
                make_pair(pass, layer, r, pair);
                apply_pair(pair, want);
                i++;
            }
            if (me == 0) { /* its range's end, which it knows exactly */
                make_pair(pass, layer, world_rank, pair);
                apply_pair(pair, want);
                for (int i = 0; i < STATE; i++) got[i] = (float)want[i];
                natsl_scan_first(&scan, layer, got);
                continue;
            }
            natsl_scan_begin(&scan, layer);
            if (natsl_scan_summarises(&scan)) {
                make_pair(pass, layer, world_rank, pair);
                memcpy(natsl_scan_b(&scan, layer), pair, STATE * sizeof(float));
                memcpy(natsl_scan_a(&scan, layer), pair + STATE, (PAIR - STATE) * sizeof(float));
            }
            natsl_scan_prefix(&scan, layer, got);
            const double e = relative(want, got, STATE);
            EXPECT(e <= 1e-6, "readers %x, piece %zu, reader %d of %d, pass %d: off by %g", readers, piece, me, n, pass,
                   e);
        }
    }
    natsl_scan_finish(&scan);
    natsl_scan_messages(n, &pairs, &states);
    want_bytes = PASSES * LAYERS * (pairs * PAIR + states * STATE) * (int64_t)sizeof(float);
    MPI_Allreduce(MPI_IN_PLACE, &scan.bytes, 1, MPI_INT64_T, MPI_SUM, MPI_COMM_WORLD);
    EXPECT(scan.bytes == want_bytes, "readers %x: %lld bytes sent, %lld counted", readers, (long long)scan.bytes,
           (long long)want_bytes);
    natsl_scan_free(&scan);
}

/* All subsets of up to 5 ranks, some of 8; whole messages and pieces of a few numbers. */
static void test_prefix(void)
{
    static const unsigned some[] = {0xff, 0x7f, 0xfe, 0xdb, 0xa5, 0x81, 0x0f, 0xf0};
    const unsigned all = 1u << world_size;
    for (size_t i = 0; i < (all <= 32 ? all : COUNT(some)); i++) {
        const unsigned readers = all <= 32 ? (unsigned)i : some[i] & (all - 1);
        prefix_case(&natsl_kernels_fast, readers, 0);
        prefix_case(&natsl_kernels_ref, readers, 7);
    }
}

static void test_counts(void)
{
    int64_t pairs = 0, states = 0;
    natsl_scan_messages(1, &pairs, &states);
    CU_ASSERT(pairs == 0 && states == 0);
    natsl_scan_messages(2, &pairs, &states);
    CU_ASSERT(pairs == 0 && states == 1);
    natsl_scan_messages(8, &pairs, &states); /* steps of 1, 2, 4: 7, 6, 4 messages; 1, 2, 4 of them reach the start */
    CU_ASSERT(pairs == 10 && states == 7);
    for (int n = 1; n < 300; n++) {
        int64_t sum = 0;
        natsl_scan_messages(n, &pairs, &states);
        for (int i = 0; i < n; i++) sum += natsl_scan_slots(i, n);
        EXPECT(sum == pairs, "%d readers: %lld slots, %lld pairs", n, (long long)sum, (long long)pairs);
    }
    const natsl_scan_shape huge = {.layers = 1 << 20, .heads = 1 << 14, .dk = 1 << 24, .dv = 1 << 24};
    CU_ASSERT_EQUAL(natsl_scan_bytes(&huge, 8), 0);
}

/* ---- whole texts against the relay -------------------------------------------------------------------------------------- */

/** What a way of reading gave. */
typedef struct answer {
    float logprobs[TEXT];
    float *states;
    size_t floats;
    natsl_stats stats;
} answer;

static void answer_take(natsl_context *cx, const natsl_model *m, answer *a)
{
    a->states = all_states(cx, natsl_model_config(m), &a->floats);
    CU_ASSERT_EQUAL(natsl_context_stats(cx, &a->stats), NATSL_OK);
    natsl_context_destroy(&cx);
}

/** Norm-wise per layer for states, value by value for log-probabilities of the first n tokens. */
static void compare(const char *name, size_t way, const natsl_model *m, const answer *want, const answer *got, size_t n)
{
    const size_t layers = (size_t)natsl_model_config(m)->num_hidden_layers, one = want->floats / layers / 2;
    for (size_t i = 0; i < 2 * layers; i++) {
        double *w = must(malloc(one * sizeof *w)), e;
        for (size_t k = 0; k < one; k++) w[k] = (double)want->states[i * one + k];
        e = relative(w, got->states + i * one, one);
        EXPECT(e <= SCAN_TOL, "%s, way %zu: state %zu of layer %zu off by %g", name, way, i % 2, i / 2, e);
        free(w);
    }
    double most = 0.0;
    for (size_t i = 1; i < n; i++) {
        const double w = fabs((double)want->logprobs[i]);
        const double d = fabs((double)want->logprobs[i] - (double)got->logprobs[i]) / (w > 1.0 ? w : 1.0);
        if (!(d <= most)) most = isfinite(d) ? d : INFINITY;
    }
    EXPECT(most <= SCAN_TOL, "%s, way %zu: log-probabilities off by %g", name, way, most);
}

/** The account fits the plan, which says how many passes scan: at least `least`. */
static void check_plan(const natsl_model *m, const natsl_options *o, int64_t tokens, int64_t least, const answer *got)
{
    const natsl_config *c = natsl_model_config(m);
    natsl_plan plan;
    int passes_states = 0;
    for (int l = 0; l < c->num_hidden_layers; l++) passes_states |= c->kind[l] != NATSL_LAYER_ATTN;
    if (!passes_states) least = 0;
    CU_ASSERT_EQUAL(natsl_plan_make(c, NATSL_F32, world_size, o, tokens, &plan), NATSL_OK);
    EXPECT(plan.scan_passes >= least, "%lld passes scan, expected %lld", (long long)plan.scan_passes, (long long)least);
    double summary_s = 0.0;
    for (int i = 0; natsl_stats_phase_name(i); i++) {
        if (strcmp(natsl_stats_phase_name(i), "summary") == 0) summary_s = got->stats.phase_s[i];
    }
    CU_ASSERT_EQUAL(summary_s > 0.0, plan.scan_passes > 0);
    if (plan.scan_passes == 0) return;
    CU_ASSERT(plan.scan_bytes > 0);
    EXPECT(plan.state_bytes == got->stats.state_bytes, "%lld bytes planned, %lld sent", (long long)plan.state_bytes,
           (long long)got->stats.state_bytes);
}

/* Ways to read 1000 tokens; `passes`: how many of them must scan when three ranks or more read. */
static const struct way {
    natsl_options o;
    int64_t passes;
} ways[] = {
    {{.threads = 1}, 1},
    {{.threads = 2, .exchange = NATSL_EXCHANGE_MESSAGES}, 1},
    {{.threads = 1, .pass_tokens = 600, .stage_tokens = 600}, 0},
    {{.threads = 1, .exchange = NATSL_EXCHANGE_MESSAGES, .pass_tokens = 256}, 0},
    {{.threads = 1, .kernels = NATSL_KERNELS_REF, .pass_tokens = 600, .stage_tokens = 300}, 0},
    {{.threads = 1, .route = NATSL_ALL_SOFTMAX}, 1},
    {{.threads = 2, .route = NATSL_ALL_LINEAR}, 1},
    {{.threads = 1, .balance = NATSL_BALANCE_ON}, 1},
    {{.threads = 1, .balance = NATSL_BALANCE_ON, .pass_tokens = 256, .kept_share = 1.0}, 0},
};

static void test_texts(void)
{
    for (int kind = 0; kind < KINDS; kind++) {
        natsl_model *m = kind_model(kind, MPI_COMM_WORLD);
        int32_t tokens[TEXT];
        const int whole[] = {TEXT};
        make_text(m, tokens, TEXT);
        for (size_t i = 0; i < COUNT(ways); i++) {
            answer want, got;
            natsl_options o = ways[i].o;
            if (!taken(kind, i)) continue;
            o.state_pass = NATSL_STATE_RELAY;
            answer_take(read_in(MPI_COMM_WORLD, m, &o, tokens, whole, 1, want.logprobs), m, &want);
            o.state_pass = NATSL_STATE_SCAN;
            answer_take(read_in(MPI_COMM_WORLD, m, &o, tokens, whole, 1, got.logprobs), m, &got);
            compare(kinds[kind].name, i, m, &want, &got, TEXT);
            check_plan(m, &o, TEXT, world_size >= 3 ? ways[i].passes : 0, &got);
            free(want.states);
            free(got.states);
        }
        natsl_model_close(&m);
    }
}

/* Windows that start and end inside chunks, with single tokens between; the context comes from rank to rank in both ways. */
static void test_windows(void)
{
    static const int windows[] = {301, 130, 0, 7, 412};
    for (int kind = 0; kind < KINDS; kind++) {
        natsl_model *m = kind_model(kind, MPI_COMM_WORLD);
        int32_t tokens[TEXT];
        answer want = {.floats = 0}, got = {.floats = 0};
        make_text(m, tokens, TEXT);
        natsl_options o = {.state_pass = NATSL_STATE_RELAY, .threads = 1, .pass_tokens = 600};
        answer_take(read_in(MPI_COMM_WORLD, m, &o, tokens, windows, 5, want.logprobs), m, &want);
        o.state_pass = NATSL_STATE_SCAN;
        answer_take(read_in(MPI_COMM_WORLD, m, &o, tokens, windows, 5, got.logprobs), m, &got);
        for (size_t i = 0; i < TEXT; i++) { /* natsl_context_next gives none */
            if (want.logprobs[i] == 0.0f || i == 431 || i == 850) want.logprobs[i] = got.logprobs[i] = 1.0f;
        }
        compare(kinds[kind].name, 100, m, &want, &got, TEXT);
        free(want.states);
        free(got.states);
        natsl_model_close(&m);
    }
}

/* Ranges of several stages cannot be summarised: those passes are relayed, to the bit. */
static void test_falls_back(void)
{
    natsl_model *m = kind_model(0, MPI_COMM_WORLD);
    int32_t tokens[TEXT];
    answer want, got;
    make_text(m, tokens, TEXT);
    natsl_options o = {.threads = 1, .stage_tokens = 256, .pass_tokens = (int64_t)1024 * world_size};
    int32_t *longer = must(malloc(4 * TEXT * sizeof *longer));
    for (int i = 0; i < 4 * TEXT; i++) longer[i] = tokens[i % TEXT];
    const int64_t n = natsl_min64(4 * TEXT, (int64_t)600 * world_size); /* more than one stage for each rank */
    float *a = must(malloc((size_t)n * 2 * sizeof *a)), *b = a + n;
    for (int scan = 0; scan < 2; scan++) {
        o.state_pass = scan ? NATSL_STATE_SCAN : NATSL_STATE_RELAY;
        natsl_context *cx = new_context(MPI_COMM_WORLD, m, &o);
        CU_ASSERT_EQUAL(natsl_context_extend_array(cx, n, longer, scan ? b : a), NATSL_OK);
        answer_take(cx, m, scan ? &got : &want);
    }
    CU_ASSERT_EQUAL(memcmp(a, b, (size_t)n * sizeof *a), 0);
    CU_ASSERT_EQUAL(memcmp(want.states, got.states, want.floats * sizeof *want.states), 0);
    check_plan(m, &o, n, 0, &got);
    free(want.states);
    free(got.states);
    free(a);
    free(longer);
    natsl_model_close(&m);
}

/* The golden models and their tokens, read in place and by messages, in one pass and in several; with the plain kernels, which are
 * slow, in place in one pass and by messages in several. */
static void test_golden(void)
{
    static const char *const names[] = {"hybrid", "allnats", "options", "attn", "centred"};
    for (size_t i = 0; i < COUNT(names) * 8; i++) {
        const char *name = names[i / 8];
        char path[4096];
        size_t n = 0;
        if (i & 1 && !(i & 2) != !(i & 4)) continue;
        snprintf(path, sizeof path, "%s/%s-model.h5", golden_dir, name);
        natsl_model *m = open_model(MPI_COMM_WORLD, path);
        snprintf(path, sizeof path, "%s/%s-tokens.h5", golden_dir, name);
        double *t = dataset(path, "tokens", &n);
        int32_t tokens[TEXT];
        for (size_t k = 0; k < n && k < TEXT; k++) tokens[k] = (int32_t)t[k];
        free(t);
        natsl_options o = {.threads = 1,
                           .kernels = i & 1 ? NATSL_KERNELS_REF : NATSL_KERNELS_FAST,
                           .exchange = i & 2 ? NATSL_EXCHANGE_MESSAGES : NATSL_EXCHANGE_AUTO,
                           .pass_tokens = i & 4 ? 256 : 0};
        answer want, got;
        for (int scan = 0; scan < 2; scan++) {
            answer *to = scan ? &got : &want;
            o.state_pass = scan ? NATSL_STATE_SCAN : NATSL_STATE_RELAY;
            natsl_context *cx = new_context(MPI_COMM_WORLD, m, &o);
            CU_ASSERT_EQUAL(natsl_context_extend_array(cx, (int64_t)n, tokens, to->logprobs), NATSL_OK);
            answer_take(cx, m, to);
        }
        compare(name, i % 8, m, &want, &got, n);
        check_plan(m, &o, (int64_t)n, world_size >= 3, &got);
        free(want.states);
        free(got.states);
        natsl_model_close(&m);
    }
}

/** Ranks one after the other: each gets its tokens only when the one before it is through all layers. */
typedef struct turns {
    const int32_t *tokens;
    MPI_Comm comm;
    int waited;
} turns;

static natsl_status turn_tokens(void *user, int64_t first, int64_t count, int32_t *ids)
{
    turns *t = user;
    if (world_rank > 0 && !t->waited++) MPI_Recv(NULL, 0, MPI_BYTE, world_rank - 1, 0, t->comm, MPI_STATUS_IGNORE);
    memcpy(ids, t->tokens + first, (size_t)count * sizeof *ids);
    return NATSL_OK;
}

static void turn_progress(void *user, int64_t done, int64_t total)
{
    turns *t = user;
    if (done == total && world_rank + 1 < world_size) MPI_Send(NULL, 0, MPI_BYTE, world_rank + 1, 0, t->comm);
}

/** Inside a pass nobody needs anything from a later rank: reading in turns comes to an end (else this test hangs). */
static void test_turns(void)
{
    natsl_model *m = kind_model(0, MPI_COMM_WORLD);
    int32_t tokens[TEXT];
    make_text(m, tokens, TEXT);
    for (int i = 0; i < 4; i++) {
        const natsl_options o = {.threads = 1,
                                 .state_pass = i & 1 ? NATSL_STATE_SCAN : NATSL_STATE_RELAY,
                                 .exchange = i & 2 ? NATSL_EXCHANGE_MESSAGES : NATSL_EXCHANGE_AUTO};
        turns t = {.tokens = tokens, .comm = MPI_COMM_NULL};
        MPI_Comm_dup(MPI_COMM_WORLD, &t.comm);
        natsl_context *cx = new_context(MPI_COMM_WORLD, m, &o);
        const natsl_stream stream = {.user = &t, .tokens = turn_tokens, .progress = turn_progress};
        CU_ASSERT_EQUAL(natsl_context_extend(cx, TEXT, &stream), NATSL_OK);
        natsl_context_destroy(&cx);
        MPI_Comm_free(&t.comm);
    }
    natsl_model_close(&m);
}

/** A source that fails for one rank in any of several passes ends the extension on all ranks with its status. */
static void test_trouble(void)
{
    natsl_model *m = kind_model(0, MPI_COMM_WORLD);
    int32_t tokens[TEXT];
    make_text(m, tokens, TEXT);
    const int64_t length = 6 * 512;
    for (int64_t at = 0; at < length; at += 250) {
        const natsl_options o = {.pass_tokens = 512,
                                 .threads = 1,
                                 .state_pass = NATSL_STATE_SCAN,
                                 .exchange = at % 500 ? NATSL_EXCHANGE_MESSAGES : NATSL_EXCHANGE_AUTO};
        natsl_context *cx = new_context(MPI_COMM_WORLD, m, &o);
        trouble t = {tokens, at};
        const natsl_stream stream = {.user = &t, .tokens = failing_tokens};
        CU_ASSERT_EQUAL(natsl_context_extend(cx, length, &stream), NATSL_ERR_IO);
        natsl_context_destroy(&cx);
    }
    natsl_context *cx = NULL;
    const natsl_options wrong = {.state_pass = (natsl_state_pass)3};
    CU_ASSERT_EQUAL(natsl_context_create(MPI_COMM_WORLD, m, &wrong, &cx), NATSL_ERR_USAGE);
    natsl_model_close(&m);
}

int main(int argc, char **argv)
{
    static const test_entry tests[] = {
        {"prefix over ranks", test_prefix},
        {"counts of messages and memory", test_counts},
        {"texts against the relay", test_texts},
        {"windows", test_windows},
        {"ranges of several stages", test_falls_back},
        {"golden models", test_golden},
        {"nobody waits for a later rank", test_turns},
        {"trouble", test_trouble},
    };
    return run_suite_context(argc, argv, "scan", tests, COUNT(tests));
}
