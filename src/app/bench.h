/* bench.h - natsl bench: what its parts share. cmd_bench.c reads the options and writes the JSON, bench_machine.c measures
 * the machine, bench_kernels.c the kernels, bench_model.c whole models, bench_train.c a training step.
 * Every time is that of the slowest rank (all start together), the best of several rounds. MPI: collective on app->comm
 * unless said. */
#ifndef NATSL_APP_BENCH_H
#define NATSL_APP_BENCH_H

#include "core.h"
#include "job.h"

enum {
    NATSL_BENCH_MACHINE = 1,
    NATSL_BENCH_KERNELS = 2,
    NATSL_BENCH_PREFILL = 4,
    NATSL_BENCH_DECODE = 8,
    NATSL_BENCH_TRAIN = 16
};

/** Most values in --lengths. */
#define NATSL_BENCH_LENGTHS 64

/** What the machine can do, equal on all ranks; NaN: not measured. A GB is 10^9 bytes. */
typedef struct natsl_machine {
    double one_thread_gflops; /* cblas_sgemm, one thread of rank 0 while all else rests */
    double one_rank_gflops;   /* one call with `threads` OpenBLAS threads on rank 0 while all else rests */
    double all_blas_gflops;   /* such a call on every rank at the same time: the sum */
    double all_openmp_gflops; /* `threads` independent one-thread calls on every rank at the same time: the sum */
    /* natsl's own product of 256 x 1024 x 1024, which beats OpenBLAS on some CPUs: one thread of rank 0; all threads of all ranks */
    double one_thread_linear_gflops, all_linear_gflops;
    double peak_one_thread_gflops, peak_gflops; /* the largest of these: what shares refer to */
    /* far beyond the caches, bytes read + written: [0] one thread of rank 0 alone, [1] all threads of all ranks */
    double copy_gbytes_per_s[2];                   /* memcpy */
    double update_gbytes_per_s[2];                 /* x = c x in place */
    double memory_gbytes_per_s[2];                 /* the larger: what shares of kernels that move memory refer to */
    double read_gbytes_per_s;                      /* sum over as many bytes as one token's weights take */
    double latency_us, bandwidth_gbytes_per_s;     /* ranks 0 and P-1, half of a round trip: 8 bytes, 4 MiB */
    double latency01_us, bandwidth01_gbytes_per_s; /* ranks 0 and 1 */
    int cores, hosts;                              /* that the ranks of this job may use, all hosts together */
    uint64_t cache_bytes, ring_bytes; /* last level; what a rank goes over when memory is measured: far more */
} natsl_machine;

typedef struct natsl_bench {
    natsl_app *app;
    natsl_job job;       /* options, and the model */
    natsl_config config; /* equal on all ranks */
    int parts;           /* NATSL_BENCH_... */
    double budget_s;     /* for one measurement */
    int64_t lengths[NATSL_BENCH_LENGTHS];
    int n_lengths;
    natsl_machine machine;
    json_t *json;    /* rank 0; NULL elsewhere */
    int json_failed; /* out of memory on the way: nothing is written then */
} natsl_bench;

/** Best time in seconds, over rounds, of `work` on all ranks of comm; `before` (or NULL) runs before each round, untimed. Rounds
 * go on until budget_s is spent, after one that does not count. Collective on comm. */
double natsl_bench_best(MPI_Comm comm, double budget_s, void (*work)(void *), void (*before)(void *), void *user);
/** Waits for all ranks of the job without using a core: while one rank measures something alone, the others call this. */
void natsl_bench_rest(const natsl_bench *b);
/** Copies rank 0's values to all. */
void natsl_bench_share(const natsl_bench *b, double *values, int n);

/** Peaks, bandwidths and messages, as far as the parts asked for need them. */
natsl_status natsl_bench_machine(natsl_bench *b);
natsl_status natsl_bench_kernels(natsl_bench *b);
/** Opens (--model) or makes the model. */
natsl_status natsl_bench_open_model(natsl_bench *b);
natsl_status natsl_bench_prefill(natsl_bench *b);
natsl_status natsl_bench_decode(natsl_bench *b);
natsl_status natsl_bench_train(natsl_bench *b);

/** Work of reading a text in floating-point operations. A product of m x k by k x n is 2 m n k; the head's rows are those scored. */
typedef struct natsl_bench_flops {
    double projections, delta, attention, gate, head, sum;
} natsl_bench_flops;
/** kept [tokens / chunk]: pairs of layer and gate head that keep the chunk, of all ranks. Not collective. */
natsl_bench_flops natsl_bench_count_work(const natsl_config *config, int64_t tokens, int64_t scored,
                                         const int32_t *kept);
/** The same in words. */
extern const char natsl_bench_work_formula[];
/** Token `i` of the random text of this seed; any rank can make any of them. Not collective. */
int32_t natsl_bench_token(uint64_t seed, int64_t i, int32_t vocab);
/** Sums an array over all ranks. */
void natsl_bench_sum(natsl_bench *b, int32_t *values, int64_t count);
/** --route in words. Not collective. */
const char *natsl_bench_route(const natsl_bench *b);
/** A paragraph, indented, in lines of at most 110 bytes. Not collective. */
void natsl_bench_say_wrapped(natsl_bench *b, const char *title, const char *text);

/** Bytes of weights that one token must read: everything but the embedding table, of which it reads a row. `bytes`: of all
 * weights in memory, matrices held as `type`. Not collective. */
double natsl_bench_weights_read(const natsl_config *config, natsl_storage type, double bytes);

/** Flushes what was said: NATSL_ERR_IO when it did not arrive. */
natsl_status natsl_bench_show(const natsl_bench *b);
/** printf on rank 0 unless --quiet. Not collective. */
void natsl_bench_say(const natsl_bench *b, const char *format, ...) NATSL_PRINTF(2, 3);

/** JSON on rank 0 (elsewhere `object` is NULL and nothing happens); a NaN becomes null. Not collective. */
void natsl_bench_put(natsl_bench *b, json_t *object, const char *name, json_t *value);
void natsl_bench_real(natsl_bench *b, json_t *object, const char *name, double value);
void natsl_bench_count(natsl_bench *b, json_t *object, const char *name, int64_t value);
void natsl_bench_text(natsl_bench *b, json_t *object, const char *name, const char *value);

#endif
