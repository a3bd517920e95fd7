/* json_text.c - see json_text.h. */
#include "json_text.h"

#include "core.h"
#include "utf8.h"

#include <string.h>

json_t *natsl_json_text(const char *text, size_t length)
{
    json_t *string = json_stringn(text, length);
    if (string || length > SIZE_MAX / 4) return string;
    char *clean = natsl_alloc(3 * length + 1, 1, "text");
    size_t n = 0;
    for (size_t i = 0; clean && i < length;) {
        const size_t take = natsl_utf8_character(text + i, length - i);
        memcpy(clean + n, take ? text + i : "\xef\xbf\xbd", take ? take : 3);
        n += take ? take : 3;
        i += take ? take : 1;
    }
    string = clean ? json_stringn(clean, n) : NULL;
    natsl_free(clean);
    return string;
}

json_t *natsl_json_text_or_null(const char *text) { return text ? natsl_json_text(text, strlen(text)) : json_null(); }
