/* bench_train.c - one training step: loss and gradient of a window of random text. See bench.h. */
#include "agree.h"
#include "bench.h"
#include "train.h"

#include <math.h>

static const char train_formula[] =
    "3 x the operations of reading the window and scoring every token (the textbook's count: each product has two "
    "gradients of the same size); what is computed a second time is not counted. The update of the weights is not part "
    "of it.";

/** One window's results, equal on all ranks. */
typedef struct step {
    int64_t tokens;
    double seconds, forward, backward, sum; /* the slowest rank's; they may be of different ranks */
    double loss, flop, kept_share;
} step;

/** Whose text: random tokens, each to be said after the one before. */
typedef struct source {
    const natsl_bench *b;
    int64_t tokens;
} source;

static natsl_status give_tokens(void *user, int64_t first, int64_t count, int32_t *ids, int32_t *targets)
{
    const source *from = user;
    const uint64_t seed = (uint64_t)from->b->app->args.seed;
    const int32_t vocab = from->b->config.vocab_size;
    for (int64_t i = first; i < first + count; i++) {
        ids[i - first] = natsl_bench_token(seed, i, vocab);
        targets[i - first] = i + 1 < from->tokens ? natsl_bench_token(seed, i + 1, vocab) : -1;
    }
    return NATSL_OK;
}

/** Operations of the window, and the share of kept chunks. */
static natsl_status count_step(natsl_bench *b, const natsl_trainer *t, step *out)
{
    const natsl_config *c = &b->config;
    const int64_t chunks = out->tokens / c->chunk;
    int32_t *kept = natsl_calloc((size_t)chunks + 1, sizeof *kept, "choices");
    const natsl_status st = natsl_app_agree(b->app, kept ? NATSL_OK : NATSL_ERR_NOMEM);
    if (st == NATSL_OK) {
        double all = 0.0, most = 0.0;
        natsl_trainer_kept(t, kept);
        natsl_bench_sum(b, kept, chunks);
        for (int64_t j = 0; j < chunks; j++) all += kept[j];
        for (int l = 0; l < c->num_hidden_layers; l++)
            most += c->kind[l] == NATSL_LAYER_GDN ? 0 : (double)chunks * c->num_nats_head;
        out->kept_share = most > 0.0 ? all / most : 0.0;
        out->flop = 3.0 * natsl_bench_count_work(c, out->tokens, out->tokens - 1, kept).sum;
    }
    natsl_free(kept);
    return st;
}

/** The best of `rounds` steps on one window, after one that does not count: it fetches memory from the system. */
static natsl_status train_on(natsl_bench *b, int64_t tokens, int64_t rounds, step *best)
{
    natsl_trainer *t = NULL;
    natsl_options options = b->job.options;
    if (options.stage_tokens == 0)
        options.stage_tokens = natsl_max64(tokens, b->config.chunk); /* one stage per range */
    source from = {.b = b, .tokens = tokens};
    const natsl_window window = {
        .tokens = tokens, .user = &from, .read = give_tokens, .scale = 1.0 / (double)(tokens - 1)};
    natsl_status st =
        tokens < 2 ? natsl_fail(NATSL_ERR_USAGE, "bench: a text of 1 token has no loss, expected two tokens or more")
                   : natsl_trainer_create(b->app->comm, b->job.model, &options, 0, tokens, &t);
    *best = (step){.tokens = tokens, .seconds = INFINITY};
    for (int64_t r = -1; r < rounds && st == NATSL_OK; r++) {
        step s = {.tokens = tokens};
        natsl_trainer_clear(t);
        NATSL_MPI(MPI_Barrier(b->app->comm));
        const double start = natsl_now_s();
        if ((st = natsl_trainer_add(t, &window)) != NATSL_OK) break;
        const natsl_train_sums *sums = natsl_trainer_sum(t);
        double all[4] = {natsl_now_s() - start};
        s.loss = sums->loss / (double)sums->targets;
        natsl_trainer_seconds(t, &all[1], &all[2], &all[3]);
        NATSL_MPI(MPI_Allreduce(MPI_IN_PLACE, all, 4, MPI_DOUBLE, MPI_MAX, b->app->comm));
        s.seconds = all[0], s.forward = all[1], s.backward = all[2], s.sum = all[3];
        if (r >= 0 && s.seconds < best->seconds) *best = s;
    }
    if (st == NATSL_OK) st = count_step(b, t, best);
    natsl_trainer_destroy(&t);
    return st;
}

static void step_json(natsl_bench *b, json_t *list, const step *s)
{
    json_t *j = list ? json_object() : NULL;
    natsl_bench_count(b, j, "tokens", s->tokens);
    natsl_bench_count(b, j, "ranks", b->app->size);
    natsl_bench_count(b, j, "threads", b->app->args.threads);
    natsl_bench_text(b, j, "route", natsl_bench_route(b));
    natsl_bench_real(b, j, "seconds", s->seconds);
    natsl_bench_real(b, j, "forward_seconds", s->forward);
    natsl_bench_real(b, j, "backward_seconds", s->backward);
    natsl_bench_real(b, j, "sum_seconds", s->sum);
    natsl_bench_real(b, j, "tokens_per_s", (double)s->tokens / s->seconds);
    natsl_bench_real(b, j, "gflop", 1e-9 * s->flop);
    natsl_bench_real(b, j, "gflops", 1e-9 * s->flop / s->seconds);
    natsl_bench_real(b, j, "share_of_peak", 1e-9 * s->flop / s->seconds / b->machine.peak_gflops);
    natsl_bench_real(b, j, "kept_share", s->kept_share);
    natsl_bench_real(b, j, "loss", s->loss);
    if (list && json_array_append_new(list, j) != 0) b->json_failed = 1;
}

natsl_status natsl_bench_train(natsl_bench *b)
{
    json_t *list = b->json ? json_array() : NULL;
    natsl_status st = NATSL_OK;
    natsl_bench_say(b, "\ntrain, one step without the update of the weights; share of %.1f GFLOP/s\n",
                    b->machine.peak_gflops);
    natsl_bench_say(b, "  %10s %8s %10s %10s %10s %10s %10s %11s %9s %7s %7s\n", "tokens", "route", "seconds",
                    "forward", "backward", "sum", "tokens/s", "GFLOP", "GFLOP/s", "share", "kept");
    for (int i = 0; i < b->n_lengths && st == NATSL_OK; i++) {
        step s;
        st = train_on(b, b->lengths[i], b->app->args.repeat ? b->app->args.repeat : 1, &s);
        if (st != NATSL_OK) break;
        const double gflops = 1e-9 * s.flop / s.seconds;
        natsl_bench_say(b, "  %10lld %8s %10.4f %10.4f %10.4f %10.4f %10.0f %11.1f %9.1f %5.1f %% %5.1f %%\n",
                        (long long)s.tokens, natsl_bench_route(b), s.seconds, s.forward, s.backward, s.sum,
                        (double)s.tokens / s.seconds, 1e-9 * s.flop, gflops, 100.0 * gflops / b->machine.peak_gflops,
                        100.0 * s.kept_share);
        step_json(b, list, &s);
        natsl_summary_real(b->app, "train_tokens_per_s", (double)s.tokens / s.seconds); /* of the last length */
        st = natsl_bench_show(b);
    }
    natsl_bench_say_wrapped(b, "counted:", train_formula);
    natsl_bench_put(b, b->json, "train", list);
    natsl_bench_text(b, b->json, "train_formula", train_formula);
    return st;
}
