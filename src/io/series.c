/* series.c - see series.h. */
#include "series.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define PREFIX      "checkpoint-"
#define NAME_FORMAT PREFIX "%08lld.h5"

static natsl_status join(const char *directory, const char *name, char *path)
{
    const int n = snprintf(path, NATSL_SERIES_PATH, "%s/%s", directory, name);
    if (n < 0 || n >= NATSL_SERIES_PATH)
        return natsl_fail(NATSL_ERR_USAGE, "%.60s...: the path is too long", directory);
    return NATSL_OK;
}

natsl_status natsl_series_path(const char *directory, int64_t number, char *path)
{
    char name[64];
    (void)snprintf(name, sizeof name, NAME_FORMAT, (long long)number);
    return join(directory, name, path);
}

natsl_status natsl_series_directory(const char *directory, const char *option, const char *what)
{
    struct stat s;
    if (mkdir(directory, 0777) != 0 && errno != EEXIST)
        return natsl_fail(NATSL_ERR_IO, "%s: %s: %s", option, directory, strerror(errno));
    if (stat(directory, &s) != 0) return natsl_fail(NATSL_ERR_IO, "%s: %s: %s", option, directory, strerror(errno));
    if (!S_ISDIR(s.st_mode))
        return natsl_fail(NATSL_ERR_IO, "%s: %s: is no directory, expected one for %s", option, directory, what);
    if (access(directory, W_OK | X_OK) != 0)
        return natsl_fail(NATSL_ERR_IO, "%s: %s: cannot be written to: %s", option, directory, strerror(errno));
    return NATSL_OK;
}

natsl_status natsl_series_lock(const char *directory, const char *option, int *fd)
{
    *fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (*fd < 0) return natsl_fail(NATSL_ERR_IO, "%s: %s: %s", option, directory, strerror(errno));
    if (flock(*fd, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK) return NATSL_OK;
    (void)close(*fd);
    *fd = -1;
    return natsl_fail(NATSL_ERR_USAGE, "%s: %s: another run has its checkpoints there, expected a directory of its own",
                      option, directory);
}

/** Number of a checkpoint's file name; -1: it is none. */
static int64_t number_of(const char *name)
{
    char same[64];
    if (strncmp(name, PREFIX, sizeof PREFIX - 1) != 0) return -1;
    const long long number = strtoll(name + sizeof PREFIX - 1, NULL, 10);
    (void)snprintf(same, sizeof same, NAME_FORMAT, number); /* what this program would call it, and nothing else */
    return number >= 1 && strcmp(name, same) == 0 ? (int64_t)number : -1;
}

static int by_number(const void *a, const void *b)
{
    const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

natsl_status natsl_series_list(const char *directory, int64_t **numbers, size_t *count)
{
    DIR *d = opendir(directory);
    size_t room = 64;
    *count = 0;
    *numbers = NULL;
    if (!d) return natsl_fail(NATSL_ERR_IO, "%s: %s", directory, strerror(errno));
    *numbers = natsl_alloc(room, sizeof **numbers, "checkpoints");
    natsl_status st = *numbers ? NATSL_OK : NATSL_ERR_NOMEM;
    for (struct dirent *e; st == NATSL_OK && (e = readdir(d)) != NULL;) {
        const int64_t number = number_of(e->d_name);
        if (number < 0) continue;
        if (*count == room) {
            int64_t *more = natsl_alloc(2 * room, sizeof *more, "checkpoints");
            if (more) memcpy(more, *numbers, room * sizeof *more);
            else st = NATSL_ERR_NOMEM;
            natsl_free(more ? *numbers : NULL);
            if (!more) break;
            *numbers = more;
            room *= 2;
        }
        (*numbers)[(*count)++] = number;
    }
    (void)closedir(d);
    if (st == NATSL_OK && *count > 0) qsort(*numbers, *count, sizeof **numbers, by_number);
    return st;
}

size_t natsl_series_prune(const char *directory, size_t keep)
{
    size_t removed = 0;
    int64_t *numbers = NULL;
    size_t count = 0;
    char path[NATSL_SERIES_PATH];
    if (natsl_series_list(directory, &numbers, &count) == NATSL_OK) {
        for (size_t i = 0; i + keep < count; i++) {
            if (natsl_series_path(directory, numbers[i], path) == NATSL_OK) removed += unlink(path) == 0;
        }
    }
    natsl_free(numbers);
    return removed;
}

/** Whether `end` is what natsl appends to a name while the file is written; or that with what Open MPI's component sharedfp/lockedfile
 * appends to it for a file of its own, which a killed job leaves, too. */
static int is_ending(const char *end)
{
    static const char mark[] = ".tmp-";
    if (strncmp(end, mark, sizeof mark - 1) != 0) return 0;
    end += sizeof mark - 1;
    if (*end < '0' || *end > '9') return 0;
    end += strspn(end, "0123456789-");
    return *end == '\0' || strcmp(end, ".lock") == 0 || strncmp(end, ".locktest.", 10) == 0;
}

void natsl_series_sweep_all(const char *directory, int (*own)(void *user, const char *name), void *user)
{
    char path[NATSL_SERIES_PATH], name[NAME_MAX + 1];
    DIR *d = opendir(directory);
    for (struct dirent *e; d && (e = readdir(d)) != NULL;) {
        for (const char *end = strstr(e->d_name, ".tmp-"); end; end = strstr(end + 1, ".tmp-")) {
            const size_t length = (size_t)(end - e->d_name);
            if (length >= sizeof name || !is_ending(end)) continue;
            memcpy(name, e->d_name, length);
            name[length] = '\0';
            if (!own(user, name) || join(directory, e->d_name, path) != NATSL_OK) continue;
            natsl_temporary_unlink(path);
            break;
        }
    }
    if (d) (void)closedir(d);
}

static int is_checkpoint(void *user, const char *name)
{
    const size_t length = strlen(name);
    (void)user;
    return strncmp(name, PREFIX, sizeof PREFIX - 1) == 0 && length > 3 && strcmp(name + length - 3, ".h5") == 0;
}

static int is_named(void *user, const char *name) { return strcmp(user, name) == 0; }

void natsl_series_sweep(const char *directory, const char *name)
{
    natsl_series_sweep_all(directory, name ? is_named : is_checkpoint, (void *)(uintptr_t)name);
}
