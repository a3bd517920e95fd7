/* fuzz_safetensors.c - files of tensors in the safetensors format: what is taken may be read to its last byte. */
#include "fuzz.h"
#include "safetensors.h"

#include <stdlib.h>

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    natsl_st_file f;
    uint64_t sum = 0; /* reads every byte that a tensor claims */
    if (natsl_st_parse("f", data, size, &f) != NATSL_OK) return 0;
    size_t bytes = 0;
    for (size_t i = 0; i < f.count; i++) {
        const natsl_st_tensor *t = &f.tensors[i];
        if (natsl_st_find(&f, t->name) != t) abort(); /* a name that is there twice */
        for (size_t k = 0; k < t->bytes; k++) sum += data[t->at + k];
        (void)natsl_dtype_not_finite(t->dtype, t->count, data + t->at);
        bytes += t->bytes;
    }
    if (bytes > size || sum > UINT64_C(255) * size) abort(); /* a byte in two tensors */
    natsl_st_close(&f);
    return 0;
}
