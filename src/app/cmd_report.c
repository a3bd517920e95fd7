/* cmd_report.c - natsl report: evaluations side by side on one page. */
#include "agree.h"
#include "app.h"
#include "core.h"
#include "eval_files.h"
#include "whole_file.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define AT(member) offsetof(natsl_args, member)
static const natsl_option options[] = {
    NATSL_OPTION_TEXT("out", "PAGE.html", out, NATSL_OPTIONAL, "page to write"),
    NATSL_OPTION_TEXT("heatmap", "PICTURE.svg", heatmap, NATSL_OPTIONAL,
                      "depth by length as a picture of its own, to write"),
    {.kind = NATSL_OPT_END},
};

/** What tells the runs apart: their paths without what is at the end of all of them, and without the directories that all are in. */
static natsl_status name_runs(const natsl_args *a, char **names)
{
    static const char file[] = "/results.json";
    const size_t n = (size_t)a->n_operands;
    size_t common = 0;
    for (size_t i = 0; i < n; i++) {
        if (!(names[i] = strdup(a->operands[i]))) return natsl_fail(NATSL_ERR_NOMEM, "report: no memory");
        size_t length = strlen(names[i]);
        if (length > sizeof file - 1 && strcmp(names[i] + length - (sizeof file - 1), file) == 0)
            names[i][length -= sizeof file - 1] = '\0';
        while (length > 1 && names[i][length - 1] == '/') names[i][--length] = '\0';
    }
    for (size_t at = 0; n > 1 && names[0][at]; at++) {
        size_t same = 1;
        while (same < n && names[same][at] == names[0][at]) same++;
        if (same < n) break;
        if (names[0][at] == '/') common = at + 1;
    }
    for (size_t i = 0; i < n; i++) memmove(names[i], names[i] + common, strlen(names[i] + common) + 1);
    return NATSL_OK;
}

/** Rank 0. */
static natsl_status report(const natsl_args *a)
{
    char *names[NATSL_MAX_OPERANDS] = {0};
    natsl_eval_result runs[NATSL_MAX_OPERANDS];
    json_t *results[NATSL_MAX_OPERANDS] = {0};
    natsl_status st = name_runs(a, names);
    for (int i = 0; i < a->n_operands && st == NATSL_OK; i++) {
        st = natsl_eval_result_read(a->operands[i], &results[i]);
        runs[i] = (natsl_eval_result){names[i], results[i]};
    }
    if (st == NATSL_OK && a->out && !a->dry_run)
        st = natsl_eval_write_report(runs, (size_t)a->n_operands, NULL, a->out);
    if (st == NATSL_OK && a->heatmap && !a->dry_run)
        st = natsl_eval_write_heatmap(runs, (size_t)a->n_operands, NULL, a->heatmap);
    for (int i = 0; i < a->n_operands; i++) {
        json_decref(results[i]);
        free(names[i]);
    }
    return st;
}

/** That a page or picture is not written over the results that it shows, or over the other one. Rank 0. */
static natsl_status check_out(const natsl_args *a, const char *option, const char *out)
{
    char path[4096];
    if (!out || access(out, F_OK) != 0) return NATSL_OK;
    for (int i = 0; i < a->n_operands; i++) {
        const int n = snprintf(path, sizeof path, "%s/results.json", a->operands[i]);
        if (n > 0 && (size_t)n < sizeof path && natsl_same_file(path, out))
            return natsl_fail(NATSL_ERR_USAGE, "%s: %s is also read, expected another file", option, out);
    }
    return NATSL_OK;
}

static natsl_status check_outs(const natsl_args *a)
{
    if (a->out && a->heatmap && natsl_same_file(a->out, a->heatmap))
        return natsl_fail(NATSL_ERR_USAGE, "--heatmap: %s is --out, too, expected another file", a->heatmap);
    const natsl_status st = check_out(a, "--out", a->out);
    return st == NATSL_OK ? check_out(a, "--heatmap", a->heatmap) : st;
}

static natsl_status run(natsl_app *app)
{
    const natsl_args *a = &app->args;
    natsl_status st = NATSL_OK;
    if (!a->out && !a->heatmap)
        return natsl_fail(NATSL_ERR_USAGE, "report: --out is missing, expected --out PAGE.html, --heatmap PICTURE.svg "
                                           "or both; see natsl help report");
    if (a->out) st = natsl_app_check_out(app, a->out, a->operands, a->n_operands);
    if (st == NATSL_OK && a->heatmap) st = natsl_app_check_out(app, a->heatmap, a->operands, a->n_operands);
    if (st == NATSL_OK) st = natsl_app_agree(app, app->rank == 0 ? check_outs(a) : NATSL_OK);
    return st == NATSL_OK ? natsl_app_agree(app, app->rank == 0 ? report(&app->args) : NATSL_OK) : st;
}

const natsl_command natsl_command_report = {
    .name = "report",
    .usage = "report DIR... --out PAGE.html [--heatmap PICTURE.svg]",
    .summary = "results of natsl eval, of one run or several side by side, on one page",
    .details =
        "DIR is what natsl eval has written (its results.json counts). The page is one file of HTML with inline "
        "SVG: it needs no\n"
        "network and no scripts, in light and dark. The picture has a panel for every task; runs of one model share "
        "it, so that\n"
        "lengths may come from several directories.\n",
    .options = options,
    .operand = "DIR",
    .least = 1,
    .most = NATSL_MAX_OPERANDS,
    .run = run,
};
