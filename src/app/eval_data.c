/* eval_data.c - what samples are made of, and samples written as data. See eval_job.h. */
#include "eval_job.h"

#include "agree.h"
#include "core.h"
#include "json_text.h"
#include "sha256.h"
#include "text_out.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PATH_BYTES 4096

/* ---- sources --------------------------------------------------------------------------------------------------------- */

static void read_hay(void *user, int64_t first, int64_t count, char *to) { natsl_corpus_bytes(user, first, count, to); }

/** SHA-256 of a text, piece by piece. */
static void digest_of(const natsl_corpus *text, char hex[65])
{
    char block[65536];
    natsl_sha256 digest;
    natsl_sha256_start(&digest);
    const int64_t length = natsl_corpus_length(text);
    for (int64_t at = 0; at < length;) {
        const int64_t n = length - at < (int64_t)sizeof block ? length - at : (int64_t)sizeof block;
        natsl_corpus_bytes(text, at, n, block);
        natsl_sha256_add(&digest, block, (size_t)n);
        at += n;
    }
    natsl_sha256_finish(&digest, hex);
}

static natsl_status open_text(const char *path, natsl_corpus **out)
{
    char *name = strdup(path);
    if (!name) return natsl_fail(NATSL_ERR_NOMEM, "%s: no memory", path);
    const natsl_status st = natsl_corpus_open(&name, 1, NATSL_BYTE_TOKENS, "byte", 1, NULL, out);
    free(name);
    return st;
}

/** The haystack in words, for exact samples. */
static natsl_status open_essay(natsl_eval_job *j)
{
    natsl_essay *essay = NULL;
    char *text = natsl_alloc((size_t)j->hay.length, 1, "haystack");
    if (!text) return NATSL_ERR_NOMEM;
    natsl_corpus_bytes(j->text, 0, j->hay.length, text);
    const natsl_status st = natsl_essay_create(text, (size_t)j->hay.length, j->app->args.haystack, &essay);
    natsl_free(text);
    j->sources.essay = essay;
    return st;
}

static natsl_status open_questions(natsl_eval_job *j, const char *path, int which)
{
    natsl_corpus *text = NULL;
    natsl_questions *questions = NULL;
    natsl_status st = open_text(path, &text);
    if (st == NATSL_OK && j->app->rank == 0) digest_of(text, j->documents_digest[which]);
    natsl_corpus_close(&text);
    if (st == NATSL_OK) st = natsl_questions_open(path, which, &questions);
    j->sources.questions[which] = questions;
    return st;
}

/** Where tools/setup puts the word lists; "": nowhere. */
static void usual_lists(char path[PATH_BYTES])
{
    const char *data = getenv("XDG_DATA_HOME"), *home = getenv("HOME"), *named = getenv("NATSL_WORD_LISTS");
    char list[PATH_BYTES + 32];
    path[0] = '\0';
    if (named && named[0]) (void)snprintf(path, PATH_BYTES, "%s", named);
    else if (data && data[0]) (void)snprintf(path, PATH_BYTES, "%s/natsl/word-lists", data);
    else if (home && home[0]) (void)snprintf(path, PATH_BYTES, "%s/.local/share/natsl/word-lists", home);
    (void)snprintf(list, sizeof list, "%s/nounlist.txt", path);
    if (!(named && named[0]) && access(list, R_OK) != 0) path[0] = '\0';
}

natsl_status natsl_eval_open_tokenizer(natsl_eval_job *j)
{
    natsl_app *app = j->app;
    const natsl_args *a = &app->args;
    const char *name = a->tokenizer_file && strcmp(a->tokenizer_file, "model") != 0 ? a->tokenizer_file : NULL;
    const int words = name && strcmp(name, "whitespace") == 0, bytes = name && strcmp(name, "byte") == 0;
    natsl_status st = NATSL_OK;
    j->ids_only = strcmp(a->suite, "mqar") == 0;
    if (a->model) st = natsl_job_look(&j->look, app);
    if (st != NATSL_OK) return st;
    j->info = j->look.info;
    if (j->ids_only) return NATSL_OK;
    if (!name) {
        j->tokenizer = j->look.tokenizer;
        if (!j->tokenizer) return natsl_job_no_text(&j->look);
    } else if (!words && !bytes) {
        if ((st = natsl_app_tokenizer_file(app, name, &j->own_tokenizer)) != NATSL_OK) return st;
        j->tokenizer = j->own_tokenizer;
    }
    st = natsl_measure_create(words          ? NATSL_MEASURE_WORDS
                              : j->tokenizer ? NATSL_MEASURE_TOKENS
                                             : NATSL_MEASURE_BYTES,
                              j->tokenizer, &j->measure);
    return natsl_app_agree(app, st);
}

natsl_status natsl_eval_open_sources(natsl_eval_job *j)
{
    natsl_app *app = j->app;
    const natsl_args *a = &app->args;
    char usual[PATH_BYTES];
    natsl_status st = NATSL_OK;
    j->sources = (natsl_ruler_sources){.seed = j->settings.seed, .measure = j->measure};
    j->settings.sources = &j->sources;
    if (a->haystack) st = open_text(a->haystack, &j->text);
    if (st == NATSL_OK && j->text) {
        j->hay = (natsl_hay){.length = natsl_corpus_length(j->text), .read = read_hay, .user = j->text};
        j->settings.hay = &j->hay;
        if (app->rank == 0) digest_of(j->text, j->hay_digest);
        if (j->settings.exact) st = open_essay(j);
    }
    if (st == NATSL_OK && a->squad) st = open_questions(j, a->squad, 0);
    if (st == NATSL_OK && a->hotpot) st = open_questions(j, a->hotpot, 1);
    usual_lists(usual);
    /* in spread mode only if they are asked for: what is made must not depend on what happens to be there */
    if (st == NATSL_OK && (a->word_lists || (j->settings.exact && usual[0])))
        st = natsl_word_lists_open(a->word_lists ? a->word_lists : usual, &j->lists);
    if (j->lists.n_keys > 0) j->sources.lists = &j->lists;
    return natsl_app_agree(app, st);
}

/** What rank 0 has found in a file, for all. */
static natsl_status share_lines(natsl_app *app, natsl_eval_lines *lines)
{
    natsl_status st = NATSL_OK;
    int64_t *begin = lines->begin, *bytes = lines->bytes, *first = lines->first;
    const char *path = lines->path;
    NATSL_MPI(MPI_Bcast(lines, sizeof *lines, MPI_BYTE, 0, app->comm));
    lines->path = path; /* each rank's own */
    lines->begin = begin;
    lines->bytes = bytes;
    lines->first = first;
    if (app->rank != 0) {
        lines->begin = natsl_alloc((size_t)lines->count, sizeof *begin, "samples");
        lines->bytes = natsl_alloc((size_t)lines->count, sizeof *bytes, "samples");
        lines->first = natsl_alloc((size_t)lines->count, sizeof *first, "samples");
        if (!lines->begin || !lines->bytes || !lines->first) st = NATSL_ERR_NOMEM;
    }
    if ((st = natsl_app_agree(app, st)) != NATSL_OK) return st;
    for (int64_t at = 0; at < lines->count; at += 1 << 24) {
        const int n = (int)(lines->count - at < 1 << 24 ? lines->count - at : 1 << 24);
        NATSL_MPI(MPI_Bcast(lines->begin + at, n, MPI_INT64_T, 0, app->comm));
        NATSL_MPI(MPI_Bcast(lines->bytes + at, n, MPI_INT64_T, 0, app->comm));
        NATSL_MPI(MPI_Bcast(lines->first + at, n, MPI_INT64_T, 0, app->comm));
    }
    return NATSL_OK;
}

natsl_eval_files natsl_eval_files_of(const char *suite)
{
    static const char *const suites[] = {"", "jsonl", "babilong", "perplexity"};
    for (int i = NATSL_FILES_LINES; i <= NATSL_FILES_DOCUMENTS; i++) {
        if (strcmp(suite, suites[i]) == 0) return (natsl_eval_files)i;
    }
    return NATSL_FILES_NONE;
}

/** A file of samples. Collective. */
static natsl_status open_lines(natsl_eval_job *j, int i)
{
    natsl_app *app = j->app;
    const char *path = app->args.operands[i];
    natsl_eval_lines *lines = &j->files[i];
    natsl_status st = NATSL_OK;
    if (app->rank == 0) {
        st = natsl_eval_lines_scan(path, app->args.keep_going, j->measure, lines);
        if (st == NATSL_OK && lines->bad > 0)
            fprintf(stderr, "warning: %lld lines of %s hold no sample and are left out; %s\n", (long long)lines->bad,
                    path, lines->complaint);
    }
    lines->path = path;
    if ((st = natsl_app_agree(app, st)) == NATSL_OK) st = share_lines(app, lines);
    j->own[i].kind = NATSL_EVAL_FILE;
    j->own[i].metric = (natsl_eval_metric)app->args.metric;
    j->own[i].lines = lines;
    j->shares |= lines->shares;
    return st;
}

/** A file of bAbI's, as every rank reads it. */
static natsl_status open_stories(natsl_eval_job *j, int i)
{
    const natsl_status st = natsl_babi_open(j->app->args.operands[i], &j->stories[i]);
    j->own[i].kind = NATSL_EVAL_BABI;
    j->own[i].metric = NATSL_EVAL_LABEL;
    j->own[i].stories = j->stories[i];
    return natsl_app_agree(j->app, st);
}

static natsl_status read_ids(void *user, int64_t first, int64_t count, int32_t *ids)
{
    return natsl_doc_read(user, first, count, ids);
}

/** A document, whose tokens all ranks make together where they are not bytes. Collective. */
static natsl_status open_document(natsl_eval_job *j, int i)
{
    const char *path = j->app->args.operands[i];
    natsl_status st;
    if (natsl_measure_of(j->measure) == NATSL_MEASURE_TOKENS) {
        st = natsl_doc_open(j->app->comm, path, &j->info, j->tokenizer, 0, &j->docs[i]);
        if (st == NATSL_OK) j->documents[i] = (natsl_hay){.length = natsl_doc_length(j->docs[i]), .user = j->docs[i]};
        j->own[i].document_ids = read_ids;
    } else {
        st = open_text(path, &j->texts[i]);
        if (st == NATSL_OK)
            j->documents[i] =
                (natsl_hay){.length = natsl_corpus_length(j->texts[i]), .read = read_hay, .user = j->texts[i]};
    }
    j->own[i].kind = NATSL_EVAL_DOCUMENT;
    j->own[i].metric = NATSL_EVAL_LIKELIHOOD;
    j->own[i].document = &j->documents[i];
    return natsl_app_agree(j->app, st);
}

/** Digest of file `i`, on rank 0. Collective. */
static natsl_status digest_file(natsl_eval_job *j, int i)
{
    natsl_corpus *text = NULL;
    natsl_status st = NATSL_OK;
    if (j->app->rank == 0) {
        st = open_text(j->app->args.operands[i], &text);
        if (st == NATSL_OK) digest_of(text, j->file_digests[i]);
        natsl_corpus_close(&text);
    }
    return natsl_app_agree(j->app, st);
}

natsl_status natsl_eval_digest_files(natsl_eval_job *j)
{
    natsl_status st = NATSL_OK;
    for (int i = 0; i < j->app->args.n_operands && st == NATSL_OK; i++) {
        st = digest_file(j, i);
        j->n_files = (size_t)i + 1;
    }
    return st;
}

natsl_status natsl_eval_check_name(const char *path, char *name, size_t size)
{
    static const char *const taken[] = {"settings.json", "results.json", "results.h5", "report.html", "heatmap.svg"};
    const char *wrong = NULL;
    if (strlen(name) + 1 == size) name[natsl_utf8_whole(name, size - 1)] = '\0'; /* it was cut */
    json_t *text = json_string(name);
    json_decref(text);
    if (!text) wrong = "is not UTF-8";
    else if (!name[0] || strcmp(name, ".") == 0 || strcmp(name, "..") == 0) wrong = "is a directory's";
    for (const char *p = name; *p && !wrong; p++) {
        if ((unsigned char)*p < 0x20 || *p == 0x7f) wrong = "has control characters";
    }
    for (size_t i = 0; i < sizeof taken / sizeof taken[0] && !wrong; i++) {
        if (strcmp(name, taken[i]) == 0) wrong = "is that of a file of results";
    }
    const size_t length = strlen(name);
    if (!wrong && strncmp(name, "part-", 5) == 0 && length >= 6 && strcmp(name + length - 6, ".jsonl") == 0)
        wrong = "is that of a file of results";
    if (!wrong) return NATSL_OK;
    return natsl_fail(NATSL_ERR_USAGE, "%s: the name of its task, '%s', %s; expected another name (a link will do)",
                      path, name, wrong);
}

/** The task's name: the file's, of bAbI's files what comes before the first "_". */
static natsl_status name_task(natsl_eval_job *j, int i, natsl_eval_files kind)
{
    char *name = j->names[i];
    natsl_task_name(j->app->args.operands[i], name, sizeof j->names[i]);
    if (kind == NATSL_FILES_STORIES && name[0] != '_') name[strcspn(name, "_")] = '\0';
    const natsl_status st = natsl_eval_check_name(j->app->args.operands[i], name, sizeof j->names[i]);
    if (st != NATSL_OK) return st;
    for (int k = 0; k < i; k++) {
        if (strcmp(j->names[k], name) == 0)
            return natsl_fail(NATSL_ERR_USAGE, "%s and %s: both are named %s, expected files of different names",
                              j->app->args.operands[k], j->app->args.operands[i], name);
    }
    return NATSL_OK;
}

natsl_status natsl_eval_open_files(natsl_eval_job *j)
{
    const natsl_args *a = &j->app->args;
    const natsl_eval_files kind = natsl_eval_files_of(a->suite);
    const int max_new = kind == NATSL_FILES_STORIES ? 20 : 128;
    int64_t most = 0, longest = 0;
    for (int i = 0; i < a->n_operands; i++) {
        natsl_status st = name_task(j, i, kind);
        if (st == NATSL_OK) st = digest_file(j, i);
        if (st != NATSL_OK) return st;
        j->own[i] = (natsl_eval_task){.suite = a->suite, .name = j->names[i], .max_new = max_new};
        j->n_files = (size_t)i + 1;
        st = kind == NATSL_FILES_LINES     ? open_lines(j, i)
             : kind == NATSL_FILES_STORIES ? open_stories(j, i)
                                           : open_document(j, i);
        if (st != NATSL_OK) return st;
        j->tasks[j->n_tasks++] = &j->own[i];
        if (j->files[i].count > most) most = j->files[i].count;
        if (j->files[i].longest > longest) longest = j->files[i].longest;
        if (j->documents[i].length > longest) longest = j->documents[i].length;
    }
    if (kind == NATSL_FILES_LINES) {
        size_t before = 0;
        if (a->special_tokens && j->tokenizer) (void)natsl_tokenizer_around(j->tokenizer, 0, &before);
        j->lengths[j->n_lengths++] = longest + (int64_t)before + (a->max_new > 0 ? a->max_new : max_new);
        j->samples = a->samples > 0 && a->samples < most ? a->samples : most;
    } else if (kind == NATSL_FILES_DOCUMENTS && j->n_lengths == 0) {
        j->lengths[j->n_lengths++] = longest;
    }
    return NATSL_OK;
}

int64_t natsl_eval_samples_of(const natsl_eval_job *j, size_t task, int64_t length)
{
    const natsl_eval_task *t = j->tasks[task];
    int64_t most = j->samples;
    if (t->lines) most = t->lines->count;
    if (t->stories) most = t->stories->n_questions;
    if (t->document) most = natsl_document_windows(t->document, length);
    return most < j->samples ? most : j->samples;
}

void natsl_eval_close_sources(natsl_eval_job *j)
{
    for (size_t i = 0; i < j->n_files; i++) {
        natsl_eval_lines_free(&j->files[i]);
        natsl_babi_close(&j->stories[i]);
        natsl_corpus_close(&j->texts[i]);
        natsl_doc_close(&j->docs[i]);
    }
    natsl_essay *essay = (natsl_essay *)(uintptr_t)j->sources.essay;
    natsl_essay_destroy(&essay);
    for (int i = 0; i < 2; i++) {
        natsl_questions *questions = (natsl_questions *)(uintptr_t)j->sources.questions[i];
        natsl_questions_close(&questions);
    }
    natsl_word_lists_free(&j->lists);
    natsl_corpus_close(&j->text);
}

/* ---- samples --------------------------------------------------------------------------------------------------------- */

natsl_status natsl_eval_maker_make(natsl_eval_maker *m, const natsl_eval_settings *settings,
                                   const natsl_eval_task *task, int64_t length, int64_t index, natsl_eval_sample *out)
{
    natsl_status st = NATSL_OK;
    memset(out, 0, sizeof *out);
    if (!settings->exact || task->kind >= NATSL_EVAL_PASSKEY)
        return natsl_eval_make_next(settings, task, length, index, &m->fit, out);
    if (!m->ruler || m->task != task || m->length != length || m->next > index) {
        natsl_eval_maker_free(m);
        st = natsl_ruler_open(settings->sources, task, length, natsl_eval_max_new(settings, task), &m->ruler);
        if (st != NATSL_OK) return st;
        m->task = task;
        m->length = length;
    }
    for (; st == NATSL_OK && m->next <= index; m->next++) {
        natsl_eval_sample_free(out);
        st = natsl_ruler_next(m->ruler, out);
        if (st == NATSL_ERR_USAGE && m->next < index) st = NATSL_OK; /* that one does not fit: whoever has it says so */
    }
    return st;
}

void natsl_eval_maker_free(natsl_eval_maker *m)
{
    natsl_ruler_close(&m->ruler);
    *m = (natsl_eval_maker){0};
}

/* ---- data ------------------------------------------------------------------------------------------------------------ */

/** Characters before byte `at`. */
static int64_t characters(const char *text, int64_t at)
{
    int64_t n = 0;
    for (int64_t i = 0; i < at; i++) n += ((unsigned char)text[i] & 0xc0) != 0x80;
    return n;
}

/** A sample in token ids, as zoology has them: inputs, and labels that are -100 where nothing is asked. NULL: no memory. */
static json_t *ids_line(int64_t index, const natsl_eval_sample *s)
{
    json_t *inputs = json_array(), *labels = json_array();
    size_t next = 0;
    for (int64_t i = 0; i < s->length; i++) {
        const int asked = next < s->n_outputs && s->asked[next] == i;
        (void)json_array_append_new(inputs, json_integer(s->ids[i]));
        (void)json_array_append_new(labels, json_integer(asked ? atoll(s->outputs[next].text) : -100));
        next += (size_t)asked;
    }
    return json_pack("{s:I, s:o?, s:o?}", "index", (json_int_t)index, "inputs", inputs, "labels", labels);
}

/** One line, with upstream's fields in upstream's order: *out, NULL: no memory. */
static natsl_status line_of(const natsl_eval_job *j, const natsl_eval_task *task, int64_t index,
                            const natsl_eval_sample *s, json_t **out)
{
    int64_t tokens = 0, at = 0, before = 0;
    natsl_status st = natsl_measure_count(j->measure, s->text, (size_t)s->length, INT64_MAX, &tokens);
    *out = NULL;
    if (st != NATSL_OK) return st;
    tokens += natsl_eval_max_new(&j->settings, task);
    json_t *outputs = json_array(), *depth = json_array();
    for (size_t i = 0; i < s->n_outputs; i++) {
        (void)json_array_append_new(outputs, natsl_json_text(s->outputs[i].text, strlen(s->outputs[i].text)));
        (void)json_array_append_new(depth, json_real(s->outputs[i].depth));
    }
    const size_t want = strlen(s->outputs[0].text);
    while (at + (int64_t)want < s->length && memcmp(s->text + at, s->outputs[0].text, want) != 0) at++;
    const int needle = task->kind == NATSL_EVAL_NIAH;
    /* upstream's index of needle tasks is the place of the answer; ours is the number of the sample */
    const int64_t number = needle && j->settings.exact ? characters(s->text, at) : index;
    json_t *line = json_pack("{s:I, s:o?, s:O, s:I, s:I, s:o?}", "index", (json_int_t)number, "input",
                             natsl_json_text(s->text, (size_t)s->input), "outputs", outputs, "length",
                             (json_int_t)tokens, "length_w_model_temp", (json_int_t)tokens, "answer_prefix",
                             natsl_json_text(s->text + s->input, (size_t)(s->length - s->input)));
    if (line && needle) {
        st = natsl_measure_count(j->measure, s->text, (size_t)at, INT64_MAX, &before);
        (void)json_object_set_new(line, "token_position_answer", json_integer((json_int_t)before));
    }
    if (line && !j->settings.exact) (void)json_object_set(line, "depth", depth);
    json_decref(outputs);
    json_decref(depth);
    *out = line;
    return st;
}

/** Makes all directories of a path, up to its last '/'. */
static natsl_status make_directories(char *path)
{
    for (char *p = path + 1; (p = strchr(p, '/')) != NULL; p++) {
        *p = '\0';
        const int bad = mkdir(path, 0777) != 0 && errno != EEXIST ? errno : 0;
        if (bad) return natsl_fail(NATSL_ERR_IO, "%s: %s", path, strerror(bad));
        *p = '/';
    }
    return NATSL_OK;
}

static natsl_status write_samples(natsl_eval_job *j, const natsl_eval_task *task, int64_t length, FILE *file,
                                  const char *path)
{
    natsl_eval_maker maker = {0};
    natsl_status st = NATSL_OK;
    size_t number = 0;
    while (j->tasks[number] != task) number++;
    const int64_t samples = natsl_eval_samples_of(j, number, length);
    for (int64_t i = 0; st == NATSL_OK && i < samples; i++) {
        natsl_eval_sample s;
        st = natsl_eval_maker_make(&maker, &j->settings, task, length, i, &s);
        if (st == NATSL_ERR_USAGE && j->app->args.keep_going) {
            fprintf(stderr, "warning: %s; it is left out\n", natsl_error_text());
            st = NATSL_OK;
            continue;
        }
        if (st != NATSL_OK) break;
        json_t *line = NULL;
        if (s.ids) line = ids_line(i, &s);
        else st = line_of(j, task, i, &s, &line);
        errno = 0;
        if (st == NATSL_OK && !line) st = natsl_fail(NATSL_ERR_NOMEM, "%s: no memory for a sample", path);
        else if (st == NATSL_OK &&
                 (json_dumpf(line, file, JSON_ENSURE_ASCII | JSON_REAL_PRECISION(6)) != 0 || fputc('\n', file) == EOF))
            st = natsl_fail(NATSL_ERR_IO, "%s: %s", path, errno ? strerror(errno) : "writing failed");
        json_decref(line);
        natsl_eval_sample_free(&s);
    }
    natsl_eval_maker_free(&maker);
    return st;
}

static natsl_status write_file(natsl_eval_job *j, const natsl_eval_task *task, int64_t length)
{
    char path[PATH_BYTES];
    natsl_text_out out;
    const int n = snprintf(path, sizeof path, "%s/synthetic/%lld/data/%s/validation.jsonl", j->app->args.out,
                           (long long)length, task->name);
    if (n < 0 || (size_t)n >= sizeof path) return natsl_fail(NATSL_ERR_USAGE, "--out: the path is too long");
    natsl_status st = make_directories(path);
    if (st == NATSL_OK) st = natsl_text_out_open(path, &out);
    if (st != NATSL_OK) return st;
    st = write_samples(j, task, length, out.file, path);
    if (st == NATSL_OK) return natsl_text_out_close(&out, 0);
    natsl_text_out_abandon(&out);
    return st;
}

natsl_status natsl_eval_write_data(natsl_eval_job *j)
{
    natsl_app *app = j->app;
    natsl_status st = NATSL_OK;
    int uneven = 0;
    const double start = natsl_now_s();
    if (!app->args.dry_run) {
        for (size_t i = (size_t)app->rank; st == NATSL_OK && i < j->store.n_cells; i += (size_t)app->size)
            st = write_file(j, j->tasks[i % j->n_tasks], j->store.cells[i].length);
    }
    st = natsl_app_agree(app, st);
    for (size_t i = 0; i < j->store.n_cells; i++) uneven |= j->store.cells[i].samples < j->samples;
    if (st == NATSL_OK && app->rank == 0 && !app->args.quiet) {
        printf("%zu file%s of %s%lld samples in %s/synthetic, %.1f s\n", j->store.n_cells,
               j->store.n_cells == 1 ? "" : "s", uneven ? "up to " : "", (long long)j->samples,
               app->args.out ? app->args.out : "DIR", natsl_now_s() - start);
        st = natsl_stdout_flush();
    }
    return natsl_app_agree(app, st);
}
