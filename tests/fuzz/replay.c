/* replay.c - a plain main around a fuzzing harness: runs it on every file given, and on all files of directories given. For tests, and to
 * look at what a fuzzer has found with any build. */
#include "fuzz.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

static long runs;

static int run_file(const char *path)
{
    FILE *file = fopen(path, "rb");
    if (!file) return fprintf(stderr, "%s: cannot be read\n", path), 1;
    uint8_t *bytes = malloc(NATSL_FUZZ_MOST);
    const size_t length = bytes ? fread(bytes, 1, NATSL_FUZZ_MOST, file) : 0;
    (void)fclose(file);
    /* a copy of the very length, so that reading past its end is noticed */
    uint8_t *own = malloc(length ? length : 1);
    for (size_t i = 0; own && i < length; i++) own[i] = bytes[i];
    if (own) (void)LLVMFuzzerTestOneInput(own, length);
    free(own);
    free(bytes);
    runs++;
    return 0;
}

int main(int argc, char **argv)
{
    int bad = 0;
    if (LLVMFuzzerInitialize(&argc, &argv) != 0) return 1;
    for (int i = 1; i < argc; i++) {
        struct stat s;
        if (stat(argv[i], &s) == 0 && !S_ISDIR(s.st_mode)) {
            bad |= run_file(argv[i]);
            continue;
        }
        DIR *directory = opendir(argv[i]);
        if (!directory) return fprintf(stderr, "%s: cannot be read\n", argv[i]), 1;
        for (struct dirent *e = readdir(directory); e; e = readdir(directory)) {
            char path[4096];
            if (e->d_name[0] == '.') continue;
            (void)snprintf(path, sizeof path, "%s/%s", argv[i], e->d_name);
            bad |= run_file(path);
        }
        (void)closedir(directory);
    }
    printf("%ld inputs\n", runs);
    natsl_fuzz_finish();
    if (natsl_fuzz_taken == 0) fprintf(stderr, "none of them was taken\n");
    return bad || runs == 0 || natsl_fuzz_taken == 0;
}
