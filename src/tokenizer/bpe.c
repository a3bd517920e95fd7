/* bpe.c - byte pair encoding. See bpe.h; reading the vocabulary is bpe_read.c. */
#include "bpe_impl.h"

#include "core.h"
#include "utf8.h"
#include <string.h>

/* Words up to this many symbols are merged by looking through all pairs each time, longer ones by a heap. */
#define SHORT_WORD 40

/* ---- the byte-level alphabet ----------------------------------------------------------------------------------------- */

uint32_t natsl_byte_letter(unsigned char byte)
{
    if ((byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte != 0xad)) return byte;
    if (byte <= 0x20) return 0x100u + byte;             /* 33 of them */
    if (byte <= 0xa0) return 0x100u + byte - 0x7f + 33; /* 34 */
    return 0x100u + 67;                                 /* the soft hyphen */
}

int natsl_letter_byte(uint32_t letter)
{
    if (letter < 0x100) return natsl_byte_letter((unsigned char)letter) == letter ? (int)letter : -1;
    if (letter <= 0x120) return (int)(letter - 0x100);
    if (letter <= 0x142) return (int)(letter - 0x100 - 33 + 0x7f);
    return letter == 0x143 ? 0xad : -1;
}

/* ---- finding --------------------------------------------------------------------------------------------------------- */

int32_t natsl_bpe_find(const natsl_bpe *b, const char *text, size_t length)
{
    if (length > UINT32_MAX) return -1;
    const size_t first = natsl_hash(text, length);
    for (size_t n = 0; n <= NATSL_MOST_PROBES && b->text_slots[(first + n) & b->text_mask]; n++) {
        const size_t i = (first + n) & b->text_mask;
        const int32_t id = (int32_t)b->text_slots[i] - 1;
        if (b->texts[id].length == length && memcmp(b->arena + b->texts[id].begin, text, length) == 0) return id;
    }
    return -1;
}

static int32_t find_word(const natsl_bpe *b, const char *word, size_t length)
{
    if (!b->bytes) return natsl_bpe_find(b, word, length);
    if (length > UINT32_MAX) return -1;
    const size_t first = natsl_hash(word, length);
    for (size_t n = 0; n <= NATSL_MOST_PROBES && b->word_slots[(first + n) & b->word_mask]; n++) {
        const size_t i = (first + n) & b->word_mask;
        const int32_t id = (int32_t)b->word_slots[i] - 1;
        if (b->words[id].length == length && memcmp(b->word_arena + b->words[id].begin, word, length) == 0) return id;
    }
    return -1;
}

static const natsl_merge *find_merge(const natsl_bpe *b, int32_t left, int32_t right)
{
    const uint64_t key = natsl_pair(left, right);
    const size_t first = natsl_hash_pair(key);
    for (size_t n = 0; n <= NATSL_MOST_PROBES; n++) {
        const natsl_merge *m = &b->merges[(first + n) & b->merge_mask];
        if (m->pair == key) return m;
        if (m->pair == NATSL_NO_PAIR) break;
    }
    return NULL;
}

int32_t natsl_bpe_size(const natsl_bpe *b) { return b->count; }
int32_t natsl_bpe_end(const natsl_bpe *b) { return b->end; }

const char *natsl_bpe_text(const natsl_bpe *b, int32_t id, size_t *length)
{
    if (id < 0 || id >= b->end || b->texts[id].begin == NATSL_NO_TEXT) return NULL;
    *length = b->texts[id].length;
    return b->arena + b->texts[id].begin;
}

/* ---- cutting words into symbols -------------------------------------------------------------------------------------- */

static natsl_status add_symbol(natsl_bpe_work *w, int32_t id) { return natsl_ids_add(&w->symbols, &id, 1); }

/** A character in its place of the word, with what the vocabulary puts before or behind it there: into w->text. NATSL_ERR_NOMEM. */
static natsl_status affix(const natsl_bpe *b, natsl_bpe_work *w, const char *c, size_t n, int first, int last)
{
    w->text.length = 0;
    natsl_status st = NATSL_OK;
    if (!first) st = natsl_bytes_add(&w->text, b->prefix, b->prefix_length);
    if (st == NATSL_OK) st = natsl_bytes_add(&w->text, c, n);
    if (st == NATSL_OK && last) st = natsl_bytes_add(&w->text, b->suffix, b->suffix_length);
    return st;
}

/** Whether each byte of a text has a token. */
static int has_bytes(const natsl_bpe *b, const char *text, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        if (b->byte_ids[(unsigned char)text[i]] < 0) return 0;
    }
    return 1;
}

/** Symbols of a word; unknown characters next to one another become one unknown token where fuse_unk says so, and none where
 * there is no unknown token. The unknown one waits until a known one comes: in a vocabulary with some bytes' tokens only, those
 * come before it, as in the tokenizers library. */
static natsl_status symbols_of(const natsl_bpe *b, natsl_bpe_work *w, const char *word, size_t length)
{
    natsl_status st = NATSL_OK;
    int waits = 0;
    w->symbols.count = 0;
    if ((st = natsl_ids_reserve(&w->symbols, length)) != NATSL_OK) return st;
    for (size_t at = 0, n = 0; at < length && st == NATSL_OK; at += n) {
        const char *text = word + at; /* of the symbol */
        const int one = b->bytes || ((unsigned char)*text < 0x80 && !b->affixes);
        n = one ? 1 : natsl_utf8_length((unsigned char)*text);
        size_t bytes = n;
        if (b->affixes) {
            if ((st = affix(b, w, text, n, at == 0, at + n == length)) != NATSL_OK) return st;
            text = w->text.at;
            bytes = w->text.length;
        }
        const int32_t id = one ? b->letter_ids[(unsigned char)*text] : natsl_bpe_find(b, text, bytes);
        if (id >= 0) {
            if (waits) st = add_symbol(w, b->unknown), waits = 0;
            if (st == NATSL_OK) st = add_symbol(w, id);
        } else if (b->byte_fallback && has_bytes(b, text, bytes)) {
            for (size_t i = 0; i < bytes && st == NATSL_OK; i++)
                st = add_symbol(w, b->byte_ids[(unsigned char)text[i]]);
        } else if (b->has_unknown) {
            if (b->unknown < 0)
                return natsl_fail(NATSL_ERR_INPUT,
                                  "the tokenizer's unknown token is not in its vocabulary, but needed");
            if (waits && !b->fuse_unknown) st = add_symbol(w, b->unknown);
            waits = 1;
        }
    }
    return st == NATSL_OK && waits ? add_symbol(w, b->unknown) : st;
}

/* ---- merging --------------------------------------------------------------------------------------------------------- */

/** The symbols of a short word, merged in place; returns how many are left. */
static size_t merge_short(const natsl_bpe *b, int32_t *ids, size_t count)
{
    const natsl_merge *pairs[SHORT_WORD]; /* of a symbol and the next */
    for (size_t i = 0; i + 1 < count; i++) pairs[i] = find_merge(b, ids[i], ids[i + 1]);
    for (;;) {
        size_t best = count;
        uint32_t rank = UINT32_MAX;
        for (size_t i = 0; i + 1 < count; i++) {
            if (pairs[i] && pairs[i]->rank < rank) best = i, rank = pairs[i]->rank;
        }
        if (best == count) return count;
        ids[best] = pairs[best]->id;
        memmove(ids + best + 1, ids + best + 2, (count - best - 2) * sizeof *ids);
        if (count - best > 2) memmove(pairs + best + 1, pairs + best + 2, (count - best - 3) * sizeof *pairs);
        count--;
        if (best > 0) pairs[best - 1] = find_merge(b, ids[best - 1], ids[best]);
        if (best + 1 < count) pairs[best] = find_merge(b, ids[best], ids[best + 1]);
    }
}

static int before(const natsl_bpe_turn *a, const natsl_bpe_turn *b)
{
    return a->rank != b->rank ? a->rank < b->rank : a->at < b->at;
}

static void heap_push(natsl_bpe_turn *heap, size_t *count, natsl_bpe_turn turn)
{
    size_t i = (*count)++;
    for (; i > 0 && before(&turn, &heap[(i - 1) / 2]); i = (i - 1) / 2) heap[i] = heap[(i - 1) / 2];
    heap[i] = turn;
}

static natsl_bpe_turn heap_pop(natsl_bpe_turn *heap, size_t *count)
{
    const natsl_bpe_turn top = heap[0], last = heap[--*count];
    size_t i = 0;
    for (size_t child = 1; child < *count; child = 2 * i + 1) {
        if (child + 1 < *count && before(&heap[child + 1], &heap[child])) child++;
        if (!before(&heap[child], &last)) break;
        heap[i] = heap[child];
        i = child;
    }
    if (*count > 0) heap[i] = last;
    return top;
}

/** A turn of the pair that begins at `at`, where it has one. */
static void take_turn(const natsl_bpe *b, natsl_bpe_work *w, size_t *count, uint32_t at)
{
    const uint32_t next = w->next[at];
    if (next == UINT32_MAX) return;
    const natsl_merge *m = find_merge(b, w->symbols.at[at], w->symbols.at[next]);
    if (m) heap_push(w->heap, count, (natsl_bpe_turn){m->rank, at, m->id});
}

/** The same for a word of any length: a list of symbols and a heap of pairs, O(n log n). Turns whose pair has gone stay in the
 * heap and are passed over. */
static natsl_status merge_long(const natsl_bpe *b, natsl_bpe_work *w)
{
    const size_t n = w->symbols.count;
    size_t turns = 0, left = 0;
    if (n > w->list_room) {
        natsl_free(w->next);
        natsl_free(w->previous);
        natsl_free(w->heap);
        w->list_room = 0;
        w->next = natsl_alloc(n, sizeof *w->next, "a long word");
        w->previous = natsl_alloc(n, sizeof *w->previous, "a long word");
        w->heap = natsl_alloc(n, 3 * sizeof *w->heap, "a long word"); /* a turn per pair, and two for each merge */
        if (!w->next || !w->previous || !w->heap) return NATSL_ERR_NOMEM;
        w->list_room = n;
    }
    for (size_t i = 0; i < n; i++) {
        w->next[i] = i + 1 < n ? (uint32_t)(i + 1) : UINT32_MAX;
        w->previous[i] = i > 0 ? (uint32_t)(i - 1) : UINT32_MAX;
    }
    for (size_t i = 0; i + 1 < n; i++) take_turn(b, w, &turns, (uint32_t)i);
    while (turns > 0) {
        const natsl_bpe_turn turn = heap_pop(w->heap, &turns);
        const uint32_t at = turn.at, next = w->next[at];
        if (w->symbols.at[at] < 0 || next == UINT32_MAX) continue; /* merged into the one before it; or the last */
        const natsl_merge *m = find_merge(b, w->symbols.at[at], w->symbols.at[next]);
        if (!m || m->id != turn.id) continue;
        w->symbols.at[at] = turn.id;
        w->symbols.at[next] = -1;
        w->next[at] = w->next[next];
        if (w->next[at] != UINT32_MAX) w->previous[w->next[at]] = at;
        if (w->previous[at] != UINT32_MAX) take_turn(b, w, &turns, w->previous[at]);
        take_turn(b, w, &turns, at);
    }
    for (size_t i = 0; i < n; i++) {
        if (w->symbols.at[i] >= 0) w->symbols.at[left++] = w->symbols.at[i];
    }
    w->symbols.count = left;
    return NATSL_OK;
}

/* ---- words ----------------------------------------------------------------------------------------------------------- */

natsl_status natsl_bpe_work_create(natsl_bpe_work **out)
{
    natsl_bpe_work *w = natsl_calloc(1, sizeof *w, "tokenizer");
    *out = w;
    if (!w) return NATSL_ERR_NOMEM;
    w->cache = natsl_calloc(NATSL_CACHE_WORDS, sizeof *w->cache, "tokenizer");
    if (!w->cache) natsl_bpe_work_destroy(out);
    return *out ? NATSL_OK : NATSL_ERR_NOMEM;
}

void natsl_bpe_work_destroy(natsl_bpe_work **work)
{
    natsl_bpe_work *w = *work;
    if (!w) return;
    natsl_ids_free(&w->symbols);
    natsl_bytes_free(&w->text);
    natsl_free(w->next);
    natsl_free(w->previous);
    natsl_free(w->heap);
    natsl_free(w->cache);
    natsl_free(w);
    *work = NULL;
}

static void remember(natsl_cached *c, const char *word, size_t length, const int32_t *ids, size_t count)
{
    memcpy(c->word, word, length);
    memcpy(c->ids, ids, count * sizeof *ids);
    c->count = (uint8_t)count;
    c->length = (uint8_t)length;
}

/** A word that is not cut any further. */
static natsl_status encode(const natsl_bpe *b, natsl_bpe_work *w, const char *word, size_t length, natsl_ids *ids)
{
    natsl_cached *c = NULL;
    int32_t whole = -1;
    if (length <= NATSL_CACHE_BYTES) {
        const uint64_t hash = natsl_hash(word, length);
        c = &w->cache[hash % NATSL_CACHE_WORDS];
        if (c->length == length && c->hash == (uint32_t)(hash >> 32) && memcmp(c->word, word, length) == 0)
            return natsl_ids_add(ids, c->ids, c->count);
        c->length = 0;
        c->hash = (uint32_t)(hash >> 32);
    }
    if (b->ignore_merges && (whole = find_word(b, word, length)) >= 0) {
        const natsl_status st = natsl_ids_add(ids, &whole, 1);
        if (st == NATSL_OK && c) remember(c, word, length, &whole, 1);
        return st;
    }
    if (length > (size_t)1 << 30)
        return natsl_fail(NATSL_ERR_INPUT, "a word of %zu bytes, expected at most 1 GiB without a place to cut",
                          length);
    natsl_status st = symbols_of(b, w, word, length);
    if (st != NATSL_OK) return st;
    if (w->symbols.count <= SHORT_WORD) w->symbols.count = merge_short(b, w->symbols.at, w->symbols.count);
    else st = merge_long(b, w);
    if (st == NATSL_OK) st = natsl_ids_add(ids, w->symbols.at, w->symbols.count);
    if (st == NATSL_OK && c && w->symbols.count <= NATSL_CACHE_IDS)
        remember(c, word, length, w->symbols.at, w->symbols.count);
    return st;
}

natsl_status natsl_bpe_word(const natsl_bpe *b, natsl_bpe_work *w, const char *word, size_t length, natsl_ids *ids)
{
    natsl_status st = NATSL_OK;
    if (length <= NATSL_CACHE_BYTES || !b->seams) return length > 0 ? encode(b, w, word, length, ids) : NATSL_OK;
    for (size_t at = 0, cut = 0; at < length && st == NATSL_OK; at = cut) {
        cut = natsl_bpe_cut(b, word, length, at);
        st = encode(b, w, word + at, cut - at, ids);
    }
    return st;
}

/* ---- places to cut --------------------------------------------------------------------------------------------------- */

int natsl_bpe_cuts(const natsl_bpe *b) { return b->seams != NULL; }

static int is_seam(const natsl_bpe *b, int32_t left, int32_t right)
{
    const uint64_t key = natsl_pair(left, right);
    const size_t first = natsl_hash_pair(key);
    for (size_t n = 0; n <= NATSL_MOST_PROBES; n++) {
        const uint64_t there = b->seams[(first + n) & b->seam_mask];
        if (there == key) return 1;
        if (there == NATSL_NO_PAIR) break;
    }
    return 0;
}

/** The symbol of the character at text[at], of n bytes; -1: none, or not by itself. */
static int32_t symbol_at(const natsl_bpe *b, const char *text, size_t at, size_t n)
{
    if (n == 1 && (unsigned char)text[at] < 0x80) return b->letter_ids[(unsigned char)text[at]];
    return natsl_bpe_find(b, text + at, n);
}

size_t natsl_bpe_cut(const natsl_bpe *b, const char *text, size_t length, size_t from)
{
    int32_t left = -1;
    for (size_t at = from, n = 0; at < length; at += n) {
        n = natsl_utf8_length((unsigned char)text[at]);
        const int32_t first = b->bytes ? b->letter_ids[(unsigned char)text[at]] : symbol_at(b, text, at, n);
        if (at > from && left >= 0 && first >= 0 && !is_seam(b, left, first)) return at;
        left = b->bytes ? b->letter_ids[(unsigned char)text[at + n - 1]] : first;
    }
    return length;
}
