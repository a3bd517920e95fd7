/* eval_score.c - natsl eval --score-only: predictions made elsewhere, or before, are scored. See eval_job.h. */
#include "eval_job.h"

#include "agree.h"
#include "core.h"
#include "score.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/** The last parts of a path, the file's name without ".jsonl" first; "": there are no more. */
static void split_path(const char *path, char parts[3][128])
{
    const char *end = path + strlen(path);
    for (int i = 0; i < 3; i++) {
        const char *begin = end;
        while (begin > path && begin[-1] != '/') begin--;
        (void)snprintf(parts[i], 128, "%.*s", (int)(end - begin), begin);
        end = begin;
        while (end > path && end[-1] == '/') end--;
    }
    char *dot = strrchr(parts[0], '.');
    if (dot && strcmp(dot, ".jsonl") == 0) *dot = '\0';
}

/** A whole number and nothing else; 0: it is none. */
static int64_t number_of(const char *text)
{
    if (!text[0] || strlen(text) > 12 || text[strspn(text, "0123456789")]) return 0;
    return atoll(text);
}

/** What a file is about: <length>/pred/<task>.jsonl, or <task>-<part>.jsonl, as RULER's program writes; <task>/<length>.jsonl as natsl
 * does; else the file's name and --lengths. */
static natsl_status describe(const natsl_eval_job *j, const char *path, char task[128], int64_t *length)
{
    char parts[3][128];
    split_path(path, parts);
    *length = j->n_lengths == 1 ? j->lengths[0] : 0;
    if (number_of(parts[0]) > 0 && parts[1][0]) {
        *length = number_of(parts[0]);
        (void)snprintf(task, 128, "%s", parts[1]);
    } else {
        if (strcmp(parts[1], "pred") == 0 && number_of(parts[2]) > 0) *length = number_of(parts[2]);
        (void)snprintf(task, 128, "%s", parts[0]);
        char *dash = strrchr(task, '-');
        if (dash && dash > task && dash[1] && !dash[1 + strspn(dash + 1, "0123456789")]) *dash = '\0';
    }
    if (*length > 0) return natsl_eval_check_name(path, task, 128);
    return natsl_fail(
        NATSL_ERR_USAGE,
        "%s: its path does not say a length (<length>/pred/<task>.jsonl, <task>/<length>.jsonl), expected "
        "--lengths L",
        path);
}

static natsl_status metric_of(const natsl_eval_job *j, const char *path, const char *task, natsl_eval_metric *metric)
{
    const char *suite = j->app->args.suite;
    const natsl_eval_task *known = natsl_eval_task_find(suite, task);
    *metric = strcmp(suite, "babilong") == 0 ? NATSL_EVAL_LABEL : (natsl_eval_metric)j->app->args.metric;
    if (known) *metric = known->metric;
    if (known || natsl_eval_files_of(suite) == NATSL_FILES_LINES || *metric == NATSL_EVAL_LABEL) return NATSL_OK;
    return natsl_fail(NATSL_ERR_USAGE, "%s: suite %s has no task '%s'; expected --suite jsonl, with a --metric", path,
                      suite, task);
}

/** The cell of (task, length), made when it is not there. j->names has the tasks' names: of so many files, at most as many. */
static size_t find_cell(natsl_eval_job *j, const char *task, int64_t length, natsl_eval_metric metric)
{
    natsl_eval_store *s = &j->store;
    size_t name = 0;
    for (size_t i = 0; i < s->n_cells; i++) {
        if (s->cells[i].length == length && strcmp(s->cells[i].task, task) == 0) return i;
    }
    while (j->names[name][0] && strcmp(j->names[name], task) != 0) name++;
    (void)snprintf(j->names[name], sizeof j->names[name], "%s", task);
    s->cells[s->n_cells] = (natsl_eval_cell){.task = j->names[name], .length = length, .metric = (int)metric};
    return s->n_cells++;
}

/** Labels and question of a line, for scores by label. */
static natsl_status take_labels(const json_t *line, const char *where, natsl_eval_sample *s, const char ***labels)
{
    const json_t *others = json_object_get(line, "others"), *list = json_object_get(others, "labels"),
                 *question = json_object_get(others, "question"), *label;
    size_t i;
    if (!json_is_array(list) || !json_is_string(question))
        return natsl_fail(NATSL_ERR_INPUT, "%s: no \"question\" and \"labels\" in \"others\"", where);
    *labels = natsl_alloc(json_array_size(list), sizeof **labels, "labels");
    s->question = natsl_alloc(json_string_length(question) + 1, 1, "a question");
    if (!*labels || !s->question) return NATSL_ERR_NOMEM;
    memcpy(s->question, json_string_value(question), json_string_length(question) + 1);
    json_array_foreach(list, i, label)
    {
        if (!json_is_string(label)) return natsl_fail(NATSL_ERR_INPUT, "%s: label %zu is no text", where, i);
        (*labels)[i] = json_string_value(label);
    }
    s->labels = *labels;
    s->n_labels = json_array_size(list);
    return NATSL_OK;
}

/** A line becomes a record with hits. */
static natsl_status score_line(const json_t *line, natsl_eval_metric metric, const char *where, int64_t number,
                               json_t **out)
{
    const json_t *pred = json_object_get(line, "pred"), *outputs = json_object_get(line, "outputs"),
                 *index = json_object_get(line, "index"), *depth = json_object_get(line, "depth");
    natsl_eval_sample s = {0};
    const char **labels = NULL;
    const size_t n = json_array_size(outputs);
    if (!json_is_string(pred)) return natsl_fail(NATSL_ERR_INPUT, "%s: no \"pred\" with a text", where);
    if (n == 0) return natsl_fail(NATSL_ERR_INPUT, "%s: no \"outputs\" with a list of texts", where);
    natsl_status st = natsl_eval_outputs(&s, n);
    for (size_t i = 0; i < n && st == NATSL_OK; i++) {
        const json_t *one = json_array_get(outputs, i), *d = json_array_get(depth, i);
        if (!json_is_string(one) || strlen(json_string_value(one)) != json_string_length(one))
            st = natsl_fail(NATSL_ERR_INPUT, "%s: expected output %zu is no text, or has a character 0", where, i);
        else
            st = natsl_eval_output_set(&s.outputs[i], json_string_value(one), json_string_length(one),
                                       json_is_number(d) ? json_number_value(d) : -1.0);
    }
    if (st == NATSL_OK && metric == NATSL_EVAL_LABEL) st = take_labels(line, where, &s, &labels);
    char *text = natsl_alloc(json_string_length(pred) + 1, 1, "a prediction");
    json_t *hits = json_array(), *depths = json_array();
    if (st == NATSL_OK && !text) st = NATSL_ERR_NOMEM;
    if (st == NATSL_OK) {
        memcpy(text, json_string_value(pred), json_string_length(pred));
        const size_t length = natsl_score_clean(text, json_string_length(pred));
        for (size_t i = 0; i < n; i++) {
            (void)json_array_append_new(hits, json_integer(natsl_eval_hit(metric, &s, i, text, length)));
            (void)json_array_append_new(depths, json_real(s.outputs[i].depth));
        }
        *out = json_pack("{s:I, s:O, s:O, s:O*, s:O, s:O}", "index",
                         json_is_integer(index) ? json_integer_value(index) : (json_int_t)number - 1, "pred", pred,
                         "outputs", outputs, "others", json_object_get(line, "others"), "depth", depths, "hits", hits);
        if (!*out) st = natsl_fail(NATSL_ERR_NOMEM, "%s: no memory", where);
    }
    json_decref(hits);
    json_decref(depths);
    natsl_free(text);
    natsl_free(labels);
    natsl_eval_sample_free(&s);
    return st;
}

/** All lines of a file. */
static natsl_status score_file(natsl_eval_job *j, const char *path, natsl_eval_cell *cell)
{
    char *line = NULL, where[4096];
    size_t room = 0, length = 0;
    int ended = 0;
    int64_t bad = 0;
    natsl_status st = NATSL_OK;
    FILE *file = fopen(path, "rb");
    if (!file) return natsl_fail(NATSL_ERR_INPUT, "%s: %s", path, strerror(errno));
    for (int64_t number = 1; st == NATSL_OK; number++) {
        json_error_t error;
        json_t *record = NULL;
        st = natsl_line_read(file, path, number, &line, &room, &length, &ended);
        if (st != NATSL_OK || (length == 0 && !ended)) break;
        (void)snprintf(where, sizeof where, "%s, line %lld", path, (long long)number);
        json_t *object = json_loadb(line, length, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error);
        if (!object) st = natsl_fail(NATSL_ERR_INPUT, "%s, column %d: %s", where, error.column, error.text);
        else if (!json_is_object(object)) st = natsl_fail(NATSL_ERR_INPUT, "%s: no JSON object", where);
        else st = score_line(object, (natsl_eval_metric)cell->metric, where, number, &record);
        if (st == NATSL_OK) st = natsl_eval_cell_append(cell, record);
        else if (st == NATSL_ERR_INPUT && j->app->args.keep_going) {
            if (bad++ == 0) fprintf(stderr, "warning: left out %s\n", natsl_error_text());
            st = NATSL_OK;
        }
        json_decref(object);
    }
    if (bad > 1) fprintf(stderr, "warning: %lld lines of %s are left out\n", (long long)bad, path);
    free(line);
    (void)fclose(file);
    return st;
}

static int longest_first(const void *a, const void *b)
{
    const int64_t x = ((const natsl_eval_cell *)a)->length, y = ((const natsl_eval_cell *)b)->length;
    return x > y ? -1 : x < y;
}

/** The rank that has the files. */
static natsl_status score_files(natsl_eval_job *j)
{
    const natsl_args *a = &j->app->args;
    natsl_status st = NATSL_OK;
    j->store = (natsl_eval_store){.directory = a->out, .elsewhere = 1};
    j->store.cells = natsl_calloc((size_t)a->n_operands, sizeof *j->store.cells, "results");
    if (!j->store.cells) return NATSL_ERR_NOMEM;
    for (int i = 0; i < a->n_operands && st == NATSL_OK; i++) {
        char task[128];
        int64_t length;
        natsl_eval_metric metric = NATSL_EVAL_ALL;
        st = describe(j, a->operands[i], task, &length);
        if (st == NATSL_OK) st = metric_of(j, a->operands[i], task, &metric);
        if (st == NATSL_OK) st = score_file(j, a->operands[i], &j->store.cells[find_cell(j, task, length, metric)]);
    }
    for (size_t i = 0; i < j->store.n_cells && st == NATSL_OK; i++) {
        if (j->store.cells[i].samples == 0)
            st = natsl_fail(NATSL_ERR_INPUT, "%s: no predictions", j->store.cells[i].task);
        if (j->store.cells[i].samples > j->samples) j->samples = j->store.cells[i].samples;
    }
    qsort(j->store.cells, j->store.n_cells, sizeof *j->store.cells, longest_first);
    return st;
}

natsl_status natsl_eval_score_files(natsl_eval_job *j)
{
    return natsl_app_agree(j->app, j->app->rank == 0 ? score_files(j) : NATSL_OK);
}
