/* Matrix products with quantised weights in plain scalar code: the text of docs/numerics.md, and the oracle of the fast
 * kernels.
 *
 * One output at a time: in ascending order of the groups that share a scale, an exact integer sum and one FMA, and for
 * formats with minima one more on the same accumulator. */
#include "blocks.h"
#include "generic_matmul.h"

static inline float block_dot(const block_format *f, const uint8_t *tile, size_t k, size_t column, const quant_block *x)
{
    size_t blocks = k / QUANT_BLOCK, groups = QUANT_BLOCK / (size_t)f->group, quads = (size_t)f->group / 4;
    float total = 0.0f;
    for (size_t i = 0; i < blocks * groups; i++) {
        size_t b = i / groups, half = i % groups;
        const uint8_t *words = tile + b * block_vector_bytes(f) + column * 4;
        int32_t sum = 0, x_sum = 0;
        for (size_t t = half * quads; t < (half + 1) * quads; t++) {
            uint32_t quad = block_quad(f->bits, words, 64, (unsigned)t);
            for (size_t e = 0; e < 4; e++) {
                sum += block_element(f, quad >> 8 * e & 255) * x[b].q[t * 4 + e];
                x_sum += x[b].q[t * 4 + e];
            }
        }
        block_scale scale = block_scale_of(f, block_scales_at(f, tile, k, b), b, column);
        block_group g = block_group_of(f, &scale, half);
        total = fmaf(g.d * x[b].scale, (float)sum, total);
        if (f->minimum)
            total = fmaf(g.m, x[b].scale * (float)x_sum, total);
    }
    return total;
}

#define GENERIC_BLOCKS(type, ...)                                                                                          \
    static float dot_##type(const uint8_t *tile, size_t k, size_t column, const matmul_input *x, size_t row)               \
    {                                                                                                                      \
        return block_dot(&block_formats[BLOCK_##type], tile, k, column, x->blocks + row * (k / QUANT_BLOCK));              \
    }                                                                                                                      \
    GENERIC_MATMUL(type)
BLOCK_FORMATS(GENERIC_BLOCKS)
