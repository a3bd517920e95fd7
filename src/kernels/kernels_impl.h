/* kernels_impl.h - the functions behind the two tables of kernels.h, and the one way to call a matrix library.
 * Private to src/kernels. Owns: nothing. */
#ifndef NATSL_KERNELS_IMPL_H
#define NATSL_KERNELS_IMPL_H

#include "kernels.h"

/* Each member `f` of natsl_kernels is natsl_kernel_f (fast) and natsl_kernel_f_ref. Their types are taken from the
 * struct, so they cannot drift from the contract. */
#define NATSL_KERNEL_DECLARE(f) extern __typeof__(*((natsl_kernels *)0)->f) natsl_kernel_##f, natsl_kernel_##f##_ref
NATSL_KERNEL_DECLARE(linear);
NATSL_KERNEL_DECLARE(rms_norm);
NATSL_KERNEL_DECLARE(l2_norm);
NATSL_KERNEL_DECLARE(short_conv);
NATSL_KERNEL_DECLARE(rotary);
NATSL_KERNEL_DECLARE(decay_beta);
NATSL_KERNEL_DECLARE(pool_add);
NATSL_KERNEL_DECLARE(gate_choose);
NATSL_KERNEL_DECLARE(delta_prepare);
NATSL_KERNEL_DECLARE(delta_apply);
NATSL_KERNEL_DECLARE(affine);
NATSL_KERNEL_DECLARE(delta_step);
NATSL_KERNEL_DECLARE(attn_block);
NATSL_KERNEL_DECLARE(attn_finish);
NATSL_KERNEL_DECLARE(attn_merge);
NATSL_KERNEL_DECLARE(gated_norm);
NATSL_KERNEL_DECLARE(nats_mix);
NATSL_KERNEL_DECLARE(sigmoid_gate);
NATSL_KERNEL_DECLARE(swiglu);
NATSL_KERNEL_DECLARE(embed);
NATSL_KERNEL_DECLARE(lse_add);
NATSL_KERNEL_DECLARE(linear_grad_w);
NATSL_KERNEL_DECLARE(rms_norm_grad);
NATSL_KERNEL_DECLARE(l2_norm_grad);
NATSL_KERNEL_DECLARE(short_conv_grad);
NATSL_KERNEL_DECLARE(rotary_grad);
NATSL_KERNEL_DECLARE(decay_beta_grad);
NATSL_KERNEL_DECLARE(gate_grad);
NATSL_KERNEL_DECLARE(delta_grad);
NATSL_KERNEL_DECLARE(attn_grad);
NATSL_KERNEL_DECLARE(gated_norm_grad);
NATSL_KERNEL_DECLARE(nats_mix_grad);
NATSL_KERNEL_DECLARE(swiglu_grad);
NATSL_KERNEL_DECLARE(embed_grad);
NATSL_KERNEL_DECLARE(lse_grad);
#undef NATSL_KERNEL_DECLARE

/** Rows of queries that attn_block scores at once: 128 x NATSL_ATTN_KEYS scores are 128 KiB, half of a small L2. */
#define NATSL_ATTN_ROWS 128

/** A log decay below this counts as this: e^-256 times any float32 is 0, and the running sum keeps enough bits for the
 * differences of the tokens after it. */
#define NATSL_DECAY_FLOOR (-256.0)

/** Inputs of a bfloat16 panel that linear widens at once. */
#define NATSL_LINEAR_K_BF16 512

enum natsl_trans { NATSL_N = 0, NATSL_T = 1 };

/** c = op(a) op(b) + beta c on the calling thread, row-major; m, n, k as in BLAS; beta is 0 or 1. Nothing is read from c when
 * beta is 0. Dimensions above INT_MAX abort: no caller has such a row. */
void natsl_gemm(enum natsl_trans ta, enum natsl_trans tb, size_t m, size_t n, size_t k, const float *a, size_t lda,
                const float *b, size_t ldb, float beta, float *c, size_t ldc);

/** x [m, row distance NATSL_DELTA_BLOCK] = (I + L)^-1, L (the same distance) strictly lower. delta.c */
void natsl_unit_lower_inverse(size_t m, const float *l, float *x);

#endif
