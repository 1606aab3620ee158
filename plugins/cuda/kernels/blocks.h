/* The block formats on the device: what a packed block of quantised weights holds, and how a lane reads its own
 * output's.
 *
 * In a tile, 32 elements of 32 outputs are `bits` words an output, as pieces of 4, 2 or 1 words that lie side by side
 * for the 32 lanes: of 8 bits 4 + 4 words, of 6 bits 4 + 2, of 5 bits 4 + 1, of 4 bits 4, of 3 bits 2 + 1, of 2 bits 2.
 * Byte b of a word is about element 4t + b of quad t, t < 8:
 *   8 bits      word t is quad t
 *   4, 5, 6     word j < 4: quad j in the low nibbles, quad j + 4 in the high ones
 *     5         word 4: bit 4 of quad t is bit t
 *     6         word 4 + t / 4: bits 4 and 5 of quad t are the two bits from 2 (t % 4)
 *   2, 3        word t / 4: bits 0 and 1 of quad t are the two bits from 2 (t % 4)
 *     3         word 2: bit 2 of quad t is bit t
 * All words of the tile are followed by all its scales:
 *   HALF        a block of 32: [32] f16 scales, then [32] f16 minima if there are any
 *   EXPONENT    a block of 32: [32] e8m0 bytes
 *   SUPER       a block of 256: [32] f16 d, then [32] f16 dmin if there are minima; then for each 32 of it two times [32]
 *               bytes: scale and minimum, or of two groups the scale (signed), or both (scale the low nibble, minimum the
 *               high one)
 * An element is its stored bits minus an offset, or what the format's table has for them. */
#ifndef CUDA_BLOCKS_H
#define CUDA_BLOCKS_H

#include "device.h"

enum { SUPER_BLOCK = 256, MAX_WORDS = 8 };
enum { SCALES_HALF, SCALES_EXPONENT, SCALES_SUPER };
enum { TABLE_NONE, TABLE_IQ4_NL, TABLE_MXFP4 };

struct block_format {
    int bits, offset, table, group, scales;
    bool minimum;
};

/* type, then the fields of block_format. */
#define BLOCK_FORMATS(X)                                                                                                   \
    X(Q8_0, 8, 0, TABLE_NONE, 32, SCALES_HALF, false)                                                                      \
    X(Q4_0, 4, 8, TABLE_NONE, 32, SCALES_HALF, false)                                                                      \
    X(Q4_1, 4, 0, TABLE_NONE, 32, SCALES_HALF, true)                                                                       \
    X(Q5_0, 5, 16, TABLE_NONE, 32, SCALES_HALF, false)                                                                     \
    X(Q5_1, 5, 0, TABLE_NONE, 32, SCALES_HALF, true)                                                                       \
    X(IQ4_NL, 4, 0, TABLE_IQ4_NL, 32, SCALES_HALF, false)                                                                  \
    X(MXFP4, 4, 0, TABLE_MXFP4, 32, SCALES_EXPONENT, false)                                                                \
    X(Q4_K, 4, 0, TABLE_NONE, 32, SCALES_SUPER, true)                                                                      \
    X(Q5_K, 5, 0, TABLE_NONE, 32, SCALES_SUPER, true)                                                                      \
    X(Q6_K, 6, 32, TABLE_NONE, 16, SCALES_SUPER, false)                                                                    \
    X(Q3_K, 3, 4, TABLE_NONE, 16, SCALES_SUPER, false)                                                                     \
    X(Q2_K, 2, 0, TABLE_NONE, 16, SCALES_SUPER, true)

/* Its bits are 0 for a type that has no blocks. */
ANYWHERE block_format block_format_of(uint32_t dtype)
{
    switch (dtype) {
#define BLOCK_CASE(name, ...)                                                                                              \
    case BP_##name:                                                                                                        \
        return block_format{__VA_ARGS__};
        BLOCK_FORMATS(BLOCK_CASE)
#undef BLOCK_CASE
    default:
        return block_format{0, 0, 0, 0, 0, false};
    }
}

DEVICE_TABLE int8_t block_tables[2][16] = {
    {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113},
    {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12}}; /* the second is doubled */

/* Where word `word` of output `lane` lies in a block's words: the pieces are of 4 words, and the last of what is left. */
DEVICE uint32_t block_word_at(int bits, uint32_t word, uint32_t lane)
{
    uint32_t piece = word / 4 * 4, left = static_cast<uint32_t>(bits) - piece;
    if (left == 3) { /* 3 bits: two words, then one */
        return word < 2 ? lane * 8 + word * 4 : 256 + lane * 4;
    }
    uint32_t words = left < 4 ? left : 4;
    return piece * 128 + lane * words * 4 + (word - piece) * 4;
}

DEVICE uint32_t block_word_bytes(const block_format &f)
{
    return static_cast<uint32_t>(f.bits) * 128;
}

/* Bytes of the scales of one block of 32, or of 256 of a SUPER format. */
DEVICE uint32_t block_scale_stride(const block_format &f)
{
    if (f.scales == SCALES_EXPONENT)
        return TILE_COLUMNS;
    uint32_t halves = f.minimum ? 128 : 64;
    return f.scales == SCALES_HALF ? halves : halves + 8 * 64;
}

/* The scales of block b of a tile of K elements; of a SUPER format, of the 256 that it is in. */
DEVICE uint64_t block_scales_at(const block_format &f, uint32_t k, uint32_t b)
{
    uint64_t words = static_cast<uint64_t>(k / QUANT_BLOCK) * block_word_bytes(f);
    uint32_t number = f.scales == SCALES_SUPER ? b / 8 : b;
    return words + static_cast<uint64_t>(number) * block_scale_stride(f);
}

/* The two times [32] bytes of block b in its SUPER scales. */
DEVICE uint32_t block_bytes_at(const block_format &f, uint32_t b)
{
    return (f.minimum ? 128u : 64u) + b % 8 * 64;
}

/* The four stored elements of quad t, a byte each. `words` may be anything that has an index. */
template <typename Words> DEVICE uint32_t block_quad(int bits, const Words &words, unsigned t)
{
    if (bits == 8)
        return words[t];
    if (bits < 4) {
        uint32_t quad = words[t / 4] >> 2 * (t % 4) & 0x03030303u;
        return bits == 2 ? quad : quad | (words[2] >> t & 0x01010101u) << 2;
    }
    uint32_t quad = words[t % 4] >> (t < 4 ? 0 : 4) & 0x0f0f0f0fu;
    if (bits == 5)
        quad |= (words[4] >> t & 0x01010101u) << 4;
    if (bits == 6)
        quad |= (words[4 + t / 4] >> 2 * (t % 4) & 0x03030303u) << 4;
    return quad;
}

/* The elements of a quad, without the offset. */
DEVICE uint32_t block_elements(const block_format &f, uint32_t quad)
{
    if (f.table == TABLE_NONE)
        return quad;
    const int8_t *table = block_tables[f.table - 1];
    uint32_t out = 0;
#pragma unroll
    for (int i = 0; i < 32; i += 8)
        out |= static_cast<uint32_t>(static_cast<uint8_t>(table[quad >> i & 15])) << i;
    return out;
}

/* What one output stores of the scales of 32 elements. */
struct block_scale {
    uint32_t d, m;    /* f16 or, as d, e8m0 */
    uint32_t byte[2]; /* of a SUPER format */
};

DEVICE block_scale block_scale_of(const block_format &f, const uint8_t *tile, uint32_t k, uint32_t b, uint32_t lane)
{
    block_scale s = {0, 0, {0, 0}};
    const uint8_t *scales = tile + block_scales_at(f, k, b);
    if (f.scales == SCALES_EXPONENT) {
        s.d = scales[lane];
        return s;
    }
    s.d = *reinterpret_cast<const uint16_t *>(scales + lane * 2);
    if (f.minimum)
        s.m = *reinterpret_cast<const uint16_t *>(scales + 64 + lane * 2);
    if (f.scales == SCALES_SUPER) {
        const uint8_t *bytes = scales + block_bytes_at(f, b) + lane;
        s.byte[0] = bytes[0];
        s.byte[1] = bytes[32];
    }
    return s;
}

/* A group's element w is d * w + m, its d and m being exact. */
struct block_group {
    float d, m;
};

DEVICE block_group block_group_of(const block_format &f, const block_scale &s, int group)
{
    if (f.scales == SCALES_EXPONENT) /* halved: the table is doubled */
        return block_group{math_from_bits(s.d < 2 ? 0x00200000u << s.d : (s.d - 1) << 23), 0.0f};
    float d = half_to_float(static_cast<uint16_t>(s.d)), m = f.minimum ? half_to_float(static_cast<uint16_t>(s.m)) : 0.0f;
    if (f.scales == SCALES_HALF)
        return block_group{d, m};
    if (f.group == QUANT_BLOCK)
        return block_group{d * static_cast<float>(s.byte[0]), -(m * static_cast<float>(s.byte[1]))};
    uint32_t byte = group == 0 ? s.byte[0] : s.byte[1]; /* an index that is not a constant would put s into memory */
    if (f.minimum)
        return block_group{d * static_cast<float>(byte & 15), -(m * static_cast<float>(byte >> 4))};
    return block_group{d * static_cast<float>(static_cast<int8_t>(byte)), 0.0f};
}

#endif
