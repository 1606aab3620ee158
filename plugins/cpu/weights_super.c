/* The types whose blocks are 256 elements with scales of their own for each 16 or 32 (GGUF's K-quants).
 *
 * Their files spread the bits of 32 neighbouring elements over 32 neighbouring bytes; the split turns that into the words of
 * kernels/blocks.h, four elements at a time. */
#include "weights_blocks.h"

/* Puts `bits` bits of the word that the file has at `at` where a quad's bits from `to` are. */
BLOCK_INLINE uint32_t bits_at(const uint8_t *at, size_t shift, uint32_t mask, unsigned to)
{
    return (load_u32(at) >> shift & mask) << to;
}

BLOCK_INLINE void join_bits(uint8_t *at, uint32_t quad, unsigned from, uint32_t mask, size_t shift)
{
    store_u32(at, load_u32(at) | (quad >> from & mask) << shift);
}

enum { ONE = 0x01010101, TWO = 0x03030303, FOUR = 0x0f0f0f0f }; /* bits of each byte of a quad */

/* The words of eight quads: the opposite of block_quad. */
BLOCK_INLINE void quads_to_words(int bits, const uint32_t *quads, uint32_t *words)
{
    for (int j = 0; j < bits; j++)
        words[j] = 0;
    for (unsigned t = 0; t < 8; t++) {
        if (bits >= 4)
            words[t % 4] |= (quads[t] & FOUR) << (t < 4 ? 0 : 4);
        if (bits == 5)
            words[4] |= (quads[t] >> 4 & ONE) << t;
        if (bits == 6)
            words[4 + t / 4] |= (quads[t] >> 4 & TWO) << 2 * (t % 4);
        if (bits < 4)
            words[t / 4] |= (quads[t] & TWO) << 2 * (t % 4);
        if (bits == 3)
            words[2] |= (quads[t] >> 2 & ONE) << t;
    }
}

BLOCK_INLINE uint32_t word_quad(int bits, const uint32_t *words, unsigned t)
{
    return block_quad(bits, (const uint8_t *)words, sizeof *words, t);
}

/* --- Q4_K, Q5_K: d, dmin, 12 bytes of scales and minima, (32 bytes of fifth bits,) 128 bytes of nibbles ---------------- */

/* Six bits each: of the first four parts in bytes 0 to 7, of the others four bits in bytes 8 to 11 and two above the first. */
BLOCK_INLINE void split_six_bits(const uint8_t *block, uint8_t *bytes)
{
    const uint8_t *s = block + 4;
    for (size_t i = 0; i < 4; i++) {
        bytes[2 * i] = s[i] & 63;
        bytes[2 * i + 1] = s[4 + i] & 63;
        bytes[2 * i + 8] = (uint8_t)((s[8 + i] & 15) | s[i] >> 6 << 4);
        bytes[2 * i + 9] = (uint8_t)(s[8 + i] >> 4 | s[4 + i] >> 6 << 4);
    }
}

BLOCK_INLINE void join_six_bits(const uint8_t *bytes, uint8_t *block)
{
    uint8_t *s = block + 4;
    for (size_t i = 0; i < 4; i++) {
        s[i] = (uint8_t)(bytes[2 * i] | bytes[2 * i + 8] >> 4 << 6);
        s[4 + i] = (uint8_t)(bytes[2 * i + 1] | bytes[2 * i + 9] >> 4 << 6);
        s[8 + i] = (uint8_t)((bytes[2 * i + 8] & 15) | bytes[2 * i + 9] << 4);
    }
}

BLOCK_INLINE void split_4_5(int bits, const uint8_t *block, size_t part, uint32_t *words)
{
    const uint8_t *fifth = block + 16, *nibbles = block + (bits == 5 ? 48 : 16) + part / 2 * 32;
    uint32_t quads[8];
    for (size_t t = 0; t < 8; t++) {
        quads[t] = bits_at(nibbles + t * 4, part % 2 * 4, FOUR, 0);
        if (bits == 5)
            quads[t] |= bits_at(fifth + t * 4, part, ONE, 4);
    }
    quads_to_words(bits, quads, words);
}

BLOCK_INLINE void join_4_5(int bits, const uint32_t *words, size_t part, uint8_t *block)
{
    uint8_t *fifth = block + 16, *nibbles = block + (bits == 5 ? 48 : 16) + part / 2 * 32;
    for (unsigned t = 0; t < 8; t++) {
        uint32_t quad = word_quad(bits, words, t);
        join_bits(nibbles + t * 4, quad, 0, FOUR, part % 2 * 4);
        if (bits == 5)
            join_bits(fifth + t * 4, quad, 4, ONE, part);
    }
}

BLOCK_INLINE void split_q4_k(const uint8_t *block, size_t part, uint32_t *words) { split_4_5(4, block, part, words); }
BLOCK_INLINE void join_q4_k(const uint32_t *words, size_t part, uint8_t *block) { join_4_5(4, words, part, block); }
BLOCK_INLINE void split_q5_k(const uint8_t *block, size_t part, uint32_t *words) { split_4_5(5, block, part, words); }
BLOCK_INLINE void join_q5_k(const uint32_t *words, size_t part, uint8_t *block) { join_4_5(5, words, part, block); }

BLOCK_CODEC(q4_k, 144, 0, split_q4_k, join_q4_k, split_six_bits, join_six_bits)
BLOCK_CODEC(q5_k, 176, 0, split_q5_k, join_q5_k, split_six_bits, join_six_bits)

/* --- Q6_K: 128 bytes of nibbles, 64 of two more bits, 16 signed scales, d ---------------------------------------------- */

BLOCK_INLINE void split_q6_k(const uint8_t *block, size_t part, uint32_t *words)
{
    const uint8_t *nibbles = block + part / 4 * 64 + part % 2 * 32, *high = block + 128 + part / 4 * 32;
    uint32_t quads[8];
    for (size_t t = 0; t < 8; t++) {
        quads[t] = bits_at(nibbles + t * 4, part % 4 / 2 * 4, FOUR, 0) | bits_at(high + t * 4, part % 4 * 2, TWO, 4);
    }
    quads_to_words(6, quads, words);
}

BLOCK_INLINE void join_q6_k(const uint32_t *words, size_t part, uint8_t *block)
{
    uint8_t *nibbles = block + part / 4 * 64 + part % 2 * 32, *high = block + 128 + part / 4 * 32;
    for (unsigned t = 0; t < 8; t++) {
        uint32_t quad = word_quad(6, words, t);
        join_bits(nibbles + t * 4, quad, 0, FOUR, part % 4 / 2 * 4);
        join_bits(high + t * 4, quad, 4, TWO, part % 4 * 2);
    }
}

BLOCK_INLINE void split_scales_q6_k(const uint8_t *block, uint8_t *bytes) { memcpy(bytes, block + 192, 16); }
BLOCK_INLINE void join_scales_q6_k(const uint8_t *bytes, uint8_t *block) { memcpy(block + 192, bytes, 16); }

BLOCK_CODEC(q6_k, 210, 208, split_q6_k, join_q6_k, split_scales_q6_k, join_scales_q6_k)

/* --- Q3_K: 32 bytes of third bits, 64 of two bits, 12 of scales, d ----------------------------------------------------- */

BLOCK_INLINE void split_q3_k(const uint8_t *block, size_t part, uint32_t *words)
{
    const uint8_t *third = block, *low = block + 32 + part / 4 * 32;
    uint32_t quads[8];
    for (size_t t = 0; t < 8; t++)
        quads[t] = bits_at(low + t * 4, part % 4 * 2, TWO, 0) | bits_at(third + t * 4, part, ONE, 2);
    quads_to_words(3, quads, words);
}

BLOCK_INLINE void join_q3_k(const uint32_t *words, size_t part, uint8_t *block)
{
    uint8_t *third = block, *low = block + 32 + part / 4 * 32;
    for (unsigned t = 0; t < 8; t++) {
        uint32_t quad = word_quad(3, words, t);
        join_bits(low + t * 4, quad, 0, TWO, part % 4 * 2);
        join_bits(third + t * 4, quad, 2, ONE, part);
    }
}

/* Six bits each, 32 above the scale: four in the nibbles of bytes 0 to 7, two in bytes 8 to 11. */
BLOCK_INLINE void split_scales_q3_k(const uint8_t *block, uint8_t *bytes)
{
    const uint8_t *s = block + 96;
    for (size_t i = 0; i < 16; i++) {
        unsigned low = s[i % 8] >> i / 8 * 4 & 15, high = s[8 + i % 4] >> i / 4 * 2 & 3;
        bytes[i] = (uint8_t)((low | high << 4) - 32);
    }
}

BLOCK_INLINE void join_scales_q3_k(const uint8_t *bytes, uint8_t *block)
{
    uint8_t *s = block + 96;
    for (size_t i = 0; i < 16; i++) {
        unsigned scale = (bytes[i] + 32u) & 63;
        s[i % 8] |= (uint8_t)((scale & 15) << i / 8 * 4);
        s[8 + i % 4] |= (uint8_t)(scale >> 4 << i / 4 * 2);
    }
}

BLOCK_CODEC(q3_k, 110, 108, split_q3_k, join_q3_k, split_scales_q3_k, join_scales_q3_k)

/* --- Q2_K: 16 bytes of scales (low nibble) and minima, 64 of two bits, d, dmin ----------------------------------------- */

BLOCK_INLINE void split_q2_k(const uint8_t *block, size_t part, uint32_t *words)
{
    const uint8_t *low = block + 16 + part / 4 * 32;
    uint32_t quads[8];
    for (size_t t = 0; t < 8; t++)
        quads[t] = bits_at(low + t * 4, part % 4 * 2, TWO, 0);
    quads_to_words(2, quads, words);
}

BLOCK_INLINE void join_q2_k(const uint32_t *words, size_t part, uint8_t *block)
{
    for (unsigned t = 0; t < 8; t++)
        join_bits(block + 16 + part / 4 * 32 + t * 4, word_quad(2, words, t), 0, TWO, part % 4 * 2);
}

BLOCK_INLINE void split_scales_q2_k(const uint8_t *block, uint8_t *bytes) { memcpy(bytes, block, 16); }
BLOCK_INLINE void join_scales_q2_k(const uint8_t *bytes, uint8_t *block) { memcpy(block, bytes, 16); }

BLOCK_CODEC(q2_k, 84, 80, split_q2_k, join_q2_k, split_scales_q2_k, join_scales_q2_k)
