/* tokenize.c - a text file to tokens, by all ranks together. See tokenize.h.
 *
 * Each rank begins at a character somewhere in the text, without knowing what it is in the middle of: its first tokens may not be
 * those of the whole text. But from any place on that is a mark of two encoders, both do the same for ever after
 * (natsl_mark). So a rank goes on behind its range, beside a second encoder that begins where the next rank does, until both
 * have a mark in common: up to there its own tokens count, from there on the next rank's. Rank 0 begins at the beginning, so
 * by induction all tokens are those of the whole. Where no mark is found rank 0 tokenizes alone. */
#include "tokenize.h"

#include "agree.h"
#include "h5.h"
#include "place.h"
#include <errno.h>
#include <string.h>
#include <unistd.h>

#define READ_BYTES ((size_t)1 << 20)
/* A range shorter than this is not worth a rank. */
#define RANGE_BYTES ((int64_t)64 << 10)
/* How far behind its range a rank looks at first for a mark; then twice as far, to the end of the next range. */
#define LOOK_BYTES ((int64_t)16 << 10)
/* How far a range's beginning is moved to find a character's first byte. */
#define MOVE_BYTES 64
/* What is looked at before it: most of a character that has begun. */
#define BEFORE_BYTES 3

typedef struct work {
    const char *path;
    int fd;
    int64_t length; /* bytes */
    const natsl_tokenizer *tokenizer;
    int special;     /* with the tokens that belong around a text */
    int rank, ranks; /* that take part */
    char *block;     /* [READ_BYTES] */
    natsl_ids ids;
    natsl_token_part *part;
} work;

static natsl_status read_bytes(work *w, int64_t at, size_t count, char *to)
{
    while (count > 0) {
        const ssize_t n = pread(w->fd, to, count, (off_t)at);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0)
            return natsl_fail(NATSL_ERR_INPUT, "%s: %s", w->path, n < 0 ? strerror(errno) : "it has become shorter");
        to += n;
        at += n;
        count -= (size_t)n;
    }
    return NATSL_OK;
}

/** Where rank r begins: a byte that is not inside a character, nor behind the beginning of one, so that those before it end there also
 * in a text that is not UTF-8. *begin -1: there is none near. */
static natsl_status begin_of(work *w, int r, int64_t *begin)
{
    char few[BEFORE_BYTES + MOVE_BYTES];
    *begin = r >= w->ranks ? w->length : w->length / w->ranks * r + w->length % w->ranks * r / w->ranks;
    if (r == 0 || r >= w->ranks) return NATSL_OK;
    const int64_t n = w->length - *begin < MOVE_BYTES ? w->length - *begin : MOVE_BYTES;
    const int64_t before = *begin < BEFORE_BYTES ? *begin : BEFORE_BYTES;
    const natsl_status st = read_bytes(w, *begin - before, (size_t)(before + n), few);
    for (int64_t i = 0; st == NATSL_OK && i < n; i++) {
        const int64_t look = before + i < BEFORE_BYTES ? before + i : BEFORE_BYTES;
        const char *ends = few + before + i - look;
        if (((unsigned char)few[before + i] & 0xc0) == 0x80 || natsl_utf8_whole(ends, (size_t)look) != (size_t)look)
            continue;
        *begin += i;
        return NATSL_OK;
    }
    *begin = -1;
    return st;
}

/** The text's bytes [from, to) through an encoder, ids to the spool. */
static natsl_status encode(work *w, natsl_encoder *e, int64_t from, int64_t to)
{
    natsl_status st = NATSL_OK;
    for (int64_t at = from; st == NATSL_OK && at < to; at += (int64_t)READ_BYTES) {
        const size_t n = to - at < (int64_t)READ_BYTES ? (size_t)(to - at) : READ_BYTES;
        w->ids.count = 0;
        st = read_bytes(w, at, n, w->block);
        natsl_worked();
        if (st == NATSL_OK) st = natsl_encoder_add(e, w->block, n, at + (int64_t)n == w->length, 0, &w->ids);
        if (st == NATSL_OK) st = natsl_spool_add(&w->part->spool, w->ids.at, w->ids.count);
    }
    return st;
}

/** The first mark that both have, `begin` being where the second began, in bytes of the first. Marks that no later one of the other can
 * equal are forgotten. */
static int common_mark(natsl_encoder *own, natsl_encoder *next, uint64_t begin, int64_t *keep, int64_t *skip)
{
    size_t n = 0, m = 0;
    const natsl_mark *a = natsl_encoder_marks(own, &n), *b = natsl_encoder_marks(next, &m);
    for (size_t i = 0, k = 0; i < n && k < m;) {
        if (a[i].at < begin + b[k].at) i++;
        else if (a[i].at > begin + b[k].at) k++;
        else if (a[i].part != b[k].part) i++, k++;
        else return *keep = (int64_t)a[i].ids, *skip = (int64_t)b[k].ids, 1;
    }
    if (n == 0 || m == 0) return 0; /* nothing can be dropped by what is not there yet */
    const uint64_t done = a[n - 1].at < begin + b[m - 1].at ? a[n - 1].at : begin + b[m - 1].at;
    natsl_encoder_drop_marks(own, done + 1);
    if (done + 1 > begin) natsl_encoder_drop_marks(next, done + 1 - begin);
    return 0;
}

/** Finds where the next rank's tokens begin to count: *keep of this rank's, all but *skip of the next one's. *keep -1: nowhere. */
static natsl_status find_border(work *w, natsl_encoder *e, int64_t from, int64_t to, int64_t *keep, int64_t *skip)
{
    natsl_encoder *next = NULL;
    natsl_ids unused = {0};
    const uint64_t begin = natsl_encoder_taken(e);
    int64_t step = LOOK_BYTES;
    natsl_status st = natsl_encoder_create(w->tokenizer, 0, &next);
    *keep = -1;
    natsl_encoder_keep_marks(e);
    if (st == NATSL_OK) natsl_encoder_keep_marks(next);
    for (int64_t at = from; st == NATSL_OK && at < to && *keep < 0;) {
        const int64_t most = step < (int64_t)READ_BYTES ? step : (int64_t)READ_BYTES;
        const size_t n = (size_t)(to - at < most ? to - at : most);
        const int last = at + (int64_t)n == w->length;
        w->ids.count = unused.count = 0;
        st = read_bytes(w, at, n, w->block);
        natsl_worked();
        if (st == NATSL_OK) st = natsl_encoder_add(e, w->block, n, last, 1, &w->ids);
        if (st == NATSL_OK) st = natsl_encoder_add(next, w->block, n, last, 1, &unused);
        if (st == NATSL_OK) st = natsl_spool_add(&w->part->spool, w->ids.at, w->ids.count);
        if (st == NATSL_OK && !common_mark(e, next, begin, keep, skip)) *keep = -1;
        at += (int64_t)n;
        step *= 2;
    }
    natsl_encoder_destroy(&next);
    natsl_ids_free(&unused);
    return st;
}

/** Special tokens at one end of the text: the first in the first rank's spool, or behind the last rank's, whose spool ends with the text.
 */
static natsl_status put_around(work *w, int end)
{
    size_t count = 0;
    const int32_t *ids = natsl_tokenizer_around(w->tokenizer, end, &count);
    return w->special && count > 0 ? natsl_spool_add(&w->part->spool, ids, count) : NATSL_OK;
}

/** This rank's range. *border -1: the ranges could not be joined. skip: of the next rank's tokens. */
static natsl_status own_range(work *w, int64_t *border, int64_t *skip)
{
    int64_t begin[3] = {0};
    natsl_encoder *e = NULL;
    natsl_status st = NATSL_OK;
    *border = 0;
    *skip = 0;
    for (int i = 0; i < 3 && st == NATSL_OK; i++) st = begin_of(w, w->rank + i, &begin[i]);
    if (st == NATSL_OK && (begin[0] < 0 || begin[1] < 0 || begin[2] < 0)) *border = -1;
    if (st != NATSL_OK || *border < 0) return st;
    st = natsl_encoder_create(w->tokenizer, w->rank == 0, &e);
    if (st == NATSL_OK && w->rank == 0) st = put_around(w, 0);
    const int64_t before = w->part->spool.count;
    if (st == NATSL_OK) st = encode(w, e, begin[0], begin[1]);
    *border = w->part->spool.count;
    if (st == NATSL_OK && w->rank + 1 < w->ranks) {
        st = find_border(w, e, begin[1], begin[2], border, skip);
        if (*border >= 0) *border += before; /* marks count the text's tokens */
    }
    natsl_encoder_destroy(&e);
    return st;
}

/** Where it is one rank's work: the whole text. */
static natsl_status alone(work *w)
{
    natsl_encoder *e = NULL;
    natsl_status st = natsl_encoder_create(w->tokenizer, 1, &e);
    w->part->spool.count = 0;
    if (ftruncate(w->part->spool.fd, 0) != 0 || lseek(w->part->spool.fd, 0, SEEK_SET) != 0)
        st = natsl_fail(NATSL_ERR_IO, "tokens: temporary file: %s", strerror(errno));
    if (st == NATSL_OK) st = put_around(w, 0);
    if (st == NATSL_OK && natsl_tokenizer_cuts(w->tokenizer)) st = encode(w, e, 0, w->length);
    else if (st == NATSL_OK) { /* text that cannot be cut is in memory whole, whoever puts it there */
        char *text = natsl_alloc((size_t)w->length, 1, "text");
        w->ids.count = 0;
        st = text ? read_bytes(w, 0, (size_t)w->length, text) : NATSL_ERR_NOMEM;
        if (st == NATSL_OK) st = natsl_encoder_add(e, text, (size_t)w->length, 1, 0, &w->ids);
        if (st == NATSL_OK) st = natsl_spool_add(&w->part->spool, w->ids.at, w->ids.count);
        natsl_free(text);
    }
    natsl_encoder_destroy(&e);
    return st;
}

/** All ranks' ranges, joined; *joined 0: they could not be. Collective. */
static natsl_status together(MPI_Comm comm, work *w, int *joined)
{
    int64_t border = 0, skip[2] = {0}; /* of the next one's, of this one's */
    int rank = 0, size = 1;
    NATSL_MPI(MPI_Comm_rank(comm, &rank));
    NATSL_MPI(MPI_Comm_size(comm, &size));
    natsl_status st = natsl_agree(comm, rank < w->ranks ? own_range(w, &border, &skip[0]) : NATSL_OK);
    if (st != NATSL_OK) return st;
    NATSL_MPI(MPI_Sendrecv(&skip[0], 1, MPI_INT64_T, rank + 1 < size ? rank + 1 : MPI_PROC_NULL, NATSL_TAG_TOKENS,
                           &skip[1], 1, MPI_INT64_T, rank > 0 ? rank - 1 : MPI_PROC_NULL, NATSL_TAG_TOKENS, comm,
                           MPI_STATUS_IGNORE));
    w->part->skip = skip[1];
    w->part->count = border - skip[1];
    /* the border of a rank lies behind that of the rank before: else its tokens up to there were never the right ones */
    *joined = border >= skip[1] && border >= 0;
    NATSL_MPI(MPI_Allreduce(MPI_IN_PLACE, joined, 1, MPI_INT, MPI_MIN, comm));
    return NATSL_OK;
}

natsl_status natsl_tokenize(MPI_Comm comm, const char *path, int fd, int64_t length, const natsl_tokenizer *tokenizer,
                            int special, natsl_token_part *part)
{
    work w = {.path = path, .fd = fd, .length = length, .tokenizer = tokenizer, .special = special, .part = part};
    int size = 1, joined = 0;
    int64_t first = 0;
    char text[1024];
    memset(part, 0, sizeof *part);
    NATSL_MPI(MPI_Comm_rank(comm, &w.rank));
    NATSL_MPI(MPI_Comm_size(comm, &size));
    const int64_t ranges = length / RANGE_BYTES > 1 ? length / RANGE_BYTES : 1;
    w.ranks = ranges < size ? (int)ranges : size;
    natsl_status st = natsl_spool_create(&part->spool);
    w.block = natsl_alloc(READ_BYTES, 1, "text");
    if (st == NATSL_OK && !w.block) st = NATSL_ERR_NOMEM;
    st = natsl_agree(comm, st);
    if (st == NATSL_OK && w.ranks > 1 && natsl_tokenizer_cuts(tokenizer) && !natsl_tokenizer_is_byte(tokenizer))
        st = together(comm, &w, &joined);
    if (st == NATSL_OK && !joined) {
        w.ranks = 1;
        part->skip = part->count = 0;
        if (w.rank == 0) st = alone(&w);
        if (w.rank == 0) part->count = part->spool.count;
        st = natsl_agree(comm, st);
    }
    if (st == NATSL_OK && special) {
        const int64_t own = part->spool.count;
        if (w.rank == w.ranks - 1) st = put_around(&w, 1);
        part->count += part->spool.count - own;
        st = natsl_agree(comm, st);
    }
    if (st == NATSL_OK) {
        NATSL_MPI(MPI_Exscan(&part->count, &first, 1, MPI_INT64_T, MPI_SUM, comm));
        part->first = w.rank > 0 ? first : 0;
        NATSL_MPI(MPI_Allreduce(&part->count, &part->total, 1, MPI_INT64_T, MPI_SUM, comm));
    } else {
        natsl_spool_close(&part->spool);
        if (!strstr(natsl_error_text(), path)) { /* the tokenizer knows of no file */
            (void)snprintf(text, sizeof text, "%s", natsl_error_text());
            (void)natsl_fail(st, "%s: %s", path, text);
        }
    }
    part->ranks = w.ranks;
    natsl_free(w.block);
    natsl_ids_free(&w.ids);
    return st;
}

natsl_status natsl_token_file_write(MPI_Comm comm, const char *path, int32_t vocab, const natsl_token_part *part)
{
    const hsize_t shape[1] = {(hsize_t)part->total};
    const int64_t step = (int64_t)(READ_BYTES / sizeof(int32_t));
    natsl_h5_out out;
    hid_t dataset = -1;
    int32_t *block = NULL;
    natsl_status st = natsl_h5_create(comm, path, &out), mine = NATSL_OK;
    if (st != NATSL_OK) return st;
    st = natsl_agree(comm, natsl_h5_put_int(out.file, path, "vocab_size", vocab));
    if (st == NATSL_OK) st = natsl_h5_new_dataset(&out, "tokens", H5T_STD_I32LE, 1, shape, &dataset);
    if (st == NATSL_OK && !(block = natsl_alloc((size_t)step, sizeof *block, "tokens"))) mine = NATSL_ERR_NOMEM;
    for (int64_t at = 0; st == NATSL_OK && mine == NATSL_OK && at < part->count; at += step) {
        const int64_t n = part->count - at < step ? part->count - at : step;
        mine = natsl_spool_read(&part->spool, part->skip + at, n, block);
        if (mine == NATSL_OK)
            mine = natsl_h5_write_rows(dataset, path, "tokens", H5T_NATIVE_INT32, part->first + at, n, sizeof *block,
                                       block);
    }
    if (dataset >= 0 && H5Dclose(dataset) < 0 && mine == NATSL_OK)
        mine = natsl_fail(NATSL_ERR_IO, "%s: writing tokens failed", path);
    natsl_free(block);
    return natsl_h5_finish(&out, st == NATSL_OK ? mine : st);
}
