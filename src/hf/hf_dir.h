/* hf_dir.h - a Hugging Face directory being read: which of its files there are, and the tensors of one safetensors file or of many.
 * Owns: the mapped files. MPI: none. Source: transformers' modeling_utils.py (model.safetensors, model.safetensors.index.json).
 * Tests: tests/cli/import.sh */
#ifndef NATSL_HF_DIR_H
#define NATSL_HF_DIR_H

#include "safetensors.h"

/** Most files that the tensors may be spread over. */
#define NATSL_HF_SHARDS 4096
/** Which file each tensor is in, where they are spread. */
#define NATSL_HF_INDEX "model.safetensors.index.json"

typedef struct natsl_hf_dir {
    const char *path;      /* borrowed */
    natsl_st_file *shards; /* [count] */
    char **names;          /* [count]: their paths */
    size_t count;
    size_t tensors; /* of all shards */
} natsl_hf_dir;

/** Opens and checks all files of tensors: model.safetensors, else those that model.safetensors.index.json names, each in the directory
 * itself and with exactly the tensors that the index says. NATSL_ERR_INPUT, NATSL_ERR_IO, NATSL_ERR_NOMEM; *out is then empty. */
natsl_status natsl_hf_dir_open(const char *path, natsl_hf_dir *out);
void natsl_hf_dir_close(natsl_hf_dir *dir);

/** The tensor of that name and the index of its shard; NULL when there is none. */
const natsl_st_tensor *natsl_hf_dir_find(const natsl_hf_dir *dir, const char *name, size_t *shard);

/** A file of the directory, whole: *bytes [*length], NUL-terminated behind (free with natsl_free). Where there is none *bytes is NULL and
 * all is well. NATSL_ERR_INPUT when it is longer than `limit` or cannot be read, NATSL_ERR_NOMEM. */
natsl_status natsl_hf_file_read(const char *directory, const char *name, size_t limit, char **bytes, size_t *length);

/** "directory/name" in `text` [size]. NATSL_ERR_USAGE when it does not fit. */
natsl_status natsl_hf_path(const char *directory, const char *name, char *text, size_t size);

#endif
