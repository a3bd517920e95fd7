/* test_core.c - status names and texts, the error line, checked sizes, aligned memory, fault injection, time. */
#include "../suite.h"
#include "core.h"
#include "digest.h"
#include "text_out.h"
#include "whole_file.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static void test_status(void)
{
    static const natsl_status all[] = {NATSL_OK,     NATSL_ERR_USAGE,   NATSL_ERR_INPUT,   NATSL_ERR_NOMEM,
                                       NATSL_ERR_IO, NATSL_INTERRUPTED, NATSL_ERR_INTERNAL};
    static const int codes[] = {0, 2, 3, 4, 5, 6, 7}; /* the program's exit codes, documented */
    for (size_t i = 0; i < COUNT(all); i++) {
        CU_ASSERT_EQUAL((int)all[i], codes[i]);
        CU_ASSERT_TRUE(strlen(natsl_status_name(all[i])) > 0);
        for (size_t j = 0; j < i; j++) CU_ASSERT_STRING_NOT_EQUAL(natsl_status_name(all[i]), natsl_status_name(all[j]));
    }
    CU_ASSERT_PTR_NOT_NULL(natsl_status_name((natsl_status)99));
}

static void test_error_line(void)
{
    CU_ASSERT_EQUAL(natsl_fail(NATSL_ERR_INPUT, "%s: %d", "file", 7), NATSL_ERR_INPUT);
    CU_ASSERT_STRING_EQUAL(natsl_error_text(), "file: 7");
    /* a name from outside cannot forge a second line, nor move the cursor; UTF-8 stays */
    (void)natsl_fail(NATSL_ERR_IO, "%s", "a\nb\rc\033[2Jd\x7f\xc3\xa9");
    CU_ASSERT_STRING_EQUAL(natsl_error_text(), "a?b?c?[2Jd?\xc3\xa9");
    /* the stored line may be an argument of the next */
    (void)natsl_fail(NATSL_ERR_IO, "outer: %s", natsl_error_text());
    CU_ASSERT_STRING_EQUAL(natsl_error_text(), "outer: a?b?c?[2Jd?\xc3\xa9");
    natsl_error_set(natsl_error_text());
    CU_ASSERT_STRING_EQUAL(natsl_error_text(), "outer: a?b?c?[2Jd?\xc3\xa9");
    natsl_error_set("");
    CU_ASSERT_STRING_EQUAL(natsl_error_text(), "");
}

/** A path as long as the system allows leaves room for what is wrong with it. */
static void test_long_line(void)
{
    static char path[4096];
    memset(path, 'p', sizeof path - 1);
    (void)natsl_fail(NATSL_ERR_INPUT, "%s: not an HDF5 file", path);
    const char *text = natsl_error_text();
    const size_t length = strlen(text);
    EXPECT(length < 1024, "%zu", length);
    CU_ASSERT_EQUAL(strncmp(text, "pppp", 4), 0);
    EXPECT(strstr(text, ": not an HDF5 file") != NULL, "%s", text);
    static char huge[100000];
    memset(huge, 'x', sizeof huge - 1);
    natsl_error_set(huge); /* as it came from another rank: bounded too */
    CU_ASSERT_TRUE(strlen(natsl_error_text()) < 1024);
    (void)natsl_fail(NATSL_ERR_INPUT, "%s", huge);
    CU_ASSERT_TRUE(strlen(natsl_error_text()) < 1024);
}

static natsl_status tries(int which, int *reached)
{
    natsl_status st = NATSL_OK;
    *reached = 0;
    NATSL_TRY(st, done, which == 0 ? NATSL_ERR_NOMEM : NATSL_OK);
    *reached = 1;
    NATSL_TRY(st, done, which == 1 ? NATSL_ERR_IO : NATSL_OK);
    *reached = 2;
done:
    return st;
}

static void test_try(void)
{
    int reached = 0;
    CU_ASSERT_EQUAL(tries(0, &reached), NATSL_ERR_NOMEM);
    CU_ASSERT_EQUAL(reached, 0);
    CU_ASSERT_EQUAL(tries(1, &reached), NATSL_ERR_IO);
    CU_ASSERT_EQUAL(reached, 1);
    CU_ASSERT_EQUAL(tries(2, &reached), NATSL_OK);
    CU_ASSERT_EQUAL(reached, 2);
}

static void test_sizes(void)
{
    size_t out = 1;
    CU_ASSERT_TRUE(natsl_size_mul(&out, 1 << 20, 4096));
    CU_ASSERT_EQUAL(out, (size_t)1 << 32);
    CU_ASSERT_TRUE(natsl_size_mul(&out, 0, SIZE_MAX));
    CU_ASSERT_EQUAL(out, 0);
    CU_ASSERT_TRUE(natsl_size_mul(&out, SIZE_MAX, 1));
    CU_ASSERT_EQUAL(out, SIZE_MAX);
    CU_ASSERT_FALSE(natsl_size_mul(&out, SIZE_MAX / 2 + 1, 2));
    CU_ASSERT_FALSE(natsl_size_mul(&out, (size_t)1 << 32, (size_t)1 << 32));
    CU_ASSERT_TRUE(natsl_size_add(&out, SIZE_MAX - 1, 1));
    CU_ASSERT_EQUAL(out, SIZE_MAX);
    CU_ASSERT_FALSE(natsl_size_add(&out, SIZE_MAX, 1));
}

static void test_memory(void)
{
    static const size_t counts[] = {0, 1, 15, 16, 17, 1000003};
    for (size_t i = 0; i < COUNT(counts); i++) {
        unsigned char *p = natsl_alloc(counts[i], sizeof(float), "test");
        unsigned char *z = natsl_calloc(counts[i], sizeof(float), "test");
        if (!p || !z) CU_FAIL("no memory");
        CU_ASSERT_EQUAL((uintptr_t)p % 64, 0);
        CU_ASSERT_EQUAL((uintptr_t)z % 64, 0);
        size_t bad = 0;
        for (size_t k = 0; z && k < counts[i] * sizeof(float); k++) bad += z[k] != 0;
        CU_ASSERT_EQUAL(bad, 0);
        if (p) memset(p, 1, counts[i] * sizeof(float)); /* the sanitizer checks the size */
        natsl_free(p);
        natsl_free(z);
    }
    natsl_free(NULL);
}

/** Sizes that overflow, and sizes that no machine has, are errors that name what and how much. */
static void test_no_memory(void)
{
    CU_ASSERT_PTR_NULL(natsl_alloc(SIZE_MAX / 2, 8, "the moon"));
    CU_ASSERT_PTR_NOT_NULL(strstr(natsl_error_text(), "the moon"));
    CU_ASSERT_PTR_NULL(natsl_alloc(SIZE_MAX, 1, "the edge")); /* the product fits, rounding up does not */
    CU_ASSERT_PTR_NOT_NULL(strstr(natsl_error_text(), "the edge"));
    CU_ASSERT_PTR_NULL(natsl_calloc(SIZE_MAX / 4, 8, "the sun"));
    CU_ASSERT_PTR_NOT_NULL(strstr(natsl_error_text(), "the sun"));
}

/** NATSL_FAULT=n: in a child of its own, since the count starts with the first call. Returns the allocation that
 * failed, 0 for none. */
static int faulty_allocation(const char *n)
{
    int status = 0;
    (void)fflush(stdout);
    const pid_t child = fork();
    if (child == 0) {
        int failed = 0;
        if (n) (void)setenv("NATSL_FAULT", n, 1);
        else (void)unsetenv("NATSL_FAULT");
        for (int i = 1; i <= 20; i++) {
            void *p = i % 2 ? natsl_alloc(1, 1, "test") : natsl_calloc(1, 1, "test");
            if (!p) failed = failed == 0 ? i : 100; /* exactly one may fail */
            natsl_free(p);
        }
        _exit(failed);
    }
    if (child < 0 || waitpid(child, &status, 0) != child || !WIFEXITED(status)) return -1;
    return WEXITSTATUS(status);
}

static void test_fault(void)
{
    CU_ASSERT_EQUAL(faulty_allocation(NULL), 0);
    CU_ASSERT_EQUAL(faulty_allocation("0"), 0);
    CU_ASSERT_EQUAL(faulty_allocation("1"), 1);
    CU_ASSERT_EQUAL(faulty_allocation("2"), 2);
    CU_ASSERT_EQUAL(faulty_allocation("13"), 13);
    CU_ASSERT_EQUAL(faulty_allocation("21"), 0);
    CU_ASSERT_EQUAL(faulty_allocation("-3"), 0);
    CU_ASSERT_EQUAL(faulty_allocation("nonsense"), 0);
}

static void test_clock_and_peak(void)
{
    double last = natsl_now_s();
    for (int i = 0; i < 1000; i++) {
        const double now = natsl_now_s();
        CU_ASSERT_TRUE(now >= last);
        last = now;
    }
    const double begin = natsl_now_s();
    (void)usleep(20000);
    const double took = natsl_now_s() - begin;
    EXPECT(took >= 0.02 && took < 10.0, "%g s", took);
    /* 64 MiB touched raise the peak by about as much: the unit is bytes */
    const size_t before = natsl_peak_bytes(), size = (size_t)64 << 20;
    volatile char *p = natsl_alloc(size, 1, "test");
    for (size_t i = 0; p && i < size; i += 4096) p[i] = 1;
    const size_t after = natsl_peak_bytes();
    natsl_free((void *)(uintptr_t)p);
    EXPECT(after >= before + size / 2 && after < before + 4 * size, "%zu then %zu", before, after);
}

/* Whole under its name, or as it was before; the temporary file goes in both cases. */
static void test_text_out(void)
{
    char directory[] = "/tmp/natsl-test-core-XXXXXX", path[64], got[32] = "";
    natsl_text_out out;
    CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(directory));
    (void)snprintf(path, sizeof path, "%s/a.txt", directory);
    for (int bad = 0; bad < 2; bad++) { /* the second one fails and leaves the first */
        CU_ASSERT_EQUAL_FATAL(natsl_text_out_open(path, &out), NATSL_OK);
        EXPECT(access(out.temporary, F_OK) == 0 && strcmp(natsl_temporary_path, out.temporary) == 0, "%s",
               out.temporary);
        CU_ASSERT(fputs(bad ? "second" : "first", out.file) >= 0);
        CU_ASSERT_EQUAL(natsl_text_out_close(&out, bad), bad ? NATSL_ERR_IO : NATSL_OK);
        EXPECT(access(out.temporary, F_OK) != 0 && natsl_temporary_path[0] == '\0', "left %s", out.temporary);
        FILE *file = fopen(path, "r");
        CU_ASSERT_PTR_NOT_NULL_FATAL(file);
        CU_ASSERT(fgets(got, sizeof got, file) && strcmp(got, "first") == 0);
        (void)fclose(file);
    }
    (void)unlink(path);
    CU_ASSERT_EQUAL(rmdir(directory), 0); /* nothing else in it */
    CU_ASSERT_EQUAL(natsl_text_out_open("/none/there/a.txt", &out), NATSL_ERR_IO);
    char longest[5000];
    memset(longest, 'x', sizeof longest - 1);
    longest[sizeof longest - 1] = '\0';
    CU_ASSERT_EQUAL(natsl_text_out_open(longest, &out), NATSL_ERR_USAGE);
}

/** Two files under way: the second one's end leaves the first one's name. */
static void test_two_temporaries(void)
{
    char first[] = "/tmp/natsl-first-XXXXXX", second[] = "/tmp/natsl-second-XXXXXX";
    const int a = mkstemp(first), b = mkstemp(second);
    CU_ASSERT_FATAL(a >= 0 && b >= 0);
    (void)close(a);
    (void)close(b);
    natsl_temporary_set(first);
    natsl_temporary_set(second);
    EXPECT(strcmp(natsl_temporary_path, second) == 0, "got %s", natsl_temporary_path);
    natsl_temporary_remove();
    EXPECT(access(first, F_OK) != 0 && access(second, F_OK) != 0, "one of %s and %s is left", first, second);
    natsl_temporary_set("");
    EXPECT(strcmp(natsl_temporary_path, first) == 0, "got %s", natsl_temporary_path);
    natsl_temporary_set("");
    CU_ASSERT_EQUAL(natsl_temporary_path[0], '\0');
}

/** Every single damaged byte changes the digest, at every place in and around whole lanes. */
static void test_digest(void)
{
    unsigned char bytes[100];
    for (size_t i = 0; i < sizeof bytes; i++) bytes[i] = (unsigned char)(i * 37);
    for (size_t n = 0; n <= sizeof bytes; n++) {
        const uint64_t want = natsl_digest(bytes, n);
        if (n > 0) CU_ASSERT_NOT_EQUAL(natsl_digest(bytes, n - 1), want);
        for (size_t i = 0; i < n; i++) {
            for (int bit = 0; bit < 8; bit++) {
                bytes[i] ^= (unsigned char)(1 << bit);
                CU_ASSERT_NOT_EQUAL(natsl_digest(bytes, n), want);
                bytes[i] ^= (unsigned char)(1 << bit);
            }
        }
    }
    CU_ASSERT_NOT_EQUAL(natsl_digest_add(0, 0), 0);
    CU_ASSERT_NOT_EQUAL(natsl_digest_add(natsl_digest_add(0, 1), 2), natsl_digest_add(natsl_digest_add(0, 2), 1));
}

/** Files and pipes up to a limit, as they are; NUL behind them. */
static void test_whole_file(void)
{
    static const size_t sizes[] = {0, 1, 4095, 200000};
    char path[] = "/tmp/natsl-whole-XXXXXX", *bytes = NULL;
    size_t length = 0;
    const int fd = mkstemp(path);
    CU_ASSERT_FATAL(fd >= 0);
    unsigned char *data = malloc(200000);
    CU_ASSERT_PTR_NOT_NULL_FATAL(data);
    for (size_t i = 0; i < 200000; i++) data[i] = (unsigned char)(i * 7 + i / 256);
    for (size_t i = 0; i < COUNT(sizes); i++) {
        CU_ASSERT(ftruncate(fd, 0) == 0 && pwrite(fd, data, sizes[i], 0) == (ssize_t)sizes[i]);
        CU_ASSERT_EQUAL(natsl_whole_file(path, sizes[i], "a file", &bytes, &length), NATSL_OK);
        CU_ASSERT(bytes && length == sizes[i] && memcmp(bytes, data, length) == 0 && bytes[length] == '\0');
        natsl_free(bytes);
        if (sizes[i] == 0) continue;
        CU_ASSERT_EQUAL(natsl_whole_file(path, sizes[i] - 1, "a file", &bytes, &length), NATSL_ERR_INPUT);
        CU_ASSERT(!bytes && length == 0 && strstr(natsl_error_text(), "expected a file"));
    }
    (void)close(fd);
    for (size_t limit = 200000; limit > 199998; limit--) { /* a pipe says no length */
        char command[128], name[64];
        (void)snprintf(command, sizeof command, "cat %s", path);
        FILE *pipe = popen(command, "r");
        CU_ASSERT_PTR_NOT_NULL_FATAL(pipe);
        (void)snprintf(name, sizeof name, "/proc/self/fd/%d", fileno(pipe));
        CU_ASSERT_EQUAL(natsl_whole_file(name, limit, "a file", &bytes, &length),
                        limit == 200000 ? NATSL_OK : NATSL_ERR_INPUT);
        if (limit == 200000) CU_ASSERT(bytes && length == limit && memcmp(bytes, data, length) == 0);
        natsl_free(bytes);
        (void)pclose(pipe);
    }
    (void)unlink(path);
    CU_ASSERT_EQUAL(natsl_whole_file(path, 10, "a file", &bytes, &length), NATSL_ERR_INPUT);
    CU_ASSERT_EQUAL(natsl_whole_file("/tmp", 10, "a file", &bytes, &length), NATSL_ERR_INPUT);
    CU_ASSERT_PTR_NULL(bytes);
    free(data);
}

/** Names of one file, there or not yet; through links and other ways of writing its directory. */
static void test_same_file(void)
{
    char directory[] = "/tmp/natsl-same-XXXXXX", a[64], b[64], other[64], link[64];
    CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(directory));
    (void)snprintf(a, sizeof a, "%s/a", directory);
    (void)snprintf(b, sizeof b, "%s/./a", directory);
    (void)snprintf(other, sizeof other, "%s/b", directory);
    (void)snprintf(link, sizeof link, "%s/link", directory);
    for (int there = 0; there < 2; there++) {
        CU_ASSERT(natsl_same_file(a, a) && natsl_same_file(a, b) && natsl_same_file(b, a));
        CU_ASSERT(!natsl_same_file(a, other) && !natsl_same_file(other, a) && !natsl_same_file(a, link));
        CU_ASSERT(!natsl_same_file(a, "/none/there/a") && !natsl_same_file("a", a));
        FILE *file = there ? NULL : fopen(a, "w");
        if (file) (void)fclose(file);
    }
    CU_ASSERT_EQUAL(symlink(a, link), 0);
    CU_ASSERT(natsl_same_file(a, link) && natsl_same_file(link, b) && !natsl_same_file(link, other));
    (void)unlink(link);
    (void)unlink(a);
    CU_ASSERT_EQUAL(rmdir(directory), 0);
}

int main(void)
{
    static const test_entry tests[] = {
        {"NATSL_FAULT", test_fault}, /* first: its children count from the first allocation of the process */
        {"statuses", test_status},
        {"the error line", test_error_line},
        {"a long error line keeps both ends", test_long_line},
        {"NATSL_TRY", test_try},
        {"checked sizes", test_sizes},
        {"memory", test_memory},
        {"memory that cannot be had", test_no_memory},
        {"clock and peak memory", test_clock_and_peak},
        {"text files", test_text_out},
        {"two files under way", test_two_temporaries},
        {"whole files", test_whole_file},
        {"names of one file", test_same_file},
        {"digest", test_digest},
    };
    return run_suite("core", tests, COUNT(tests));
}
