/* Norms, quantisation, activations and rotation in plain scalar code: the text of docs/numerics.md. */
#include "generic.h"

#include <backplane/program.h>

/* Lanes l and l ^ count / 2 are added, then l ^ count / 4, … 1. */
static float lanes_sum(float *lanes, size_t count)
{
    for (size_t step = count / 2; step > 0; step /= 2) {
        for (size_t i = 0; i < step; i++)
            lanes[i] = lanes[i] + lanes[i + step];
    }
    return lanes[0];
}

/* A block in steps of peak / `steps`: t, and rounded to whole steps, q. Returns the squared error in steps. */
static float grid_of(const float *x, float steps, float peak, float *t, float *q)
{
    float inverse = steps / peak, lanes[QUANT_BLOCK / 2];
    for (size_t i = 0; i < QUANT_BLOCK; i++) {
        /* |t| is at most 127 and a half ulp, so adding 1.5 * 2^23 rounds it half to even exactly. */
        t[i] = x[i] * inverse;
        q[i] = (t[i] + MATH_ROUND) - MATH_ROUND;
    }
    for (size_t i = 0; i < QUANT_BLOCK / 2; i++) {
        float low = t[i] - q[i], high = t[i + QUANT_BLOCK / 2] - q[i + QUANT_BLOCK / 2];
        lanes[i] = fmaf(high, high, low * low);
    }
    return lanes_sum(lanes, QUANT_BLOCK / 2);
}

static float dot_block(const float *a, const float *b)
{
    float lanes[QUANT_BLOCK / 2];
    for (size_t i = 0; i < QUANT_BLOCK / 2; i++)
        lanes[i] = fmaf(a[i + QUANT_BLOCK / 2], b[i + QUANT_BLOCK / 2], a[i] * b[i]);
    return lanes_sum(lanes, QUANT_BLOCK / 2);
}

static void quantise_block(const float *x, float peak, quant_block *block)
{
    float t[QUANT_BLOCK], q[QUANT_BLOCK], steps = 126.0f;
    float coarse = grid_of(x, 126.0f, peak, t, q) * QUANT_COARSER;
    float other_t[QUANT_BLOCK], other_q[QUANT_BLOCK], fine = grid_of(x, 127.0f, peak, other_t, other_q);
    if (!(coarse < fine)) {
        steps = 127.0f;
        memcpy(t, other_t, sizeof t);
        memcpy(q, other_q, sizeof q);
    }
    int32_t sums[2] = {0}, sum;
    for (size_t i = 0; i < QUANT_BLOCK; i++) {
        block->q[i] = (int8_t)q[i];
        sums[i / 16] += block->q[i];
    }
    sum = sums[0] + sums[1];
    block->scale = dot_block(t, q) / dot_block(q, q) * (peak / steps);
    block->scaled_sum = block->scale * (float)sum;
    block->minus_8 = -8 * sum;
    block->minus_16 = -16 * sum;
    block->minus_128 = -128 * sum;
    block->minus_32[0] = -32 * sums[0];
    block->minus_32[1] = -32 * sums[1];
    block->reserved = 0;
}

void generic_quantise(const float *x, size_t n, quant_block *blocks)
{
    for (size_t b = 0; b < n / QUANT_BLOCK; b++) {
        const float *in = x + b * QUANT_BLOCK;
        /* The magnitude bits of floats order as integers do, with infinity and NaN above everything finite. */
        uint32_t largest = 0;
        for (size_t i = 0; i < QUANT_BLOCK; i++) {
            uint32_t magnitude = math_bits(in[i]) & 0x7fffffffu;
            if (magnitude > largest)
                largest = magnitude;
        }
        bool finite = largest < 0x7f800000u;
        if (finite && math_bits(127.0f / math_from_bits(largest)) < 0x7f800000u) {
            quantise_block(in, math_from_bits(largest), &blocks[b]);
        } else {
            blocks[b] = (quant_block){.scale = finite ? 0.0f : math_from_bits(0x7fc00000u)};
            blocks[b].scaled_sum = blocks[b].scale;
        }
    }
}

static void norm_apply(const float *x, float mean, float r, const float *weight, const float *bias, size_t n, float *out)
{
    for (size_t i = 0; i < n; i++) {
        float y = (x[i] - mean) * r;
        if (weight)
            y = y * weight[i];
        if (bias)
            y = y + bias[i];
        out[i] = y;
    }
}

static void norm_rms(const float *x, const float *weight, const float *bias, float epsilon, size_t n, float *out)
{
    float lanes[NORM_LANES] = {0};
    for (size_t i = 0; i < n; i++)
        lanes[i % NORM_LANES] = fmaf(x[i], x[i], lanes[i % NORM_LANES]);
    float r = 1.0f / sqrtf(lanes_sum(lanes, NORM_LANES) / (float)n + epsilon);
    norm_apply(x, 0.0f, r, weight, bias, n, out);
}

static void norm_layer(const float *x, const float *weight, const float *bias, float epsilon, size_t n, float *out)
{
    float lanes[NORM_LANES] = {0};
    for (size_t i = 0; i < n; i++)
        lanes[i % NORM_LANES] = lanes[i % NORM_LANES] + x[i];
    float mean = lanes_sum(lanes, NORM_LANES) / (float)n;
    for (size_t i = 0; i < NORM_LANES; i++)
        lanes[i] = 0.0f;
    for (size_t i = 0; i < n; i++) {
        float d = x[i] - mean;
        lanes[i % NORM_LANES] = fmaf(d, d, lanes[i % NORM_LANES]);
    }
    float r = 1.0f / sqrtf(lanes_sum(lanes, NORM_LANES) / (float)n + epsilon);
    norm_apply(x, mean, r, weight, bias, n, out);
}

static void normalise(const float *x, size_t n, float *out)
{
    float lanes[NORM_LANES] = {0};
    for (size_t i = 0; i < n; i++)
        lanes[i % NORM_LANES] = fmaf(x[i], x[i], lanes[i % NORM_LANES]);
    float length = sqrtf(lanes_sum(lanes, NORM_LANES));
    for (size_t i = 0; i < n; i++)
        out[i] = length == 0.0f ? x[i] : x[i] / length;
}

static void add(const float *a, const float *b, size_t n, float *out)
{
    for (size_t i = 0; i < n; i++)
        out[i] = a[i] + b[i];
}

static void multiply(const float *a, const float *b, size_t n, float *out)
{
    for (size_t i = 0; i < n; i++)
        out[i] = a[i] * b[i];
}

static void scale(const float *a, float factor, size_t n, float *out)
{
    for (size_t i = 0; i < n; i++)
        out[i] = a[i] * factor;
}

static void activate(int activation, const float *x, size_t n, float *out)
{
    for (size_t i = 0; i < n; i++) {
        switch (activation) {
        case BP_ACT_SILU:
            out[i] = math_silu(x[i]);
            break;
        case BP_ACT_GELU:
            out[i] = math_gelu(x[i]);
            break;
        case BP_ACT_GELU_TANH:
            out[i] = math_gelu_tanh(x[i]);
            break;
        case BP_ACT_TANH:
            out[i] = math_tanh(x[i]);
            break;
        default:
            out[i] = x[i];
        }
    }
}

static void soft_cap(const float *x, float cap, size_t n, float *out)
{
    for (size_t i = 0; i < n; i++)
        out[i] = math_soft_cap(x[i], cap);
}

static void rotate(float *x0, float *x1, float c, float s)
{
    float a = *x0, b = *x1;
    *x0 = fmaf(a, c, -(b * s));
    *x1 = fmaf(b, c, a * s);
}

static void rope_normal(float *x, const float *table, size_t half)
{
    for (size_t i = 0; i < half; i++)
        rotate(&x[2 * i], &x[2 * i + 1], table[i], table[half + i]);
}

static void rope_neox(float *x, const float *table, size_t half)
{
    for (size_t i = 0; i < half; i++)
        rotate(&x[i], &x[half + i], table[i], table[half + i]);
}

static void narrow_f16(const float *x, size_t n, void *out)
{
    uint16_t *to = out;
    for (size_t i = 0; i < n; i++)
        to[i] = half_from_float(x[i]);
}

static void narrow_f32(const float *x, size_t n, void *out)
{
    memcpy(out, x, n * sizeof *x);
}

static void narrow_bf16(const float *x, size_t n, void *out)
{
    uint16_t *to = out;
    for (size_t i = 0; i < n; i++)
        to[i] = bfloat_from_float(x[i]);
}

const kernels generic_kernels = {
    .name = "generic",
    .quantise = generic_quantise,
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
    .attend = {generic_attend_f16, generic_attend_f32, generic_attend_bf16, generic_attend_q8_0},
    .combine = generic_combine,
    .divide = generic_divide,
};
