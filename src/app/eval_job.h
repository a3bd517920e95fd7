/* eval_job.h - natsl eval: what is evaluated, by whom, and what is finished. Private to cmd_eval.c and eval_*.c.
 * MPI: collective on app->comm unless said. */
#ifndef NATSL_APP_EVAL_JOB_H
#define NATSL_APP_EVAL_JOB_H

#include "app.h"
#include "babi.h"
#include "corpus.h"
#include "eval_results.h"
#include "eval_run.h"
#include "files.h"
#include "job.h"
#include "recall.h"
#include "ruler.h"

#define NATSL_EVAL_LENGTHS 32
#define NATSL_EVAL_TASKS   NATSL_MAX_OPERANDS /* at least; more than a suite has */

typedef struct natsl_eval_job {
    natsl_app *app;
    const natsl_eval_task *tasks[NATSL_EVAL_TASKS];
    size_t n_tasks;
    natsl_eval_task own[NATSL_MAX_OPERANDS]; /* tasks of files */
    char names[NATSL_MAX_OPERANDS][128];     /* their names */
    natsl_eval_lines files[NATSL_MAX_OPERANDS];
    natsl_babi *stories[NATSL_MAX_OPERANDS];
    natsl_corpus *texts[NATSL_MAX_OPERANDS]; /* documents */
    natsl_hay documents[NATSL_MAX_OPERANDS];
    natsl_doc *docs[NATSL_MAX_OPERANDS]; /* documents in tokens of a tokenizer.json */
    char file_digests[NATSL_MAX_OPERANDS][65];
    size_t n_files;
    int64_t lengths[NATSL_EVAL_LENGTHS]; /* longest first */
    int per_sample[NATSL_EVAL_LENGTHS];  /* ranks that read a sample together, by length */
    size_t n_lengths;
    int64_t samples;
    int64_t bin;  /* tokens of a bin of positions; 0: bins end at 64, 128, 256 ... */
    int ids_only; /* 1: samples are in token ids, the model need not have a tokenizer */
    int shares;   /* 1: several samples may ask about one haystack */
    natsl_eval_settings settings;
    natsl_ruler_sources sources;
    natsl_word_lists lists;       /* n_keys 0: none */
    char documents_digest[2][65]; /* of the files of questions; "": none */
    natsl_corpus *text;           /* the haystack; NULL: none */
    natsl_hay hay;
    char hay_digest[65];
    natsl_job look;                   /* what the model file says; its tokenizer */
    natsl_tokenizer *own_tokenizer;   /* of --tokenizer FILE */
    const natsl_tokenizer *tokenizer; /* what samples are measured with; NULL: words, or ids alone */
    natsl_measure *measure;
    natsl_model_info info;
    natsl_options options;
    natsl_model *model;
    natsl_eval_store store;                  /* cells on all ranks, longest first, samples in them on rank 0 */
    uint8_t *done;                           /* [n_cells][samples] on all ranks */
    int64_t checkpoints, checkpoints_failed; /* inside samples */
} natsl_eval_job;

/** Sets per_sample for all lengths: --ranks-per-sample, or the fewest (1, 2, 4 ... all) with which the memory of every node
 * is enough though every chunk were kept. weights_loaded: the model is in memory already. */
natsl_status natsl_eval_choose_ranks(natsl_eval_job *j, int weights_loaded);
/** Prints what would be done, and what it takes. */
natsl_status natsl_eval_print_plan(natsl_eval_job *j);

/** Makes the samples that one process asks for: in exact mode they come one after the other, and questions about one haystack have its
 * length in common, so asking in ascending order is cheap. Zeroed before the first use. */
typedef struct natsl_eval_maker {
    natsl_ruler *ruler;
    const natsl_eval_task *task;
    int64_t length, next;
    natsl_eval_fit fit;
} natsl_eval_maker;
/** Not collective. */
natsl_status natsl_eval_maker_make(natsl_eval_maker *maker, const natsl_eval_settings *settings,
                                   const natsl_eval_task *task, int64_t length, int64_t index, natsl_eval_sample *out);
void natsl_eval_maker_free(natsl_eval_maker *maker);

/** What the command line asks for: the options of natsl eval, and whether they go together; tasks and lengths. Not collective. */
extern const natsl_option natsl_eval_options[];
extern const char *const natsl_eval_mode_words[], *const natsl_eval_metric_words[], *const natsl_eval_fill_words[],
                                                                                        *const natsl_eval_keep_words[];
#define NATSL_EVAL_EXACT 1 /* of natsl_eval_mode_words */
natsl_status natsl_eval_check_options(const natsl_args *a);
natsl_status natsl_eval_parse_tasks(natsl_eval_job *j);
natsl_status natsl_eval_parse_lengths(natsl_eval_job *j);

/** What a token is, before anything is measured: j->tokenizer, j->measure. */
natsl_status natsl_eval_open_tokenizer(natsl_eval_job *j);

/** Opens word lists, haystack and files of questions on every rank, as the command line names them. */
natsl_status natsl_eval_open_sources(natsl_eval_job *j);
void natsl_eval_close_sources(natsl_eval_job *j);
/** What a suite takes from files that the command line names. */
typedef enum natsl_eval_files {
    NATSL_FILES_NONE = 0,
    NATSL_FILES_LINES,    /* jsonl */
    NATSL_FILES_STORIES,  /* babilong */
    NATSL_FILES_DOCUMENTS /* perplexity */
} natsl_eval_files;
natsl_eval_files natsl_eval_files_of(const char *suite);
/** Opens these files: a task of each; of files of samples, and of documents without --lengths, one length for all. */
natsl_status natsl_eval_open_files(natsl_eval_job *j);
/** Whether a file's name can be that of a task, which has a directory in --out and stands in JSON and on pages; one that was cut to
 * fit in name [size] ends with a whole character. NATSL_ERR_USAGE. Not collective. */
natsl_status natsl_eval_check_name(const char *path, char *name, size_t size);
/** SHA-256 of these files, on rank 0. */
natsl_status natsl_eval_digest_files(natsl_eval_job *j);
/** Samples of a task at a length. */
int64_t natsl_eval_samples_of(const natsl_eval_job *j, size_t task, int64_t length);

/** --score-only: reads the predictions that the command line names, with RULER's fields, into the store of rank 0. */
natsl_status natsl_eval_score_files(natsl_eval_job *j);

/** --data-only: writes all samples in upstream's layout, out/synthetic/<length>/data/<task>/validation.jsonl. */
natsl_status natsl_eval_write_data(natsl_eval_job *j);

/** Answers all samples that are not done, longest first, and appends each to a part of the store. NATSL_INTERRUPTED after
 * a signal: the samples in hand are given up. */
natsl_status natsl_eval_samples(natsl_eval_job *j);

#endif
