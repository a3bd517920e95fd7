/* safetensors.h - files of tensors in the safetensors format: read in place from memory that a file is mapped to, and written
 * front to back. Everything in a file is hostile until checked: lengths before they are added, multiplied or used as addresses.
 * MPI: none. HDF5: none. Source: the format's description, github.com/huggingface/safetensors README.md, "Format"; limit of the
 * header: safetensors/src/tensor.rs MAX_HEADER_SIZE. Tests: tests/unit/test_safetensors.c, tests/cli/import.sh */
#ifndef NATSL_SAFETENSORS_H
#define NATSL_SAFETENSORS_H

#include "dtype.h"
#include <natsl/status.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/** Most dimensions of a tensor; the models that natsl reads have 3. */
#define NATSL_SAFETENSORS_RANK 8
/** Most bytes of a header. */
#define NATSL_SAFETENSORS_HEADER ((size_t)100000000)

/** One tensor of a file. */
typedef struct natsl_st_tensor {
    char *name;
    natsl_dtype dtype;
    int rank; /* 0: a single number */
    size_t shape[NATSL_SAFETENSORS_RANK];
    size_t count, bytes;       /* numbers; count * bytes of one */
    const unsigned char *data; /* [bytes], in the mapped memory, of any alignment; valid until the file is closed */
} natsl_st_tensor;

/** A file's tensors, by name in strcmp's order. */
typedef struct natsl_st_file {
    natsl_st_tensor *tensors; /* [count] */
    size_t count;
    void *map; /* [map_bytes]; NULL when the bytes are the caller's */
    size_t map_bytes;
} natsl_st_file;

/** Reads the header of a file that is in memory (borrowed: must outlive *out) and checks it whole: types F32, F16 and BF16 only,
 * every shape's product against its bytes, every byte after the header in exactly one tensor, no name twice. `path` is for
 * messages. NATSL_ERR_INPUT names what is wrong, NATSL_ERR_NOMEM; *out is then empty. Release with natsl_st_close. */
natsl_status natsl_st_parse(const char *path, const void *bytes, size_t length, natsl_st_file *out);

/** The same for a file, which is mapped to memory. */
natsl_status natsl_st_open(const char *path, natsl_st_file *out);
/** Unmaps and frees. Accepts an empty one. */
void natsl_st_close(natsl_st_file *file);

/** The tensor of that name, NULL when there is none. */
const natsl_st_tensor *natsl_st_find(const natsl_st_file *file, const char *name);

/** Tells the kernel that these bytes of a tensor will be read now (1), or are not needed any more (0). Advice only. */
void natsl_st_advise(const natsl_st_file *file, const unsigned char *data, size_t bytes, int begins);

/** A file being written, to its final name: the caller gives it a directory that nobody looks at yet. */
typedef struct natsl_st_out {
    FILE *file;
    const char *path; /* borrowed */
    size_t left;      /* bytes of tensors that are still to come */
} natsl_st_out;

/** Creates the file (it may not exist) and writes the header for these tensors (name, dtype, rank, shape, bytes count;
 * `data` is not looked at), whose bytes follow in this order through natsl_st_write. NATSL_ERR_IO, NATSL_ERR_NOMEM. */
natsl_status natsl_st_create(const char *path, const natsl_st_tensor *const *tensors, size_t count, natsl_st_out *out);
/** The next bytes. NATSL_ERR_IO. */
natsl_status natsl_st_write(natsl_st_out *out, const void *bytes, size_t count);
/** Flushes to the disk and closes, also after a failure `st`, which is then returned. */
natsl_status natsl_st_finish(natsl_st_out *out, natsl_status st);

#endif
