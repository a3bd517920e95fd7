/* fault_shim.c - preloaded into natsl by tests/cli/faults.sh: makes one call of one rank go wrong.
 * NATSL_SHIM="RANK CALL N WHAT [TIMES]": in the process of that rank (-1: any) the N-th call of CALL (write, pwrite, pread, fallocate,
 * fsync, rename, recv) and all later ones, or TIMES of them, fail with EIO or ENOSPC, or never return (hang), or end the process
 * (segv, abort, kill, fpe); WHAT gone removes the directory NATSL_SHIM_DIRECTORY first. Only files count whose path has NATSL_SHIM_FILE in it;
 * without that, ".tmp-": those that natsl is writing. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <mpi.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

/** Counts a call; 0: it goes on. Else it fails with errno set. */
static int fault(const char *call)
{
    static _Thread_local int inside;
    static int left = -1, times = -1;
    static char rank[16], what[16], name[16];
    if (inside || gettid() != getpid()) return 0; /* the work's calls, not the watchdog's */
    if (left == -1) {
        const char *text = getenv("NATSL_SHIM"), *own = getenv("OMPI_COMM_WORLD_RANK");
        if (!text || sscanf(text, "%15s %15s %d %15s %d", rank, name, &left, what, &times) < 4 || left < 1) left = 0;
        if (strcmp(rank, "-1") != 0 && strcmp(rank, own ? own : "0") != 0) left = 0;
    }
    if (left == 0 || strcmp(call, name) != 0) return 0;
    if (left > 1) return left--, 0;
    inside = 1;
    if (strcmp(what, "hang") == 0) {
        for (;;) (void)pause();
    } else if (strcmp(what, "segv") == 0) {
        volatile uintptr_t nowhere = 8;
        *(volatile int *)nowhere = 1;
    } else if (strcmp(what, "fpe") == 0) {
        (void)raise(SIGFPE);
    } else if (strcmp(what, "abort") == 0) {
        abort();
    } else if (strcmp(what, "kill") == 0) {
        (void)raise(SIGKILL);
    } else if (strcmp(what, "gone") == 0) {
        char command[4200];
        (void)unsetenv("LD_PRELOAD");
        (void)snprintf(command, sizeof command, "rm -rf '%s'", getenv("NATSL_SHIM_DIRECTORY"));
        if (system(command) != 0) abort();
        left = 0;
        inside = 0;
        return 0;
    }
    if (times > 0 && --times == 0) left = 0;
    errno = strcmp(what, "ENOSPC") == 0 ? ENOSPC : EIO;
    inside = 0;
    return 1;
}

/** Whether the descriptor is of a file that counts. */
static int ours(int fd)
{
    char link[64], path[4200];
    const int error = errno;
    (void)snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    const ssize_t n = readlink(link, path, sizeof path - 1);
    errno = error;
    if (n <= 0) return 0;
    path[n] = '\0';
    const char *part = getenv("NATSL_SHIM_FILE");
    return strstr(path, part ? part : ".tmp-") != NULL;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

ssize_t write(int fd, const void *data, size_t bytes)
{
    return ours(fd) && fault("write") ? -1 : REAL(write)(fd, data, bytes);
}

ssize_t pwrite(int fd, const void *data, size_t bytes, off_t at)
{
    return ours(fd) && fault("pwrite") ? -1 : REAL(pwrite)(fd, data, bytes, at);
}

ssize_t pwrite64(int fd, const void *data, size_t bytes, off64_t at)
{
    return ours(fd) && fault("pwrite") ? -1 : REAL(pwrite64)(fd, data, bytes, at);
}

ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t at)
{
    return ours(fd) && fault("pwrite") ? -1 : REAL(pwritev)(fd, parts, count, at);
}

ssize_t pread(int fd, void *to, size_t bytes, off_t at)
{
    return ours(fd) && fault("pread") ? -1 : REAL(pread)(fd, to, bytes, at);
}

ssize_t pread64(int fd, void *to, size_t bytes, off64_t at)
{
    return ours(fd) && fault("pread") ? -1 : REAL(pread64)(fd, to, bytes, at);
}

int fallocate(int fd, int mode, off_t at, off_t bytes)
{
    return ours(fd) && fault("fallocate") ? -1 : REAL(fallocate)(fd, mode, at, bytes);
}

int fallocate64(int fd, int mode, off64_t at, off64_t bytes)
{
    return ours(fd) && fault("fallocate") ? -1 : REAL(fallocate64)(fd, mode, at, bytes);
}

int fsync(int fd) { return ours(fd) && fault("fsync") ? -1 : REAL(fsync)(fd); }

int rename(const char *from, const char *to) { return fault("rename") ? -1 : REAL(rename)(from, to); }

int MPI_Recv(void *to, int count, MPI_Datatype type, int from, int tag, MPI_Comm comm, MPI_Status *status)
{
    (void)fault("recv");
    return PMPI_Recv(to, count, type, from, tag, comm, status);
}
