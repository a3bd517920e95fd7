/* status.c - names of statuses and the process's error line. */
#include "core.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static char error_text[1024];

const char *natsl_status_name(natsl_status status)
{
    switch (status) {
    case NATSL_OK: return "done";
    case NATSL_ERR_USAGE: return "wrong use";
    case NATSL_ERR_INPUT: return "bad input file";
    case NATSL_ERR_NOMEM: return "out of memory";
    case NATSL_ERR_IO: return "reading or writing failed";
    case NATSL_INTERRUPTED: return "interrupted";
    case NATSL_ERR_INTERNAL: return "internal error";
    case NATSL_STALLED: return "no progress";
    }
    return "unknown status";
}

const char *natsl_error_text(void) { return error_text; }

void natsl_error_set(const char *text)
{
    /* `text` may be the stored line itself */
    const size_t length = strnlen(text, sizeof error_text - 1);
    memmove(error_text, text, length);
    error_text[length] = '\0';
}

natsl_status natsl_fail(natsl_status status, const char *format, ...)
{
    static const char cut[] = " ... ";
    char line[8 * sizeof error_text];
    va_list arguments;
    va_start(arguments, format);
    const int n = vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    if (n < 0) line[0] = '\0';
    const size_t length = strnlen(line, sizeof line), room = sizeof error_text - 1;
    if (length > room) { /* a long path must not push out what is wrong with it: the middle goes */
        const size_t head = (room - (sizeof cut - 1)) / 2, tail = room - (sizeof cut - 1) - head;
        memcpy(line + head, cut, sizeof cut - 1);
        memmove(line + head + sizeof cut - 1, line + length - tail, tail + 1);
    }
    for (char *p = line; *p; p++) {
        if ((unsigned char)*p < 0x20 || *p == 0x7f) *p = '?';
    }
    natsl_error_set(line);
    return status;
}
