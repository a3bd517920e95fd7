/* checkpoint.c - see checkpoint.h. */
#include "checkpoint.h"
#include "tensors.h"

#include "agree.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define GROUP      "training"
#define SPEC       GROUP "/configuration"
#define SPEC_LIMIT ((size_t)1 << 20)

/* ---- writing --------------------------------------------------------------------------------------------------------------- */

static natsl_status put_training(const natsl_h5_out *out, const natsl_checkpoint *c)
{
    const hid_t group = H5Gopen2(out->file, GROUP, H5P_DEFAULT);
    if (group < 0) return natsl_fail(NATSL_ERR_IO, "%s: creating " GROUP " failed", out->path);
    natsl_status st = natsl_h5_put_int(group, out->path, "step", c->step);
    if (st == NATSL_OK) st = natsl_h5_put_int(group, out->path, "updates", c->updates);
    if (st == NATSL_OK) st = natsl_h5_put_real(group, out->path, "expected_kept", c->expected);
    (void)H5Gclose(group);
    return st;
}

/** Rows [first, last) of a new dataset by this rank, floats (or bytes). `mine` collects this rank's trouble: it goes on with the
 * others' steps. */
static natsl_status put_rows(natsl_h5_out *out, const char *name, int bytes, int rank, const hsize_t *shape,
                             size_t first, size_t last, size_t row_bytes, const void *from, natsl_status *mine)
{
    hid_t dataset = -1;
    const natsl_status st =
        natsl_h5_new_dataset(out, name, bytes ? H5T_STD_U8LE : H5T_IEEE_F32LE, rank, shape, &dataset);
    if (st != NATSL_OK) return st;
    if (*mine == NATSL_OK && last > first)
        *mine = natsl_h5_write_rows(dataset, out->path, name, bytes ? H5T_NATIVE_UINT8 : H5T_NATIVE_FLOAT,
                                    (int64_t)first, (int64_t)(last - first), row_bytes, from);
    if (H5Dclose(dataset) < 0 && *mine == NATSL_OK)
        *mine = natsl_fail(NATSL_ERR_IO, "%s: writing %s failed", out->path, name);
    return NATSL_OK;
}

static natsl_status put_special(const natsl_h5_out *out, const natsl_model_info *info)
{
    int64_t ends[NATSL_MAX_EOS];
    natsl_status st = NATSL_OK;
    for (int32_t i = 0; i < info->n_eos; i++) ends[i] = info->eos_tokens[i];
    const int64_t begins = info->bos_token;
    if (begins >= 0) st = natsl_h5_put_ints(out->file, out->path, "bos_token_id", &begins, 1);
    if (st == NATSL_OK && info->n_eos > 0)
        st = natsl_h5_put_ints(out->file, out->path, "eos_token_id", ends, (size_t)info->n_eos);
    return st;
}

static natsl_status put_arrays(natsl_h5_out *out, const natsl_layout *layout, const natsl_checkpoint *c, int rank,
                               natsl_status *mine)
{
    natsl_status st = natsl_tensors_put(out, layout, H5T_IEEE_F32LE, c->weights, mine);
    const hsize_t bytes = c->json_length;
    if (st == NATSL_OK && c->json)
        st = put_rows(out, "tokenizer_json", 1, 1, &bytes, 0, rank == 0 ? c->json_length : 0, 1, c->json, mine);
    if (!c->spec) return st;
    const hsize_t floats = layout->floats, length = strlen(c->spec); /* an attribute could not have more than 64 KiB */
    if (st == NATSL_OK)
        st = put_rows(out, GROUP "/first_moment", 0, 1, &floats, c->first, c->last, sizeof(float), c->first_moment,
                      mine);
    if (st == NATSL_OK)
        st = put_rows(out, GROUP "/second_moment", 0, 1, &floats, c->first, c->last, sizeof(float), c->second_moment,
                      mine);
    if (st == NATSL_OK) st = put_rows(out, SPEC, 1, 1, &length, 0, rank == 0 ? (size_t)length : 0, 1, c->spec, mine);
    return st;
}

natsl_status natsl_checkpoint_write(MPI_Comm comm, const char *path, const natsl_config *config, const char *tokenizer,
                                    const char *origin, const natsl_layout *layout, const natsl_checkpoint *c)
{
    natsl_h5_out out;
    int rank = 0;
    natsl_status st = natsl_h5_create(comm, path, &out), mine = NATSL_OK;
    if (st != NATSL_OK) return st;
    out.sealed = c->spec != NULL;
    NATSL_MPI(MPI_Comm_rank(comm, &rank));
    st = natsl_agree(comm, natsl_model_head_put(&out, config, tokenizer, origin, c->kept_share));
    if (st == NATSL_OK && c->special) st = natsl_agree(comm, put_special(&out, c->special));
    if (st == NATSL_OK) st = put_arrays(&out, layout, c, rank, &mine);
    if (st == NATSL_OK && c->spec) st = natsl_agree(comm, put_training(&out, c));
    return natsl_h5_finish(&out, st == NATSL_OK ? mine : st);
}

/* ---- reading --------------------------------------------------------------------------------------------------------------- */

static natsl_status get_rows(hid_t file, const char *path, const char *name, int rank, const hsize_t *shape,
                             size_t first, size_t last, size_t width, float *to)
{
    hid_t dataset = -1;
    natsl_status st = natsl_h5_dataset(file, path, name, H5T_FLOAT, rank, shape, &dataset);
    if (st != NATSL_OK) return st;
    if (last > first)
        st = natsl_h5_read_rows(dataset, path, name, H5T_NATIVE_FLOAT, (int64_t)first, (int64_t)(last - first),
                                width * sizeof(float), to);
    (void)H5Dclose(dataset);
    for (size_t i = 0; st == NATSL_OK && i < (last - first) * width; i++) {
        if (!isfinite(to[i]))
            st = natsl_fail(NATSL_ERR_INPUT, "%s: %s: value %zu is not finite", path, name, first * width + i);
    }
    return st;
}

static natsl_status get_weights(hid_t file, const char *path, const natsl_layout *layout, float *flat)
{
    natsl_status st = NATSL_OK;
    memset(flat, 0, layout->floats * sizeof *flat); /* gaps */
    for (size_t i = 0; st == NATSL_OK && i < layout->count; i++)
        st = natsl_tensor_get(file, path, &layout->tensors[i], flat + layout->tensors[i].offset);
    return st;
}

natsl_status natsl_model_file_read_flat(const char *path, const natsl_layout *layout, float *flat)
{
    hid_t file = -1;
    natsl_status st = natsl_h5_open(path, &file);
    if (st != NATSL_OK) return st;
    st = get_weights(file, path, layout, flat);
    (void)H5Fclose(file);
    return st;
}

static natsl_status get_training(hid_t file, const char *path, natsl_checkpoint *c)
{
    natsl_status st = natsl_h5_stored_here(file, path, GROUP);
    if (st != NATSL_OK) return st;
    const hid_t group = H5Gopen2(file, GROUP, H5P_DEFAULT);
    if (group < 0) return natsl_fail(NATSL_ERR_INPUT, "%s: " GROUP " is not a group", path);
    st = natsl_h5_int(group, path, "step", &c->step);
    if (st == NATSL_OK) st = natsl_h5_int(group, path, "updates", &c->updates);
    if (st == NATSL_OK) st = natsl_h5_real(group, path, "expected_kept", &c->expected);
    if (st == NATSL_OK && (c->step < 0 || c->updates < 0 || c->updates > c->step))
        st = natsl_fail(NATSL_ERR_INPUT,
                        "%s: step %lld with %lld updates, expected no negative number and no more updates", path,
                        (long long)c->step, (long long)c->updates);
    /* the first trainings wrote it as an attribute */
    const int attribute = st == NATSL_OK && H5Aexists(group, "configuration") > 0;
    if (attribute) st = natsl_h5_text(group, path, "configuration", SPEC_LIMIT, &c->spec);
    (void)H5Gclose(group);
    size_t length = 0;
    return st == NATSL_OK && !attribute ? natsl_h5_bytes(file, path, SPEC, SPEC_LIMIT, &c->spec, &length) : st;
}

natsl_status natsl_checkpoint_read(const char *path, const natsl_config *config, const natsl_layout *layout,
                                   natsl_checkpoint *c)
{
    natsl_model_info info;
    hid_t file = -1;
    char *own = natsl_config_json(config), *other = NULL;
    natsl_status st = own ? natsl_model_file_info(path, &info) : NATSL_ERR_NOMEM;
    if (st == NATSL_OK && !(other = natsl_config_json(&info.config)))
        st = natsl_fail(NATSL_ERR_NOMEM, "out of memory: configuration");
    if (st == NATSL_OK && strcmp(own, other) != 0)
        st = natsl_fail(NATSL_ERR_INPUT, "%s: a checkpoint of a model with another configuration", path);
    free(own);
    free(other);
    if (st == NATSL_OK) st = natsl_h5_open(path, &file);
    if (st != NATSL_OK) return st;
    c->spec = NULL;
    c->kept_share = info.kept_share;
    const hsize_t floats = layout->floats;
    st = get_training(file, path, c);
    if (st == NATSL_OK) st = get_weights(file, path, layout, c->weights);
    if (st == NATSL_OK)
        st = get_rows(file, path, GROUP "/first_moment", 1, &floats, c->first, c->last, 1, c->first_moment);
    if (st == NATSL_OK)
        st = get_rows(file, path, GROUP "/second_moment", 1, &floats, c->first, c->last, 1, c->second_moment);
    (void)H5Fclose(file);
    if (st != NATSL_OK) {
        natsl_free(c->spec);
        c->spec = NULL;
    }
    return st;
}
