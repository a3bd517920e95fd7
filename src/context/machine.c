/* machine.c - measuring the machine, and reading what natsl bench has measured. See machine.h. */
#define _GNU_SOURCE
#include "machine.h"

#include "agree.h"
#include "init.h"
#include "place.h"

#include <errno.h>
#include <jansson.h>
#include <malloc.h>
#include <math.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define PROBE_ROUNDS     2  /* at least */
#define PROBE_MOST       50 /* ... and until PROBE_S are over: short rounds are easily disturbed */
#define PROBE_S          0.1
#define PROBE_UNITS      16   /* kept chunks of each gate head */
#define PROBE_VOCABULARY 2048 /* its products are as wide at any size */
#define MAX_FILE_BYTES   ((size_t)16 << 20)

/** The kind of work that a phase's time belongs to (of attention: without what is attended to kept chunks); -1: none. */
static int kind_of(int phase)
{
    switch (phase) {
    case NATSL_PHASE_PROJECT: return NATSL_WORK_PROJECT;
    case NATSL_PHASE_NORM:
    case NATSL_PHASE_CONV:
    case NATSL_PHASE_GATE:
    case NATSL_PHASE_MIX: return NATSL_WORK_ROWS;
    case NATSL_PHASE_LOCAL: return NATSL_WORK_LOCAL;
    case NATSL_PHASE_STATE: return NATSL_WORK_STATE;
    case NATSL_PHASE_ATTEND: return NATSL_WORK_OWN;
    case NATSL_PHASE_FEED_FORWARD: return NATSL_WORK_FEED_FORWARD;
    case NATSL_PHASE_LOGITS: return NATSL_WORK_LOGITS;
    default: return -1;
    }
}

/* ---- the probe -------------------------------------------------------------------------------------------------------- */

typedef struct probe {
    natsl_config config; /* one layer */
    natsl_layout layout;
    natsl_weights weights;
    natsl_stage stage;
    int64_t tokens;
    void *store;
    float *values, *x, *state, *units, *logprobs;
    int32_t *targets;
} probe;

/** Small numbers, the same each time. */
static void fill(float *x, size_t n, float scale)
{
    uint32_t s = 12345;
    for (size_t i = 0; i < n; i++) {
        s = s * 1664525u + 1013904223u;
        x[i] = scale * ((float)(s >> 8) * 0x1p-23f - 1.0f);
    }
}

static natsl_status probe_weights(probe *p, natsl_storage type)
{
    natsl_status st = natsl_layout_create(&p->config, type, &p->layout);
    size_t most = 0;
    if (st != NATSL_OK) return st;
    for (size_t i = 0; i < p->layout.count; i++)
        most = p->layout.tensors[i].count > most ? p->layout.tensors[i].count : most;
    p->values = natsl_alloc(most, sizeof(float), "weights of the probe");
    p->store = natsl_calloc(p->layout.store_bytes, 1, "weights of the probe");
    if (!p->values || !p->store) return NATSL_ERR_NOMEM;
    for (size_t i = 0; i < p->layout.count; i++) {
        const natsl_tensor *t = &p->layout.tensors[i];
        /* Matrices need only be small; what decays and norms are like decides whether numbers stay ordinary. */
        if (t->rank == 2) fill(p->values, t->count, 0.03f);
        else natsl_init_tensor(&p->config, t, 1, p->values);
        natsl_layout_put(&p->layout, t, p->values, p->store);
    }
    return natsl_weights_bind(&p->config, &p->layout, p->store, &p->weights);
}

/* Of a thread, where memory for the probe is wanting. */
#define GUESSED_GFLOPS 50.0

static natsl_status probe_create(probe *p, const natsl_config *config, const natsl_options *o, natsl_storage type)
{
    const natsl_kernels *kernels = o->kernels == NATSL_KERNELS_REF ? &natsl_kernels_ref : &natsl_kernels_fast;
    p->config = *config;
    p->config.num_hidden_layers = 1;
    p->config.vocab_size = config->vocab_size < PROBE_VOCABULARY ? config->vocab_size : PROBE_VOCABULARY;
    /* A NAtS-L layer stands for all kinds: it does the work of each, and an operation's time hardly depends on sizes of heads. */
    memset(p->config.kind, 0, sizeof p->config.kind);
    p->config.num_attn = 0;
    int gdn = 1;
    for (int l = 0; l < config->num_hidden_layers; l++) gdn &= config->kind[l] == NATSL_LAYER_GDN;
    p->config.kind[0] = gdn ? NATSL_LAYER_GDN : NATSL_LAYER_NATS;
    const natsl_config *c = &p->config;
    const natsl_grid g = natsl_grid_make(c->chunk);
    const int64_t all = natsl_min64(g.tile, NATSL_TILE) * o->threads;
    p->tokens = (all + g.unit - 1) / g.unit * g.unit;
    if (o->stage_tokens > 0) p->tokens = natsl_min64(p->tokens, natsl_max64(o->stage_tokens / g.unit, 1) * g.unit);
    natsl_status st = probe_weights(p, type);
    if (st == NATSL_OK) st = natsl_stage_create(&p->weights, kernels, o->kept, p->tokens, o->threads, &p->stage);
    if (st != NATSL_OK) return st;
    p->stage.thread_time = 1;
    const size_t n = (size_t)p->tokens, d = (size_t)c->hidden_size;
    p->x = natsl_alloc(n, d * sizeof(float), "rows of the probe");
    const natsl_shape *shape = &p->weights.layers[0].shape;
    p->state = natsl_calloc(shape->tail.floats, sizeof(float), "state of the probe");
    p->units = natsl_alloc(PROBE_UNITS, natsl_unit_floats(&shape->attn, o->kept) * sizeof(float), "units of the probe");
    p->logprobs = natsl_alloc(n, sizeof(float), "results of the probe");
    p->targets = natsl_calloc(n, sizeof(int32_t), "targets of the probe");
    return p->x && p->state && p->units && p->logprobs && p->targets ? NATSL_OK : NATSL_ERR_NOMEM;
}

static void probe_free(probe *p)
{
    natsl_stage_free(&p->stage);
    natsl_weights_free(&p->weights);
    natsl_layout_free(&p->layout);
    natsl_free(p->store);
    natsl_free(p->values);
    natsl_free(p->x);
    natsl_free(p->state);
    natsl_free(p->units);
    natsl_free(p->logprobs);
    natsl_free(p->targets);
}

/** All phases of the layer once; seconds of each kind, and the work done. */
static void probe_round(probe *p, double seconds[NATSL_WORK_KINDS], natsl_work *work)
{
    natsl_stage *s = &p->stage;
    const natsl_config *c = &p->config;
    const natsl_layer *layer = &p->weights.layers[0];
    const natsl_tail_layout *tail = &layer->shape.tail;
    const natsl_attn_shape *a = &layer->shape.attn;
    double before[NATSL_PHASES], own[NATSL_PHASES], after[NATSL_PHASES], kept = 0.0;
    natsl_stage_seconds(s, before);
    fill(p->x, (size_t)p->tokens * (size_t)c->hidden_size, 1.0f);
    memset(p->state, 0, tail->floats * sizeof(float));
    natsl_stage_set(s, 0, p->tokens, 0, p->tokens);
    natsl_stage_project(s, layer, p->x);
    natsl_stage_gate(s, layer, p->x, NULL, NATSL_ROUTE_LEARNED);
    natsl_stage_local(s, layer, p->state + tail->halo);
    natsl_stage_state(s, layer, 0, (size_t)c->num_v_heads, p->state + tail->state, p->state + tail->current);
    natsl_stage_seconds(s, own);
    if (layer->shape.kind == NATSL_LAYER_NATS) {
        for (int64_t u = 0; u < PROBE_UNITS; u++)
            natsl_stage_pack(s, layer, u % s->n_chunks, 0, p->units + (size_t)u * natsl_unit_floats(a, s->kept));
        for (size_t h = 0; h < a->groups; h++) natsl_stage_attend(s, layer, h, p->units, PROBE_UNITS, NULL, 0);
        for (int64_t j = 0; j < s->n_chunks * c->num_nats_head; j++) kept += s->keep[j];
        kept /= (double)(s->n_chunks * c->num_nats_head);
    }
    natsl_stage_seconds(s, after);
    const double attend = after[NATSL_PHASE_ATTEND] - own[NATSL_PHASE_ATTEND];
    natsl_stage_finish(s, layer, p->x);
    natsl_stage_logits(s, p->x, p->targets, p->logprobs, NULL);
    natsl_stage_seconds(s, after);
    for (int k = 0; k < NATSL_WORK_KINDS; k++) seconds[k] = 0.0;
    for (int i = 0; i < NATSL_PHASES; i++) {
        if (kind_of(i) >= 0) seconds[kind_of(i)] += after[i] - before[i];
    }
    seconds[NATSL_WORK_OWN] -= attend;
    seconds[NATSL_WORK_KEPT] = attend;
    *work = natsl_cost_layer(c, 0, 0, p->tokens, kept);
    work->of[NATSL_WORK_KEPT] =
        2.0 * ((double)c->key_dim + (double)c->value_dim) * (double)c->chunk * (double)p->tokens * PROBE_UNITS;
    work->of[NATSL_WORK_LOGITS] = 2.0 * (double)c->hidden_size * (double)c->vocab_size * (double)p->tokens;
}

/** Cores that this process may use; 0: not known. */
static int own_cores(cpu_set_t *mask)
{
    CPU_ZERO(mask);
    if (sched_getaffinity(0, sizeof *mask, mask) != 0) CPU_ZERO(mask);
    return CPU_COUNT(mask);
}

natsl_status natsl_machine_probe(const natsl_config *config, const natsl_options *options, natsl_storage weights,
                                 natsl_cost_machine *machine)
{
    cpu_set_t mask;
    const int cores = own_cores(&mask);
    natsl_options some = *options, *o = &some;
    /* More threads than cores do no more than one for each. */
    if (cores > 0 && some.threads > cores) some.threads = cores;
    probe *p = natsl_calloc(1, sizeof *p, "probe");
    natsl_status st = p ? probe_create(p, config, o, weights) : NATSL_ERR_NOMEM;
    double best[NATSL_WORK_KINDS] = {0};
    *machine = natsl_cost_machine_guess(50.0, o->threads);
    const double start = natsl_now_s();
    for (int round = 0; st == NATSL_OK && round < PROBE_MOST; round++) {
        if (round >= PROBE_ROUNDS && natsl_now_s() - start > PROBE_S) break;
        double seconds[NATSL_WORK_KINDS];
        natsl_work work;
        probe_round(p, seconds, &work);
        for (int k = 0; k < NATSL_WORK_KINDS; k++) {
            /* A clock that has not moved says nothing; neither do kinds that this model has not. */
            if (work.of[k] > 0.0 && seconds[k] > 0.0) best[k] = fmax(best[k], work.of[k] / seconds[k]);
        }
    }
    for (int k = 0; k < NATSL_WORK_KINDS; k++) {
        if (best[k] > 0.0) machine->per_s[k] = best[k];
    }
    if (p) probe_free(p);
    natsl_free(p);
#ifdef __GLIBC__
    (void)malloc_trim(0); /* what was freed would otherwise stay resident for good */
#endif
    return st;
}

/* ---- the machine of a job --------------------------------------------------------------------------------------------- */

/** All ranks wait for the last, without using a core: one of them is measuring. Collective. */
static void rest(MPI_Comm comm)
{
    MPI_Request all;
    int there = 0;
    NATSL_MPI(MPI_Ibarrier(comm, &all));
    for (;;) {
        NATSL_MPI(MPI_Test(&all, &there, MPI_STATUS_IGNORE));
        if (there) return;
        const struct timespec pause = {.tv_nsec = 1000000};
        (void)nanosleep(&pause, NULL);
    }
}

/** Ranks of the fullest node, and cores that its ranks may use together. Collective. */
static void look_around(MPI_Comm comm, int *ranks, int *cores)
{
    MPI_Comm node;
    cpu_set_t mask;
    int both[2] = {1, 0};
    NATSL_MPI(MPI_Comm_split_type(comm, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &node));
    NATSL_MPI(MPI_Comm_size(node, &both[0]));
    (void)own_cores(&mask);
    NATSL_MPI(MPI_Allreduce(MPI_IN_PLACE, &mask, (int)sizeof mask, MPI_BYTE, MPI_BOR, node));
    NATSL_MPI(MPI_Comm_free(&node));
    both[1] = CPU_COUNT(&mask) > 0 ? -CPU_COUNT(&mask) : -(1 << 30); /* the fewest */
    NATSL_MPI(MPI_Allreduce(MPI_IN_PLACE, both, 2, MPI_INT, MPI_MAX, comm));
    *ranks = both[0];
    *cores = -both[1] == 1 << 30 ? 0 : -both[1];
}

natsl_status natsl_machine_find(MPI_Comm comm, const natsl_config *config, const natsl_options *o,
                                natsl_storage weights, natsl_cost_machine *machine)
{
    const char *path = getenv("NATSL_MACHINE");
    natsl_status st = NATSL_OK;
    int rank = 0, ranks = 1, cores = 0;
    double share;
    natsl_task("measuring the machine");
    NATSL_MPI(MPI_Comm_rank(comm, &rank));
    look_around(comm, &ranks, &cores);
    /* rank 0's view decides for all: launchers need not hand an environment to other nodes */
    int how[2] = {path && *path, (path && *path) || (cores > 0 && ranks * o->threads > cores)};
    NATSL_MPI(MPI_Bcast(how, 2, MPI_INT, 0, comm));
    const int file = how[0], alone = how[1];
    if (alone && rank > 0) *machine = natsl_cost_machine_guess(1.0, o->threads);
    else if (file) {
        const int threads = cores > 0 && o->threads > cores ? cores : o->threads;
        st = natsl_machine_read(path, machine, &share);
        for (int k = 0; k < NATSL_WORK_KINDS && st == NATSL_OK; k++)
            machine->per_s[k] *= (double)threads / machine->threads;
        machine->threads = threads;
    } else {
        st = natsl_machine_probe(config, o, weights, machine);
        if (st == NATSL_ERR_NOMEM) { /* a guess predicts worse, but the run can do without the probe's memory */
            *machine = natsl_cost_machine_guess(GUESSED_GFLOPS * o->threads, o->threads);
            st = NATSL_OK;
        }
    }
    if (alone) rest(comm);
    if ((st = natsl_agree(comm, st)) != NATSL_OK) return st;
    if (!alone) NATSL_MPI(MPI_Allreduce(MPI_IN_PLACE, machine->per_s, NATSL_WORK_KINDS, MPI_DOUBLE, MPI_MIN, comm));
    machine->ranks_per_node = ranks;
    machine->cores_per_node = cores;
    NATSL_MPI(MPI_Bcast(machine, sizeof *machine, MPI_BYTE, 0, comm));
    return NATSL_OK;
}

/* ---- natsl bench's file ------------------------------------------------------------------------------------------------ */

/** A positive number under a name; NaN when it is not there. */
static double number(const json_t *object, const char *name)
{
    const json_t *v = json_object_get(object, name);
    const double x = json_is_number(v) ? json_number_value(v) : NAN;
    return x > 1e-18 && x < 1e18 ? x : NAN; /* what follows from such numbers stays finite */
}

/** Speeds from a prefill: work by counting over seconds by phase (means of ranks). */
static void speeds_of(const natsl_config *c, const json_t *prefill, natsl_cost_machine *m, double *kept_share)
{
    const json_t *phases = json_object_get(prefill, "phases");
    const double tokens = number(prefill, "tokens"), ranks = number(prefill, "ranks");
    const json_t *kept = json_object_get(prefill, "kept_share");
    const double share = json_is_number(kept) ? json_number_value(kept) : 0.5;
    if (!(tokens >= 1.0 && tokens <= 0x1p40) || !(ranks >= 1.0) || !(share >= 0.0 && share <= 1.0)) return;
    const natsl_work w = natsl_cost_count(c, 0, (int64_t)tokens, share,
                                          json_is_false(json_object_get(prefill, "logits")) ? 0 : (int64_t)tokens);
    const double own_ratio = m->per_s[NATSL_WORK_KEPT] / m->per_s[NATSL_WORK_OWN];
    double seconds[NATSL_WORK_KINDS] = {0};
    for (int i = 0; i < NATSL_PHASES; i++) {
        const double s = number(phases, natsl_phase_names[i]);
        if (kind_of(i) >= 0 && s > 0.0) seconds[kind_of(i)] += s;
    }
    *kept_share = share;
    /* One phase for two kinds: in the usual proportion. */
    const double attention = (w.of[NATSL_WORK_OWN] * own_ratio + w.of[NATSL_WORK_KEPT]) / ranks;
    if (seconds[NATSL_WORK_OWN] > 0.0 && attention > 0.0) {
        m->per_s[NATSL_WORK_KEPT] = attention / seconds[NATSL_WORK_OWN];
        m->per_s[NATSL_WORK_OWN] = m->per_s[NATSL_WORK_KEPT] / own_ratio;
    }
    for (int k = 0; k < NATSL_WORK_KINDS; k++) {
        if (k == NATSL_WORK_OWN || k == NATSL_WORK_KEPT) continue;
        if (seconds[k] > 0.0 && w.of[k] > 0.0) m->per_s[k] = w.of[k] / ranks / seconds[k];
    }
}

/** The prefill with most tokens, and the configuration it was made with. */
static natsl_status speeds_in(const json_t *root, const char *source, natsl_cost_machine *m, double *kept_share)
{
    const json_t *list = json_object_get(root, "prefill"), *best = NULL;
    natsl_config config;
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *p = json_array_get(list, i);
        if (number(p, "tokens") > 0.0 && (!best || number(p, "tokens") > number(best, "tokens"))) best = p;
    }
    if (!best) return NATSL_OK;
    char *text = json_dumps(json_object_get(root, "config"), JSON_ENCODE_ANY);
    natsl_status st = text ? natsl_config_parse(text, strlen(text), source, &config)
                           : natsl_fail(NATSL_ERR_INPUT, "%s: config is missing, expected the model's", source);
    if (st == NATSL_OK) speeds_of(&config, best, m, kept_share);
    free(text);
    return st;
}

natsl_status natsl_machine_parse(const char *text, size_t length, const char *source, natsl_cost_machine *machine,
                                 double *kept_share)
{
    json_error_t error;
    natsl_status st;
    json_t *root = json_loadb(text, length, 0, &error);
    *kept_share = NAN;
    if (!root)
        return natsl_fail(NATSL_ERR_INPUT, "%s: line %d: %s, expected JSON as natsl bench writes it", source,
                          error.line, error.text);
    const json_t *m = json_object_get(root, "machine");
    const double gflops = number(m, "peak_gflops"), threads = number(m, "threads"), ranks = number(m, "ranks");
    if (!(gflops > 0.0) || !(threads >= 1.0 && threads <= 4096.0) || !(ranks >= 1.0 && ranks <= 1e9)) {
        st = natsl_fail(NATSL_ERR_INPUT,
                        "%s: expected machine.peak_gflops, machine.threads and machine.ranks of natsl bench", source);
        goto cleanup;
    }
    *machine = natsl_cost_machine_guess(gflops / ranks, (int)threads);
    const double latency = number(m, "latency_us"), bandwidth = number(m, "bandwidth_gbytes_per_s");
    if (latency > 0.0) machine->latency_s = latency * 1e-6;
    if (bandwidth > 0.0) machine->bytes_per_s = bandwidth * 1e9;
    const double near_us = number(m, "latency_ranks_0_1_us"), near = number(m, "bandwidth_ranks_0_1_gbytes_per_s");
    if (near_us > 0.0) machine->near_latency_s = near_us * 1e-6;
    if (near > 0.0) machine->near_bytes_per_s = near * 1e9;
    st = speeds_in(root, source, machine, kept_share);
cleanup:
    json_decref(root);
    return st;
}

natsl_status natsl_machine_read(const char *path, natsl_cost_machine *machine, double *kept_share)
{
    natsl_status st = NATSL_OK;
    char *text = NULL;
    FILE *file = fopen(path, "rb");
    if (!file) return natsl_fail(NATSL_ERR_INPUT, "%s: %s", path, strerror(errno));
    text = natsl_alloc(MAX_FILE_BYTES + 1, 1, "machine");
    errno = 0;
    const size_t length = text ? fread(text, 1, MAX_FILE_BYTES + 1, file) : 0;
    if (!text) st = NATSL_ERR_NOMEM;
    else if (ferror(file)) st = natsl_fail(NATSL_ERR_INPUT, "%s: %s", path, strerror(errno));
    else if (length > MAX_FILE_BYTES)
        st = natsl_fail(NATSL_ERR_INPUT, "%s: more than %zu bytes, expected a file of natsl bench", path,
                        MAX_FILE_BYTES);
    else st = natsl_machine_parse(text, length, path, machine, kept_share);
    natsl_free(text);
    (void)fclose(file);
    return st;
}
