/* text_out.h - a text file that is whole or not there: written under a temporary name, flushed to the disk, renamed.
 * MPI: none. Tests: tests/unit/test_core.c */
#ifndef NATSL_TEXT_OUT_H
#define NATSL_TEXT_OUT_H

#include <natsl/status.h>
#include <stdio.h>

typedef struct natsl_text_out {
    FILE *file;           /* to be written to */
    const char *path;     /* borrowed */
    char temporary[4096]; /* as long as natsl_temporary_path */
} natsl_text_out;

/** Opens the temporary file beside `path`. NATSL_ERR_IO; NATSL_ERR_USAGE for a path that is too long. */
natsl_status natsl_text_out_open(const char *path, natsl_text_out *out);
/** Closes it; when all went well (`bad` is 0: the caller's own writing) it takes its name, else it is removed and NATSL_ERR_IO. */
natsl_status natsl_text_out_close(natsl_text_out *out, int bad);
/** Closes and removes it; the error text stays. */
void natsl_text_out_abandon(natsl_text_out *out);

#endif
