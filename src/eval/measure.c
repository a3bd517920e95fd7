/* measure.c - see measure.h. */
#include "measure.h"

#include "core.h"
#include "digest.h"
#include "utf8.h"
#include <string.h>

/* A block ends behind the first place, this far from its beginning or further, that its last four bytes choose, one of
 * BLOCK_PLACES: so two texts that differ somewhere have the same blocks again soon. */
#define BLOCK_BYTES  512
#define BLOCK_PLACES 256
#define BLOCK_MOST   2048
#define MEMORY_SLOTS ((size_t)1 << 14)

/** What became of a block. */
typedef struct seen {
    uint64_t digest;
    char *text;      /* [length] */
    uint32_t length; /* 0: free */
    uint32_t state;  /* how it began: the part, and whether the text began or ended with it */
    uint32_t used;   /* bytes of it that are done */
    uint32_t part;   /* of what follows */
    int64_t ids;     /* of the bytes that are done */
} seen;

struct natsl_measure {
    natsl_measure_kind kind;
    const natsl_tokenizer *tokenizer;
    natsl_encoder *encoder;
    natsl_ids ids;     /* scratch */
    natsl_bytes clean; /* the text in hand, UTF-8 */
    seen *memory;      /* [MEMORY_SLOTS] */
};

size_t natsl_blank_bytes(const char *text, size_t left)
{
    const unsigned char *p = (const unsigned char *)text;
    if (*p == ' ' || (*p >= 9 && *p <= 13) || (*p >= 0x1c && *p <= 0x1f)) return 1;
    if (*p < 0xc2 || left < 2) return 0;
    if (*p == 0xc2) return p[1] == 0x85 || p[1] == 0xa0 ? 2 : 0;
    if (left < 3) return 0;
    if (*p == 0xe1) return p[1] == 0x9a && p[2] == 0x80 ? 3 : 0;
    if (*p == 0xe2 && p[1] == 0x80)
        return (p[2] >= 0x80 && p[2] <= 0x8a) || p[2] == 0xa8 || p[2] == 0xa9 || p[2] == 0xaf ? 3 : 0;
    if (*p == 0xe2 && p[1] == 0x81) return p[2] == 0x9f ? 3 : 0;
    if (*p == 0xe3) return p[1] == 0x80 && p[2] == 0x80 ? 3 : 0;
    return 0;
}

int64_t natsl_count_words(const char *text, size_t length)
{
    int64_t n = 0;
    int inside = 0;
    for (size_t i = 0; i < length;) {
        const size_t b = natsl_blank_bytes(text + i, length - i);
        if (!b && !inside) n++;
        inside = !b;
        i += b ? b : 1;
    }
    return n;
}

natsl_status natsl_measure_create(natsl_measure_kind kind, const natsl_tokenizer *tokenizer, natsl_measure **out)
{
    natsl_measure *m = natsl_calloc(1, sizeof *m, "tokenizer");
    natsl_status st = m ? NATSL_OK : NATSL_ERR_NOMEM;
    if (m) m->kind = kind;
    if (m && kind == NATSL_MEASURE_TOKENS && natsl_tokenizer_is_byte(tokenizer)) m->kind = NATSL_MEASURE_BYTES;
    if (m && m->kind == NATSL_MEASURE_TOKENS) {
        m->tokenizer = tokenizer;
        m->memory = natsl_calloc(MEMORY_SLOTS, sizeof *m->memory, "tokenizer");
        st = m->memory ? natsl_encoder_create(tokenizer, 1, &m->encoder) : NATSL_ERR_NOMEM;
    }
    if (st != NATSL_OK) natsl_measure_destroy(&m);
    *out = m;
    return st;
}

void natsl_measure_destroy(natsl_measure **measure)
{
    natsl_measure *m = *measure;
    if (!m) return;
    for (size_t i = 0; m->memory && i < MEMORY_SLOTS; i++) natsl_free(m->memory[i].text);
    natsl_free(m->memory);
    natsl_encoder_destroy(&m->encoder);
    natsl_ids_free(&m->ids);
    natsl_bytes_free(&m->clean);
    natsl_free(m);
    *measure = NULL;
}

natsl_measure_kind natsl_measure_of(const natsl_measure *m) { return m ? m->kind : NATSL_MEASURE_BYTES; }

/** Where the block that begins at `from` ends, `reach` bytes on at least. Any place will do: a character that it cuts waits for its
 * rest. */
static size_t block_end(const char *text, size_t length, size_t from, size_t reach)
{
    if (length - from <= reach) return length;
    const size_t most =
        length - from < reach + BLOCK_MOST - BLOCK_BYTES ? length : from + reach + BLOCK_MOST - BLOCK_BYTES;
    for (size_t at = from + reach; at < most; at++) {
        uint32_t four;
        memcpy(&four, text + at - 4, sizeof four);
        if ((four * 0x9e3779b1u) >> 16 < 65536 / BLOCK_PLACES) return at;
    }
    return most;
}

/** A block that has not been seen: to `to`. */
static natsl_status encode(natsl_measure *m, const char *text, uint32_t length, int begin, int last, uint32_t part,
                           seen *to)
{
    m->ids.count = 0;
    natsl_encoder_restart(m->encoder, begin, part);
    const natsl_status st = natsl_encoder_add(m->encoder, text, length, last, 1, &m->ids);
    const natsl_mark done = natsl_encoder_done(m->encoder);
    to->used = (uint32_t)done.at;
    to->part = done.part;
    to->ids = (int64_t)m->ids.count;
    return st;
}

/** A block by what is remembered, which learns of it. It is UTF-8, but for a character that its end cuts. */
static natsl_status look_up(natsl_measure *m, const char *text, uint32_t length, int begin, int last, uint32_t part,
                            seen *found)
{
    const uint32_t state = part * 4 + (uint32_t)begin * 2 + (uint32_t)last;
    const uint64_t digest = natsl_digest(text, length);
    seen *s = &m->memory[(digest ^ (uint64_t)state * 0x9e3779b97f4a7c15u) % MEMORY_SLOTS];
    if (s->length == length && s->digest == digest && s->state == state && memcmp(s->text, text, length) == 0) {
        *found = *s;
        return NATSL_OK;
    }
    const natsl_status st = encode(m, text, length, begin, last, part, found);
    if (st != NATSL_OK || length > BLOCK_MOST) return st;
    char *copy = s->text ? s->text : natsl_alloc(BLOCK_MOST, 1, "tokenizer");
    if (!copy) return NATSL_ERR_NOMEM;
    memcpy(copy, text, length);
    *s = *found;
    s->digest = digest;
    s->text = copy;
    s->length = length;
    s->state = state;
    return st;
}

static natsl_status count_tokens(natsl_measure *m, const char *text, size_t length, int64_t enough, int64_t *tokens)
{
    uint32_t part = 0;
    size_t reach = BLOCK_BYTES;
    natsl_status st = NATSL_OK;
    *tokens = 0;
    for (size_t at = 0; at < length && *tokens <= enough;) {
        seen found = {0};
        const size_t end = block_end(text, length, at, reach);
        if (end - at > UINT32_MAX / 4) return natsl_fail(NATSL_ERR_INPUT, "%zu bytes without a place to cut", end - at);
        st = look_up(m, text + at, (uint32_t)(end - at), at == 0, end == length, part, &found);
        if (st != NATSL_OK) return st;
        *tokens += found.ids;
        if (end == length) return NATSL_OK;
        at += found.used;
        if (found.used > 0) part = found.part;
        reach = found.used > 0 ? BLOCK_BYTES : 2 * reach;
    }
    return NATSL_OK;
}

natsl_status natsl_measure_count(natsl_measure *m, const char *text, size_t length, int64_t enough, int64_t *tokens)
{
    size_t used = 0;
    if (natsl_measure_of(m) == NATSL_MEASURE_BYTES) return *tokens = (int64_t)length, NATSL_OK;
    if (m->kind == NATSL_MEASURE_WORDS) return *tokens = natsl_count_words(text, length), NATSL_OK;
    m->clean.length = 0;
    natsl_status st = natsl_utf8_mend(&m->clean, text, length, 1, &used);
    if (st != NATSL_OK) return st;
    if (natsl_tokenizer_cuts(m->tokenizer)) return count_tokens(m, m->clean.at, m->clean.length, enough, tokens);
    seen whole = {0};
    if (m->clean.length > UINT32_MAX / 4)
        return natsl_fail(NATSL_ERR_INPUT, "%zu bytes for a tokenizer that cannot cut a text", m->clean.length);
    st = encode(m, m->clean.at, (uint32_t)m->clean.length, 1, 1, 0, &whole);
    *tokens = whole.ids;
    return st;
}

natsl_status natsl_measure_ids(natsl_measure *m, const char *text, size_t length, size_t shared, natsl_ids *ids,
                               int64_t *shared_ids)
{
    natsl_status st = NATSL_OK;
    natsl_encoder_restart(m->encoder, 1, 0);
    const size_t before = ids->count;
    /* what is certain without what follows */
    if (shared > 0) st = natsl_encoder_add(m->encoder, text, shared, 0, 1, ids);
    *shared_ids = (int64_t)(ids->count - before);
    if (st == NATSL_OK) st = natsl_encoder_add(m->encoder, text + shared, length - shared, 1, 0, ids);
    return st;
}
