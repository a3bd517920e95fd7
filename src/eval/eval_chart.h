/* eval_chart.h - pieces of a page of results: text and inline SVG. Colours of lines and words are the page's CSS variables, so that
 * light and dark both work. Owns: nothing; appends to a buffer. MPI: none. Tests: tests/unit/test_eval_report.c */
#ifndef NATSL_EVAL_CHART_H
#define NATSL_EVAL_CHART_H

#include "text_buffer.h"

#define NATSL_CHART_COLOURS 6

/** printf at the end of a buffer; at most 2047 bytes a call. */
void natsl_printf(natsl_buffer *b, const char *format, ...) NATSL_PRINTF(2, 3);
/** Text with what HTML would take for marks written so that it is shown. */
void natsl_put_html(natsl_buffer *b, const char *text);

/** "64K", "1M" or "1000" of a number of tokens; text [24], returned. */
const char *natsl_short_tokens(int64_t tokens, char text[24]);

/** The classic colours of needle tests: 0 red, 0.5 amber, 1 green. "#rrggbb"; returned. */
const char *natsl_heat_colour(double share, char text[8]);

/** One line of a chart. */
typedef struct natsl_series {
    const char *name;         /* "": not in the legend */
    int colour;               /* modulo NATSL_CHART_COLOURS */
    const double *y;          /* [n] NaN: no point there */
    const double *low, *high; /* [n] or NULL: whiskers */
} natsl_series;

/** Lines over lengths. top: of the scale, 0: chosen from the values; -1: the bottom, too, else it is 0. unit: after numbers of the scale. */
void natsl_chart_lines(natsl_buffer *b, int width, int height, const char *title, const int64_t *lengths, size_t n,
                       const natsl_series *series, size_t n_series, double top, const char *unit);

/** Rows by columns; values [rows][columns] 0 .. 1, NaN: none. classic: red to green, else from the background to one colour. Numbers
 * are written into cells where they have room, in percent. */
void natsl_chart_heat(natsl_buffer *b, int width, int height, const char *title, const char *row_title,
                      const char *const *rows, size_t n_rows, const int64_t *lengths, size_t n, const double *values,
                      int classic);

#endif
