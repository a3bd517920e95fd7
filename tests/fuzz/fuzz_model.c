/* fuzz_model.c - model files: attributes, and all tensors. */
#include "core.h"
#include "files.h"
#include "fuzz.h"

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    natsl_fuzz_mpi();
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    natsl_model_info info;
    natsl_layout layout;
    const char *path = natsl_fuzz_file(data, size);
    if (!path || natsl_model_file_info(path, &info) != NATSL_OK) return 0;
    if (natsl_layout_create(&info.config, NATSL_F32, &layout) != NATSL_OK) return 0;
    /* datasets may claim any size: what a job would ask of the machine is not what is looked for */
    void *store = layout.store_bytes < (size_t)1 << 26 ? natsl_alloc(layout.store_bytes, 1, "store") : NULL;
    if (store) (void)natsl_model_file_read(path, &layout, store);
    natsl_free(store);
    natsl_layout_free(&layout);
    return 0;
}
