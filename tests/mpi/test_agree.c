/* test_agree.c - ranks agree on the worst status and its owner's text. Run at 1, 2, 3, 5 ranks. */
#include "../suite.h"
#include "agree.h"
#include "mpi_suite.h"

#include <stdio.h>
#include <string.h>

static const natsl_status all[] = {NATSL_OK,     NATSL_ERR_USAGE,   NATSL_ERR_INPUT,   NATSL_ERR_NOMEM,
                                   NATSL_ERR_IO, NATSL_INTERRUPTED, NATSL_ERR_INTERNAL};

/** One rank fails, each in turn, with each status: all get its status and its text. */
static void test_one(void)
{
    for (int owner = 0; owner < world_size; owner++) {
        for (size_t i = 0; i < COUNT(all); i++) {
            char want[64];
            (void)snprintf(want, sizeof want, "rank %d says %d", owner, (int)all[i]);
            (void)natsl_fail(NATSL_ERR_IO, "rank %d has an old error", world_rank);
            natsl_status mine = NATSL_OK;
            if (world_rank == owner && all[i] != NATSL_OK) mine = natsl_fail(all[i], "%s", want);
            const natsl_status st = natsl_agree(MPI_COMM_WORLD, mine);
            EXPECT(st == all[i], "owner %d: %d, not %d", owner, (int)st, (int)all[i]);
            if (all[i] == NATSL_OK) (void)snprintf(want, sizeof want, "rank %d has an old error", world_rank);
            EXPECT(strcmp(natsl_error_text(), want) == 0, "\"%s\", not \"%s\"", natsl_error_text(), want);
        }
    }
}

/** Different errors at once: the largest status wins; among equal ones the text is one rank's, the same everywhere. */
static void test_several(void)
{
    natsl_status mine =
        natsl_fail(world_rank == world_size - 1 ? NATSL_ERR_INTERNAL : NATSL_ERR_INPUT, "text of %d", world_rank);
    char want[64], first[64];
    (void)snprintf(want, sizeof want, "text of %d", world_size - 1);
    CU_ASSERT_EQUAL(natsl_agree(MPI_COMM_WORLD, mine), NATSL_ERR_INTERNAL);
    CU_ASSERT_STRING_EQUAL(natsl_error_text(), want);
    mine = natsl_fail(NATSL_ERR_NOMEM, "text of %d", world_rank);
    CU_ASSERT_EQUAL(natsl_agree(MPI_COMM_WORLD, mine), NATSL_ERR_NOMEM);
    (void)snprintf(first, sizeof first, "%s", natsl_error_text());
    MPI_Bcast(first, sizeof first, MPI_CHAR, 0, MPI_COMM_WORLD);
    CU_ASSERT_STRING_EQUAL(natsl_error_text(), first);
    CU_ASSERT_EQUAL(strncmp(first, "text of ", 8), 0);
}

/** As long a text as there is arrives whole; on a communicator that is not the world, ranks count from its own 0. */
static void test_long_text_other_communicator(void)
{
    char text[1024];
    MPI_Comm reversed;
    memset(text, 'a', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    text[sizeof text - 2] = 'z';
    MPI_Comm_split(MPI_COMM_WORLD, 0, -world_rank, &reversed);
    const natsl_status mine = world_rank == 0 ? natsl_fail(NATSL_ERR_INPUT, "%s", text) : NATSL_OK;
    CU_ASSERT_EQUAL(natsl_agree(reversed, mine), NATSL_ERR_INPUT);
    CU_ASSERT_STRING_EQUAL(natsl_error_text(), text);
    MPI_Comm_free(&reversed);
    CU_ASSERT_EQUAL(natsl_agree(MPI_COMM_SELF, NATSL_OK), NATSL_OK);
    const natsl_status own = natsl_fail(NATSL_ERR_IO, "only %d", world_rank);
    CU_ASSERT_EQUAL(natsl_agree(MPI_COMM_SELF, own), NATSL_ERR_IO);
    (void)snprintf(text, sizeof text, "only %d", world_rank);
    CU_ASSERT_STRING_EQUAL(natsl_error_text(), text);
}

/** Bytes that rank 0 has reach all, of any length; or nobody has any. */
static void test_bytes(void)
{
    static const size_t lengths[] = {0, 1, 7, 100000};
    for (size_t i = 0; i < COUNT(lengths); i++) {
        char *bytes = NULL;
        size_t length = world_rank ? 77 : lengths[i]; /* what others have there does not matter */
        if (world_rank == 0) {
            bytes = natsl_calloc(length + 1, 1, "a text");
            for (size_t k = 0; bytes && k < length; k++) bytes[k] = (char)(k * 7);
        }
        CU_ASSERT_EQUAL(natsl_agree_bytes(MPI_COMM_WORLD, NATSL_OK, "a text", &bytes, &length), NATSL_OK);
        CU_ASSERT_EQUAL(length, lengths[i]);
        size_t wrong = !bytes;
        for (size_t k = 0; bytes && k < length; k++) wrong += bytes[k] != (char)(k * 7);
        CU_ASSERT(wrong == 0 && bytes && bytes[length] == '\0');
        natsl_free(bytes);
    }
    /* rank 0 has an error, or more than can be sent: nobody looks at the bytes then */
    for (int most = 0; most < 2; most++) {
        char *bytes = world_rank == 0 ? natsl_calloc(1, 1, "a text") : NULL;
        size_t length = world_rank == 0 && most ? (size_t)1 << 31 : 0;
        natsl_status mine = NATSL_OK;
        if (world_rank == 0 && !most) mine = natsl_fail(NATSL_ERR_INPUT, "no such text");
        CU_ASSERT_EQUAL(natsl_agree_bytes(MPI_COMM_WORLD, mine, "a text", &bytes, &length), NATSL_ERR_INPUT);
        CU_ASSERT(bytes == NULL && length == 0);
        CU_ASSERT_STRING_EQUAL(natsl_error_text(),
                               most ? "a text of 2147483648 bytes, expected less than 2 GiB" : "no such text");
    }
}

int main(int argc, char **argv)
{
    static const test_entry tests[] = {
        {"one rank fails", test_one},
        {"several ranks fail", test_several},
        {"long texts, other communicators", test_long_text_other_communicator},
        {"bytes of rank 0", test_bytes},
    };
    return run_suite_mpi(&argc, &argv, "agree", tests, COUNT(tests));
}
