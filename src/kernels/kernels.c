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
    .swiglu = natsl_kernel_swiglu,
    .embed = natsl_kernel_embed,
    .lse_add = natsl_kernel_lse_add,
};
