/* eval_resume.h - checkpoints inside a sample of natsl eval: what the runner (eval_run.h) keeps of the sample under way, in files.
 * A checkpoint is the context's file between two passes (context/save.c) with the attributes run (what is read, in words), sample,
 * read and reading_seconds, the counts so far (datasets eval/0, eval/1, ...) and a seal. Directory: --checkpoint DIR; in it one for
 * each sample under way, <task>-<length>-<index>, with the last two (series.h), and for a haystack of several samples, -shared behind
 * the first one's number. So it does not matter which ranks go on with a sample. The
 * directory goes when the sample is finished; that of a haystack which the next sample asks about stays until then.
 * A checkpoint that cannot be written is warned of, and the reading goes on; when a signal ends the job, that is an error.
 * MPI: collective on the group's communicator unless said. Owns: nothing but names. Tests: tests/cli/eval_resume.sh */
#ifndef NATSL_APP_EVAL_RESUME_H
#define NATSL_APP_EVAL_RESUME_H

#include "eval_job.h"
#include "groups.h"
#include "resume.h"

typedef struct natsl_eval_resume {
    natsl_eval_keeper keeper; /* for the runner */
    natsl_eval_job *job;
    natsl_groups *groups;
    natsl_app app; /* the program as this group's ranks see it */
    double every_s, saved_s;
    int64_t saved, failed; /* checkpoints of this group */
    /* the sample in hand */
    const natsl_eval_cell *cell;
    int64_t index, first;              /* its number; of the first that asks about its haystack */
    char directory[NATSL_SERIES_PATH]; /* of what is kept of it */
    char run[1024];                    /* what it is about, in words */
} natsl_eval_resume;

/** For a group; *r zeroed before. keeper stays unset where there is no --checkpoint. Not collective. */
void natsl_eval_resume_start(natsl_eval_resume *r, natsl_eval_job *job, natsl_groups *groups);
/** The next sample. Not collective. */
void natsl_eval_resume_sample(natsl_eval_resume *r, const natsl_eval_cell *cell, int64_t index, int64_t first);
/** It is finished and on the disk; more: the next one asks about the same haystack. Not collective: the leader's counts. */
void natsl_eval_resume_finished(natsl_eval_resume *r, int more);

/** Adds the checkpoints of all groups to the log's last line. Collective on the job's communicator. */
void natsl_eval_resume_report(const natsl_eval_resume *r, natsl_eval_job *job);

/** That --checkpoint's directory is not --out's, as far as they are there. Rank 0. NATSL_ERR_USAGE. */
natsl_status natsl_eval_resume_check(const natsl_app *app);
/** Makes and takes --checkpoint's directory; *lock: to be closed at the end, -1: none. Rank 0. NATSL_ERR_IO, NATSL_ERR_USAGE. */
natsl_status natsl_eval_resume_take(const natsl_app *app, int *lock);
/** All samples are finished: removes what killed runs have left. Rank 0. */
void natsl_eval_resume_sweep(const natsl_eval_job *job);

#endif
