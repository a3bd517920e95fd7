/* made_text.c - see made_text.h. */
#include "made_text.h"

#include "core.h"
#include "utf8.h"

#include <stdlib.h>
#include <string.h>

/* A word that its tokens do not give back may have this many bytes; in a longer one nobody could tell what is where. */
#define MOST_UNCLEAR 1024

/** What no token goes across: bytes of mended text and tokens before it. */
typedef struct seam {
    int64_t at, ids;
} seam;

/** A place whose token is asked for. */
typedef struct border {
    int64_t at; /* byte of the text; of the end of a span: its last one */
    natsl_text_span *span;
    int end;
} border;

struct natsl_made_text {
    const natsl_tokenizer *tokenizer;
    natsl_encoder *encoder;
    uint32_t middle; /* the state of an encoder that takes a text up in its middle */
    const char *text;
    int64_t length;
    natsl_bytes mended; /* the text as UTF-8 */
    int clean;          /* it was so already */
    natsl_ids ids;
    seam *seams; /* [n_seams], the first at 0, the last behind the text */
    size_t n_seams, seams_room;
    natsl_bytes word; /* scratch */
    int64_t *ends;    /* [ends_room] where tokens of the word in hand end, in it */
    size_t ends_room, at_seam;
};

natsl_status natsl_made_create(const natsl_tokenizer *tokenizer, natsl_made_text **out)
{
    natsl_made_text *m = natsl_calloc(1, sizeof *m, "tokenizer");
    *out = NULL;
    if (!m) return NATSL_ERR_NOMEM;
    m->tokenizer = tokenizer;
    const natsl_status st = natsl_encoder_create(tokenizer, 0, &m->encoder);
    if (st != NATSL_OK) {
        natsl_made_destroy(&m);
        return st;
    }
    m->middle = natsl_encoder_done(m->encoder).part;
    natsl_encoder_keep_marks(m->encoder);
    *out = m;
    return NATSL_OK;
}

void natsl_made_destroy(natsl_made_text **made)
{
    natsl_made_text *m = *made;
    if (!m) return;
    natsl_encoder_destroy(&m->encoder);
    natsl_bytes_free(&m->mended);
    natsl_bytes_free(&m->word);
    natsl_ids_free(&m->ids);
    natsl_free(m->seams);
    natsl_free(m->ends);
    natsl_free(m);
    *made = NULL;
}

const int32_t *natsl_made_ids(const natsl_made_text *m, int64_t *count)
{
    *count = (int64_t)m->ids.count;
    return m->ids.at;
}

/* ---- tokens ------------------------------------------------------------------------------------------------------------- */

static natsl_status reserve_seams(natsl_made_text *m, size_t more)
{
    if (m->seams_room - m->n_seams >= more) return NATSL_OK;
    const size_t room = 2 * (m->n_seams + more);
    seam *seams = natsl_alloc(room, sizeof *seams, "tokenizer");
    if (!seams) return NATSL_ERR_NOMEM;
    if (m->n_seams > 0) memcpy(seams, m->seams, m->n_seams * sizeof *seams);
    natsl_free(m->seams);
    m->seams = seams;
    m->seams_room = room;
    return NATSL_OK;
}

/** What is between two cuts: bytes [from, to) of the text. */
static natsl_status encode_part(natsl_made_text *m, int64_t from, int64_t to, int begins)
{
    const int64_t at = (int64_t)m->mended.length, before = (int64_t)m->ids.count;
    size_t used = 0, n = 0;
    natsl_status st = natsl_utf8_mend(&m->mended, m->text + from, (size_t)(to - from), 1, &used);
    if (st != NATSL_OK) return st;
    natsl_encoder_restart(m->encoder, begins, m->middle);
    st = natsl_encoder_add(m->encoder, m->mended.at + at, m->mended.length - (size_t)at, 1, 0, &m->ids);
    if (st != NATSL_OK) return st;
    const natsl_mark *marks = natsl_encoder_marks(m->encoder, &n);
    st = reserve_seams(m, n + 2);
    if (st != NATSL_OK) return st;
    m->seams[m->n_seams++] = (seam){at, before};
    for (size_t i = 0; i < n; i++)
        m->seams[m->n_seams++] = (seam){at + (int64_t)marks[i].at, before + (int64_t)marks[i].ids};
    return NATSL_OK;
}

natsl_status natsl_made_encode(natsl_made_text *m, const char *text, int64_t length, int begins, const int64_t *cuts,
                               size_t n_cuts)
{
    natsl_status st = NATSL_OK;
    m->text = text;
    m->length = length;
    m->mended.length = m->ids.count = m->n_seams = 0;
    for (size_t i = 0; i <= n_cuts && st == NATSL_OK; i++) {
        const int64_t from = i > 0 ? cuts[i - 1] : 0, to = i < n_cuts ? cuts[i] : length;
        if (from < to) st = encode_part(m, from, to, begins && from == 0);
    }
    if (st == NATSL_OK) st = reserve_seams(m, 1);
    if (st != NATSL_OK) return st;
    m->seams[m->n_seams++] = (seam){(int64_t)m->mended.length, (int64_t)m->ids.count};
    m->clean = m->mended.length == (size_t)length && memcmp(m->mended.at, text, (size_t)length) == 0;
    m->at_seam = SIZE_MAX;
    return NATSL_OK;
}

/* ---- which tokens hold what ------------------------------------------------------------------------------------------------ */

/** Decodes the word behind seam w into m->ends. *exact 0: its tokens do not give back its length. */
static natsl_status decode_word(natsl_made_text *m, size_t w, int *exact)
{
    const seam *from = &m->seams[w], *to = &m->seams[w + 1];
    const size_t n = (size_t)(to->ids - from->ids);
    natsl_decoder *d = NULL;
    natsl_status st = NATSL_OK;
    if (n > m->ends_room) {
        natsl_free(m->ends);
        m->ends_room = 0;
        if (!(m->ends = natsl_alloc(2 * n, sizeof *m->ends, "tokenizer"))) return NATSL_ERR_NOMEM;
        m->ends_room = 2 * n;
    }
    st = natsl_decoder_create(m->tokenizer, 1, &d);
    m->word.length = 0;
    /* a text's first token may be decoded in another way than the others */
    if (st == NATSL_OK && from->ids > 0) st = natsl_decoder_add(d, m->ids.at[from->ids - 1], &m->word);
    const size_t before = m->word.length;
    for (size_t i = 0; i < n && st == NATSL_OK; i++) {
        st = natsl_decoder_add(d, m->ids.at[(size_t)from->ids + i], &m->word);
        m->ends[i] = (int64_t)(m->word.length - before);
    }
    const size_t shown = m->word.length;
    if (st == NATSL_OK) st = natsl_decoder_finish(d, &m->word);
    const int lags = n > 1 && m->word.length != shown; /* a token's text may have come with the one after it */
    if (st == NATSL_OK && n > 0) m->ends[n - 1] = (int64_t)(m->word.length - before);
    natsl_decoder_destroy(&d);
    *exact = 0;
    if (st != NATSL_OK || n == 0 || lags) return st;
    /* A text's beginning may be longer by a space that the tokenizer puts before it: that is no byte of the text. */
    const int64_t length = to->at - from->at, more = m->ends[n - 1] - length;
    if (more < 0 || (more > 0 && memcmp(m->word.at + before + more, m->mended.at + from->at, (size_t)length) != 0))
        return NATSL_OK;
    for (size_t i = 0; i < n; i++) m->ends[i] = m->ends[i] > more ? m->ends[i] - more : 0;
    *exact = 1;
    return NATSL_OK;
}

/** The last seam that is not behind byte `at` (or, by ids, token `at`), but the one behind the text. */
static size_t seam_of(const natsl_made_text *m, int64_t at, int by_ids)
{
    size_t lo = 0, hi = m->n_seams - 1;
    while (hi - lo > 1) {
        const size_t middle = lo + (hi - lo) / 2;
        if ((by_ids ? m->seams[middle].ids : m->seams[middle].at) <= at) lo = middle;
        else hi = middle;
    }
    return lo;
}

/** The tokens [*first, *last) that may hold a byte of mended text. */
static natsl_status token_of(natsl_made_text *m, int64_t at, int64_t *first, int64_t *last)
{
    const size_t word = seam_of(m, at, 0);
    const seam *from = &m->seams[word], *to = &m->seams[word + 1];
    *first = from->ids;
    *last = to->ids;
    if (to->ids - from->ids <= 1) return NATSL_OK;
    int exact = 1;
    if (m->at_seam != word) {
        m->at_seam = SIZE_MAX;
        const natsl_status st = decode_word(m, word, &exact);
        if (st != NATSL_OK) return st;
        if (exact) m->at_seam = word; /* the next place may be in it, too */
    }
    if (exact) {
        int64_t low = 0, high = to->ids - from->ids - 1; /* the first token that ends behind the place: one does */
        while (low < high) {
            const int64_t middle = low + (high - low) / 2;
            if (m->ends[middle] > at - from->at) high = middle;
            else low = middle + 1;
        }
        *first += low;
        *last = *first + 1;
    } else if (to->at - from->at > MOST_UNCLEAR) {
        return natsl_fail(
            NATSL_ERR_INPUT,
            "the tokenizer changes text and does not split it: which of its tokens hold an answer cannot be "
            "told");
    }
    return NATSL_OK;
}

static int by_place(const void *a, const void *b)
{
    const border *x = a, *y = b;
    if (x->at != y->at) return x->at < y->at ? -1 : 1;
    if (x->span != y->span) return x->span < y->span ? -1 : 1;
    return x->end - y->end;
}

natsl_status natsl_made_locate(natsl_made_text *m, natsl_text_span *spans, size_t count)
{
    int64_t done = 0, mended = 0; /* bytes of the text, and of the mended one, before the place in hand */
    if (count == 0) return NATSL_OK;
    border *borders = natsl_alloc(count, 2 * sizeof *borders, "places of answers");
    natsl_status st = borders ? NATSL_OK : NATSL_ERR_NOMEM;
    for (size_t i = 0; i < count && st == NATSL_OK; i++) {
        if (spans[i].begin < 0 || spans[i].begin >= spans[i].end || spans[i].end > m->length)
            st = natsl_fail(NATSL_ERR_INTERNAL, "bytes %lld to %lld of %lld", (long long)spans[i].begin,
                            (long long)spans[i].end, (long long)m->length);
        borders[2 * i] = (border){.at = spans[i].begin, .span = &spans[i]};
        borders[2 * i + 1] = (border){.at = spans[i].end - 1, .span = &spans[i], .end = 1};
    }
    if (st == NATSL_OK) qsort(borders, 2 * count, sizeof *borders, by_place);
    for (size_t i = 0; i < 2 * count && st == NATSL_OK; i++) {
        const border *b = &borders[i];
        int64_t first = 0, last = 0;
        if (m->clean) {
            mended = b->at;
        } else if (b->at > done) { /* answers and needles are ASCII: what is broken ends before them */
            size_t used = 0;
            m->word.length = 0;
            st = natsl_utf8_mend(&m->word, m->text + done, (size_t)(b->at - done), 1, &used);
            mended += (int64_t)m->word.length;
            done = b->at;
        }
        if (st == NATSL_OK) st = token_of(m, mended, &first, &last);
        if (b->end) b->span->last = last;
        else b->span->first = first;
    }
    natsl_free(borders);
    return st;
}

/** Between two seams along a straight line. */
static int64_t between(int64_t x, int64_t x0, int64_t x1, int64_t y0, int64_t y1)
{
    return x1 > x0 ? y0 + (int64_t)((double)(x - x0) / (double)(x1 - x0) * (double)(y1 - y0)) : y0;
}

int64_t natsl_made_back(const natsl_made_text *m, int64_t at, int64_t tokens)
{
    const seam *s = &m->seams[seam_of(m, at, 0)];
    const int64_t ids = between(at, s[0].at, s[1].at, s[0].ids, s[1].ids) - tokens;
    if (ids <= 0) return at;
    s = &m->seams[seam_of(m, ids, 1)];
    const int64_t from = between(ids, s[0].ids, s[1].ids, s[0].at, s[1].at);
    return from < at ? at - from : 0;
}

natsl_status natsl_made_keeps(natsl_made_text *m, const char *letters, int *keeps)
{
    const size_t n = strlen(letters);
    natsl_decoder *d = NULL;
    natsl_bytes text = {0};
    natsl_status st = natsl_made_encode(m, letters, (int64_t)n, 0, NULL, 0);
    if (st == NATSL_OK) st = natsl_decoder_create(m->tokenizer, 0, &d);
    for (size_t i = 0; i < m->ids.count && st == NATSL_OK; i++) st = natsl_decoder_add(d, m->ids.at[i], &text);
    if (st == NATSL_OK) st = natsl_decoder_finish(d, &text);
    *keeps = 0;
    for (size_t at = 0; st == NATSL_OK && at + n <= text.length; at++) *keeps |= memcmp(text.at + at, letters, n) == 0;
    natsl_decoder_destroy(&d);
    natsl_bytes_free(&text);
    return st;
}
