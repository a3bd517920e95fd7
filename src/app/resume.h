/* resume.h - one document read with checkpoints, and gone on with after a break: what score and read do with --checkpoint.
 * A checkpoint is the context's file at a position between two passes (context/save.c), with the attributes run (what the
 * reading is about, in words) and reading_seconds, the results so far (result_part.h) and a seal (seal.h) on it all. So it
 * is a context file, too. Directory: checkpoint-<tokens>.h5, the last two. Checkpoints go when the result has its
 * name; the result has the attribute run, by which a job that is started again finds that nothing is left to do.
 *
 * Use:  natsl_resume_begin, then, unless ->finished: create job->result (score), natsl_resume_read, write the rest (with
 * natsl_resume_put in a context file, natsl_resume_mark on a result), commit; in any case natsl_resume_end.
 * With order.directory NULL all of it is natsl_job_read_doc.
 * MPI: collective on job->app->comm; all ranks get the same status. Owns: the lock on the directory, until natsl_resume_end.
 * Tests: tests/cli/resume.sh */
#ifndef NATSL_APP_RESUME_H
#define NATSL_APP_RESUME_H

#include "job.h"
#include "series.h"

#define NATSL_RESUME_EVERY_S 300.0 /* time between checkpoints unless told */
#define NATSL_RESUME_KEEP    2

typedef struct natsl_resume_order {
    const char
        *directory;  /* of this document's checkpoints alone, made where its parent exists; NULL: no checkpoints */
    double every_s;  /* between checkpoints; 0: only when a signal comes */
    int resume;      /* go on where there is something to go on from; else what is there is refused */
    const char *out; /* the file that the whole document gives */
    int swept;       /* what killed runs have left of it is removed already */
    const char *command, *write; /* "score", "hidden": what else decides what is in that file */
    int (*stop)(
        void *stopper); /* asked on every rank between passes: nonzero on any of them is like a signal; or NULL */
    void *stopper;
} natsl_resume_order;

typedef struct natsl_resume {
    natsl_job *job;
    natsl_resume_order order;
    int finished;                 /* order.out is there and is this very run's result */
    char run[1024];               /* words name=value: a checkpoint with others is not of this run */
    int64_t begin;                /* position of the document's first token */
    int64_t pass_tokens;          /* most tokens of a pass; 0: as the user said */
    int lock;                     /* -1: none */
    double saved_s;               /* time of the last checkpoint, or of the beginning; rank 0's counts */
    int64_t loaded;               /* position that this run went on from; 0: it began */
    int64_t saved, failed;        /* checkpoints that this run has made; that could not be written */
    double spent_s;               /* on them */
    char path[NATSL_SERIES_PATH]; /* of the one that was loaded */
} natsl_resume;

/** Order from the command line (text is borrowed). NATSL_ERR_USAGE: options that make no sense without another. Not collective. */
natsl_status natsl_resume_order_make(const natsl_app *app, natsl_resume_order *order);

/** Takes the directory and says what there is to do: job has its model, its document and the context that the document goes on from, which
 * is replaced by that of the newest whole checkpoint. Signals are caught from here on (signals.h). *r may be given
 * to natsl_resume_end whatever comes back. NATSL_ERR_USAGE: the directory belongs to another run, or there are checkpoints and
 * order->resume is 0; NATSL_ERR_INPUT: there are some, but none is whole; NATSL_ERR_IO. */
natsl_status natsl_resume_begin(natsl_resume *r, natsl_job *job, const natsl_resume_order *order);

/** Reads the document to its end, with checkpoints. NATSL_INTERRUPTED: a signal has come, and a checkpoint is made. */
natsl_status natsl_resume_read(natsl_resume *r);

/** Compares a file's words name=value (`found`, of the file `path`) with a run's; NATSL_ERR_USAGE names the first that differs. Not collective. */
natsl_status natsl_resume_compare(const char *run, const char *path, const char *found);

/** Tokens of a pass, so that a signal is answered soon: what takes some seconds or, where checkpoints come more often than that, a fourth
 * of the time between them, at `tps` tokens per second (rank 0's counts; 0: unknown, the result is `most`); enough for all threads, but
 * no more than `most`. Collective on cx->comm. */
int64_t natsl_resume_pass(const natsl_context *cx, double tps, double every_s, int64_t most);

/** Saves the context as a checkpoint in `directory` (made where its parent exists), with what `more` puts in it (natsl_context_save_with),
 * and removes older ones but the last. NATSL_ERR_IO: there is no room, the place is gone: once more without the older checkpoint
 * of two; then what had been saved stays, and rank 0 says so in a warning, unless `ends`: then in the error. The
 * caller may go on reading. Collective on app->comm, the context's. */
natsl_status natsl_resume_save(natsl_app *app, natsl_context *cx, const char *directory,
                               natsl_status (*more)(void *user, struct natsl_h5_out *out), void *user, int ends);

/** Puts the attribute run into a context file under way (for natsl_context_save_with; user: the natsl_resume), and on a
 * result under way. Nothing where there are no checkpoints. */
natsl_status natsl_resume_put(void *user, struct natsl_h5_out *out);
natsl_status natsl_resume_mark(natsl_resume *r);

/** The end with status `st`: where it is NATSL_OK, checkpoints are removed, and their number and cost told (to `to`, rank 0, unless
 * --quiet; and to the log's last line). Frees the directory. Returns st. */
natsl_status natsl_resume_end(natsl_resume *r, natsl_status st, FILE *to);

#endif
