/* ids.c - a tokenizer.json at work, for tests/tokenizer/compare: text to ids, ids to text, and how fast.
 * usage: ids encode T.json TEXT OUT [BYTES]   text in parts of BYTES (0: as one); OUT: int32
 *        ids special T.json TEXT OUT          the same with the special tokens around it
 *        ids cuts T.json TEXT PARTS           the text in PARTS parts begun each for itself and put together: says whether it is equal
 *        ids decode T.json IDS OUT            and with special tokens: decode-all
 * Prints the processor seconds of the work itself. */
#include "core.h"
#include "tokenizer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static char *read_file(const char *path, size_t *length)
{
    FILE *file = fopen(path, "rb");
    if (!file || fseek(file, 0, SEEK_END) != 0) return NULL;
    const long n = ftell(file);
    char *text = n >= 0 ? malloc((size_t)n + 1) : NULL;
    rewind(file);
    *length = text ? fread(text, 1, (size_t)n, file) : 0;
    (void)fclose(file);
    return text;
}

static natsl_status in_parts(const natsl_tokenizer *t, const char *text, size_t length, size_t step, natsl_ids *ids)
{
    natsl_encoder *e = NULL;
    natsl_status st = natsl_encoder_create(t, 1, &e);
    for (size_t at = 0; st == NATSL_OK && at < length; at += step)
        st = natsl_encoder_add(e, text + at, length - at < step ? length - at : step, 0, step < 4096, ids);
    if (st == NATSL_OK) st = natsl_encoder_add(e, NULL, 0, 1, 0, ids);
    natsl_encoder_destroy(&e);
    return st;
}

int main(int argc, char **argv)
{
    size_t n_json = 0, n_text = 0;
    natsl_tokenizer *t = NULL;
    natsl_ids ids = {0};
    natsl_bytes out = {0};
    if (argc < 5) return 2;
    char *json = read_file(argv[2], &n_json), *text = read_file(argv[3], &n_text);
    if (!json || !text) return 2;
    natsl_status st = natsl_tokenizer_create("json", 0, json, n_json, argv[2], &t);
    const double start = natsl_thread_s();
    const size_t step = argc > 5 ? strtoul(argv[5], NULL, 10) : 0;
    if (st == NATSL_OK && strncmp(argv[1], "decode", 6) == 0) {
        natsl_decoder *d = NULL;
        st = natsl_decoder_create(t, strcmp(argv[1], "decode-all") == 0, &d);
        for (size_t i = 0; i < n_text / 4 && st == NATSL_OK; i++)
            st = natsl_decoder_add(d, ((int32_t *)(void *)text)[i], &out);
        if (st == NATSL_OK) st = natsl_decoder_finish(d, &out);
        natsl_decoder_destroy(&d);
    } else if (st == NATSL_OK) {
        st = step > 0 ? in_parts(t, text, n_text, step, &ids)
                      : natsl_tokenizer_encode(t, text, n_text, strcmp(argv[1], "special") == 0, &ids);
    }
    printf("%.3f\n", natsl_thread_s() - start);
    if (st != NATSL_OK) fprintf(stderr, "ids: %s\n", natsl_error_text());
    FILE *file = st == NATSL_OK ? fopen(argv[4], "wb") : NULL;
    if (file && ids.count > 0) (void)fwrite(ids.at, sizeof *ids.at, ids.count, file);
    if (file && out.length > 0) (void)fwrite(out.at, 1, out.length, file);
    if (file) (void)fclose(file);
    natsl_ids_free(&ids);
    natsl_bytes_free(&out);
    natsl_tokenizer_destroy(&t);
    free(json);
    free(text);
    return (int)st;
}
