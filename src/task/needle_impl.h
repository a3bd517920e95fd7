/* needle_impl.h - between needle.c (words of a sample) and needle_fill.c (the haystack and where needles go). */
#ifndef NATSL_NEEDLE_IMPL_H
#define NATSL_NEEDLE_IMPL_H

#include "core.h"
#include "needle.h"

/** Where text goes. text NULL: it is only measured. */
typedef struct sink {
    char *text;
    size_t at, room;
} sink;

void natsl_sink_put(sink *s, const char *bytes, size_t count);
void natsl_sink_word(sink *s, const char *word);

/** "One of the special magic numbers for K is: V." */
void natsl_needle_sentence(sink *s, natsl_word_kind value_kind, const char *key, const char *value);

/** Writes the context: as much haystack as `room` bytes leave beside the needles, which all fit. Sets first and depth
 * of needles; appends the answers of those that come again. *asked: a key whose needles go to task->depth. */
natsl_status natsl_needle_fill(const natsl_needle_task *task, int asked, size_t room, natsl_rng *rng, sink *s,
                               natsl_needle_sample *sample);

/** Bytes of the context beside the haystack: each needle and what joins it. */
size_t natsl_needle_context_bytes(const natsl_needle_task *task, const natsl_needle_sample *sample);

#endif
