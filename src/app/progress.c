/* progress.c - how far the work is. See progress.h. */
#include "progress.h"

#include "core.h"
#include "journal.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define BAR_S    0.2  /* between redraws of a bar */
#define LINE_S   10.0 /* between lines that stay */
#define SETTLE_S 0.5  /* before this, tokens/s mean little and a short run shows nothing */
#define BAR      30

void natsl_progress_start(natsl_progress *p, natsl_app *app, const char *what)
{
    const double now = natsl_now_s();
    *p = (natsl_progress){.app = app, .what = what, .start_s = now, .shown_s = now, .logged_s = now};
    p->active = app->rank == 0;
    p->terminal = isatty(STDERR_FILENO);
}

void natsl_progress_update(natsl_progress *p, int64_t done, int64_t total)
{
    if (!p->active || total < 1) return;
    const double now = natsl_now_s(), spent = now - p->start_s;
    const int due = !p->app->args.quiet && now - p->shown_s >= (p->terminal ? BAR_S : LINE_S) && spent >= SETTLE_S;
    const int log_due = p->app->args.log_json && now - p->logged_s >= LINE_S;
    if (!due && !log_due) return;
    const double share = (double)done / (double)total, tps = (double)done / spent;
    const double left = done > 0 ? (double)(total - done) / tps : 0.0;
    char time_left[32];
    (void)natsl_format_seconds(left, time_left);
    if (due && p->terminal) {
        char bar[BAR + 1];
        const int filled = (int)(share * BAR);
        for (int i = 0; i < BAR; i++) bar[i] = i < filled ? '#' : '-';
        bar[BAR] = '\0';
        fprintf(stderr, "\r%s [%s] %3.0f %%  %.0f tokens/s  %s left \033[K", p->what, bar, 100.0 * share, tps,
                done > 0 ? time_left : "?");
        p->drawn = 1;
    } else if (due) {
        fprintf(stderr, "%s: %.0f %%, %lld of %lld tokens, %.0f tokens/s, %s left\n", p->what, 100.0 * share,
                (long long)done, (long long)total, tps, done > 0 ? time_left : "?");
    }
    if (due) p->shown_s = now;
    if (log_due) {
        p->logged_s = now;
        natsl_journal_write(p->app, "progress",
                            json_pack("{s:I, s:I, s:f, s:f}", "tokens_done", (json_int_t)done, "tokens",
                                      (json_int_t)total, "tokens_per_s", tps, "seconds_left", left));
    }
}

void natsl_progress_finish(natsl_progress *p)
{
    if (p->drawn) fprintf(stderr, "\r\033[K");
    p->drawn = 0;
}
