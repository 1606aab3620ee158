/* The types whose blocks are 32 elements, each with one scale. Their files keep nibble i of 32 as kernels/blocks.h does: the
 * low half of byte i, or the high half of byte i - 16. */
#include "weights_blocks.h"

/* --- 8 bits: d, 32 signed bytes --------------------------------------------------------------------------------------- */

BLOCK_INLINE void split_q8_0(const uint8_t *block, size_t part, uint32_t *words)
{
    (void)part;
    for (size_t t = 0; t < 8; t++)
        words[t] = load_u32(block + 2 + t * 4) ^ 0x80808080u;
}

BLOCK_INLINE void join_q8_0(const uint32_t *words, size_t part, uint8_t *block)
{
    (void)part;
    for (size_t t = 0; t < 8; t++)
        store_u32(block + 2 + t * 4, words[t] ^ 0x80808080u);
}

BLOCK_CODEC(q8_0, 34, 0, split_q8_0, join_q8_0, NULL, NULL)

/* --- 4 bits: scales, 16 bytes of nibbles ------------------------------------------------------------------------------ */

#define NIBBLES(name, at)                                                                                                  \
    BLOCK_INLINE void split_##name(const uint8_t *block, size_t part, uint32_t *words)                                     \
    {                                                                                                                      \
        (void)part;                                                                                                        \
        memcpy(words, block + (at), 16);                                                                                   \
    }                                                                                                                      \
    BLOCK_INLINE void join_##name(const uint32_t *words, size_t part, uint8_t *block)                                      \
    {                                                                                                                      \
        (void)part;                                                                                                        \
        memcpy(block + (at), words, 16);                                                                                   \
    }                                                                                                                      \
    BLOCK_CODEC(name, (at) + 16, 0, split_##name, join_##name, NULL, NULL)

NIBBLES(q4_0, 2)
NIBBLES(q4_1, 4)
NIBBLES(iq4_nl, 2)
NIBBLES(mxfp4, 1)

/* --- 5 bits: scales, 32 fifth bits (bit i is element i's), 16 bytes of nibbles ---------------------------------------- */

/* Bit 4t + b to bit t of byte b, and back: a product spreads four bits over four bytes, another gathers them. */
BLOCK_INLINE uint32_t bits_to_word(uint32_t bits)
{
    uint32_t word = 0;
    for (unsigned t = 0; t < 8; t++)
        word |= ((bits >> 4 * t & 15) * 0x00204081u & 0x01010101u) << t;
    return word;
}

BLOCK_INLINE uint32_t bits_of_word(uint32_t word)
{
    uint32_t bits = 0;
    for (unsigned t = 0; t < 8; t++)
        bits |= ((word >> t & 0x01010101u) * 0x01020408u >> 24 & 15) << 4 * t;
    return bits;
}

#define FIVE_BITS(name, at)                                                                                                \
    BLOCK_INLINE void split_##name(const uint8_t *block, size_t part, uint32_t *words)                                     \
    {                                                                                                                      \
        (void)part;                                                                                                        \
        memcpy(words, block + (at) + 4, 16);                                                                               \
        words[4] = bits_to_word(load_u32(block + (at)));                                                                   \
    }                                                                                                                      \
    BLOCK_INLINE void join_##name(const uint32_t *words, size_t part, uint8_t *block)                                      \
    {                                                                                                                      \
        (void)part;                                                                                                        \
        memcpy(block + (at) + 4, words, 16);                                                                               \
        store_u32(block + (at), bits_of_word(words[4]));                                                                   \
    }                                                                                                                      \
    BLOCK_CODEC(name, (at) + 20, 0, split_##name, join_##name, NULL, NULL)

FIVE_BITS(q5_0, 2)
FIVE_BITS(q5_1, 4)
