/* test_part.c - the partition of a window over ranks, and the grid of tiles it is cut on. */
#include "../suite.h"
#include "part.h"

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

int main(void)
{
    static const test_entry tests[] = {
        {"windows", test_windows},
        {"huge windows", test_huge},
        {"neighbours", test_neighbours},
        {"tiles", test_tiles},
    };
    return run_suite("part", tests, COUNT(tests));
}
