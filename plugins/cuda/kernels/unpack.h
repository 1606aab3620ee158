/* Elements of packed weights, one at a time, of any type: for what reads single rows. */
#ifndef CUDA_UNPACK_H
#define CUDA_UNPACK_H

#include "blocks.h"

/* Words of one output's block where they lie: only those that are asked for are read, and no array of them is kept. */
struct block_words {
    const uint8_t *from;
    int bits;
    uint32_t lane;

    __device__ uint32_t operator[](uint32_t j) const
    {
        return *reinterpret_cast<const uint32_t *>(from + block_word_at(bits, j, lane));
    }
};

/* Element (row, i); `f` is the format of w.dtype. */
DEVICE float packed_element(const packed &w, const block_format &f, uint32_t row, uint32_t i)
{
    const uint8_t *tile = w.data + row / TILE_COLUMNS * w.tile_bytes;
    uint32_t lane = row % TILE_COLUMNS;
    if (f.bits == 0) {
        uint32_t piece = w.dtype == BP_F32 ? 4 : 8;
        uint64_t at = static_cast<uint64_t>(i / piece) * TILE_COLUMNS * piece + lane * piece + i % piece;
        if (w.dtype == BP_F32)
            return reinterpret_cast<const float *>(tile)[at];
        uint16_t half = reinterpret_cast<const uint16_t *>(tile)[at];
        return w.dtype == BP_F16 ? half_to_float(half) : bfloat_to_float(half);
    }
    uint32_t b = i / QUANT_BLOCK, t = i % QUANT_BLOCK / 4;
    const block_words words = {tile + static_cast<uint64_t>(b) * block_word_bytes(f), f.bits, lane};
    uint32_t stored = block_elements(f, block_quad(f.bits, words, t)) >> i % 4 * 8 & 255;
    int element = static_cast<int>(static_cast<int8_t>(stored)) - f.offset;
    block_group g = block_group_of(f, block_scale_of(f, tile, w.k, b, lane), f.group == 16 ? i % QUANT_BLOCK / 16 : 0);
    float x = g.d * static_cast<float>(element);
    return f.minimum ? x + g.m : x;
}

#endif
