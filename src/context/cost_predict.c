/* cost_predict.c - a run on many ranks, event by event. See cost.h.
 * Mirrors extend.c, state.c and exchange.c: what waits for what, in which order. Layers are the outer loop and ranks the inner one,
 * so that all a rank waits for (ranks before it in this layer, itself in the layer before) is known when it is needed. */
#include "cost.h"

#include <math.h>
#include <string.h>

/** Seconds of one token on one rank in a layer of a kind, by what they wait for. */
typedef struct token_s {
    double before;  /* until the halo can go on */
    double blocks;  /* delta rule inside blocks, own chunks */
    double rows;    /* convolution, until the units are filled */
    double state;   /* all heads */
    double summary; /* of a scan */
    double kept;    /* per pair with a token of the chunks before, all heads */
    double finish;
    double share;   /* of chunks that are kept */
    double unit;    /* bytes of a chunk of all groups */
    double queries; /* heads of a group */
    int64_t window;
} token_s;

typedef struct simulation {
    const natsl_cost_run *run;
    const natsl_cost_machine *m;
    const natsl_config *c;
    natsl_grid grid;
    token_s *kind;            /* [layers] */
    double logits_s;          /* a token */
    double compose_s;         /* of two maps of the state */
    double halo, state, pair; /* bytes of a layer */
    int groups, steps;
    int64_t *first;
    double *ready, *busy;        /* [P] */
    double *at, *kept_end, *map; /* [P] in a layer: after local; of the units' way out; of the map of a scan's range */
    double *tokens;              /* [P] read so far */
    double *chain_halo, *chain_state; /* [layers], [layers, groups]: from the last reader of the pass before */
    double *sent, *before;            /* [groups] */
    int chain_rank;                   /* that reader; -1: none */
    double end;
    natsl_prediction *out;
} simulation;

static double max(double a, double b) { return a > b ? a : b; }

static int has_state(const simulation *s, int layer) { return s->c->kind[layer] != NATSL_LAYER_ATTN; }

/** Seconds of `bytes` from one rank to another. */
static double message(const simulation *s, int from, int to, double bytes)
{
    const natsl_cost_machine *m = s->m;
    if (from == to) return 0.0;
    if (from / m->ranks_per_node == to / m->ranks_per_node) return m->near_latency_s + bytes / m->near_bytes_per_s;
    return m->latency_s + bytes / m->bytes_per_s;
}

static token_s token_times(const natsl_cost_run *run, const natsl_cost_machine *m, int layer)
{
    const natsl_config *c = run->config;
    const natsl_shape shape = natsl_shape_of(c, layer);
    const natsl_attn_shape *a = &shape.attn;
    const double n = (double)c->chunk, d = c->hidden_size, hv = c->num_v_heads;
    const natsl_work w = natsl_cost_layer(c, layer, 0, c->chunk, run->kept_share);
    const double in = 2.0 * d * (double)shape.n_in, project = w.of[NATSL_WORK_PROJECT] / n;
    const double rows = w.of[NATSL_WORK_ROWS] / n / m->per_s[NATSL_WORK_ROWS];
    token_s t = {0};
    /* A sixth of the rows' work is the first norm, a third mixing and the norms after it. */
    t.before = in / m->per_s[NATSL_WORK_PROJECT] + rows / 6.0;
    t.blocks =
        (w.of[NATSL_WORK_LOCAL] / m->per_s[NATSL_WORK_LOCAL] + w.of[NATSL_WORK_OWN] / m->per_s[NATSL_WORK_OWN]) / n;
    t.rows = rows / 2.0;
    t.state = w.of[NATSL_WORK_STATE] / n / m->per_s[NATSL_WORK_STATE];
    /* A map has dk + dv columns through all chunks, without outputs: per token and column 4 dk + 2 m. */
    const double columns = hv * ((double)c->head_dim + (double)c->head_v_dim);
    const double block = (double)natsl_min64(c->chunk, NATSL_DELTA_BLOCK);
    if (shape.kind != NATSL_LAYER_ATTN)
        t.summary = columns * (4.0 * (double)c->head_dim + 2.0 * block) / m->per_s[NATSL_WORK_STATE];
    t.share = natsl_cost_share(c, layer, run->kept_share);
    t.kept = t.share * 2.0 * (double)(a->heads * (a->dk + a->dv)) / m->per_s[NATSL_WORK_KEPT];
    t.unit = (double)natsl_unit_floats(a, run->kept) * sizeof(float) * (double)a->groups;
    t.queries = a->groups ? (double)natsl_attn_group(a) : 1.0;
    t.window = a->window;
    t.finish = (project - in) / m->per_s[NATSL_WORK_PROJECT] +
               w.of[NATSL_WORK_FEED_FORWARD] / n / m->per_s[NATSL_WORK_FEED_FORWARD] + rows / 3.0;
    return t;
}

/** What idle threads in the last round of `items` cost: time over that of evenly spread work. */
static double rounds_of(const simulation *s, double items)
{
    const double threads = s->m->threads;
    return items > 0.0 ? ceil(items / threads) * threads / items : 1.0;
}

/** Items that are tiles; tiles and query heads of a group; chunks and value heads (local blocks, own chunks). */
static double tiles_of(const simulation *s, int64_t tokens)
{
    return ceil((double)tokens / (double)natsl_min64(s->grid.tile, NATSL_TILE));
}
static double rounds(const simulation *s, int64_t tokens) { return rounds_of(s, tiles_of(s, tokens)); }
static double attend_rounds(const simulation *s, const token_s *k, int64_t tokens)
{
    return rounds_of(s, tiles_of(s, tokens) * k->queries);
}
static double local_s(const simulation *s, const token_s *k, int64_t tokens)
{
    const double items = ceil((double)tokens / (double)s->c->chunk) * (double)s->c->num_v_heads;
    return (double)tokens * (k->blocks * rounds_of(s, items) + k->rows * rounds(s, tokens));
}

/** Products are issued on whole tiles of the pass, whoever owns their rows: what a range that shares tiles computes for nothing. */
static double shared_tiles(const simulation *s, int64_t begin, int64_t end)
{
    const int64_t first = natsl_max64(natsl_tile_begin(&s->grid, begin), s->first[0]);
    const int64_t last = natsl_min64(natsl_tile_end(&s->grid, end - 1), s->first[s->run->ranks]);
    return (double)(last - first) / (double)(end - begin);
}

/** When the units that ranks so far keep in this layer and pass can be attended to: the counts of all of them are there, and
 * (between nodes) the first units. A sender hands them to its readers one after the other: that its way out is busy holds back its next
 * layer's; what comes in takes its time in after_state. */
typedef struct heard_at {
    double counts, units;
} heard_at;

/** One layer of one rank: everything up to its units being filled. Returns the time. */
static double until_local(simulation *s, int layer, int r, int prev, double *halo_at)
{
    const natsl_cost_run *run = s->run;
    const token_s *k = &s->kind[layer];
    const int64_t first = s->first[r], last = s->first[r + 1];
    double t = s->ready[r];
    const int64_t stage = natsl_min64(first - first % s->grid.unit + run->stage_tokens, last) - first;
    const double before = (double)stage * k->before * rounds(s, stage) * shared_tiles(s, first, first + stage),
                 local = local_s(s, k, stage);
    t += before + s->m->stage_s;
    s->busy[r] += before + s->m->stage_s;
    const double own_halo = t;
    if (has_state(s, layer)) {
        if (prev >= 0) t = max(t, *halo_at + message(s, prev, r, s->halo));
        *halo_at = own_halo;
        if (prev >= 0 && prev != r) s->out->halo_bytes += s->halo;
    }
    t += local;
    s->busy[r] += local;
    return t;
}

/** The rest of a stage after its state: attention to kept chunks, mixing, feed-forward. */
static double after_state(simulation *s, int layer, int r, int64_t begin, int64_t end, double t, const heard_at *heard)
{
    const natsl_cost_run *run = s->run;
    const token_s *k = &s->kind[layer];
    const double n = (double)(end - begin);
    if (k->unit > 0.0) {
        const double work = k->kept * natsl_cost_pairs_before(s->c->chunk, k->window, begin, end) *
                            attend_rounds(s, k, end - begin) * shared_tiles(s, begin, end);
        /* Units of other nodes come in while others are attended to. */
        const int per_node = s->m->ranks_per_node, node = r / per_node * per_node;
        const int here = (int)natsl_min64(per_node, run->ranks - node);
        const double old = (double)(s->first[0] / s->c->chunk) * (run->ranks - here) / run->ranks;
        const double fresh = (double)(s->first[node] - s->first[0]) / (double)s->c->chunk;
        double chunks = old + fresh;
        if (k->window > 0 && chunks > (double)k->window / (double)s->c->chunk)
            chunks = (double)k->window / (double)s->c->chunk;
        const double bytes = chunks * k->share * k->unit;
        if (heard) t = max(max(t, heard->counts), heard->units);
        t += max(work, bytes * here / s->m->bytes_per_s);
        s->busy[r] += work;
        s->out->kept_bytes += bytes;
    }
    const double finish = n * k->finish * rounds(s, end - begin) * shared_tiles(s, begin, end);
    s->busy[r] += finish;
    return t + finish;
}

/** All stages of a range in one layer, states by relay. state_at [groups]: when rank `prev` has sent each group of heads; becomes
 * this rank's. */
static double relay_range(simulation *s, int layer, int r, int prev, double *halo_at, double *state_at,
                          const heard_at *heard, double *local_end)
{
    const natsl_cost_run *run = s->run;
    const token_s *k = &s->kind[layer];
    const int64_t last = s->first[r + 1];
    double t = s->ready[r];
    for (int64_t begin = s->first[r], end; begin < last; begin = end) {
        end = natsl_min64(begin - begin % s->grid.unit + run->stage_tokens, last);
        const double n = (double)(end - begin);
        if (begin == s->first[r]) {
            t = until_local(s, layer, r, prev, halo_at);
        } else {
            const double local = local_s(s, k, end - begin);
            const double work =
                n * k->before * rounds(s, end - begin) * shared_tiles(s, begin, end) + s->m->stage_s + local;
            t += work;
            s->busy[r] += work;
            *halo_at = t - local;
        }
        if (end == last) *local_end = t;
        const double one = n * k->state / s->groups;
        for (int g = 0; has_state(s, layer) && g < s->groups; g++) {
            if (begin == s->first[r] && prev >= 0) t = max(t, state_at[g] + message(s, prev, r, s->state / s->groups));
            t += one;
            if (end == last) s->sent[g] = t;
        }
        s->busy[r] += n * k->state;
        t = after_state(s, layer, r, begin, end, t, begin == s->first[r] ? heard : NULL);
    }
    if (!has_state(s, layer)) return t;
    memcpy(state_at, s->sent, (size_t)s->groups * sizeof *state_at);
    if (prev >= 0 && prev != r) s->out->state_bytes += s->state;
    return t;
}

/** Notes that rank r's counts and units of this layer are on their way. */
static void tell(simulation *s, int layer, int r, double t, heard_at *heard)
{
    const token_s *k = &s->kind[layer];
    if (k->unit == 0.0) return;
    const int per_node = s->m->ranks_per_node, ranks = s->run->ranks;
    heard->counts = max(heard->counts, t + (ranks > per_node ? s->m->latency_s : s->m->near_latency_s));
    if (ranks <= per_node) return;
    /* the readers on later nodes, one after the other; ranks of a node share its way out */
    const double bytes = (double)(s->first[r + 1] - s->first[r]) / (double)s->c->chunk * k->share * k->unit;
    const double each = bytes * per_node / s->m->bytes_per_s, start = max(t, s->kept_end[r]);
    const int readers = ranks - (r / per_node + 1) * per_node;
    s->kept_end[r] = start + (readers > 0 ? readers : 0) * each;
    heard->units = max(heard->units, start + s->m->latency_s + each);
}

/** A layer of a pass by relay. */
static void relay_layer(simulation *s, int layer)
{
    const int ranks = s->run->ranks;
    double *state_at = s->chain_state + (size_t)layer * (size_t)s->groups, halo_at = s->chain_halo[layer];
    heard_at heard = {0};
    int prev = s->chain_rank;
    for (int r = 0; r < ranks; r++) {
        double local_end = 0.0;
        if (s->first[r] == s->first[r + 1]) continue;
        const heard_at mine = heard;
        s->at[r] = relay_range(s, layer, r, prev, &halo_at, state_at, &mine, &local_end);
        tell(s, layer, r, local_end, &heard);
        s->ready[r] = s->at[r];
        prev = r;
    }
    s->chain_halo[layer] = halo_at;
}

/** A layer of a pass by scan: ranges are single stages. map[r]: when the map (of the first reader: the state) of what rank r has heard of
 * is there; recursive doubling over the readers. */
static void scan_layer(simulation *s, int layer)
{
    const int ranks = s->run->ranks;
    const token_s *k = &s->kind[layer];
    double *state_at = s->chain_state + (size_t)layer * (size_t)s->groups, halo_at = s->chain_halo[layer];
    heard_at heard = {0};
    int prev = s->chain_rank, first = -1, last = -1;
    for (int r = 0; r < ranks; r++) last = s->first[r] < s->first[r + 1] ? r : last;
    for (int r = 0; r < ranks; r++) {
        const double n = (double)(s->first[r + 1] - s->first[r]);
        if (n == 0.0) continue;
        double t = until_local(s, layer, r, prev, &halo_at);
        s->at[r] = t;
        if (first < 0) { /* its state comes from the pass before and goes through its range at once */
            first = r;
            const double one = n * k->state / s->groups;
            for (int g = 0; g < s->groups; g++) {
                if (prev >= 0) t = max(t, state_at[g] + message(s, prev, r, s->state / s->groups));
                t += one;
            }
            if (prev >= 0 && prev != r) s->out->state_bytes += s->state;
            s->busy[r] += n * k->state;
        } else if (r != last) {
            t += n * k->summary;
            s->busy[r] += n * k->summary;
        }
        s->map[r] = t;
        prev = r;
    }
    for (int d = 1; first >= 0 && d < ranks; d *= 2) { /* ranks stand for readers: empty ranges are few and last */
        for (int r = ranks - 1; r - d >= first; r--) {
            if (s->first[r] == s->first[r + 1] || s->first[r - d] == s->first[r - d + 1]) continue;
            if (r - first < d) continue;         /* complete */
            const int whole = r - first < 2 * d; /* what comes reaches back to the first reader */
            s->before[r] = max(s->map[r], s->map[r - d] + message(s, r - d, r, whole ? s->state : s->pair));
            s->before[r] += whole ? s->compose_s / 2.0 : s->compose_s;
            s->busy[r] += whole ? s->compose_s / 2.0 : s->compose_s;
            s->out->state_bytes += whole ? s->state : s->pair;
        }
        for (int r = first + d; r < ranks; r++) {
            if (s->first[r] < s->first[r + 1] && s->first[r - d] < s->first[r - d + 1]) s->map[r] = s->before[r];
        }
    }
    for (int r = 0; r < ranks; r++) {
        const double n = (double)(s->first[r + 1] - s->first[r]);
        if (n == 0.0) continue;
        const heard_at mine = heard;
        double t = s->map[r];
        if (r != first) {
            t += n * k->state;
            s->busy[r] += n * k->state;
        }
        if (r == last) {
            for (int g = 0; g < s->groups; g++) state_at[g] = t - n * k->state * (s->groups - 1 - g) / s->groups;
        }
        tell(s, layer, r, s->at[r], &heard);
        s->ready[r] = after_state(s, layer, r, s->first[r], s->first[r + 1], t, &mine);
    }
    s->chain_halo[layer] = halo_at;
}

/** Whether a pass scans: three readers, each of one stage. */
static int scans(const simulation *s)
{
    const natsl_cost_run *run = s->run;
    int readers = 0;
    if (!run->scan) return 0;
    for (int r = 0; r < run->ranks; r++) {
        const int64_t first = s->first[r], last = s->first[r + 1];
        if (first == last) continue;
        readers++;
        if (natsl_min64(first - first % s->grid.unit + run->stage_tokens, last) < last) return 0;
    }
    return readers >= 3;
}

static void one_pass(simulation *s)
{
    const natsl_cost_run *run = s->run;
    const int by_scan = scans(s);
    s->out->scan_passes += by_scan;
    for (int l = 0; l < s->c->num_hidden_layers; l++) {
        if (by_scan && has_state(s, l)) scan_layer(s, l);
        else relay_layer(s, l);
    }
    for (int r = 0; r < run->ranks; r++) {
        const int64_t n = s->first[r + 1] - s->first[r];
        const double whole = n > 0 ? shared_tiles(s, s->first[r], s->first[r + 1]) : 0.0;
        const double logits = run->scores ? (double)n * s->logits_s * rounds(s, n) * whole : 0.0;
        s->ready[r] += logits;
        s->busy[r] += logits;
        s->tokens[r] += (double)n;
        if (n > 0) s->chain_rank = r;
        if (n > 0) s->end = max(s->end, s->ready[r]);
        s->out->longest = natsl_max64(s->out->longest, n);
    }
}

static void setup(simulation *s)
{
    const natsl_cost_run *run = s->run;
    const natsl_config *c = s->c;
    const double dk = c->head_dim, dv = c->head_v_dim, hv = c->num_v_heads;
    const int columns = (c->head_v_dim + NATSL_STATE_COLUMNS - 1) / NATSL_STATE_COLUMNS;
    const int group = (s->m->threads + columns - 1) / columns;
    s->grid = natsl_grid_make(c->chunk);
    s->groups = (c->num_v_heads + group - 1) / group;
    /* Items of the state phase are blocks of columns, of one group of heads at a time; of a summary, of all heads. */
    const double items = (double)natsl_min64(group, c->num_v_heads) * (double)columns;
    const double more = (c->head_dim + NATSL_STATE_COLUMNS - 1) / NATSL_STATE_COLUMNS;
    for (int i = 0; i < c->num_hidden_layers; i++) {
        s->kind[i] = token_times(run, s->m, i);
        s->kind[i].state *= rounds_of(s, run->ranks == 1 ? (double)c->num_v_heads * columns : items);
        s->kind[i].summary *= rounds_of(s, (double)c->num_v_heads * (columns + more));
    }
    s->logits_s = 2.0 * (double)c->hidden_size * (double)c->vocab_size / s->m->per_s[NATSL_WORK_LOGITS];
    s->state = hv * dk * dv * sizeof(float);
    s->pair = hv * dk * (dk + dv) * sizeof(float);
    s->compose_s = hv * 2.0 * dk * dk * 2.0 * (dk + dv) / s->m->per_s[NATSL_WORK_STATE];
    s->halo = (double)(c->conv_size - 1) * (2.0 * c->key_dim + c->value_dim) * sizeof(float);
    s->chain_rank = -1;
}

static natsl_status check(const natsl_cost_run *run, const natsl_cost_machine *m)
{
    int bad = run->ranks < 1 || run->tokens < 0 || run->begin < 0 || run->pass_tokens < 1 || run->stage_tokens < 1;
    bad |= !(run->kept_share >= 0.0 && run->kept_share <= 1.0) || m->threads < 1 || m->ranks_per_node < 1;
    bad |= !(m->bytes_per_s > 0.0 && m->near_bytes_per_s > 0.0 && m->latency_s >= 0.0 && m->near_latency_s >= 0.0);
    for (int k = 0; k < NATSL_WORK_KINDS; k++) bad |= !(m->per_s[k] > 0.0);
    return bad ? natsl_fail(NATSL_ERR_USAGE, "prediction: a run or a machine out of range") : NATSL_OK;
}

natsl_status natsl_cost_predict(const natsl_cost_run *run, const natsl_cost_machine *m, natsl_prediction *out,
                                double *busy_s)
{
    const natsl_config *c = run->config;
    const size_t ranks = (size_t)run->ranks, layers = (size_t)c->num_hidden_layers;
    simulation s = {.run = run, .m = m, .c = c, .out = out};
    natsl_status st = check(run, m);
    if (st != NATSL_OK) return st;
    *out = (natsl_prediction){0};
    if (!(s.kind = natsl_alloc(layers, sizeof *s.kind, "prediction"))) return NATSL_ERR_NOMEM;
    setup(&s);
    const size_t groups = (size_t)s.groups;
    double *all = natsl_calloc(7 * ranks + layers * (1 + groups) + groups, sizeof *all, "prediction");
    s.first = natsl_alloc(ranks + 1, sizeof *s.first, "prediction");
    if (!all || !s.first) {
        natsl_free(all);
        natsl_free(s.first);
        natsl_free(s.kind);
        return NATSL_ERR_NOMEM;
    }
    s.ready = all, s.busy = all + ranks, s.at = all + 2 * ranks, s.kept_end = all + 3 * ranks, s.map = all + 4 * ranks;
    s.tokens = all + 5 * ranks, s.before = all + 6 * ranks, s.chain_halo = all + 7 * ranks;
    s.chain_state = s.chain_halo + layers, s.sent = s.chain_state + layers * groups;
    const natsl_part_weights weights = natsl_cost_weights(c, m, run->kept_share, run->scores);
    const int64_t end = run->begin + run->tokens;
    for (int64_t at = run->begin, next; at < end; at = next) {
        next = natsl_min64(at - at % s.grid.unit + run->pass_tokens, end);
        const int owner = s.chain_rank < 0 ? 0 : s.chain_rank;
        if (run->balance)
            natsl_part_balance(&s.grid, at, next, run->ranks, owner, &weights, run->stage_tokens, s.first);
        else natsl_part_make(&s.grid, at, next, run->ranks, owner, s.first);
        one_pass(&s);
        out->passes++;
    }
    out->seconds = s.end;
    out->tokens_least = ranks ? s.tokens[0] : 0.0;
    for (size_t r = 0; r < ranks; r++) {
        out->busy_mean_s += s.busy[r] / (double)ranks;
        out->busy_most_s = max(out->busy_most_s, s.busy[r]);
        out->tokens_most = max(out->tokens_most, s.tokens[r]);
        out->tokens_least = s.tokens[r] < out->tokens_least ? s.tokens[r] : out->tokens_least;
        if (busy_s) busy_s[r] = s.busy[r];
    }
    /* Ranks that share cores: while one waits the others go faster, but all work has to be done. */
    const double threads = (double)natsl_min64(m->ranks_per_node, run->ranks) * m->threads;
    if (m->cores_per_node > 0 && threads > m->cores_per_node)
        out->seconds = max(out->seconds, out->busy_mean_s * threads / m->cores_per_node);
    const natsl_work w = natsl_cost_count(c, run->begin, end, run->kept_share, run->scores ? run->tokens : 0);
    out->one_rank_s = natsl_cost_seconds(m, &w);
    out->wait_mean_s = max(out->seconds - out->busy_mean_s, 0.0); /* rounding */
    out->efficiency = out->seconds > 0.0 ? out->one_rank_s / (out->seconds * (double)ranks) : 1.0;
    natsl_free(all);
    natsl_free(s.first);
    natsl_free(s.kind);
    return NATSL_OK;
}
