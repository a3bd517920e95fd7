/* tok_added.c - added tokens: read, and found in text. See tok_read.h and tok.h. */
#include "tok_read.h"

#include "core.h"
#include "fields.h"
#include <stdlib.h>
#include <string.h>

#define MAX_ADDED ((size_t)1 << 17)
#define MAX_BYTES                                                                                                      \
    ((size_t)4096) /* of one of them, as it is searched: what a search may look at in vain at every place of a text */

static natsl_status read_added(const natsl_tok_reading *r, const json_t *object, natsl_tok_added *a)
{
    json_int_t id = 0;
    natsl_status st = natsl_json_copy(object, "content", r->where, &a->content, &a->content_length);
    if (st == NATSL_OK) st = natsl_json_count(object, "id", NATSL_MAX_TOKENS - 1, r->where, &id);
    if (st == NATSL_OK) st = natsl_json_flag(object, "special", 0, r->where, &a->special);
    if (st == NATSL_OK) st = natsl_json_flag(object, "single_word", 0, r->where, &a->single_word);
    if (st == NATSL_OK) st = natsl_json_flag(object, "lstrip", 0, r->where, &a->left);
    if (st == NATSL_OK) st = natsl_json_flag(object, "rstrip", 0, r->where, &a->right);
    if (st == NATSL_OK) st = natsl_json_flag(object, "normalized", !a->special, r->where, &a->normalized);
    if (st == NATSL_OK && (a->content_length == 0 || a->content_length > MAX_BYTES))
        st = natsl_fail(NATSL_ERR_INPUT, "%s: content: a text of %zu bytes, expected 1 to %zu", r->where,
                        a->content_length, MAX_BYTES);
    a->id = (int32_t)id;
    return st;
}

/** The text that a token is searched as: its own, or that after all normalizers. matches: of their expressions. */
static natsl_status searched_text(const natsl_tok *tok, natsl_regex_match *const *matches, natsl_tok_added *a)
{
    natsl_bytes text[2] = {{0}};
    natsl_status st = natsl_bytes_add(&text[0], a->content, a->content_length);
    for (size_t i = 0; i < tok->normalizers.count && st == NATSL_OK && a->normalized; i++) {
        st = natsl_tok_normalize(&tok->normalizers.step[i], matches[i], text[0].at, text[0].length, NULL, 1, 0,
                                 MAX_BYTES, &text[1], NULL);
        const natsl_bytes swap = text[0];
        text[0] = text[1];
        text[1] = swap;
    }
    if (st == NATSL_OK && text[0].length == 0) /* the library would find it everywhere */
        st = natsl_fail(NATSL_ERR_INPUT, "a text that the normalizers leave nothing of is not supported");
    if (st == NATSL_OK && !(a->text = natsl_alloc(text[0].length + 1, 1, "added tokens"))) st = NATSL_ERR_NOMEM;
    if (st == NATSL_OK) {
        memcpy(a->text, text[0].at, text[0].length);
        a->length = text[0].length;
    }
    natsl_bytes_free(&text[0]);
    natsl_bytes_free(&text[1]);
    return st;
}

/** The texts of all added tokens. */
static natsl_status searched_texts(const natsl_tok_reading *r, natsl_tok *tok)
{
    natsl_regex_match *matches[NATSL_TOK_STEPS] = {NULL};
    char why[256];
    natsl_status st = NATSL_OK;
    for (size_t i = 0; i < tok->normalizers.count && st == NATSL_OK; i++) {
        if (tok->normalizers.step[i].regex) st = natsl_regex_match_create(tok->normalizers.step[i].regex, &matches[i]);
    }
    for (size_t i = 0; i < tok->n_added && st == NATSL_OK; i++) {
        st = searched_text(tok, matches, &tok->added[i]);
        if (st != NATSL_ERR_INPUT) continue;
        (void)snprintf(why, sizeof why, "%s", natsl_error_text());
        st = natsl_fail(st, "%s: entry %zu: %s", r->where, i, why);
    }
    for (size_t i = 0; i < NATSL_TOK_STEPS; i++) natsl_regex_match_destroy(&matches[i]);
    return st;
}

static int by_text(const void *x, const void *y)
{
    const natsl_tok_added *a = *(const natsl_tok_added *const *)x, *b = *(const natsl_tok_added *const *)y;
    const size_t n = a->length < b->length ? a->length : b->length;
    const int order = memcmp(a->text, b->text, n);
    if (order != 0) return order;
    if (a->length != b->length) return a->length < b->length ? -1 : 1;
    return a < b ? -1 : a > b; /* in the order of the file */
}

static natsl_status make_set(const natsl_tok *tok, int normalized, natsl_tok_set *set)
{
    set->at = natsl_alloc(tok->n_added, sizeof *set->at, "added tokens");
    if (!set->at) return NATSL_ERR_NOMEM;
    for (size_t i = 0; i < tok->n_added; i++) {
        const natsl_tok_added *a = &tok->added[i];
        if (a->normalized != normalized) continue;
        set->at[set->count++] = a;
        set->begins[(unsigned char)a->text[0]] = 1;
        set->left |= a->left;
        if (a->length > set->longest) set->longest = a->length;
    }
    if (set->count > 0) qsort(set->at, set->count, sizeof *set->at, by_text);
    size_t kept = 0; /* of two with the same text, special ones come first, then those that the file names first */
    for (size_t i = 0; i < set->count; i++) {
        const natsl_tok_added *a = set->at[i], *b = kept ? set->at[kept - 1] : NULL;
        if (b && b->length == a->length && memcmp(a->text, b->text, a->length) == 0) {
            if (a->special && !b->special) set->at[kept - 1] = a;
        } else {
            set->at[kept++] = a;
        }
    }
    set->count = kept;
    return NATSL_OK;
}

/** The library takes ids of added tokens from the vocabulary, or counts on; a file that says something else would mean
 * other tokens here than there. */
static natsl_status check_id(const natsl_tok_reading *r, const natsl_tok *tok, const natsl_tok_added *a, size_t i)
{
    const int32_t known = natsl_bpe_find(tok->bpe, a->content, a->content_length);
    if (known < 0 && natsl_bpe_text(tok->bpe, a->id, &(size_t){0}))
        return natsl_fail(NATSL_ERR_INPUT, "%s: entry %zu has the id %d, which another token has, too", r->where, i,
                          a->id);
    if (known >= 0 && known != a->id)
        return natsl_fail(NATSL_ERR_INPUT, "%s: entry %zu has the id %d, but %d in the vocabulary", r->where, i, a->id,
                          known);
    return NATSL_OK;
}

natsl_status natsl_tok_read_added(natsl_tok_reading *r, const json_t *list)
{
    natsl_tok *tok = r->tok;
    natsl_status st = NATSL_OK;
    (void)snprintf(r->where, sizeof r->where, "%.400s: added_tokens", r->file);
    tok->end = natsl_bpe_end(tok->bpe);
    if (list && !json_is_null(list) && !json_is_array(list))
        return natsl_fail(NATSL_ERR_INPUT, "%s: expected an array", r->where);
    const size_t count = json_array_size(list);
    if (count > MAX_ADDED) return natsl_fail(NATSL_ERR_INPUT, "%s: more than %zu", r->where, MAX_ADDED);
    if (!(tok->added = natsl_calloc(count, sizeof *tok->added, "added tokens"))) return NATSL_ERR_NOMEM;
    for (size_t i = 0; i < count && st == NATSL_OK; i++) {
        natsl_tok_added *a = &tok->added[tok->n_added++];
        st = json_is_object(json_array_get(list, i)) ? read_added(r, json_array_get(list, i), a)
                                                     : natsl_fail(NATSL_ERR_INPUT, "%s: expected objects", r->where);
        if (st == NATSL_OK) st = check_id(r, tok, a, i);
        if (st == NATSL_OK && a->id >= tok->end) tok->end = a->id + 1;
        if (st == NATSL_OK && a->single_word)
            tok->whole = 1; /* looks at what stands before: kept simple, as they are rare */
    }
    if (st == NATSL_OK) st = searched_texts(r, tok);
    if (st == NATSL_OK && !(tok->by_id = natsl_alloc((size_t)tok->end, sizeof *tok->by_id, "added tokens")))
        st = NATSL_ERR_NOMEM;
    for (int32_t i = 0; st == NATSL_OK && i < tok->end; i++) tok->by_id[i] = -1;
    for (size_t i = 0; i < tok->n_added && st == NATSL_OK; i++) {
        const natsl_tok_added *a = &tok->added[i];
        const int32_t other = tok->by_id[a->id];
        if (other >= 0 && (tok->added[other].content_length != a->content_length ||
                           memcmp(tok->added[other].content, a->content, a->content_length) != 0))
            st = natsl_fail(NATSL_ERR_INPUT, "%s: entry %zu has the id %d, which another one has, too", r->where, i,
                            a->id);
        tok->by_id[a->id] = (int32_t)i;
    }
    if (st == NATSL_OK) st = make_set(tok, 0, &tok->in_text);
    return st == NATSL_OK ? make_set(tok, 1, &tok->in_normalized) : st;
}

const natsl_tok_added *natsl_tok_longest(const natsl_tok_set *set, const char *text, size_t length)
{
    size_t lo = 0, hi = set->count; /* those that begin as text does, so far */
    const natsl_tok_added *found = NULL;
    for (size_t n = 0; lo < hi; n++) {
        if (set->at[lo]->length == n) found = set->at[lo++]; /* the shorter comes first */
        if (n == length || lo == hi) break;
        const unsigned char c = (unsigned char)text[n];
        size_t a = lo, b = hi;
        while (a < b) { /* the first whose byte n is c or more */
            const size_t m = a + (b - a) / 2;
            if ((unsigned char)set->at[m]->text[n] < c) a = m + 1;
            else b = m;
        }
        lo = a;
        b = hi;
        while (a < b) { /* the first whose byte n is more */
            const size_t m = a + (b - a) / 2;
            if ((unsigned char)set->at[m]->text[n] <= c) a = m + 1;
            else b = m;
        }
        hi = a;
    }
    return found;
}

const char *natsl_tok_text(const natsl_tok *tok, int32_t id, size_t *length, int *special)
{
    *special = 0;
    if (id < 0 || id >= tok->end) return NULL;
    if (tok->by_id[id] < 0) return natsl_bpe_text(tok->bpe, id, length);
    const natsl_tok_added *a = &tok->added[tok->by_id[id]];
    /* as the library has it: the normalized text, which it then does not know to be a special token's */
    *special = a->special && a->length == a->content_length && memcmp(a->text, a->content, a->length) == 0;
    *length = a->length;
    return a->text;
}
