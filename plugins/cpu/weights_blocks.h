/* Packing, unpacking and dequantisation of the block types, once for all of them.
 *
 * A type brings a codec: how 32 elements of a file's block become the packed words of kernels/blocks.h and come back, and the
 * same of a super-block's scale bytes. Everything here is inlined into one instance a type (BLOCK_CODEC), so that a codec's
 * fields are constants there. */
#ifndef CPU_WEIGHTS_BLOCKS_H
#define CPU_WEIGHTS_BLOCKS_H

#include "kernels/blocks.h"
#include "weights.h"

enum { MAX_WORDS = 8, MAX_PARTS = SUPER_BLOCK / QUANT_BLOCK };

typedef struct block_codec {
    size_t bytes;   /* of a file's block */
    size_t half_at; /* where its d lies; m, if there is one, is next to it */
    /* words[bits] = elements [32 * part, 32 * part + 32) of a file's block. */
    void (*split)(const uint8_t *block, size_t part, uint32_t *words);
    /* The opposite, into a block that is zero where nothing was joined yet. */
    void (*join)(const uint32_t *words, size_t part, uint8_t *block);
    /* Of a super-block: the two bytes of each part, and back. */
    void (*split_scales)(const uint8_t *block, uint8_t *bytes);
    void (*join_scales)(const uint8_t *bytes, uint8_t *block);
} block_codec;

#define BLOCK_FUNCTIONS(name, ...)                                                                                         \
    void pack_##name(const uint8_t *source, size_t row_bytes, size_t rows, size_t k, uint8_t *tile);                       \
    void unpack_##name(const uint8_t *tile, size_t column, size_t k, uint8_t *row);                                        \
    void dequantise_##name(const uint8_t *row, size_t k, float *out);
BLOCK_FORMATS(BLOCK_FUNCTIONS)
#undef BLOCK_FUNCTIONS

#define BLOCK_INLINE static inline __attribute__((always_inline))

BLOCK_INLINE void store_u32(uint8_t *at, uint32_t value)
{
    memcpy(at, &value, sizeof value);
}

BLOCK_INLINE size_t parts_of(const block_format *f)
{
    return f->scales == SCALES_SUPER ? MAX_PARTS : 1;
}

/* Four neighbouring words of a row. */
typedef uint32_t words4 __attribute__((vector_size(16)));

/* Words [j, j + count) of four rows go to four neighbouring columns of as many vectors: a transposition in registers. */
BLOCK_INLINE void scatter_words(uint32_t (*rows)[MAX_WORDS], size_t j, size_t count, uint8_t *vectors)
{
    words4 a, b, c, d;
    memcpy(&a, rows[0] + j, sizeof a);
    memcpy(&b, rows[1] + j, sizeof b);
    memcpy(&c, rows[2] + j, sizeof c);
    memcpy(&d, rows[3] + j, sizeof d);
    words4 ab = __builtin_shufflevector(a, b, 0, 4, 1, 5), cd = __builtin_shufflevector(c, d, 0, 4, 1, 5);
    words4 out[4] = {__builtin_shufflevector(ab, cd, 0, 1, 4, 5), __builtin_shufflevector(ab, cd, 2, 3, 6, 7)};
    ab = __builtin_shufflevector(a, b, 2, 6, 3, 7);
    cd = __builtin_shufflevector(c, d, 2, 6, 3, 7);
    out[2] = __builtin_shufflevector(ab, cd, 0, 1, 4, 5);
    out[3] = __builtin_shufflevector(ab, cd, 2, 3, 6, 7);
    for (size_t i = 0; i < count; i++)
        memcpy(vectors + (j + i) * 64, &out[i], sizeof out[i]);
}

BLOCK_INLINE void pack_halves(const block_format *f, const uint8_t *half, size_t column, uint8_t *scales)
{
    if (f->scales == SCALES_EXPONENT) {
        scales[column] = half[0];
        return;
    }
    memcpy(scales + column * 2, half, 2);
    if (f->minimum)
        memcpy(scales + 32 + column * 2, half + 2, 2);
}

BLOCK_INLINE void pack_blocks(const block_format *f, const block_codec *codec, const uint8_t *source, size_t row_bytes,
                              size_t rows, size_t k, uint8_t *tile)
{
    const size_t parts = parts_of(f), bits = (size_t)f->bits;
    uint32_t words[TILE_COLUMNS][MAX_WORDS] = {{0}};
    for (size_t b = 0; b < k / QUANT_BLOCK; b += parts, source += codec->bytes) {
        for (size_t part = 0; part < parts; part++) {
            uint8_t *vectors = tile + (b + part) * block_vector_bytes(f);
            for (size_t r = 0; r < rows; r++)
                codec->split(source + r * row_bytes, part, words[r]);
            for (size_t r = 0; r < TILE_COLUMNS; r += 4) {
                for (size_t j = 0; j < bits; j += 4)
                    scatter_words(words + r, j, bits - j < 4 ? bits - j : 4, vectors + r * 4);
            }
        }
        uint8_t *scales = tile + (block_scales_at(f, tile, k, b) - tile);
        for (size_t r = 0; r < rows; r++) {
            const uint8_t *block = source + r * row_bytes;
            uint8_t bytes[2 * MAX_PARTS];
            pack_halves(f, block + codec->half_at, r, scales);
            if (f->scales != SCALES_SUPER)
                continue;
            codec->split_scales(block, bytes);
            uint8_t *to = scales + (block_scale_bytes(f, scales, 0) - scales) + r;
            for (size_t i = 0; i < sizeof bytes; i++)
                to[i * 16] = bytes[i];
        }
    }
}

BLOCK_INLINE void unpack_blocks(const block_format *f, const block_codec *codec, const uint8_t *tile, size_t column, size_t k,
                                uint8_t *row)
{
    const size_t parts = parts_of(f), bits = (size_t)f->bits;
    for (size_t b = 0; b < k / QUANT_BLOCK; b += parts, row += codec->bytes) {
        memset(row, 0, codec->bytes);
        const uint8_t *scales = block_scales_at(f, tile, k, b);
        uint8_t bytes[2 * MAX_PARTS] = {0};
        for (size_t part = 0; part < parts; part++) {
            uint32_t words[MAX_WORDS];
            const uint8_t *vectors = tile + (b + part) * block_vector_bytes(f) + column * 4;
            for (size_t j = 0; j < bits; j++)
                words[j] = load_u32(vectors + j * 64);
            codec->join(words, part, row);
            block_scale s = block_scale_of(f, scales, part, column);
            bytes[2 * part] = (uint8_t)s.byte[0];
            bytes[2 * part + 1] = (uint8_t)s.byte[1];
        }
        if (f->scales == SCALES_EXPONENT) {
            row[codec->half_at] = scales[column];
            continue;
        }
        memcpy(row + codec->half_at, scales + column * 2, 2);
        if (f->minimum)
            memcpy(row + codec->half_at + 2, scales + 32 + column * 2, 2);
        if (f->scales == SCALES_SUPER)
            codec->join_scales(bytes, row);
    }
}

BLOCK_INLINE void dequantise_blocks(const block_format *f, const block_codec *codec, const uint8_t *row, size_t k, float *out)
{
    const size_t parts = parts_of(f), group = (size_t)f->group;
    for (size_t b = 0; b < k / QUANT_BLOCK; b += parts, row += codec->bytes) {
        uint8_t bytes[2 * MAX_PARTS] = {0};
        const uint8_t *half = row + codec->half_at;
        block_scale s = {.d = f->scales == SCALES_EXPONENT ? half[0] : load_u16(half), .m = f->minimum ? load_u16(half + 2) : 0};
        if (f->scales == SCALES_SUPER)
            codec->split_scales(row, bytes);
        for (size_t part = 0; part < parts; part++, out += QUANT_BLOCK) {
            uint32_t words[MAX_WORDS];
            codec->split(row, part, words);
            s.byte[0] = bytes[2 * part];
            s.byte[1] = bytes[2 * part + 1];
            for (size_t i = 0; i < QUANT_BLOCK; i++) {
                block_group g = block_group_of(f, &s, i / group);
                uint32_t quad = block_quad(f->bits, (const uint8_t *)words, sizeof *words, (unsigned)i / 4);
                out[i] = g.d * (float)block_element(f, quad >> i % 4 * 8 & 255);
                if (f->minimum)
                    out[i] = out[i] + g.m;
            }
        }
    }
}

/* The three functions of a type. */
#define BLOCK_CODEC(name, ...)                                                                                             \
    static const block_codec codec_##name = {__VA_ARGS__};                                                                 \
    void pack_##name(const uint8_t *source, size_t row_bytes, size_t rows, size_t k, uint8_t *tile)                        \
    {                                                                                                                      \
        pack_blocks(&block_formats[BLOCK_##name], &codec_##name, source, row_bytes, rows, k, tile);                        \
    }                                                                                                                      \
    void unpack_##name(const uint8_t *tile, size_t column, size_t k, uint8_t *row)                                         \
    {                                                                                                                      \
        unpack_blocks(&block_formats[BLOCK_##name], &codec_##name, tile, column, k, row);                                  \
    }                                                                                                                      \
    void dequantise_##name(const uint8_t *row, size_t k, float *out)                                                       \
    {                                                                                                                      \
        dequantise_blocks(&block_formats[BLOCK_##name], &codec_##name, row, k, out);                                       \
    }

#endif
