/* The kernel table of an instruction set, and its floating-point matrix products. */
#ifndef CPU_KERNELS_VECTOR_TABLE_H
#define CPU_KERNELS_VECTOR_TABLE_H

const kernels SIMD(kernels) = {
    .name = SIMD_NAME,
    .quantise = quantise,
    .norm_rms = norm_rms,
    .norm_layer = norm_layer,
    .normalise = normalise,
    .add = add,
    .multiply = multiply,
    .scale = scale,
    .activate = activate,
    .soft_cap = soft_cap,
    .rope_normal = rope_normal,
    .rope_neox = rope_neox,
    .narrow = {narrow_f16, narrow_f32, narrow_bf16},
    .attend = {attend_f16, attend_f32, attend_bf16, attend_q8_0},
    .combine = combine,
    .divide = divide,
};

#endif
