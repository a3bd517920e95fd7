/* whole_file.c - see whole_file.h. */
#include "whole_file.h"

#include "core.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/** Reads to the end, into room that doubles: a pipe has no size, and a file may grow. */
static natsl_status read_all(int fd, const char *path, size_t room, size_t limit, const char *what, char **bytes,
                             size_t *length)
{
    while (1) {
        if (!*bytes || *length == room) {
            if (*bytes) room = room < limit / 2 ? 2 * room : limit + 1;
            char *more = natsl_alloc(room + 1, 1, what);
            if (!more) return NATSL_ERR_NOMEM;
            if (*length > 0) memcpy(more, *bytes, *length);
            natsl_free(*bytes);
            *bytes = more;
        }
        const ssize_t n = read(fd, *bytes + *length, room - *length);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return natsl_fail(NATSL_ERR_INPUT, "%s: %s", path, strerror(errno));
        if (n == 0) break;
        *length += (size_t)n;
        if (*length > limit)
            return natsl_fail(NATSL_ERR_INPUT, "%s: more than %zu bytes, expected %s", path, limit, what);
    }
    (*bytes)[*length] = '\0';
    return NATSL_OK;
}

natsl_status natsl_whole_file(const char *path, size_t limit, const char *what, char **bytes, size_t *length)
{
    struct stat s;
    natsl_status st = NATSL_OK;
    *bytes = NULL;
    *length = 0;
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a FIFO that nobody writes to ends at once */
    if (fd < 0 || fstat(fd, &s) != 0) st = natsl_fail(NATSL_ERR_INPUT, "%s: %s", path, strerror(errno));
    else if (S_ISDIR(s.st_mode)) st = natsl_fail(NATSL_ERR_INPUT, "%s: is a directory, expected %s", path, what);
    else if (S_ISREG(s.st_mode) && (uint64_t)s.st_size > limit)
        st = natsl_fail(NATSL_ERR_INPUT, "%s: more than %zu bytes, expected %s", path, limit, what);
    if (st == NATSL_OK && !S_ISREG(s.st_mode) && fcntl(fd, F_SETFL, 0) != 0)
        st = natsl_fail(NATSL_ERR_INPUT, "%s: %s", path, strerror(errno));
    if (st == NATSL_OK) { /* one byte more, to see the end */
        const size_t room = S_ISREG(s.st_mode) ? (size_t)s.st_size + 1 : limit < 65536 ? limit + 1 : 65536;
        st = read_all(fd, path, room, limit, what, bytes, length);
    }
    if (fd >= 0) (void)close(fd);
    if (st != NATSL_OK) {
        natsl_free(*bytes);
        *bytes = NULL;
        *length = 0;
    }
    return st;
}

/** Device and number of the directory that a file of this path is in or would be in; *name: what follows it. */
static int directory_of(const char *path, struct stat *s, const char **name)
{
    char directory[PATH_MAX];
    const char *slash = strrchr(path, '/');
    const size_t length = slash ? (size_t)(slash - path) + 1 : 0;
    *name = path + length;
    if (length >= sizeof directory) return 0;
    memcpy(directory, path, length);
    directory[length] = '\0';
    return stat(length ? directory : ".", s) == 0;
}

int natsl_same_file(const char *a, const char *b)
{
    struct stat s, t;
    const char *x, *y;
    if (strcmp(a, b) == 0) return 1;
    const int have = (stat(a, &s) == 0) + (stat(b, &t) == 0);
    if (have == 1) return 0;
    if (have == 0 && (!directory_of(a, &s, &x) || !directory_of(b, &t, &y) || strcmp(x, y) != 0)) return 0;
    return s.st_dev == t.st_dev && s.st_ino == t.st_ino;
}
