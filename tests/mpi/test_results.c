/* test_results.c - result files, seals and series of checkpoints: what is written is what is read, whatever the number of ranks; a file
 * that cannot be written leaves nothing behind; damage is noticed. Run at 1, 2, 3, 5 ranks. */
#define _GNU_SOURCE /* nftw */
#include "files_check.h"
#include "result_part.h"
#include "seal.h"
#include "series.h"

#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <sys/resource.h>

/* ---- results ---------------------------------------------------------------------------------------------------- */

static float logprob_at(int64_t i) { return -0.001f * (float)(i % 1000) - 1.0f; }
static float hidden_at(int64_t i, int32_t d) { return (float)(i % 251) + 0.01f * (float)d; }
static uint8_t choice_at(int64_t chunk, int head) { return (uint8_t)((chunk * 3 + head) % 2); }

/** This rank's part of a result, in its own order and pieces; the last rank writes what one rank holds. */
static void write_part(natsl_result *r, const natsl_config *c, int64_t length, int hidden, int state)
{
    const int64_t chunks = length / c->chunk;
    const int64_t a = length * world_rank / world_size, b = length * (world_rank + 1) / world_size;
    const int32_t d = c->hidden_size;
    for (int64_t i = a; i < b; i += 97) {
        const int64_t n = b - i < 97 ? b - i : 97, scored = i + n < length ? n : length - 1 - i;
        float values[97], *rows = must(malloc((size_t)(n * d) * sizeof *rows));
        for (int64_t k = 0; k < n; k++) values[k] = logprob_at(i + k);
        for (int64_t k = 0; k < n * d; k++) rows[k] = hidden_at(i + k / d, (int32_t)(k % d));
        EXPECT(natsl_result_logprobs(r, i, scored, values) == NATSL_OK, "%s", natsl_error_text());
        if (hidden) EXPECT(natsl_result_hidden(r, i, n, rows) == NATSL_OK, "%s", natsl_error_text());
        free(rows);
    }
    const int64_t ca = chunks * world_rank / world_size, cb = chunks * (world_rank + 1) / world_size;
    for (int64_t i = ca; i < cb; i++) {
        uint8_t keep[16];
        for (int h = 0; h < c->num_nats_head; h++) keep[h] = choice_at(i, h);
        EXPECT(natsl_result_choices(r, 1, i, 1, keep) == NATSL_OK, "%s", natsl_error_text());
    }
    if (world_rank != world_size - 1) return;
    float *v = must(malloc((size_t)c->vocab_size * 1000 * sizeof *v));
    for (int i = 0; i < c->vocab_size * 1000; i++) v[i] = (float)i;
    EXPECT(natsl_result_logits_last(r, v) == NATSL_OK, "%s", natsl_error_text());
    for (int l = 0; state && l < 2; l++)
        EXPECT(natsl_result_state(r, l, v + l, l ? v + 7 : NULL) == NATSL_OK, "%s", natsl_error_text());
    free(v);
}

/** A dataset of the committed file: its size must be `count`; NULL when it is not there. Caller frees. */
static double *dataset(hid_t file, const char *name, size_t count)
{
    double *v = NULL;
    if (H5Lexists(file, name, H5P_DEFAULT) <= 0) return NULL;
    const hid_t set = H5Dopen2(file, name, H5P_DEFAULT), space = H5Dget_space(set);
    const size_t n = (size_t)H5Sget_simple_extent_npoints(space);
    EXPECT(n == count, "%s: %zu values, not %zu", name, n, count);
    v = must(calloc((n > count ? n : count) + 1, sizeof *v));
    if (n > 0) CU_ASSERT_TRUE(H5Dread(set, H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL, H5P_DEFAULT, v) >= 0);
    H5Sclose(space);
    H5Dclose(set);
    return v;
}

/** Rank 0 reads the whole file again. */
static void check_result(const char *path, const natsl_config *c, int64_t length, int hidden, int state)
{
    const hid_t file = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT);
    const size_t n = (size_t)length, chunks = (size_t)(length / c->chunk), d = (size_t)c->hidden_size;
    const size_t heads = (size_t)c->num_nats_head,
                 size = (size_t)c->num_v_heads * (size_t)c->head_dim * (size_t)c->head_v_dim;
    size_t bad = 0;
    natsl_file_kind kind;
    double perplexity = 0.0, *v = NULL;
    CU_ASSERT_TRUE(file >= 0);
    if (file < 0) return;
    v = must(dataset(file, "logprobs", n - 1));
    for (size_t i = 0; i + 1 < n; i++) bad += (float)v[i] != logprob_at((int64_t)i);
    EXPECT(bad == 0, "%zu logprobs differ", bad);
    free(v);
    v = must(dataset(file, "softmax_chunks/1", chunks * heads));
    for (size_t i = 0; i < chunks * heads; i++)
        bad += (uint8_t)v[i] != choice_at((int64_t)(i / heads), (int)(i % heads));
    EXPECT(bad == 0, "%zu choices differ", bad);
    free(v);
    CU_ASSERT_EQUAL(H5Lexists(file, "softmax_chunks/0", H5P_DEFAULT), 0);
    v = must(dataset(file, "logits_last", (size_t)c->vocab_size));
    for (size_t i = 0; i < (size_t)c->vocab_size; i++) bad += (size_t)v[i] != i;
    free(v);
    v = dataset(file, "hidden", n * d);
    CU_ASSERT_EQUAL(v != NULL, hidden);
    for (size_t i = 0; v && i < n * d; i++) bad += (float)v[i] != hidden_at((int64_t)(i / d), (int32_t)(i % d));
    free(v);
    CU_ASSERT_EQUAL(H5Lexists(file, "state", H5P_DEFAULT) > 0, state);
    for (size_t l = 0; state && l < 2; l++) {
        v = must(dataset(file, l ? "state/1" : "state/0", size));
        for (size_t i = 0; i < size; i++) bad += (size_t)v[i] != i + l;
        free(v);
    }
    v = state ? must(dataset(file, "block_state/1", size)) : NULL;
    for (size_t i = 0; v && i < size; i++) bad += (size_t)v[i] != i + 7;
    free(v);
    EXPECT(bad == 0, "%zu values differ", bad);
    const hid_t a = H5Aopen(file, "perplexity", H5P_DEFAULT);
    CU_ASSERT_TRUE(a >= 0 && H5Aread(a, H5T_NATIVE_DOUBLE, &perplexity) >= 0);
    CU_ASSERT_EQUAL(perplexity, 12.25);
    H5Aclose(a);
    CU_ASSERT_TRUE(H5Aexists(file, "config") > 0);
    H5Fclose(file);
    CU_ASSERT_EQUAL(natsl_file_kind_of(path, &kind), NATSL_OK);
    CU_ASSERT_EQUAL(kind, NATSL_FILE_RESULT);
}

/** Lengths with no scored token, no complete chunk, and several; the old file stays until the commit. */
static void test_result(void)
{
    static const int64_t lengths[] = {1, 2, 63, 64, 1000, 5003};
    const natsl_config c = config_of(TINY);
    for (size_t i = 0; i < COUNT(lengths); i++) {
        const int hidden = i % 2 == 1, state = i % 3 != 0;
        natsl_result *r = NULL;
        struct stat s;
        ON_RANK_0(write_bytes(at("r.h5"), "old", 3));
        EXPECT(natsl_result_create(MPI_COMM_WORLD, at("r.h5"), &c, lengths[i], hidden, state, &r) == NATSL_OK, "%s",
               natsl_error_text());
        if (!r) continue;
        CU_ASSERT_TRUE(exists(natsl_temporary_path));
        CU_ASSERT_EQUAL(strncmp(natsl_temporary_path, at("r.h5.tmp-"), strlen(at("r.h5.tmp-"))), 0);
        write_part(r, &c, lengths[i], hidden, state);
        CU_ASSERT_EQUAL(natsl_result_attribute(r, "perplexity", 12.25), NATSL_OK);
        CU_ASSERT_TRUE(stat(at("r.h5"), &s) == 0 && s.st_size == 3);
        MPI_Barrier(MPI_COMM_WORLD);
        EXPECT(natsl_result_commit(&r) == NATSL_OK, "%s", natsl_error_text());
        CU_ASSERT_PTR_NULL(r);
        CU_ASSERT_EQUAL(natsl_temporary_path[0], 0);
        CU_ASSERT_EQUAL(count_files(".tmp-"), 0);
        ON_RANK_0(check_result(at("r.h5"), &c, lengths[i], hidden, state));
    }
}

/** Nothing under the final name, nothing left beside it, the old file untouched. */
static void nothing_written(const char *what)
{
    struct stat s;
    MPI_Barrier(MPI_COMM_WORLD);
    EXPECT(stat(at("r.h5"), &s) == 0 && s.st_size == 3, "%s: the old file is gone", what);
    EXPECT(count_files(".tmp-") == 0, "%s: a temporary file is left", what);
    CU_ASSERT_EQUAL(natsl_temporary_path[0], 0);
    MPI_Barrier(MPI_COMM_WORLD);
}

static void test_result_abandoned(void)
{
    const natsl_config c = config_of(TINY);
    natsl_result *r = NULL;
    ON_RANK_0(write_bytes(at("r.h5"), "old", 3));
    CU_ASSERT_EQUAL(natsl_result_create(MPI_COMM_WORLD, at("r.h5"), &c, 1000, 1, 1, &r), NATSL_OK);
    if (r) write_part(r, &c, 1000, 1, 1);
    (void)natsl_fail(NATSL_ERR_INPUT, "why we stop");
    natsl_result_abandon(&r);
    CU_ASSERT_PTR_NULL(r);
    CU_ASSERT_STRING_EQUAL(natsl_error_text(), "why we stop");
    natsl_result_abandon(&r);
    nothing_written("abandoned");
    /* a write that failed on one rank, for whatever reason, makes the commit fail on all */
    for (int kind = 0; kind < 4; kind++) {
        float row[24] = {0};
        natsl_status st = NATSL_OK;
        CU_ASSERT_EQUAL(natsl_result_create(MPI_COMM_WORLD, at("r.h5"), &c, 1000, 0, 1, &r), NATSL_OK);
        if (!r) continue;
        if (world_rank == world_size / 2) {
            if (kind == 0) st = natsl_result_logprobs(r, 990, 10, row); /* one past the end */
            if (kind == 1) st = natsl_result_logprobs(r, -1, 1, row);
            if (kind == 2) st = natsl_result_hidden(r, 0, 1, row);                         /* not asked for */
            if (kind == 3) st = natsl_result_choices(r, 0, 0, 1, (const uint8_t *)"\0\0"); /* a layer without choices */
            EXPECT(st != NATSL_OK, "kind %d was written", kind);
        }
        CU_ASSERT_NOT_EQUAL(natsl_result_commit(&r), NATSL_OK);
        EXPECT(strstr(natsl_error_text(), "r.h5") != NULL, "%s", natsl_error_text());
        CU_ASSERT_PTR_NULL(r);
        nothing_written("bad write");
    }
}

static void test_result_wrong_place(void)
{
    const natsl_config c = config_of(TINY);
    natsl_result *r = NULL;
    char longest[4000];
    memset(longest, 'x', sizeof longest);
    longest[sizeof longest - 1] = '\0';
    const struct {
        const char *path, *word;
        natsl_status st;
    } cases[] = {{scratch, "directory", NATSL_ERR_IO},   {"/nonexistent/r.h5", "/nonexistent", NATSL_ERR_IO},
                 {"/dev/null", "regular", NATSL_ERR_IO}, {"/proc/r.h5", "/proc/r.h5", NATSL_ERR_IO},
                 {"", "name", NATSL_ERR_USAGE},          {longest, "too long", NATSL_ERR_USAGE}};
    for (size_t i = 0; i < COUNT(cases); i++) {
        failed_with(natsl_result_create(MPI_COMM_WORLD, cases[i].path, &c, 100, 0, 0, &r), cases[i].st, cases[i].word,
                    cases[i].path);
        CU_ASSERT_PTR_NULL(r);
    }
    ON_RANK_0(write_bytes(at("plain"), "old", 3));
    failed_with(natsl_result_create(MPI_COMM_WORLD, at("plain/r.h5"), &c, 100, 0, 0, &r), NATSL_ERR_IO, "plain",
                "below a file");
    failed_with(natsl_result_create(MPI_COMM_WORLD, at("r.h5"), &c, 0, 0, 0, &r), NATSL_ERR_INTERNAL, "0 tokens",
                "no tokens");
    ON_RANK_0(CU_ASSERT_EQUAL(count_files(".tmp-"), 0));
    /* a name that a killed run left behind is not in the way */
    char stale[64];
    (void)snprintf(stale, sizeof stale, "r2.h5.tmp-%ld", (long)getpid());
    ON_RANK_0(write_bytes(at(stale), "stale", 5));
    CU_ASSERT_EQUAL(natsl_result_create(MPI_COMM_WORLD, at("r2.h5"), &c, 100, 0, 0, &r), NATSL_OK);
    CU_ASSERT_EQUAL(natsl_result_commit(&r), NATSL_OK);
    CU_ASSERT_TRUE(exists(at("r2.h5")));
    MPI_Barrier(MPI_COMM_WORLD);
    ON_RANK_0(CU_ASSERT_EQUAL(unlink(at(stale)), 0));
}

/** No file of this process may grow beyond `bytes`; 0: as it was. What a full disk does, by a limit that needs no
 * privilege. */
static void limit_files(rlim_t bytes)
{
    static struct rlimit old;
    struct rlimit now;
    if (bytes) {
        (void)getrlimit(RLIMIT_FSIZE, &old);
        now = (struct rlimit){bytes, old.rlim_max};
        (void)setrlimit(RLIMIT_FSIZE, &now);
    } else {
        (void)setrlimit(RLIMIT_FSIZE, &old);
    }
}

/** The disk is full before the first write; during writing, on all ranks or one; at the end, when HDF5 flushes what it
 * kept. Each ends as an I/O error on all ranks, with nothing left behind, and the library is fit for the next file. */
static void test_disk_full(void)
{
    const natsl_config c = config_of(TINY);
    const int64_t length = 20000; /* hidden: 1.9 MB */
    void (*const old)(int) = signal(SIGXFSZ, SIG_IGN);
    ON_RANK_0(write_bytes(at("r.h5"), "old", 3));
    for (int kind = 0; kind < 5; kind++) {
        natsl_result *r = NULL;
        natsl_status st = NATSL_OK;
        const int64_t a = length * world_rank / world_size, b = length * (world_rank + 1) / world_size;
        float *rows = must(calloc((size_t)(b - a) * (size_t)c.hidden_size, sizeof *rows));
        if (kind == 0) limit_files(100000);
        if (kind == 1) limit_files(1000); /* not even HDF5's first bytes */
        st = natsl_result_create(MPI_COMM_WORLD, at("r.h5"), &c, length, 1, 1, &r);
        if (kind < 2) {
            failed_with(st, NATSL_ERR_IO, "r.h5", "full before");
            CU_ASSERT_PTR_NULL(r);
            limit_files(0);
        } else if (r) {
            /* From the middle of the file on. HDF5's last flush meets the limit only where there is one rank: else
             * MPI-IO would leave the other ranks waiting, which the reservation of space is there to prevent. */
            const int limited = kind == 2 ? 1 : kind == 3 ? world_rank == world_size - 1 : 0;
            if (limited) limit_files(500000);
            st = natsl_result_hidden(r, a, b - a, rows);
            if (world_rank == world_size - 1) CU_ASSERT_EQUAL(st, limited ? NATSL_ERR_IO : NATSL_OK);
            if (kind == 4 && world_size == 1) limit_files(1000);
            const int fails = kind != 4 || world_size == 1;
            st = natsl_result_commit(&r);
            if (fails) failed_with(st, NATSL_ERR_IO, "r.h5", "full");
            else CU_ASSERT_EQUAL(st, NATSL_OK);
            if (limited || (kind == 4 && world_size == 1)) limit_files(0);
            if (!fails) {
                MPI_Barrier(MPI_COMM_WORLD);
                ON_RANK_0(write_bytes(at("r.h5"), "old", 3));
            }
        } else {
            EXPECT(0, "kind %d: %s", kind, natsl_error_text());
        }
        free(rows);
        nothing_written("disk full");
    }
    /* one process: model files */
    if (world_rank == 0) {
        for (rlim_t bytes = 1000; bytes < 60000; bytes += 12000) {
            natsl_layout l;
            CU_ASSERT_EQUAL(natsl_layout_create(&c, NATSL_F32, &l), NATSL_OK);
            float *w = must(calloc(l.floats, sizeof *w));
            limit_files(bytes);
            failed_with(natsl_model_file_write(at("full.h5"), &c, "byte", NULL, &l, w), NATSL_ERR_IO, "full.h5",
                        "model");
            limit_files(0);
            CU_ASSERT_EQUAL(count_files("full.h5"), 0);
            free(w);
            natsl_layout_free(&l);
        }
    }
    (void)signal(SIGXFSZ, old);
    test_result();
}

/* ---- seals and series ------------------------------------------------------------------------------------------ */

/** Changes one byte; rank 0. */
static void flip(const char *path, off_t place)
{
    unsigned char byte = 0;
    const int fd = open(path, O_RDWR);
    CU_ASSERT(fd >= 0 && pread(fd, &byte, 1, place) == 1);
    byte ^= 0x10;
    CU_ASSERT_EQUAL(pwrite(fd, &byte, 1, place), 1);
    (void)close(fd);
}

/** A sealed file of several blocks: whole it passes, and HDF5 reads it; any byte changed, or its end lost, it does not. */
static void test_seal(void)
{
    const char *path = at("sealed.h5");
    const hsize_t rows = 9 * (NATSL_SEAL_BLOCK / 8) / 4 + 13; /* nine fourths of a block */
    natsl_h5_out out;
    hid_t set = -1;
    int64_t *values = must(calloc((size_t)rows, sizeof *values));
    CU_ASSERT_EQUAL(natsl_h5_create(MPI_COMM_WORLD, path, &out), NATSL_OK);
    out.sealed = 1;
    CU_ASSERT_EQUAL(natsl_h5_new_dataset(&out, "values", H5T_STD_I64LE, 1, &rows, &set), NATSL_OK);
    for (hsize_t i = 0; i < rows; i++) values[i] = (int64_t)(i * i);
    const int64_t first = (int64_t)rows * world_rank / world_size, last = (int64_t)rows * (world_rank + 1) / world_size;
    CU_ASSERT_EQUAL(
        natsl_h5_write_rows(set, path, "values", H5T_NATIVE_INT64, first, last - first, sizeof *values, values + first),
        NATSL_OK);
    H5Dclose(set);
    CU_ASSERT_EQUAL(natsl_h5_finish(&out, NATSL_OK), NATSL_OK);
    free(values);
    for (int required = 0; required < 2; required++)
        EXPECT(natsl_seal_check(MPI_COMM_WORLD, path, required) == NATSL_OK, "%s", natsl_error_text());
    hid_t file = -1;
    CU_ASSERT_EQUAL(natsl_h5_open(path, &file), NATSL_OK);
    if (file >= 0) H5Fclose(file);
    struct stat s = {0};
    CU_ASSERT_EQUAL(stat(path, &s), 0);
    const off_t size = s.st_size, body = size - NATSL_SEAL_BYTES;
    const off_t places[] = {0, 1000, (off_t)NATSL_SEAL_BLOCK - 1, (off_t)NATSL_SEAL_BLOCK, body - 1, size - 5};
    for (size_t i = 0; i < COUNT(places); i++) {
        MPI_Barrier(MPI_COMM_WORLD);
        if (world_rank == 0) flip(path, places[i]);
        MPI_Barrier(MPI_COMM_WORLD);
        EXPECT(natsl_seal_check(MPI_COMM_WORLD, path, 1) == NATSL_ERR_INPUT, "byte %lld", (long long)places[i]);
        EXPECT(strstr(natsl_error_text(), "sealed.h5: damaged") != NULL, "%s", natsl_error_text());
        MPI_Barrier(MPI_COMM_WORLD);
        if (world_rank == 0) flip(path, places[i]);
    }
    MPI_Barrier(MPI_COMM_WORLD);
    CU_ASSERT_EQUAL(natsl_seal_check(MPI_COMM_WORLD, path, 1), NATSL_OK);
    MPI_Barrier(MPI_COMM_WORLD);
    /* bytes lost in the middle, the seal still at the end; then no seal; then nothing at all */
    if (world_rank == 0) {
        char seal[NATSL_SEAL_BYTES];
        const int fd = open(path, O_RDWR);
        CU_ASSERT(fd >= 0 && pread(fd, seal, sizeof seal, body) == (ssize_t)sizeof seal);
        CU_ASSERT(pwrite(fd, seal, sizeof seal, body - 4096) == (ssize_t)sizeof seal &&
                  ftruncate(fd, size - 4096) == 0);
        (void)close(fd);
    }
    MPI_Barrier(MPI_COMM_WORLD);
    CU_ASSERT_EQUAL(natsl_seal_check(MPI_COMM_WORLD, path, 0), NATSL_ERR_INPUT);
    MPI_Barrier(MPI_COMM_WORLD);
    for (int empty = 0; empty < 2; empty++) {
        if (world_rank == 0) CU_ASSERT_EQUAL(truncate(path, empty ? 0 : body - 4096), 0);
        MPI_Barrier(MPI_COMM_WORLD);
        CU_ASSERT_EQUAL(natsl_seal_check(MPI_COMM_WORLD, path, 0), NATSL_OK); /* as files of before there were seals */
        CU_ASSERT_EQUAL(natsl_seal_check(MPI_COMM_WORLD, path, 1), NATSL_ERR_INPUT);
        MPI_Barrier(MPI_COMM_WORLD);
    }
    CU_ASSERT_EQUAL(natsl_seal_check(MPI_COMM_WORLD, at("nowhere.h5"), 0), NATSL_ERR_INPUT);
}

/** Numbers, order, removal of older ones and of what is half-written; nothing else is touched. */
static void test_series(void)
{
    static const char *const names[] = {"checkpoint-00000007.h5",
                                        "checkpoint-123456789012.h5",
                                        "checkpoint-00000100.h5",
                                        "checkpoint-7.h5",
                                        "checkpoint-00000000.h5",
                                        "checkpoint-00000008.h5.tmp-12",
                                        "checkpoint-00000008.h5.tmp-12-3",
                                        "checkpoint-00000008.h5.tmp-x",
                                        "r.h5.tmp-77",
                                        "r.h5.tmp",
                                        "rr.h5.tmp-77",
                                        "checkpoint-00000009.h5.old"};
    char directory[600], path[NATSL_SERIES_PATH];
    int64_t *numbers = NULL;
    size_t count = 0;
    if (world_rank != 0) return;
    (void)snprintf(directory, sizeof directory, "%s/series", scratch);
    CU_ASSERT_EQUAL(natsl_series_directory(directory, "--out", "them"), NATSL_OK);
    CU_ASSERT_EQUAL(natsl_series_directory(directory, "--out", "them"), NATSL_OK);
    for (size_t i = 0; i < COUNT(names); i++) {
        (void)snprintf(path, sizeof path, "%s/%s", directory, names[i]);
        FILE *f = must(fopen(path, "w"));
        (void)fclose(f);
    }
    CU_ASSERT_EQUAL(natsl_series_directory(path, "--out", "them"), NATSL_ERR_IO);
    CU_ASSERT_EQUAL(natsl_series_list(directory, &numbers, &count), NATSL_OK);
    CU_ASSERT(count == 3 && numbers[0] == 7 && numbers[1] == 100 && numbers[2] == 123456789012);
    natsl_free(numbers);
    CU_ASSERT_EQUAL(natsl_series_path(directory, 123456789012, path), NATSL_OK);
    CU_ASSERT(exists(path));
    natsl_series_sweep(directory, NULL);
    natsl_series_sweep(directory, "r.h5");
    natsl_series_prune(directory, 2);
    static const int stays[] = {0, 1, 1, 1, 1, 0, 0, 1, 0, 1, 1, 1};
    for (size_t i = 0; i < COUNT(names); i++) {
        (void)snprintf(path, sizeof path, "%s/%s", directory, names[i]);
        EXPECT(exists(path) == stays[i], "%s", names[i]);
    }
    int fd = -1, other = -1;
    CU_ASSERT_EQUAL(natsl_series_lock(directory, "--out", &fd), NATSL_OK);
    CU_ASSERT_EQUAL(natsl_series_lock(directory, "--out", &other), NATSL_ERR_USAGE);
    (void)close(fd);
    CU_ASSERT_EQUAL(natsl_series_lock(directory, "--out", &fd), NATSL_OK);
    (void)close(fd);
    CU_ASSERT_EQUAL(natsl_series_list("/none/there", &numbers, &count), NATSL_ERR_IO);
    (void)snprintf(path, sizeof path, "%s/checkpoint-00000008.h5.tmp-x", directory); /* count_files looks for such */
    (void)unlink(path);
    (void)snprintf(path, sizeof path, "%s/rr.h5.tmp-77", directory);
    (void)unlink(path);
}

int main(int argc, char **argv)
{
    static const test_entry tests[] = {
        {"scratch directory", test_scratch},          {"result: written and read", test_result},
        {"result: abandoned", test_result_abandoned}, {"result: wrong places", test_result_wrong_place},
        {"result: disk full", test_disk_full},        {"seal", test_seal},
        {"series of checkpoints", test_series},       {"nothing left behind", test_clean},
    };
    return run_suite_mpi(&argc, &argv, "results", tests, COUNT(tests));
}
