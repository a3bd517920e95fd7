/* hf_dir.c - see hf_dir.h. */
#include "hf_dir.h"

#include "core.h"
#include "whole_file.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define MOST_UNNAMED 65536 /* tensors beyond those of the index that are still looked at */

/* Most bytes of an index: names of tensors and files. */
#define INDEX_LIMIT ((size_t)64 << 20)
#define SINGLE      "model.safetensors"

natsl_status natsl_hf_path(const char *directory, const char *name, char *text, size_t size)
{
    const int n = snprintf(text, size, "%s/%s", directory, name);
    return n >= 0 && (size_t)n < size ? NATSL_OK
                                      : natsl_fail(NATSL_ERR_USAGE, "%.60s...: the path is too long", directory);
}

natsl_status natsl_hf_file_read(const char *directory, const char *name, size_t limit, char **bytes, size_t *length)
{
    char path[4096];
    struct stat s;
    *bytes = NULL;
    *length = 0;
    natsl_status st = natsl_hf_path(directory, name, path, sizeof path);
    if (st != NATSL_OK) return st;
    if (stat(path, &s) != 0 && errno == ENOENT) return NATSL_OK;
    return natsl_whole_file(path, limit, name, bytes, length);
}

/** Opens one more file of tensors. */
static natsl_status add_shard(natsl_hf_dir *d, const char *name)
{
    char path[4096];
    natsl_status st = natsl_hf_path(d->path, name, path, sizeof path);
    if (st == NATSL_OK) st = natsl_st_open(path, &d->shards[d->count]);
    if (st == NATSL_OK) d->tensors += d->shards[d->count++].count;
    return st;
}

static natsl_status make_room(natsl_hf_dir *d, size_t count)
{
    d->shards = natsl_calloc(count, sizeof *d->shards, "files of tensors");
    return d->shards ? NATSL_OK : NATSL_ERR_NOMEM;
}

static int by_name(const void *x, const void *y)
{
    return strcmp(((const natsl_hf_entry *)x)->tensor->name, ((const natsl_hf_entry *)y)->tensor->name);
}

/** The table of all tensors. */
static natsl_status list_entries(natsl_hf_dir *d)
{
    size_t n = 0;
    d->entries = natsl_calloc(d->tensors, sizeof *d->entries, "tensor table");
    if (!d->entries) return NATSL_ERR_NOMEM;
    for (size_t s = 0; s < d->count; s++) {
        for (size_t i = 0; i < d->shards[s].count; i++)
            d->entries[n++] = (natsl_hf_entry){.tensor = &d->shards[s].tensors[i], .shard = s};
    }
    qsort(d->entries, n, sizeof *d->entries, by_name);
    return NATSL_OK;
}

/** A name that the index may give: of a file in the directory itself. */
static int is_plain(const char *name)
{
    const size_t length = strlen(name);
    return length > 0 && length < 256 && !strchr(name, '/') && strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
}

/** Opens the files that the index names. `places`: shard number of each file name. */
static natsl_status open_shards(natsl_hf_dir *d, const char *index, json_t *map, json_t *places)
{
    for (void *it = json_object_iter(map); it; it = json_object_iter_next(map, it)) {
        const char *file = json_string_value(json_object_iter_value(it));
        if (!file || !is_plain(file))
            return natsl_fail(NATSL_ERR_INPUT,
                              "%s: tensor %.200s: file %.200s, expected the name of one in this directory", index,
                              json_object_iter_key(it), file ? file : "that is no string");
        if (json_object_get(places, file)) continue;
        if (json_object_size(places) >= NATSL_HF_SHARDS)
            return natsl_fail(NATSL_ERR_INPUT, "%s: more than %d files", index, NATSL_HF_SHARDS);
        if (json_object_set_new(places, file, json_integer((json_int_t)json_object_size(places))) != 0)
            return natsl_fail(NATSL_ERR_NOMEM, "out of memory: index");
    }
    natsl_status st = make_room(d, json_object_size(places));
    for (void *it = json_object_iter(places); st == NATSL_OK && it; it = json_object_iter_next(places, it)) {
        /* shards are numbered as they are opened */
        if (json_integer_set(json_object_iter_value(it), (json_int_t)d->count) != 0)
            return natsl_fail(NATSL_ERR_NOMEM, "out of memory: index");
        st = add_shard(d, json_object_iter_key(it));
        /* check_index will name one that is too many; here thousands of headers must not fill the memory before it can */
        if (st == NATSL_OK && d->tensors > json_object_size(map) + MOST_UNNAMED)
            st = natsl_fail(NATSL_ERR_INPUT, "%s: its files have many more tensors than it names", index);
    }
    return st;
}

/** Every tensor is where the index says, and nowhere else. */
static natsl_status check_index(const natsl_hf_dir *d, const char *index, json_t *map, json_t *places)
{
    for (void *it = json_object_iter(map); it; it = json_object_iter_next(map, it)) {
        const char *name = json_object_iter_key(it), *file = json_string_value(json_object_iter_value(it));
        const size_t shard = (size_t)json_integer_value(json_object_get(places, file));
        if (!natsl_st_find(&d->shards[shard], name))
            return natsl_fail(NATSL_ERR_INPUT, "%s: tensor %.200s is not in %s", index, name, d->shards[shard].path);
    }
    for (size_t s = 0; s < d->count; s++) {
        for (size_t i = 0; i < d->shards[s].count; i++) {
            const char *name = d->shards[s].tensors[i].name;
            const char *file = json_string_value(json_object_get(map, name));
            if (!file)
                return natsl_fail(NATSL_ERR_INPUT, "%s: tensor %.200s is not in the index", d->shards[s].path, name);
            if ((size_t)json_integer_value(json_object_get(places, file)) != s)
                return natsl_fail(NATSL_ERR_INPUT, "%s: tensor %.200s belongs to %.200s by the index",
                                  d->shards[s].path, name, file);
        }
    }
    return NATSL_OK;
}

static natsl_status open_index(natsl_hf_dir *d, const char *text, size_t length)
{
    char index[4096];
    json_error_t e;
    natsl_status st = natsl_hf_path(d->path, NATSL_HF_INDEX, index, sizeof index);
    if (st != NATSL_OK) return st;
    json_t *root = json_loadb(text, length, JSON_REJECT_DUPLICATES, &e), *places = json_object();
    json_t *map = json_object_get(root, "weight_map");
    if (!root) st = natsl_fail(NATSL_ERR_INPUT, "%s: line %d: %s", index, e.line, e.text);
    else if (!places) st = natsl_fail(NATSL_ERR_NOMEM, "out of memory: index");
    else if (json_object_size(map) == 0)
        st = natsl_fail(NATSL_ERR_INPUT, "%s: weight_map: expected an object with the file of each tensor", index);
    if (st == NATSL_OK) st = open_shards(d, index, map, places);
    if (st == NATSL_OK) st = check_index(d, index, map, places);
    json_decref(places);
    json_decref(root);
    return st;
}

natsl_status natsl_hf_dir_open(const char *path, natsl_hf_dir *out)
{
    struct stat s;
    char name[4096], *text = NULL;
    size_t length = 0;
    *out = (natsl_hf_dir){.path = path};
    if (stat(path, &s) != 0) return natsl_fail(NATSL_ERR_INPUT, "%s: %s", path, strerror(errno));
    if (!S_ISDIR(s.st_mode))
        return natsl_fail(NATSL_ERR_INPUT, "%s: not a directory, expected one with config.json and model.safetensors",
                          path);
    natsl_status st = natsl_hf_path(path, SINGLE, name, sizeof name);
    if (st == NATSL_OK && stat(name, &s) == 0) {
        st = make_room(out, 1);
        if (st == NATSL_OK) st = add_shard(out, SINGLE);
    } else if (st == NATSL_OK) {
        st = natsl_hf_file_read(path, NATSL_HF_INDEX, INDEX_LIMIT, &text, &length);
        if (st == NATSL_OK && !text)
            st = natsl_fail(NATSL_ERR_INPUT,
                            "%s: neither " SINGLE " nor " NATSL_HF_INDEX " (other formats of weights are not read)",
                            path);
        if (st == NATSL_OK) st = open_index(out, text, length);
    }
    natsl_free(text);
    if (st == NATSL_OK) st = list_entries(out);
    if (st != NATSL_OK) natsl_hf_dir_close(out);
    return st;
}

void natsl_hf_dir_close(natsl_hf_dir *dir)
{
    for (size_t i = 0; i < dir->count; i++) natsl_st_close(&dir->shards[i]);
    natsl_free(dir->shards);
    natsl_free(dir->entries);
    memset(dir, 0, sizeof *dir);
}

static int compare_name(const void *name, const void *entry)
{
    return strcmp(name, ((const natsl_hf_entry *)entry)->tensor->name);
}

natsl_hf_entry *natsl_hf_dir_find(const natsl_hf_dir *dir, const char *name)
{
    return bsearch(name, dir->entries, dir->tensors, sizeof *dir->entries, compare_name);
}

natsl_status natsl_hf_dir_read(natsl_hf_dir *dir, const natsl_hf_entry *entry, size_t at, size_t bytes, void *to)
{
    if (dir->reading != entry->shard) natsl_st_rest(&dir->shards[dir->reading]);
    dir->reading = entry->shard;
    return natsl_st_read(&dir->shards[entry->shard], entry->tensor, at, bytes, to);
}
