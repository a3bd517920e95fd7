/* save.c - context files: everything a context remembers, in parallel HDF5.
 * Root attributes: format = "natsl-context", format_version = 3, config, position, model_digest, kept_chunks, chunks. Datasets:
 * last_hidden [D]; per layer l with a delta rule: tail/l/{state,current,halo,pool} and, inside an open chunk, tail/l/{k,v,log_decay,beta}; per layer
 * that keeps chunks: inside an open chunk tail/l/{ka,va}, and for each gate head h (of layers of softmax attention alone: each key
 * head; with a window only of chunks that later tokens see) kept/l/h/chunks [N] and kept/l/h/units [N, unit], in global chunk order (natsl_unit_numbers says how; float32 whatever
 * they are held in).
 * A context is loaded by any number of ranks: units are dealt out in contiguous runs, which keeps their order. */
#include "context_impl.h"
#include "files.h"
#include "h5.h"
#include "seal.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/** One tail array as a dataset: name, offset in the tail, rows and row length. */
typedef struct tail_part {
    const char *name;
    size_t offset, rows, width;
} tail_part;

#define TAIL_PARTS 10

/** The parts of a layer's tail at a position; *n of them. */
static void tail_parts(const natsl_context *cx, int layer, tail_part parts[TAIL_PARTS], size_t *n)
{
    const natsl_config *c = cx->config;
    const natsl_shape *shape = &natsl_layer_of(cx, layer)->shape;
    const natsl_tail_layout *t = &shape->tail;
    const size_t hv = (size_t)c->num_v_heads, dk = (size_t)c->head_dim, dv = (size_t)c->head_v_dim;
    const size_t kd = (size_t)c->key_dim, vd = (size_t)c->value_dim, open = (size_t)(cx->position % c->chunk);
    *n = 0;
    if (natsl_layer_has_state(cx, layer)) {
        parts[(*n)++] = (tail_part){"state", t->state, hv * dk, dv};
        parts[(*n)++] = (tail_part){"current", t->current, hv * dk, dv};
        parts[(*n)++] = (tail_part){"halo", t->halo, (size_t)c->conv_size - 1, cx->stage.conv_channels};
        parts[(*n)++] = (tail_part){"pool", t->pool, 1, (size_t)c->hidden_size};
    }
    if (open == 0) return;
    if (natsl_layer_has_state(cx, layer)) {
        parts[(*n)++] = (tail_part){"k", t->k, open, kd};
        parts[(*n)++] = (tail_part){"v", t->v, open, vd};
        parts[(*n)++] = (tail_part){"log_decay", t->log_decay, open, hv};
        parts[(*n)++] = (tail_part){"beta", t->beta, open, hv};
    }
    if (!natsl_layer_keeps(cx, layer)) return;
    parts[(*n)++] = (tail_part){"ka", t->ka, shape->attn.kd, (size_t)c->chunk};
    parts[(*n)++] = (tail_part){"va", t->va, open, shape->attn.vd};
}

static void tail_name(char name[64], int layer, const char *part)
{
    (void)snprintf(name, 64, "tail/%d/%s", layer, part);
}

/** A digest as text: HDF5 tools print it readably, and no sign can be lost. */
static void digest_text(char text[20], uint64_t digest) { (void)snprintf(text, 20, "%016" PRIx64, digest); }

/** Writes units [first, first+count) from memory, as float32 whatever they are held in. wide: room for a slab's numbers, or NULL
 * where units are float32. */
static natsl_status write_units(const natsl_context *cx, const natsl_attn_shape *attn, hid_t set,
                                const natsl_h5_out *out, const char *name, int64_t first, int64_t count,
                                const float *units, float *wide)
{
    const size_t numbers = natsl_unit_numbers(attn), floats = natsl_unit_floats(attn, cx->stage.kept);
    for (int64_t i = 0; wide && i < count; i++)
        natsl_unit_get(cx->stage.kept, units + (size_t)i * floats, 0, numbers, wide + (size_t)i * numbers);
    return natsl_h5_write_rows(set, out->path, name, H5T_NATIVE_FLOAT, first, count, numbers * sizeof(float),
                               wide ? wide : units);
}

/** Room for a slab's units as float32; *wide stays NULL where they are. */
static natsl_status allocate_wide(const natsl_context *cx, const natsl_attn_shape *attn, const natsl_kept *kept,
                                  float **wide)
{
    *wide = NULL;
    if (cx->stage.kept == NATSL_F32) return NATSL_OK;
    *wide = natsl_alloc((size_t)kept->per_slab, natsl_unit_numbers(attn) * sizeof(float), "kept keys and values");
    return *wide ? NATSL_OK : NATSL_ERR_NOMEM;
}

/** Units of one gate head: this rank's parts of the global list. */
static natsl_status save_units(natsl_context *cx, natsl_h5_out *out, int layer, int head)
{
    const natsl_kept *kept = &cx->kept[layer];
    const natsl_attn_shape *attn = &natsl_layer_of(cx, layer)->shape.attn;
    char name[64], units_name[80], chunks_name[80];
    hid_t units = -1, chunks = -1;
    /* places of units: the next one's, the first that the file gets (in layers with a window a unit's place is its chunk) */
    int64_t total = kept->skipped, at = kept->skipped, mine = 0;
    const int64_t skip = natsl_attn_first_chunk(attn, cx->position);
    for (size_t i = 0; i < kept->n_segments; i++) total += kept->segments[i].count[head];
    (void)snprintf(name, sizeof name, "kept/%d/%d", layer, head);
    (void)snprintf(units_name, sizeof units_name, "%s/units", name);
    (void)snprintf(chunks_name, sizeof chunks_name, "%s/chunks", name);
    const hsize_t shape[2] = {(hsize_t)(total - skip), (hsize_t)natsl_unit_numbers(attn)};
    float *wide = NULL;
    natsl_status st = natsl_h5_new_dataset(out, units_name, H5T_IEEE_F32LE, 2, shape, &units);
    natsl_status st2 = natsl_h5_new_dataset(out, chunks_name, H5T_STD_I64LE, 1, shape, &chunks);
    if (st == NATSL_OK) st = st2;
    if (st == NATSL_OK) st = allocate_wide(cx, attn, kept, &wide);
    for (size_t i = 0; i < kept->n_segments; i++) {
        const int64_t count = kept->segments[i].count[head];
        for (int64_t k = 0; kept->segments[i].rank == cx->rank && k < count && st == NATSL_OK;) {
            const int64_t room = kept->per_slab - mine % kept->per_slab, hidden = natsl_max64(skip - at - k, 0);
            const int64_t n = natsl_min64(hidden > 0 ? hidden : room, count - k), row = at + k - skip;
            if (hidden == 0)
                st = write_units(cx, attn, units, out, units_name, row, n, natsl_kept_unit(kept, head, mine), wide);
            if (hidden == 0 && st == NATSL_OK)
                st = natsl_h5_write_rows(chunks, out->path, chunks_name, H5T_NATIVE_INT64, row, n, sizeof(int64_t),
                                         kept->lists[head].chunks + mine);
            k += n;
            mine += n;
        }
        at += count;
    }
    natsl_free(wide);
    if (units >= 0 && H5Dclose(units) < 0 && st == NATSL_OK)
        st = natsl_fail(NATSL_ERR_IO, "%s: writing %s failed", out->path, units_name);
    if (chunks >= 0 && H5Dclose(chunks) < 0 && st == NATSL_OK)
        st = natsl_fail(NATSL_ERR_IO, "%s: writing %s failed", out->path, chunks_name);
    return st;
}

/** Every step is taken by all ranks, whatever happened before: dataset creation is collective. */
static natsl_status save_all(natsl_context *cx, natsl_h5_out *out)
{
    const natsl_config *c = cx->config;
    char digest[20], name[64];
    char *json = natsl_config_json(c);
    int64_t counts[2] = {cx->kept_chunks, cx->chunks};
    natsl_status st =
        natsl_agree(cx->comm, json ? NATSL_OK : natsl_fail(NATSL_ERR_NOMEM, "out of memory: configuration"));
    if (st != NATSL_OK) goto cleanup;
    NATSL_MPI(MPI_Allreduce(MPI_IN_PLACE, counts, 2, MPI_INT64_T, MPI_SUM, cx->comm));
    digest_text(digest, natsl_model_digest(cx->model));
    NATSL_TRY(st, attributes, natsl_h5_put_text(out->file, out->path, "format", "natsl-context"));
    NATSL_TRY(st, attributes, natsl_h5_put_int(out->file, out->path, "format_version", 3));
    NATSL_TRY(st, attributes, natsl_h5_put_text(out->file, out->path, "config", json));
    NATSL_TRY(st, attributes, natsl_h5_put_int(out->file, out->path, "position", cx->position));
    NATSL_TRY(st, attributes, natsl_h5_put_text(out->file, out->path, "model_digest", digest));
    NATSL_TRY(st, attributes, natsl_h5_put_int(out->file, out->path, "kept_chunks", counts[0]));
    NATSL_TRY(st, attributes, natsl_h5_put_int(out->file, out->path, "chunks", counts[1]));
attributes:
    if ((st = natsl_agree(cx->comm, st)) != NATSL_OK) goto cleanup; /* from here on all ranks take the same steps */
    hid_t set = -1;
    natsl_status worst =
        natsl_h5_new_dataset(out, "last_hidden", H5T_IEEE_F32LE, 1, (hsize_t[]){(hsize_t)c->hidden_size}, &set);
    if (worst == NATSL_OK && cx->rank == cx->owner)
        worst = natsl_h5_write_rows(set, out->path, "last_hidden", H5T_NATIVE_FLOAT, 0, c->hidden_size, sizeof(float),
                                    cx->last_hidden);
    if (set >= 0) (void)H5Dclose(set);
    for (int l = 0; l < c->num_hidden_layers; l++) {
        tail_part parts[TAIL_PARTS];
        size_t n = 0;
        tail_parts(cx, l, parts, &n);
        for (size_t i = 0; i < n; i++) {
            const hsize_t shape[2] = {parts[i].rows, parts[i].width};
            tail_name(name, l, parts[i].name);
            st = natsl_h5_new_dataset(out, name, H5T_IEEE_F32LE, 2, shape, &set);
            if (st == NATSL_OK && cx->rank == cx->owner && worst == NATSL_OK)
                st = natsl_h5_write_rows(set, out->path, name, H5T_NATIVE_FLOAT, 0, (int64_t)parts[i].rows,
                                         parts[i].width * sizeof(float), cx->tails[l] + parts[i].offset);
            if (set >= 0) (void)H5Dclose(set);
            if (worst == NATSL_OK) worst = st;
        }
        for (int h = 0; natsl_layer_keeps(cx, l) && h < cx->kept[l].heads; h++) {
            st = save_units(cx, out, l, h);
            if (worst == NATSL_OK) worst = st;
        }
    }
    st = worst;
cleanup:
    free(json);
    return st;
}

natsl_status natsl_context_save_with(natsl_context *cx, const char *path,
                                     natsl_status (*more)(void *user, natsl_h5_out *out), void *user)
{
    natsl_h5_out out;
    natsl_status st = natsl_h5_create(cx->comm, path, &out);
    if (st != NATSL_OK) return st;
    out.sealed = 1;
    st = natsl_agree(cx->comm, save_all(cx, &out)); /* what follows is collective, too */
    if (st == NATSL_OK && more) st = more(user, &out);
    return natsl_h5_finish(&out, st);
}

natsl_status natsl_context_save(natsl_context *cx, const char *path)
{
    return natsl_context_save_with(cx, path, NULL, NULL);
}

/* ---- loading ----------------------------------------------------------------------------------------------------------- */

/** Rows of floats; one that is not finite would poison everything read after it. */
static natsl_status read_finite(hid_t set, const char *path, const char *name, int64_t first, int64_t count,
                                size_t width, float *to)
{
    const natsl_status st =
        natsl_h5_read_rows(set, path, name, H5T_NATIVE_FLOAT, first, count, width * sizeof(float), to);
    for (size_t i = 0; st == NATSL_OK && i < (size_t)count * width; i++) {
        if (!isfinite(to[i]))
            return natsl_fail(NATSL_ERR_INPUT, "%s: dataset %s: value %zu is %s, expected finite numbers", path, name,
                              (size_t)first * width + i, isnan(to[i]) ? "NaN" : "infinite");
    }
    return st;
}

/** Reads units back. */
static natsl_status read_units(const natsl_context *cx, const natsl_attn_shape *attn, hid_t set, const char *path,
                               const char *name, int64_t first, int64_t count, float *units, float *wide)
{
    const size_t numbers = natsl_unit_numbers(attn), floats = natsl_unit_floats(attn, cx->stage.kept);
    const natsl_status st = read_finite(set, path, name, first, count, numbers, wide ? wide : units);
    for (int64_t i = 0; wide && st == NATSL_OK && i < count; i++)
        natsl_unit_put(cx->stage.kept, units + (size_t)i * floats, 0, numbers, wide + (size_t)i * numbers);
    return st;
}

/** Whether the file was written with this model's configuration and weights. */
static natsl_status check_model(const natsl_context *cx, hid_t file, const char *path)
{
    char *text = NULL, digest[20];
    natsl_status st = natsl_h5_text(file, path, "model_digest", 64, &text);
    if (st != NATSL_OK) return st;
    digest_text(digest, natsl_model_digest(cx->model));
    if (strcmp(text, digest) != 0)
        st = natsl_fail(NATSL_ERR_INPUT, "%s: the context of another model (digest %s, this model has %s)", path, text,
                        digest);
    natsl_free(text);
    return st;
}

/** This rank's run of a gate head's units; *count all of them. */
static natsl_status load_units(natsl_context *cx, hid_t file, const char *path, int layer, int head, int64_t *count)
{
    natsl_kept *kept = &cx->kept[layer];
    const natsl_attn_shape *attn = &natsl_layer_of(cx, layer)->shape.attn;
    char units_name[80], chunks_name[80];
    hid_t units = -1, chunks = -1;
    hsize_t dims[1] = {0};
    int64_t *indices = NULL;
    float *wide = NULL;
    (void)snprintf(units_name, sizeof units_name, "kept/%d/%d/units", layer, head);
    (void)snprintf(chunks_name, sizeof chunks_name, "kept/%d/%d/chunks", layer, head);
    natsl_status st = natsl_h5_dataset(file, path, chunks_name, H5T_INTEGER, 1, NULL, &chunks);
    if (st != NATSL_OK) goto cleanup;
    const hid_t space = H5Dget_space(chunks);
    (void)H5Sget_simple_extent_dims(space, dims, NULL);
    (void)H5Sclose(space);
    if (dims[0] > (hsize_t)(cx->position / cx->config->chunk)) {
        st = natsl_fail(NATSL_ERR_INPUT, "%s: dataset %s: more kept chunks than the text has", path, chunks_name);
        goto cleanup;
    }
    const int all = !natsl_layer_has_state(cx, layer); /* that later tokens see */
    kept->skipped = natsl_attn_first_chunk(attn, cx->position);
    if (all && dims[0] != (hsize_t)(cx->position / cx->config->chunk - kept->skipped)) {
        st = natsl_fail(NATSL_ERR_INPUT, "%s: dataset %s: %llu chunks, expected all %lld that later tokens see", path,
                        chunks_name, (unsigned long long)dims[0],
                        (long long)(cx->position / cx->config->chunk - kept->skipped));
        goto cleanup;
    }
    const hsize_t shape[2] = {dims[0], natsl_unit_numbers(attn)};
    NATSL_TRY(st, cleanup, natsl_h5_dataset(file, path, units_name, H5T_FLOAT, 2, shape, &units));
    *count = (int64_t)dims[0];
    const int64_t first = *count / cx->size * cx->rank + *count % cx->size * cx->rank / cx->size;
    const int64_t last = *count / cx->size * (cx->rank + 1) + *count % cx->size * (cx->rank + 1) / cx->size;
    /* the share's indices, and the one before them: order must hold across the borders, too */
    const int64_t begin = first > 0 ? first - 1 : 0;
    if (!(indices = natsl_alloc((size_t)(last - begin), sizeof *indices, "kept chunk indices"))) {
        st = NATSL_ERR_NOMEM;
        goto cleanup;
    }
    NATSL_TRY(
        st, cleanup,
        natsl_h5_read_rows(chunks, path, chunks_name, H5T_NATIVE_INT64, begin, last - begin, sizeof *indices, indices));
    for (int64_t i = begin; i < last && st == NATSL_OK; i++) {
        const int64_t chunk = indices[i - begin], before = i > begin ? indices[i - begin - 1] : -1;
        if (chunk <= before || chunk >= cx->position / cx->config->chunk || (all && chunk != kept->skipped + i)) {
            st = natsl_fail(NATSL_ERR_INPUT, "%s: dataset %s: entry %lld is out of order or range", path, chunks_name,
                            (long long)i);
            goto cleanup;
        }
        if (i >= first && !natsl_kept_append(kept, head, chunk)) st = NATSL_ERR_NOMEM;
    }
    if (st == NATSL_OK) st = allocate_wide(cx, attn, kept, &wide);
    for (int64_t i = 0; i < last - first && st == NATSL_OK; i += kept->per_slab) /* a slab at a time */
        st = read_units(cx, attn, units, path, units_name, first + i, natsl_min64(kept->per_slab, last - first - i),
                        natsl_kept_unit(kept, head, i), wide);
cleanup:
    natsl_free(wide);
    natsl_free(indices);
    if (units >= 0) (void)H5Dclose(units);
    if (chunks >= 0) (void)H5Dclose(chunks);
    return st;
}

/** The directory after loading: rank r holds its share of every head's list. counts [heads]: all units. */
static natsl_status deal_out(natsl_context *cx, int layer, const int64_t *counts, int64_t *share)
{
    natsl_status st = NATSL_OK;
    for (int r = 0; r < cx->size && st == NATSL_OK; r++) {
        for (int h = 0; h < cx->kept[layer].heads; h++) {
            const int64_t n = counts[h], q = n / cx->size, m = n % cx->size;
            share[h] = q * (r + 1) + m * (r + 1) / cx->size - q * r - m * r / cx->size;
        }
        st = natsl_kept_note(&cx->kept[layer], r, share);
    }
    return st;
}

static natsl_status load_tail(natsl_context *cx, hid_t file, const char *path, int layer)
{
    tail_part parts[TAIL_PARTS];
    size_t n = 0;
    natsl_status st = NATSL_OK;
    tail_parts(cx, layer, parts, &n);
    for (size_t i = 0; i < n && st == NATSL_OK; i++) {
        const hsize_t shape[2] = {parts[i].rows, parts[i].width};
        char name[64];
        hid_t set = -1;
        tail_name(name, layer, parts[i].name);
        if ((st = natsl_h5_dataset(file, path, name, H5T_FLOAT, 2, shape, &set)) != NATSL_OK) break;
        st =
            read_finite(set, path, name, 0, (int64_t)parts[i].rows, parts[i].width, cx->tails[layer] + parts[i].offset);
        (void)H5Dclose(set);
    }
    return st;
}

/** (chunk, head, NAtS-L layer) triples of complete chunks in `position` tokens; -1: more than can be. */
static int64_t gate_chunks(const natsl_config *c, int64_t position)
{
    int64_t layers = 0, n = 0;
    for (int l = 0; l < c->num_hidden_layers; l++) layers += c->kind[l] == NATSL_LAYER_NATS;
    return __builtin_mul_overflow(position / c->chunk, layers * c->num_nats_head, &n) ? -1 : n;
}

/** Every rank reads its own part. */
static natsl_status load_all(natsl_context *cx, const char *path)
{
    const natsl_config *c = cx->config;
    hid_t file = -1, set = -1;
    int64_t kept_chunks = 0, chunks = 0, *counts = natsl_alloc(2 * cx->stage.most.groups, sizeof *counts, "counts");
    if (!counts) return NATSL_ERR_NOMEM;
    natsl_status st = natsl_h5_open(path, &file);
    if (st != NATSL_OK) goto cleanup;
    NATSL_TRY(st, cleanup, natsl_h5_format(file, path, "natsl-context", 3));
    NATSL_TRY(st, cleanup, check_model(cx, file, path));
    NATSL_TRY(st, cleanup, natsl_h5_int(file, path, "position", &cx->position));
    NATSL_TRY(st, cleanup, natsl_h5_int(file, path, "kept_chunks", &kept_chunks));
    NATSL_TRY(st, cleanup, natsl_h5_int(file, path, "chunks", &chunks));
    if (cx->position < 0 || cx->position > INT64_MAX / 4) {
        st = natsl_fail(NATSL_ERR_INPUT, "%s: attribute position: %lld is out of range", path, (long long)cx->position);
        goto cleanup;
    }
    if (kept_chunks < 0 || chunks < kept_chunks || chunks != gate_chunks(c, cx->position)) {
        st = natsl_fail(NATSL_ERR_INPUT, "%s: attributes chunks, kept_chunks: %lld, %lld do not fit %lld tokens", path,
                        (long long)chunks, (long long)kept_chunks, (long long)cx->position);
        goto cleanup;
    }
    if (cx->rank == 0) cx->kept_chunks = kept_chunks, cx->chunks = chunks; /* sums over ranks when they are reported */
    const hsize_t shape[1] = {(hsize_t)c->hidden_size};
    NATSL_TRY(st, cleanup, natsl_h5_dataset(file, path, "last_hidden", H5T_FLOAT, 1, shape, &set));
    NATSL_TRY(st, cleanup, read_finite(set, path, "last_hidden", 0, c->hidden_size, 1, cx->last_hidden));
    for (int l = 0; l < c->num_hidden_layers; l++) {
        if (cx->rank == cx->owner) NATSL_TRY(st, cleanup, load_tail(cx, file, path, l));
        if (!natsl_layer_keeps(cx, l)) continue;
        const int heads = cx->kept[l].heads;
        for (int h = 0; h < heads; h++) NATSL_TRY(st, cleanup, load_units(cx, file, path, l, h, &counts[h]));
        NATSL_TRY(st, cleanup, deal_out(cx, l, counts, counts + heads));
    }
cleanup:
    if (set >= 0) (void)H5Dclose(set);
    if (file >= 0) (void)H5Fclose(file);
    natsl_free(counts);
    return st;
}

natsl_status natsl_context_load_checked(MPI_Comm comm, const natsl_model *model, const natsl_options *options,
                                        const char *path, natsl_context **out)
{
    natsl_context *cx = NULL;
    natsl_status st = natsl_context_create(comm, model, options, &cx);
    *out = NULL;
    if (st != NATSL_OK) return st;
    cx->owner = cx->size - 1; /* the last rank has the last units, so the open chunk belongs with it */
    st = natsl_agree(cx->comm, load_all(cx, path));
    if (st != NATSL_OK) natsl_context_destroy(&cx);
    *out = cx;
    return st;
}

natsl_status natsl_context_load(MPI_Comm comm, const natsl_model *model, const natsl_options *options, const char *path,
                                natsl_context **out)
{
    *out = NULL;
    const natsl_status st = natsl_seal_check(comm, path, 0); /* files of before there were seals have none */
    return st == NATSL_OK ? natsl_context_load_checked(comm, model, options, path, out) : st;
}
