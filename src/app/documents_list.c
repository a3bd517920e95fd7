/* documents_list.c - which documents, what their results are called, and what is wrong with them before any is read. See documents.h. */
#define _GNU_SOURCE /* strndup */
#include "documents.h"

#include "agree.h"
#include "core.h"
#include "job.h"
#include "place.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LIST_BYTES ((int64_t)1 << 28)
#define PATH_BYTES 3000
#define NAME_BYTES 200 /* with what is appended while a file is written, less than file systems allow */
/* Tokens read at once when they are checked. */
#define CHECK_TOKENS ((int64_t)1 << 16)

natsl_status natsl_documents_asked(const natsl_app *app, int *several)
{
    const natsl_args *a = &app->args;
    *several = a->n_operands > 1 || a->operands[0][0] == '@';
    if (!*several && (a->keep_going || a->ranks_per_doc > 0))
        return natsl_fail(NATSL_ERR_USAGE, "--%s: is for several documents, expected more than one DOC, or @list",
                          a->keep_going ? "keep-going" : "ranks-per-doc");
    return NATSL_OK;
}

/* ---- the list -------------------------------------------------------------------------------------------------------- */

/** The file's name without a directory and without .txt, .h5 or .hdf5. */
static natsl_status name_it(natsl_document *document)
{
    static const char *const endings[] = {".txt", ".h5", ".hdf5"};
    const char *slash = strrchr(document->path, '/'), *name = slash ? slash + 1 : document->path;
    size_t length = strlen(name);
    for (size_t i = 0; i < sizeof endings / sizeof endings[0]; i++) {
        const size_t n = strlen(endings[i]);
        if (length > n && strcmp(name + length - n, endings[i]) == 0) {
            length -= n;
            break;
        }
    }
    if (length == 0)
        return natsl_fail(NATSL_ERR_USAGE, "%.200s: a directory, expected a document's file", document->path);
    if ((length == 1 || length == 2) && strncmp(name, "..", length) == 0) /* "..txt", "...txt": of directories */
        return natsl_fail(NATSL_ERR_USAGE, "%.200s: its result would be called %.*s, expected another name",
                          document->path, (int)length, name);
    if (length > NAME_BYTES)
        return natsl_fail(NATSL_ERR_USAGE, "%.60s...: a name of %zu bytes, expected at most %d", name, length,
                          NAME_BYTES);
    document->name = strndup(name, length);
    return document->name ? NATSL_OK : natsl_fail(NATSL_ERR_NOMEM, "out of memory: documents");
}

/** One more document, `directory`/`path` unless the path is absolute. */
static natsl_status add(natsl_documents *d, size_t *room, const char *directory, size_t directory_length,
                        const char *path, size_t length)
{
    if (path[0] == '/') directory_length = 0;
    if (length + directory_length > PATH_BYTES)
        return natsl_fail(NATSL_ERR_INPUT, "%.60s...: a path of %zu bytes, expected at most %d", path, length,
                          PATH_BYTES);
    if (d->n == NATSL_DOCUMENTS_MOST)
        return natsl_fail(NATSL_ERR_INPUT, "more than %zu documents, expected no more", NATSL_DOCUMENTS_MOST);
    if (d->n == *room) {
        const size_t more = *room ? 2 * *room : 64;
        natsl_document *all = natsl_calloc(more, sizeof *all, "documents");
        if (!all) return NATSL_ERR_NOMEM;
        if (d->n > 0) memcpy(all, d->all, d->n * sizeof *all);
        natsl_free(d->all);
        d->all = all;
        *room = more;
    }
    natsl_document *document = &d->all[d->n];
    char *text = malloc(directory_length + length + 1);
    if (!text) return natsl_fail(NATSL_ERR_NOMEM, "out of memory: documents");
    memcpy(text, directory, directory_length);
    memcpy(text + directory_length, path, length);
    text[directory_length + length] = '\0';
    *document = (natsl_document){.path = text};
    d->n++;
    return name_it(document);
}

/** The documents of a list: a path on each line, relative to the list's directory. */
static natsl_status add_lines(natsl_documents *d, size_t *room, const char *list, const char *text, int64_t bytes)
{
    const char *slash = strrchr(list, '/'), *end = text + bytes;
    const size_t directory = slash ? (size_t)(slash - list) + 1 : 0, before = d->n;
    int64_t number = 1;
    for (const char *line = text; line < end; number++) {
        const char *stop = memchr(line, '\n', (size_t)(end - line));
        if (!stop) stop = end;
        size_t length = (size_t)(stop - line);
        if (length > 0 && line[length - 1] == '\r') length--;
        size_t blanks = 0;
        while (blanks < length && (line[blanks] == ' ' || line[blanks] == '\t')) blanks++;
        if (blanks < length && line[0] != '#') {
            natsl_status st = NATSL_OK;
            if (memchr(line, '\0', length))
                st =
                    natsl_fail(NATSL_ERR_INPUT, "%s: line %lld has a byte 0, expected a path", list, (long long)number);
            else if ((st = add(d, room, list, directory, line, length)) == NATSL_ERR_USAGE) st = NATSL_ERR_INPUT;
            if (st != NATSL_OK) return st;
        }
        line = stop + 1;
    }
    return d->n > before ? NATSL_OK
                         : natsl_fail(NATSL_ERR_INPUT, "%s: names no document, expected a path on a line", list);
}

static natsl_status add_list(natsl_documents *d, size_t *room, const char *list)
{
    natsl_app *app = d->app;
    char *text = NULL;
    size_t bytes = 0;
    natsl_status st = natsl_app_whole_file(app, list, LIST_BYTES, "a list of documents", &text, &bytes);
    if (st == NATSL_OK) st = natsl_app_agree(app, add_lines(d, room, list, text, (int64_t)bytes));
    natsl_free(text);
    return st;
}

static int by_name(const void *a, const void *b)
{
    const natsl_document *const *x = a, *const *y = b;
    return strcmp((*x)->name, (*y)->name);
}

/** All documents by the names of their results; free with natsl_free. NULL: no memory. */
static const natsl_document **sort_by_name(const natsl_documents *d)
{
    const natsl_document **sorted = natsl_alloc(d->n, sizeof *sorted, "names of documents");
    for (size_t i = 0; sorted && i < d->n; i++) sorted[i] = &d->all[i];
    if (sorted) qsort(sorted, d->n, sizeof *sorted, by_name);
    return sorted;
}

/** No two results may have one name. */
static natsl_status check_names(const natsl_documents *d)
{
    natsl_status st = NATSL_OK;
    const natsl_document **sorted = sort_by_name(d);
    if (!sorted) return NATSL_ERR_NOMEM;
    for (size_t i = 1; i < d->n && st == NATSL_OK; i++) {
        const natsl_document *x = sorted[i - 1], *y = sorted[i];
        if (strcmp(x->name, y->name) == 0)
            st = natsl_fail(NATSL_ERR_USAGE,
                            "%.300s and %.300s: both results would be %s.h5, expected different names (rename one, or "
                            "link to it by another name)",
                            (x < y ? x : y)->path, (x < y ? y : x)->path, x->name);
    }
    natsl_free((void *)sorted);
    return st;
}

natsl_status natsl_documents_list(natsl_documents *d)
{
    const natsl_args *a = &d->app->args;
    size_t room = 0;
    natsl_status st = NATSL_OK;
    for (int i = 0; i < a->n_operands && st == NATSL_OK; i++) {
        const char *word = a->operands[i];
        if (strcmp(word, "-") == 0) st = natsl_fail(NATSL_ERR_USAGE, "-: standard input is read alone, expected files");
        else if (word[0] == '@' && !word[1]) st = natsl_fail(NATSL_ERR_USAGE, "@: expected @ and the name of a list");
        else if (word[0] == '@') st = add_list(d, &room, word + 1);
        else if (!word[0]) st = natsl_fail(NATSL_ERR_USAGE, "an empty name, expected a document");
        else st = natsl_app_agree(d->app, add(d, &room, "", 0, word, strlen(word)));
    }
    return st == NATSL_OK ? natsl_app_agree(d->app, check_names(d)) : st;
}

void natsl_documents_free(natsl_documents *d)
{
    for (size_t i = 0; i < d->n; i++) {
        free(d->all[i].path);
        free(d->all[i].name);
        free(d->all[i].error);
    }
    natsl_free(d->all);
    natsl_free(d->turn);
    if (d->lock >= 0) (void)close(d->lock);
    d->all = NULL, d->turn = NULL, d->n = 0, d->lock = -1;
}

void natsl_document_path(const char *directory, const natsl_document *document, const char *ending, char *path)
{
    (void)snprintf(path, NATSL_SERIES_PATH, "%s/%s%s", directory, document->name, ending);
}

/* ---- places ---------------------------------------------------------------------------------------------------------- */

/** A file's identity. */
typedef struct identity {
    dev_t device;
    ino_t number;
    const char *path;
} identity;

static int by_identity(const void *a, const void *b)
{
    const identity *x = a, *y = b;
    if (x->device != y->device) return x->device < y->device ? -1 : 1;
    return (x->number > y->number) - (x->number < y->number);
}

static void identify(identity *inputs, size_t *n, const char *path)
{
    struct stat s;
    if (path && stat(path, &s) == 0) inputs[(*n)++] = (identity){s.st_dev, s.st_ino, path};
}

/** What is there under the results' names may be replaced. */
static natsl_status check_outs(const natsl_documents *d)
{
    const natsl_args *a = &d->app->args;
    struct stat s;
    char path[NATSL_SERIES_PATH];
    size_t n = 0;
    natsl_status st = NATSL_OK;
    identity *inputs = natsl_alloc(d->n + 2, sizeof *inputs, "documents");
    if (!inputs) return NATSL_ERR_NOMEM;
    for (size_t i = 0; i < d->n; i++) identify(inputs, &n, d->all[i].path);
    identify(inputs, &n, a->model);
    identify(inputs, &n, d->order->context);
    qsort(inputs, n, sizeof *inputs, by_identity);
    for (size_t i = 0; i < d->n && st == NATSL_OK; i++) {
        natsl_document_path(a->out, &d->all[i], ".h5", path);
        if (stat(path, &s) != 0) continue;
        const identity key = {s.st_dev, s.st_ino, path}, *same = bsearch(&key, inputs, n, sizeof *inputs, by_identity);
        if (!S_ISREG(s.st_mode))
            st = natsl_fail(NATSL_ERR_IO, "%s: is %s, expected a file to write", path,
                            S_ISDIR(s.st_mode) ? "a directory" : "not a regular file");
        else if (same) st = natsl_fail(NATSL_ERR_USAGE, "--out: %s is also read, expected another directory", path);
    }
    natsl_free(inputs);
    return st;
}

/** Without --resume no document may have checkpoints: told now, not when its turn comes. */
static natsl_status check_checkpoints(const natsl_documents *d)
{
    char path[NATSL_SERIES_PATH];
    natsl_status st = NATSL_OK;
    for (size_t i = 0; i < d->n && st == NATSL_OK && !d->resume.resume; i++) {
        int64_t *numbers = NULL;
        size_t count = 0;
        struct stat s;
        natsl_document_path(d->resume.directory, &d->all[i], "", path);
        if (stat(path, &s) != 0 || !S_ISDIR(s.st_mode)) continue;
        st = natsl_series_list(path, &numbers, &count);
        if (st == NATSL_OK && count > 0)
            st = natsl_fail(
                NATSL_ERR_USAGE,
                "--checkpoint: %s: has checkpoints already; give --resume to go on from them, or remove them", path);
        natsl_free(numbers);
    }
    return st;
}

typedef struct names {
    const natsl_document **sorted; /* [n] by name */
    size_t n;
} names;

/** Whether a document's result is called so. */
static int is_result(void *user, const char *name)
{
    const names *all = user;
    char own[NAME_BYTES + 1];
    const size_t length = strlen(name);
    if (length < 3 || length - 3 >= sizeof own || strcmp(name + length - 3, ".h5") != 0) return 0;
    memcpy(own, name, length - 3);
    own[length - 3] = '\0';
    const natsl_document key = {.name = own}, *at = &key;
    return bsearch(&at, all->sorted, all->n, sizeof *all->sorted, by_name) != NULL;
}

/** Removes what killed runs have left of results, the directory looked through once for all. */
static natsl_status sweep(const natsl_documents *d)
{
    names all = {sort_by_name(d), d->n};
    if (!all.sorted) return NATSL_ERR_NOMEM;
    natsl_series_sweep_all(d->app->args.out, is_result, &all);
    natsl_free((void *)all.sorted);
    return NATSL_OK;
}

static natsl_status take_places(natsl_documents *d)
{
    const natsl_args *a = &d->app->args;
    if (strlen(a->out) > PATH_BYTES - NAME_BYTES - 64 ||
        (a->checkpoint && strlen(a->checkpoint) > PATH_BYTES - NAME_BYTES - 64))
        return natsl_fail(NATSL_ERR_USAGE, "--out, --checkpoint: a path is too long");
    natsl_status st = natsl_series_directory(a->out, "--out", "the results of several documents");
    if (st == NATSL_OK && (st = natsl_series_lock(a->out, "--out", &d->lock)) == NATSL_ERR_USAGE)
        st = natsl_fail(st, "--out: %s: another run writes there, expected a directory of its own", a->out);
    if (st == NATSL_OK) st = check_outs(d);
    if (st == NATSL_OK && a->checkpoint) st = natsl_series_directory(a->checkpoint, "--checkpoint", "checkpoints");
    if (st == NATSL_OK && a->checkpoint) st = check_checkpoints(d);
    if (st != NATSL_OK) return st;
    natsl_series_sweep(a->out, "documents.csv"); /* what killed runs have left */
    natsl_series_sweep(a->out, "documents.jsonl");
    return d->resume.resume ? sweep(d) : NATSL_OK;
}

natsl_status natsl_documents_take_places(natsl_documents *d)
{
    return natsl_app_agree(d->app, d->app->rank == 0 ? take_places(d) : NATSL_OK);
}

/* ---- what is wrong with them ----------------------------------------------------------------------------------------- */

void natsl_document_fail(natsl_document *document, natsl_status st)
{
    document->state = NATSL_DOCUMENT_FAILED;
    document->status = st;
    free(document->error);
    document->error = strdup(natsl_error_text());
}

/** Opens a document; reads it where ids may be out of range, as in files of tokens that others have made. */
static natsl_status check_one(const natsl_documents *d, const char *path, int32_t *ids, int64_t *tokens)
{
    natsl_doc *doc = NULL;
    natsl_file_kind kind = NATSL_FILE_OTHER;
    natsl_status st = natsl_file_kind_of(path, &kind);
    if (st == NATSL_OK)
        st = natsl_doc_open(MPI_COMM_SELF, path, &d->info, d->tokenizer, d->app->args.special_tokens, &doc);
    if (st != NATSL_OK) return natsl_job_doc_status(st, d->no_tokenizer);
    *tokens = natsl_doc_length(doc);
    for (int64_t at = 0; at < *tokens && kind != NATSL_FILE_OTHER && st == NATSL_OK; at += CHECK_TOKENS) {
        const int64_t n = *tokens - at < CHECK_TOKENS ? *tokens - at : CHECK_TOKENS;
        st = natsl_doc_read(doc, at, n, ids);
    }
    natsl_doc_close(&doc);
    return st;
}

void natsl_documents_gather_errors(natsl_documents *d, const int *owner)
{
    natsl_app *app = d->app;
    char text[1024];
    for (size_t i = 0; i < d->n; i++) {
        natsl_document *one = &d->all[i];
        if (owner[i] <= 0 || one->state != NATSL_DOCUMENT_FAILED) continue;
        if (app->rank == owner[i]) {
            (void)snprintf(text, sizeof text, "%s", one->error ? one->error : natsl_status_name(one->status));
            NATSL_MPI(MPI_Send(text, sizeof text, MPI_CHAR, 0, 0, app->comm));
        } else if (app->rank == 0) {
            NATSL_MPI(MPI_Recv(text, sizeof text, MPI_CHAR, owner[i], 0, app->comm, MPI_STATUS_IGNORE));
            text[sizeof text - 1] = '\0';
            free(one->error);
            one->error = strdup(text);
        }
    }
}

natsl_status natsl_documents_check(natsl_documents *d)
{
    natsl_app *app = d->app;
    int32_t *ids = natsl_alloc((size_t)CHECK_TOKENS, sizeof *ids, "documents");
    int64_t *tokens = natsl_calloc(d->n, sizeof *tokens, "documents");
    int *status = natsl_calloc(d->n, sizeof *status, "documents"),
        *owner = natsl_calloc(d->n, sizeof *owner, "documents");
    natsl_status st = natsl_app_agree(app, ids && tokens && status && owner ? NATSL_OK : NATSL_ERR_NOMEM);
    natsl_status mine = st;
    for (size_t i = 0; i < d->n && st == NATSL_OK; i++) { /* each rank looks at some */
        owner[i] = (int)(i % (size_t)app->size);
        if (owner[i] != app->rank || mine != NATSL_OK) continue;
        natsl_task("looking at a document");
        status[i] = (int)check_one(d, d->all[i].path, ids, &tokens[i]);
        if (status[i] != NATSL_OK) natsl_document_fail(&d->all[i], (natsl_status)status[i]);
        if (status[i] == NATSL_ERR_NOMEM || status[i] == NATSL_ERR_INTERNAL) mine = (natsl_status)status[i];
    }
    if (st == NATSL_OK) st = natsl_app_agree(app, mine);
    if (st == NATSL_OK) {
        NATSL_MPI(MPI_Allreduce(MPI_IN_PLACE, status, (int)d->n, MPI_INT, MPI_MAX, app->comm));
        NATSL_MPI(MPI_Allreduce(MPI_IN_PLACE, tokens, (int)d->n, MPI_INT64_T, MPI_MAX, app->comm));
        for (size_t i = 0; i < d->n; i++) {
            d->all[i].tokens = tokens[i];
            d->all[i].status = (natsl_status)status[i];
            if (status[i] != NATSL_OK) d->all[i].state = NATSL_DOCUMENT_FAILED;
        }
        natsl_documents_gather_errors(d, owner);
    }
    natsl_free(ids);
    natsl_free(tokens);
    natsl_free(status);
    natsl_free(owner);
    return st;
}
