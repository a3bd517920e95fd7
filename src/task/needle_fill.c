/* needle_fill.c - haystacks, and where needles go in them. See needle.h. */
#include "needle_impl.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char unit[] = "The grass is green. The sky is blue. The sun is yellow. Here we go. There and back again.";
#define UNIT (sizeof unit - 1)

/* How far a needle is moved, in bytes, to get to the end of a sentence, or else of a word. */
#define REACH 4096

/** One time that a needle is in the context: before byte (text) or line (noise) `place` of the haystack. */
typedef struct event {
    size_t place;
    uint64_t tie; /* order of those at the same place */
    int needle, copy;
} event;

static int compare(const void *a, const void *b)
{
    const event *x = a, *y = b;
    if (x->place != y->place) return x->place < y->place ? -1 : 1;
    if (x->copy != y->copy) return x->copy < y->copy ? -1 : 1; /* the first statement is first */
    if (x->tie != y->tie) return x->tie < y->tie ? -1 : 1;
    return x->needle < y->needle ? -1 : x->needle > y->needle;
}

size_t natsl_needle_context_bytes(const natsl_needle_task *task, const natsl_needle_sample *sample)
{
    size_t all = 0;
    for (size_t i = 0; i < sample->n_needles; i++) {
        sink s = {0};
        natsl_needle_sentence(&s, task->value_kind, sample->needles[i].key, sample->needles[i].value);
        all += (s.at + 1) * (1 + (size_t)task->restate);
    }
    return all;
}

/** A sentence begins at byte p: after ". " or the like, or a new line. */
static int begins_sentence(const char *hay, size_t p)
{
    if (p == 0 || hay[p - 1] == '\n') return 1;
    return p > 1 && hay[p - 1] == ' ' && (hay[p - 2] == '.' || hay[p - 2] == '!' || hay[p - 2] == '?');
}

static int begins_word(const char *hay, size_t p) { return p == 0 || hay[p - 1] == ' ' || hay[p - 1] == '\n'; }

/** The nearest place in [0, length) that `begins`, the earlier of two; SIZE_MAX when none is in reach. */
static size_t nearest(const char *hay, size_t length, size_t p, int (*begins)(const char *, size_t))
{
    for (size_t d = 0; d <= REACH; d++) {
        if (p >= d && begins(hay, p - d)) return p - d;
        if (d < length - p && begins(hay, p + d)) return p + d;
        if (d > p && d >= length - p) break;
    }
    return SIZE_MAX;
}

/** Not inside a UTF-8 character. */
static int begins_character(const char *hay, size_t p) { return ((unsigned char)hay[p] & 0xc0) != 0x80; }

static size_t snap(const char *hay, size_t length, size_t p)
{
    static int (*const ways[])(const char *, size_t) = {begins_sentence, begins_word, begins_character};
    for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++) {
        const size_t at = nearest(hay, length, p, ways[i]);
        if (at != SIZE_MAX) return at;
    }
    return p;
}

/** Draws every place, sorts. places: how many there are to choose from, >= 1. hay NULL: noise, any place will do. */
static void draw_events(const natsl_needle_task *task, int asked, size_t places, const char *hay, natsl_rng *rng,
                        size_t n_needles, event *events)
{
    size_t n = 0;
    for (size_t i = 0; i < n_needles; i++) {
        size_t first = (size_t)natsl_rng_below(rng, places);
        if (task->depth >= 0.0 && asked >= 0 && (int)(i / (size_t)task->values) == asked)
            first = (size_t)llround(task->depth * (double)(places - 1));
        for (int copy = 0; copy <= task->restate; copy++) {
            size_t p = copy == 0 ? first : first + (size_t)natsl_rng_below(rng, places - first);
            if (hay) p = snap(hay, places, p);
            if (copy == 0) first = p;
            if (p < first) p = first; /* the limit of the reach may turn the order round */
            events[n++] = (event){.place = p, .tie = natsl_rng_next(rng), .needle = (int)i, .copy = copy};
        }
    }
    qsort(events, n, sizeof *events, compare);
}

/** Needles alone, in random order; the first one of the key asked goes where task->depth says. */
static void draw_order(const natsl_needle_task *task, int asked, natsl_rng *rng, size_t n_needles, event *events)
{
    const size_t count = n_needles; /* none comes again */
    draw_events(task, -1, SIZE_MAX / 2, NULL, rng, n_needles, events);
    if (task->depth >= 0.0) {
        size_t from = 0;
        const size_t to = (size_t)llround(task->depth * (double)(count - 1));
        while (events[from].needle != asked * task->values) from++;
        const event moved = events[from];
        for (; from < to; from++) events[from] = events[from + 1];
        for (; from > to; from--) events[from] = events[from - 1];
        events[to] = moved;
    }
    for (size_t i = 0; i < count; i++) events[i].place = 0;
}

/** Writes a needle at its place and notes where. Returns after the sentence; what joins it is the caller's. */
static void put_needle(sink *s, const natsl_needle_task *task, const event *e, natsl_needle_sample *sample)
{
    natsl_needle *needle = &sample->needles[e->needle];
    const int64_t begin = (int64_t)s->at;
    natsl_needle_sentence(s, task->value_kind, needle->key, needle->value);
    sample->told[sample->n_told++] = (natsl_needle_told){.begin = begin, .end = (int64_t)s->at};
    if (e->copy == 0) needle->first = begin;
    if (e->copy > 0 && task->values == 1) /* ": V." */
        sample->answers[sample->n_answers++] =
            (natsl_needle_answer){.begin = (int64_t)(s->at - strlen(needle->value) - 3),
                                  .end = (int64_t)s->at,
                                  .needle = e->needle,
                                  .again = 1};
}

/** Lines of noise and needles, joined by "\n". */
static void write_noise(sink *s, const natsl_needle_task *task, size_t units, const event *events, size_t count,
                        natsl_needle_sample *sample)
{
    size_t e = 0;
    for (size_t line = 0; line <= units; line++) {
        for (; e < count && events[e].place == line; e++) {
            if (line > 0 || e > 0) natsl_sink_put(s, "\n", 1);
            put_needle(s, task, &events[e], sample);
        }
        if (line == units) break;
        if (line > 0 || e > 0) natsl_sink_put(s, "\n", 1);
        natsl_sink_put(s, unit, UNIT);
    }
}

/** A text with needles, each followed by a space. */
static void write_text(sink *s, const natsl_needle_task *task, const char *hay, size_t length, const event *events,
                       size_t count, natsl_needle_sample *sample)
{
    size_t at = 0;
    for (size_t e = 0; e < count; e++) {
        natsl_sink_put(s, hay + at, events[e].place - at);
        at = events[e].place;
        put_needle(s, task, &events[e], sample);
        natsl_sink_put(s, " ", 1);
    }
    natsl_sink_put(s, hay + at, length - at);
}

/** A slice of `*length` bytes at a random place of the text (or the one that it says), from where a sentence (else a
 * character) begins; shorter by the part of a character that the end would cut. A short text is repeated from its
 * beginning. */
static char *draw_hay(const natsl_hay *text, natsl_rng *rng, size_t *length)
{
    char before[REACH];
    const int64_t want = (int64_t)*length, whole = text->length;
    char *hay = natsl_alloc(*length, 1, "haystack");
    if (!hay) return NULL;
    int64_t start = (int64_t)natsl_rng_below(rng, (uint64_t)(whole > want ? whole - want + 1 : whole));
    if (text->fixed) start = text->start;
    const int64_t back = start < REACH ? start : REACH; /* before[back] would be byte `start` */
    text->read(text->user, start - back, back, before);
    int64_t b = back;
    while (b > 0 && !begins_sentence(before, (size_t)b)) b--;
    /* before[0] is the text's first byte, or out of reach */
    if (b > 0 || back == start) start = start - back + b;
    for (int64_t at = 0; at < want;) {
        const int64_t from = at == 0 ? start : 0, n = want - at < whole - from ? want - at : whole - from;
        text->read(text->user, from, n, hay + at);
        at += n;
        if (at < want) hay[at++] = ' ';
    }
    size_t cut = *length, head = 0;
    while (cut > 0 && *length - cut < 3 && !begins_character(hay, cut - 1)) cut--;
    /* hay[cut-1] begins the last character: is it whole? */
    if (cut > 0) {
        const unsigned char c = (unsigned char)hay[cut - 1];
        const size_t needs = c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : c >= 0xc0 ? 2 : 1;
        if (cut - 1 + needs > *length) *length = cut - 1;
    }
    while (head < 3 && head < *length && !begins_character(hay, head)) head++;
    *length -= head;
    memmove(hay, hay + head, *length);
    return hay;
}

natsl_status natsl_needle_fill(const natsl_needle_task *task, int asked, size_t room, natsl_rng *rng, sink *s,
                               natsl_needle_sample *sample)
{
    const size_t count = sample->n_needles * (1 + (size_t)task->restate);
    size_t spare = room - natsl_needle_context_bytes(task, sample);
    event *events = natsl_alloc(count, sizeof *events, "places of needles");
    char *hay = NULL;
    if (!events) return NATSL_ERR_NOMEM;
    sample->context = (int64_t)s->at;
    if (!task->hay) {
        const size_t units =
            task->bare ? 0 : (spare + 1) / (UNIT + 1); /* lines are joined: one "\n" fewer than lines */
        if (task->bare) draw_order(task, asked, rng, sample->n_needles, events);
        else draw_events(task, asked, units + 1, NULL, rng, sample->n_needles, events);
        write_noise(s, task, units, events, count, sample);
    } else {
        if (!(hay = draw_hay(task->hay, rng, &spare))) {
            natsl_free(events);
            return NATSL_ERR_NOMEM;
        }
        if (spare > 0) draw_events(task, asked, spare, hay, rng, sample->n_needles, events);
        else draw_events(task, asked, 1, NULL, rng, sample->n_needles, events);
        write_text(s, task, hay, spare, events, count, sample);
    }
    sample->context_end = (int64_t)s->at;
    sample->n_again = sample->n_answers;
    for (size_t i = 0; i < sample->n_needles; i++)
        sample->needles[i].depth =
            (double)(sample->needles[i].first - sample->context) / (double)(sample->context_end - sample->context);
    natsl_free(hay);
    natsl_free(events);
    return NATSL_OK;
}
