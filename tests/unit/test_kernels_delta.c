/* test_kernels_delta.c - the gated delta rule in blocks and in steps, both sets, against oracle.py's token-by-token
 * recurrence written out in double. */
#include "kernels_check.h"

enum decay_kind { DECAY_ZERO, DECAY_TINY, DECAY_TYPICAL, DECAY_50, DECAY_1000, DECAY_RESETS, DECAY_KINDS };
enum beta_kind { BETA_ZERO, BETA_TWO, BETA_ANY, BETA_TWO_SAME_KEY, BETA_KINDS };

static float decay_of(enum decay_kind kind, size_t i, uint64_t *state)
{
    double u = 0.5 + 0.5 * uniform(state);
    switch (kind) {
    case DECAY_ZERO: return 0.0f;
    case DECAY_TINY: return -1e-6f;
    case DECAY_50: return -50.0f;
    case DECAY_1000: return -1000.0f;
    case DECAY_RESETS: return i % 23 == 7 ? -1000.0f : (float)(-0.01 * u); /* the past is forgotten now and then */
    default: return (float)(-0.3 * u);
    }
}

static float beta_of(enum beta_kind kind, uint64_t *state)
{
    double u = 0.5 + 0.5 * uniform(state);
    return kind == BETA_ZERO ? 0.0f : kind == BETA_ANY ? (float)u : 2.0f;
}

/** One value head's inputs for `length` tokens, as rows among other things (gaps, beta and decay strided). */
typedef struct problem {
    size_t length, dk, dv;
    buf q, k, v, ld, beta, s0;
    double *o, *s; /* expected: [length,dv], [dk,dv] after the last token */
} problem;

static void unit_rows(buf *b, double scale)
{
    for (size_t i = 0; i < b->rows; ++i) {
        double sum = 1e-6;
        for (size_t j = 0; j < b->cols; ++j) sum += (double)buf_at(b, i, j) * (double)buf_at(b, i, j);
        for (size_t j = 0; j < b->cols; ++j) b->p[i * b->ld + j] = (float)(scale * (double)buf_at(b, i, j) / sqrt(sum));
    }
}

static problem problem_make(size_t length, size_t dk, size_t dv, enum decay_kind decay, enum beta_kind beta,
                            uint64_t seed)
{
    problem p = {.length = length, .dk = dk, .dv = dv};
    uint64_t state = seed + 99;
    p.q = buf_random(length, dk, 5, 0, seed + 1, 1.0);
    p.k = buf_random(length, dk, 3, 0, seed + 2, 1.0);
    p.v = buf_random(length, dv, 7, 0, seed + 3, 1.0);
    p.ld = buf_make(length, 1, 2, 0);
    p.beta = buf_make(length, 1, 2, 0);
    p.s0 = buf_random(dk, dv, 0, 0, seed + 4, 0.5);
    unit_rows(&p.q, 1.0 / sqrt((double)dk));
    unit_rows(&p.k, 1.0);
    for (size_t i = 0; i < length; ++i) {
        p.ld.p[i * p.ld.ld] = decay_of(decay, i, &state);
        p.beta.p[i * p.beta.ld] = beta_of(beta, &state);
        if (beta == BETA_TWO_SAME_KEY) memcpy(p.k.p + i * p.k.ld, p.k.p, dk * sizeof(float));
    }
    p.o = doubles(length * dv);
    p.s = doubles(dk * dv);
    for (size_t i = 0; i < dk * dv; ++i) p.s[i] = (double)p.s0.p[i];
    for (size_t t = 0; t < length; ++t) {
        double a = exp((double)p.ld.p[t * p.ld.ld]), b = (double)p.beta.p[t * p.beta.ld];
        const float *kt = p.k.p + t * p.k.ld, *qt = p.q.p + t * p.q.ld;
        for (size_t c = 0; c < dv; ++c) {
            double error = (double)buf_at(&p.v, t, c), out = 0.0;
            for (size_t l = 0; l < dk; ++l) {
                p.s[l * dv + c] *= a;
                error -= p.s[l * dv + c] * (double)kt[l];
            }
            for (size_t l = 0; l < dk; ++l) {
                p.s[l * dv + c] += (double)kt[l] * b * error;
                out += p.s[l * dv + c] * (double)qt[l];
            }
            p.o[t * dv + c] = out;
        }
    }
    return p;
}

static void problem_free(problem *p)
{
    buf_free(&p->q);
    buf_free(&p->k);
    buf_free(&p->v);
    buf_free(&p->ld);
    buf_free(&p->beta);
    buf_free(&p->s0);
    free(p->o);
    free(p->s);
}

/** How a problem is cut and called. */
typedef struct cut {
    size_t block, columns; /* rows per block; columns per apply (0: all) */
    size_t first;          /* rows of the first block that are not wanted */
    int in_place;          /* the state is updated in place, or goes to a second buffer and back */
} cut;

static void run_blocks(const natsl_kernels *set, const problem *p, cut how, buf *o, buf *s)
{
    size_t dk = p->dk, dv = p->dv, columns = how.columns > 0 ? how.columns : dv;
    buf g = buf_make(1, NATSL_DELTA_BLOCK, 0, 0), t = buf_make(1, 64 * 64, 0, 0), a = buf_make(1, 64 * 64, 0, 0);
    buf scratch = buf_make(1, natsl_delta_scratch(dk, dv), 0, 0), other = buf_make(dk, dv, s->ld - dv, 0);
    size_t done = 0;
    do { /* at least once, so that m = 0 is called too */
        size_t m = p->length - done < how.block ? p->length - done : how.block;
        size_t first = done == 0 ? how.first : 0;
        const float *q = p->q.p + done * p->q.ld, *k = p->k.p + done * p->k.ld, *v = p->v.p + done * p->v.ld;
        set->delta_prepare(m, dk, q, p->q.ld, k, p->k.ld, p->ld.p + done * p->ld.ld, p->beta.p + done * p->beta.ld,
                           p->ld.ld, g.p, t.p, a.p, scratch.p);
        for (size_t c = 0; c < dv; c += columns) {
            size_t n = dv - c < columns ? dv - c : columns;
            float *to = how.in_place ? s->p + c : other.p + c;
            set->delta_apply(m, first, dk, n, q, p->q.ld, k, p->k.ld, v + c, p->v.ld, g.p, t.p, a.p, s->p + c, to,
                             s->ld, o->p + (done + first) * o->ld + c, o->ld, scratch.p);
        }
        if (!how.in_place)
            for (size_t i = 0; i < dk; ++i) memcpy(s->p + i * s->ld, other.p + i * other.ld, dv * sizeof(float));
        done += m;
    } while (done < p->length);
    CU_ASSERT_EQUAL(buf_spoiled(&scratch) + buf_spoiled(&g) + buf_spoiled(&t) + buf_spoiled(&a), 0);
    CU_ASSERT_EQUAL(buf_spoiled(&other), 0);
    buf_free(&g);
    buf_free(&t);
    buf_free(&a);
    buf_free(&scratch);
    buf_free(&other);
}

static buf state_copy(const problem *p, size_t gap)
{
    buf s = buf_make(p->dk, p->dv, gap, 0);
    for (size_t i = 0; i < p->dk; ++i) memcpy(s.p + i * s.ld, p->s0.p + i * p->s0.ld, p->dv * sizeof(float));
    return s;
}

static void check_blocks(const problem *p, cut how, enum tol_id tol, const char *name, size_t index)
{
    for (size_t set = 0; set < 2; ++set) {
        check c = check_begin(kernel_sets[set]->name, name, index, tol);
        buf o = buf_make(p->length, p->dv, 3, 0), s = state_copy(p, 9);
        run_blocks(kernel_sets[set], p, how, &o, &s);
        for (size_t i = 0; i < how.first; ++i)
            for (size_t j = 0; j < p->dv; ++j)
                check_true(&c, isnan(buf_at(&o, i, j)), "a row before `first` was written");
        for (size_t i = how.first; i < p->length; ++i)
            for (size_t j = 0; j < p->dv; ++j) check_value(&c, i, j, (double)buf_at(&o, i, j), p->o[i * p->dv + j]);
        check_true(&c, buf_spoiled(&o) == 0, "o: wrote outside its rows");
        check_rows(&c, &s, p->s);
        check_end(&c);
        buf_free(&o);
        buf_free(&s);
    }
}

/* Every kind of decay with every kind of beta, over three and a half blocks. */
static void test_kinds(void)
{
    for (size_t kind = 0; kind < DECAY_KINDS * BETA_KINDS; ++kind) {
        enum decay_kind decay = (enum decay_kind)(kind / BETA_KINDS);
        enum beta_kind beta = (enum beta_kind)(kind % BETA_KINDS);
        enum tol_id tol = decay == DECAY_RESETS                              ? TOL_DELTA_RESET
                          : beta == BETA_TWO_SAME_KEY && decay <= DECAY_TINY ? TOL_DELTA_REFLECT
                                                                             : TOL_DELTA;
        problem p = problem_make(3 * 64 + 29, 32, 24, decay, beta, 7 + kind);
        check_blocks(&p, (cut){.block = 64, .in_place = 1}, tol, "kinds", kind);
        problem_free(&p);
    }
}

/* Sizes of blocks, heads and column blocks; a first row beyond the start; in place and not. */
static void test_cuts(void)
{
    static const struct {
        size_t length, dk, dv;
        cut how;
    } cases[] = {
        {0, 16, 32, {1, 0, 0, 1}},      {0, 16, 32, {1, 0, 0, 0}},      {1, 16, 32, {1, 0, 0, 1}},
        {1, 1, 1, {64, 0, 0, 0}},       {2, 16, 32, {2, 0, 0, 1}},      {15, 16, 32, {15, 7, 0, 1}},
        {16, 16, 32, {16, 16, 0, 0}},   {17, 16, 32, {17, 0, 0, 1}},    {17, 16, 32, {17, 0, 16, 1}},
        {17, 16, 32, {17, 0, 17, 0}},   {63, 5, 3, {63, 2, 20, 1}},     {64, 128, 256, {64, 0, 0, 1}},
        {64, 128, 256, {64, 64, 0, 1}}, {64, 128, 256, {64, 96, 0, 0}}, {64, 128, 256, {64, 0, 63, 1}},
        {64, 128, 256, {64, 0, 64, 0}}, {200, 64, 40, {1, 0, 0, 1}},    {200, 64, 40, {2, 13, 1, 0}},
        {200, 64, 40, {15, 0, 3, 1}},   {200, 64, 40, {16, 0, 0, 0}},   {200, 64, 40, {17, 40, 0, 1}},
        {200, 64, 40, {63, 0, 31, 0}},  {200, 64, 40, {64, 0, 1, 1}},
    };
    for (size_t i = 0; i < COUNT(cases); ++i) {
        problem p = problem_make(cases[i].length, cases[i].dk, cases[i].dv, DECAY_TYPICAL, BETA_ANY, 100 + i);
        check_blocks(&p, cases[i].how, TOL_DELTA, "cuts", i);
        problem_free(&p);
    }
}

/* t and a as the header defines them, entry by entry; zeros above the diagonals; g the running sum. */
static void test_prepare(void)
{
    static const size_t sizes[] = {1, 2, 15, 16, 17, 31, 63, 64};
    for (size_t n = 0; n < COUNT(sizes) * DECAY_KINDS; ++n) {
        size_t m = sizes[n / DECAY_KINDS];
        enum decay_kind decay = (enum decay_kind)(n % DECAY_KINDS);
        problem p = problem_make(m, 32, 8, decay, BETA_ANY, 300 + n);
        double *want_g = doubles(m), *l = doubles(m * m), *want_a = doubles(m * m), *beta = doubles(m);
        for (size_t i = 0; i < m; ++i) {
            beta[i] = (double)p.beta.p[i * p.beta.ld];
            want_g[i] = (i > 0 ? want_g[i - 1] : 0.0) + fmax((double)p.ld.p[i * p.ld.ld], -256.0);
            for (size_t j = 0; j <= i; ++j) {
                double kk = 0.0, qk = 0.0, e = exp(want_g[i] - want_g[j]);
                for (size_t c = 0; c < 32; ++c) {
                    kk += (double)buf_at(&p.k, i, c) * (double)buf_at(&p.k, j, c);
                    qk += (double)buf_at(&p.q, i, c) * (double)buf_at(&p.k, j, c);
                }
                l[i * m + j] = j < i ? beta[i] * kk * e : 1.0; /* I + L */
                want_a[i * m + j] = qk * e;
            }
        }
        for (size_t set = 0; set < 2; ++set) {
            check c = check_begin(kernel_sets[set]->name, "prepare", n, TOL_DELTA);
            buf g = buf_make(1, m, 0, 0), t = buf_make(m, m, 0, 0), a = buf_make(m, m, 0, 0);
            buf scratch = buf_make(1, natsl_delta_scratch(32, 8), 0, 0);
            kernel_sets[set]->delta_prepare(m, 32, p.q.p, p.q.ld, p.k.p, p.k.ld, p.ld.p, p.beta.p, p.ld.ld, g.p, t.p,
                                            a.p, scratch.p);
            check_rows(&c, &g, want_g);
            check_rows(&c, &a, want_a);
            for (size_t i = 0; i < m; ++i) {
                for (size_t j = 0; j < m; ++j) { /* (I + L) t = diag(beta) */
                    double s = 0.0;
                    for (size_t r = 0; r <= i; ++r) s += l[i * m + r] * (double)t.p[r * m + j];
                    check_value(&c, i, j, s, i == j ? beta[i] : 0.0);
                    if (j > i) check_true(&c, t.p[i * m + j] == 0.0f && a.p[i * m + j] == 0.0f, "not zero above");
                }
            }
            check_true(&c, buf_spoiled(&t) + buf_spoiled(&scratch) == 0, "wrote outside");
            check_end(&c);
            buf_free(&g);
            buf_free(&t);
            buf_free(&a);
            buf_free(&scratch);
        }
        free(want_g);
        free(l);
        free(want_a);
        free(beta);
        problem_free(&p);
    }
}

/* s_out = NULL leaves the state and gives the same o as with it. */
static void test_no_state_wanted(void)
{
    problem p = problem_make(40, 16, 32, DECAY_TYPICAL, BETA_ANY, 500);
    for (size_t set = 0; set < 2; ++set) {
        const natsl_kernels *kernels = kernel_sets[set];
        check c = check_begin(kernels->name, "s_out NULL", 0, TOL_DELTA);
        buf g = buf_make(1, 40, 0, 0), t = buf_make(40, 40, 0, 0), a = buf_make(40, 40, 0, 0);
        buf scratch = buf_make(1, natsl_delta_scratch(16, 32), 0, 0), o = buf_make(40, 32, 0, 0), s = state_copy(&p, 0);
        kernels->delta_prepare(40, 16, p.q.p, p.q.ld, p.k.p, p.k.ld, p.ld.p, p.beta.p, p.ld.ld, g.p, t.p, a.p,
                               scratch.p);
        kernels->delta_apply(40, 0, 16, 32, p.q.p, p.q.ld, p.k.p, p.k.ld, p.v.p, p.v.ld, g.p, t.p, a.p, s.p, NULL, 32,
                             o.p, 32, scratch.p);
        check_rows(&c, &o, p.o);
        check_true(&c, memcmp(s.p, p.s0.p, 16 * 32 * sizeof(float)) == 0, "the state changed");
        kernels->delta_apply(0, 0, 16, 32, p.q.p, p.q.ld, p.k.p, p.k.ld, p.v.p, p.v.ld, g.p, t.p, a.p, s.p, NULL, 32,
                             o.p, 32, scratch.p);
        check_true(&c, memcmp(s.p, p.s0.p, 16 * 32 * sizeof(float)) == 0, "m = 0 changed the state");
        check_end(&c);
        buf_free(&g);
        buf_free(&t);
        buf_free(&a);
        buf_free(&scratch);
        buf_free(&o);
        buf_free(&s);
    }
    problem_free(&p);
}

/* Blocks as maps of the state: A from the identity without values, B from zero with them, no outputs (q, a, o NULL). The
 * recurrence is linear in the state and the values, so A S0 + B is its answer, by block and after composing all blocks with
 * affine. m = 0: the identity and zero. */
static void test_span(void)
{
    static const struct {
        size_t length, dk, dv;
        enum decay_kind decay;
        enum beta_kind beta;
    } cases[] = {{0, 16, 32, DECAY_TYPICAL, BETA_ANY},   {1, 16, 32, DECAY_TYPICAL, BETA_ANY},
                 {63, 32, 24, DECAY_TYPICAL, BETA_TWO},  {64, 128, 256, DECAY_TYPICAL, BETA_ANY},
                 {64, 32, 24, DECAY_ZERO, BETA_ANY},     {200, 64, 40, DECAY_TINY, BETA_TWO},
                 {200, 64, 40, DECAY_TYPICAL, BETA_ANY}, {200, 24, 8, DECAY_50, BETA_ANY},
                 {200, 5, 3, DECAY_1000, BETA_ANY},      {150, 1, 1, DECAY_TYPICAL, BETA_TWO}};
    for (size_t n = 0; n < COUNT(cases); ++n) {
        const size_t dk = cases[n].dk, dv = cases[n].dv;
        problem p = problem_make(cases[n].length, dk, dv, cases[n].decay, cases[n].beta, 900 + n);
        for (size_t set = 0; set < 2; ++set) {
            const natsl_kernels *kernels = kernel_sets[set];
            check c = check_begin(kernels->name, "span", n, TOL_DELTA);
            buf g = buf_make(1, 64, 0, 0), t = buf_make(1, 64 * 64, 0, 0), a = buf_make(1, 64 * 64, 0, 0);
            const size_t most = natsl_delta_scratch(dk, dk), own = natsl_delta_scratch(dk, dv);
            buf scratch = buf_make(1, most > own ? most : own, 0, 0);
            /* all: the map of the blocks so far; one: of the block in hand; next: their composition */
            buf all_a = buf_make(dk, dk, 0, 0), all_b = buf_make(dk, dv, 9, 0), one_a = buf_make(dk, dk, 0, 0);
            buf one_b = buf_make(dk, dv, 5, 0), next = buf_make(dk, dk, 0, 0), s = buf_make(dk, dv, 4, 0);
            buf_set(&all_a, 0.0f);
            for (size_t i = 0; i < dk; ++i) all_a.p[i * dk + i] = 1.0f;
            buf_set(&all_b, 0.0f);
            size_t done = 0;
            do {
                const size_t m = p.length - done < 64 ? p.length - done : 64;
                const float *q = p.q.p + done * p.q.ld, *k = p.k.p + done * p.k.ld, *v = p.v.p + done * p.v.ld;
                kernels->delta_prepare(m, dk, q, p.q.ld, k, p.k.ld, p.ld.p + done * p.ld.ld,
                                       p.beta.p + done * p.beta.ld, p.ld.ld, g.p, t.p, a.p, scratch.p);
                buf_set(&one_a, 0.0f);
                for (size_t i = 0; i < dk; ++i) one_a.p[i * dk + i] = 1.0f;
                buf_set(&one_b, 0.0f);
                kernels->delta_apply(m, m, dk, dk, NULL, 0, k, p.k.ld, NULL, 0, g.p, t.p, NULL, one_a.p, one_a.p, dk,
                                     NULL, 0, scratch.p);
                kernels->delta_apply(m, m, dk, dv, NULL, 0, k, p.k.ld, v, p.v.ld, g.p, t.p, NULL, one_b.p, one_b.p,
                                     one_b.ld, NULL, 0, scratch.p);
                kernels->affine(dk, dv, one_a.p, all_b.p, all_b.ld, one_b.p, one_b.ld, s.p, s.ld);
                for (size_t i = 0; i < dk; ++i) memcpy(all_b.p + i * all_b.ld, s.p + i * s.ld, dv * sizeof(float));
                kernels->affine(dk, dk, one_a.p, all_a.p, dk, NULL, 0, next.p, dk);
                memcpy(all_a.p, next.p, dk * dk * sizeof(float));
                done += m;
            } while (done < p.length);
            kernels->affine(dk, dv, all_a.p, p.s0.p, p.s0.ld, all_b.p, all_b.ld, all_b.p, all_b.ld);
            check_rows(&c, &all_b, p.s);
            check_true(&c, buf_spoiled(&all_a) + buf_spoiled(&all_b) + buf_spoiled(&one_a) + buf_spoiled(&one_b) == 0,
                       "wrote outside");
            check_true(&c, buf_spoiled(&s) + buf_spoiled(&next) + buf_spoiled(&scratch) == 0, "wrote outside");
            check_end(&c);
            buf *const bufs[] = {&g, &t, &a, &scratch, &all_a, &all_b, &one_a, &one_b, &next, &s};
            for (size_t i = 0; i < COUNT(bufs); ++i) buf_free(bufs[i]);
        }
        problem_free(&p);
    }
}

static void test_steps(void)
{
    static const size_t shapes[][2] = {{1, 1}, {16, 32}, {7, 63}, {32, 64}, {32, 65}, {128, 256}};
    for (size_t n = 0; n < COUNT(shapes) * DECAY_KINDS; ++n) {
        size_t dk = shapes[n / DECAY_KINDS][0], dv = shapes[n / DECAY_KINDS][1];
        problem p = problem_make(70, dk, dv, (enum decay_kind)(n % DECAY_KINDS), n % 2 ? BETA_TWO : BETA_ANY, 600 + n);
        for (size_t set = 0; set < 2; ++set) {
            check c = check_begin(kernel_sets[set]->name, "step", n, TOL_DELTA);
            buf o = buf_make(70, dv, 4, 0), s = state_copy(&p, 0);
            for (size_t i = 0; i < 70; ++i)
                kernel_sets[set]->delta_step(dk, dv, p.q.p + i * p.q.ld, p.k.p + i * p.k.ld, p.v.p + i * p.v.ld,
                                             p.ld.p[i * p.ld.ld], p.beta.p[i * p.beta.ld], s.p, o.p + i * o.ld);
            check_rows(&c, &o, p.o);
            check_rows(&c, &s, p.s);
            check_end(&c);
            buf_free(&o);
            buf_free(&s);
        }
        problem_free(&p);
    }
}

int main(void)
{
    static const test_entry tests[] = {
        {"delta rule: kinds of decay and beta", test_kinds},
        {"delta rule: block sizes, column blocks, first", test_cuts},
        {"delta_prepare: t, a, g by definition", test_prepare},
        {"delta_apply: no state wanted", test_no_state_wanted},
        {"delta_apply, affine: a span's map of the state", test_span},
        {"delta_step: token by token", test_steps},
    };
    return run_suite("kernels: delta rule", tests, COUNT(tests));
}
