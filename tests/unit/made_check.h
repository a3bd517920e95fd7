/* made_check.h - what the tests of texts made in tokens share: tokenizers, and what tokens say. */
#ifndef NATSL_TEST_MADE_CHECK_H
#define NATSL_TEST_MADE_CHECK_H

#include "core.h"
#include "tokenizer.h"

#include "../suite.h"

#include <stdlib.h>
#include <string.h>

#define TEXT 200000 /* bytes of a text, at most */

/** Another text for each time that one comes in `text`. */
static inline void change(char *text, size_t size, const char *from, const char *to)
{
    int n = 0;
    for (char *at = text; (at = strstr(at, from)) != NULL; at += strlen(to), n++) {
        if (strlen(text) + strlen(to) >= size) abort();
        memmove(at + strlen(to), at + strlen(from), strlen(at + strlen(from)) + 1);
        memcpy(at, to, strlen(to));
    }
    if (n == 0) abort();
}

/** A tokenizer of tests/golden/tokenizer. "whole": bytes.json without accents, which is never cut; "plain": the same, cut; "crossing": bytes.json
 * with a token " is:", where nothing splits. */
static inline natsl_tokenizer *open_tokenizer(const char *tokenizer)
{
    static char text[1 << 16];
    const int changed = strcmp(tokenizer, "whole") == 0 || strcmp(tokenizer, "plain") == 0,
              crossing = strcmp(tokenizer, "crossing") == 0;
    const char *name = changed || crossing ? "bytes" : tokenizer;
    char path[1024];
    natsl_tokenizer *t = NULL;
    (void)snprintf(path, sizeof path, "%s/tokenizer/%s.json", NATSL_GOLDEN_DIR, name);
    FILE *f = fopen(path, "rb");
    size_t length = f ? fread(text, 1, sizeof text - 1, f) : 0;
    if (!f || fclose(f) != 0) abort();
    text[length] = '\0';
    if (crossing) {
        change(text, sizeof text, "\"single_word\":true", "\"single_word\":false");
        change(text, sizeof text, "\"use_regex\":true", "\"use_regex\":false");
        change(text, sizeof text, "\"vocab\":{", "\"vocab\":{\"\xc4\xa0is:\":700,");
        change(text, sizeof text, "\"merges\":[", "\"merges\":[[\"\xc4\xa0is\",\":\"],");
        length = strlen(text);
    }
    if (changed) {
        change(
            text, sizeof text, "\"normalizer\":null",
            "\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"NFD\"},{\"type\":\"StripAccents\"}]}");
        if (strcmp(tokenizer, "plain") == 0) change(text, sizeof text, "\"single_word\":true", "\"single_word\":false");
        length = strlen(text);
    }
    EXPECT(natsl_tokenizer_create("json", 0, text, length, path, &t) == NATSL_OK, "%s", natsl_error_text());
    CU_ASSERT_PTR_NOT_NULL_FATAL(t);
    return t;
}

/** Text of ids[0..count), and where each token ends in it (NULL: not wanted). */
static inline size_t decode(const natsl_tokenizer *t, const int32_t *from, int64_t count, char *text, int64_t *ends)
{
    natsl_decoder *d = NULL;
    natsl_bytes bytes = {0};
    if (natsl_decoder_create(t, 1, &d) != NATSL_OK) abort();
    for (int64_t i = 0; i < count; i++) {
        if (natsl_decoder_add(d, from[i], &bytes) != NATSL_OK) abort();
        if (ends) ends[i] = (int64_t)bytes.length;
    }
    if (natsl_decoder_finish(d, &bytes) != NATSL_OK || bytes.length >= TEXT) abort();
    if (ends && count > 0) ends[count - 1] = (int64_t)bytes.length;
    memcpy(text, bytes.at, bytes.length);
    text[bytes.length] = '\0';
    const size_t length = bytes.length;
    natsl_bytes_free(&bytes);
    natsl_decoder_destroy(&d);
    return length;
}

#endif
