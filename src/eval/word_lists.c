/* word_lists.c - nouns, adjectives, verbs, and keys made of them. See word_lists.h. */
#include "word_lists.h"

#include "core.h"
#include "sha256.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MOST_BYTES ((size_t)1 << 24)

static int compare(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b); /* bytes of UTF-8 sort as code points do */
}

/** "a-" against "b-": the order of all keys that begin with them, but where one is the beginning of the other. */
static int compare_dashed(const void *a, const void *b)
{
    const char *x = *(char *const *)a, *y = *(char *const *)b;
    while (*x && *x == *y) x++, y++;
    const unsigned char cx = *x ? (unsigned char)*x : '-', cy = *y ? (unsigned char)*y : '-';
    if (cx != cy) return cx < cy ? -1 : 1;
    return *x ? 1 : *y ? -1 : 0;
}

static size_t distinct(char **words, size_t count)
{
    size_t n = 0;
    for (size_t i = 0; i < count; i++) {
        if (n == 0 || strcmp(words[n - 1], words[i]) != 0) words[n++] = words[i];
    }
    return n;
}

static natsl_status read_list(const char *directory, const char *name, natsl_sha256 *digest, natsl_words *out)
{
    char path[4096];
    const int n = snprintf(path, sizeof path, "%s/%s", directory, name);
    if (n < 0 || (size_t)n >= sizeof path) return natsl_fail(NATSL_ERR_USAGE, "--word-lists: the path is too long");
    FILE *file = fopen(path, "rb");
    if (!file)
        return natsl_fail(NATSL_ERR_INPUT,
                          "%s: %s; expected the lists of the Python package wonderwords (tools/setup --word-lists gets "
                          "them)",
                          path, strerror(errno));
    natsl_status st = NATSL_OK;
    out->bytes = natsl_alloc(MOST_BYTES + 1, 1, "word lists");
    errno = 0;
    const size_t length = out->bytes ? fread(out->bytes, 1, MOST_BYTES + 1, file) : 0;
    if (!out->bytes) st = NATSL_ERR_NOMEM;
    else if (ferror(file)) st = natsl_fail(NATSL_ERR_INPUT, "%s: %s", path, strerror(errno));
    else if (length > MOST_BYTES) st = natsl_fail(NATSL_ERR_INPUT, "%s: more than %zu bytes", path, MOST_BYTES);
    else if (memchr(out->bytes, '\0', length)) st = natsl_fail(NATSL_ERR_INPUT, "%s: a zero byte", path);
    (void)fclose(file);
    if (st != NATSL_OK) return st;
    natsl_sha256_add(digest, out->bytes, length);
    size_t lines = 1;
    for (size_t i = 0; i < length; i++) lines += out->bytes[i] == '\n';
    if (!(out->words = natsl_calloc(lines, sizeof *out->words, "word lists"))) return NATSL_ERR_NOMEM;
    for (char *p = out->bytes, *end = out->bytes + length; p < end;) {
        char *stop = memchr(p, '\n', (size_t)(end - p)), *next = stop ? stop + 1 : end;
        if (!stop) stop = end;
        while (stop > p && strchr(" \t\r\v\f", stop[-1])) stop--;
        *stop = '\0'; /* the buffer has a byte more than it holds */
        if (stop - p > 40) return natsl_fail(NATSL_ERR_INPUT, "%s: a word of more than 40 bytes, '%.60s'", path, p);
        if (stop > p) out->words[out->count++] = p;
        p = next;
    }
    if (out->count == 0) return natsl_fail(NATSL_ERR_INPUT, "%s: no words", path);
    qsort(out->words, out->count, sizeof *out->words, compare);
    out->count = distinct(out->words, out->count);
    return NATSL_OK;
}

/** Nouns, adjectives and verbs together. The words stay where they are. */
static natsl_status join(natsl_word_lists *l, const natsl_words *verbs)
{
    const natsl_words *const parts[] = {&l->nouns, &l->adjectives, verbs};
    size_t bytes = 0, count = 0;
    for (int i = 0; i < 3; i++) {
        count += parts[i]->count;
        for (size_t k = 0; k < parts[i]->count; k++) bytes += strlen(parts[i]->words[k]) + 1;
    }
    l->all.bytes = natsl_alloc(bytes, 1, "word lists");
    l->all.words = natsl_calloc(count, sizeof *l->all.words, "word lists");
    if (!l->all.bytes || !l->all.words) return NATSL_ERR_NOMEM;
    char *to = l->all.bytes;
    for (int i = 0; i < 3; i++) {
        for (size_t k = 0; k < parts[i]->count; k++) {
            const size_t n = strlen(parts[i]->words[k]) + 1;
            memcpy(to, parts[i]->words[k], n);
            l->all.words[l->all.count++] = to;
            to += n;
        }
    }
    qsort(l->all.words, l->all.count, sizeof *l->all.words, compare);
    l->all.count = distinct(l->all.words, l->all.count);
    return NATSL_OK;
}

/** All keys of a group of several adjectives. */
static natsl_status list_keys(const natsl_word_lists *l, natsl_key_group *g, uint64_t *count)
{
    const size_t n = g->adjectives * l->nouns.count;
    size_t bytes = 0;
    if (!natsl_size_mul(&bytes, n, NATSL_KEY_BYTES)) return natsl_fail(NATSL_ERR_NOMEM, "word lists: too long");
    g->bytes = natsl_alloc(bytes, 1, "keys");
    g->keys = natsl_alloc(n, sizeof *g->keys, "keys");
    if (!g->bytes || !g->keys) return NATSL_ERR_NOMEM;
    for (size_t i = 0; i < n; i++) {
        g->keys[i] = g->bytes + i * NATSL_KEY_BYTES;
        (void)snprintf(g->keys[i], NATSL_KEY_BYTES, "%s-%s", l->adjectives.words[g->first + i / l->nouns.count],
                       l->nouns.words[i % l->nouns.count]);
    }
    qsort(g->keys, n, sizeof *g->keys, compare);
    *count = distinct(g->keys, n);
    return NATSL_OK;
}

/** Adjectives in the order of their keys, put into groups. */
static natsl_status group_keys(natsl_word_lists *l)
{
    natsl_status st = NATSL_OK;
    natsl_words *a = &l->adjectives;
    qsort(a->words, a->count, sizeof *a->words, compare_dashed);
    l->groups = natsl_calloc(a->count, sizeof *l->groups, "keys");
    if (!l->groups) return NATSL_ERR_NOMEM;
    for (size_t i = 0; i < a->count && st == NATSL_OK;) {
        natsl_key_group *g = &l->groups[l->n_groups++];
        const size_t head = strlen(a->words[i]);
        *g = (natsl_key_group){.first = i, .begin = l->n_keys};
        /* those that begin with this one and a dash follow it at once */
        for (i++; i < a->count && strncmp(a->words[i], a->words[g->first], head) == 0 && a->words[i][head] == '-';) i++;
        g->adjectives = i - g->first;
        uint64_t count = l->nouns.count;
        if (g->adjectives > 1) st = list_keys(l, g, &count);
        l->n_keys += count;
    }
    return st;
}

natsl_status natsl_word_lists_open(const char *directory, natsl_word_lists *out)
{
    natsl_words verbs = {0};
    natsl_sha256 digest;
    memset(out, 0, sizeof *out);
    natsl_sha256_start(&digest);
    natsl_status st = read_list(directory, "nounlist.txt", &digest, &out->nouns);
    if (st == NATSL_OK) st = read_list(directory, "adjectivelist.txt", &digest, &out->adjectives);
    if (st == NATSL_OK) st = read_list(directory, "verblist.txt", &digest, &verbs);
    natsl_sha256_finish(&digest, out->digest);
    if (st == NATSL_OK) st = join(out, &verbs);
    if (st == NATSL_OK) st = group_keys(out);
    natsl_free(verbs.words);
    natsl_free(verbs.bytes);
    if (st != NATSL_OK) natsl_word_lists_free(out);
    return st;
}

void natsl_word_lists_free(natsl_word_lists *l)
{
    natsl_words *const parts[] = {&l->nouns, &l->adjectives, &l->all};
    for (int i = 0; i < 3; i++) {
        natsl_free(parts[i]->words);
        natsl_free(parts[i]->bytes);
    }
    for (size_t i = 0; i < l->n_groups; i++) {
        natsl_free(l->groups[i].keys);
        natsl_free(l->groups[i].bytes);
    }
    natsl_free(l->groups);
    memset(l, 0, sizeof *l);
}

void natsl_word_lists_key(const natsl_word_lists *l, uint64_t i, char key[NATSL_KEY_BYTES])
{
    size_t lo = 0, hi = l->n_groups; /* begin of lo <= i < begin of hi */
    while (hi - lo > 1) {
        const size_t middle = lo + (hi - lo) / 2;
        if (l->groups[middle].begin <= i) lo = middle;
        else hi = middle;
    }
    const natsl_key_group *g = &l->groups[lo];
    const size_t at = (size_t)(i - g->begin);
    if (g->keys) (void)snprintf(key, NATSL_KEY_BYTES, "%s", g->keys[at]);
    else (void)snprintf(key, NATSL_KEY_BYTES, "%s-%s", l->adjectives.words[g->first], l->nouns.words[at]);
}
