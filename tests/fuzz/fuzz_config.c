/* fuzz_config.c - a model's configuration in JSON, and the way back. */
#include "fuzz.h"

#include <natsl/config.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    natsl_config config, again;
    if (natsl_config_parse((const char *)data, size, "c.json", &config) != NATSL_OK) return 0;
    char *text = natsl_config_json(&config);
    if (!text || natsl_config_parse(text, strlen(text), "again.json", &again) != NATSL_OK) abort();
    free(text);
    return 0;
}
