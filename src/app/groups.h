/* groups.h - ranks in groups that work side by side, each on texts of its own: samples (eval), documents (score, read).
 * MPI: collective on app->comm unless said. Owns: two communicators, until natsl_groups_free.
 * Tests: tests/cli/eval.sh, tests/cli/documents.sh */
#ifndef NATSL_APP_GROUPS_H
#define NATSL_APP_GROUPS_H

#include "app.h"
#include "files.h"
#include <natsl/context.h>

/** What reading a text takes in memory. */
typedef struct natsl_groups_need {
    const natsl_model_info *info;
    const natsl_options *options;
    int twice;          /* kept keys and values are there twice: a context that is branched */
    int weights_loaded; /* the model is in memory already */
} natsl_groups_need;

/** Bytes of a rank without weights (*weights: those, per node) if every chunk were kept; negative: the plan cannot be made. Not collective. */
double natsl_groups_rank_bytes(const natsl_app *app, const natsl_groups_need *need, int ranks, int64_t tokens,
                               size_t *weights);

/** ranks [n]: how many read a text of lengths[i] tokens together: the fewest of 1, 2, 4 ... all, but no fewer than ranks[i] says at
 * first, with which the memory of every node is enough though every chunk were kept. Equal on all ranks. */
void natsl_groups_choose(natsl_app *app, const natsl_groups_need *need, const int64_t *lengths, size_t n, int *ranks);

typedef struct natsl_groups {
    natsl_app *app;
    MPI_Comm control; /* all ranks; for messages to leaders, which may come at any time */
    MPI_Comm comm;    /* the ranks of this group */
    int per, count;   /* ranks of a group (the last one has those that are left over, too), groups */
    int number;       /* of this one */
    int rank, size;   /* in it */
    int leads;        /* rank 0 of its group; app->rank is number * per then */
    int stop;         /* leader: another group has told it to stop */
    int told;         /* this rank has told the others */
    void (*meanwhile)(
        void *user); /* called now and then while this rank waits for the other groups' ends; NULL: nothing */
    void *user;
} natsl_groups;

/** Groups of `per` consecutive ranks, 1 <= per <= app->size. */
void natsl_groups_split(natsl_app *app, int per, natsl_groups *g);
void natsl_groups_free(natsl_groups *g);

/** The program as the ranks of this group see it: their communicator, no summary and no log. */
natsl_app natsl_groups_app(const natsl_groups *g);

/** Whether this process is to stop: a signal, or (on a leader) another group's word. Not collective. */
int natsl_groups_stopped(natsl_groups *g);
/** The same for the group; its leader decides. Collective on g->comm. */
int natsl_groups_asked_to_stop(natsl_groups *g);
/** Tells all leaders to stop, once. Not collective, nobody waits for it. */
void natsl_groups_tell_to_stop(natsl_groups *g);

/** The end of the work, with each group's status, once all groups are there: until then a signal is passed on, and the processor is free
 * for those that still work. A status that is not NATSL_OK stops the others (which have NATSL_INTERRUPTED then).
 * All ranks get the same: a failure, else NATSL_INTERRUPTED, else NATSL_OK. */
natsl_status natsl_groups_agree(natsl_groups *g, natsl_status mine);

#endif
