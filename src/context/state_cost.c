/* state_cost.c - relay or scan. See state_cost.h. */
#include "state_cost.h"

#include "kernels.h"
#include "stage.h"

static double steps_of(int ranks)
{
    double steps = 0.0;
    for (int64_t d = 1; d < ranks; d *= 2) steps += 1.0;
    return steps;
}

double natsl_state_relay_s(const natsl_state_costs *c)
{
    return (double)(c->ranks - 1) * ((c->state_s + c->state_bytes / c->bytes_per_s) / c->groups + c->latency_s);
}

double natsl_state_scan_s(const natsl_state_costs *c)
{
    const double message_s = c->latency_s + c->pair_bytes / c->bytes_per_s;
    return c->passes * c->layers * (c->summary_s + steps_of(c->ranks) * (message_s + c->compose_s));
}

int natsl_state_pass_choose(const natsl_state_costs *c)
{
    return c->ranks >= NATSL_SCAN_LEAST_RANKS && natsl_state_scan_s(c) < natsl_state_relay_s(c);
}

int natsl_state_group(const natsl_config *c, int threads)
{
    const int columns = (c->head_v_dim + NATSL_STATE_COLUMNS - 1) / NATSL_STATE_COLUMNS;
    const int group = (threads + columns - 1) / columns;
    return group < c->num_v_heads ? group : c->num_v_heads;
}

natsl_state_costs natsl_state_costs_count(const natsl_config *c, int threads, int ranks, int64_t tokens, double passes)
{
    const double heads = c->num_v_heads, dk = c->head_dim, dv = c->head_v_dim, block = NATSL_DELTA_BLOCK;
    /* No more threads work than there are items (layer.c, span.c). */
    const int64_t columns = (c->head_v_dim + NATSL_STATE_COLUMNS - 1) / NATSL_STATE_COLUMNS;
    const int64_t more = (c->head_dim + NATSL_STATE_COLUMNS - 1) / NATSL_STATE_COLUMNS;
    const double rate = NATSL_STATE_FLOPS_PER_S * (double)natsl_min64(threads, c->num_v_heads * columns);
    const double all_rate = NATSL_STATE_FLOPS_PER_S * (double)natsl_min64(threads, c->num_v_heads * (columns + more));
    const int group = natsl_state_group(c, threads);
    /* Per token and column: K S and K^T D 2 dk each, t (..) 2 block; for outputs Q S 2 dk and a D 2 block more. */
    const double through = 4.0 * dk + 2.0 * block, outputs = 2.0 * dk + 2.0 * block;
    natsl_state_costs costs = {.ranks = ranks,
                               .layers = natsl_state_layers(c),
                               .groups = (c->num_v_heads + group - 1) / group,
                               .passes = passes,
                               .latency_s = NATSL_STATE_LATENCY_S,
                               .bytes_per_s = NATSL_STATE_BYTES_PER_S};
    costs.state_s = heads * dv * (double)tokens * (through + outputs) / rate;
    costs.summary_s = heads * (dk + dv) * (double)tokens * through / all_rate;
    costs.compose_s = heads * 2.0 * dk * dk * (2.0 * (dk + dv)) / all_rate; /* of what is before and of what goes on */
    costs.state_bytes = heads * dk * dv * sizeof(float);
    costs.pair_bytes = heads * dk * (dk + dv) * sizeof(float);
    return costs;
}

int natsl_state_scan_possible(const natsl_grid *grid, int64_t stage_tokens, const int64_t *first, int size)
{
    int readers = 0;
    for (int r = 0; r < size; r++) {
        if (first[r] == first[r + 1]) continue;
        readers++;
        if (natsl_stage_end(grid, stage_tokens, first[r], first[r + 1]) < first[r + 1]) return 0;
    }
    return readers >= 3;
}
