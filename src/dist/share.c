/* share.c - see share.h. */
#include "share.h"

void natsl_share_make(size_t n, int size, const int64_t *load, size_t *first)
{
    const size_t panels = natsl_panels(n);
    /* Where all who take part end: their loads and the outputs, over their number. Whose load lies there or beyond drops out,
     * which brings the end forward for the others (never so far that nobody is left: one output is always to be had). */
    int64_t end = INT64_MAX, total, parts;
    for (int dropped = 1; dropped;) {
        total = n ? (int64_t)n : 1;
        parts = 0;
        for (int r = 0; r < size; r++) {
            const int64_t own = load ? load[r] : 0;
            if (own < end) total += own, parts++;
        }
        const int64_t level = (total + parts - 1) / parts;
        dropped = 0;
        for (int r = 0; load && r < size; r++) dropped |= load[r] < end && load[r] >= level;
        if (dropped) end = level;
    }
    int64_t taking = 0, loads = 0; /* of the ranks before r */
    first[0] = 0;
    for (int r = 0; r < size; r++) {
        const int64_t own = load ? load[r] : 0;
        if (own < end) taking++, loads += own;
        const int64_t outputs = total / parts * taking + total % parts * taking / parts - loads;
        size_t p = outputs > 0 ? ((size_t)outputs + NATSL_PANEL / 2) / NATSL_PANEL : 0;
        if (p > panels || taking == parts) p = panels; /* the last who takes part takes the rest */
        first[r + 1] = p > first[r] ? p : first[r];
    }
}
