/* Matrix products with quantised weights in plain scalar code: the text of docs/numerics.md, and the oracle of the fast
 * kernels. */
#include "generic_matmul.h"

/* Quantised weights: per block of 32 an exact integer sum, then s = d_w * d_x and one FMA; Q4_1 adds one more FMA for its
 * minimum, on the same accumulator. */
static float dot_q8_0(const uint8_t *tile, size_t k, size_t column, const matmul_input *x, size_t row)
{
    size_t count = k / QUANT_BLOCK;
    const uint8_t *scales = tile + k * TILE_COLUMNS;
    float total = 0.0f;
    for (size_t i = 0; i < count; i++) {
        size_t block = element(i, count);
        const int8_t *q = x->blocks[row * count + block].q;
        int32_t sum = 0;
        for (size_t e = 0; e < QUANT_BLOCK; e++) {
            sum += (tile[block * 512 + e / 4 * 64 + column * 4 + e % 4] - 128) * q[e];
        }
        float scale = half_to_float(load_u16(scales + block * 32 + column * 2)) * x->blocks[row * count + block].scale;
        total = fmaf(scale, (float)sum, total);
    }
    return total;
}

static int32_t nibble_sum(const uint8_t *quads, size_t column, const int8_t *q, int32_t zero)
{
    int32_t sum = 0;
    for (size_t e = 0; e < QUANT_BLOCK; e++) {
        uint8_t pair = quads[e % 16 / 4 * 64 + column * 4 + e % 4];
        sum += ((e < 16 ? pair & 15 : pair >> 4) - zero) * q[e];
    }
    return sum;
}

static float dot_q4_0(const uint8_t *tile, size_t k, size_t column, const matmul_input *x, size_t row)
{
    size_t count = k / QUANT_BLOCK;
    const uint8_t *scales = tile + k * TILE_COLUMNS / 2;
    float total = 0.0f;
    for (size_t i = 0; i < count; i++) {
        size_t block = element(i, count);
        int32_t sum = nibble_sum(tile + block * 256, column, x->blocks[row * count + block].q, 8);
        float scale = half_to_float(load_u16(scales + block * 32 + column * 2)) * x->blocks[row * count + block].scale;
        total = fmaf(scale, (float)sum, total);
    }
    return total;
}

static float dot_q4_1(const uint8_t *tile, size_t k, size_t column, const matmul_input *x, size_t row)
{
    size_t count = k / QUANT_BLOCK;
    const uint8_t *scales = tile + k * TILE_COLUMNS / 2;
    float total = 0.0f;
    for (size_t i = 0; i < count; i++) {
        size_t block = element(i, count);
        const quant_block *xb = &x->blocks[row * count + block];
        int32_t sum = nibble_sum(tile + block * 256, column, x->blocks[row * count + block].q, 0);
        float scale = half_to_float(load_u16(scales + block * 64 + column * 2)) * xb->scale;
        float minimum = half_to_float(load_u16(scales + block * 64 + 32 + column * 2));
        total = fmaf(scale, (float)sum, total);
        total = fmaf(minimum, xb->scaled_sum, total);
    }
    return total;
}

GENERIC_MATMUL(q8_0)
GENERIC_MATMUL(q4_0)
GENERIC_MATMUL(q4_1)
