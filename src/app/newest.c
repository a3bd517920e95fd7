/* newest.c - see newest.h. */
#include "newest.h"

#include "agree.h"
#include "core.h"
#include "journal.h"
#include "json_text.h"
#include "series.h"

#include <stdio.h>
#include <string.h>

/** Names the damaged one; the search goes on. Rank 0. */
static void warn(natsl_app *app)
{
    fprintf(stderr, "warning: %s; going on from the one before\n", natsl_error_text());
    natsl_journal_write(app, "damaged", json_pack("{s:o}", "text", natsl_json_text_or_null(natsl_error_text())));
}

natsl_status natsl_newest_find(natsl_app *app, const char *directory, natsl_newest_load *load, void *user,
                               int64_t *number)
{
    int64_t *numbers = NULL;
    size_t listed = 0;
    char path[NATSL_SERIES_PATH], last[1024];
    *number = 0;
    natsl_status st = natsl_app_agree(app, app->rank == 0 ? natsl_series_list(directory, &numbers, &listed) : NATSL_OK);
    int64_t left = (int64_t)listed;
    NATSL_MPI(MPI_Bcast(&left, 1, MPI_INT64_T, 0, app->comm));
    for (const int64_t all = left; st == NATSL_OK && left > 0; left--) {
        int64_t one = app->rank == 0 ? numbers[left - 1] : 0;
        NATSL_MPI(MPI_Bcast(&one, 1, MPI_INT64_T, 0, app->comm));
        st = natsl_series_path(directory, one, path); /* the same on all ranks */
        if (st != NATSL_OK) break;
        if ((st = load(user, one, path)) == NATSL_OK) {
            *number = one;
            break;
        }
        if (st != NATSL_ERR_INPUT) break;
        if (left > 1) {
            if (app->rank == 0) warn(app);
            st = NATSL_OK;
            continue;
        }
        (void)snprintf(last, sizeof last, "%.900s", natsl_error_text());
        st = natsl_fail(st, "%s; %s %s is whole, remove %s to begin again", last,
                        all > 1 ? "no checkpoint in" : "no other one in", directory, all > 1 ? "them" : "it");
    }
    natsl_free(numbers);
    return st;
}
