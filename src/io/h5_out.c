/* h5_out.c - HDF5 files being written: a temporary name, room reserved, all ranks together, then one rename. See
 * h5.h. */
#define _GNU_SOURCE /* fallocate, memfd_create */
#include "h5.h"

#include "agree.h"
#include "files.h"
#include "place.h"
#include "seal.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

/* Room reserved beyond what has been laid out, for what HDF5 still adds (attributes, group entries). */
#define RESERVE_BYTES 65536
/* The same, to be on the safe side, where the file system cannot reserve. */
#define PROBE_BYTES    ((size_t)1 << 20)
#define CANNOT_RESERVE UINT64_MAX

static natsl_status put(hid_t object, const char *path, const char *name, hid_t type, const void *value)
{
    int bad = 1;
    const hid_t space = H5Screate(H5S_SCALAR);
    const hid_t attribute = space < 0 ? -1 : H5Acreate2(object, name, type, space, H5P_DEFAULT, H5P_DEFAULT);
    if (attribute >= 0) bad = H5Awrite(attribute, type, value) < 0;
    if (attribute >= 0) (void)H5Aclose(attribute);
    if (space >= 0) (void)H5Sclose(space);
    return bad ? natsl_fail(NATSL_ERR_IO, "%s: writing attribute %s failed", path, name) : NATSL_OK;
}

natsl_status natsl_h5_put_text(hid_t object, const char *path, const char *name, const char *text)
{
    const hid_t type = H5Tcopy(H5T_C_S1);
    (void)H5Tset_size(type, strlen(text) + 1);
    (void)H5Tset_cset(type, H5T_CSET_UTF8);
    const natsl_status st = put(object, path, name, type, text);
    (void)H5Tclose(type);
    return st;
}

natsl_status natsl_h5_put_int(hid_t object, const char *path, const char *name, int64_t value)
{
    return put(object, path, name, H5T_NATIVE_INT64, &value);
}

natsl_status natsl_h5_put_real(hid_t object, const char *path, const char *name, double value)
{
    return put(object, path, name, H5T_NATIVE_DOUBLE, &value);
}

/* The files that a failure of MPI-IO may be about, the one begun last at the end: a checkpoint is written while a result is under way.
 * And whether a failure may be told by a status. */
static char guarded_path[2][3072];
static int guarded, independent;

/** MPI-IO has failed on this rank. In an independent write HDF5 returns the error and all is in order. In the collective ones, by
 * which HDF5 writes its own data, this rank would now leave its part of the conversation, and all ranks would wait for one
 * another in different places for ever (seen with 1.10.8: H5Fflush in MPI_File_sync on one, in MPI_Barrier on the others): so
 * the job ends here. Ranks that fail together take turns, so that one tells. The program's io_guard.c calls this; in a library's user MPI
 * and HDF5 do as they do. */
void natsl_h5_io_failed(int code)
{
    const int why = errno;
    char text[MPI_MAX_ERROR_STRING] = "writing failed";
    int length = 0, rank = 0;
    if (independent || guarded == 0) return;
    NATSL_MPI(MPI_Comm_rank(MPI_COMM_WORLD, &rank));
    if (why) (void)snprintf(text, sizeof text, "%s", strerror(why));
    else (void)MPI_Error_string(code, text, &length);
    (void)usleep((useconds_t)(rank < 10 ? rank : 10) * 300000);
    natsl_die(natsl_fail(NATSL_ERR_IO, "%s: writing HDF5's own data failed: %s", guarded_path[guarded - 1], text));
}

/** From here on a failure is about this file, until unguard. Alone there is nobody to be left waiting. */
static void guard(const natsl_h5_out *out)
{
    int size = 1;
    if (out->comm != MPI_COMM_NULL) NATSL_MPI(MPI_Comm_size(out->comm, &size));
    if (size > 1 && guarded < 2) (void)snprintf(guarded_path[guarded++], sizeof guarded_path[0], "%s", out->path);
}

static void unguard(const natsl_h5_out *out)
{
    if (guarded > 0 && strcmp(guarded_path[guarded - 1], out->path) == 0) guarded--;
}

void natsl_h5_independent(int on) { independent = on; }

natsl_status natsl_h5_put_ints(hid_t object, const char *path, const char *name, const int64_t *values, size_t count)
{
    int bad = 1;
    const hsize_t dims[1] = {count};
    const hid_t space = H5Screate_simple(1, dims, NULL);
    const hid_t attribute = space < 0 ? -1 : H5Acreate2(object, name, H5T_STD_I64LE, space, H5P_DEFAULT, H5P_DEFAULT);
    if (attribute >= 0) bad = H5Awrite(attribute, H5T_NATIVE_INT64, values) < 0;
    if (attribute >= 0) (void)H5Aclose(attribute);
    if (space >= 0) (void)H5Sclose(space);
    return bad ? natsl_fail(NATSL_ERR_IO, "%s: writing attribute %s failed", path, name) : NATSL_OK;
}

static int is_root(const natsl_h5_out *out)
{
    int rank = 0;
    if (out->comm != MPI_COMM_NULL) NATSL_MPI(MPI_Comm_rank(out->comm, &rank));
    return rank == 0;
}

static natsl_status agreed(const natsl_h5_out *out, natsl_status st)
{
    return out->comm == MPI_COMM_NULL ? st : natsl_agree_or_die(out->comm, st);
}

/** On rank 0: looks at the place and makes the temporary file, so that HDF5's later attempt by all ranks at once will
 * succeed and a wrong place is known before hours of work. */
static natsl_status claim(natsl_h5_out *out)
{
    struct stat s;
    char name[sizeof out->path];
    const char *path = out->path;
    (void)snprintf(name, sizeof name, "%s", path);
    const char *directory = dirname(name);
    if (stat(path, &s) == 0 && S_ISDIR(s.st_mode))
        return natsl_fail(NATSL_ERR_IO, "%s: is a directory, expected a file to write", path);
    if (stat(path, &s) == 0 && !S_ISREG(s.st_mode)) /* renaming would replace the device */
        return natsl_fail(NATSL_ERR_IO, "%s: not a regular file, expected a file to write", path);
    if (stat(directory, &s) != 0)
        return natsl_fail(NATSL_ERR_IO, "%s: directory %s: %s", path, directory, strerror(errno));
    for (int attempt = 0; attempt < 100; attempt++) { /* in containers, a killed run's name is likely to come again */
        (void)snprintf(out->temporary, sizeof out->temporary, attempt ? "%s.tmp-%ld-%d" : "%s.tmp-%ld", path,
                       (long)getpid(), attempt);
        const int probe = open(out->temporary, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0666);
        if (probe < 0 && errno == EEXIST) continue;
        if (probe < 0) break;
        natsl_temporary_set(out->temporary); /* before anything is waited for */
        (void)close(probe);
        return NATSL_OK;
    }
    (void)natsl_fail(NATSL_ERR_IO, "%s: cannot be written: %s", path, strerror(errno));
    out->temporary[0] = '\0'; /* nothing to remove */
    return NATSL_ERR_IO;
}

/** Reserves the disk space of the file up to byte `end`, and some for what HDF5 adds (attributes, group entries). A
 * full disk then shows before the work, not after it, and HDF5's own writes find their room. Where the file system
 * cannot reserve, nothing happens. Not collective: rank 0. */
static natsl_status reserve(natsl_h5_out *out, haddr_t end)
{
    struct rlimit limit;
    if (end > (haddr_t)INT64_MAX - RESERVE_BYTES)
        return natsl_fail(NATSL_ERR_IO, "%s: the file would be too long", out->path);
    end += RESERVE_BYTES;
    if (end <= out->reserved) return NATSL_OK;
    if (getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY && end > limit.rlim_cur)
        return natsl_fail(NATSL_ERR_IO, "%s: %llu bytes exceed the limit of file sizes (ulimit -f), %llu bytes",
                          out->path, (unsigned long long)end, (unsigned long long)limit.rlim_cur);
    const int fd = open(out->temporary, O_WRONLY | O_CLOEXEC);
    int failed = 0;
    if (fd < 0) return NATSL_OK;
    do {
        failed = fallocate(fd, FALLOC_FL_KEEP_SIZE, (off_t)out->reserved, (off_t)(end - out->reserved)) != 0;
    } while (failed && errno == EINTR);
    const int error = errno;
    (void)close(fd);
    if (failed && (error == ENOSPC || error == EDQUOT || error == EFBIG || error == EIO))
        return natsl_fail(NATSL_ERR_IO, "%s: no room for %llu bytes: %s", out->path, (unsigned long long)end,
                          strerror(error));
    out->reserved = failed ? CANNOT_RESERVE : end;
    return NATSL_OK;
}

/** Where space could not be reserved: is there room for HDF5's metadata, which is still in its caches? Asked before
 * all ranks flush them together, since an error that only some ranks meet inside MPI-IO leaves the others waiting for
 * ever. Not collective: rank 0. */
static natsl_status probe(const natsl_h5_out *out)
{
    static const char zeros[PROBE_BYTES];
    struct stat s = {.st_size = -1};
    if (out->reserved != CANNOT_RESERVE) return NATSL_OK;
    const int fd = open(out->temporary, O_WRONLY | O_CLOEXEC);
    int bad = fd < 0 || fstat(fd, &s) != 0;
    for (size_t at = 0; !bad && at < sizeof zeros;) {
        const ssize_t n = pwrite(fd, zeros + at, sizeof zeros - at, s.st_size + (off_t)at);
        if (n > 0) at += (size_t)n;
        else if (n == 0 || errno != EINTR) bad = 1;
    }
    if (!bad) bad = fsync(fd) != 0;
    const int error = errno;
    if (fd >= 0 && s.st_size >= 0 && ftruncate(fd, s.st_size) != 0) bad = 1;
    if (fd >= 0) (void)close(fd);
    return bad ? natsl_fail(NATSL_ERR_IO, "%s: cannot be written: %s", out->path, strerror(error)) : NATSL_OK;
}

/** While it opens a file, Open MPI tries locks on one of its own beside it (its component sharedfp/lockedfile). */
static void open_beside(const natsl_h5_out *out)
{
    char path[sizeof out->temporary + 32];
    int rank = 0;
    if (out->comm == MPI_COMM_NULL) return;
    NATSL_MPI(MPI_Comm_rank(out->comm, &rank));
    (void)snprintf(path, sizeof path, "%s.locktest.%d", out->temporary, rank);
    natsl_temporary_beside(path);
}

natsl_status natsl_h5_create(MPI_Comm comm, const char *path, natsl_h5_out *out)
{
    natsl_status st = NATSL_OK;
    natsl_h5_quiet();
    natsl_task("creating a file");
    *out = (natsl_h5_out){.comm = comm, .file = -1};
    if (!*path) return natsl_fail(NATSL_ERR_USAGE, "the file to write has an empty name");
    if (strlen(path) >= sizeof out->path) return natsl_fail(NATSL_ERR_USAGE, "%.60s...: the path is too long", path);
    (void)snprintf(out->path, sizeof out->path, "%s", path);
    if (is_root(out)) st = claim(out);
    if (comm != MPI_COMM_NULL) NATSL_MPI(MPI_Bcast(out->temporary, sizeof out->temporary, MPI_CHAR, 0, comm));
    if ((st = agreed(out, st)) != NATSL_OK) return st;
    if (!is_root(out)) natsl_temporary_set(out->temporary);
    /* Every node must see the place: HDF5 would leave the other ranks waiting inside its own collective calls. */
    const int seen = open(out->temporary, O_WRONLY | O_CLOEXEC);
    if (seen < 0) st = natsl_fail(NATSL_ERR_IO, "%s: not every rank can open it: %s", path, strerror(errno));
    else (void)close(seen);
    if ((st = agreed(out, st)) != NATSL_OK) return natsl_h5_finish(out, st);
    const hid_t access = natsl_h5_access();
    (void)H5Pset_sieve_buf_size(access, 0); /* raw data goes out at once: a full disk shows in the write that met it */
    if (comm != MPI_COMM_NULL) {
        (void)H5Pset_fapl_mpio(access, comm, MPI_INFO_NULL);
        (void)H5Pset_coll_metadata_write(access, 1);
    }
    open_beside(out);
    out->file = H5Fcreate(out->temporary, H5F_ACC_TRUNC, H5P_DEFAULT, access);
    natsl_temporary_beside("");
    (void)H5Pclose(access);
    if (out->file < 0) st = natsl_fail(NATSL_ERR_IO, "%s: cannot be created", path);
    else guard(out);
    if (st == NATSL_OK && is_root(out)) st = reserve(out, 0);
    st = agreed(out, st);
    return st == NATSL_OK ? st : natsl_h5_finish(out, st);
}

natsl_status natsl_h5_new_dataset(natsl_h5_out *out, const char *name, hid_t type, int rank, const hsize_t *shape,
                                  hid_t *dataset)
{
    const hid_t space = H5Screate_simple(rank, shape, NULL), links = H5Pcreate(H5P_LINK_CREATE);
    const hid_t how = H5Pcreate(H5P_DATASET_CREATE);
    (void)H5Pset_create_intermediate_group(links, 1);
    (void)H5Pset_alloc_time(how, H5D_ALLOC_TIME_EARLY); /* so that writing needs no agreement between ranks */
    (void)H5Pset_fill_time(how, H5D_FILL_TIME_NEVER);
    *dataset = H5Dcreate2(out->file, name, type, space, links, how, H5P_DEFAULT);
    (void)H5Pclose(how);
    (void)H5Pclose(links);
    if (space >= 0) (void)H5Sclose(space);
    natsl_status st = *dataset < 0 ? natsl_fail(NATSL_ERR_IO, "%s: creating %s failed", out->path, name) : NATSL_OK;
    if (st == NATSL_OK && is_root(out)) {
        const haddr_t begin = H5Dget_offset(*dataset);
        if (begin != HADDR_UNDEF) st = reserve(out, begin + H5Dget_storage_size(*dataset)); /* else it is empty */
    }
    st = agreed(out, st); /* else the ranks would part here, some going on to the next collective step */
    if (st != NATSL_OK && *dataset >= 0) {
        (void)H5Dclose(*dataset);
        *dataset = -1;
    }
    return st;
}

natsl_status natsl_h5_put_bytes(natsl_h5_out *out, const char *name, const void *bytes, size_t count)
{
    const hsize_t shape[1] = {count};
    hid_t dataset = -1;
    natsl_status st = natsl_h5_new_dataset(out, name, H5T_STD_U8LE, 1, shape, &dataset);
    if (st != NATSL_OK) return st;
    st = natsl_h5_write_rows(dataset, out->path, name, H5T_NATIVE_UINT8, 0, (int64_t)count, 1, bytes);
    if (H5Dclose(dataset) < 0 && st == NATSL_OK)
        st = natsl_fail(NATSL_ERR_IO, "%s: writing %s failed", out->path, name);
    return st;
}

/** Points this process's descriptors of the temporary file at memory. HDF5 cannot give up a file: H5Fclose writes
 * what is still in its caches, and when that fails (a full disk) leaves a half-destroyed file behind that crashes in
 * MPI_Finalize (seen with 1.10.8). What is written now is for nobody, so it may as well succeed. The limit of file
 * sizes holds for memory, too: it is lifted; *limit is what to restore. */
static void divert(const natsl_h5_out *out, struct rlimit *limit)
{
    struct stat ours, s;
    DIR *list = stat(out->temporary, &ours) == 0 ? opendir("/proc/self/fd") : NULL;
    const int memory = list ? memfd_create("natsl-abandoned", MFD_CLOEXEC) : -1;
    if (memory >= 0) {
        (void)setrlimit(RLIMIT_FSIZE, &(struct rlimit){limit->rlim_max, limit->rlim_max});
        for (struct dirent *entry = readdir(list); entry; entry = readdir(list)) {
            char *end = NULL;
            const long fd = strtol(entry->d_name, &end, 10);
            if (end == entry->d_name || fd == memory || fstat((int)fd, &s) != 0) continue;
            if (s.st_dev == ours.st_dev && s.st_ino == ours.st_ino) (void)dup2(memory, (int)fd);
        }
        (void)close(memory);
    }
    if (list) (void)closedir(list);
}

/** Makes the renamed file durable: its data, then its name. */
static natsl_status settle(const natsl_h5_out *out)
{
    char name[sizeof out->path];
    const int file = open(out->temporary, O_RDONLY | O_CLOEXEC);
    const int bad = file < 0 || fsync(file) != 0;
    int error = bad ? errno : 0;
    if (file >= 0) (void)close(file);
    if (!error && rename(out->temporary, out->path) != 0) error = errno;
    if (error) return natsl_fail(NATSL_ERR_IO, "%s: cannot be written: %s", out->path, strerror(error));
    (void)snprintf(name, sizeof name, "%s", out->path);
    const int directory = open(dirname(name), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (directory >= 0) { /* some file systems refuse this; the data is safe by now */
        (void)fsync(directory);
        (void)close(directory);
    }
    return NATSL_OK;
}

natsl_status natsl_h5_finish(natsl_h5_out *out, natsl_status st)
{
    struct rlimit limit;
    natsl_task("completing a file");
    st = agreed(out, st);
    if (out->file >= 0) {
        const int limited = getrlimit(RLIMIT_FSIZE, &limit) == 0;
        if (st == NATSL_OK) {
            if (is_root(out)) st = probe(out);
            st = agreed(out, st);
        }
        if (st == NATSL_OK) {
            errno = 0;
            if (H5Fflush(out->file, H5F_SCOPE_GLOBAL) < 0)
                st = natsl_fail(NATSL_ERR_IO, "%s: flushing failed: %s", out->path,
                                errno ? strerror(errno) : "disk full?");
            st = agreed(out, st);
        }
        if (st != NATSL_OK) natsl_h5_independent(1); /* whatever still fails is for nobody */
        if (st != NATSL_OK && limited) divert(out, &limit);
        if (H5Fclose(out->file) < 0 && st == NATSL_OK)
            st = natsl_fail(NATSL_ERR_IO, "%s: closing failed: disk full?", out->path);
        if (limited) (void)setrlimit(RLIMIT_FSIZE, &limit);
        out->file = -1;
        natsl_h5_independent(0);
        unguard(out);
    }
    st = agreed(out, st); /* out here: after a failed creation some ranks may have had no file to close */
    if (st == NATSL_OK && out->sealed && out->comm != MPI_COMM_NULL)
        st = natsl_seal_put(out->comm, out->temporary, out->path);
    if (is_root(out)) {
        if (st == NATSL_OK) st = settle(out);
        if (st != NATSL_OK && out->temporary[0]) (void)unlink(out->temporary);
    }
    st = agreed(out, st);
    natsl_temporary_set("");
    return st;
}
