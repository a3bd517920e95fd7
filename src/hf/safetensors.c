/* safetensors.c - reading. See safetensors.h; writing is safetensors_out.c. */
#include "safetensors.h"

#include "core.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
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

/** One entry of the header, which ends at byte `data` of the file; `length` bytes follow it. */
static natsl_status get_tensor(const char *path, const char *name, const json_t *entry, size_t data, size_t length,
                               natsl_st_tensor *t)
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
    t->at = data + begin;
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
    if (s->at != t->at) return s->at < t->at ? -1 : 1;
    return s->bytes < t->bytes ? -1 : s->bytes > t->bytes; /* empty ones first */
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const natsl_st_tensor *)a)->name, ((const natsl_st_tensor *)b)->name);
}

/** Every byte of the file from `data` to its end belongs to exactly one tensor. Leaves the tensors in the order of their names. */
static natsl_status check_cover(const char *path, size_t data, size_t end, natsl_st_file *f)
{
    size_t at = data;
    const char *before = NULL;
    qsort(f->tensors, f->count, sizeof *f->tensors, by_place);
    for (size_t i = 0; i < f->count; i++) {
        const natsl_st_tensor *t = &f->tensors[i];
        if (t->at < at)
            return natsl_fail(NATSL_ERR_INPUT, "%s: tensors %.200s and %.200s overlap", path, before, t->name);
        if (t->at > at)
            return natsl_fail(NATSL_ERR_INPUT, "%s: %zu bytes before tensor %.200s belong to none", path, t->at - at,
                              t->name);
        at = t->at + t->bytes;
        before = t->name;
    }
    if (at != end) return natsl_fail(NATSL_ERR_INPUT, "%s: %zu bytes at its end belong to no tensor", path, end - at);
    qsort(f->tensors, f->count, sizeof *f->tensors, by_name);
    return NATSL_OK;
}

/** Length of the header of a file of `length` bytes, by its first ones. */
static natsl_status header_length(const char *path, const unsigned char prefix[PREFIX], size_t length, size_t *out)
{
    uint64_t header = 0;
    for (int i = 0; i < PREFIX; i++) header |= (uint64_t)prefix[i] << (8 * i);
    if (header > NATSL_SAFETENSORS_HEADER)
        return natsl_fail(NATSL_ERR_INPUT, "%s: a header of %llu bytes, expected at most %zu: not a safetensors file?",
                          path, (unsigned long long)header, NATSL_SAFETENSORS_HEADER);
    if (header > length - PREFIX)
        return natsl_fail(NATSL_ERR_INPUT, "%s: a header of %llu bytes, but the file ends after %zu: truncated?", path,
                          (unsigned long long)header, length - PREFIX);
    *out = (size_t)header;
    return NATSL_OK;
}

/** The tensors that a header names; the file is `length` bytes long. */
static natsl_status read_header(const char *path, const char *text, size_t header, size_t length, natsl_st_file *out)
{
    json_error_t e;
    natsl_status st = NATSL_OK;
    if (header < 2 || text[0] != '{')
        return natsl_fail(NATSL_ERR_INPUT, "%s: its header does not begin with {, expected a safetensors file", path);
    json_t *root = json_loadb(text, header, JSON_REJECT_DUPLICATES, &e);
    if (!root) return natsl_fail(NATSL_ERR_INPUT, "%s: header: byte %d: %s", path, e.position, e.text);
    out->tensors = natsl_calloc(json_object_size(root), sizeof *out->tensors, "tensor table");
    if (!out->tensors) st = NATSL_ERR_NOMEM;
    for (void *it = json_object_iter(root); st == NATSL_OK && it; it = json_object_iter_next(root, it)) {
        const char *name = json_object_iter_key(it);
        json_t *entry = json_object_iter_value(it);
        if (strcmp(name, "__metadata__") == 0) {
            st = check_metadata(path, entry);
        } else {
            out->count++; /* first, so that its name is freed */
            st =
                get_tensor(path, name, entry, PREFIX + header, length - PREFIX - header, &out->tensors[out->count - 1]);
        }
    }
    json_decref(root);
    return st == NATSL_OK ? check_cover(path, PREFIX + header, length, out) : st;
}

static natsl_status too_short(const char *path, size_t length)
{
    return natsl_fail(NATSL_ERR_INPUT, "%s: %zu bytes, expected a safetensors file", path, length);
}

natsl_status natsl_st_parse(const char *path, const void *bytes, size_t length, natsl_st_file *out)
{
    size_t header = 0;
    memset(out, 0, sizeof *out);
    natsl_status st = length < PREFIX ? too_short(path, length) : header_length(path, bytes, length, &header);
    if (st == NATSL_OK) st = read_header(path, (const char *)bytes + PREFIX, header, length, out);
    if (st != NATSL_OK) natsl_st_close(out);
    return st;
}

/** Bytes [at, at + bytes) of the file, which is open: all of them, or an error. */
static natsl_status get_bytes(const natsl_st_file *f, size_t at, size_t bytes, void *to)
{
    for (size_t done = 0; done < bytes;) { /* at + bytes: within the file's length, an off_t */
        const ssize_t n = pread(f->fd, (char *)to + done, bytes - done, (off_t)(at + done));
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return natsl_fail(NATSL_ERR_IO, "%s: reading it: %s", f->path, strerror(errno));
        if (n == 0)
            return natsl_fail(NATSL_ERR_INPUT, "%s: it ends after %zu bytes, but had %zu: cut short while it is read",
                              f->path, at + done, f->length);
        done += (size_t)n;
    }
    return NATSL_OK;
}

/** Opens the file of that path: f->fd, and what it is in *s. */
static natsl_status open_file(natsl_st_file *f, struct stat *s)
{
    f->fd = open(f->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* should it be a FIFO */
    if (f->fd < 0 || fstat(f->fd, s) != 0) return natsl_fail(NATSL_ERR_INPUT, "%s: %s", f->path, strerror(errno));
    if (!S_ISREG(s->st_mode)) return natsl_fail(NATSL_ERR_INPUT, "%s: not a regular file", f->path);
    return NATSL_OK;
}

natsl_status natsl_st_open(const char *path, natsl_st_file *out)
{
    struct stat s;
    unsigned char prefix[PREFIX];
    size_t header = 0;
    char *text = NULL;
    natsl_status st = NATSL_OK;
    memset(out, 0, sizeof *out);
    out->path = natsl_alloc(strlen(path) + 1, 1, "file name");
    if (!out->path) return NATSL_ERR_NOMEM;
    memcpy(out->path, path, strlen(path) + 1);
    NATSL_TRY(st, failed, open_file(out, &s));
    out->length = (size_t)s.st_size;
    out->modified = s.st_mtim;
    if (out->length < PREFIX) NATSL_TRY(st, failed, too_short(path, out->length));
    NATSL_TRY(st, failed, get_bytes(out, 0, PREFIX, prefix));
    NATSL_TRY(st, failed, header_length(path, prefix, out->length, &header));
    if (!(text = natsl_alloc(header, 1, "header of a safetensors file"))) st = NATSL_ERR_NOMEM;
    if (st == NATSL_OK) st = get_bytes(out, PREFIX, header, text);
    if (st == NATSL_OK) st = read_header(path, text, header, out->length, out);
    natsl_free(text);
    if (st != NATSL_OK) goto failed;
    natsl_st_rest(out);
    return NATSL_OK;
failed:
    natsl_st_close(out);
    return st;
}

/** Whether the file is the one that was opened first, as far as its length and its time say. */
static natsl_status check_same(const natsl_st_file *f, const struct stat *s)
{
    if ((size_t)s->st_size == f->length && s->st_mtim.tv_sec == f->modified.tv_sec &&
        s->st_mtim.tv_nsec == f->modified.tv_nsec)
        return NATSL_OK;
    return natsl_fail(NATSL_ERR_INPUT, "%s: it has been changed while it is read", f->path);
}

natsl_status natsl_st_read(natsl_st_file *f, const natsl_st_tensor *t, size_t at, size_t bytes, void *to)
{
    struct stat s;
    if (!f->path || at > t->bytes || bytes > t->bytes - at)
        return natsl_fail(NATSL_ERR_INTERNAL, "tensor %.200s: bytes that it does not have", t->name);
    if (f->fd < 0) {
        natsl_status st = open_file(f, &s);
        if (st == NATSL_OK) st = check_same(f, &s);
        if (st != NATSL_OK) {
            natsl_st_rest(f);
            return st;
        }
    }
    const natsl_status st = get_bytes(f, t->at + at, bytes, to);
    if (st != NATSL_OK) return st;
    if (fstat(f->fd, &s) != 0) return natsl_fail(NATSL_ERR_IO, "%s: %s", f->path, strerror(errno));
    return check_same(f, &s); /* what was read may be from before and after a change */
}

void natsl_st_rest(natsl_st_file *file)
{
    if (file->path && file->fd >= 0) (void)close(file->fd);
    file->fd = -1;
}

void natsl_st_close(natsl_st_file *file)
{
    for (size_t i = 0; i < file->count; i++) natsl_free(file->tensors[i].name);
    natsl_free(file->tensors);
    natsl_st_rest(file);
    natsl_free(file->path);
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
