/* tokenizer.h - text to tokens and back, and text that is shown while it is being made.
 * The byte tokenizer: one token per byte of UTF-8 text, ids 0..255; ids from 256 on are special tokens without text. Bytes
 * that are no valid UTF-8 are tokens like others. Owns: a text stream's stop texts and pending bytes. MPI: none.
 * Tests: tests/unit/test_tokenizer.c */
#ifndef NATSL_TOKENIZER_H
#define NATSL_TOKENIZER_H

#include <natsl/status.h>
#include <stddef.h>
#include <stdint.h>

/** Tokens of the byte tokenizer that stand for bytes. */
#define NATSL_BYTE_TOKENS 256
/** Most bytes that one token may stand for. */
#define NATSL_TOKEN_BYTES 64

typedef struct natsl_tokenizer {
    int32_t vocab_size;
} natsl_tokenizer;

/** A tokenizer of the kind that a model file names. "none" is taken as "byte" when the vocabulary has room for every byte.
 * NATSL_ERR_INPUT: an unknown kind, or a vocabulary too small for it. */
natsl_status natsl_tokenizer_create(const char *kind, int32_t vocab_size, natsl_tokenizer *out);

/** ids[0..*count) = tokens of text[0..length); ids has room for `length`. */
natsl_status natsl_tokenizer_encode(const natsl_tokenizer *t, const char *text, size_t length, int32_t *ids,
                                    size_t *count);

/** Bytes that a token stands for; returns how many, 0 for a special token. An id outside the vocabulary has none. */
size_t natsl_tokenizer_decode(const natsl_tokenizer *t, int32_t id, char text[NATSL_TOKEN_BYTES]);

/** How many of text[0..length) may be shown before more comes: all but a UTF-8 character that has begun and could still be
 * completed. Bytes that cannot be UTF-8 are not held back. */
size_t natsl_utf8_whole(const char *text, size_t length);

/** Text on its way out: holds back unfinished characters and what may become a stop text. */
typedef struct natsl_text_stream natsl_text_stream;

/** stops [n_stops], each of 1 byte or more; copied. NATSL_ERR_USAGE for an empty stop text, NATSL_ERR_NOMEM. */
natsl_status natsl_text_stream_create(const char *const *stops, size_t n_stops, natsl_text_stream **out);
/** Accepts NULL; sets *stream to NULL. */
void natsl_text_stream_destroy(natsl_text_stream **stream);

/** Adds bytes. *ready (borrowed, until the next call) and *length: what may be shown now. *stopped: a stop text has come; the
 * text ends before it (before the one that begins first; of two that begin together, either way the same place), and
 * further bytes are dropped. On NATSL_ERR_NOMEM nothing was added. */
natsl_status natsl_text_stream_add(natsl_text_stream *stream, const char *text, size_t length, const char **ready,
                                   size_t *ready_length, int *stopped);

/** The end: all that was held back (nothing after a stop text). */
void natsl_text_stream_finish(natsl_text_stream *stream, const char **ready, size_t *ready_length);

#endif
