/* eval_results.c - scores of finished samples. See eval_results.h. */
#include "eval_results.h"

#include "core.h"
#include "eval_chart.h"
#include "score.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static double real_of(const json_t *object, const char *name)
{
    return json_number_value(json_object_get(object, name));
}

/** Percent with two decimals, as RULER rounds (Python's round): what lies in the middle goes to the even digit, as in 3.125. */
static double rounded(double percent)
{
    char text[64];
    (void)snprintf(text, sizeof text, "%.2f", percent);
    return strtod(text, NULL);
}

/** One expected output, by its depth. */
static void count_depth(double depth, int hit, natsl_eval_score *score)
{
    if (!(depth >= 0.0 && depth <= 1.0)) return; /* the task has none */
    int band = (int)(depth * NATSL_EVAL_BANDS);
    if (band == NATSL_EVAL_BANDS) band--;
    score->band_outputs[band]++;
    score->band_hits[band] += hit;
}

/** Expected outputs of a sample and those found, by depth; the sample's part of the score. any: one of them will do, and they count as
 * one, where one that was found is. */
static double count_hits(const json_t *record, int any, natsl_eval_score *score)
{
    const json_t *hits = json_object_get(record, "hits"), *depth = json_object_get(record, "depth");
    const size_t n = json_array_size(hits);
    int64_t found = 0;
    size_t first = 0;
    for (size_t i = 0; i < n; i++) {
        const int hit = json_integer_value(json_array_get(hits, i)) != 0;
        if (hit && found == 0) first = i;
        found += hit;
        if (!any) count_depth(json_number_value(json_array_get(depth, i)), hit, score);
    }
    if (!any || n == 0) return n > 0 ? (double)found / (double)n : 0.0;
    count_depth(json_number_value(json_array_get(depth, first)), found > 0, score);
    return (double)(found > 0);
}

/** A document's loss: nats and tokens of all bins. */
static void add_loss(const json_t *record, natsl_eval_score *score)
{
    size_t i;
    const json_t *bin;
    json_array_foreach(json_object_get(record, "bins"), i, bin)
    {
        score->loss_tokens += json_number_value(json_array_get(bin, 2));
        score->loss += json_number_value(json_array_get(bin, 3));
    }
}

void natsl_eval_cell_score(const natsl_eval_cell *c, natsl_eval_score *score)
{
    double sum = 0.0, kept = 0.0, chunks = 0.0, read_s = 0.0, generate_s = 0.0, generated = 0.0, tokens = 0.0;
    *score = (natsl_eval_score){.score = NAN, .low = NAN, .high = NAN, .kept_share = NAN};
    for (int64_t i = 0; i < c->samples && i < c->room; i++) {
        const json_t *record = c->records[i], *run = c->runs[i];
        if (!record) continue;
        score->samples++;
        score->unfit += json_object_get(record, "error") != NULL;
        add_loss(record, score);
        const json_t *pred = json_object_get(record, "pred");
        if (c->metric != NATSL_EVAL_LIKELIHOOD)
            score->nulls += natsl_score_is_null(json_string_value(pred), json_string_length(pred));
        sum += count_hits(record, !natsl_eval_share_counts((natsl_eval_metric)c->metric), score);
        kept += real_of(record, "kept_chunks");
        chunks += real_of(record, "chunks");
        score->tokens += (int64_t)real_of(record, "prompt");
        if (!run) continue;
        const json_t *read = json_object_get(run, "read_tokens");
        tokens += read ? json_number_value(read) : real_of(record, "prompt");
        generated += real_of(record, "generated");
        read_s += real_of(run, "read_seconds");
        generate_s += real_of(run, "generate_seconds");
        score->peak_bytes = fmax(score->peak_bytes, real_of(run, "peak_bytes"));
    }
    score->seconds = read_s + generate_s;
    score->read_tps = read_s > 0.0 ? tokens / read_s : NAN;
    score->generate_tps = generate_s > 0.0 ? generated / generate_s : NAN;
    if (chunks > 0.0) score->kept_share = kept / chunks;
    score->loss = score->loss_tokens > 0.0 ? score->loss / score->loss_tokens : NAN;
    if (score->samples == 0 || c->metric == NATSL_EVAL_LIKELIHOOD) return;
    const double p = sum / (double)score->samples;
    natsl_score_wilson(p, (double)score->samples, &score->low, &score->high);
    score->score = rounded(p * 100.0);
    score->low = rounded(100.0 * score->low);
    score->high = rounded(100.0 * score->high);
}

natsl_eval_summary natsl_eval_summarise(const int64_t *lengths, const double *scores, size_t n)
{
    natsl_eval_summary s = {0};
    const double weights = (double)n * ((double)n + 1.0) / 2.0;
    int passing = n > 0;
    for (size_t i = 0; i < n; i++) {
        const double score = isfinite(scores[i]) ? scores[i] : 0.0;
        s.average += score / (double)n;
        s.increasing += score * (double)(i + 1) / weights;
        s.decreasing += score * (double)(n - i) / weights;
        passing = passing && score >= NATSL_EFFECTIVE_SCORE;
        if (passing) s.effective = lengths[i];
    }
    s.all_effective = passing;
    return s;
}

/* ---- tasks and lengths of a store ------------------------------------------------------------------------------------ */

typedef struct shape {
    int64_t *lengths;   /* [n_lengths] ascending */
    const char **tasks; /* [n_tasks] in the order of the cells */
    size_t n_lengths, n_tasks;
    natsl_eval_score *scores; /* [n_cells] */
    double *means;            /* [n_lengths] over tasks; NaN where one has none */
} shape;

static int ascending(const void *a, const void *b)
{
    const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

static void free_shape(shape *s)
{
    natsl_free(s->lengths);
    natsl_free(s->tasks);
    natsl_free(s->scores);
    natsl_free(s->means);
}

/** The cell's number; n_cells: there is none. */
static size_t cell_of(const natsl_eval_store *store, const char *task, int64_t length)
{
    size_t i = 0;
    while (i < store->n_cells && (store->cells[i].length != length || strcmp(store->cells[i].task, task) != 0)) i++;
    return i;
}

static int make_shape(const natsl_eval_store *store, shape *s)
{
    const size_t n = store->n_cells;
    *s = (shape){.lengths = natsl_calloc(n, sizeof *s->lengths, "scores"),
                 .tasks = natsl_calloc(n, sizeof *s->tasks, "scores"),
                 .scores = natsl_calloc(n, sizeof *s->scores, "scores"),
                 .means = natsl_calloc(n, sizeof *s->means, "scores")};
    if (!s->lengths || !s->tasks || !s->scores || !s->means) return 0;
    for (size_t i = 0; i < n; i++) {
        const natsl_eval_cell *c = &store->cells[i];
        size_t k = 0;
        while (k < s->n_lengths && s->lengths[k] != c->length) k++;
        if (k == s->n_lengths) s->lengths[s->n_lengths++] = c->length;
        for (k = 0; k < s->n_tasks && strcmp(s->tasks[k], c->task) != 0;) k++;
        if (k == s->n_tasks) s->tasks[s->n_tasks++] = c->task;
        natsl_eval_cell_score(c, &s->scores[i]);
    }
    qsort(s->lengths, s->n_lengths, sizeof *s->lengths, ascending);
    for (size_t l = 0; l < s->n_lengths; l++) {
        for (size_t t = 0; t < s->n_tasks; t++) {
            const size_t i = cell_of(store, s->tasks[t], s->lengths[l]);
            s->means[l] += i < n ? s->scores[i].score / (double)s->n_tasks : NAN;
        }
    }
    return 1;
}

/** Whether any length has a score: documents have none. */
static int has_scores(const shape *s)
{
    for (size_t l = 0; l < s->n_lengths; l++) {
        if (isfinite(s->means[l])) return 1;
    }
    return 0;
}

/* ---- what is shown --------------------------------------------------------------------------------------------------- */

static json_t *real_or_null(double value) { return isfinite(value) ? json_real(value) : json_null(); }

/** Mean kept share by layer of the prompts; -1: a layer that chooses nothing. */
static json_t *kept_by_layer(const natsl_eval_cell *c)
{
    json_t *out = json_array();
    for (size_t l = 0;; l++) {
        double sum = 0.0;
        int64_t n = 0, seen = 0;
        for (int64_t i = 0; i < c->samples && i < c->room; i++) {
            const json_t *value = json_array_get(json_object_get(c->records[i], "kept_layers"), l);
            seen += json_is_number(value);
            if (json_number_value(value) < 0.0 || !json_is_number(value)) continue;
            sum += json_number_value(value);
            n++;
        }
        if (seen == 0) return out;
        (void)json_array_append_new(out, json_real(n > 0 ? sum / (double)n : -1.0));
    }
}

/** Where the first sample's chunks are kept and its needles are; NULL: there is none. */
static json_t *strip_of(const natsl_eval_cell *c)
{
    const json_t *record = c->room > 0 ? c->records[0] : NULL;
    json_t *strip = json_object_get(record, "strip");
    if (!json_is_array(strip)) return NULL;
    return json_pack("{s:I, s:O, s:O, s:O}", "index", (json_int_t)0, "layers", strip, "depth",
                     json_object_get(record, "depth"), "hits", json_object_get(record, "hits"));
}

/** Loss by position, of all samples together; NULL: no documents. */
static json_t *by_position(const natsl_eval_cell *c)
{
    json_t *out = NULL;
    for (size_t b = 0;; b++) {
        double tokens = 0.0, nats = 0.0;
        const json_t *like = NULL;
        for (int64_t i = 0; i < c->samples && i < c->room; i++) {
            const json_t *bin = json_array_get(json_object_get(c->records[i], "bins"), b);
            if (!bin) continue;
            like = bin;
            tokens += json_number_value(json_array_get(bin, 2));
            nats += json_number_value(json_array_get(bin, 3));
        }
        if (!like) return out;
        if (!out) out = json_array();
        (void)json_array_append_new(out, json_pack("{s:O, s:O, s:I, s:o?}", "from", json_array_get(like, 0), "to",
                                                   json_array_get(like, 1), "tokens", (json_int_t)tokens, "loss",
                                                   real_or_null(tokens > 0.0 ? nats / tokens : NAN)));
    }
}

/** What documents have beside the rest. */
static void add_document(json_t *cell, const natsl_eval_cell *c, const natsl_eval_score *s)
{
    if (!cell || !isfinite(s->loss)) return;
    (void)json_object_set_new(cell, "loss", json_real(s->loss));
    (void)json_object_set_new(cell, "perplexity", real_or_null(exp(s->loss)));
    (void)json_object_set_new(cell, "bits_per_token", json_real(s->loss / log(2.0)));
    (void)json_object_set_new(cell, "loss_tokens", json_integer((json_int_t)s->loss_tokens));
    (void)json_object_set_new(cell, "by_position", by_position(c));
}

/** Samples that do not fit, of all cells. */
static int64_t unfit_of(const shape *s, size_t n_cells)
{
    int64_t n = 0;
    for (size_t i = 0; i < n_cells; i++) n += s->scores[i].unfit;
    return n;
}

static json_t *cell_json(const natsl_eval_cell *c, const natsl_eval_score *s)
{
    json_t *depth = json_array();
    for (int b = 0; b < NATSL_EVAL_BANDS; b++) {
        const double share =
            s->band_outputs[b] > 0 ? 100.0 * (double)s->band_hits[b] / (double)s->band_outputs[b] : NAN;
        (void)json_array_append_new(depth, json_pack("{s:f, s:f, s:I, s:I, s:o?}", "from", (double)b / NATSL_EVAL_BANDS,
                                                     "to", (double)(b + 1) / NATSL_EVAL_BANDS, "outputs",
                                                     (json_int_t)s->band_outputs[b], "found",
                                                     (json_int_t)s->band_hits[b], "score", real_or_null(share)));
    }
    json_t *cell = json_pack(
        "{s:s, s:I, s:I, s:I, s:I, s:o?, s:o?, s:o?, s:o?, s:o?, s:o?, s:I, s:o?, s:o?, s:f, s:I, s:o*}", "task",
        c->task, "length", (json_int_t)c->length, "samples", (json_int_t)s->samples, "wanted", (json_int_t)c->samples,
        "nulls", (json_int_t)s->nulls, "score", real_or_null(s->score), "low", real_or_null(s->low), "high",
        real_or_null(s->high), "by_depth", depth, "kept_share", real_or_null(s->kept_share), "kept_share_by_layer",
        kept_by_layer(c), "prompt_tokens", (json_int_t)s->tokens, "read_tokens_per_s", real_or_null(s->read_tps),
        "generate_tokens_per_s", real_or_null(s->generate_tps), "seconds", s->seconds, "peak_bytes",
        (json_int_t)s->peak_bytes, "strip", strip_of(c));
    add_document(cell, c, s);
    if (cell && s->unfit > 0) (void)json_object_set_new(cell, "do_not_fit", json_integer((json_int_t)s->unfit));
    return cell;
}

json_t *natsl_eval_results_json(const natsl_eval_store *store)
{
    shape s;
    json_t *cells = json_array(), *lengths = json_array(), *out = NULL;
    int whole = make_shape(store, &s) && cells && lengths;
    for (size_t i = 0; i < store->n_cells && whole; i++)
        whole = json_array_append_new(cells, cell_json(&store->cells[i], &s.scores[i])) == 0;
    for (size_t l = 0; l < s.n_lengths && whole; l++)
        whole = json_array_append_new(lengths, json_pack("{s:I, s:o?}", "length", (json_int_t)s.lengths[l], "score",
                                                         real_or_null(s.means[l]))) == 0;
    if (whole) {
        natsl_eval_summary sum = natsl_eval_summarise(s.lengths, s.means, s.n_lengths);
        if (!has_scores(&s)) sum.average = sum.increasing = sum.decreasing = NAN;
        out = json_pack("{s:O, s:O, s:o?, s:o?, s:o?, s:f, s:I}", "tasks", cells, "lengths", lengths, "average",
                        real_or_null(sum.average), "weighted_average_increasing", real_or_null(sum.increasing),
                        "weighted_average_decreasing", real_or_null(sum.decreasing), "effective_score",
                        NATSL_EFFECTIVE_SCORE, "effective_length", (json_int_t)sum.effective);
    }
    json_decref(cells);
    json_decref(lengths);
    free_shape(&s);
    return out;
}

void natsl_eval_results_print(FILE *to, const natsl_eval_store *store, const char *suite)
{
    shape s;
    char text[24], cell[64];
    if (make_shape(store, &s)) {
        fprintf(to, "%-18s", suite);
        for (size_t l = 0; l < s.n_lengths; l++) fprintf(to, "%22s", natsl_short_tokens(s.lengths[l], text));
        fprintf(to, "\n");
        for (size_t t = 0; t < s.n_tasks; t++) {
            fprintf(to, "%-18s", s.tasks[t]);
            for (size_t l = 0; l < s.n_lengths; l++) {
                const size_t i = cell_of(store, s.tasks[t], s.lengths[l]);
                const natsl_eval_score *score = i < store->n_cells ? &s.scores[i] : NULL;
                if (score && isfinite(score->loss))
                    (void)snprintf(cell, sizeof cell, "%.4f (n=%lld)%s", score->loss, (long long)score->samples,
                                   score->samples < store->cells[i].samples ? "*" : "");
                else if (score && isfinite(score->score))
                    (void)snprintf(cell, sizeof cell, "%.1f (%.1f-%.1f)%s", score->score, score->low, score->high,
                                   score->samples < store->cells[i].samples ? "*" : "");
                else (void)snprintf(cell, sizeof cell, "-");
                fprintf(to, "%22s", cell);
            }
            fprintf(to, "\n");
        }
        if (!has_scores(&s)) {
            fprintf(to, "in nats per token; results.json has it by position\n");
            free_shape(&s);
            return;
        }
        fprintf(to, "%-18s", "mean");
        for (size_t l = 0; l < s.n_lengths; l++) {
            if (isfinite(s.means[l])) fprintf(to, "%22.2f", s.means[l]);
            else fprintf(to, "%22s", "-");
        }
        const natsl_eval_summary sum = natsl_eval_summarise(s.lengths, s.means, s.n_lengths);
        fprintf(to, "\naverage %.2f, weighted to long lengths %.2f, to short ones %.2f; ", sum.average, sum.increasing,
                sum.decreasing);
        if (sum.effective > 0)
            fprintf(to, "effective length %s%s (score of %.1f or more)\n", sum.all_effective ? "at least " : "",
                    natsl_short_tokens(sum.effective, text), NATSL_EFFECTIVE_SCORE);
        else fprintf(to, "no length is effective (score of %.1f or more)\n", NATSL_EFFECTIVE_SCORE);
        fprintf(to, "in percent, with 95 %% intervals (Wilson)");
        for (size_t i = 0; i < store->n_cells; i++) {
            if (s.scores[i].samples < store->cells[i].samples) {
                fprintf(to, "; *: not all samples are finished");
                break;
            }
        }
        fprintf(to, "\n");
        if (unfit_of(&s, store->n_cells) > 0)
            fprintf(to, "%lld samples do not fit in their length and count as failures\n",
                    (long long)unfit_of(&s, store->n_cells));
    }
    free_shape(&s);
}
