/* options.c - parsing of the command line. See options.h. */
#include "options.h"

#include "core.h"

#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MAX_OPTIONS 48

static const char *const state_pass_words[] = {"auto", "relay", "scan", NULL};   /* order of natsl_state_pass */
static const char *const route_words[] = {"learned", "softmax", "linear", NULL}; /* order of natsl_route */
static const char *const storage_words[] = {"f32", "bf16", NULL};                /* order of natsl_storage */
static const char *const kernels_words[] = {"fast", "ref", NULL};                /* order of natsl_kernel_set */

static const char *const balance_words[] = {"auto", "on", "off", NULL}; /* order of natsl_balance */

#define AT(member) offsetof(natsl_args, member)

const natsl_option natsl_common_options[] = {
    {.kind = NATSL_OPT_COUNT,
     .name = "threads",
     .value = "N",
     .offset = AT(threads),
     .least = 0,
     .most = 4096,
     .help = "threads per rank; 0: OMP_NUM_THREADS, or the cores that this rank may use"},
    {.kind = NATSL_OPT_COUNT,
     .name = "pass-tokens",
     .value = "N",
     .offset = AT(pass_tokens),
     .least = 0,
     .most = (int64_t)1 << 40,
     .help = "most tokens read at once by all ranks together; bounds memory; 0: automatic"},
    {.kind = NATSL_OPT_COUNT,
     .name = "stage-tokens",
     .value = "N",
     .offset = AT(stage_tokens),
     .least = 0,
     .most = (int64_t)1 << 40,
     .help = "tokens of a rank that pass a layer together; bounds its buffers; 0: automatic"},
    {.kind = NATSL_OPT_WORD,
     .name = "state-pass",
     .value = "HOW",
     .offset = AT(state_pass),
     .words = state_pass_words,
     .help = "how states go from rank to rank: relay (exact), scan (for many ranks) or auto: the cheaper"},
    {.kind = NATSL_OPT_WORD,
     .name = "balance",
     .value = "HOW",
     .offset = AT(balance),
     .words = balance_words,
     .help = "on: ranks read ranges of equal predicted cost; off: of equal length; auto: as the prediction says"},
    {.kind = NATSL_OPT_WORD,
     .name = "route",
     .value = "HOW",
     .offset = AT(route),
     .words = route_words,
     .help = "learned, or every chunk softmax or linear, to measure what the gate buys"},
    {.kind = NATSL_OPT_WORD,
     .name = "kernels",
     .value = "SET",
     .offset = AT(kernels),
     .words = kernels_words,
     .help = "fast, or ref: plain and slow, for checks"},
    {.kind = NATSL_OPT_WORD,
     .name = "weights",
     .value = "TYPE",
     .offset = AT(weights),
     .words = storage_words,
     .help = "f32, or bf16: half the memory for matrices"},
    {.kind = NATSL_OPT_WORD,
     .name = "kept",
     .value = "TYPE",
     .offset = AT(kept),
     .words = storage_words,
     .help = "f32, or bf16: half the memory for kept keys and values"},
    {.kind = NATSL_OPT_FLAG,
     .name = "dry-run",
     .offset = AT(dry_run),
     .help = "print the plan (ranges, memory, bytes to exchange), write nothing"},
    {.kind = NATSL_OPT_FLAG, .name = "quiet", .offset = AT(quiet), .help = "no progress and no report"},
    {.kind = NATSL_OPT_TEXT,
     .name = "log-json",
     .value = "FILE",
     .offset = AT(log_json),
     .help = "write start, progress and statistics as JSON lines"},
    {.kind = NATSL_OPT_REAL,
     .name = "watchdog",
     .value = "S",
     .offset = AT(watchdog_s),
     .high = 1e6,
     .help = "end the job when no rank makes progress for S seconds, and say where each is; 0 (default): never"},
    {.kind = NATSL_OPT_FLAG, .name = "help", .offset = AT(help), .help = "print this and do nothing"},
    {.kind = NATSL_OPT_END},
};

int natsl_parse_count(const char *text, int64_t *out)
{
    char *end = NULL;
    if (*text < '0' || *text > '9') return 0; /* strtoll would take blanks and signs */
    errno = 0;
    const long long value = strtoll(text, &end, 10);
    if (errno != 0) return 0;
    const int shift = *end == 'K' ? 10 : *end == 'M' ? 20 : *end == 'G' ? 30 : 0;
    if (shift) end++;
    if (*end != '\0' || value > INT64_MAX >> shift) return 0;
    *out = (int64_t)value << shift;
    return 1;
}

static natsl_status set_word(const natsl_option *o, const char *text, int *out)
{
    char list[256] = "";
    for (int i = 0; o->words[i]; i++) {
        if (strcmp(text, o->words[i]) == 0) {
            *out = i;
            return NATSL_OK;
        }
        const size_t used = strlen(list);
        (void)snprintf(list + used, sizeof list - used, "%s%s", i ? (o->words[i + 1] ? ", " : " or ") : "",
                       o->words[i]);
    }
    return natsl_fail(NATSL_ERR_USAGE, "--%s: '%s' is unknown, expected %s", o->name, text, list);
}

static natsl_status set_real(const natsl_option *o, const char *text, double *out)
{
    char *end = NULL;
    const int starts = (*text >= '0' && *text <= '9') || *text == '.' || *text == '-';
    const double value = starts ? strtod(text, &end) : NAN;
    if (!starts || end == text || *end != '\0' || !isfinite(value) || value < o->low || value > o->high ||
        (o->open && value <= o->low))
        return natsl_fail(NATSL_ERR_USAGE, "--%s: '%s', expected a number %s %g and at most %g", o->name, text,
                          o->open ? "above" : "of at least", o->low, o->high);
    *out = value;
    return NATSL_OK;
}

static natsl_status set_option(const natsl_option *o, const char *text, natsl_args *args)
{
    char *base = (char *)args;
    int64_t count = 0;
    switch (o->kind) {
    case NATSL_OPT_FLAG: *(int *)(void *)(base + o->offset) = 1; return NATSL_OK;
    case NATSL_OPT_TEXT:
        if (*text == '\0' && o->offset != AT(prompt))
            return natsl_fail(NATSL_ERR_USAGE, "--%s: empty, expected %s", o->name, o->value);
        *(const char **)(void *)(base + o->offset) = text;
        return NATSL_OK;
    case NATSL_OPT_WORD: return set_word(o, text, (int *)(void *)(base + o->offset));
    case NATSL_OPT_REAL: return set_real(o, text, (double *)(void *)(base + o->offset));
    case NATSL_OPT_COUNT:
        if (!natsl_parse_count(text, &count) || count < o->least || count > o->most)
            return natsl_fail(NATSL_ERR_USAGE,
                              "--%s: '%s', expected a whole number from %lld to %lld (K, M, G: times 1024, "
                              "1024^2, 1024^3)",
                              o->name, text, (long long)o->least, (long long)o->most);
        *(int64_t *)(void *)(base + o->offset) = count;
        return NATSL_OK;
    case NATSL_OPT_STOPS:
        if (*text == '\0') return natsl_fail(NATSL_ERR_USAGE, "--%s: empty, expected one byte or more", o->name);
        if (args->n_stops == NATSL_MAX_STOPS)
            return natsl_fail(NATSL_ERR_USAGE, "--%s: given too often, expected at most %d times", o->name,
                              NATSL_MAX_STOPS);
        args->stops[args->n_stops++] = text;
        return NATSL_OK;
    default: return natsl_fail(NATSL_ERR_INTERNAL, "--%s: an option without kind", o->name);
    }
}

/** Name of a word's option, without "--" and "=...". */
static int same_name(const char *word, const char *name)
{
    const size_t length = strcspn(word + 2, "=");
    return strlen(name) == length && strncmp(word + 2, name, length) == 0;
}

natsl_status natsl_options_parse(const char *command, const natsl_option *own, const char *operand, int least, int most,
                                 int argc, char **argv, natsl_args *out)
{
    const natsl_option *table[MAX_OPTIONS];
    const char *given[MAX_OPTIONS] = {0};
    struct option names[MAX_OPTIONS + 1] = {{0}};
    int n = 0;
    for (const natsl_option *o = own; o->kind; o++) table[n++] = o;
    for (const natsl_option *o = natsl_common_options; o->kind; o++) table[n++] = o;
    for (int i = 0; i < n; i++)
        names[i] = (struct option){table[i]->name, table[i]->value ? required_argument : no_argument, NULL, 256 + i};

    /* '-': words that are no options come as 1, in order, so that every word looked at is argv[before]; ':': a missing
     * argument is told from an unknown option. */
    opterr = 0;
    optind = 1;
    for (;;) {
        const int before = optind;
        const int c = getopt_long(argc, argv, "-:", names, NULL);
        if (c == -1) break;
        const char *word = argv[before];
        if (c == 1) {
            if (out->n_operands >= most && most > 1)
                return natsl_fail(NATSL_ERR_USAGE, "%s: more than %d %ss, expected no more", command, most, operand);
            if (out->n_operands >= most)
                return natsl_fail(NATSL_ERR_USAGE, "%s: extra argument '%s', expected %s%s; see natsl help %s", command,
                                  word, most == 0 ? "options only" : "one ", most == 0 ? "" : operand, command);
            out->operands[out->n_operands++] = word;
            continue;
        }
        if (c == ':') return natsl_fail(NATSL_ERR_USAGE, "%s: %s has no argument, expected one", command, word);
        if (c == '?' && optopt >= 256)
            return natsl_fail(NATSL_ERR_USAGE, "%s: --%s takes no argument", command, table[optopt - 256]->name);
        /* getopt takes abbreviations; those would change their meaning with every new option */
        if (c == '?' || !same_name(word, table[c - 256]->name))
            return natsl_fail(NATSL_ERR_USAGE, "%s: unknown option %s, expected one of those in natsl help %s", command,
                              word, command);
        const natsl_option *o = table[c - 256];
        const char *value = optarg ? optarg : "";
        if (o->kind != NATSL_OPT_STOPS && given[c - 256] && strcmp(given[c - 256], value) != 0)
            return natsl_fail(NATSL_ERR_USAGE, "--%s: given twice, as '%s' and '%s', expected one value", o->name,
                              given[c - 256], value);
        given[c - 256] = value;
        const natsl_status st = set_option(o, value, out);
        if (st != NATSL_OK) return st;
    }
    for (; optind < argc; optind++) { /* after "--" */
        if (out->n_operands >= most)
            return natsl_fail(NATSL_ERR_USAGE, "%s: extra argument '%s'; see natsl help %s", command, argv[optind],
                              command);
        out->operands[out->n_operands++] = argv[optind];
    }
    if (out->help) return NATSL_OK;
    for (int i = 0; i < n; i++) {
        if (given[i] || table[i]->need == NATSL_OPTIONAL) continue;
        if (table[i]->need == NATSL_REQUIRED || !out->dry_run)
            return natsl_fail(NATSL_ERR_USAGE, "%s: --%s is missing, expected --%s %s; see natsl help %s", command,
                              table[i]->name, table[i]->name, table[i]->value, command);
    }
    if (out->n_operands < least)
        return natsl_fail(NATSL_ERR_USAGE, "%s: %s is missing; see natsl help %s", command, operand, command);
    return NATSL_OK;
}

const char *natsl_option_word(const natsl_args *args, const char *name)
{
    const natsl_option *o = natsl_common_options;
    int word = 0;
    while (strcmp(o->name, name) != 0) o++; /* names are the program's own */
    memcpy(&word, (const char *)args + o->offset, sizeof word);
    return o->words[word];
}

const char *natsl_options_text(const natsl_args *args, char *text, size_t size)
{
    static const char *const names[] = {"weights", "kept", "route", "kernels", "state-pass"};
    size_t used = 0;
    text[0] = '\0';
    for (size_t i = 0; i < sizeof names / sizeof names[0] && used < size; i++) {
        const int n =
            snprintf(text + used, size - used, "%s%s=%s", i ? " " : "", names[i], natsl_option_word(args, names[i]));
        used += n > 0 ? (size_t)n : 0;
    }
    return text;
}

void natsl_options_print(FILE *to, const natsl_option *options)
{
    for (const natsl_option *o = options; o->kind; o++) {
        char left[64];
        (void)snprintf(left, sizeof left, "--%s%s%s", o->name, o->value ? " " : "", o->value ? o->value : "");
        fprintf(to, "  %-20s %s%s\n", left, o->help, o->need ? " (required)" : "");
    }
}
