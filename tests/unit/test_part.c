/* test_part.c - the partition of a window over ranks, and the grid of tiles it is cut on. */
#include "../suite.h"
#include "part.h"

#include <math.h>
#include <stdint.h>

#define MOST_RANKS 64

/** What must hold for every window: all tokens once, in order, cut between chunks, no rank far above its share. */
static void check(int32_t chunk, int64_t begin, int64_t end, int size, int owner)
{
    const natsl_grid g = natsl_grid_make(chunk);
    int64_t first[MOST_RANKS + 1];
    natsl_part_make(&g, begin, end, size, owner, first);
    EXPECT(first[0] == begin && first[size] == end, "chunk %d, [%lld,%lld), %d ranks", chunk, (long long)begin,
           (long long)end, size);
    const int64_t chunks = end > begin ? (end - 1) / chunk - begin / chunk + 1 : 0;
    const int64_t share = (chunks + size - 1) / size;
    for (int r = 0; r < size; r++) {
        const int64_t n = first[r + 1] - first[r];
        EXPECT(n >= 0, "rank %d reads %lld tokens", r, (long long)n);
        EXPECT(first[r] == begin || first[r] == end || first[r] % chunk == 0, "rank %d starts inside a chunk", r);
        if (chunks <= 1) EXPECT(n == (r == owner ? end - begin : 0), "one chunk: rank %d reads %lld", r, (long long)n);
        else
            EXPECT(n <= (share + share / 2 + 1) * chunk, "rank %d reads %lld of %lld", r, (long long)n,
                   (long long)(end - begin));
    }
}

static void test_windows(void)
{
    static const int32_t chunk_sizes[] = {1, 3, 48, 64, 256, 257, 300, 1000};
    static const int64_t lengths[] = {0, 1, 2, 63, 64, 65, 257, 1000, 20000, 1000003};
    static const int64_t begins[] = {0, 1, 64, 100, 999, (int64_t)1 << 40};
    static const int sizes[] = {1, 2, 3, 5, 8, MOST_RANKS};
    for (size_t c = 0; c < COUNT(chunk_sizes); c++) {
        for (size_t l = 0; l < COUNT(lengths); l++) {
            for (size_t b = 0; b < COUNT(begins); b++) {
                for (size_t s = 0; s < COUNT(sizes); s++)
                    check(chunk_sizes[c], begins[b], begins[b] + lengths[l], sizes[s], sizes[s] / 2);
            }
        }
    }
}

/** Products of 2^60 tokens and ranks must not overflow on the way. */
static void test_huge(void) { check(64, 0, (int64_t)1 << 60, MOST_RANKS, 0); }

static void test_neighbours(void)
{
    const int64_t first[] = {10, 10, 20, 20, 30, 30}; /* ranks 1 and 3 read, 0, 2 and 4 do not */
    EXPECT(natsl_part_next(first, 5, -1) == 1 && natsl_part_next(first, 5, 1) == 3, "next");
    EXPECT(natsl_part_next(first, 5, 3) == -1, "none after the last");
    EXPECT(natsl_part_prev(first, 5) == 3 && natsl_part_prev(first, 3) == 1 && natsl_part_prev(first, 1) == -1, "prev");
}

/** Tiles follow each other without gaps, hold at most NATSL_TILE tokens, and never part a chunk that fits. */
static void test_tiles(void)
{
    for (int32_t chunk = 1; chunk <= 1030; chunk++) {
        const natsl_grid g = natsl_grid_make(chunk);
        EXPECT(g.unit % chunk == 0, "chunk %d: unit %lld", chunk, (long long)g.unit);
        for (int64_t t = 0; t < 3 * g.unit;) {
            const int64_t end = natsl_tile_end(&g, t);
            EXPECT(natsl_tile_begin(&g, t) == t && natsl_tile_begin(&g, end - 1) == t, "chunk %d: tile at %lld", chunk,
                   (long long)t);
            EXPECT(end > t && end - t <= NATSL_TILE, "chunk %d: tile of %lld", chunk, (long long)(end - t));
            if (chunk <= NATSL_TILE) EXPECT(t % chunk == 0, "chunk %d parted at %lld", chunk, (long long)t);
            t = end;
        }
        EXPECT(natsl_tile_begin(&g, g.unit) == g.unit, "chunk %d: a unit ends a tile", chunk);
    }
}

/* ---- ranges of equal cost -------------------------------------------------------------------------------------------- */

static double cost_of(const natsl_part_weights *w, int64_t chunk, int64_t a, int64_t b)
{
    double sum = 0.0;
    for (int64_t t = a; t < b;) {
        const int64_t end = natsl_min64(t - t % chunk + chunk, b);
        sum += ((double)w->each + (double)w->per_chunk * (double)(t / chunk)) * (double)(end - t) / (double)chunk;
        t = end;
    }
    return sum;
}

/** All tokens once, in order, cut between chunks, no range longer than said. With `fair`: a range costs its share of what is left, up to
 * about a grain, unless it is as long as ranges may be. */
static void check_balance(int32_t chunk, int64_t begin, int64_t end, int size, natsl_part_weights w, int64_t stage,
                          int fair)
{
    const natsl_grid g = natsl_grid_make(chunk);
    int64_t first[MOST_RANKS + 1], equal[MOST_RANKS + 1];
    const int owner = size / 2;
    natsl_part_balance(&g, begin, end, size, owner, &w, stage, first);
    natsl_part_make(&g, begin, end, size, owner, equal);
    const int64_t longest = natsl_part_longest(&g, begin, end, size, stage);
    EXPECT(first[0] == begin && first[size] == end, "[%lld,%lld) on %d", (long long)begin, (long long)end, size);
    for (int r = 0; r < size; r++) {
        const int64_t n = first[r + 1] - first[r];
        EXPECT(n >= 0 && n <= longest, "rank %d of %d reads %lld of %lld, most %lld", r, size, (long long)n,
               (long long)(end - begin), (long long)longest);
        EXPECT(first[r] == begin || first[r] == end || first[r] % chunk == 0, "rank %d starts inside a chunk", r);
        const int64_t stage_end = first[r] - first[r] % g.unit + stage;
        EXPECT(equal[r + 1] - equal[r] > stage - g.unit || n == 0 || first[r + 1] <= stage_end || longest > stage,
               "rank %d of %d: [%lld,%lld) is more than a stage of %lld", r, size, (long long)first[r],
               (long long)first[r + 1], (long long)stage);
        if (w.per_chunk == 0) EXPECT(first[r] == equal[r], "equal cost, equal ranges");
    }
    if (!fair || end - begin <= chunk) return;
    const int64_t grain = (end - begin) / g.unit / 4 >= size ? g.unit : chunk;
    const double dearest = cost_of(&w, chunk, end / grain * grain, end / grain * grain + grain);
    for (int r = 0; r < size; r++) { /* what ranges before could not take is shared by those after */
        const double cost = cost_of(&w, chunk, first[r], first[r + 1]);
        const double share = cost_of(&w, chunk, first[r], end) / (size - r);
        /* grains that the window cuts count as whole ones */
        EXPECT(fabs(cost - share) <= 1.5 * dearest || first[r + 1] - first[r] >= longest - 2 * grain,
               "[%lld,%lld) of %d, rank %d of %d costs %.6g, share %.6g, a grain %.6g", (long long)begin,
               (long long)end, chunk, r, size, cost, share, dearest);
    }
}

static void test_balance(void)
{
    static const int32_t chunk_sizes[] = {1, 48, 64, 256, 300};
    static const int64_t lengths[] = {0, 1, 63, 64, 65, 1000, 20000, 300001};
    static const int64_t begins[] = {0, 1, 64, 999, 1 << 20};
    static const int sizes[] = {1, 2, 3, 8, MOST_RANKS};
    static const natsl_part_weights weights[] = {
        {1 << 20, 0}, {1 << 20, 1}, {1 << 20, 1000}, {1 << 20, 1 << 20}, {1 << 20, NATSL_PART_MOST_WEIGHT}, {0, 1}};
    static const int64_t stages[] = {256 * 300, 1 << 14, 1 << 30};
    for (size_t c = 0; c < COUNT(chunk_sizes); c++) {
        for (size_t l = 0; l < COUNT(lengths); l++) {
            for (size_t b = 0; b < COUNT(begins); b++) {
                for (size_t s = 0; s < COUNT(sizes); s++) {
                    for (size_t w = 0; w < COUNT(weights); w++) {
                        for (size_t t = 0; t < COUNT(stages); t++)
                            check_balance(chunk_sizes[c], begins[b], begins[b] + lengths[l], sizes[s], weights[w],
                                          stages[t] / natsl_grid_make(chunk_sizes[c]).unit *
                                              natsl_grid_make(chunk_sizes[c]).unit,
                                          1);
                    }
                }
            }
        }
    }
}

/** Known answers: cost n^2/2 in chunks, cut at sqrt(r / 4). */
static void test_balance_squares(void)
{
    const natsl_grid g = natsl_grid_make(64);
    const natsl_part_weights w = {0, 1};
    int64_t first[5];
    natsl_part_balance(&g, 0, 64 * 4000, 4, 0, &w, (int64_t)1 << 40, first);
    for (int r = 0; r <= 4; r++) {
        const double want = 64.0 * 4000.0 * sqrt(r / 4.0);
        EXPECT(fabs((double)first[r] - want) <= 256.0, "cut %d at %lld, expected %.0f", r, (long long)first[r], want);
    }
    /* bounded by a stage, the rest shares what the first cannot take */
    natsl_part_balance(&g, 0, 64 * 4000, 4, 0, &w, 64 * 1200, first);
    EXPECT(first[1] == 64 * 1200, "the first range is a stage, found %lld", (long long)first[1]);
    EXPECT(first[2] - first[1] > first[3] - first[2] && first[3] - first[2] > first[4] - first[3],
           "later ones are shorter");
}

static void test_balance_huge(void)
{
    check_balance(64, 0, (int64_t)1 << 52, MOST_RANKS, (natsl_part_weights){1 << 20, NATSL_PART_MOST_WEIGHT}, 1 << 14,
                  0);
    check_balance(64, 0, (int64_t)1 << 60, MOST_RANKS, (natsl_part_weights){1 << 20, NATSL_PART_MOST_WEIGHT}, 1 << 14,
                  0);
}

int main(void)
{
    static const test_entry tests[] = {
        {"windows", test_windows},
        {"huge windows", test_huge},
        {"equal cost", test_balance},
        {"squares", test_balance_squares},
        {"huge windows of equal cost", test_balance_huge},
        {"neighbours", test_neighbours},
        {"tiles", test_tiles},
    };
    return run_suite("part", tests, COUNT(tests));
}
