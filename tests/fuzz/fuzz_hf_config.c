/* fuzz_hf_config.c - config.json of a Hugging Face directory; what is taken is a configuration of natsl's that goes out and comes back the
 * same, too (of natsl's own class also as a config.json), and has tensors that all have a place in the directory. */
#include "fuzz.h"

#include "core.h"
#include "hf_config.h"
#include "hf_names.h"

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
    char *own = natsl_config_json(&config);
    if (!own || natsl_config_parse(own, strlen(own), "again.json", &again) != NATSL_OK) abort();
    char *twice = natsl_config_json(&again);
    if (!twice || strcmp(own, twice) != 0) abort();
    free(own);
    free(twice);
    if (family == NATSL_HF_NATSL) {
        char *text = natsl_hf_config_json(&config);
        if (!text || natsl_hf_config_parse(text, strlen(text), "again.json", &again, &family) != NATSL_OK) abort();
        free(text);
    }
    natsl_layout layout;
    natsl_hf_names names;
    if (natsl_layout_create(&config, NATSL_F32, &layout) != NATSL_OK) return 0; /* beyond the address space */
    if (natsl_hf_names_create(family, NATSL_HF_PREFIX, &config, &layout, &names) == NATSL_OK) {
        size_t parts = 0;
        for (size_t i = 0; i < names.count; i++) parts += names.tensors[i].parts;
        if (parts != layout.count) abort();
        for (size_t i = 0; i < layout.count; i++) {
            const natsl_hf_tensor *t = &names.tensors[names.places[i].tensor];
            if (natsl_hf_row(&names.places[i], layout.tensors[i].shape[0] - 1) >= t->shape[0]) abort();
        }
        natsl_hf_names_free(&names);
    } else if (!strstr(natsl_error_text(), "address space")) {
        abort();
    }
    natsl_layout_free(&layout);
    return 0;
}
