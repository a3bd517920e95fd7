/* help.c - natsl help, --version. */
#include "app.h"
#include "core.h"
#include "kernels.h"

#include <cblas.h>
#include <hdf5.h>
#include <natsl/version.h>
#include <natsl_describe.h>
#include <string.h>

void natsl_help_print(const natsl_command *command)
{
    if (command) {
        printf("natsl %s\n\n%s.\n", command->usage, command->summary);
        if (command->details) printf("\n%s", command->details);
        if (command->alone) return;
        if (command->options->kind) printf("\nOptions:\n");
        natsl_options_print(stdout, command->options);
        printf("\nCommon options:\n");
        natsl_options_print(stdout, natsl_common_options);
        return;
    }
    printf(
        "natsl COMMAND [options] reads long documents with NAtS-L language models, alone or under mpirun or srun.\n\n");
    for (int i = 0; natsl_commands[i]; i++) printf("  %-10s %s\n", natsl_commands[i]->name, natsl_commands[i]->summary);
    printf("\n  natsl help COMMAND explains a command, natsl --version says what was built.\n\n"
           "Numbers may end in K, M or G (times 1024, 1024^2, 1024^3). Exit codes: 0 done, 2 wrong use, 3 bad input "
           "file,\n"
           "4 out of memory, 5 reading or writing failed, 6 interrupted, 7 a fault of natsl. OPENBLAS_CORETYPE, when "
           "set,\n"
           "chooses OpenBLAS's kernels; otherwise natsl sets it where OpenBLAS has not recognised the CPU.\n");
}

void natsl_version_print(void)
{
    char mpi[MPI_MAX_LIBRARY_VERSION_STRING] = "";
    int length = 0;
    unsigned major = 0, minor = 0, release = 0;
    (void)MPI_Get_library_version(mpi, &length);
    mpi[strcspn(mpi, ",\n")] = '\0'; /* Open MPI goes on about where it was built */
    (void)H5get_libversion(&major, &minor, &release);
    const char *blas = openblas_get_config(); /* "OpenBLAS 0.3.21 options..." */
    printf("natsl %s (%s)\n", NATSL_VERSION_TEXT, NATSL_GIT_DESCRIBE);
    printf("MPI         %s\n", mpi);
    printf("HDF5        %u.%u.%u\n", major, minor, release);
    printf("BLAS        %s\n", blas);
    printf("BLAS core   %s\n", openblas_get_corename());
    printf("products    %s\n", natsl_gemm_name());
}

static natsl_status run(natsl_app *app)
{
    const natsl_command *about = NULL;
    if (app->argc > 3)
        return natsl_fail(NATSL_ERR_USAGE, "help: extra argument '%s', expected at most one command", app->argv[3]);
    if (app->argc == 3 && strcmp(app->argv[2], "--help") != 0 && !(about = natsl_command_find(app->argv[2])))
        return natsl_fail(NATSL_ERR_USAGE, "help: '%s' is no command, expected one of those in natsl help",
                          app->argv[2]);
    if (app->rank != 0) return natsl_app_agree(app, NATSL_OK);
    natsl_help_print(about);
    return natsl_app_agree(app, natsl_stdout_flush());
}

const natsl_command natsl_command_help = {
    .name = "help",
    .usage = "help [COMMAND]",
    .summary = "explain natsl or a command",
    .run = run,
    .alone = 1,
};
