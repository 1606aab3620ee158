/* Where a position's keys and values are in a cache, and how an element is read. */
#ifndef CUDA_CACHE_H
#define CUDA_CACHE_H

#include "device.h"

DEVICE uint8_t *cache_page(const cache_place &c, int32_t page, uint32_t head, bool values)
{
    return c.data + static_cast<uint64_t>(page) * c.page_bytes + (head + (values ? c.kv_heads : 0)) * c.head_bytes;
}

DEVICE int32_t page_of(const cache_place &c, uint32_t seq, uint32_t position)
{
    return c.pages[static_cast<uint64_t>(seq) * c.page_stride + position / c.page_tokens];
}

/* Elements of 16 bytes. */
DEVICE uint32_t cache_piece(uint32_t dtype)
{
    return dtype == BP_KV_F32 ? 4 : dtype == BP_KV_Q8_0 ? 16 : 8;
}

/* The place of element d of a slot's key among a head's elements. */
DEVICE uint32_t key_at(const cache_place &c, uint32_t slot, uint32_t d)
{
    uint32_t piece = cache_piece(c.dtype);
    return ((slot / 16 * (c.head_dim / piece) + d / piece) * 16 + slot % 16) * piece + d % piece;
}

DEVICE uint32_t value_at(const cache_place &c, uint32_t slot, uint32_t d)
{
    return slot * c.head_dim + d;
}

/* The scale of a block of 32 elements of a slot, in a cache of Q8_0. */
DEVICE uint16_t *cache_scale(const cache_place &c, uint8_t *head, uint32_t slot, uint32_t block)
{
    return reinterpret_cast<uint16_t *>(head + c.page_tokens * c.head_dim) + block * c.page_tokens + slot;
}

/* Element `at` of a head in F16, F32 or BF16. */
DEVICE float cache_float(uint32_t dtype, const uint8_t *head, uint32_t at)
{
    if (dtype == BP_KV_F32)
        return reinterpret_cast<const float *>(head)[at];
    uint16_t half = reinterpret_cast<const uint16_t *>(head)[at];
    return dtype == BP_KV_F16 ? half_to_float(half) : bfloat_to_float(half);
}

/* Stores element d of a slot; a warp's 32 neighbouring elements together, of which those from head_dim on do not exist. */
DEVICE void warp_append(const cache_place &c, uint8_t *head, uint32_t slot, uint32_t d, bool value, float x, unsigned lane)
{
    uint32_t at = value ? value_at(c, slot, d) : key_at(c, slot, d);
    if (c.dtype == BP_KV_Q8_0) {
        quantised block = warp_quantise(x, lane);
        reinterpret_cast<int8_t *>(head)[at] = static_cast<int8_t>(block.q);
        if (lane == 0)
            *cache_scale(c, head, slot, d / QUANT_BLOCK) = half_from_float(block.scale.scale);
        return;
    }
    if (d >= c.head_dim)
        return;
    if (c.dtype == BP_KV_F32)
        reinterpret_cast<float *>(head)[at] = x;
    else
        reinterpret_cast<uint16_t *>(head)[at] = c.dtype == BP_KV_F16 ? half_from_float(x) : bfloat_from_float(x);
}

#endif
