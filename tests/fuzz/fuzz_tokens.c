/* fuzz_tokens.c - documents: token files and text. */
#include "files.h"
#include "fuzz.h"

#include <stdio.h>
#include <string.h>

static natsl_model_info model;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    static const char small[] =
        "{\"hidden_size\": 64, \"num_hidden_layers\": 2, \"vocab_size\": 300, \"head_dim\": 16, "
        "\"num_heads\": 2, \"num_attn_heads\": 2, \"nats_block_size\": 16, \"gdn_layers\": [0]}";
    (void)argc;
    (void)argv;
    natsl_fuzz_mpi();
    (void)snprintf(model.tokenizer, sizeof model.tokenizer, "byte");
    if (natsl_config_parse(small, strlen(small), "small", &model.config) == NATSL_OK) return 0;
    fprintf(stderr, "%s\n", natsl_error_text());
    return 1;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    natsl_doc *doc = NULL;
    int32_t ids[64];
    natsl_file_kind kind;
    const char *path = natsl_fuzz_file(data, size);
    if (!path || natsl_file_kind_of(path, &kind) != NATSL_OK) return 0;
    if (natsl_doc_open_alone(path, &model, &doc) != NATSL_OK) return 0;
    const int64_t length = natsl_doc_length(doc);
    for (int64_t at = 0, n; at < length && at < 4096; at += n) {
        n = length - at < 64 ? length - at : 64;
        if (natsl_doc_read(doc, at, n, ids) != NATSL_OK) break;
    }
    (void)natsl_doc_read(doc, length - 1, 1, ids);
    natsl_doc_close(&doc);
    return 0;
}
