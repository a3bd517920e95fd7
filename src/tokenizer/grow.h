/* grow.h - arrays that grow: bytes and token ids. Private to src/tokenizer and those who collect its ids.
 * Owns: the array, until natsl_bytes_free or natsl_ids_free. MPI: none. Tests: tests/unit/test_tokenizer.c */
#ifndef NATSL_GROW_H
#define NATSL_GROW_H

#include <natsl/status.h>
#include <stddef.h>
#include <stdint.h>

typedef struct natsl_bytes {
    char *at; /* [room], the first `length` are used */
    size_t length, room;
} natsl_bytes;

/** Room for `more` bytes behind those in use. NATSL_ERR_NOMEM leaves the array as it was. */
natsl_status natsl_bytes_reserve(natsl_bytes *b, size_t more);
natsl_status natsl_bytes_add(natsl_bytes *b, const void *from, size_t count);
/** Drops the first `count` bytes. */
void natsl_bytes_drop(natsl_bytes *b, size_t count);
void natsl_bytes_free(natsl_bytes *b);

typedef struct natsl_ids {
    int32_t *at; /* [room], the first `count` are used */
    size_t count, room;
} natsl_ids;

natsl_status natsl_ids_reserve(natsl_ids *ids, size_t more);
natsl_status natsl_ids_add(natsl_ids *ids, const int32_t *from, size_t count);
void natsl_ids_free(natsl_ids *ids);

#endif
