/* What all kernels share: the contract's elementary functions on the device, 16-bit floats, sums over a warp in the
 * contract's order, and putting results where their readers want them.
 *
 * A warp works on 32 neighbouring columns of a row, a lane each, so that a block of quantised activations is a warp's.
 * Functions whose name begins with warp_ are called by all 32 lanes together. */
#ifndef CUDA_DEVICE_H
#define CUDA_DEVICE_H

#include "kernels.h"

#include <language.h>

#define MATH_FN           static __device__ __forceinline__
#define MATH_FMA(a, b, c) fused((a), (b), (c))
#include "cpu/kernels/half.h"
#include "cpu/kernels/math.h"

#define DEVICE   static __device__ __forceinline__
#define ANYWHERE static __host__ __device__ constexpr

/* A block of activations is tried in two steps: its peak is 127 of them, or 126, whose squares are larger by this. */
#define QUANT_COARSER ((127.0f / 126.0f) * (127.0f / 126.0f))

enum { WARP = 32 };
constexpr unsigned ALL = 0xffffffffu;

DEVICE uint32_t smaller(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

/* The sum over lanes l and l ^ COUNT / 2, then l ^ COUNT / 4, … 1: in every lane of each COUNT. */
template <int COUNT> DEVICE float warp_sum(float x)
{
#pragma unroll
    for (int step = COUNT / 2; step > 0; step /= 2)
        x = x + __shfl_xor_sync(ALL, x, step);
    return x;
}

/* Two numbers that go through a sum side by side. */
struct pair {
    float a, b;
};

/* The sums over a half of the warp: lane l and l ^ 8, then 4, 2, 1. */
DEVICE pair half_sums(pair x)
{
#pragma unroll
    for (int step = 8; step > 0; step /= 2) {
        unsigned long long bits, others;
        memcpy(&bits, &x, sizeof bits);
        others = __shfl_xor_sync(ALL, bits, step);
        pair other;
        memcpy(&other, &others, sizeof other);
        x.a = x.a + other.a;
        x.b = x.b + other.b;
    }
    return x;
}

/* A lane's element of a quantised block, and what the block has beside them. */
struct quantised {
    int q;
    quant_scale scale;
};

/* Elements l and l + 16 of a block in steps of peak / `steps`: t, and rounded to whole steps, q. */
struct grid {
    float low_t, high_t, low_q, high_q;
};

DEVICE grid grid_of(float low, float high, float inverse)
{
    grid g = {low * inverse, high * inverse, 0.0f, 0.0f};
    g.low_q = (g.low_t + MATH_ROUND) - MATH_ROUND;
    g.high_q = (g.high_t + MATH_ROUND) - MATH_ROUND;
    return g;
}

/* The contract's first step of a sum over a block, of lane l of 16. */
DEVICE float squared_error(const grid &g)
{
    float low = g.low_t - g.low_q, high = g.high_t - g.high_q;
    return fused(high, high, low * low);
}

/* Lanes l and l + 16 both do what the contract asks of lane l of 16. */
DEVICE quantised warp_quantise(float x, unsigned lane)
{
    quantised out = {0, {0.0f, 0.0f, {0, 0}}};
    uint32_t largest = __reduce_max_sync(ALL, math_bits(x) & 0x7fffffffu);
    float peak = math_from_bits(largest), other = __shfl_xor_sync(ALL, x, 16);
    bool finite = largest < 0x7f800000u;
    if (!finite || !(math_bits(127.0f / peak) < 0x7f800000u)) {
        out.scale.scale = out.scale.scaled_sum = finite ? 0.0f : math_from_bits(0x7fc00000u);
        return out;
    }
    float steps = 127.0f, low = lane < 16 ? x : other, high = lane < 16 ? other : x;
    grid g = grid_of(low, high, 127.0f / peak), coarse = grid_of(low, high, 126.0f / peak);
    pair errors = half_sums(pair{squared_error(g), squared_error(coarse)});
    if (errors.b * QUANT_COARSER < errors.a) {
        steps = 126.0f;
        g = coarse;
    }
    int low_q = static_cast<int>(g.low_q), high_q = static_cast<int>(g.high_q);
    out.q = lane < 16 ? low_q : high_q;
    out.scale.sums[0] = __reduce_add_sync(ALL, lane < 16 ? low_q : 0);
    out.scale.sums[1] = __reduce_add_sync(ALL, lane < 16 ? 0 : high_q);
    pair dots = half_sums(pair{fused(g.high_t, g.high_q, g.low_t * g.low_q), fused(g.high_q, g.high_q, g.low_q * g.low_q)});
    out.scale.scale = dots.a / dots.b * (peak / steps);
    out.scale.scaled_sum = out.scale.scale * static_cast<float>(out.scale.sums[0] + out.scale.sums[1]);
    return out;
}

/* Column `column` of a row is this lane's; the warp's columns begin at a multiple of 32 and may end beyond the row. */
DEVICE void warp_store(const matrix &m, size_t row, uint32_t column, float x, unsigned lane)
{
    if (m.floats && column < m.width)
        m.floats[row * m.stride + column] = x;
    if (m.halves && column < m.width)
        m.halves[row * m.stride + column] = bfloat_from_float(x);
    if (m.halves && column == m.width && m.width % 2 != 0)
        m.halves[row * m.stride + column] = 0;
    if (m.q) {
        quantised block = warp_quantise(x, lane);
        m.q[row * m.width + column] = static_cast<int8_t>(block.q);
        if (lane == 0)
            m.scales[row * (m.width / QUANT_BLOCK) + column / QUANT_BLOCK] = block.scale;
    }
}

DEVICE float activate(uint32_t activation, float x)
{
    switch (activation) {
    case BP_ACT_SILU:
        return math_silu(x);
    case BP_ACT_GELU:
        return math_gelu(x);
    case BP_ACT_GELU_TANH:
        return math_gelu_tanh(x);
    case BP_ACT_TANH:
        return math_tanh(x);
    default:
        return x;
    }
}

#endif
