/* import.c - a Hugging Face directory becomes a model file. See hf.h. */
#include "hf.h"

#include "core.h"
#include "files.h"
#include "h5.h"
#include "hf_dir.h"
#include "hf_names.h"
#include "tensors.h"
#include "whole_file.h"

#include <jansson.h>
#include <natsl/version.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define KIB ((size_t)1 << 10)
#define MIB ((size_t)1 << 20)

/* Bytes of a tensor that are read, checked and written at a time, unless one row has more. */
#define PIECE_BYTES (4 * MIB)

const natsl_hf_text natsl_hf_texts[] = {
    [NATSL_HF_TEXT_CONFIG] = {"config.json", "hf/config.json", NATSL_MAX_CONFIG_BYTES, 1},
    [NATSL_HF_TEXT_GENERATION] = {"generation_config.json", "hf/generation_config.json", MIB, 1},
    [NATSL_HF_TEXT_TOKENIZER] = {"tokenizer.json", "tokenizer_json", NATSL_MAX_TOKENIZER_BYTES, 1},
    {"tokenizer_config.json", "hf/tokenizer_config.json", 64 * MIB, 1},
    {"special_tokens_map.json", "hf/special_tokens_map.json", 16 * MIB, 1},
    {"added_tokens.json", "hf/added_tokens.json", 16 * MIB, 1},
    {"vocab.json", "hf/vocab.json", 64 * MIB, 1},
    {"merges.txt", "hf/merges.txt", 64 * MIB, 0},
    {"tokenizer.model", "hf/tokenizer.model", 64 * MIB, 0},
    {"chat_template.jinja", "hf/chat_template.jinja", MIB, 0},
    {"chat_template.json", "hf/chat_template.json", MIB, 1},
    {NULL, NULL, 0, 0}};
#define MAX_TEXTS  16
#define MAX_PARSED (NATSL_HF_TEXT_TOKENIZER + 1)

/** All that is known of the directory before anything is written. */
typedef struct source {
    natsl_hf_dir dir;
    natsl_layout layout;
    natsl_config config;
    natsl_hf_family family;
    natsl_hf_names names;
    const char *prefix;     /* of Qwen's tensors */
    size_t left_out;        /* tensors that natsl has no use for */
    char *texts[MAX_TEXTS]; /* as natsl_hf_texts; NULL: not there */
    size_t lengths[MAX_TEXTS];
    json_t *json[MAX_PARSED]; /* of the first texts, until all is checked; NULL: not there, or no_json says why not */
    char no_json[512];
    char tokenizer[8], origin[512];
    double kept_share;
    int64_t bos, eos[NATSL_MAX_EOS]; /* bos -1: none */
    size_t n_eos;
    int tied_head; /* lm_head.weight is stored although it is the embeddings */
} source;

static const char *shape_text(int rank, const size_t *shape, char text[160])
{
    size_t at = 0;
    text[at++] = '[';
    for (int i = 0; i < rank && at < 130; i++)
        at += (size_t)snprintf(text + at, 160 - at, i ? ", %zu" : "%zu", shape[i]);
    (void)snprintf(text + at, 160 - at, "]");
    return text;
}

/** *same: the two tensors have the same bits. */
static natsl_status compare(natsl_hf_dir *d, const natsl_hf_entry *a, const natsl_hf_entry *b, int *same)
{
    const size_t bytes = a->tensor->bytes;
    *same = a->tensor->dtype == b->tensor->dtype && bytes == b->tensor->bytes;
    if (!*same) return NATSL_OK;
    unsigned char *room = natsl_alloc(PIECE_BYTES, 1, "rows of a tensor");
    natsl_status st = room ? NATSL_OK : NATSL_ERR_NOMEM;
    for (size_t at = 0, n = 0; st == NATSL_OK && *same && at < bytes; at += n) {
        n = bytes - at < PIECE_BYTES / 2 ? bytes - at : PIECE_BYTES / 2;
        st = natsl_hf_dir_read(d, a, at, n, room);
        if (st == NATSL_OK) st = natsl_hf_dir_read(d, b, at, n, room + PIECE_BYTES / 2);
        *same = st == NATSL_OK && memcmp(room, room + PIECE_BYTES / 2, n) == 0;
    }
    natsl_free(room);
    return st;
}

/** A tensor that the model has not is one that natsl leaves out, or lm_head.weight of a model whose head is its embeddings: the same
 * bits as they, or it would mean something else. Both are counted. */
static natsl_status check_other(source *s, natsl_hf_entry *e)
{
    const char *name = e->tensor->name;
    int same = 0;
    natsl_status st = NATSL_OK;
    if (natsl_hf_is_left_out(s->family, name)) {
        s->left_out++;
        return NATSL_OK;
    }
    if (s->config.tie_word_embeddings && strcmp(name, "lm_head.weight") == 0)
        st = compare(&s->dir, e, natsl_hf_dir_find(&s->dir, s->names.tensors[s->names.places[0].tensor].name), &same);
    if (st == NATSL_OK && !same)
        st = natsl_fail(NATSL_ERR_INPUT, "%s: tensor %.200s has no place in a model of this configuration",
                        s->dir.shards[e->shard].path, name);
    s->tied_head |= same;
    return st;
}

/** The tensors are those of the configuration, no more and no fewer, in its shapes. */
static natsl_status check_tensors(source *s)
{
    char want[160], found[160];
    natsl_status st = NATSL_OK;
    for (size_t i = 0; i < s->names.count; i++) {
        const natsl_hf_tensor *t = &s->names.tensors[i];
        natsl_hf_entry *e = natsl_hf_dir_find(&s->dir, t->name);
        if (!e) return natsl_fail(NATSL_ERR_INPUT, "%s: tensor %s is missing", s->dir.path, t->name);
        int same = e->tensor->rank == t->rank;
        for (int k = 0; same && k < t->rank; k++) same = e->tensor->shape[k] == t->shape[k];
        if (!same)
            return natsl_fail(NATSL_ERR_INPUT, "%s: tensor %s has shape %s, expected %s", s->dir.shards[e->shard].path,
                              t->name, shape_text(e->tensor->rank, e->tensor->shape, found),
                              shape_text(t->rank, t->shape, want));
        e->taken = 1;
    }
    for (size_t i = 0; st == NATSL_OK && i < s->dir.tensors; i++) {
        if (!s->dir.entries[i].taken) st = check_other(s, &s->dir.entries[i]);
    }
    return st;
}

/** Files whose keys are tokens. */
static int holds_words(const char *file)
{
    return strcmp(file, "tokenizer.json") == 0 || strcmp(file, "vocab.json") == 0 ||
           strcmp(file, "added_tokens.json") == 0;
}

/** Text i is JSON; of the first ones it stays at hand. */
static natsl_status parse_text(source *s, size_t i)
{
    const natsl_hf_text *t = &natsl_hf_texts[i];
    json_error_t e;
    /* duplicate keys would let two readers see two things */
    json_t *json = json_loadb(s->texts[i], s->lengths[i], JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &e);
    if (i < MAX_PARSED) s->json[i] = json;
    else json_decref(json);
    if (json) return NATSL_OK;
    const natsl_status st = natsl_fail(NATSL_ERR_INPUT, "%s/%s: line %d: %s", s->dir.path, t->file, e.line, e.text);
    /* a vocabulary may have a token with the byte 0, which jansson takes in texts but not in keys */
    if (!holds_words(t->file) || !strstr(e.text, "NUL byte in object key")) return st;
    if (i == NATSL_HF_TEXT_TOKENIZER) (void)snprintf(s->no_json, sizeof s->no_json, "%s", natsl_error_text());
    return NATSL_OK;
}

/** Reads the texts; those that ought to be JSON are. */
static natsl_status read_texts(source *s)
{
    natsl_status st = NATSL_OK;
    for (size_t i = 0; st == NATSL_OK && natsl_hf_texts[i].file; i++) {
        const natsl_hf_text *t = &natsl_hf_texts[i];
        st = natsl_hf_file_read(s->dir.path, t->file, t->limit, &s->texts[i], &s->lengths[i]);
        if (st == NATSL_OK && !s->texts[i] && i == NATSL_HF_TEXT_CONFIG)
            st = natsl_fail(NATSL_ERR_INPUT, "%s: no %s, expected the directory of a model", s->dir.path, t->file);
        if (st == NATSL_OK && s->texts[i] && t->json) st = parse_text(s, i);
    }
    return st;
}

/** One id, or a list of them, of generation_config.json or else config.json. Ids outside the vocabulary (some files say -1)
 * are none. */
static natsl_status get_ids(const source *s, const char *key, size_t most, int64_t *ids, size_t *count)
{
    static const size_t texts[] = {NATSL_HF_TEXT_GENERATION, NATSL_HF_TEXT_CONFIG};
    *count = 0;
    for (size_t f = 0; f < 2 && *count == 0; f++) {
        const json_t *root = s->json[texts[f]], *value = json_object_get(root, key);
        if (!value && texts[f] == NATSL_HF_TEXT_CONFIG)
            value = json_object_get(json_object_get(root, "text_config"), key);
        const size_t n = json_is_array(value) ? json_array_size(value) : value && !json_is_null(value);
        int bad = n > most;
        for (size_t i = 0; i < n && !bad; i++) {
            const json_t *one = json_is_array(value) ? json_array_get(value, i) : value;
            bad = !json_is_integer(one);
            if (!bad && json_integer_value(one) >= 0 && json_integer_value(one) < s->config.vocab_size)
                ids[(*count)++] = json_integer_value(one);
        }
        if (bad)
            return natsl_fail(NATSL_ERR_INPUT, "%s/%s: %s: expected an integer%s", s->dir.path,
                              natsl_hf_texts[texts[f]].file, key, most > 1 ? " or a list of up to 16" : "");
    }
    return NATSL_OK;
}

/** What natsl.json says, where there is one. *byte: the tokenizer is. */
static natsl_status read_own(source *s, int *byte)
{
    char *text = NULL;
    size_t length = 0;
    json_error_t e;
    natsl_status st = natsl_hf_file_read(s->dir.path, NATSL_HF_OWN_FILE, 64 * KIB, &text, &length);
    if (st != NATSL_OK || !text) return st;
    json_t *root = json_loadb(text, length, JSON_REJECT_DUPLICATES, &e);
    const char *tokenizer = json_string_value(json_object_get(root, "tokenizer"));
    const char *origin = json_string_value(json_object_get(root, "origin"));
    const json_t *share = json_object_get(root, "kept_share");
    if (!root) st = natsl_fail(NATSL_ERR_INPUT, "%s/" NATSL_HF_OWN_FILE ": line %d: %s", s->dir.path, e.line, e.text);
    else if (!json_is_object(root) ||
             (share && !(json_is_number(share) && json_number_value(share) > 0.0 && json_number_value(share) <= 1.0)))
        st = natsl_fail(NATSL_ERR_INPUT, "%s/" NATSL_HF_OWN_FILE ": expected an object with kept_share above 0 up to 1",
                        s->dir.path);
    *byte = tokenizer && strcmp(tokenizer, "byte") == 0;
    if (st == NATSL_OK && origin) (void)snprintf(s->origin, sizeof s->origin, "%s", origin);
    if (st == NATSL_OK && share) s->kept_share = json_number_value(share);
    json_decref(root);
    natsl_free(text);
    return st;
}

static natsl_status choose_tokenizer(source *s, natsl_hf_tokenizer wanted, int byte)
{
    const char *kind = s->texts[NATSL_HF_TEXT_TOKENIZER] ? "json" : byte ? "byte" : "none";
    if (wanted == NATSL_HF_TOKENIZER_BYTE) kind = "byte";
    if (wanted == NATSL_HF_TOKENIZER_NONE) kind = "none";
    if (strcmp(kind, "byte") == 0 && s->config.vocab_size < 256)
        return natsl_fail(wanted == NATSL_HF_TOKENIZER_BYTE ? NATSL_ERR_USAGE : NATSL_ERR_INPUT,
                          "%s: a byte tokenizer needs 256 tokens, but the model has %d", s->dir.path,
                          s->config.vocab_size);
    (void)snprintf(s->tokenizer, sizeof s->tokenizer, "%s", kind);
    return NATSL_OK;
}

/** A tokenizer.json that cannot be used is told of now, not when a text comes: r->complaint. */
static natsl_status try_tokenizer(const source *s, natsl_hf_report *r)
{
    natsl_tokenizer *t = NULL;
    char path[4096];
    if (strcmp(s->tokenizer, "json") != 0) return NATSL_OK;
    natsl_status st = natsl_hf_path(s->dir.path, natsl_hf_texts[NATSL_HF_TEXT_TOKENIZER].file, path, sizeof path);
    if (st != NATSL_OK) return st;
    if (s->json[NATSL_HF_TEXT_TOKENIZER])
        st = natsl_tokenizer_create_parsed(s->json[NATSL_HF_TEXT_TOKENIZER], s->config.vocab_size, path, &t);
    else st = natsl_fail(NATSL_ERR_INPUT, "%s", s->no_json);
    natsl_tokenizer_destroy(&t);
    if (st == NATSL_ERR_INPUT) (void)snprintf(r->complaint, sizeof r->complaint, "%s", natsl_error_text());
    return st == NATSL_ERR_INPUT ? NATSL_OK : st;
}

static void forget_json(source *s)
{
    for (size_t i = 0; i < MAX_PARSED; i++) {
        json_decref(s->json[i]);
        s->json[i] = NULL;
    }
}

static void source_close(source *s)
{
    forget_json(s);
    for (size_t i = 0; natsl_hf_texts[i].file; i++) natsl_free(s->texts[i]);
    natsl_hf_names_free(&s->names);
    natsl_layout_free(&s->layout);
    natsl_hf_dir_close(&s->dir);
}

/** Everything that can be checked without reading the tensors' values. */
static natsl_status source_open(const char *directory, natsl_hf_tokenizer tokenizer, source *s, natsl_hf_report *r)
{
    _Static_assert(sizeof natsl_hf_texts / sizeof natsl_hf_texts[0] <= MAX_TEXTS + 1, "room for every text");
    char path[4096];
    int byte = 0;
    size_t n_bos = 0;
    memset(s, 0, sizeof *s);
    s->bos = -1;
    (void)snprintf(s->origin, sizeof s->origin, "natsl import, version %s, of %.400s", NATSL_VERSION_TEXT, directory);
    natsl_status st = natsl_hf_dir_open(directory, &s->dir);
    if (st != NATSL_OK) return st;
    s->prefix =
        natsl_hf_dir_find(&s->dir, NATSL_HF_PREFIX_TEXT "embed_tokens.weight") ? NATSL_HF_PREFIX_TEXT : NATSL_HF_PREFIX;
    NATSL_TRY(st, failed, natsl_hf_path(directory, natsl_hf_texts[NATSL_HF_TEXT_CONFIG].file, path, sizeof path));
    NATSL_TRY(st, failed, read_texts(s));
    NATSL_TRY(st, failed,
              natsl_hf_config_parse(s->texts[NATSL_HF_TEXT_CONFIG], s->lengths[NATSL_HF_TEXT_CONFIG], path, &s->config,
                                    &s->family));
    NATSL_TRY(st, failed, get_ids(s, "bos_token_id", 1, &s->bos, &n_bos));
    NATSL_TRY(st, failed, get_ids(s, "eos_token_id", NATSL_MAX_EOS, s->eos, &s->n_eos));
    NATSL_TRY(st, failed, read_own(s, &byte));
    NATSL_TRY(st, failed, choose_tokenizer(s, tokenizer, byte));
    NATSL_TRY(st, failed, try_tokenizer(s, r));
    forget_json(s);
    NATSL_TRY(st, failed, natsl_layout_create(&s->config, NATSL_F32, &s->layout));
    NATSL_TRY(st, failed, natsl_hf_names_create(s->family, s->prefix, &s->config, &s->layout, &s->names));
    NATSL_TRY(st, failed, check_tensors(s));
    r->config = s->config;
    r->family = s->family;
    r->shards = s->dir.count;
    r->left_out = s->left_out;
    (void)snprintf(r->tokenizer, sizeof r->tokenizer, "%s", s->tokenizer);
    for (size_t i = 0; i < s->names.count; i++) {
        const natsl_st_tensor *t = natsl_hf_dir_find(&s->dir, s->names.tensors[i].name)->tensor;
        r->parameters += (int64_t)t->count;
        r->bytes += t->bytes;
        r->dtypes[t->dtype]++;
    }
    return NATSL_OK;
failed:
    source_close(s);
    return st;
}

/** Rows [at, at + rows) of one of natsl's tensors, to `to`: those that lie together in one step. */
static natsl_status get_rows(natsl_hf_dir *d, const natsl_hf_entry *e, const natsl_hf_place *p, size_t at, size_t rows,
                             size_t row_bytes, unsigned char *to)
{
    natsl_status st = NATSL_OK;
    for (size_t done = 0, n = 0; st == NATSL_OK && done < rows; done += n) {
        const size_t first = natsl_hf_row(p, at + done);
        n = 1;
        while (done + n < rows && natsl_hf_row(p, at + done + n) == first + n) n++;
        st = natsl_hf_dir_read(d, e, first * row_bytes, n * row_bytes, to + done * row_bytes);
    }
    return st;
}

/** Checks the values of one of natsl's tensors and writes them as they are, some rows at a time through `room` [bytes], which holds a row
 * at least. */
static natsl_status put_tensor(source *s, natsl_h5_out *out, size_t index, unsigned char *room, size_t bytes)
{
    const natsl_tensor *t = &s->layout.tensors[index];
    const natsl_hf_place *p = &s->names.places[index];
    const char *from = s->names.tensors[p->tensor].name;
    char name[sizeof t->name];
    hsize_t shape[3];
    hid_t dataset = -1;
    const natsl_hf_entry *e = natsl_hf_dir_find(&s->dir, from);
    const natsl_dtype dtype = e->tensor->dtype;
    const size_t width = t->count / t->shape[0], row_bytes = width * natsl_dtype_bytes(dtype), step = bytes / row_bytes;
    const hid_t type = natsl_tensor_type(dtype);
    if (type < 0) return natsl_fail(NATSL_ERR_NOMEM, "out of memory: a type of HDF5");
    natsl_tensor_object_name(t, name);
    for (int k = 0; k < t->rank; k++) shape[k] = t->shape[k];
    natsl_status st = natsl_h5_new_dataset(out, name, type, t->rank, shape, &dataset);
    for (size_t at = 0; st == NATSL_OK && at < t->shape[0]; at += step) {
        const size_t rows = t->shape[0] - at < step ? t->shape[0] - at : step;
        if ((st = get_rows(&s->dir, e, p, at, rows, row_bytes, room)) != NATSL_OK) break;
        const size_t bad = natsl_dtype_not_finite(dtype, rows * width, room);
        if (bad < rows * width)
            st = natsl_fail(NATSL_ERR_INPUT, "%s: tensor %s: value %zu is not finite", s->dir.shards[e->shard].path,
                            from, natsl_hf_row(p, at + bad / width) * width + bad % width);
        if (st == NATSL_OK)
            st = natsl_h5_write_rows(dataset, out->path, name, type, (int64_t)at, (int64_t)rows, row_bytes, room);
    }
    if (dataset >= 0 && H5Dclose(dataset) < 0 && st == NATSL_OK)
        st = natsl_fail(NATSL_ERR_IO, "%s: writing %s failed", out->path, name);
    (void)H5Tclose(type);
    return st;
}

static natsl_status put_tensors(source *s, natsl_h5_out *out)
{
    size_t bytes = PIECE_BYTES;
    for (size_t i = 0; i < s->layout.count; i++) { /* widest rows: products that the tensors' bytes contain */
        const natsl_tensor *t = &s->layout.tensors[i];
        const size_t row_bytes = t->count / t->shape[0] * sizeof(float);
        if (row_bytes > bytes) bytes = row_bytes;
    }
    unsigned char *room = natsl_alloc(bytes, 1, "rows of a tensor");
    natsl_status st = room ? NATSL_OK : NATSL_ERR_NOMEM;
    for (size_t i = 0; st == NATSL_OK && i < s->layout.count; i++) st = put_tensor(s, out, i, room, bytes);
    natsl_free(room);
    return st;
}

static natsl_status write_model(source *s, const char *path)
{
    natsl_h5_out out;
    natsl_status st = natsl_h5_create(MPI_COMM_NULL, path, &out);
    if (st != NATSL_OK) return st;
    st = natsl_model_head_put(&out, &s->config, s->tokenizer, s->origin, s->kept_share);
    if (st == NATSL_OK && s->bos >= 0) st = natsl_h5_put_ints(out.file, path, "bos_token_id", &s->bos, 1);
    if (st == NATSL_OK && s->n_eos > 0) st = natsl_h5_put_ints(out.file, path, "eos_token_id", s->eos, s->n_eos);
    if (st == NATSL_OK && s->tied_head) st = natsl_h5_put_int(out.file, path, "hf_tied_head", 1);
    for (size_t i = 0; st == NATSL_OK && natsl_hf_texts[i].file; i++) {
        if (s->texts[i]) st = natsl_h5_put_bytes(&out, natsl_hf_texts[i].object, s->texts[i], s->lengths[i]);
    }
    if (st == NATSL_OK && strcmp(s->prefix, NATSL_HF_PREFIX) != 0)
        st = natsl_h5_put_text(out.file, path, "hf_prefix", s->prefix);
    if (st == NATSL_OK && s->left_out > 0) st = natsl_h5_put_int(out.file, path, "hf_left_out", (int64_t)s->left_out);
    if (st == NATSL_OK) st = put_tensors(s, &out);
    return natsl_h5_finish(&out, st);
}

/** The model file must not take the place of one that it is made of. */
static natsl_status check_out(const source *s, const char *out)
{
    static const char *const others[] = {NATSL_HF_INDEX, NATSL_HF_OWN_FILE};
    char path[4096];
    int same = 0;
    if (access(out, F_OK) != 0) return NATSL_OK; /* what else is wrong with it, writing will say */
    for (size_t i = 0; i < s->dir.count; i++) same |= natsl_same_file(s->dir.shards[i].path, out);
    for (size_t i = 0; natsl_hf_texts[i].file; i++) {
        if (natsl_hf_path(s->dir.path, natsl_hf_texts[i].file, path, sizeof path) == NATSL_OK)
            same |= natsl_same_file(path, out);
    }
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        if (natsl_hf_path(s->dir.path, others[i], path, sizeof path) == NATSL_OK) same |= natsl_same_file(path, out);
    }
    return same ? natsl_fail(NATSL_ERR_USAGE, "--out: %s is also read, expected another file", out) : NATSL_OK;
}

natsl_status natsl_hf_import(const char *directory, const char *out, natsl_hf_tokenizer tokenizer,
                             natsl_hf_report *report)
{
    source s;
    memset(report, 0, sizeof *report);
    natsl_status st = source_open(directory, tokenizer, &s, report);
    if (st != NATSL_OK) return st;
    if (out) st = check_out(&s, out);
    if (out && st == NATSL_OK) st = write_model(&s, out);
    source_close(&s);
    return st;
}
