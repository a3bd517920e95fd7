/* eval_heatmap.c - depth by length as a picture of its own. See eval_report.h. */
#include "eval_chart.h"
#include "eval_page.h"
#include "eval_task.h"

#include <string.h>

#define LEAST_ACROSS 2 /* panels in a row, where there are as many */
#define MOST_ACROSS  4
#define MOST_WIDTH   1060.0 /* of more than the least */

/* The picture's measures, in its own units. */
#define MARGIN 18.0
#define LEFT   58.0 /* of a panel: before its cells */
#define ABOVE  34.0
#define BELOW  62.0
#define CELL_W 50.0
#define CELL_H 25.0
#define GAP    2.0
#define BAR    76.0 /* the scale on the right */

static const char style[] =
    "text{font:13px system-ui,-apple-system,'Segoe UI',Roboto,'DejaVu Sans',sans-serif;fill:#4a545e}"
    ".t{font-size:15px;font-weight:600;fill:#1b1f24}.l{font-weight:600;fill:#1b1f24}.s{font-size:10.5px}"
    ".m{text-anchor:middle}.e{text-anchor:end}.b{fill:#fff}.n{fill:#eef0f3}.k{font-size:12px;fill:#0d2a22;text-anchor:"
    "middle}"
    "@media(prefers-color-scheme:dark){text{fill:#a3adb8}.t,.l{fill:#e7e9ec}.b{fill:#14171b}.n{fill:#232a31}"
    ".k{fill:#0a1f19}.h{opacity:.92}}";

/** One task of one model: which run has each length. */
typedef struct panel {
    const char *task;
    size_t model;                 /* the first run of that model */
    size_t runs[MOST_LENGTHS];    /* by number of the page's length */
    int64_t have[MOST_LENGTHS];   /* samples there; 0: none */
    size_t columns[MOST_LENGTHS]; /* [n_columns] lengths that are there */
    size_t n_columns;
} panel;

static int same_word(const json_t *a, const json_t *b, const char *name)
{
    const char *x = natsl_page_word(a, name), *y = natsl_page_word(b, name);
    return x && y ? strcmp(x, y) == 0 : x == y;
}

/** Whether scores of a task may stand in one panel. */
static int same_model(const natsl_page *p, size_t one, size_t two, const char *task)
{
    const json_t *a = json_object_get(p->runs[one].results, "settings"),
                 *b = json_object_get(p->runs[two].results, "settings");
    const char *suite = natsl_page_word(a, "suite");
    const natsl_eval_task *known = suite ? natsl_eval_task_find(suite, task) : NULL;
    const int text = !known || known->text || known->kind == NATSL_EVAL_CLASSIC;
    return same_word(a, b, "suite") && same_word(a, b, "model_digest") && same_word(a, b, "route") &&
           same_word(a, b, "mode") && (!text || same_word(a, b, "haystack_sha256"));
}

/** Expected outputs of a cell that have a depth. */
static double outputs_of(const json_t *cell)
{
    double n = 0.0;
    for (size_t d = 0; d < NATSL_EVAL_BANDS; d++)
        n += json_number_value(json_object_get(json_array_get(json_object_get(cell, "by_depth"), d), "outputs"));
    return n;
}

/** One more panel; NULL: no memory. */
static panel *add_panel(panel **panels, size_t *n, size_t *room)
{
    if (*n == *room) {
        panel *more = natsl_alloc(2 * *room + 16, sizeof *more, "a heat map");
        if (!more) return NULL;
        if (*n > 0) memcpy(more, *panels, *n * sizeof *more);
        natsl_free(*panels);
        *panels = more;
        *room = 2 * *room + 16;
    }
    return &(*panels)[(*n)++];
}

static natsl_status find_panels(const natsl_page *p, panel **out, size_t *count)
{
    size_t n = 0, room = 0;
    panel *panels = NULL;
    for (size_t t = 0; t < p->n_tasks; t++) {
        const size_t first = n;
        for (size_t r = 0; r < p->n_runs; r++) {
            size_t k = first;
            for (size_t l = 0; l < p->n_lengths; l++) {
                const json_t *cell = natsl_page_cell(p, r, p->tasks[t], p->lengths[l]);
                const int64_t samples = json_integer_value(json_object_get(cell, "samples"));
                if (!cell || outputs_of(cell) <= 0.0) continue;
                for (k = first; k < n && !same_model(p, panels[k].model, r, p->tasks[t]);) k++;
                if (k == n) {
                    panel *fresh = add_panel(&panels, &n, &room);
                    *out = panels;
                    if (!fresh) return NATSL_ERR_NOMEM;
                    *fresh = (panel){.task = p->tasks[t], .model = r};
                }
                if (samples <= panels[k].have[l]) continue;
                panels[k].have[l] = samples;
                panels[k].runs[l] = r;
            }
        }
    }
    for (size_t k = 0; k < n; k++) {
        for (size_t l = 0; l < p->n_lengths; l++) {
            if (panels[k].have[l] > 0) panels[k].columns[panels[k].n_columns++] = l;
        }
    }
    *count = n;
    return NATSL_OK;
}

/** Units that a panel's name takes: of 15 px letters that are not the narrowest. */
static double title_width(const natsl_page *p, const panel *q, int named)
{
    return 8.6 * (double)(strlen(q->task) + (named ? strlen(p->runs[q->model].name) + 2 : 0));
}

static void put_cell(natsl_buffer *b, double x, double y, double outputs, double found)
{
    char colour[8];
    natsl_printf(b, "<rect x=\"%.0f\" y=\"%.0f\" width=\"%.0f\" height=\"%.0f\" rx=\"3\" ", x, y, CELL_W - GAP,
                 CELL_H - GAP);
    if (!(outputs > 0.0)) natsl_puts(b, "class=\"n\"/>\n");
    else
        natsl_printf(b,
                     "class=\"h\" fill=\"%s\"><title>%.0f of %.0f</title></rect><text class=\"k\" x=\"%.0f\" "
                     "y=\"%.1f\">%.0f</text>\n",
                     natsl_heat_colour(found / outputs, colour), found, outputs, x + (CELL_W - GAP) / 2.0,
                     y + CELL_H / 2.0 + 3.0, 100.0 * found / outputs);
}

static void put_panel(const natsl_page *p, const panel *q, int named, double left, double top)
{
    natsl_buffer *b = p->out;
    char text[24];
    const double x0 = left + LEFT, y0 = top + ABOVE, bottom = y0 + CELL_H * NATSL_EVAL_BANDS;
    const double middle = x0 + CELL_W * (double)q->n_columns / 2.0;
    natsl_printf(b, "<text class=\"t\" x=\"%.0f\" y=\"%.0f\">", x0, top + 18.0);
    natsl_put_html(b, q->task);
    if (named) natsl_puts(b, ", "), natsl_put_html(b, p->runs[q->model].name);
    natsl_puts(b, "</text>\n");
    for (int d = 0; d <= NATSL_EVAL_BANDS; d += 2)
        natsl_printf(b, "<text class=\"e\" x=\"%.0f\" y=\"%.0f\">%d</text>", x0 - 8.0, y0 + CELL_H * d + 3.0,
                     100 * d / NATSL_EVAL_BANDS);
    natsl_printf(b, "<text class=\"m\" transform=\"translate(%.0f %.0f) rotate(-90)\">Depth Percent</text>\n",
                 left + 14.0, (y0 + bottom) / 2.0);
    for (size_t i = 0; i < q->n_columns; i++) {
        const size_t l = q->columns[i];
        const double x = x0 + CELL_W * (double)i, at = x + (CELL_W - GAP) / 2.0;
        const json_t *bands = json_object_get(natsl_page_cell(p, q->runs[l], q->task, p->lengths[l]), "by_depth");
        for (int d = 0; d < NATSL_EVAL_BANDS; d++) {
            const json_t *band = json_array_get(bands, (size_t)d);
            put_cell(b, x, y0 + CELL_H * d, json_number_value(json_object_get(band, "outputs")),
                     json_number_value(json_object_get(band, "found")));
        }
        natsl_printf(b,
                     "<text class=\"l m\" x=\"%.0f\" y=\"%.0f\">%s</text><text class=\"s m\" x=\"%.0f\" "
                     "y=\"%.0f\">n = %lld</text>\n",
                     at, bottom + 16.0, natsl_short_tokens(p->lengths[l], text), at, bottom + 30.0,
                     (long long)q->have[l]);
    }
    natsl_printf(b, "<text class=\"m\" x=\"%.0f\" y=\"%.0f\">Token Limit</text>\n", middle, bottom + 50.0);
}

/** The scale beside the first row of panels. */
static void put_bar(natsl_buffer *b, double x, double top)
{
    const double y0 = top + ABOVE, height = CELL_H * NATSL_EVAL_BANDS - GAP;
    natsl_printf(b,
                 "<rect class=\"h\" x=\"%.0f\" y=\"%.0f\" width=\"12\" height=\"%.0f\" rx=\"3\" "
                 "fill=\"url(#scale)\"/>\n",
                 x, y0, height);
    for (int i = 0; i <= 4; i++)
        natsl_printf(b, "<text x=\"%.0f\" y=\"%.1f\">%d</text>", x + 18.0,
                     y0 + height * i / 4.0 +
                         (i == 0   ? 9.0
                          : i == 4 ? 0.0
                                   : 4.0),
                     100 - 25 * i);
    natsl_printf(b, "<text x=\"%.0f\" y=\"%.0f\">Score, %%</text>\n", x, y0 - 10.0);
}

natsl_status natsl_eval_heatmap(const natsl_eval_result *runs, size_t count, natsl_buffer *out)
{
    natsl_page p = {.runs = runs, .n_runs = count, .out = out};
    panel *panels = NULL;
    size_t columns = 1, n = 0;
    int named = 0;
    double title = 0.0;
    memset(out, 0, sizeof *out);
    natsl_page_survey(&p);
    natsl_status st = find_panels(&p, &panels, &n);
    if (st == NATSL_OK && n == 0) st = natsl_fail(NATSL_ERR_INPUT, "heat map: no task of these results has depths");
    if (st != NATSL_OK) {
        natsl_free(panels);
        return st;
    }
    for (size_t k = 0; k < n; k++) {
        if (panels[k].n_columns > columns) columns = panels[k].n_columns;
        named |= k > 0 && strcmp(panels[k].task, panels[k - 1].task) == 0;
    }
    for (size_t k = 0; k < n; k++) {
        const double wide = title_width(&p, &panels[k], named);
        if (wide > title) title = wide;
    }
    const double cells = CELL_W * (double)columns, panel_w = LEFT + (title > cells ? title : cells) + 18.0;
    size_t across = (size_t)(MOST_WIDTH / panel_w);
    across = across < LEAST_ACROSS ? LEAST_ACROSS : across > MOST_ACROSS ? MOST_ACROSS : across;
    if (across > n) across = n;
    const size_t rows = (n + across - 1) / across;
    const double note = p.left_out > 0 ? 24.0 : 0.0, panel_h = ABOVE + CELL_H * NATSL_EVAL_BANDS + BELOW,
                 width = 2.0 * MARGIN + panel_w * (double)across + BAR, height = MARGIN + panel_h * (double)rows + note;
    natsl_printf(out,
                 "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %.0f %.0f\" width=\"%.0f\" height=\"%.0f\" "
                 "role=\"img\" aria-label=\"share of hidden values found, by depth and length\">\n<style>",
                 width, height, width, height);
    natsl_puts(out, style);
    natsl_printf(out,
                 "</style>\n<defs><linearGradient id=\"scale\" x1=\"0\" y1=\"0\" x2=\"0\" y2=\"1\"><stop "
                 "offset=\"0\" stop-color=\"#0cd79f\"/><stop offset=\".5\" stop-color=\"#ebb839\"/><stop offset=\"1\" "
                 "stop-color=\"#f0496e\"/></linearGradient></defs>\n<rect class=\"b\" width=\"%.0f\" "
                 "height=\"%.0f\" rx=\"8\"/>\n",
                 width, height);
    for (size_t k = 0; k < n; k++)
        put_panel(&p, &panels[k], named, MARGIN + panel_w * (double)(k % across),
                  MARGIN / 2.0 + panel_h * (double)(k / across));
    put_bar(out, MARGIN + panel_w * (double)across, MARGIN / 2.0);
    if (p.left_out > 0)
        natsl_printf(out,
                     "<text x=\"%.0f\" y=\"%.0f\">%zu results of further tasks or lengths are not shown: at most %d "
                     "tasks and %d lengths</text>\n",
                     MARGIN, height - 12.0, p.left_out, MOST_TASKS, MOST_LENGTHS);
    natsl_puts(out, "</svg>\n");
    natsl_free(panels);
    if (!out->failed) return NATSL_OK;
    natsl_buffer_free(out);
    return NATSL_ERR_NOMEM;
}
