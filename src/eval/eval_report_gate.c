/* eval_report_gate.c - the page's part about what the gate kept. See eval_report.h. */
#include "eval_chart.h"
#include "eval_page.h"
#include "tokenizer.h"

#include <string.h>

#define MOST_LAYERS 512
#define MOST_NAME   150 /* bytes of a name in a title */

/** Bytes of a name that are shown: whole characters. */
static int shown(const char *name)
{
    size_t n = 0;
    while (n < MOST_NAME && name[n]) n++;
    return (int)natsl_utf8_whole(name, n);
}

/** Mean over tasks of a layer's kept share at a length; NaN: it has no gate. */
static double layer_share(const natsl_page *p, size_t run, size_t layer, int64_t length)
{
    double sum = 0.0;
    size_t n = 0;
    for (size_t t = 0; t < p->n_tasks; t++) {
        const json_t *v =
            json_array_get(json_object_get(natsl_page_cell(p, run, p->tasks[t], length), "kept_share_by_layer"), layer);
        if (json_is_number(v) && json_number_value(v) >= 0.0) sum += json_number_value(v), n++;
    }
    return n ? sum / (double)n : NAN;
}

void natsl_page_layers(natsl_page *p, size_t run)
{
    static double values[MOST_LAYERS * MOST_LENGTHS];
    static char names[MOST_LAYERS][24];
    const char *rows[MOST_LAYERS];
    size_t n = 0;
    for (size_t layer = 0; layer < MOST_LAYERS; layer++) {
        int gate = 0;
        for (size_t l = 0; l < p->n_lengths; l++) {
            values[n * p->n_lengths + l] = layer_share(p, run, layer, p->lengths[l]);
            gate |= isfinite(values[n * p->n_lengths + l]);
        }
        if (!gate) continue;
        (void)snprintf(names[n], sizeof names[n], "%zu", layer);
        rows[n] = names[n];
        n++;
    }
    if (n == 0) return;
    char title[256];
    const char *name = p->n_runs > 1 ? p->runs[run].name : "";
    (void)snprintf(title, sizeof title, "kept share by layer and length, percent%s%.*s", name[0] ? ": " : "",
                   shown(name), name);
    const int height = 52 + (n < 4 ? 34 : n < 12 ? 22 : 14) * (int)n;
    natsl_chart_heat(p->out, 480, height, title, "Layer", rows, n, p->lengths, p->n_lengths, values, 0);
}

/** One sample: which chunks the gate kept along the prompt, and where needles were. */
static void put_strip(natsl_page *p, const char *task, const json_t *strip)
{
    natsl_buffer *b = p->out;
    const json_t *layers = json_object_get(strip, "layers"), *depth = json_object_get(strip, "depth"),
                 *hits = json_object_get(strip, "hits");
    size_t l, shown = 0, i;
    const json_t *layer;
    const double left = 30.0, width = 1090.0;
    json_array_foreach(layers, l, layer) shown +=
        json_is_string(layer) && strpbrk(json_string_value(layer), "0123456789") != NULL;
    if (shown == 0) return;
    const double bottom = 14.0 + 12.0 * (double)shown;
    natsl_puts(b, "<figure style=\"flex-basis:100%\"><figcaption>");
    natsl_put_html(b, task);
    natsl_printf(b, "</figcaption><svg viewBox=\"0 0 1130 %.0f\" role=\"img\">\n", bottom + 4.0);
    shown = 0;
    json_array_foreach(layers, l, layer)
    {
        const char *text = json_string_value(layer);
        const size_t n = text ? strlen(text) : 0;
        if (n == 0 || !strpbrk(text, "0123456789")) continue;
        const double y = 12.0 + 12.0 * (double)shown++;
        natsl_printf(b,
                     "<text class=\"e\" x=\"24\" y=\"%.1f\">%zu</text><rect class=\"n\" x=\"%.1f\" y=\"%.1f\" "
                     "width=\"%.1f\" height=\"11\"/>",
                     y + 9, l, left, y, width);
        for (i = 0; i < n;) { /* neighbours of one shade are one piece */
            size_t k = i;
            while (k < n && text[k] == text[i]) k++;
            if (text[i] > '0' && text[i] <= '9')
                natsl_printf(
                    b, "<rect class=\"f0\" fill-opacity=\"%.2f\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"11\"/>",
                    (text[i] - '0') / 9.0, left + width * (double)i / (double)n, y,
                    width * (double)(k - i) / (double)n);
            i = k;
        }
        natsl_puts(b, "\n");
    }
    for (i = 0; i < json_array_size(depth); i++) {
        const double d = json_number_value(json_array_get(depth, i));
        const int hit = json_integer_value(json_array_get(hits, i)) != 0;
        if (!(d >= 0.0 && d <= 1.0)) continue;
        natsl_printf(b, "<path d=\"M%.1f 11l-5 -9h10zM%.1f 11V%.1f\" fill=\"%s\" stroke=\"%s\"/>", left + width * d,
                     left + width * d, bottom, hit ? "#0bb586" : "#e23a62", hit ? "#0bb586" : "#e23a62");
    }
    natsl_puts(b, "</svg></figure>\n");
}

void natsl_page_strips(natsl_page *p)
{
    natsl_buffer *b = p->out;
    char text[24];
    for (size_t r = 0; r < p->n_runs; r++) {
        int begun = 0;
        for (size_t t = 0; t < p->n_tasks; t++) {
            for (size_t l = p->n_lengths; l-- > 0;) {
                const json_t *strip = json_object_get(natsl_page_cell(p, r, p->tasks[t], p->lengths[l]), "strip");
                char title[256];
                if (!strip) continue;
                if (!begun++) {
                    natsl_puts(b, "<h3>What the gate kept of one sample");
                    if (p->n_runs > 1) natsl_puts(b, ": "), natsl_put_html(b, p->runs[r].name);
                    natsl_puts(b, "</h3><p>From the prompt's beginning (left) to its end; one line per layer with a "
                                  "gate; full colour: all heads keep "
                                  "all chunks there. Marks: needles, green where the answer had the value, red where "
                                  "not.</p><div class=\"row\">\n");
                }
                (void)snprintf(title, sizeof title, "%.*s, %s", shown(p->tasks[t]), p->tasks[t],
                               natsl_short_tokens(p->lengths[l], text));
                put_strip(p, title, strip);
                break; /* the longest only */
            }
        }
        if (begun) natsl_puts(b, "</div>\n");
    }
}
