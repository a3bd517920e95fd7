/* seal.h - a checksum over all bytes of a finished file, behind its end: any damaged byte shows before HDF5 looks at the file,
 * which may crash on what it cannot make sense of. HDF5's own checksum (fletcher32) covers neither attributes nor the tables that
 * say where data lies, and wants every rank in every write. HDF5 ignores what stands behind its own end.
 * The seal is 64 characters, the last ones of the file: "\nnatsl-seal-1 bytes=<16 hex> digest=<16 hex>", blanks and a line feed;
 * bytes: of the file before it; digest: of blocks of NATSL_SEAL_BLOCK bytes in their order (core/digest.h).
 * MPI: collective on comm unless said; each rank reads its share of the blocks. Owns: nothing. Tests: tests/mpi/test_results.c,
 * tests/cli/resume.sh */
#ifndef NATSL_SEAL_H
#define NATSL_SEAL_H

#include "core.h"
#include <mpi.h>

#define NATSL_SEAL_BYTES 64
#define NATSL_SEAL_BLOCK ((size_t)4 << 20)

/** Appends the seal to the file `file`, called `path` in messages; the caller flushes it to the disk. NATSL_ERR_IO. */
natsl_status natsl_seal_put(MPI_Comm comm, const char *file, const char *path);

/** Whether the file is what was sealed. `required`: a file without a seal is an error, too; else it passes. NATSL_ERR_INPUT:
 * cannot be read, changed since, not whole. All ranks get the same status and text. */
natsl_status natsl_seal_check(MPI_Comm comm, const char *path, int required);

#endif
