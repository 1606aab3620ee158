/* The parts of the generic kernel set that live in different files. */
#ifndef CPU_KERNELS_GENERIC_H
#define CPU_KERNELS_GENERIC_H

#include "half.h"
#include "kernels.h"

void generic_quantise(const float *x, size_t n, quant_block *blocks);
void generic_attend_f16(const attention_chunk *chunk);
void generic_attend_f32(const attention_chunk *chunk);
void generic_attend_bf16(const attention_chunk *chunk);
void generic_attend_q8_0(const attention_chunk *chunk);
void generic_combine(float *m, float *l, float *o, float chunk_m, float chunk_l, const float *chunk_o, size_t n);
void generic_divide(const float *o, float l, size_t n, float *out);

#endif
