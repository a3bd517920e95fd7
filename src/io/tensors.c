/* tensors.c - see tensors.h. */
#include "tensors.h"

#include "agree.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

void natsl_tensor_object_name(const natsl_tensor *t, char *name)
{
    size_t i = 0;
    for (; t->name[i]; i++) name[i] = t->name[i] == '.' ? '/' : t->name[i];
    name[i] = '\0';
}

static natsl_status put_tokenizer(const natsl_h5_out *out, const char *tokenizer)
{
    const hid_t group = H5Gcreate2(out->file, "tokenizer", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    if (group < 0) return natsl_fail(NATSL_ERR_IO, "%s: creating tokenizer failed", out->path);
    const natsl_status st = natsl_h5_put_text(group, out->path, "kind", tokenizer);
    (void)H5Gclose(group);
    return st;
}

natsl_status natsl_model_head_put(const natsl_h5_out *out, const natsl_config *config, const char *tokenizer,
                                  const char *origin, double kept_share)
{
    char *json = natsl_config_json(config);
    natsl_status st = json ? NATSL_OK : natsl_fail(NATSL_ERR_NOMEM, "out of memory: configuration");
    /* every rank needs the text: the steps below are taken by all or by none */
    if (out->comm != MPI_COMM_NULL) st = natsl_agree(out->comm, st);
    if (st == NATSL_OK) st = natsl_h5_put_text(out->file, out->path, "format", "natsl-model");
    if (st == NATSL_OK) st = natsl_h5_put_int(out->file, out->path, "format_version", 1);
    if (st == NATSL_OK) st = natsl_h5_put_text(out->file, out->path, "config", json);
    if (st == NATSL_OK) st = natsl_h5_put_text(out->file, out->path, "origin", origin ? origin : "");
    if (st == NATSL_OK && kept_share > 0.0) st = natsl_h5_put_real(out->file, out->path, "kept_share", kept_share);
    if (st == NATSL_OK && tokenizer && strcmp(tokenizer, "json") == 0)
        st = natsl_h5_put_text(out->file, out->path, "tokenizer", tokenizer);
    else if (st == NATSL_OK && tokenizer) st = put_tokenizer(out, tokenizer);
    free(json);
    return st;
}

static void shape_of(const natsl_tensor *t, hsize_t shape[3])
{
    for (int k = 0; k < t->rank; k++) shape[k] = t->shape[k];
}

natsl_status natsl_tensors_put(natsl_h5_out *out, const natsl_layout *layout, hid_t type, const float *flat,
                               natsl_status *mine)
{
    natsl_status st = NATSL_OK;
    int rank = 0, size = 1;
    if (out->comm != MPI_COMM_NULL) {
        NATSL_MPI(MPI_Comm_rank(out->comm, &rank));
        NATSL_MPI(MPI_Comm_size(out->comm, &size));
    }
    for (size_t i = 0; st == NATSL_OK && i < layout->count; i++) {
        const natsl_tensor *t = &layout->tensors[i];
        char name[sizeof t->name];
        hsize_t shape[3];
        hid_t dataset = -1;
        natsl_tensor_object_name(t, name);
        shape_of(t, shape);
        if ((st = natsl_h5_new_dataset(out, name, type, t->rank, shape, &dataset)) != NATSL_OK) break;
        const size_t rows = t->shape[0], width = t->count / rows, p = (size_t)rank, n = (size_t)size;
        const size_t first = rows / n * p + rows % n * p / n, last = rows / n * (p + 1) + rows % n * (p + 1) / n;
        if (*mine == NATSL_OK && last > first)
            *mine =
                natsl_h5_write_rows(dataset, out->path, name, H5T_NATIVE_FLOAT, (int64_t)first, (int64_t)(last - first),
                                    width * sizeof(float), flat + t->offset + first * width);
        if (H5Dclose(dataset) < 0 && *mine == NATSL_OK)
            *mine = natsl_fail(NATSL_ERR_IO, "%s: writing %s failed", out->path, name);
    }
    return st;
}

hid_t natsl_tensor_type(natsl_dtype dtype)
{
    const hid_t type = H5Tcopy(H5T_IEEE_F32LE);
    const int half = dtype == NATSL_DTYPE_F16;
    const size_t exponent = half ? 5 : 8, mantissa = half ? 10 : 7;
    if (dtype == NATSL_DTYPE_F32 || type < 0) return type;
    /* sign, exponent, mantissa; the fields first, so that the size still holds them */
    if (H5Tset_fields(type, 15, mantissa, exponent, 0, mantissa) >= 0 && H5Tset_size(type, 2) >= 0 &&
        H5Tset_ebias(type, half ? 15 : 127) >= 0)
        return type;
    (void)H5Tclose(type);
    return -1;
}

natsl_dtype natsl_tensor_dtype(hid_t dataset)
{
    natsl_dtype found = NATSL_DTYPE_F32;
    const hid_t type = H5Dget_type(dataset);
    if (type >= 0 && H5Tget_size(type) == 2) {
        for (int d = NATSL_DTYPE_F16; d <= NATSL_DTYPE_BF16; d++) {
            const hid_t known = natsl_tensor_type((natsl_dtype)d);
            if (known >= 0 && H5Tequal(type, known) > 0) found = (natsl_dtype)d;
            if (known >= 0) (void)H5Tclose(known);
        }
    }
    if (type >= 0) (void)H5Tclose(type);
    return found;
}

natsl_status natsl_tensor_open(hid_t file, const char *path, const natsl_tensor *t, hid_t *dataset)
{
    char name[sizeof t->name];
    hsize_t shape[3];
    natsl_tensor_object_name(t, name);
    shape_of(t, shape);
    return natsl_h5_dataset(file, path, name, H5T_FLOAT, t->rank, shape, dataset);
}

natsl_status natsl_tensor_read(hid_t dataset, const char *path, const natsl_tensor *t, natsl_dtype dtype, void *to)
{
    /* 16-bit numbers are read as they stand: HDF5 would turn each into float32 by itself, field by field */
    const hid_t type = dtype == NATSL_DTYPE_F32 ? H5Tcopy(H5T_NATIVE_FLOAT) : natsl_tensor_type(dtype);
    char name[sizeof t->name];
    if (type < 0) return natsl_fail(NATSL_ERR_NOMEM, "out of memory: a type of HDF5");
    natsl_tensor_object_name(t, name);
    const natsl_status st = natsl_h5_read_rows(dataset, path, name, type, 0, (int64_t)t->shape[0],
                                               t->count / t->shape[0] * natsl_dtype_bytes(dtype), to);
    (void)H5Tclose(type);
    return st;
}

natsl_status natsl_tensor_get(hid_t file, const char *path, const natsl_tensor *t, float *to)
{
    hid_t dataset = -1;
    natsl_status st = natsl_tensor_open(file, path, t, &dataset);
    if (st != NATSL_OK) return st;
    const natsl_dtype dtype = natsl_tensor_dtype(dataset);
    char *end = (char *)(to + t->count) - t->count * natsl_dtype_bytes(dtype); /* into the last bytes, then wider */
    st = natsl_tensor_read(dataset, path, t, dtype, end);
    (void)H5Dclose(dataset);
    if (st != NATSL_OK) return st;
    natsl_dtype_widen(dtype, t->count, end, to);
    const size_t bad = natsl_dtype_not_finite(NATSL_DTYPE_F32, t->count, to);
    if (bad == t->count) return NATSL_OK;
    return natsl_fail(NATSL_ERR_INPUT, "%s: tensor %s: value %zu is %s, expected finite numbers", path, t->name, bad,
                      isnan(to[bad]) ? "NaN" : "infinite");
}
