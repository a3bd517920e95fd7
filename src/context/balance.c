/* balance.c - ranges of equal cost: what is expected before the first pass, and what the passes so far have shown.
 * Ranges must be equal on all ranks, so all of it follows from numbers that all ranks have: rank 0's decision, broadcast before
 * the first pass, then integer sums over ranks that arrive one pass after they were posted (extend.c): the ranges of pass p+1
 * are cut when pass p begins, and know of passes up to p-2. Nobody waits for it. */
#include "extend_impl.h"

#include "machine.h"

#include <math.h>

/* Least gain, of the mean, that is worth other ranges (and measuring the machine): below it lie the errors of the prediction. */
#define LEAST_GAIN 0.02

natsl_status natsl_context_machine(natsl_context *cx, natsl_cost_machine *machine)
{
    if (!cx->machine_known) {
        const natsl_status st =
            natsl_machine_find(cx->comm, cx->config, &cx->options, cx->model->layout.type, &cx->machine);
        if (st != NATSL_OK) return st;
        cx->machine_known = 1;
    }
    *machine = cx->machine;
    return NATSL_OK;
}

double natsl_expected_share(const natsl_options *o, double known)
{
    if (o->route == NATSL_ALL_SOFTMAX) return 1.0;
    if (o->route == NATSL_ALL_LINEAR) return 0.0;
    if (o->kept_share > 0.0) return o->kept_share;
    return known > 0.0 && known <= 1.0 ? known : 0.5;
}

natsl_cost_run natsl_cost_run_of(const natsl_config *config, const natsl_options *o, int ranks, int64_t begin,
                                 int64_t tokens, double kept_share, int scores)
{
    const double passes = ceil((double)tokens / (double)o->pass_tokens);
    const int64_t range = (natsl_min64(o->pass_tokens, tokens) + ranks - 1) / ranks;
    const natsl_state_costs costs = natsl_state_costs_count(config, o->threads, ranks, range, passes);
    return (natsl_cost_run){.config = config,
                            .ranks = ranks,
                            .begin = begin,
                            .tokens = tokens,
                            .pass_tokens = o->pass_tokens,
                            .stage_tokens = o->stage_tokens,
                            .kept_share = kept_share,
                            .kept = o->kept,
                            .scores = scores,
                            .scan = natsl_state_layers(config) > 0 &&
                                    (o->state_pass == NATSL_STATE_AUTO ? natsl_state_pass_choose(&costs)
                                                                       : o->state_pass == NATSL_STATE_SCAN)};
}

int natsl_balance_matters(const natsl_cost_run *run, const natsl_options *o)
{
    if (o->balance == NATSL_BALANCE_OFF || run->ranks < 2 || run->tokens < 2 * (int64_t)run->config->chunk) return 0;
    if (o->balance == NATSL_BALANCE_ON) return 1;
    /* Attention at twice its usual cost bounds what a measurement could say. */
    natsl_cost_machine guess = natsl_cost_machine_guess(50.0, o->threads);
    guess.per_s[NATSL_WORK_KEPT] /= 2.0;
    const natsl_part_weights w = natsl_cost_weights(run->config, &guess, run->kept_share, run->scores);
    return natsl_cost_skew(run, &w) > LEAST_GAIN;
}

natsl_status natsl_balance_decide(natsl_cost_run *run, const natsl_options *o, const natsl_cost_machine *machine,
                                  natsl_part_weights *weights)
{
    natsl_prediction equal, balanced;
    *weights = natsl_cost_weights(run->config, machine, run->kept_share, run->scores);
    run->balance = 1;
    if (o->balance == NATSL_BALANCE_ON) return NATSL_OK;
    natsl_status st = natsl_cost_predict(run, machine, &balanced, NULL);
    run->balance = 0;
    if (st == NATSL_OK) st = natsl_cost_predict(run, machine, &equal, NULL);
    if (st == NATSL_OK) run->balance = balanced.seconds < (1.0 - LEAST_GAIN / 2.0) * equal.seconds;
    return st;
}

natsl_status natsl_run_balance_begin(natsl_run *r)
{
    natsl_context *cx = r->cx;
    natsl_cost_machine machine;
    int64_t decision[4] = {0}; /* balanced, the weights, the status */
    natsl_status st = NATSL_OK;
    natsl_stage_seconds(&cx->stage, r->seconds_before);
    r->kept_before = (double)cx->kept_chunks;
    r->chunks_before = (double)cx->chunks;
    r->attended_before = cx->attended;
    /* What the text before this window has shown; sums of small integers are exact. */
    double seen[2] = {r->kept_before, r->chunks_before};
    if (cx->size > 1 && cx->position > 0)
        NATSL_MPI(MPI_Allreduce(MPI_IN_PLACE, seen, 2, MPI_DOUBLE, MPI_SUM, cx->comm));
    const double known = cx->position > 0 && seen[1] > 0.0 ? fmax(seen[0] / seen[1], 1e-6) : cx->model->info.kept_share;
    natsl_cost_run run = natsl_cost_run_of(cx->config, &cx->options, cx->size, r->begin, r->end - r->begin,
                                           natsl_expected_share(&cx->options, known), r->stream->logprobs != NULL);
    if (!natsl_balance_matters(&run, &cx->options)) return NATSL_OK;
    if ((st = natsl_context_machine(cx, &machine)) != NATSL_OK) return st;
    if (cx->rank == 0) {
        natsl_part_weights w;
        st = natsl_balance_decide(&run, &cx->options, &machine, &w);
        decision[0] = run.balance;
        decision[1] = w.each;
        decision[2] = w.per_chunk;
    }
    if ((st = natsl_agree(cx->comm, st)) != NATSL_OK) return st;
    NATSL_MPI(MPI_Bcast(decision, 3, MPI_INT64_T, 0, cx->comm));
    r->balanced = (int)decision[0];
    r->weights = (natsl_part_weights){decision[1], decision[2]};
    return NATSL_OK;
}

void natsl_run_balance_tell(natsl_run *r)
{
    natsl_context *cx = r->cx;
    double now[NATSL_PHASES], other = 0.0;
    natsl_stage_seconds(&cx->stage, now);
    for (int i = 0; i < NATSL_PHASES; i++) {
        const int idle = i == NATSL_PHASE_IDLE || i == NATSL_PHASE_WAIT || i == NATSL_PHASE_EXCHANGE;
        if (!idle && i != NATSL_PHASE_ATTEND) other += now[i] - r->seconds_before[i];
    }
    r->told[BALANCE_KEPT] = cx->kept_chunks;
    r->told[BALANCE_CHUNKS] = cx->chunks;
    r->told[BALANCE_ATTEND_NS] = (int64_t)(1e9 * (now[NATSL_PHASE_ATTEND] - r->seconds_before[NATSL_PHASE_ATTEND]));
    r->told[BALANCE_PAIRS] = cx->attended - r->attended_before;
    r->told[BALANCE_OTHER_NS] = (int64_t)(1e9 * other);
    r->told[BALANCE_TOKENS] = r->tokens_read;
}

void natsl_run_balance_hear(natsl_run *r)
{
    const natsl_config *c = r->cx->config;
    const int64_t *s = r->heard_sums, chunk = c->chunk;
    if (s[BALANCE_TOKENS] <= 0 || s[BALANCE_PAIRS] <= 0 || s[BALANCE_OTHER_NS] <= 0) return;
    const double share = s[BALANCE_CHUNKS] > 0 ? (double)s[BALANCE_KEPT] / (double)s[BALANCE_CHUNKS] : 0.0;
    /* Attention takes its time inside the chunk, too: by the machine's ratio of both speeds. */
    const double ratio = r->cx->machine.per_s[NATSL_WORK_KEPT] / r->cx->machine.per_s[NATSL_WORK_OWN];
    /* Operations of a token: inside its chunk; what a chunk before adds; what a window always has. */
    double own = 0.0, slope = 0.0, windows = 0.0;
    for (int l = 0; l < c->num_hidden_layers; l++) {
        const int64_t window = natsl_layer_of(r->cx, l)->shape.attn.window, far = (window / chunk + 2) * chunk;
        own += natsl_cost_layer(c, l, 0, chunk, share).of[NATSL_WORK_OWN] / (double)chunk;
        if (window == 0) slope += natsl_cost_layer(c, l, chunk, 2 * chunk, share).of[NATSL_WORK_KEPT] / (double)chunk;
        else windows += natsl_cost_layer(c, l, far, far + chunk, share).of[NATSL_WORK_KEPT] / (double)chunk;
    }
    const double tokens = (double)s[BALANCE_TOKENS], attend_s = 1e-9 * (double)s[BALANCE_ATTEND_NS];
    const double kept = 2.0 * (double)s[BALANCE_PAIRS] * (double)chunk;
    const double one_s = attend_s / (kept + tokens * own * ratio); /* an operation against kept chunks */
    const double token_s = 1e-9 * (double)s[BALANCE_OTHER_NS] / tokens + one_s * (own * ratio + windows);
    r->weights = natsl_cost_weights_of(token_s, one_s * slope);
}

void natsl_run_cut(const natsl_run *r, int64_t begin, int64_t end, int owner, int64_t *first)
{
    const natsl_context *cx = r->cx;
    if (r->balanced)
        natsl_part_balance(&cx->stage.grid, begin, end, cx->size, owner, &r->weights, cx->options.stage_tokens, first);
    else natsl_part_make(&cx->stage.grid, begin, end, cx->size, owner, first);
}
