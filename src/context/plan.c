/* plan.c - what reading a document would take, by arithmetic alone. */
#include "context_impl.h"

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
    const natsl_tail_layout tail = natsl_tail_make(c);
    const size_t layers = (size_t)c->num_hidden_layers, d = (size_t)c->hidden_size;
    const size_t channels = 2 * (size_t)c->key_dim + (size_t)c->value_dim;
    size_t keeping = 0;
    for (size_t l = 0; l < layers; l++) keeping += !c->is_gdn[l];
    const int64_t in_pass = natsl_min64(o.pass_tokens, tokens);
    const int64_t units = (in_pass + grid.unit - 1) / grid.unit, per_rank = (units + ranks - 1) / ranks * grid.unit;
    *plan = (natsl_plan){
        .ranks = ranks, .threads = o.threads, .pass_tokens = o.pass_tokens, .stage_tokens = o.stage_tokens};
    plan->passes = (tokens + o.pass_tokens - 1) / o.pass_tokens;
    plan->weight_bytes = layout.store_bytes;
    plan->stage_bytes = natsl_stage_bytes(c, o.stage_tokens, o.threads);
    plan->residual_bytes = (size_t)natsl_min64(per_rank, in_pass) * (d + 1) * sizeof(float);
    plan->context_bytes = layers * tail.floats * sizeof(float);
    const size_t unit_bytes = natsl_unit_floats(c, o.kept) * sizeof(float) * (size_t)c->num_nats_head;
    const int64_t chunks = tokens / grid.chunk;
    plan->kept_bytes_all = keeping * (size_t)((chunks + ranks - 1) / ranks) * unit_bytes;
    const int64_t hops = natsl_max64(plan->passes * ranks - 1, 0);
    plan->halo_bytes = ranks > 1 ? hops * (int64_t)(layers * (size_t)(c->conv_size - 1) * channels * sizeof(float)) : 0;
    plan->state_bytes = ranks > 1 ? hops * (int64_t)(layers * (tail.current - tail.state) * sizeof(float)) : 0;
    /* Each pass every rank reads what the others kept before it, and what the ranks before it keep in it: once per stage. */
    const double stages = (double)((per_rank + o.stage_tokens - 1) / o.stage_tokens), passes = (double)plan->passes;
    const double before = passes * (passes - 1.0) / 2.0 * (double)in_pass * (ranks - 1),
                 now = (double)tokens * (ranks - 1) / 2.0;
    const double sent = stages * (before + now) / (double)grid.chunk * (double)(unit_bytes * keeping);
    plan->kept_bytes_all_sent = sent < 9e18 ? (int64_t)sent : INT64_MAX;
    natsl_layout_free(&layout);
    return natsl_state_plan(c, &o, ranks, tokens, plan);
}

void natsl_plan_ranges(const natsl_config *c, const natsl_plan *plan, int64_t tokens, int64_t pass, int64_t *first)
{
    const natsl_grid grid = natsl_grid_make(c->chunk);
    const int64_t begin = natsl_min64(pass * plan->pass_tokens, tokens);
    int owner = 0; /* a pass of one chunk goes to the rank that read before it */
    if (pass > 0) {
        natsl_part_make(&grid, begin - plan->pass_tokens, begin, plan->ranks, 0, first);
        owner = (int)natsl_max64(natsl_part_prev(first, plan->ranks), 0);
    }
    natsl_part_make(&grid, begin, natsl_min64(begin + plan->pass_tokens, tokens), plan->ranks, owner, first);
}
