/* text_stream.c - text that is shown while it is being made. See tokenizer.h. */
#include "core.h"
#include "tokenizer.h"
#include "utf8.h"

#include <stdlib.h>
#include <string.h>

struct natsl_text_stream {
    char **stops;
    size_t n_stops;
    char *held; /* [capacity] bytes not yet shown */
    size_t length, capacity;
    size_t shown; /* bytes of `held` handed out by the last call, dropped by the next */
    int stopped;
};

size_t natsl_utf8_whole(const char *text, size_t length)
{
    const unsigned char *bytes = (const unsigned char *)text;
    /* A character has at most 4 bytes: only one that begins in the last 3 can be unfinished. */
    for (size_t back = 1; back <= 3 && back <= length; back++) {
        const size_t begin = length - back;
        if ((bytes[begin] & 0xc0) == 0x80) continue; /* inside a character */
        if (natsl_utf8_length(bytes[begin]) <= back) return length;
        if (back >= 2 && !natsl_utf8_second(bytes[begin], bytes[begin + 1])) return length;
        return begin;
    }
    return length;
}

natsl_status natsl_text_stream_create(const char *const *stops, size_t n_stops, natsl_text_stream **out)
{
    *out = NULL;
    for (size_t i = 0; i < n_stops; i++) {
        if (stops[i][0] == '\0') return natsl_fail(NATSL_ERR_USAGE, "a stop text is empty, expected one byte or more");
    }
    natsl_text_stream *s = natsl_calloc(1, sizeof *s, "text");
    if (!s) return NATSL_ERR_NOMEM;
    s->stops = natsl_calloc(n_stops, sizeof *s->stops, "stop texts");
    for (size_t i = 0; s->stops && i < n_stops; i++) {
        const size_t length = strlen(stops[i]);
        s->stops[i] = natsl_alloc(length + 1, 1, "stop texts");
        if (!s->stops[i]) break;
        memcpy(s->stops[i], stops[i], length + 1);
        s->n_stops++;
    }
    if (!s->stops || s->n_stops < n_stops) {
        natsl_text_stream_destroy(&s);
        return NATSL_ERR_NOMEM;
    }
    *out = s;
    return NATSL_OK;
}

void natsl_text_stream_destroy(natsl_text_stream **stream)
{
    natsl_text_stream *s = *stream;
    if (!s) return;
    for (size_t i = 0; i < s->n_stops; i++) natsl_free(s->stops[i]);
    natsl_free(s->stops);
    free(s->held);
    natsl_free(s);
    *stream = NULL;
}

/** Where in held[0..length) the first stop text begins, or (`partly`) where one may have begun that is not complete yet;
 * length when neither. *whole: it is complete. A beginning that may still become a stop text hides a later complete one
 * until it is known, as nothing past it may be shown in either case. */
static size_t stop_begin(const natsl_text_stream *s, int partly, int *whole)
{
    *whole = 0;
    for (size_t at = 0; at < s->length; at++) {
        const size_t left = s->length - at;
        int begun = 0;
        for (size_t i = 0; i < s->n_stops; i++) {
            const size_t want = strlen(s->stops[i]), have = want < left ? want : left;
            if (memcmp(s->held + at, s->stops[i], have) != 0) continue;
            if (have == want) *whole = 1;
            begun |= have == want || partly;
        }
        if (begun) return at;
    }
    return s->length;
}

/** Forgets the bytes that the last call handed out. */
static void drop_shown(natsl_text_stream *s)
{
    if (s->shown > 0) memmove(s->held, s->held + s->shown, s->length - s->shown);
    s->length -= s->shown;
    s->shown = 0;
}

natsl_status natsl_text_stream_add(natsl_text_stream *s, const char *text, size_t length, const char **ready,
                                   size_t *ready_length, int *stopped)
{
    size_t want = 0, capacity = 0;
    if (!natsl_size_add(&want, s->length - s->shown, length) || !natsl_size_mul(&capacity, want, 2))
        return natsl_fail(NATSL_ERR_NOMEM, "text: too long to hold back");
    if (!s->stopped && want > s->capacity) {
        char *held = realloc(s->held, capacity < s->capacity ? s->capacity : capacity);
        if (!held) return natsl_fail(NATSL_ERR_NOMEM, "text: no memory for %zu bytes", capacity);
        s->held = held;
        s->capacity = capacity < s->capacity ? s->capacity : capacity;
    }
    drop_shown(s);
    if (!s->stopped) {
        if (length > 0) memcpy(s->held + s->length, text, length);
        s->length += length;
        int whole = 0;
        size_t end = stop_begin(s, 1, &whole);
        if (whole) {
            s->stopped = 1;
            s->length = end; /* a character left unfinished by the stop text will not be finished: shown as it is */
        } else {
            end = natsl_utf8_whole(s->held, end);
        }
        s->shown = end;
    }
    *ready = s->held ? s->held : "";
    *ready_length = s->shown;
    *stopped = s->stopped;
    return NATSL_OK;
}

void natsl_text_stream_finish(natsl_text_stream *s, const char **ready, size_t *ready_length)
{
    drop_shown(s);
    int whole = 0;
    s->length = s->shown = stop_begin(s, 0, &whole);
    s->stopped = 1;
    *ready = s->held ? s->held : "";
    *ready_length = s->length;
}

/* ---- tokens -------------------------------------------------------------------------------------------------------------- */

struct natsl_token_text {
    natsl_decoder *decoder;
    natsl_text_stream *stream;
    natsl_bytes piece; /* of the token in hand; at the end, the rest */
};

natsl_status natsl_token_text_create(const natsl_tokenizer *t, const char *const *stops, size_t n_stops,
                                     natsl_token_text **out)
{
    natsl_token_text *text = natsl_calloc(1, sizeof *text, "text");
    *out = NULL;
    if (!text) return NATSL_ERR_NOMEM;
    natsl_status st = natsl_text_stream_create(stops, n_stops, &text->stream);
    if (st == NATSL_OK) st = natsl_decoder_create(t, 0, &text->decoder);
    if (st != NATSL_OK) natsl_token_text_destroy(&text);
    *out = text;
    return st;
}

void natsl_token_text_destroy(natsl_token_text **text)
{
    natsl_token_text *t = *text;
    if (!t) return;
    natsl_decoder_destroy(&t->decoder);
    natsl_text_stream_destroy(&t->stream);
    natsl_bytes_free(&t->piece);
    natsl_free(t);
    *text = NULL;
}

natsl_status natsl_token_text_before(natsl_token_text *t, int32_t id)
{
    t->piece.length = 0;
    return natsl_decoder_add(t->decoder, id, &t->piece);
}

/** The piece goes through the stream. */
static natsl_status pass_on(natsl_token_text *t, const char **ready, size_t *ready_length, int *stopped)
{
    return natsl_text_stream_add(t->stream, t->piece.at ? t->piece.at : "", t->piece.length, ready, ready_length,
                                 stopped);
}

natsl_status natsl_token_text_add(natsl_token_text *t, int32_t id, const char **ready, size_t *ready_length,
                                  int *stopped)
{
    const natsl_status st = natsl_token_text_before(t, id);
    return st == NATSL_OK ? pass_on(t, ready, ready_length, stopped) : st;
}

natsl_status natsl_token_text_finish(natsl_token_text *t, const char **ready, size_t *ready_length, int *stopped)
{
    t->piece.length = 0;
    natsl_status st = natsl_decoder_finish(t->decoder, &t->piece);
    if (st == NATSL_OK) st = pass_on(t, ready, ready_length, stopped);
    t->piece.length = 0;
    if (st == NATSL_OK) st = natsl_bytes_add(&t->piece, *ready, *ready_length);
    if (st != NATSL_OK) return st;
    natsl_text_stream_finish(t->stream, ready, ready_length);
    st = natsl_bytes_add(&t->piece, *ready, *ready_length);
    *ready = t->piece.at ? t->piece.at : "";
    *ready_length = t->piece.length;
    return st;
}
