/* bpe_read.c - vocabulary and merges from JSON, which may be hostile. See bpe.h. */
#include "bpe_impl.h"

#include "core.h"
#include "fields.h"
#include "utf8.h"
#include <stdio.h>

/** Free slots for `count` keys, at most half of them used: mask. count: below 2^26. */
static size_t table_mask(size_t count)
{
    size_t slots = 16;
    while (slots < SIZE_MAX / 4 && slots / 2 < count) slots *= 2;
    return slots - 1;
}

static natsl_status crowded(const char *where)
{
    return natsl_fail(NATSL_ERR_INPUT, "%s: its tokens fall on one another in a table: made to be slow", where);
}

/** A text's id into its slot, or one of the next: false where all of them are taken. */
static int put_slot(uint32_t *slots, size_t mask, size_t hash, int32_t id)
{
    for (size_t n = 0; n <= NATSL_MOST_PROBES; n++) {
        uint32_t *slot = &slots[(hash + n) & mask];
        if (*slot) continue;
        *slot = (uint32_t)id + 1;
        return 1;
    }
    return 0;
}

/* ---- vocabulary ------------------------------------------------------------------------------------------------------ */

static natsl_status measure(const json_t *vocab, const char *where, natsl_bpe *b, size_t *bytes)
{
    const char *key;
    json_t *value;
    size_t length;
    json_object_keylen_foreach((json_t *)(uintptr_t)vocab, key, length, value)
    {
        const json_int_t id = json_is_integer(value) ? json_integer_value(value) : -1;
        if (id < 0 || id >= NATSL_MAX_TOKENS)
            return natsl_fail(NATSL_ERR_INPUT, "%s: vocab: the id of \"%.100s\" is not a whole number from 0 to %d",
                              where, key, NATSL_MAX_TOKENS - 1);
        if (length > UINT32_MAX || !natsl_size_add(bytes, *bytes, length))
            return natsl_fail(NATSL_ERR_INPUT, "%s: vocab: too long", where);
        if (id >= b->end) b->end = (int32_t)id + 1;
        b->count++;
    }
    return NATSL_OK;
}

static natsl_status read_vocabulary(const json_t *vocab, const char *where, natsl_bpe *b)
{
    const char *key;
    json_t *value;
    size_t length, bytes = 0, used = 0;
    natsl_status st = measure(vocab, where, b, &bytes);
    if (st != NATSL_OK) return st;
    b->texts = natsl_alloc((size_t)b->end, sizeof *b->texts, "vocabulary");
    b->arena = natsl_alloc(bytes + 1, 1, "vocabulary");
    b->text_mask = table_mask((size_t)b->count);
    b->text_slots = natsl_calloc(b->text_mask + 1, sizeof *b->text_slots, "vocabulary");
    if (!b->texts || !b->arena || !b->text_slots) return NATSL_ERR_NOMEM;
    for (int32_t i = 0; i < b->end; i++) b->texts[i] = (natsl_token_text){.begin = NATSL_NO_TEXT};
    json_object_keylen_foreach((json_t *)(uintptr_t)vocab, key, length, value)
    {
        const int32_t id = (int32_t)json_integer_value(value);
        if (b->texts[id].begin != NATSL_NO_TEXT)
            return natsl_fail(NATSL_ERR_INPUT, "%s: vocab: \"%.100s\" has the id %d, which another token has, too",
                              where, key, id);
        memcpy(b->arena + used, key, length);
        b->texts[id] = (natsl_token_text){.begin = used, .length = (uint32_t)length};
        used += length;
        if (!put_slot(b->text_slots, b->text_mask, natsl_hash(key, length), id)) return crowded(where);
    }
    return NATSL_OK;
}

/** The tokens once more as the bytes that they stand for; tokens with other characters cannot come from text. */
static natsl_status read_words(const char *where, natsl_bpe *b)
{
    size_t used = 0, bytes = 0;
    for (int32_t id = 0; id < b->end; id++) bytes += b->texts[id].begin == NATSL_NO_TEXT ? 0 : b->texts[id].length;
    b->words = natsl_alloc((size_t)b->end, sizeof *b->words, "vocabulary");
    b->word_arena = natsl_alloc(bytes + 1, 1, "vocabulary");
    b->word_mask = table_mask((size_t)b->count);
    b->word_slots = natsl_calloc(b->word_mask + 1, sizeof *b->word_slots, "vocabulary");
    if (!b->words || !b->word_arena || !b->word_slots) return NATSL_ERR_NOMEM;
    for (int32_t id = 0; id < b->end; id++) {
        const natsl_token_text t = b->texts[id];
        const size_t begin = used;
        int byte = 0;
        b->words[id] = (natsl_token_text){.begin = NATSL_NO_TEXT};
        if (t.begin == NATSL_NO_TEXT) continue;
        for (size_t at = 0, n = 0; at < t.length && byte >= 0; at += n) {
            byte = natsl_letter_byte(natsl_utf8_get(b->arena + t.begin + at, &n));
            if (byte >= 0) b->word_arena[used++] = (char)byte;
        }
        if (byte < 0 || used == begin) {
            used = begin;
            continue;
        }
        b->words[id] = (natsl_token_text){.begin = begin, .length = (uint32_t)(used - begin)};
        if (!put_slot(b->word_slots, b->word_mask, natsl_hash(b->word_arena + begin, used - begin), id))
            return crowded(where);
    }
    return NATSL_OK;
}

static void read_letters(natsl_bpe *b)
{
    for (int i = 0; i < 256; i++) {
        char text[8];
        size_t n =
            b->bytes ? natsl_utf8_put(natsl_byte_letter((unsigned char)i), text) : natsl_utf8_put((uint32_t)i, text);
        b->letter_ids[i] = b->bytes || i < 0x80 ? natsl_bpe_find(b, text, n) : -1;
        n = (size_t)snprintf(text, sizeof text, "<0x%02X>", (unsigned)i);
        b->byte_ids[i] = natsl_bpe_find(b, text, n);
    }
}

/* ---- merges ---------------------------------------------------------------------------------------------------------- */

/** The two texts of a merge, in one of the two forms: "a b", or ["a", "b"]. */
static natsl_status merge_texts(const json_t *merge, const char *where, size_t i, const char *text[2], size_t length[2])
{
    if (json_is_array(merge) && json_array_size(merge) == 2 && json_is_string(json_array_get(merge, 0)) &&
        json_is_string(json_array_get(merge, 1))) {
        for (size_t k = 0; k < 2; k++) {
            text[k] = json_string_value(json_array_get(merge, k));
            length[k] = json_string_length(json_array_get(merge, k));
        }
    } else {
        if (!json_is_string(merge))
            return natsl_fail(NATSL_ERR_INPUT, "%s: merges: entry %zu is neither a text nor a pair of texts", where, i);
        const size_t all = json_string_length(merge);
        const char *space = memchr(json_string_value(merge), ' ', all);
        if (!space)
            return natsl_fail(NATSL_ERR_INPUT, "%s: merges: entry %zu has no space between two texts", where, i);
        text[0] = json_string_value(merge);
        length[0] = (size_t)(space - text[0]);
        text[1] = space + 1;
        length[1] = all - length[0] - 1;
        if (memchr(text[1], ' ', length[1]))
            return natsl_fail(NATSL_ERR_INPUT, "%s: merges: entry %zu has more than one space", where, i);
    }
    if (length[0] == 0 || length[1] == 0)
        return natsl_fail(NATSL_ERR_INPUT, "%s: merges: entry %zu has an empty text", where, i);
    return NATSL_OK;
}

static natsl_status unknown_token(const char *where, size_t i, const char *text, size_t length)
{
    return natsl_fail(NATSL_ERR_INPUT, "%s: merges: entry %zu names \"%.*s\", which is not in the vocabulary", where, i,
                      (int)(length < 100 ? length : 100), text);
}

static natsl_status read_merge(const json_t *merge, const char *where, size_t i, uint32_t rank, natsl_bytes *joined,
                               natsl_bpe *b)
{
    const char *text[2];
    size_t length[2];
    int32_t id[2];
    natsl_status st = merge_texts(merge, where, i, text, length);
    if (st != NATSL_OK) return st;
    for (size_t k = 0; k < 2; k++) {
        if ((id[k] = natsl_bpe_find(b, text[k], length[k])) < 0) return unknown_token(where, i, text[k], length[k]);
    }
    if (length[1] < b->prefix_length)
        return natsl_fail(NATSL_ERR_INPUT, "%s: merges: entry %zu: the second text lacks the prefix", where, i);
    joined->length = 0;
    st = natsl_bytes_add(joined, text[0], length[0]);
    if (st == NATSL_OK) st = natsl_bytes_add(joined, text[1] + b->prefix_length, length[1] - b->prefix_length);
    if (st != NATSL_OK) return st;
    const int32_t made = natsl_bpe_find(b, joined->at, joined->length);
    if (made < 0) return unknown_token(where, i, joined->at, joined->length);
    const uint64_t pair = natsl_pair(id[0], id[1]);
    const size_t first = natsl_hash_pair(pair);
    for (size_t n = 0; n <= NATSL_MOST_PROBES; n++) {
        natsl_merge *m = &b->merges[(first + n) & b->merge_mask];
        if (m->pair != NATSL_NO_PAIR && m->pair != pair) continue;
        *m = (natsl_merge){pair, rank, made}; /* of a pair that is named twice, the last rank counts */
        return NATSL_OK;
    }
    return crowded(where);
}

static natsl_status read_merges(const json_t *merges, const char *where, natsl_bpe *b)
{
    const size_t count = json_array_size(merges);
    natsl_bytes joined = {0};
    natsl_status st = NATSL_OK;
    uint32_t rank = 0;
    if (count > (size_t)NATSL_MAX_TOKENS) return natsl_fail(NATSL_ERR_INPUT, "%s: merges: too many", where);
    b->merge_mask = table_mask(count);
    b->merges = natsl_alloc(b->merge_mask + 1, sizeof *b->merges, "merges");
    if (!b->merges) return NATSL_ERR_NOMEM;
    for (size_t i = 0; i <= b->merge_mask; i++) b->merges[i].pair = NATSL_NO_PAIR;
    for (size_t i = 0; i < count && st == NATSL_OK; i++) {
        const json_t *merge = json_array_get(merges, i);
        if (json_is_string(merge) && strncmp(json_string_value(merge), "#version", 8) == 0) continue;
        st = read_merge(merge, where, i, rank++, &joined, b);
    }
    natsl_bytes_free(&joined);
    return st;
}

/* ---- seams ----------------------------------------------------------------------------------------------------------- */

/** Symbols that a token made by merges may begin with (last 0) or end with (last 1): that of its character, and itself where it
 * stands for a byte or for what is unknown, as it may then be a symbol without any merge. Returns how many. */
static int ends_of(const natsl_bpe *b, int32_t id, int last, int32_t out[2])
{
    int n = 0;
    if (b->bytes) {
        const natsl_token_text t = b->words[id];
        if (t.begin != NATSL_NO_TEXT) {
            const int32_t letter = b->letter_ids[(unsigned char)b->word_arena[t.begin + (last ? t.length - 1 : 0)]];
            if (letter >= 0) out[n++] = letter;
        }
    } else {
        const char *text = b->arena + b->texts[id].begin;
        size_t at = 0, length = b->texts[id].length;
        if (last) {
            for (at = length - 1; at > 0 && natsl_utf8_inside(text[at]);) at--;
        }
        const int32_t letter = natsl_bpe_find(b, text + at, natsl_utf8_length((unsigned char)text[at]));
        if (letter >= 0) out[n++] = letter;
    }
    if (b->texts[id].length == 6 || id == b->unknown) out[n++] = id; /* "<0x00>" has 6 */
    return n;
}

/** A pair into the table of seams: false where its slots are taken by others. */
static int put_seam(natsl_bpe *b, uint64_t pair)
{
    const size_t first = natsl_hash_pair(pair);
    for (size_t n = 0; n <= NATSL_MOST_PROBES; n++) {
        uint64_t *slot = &b->seams[(first + n) & b->seam_mask];
        if (*slot != NATSL_NO_PAIR && *slot != pair) continue;
        *slot = pair;
        return 1;
    }
    return 0;
}

static natsl_status find_seams(const char *where, natsl_bpe *b)
{
    size_t merges = 0;
    for (size_t i = 0; i <= b->merge_mask; i++) merges += b->merges[i].pair != NATSL_NO_PAIR;
    b->seam_mask = table_mask(4 * merges);
    b->seams = natsl_alloc(b->seam_mask + 1, sizeof *b->seams, "merges");
    if (!b->seams) return NATSL_ERR_NOMEM;
    for (size_t i = 0; i <= b->seam_mask; i++) b->seams[i] = NATSL_NO_PAIR;
    for (size_t i = 0; i <= b->merge_mask; i++) {
        int32_t left[2], right[2];
        if (b->merges[i].pair == NATSL_NO_PAIR) continue;
        const int n = ends_of(b, (int32_t)(b->merges[i].pair >> 32), 1, left);
        const int m = ends_of(b, (int32_t)(uint32_t)b->merges[i].pair, 0, right);
        for (int k = 0; k < n * m; k++) {
            if (!put_seam(b, natsl_pair(left[k / m], right[k % m]))) return crowded(where);
        }
    }
    return NATSL_OK;
}

/* ---- the whole ------------------------------------------------------------------------------------------------------- */

static natsl_status read_flags(const json_t *model, const char *where, natsl_bpe *b)
{
    const json_t *dropout = json_object_get(model, "dropout");
    natsl_status st = NATSL_OK;
    if (dropout && !json_is_null(dropout) && !(json_is_number(dropout) && json_number_value(dropout) == 0.0))
        return natsl_fail(NATSL_ERR_INPUT, "%s: dropout is not supported", where);
    if (st == NATSL_OK) st = natsl_json_flag(model, "byte_fallback", 0, where, &b->byte_fallback);
    if (st == NATSL_OK) st = natsl_json_flag(model, "fuse_unk", 0, where, &b->fuse_unknown);
    if (st == NATSL_OK) st = natsl_json_flag(model, "ignore_merges", 0, where, &b->ignore_merges);
    if (st == NATSL_OK) st = natsl_json_copy(model, "continuing_subword_prefix", where, &b->prefix, &b->prefix_length);
    if (st == NATSL_OK) st = natsl_json_copy(model, "end_of_word_suffix", where, &b->suffix, &b->suffix_length);
    b->affixes = b->prefix_length > 0 || b->suffix_length > 0;
    if (st == NATSL_OK && b->bytes && b->byte_fallback)
        st = natsl_fail(NATSL_ERR_INPUT, "%s: byte_fallback with ByteLevel is not supported", where);
    if (st == NATSL_OK && b->bytes && b->affixes)
        st = natsl_fail(NATSL_ERR_INPUT, "%s: a subword prefix or word suffix with ByteLevel is not supported", where);
    return st;
}

natsl_status natsl_bpe_create(const json_t *model, int bytes, const char *where, natsl_bpe **out)
{
    const json_t *vocab = json_object_get(model, "vocab"), *merges = json_object_get(model, "merges");
    const json_t *unknown = json_object_get(model, "unk_token");
    natsl_bpe *b = natsl_calloc(1, sizeof *b, "vocabulary");
    *out = NULL;
    if (!b) return NATSL_ERR_NOMEM;
    b->bytes = bytes;
    b->unknown = -1;
    natsl_status st = read_flags(model, where, b);
    if (st == NATSL_OK && (!json_is_object(vocab) || !json_is_array(merges)))
        st = natsl_fail(NATSL_ERR_INPUT, "%s: expected an object vocab and an array merges", where);
    if (st == NATSL_OK && unknown && !json_is_null(unknown) && !json_is_string(unknown))
        st = natsl_fail(NATSL_ERR_INPUT, "%s: unk_token is not a text", where);
    if (st == NATSL_OK) st = read_vocabulary(vocab, where, b);
    if (st == NATSL_OK && bytes) st = read_words(where, b);
    if (st == NATSL_OK) {
        read_letters(b);
        b->has_unknown = json_is_string(unknown);
        if (b->has_unknown) b->unknown = natsl_bpe_find(b, json_string_value(unknown), json_string_length(unknown));
        st = read_merges(merges, where, b);
    }
    if (st == NATSL_OK && !b->ignore_merges && !b->affixes) st = find_seams(where, b);
    if (st != NATSL_OK) natsl_bpe_destroy(&b);
    *out = b;
    return st;
}

void natsl_bpe_destroy(natsl_bpe **bpe)
{
    natsl_bpe *b = *bpe;
    if (!b) return;
    natsl_free(b->texts);
    natsl_free(b->arena);
    natsl_free(b->text_slots);
    natsl_free(b->words);
    natsl_free(b->word_arena);
    natsl_free(b->word_slots);
    natsl_free(b->merges);
    natsl_free(b->seams);
    natsl_free(b->prefix);
    natsl_free(b->suffix);
    natsl_free(b);
    *bpe = NULL;
}
