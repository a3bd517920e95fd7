/* tokenizer.h - text to tokens and back, and text that is shown while it is being made.
 * Two kinds. "byte": one token per byte of text, ids 0..255; ids from 256 on are special tokens without text; bytes that are no
 * valid UTF-8 are tokens like others. "json": a Hugging Face tokenizer.json with a BPE model, byte-level or with metaspaces (tok.h).
 * Owns: what is created. A tokenizer is read-only and may be shared by threads; encoders, decoders and text streams are one
 * thread's. MPI: none. Tests: tests/unit/test_tokenizer.c, tests/unit/test_tok.c */
#ifndef NATSL_TOKENIZER_H
#define NATSL_TOKENIZER_H

#include "grow.h"
#include <jansson.h>
#include <natsl/status.h>
#include <stddef.h>
#include <stdint.h>

/** Tokens of the byte tokenizer that stand for bytes. */
#define NATSL_BYTE_TOKENS 256

/** Most bytes of a tokenizer.json. */
#define NATSL_MAX_TOKENIZER_BYTES ((size_t)256 << 20)

typedef struct natsl_tokenizer natsl_tokenizer;

/** The kind of tokenizer of a model that says nothing of one: "byte" where its vocabulary has all bytes, else "none". */
const char *natsl_tokenizer_unnamed(int32_t vocab_size);

/** A tokenizer of the kind that a model file names. "none" is an error: there is no text then.
 * vocab_size: of the model; every id must be below it. 0: what a "json" itself has. json[0..length): for "json" (borrowed during
 * the call); where: its file, for messages.
 * NATSL_ERR_INPUT: an unknown kind, a vocabulary too small for it, or a text that is wrong or not supported. */
natsl_status natsl_tokenizer_create(const char *kind, int32_t vocab_size, const char *json, size_t length,
                                    const char *where, natsl_tokenizer **out);
/** The same of a "json" that has been parsed already (JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL; borrowed during the call). */
natsl_status natsl_tokenizer_create_parsed(const json_t *json, int32_t vocab_size, const char *where,
                                           natsl_tokenizer **out);
/** Accepts NULL; sets *t to NULL. */
void natsl_tokenizer_destroy(natsl_tokenizer **t);

/** Whether one token is one byte. */
int natsl_tokenizer_is_byte(const natsl_tokenizer *t);
/** The vocabulary's size: the model's, or the largest id + 1. */
int32_t natsl_tokenizer_vocab(const natsl_tokenizer *t);
/** Whether a text can be cut: else a document is held in memory whole, and one rank alone tokenizes it. */
int natsl_tokenizer_cuts(const natsl_tokenizer *t);

/** Special tokens that the tokenizer puts before a text (end 0) and behind it (end 1) where that is wanted: borrowed. */
const int32_t *natsl_tokenizer_around(const natsl_tokenizer *t, int end, size_t *count);

/** Appends the tokens of a whole text[0..length) to `ids`; special: with those around it. NATSL_ERR_NOMEM; NATSL_ERR_INPUT. */
natsl_status natsl_tokenizer_encode(const natsl_tokenizer *t, const char *text, size_t length, int special,
                                    natsl_ids *ids);

/** A text that comes in parts of any length: the ids are those of the whole. */
typedef struct natsl_encoder natsl_encoder;

/** A place in a text from which on the ids depend on what follows alone (and on `part`). */
typedef struct natsl_mark {
    uint64_t at;  /* bytes of mended text before it (natsl_utf8_mend) */
    uint64_t ids; /* tokens before it */
    uint32_t part;
} natsl_mark;

/** begin: the text begins here; else it is taken up at any character of it, and its first ids may not be those of the whole: they
 * are from the first mark on that an encoder that began earlier has, too. */
natsl_status natsl_encoder_create(const natsl_tokenizer *t, int begin, natsl_encoder **out);
void natsl_encoder_destroy(natsl_encoder **e);
/** Adds text, appends to `ids` what is certain. last: the text ends here. settle: all that can be certain now, not only as soon as
 * there is enough for it to be worth while. NATSL_ERR_NOMEM; NATSL_ERR_INPUT: text that the tokenizer cannot take. */
natsl_status natsl_encoder_add(natsl_encoder *e, const char *text, size_t length, int last, int settle, natsl_ids *ids);
/** Begins anew as one just created does, with all that the encoder remembers of words; where it does not begin the text, in the middle of
 * `part` (of a mark, or of natsl_encoder_done). */
void natsl_encoder_restart(natsl_encoder *e, int begin, uint32_t part);
/** How far what was added is done, since the encoder was created or restarted: what follows depends on the text from there on alone. */
natsl_mark natsl_encoder_done(const natsl_encoder *e);
/** Bytes of mended text taken so far, and marks: kept from the first call of natsl_encoder_keep_marks on, ascending, borrowed. */
uint64_t natsl_encoder_taken(const natsl_encoder *e);
void natsl_encoder_keep_marks(natsl_encoder *e);
const natsl_mark *natsl_encoder_marks(const natsl_encoder *e, size_t *count);
/** Forgets those before byte `at`. */
void natsl_encoder_drop_marks(natsl_encoder *e, uint64_t at);

/** Tokens that come one by one, as text. */
typedef struct natsl_decoder natsl_decoder;

/** special: texts of special tokens are shown. */
natsl_status natsl_decoder_create(const natsl_tokenizer *t, int special, natsl_decoder **out);
void natsl_decoder_destroy(natsl_decoder **d);
/** Appends to `text` what the token adds: bytes, perhaps a part of a character. Tokens without text add nothing. */
natsl_status natsl_decoder_add(natsl_decoder *d, int32_t id, natsl_bytes *text);
/** Appends what waited for further tokens. */
natsl_status natsl_decoder_finish(natsl_decoder *d, natsl_bytes *text);

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

/** Tokens that are generated one by one, as text up to a stop text: a decoder and a stream. */
typedef struct natsl_token_text natsl_token_text;

/** Of a tokenizer (borrowed). NATSL_ERR_USAGE for an empty stop text, NATSL_ERR_NOMEM. */
natsl_status natsl_token_text_create(const natsl_tokenizer *t, const char *const *stops, size_t n_stops,
                                     natsl_token_text **out);
/** Accepts NULL; sets *text to NULL. */
void natsl_token_text_destroy(natsl_token_text **text);
/** A token that stands before the text: what those after it say may depend on it. */
natsl_status natsl_token_text_before(natsl_token_text *text, int32_t id);
/** As natsl_text_stream_add, of a token. */
natsl_status natsl_token_text_add(natsl_token_text *text, int32_t id, const char **ready, size_t *ready_length,
                                  int *stopped);
/** The end: what the decoder and the stream held back, and whether that has a stop text. */
natsl_status natsl_token_text_finish(natsl_token_text *text, const char **ready, size_t *ready_length, int *stopped);

#endif
