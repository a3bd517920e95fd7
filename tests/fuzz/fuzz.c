/* fuzz.c - see fuzz.h. */
#include "fuzz.h"

#include <fcntl.h>
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

long natsl_fuzz_taken = -1;

static char path[64];

static void remove_file(void)
{
    if (path[0]) (void)unlink(path);
}

const char *natsl_fuzz_file(const uint8_t *data, size_t size)
{
    if (!path[0]) {
        struct stat s;
        const char *directory = stat("/dev/shm", &s) == 0 ? "/dev/shm" : "/tmp";
        (void)snprintf(path, sizeof path, "%s/natsl-fuzz-%ld", directory, (long)getpid());
        (void)atexit(remove_file);
    }
    const int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0) return NULL;
    const int whole = write(fd, data, size) == (ssize_t)size;
    (void)close(fd);
    return whole ? path : NULL;
}

void natsl_fuzz_mpi(void)
{
    int there = 0;
    (void)MPI_Initialized(&there);
    if (there) return;
    (void)setenv("OMPI_MCA_ess_singleton_isolated", "1", 0);
    (void)setenv("OMPI_MCA_pml", "ob1", 0);
    (void)MPI_Init(NULL, NULL);
}

void natsl_fuzz_finish(void)
{
    int there = 0;
    remove_file();
    (void)MPI_Initialized(&there);
    if (there) (void)MPI_Finalize();
}
