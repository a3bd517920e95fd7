/* fuzz_lines.c - files of samples, one JSON object a line. */
#include "fuzz.h"
#include "recall.h"

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *path = natsl_fuzz_file(data, size);
    for (int keep_going = 0; path && keep_going < 2; keep_going++) {
        natsl_eval_lines lines = {0};
        if (natsl_eval_lines_scan(path, keep_going, NULL, &lines) == NATSL_OK) natsl_eval_lines_free(&lines);
    }
    return 0;
}
