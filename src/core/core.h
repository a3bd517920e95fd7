/* core.h - error text, checked sizes, aligned memory, time.
 * Owns: the process's one error line. MPI: none. Tests: tests/unit/test_core.c */
#ifndef NATSL_CORE_H
#define NATSL_CORE_H

#include <natsl/status.h>
#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define NATSL_PRINTF(f, a) __attribute__((format(printf, f, a)))
#else
#define NATSL_PRINTF(f, a)
#endif

/** Stores the formatted line as the process's error text and returns `status`, so that
 * `return natsl_fail(NATSL_ERR_INPUT, "%s: ...", path)` is one statement. Control characters of the text become
 * '?': names from files and options cannot forge a second line. */
natsl_status natsl_fail(natsl_status status, const char *format, ...) NATSL_PRINTF(2, 3);

/** Replaces the error text by `text` (used after ranks agreed on whose error counts). */
void natsl_error_set(const char *text);

/** If `expr` is not NATSL_OK: stores it in `st` and jumps to `label`. */
#define NATSL_TRY(st, label, expr)                                                                                     \
    do {                                                                                                               \
        (st) = (expr);                                                                                                 \
        if ((st) != NATSL_OK) goto label;                                                                              \
    } while (0)

/** *out = a * b (or a + b); false when it does not fit size_t. */
int natsl_size_mul(size_t *out, size_t a, size_t b);
int natsl_size_add(size_t *out, size_t a, size_t b);

/** `count` elements of `size` bytes, 64-byte aligned; count 0 gives a valid non-NULL pointer. NULL when the product
 * overflows or memory is short (error text set, naming `what` and the bytes). Debug builds fill with NaN patterns.
 * Free with natsl_free. */
void *natsl_alloc(size_t count, size_t size, const char *what);
/** The same, filled with zero bytes. */
void *natsl_calloc(size_t count, size_t size, const char *what);
void natsl_free(void *p);

/** Whether all of x [n] are finite. */
int natsl_all_finite(const float *x, size_t n);

/** Seconds on a clock that only moves forward. */
double natsl_now_s(void);

/** Seconds of processor that the calling thread has used: unlike the clock, whatever else the machine does. Slower to ask. */
double natsl_thread_s(void);

/** Peak resident bytes of this process so far. */
size_t natsl_peak_bytes(void);

/** Resident bytes of this process now: its own pages, and of pages that processes share its part (their size over the number of
 * processes that have them). Resident bytes as they are where Linux does not say. Takes a millisecond per gigabyte. */
size_t natsl_resident_bytes(void);

/** Path of the file that this process writes under a temporary name, "" when none: what a signal handler, or whoever ends the
 * job from inside, removes. Set sees to it that a handler finds all of a path or nothing. */
extern char natsl_temporary_path[4096];
/** "": the file has its name. While one file is under way a second may be (a checkpoint beside a result); then "" means the second. */
void natsl_temporary_set(const char *path);
/** One more file, which a library makes beside it for a moment; "": no more. */
void natsl_temporary_beside(const char *path);
/** Removes a file that is or was under way, and the semaphore (/dev/shm/sem.OMPIO_<name>) that a killed rank leaves on its node when
 * Open MPI's component sharedfp/sm was just opening the file. Async-signal-safe. */
void natsl_temporary_unlink(const char *path);
/** Removes what is under way. Async-signal-safe. */
void natsl_temporary_remove(void);

/** Fault injection for tests: true when this is the n-th fallible call and NATSL_FAULT=n was set. natsl_alloc asks. */
int natsl_fault(void);

#endif
