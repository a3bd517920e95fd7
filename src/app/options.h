/* options.h - what stands on the command line, checked. One table entry describes an option for parsing and for help.
 * Owns: the list of stop texts. MPI: none; every rank parses the same words to the same result.
 * Tests: tests/cli/usage.sh */
#ifndef NATSL_APP_OPTIONS_H
#define NATSL_APP_OPTIONS_H

#include <natsl/context.h>
#include <natsl/status.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define NATSL_MAX_STOPS    64
#define NATSL_MAX_OPERANDS 128
#define NATSL_MAX_DOCS     4096 /* on the command line; a list has room for more */

/** Values of all options of all commands; text is borrowed from argv. */
typedef struct natsl_args {
    /* common */
    int64_t threads, pass_tokens, stage_tokens;    /* 0: automatic */
    int state_pass, route, kernels, weights, kept; /* index into the option's words */
    int balance;
    int dry_run, quiet, help;
    const char *log_json;
    double watchdog_s;
    /* of single commands */
    const char *model, *config, *out, *context, *prompt;
    const char *write;
    const char *checkpoint; /* score, read, eval */
    double checkpoint_every;
    int resume;
    int tokenizer; /* 0 byte, 1 none */
    int64_t seed, max_new, top_k;
    double temperature, top_p;
    int json, special_tokens, ignore_eos;
    const char *tokenizer_file;              /* tokenize, eval */
    const char *parts, *lengths, *json_file; /* bench */
    int64_t repeat, context_tokens, decode_tokens;
    double seconds;
    int no_logits;
    const char *token_list, *rank_list, *machine; /* plan */
    int64_t ranks_per_node;
    double gflops, latency_us, bandwidth, share;
    int64_t shard_size;       /* export */
    int64_t group, log_every; /* train */
    int changed;
    const char *suite, *tasks, *haystack, *word_lists, *squad, *hotpot, *eval_seed; /* eval */
    const char *heatmap;                                                            /* report */
    int mode, keep_inputs, data_only, metric, keep_going, fill, score_only;
    int64_t ranks_per_doc; /* score, read: several documents; also keep_going */
    int64_t samples, ranks_per_sample, questions, pairs, vocabulary, bins;
    const char *stops[NATSL_MAX_STOPS];
    size_t n_stops;
    const char *operands[NATSL_MAX_DOCS];
    int n_operands;
} natsl_args;

typedef enum natsl_option_kind {
    NATSL_OPT_END = 0,
    NATSL_OPT_FLAG,  /* int, set to 1 */
    NATSL_OPT_COUNT, /* int64_t in least .. most; K, M, G multiply by powers of 1024 */
    NATSL_OPT_REAL,  /* double in low .. high (low itself excluded when `open`) */
    NATSL_OPT_WORD,  /* int: index into words */
    NATSL_OPT_TEXT,  /* const char * */
    NATSL_OPT_STOPS  /* repeatable text */
} natsl_option_kind;

typedef enum natsl_need { NATSL_OPTIONAL = 0, NATSL_REQUIRED, NATSL_REQUIRED_UNLESS_DRY } natsl_need;

typedef struct natsl_option {
    natsl_option_kind kind;
    const char *name;  /* without "--" */
    const char *value; /* how help names the argument; NULL for flags */
    const char *help;
    size_t offset; /* in natsl_args */
    natsl_need need;
    int64_t least, most;
    double low, high;
    int open;
    const char *const *words; /* ended by NULL */
} natsl_option;

/* Entries that several commands have, with their own words where these differ. */

#define NATSL_OPTION_TEXT(word, argument, member, necessity, text)                                                     \
    {                                                                                                                  \
        .kind = NATSL_OPT_TEXT, .name = word, .value = argument, .offset = offsetof(natsl_args, member),               \
        .need = necessity, .help = text                                                                                \
    }
#define NATSL_OPTION_MODEL           NATSL_OPTION_TEXT("model", "M.h5", model, NATSL_REQUIRED, "model file")
#define NATSL_OPTION_OUT(file, text) NATSL_OPTION_TEXT("out", file, out, NATSL_REQUIRED_UNLESS_DRY, text)
/** Checkpoints of a document being read (resume.h). */
#define NATSL_OPTIONS_CHECKPOINTS                                                                                      \
    NATSL_OPTION_TEXT("checkpoint", "DIR", checkpoint, NATSL_OPTIONAL,                                                 \
                      "keep checkpoints in DIR, and make one when SIGTERM, SIGINT or SIGUSR1 comes"),                  \
    {                                                                                                                  \
        .kind = NATSL_OPT_REAL, .name = "checkpoint-every", .value = "SECONDS",                                        \
        .offset = offsetof(natsl_args, checkpoint_every), .low = 0.0, .high = 1e9,                                     \
        .help = "time between checkpoints (300); 0: only when a signal comes"                                          \
    }
#define NATSL_OPTIONS_CHECKPOINT                                                                                       \
    NATSL_OPTIONS_CHECKPOINTS,                                                                                         \
    {                                                                                                                  \
        .kind = NATSL_OPT_FLAG, .name = "resume", .offset = offsetof(natsl_args, resume),                              \
        .help = "go on from the newest whole checkpoint in DIR, on any number of ranks; begin where there is none"     \
    }
#define NATSL_OPTION_SPECIAL                                                                                           \
    {                                                                                                                  \
        .kind = NATSL_OPT_FLAG, .name = "special-tokens", .offset = offsetof(natsl_args, special_tokens),              \
        .help = "with the special tokens that the model's tokenizer.json puts around a text"                           \
    }
/** Several documents (documents.h). */
#define NATSL_OPTIONS_DOCUMENTS                                                                                        \
    {.kind = NATSL_OPT_COUNT,                                                                                          \
     .name = "ranks-per-doc",                                                                                          \
     .value = "N",                                                                                                     \
     .offset = offsetof(natsl_args, ranks_per_doc),                                                                    \
     .most = 1 << 20,                                                                                                  \
     .help = "several DOCs: ranks that read one together; 0 (default): by length, and no fewer than memory wants"},    \
    {                                                                                                                  \
        .kind = NATSL_OPT_FLAG, .name = "keep-going", .offset = offsetof(natsl_args, keep_going),                      \
        .help = "several DOCs: leave out those that fail, and tell at the end"                                         \
    }
/** How tokens are chosen (natsl_sampling): temperature, top-k, top-p. */
#define NATSL_OPTIONS_SAMPLING                                                                                         \
    {.kind = NATSL_OPT_REAL,                                                                                           \
     .name = "temperature",                                                                                            \
     .value = "T",                                                                                                     \
     .offset = offsetof(natsl_args, temperature),                                                                      \
     .low = 0.0,                                                                                                       \
     .high = 1e6,                                                                                                      \
     .help = "0 (default): always the most probable token"},                                                           \
        {.kind = NATSL_OPT_COUNT,                                                                                      \
         .name = "top-k",                                                                                              \
         .value = "K",                                                                                                 \
         .offset = offsetof(natsl_args, top_k),                                                                        \
         .most = INT32_MAX,                                                                                            \
         .help = "choose among the K most probable tokens; 0 (default): all"},                                         \
    {                                                                                                                  \
        .kind = NATSL_OPT_REAL, .name = "top-p", .value = "P", .offset = offsetof(natsl_args, top_p), .low = 0.0,      \
        .high = 1.0, .open = 1, .help = "choose among the fewest tokens that reach probability P; 1 (default): all"    \
    }

/** Options that every command takes. */
extern const natsl_option natsl_common_options[];

/** Reads the words after the command's name.
 * \param command its name, for messages.   \param own its options, ended by NATSL_OPT_END.
 * \param operand how a missing operand is named ("DOC"); least, most: how many may stand there.
 * \return NATSL_ERR_USAGE with a line that says what was expected. With --help nothing is required. */
natsl_status natsl_options_parse(const char *command, const natsl_option *own, const char *operand, int least, int most,
                                 int argc, char **argv, natsl_args *out);

/** A whole number with an optional K, M or G (powers of 1024); false when it is none or does not fit int64. */
int natsl_parse_count(const char *text, int64_t *out);

/** The word of a common option that takes words ("route": "learned"), as `args` have it. */
const char *natsl_option_word(const natsl_args *args, const char *name);
/** "weights=f32 kept=f32 route=learned kernels=fast state-pass=auto" in text [size]: the common options on which numbers depend. Returned. */
const char *natsl_options_text(const natsl_args *args, char *text, size_t size);

/** The help lines of a table. */
void natsl_options_print(FILE *to, const natsl_option *options);

#endif
