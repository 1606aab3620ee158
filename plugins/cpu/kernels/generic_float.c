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

static float float_dot(widen_fn *widen, const uint8_t *tile, size_t k, size_t column, const float *x)
{
    float total = 0.0f;
    for (size_t start = 0; start < k; start += K_BLOCK) {
        size_t count = k - start < K_BLOCK ? k - start : K_BLOCK;
        float sum = 0.0f;
        for (size_t i = start; i < start + count; i++)
            sum = fmaf(x[i], widen(tile, i * TILE_COLUMNS + column), sum);
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
/* BF16 weights: a step is one fused multiply-add of numbers of which denormals are zeros, and so is its result. */
static float normal_or_zero(uint16_t h)
{
    return bfloat_to_float((h & 0x7f80u) != 0 ? h : h & 0x8000u);
}

static float bf16_step(uint16_t x, uint16_t w, float sum)
{
    float a = normal_or_zero(x), b = normal_or_zero(w), result = fmaf(a, b, sum);
    /* What would round to less than 2^-126 if exponents had no bound. The product is exact, and near the limit so is the sum. */
    double exact = (double)a * (double)b + (double)sum;
    return fabs(exact) < 0x1.ffffffp-127 ? math_copysign(0.0f, result) : result;
}

/* One chain over pairs of k, the second element of a pair first. Of an odd k the last pair's second elements are zeros. */
static float dot_bf16(const uint8_t *tile, size_t k, size_t column, const matmul_input *x, size_t row)
{
    const uint16_t *halves = x->halves + row * x->stride;
    float sum = 0.0f;
    for (size_t pair = 0; pair < (k + 1) / 2; pair++) {
        const uint8_t *w = tile + (pair * TILE_COLUMNS + column) * 4;
        sum = bf16_step(halves[pair * 2 + 1], load_u16(w + 2), sum);
        sum = bf16_step(halves[pair * 2], load_u16(w), sum);
    }
    return sum;
}

GENERIC_MATMUL(f32)
GENERIC_MATMUL(f16)
GENERIC_MATMUL(bf16)
