/* corpus.c - files of training data as one sequence. See corpus.h. */
#include "corpus.h"

#include "agree.h"
#include "core.h"
#include "files.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/** One file, or the newline between two (neither map nor doc). */
typedef struct piece {
    int64_t first, length;    /* tokens [first, first+length) of the corpus */
    const unsigned char *map; /* text */
    natsl_doc *doc;           /* token file */
} piece;

struct natsl_corpus {
    piece *pieces;
    size_t count;
    int64_t length;
};

static natsl_status map_text(const char *path, piece *p)
{
    struct stat s;
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* should it have become a FIFO just now */
    if (fd < 0) return natsl_fail(NATSL_ERR_INPUT, "%s: %s", path, strerror(errno));
    natsl_status st = NATSL_OK;
    void *map = MAP_FAILED;
    if (fstat(fd, &s) != 0) st = natsl_fail(NATSL_ERR_INPUT, "%s: %s", path, strerror(errno));
    else if (!S_ISREG(s.st_mode)) st = natsl_fail(NATSL_ERR_INPUT, "%s: not a regular file", path);
    else if (s.st_size < 1) st = natsl_fail(NATSL_ERR_INPUT, "%s: empty, expected at least one byte", path);
    else if ((map = mmap(NULL, (size_t)s.st_size, PROT_READ, MAP_SHARED, fd, 0)) == MAP_FAILED)
        st = natsl_fail(NATSL_ERR_INPUT, "%s: it cannot be mapped: %s", path, strerror(errno));
    (void)close(fd);
    if (st != NATSL_OK) return st;
    p->map = map;
    p->length = (int64_t)s.st_size;
    return NATSL_OK;
}

static natsl_status open_piece(const char *path, int32_t vocab, int bytes, int text_only, piece *p)
{
    natsl_file_kind kind;
    natsl_status st = natsl_file_kind_of(path, &kind);
    if (st != NATSL_OK) return st;
    if (kind == NATSL_FILE_OTHER) {
        if (!text_only && (!bytes || vocab < NATSL_BYTE_TOKENS))
            return natsl_fail(NATSL_ERR_INPUT, "%s: text for a model without a tokenizer, expected a token file", path);
        return map_text(path, p);
    }
    if (text_only) return natsl_fail(NATSL_ERR_INPUT, "%s: an HDF5 file, expected a text", path);
    natsl_model_info info;
    memset(&info, 0, sizeof info);
    info.config.vocab_size = vocab;
    st = natsl_doc_open_alone(path, &info, &p->doc);
    if (st == NATSL_OK) p->length = natsl_doc_length(p->doc);
    return st;
}

/** A file of tokens, or a text that becomes one. Collective. */
static natsl_status open_tokens(const char *path, int32_t vocab, const natsl_corpus_ranks *ranks, piece *p)
{
    natsl_model_info info;
    memset(&info, 0, sizeof info);
    info.config.vocab_size = vocab;
    if (ranks->comm == MPI_COMM_NULL)
        return natsl_fail(NATSL_ERR_USAGE, "%s: texts are tokenized by ranks, and there are none", path);
    const natsl_status st = natsl_doc_open(ranks->comm, path, &info, ranks->tokenizer, 1, &p->doc);
    if (st == NATSL_OK) p->length = natsl_doc_length(p->doc);
    return st;
}

natsl_status natsl_corpus_agree(const natsl_corpus_ranks *ranks, natsl_status st)
{
    return ranks && ranks->comm != MPI_COMM_NULL ? natsl_agree(ranks->comm, st) : st;
}

natsl_status natsl_corpus_open(char *const *paths, size_t count, int32_t vocab, const char *tokenizer, int text_only,
                               const natsl_corpus_ranks *ranks, natsl_corpus **out)
{
    const int bytes = strcmp(tokenizer, "byte") == 0, together = ranks && !text_only;
    natsl_corpus *c = natsl_calloc(1, sizeof *c, "training data");
    natsl_status st = NATSL_OK;
    *out = NULL;
    size_t room = 0;
    if (c)
        c->pieces =
            natsl_size_mul(&room, count, 2) ? natsl_calloc(room, sizeof *c->pieces, "files of training data") : NULL;
    if (!c || !c->pieces) st = NATSL_ERR_NOMEM;
    st = natsl_corpus_agree(ranks, st);
    for (size_t i = 0; i < count && st == NATSL_OK; i++) {
        piece p = {0};
        st = together ? open_tokens(paths[i], vocab, ranks, &p) : open_piece(paths[i], vocab, bytes, text_only, &p);
        if (st != NATSL_OK) break;
        const piece *before = c->count ? &c->pieces[c->count - 1] : NULL;
        if (before && (bytes || p.map || before->map))
            c->pieces[c->count++] = (piece){.first = c->length++, .length = 1};
        p.first = c->length;
        c->pieces[c->count++] = p;
        if (p.length > INT64_MAX / 4 - c->length)
            st = natsl_fail(NATSL_ERR_INPUT, "%s: too many tokens in all", paths[i]);
        else c->length += p.length;
    }
    st = natsl_corpus_agree(ranks, st);
    if (st != NATSL_OK) natsl_corpus_close(&c);
    *out = c;
    return st;
}

void natsl_corpus_close(natsl_corpus **corpus)
{
    natsl_corpus *c = *corpus;
    if (!c) return;
    for (size_t i = 0; i < c->count; i++) {
        piece *p = &c->pieces[i];
        if (p->map) (void)munmap((void *)(uintptr_t)p->map, (size_t)p->length);
        natsl_doc_close(&p->doc);
    }
    natsl_free(c->pieces);
    natsl_free(c);
    *corpus = NULL;
}

int64_t natsl_corpus_length(const natsl_corpus *corpus) { return corpus->length; }

/** The piece that has token `at`. */
static size_t piece_of(const natsl_corpus *c, int64_t at)
{
    size_t lo = 0, hi = c->count; /* first of lo <= at < first of hi */
    while (hi - lo > 1) {
        const size_t middle = lo + (hi - lo) / 2;
        if (c->pieces[middle].first <= at) lo = middle;
        else hi = middle;
    }
    return lo;
}

natsl_status natsl_corpus_read(natsl_corpus *c, int64_t first, int64_t count, int32_t *ids)
{
    if (first < 0 || count < 0 || first > c->length - count)
        return natsl_fail(NATSL_ERR_INTERNAL, "training data: tokens %lld+%lld of %lld", (long long)first,
                          (long long)count, (long long)c->length);
    for (size_t i = piece_of(c, first); count > 0; i++) {
        piece *p = &c->pieces[i];
        const int64_t from = first - p->first, n = count < p->length - from ? count : p->length - from;
        if (p->doc) {
            const natsl_status st = natsl_doc_read(p->doc, from, n, ids);
            if (st != NATSL_OK) return st;
        } else {
            for (int64_t k = 0; k < n; k++) ids[k] = p->map ? p->map[from + k] : '\n';
        }
        ids += n;
        first += n;
        count -= n;
    }
    return NATSL_OK;
}

void natsl_corpus_bytes(const natsl_corpus *c, int64_t first, int64_t count, char *to)
{
    for (size_t i = piece_of(c, first); count > 0; i++) {
        const piece *p = &c->pieces[i];
        const int64_t from = first - p->first, n = count < p->length - from ? count : p->length - from;
        if (p->map) memcpy(to, p->map + from, (size_t)n);
        else memset(to, '\n', (size_t)n);
        to += n;
        first += n;
        count -= n;
    }
}
