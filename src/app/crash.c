/* crash.c - see crash.h. */
#define _GNU_SOURCE /* pthread_kill's neighbours, REG_RIP's header */
#include "crash.h"

#include "core.h"
#include "place.h"
#include "signals.h"

#include <natsl/status.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#ifdef NATSL_UNWIND
#define UNW_LOCAL_ONLY
#include <libunwind.h>
#else
#include <execinfo.h>
#endif

#define FRAMES     64
#define TEXT_BYTES 16384
#define ASK_SIGNAL (SIGRTMIN + 5)

static pthread_t main_thread;
static _Atomic int answered;
static char report[TEXT_BYTES]; /* one handler at a time uses it: `busy` */
static _Atomic int busy, crashing;

static void add(size_t *at, const char *text) { natsl_append(report, sizeof report, at, text); }
static void add_number(size_t *at, uint64_t number, unsigned base)
{
    natsl_append_number(report, sizeof report, at, number, base);
}

static void put_report(size_t length)
{
    for (size_t done = 0; done < length;) {
        const ssize_t n = write(STDERR_FILENO, report + done, length - done);
        if (n <= 0) return;
        done += (size_t)n;
    }
}

/** The calls that led here, innermost first, one a line. `context`: of the interrupted code. */
static void add_calls(size_t *at, void *context)
{
#ifdef NATSL_UNWIND
    unw_cursor_t cursor;
    if (unw_init_local2(&cursor, context, UNW_INIT_SIGNAL_FRAME) != 0) return;
    for (int i = 0; i < FRAMES; i++) {
        unw_word_t address = 0, offset = 0;
        char name[160] = "?";
        if (unw_get_reg(&cursor, UNW_REG_IP, &address) != 0 || address == 0) break;
        if (unw_get_proc_name(&cursor, name, sizeof name, &offset) != 0 && !name[0]) (void)strcpy(name, "?");
        add(at, "    #");
        add_number(at, (uint64_t)i, 10);
        add(at, " 0x");
        add_number(at, address, 16);
        add(at, " ");
        add(at, name);
        add(at, "+0x");
        add_number(at, offset, 16);
        add(at, "\n");
        if (strcmp(name, "main") == 0 || unw_step(&cursor) <= 0) break;
    }
    put_report(*at);
    *at = 0;
#else
    void *frames[FRAMES];
    (void)context;
    put_report(*at);
    *at = 0;
    backtrace_symbols_fd(frames, backtrace(frames, FRAMES), STDERR_FILENO);
#endif
}

static void add_self(size_t *at)
{
    if (!natsl_self()[0]) return;
    add(at, natsl_self());
    add(at, ": ");
}

/** Who this is and what it is at, without the end of the line. */
static void add_place(size_t *at)
{
    add_self(at);
    add(at, "process ");
    add_number(at, (uint64_t)getpid(), 10);
    add(at, " is at: ");
    *at += natsl_place_text(report + *at, sizeof report - *at);
}

static const char *name_of(int number)
{
    switch (number) {
    case SIGSEGV: return "segmentation fault (SIGSEGV)";
    case SIGBUS: return "bus error (SIGBUS: a mapped file or shared memory has no room; is /dev/shm full?)";
    case SIGFPE: return "arithmetic error (SIGFPE)";
    case SIGILL: return "illegal instruction (SIGILL: built for another processor?)";
    case SIGABRT: return "aborted (SIGABRT)";
    }
    return "fatal signal";
}

static void crashed(int number, siginfo_t *info, void *context)
{
    const int error_number = number;
    size_t at = 0;
    const int first = atomic_exchange(&crashing, 1) == 0;
    while (!first) (void)pause(); /* another thread has crashed, too: it tells and ends the process */
    if (atomic_exchange(&busy, 1) == 0) {
        add(&at, "natsl: ");
        add_self(&at);
        add(&at, name_of(error_number));
        if (number != SIGABRT && info->si_code > 0) { /* not sent by a process */
            add(&at, " at address 0x");
            add_number(&at, (uint64_t)(uintptr_t)info->si_addr, 16);
        }
        add(&at, " while ");
        at += natsl_place_text(report + at, sizeof report - at);
        add(&at, "\n");
        natsl_signals_abandon(128 + number, "crashed");
        put_report(at);
        at = 0;
        add_calls(&at, context);
    }
    (void)signal(number, SIG_DFL);
    (void)raise(number); /* blocked while this handler runs; it comes as soon as it returns */
}

static void asked(int number, siginfo_t *info, void *context)
{
    size_t at = 0;
    (void)number;
    (void)info;
    if (atomic_exchange(&busy, 1) != 0) return;
    add_place(&at);
    add(&at, "\n");
    add_calls(&at, context);
    atomic_store(&busy, 0);
    atomic_store(&answered, 1);
}

void natsl_crash_install(void)
{
    static char stack[1 << 17]; /* for a crash by too deep a stack */
    struct sigaction action;
    main_thread = pthread_self();
    memset(&action, 0, sizeof action);
    (void)sigemptyset(&action.sa_mask);
#ifndef NATSL_UNWIND
    void *frame;
    (void)backtrace(&frame, 1); /* loads what it needs now, not in a handler */
#endif
    action.sa_sigaction = asked;
    action.sa_flags = SA_SIGINFO | SA_RESTART;
    (void)sigaction(ASK_SIGNAL, &action, NULL);
#ifndef __SANITIZE_ADDRESS__ /* whose own report says more */
    static const int numbers[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};
    const stack_t alternate = {.ss_sp = stack, .ss_size = sizeof stack};
    (void)sigaltstack(&alternate, NULL);
    action.sa_sigaction = crashed;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    /* a crash of the handler itself meets a blocked signal, which ends the process at once */
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) (void)sigaddset(&action.sa_mask, numbers[i]);
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) (void)sigaction(numbers[i], &action, NULL);
#else
    (void)stack;
    (void)crashed;
#endif
}

void natsl_crash_ask(void)
{
    const struct timespec wait = {.tv_nsec = 20000000};
    atomic_store(&answered, 0);
    int bad = pthread_kill(main_thread, ASK_SIGNAL) != 0;
    for (int i = 0; i < 100 && !bad && !atomic_load(&answered); i++) (void)nanosleep(&wait, NULL);
    if (!bad && atomic_load(&answered)) return;
    size_t at = 0;
    if (atomic_exchange(&busy, 1) != 0) return;
    add_place(&at);
    add(&at, " (its main thread does not answer: it may hang in the system, as in a file)\n");
    put_report(at);
    atomic_store(&busy, 0);
}
