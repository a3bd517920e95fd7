/* chain.c - reads a random text with a random model on simulated ranks, with natsl's own code, and compares the simulated time
 * with the prediction. Built and started by tools/simgrid/run under SimGrid's SMPI: all ranks are contexts of one process
 * (not privatised: they share the weights), their computation is really done, timed and put on the simulated clock, their
 * messages go through a simulated network.
 * usage: chain CONFIG.json TOKENS STAGE_TOKENS relay|scan|auto on|off LATENCY_US BYTES_PER_US */
#include "context_impl.h"
#include "init.h"
#include "machine.h"

#include <cblas.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One copy for all ranks; rank 0 fills it. */
static natsl_model model;
static natsl_cost_machine machine;
static natsl_prediction before;

/* What context.c asks of model.c, which is not in this build because it reads HDF5 files. */
size_t natsl_model_bytes(const natsl_model *m) { return m->layout.store_bytes; }

static void must(natsl_status st)
{
    if (st == NATSL_OK) return;
    fprintf(stderr, "chain: %s: %s\n", natsl_status_name(st), natsl_error_text());
    MPI_Abort(MPI_COMM_WORLD, (int)st);
}

static void make_model(const char *path)
{
    static char text[1 << 16];
    natsl_config c;
    FILE *file = fopen(path, "rb");
    const size_t length = file ? fread(text, 1, sizeof text, file) : 0;
    if (!file) must(natsl_fail(NATSL_ERR_INPUT, "%s: cannot be read", path));
    (void)fclose(file);
    must(natsl_config_parse(text, length, path, &c));
    must(natsl_layout_create(&c, NATSL_F32, &model.layout));
    model.store = natsl_calloc(model.layout.store_bytes, 1, "weights");
    if (!model.store) must(NATSL_ERR_NOMEM);
    for (size_t i = 0; i < model.layout.count; i++) {
        const natsl_tensor *t = &model.layout.tensors[i];
        float *values = natsl_alloc(t->count, sizeof *values, "weights");
        if (!values) must(NATSL_ERR_NOMEM);
        natsl_init_tensor(&c, t, 7, values);
        natsl_layout_put(&model.layout, t, values, model.store);
        natsl_free(values);
    }
    must(natsl_weights_bind(&c, &model.layout, model.store, &model.weights));
}

static natsl_status give_tokens(void *user, int64_t first, int64_t count, int32_t *ids)
{
    (void)user;
    for (int64_t i = 0; i < count; i++) {
        uint64_t z = (uint64_t)(first + i) * 0x9e3779b97f4a7c15u;
        z = (z ^ (z >> 29)) * 0xbf58476d1ce4e5b9u;
        ids[i] = (int32_t)((z >> 33) % (uint64_t)model.weights.config.vocab_size);
    }
    return NATSL_OK;
}

static natsl_status take_logprobs(void *user, int64_t first, int64_t count, const float *values)
{
    (void)first;
    for (int64_t i = 0; i < count; i++) *(double *)user += (double)values[i];
    return NATSL_OK;
}

int main(int argc, char **argv)
{
    int rank = 0, size = 1;
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    if (argc != 8) {
        fprintf(stderr,
                "usage: chain CONFIG.json TOKENS STAGE_TOKENS relay|scan|auto on|off LATENCY_US BYTES_PER_US\n");
        MPI_Abort(MPI_COMM_WORLD, 2);
    }
    const int64_t tokens = atoll(argv[2]);
    const natsl_options o = {.threads = 1,
                             .exchange = NATSL_EXCHANGE_MESSAGES,
                             .stage_tokens = atoll(argv[3]),
                             .state_pass = strcmp(argv[4], "scan") == 0    ? NATSL_STATE_SCAN
                                           : strcmp(argv[4], "relay") == 0 ? NATSL_STATE_RELAY
                                                                           : NATSL_STATE_AUTO,
                             .balance = strcmp(argv[5], "on") == 0 ? NATSL_BALANCE_ON : NATSL_BALANCE_OFF};
    if (rank == 0) {
        openblas_set_num_threads(1);
        make_model(argv[1]);
        must(natsl_machine_probe(&model.weights.config, &o, NATSL_F32, &machine));
        machine.latency_s = 1e-6 * atof(argv[6]);
        machine.bytes_per_s = 1e6 * atof(argv[7]);
        machine.ranks_per_node = 1;
        machine.cores_per_node = 0;
    }
    MPI_Barrier(MPI_COMM_WORLD);
    natsl_context *cx = NULL;
    must(natsl_context_create(MPI_COMM_WORLD, &model, &o, &cx));
    cx->machine = machine;
    cx->machine_known = 1;
    double sum = 0.0;
    const natsl_stream stream = {.user = &sum, .tokens = give_tokens, .logprobs = take_logprobs};
    MPI_Barrier(MPI_COMM_WORLD);
    const double start = MPI_Wtime();
    must(natsl_context_extend(cx, tokens, &stream));
    double seconds = MPI_Wtime() - start, busy = 0.0, phases[NATSL_PHASES];
    natsl_stage_seconds(&cx->stage, phases);
    for (int i = 0; i < NATSL_PHASES; i++) busy += i == NATSL_PHASE_WAIT || i == NATSL_PHASE_IDLE ? 0.0 : phases[i];
    int64_t kept[2] = {cx->kept_chunks, cx->chunks};
    MPI_Allreduce(MPI_IN_PLACE, &seconds, 1, MPI_DOUBLE, MPI_MAX, MPI_COMM_WORLD);
    MPI_Allreduce(MPI_IN_PLACE, &sum, 1, MPI_DOUBLE, MPI_SUM, MPI_COMM_WORLD);
    MPI_Allreduce(MPI_IN_PLACE, &busy, 1, MPI_DOUBLE, MPI_SUM, MPI_COMM_WORLD);
    MPI_Allreduce(MPI_IN_PLACE, kept, 2, MPI_INT64_T, MPI_SUM, MPI_COMM_WORLD);
    if (rank == 0) {
        const double share = kept[1] > 0 ? (double)kept[0] / (double)kept[1] : 0.0;
        natsl_cost_run run = natsl_cost_run_of(&model.weights.config, &cx->options, size, 0, tokens, share, 1);
        run.balance = o.balance == NATSL_BALANCE_ON;
        must(natsl_cost_predict(&run, &machine, &before, NULL));
        /* Work as it was timed on the way, instead of as the probe has it: what is left is the chain's own error. */
        natsl_cost_machine timed = machine;
        const double factor = before.busy_mean_s * size / busy;
        for (int k = 0; k < NATSL_WORK_KINDS; k++) timed.per_s[k] *= factor;
        natsl_prediction after;
        must(natsl_cost_predict(&run, &timed, &after, NULL));
        printf("%5d  %-5s  %-3s  %9.4f  %9.4f  %+6.1f %%  %9.4f  %+6.1f %%   %5.1f %%  %9.4f  %9.4f  %.6f\n", size,
               argv[4], argv[5], seconds, before.seconds, 100.0 * (before.seconds / seconds - 1.0), after.seconds,
               100.0 * (after.seconds / seconds - 1.0), 100.0 * share, busy / size, before.busy_mean_s,
               sum / (double)(tokens - 1));
        fflush(stdout);
    }
    natsl_context_destroy(&cx);
    MPI_Finalize();
    return 0;
}
