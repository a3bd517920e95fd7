/* state.c - the delta rule's state through the ranges of an extension: relay or scan.
 * relay: S itself goes along the chain of ranges, one group of heads after the other. scan: inside a pass every range but the
 * first and the last is summarised as a map of the state and a prefix over ranks gives all their incoming states (scan.h);
 * between passes S goes from the last reader to the first one of the next pass as in a relay. A pass whose ranges cannot
 * be summarised (natsl_state_scan_possible) is relayed; all ranks know all ranges, so they agree without a message. */
#include "extend_impl.h"
#include "place.h"

#include <math.h>

static natsl_scan_shape shape_of(const natsl_config *c)
{
    return (natsl_scan_shape){.layers = c->num_hidden_layers,
                              .heads = c->num_v_heads,
                              .dk = (size_t)c->head_dim,
                              .dv = (size_t)c->head_v_dim};
}

/** Readers of a pass; *me: place of `rank` among them (of the readers before it, when it reads nothing). */
static int readers_of(const int64_t *first, int size, int rank, int *me)
{
    int n = 0;
    for (int r = 0; r < size; r++) {
        if (r == rank) *me = n;
        n += first[r] < first[r + 1];
    }
    return n;
}

/** Whether a window of `passes` passes, the first one with these ranges, scans where it can. `o` is complete. */
static int wants_scan(const natsl_config *c, const natsl_options *o, int size, const int64_t *first, double passes)
{
    int64_t longest = 0;
    int me = 0;
    if (natsl_state_layers(c) == 0) return 0;
    if (o->state_pass != NATSL_STATE_AUTO) return o->state_pass == NATSL_STATE_SCAN;
    for (int r = 0; r < size; r++) longest = natsl_max64(longest, first[r + 1] - first[r]);
    const int n = readers_of(first, size, 0, &me);
    const natsl_state_costs costs = natsl_state_costs_count(c, o->threads, n, longest, passes);
    return natsl_state_pass_choose(&costs);
}

natsl_status natsl_state_plan(const natsl_config *c, const natsl_options *o, int ranks, int64_t tokens,
                              natsl_plan *plan)
{
    const natsl_grid grid = natsl_grid_make(c->chunk);
    const natsl_scan_shape shape = shape_of(c);
    const double pair = (double)natsl_scan_pair_floats(&shape) * sizeof(float);
    const double state = (double)shape.heads * (double)shape.dk * (double)shape.dv * sizeof(float);
    const int64_t whole = tokens / o->pass_tokens, rest = tokens % o->pass_tokens;
    double bytes = 0.0;
    int slots = 0, wants = 0, me = 0, owner = 0;
    int64_t *first = natsl_alloc((size_t)ranks + 1, sizeof *first, "ranges");
    if (!first) return NATSL_ERR_NOMEM;
    plan->scan_passes = 0;
    for (int last = 0; last < 2; last++) { /* all whole passes are alike, then the rest */
        const int64_t passes = last ? rest > 0 : whole;
        if (passes == 0) continue;
        const int64_t begin = last ? tokens - rest : 0;
        natsl_part_make(&grid, begin, last ? tokens : o->pass_tokens, ranks, owner, first);
        const int n = readers_of(first, ranks, 0, &me);
        /* from the last reader of a pass to the first of the next */
        if (last && whole > 0) bytes += natsl_part_next(first, ranks, -1) != owner ? state : 0.0;
        owner = natsl_part_prev(first, ranks);
        if (!last) bytes += n > 1 ? (double)(whole - 1) * state : 0.0;
        if (!last || whole == 0) wants = wants_scan(c, o, ranks, first, (double)(whole + (rest > 0)));
        if (!wants || !natsl_state_scan_possible(&grid, o->stage_tokens, first, ranks)) {
            bytes += (double)passes * (double)(n - 1) * state;
            continue;
        }
        int64_t pairs = 0, states = 0;
        natsl_scan_messages(n, &pairs, &states);
        plan->scan_passes += passes;
        bytes += (double)passes * ((double)pairs * pair + (double)states * state);
        for (int i = 0; i < n; i++) slots = natsl_scan_slots(i, n) > slots ? natsl_scan_slots(i, n) : slots;
    }
    natsl_free(first);
    if (plan->scan_passes == 0) return NATSL_OK;
    bytes *= (double)natsl_state_layers(c);
    plan->state_bytes = bytes < 9e18 ? (int64_t)bytes : INT64_MAX;
    plan->scan_bytes = natsl_scan_bytes(&shape, slots);
    if (plan->scan_bytes == 0) return natsl_fail(NATSL_ERR_NOMEM, "summaries of ranges are too large for this machine");
    return NATSL_OK;
}

void natsl_run_state_size(natsl_run *r, int *scans, int *slots)
{
    natsl_context *cx = r->cx;
    const natsl_grid *g = &cx->stage.grid;
    if (r->pass_begin == r->begin) {
        const double tokens = (double)(r->end - (r->begin - r->begin % g->unit));
        r->wants_scan =
            wants_scan(cx->config, &cx->options, cx->size, r->first, ceil(tokens / (double)cx->options.pass_tokens));
    }
    if (r->wants_scan && r->balanced && r->begin + 2 * cx->options.pass_tokens < r->end) {
        /* Later passes are cut by weights that are not known yet: room for any of their readers. */
        *scans = 1;
        for (int i = 0; i < cx->size; i++)
            *slots = natsl_scan_slots(i, cx->size) > *slots ? natsl_scan_slots(i, cx->size) : *slots;
        return;
    }
    if (!r->wants_scan || !natsl_state_scan_possible(g, cx->options.stage_tokens, r->first, cx->size)) return;
    int me = 0;
    const int n = readers_of(r->first, cx->size, cx->rank, &me), mine = natsl_scan_slots(me, n);
    *scans = 1;
    if (mine > *slots) *slots = mine;
}

natsl_status natsl_run_state_allocate(natsl_run *r, int slots)
{
    natsl_context *cx = r->cx;
    const natsl_config *c = cx->config;
    const natsl_scan_shape shape = shape_of(c);
    return natsl_scan_create(cx->comm, cx->size, cx->stage.kernels, cx->options.threads, &shape, slots, 0, &r->scan);
}

void natsl_run_state_pass(natsl_run *r)
{
    natsl_context *cx = r->cx;
    r->scans =
        r->wants_scan && natsl_state_scan_possible(&cx->stage.grid, cx->options.stage_tokens, r->first, cx->size);
    if (!r->scans) return;
    natsl_scan_set(&r->scan, r->first, cx->size, cx->rank);
    r->scan.idle = r->drain;
}

/** Incoming state of the stage from rank `from`, through the stage, and on to rank `to` (-1: none), one group of heads after
 * the other, so that the next rank can start on the first. */
static void carry(natsl_run *r, int layer, int from, int to)
{
    natsl_context *cx = r->cx;
    const natsl_config *c = cx->config;
    const size_t heads = (size_t)c->num_v_heads, one = (size_t)c->head_dim * (size_t)c->head_v_dim;
    const size_t group = from < 0 && to < 0 ? heads : (size_t)natsl_state_group(c, cx->options.threads);
    const natsl_tail_layout *tl = &natsl_layer_of(cx, layer)->shape.tail;
    float *state = cx->tails[layer] + tl->state, *current = cx->tails[layer] + tl->current;
    for (size_t h = 0; h < heads; h += group) {
        const size_t end = h + group < heads ? h + group : heads;
        MPI_Request *sent = &r->state_sent[(size_t)layer * heads];
        natsl_wait_for("the state before this one to be taken", -1);
        for (size_t i = h; i < end; i++) NATSL_MPI(MPI_Wait(&sent[i], MPI_STATUS_IGNORE));
        natsl_wait_for(NULL, -1);
        if (from >= 0) {
            const double start = natsl_now_s();
            natsl_wait_for("the state", from);
            for (size_t i = h; i < end; i++)
                NATSL_MPI(
                    MPI_Recv(state + i * one, (int)one, MPI_FLOAT, from, NATSL_TAG_STATE, cx->comm, MPI_STATUS_IGNORE));
            natsl_wait_for(NULL, -1);
            cx->stage.seconds[NATSL_PHASE_WAIT] += natsl_now_s() - start;
        }
        if (!r->drain) natsl_stage_state(&cx->stage, &cx->model->weights.layers[layer], h, end, state, current);
        if (to < 0) continue;
        for (size_t i = h; i < end; i++) {
            NATSL_MPI(MPI_Isend(state + i * one, (int)one, MPI_FLOAT, to, NATSL_TAG_STATE, cx->comm, &sent[i]));
            cx->state_bytes += (int64_t)(one * sizeof(float));
        }
    }
}

void natsl_run_state(natsl_run *r, int layer, int first_stage, int last_stage)
{
    natsl_context *cx = r->cx;
    natsl_scan *scan = &r->scan;
    const size_t heads = (size_t)cx->config->num_v_heads;
    float *state = cx->tails[layer] + natsl_layer_of(cx, layer)->shape.tail.state;
    if (!r->scans) {
        carry(r, layer, first_stage ? r->prev : -1, last_stage ? r->next : -1);
        return;
    }
    if (scan->me == 0) { /* its incoming state is here or comes from the pass before */
        carry(r, layer, r->prev, -1);
        natsl_scan_first(scan, layer, state);
        return;
    }
    natsl_scan_begin(scan, layer);
    if (natsl_scan_summarises(scan) && !r->drain)
        natsl_stage_summarise(&cx->stage, &cx->model->weights.layers[layer], 0, heads, natsl_scan_a(scan, layer),
                              natsl_scan_b(scan, layer));
    for (size_t h = 0; h < heads; h++) /* sent to this pass, perhaps, as the last reader of the one before */
        NATSL_MPI(MPI_Wait(&r->state_sent[(size_t)layer * heads + h], MPI_STATUS_IGNORE));
    natsl_scan_prefix(scan, layer, state);
    carry(r, layer, -1, scan->me + 1 == scan->n ? r->next : -1);
}

void natsl_run_state_finish(natsl_run *r)
{
    natsl_context *cx = r->cx;
    natsl_scan *scan = &r->scan;
    const size_t requests = (size_t)cx->config->num_hidden_layers * (size_t)cx->config->num_v_heads;
    for (size_t i = 0; i < requests; i++) NATSL_MPI(MPI_Wait(&r->state_sent[i], MPI_STATUS_IGNORE));
    natsl_scan_finish(scan);
    cx->state_bytes += scan->bytes;
    cx->stage.seconds[NATSL_PHASE_WAIT] += scan->wait_s;
    cx->stage.seconds[NATSL_PHASE_SUMMARY] += scan->compose_s;
}
