/* safetensors.c - reading. See safetensors.h; writing is safetensors_out.c. */
#include "safetensors.h"

#include "core.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* The file's first bytes: the length of the header. */
#define PREFIX 8

/** A whole number that size_t holds. */
static int get_size(const json_t *value, size_t *out)
{
    if (!json_is_integer(value) || json_integer_value(value) < 0) return 0;
    *out = (size_t)json_integer_value(value);
    return 1;
}

static natsl_status get_dtype(const char *path, const char *name, const json_t *value, natsl_dtype *out)
{
    const char *text = json_string_value(value);
    if (!text) return natsl_fail(NATSL_ERR_INPUT, "%s: tensor %.200s: dtype: expected a string", path, name);
    for (int t = NATSL_DTYPE_F32; t <= NATSL_DTYPE_BF16; t++) {
        if (strcmp(text, natsl_dtype_name((natsl_dtype)t)) != 0) continue;
        *out = (natsl_dtype)t;
        return NATSL_OK;
    }
    return natsl_fail(NATSL_ERR_INPUT, "%s: tensor %.200s: dtype %.40s is not supported, expected F32, F16 or BF16",
                      path, name, text);
}

/** Shape and count, and bytes that follow from them. */
static natsl_status get_shape(const char *path, const json_t *value, natsl_st_tensor *t)
{
    if (!json_is_array(value))
        return natsl_fail(NATSL_ERR_INPUT, "%s: tensor %.200s: shape: expected a list of sizes", path, t->name);
    if (json_array_size(value) > NATSL_SAFETENSORS_RANK)
        return natsl_fail(NATSL_ERR_INPUT, "%s: tensor %.200s: %zu dimensions, expected at most %d", path, t->name,
                          json_array_size(value), NATSL_SAFETENSORS_RANK);
    t->rank = (int)json_array_size(value);
    t->count = 1;
    for (int i = 0; i < t->rank; i++) {
        if (!get_size(json_array_get(value, (size_t)i), &t->shape[i]))
            return natsl_fail(NATSL_ERR_INPUT, "%s: tensor %.200s: shape: expected whole numbers from 0", path,
                              t->name);
        if (!natsl_size_mul(&t->count, t->count, t->shape[i]))
            return natsl_fail(NATSL_ERR_INPUT, "%s: tensor %.200s: its shape exceeds the address space", path, t->name);
    }
    if (!natsl_size_mul(&t->bytes, t->count, natsl_dtype_bytes(t->dtype)))
        return natsl_fail(NATSL_ERR_INPUT, "%s: tensor %.200s: its shape exceeds the address space", path, t->name);
    return NATSL_OK;
}

/** One entry of the header. `data` [length] is what follows it. */
static natsl_status get_tensor(const char *path, const char *name, const json_t *entry, const unsigned char *data,
                               size_t length, natsl_st_tensor *t)
{
    static const char *const keys[] = {"dtype", "shape", "data_offsets"};
    size_t begin = 0, end = 0;
    if (!json_is_object(entry)) return natsl_fail(NATSL_ERR_INPUT, "%s: tensor %.200s: expected an object", path, name);
    for (void *it = json_object_iter((json_t *)(uintptr_t)entry); it;
         it = json_object_iter_next((json_t *)(uintptr_t)entry, it)) {
        int known = 0;
        for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
            known |= strcmp(json_object_iter_key(it), keys[i]) == 0;
        if (!known)
            return natsl_fail(NATSL_ERR_INPUT, "%s: tensor %.200s: key %.40s is not known", path, name,
                              json_object_iter_key(it));
    }
    t->name = natsl_alloc(strlen(name) + 1, 1, "tensor name");
    if (!t->name) return NATSL_ERR_NOMEM;
    memcpy(t->name, name, strlen(name) + 1);
    natsl_status st = get_dtype(path, name, json_object_get(entry, "dtype"), &t->dtype);
    if (st == NATSL_OK) st = get_shape(path, json_object_get(entry, "shape"), t);
    if (st != NATSL_OK) return st;
    const json_t *offsets = json_object_get(entry, "data_offsets");
    if (json_array_size(offsets) != 2 || !get_size(json_array_get(offsets, 0), &begin) ||
        !get_size(json_array_get(offsets, 1), &end))
        return natsl_fail(NATSL_ERR_INPUT, "%s: tensor %.200s: data_offsets: expected two whole numbers from 0", path,
                          name);
    if (begin > end || end > length)
        return natsl_fail(NATSL_ERR_INPUT, "%s: tensor %.200s: bytes %zu to %zu, but the file has %zu after its header",
                          path, name, begin, end, length);
    if (end - begin != t->bytes)
        return natsl_fail(NATSL_ERR_INPUT, "%s: tensor %.200s: %zu bytes, but its shape and dtype %s take %zu", path,
                          name, end - begin, natsl_dtype_name(t->dtype), t->bytes);
    t->data = data + begin;
    return NATSL_OK;
}

/** `__metadata__` is an object of strings. What it says does not matter here. */
static natsl_status check_metadata(const char *path, json_t *value)
{
    int ok = json_is_object(value);
    for (void *it = json_object_iter(value); ok && it; it = json_object_iter_next(value, it))
        ok = json_is_string(json_object_iter_value(it));
    return ok ? NATSL_OK : natsl_fail(NATSL_ERR_INPUT, "%s: __metadata__: expected an object of strings", path);
}

static int by_place(const void *a, const void *b)
{
    const natsl_st_tensor *s = a, *t = b;
    if (s->data != t->data) return s->data < t->data ? -1 : 1;
    return s->bytes < t->bytes ? -1 : s->bytes > t->bytes; /* empty ones first */
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const natsl_st_tensor *)a)->name, ((const natsl_st_tensor *)b)->name);
}

/** Every byte of data [length] belongs to exactly one tensor. Leaves the tensors in the order of their names. */
static natsl_status check_cover(const char *path, const unsigned char *data, size_t length, natsl_st_file *f)
{
    const unsigned char *at = data;
    const char *before = NULL;
    qsort(f->tensors, f->count, sizeof *f->tensors, by_place);
    for (size_t i = 0; i < f->count; i++) {
        const natsl_st_tensor *t = &f->tensors[i];
        if (t->data < at)
            return natsl_fail(NATSL_ERR_INPUT, "%s: tensors %.200s and %.200s overlap", path, before, t->name);
        if (t->data > at)
            return natsl_fail(NATSL_ERR_INPUT, "%s: %zu bytes before tensor %.200s belong to none", path,
                              (size_t)(t->data - at), t->name);
        at = t->data + t->bytes;
        before = t->name;
    }
    if ((size_t)(at - data) != length)
        return natsl_fail(NATSL_ERR_INPUT, "%s: %zu bytes at its end belong to no tensor", path,
                          length - (size_t)(at - data));
    qsort(f->tensors, f->count, sizeof *f->tensors, by_name);
    return NATSL_OK;
}

/** Length of the header of a file in memory, checked. */
static natsl_status header_length(const char *path, const unsigned char *bytes, size_t length, size_t *out)
{
    uint64_t header = 0;
    if (length < PREFIX) return natsl_fail(NATSL_ERR_INPUT, "%s: %zu bytes, expected a safetensors file", path, length);
    for (int i = 0; i < PREFIX; i++) header |= (uint64_t)bytes[i] << (8 * i);
    if (header > NATSL_SAFETENSORS_HEADER)
        return natsl_fail(NATSL_ERR_INPUT, "%s: a header of %llu bytes, expected at most %zu: not a safetensors file?",
                          path, (unsigned long long)header, NATSL_SAFETENSORS_HEADER);
    if (header > length - PREFIX)
        return natsl_fail(NATSL_ERR_INPUT, "%s: a header of %llu bytes, but the file ends after %zu: truncated?", path,
                          (unsigned long long)header, length - PREFIX);
    if (header < 2 || bytes[PREFIX] != '{')
        return natsl_fail(NATSL_ERR_INPUT, "%s: its header does not begin with {, expected a safetensors file", path);
    *out = (size_t)header;
    return NATSL_OK;
}

natsl_status natsl_st_parse(const char *path, const void *bytes, size_t length, natsl_st_file *out)
{
    size_t header = 0;
    json_error_t e;
    memset(out, 0, sizeof *out);
    natsl_status st = header_length(path, bytes, length, &header);
    if (st != NATSL_OK) return st;
    const unsigned char *data = (const unsigned char *)bytes + PREFIX + header;
    const size_t rest = length - PREFIX - header;
    json_t *root = json_loadb((const char *)bytes + PREFIX, header, JSON_REJECT_DUPLICATES, &e);
    if (!root) return natsl_fail(NATSL_ERR_INPUT, "%s: header: byte %d: %s", path, e.position, e.text);
    if (!json_is_object(root)) {
        st = natsl_fail(NATSL_ERR_INPUT, "%s: header: expected a JSON object", path);
        goto cleanup;
    }
    out->tensors = natsl_calloc(json_object_size(root), sizeof *out->tensors, "tensor table");
    if (!out->tensors) {
        st = NATSL_ERR_NOMEM;
        goto cleanup;
    }
    for (void *it = json_object_iter(root); it; it = json_object_iter_next(root, it)) {
        const char *name = json_object_iter_key(it);
        json_t *entry = json_object_iter_value(it);
        if (strcmp(name, "__metadata__") == 0) {
            NATSL_TRY(st, cleanup, check_metadata(path, entry));
            continue;
        }
        out->count++; /* first, so that its name is freed */
        NATSL_TRY(st, cleanup, get_tensor(path, name, entry, data, rest, &out->tensors[out->count - 1]));
    }
    st = check_cover(path, data, rest, out);
cleanup:
    json_decref(root);
    if (st != NATSL_OK) natsl_st_close(out);
    return st;
}

natsl_status natsl_st_open(const char *path, natsl_st_file *out)
{
    struct stat s;
    natsl_status st = NATSL_OK;
    memset(out, 0, sizeof *out);
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* should it be a FIFO */
    if (fd < 0 || fstat(fd, &s) != 0) st = natsl_fail(NATSL_ERR_INPUT, "%s: %s", path, strerror(errno));
    else if (!S_ISREG(s.st_mode)) st = natsl_fail(NATSL_ERR_INPUT, "%s: not a regular file", path);
    else if (s.st_size < PREFIX)
        st = natsl_fail(NATSL_ERR_INPUT, "%s: %lld bytes, expected a safetensors file", path, (long long)s.st_size);
    if (st != NATSL_OK) {
        if (fd >= 0) (void)close(fd);
        return st;
    }
    const size_t length = (size_t)s.st_size;
    void *map = mmap(NULL, length, PROT_READ, MAP_PRIVATE, fd, 0);
    const int error = errno;
    (void)close(fd);
    if (map == MAP_FAILED) return natsl_fail(NATSL_ERR_IO, "%s: mapping it to memory: %s", path, strerror(error));
    st = natsl_st_parse(path, map, length, out);
    if (st != NATSL_OK) {
        (void)munmap(map, length);
        return st;
    }
    out->map = map;
    out->map_bytes = length;
    return NATSL_OK;
}

void natsl_st_close(natsl_st_file *file)
{
    for (size_t i = 0; i < file->count; i++) natsl_free(file->tensors[i].name);
    natsl_free(file->tensors);
    if (file->map) (void)munmap(file->map, file->map_bytes);
    memset(file, 0, sizeof *file);
}

const natsl_st_tensor *natsl_st_find(const natsl_st_file *file, const char *name)
{
    size_t low = 0, high = file->count;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        const int order = strcmp(name, file->tensors[middle].name);
        if (order == 0) return &file->tensors[middle];
        if (order < 0) high = middle;
        else low = middle + 1;
    }
    return NULL;
}

void natsl_st_advise(const natsl_st_file *file, const unsigned char *data, size_t bytes, int begins)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    if (!file->map || bytes == 0) return;
    size_t first = (size_t)(data - (const unsigned char *)file->map);
    const size_t end = first + bytes;
    first -= first % page; /* a page shared with a neighbour is read again: it is in the file */
    (void)madvise((char *)file->map + first, end - first, begins ? MADV_WILLNEED : MADV_DONTNEED);
}
