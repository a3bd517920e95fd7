/* test_model.c - a model with random weights in memory is the one that a file with the same seed holds. Run at 1, 2, 3, 5 ranks;
 * arguments: the golden directory (not used), a scratch directory. */
#include "../suite.h"
#include "agree.h"
#include "files.h"
#include "init.h"
#include "mpi_suite.h"

#include <natsl/model.h>
#include <string.h>

static const char *scratch;

/** Options of the configuration that change which tensors there are. */
static const char *const texts[] = {
    "{\"hidden_size\": 32, \"num_hidden_layers\": 3, \"vocab_size\": 50, \"head_dim\": 8, \"num_heads\": 2,"
    " \"num_attn_heads\": 2, \"nats_block_size\": 16, \"gdn_layers\": [1]}",
    "{\"hidden_size\": 32, \"num_hidden_layers\": 2, \"vocab_size\": 300, \"head_dim\": 8, \"num_heads\": 2,"
    " \"num_attn_heads\": 2, \"nats_block_size\": 16, \"gdn_layers\": [], \"tie_word_embeddings\": true}",
};

/** The same model as natsl init would write, on rank 0. */
static natsl_status write_file(const natsl_config *config, uint64_t seed, const char *path)
{
    natsl_layout layout = {0};
    float *flat = NULL;
    natsl_status st = NATSL_OK;
    NATSL_TRY(st, cleanup, natsl_layout_create(config, NATSL_F32, &layout));
    flat = natsl_alloc(layout.floats, sizeof *flat, "weights");
    if (!flat) {
        st = NATSL_ERR_NOMEM;
        goto cleanup;
    }
    natsl_init_weights(config, &layout, seed, flat);
    st = natsl_model_file_write(path, config, "none", "test", &layout, flat);
cleanup:
    natsl_free(flat);
    natsl_layout_free(&layout);
    return st;
}

static void test_random(void)
{
    char path[600];
    (void)snprintf(path, sizeof path, "%s/model.h5", scratch);
    for (size_t i = 0; i < 2 * COUNT(texts); i++) {
        const char *text = texts[i / 2];
        const natsl_storage type = i % 2 ? NATSL_BF16 : NATSL_F32;
        natsl_config config;
        natsl_model *made = NULL, *read = NULL, *other = NULL;
        CU_ASSERT_EQUAL(natsl_config_parse(text, strlen(text), "test", &config), NATSL_OK);
        const natsl_status written =
            natsl_agree(MPI_COMM_WORLD, world_rank == 0 ? write_file(&config, 7, path) : NATSL_OK);
        EXPECT(written == NATSL_OK, "%s", natsl_error_text());
        const natsl_status st[3] = {natsl_model_random(MPI_COMM_WORLD, &config, 7, type, &made),
                                    natsl_model_open(MPI_COMM_WORLD, path, type, &read),
                                    natsl_model_random(MPI_COMM_WORLD, &config, 8, type, &other)};
        EXPECT(st[0] == NATSL_OK && st[1] == NATSL_OK && st[2] == NATSL_OK, "%s", natsl_error_text());
        if (made && read && other) {
            CU_ASSERT_EQUAL(natsl_model_digest(made), natsl_model_digest(read));
            CU_ASSERT_NOT_EQUAL(natsl_model_digest(made), natsl_model_digest(other));
            CU_ASSERT_EQUAL(natsl_model_parameters(made), natsl_model_parameters(read));
            CU_ASSERT_EQUAL(natsl_model_bytes(made), natsl_model_bytes(read));
            CU_ASSERT_EQUAL(natsl_model_config(made)->num_hidden_layers, config.num_hidden_layers);
            CU_ASSERT_STRING_EQUAL(natsl_model_tokenizer(made), config.vocab_size >= 256 ? "byte" : "none");
        }
        natsl_model_close(&other);
        natsl_model_close(&read);
        natsl_model_close(&made);
        CU_ASSERT_PTR_NULL(made);
    }
}

int main(int argc, char **argv)
{
    static const test_entry tests[] = {{"random weights", test_random}};
    if (argc != 3) {
        fprintf(stderr, "usage: test_model GOLDEN_DIR SCRATCH_DIR\n");
        return 2;
    }
    scratch = argv[2];
    return run_suite_mpi(&argc, &argv, "model", tests, COUNT(tests));
}
