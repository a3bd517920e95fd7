/* watchdog.c - see watchdog.h. */
#include "watchdog.h"

#include "agree.h"
#include "core.h"
#include "crash.h"
#include "place.h"
#include "signals.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define HOST_BYTES  64
#define LOOKS       32   /* in the time allowed */
#define LOOK_LEAST  0.02 /* seconds between two */
#define LOOK_MOST   1.0
#define ANSWER_S    6.0 /* for all ranks to say where they are */
#define ABORT_S     10  /* for MPI to end the job; then this process ends by itself */
#define MOST_PEERS  31  /* powers of two below an int */
#define NAMED_RANKS 8   /* that do not answer; more are counted */

enum kind { NEWS = 1, ASK, ANSWER };

typedef struct message {
    int kind, from;
    int worker;    /* NEWS: this rank */
    uint64_t work; /* has done so much */
} message;

static struct {
    natsl_app *app;
    MPI_Comm comm;
    pthread_t thread;
    int running;
    _Atomic int stop;
    double allowed_s, look_s;
    char *hosts;             /* [size, HOST_BYTES] */
    unsigned char *answered; /* [size] */
    int peers;
    MPI_Request sent[MOST_PEERS]; /* news on their way to rank + 2^k */
    message out[MOST_PEERS];
    /* seconds of the thread's own clock, which stands still while the process does */
    double clock_s, newest_s;        /* now; when the last news came */
    uint64_t *known;                 /* [size] work of each rank, as far as it is known here */
    int worker;                      /* whose work the last news was of */
    uint64_t news, told[MOST_PEERS]; /* numbers of the last news, and of the last that went to rank + 2^k */
    int asker;                       /* who ends the job; -1: nobody */
} w;

int natsl_watchdog_wanted(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        if (strncmp(argv[i], "--watchdog", 10) == 0) return 1;
    }
    return 0;
}

static void pause_for(double seconds)
{
    const struct timespec t = {(time_t)seconds, (long)((seconds - (double)(time_t)seconds) * 1e9)};
    (void)nanosleep(&t, NULL);
}

/** What time it is for this thread: since the last call no more than two looks have passed. */
static void clock_move(void)
{
    static double before;
    const double now = natsl_now_s(), step = now - before;
    if (before > 0.0) w.clock_s += step < 2.0 * w.look_s ? step : 2.0 * w.look_s;
    before = now;
}

static void send_now(int kind, int to)
{
    message m = {.kind = kind, .from = w.app->rank};
    MPI_Request request;
    /* small enough to leave at once; this is the end of the job, so nobody waits for it */
    if (MPI_Isend(&m, sizeof m, MPI_BYTE, to, 1, w.comm, &request) != MPI_SUCCESS) return;
    for (int i = 0, gone = 0; i < 10 && !gone; i++) {
        if (MPI_Test(&request, &gone, MPI_STATUS_IGNORE) != MPI_SUCCESS) return;
        if (!gone) pause_for(0.01);
    }
}

/** Ends this process when MPI_Abort has not done it. */
static void end_anyway(int number)
{
    (void)number;
    _exit(NATSL_STALLED);
}

static void end_job(void)
{
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = end_anyway;
    (void)sigaction(SIGALRM, &action, NULL);
    (void)alarm(ABORT_S);
    (void)MPI_Abort(MPI_COMM_WORLD, NATSL_STALLED);
    _exit(NATSL_STALLED);
}

/** This rank's part of the end: where it is, and nothing half-written stays. */
static void tell(void)
{
    static int told;
    if (told) return;
    told = 1;
    natsl_signals_abandon(NATSL_STALLED, "no rank made progress (--watchdog)");
    natsl_signals_done(NATSL_STALLED); /* the launcher's SIGTERM is no interruption */
    natsl_crash_ask();
    w.answered[w.app->rank] = 1;
}

/** Only what is not known yet is news: else two ranks would tell each other the same for ever. */
static void learn(int worker, uint64_t work)
{
    if (work <= w.known[worker]) return;
    w.known[worker] = work;
    w.worker = worker;
    w.news++;
    w.newest_s = w.clock_s;
}

static void hear(void)
{
    for (int there = 1; there;) {
        MPI_Status status;
        message m;
        if (MPI_Iprobe(MPI_ANY_SOURCE, 1, w.comm, &there, &status) != MPI_SUCCESS || !there) return;
        if (MPI_Recv(&m, sizeof m, MPI_BYTE, status.MPI_SOURCE, 1, w.comm, &status) != MPI_SUCCESS) return;
        if (m.kind == NEWS) learn(m.worker, m.work);
        if (m.kind == ANSWER) w.answered[m.from] = 1;
        if (m.kind != ASK) continue;
        if (w.asker < 0 || m.from < w.asker) w.asker = m.from; /* of two that ask at once the lower rank goes on */
        tell();
        send_now(ANSWER, m.from);
    }
}

/** News to the ranks 1, 2, 4, ... further on, unless the message before is still on its way (to a rank that does not listen). */
static void spread(void)
{
    const int size = w.app->size;
    for (int k = 0; k < w.peers; k++) {
        int gone = 1;
        if (w.told[k] == w.news) continue;
        if (MPI_Test(&w.sent[k], &gone, MPI_STATUS_IGNORE) != MPI_SUCCESS || !gone) continue;
        w.out[k] = (message){.kind = NEWS, .from = w.app->rank, .worker = w.worker, .work = w.known[w.worker]};
        const int to = (int)(((int64_t)w.app->rank + ((int64_t)1 << k)) % size);
        if (MPI_Isend(&w.out[k], sizeof w.out[k], MPI_BYTE, to, 1, w.comm, &w.sent[k]) == MPI_SUCCESS)
            w.told[k] = w.news;
    }
}

/** The line about the end, by the rank that asked: who did not answer. */
static void put_end(void)
{
    char line[2048];
    int missing = 0;
    size_t at = (size_t)snprintf(
        line, sizeof line, "natsl: no rank made progress for %g s (--watchdog): the job ends; where %s stands above",
        w.allowed_s, w.app->size > 1 ? "each rank was" : "it was");
    for (int r = 0; r < w.app->size; r++) {
        if (w.answered[r]) continue;
        if (missing++ >= NAMED_RANKS) continue;
        natsl_append(line, sizeof line, &at, missing == 1 ? "; no answer from rank " : ", rank ");
        natsl_append_number(line, sizeof line, &at, (uint64_t)r, 10);
        natsl_append(line, sizeof line, &at, " on ");
        natsl_append(line, sizeof line, &at, w.hosts + (size_t)r * HOST_BYTES);
    }
    if (missing > NAMED_RANKS) {
        natsl_append(line, sizeof line, &at, " and ");
        natsl_append_number(line, sizeof line, &at, (uint64_t)(missing - NAMED_RANKS), 10);
        natsl_append(line, sizeof line, &at, " more");
    }
    natsl_append(line, sizeof line, &at, "\n");
    const ssize_t ignored = write(STDERR_FILENO, line, at);
    (void)ignored;
}

/** No news for too long, here or elsewhere: all ranks tell, then the one that asked ends the job. */
static void finish_job(void)
{
    const int rank = w.app->rank, size = w.app->size;
    if (w.asker < 0) {
        w.asker = rank;
        for (int r = 0; r < size; r++)
            if (r != rank) send_now(ASK, r);
    }
    tell();
    const double start = natsl_now_s();
    for (int all = 0; !all && w.asker == rank && natsl_now_s() - start < ANSWER_S;) {
        if (size > 1) hear();
        all = 1;
        for (int r = 0; r < size; r++) all &= w.answered[r];
        if (!all) pause_for(LOOK_LEAST);
    }
    if (w.asker == rank) {
        put_end();
        if (size > 1) pause_for(0.2); /* for what the others wrote to come through */
        end_job();
    }
    pause_for(ANSWER_S + ABORT_S); /* the asker ends it; when it cannot any more: */
    end_job();
}

static void *watch(void *nothing)
{
    (void)nothing;
    clock_move();
    while (!atomic_load(&w.stop)) {
        pause_for(w.look_s);
        clock_move();
        if (w.app->size > 1) hear();
        learn(w.app->rank, natsl_work_done()); /* last: own work goes before what others have told */
        if (w.app->size > 1) spread();
        if (w.asker >= 0 || (w.clock_s - w.newest_s >= w.allowed_s && !atomic_load(&w.stop))) finish_job();
    }
    return nothing;
}

natsl_status natsl_watchdog_start(natsl_app *app)
{
    natsl_status st = NATSL_OK;
    int level = MPI_THREAD_SINGLE;
    if (!(app->args.watchdog_s > 0.0)) return NATSL_OK;
    w.app = app;
    w.asker = -1;
    w.allowed_s = app->args.watchdog_s;
    w.look_s = w.allowed_s / LOOKS;
    if (w.look_s > LOOK_MOST) w.look_s = LOOK_MOST;
    if (w.look_s < LOOK_LEAST) w.look_s = LOOK_LEAST;
    NATSL_MPI(MPI_Query_thread(&level));
    if (level < MPI_THREAD_MULTIPLE && app->size > 1)
        st = natsl_fail(NATSL_ERR_INTERNAL, "--watchdog: this MPI has no MPI_THREAD_MULTIPLE, expected it to");
    w.hosts = natsl_calloc((size_t)app->size, HOST_BYTES, "host names");
    w.answered = natsl_calloc((size_t)app->size, 1, "answers");
    w.known = natsl_calloc((size_t)app->size, sizeof *w.known, "counts");
    if (!w.hosts || !w.answered || !w.known) st = NATSL_ERR_NOMEM;
    if ((st = natsl_agree(app->comm, st)) != NATSL_OK) return st;
    char name[MPI_MAX_PROCESSOR_NAME + 1] = {0};
    int length = 0;
    NATSL_MPI(MPI_Get_processor_name(name, &length));
    name[HOST_BYTES - 1] = '\0';
    NATSL_MPI(MPI_Allgather(name, HOST_BYTES, MPI_CHAR, w.hosts, HOST_BYTES, MPI_CHAR, app->comm));
    NATSL_MPI(MPI_Comm_dup(app->comm, &w.comm));
    NATSL_MPI(MPI_Comm_set_errhandler(w.comm, MPI_ERRORS_RETURN));
    for (int64_t step = 1; step < app->size; step *= 2) {
        w.sent[w.peers++] = MPI_REQUEST_NULL;
    }
    /* signals are for the main thread, whose work they interrupt */
    sigset_t all, old;
    static const int own[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT}; /* a crash of the thread itself */
    (void)sigfillset(&all);
    for (size_t i = 0; i < sizeof own / sizeof own[0]; i++) (void)sigdelset(&all, own[i]);
    (void)pthread_sigmask(SIG_SETMASK, &all, &old);
    w.running = pthread_create(&w.thread, NULL, watch, NULL) == 0;
    (void)pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (!w.running) st = natsl_fail(NATSL_ERR_NOMEM, "--watchdog: no thread can be started");
    return natsl_agree(app->comm, st);
}

void natsl_watchdog_stop(natsl_app *app)
{
    if (!w.hosts) return;
    if (w.running) {
        atomic_store(&w.stop, 1);
        (void)pthread_join(w.thread, NULL);
    }
    if (w.comm && w.comm != MPI_COMM_NULL) {
        NATSL_MPI(MPI_Barrier(app->comm)); /* nobody sends any more: what is there is all there will be */
        hear();
        NATSL_MPI(MPI_Waitall(w.peers, w.sent, MPI_STATUSES_IGNORE));
        NATSL_MPI(MPI_Comm_free(&w.comm));
    }
    natsl_free(w.hosts);
    natsl_free(w.answered);
    natsl_free(w.known);
    memset(&w, 0, sizeof w);
}
