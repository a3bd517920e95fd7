/* safetensors.h - files of tensors in the safetensors format: read a piece at a time, and written front to back. Everything in a
 * file is hostile until checked: lengths before they are added, multiplied or used as places. It is read, not mapped: what becomes
 * of it meanwhile (cut short, a disk that fails) is then an error with a line, not a signal.
 * MPI: none. HDF5: none. Source: the format's description, github.com/huggingface/safetensors README.md, "Format"; limit of the
 * header: safetensors/src/tensor.rs MAX_HEADER_SIZE. Tests: tests/unit/test_safetensors.c, tests/cli/import.sh */
#ifndef NATSL_SAFETENSORS_H
#define NATSL_SAFETENSORS_H

#include "dtype.h"
#include <natsl/status.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <time.h>

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
    size_t count, bytes; /* numbers; count * bytes of one */
    size_t at;           /* of a file that is read: place of its first byte in the file, of any alignment */
} natsl_st_tensor;

/** A file's tensors, by name in strcmp's order. All zero: an empty one. */
typedef struct natsl_st_file {
    natsl_st_tensor *tensors; /* [count] */
    size_t count;
    char *path;    /* NULL: of bytes in memory, which natsl_st_read cannot read */
    int fd;        /* open while it is being read, else -1; where there is a path */
    size_t length; /* bytes of the file, and when it was changed last: as they were when it was opened */
    struct timespec modified;
} natsl_st_file;

/** Checks the header of a file that is in memory (borrowed during the call): types F32, F16 and BF16 only, every shape's product
 * against its bytes, every byte after the header in exactly one tensor, no name twice. `path` is for messages.
 * NATSL_ERR_INPUT names what is wrong, NATSL_ERR_NOMEM; *out is then empty. Release with natsl_st_close. */
natsl_status natsl_st_parse(const char *path, const void *bytes, size_t length, natsl_st_file *out);

/** The same for a file, of which only the header is read; it is closed again until natsl_st_read. Also NATSL_ERR_IO. */
natsl_status natsl_st_open(const char *path, natsl_st_file *out);
/** Closes and frees. Accepts an empty one. */
void natsl_st_close(natsl_st_file *file);

/** Bytes [at, at + bytes) of a tensor of the file, to `to`. The file stays open for more; natsl_st_rest closes it: a model may have
 * more files than a process may have open. NATSL_ERR_INPUT: it has been changed, removed or cut short since it was opened;
 * NATSL_ERR_IO. */
natsl_status natsl_st_read(natsl_st_file *file, const natsl_st_tensor *tensor, size_t at, size_t bytes, void *to);
void natsl_st_rest(natsl_st_file *file);

/** The tensor of that name, NULL when there is none. */
const natsl_st_tensor *natsl_st_find(const natsl_st_file *file, const char *name);

/** A file being written, to its final name: the caller gives it a directory that nobody looks at yet. */
typedef struct natsl_st_out {
    FILE *file;
    const char *path; /* borrowed */
    size_t left;      /* bytes of tensors that are still to come */
} natsl_st_out;

/** Creates the file (it may not exist) and writes the header for these tensors (name, dtype, rank, shape, bytes), whose bytes follow in this order through natsl_st_write. NATSL_ERR_IO, NATSL_ERR_NOMEM. */
natsl_status natsl_st_create(const char *path, const natsl_st_tensor *const *tensors, size_t count, natsl_st_out *out);
/** The next bytes. NATSL_ERR_IO. */
natsl_status natsl_st_write(natsl_st_out *out, const void *bytes, size_t count);
/** Flushes to the disk and closes, also after a failure `st`, which is then returned. */
natsl_status natsl_st_finish(natsl_st_out *out, natsl_status st);

#endif
