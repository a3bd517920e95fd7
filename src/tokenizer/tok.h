/* tok.h - a tokenizer of a tokenizer.json: its parts in the order in which text goes through them.
 *   text -> added tokens that are searched in the text itself -> normalizer -> added tokens that are searched in normalized text
 *        -> pre-tokenizer -> BPE, word by word                                     (tok_encode.c)
 *   ids  -> decoders, token by token                                               (tok_decode.c)
 * Owns: all of it; read-only once read, so that threads can share it. MPI: none. Tests: tests/unit/test_tok.c,
 * tests/tokenizer/compare. Source: the tokenizers library, whose ids these must be. */
#ifndef NATSL_TOK_H
#define NATSL_TOK_H

#include "bpe.h"
#include "regex.h"

typedef enum natsl_tok_kind {
    /* normalizers */
    NATSL_TOK_NFC,
    NATSL_TOK_NFD,
    NATSL_TOK_NFKC,
    NATSL_TOK_NFKD,
    NATSL_TOK_LOWERCASE,
    NATSL_TOK_STRIP,         /* white space, left and right */
    NATSL_TOK_STRIP_ACCENTS, /* marks */
    NATSL_TOK_REPLACE,       /* what `regex` matches by `text`; also a decoder */
    NATSL_TOK_PREPEND,       /* text before a part that is not empty */
    NATSL_TOK_LETTERS,       /* bytes by the letters of the byte-level alphabet */
    NATSL_TOK_CHARACTER,     /* one character by `text`; also a pre-tokenizer */
    /* pre-tokenizers */
    NATSL_TOK_PREFIX, /* text before a part that does not begin with it */
    NATSL_TOK_SPLIT,
    /* decoders */
    NATSL_TOK_BYTE_LEVEL,
    NATSL_TOK_BYTE_FALLBACK,
    NATSL_TOK_FUSE,
    NATSL_TOK_CUT,       /* `character` away from both ends, left and right times at most */
    NATSL_TOK_METASPACE, /* `character` by a space; in the first token by nothing where `left` */
    NATSL_TOK_SUFFIX     /* text by a space, in the last token by nothing */
} natsl_tok_kind;

/** What becomes of matches when text is split (SplitDelimiterBehavior). */
typedef enum natsl_tok_behavior {
    NATSL_TOK_REMOVED,
    NATSL_TOK_ISOLATED,
    NATSL_TOK_MERGED_WITH_PREVIOUS,
    NATSL_TOK_MERGED_WITH_NEXT,
    NATSL_TOK_CONTIGUOUS
} natsl_tok_behavior;

typedef struct natsl_tok_step {
    natsl_tok_kind kind;
    natsl_regex *regex;
    char *text; /* [length] */
    size_t length;
    uint32_t character;
    natsl_tok_behavior behavior;
    int invert;
    int first;       /* PREFIX: only at the beginning of the whole text */
    int left, right; /* STRIP, CUT, METASPACE */
    int fused;       /* decoders: what comes is one text, not a token at a time */
} natsl_tok_step;

#define NATSL_TOK_STEPS 32
typedef struct natsl_tok_steps {
    natsl_tok_step step[NATSL_TOK_STEPS];
    size_t count;
} natsl_tok_steps;

typedef struct natsl_tok_added {
    char *text; /* [length] as it is searched: normalized where `normalized` */
    size_t length;
    char *content; /* [content_length] as it is written */
    size_t content_length;
    int32_t id;
    int single_word, left, right, normalized, special;
} natsl_tok_added;

/** Added tokens, sorted by their texts. */
typedef struct natsl_tok_set {
    const natsl_tok_added **at; /* [count] */
    size_t count, longest;
    int left; /* some take white space before them */
    unsigned char begins[256];
} natsl_tok_set;

typedef struct natsl_tok {
    natsl_bpe *bpe;
    natsl_tok_steps normalizers, splits, decoders;
    int bytes; /* words are bytes: the pre-tokenizer ends with ByteLevel */
    int whole; /* text cannot be cut: a part of it may depend on any other (natsl_tok_read says why) */
    int has_decoder;
    natsl_tok_added *added; /* [n_added] */
    size_t n_added;
    natsl_tok_set in_text, in_normalized;
    int32_t *by_id;          /* [end] index of an added token, -1: none */
    int32_t end;             /* largest id + 1 */
    natsl_ids before, after; /* what the post-processor puts around a text */
} natsl_tok;

/** From a tokenizer.json (borrowed during the call). where: its file, for messages. NATSL_ERR_INPUT names what is wrong or not
 * supported; NATSL_ERR_NOMEM. */
natsl_status natsl_tok_read(const json_t *root, const char *where, natsl_tok **out);
void natsl_tok_destroy(natsl_tok **tok);

/** The text of an id: of an added token, else of the vocabulary's (borrowed); NULL for none. */
const char *natsl_tok_text(const natsl_tok *tok, int32_t id, size_t *length, int *special);

/** The longest token of the set that text[0..length) begins with; NULL: none. */
const natsl_tok_added *natsl_tok_longest(const natsl_tok_set *set, const char *text, size_t length);

/** Applies normalizer `step` to text. from [length + 1] or NULL: where in the source each byte comes from, SOURCE_NONE inside what
 * cannot be cut; to_from gets the same for the result. open: more may follow; then what depends on it is left out.
 * begin: the text begins a part. most: bytes that the result may have. `to` is emptied first. NATSL_ERR_NOMEM;
 * NATSL_ERR_INPUT: more than that. */
#define NATSL_SOURCE_NONE    UINT32_MAX
#define NATSL_TOK_MOST_BYTES ((size_t)UINT32_MAX / 2) /* of a text whose bytes have such places */
typedef struct natsl_sources {
    uint32_t *at;
    size_t room;
} natsl_sources;
natsl_status natsl_tok_normalize(const natsl_tok_step *step, natsl_regex_match *match, const char *text, size_t length,
                                 const uint32_t *from, int begin, int open, size_t most, natsl_bytes *to,
                                 natsl_sources *to_from);

/** White space, and characters of words (Alphabetic, marks, decimal digits, connectors, joiners), as Unicode has them. */
int natsl_tok_is_white(uint32_t c);
int natsl_tok_is_word(uint32_t c);

#endif
