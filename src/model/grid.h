/* grid.h - how the global token axis is cut, independently of ranks: chunks, tiles, delta-rule blocks.
 * Products are always issued on the part of a tile that lies in the window being read, whoever owns its rows: their shapes,
 * and so their rounding, depend on the text and the window alone, not on the number of ranks. Owns: nothing. MPI: none. */
#ifndef NATSL_GRID_H
#define NATSL_GRID_H

#include <stdint.h>

/** Most tokens in a tile. */
#define NATSL_TILE 256

/** chunk <= NATSL_TILE: a tile is as many whole chunks as fit. chunk > NATSL_TILE: a chunk is cut into tiles of
 * NATSL_TILE tokens, the last one shorter. `unit` is the smallest length that is whole in chunks and in tiles. */
typedef struct natsl_grid {
    int64_t chunk, tile, unit;
} natsl_grid;

static inline natsl_grid natsl_grid_make(int32_t chunk)
{
    const int64_t c = chunk;
    const int64_t tile = c <= NATSL_TILE ? c * (NATSL_TILE / c) : NATSL_TILE;
    return (natsl_grid){.chunk = c, .tile = tile, .unit = c <= NATSL_TILE ? tile : c};
}

static inline int64_t natsl_min64(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t natsl_max64(int64_t a, int64_t b) { return a > b ? a : b; }

/** First token of the tile that holds token t >= 0, and one past its last. */
static inline int64_t natsl_tile_begin(const natsl_grid *g, int64_t t)
{
    if (g->chunk <= NATSL_TILE) return t - t % g->tile;
    const int64_t in_chunk = t % g->chunk;
    return t - in_chunk % NATSL_TILE;
}
static inline int64_t natsl_tile_end(const natsl_grid *g, int64_t t)
{
    const int64_t begin = natsl_tile_begin(g, t);
    if (g->chunk <= NATSL_TILE) return begin + g->tile;
    return natsl_min64(begin + NATSL_TILE, t - t % g->chunk + g->chunk);
}

#endif
