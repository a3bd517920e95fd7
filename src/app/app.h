/* app.h - the program: what every command gets, and the table of commands.
 * MPI: main.c initialises and finalises it; a command's function is collective on app->comm and returns the same status on
 * all ranks, with the error line set on rank 0 at least. Only rank 0 prints. */
#ifndef NATSL_APP_H
#define NATSL_APP_H

#include "options.h"
#include "tokenizer.h"
#include <jansson.h>
#include <mpi.h>
#include <natsl/config.h>
#include <natsl/status.h>

typedef struct natsl_command natsl_command;

typedef struct natsl_app {
    int argc;
    char **argv;
    MPI_Comm comm;
    int rank, size;
    const natsl_command *command; /* NULL until it is known */
    natsl_args args;
    const char *warning;         /* about OpenBLAS; NULL: none */
    const char *threads_warning; /* about more threads than cores; NULL: none */
    double start_s;
    json_t *summary; /* rank 0: what the log's last line says beside the status; NULL elsewhere */
} natsl_app;

struct natsl_command {
    const char *name;
    const char *usage;   /* the words after "natsl " */
    const char *summary; /* one line */
    const char *details; /* paragraphs for help, ending in a newline */
    const natsl_option *options;
    const char *operand; /* name of the operand, for messages; NULL: none */
    int least, most;     /* operands */
    natsl_status (*run)(natsl_app *app);
    int alone; /* takes its words raw, without option parsing (help) */
};

extern const natsl_command natsl_command_init, natsl_command_info, natsl_command_score, natsl_command_read,
    natsl_command_generate, natsl_command_eval, natsl_command_grad, natsl_command_train, natsl_command_bench,
    natsl_command_plan, natsl_command_report, natsl_command_import, natsl_command_tokenize, natsl_command_export,
    natsl_command_help;
/** All commands in the order of help, ended by NULL. */
extern const natsl_command *const natsl_commands[];

/** NULL when there is none of that name. */
const natsl_command *natsl_command_find(const char *name);

/** Prints a command's help (NULL: the program's) to stdout. Not collective. */
void natsl_help_print(const natsl_command *command);
/** --version: what was built, and with what. Not collective. */
void natsl_version_print(void);

/** Flushes stdout. NATSL_ERR_IO when what was printed did not arrive; a reader that has gone away (a closed pipe) is
 * NATSL_INTERRUPTED without text. Not collective. */
natsl_status natsl_stdout_flush(void);

/** Everybody gets rank 0's status and text. Collective. For checks that only rank 0 makes. */
natsl_status natsl_app_agree(natsl_app *app, natsl_status mine);

/** Sets app->args.threads, equal on all ranks because buffer sizes follow from it: the user's number; else OMP_NUM_THREADS;
 * else the cores this rank may use, shared with the ranks of its node that may use the very same ones. Collective. */
void natsl_app_choose_threads(natsl_app *app);

/** Whether `out` may be written: its directory exists and can be written, it is a regular file or does not exist yet, and it is
 * none of `inputs` (NULL entries are skipped). Found out before hours of work, not after. Collective. */
natsl_status natsl_app_check_out(natsl_app *app, const char *out, const char *const *inputs, int n_inputs);

/** Reads and checks a configuration file (JSON). NATSL_ERR_INPUT, NATSL_ERR_IO, NATSL_ERR_NOMEM. Not collective. */
natsl_status natsl_app_read_config(const char *path, natsl_config *config);
/** The tokenizer of a tokenizer.json, which rank 0 reads. Collective. NATSL_ERR_INPUT, NATSL_ERR_NOMEM. */
natsl_status natsl_app_tokenizer_file(natsl_app *app, const char *path, natsl_tokenizer **out);
/** A file that rank 0 reads (natsl_whole_file), on all ranks: below 2 GiB. Collective. */
natsl_status natsl_app_whole_file(natsl_app *app, const char *path, size_t limit, const char *what, char **bytes,
                                  size_t *length);
/** Writes a JSON file: under a temporary name, flushed, then renamed. NATSL_ERR_IO, NATSL_ERR_USAGE. Not collective. */
natsl_status natsl_app_write_json(const json_t *json, const char *path);

/** "12.3 MiB". `text` has room for 32 bytes; returned. */
const char *natsl_format_bytes(double bytes, char text[32]);
/** "1:02:03", "02:03". */
const char *natsl_format_seconds(double seconds, char text[32]);

#endif
