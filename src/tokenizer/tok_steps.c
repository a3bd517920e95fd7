/* tok_steps.c - the steps of a tokenizer.json: normalizers, pre-tokenizers, decoders. See tok_read.h. */
#include "tok_read.h"

#include "core.h"
#include "fields.h"
#include "utf8.h"
#include <string.h>

static const char white_space[] = "\\s";
/* Numbers and punctuation as the tokenizers library knows them: of Unicode 16 and of Unicode 8, where PCRE2 has another version's.
 * Found by comparing every character. */
static const char digit[] = "[\\p{N}"
                            "\\x{10d40}-\\x{10d49}\\x{116d0}-\\x{116e3}\\x{11bf0}-\\x{11bf9}\\x{11de0}-\\x{11de9}"
                            "\\x{16130}-\\x{16139}\\x{16d70}-\\x{16d79}\\x{16ff4}-\\x{16ff6}\\x{1ccf0}-\\x{1ccf9}"
                            "\\x{1e5f1}-\\x{1e5fa}"
                            "]";
static const char punctuation[] =
    "(?!["
    "\\x{61d}\\x{9fd}\\x{a76}\\x{c77}\\x{c84}\\x{1b7d}-\\x{1b7e}\\x{2e43}-\\x{2e4f}\\x{2e52}-\\x{2e5d}"
    "\\x{10ead}\\x{10f55}-\\x{10f59}\\x{10f86}-\\x{10f89}\\x{1144b}-\\x{1144f}\\x{1145a}-\\x{1145b}"
    "\\x{1145d}\\x{11660}-\\x{1166c}\\x{116b9}\\x{1183b}\\x{11944}-\\x{11946}\\x{119e2}"
    "\\x{11a3f}-\\x{11a46}\\x{11a9a}-\\x{11a9c}\\x{11a9e}-\\x{11aa2}\\x{11b00}-\\x{11b09}"
    "\\x{11c41}-\\x{11c45}\\x{11c70}-\\x{11c71}\\x{11ef7}-\\x{11ef8}\\x{11f43}-\\x{11f4f}\\x{11fff}"
    "\\x{12ff1}-\\x{12ff2}\\x{16e97}-\\x{16e9a}\\x{16fe2}\\x{1e95e}-\\x{1e95f}"
    "])[\\p{P}$+<=>\\^`|~\\x{166d}\\x{111c9}]";
static const char gpt2[] = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";
/* \w of another library than the other expressions', which has the joiners and lacks Latin-1's fractions */
static const char words_and_signs[] = "[\\w\\x{200c}\\x{200d}]+|[^\\w\\s\\x{200c}\\x{200d}]+";

/* ---- their parts ----------------------------------------------------------------------------------------------------- */

static natsl_status new_step(const natsl_tok_reading *r, natsl_tok_steps *steps, natsl_tok_kind kind,
                             natsl_tok_step **out)
{
    if (steps->count == NATSL_TOK_STEPS)
        return natsl_fail(NATSL_ERR_INPUT, "%s: more than %d steps", r->where, NATSL_TOK_STEPS);
    *out = &steps->step[steps->count++];
    memset(*out, 0, sizeof **out);
    (*out)->kind = kind;
    return NATSL_OK;
}

static natsl_status set_text(natsl_tok_step *s, const char *text, size_t length)
{
    if (!(s->text = natsl_alloc(length + 1, 1, "tokenizer"))) return NATSL_ERR_NOMEM;
    if (length > 0) memcpy(s->text, text, length);
    s->text[length] = '\0';
    s->length = length;
    return NATSL_OK;
}

/** A member that is one character. */
static natsl_status character(const natsl_tok_reading *r, const json_t *object, const char *name, uint32_t *out,
                              const char **text, size_t *length)
{
    size_t n = 0;
    const natsl_status st = natsl_json_need(object, name, r->where, text, length);
    if (st != NATSL_OK) return st;
    if (*length > 0) *out = natsl_utf8_get(*text, &n);
    if (*length == 0 || n != *length)
        return natsl_fail(NATSL_ERR_INPUT, "%s: %s: expected one character", r->where, name);
    return NATSL_OK;
}

/** The member `pattern`: {"String": text} or {"Regex": text}. */
static natsl_status pattern(const natsl_tok_reading *r, const json_t *object, const char **text, size_t *length,
                            int *is_regex)
{
    const json_t *value = json_object_get(object, "pattern");
    *is_regex = json_is_object(value) && json_object_get(value, "Regex");
    if (json_is_object(value) && json_object_size(value) == 1)
        return natsl_json_need(value, *is_regex ? "Regex" : "String", r->where, text, length);
    return natsl_fail(NATSL_ERR_INPUT, "%s: pattern: expected an object with String or Regex", r->where);
}

static natsl_status compile(const natsl_tok_reading *r, natsl_tok_step *s, const char *text, size_t length,
                            int is_regex)
{
    if (length == 0) return natsl_fail(NATSL_ERR_INPUT, "%s: pattern: an empty text is not supported", r->where);
    return is_regex ? natsl_regex_create(text, length, r->where, &s->regex)
                    : natsl_regex_literal(text, length, &s->regex);
}

/** Replace, of a normalizer or a decoder. A single character is replaced where it stands; anything longer, and what an expression
 * matches, may reach over any place. */
static natsl_status replace(const natsl_tok_reading *r, const json_t *object, natsl_tok_steps *steps, int decoder)
{
    const char *text = NULL, *content = NULL;
    size_t length = 0, content_length = 0, n = 0;
    int is_regex = 0;
    natsl_tok_step *s = NULL;
    natsl_status st = pattern(r, object, &text, &length, &is_regex);
    if (st == NATSL_OK) st = natsl_json_need(object, "content", r->where, &content, &content_length);
    if (st != NATSL_OK) return st;
    const uint32_t c = length > 0 ? natsl_utf8_get(text, &n) : 0;
    const int single = !is_regex && length > 0 && n == length;
    if ((st = new_step(r, steps, single ? NATSL_TOK_CHARACTER : NATSL_TOK_REPLACE, &s)) != NATSL_OK) return st;
    s->character = c;
    st = set_text(s, content, content_length);
    if (st == NATSL_OK && !single) {
        st = compile(r, s, text, length, is_regex);
        if (!decoder) r->tok->whole = 1;
    }
    return st;
}

static natsl_status add_split(const natsl_tok_reading *r, const char *text, int is_regex, natsl_tok_behavior behavior,
                              int invert)
{
    natsl_tok_step *s = NULL;
    natsl_status st = new_step(r, &r->tok->splits, NATSL_TOK_SPLIT, &s);
    if (st != NATSL_OK) return st;
    s->behavior = behavior;
    s->invert = invert;
    return compile(r, s, text, strlen(text), is_regex);
}

static natsl_status add_prefix(const natsl_tok_reading *r, const char *text, size_t length, int first)
{
    natsl_tok_step *s = NULL;
    const natsl_status st = new_step(r, &r->tok->splits, NATSL_TOK_PREFIX, &s);
    if (st != NATSL_OK) return st;
    s->first = first;
    return set_text(s, text, length);
}

static natsl_status behavior_of(const natsl_tok_reading *r, const json_t *object, natsl_tok_behavior otherwise,
                                natsl_tok_behavior *out)
{
    static const char *const words[] = {"Removed",        "Isolated",   "MergedWithPrevious",
                                        "MergedWithNext", "Contiguous", NULL};
    int index = 0;
    const natsl_status st = natsl_json_word(object, "behavior", words, (int)otherwise, r->where, &index);
    *out = (natsl_tok_behavior)index;
    return st;
}

/* ---- normalizers ----------------------------------------------------------------------------------------------------- */

natsl_status natsl_tok_normalizer(natsl_tok_reading *r, const json_t *object, const char *type)
{
    static const struct {
        const char *type;
        natsl_tok_kind kind;
    } plain[] = {{"NFC", NATSL_TOK_NFC},
                 {"NFD", NATSL_TOK_NFD},
                 {"NFKC", NATSL_TOK_NFKC},
                 {"NFKD", NATSL_TOK_NFKD},
                 {"Lowercase", NATSL_TOK_LOWERCASE},
                 {"StripAccents", NATSL_TOK_STRIP_ACCENTS},
                 {"ByteLevel", NATSL_TOK_LETTERS}};
    natsl_tok_steps *steps = &r->tok->normalizers;
    const char *text = NULL;
    size_t length = 0;
    natsl_tok_step *s = NULL;
    natsl_status st;
    for (size_t i = 0; i < sizeof plain / sizeof plain[0]; i++) {
        if (strcmp(type, plain[i].type) == 0) return new_step(r, steps, plain[i].kind, &s);
    }
    if (strcmp(type, "Replace") == 0) return replace(r, object, steps, 0);
    if (strcmp(type, "Prepend") == 0) {
        if ((st = natsl_json_need(object, "prepend", r->where, &text, &length)) != NATSL_OK) return st;
        st = new_step(r, steps, NATSL_TOK_PREPEND, &s);
        return st == NATSL_OK ? set_text(s, text, length) : st;
    }
    if (strcmp(type, "Strip") != 0) return natsl_tok_not_supported(r, type);
    if ((st = new_step(r, steps, NATSL_TOK_STRIP, &s)) != NATSL_OK) return st;
    r->tok->whole = 1; /* white space is at an end only when all of it has been seen */
    st = natsl_json_flag(object, "strip_left", 1, r->where, &s->left);
    return st == NATSL_OK ? natsl_json_flag(object, "strip_right", 1, r->where, &s->right) : st;
}

/* ---- pre-tokenizers -------------------------------------------------------------------------------------------------- */

static natsl_status byte_level(natsl_tok_reading *r, const json_t *object)
{
    int prefix = 1, regex = 1;
    natsl_status st = natsl_json_flag(object, "add_prefix_space", 1, r->where, &prefix);
    if (st == NATSL_OK) st = natsl_json_flag(object, "use_regex", 1, r->where, &regex);
    if (st == NATSL_OK && prefix) st = add_prefix(r, " ", 1, 0);
    if (st == NATSL_OK && regex) st = add_split(r, gpt2, 1, NATSL_TOK_ISOLATED, 0);
    r->tok->bytes = r->ends = 1;
    return st;
}

/** Spaces become `replacement`, one is put before, and words begin with it. */
static natsl_status metaspace(natsl_tok_reading *r, const json_t *object)
{
    static const char *const schemes[] = {"always", "first", "never", NULL};
    const char *text = NULL;
    size_t length = 0;
    uint32_t c = 0;
    int scheme = 0, add = 1, split = 1;
    natsl_tok_step *s = NULL;
    natsl_status st = character(r, object, "replacement", &c, &text, &length);
    if (st == NATSL_OK) st = natsl_json_flag(object, "add_prefix_space", 1, r->where, &add); /* what old files say */
    if (st == NATSL_OK) st = natsl_json_word(object, "prepend_scheme", schemes, add ? 0 : 2, r->where, &scheme);
    if (st == NATSL_OK) st = natsl_json_flag(object, "split", 1, r->where, &split);
    if (st == NATSL_OK && !add && scheme != 2)
        st = natsl_fail(NATSL_ERR_INPUT, "%s: add_prefix_space is false, but prepend_scheme is not never", r->where);
    if (st == NATSL_OK) st = new_step(r, &r->tok->splits, NATSL_TOK_CHARACTER, &s);
    if (st != NATSL_OK) return st;
    s->character = ' ';
    st = set_text(s, text, length);
    if (st == NATSL_OK && scheme != 2) st = add_prefix(r, text, length, scheme == 1);
    if (st == NATSL_OK && split) st = add_split(r, text, 0, NATSL_TOK_MERGED_WITH_NEXT, 0);
    return st;
}

static natsl_status split(natsl_tok_reading *r, const json_t *object)
{
    const char *text = NULL;
    size_t length = 0;
    int is_regex = 0;
    natsl_tok_step *s = NULL;
    natsl_status st = pattern(r, object, &text, &length, &is_regex);
    if (st == NATSL_OK) st = new_step(r, &r->tok->splits, NATSL_TOK_SPLIT, &s);
    if (st == NATSL_OK) st = compile(r, s, text, length, is_regex);
    if (st == NATSL_OK) st = behavior_of(r, object, NATSL_TOK_ISOLATED, &s->behavior);
    return st == NATSL_OK ? natsl_json_flag(object, "invert", 0, r->where, &s->invert) : st;
}

natsl_status natsl_tok_pre_tokenizer(natsl_tok_reading *r, const json_t *object, const char *type)
{
    natsl_tok_behavior behavior = NATSL_TOK_ISOLATED;
    natsl_status st = NATSL_OK;
    if (r->ends) return natsl_fail(NATSL_ERR_INPUT, "%s: after ByteLevel: not supported", r->where);
    if (strcmp(type, "ByteLevel") == 0) return byte_level(r, object);
    if (strcmp(type, "Split") == 0) return split(r, object);
    if (strcmp(type, "Metaspace") == 0) return metaspace(r, object);
    if (strcmp(type, "WhitespaceSplit") == 0) return add_split(r, white_space, 1, NATSL_TOK_REMOVED, 0);
    if (strcmp(type, "Whitespace") == 0) return add_split(r, words_and_signs, 1, NATSL_TOK_REMOVED, 1);
    if (strcmp(type, "Digits") == 0) {
        int each_one = 0;
        st = natsl_json_flag(object, "individual_digits", 0, r->where, &each_one);
        return st == NATSL_OK ? add_split(r, digit, 1, each_one ? NATSL_TOK_ISOLATED : NATSL_TOK_CONTIGUOUS, 0) : st;
    }
    if (strcmp(type, "Punctuation") == 0) {
        st = behavior_of(r, object, NATSL_TOK_ISOLATED, &behavior);
        return st == NATSL_OK ? add_split(r, punctuation, 1, behavior, 0) : st;
    }
    if (strcmp(type, "BertPreTokenizer") == 0) {
        st = add_split(r, white_space, 1, NATSL_TOK_REMOVED, 0);
        return st == NATSL_OK ? add_split(r, punctuation, 1, NATSL_TOK_ISOLATED, 0) : st;
    }
    if (strcmp(type, "CharDelimiterSplit") == 0) {
        const char *text = NULL;
        size_t length = 0;
        uint32_t c = 0;
        st = character(r, object, "delimiter", &c, &text, &length);
        return st == NATSL_OK ? add_split(r, text, 0, NATSL_TOK_REMOVED, 0) : st;
    }
    return natsl_tok_not_supported(r, type);
}

/* ---- decoders -------------------------------------------------------------------------------------------------------- */

natsl_status natsl_tok_decoder_step(natsl_tok_reading *r, const json_t *object, const char *type)
{
    natsl_tok_steps *steps = &r->tok->decoders;
    const char *text = NULL;
    size_t length = 0;
    natsl_tok_step *s = NULL;
    json_int_t count = 0;
    natsl_status st;
    if (strcmp(type, "Replace") == 0) return replace(r, object, steps, 1);
    if (strcmp(type, "ByteLevel") == 0) return new_step(r, steps, NATSL_TOK_BYTE_LEVEL, &s);
    if (strcmp(type, "ByteFallback") == 0) return new_step(r, steps, NATSL_TOK_BYTE_FALLBACK, &s);
    if (strcmp(type, "Fuse") == 0) return new_step(r, steps, NATSL_TOK_FUSE, &s);
    if (strcmp(type, "Metaspace") == 0) {
        static const char *const schemes[] = {"always", "first", "never", NULL};
        int scheme = 0, add = 1;
        if ((st = new_step(r, steps, NATSL_TOK_METASPACE, &s)) != NATSL_OK) return st;
        st = character(r, object, "replacement", &s->character, &text, &length);
        if (st == NATSL_OK) st = natsl_json_flag(object, "add_prefix_space", 1, r->where, &add);
        if (st == NATSL_OK) st = natsl_json_word(object, "prepend_scheme", schemes, add ? 0 : 2, r->where, &scheme);
        s->left = scheme != 2;
        return st;
    }
    if (strcmp(type, "Strip") == 0) {
        if ((st = new_step(r, steps, NATSL_TOK_CUT, &s)) != NATSL_OK) return st;
        st = character(r, object, "content", &s->character, &text, &length);
        if (st == NATSL_OK) st = natsl_json_count(object, "start", 1000, r->where, &count);
        s->left = (int)count;
        if (st == NATSL_OK) st = natsl_json_count(object, "stop", 1000, r->where, &count);
        s->right = (int)count;
        return st;
    }
    if (strcmp(type, "BPEDecoder") != 0) return natsl_tok_not_supported(r, type);
    if ((st = natsl_json_need(object, "suffix", r->where, &text, &length)) != NATSL_OK) return st;
    st = new_step(r, steps, NATSL_TOK_SUFFIX, &s);
    return st == NATSL_OK ? set_text(s, text, length) : st;
}

natsl_status natsl_tok_check_decoders(const natsl_tok_reading *r)
{
    natsl_tok_steps *d = &r->tok->decoders;
    int fused = 0, raw = 0; /* raw: bytes that may be parts of characters, which only steps on bytes may follow */
    for (size_t i = 0; i < d->count; i++) {
        natsl_tok_step *s = &d->step[i];
        s->fused = fused;
        if (raw && (s->kind == NATSL_TOK_CHARACTER ||
                    ((s->kind == NATSL_TOK_METASPACE || s->kind == NATSL_TOK_CUT) && s->character >= 0x80)))
            return natsl_fail(NATSL_ERR_INPUT,
                              "%s: decoder: Replace, or a character that is not ASCII, after ByteLevel is "
                              "not supported",
                              r->file);
        if (fused && (s->kind == NATSL_TOK_REPLACE || s->kind == NATSL_TOK_SUFFIX || s->kind == NATSL_TOK_BYTE_LEVEL ||
                      s->kind == NATSL_TOK_BYTE_FALLBACK))
            return natsl_fail(NATSL_ERR_INPUT,
                              "%s: decoder: a step after Fuse or ByteLevel that needs tokens is not supported",
                              r->file);
        if (s->kind == NATSL_TOK_FUSE || s->kind == NATSL_TOK_BYTE_LEVEL) fused = 1;
        raw |= s->kind == NATSL_TOK_BYTE_LEVEL;
    }
    return NATSL_OK;
}
