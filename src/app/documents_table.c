/* documents_table.c - what became of each document: two files and the lines at the end. See documents.h; columns: README.md, "Many
 * documents". */
#include "documents.h"

#include "core.h"
#include "h5.h"
#include "journal.h"
#include "json_text.h"
#include "text_out.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK 65536 /* bytes of choices that are counted at once */

static const char *const words[] = {"waiting", "done", "done before", "failed",
                                    "interrupted"}; /* order of natsl_document_state */

size_t natsl_documents_count(const natsl_documents *d, natsl_document_state state)
{
    size_t n = 0;
    for (size_t i = 0; i < d->n; i++) n += d->all[i].state == state;
    return n;
}

/* ---- an earlier run's result -------------------------------------------------------------------------------------------- */

/** Chunks of a layer that were kept, and all. */
static natsl_status count_choices(const natsl_documents *d, hid_t file, const char *path, int layer, int64_t tokens,
                                  natsl_document *out)
{
    const natsl_config *c = &d->info.config;
    const int64_t chunks = tokens / c->chunk, heads = c->num_nats_head, at_once = heads < BLOCK ? BLOCK / heads : 1;
    char name[48];
    hid_t set = -1;
    uint8_t *block = natsl_alloc((size_t)at_once, (size_t)heads, "choices");
    natsl_status st = block ? NATSL_OK : NATSL_ERR_NOMEM;
    (void)snprintf(name, sizeof name, "softmax_chunks/%d", layer);
    if (st == NATSL_OK)
        st = natsl_h5_dataset(file, path, name, H5T_INTEGER, 2, (hsize_t[]){(hsize_t)chunks, (hsize_t)heads}, &set);
    for (int64_t at = 0; at < chunks && st == NATSL_OK; at += at_once) {
        const int64_t n = chunks - at < at_once ? chunks - at : at_once;
        st = natsl_h5_read_rows(set, path, name, H5T_NATIVE_UINT8, at, n, (size_t)heads, block);
        for (int64_t i = 0; i < n * heads && st == NATSL_OK; i++) out->kept_chunks += block[i] != 0;
    }
    out->chunks += chunks * heads;
    if (set >= 0) (void)H5Dclose(set);
    natsl_free(block);
    return st;
}

void natsl_document_recall(const natsl_documents *d, natsl_document *document)
{
    char path[NATSL_SERIES_PATH], text[1024];
    hid_t file = -1;
    natsl_document found = {0};
    (void)snprintf(text, sizeof text, "%s", natsl_error_text());
    natsl_document_path(d->app->args.out, document, ".h5", path);
    natsl_status st = natsl_h5_open(path, &file);
    if (st == NATSL_OK && d->order->scores) {
        st = natsl_h5_real(file, path, "seconds", &found.seconds);
        if (st == NATSL_OK && document->tokens > 1) st = natsl_h5_real(file, path, "mean_logprob", &found.mean);
        for (int l = 0; l < d->info.config.num_hidden_layers && st == NATSL_OK; l++) {
            if (d->info.config.kind[l] == NATSL_LAYER_NATS)
                st = count_choices(d, file, path, l, document->tokens, &found);
        }
    } else if (st == NATSL_OK) {
        st = natsl_h5_int(file, path, "kept_chunks", &found.kept_chunks);
        if (st == NATSL_OK) st = natsl_h5_int(file, path, "chunks", &found.chunks);
    }
    if (file >= 0) (void)H5Fclose(file);
    if (st == NATSL_OK) {
        document->mean = found.mean;
        document->seconds = found.seconds;
        document->kept_chunks = found.kept_chunks;
        document->chunks = found.chunks;
    }
    natsl_error_set(text);
}

/* ---- tables ---------------------------------------------------------------------------------------------------------- */

static int is_read(const natsl_document *one)
{
    return one->state == NATSL_DOCUMENT_DONE || one->state == NATSL_DOCUMENT_BEFORE;
}

static int has_mean(const natsl_documents *d, const natsl_document *one)
{
    return is_read(one) && d->order->scores && one->tokens > 1;
}

/** A field of CSV, in quotes where it needs them. */
static void put_text(FILE *to, const char *text)
{
    if (!strpbrk(text, ",\"\r\n")) {
        (void)fputs(text, to);
        return;
    }
    (void)fputc('"', to);
    for (; *text; text++) {
        if (*text == '"') (void)fputc('"', to);
        (void)fputc(*text, to);
    }
    (void)fputc('"', to);
}

static void put_line(FILE *to, const natsl_documents *d, const natsl_document *one)
{
    put_text(to, one->path);
    (void)fputc(',', to);
    if (is_read(one)) {
        put_text(to, one->name);
        (void)fputs(".h5", to);
    }
    (void)fputc(',', to);
    if (one->tokens > 0) fprintf(to, "%lld", (long long)one->tokens);
    if (has_mean(d, one)) fprintf(to, ",%.17g,%.17g,", one->mean, exp(-one->mean));
    else (void)fputs(",,,", to);
    if (is_read(one) && one->chunks > 0) fprintf(to, "%.6f", (double)one->kept_chunks / (double)one->chunks);
    (void)fputc(',', to);
    if (is_read(one) && one->seconds > 0.0) fprintf(to, "%.3f", one->seconds);
    (void)fputc(',', to);
    if (one->ranks > 0) fprintf(to, "%d", one->ranks);
    fprintf(to, ",%s,", words[one->state]);
    if (one->state == NATSL_DOCUMENT_FAILED) fprintf(to, "%d", (int)one->status);
    (void)fputc(',', to);
    if (one->error) put_text(to, one->error);
    (void)fputc('\n', to);
}

static json_t *real_or_null(int there, double value) { return there ? json_real(value) : json_null(); }

/** NULL: no memory. */
static json_t *record(const natsl_documents *d, const natsl_document *one)
{
    const int mean = has_mean(d, one), read = is_read(one);
    char result[NATSL_SERIES_PATH];
    (void)snprintf(result, sizeof result, "%s.h5", one->name);
    return json_pack(
        "{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:s, s:o, s:o}", "document", natsl_json_text_or_null(one->path),
        "result", natsl_json_text_or_null(read ? result : NULL), "tokens",
        one->tokens > 0 ? json_integer((json_int_t)one->tokens) : json_null(), "mean_logprob",
        real_or_null(mean, one->mean), "perplexity", real_or_null(mean && isfinite(exp(-one->mean)), exp(-one->mean)),
        "kept_share",
        real_or_null(read && one->chunks > 0, (double)one->kept_chunks / (double)(one->chunks > 0 ? one->chunks : 1)),
        "seconds", real_or_null(read && one->seconds > 0.0, one->seconds), "ranks",
        one->ranks > 0 ? json_integer(one->ranks) : json_null(), "status", words[one->state], "code",
        one->state == NATSL_DOCUMENT_FAILED ? json_integer((json_int_t)one->status) : json_null(), "error",
        natsl_json_text_or_null(one->error));
}

natsl_status natsl_documents_write_tables(const natsl_documents *d)
{
    static const char *const endings[] = {"csv", "jsonl"};
    natsl_status st = NATSL_OK;
    for (int k = 0; k < 2 && st == NATSL_OK; k++) {
        natsl_text_out out;
        char path[NATSL_SERIES_PATH];
        int bad = 0;
        (void)snprintf(path, sizeof path, "%s/documents.%s", d->app->args.out, endings[k]);
        if ((st = natsl_text_out_open(path, &out)) != NATSL_OK) return st;
        if (k == 0)
            fprintf(out.file,
                    "document,result,tokens,mean_logprob,perplexity,kept_share,seconds,ranks,status,code,error\n");
        for (size_t i = 0; i < d->n && !bad; i++) {
            if (k == 0) {
                put_line(out.file, d, &d->all[i]);
            } else {
                json_t *line = record(d, &d->all[i]);
                bad = !line || json_dumpf(line, out.file, JSON_COMPACT) != 0 || fputc('\n', out.file) == EOF;
                json_decref(line);
            }
            bad = bad || ferror(out.file);
        }
        st = natsl_text_out_close(&out, bad);
    }
    return st;
}

void natsl_documents_summarise(const natsl_documents *d)
{
    natsl_app *app = d->app;
    const double spent = natsl_now_s() - d->start_s;
    const size_t done = natsl_documents_count(d, NATSL_DOCUMENT_DONE),
                 before = natsl_documents_count(d, NATSL_DOCUMENT_BEFORE),
                 failed = natsl_documents_count(d, NATSL_DOCUMENT_FAILED), left = d->n - done - before - failed;
    double nats = 0.0, scored = 0.0;
    int64_t tokens = 0, all = 0;
    for (size_t i = 0; i < d->n; i++) {
        const natsl_document *one = &d->all[i];
        if (one->state == NATSL_DOCUMENT_DONE) tokens += one->tokens;
        if (is_read(one)) all += one->tokens;
        if (has_mean(d, one)) nats += one->mean * (double)(one->tokens - 1), scored += (double)(one->tokens - 1);
        natsl_journal_write(app, "document", record(d, one));
    }
    natsl_summary_count(app, "documents", (int64_t)d->n);
    natsl_summary_count(app, "documents_done", (int64_t)done);
    natsl_summary_count(app, "documents_before", (int64_t)before);
    natsl_summary_count(app, "documents_failed", (int64_t)failed);
    natsl_summary_count(app, "tokens", all);
    natsl_summary_count(app, "tokens_read", tokens);
    natsl_summary_real(app, "mean_logprob", scored > 0.0 ? nats / scored : NAN);
    natsl_summary_real(app, "perplexity", scored > 0.0 ? exp(-nats / scored) : NAN);
    natsl_summary_real(app, "seconds", spent);
    if (app->args.quiet) return;
    printf("documents   %zu: %zu done", d->n, done);
    if (before > 0) printf(", %zu done before", before);
    if (failed > 0) printf(", %zu failed", failed);
    if (left > 0) printf(", %zu not finished", left);
    printf("; %s/documents.csv\n", app->args.out);
    printf("tokens      %lld", (long long)all);
    if (scored > 0.0) printf(", perplexity %.6g", exp(-nats / scored));
    printf("\ntime        %.2f s, %.0f tokens/s\n", spent, spent > 0.0 ? (double)tokens / spent : 0.0);
}
