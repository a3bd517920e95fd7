/* model.c - a model's weights in memory, one copy per node. */
#include "context_impl.h"
#include "digest.h"
#include "files.h"
#include "init.h"
#include "model_update.h"
#include "place.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/** A digest of the weights and of the configuration's text: models may share weights and differ in what they compute with them. */
static natsl_status digest_model(natsl_model *m)
{
    char *text = natsl_config_json(&m->weights.config);
    uint64_t h = 0xcbf29ce484222325u; /* FNV-1a */
    if (!text) return natsl_fail(NATSL_ERR_NOMEM, "out of memory: configuration");
    for (const char *p = text; *p; p++) h = (h ^ (unsigned char)*p) * 0x100000001b3u;
    free(text);
    m->digest = natsl_digest(m->store, m->layout.store_bytes) ^ h;
    return NATSL_OK;
}

/** Every reader has read the same model; all ranks get its digest. Collective. */
static natsl_status agree_digest(natsl_model *m, int reader, const char *path)
{
    uint64_t ends[2] = {reader ? m->digest : 0, reader ? ~m->digest : 0}; /* largest, and complement of the smallest */
    NATSL_MPI(MPI_Allreduce(MPI_IN_PLACE, ends, 2, MPI_UINT64_T, MPI_MAX, m->comm));
    m->digest = ends[0];
    if (ends[0] == ~ends[1]) return NATSL_OK;
    return natsl_fail(NATSL_ERR_INPUT, "%s: nodes read different models under this name", path);
}

/* Where the weights begin in a shared window: MPI aligns it for no more than a number (Open MPI 4.1: 8 bytes past a cache line),
 * and blocks of a store are to begin on cache lines. */
#define SHARED_ALIGNMENT 4096

/** Room for the weights: one shared array per node, or a private one where there is only one rank on the node or shared
 * memory cannot be had (then every rank is its own reader). Collective on m->node. */
static natsl_status allocate_weights(natsl_model *m, int *reader)
{
    int node_size = 1, node_rank = 0;
    const size_t bytes = m->layout.store_bytes;
    *reader = 1;
    NATSL_MPI(MPI_Comm_size(m->node, &node_size));
    NATSL_MPI(MPI_Comm_rank(m->node, &node_rank));
    if (node_size > 1) {
        void *base = NULL;
        const MPI_Aint mine = node_rank == 0 ? (MPI_Aint)(bytes + SHARED_ALIGNMENT) : 0;
        int failed = MPI_Win_allocate_shared(mine, 1, MPI_INFO_NULL, m->node, &base, &m->window) != MPI_SUCCESS;
        NATSL_MPI(MPI_Allreduce(MPI_IN_PLACE, &failed, 1, MPI_INT, MPI_MAX, m->node));
        if (!failed) {
            MPI_Aint size = 0;
            int unit = 1;
            NATSL_MPI(MPI_Win_shared_query(m->window, 0, &size, &unit, &base));
            /* the same bytes for all, wherever each has mapped them */
            int skip = (int)(-(uintptr_t)base % SHARED_ALIGNMENT);
            NATSL_MPI(MPI_Bcast(&skip, 1, MPI_INT, 0, m->node));
            m->store = (char *)base + skip;
            *reader = node_rank == 0;
            return NATSL_OK;
        }
        m->window = MPI_WIN_NULL;
    }
    m->store = natsl_alloc(bytes, 1, "weights");
    return m->store ? NATSL_OK : NATSL_ERR_NOMEM;
}

/** Random weights by all ranks of the node together, tensor by tensor (each all of them where it has a private copy).
 * Collective on m->node. */
static natsl_status fill_random(natsl_model *m, const natsl_config *config, uint64_t seed, int reader)
{
    const natsl_layout *layout = &m->layout;
    int part = 0, parts = 1, failed = 0;
    if (m->window != MPI_WIN_NULL) {
        NATSL_MPI(MPI_Comm_rank(m->node, &part));
        NATSL_MPI(MPI_Comm_size(m->node, &parts));
    }
    if (reader) memset(m->store, 0, layout->store_bytes); /* gaps between blocks */
    if (m->window != MPI_WIN_NULL) NATSL_MPI(MPI_Win_fence(0, m->window));
#pragma omp parallel for schedule(dynamic, 1) reduction(| : failed)
    for (size_t i = (size_t)part; i < layout->count; i += (size_t)parts) {
        const natsl_tensor *t = &layout->tensors[i];
        float *values;
#pragma omp critical(natsl_model_random) /* of the error text */
        values = natsl_alloc(t->count, sizeof *values, "random weights");
        failed |= values == NULL;
        if (!values) continue;
        natsl_init_tensor(config, t, seed, values);
        natsl_layout_put(layout, t, values, m->store);
        natsl_free(values);
    }
    if (m->window != MPI_WIN_NULL)
        NATSL_MPI(MPI_Win_fence(0, m->window)); /* the reader digests what all have written */
    return failed ? NATSL_ERR_NOMEM : NATSL_OK;
}

natsl_status natsl_model_update(natsl_model *m, const float *flat)
{
    int part = 0, parts = 1;
    if (m->window != MPI_WIN_NULL) {
        NATSL_MPI(MPI_Comm_rank(m->node, &part));
        NATSL_MPI(MPI_Comm_size(m->node, &parts));
        NATSL_MPI(MPI_Win_fence(0, m->window)); /* nobody reads the old ones any more */
    }
#pragma omp parallel for schedule(dynamic, 1)
    for (size_t i = (size_t)part; i < m->layout.count; i += (size_t)parts)
        natsl_layout_put(&m->layout, &m->layout.tensors[i], flat + m->layout.tensors[i].offset, m->store);
    if (m->window != MPI_WIN_NULL) NATSL_MPI(MPI_Win_fence(0, m->window));
    return NATSL_OK;
}

/** From the file `path`, or with random weights where it is NULL (`config` and `seed` count only then). */
static natsl_status make_model(MPI_Comm comm, const char *path, const natsl_config *config, uint64_t seed,
                               natsl_storage weights, natsl_model **out)
{
    natsl_model_info info;
    natsl_status st = NATSL_OK;
    int rank = 0, reader = 0;
    natsl_model *m = natsl_calloc(1, sizeof *m, "model");
    *out = NULL;
    natsl_task("opening the model");
    memset(&info, 0, sizeof info);
    NATSL_MPI(MPI_Comm_rank(comm, &rank));
    if (!m) st = NATSL_ERR_NOMEM;
    else if (rank == 0 && path) st = natsl_model_file_info(path, &info);
    if ((st = natsl_agree(comm, st)) != NATSL_OK) {
        natsl_free(m);
        return st;
    }
    if (!path) {
        info.config = *config;
        (void)snprintf(info.tokenizer, sizeof info.tokenizer, "%s", natsl_tokenizer_unnamed(config->vocab_size));
    }
    NATSL_MPI(MPI_Bcast(&info, sizeof info, MPI_BYTE, 0, comm));
    m->window = MPI_WIN_NULL;
    NATSL_MPI(MPI_Comm_dup(comm, &m->comm));
    NATSL_MPI(MPI_Comm_set_errhandler(m->comm, MPI_ERRORS_RETURN));
    NATSL_MPI(MPI_Comm_split_type(m->comm, MPI_COMM_TYPE_SHARED, rank, MPI_INFO_NULL, &m->node));
    NATSL_MPI(MPI_Comm_set_errhandler(m->node, MPI_ERRORS_RETURN));
    m->info = info;

    st = natsl_agree(m->comm, natsl_layout_create(&info.config, weights, &m->layout));
    if (st == NATSL_OK && path)
        st = natsl_model_file_tokenizer(m->comm, path, info.tokenizer, &m->tokenizer_json, &m->tokenizer_length);
    if (st == NATSL_OK) st = natsl_agree(m->comm, allocate_weights(m, &reader));
    if (st == NATSL_OK) {
        if (!path) st = fill_random(m, &info.config, seed, reader);
        if (path && reader) {
            memset(m->store, 0, m->layout.store_bytes); /* gaps between blocks */
            st = natsl_model_file_read(path, &m->layout, m->store);
        }
        if (m->window != MPI_WIN_NULL) NATSL_MPI(MPI_Win_fence(0, m->window));
        /* now that the weights are there: some are copied */
        if (st == NATSL_OK) st = natsl_weights_bind(&info.config, &m->layout, m->store, &m->weights);
        if (st == NATSL_OK && reader) st = digest_model(m);
        st = natsl_agree(m->comm, st);
        if (st == NATSL_OK) st = agree_digest(m, reader, path ? path : "random weights");
    }
    if (st != NATSL_OK) {
        natsl_model_close(&m);
        return st;
    }
    *out = m;
    return NATSL_OK;
}

natsl_status natsl_model_open(MPI_Comm comm, const char *path, natsl_storage weights, natsl_model **out)
{
    return make_model(comm, path, NULL, 0, weights, out);
}

natsl_status natsl_model_random(MPI_Comm comm, const natsl_config *config, uint64_t seed, natsl_storage weights,
                                natsl_model **out)
{
    return make_model(comm, NULL, config, seed, weights, out);
}

void natsl_model_close(natsl_model **model)
{
    natsl_model *m = *model;
    if (!m) return;
    natsl_free(m->tokenizer_json);
    natsl_weights_free(&m->weights);
    natsl_layout_free(&m->layout);
    if (m->window != MPI_WIN_NULL) NATSL_MPI(MPI_Win_free(&m->window));
    else natsl_free(m->store);
    NATSL_MPI(MPI_Comm_free(&m->node));
    NATSL_MPI(MPI_Comm_free(&m->comm));
    natsl_free(m);
    *model = NULL;
}

const natsl_config *natsl_model_config(const natsl_model *model) { return &model->weights.config; }
const char *natsl_model_tokenizer(const natsl_model *model) { return model->info.tokenizer; }
const char *natsl_model_tokenizer_json(const natsl_model *model, size_t *length)
{
    *length = model->tokenizer_length;
    return model->tokenizer_json;
}
size_t natsl_model_bytes(const natsl_model *model) { return model->layout.store_bytes; }
uint64_t natsl_model_digest(const natsl_model *model) { return model->digest; }

int64_t natsl_model_parameters(const natsl_model *model)
{
    int64_t n = 0;
    for (size_t i = 0; i < model->layout.count; i++) n += (int64_t)model->layout.tensors[i].count;
    return n;
}
