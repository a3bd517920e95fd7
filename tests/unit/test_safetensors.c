/* test_safetensors.c - the safetensors reader over good and hostile files, the writer, and 16-bit numbers. Every file is a block of
 * memory of just its size, so that the address sanitizer sees a byte too many being read. */
#include "core.h"
#include "safetensors.h"

#include "../suite.h"
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/** A file: length of the header, header, `data` bytes 0, 1, 2, ... *length is the file's. */
static unsigned char *make(const char *header, size_t data, size_t *length)
{
    const size_t n = strlen(header);
    *length = 8 + n + data;
    unsigned char *file = malloc(*length);
    for (int i = 0; file && i < 8; i++) file[i] = (unsigned char)((uint64_t)n >> (8 * i));
    if (file) memcpy(file + 8, header, n);
    for (size_t i = 0; file && i < data; i++) file[8 + n + i] = (unsigned char)i;
    return file;
}

#define A "\"a\":{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[0,24]}"
#define B "\"b\":{\"dtype\":\"BF16\",\"shape\":[4],\"data_offsets\":[24,32]}"

static const struct {
    const char *header;
    size_t data, count;
} good[] = {
    {"{" A "," B "}", 32, 2},
    {"{" B "," A "}", 32, 2},
    {"{\"__metadata__\":{\"format\":\"pt\"}," A "," B "}", 32, 2},
    {"{" A "}   ", 24, 1},
    {"{}", 0, 0},
    {"{\"c\":{\"dtype\":\"F16\",\"shape\":[],\"data_offsets\":[0,2]}}", 2, 1},             /* one number */
    {"{" A ",\"e\":{\"dtype\":\"F32\",\"shape\":[0,5],\"data_offsets\":[24,24]}}", 24, 2}, /* none, at the end */
    {"{" A ",\"e\":{\"dtype\":\"F32\",\"shape\":[7,0],\"data_offsets\":[0,0]}}", 24, 2},   /* and at the beginning */
    {"{\"x\":{\"data_offsets\":[0,2],\"shape\":[1,1,1,1,1,1,1,1],\"dtype\":\"BF16\"}}", 2, 1}, /* most dimensions */
};

static void good_files(void)
{
    for (size_t i = 0; i < COUNT(good); i++) {
        size_t length = 0;
        natsl_st_file f;
        unsigned char *file = make(good[i].header, good[i].data, &length);
        const natsl_status st = natsl_st_parse("good", file, length, &f);
        EXPECT(st == NATSL_OK, "%s: %s", good[i].header, natsl_error_text());
        EXPECT(f.count == good[i].count, "%s: %zu tensors", good[i].header, f.count);
        for (size_t k = 0; k < f.count; k++) {
            EXPECT(natsl_st_find(&f, f.tensors[k].name) == &f.tensors[k], "%s", f.tensors[k].name);
            EXPECT(f.tensors[k].at + f.tensors[k].bytes <= length, "%s", f.tensors[k].name);
        }
        const natsl_st_tensor *b = natsl_st_find(&f, "b");
        if (b) {
            CU_ASSERT(b->dtype == NATSL_DTYPE_BF16 && b->rank == 1 && b->shape[0] == 4 && b->count == 4 &&
                      b->bytes == 8);
            CU_ASSERT(file[b->at] == 24 && file[b->at + 7] == 31);
            CU_ASSERT(natsl_st_read(&f, b, 0, 8, (unsigned char[8]){0}) == NATSL_ERR_INTERNAL); /* there is no file */
        }
        CU_ASSERT(natsl_st_find(&f, "nothing") == NULL && natsl_st_find(&f, "") == NULL);
        natsl_st_close(&f);
        free(file);
    }
}

/** A header that is wrong somewhere, and words that the message must have. */
static const struct {
    const char *header;
    size_t data;
    const char *says;
} hostile[] = {
    {"", 0, "does not begin with {"},
    {"[]", 0, "does not begin with {"},
    {" {}", 0, "does not begin with {"},
    {"{", 0, "header"},
    {"{}x", 0, "header"},
    {"{}{}", 0, "header"},
    {"{\"a\":1}", 0, "expected an object"},
    {"{\"a\":null}", 0, "expected an object"},
    {"{\"\xff\":{}}", 0, "header"},
    {"{\"a\\u0000b\":{}}", 0, "header"},
    {"{" A "," A "}", 24, "duplicate"},
    {"{\"a\":{\"dtype\":\"F32\",\"dtype\":\"F16\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "duplicate"},
    {"{\"__metadata__\":[]," A "}", 24, "__metadata__"},
    {"{\"__metadata__\":{\"format\":1}," A "}", 24, "__metadata__"},
    {"{\"a\":{\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "dtype: expected a string"},
    {"{\"a\":{\"dtype\":32,\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "dtype: expected a string"},
    {"{\"a\":{\"dtype\":\"I64\",\"shape\":[1],\"data_offsets\":[0,8]}}", 8, "tensor a: dtype I64 is not supported"},
    {"{\"a\":{\"dtype\":\"F64\",\"shape\":[1],\"data_offsets\":[0,8]}}", 8, "dtype F64 is not supported"},
    {"{\"a\":{\"dtype\":\"F8_E4M3\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1, "dtype F8_E4M3 is not supported"},
    {"{\"a\":{\"dtype\":\"f32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "dtype f32 is not supported"},
    {"{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,4]}}", 4, "shape: expected a list"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":{},\"data_offsets\":[0,4]}}", 4, "shape: expected a list"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[-1],\"data_offsets\":[0,4]}}", 4, "shape: expected whole numbers"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1.0],\"data_offsets\":[0,4]}}", 4, "shape: expected whole numbers"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[\"1\"],\"data_offsets\":[0,4]}}", 4, "shape: expected whole numbers"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[99999999999999999999],\"data_offsets\":[0,4]}}", 4, "header"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1,1,1,1,1,1],\"data_offsets\":[0,4]}}", 4, "9 dimensions"},
    /* products that wrap around to something small */
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,0]}}", 0,
     "exceeds the address space"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[4611686018427387904],\"data_offsets\":[0,0]}}", 0,
     "exceeds the address space"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[4611686018427387905],\"data_offsets\":[0,4]}}", 4,
     "exceeds the address space"},
    {"{\"a\":{\"dtype\":\"BF16\",\"shape\":[9223372036854775807,2],\"data_offsets\":[0,4]}}", 4,
     "exceeds the address space"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1]}}", 4, "data_offsets: expected two"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0]}}", 4, "data_offsets: expected two"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4,8]}}", 4, "data_offsets: expected two"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[-4,0]}}", 4, "data_offsets: expected two"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0.0,4]}}", 4, "data_offsets: expected two"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,0]}}", 4, "bytes 4 to 0"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 4, "but the file has 4"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[9223372036854775803,9223372036854775807]}}", 4,
     "but the file has 4"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,4]}}", 4,
     "4 bytes, but its shape and dtype F32 take 8"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,4]}}", 4, "take 0"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4],\"strides\":[1]}}", 4, "strides is not known"},
    /* bytes in two tensors, or in none */
    {"{" A ",\"b\":{\"dtype\":\"BF16\",\"shape\":[4],\"data_offsets\":[22,30]}}", 30, "tensors a and b overlap"},
    {"{" A ",\"b\":{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[0,24]}}", 24, "overlap"},
    {"{" A ",\"e\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[8,8]}}", 24, "overlap"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}", 8, "4 bytes before tensor a belong to none"},
    {"{" A ",\"b\":{\"dtype\":\"BF16\",\"shape\":[4],\"data_offsets\":[28,36]}}", 36, "4 bytes before tensor b"},
    {"{" A "}", 25, "1 bytes at its end"},
    {"{}", 1, "1 bytes at its end"},
};

static void hostile_headers(void)
{
    for (size_t i = 0; i < COUNT(hostile); i++) {
        size_t length = 0;
        natsl_st_file f;
        unsigned char *file = make(hostile[i].header, hostile[i].data, &length);
        const natsl_status st = natsl_st_parse("evil.safetensors", file, length, &f);
        EXPECT(st == NATSL_ERR_INPUT, "%s: status %d", hostile[i].header, (int)st);
        EXPECT(strstr(natsl_error_text(), hostile[i].says) && strstr(natsl_error_text(), "evil.safetensors: "),
               "%s: %s, expected %s", hostile[i].header, natsl_error_text(), hostile[i].says);
        CU_ASSERT(f.tensors == NULL && f.count == 0);
        free(file);
    }
}

/** A length of the header that the file does not have, and one beyond the limit. */
static void hostile_lengths(void)
{
    static const struct {
        uint64_t header;
        size_t length;
        const char *says;
    } cases[] = {
        {0, 0, "expected a safetensors file"},
        {0, 7, "expected a safetensors file"},
        {0, 8, "does not begin with {"},
        {1, 9, "does not begin with {"},
        {2, 9, "truncated"},
        {100000000, 8, "truncated"},
        {100000001, 64, "expected at most"},
        {UINT64_MAX, 64, "expected at most"},
        {UINT64_MAX - 7, 64, "expected at most"},
        {(uint64_t)1 << 63, 64, "expected at most"},
        {0x7b00000000000000u, 64, "expected at most"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        natsl_st_file f;
        unsigned char *file = malloc(cases[i].length + !cases[i].length);
        memset(file, '{', cases[i].length);
        for (size_t k = 0; k < 8 && k < cases[i].length; k++) file[k] = (unsigned char)(cases[i].header >> (8 * k));
        if (cases[i].header < 2 && cases[i].length > 8) memset(file + 8, 'x', cases[i].length - 8);
        CU_ASSERT(natsl_st_parse("x", file, cases[i].length, &f) == NATSL_ERR_INPUT);
        EXPECT(strstr(natsl_error_text(), cases[i].says) != NULL, "case %zu: %s", i, natsl_error_text());
        free(file);
    }
}

/** Cut anywhere, a file is refused; with bytes changed it is refused or still what its header says. */
static void damaged(void)
{
    size_t length = 0;
    unsigned char *file = make(good[2].header, good[2].data, &length);
    natsl_st_file f;
    for (size_t cut = 0; cut < length; cut++) {
        unsigned char *part = malloc(cut + !cut);
        memcpy(part, file, cut);
        EXPECT(natsl_st_parse("cut", part, cut, &f) == NATSL_ERR_INPUT, "%zu bytes", cut);
        free(part);
    }
    uint32_t random = 1;
    int read = 0;
    for (int round = 0; round < 20000; round++) {
        unsigned char *other = malloc(length);
        memcpy(other, file, length);
        for (int k = 0; k < 1 + round % 3; k++) {
            random = random * 1664525u + 1013904223u;
            other[8 + random % (length - 8)] = (unsigned char)(random >> 24);
        }
        const natsl_status st = natsl_st_parse("changed", other, length, &f);
        CU_ASSERT_FATAL(st == NATSL_OK || st == NATSL_ERR_INPUT);
        read += st == NATSL_OK;
        unsigned sum = 0;
        for (size_t i = 0; i < f.count; i++) {
            for (size_t k = 0; k < f.tensors[i].bytes; k++)
                sum += other[f.tensors[i].at + k]; /* the sanitizer looks on */
        }
        CU_ASSERT(st != NATSL_OK || sum > 0);
        natsl_st_close(&f);
        free(other);
    }
    CU_ASSERT(read > 0 && read < 20000);
    free(file);
}

/** What was written is what is read: names, types, shapes, bytes; every number is aligned. */
static void round_trip(void)
{
    char path[] = "/tmp/natsl-safetensors-XXXXXX";
    static const unsigned char bytes[64] = {1, 2, 3, 250};
    natsl_st_tensor tensors[] = {
        {.name = (char[]){"model.\"x\".\xc3\xa4"}, .rank = 2, .shape = {2, 3}, .count = 6, .bytes = 24},
        {.name = (char[]){"h"}, .dtype = NATSL_DTYPE_F16, .rank = 0, .count = 1, .bytes = 2},
        {.name = (char[]){"b"}, .dtype = NATSL_DTYPE_BF16, .rank = 3, .shape = {1, 1, 9}, .count = 9, .bytes = 18},
        {.name = (char[]){"e"}, .rank = 1, .shape = {0}}};
    const natsl_st_tensor *list[COUNT(tensors)];
    natsl_st_out out;
    natsl_st_file f;
    for (size_t i = 0; i < COUNT(tensors); i++) list[i] = &tensors[i];
    CU_ASSERT_FATAL(mkdtemp(path) != NULL);
    char name[sizeof path + 8];
    (void)snprintf(name, sizeof name, "%s/t", path);
    CU_ASSERT(natsl_st_create(name, list, COUNT(list), &out) == NATSL_OK);
    for (size_t i = 0; i < COUNT(list); i++) CU_ASSERT(natsl_st_write(&out, bytes, tensors[i].bytes) == NATSL_OK);
    CU_ASSERT(natsl_st_write(&out, bytes, 1) == NATSL_ERR_INTERNAL);
    CU_ASSERT(natsl_st_finish(&out, NATSL_OK) == NATSL_OK);
    CU_ASSERT(natsl_st_create(name, list, 1, &out) == NATSL_ERR_IO); /* never over another file */
    CU_ASSERT_FATAL(natsl_st_open(name, &f) == NATSL_OK);
    CU_ASSERT(f.count == COUNT(list));
    for (size_t i = 0; i < COUNT(list); i++) {
        const natsl_st_tensor *t = natsl_st_find(&f, tensors[i].name);
        CU_ASSERT_FATAL(t != NULL);
        CU_ASSERT(t->dtype == tensors[i].dtype && t->rank == tensors[i].rank && t->count == tensors[i].count);
        CU_ASSERT(memcmp(t->shape, tensors[i].shape, sizeof t->shape) == 0);
        unsigned char *got = malloc(t->bytes + !t->bytes); /* just its size: for the sanitizer */
        CU_ASSERT(natsl_st_read(&f, t, 0, t->bytes, got) == NATSL_OK && memcmp(got, bytes, t->bytes) == 0);
        CU_ASSERT(t->at % natsl_dtype_bytes(t->dtype) == 0);
        if (i % 2) natsl_st_rest(&f);
        if (t->bytes > 1) CU_ASSERT(natsl_st_read(&f, t, 1, t->bytes - 1, got) == NATSL_OK && got[0] == bytes[1]);
        CU_ASSERT(natsl_st_read(&f, t, 1, t->bytes, got) == NATSL_ERR_INTERNAL); /* a byte too many */
        CU_ASSERT(natsl_st_read(&f, t, t->bytes + 1, 0, got) == NATSL_ERR_INTERNAL);
        CU_ASSERT(natsl_st_read(&f, t, SIZE_MAX, 2, got) == NATSL_ERR_INTERNAL);
        free(got);
    }
    natsl_st_close(&f);
    (void)unlink(name);
    CU_ASSERT(natsl_st_open(name, &f) == NATSL_ERR_INPUT);
    CU_ASSERT(natsl_st_open(path, &f) == NATSL_ERR_INPUT); /* a directory */
    CU_ASSERT(natsl_st_create(name, list, 1, &out) == NATSL_OK);
    CU_ASSERT(natsl_st_finish(&out, NATSL_OK) == NATSL_ERR_INTERNAL); /* bytes are missing */
    (void)unlink(name);
    (void)rmdir(path);
}

/** A file that something happens to between being opened and being read ends in an error with its name. */
static void changed_meanwhile(void)
{
    static const char *const says[] = {"cut short while it is read", "has been changed",
                                       "has been changed",           "No such file",
                                       "not a regular file",         "has been changed"};
    static const struct timespec written_before[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_sec = 1}};
    char name[] = "/tmp/natsl-safetensors-XXXXXX";
    size_t length = 0;
    unsigned char *file = make(good[0].header, good[0].data, &length), got[24];
    const int fd = mkstemp(name);
    CU_ASSERT_FATAL(fd >= 0);
    for (size_t i = 0; i < COUNT(says); i++) {
        natsl_st_file f;
        FILE *out = fopen(name, "wb");
        CU_ASSERT_FATAL(out && fwrite(file, 1, length, out) == length && fclose(out) == 0);
        CU_ASSERT_FATAL(natsl_st_open(name, &f) == NATSL_OK);
        const natsl_st_tensor *a = natsl_st_find(&f, "a"), *b = natsl_st_find(&f, "b");
        CU_ASSERT_FATAL(a && b);
        if (i == 0 || i == 5)
            CU_ASSERT(natsl_st_read(&f, a, 0, 4, got) == NATSL_OK && got[3] == 3); /* open from now on */
        if (i <= 1) CU_ASSERT(truncate(name, (off_t)length - 9) == 0);             /* in the middle of a */
        if (i == 2 || i == 5)
            CU_ASSERT(utimensat(AT_FDCWD, name, written_before, 0) == 0); /* clocks of files are coarse */
        if (i == 3 || i == 4) CU_ASSERT(unlink(name) == 0);
        if (i == 4) CU_ASSERT(mkdir(name, 0700) == 0);
        CU_ASSERT(natsl_st_read(&f, a, 0, 24, got) == NATSL_ERR_INPUT);
        EXPECT(strstr(natsl_error_text(), says[i]) && strstr(natsl_error_text(), name), "case %zu: %s", i,
               natsl_error_text());
        CU_ASSERT(natsl_st_read(&f, b, 0, 8, got) == NATSL_ERR_INPUT);  /* all of it is gone */
        CU_ASSERT(natsl_st_read(&f, a, 0, 20, got) == NATSL_ERR_INPUT); /* what is left may be another file's */
        natsl_st_close(&f);
        if (i == 4) CU_ASSERT(rmdir(name) == 0);
    }
    (void)close(fd);
    (void)unlink(name);
    free(file);
}

/** A header whose end the file has not. */
static void cut_header(void)
{
    char name[] = "/tmp/natsl-safetensors-XXXXXX";
    size_t length = 0;
    unsigned char *file = make(good[0].header, good[0].data, &length);
    natsl_st_file f;
    const int fd = mkstemp(name);
    CU_ASSERT_FATAL(fd >= 0);
    for (size_t cut = 0; cut < length; cut++) {
        CU_ASSERT(pwrite(fd, file, cut, 0) == (ssize_t)cut && ftruncate(fd, (off_t)cut) == 0);
        EXPECT(natsl_st_open(name, &f) == NATSL_ERR_INPUT && f.path == NULL, "%zu bytes", cut);
    }
    (void)close(fd);
    (void)unlink(name);
    free(file);
}

/** All 65536 numbers of either 16-bit type, by the definition of the types, also in place. */
static void widening(void)
{
    for (int type = NATSL_DTYPE_F16; type <= NATSL_DTYPE_BF16; type++) {
        const int half = type == NATSL_DTYPE_F16, mantissa_bits = half ? 10 : 7, bias = half ? 15 : 127;
        const int top = half ? 31 : 255;
        float *to = malloc(65536 * sizeof *to);
        uint16_t *end = (uint16_t *)(void *)(to + 32768); /* the last bytes of `to` */
        for (unsigned i = 0; i < 65536; i++) end[i] = (uint16_t)i;
        CU_ASSERT(natsl_dtype_not_finite((natsl_dtype)type, 65536, end) == (half ? 0x7c00u : 0x7f80u));
        natsl_dtype_widen((natsl_dtype)type, 65536, end, to);
        for (unsigned i = 0; i < 65536; i++) {
            const int exponent = (int)(i >> mantissa_bits) & top, mantissa = (int)(i & ((1u << mantissa_bits) - 1));
            const double sign = i & 0x8000u ? -1.0 : 1.0;
            double want = sign * ldexp(mantissa + (exponent ? 1 << mantissa_bits : 0),
                                       (exponent ? exponent : 1) - bias - mantissa_bits);
            if (exponent == top) want = mantissa ? NAN : sign * INFINITY;
            const int same = isnan(want) ? isnan(to[i]) : to[i] == (float)want && !signbit(to[i]) == !signbit(want);
            EXPECT(same, "%s %04x: %g, expected %g", natsl_dtype_name((natsl_dtype)type), i, (double)to[i], want);
            if (!same) break;
            const size_t finite = natsl_dtype_not_finite(NATSL_DTYPE_F32, 1, &to[i]);
            EXPECT(finite == (isfinite(want) ? 1u : 0u), "%s %04x", natsl_dtype_name((natsl_dtype)type), i);
        }
        free(to);
    }
}

static const test_entry tests[] = {{"good files", good_files},           {"hostile headers", hostile_headers},
                                   {"hostile lengths", hostile_lengths}, {"damaged files", damaged},
                                   {"round trip", round_trip},           {"changed meanwhile", changed_meanwhile},
                                   {"cut on disk", cut_header},          {"16-bit numbers", widening}};

int main(void) { return run_suite("safetensors", tests, COUNT(tests)); }
