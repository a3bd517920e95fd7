/* test_state_cost.c - the rule by which auto chooses relay or scan, and where a scan is possible. */
#include "../suite.h"
#include "state_cost.h"

#include <math.h>
#include <string.h>

/* Numbers that make every term visible: relay (ranks - 1) * ((8 + 4) / 4 + 1) = 4 (ranks - 1); scan 2 * 3 * (summary +
 * steps * (1 + 6/2 + 0.5)). */
static natsl_state_costs round_costs(int ranks, double summary_s)
{
    return (natsl_state_costs){.ranks = ranks,
                               .layers = 3,
                               .groups = 4,
                               .passes = 2.0,
                               .state_s = 8.0,
                               .summary_s = summary_s,
                               .compose_s = 0.5,
                               .latency_s = 1.0,
                               .bytes_per_s = 2.0,
                               .state_bytes = 8.0,
                               .pair_bytes = 6.0};
}

static void test_formulas(void)
{
    natsl_state_costs c = round_costs(33, 10.0);
    EXPECT(natsl_state_relay_s(&c) == 128.0, "%g", natsl_state_relay_s(&c));
    EXPECT(natsl_state_scan_s(&c) == 6.0 * (10.0 + 6.0 * 4.5), "%g", natsl_state_scan_s(&c)); /* 33 ranks: 6 steps */
    c.ranks = 32;
    EXPECT(natsl_state_scan_s(&c) == 6.0 * (10.0 + 5.0 * 4.5), "%g", natsl_state_scan_s(&c));
    c.ranks = 1;
    CU_ASSERT(natsl_state_relay_s(&c) == 0.0 && natsl_state_scan_s(&c) == 60.0);
}

static void test_rule(void)
{
    natsl_state_costs c = round_costs(64, 10.0); /* relay 252, scan 6 * (10 + 27) = 222 */
    CU_ASSERT_TRUE(natsl_state_pass_choose(&c));
    c.summary_s = 16.0; /* 258 */
    CU_ASSERT_FALSE(natsl_state_pass_choose(&c));
    c.summary_s = 15.0; /* 252: as dear, so the exact one */
    CU_ASSERT_FALSE(natsl_state_pass_choose(&c));
    c = round_costs(NATSL_SCAN_LEAST_RANKS - 1, 0.0);
    c.passes = 1e-3; /* a scan for nothing, but few ranks */
    CU_ASSERT(natsl_state_scan_s(&c) < natsl_state_relay_s(&c));
    CU_ASSERT_FALSE(natsl_state_pass_choose(&c));
    c.ranks = NATSL_SCAN_LEAST_RANKS;
    CU_ASSERT_TRUE(natsl_state_pass_choose(&c));
}

static natsl_config config_of(const char *json)
{
    natsl_config c;
    memset(&c, 0, sizeof c);
    CU_ASSERT_EQUAL(natsl_config_parse(json, strlen(json), "test", &c), NATSL_OK);
    return c;
}

/* Counted costs: their proportions, and that more ranks lead from relay to scan once, more passes back. */
static void test_counts(void)
{
    const natsl_config c =
        config_of("{\"hidden_size\":1024,\"num_hidden_layers\":21,\"vocab_size\":32000,\"head_dim\":128,"
                  "\"num_heads\":6,\"num_attn_heads\":12,\"gdn_layers\":[0]}");
    const natsl_state_costs one = natsl_state_costs_count(&c, 1, 64, 16384, 1.0);
    /* per token and column: 6 dk + 4 * 64 = 1024 in the state phase, 4 dk + 2 * 64 = 640 in the summary; 256 and 384 columns */
    const double state = 6.0 * 256.0 * 16384.0 * 1024.0 / NATSL_STATE_FLOPS_PER_S;
    EXPECT(fabs(one.state_s / state - 1.0) < 1e-12, "%g, expected %g", one.state_s, state);
    EXPECT(fabs(one.summary_s / (state * 384.0 * 640.0 / (256.0 * 1024.0)) - 1.0) < 1e-12, "%g", one.summary_s);
    CU_ASSERT(one.groups == 6 && one.layers == 21 && one.ranks == 64);
    CU_ASSERT(one.state_bytes == 6.0 * 128 * 256 * 4 && one.pair_bytes == 6.0 * 128 * 384 * 4);
    const natsl_state_costs four = natsl_state_costs_count(&c, 4, 64, 16384, 1.0);
    CU_ASSERT(four.groups == 3 &&
              fabs(four.state_s * 4.0 / one.state_s - 1.0) < 1e-12); /* 4 threads: 2 heads at once */
    int before = 0, changes = 0;
    for (int ranks = 2; ranks <= 4096; ranks++) {
        const natsl_state_costs costs = natsl_state_costs_count(&c, 1, ranks, 16384, 1.0);
        const int scan = natsl_state_pass_choose(&costs);
        changes += scan != before;
        before = scan;
    }
    EXPECT(before && changes == 1, "%d changes up to 4096 ranks", changes);
    const natsl_state_costs many = natsl_state_costs_count(&c, 1, 256, 16384, 1.0),
                            passes = natsl_state_costs_count(&c, 1, 256, 16384, 10.0);
    CU_ASSERT_TRUE(natsl_state_pass_choose(&many));
    CU_ASSERT_FALSE(natsl_state_pass_choose(&passes));
}

static void test_possible(void)
{
    const natsl_grid g = natsl_grid_make(64); /* unit 256 */
    const int64_t even[] = {0, 1024, 2048, 3072}, empty[] = {0, 1024, 1024, 2048},
                  gaps[] = {0, 0, 64, 64, 128, 128, 200};
    const int64_t longer[] = {0, 1024, 2304, 3072}, inside[] = {100, 1024, 2048, 2050},
                  late[] = {300, 1300, 2048, 2050};
    CU_ASSERT_TRUE(natsl_state_scan_possible(&g, 1024, even, 3));
    CU_ASSERT_FALSE(natsl_state_scan_possible(&g, 1024, even, 2));
    CU_ASSERT_FALSE(natsl_state_scan_possible(&g, 1024, empty, 3)); /* two readers */
    CU_ASSERT_TRUE(natsl_state_scan_possible(&g, 1024, gaps, 6));
    CU_ASSERT_FALSE(natsl_state_scan_possible(&g, 1024, longer, 3)); /* 1280 tokens */
    CU_ASSERT_TRUE(natsl_state_scan_possible(&g, 1024, inside, 3));
    CU_ASSERT_FALSE(natsl_state_scan_possible(&g, 768, inside, 3));
    CU_ASSERT_FALSE(natsl_state_scan_possible(&g, 768, late, 3)); /* stages end at multiples of the unit after 256 */
}

int main(void)
{
    static const test_entry tests[] = {{"formulas", test_formulas},
                                       {"rule", test_rule},
                                       {"counted costs", test_counts},
                                       {"where a scan is possible", test_possible}};
    return run_suite("state pass: relay or scan", tests, COUNT(tests));
}
