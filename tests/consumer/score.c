/* score.c - mean log-probability of a text under a byte model: usage score MODEL.h5 TEXT */
#include <natsl/context.h>
#include <stdio.h>
#include <string.h>

int main(int argc, char **argv)
{
    static int32_t tokens[4096];
    static float logprobs[4096];
    natsl_model *model = NULL;
    natsl_context *context = NULL;
    MPI_Init(&argc, &argv);
    const int64_t n = argc == 3 ? (int64_t)strnlen(argv[2], 4096) : 0;
    for (int64_t i = 0; i < n; i++) tokens[i] = (unsigned char)argv[2][i];
    natsl_status st = n ? natsl_model_open(MPI_COMM_WORLD, argv[1], NATSL_F32, &model) : NATSL_ERR_USAGE;
    if (st == NATSL_OK) st = natsl_context_create(MPI_COMM_WORLD, model, NULL, &context);
    if (st == NATSL_OK) st = natsl_context_extend_array(context, n, tokens, logprobs);
    double sum = 0.0;
    for (int64_t i = 1; i < n; i++) sum += logprobs[i]; /* the first token has none */
    if (st == NATSL_OK) printf("%.6f\n", sum / (double)(n - 1));
    else fprintf(stderr, "%s: %s\n", natsl_status_name(st), natsl_error_text());
    natsl_context_destroy(&context);
    natsl_model_close(&model);
    MPI_Finalize();
    return (int)st;
}
