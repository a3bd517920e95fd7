/* eval_chart.c - inline SVG. See eval_chart.h. */
#include "eval_chart.h"

#include "utf8.h"

#include <math.h>
#include <stdarg.h>

void natsl_printf(natsl_buffer *b, const char *format, ...)
{
    char text[2048];
    va_list values;
    va_start(values, format);
    const int n = vsnprintf(text, sizeof text, format, values);
    va_end(values);
    natsl_put(b, text, n < 0 ? 0 : (size_t)n < sizeof text ? (size_t)n : sizeof text - 1);
}

void natsl_put_html(natsl_buffer *b, const char *text)
{
    const char *end = text ? text + strlen(text) : NULL;
    for (size_t n = 1; text != end; text += n, n = 1) {
        switch (*text) {
        case '&': natsl_puts(b, "&amp;"); break;
        case '<': natsl_puts(b, "&lt;"); break;
        case '>': natsl_puts(b, "&gt;"); break;
        case '"': natsl_puts(b, "&quot;"); break;
        default: /* no page and no picture may have control characters, or bytes that are no UTF-8 */
            if ((unsigned char)*text < 0x20 && *text != '\n' && *text != '\t') n = 0;
            else if ((unsigned char)*text >= 0x80) n = natsl_utf8_character(text, (size_t)(end - text));
            if (n > 0) natsl_put(b, text, n);
            else natsl_puts(b, "\xef\xbf\xbd"), n = 1;
        }
    }
}

const char *natsl_short_tokens(int64_t tokens, char text[24])
{
    const char *unit = "";
    if (tokens > 0 && tokens % (1 << 20) == 0) tokens >>= 20, unit = "M";
    else if (tokens > 0 && tokens % 1024 == 0) tokens >>= 10, unit = "K";
    (void)snprintf(text, 24, "%lld%s", (long long)tokens, unit);
    return text;
}

const char *natsl_heat_colour(double share, char text[8])
{
    static const double stops[3][3] = {{0xf0, 0x49, 0x6e}, {0xeb, 0xb8, 0x39}, {0x0c, 0xd7, 0x9f}};
    const double s = share < 0.0 ? 0.0 : share > 1.0 ? 2.0 : 2.0 * share;
    const int from = s < 1.0 ? 0 : 1;
    unsigned c[3];
    for (int i = 0; i < 3; i++)
        c[i] = (unsigned)lround(stops[from][i] + (s - from) * (stops[from + 1][i] - stops[from][i]));
    (void)snprintf(text, 8, "#%02x%02x%02x", c[0] & 255, c[1] & 255, c[2] & 255);
    return text;
}

static void begin(natsl_buffer *b, int width, int height, const char *title)
{
    natsl_printf(b, "<figure style=\"max-width:%dpx\"><figcaption>", width);
    natsl_put_html(b, title);
    natsl_printf(b, "</figcaption><svg viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"", width, height);
    natsl_put_html(b, title);
    natsl_puts(b, "\">\n");
}

static void end(natsl_buffer *b) { natsl_puts(b, "</svg></figure>\n"); }

/** A round number of at least `value`: 1, 2, 2.5 or 5 times a power of ten. */
static double round_up(double value)
{
    static const double steps[] = {1.0, 2.0, 2.5, 5.0, 10.0};
    if (!(value > 0.0)) return 1.0;
    const double power = pow(10.0, floor(log10(value)));
    for (size_t i = 0; i < 5; i++) {
        if (steps[i] * power >= value * (1.0 - 1e-12)) return steps[i] * power;
    }
    return 10.0 * power;
}

/** The largest value, or end of a whisker, that is drawn. */
static double most_of(const natsl_series *series, size_t n_series, size_t n)
{
    double most = 0.0;
    for (size_t s = 0; s < n_series; s++) {
        for (size_t i = 0; i < n; i++) {
            const double y = series[s].high && isfinite(series[s].high[i]) ? series[s].high[i] : series[s].y[i];
            if (isfinite(y) && y > most) most = y;
        }
    }
    return most;
}

/** The smallest value that is drawn. */
static double least_of(const natsl_series *series, size_t n_series, size_t n)
{
    double least = INFINITY;
    for (size_t s = 0; s < n_series; s++) {
        for (size_t i = 0; i < n; i++) {
            if (isfinite(series[s].y[i]) && series[s].y[i] < least) least = series[s].y[i];
        }
    }
    return isfinite(least) ? least : 0.0;
}

static void put_number(natsl_buffer *b, double value, const char *unit)
{
    if (value >= 10000.0) natsl_printf(b, "%gk%s", value / 1000.0, unit);
    else natsl_printf(b, "%g%s", value, unit);
}

/** One line with points and whiskers. */
static void put_series(natsl_buffer *b, const natsl_series *s, size_t n, double left, double step, double base,
                       double scale, double shift)
{
    const int colour = s->colour % NATSL_CHART_COLOURS;
    int open = 0;
    natsl_printf(b, "<path class=\"l c%d\" d=\"", colour);
    for (size_t i = 0; i < n; i++) {
        if (isfinite(s->y[i]))
            natsl_printf(b, "%s%.1f %.1f", open ? "L" : "M", left + step * (double)i + shift, base - scale * s->y[i]);
        open = isfinite(s->y[i]);
    }
    natsl_puts(b, "\"/>\n");
    for (size_t i = 0; i < n; i++) {
        const double x = left + step * (double)i + shift;
        if (!isfinite(s->y[i])) continue;
        if (s->low && s->high && isfinite(s->low[i]) && isfinite(s->high[i])) {
            const double y0 = base - scale * s->low[i], y1 = base - scale * s->high[i];
            natsl_printf(b, "<path class=\"w c%d\" d=\"M%.1f %.1fV%.1fM%.1f %.1fh6M%.1f %.1fh6\"/>", colour, x, y0, y1,
                         x - 3, y0, x - 3, y1);
        }
        natsl_printf(b, "<circle class=\"p f%d\" cx=\"%.1f\" cy=\"%.1f\" r=\"3.2\"><title>%.4g</title></circle>\n",
                     colour, x, base - scale * s->y[i], s->y[i]);
    }
}

void natsl_chart_lines(natsl_buffer *b, int width, int height, const char *title, const int64_t *lengths, size_t n,
                       const natsl_series *series, size_t n_series, double top, const char *unit)
{
    const double left = 48.0, right = 14.0, above = 10.0, below = 26.0;
    const double base = height - below, room = base - above, across = width - left - right;
    const int lines = height < 200 ? 2 : 4;
    const double least = top < 0.0 ? least_of(series, n_series, n) : 0.0,
                 high = top > 0.0 ? top : most_of(series, n_series, n);
    double step_y = top > 0.0 ? top / lines : round_up(high) / lines, bottom = 0.0;
    if (top < 0.0) { /* a scale that need not begin at 0 */
        for (step_y = round_up((high - least) / lines);; step_y = round_up(1.01 * step_y)) {
            bottom = floor(least / step_y) * step_y;
            if (!(bottom + lines * step_y < high)) break; /* also where a number is none */
        }
    }
    const double scale = room / (lines * step_y);
    const double step = n > 1 ? (across - 24.0) / (double)(n - 1) : 0.0,
                 first = n > 1 ? left + 12.0 : left + across / 2.0;
    char text[24];
    begin(b, width, height, title);
    for (int i = 0; i <= lines; i++) {
        const double y = base - room * i / lines;
        natsl_printf(b, "<path class=\"g\" d=\"M%.1f %.1fH%.1f\"/><text class=\"e\" x=\"%.1f\" y=\"%.1f\">", left, y,
                     width - right, left - 6, y + 4);
        put_number(b, bottom + step_y * i, unit);
        natsl_puts(b, "</text>\n");
    }
    const size_t apart = n > 1 && step < 36.0 ? (size_t)ceil(36.0 / step) : 1; /* labels that have room */
    for (size_t i = apart - 1; i < n; i += apart)
        natsl_printf(b, "<text class=\"m\" x=\"%.1f\" y=\"%.1f\">%s</text>", first + step * (double)i, base + 18,
                     natsl_short_tokens(lengths[i], text));
    natsl_puts(b, "\n");
    for (size_t s = 0; s < n_series; s++)
        put_series(b, &series[s], n, first, step, base + scale * bottom, scale,
                   n_series > 1 ? ((double)s - (double)(n_series - 1) / 2.0) * 3.0 : 0.0);
    end(b);
}

/** Of a share: small ones are told from none. */
static double shade(double v) { return v > 0.0 ? 0.12 + 0.88 * sqrt(v) : 0.04; }

void natsl_chart_heat(natsl_buffer *b, int width, int height, const char *title, const char *row_title,
                      const char *const *rows, size_t n_rows, const int64_t *lengths, size_t n, const double *values,
                      int classic)
{
    const double left = 62.0, right = 8.0, above = 6.0, below = 40.0;
    const double w = (width - left - right) / (double)n, h = (height - above - below) / (double)n_rows;
    char colour[8], text[24];
    begin(b, width, height, title);
    for (size_t r = 0; r < n_rows; r++) {
        const double y = above + h * (double)r;
        if (h >= 11.0 || r % 2 == 0)
            natsl_printf(b, "<text class=\"e\" x=\"%.1f\" y=\"%.1f\">%s</text>\n", left - 6, y + h / 2 + 4, rows[r]);
        for (size_t c = 0; c < n; c++) {
            const double v = values[r * n + c];
            natsl_printf(b, "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" ", left + w * (double)c, y,
                         w - 1, h - 1);
            if (!isfinite(v)) natsl_puts(b, "class=\"n\"/>");
            else if (classic)
                natsl_printf(b, "fill=\"%s\"><title>%.1f</title></rect>", natsl_heat_colour(v, colour), 100.0 * v);
            else natsl_printf(b, "class=\"f0\" fill-opacity=\"%.3f\"><title>%.3g</title></rect>", shade(v), 100.0 * v);
            if (isfinite(v) && w >= 30.0 && h >= 13.0)
                natsl_printf(b, "<text class=\"%s\" x=\"%.1f\" y=\"%.1f\">%.*g</text>",
                             classic          ? "k"
                             : shade(v) > 0.5 ? "m o"
                                              : "m",
                             left + w * ((double)c + 0.5) - 0.5, y + h / 2 + 3.5, v < 0.995 ? 2 : 3, 100.0 * v);
        }
    }
    for (size_t c = 0; c < n; c++)
        natsl_printf(b, "<text class=\"m\" x=\"%.1f\" y=\"%.1f\">%s</text>", left + w * ((double)c + 0.5),
                     height - below + 16, natsl_short_tokens(lengths[c], text));
    natsl_printf(b,
                 "<text class=\"m\" x=\"%.1f\" y=\"%.1f\">Token Limit</text><text class=\"m\" transform=\"translate(11 "
                 "%.1f) rotate(-90)\">",
                 left + (width - left - right) / 2, (double)height - 6, above + (height - above - below) / 2);
    natsl_put_html(b, row_title);
    natsl_puts(b, "</text>\n");
    end(b);
}
