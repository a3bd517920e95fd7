/* fuzz_context.c - saved contexts, loaded for a small model. NATSL_FUZZ_SAVE=FILE writes a good one first: a seed. */
#include "context_impl.h"
#include "fuzz.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static natsl_model *model;
static const natsl_options options = {.threads = 1, .pass_tokens = 64, .stage_tokens = 64}; /* small buffers: fast */

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    static const char small[] =
        "{\"hidden_size\": 64, \"num_hidden_layers\": 2, \"vocab_size\": 300, \"head_dim\": 16, "
        "\"num_heads\": 2, \"num_attn_heads\": 2, \"nats_block_size\": 16, \"gdn_layers\": [0]}";
    natsl_config config;
    const char *save = getenv("NATSL_FUZZ_SAVE");
    (void)argc;
    (void)argv;
    natsl_fuzz_taken = 0;
    natsl_fuzz_mpi();
    natsl_status st = natsl_config_parse(small, strlen(small), "small", &config);
    if (st == NATSL_OK) st = natsl_model_random(MPI_COMM_SELF, &config, 1, NATSL_F32, &model);
    if (st == NATSL_OK) model->digest = 1; /* the seeds' on every machine, whatever its logarithm's last bit is */
    if (st == NATSL_OK && save) {
        int32_t tokens[40];
        natsl_context *cx = NULL;
        natsl_options how = options;
        how.route = NATSL_ALL_SOFTMAX;
        for (int i = 0; i < 40; i++) tokens[i] = 7 * i % 300;
        st = natsl_context_create(MPI_COMM_SELF, model, &how, &cx);
        if (st == NATSL_OK) st = natsl_context_extend_array(cx, 40, tokens, NULL);
        if (st == NATSL_OK) st = natsl_context_save(cx, save);
        natsl_context_destroy(&cx);
    }
    if (st != NATSL_OK) fprintf(stderr, "%s\n", natsl_error_text());
    return st != NATSL_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    natsl_context *cx = NULL;
    const char *path = natsl_fuzz_file(data, size);
    if (!path) return 0;
    natsl_status st = natsl_context_load(MPI_COMM_SELF, model, &options, path, &cx);
    /* a damaged byte of a sealed file goes no further than the seal: but who seals can be hostile, too */
    if (st != NATSL_OK) st = natsl_context_load_checked(MPI_COMM_SELF, model, &options, path, &cx);
    if (st == NATSL_OK) natsl_fuzz_taken++;
    natsl_context_destroy(&cx);
    return 0;
}
