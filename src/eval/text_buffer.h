/* text_buffer.h - a text that grows. Owns: its bytes, until natsl_buffer_free or until they are taken. MPI: none. */
#ifndef NATSL_TEXT_BUFFER_H
#define NATSL_TEXT_BUFFER_H

#include "core.h"
#include <stdio.h>
#include <string.h>

typedef struct natsl_buffer {
    char *text; /* [room], natsl_alloc'ed; no NUL */
    size_t length, room;
    int failed; /* memory was short: what came after is not there */
} natsl_buffer;

static inline void natsl_put(natsl_buffer *b, const char *bytes, size_t count)
{
    if (count > b->room - b->length) {
        size_t room = b->room ? b->room : 4096;
        while (room - b->length < count && room <= SIZE_MAX / 4) room *= 2;
        char *more = b->failed || room - b->length < count ? NULL : natsl_alloc(room, 1, "text of a sample");
        if (!more) {
            b->failed = 1;
            return;
        }
        if (b->length > 0) memcpy(more, b->text, b->length);
        natsl_free(b->text);
        b->text = more;
        b->room = room;
    }
    if (count > 0) memcpy(b->text + b->length, bytes, count);
    b->length += count;
}

static inline void natsl_puts(natsl_buffer *b, const char *text) { natsl_put(b, text, strlen(text)); }

static inline void natsl_put_number(natsl_buffer *b, long long number)
{
    char text[32];
    (void)snprintf(text, sizeof text, "%lld", number);
    natsl_puts(b, text);
}

static inline void natsl_buffer_free(natsl_buffer *b)
{
    natsl_free(b->text);
    *b = (natsl_buffer){0};
}

#endif
