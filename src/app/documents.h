/* documents.h - several documents in one run: what score and read do with more than one DOC, or with @list. Groups of ranks read
 * different documents, the longest first; each document is read by resume.h as it is when it is alone, so its result has the same
 * bits. One that fails is left out with --keep-going, else it ends the run: before anything is computed where that can be known.
 * Rules for names, tables and exit codes: README.md, "Many documents".
 * MPI: collective on app->comm unless said. Owns: its lists, until the run ends. Tests: tests/cli/documents.sh */
#ifndef NATSL_APP_DOCUMENTS_H
#define NATSL_APP_DOCUMENTS_H

#include "groups.h"
#include "job.h"
#include "resume.h"

#define NATSL_DOCUMENTS_MOST ((size_t)1 << 20)

/** What a command does with one document. */
typedef struct natsl_documents_order {
    /** Reads the open document, writes r->order.out, commits; job->mean is set by score. Collective on job->app->comm, a group's; nothing
     * is printed. */
    natsl_status (*one)(natsl_job *job, natsl_resume *r, void *user);
    void *user;
    const char *write;   /* natsl_resume_order's */
    const char *context; /* that each document goes on from; NULL: an empty one */
    int scores;          /* 1: results are of score, else contexts */
} natsl_documents_order;

/** Whether the command line means several documents. Not collective. NATSL_ERR_USAGE: options that need several. */
natsl_status natsl_documents_asked(const natsl_app *app, int *several);

/** Does all of it, from the command line's words to the exit code, --dry-run too. */
natsl_status natsl_documents_run(natsl_app *app, const natsl_documents_order *order);

/* ---- private to documents*.c --------------------------------------------------------------------------------------------- */

typedef enum natsl_document_state {
    NATSL_DOCUMENT_WAITS = 0, /* not read */
    NATSL_DOCUMENT_DONE,
    NATSL_DOCUMENT_BEFORE, /* its result was there already (--resume) */
    NATSL_DOCUMENT_FAILED,
    NATSL_DOCUMENT_INTERRUPTED /* with --checkpoint, what is read of it is saved */
} natsl_document_state;

typedef struct natsl_document {
    char *path, *name; /* of the file; of the result, without .h5 */
    int64_t tokens;    /* 0: nobody knows */
    natsl_document_state state;
    natsl_status status; /* why it failed; else NATSL_OK */
    char *error;         /* with it, where it is known: on the rank that met it, at last on rank 0; or NULL */
    int group, ranks;    /* who reads it; ranks: of the group that has begun it, 0: none */
    int led;             /* this rank led that group */
    double mean, seconds;
    int64_t kept_chunks, chunks;
} natsl_document;

/** Documents of a stretch of the run in which groups have the same number of ranks. */
typedef struct natsl_documents_phase {
    int per;         /* ranks of a group */
    size_t first, n; /* in natsl_documents.turn */
    double most;     /* cost of the group with most */
    size_t longest;  /* the document that comes first in it */
} natsl_documents_phase;

#define NATSL_DOCUMENTS_PHASES 33 /* powers of two of an int, and all ranks */

typedef struct natsl_documents {
    natsl_app *app;
    const natsl_documents_order *order;
    natsl_resume_order resume; /* of each, but for its files */
    natsl_document *all;       /* [n] in the order of the command line; equal on all ranks but for `error` */
    size_t n;
    size_t *turn; /* [n_turns] documents in the order in which they are begun */
    size_t n_turns;
    natsl_documents_phase phases[NATSL_DOCUMENTS_PHASES];
    size_t n_phases;
    natsl_model_info info;
    natsl_options options;
    natsl_tokenizer *tokenizer;
    char no_tokenizer[512]; /* as in natsl_job */
    natsl_model *model;
    int lock; /* on the directory of results; -1 */
    double start_s;
} natsl_documents;

/** All documents with the names of their results. */
natsl_status natsl_documents_list(natsl_documents *d);
void natsl_documents_free(natsl_documents *d);
/** Directories are there or made, nothing that is read would be written over, and nobody else writes there. */
natsl_status natsl_documents_take_places(natsl_documents *d);
/** Opens every document, makes tokens of text and reads token files; sets tokens, or state and status. NATSL_ERR_NOMEM and the like only: what
 * is wrong with documents stands in them. */
natsl_status natsl_documents_check(natsl_documents *d);
/** A document has failed, with the error text as it is. Not collective. */
void natsl_document_fail(natsl_document *document, natsl_status st);
/** Error texts go to rank 0. owner [n]: the rank that has each, -1: nobody. Equal on all ranks. */
void natsl_documents_gather_errors(natsl_documents *d, const int *owner);

/** "DIR/name.h5" or, with an empty ending, "DIR/name" in path [NATSL_SERIES_PATH]. */
void natsl_document_path(const char *directory, const natsl_document *document, const char *ending, char *path);

/** documents.csv and documents.jsonl. NATSL_ERR_IO. Rank 0. */
natsl_status natsl_documents_write_tables(const natsl_documents *d);
/** The lines at the end; numbers for the log's last line. Rank 0. */
void natsl_documents_summarise(const natsl_documents *d);
/** Documents in a state. */
size_t natsl_documents_count(const natsl_documents *d, natsl_document_state state);
/** Mean log-probability of the tokens of an earlier run's result, seconds and what was kept, as far as its file says. Not collective. */
void natsl_document_recall(const natsl_documents *d, natsl_document *document);

/** Phases, turns and groups of the documents that wait, equal on all ranks. weights_loaded: the model is in memory already.
 * Collective. NATSL_ERR_NOMEM. */
natsl_status natsl_documents_plan(natsl_documents *d, int weights_loaded);
/** --dry-run: makes the plan; prints how documents are spread, and what it takes. Collective. */
natsl_status natsl_documents_print_plan(natsl_documents *d);

#endif
