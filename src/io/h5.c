/* h5.c - reading HDF5 files that may be hostile, and rows of any dataset. See h5.h; writing files is h5_out.c. */
#include "h5.h"

#include "place.h"
#include <errno.h>
#include <math.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Chunk cache of a dataset: compressed token files come in chunks larger than HDF5's 1 MiB, and without room for one
 * each read of a few thousand tokens would decompress it again. */
#define CHUNK_CACHE_BYTES ((size_t)64 << 20)

void natsl_h5_quiet(void) { (void)H5Eset_auto2(H5E_DEFAULT, NULL, NULL); }

hid_t natsl_h5_access(void)
{
    const hid_t list = H5Pcreate(H5P_FILE_ACCESS);
#if H5_VERSION_GE(1, 12, 1) || (H5_VERSION_GE(1, 10, 7) && !H5_VERSION_GE(1, 12, 0))
    (void)H5Pset_file_locking(list, 0, 1); /* many parallel file systems have no locks, and opening would fail */
#endif
    return list;
}

natsl_status natsl_h5_open(const char *path, hid_t *file)
{
    struct stat s;
    natsl_h5_quiet();
    *file = -1;
    if (stat(path, &s) != 0) return natsl_fail(NATSL_ERR_INPUT, "%s: %s", path, strerror(errno));
    if (!S_ISREG(s.st_mode)) return natsl_fail(NATSL_ERR_INPUT, "%s: not a regular file, expected an HDF5 file", path);
    if (access(path, R_OK) != 0) return natsl_fail(NATSL_ERR_INPUT, "%s: %s", path, strerror(errno));
    if (H5Fis_hdf5(path) <= 0) return natsl_fail(NATSL_ERR_INPUT, "%s: not an HDF5 file", path);
    const hid_t access_list = natsl_h5_access();
    (void)H5Pset_cache(access_list, 0, 521, CHUNK_CACHE_BYTES, 0.75);
    *file = H5Fopen(path, H5F_ACC_RDONLY, access_list);
    (void)H5Pclose(access_list);
    if (*file < 0) return natsl_fail(NATSL_ERR_INPUT, "%s: a damaged or truncated HDF5 file", path);
    return NATSL_OK;
}

natsl_status natsl_h5_text(hid_t file, const char *path, const char *name, size_t limit, char **text)
{
    natsl_status st = NATSL_ERR_INPUT;
    hid_t attribute = -1, type = -1, space = -1, memory = -1;
    char *variable = NULL;
    *text = NULL;
    (void)natsl_fail(st, "%s: attribute %s: expected a string of at most %zu bytes", path, name, limit);
    if (H5Aexists(file, name) <= 0 || (attribute = H5Aopen(file, name, H5P_DEFAULT)) < 0) goto cleanup;
    if ((type = H5Aget_type(attribute)) < 0 || H5Tget_class(type) != H5T_STRING) goto cleanup;
    if ((space = H5Aget_space(attribute)) < 0 || H5Sget_simple_extent_npoints(space) != 1) goto cleanup;
    if (H5Tis_variable_str(type) > 0) {
        memory = H5Tcopy(H5T_C_S1);
        (void)H5Tset_size(memory, H5T_VARIABLE);
        (void)H5Tset_cset(memory, H5Tget_cset(type));
        if (H5Aread(attribute, memory, &variable) < 0 || !variable) goto cleanup;
        const size_t length = strnlen(variable, limit + 1);
        if (length > limit) goto cleanup;
        if (!(*text = natsl_calloc(length + 1, 1, "attribute"))) st = NATSL_ERR_NOMEM;
        else memcpy(*text, variable, length), st = NATSL_OK;
    } else {
        const size_t length = H5Tget_size(type);
        if (length == 0 || length > limit) goto cleanup;
        if (!(*text = natsl_calloc(length + 1, 1, "attribute"))) st = NATSL_ERR_NOMEM;
        else if (H5Aread(attribute, type, *text) >= 0) st = NATSL_OK;
        if (st == NATSL_OK && H5Tget_strpad(type) == H5T_STR_SPACEPAD) { /* Fortran's */
            for (size_t i = strlen(*text); i > 0 && (*text)[i - 1] == ' '; i--) (*text)[i - 1] = '\0';
        }
    }
cleanup:
    if (variable) (void)H5free_memory(variable);
    if (memory >= 0) (void)H5Tclose(memory);
    if (space >= 0) (void)H5Sclose(space);
    if (type >= 0) (void)H5Tclose(type);
    if (attribute >= 0) (void)H5Aclose(attribute);
    if (st != NATSL_OK) natsl_free(*text), *text = NULL;
    return st;
}

/** A scalar attribute of the root of class `class`, read as type `memory`. */
static natsl_status number(hid_t file, const char *path, const char *name, H5T_class_t class, hid_t memory,
                           const char *what, void *value)
{
    natsl_status st = natsl_fail(NATSL_ERR_INPUT, "%s: attribute %s: expected one %s", path, name, what);
    hid_t attribute = -1, type = -1, space = -1;
    if (H5Aexists(file, name) > 0 && (attribute = H5Aopen(file, name, H5P_DEFAULT)) >= 0 &&
        (type = H5Aget_type(attribute)) >= 0 && H5Tget_class(type) == class && (space = H5Aget_space(attribute)) >= 0 &&
        H5Sget_simple_extent_npoints(space) == 1 && H5Aread(attribute, memory, value) >= 0)
        st = NATSL_OK;
    if (space >= 0) (void)H5Sclose(space);
    if (type >= 0) (void)H5Tclose(type);
    if (attribute >= 0) (void)H5Aclose(attribute);
    return st;
}

natsl_status natsl_h5_int(hid_t file, const char *path, const char *name, int64_t *value)
{
    return number(file, path, name, H5T_INTEGER, H5T_NATIVE_INT64, "integer", value);
}

natsl_status natsl_h5_ints(hid_t file, const char *path, const char *name, size_t most, int64_t *values, size_t *count)
{
    natsl_status st = natsl_fail(NATSL_ERR_INPUT, "%s: attribute %s: expected 1 to %zu integers", path, name, most);
    hid_t attribute = -1, type = -1, space = -1;
    hssize_t n = 0;
    if (H5Aexists(file, name) > 0 && (attribute = H5Aopen(file, name, H5P_DEFAULT)) >= 0 &&
        (type = H5Aget_type(attribute)) >= 0 && H5Tget_class(type) == H5T_INTEGER &&
        (space = H5Aget_space(attribute)) >= 0 && (n = H5Sget_simple_extent_npoints(space)) >= 1 &&
        n <= (hssize_t)most && H5Aread(attribute, H5T_NATIVE_INT64, values) >= 0) {
        *count = (size_t)n;
        st = NATSL_OK;
    }
    if (space >= 0) (void)H5Sclose(space);
    if (type >= 0) (void)H5Tclose(type);
    if (attribute >= 0) (void)H5Aclose(attribute);
    return st;
}

natsl_status natsl_h5_real(hid_t file, const char *path, const char *name, double *value)
{
    const natsl_status st = number(file, path, name, H5T_FLOAT, H5T_NATIVE_DOUBLE, "floating-point number", value);
    if (st != NATSL_OK || isfinite(*value)) return st;
    return natsl_fail(NATSL_ERR_INPUT, "%s: attribute %s: expected a finite number", path, name);
}

natsl_status natsl_h5_format(hid_t file, const char *path, const char *format, int64_t version)
{
    char *text = NULL;
    int64_t found = 0;
    natsl_status st = natsl_h5_text(file, path, "format", 64, &text);
    if (st != NATSL_OK)
        return st == NATSL_ERR_NOMEM ? st : natsl_fail(st, "%s: not a %s file (no attribute format)", path, format);
    if (strcmp(text, format) != 0) st = natsl_fail(NATSL_ERR_INPUT, "%s: a %s file, expected %s", path, text, format);
    natsl_free(text);
    if (st == NATSL_OK) st = natsl_h5_int(file, path, "format_version", &found);
    if (st == NATSL_OK && found != version)
        st = natsl_fail(NATSL_ERR_INPUT, "%s: format version %lld, expected %lld", path, (long long)found,
                        (long long)version);
    return st;
}

natsl_status natsl_h5_stored_here(hid_t file, const char *path, const char *name)
{
    char part[256];
    H5L_info_t link;
    for (const char *p = name;; p++) {
        if (*p != '/' && *p != '\0') continue;
        const size_t length = (size_t)(p - name);
        if (length == 0 || length >= sizeof part)
            return natsl_fail(NATSL_ERR_INTERNAL, "%s: object name %s", path, name);
        memcpy(part, name, length);
        part[length] = '\0';
        if (H5Lexists(file, part, H5P_DEFAULT) <= 0)
            return natsl_fail(NATSL_ERR_INPUT, "%s: %s is missing", path, name);
        if (H5Lget_info(file, part, &link, H5P_DEFAULT) < 0 || link.type != H5L_TYPE_HARD)
            return natsl_fail(NATSL_ERR_INPUT, "%s: %s is a link to another place, expected the object itself", path,
                              part);
        if (*p == '\0') return NATSL_OK;
    }
}

natsl_status natsl_h5_dataset(hid_t file, const char *path, const char *name, H5T_class_t type_class, int rank,
                              const hsize_t *shape, hid_t *dataset)
{
    natsl_status st = NATSL_ERR_INPUT;
    hid_t type = -1, space = -1, plist = -1;
    hsize_t dims[H5S_MAX_RANK] = {0};
    H5D_space_status_t status = H5D_SPACE_STATUS_ERROR;
    *dataset = -1;
    if (natsl_h5_stored_here(file, path, name) != NATSL_OK) return st;
    *dataset = H5Dopen2(file, name, H5P_DEFAULT);
    if (*dataset < 0) return natsl_fail(st, "%s: %s is not a dataset that can be read", path, name);
    if ((plist = H5Dget_create_plist(*dataset)) < 0 || H5Pget_layout(plist) == H5D_VIRTUAL ||
        H5Pget_external_count(plist) != 0) {
        (void)natsl_fail(st, "%s: dataset %s is stored outside the file", path, name);
        goto cleanup;
    }
    if ((type = H5Dget_type(*dataset)) < 0 || H5Tget_class(type) != type_class || H5Tget_size(type) > 8) {
        (void)natsl_fail(st, "%s: dataset %s: wrong type, expected %s numbers", path, name,
                         type_class == H5T_FLOAT ? "floating-point" : "integer");
        goto cleanup;
    }
    if ((space = H5Dget_space(*dataset)) < 0 || H5Sget_simple_extent_type(space) != H5S_SIMPLE ||
        H5Sget_simple_extent_ndims(space) != rank || H5Sget_simple_extent_dims(space, dims, NULL) < 0) {
        (void)natsl_fail(st, "%s: dataset %s: wrong shape, expected %d dimensions", path, name, rank);
        goto cleanup;
    }
    for (int i = 0; shape && i < rank; i++) {
        if (dims[i] == shape[i]) continue;
        (void)natsl_fail(st, "%s: dataset %s: dimension %d is %llu, expected %llu", path, name, i,
                         (unsigned long long)dims[i], (unsigned long long)shape[i]);
        goto cleanup;
    }
    const hssize_t points = H5Sget_simple_extent_npoints(space);
    if (points > 0 && (H5Dget_space_status(*dataset, &status) < 0 || status == H5D_SPACE_STATUS_NOT_ALLOCATED)) {
        (void)natsl_fail(st, "%s: dataset %s was never written", path, name); /* it would read as zeros */
        goto cleanup;
    }
    /* libhdf5 1.10.8 reads a compact dataset as far as its shape says, whatever there is of it */
    const size_t one = H5Tget_size(type);
    if (points < 0 || one == 0 ||
        (H5Pget_layout(plist) != H5D_CHUNKED && points > 0 && H5Dget_storage_size(*dataset) / one < (hsize_t)points)) {
        (void)natsl_fail(st, "%s: dataset %s: fewer bytes than its shape says", path, name);
        goto cleanup;
    }
    st = NATSL_OK;
cleanup:
    if (space >= 0) (void)H5Sclose(space);
    if (type >= 0) (void)H5Tclose(type);
    if (plist >= 0) (void)H5Pclose(plist);
    if (st != NATSL_OK) (void)H5Dclose(*dataset), *dataset = -1;
    return st;
}

/** The common part of reading and writing rows, in blocks. */
static int rows(hid_t dataset, hid_t type, int64_t first, int64_t count, size_t row_bytes, void *to, const void *from)
{
    hsize_t dims[H5S_MAX_RANK], start[H5S_MAX_RANK] = {0};
    int bad = 0;
    const hid_t space = H5Dget_space(dataset);
    const int rank = H5Sget_simple_extent_dims(space, dims, NULL);
    const int64_t step =
        row_bytes > 0 && NATSL_H5_BLOCK_BYTES / row_bytes > 0 ? (int64_t)(NATSL_H5_BLOCK_BYTES / row_bytes) : 1;
    bad = space < 0 || rank < 1;
    for (int64_t at = 0; !bad && at < count; at += step) {
        dims[0] = (hsize_t)(count - at < step ? count - at : step);
        start[0] = (hsize_t)(first + at);
        const hid_t memory = H5Screate_simple(rank, dims, NULL);
        bad = memory < 0 || H5Sselect_hyperslab(space, H5S_SELECT_SET, start, NULL, dims, NULL) < 0;
        if (!bad && to)
            bad = H5Dread(dataset, type, memory, space, H5P_DEFAULT, (char *)to + (size_t)at * row_bytes) < 0;
        if (!bad && from) {
            natsl_h5_independent(1);
            bad = H5Dwrite(dataset, type, memory, space, H5P_DEFAULT, (const char *)from + (size_t)at * row_bytes) < 0;
            natsl_h5_independent(0);
        }
        if (memory >= 0) (void)H5Sclose(memory);
        natsl_worked();
    }
    if (space >= 0) (void)H5Sclose(space);
    return bad;
}

natsl_status natsl_h5_read_rows(hid_t dataset, const char *path, const char *name, hid_t type, int64_t first,
                                int64_t count, size_t row_bytes, void *to)
{
    if (rows(dataset, type, first, count, row_bytes, to, NULL))
        return natsl_fail(NATSL_ERR_INPUT, "%s: dataset %s cannot be read: damaged or truncated file", path, name);
    return NATSL_OK;
}

natsl_status natsl_h5_bytes(hid_t file, const char *path, const char *name, size_t limit, char **bytes, size_t *count)
{
    hid_t dataset = -1;
    hsize_t dims[1] = {0};
    *bytes = NULL;
    natsl_status st = natsl_h5_dataset(file, path, name, H5T_INTEGER, 1, NULL, &dataset);
    if (st != NATSL_OK) return st;
    const hid_t space = H5Dget_space(dataset), type = H5Dget_type(dataset);
    if (space < 0 || type < 0 || H5Sget_simple_extent_dims(space, dims, NULL) != 1 || H5Tget_size(type) != 1 ||
        dims[0] > limit)
        st = natsl_fail(NATSL_ERR_INPUT, "%s: dataset %s: expected at most %zu bytes", path, name, limit);
    if (space >= 0) (void)H5Sclose(space);
    if (type >= 0) (void)H5Tclose(type);
    if (st == NATSL_OK && !(*bytes = natsl_calloc((size_t)dims[0] + 1, 1, name))) st = NATSL_ERR_NOMEM;
    if (st == NATSL_OK && dims[0] > 0)
        st = natsl_h5_read_rows(dataset, path, name, H5T_NATIVE_UINT8, 0, (int64_t)dims[0], 1, *bytes);
    (void)H5Dclose(dataset);
    if (st != NATSL_OK) natsl_free(*bytes), *bytes = NULL;
    else *count = (size_t)dims[0];
    return st;
}

natsl_status natsl_h5_write_rows(hid_t dataset, const char *path, const char *name, hid_t type, int64_t first,
                                 int64_t count, size_t row_bytes, const void *from)
{
    errno = 0;
    if (rows(dataset, type, first, count, row_bytes, NULL, from))
        return natsl_fail(NATSL_ERR_IO, "%s: writing %s failed%s%s", path, name, errno ? ": " : "",
                          errno ? strerror(errno) : "");
    return NATSL_OK;
}
