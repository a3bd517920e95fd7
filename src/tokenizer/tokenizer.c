/* tokenizer.c - the byte tokenizer. See tokenizer.h. */
#include "tokenizer.h"

#include "core.h"

#include <string.h>

natsl_status natsl_tokenizer_create(const char *kind, int32_t vocab_size, natsl_tokenizer *out)
{
    const int none = strcmp(kind, "none") == 0;
    if (!none && strcmp(kind, "byte") != 0)
        return natsl_fail(NATSL_ERR_INPUT, "tokenizer '%s' is unknown, expected byte", kind);
    if (vocab_size < NATSL_BYTE_TOKENS)
        return natsl_fail(NATSL_ERR_INPUT,
                          "%s and its vocabulary of %d tokens is too small for bytes: text cannot be read, "
                          "expected a token file",
                          none ? "the model names no tokenizer" : "the model's tokenizer is byte", vocab_size);
    out->vocab_size = vocab_size;
    return NATSL_OK;
}

natsl_status natsl_tokenizer_encode(const natsl_tokenizer *t, const char *text, size_t length, int32_t *ids,
                                    size_t *count)
{
    (void)t; /* every tokenizer has this signature */
    for (size_t i = 0; i < length; i++) ids[i] = (unsigned char)text[i];
    *count = length;
    return NATSL_OK;
}

size_t natsl_tokenizer_decode(const natsl_tokenizer *t, int32_t id, char text[NATSL_TOKEN_BYTES])
{
    if (id < 0 || id >= NATSL_BYTE_TOKENS || id >= t->vocab_size) return 0;
    text[0] = (char)(unsigned char)id;
    return 1;
}
