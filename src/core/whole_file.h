/* whole_file.h - a file from outside, in memory; whether two names are of one file. Owns: nothing. MPI: none. Tests: tests/unit/test_core.c */
#ifndef NATSL_WHOLE_FILE_H
#define NATSL_WHOLE_FILE_H

#include <natsl/status.h>
#include <stddef.h>

/** All bytes of a file, or of a pipe up to its end: *bytes [*length], NUL-terminated (free with natsl_free); NULL and 0 on error.
 * limit: most bytes. what: for messages, with its article ("a configuration"). NATSL_ERR_INPUT: it cannot be opened or read, is a
 * directory, or longer than that; NATSL_ERR_NOMEM. */
natsl_status natsl_whole_file(const char *path, size_t limit, const char *what, char **bytes, size_t *length);

/** Whether two paths lead to one file: one that is there, through links, or one that neither has yet (the same name in the same
 * directory). */
int natsl_same_file(const char *a, const char *b);

#endif
