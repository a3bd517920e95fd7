/* result.c - result files, written by all ranks together. Format: README.md, "Files". */
#include "result_impl.h"

#include "agree.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/** Creates every dataset; the same steps on all ranks. */
static natsl_status create_all(natsl_result *r, int write_hidden, int write_state)
{
    const natsl_config *c = &r->config;
    const hsize_t n = (hsize_t)r->length, chunks = (hsize_t)(r->length / c->chunk), heads = (hsize_t)c->num_nats_head;
    const hsize_t state[3] = {(hsize_t)c->num_v_heads, (hsize_t)c->head_dim, (hsize_t)c->head_v_dim};
    char *json = natsl_config_json(c), name[48];
    natsl_status st = json ? NATSL_OK : natsl_fail(NATSL_ERR_NOMEM, "out of memory: configuration");
    if ((st = natsl_agree(r->out.comm, st)) != NATSL_OK) goto cleanup;
    st = natsl_h5_put_text(r->out.file, r->out.path, "format", "natsl-result");
    if (st == NATSL_OK) st = natsl_h5_put_int(r->out.file, r->out.path, "format_version", 1);
    if (st == NATSL_OK) st = natsl_h5_put_text(r->out.file, r->out.path, "config", json);
    st = natsl_agree(r->out.comm, st); /* from here on all ranks take the same steps */
    if (st == NATSL_OK)
        st = natsl_h5_new_dataset(&r->out, "logprobs", H5T_IEEE_F32LE, 1, (hsize_t[]){n - 1}, &r->logprobs);
    if (st == NATSL_OK)
        st = natsl_h5_new_dataset(&r->out, "logits_last", H5T_IEEE_F32LE, 1, (hsize_t[]){(hsize_t)c->vocab_size},
                                  &r->logits_last);
    if (st == NATSL_OK && write_hidden)
        st = natsl_h5_new_dataset(&r->out, "hidden", H5T_IEEE_F32LE, 2, (hsize_t[]){n, (hsize_t)c->hidden_size},
                                  &r->hidden);
    for (int l = 0; l < c->num_hidden_layers && st == NATSL_OK; l++) {
        if (c->kind[l] == NATSL_LAYER_NATS) {
            (void)snprintf(name, sizeof name, "softmax_chunks/%d", l);
            st = natsl_h5_new_dataset(&r->out, name, H5T_STD_U8LE, 2, (hsize_t[]){chunks, heads}, &r->choices[l]);
        }
        if (!write_state || c->kind[l] == NATSL_LAYER_ATTN || st != NATSL_OK) continue;
        (void)snprintf(name, sizeof name, "state/%d", l);
        st = natsl_h5_new_dataset(&r->out, name, H5T_IEEE_F32LE, 3, state, &r->state[l]);
        if (c->kind[l] != NATSL_LAYER_NATS || st != NATSL_OK) continue;
        (void)snprintf(name, sizeof name, "block_state/%d", l);
        st = natsl_h5_new_dataset(&r->out, name, H5T_IEEE_F32LE, 3, state, &r->block_state[l]);
    }
cleanup:
    free(json);
    return st;
}

natsl_status natsl_result_create(MPI_Comm comm, const char *path, const natsl_config *config, int64_t length,
                                 int write_hidden, int write_state, natsl_result **out)
{
    *out = NULL;
    if (length < 1) return natsl_fail(NATSL_ERR_INTERNAL, "%s: a result of %lld tokens", path, (long long)length);
    natsl_result *r = natsl_calloc(1, sizeof *r, "result file");
    natsl_status st = natsl_agree(comm, r ? NATSL_OK : NATSL_ERR_NOMEM);
    if (st != NATSL_OK) {
        natsl_free(r);
        return st;
    }
    r->config = *config;
    r->length = length;
    r->logprobs = r->logits_last = r->hidden = -1;
    for (int l = 0; l < NATSL_MAX_LAYERS; l++) r->choices[l] = r->state[l] = r->block_state[l] = -1;
    st = natsl_h5_create(comm, path, &r->out);
    if (st == NATSL_OK) {
        st = natsl_agree(comm, create_all(r, write_hidden, write_state));
        if (st != NATSL_OK) natsl_result_abandon(&r);
    } else {
        natsl_free(r);
        r = NULL;
    }
    *out = r;
    return st;
}

/** Remembers a rank's first failure. */
static natsl_status keep(natsl_result *r, natsl_status st)
{
    if (st != NATSL_OK && r->status == NATSL_OK) {
        r->status = st;
        (void)snprintf(r->error, sizeof r->error, "%s", natsl_error_text());
    }
    return st;
}

/** Rows of a dataset that this result file may not have. */
static natsl_status write_rows(natsl_result *r, hid_t dataset, const char *name, hid_t type, int64_t first,
                               int64_t count, size_t row_bytes, const void *from)
{
    if (dataset < 0) return keep(r, natsl_fail(NATSL_ERR_INTERNAL, "%s: no dataset %s to write", r->out.path, name));
    natsl_status st = natsl_h5_write_rows(dataset, r->out.path, name, type, first, count, row_bytes, from);
    if (st == NATSL_OK && r->noting) st = natsl_result_note(r, dataset, first, count);
    return keep(r, st);
}

static hid_t of_layer(const hid_t *datasets, int layer)
{
    return layer >= 0 && layer < NATSL_MAX_LAYERS ? datasets[layer] : -1;
}

natsl_status natsl_result_logprobs(natsl_result *r, int64_t first, int64_t count, const float *values)
{
    return write_rows(r, r->logprobs, "logprobs", H5T_NATIVE_FLOAT, first, count, sizeof(float), values);
}

natsl_status natsl_result_hidden(natsl_result *r, int64_t first, int64_t count, const float *rows)
{
    return write_rows(r, r->hidden, "hidden", H5T_NATIVE_FLOAT, first, count,
                      (size_t)r->config.hidden_size * sizeof(float), rows);
}

natsl_status natsl_result_choices(natsl_result *r, int layer, int64_t first_chunk, int64_t count,
                                  const uint8_t *keep_them)
{
    return write_rows(r, of_layer(r->choices, layer), "softmax_chunks", H5T_NATIVE_UINT8, first_chunk, count,
                      (size_t)r->config.num_nats_head, keep_them);
}

natsl_status natsl_result_logits_last(natsl_result *r, const float *logits)
{
    return write_rows(r, r->logits_last, "logits_last", H5T_NATIVE_FLOAT, 0, r->config.vocab_size, sizeof(float),
                      logits);
}

natsl_status natsl_result_state(natsl_result *r, int layer, const float *state, const float *block_state)
{
    const natsl_config *c = &r->config;
    const size_t head = (size_t)c->head_dim * (size_t)c->head_v_dim * sizeof(float);
    natsl_status st =
        write_rows(r, of_layer(r->state, layer), "state", H5T_NATIVE_FLOAT, 0, c->num_v_heads, head, state);
    if (st == NATSL_OK && block_state && of_layer(r->block_state, layer) >= 0)
        st =
            write_rows(r, r->block_state[layer], "block_state", H5T_NATIVE_FLOAT, 0, c->num_v_heads, head, block_state);
    return st;
}

natsl_status natsl_result_attribute(natsl_result *r, const char *name, double value)
{
    return keep(r, natsl_agree(r->out.comm, natsl_h5_put_real(r->out.file, r->out.path, name, value)));
}

natsl_status natsl_result_text(natsl_result *r, const char *name, const char *text)
{
    return keep(r, natsl_agree(r->out.comm, natsl_h5_put_text(r->out.file, r->out.path, name, text)));
}

/** Closes all datasets, finishes the file with status `st`, frees. Collective. */
static natsl_status finish(natsl_result **result, natsl_status st)
{
    natsl_result *r = *result;
    const hid_t one[3] = {r->logprobs, r->logits_last, r->hidden};
    int bad = 0;
    for (int i = 0; i < 3; i++) bad |= one[i] >= 0 && H5Dclose(one[i]) < 0;
    for (int l = 0; l < NATSL_MAX_LAYERS; l++) {
        bad |= r->choices[l] >= 0 && H5Dclose(r->choices[l]) < 0;
        bad |= r->state[l] >= 0 && H5Dclose(r->state[l]) < 0;
        bad |= r->block_state[l] >= 0 && H5Dclose(r->block_state[l]) < 0;
    }
    if (bad && st == NATSL_OK) st = natsl_fail(NATSL_ERR_IO, "%s: closing failed: disk full?", r->out.path);
    st = natsl_h5_finish(&r->out, st);
    natsl_free(r->notes);
    natsl_free(r);
    *result = NULL;
    return st;
}

natsl_status natsl_result_commit(natsl_result **result)
{
    if ((*result)->status != NATSL_OK) natsl_error_set((*result)->error);
    return finish(result, (*result)->status);
}

void natsl_result_abandon(natsl_result **result)
{
    char text[1024]; /* the error that made us give up stays the last one */
    if (!*result) return;
    (void)snprintf(text, sizeof text, "%s", natsl_error_text());
    (void)finish(result, NATSL_ERR_IO);
    natsl_error_set(text);
}
