/* test_cost.c - counts against plain loops, the balanced partition, what a prediction must always be, files of natsl bench. */
#include "../suite.h"
#include "cost.h"

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static natsl_config make_config(const char *json)
{
    natsl_config c;
    if (natsl_config_parse(json, strlen(json), "test", &c) != NATSL_OK) {
        fprintf(stderr, "%s\n", natsl_error_text());
        exit(1);
    }
    return c;
}

static const char *const configs[] = {
    "{\"hidden_size\": 64, \"num_hidden_layers\": 3, \"vocab_size\": 300, \"head_dim\": 16, \"num_heads\": 2, "
    "\"num_attn_heads\": 4, \"expand_v\": 2, \"gdn_layers\": [1]}",
    "{\"hidden_size\": 48, \"num_hidden_layers\": 2, \"vocab_size\": 100, \"head_dim\": 8, \"num_heads\": 2, "
    "\"num_attn_heads\": 2, \"nats_block_size\": 100, \"use_gate\": false, \"gdn_layers\": [0]}",
    "{\"hidden_size\": 48, \"num_hidden_layers\": 5, \"vocab_size\": 100, \"head_dim\": 8, \"num_heads\": 2, "
    "\"num_attn_heads\": 2, \"gdn_layers\": [0], \"attn\": [{\"layers\": [1], \"num_heads\": 6, \"num_kv_heads\": 2}, "
    "{\"layers\": [2], \"num_heads\": 2, \"head_dim\": 10, \"window_size\": 90, \"output_gate\": true}, "
    "{\"layers\": [3], \"num_heads\": 2, \"window_size\": 3}]}",
};

static int close_to(double a, double b) { return fabs(a - b) <= 1e-9 * fmax(fabs(a), fabs(b)); }

/* ---- counts ---------------------------------------------------------------------------------------------------------- */

/** Adds 2 m n k operations one multiply-add at a time, in the unit of one output row. */
static double product(double rows, double n, double k)
{
    double flop = 0.0;
    for (int i = 0; i < (int)n; i++) flop += 2.0 * k;
    return rows * flop;
}

/** The same counts token by token. */
static natsl_work count_slowly(const natsl_config *c, int layer, int64_t begin, int64_t end, double share)
{
    natsl_work w = {{0}};
    const double d = c->hidden_size, kd = c->key_dim, vd = c->value_dim, hv = c->num_v_heads, ha = c->num_attn_heads;
    const int is_gdn = c->kind[layer] == NATSL_LAYER_GDN;
    for (int64_t t = begin; c->kind[layer] == NATSL_LAYER_ATTN && t < end; t++) {
        const natsl_attn_config *a = &c->attn[c->attn_of[layer]];
        const double q = a->num_heads * a->head_dim, kv = a->num_kv_heads * a->head_dim;
        w.of[NATSL_WORK_PROJECT] += product(1.0, (a->output_gate ? 2.0 : 1.0) * q + 2.0 * kv, d) + product(1.0, d, q);
        w.of[NATSL_WORK_FEED_FORWARD] += 3.0 * product(1.0, c->intermediate_size, d);
        for (int64_t key = 0; key <= t; key++) {
            if (a->window_size && t - key >= a->window_size) continue;
            w.of[key / c->chunk == t / c->chunk ? NATSL_WORK_OWN : NATSL_WORK_KEPT] += 4.0 * q;
        }
    }
    for (int64_t t = begin; c->kind[layer] != NATSL_LAYER_ATTN && t < end; t++) {
        w.of[NATSL_WORK_PROJECT] += product(1.0, 2.0 * kd + vd + 2.0 * hv, d) + product(1.0, d, vd);
        if (c->use_gate) w.of[NATSL_WORK_PROJECT] += product(1.0, vd, d);
        if (c->use_gate && !is_gdn) w.of[NATSL_WORK_PROJECT] += product(1.0, 2.0 * ha, kd);
        w.of[NATSL_WORK_FEED_FORWARD] +=
            product(1.0, 2.0 * c->intermediate_size, d) + product(1.0, d, c->intermediate_size);
        /* the tokens of t's block that are in the run: products of a block with itself cost every one of them m rows */
        const int64_t in = t % c->chunk, first = t - in % NATSL_DELTA_BLOCK;
        const int64_t last = natsl_min64(first + NATSL_DELTA_BLOCK, t - in + c->chunk);
        const double m = (double)(natsl_min64(last, end) - natsl_max64(first, begin));
        w.of[NATSL_WORK_LOCAL] += c->num_heads * 2.0 * m * c->head_dim + hv * m * m / 3.0;
        double state = 4.0 * c->head_dim * c->head_v_dim + 2.0 * m * c->head_v_dim;
        const int ends_chunk = last == t - in + c->chunk;
        state += 2.0 * c->head_dim * c->head_v_dim * (ends_chunk && !is_gdn ? 1.0 - share : 1.0);
        w.of[NATSL_WORK_STATE] += hv * state;
        if (is_gdn) continue;
        if (in + 1 == c->chunk) w.of[NATSL_WORK_PROJECT] += product(1.0, 2.0 * c->num_nats_head, d);
        for (int64_t key = t - in; key <= t; key++) w.of[NATSL_WORK_OWN] += ha * 2.0 * (c->attn_k_dim + c->attn_v_dim);
        for (int64_t chunk = 0; chunk < t / c->chunk; chunk++)
            w.of[NATSL_WORK_KEPT] += share * c->chunk * ha * 2.0 * (c->attn_k_dim + c->attn_v_dim);
    }
    return w;
}

static void test_counts(void)
{
    static const int64_t cuts[] = {0, 1, 63, 64, 65, 100, 128, 200, 257, 500};
    for (size_t i = 0; i < COUNT(configs); i++) {
        const natsl_config c = make_config(configs[i]);
        for (size_t a = 0; a < COUNT(cuts); a++) {
            for (size_t b = a; b < COUNT(cuts); b++) {
                for (int layer = 0; layer < c.num_hidden_layers; layer++) {
                    const natsl_work want = count_slowly(&c, layer, cuts[a], cuts[b], 0.3);
                    const natsl_work got = natsl_cost_layer(&c, layer, cuts[a], cuts[b], 0.3);
                    for (int k = 0; k < NATSL_WORK_ROWS; k++)
                        EXPECT(close_to(want.of[k], got.of[k]),
                               "config %zu, layer %d, [%lld,%lld), kind %d: %.17g, counted %.17g", i, layer,
                               (long long)cuts[a], (long long)cuts[b], k, got.of[k], want.of[k]);
                    EXPECT((got.of[NATSL_WORK_ROWS] > 0.0) == (cuts[b] > cuts[a]), "bytes of rows");
                }
            }
        }
        const natsl_work all = natsl_cost_count(&c, 0, 500, 0.3, 499);
        double kept = 0.0;
        for (int l = 0; l < c.num_hidden_layers; l++) kept += natsl_cost_layer(&c, l, 0, 500, 0.3).of[NATSL_WORK_KEPT];
        EXPECT(close_to(all.of[NATSL_WORK_KEPT], kept), "layers add up");
        EXPECT(close_to(all.of[NATSL_WORK_LOGITS], 2.0 * c.hidden_size * c.vocab_size * 499.0), "logits");
    }
}

/* ---- prediction ------------------------------------------------------------------------------------------------------ */

static natsl_cost_machine fast_network(int threads)
{
    natsl_cost_machine m = natsl_cost_machine_guess(100.0, threads);
    m.latency_s = m.near_latency_s = 0.0;
    m.bytes_per_s = m.near_bytes_per_s = 1e300;
    m.stage_s = 0.0;
    return m;
}

static natsl_cost_run run_of(const natsl_config *c, int ranks, int64_t tokens, int scan)
{
    return (natsl_cost_run){.config = c,
                            .ranks = ranks,
                            .tokens = tokens,
                            .pass_tokens = 4096 * (int64_t)ranks,
                            .stage_tokens = 6144,
                            .kept_share = 0.5,
                            .scores = 1,
                            .balance = 1,
                            .scan = scan};
}

/** Published sizes: what is predicted for them is what matters. */
static const char published[] =
    "{\"hidden_size\": 1024, \"num_hidden_layers\": 21, \"vocab_size\": 32000, \"head_dim\": 128, \"num_heads\": 6, "
    "\"num_attn_heads\": 12, \"expand_v\": 2, \"gdn_layers\": [0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14, 16, 17, 18]}";

static natsl_prediction predict(const natsl_cost_run *run, const natsl_cost_machine *m, double *busy)
{
    natsl_prediction p = {0};
    const natsl_status st = natsl_cost_predict(run, m, &p, busy);
    EXPECT(st == NATSL_OK, "%s", natsl_error_text());
    return p;
}

/** One rank takes as long as its work; work does not depend on how it is spread. */
static void test_one_rank(void)
{
    const natsl_config c = make_config(published);
    const natsl_cost_machine m = fast_network(1);
    const natsl_cost_run one = run_of(&c, 1, 1 << 18, 0);
    const natsl_prediction p = predict(&one, &m, NULL);
    /* whole chunks, whole tiles: nothing is lost */
    EXPECT(fabs(p.seconds / p.one_rank_s - 1.0) < 1e-9, "%.17g s, work %.17g s", p.seconds, p.one_rank_s);
    EXPECT(p.halo_bytes == 0.0 && p.state_bytes == 0.0 && p.kept_bytes == 0.0, "nothing is sent");
    for (int ranks = 2; ranks <= 32; ranks *= 2) {
        double busy[32], sum = 0.0;
        natsl_cost_run run = run_of(&c, ranks, 1 << 18, 0);
        const natsl_prediction q = predict(&run, &m, busy);
        for (int r = 0; r < ranks; r++) sum += busy[r];
        EXPECT(fabs(sum / p.one_rank_s - 1.0) < 1e-9, "%d ranks work %.17g s, one %.17g s", ranks, sum, p.one_rank_s);
        EXPECT(q.seconds >= q.busy_most_s && q.seconds >= p.one_rank_s / ranks, "no faster than the work");
        EXPECT(fabs(q.wait_mean_s + q.busy_mean_s - q.seconds) < 1e-9 * q.seconds, "busy or waiting");
        const double states = (double)(q.passes * ranks - 1) * 21.0 * 6.0 * 128.0 * 256.0 * 4.0;
        EXPECT(q.passes * ranks * 4096 != 1 << 18 || close_to(q.state_bytes, states), "%d ranks send %.17g of states",
               ranks, q.state_bytes);
    }
}

/** With messages that cost nothing more ranks are never slower. */
static void test_more_ranks(void)
{
    const natsl_config c = make_config(published);
    const natsl_cost_machine m = fast_network(2);
    for (int scan = 0; scan < 2; scan++) {
        for (int balance = 0; balance < 2; balance++) {
            double before = INFINITY;
            for (int ranks = 1; ranks <= 256; ranks *= 2) {
                natsl_cost_run run = run_of(&c, ranks, 1 << 20, scan);
                run.balance = balance;
                const natsl_prediction p = predict(&run, &m, NULL);
                EXPECT(p.seconds <= before * (1.0 + 1e-9), "scan %d, balance %d: %d ranks %.6g s, half of them %.6g s",
                       scan, balance, ranks, p.seconds, before);
                EXPECT(!scan || ranks < 4 || p.scan_passes == p.passes, "all of %lld passes scan, found %lld",
                       (long long)p.passes, (long long)p.scan_passes);
                before = p.seconds;
            }
        }
    }
}

/** Few ranks: relay is faster; many: scan. And balance gains where one pass has cheap and dear tokens. */
static void test_crossover(void)
{
    const natsl_config c = make_config(published);
    const natsl_cost_machine m = natsl_cost_machine_guess(100.0, 2);
    natsl_cost_run few = run_of(&c, 4, 1 << 20, 0), many = run_of(&c, 256, 1 << 20, 0);
    const double relay_few = predict(&few, &m, NULL).seconds, relay_many = predict(&many, &m, NULL).seconds;
    few.scan = many.scan = 1;
    const double scan_few = predict(&few, &m, NULL).seconds, scan_many = predict(&many, &m, NULL).seconds;
    EXPECT(relay_few < scan_few, "4 ranks: relay %.6g s, scan %.6g s", relay_few, scan_few);
    EXPECT(scan_many < relay_many, "256 ranks: relay %.6g s, scan %.6g s", relay_many, scan_many);
    natsl_cost_run equal = run_of(&c, 16, 1 << 16, 1), balanced = equal;
    equal.balance = 0;
    const natsl_prediction a = predict(&equal, &m, NULL), b = predict(&balanced, &m, NULL);
    EXPECT(b.busy_most_s < 0.9 * a.busy_most_s, "busiest rank %.6g s, of equal ranges %.6g s", b.busy_most_s,
           a.busy_most_s);
    EXPECT(b.busy_most_s < 1.1 * b.busy_mean_s, "busiest rank %.6g s, mean %.6g s", b.busy_most_s, b.busy_mean_s);
}

/** Large runs are predicted in seconds, refused where they make no sense. */
static void test_extremes(void)
{
    const natsl_config c = make_config(published);
    natsl_cost_machine m = natsl_cost_machine_guess(100.0, 32);
    const double start = natsl_now_s();
    for (int scan = 0; scan < 2; scan++) {
        natsl_cost_run run = run_of(&c, 1024, 1 << 24, scan);
        const natsl_prediction p = predict(&run, &m, NULL);
        EXPECT(p.seconds > 0.0 && isfinite(p.seconds) && p.efficiency > 0.0 && p.efficiency <= 1.0, "1024 ranks");
    }
    EXPECT(natsl_now_s() - start < 60.0, "took %.1f s", natsl_now_s() - start);
    natsl_cost_run none = run_of(&c, 3, 0, 0), tiny = run_of(&c, 8, 1, 1);
    EXPECT(predict(&none, &m, NULL).seconds == 0.0, "nothing takes no time");
    EXPECT(predict(&tiny, &m, NULL).tokens_most == 1.0, "one token, one rank");
    natsl_prediction p;
    none.kept_share = 1.5;
    EXPECT(natsl_cost_predict(&none, &m, &p, NULL) == NATSL_ERR_USAGE, "a share above 1");
    m.per_s[NATSL_WORK_KEPT] = 0.0;
    EXPECT(natsl_cost_predict(&tiny, &m, &p, NULL) == NATSL_ERR_USAGE, "no speed");
}

/** Ranks that share cores take no less than all their work on those cores. */
static void test_shared_cores(void)
{
    const natsl_config c = make_config(published);
    natsl_cost_machine m = fast_network(1);
    const natsl_cost_run run = run_of(&c, 8, 1 << 18, 0);
    const double apart = predict(&run, &m, NULL).seconds;
    m.ranks_per_node = 8;
    m.cores_per_node = 2;
    const natsl_prediction p = predict(&run, &m, NULL);
    EXPECT(close_to(p.seconds, p.busy_mean_s * 4.0) && p.seconds > apart, "%.6g s, on cores of their own %.6g s",
           p.seconds, apart);
    EXPECT(p.kept_bytes == 0.0, "one node: units are read in place");
}

/** Weights follow from seconds; absurd ones stay in range. */
static void test_weights(void)
{
    natsl_part_weights w = natsl_cost_weights_of(1e-3, 0.5e-6);
    EXPECT(w.each == NATSL_PART_WEIGHT && w.per_chunk == (int64_t)(0.5e-3 * (double)NATSL_PART_WEIGHT), "%lld",
           (long long)w.per_chunk);
    EXPECT(natsl_cost_weights_of(0.0, 1.0).per_chunk == NATSL_PART_MOST_WEIGHT, "infinite");
    EXPECT(natsl_cost_weights_of(0.0, 0.0).per_chunk == 0, "not a number");
    EXPECT(natsl_cost_weights_of(1.0, -1.0).per_chunk == 0, "negative");
    const natsl_config c = make_config(published);
    const natsl_cost_machine m = natsl_cost_machine_guess(100.0, 1);
    w = natsl_cost_weights(&c, &m, 0.5, 1);
    /* the weights say what the counts say: a chunk's cost at any place */
    for (int64_t chunk = 0; chunk < 100000; chunk += 9999) {
        const natsl_work at = natsl_cost_count(&c, chunk * 64, (chunk + 1) * 64, 0.5, 64);
        const natsl_work none = natsl_cost_count(&c, 0, 64, 0.5, 64);
        const double want = natsl_cost_seconds(&m, &at) / natsl_cost_seconds(&m, &none);
        const double got = 1.0 + (double)w.per_chunk * (double)chunk / (double)w.each;
        EXPECT(fabs(got / want - 1.0) < 0.02, "chunk %lld: %.6g, counted %.6g", (long long)chunk, got, want);
    }
    /* layers of softmax attention grow whatever the gate does, those with a window do not once it is full */
    const natsl_config hybrid = make_config(configs[2]);
    w = natsl_cost_weights(&hybrid, &m, 0.5, 1);
    for (int64_t chunk = 10; chunk < 10000; chunk += 1999) {
        const natsl_work at = natsl_cost_count(&hybrid, chunk * 64, (chunk + 1) * 64, 0.5, 64);
        const natsl_work from = natsl_cost_count(&hybrid, 640, 704, 0.5, 64);
        const double want = natsl_cost_seconds(&m, &at) / natsl_cost_seconds(&m, &from);
        const double got =
            ((double)w.each + (double)w.per_chunk * (double)chunk) / ((double)w.each + (double)w.per_chunk * 10.0);
        EXPECT(fabs(got / want - 1.0) < 0.02, "hybrid, chunk %lld: %.6g, counted %.6g", (long long)chunk, got, want);
    }
}

int main(void)
{
    static const test_entry tests[] = {
        {"counts", test_counts},       {"one rank", test_one_rank}, {"more ranks", test_more_ranks},
        {"crossover", test_crossover}, {"extremes", test_extremes}, {"shared cores", test_shared_cores},
        {"weights", test_weights},
    };
    return run_suite("cost", tests, COUNT(tests));
}
