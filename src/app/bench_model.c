/* bench_model.c - whole models: reading a text at once, and one token after the other. See bench.h. */
#include "agree.h"
#include "bench.h"
#include "context_impl.h"

#include <limits.h>
#include <math.h>
#include <string.h>

/* ---- tokens ----------------------------------------------------------------------------------------------------------- */

int32_t natsl_bench_token(uint64_t seed, int64_t i, int32_t vocab)
{
    uint64_t z = (seed + (uint64_t)i + 1) * 0x9e3779b97f4a7c15u; /* splitmix64 (Steele, Lea, Flood 2014) */
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return (int32_t)((z ^ (z >> 31)) % (uint64_t)vocab);
}

natsl_status natsl_bench_open_model(natsl_bench *b)
{
    natsl_app *app = b->app;
    const double start = natsl_now_s();
    const natsl_status st =
        app->args.model ? natsl_model_open(app->comm, app->args.model, (natsl_storage)app->args.weights, &b->job.model)
                        : natsl_model_random(app->comm, &b->config, (uint64_t)app->args.seed,
                                             (natsl_storage)app->args.weights, &b->job.model);
    if (st != NATSL_OK) return st;
    char size[32];
    natsl_bench_say(b, "\nmodel\n  %-12s %lld parameters, %s, %s in %.1f s\n", app->args.model ? "from file" : "random",
                    (long long)natsl_model_parameters(b->job.model),
                    natsl_format_bytes((double)natsl_model_bytes(b->job.model), size),
                    app->args.model ? "read" : "made", natsl_now_s() - start);
    return natsl_bench_show(b);
}

/* ---- reading a text --------------------------------------------------------------------------------------------------- */

/** What a run sees while it reads, for counting its work afterwards. */
typedef struct watch {
    natsl_bench *b;
    int32_t *kept;  /* [chunks] (layer, gate head) pairs that keep the chunk; of this rank's chunks, then of all */
    int32_t *owner; /* [chunks] 1 + the rank that read the chunk; the same */
    int64_t chunks;
    int reads;  /* this rank has tokens */
    double sum; /* of log-probabilities: they are used */
    natsl_progress progress;
} watch;

static natsl_status give_tokens(void *user, int64_t first, int64_t count, int32_t *ids)
{
    watch *w = user;
    for (int64_t i = 0; i < count; i++)
        ids[i] = natsl_bench_token((uint64_t)w->b->app->args.seed, first + i, w->b->config.vocab_size);
    w->reads = 1;
    return NATSL_OK;
}

static natsl_status take_logprobs(void *user, int64_t first, int64_t count, const float *values)
{
    watch *w = user;
    (void)first;
    for (int64_t i = 0; i < count; i++) w->sum += (double)values[i];
    return NATSL_OK;
}

static natsl_status take_choices(void *user, int layer, int64_t first_chunk, int64_t count, const uint8_t *keep)
{
    watch *w = user;
    const int heads = w->b->config.num_nats_head;
    (void)layer;
    for (int64_t j = 0; j < count && first_chunk + j < w->chunks; j++) {
        w->owner[first_chunk + j] = w->b->app->rank + 1;
        for (int h = 0; h < heads; h++) w->kept[first_chunk + j] += keep[j * heads + h];
    }
    return NATSL_OK;
}

static void take_progress(void *user, int64_t done, int64_t total)
{
    watch *w = user;
    natsl_progress_update(&w->progress, done, total);
}

const char natsl_bench_work_formula[] =
    "2 x multiply-adds. Projections: every weight matrix of a layer once per token (q k v a b, gate, output, "
    "feed-forward, "
    "mix). Delta rule, per value head and token: 4 dk dv (K S, Q S), 2 dk dv (K^T D) where the chunk goes into the "
    "state; "
    "per block of m <= 64 tokens: 2 m^2 dk per key head (K K^T, Q K^T as halves), m^3/3 + 2 m^2 dv per value head. "
    "Attention, per attention head: 2 (dk + dv) per visible pair of query and key: half of the own chunk, and for each "
    "kept "
    "chunk (of layers of softmax attention: every one) all tokens after it that see it. Gate: pooled scores per chunk. "
    "Head: 2 D V per scored token. Norms, convolution and "
    "other "
    "element-wise steps are not counted, nothing is counted twice.";

/** Tokens in delta-rule blocks: sums over blocks of m^2 and m^3. */
static void block_sums(int64_t tokens, int64_t chunk, double *squares, double *cubes)
{
    const int64_t lengths[2] = {chunk, tokens % chunk};
    const double times[2] = {(double)(tokens / chunk), 1.0};
    *squares = *cubes = 0.0;
    for (int i = 0; i < 2; i++) {
        const double full = (double)(lengths[i] / NATSL_DELTA_BLOCK), rest = (double)(lengths[i] % NATSL_DELTA_BLOCK);
        const double m = NATSL_DELTA_BLOCK;
        *squares += times[i] * (full * m * m + rest * rest);
        *cubes += times[i] * (full * m * m * m + rest * rest * rest);
    }
}

natsl_bench_flops natsl_bench_count_work(const natsl_config *c, int64_t tokens, int64_t scored, const int32_t *kept)
{
    const double n = (double)tokens, d = c->hidden_size, kd = c->key_dim, vd = c->value_dim,
                 wide = c->intermediate_size;
    const double dk = c->head_dim, dv = c->head_v_dim, hv = c->num_v_heads, hk = c->num_heads, hn = c->num_nats_head;
    const double ha = c->num_attn_heads, both = (double)c->attn_k_dim + (double)c->attn_v_dim;
    const int64_t chunk = c->chunk, chunks = tokens / chunk, rest = tokens % chunk;
    const double last_block = (double)((chunk - 1) % NATSL_DELTA_BLOCK + 1);
    double squares, cubes, nats = 0.0, units = 0.0, pairs = 0.0;
    const double layers = natsl_state_layers(c);
    for (int l = 0; l < c->num_hidden_layers; l++) nats += c->kind[l] == NATSL_LAYER_NATS;
    block_sums(tokens, chunk, &squares, &cubes);
    for (int64_t j = 0; j < chunks; j++) { /* per gate head */
        units += kept[j];
        pairs += (double)kept[j] * (double)chunk * (double)(tokens - (j + 1) * chunk);
    }
    const double own =
        (double)chunks * (double)chunk * (double)(chunk + 1) / 2.0 + (double)rest * (double)(rest + 1) / 2.0;
    natsl_bench_flops w = {0};
    w.projections = layers * 2.0 * n * (d * (2.0 * kd + vd + 2.0 * hv) + vd * d + 3.0 * d * wide);
    if (c->use_gate) w.projections += layers * 2.0 * n * d * vd + nats * 2.0 * n * kd * 2.0 * ha;
    w.delta = layers * (hv * 6.0 * n * dk * dv + hk * 2.0 * squares * dk + hv * (cubes / 3.0 + 2.0 * squares * dv));
    /* the last block of a kept chunk leaves no state behind */
    w.delta -= units * (hv / hn) * last_block * 2.0 * dk * dv;
    w.attention = 2.0 * both * (nats * ha * own + ha / hn * pairs);
    w.gate = nats * (double)chunks * 2.0 * d * 2.0 * hn;
    for (int l = 0; l < c->num_hidden_layers; l++) {
        if (c->kind[l] != NATSL_LAYER_ATTN) continue;
        const natsl_work one = natsl_cost_layer(c, l, 0, tokens, 1.0);
        w.projections += one.of[NATSL_WORK_PROJECT] + one.of[NATSL_WORK_FEED_FORWARD];
        w.attention += one.of[NATSL_WORK_OWN] + one.of[NATSL_WORK_KEPT];
    }
    w.head = 2.0 * d * (double)c->vocab_size * (double)scored;
    w.sum = w.projections + w.delta + w.attention + w.gate + w.head;
    return w;
}

/** Numbers of one layer's state. */
static double state_floats(const natsl_config *c)
{
    return (double)c->num_v_heads * (double)c->head_dim * (double)c->head_v_dim;
}

/** One run's results, equal on all ranks. */
typedef struct prefill {
    int64_t tokens;
    double seconds, phases[16], other;
    natsl_bench_flops work;
    natsl_stats stats;
    double least_halo, least_state, least_kept; /* bytes that have to travel */
    double seen;                                /* kept keys and values that ranks read of others, in place or not */
    int fresh_peak;                             /* peak memory is of this run, not of the process so far */
} prefill;

/** Bytes of the units of an attention layer that this rank's tokens see of other ranks': [0] those that come by messages, [1] all. */
static void count_seen(const natsl_context *cx, int layer, double bytes[2])
{
    const natsl_attn_shape *a = &natsl_layer_of(cx, layer)->shape.attn;
    const natsl_kept *kept = &cx->kept[layer];
    const double unit = (double)natsl_unit_floats(a, cx->options.kept) * sizeof(float) * (double)a->groups;
    int64_t chunks = 0, next = INT64_MAX; /* this rank's first chunk behind the one in hand */
    for (size_t i = 0; i < kept->n_segments; i++) chunks += kept->segments[i].count[0];
    for (size_t i = kept->n_segments; i > 0; i--) { /* every chunk is kept, so units are chunks in their order */
        const natsl_segment *s = &kept->segments[i - 1];
        for (int64_t n = s->count[0]; n > 0; n--) {
            const int64_t j = --chunks;
            if (s->rank == cx->rank) next = j;
            else if (next < INT64_MAX && natsl_attn_first_chunk(a, next * (int64_t)a->chunk) <= j) {
                bytes[1] += unit;
                if (!natsl_arena_reads(&cx->arena, s->rank)) bytes[0] += unit;
            }
        }
    }
}

/** What must travel: (readers - 1) halos and states per layer; to every rank the kept units of ranks before it, except of those
 * whose memory it reads in place. */
static void count_least(watch *w, const natsl_context *cx, prefill *p)
{
    const natsl_config *c = &w->b->config;
    const natsl_attn_shape nats = natsl_attn_shape_nats(c);
    const double unit = (double)natsl_unit_floats(&nats, w->b->job.options.kept) * sizeof(float),
                 layers = natsl_state_layers(c);
    int64_t last = -1;
    double kept[2] = {0.0, 0.0}; /* by messages, all */
    int readers = w->reads;
    NATSL_MPI(MPI_Allreduce(MPI_IN_PLACE, &readers, 1, MPI_INT, MPI_SUM, w->b->app->comm));
    for (int64_t j = 0; j < w->chunks; j++) {
        if (w->owner[j] == w->b->app->rank + 1) last = j;
    }
    for (int64_t j = 0; j < last; j++) {
        const int owner = w->owner[j] - 1;
        if (owner < 0 || owner == w->b->app->rank) continue;
        kept[1] += w->kept[j] * unit;
        if (!natsl_arena_reads(&cx->arena, owner)) kept[0] += w->kept[j] * unit;
    }
    for (int l = 0; l < c->num_hidden_layers; l++) {
        if (c->kind[l] == NATSL_LAYER_ATTN) count_seen(cx, l, kept);
    }
    NATSL_MPI(MPI_Allreduce(MPI_IN_PLACE, kept, 2, MPI_DOUBLE, MPI_SUM, w->b->app->comm));
    const double hops = readers > 0 ? (double)(readers - 1) : 0.0;
    p->least_halo = hops * layers * (c->conv_size - 1.0) * (2.0 * c->key_dim + c->value_dim) * sizeof(float);
    p->least_state = hops * layers * state_floats(c) * sizeof(float);
    p->least_kept = kept[0];
    p->seen = kept[1];
}

void natsl_bench_sum(natsl_bench *b, int32_t *values, int64_t count)
{
    for (int64_t i = 0; i < count; i += INT_MAX / 2)
        NATSL_MPI(MPI_Allreduce(MPI_IN_PLACE, values + i, (int)natsl_min64(count - i, INT_MAX / 2), MPI_INT32_T,
                                MPI_SUM, b->app->comm));
}

/** Forgets this process's peak memory, so that a run's own shows. False where Linux does not let it. */
static int forget_peak(void)
{
    FILE *file = fopen("/proc/self/clear_refs", "w");
    if (!file) return 0;
    const int written = fputs("5", file) >= 0;
    return fclose(file) == 0 && written;
}

static natsl_status read_once(natsl_bench *b, int64_t tokens, prefill *p)
{
    natsl_app *app = b->app;
    const int scores = !app->args.no_logits;
    natsl_context *cx = NULL;
    watch w = {.b = b, .chunks = tokens / b->config.chunk};
    *p = (prefill){.tokens = tokens, .fresh_peak = forget_peak()};
    NATSL_MPI(MPI_Allreduce(MPI_IN_PLACE, &p->fresh_peak, 1, MPI_INT, MPI_MIN, app->comm));
    w.kept = natsl_calloc((size_t)w.chunks, sizeof *w.kept, "choices");
    w.owner = natsl_calloc((size_t)w.chunks, sizeof *w.owner, "choices");
    natsl_status st = natsl_app_agree(app, w.kept && w.owner ? NATSL_OK : NATSL_ERR_NOMEM);
    if (st == NATSL_OK) st = natsl_context_create(app->comm, b->job.model, &b->job.options, &cx);
    if (st == NATSL_OK) {
        const natsl_stream stream = {.user = &w,
                                     .tokens = give_tokens,
                                     .logprobs = scores ? take_logprobs : NULL,
                                     .choices = take_choices,
                                     .progress = take_progress};
        natsl_progress_start(&w.progress, app, "prefill");
        NATSL_MPI(MPI_Barrier(app->comm));
        const double start = natsl_now_s();
        st = natsl_context_extend(cx, tokens, &stream);
        p->seconds = natsl_now_s() - start;
        natsl_progress_finish(&w.progress);
        NATSL_MPI(MPI_Allreduce(MPI_IN_PLACE, &p->seconds, 1, MPI_DOUBLE, MPI_MAX, app->comm));
    }
    if (st == NATSL_OK && (st = natsl_context_stats(cx, &p->stats)) == NATSL_OK) {
        p->other = p->seconds;
        for (int i = 0; natsl_stats_phase_name(i); i++) p->other -= p->phases[i] = p->stats.phase_mean_s[i];
        natsl_bench_sum(b, w.kept, w.chunks);
        natsl_bench_sum(b, w.owner, w.chunks);
        p->work = natsl_bench_count_work(&b->config, tokens, scores ? tokens - 1 : 0, w.kept);
        count_least(&w, cx, p);
    }
    natsl_context_destroy(&cx);
    natsl_free(w.kept);
    natsl_free(w.owner);
    return st;
}

const char *natsl_bench_route(const natsl_bench *b)
{
    static const char *const names[] = {"learned", "softmax", "linear"};
    return names[b->job.options.route];
}

static double kept_share(const natsl_stats *s)
{
    return s->chunks > 0 ? (double)s->kept_chunks / (double)s->chunks : 0.0;
}

static void bytes_json(natsl_bench *b, json_t *all, const char *kind, double sent, double least, double seen)
{
    json_t *j = all ? json_object() : NULL;
    natsl_bench_real(b, j, "sent", sent);
    natsl_bench_real(b, j, "minimum", least);
    if (isfinite(seen)) natsl_bench_real(b, j, "seen", seen);
    natsl_bench_put(b, all, kind, j);
}

/** What --state-pass has come to for a text of this length; "mixed": some passes scan. Not collective. */
static const char *state_pass_name(const natsl_bench *b, int64_t tokens)
{
    natsl_plan plan;
    if (natsl_plan_make(&b->config, (natsl_storage)b->app->args.weights, b->app->size, &b->job.options, tokens,
                        &plan) != NATSL_OK)
        return NULL; /* out of memory: null in the JSON */
    return plan.scan_passes == 0 ? "relay" : plan.scan_passes == plan.passes ? "scan" : "mixed";
}

static void prefill_json(natsl_bench *b, json_t *list, const prefill *p)
{
    const double gflop = 1e-9 * p->work.sum;
    json_t *j = list ? json_object() : NULL, *phases = list ? json_object() : NULL,
           *bytes = list ? json_object() : NULL, *parts = list ? json_object() : NULL;
    natsl_bench_count(b, j, "tokens", p->tokens);
    natsl_bench_count(b, j, "ranks", b->app->size);
    natsl_bench_count(b, j, "threads", b->app->args.threads);
    natsl_bench_text(b, j, "route", natsl_bench_route(b));
    natsl_bench_text(b, j, "state_pass", state_pass_name(b, p->tokens));
    natsl_bench_put(b, j, "logits", list ? json_boolean(!b->app->args.no_logits) : NULL);
    natsl_bench_real(b, j, "seconds", p->seconds);
    natsl_bench_real(b, j, "tokens_per_s", (double)p->tokens / p->seconds);
    natsl_bench_real(b, j, "gflop", gflop);
    natsl_bench_real(b, parts, "projections", 1e-9 * p->work.projections);
    natsl_bench_real(b, parts, "delta_rule", 1e-9 * p->work.delta);
    natsl_bench_real(b, parts, "attention", 1e-9 * p->work.attention);
    natsl_bench_real(b, parts, "gate", 1e-9 * p->work.gate);
    natsl_bench_real(b, parts, "head", 1e-9 * p->work.head);
    natsl_bench_put(b, j, "gflop_parts", parts);
    natsl_bench_real(b, j, "gflops", gflop / p->seconds);
    natsl_bench_real(b, j, "share_of_peak", gflop / p->seconds / b->machine.peak_gflops);
    for (int i = 0; natsl_stats_phase_name(i); i++)
        natsl_bench_real(b, phases, natsl_stats_phase_name(i), p->phases[i]);
    natsl_bench_real(b, phases, "other", p->other);
    natsl_bench_put(b, j, "phases", phases);
    bytes_json(b, bytes, "halo", (double)p->stats.halo_bytes, p->least_halo, NAN);
    bytes_json(b, bytes, "state", (double)p->stats.state_bytes, p->least_state, NAN);
    bytes_json(b, bytes, "kept", (double)p->stats.kept_bytes, p->least_kept, p->seen);
    bytes_json(b, bytes, "directory", (double)p->stats.directory_bytes, 0.0, NAN);
    natsl_bench_put(b, j, "bytes", bytes);
    natsl_bench_real(b, j, "kept_share", kept_share(&p->stats));
    natsl_bench_count(b, j, "peak_bytes", (int64_t)p->stats.peak_bytes);
    natsl_bench_text(b, j, "peak_of", p->fresh_peak ? "run" : "process");
    if (list && json_array_append_new(list, j) != 0) b->json_failed = 1;
}

static void say_bytes(natsl_bench *b, const char *kind, double sent, double least)
{
    char s[32], l[32];
    natsl_bench_say(b, "    %-12s sent %10s, at least %10s", kind, natsl_format_bytes(sent, s),
                    natsl_format_bytes(least, l));
}

static void say_prefill(natsl_bench *b, const prefill *p)
{
    char memory[32], seen[32];
    const double gflops = 1e-9 * p->work.sum / p->seconds;
    natsl_bench_say(b, "  %10lld %8s %10.3f %10.0f %11.1f %9.1f %5.1f %% %5.1f %% %10s\n", (long long)p->tokens,
                    natsl_bench_route(b), p->seconds, (double)p->tokens / p->seconds, 1e-9 * p->work.sum, gflops,
                    100.0 * gflops / b->machine.peak_gflops, 100.0 * kept_share(&p->stats),
                    natsl_format_bytes((double)p->stats.peak_bytes, memory));
    natsl_bench_say(b, "    seconds     ");
    for (int i = 0; natsl_stats_phase_name(i); i++)
        natsl_bench_say(b, " %s %.3f", natsl_stats_phase_name(i), p->phases[i]);
    natsl_bench_say(b, " other %.3f (mean of ranks)\n", p->other);
    if (b->app->size == 1) return;
    say_bytes(b, "halo", (double)p->stats.halo_bytes, p->least_halo);
    natsl_bench_say(b, "\n");
    say_bytes(b, "states", (double)p->stats.state_bytes, p->least_state);
    natsl_bench_say(b, "\n");
    say_bytes(b, "kept k, v", (double)p->stats.kept_bytes, p->least_kept);
    natsl_bench_say(b, "; %s of other ranks are read\n", natsl_format_bytes(p->seen, seen));
    say_bytes(b, "directory", (double)p->stats.directory_bytes, 0.0);
    natsl_bench_say(b, "\n");
}

void natsl_bench_say_wrapped(natsl_bench *b, const char *title, const char *text)
{
    size_t column = 2 + strlen(title);
    natsl_bench_say(b, "  %s", title);
    for (const char *p = text; *p;) {
        const size_t word = strcspn(p, " ");
        if (column + 1 + word > 110) {
            natsl_bench_say(b, "\n ");
            column = 1;
        }
        natsl_bench_say(b, " %.*s", (int)word, p);
        column += 1 + word;
        p += word + (p[word] != 0);
    }
    natsl_bench_say(b, "\n");
}

natsl_status natsl_bench_prefill(natsl_bench *b)
{
    json_t *list = b->json ? json_array() : NULL;
    natsl_status st = NATSL_OK;
    natsl_bench_say(b, "\nprefill, %s; share of %.1f GFLOP/s\n",
                    b->app->args.no_logits ? "no token scored" : "every token scored", b->machine.peak_gflops);
    natsl_bench_say(b, "  %10s %8s %10s %10s %11s %9s %7s %7s %10s\n", "tokens", "route", "seconds", "tokens/s",
                    "GFLOP", "GFLOP/s", "share", "kept", "memory");
    for (int i = 0; i < b->n_lengths && st == NATSL_OK; i++) {
        prefill best = {0};
        for (int64_t r = 0; r < (b->app->args.repeat ? b->app->args.repeat : 1) && st == NATSL_OK; r++) {
            prefill p;
            st = read_once(b, b->lengths[i], &p);
            if (r == 0 || p.seconds < best.seconds) best = p;
        }
        if (st != NATSL_OK) break;
        say_prefill(b, &best);
        prefill_json(b, list, &best);
        natsl_summary_real(b->app, "tokens_per_s", (double)best.tokens / best.seconds); /* of the last length */
        st = natsl_bench_show(b);
    }
    natsl_bench_say_wrapped(b, "counted:", natsl_bench_work_formula);
    natsl_bench_put(b, b->json, "prefill", list);
    natsl_bench_text(b, b->json, "prefill_formula", natsl_bench_work_formula);
    return st;
}

/* ---- one token after the other ---------------------------------------------------------------------------------------- */

/** Bytes that a token must read: [0] weights, [1] states, [2] kept keys and values, and those of the open chunk. */
static void count_read(const natsl_bench *b, const natsl_stats *stats, int64_t first, int64_t count, double bytes[3])
{
    const natsl_config *c = &b->config;
    const natsl_attn_shape a = natsl_attn_shape_nats(c);
    double nats = 0.0, open = 0.0;
    for (int l = 0; l < c->num_hidden_layers; l++) nats += c->kind[l] == NATSL_LAYER_NATS;
    for (int64_t i = first; i < first + count; i++) open += (double)(i % c->chunk + 1) / (double)count;
    bytes[0] =
        natsl_bench_weights_read(c, (natsl_storage)b->app->args.weights, (double)natsl_model_bytes(b->job.model));
    bytes[1] = (double)natsl_state_layers(c) * state_floats(c) * sizeof(float);
    bytes[2] = (double)stats->kept_chunks * (double)natsl_unit_floats(&a, b->job.options.kept) * sizeof(float) +
               nats * open * ((double)c->key_dim + (double)c->value_dim) * sizeof(float);
    for (int l = 0; l < c->num_hidden_layers; l++) {
        const natsl_shape s = natsl_shape_of(c, l);
        if (s.kind != NATSL_LAYER_ATTN) continue;
        const int64_t chunks = first / c->chunk - natsl_attn_first_chunk(&s.attn, first);
        bytes[2] += (double)chunks * (double)s.attn.groups * (double)natsl_unit_floats(&s.attn, b->job.options.kept) *
                        sizeof(float) +
                    open * (double)(s.attn.kd + s.attn.vd) * sizeof(float);
    }
}

natsl_status natsl_bench_decode(natsl_bench *b)
{
    natsl_app *app = b->app;
    const int64_t before = app->args.context_tokens ? app->args.context_tokens : 1024;
    const int64_t count = app->args.decode_tokens ? app->args.decode_tokens : 32, warm = 2;
    natsl_context *cx = NULL;
    natsl_stats stats;
    watch w = {.b = b};
    const natsl_stream stream = {.user = &w, .tokens = give_tokens};
    double seconds = 0.0, bytes[3];
    float *logits = natsl_alloc((size_t)b->config.vocab_size, sizeof *logits, "scores");
    natsl_status st = natsl_app_agree(app, logits ? NATSL_OK : NATSL_ERR_NOMEM);
    if (st == NATSL_OK) st = natsl_context_create(app->comm, b->job.model, &b->job.options, &cx);
    if (st == NATSL_OK) st = natsl_context_extend(cx, before, &stream);
    for (int64_t i = -warm; i < count && st == NATSL_OK; i++) {
        if (i == 0) {
            NATSL_MPI(MPI_Barrier(app->comm));
            seconds = natsl_now_s();
        }
        st = natsl_context_next(cx,
                                natsl_bench_token((uint64_t)app->args.seed, before + warm + i, b->config.vocab_size));
        if (st == NATSL_OK) st = natsl_context_logits(cx, logits);
    }
    seconds = natsl_now_s() - seconds;
    if (st == NATSL_OK && (st = natsl_context_stats(cx, &stats)) == NATSL_OK) {
        NATSL_MPI(MPI_Allreduce(MPI_IN_PLACE, &seconds, 1, MPI_DOUBLE, MPI_MAX, app->comm));
        const double rate = (double)count / seconds;
        char a[32], s[32], k[32], sum[32];
        count_read(b, &stats, before + warm, count, bytes);
        const double each = bytes[0] + bytes[1] + bytes[2], share = 1e-9 * each * rate / b->machine.read_gbytes_per_s;
        natsl_bench_say(b, "\ndecode, %lld tokens one by one after %lld\n  speed        %.2f tokens/s, %.2f ms each\n",
                        (long long)count, (long long)(before + warm), rate, 1e3 / rate);
        natsl_bench_say(b, "  to read      %s per token: weights %s, states %s, kept keys and values %s\n",
                        natsl_format_bytes(each, sum), natsl_format_bytes(bytes[0], a), natsl_format_bytes(bytes[1], s),
                        natsl_format_bytes(bytes[2], k));
        natsl_bench_say(b, "  bandwidth    %.2f GB/s, %.1f %% of reading's %.2f\n", 1e-9 * each * rate, 100.0 * share,
                        b->machine.read_gbytes_per_s);
        json_t *j = b->json ? json_object() : NULL;
        natsl_bench_count(b, j, "ranks", app->size);
        natsl_bench_count(b, j, "threads", app->args.threads);
        natsl_bench_text(b, j, "route", natsl_bench_route(b));
        natsl_bench_count(b, j, "context_tokens", before + warm);
        natsl_bench_count(b, j, "tokens", count);
        natsl_bench_real(b, j, "seconds", seconds);
        natsl_bench_real(b, j, "tokens_per_s", rate);
        natsl_bench_real(b, j, "bytes_per_token", each);
        natsl_bench_real(b, j, "weight_bytes", bytes[0]);
        natsl_bench_real(b, j, "state_bytes", bytes[1]);
        natsl_bench_real(b, j, "kept_bytes", bytes[2]);
        natsl_bench_real(b, j, "share_of_bandwidth", share);
        natsl_bench_put(b, b->json, "decode", j);
        natsl_summary_real(app, "decode_tokens_per_s", rate);
    }
    natsl_context_destroy(&cx);
    natsl_free(logits);
    return st;
}
