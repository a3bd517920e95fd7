/* eval_samples.c - groups of ranks answer samples side by side. See eval_job.h. */
#include "eval_job.h"

#include "agree.h"
#include "core.h"
#include "eval_resume.h"
#include "groups.h"
#include "journal.h"
#include "json_text.h"
#include "progress.h"
#include "score.h"
#include "signals.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Of a prompt that is kept in part. */
#define CUT_HEAD 200
#define CUT_TAIL 400

/** A group of ranks and its work. */
typedef struct group {
    natsl_eval_job *job;
    natsl_groups groups;
    natsl_eval_runner runner;
    natsl_progress progress;
    natsl_eval_maker maker;
    natsl_eval_resume resume; /* --checkpoint */
    int64_t done, total;      /* tokens of this group's samples */
    int part;                 /* file descriptor, on the leader; -1 elsewhere */
} group;

/* ---- one sample ------------------------------------------------------------------------------------------------------ */

static void show_progress(void *user, int64_t done, int64_t total)
{
    group *g = user;
    (void)total;
    natsl_progress_update(&g->progress, g->done + done, g->total);
}

/** The prompt as --keep-inputs wants it; NULL: not, or no memory. */
static json_t *input_json(const natsl_eval_sample *s, int keep)
{
    static const char gap[] = " [...] ";
    const size_t input = (size_t)s->input;
    if (keep == 1) return NULL;
    if (keep == 2 || input <= CUT_HEAD + CUT_TAIL) return natsl_json_text(s->text, input);
    char text[CUT_HEAD + CUT_TAIL + sizeof gap];
    size_t head = natsl_utf8_whole(s->text, CUT_HEAD), tail = CUT_TAIL, n = 0;
    while (tail > 0 && ((unsigned char)s->text[input - tail] & 0xc0) == 0x80) tail--;
    memcpy(text, s->text, head);
    memcpy(text + (n = head), gap, sizeof gap - 1);
    memcpy(text + (n += sizeof gap - 1), s->text + input - tail, tail);
    return natsl_json_text(text, n + tail);
}

/** Loss by position: [from, to, tokens, nats] of every bin. */
static json_t *bins_json(const natsl_eval_answer *answer, double *loss)
{
    json_t *bins = json_array();
    double nats = 0.0, tokens = 0.0;
    for (size_t i = 0; i < answer->n_bins; i++) {
        const natsl_eval_bin *bin = &answer->bins[i];
        nats += bin->nats;
        tokens += (double)bin->tokens;
        (void)json_array_append_new(bins, json_pack("[I, I, I, f]", (json_int_t)bin->from, (json_int_t)bin->to,
                                                    (json_int_t)bin->tokens, bin->nats));
    }
    *loss = tokens > 0.0 ? nats / tokens : 0.0;
    return bins;
}

/** What only some tasks have. */
static void add_details(json_t *record, const natsl_eval_task *task, int64_t index, const natsl_eval_sample *s,
                        const natsl_eval_answer *answer, int layers)
{
    if (index == 0 && answer->strip_bins > 0) { /* one sample's choices along the prompt, layer by layer */
        json_t *strip = json_array();
        for (int l = 0; l < layers; l++)
            (void)json_array_append_new(
                strip, json_stringn(answer->strip + l * answer->strip_bins, (size_t)answer->strip_bins));
        (void)json_object_set_new(record, "strip", strip);
    }
    if (task->metric == NATSL_EVAL_LABEL) {
        json_t *others = json_object_get(record, "others"), *labels = json_array();
        for (size_t i = 0; i < s->n_labels; i++)
            (void)json_array_append_new(labels, natsl_json_text(s->labels[i], strlen(s->labels[i])));
        (void)json_object_set_new(others, "question", natsl_json_text(s->question, strlen(s->question)));
        (void)json_object_set_new(others, "labels", labels);
    }
    if (task->metric == NATSL_EVAL_LIKELIHOOD) {
        double loss = 0.0;
        (void)json_object_set_new(record, "bins", bins_json(answer, &loss));
        (void)json_object_set_new(record, "loss", json_real(loss));
    }
}

/** What is kept of a sample, with its score. NULL: no memory. */
static json_t *record_json(const natsl_eval_job *j, const natsl_eval_cell *cell, const natsl_eval_task *task,
                           int64_t index, const natsl_eval_sample *s, const natsl_eval_answer *answer)
{
    json_t *outputs = json_array(), *depth = json_array(), *hits = json_array(), *layers = json_array();
    char id[256];
    size_t found = 0;
    char *text = natsl_alloc(answer->length + 1, 1, "prediction");
    json_t *record = NULL;
    if (text) {
        memcpy(text, answer->text, answer->length);
        const size_t length = natsl_score_clean(text, answer->length);
        for (size_t i = 0; i < s->n_outputs; i++) {
            const int hit = natsl_eval_hit(task->metric, s, i, text, length);
            found += (size_t)hit;
            (void)json_array_append_new(outputs, natsl_json_text(s->outputs[i].text, strlen(s->outputs[i].text)));
            (void)json_array_append_new(depth, json_real(s->outputs[i].depth));
            (void)json_array_append_new(hits, json_integer(hit));
        }
        for (int l = 0; l < j->info.config.num_hidden_layers; l++)
            (void)json_array_append_new(layers, json_real(answer->kept_share[l]));
        (void)snprintf(id, sizeof id, "%s-%s-%lld-%lld", task->suite, task->name, (long long)cell->length,
                       (long long)index);
        record = json_pack(
            "{s:I, s:o?, s:O, s:{s:s}, s:i, s:I, s:I, s:O, s:O, s:b, s:I, s:s, s:I, s:I, s:O}", "index",
            (json_int_t)index, "pred", natsl_json_text(answer->text, answer->length), "outputs", outputs, "others",
            "id", id, "truncation", -1, "length", (json_int_t)(s->tokens + natsl_eval_max_new(&j->settings, task)),
            "prompt", (json_int_t)s->tokens, "depth", depth, "hits", hits, "ok",
            natsl_eval_share_counts(task->metric) ? found == s->n_outputs : found > 0, "generated",
            (json_int_t)answer->generated, "end", answer->stopped ? "stop" : "max-new", "kept_chunks",
            (json_int_t)answer->kept_chunks, "chunks", (json_int_t)answer->chunks, "kept_layers", layers);
    }
    if (record) add_details(record, task, index, s, answer, j->info.config.num_hidden_layers);
    json_t *input =
        record && s->text && task->kind != NATSL_EVAL_DOCUMENT ? input_json(s, j->app->args.keep_inputs) : NULL;
    if (input) {
        (void)json_object_set_new(record, "input", input);
        (void)json_object_set_new(record, "answer_prefix",
                                  natsl_json_text(s->text + s->input, (size_t)(s->length - s->input)));
    }
    natsl_free(text);
    json_decref(outputs);
    json_decref(depth);
    json_decref(hits);
    json_decref(layers);
    return record;
}

/** Whether the next sample that is wanted asks about the same haystack. */
static int is_shared(const natsl_eval_job *j, size_t cell_number, int64_t index)
{
    const natsl_eval_cell *cell = &j->store.cells[cell_number];
    const natsl_eval_task *task = j->tasks[cell_number % j->n_tasks];
    const uint8_t *done = j->done + cell_number * (size_t)j->samples;
    int64_t next = index + 1;
    while (next < cell->samples && done[next]) next++;
    return next < cell->samples &&
           natsl_eval_first(&j->settings, task, next) == natsl_eval_first(&j->settings, task, index);
}

/** Stores a sample that does not fit in its length (the error text says so), as a failure. Collective on the group. */
static natsl_status store_unfit(group *g, const natsl_eval_cell *cell, const natsl_eval_task *task, int64_t index)
{
    char id[256];
    natsl_status st = NATSL_OK;
    json_t *text = natsl_json_text_or_null(natsl_error_text()); /* before anything else can fail */
    (void)snprintf(id, sizeof id, "%s-%s-%lld-%lld", task->suite, task->name, (long long)cell->length,
                   (long long)index);
    if (g->groups.leads)
        st = natsl_eval_part_add(g->part, cell,
                                 json_pack("{s:I, s:s, s:s, s:[s], s:{s:s}, s:i, s:I, s:I, s:[f], s:[i], s:b, s:O?}",
                                           "index", (json_int_t)index, "pred", "", "input", "", "outputs",
                                           "(the sample does not fit)", "others", "id", id, "truncation", -1, "length",
                                           (json_int_t)cell->length, "prompt", (json_int_t)0, "depth", -1.0, "hits", 0,
                                           "ok", 0, "error", text),
                                 json_pack("{s:I, s:i, s:I, s:f, s:f, s:I}", "index", (json_int_t)index, "ranks",
                                           g->runner.size, "read_tokens", (json_int_t)0, "read_seconds", 0.0,
                                           "generate_seconds", 0.0, "peak_bytes", (json_int_t)0));
    json_decref(text);
    return natsl_agree(g->runner.comm, st);
}

/** Makes, answers, scores and stores one sample. Collective on the group. */
static natsl_status answer_one(group *g, size_t cell_number, int64_t index)
{
    natsl_eval_job *j = g->job;
    const natsl_eval_cell *cell = &j->store.cells[cell_number];
    const natsl_eval_task *task = j->tasks[cell_number % j->n_tasks];
    natsl_eval_sample sample;
    natsl_eval_answer answer = {0};
    natsl_status st = natsl_eval_maker_make(&g->maker, &j->settings, task, cell->length, index, &sample);
    if (st == NATSL_OK) st = natsl_eval_tokens(&j->settings, &sample);
    st = natsl_agree(g->runner.comm, st);
    if (st == NATSL_ERR_USAGE && j->app->args.keep_going) return store_unfit(g, cell, task, index);
    const natsl_rng rng = natsl_eval_answer_rng(&j->settings, task, cell->length, index);
    natsl_eval_resume_sample(&g->resume, cell, index, natsl_eval_first(&j->settings, task, index));
    if (st == NATSL_OK) {
        if (task->kind == NATSL_EVAL_MQAR) st = natsl_eval_run_ids(&g->runner, &sample, &answer);
        else if (task->kind == NATSL_EVAL_DOCUMENT) st = natsl_eval_run_document(&g->runner, &sample, j->bin, &answer);
        else
            st = natsl_eval_run(&g->runner, &sample, natsl_eval_max_new(&j->settings, task),
                                is_shared(j, cell_number, index), rng, &answer);
        if (st == NATSL_OK && g->groups.leads)
            st = natsl_eval_part_add(g->part, cell, record_json(j, cell, task, index, &sample, &answer),
                                     json_pack("{s:I, s:i, s:I, s:f, s:f, s:I}", "index", (json_int_t)index, "ranks",
                                               g->runner.size, "read_tokens", (json_int_t)answer.read, "read_seconds",
                                               answer.read_s, "generate_seconds", answer.generate_s, "peak_bytes",
                                               (json_int_t)answer.peak_bytes));
        st = natsl_agree(g->runner.comm, st);
        if (st == NATSL_OK) natsl_eval_resume_finished(&g->resume, is_shared(j, cell_number, index));
        g->done += sample.tokens;
        natsl_eval_answer_free(&answer);
    }
    natsl_eval_sample_free(&sample);
    return st;
}

/* ---- groups ---------------------------------------------------------------------------------------------------------- */

/** Calls `each` for this group's samples of lengths [from, to) that are not done; NULL: counts their tokens. */
static natsl_status walk(group *g, size_t from, size_t to, natsl_status (*each)(group *, size_t, int64_t))
{
    natsl_eval_job *j = g->job;
    int64_t turn = -1;
    natsl_status st = NATSL_OK;
    for (size_t cell = from * j->n_tasks; cell < to * j->n_tasks; cell++) {
        int64_t haystack = -1; /* of the sample before: one group answers all questions about it */
        for (int64_t i = 0; i < j->store.cells[cell].samples; i++) {
            const int64_t first = natsl_eval_first(&j->settings, j->tasks[cell % j->n_tasks], i);
            if (j->done[cell * (size_t)j->samples + (size_t)i]) continue;
            if (first != haystack) turn++;
            haystack = first;
            if (turn % g->groups.count != g->groups.number) continue;
            if (!each) g->total += j->store.cells[cell].length;
            else if (natsl_groups_asked_to_stop(&g->groups)) return NATSL_INTERRUPTED;
            else if ((st = each(g, cell, i)) != NATSL_OK) return st;
        }
    }
    return st;
}

/** All samples of lengths [from, to), which have the same number of ranks per sample. */
static natsl_status run_lengths(natsl_eval_job *j, size_t from, size_t to)
{
    natsl_app *app = j->app;
    const natsl_args *a = &app->args;
    group g = {.job = j, .part = -1};
    natsl_groups_split(app, j->per_sample[from], &g.groups);
    g.runner = (natsl_eval_runner){.comm = g.groups.comm,
                                   .model = j->model,
                                   .options = j->options,
                                   .ids_only = j->ids_only,
                                   .tokenizer = j->tokenizer,
                                   .ends = j->info.eos_tokens,
                                   .n_ends = (size_t)j->info.n_eos,
                                   .how = {.temperature = a->temperature, .top_k = a->top_k, .top_p = a->top_p},
                                   .stops = a->stops,
                                   .n_stops = a->n_stops,
                                   .interrupted = natsl_signals_caught,
                                   .progress = show_progress,
                                   .user = &g};
    natsl_eval_resume_start(&g.resume, j, &g.groups);
    if (a->checkpoint) g.runner.keeper = &g.resume.keeper;
    natsl_status st = natsl_eval_runner_start(&g.runner);
    if (st == NATSL_OK && g.groups.leads) st = natsl_eval_part_open(a->out, app->rank, &g.part);
    st = natsl_app_agree(app, st);
    if (st == NATSL_OK) {
        (void)walk(&g, from, to, NULL);
        natsl_progress_start(&g.progress, app, "evaluating");
        st = walk(&g, from, to, answer_one);
        natsl_progress_finish(&g.progress);
        st = natsl_groups_agree(&g.groups, st);
        natsl_eval_resume_report(&g.resume, j);
        natsl_journal_gather(app);
    }
    if (g.part >= 0) (void)close(g.part);
    natsl_eval_maker_free(&g.maker);
    natsl_eval_runner_finish(&g.runner);
    natsl_groups_free(&g.groups);
    return st;
}

natsl_status natsl_eval_samples(natsl_eval_job *j)
{
    natsl_status st = natsl_eval_choose_ranks(j, 1);
    for (size_t from = 0, to; st == NATSL_OK && from < j->n_lengths; from = to) {
        for (to = from + 1; to < j->n_lengths && j->per_sample[to] == j->per_sample[from];) to++;
        st = run_lengths(j, from, to);
    }
    return st;
}
