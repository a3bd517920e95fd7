/* result_part.c - see result_part.h. */
#include "result_impl.h"

#include "agree.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

/* Most bytes copied at once. */
#define BLOCK_BYTES ((size_t)4 << 20)

void natsl_result_keep_notes(natsl_result *r) { r->noting = 1; }

natsl_status natsl_result_note(natsl_result *r, hid_t dataset, int64_t first, int64_t count)
{
    /* Stages of a range follow one another, each with rows of all layers: the dataset's last note is near the end. */
    for (size_t i = r->n_notes; i > 0; i--) {
        natsl_result_rows *n = &r->notes[i - 1];
        if (n->dataset != dataset) continue;
        if (n->first + n->count != first) break;
        n->count += count;
        return NATSL_OK;
    }
    if (r->n_notes == r->notes_room) {
        const size_t room = 2 * r->notes_room + 64;
        natsl_result_rows *more = natsl_alloc(room, sizeof *more, "a list of written rows");
        if (!more) return NATSL_ERR_NOMEM;
        if (r->n_notes > 0) memcpy(more, r->notes, r->n_notes * sizeof *more);
        natsl_free(r->notes);
        r->notes = more;
        r->notes_room = room;
    }
    r->notes[r->n_notes++] = (natsl_result_rows){dataset, first, count};
    return NATSL_OK;
}

/** One dataset that grows with the text. */
typedef struct part {
    hid_t dataset; /* in the result file */
    char name[48]; /* in the checkpoint */
    hid_t file_type, memory_type;
    int rank;
    hsize_t shape[2];
    size_t row_bytes;
} part;

#define MOST_PARTS (NATSL_MAX_LAYERS + 2)

static size_t parts_of(const natsl_result *r, int64_t position, part parts[MOST_PARTS])
{
    const natsl_config *c = &r->config;
    size_t n = 0;
    parts[n++] = (part){.dataset = r->logprobs,
                        .name = "result/logprobs",
                        .file_type = H5T_IEEE_F32LE,
                        .memory_type = H5T_NATIVE_FLOAT,
                        .rank = 1,
                        .shape = {(hsize_t)(position < r->length - 1 ? position : r->length - 1)},
                        .row_bytes = sizeof(float)};
    if (r->hidden >= 0)
        parts[n++] = (part){.dataset = r->hidden,
                            .name = "result/hidden",
                            .file_type = H5T_IEEE_F32LE,
                            .memory_type = H5T_NATIVE_FLOAT,
                            .rank = 2,
                            .shape = {(hsize_t)position, (hsize_t)c->hidden_size},
                            .row_bytes = (size_t)c->hidden_size * sizeof(float)};
    for (int l = 0; l < c->num_hidden_layers; l++) {
        if (r->choices[l] < 0) continue;
        part *p = &parts[n++];
        *p = (part){.dataset = r->choices[l],
                    .file_type = H5T_STD_U8LE,
                    .memory_type = H5T_NATIVE_UINT8,
                    .rank = 2,
                    .shape = {(hsize_t)(position / c->chunk), (hsize_t)c->num_nats_head},
                    .row_bytes = (size_t)c->num_nats_head};
        (void)snprintf(p->name, sizeof p->name, "result/softmax_chunks/%d", l);
    }
    return n;
}

/** Room for a block of any of the parts. */
static void *block_for(const part *parts, size_t n)
{
    size_t bytes = BLOCK_BYTES;
    for (size_t i = 0; i < n; i++) bytes = parts[i].row_bytes > bytes ? parts[i].row_bytes : bytes;
    return natsl_alloc(bytes, 1, "a block of results");
}

static int64_t rows_of_block(const part *p)
{
    return p->row_bytes < BLOCK_BYTES ? (int64_t)(BLOCK_BYTES / p->row_bytes) : 1;
}

natsl_status natsl_result_part_put(natsl_result *r, int64_t position, natsl_h5_out *out)
{
    part parts[MOST_PARTS];
    const size_t n = parts_of(r, position, parts);
    void *block = block_for(parts, n);
    natsl_status mine = block ? r->status : NATSL_ERR_NOMEM;
    if (block && mine != NATSL_OK) natsl_error_set(r->error);
    natsl_status st = natsl_agree(out->comm, mine);
    for (size_t i = 0; i < n && st == NATSL_OK; i++) {
        const part *p = &parts[i];
        hid_t copy = -1;
        if ((st = natsl_h5_new_dataset(out, p->name, p->file_type, p->rank, p->shape, &copy)) != NATSL_OK) break;
        for (size_t k = 0; k < r->n_notes; k++) {
            const natsl_result_rows *rows = &r->notes[k];
            const int64_t all = (int64_t)p->shape[0],
                          end = rows->first + rows->count < all ? rows->first + rows->count : all;
            for (int64_t at = rows->first, m; rows->dataset == p->dataset && at < end && mine == NATSL_OK; at += m) {
                m = end - at < rows_of_block(p) ? end - at : rows_of_block(p);
                mine = natsl_h5_read_rows(p->dataset, r->out.path, p->name, p->memory_type, at, m, p->row_bytes, block);
                if (mine == NATSL_OK)
                    mine = natsl_h5_write_rows(copy, out->path, p->name, p->memory_type, at, m, p->row_bytes, block);
            }
        }
        if (H5Dclose(copy) < 0 && mine == NATSL_OK)
            mine = natsl_fail(NATSL_ERR_IO, "%s: writing %s failed", out->path, p->name);
    }
    natsl_free(block);
    return st == NATSL_OK ? natsl_agree(out->comm, mine) : st;
}

/** Whether a block can be what it is said to be. */
static natsl_status check(const part *p, const char *path, int64_t first, int64_t count, const void *block)
{
    const size_t n = (size_t)count * (size_t)(p->rank > 1 ? p->shape[1] : 1);
    const float *values = block;
    const uint8_t *choices = block;
    for (size_t i = 0; i < n; i++) {
        if (p->memory_type == H5T_NATIVE_FLOAT ? isfinite(values[i]) : choices[i] <= 1) continue;
        return natsl_fail(NATSL_ERR_INPUT, "%s: dataset %s: row %lld: %s", path, p->name,
                          (long long)first + (long long)(i * (size_t)count / n),
                          p->memory_type == H5T_NATIVE_FLOAT ? "a number that is not finite" : "expected 0 or 1");
    }
    return NATSL_OK;
}

/** This rank's share of one dataset. */
static natsl_status get_part(natsl_result *r, const part *p, hid_t file, const char *path, void *block,
                             natsl_status (*seen)(void *user, int64_t first, int64_t count, const float *values),
                             void *user)
{
    int rank = 0, size = 1;
    hid_t dataset = -1;
    NATSL_MPI(MPI_Comm_rank(r->out.comm, &rank));
    NATSL_MPI(MPI_Comm_size(r->out.comm, &size));
    const int64_t all = (int64_t)p->shape[0], first = all / size * rank + all % size * rank / size;
    const int64_t last = all / size * (rank + 1) + all % size * (rank + 1) / size;
    const H5T_class_t class = p->memory_type == H5T_NATIVE_FLOAT ? H5T_FLOAT : H5T_INTEGER;
    natsl_status st = natsl_h5_dataset(file, path, p->name, class, p->rank, p->shape, &dataset);
    for (int64_t at = first, m; at < last && st == NATSL_OK; at += m) {
        m = last - at < rows_of_block(p) ? last - at : rows_of_block(p);
        st = natsl_h5_read_rows(dataset, path, p->name, p->memory_type, at, m, p->row_bytes, block);
        if (st == NATSL_OK) st = check(p, path, at, m, block);
        if (st == NATSL_OK && p->dataset == r->logprobs) st = seen(user, at, m, block);
        if (st == NATSL_OK)
            st = natsl_h5_write_rows(p->dataset, r->out.path, p->name, p->memory_type, at, m, p->row_bytes, block);
        if (st == NATSL_OK && r->noting) st = natsl_result_note(r, p->dataset, at, m);
    }
    if (dataset >= 0) (void)H5Dclose(dataset);
    return st;
}

natsl_status natsl_result_part_get(natsl_result *r, int64_t position, const char *path,
                                   natsl_status (*seen)(void *user, int64_t first, int64_t count, const float *values),
                                   void *user)
{
    part parts[MOST_PARTS];
    const size_t n = parts_of(r, position, parts);
    hid_t file = -1;
    void *block = block_for(parts, n);
    natsl_status st = block ? natsl_h5_open(path, &file) : NATSL_ERR_NOMEM;
    for (size_t i = 0; i < n && st == NATSL_OK; i++) st = get_part(r, &parts[i], file, path, block, seen, user);
    if (file >= 0) (void)H5Fclose(file);
    natsl_free(block);
    return natsl_agree(r->out.comm, st);
}
