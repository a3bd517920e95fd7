/* test_kernels_attention.c - blocks of the online softmax and the log-sum-exp over vocabulary tiles, both sets, against
 * the full softmax in double. */
#include "kernels_check.h"

/** Rows of queries over all keys; row i sees keys 0 .. edge+i (edge < 0: all), with a window > 0 the last `window` of these. */
typedef struct problem {
    size_t m, n, dk, dv;
    ptrdiff_t edge, window;
    float scale;
    buf q, k, v;
    double *o;
} problem;

enum score_kind { SCORES_SMALL, SCORES_EXTREME, SCORES_EQUAL, SCORE_KINDS };

static problem problem_window(size_t m, size_t n, size_t dk, size_t dv, ptrdiff_t edge, ptrdiff_t window,
                              enum score_kind kind, uint64_t seed)
{
    problem p = {.m = m, .n = n, .dk = dk, .dv = dv, .edge = edge, .window = window};
    p.scale = (float)(1.0 / sqrt((double)dk));
    p.q = buf_random(m, dk, 3, 0, seed, 3.0);
    p.k = buf_random(dk, n, 5, 0, seed + 1, 3.0); /* key j is column j */
    p.v = buf_random(n, dv, 7, 0, seed + 2, 1.0);
    if (kind != SCORES_SMALL) { /* integers: scores of +-1e4 without a rounding, so that the tolerance stays the same */
        p.scale = 2.0f;
        for (size_t i = 0; i < m * p.q.ld; ++i)
            if (i % p.q.ld < dk) p.q.p[i] = kind == SCORES_EQUAL ? 0.0f : roundf(p.q.p[i] * 5.0f);
        for (size_t i = 0; i < dk * p.k.ld; ++i)
            if (i % p.k.ld < n) p.k.p[i] = roundf(p.k.p[i] * 10.0f);
    }
    p.o = doubles(m * dv);
    double *w = doubles(n);
    for (size_t i = 0; i < m; ++i) {
        size_t seen = edge >= 0 && (size_t)edge + i + 1 < n ? (size_t)edge + i + 1 : n;
        size_t from = window > 0 && edge + (ptrdiff_t)i >= window ? (size_t)(edge + (ptrdiff_t)i + 1 - window) : 0;
        double top = -INFINITY, sum = 0.0;
        for (size_t j = from; j < seen; ++j) {
            w[j] = 0.0;
            for (size_t l = 0; l < dk; ++l) w[j] += (double)buf_at(&p.q, i, l) * (double)buf_at(&p.k, l, j);
            w[j] *= (double)p.scale;
            top = fmax(top, w[j]);
        }
        for (size_t j = from; j < seen; ++j) sum += w[j] = exp(w[j] - top);
        for (size_t c = 0; c < dv; ++c)
            for (size_t j = from; j < seen; ++j) p.o[i * dv + c] += w[j] / sum * (double)buf_at(&p.v, j, c);
    }
    free(w);
    return p;
}

static problem problem_make(size_t m, size_t n, size_t dk, size_t dv, ptrdiff_t edge, enum score_kind kind,
                            uint64_t seed)
{
    return problem_window(m, n, dk, dv, edge, 0, kind, seed);
}

static void problem_free(problem *p)
{
    buf_free(&p->q);
    buf_free(&p->k);
    buf_free(&p->v);
    free(p->o);
}

/** A partial softmax: top and sum lie among other heads' (distance 3). */
typedef struct partial {
    buf top, sum, acc;
} partial;

static partial partial_make(size_t m, size_t dv)
{
    partial r = {buf_make(m, 1, 2, 0), buf_make(m, 1, 2, 0), buf_make(m, dv, 6, 0)};
    buf_set(&r.top, -INFINITY);
    buf_set(&r.sum, 0.0f);
    buf_set(&r.acc, 0.0f);
    return r;
}

static size_t partial_spoiled(const partial *r)
{
    return buf_spoiled(&r->top) + buf_spoiled(&r->sum) + buf_spoiled(&r->acc);
}

static void partial_free(partial *r)
{
    buf_free(&r->top);
    buf_free(&r->sum);
    buf_free(&r->acc);
}

/* Keys from .. to-1, `block` at a time. A block behind the edge of all rows is not called, one cut by it is causal. */
static void add_keys(const natsl_kernels *set, const problem *p, size_t from, size_t to, size_t block, partial *r)
{
    buf scratch = buf_make(1, natsl_attn_scratch(p->m), 0, 0);
    for (size_t j = from; j < to; j += block) {
        size_t n = to - j < block ? to - j : block;
        size_t skip = p->edge >= 0 && (size_t)p->edge < j ? j - (size_t)p->edge : 0; /* rows that see nothing of it */
        if (skip >= p->m && p->m > 0) break;
        ptrdiff_t causal = p->edge < 0 ? -1 : (ptrdiff_t)((size_t)p->edge + skip - j);
        const ptrdiff_t hidden =
            p->window > 0 ? p->edge + (ptrdiff_t)skip + 1 - p->window - (ptrdiff_t)j : NATSL_ATTN_ALL;
        set->attn_block(p->m - skip, n, p->dk, p->dv, p->q.p + skip * p->q.ld, p->q.ld, p->k.p + j, p->k.ld,
                        p->v.p + j * p->v.ld, p->v.ld, p->scale, causal, hidden, r->top.p + skip * r->top.ld,
                        r->sum.p + skip * r->sum.ld, r->top.ld, r->acc.p + skip * r->acc.ld, r->acc.ld, scratch.p);
    }
    CU_ASSERT_EQUAL(buf_spoiled(&scratch), 0);
    buf_free(&scratch);
}

static void finish_and_check(check *c, const natsl_kernels *set, const problem *p, partial *r)
{
    set->attn_finish(p->m, p->dv, r->sum.p, r->sum.ld, r->acc.p, r->acc.ld);
    check_rows(c, &r->acc, p->o);
    check_true(c, partial_spoiled(r) == 0, "wrote outside its rows");
    check_end(c);
    partial_free(r);
}

static void test_blocks(void)
{
    static const struct {
        size_t m, n, dk, dv, block;
        ptrdiff_t edge;
    } cases[] = {
        {0, 8, 16, 32, 8, -1},       {1, 1, 1, 1, 1, -1},          {1, 256, 64, 128, 256, -1},
        {2, 2, 16, 32, 1, -1},       {3, 15, 7, 5, 4, -1},         {15, 16, 16, 32, 16, -1},
        {16, 17, 16, 32, 5, -1},     {64, 64, 64, 128, 64, -1},    {64, 1000, 64, 128, 256, -1},
        {127, 33, 16, 8, 33, -1},    {128, 40, 16, 8, 7, -1},      {129, 70, 16, 8, 64, -1},
        {300, 256, 16, 8, 255, -1},  {1, 1, 16, 32, 1, 0},         {1, 64, 16, 32, 64, 0},
        {2, 1, 16, 32, 1, 0},        {15, 15, 16, 32, 15, 0},      {16, 16, 16, 32, 16, 0},
        {17, 17, 16, 32, 4, 0},      {64, 64, 64, 128, 64, 0},     {64, 64, 64, 128, 64, 63},
        {64, 64, 64, 128, 64, 64},   {64, 64, 64, 128, 64, 500},   {37, 64, 64, 128, 64, 27},
        {65, 65, 16, 32, 65, 0},     {200, 200, 16, 32, 200, 0},   {256, 256, 16, 32, 256, 0},
        {200, 100, 16, 32, 100, 0},  {200, 256, 16, 32, 256, 100}, {100, 256, 16, 32, 256, 5},
        {70, 600, 16, 32, 256, 530}, {130, 130, 16, 32, 64, 0},
    };
    for (size_t i = 0; i < COUNT(cases) * SCORE_KINDS; ++i) {
        size_t at = i / SCORE_KINDS;
        problem p = problem_make(cases[at].m, cases[at].n, cases[at].dk, cases[at].dv, cases[at].edge,
                                 (enum score_kind)(i % SCORE_KINDS), 1000 + i);
        for (size_t set = 0; set < 2; ++set) {
            check c = check_begin(kernel_sets[set]->name, "blocks", i, TOL_SOFTMAX);
            partial r = partial_make(p.m, p.dv);
            add_keys(kernel_sets[set], &p, 0, p.n, cases[at].block, &r);
            finish_and_check(&c, kernel_sets[set], &p, &r);
        }
        problem_free(&p);
    }
}

/* Windows wider than all keys, ending anywhere in a block, narrower than a block, of one token; rows that see nothing of a block. */
static void test_window(void)
{
    static const struct {
        size_t m, n, dk, dv, block;
        ptrdiff_t edge, window;
    } cases[] = {{64, 64, 16, 32, 64, 0, 64},     {64, 64, 16, 32, 64, 0, 63},     {64, 64, 16, 32, 64, 0, 1},
                 {64, 200, 16, 32, 64, 136, 70},  {64, 200, 16, 32, 64, 136, 64},  {64, 200, 16, 32, 64, 136, 65},
                 {64, 200, 16, 32, 64, 136, 500}, {256, 300, 64, 128, 64, 44, 40}, {256, 300, 64, 128, 256, 44, 129},
                 {130, 140, 16, 8, 7, 10, 3},     {1, 90, 16, 32, 64, 89, 30},     {1, 90, 16, 32, 64, 89, 1},
                 {300, 256, 16, 8, 255, 0, 300},  {37, 100, 7, 5, 33, 63, 50},     {200, 64, 16, 32, 64, 64, 128}};
    for (size_t i = 0; i < COUNT(cases) * SCORE_KINDS; ++i) {
        size_t at = i / SCORE_KINDS;
        problem p = problem_window(cases[at].m, cases[at].n, cases[at].dk, cases[at].dv, cases[at].edge,
                                   cases[at].window, (enum score_kind)(i % SCORE_KINDS), 3000 + i);
        for (size_t set = 0; set < 2; ++set) {
            check c = check_begin(kernel_sets[set]->name, "window", i, TOL_SOFTMAX);
            partial r = partial_make(p.m, p.dv);
            add_keys(kernel_sets[set], &p, 0, p.n, cases[at].block, &r);
            size_t rows = p.m; /* rows behind the last key's window see nothing: zeros */
            for (size_t j = 0; j < rows; ++j)
                if (p.edge + (ptrdiff_t)j + 1 - p.window >= (ptrdiff_t)p.n)
                    for (size_t l = 0; l < p.dv; ++l) p.o[j * p.dv + l] = 0.0;
            finish_and_check(&c, kernel_sets[set], &p, &r);
        }
        problem_free(&p);
    }
    /* Keys before all rows' windows are not even read. */
    problem p = problem_window(64, 128, 16, 32, 64, 20, SCORES_SMALL, 78);
    for (size_t j = 0; j < 45; ++j) { /* the first row sees keys 45 .. 64 */
        for (size_t l = 0; l < 16; ++l) p.k.p[l * p.k.ld + j] = NAN;
        for (size_t l = 0; l < 32; ++l) p.v.p[j * p.v.ld + l] = NAN;
    }
    for (size_t set = 0; set < 2; ++set) {
        check c = check_begin(kernel_sets[set]->name, "unseen", 0, TOL_SOFTMAX);
        partial r = partial_make(p.m, p.dv);
        add_keys(kernel_sets[set], &p, 0, p.n, 128, &r);
        finish_and_check(&c, kernel_sets[set], &p, &r);
    }
    problem_free(&p);
}

/* Keys that a row may not see have no influence, however large; keys that no row may see are not even read. */
static void test_mask(void)
{
    problem p = problem_make(40, 64, 16, 32, 3, SCORES_SMALL, 77);
    for (size_t set = 0; set < 2; ++set) {
        check c = check_begin(kernel_sets[set]->name, "mask", 0, TOL_SOFTMAX);
        partial a = partial_make(40, 32), b = partial_make(40, 32);
        add_keys(kernel_sets[set], &p, 0, 64, 64, &a);
        buf k = buf_copy(&p.k), v = buf_copy(&p.v);
        for (size_t j = 0; j < 64; ++j) /* row 20 sees keys 0..23; row 39, the last, 0..42 */
            for (size_t l = 0; l < 32; ++l) {
                if (j > 23 && l < 16) p.k.p[l * p.k.ld + j] = j > 42 ? NAN : -1e18f;
                if (j > 23) p.v.p[j * p.v.ld + l] = j > 42 ? NAN : 1e30f;
            }
        add_keys(kernel_sets[set], &p, 0, 64, 64, &b);
        for (size_t i = 0; i < 21; ++i) {
            check_value(&c, i, 0, (double)buf_at(&b.top, i, 0), (double)buf_at(&a.top, i, 0));
            check_value(&c, i, 1, (double)buf_at(&b.sum, i, 0), (double)buf_at(&a.sum, i, 0));
            for (size_t j = 0; j < 32; ++j)
                check_value(&c, i, j, (double)buf_at(&b.acc, i, j), (double)buf_at(&a.acc, i, j));
        }
        check_true(&c, !isnan(buf_at(&b.acc, 39, 0)) && !isnan(buf_at(&b.sum, 39, 0)), "an unseen key was read");
        check_end(&c);
        memcpy(p.k.base, k.base, k.total * sizeof(float));
        memcpy(p.v.base, v.base, v.total * sizeof(float));
        buf_free(&k);
        buf_free(&v);
        partial_free(&a);
        partial_free(&b);
    }
    problem_free(&p);
}

static void test_merge(void)
{
    static const size_t splits[] = {0, 1, 30, 99, 100};
    for (size_t i = 0; i < COUNT(splits) * SCORE_KINDS * 2; ++i) {
        problem p = problem_make(21, 100, 16, 32, -1, (enum score_kind)(i / 2 % SCORE_KINDS), 50 + i);
        size_t split = splits[i / 2 / SCORE_KINDS];
        for (size_t set = 0; set < 2; ++set) {
            const natsl_kernels *kernels = kernel_sets[set];
            check c = check_begin(kernels->name, "merge", i, TOL_SOFTMAX);
            partial a = partial_make(21, 32), b = partial_make(21, 32);
            add_keys(kernels, &p, 0, split, 64, i % 2 == 0 ? &a : &b); /* both orders */
            add_keys(kernels, &p, split, 100, 64, i % 2 == 0 ? &b : &a);
            kernels->attn_merge(21, 32, a.top.p, a.sum.p, a.top.ld, a.acc.p, a.acc.ld, b.top.p, b.sum.p, b.top.ld,
                                b.acc.p, b.acc.ld);
            check_true(&c, partial_spoiled(&b) == 0, "second: wrote outside its rows");
            partial_free(&b);
            finish_and_check(&c, kernels, &p, &a);
        }
        problem_free(&p);
    }
}

/* Rows without any key: zeros at the end, whatever is merged; rows whose keys are NaN say so. */
static void test_empty_and_nan(void)
{
    for (size_t set = 0; set < 2; ++set) {
        const natsl_kernels *kernels = kernel_sets[set];
        check c = check_begin(kernels->name, "empty", 0, TOL_EXACT);
        partial a = partial_make(3, 20), b = partial_make(3, 20);
        kernels->attn_merge(3, 20, a.top.p, a.sum.p, a.top.ld, a.acc.p, a.acc.ld, b.top.p, b.sum.p, b.top.ld, b.acc.p,
                            b.acc.ld);
        kernels->attn_finish(3, 20, a.sum.p, a.sum.ld, a.acc.p, a.acc.ld);
        for (size_t i = 0; i < 3; ++i)
            for (size_t j = 0; j < 20; ++j) check_value(&c, i, j, (double)buf_at(&a.acc, i, j), 0.0);
        float q[3] = {1.0f, NAN, -INFINITY}, key[2] = {1.0f, 2.0f}, value[2] = {3.0f, 3.0f}, scratch[3 * 256];
        float top[3] = {-INFINITY, -INFINITY, -INFINITY}, sum[3] = {0}, acc[3] = {0};
        kernels->attn_block(3, 2, 1, 1, q, 1, key, 2, value, 1, 1.0f, -1, NATSL_ATTN_ALL, top, sum, 1, acc, 1, scratch);
        kernels->attn_finish(3, 1, sum, 1, acc, 1);
        check_true(&c, fabsf(acc[0] - 3.0f) < 1e-6f, "the good row beside a NaN row changed");
        check_true(&c, isnan(acc[1]), "NaN scores vanished");
        check_true(&c, sum[2] == 0.0f && acc[2] == 0.0f, "scores of -inf are not weight 0");
        check_end(&c);
        partial_free(&a);
        partial_free(&b);
    }
}

/* A row's softmax has the same bits in whatever row of a block it stands (m is the same). */
static void test_same_bits(void)
{
    for (size_t set = 0; set < 2; ++set) {
        const natsl_kernels *kernels = kernel_sets[set];
        check c = check_begin(kernels->name, "same bits", 0, TOL_EXACT);
        for (size_t at = 0; at < 64; ++at) {
            float top[64], sum[64] = {0}, top2[64], sum2[64], acc2[64 * 33];
            uint64_t state = 5;
            buf acc = buf_random(64, 33, 0, at % 16, 9, 1.0);
            for (size_t i = 0; i < 64; ++i) {
                top[i] = top2[i] = (float)uniform(&state);
                sum[i] = sum2[i] = 2.0f;
            }
            for (size_t j = 0; j < 33; ++j) {
                acc.p[at * 33 + j] = 0.1f * (float)j;
                for (size_t i = 0; i < 64; ++i) acc2[i * 33 + j] = 0.3f * (float)j;
            }
            top[at] = 0.25f;
            top2[at] = 0.75f;
            kernels->attn_merge(64, 33, top, sum, 1, acc.p, 33, top2, sum2, 1, acc2, 33);
            kernels->attn_finish(64, 33, sum, 1, acc.p, 33);
            static float first[33];
            if (at == 0) memcpy(first, acc.p, sizeof first);
            check_true(&c, memcmp(first, acc.p + at * 33, sizeof first) == 0, "bits depend on the row");
            buf_free(&acc);
        }
        check_end(&c);
    }
}

static void test_lse(void)
{
    static const struct {
        size_t m, n, tile;
        double size;
    } cases[] = {{0, 10, 5, 1},      {1, 1, 1, 1},        {3, 96, 96, 5},       {3, 96, 17, 5},      {5, 1000, 512, 20},
                 {5, 1025, 1024, 1}, {5, 3000, 700, 1e4}, {64, 257, 256, 1e-3}, {2, 513, 513, 100.0}};
    for (size_t i = 0; i < COUNT(cases); ++i) {
        size_t m = cases[i].m, n = cases[i].n;
        buf x = buf_random(m, n, 3, 0, i + 40, cases[i].size);
        if (n > 20) /* a vocabulary tile may begin with words that cannot occur */
            for (size_t r = 0; r < m; ++r)
                for (size_t j = 0; j < 18; ++j) x.p[r * x.ld + j] = -INFINITY;
        for (size_t set = 0; set < 2; ++set) {
            check c = check_begin(kernel_sets[set]->name, "log-sum-exp", i, TOL_LSE);
            float top[64], picked[64];
            double sum[64] = {0};
            int32_t targets[64];
            for (size_t r = 0; r < 64; ++r) {
                top[r] = -INFINITY;
                picked[r] = canary;
                targets[r] = r == 1 ? -1 : (int32_t)(n - 1 - r % n / 2);
            }
            for (size_t v0 = 0; v0 < n; v0 += cases[i].tile) {
                size_t width = n - v0 < cases[i].tile ? n - v0 : cases[i].tile;
                kernel_sets[set]->lse_add(m, width, x.p + v0, x.ld, v0, targets, top, sum, picked);
            }
            for (size_t r = 0; r < m; ++r) {
                double best = -INFINITY, total = 0.0;
                for (size_t j = 0; j < n; ++j) best = fmax(best, (double)buf_at(&x, r, j));
                for (size_t j = 0; j < n; ++j) total += exp((double)buf_at(&x, r, j) - best);
                check_value(&c, r, 0, (double)top[r] + log(sum[r]), best + log(total));
                float want = targets[r] < 0 ? canary : buf_at(&x, r, (size_t)targets[r]);
                check_true(&c, picked[r] == want, "picked the wrong logit");
            }
            check_end(&c);
        }
        buf_free(&x);
    }
    for (size_t set = 0; set < 2; ++set) { /* a target in a neighbouring tile is not this tile's to pick */
        float logits[4] = {1.0f, 2.0f, 3.0f, 4.0f}, top[2] = {-INFINITY, -INFINITY}, picked[2] = {canary, canary};
        double sum[2] = {0};
        int32_t targets[2] = {9, 12};
        kernel_sets[set]->lse_add(2, 2, logits, 2, 10, targets, top, sum, picked);
        CU_ASSERT(picked[0] == canary && picked[1] == canary && top[0] == 2.0f && top[1] == 4.0f);
    }
    for (size_t set = 0; set < 2; ++set) { /* NaN comes through */
        float logits[4] = {NAN, 1.0f, NAN, NAN}, top[2] = {-INFINITY, -INFINITY}, picked[2];
        double sum[2] = {0};
        int32_t targets[2] = {0, -1};
        kernel_sets[set]->lse_add(2, 2, logits, 2, 0, targets, top, sum, picked);
        CU_ASSERT(isnan(sum[0]) && isnan(sum[1]) && isnan(picked[0]));
    }
}

int main(void)
{
    static const test_entry tests[] = {
        {"attention: blocks against the full softmax", test_blocks},
        {"attention: windows", test_window},
        {"attention: what may not be seen", test_mask},
        {"attention: merging in two orders", test_merge},
        {"attention: empty rows, NaN", test_empty_and_nan},
        {"attention: same bits in every row", test_same_bits},
        {"log-sum-exp over vocabulary tiles", test_lse},
    };
    return run_suite("kernels: attention", tests, COUNT(tests));
}
