/* fuzz_tokenizer.c - tokenizer.json, and text through what was read: the ids must be the same whether a text comes in one piece or in
 * parts, lie in the vocabulary, and give a text back. An input is the JSON, and behind a byte 0 a text of its own. */
#include "core.h"
#include "fuzz.h"
#include "tokenizer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TEXT_MOST 512

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    return 0;
}

/** The text in parts of 1, 2, 3, ... bytes. */
static natsl_status in_parts(const natsl_tokenizer *t, const char *text, size_t length, natsl_ids *ids)
{
    natsl_encoder *e = NULL;
    natsl_status st = natsl_encoder_create(t, 1, &e);
    size_t part = 1;
    for (size_t at = 0, n = 0; st == NATSL_OK; at += n, part++) {
        n = length - at < part ? length - at : part;
        st = natsl_encoder_add(e, text + at, n, at + n == length, part % 2 == 0, ids);
        if (at + n == length) break;
    }
    natsl_encoder_destroy(&e);
    return st;
}

static void decode(const natsl_tokenizer *t, const natsl_ids *ids)
{
    for (int special = 0; special < 2; special++) {
        natsl_decoder *d = NULL;
        natsl_bytes text = {0};
        natsl_status st = natsl_decoder_create(t, special, &d);
        for (size_t i = 0; i < ids->count && st == NATSL_OK; i++) st = natsl_decoder_add(d, ids->at[i], &text);
        if (st == NATSL_OK) st = natsl_decoder_finish(d, &text);
        natsl_decoder_destroy(&d);
        natsl_bytes_free(&text);
    }
}

static void run(const natsl_tokenizer *t, const char *text, size_t length)
{
    natsl_ids whole = {0}, parts = {0};
    const natsl_status st = natsl_tokenizer_encode(t, text, length, 0, &whole);
    const natsl_status st2 = in_parts(t, text, length, &parts);
    if (st == NATSL_OK && st2 == NATSL_OK &&
        (whole.count != parts.count ||
         (whole.count > 0 && memcmp(whole.at, parts.at, whole.count * sizeof *whole.at)))) {
        fprintf(stderr, "%zu ids of the whole, %zu of its parts\n", whole.count, parts.count);
        abort();
    }
    for (size_t i = 0; st == NATSL_OK && i < whole.count; i++) {
        if (whole.at[i] < 0 || whole.at[i] >= natsl_tokenizer_vocab(t)) abort();
    }
    if (st == NATSL_OK) decode(t, &whole);
    natsl_ids_free(&whole);
    natsl_ids_free(&parts);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char plain[] = " The 12,345 words  <s>wouldn't</s> \xc3\xa9t\xc3\xa9 e\xcc\x81 "
                                "\xef\xac\x81\xe2\x96\x81 \xe4\xb8\xad\n\n\t\xff\xc3 end ";
    natsl_tokenizer *t = NULL;
    const uint8_t *gap = size > 0 ? memchr(data, 0, size) : NULL;
    const size_t json = gap ? (size_t)(gap - data) : size;
    if (natsl_tokenizer_create("json", 0, (const char *)data, json, "tokenizer.json", &t) != NATSL_OK) return 0;
    for (int end = 0; end < 2; end++) {
        size_t n = 0;
        const int32_t *ids = natsl_tokenizer_around(t, end, &n);
        for (size_t i = 0; i < n; i++) {
            if (ids[i] < 0 || ids[i] >= natsl_tokenizer_vocab(t)) abort();
        }
    }
    run(t, plain, sizeof plain - 1);
    if (gap && size - json - 1 <= TEXT_MOST) run(t, (const char *)gap + 1, size - json - 1);
    natsl_tokenizer_destroy(&t);
    return 0;
}
