/* bench_machine.c - what the machine can do: products, memory, messages. See bench.h. */
#define _GNU_SOURCE /* CPU sets */
#include "agree.h"
#include "bench.h"
#include "grid.h"
#include "kernels.h"
#include "layout.h"
#include "vecmath.h"

#include <cblas.h>
#include <math.h>
#include <omp.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define GEMM_SIZE    ((size_t)2048)
#define NO_CACHE     ((uint64_t)32 << 20) /* taken for the last cache where the system does not tell */
#define LINEAR_SIZE  ((size_t)1024)       /* its rows and scratch fit a square of GEMM_SIZE */
#define LINEAR_TIMES 8
#define LEAST_RING   ((uint64_t)1 << 20)
#define LONG_MESSAGE ((size_t)4 << 20)

/* ---- rounds ---------------------------------------------------------------------------------------------------------- */

double natsl_bench_best(MPI_Comm comm, double budget_s, void (*work)(void *), void (*before)(void *), void *user)
{
    double best = INFINITY, spent = 0.0;
    int times = 1; /* work is done in a round, so that a round is long against a barrier */
    for (int round = 0; round < 2 || (spent < budget_s && round < 10000); round++) {
        if (before) before(user);
        NATSL_MPI(MPI_Barrier(comm));
        const double start = natsl_now_s();
        for (int i = 0; i < times; i++) work(user);
        /* Where ranks share cores they may run one after the other: whoever is early waits for the last. */
        NATSL_MPI(MPI_Barrier(comm));
        double seconds = (natsl_now_s() - start) / times;
        NATSL_MPI(MPI_Allreduce(MPI_IN_PLACE, &seconds, 1, MPI_DOUBLE, MPI_MAX, comm));
        if (round == 0) { /* pages, caches, clock rates */
            const double wanted = budget_s / 20.0;
            if (!before && seconds < wanted) times = (int)fmin(ceil(wanted / seconds), 1e6);
            continue;
        }
        if (seconds < best) best = seconds;
        spent += seconds * times;
    }
    return best > 1e-9 ? best : 1e-9; /* the clock's grain */
}

void natsl_bench_rest(const natsl_bench *b)
{
    MPI_Request request;
    int done = 0;
    NATSL_MPI(MPI_Ibarrier(b->app->comm, &request));
    for (;;) {
        NATSL_MPI(MPI_Test(&request, &done, MPI_STATUS_IGNORE));
        if (done) return;
        const struct timespec nap = {.tv_nsec = 200000};
        (void)nanosleep(&nap, NULL);
    }
}

void natsl_bench_share(const natsl_bench *b, double *values, int n)
{
    NATSL_MPI(MPI_Bcast(values, n, MPI_DOUBLE, 0, b->app->comm));
}

/* ---- what there is --------------------------------------------------------------------------------------------------- */

/** The CPU's name as Linux tells it; "unknown" where it does not. */
static const char *cpu_name(char text[256])
{
    FILE *file = fopen("/proc/cpuinfo", "r");
    char line[512];
    (void)snprintf(text, 256, "unknown");
    while (file && fgets(line, sizeof line, file)) {
        const char *colon = strchr(line, ':');
        if (strncmp(line, "model name", 10) != 0 || !colon) continue;
        line[strcspn(line, "\n")] = '\0';
        (void)snprintf(text, 256, "%.250s", colon + 1 + strspn(colon + 1, " \t"));
        break;
    }
    if (file) (void)fclose(file);
    return text;
}

/** Cores that the ranks may use (each counted once), and hosts. *here: ranks on this rank's host. */
static void count_cores(natsl_bench *b, int *here)
{
    MPI_Comm node;
    cpu_set_t mine;
    int rank = 0, sums[2] = {0, 0};
    CPU_ZERO(&mine);
    if (sched_getaffinity(0, sizeof mine, &mine) != 0) CPU_SET(0, &mine);
    NATSL_MPI(MPI_Comm_split_type(b->app->comm, MPI_COMM_TYPE_SHARED, b->app->rank, MPI_INFO_NULL, &node));
    NATSL_MPI(MPI_Comm_rank(node, &rank));
    NATSL_MPI(MPI_Comm_size(node, here));
    NATSL_MPI(MPI_Allreduce(MPI_IN_PLACE, &mine, sizeof mine, MPI_BYTE, MPI_BOR, node));
    if (rank == 0) sums[0] = CPU_COUNT(&mine), sums[1] = 1;
    NATSL_MPI(MPI_Allreduce(MPI_IN_PLACE, sums, 2, MPI_INT, MPI_SUM, b->app->comm));
    NATSL_MPI(MPI_Comm_free(&node));
    b->machine.cores = sums[0];
    b->machine.hosts = sums[1];
}

/* ---- products -------------------------------------------------------------------------------------------------------- */

typedef struct gemm {
    float *a, *b, *c; /* [n, n], [n, n], [threads, n, n] */
    int threads;      /* calls at the same time; each writes its own c */
} gemm;

static void gemm_run(void *user)
{
    const gemm *g = user;
    const int n = (int)GEMM_SIZE;
#pragma omp parallel num_threads(g->threads)
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, n, n, n, 1.0f, g->a, n, g->b, n, 0.0f,
                g->c + (size_t)omp_get_thread_num() * GEMM_SIZE * GEMM_SIZE, n);
}

/** The same without an OpenMP region: OpenBLAS's own threads do not run inside of one. */
static void gemm_run_blas(void *user)
{
    const gemm *g = user;
    const int n = (int)GEMM_SIZE;
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, n, n, n, 1.0f, g->a, n, g->b, n, 0.0f, g->c, n);
}

/** natsl's product, as a tile of a layer asks for it: every thread has its own x and y. */
static void linear_run(void *user)
{
    const gemm *g = user;
    const natsl_matrix w = {.n = LINEAR_SIZE, .k = LINEAR_SIZE, .type = NATSL_F32, .data = g->b};
#pragma omp parallel num_threads(g->threads)
    {
        float *own = g->c + (size_t)omp_get_thread_num() * GEMM_SIZE * GEMM_SIZE;
        float *y = own + NATSL_TILE * LINEAR_SIZE, *scratch = y + NATSL_TILE * LINEAR_SIZE;
        for (int i = 0; i < LINEAR_TIMES; i++)
            natsl_kernels_fast.linear(NATSL_TILE, &w, 0, natsl_panels(w.n), own, w.k, y, w.n, 0, scratch);
    }
}

static natsl_status measure_products(natsl_bench *b)
{
    natsl_machine *m = &b->machine;
    const int threads = (int)b->app->args.threads, ranks = b->app->size, before = openblas_get_num_threads();
    const double gflop = 2e-9 * (double)GEMM_SIZE * (double)GEMM_SIZE * (double)GEMM_SIZE;
    const size_t square = GEMM_SIZE * GEMM_SIZE;
    gemm g = {.threads = 1};
    g.a = natsl_alloc(square, sizeof(float), "matrix");
    g.b = natsl_alloc(square, sizeof(float), "matrix");
    g.c = natsl_alloc(square * (size_t)threads, sizeof(float), "matrices");
    const natsl_status st = natsl_app_agree(b->app, g.a && g.b && g.c ? NATSL_OK : NATSL_ERR_NOMEM);
    if (st != NATSL_OK) goto cleanup;
    for (size_t i = 0; i < square; i++) {
        g.a[i] = (float)(i % 251) * 0.008f - 1.0f;
        g.b[i] = (float)(i % 241) * 0.008f - 1.0f;
    }
    double alone[3] = {0.0, 0.0, 0.0};
    const double linear = LINEAR_TIMES * 2e-9 * NATSL_TILE * (double)LINEAR_SIZE * (double)LINEAR_SIZE;
    if (b->app->rank == 0) {
        openblas_set_num_threads(1);
        alone[0] = alone[1] = gflop / natsl_bench_best(MPI_COMM_SELF, b->budget_s, gemm_run_blas, NULL, &g);
        memset(g.c, 0, square * sizeof(float));
        alone[2] = linear / natsl_bench_best(MPI_COMM_SELF, b->budget_s, linear_run, NULL, &g);
        openblas_set_num_threads(threads);
        if (threads > 1) alone[1] = gflop / natsl_bench_best(MPI_COMM_SELF, b->budget_s, gemm_run_blas, NULL, &g);
    }
    natsl_bench_rest(b);
    natsl_bench_share(b, alone, 3);
    m->one_thread_gflops = alone[0];
    m->one_thread_linear_gflops = alone[2];
    m->one_rank_gflops = m->all_blas_gflops = alone[1];
    openblas_set_num_threads(threads);
    if (ranks > 1)
        m->all_blas_gflops = ranks * gflop / natsl_bench_best(b->app->comm, b->budget_s, gemm_run_blas, NULL, &g);
    m->all_openmp_gflops = m->all_blas_gflops;
    openblas_set_num_threads(1);
    g.threads = threads;
    if (threads > 1)
        m->all_openmp_gflops =
            ranks * threads * gflop / natsl_bench_best(b->app->comm, b->budget_s, gemm_run, NULL, &g);
    memset(g.c, 0, square * (size_t)threads * sizeof(float));
    m->all_linear_gflops = ranks * threads * linear / natsl_bench_best(b->app->comm, b->budget_s, linear_run, NULL, &g);
    m->peak_one_thread_gflops = fmax(m->one_thread_gflops, m->one_thread_linear_gflops);
    const double all[] = {m->one_rank_gflops, m->all_blas_gflops, m->all_openmp_gflops, m->all_linear_gflops};
    m->peak_gflops = m->peak_one_thread_gflops;
    for (int i = 0; i < 4; i++) m->peak_gflops = fmax(m->peak_gflops, all[i]);
    openblas_set_num_threads(before);
cleanup:
    natsl_free(g.a);
    natsl_free(g.b);
    natsl_free(g.c);
    return st;
}

/* ---- memory ---------------------------------------------------------------------------------------------------------- */

typedef struct stretch {
    float *from, *to;
    size_t floats;
    int threads;
    float factor;
    float sum; /* keeps the compiler from leaving the reading out */
} stretch;

/** Floats [begin, end) of a thread, in whole cache lines. */
static void share_of(size_t floats, int thread, int threads, size_t *begin, size_t *end)
{
    const size_t lines = floats / 16;
    *begin = lines * (size_t)thread / (size_t)threads * 16;
    *end = thread + 1 == threads ? floats : lines * (size_t)(thread + 1) / (size_t)threads * 16;
}

static void copy_run(void *user)
{
    const stretch *s = user;
#pragma omp parallel num_threads(s->threads)
    {
        size_t begin, end;
        share_of(s->floats, omp_get_thread_num(), omp_get_num_threads(), &begin, &end);
        memcpy(s->to + begin, s->from + begin, (end - begin) * sizeof(float));
    }
}

/** Times a factor that the compiler does not know to be 1, in place. */
NATSL_CLONES static void scale_lines(float *x, size_t floats, float factor)
{
#pragma omp simd
    for (size_t i = 0; i < floats; i++) x[i] *= factor;
}

static void update_run(void *user)
{
    const stretch *s = user;
#pragma omp parallel num_threads(s->threads)
    {
        size_t begin, end;
        share_of(s->floats, omp_get_thread_num(), omp_get_num_threads(), &begin, &end);
        scale_lines(s->from + begin, end - begin, s->factor);
    }
}

typedef float lanes __attribute__((vector_size(64), aligned(64)));

/** Sum of whole, aligned lines; four running sums, so that additions never hold up the loads. */
NATSL_CLONES static float sum_lines(const float *x, size_t floats)
{
    const lanes *v = (const lanes *)(const void *)x;
    lanes s[4] = {{0.0f}, {0.0f}, {0.0f}, {0.0f}};
    float sum = 0.0f;
    size_t i = 0;
    for (; i + 4 <= floats / 16; i += 4) {
        for (size_t k = 0; k < 4; k++) s[k] += v[i + k];
    }
    for (; i < floats / 16; i++) s[0] += v[i];
    for (size_t k = 0; k < 16; k++) sum += s[0][k] + s[1][k] + s[2][k] + s[3][k];
    return sum;
}

static void read_run(void *user)
{
    stretch *s = user;
    float sum = 0.0f;
#pragma omp parallel num_threads(s->threads) reduction(+ : sum)
    {
        size_t begin, end;
        share_of(s->floats, omp_get_thread_num(), omp_get_num_threads(), &begin, &end);
        sum += sum_lines(s->from + begin, end - begin);
    }
    s->sum += sum;
}

/** First touch by the threads that will use the pages. */
static void touch(const stretch *s)
{
#pragma omp parallel num_threads(s->threads)
    {
        size_t begin, end;
        share_of(s->floats, omp_get_thread_num(), omp_get_num_threads(), &begin, &end);
        for (size_t i = begin; i < end; i++) s->from[i] = 1.0f;
        if (s->to) memset(s->to + begin, 0, (end - begin) * sizeof(float));
    }
}

/** Sets cache_bytes and ring_bytes, equal on all ranks: four times the last cache, but no more than a sixteenth of the memory
 * for all ranks of a host, nor than what the time allows. */
static void choose_ring(natsl_bench *b, int here)
{
    const long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE), cache = sysconf(_SC_LEVEL3_CACHE_SIZE);
    const uint64_t memory = pages > 0 && page > 0 ? (uint64_t)pages * (uint64_t)page : (uint64_t)4 << 30;
    const double timely = 1e9 * b->budget_s;
    uint64_t sizes[2] = {cache > 0 ? (uint64_t)cache : NO_CACHE, memory / 16 / (uint64_t)here};
    sizes[1] = ~sizes[1]; /* the smallest of all, by the same reduction */
    NATSL_MPI(MPI_Allreduce(MPI_IN_PLACE, sizes, 2, MPI_UINT64_T, MPI_MAX, b->app->comm));
    uint64_t ring = 4 * sizes[0] < ~sizes[1] ? 4 * sizes[0] : ~sizes[1];
    if ((double)ring > timely) ring = (uint64_t)timely;
    b->machine.cache_bytes = sizes[0];
    b->machine.ring_bytes = ring > LEAST_RING ? ring : LEAST_RING;
}

static natsl_status measure_memory(natsl_bench *b)
{
    natsl_machine *m = &b->machine;
    const int threads = (int)b->app->args.threads;
    stretch s = {.floats = m->ring_bytes / 64 * 16, .threads = threads, .factor = 1.0f};
    s.from = natsl_alloc(s.floats, sizeof(float), "memory to copy");
    s.to = natsl_alloc(s.floats, sizeof(float), "memory to copy");
    const natsl_status st = natsl_app_agree(b->app, s.from && s.to ? NATSL_OK : NATSL_ERR_NOMEM);
    if (st == NATSL_OK) {
        void (*const runs[2])(void *) = {copy_run, update_run};
        double *const rates[2] = {m->copy_gbytes_per_s, m->update_gbytes_per_s};
        const double gbytes = 2e-9 * (double)s.floats * sizeof(float);
        touch(&s);
        for (int i = 0; i < 2; i++) {
            s.threads = 1;
            if (b->app->rank == 0)
                rates[i][0] = gbytes / natsl_bench_best(MPI_COMM_SELF, b->budget_s, runs[i], NULL, &s);
            natsl_bench_rest(b);
            natsl_bench_share(b, &rates[i][0], 1);
            s.threads = threads;
            rates[i][1] = b->app->size * gbytes / natsl_bench_best(b->app->comm, b->budget_s, runs[i], NULL, &s);
        }
        for (int t = 0; t < 2; t++) m->memory_gbytes_per_s[t] = fmax(rates[0][t], rates[1][t]);
    }
    natsl_free(s.from);
    natsl_free(s.to);
    return st;
}

double natsl_bench_weights_read(const natsl_config *c, natsl_storage type, double bytes)
{
    const double rows = c->tie_word_embeddings ? 0.0 : (double)c->vocab_size - 1.0;
    return bytes - rows * (double)c->hidden_size * (double)natsl_storage_bytes(type);
}

/** As many bytes as decoding reads of weights for one token, all ranks together. */
static natsl_status measure_read(natsl_bench *b)
{
    const natsl_storage type = (natsl_storage)b->app->args.weights;
    natsl_layout layout;
    natsl_status st = natsl_app_agree(b->app, natsl_layout_create(&b->config, type, &layout));
    if (st != NATSL_OK) return st;
    const double weights = natsl_bench_weights_read(&b->config, type, (double)layout.store_bytes);
    natsl_layout_free(&layout);
    stretch s = {.threads = (int)b->app->args.threads};
    s.floats = ((size_t)(weights / sizeof(float) / b->app->size) / 16 + 1) * 16;
    s.from = natsl_alloc(s.floats, sizeof(float), "memory to read");
    st = natsl_app_agree(b->app, s.from ? NATSL_OK : NATSL_ERR_NOMEM);
    if (st == NATSL_OK) {
        touch(&s);
        const double bytes = (double)s.floats * sizeof(float) * b->app->size;
        b->machine.read_gbytes_per_s = 1e-9 * bytes / natsl_bench_best(b->app->comm, b->budget_s, read_run, NULL, &s);
    }
    natsl_free(s.from);
    return st;
}

/* ---- messages -------------------------------------------------------------------------------------------------------- */

/** Seconds of half a round trip of `bytes` between ranks 0 and `peer`, best of several loops; the others rest. */
static double ping_pong(natsl_bench *b, int peer, unsigned char *buffer, size_t bytes)
{
    MPI_Comm comm = b->app->comm;
    const int rank = b->app->rank, tag = NATSL_TAG_HALO;
    double best = INFINITY;
    int count = 10; /* trips of a loop; the first loop tells how many fit the time */
    for (int loop = 0; loop < 5 && (rank == 0 || rank == peer); loop++) {
        if (rank == 0) NATSL_MPI(MPI_Send(&count, 1, MPI_INT, peer, tag, comm));
        else NATSL_MPI(MPI_Recv(&count, 1, MPI_INT, 0, tag, comm, MPI_STATUS_IGNORE));
        const double start = natsl_now_s();
        for (int i = 0; i < count; i++) {
            if (rank == 0) NATSL_MPI(MPI_Send(buffer, (int)bytes, MPI_BYTE, peer, tag, comm));
            NATSL_MPI(MPI_Recv(buffer, (int)bytes, MPI_BYTE, rank == 0 ? peer : 0, tag, comm, MPI_STATUS_IGNORE));
            if (rank != 0) NATSL_MPI(MPI_Send(buffer, (int)bytes, MPI_BYTE, 0, tag, comm));
        }
        const double trip = (natsl_now_s() - start) / count;
        if (loop > 0 && trip < best) best = trip;
        const double fit = b->budget_s / 8.0 / (trip > 1e-8 ? trip : 1e-8);
        count = fit < 10.0 ? 10 : fit > 10000.0 ? 10000 : (int)fit;
    }
    natsl_bench_rest(b);
    best *= 0.5;
    natsl_bench_share(b, &best, 1);
    return best;
}

static natsl_status measure_messages(natsl_bench *b)
{
    natsl_machine *m = &b->machine;
    if (b->app->size < 2) return NATSL_OK;
    unsigned char *buffer = natsl_calloc(LONG_MESSAGE, 1, "message");
    const natsl_status st = natsl_app_agree(b->app, buffer ? NATSL_OK : NATSL_ERR_NOMEM);
    if (st == NATSL_OK) {
        m->latency01_us = 1e6 * ping_pong(b, 1, buffer, 8);
        m->bandwidth01_gbytes_per_s = 1e-9 * (double)LONG_MESSAGE / ping_pong(b, 1, buffer, LONG_MESSAGE);
        const int last = b->app->size - 1;
        m->latency_us = last == 1 ? m->latency01_us : 1e6 * ping_pong(b, last, buffer, 8);
        m->bandwidth_gbytes_per_s = last == 1 ? m->bandwidth01_gbytes_per_s
                                              : 1e-9 * (double)LONG_MESSAGE / ping_pong(b, last, buffer, LONG_MESSAGE);
    }
    natsl_free(buffer);
    return st;
}

/* ---- all of it ------------------------------------------------------------------------------------------------------- */

static void report(natsl_bench *b, const char *cpu)
{
    const natsl_machine *m = &b->machine;
    const int threads = (int)b->app->args.threads, ranks = b->app->size;
    natsl_bench_say(b, "\nmachine\n  cpu          %s; %d core%s on %d host%s for this job\n", cpu, m->cores,
                    m->cores == 1 ? "" : "s", m->hosts, m->hosts == 1 ? "" : "s");
    natsl_bench_say(b, "  OpenBLAS     core %s%s\n", openblas_get_corename(),
                    b->app->warning ? ", which does not fit this CPU (see the warning)" : "");
    natsl_bench_say(b, "  products     by %s where matrices are small\n", natsl_gemm_name());
    if (ranks * threads > m->cores)
        natsl_bench_say(b, "  note         %d ranks x %d threads share %d cores: times say little about the program\n",
                        ranks, threads, m->cores);
    if (isfinite(m->peak_gflops)) {
        natsl_bench_say(b, "  sgemm 2048   one thread alone          %9.1f GFLOP/s\n", m->one_thread_gflops);
        natsl_bench_say(b, "               one rank, %4d BLAS threads%9.1f\n", threads, m->one_rank_gflops);
        natsl_bench_say(b, "               all ranks, BLAS threads   %9.1f\n", m->all_blas_gflops);
        natsl_bench_say(b, "               all ranks, OpenMP threads %9.1f\n", m->all_openmp_gflops);
        natsl_bench_say(b, "  natsl's own  one thread alone          %9.1f, 256 x 1024 x 1024\n",
                        m->one_thread_linear_gflops);
        natsl_bench_say(b, "               all ranks, OpenMP threads %9.1f\n", m->all_linear_gflops);
        const double whole = ranks * threads * m->peak_one_thread_gflops;
        if (ranks * threads <= m->cores && m->peak_gflops < 0.75 * whole)
            natsl_bench_say(b,
                            "  note         together %d threads reach %.0f %% of %d times one thread: is the machine "
                            "busy with other work?\n",
                            ranks * threads, 100.0 * m->peak_gflops / whole, ranks * threads);
        natsl_bench_say(b, "  peak         (the largest of these)    %9.1f GFLOP/s, of one thread %.1f\n",
                        m->peak_gflops, m->peak_one_thread_gflops);
    }
    if (isfinite(m->copy_gbytes_per_s[1])) {
        natsl_bench_say(b, "  copy         one thread alone          %9.1f GB/s read + written; all threads %.1f\n",
                        m->copy_gbytes_per_s[0], m->copy_gbytes_per_s[1]);
        natsl_bench_say(b, "  update       one thread alone          %9.1f GB/s read + written; all threads %.1f\n",
                        m->update_gbytes_per_s[0], m->update_gbytes_per_s[1]);
    }
    if (isfinite(m->read_gbytes_per_s))
        natsl_bench_say(b, "  read         all threads               %9.1f GB/s over one token's weights\n",
                        m->read_gbytes_per_s);
    if (isfinite(m->latency01_us))
        natsl_bench_say(b, "  messages     ranks 0 and %-4d %8.2f us (8 bytes), %.2f GB/s (4 MiB)\n", 1,
                        m->latency01_us, m->bandwidth01_gbytes_per_s);
    if (isfinite(m->latency_us) && ranks > 2)
        natsl_bench_say(b, "               ranks 0 and %-4d %8.2f us (8 bytes), %.2f GB/s (4 MiB)\n", ranks - 1,
                        m->latency_us, m->bandwidth_gbytes_per_s);
}

static void machine_json(natsl_bench *b, const char *cpu)
{
    const natsl_machine *m = &b->machine;
    json_t *j = b->json ? json_object() : NULL;
    natsl_bench_text(b, j, "cpu", cpu);
    natsl_bench_text(b, j, "blas_core", openblas_get_corename());
    natsl_bench_text(b, j, "blas_warning", b->app->warning);
    natsl_bench_text(b, j, "products", natsl_gemm_name());
    natsl_bench_count(b, j, "cores", m->cores);
    natsl_bench_count(b, j, "hosts", m->hosts);
    natsl_bench_count(b, j, "ranks", b->app->size);
    natsl_bench_count(b, j, "threads", b->app->args.threads);
    natsl_bench_count(b, j, "cache_bytes", (int64_t)m->cache_bytes);
    natsl_bench_real(b, j, "peak_gflops", m->peak_gflops);
    natsl_bench_real(b, j, "peak_one_thread_gflops", m->peak_one_thread_gflops);
    natsl_bench_real(b, j, "sgemm_one_thread_gflops", m->one_thread_gflops);
    natsl_bench_real(b, j, "sgemm_one_rank_blas_gflops", m->one_rank_gflops);
    natsl_bench_real(b, j, "sgemm_all_ranks_blas_gflops", m->all_blas_gflops);
    natsl_bench_real(b, j, "sgemm_all_ranks_openmp_gflops", m->all_openmp_gflops);
    natsl_bench_real(b, j, "linear_one_thread_gflops", m->one_thread_linear_gflops);
    natsl_bench_real(b, j, "linear_all_ranks_gflops", m->all_linear_gflops);
    natsl_bench_real(b, j, "copy_gbytes_per_s", m->copy_gbytes_per_s[1]);
    natsl_bench_real(b, j, "copy_one_thread_gbytes_per_s", m->copy_gbytes_per_s[0]);
    natsl_bench_real(b, j, "update_gbytes_per_s", m->update_gbytes_per_s[1]);
    natsl_bench_real(b, j, "update_one_thread_gbytes_per_s", m->update_gbytes_per_s[0]);
    natsl_bench_real(b, j, "memory_gbytes_per_s", m->memory_gbytes_per_s[1]);
    natsl_bench_real(b, j, "memory_one_thread_gbytes_per_s", m->memory_gbytes_per_s[0]);
    natsl_bench_real(b, j, "read_gbytes_per_s", m->read_gbytes_per_s);
    natsl_bench_real(b, j, "latency_us", m->latency_us);
    natsl_bench_real(b, j, "bandwidth_gbytes_per_s", m->bandwidth_gbytes_per_s);
    natsl_bench_real(b, j, "latency_ranks_0_1_us", m->latency01_us);
    natsl_bench_real(b, j, "bandwidth_ranks_0_1_gbytes_per_s", m->bandwidth01_gbytes_per_s);
    natsl_bench_put(b, b->json, "machine", j);
}

natsl_status natsl_bench_machine(natsl_bench *b)
{
    natsl_machine *m = &b->machine;
    char cpu[256];
    int here = 1;
    natsl_status st = NATSL_OK;
    *m = (natsl_machine){.one_thread_gflops = NAN,
                         .one_rank_gflops = NAN,
                         .all_blas_gflops = NAN,
                         .all_openmp_gflops = NAN,
                         .one_thread_linear_gflops = NAN,
                         .all_linear_gflops = NAN,
                         .peak_one_thread_gflops = NAN,
                         .peak_gflops = NAN,
                         .copy_gbytes_per_s = {NAN, NAN},
                         .update_gbytes_per_s = {NAN, NAN},
                         .memory_gbytes_per_s = {NAN, NAN},
                         .read_gbytes_per_s = NAN,
                         .latency_us = NAN,
                         .bandwidth_gbytes_per_s = NAN,
                         .latency01_us = NAN,
                         .bandwidth01_gbytes_per_s = NAN};
    count_cores(b, &here);
    choose_ring(b, here);
    if (b->parts & (NATSL_BENCH_MACHINE | NATSL_BENCH_KERNELS | NATSL_BENCH_PREFILL | NATSL_BENCH_TRAIN))
        st = measure_products(b);
    if (st == NATSL_OK && b->parts & (NATSL_BENCH_MACHINE | NATSL_BENCH_KERNELS)) st = measure_memory(b);
    if (st == NATSL_OK && b->parts & (NATSL_BENCH_MACHINE | NATSL_BENCH_DECODE)) st = measure_read(b);
    if (st == NATSL_OK && b->parts & NATSL_BENCH_MACHINE) st = measure_messages(b);
    if (st != NATSL_OK) return st;
    report(b, cpu_name(cpu));
    machine_json(b, cpu);
    return NATSL_OK;
}
