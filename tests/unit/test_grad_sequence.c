/* test_grad_sequence.c - gradients of the delta rule and of attention, both sets, against finite differences of oracle.py's
 * token-by-token formulas in double; and the fast set against the reference at the published sizes. */
#include "grad_check.h"

/* ---- the delta rule -------------------------------------------------------------------------------------------------- */

typedef struct delta_shape {
    size_t m, dk, dv;
    const double *dout, *dlast;
} delta_shape;

/* in: q, k, v, log decay, beta, state. */
static double delta_loss(double *const *in, const void *shape)
{
    const delta_shape *z = shape;
    double s[64 * 64], loss = 0.0;
    memcpy(s, in[5], z->dk * z->dv * sizeof *s);
    for (size_t t = 0; t < z->m; ++t) {
        const double a = exp(in[3][t]), *q = in[0] + t * z->dk, *k = in[1] + t * z->dk;
        for (size_t c = 0; c < z->dv; ++c) {
            double error = in[2][t * z->dv + c], out = 0.0;
            for (size_t l = 0; l < z->dk; ++l) {
                s[l * z->dv + c] *= a;
                error -= s[l * z->dv + c] * k[l];
            }
            for (size_t l = 0; l < z->dk; ++l) {
                s[l * z->dv + c] += k[l] * in[4][t] * error;
                out += s[l * z->dv + c] * q[l];
            }
            loss += out * z->dout[t * z->dv + c];
        }
    }
    return loss + d_dot(z->dk * z->dv, s, z->dlast);
}

static void unit_rows(buf *b)
{
    for (size_t i = 0; i < b->rows; ++i) {
        double sum = 1e-6;
        for (size_t j = 0; j < b->cols; ++j) sum += (double)buf_at(b, i, j) * (double)buf_at(b, i, j);
        for (size_t j = 0; j < b->cols; ++j) b->p[i * b->ld + j] = (float)((double)buf_at(b, i, j) / sqrt(sum));
    }
}

/** Inputs of one block, and room for what the kernel writes. */
typedef struct delta_case {
    size_t m, dk, dv;
    buf in[6]; /* q, k, v, log decay, beta, state; decay and beta strided alike */
    buf dout, dlast, dq0, dk0;
} delta_case;

static delta_case delta_make(size_t m, size_t dk, size_t dv, int kind, uint64_t seed)
{
    delta_case z = {.m = m, .dk = dk, .dv = dv};
    z.in[0] = buf_random(m, dk, 5, 0, seed + 1, 1.0);
    z.in[1] = buf_random(m, dk, 3, 0, seed + 2, 1.0);
    z.in[2] = buf_random(m, dv, 7, 0, seed + 3, 1.0);
    z.in[3] = buf_random(m, 1, 2, 0, seed + 4, 0.15);
    z.in[4] = buf_random(m, 1, 2, 0, seed + 5, 0.5);
    z.in[5] = buf_random(dk, dv, 0, 0, seed + 6, 0.5);
    unit_rows(&z.in[0]);
    unit_rows(&z.in[1]);
    for (size_t i = 0; i < m; ++i) {
        float *decay = z.in[3].p + i * z.in[3].ld, *beta = z.in[4].p + i * z.in[4].ld;
        *decay -= 0.15f;
        *beta += 0.5f;
        if (kind == 1) *decay = 0.0f, *beta *= 2.0f;           /* no decay, negative eigenvalues */
        if (kind == 2) *beta = i % 3 ? *beta : 0.0f;           /* tokens that write nothing */
        if (kind == 3) *decay = i % 7 == 4 ? -300.0f : *decay; /* the past is forgotten now and then */
    }
    z.dout = buf_random(m, dv, 3, 0, seed + 7, 1.0);
    z.dlast = buf_random(dk, dv, 0, 0, seed + 8, 1.0);
    z.dq0 = buf_random(m, dk, 4, 0, seed + 9, 1.0);
    z.dk0 = buf_random(m, dk, 2, 0, seed + 10, 1.0);
    return z;
}

static void delta_free(delta_case *z)
{
    for (size_t b = 0; b < 6; ++b) buf_free(&z->in[b]);
    buf_free(&z->dout);
    buf_free(&z->dlast);
    buf_free(&z->dq0);
    buf_free(&z->dk0);
}

/* got: as the inputs. */
static void delta_run(const natsl_kernels *set, const delta_case *z, buf *got, check *c)
{
    buf scratch = buf_make(1, natsl_delta_grad_scratch(z->dk, z->dv), 0, 0);
    got[0] = buf_copy(&z->dq0);
    got[1] = buf_copy(&z->dk0);
    got[2] = buf_make(z->m, z->dv, 1, 0);
    got[3] = buf_make(z->m, 1, 3, 0);
    got[4] = buf_make(z->m, 1, 3, 0);
    got[5] = buf_copy(&z->dlast);
    set->delta_grad(z->m, z->dk, z->dv, z->in[0].p, z->in[0].ld, z->in[1].p, z->in[1].ld, z->in[2].p, z->in[2].ld,
                    z->in[3].p, z->in[4].p, z->in[4].ld, z->in[5].p, z->dout.p, z->dout.ld, got[5].p, got[0].p,
                    got[0].ld, got[1].p, got[1].ld, got[2].p, got[2].ld, got[3].p, got[4].p, got[4].ld, scratch.p);
    check_true(c, buf_spoiled(&scratch) == 0, "wrote beyond its scratch");
    buf_free(&scratch);
}

static void test_delta(void)
{
    static const size_t shapes[][3] = {{0, 3, 2}, {1, 1, 1}, {2, 3, 2}, {5, 4, 7}, {17, 8, 3}, {63, 5, 6}, {64, 12, 9}};
    for (size_t i = 0; i < COUNT(shapes) * 4; ++i) {
        delta_case z = delta_make(shapes[i / 4][0], shapes[i / 4][1], shapes[i / 4][2], (int)(i % 4), 20 * i);
        double *in[6], *dout = double_rows(&z.dout), *dlast = double_rows(&z.dlast);
        for (size_t b = 0; b < 6; ++b) in[b] = double_rows(&z.in[b]);
        const delta_shape s = {.m = z.m, .dk = z.dk, .dv = z.dv, .dout = dout, .dlast = dlast};
        for (size_t set = 0; set < 2; ++set) {
            check c = check_begin(kernel_sets[set]->name, "delta_grad", i, TOL_GRAD_SUM);
            buf got[6];
            delta_run(kernel_sets[set], &z, got, &c);
            for (size_t b = 0; b < 6; ++b)
                check_grad(&c, &got[b], delta_loss, in, b, &s, b == 0 ? &z.dq0 : b == 1 ? &z.dk0 : NULL);
            check_end(&c);
            for (size_t b = 0; b < 6; ++b) buf_free(&got[b]);
        }
        for (size_t b = 0; b < 6; ++b) free(in[b]);
        free(dout);
        free(dlast);
        delta_free(&z);
    }
}

/* Fast against the reference, in norm: at 128 x 256 single elements near zero say little. */
static void test_delta_large(void)
{
    static const size_t shapes[][3] = {{64, 128, 256}, {64, 96, 33}, {40, 64, 128}};
    static const char *const names[6] = {"dq", "dk", "dv", "dlog_decay", "dbeta", "dstate"};
    for (size_t i = 0; i < COUNT(shapes); ++i) {
        delta_case z = delta_make(shapes[i][0], shapes[i][1], shapes[i][2], 0, 50 + i);
        check c = check_begin("fast", "delta_grad, large", i, TOL_GRAD_SUM);
        buf want[6], got[6];
        delta_run(&natsl_kernels_ref, &z, want, &c);
        delta_run(&natsl_kernels_fast, &z, got, &c);
        for (size_t b = 0; b < 6; ++b) {
            double error = 0.0, norm = 0.0;
            for (size_t r = 0; r < want[b].rows; ++r)
                for (size_t l = 0; l < want[b].cols; ++l) {
                    const double w = (double)buf_at(&want[b], r, l), g = (double)buf_at(&got[b], r, l);
                    error += (g - w) * (g - w);
                    norm += w * w;
                }
            check_true(&c, sqrt(error) <= 3e-6 * sqrt(norm) && norm > 0.0, names[b]);
            buf_free(&want[b]);
            buf_free(&got[b]);
        }
        check_end(&c);
        delta_free(&z);
    }
}

/* ---- attention ------------------------------------------------------------------------------------------------------- */

typedef struct attn_shape {
    size_t m, n, dk, dv;
    ptrdiff_t causal;
    double scale;
    const double *dout;
} attn_shape;

/* in: q, keys (rows), values, and a factor on every exponential of the keys from `n - n/3` on. Also row maxima, sums and outputs
 * when asked for. */
static double attn_forward(double *const *in, const attn_shape *z, double *top, double *sum, double *out)
{
    double loss = 0.0, p[512], o[64];
    for (size_t i = 0; i < z->m; ++i) {
        const size_t seen = z->causal >= 0 && (size_t)z->causal + i + 1 < z->n ? (size_t)z->causal + i + 1 : z->n;
        double most = -INFINITY, total = 0.0;
        for (size_t j = 0; j < seen; ++j) {
            p[j] = z->scale * d_dot(z->dk, in[0] + i * z->dk, in[1] + j * z->dk);
            if (p[j] > most) most = p[j];
        }
        memset(o, 0, sizeof o);
        for (size_t j = 0; j < seen; ++j) {
            p[j] = exp(p[j] - most) * (j >= z->n - z->n / 3 ? in[3][0] : 1.0);
            total += p[j];
            for (size_t c = 0; c < z->dv; ++c) o[c] += p[j] * in[2][j * z->dv + c];
        }
        for (size_t c = 0; c < z->dv; ++c) {
            loss += o[c] / total * z->dout[i * z->dv + c];
            if (out) out[i * z->dv + c] = o[c] / total;
        }
        if (top) top[i] = most, sum[i] = total;
    }
    return loss;
}

static double attn_loss(double *const *in, const void *shape) { return attn_forward(in, shape, NULL, NULL, NULL); }

/* The keys in two blocks, of which only the second one carries the factor. */
static void test_attention(void)
{
    static const struct {
        size_t m, n, dk, dv;
        ptrdiff_t causal;
    } cases[] = {{1, 1, 1, 1, -1},  {3, 5, 4, 2, -1},   {3, 3, 4, 2, 0},   {9, 12, 5, 3, 2},
                 {70, 9, 3, 5, -1}, {4, 300, 3, 4, -1}, {64, 64, 4, 3, 0}, {130, 130, 2, 2, 0}};
    for (size_t i = 0; i < COUNT(cases); ++i) {
        attn_shape s = {.m = cases[i].m, .n = cases[i].n, .dk = cases[i].dk, .dv = cases[i].dv};
        s.causal = cases[i].causal;
        s.scale = (double)0.7f;
        buf q = buf_random(s.m, s.dk, 3, 0, i + 1, 2.0), k = buf_random(s.n, s.dk, 0, 0, i + 2, 2.0);
        buf over = buf_make(s.dk, s.n, 2, 0), v = buf_random(s.n, s.dv, 1, 0, i + 3, 1.0);
        buf dout = buf_random(s.m, s.dv, 2, 0, i + 4, 1.0), dq0 = buf_random(s.m, s.dk, 4, 0, i + 5, 1.0);
        buf dk0 = buf_random(s.n, s.dk, 1, 0, i + 6, 1.0), dv0 = buf_random(s.n, s.dv, 5, 0, i + 7, 1.0);
        natsl_transpose(s.n, s.dk, k.p, k.ld, over.p, over.ld);
        double one = 1.0, *in[4] = {double_rows(&q), double_rows(&k), double_rows(&v), &one};
        double *gy = double_rows(&dout), *top = doubles(s.m), *sum = doubles(s.m), *out = doubles(s.m * s.dv);
        s.dout = gy;
        (void)attn_forward(in, &s, top, sum, out);
        buf state = buf_make(s.m, 3, 1, 0); /* top, sum, dots */
        for (size_t r = 0; r < s.m; ++r) {
            state.p[r * state.ld] = (float)top[r];
            state.p[r * state.ld + 1] = (float)(sum[r] * exp(top[r] - (double)(float)top[r]));
            state.p[r * state.ld + 2] = (float)d_dot(s.dv, out + r * s.dv, gy + r * s.dv);
        }
        for (size_t set = 0; set < 2; ++set) {
            check c = check_begin(kernel_sets[set]->name, "attn_grad", i, TOL_GRAD_SUM);
            buf dq = buf_copy(&dq0), dkeys = buf_copy(&dk0), dvals = buf_copy(&dv0);
            buf scratch = buf_make(1, natsl_attn_grad_scratch(s.dk, s.dv), 0, 0);
            double factor = 0.0;
            const size_t cut = s.n - s.n / 3;
            for (size_t j = 0; j < s.n;) {
                size_t n = j < cut ? cut - j : s.n - j;
                if (n > NATSL_ATTN_KEYS) n = NATSL_ATTN_KEYS;
                /* the first row that sees anything of this block, and from there on the causal edge */
                const size_t from = s.causal < 0 || (size_t)s.causal >= j ? 0 : j - (size_t)s.causal;
                const ptrdiff_t edge = s.causal < 0 ? -1 : (ptrdiff_t)((size_t)s.causal + from - j);
                const float *st = state.p + from * state.ld;
                const double f =
                    from >= s.m
                        ? 0.0
                        : kernel_sets[set]->attn_grad(s.m - from, n, s.dk, s.dv, q.p + from * q.ld, q.ld, over.p + j,
                                                      over.ld, v.p + j * v.ld, v.ld, (float)s.scale, edge, st, st + 1,
                                                      st + 2, state.ld, dout.p + from * dout.ld, dout.ld,
                                                      dq.p + from * dq.ld, dq.ld, dkeys.p + j * dkeys.ld, dkeys.ld,
                                                      dvals.p + j * dvals.ld, dvals.ld, scratch.p);
                if (j >= cut) factor += f;
                j += n;
            }
            check_grad(&c, &dq, attn_loss, in, 0, &s, &dq0);
            check_grad(&c, &dkeys, attn_loss, in, 1, &s, &dk0);
            check_grad(&c, &dvals, attn_loss, in, 2, &s, &dv0);
            double *want = numeric(attn_loss, in, 3, 1, &s);
            check_value(&c, 0, 0, factor, want[0]);
            check_true(&c, buf_spoiled(&scratch) == 0, "wrote beyond its scratch");
            check_end(&c);
            free(want);
            buf *const made[] = {&dq, &dkeys, &dvals, &scratch};
            for (size_t b = 0; b < COUNT(made); ++b) buf_free(made[b]);
        }
        buf *const all[] = {&q, &k, &over, &v, &dout, &dq0, &dk0, &dv0, &state};
        for (size_t b = 0; b < COUNT(all); ++b) buf_free(all[b]);
        for (size_t b = 0; b < 3; ++b) free(in[b]);
        free(gy);
        free(top);
        free(sum);
        free(out);
    }
}

int main(void)
{
    static const test_entry tests[] = {
        {"delta rule", test_delta}, {"delta rule, large", test_delta_large}, {"attention", test_attention}};
    return run_suite("gradients over sequences", tests, COUNT(tests));
}
