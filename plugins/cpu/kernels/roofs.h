/* Loops that do one thing as fast as an instruction set can: read memory, multiply and add bytes, multiply and add floats.
 * Nothing of a model runs through them; roofs.c times them to say what a device could do at most.
 *
 * Each returns something that depends on all of its work, so that no compiler may leave any out. */
#ifndef CPU_KERNELS_ROOFS_H
#define CPU_KERNELS_ROOFS_H

#include <stddef.h>
#include <stdint.h>

enum {
    ROOF_STREAMS = 4, /* places that one thread reads from at once */
    ROOF_BYTES = 4096 /* a share of memory is a multiple of this */
};

typedef struct roof_kernels {
    /* Reads `bytes` from data, a multiple of ROOF_BYTES, in `streams` equal parts at once: 1 or ROOF_STREAMS. */
    uint32_t (*read)(const uint8_t *data, size_t bytes, size_t streams);
    /* `rounds` rounds of independent chains that live in registers. */
    uint32_t (*int8)(size_t rounds);
    float (*fp32)(size_t rounds);
    size_t int8_ops, fp32_ops; /* products and sums of one round */
} roof_kernels;

/* Of an instruction that multiplies pairs of BF16. */
typedef struct roof_bf16 {
    float (*multiply)(size_t rounds);
    size_t ops;
} roof_bf16;

extern const roof_kernels avx2_roofs, avx512_roofs;
extern const roof_bf16 avx512_bf16_roof;

#endif
