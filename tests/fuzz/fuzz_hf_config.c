/* fuzz_hf_config.c - config.json of a Hugging Face directory; what is taken goes out as a config.json of natsl's own class and comes
 * back. */
#include "fuzz.h"
#include "hf_config.h"

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
    natsl_hf_family family;
    if (natsl_hf_config_parse((const char *)data, size, "config.json", &config, &family) != NATSL_OK) return 0;
    char *text = natsl_hf_config_json(&config);
    if (!text || natsl_hf_config_parse(text, strlen(text), "again.json", &again, &family) != NATSL_OK) abort();
    free(text);
    return 0;
}
