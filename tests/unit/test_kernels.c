/* test_kernels.c - products and everything that works row by row, both sets, against oracle.py's formulas in double;
 * and that a row's bits depend neither on m nor on addresses. The delta rule and attention: test_kernels_delta.c,
 * test_kernels_attention.c. */
#include "kernels_check.h"

static double silu(double x) { return x / (1.0 + exp(-x)); }

static double rms(const float *x, size_t d, double eps)
{
    double s = 0.0;
    for (size_t j = 0; j < d; ++j) s += (double)x[j] * (double)x[j];
    return sqrt(s / (double)d + eps);
}

/* The exponential of both sets over its whole range, seen through attn_block: with the running maximum at 0, one query
 * of 1, keys x <= 0 and the unit matrix as values, acc_j is e^(x_j) with no other rounding. */
static void test_exp(void)
{
    enum { N = NATSL_ATTN_KEYS };
    static float keys[N], unit[N * N], acc[N], scratch[4 * N];
    uint64_t state = 17;
    CU_ASSERT_FATAL(natsl_attn_scratch(1) <= COUNT(scratch));
    for (size_t j = 0; j < N; ++j) unit[j * N + j] = 1.0f;
    for (size_t set = 0; set < 2; ++set) {
        check c = check_begin(kernel_sets[set]->name, "exp", 0, TOL_EXP);
        for (size_t round = 0; round < 800; ++round) {
            for (size_t j = 0; j < N; ++j) /* evenly down to where e^x is 0 in float, and closely around 0 */
                keys[j] = (float)(round % 4 < 3 ? -53.0 * (1.0 + uniform(&state)) : -ldexp(1.0, (int)(j % 30) - 28));
            keys[0] = 0.0f;
            keys[1] = -INFINITY;
            keys[2] = -1e4f;
            keys[3] = -87.5f; /* subnormal result */
            memset(acc, 0, sizeof acc);
            float query = 1.0f, top = 0.0f, sum = 0.0f;
            kernel_sets[set]->attn_block(1, N, 1, N, &query, 1, keys, N, unit, N, 1.0f, -1, NATSL_ATTN_ALL, &top, &sum,
                                         1, acc, N, scratch);
            for (size_t j = 0; j < N; ++j) check_value(&c, round, j, (double)acc[j], exp((double)keys[j]));
            check_true(&c, acc[0] == 1.0f && acc[1] == 0.0f && acc[2] == 0.0f, "e^0 = 1, e^-inf = 0 exactly");
        }
        check_end(&c);
    }
}

/** w [n,k] as panels of the type; free with free(). Every element is put in its place by itself. */
static natsl_matrix matrix_of(const buf *w, natsl_storage type)
{
    natsl_matrix m = {.n = w->rows, .k = w->cols, .type = type};
    void *data = aligned_alloc(64, (w->rows * w->cols * natsl_storage_bytes(type) + 127) / 64 * 64);
    if (data == NULL) abort();
    for (size_t j = 0; j < w->rows; ++j) natsl_matrix_put(w->rows, w->cols, type, data, j, 1, w->p + j * w->ld);
    m.data = data;
    return m;
}

static void test_matrix(void)
{
    static const struct {
        float in, out;
    } cases[] = {{0.0f, 0.0f},
                 {1.0f, 1.0f},
                 {1.00390625f, 1.0f},       /* half way between 1 and 1 + 2^-7: to even */
                 {1.01171875f, 1.015625f},  /* half way between 1 + 2^-7 and 1 + 2^-6: to even */
                 {1.00390637f, 1.0078125f}, /* just above half way */
                 {-3.4e38f, -0x1.fep127f},  /* no infinity from a finite number */
                 {0x1p-130f, 0x1p-130f},    /* subnormal */
                 {INFINITY, INFINITY}};
    for (size_t i = 0; i < COUNT(cases); ++i) CU_ASSERT(natsl_from_bf16(natsl_to_bf16(cases[i].in)) == cases[i].out);
    CU_ASSERT(isnan(natsl_from_bf16(natsl_to_bf16(NAN))));
    static const size_t rows[] = {1, 16, 63, 64, 65, 127, 128, 200};
    for (size_t i = 0; i < COUNT(rows) * 2; ++i) { /* all panels together are the matrix, each element once */
        buf w = buf_random(rows[i / 2], 5, 0, 0, i + 1, 1.0);
        natsl_matrix m = matrix_of(&w, i % 2 ? NATSL_BF16 : NATSL_F32);
        size_t covered = 0, wrong = 0;
        for (size_t p = 0; p < natsl_panels(m.n); ++p) {
            size_t width = natsl_panel_end(m.n, p) - p * NATSL_PANEL;
            covered += width;
            CU_ASSERT(width <= NATSL_PANEL_MOST && (width >= NATSL_PANEL || natsl_panels(m.n) == 1));
        }
        for (size_t j = 0; j < m.n; ++j)
            for (size_t l = 0; l < 5; ++l) {
                float v = buf_at(&w, j, l);
                wrong += natsl_matrix_get(&m, j, l) != (i % 2 ? natsl_from_bf16(natsl_to_bf16(v)) : v);
            }
        CU_ASSERT_EQUAL(covered, m.n);
        CU_ASSERT_EQUAL(wrong, 0);
        free((void *)(uintptr_t)m.data);
        buf_free(&w);
    }
    buf x = buf_random(70, 33, 3, 0, 4, 1.0), y = buf_make(33, 70, 2, 0);
    natsl_transpose(70, 33, x.p, x.ld, y.p, y.ld);
    size_t wrong = buf_spoiled(&y);
    for (size_t i = 0; i < 70; ++i)
        for (size_t j = 0; j < 33; ++j) wrong += buf_at(&y, j, i) != buf_at(&x, i, j);
    CU_ASSERT_EQUAL(wrong, 0);
    buf_free(&x);
    buf_free(&y);
}

/* y from all panels at once, and from each panel alone: the same numbers, and in the fast set the same bits. */
static void test_linear(void)
{
    static const size_t shapes[][3] = {{0, 3, 4},     {3, 0, 4},       {3, 4, 0},     {1, 1, 1},     {1, 70, 300},
                                       {2, 3, 5},     {7, 1, 9},       {17, 33, 1},   {64, 65, 66},  {63, 12, 1024},
                                       {256, 96, 64}, {1, 1, 0},       {1, 200, 513}, {3, 130, 700}, {4, 130, 700},
                                       {5, 64, 1100}, {100, 127, 1030}};
    for (size_t i = 0; i < COUNT(shapes) * 4; ++i) {
        size_t m = shapes[i / 4][0], n = shapes[i / 4][1], k = shapes[i / 4][2];
        int accumulate = i % 2 == 1;
        buf x = buf_random(m, k, 3, 0, i + 1, 1.0), w = buf_random(n, k, 0, 0, i + 2, 1.0);
        buf start = buf_random(m, n, 5, 0, i + 3, 1.0), scratch = buf_make(1, natsl_linear_scratch(), 0, 0);
        natsl_matrix matrix = matrix_of(&w, i / 2 % 2 ? NATSL_BF16 : NATSL_F32);
        double *want = doubles(m * n);
        for (size_t r = 0; r < m; ++r)
            for (size_t c = 0; c < n; ++c) {
                double s = accumulate ? (double)buf_at(&start, r, c) : 0.0;
                for (size_t l = 0; l < k; ++l) s += (double)buf_at(&x, r, l) * (double)natsl_matrix_get(&matrix, c, l);
                want[r * n + c] = s;
            }
        for (size_t set = 0; set < 2; ++set) {
            check c = check_begin(kernel_sets[set]->name, "linear", i, TOL_PRODUCT);
            buf y = accumulate ? buf_copy(&start) : buf_make(m, n, 5, 0); /* NaN: y is not to be read */
            buf apart = buf_copy(&y);
            kernel_sets[set]->linear(m, &matrix, 0, natsl_panels(n), x.p, x.ld, y.p, y.ld, accumulate, scratch.p);
            check_rows(&c, &y, want);
            for (size_t p = 0; p < natsl_panels(n); ++p)
                kernel_sets[set]->linear(m, &matrix, p, p + 1, x.p, x.ld, apart.p + p * NATSL_PANEL, apart.ld,
                                         accumulate, scratch.p);
            check_true(&c, memcmp(y.base, apart.base, y.total * sizeof(float)) == 0, "bits depend on the panels");
            check_true(&c, buf_spoiled(&scratch) == 0, "wrote beyond its scratch");
            check_end(&c);
            buf_free(&y);
            buf_free(&apart);
        }
        buf_free(&x);
        buf_free(&w);
        buf_free(&start);
        buf_free(&scratch);
        free((void *)(uintptr_t)matrix.data);
        free(want);
    }
}

static void test_norms(void)
{
    static const size_t dims[] = {1, 2, 15, 16, 17, 63, 64, 65, 100, 128, 1024};
    static const double sizes[] = {1.0, 1e-4, 1e8, 0.0};
    for (size_t i = 0; i < COUNT(dims) * COUNT(sizes); ++i) {
        size_t d = dims[i / COUNT(sizes)], heads = d < 100 ? 3 : 1, m = 5;
        buf x = buf_random(m, heads * d, 4, i % 3, i + 11, sizes[i % COUNT(sizes)]), w = buf_random(1, d, 0, 0, i, 2.0);
        double *want_rms = doubles(m * heads * d), *want_l2 = doubles(m * heads * d);
        for (size_t r = 0; r < m; ++r)
            for (size_t c = 0; c < heads * d; ++c) {
                const float *head = x.p + r * x.ld + c / d * d;
                double v = (double)head[c % d];
                want_rms[r * heads * d + c] = v / rms(head, d, (double)1e-6f) * (double)w.p[c % d];
                want_l2[r * heads * d + c] = (double)0.3f * v / rms(head, d, 1e-6 / (double)d) / sqrt((double)d);
            }
        for (size_t set = 0; set < 4; ++set) {
            const natsl_kernels *kernels = kernel_sets[set / 2];
            check c = check_begin(kernels->name, "rms_norm", i, TOL_REDUCED);
            check c2 = check_begin(kernels->name, "l2_norm", i, TOL_REDUCED);
            buf y = set % 2 ? buf_copy(&x) : buf_make(m, heads * d, 1, 0), y2 = buf_copy(&y);
            kernels->rms_norm(m, heads, d, set % 2 ? y.p : x.p, x.ld, w.p, 1e-6f, y.p, y.ld); /* odd: in place */
            kernels->l2_norm(m, heads, d, set % 2 ? y2.p : x.p, x.ld, 0.3f, y2.p, y2.ld);
            check_rows(&c, &y, want_rms);
            check_rows(&c2, &y2, want_l2);
            check_end(&c);
            check_end(&c2);
            buf_free(&y);
            buf_free(&y2);
        }
        buf_free(&x);
        buf_free(&w);
        free(want_rms);
        free(want_l2);
    }
}

static void test_conv(void)
{
    static const size_t widths[] = {0, 1, 2, 3, 4, 5, 16, 17}, rows[] = {0, 1, 2, 3, 5, 64};
    static const size_t channels[] = {1, 7, 256, 300};
    for (size_t i = 0; i < COUNT(widths) * COUNT(rows) * COUNT(channels); ++i) {
        size_t width = widths[i % COUNT(widths)], m = rows[i / COUNT(widths) % COUNT(rows)];
        size_t c = channels[i / COUNT(widths) / COUNT(rows)], before = width > 0 ? width - 1 : 0;
        int plain = width == 0; /* SiLU only */
        buf all = buf_random(before + m, c, 0, 0, i + 5, 2.0), w = buf_random(c, plain ? 1 : width, 0, 0, i + 6, 1.0);
        double *want = doubles(m * c);
        for (size_t r = 0; r < m; ++r)
            for (size_t l = 0; l < c; ++l) {
                double s = plain ? (double)buf_at(&all, r, l) : 0.0;
                for (size_t j = 0; j < width; ++j) s += (double)buf_at(&all, r + j, l) * (double)buf_at(&w, l, j);
                want[r * c + l] = silu(s);
            }
        for (size_t set = 0; set < 4; ++set) {
            const natsl_kernels *kernels = kernel_sets[set / 2];
            check ck = check_begin(kernels->name, "short_conv", i, TOL_CANCEL);
            buf x = buf_make(m, c, 6, 0);
            for (size_t r = 0; r < m; ++r) memcpy(x.p + r * x.ld, all.p + (before + r) * c, c * sizeof(float));
            size_t cut = set % 2 ? m * 2 / 3 : 0; /* odd: in two calls, the second's halo being raw rows of the first */
            kernels->short_conv(m - cut, c, width, x.p + cut * x.ld, x.ld, all.p + cut * c, plain ? NULL : w.p);
            if (cut > 0) kernels->short_conv(cut, c, width, x.p, x.ld, all.p, plain ? NULL : w.p);
            check_rows(&ck, &x, want);
            check_end(&ck);
            buf_free(&x);
        }
        buf_free(&all);
        buf_free(&w);
        free(want);
    }
}

static void test_rotary(void)
{
    static const int64_t positions[] = {0, 1, 63, 1 << 20, (int64_t)1 << 40};
    static const size_t dims[][2] = {{2, 2},  {16, 16}, {64, 64}, {300, 300}, /* of a head, rotated */
                                     {16, 4}, {64, 0},  {9, 8},   {600, 298}};
    for (size_t i = 0; i < COUNT(positions) * COUNT(dims); ++i) {
        size_t d = dims[i / COUNT(positions)][0], rotated = dims[i / COUNT(positions)][1], half = rotated / 2;
        size_t m = 9, heads = 3;
        int64_t pos0 = positions[i % COUNT(positions)];
        buf x = buf_random(m, heads * d, 3, 0, i + 70, 1.0);
        double *want = doubles(m * heads * d);
        for (size_t r = 0; r < m; ++r)
            for (size_t c = 0; c < heads * d; ++c) {
                size_t at = c % d;
                want[r * heads * d + c] = (double)buf_at(&x, r, c);
                if (at >= rotated) continue;
                double angle = ((double)pos0 + (double)r) * pow(10000.0, -((double)(at % half) / (double)half));
                double self = (double)buf_at(&x, r, c), other = (double)buf_at(&x, r, at < half ? c + half : c - half);
                want[r * heads * d + c] = self * cos(angle) + (at < half ? -other : other) * sin(angle);
            }
        for (size_t set = 0; set < 2; ++set) {
            check c = check_begin(kernel_sets[set]->name, "rotary", i, TOL_ELEMENT);
            buf y = buf_copy(&x);
            kernel_sets[set]->rotary(m, heads, d, rotated, y.p, y.ld, pos0, 10000.0);
            check_rows(&c, &y, want);
            check_end(&c);
            buf_free(&y);
        }
        buf_free(&x);
        free(want);
    }
}

static void test_decay_beta(void)
{
    static const float values[] = {0.0f, 1e-6f, -1e-6f, 0.5f, -3.0f, 20.0f, -20.0f, 100.0f, -100.0f, 1e4f, -1e4f};
    size_t m = COUNT(values), heads = 3;
    float a_log[3] = {-3.0f, 0.0f, 2.5f}, bias[3] = {-4.0f, 0.0f, 1.0f};
    buf ab = buf_make(m, 2 * heads, 5, 0);
    for (size_t set = 0; set < 4; ++set) {
        double *want_decay = doubles(m * heads), *want_beta = doubles(m * heads);
        for (size_t r = 0; r < m; ++r)
            for (size_t h = 0; h < heads; ++h) {
                float a = values[(r + h) % m], b = values[(r * 3 + h) % m];
                ab.p[r * ab.ld + h] = a;
                ab.p[r * ab.ld + heads + h] = b;
                double z = (double)a + (double)bias[h];
                want_decay[r * heads + h] = -exp((double)a_log[h]) * (fmax(z, 0.0) + log1p(exp(-fabs(z))));
                want_beta[r * heads + h] = (set % 2 ? 2.0 : 1.0) * (0.5 + 0.5 * tanh(0.5 * (double)b));
            }
        check c = check_begin(kernel_sets[set / 2]->name, "decay", set, TOL_ELEMENT);
        check c2 = check_begin(kernel_sets[set / 2]->name, "beta", set, TOL_ELEMENT);
        buf decay = buf_make(m, heads, 0, 0), beta = buf_make(m, heads, 0, 0);
        kernel_sets[set / 2]->decay_beta(m, heads, ab.p, ab.ld, a_log, bias, set % 2 == 1, decay.p, beta.p);
        check_rows(&c, &decay, want_decay);
        check_rows(&c2, &beta, want_beta);
        for (size_t r = 0; r < m * heads; ++r)
            check_true(&c, decay.p[r] <= 0.0f && beta.p[r] >= 0.0f && beta.p[r] <= 2.0f, "out of its range");
        check_end(&c);
        check_end(&c2);
        buf_free(&decay);
        buf_free(&beta);
        free(want_decay);
        free(want_beta);
    }
    buf_free(&ab);
}

/* The pooled sum has the bits of one float addition per row in order, however the chunk was cut. */
static void test_pool(void)
{
    size_t m = 64, d = 77;
    buf x = buf_random(m, d, 3, 0, 8, 1.0);
    float want[77] = {0};
    for (size_t r = 0; r < m; ++r)
        for (size_t j = 0; j < d; ++j) want[j] += buf_at(&x, r, j);
    for (size_t set = 0; set < 2; ++set) {
        for (size_t cut = 0; cut <= m; cut += 8) {
            float sum[77] = {0};
            kernel_sets[set]->pool_add(cut, d, x.p, x.ld, sum);
            kernel_sets[set]->pool_add(m - cut, d, x.p + cut * x.ld, x.ld, sum);
            CU_ASSERT(memcmp(sum, want, sizeof want) == 0);
        }
    }
    buf_free(&x);
}

static void test_gate(void)
{
    enum { HEADS = 5, D = 99 };
    buf sum = buf_random(1, D, 0, 0, 3, 64.0), w = buf_random(2 * HEADS, D, 0, 0, 4, 1.0);
    memcpy(w.p + 2 * D, w.p + 3 * D, D * sizeof(float)); /* head 1: a tie */
    for (size_t j = 0; j < D; ++j) {                     /* heads 2, 3: nearly a tie, either way */
        w.p[4 * D + j] = w.p[5 * D + j] * (1.0f + 1e-5f);
        w.p[7 * D + j] = w.p[6 * D + j] * (1.0f + 1e-5f);
    }
    double want[2 * HEADS] = {0};
    for (size_t op = 0; op < (size_t)2 * HEADS; ++op)
        for (size_t j = 0; j < D; ++j) want[op] += (double)sum.p[j] / 64.0 * (double)w.p[op * D + j];
    for (size_t set = 0; set < 2; ++set) {
        check c = check_begin(kernel_sets[set]->name, "gate_choose", 0, TOL_ELEMENT);
        buf logits = buf_make(1, (size_t)2 * HEADS, 0, 0);
        uint8_t keep[HEADS + 1];
        memset(keep, 77, sizeof keep);
        kernel_sets[set]->gate_choose(HEADS, D, sum.p, 64, w.p, logits.p, keep);
        check_rows(&c, &logits, want);
        check_true(&c, keep[1] == 1, "a tie must keep");
        for (size_t h = 0; h < HEADS; ++h) check_true(&c, keep[h] == (want[2 * h] >= want[2 * h + 1]), "wrong choice");
        check_true(&c, keep[HEADS] == 77, "wrote too far");
        check_end(&c);
        buf_free(&logits);
    }
    CU_ASSERT(want[4] != want[5] && want[6] != want[7]);
    buf_free(&sum);
    buf_free(&w);
}

static void test_gated_norm(void)
{
    static const size_t dims[] = {1, 17, 64, 256};
    for (size_t i = 0; i < COUNT(dims) * 2; ++i) {
        size_t d = dims[i / 2], heads = 3, m = 6, row = heads * d;
        int gated = i % 2 == 0;
        buf o = buf_random(m, row, 2, 0, i + 1, 1.0), w = buf_random(1, d, 0, 0, i + 2, 2.0);
        buf gate = buf_random(m, row, 3, 0, i + 3, 20.0);
        gate.p[0] = 1e4f;
        gate.p[gate.ld] = -1e4f;
        double *want = doubles(m * row);
        for (size_t r = 0; r < m; ++r)
            for (size_t c = 0; c < row; ++c)
                want[r * row + c] = (double)buf_at(&o, r, c) / rms(o.p + r * o.ld + c / d * d, d, (double)1e-5f) *
                                    (double)w.p[c % d] * (gated ? silu((double)buf_at(&gate, r, c)) : 1.0);
        for (size_t set = 0; set < 4; ++set) {
            check c = check_begin(kernel_sets[set / 2]->name, "gated_norm", i, TOL_REDUCED);
            buf y = set % 2 ? buf_copy(&o) : buf_make(m, row, 2, 0);
            kernel_sets[set / 2]->gated_norm(m, heads, d, set % 2 ? y.p : o.p, o.ld, w.p, 1e-5f, gated ? gate.p : NULL,
                                             gate.ld, y.p, y.ld);
            check_rows(&c, &y, want);
            check_end(&c);
            buf_free(&y);
        }
        buf_free(&o);
        buf_free(&w);
        buf_free(&gate);
        free(want);
    }
}

static void test_sigmoid_gate(void)
{
    static const size_t dims[] = {1, 17, 64, 256};
    for (size_t i = 0; i < COUNT(dims); ++i) {
        size_t d = dims[i], heads = 3, m = 6, row = heads * d, step = 2 * d + i;
        buf o = buf_random(m, row, 2, 0, i + 1, 1.0), gate = buf_random(m, heads * step, 3, 0, i + 3, 20.0);
        gate.p[0] = 1e4f;
        gate.p[gate.ld] = -1e4f;
        double *want = doubles(m * row);
        for (size_t r = 0; r < m; ++r)
            for (size_t c = 0; c < row; ++c)
                want[r * row + c] =
                    (double)buf_at(&o, r, c) * (0.5 + 0.5 * tanh(0.5 * (double)buf_at(&gate, r, c / d * step + c % d)));
        for (size_t set = 0; set < 4; ++set) {
            check c = check_begin(kernel_sets[set / 2]->name, "sigmoid_gate", i, TOL_ELEMENT);
            buf y = set % 2 ? buf_copy(&o) : buf_make(m, row, 2, 0);
            kernel_sets[set / 2]->sigmoid_gate(m, heads, d, set % 2 ? y.p : o.p, o.ld, gate.p, gate.ld, step, y.p,
                                               y.ld);
            check_rows(&c, &y, want);
            check_end(&c);
            buf_free(&y);
        }
        buf_free(&o);
        buf_free(&gate);
        free(want);
    }
}

static void test_nats_mix(void)
{
    static const struct {
        size_t v_heads, dv, a_heads, dva;
    } cases[] = {{1, 1, 1, 1}, {2, 32, 4, 16}, {4, 16, 2, 32}, {3, 20, 4, 15}, {6, 256, 12, 128}};
    for (size_t i = 0; i < COUNT(cases) * 2; ++i) {
        size_t v_heads = cases[i / 2].v_heads, dv = cases[i / 2].dv, heads = cases[i / 2].a_heads,
               dva = cases[i / 2].dva;
        size_t m = 4, row = heads * dva, d1 = i % 2 ? dv : dva;
        int gated = i % 2 == 0;
        buf o = buf_random(m, row, 2, 0, i + 1, 1.0), oa = buf_random(m, row, 5, 0, i + 2, 1.0);
        buf w1 = buf_random(1, d1, 0, 0, i + 3, 2.0), w2 = buf_random(1, dva, 0, 0, i + 4, 2.0);
        buf mix = buf_random(m, 2 * heads, 1, 0, i + 5, 4.0), gate = buf_random(m, row, 4, 0, i + 6, 5.0);
        mix.p[0] = 1e4f; /* the delta rule alone */
        mix.p[mix.ld] = -1e4f;
        double *want = doubles(m * row);
        for (size_t r = 0; r < m; ++r)
            for (size_t c = 0; c < row; ++c) {
                double s1 = (double)buf_at(&mix, r, c / dva * 2), s2 = (double)buf_at(&mix, r, c / dva * 2 + 1);
                double p1 = exp(s1 - fmax(s1, s2)), p2 = exp(s2 - fmax(s1, s2)), sum = p1 + p2;
                double a = (double)buf_at(&o, r, c) / rms(o.p + r * o.ld + c / d1 * d1, d1, (double)1e-6f);
                double b = (double)buf_at(&oa, r, c) / rms(oa.p + r * oa.ld + c / dva * dva, dva, (double)1e-6f);
                a *= (double)w1.p[c % d1];
                b *= (double)w2.p[c % dva];
                want[r * row + c] = gated ? (p1 / sum * a + p2 / sum * b) * silu((double)buf_at(&gate, r, c)) : a + b;
            }
        for (size_t set = 0; set < 4; ++set) {
            check c = check_begin(kernel_sets[set / 2]->name, "nats_mix", i, TOL_CANCEL);
            buf y = set % 2 ? buf_copy(&o) : buf_make(m, row, 2, 0);
            kernel_sets[set / 2]->nats_mix(m, v_heads, dv, heads, dva, set % 2 ? y.p : o.p, o.ld, oa.p, oa.ld, w1.p,
                                           w2.p, 1e-6f, gated ? mix.p : NULL, mix.ld, gated ? gate.p : NULL, gate.ld,
                                           y.p, y.ld);
            check_rows(&c, &y, want);
            check_end(&c);
            buf_free(&y);
        }
        buf_free(&o);
        buf_free(&oa);
        buf_free(&w1);
        buf_free(&w2);
        buf_free(&mix);
        buf_free(&gate);
        free(want);
    }
}

static void test_swiglu_embed(void)
{
    static const size_t widths[] = {0, 1, 15, 64, 301};
    for (size_t i = 0; i < COUNT(widths); ++i) {
        size_t n = widths[i], m = 7;
        buf gu = buf_random(m, 2 * n, 3, 0, i + 1, 10.0);
        if (n > 3) gu.p[0] = 1e4f, gu.p[1] = -1e4f, gu.p[2] = -90.0f;
        double *want = doubles(m * n);
        for (size_t r = 0; r < m; ++r)
            for (size_t c = 0; c < n; ++c)
                want[r * n + c] = silu((double)buf_at(&gu, r, c)) * (double)buf_at(&gu, r, n + c);
        for (size_t set = 0; set < 4; ++set) {
            check c = check_begin(kernel_sets[set / 2]->name, "swiglu", i, TOL_ELEMENT);
            buf y = set % 2 ? buf_copy(&gu) : buf_make(m, n, 3, 0);
            kernel_sets[set / 2]->swiglu(m, n, set % 2 ? y.p : gu.p, gu.ld, y.p, y.ld);
            for (size_t r = 0; r < m; ++r)
                for (size_t l = 0; l < n; ++l) check_value(&c, r, l, (double)buf_at(&y, r, l), want[r * n + l]);
            check_true(&c, buf_spoiled(&y) == 0, "wrote outside its rows");
            check_end(&c);
            buf_free(&y);
        }
        buf_free(&gu);
        free(want);
    }
    static const int32_t ids[6] = {4, 0, 4, 1, 3, 2};
    buf table = buf_random(5, 19, 0, 0, 9, 1.0);
    natsl_matrix panels = matrix_of(&table, NATSL_F32);
    for (size_t set = 0; set < 2; ++set) {
        check c = check_begin(kernel_sets[set]->name, "embed", 0, TOL_EXACT);
        buf y = buf_make(6, 19, 2, 0);
        kernel_sets[set]->embed(6, &panels, ids, y.p, y.ld);
        for (size_t r = 0; r < 6; ++r)
            for (size_t j = 0; j < 19; ++j)
                check_value(&c, r, j, (double)buf_at(&y, r, j), (double)buf_at(&table, (size_t)ids[r], j));
        check_true(&c, buf_spoiled(&y) == 0, "wrote outside its rows");
        check_end(&c);
        buf_free(&y);
    }
    buf_free(&table);
    free((void *)(uintptr_t)panels.data);
}

/* One row-wise kernel on rows i0 .. i0+m of fixed inputs; the rows' results go to y. */
typedef void (*row_kernel)(const natsl_kernels *set, size_t i0, size_t m, const buf *in, buf *y);
enum { ROW = 12 * 19 }; /* 12 heads of 19: vectors and a rest in each */

static void row_rms(const natsl_kernels *set, size_t i0, size_t m, const buf *in, buf *y)
{
    set->rms_norm(m, 12, 19, in->p + i0 * in->ld, in->ld, in->p, 1e-6f, y->p + i0 * y->ld, y->ld);
}

static void row_l2(const natsl_kernels *set, size_t i0, size_t m, const buf *in, buf *y)
{
    set->l2_norm(m, 2, 114, in->p + i0 * in->ld, in->ld, 0.5f, y->p + i0 * y->ld, y->ld);
}

static void row_conv(const natsl_kernels *set, size_t i0, size_t m, const buf *in, buf *y)
{
    static float halo[3 * ROW];
    for (size_t j = 0; j < 3; ++j)
        for (size_t c = 0; c < ROW; ++c) halo[j * ROW + c] = i0 + j >= 3 ? in->p[(i0 + j - 3) * in->ld + c] : 0.0f;
    for (size_t r = i0; r < i0 + m; ++r) memcpy(y->p + r * y->ld, in->p + r * in->ld, ROW * sizeof(float));
    set->short_conv(m, ROW, 4, y->p + i0 * y->ld, y->ld, halo, in->p);
}

static void row_rotary(const natsl_kernels *set, size_t i0, size_t m, const buf *in, buf *y)
{
    for (size_t r = i0; r < i0 + m; ++r) memcpy(y->p + r * y->ld, in->p + r * in->ld, ROW * sizeof(float));
    set->rotary(m, 6, 38, 38, y->p + i0 * y->ld, y->ld, 1000003 + (int64_t)i0, 10000.0);
}

static void row_gated(const natsl_kernels *set, size_t i0, size_t m, const buf *in, buf *y)
{
    const float *x = in->p + i0 * in->ld;
    set->gated_norm(m, 4, 57, x, in->ld, in->p, 1e-6f, x + 1, in->ld, y->p + i0 * y->ld, y->ld);
}

static void row_sigmoid(const natsl_kernels *set, size_t i0, size_t m, const buf *in, buf *y)
{
    const float *x = in->p + i0 * in->ld;
    set->sigmoid_gate(m, 4, 57, x, in->ld, x + 3, in->ld, 59, y->p + i0 * y->ld, y->ld);
}

static void row_mix(const natsl_kernels *set, size_t i0, size_t m, const buf *in, buf *y)
{
    const float *x = in->p + i0 * in->ld;
    set->nats_mix(m, 6, 38, 12, 19, x, in->ld, x + 1, in->ld, in->p, in->p + 3, 1e-6f, x + 5, in->ld, x + 7, in->ld,
                  y->p + i0 * y->ld, y->ld);
}

static void row_mix_plain(const natsl_kernels *set, size_t i0, size_t m, const buf *in, buf *y)
{
    const float *x = in->p + i0 * in->ld;
    set->nats_mix(m, 6, 38, 12, 19, x, in->ld, x + 1, in->ld, in->p, in->p + 3, 1e-6f, NULL, 0, NULL, 0,
                  y->p + i0 * y->ld, y->ld);
}

static void row_swiglu(const natsl_kernels *set, size_t i0, size_t m, const buf *in, buf *y)
{
    set->swiglu(m, ROW, in->p + i0 * in->ld, in->ld, y->p + i0 * y->ld, y->ld);
}

static void row_decay(const natsl_kernels *set, size_t i0, size_t m, const buf *in, buf *y)
{
    float decay[40 * 7], beta[40 * 7];
    set->decay_beta(m, 7, in->p + i0 * in->ld, in->ld, in->p, in->p + 9, 1, decay, beta);
    for (size_t r = 0; r < m; ++r) {
        memset(y->p + (i0 + r) * y->ld, 0, ROW * sizeof(float));
        memcpy(y->p + (i0 + r) * y->ld, decay + r * 7, 7 * sizeof(float));
        memcpy(y->p + (i0 + r) * y->ld + 7, beta + r * 7, 7 * sizeof(float));
    }
}

static void row_lse(const natsl_kernels *set, size_t i0, size_t m, const buf *in, buf *y)
{
    for (size_t r = i0; r < i0 + m; ++r) memset(y->p + r * y->ld, 0, ROW * sizeof(float));
    float top[40], picked[40];
    double sum[40];
    int32_t targets[40] = {0};
    for (size_t r = 0; r < m; ++r) {
        top[r] = -INFINITY;
        sum[r] = 0.0;
        targets[r] = (int32_t)((i0 + r) % ROW);
    }
    set->lse_add(m, ROW, in->p + i0 * in->ld, in->ld, 0, targets, top, sum, picked);
    for (size_t r = 0; r < m; ++r) {
        memcpy(y->p + (i0 + r) * y->ld, &top[r], sizeof(float));
        memcpy(y->p + (i0 + r) * y->ld + 1, &picked[r], sizeof(float));
        memcpy(y->p + (i0 + r) * y->ld + 2, &sum[r], sizeof(double));
    }
}

static void test_same_bits(void)
{
    static const struct {
        const char *name;
        row_kernel run;
    } kernels[] = {
        {"rms_norm", row_rms},     {"l2_norm", row_l2},   {"short_conv", row_conv},          {"rotary", row_rotary},
        {"gated_norm", row_gated}, {"nats_mix", row_mix}, {"nats_mix plain", row_mix_plain}, {"swiglu", row_swiglu},
        {"decay_beta", row_decay}, {"lse_add", row_lse},  {"sigmoid_gate", row_sigmoid}};
    static const size_t cuts[] = {1, 2, 3, 17, 40};
    buf in = buf_random(40, 2 * ROW, 1, 0, 12345, 1.5);
    for (size_t i = 0; i < COUNT(kernels) * 2; ++i) {
        const natsl_kernels *set = kernel_sets[i % 2];
        check c = check_begin(set->name, kernels[i / 2].name, i, TOL_EXACT);
        buf want = buf_make(40, ROW, 0, 0);
        kernels[i / 2].run(set, 0, 40, &in, &want);
        for (size_t n = 0; n < COUNT(cuts) * 16; ++n) { /* every address modulo a vector, for input and output */
            size_t step = cuts[n % COUNT(cuts)], shift = n / COUNT(cuts);
            buf moved = buf_random(40, 2 * ROW, 1, shift, 12345, 1.5), y = buf_make(40, ROW, shift % 5, shift * 7 % 16);
            for (size_t i0 = 0; i0 < 40; i0 += step)
                kernels[i / 2].run(set, i0, 40 - i0 < step ? 40 - i0 : step, &moved, &y);
            for (size_t r = 0; r < 40; ++r)
                check_true(&c, memcmp(y.p + r * y.ld, want.p + r * want.ld, ROW * sizeof(float)) == 0, "other bits");
            check_true(&c, buf_spoiled(&y) == 0, "wrote outside its rows");
            buf_free(&moved);
            buf_free(&y);
        }
        for (size_t j = 0; j < 3; ++j) check_true(&c, isfinite(buf_at(&want, 39, j)), "not finite");
        check_end(&c);
        buf_free(&want);
    }
    buf_free(&in);
}

int main(void)
{
    static const test_entry tests[] = {
        {"exp over its range", test_exp},
        {"matrix", test_matrix},
        {"linear", test_linear},
        {"rms_norm, l2_norm", test_norms},
        {"short_conv", test_conv},
        {"rotary", test_rotary},
        {"decay_beta", test_decay_beta},
        {"pool_add: same bits however cut", test_pool},
        {"gate_choose", test_gate},
        {"gated_norm", test_gated_norm},
        {"sigmoid_gate", test_sigmoid_gate},
        {"nats_mix", test_nats_mix},
        {"swiglu, embed", test_swiglu_embed},
        {"rows have the same bits whatever m and the address", test_same_bits},
    };
    return run_suite("kernels: rows", tests, COUNT(tests));
}
