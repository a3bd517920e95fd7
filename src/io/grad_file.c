/* grad_file.c - gradient files, written by all ranks together. Format: README.md, "Files"; oracle_grad.py. */
#include "files.h"
#include "h5.h"

#include "agree.h"
#include <stdlib.h>

/** Attributes of the root; the same steps on all ranks, each of which needs its own memory for the text. */
static natsl_status put_attributes(const natsl_h5_out *out, const natsl_config *config, int64_t tokens, double loss)
{
    char *json = natsl_config_json(config);
    natsl_status st =
        natsl_agree(out->comm, json ? NATSL_OK : natsl_fail(NATSL_ERR_NOMEM, "out of memory: configuration"));
    if (st == NATSL_OK) {
        st = natsl_h5_put_text(out->file, out->path, "format", "natsl-grad");
        if (st == NATSL_OK) st = natsl_h5_put_int(out->file, out->path, "format_version", 1);
        if (st == NATSL_OK) st = natsl_h5_put_text(out->file, out->path, "config", json);
        if (st == NATSL_OK) st = natsl_h5_put_int(out->file, out->path, "tokens", tokens);
        if (st == NATSL_OK) st = natsl_h5_put_real(out->file, out->path, "loss", loss);
        st = natsl_agree(out->comm, st);
    }
    free(json);
    return st;
}

natsl_status natsl_grad_file_write(MPI_Comm comm, const char *path, const natsl_config *config,
                                   const natsl_layout *layout, const float *flat, int64_t tokens, double loss)
{
    natsl_h5_out out;
    int rank = 0, size = 1;
    natsl_status st = natsl_h5_create(comm, path, &out), mine = NATSL_OK;
    if (st != NATSL_OK) return st;
    NATSL_MPI(MPI_Comm_rank(comm, &rank));
    NATSL_MPI(MPI_Comm_size(comm, &size));
    st = put_attributes(&out, config, tokens, loss);
    for (size_t i = 0; st == NATSL_OK && i < layout->count; i++) {
        const natsl_tensor *t = &layout->tensors[i];
        char name[sizeof t->name];
        hsize_t shape[3];
        hid_t dataset = -1;
        natsl_tensor_object_name(t, name);
        for (int k = 0; k < t->rank; k++) shape[k] = t->shape[k];
        if ((st = natsl_h5_new_dataset(&out, name, H5T_IEEE_F64LE, t->rank, shape, &dataset)) != NATSL_OK) break;
        /* a rank in trouble goes on with the others' steps and tells them at the end */
        const size_t rows = t->shape[0], width = t->count / rows, p = (size_t)rank, n = (size_t)size;
        const size_t first = rows / n * p + rows % n * p / n, last = rows / n * (p + 1) + rows % n * (p + 1) / n;
        if (mine == NATSL_OK && last > first)
            mine = natsl_h5_write_rows(dataset, path, name, H5T_NATIVE_FLOAT, (int64_t)first, (int64_t)(last - first),
                                       width * sizeof(float), flat + t->offset + first * width);
        if (H5Dclose(dataset) < 0 && mine == NATSL_OK)
            mine = natsl_fail(NATSL_ERR_IO, "%s: writing %s failed", path, name);
    }
    return natsl_h5_finish(&out, st == NATSL_OK ? mine : st);
}
