/* test_pyrandom.c - Python's and NumPy's random numbers: values that those programs gave. */
#include "pyrandom.h"

#include "../suite.h"

#include <string.h>

static void test_first_numbers(void)
{
    natsl_mt p, q;
    natsl_py_seed(&p, 42);
    CU_ASSERT_EQUAL(natsl_mt_next(&p), 2746317213u);
    CU_ASSERT_EQUAL(natsl_mt_next(&p), 478163327u);
    CU_ASSERT_EQUAL(natsl_mt_next(&p), 107420369u);
    natsl_np_seed(&q, 42);
    CU_ASSERT_EQUAL(natsl_mt_next(&q), 1608637542u);
    natsl_np_seed(&q, 42);
    CU_ASSERT_EQUAL(natsl_np_randint(&q, 10000, 99999), 25795);
    CU_ASSERT_EQUAL(natsl_np_randint(&q, 10000, 99999), 10860);
    CU_ASSERT_EQUAL(natsl_np_randint(&q, 10000, 99999), 86820);
    CU_ASSERT_EQUAL(natsl_np_randint(&q, 7, 8), 7);
    natsl_np_seed(&q, 5489); /* the 10000th number of the reference generator */
    for (int i = 0; i < 9999; i++) (void)natsl_mt_next(&q);
    CU_ASSERT_EQUAL(natsl_mt_next(&q), 4123659995u);
}

static void test_uses(void)
{
    natsl_mt p;
    char text[64];
    natsl_py_seed(&p, 42);
    natsl_py_uuid(&p, text);
    CU_ASSERT_STRING_EQUAL(text, "bdd640fb-0667-4ad1-9c80-317fa3b1799d");
    static const size_t four[] = {7, 1, 17, 15}, orders[3][4] = {{1, 0}, {1, 0, 2}, {2, 1, 3, 0}};
    size_t places[16384];
    natsl_py_seed(&p, 42);
    CU_ASSERT_EQUAL(natsl_py_sample(&p, 40, 4, places), NATSL_OK);
    CU_ASSERT(memcmp(places, four, sizeof four) == 0);
    for (size_t n = 2; n <= 4; n++) {
        natsl_py_seed(&p, 42);
        natsl_py_shuffle(&p, n, places);
        CU_ASSERT(memcmp(places, orders[n - 2], n * sizeof *places) == 0);
    }
    CU_ASSERT_EQUAL(natsl_py_sample(&p, 3, 4, places), NATSL_ERR_USAGE);
    for (size_t n = 1; n < 16384; n = 3 * n + 1) { /* distinct and in range, by both ways */
        for (size_t k = 0; k <= n; k += 1 + n / 3) {
            char seen[16384] = {0};
            CU_ASSERT_EQUAL(natsl_py_sample(&p, n, k, places), NATSL_OK);
            for (size_t i = 0; i < k; i++) {
                CU_ASSERT_FATAL(places[i] < n && !seen[places[i]]);
                seen[places[i]] = 1;
            }
        }
    }
}

/* `python3 -c` with random.seed(2**40 + 5), then what the lines say. */
static void test_python(void)
{
    natsl_mt p;
    char text[16];
    size_t places[10];
    natsl_py_seed(&p, ((uint64_t)1 << 40) + 5);
    CU_ASSERT_EQUAL(natsl_py_bits(&p, 50), 582000299675940u);         /* getrandbits(50) */
    CU_ASSERT_EQUAL(natsl_py_below(&p, 1000), 275);                   /* choice(range(1000)) */
    CU_ASSERT_EQUAL(natsl_py_randint(&p, 1000000, 9999999), 1460164); /* randint */
    CU_ASSERT_EQUAL(natsl_py_random(&p), 0.530959239292452);          /* random() */
    natsl_py_choices(&p, "ABCDEFGHIJKLMNOPQRSTUVWXYZ", 5, text);      /* choices */
    CU_ASSERT_STRING_EQUAL(text, "VUXXE");
    static const size_t far[] = {835207, 855995, 140361, 250583, 973909,
                                 685254, 720075, 143369, 259627, 687869}; /* sample(range(10**6), 10) */
    CU_ASSERT_EQUAL(natsl_py_sample(&p, 1000000, 10, places), NATSL_OK);
    CU_ASSERT(memcmp(places, far, sizeof far) == 0);
    static const size_t near[] = {25, 12, 23, 3, 29, 17, 7, 14, 1, 26}; /* sample(range(30), 10) */
    CU_ASSERT_EQUAL(natsl_py_sample(&p, 30, 10, places), NATSL_OK);
    CU_ASSERT(memcmp(places, near, sizeof near) == 0);
    static const size_t mixed[] = {7, 8, 4, 1, 2, 3, 9, 5, 0, 6}; /* shuffle(list(range(10))) */
    natsl_py_shuffle(&p, 10, places);
    CU_ASSERT(memcmp(places, mixed, sizeof mixed) == 0);
}

int main(void)
{
    static const test_entry tests[] = {
        {"first numbers", test_first_numbers},
        {"identifiers, samples, shuffles", test_uses},
        {"as Python draws", test_python},
    };
    return run_suite("pyrandom", tests, COUNT(tests));
}
