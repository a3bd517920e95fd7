/* bpe_impl.h - what bpe.c and bpe_read.c share. Private to them. */
#ifndef NATSL_BPE_IMPL_H
#define NATSL_BPE_IMPL_H

#include "bpe.h"
#include <string.h>

#define NATSL_NO_PAIR UINT64_MAX
#define NATSL_NO_TEXT SIZE_MAX

/* Tables are half empty at least, and what belongs into a slot that is taken goes to one of the next. At random the worst of 2^24 entries
 * goes some hundred slots far; a file that needs more than this was made to be slow, and is refused. */
#define NATSL_MOST_PROBES ((size_t)512)

typedef struct natsl_merge {
    uint64_t pair; /* NATSL_NO_PAIR: a free slot */
    uint32_t rank;
    int32_t id;
} natsl_merge;

typedef struct natsl_token_text {
    size_t begin; /* in an arena; NATSL_NO_TEXT: no such token */
    uint32_t length;
} natsl_token_text;

struct natsl_bpe {
    int bytes, byte_fallback, fuse_unknown, ignore_merges, has_unknown, affixes;
    int32_t unknown; /* -1 where the vocabulary lacks it */
    char *prefix, *suffix;
    size_t prefix_length, suffix_length;
    int32_t count, end;      /* tokens; largest id + 1 */
    natsl_token_text *texts; /* [end] as the vocabulary has them */
    char *arena;
    uint32_t *text_slots; /* [text_mask + 1] id + 1, 0: free */
    size_t text_mask;
    natsl_token_text *words; /* [end] as bytes, where `bytes` */
    char *word_arena;
    uint32_t *word_slots;
    size_t word_mask;
    natsl_merge *merges; /* [merge_mask + 1] */
    size_t merge_mask;
    int32_t letter_ids[256]; /* of a byte (where `bytes`), else of an ASCII character; -1: none */
    int32_t byte_ids[256];   /* of "<0x00>" to "<0xFF>"; -1: none */
    uint64_t *seams;         /* [seam_mask + 1] pairs of symbols that merges may join; NULL: words are not cut */
    size_t seam_mask;
};

/* Direct mapped: a word that comes again soon is found, and nothing ever has to be thrown out in order. 128 bytes each. */
#define NATSL_CACHE_WORDS ((size_t)1 << 15)
#define NATSL_CACHE_BYTES 58
#define NATSL_CACHE_IDS   16
typedef struct natsl_cached {
    uint32_t hash;
    uint8_t length, count; /* length 0: free */
    char word[NATSL_CACHE_BYTES];
    int32_t ids[NATSL_CACHE_IDS];
} natsl_cached;

/** A pair whose turn comes by rank, then by place. */
typedef struct natsl_bpe_turn {
    uint32_t rank, at;
    int32_t id;
} natsl_bpe_turn;

struct natsl_bpe_work {
    natsl_ids symbols;
    natsl_bytes text;
    uint32_t *next, *previous; /* [list_room] */
    natsl_bpe_turn *heap;      /* [3 * list_room] */
    size_t list_room;
    natsl_cached *cache;
};

static inline uint64_t natsl_pair(int32_t left, int32_t right)
{
    return (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
}

static inline uint64_t natsl_mix(uint64_t h)
{
    h ^= h >> 32;
    h *= 0x9e3779b97f4a7c15u;
    return h ^ h >> 29;
}

static inline uint64_t natsl_hash_pair(uint64_t pair) { return natsl_mix(pair * 0xd6e8feb86659fd93u); }

static inline uint64_t natsl_hash(const char *text, size_t length)
{
    uint64_t h = 0x9e3779b97f4a7c15u ^ length, part = 0;
    for (; length >= 8; text += 8, length -= 8) {
        memcpy(&part, text, 8);
        h = natsl_mix(h ^ part) * 0xd6e8feb86659fd93u;
    }
    part = 0;
    memcpy(&part, text, length);
    return natsl_mix(natsl_mix(h ^ part) * 0xd6e8feb86659fd93u);
}

#endif
