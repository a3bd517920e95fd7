/* safetensors_out.c - writing. See safetensors.h. */
#include "safetensors.h"

#include "core.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Tensors begin at multiples of this: the header is padded with blanks, as the format's own library does. */
#define ALIGNMENT 8

/** "name": {"dtype": ..., "shape": [...], "data_offsets": [...]}; takes *at to the tensor's end. */
static int add(json_t *root, const natsl_st_tensor *t, size_t *at)
{
    json_t *shape = json_array(), *offsets = json_array(), *entry = json_object();
    int bad = !shape || !offsets || !entry;
    for (int i = 0; !bad && i < t->rank; i++)
        bad = json_array_append_new(shape, json_integer((json_int_t)t->shape[i])) != 0;
    if (!bad) bad = json_array_append_new(offsets, json_integer((json_int_t)*at)) != 0;
    *at += t->bytes;
    if (!bad) bad = json_array_append_new(offsets, json_integer((json_int_t)*at)) != 0;
    if (!bad) bad = json_object_set_new(entry, "dtype", json_string(natsl_dtype_name(t->dtype))) != 0;
    if (!bad) bad = json_object_set(entry, "shape", shape) != 0;
    if (!bad) bad = json_object_set(entry, "data_offsets", offsets) != 0;
    if (!bad) bad = json_object_set(root, t->name, entry) != 0;
    json_decref(shape);
    json_decref(offsets);
    json_decref(entry);
    return bad;
}

natsl_status natsl_st_create(const char *path, const natsl_st_tensor *const *tensors, size_t count, natsl_st_out *out)
{
    static const char blanks[ALIGNMENT + 1] = "        ";
    unsigned char prefix[8];
    size_t bytes = 0;
    *out = (natsl_st_out){.path = path};
    /* {"format": "pt"} is what makes other programs take the file for a model's */
    json_t *root = json_object(), *metadata = json_pack("{s:s}", "format", "pt");
    int bad = !root || json_object_set_new(root, "__metadata__", metadata) != 0;
    for (size_t i = 0; !bad && i < count; i++) bad = add(root, tensors[i], &bytes);
    char *text = bad ? NULL : json_dumps(root, JSON_COMPACT);
    json_decref(root);
    if (!text) return natsl_fail(NATSL_ERR_NOMEM, "out of memory: header of %s", path);
    const size_t length = strlen(text), pad = (ALIGNMENT - length % ALIGNMENT) % ALIGNMENT;
    for (int i = 0; i < 8; i++) prefix[i] = (unsigned char)((uint64_t)(length + pad) >> (8 * i));
    out->left = sizeof prefix + length + pad + bytes;
    errno = 0;
    out->file = fopen(path, "wbx");
    natsl_status st = out->file ? NATSL_OK : natsl_fail(NATSL_ERR_IO, "%s: %s", path, strerror(errno));
    if (st == NATSL_OK) st = natsl_st_write(out, prefix, sizeof prefix);
    if (st == NATSL_OK) st = natsl_st_write(out, text, length);
    if (st == NATSL_OK) st = natsl_st_write(out, blanks, pad);
    free(text);
    return st == NATSL_OK ? st : natsl_st_finish(out, st);
}

natsl_status natsl_st_write(natsl_st_out *out, const void *bytes, size_t count)
{
    if (count > out->left) return natsl_fail(NATSL_ERR_INTERNAL, "%s: more bytes than its header says", out->path);
    errno = 0;
    if (count > 0 && fwrite(bytes, 1, count, out->file) != count)
        return natsl_fail(NATSL_ERR_IO, "%s: %s", out->path, errno ? strerror(errno) : "writing failed");
    out->left -= count;
    return NATSL_OK;
}

natsl_status natsl_st_finish(natsl_st_out *out, natsl_status st)
{
    if (!out->file) return st;
    errno = 0;
    if (st == NATSL_OK && out->left > 0)
        st = natsl_fail(NATSL_ERR_INTERNAL, "%s: fewer bytes than its header says", out->path);
    if (st == NATSL_OK && (fflush(out->file) != 0 || fsync(fileno(out->file)) != 0))
        st = natsl_fail(NATSL_ERR_IO, "%s: %s", out->path, errno ? strerror(errno) : "writing failed");
    if (fclose(out->file) != 0 && st == NATSL_OK)
        st = natsl_fail(NATSL_ERR_IO, "%s: %s", out->path, errno ? strerror(errno) : "writing failed");
    out->file = NULL;
    return st;
}
