/* test_share.c - panels divided among ranks: all of them once, in order, and evenly with what ranks have to do besides. */
#include "../suite.h"
#include "share.h"

#include <stdint.h>

#define MOST_RANKS 64

static int64_t outputs_of(size_t n, const size_t *first, int r)
{
    return (int64_t)(natsl_share_output(n, first[r + 1]) - natsl_share_output(n, first[r]));
}

/** Nobody who has outputs ends later than anyone else would with a panel more, and cuts round each end by half a panel. */
static void check(size_t n, int size, const int64_t *load)
{
    size_t first[MOST_RANKS + 1];
    natsl_share_make(n, size, load, first);
    EXPECT(first[0] == 0 && first[size] == natsl_panels(n), "n %zu, %d ranks: not all panels", n, size);
    int64_t all = 0, earliest = INT64_MAX;
    for (int r = 0; r < size; r++) {
        EXPECT(first[r] <= first[r + 1], "n %zu, rank %d: cuts out of order", n, r);
        const int64_t end = outputs_of(n, first, r) + (load ? load[r] : 0);
        all += outputs_of(n, first, r);
        if (end < earliest) earliest = end;
    }
    EXPECT(all == (int64_t)n, "n %zu, %d ranks: %lld outputs", n, size, (long long)all);
    for (int r = 0; r < size; r++) {
        const int64_t own = outputs_of(n, first, r), end = own + (load ? load[r] : 0);
        /* two rounded cuts on either side of the comparison, and a last panel of nearly two */
        EXPECT(own == 0 || end <= earliest + 2 * NATSL_PANEL + NATSL_PANEL_MOST,
               "n %zu, %d ranks: rank %d ends at %lld, another at %lld", n, size, r, (long long)end,
               (long long)earliest);
    }
}

static const size_t lengths[] = {0, 1, 63, 64, 65, 127, 128, 129, 300, 1024, 1536, 3084, 5632, 32000, 1000003};
static const int sizes[] = {1, 2, 3, 5, 8, MOST_RANKS};

static void test_even(void)
{
    for (size_t l = 0; l < COUNT(lengths); l++) {
        for (size_t s = 0; s < COUNT(sizes); s++) check(lengths[l], sizes[s], NULL);
    }
    size_t first[3];
    natsl_share_make(1024, 2, NULL, first);
    EXPECT(first[1] == 8, "1024 outputs of two ranks are cut at panel %zu", first[1]);
}

static void test_loads(void)
{
    uint64_t seed = 7;
    for (size_t l = 0; l < COUNT(lengths); l++) {
        for (size_t s = 0; s < COUNT(sizes); s++) {
            for (int i = 0; i < 20; i++) {
                int64_t load[MOST_RANKS] = {0};
                for (int r = 0; r < sizes[s]; r++) {
                    seed = seed * 6364136223846793005u + 1442695040888963407u;
                    /* none, little, much, the same for all */
                    load[r] = i % 4 == 0 ? (r == i % sizes[s]) * 700
                                         : (int64_t)(seed >> 33) % (i % 4 == 1   ? 100
                                                                    : i % 4 == 2 ? 100000
                                                                                 : 1);
                    if (i % 4 == 3) load[r] = 500;
                }
                check(lengths[l], sizes[s], load);
            }
        }
    }
}

/** The rank with a load gets as much less as the load is, or nothing. */
static void test_owner(void)
{
    size_t first[4];
    const int64_t some[] = {0, 384, 0}, much[] = {100000, 0, 0};
    natsl_share_make(1536, 3, some, first); /* 1920 in all: 640, 256, 640 */
    EXPECT(first[1] == 10 && first[2] == 14, "cuts at %zu, %zu", first[1], first[2]);
    natsl_share_make(1536, 3, much, first);
    EXPECT(first[1] == 0 && first[2] == 12, "cuts at %zu, %zu", first[1], first[2]);
}

int main(void)
{
    static const test_entry tests[] = {{"even", test_even}, {"loads", test_loads}, {"one busy rank", test_owner}};
    return run_suite("share", tests, COUNT(tests));
}
