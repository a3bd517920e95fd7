/* copy.c - see copy.h. */
#include "copy.h"

#include "core.h"

#include <string.h>

int64_t natsl_copy_bytes(const natsl_copy_task *task) { return 2 * ((int64_t)task->most + 1); }

const char *natsl_copy_letters(natsl_alphabet alphabet)
{
    static const char *const letters[] = {[NATSL_ALPHABET_DIGITS] = "0123456789",
                                          [NATSL_ALPHABET_HEX] = "0123456789abcdef-",
                                          [NATSL_ALPHABET_LETTERS] = "abcdefghijklmnopqrstuvwxyz -"};
    return letters[alphabet];
}

/** A line: its letters and a newline. */
static void new_line(const natsl_copy_task *task, int64_t length, natsl_rng *rng, char *line)
{
    const char *letters = natsl_copy_letters(task->alphabet == NATSL_ALPHABET_ALL
                                                 ? (natsl_alphabet)natsl_rng_below(rng, NATSL_ALPHABET_ALL)
                                                 : task->alphabet);
    const uint64_t n = strlen(letters);
    for (int64_t i = 0; i < length; i++) line[i] = letters[natsl_rng_below(rng, n)];
    line[length] = '\n';
}

/** The beginning of one of the lines so far, each string as likely as it has been said. begins [at]: 0 inside of a line. */
static int64_t earlier(const uint16_t *begins, int64_t at, natsl_rng *rng)
{
    int64_t i = (int64_t)natsl_rng_below(rng, (uint64_t)at);
    while (begins[i] == 0) i--;
    return i;
}

/** The tokens of a line, where there is room for them; *count: how many they are. */
static natsl_status encode(const natsl_copy_coder *coder, const char *line, int64_t bytes, int64_t room, int32_t *ids,
                           int64_t *count, int64_t *cue)
{
    if (coder) return coder->encode(coder->user, line, bytes, room, ids, count, cue);
    for (int64_t i = 0; i < bytes && bytes <= room; i++) ids[i] = (unsigned char)line[i];
    *count = bytes;
    *cue = NATSL_COPY_CUE;
    return NATSL_OK;
}

natsl_status natsl_copy_make(const natsl_copy_task *task, const natsl_copy_coder *coder, int64_t tokens, natsl_rng *rng,
                             int32_t *ids, int32_t *targets, int64_t *count, natsl_copy_again *again, size_t *n_again)
{
    const size_t room = n_again ? *n_again : 0;
    size_t n = 0;
    int64_t at = 0, repeats = 0;
    char line[NATSL_COPY_MOST + 1];
    natsl_status st = NATSL_OK;
    if (task->least < NATSL_COPY_LEAST || task->most < task->least || task->most > NATSL_COPY_MOST)
        return natsl_fail(NATSL_ERR_USAGE, "copies: strings of %d to %d bytes, expected %d to %d", task->least,
                          task->most, NATSL_COPY_LEAST, NATSL_COPY_MOST);
    if (tokens < natsl_copy_bytes(task))
        return natsl_fail(NATSL_ERR_USAGE, "copies: %lld tokens are too few, expected at least %lld", (long long)tokens,
                          (long long)natsl_copy_bytes(task));
    uint16_t *begins = natsl_calloc((size_t)tokens, sizeof *begins, "lines"); /* tokens of the cue, at a line's first */
    if (!begins) return NATSL_ERR_NOMEM;
    for (;;) {
        /* the second line repeats the first, so that every window has something to learn */
        const int repeat = at > 0 && (repeats == 0 || natsl_rng_below(rng, 2) == 1);
        const int64_t from = repeat ? earlier(begins, at, rng) : -1;
        const int64_t length = task->least + (int64_t)natsl_rng_below(rng, (uint64_t)(task->most - task->least) + 1);
        int64_t size = 1, cue = 1;
        if (repeat) {
            cue = begins[from];
            while (from + size < at && begins[from + size] == 0) size++;
        } else {
            new_line(task, length, rng, line);
            st = encode(coder, line, length + 1, tokens - at, ids + at, &size, &cue);
            if (st != NATSL_OK || size < 1 || size > UINT16_MAX) break;
        }
        if (at + size > tokens) break;
        if (repeat) memcpy(ids + at, ids + from, (size_t)size * sizeof *ids);
        begins[at] = (uint16_t)(cue < 1 ? 1 : cue < size ? cue : size);
        for (int64_t i = at; i < at + size; i++) targets[i] = -1;
        if (repeat) {
            for (int64_t i = at + cue; i < at + size; i++) targets[i - 1] = ids[i];
            if (cue < size && n < room) again[n] = (natsl_copy_again){at + cue - 1, at + size - 1, from};
            n += cue < size;
            repeats++;
        }
        at += size;
    }
    natsl_free(begins);
    if (st == NATSL_OK && repeats == 0) /* of a tokenizer that makes more tokens than there are bytes */
        st = natsl_fail(NATSL_ERR_USAGE, "copies: not even two lines fit in %lld tokens", (long long)tokens);
    *count = at;
    if (n_again) *n_again = n < room ? n : room;
    return st;
}
