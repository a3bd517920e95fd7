/* grad_file.c - gradient files, written by all ranks together. Format: README.md, "Files"; oracle_grad.py. */
#include "tensors.h"

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
    natsl_status st = natsl_h5_create(comm, path, &out), mine = NATSL_OK;
    if (st != NATSL_OK) return st;
    st = put_attributes(&out, config, tokens, loss);
    if (st == NATSL_OK) st = natsl_tensors_put(&out, layout, H5T_IEEE_F64LE, flat, &mine);
    return natsl_h5_finish(&out, st == NATSL_OK ? mine : st);
}
