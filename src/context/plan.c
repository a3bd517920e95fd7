/* plan.c - what reading a document would take, by arithmetic alone. */
#include "context_impl.h"

#include <math.h>

/* What HDF5 and MPI take for themselves once files are open and messages have travelled (measured: HDF5 1.10, Open MPI 4.1). */
#define LIBRARIES_GROW ((size_t)3 << 20)

/** A number of bytes that may be larger than can be counted. */
static int64_t whole(double bytes) { return bytes < 9e18 ? (int64_t)bytes : INT64_MAX; }

/** Chunks of one layer that a rank holds at most, if every one is kept and it makes `chunks` of them: behind a window they are given
 * up slab by slab, once all ranks have ended the passes that read them. */
static double held_chunks(const natsl_attn_shape *a, const natsl_options *o, double chunks, int ranks)
{
    if (a->window == 0) return chunks;
    const double live = ((double)a->window + 3.0 * (double)o->pass_tokens) / (double)a->chunk / (double)ranks;
    return fmin(chunks, ceil(live) + (double)natsl_kept_per_slab(natsl_unit_floats(a, o->kept)));
}

/** Parts of the memory that follow from the longest range of a rank and the share of kept chunks. */
static void size_memory(const natsl_config *c, const natsl_options *o, int64_t tokens, int64_t longest,
                        natsl_plan *plan)
{
    const natsl_grid grid = natsl_grid_make(c->chunk);
    const size_t d = (size_t)c->hidden_size, ranks = (size_t)plan->ranks;
    const double chunks = ceil((double)(tokens / grid.chunk) / (double)ranks),
                 in_range = (double)(longest / grid.chunk + 2);
    /* Pages count that are written: of a stage only what the longest range needs, and no rows before or after it. */
    const int64_t around = 2 * grid.tile + grid.chunk, rows = natsl_min64(o->stage_tokens, longest);
    plan->stage_bytes = natsl_stage_bytes(c, natsl_max64(rows - around, 0), o->threads);
    plan->residual_bytes = (size_t)longest * (d + 1) * sizeof(float);
    /* Two messages of counts and chunk indices per layer, the indices of all own units (with room to grow), counts heard, the runs
     * of units of a layer (with room to grow) and log-probabilities. */
    double kept = 0.0, other = (double)natsl_min64(o->stage_tokens, longest) * sizeof(float), runs = 0.0, heard = 0.0;
    for (int l = 0; l < c->num_hidden_layers; l++) {
        const natsl_shape shape = natsl_shape_of(c, l);
        const double heads = (double)shape.attn.groups, share = natsl_cost_share(c, l, plan->kept_share);
        const double index = share * heads * sizeof(int64_t);
        if (shape.kind == NATSL_LAYER_GDN) continue;
        const size_t unit = natsl_unit_floats(&shape.attn, o->kept);
        kept += held_chunks(&shape.attn, o, chunks, plan->ranks) * share * (double)unit * sizeof(float) * heads;
        other += 2.0 * in_range * index + 1.5 * chunks * index;
        if (plan->ranks > 1) other += (double)ranks * heads * sizeof(int64_t);
        heard = fmax(heard, (double)ranks * in_range * index);
        const double slabs = chunks * (double)ranks * share * heads / (double)natsl_kept_per_slab(unit);
        runs = fmax(runs, 1.5 * slabs * sizeof(natsl_kept_run));
    }
    plan->kept_bytes = (size_t)whole(kept);
    plan->other_bytes = (size_t)whole(other + heard + runs) + LIBRARIES_GROW;
}

/** Bytes of a chunk's keys and values of one layer. */
static double chunk_bytes(const natsl_attn_shape *a, natsl_storage kept)
{
    return (double)natsl_unit_floats(a, kept) * sizeof(float) * (double)a->groups;
}

/** Bytes of kept keys and values that ranks read of one another, if every chunk is kept. stages: of a range. */
static double exchanged_bytes(const natsl_attn_shape *a, const natsl_options *o, const natsl_plan *plan, int64_t tokens,
                              double in_pass, double stages)
{
    /* Each pass every rank reads what the others kept before it, and what the ranks before it keep in it: once per stage; of a window no
     * more than it shows. */
    const double passes = (double)plan->passes, others = (double)(plan->ranks - 1), chunk = (double)a->chunk;
    double chunks = stages * (passes * (passes - 1.0) / 2.0 * in_pass + (double)tokens / 2.0) * others / chunk;
    if (a->window > 0) chunks = fmin(chunks, passes * stages * (double)plan->ranks * ((double)a->window / chunk + 1.0));
    return chunks * chunk_bytes(a, o->kept);
}

natsl_status natsl_plan_make(const natsl_config *c, natsl_storage weights, int ranks, const natsl_options *options,
                             int64_t tokens, natsl_plan *plan)
{
    natsl_options o;
    natsl_layout layout;
    if (ranks < 1 || tokens < 0)
        return natsl_fail(NATSL_ERR_USAGE, "plan: %d ranks, %lld tokens", ranks, (long long)tokens);
    natsl_status st = natsl_options_complete(c, ranks, options, &o);
    if (st == NATSL_OK) st = natsl_layout_create(c, weights, &layout);
    if (st != NATSL_OK) return st;
    const natsl_grid grid = natsl_grid_make(c->chunk);
    const size_t channels = 2 * (size_t)c->key_dim + (size_t)c->value_dim;
    const size_t states = (size_t)natsl_state_layers(c);
    size_t tails = 0;
    for (int l = 0; l < c->num_hidden_layers; l++) tails += natsl_shape_of(c, l).tail.floats;
    const double state = (double)c->num_v_heads * (double)c->head_dim * (double)c->head_v_dim;
    const int64_t in_pass = natsl_min64(o.pass_tokens, tokens);
    const int64_t units = (in_pass + grid.unit - 1) / grid.unit, per_rank = (units + ranks - 1) / ranks * grid.unit;
    *plan = (natsl_plan){
        .ranks = ranks, .threads = o.threads, .pass_tokens = o.pass_tokens, .stage_tokens = o.stage_tokens};
    plan->passes = (tokens + o.pass_tokens - 1) / o.pass_tokens;
    plan->weight_bytes = layout.store_bytes;
    plan->context_bytes = tails * sizeof(float);
    const double chunks = ceil((double)(tokens / grid.chunk) / (double)ranks);
    const double hops = ranks > 1 ? (double)plan->passes * ranks - 1.0 : 0.0;
    plan->halo_bytes = whole(hops * (double)(states * (size_t)(c->conv_size - 1) * channels * sizeof(float)));
    plan->state_bytes = whole(hops * (double)states * state * sizeof(float));
    const double stages = (double)((per_rank + o.stage_tokens - 1) / o.stage_tokens);
    double sent = 0.0, kept = 0.0;
    for (int l = 0; l < c->num_hidden_layers; l++) {
        const natsl_shape shape = natsl_shape_of(c, l);
        if (shape.kind == NATSL_LAYER_GDN) continue;
        sent += exchanged_bytes(&shape.attn, &o, plan, tokens, (double)in_pass, stages);
        kept += held_chunks(&shape.attn, &o, chunks, ranks) * chunk_bytes(&shape.attn, o.kept);
    }
    plan->kept_bytes_all = (size_t)whole(kept);
    plan->kept_share = natsl_expected_share(&o, 0.0);
    size_memory(c, &o, tokens, natsl_min64(per_rank, in_pass), plan);
    plan->kept_bytes_all_sent = whole(sent);
    natsl_layout_free(&layout);
    return natsl_state_plan(c, &o, ranks, tokens, plan);
}

natsl_status natsl_plan_predict(const natsl_config *c, const natsl_options *options, const natsl_cost_machine *machine,
                                int64_t begin, int64_t tokens, double known_share, int scores, natsl_plan *plan,
                                natsl_prediction *prediction)
{
    natsl_options o;
    natsl_part_weights weights;
    natsl_status st = natsl_options_complete(c, plan->ranks, options, &o);
    if (st != NATSL_OK) return st;
    plan->kept_share = natsl_expected_share(&o, known_share);
    natsl_cost_run run = natsl_cost_run_of(c, &o, plan->ranks, begin, tokens, plan->kept_share, scores);
    if (natsl_balance_matters(&run, &o)) {
        if ((st = natsl_balance_decide(&run, &o, machine, &weights)) != NATSL_OK) return st;
        plan->balanced = run.balance;
        plan->weight_each = weights.each;
        plan->weight_per_chunk = weights.per_chunk;
    }
    if ((st = natsl_cost_predict(&run, machine, prediction, NULL)) != NATSL_OK) return st;
    size_memory(c, &o, tokens, prediction->longest, plan);
    return NATSL_OK;
}

size_t natsl_plan_baseline(MPI_Comm comm)
{
    enum { N = 64 };
    static float weights[N * N], x[N], y[N];
    float *scratch = natsl_alloc(natsl_linear_scratch(), sizeof *scratch, "a product");
    const natsl_matrix w = {.n = N, .k = N, .type = NATSL_F32, .data = weights};
    if (scratch) natsl_kernels_fast.linear(1, &w, 0, natsl_panels(N), x, N, y, N, 0, scratch);
    natsl_free(scratch);
    /* Pages of libraries count by their sharers, so all must be there. */
    int size = 1;
    NATSL_MPI(MPI_Comm_size(comm, &size));
    NATSL_MPI(MPI_Barrier(comm));
    int64_t bytes = (int64_t)natsl_resident_bytes();
    NATSL_MPI(MPI_Allreduce(MPI_IN_PLACE, &bytes, 1, MPI_INT64_T, MPI_SUM, comm));
    return (size_t)(bytes / size);
}

double natsl_plan_rank_bytes(const natsl_plan *plan, int ranks_per_node)
{
    return (double)plan->baseline_bytes + (double)plan->stage_bytes + (double)plan->residual_bytes +
           (double)plan->context_bytes + (double)plan->kept_bytes + (double)plan->other_bytes +
           (double)plan->scan_bytes +
           (double)plan->weight_bytes / (double)(plan->ranks < ranks_per_node ? plan->ranks : ranks_per_node);
}

static void cut(const natsl_grid *grid, const natsl_plan *plan, int64_t begin, int64_t end, int owner, int64_t *first)
{
    const natsl_part_weights w = {plan->weight_each, plan->weight_per_chunk};
    if (plan->balanced) natsl_part_balance(grid, begin, end, plan->ranks, owner, &w, plan->stage_tokens, first);
    else natsl_part_make(grid, begin, end, plan->ranks, owner, first);
}

void natsl_plan_ranges(const natsl_config *c, const natsl_plan *plan, int64_t tokens, int64_t pass, int64_t *first)
{
    const natsl_grid grid = natsl_grid_make(c->chunk);
    const int64_t begin = natsl_min64(pass * plan->pass_tokens, tokens);
    int owner = 0; /* a pass of one chunk goes to the rank that read before it */
    if (pass > 0) {
        cut(&grid, plan, begin - plan->pass_tokens, begin, 0, first);
        owner = (int)natsl_max64(natsl_part_prev(first, plan->ranks), 0);
    }
    cut(&grid, plan, begin, natsl_min64(begin + plan->pass_tokens, tokens), owner, first);
}
