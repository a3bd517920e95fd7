/* fuzz_checkpoint.c - checkpoints of readings and of trainings, as --resume and train read them, and names in their directory.
 * An input that begins as an HDF5 file does is read as a checkpoint, whatever its seal says (a damaged byte would go no further than the
 * seal); any other one is looked at as a sealed file, and its lines are names of files in a directory of checkpoints.
 * NATSL_FUZZ_SAVE=DIR writes good ones first: seeds. */
#include "checkpoint.h"
#include "context_impl.h"
#include "core.h"
#include "fuzz.h"
#include "result_part.h"
#include "seal.h"
#include "series.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define TOKENS   40
#define POSITION 25
#define NAMES    16

static natsl_config config;
static natsl_model *model;
static natsl_layout layout;
static float *weights, *first, *second;                                                     /* [layout.floats] */
static const natsl_options options = {.threads = 1, .pass_tokens = 64, .stage_tokens = 64}; /* small buffers: fast */
static char directory[64];

static void remove_directory(void) { (void)rmdir(directory); }

static natsl_status seen(void *user, int64_t at, int64_t count, const float *values)
{
    (void)user;
    (void)at;
    (void)count;
    (void)values;
    return NATSL_OK;
}

static natsl_status put_part(void *user, natsl_h5_out *out)
{
    natsl_status st = natsl_h5_put_text(out->file, out->path, "run", "command=score");
    if (st == NATSL_OK) st = natsl_h5_put_real(out->file, out->path, "reading_seconds", 1.5);
    return st == NATSL_OK ? natsl_result_part_put(user, POSITION, out) : st;
}

/** Good checkpoints of a reading and of a training. */
static natsl_status save(const char *to)
{
    static const uint8_t choices[16] = {1, 1, 1, 1};
    char path[512];
    int32_t tokens[POSITION];
    float values[POSITION];
    natsl_options how = options;
    natsl_context *cx = NULL;
    natsl_result *r = NULL;
    how.route = NATSL_ALL_SOFTMAX;
    for (int i = 0; i < POSITION; i++) {
        tokens[i] = 7 * i % config.vocab_size;
        values[i] = -1.0f;
    }
    (void)snprintf(path, sizeof path, "%s/result.h5", to);
    natsl_status st = natsl_result_create(MPI_COMM_SELF, path, &config, TOKENS, 0, 0, &r);
    if (st == NATSL_OK) natsl_result_keep_notes(r);
    if (st == NATSL_OK) st = natsl_result_logprobs(r, 0, POSITION, values);
    for (int l = 0; l < config.num_hidden_layers && st == NATSL_OK; l++)
        if (config.kind[l] == NATSL_LAYER_NATS) st = natsl_result_choices(r, l, 0, POSITION / config.chunk, choices);
    if (st == NATSL_OK) st = natsl_context_create(MPI_COMM_SELF, model, &how, &cx);
    if (st == NATSL_OK) st = natsl_context_extend_array(cx, POSITION, tokens, NULL);
    (void)snprintf(path, sizeof path, "%s/reading.h5", to);
    if (st == NATSL_OK) st = natsl_context_save_with(cx, path, put_part, r);
    natsl_context_destroy(&cx);
    natsl_result_abandon(&r);
    static char spec[] = "{}";
    natsl_checkpoint c = {.step = 3,
                          .updates = 2,
                          .weights = weights,
                          .first_moment = first,
                          .second_moment = second,
                          .last = layout.floats,
                          .expected = 0.5,
                          .spec = spec};
    (void)snprintf(path, sizeof path, "%s/training.h5", to);
    if (st == NATSL_OK) st = natsl_checkpoint_write(MPI_COMM_SELF, path, &config, "none", "fuzz", &layout, &c);
    return st;
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    static const char small[] =
        "{\"hidden_size\": 8, \"num_hidden_layers\": 2, \"vocab_size\": 12, \"head_dim\": 4, \"intermediate_size\": 8, "
        "\"num_heads\": 1, \"num_attn_heads\": 1, \"nats_block_size\": 8, \"gdn_layers\": [0]}";
    const char *to = getenv("NATSL_FUZZ_SAVE");
    struct stat s;
    (void)argc;
    (void)argv;
    natsl_fuzz_taken = 0;
    natsl_fuzz_mpi();
    (void)snprintf(directory, sizeof directory, "%s/natsl-fuzz-dir-%ld",
                   stat("/dev/shm", &s) == 0 ? "/dev/shm" : "/tmp", (long)getpid());
    if (mkdir(directory, 0700) != 0) return 1;
    (void)atexit(remove_directory);
    natsl_status st = natsl_config_parse(small, strlen(small), "small", &config);
    if (st == NATSL_OK) st = natsl_model_random(MPI_COMM_SELF, &config, 1, NATSL_F32, &model);
    if (st == NATSL_OK) model->digest = 1; /* the seeds' on every machine, whatever its logarithm's last bit is */
    if (st == NATSL_OK) st = natsl_layout_create(&config, NATSL_F32, &layout);
    if (st == NATSL_OK) {
        weights = natsl_calloc(layout.floats, sizeof *weights, "weights");
        first = natsl_calloc(layout.floats, sizeof *first, "moments");
        second = natsl_calloc(layout.floats, sizeof *second, "moments");
        if (!weights || !first || !second) st = NATSL_ERR_NOMEM;
    }
    if (st == NATSL_OK && to) st = save(to);
    if (st != NATSL_OK) fprintf(stderr, "%s\n", natsl_error_text());
    return st != NATSL_OK;
}

/** What resume.c does with a file whose seal is whole. */
static void read_reading(const char *path)
{
    hid_t file = -1;
    char *run = NULL, own[96];
    double seconds = 0.0;
    natsl_context *cx = NULL;
    natsl_result *r = NULL;
    natsl_status st = natsl_h5_open(path, &file);
    if (st == NATSL_OK) {
        st = natsl_h5_text(file, path, "run", 1024, &run);
        if (st == NATSL_OK) st = natsl_h5_real(file, path, "reading_seconds", &seconds);
        natsl_free(run);
        (void)H5Fclose(file);
    }
    /* the rest does not need it to be good */
    if (natsl_context_load_checked(MPI_COMM_SELF, model, &options, path, &cx) != NATSL_OK) return;
    const int64_t position = natsl_context_position(cx);
    natsl_context_destroy(&cx);
    if (position < 1 || position >= TOKENS) return;
    (void)snprintf(own, sizeof own, "%s/result.h5", directory);
    if (natsl_result_create(MPI_COMM_SELF, own, &config, TOKENS, 0, 0, &r) != NATSL_OK) return;
    if (natsl_result_part_get(r, position, path, seen, NULL) == NATSL_OK) natsl_fuzz_taken++;
    natsl_result_abandon(&r);
}

static void read_training(const char *path)
{
    natsl_checkpoint c = {.weights = weights, .first_moment = first, .second_moment = second, .last = layout.floats};
    if (natsl_checkpoint_read(path, &config, &layout, &c) != NATSL_OK) return;
    natsl_fuzz_taken++;
    natsl_free(c.spec);
}

static void count_names(size_t *most)
{
    int64_t *numbers = NULL;
    size_t count = 0;
    char path[NATSL_SERIES_PATH];
    if (natsl_series_list(directory, &numbers, &count) == NATSL_OK) {
        for (size_t i = 0; i < count; i++) {
            struct stat s;
            if (numbers[i] < 1 || (i > 0 && numbers[i] <= numbers[i - 1])) abort();
            if (natsl_series_path(directory, numbers[i], path) != NATSL_OK || stat(path, &s) != 0) abort();
        }
    }
    natsl_free(numbers);
    *most = count;
}

/** Lines as names of files: listed, all but one removed, what is half-written removed. */
static void names_of(const uint8_t *data, size_t size)
{
    char path[512], name[128];
    size_t n = 0, count = 0;
    for (size_t at = 0, length; at < size && n < NAMES; at += length + 1, n++) {
        const uint8_t *end = memchr(data + at, '\n', size - at);
        length = end ? (size_t)(end - data) - at : size - at;
        if (length == 0 || length >= sizeof name || data[at] == '.') continue;
        memcpy(name, data + at, length);
        name[length] = '\0';
        if (strlen(name) != length || strchr(name, '/')) continue;
        (void)snprintf(path, sizeof path, "%s/%s", directory, name);
        const int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        if (fd >= 0) (void)close(fd);
    }
    count_names(&count);
    natsl_series_prune(directory, 1);
    count_names(&count);
    if (count > 1) abort();
    natsl_series_sweep(directory, NULL);
    natsl_series_sweep(directory, "result.h5");
    natsl_series_prune(directory, 0);
    count_names(&count);
    if (count != 0) abort();
    DIR *d = opendir(directory);
    for (struct dirent *e; d && (e = readdir(d)) != NULL;) {
        (void)snprintf(path, sizeof path, "%s/%.255s", directory, e->d_name);
        if (e->d_name[0] != '.') (void)unlink(path);
    }
    if (d) (void)closedir(d);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint8_t signature[] = {0x89, 'H', 'D', 'F', '\r', '\n', 0x1a, '\n'};
    const char *path = natsl_fuzz_file(data, size);
    if (!path) return 0;
    if (size < sizeof signature || memcmp(data, signature, sizeof signature) != 0) {
        (void)natsl_seal_check(MPI_COMM_SELF, path, (int)(size % 2));
        names_of(data, size);
        return 0;
    }
    read_reading(path);
    read_training(path);
    return 0;
}
