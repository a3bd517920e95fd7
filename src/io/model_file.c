/* model_file.c - model files. Format: README.md, "Files". */
#include "tensors.h"

#include "agree.h"
#include "tokenizer.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/** Which tokenizer the file names: a group `tokenizer` with its kind, or the attribute `tokenizer` of an imported model. A file that
 * says nothing means bytes, where its vocabulary has them. */
static natsl_status get_tokenizer(hid_t file, const char *path, natsl_model_info *info)
{
    char *kind = NULL;
    natsl_status st = NATSL_OK;
    (void)snprintf(info->tokenizer, sizeof info->tokenizer, "%s", natsl_tokenizer_unnamed(info->config.vocab_size));
    if (H5Aexists(file, "tokenizer") > 0) {
        st = natsl_h5_text(file, path, "tokenizer", 64, &kind);
        if (st == NATSL_OK && strcmp(kind, "json") != 0)
            st = natsl_fail(NATSL_ERR_INPUT, "%s: attribute tokenizer is %s, expected json", path, kind);
        if (st == NATSL_OK) st = natsl_h5_stored_here(file, path, "tokenizer_json");
        if (st == NATSL_OK) (void)snprintf(info->tokenizer, sizeof info->tokenizer, "json");
    } else if (H5Lexists(file, "tokenizer", H5P_DEFAULT) > 0) {
        if ((st = natsl_h5_stored_here(file, path, "tokenizer")) != NATSL_OK) return st;
        const hid_t group = H5Gopen2(file, "tokenizer", H5P_DEFAULT);
        st = group < 0 ? natsl_fail(NATSL_ERR_INPUT, "%s: tokenizer is not a group", path)
                       : natsl_h5_text(group, path, "kind", 64, &kind);
        if (group >= 0) (void)H5Gclose(group);
        const int none = st == NATSL_OK && strcmp(kind, "none") == 0;
        if (st == NATSL_OK && !none && strcmp(kind, "byte") != 0)
            st = natsl_fail(NATSL_ERR_INPUT, "%s: tokenizer kind %s is not supported, expected byte or none", path,
                            kind);
        if (st == NATSL_OK && !none && info->config.vocab_size < 256)
            st = natsl_fail(NATSL_ERR_INPUT, "%s: a byte tokenizer needs vocab_size 256 or more, found %d", path,
                            info->config.vocab_size);
        if (st == NATSL_OK) (void)snprintf(info->tokenizer, sizeof info->tokenizer, "%s", none ? "none" : "byte");
    }
    natsl_free(kind);
    return st;
}

/** Ids of tokens that begin and end a text, each in the vocabulary. */
static natsl_status get_special(hid_t file, const char *path, natsl_model_info *info)
{
    int64_t ids[NATSL_MAX_EOS];
    size_t count = 0;
    info->bos_token = -1;
    for (int eos = 0; eos < 2; eos++) {
        const char *name = eos ? "eos_token_id" : "bos_token_id";
        if (H5Aexists(file, name) <= 0) continue;
        const natsl_status st = natsl_h5_ints(file, path, name, eos ? NATSL_MAX_EOS : 1, ids, &count);
        if (st != NATSL_OK) return st;
        for (size_t i = 0; i < count; i++) {
            if (ids[i] < 0 || ids[i] >= info->config.vocab_size)
                return natsl_fail(NATSL_ERR_INPUT, "%s: attribute %s is %lld, expected 0 to %d", path, name,
                                  (long long)ids[i], info->config.vocab_size - 1);
            if (eos) info->eos_tokens[info->n_eos++] = (int32_t)ids[i];
            else info->bos_token = (int32_t)ids[i];
        }
    }
    return NATSL_OK;
}

natsl_status natsl_model_file_info(const char *path, natsl_model_info *info)
{
    hid_t file = -1;
    char *text = NULL;
    natsl_layout layout = {0};
    memset(info, 0, sizeof *info);
    natsl_status st = natsl_h5_open(path, &file);
    if (st != NATSL_OK) return st;
    NATSL_TRY(st, cleanup, natsl_h5_format(file, path, "natsl-model", 1));
    NATSL_TRY(st, cleanup, natsl_h5_text(file, path, "config", NATSL_MAX_CONFIG_BYTES, &text));
    NATSL_TRY(st, cleanup, natsl_config_parse(text, strlen(text), path, &info->config));
    if (H5Aexists(file, "kept_share") > 0) {
        NATSL_TRY(st, cleanup, natsl_h5_real(file, path, "kept_share", &info->kept_share));
        if (info->kept_share < 0.0 || info->kept_share > 1.0) {
            st = natsl_fail(NATSL_ERR_INPUT, "%s: attribute kept_share is %g, expected 0 to 1", path, info->kept_share);
            goto cleanup;
        }
    }
    NATSL_TRY(st, cleanup, get_tokenizer(file, path, info));
    NATSL_TRY(st, cleanup, get_special(file, path, info));
    NATSL_TRY(st, cleanup, natsl_layout_create(&info->config, NATSL_F32, &layout));
    for (size_t i = 0; i < layout.count; i++) {
        hid_t dataset = -1;
        NATSL_TRY(st, cleanup, natsl_tensor_open(file, path, &layout.tensors[i], &dataset));
        (void)H5Dclose(dataset);
    }
cleanup:
    natsl_layout_free(&layout);
    natsl_free(text);
    (void)H5Fclose(file);
    return st;
}

natsl_status natsl_model_file_tokenizer(MPI_Comm comm, const char *path, const char *kind, char **json, size_t *length)
{
    hid_t file = -1;
    int rank = 0;
    natsl_status st = NATSL_OK;
    *json = NULL;
    *length = 0;
    if (strcmp(kind, "json") != 0) return NATSL_OK;
    NATSL_MPI(MPI_Comm_rank(comm, &rank));
    if (rank == 0 && (st = natsl_h5_open(path, &file)) == NATSL_OK) {
        st = natsl_h5_bytes(file, path, "tokenizer_json", NATSL_MAX_TOKENIZER_BYTES, json, length);
        (void)H5Fclose(file);
    }
    return natsl_agree_bytes(comm, st, "a tokenizer", json, length);
}

natsl_status natsl_model_file_read(const char *path, const natsl_layout *layout, void *store)
{
    hid_t file = -1;
    size_t most = 0;
    for (size_t i = 0; i < layout->count; i++) {
        if (layout->tensors[i].count > most) most = layout->tensors[i].count;
    }
    float *to = natsl_alloc(most, sizeof *to, "a tensor");
    if (!to) return NATSL_ERR_NOMEM;
    natsl_status st = natsl_h5_open(path, &file);
    for (size_t i = 0; st == NATSL_OK && i < layout->count; i++) {
        st = natsl_tensor_get(file, path, &layout->tensors[i], to);
        if (st == NATSL_OK) natsl_layout_put(layout, &layout->tensors[i], to, store);
    }
    natsl_free(to);
    if (file >= 0) (void)H5Fclose(file);
    return st;
}

natsl_status natsl_model_file_write(const char *path, const natsl_config *config, const char *tokenizer,
                                    const char *origin, const natsl_layout *layout, const float *flat)
{
    natsl_h5_out out;
    natsl_status st = natsl_h5_create(MPI_COMM_NULL, path, &out), mine = NATSL_OK;
    if (st != NATSL_OK) return st;
    st = natsl_model_head_put(&out, config, tokenizer, origin, 0.0);
    if (st == NATSL_OK) st = natsl_tensors_put(&out, layout, H5T_IEEE_F32LE, flat, &mine);
    return natsl_h5_finish(&out, st == NATSL_OK ? mine : st);
}
