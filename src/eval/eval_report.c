/* eval_report.c - the page of results. See eval_report.h. */
#include "eval_report.h"

#include "eval_chart.h"
#include "eval_page.h"
#include "eval_results.h"
#include "eval_task.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static const char style[] =
    ":root{--bg:#fff;--fg:#1b1f24;--mute:#5b6570;--grid:#dfe3e8;--card:#f5f6f8;--c0:#2463a6;--c1:#c2500c;--c2:#0d7a6b;-"
    "-c3:#7a3fc4;"
    "--c4:#a8226d;--c5:#6d6a12}"
    "@media(prefers-color-scheme:dark){:root{--bg:#14171b;--fg:#e7e9ec;--mute:#9ba6b1;--grid:#2e353c;--card:#1c2127;--"
    "c0:#74aef2;"
    "--c1:#f3965a;--c2:#4cc7b3;--c3:#b995f2;--c4:#ee86bd;--c5:#cfcb62}}"
    "*{box-sizing:border-box}body{margin:0 auto;padding:24px 28px "
    "60px;max-width:1180px;background:var(--bg);color:var(--fg);"
    "font:15px/1.5 system-ui,-apple-system,'Segoe UI',Roboto,'DejaVu Sans',sans-serif}"
    "h1{font-size:26px;margin:0 0 2px}h2{font-size:19px;margin:38px 0 8px;padding-top:14px;border-top:1px solid "
    "var(--grid)}"
    "h3{font-size:15px;margin:18px 0 4px}p{margin:4px 0 10px;color:var(--mute);max-width:80ch}"
    ".row{display:flex;flex-wrap:wrap;gap:14px 20px;align-items:flex-start}"
    ".card{background:var(--card);border-radius:8px;padding:10px 16px;min-width:150px}.card "
    "b{display:block;font-size:24px;line-height:1.25}"
    ".card span{color:var(--mute);font-size:13px}"
    "figure{margin:0;flex:1 1 "
    "250px}figcaption{font-weight:600;font-size:13.5px}svg{display:block;width:100%;height:auto}"
    "svg text{font-size:11px;fill:var(--mute)}svg "
    "text.o{fill:var(--bg);font-weight:600}.e{text-anchor:end}.m,.k{text-anchor:middle}svg "
    "text.k{fill:#111820;font-weight:600}"
    ".g{stroke:var(--grid);fill:none}.l{fill:none;stroke-width:2}.w{fill:none;stroke-width:1.2;opacity:.75}.n{fill:var("
    "--card)}"
    ".c0{stroke:var(--c0)}.c1{stroke:var(--c1)}.c2{stroke:var(--c2)}.c3{stroke:var(--c3)}.c4{stroke:var(--c4)}.c5{"
    "stroke:var(--c5)}"
    ".f0{fill:var(--c0)}.f1{fill:var(--c1)}.f2{fill:var(--c2)}.f3{fill:var(--c3)}.f4{fill:var(--c4)}.f5{fill:var(--c5)}"
    "table{border-collapse:collapse;font-size:13.5px;margin:6px 0 14px;font-variant-numeric:tabular-nums}"
    "th,td{padding:3px 12px 3px 0;text-align:right;border-bottom:1px solid "
    "var(--grid);white-space:nowrap}th:first-child,td:first-child{text-align:left}"
    "th{color:var(--mute);font-weight:600}td small{color:var(--mute)}.wide{overflow-x:auto}"
    ".legend{display:flex;flex-wrap:wrap;gap:4px 18px;font-size:13.5px;margin:4px 0 8px}.legend "
    "i{display:inline-block;width:12px;height:12px;"
    "border-radius:3px;margin-right:6px;vertical-align:-1px}.bar{height:10px;width:180px;border-radius:3px;display:"
    "inline-block;vertical-align:-1px;"
    "background:linear-gradient(90deg,#f0496e,#ebb839,#0cd79f)}code{font-size:13px}";

/* ---- what the page is about ------------------------------------------------------------------------------------------ */

const json_t *natsl_page_cell(const natsl_page *p, size_t run, const char *task, int64_t length)
{
    size_t i;
    const json_t *cell;
    json_array_foreach(json_object_get(p->runs[run].results, "tasks"), i, cell)
    {
        const char *name = natsl_page_word(cell, "task");
        if (name && strcmp(name, task) == 0 && json_integer_value(json_object_get(cell, "length")) == length)
            return cell;
    }
    return NULL;
}

static int ascending(const void *a, const void *b)
{
    const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

void natsl_page_survey(natsl_page *p)
{
    for (size_t r = 0; r < p->n_runs; r++) {
        size_t i, k;
        const json_t *cell;
        json_array_foreach(json_object_get(p->runs[r].results, "tasks"), i, cell)
        {
            const char *task = natsl_page_word(cell, "task");
            const int64_t length = json_integer_value(json_object_get(cell, "length"));
            for (k = 0; k < p->n_lengths && p->lengths[k] != length;) k++;
            if (k == p->n_lengths && k < MOST_LENGTHS) p->lengths[p->n_lengths++] = length;
            else if (k == p->n_lengths) p->left_out++;
            for (k = 0; k < p->n_tasks && strcmp(p->tasks[k], task) != 0;) k++;
            if (k == p->n_tasks && k < MOST_TASKS) p->tasks[p->n_tasks++] = task;
            else if (k == p->n_tasks) p->left_out++;
        }
    }
    qsort(p->lengths, p->n_lengths, sizeof *p->lengths, ascending);
}

natsl_status natsl_eval_result_read(const char *path, json_t **out)
{
    char file[4096];
    struct stat there;
    json_error_t error;
    size_t i;
    const json_t *cell;
    *out = NULL;
    const int directory = stat(path, &there) == 0 && S_ISDIR(there.st_mode);
    const int n = snprintf(file, sizeof file, "%s%s", path, directory ? "/results.json" : "");
    if (n < 0 || (size_t)n >= sizeof file) return natsl_fail(NATSL_ERR_USAGE, "%.100s...: the path is too long", path);
    json_t *results = json_load_file(file, JSON_REJECT_DUPLICATES, &error);
    if (!results) return natsl_fail(NATSL_ERR_INPUT, "%s, line %d: %s", file, error.line, error.text);
    const json_t *cells = json_object_get(results, "tasks");
    int good = natsl_page_word(results, "format") && strcmp(natsl_page_word(results, "format"), "natsl-eval") == 0 &&
               json_integer_value(json_object_get(results, "format_version")) == 1 && json_is_array(cells) &&
               json_is_object(json_object_get(results, "settings"));
    json_array_foreach(cells, i, cell)
    {
        const json_t *length = json_object_get(cell, "length");
        good &= natsl_page_word(cell, "task") != NULL && json_is_integer(length) && json_integer_value(length) > 0;
    }
    if (!good || json_array_size(cells) == 0) {
        json_decref(results);
        return natsl_fail(NATSL_ERR_INPUT, "%s: not a results.json of natsl eval", file);
    }
    *out = results;
    return NATSL_OK;
}

/* ---- head ------------------------------------------------------------------------------------------------------------ */

static void put_card(natsl_buffer *b, const char *what, double value)
{
    natsl_puts(b, "<div class=\"card\"><b>");
    if (isfinite(value)) natsl_printf(b, "%.1f", value);
    else natsl_puts(b, "&ndash;");
    natsl_printf(b, "</b><span>%s</span></div>\n", what);
}

static void put_legend(natsl_page *p)
{
    natsl_buffer *b = p->out;
    if (p->n_runs < 2) return;
    natsl_puts(b, "<div class=\"legend\">");
    for (size_t r = 0; r < p->n_runs; r++) {
        natsl_printf(b, "<span><i style=\"background:var(--c%zu)\"></i>", r % NATSL_CHART_COLOURS);
        natsl_put_html(b, p->runs[r].name);
        natsl_puts(b, "</span>");
    }
    natsl_puts(b, "</div>\n");
}

/** What was evaluated, and how. */
static void put_run(natsl_page *p, size_t r)
{
    natsl_buffer *b = p->out;
    char text[24];
    const json_t *results = p->runs[r].results, *settings = json_object_get(results, "settings");
    const int64_t effective = json_integer_value(json_object_get(results, "effective_length"));
    if (p->n_runs > 1) {
        natsl_puts(b, "<h3>");
        natsl_put_html(b, p->runs[r].name);
        natsl_puts(b, "</h3>\n");
    }
    const int documents = !isfinite(natsl_page_real(results, "average"));
    natsl_puts(b, "<p>");
    if (natsl_page_word(results, "model")) {
        natsl_put_html(b, natsl_page_word(results, "model"));
        natsl_puts(b, ", weights <code>");
        natsl_put_html(b, natsl_page_word(settings, "model_digest"));
        natsl_puts(b, "</code>, route ");
        natsl_put_html(b, natsl_page_word(settings, "route"));
        if (!documents) {
            natsl_puts(b, ", mode ");
            natsl_put_html(b, natsl_page_word(settings, "mode"));
            natsl_printf(b, ", seed %lld, %lld samples of each task and length",
                         (long long)json_integer_value(json_object_get(settings, "seed")),
                         (long long)json_integer_value(json_object_get(results, "samples")));
        }
    } else {
        natsl_puts(b, "Predictions of some model, scored");
    }
    if (natsl_page_word(results, "haystack") && natsl_page_word(settings, "haystack_sha256")) {
        natsl_puts(b, "; haystack ");
        natsl_put_html(b, natsl_page_word(results, "haystack"));
        natsl_puts(b, " (SHA-256 <code>");
        (void)snprintf(text, 17, "%s", natsl_page_word(settings, "haystack_sha256"));
        natsl_put_html(b, text);
        natsl_puts(b, "</code>)");
    }
    natsl_puts(b, ".</p>\n");
    if (documents) return;
    natsl_puts(b, "<div class=\"row\">");
    put_card(b, "average score", natsl_page_real(results, "average"));
    put_card(b, "weighted to long lengths", natsl_page_real(results, "weighted_average_increasing"));
    put_card(b, "weighted to short lengths", natsl_page_real(results, "weighted_average_decreasing"));
    natsl_printf(b, "<div class=\"card\"><b>%s</b><span>effective length (score of %.1f or more)</span></div></div>\n",
                 effective > 0 ? natsl_short_tokens(effective, text) : "none", NATSL_EFFECTIVE_SCORE);
}

/* ---- scores ---------------------------------------------------------------------------------------------------------- */

static void put_score(natsl_buffer *b, const json_t *cell)
{
    natsl_printf(b, "<td>%.1f <small>%.0f&ndash;%.0f, n=%lld</small>", natsl_page_real(cell, "score"),
                 natsl_page_real(cell, "low"), natsl_page_real(cell, "high"),
                 (long long)json_integer_value(json_object_get(cell, "samples")));
    const json_int_t unfit = json_integer_value(json_object_get(cell, "do_not_fit"));
    if (unfit > 0) natsl_printf(b, " <small class=\"bad\">%lld do not fit</small>", (long long)unfit);
}

static void put_loss(natsl_buffer *b, const json_t *cell)
{
    natsl_printf(b, "<td>%.4f <small>perplexity %.4g, %.0f tokens</small>", natsl_page_real(cell, "loss"),
                 natsl_page_real(cell, "perplexity"), natsl_page_real(cell, "loss_tokens"));
}

/** Run r by what a row is (task, document) and length: a cell that has the number `key` is put by `put`. */
static void put_table(natsl_page *p, size_t r, const char *row, const char *key,
                      void (*put)(natsl_buffer *, const json_t *))
{
    natsl_buffer *b = p->out;
    char text[24];
    natsl_puts(b, "<div class=\"wide\"><table><tr><th>");
    natsl_put_html(b, p->n_runs > 1 ? p->runs[r].name : row);
    for (size_t l = 0; l < p->n_lengths; l++) natsl_printf(b, "<th>%s", natsl_short_tokens(p->lengths[l], text));
    natsl_puts(b, "</tr>\n");
    for (size_t t = 0; t < p->n_tasks; t++) {
        natsl_puts(b, "<tr><td>");
        natsl_put_html(b, p->tasks[t]);
        for (size_t l = 0; l < p->n_lengths; l++) {
            const json_t *cell = natsl_page_cell(p, r, p->tasks[t], p->lengths[l]);
            if (!isfinite(natsl_page_real(cell, key))) natsl_puts(b, "<td>&ndash;");
            else put(b, cell);
        }
        natsl_puts(b, "</tr>\n");
    }
    natsl_puts(b, "</table></div>\n");
}

/** The mean score at every length of every run, as results have it: none where a task is missing. */
static void collect_means(const natsl_page *p, double *values)
{
    for (size_t r = 0; r < p->n_runs; r++) {
        const json_t *lengths = json_object_get(p->runs[r].results, "lengths"), *one;
        double *row = values + r * p->n_lengths;
        size_t i;
        for (size_t l = 0; l < p->n_lengths; l++) row[l] = NAN;
        json_array_foreach(lengths, i, one)
        {
            for (size_t l = 0; l < p->n_lengths; l++) {
                if (json_integer_value(json_object_get(one, "length")) == p->lengths[l])
                    row[l] = natsl_page_real(one, "score");
            }
        }
    }
}

/** One value of every run and length: [run][length]. task NULL: the mean over those tasks that have it. */
static void collect(const natsl_page *p, const char *task, const char *what, double *values)
{
    for (size_t r = 0; r < p->n_runs; r++) {
        for (size_t l = 0; l < p->n_lengths; l++) {
            double sum = 0.0;
            size_t n = 0;
            for (size_t t = 0; t < p->n_tasks; t++) {
                if (task && strcmp(task, p->tasks[t]) != 0) continue;
                const double v = natsl_page_real(natsl_page_cell(p, r, p->tasks[t], p->lengths[l]), what);
                if (isfinite(v)) sum += v, n++;
            }
            values[r * p->n_lengths + l] = n ? sum / (double)n : NAN;
        }
    }
}

/** A chart of all runs over lengths. intervals: those of the cells (task not NULL). */
static natsl_status put_lines(natsl_page *p, int width, int height, const char *title, const char *task,
                              const char *what, double factor, double top, const char *unit)
{
    const size_t n = p->n_lengths, all = p->n_runs * n;
    double *values = natsl_alloc(3 * all, sizeof *values, "a chart");
    natsl_series *series = natsl_calloc(p->n_runs, sizeof *series, "a chart");
    const int ok = values && series, whiskers = task && strcmp(what, "score") == 0;
    if (ok) {
        if (!task && strcmp(what, "score") == 0) collect_means(p, values);
        else collect(p, task, what, values);
        collect(p, task, "low", values + all);
        collect(p, task, "high", values + 2 * all);
        for (size_t i = 0; i < all; i++) values[i] *= factor;
        for (size_t r = 0; r < p->n_runs; r++)
            series[r] = (natsl_series){p->runs[r].name, (int)r, values + r * n, whiskers ? values + all + r * n : NULL,
                                       whiskers ? values + 2 * all + r * n : NULL};
        natsl_chart_lines(p->out, width, height, title, p->lengths, n, series, p->n_runs, top, unit);
    }
    natsl_free(values);
    natsl_free(series);
    return ok ? NATSL_OK : NATSL_ERR_NOMEM;
}

/* ---- depth ----------------------------------------------------------------------------------------------------------- */

static const char *const depth_names[NATSL_EVAL_BANDS] = {"0", "10", "20", "30", "40", "50", "60", "70", "80", "90"};

/** Share of expected outputs that were found, [band][length]. task NULL: of all tasks. Returns whether there is any. */
static int depth_shares(const natsl_page *p, size_t run, const char *task, double *shares)
{
    int any = 0;
    for (size_t l = 0; l < p->n_lengths; l++) {
        double outputs[NATSL_EVAL_BANDS] = {0}, found[NATSL_EVAL_BANDS] = {0};
        for (size_t t = 0; t < p->n_tasks; t++) {
            if (task && strcmp(task, p->tasks[t]) != 0) continue;
            const json_t *bands = json_object_get(natsl_page_cell(p, run, p->tasks[t], p->lengths[l]), "by_depth");
            for (size_t d = 0; d < NATSL_EVAL_BANDS; d++) {
                outputs[d] += json_number_value(json_object_get(json_array_get(bands, d), "outputs"));
                found[d] += json_number_value(json_object_get(json_array_get(bands, d), "found"));
            }
        }
        for (size_t d = 0; d < NATSL_EVAL_BANDS; d++) {
            shares[d * p->n_lengths + l] = outputs[d] > 0.0 ? found[d] / outputs[d] : NAN;
            any |= outputs[d] > 0.0;
        }
    }
    return any;
}

static void put_depths(natsl_page *p)
{
    double shares[NATSL_EVAL_BANDS * MOST_LENGTHS];
    natsl_buffer *b = p->out;
    int any = 0;
    for (size_t r = 0; r < p->n_runs; r++) any |= depth_shares(p, r, NULL, shares);
    if (!any) return;
    natsl_puts(b, "<h2>Depth and length</h2><p>Share of hidden values that were found, by where in the context they "
                  "were hidden (0: at its "
                  "beginning) and how long it was. <span class=\"bar\"></span> 0 to 100 %</p>\n");
    natsl_puts(b, "<div class=\"row\">");
    for (size_t r = 0; r < p->n_runs; r++) {
        const char *title = p->n_runs > 1 ? p->runs[r].name : "all tasks";
        if (depth_shares(p, r, NULL, shares))
            natsl_chart_heat(b, 540, 300, title, "Depth Percent", depth_names, NATSL_EVAL_BANDS, p->lengths,
                             p->n_lengths, shares, 1);
    }
    natsl_puts(b, "</div>\n");
    for (size_t r = 0; r < p->n_runs && p->n_tasks > 1; r++) {
        if (!depth_shares(p, r, NULL, shares)) continue;
        natsl_puts(b, "<h3>By task");
        if (p->n_runs > 1) natsl_puts(b, ": "), natsl_put_html(b, p->runs[r].name);
        natsl_puts(b, "</h3><div class=\"row\">");
        for (size_t t = 0; t < p->n_tasks; t++) {
            if (depth_shares(p, r, p->tasks[t], shares))
                natsl_chart_heat(b, 350, 226, p->tasks[t], "Depth Percent", depth_names, NATSL_EVAL_BANDS, p->lengths,
                                 p->n_lengths, shares, 1);
        }
        natsl_puts(b, "</div>\n");
    }
}

/* ---- documents ------------------------------------------------------------------------------------------------------- */

#define MOST_BINS 4096

/** The cell of a task's longest length that has loss by position; NULL: none. */
static const json_t *longest_document(const natsl_page *p, size_t run, const char *task)
{
    for (size_t l = p->n_lengths; l-- > 0;) {
        const json_t *cell = natsl_page_cell(p, run, task, p->lengths[l]);
        if (json_array_size(json_object_get(cell, "by_position")) > 0) return cell;
    }
    return NULL;
}

static int has_documents(const natsl_page *p)
{
    for (size_t r = 0; r < p->n_runs; r++) {
        for (size_t t = 0; t < p->n_tasks; t++) {
            if (longest_document(p, r, p->tasks[t])) return 1;
        }
    }
    return 0;
}

/** Loss by position of a document's longest windows; NULL: none. */
static const json_t *bins_of(const natsl_page *p, size_t run, const char *task)
{
    return json_object_get(longest_document(p, run, task), "by_position");
}

/** Whether bins end at the same places, as far as both go. */
static int same_bins(const json_t *a, const json_t *b)
{
    for (size_t i = 0; i < json_array_size(a) && i < json_array_size(b); i++) {
        if (json_integer_value(json_object_get(json_array_get(a, i), "to")) !=
            json_integer_value(json_object_get(json_array_get(b, i), "to")))
            return 0;
    }
    return 1;
}

/** Loss against position of one document, of all runs that have the bins of run `first`; they are marked as drawn. */
static natsl_status put_document(natsl_page *p, const char *task, size_t first, unsigned char *drawn, int width,
                                 int height)
{
    const json_t *like = bins_of(p, first, task);
    size_t n = 0, s = 0;
    for (size_t r = first; r < p->n_runs; r++) {
        const json_t *bins = bins_of(p, r, task);
        if (drawn[r] || json_array_size(bins) <= n || !same_bins(like, bins)) continue;
        like = bins; /* those after it must agree with it whole */
        n = json_array_size(bins) < MOST_BINS ? json_array_size(bins) : MOST_BINS;
    }
    int64_t *ends = natsl_calloc(n, sizeof *ends, "a chart");
    double *values = natsl_alloc(p->n_runs * n, sizeof *values, "a chart");
    natsl_series *series = natsl_calloc(p->n_runs, sizeof *series, "a chart");
    const int ok = ends && values && series;
    for (size_t r = first; ok && r < p->n_runs; r++) {
        const json_t *bins = bins_of(p, r, task);
        if (drawn[r] || json_array_size(bins) == 0 || !same_bins(like, bins)) continue;
        for (size_t i = 0; i < n; i++) {
            const json_t *bin = json_array_get(bins, i);
            values[r * n + i] = natsl_page_real(bin, "loss");
            if (bin) ends[i] = json_integer_value(json_object_get(bin, "to"));
        }
        drawn[r] = 1;
        series[s++] = (natsl_series){p->runs[r].name, (int)r, values + r * n, NULL, NULL};
    }
    if (ok) natsl_chart_lines(p->out, width, height, task, ends, n, series, s, -1.0, "");
    natsl_free(ends);
    natsl_free(values);
    natsl_free(series);
    return ok ? NATSL_OK : NATSL_ERR_NOMEM;
}

/** All runs of one document: those whose bins differ have charts of their own. */
static natsl_status put_runs(natsl_page *p, const char *task, int width, int height)
{
    natsl_status st = NATSL_OK;
    unsigned char *drawn = natsl_calloc(p->n_runs, 1, "a chart");
    if (!drawn) return NATSL_ERR_NOMEM;
    for (size_t r = 0; r < p->n_runs && st == NATSL_OK; r++) {
        if (!drawn[r] && json_array_size(bins_of(p, r, task)) > 0) st = put_document(p, task, r, drawn, width, height);
    }
    natsl_free(drawn);
    return st;
}

static natsl_status put_documents(natsl_page *p)
{
    natsl_status st = NATSL_OK;
    natsl_puts(p->out,
               "<h2>Loss by position</h2><p>Nats per token against where in the window the token is; a point stands "
               "for the tokens up to its position from that of the point before. The longest windows of each "
               "document.</p>\n");
    put_legend(p);
    natsl_puts(p->out, "<div class=\"row\">");
    for (size_t t = 0; t < p->n_tasks && st == NATSL_OK; t++)
        st = put_runs(p, p->tasks[t], p->n_tasks > 1 ? 540 : 1110, p->n_tasks > 1 ? 230 : 260);
    natsl_puts(p->out, "</div><h2>All losses</h2>\n");
    for (size_t r = 0; r < p->n_runs; r++) put_table(p, r, "document", "loss", put_loss);
    return st;
}

/* ---- the page -------------------------------------------------------------------------------------------------------- */

/** Whether natsl has read any of it: predictions made elsewhere have no speed. */
static int has_speeds(const natsl_page *p)
{
    for (size_t r = 0; r < p->n_runs; r++) {
        if (natsl_page_word(p->runs[r].results, "model")) return 1;
    }
    return 0;
}

static int has_scores(const natsl_page *p)
{
    for (size_t r = 0; r < p->n_runs; r++) {
        if (isfinite(natsl_page_real(p->runs[r].results, "average"))) return 1;
    }
    return 0;
}

/** Scores by length, by depth, and all of them. */
static natsl_status put_scores(natsl_page *p)
{
    natsl_buffer *out = p->out;
    natsl_status st = NATSL_OK;
    if (p->left_out > 0)
        natsl_printf(out,
                     "<p>%zu results of further tasks or lengths are not shown: at most %d tasks, %d lengths.</p>\n",
                     p->left_out, MOST_TASKS, MOST_LENGTHS);
    natsl_puts(out,
               "<h2>Score by length</h2><p>Percent; bars are 95 % intervals (Wilson) of each task's samples.</p>\n");
    put_legend(p);
    natsl_puts(out, "<div class=\"row\">");
    st = put_lines(p, 1110, 240, "mean over tasks", NULL, "score", 1.0, 100.0, "");
    natsl_puts(out, "</div><div class=\"row\" style=\"margin-top:12px\">");
    for (size_t t = 0; t < p->n_tasks && st == NATSL_OK; t++)
        st = put_lines(p, 265, 150, p->tasks[t], p->tasks[t], "score", 1.0, 100.0, "");
    natsl_puts(out, "</div>\n");
    put_depths(p);
    natsl_puts(out, "<h2>All scores</h2>\n");
    for (size_t r = 0; r < p->n_runs; r++) put_table(p, r, "task", "score", put_score);
    return st;
}

natsl_status natsl_eval_report(const natsl_eval_result *runs, size_t count, natsl_buffer *out)
{
    natsl_page p = {.runs = runs, .n_runs = count, .out = out};
    natsl_status st = NATSL_OK;
    memset(out, 0, sizeof *out);
    natsl_page_survey(&p);
    natsl_puts(out, "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" "
                    "content=\"width=device-width\">"
                    "<meta name=\"color-scheme\" content=\"light dark\"><title>natsl eval</title>\n<style>");
    natsl_puts(out, style);
    natsl_puts(out, "</style></head><body>\n<h1>Long-context evaluation: ");
    natsl_put_html(out, natsl_page_word(json_object_get(runs[0].results, "settings"), "suite"));
    natsl_puts(out, "</h1>\n");
    for (size_t r = 0; r < count; r++) put_run(&p, r);
    if (has_scores(&p)) st = put_scores(&p);
    if (st == NATSL_OK && has_documents(&p)) st = put_documents(&p);
    if (!has_speeds(&p)) {
        natsl_puts(out, "</body></html>\n");
        if (out->failed) st = NATSL_ERR_NOMEM;
        if (st != NATSL_OK) natsl_buffer_free(out);
        return st;
    }
    natsl_puts(out, "<h2>Speed, and what the gate kept</h2>\n");
    put_legend(&p);
    natsl_puts(out, "<div class=\"row\">");
    if (st == NATSL_OK)
        st = put_lines(&p, 480, 220, "reading, tokens per second of one group of ranks", NULL, "read_tokens_per_s", 1.0,
                       0.0, "");
    if (st == NATSL_OK)
        st = put_lines(&p, 480, 220, "kept share of chunks, percent", NULL, "kept_share", 100.0, 0.0, "");
    natsl_puts(out, "</div><div class=\"row\" style=\"margin-top:12px\">");
    for (size_t r = 0; r < count; r++) natsl_page_layers(&p, r);
    natsl_puts(out, "</div>\n");
    natsl_page_strips(&p);
    natsl_puts(out, "</body></html>\n");
    if (out->failed) st = NATSL_ERR_NOMEM;
    if (st != NATSL_OK) natsl_buffer_free(out);
    return st;
}
