/* h5.h - small steps of HDF5 with natsl's errors: one line that names file and object. Private to src/io and its users.
 * MPI: a handle of h5_create belongs to all ranks; single steps say whether they are collective. HDF5's own error
 * stack is silent. */
#ifndef NATSL_H5_H
#define NATSL_H5_H

#include "core.h"
#include <hdf5.h>
#include <mpi.h>

/** Most bytes of one raw transfer: MPI-IO layers count them in an int. */
#define NATSL_H5_BLOCK_BYTES ((size_t)1 << 29)

/** Silences HDF5's printing; call before the first use. */
void natsl_h5_quiet(void);

/** A fresh file access list with natsl's settings; the caller closes it. */
hid_t natsl_h5_access(void);

/** Opens an existing HDF5 file for reading, on this process alone. NATSL_ERR_INPUT: missing, no HDF5, damaged. */
natsl_status natsl_h5_open(const char *path, hid_t *file);

/** A string attribute of the root of at most `limit` bytes; *text is NUL-terminated (free with natsl_free).
 * NATSL_ERR_INPUT. */
natsl_status natsl_h5_text(hid_t file, const char *path, const char *name, size_t limit, char **text);
/** An integer attribute of the root; a finite floating-point one. */
natsl_status natsl_h5_int(hid_t file, const char *path, const char *name, int64_t *value);
natsl_status natsl_h5_real(hid_t file, const char *path, const char *name, double *value);
/** An integer attribute of the root with one to `most` elements. */
natsl_status natsl_h5_ints(hid_t file, const char *path, const char *name, size_t most, int64_t *values, size_t *count);
/** Checks the attributes format and format_version. */
natsl_status natsl_h5_format(hid_t file, const char *path, const char *format, int64_t version);

/** Object `name` is in the file itself: a file from outside may not point at other files. NATSL_ERR_INPUT: missing,
 * or a link. */
natsl_status natsl_h5_stored_here(hid_t file, const char *path, const char *name);

/** Opens dataset `name` and checks that it is stored in this file, its class (H5T_FLOAT or H5T_INTEGER) and, where
 * rank > 0, its shape. NATSL_ERR_INPUT names what is wrong. Close with H5Dclose. */
natsl_status natsl_h5_dataset(hid_t file, const char *path, const char *name, H5T_class_t type_class, int rank,
                              const hsize_t *shape, hid_t *dataset);

/** Rows [first, first+count) of a dataset (leading dimension), as memory type `type`; row_bytes in memory.
 * Independent. */
natsl_status natsl_h5_read_rows(hid_t dataset, const char *path, const char *name, hid_t type, int64_t first,
                                int64_t count, size_t row_bytes, void *to);
natsl_status natsl_h5_write_rows(hid_t dataset, const char *path, const char *name, hid_t type, int64_t first,
                                 int64_t count, size_t row_bytes, const void *from);

/** While `on`, a failure of MPI-IO comes back as a status of the call that met it: around writes that other ranks take no part in.
 * Otherwise it ends the job (h5_out.c says why). */
void natsl_h5_independent(int on);

/** MPI-IO has failed on this rank, with this code (or MPI_SUCCESS and less than all): ends the job unless it may come back as a status,
 * or no file is being written. errno says why. */
void natsl_h5_io_failed(int code);

/** A whole 1-D dataset of bytes, at most `limit` of them: *bytes is NUL-terminated behind *count (free with natsl_free).
 * NATSL_ERR_INPUT, NATSL_ERR_NOMEM. Not collective. */
natsl_status natsl_h5_bytes(hid_t file, const char *path, const char *name, size_t limit, char **bytes, size_t *count);

/** Attributes of an object being written. Collective in a parallel file. */
natsl_status natsl_h5_put_text(hid_t object, const char *path, const char *name, const char *text);
natsl_status natsl_h5_put_int(hid_t object, const char *path, const char *name, int64_t value);
natsl_status natsl_h5_put_real(hid_t object, const char *path, const char *name, double value);
/** A list of integers (1-D). */
natsl_status natsl_h5_put_ints(hid_t object, const char *path, const char *name, const int64_t *values, size_t count);

/** A file being written under a temporary name. */
typedef struct natsl_h5_out {
    MPI_Comm comm; /* MPI_COMM_NULL: one process */
    char path[3072], temporary[3072 + 32];
    hid_t file;
    uint64_t reserved; /* bytes of disk space reserved; rank 0 */
    int sealed; /* set after creation, on all ranks: natsl_h5_finish adds a checksum (seal.h); not without a communicator */
} natsl_h5_out;

/** Creates the temporary file beside `path`. With a communicator: collective, parallel HDF5. NATSL_ERR_IO,
 * NATSL_ERR_USAGE. */
natsl_status natsl_h5_create(MPI_Comm comm, const char *path, natsl_h5_out *out);
/** A dataset at its final size, its disk space reserved now, never filled; intermediate groups are made. Collective;
 * all ranks get the same status. Close with H5Dclose before natsl_h5_finish. */
natsl_status natsl_h5_new_dataset(natsl_h5_out *out, const char *name, hid_t type, int rank, const hsize_t *shape,
                                  hid_t *dataset);
/** A 1-D dataset of bytes, written whole. For files of one process. */
natsl_status natsl_h5_put_bytes(natsl_h5_out *out, const char *name, const void *bytes, size_t count);
/** Closes; when `st` is NATSL_OK on all ranks, flushes to the disk and renames, else removes. Collective. Returns the
 * agreed status. */
natsl_status natsl_h5_finish(natsl_h5_out *out, natsl_status st);

#endif
