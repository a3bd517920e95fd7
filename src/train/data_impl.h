/* data_impl.h - sources of training data as parsed (data_spec.c), their files (corpus.h) and windows (data.c, data_needle.c). */
#ifndef NATSL_DATA_IMPL_H
#define NATSL_DATA_IMPL_H

#include "copy.h"
#include "core.h"
#include "corpus.h"
#include "data.h"
#include "fields.h"
#include "made_text.h"
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
    int special;            /* special tokens come before the text */
    double bytes_per_token; /* of a sample, about */
    double needle_bytes;    /* of natsl_needle_bytes, that surely are no more than a token */
    range pairs;            /* mqar */
    int32_t vocabulary;
    int random_non_queries;
    natsl_copy_task copy;
} source;

struct natsl_data {
    source *sources;
    size_t count;
    uint64_t seed;
    const natsl_tokenizer *tokenizer; /* NULL: one token is one byte, or there are no made texts */
    natsl_made_text *made;            /* of the tokenizer */
    char where[480];                  /* for messages */
    /* Turns of a part: of the windows that come to source k (all that no source before it takes), turn[k] * 2^-32 are
     * its own; 0: it has none of this part. The last source that has any takes all. */
    uint64_t turn[2][64];
};

#define MOST_SOURCES (sizeof((natsl_data *)0)->turn[0] / sizeof((natsl_data *)0)->turn[0][0])

/** One object of the specification. Zeroed before; what it opened is closed by natsl_source_close also after an error. d: what is
 * known before the sources are. */
natsl_status natsl_source_parse(natsl_data *d, const json_t *spec, const char *where, const char *directory,
                                const natsl_config *config, const char *tokenizer, const natsl_corpus_ranks *ranks,
                                source *out);
void natsl_source_close(source *s);

/** Tokens [*first, *first + *count) of the corpus belong to a part. */
void natsl_source_region(const source *s, natsl_data_part part, int64_t *first, int64_t *count);

/** What random numbers are for, beside the source and the part. */
typedef enum natsl_purpose { NATSL_FOR_WINDOW = 0, NATSL_FOR_COUNTS, NATSL_FOR_SHIFT, NATSL_FOR_ORDER } natsl_purpose;
natsl_rng natsl_data_generator(const natsl_data *d, size_t k, natsl_data_part part, natsl_purpose purpose,
                               uint64_t index);
int natsl_data_draw(natsl_rng *rng, range r);

/** Window number `turn` of source k, a needle source (natsl_data_window_told). */
natsl_status natsl_needle_window(natsl_data *d, size_t k, natsl_data_part part, uint64_t turn, int64_t tokens,
                                 int32_t *ids, int32_t *targets, int64_t *count, natsl_answer *answers,
                                 size_t *n_answers, int8_t *told);
/** Tokens in which a window surely fits; of a tokenizer.json: in which all of many that were drawn did. */
natsl_status natsl_needle_least(natsl_data *d, const source *s, int64_t *least);
/** With a tokenizer.json: whether it can write the text, and how many bytes its tokens have. NATSL_ERR_INPUT. */
natsl_status natsl_needle_prepare(natsl_data *d, source *s, const char *where);

#endif
