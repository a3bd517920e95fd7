/* tok_encode.c - text to ids. See tok_encode.h.
 *
 * Text that does not fit memory is tokenized in blocks whose ends are places of which it is proved that text after them cannot
 * change what stands before, and that all after them is what it would be if the text began there in the middle of a part:
 * - added tokens: a search has looked at everything that could be the beginning of one; a place inside one is never taken;
 *   white space that one to come could take is not passed.
 * - normalizers: places where each step begins anew (tok_normalize.c); a text that other steps go through is not cut at all.
 * - pre-tokenizer: the ends of pieces of its first step that splits. A piece counts when the search for it has not looked past
 *   the block (PCRE2's hard partial matching), and the search goes on from its end with nothing remembered: expressions that
 *   look behind are not cut. Later steps see one piece at a time.
 * - where nothing splits, places that no merge can cross (natsl_bpe_cut).
 * A block without such a place is made longer until it has one. The same places let ranks begin in the middle of a text. */
#include "tok_encode.h"

#include "core.h"
#include "utf8.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Text at a time: fits the second cache with all that is made of it. */
#define BLOCK_BYTES ((size_t)192 << 10)
#define MOST_GROWTH 64 /* of a whole text by all steps together */

/* What a place is in the middle of: of a part between added tokens, as written and as normalized. */
#define IN_TEXT       1u
#define IN_NORMALIZED 2u

/** A place of the block in hand. */
typedef struct place {
    uint32_t at, part;
    size_t ids;
} place;

/** Text and where it comes from in the block: by table, or byte by byte from `base` on. */
typedef struct view {
    const char *text;
    size_t length;
    const uint32_t *from;
    size_t base;
} view;

typedef struct scratch {
    natsl_bytes text;
    natsl_sources from;
    natsl_regex_match *match;
} scratch;

struct natsl_tok_encoder {
    const natsl_tok *tok;
    natsl_bpe_work *work;
    natsl_bytes held;  /* mended text not yet done */
    natsl_bytes rest;  /* bytes of a character that has begun */
    size_t target;     /* bytes of `held` that are worth a try */
    uint32_t part;     /* of held[0] */
    int first;         /* held[0] is the text's first byte */
    uint64_t done;     /* bytes before held[0] */
    uint64_t ids_done; /* tokens of them */
    natsl_ids *ids;    /* of the call in hand */
    int marking;       /* places of the block in hand are noted */
    place *places;     /* [n_places] of the block in hand */
    size_t n_places, places_room;
    natsl_mark *marks;
    size_t n_marks, marks_room;
    int keep;
    scratch normal[NATSL_TOK_STEPS], split[NATSL_TOK_STEPS];
    natsl_sources plain; /* where text comes from before the first normalizer */
};

static uint32_t source(view v, size_t at) { return v.from ? v.from[at] : (uint32_t)(v.base + at); }

static view sub(view v, size_t begin, size_t end)
{
    return (view){v.text + begin, end - begin, v.from ? v.from + begin : NULL, v.base + begin};
}

/** Notes a place, where blocks are cut at all. */
static natsl_status mark(natsl_tok_encoder *e, uint32_t at, uint32_t part)
{
    if (!e->marking || at == NATSL_SOURCE_NONE || at == 0) return NATSL_OK;
    if (e->n_places > 0 && e->places[e->n_places - 1].at >= at) return NATSL_OK;
    if (e->n_places == e->places_room) {
        const size_t room = 2 * e->places_room + 1024;
        place *more = natsl_alloc(room, sizeof *more, "tokenizer");
        if (!more) return NATSL_ERR_NOMEM;
        if (e->n_places > 0) memcpy(more, e->places, e->n_places * sizeof *more);
        natsl_free(e->places);
        e->places = more;
        e->places_room = room;
    }
    e->places[e->n_places++] = (place){at, part, e->ids->count};
    return NATSL_OK;
}

/* ---- pre-tokenizer --------------------------------------------------------------------------------------------------- */

static natsl_status split_from(natsl_tok_encoder *e, size_t step, view v, int begin, int first, int open, int top);

/** A piece that nothing splits further. top: it is all of a part. */
static natsl_status piece(natsl_tok_encoder *e, view v, int open, int top)
{
    natsl_status st = NATSL_OK;
    if (!top || !natsl_bpe_cuts(e->tok->bpe)) return natsl_bpe_word(e->tok->bpe, e->work, v.text, v.length, e->ids);
    for (size_t at = 0, cut = 0; at < v.length && st == NATSL_OK; at = cut) {
        cut = natsl_bpe_cut(e->tok->bpe, v.text, v.length, at);
        if (cut == v.length && open) break;
        st = natsl_bpe_word(e->tok->bpe, e->work, v.text + at, cut - at, e->ids);
        if (st == NATSL_OK && cut < v.length) st = mark(e, source(v, cut), IN_TEXT | IN_NORMALIZED);
    }
    return st;
}

/** Pieces on their way through one step: those that belong together are joined. */
typedef struct splitting {
    natsl_tok_encoder *e;
    const natsl_tok_step *step;
    size_t next; /* the step after this one */
    view v;
    int first, top;
    int have, is_match; /* a piece waits; what its end is */
    size_t begin, end;
} splitting;

static natsl_status let_go(splitting *s)
{
    if (!s->have || s->begin == s->end) return NATSL_OK;
    if (s->is_match && s->step->behavior == NATSL_TOK_REMOVED) return NATSL_OK;
    return split_from(s->e, s->next, sub(s->v, s->begin, s->end), 1, s->first && s->begin == 0, 0, 0);
}

static natsl_status take(splitting *s, size_t begin, size_t end, int is_match)
{
    static const signed char joins[5][2][2] = {/* [behavior][before is a match][this is] */
                                               [NATSL_TOK_MERGED_WITH_PREVIOUS] = {{0, 1}, {0, 0}},
                                               [NATSL_TOK_MERGED_WITH_NEXT] = {{0, 0}, {1, 0}},
                                               [NATSL_TOK_CONTIGUOUS] = {{1, 0}, {0, 1}}};
    if (s->step->invert) is_match = !is_match;
    if (s->have && joins[s->step->behavior][s->is_match][is_match]) {
        s->end = end;
        s->is_match = is_match;
        return NATSL_OK;
    }
    natsl_status st = let_go(s);
    if (st == NATSL_OK && s->have && s->top) st = mark(s->e, source(s->v, begin), IN_TEXT | IN_NORMALIZED);
    s->have = 1;
    s->begin = begin;
    s->end = end;
    s->is_match = is_match;
    return st;
}

static natsl_status split(natsl_tok_encoder *e, size_t step, view v, int first, int open, int top)
{
    splitting s = {.e = e, .step = &e->tok->splits.step[step], .next = step + 1, .v = v, .first = first, .top = top};
    natsl_regex_match *match = e->split[step].match;
    size_t at = 0, before = 0, last = SIZE_MAX; /* end of the last match: no empty one right behind it */
    natsl_status st = NATSL_OK;
    while (at <= v.length) {
        natsl_found found;
        size_t begin = 0, end = 0, n = 1;
        st = natsl_regex_find(match, v.text, v.length, at, open, &found, &begin, &end);
        if (st != NATSL_OK || found == NATSL_FOUND_PARTLY) return st;
        if (found == NATSL_FOUND_NONE) break;
        if (begin == end && end == last) {
            if (at < v.length) (void)natsl_utf8_get(v.text + at, &n);
            at += n;
            continue;
        }
        if (before != begin) st = take(&s, before, begin, 0);
        if (st == NATSL_OK) st = take(&s, begin, end, 1);
        if (st != NATSL_OK) return st;
        at = before = last = end;
    }
    if (open) return NATSL_OK;
    if (before != v.length) st = take(&s, before, v.length, 0);
    return st == NATSL_OK ? let_go(&s) : st;
}

/** Applies a step that changes text, into its scratch. Of a text that is not cut, and may be longer than places can say, only growth is
 * bounded. */
static natsl_status change(const natsl_tok_encoder *e, const natsl_tok_step *step, scratch *to, view *v, int begin,
                           int open)
{
    size_t most = NATSL_TOK_MOST_BYTES;
    if (!v->from && e->held.length < (SIZE_MAX - most) / MOST_GROWTH) most += MOST_GROWTH * e->held.length;
    const natsl_status st =
        natsl_tok_normalize(step, to->match, v->text, v->length, v->from, begin, open, most, &to->text, &to->from);
    if (st == NATSL_OK) *v = (view){to->text.at, to->text.length, v->from ? to->from.at : NULL, v->base};
    return st;
}

/** The table of where text comes from that text as it is has not: steps that change text need one. */
static natsl_status with_table(natsl_tok_encoder *e, view *v)
{
    if (v->from || !e->marking) return NATSL_OK;
    if (e->plain.room < v->length + 1) {
        natsl_free(e->plain.at);
        e->plain.room = 0;
        e->plain.at = natsl_alloc(v->length + 1, sizeof *e->plain.at, "text");
        if (!e->plain.at) return NATSL_ERR_NOMEM;
        e->plain.room = v->length + 1;
    }
    for (size_t i = 0; i <= v->length; i++) e->plain.at[i] = (uint32_t)(v->base + i);
    v->from = e->plain.at;
    return NATSL_OK;
}

/** begin: the part begins here; first: and so does the text; open: and it may go on; top: it is a whole part, not a piece. */
static natsl_status split_from(natsl_tok_encoder *e, size_t step, view v, int begin, int first, int open, int top)
{
    const natsl_tok_steps *steps = &e->tok->splits;
    for (; step < steps->count && steps->step[step].kind != NATSL_TOK_SPLIT; step++) {
        const natsl_tok_step *s = &steps->step[step];
        if (s->kind == NATSL_TOK_PREFIX) {
            const int has = v.length >= s->length && memcmp(v.text, s->text, s->length) == 0;
            if (!begin || has || (s->first && !first)) continue;
        }
        natsl_status st = top ? with_table(e, &v) : NATSL_OK;
        if (st == NATSL_OK) st = change(e, s, &e->split[step], &v, begin, open);
        if (st != NATSL_OK) return st;
    }
    if (v.length == 0) return NATSL_OK;
    return step < steps->count ? split(e, step, v, first, open, top) : piece(e, v, open, top);
}

/* ---- added tokens ---------------------------------------------------------------------------------------------------- */

typedef natsl_status part_of(natsl_tok_encoder *e, view v, uint32_t part, int first, int open);

static size_t character_before(const char *text, size_t at)
{
    do at--;
    while (at > 0 && natsl_utf8_inside(text[at]));
    return at;
}

static size_t white_before(const char *text, size_t at, size_t least)
{
    size_t n = 0;
    while (at > least) {
        const size_t before = character_before(text, at);
        if (!natsl_tok_is_white(natsl_utf8_get(text + before, &n))) break;
        at = before;
    }
    return at;
}

static size_t white_after(const char *text, size_t at, size_t length)
{
    size_t n = 0;
    while (at < length && natsl_tok_is_white(natsl_utf8_get(text + at, &n))) at += n;
    return at;
}

/** A token that must be a word of its own stands beside a word's character. */
static int beside_word(view v, size_t begin, size_t end)
{
    size_t n = 0;
    if (begin > 0 && natsl_tok_is_word(natsl_utf8_get(v.text + character_before(v.text, begin), &n))) return 1;
    return end < v.length && natsl_tok_is_word(natsl_utf8_get(v.text + end, &n));
}

/** Cuts text at the added tokens of a set; what is between goes to `part_fn`. level: IN_TEXT or IN_NORMALIZED. */
static natsl_status at_tokens(natsl_tok_encoder *e, const natsl_tok_set *set, view v, uint32_t part, uint32_t level,
                              int first, int open, part_of *part_fn)
{
    size_t begin = 0, at = 0, limit = v.length; /* what is before limit has been searched */
    natsl_status st = NATSL_OK;
    if (open && set->count > 0) limit = v.length > set->longest ? v.length - set->longest : 0;
    while (set->count > 0 && at < limit) {
        if (!set->begins[(unsigned char)v.text[at]]) {
            at++;
            continue;
        }
        const natsl_tok_added *a = natsl_tok_longest(set, v.text + at, v.length - at);
        if (!a) {
            at++;
            continue;
        }
        const size_t end = at + a->length;
        size_t from = at, to = end;
        at = end;
        if (a->single_word && beside_word(v, from, end)) continue;
        if (a->left) from = from > begin ? white_before(v.text, from, begin) : begin;
        if (a->right) to = white_after(v.text, to, v.length);
        if (open && a->right && to == v.length) { /* more white space may follow */
            limit = from;
            break;
        }
        if (from > begin) st = part_fn(e, sub(v, begin, from), part, first && begin == 0, 0);
        /* white space that the one before has taken: where that is all of this one, it is none, as in the library */
        if (st == NATSL_OK && from < to) st = natsl_ids_add(e->ids, &a->id, 1);
        part = level - 1; /* inside what is around this level, at the beginning of something in it */
        if (st == NATSL_OK && to == end) st = mark(e, source(v, to), part);
        if (st != NATSL_OK) return st;
        begin = to;
    }
    if (!open) return begin < v.length ? part_fn(e, sub(v, begin, v.length), part, first && begin == 0, 0) : NATSL_OK;
    while (limit > begin && limit < v.length && natsl_utf8_inside(v.text[limit])) limit--;
    if (set->left && limit > begin) limit = white_before(v.text, limit, begin);
    return limit > begin ? part_fn(e, sub(v, begin, limit), part, first && begin == 0, 1) : NATSL_OK;
}

static natsl_status normalized_part(natsl_tok_encoder *e, view v, uint32_t part, int first, int open)
{
    return split_from(e, 0, v, !(part & IN_NORMALIZED), first, open, 1);
}

static natsl_status text_part(natsl_tok_encoder *e, view v, uint32_t part, int first, int open)
{
    const natsl_tok_steps *steps = &e->tok->normalizers;
    natsl_status st = steps->count > 0 ? with_table(e, &v) : NATSL_OK;
    for (size_t i = 0; i < steps->count && st == NATSL_OK; i++)
        st = change(e, &steps->step[i], &e->normal[i], &v, !(part & IN_TEXT), open);
    if (st != NATSL_OK) return st;
    return at_tokens(e, &e->tok->in_normalized, v, part, IN_NORMALIZED, first, open, normalized_part);
}

/* ---- blocks ---------------------------------------------------------------------------------------------------------- */

static natsl_status keep_marks(natsl_tok_encoder *e, size_t count, size_t ids_before)
{
    if (!e->keep) return NATSL_OK;
    if (e->n_marks + count > e->marks_room) {
        const size_t room = 2 * (e->n_marks + count);
        natsl_mark *more = natsl_alloc(room, sizeof *more, "tokenizer");
        if (!more) return NATSL_ERR_NOMEM;
        if (e->n_marks > 0) memcpy(more, e->marks, e->n_marks * sizeof *more);
        natsl_free(e->marks);
        e->marks = more;
        e->marks_room = room;
    }
    for (size_t i = 0; i < count; i++)
        e->marks[e->n_marks++] = (natsl_mark){.at = e->done + e->places[i].at,
                                              .ids = e->ids_done + e->places[i].ids - ids_before,
                                              .part = e->places[i].part};
    return NATSL_OK;
}

/** All of `held`, or as much of it as is certain. */
static natsl_status block(natsl_tok_encoder *e, int last)
{
    const size_t ids_before = e->ids->count;
    const view v = {.text = e->held.at, .length = e->held.length};
    char text[512];
    e->n_places = 0;
    e->marking = !e->tok->whole && (!last || e->keep);
    natsl_status st = at_tokens(e, &e->tok->in_text, v, e->part, IN_TEXT, e->first, !last, text_part);
    if (st == NATSL_ERR_INPUT) {
        (void)snprintf(text, sizeof text, "%s", natsl_error_text());
        return natsl_fail(st, "text after byte %llu: %s", (unsigned long long)e->done, text);
    }
    if (st != NATSL_OK) return st;
    if ((st = keep_marks(e, e->n_places, ids_before)) != NATSL_OK) return st;
    size_t used = e->held.length;
    if (!last) {
        const place none = {.at = 0, .part = e->part, .ids = ids_before};
        const place p = e->n_places > 0 ? e->places[e->n_places - 1] : none;
        e->ids->count = p.ids;
        e->part = p.part;
        used = p.at;
    }
    natsl_bytes_drop(&e->held, used);
    e->done += used;
    e->ids_done += e->ids->count - ids_before;
    if (used > 0) e->first = 0;
    e->target = e->held.length > BLOCK_BYTES / 2 ? 2 * e->held.length : BLOCK_BYTES;
    return NATSL_OK;
}

natsl_status natsl_tok_encoder_add(natsl_tok_encoder *e, const char *text, size_t length, int last, int settle,
                                   natsl_ids *ids)
{
    natsl_status st = NATSL_OK;
    e->ids = ids;
    while (st == NATSL_OK && (length > 0 || (last && e->rest.length > 0))) {
        /* a block at a time, so that what is held stays short */
        const size_t room = e->target > e->held.length ? e->target - e->held.length : BLOCK_BYTES;
        const size_t n = e->tok->whole || length < room ? length : room;
        size_t used = 0;
        st = natsl_bytes_add(&e->rest, text, n);
        text += n;
        length -= n;
        if (st == NATSL_OK) st = natsl_utf8_mend(&e->held, e->rest.at, e->rest.length, last && length == 0, &used);
        natsl_bytes_drop(&e->rest, used);
        if (st == NATSL_OK && !e->tok->whole && e->held.length >= e->target) {
            if (e->held.length > NATSL_TOK_MOST_BYTES)
                st = natsl_fail(NATSL_ERR_INPUT, "text after byte %llu: %zu bytes without a place to cut",
                                (unsigned long long)e->done, e->held.length);
            else if (length > 0 || !last) st = block(e, 0);
        }
    }
    if (st == NATSL_OK && last) st = block(e, 1);
    else if (st == NATSL_OK && settle && !e->tok->whole) st = block(e, 0);
    e->ids = NULL;
    return st;
}

uint64_t natsl_tok_encoder_taken(const natsl_tok_encoder *e) { return e->done + e->held.length; }

void natsl_tok_encoder_keep_marks(natsl_tok_encoder *e) { e->keep = 1; }

const natsl_mark *natsl_tok_encoder_marks(const natsl_tok_encoder *e, size_t *count)
{
    *count = e->n_marks;
    return e->marks;
}

void natsl_tok_encoder_drop_marks(natsl_tok_encoder *e, uint64_t at)
{
    size_t gone = 0;
    while (gone < e->n_marks && e->marks[gone].at < at) gone++;
    if (gone == 0) return;
    e->n_marks -= gone;
    memmove(e->marks, e->marks + gone, e->n_marks * sizeof *e->marks);
}

void natsl_tok_encoder_restart(natsl_tok_encoder *e, int begin, uint32_t part)
{
    e->held.length = e->rest.length = 0;
    e->target = BLOCK_BYTES;
    e->first = begin;
    e->part = begin ? 0 : part;
    e->done = e->ids_done = 0;
    e->n_marks = e->n_places = 0;
}

natsl_mark natsl_tok_encoder_done(const natsl_tok_encoder *e)
{
    return (natsl_mark){.at = e->done, .ids = e->ids_done, .part = e->part};
}

static natsl_status matches(const natsl_tok_steps *steps, scratch *to)
{
    natsl_status st = NATSL_OK;
    for (size_t i = 0; i < steps->count && st == NATSL_OK; i++) {
        if (steps->step[i].regex) st = natsl_regex_match_create(steps->step[i].regex, &to[i].match);
    }
    return st;
}

natsl_status natsl_tok_encoder_create(const natsl_tok *tok, int begin, natsl_tok_encoder **out)
{
    natsl_tok_encoder *e = natsl_calloc(1, sizeof *e, "tokenizer");
    *out = NULL;
    if (!e) return NATSL_ERR_NOMEM;
    e->tok = tok;
    e->first = begin;
    e->part = begin ? 0 : IN_TEXT | IN_NORMALIZED;
    e->target = BLOCK_BYTES;
    natsl_status st = natsl_bpe_work_create(&e->work);
    if (st == NATSL_OK) st = matches(&tok->normalizers, e->normal);
    if (st == NATSL_OK) st = matches(&tok->splits, e->split);
    if (st != NATSL_OK) natsl_tok_encoder_destroy(&e);
    *out = e;
    return st;
}

static void free_scratch(scratch *s)
{
    for (size_t i = 0; i < NATSL_TOK_STEPS; i++) {
        natsl_bytes_free(&s[i].text);
        free(s[i].from.at);
        natsl_regex_match_destroy(&s[i].match);
    }
}

void natsl_tok_encoder_destroy(natsl_tok_encoder **encoder)
{
    natsl_tok_encoder *e = *encoder;
    if (!e) return;
    natsl_bpe_work_destroy(&e->work);
    natsl_bytes_free(&e->held);
    natsl_bytes_free(&e->rest);
    natsl_free(e->places);
    natsl_free(e->marks);
    natsl_free(e->plain.at);
    free_scratch(e->normal);
    free_scratch(e->split);
    natsl_free(e);
    *encoder = NULL;
}
