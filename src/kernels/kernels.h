/* kernels.h - the arithmetic of natsl: every step of the model on plain float32 arrays.
 * Owns: nothing. No allocation, no I/O, no MPI, no threads of its own: callers spread rows, heads and column blocks
 * over threads. Two sets with one signature each: x_ref.c mirrors the oracle (plain loops, double accumulators), x.c is
 * fast (libxsmm and OpenBLAS on one thread, vectorised loops). Tests: tests/unit/test_kernels*.c run both through the same tables.
 *
 * Letters: m rows (tokens); d, n, k dimensions; ld* = distance between rows in floats (>= the row's length).
 * Arrays are row-major float32; inputs and outputs do not overlap unless "in place" is said. Every m may be 0.
 * A row's result has the same bits whatever m is for the element-wise steps; for products callers keep m fixed. */
#ifndef NATSL_KERNELS_H
#define NATSL_KERNELS_H

#include "matrix.h"
#include <stddef.h>
#include <stdint.h>

/** Rows of a delta-rule block: the triangular systems have at most this size. */
#define NATSL_DELTA_BLOCK 64

typedef struct natsl_kernels {
    const char *name; /* "fast" or "ref" */

    /** y = x W^T, or y += x W^T when `accumulate`, for the outputs of panels [p0,p1) of W [n,k] (matrix.h): x [m,k]; y [m, outputs]
     * starts with the first of them. scratch: natsl_linear_scratch floats. fast: a row's bits depend neither on m nor on
     * the panels asked for (with libxsmm, or m fixed). \oracle every x @ w.T */
    void (*linear)(size_t m, const natsl_matrix *w, size_t p0, size_t p1, const float *x, size_t ldx, float *y,
                   size_t ldy, int accumulate, float *scratch);

    /** RMS norm of each head's slice: y = x / sqrt(mean(x^2) + eps) * w. x, y [m, heads*d]; w [d] shared by heads.
     * May run in place (y == x). \oracle rms_norm */
    void (*rms_norm)(size_t m, size_t heads, size_t d, const float *x, size_t ldx, const float *w, float eps, float *y,
                     size_t ldy);

    /** y = scale * x / sqrt(sum(x^2) + 1e-6) per head slice. May run in place. \oracle l2_norm */
    void (*l2_norm)(size_t m, size_t heads, size_t d, const float *x, size_t ldx, float scale, float *y, size_t ldy);

    /** Causal depthwise convolution, then SiLU, in place. x [m,c]; halo [width-1, c] contiguous, the raw rows before
     * x, oldest first; w [c, width], w[.,width-1] meets the row itself. w NULL: SiLU only (width, halo ignored).
     * \oracle short_conv */
    void (*short_conv)(size_t m, size_t c, size_t width, float *x, size_t ldx, const float *halo, const float *w);

    /** Rotate-half rotary embedding in place of the first r dimensions of each head. x [m, heads*d], r even, at most d; row i
     * is global token pos0 + i (>= 0). Angles as the oracle's: position times theta^(-i/(r/2)), both in double, up to
     * positions of 2^40. \oracle rotary, attention */
    void (*rotary)(size_t m, size_t heads, size_t d, size_t r, float *x, size_t ldx, int64_t pos0, double theta);

    /** log_decay = -exp(A_log) * softplus(a + dt_bias) (<= 0); beta = sigmoid(b) * (neg_eigval ? 2 : 1).
     * ab [m, 2*heads]: a then b. a_log, dt_bias [heads]. log_decay, beta [m, heads] contiguous. \oracle mixer */
    void (*decay_beta)(size_t m, size_t heads, const float *ab, size_t ldab, const float *a_log, const float *dt_bias,
                       int neg_eigval, float *log_decay, float *beta);

    /** sum[d] += rows of x, in row order. \oracle mixer (pooled) */
    void (*pool_add)(size_t m, size_t d, const float *x, size_t ldx, float *sum);

    /** Scores of one complete chunk: logits[2*heads] = (sum / count) W^T, w [2*heads, d]; keep[h] = 1 when the softmax
     * score (even index) is at least the linear one (odd): the first wins a tie. \oracle mixer (choice) */
    void (*gate_choose)(size_t heads, size_t d, const float *sum, size_t count, const float *w, float *logits,
                        uint8_t *keep);

    /** Chunk-local part of the gated delta rule for one value head, before any state is known. m <= NATSL_DELTA_BLOCK.
     * q, k [m,dk]: q unit rows times dk^-1/2, k unit rows; log_decay, beta [m] with stride lds.
     * Out: g [m], inclusive running sum of log_decay (one below -256 counts as -256: both decay to 0 in float32);
     * t [m,m] = (I + L)^-1 diag(beta), L strictly lower with
     * L_ij = beta_i (k_i.k_j) exp(g_i - g_j); a [m,m] lower triangle with diagonal, a_ij = (q_i.k_j) exp(g_i - g_j).
     * Entries above the diagonals are zero. WY form: Yang et al., "Gated Delta Networks", 2025, section 3.3.
     * scratch: natsl_delta_scratch floats. \oracle gated_delta_rule */
    void (*delta_prepare)(size_t m, size_t dk, const float *q, size_t ldq, const float *k, size_t ldk,
                          const float *log_decay, const float *beta, size_t lds, float *g, float *t, float *a,
                          float *scratch);

    /** The rest, once the state is known, on dv columns (all of a head's or a block of them; columns are independent).
     *   D = t (V - exp(g) K S);  o = exp(g) Q S + a D;  S' = exp(g_last) S + K^T diag(exp(g_last - g)) D.
     * v, o [m,dv]; only rows first.. of o are written (rows before belong to an earlier window; o points at row
     * `first`; first = m: q, a and o are not touched). v NULL: V = 0, the linear part of the map alone. s [dk,dv] with
     * row distance ld_state. s_out (same distance) receives S'; it may be s (in place) or
     * NULL (not wanted). m = 0: s_out = s. scratch: natsl_delta_scratch floats. \oracle gated_delta_rule */
    void (*delta_apply)(size_t m, size_t first, size_t dk, size_t dv, const float *q, size_t ldq, const float *k,
                        size_t ldk, const float *v, size_t ldv, const float *g, const float *t, const float *a,
                        const float *s, float *s_out, size_t ld_state, float *o, size_t ldo, float *scratch);

    /** y = a x + b: how a span of tokens moves a state. a [dk,dk] contiguous; x [dk,n], b [dk,n] (NULL: zero), y [dk,n].
     * y may be b (same distance). \oracle none: a product */
    void (*affine)(size_t dk, size_t n, const float *a, const float *x, size_t ldx, const float *b, size_t ldb,
                   float *y, size_t ldy);

    /** One token of one value head: S <- exp(log_decay) S; S += k (beta (v - S^T k))^T; o = S^T q.
     * q, k [dk] as in delta_prepare; v, o [dv]; s [dk,dv] in place. \oracle gated_delta_rule, one step */
    void (*delta_step)(size_t dk, size_t dv, const float *q, const float *k, const float *v, float log_decay,
                       float beta, float *s, float *o);

    /** Online softmax, one block of keys for one head. q [m,dk], keys [dk,n] (turned over: key j is column j, ldk >= n), values
     * [n,dv].
     * Row i has running maximum top[i*lds] (of scale*q.k), running sum of exponentials sum[i*lds], and
     * acc [m,dv] = sum of exponentials times values; a fresh row has top = -INFINITY, sum = 0, acc = 0.
     * causal < 0: every row sees all n keys. causal >= 0: row i sees keys 0 .. causal+i (capped at n-1); rows that see
     * none stay as they are (causal may not be used for that: it is at least 0).
     * hidden: row i does not see keys before hidden+i, the edge of a window; NATSL_ATTN_ALL: it sees them all.
     * n <= NATSL_ATTN_KEYS. scratch: natsl_attn_scratch floats. \oracle selected_attention, attention */
    void (*attn_block)(size_t m, size_t n, size_t dk, size_t dv, const float *q, size_t ldq, const float *keys,
                       size_t ldk, const float *values, size_t ldv, float scale, ptrdiff_t causal, ptrdiff_t hidden,
                       float *top, float *sum, size_t lds, float *acc, size_t ldacc, float *scratch);

    /** acc[i] /= sum[i]; rows with sum 0 become 0. */
    void (*attn_finish)(size_t m, size_t dv, const float *sum, size_t lds, float *acc, size_t ldacc);

    /** Merges a second partial softmax (top2, sum2, acc2) into the first: the order of the two is the summation's. */
    void (*attn_merge)(size_t m, size_t dv, float *top, float *sum, size_t lds, float *acc, size_t ldacc,
                       const float *top2, const float *sum2, size_t lds2, const float *acc2, size_t ldacc2);

    /** Gated norm of a pure Gated DeltaNet layer: y = rms_norm(o; w) * silu(gate). gate [m, heads*d] or NULL (no gate).
     * o, y [m, heads*d]; may run in place (y == o). \oracle mixer, is_gdn */
    void (*gated_norm)(size_t m, size_t heads, size_t d, const float *o, size_t ldo, const float *w, float eps,
                       const float *gate, size_t ldg, float *y, size_t ldy);

    /** Two-way mixing of a NAtS-L layer. o [m, v_heads*dv] from the delta rule, oa [m, a_heads*dva] from attention,
     * v_heads*dv == a_heads*dva. With mix [m, 2*a_heads] (raw scores, pairs) and gate: both are normed over dva per
     * attention head with w1, w2 [dva], weighted by softmax(pair) (first: delta rule) and multiplied by silu(gate).
     * With mix and gate NULL (use_gate off): o normed over dv per value head with w1 [dv], oa over dva with w2, added.
     * y may be o. \oracle mixer */
    void (*nats_mix)(size_t m, size_t v_heads, size_t dv, size_t a_heads, size_t dva, const float *o, size_t ldo,
                     const float *oa, size_t ldoa, const float *w1, const float *w2, float eps, const float *mix,
                     size_t ldmix, const float *gate, size_t ldg, float *y, size_t ldy);

    /** Output gate of an attention layer: y = o * sigmoid(gate). o, y [m, heads*d]; the gate of head h begins at gate + h*step.
     * May run in place (y == o). \oracle attention */
    void (*sigmoid_gate)(size_t m, size_t heads, size_t d, const float *o, size_t ldo, const float *gate, size_t ldg,
                         size_t step, float *y, size_t ldy);

    /** y [m,n] = silu(gu[., 0..n)) * gu[., n..2n). y may be gu (in place, same ld). */
    void (*swiglu)(size_t m, size_t n, const float *gu, size_t ldgu, float *y, size_t ldy);

    /** y [m,k] = rows ids[i] of the table [n,k]; ids were checked against the vocabulary by the caller. */
    void (*embed)(size_t m, const natsl_matrix *table, const int32_t *ids, float *y, size_t ldy);

    /** Running log-sum-exp over vocabulary tiles: logits [m,n] are columns v0 .. v0+n of the vocabulary. top, sum [m]
     * as in attn_block (start -INFINITY, 0; the sum in double); picked[i] receives the target's logit when targets[i]
     * lies in this tile (targets[i] < 0: none). After all tiles: log p = picked - top - log(sum). \oracle score */
    void (*lse_add)(size_t m, size_t n, const float *logits, size_t ld, size_t v0, const int32_t *targets, float *top,
                    double *sum, float *picked);
    /* ---- gradients --------------------------------------------------------------------------------------------------
     * d<name> is the gradient of the loss with respect to <name>. "+=": added to what is there; "=": overwritten. Arrays of
     * gradients of weights are row-major float32, as the layout's flat array has them: sums over ranks, optimiser and
     * files work on that array, and only products read panels. \oracle oracle_grad.py (autograd over the same steps).
     * Tests: tests/unit/test_grad*.c, against finite differences of the oracle's formulas in double. */

    /** linear. Its gradient by x, dx = dy W, is `linear` with W turned over (natsl_matrix_turn). dw [n,k] += dy^T x: dy [m,n], x [m,k]. */
    void (*linear_grad_w)(size_t m, size_t n, size_t k, const float *dy, size_t lddy, const float *x, size_t ldx,
                          float *dw, size_t lddw);

    /** rms_norm: x as given to it. dx = or += (`accumulate`); dw [d] +=. dx may be dy when not accumulating. */
    void (*rms_norm_grad)(size_t m, size_t heads, size_t d, const float *x, size_t ldx, const float *w, float eps,
                          const float *dy, size_t lddy, float *dx, size_t lddx, int accumulate, float *dw);

    /** l2_norm: x as given to it. dx =; may be dy. */
    void (*l2_norm_grad)(size_t m, size_t heads, size_t d, const float *x, size_t ldx, float scale, const float *dy,
                         size_t lddy, float *dx, size_t lddx);

    /** short_conv: x [m,c] and halo are the raw rows. dx = (may be dy); dw [c,width] += (w NULL: neither is used).
     * dhalo [width-1,c]: in: what later rows add to the last width-1 raw rows, of halo and x together; out: what those and
     * x's rows add to the halo's rows. So rows may be worked through in pieces, from the last one back. */
    void (*short_conv_grad)(size_t m, size_t c, size_t width, const float *x, size_t ldx, const float *halo,
                            const float *w, const float *dy, size_t lddy, float *dx, size_t lddx, float *dhalo,
                            float *dw);

    /** rotary, in place: dx in: of its output, out: of its input. */
    void (*rotary_grad)(size_t m, size_t heads, size_t d, float *dx, size_t lddx, int64_t pos0, double theta);

    /** decay_beta. dab [m, 2*heads] in: dlog_decay, then dbeta; out: da, db. da_log, ddt_bias [heads] +=. */
    void (*decay_beta_grad)(size_t m, size_t heads, const float *ab, size_t ldab, const float *a_log,
                            const float *dt_bias, int neg_eigval, float *dab, size_t lddab, float *da_log,
                            float *ddt_bias);

    /** The gate's straight-through gradient of one chunk: what multiplies the chosen operation is 1, and counts as the softmax
     * of the head's two scores there; what multiplies the other one is a constant 0. dchosen [heads]: the gradient of
     * the chosen operation's factor; sum, count, w, keep as in gate_choose. noise [heads] (NULL: none) is added to the
     * difference of a head's scores, and the sum divided by temperature > 0, before the softmax (a Gumbel softmax of
     * two; 1 without noise is oracle_grad.py's). hint: the loss also has hint_weight times the cross-entropy between
     * the softmax of each head's two scores, without noise, and (hint, 1 - hint); 0 <= hint <= 1, hint_weight 0: none.
     * drow [d] =: the gradient of each of the chunk's rows; dw [2*heads, d] +=; share [heads] =: the softmax operation's
     * part. \oracle oracle_grad.py choose */
    void (*gate_grad)(size_t heads, size_t d, const float *sum, size_t count, const float *w, const uint8_t *keep,
                      const double *dchosen, const float *noise, double temperature, double hint, double hint_weight,
                      float *drow, float *dw, double *share);

    /** One block of the gated delta rule for one value head, m <= NATSL_DELTA_BLOCK rows: q, k, v, log_decay, beta as
     * delta_prepare and delta_apply get them, s [dk,dv] the state before the block, dout [m,dv] of o.
     * dstate [dk,dv] in: of the state after the block, out: of s. dq, dkey [m,dk] += (value heads may share a key head);
     * dval [m,dv], dlog_decay, dbeta (stride ldds) =. With U = diag(beta)(V - exp(g) K S) and D = (I + L)^-1 U:
     *   dD = a^T dO + diag(exp(g_last - g)) K dS';  dU = (I + L)^-T dD;  dL = -dU D^T;  da = dO D^T
     * and the rest follows by the product rule. scratch: natsl_delta_grad_scratch floats. */
    void (*delta_grad)(size_t m, size_t dk, size_t dv, const float *q, size_t ldq, const float *k, size_t ldk,
                       const float *v, size_t ldv, const float *log_decay, const float *beta, size_t lds,
                       const float *s, const float *dout, size_t lddo, float *dstate, float *dq, size_t lddq,
                       float *dkey, size_t lddk, float *dval, size_t lddv, float *dlog_decay, float *dbeta, size_t ldds,
                       float *scratch);

    /** One block of keys of one head's softmax attention, once it is finished: q, keys (turned over), values, scale, causal as in
     * attn_block; top, sum (row distance lds) as they were at the end, dots (the same distance) = dout . o of each row,
     * o being the finished output. dq [m,dk], dkeys [n,dk] (rows, not turned over), dvalues [n,dv] +=. Returns the
     * gradient of a factor 1 on every exponential of the block: the sum of the scaled scores' gradients.
     * n <= NATSL_ATTN_KEYS. scratch: natsl_attn_grad_scratch floats. \oracle oracle_grad.py selected_attention */
    double (*attn_grad)(size_t m, size_t n, size_t dk, size_t dv, const float *q, size_t ldq, const float *keys,
                        size_t ldk, const float *values, size_t ldv, float scale, ptrdiff_t causal, const float *top,
                        const float *sum, const float *dots, size_t lds, const float *dout, size_t lddo, float *dq,
                        size_t lddq, float *dkeys, size_t lddk, float *dvalues, size_t lddv, float *scratch);

    /** gated_norm. d_o, dgate (gate NULL: not used) =; dw [d] +=. d_o may be dy. */
    void (*gated_norm_grad)(size_t m, size_t heads, size_t d, const float *o, size_t ldo, const float *w, float eps,
                            const float *gate, size_t ldg, const float *dy, size_t lddy, float *d_o, size_t lddo,
                            float *dgate, size_t lddg, float *dw);

    /** nats_mix. d_o, d_oa, dmix, dgate = (mix NULL: the last two not used); dw1, dw2 +=. */
    void (*nats_mix_grad)(size_t m, size_t v_heads, size_t dv, size_t a_heads, size_t dva, const float *o, size_t ldo,
                          const float *oa, size_t ldoa, const float *w1, const float *w2, float eps, const float *mix,
                          size_t ldmix, const float *gate, size_t ldg, const float *dy, size_t lddy, float *d_o,
                          size_t lddo, float *d_oa, size_t lddoa, float *dmix, size_t lddmix, float *dgate, size_t lddg,
                          float *dw1, float *dw2);

    /** swiglu. dy [m,n]; dgu [m,2n] =; y [m,n] =: swiglu's output once more. */
    void (*swiglu_grad)(size_t m, size_t n, const float *gu, size_t ldgu, const float *dy, size_t lddy, float *dgu,
                        size_t lddgu, float *y, size_t ldy);

    /** embed, columns [l0,l1): dtable [vocabulary, k] (row distance lddt) += rows of dy at ids, in row order. */
    void (*embed_grad)(size_t m, const int32_t *ids, size_t l0, size_t l1, const float *dy, size_t lddy, float *dtable,
                       size_t lddt);

    /** A tile of logits (columns v0 .. v0+n of the vocabulary) becomes its gradient of -scale times the sum of log p(target):
     * scale * (softmax - [target]); rows without a target (targets[i] < 0): 0. top, sum as lse_add has left them. */
    void (*lse_grad)(size_t m, size_t n, float *logits, size_t ld, size_t v0, const int32_t *targets, const float *top,
                     const double *sum, double scale);
} natsl_kernels;

/** Most keys in one attn_block call. */
#define NATSL_ATTN_KEYS 256
/** attn_block's `hidden` where there is no window. */
#define NATSL_ATTN_ALL (PTRDIFF_MIN / 2)

/** Floats of scratch for delta_prepare and delta_apply, for attn_block with at most m rows, and for linear. */
size_t natsl_delta_scratch(size_t dk, size_t dv);
size_t natsl_attn_scratch(size_t m);
size_t natsl_linear_scratch(void);
/** The same for delta_grad and attn_grad. */
size_t natsl_delta_grad_scratch(size_t dk, size_t dv);
size_t natsl_attn_grad_scratch(size_t dk, size_t dv);

/** Numbers between float32 and bfloat16 (natsl_to_bf16, natsl_from_bf16). */
void natsl_widen(size_t n, const uint16_t *from, float *to);
void natsl_narrow(size_t n, const float *from, uint16_t *to);
/** y [d,m] = x [m,d] turned over. */
void natsl_transpose(size_t m, size_t d, const float *x, size_t ldx, float *y, size_t ldy);

/** Panels [p0,p1) of W^T [k,n] from W [n,k]: float32 whatever W is. to [k*n]: data of a matrix of k outputs and n inputs; scratch:
 * natsl_linear_scratch floats. */
void natsl_matrix_turn(const natsl_matrix *w, size_t p0, size_t p1, float *to, float *scratch);

/** Whose code small matrix products run: "libxsmm 1.17, clx" or "OpenBLAS". Static text. */
const char *natsl_gemm_name(void);

extern const natsl_kernels natsl_kernels_ref;
extern const natsl_kernels natsl_kernels_fast;

#endif
