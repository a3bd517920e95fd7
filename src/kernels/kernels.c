/* kernels.c - the fast table, and the sizes of scratch that both sets promise to stay within. */
#include "kernels_impl.h"

size_t natsl_linear_scratch(void) { return (size_t)NATSL_LINEAR_K_BF16 * NATSL_PANEL_MOST; }

size_t natsl_delta_scratch(size_t dk, size_t dv)
{
    size_t prepare =
        2 * NATSL_DELTA_BLOCK * NATSL_DELTA_BLOCK + NATSL_DELTA_BLOCK * dk; /* L, its inverse, k turned over */
    size_t apply = NATSL_DELTA_BLOCK * (dk + 2 * dv);                       /* scaled rows, V - exp(g) K S, D */
    return prepare > apply ? prepare : apply;
}

size_t natsl_delta_grad_scratch(size_t dk, size_t dv)
{
    /* fast: five or six [B,B] matrices, rows of k, q, v, S and dS turned over; reference: three [B,dv] of doubles */
    return 6 * NATSL_DELTA_BLOCK * NATSL_DELTA_BLOCK + NATSL_DELTA_BLOCK * (3 * dk + 6 * dv) + 2 * dk * dv;
}

size_t natsl_attn_grad_scratch(size_t dk, size_t dv)
{
    return 2 * NATSL_ATTN_ROWS * NATSL_ATTN_KEYS + NATSL_ATTN_KEYS * (dk + dv); /* P, dP; keys and values turned over */
}

size_t natsl_attn_scratch(size_t m) { return (m < NATSL_ATTN_ROWS ? m : NATSL_ATTN_ROWS) * NATSL_ATTN_KEYS; }

const natsl_kernels natsl_kernels_fast = {
    .name = "fast",
    .linear = natsl_kernel_linear,
    .rms_norm = natsl_kernel_rms_norm,
    .l2_norm = natsl_kernel_l2_norm,
    .short_conv = natsl_kernel_short_conv,
    .rotary = natsl_kernel_rotary,
    .decay_beta = natsl_kernel_decay_beta,
    .pool_add = natsl_kernel_pool_add,
    .gate_choose = natsl_kernel_gate_choose,
    .delta_prepare = natsl_kernel_delta_prepare,
    .delta_apply = natsl_kernel_delta_apply,
    .affine = natsl_kernel_affine,
    .delta_step = natsl_kernel_delta_step,
    .attn_block = natsl_kernel_attn_block,
    .attn_finish = natsl_kernel_attn_finish,
    .attn_merge = natsl_kernel_attn_merge,
    .gated_norm = natsl_kernel_gated_norm,
    .nats_mix = natsl_kernel_nats_mix,
    .sigmoid_gate = natsl_kernel_sigmoid_gate,
    .swiglu = natsl_kernel_swiglu,
    .embed = natsl_kernel_embed,
    .lse_add = natsl_kernel_lse_add,
    .linear_grad_w = natsl_kernel_linear_grad_w,
    .rms_norm_grad = natsl_kernel_rms_norm_grad,
    .l2_norm_grad = natsl_kernel_l2_norm_grad,
    .short_conv_grad = natsl_kernel_short_conv_grad,
    .delta_grad = natsl_kernel_delta_grad,
    .attn_grad = natsl_kernel_attn_grad,
    .gated_norm_grad = natsl_kernel_gated_norm_grad,
    .nats_mix_grad = natsl_kernel_nats_mix_grad,
    .swiglu_grad = natsl_kernel_swiglu_grad,
    .lse_grad = natsl_kernel_lse_grad,
    /* a few numbers per token, or one pass over memory: nothing to gain */
    .rotary_grad = natsl_kernel_rotary_grad_ref,
    .decay_beta_grad = natsl_kernel_decay_beta_grad_ref,
    .gate_grad = natsl_kernel_gate_grad_ref,
    .embed_grad = natsl_kernel_embed_grad_ref,
};
