/* test_tok.c - tokenizers of tokenizer.json: ids and texts as the tokenizers package has them (tests/golden/tokenizer, made by
 * tests/tokenizer/compare), texts cut everywhere, encoders that begin in the middle, and files that are wrong. */
#include "bpe_impl.h"
#include "core.h"
#include "regex.h"
#include "rng.h"
#include "tokenizer.h"
#include "utf8.h"

#include "../suite.h"

#include <CUnit/Basic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char golden[] = NATSL_GOLDEN_DIR;
static const char *const names[] = {"bytes", "metaspace", "digits", "qwen"};

static natsl_bytes file_of(const char *name, const char *end)
{
    char path[1024], block[4096];
    natsl_bytes b = {0};
    (void)snprintf(path, sizeof path, "%s/tokenizer/%s%s", golden, name, end);
    FILE *file = fopen(path, "rb");
    CU_ASSERT_PTR_NOT_NULL_FATAL(file);
    for (size_t n; (n = fread(block, 1, sizeof block, file)) > 0;) (void)natsl_bytes_add(&b, block, n);
    (void)fclose(file);
    (void)natsl_bytes_add(&b, "", 1);
    b.length--;
    return b;
}

/** words of a text replaced: of another length, too. */
static void change(natsl_bytes *b, const char *from, const char *to)
{
    natsl_bytes out = {0};
    for (size_t at = 0; at < b->length;) {
        const size_t n = strlen(from);
        const int here = b->length - at >= n && memcmp(b->at + at, from, n) == 0;
        (void)natsl_bytes_add(&out, here ? to : b->at + at, here ? strlen(to) : 1);
        at += here ? n : 1;
    }
    natsl_bytes_free(b);
    *b = out;
}

static natsl_tokenizer *tokenizer_of(const char *name, int cuts)
{
    natsl_tokenizer *t = NULL;
    natsl_bytes json = file_of(name, ".json");
    if (cuts) change(&json, "\"single_word\":true", "\"single_word\":false");
    EXPECT(natsl_tokenizer_create("json", 0, json.at, json.length, name, &t) == NATSL_OK, "%s", natsl_error_text());
    CU_ASSERT_PTR_NOT_NULL_FATAL(t);
    CU_ASSERT(!cuts || natsl_tokenizer_cuts(t));
    natsl_bytes_free(&json);
    return t;
}

static int equal(const natsl_ids *a, const natsl_ids *b)
{
    return a->count == b->count && (a->count == 0 || memcmp(a->at, b->at, a->count * sizeof *a->at) == 0);
}

static void test_golden(void)
{
    natsl_bytes text = file_of("text", ".bin");
    for (size_t k = 0; k < COUNT(names); k++) {
        natsl_tokenizer *t = tokenizer_of(names[k], 0);
        natsl_bytes numbers = file_of(names[k], ".ids"), want = file_of(names[k], ".txt"), shown = {0}, mended = {0};
        natsl_ids ids = {0}, expected = {0};
        natsl_decoder *d = NULL;
        size_t used = 0;
        char *at = numbers.at;
        for (char *end = at;; at = end) {
            const int32_t id = (int32_t)strtol(at, &end, 10);
            if (end == at) break;
            (void)natsl_ids_add(&expected, &id, 1);
        }
        CU_ASSERT(natsl_tokenizer_encode(t, text.at, text.length, 1, &ids) == NATSL_OK);
        EXPECT(expected.count > 1000 && equal(&ids, &expected), "%s: %zu ids, expected %zu", names[k], ids.count,
               expected.count);
        CU_ASSERT_FATAL(natsl_decoder_create(t, 0, &d) == NATSL_OK);
        for (size_t i = 0; i < ids.count; i++) CU_ASSERT(natsl_decoder_add(d, ids.at[i], &shown) == NATSL_OK);
        CU_ASSERT(natsl_decoder_finish(d, &shown) == NATSL_OK);
        CU_ASSERT(natsl_utf8_mend(&mended, shown.at, shown.length, 1, &used) == NATSL_OK);
        EXPECT(mended.length == want.length && memcmp(mended.at, want.at, want.length) == 0, "%s: another text",
               names[k]);
        natsl_decoder_destroy(&d);
        natsl_tokenizer_destroy(&t);
        natsl_bytes_free(&numbers), natsl_bytes_free(&want), natsl_bytes_free(&shown), natsl_bytes_free(&mended);
        natsl_ids_free(&ids), natsl_ids_free(&expected);
    }
    natsl_bytes_free(&text);
}

/** In parts of `step` bytes, each taken as far as can be. */
static void in_parts(const natsl_tokenizer *t, const natsl_bytes *text, size_t step, natsl_ids *ids)
{
    natsl_encoder *e = NULL;
    CU_ASSERT_FATAL(natsl_encoder_create(t, 1, &e) == NATSL_OK);
    for (size_t at = 0; at < text->length; at += step) {
        const size_t n = text->length - at < step ? text->length - at : step;
        CU_ASSERT(natsl_encoder_add(e, text->at + at, n, at + n == text->length, 1, ids) == NATSL_OK);
    }
    natsl_encoder_destroy(&e);
}

static void test_parts(void)
{
    static const size_t steps[] = {1, 2, 3, 7, 61, 1000};
    natsl_bytes text = file_of("text", ".bin");
    for (size_t k = 0; k < COUNT(names); k++) {
        natsl_tokenizer *t = tokenizer_of(names[k], 1);
        natsl_ids whole = {0}, parts = {0};
        CU_ASSERT(natsl_tokenizer_encode(t, text.at, text.length, 0, &whole) == NATSL_OK);
        for (size_t i = 0; i < COUNT(steps); i++) {
            parts.count = 0;
            in_parts(t, &text, steps[i], &parts);
            EXPECT(equal(&whole, &parts), "%s in parts of %zu: %zu ids, expected %zu", names[k], steps[i], parts.count,
                   whole.count);
        }
        natsl_tokenizer_destroy(&t);
        natsl_ids_free(&whole), natsl_ids_free(&parts);
    }
    natsl_bytes_free(&text);
}

/** An encoder that begins at any character agrees from the first common mark on. */
static void test_middle(void)
{
    natsl_bytes text = file_of("text", ".bin"), mended = {0};
    size_t used = 0, joined = 0, tried = 0;
    CU_ASSERT_FATAL(natsl_utf8_mend(&mended, text.at, text.length, 1, &used) == NATSL_OK);
    for (size_t k = 0; k < COUNT(names); k++) {
        natsl_tokenizer *t = tokenizer_of(names[k], 1);
        natsl_ids whole = {0}, rest = {0};
        natsl_encoder *e = NULL;
        size_t n = 0, m = 0;
        CU_ASSERT_FATAL(natsl_encoder_create(t, 1, &e) == NATSL_OK);
        natsl_encoder_keep_marks(e);
        CU_ASSERT(natsl_encoder_add(e, mended.at, mended.length, 1, 0, &whole) == NATSL_OK);
        const natsl_mark *a = natsl_encoder_marks(e, &n);
        for (size_t begin = 13; begin < mended.length; begin += 97) {
            natsl_encoder *late = NULL;
            if (natsl_utf8_inside(mended.at[begin])) continue;
            rest.count = 0;
            CU_ASSERT_FATAL(natsl_encoder_create(t, 0, &late) == NATSL_OK);
            natsl_encoder_keep_marks(late);
            CU_ASSERT(natsl_encoder_add(late, mended.at + begin, mended.length - begin, 1, 0, &rest) == NATSL_OK);
            const natsl_mark *b = natsl_encoder_marks(late, &m);
            tried++;
            for (size_t i = 0, j = 0; i < n && j < m;) {
                if (a[i].at < b[j].at + begin) i++;
                else if (a[i].at > b[j].at + begin) j++;
                else if (a[i].part != b[j].part) i++, j++;
                else {
                    const size_t left = whole.count - a[i].ids;
                    EXPECT(rest.count - b[j].ids == left &&
                               memcmp(whole.at + a[i].ids, rest.at + b[j].ids, left * sizeof(int32_t)) == 0,
                           "%s from byte %zu on", names[k], begin);
                    joined++;
                    i++, j++; /* and at every further one */
                    if (a[i - 1].at > begin + 400) break;
                }
            }
            natsl_encoder_destroy(&late);
        }
        natsl_encoder_destroy(&e);
        natsl_tokenizer_destroy(&t);
        natsl_ids_free(&whole), natsl_ids_free(&rest);
    }
    EXPECT(joined > tried, "%zu common marks of %zu beginnings", joined, tried);
    natsl_bytes_free(&text), natsl_bytes_free(&mended);
}

/** {"model": {"vocab": {...}, "merges": [...]}} with more of it changed by the cases. */
#define VOCAB(more) "{'model':{'type':'BPE','vocab':{'a':0,'b':1,'ab':2},'merges':['a b']}" more "}"

/* Twelve times as long. */
#define TWELVE "{'type':'Replace','pattern':{'String':'x'},'content':'xxxxxxxxxxxx'},"

static void test_wrong(void)
{
    static const struct {
        const char *json, *word;
    } cases[] = {
        {"", "line 1"},
        {"[]", "expected an object"},
        {"{'model':{'type':'BPE'}}", "expected an object vocab"},
        {"{'model':[]}", "model: expected an object"},
        {"{'model':{'type':'Unigram','vocab':[]}}", "\"Unigram\" is not supported"},
        {"{'model':{'type':'WordPiece','vocab':{}}}", "\"WordPiece\" is not supported"},
        {"{'model':{'vocab':{'a':0,'b':0},'merges':[]}}", "which another token has"},
        {"{'model':{'vocab':{'a':-1},'merges':[]}}", "not a whole number"},
        {"{'model':{'vocab':{'a':16777216},'merges':[]}}", "not a whole number"},
        {"{'model':{'vocab':{'a':1e3},'merges':[]}}", "not a whole number"},
        {"{'model':{'vocab':{'a':'0'},'merges':[]}}", "not a whole number"},
        {"{'model':{'vocab':{'a\\u0000':0},'merges':[]}}", "NUL"},
        {"{'model':{'vocab':{'a':0},'merges':['a b']}}", "names \"b\""},
        {"{'model':{'vocab':{'a':0,'b':1},'merges':['a b']}}", "names \"ab\""},
        {"{'model':{'vocab':{'a':0},'merges':['a']}}", "no space"},
        {"{'model':{'vocab':{'a':0},'merges':['a  a']}}", "more than one space"},
        {"{'model':{'vocab':{'a':0},'merges':[['a','']]}}", "empty text"},
        {"{'model':{'vocab':{'a':0},'merges':[['a']]}}", "neither a text nor a pair"},
        {"{'model':{'vocab':{'a':0},'merges':{}}}", "array merges"},
        {"{'model':{'vocab':{'a':0},'merges':[],'dropout':0.1}}", "dropout"},
        {"{'model':{'vocab':{'a':0},'merges':[],'byte_fallback':1}}", "byte_fallback: expected true or false"},
        {"{'model':{'vocab':{'a':0},'merges':[],'unk_token':3}}", "unk_token"},
        {VOCAB(",'normalizer':{'type':'Nmt'}"), "normalizer: Nmt: \"Nmt\" is not supported"},
        {VOCAB(",'normalizer':{'type':'Precompiled'}"), "not supported"},
        {VOCAB(",'normalizer':3"), "expected an object or null"},
        {VOCAB(",'normalizer':{'type':'Sequence','normalizers':{}}"), "expected an array"},
        {VOCAB(",'normalizer':{'type':'Replace','pattern':{'Regex':'('},'content':''}"), "without end"},
        {VOCAB(",'normalizer':{'type':'Replace','pattern':{'String':''},'content':''}"), "empty text"},
        {VOCAB(",'pre_tokenizer':{'type':'UnicodeScripts'}"), "not supported"},
        {VOCAB(",'pre_tokenizer':{'type':'Split','pattern':{'Regex':'a'},'behavior':'Odd'}"),
         "\"Odd\" is not supported"},
        {VOCAB(",'pre_tokenizer':{'type':'Split','pattern':'a','behavior':'Isolated'}"),
         "expected an object with String"},
        {VOCAB(",'pre_tokenizer':{'type':'Split','pattern':{'Regex':'[a&&b]'}}"), "intersection"},
        {VOCAB(",'pre_tokenizer':{'type':'Split','pattern':{'Regex':'\\\\h'}}"), "this escape"},
        {VOCAB(",'pre_tokenizer':{'type':'Split','pattern':{'Regex':'\\\\p{Nonsense}'}}"), "regular expression"},
        {VOCAB(",'pre_tokenizer':{'type':'Metaspace','replacement':'ab'}"), "expected one character"},
        {VOCAB(",'pre_tokenizer':{'type':'Sequence','pretokenizers':[{'type':'ByteLevel'},{'type':'Digits'}]}"),
         "after ByteLevel"},
        {VOCAB(",'decoder':{'type':'CTC'}"), "decoder: CTC"},
        {VOCAB(",'decoder':{'type':'Sequence','decoders':[{'type':'ByteLevel'},{'type':'Replace','pattern':{'String':'"
               "x'},"
               "'content':'y'}]}"),
         "Replace, or a character that is not ASCII, after ByteLevel"},
        {VOCAB(",'decoder':{'type':'Sequence','decoders':[{'type':'ByteLevel'},{'type':'Metaspace','replacement':'"
               "\xe2\x96\x81"
               "'}]}"),
         "not ASCII, after ByteLevel"},
        {VOCAB(
             ",'decoder':{'type':'Sequence','decoders':[{'type':'ByteLevel'},{'type':'Strip','content':'\xe2\x96\x81',"
             "'start':1,'stop':0}]}"),
         "not ASCII, after ByteLevel"},
        {VOCAB(",'decoder':{'type':'Strip','content':' ','start':-1,'stop':0}"), "start"},
        {VOCAB(",'added_tokens':[{'id':7}]"), "content"},
        {VOCAB(",'added_tokens':[{'id':7.5,'content':'x'}]"), "id: expected a whole number"},
        {VOCAB(",'added_tokens':[{'id':2147483648,'content':'x'}]"), "id: expected a whole number"},
        {VOCAB(",'added_tokens':[{'id':1,'content':'x'}]"), "which another token has"},
        {VOCAB(",'added_tokens':[{'id':1,'content':'a'}]"), "0 in the vocabulary"},
        {VOCAB(",'added_tokens':[{'id':7,'content':'x'},{'id':7,'content':'y'}]"), "which another one has"},
        {VOCAB(",'added_tokens':{}"), "expected an array"},
        {VOCAB(",'added_tokens':[{'id':7,'content':''}]"), "a text of 0 bytes, expected 1 to 4096"},
        {VOCAB(",'normalizer':{'type':'Sequence','normalizers':[" TWELVE TWELVE TWELVE TWELVE "{'type':'NFC'}]},"
               "'added_tokens':[{'id':8,'content':'y','normalized':false},{'id':7,'content':'x','normalized':true}]"),
         "entry 1: a text grows beyond 4096 bytes"},
        {VOCAB(",'normalizer':{'type':'Strip'},'added_tokens':[{'id':7,'content':' ','normalized':true}]"),
         "entry 0: a text that the normalizers leave nothing of"},
        {VOCAB(",'post_processor':{'type':'TemplateProcessing','single':[],'special_tokens':{}}"), "expected once"},
        {VOCAB(",'post_processor':{'type':'TemplateProcessing','single':[{'SpecialToken':{'id':'x'}}],'special_tokens':"
               "{}}"),
         "lacks \"x\""},
        {VOCAB(",'post_processor':{'type':'BertProcessing','sep':['x',9],'cls':['y',0]}"), "sep"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        natsl_tokenizer *t = NULL;
        natsl_bytes json = {0};
        (void)natsl_bytes_add(&json, cases[i].json, strlen(cases[i].json));
        for (size_t k = 0; k < json.length; k++) json.at[k] = json.at[k] == '\'' ? '"' : json.at[k];
        EXPECT(natsl_tokenizer_create("json", 0, json.at ? json.at : "", json.length, "T.json", &t) == NATSL_ERR_INPUT,
               "%s was taken", cases[i].json);
        EXPECT(strstr(natsl_error_text(), cases[i].word) != NULL, "%s: %s", cases[i].json, natsl_error_text());
        EXPECT(strncmp(natsl_error_text(), "T.json", 6) == 0, "%s: %s", cases[i].json, natsl_error_text());
        natsl_tokenizer_destroy(&t);
        natsl_bytes_free(&json);
    }
    natsl_tokenizer *t = NULL; /* more tokens than the model has */
    natsl_bytes json = file_of("bytes", ".json");
    CU_ASSERT_EQUAL(natsl_tokenizer_create("json", 100, json.at, json.length, "T.json", &t), NATSL_ERR_INPUT);
    CU_ASSERT_PTR_NOT_NULL(strstr(natsl_error_text(), "only tokens 0 to 99"));
    natsl_bytes_free(&json);
}

/** Files with bytes changed: refused, or tokenizers that take any text. */
static void test_fuzz(void)
{
    natsl_rng rng = {17};
    natsl_bytes text = file_of("text", ".bin");
    size_t taken = 0;
    for (size_t round = 0; round < 240; round++) {
        natsl_bytes json = file_of(names[round % COUNT(names)], ".json");
        natsl_tokenizer *t = NULL;
        natsl_ids ids = {0};
        json.at[natsl_rng_below(&rng, json.length)] = "\"}],:09aezt \\"[natsl_rng_below(&rng, 13)];
        if (natsl_tokenizer_create("json", 0, json.at, json.length, "T.json", &t) == NATSL_OK) {
            taken++;
            (void)natsl_tokenizer_encode(t, text.at, text.length, 1, &ids);
            for (size_t i = 0; i < ids.count; i++) CU_ASSERT(ids.at[i] >= 0 && ids.at[i] < natsl_tokenizer_vocab(t));
        }
        natsl_tokenizer_destroy(&t);
        natsl_ids_free(&ids);
        natsl_bytes_free(&json);
    }
    EXPECT(taken > 20 && taken < 240, "%zu of 240 changed files were taken", taken);
    natsl_bytes_free(&text);
}

/** Small tokenizers: ids and texts are those of the tokenizers package (0.23.3). */
static void test_small(void)
{
    static const struct {
        const char *json, *text;
        int32_t ids[8];          /* ended by -1 */
        const char *shown, *all; /* without and with special tokens */
    } cases[] = {
        /* words with joiners (U+200C) in them, and fractions beside words, where Whitespace cuts */
        {"{'model':{'vocab':{'a':0,'\xc2\xbd':1,'\xe2\x80\x8c':2,'a\xe2\x80\x8c':3,'a\xc2\xbd':4},"
         "'merges':[['a','\xe2\x80\x8c'],['a','\xc2\xbd']]},'pre_tokenizer':{'type':'Whitespace'},'decoder':{'type':'"
         "Fuse'}}",
         "a\xe2\x80\x8c a\xc2\xbd",
         {3, 0, 1, -1},
         "a\xe2\x80\x8c"
         "a\xc2\xbd",
         NULL},
        /* \w of an expression has the fraction */
        {"{'model':{'vocab':{'a':0,'\xc2\xbd':1,'a\xc2\xbd':2,'.':3},'merges':[['a','\xc2\xbd']]},'pre_tokenizer':"
         "{'type':'Split','pattern':{'Regex':'\\\\w+'},'behavior':'Isolated'},'decoder':{'type':'Fuse'}}",
         "a\xc2\xbd.",
         {2, 3, -1},
         "a\xc2\xbd.",
         NULL},
        /* bytes of a last character are those of its suffix, too */
        {"{'model':{'vocab':{'a':0,'<0x62>':1,'<0x3C>':2,'<0x2F>':3,'<0x77>':4,'<0x3E>':5},'merges':[],'byte_fallback':"
         "true,"
         "'end_of_word_suffix':'</w>'},'decoder':{'type':'Fuse'}}",
         "ab",
         {0, 1, 2, 3, 4, 5, -1},
         "a<0x62><0x3C><0x2F><0x77><0x3E>",
         NULL},
        /* an added token that is searched in normalized text is shown so, and then known to nobody as a special one */
        {"{'model':{'vocab':{'a':0,'b':1},'merges':[]},'normalizer':{'type':'Lowercase'},'decoder':{'type':'Fuse'},"
         "'added_tokens':[{'id':2,'content':'XY','normalized':true,'special':true},{'id':3,'content':'Z','normalized':"
         "false,"
         "'special':true},{'id':4,'content':'V','normalized':true,'special':false}]}",
         "axYZbv",
         {0, 2, 3, 1, 4, -1},
         "axybv",
         "axyZbv"},
        /* white space that is a token, and has been taken by the one before it */
        {"{'model':{'vocab':{'a':0},'merges':[]},'decoder':{'type':'Fuse'},'added_tokens':[{'id':1,'content':'\\n',"
         "'normalized':false,'special':false,'lstrip':true,'rstrip':true}]}",
         "a\n\n\na \na",
         {0, 1, 0, 1, 0, -1},
         "a\na\na",
         NULL},
        /* letters of bytes in such a text become bytes */
        {"{'model':{'vocab':{'a':0},'merges':[]},'normalizer':{'type':'ByteLevel'},'decoder':{'type':'ByteLevel'},"
         "'added_tokens':[{'id':1,'content':'\xc3\xa9','normalized':true,'special':false}]}",
         "a\xc3\xa9",
         {0, 1, -1},
         "a\xc3\xa9",
         NULL},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        natsl_tokenizer *t = NULL;
        natsl_ids ids = {0};
        natsl_bytes json = {0};
        size_t want = 0;
        while (cases[i].ids[want] >= 0) want++;
        (void)natsl_bytes_add(&json, cases[i].json, strlen(cases[i].json));
        for (size_t k = 0; k < json.length; k++) json.at[k] = json.at[k] == '\'' ? '"' : json.at[k];
        EXPECT(natsl_tokenizer_create("json", 0, json.at, json.length, "T.json", &t) == NATSL_OK, "case %zu: %s", i,
               natsl_error_text());
        natsl_bytes_free(&json);
        if (!t) continue;
        CU_ASSERT(natsl_tokenizer_encode(t, cases[i].text, strlen(cases[i].text), 0, &ids) == NATSL_OK);
        EXPECT(ids.count == want && memcmp(ids.at, cases[i].ids, want * sizeof *ids.at) == 0, "case %zu: %zu ids", i,
               ids.count);
        for (int all = 0; all < 2; all++) {
            const char *shown = all && cases[i].all ? cases[i].all : cases[i].shown;
            natsl_bytes text = {0};
            natsl_decoder *d = NULL;
            CU_ASSERT_FATAL(natsl_decoder_create(t, all, &d) == NATSL_OK);
            for (size_t k = 0; k < want; k++) CU_ASSERT(natsl_decoder_add(d, cases[i].ids[k], &text) == NATSL_OK);
            CU_ASSERT(natsl_decoder_finish(d, &text) == NATSL_OK);
            EXPECT(text.length == strlen(shown) && memcmp(text.at, shown, text.length) == 0, "case %zu: \"%.*s\"", i,
                   (int)text.length, text.at);
            natsl_decoder_destroy(&d);
            natsl_bytes_free(&text);
        }
        natsl_tokenizer_destroy(&t);
        natsl_ids_free(&ids);
    }
}

static void add_text(natsl_bytes *to, const char *text) { (void)natsl_bytes_add(to, text, strlen(text)); }

/** Small files that would take for ever, or all memory, are refused at once. */
static void test_slow(void)
{
    natsl_bytes json = {0};
    natsl_tokenizer *t = NULL;
    char text[64];
    int32_t count = 0;
    /* a vocabulary whose texts all fall on one slot */
    add_text(&json, "{\"model\":{\"vocab\":{");
    for (unsigned i = 0; count < 600; i++) {
        const int n = snprintf(text, sizeof text, "%x", i);
        if (natsl_hash(text, (size_t)n) & 2047) continue;
        (void)snprintf(text, sizeof text, "%s\"%x\":%d", count ? "," : "", i, (int)count);
        add_text(&json, text);
        count++;
    }
    add_text(&json, "},\"merges\":[]}}");
    CU_ASSERT_EQUAL(natsl_tokenizer_create("json", 0, json.at, json.length, "T.json", &t), NATSL_ERR_INPUT);
    EXPECT(strstr(natsl_error_text(), "fall on one another") != NULL, "%s", natsl_error_text());
    /* a template that names a long list of tokens many times: 400 million */
    json.length = 0;
    static const char begin[] = "{\"model\":{\"vocab\":{\"a\":0},\"merges\":[]},\"post_processor\":{\"type\":"
                                "\"TemplateProcessing\",\"special_tokens\":{\"x\":{\"ids\":[0";
    add_text(&json, begin);
    for (int i = 0; i < 20000; i++) add_text(&json, ",0");
    add_text(&json, "]}},\"single\":[{\"Sequence\":{}}");
    for (int i = 0; i < 20000; i++) add_text(&json, ",{\"SpecialToken\":{\"id\":\"x\"}}");
    add_text(&json, "]}}");
    CU_ASSERT_EQUAL(natsl_tokenizer_create("json", 0, json.at, json.length, "T.json", &t), NATSL_ERR_INPUT);
    EXPECT(strstr(natsl_error_text(), "more than 4096 tokens around") != NULL, "%s", natsl_error_text());
    CU_ASSERT(natsl_peak_bytes() < (size_t)1 << 30);
    natsl_bytes_free(&json);
}

static void test_regex(void)
{
    static const struct {
        const char *pattern, *text;
        int begin, end; /* of the first match; -1: none */
    } cases[] = {
        {"\\s+",
         "a\xc2\x85\xe2\x80\x83"
         "b",
         1, 6},
        {"\\s",
         "a\xe1\xa0\x8e"
         "b",
         -1, -1},                           /* U+180E is none any more */
        {"(?:ab){1,2}+c", "abababc", 0, 7}, /* repeats, not possessive */
        {"[^\\r\\n\\p{L}\\p{N}]?+\\p{L}+", " ab", 0, 3},
        {"a{,2}b", "aaab", 1, 4},
        {"x{a}", "x{a}", 0, 4},
        {"\\p{Han}+", "a\xe5\xad\x97\xe3\x83\xbc", 1, 4}, /* the script alone: not U+30FC */
        {"\\w+", "-a_1\xc3\xa9-", 1, 6},
        {"a$", "a\nb", 0, 1},
        {"^b", "a\nb", 2, 3},
        {"\\bb", "ab b", 3, 4},
        {"\\w+", "-a\xc2\xbd-", 1, 4}, /* the fraction: of words, but not of classes of them */
        {"[\\w]+", "-a\xc2\xbd-", 1, 2},
        {"\\W", "a\xc2\xb2\xc2\xb4", 3, 5},
        {"\\bb",
         "\xc2\xb9"
         "b b",
         4, 5},
        {"(?i:'LL)", "we'll", 2, 5},
        {"[\\s\\d]+", "a1 2", 1, 4},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        natsl_regex *r = NULL;
        natsl_regex_match *m = NULL;
        natsl_found found = NATSL_FOUND_NONE;
        size_t begin = 0, end = 0;
        EXPECT(natsl_regex_create(cases[i].pattern, strlen(cases[i].pattern), "T", &r) == NATSL_OK, "%s",
               natsl_error_text());
        if (!r || natsl_regex_match_create(r, &m) != NATSL_OK) continue;
        CU_ASSERT(natsl_regex_find(m, cases[i].text, strlen(cases[i].text), 0, 0, &found, &begin, &end) == NATSL_OK);
        EXPECT(found == (cases[i].begin < 0 ? NATSL_FOUND_NONE : NATSL_FOUND), "%s", cases[i].pattern);
        if (cases[i].begin >= 0)
            EXPECT((int)begin == cases[i].begin && (int)end == cases[i].end, "%s: %zu to %zu", cases[i].pattern, begin,
                   end);
        natsl_regex_match_destroy(&m);
        natsl_regex_destroy(&r);
    }
    natsl_regex *r = NULL; /* one that explodes is given up */
    natsl_regex_match *m = NULL;
    natsl_found found;
    size_t begin = 0, end = 0;
    CU_ASSERT_FATAL(natsl_regex_create("(a+a+)+$", 8, "T", &r) == NATSL_OK &&
                    natsl_regex_match_create(r, &m) == NATSL_OK);
    CU_ASSERT_EQUAL(natsl_regex_find(m, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab", 40, 0, 0, &found, &begin, &end),
                    NATSL_ERR_INPUT);
    CU_ASSERT_PTR_NOT_NULL(strstr(natsl_error_text(), "given up"));
    natsl_regex_match_destroy(&m);
    natsl_regex_destroy(&r);
}

int main(void)
{
    static const test_entry tests[] = {{"ids and texts of the tokenizers package", test_golden},
                                       {"texts in parts", test_parts},
                                       {"beginning in the middle", test_middle},
                                       {"regular expressions", test_regex},
                                       {"small tokenizers", test_small},
                                       {"files that are wrong", test_wrong},
                                       {"files that are slow", test_slow},
                                       {"changed files", test_fuzz}};
    return run_suite("tokenizer.json", tests, COUNT(tests));
}
