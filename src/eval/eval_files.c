/* eval_files.c - tables, HDF5 and page of results. See eval_files.h. */
#include "eval_files.h"

#include "core.h"
#include "eval_chart.h"
#include "eval_results.h"
#include "h5.h"
#include "score.h"
#include "text_out.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PATH_BYTES 4096

natsl_status natsl_eval_write_text(const char *path, const char *text, size_t length)
{
    natsl_text_out out;
    const natsl_status st = natsl_text_out_open(path, &out);
    return st == NATSL_OK ? natsl_text_out_close(&out, fwrite(text, 1, length, out.file) != length) : st;
}

/** What `make` puts into a buffer, as a file. */
static natsl_status write_made(natsl_status (*make)(const natsl_eval_result *, size_t, natsl_buffer *),
                               const natsl_eval_result *runs, size_t count, const char *directory, const char *name)
{
    char path[PATH_BYTES];
    natsl_buffer page;
    const int n = snprintf(path, sizeof path, "%s%s%s", directory ? directory : "", directory ? "/" : "", name);
    if (n < 0 || (size_t)n >= sizeof path) return natsl_fail(NATSL_ERR_USAGE, "--out: the path is too long");
    natsl_status st = make(runs, count, &page);
    if (st == NATSL_OK) st = natsl_eval_write_text(path, page.text, page.length);
    natsl_buffer_free(&page);
    return st;
}

natsl_status natsl_eval_write_report(const natsl_eval_result *runs, size_t count, const char *directory,
                                     const char *name)
{
    return write_made(natsl_eval_report, runs, count, directory, name);
}

natsl_status natsl_eval_write_heatmap(const natsl_eval_result *runs, size_t count, const char *directory,
                                      const char *name)
{
    return write_made(natsl_eval_heatmap, runs, count, directory, name);
}

/* ---- RULER's tables -------------------------------------------------------------------------------------------------- */

/** A field of a CSV file, in quotes where it needs them. */
static void put_field(natsl_buffer *b, const char *text, size_t length)
{
    int quotes = 0;
    for (size_t i = 0; i < length; i++)
        quotes |= text[i] == ',' || text[i] == '"' || text[i] == '\n' || text[i] == '\r';
    if (!quotes) {
        natsl_put(b, text, length);
        return;
    }
    natsl_puts(b, "\"");
    for (size_t i = 0; i < length; i++) {
        if (text[i] == '"') natsl_puts(b, "\"");
        natsl_put(b, text + i, 1);
    }
    natsl_puts(b, "\"");
}

/** A score with two decimals as Python prints it: 100.0, 98.5, 33.33. */
static void put_score(natsl_buffer *b, double score)
{
    char text[32];
    (void)snprintf(text, sizeof text, "%.2f", score);
    const size_t n = strlen(text);
    natsl_put(b, text, text[n - 1] == '0' ? n - 1 : n);
}

/** One row of a summary over the cells of a length. */
static void put_row(natsl_buffer *b, const natsl_eval_store *store, int64_t length, const char *head, int what)
{
    natsl_puts(b, head);
    for (size_t i = 0; i < store->n_cells; i++) {
        const natsl_eval_cell *c = &store->cells[i];
        natsl_eval_score score;
        if (c->length != length) continue;
        natsl_eval_cell_score(c, &score);
        natsl_puts(b, ",");
        if (what == 0) put_field(b, c->task, strlen(c->task));
        else if (what == 1 && score.samples > 0) put_score(b, score.score);
        else if (what == 2) natsl_printf(b, "%lld/%lld", (long long)score.nulls, (long long)score.samples);
    }
    natsl_puts(b, "\n");
}

static void put_submission(natsl_buffer *b, const natsl_eval_cell *c)
{
    for (int64_t i = 0; i < c->samples && i < c->room; i++) {
        const json_t *record = c->records[i], *pred = json_object_get(record, "pred");
        const char *id = json_string_value(json_object_get(json_object_get(record, "others"), "id"));
        if (!record) continue;
        char *text = natsl_alloc(json_string_length(pred) + 1, 1, "prediction");
        if (!text) {
            b->failed = 1;
            return;
        }
        memcpy(text, json_string_value(pred), json_string_length(pred));
        put_field(b, c->task, strlen(c->task));
        natsl_puts(b, ",");
        if (id) put_field(b, id, strlen(id));
        else natsl_put_number(b, json_integer_value(json_object_get(record, "index")));
        natsl_puts(b, ",");
        put_field(b, text, natsl_score_clean(text, json_string_length(pred)));
        natsl_puts(b, "\n");
        natsl_free(text);
    }
}

/** A link from pred/<task>.jsonl to the predictions; where a file system has no links, there is none. */
static natsl_status link_predictions(const char *directory, const natsl_eval_cell *c)
{
    char path[PATH_BYTES], target[PATH_BYTES];
    (void)snprintf(path, sizeof path, "%s/%s.jsonl", directory, c->task);
    (void)snprintf(target, sizeof target, "../../../%s/%lld.jsonl", c->task, (long long)c->length);
    if (symlink(target, path) == 0 || errno == EEXIST || errno == EPERM || errno == ENOTSUP || errno == ENOSYS)
        return NATSL_OK;
    return natsl_fail(NATSL_ERR_IO, "%s: %s", path, strerror(errno));
}

static natsl_status write_tables(const natsl_eval_store *store, int64_t length)
{
    char directory[PATH_BYTES - 256], path[PATH_BYTES];
    natsl_buffer summary = {0}, submission = {0};
    natsl_status st = NATSL_OK;
    static const char *const parts[] = {"/synthetic", "", "/pred"};
    int n = snprintf(directory, sizeof directory, "%s", store->directory);
    for (int i = 0; i < 3 && st == NATSL_OK; i++) {
        if (n < 0 || (size_t)n + 64 >= sizeof directory)
            return natsl_fail(NATSL_ERR_USAGE, "--out: the path is too long");
        n += i == 1 ? snprintf(directory + n, sizeof directory - (size_t)n, "/%lld", (long long)length)
                    : snprintf(directory + n, sizeof directory - (size_t)n, "%s", parts[i]);
        if (mkdir(directory, 0777) != 0 && errno != EEXIST)
            st = natsl_fail(NATSL_ERR_IO, "%s: %s", directory, strerror(errno));
    }
    size_t tasks = 0;
    for (size_t i = 0; i < store->n_cells; i++) {
        const natsl_eval_cell *c = &store->cells[i];
        if (c->length != length) continue;
        natsl_printf(&summary, "%s%zu", tasks ? "," : "0,", tasks + 1);
        tasks++;
        if (submission.length == 0) natsl_puts(&submission, "Task,ID,Prediction\n");
        put_submission(&submission, c);
        if (st == NATSL_OK && !store->elsewhere) st = link_predictions(directory, c);
    }
    natsl_puts(&summary, "\n");
    put_row(&summary, store, length, "Tasks", 0);
    put_row(&summary, store, length, "Score", 1);
    put_row(&summary, store, length, "Nulls", 2);
    if (summary.failed || submission.failed) st = NATSL_ERR_NOMEM;
    (void)snprintf(path, sizeof path, "%s/summary.csv", directory);
    if (st == NATSL_OK) st = natsl_eval_write_text(path, summary.text, summary.length);
    (void)snprintf(path, sizeof path, "%s/submission.csv", directory);
    if (st == NATSL_OK) st = natsl_eval_write_text(path, submission.text, submission.length);
    natsl_buffer_free(&summary);
    natsl_buffer_free(&submission);
    return st;
}

natsl_status natsl_eval_write_tables(const natsl_eval_store *store)
{
    natsl_status st = NATSL_OK;
    for (size_t i = 0; i < store->n_cells && st == NATSL_OK; i++) {
        size_t first = 0;
        while (store->cells[first].length != store->cells[i].length) first++;
        if (first == i) st = write_tables(store, store->cells[i].length);
    }
    return st;
}

/* ---- HDF5 ------------------------------------------------------------------------------------------------------------ */

typedef struct numbers {
    const char *name, *units, *axes, *description;
    const char *key,
        *inside;  /* of a cell; inside: of an element of the array `key`, "": the element itself, NULL: no array */
    size_t third; /* elements, 0: none */
} numbers;

static const json_t *find(const json_t *results, const char *task, int64_t length)
{
    size_t i;
    const json_t *cell;
    json_array_foreach(json_object_get(results, "tasks"), i, cell)
    {
        if (strcmp(json_string_value(json_object_get(cell, "task")), task) == 0 &&
            json_integer_value(json_object_get(cell, "length")) == length)
            return cell;
    }
    return NULL;
}

static double number_of(const json_t *value) { return json_is_number(value) ? json_number_value(value) : NAN; }

static natsl_status put_numbers(natsl_h5_out *out, const numbers *what, const json_t *results, const char *const *tasks,
                                size_t n_tasks, const int64_t *lengths, size_t n_lengths)
{
    const size_t third = what->third ? what->third : 1, row = n_lengths * third;
    const hsize_t shape[3] = {n_tasks, n_lengths, third};
    hid_t dataset = H5I_INVALID_HID;
    double *values = natsl_alloc(n_tasks * row, sizeof *values, "results.h5");
    if (!values) return NATSL_ERR_NOMEM;
    for (size_t i = 0; i < n_tasks * row; i++) {
        const json_t *cell = find(results, tasks[i / row], lengths[i % row / third]),
                     *value = json_object_get(cell, what->key);
        if (what->inside) value = json_array_get(value, i % third);
        if (what->inside && what->inside[0]) value = json_object_get(value, what->inside);
        values[i] = number_of(value);
    }
    natsl_status st = natsl_h5_new_dataset(out, what->name, H5T_IEEE_F64LE, what->third ? 3 : 2, shape, &dataset);
    if (st == NATSL_OK) {
        st = natsl_h5_write_rows(dataset, out->path, what->name, H5T_NATIVE_DOUBLE, 0, (int64_t)n_tasks,
                                 row * sizeof *values, values);
        if (st == NATSL_OK) st = natsl_h5_put_text(dataset, out->path, "units", what->units);
        if (st == NATSL_OK) st = natsl_h5_put_text(dataset, out->path, "axes", what->axes);
        if (st == NATSL_OK) st = natsl_h5_put_text(dataset, out->path, "description", what->description);
        (void)H5Dclose(dataset);
    }
    natsl_free(values);
    return st;
}

/** Tasks in the order of the file, lengths ascending. */
static size_t axes_of(const json_t *results, const char **tasks, int64_t *lengths, size_t *n_lengths, size_t *layers,
                      size_t *bins)
{
    size_t i, k, n = 0;
    const json_t *cell;
    *n_lengths = *layers = *bins = 0;
    json_array_foreach(json_object_get(results, "lengths"), i, cell) lengths[(*n_lengths)++] =
        json_integer_value(json_object_get(cell, "length"));
    json_array_foreach(json_object_get(results, "tasks"), i, cell)
    {
        const char *task = json_string_value(json_object_get(cell, "task"));
        for (k = 0; k < n && strcmp(tasks[k], task) != 0;) k++;
        if (k == n) tasks[n++] = task;
        const size_t have = json_array_size(json_object_get(cell, "kept_share_by_layer"));
        const size_t positions = json_array_size(json_object_get(cell, "by_position"));
        if (have > *layers) *layers = have;
        if (positions > *bins) *bins = positions;
    }
    return n;
}

natsl_status natsl_eval_write_h5(const char *directory, const json_t *results)
{
    const size_t cells = json_array_size(json_object_get(results, "tasks"));
    char path[PATH_BYTES - 1024];
    natsl_h5_out out;
    natsl_buffer names = {0};
    size_t n_lengths = 0, layers = 0, bins = 0;
    const int n = snprintf(path, sizeof path, "%s/results.h5", directory);
    if (n < 0 || (size_t)n >= sizeof path) return natsl_fail(NATSL_ERR_USAGE, "--out: the path is too long");
    const char **tasks = natsl_calloc(cells + 1, sizeof *tasks, "results.h5");
    int64_t *lengths = natsl_calloc(cells + 1, sizeof *lengths, "results.h5");
    natsl_status st = tasks && lengths ? natsl_h5_create(MPI_COMM_NULL, path, &out) : NATSL_ERR_NOMEM;
    if (st == NATSL_OK) {
        const size_t n_tasks = axes_of(results, tasks, lengths, &n_lengths, &layers, &bins);
        const numbers all[] = {
            {"score", "percent", "task, length", "mean score of the samples", "score", NULL, 0},
            {"low", "percent", "task, length", "lower end of the score's 95 % interval (Wilson)", "low", NULL, 0},
            {"high", "percent", "task, length", "upper end of it", "high", NULL, 0},
            {"samples", "samples", "task, length", "samples that are finished", "samples", NULL, 0},
            {"score_by_depth", "percent", "task, length, tenth of the context",
             "expected outputs found, by the depth at which they are told", "by_depth", "score", NATSL_EVAL_BANDS},
            {"outputs_by_depth", "outputs", "task, length, tenth of the context", "expected outputs told there",
             "by_depth", "outputs", NATSL_EVAL_BANDS},
            {"kept_share", "1", "task, length", "share of chunks that the gate kept", "kept_share", NULL, 0},
            {"read_tokens_per_s", "tokens/s", "task, length", "reading, one group of ranks", "read_tokens_per_s", NULL,
             0},
            {"generate_tokens_per_s", "tokens/s", "task, length", "generating, one group of ranks",
             "generate_tokens_per_s", NULL, 0},
            {"peak_bytes", "bytes", "task, length", "largest resident memory of a rank", "peak_bytes", NULL, 0},
            {"kept_share_by_layer", "1", "task, length, layer",
             "share of the prompts' chunks that the gate kept; -1: no gate", "kept_share_by_layer", "", layers},
            {"loss_by_position", "nats per token", "task, length, bin",
             "of documents; results.json says where the bins of positions begin and end", "by_position", "loss", bins},
        };
        for (size_t i = 0; i < sizeof all / sizeof all[0] && st == NATSL_OK; i++) {
            if (all[i].inside && all[i].third == 0) continue; /* no layers, no documents */
            st = put_numbers(&out, &all[i], results, tasks, n_tasks, lengths, n_lengths);
        }
        for (size_t i = 0; i < n_tasks; i++) natsl_printf(&names, "%s%s", i ? "," : "", tasks[i]);
        natsl_put(&names, "", 1);
        hid_t dataset = H5I_INVALID_HID;
        if (st == NATSL_OK)
            st = natsl_h5_new_dataset(&out, "lengths", H5T_STD_I64LE, 1, &(hsize_t){n_lengths}, &dataset);
        if (st == NATSL_OK) {
            st = natsl_h5_write_rows(dataset, path, "lengths", H5T_NATIVE_INT64, 0, (int64_t)n_lengths, sizeof *lengths,
                                     lengths);
            (void)H5Dclose(dataset);
        }
        if (st == NATSL_OK) st = natsl_h5_put_text(out.file, path, "format", "natsl-eval");
        if (st == NATSL_OK) st = natsl_h5_put_int(out.file, path, "format_version", 1);
        if (st == NATSL_OK)
            st = names.failed ? NATSL_ERR_NOMEM : natsl_h5_put_text(out.file, path, "tasks", names.text);
        st = natsl_h5_finish(&out, st);
    }
    natsl_buffer_free(&names);
    natsl_free(tasks);
    natsl_free(lengths);
    return st;
}
