/* doc.c - documents: token files, text files, standard input. See files.h. */
#include "files.h"
#include "h5.h"
#include "tokenize.h"

#include "agree.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct natsl_doc {
    char *path;      /* for messages */
    int fd;          /* text; -1 for a token file */
    hid_t file, set; /* token file; -1 for text */
    natsl_spool ids; /* tokens of a text, where one is not one byte; fd -1 else */
    int64_t length;
    int32_t vocab;
};

natsl_status natsl_file_kind_of(const char *path, natsl_file_kind *kind)
{
    struct stat s;
    hid_t file = -1;
    char *text = NULL;
    natsl_h5_quiet();
    *kind = NATSL_FILE_OTHER;
    if (stat(path, &s) != 0 || access(path, R_OK) != 0)
        return natsl_fail(NATSL_ERR_INPUT, "%s: %s", path, strerror(errno));
    if (!S_ISREG(s.st_mode)) return natsl_fail(NATSL_ERR_INPUT, "%s: not a regular file", path);
    if (H5Fis_hdf5(path) <= 0) return NATSL_OK;
    natsl_status st = natsl_h5_open(path, &file);
    if (st != NATSL_OK) return st;
    *kind = NATSL_FILE_HDF5;
    if (H5Aexists(file, "format") > 0 && natsl_h5_text(file, path, "format", 64, &text) == NATSL_OK) {
        if (strcmp(text, "natsl-model") == 0) *kind = NATSL_FILE_MODEL;
        if (strcmp(text, "natsl-result") == 0) *kind = NATSL_FILE_RESULT;
        if (strcmp(text, "natsl-context") == 0) *kind = NATSL_FILE_CONTEXT;
        if (strcmp(text, "natsl-grad") == 0) *kind = NATSL_FILE_GRAD;
    } else if (H5Lexists(file, "tokens", H5P_DEFAULT) > 0) {
        *kind = NATSL_FILE_TOKENS;
    } else if (H5Lexists(file, "logprobs", H5P_DEFAULT) > 0) {
        *kind = NATSL_FILE_RESULT; /* oracle.py writes no attributes */
    }
    natsl_free(text);
    (void)H5Fclose(file);
    return NATSL_OK;
}

/** Copies standard input to a fresh file `name` (a template of mkstemp, replaced); its descriptor in *fd. */
static natsl_status spool_stdin(char *name, int *fd)
{
    static const char hdf5[8] = "\211HDF\r\n\032\n";
    char block[1 << 16], head[sizeof hdf5] = {0};
    *fd = mkstemp(name);
    if (*fd < 0) return natsl_fail(NATSL_ERR_IO, "standard input: temporary file %s: %s", name, strerror(errno));
    natsl_temporary_set(name); /* removed should a signal end us while we wait for input */
    for (;;) {
        const ssize_t n = read(STDIN_FILENO, block, sizeof block);
        if (n == 0 && pread(*fd, head, sizeof head, 0) == (ssize_t)sizeof head && memcmp(head, hdf5, sizeof hdf5) == 0)
            return natsl_fail(NATSL_ERR_INPUT,
                              "standard input: an HDF5 file, expected text; give the file's path instead");
        if (n == 0) return NATSL_OK;
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return natsl_fail(NATSL_ERR_INPUT, "standard input: %s", strerror(errno));
        for (ssize_t at = 0; at < n;) {
            const ssize_t w = write(*fd, block + at, (size_t)(n - at));
            if (w < 0 && errno == EINTR) continue;
            if (w <= 0) return natsl_fail(NATSL_ERR_IO, "standard input: temporary file %s: %s", name, strerror(errno));
            at += w;
        }
    }
}

/** Standard input as a file that every rank has open and no directory lists. Collective. */
static natsl_status open_stdin(MPI_Comm comm, natsl_doc *doc)
{
    char name[4096] = {0};
    int rank = 0;
    natsl_status st = NATSL_OK;
    NATSL_MPI(MPI_Comm_rank(comm, &rank));
    if (rank == 0) {
        const char *directory = getenv("TMPDIR");
        const int n =
            snprintf(name, sizeof name, "%s/natsl-stdin-XXXXXX", directory && *directory ? directory : "/tmp");
        if (n < 0 || (size_t)n >= sizeof name) st = natsl_fail(NATSL_ERR_USAGE, "TMPDIR: the path is too long");
        else st = spool_stdin(name, &doc->fd);
    }
    st = natsl_agree(comm, st);
    NATSL_MPI(MPI_Bcast(name, sizeof name, MPI_CHAR, 0, comm));
    if (st == NATSL_OK && rank != 0 && (doc->fd = open(name, O_RDONLY | O_CLOEXEC)) < 0)
        st = natsl_fail(NATSL_ERR_USAGE,
                        "standard input needs all ranks on one node, or TMPDIR on a file system that all nodes share");
    st = natsl_agree(comm, st);
    if (rank == 0 && doc->fd >= 0) {
        (void)unlink(name);
        natsl_temporary_set("");
    }
    return st;
}

/** Opens the document's file on this rank. */
static natsl_status open_file(const char *path, natsl_doc *doc)
{
    natsl_file_kind kind;
    hsize_t dims[1];
    natsl_status st = natsl_file_kind_of(path, &kind);
    if (st != NATSL_OK) return st;
    if (kind == NATSL_FILE_OTHER) {
        doc->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* should it have become a FIFO just now */
        return doc->fd < 0 ? natsl_fail(NATSL_ERR_INPUT, "%s: %s", path, strerror(errno)) : NATSL_OK;
    }
    if (kind != NATSL_FILE_TOKENS)
        return natsl_fail(NATSL_ERR_INPUT, "%s: an HDF5 file without dataset tokens, expected a text or token file",
                          path);
    if ((st = natsl_h5_open(path, &doc->file)) != NATSL_OK) return st;
    if ((st = natsl_h5_dataset(doc->file, path, "tokens", H5T_INTEGER, 1, NULL, &doc->set)) != NATSL_OK) return st;
    const hid_t space = H5Dget_space(doc->set);
    (void)H5Sget_simple_extent_dims(space, dims, NULL);
    (void)H5Sclose(space);
    if (dims[0] > (hsize_t)INT64_MAX / 16) return natsl_fail(NATSL_ERR_INPUT, "%s: dataset tokens is too long", path);
    doc->length = (int64_t)dims[0];
    return NATSL_OK;
}

static natsl_status open_local(const char *path, const natsl_model_info *model, const natsl_tokenizer *tokenizer,
                               natsl_doc *doc)
{
    struct stat s;
    if (doc->fd >= 0) { /* text */
        if (fstat(doc->fd, &s) != 0) return natsl_fail(NATSL_ERR_INPUT, "%s: %s", path, strerror(errno));
        if (!S_ISREG(s.st_mode)) return natsl_fail(NATSL_ERR_INPUT, "%s: not a regular file", path);
        doc->length = (int64_t)s.st_size;
        const int bytes = tokenizer ? natsl_tokenizer_is_byte(tokenizer) : strcmp(model->tokenizer, "byte") == 0;
        if (!tokenizer && strcmp(model->tokenizer, "none") == 0)
            return natsl_fail(NATSL_ERR_INPUT, "%s: text for a model without a tokenizer, expected a token file", path);
        if (!tokenizer && !bytes)
            return natsl_fail(NATSL_ERR_INPUT,
                              "%s: text for a model with a tokenizer.json, expected a token file "
                              "(natsl tokenize makes one)",
                              path);
        if (bytes && model->config.vocab_size < 256)
            return natsl_fail(
                NATSL_ERR_INPUT,
                "%s: text needs a model with a byte tokenizer, this one has %d tokens; expected a token file", path,
                model->config.vocab_size);
    }
    if (doc->length < 1) return natsl_fail(NATSL_ERR_INPUT, "%s: empty, expected at least one token", path);
    return NATSL_OK;
}

/** All ranks must see the same file. Collective. */
static natsl_status same_length(MPI_Comm comm, const natsl_doc *doc, natsl_status st)
{
    int64_t ends[2] = {doc ? doc->length : 0, doc ? -doc->length : 0};
    if ((st = natsl_agree(comm, st)) != NATSL_OK) return st;
    NATSL_MPI(MPI_Allreduce(MPI_IN_PLACE, ends, 2, MPI_INT64_T, MPI_MAX, comm));
    if (ends[0] == -ends[1]) return NATSL_OK;
    return natsl_fail(NATSL_ERR_INPUT, "%s: ranks see different lengths", doc->path);
}

/** An opened text becomes tokens. Collective. */
static natsl_status make_tokens(MPI_Comm comm, const natsl_tokenizer *tokenizer, int special, natsl_doc *doc)
{
    natsl_token_part part;
    natsl_status st = natsl_tokenize(comm, doc->path, doc->fd, doc->length, tokenizer, special, &part);
    if (st != NATSL_OK) return st;
    st = natsl_spool_gather(comm, &part, &doc->ids);
    natsl_spool_close(&part.spool);
    doc->length = part.total;
    if (st == NATSL_OK && doc->length < 1)
        st = natsl_fail(NATSL_ERR_INPUT, "%s: has no tokens, expected at least one", doc->path);
    return st;
}

natsl_status natsl_doc_open(MPI_Comm comm, const char *path, const natsl_model_info *model,
                            const natsl_tokenizer *tokenizer, int special, natsl_doc **out)
{
    natsl_doc *doc = natsl_calloc(1, sizeof *doc, "document");
    const int standard = strcmp(path, "-") == 0;
    natsl_status st = doc ? NATSL_OK : NATSL_ERR_NOMEM;
    *out = NULL;
    if (doc) {
        *doc = (natsl_doc){.fd = -1, .file = -1, .set = -1, .ids.fd = -1, .vocab = model->config.vocab_size};
        doc->path = strdup(standard ? "standard input" : path);
        if (!doc->path) st = natsl_fail(NATSL_ERR_NOMEM, "out of memory: document");
    }
    if ((st = natsl_agree(comm, st)) == NATSL_OK && standard) st = open_stdin(comm, doc);
    else if (st == NATSL_OK) st = open_file(path, doc);
    if (st == NATSL_OK) st = open_local(doc->path, model, tokenizer, doc);
    st = same_length(comm, doc, st);
    const int is_text = st == NATSL_OK && doc->fd >= 0;
    if (is_text && tokenizer && !natsl_tokenizer_is_byte(tokenizer)) st = make_tokens(comm, tokenizer, special, doc);
    if (st != NATSL_OK) natsl_doc_close(&doc);
    *out = doc;
    return st;
}

natsl_status natsl_doc_open_alone(const char *path, const natsl_model_info *model, natsl_doc **out)
{
    natsl_doc *doc = natsl_calloc(1, sizeof *doc, "document");
    natsl_status st = NATSL_OK;
    *out = NULL;
    if (!doc) return NATSL_ERR_NOMEM;
    *doc = (natsl_doc){.fd = -1, .file = -1, .set = -1, .ids.fd = -1, .vocab = model->config.vocab_size};
    doc->path = strdup(path);
    if (!doc->path) st = natsl_fail(NATSL_ERR_NOMEM, "out of memory: document");
    if (st == NATSL_OK) st = open_file(path, doc);
    if (st == NATSL_OK) st = open_local(path, model, NULL, doc);
    if (st != NATSL_OK) natsl_doc_close(&doc);
    *out = doc;
    return st;
}

natsl_status natsl_text_open(MPI_Comm comm, const char *path, int *fd, int64_t *length)
{
    natsl_doc doc = {.fd = -1, .file = -1, .set = -1, .ids.fd = -1};
    struct stat s;
    natsl_status st = NATSL_OK;
    *fd = -1;
    if (strcmp(path, "-") == 0) {
        path = "standard input";
        st = open_stdin(comm, &doc);
    } else {
        st = open_file(path, &doc);
    }
    if (st == NATSL_OK && doc.fd < 0) st = natsl_fail(NATSL_ERR_INPUT, "%s: a token file, expected a text", path);
    if (st == NATSL_OK && fstat(doc.fd, &s) != 0) st = natsl_fail(NATSL_ERR_INPUT, "%s: %s", path, strerror(errno));
    if (st == NATSL_OK && s.st_size < 1)
        st = natsl_fail(NATSL_ERR_INPUT, "%s: empty, expected at least one byte", path);
    if (st == NATSL_OK) doc.length = (int64_t)s.st_size;
    doc.path = (char *)(uintptr_t)path; /* for a message, not freed */
    st = same_length(comm, &doc, st);
    if (doc.set >= 0) (void)H5Dclose(doc.set);
    if (doc.file >= 0) (void)H5Fclose(doc.file);
    if (st != NATSL_OK && doc.fd >= 0) (void)close(doc.fd);
    else *fd = doc.fd;
    *length = doc.length;
    return st;
}

int64_t natsl_doc_length(const natsl_doc *doc) { return doc->length; }

/** Bytes [first, first+count) of a text, as ids. */
static natsl_status read_text(natsl_doc *doc, int64_t first, int64_t count, int32_t *ids)
{
    unsigned char block[1 << 14];
    struct stat s = {0};
    for (int64_t at = 0; at < count;) {
        const size_t want = count - at < (int64_t)sizeof block ? (size_t)(count - at) : sizeof block;
        const ssize_t n = pread(doc->fd, block, want, (off_t)(first + at));
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return natsl_fail(NATSL_ERR_INPUT, "%s: %s", doc->path, strerror(errno));
        if (n == 0) break;
        for (ssize_t i = 0; i < n; i++) ids[at + i] = block[i];
        at += n;
    }
    if (fstat(doc->fd, &s) != 0 || s.st_size != doc->length)
        return natsl_fail(NATSL_ERR_INPUT, "%s: its size changed while it was read: %lld bytes, now %lld", doc->path,
                          (long long)doc->length, (long long)s.st_size);
    return NATSL_OK;
}

natsl_status natsl_doc_read(natsl_doc *doc, int64_t first, int64_t count, int32_t *ids)
{
    if (first < 0 || count < 0 || first > doc->length - count)
        return natsl_fail(NATSL_ERR_INTERNAL, "%s: tokens %lld+%lld of %lld", doc->path, (long long)first,
                          (long long)count, (long long)doc->length);
    if (doc->ids.fd >= 0) return natsl_spool_read(&doc->ids, first, count, ids);
    if (doc->fd >= 0) return read_text(doc, first, count, ids);
    int64_t block[4096]; /* any integer type, checked before it is narrowed */
    for (int64_t at = 0; at < count;) {
        const int64_t n = count - at < 4096 ? count - at : 4096;
        const natsl_status st =
            natsl_h5_read_rows(doc->set, doc->path, "tokens", H5T_NATIVE_INT64, first + at, n, sizeof(int64_t), block);
        if (st != NATSL_OK) return st;
        for (int64_t i = 0; i < n; i++) {
            if (block[i] < 0 || block[i] >= doc->vocab)
                return natsl_fail(NATSL_ERR_INPUT, "%s: token %lld is %lld, expected 0 to %d", doc->path,
                                  (long long)(first + at + i), (long long)block[i], doc->vocab - 1);
            ids[at + i] = (int32_t)block[i];
        }
        at += n;
    }
    return NATSL_OK;
}

void natsl_doc_close(natsl_doc **out)
{
    natsl_doc *doc = *out;
    if (!doc) return;
    if (doc->fd >= 0) (void)close(doc->fd);
    natsl_spool_close(&doc->ids);
    if (doc->set >= 0) (void)H5Dclose(doc->set);
    if (doc->file >= 0) (void)H5Fclose(doc->file);
    free(doc->path);
    natsl_free(doc);
    *out = NULL;
}
