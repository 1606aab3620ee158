/* Norms, activations and rotation over sixteen lanes; the order is that of generic_rows.c. */
#ifndef CPU_KERNELS_VECTOR_ROWS_H
#define CPU_KERNELS_VECTOR_ROWS_H

#include <backplane/program.h>

static inline size_t lanes_left(size_t n, size_t i)
{
    return n - i < 16 ? n - i : 16;
}

static ALWAYS_INLINE void norm_apply(const float *x, v16 mean, v16 r, const float *weight, const float *bias, size_t n,
                                     float *out)
{
    for (size_t i = 0; i < n; i += 16) {
        size_t left = lanes_left(n, i);
        v16 y = v_mul(v_sub(v_load_n(x + i, left), mean), r);
        if (weight)
            y = v_mul(y, v_load_n(weight + i, left));
        if (bias)
            y = v_add(y, v_load_n(bias + i, left));
        v_store_n(out + i, y, left);
    }
}

/* Absent lanes add +0 to sums that are never -0, which changes nothing. */
static inline float sum_of_squares(const float *x, size_t n)
{
    v16 low = v_set(0.0f), high = v_set(0.0f);
    size_t i = 0;
    for (; i + 32 <= n; i += 32) {
        v16 a = v_load(x + i), b = v_load(x + i + 16);
        low = v_fma(a, a, low);
        high = v_fma(b, b, high);
    }
    if (i < n) {
        v16 a = v_load_n(x + i, lanes_left(n, i));
        low = v_fma(a, a, low);
    }
    if (i + 16 < n) {
        v16 b = v_load_n(x + i + 16, lanes_left(n, i + 16));
        high = v_fma(b, b, high);
    }
    return v_sum(v_add(low, high));
}

static void norm_rms(const float *x, const float *weight, const float *bias, float epsilon, size_t n, float *out)
{
    float r = 1.0f / sqrtf(sum_of_squares(x, n) / (float)n + epsilon);
    norm_apply(x, v_set(0.0f), v_set(r), weight, bias, n, out);
}

static void normalise(const float *x, size_t n, float *out)
{
    float length = sqrtf(sum_of_squares(x, n));
    for (size_t i = 0; i < n; i += 16) {
        size_t left = lanes_left(n, i);
        v16 a = v_load_n(x + i, left);
        v_store_n(out + i, length == 0.0f ? a : v_div(a, v_set(length)), left);
    }
}

static void norm_layer(const float *x, const float *weight, const float *bias, float epsilon, size_t n, float *out)
{
    v16 lane[2] = {v_set(0.0f), v_set(0.0f)};
    for (size_t i = 0; i < n; i += 16) {
        lane[i / 16 % 2] = v_add(lane[i / 16 % 2], v_load_n(x + i, lanes_left(n, i)));
    }
    v16 mean = v_set(v_sum(v_add(lane[0], lane[1])) / (float)n);
    lane[0] = lane[1] = v_set(0.0f);
    for (size_t i = 0; i < n; i += 16) {
        size_t left = lanes_left(n, i);
        v16 d = v_sub(v_load_n(x + i, left), mean);
        d = v_select(lanes_below(left), d, v_set(0.0f));
        lane[i / 16 % 2] = v_fma(d, d, lane[i / 16 % 2]);
    }
    float r = 1.0f / sqrtf(v_sum(v_add(lane[0], lane[1])) / (float)n + epsilon);
    norm_apply(x, mean, v_set(r), weight, bias, n, out);
}

static void add(const float *a, const float *b, size_t n, float *out)
{
    for (size_t i = 0; i < n; i += 16) {
        size_t left = lanes_left(n, i);
        v_store_n(out + i, v_add(v_load_n(a + i, left), v_load_n(b + i, left)), left);
    }
}

static void multiply(const float *a, const float *b, size_t n, float *out)
{
    for (size_t i = 0; i < n; i += 16) {
        size_t left = lanes_left(n, i);
        v_store_n(out + i, v_mul(v_load_n(a + i, left), v_load_n(b + i, left)), left);
    }
}

static void scale(const float *a, float factor, size_t n, float *out)
{
    for (size_t i = 0; i < n; i += 16) {
        size_t left = lanes_left(n, i);
        v_store_n(out + i, v_mul(v_load_n(a + i, left), v_set(factor)), left);
    }
}

static ALWAYS_INLINE v16 v_activate(int activation, v16 x)
{
    switch (activation) {
    case BP_ACT_SILU:
        return v_silu(x);
    case BP_ACT_GELU:
        return v_gelu(x);
    case BP_ACT_GELU_TANH:
        return v_gelu_tanh(x);
    case BP_ACT_TANH:
        return v_tanh(x);
    default:
        return x;
    }
}

static ALWAYS_INLINE void activate_all(int activation, const float *x, size_t n, float *out)
{
    for (size_t i = 0; i < n; i += 16) {
        size_t left = lanes_left(n, i);
        v_store_n(out + i, v_activate(activation, v_load_n(x + i, left)), left);
    }
}

static void activate(int activation, const float *x, size_t n, float *out)
{
    switch (activation) {
    case BP_ACT_SILU:
        activate_all(BP_ACT_SILU, x, n, out);
        break;
    case BP_ACT_GELU:
        activate_all(BP_ACT_GELU, x, n, out);
        break;
    case BP_ACT_GELU_TANH:
        activate_all(BP_ACT_GELU_TANH, x, n, out);
        break;
    case BP_ACT_TANH:
        activate_all(BP_ACT_TANH, x, n, out);
        break;
    default:
        activate_all(BP_ACT_NONE, x, n, out);
    }
}

static void soft_cap(const float *x, float cap, size_t n, float *out)
{
    for (size_t i = 0; i < n; i += 16) {
        size_t left = lanes_left(n, i);
        v_store_n(out + i, v_soft_cap(v_load_n(x + i, left), cap), left);
    }
}

static ALWAYS_INLINE void rotate(v16 *x0, v16 *x1, v16 c, v16 s)
{
    v16 a = *x0, b = *x1;
    *x0 = v_fma(a, c, v_negate(v_mul(b, s)));
    *x1 = v_fma(b, c, v_mul(a, s));
}

static void rotate_one(float *x0, float *x1, float c, float s)
{
    float a = *x0, b = *x1;
    *x0 = fmaf(a, c, -(b * s));
    *x1 = fmaf(b, c, a * s);
}

static void rope_normal(float *x, const float *table, size_t half)
{
    size_t i = 0;
    for (; i + 16 <= half; i += 16) {
        v16 x0, x1, low, high;
        v_deinterleave(v_load(x + 2 * i), v_load(x + 2 * i + 16), &x0, &x1);
        rotate(&x0, &x1, v_load(table + i), v_load(table + half + i));
        v_interleave(x0, x1, &low, &high);
        v_store(x + 2 * i, low);
        v_store(x + 2 * i + 16, high);
    }
    for (; i < half; i++)
        rotate_one(&x[2 * i], &x[2 * i + 1], table[i], table[half + i]);
}

static void rope_neox(float *x, const float *table, size_t half)
{
    for (size_t i = 0; i < half; i += 16) {
        size_t left = lanes_left(half, i);
        v16 x0 = v_load_n(x + i, left), x1 = v_load_n(x + half + i, left);
        rotate(&x0, &x1, v_load_n(table + i, left), v_load_n(table + half + i, left));
        v_store_n(x + i, x0, left);
        v_store_n(x + half + i, x1, left);
    }
}

static void narrow_f16(const float *x, size_t n, void *out)
{
    for (size_t i = 0; i < n; i += 16)
        v_store_f16((uint16_t *)out + i, v_load(x + i));
}

static void narrow_f32(const float *x, size_t n, void *out)
{
    memcpy(out, x, n * sizeof *x);
}

static void narrow_bf16(const float *x, size_t n, void *out)
{
    uint16_t *to = out;
    size_t i = 0;
    for (; i + 16 <= n; i += 16)
        v_store_bf16(to + i, v_load(x + i));
    for (; i < n; i++)
        to[i] = bfloat_from_float(x[i]);
}

#endif
