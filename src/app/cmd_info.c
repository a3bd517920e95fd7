/* cmd_info.c - natsl info: what a file is, in a few lines. Rank 0 reads; nothing is loaded that is not printed. */
#include "app.h"
#include "core.h"
#include "files.h"
#include "h5.h"
#include "hf.h"
#include "layout.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define BLOCK 65536

static const natsl_option options[] = {{.kind = NATSL_OPT_END}};

/** A dataset's dimensions (rank of them), checked by natsl_h5_dataset. Close with H5Dclose. */
static natsl_status open_set(hid_t file, const char *path, const char *name, H5T_class_t type_class, int rank,
                             hsize_t *dims, hid_t *set)
{
    natsl_status st = natsl_h5_dataset(file, path, name, type_class, rank, NULL, set);
    if (st != NATSL_OK) return st;
    const hid_t space = H5Dget_space(*set);
    const int got = space >= 0 ? H5Sget_simple_extent_dims(space, dims, NULL) : -1;
    if (space >= 0) (void)H5Sclose(space);
    if (got != rank || dims[0] > (hsize_t)INT64_MAX / 64) {
        (void)H5Dclose(*set);
        return natsl_fail(NATSL_ERR_INPUT, "%s: dataset %s cannot be read: damaged file", path, name);
    }
    return NATSL_OK;
}

/** What import has kept beside the tensors: special tokens, and the texts that export writes back. */
static void info_imported(const natsl_model_info *info, hid_t file)
{
    int some = 0;
    if (info->bos_token >= 0) printf("begins      with token %d\n", info->bos_token);
    for (int i = 0; i < info->n_eos; i++) printf(i == 0 ? "ends        with token %d" : " or %d", info->eos_tokens[i]);
    if (info->n_eos > 0) printf("\n");
    for (size_t i = 0; natsl_hf_texts[i].file; i++) {
        const char *object = natsl_hf_texts[i].object;
        if (strncmp(object, "hf/", 3) == 0 && H5Lexists(file, "hf", H5P_DEFAULT) <= 0) continue;
        if (H5Lexists(file, object, H5P_DEFAULT) <= 0) continue;
        printf("%s %s", some ? "," : "kept       ", natsl_hf_texts[i].file);
        some = 1;
    }
    if (some) printf("\n");
}

/** One kind of attention layers. */
static void print_attention(const natsl_config *c, int which)
{
    const natsl_attn_config *a = &c->attn[which];
    printf("attention   in layer");
    for (int l = 0; l < c->num_hidden_layers; l++) {
        if (c->kind[l] == NATSL_LAYER_ATTN && c->attn_of[l] == which) printf(" %d", l);
    }
    printf(": %d heads of size %d, %d of keys and values, %d dimensions rotated", a->num_heads, a->head_dim,
           a->num_kv_heads, a->rotary_dim);
    if (a->window_size) printf(", window of %d tokens", a->window_size);
    printf("%s%s%s\n", a->qk_norm ? ", query and key norms" : "", a->qkv_bias ? ", biases" : "",
           a->output_gate ? ", output gate" : "");
}

static natsl_status info_model(const char *path, hid_t file)
{
    natsl_model_info info;
    natsl_layout layout;
    natsl_status st = natsl_model_file_info(path, &info);
    if (st == NATSL_OK) st = natsl_layout_create(&info.config, NATSL_F32, &layout);
    if (st != NATSL_OK) return st;
    const natsl_config *c = &info.config;
    int64_t parameters = 0;
    int kinds[3] = {0};
    char size[32], *origin = NULL;
    for (size_t i = 0; i < layout.count; i++) parameters += (int64_t)layout.tensors[i].count;
    for (int l = 0; l < c->num_hidden_layers; l++) kinds[c->kind[l]]++;
    printf("%s: a NAtS-L model\n", path);
    printf("parameters  %lld (%s in memory)\n", (long long)parameters,
           natsl_format_bytes((double)layout.floats * sizeof(float), size));
    printf("layers      %d: %d Gated DeltaNet, %d NAtS-L", c->num_hidden_layers, kinds[NATSL_LAYER_GDN],
           kinds[NATSL_LAYER_NATS]);
    if (kinds[NATSL_LAYER_ATTN]) printf(", %d softmax attention", kinds[NATSL_LAYER_ATTN]);
    printf("; hidden size %d, feed-forward %d\n", c->hidden_size, c->intermediate_size);
    printf("heads       %d of key size %d, %d of value size %d; attention %d, gate %d\n", c->num_heads, c->head_dim,
           c->num_v_heads, c->head_v_dim, c->num_attn_heads, c->num_nats_head);
    for (int i = 0; i < c->num_attn; i++) print_attention(c, i);
    printf("chunk       %d tokens\n", c->chunk);
    printf("vocabulary  %d tokens, tokenizer %s\n", c->vocab_size, info.tokenizer);
    info_imported(&info, file);
    if (H5Aexists(file, "origin") > 0 && natsl_h5_text(file, path, "origin", 4096, &origin) == NATSL_OK) {
        for (char *p = origin; *p; p++) { /* a file's text may not steer the terminal */
            if ((unsigned char)*p < 0x20 || *p == 0x7f) *p = '?';
        }
        printf("origin      %s\n", origin);
    }
    natsl_free(origin);
    natsl_layout_free(&layout);
    return NATSL_OK;
}

static natsl_status info_tokens(const char *path, hid_t file)
{
    hid_t set = -1;
    hsize_t dims[1] = {0};
    int64_t least = INT64_MAX, most = INT64_MIN;
    natsl_status st = open_set(file, path, "tokens", H5T_INTEGER, 1, dims, &set);
    if (st != NATSL_OK) return st;
    int64_t *block = natsl_alloc(BLOCK, sizeof *block, "tokens");
    if (!block) st = NATSL_ERR_NOMEM;
    for (int64_t at = 0; st == NATSL_OK && at < (int64_t)dims[0]; at += BLOCK) {
        const int64_t n = (int64_t)dims[0] - at < BLOCK ? (int64_t)dims[0] - at : BLOCK;
        st = natsl_h5_read_rows(set, path, "tokens", H5T_NATIVE_INT64, at, n, sizeof *block, block);
        for (int64_t i = 0; st == NATSL_OK && i < n; i++) {
            if (block[i] < least) least = block[i];
            if (block[i] > most) most = block[i];
        }
    }
    natsl_free(block);
    (void)H5Dclose(set);
    if (st != NATSL_OK) return st;
    printf("%s: a token file\ntokens      %llu", path, (unsigned long long)dims[0]);
    if (dims[0] > 0) printf(", from %lld to %lld", (long long)least, (long long)most);
    printf("\n");
    return NATSL_OK;
}

/** Share of ones in softmax_chunks/<layer>. */
static natsl_status kept_share(const char *path, hid_t file, int layer, int64_t *kept, int64_t *all)
{
    char name[48];
    hid_t set = -1;
    hsize_t dims[2] = {0};
    size_t row = 0;
    (void)snprintf(name, sizeof name, "softmax_chunks/%d", layer);
    natsl_status st = open_set(file, path, name, H5T_INTEGER, 2, dims, &set);
    if (st != NATSL_OK) return st;
    if (dims[1] < 1 || dims[1] > BLOCK)
        st = natsl_fail(NATSL_ERR_INPUT, "%s: dataset %s has %llu heads, expected 1 to %d", path, name,
                        (unsigned long long)dims[1], BLOCK);
    else row = (size_t)dims[1];
    uint8_t *block = st == NATSL_OK ? natsl_alloc(BLOCK, row, "choices") : NULL;
    if (st == NATSL_OK && !block) st = NATSL_ERR_NOMEM;
    *kept = 0;
    *all = st == NATSL_OK ? (int64_t)dims[0] * (int64_t)dims[1] : 0;
    for (int64_t at = 0; st == NATSL_OK && at < (int64_t)dims[0]; at += BLOCK) {
        const int64_t n = (int64_t)dims[0] - at < BLOCK ? (int64_t)dims[0] - at : BLOCK;
        st = natsl_h5_read_rows(set, path, name, H5T_NATIVE_UINT8, at, n, row, block);
        for (size_t i = 0; st == NATSL_OK && i < (size_t)n * row; i++) *kept += block[i] != 0;
    }
    natsl_free(block);
    (void)H5Dclose(set);
    return st;
}

static natsl_status info_result(const char *path, hid_t file)
{
    hid_t set = -1;
    hsize_t dims[1] = {0};
    double sum = 0.0;
    natsl_status st = open_set(file, path, "logprobs", H5T_FLOAT, 1, dims, &set);
    if (st != NATSL_OK) return st;
    double *block = natsl_alloc(BLOCK, sizeof *block, "log-probabilities");
    if (!block) st = NATSL_ERR_NOMEM;
    for (int64_t at = 0; st == NATSL_OK && at < (int64_t)dims[0]; at += BLOCK) {
        const int64_t n = (int64_t)dims[0] - at < BLOCK ? (int64_t)dims[0] - at : BLOCK;
        st = natsl_h5_read_rows(set, path, "logprobs", H5T_NATIVE_DOUBLE, at, n, sizeof *block, block);
        for (int64_t i = 0; st == NATSL_OK && i < n; i++) sum += block[i];
    }
    natsl_free(block);
    (void)H5Dclose(set);
    if (st != NATSL_OK) return st;
    printf("%s: a result of natsl score\ntokens      %llu", path, (unsigned long long)dims[0] + 1);
    if (dims[0] > 0) printf(", perplexity %.6g", exp(-sum / (double)dims[0]));
    printf("\n");
    if (H5Lexists(file, "softmax_chunks", H5P_DEFAULT) <= 0) return NATSL_OK;
    for (int l = 0; l < NATSL_MAX_LAYERS; l++) {
        char name[48];
        int64_t kept = 0, all = 0;
        (void)snprintf(name, sizeof name, "softmax_chunks/%d", l);
        if (H5Lexists(file, name, H5P_DEFAULT) <= 0) continue;
        if ((st = kept_share(path, file, l, &kept, &all)) != NATSL_OK) return st;
        printf("layer %-5d kept %lld of %lld chunks (chunk, head)", l, (long long)kept, (long long)all);
        if (all > 0) printf(", %.1f %%", 100.0 * (double)kept / (double)all);
        printf("\n");
    }
    return NATSL_OK;
}

static natsl_status info_context(const char *path, hid_t file)
{
    int64_t position = 0, kept = 0, chunks = 0;
    char *digest = NULL;
    natsl_status st = natsl_h5_int(file, path, "position", &position);
    if (st == NATSL_OK) st = natsl_h5_int(file, path, "kept_chunks", &kept);
    if (st == NATSL_OK) st = natsl_h5_int(file, path, "chunks", &chunks);
    if (st == NATSL_OK) st = natsl_h5_text(file, path, "model_digest", 64, &digest);
    if (st != NATSL_OK) return st;
    printf("%s: a context of natsl read\ntokens      %lld\n", path, (long long)position);
    printf("kept        %lld of %lld chunks (chunk, head, NAtS-L layer)", (long long)kept, (long long)chunks);
    if (chunks > 0) printf(", %.1f %%", 100.0 * (double)kept / (double)chunks);
    printf("\nmodel       digest %.16s\n", digest);
    natsl_free(digest);
    return NATSL_OK;
}

static natsl_status info_grad(const char *path, hid_t file)
{
    int64_t tokens = 0;
    double loss = 0.0;
    natsl_status st = natsl_h5_int(file, path, "tokens", &tokens);
    if (st == NATSL_OK) st = natsl_h5_real(file, path, "loss", &loss);
    if (st == NATSL_OK)
        printf("%s: gradients of natsl grad\ntokens      %lld, loss %.9g\n", path, (long long)tokens, loss);
    return st;
}

static natsl_status info(const char *path)
{
    natsl_file_kind kind;
    struct stat s;
    hid_t file = -1;
    natsl_status st = natsl_file_kind_of(path, &kind);
    if (st != NATSL_OK) return st;
    if (kind == NATSL_FILE_OTHER) {
        if (stat(path, &s) != 0) return natsl_fail(NATSL_ERR_INPUT, "%s: %s", path, strerror(errno));
        printf("%s: a text file of %lld bytes\n", path, (long long)s.st_size);
        return NATSL_OK;
    }
    if ((st = natsl_h5_open(path, &file)) != NATSL_OK) return st;
    switch (kind) {
    case NATSL_FILE_MODEL: st = info_model(path, file); break;
    case NATSL_FILE_TOKENS: st = info_tokens(path, file); break;
    case NATSL_FILE_RESULT: st = info_result(path, file); break;
    case NATSL_FILE_CONTEXT: st = info_context(path, file); break;
    case NATSL_FILE_GRAD: st = info_grad(path, file); break;
    default: printf("%s: an HDF5 file, but none of natsl's\n", path); break;
    }
    (void)H5Fclose(file);
    return st;
}

static natsl_status run(natsl_app *app)
{
    natsl_status st = NATSL_OK;
    if (app->rank == 0) {
        st = info(app->args.operands[0]);
        const natsl_status out = natsl_stdout_flush();
        if (st == NATSL_OK) st = out;
    }
    return natsl_app_agree(app, st);
}

const natsl_command natsl_command_info = {
    .name = "info",
    .usage = "info FILE",
    .summary = "what a file is, in a few lines",
    .details = "FILE is a model, a token file, a result of natsl score, a context of natsl read or gradients of natsl "
               "grad. Of a\n"
               "model all tensors' names, types and shapes are checked, not their values.\n",
    .options = options,
    .operand = "FILE",
    .least = 1,
    .most = 1,
    .run = run,
};
