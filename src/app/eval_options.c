/* eval_options.c - what the command line of natsl eval asks for. See eval_job.h. */
#include "eval_job.h"

#include <stdlib.h>
#include <string.h>

#define MOST_SAMPLES 1000000
#define MOST_LENGTH  ((int64_t)1 << 31)

const char *const natsl_eval_mode_words[] = {"spread", "exact", NULL};
const char *const natsl_eval_metric_words[] = {"all", "part", "integer", "word", NULL}; /* order of natsl_eval_metric */
const char *const natsl_eval_fill_words[] = {"random", "zero", NULL};
const char *const natsl_eval_keep_words[] = {"cut", "none", "all", NULL};

#define AT(member) offsetof(natsl_args, member)
const natsl_option natsl_eval_options[] = {
    {.kind = NATSL_OPT_TEXT,
     .name = "model",
     .value = "M.h5",
     .offset = AT(model),
     .help = "model file (needed, but for --data-only with a --tokenizer)"},
    {.kind = NATSL_OPT_TEXT,
     .name = "suite",
     .value = "NAME",
     .offset = AT(suite),
     .need = NATSL_REQUIRED,
     .help = "benchmark: ruler, niah, passkey, number, kv, mqar; of your files: jsonl, babilong, perplexity"},
    {.kind = NATSL_OPT_TEXT,
     .name = "tasks",
     .value = "LIST",
     .offset = AT(tasks),
     .help = "tasks with commas between them (default: all of the suite)"},
    {.kind = NATSL_OPT_WORD,
     .name = "mode",
     .value = "HOW",
     .offset = AT(mode),
     .words = natsl_eval_mode_words,
     .help = "spread: needles evenly over all depths, or exact: the very samples of RULER's own program"},
    {.kind = NATSL_OPT_TEXT,
     .name = "lengths",
     .value = "LIST",
     .offset = AT(lengths),
     .help =
         "tokens of prompt and answer together, with commas between them (4K,64K,1M); not for jsonl; perplexity: of "
         "windows (default: whole documents)"},
    {.kind = NATSL_OPT_COUNT,
     .name = "samples",
     .value = "N",
     .offset = AT(samples),
     .least = 1,
     .most = MOST_SAMPLES,
     .help = "of each task and length (default: 100; jsonl: all)"},
    {.kind = NATSL_OPT_TEXT,
     .name = "seed",
     .value = "S",
     .offset = AT(eval_seed),
     .help = "of all samples (default: 0; exact: 42, as upstream)"},
    {.kind = NATSL_OPT_TEXT,
     .name = "haystack",
     .value = "FILE.txt",
     .offset = AT(haystack),
     .help = "text in which needles are hidden, for the tasks that want one"},
    {.kind = NATSL_OPT_TEXT,
     .name = "squad",
     .value = "FILE.json",
     .offset = AT(squad),
     .help = "SQuAD's dev-v2.0.json, for qa_1"},
    {.kind = NATSL_OPT_TEXT,
     .name = "hotpot",
     .value = "FILE.json",
     .offset = AT(hotpot),
     .help = "HotpotQA's hotpot_dev_distractor_v1.json, for qa_2"},
    {.kind = NATSL_OPT_TEXT,
     .name = "word-lists",
     .value = "DIR",
     .offset = AT(word_lists),
     .help = "lists of wonderwords, for exact samples (default: where tools/setup --word-lists puts them)"},
    {.kind = NATSL_OPT_COUNT,
     .name = "questions",
     .value = "N",
     .offset = AT(questions),
     .least = 1,
     .most = 1 << 20,
     .help = "of kv: samples that ask about one object, which is read once (default: 1)"},
    {.kind = NATSL_OPT_COUNT,
     .name = "pairs",
     .value = "N",
     .offset = AT(pairs),
     .least = 1,
     .most = 1 << 30,
     .help = "of mqar: of key and value (default: a quarter of the length, or as many as the vocabulary has)"},
    {.kind = NATSL_OPT_COUNT,
     .name = "vocabulary",
     .value = "N",
     .offset = AT(vocabulary),
     .least = 4,
     .most = INT32_MAX,
     .help = "of mqar: ids that samples have (default: all of the model's)"},
    {.kind = NATSL_OPT_WORD,
     .name = "fill",
     .value = "WHAT",
     .offset = AT(fill),
     .words = natsl_eval_fill_words,
     .help = "of mqar: ids between questions: random (default) or zero"},
    {.kind = NATSL_OPT_COUNT,
     .name = "bins",
     .value = "N",
     .offset = AT(bins),
     .least = 1,
     .most = INT32_MAX,
     .help = "of perplexity: tokens of a bin of positions (default: bins end at 64, 128, 256 ...)"},
    {.kind = NATSL_OPT_WORD,
     .name = "metric",
     .value = "HOW",
     .offset = AT(metric),
     .words = natsl_eval_metric_words,
     .help = "of jsonl: share of expected outputs found (all), any of them (part), as first integer, or as word"},
    {.kind = NATSL_OPT_FLAG,
     .name = "keep-going",
     .offset = AT(keep_going),
     .help =
         "leave out lines of a file that hold no sample, and count them; samples that do not fit count as failures"},
    {.kind = NATSL_OPT_FLAG,
     .name = "data-only",
     .offset = AT(data_only),
     .help = "write the samples in RULER's layout, run no model"},
    {.kind = NATSL_OPT_FLAG,
     .name = "score-only",
     .offset = AT(score_only),
     .help = "score the predictions in FILE.jsonl ..., run no model"},
    {.kind = NATSL_OPT_TEXT,
     .name = "tokenizer",
     .value = "KIND",
     .offset = AT(tokenizer_file),
     .help =
         "what counts as a token of --data-only: byte, (exact) whitespace: a word, or a tokenizer.json; default: the "
         "model's"},
    NATSL_OPTION_SPECIAL,
    NATSL_OPTION_OUT("DIR", "directory for predictions and results"),
    {.kind = NATSL_OPT_COUNT,
     .name = "max-new",
     .value = "N",
     .offset = AT(max_new),
     .least = 1,
     .most = 1 << 20,
     .help = "tokens to generate (default: the task's own number, 128 for needles)"},
    {.kind = NATSL_OPT_STOPS,
     .name = "stop",
     .value = "TEXT",
     .help = "end an answer before this text; may be given several times"},
    NATSL_OPTIONS_SAMPLING,
    {.kind = NATSL_OPT_COUNT,
     .name = "ranks-per-sample",
     .value = "N",
     .offset = AT(ranks_per_sample),
     .least = 0,
     .most = 1 << 20,
     .help = "ranks that read a sample together; 0 (default): the fewest whose memory is enough"},
    {.kind = NATSL_OPT_WORD,
     .name = "keep-inputs",
     .value = "HOW",
     .offset = AT(keep_inputs),
     .words = natsl_eval_keep_words,
     .help = "prompts beside the predictions: cut (default: both ends), none or all"},
    NATSL_OPTIONS_CHECKPOINTS,
    {.kind = NATSL_OPT_END},
};

/* ---- what is asked for ----------------------------------------------------------------------------------------------- */

static natsl_status add_task(natsl_eval_job *j, const natsl_eval_task *task)
{
    for (size_t i = 0; i < j->n_tasks; i++) {
        if (j->tasks[i] == task) return natsl_fail(NATSL_ERR_USAGE, "--tasks: %s is there twice", task->name);
    }
    if (j->n_tasks == NATSL_EVAL_TASKS) return natsl_fail(NATSL_ERR_USAGE, "--tasks: too many");
    j->tasks[j->n_tasks++] = task;
    return NATSL_OK;
}

natsl_status natsl_eval_parse_tasks(natsl_eval_job *j)
{
    const natsl_args *a = &j->app->args;
    natsl_status st = NATSL_OK;
    char known[512] = "", name[128];
    for (const natsl_eval_task *t = natsl_eval_tasks; t->name; t++) {
        if (strcmp(t->suite, a->suite) != 0) continue;
        const size_t used = strlen(known);
        (void)snprintf(known + used, sizeof known - used, "%s%s", used ? ", " : "", t->name);
        if (!a->tasks && (st = add_task(j, t)) != NATSL_OK) return st;
    }
    if (!known[0])
        return natsl_fail(
            NATSL_ERR_USAGE,
            "--suite: '%s' is unknown, expected ruler, niah, passkey, number, kv, mqar, jsonl, babilong or "
            "perplexity",
            a->suite);
    for (const char *p = a->tasks; p; p = *p ? p + 1 : NULL) {
        const size_t length = strcspn(p, ",");
        (void)snprintf(name, sizeof name, "%.*s", (int)(length < 100 ? length : 100), p);
        const natsl_eval_task *task = natsl_eval_task_find(a->suite, name);
        if (!task) return natsl_fail(NATSL_ERR_USAGE, "--tasks: '%s' is unknown, expected a list of %s", name, known);
        if ((st = add_task(j, task)) != NATSL_OK) return st;
        p += length;
    }
    return NATSL_OK;
}

static int longest_first(const void *a, const void *b)
{
    const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x > y ? -1 : x < y;
}

natsl_status natsl_eval_parse_lengths(natsl_eval_job *j)
{
    char word[64];
    for (const char *p = j->app->args.lengths; p; p = *p ? p + 1 : NULL) {
        const size_t length = strcspn(p, ",");
        int64_t tokens = 0;
        (void)snprintf(word, sizeof word, "%.*s", (int)(length < 60 ? length : 60), p);
        if (!natsl_parse_count(word, &tokens) || tokens < 1 || tokens > MOST_LENGTH)
            return natsl_fail(NATSL_ERR_USAGE,
                              "--lengths: '%s', expected whole numbers from 1 to 2G with commas between them", word);
        for (size_t i = 0; i < j->n_lengths; i++) {
            if (j->lengths[i] == tokens) return natsl_fail(NATSL_ERR_USAGE, "--lengths: %s is there twice", word);
        }
        if (j->n_lengths == NATSL_EVAL_LENGTHS)
            return natsl_fail(NATSL_ERR_USAGE, "--lengths: too many, expected at most %d", NATSL_EVAL_LENGTHS);
        j->lengths[j->n_lengths++] = tokens;
        p += length;
    }
    qsort(j->lengths, j->n_lengths, sizeof *j->lengths, longest_first);
    return NATSL_OK;
}

/** The same of --score-only. */
static natsl_status check_score_only(const natsl_args *a)
{
    if (a->n_operands == 0) return natsl_fail(NATSL_ERR_USAGE, "--score-only: scores what files, expected FILE.jsonl");
    if (a->data_only || a->model || a->tasks)
        return natsl_fail(NATSL_ERR_USAGE,
                          "--score-only: runs no model and makes no samples, expected no --model, --tasks "
                          "or --data-only with it");
    if (strcmp(a->suite, "perplexity") == 0)
        return natsl_fail(NATSL_ERR_USAGE, "--score-only: --suite perplexity has no predictions");
    return NATSL_OK;
}

natsl_status natsl_eval_check_options(const natsl_args *a)
{
    if (a->score_only) return check_score_only(a);
    const natsl_eval_files files = natsl_eval_files_of(a->suite);
    const int exact = a->mode == NATSL_EVAL_EXACT;
    static const char *const need[] = {"", "FILE.jsonl", "a file of bAbI's", "a text"};
    if (files != NATSL_FILES_NONE && a->n_operands == 0)
        return natsl_fail(NATSL_ERR_USAGE, "eval: --suite %s without a file, expected %s", a->suite, need[files]);
    if (files == NATSL_FILES_NONE && a->n_operands > 0)
        return natsl_fail(NATSL_ERR_USAGE,
                          "eval: extra argument '%s', expected --suite jsonl, babilong or perplexity with it",
                          a->operands[0]);
    if (files == NATSL_FILES_LINES ? a->lengths || a->tasks : !a->lengths && files != NATSL_FILES_DOCUMENTS)
        return natsl_fail(NATSL_ERR_USAGE,
                          files == NATSL_FILES_LINES
                              ? "eval: --lengths and --tasks are not for --suite jsonl: its files say what there is"
                              : "eval: --lengths is missing, expected --lengths LIST; see natsl help eval");
    if (files != NATSL_FILES_NONE && a->tasks)
        return natsl_fail(NATSL_ERR_USAGE, "--tasks: is not for --suite %s: its tasks are its files", a->suite);
    if (exact && strcmp(a->suite, "ruler") != 0)
        return natsl_fail(NATSL_ERR_USAGE, "--mode: exact is for --suite ruler, expected spread");
    if (a->questions > 0 && strcmp(a->suite, "kv") != 0)
        return natsl_fail(NATSL_ERR_USAGE, "--questions: is for --suite kv");
    if ((a->pairs > 0 || a->vocabulary > 0 || a->fill) && strcmp(a->suite, "mqar") != 0)
        return natsl_fail(NATSL_ERR_USAGE, "--pairs, --vocabulary and --fill are for --suite mqar");
    if (a->bins > 0 && files != NATSL_FILES_DOCUMENTS)
        return natsl_fail(NATSL_ERR_USAGE, "--bins: is for --suite perplexity");
    if (a->data_only && files == NATSL_FILES_DOCUMENTS)
        return natsl_fail(NATSL_ERR_USAGE,
                          "--data-only: is not for --suite perplexity, whose samples are parts of its files");
    const char *counted = a->tokenizer_file ? a->tokenizer_file : "";
    if (!a->model && !(a->data_only && ((counted[0] && strcmp(counted, "model") != 0) || a->vocabulary > 0)))
        return natsl_fail(NATSL_ERR_USAGE, "eval: --model is missing, expected --model M.h5; see natsl help eval");
    if (!a->checkpoint && a->checkpoint_every >= 0.0)
        return natsl_fail(NATSL_ERR_USAGE,
                          "--checkpoint-every: needs the directory of the checkpoints, expected --checkpoint DIR");
    if (counted[0] && !a->data_only)
        return natsl_fail(NATSL_ERR_USAGE, "--tokenizer: is for --data-only, a model has its own");
    if (strcmp(counted, "whitespace") == 0 && !exact)
        return natsl_fail(NATSL_ERR_USAGE,
                          "--tokenizer: whitespace is for --mode exact, expected byte or a tokenizer.json");
    if (a->special_tokens && (a->data_only || files == NATSL_FILES_DOCUMENTS))
        return natsl_fail(NATSL_ERR_USAGE, "--special-tokens: is for prompts that a model reads");
    return NATSL_OK;
}
