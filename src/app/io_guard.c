/* io_guard.c - looks at every write that HDF5 gives to MPI-IO, by MPI's profiling interface: the program's functions of these names come
 * before the library's. Open MPI 4.1 returns success for some writes that have failed (fcoll/individual), only with too small a
 * count; HDF5 sees the count, on the one rank that wrote, and then ranks wait for one another for ever (h5_out.c). In the
 * program only: a library must not put itself before its user's MPI. Tests: tests/cli/faults.sh */
#include "h5.h"

#include <errno.h>

static void look(int rc, int count, MPI_Datatype type, const MPI_Status *status)
{
    MPI_Count size = 0, written = 0;
    if (rc == MPI_SUCCESS && MPI_Type_size_x(type, &size) == MPI_SUCCESS &&
        MPI_Get_elements_x(status, MPI_BYTE, &written) == MPI_SUCCESS && written >= size * count)
        return;
    natsl_h5_io_failed(rc);
}

int MPI_File_write_at_all(MPI_File file, MPI_Offset at, const void *data, int count, MPI_Datatype type,
                          MPI_Status *status)
{
    MPI_Status own;
    errno = 0;
    if (status == MPI_STATUS_IGNORE) status = &own;
    const int rc = PMPI_File_write_at_all(file, at, data, count, type, status);
    look(rc, count, type, status);
    return rc;
}

int MPI_File_write_at(MPI_File file, MPI_Offset at, const void *data, int count, MPI_Datatype type, MPI_Status *status)
{
    MPI_Status own;
    errno = 0;
    if (status == MPI_STATUS_IGNORE) status = &own;
    const int rc = PMPI_File_write_at(file, at, data, count, type, status);
    look(rc, count, type, status);
    return rc;
}
