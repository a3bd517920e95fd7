/* fuzz_spec.c - a training's configuration in JSON. */
#include "fuzz.h"
#include "spec.h"

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    natsl_spec spec;
    if (natsl_spec_parse((const char *)data, size, "t.json", &spec) == NATSL_OK) natsl_spec_free(&spec);
    return 0;
}
