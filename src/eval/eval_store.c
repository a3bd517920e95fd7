/* eval_store.c - finished samples on disk. See eval_store.h. */
#include "eval_store.h"

#include "core.h"
#include "text_out.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PATH_BYTES  4096
#define DUMP_FLAGS  (JSON_COMPACT | JSON_ENSURE_ASCII | JSON_REAL_PRECISION(6))
#define MOST_INDEX  ((int64_t)1 << 24)
#define PART_PREFIX "part-"

/* ---- lines ----------------------------------------------------------------------------------------------------------- */

natsl_status natsl_line_read(FILE *file, const char *path, int64_t number, char **line, size_t *room, size_t *length,
                             int *ended)
{
    *length = 0;
    *ended = 0;
    errno = 0;
    for (int c; !*ended && (c = getc_unlocked(file)) != EOF;) {
        if (*length + 2 > *room) {
            const size_t more = *room ? 2 * *room : 4096;
            if (more > 2 * NATSL_LINE_BYTES)
                return natsl_fail(NATSL_ERR_INPUT, "%s, line %lld: longer than %zu bytes", path, (long long)number,
                                  NATSL_LINE_BYTES);
            char *grown = realloc(*line, more);
            if (!grown)
                return natsl_fail(NATSL_ERR_NOMEM, "%s, line %lld: no memory for %zu bytes", path, (long long)number,
                                  more);
            *line = grown;
            *room = more;
        }
        if (c == '\n') *ended = 1;
        else (*line)[(*length)++] = (char)c;
    }
    if (ferror(file)) return natsl_fail(NATSL_ERR_IO, "%s: %s", path, errno ? strerror(errno) : "reading failed");
    if (*room > 0) (*line)[*length] = '\0';
    return NATSL_OK;
}

/* ---- cells ----------------------------------------------------------------------------------------------------------- */

natsl_status natsl_eval_store_start(natsl_eval_store *store, const char *directory, natsl_eval_cell *cells,
                                    size_t n_cells)
{
    *store = (natsl_eval_store){.directory = directory};
    store->cells = natsl_calloc(n_cells, sizeof *store->cells, "results");
    if (!store->cells) return NATSL_ERR_NOMEM;
    store->n_cells = n_cells;
    for (size_t i = 0; i < n_cells; i++)
        store->cells[i] = (natsl_eval_cell){
            .task = cells[i].task, .length = cells[i].length, .samples = cells[i].samples, .metric = cells[i].metric};
    return NATSL_OK;
}

void natsl_eval_store_free(natsl_eval_store *store)
{
    for (size_t i = 0; i < store->n_cells; i++) {
        natsl_eval_cell *c = &store->cells[i];
        for (int64_t k = 0; k < c->room; k++) {
            json_decref(c->records[k]);
            json_decref(c->runs[k]);
        }
        natsl_free(c->records);
        natsl_free(c->runs);
    }
    natsl_free(store->cells);
    *store = (natsl_eval_store){0};
}

/** Room for sample `index`. */
static natsl_status grow(natsl_eval_cell *c, int64_t index)
{
    if (index < c->room) return NATSL_OK;
    int64_t room = c->room ? c->room : 64;
    while (room <= index) room *= 2;
    json_t **records = natsl_calloc((size_t)room, sizeof *records, "results");
    json_t **runs = natsl_calloc((size_t)room, sizeof *runs, "results");
    if (!records || !runs) {
        natsl_free(records);
        natsl_free(runs);
        return NATSL_ERR_NOMEM;
    }
    if (c->room > 0) {
        memcpy(records, c->records, (size_t)c->room * sizeof *records);
        memcpy(runs, c->runs, (size_t)c->room * sizeof *runs);
    }
    natsl_free(c->records);
    natsl_free(c->runs);
    c->records = records;
    c->runs = runs;
    c->room = room;
    return NATSL_OK;
}

natsl_status natsl_eval_cell_append(natsl_eval_cell *c, json_t *record)
{
    const natsl_status st = record ? grow(c, c->samples) : natsl_fail(NATSL_ERR_NOMEM, "no memory for a result");
    if (st == NATSL_OK) c->records[c->samples++] = record;
    else json_decref(record);
    return st;
}

/** Puts an object in its place by its "index", if there is none. What is there was computed from the same. */
static natsl_status put(natsl_eval_cell *c, int of_run, json_t *object, const char *path, int64_t number)
{
    json_t *index = json_object_get(object, "index");
    const json_int_t i = json_integer_value(index);
    if (!json_is_integer(index) || i < 0 || i >= MOST_INDEX)
        return natsl_fail(NATSL_ERR_INPUT, "%s, line %lld: \"index\" is missing or no number from 0 to %lld", path,
                          (long long)number, (long long)MOST_INDEX - 1);
    const natsl_status st = grow(c, i);
    if (st != NATSL_OK) return st;
    json_t **place = of_run ? &c->runs[i] : &c->records[i];
    if (!*place) {
        *place = json_incref(object);
        c->changed = 1;
    }
    return NATSL_OK;
}

/** What later steps count on, of one sample. */
static int is_record(const json_t *o)
{
    const json_t *outputs = json_object_get(o, "outputs"), *hits = json_object_get(o, "hits"),
                 *depth = json_object_get(o, "depth");
    if (!json_is_string(json_object_get(o, "pred")) || !json_is_integer(json_object_get(o, "length")) ||
        !json_is_array(outputs) || !json_is_array(hits) || !json_is_array(depth))
        return 0;
    const size_t n = json_array_size(outputs);
    const json_t *bins = json_object_get(o, "bins"), *bin;
    size_t k;
    json_array_foreach(bins, k, bin)
    {
        if (json_array_size(bin) != 4 || !json_is_integer(json_array_get(bin, 0)) ||
            !json_is_integer(json_array_get(bin, 1)) || !json_is_integer(json_array_get(bin, 2)) ||
            !json_is_number(json_array_get(bin, 3)))
            return 0;
    }
    if ((n == 0 && json_array_size(bins) == 0) || json_array_size(hits) != n || json_array_size(depth) != n) return 0;
    for (size_t i = 0; i < n; i++) {
        if (!json_is_integer(json_array_get(hits, i)) || !json_is_number(json_array_get(depth, i)) ||
            !json_is_string(json_array_get(outputs, i)))
            return 0;
    }
    return 1;
}

static natsl_status parse(const char *line, size_t length, const char *path, int64_t number, json_t **out)
{
    json_error_t error;
    *out = json_loadb(line, length, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error);
    if (!*out)
        return natsl_fail(NATSL_ERR_INPUT, "%s, line %lld, column %d: %s", path, (long long)number, error.column,
                          error.text);
    if (!json_is_object(*out)) {
        json_decref(*out);
        *out = NULL;
        return natsl_fail(NATSL_ERR_INPUT, "%s, line %lld: no JSON object", path, (long long)number);
    }
    return NATSL_OK;
}

static natsl_status cell_path(const natsl_eval_store *s, const natsl_eval_cell *c, int of_run, char path[PATH_BYTES])
{
    const int n = snprintf(path, PATH_BYTES, "%s/%s/%lld%s.jsonl", s->directory, c->task, (long long)c->length,
                           of_run ? ".runs" : "");
    if (n > 0 && n < PATH_BYTES) return NATSL_OK;
    return natsl_fail(NATSL_ERR_USAGE, "--out: the path is too long");
}

static natsl_status read_cell(natsl_eval_store *s, natsl_eval_cell *c, int of_run)
{
    char path[PATH_BYTES], *line = NULL;
    size_t room = 0, length = 0;
    int ended = 0;
    natsl_status st = cell_path(s, c, of_run, path);
    if (st != NATSL_OK) return st;
    FILE *file = fopen(path, "rb");
    if (!file) return errno == ENOENT ? NATSL_OK : natsl_fail(NATSL_ERR_INPUT, "%s: %s", path, strerror(errno));
    for (int64_t number = 1; st == NATSL_OK; number++) {
        st = natsl_line_read(file, path, number, &line, &room, &length, &ended);
        if (st != NATSL_OK || (length == 0 && !ended)) break;
        json_t *object = NULL;
        st = parse(line, length, path, number, &object);
        if (st == NATSL_OK && !of_run && !is_record(object))
            st = natsl_fail(NATSL_ERR_INPUT, "%s, line %lld: not a sample that natsl has written", path,
                            (long long)number);
        if (st == NATSL_OK) st = put(c, of_run, object, path, number);
        json_decref(object);
    }
    free(line);
    (void)fclose(file);
    c->changed = 0;
    return st;
}

natsl_status natsl_eval_store_read(natsl_eval_store *store)
{
    natsl_status st = NATSL_OK;
    for (size_t i = 0; i < store->n_cells && st == NATSL_OK; i++) {
        st = read_cell(store, &store->cells[i], 0);
        if (st == NATSL_OK) st = read_cell(store, &store->cells[i], 1);
    }
    return st;
}

/* ---- writing --------------------------------------------------------------------------------------------------------- */

static natsl_status write_cell(natsl_eval_store *s, natsl_eval_cell *c, int of_run)
{
    char path[PATH_BYTES], directory[PATH_BYTES + 32];
    natsl_text_out out;
    natsl_status st = cell_path(s, c, of_run, path);
    if (st != NATSL_OK) return st;
    (void)snprintf(directory, sizeof directory, "%s/%s", s->directory, c->task);
    if (mkdir(directory, 0777) != 0 && errno != EEXIST)
        return natsl_fail(NATSL_ERR_IO, "%s: %s", directory, strerror(errno));
    if ((st = natsl_text_out_open(path, &out)) != NATSL_OK) return st;
    int bad = 0;
    json_t **objects = of_run ? c->runs : c->records;
    for (int64_t i = 0; i < c->room && !bad; i++) {
        if (objects[i]) bad = json_dumpf(objects[i], out.file, DUMP_FLAGS) != 0 || fputc('\n', out.file) == EOF;
    }
    return natsl_text_out_close(&out, bad);
}

static natsl_eval_cell *find_cell(natsl_eval_store *s, const json_t *line)
{
    const char *task = json_string_value(json_object_get(line, "task"));
    const json_int_t length = json_integer_value(json_object_get(line, "length"));
    for (size_t i = 0; task && i < s->n_cells; i++) {
        if (s->cells[i].length == length && strcmp(s->cells[i].task, task) == 0) return &s->cells[i];
    }
    return NULL;
}

static natsl_status read_part(natsl_eval_store *s, const char *path)
{
    char *line = NULL;
    size_t room = 0, length = 0;
    int ended = 0;
    natsl_status st = NATSL_OK;
    FILE *file = fopen(path, "rb");
    if (!file) return natsl_fail(NATSL_ERR_INPUT, "%s: %s", path, strerror(errno));
    for (int64_t number = 1; st == NATSL_OK; number++) {
        json_t *object = NULL;
        st = natsl_line_read(file, path, number, &line, &room, &length, &ended);
        if (st != NATSL_OK || !ended) break; /* a line without an end was cut by a kill */
        if ((st = parse(line, length, path, number, &object)) != NATSL_OK) break;
        json_t *record = json_object_get(object, "record"), *run = json_object_get(object, "run");
        natsl_eval_cell *c = find_cell(s, object);
        if (!is_record(record) || !json_is_object(run))
            st = natsl_fail(NATSL_ERR_INPUT, "%s, line %lld: not a sample that natsl has written", path,
                            (long long)number);
        else if (!c)
            st = natsl_fail(NATSL_ERR_USAGE,
                            "%s, line %lld: an interrupted run's sample of a task and length that are not asked for "
                            "now; expected at least the tasks and lengths of that run, or --out another directory",
                            path, (long long)number);
        if (st == NATSL_OK) st = put(c, 0, record, path, number);
        if (st == NATSL_OK) st = put(c, 1, run, path, number);
        json_decref(object);
    }
    free(line);
    (void)fclose(file);
    return st;
}

static int is_part(const struct dirent *entry)
{
    const size_t n = strlen(entry->d_name);
    return n > 6 && strncmp(entry->d_name, PART_PREFIX, sizeof PART_PREFIX - 1) == 0 &&
           strcmp(entry->d_name + n - 6, ".jsonl") == 0;
}

natsl_status natsl_eval_store_merge(natsl_eval_store *store)
{
    char path[PATH_BYTES];
    struct dirent **entries = NULL;
    natsl_status st = NATSL_OK;
    const int n = scandir(store->directory, &entries, is_part, alphasort);
    if (n < 0) return natsl_fail(NATSL_ERR_IO, "%s: %s", store->directory, strerror(errno));
    for (int i = 0; i < n && st == NATSL_OK; i++) {
        (void)snprintf(path, sizeof path, "%s/%s", store->directory, entries[i]->d_name);
        st = read_part(store, path);
    }
    for (size_t i = 0; i < store->n_cells && st == NATSL_OK; i++) {
        natsl_eval_cell *c = &store->cells[i];
        if (!c->changed) continue;
        st = write_cell(store, c, 0);
        if (st == NATSL_OK) st = write_cell(store, c, 1);
        c->changed = st != NATSL_OK;
    }
    /* Only when all of it is in its place; what a kill leaves here is read again and found to be there. */
    for (int i = 0; i < n; i++) {
        (void)snprintf(path, sizeof path, "%s/%s", store->directory, entries[i]->d_name);
        if (st == NATSL_OK && unlink(path) != 0 && errno != ENOENT)
            st = natsl_fail(NATSL_ERR_IO, "%s: %s", path, strerror(errno));
        free(entries[i]);
    }
    free(entries);
    return st;
}

natsl_status natsl_eval_part_open(const char *directory, int rank, int *fd)
{
    char path[PATH_BYTES];
    const int n = snprintf(path, sizeof path, "%s/" PART_PREFIX "%d.jsonl", directory, rank);
    if (n < 0 || (size_t)n >= sizeof path) return natsl_fail(NATSL_ERR_USAGE, "--out: the path is too long");
    *fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    return *fd >= 0 ? NATSL_OK : natsl_fail(NATSL_ERR_IO, "%s: %s", path, strerror(errno));
}

natsl_status natsl_eval_part_add(int fd, const natsl_eval_cell *cell, json_t *record, json_t *run)
{
    json_t *line = json_pack("{s:s, s:I, s:o?, s:o?}", "task", cell->task, "length", (json_int_t)cell->length, "record",
                             record, "run", run);
    char *text = line && record && run ? json_dumps(line, DUMP_FLAGS) : NULL;
    natsl_status st = text ? NATSL_OK : natsl_fail(NATSL_ERR_NOMEM, "%s: no memory for a result", cell->task);
    const size_t length = text ? strlen(text) + 1 : 0;
    if (text) text[length - 1] = '\n'; /* over the NUL */
    for (size_t at = 0; st == NATSL_OK && at < length;) {
        const ssize_t n = write(fd, text + at, length - at);
        if (n > 0) at += (size_t)n;
        else if (n == 0 || errno != EINTR)
            st = natsl_fail(NATSL_ERR_IO, "results of %s: %s", cell->task, n < 0 ? strerror(errno) : "writing failed");
    }
    if (st == NATSL_OK && fdatasync(fd) != 0 && errno != EINVAL)
        st = natsl_fail(NATSL_ERR_IO, "results of %s: %s", cell->task, strerror(errno));
    free(text);
    json_decref(line);
    return st;
}
