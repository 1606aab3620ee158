/* Matrix products with floating-point weights in plain scalar code: the text of docs/numerics.md, and the oracle of the fast
 * kernels. */
#include "generic_matmul.h"

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

GENERIC_MATMUL(f32)
GENERIC_MATMUL(f16)
GENERIC_MATMUL(bf16)
