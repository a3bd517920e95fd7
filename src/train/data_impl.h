/* data_impl.h - sources of training data as parsed (data_spec.c), their files (corpus.h) and windows (data.c). */
#ifndef NATSL_DATA_IMPL_H
#define NATSL_DATA_IMPL_H

#include "copy.h"
#include "core.h"
#include "corpus.h"
#include "data.h"
#include "fields.h"
#include "needle.h"

typedef enum source_kind { SOURCE_TEXT = 0, SOURCE_NEEDLE, SOURCE_MQAR, SOURCE_COPY } source_kind;

typedef natsl_field_range range; /* drawn evenly from lo .. hi */

typedef struct source {
    source_kind kind;
    double weight;
    int all;                                /* every token counts, not answers alone */
    natsl_corpus *corpus;                   /* NULL: none */
    int64_t held_out;                       /* tokens [held_out, length) of the corpus are for validation */
    range keys, values, questions, restate; /* needle */
    natsl_word_kind key_kind, value_kind;
    range pairs; /* mqar */
    int32_t vocabulary;
    int random_non_queries;
    natsl_copy_task copy;
} source;

struct natsl_data {
    source *sources;
    size_t count;
    uint64_t seed;
    char where[480]; /* for messages */
    /* Turns of a part: of the windows that come to source k (all that no source before it takes), turn[k] * 2^-32 are
     * its own; 0: it has none of this part. The last source that has any takes all. */
    uint64_t turn[2][64];
};

#define MOST_SOURCES (sizeof((natsl_data *)0)->turn[0] / sizeof((natsl_data *)0)->turn[0][0])

/** One object of the specification. Zeroed before; what it opened is closed by natsl_source_close also after an error.
 */
natsl_status natsl_source_parse(const json_t *spec, const char *where, const char *directory,
                                const natsl_config *config, const char *tokenizer, const natsl_corpus_ranks *ranks,
                                source *out);
void natsl_source_close(source *s);

/** Tokens [*first, *first + *count) of the corpus belong to a part. */
void natsl_source_region(const source *s, natsl_data_part part, int64_t *first, int64_t *count);

#endif
