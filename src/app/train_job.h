/* train_job.h - a training under way: what cmd_train.c drives, what it says (train_report.c), and its directory (train_files.c).
 * The directory: log.jsonl (one JSON object a line), checkpoint-<step>.h5 (the last ones), model.h5 (at the end).
 * MPI: collective on app->comm unless said. */
#ifndef NATSL_APP_TRAIN_JOB_H
#define NATSL_APP_TRAIN_JOB_H

#include "app.h"
#include "data.h"
#include "files.h"
#include "spec.h"
#include "train.h"

typedef struct natsl_train_job {
    natsl_app *app;
    natsl_spec spec;
    char *text;            /* the configuration as read, NUL-terminated; equal on all ranks */
    const char *tokenizer; /* kind: byte, none, json */
    char *json;            /* [json_length] the tokenizer.json; equal on all ranks */
    size_t json_length;
    natsl_tokenizer *texts; /* made of it */
    natsl_model_info from;  /* of the model that training starts from, where its tokenizer is taken */
    natsl_model *model;
    natsl_trainer *trainer;
    natsl_adamw adamw;
    int group, groups, leads; /* leads: the group's first rank */
    natsl_data **data;        /* [phases], some equal */
    natsl_data *validation;
    int64_t step; /* steps done */
    int64_t skipped;
    double last_expected; /* share of chunks that the gate expected to keep in the last step; below 0: no choice yet */
    double kept_share;    /* as last validated, or a sliding mean over steps; 0: never */
    int32_t *ids, *targets; /* [windows of a step and group, spec.tokens] */
    int64_t *counts;        /* [the same] tokens */
    int8_t *told;           /* [spec.tokens] of the window in hand */
    int8_t *hints;          /* [windows of a step and group, spec.tokens / chunk + 1] for the gate */
    uint8_t *hits;          /* [spec.tokens] */
    natsl_answer *answers;
    /* since the last line of the log */
    double loss, norm, seconds, forward_s, backward_s, sum_s;
    int64_t steps, tokens, targets_done, kept, choices;
    double expected;
    double saved_s; /* time of the last checkpoint */
    int log_fd;     /* rank 0; -1 elsewhere */
} natsl_train_job;

/** Answers of a window that are looked at, at most: room of natsl_train_job.answers. */
#define NATSL_TRAIN_ANSWERS 4096

/** A window in memory, and how the trainer reads it (natsl_window.read; user: the window). Not collective. */
typedef struct natsl_train_text {
    const int32_t *ids, *targets;
} natsl_train_text;
natsl_status natsl_train_give(void *user, int64_t first, int64_t count, int32_t *ids, int32_t *targets);

/** Means since the last line, to the log and the terminal; the next ones begin. */
void natsl_train_report(natsl_train_job *j, double rate);
/** Loss and answers of the validation windows, a line for each of their lengths; j->kept_share. */
natsl_status natsl_train_validate(natsl_train_job *j);

/** The directory exists (it is made where its parent exists) and can be written; *resumes: there are checkpoints in it. */
natsl_status natsl_train_directory(natsl_app *app, const char *directory, int *resumes);
/** Opens the log for appending, on rank 0, locks the directory by it and removes temporary files of killed runs.
 * NATSL_ERR_USAGE: another run has it. */
natsl_status natsl_train_log_open(natsl_train_job *j);
void natsl_train_log_close(natsl_train_job *j);
/** One line of the log; takes the reference of `object`. Rank 0's calls count. Not collective. */
void natsl_train_log(natsl_train_job *j, const char *event, json_t *object);
/** Saves a checkpoint, and removes those that are too old. */
natsl_status natsl_train_save(natsl_train_job *j);
/** Goes on from the newest checkpoint that is whole: weights, moments, j->step. NATSL_ERR_INPUT: none is. */
natsl_status natsl_train_load(natsl_train_job *j);
/** Writes the model that has been trained. */
natsl_status natsl_train_export(natsl_train_job *j);

#endif
