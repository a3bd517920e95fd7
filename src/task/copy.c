/* copy.c - see copy.h. */
#include "copy.h"

#include "core.h"

#include <string.h>

int64_t natsl_copy_bytes(const natsl_copy_task *task) { return 2 * ((int64_t)task->most + 1); }

static void new_string(const natsl_copy_task *task, int64_t length, natsl_rng *rng, int32_t *ids)
{
    static const char *const letters[] = {"0123456789", "0123456789abcdef-", "abcdefghijklmnopqrstuvwxyz -"};
    const uint64_t which = task->alphabet == NATSL_ALPHABET_ALL ? natsl_rng_below(rng, 3) : (uint64_t)task->alphabet;
    const uint64_t n = strlen(letters[which]);
    for (int64_t i = 0; i < length; i++) ids[i] = (unsigned char)letters[which][natsl_rng_below(rng, n)];
}

/** The beginning of one of the lines so far, each string as likely as it has been said. */
static int64_t earlier(const int32_t *ids, int64_t at, natsl_rng *rng)
{
    int64_t i = (int64_t)natsl_rng_below(rng, (uint64_t)at);
    while (i > 0 && ids[i - 1] != '\n') i--;
    return i;
}

natsl_status natsl_copy_make(const natsl_copy_task *task, int64_t tokens, natsl_rng *rng, int32_t *ids,
                             int32_t *targets, int64_t *count, natsl_copy_again *again, size_t *n_again)
{
    const size_t room = n_again ? *n_again : 0;
    size_t n = 0;
    int64_t at = 0;
    if (task->least < NATSL_COPY_LEAST || task->most < task->least || task->most > NATSL_COPY_MOST)
        return natsl_fail(NATSL_ERR_USAGE, "copies: strings of %d to %d bytes, expected %d to %d", task->least,
                          task->most, NATSL_COPY_LEAST, NATSL_COPY_MOST);
    if (tokens < natsl_copy_bytes(task))
        return natsl_fail(NATSL_ERR_USAGE, "copies: %lld tokens are too few, expected at least %lld", (long long)tokens,
                          (long long)natsl_copy_bytes(task));
    for (;;) {
        /* the second line repeats the first, so that every window has something to learn */
        const int repeat = at > 0 && (n == 0 || natsl_rng_below(rng, 2) == 1);
        const int64_t from = repeat ? earlier(ids, at, rng) : -1;
        int64_t length = task->least + (int64_t)natsl_rng_below(rng, (uint64_t)(task->most - task->least) + 1);
        if (repeat)
            for (length = 0; ids[from + length] != '\n'; length++) continue;
        if (at + length + 1 > tokens) break;
        if (repeat) memcpy(ids + at, ids + from, (size_t)length * sizeof *ids);
        else new_string(task, length, rng, ids + at);
        ids[at + length] = '\n';
        for (int64_t i = at; i <= at + length; i++) targets[i] = -1;
        if (repeat) {
            for (int64_t i = at + NATSL_COPY_CUE; i <= at + length; i++) targets[i - 1] = ids[i];
            if (n < room) again[n] = (natsl_copy_again){at + NATSL_COPY_CUE - 1, at + length, from};
            n++;
        }
        at += length + 1;
    }
    *count = at;
    if (n_again) *n_again = n < room ? n : room;
    return NATSL_OK;
}
