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
    if (st == NATSL_OK && tokenizer && strcmp(tokenizer, "none") != 0) st = put_tokenizer(out, tokenizer);
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

natsl_status natsl_tensor_get(hid_t file, const char *path, const natsl_tensor *t, float *to)
{
    char name[sizeof t->name];
    hsize_t shape[3];
    hid_t dataset = -1;
    natsl_tensor_object_name(t, name);
    shape_of(t, shape);
    natsl_status st = natsl_h5_dataset(file, path, name, H5T_FLOAT, t->rank, shape, &dataset);
    if (st != NATSL_OK) return st;
    st = natsl_h5_read_rows(dataset, path, name, H5T_NATIVE_FLOAT, 0, (int64_t)t->shape[0],
                            t->count / t->shape[0] * sizeof(float), to);
    (void)H5Dclose(dataset);
    for (size_t k = 0; st == NATSL_OK && k < t->count; k++) {
        if (!isfinite(to[k]))
            st = natsl_fail(NATSL_ERR_INPUT, "%s: tensor %s: value %zu is %s, expected finite numbers", path, t->name,
                            k, isnan(to[k]) ? "NaN" : "infinite");
    }
    return st;
}
