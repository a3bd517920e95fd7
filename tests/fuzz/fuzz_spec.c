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
    (void)natsl_spec_parse((const char *)data, size, "t.json", &spec);
    natsl_spec_free(&spec); /* after an error, too */
    return 0;
}
