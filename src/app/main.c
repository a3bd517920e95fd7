/* main.c - the program natsl: OpenBLAS's core, MPI, the command, its report. Exit code = status (natsl/status.h).
 * Prints nothing itself but the one error line. */
#include "agree.h"
#include "app.h"
#include "blas_core.h"
#include "core.h"
#include "crash.h"
#include "journal.h"
#include "place.h"
#include "signals.h"
#include "watchdog.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const natsl_command *const natsl_commands[] = {
    &natsl_command_init, &natsl_command_import, &natsl_command_export, &natsl_command_tokenize,
    &natsl_command_info, &natsl_command_score,  &natsl_command_read,   &natsl_command_generate,
    &natsl_command_eval, &natsl_command_grad,   &natsl_command_train,  &natsl_command_bench,
    &natsl_command_plan, &natsl_command_report, &natsl_command_help,   NULL};

const natsl_command *natsl_command_find(const char *name)
{
    for (int i = 0; natsl_commands[i]; i++) {
        if (strcmp(natsl_commands[i]->name, name) == 0) return natsl_commands[i];
    }
    return NULL;
}

/** What natsl says about itself. Equal decisions on all ranks; rank 0 prints. */
static natsl_status about(natsl_app *app, void (*print)(void))
{
    if (app->argc > 2)
        return natsl_fail(NATSL_ERR_USAGE, "%s: extra argument '%s', expected none", app->argv[1], app->argv[2]);
    if (app->rank != 0) return natsl_app_agree(app, NATSL_OK);
    print();
    return natsl_app_agree(app, natsl_stdout_flush());
}

static void print_help(void) { natsl_help_print(NULL); }

static natsl_status run(natsl_app *app)
{
    const char *name = app->argc > 1 ? app->argv[1] : NULL;
    if (!name) return natsl_fail(NATSL_ERR_USAGE, "no command, expected natsl COMMAND; see natsl help");
    if (strcmp(name, "--version") == 0) return about(app, natsl_version_print);
    if (strcmp(name, "--help") == 0) return about(app, print_help);
    app->command = natsl_command_find(name);
    if (!app->command)
        return natsl_fail(NATSL_ERR_USAGE, "%s: unknown %s, expected one of those in natsl help", name,
                          name[0] == '-' ? "option" : "command");
    if (app->command->alone) return app->command->run(app);

    natsl_status st = natsl_options_parse(name, app->command->options, app->command->operand, app->command->least,
                                          app->command->most, app->argc - 1, app->argv + 1, &app->args);
    if (st != NATSL_OK) return st;
    if (app->args.help) {
        if (app->rank == 0) {
            natsl_help_print(app->command);
            st = natsl_stdout_flush();
        }
        return natsl_app_agree(app, st);
    }
    natsl_app_choose_threads(app);
    if (app->warning && app->rank == 0) fprintf(stderr, "warning: %s\n", app->warning);
    if (app->threads_warning && app->rank == 0 && !app->args.quiet)
        fprintf(stderr, "warning: %s\n", app->threads_warning);
    if ((st = natsl_journal_open(app)) != NATSL_OK) return st;
    if ((st = natsl_watchdog_start(app)) != NATSL_OK) return st;
    return app->command->run(app);
}

/* Open MPI's directory for this process, "" when it has none of its own. */
static char session[4096];

/** Without mpirun or srun, Open MPI would start a daemon for processes that natsl never spawns, and look for networks: several
 * times the time to start. Programs that start without the daemon would all use one directory, which one removes while another
 * makes it; so each gets its own. What the user has set stays. */
static void prepare_alone(void)
{
    static const char *const launched[] = {"OMPI_COMM_WORLD_SIZE", "PMIX_RANK", "PMI_RANK", "SLURM_PROCID"};
    const char *directory = getenv("TMPDIR");
    for (size_t i = 0; i < sizeof launched / sizeof launched[0]; i++) {
        if (getenv(launched[i])) return;
    }
    (void)setenv("OMPI_MCA_pml", "ob1", 0);
    if (!getenv("OMPI_MCA_orte_tmpdir_base")) {
        const int n =
            snprintf(session, sizeof session, "%s/natsl-XXXXXX", directory && *directory ? directory : "/tmp");
        if (n < 0 || (size_t)n >= sizeof session || !mkdtemp(session)) {
            session[0] = '\0';
            return; /* as Open MPI does it */
        }
        (void)setenv("OMPI_MCA_orte_tmpdir_base", session, 1);
    }
    (void)setenv("OMPI_MCA_ess_singleton_isolated", "1", 0);
}

int main(int argc, char **argv)
{
    const int level = natsl_watchdog_wanted(argc, argv) ? MPI_THREAD_MULTIPLE : MPI_THREAD_FUNNELED;
    int provided = MPI_THREAD_SINGLE, length = 0;
    char host[MPI_MAX_PROCESSOR_NAME + 1] = "";
    natsl_app app = {.argc = argc, .argv = argv, .size = 1};
    app.warning = natsl_blas_core_fit(argv);
    prepare_alone();
    if (MPI_Init_thread(&argc, &argv, level, &provided) != MPI_SUCCESS) {
        fprintf(stderr, "natsl: MPI could not be started\n");
        return NATSL_ERR_INTERNAL;
    }
    app.comm = MPI_COMM_WORLD;
    NATSL_MPI(MPI_Comm_set_errhandler(app.comm, MPI_ERRORS_RETURN));
    NATSL_MPI(MPI_Comm_rank(app.comm, &app.rank));
    NATSL_MPI(MPI_Comm_size(app.comm, &app.size));
    NATSL_MPI(MPI_Get_processor_name(host, &length));
    natsl_self_set(app.rank, app.size, host);
    natsl_signals_install(app.rank == 0);
    natsl_crash_install();
    app.start_s = natsl_now_s();
    if (app.rank == 0) app.summary = json_object();
    app.args = (natsl_args){.max_new = 0, .top_p = 1.0, .checkpoint_every = -1.0};

    natsl_status st =
        provided >= MPI_THREAD_FUNNELED
            ? run(&app)
            : natsl_fail(NATSL_ERR_INTERNAL, "MPI offers no threads (MPI_THREAD_FUNNELED), expected it to");
    natsl_watchdog_stop(&app);
    /* An interrupted reader of stdout has no text: whoever closed the pipe knows. */
    if (st != NATSL_OK && app.rank == 0 && (natsl_error_text()[0] || st != NATSL_INTERRUPTED))
        fprintf(stderr, "natsl: %s\n", natsl_error_text()[0] ? natsl_error_text() : natsl_status_name(st));
    natsl_journal_close(&app, st);
    natsl_signals_done((int)st);
    json_decref(app.summary);
    NATSL_MPI(MPI_Finalize());
    if (session[0]) (void)rmdir(session); /* empty again */
    return (int)st;
}
