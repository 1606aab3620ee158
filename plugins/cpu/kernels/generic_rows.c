/* Norms, quantisation, activations and rotation in plain scalar code: the text of docs/numerics.md. */
#include "generic.h"

#include <backplane/program.h>

void generic_quantise(const float *x, size_t n, quant_block *blocks)
{
    for (size_t b = 0; b < n / QUANT_BLOCK; b++) {
        const float *in = x + b * QUANT_BLOCK;
        quant_block *block = &blocks[b];
        /* The magnitude bits of floats order as integers do, with infinity and NaN above everything finite. */
        uint32_t largest = 0;
        for (size_t i = 0; i < QUANT_BLOCK; i++) {
            uint32_t magnitude = math_bits(in[i]) & 0x7fffffffu;
            if (magnitude > largest)
                largest = magnitude;
        }
        float peak = math_from_bits(largest), inverse = 127.0f / peak;
        bool finite = largest < 0x7f800000u, usable = finite && math_bits(inverse) < 0x7f800000u;
        int32_t sum = 0;
        for (size_t i = 0; i < QUANT_BLOCK; i++) {
            /* |in * inverse| is at most 127 and a half ulp, so adding 1.5 * 2^23 rounds it half to even exactly. */
            int32_t value = usable ? (int32_t)((in[i] * inverse + MATH_ROUND) - MATH_ROUND) : 0;
            block->q[i] = (int8_t)value;
            sum += value;
        }
        float scale = usable ? peak / 127.0f : finite ? 0.0f : math_from_bits(0x7fc00000u);
        block->scale = scale;
        block->scaled_sum = scale * (float)sum;
        block->minus_8 = -8 * sum;
        block->minus_128 = -128 * sum;
    }
}

/* Lanes l and l ^ 16 are added, then l ^ 8, 4, 2, 1. */
static float lanes_sum(float lanes[NORM_LANES])
{
    for (size_t step = NORM_LANES / 2; step > 0; step /= 2) {
        for (size_t i = 0; i < step; i++)
            lanes[i] = lanes[i] + lanes[i + step];
    }
    return lanes[0];
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
    float r = 1.0f / sqrtf(lanes_sum(lanes) / (float)n + epsilon);
    norm_apply(x, 0.0f, r, weight, bias, n, out);
}

static void norm_layer(const float *x, const float *weight, const float *bias, float epsilon, size_t n, float *out)
{
    float lanes[NORM_LANES] = {0};
    for (size_t i = 0; i < n; i++)
        lanes[i % NORM_LANES] = lanes[i % NORM_LANES] + x[i];
    float mean = lanes_sum(lanes) / (float)n;
    for (size_t i = 0; i < NORM_LANES; i++)
        lanes[i] = 0.0f;
    for (size_t i = 0; i < n; i++) {
        float d = x[i] - mean;
        lanes[i % NORM_LANES] = fmaf(d, d, lanes[i % NORM_LANES]);
    }
    float r = 1.0f / sqrtf(lanes_sum(lanes) / (float)n + epsilon);
    norm_apply(x, mean, r, weight, bias, n, out);
}

static void normalise(const float *x, size_t n, float *out)
{
    float lanes[NORM_LANES] = {0};
    for (size_t i = 0; i < n; i++)
        lanes[i % NORM_LANES] = fmaf(x[i], x[i], lanes[i % NORM_LANES]);
    float length = sqrtf(lanes_sum(lanes));
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
    .attend = {generic_attend_f16, generic_attend_f32, generic_attend_bf16},
    .combine = generic_combine,
    .divide = generic_divide,
};
