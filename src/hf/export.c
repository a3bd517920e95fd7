/* export.c - a model file becomes a Hugging Face directory. See hf.h. */
#include "hf.h"

#include "core.h"
#include "files.h"
#include "h5.h"
#include "hf_dir.h"
#include "hf_names.h"
#include "tensors.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* More files than names have digits for; a size of shard that asks for more is a mistake. */
#define MAX_SHARDS 99999

/** A model file and how its tensors are to be spread. */
typedef struct plan {
    const char *path; /* of the model */
    hid_t file;
    natsl_model_info info;
    natsl_layout layout;
    natsl_hf_names names;
    natsl_st_tensor
        *tensors; /* [count], as names; the head of a tied model may come last. Names are borrowed from there */
    size_t count;
    size_t *shard; /* [count]: which file each goes to, from 0 */
    size_t shards;
    size_t most;      /* bytes of the largest tensor */
    size_t most_part; /* and of the largest of natsl's that is not one by itself */
    char *config;     /* text for config.json when the model file has none, to be freed; else NULL */
    char *origin;
} plan;

static void plan_close(plan *p)
{
    natsl_free(p->tensors);
    natsl_free(p->shard);
    natsl_free(p->origin);
    natsl_hf_names_free(&p->names);
    natsl_layout_free(&p->layout);
    free(p->config);
    if (p->file >= 0) (void)H5Fclose(p->file);
}

/** Index in names of the plan's tensor i: the head of a tied model is the embeddings, its first tensor. */
static size_t place(const plan *p, size_t i) { return i < p->names.count ? i : 0; }

/** The type that one of natsl's tensors has in the model file. */
static natsl_status get_dtype(const plan *p, const natsl_tensor *t, natsl_dtype *dtype)
{
    hid_t dataset = -1;
    const natsl_status st = natsl_tensor_open(p->file, p->path, t, &dataset);
    if (st != NATSL_OK) return st;
    *dtype = natsl_tensor_dtype(dataset);
    (void)H5Dclose(dataset);
    return NATSL_OK;
}

/** Types of the directory's tensors: those of natsl's that are parts of them, which must agree. */
static natsl_status list_dtypes(plan *p)
{
    natsl_dtype dtype = NATSL_DTYPE_F32;
    size_t bytes = 0;
    natsl_status st = NATSL_OK;
    for (size_t i = 0; st == NATSL_OK && i < p->layout.count; i++) {
        const natsl_tensor *t = &p->layout.tensors[i];
        const natsl_hf_place *at = &p->names.places[i];
        natsl_st_tensor *to = &p->tensors[at->tensor];
        if ((st = get_dtype(p, t, &dtype)) != NATSL_OK) return st;
        if (to->name && to->dtype != dtype)
            return natsl_fail(NATSL_ERR_INPUT, "%s: tensor %s is %s, but other parts of %s are %s", p->path, t->name,
                              natsl_dtype_name(dtype), to->name, natsl_dtype_name(to->dtype));
        to->name = p->names.tensors[at->tensor].name;
        to->dtype = dtype;
        if (p->names.tensors[at->tensor].parts == 1) continue;
        if (!natsl_size_mul(&bytes, t->count, natsl_dtype_bytes(dtype)))
            return natsl_fail(NATSL_ERR_INPUT, "%s: tensor %s exceeds the address space", p->path, t->name);
        if (bytes > p->most_part) p->most_part = bytes;
    }
    return st;
}

/** Types and sizes of the tensors, as they are stored. */
static natsl_status list_tensors(plan *p, natsl_hf_report *r)
{
    int64_t tied_head = 0;
    natsl_status st = NATSL_OK;
    if (p->info.config.tie_word_embeddings && H5Aexists(p->file, "hf_tied_head") > 0)
        st = natsl_h5_int(p->file, p->path, "hf_tied_head", &tied_head);
    if (st != NATSL_OK) return st;
    p->count = p->names.count + (tied_head == 1);
    p->tensors = natsl_calloc(p->count, sizeof *p->tensors, "tensor table");
    p->shard = natsl_calloc(p->count, sizeof *p->shard, "tensor table");
    if (!p->tensors || !p->shard) return NATSL_ERR_NOMEM;
    if ((st = list_dtypes(p)) != NATSL_OK) return st;
    for (size_t i = 0; i < p->count; i++) {
        const natsl_hf_tensor *t = &p->names.tensors[place(p, i)];
        natsl_st_tensor *to = &p->tensors[i];
        static char head[] = "lm_head.weight";
        if (i >= p->names.count) *to = (natsl_st_tensor){.name = head, .dtype = p->tensors[0].dtype};
        to->rank = t->rank;
        memcpy(to->shape, t->shape, sizeof t->shape);
        to->count = t->count;
        if (!natsl_size_mul(&to->bytes, to->count, natsl_dtype_bytes(to->dtype)))
            return natsl_fail(NATSL_ERR_INPUT, "%s: tensor %s exceeds the address space", p->path, to->name);
        if (to->bytes > p->most) p->most = to->bytes;
        if (i >= p->names.count) continue;
        r->parameters += (int64_t)to->count;
        r->bytes += to->bytes;
        r->dtypes[to->dtype]++;
    }
    return NATSL_OK;
}

/** In their order, each file takes tensors until the next one would make it too long. */
static natsl_status spread(plan *p, size_t shard_bytes)
{
    size_t bytes = 0;
    for (size_t i = 0; i < p->count; i++) {
        if (i > 0 && (p->tensors[i].bytes > shard_bytes || bytes > shard_bytes - p->tensors[i].bytes)) {
            p->shards++;
            bytes = 0;
        }
        p->shard[i] = p->shards;
        bytes += p->tensors[i].bytes;
    }
    p->shards++;
    return p->shards <= MAX_SHARDS
               ? NATSL_OK
               : natsl_fail(NATSL_ERR_USAGE, "%zu files of tensors, expected at most %d", p->shards, MAX_SHARDS);
}

/** config.json: the text that import kept, which must describe this very model, or a new one. */
static natsl_status check_config(plan *p, natsl_hf_report *r)
{
    char *text = NULL;
    size_t length = 0;
    natsl_config kept;
    if (H5Lexists(p->file, "hf", H5P_DEFAULT) <= 0) {
        p->config = natsl_hf_config_json(&p->info.config);
        if (!p->config) return natsl_fail(NATSL_ERR_NOMEM, "out of memory: configuration");
        return natsl_hf_config_parse(p->config, strlen(p->config), p->path, &kept, &r->family); /* as import will */
    }
    natsl_status st = natsl_h5_bytes(p->file, p->path, natsl_hf_texts[NATSL_HF_TEXT_CONFIG].object,
                                     natsl_hf_texts[NATSL_HF_TEXT_CONFIG].limit, &text, &length);
    if (st == NATSL_OK) st = natsl_hf_config_parse(text, length, p->path, &kept, &r->family);
    natsl_free(text);
    if (st != NATSL_OK) return st;
    char *a = natsl_config_json(&kept), *b = natsl_config_json(&p->info.config);
    if (!a || !b) st = natsl_fail(NATSL_ERR_NOMEM, "out of memory: configuration");
    else if (strcmp(a, b) != 0)
        st = natsl_fail(NATSL_ERR_INPUT, "%s: dataset %s and attribute config describe different models", p->path,
                        natsl_hf_texts[NATSL_HF_TEXT_CONFIG].object);
    free(a);
    free(b);
    return st;
}

/** Which tensors the directory gets. */
static natsl_status name_tensors(plan *p, natsl_hf_report *r)
{
    char *prefix = NULL;
    int64_t left_out = 0;
    natsl_status st = NATSL_OK;
    if (H5Aexists(p->file, "hf_prefix") > 0) {
        st = natsl_h5_text(p->file, p->path, "hf_prefix", 64, &prefix);
        if (st == NATSL_OK && strcmp(prefix, NATSL_HF_PREFIX_TEXT) != 0)
            st = natsl_fail(NATSL_ERR_INPUT, "%s: attribute hf_prefix: expected " NATSL_HF_PREFIX_TEXT, p->path);
    }
    if (st == NATSL_OK && H5Aexists(p->file, "hf_left_out") > 0)
        st = natsl_h5_int(p->file, p->path, "hf_left_out", &left_out);
    if (st == NATSL_OK && left_out < 0)
        st = natsl_fail(NATSL_ERR_INPUT, "%s: attribute hf_left_out: expected a number of tensors", p->path);
    r->left_out = (size_t)left_out;
    if (st == NATSL_OK)
        st =
            natsl_hf_names_create(r->family, prefix ? prefix : NATSL_HF_PREFIX, &p->info.config, &p->layout, &p->names);
    natsl_free(prefix);
    return st;
}

static natsl_status plan_open(const char *path, size_t shard_bytes, plan *p, natsl_hf_report *r)
{
    memset(p, 0, sizeof *p);
    p->path = path;
    p->file = -1;
    natsl_status st = natsl_model_file_info(path, &p->info);
    if (st != NATSL_OK) return st;
    NATSL_TRY(st, failed, natsl_h5_open(path, &p->file));
    NATSL_TRY(st, failed, natsl_layout_create(&p->info.config, NATSL_F32, &p->layout));
    NATSL_TRY(st, failed, check_config(p, r));
    NATSL_TRY(st, failed, name_tensors(p, r));
    NATSL_TRY(st, failed, list_tensors(p, r));
    NATSL_TRY(st, failed, spread(p, shard_bytes));
    if (H5Aexists(p->file, "origin") > 0)
        NATSL_TRY(st, failed, natsl_h5_text(p->file, path, "origin", 4096, &p->origin));
    r->config = p->info.config;
    r->shards = p->shards;
    (void)snprintf(r->tokenizer, sizeof r->tokenizer, "%.7s", p->info.tokenizer);
    return NATSL_OK;
failed:
    plan_close(p);
    return st;
}

/* ---- writing -------------------------------------------------------------------------------------------------------------- */

static natsl_status write_text(const char *directory, const char *name, const char *bytes, size_t length)
{
    char path[4096];
    natsl_status st = natsl_hf_path(directory, name, path, sizeof path);
    if (st != NATSL_OK) return st;
    errno = 0;
    FILE *file = fopen(path, "wbx");
    int bad = !file || (length > 0 && fwrite(bytes, 1, length, file) != length) || fflush(file) != 0 ||
              fsync(fileno(file)) != 0;
    int why = errno;
    if (file && fclose(file) != 0 && !bad) bad = 1, why = errno;
    return bad ? natsl_fail(NATSL_ERR_IO, "%s: %s", path, why ? strerror(why) : "writing failed") : NATSL_OK;
}

static natsl_status write_json(const char *directory, const char *name, const json_t *json)
{
    char *text = json ? json_dumps(json, JSON_INDENT(2) | JSON_SORT_KEYS | JSON_REAL_PRECISION(17)) : NULL;
    if (!text) return natsl_fail(NATSL_ERR_NOMEM, "out of memory: %s", name);
    const size_t length = strlen(text);
    text[length] = '\n'; /* instead of the end */
    const natsl_status st = write_text(directory, name, text, length + 1);
    free(text);
    return st;
}

/** The texts that import kept, config.json at least, and natsl.json. */
static natsl_status write_texts(const plan *p, const char *directory)
{
    natsl_status st = NATSL_OK;
    for (size_t i = 0; st == NATSL_OK && natsl_hf_texts[i].file; i++) {
        const natsl_hf_text *t = &natsl_hf_texts[i];
        char *bytes = NULL;
        size_t length = 0;
        if (i == NATSL_HF_TEXT_CONFIG && p->config) {
            st = write_text(directory, t->file, p->config, strlen(p->config));
            continue;
        }
        if (strncmp(t->object, "hf/", 3) == 0 && H5Lexists(p->file, "hf", H5P_DEFAULT) <= 0) continue;
        if (H5Lexists(p->file, t->object, H5P_DEFAULT) <= 0) continue;
        st = natsl_h5_bytes(p->file, p->path, t->object, t->limit, &bytes, &length);
        if (st == NATSL_OK) st = write_text(directory, t->file, bytes, length);
        natsl_free(bytes);
    }
    const int byte = strcmp(p->info.tokenizer, "byte") == 0;
    if (st != NATSL_OK || (!p->config && !byte && p->info.kept_share == 0.0)) return st;
    json_t *own = json_object();
    int bad = !own;
    if (!bad && p->origin) (void)json_object_set_new(own, "origin", json_string(p->origin)); /* unless it is no UTF-8 */
    if (!bad) bad = json_object_set_new(own, "tokenizer", json_string(p->info.tokenizer)) != 0;
    if (!bad && p->info.kept_share > 0.0)
        bad = json_object_set_new(own, "kept_share", json_real(p->info.kept_share)) != 0;
    st = bad ? natsl_fail(NATSL_ERR_NOMEM, "out of memory: " NATSL_HF_OWN_FILE)
             : write_json(directory, NATSL_HF_OWN_FILE, own);
    json_decref(own);
    return st;
}

static void shard_name(const plan *p, size_t shard, char name[64])
{
    if (p->shards == 1) (void)snprintf(name, 64, "model.safetensors");
    else (void)snprintf(name, 64, "model-%05zu-of-%05zu.safetensors", shard + 1, p->shards);
}

/** One of natsl's tensors, whole, checked: to `buffer`. */
static natsl_status read_tensor(const plan *p, const natsl_tensor *t, natsl_dtype dtype, void *buffer)
{
    hid_t dataset = -1;
    natsl_status st = natsl_tensor_open(p->file, p->path, t, &dataset);
    if (st != NATSL_OK) return st;
    st = natsl_tensor_read(dataset, p->path, t, dtype, buffer);
    (void)H5Dclose(dataset);
    if (st != NATSL_OK) return st;
    const size_t bad = natsl_dtype_not_finite(dtype, t->count, buffer);
    if (bad < t->count)
        return natsl_fail(NATSL_ERR_INPUT, "%s: tensor %s: value %zu is not finite", p->path, t->name, bad);
    return NATSL_OK;
}

/** One of the directory's tensors through `buffer` [p->most], its parts through `part` [p->most_part]. */
static natsl_status write_tensor(const plan *p, size_t i, unsigned char *buffer, unsigned char *part, natsl_st_out *out)
{
    const natsl_st_tensor *f = &p->tensors[i];
    const size_t wanted = place(p, i);
    const int whole = p->names.tensors[wanted].parts == 1;
    natsl_status st = NATSL_OK;
    for (size_t k = 0; st == NATSL_OK && k < p->layout.count; k++) {
        const natsl_tensor *t = &p->layout.tensors[k];
        const natsl_hf_place *at = &p->names.places[k];
        if (at->tensor != wanted) continue;
        st = read_tensor(p, t, f->dtype, whole ? buffer : part);
        const size_t row_bytes = t->count / t->shape[0] * natsl_dtype_bytes(f->dtype);
        for (size_t r = 0; st == NATSL_OK && !whole && r < t->shape[0]; r++)
            memcpy(buffer + natsl_hf_row(at, r) * row_bytes, part + r * row_bytes, row_bytes);
    }
    return st == NATSL_OK ? natsl_st_write(out, buffer, f->bytes) : st;
}

/** One file: those of 32 bits first, so that every number is aligned. */
static natsl_status write_shard(const plan *p, size_t shard, const char *directory, unsigned char *buffer,
                                unsigned char *part, int (*interrupted)(void))
{
    char name[64], path[4096];
    natsl_st_out out = {0};
    size_t count = 0, n = 0;
    for (size_t i = 0; i < p->count; i++) count += p->shard[i] == shard;
    const natsl_st_tensor **list = natsl_calloc(count, sizeof *list, "tensor table");
    size_t *index = natsl_calloc(count, sizeof *index, "tensor table");
    natsl_status st = list && index ? NATSL_OK : NATSL_ERR_NOMEM;
    for (int wide = 1; st == NATSL_OK && wide >= 0; wide--) {
        for (size_t i = 0; i < p->count; i++) {
            if (p->shard[i] != shard || (p->tensors[i].dtype == NATSL_DTYPE_F32) != wide) continue;
            list[n] = &p->tensors[i];
            index[n++] = i;
        }
    }
    shard_name(p, shard, name);
    if (st == NATSL_OK) st = natsl_hf_path(directory, name, path, sizeof path);
    if (st == NATSL_OK) st = natsl_st_create(path, list, count, &out);
    if (st == NATSL_OK) {
        for (size_t i = 0; st == NATSL_OK && i < count; i++) {
            st = interrupted && interrupted() ? NATSL_INTERRUPTED : write_tensor(p, index[i], buffer, part, &out);
            if (st == NATSL_INTERRUPTED) (void)natsl_fail(st, "interrupted, nothing was saved");
        }
        st = natsl_st_finish(&out, st);
    }
    natsl_free(list);
    natsl_free(index);
    return st;
}

/** The index, as transformers writes it. */
static natsl_status write_index(const plan *p, const char *directory)
{
    json_t *root = json_object(), *metadata = json_object(), *map = json_object();
    size_t bytes = 0, numbers = 0;
    int bad = !root || !metadata || !map;
    for (size_t i = 0; !bad && i < p->count; i++) {
        char name[64];
        shard_name(p, p->shard[i], name);
        bad = json_object_set_new(map, p->tensors[i].name, json_string(name)) != 0;
        bytes += p->tensors[i].bytes;
        numbers += p->tensors[i].count;
    }
    if (!bad) bad = json_object_set_new(metadata, "total_parameters", json_integer((json_int_t)numbers)) != 0;
    if (!bad) bad = json_object_set_new(metadata, "total_size", json_integer((json_int_t)bytes)) != 0;
    if (!bad) bad = json_object_set(root, "metadata", metadata) != 0 || json_object_set(root, "weight_map", map) != 0;
    const natsl_status st =
        bad ? natsl_fail(NATSL_ERR_NOMEM, "out of memory: index") : write_json(directory, NATSL_HF_INDEX, root);
    json_decref(metadata);
    json_decref(map);
    json_decref(root);
    return st;
}

static natsl_status write_all(const plan *p, const char *directory, int (*interrupted)(void))
{
    unsigned char *buffer = natsl_alloc(p->most, 1, "a tensor");
    unsigned char *part = natsl_alloc(p->most_part, 1, "part of a tensor");
    natsl_status st = buffer && part ? NATSL_OK : NATSL_ERR_NOMEM;
    for (size_t s = 0; st == NATSL_OK && s < p->shards; s++)
        st = write_shard(p, s, directory, buffer, part, interrupted);
    if (st == NATSL_OK && p->shards > 1) st = write_index(p, directory);
    if (st == NATSL_OK) st = write_texts(p, directory);
    natsl_free(part);
    natsl_free(buffer);
    return st;
}

/** Removes the directory that was being written, and what is in it: only files of ours. */
static void remove_directory(const char *directory)
{
    char path[4096];
    DIR *list = opendir(directory);
    for (struct dirent *e = list ? readdir(list) : NULL; e; e = readdir(list)) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0) continue;
        const int n = snprintf(path, sizeof path, "%s/%s", directory, e->d_name);
        if (n > 0 && (size_t)n < sizeof path) (void)unlink(path);
    }
    if (list) (void)closedir(list);
    (void)rmdir(directory);
}

/** Makes a directory's entries durable; some file systems refuse, and then it is theirs to see to it. */
static void sync_directory(const char *directory)
{
    const int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return;
    (void)fsync(fd);
    (void)close(fd);
}

static natsl_status write_directory(const plan *p, const char *out, int (*interrupted)(void))
{
    char final[3072], temporary[sizeof final + 32], parent[sizeof final];
    size_t length = strlen(out);
    while (length > 1 && out[length - 1] == '/') length--;
    if (length == 0 || length >= sizeof final)
        return natsl_fail(NATSL_ERR_USAGE, "--out: the path has %zu bytes, expected 1 to %zu", length,
                          sizeof final - 1);
    memcpy(final, out, length);
    final[length] = '\0';
    memcpy(parent, final, length + 1);
    (void)snprintf(temporary, sizeof temporary, "%s.tmp-%ld", final, (long)getpid());
    if (mkdir(temporary, 0777) != 0) return natsl_fail(NATSL_ERR_IO, "%s: %s", temporary, strerror(errno));
    natsl_status st = write_all(p, temporary, interrupted);
    if (st == NATSL_OK) {
        sync_directory(temporary);
        if (rename(temporary, final) != 0) /* takes the place of an empty directory, too */
            st = natsl_fail(NATSL_ERR_IO, "%s: %s", final,
                            errno == ENOTEMPTY || errno == EEXIST ? "is there already and not empty" : strerror(errno));
    }
    if (st != NATSL_OK) remove_directory(temporary);
    else sync_directory(dirname(parent));
    return st;
}

natsl_status natsl_hf_export(const char *model, const char *out, size_t shard_bytes, int (*interrupted)(void),
                             natsl_hf_report *report)
{
    plan p;
    memset(report, 0, sizeof *report);
    natsl_status st = plan_open(model, shard_bytes, &p, report);
    if (st != NATSL_OK) return st;
    if (out) st = write_directory(&p, out, interrupted);
    plan_close(&p);
    return st;
}
