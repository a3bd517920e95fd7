/* tok_read.c - a tokenizer.json taken apart. See tok.h and tok_read.h. */
#include "tok_read.h"

#include "core.h"
#include "fields.h"
#include <string.h>

#define MOST_AROUND 4096 /* special tokens before, and after, a text */
#define MAX_DEPTH   8    /* of sequences in one another */

/** An object, or a Sequence of them in `member`, or null. */
static natsl_status each(natsl_tok_reading *r, const json_t *value, const char *part, const char *member, int depth,
                         natsl_tok_read_one *one)
{
    const char *type = NULL;
    size_t length = 0;
    (void)snprintf(r->where, sizeof r->where, "%.400s: %s", r->file, part);
    if (!value || json_is_null(value)) return NATSL_OK;
    if (!json_is_object(value)) return natsl_fail(NATSL_ERR_INPUT, "%s: expected an object or null", r->where);
    natsl_status st = natsl_json_need(value, "type", r->where, &type, &length);
    if (st != NATSL_OK) return st;
    if (strcmp(type, "Sequence") != 0) {
        (void)snprintf(r->where, sizeof r->where, "%.400s: %s: %.60s", r->file, part, type);
        return one(r, value, type);
    }
    const json_t *list = json_object_get(value, member);
    if (!json_is_array(list)) return natsl_fail(NATSL_ERR_INPUT, "%s: %s: expected an array", r->where, member);
    if (depth == MAX_DEPTH) return natsl_fail(NATSL_ERR_INPUT, "%s: too many sequences in one another", r->where);
    for (size_t i = 0; i < json_array_size(list) && st == NATSL_OK; i++)
        st = each(r, json_array_get(list, i), part, member, depth + 1, one);
    return st;
}

/* ---- post-processor -------------------------------------------------------------------------------------------------- */

static natsl_status too_many(const natsl_tok_reading *r)
{
    return natsl_fail(NATSL_ERR_INPUT, "%s: more than %d tokens around a text", r->where, MOST_AROUND);
}

/** Ids around a text: those before go before what earlier steps have put there, those after behind. */
static natsl_status around(const natsl_tok_reading *r, natsl_ids *ids, const int32_t *more, size_t count, int front)
{
    if (count > MOST_AROUND || ids->count > MOST_AROUND - count) return too_many(r);
    const natsl_status st = natsl_ids_add(ids, more, count);
    if (st != NATSL_OK || !front || count == 0) return st;
    memmove(ids->at + count, ids->at, (ids->count - count) * sizeof *ids->at);
    memcpy(ids->at, more, count * sizeof *more);
    return NATSL_OK;
}

/** ["text", id] of BertProcessing and RobertaProcessing. */
static natsl_status pair_id(const natsl_tok_reading *r, const json_t *object, const char *name, int32_t *id)
{
    const json_t *value = json_object_get(object, name), *number = json_array_get(value, 1);
    const json_int_t found = json_is_integer(number) ? json_integer_value(number) : -1;
    if (found < 0 || found >= r->tok->end)
        return natsl_fail(NATSL_ERR_INPUT, "%s: %s: expected a text and the id of a token", r->where, name);
    *id = (int32_t)found;
    return NATSL_OK;
}

static natsl_status template_ids(const natsl_tok_reading *r, const json_t *special, const json_t *name, natsl_ids *ids)
{
    const json_t *list = json_object_get(json_object_get(special, json_string_value(name)), "ids");
    natsl_status st = NATSL_OK;
    if (!json_is_array(list))
        return natsl_fail(NATSL_ERR_INPUT, "%s: special_tokens lacks \"%.60s\"", r->where, json_string_value(name));
    for (size_t i = 0; i < json_array_size(list) && st == NATSL_OK; i++) {
        const json_t *value = json_array_get(list, i);
        const json_int_t id = json_is_integer(value) ? json_integer_value(value) : -1;
        if (id < 0 || id >= r->tok->end)
            return natsl_fail(NATSL_ERR_INPUT, "%s: special_tokens: expected ids of tokens", r->where);
        if (ids->count == MOST_AROUND) return too_many(r); /* now: a short file may name a long list many times */
        st = natsl_ids_add(ids, &(int32_t){(int32_t)id}, 1);
    }
    return st;
}

static natsl_status template(const natsl_tok_reading *r, const json_t *object)
{
    const json_t *single = json_object_get(object, "single"), *special = json_object_get(object, "special_tokens");
    natsl_ids ids[2] = {{0}};
    int texts = 0;
    natsl_status st = NATSL_OK;
    if (!json_is_array(single)) return natsl_fail(NATSL_ERR_INPUT, "%s: single: expected an array", r->where);
    for (size_t i = 0; i < json_array_size(single) && st == NATSL_OK; i++) {
        const json_t *piece = json_array_get(single, i);
        const json_t *name = json_object_get(json_object_get(piece, "SpecialToken"), "id");
        if (json_object_get(piece, "Sequence")) texts++;
        else if (json_is_string(name)) st = template_ids(r, special, name, &ids[texts > 0]);
        else st = natsl_fail(NATSL_ERR_INPUT, "%s: single: expected SpecialToken or Sequence", r->where);
    }
    if (st == NATSL_OK && texts != 1)
        st = natsl_fail(NATSL_ERR_INPUT, "%s: single: %d times the text, expected once", r->where, texts);
    if (st == NATSL_OK) st = around(r, &r->tok->before, ids[0].at, ids[0].count, 1);
    if (st == NATSL_OK) st = around(r, &r->tok->after, ids[1].at, ids[1].count, 0);
    natsl_ids_free(&ids[0]);
    natsl_ids_free(&ids[1]);
    return st;
}

static natsl_status post_processor(natsl_tok_reading *r, const json_t *object, const char *type)
{
    if (strcmp(type, "ByteLevel") == 0) return NATSL_OK; /* about offsets, not ids */
    if (strcmp(type, "TemplateProcessing") == 0) return template(r, object);
    if (strcmp(type, "BertProcessing") == 0 || strcmp(type, "RobertaProcessing") == 0) {
        int32_t first = 0, last = 0;
        natsl_status st = pair_id(r, object, "cls", &first);
        if (st == NATSL_OK) st = pair_id(r, object, "sep", &last);
        if (st == NATSL_OK) st = around(r, &r->tok->before, &first, 1, 1);
        return st == NATSL_OK ? around(r, &r->tok->after, &last, 1, 0) : st;
    }
    return natsl_tok_not_supported(r, type);
}

/* ---- the whole ------------------------------------------------------------------------------------------------------- */

/** Whether a cut can be found at all: by the first step that splits, else between merges. */
static void find_top(natsl_tok *tok)
{
    for (size_t i = 0; i < tok->splits.count; i++) {
        if (tok->splits.step[i].kind != NATSL_TOK_SPLIT) continue;
        if (!natsl_regex_forward(tok->splits.step[i].regex)) tok->whole = 1;
        return;
    }
    if (!natsl_bpe_cuts(tok->bpe)) tok->whole = 1;
}

static natsl_status model(natsl_tok_reading *r, const json_t *object)
{
    const char *type = "BPE"; /* the first files name none */
    size_t length = 0;
    natsl_status st = NATSL_OK;
    (void)snprintf(r->where, sizeof r->where, "%.400s: model", r->file);
    if (!json_is_object(object)) return natsl_fail(NATSL_ERR_INPUT, "%s: expected an object", r->where);
    if (json_object_get(object, "type")) st = natsl_json_need(object, "type", r->where, &type, &length);
    if (st == NATSL_OK && strcmp(type, "BPE") != 0) st = natsl_tok_not_supported(r, type);
    return st == NATSL_OK ? natsl_bpe_create(object, r->tok->bytes, r->where, &r->tok->bpe) : st;
}

natsl_status natsl_tok_read(const json_t *root, const char *where, natsl_tok **out)
{
    natsl_tok *tok = natsl_calloc(1, sizeof *tok, "tokenizer");
    natsl_tok_reading r = {.tok = tok, .file = where};
    *out = NULL;
    natsl_status st = tok ? NATSL_OK : NATSL_ERR_NOMEM;
    if (st == NATSL_OK && !json_is_object(root)) st = natsl_fail(NATSL_ERR_INPUT, "%s: expected an object", where);
    if (st == NATSL_OK)
        st = each(&r, json_object_get(root, "normalizer"), "normalizer", "normalizers", 0, natsl_tok_normalizer);
    if (st == NATSL_OK)
        st = each(&r, json_object_get(root, "pre_tokenizer"), "pre_tokenizer", "pretokenizers", 0,
                  natsl_tok_pre_tokenizer);
    if (st == NATSL_OK) st = model(&r, json_object_get(root, "model"));
    if (st == NATSL_OK) st = natsl_tok_read_added(&r, json_object_get(root, "added_tokens"));
    if (st == NATSL_OK)
        st = each(&r, json_object_get(root, "post_processor"), "post_processor", "processors", 0, post_processor);
    if (st == NATSL_OK)
        st = each(&r, json_object_get(root, "decoder"), "decoder", "decoders", 0, natsl_tok_decoder_step);
    if (st == NATSL_OK) tok->has_decoder = json_is_object(json_object_get(root, "decoder"));
    if (st == NATSL_OK) st = natsl_tok_check_decoders(&r);
    if (st == NATSL_OK) find_top(tok);
    if (st != NATSL_OK) natsl_tok_destroy(&tok);
    *out = tok;
    return st;
}

static void free_steps(natsl_tok_steps *steps)
{
    for (size_t i = 0; i < steps->count; i++) {
        natsl_regex_destroy(&steps->step[i].regex);
        natsl_free(steps->step[i].text);
    }
}

void natsl_tok_destroy(natsl_tok **out)
{
    natsl_tok *tok = *out;
    if (!tok) return;
    natsl_bpe_destroy(&tok->bpe);
    free_steps(&tok->normalizers);
    free_steps(&tok->splits);
    free_steps(&tok->decoders);
    for (size_t i = 0; i < tok->n_added; i++) {
        natsl_free(tok->added[i].text);
        natsl_free(tok->added[i].content);
    }
    natsl_free(tok->added);
    natsl_free(tok->in_text.at);
    natsl_free(tok->in_normalized.at);
    natsl_free(tok->by_id);
    natsl_ids_free(&tok->before);
    natsl_ids_free(&tok->after);
    natsl_free(tok);
    *out = NULL;
}
