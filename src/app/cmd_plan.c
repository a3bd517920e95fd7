/* cmd_plan.c - natsl plan: what reading would take on machines and numbers of ranks that are not here. Arithmetic; only where
 * neither --machine nor --gflops says how fast a rank is, this machine is measured. */
#include "agree.h"
#include "core.h"
#include "job.h"
#include "machine.h"

#include <math.h>
#include <natsl/version.h>
#include <stdlib.h>
#include <string.h>

#define AT(member) offsetof(natsl_args, member)
static const natsl_option options[] = {
    {.kind = NATSL_OPT_TEXT,
     .name = "config",
     .value = "C.json",
     .offset = AT(config),
     .help = "configuration of the model"},
    {.kind = NATSL_OPT_TEXT, .name = "model", .value = "M.h5", .offset = AT(model), .help = "or a model file"},
    {.kind = NATSL_OPT_TEXT,
     .name = "tokens",
     .value = "LIST",
     .offset = AT(token_list),
     .help = "tokens to read, as 64K,1M,16M; 1M by default"},
    {.kind = NATSL_OPT_TEXT,
     .name = "ranks",
     .value = "LIST",
     .offset = AT(rank_list),
     .help = "numbers of ranks, as 1,2,4; powers of two to 64 by default"},
    {.kind = NATSL_OPT_COUNT,
     .name = "ranks-per-node",
     .value = "N",
     .offset = AT(ranks_per_node),
     .least = 1,
     .most = 1 << 20,
     .help = "ranks that share a node, its weights and its network; 1 by default"},
    {.kind = NATSL_OPT_TEXT,
     .name = "machine",
     .value = "FILE",
     .offset = AT(machine),
     .help = "how fast a rank and its network are: what natsl bench --json wrote"},
    {.kind = NATSL_OPT_REAL,
     .name = "gflops",
     .value = "X",
     .offset = AT(gflops),
     .high = 1e9,
     .open = 1,
     .help = "or speed of a rank at big products in 10^9 operations per second; the rest in usual proportion"},
    {.kind = NATSL_OPT_REAL,
     .name = "latency",
     .value = "US",
     .offset = AT(latency_us),
     .high = 1e9,
     .open = 1,
     .help = "microseconds of a message between nodes; 5 by default"},
    {.kind = NATSL_OPT_REAL,
     .name = "bandwidth",
     .value = "GBS",
     .offset = AT(bandwidth),
     .high = 1e6,
     .open = 1,
     .help = "10^9 bytes per second in and out of a node; 10 by default"},
    {.kind = NATSL_OPT_REAL,
     .name = "kept-share",
     .value = "F",
     .offset = AT(share),
     .high = 1.0,
     .open = 1,
     .help = "share of chunks that the gate keeps; by default what the model's file or the machine's says, else half"},
    {.kind = NATSL_OPT_TEXT,
     .name = "json",
     .value = "FILE",
     .offset = AT(json_file),
     .help = "write all results as JSON"},
    {.kind = NATSL_OPT_END},
};

#define MOST_VALUES 64
#define MOST_RANKS  (1 << 20)

typedef struct plan_job {
    natsl_app *app;
    natsl_job job; /* options; info */
    natsl_cost_machine machine;
    double known_share; /* 0: unknown */
    int64_t tokens[MOST_VALUES], ranks[MOST_VALUES];
    int n_tokens, n_ranks;
    size_t baseline;
    json_t *json, *runs; /* rank 0, with --json */
    int json_failed;
} plan_job;

static natsl_status parse_list(const char *option, const char *list, int64_t most, int64_t *values, int *n)
{
    for (const char *p = list;; p++) {
        const size_t length = strcspn(p, ",");
        char word[32] = "";
        int64_t value = 0;
        if (length < sizeof word) (void)snprintf(word, sizeof word, "%.*s", (int)length, p);
        if (!natsl_parse_count(word, &value) || value < 1 || value > most)
            return natsl_fail(NATSL_ERR_USAGE,
                              "--%s: '%.*s', expected whole numbers from 1 to %lld with commas between them", option,
                              (int)(length < 100 ? length : 100), p, (long long)most);
        if (*n == MOST_VALUES)
            return natsl_fail(NATSL_ERR_USAGE, "--%s: too many values, expected at most %d", option, MOST_VALUES);
        values[(*n)++] = value;
        p += length;
        if (*p == '\0') return NATSL_OK;
    }
}

/* Steps of a prediction, which are followed one by one: a minute or so. */
#define MOST_FOLLOWED 1e9

static natsl_status find_config(plan_job *p)
{
    natsl_app *app = p->app;
    if (app->args.model) {
        const natsl_status st = natsl_job_look(&p->job, app);
        p->known_share = p->job.info.kept_share;
        return st;
    }
    natsl_status st = app->rank == 0 ? natsl_app_read_config(app->args.config, &p->job.info.config) : NATSL_OK;
    if ((st = natsl_app_agree(app, st)) != NATSL_OK) return st;
    NATSL_MPI(MPI_Bcast(&p->job.info.config, sizeof p->job.info.config, MPI_BYTE, 0, app->comm));
    return NATSL_OK;
}

/** The machine that the options speak of. */
static natsl_status find_machine(plan_job *p)
{
    natsl_app *app = p->app;
    const natsl_args *a = &app->args;
    natsl_cost_machine *m = &p->machine;
    natsl_options o;
    double share = NAN;
    natsl_status st = natsl_options_complete(&p->job.info.config, 1, &p->job.options, &o);
    if (st == NATSL_OK && a->machine) {
        st = app->rank == 0 ? natsl_machine_read(a->machine, m, &share) : NATSL_OK;
        if ((st = natsl_app_agree(app, st)) != NATSL_OK) return st;
        NATSL_MPI(MPI_Bcast(m, sizeof *m, MPI_BYTE, 0, app->comm));
        NATSL_MPI(MPI_Bcast(&share, 1, MPI_DOUBLE, 0, app->comm));
        if (p->known_share <= 0.0 && share > 0.0) p->known_share = share;
    } else if (st == NATSL_OK && a->gflops > 0.0) {
        *m = natsl_cost_machine_guess(a->gflops, o.threads);
    } else if (st == NATSL_OK) {
        st = natsl_machine_find(app->comm, &p->job.info.config, &o, (natsl_storage)a->weights, m);
    }
    if (st != NATSL_OK) return st;
    m->ranks_per_node = a->ranks_per_node > 0 ? (int)a->ranks_per_node : 1;
    m->cores_per_node = 0;
    if (a->latency_us > 0.0) m->latency_s = a->latency_us * 1e-6;
    if (a->bandwidth > 0.0) m->bytes_per_s = a->bandwidth * 1e9;
    p->job.options.threads = m->threads;
    return NATSL_OK;
}

/* ---- results ---------------------------------------------------------------------------------------------------------- */

static void put(plan_job *p, json_t *object, const char *name, json_t *value)
{
    if (!object || !value || json_object_set_new(object, name, value) != 0) p->json_failed = 1;
}

static void put_run(plan_job *p, int64_t tokens, int ranks, int scan, int chosen, const natsl_plan *plan,
                    const natsl_prediction *r)
{
    const double memory = natsl_plan_rank_bytes(plan, p->machine.ranks_per_node);
    json_t *j = json_object();
    put(p, j, "tokens", json_integer((json_int_t)tokens));
    put(p, j, "ranks", json_integer(ranks));
    put(p, j, "state_pass", json_string(scan ? "scan" : "relay"));
    put(p, j, "auto", json_boolean(chosen));
    put(p, j, "balanced", json_boolean(plan->balanced));
    put(p, j, "passes", json_integer((json_int_t)r->passes));
    put(p, j, "scan_passes", json_integer((json_int_t)r->scan_passes));
    put(p, j, "seconds", json_real(r->seconds));
    put(p, j, "tokens_per_s", json_real(r->seconds > 0.0 ? (double)tokens / r->seconds : 0.0));
    put(p, j, "efficiency", json_real(r->efficiency));
    put(p, j, "busy_seconds", json_real(r->busy_mean_s));
    put(p, j, "busiest_seconds", json_real(r->busy_most_s));
    put(p, j, "wait_seconds", json_real(r->wait_mean_s));
    put(p, j, "halo_bytes", json_real(r->halo_bytes));
    put(p, j, "state_bytes", json_real(r->state_bytes));
    put(p, j, "kept_bytes", json_real(r->kept_bytes));
    put(p, j, "rank_bytes", json_real(memory));
    if (p->runs && json_array_append_new(p->runs, j) != 0) p->json_failed = 1;
}

static void begin_json(plan_job *p)
{
    char *text = natsl_config_json(&p->job.info.config);
    const natsl_cost_machine *m = &p->machine;
    json_t *machine = json_object();
    p->json = json_object();
    p->runs = json_array();
    put(p, p->json, "format", json_string("natsl-plan"));
    put(p, p->json, "format_version", json_integer(1));
    put(p, p->json, "natsl", json_string(NATSL_VERSION_TEXT));
    put(p, p->json, "config", text ? json_loads(text, 0, NULL) : NULL);
    put(p, machine, "threads", json_integer(m->threads));
    put(p, machine, "gflops_per_rank", json_real(1e-9 * m->per_s[NATSL_WORK_FEED_FORWARD]));
    put(p, machine, "attention_gflops_per_rank", json_real(1e-9 * m->per_s[NATSL_WORK_KEPT]));
    put(p, machine, "delta_rule_gflops_per_rank", json_real(1e-9 * m->per_s[NATSL_WORK_STATE]));
    put(p, machine, "ranks_per_node", json_integer(m->ranks_per_node));
    put(p, machine, "latency_us", json_real(1e6 * m->latency_s));
    put(p, machine, "bandwidth_gbytes_per_s", json_real(1e-9 * m->bytes_per_s));
    put(p, p->json, "machine", machine);
    free(text);
}

/** On rank 0. */
static natsl_status write_json(plan_job *p, const char *path)
{
    if (p->json_failed || json_object_set(p->json, "runs", p->runs) != 0)
        return natsl_fail(NATSL_ERR_NOMEM, "out of memory: results as JSON");
    return natsl_app_write_json(p->json, path);
}

/* ---- the command ------------------------------------------------------------------------------------------------------ */

static natsl_status predict_one(plan_job *p, int64_t tokens, int ranks, int scan)
{
    const natsl_config *c = &p->job.info.config;
    natsl_options o = p->job.options, complete;
    natsl_plan plan;
    natsl_prediction r;
    o.state_pass = scan ? NATSL_STATE_SCAN : NATSL_STATE_RELAY;
    natsl_status st = natsl_options_complete(c, ranks, &p->job.options, &complete);
    if (st == NATSL_OK) st = natsl_plan_make(c, (natsl_storage)p->app->args.weights, ranks, &o, tokens, &plan);
    plan.baseline_bytes = p->baseline;
    const double follow = (double)plan.passes * (double)c->num_hidden_layers * (double)ranks;
    if (st == NATSL_OK && follow > MOST_FOLLOWED)
        st = natsl_fail(
            NATSL_ERR_USAGE,
            "%lld tokens on %d ranks: %.2g passes times layers times ranks to follow, expected at most %.0e; "
            "longer passes (--pass-tokens) are fewer",
            (long long)tokens, ranks, follow, MOST_FOLLOWED);
    if (st == NATSL_OK) st = natsl_plan_predict(c, &o, &p->machine, 0, tokens, p->known_share, 1, &plan, &r);
    if (st != NATSL_OK) return st;
    complete.state_pass = NATSL_STATE_AUTO;
    const int chosen = natsl_cost_run_of(c, &complete, ranks, 0, tokens, plan.kept_share, 1).scan == scan;
    if (p->json) put_run(p, tokens, ranks, scan, chosen, &plan, &r);
    if (p->app->args.quiet) return NATSL_OK;
    char time[32], memory[32], sent[32];
    printf("%11lld %7d  %-5s%c %7lld %12s %10.0f %9.1f %% %9.1f %% %11s %11s\n", (long long)tokens, ranks,
           scan ? "scan" : "relay", chosen ? '*' : ' ', (long long)r.passes, natsl_format_seconds(r.seconds, time),
           r.seconds > 0.0 ? (double)tokens / r.seconds : 0.0, 100.0 * r.efficiency,
           r.seconds > 0.0 ? 100.0 * r.wait_mean_s / r.seconds : 0.0,
           natsl_format_bytes(natsl_plan_rank_bytes(&plan, p->machine.ranks_per_node), memory),
           natsl_format_bytes(r.halo_bytes + r.state_bytes + r.kept_bytes, sent));
    return NATSL_OK;
}

static natsl_status predict_all(plan_job *p)
{
    const natsl_cost_machine *m = &p->machine;
    const int asked = p->app->args.state_pass;
    natsl_status st = NATSL_OK;
    if (p->app->args.json_file) begin_json(p);
    if (!p->app->args.quiet) {
        printf("a rank: %d thread%s, %.0f GFLOP/s at products, %.0f at attention, %.0f at the delta rule's states\n",
               m->threads, m->threads == 1 ? "" : "s", 1e-9 * m->per_s[NATSL_WORK_FEED_FORWARD],
               1e-9 * m->per_s[NATSL_WORK_KEPT], 1e-9 * m->per_s[NATSL_WORK_STATE]);
        printf("a node: %d rank%s, messages of %.3g us and %.3g GB/s; %.0f %% of chunks kept\n\n", m->ranks_per_node,
               m->ranks_per_node == 1 ? "" : "s", 1e6 * m->latency_s, 1e-9 * m->bytes_per_s,
               100.0 * natsl_expected_share(&p->job.options, p->known_share));
        printf("%11s %7s  %-6s %7s %12s %10s %11s %11s %11s %11s\n", "tokens", "ranks", "states", "passes", "time",
               "tokens/s", "efficiency", "waiting", "per rank", "sent");
    }
    for (int t = 0; t < p->n_tokens; t++) {
        for (int r = 0; r < p->n_ranks; r++) {
            for (int scan = 0; scan < 2 && st == NATSL_OK; scan++) {
                if (scan && p->ranks[r] < 3) continue; /* nothing to scan */
                if (asked == NATSL_STATE_AUTO || (asked == NATSL_STATE_SCAN) == scan)
                    st = predict_one(p, p->tokens[t], (int)p->ranks[r], scan);
            }
        }
    }
    if (st == NATSL_OK && !p->app->args.quiet && asked == NATSL_STATE_AUTO)
        printf("\n* what --state-pass auto would choose\n");
    if (st == NATSL_OK && p->app->args.json_file) st = write_json(p, p->app->args.json_file);
    return st == NATSL_OK ? natsl_stdout_flush() : st;
}

static natsl_status run(natsl_app *app)
{
    const natsl_args *a = &app->args;
    const char *inputs[] = {a->model, a->config, a->machine};
    natsl_status st = NATSL_OK;
    plan_job p = {.app = app};
    natsl_job_begin(&p.job, app);
    if (!a->model == !a->config)
        st = natsl_fail(NATSL_ERR_USAGE, "plan: expected one of --config and --model%s", a->model ? ", not both" : "");
    if (st == NATSL_OK && a->machine && a->gflops > 0.0)
        st = natsl_fail(NATSL_ERR_USAGE, "plan: both --machine and --gflops are given, expected one");
    if (st == NATSL_OK)
        st = parse_list("tokens", a->token_list ? a->token_list : "1M", (int64_t)1 << 40, p.tokens, &p.n_tokens);
    if (st == NATSL_OK)
        st = parse_list("ranks", a->rank_list ? a->rank_list : "1,2,4,8,16,32,64", MOST_RANKS, p.ranks, &p.n_ranks);
    if (st == NATSL_OK && a->json_file) st = natsl_app_check_out(app, a->json_file, inputs, 3);
    if (st == NATSL_OK) st = find_config(&p);
    p.job.options.kept_share = a->share;
    if (st == NATSL_OK) st = find_machine(&p);
    if (st == NATSL_OK) p.baseline = natsl_plan_baseline(app->comm);
    if (st == NATSL_OK) st = natsl_app_agree(app, app->rank == 0 ? predict_all(&p) : NATSL_OK);
    json_decref(p.runs);
    json_decref(p.json);
    return st;
}

const natsl_command natsl_command_plan = {
    .name = "plan",
    .usage = "plan --config C.json | --model M.h5 [--tokens LIST] [--ranks LIST] [--machine FILE | --gflops X]",
    .summary = "predict time and memory on other numbers of ranks, without reading anything",
    .details = "For every number of tokens and ranks: seconds, efficiency (work of one rank over that of all in the "
               "same time),\n"
               "the share of a rank's time in which it waits, memory per rank with its share of the node's weights, "
               "and bytes sent\n"
               "between ranks. A rank is as fast as --machine or --gflops says, or as this machine is measured to be; "
               "ranks are as\n"
               "many as nodes unless --ranks-per-node says otherwise. States are passed by relay and by scan unless "
               "--state-pass\n"
               "names one. What is predicted is reading with log-probabilities of all tokens.\n",
    .options = options,
    .run = run,
};
