/* hf_dir.h - a Hugging Face directory being read: which of its files there are, and the tensors of one safetensors file or of many.
 * Owns: the tables of the files, and the one that is open. MPI: none. Source: transformers' modeling_utils.py (model.safetensors, model.safetensors.index.json).
 * Tests: tests/cli/import.sh */
#ifndef NATSL_HF_DIR_H
#define NATSL_HF_DIR_H

#include "safetensors.h"

/** Most files that the tensors may be spread over. */
#define NATSL_HF_SHARDS 4096
/** Which file each tensor is in, where they are spread. */
#define NATSL_HF_INDEX "model.safetensors.index.json"

/** A tensor of the directory. */
typedef struct natsl_hf_entry {
    const natsl_st_tensor *tensor;
    size_t shard; /* the file that has it */
    int taken;    /* for the reader's own use: 0 at first */
} natsl_hf_entry;

typedef struct natsl_hf_dir {
    const char *path;      /* borrowed */
    natsl_st_file *shards; /* [count] */
    size_t count;
    natsl_hf_entry *entries; /* [tensors] of all shards, by name in strcmp's order */
    size_t tensors;
    size_t reading; /* the shard that is open, if one is */
} natsl_hf_dir;

/** Reads and checks the headers of all files of tensors: model.safetensors, else those that model.safetensors.index.json names, each in
 * the directory itself and with exactly the tensors that the index says. NATSL_ERR_INPUT, NATSL_ERR_IO, NATSL_ERR_NOMEM; *out is
 * then empty. */
natsl_status natsl_hf_dir_open(const char *path, natsl_hf_dir *out);
void natsl_hf_dir_close(natsl_hf_dir *dir);

/** The tensor of that name; NULL when there is none. */
natsl_hf_entry *natsl_hf_dir_find(const natsl_hf_dir *dir, const char *name);

/** Bytes [at, at + bytes) of a tensor, to `to`. One file is open at a time. As natsl_st_read. */
natsl_status natsl_hf_dir_read(natsl_hf_dir *dir, const natsl_hf_entry *entry, size_t at, size_t bytes, void *to);

/** A file of the directory, whole: *bytes [*length], NUL-terminated behind (free with natsl_free). Where there is none *bytes is NULL and
 * all is well. NATSL_ERR_INPUT when it is longer than `limit` or cannot be read, NATSL_ERR_NOMEM. */
natsl_status natsl_hf_file_read(const char *directory, const char *name, size_t limit, char **bytes, size_t *length);

/** "directory/name" in `text` [size]. NATSL_ERR_USAGE when it does not fit. */
natsl_status natsl_hf_path(const char *directory, const char *name, char *text, size_t size);

#endif
