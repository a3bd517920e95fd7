/* tok_read.c - a tokenizer.json taken apart. See tok.h. What is not supported is an error that names it: a tokenizer that is
 * nearly right would give a model tokens that it was not trained on. */
#include "tok.h"

#include "core.h"
#include "fields.h"
#include "utf8.h"
#include <stdlib.h>
#include <string.h>

#define MOST_AROUND 4096 /* special tokens before, and after, a text */

#define MAX_DEPTH 8
#define MAX_ADDED ((size_t)1 << 17)

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
static const char words_and_signs[] = "\\w+|[^\\w\\s]+";

typedef struct reading {
    natsl_tok *tok;
    char where[512]; /* file and part, for messages */
    const char *file;
    int ends; /* pre-tokenizers: ByteLevel has come, nothing may follow */
} reading;

static natsl_status not_supported(const reading *r, const char *type)
{
    return natsl_fail(NATSL_ERR_INPUT, "%s: \"%.60s\" is not supported", r->where, type);
}

/* ---- steps ----------------------------------------------------------------------------------------------------------- */

static natsl_status new_step(const reading *r, natsl_tok_steps *steps, natsl_tok_kind kind, natsl_tok_step **out)
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
static natsl_status character(const reading *r, const json_t *object, const char *name, uint32_t *out,
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
static natsl_status pattern(const reading *r, const json_t *object, const char **text, size_t *length, int *is_regex)
{
    const json_t *value = json_object_get(object, "pattern");
    *is_regex = json_is_object(value) && json_object_get(value, "Regex");
    if (json_is_object(value) && json_object_size(value) == 1)
        return natsl_json_need(value, *is_regex ? "Regex" : "String", r->where, text, length);
    return natsl_fail(NATSL_ERR_INPUT, "%s: pattern: expected an object with String or Regex", r->where);
}

static natsl_status compile(const reading *r, natsl_tok_step *s, const char *text, size_t length, int is_regex)
{
    if (length == 0) return natsl_fail(NATSL_ERR_INPUT, "%s: pattern: an empty text is not supported", r->where);
    return is_regex ? natsl_regex_create(text, length, r->where, &s->regex)
                    : natsl_regex_literal(text, length, &s->regex);
}

/** Replace, of a normalizer or a decoder. A single character is replaced where it stands; anything longer, and what an expression
 * matches, may reach over any place. */
static natsl_status replace(const reading *r, const json_t *object, natsl_tok_steps *steps, int decoder)
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

static natsl_status add_split(const reading *r, const char *text, int is_regex, natsl_tok_behavior behavior, int invert)
{
    natsl_tok_step *s = NULL;
    natsl_status st = new_step(r, &r->tok->splits, NATSL_TOK_SPLIT, &s);
    if (st != NATSL_OK) return st;
    s->behavior = behavior;
    s->invert = invert;
    return compile(r, s, text, strlen(text), is_regex);
}

static natsl_status add_prefix(const reading *r, const char *text, size_t length, int first)
{
    natsl_tok_step *s = NULL;
    const natsl_status st = new_step(r, &r->tok->splits, NATSL_TOK_PREFIX, &s);
    if (st != NATSL_OK) return st;
    s->first = first;
    return set_text(s, text, length);
}

static natsl_status behavior_of(const reading *r, const json_t *object, natsl_tok_behavior otherwise,
                                natsl_tok_behavior *out)
{
    static const char *const words[] = {"Removed",        "Isolated",   "MergedWithPrevious",
                                        "MergedWithNext", "Contiguous", NULL};
    int index = 0;
    const natsl_status st = natsl_json_word(object, "behavior", words, (int)otherwise, r->where, &index);
    *out = (natsl_tok_behavior)index;
    return st;
}

/* ---- lists of steps -------------------------------------------------------------------------------------------------- */

typedef natsl_status one_step(reading *r, const json_t *object, const char *type);

/** An object, or a Sequence of them in `member`, or null. */
static natsl_status each(reading *r, const json_t *value, const char *part, const char *member, int depth,
                         one_step *one)
{
    const char *type = NULL;
    size_t length = 0;
    (void)snprintf(r->where, sizeof r->where, "%.400s: %s", r->file, part);
    if (!value || json_is_null(value)) return NATSL_OK;
    if (!json_is_object(value)) return natsl_fail(NATSL_ERR_INPUT, "%s: expected an object or null", r->where);
    natsl_status st = natsl_json_need(value, "type", r->where, &type, &length);
    if (st != NATSL_OK) return st;
    if (strcmp(type, "Sequence") != 0) {
        (void)snprintf(r->where, sizeof r->where, "%.400s: %s: %.60s", r->file, part, type);
        return one(r, value, type);
    }
    const json_t *list = json_object_get(value, member);
    if (!json_is_array(list)) return natsl_fail(NATSL_ERR_INPUT, "%s: %s: expected an array", r->where, member);
    if (depth == MAX_DEPTH) return natsl_fail(NATSL_ERR_INPUT, "%s: too many sequences in one another", r->where);
    for (size_t i = 0; i < json_array_size(list) && st == NATSL_OK; i++)
        st = each(r, json_array_get(list, i), part, member, depth + 1, one);
    return st;
}

static natsl_status normalizer(reading *r, const json_t *object, const char *type)
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
    if (strcmp(type, "Strip") != 0) return not_supported(r, type);
    if ((st = new_step(r, steps, NATSL_TOK_STRIP, &s)) != NATSL_OK) return st;
    r->tok->whole = 1; /* white space is at an end only when all of it has been seen */
    st = natsl_json_flag(object, "strip_left", 1, r->where, &s->left);
    return st == NATSL_OK ? natsl_json_flag(object, "strip_right", 1, r->where, &s->right) : st;
}

static natsl_status byte_level(reading *r, const json_t *object)
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
static natsl_status metaspace(reading *r, const json_t *object)
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

static natsl_status split(reading *r, const json_t *object)
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

static natsl_status pre_tokenizer(reading *r, const json_t *object, const char *type)
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
    return not_supported(r, type);
}

static natsl_status decoder(reading *r, const json_t *object, const char *type)
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
    if (strcmp(type, "BPEDecoder") != 0) return not_supported(r, type);
    if ((st = natsl_json_need(object, "suffix", r->where, &text, &length)) != NATSL_OK) return st;
    st = new_step(r, steps, NATSL_TOK_SUFFIX, &s);
    return st == NATSL_OK ? set_text(s, text, length) : st;
}

/** Which decoders get one text instead of tokens; some can only work on tokens, as they would need all of the text. */
static natsl_status check_decoders(const reading *r)
{
    natsl_tok_steps *d = &r->tok->decoders;
    int fused = 0, raw = 0; /* raw: bytes that may be parts of characters, which only steps on bytes may follow */
    for (size_t i = 0; i < d->count; i++) {
        natsl_tok_step *s = &d->step[i];
        s->fused = fused;
        if (raw && s->kind == NATSL_TOK_CHARACTER)
            return natsl_fail(NATSL_ERR_INPUT, "%s: decoder: Replace after ByteLevel is not supported", r->file);
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

/* ---- added tokens ---------------------------------------------------------------------------------------------------- */

static natsl_status read_added(const reading *r, const json_t *object, natsl_tok_added *a)
{
    json_int_t id = 0;
    natsl_status st = natsl_json_copy(object, "content", r->where, &a->content, &a->content_length);
    if (st == NATSL_OK) st = natsl_json_count(object, "id", NATSL_MAX_TOKENS - 1, r->where, &id);
    if (st == NATSL_OK) st = natsl_json_flag(object, "special", 0, r->where, &a->special);
    if (st == NATSL_OK) st = natsl_json_flag(object, "single_word", 0, r->where, &a->single_word);
    if (st == NATSL_OK) st = natsl_json_flag(object, "lstrip", 0, r->where, &a->left);
    if (st == NATSL_OK) st = natsl_json_flag(object, "rstrip", 0, r->where, &a->right);
    if (st == NATSL_OK) st = natsl_json_flag(object, "normalized", !a->special, r->where, &a->normalized);
    if (st == NATSL_OK && a->content_length == 0)
        st = natsl_fail(NATSL_ERR_INPUT, "%s: content: expected a text that is not empty", r->where);
    a->id = (int32_t)id;
    return st;
}

/** The text that a token is searched as: its own, or that after all normalizers. */
static natsl_status searched_text(const natsl_tok *tok, natsl_tok_added *a)
{
    natsl_bytes text[2] = {{0}};
    natsl_status st = natsl_bytes_add(&text[0], a->content, a->content_length);
    for (size_t i = 0; i < tok->normalizers.count && st == NATSL_OK && a->normalized; i++) {
        const natsl_tok_step *s = &tok->normalizers.step[i];
        natsl_regex_match *match = NULL;
        if (s->regex) st = natsl_regex_match_create(s->regex, &match);
        if (st == NATSL_OK)
            st = natsl_tok_normalize(s, match, text[0].at, text[0].length, NULL, 1, 0, NATSL_TOK_MOST_BYTES, &text[1],
                                     NULL);
        natsl_regex_match_destroy(&match);
        const natsl_bytes swap = text[0];
        text[0] = text[1];
        text[1] = swap;
    }
    if (st == NATSL_OK && !(a->text = natsl_alloc(text[0].length + 1, 1, "added tokens"))) st = NATSL_ERR_NOMEM;
    if (st == NATSL_OK) {
        if (text[0].length > 0) memcpy(a->text, text[0].at, text[0].length);
        a->length = text[0].length;
    }
    natsl_bytes_free(&text[0]);
    natsl_bytes_free(&text[1]);
    return st;
}

static int by_text(const void *x, const void *y)
{
    const natsl_tok_added *a = *(const natsl_tok_added *const *)x, *b = *(const natsl_tok_added *const *)y;
    const size_t n = a->length < b->length ? a->length : b->length;
    const int order = memcmp(a->text, b->text, n);
    if (order != 0) return order;
    if (a->length != b->length) return a->length < b->length ? -1 : 1;
    return a < b ? -1 : a > b; /* in the order of the file */
}

static natsl_status make_set(const natsl_tok *tok, int normalized, natsl_tok_set *set)
{
    set->at = natsl_alloc(tok->n_added, sizeof *set->at, "added tokens");
    if (!set->at) return NATSL_ERR_NOMEM;
    for (size_t i = 0; i < tok->n_added; i++) {
        const natsl_tok_added *a = &tok->added[i];
        if (a->normalized != normalized || a->length == 0) continue;
        set->at[set->count++] = a;
        set->begins[(unsigned char)a->text[0]] = 1;
        set->left |= a->left;
        if (a->length > set->longest) set->longest = a->length;
    }
    if (set->count > 0) qsort(set->at, set->count, sizeof *set->at, by_text);
    size_t kept = 0; /* of two with the same text, special ones come first, then those that the file names first */
    for (size_t i = 0; i < set->count; i++) {
        const natsl_tok_added *a = set->at[i], *b = kept ? set->at[kept - 1] : NULL;
        if (b && b->length == a->length && memcmp(a->text, b->text, a->length) == 0) {
            if (a->special && !b->special) set->at[kept - 1] = a;
        } else {
            set->at[kept++] = a;
        }
    }
    set->count = kept;
    return NATSL_OK;
}

/** The library takes ids of added tokens from the vocabulary, or counts on; a file that says something else would mean
 * other tokens here than there. */
static natsl_status check_id(const reading *r, const natsl_tok *tok, const natsl_tok_added *a, size_t i)
{
    const int32_t known = natsl_bpe_find(tok->bpe, a->content, a->content_length);
    if (known < 0 && natsl_bpe_text(tok->bpe, a->id, &(size_t){0}))
        return natsl_fail(NATSL_ERR_INPUT, "%s: entry %zu has the id %d, which another token has, too", r->where, i,
                          a->id);
    if (known >= 0 && known != a->id)
        return natsl_fail(NATSL_ERR_INPUT, "%s: entry %zu has the id %d, but %d in the vocabulary", r->where, i, a->id,
                          known);
    return NATSL_OK;
}

static natsl_status added_tokens(reading *r, const json_t *list)
{
    natsl_tok *tok = r->tok;
    natsl_status st = NATSL_OK;
    (void)snprintf(r->where, sizeof r->where, "%.400s: added_tokens", r->file);
    tok->end = natsl_bpe_end(tok->bpe);
    if (list && !json_is_null(list) && !json_is_array(list))
        return natsl_fail(NATSL_ERR_INPUT, "%s: expected an array", r->where);
    const size_t count = json_array_size(list);
    if (count > MAX_ADDED) return natsl_fail(NATSL_ERR_INPUT, "%s: more than %zu", r->where, MAX_ADDED);
    if (!(tok->added = natsl_calloc(count, sizeof *tok->added, "added tokens"))) return NATSL_ERR_NOMEM;
    for (size_t i = 0; i < count && st == NATSL_OK; i++) {
        natsl_tok_added *a = &tok->added[tok->n_added++];
        st = json_is_object(json_array_get(list, i)) ? read_added(r, json_array_get(list, i), a)
                                                     : natsl_fail(NATSL_ERR_INPUT, "%s: expected objects", r->where);
        if (st == NATSL_OK) st = check_id(r, tok, a, i);
        if (st == NATSL_OK) st = searched_text(tok, a);
        if (st == NATSL_OK && a->id >= tok->end) tok->end = a->id + 1;
        if (st == NATSL_OK && a->single_word)
            tok->whole = 1; /* looks at what stands before: kept simple, as they are rare */
    }
    if (st == NATSL_OK && !(tok->by_id = natsl_alloc((size_t)tok->end, sizeof *tok->by_id, "added tokens")))
        st = NATSL_ERR_NOMEM;
    for (int32_t i = 0; st == NATSL_OK && i < tok->end; i++) tok->by_id[i] = -1;
    for (size_t i = 0; i < tok->n_added && st == NATSL_OK; i++) {
        const natsl_tok_added *a = &tok->added[i];
        const int32_t other = tok->by_id[a->id];
        if (other >= 0 && (tok->added[other].content_length != a->content_length ||
                           memcmp(tok->added[other].content, a->content, a->content_length) != 0))
            st = natsl_fail(NATSL_ERR_INPUT, "%s: entry %zu has the id %d, which another one has, too", r->where, i,
                            a->id);
        tok->by_id[a->id] = (int32_t)i;
    }
    if (st == NATSL_OK) st = make_set(tok, 0, &tok->in_text);
    return st == NATSL_OK ? make_set(tok, 1, &tok->in_normalized) : st;
}

const natsl_tok_added *natsl_tok_longest(const natsl_tok_set *set, const char *text, size_t length)
{
    size_t lo = 0, hi = set->count; /* those that begin as text does, so far */
    const natsl_tok_added *found = NULL;
    for (size_t n = 0; lo < hi; n++) {
        if (set->at[lo]->length == n) found = set->at[lo++]; /* the shorter comes first */
        if (n == length || lo == hi) break;
        const unsigned char c = (unsigned char)text[n];
        size_t a = lo, b = hi;
        while (a < b) { /* the first whose byte n is c or more */
            const size_t m = a + (b - a) / 2;
            if ((unsigned char)set->at[m]->text[n] < c) a = m + 1;
            else b = m;
        }
        lo = a;
        b = hi;
        while (a < b) { /* the first whose byte n is more */
            const size_t m = a + (b - a) / 2;
            if ((unsigned char)set->at[m]->text[n] <= c) a = m + 1;
            else b = m;
        }
        hi = a;
    }
    return found;
}

/* ---- post-processor -------------------------------------------------------------------------------------------------- */

/** Ids around a text: those before go before what earlier steps have put there, those after behind. */
static natsl_status around(const reading *r, natsl_ids *ids, const int32_t *more, size_t count, int front)
{
    if (count > MOST_AROUND || ids->count > MOST_AROUND - count)
        return natsl_fail(NATSL_ERR_INPUT, "%s: more than %d tokens around a text", r->where, MOST_AROUND);
    const natsl_status st = natsl_ids_add(ids, more, count);
    if (st != NATSL_OK || !front || count == 0) return st;
    memmove(ids->at + count, ids->at, (ids->count - count) * sizeof *ids->at);
    memcpy(ids->at, more, count * sizeof *more);
    return NATSL_OK;
}

/** ["text", id] of BertProcessing and RobertaProcessing. */
static natsl_status pair_id(const reading *r, const json_t *object, const char *name, int32_t *id)
{
    const json_t *value = json_object_get(object, name), *number = json_array_get(value, 1);
    const json_int_t found = json_is_integer(number) ? json_integer_value(number) : -1;
    if (found < 0 || found >= r->tok->end)
        return natsl_fail(NATSL_ERR_INPUT, "%s: %s: expected a text and the id of a token", r->where, name);
    *id = (int32_t)found;
    return NATSL_OK;
}

static natsl_status template_ids(const reading *r, const json_t *special, const json_t *name, natsl_ids *ids)
{
    const json_t *list = json_object_get(json_object_get(special, json_string_value(name)), "ids");
    natsl_status st = NATSL_OK;
    if (!json_is_array(list))
        return natsl_fail(NATSL_ERR_INPUT, "%s: special_tokens lacks \"%.60s\"", r->where, json_string_value(name));
    for (size_t i = 0; i < json_array_size(list) && st == NATSL_OK; i++) {
        const json_t *value = json_array_get(list, i);
        const json_int_t id = json_is_integer(value) ? json_integer_value(value) : -1;
        if (id < 0 || id >= r->tok->end)
            return natsl_fail(NATSL_ERR_INPUT, "%s: special_tokens: expected ids of tokens", r->where);
        st = natsl_ids_add(ids, &(int32_t){(int32_t)id}, 1);
    }
    return st;
}

static natsl_status template(const reading *r, const json_t *object)
{
    const json_t *single = json_object_get(object, "single"), *special = json_object_get(object, "special_tokens");
    natsl_ids ids[2] = {{0}};
    int texts = 0;
    natsl_status st = NATSL_OK;
    if (!json_is_array(single)) return natsl_fail(NATSL_ERR_INPUT, "%s: single: expected an array", r->where);
    for (size_t i = 0; i < json_array_size(single) && st == NATSL_OK; i++) {
        const json_t *piece = json_array_get(single, i);
        const json_t *name = json_object_get(json_object_get(piece, "SpecialToken"), "id");
        if (json_object_get(piece, "Sequence")) texts++;
        else if (json_is_string(name)) st = template_ids(r, special, name, &ids[texts > 0]);
        else st = natsl_fail(NATSL_ERR_INPUT, "%s: single: expected SpecialToken or Sequence", r->where);
    }
    if (st == NATSL_OK && texts != 1)
        st = natsl_fail(NATSL_ERR_INPUT, "%s: single: %d times the text, expected once", r->where, texts);
    if (st == NATSL_OK) st = around(r, &r->tok->before, ids[0].at, ids[0].count, 1);
    if (st == NATSL_OK) st = around(r, &r->tok->after, ids[1].at, ids[1].count, 0);
    natsl_ids_free(&ids[0]);
    natsl_ids_free(&ids[1]);
    return st;
}

static natsl_status post_processor(reading *r, const json_t *object, const char *type)
{
    if (strcmp(type, "ByteLevel") == 0) return NATSL_OK; /* about offsets, not ids */
    if (strcmp(type, "TemplateProcessing") == 0) return template(r, object);
    if (strcmp(type, "BertProcessing") == 0 || strcmp(type, "RobertaProcessing") == 0) {
        int32_t first = 0, last = 0;
        natsl_status st = pair_id(r, object, "cls", &first);
        if (st == NATSL_OK) st = pair_id(r, object, "sep", &last);
        if (st == NATSL_OK) st = around(r, &r->tok->before, &first, 1, 1);
        return st == NATSL_OK ? around(r, &r->tok->after, &last, 1, 0) : st;
    }
    return not_supported(r, type);
}

/* ---- the whole ------------------------------------------------------------------------------------------------------- */

/** Whether a cut can be found at all: by the first step that splits, else between merges. */
static void find_top(natsl_tok *tok)
{
    for (size_t i = 0; i < tok->splits.count; i++) {
        if (tok->splits.step[i].kind != NATSL_TOK_SPLIT) continue;
        if (!natsl_regex_forward(tok->splits.step[i].regex)) tok->whole = 1;
        return;
    }
    if (!natsl_bpe_cuts(tok->bpe)) tok->whole = 1;
}

static natsl_status model(reading *r, const json_t *object)
{
    const char *type = "BPE"; /* the first files name none */
    size_t length = 0;
    natsl_status st = NATSL_OK;
    (void)snprintf(r->where, sizeof r->where, "%.400s: model", r->file);
    if (!json_is_object(object)) return natsl_fail(NATSL_ERR_INPUT, "%s: expected an object", r->where);
    if (json_object_get(object, "type")) st = natsl_json_need(object, "type", r->where, &type, &length);
    if (st == NATSL_OK && strcmp(type, "BPE") != 0) st = not_supported(r, type);
    return st == NATSL_OK ? natsl_bpe_create(object, r->tok->bytes, r->where, &r->tok->bpe) : st;
}

natsl_status natsl_tok_read(const char *json, size_t length, const char *where, natsl_tok **out)
{
    json_error_t error;
    *out = NULL;
    json_t *root = json_loadb(json, length, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error);
    if (!root)
        return natsl_fail(NATSL_ERR_INPUT, "%s: line %d, column %d: %s", where, error.line, error.column, error.text);
    natsl_tok *tok = natsl_calloc(1, sizeof *tok, "tokenizer");
    reading r = {.tok = tok, .file = where};
    natsl_status st = tok ? NATSL_OK : NATSL_ERR_NOMEM;
    if (st == NATSL_OK && !json_is_object(root)) st = natsl_fail(NATSL_ERR_INPUT, "%s: expected an object", where);
    if (st == NATSL_OK) st = each(&r, json_object_get(root, "normalizer"), "normalizer", "normalizers", 0, normalizer);
    if (st == NATSL_OK)
        st = each(&r, json_object_get(root, "pre_tokenizer"), "pre_tokenizer", "pretokenizers", 0, pre_tokenizer);
    if (st == NATSL_OK) st = model(&r, json_object_get(root, "model"));
    if (st == NATSL_OK) st = added_tokens(&r, json_object_get(root, "added_tokens"));
    if (st == NATSL_OK)
        st = each(&r, json_object_get(root, "post_processor"), "post_processor", "processors", 0, post_processor);
    if (st == NATSL_OK) st = each(&r, json_object_get(root, "decoder"), "decoder", "decoders", 0, decoder);
    if (st == NATSL_OK) tok->has_decoder = json_is_object(json_object_get(root, "decoder"));
    if (st == NATSL_OK) st = check_decoders(&r);
    if (st == NATSL_OK) find_top(tok);
    json_decref(root);
    if (st != NATSL_OK) natsl_tok_destroy(&tok);
    *out = tok;
    return st;
}

static void free_steps(natsl_tok_steps *steps)
{
    for (size_t i = 0; i < steps->count; i++) {
        natsl_regex_destroy(&steps->step[i].regex);
        natsl_free(steps->step[i].text);
    }
}

void natsl_tok_destroy(natsl_tok **out)
{
    natsl_tok *tok = *out;
    if (!tok) return;
    natsl_bpe_destroy(&tok->bpe);
    free_steps(&tok->normalizers);
    free_steps(&tok->splits);
    free_steps(&tok->decoders);
    for (size_t i = 0; i < tok->n_added; i++) {
        natsl_free(tok->added[i].text);
        natsl_free(tok->added[i].content);
    }
    natsl_free(tok->added);
    natsl_free(tok->in_text.at);
    natsl_free(tok->in_normalized.at);
    natsl_free(tok->by_id);
    natsl_ids_free(&tok->before);
    natsl_ids_free(&tok->after);
    natsl_free(tok);
    *out = NULL;
}

const char *natsl_tok_text(const natsl_tok *tok, int32_t id, size_t *length, int *special)
{
    *special = 0;
    if (id < 0 || id >= tok->end) return NULL;
    if (tok->by_id[id] < 0) return natsl_bpe_text(tok->bpe, id, length);
    const natsl_tok_added *a = &tok->added[tok->by_id[id]];
    *special = a->special;
    *length = a->content_length;
    return a->content;
}
