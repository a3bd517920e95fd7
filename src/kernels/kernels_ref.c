/* kernels_ref.c - the reference table. */
#include "kernels_impl.h"

const natsl_kernels natsl_kernels_ref = {
    .name = "ref",
    .linear = natsl_kernel_linear_ref,
    .rms_norm = natsl_kernel_rms_norm_ref,
    .l2_norm = natsl_kernel_l2_norm_ref,
    .short_conv = natsl_kernel_short_conv_ref,
    .rotary = natsl_kernel_rotary_ref,
    .decay_beta = natsl_kernel_decay_beta_ref,
    .pool_add = natsl_kernel_pool_add_ref,
    .gate_choose = natsl_kernel_gate_choose_ref,
    .delta_prepare = natsl_kernel_delta_prepare_ref,
    .delta_apply = natsl_kernel_delta_apply_ref,
    .affine = natsl_kernel_affine_ref,
    .delta_step = natsl_kernel_delta_step_ref,
    .attn_block = natsl_kernel_attn_block_ref,
    .attn_finish = natsl_kernel_attn_finish_ref,
    .attn_merge = natsl_kernel_attn_merge_ref,
    .gated_norm = natsl_kernel_gated_norm_ref,
    .nats_mix = natsl_kernel_nats_mix_ref,
    .swiglu = natsl_kernel_swiglu_ref,
    .embed = natsl_kernel_embed_ref,
    .lse_add = natsl_kernel_lse_add_ref,
};
