/* part.c - partition of a window. See part.h. */
#include "part.h"

/* Cut at whole tiles when every rank gets at least this many: the imbalance is then below one in this many. */
#define TILES_PER_RANK 4

void natsl_part_make(const natsl_grid *grid, int64_t begin, int64_t end, int size, int owner, int64_t *first)
{
    const int64_t chunk = grid->chunk, first_chunk = begin / chunk;
    const int64_t chunks = end > begin ? (end - 1) / chunk - first_chunk + 1 : 0;
    if (chunks <= 1) {
        for (int r = 0; r <= size; r++) first[r] = r <= owner ? begin : end;
        return;
    }
    const int64_t tiles = (end - begin) / grid->unit;
    const int64_t grain = tiles / TILES_PER_RANK >= size ? grid->unit : chunk;
    const int64_t grain0 = begin / grain, grains = (end - 1) / grain - grain0 + 1;
    for (int r = 0; r <= size; r++) {
        /* grains * r / size without overflow: both factors may be large */
        const int64_t cut = (grain0 + grains / size * r + grains % size * r / size) * grain;
        first[r] = natsl_min64(natsl_max64(cut, begin), end);
    }
    first[0] = begin;
    first[size] = end;
}

/** Grains of a window and where they start. */
typedef struct cuts {
    int64_t grain, grain0, grains;
} cuts;

static cuts cuts_of(const natsl_grid *grid, int64_t begin, int64_t end, int size)
{
    cuts c;
    c.grain = (end - begin) / grid->unit / TILES_PER_RANK >= size ? grid->unit : grid->chunk;
    c.grain0 = begin / c.grain;
    c.grains = end > begin ? (end - 1) / c.grain - c.grain0 + 1 : 0;
    return c;
}

/** Most grains of a range. */
static int64_t most_grains(const natsl_grid *grid, const cuts *c, int size, int64_t stage_tokens)
{
    const int64_t share = (c->grains + size - 1) / size;
    /* A stage that starts inside a unit is shorter by what lies before it. */
    const int64_t lost = c->grain < grid->unit ? grid->unit - grid->chunk : 0;
    const int64_t stage = natsl_max64(stage_tokens - lost, 0) / c->grain;
    return share <= stage ? stage : 2 * share;
}

int64_t natsl_part_longest(const natsl_grid *grid, int64_t begin, int64_t end, int size, int64_t stage_tokens)
{
    const cuts c = cuts_of(grid, begin, end, size);
    if (c.grains == 0) return 0;
    return natsl_min64(natsl_min64(most_grains(grid, &c, size, stage_tokens), c.grains) * c.grain, end - begin);
}

/* Weights times squared chunk numbers must fit 127 bits; a text of 2^47 chunks is not read anyway. */
#define MOST_CHUNKS ((int64_t)1 << 47)

/** Cost of the first n grains. */
static __int128 cost_of(const natsl_part_weights *w, const cuts *c, int64_t chunk, int64_t n)
{
    const int64_t per_grain = c->grain / chunk;
    const __int128 chunks = (__int128)n * per_grain, first = (__int128)c->grain0 * per_grain;
    return w->each * chunks + w->per_chunk * (first * chunks + chunks * (chunks - 1) / 2);
}

void natsl_part_balance(const natsl_grid *grid, int64_t begin, int64_t end, int size, int owner,
                        const natsl_part_weights *weights, int64_t stage_tokens, int64_t *first)
{
    const int64_t chunk = grid->chunk;
    const cuts c = cuts_of(grid, begin, end, size);
    if (weights->per_chunk <= 0 || c.grains == 0 || (end - 1) / chunk == begin / chunk || end / chunk >= MOST_CHUNKS) {
        natsl_part_make(grid, begin, end, size, owner, first);
        return;
    }
    const int64_t most = most_grains(grid, &c, size, stage_tokens);
    const __int128 all = cost_of(weights, &c, chunk, c.grains);
    int64_t at = 0;
    first[0] = begin;
    for (int r = 0; r < size - 1; r++) {
        /* What is left is shared evenly by the ranks left: this also spreads what a bounded range has not taken. */
        const __int128 done = cost_of(weights, &c, chunk, at), goal = done + (all - done) / (size - r);
        int64_t low = natsl_max64(at, c.grains - (int64_t)(size - 1 - r) * most),
                high = natsl_min64(at + most, c.grains);
        const int64_t least = low;
        while (low < high) { /* the first cut that reaches the goal */
            const int64_t middle = low + (high - low) / 2;
            if (cost_of(weights, &c, chunk, middle) < goal) low = middle + 1;
            else high = middle;
        }
        if (low > least && goal - cost_of(weights, &c, chunk, low - 1) < cost_of(weights, &c, chunk, low) - goal) low--;
        at = low;
        first[r + 1] = natsl_min64(natsl_max64((c.grain0 + at) * c.grain, begin), end);
    }
    first[size] = end;
}

int natsl_part_next(const int64_t *first, int size, int rank)
{
    for (int r = rank + 1; r < size; r++) {
        if (first[r] < first[r + 1]) return r;
    }
    return -1;
}

int natsl_part_prev(const int64_t *first, int rank)
{
    for (int r = rank - 1; r >= 0; r--) {
        if (first[r] < first[r + 1]) return r;
    }
    return -1;
}
