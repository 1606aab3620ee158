/* Matrix products in plain scalar code: the text of docs/numerics.md, and the oracle of the fast kernels.
 *
 * One output at a time, in the K order that depends on shape and type only. */
#include "half.h"
#include "kernels.h"

/* The tests build a second plugin in which the order inside a K block is reversed, to see that they notice. */
#ifdef BACKPLANE_MUTATE
static size_t element(size_t i, size_t count)
{
    return count - 1 - i;
}
#else
static size_t element(size_t i, size_t count)
{
    (void)count;
    return i;
}
#endif

typedef float column_fn(const uint8_t *tile, size_t k, size_t column, const matmul_input *x, size_t row);

static void each_output(column_fn *dot, const uint8_t *packed, size_t tile_bytes, size_t k, size_t tiles,
                        const matmul_input *x, size_t row, size_t rows, float *out, size_t out_stride)
{
    for (size_t r = 0; r < rows; r++) {
        for (size_t t = 0; t < tiles; t++) {
            for (size_t c = 0; c < TILE_COLUMNS; c++) {
                out[r * out_stride + t * TILE_COLUMNS + c] = dot(packed + t * tile_bytes, k, c, x, row + r);
            }
        }
    }
}

/* Floating-point weights: one FMA chain from zero inside each block of 256, block sums added in ascending order. */
typedef float widen_fn(const uint8_t *tile, size_t index);

static float widen_f32(const uint8_t *tile, size_t index)
{
    float value;
    memcpy(&value, tile + index * sizeof value, sizeof value);
    return value;
}
static float widen_f16(const uint8_t *tile, size_t index)
{
    return half_to_float(load_u16(tile + index * 2));
}
static float widen_bf16(const uint8_t *tile, size_t index)
{
    return bfloat_to_float(load_u16(tile + index * 2));
}

static float float_dot(widen_fn *widen, const uint8_t *tile, size_t k, size_t column, const float *x)
{
    float total = 0.0f;
    for (size_t start = 0; start < k; start += K_BLOCK) {
        size_t count = k - start < K_BLOCK ? k - start : K_BLOCK;
        float sum = 0.0f;
        for (size_t i = 0; i < count; i++) {
            size_t at = start + element(i, count);
            sum = fmaf(x[at], widen(tile, at * TILE_COLUMNS + column), sum);
        }
        total = total + sum;
    }
    return total;
}

static float dot_f32(const uint8_t *tile, size_t k, size_t column, const matmul_input *x, size_t row)
{
    return float_dot(widen_f32, tile, k, column, x->values + row * x->stride);
}
static float dot_f16(const uint8_t *tile, size_t k, size_t column, const matmul_input *x, size_t row)
{
    return float_dot(widen_f16, tile, k, column, x->values + row * x->stride);
}
static float dot_bf16(const uint8_t *tile, size_t k, size_t column, const matmul_input *x, size_t row)
{
    return float_dot(widen_bf16, tile, k, column, x->values + row * x->stride);
}

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

#define GENERIC_MATMUL(type)                                                                                               \
    void generic_##type(const uint8_t *packed, size_t tile_bytes, size_t k, size_t tiles, const matmul_input *x,           \
                        size_t row, size_t rows, float *out, size_t out_stride)                                            \
    {                                                                                                                      \
        each_output(dot_##type, packed, tile_bytes, k, tiles, x, row, rows, out, out_stride);                              \
    }
GENERIC_MATMUL(f32)
GENERIC_MATMUL(f16)
GENERIC_MATMUL(bf16)
GENERIC_MATMUL(q8_0)
GENERIC_MATMUL(q4_0)
GENERIC_MATMUL(q4_1)
