/* suite.h - runs a table of CUnit tests in one process; under MPI: mpi/mpi_suite.h. */
#ifndef NATSL_TEST_SUITE_H
#define NATSL_TEST_SUITE_H

#include <CUnit/Basic.h>
#include <stdio.h>

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

typedef struct test_entry {
    const char *name;
    void (*run)(void);
} test_entry;

/** Number of failures; a suite that could not run, or has no tests, is one. */
static inline int suite_failures(const char *name, const test_entry *tests, size_t count, CU_BasicRunMode mode)
{
    if (CU_initialize_registry() != CUE_SUCCESS) return 1;
    CU_pSuite suite = CU_add_suite(name, NULL, NULL);
    int failed = suite == NULL;
    for (size_t i = 0; i < count && !failed; i++) failed = CU_add_test(suite, tests[i].name, tests[i].run) == NULL;
    if (!failed) {
        CU_basic_set_mode(mode);
        (void)CU_basic_run_tests();
        failed = (int)CU_get_number_of_failures() + (CU_get_number_of_tests_run() != count);
    }
    if (failed && mode == CU_BRM_SILENT) CU_basic_show_failures(CU_get_failure_list()); /* else shown already */
    CU_cleanup_registry();
    return failed;
}

static inline int run_suite(const char *name, const test_entry *tests, size_t count)
{
    return suite_failures(name, tests, count, CU_BRM_VERBOSE) != 0;
}

/** A condition with what was found, where CUnit's own message would not say it. */
#define EXPECT(condition, ...)                                                                                         \
    do {                                                                                                               \
        const int holds_ = (condition);                                                                                \
        if (!holds_) {                                                                                                 \
            printf("\n    %s:%d: %s: ", __FILE__, __LINE__, #condition);                                               \
            printf(__VA_ARGS__);                                                                                       \
        }                                                                                                              \
        CU_assertImplementation(holds_, __LINE__, #condition, __FILE__, "", CU_FALSE);                                 \
    } while (0)

#endif
