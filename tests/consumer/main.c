/* main.c - the smallest user of an installed natsl: reads a configuration file with the library and prints sizes that
 * follow from it. Fails on a configuration natsl must refuse but takes. MPI: initialised, as most calls want it.
 * Run by tests/consumer/run.sh. */
#include <mpi.h>
#include <natsl/config.h>
#include <natsl/status.h>
#include <natsl/version.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(int argc, char **argv)
{
    MPI_Init(&argc, &argv);
    static char text[1 << 16];
    FILE *file = argc == 2 ? fopen(argv[1], "r") : NULL;
    size_t length = file ? fread(text, 1, sizeof text, file) : 0;
    if (file) fclose(file);

    natsl_config config;
    natsl_status status = natsl_config_parse(text, length, argc == 2 ? argv[1] : "?", &config);
    int failed = status != NATSL_OK;
    if (failed) {
        fprintf(stderr, "%s: %s\n", natsl_status_name(status), natsl_error_text());
    } else {
        printf("natsl %s hidden_size %d key_dim %d value_dim %d\n", NATSL_VERSION_TEXT, (int)config.hidden_size,
               (int)config.key_dim, (int)config.value_dim);
    }

    static const char wrong[] = "{\"hidden_size\": -1}";
    if (natsl_config_parse(wrong, strlen(wrong), "wrong.json", &config) != NATSL_ERR_INPUT ||
        !strstr(natsl_error_text(), "hidden_size")) {
        fprintf(stderr, "a negative hidden_size was not refused by name\n");
        failed = 1;
    }
    MPI_Finalize();
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
