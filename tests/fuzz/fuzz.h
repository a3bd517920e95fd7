/* fuzz.h - what fuzzing harnesses share. Each harness (fuzz_*.c) is LLVMFuzzerTestOneInput for one reader; linked with libFuzzer
 * (option NATSL_FUZZ) or with replay.c. A reader may refuse an input or take it, but must neither crash nor leak. */
#ifndef NATSL_FUZZ_H
#define NATSL_FUZZ_H

#include <stddef.h>
#include <stdint.h>

#define NATSL_FUZZ_MOST ((size_t)1 << 20)

/** Inputs that the reader has taken, where a harness counts them: a replay that has none is an error, for its seeds are of another
 * version's format. -1: it does not. */
extern long natsl_fuzz_taken;

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/** Path of a file with these bytes, in memory where there is /dev/shm; the same file for every call. NULL: it could not be written. */
const char *natsl_fuzz_file(const uint8_t *data, size_t size);
/** Starts MPI, alone, and silences HDF5. */
void natsl_fuzz_mpi(void);
/** Removes the file, ends MPI. */
void natsl_fuzz_finish(void);

#endif
