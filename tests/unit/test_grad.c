/* test_grad.c - gradient kernels that work row by row, both sets, against finite differences of the oracle's formulas in double;
 * products against plain sums. The delta rule and attention: test_grad_sequence.c. */
#include "grad_check.h"

/* ---- products -------------------------------------------------------------------------------------------------------- */

static natsl_matrix matrix_of(const buf *w, natsl_storage type)
{
    natsl_matrix m = {.n = w->rows, .k = w->cols, .type = type};
    void *data = aligned_alloc(64, (w->rows * w->cols * natsl_storage_bytes(type) + 127) / 64 * 64);
    if (data == NULL) abort();
    for (size_t j = 0; j < w->rows; ++j) natsl_matrix_put(w->rows, w->cols, type, data, j, 1, w->p + j * w->ld);
    m.data = data;
    return m;
}

static void test_linear(void)
{
    static const size_t shapes[][3] = {{0, 3, 4},     {3, 4, 1},    {1, 1, 1},     {2, 3, 5},
                                       {7, 1, 9},     {64, 65, 66}, {63, 12, 200}, {256, 96, 64},
                                       {1, 200, 130}, {3, 130, 70}, {300, 64, 65}, {100, 127, 140}};
    for (size_t i = 0; i < COUNT(shapes) * 4; ++i) {
        const size_t m = shapes[i / 4][0], n = shapes[i / 4][1], k = shapes[i / 4][2];
        const int accumulate = i % 2 == 1;
        buf x = buf_random(m, k, 3, 0, i + 1, 1.0), w = buf_random(n, k, 0, 0, i + 2, 1.0);
        buf dy = buf_random(m, n, 2, 0, i + 3, 1.0), start = buf_random(m, k, 5, 0, i + 4, 1.0);
        buf dw0 = buf_random(n, k, 1, 0, i + 5, 1.0), scratch = buf_make(1, natsl_linear_scratch(), 0, 0);
        natsl_matrix matrix = matrix_of(&w, i / 2 % 2 ? NATSL_BF16 : NATSL_F32);
        double *want_x = doubles(m * k), *want_w = doubles(n * k);
        for (size_t r = 0; r < m; ++r)
            for (size_t l = 0; l < k; ++l) {
                double s = accumulate ? (double)buf_at(&start, r, l) : 0.0;
                for (size_t j = 0; j < n; ++j) s += (double)buf_at(&dy, r, j) * (double)natsl_matrix_get(&matrix, j, l);
                want_x[r * k + l] = s;
            }
        for (size_t j = 0; j < n; ++j)
            for (size_t l = 0; l < k; ++l) {
                double s = (double)buf_at(&dw0, j, l);
                for (size_t r = 0; r < m; ++r) s += (double)buf_at(&dy, r, j) * (double)buf_at(&x, r, l);
                want_w[j * k + l] = s;
            }
        for (size_t set = 0; set < 2; ++set) {
            check c = check_begin(kernel_sets[set]->name, "linear_grad", i, TOL_PRODUCT);
            buf dx = accumulate ? buf_copy(&start) : buf_make(m, k, 5, 0), dw = buf_copy(&dw0);
            const size_t panels = natsl_panels(k), cut = panels / 2; /* in two parts: any panels may be asked for */
            buf over = buf_make(1, n * k, 0, 0);
            const natsl_matrix turned = {.n = k, .k = n, .type = NATSL_F32, .data = over.p};
            natsl_matrix_turn(&matrix, 0, cut, over.p, scratch.p);
            natsl_matrix_turn(&matrix, cut, panels, over.p, scratch.p);
            kernel_sets[set]->linear(m, &turned, 0, panels, dy.p, dy.ld, dx.p, dx.ld, accumulate, scratch.p);
            check_true(&c, buf_spoiled(&over) == 0, "wrote beyond the matrix");
            buf_free(&over);
            kernel_sets[set]->linear_grad_w(m, n, k, dy.p, dy.ld, x.p, x.ld, dw.p, dw.ld);
            check_rows(&c, &dx, want_x);
            check_rows(&c, &dw, want_w);
            check_true(&c, buf_spoiled(&scratch) == 0, "wrote beyond its scratch");
            check_end(&c);
            buf_free(&dx);
            buf_free(&dw);
        }
        buf *const all[] = {&x, &w, &dy, &start, &dw0, &scratch};
        for (size_t b = 0; b < COUNT(all); ++b) buf_free(all[b]);
        free((void *)(uintptr_t)matrix.data);
        free(want_x);
        free(want_w);
    }
}

/* ---- norms ----------------------------------------------------------------------------------------------------------- */

typedef struct norm_shape {
    size_t m, heads, d;
    double eps, scale; /* eps >= 0: rms_norm; else l2_norm */
    const double *dy;
} norm_shape;

static double norm_loss(double *const *in, const void *shape)
{
    const norm_shape *s = shape;
    double loss = 0.0, y[256];
    for (size_t r = 0; r < s->m * s->heads; ++r) {
        const double *x = in[0] + r * s->d;
        if (s->eps >= 0.0) d_rms(s->d, x, in[1], s->eps, y);
        else
            for (size_t j = 0; j < s->d; ++j) y[j] = s->scale * x[j] / sqrt(d_dot(s->d, x, x) + 1e-6);
        loss += d_dot(s->d, y, s->dy + r * s->d);
    }
    return loss;
}

static void test_norms(void)
{
    static const size_t shapes[][3] = {{5, 1, 1}, {3, 2, 5}, {4, 3, 16}, {2, 1, 100}, {0, 1, 4}, {3, 2, 64}};
    for (size_t i = 0; i < COUNT(shapes) * 3; ++i) {
        norm_shape s = {.m = shapes[i / 3][0], .heads = shapes[i / 3][1], .d = shapes[i / 3][2], .scale = 0.7};
        const int rms = i % 3 != 2, accumulate = i % 3 == 1;
        s.eps = rms ? 1e-2 : -1.0;
        buf x = buf_random(s.m, s.heads * s.d, 3, i % 2, i + 1, 1.5), w = buf_random(1, s.d, 0, 0, i + 2, 1.0);
        buf dy = buf_random(s.m, s.heads * s.d, 2, 1, i + 3, 1.0), dw0 = buf_random(1, s.d, 0, 0, i + 4, 1.0);
        buf dx0 = buf_random(s.m, s.heads * s.d, 4, 0, i + 5, 1.0);
        double *in[2] = {double_rows(&x), double_rows(&w)}, *gy = double_rows(&dy);
        s.dy = gy;
        for (size_t set = 0; set < 2; ++set) {
            check c = check_begin(kernel_sets[set]->name, rms ? "rms_norm_grad" : "l2_norm_grad", i, TOL_GRAD);
            buf dw = buf_copy(&dw0), dx = accumulate ? buf_copy(&dx0) : buf_copy(&dy); /* in place, or added */
            if (rms)
                kernel_sets[set]->rms_norm_grad(s.m, s.heads, s.d, x.p, x.ld, w.p, (float)s.eps,
                                                accumulate ? dy.p : dx.p, accumulate ? dy.ld : dx.ld, dx.p, dx.ld,
                                                accumulate, dw.p);
            else kernel_sets[set]->l2_norm_grad(s.m, s.heads, s.d, x.p, x.ld, (float)s.scale, dx.p, dx.ld, dx.p, dx.ld);
            s.eps = rms ? (double)(float)s.eps : s.eps;
            s.scale = (double)(float)s.scale;
            check_grad(&c, &dx, norm_loss, in, 0, &s, accumulate ? &dx0 : NULL);
            if (rms) check_grad(&c, &dw, norm_loss, in, 1, &s, &dw0);
            check_end(&c);
            buf_free(&dw);
            buf_free(&dx);
        }
        buf *const all[] = {&x, &w, &dy, &dw0, &dx0};
        for (size_t b = 0; b < COUNT(all); ++b) buf_free(all[b]);
        free(in[0]);
        free(in[1]);
        free(gy);
    }
}

/* ---- convolution ----------------------------------------------------------------------------------------------------- */

typedef struct conv_shape {
    size_t m, c, width;
    int plain; /* SiLU only */
    const double *dy;
} conv_shape;

/* in[0]: raw rows [width-1 + m, c], the halo's first; in[1]: taps. */
static double conv_loss(double *const *in, const void *shape)
{
    const conv_shape *s = shape;
    double loss = 0.0;
    for (size_t i = 0; i < s->m; ++i)
        for (size_t l = 0; l < s->c; ++l) {
            double v = 0.0;
            for (size_t j = 0; j < s->width; ++j) v += in[0][(i + j) * s->c + l] * in[1][l * s->width + j];
            if (s->plain) v = in[0][(i + s->width - 1) * s->c + l];
            loss += d_silu(v) * s->dy[i * s->c + l];
        }
    return loss;
}

/* All rows in one go, and in two pieces from the last back: the gradients of halo and rows together. */
static void test_conv(void)
{
    static const size_t shapes[][3] = {{0, 3, 4},  {1, 5, 4},  {2, 3, 4},  {9, 130, 4}, {7, 3, 1},
                                       {8, 17, 3}, {6, 2, 16}, {5, 2, 18}, {4, 6, 0}}; /* 0: no convolution */
    for (size_t i = 0; i < COUNT(shapes); ++i) {
        conv_shape s = {.m = shapes[i][0], .c = shapes[i][1], .width = shapes[i][2]};
        s.plain = s.width == 0;
        if (s.plain) s.width = 1;
        const size_t h = s.width - 1;
        buf rows = buf_random(h + s.m, s.c, 0, 0, i + 1, 2.0), w = buf_random(s.c, s.width, 0, 0, i + 2, 1.0);
        buf dy = buf_random(s.m, s.c, 2, 0, i + 3, 1.0), dw0 = buf_random(s.c, s.width, 0, 0, i + 4, 1.0);
        buf later = buf_random(h, s.c, 0, 0, i + 5, 1.0); /* from rows after these */
        double *in[2] = {double_rows(&rows), double_rows(&w)}, *gy = double_rows(&dy);
        s.dy = gy;
        for (size_t set = 0; set < 4; ++set) {
            const natsl_kernels *k = kernel_sets[set / 2];
            const size_t cut = set % 2 ? s.m / 2 : 0; /* two pieces, or one */
            check c = check_begin(k->name, "short_conv_grad", i, TOL_GRAD);
            buf all = buf_make(h + s.m, s.c, 0, 0), start = buf_make(h + s.m, s.c, 0, 0), dw = buf_copy(&dw0);
            buf dhalo = buf_copy(&later);
            buf_set(&start, 0.0f);
            for (size_t r = 0; r < h; ++r) memcpy(start.p + (s.m + r) * s.c, later.p + r * s.c, s.c * sizeof(float));
            const float *taps = s.plain ? NULL : w.p;
            for (size_t r = 0; r < s.m; ++r) memcpy(all.p + (h + r) * s.c, dy.p + r * dy.ld, s.c * sizeof(float));
            float *dx = all.p + h * s.c; /* in place of dy */
            k->short_conv_grad(s.m - cut, s.c, s.width, rows.p + (h + cut) * s.c, s.c, rows.p + cut * s.c, taps,
                               dx + cut * s.c, s.c, dx + cut * s.c, s.c, dhalo.p, dw.p);
            k->short_conv_grad(cut, s.c, s.width, rows.p + h * s.c, s.c, rows.p, taps, dx, s.c, dx, s.c, dhalo.p, dw.p);
            for (size_t r = 0; r < h; ++r) memcpy(all.p + r * s.c, dhalo.p + r * s.c, s.c * sizeof(float));
            check_grad(&c, &all, conv_loss, in, 0, &s, &start);
            if (!s.plain) check_grad(&c, &dw, conv_loss, in, 1, &s, &dw0);
            check_true(&c, buf_spoiled(&dhalo) == 0, "wrote beyond the halo");
            check_end(&c);
            buf_free(&all);
            buf_free(&start);
            buf_free(&dw);
            buf_free(&dhalo);
        }
        buf *const every[] = {&rows, &w, &dy, &dw0, &later};
        for (size_t b = 0; b < COUNT(every); ++b) buf_free(every[b]);
        free(in[0]);
        free(in[1]);
        free(gy);
    }
}

/* ---- rotary embedding, decays, gate ---------------------------------------------------------------------------------- */

/* The gradient of dy . rotary(x) along x is what turns back: <dy, rotary(x)> = <rotary_grad(dy), x> for every x. */
static void test_rotary(void)
{
    static const size_t shapes[][3] = {{5, 2, 2}, {3, 1, 16}, {4, 3, 10}};
    for (size_t i = 0; i < COUNT(shapes); ++i) {
        const size_t m = shapes[i][0], heads = shapes[i][1], d = shapes[i][2];
        const int64_t pos = i == 1 ? 1000003 : 7;
        buf dy = buf_random(m, heads * d, 3, 0, i + 1, 1.0);
        for (size_t set = 0; set < 2; ++set) {
            check c = check_begin(kernel_sets[set]->name, "rotary_grad", i, TOL_GRAD);
            buf dx = buf_copy(&dy);
            kernel_sets[set]->rotary_grad(m, heads, d, dx.p, dx.ld, pos, 10000.0);
            for (size_t r = 0; r < m; ++r)
                for (size_t l = 0; l < heads * d; ++l) { /* oracle.py rotary, one unit vector at a time */
                    const size_t half = d / 2, j = l % d, base = l / d * d;
                    const double angle = (double)(pos + (int64_t)r) * pow(10000.0, -(double)(j % half) / (double)half);
                    const double y1 = (double)buf_at(&dy, r, base + j % half);
                    const double y2 = (double)buf_at(&dy, r, base + j % half + half);
                    const double want =
                        j < half ? y1 * cos(angle) + y2 * sin(angle) : y2 * cos(angle) - y1 * sin(angle);
                    check_value(&c, r, l, (double)buf_at(&dx, r, l), want);
                }
            check_true(&c, buf_spoiled(&dx) == 0, "wrote outside its rows");
            check_end(&c);
            buf_free(&dx);
        }
        buf_free(&dy);
    }
}

typedef struct decay_shape {
    size_t m, heads;
    int neg;
    const double *dy; /* [m, 2 heads] of log_decay, beta */
} decay_shape;

static double decay_loss(double *const *in, const void *shape)
{
    const decay_shape *s = shape;
    double loss = 0.0;
    for (size_t i = 0; i < s->m; ++i)
        for (size_t h = 0; h < s->heads; ++h) {
            const double *ab = in[0] + i * 2 * s->heads, *dy = s->dy + i * 2 * s->heads;
            loss += dy[h] * -exp(in[1][h]) * log1p(exp(ab[h] + in[2][h]));
            loss += dy[s->heads + h] * d_sigmoid(ab[s->heads + h]) * (s->neg ? 2.0 : 1.0);
        }
    return loss;
}

static void test_decay_beta(void)
{
    for (size_t i = 0; i < 4; ++i) {
        decay_shape s = {.m = i == 3 ? 0 : 9, .heads = i + 1, .neg = (int)(i % 2)};
        buf ab = buf_random(s.m, 2 * s.heads, 3, 0, i + 1, 4.0), a_log = buf_random(1, s.heads, 0, 0, i + 2, 1.0);
        buf bias = buf_random(1, s.heads, 0, 0, i + 3, 2.0), dy = buf_random(s.m, 2 * s.heads, 2, 0, i + 4, 1.0);
        buf da0 = buf_random(1, s.heads, 0, 0, i + 5, 1.0), db0 = buf_random(1, s.heads, 0, 0, i + 6, 1.0);
        double *in[3] = {double_rows(&ab), double_rows(&a_log), double_rows(&bias)}, *gy = double_rows(&dy);
        s.dy = gy;
        for (size_t set = 0; set < 2; ++set) {
            check c = check_begin(kernel_sets[set]->name, "decay_beta_grad", i, TOL_GRAD);
            buf dab = buf_copy(&dy), da = buf_copy(&da0), db = buf_copy(&db0);
            kernel_sets[set]->decay_beta_grad(s.m, s.heads, ab.p, ab.ld, a_log.p, bias.p, s.neg, dab.p, dab.ld, da.p,
                                              db.p);
            check_grad(&c, &dab, decay_loss, in, 0, &s, NULL);
            check_grad(&c, &da, decay_loss, in, 1, &s, &da0);
            check_grad(&c, &db, decay_loss, in, 2, &s, &db0);
            check_end(&c);
            buf_free(&dab);
            buf_free(&da);
            buf_free(&db);
        }
        buf *const all[] = {&ab, &a_log, &bias, &dy, &da0, &db0};
        for (size_t b = 0; b < COUNT(all); ++b) buf_free(all[b]);
        for (size_t b = 0; b < 3; ++b) free(in[b]);
        free(gy);
    }
}

typedef struct gate_shape {
    size_t heads, d, count;
    const uint8_t *keep;
    const double *dchosen;
    const float *noise;
    double temperature, hint, hint_weight;
} gate_shape;

/* Straight through: the chosen operation's factor counts as its softmax. in[0]: one row of the chunk's (the others are constant
 * zero), in[1]: w. */
static double gate_loss(double *const *in, const void *shape)
{
    const gate_shape *s = shape;
    double loss = 0.0;
    for (size_t h = 0; h < s->heads; ++h) {
        const double *w = in[1] + 2 * h * s->d;
        const double z0 = d_dot(s->d, in[0], w) / (double)s->count,
                     z1 = d_dot(s->d, in[0], w + s->d) / (double)s->count;
        const double diff = (z0 - z1 + (s->noise ? (double)s->noise[h] : 0.0)) / s->temperature;
        loss += s->dchosen[h] * d_sigmoid(s->keep[h] ? diff : -diff);
        loss -= s->hint_weight * (s->hint * log(d_sigmoid(z0 - z1)) + (1.0 - s->hint) * log(d_sigmoid(z1 - z0)));
    }
    return loss;
}

static void test_gate(void)
{
    static const uint8_t keep[4] = {1, 0, 0, 1};
    static const double dchosen[4] = {0.7, -1.3, 2.0, 0.4};
    static const float noise[4] = {-0.8f, 0.3f, 1.7f, 0.0f};
    for (size_t i = 0; i < 5; ++i) {
        gate_shape s = {.heads = i % 4 + 1, .d = 3 + 7 * i, .count = i == 1 ? 64 : 2, .keep = keep, .dchosen = dchosen};
        s.noise = i >= 2 ? noise : NULL;
        s.temperature = i >= 3 ? 0.6 : 1.0;
        s.hint = i == 1 ? 1.0 : i == 3 ? 0.25 : 0.0;
        s.hint_weight = i == 0 ? 0.0 : 0.7;
        buf sum = buf_random(1, s.d, 0, 0, i + 1, 3.0), w = buf_random(2 * s.heads, s.d, 0, 0, i + 2, 0.6);
        buf dw0 = buf_random(2 * s.heads, s.d, 0, 0, i + 3, 1.0);
        double *in[2] = {double_rows(&sum), double_rows(&w)};
        for (size_t set = 0; set < 2; ++set) {
            check c = check_begin(kernel_sets[set]->name, "gate_grad", i, TOL_GRAD);
            buf drow = buf_make(1, s.d, 0, 0), dw = buf_copy(&dw0);
            double share[4];
            kernel_sets[set]->gate_grad(s.heads, s.d, sum.p, s.count, w.p, keep, dchosen, s.noise, s.temperature,
                                        s.hint, s.hint_weight, drow.p, dw.p, share);
            const double diff = (d_dot(s.d, in[0], in[1]) - d_dot(s.d, in[0], in[1] + s.d)) / (double)s.count;
            CU_ASSERT_DOUBLE_EQUAL(share[0], d_sigmoid((diff + (s.noise ? (double)noise[0] : 0.0)) / s.temperature),
                                   1e-9);
            check_grad(&c, &drow, gate_loss, in, 0, &s, NULL);
            check_grad(&c, &dw, gate_loss, in, 1, &s, &dw0);
            check_end(&c);
            buf_free(&drow);
            buf_free(&dw);
        }
        buf_free(&sum);
        buf_free(&w);
        buf_free(&dw0);
        free(in[0]);
        free(in[1]);
    }
}

/* ---- mixing, feed-forward, loss, embedding ---------------------------------------------------------------------------- */

typedef struct mix_shape {
    size_t m, v_heads, dv, a_heads, dva;
    int both, gated; /* nats_mix or gated_norm; with gate (and mix) or without */
    double eps;
    const double *dy;
} mix_shape;

/* in: o, oa, w1, w2, mix, gate. */
static double mix_loss(double *const *in, const void *shape)
{
    const mix_shape *s = shape;
    const size_t n = s->v_heads * s->dv, d1 = s->both && s->gated ? s->dva : s->dv;
    double loss = 0.0, y1[256], y2[256];
    for (size_t i = 0; i < s->m; ++i) {
        for (size_t h = 0; h < n / d1; ++h) d_rms(d1, in[0] + i * n + h * d1, in[2], s->eps, y1 + h * d1);
        for (size_t h = 0; s->both && h < s->a_heads; ++h)
            d_rms(s->dva, in[1] + i * n + h * s->dva, in[3], s->eps, y2 + h * s->dva);
        for (size_t j = 0; j < n; ++j) {
            double y = y1[j];
            if (s->both && s->gated) {
                const double *pair = in[4] + i * 2 * s->a_heads + j / s->dva * 2;
                const double p = d_sigmoid(pair[0] - pair[1]);
                y = p * y1[j] + (1.0 - p) * y2[j];
            } else if (s->both) {
                y = y1[j] + y2[j];
            }
            if (s->gated) y *= d_silu(in[5][i * n + j]);
            loss += y * s->dy[i * n + j];
        }
    }
    return loss;
}

static void test_mix(void)
{
    static const size_t shapes[][5] = {{3, 1, 8, 1, 8}, {4, 2, 6, 4, 3}, {2, 2, 32, 4, 16},
                                       {1, 6, 2, 3, 4}, {0, 1, 4, 2, 2}, {5, 1, 70, 1, 70}};
    for (size_t i = 0; i < COUNT(shapes) * 4; ++i) {
        const size_t *z = shapes[i / 4], n = z[1] * z[2];
        mix_shape s = {.m = z[0], .v_heads = z[1], .dv = z[2], .a_heads = z[3], .dva = z[4], .eps = (double)1e-3f};
        s.both = i % 2 == 1;
        s.gated = i / 2 % 2 == 1;
        const size_t d1 = s.both && s.gated ? s.dva : s.dv;
        buf o = buf_random(s.m, n, 3, 0, i + 1, 1.0), oa = buf_random(s.m, n, 2, 0, i + 2, 1.0);
        buf w1 = buf_random(1, d1, 0, 0, i + 3, 1.0), w2 = buf_random(1, s.dva, 0, 0, i + 4, 1.0);
        buf mix = buf_random(s.m, 2 * s.a_heads, 1, 0, i + 5, 2.0), gate = buf_random(s.m, n, 4, 0, i + 6, 3.0);
        buf dy = buf_random(s.m, n, 5, 0, i + 7, 1.0), zero = buf_random(1, d1, 0, 0, i + 8, 1.0);
        buf zero2 = buf_random(1, s.dva, 0, 0, i + 9, 1.0);
        double *in[6] = {double_rows(&o),  double_rows(&oa),  double_rows(&w1),
                         double_rows(&w2), double_rows(&mix), double_rows(&gate)};
        double *gy = double_rows(&dy);
        s.dy = gy;
        for (size_t set = 0; set < 2; ++set) {
            const natsl_kernels *k = kernel_sets[set];
            check c = check_begin(k->name, s.both ? "nats_mix_grad" : "gated_norm_grad", i, TOL_GRAD);
            buf d_o = buf_make(s.m, n, 1, 0), d_oa = buf_make(s.m, n, 2, 0), dmix = buf_make(s.m, 2 * s.a_heads, 3, 0);
            buf dgate = buf_make(s.m, n, 4, 0), dw1 = buf_copy(&zero), dw2 = buf_copy(&zero2);
            const float *g = s.gated ? gate.p : NULL;
            if (s.both)
                k->nats_mix_grad(s.m, s.v_heads, s.dv, s.a_heads, s.dva, o.p, o.ld, oa.p, oa.ld, w1.p, w2.p,
                                 (float)s.eps, s.gated ? mix.p : NULL, mix.ld, g, gate.ld, dy.p, dy.ld, d_o.p, d_o.ld,
                                 d_oa.p, d_oa.ld, dmix.p, dmix.ld, dgate.p, dgate.ld, dw1.p, dw2.p);
            else
                k->gated_norm_grad(s.m, s.v_heads, s.dv, o.p, o.ld, w1.p, (float)s.eps, g, gate.ld, dy.p, dy.ld, d_o.p,
                                   d_o.ld, dgate.p, dgate.ld, dw1.p);
            check_grad(&c, &d_o, mix_loss, in, 0, &s, NULL);
            check_grad(&c, &dw1, mix_loss, in, 2, &s, &zero);
            if (s.both) check_grad(&c, &d_oa, mix_loss, in, 1, &s, NULL);
            if (s.both) check_grad(&c, &dw2, mix_loss, in, 3, &s, &zero2);
            if (s.both && s.gated) check_grad(&c, &dmix, mix_loss, in, 4, &s, NULL);
            if (s.gated) check_grad(&c, &dgate, mix_loss, in, 5, &s, NULL);
            check_end(&c);
            buf *const made[] = {&d_o, &d_oa, &dmix, &dgate, &dw1, &dw2};
            for (size_t b = 0; b < COUNT(made); ++b) buf_free(made[b]);
        }
        buf *const all[] = {&o, &oa, &w1, &w2, &mix, &gate, &dy, &zero, &zero2};
        for (size_t b = 0; b < COUNT(all); ++b) buf_free(all[b]);
        for (size_t b = 0; b < COUNT(in); ++b) free(in[b]);
        free(gy);
    }
}

typedef struct swiglu_shape {
    size_t m, n;
    const double *dy;
} swiglu_shape;

static double swiglu_loss(double *const *in, const void *shape)
{
    const swiglu_shape *s = shape;
    double loss = 0.0;
    for (size_t i = 0; i < s->m; ++i)
        for (size_t j = 0; j < s->n; ++j)
            loss += d_silu(in[0][i * 2 * s->n + j]) * in[0][i * 2 * s->n + s->n + j] * s->dy[i * s->n + j];
    return loss;
}

static void test_swiglu(void)
{
    static const size_t shapes[][2] = {{1, 1}, {4, 17}, {3, 64}, {0, 5}};
    for (size_t i = 0; i < COUNT(shapes); ++i) {
        swiglu_shape s = {.m = shapes[i][0], .n = shapes[i][1]};
        buf gu = buf_random(s.m, 2 * s.n, 3, 0, i + 1, 4.0), dy = buf_random(s.m, s.n, 2, 0, i + 2, 1.0);
        double *in[1] = {double_rows(&gu)}, *gy = double_rows(&dy), *want = doubles(s.m * s.n);
        for (size_t r = 0; r < s.m * s.n; ++r) {
            const double *row = in[0] + r / s.n * 2 * s.n + r % s.n;
            want[r] = d_silu(row[0]) * row[s.n];
        }
        s.dy = gy;
        for (size_t set = 0; set < 2; ++set) {
            check c = check_begin(kernel_sets[set]->name, "swiglu_grad", i, TOL_GRAD);
            buf dgu = buf_make(s.m, 2 * s.n, 1, 0), y = buf_make(s.m, s.n, 3, 0);
            kernel_sets[set]->swiglu_grad(s.m, s.n, gu.p, gu.ld, dy.p, dy.ld, dgu.p, dgu.ld, y.p, y.ld);
            check_rows(&c, &y, want);
            check_grad(&c, &dgu, swiglu_loss, in, 0, &s, NULL);
            check_end(&c);
            buf_free(&dgu);
            buf_free(&y);
        }
        free(want);
        buf_free(&gu);
        buf_free(&dy);
        free(in[0]);
        free(gy);
    }
}

typedef struct lse_shape {
    size_t m, n;
    const int32_t *targets;
    double scale;
} lse_shape;

static double lse_loss(double *const *in, const void *shape)
{
    const lse_shape *s = shape;
    double loss = 0.0;
    for (size_t i = 0; i < s->m; ++i) {
        double sum = 0.0;
        if (s->targets[i] < 0) continue;
        for (size_t j = 0; j < s->n; ++j) sum += exp(in[0][i * s->n + j]);
        loss -= s->scale * (in[0][i * s->n + (size_t)s->targets[i]] - log(sum));
    }
    return loss;
}

static void test_lse(void)
{
    enum { M = 5, N = 70, CUT = 33 };
    static const int32_t targets[M] = {0, 69, -1, 33, 32};
    lse_shape s = {.m = M, .n = N, .targets = targets, .scale = 0.25};
    buf logits = buf_random(M, N, 2, 0, 5, 3.0);
    double *in[1] = {double_rows(&logits)};
    for (size_t set = 0; set < 2; ++set) {
        const natsl_kernels *k = kernel_sets[set];
        check c = check_begin(k->name, "lse_grad", 0, TOL_GRAD);
        buf x = buf_copy(&logits);
        float top[M], picked[M] = {0};
        double sum[M] = {0};
        for (size_t i = 0; i < M; ++i) top[i] = -INFINITY;
        k->lse_add(M, CUT, x.p, x.ld, 0, targets, top, sum, picked);
        k->lse_add(M, N - CUT, x.p + CUT, x.ld, CUT, targets, top, sum, picked);
        k->lse_grad(M, CUT, x.p, x.ld, 0, targets, top, sum, s.scale);
        k->lse_grad(M, N - CUT, x.p + CUT, x.ld, CUT, targets, top, sum, s.scale);
        check_grad(&c, &x, lse_loss, in, 0, &s, NULL);
        check_end(&c);
        buf_free(&x);
    }
    buf_free(&logits);
    free(in[0]);
}

static void test_embed(void)
{
    enum { M = 6, V = 4, D = 5 };
    static const int32_t ids[M] = {3, 0, 3, 3, 1, 0};
    buf dy = buf_random(M, D, 2, 0, 1, 1.0), start = buf_random(V, D, 1, 0, 2, 1.0);
    double *want = double_rows(&start);
    for (size_t i = 0; i < M; ++i)
        for (size_t j = 0; j < D; ++j) want[(size_t)ids[i] * D + j] += (double)buf_at(&dy, i, j);
    for (size_t set = 0; set < 2; ++set) {
        check c = check_begin(kernel_sets[set]->name, "embed_grad", 0, TOL_ELEMENT);
        buf dt = buf_copy(&start);
        kernel_sets[set]->embed_grad(M, ids, 0, 2, dy.p, dy.ld, dt.p, dt.ld);
        kernel_sets[set]->embed_grad(M, ids, 2, D, dy.p, dy.ld, dt.p, dt.ld);
        check_rows(&c, &dt, want);
        check_end(&c);
        buf_free(&dt);
    }
    buf_free(&dy);
    buf_free(&start);
    free(want);
}

int main(void)
{
    static const test_entry tests[] = {
        {"products", test_linear},   {"norms", test_norms},
        {"convolution", test_conv},  {"rotary embedding", test_rotary},
        {"decays", test_decay_beta}, {"the gate's choice", test_gate},
        {"mixing", test_mix},        {"feed-forward", test_swiglu},
        {"cross-entropy", test_lse}, {"embedding", test_embed},
    };
    return run_suite("gradients, row by row", tests, COUNT(tests));
}
