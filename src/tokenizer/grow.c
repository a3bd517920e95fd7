/* grow.c - arrays that grow. See grow.h. */
#include "grow.h"

#include "core.h"
#include <stdlib.h>
#include <string.h>

/** At least `used + more` elements of `size` bytes; doubles, so that adding is cheap on the whole. */
static natsl_status reserve(void **at, size_t used, size_t *room, size_t more, size_t size, const char *what)
{
    size_t want = 0, bytes = 0;
    if (more <= *room - used) return NATSL_OK;
    if (!natsl_size_add(&want, used, more) || !natsl_size_add(&want, want, *room / 2 + 64) ||
        !natsl_size_mul(&bytes, want, size))
        return natsl_fail(NATSL_ERR_NOMEM, "out of memory: %s", what);
    void *grown = natsl_fault() ? NULL : realloc(*at, bytes);
    if (!grown) return natsl_fail(NATSL_ERR_NOMEM, "out of memory: %s, %zu bytes", what, bytes);
    *at = grown;
    *room = want;
    return NATSL_OK;
}

natsl_status natsl_bytes_reserve(natsl_bytes *b, size_t more)
{
    void *at = b->at;
    const natsl_status st = reserve(&at, b->length, &b->room, more, 1, "text");
    b->at = at;
    return st;
}

natsl_status natsl_bytes_add(natsl_bytes *b, const void *from, size_t count)
{
    const natsl_status st = natsl_bytes_reserve(b, count);
    if (st != NATSL_OK) return st;
    if (count > 0) memcpy(b->at + b->length, from, count);
    b->length += count;
    return NATSL_OK;
}

void natsl_bytes_drop(natsl_bytes *b, size_t count)
{
    if (count == 0) return;
    memmove(b->at, b->at + count, b->length - count);
    b->length -= count;
}

void natsl_bytes_free(natsl_bytes *b)
{
    free(b->at);
    *b = (natsl_bytes){0};
}

natsl_status natsl_ids_reserve(natsl_ids *ids, size_t more)
{
    void *at = ids->at;
    const natsl_status st = reserve(&at, ids->count, &ids->room, more, sizeof *ids->at, "tokens");
    ids->at = at;
    return st;
}

natsl_status natsl_ids_add(natsl_ids *ids, const int32_t *from, size_t count)
{
    const natsl_status st = natsl_ids_reserve(ids, count);
    if (st != NATSL_OK) return st;
    if (count > 0) memcpy(ids->at + ids->count, from, count * sizeof *from);
    ids->count += count;
    return NATSL_OK;
}

void natsl_ids_free(natsl_ids *ids)
{
    free(ids->at);
    *ids = (natsl_ids){0};
}
