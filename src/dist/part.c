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
