/* The block formats: what a packed block of quantised weights holds, and how to read it one output at a time.
 *
 * One table for every part that must agree: packing (weights_*.c), the scalar kernels and the vector ones. In a tile, 32
 * elements of 16 outputs are `bits` vectors of 64 bytes, of which an output owns one 32-bit word each; byte b of a word is
 * about element 4t + b of quad t, t < 8:
 *   8 bits      word t is quad t
 *   4, 5, 6     word j < 4: quad j in the low nibbles, quad j + 4 in the high ones
 *     5         word 4: bit 4 of quad t is bit t
 *     6         word 4 + t / 4: bits 4 and 5 of quad t are the two bits from 2 (t % 4)
 *   2, 3        word t / 4: bits 0 and 1 of quad t are the two bits from 2 (t % 4)
 *     3         word 2: bit 2 of quad t is bit t
 * All vectors of the tile are followed by all its scales:
 *   HALF        a block of 32: [16] f16 scales, then [16] f16 minima if there are any
 *   EXPONENT    a block of 32: [16] e8m0 bytes
 *   SUPER       a block of 256: [16] f16 d, then [16] f16 dmin if there are minima; then for each 32 of it two times [16]
 *               bytes: scale and minimum, or of two groups the scale (signed), or both (scale the low nibble, minimum the
 *               high one)
 *
 * An element is its stored bits minus an offset, or what the format's table has for them. What the scales mean in a product
 * is docs/numerics.md. */
#ifndef CPU_KERNELS_BLOCKS_H
#define CPU_KERNELS_BLOCKS_H

#include "half.h"
#include "kernels.h"

enum { SUPER_BLOCK = 256 }; /* elements that share the f16 scale of a SUPER format */

typedef enum block_scales { SCALES_HALF, SCALES_EXPONENT, SCALES_SUPER } block_scales;

typedef struct block_format {
    int bits;            /* of a stored element */
    int offset;          /* stored = element + offset; with a table, table[stored] + offset is what unsigned kernels want */
    const int8_t *table; /* [16], or NULL */
    int group;           /* elements that share a scale: 32 or 16 */
    block_scales scales;
    bool minimum;
} block_format;

static const int8_t table_iq4_nl[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
static const int8_t table_mxfp4[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12}; /* doubled */

/* name, then the fields of block_format. */
#define BLOCK_FORMATS(X)                                                                                                   \
    X(q8_0, 8, 128, NULL, 32, SCALES_HALF, false)                                                                          \
    X(q4_0, 4, 8, NULL, 32, SCALES_HALF, false)                                                                            \
    X(q4_1, 4, 0, NULL, 32, SCALES_HALF, true)                                                                             \
    X(q5_0, 5, 16, NULL, 32, SCALES_HALF, false)                                                                           \
    X(q5_1, 5, 0, NULL, 32, SCALES_HALF, true)                                                                             \
    X(iq4_nl, 4, 128, table_iq4_nl, 32, SCALES_HALF, false)                                                                \
    X(mxfp4, 4, 16, table_mxfp4, 32, SCALES_EXPONENT, false)                                                               \
    X(q4_k, 4, 0, NULL, 32, SCALES_SUPER, true)                                                                            \
    X(q5_k, 5, 0, NULL, 32, SCALES_SUPER, true)                                                                            \
    X(q6_k, 6, 32, NULL, 16, SCALES_SUPER, false)                                                                          \
    X(q3_k, 3, 4, NULL, 16, SCALES_SUPER, false)                                                                           \
    X(q2_k, 2, 0, NULL, 16, SCALES_SUPER, true)

enum {
#define BLOCK_NUMBER(name, ...) BLOCK_##name,
    BLOCK_FORMATS(BLOCK_NUMBER)
#undef BLOCK_NUMBER
};

static const block_format block_formats[] = {
#define BLOCK_ROW(name, ...) {__VA_ARGS__},
    BLOCK_FORMATS(BLOCK_ROW)
#undef BLOCK_ROW
};

#define BLOCK_MATMULS(name, ...) matmul_fn generic_##name, avx2_##name, avx512_##name;
BLOCK_FORMATS(BLOCK_MATMULS)
#undef BLOCK_MATMULS

/* Bytes of the vectors of 32 elements, all 16 outputs. */
static inline size_t block_vector_bytes(const block_format *f)
{
    return (size_t)f->bits * 64;
}

/* The scales of block b of 32 elements of a tile of K elements; of a SUPER format, of the 256 that it is in. */
static inline const uint8_t *block_scales_at(const block_format *f, const uint8_t *tile, size_t k, size_t b)
{
    const uint8_t *scales = tile + k / QUANT_BLOCK * block_vector_bytes(f);
    size_t halves = f->minimum ? 64 : 32;
    switch (f->scales) {
    case SCALES_HALF:
        return scales + b * halves;
    case SCALES_EXPONENT:
        return scales + b * TILE_COLUMNS;
    default:
        return scales + b / 8 * (halves + 8 * 32);
    }
}

/* The two times [16] bytes of block b in its SUPER scales. */
static inline const uint8_t *block_scale_bytes(const block_format *f, const uint8_t *scales, size_t b)
{
    return scales + (f->minimum ? 64 : 32) + b % 8 * 32;
}

/* The four stored elements of quad t, a byte each, of the words that lie `stride` bytes apart from `words`. */
static inline uint32_t block_quad(int bits, const uint8_t *words, size_t stride, unsigned t)
{
    if (bits == 8)
        return load_u32(words + t * stride);
    if (bits < 4) {
        uint32_t quad = load_u32(words + t / 4 * stride) >> 2 * (t % 4) & 0x03030303u;
        return bits == 2 ? quad : quad | (load_u32(words + 2 * stride) >> t & 0x01010101u) << 2;
    }
    uint32_t quad = load_u32(words + t % 4 * stride) >> (t < 4 ? 0 : 4) & 0x0f0f0f0fu;
    if (bits == 5)
        quad |= (load_u32(words + 4 * stride) >> t & 0x01010101u) << 4;
    if (bits == 6)
        quad |= (load_u32(words + (4 + t / 4) * stride) >> 2 * (t % 4) & 0x03030303u) << 4;
    return quad;
}

static inline int block_element(const block_format *f, uint32_t stored)
{
    return f->table ? f->table[stored] : (int)stored - f->offset;
}

/* What one output stores of the scales of 32 elements. */
typedef struct block_scale {
    unsigned d, m;    /* f16 or, as d, e8m0 */
    unsigned byte[2]; /* of a SUPER format */
} block_scale;

static inline block_scale block_scale_of(const block_format *f, const uint8_t *scales, size_t b, size_t column)
{
    if (f->scales == SCALES_EXPONENT)
        return (block_scale){.d = scales[column]};
    block_scale s = {.d = load_u16(scales + column * 2)};
    if (f->minimum)
        s.m = load_u16(scales + 32 + column * 2);
    if (f->scales == SCALES_SUPER) {
        const uint8_t *bytes = block_scale_bytes(f, scales, b) + column;
        s.byte[0] = bytes[0];
        s.byte[1] = bytes[16];
    }
    return s;
}

/* A group's element w is d * w + m, its d and m being exact. */
typedef struct block_group {
    float d, m;
} block_group;

static inline block_group block_group_of(const block_format *f, const block_scale *s, size_t group)
{
    if (f->scales == SCALES_EXPONENT) /* halved: the tables of such formats are doubled */
        return (block_group){math_from_bits(s->d < 2 ? 0x00200000u << s->d : (s->d - 1) << 23), 0.0f};
    float d = half_to_float((uint16_t)s->d), m = f->minimum ? half_to_float((uint16_t)s->m) : 0.0f;
    if (f->scales == SCALES_HALF)
        return (block_group){d, m};
    if (f->group == QUANT_BLOCK)
        return (block_group){d * (float)s->byte[0], -(m * (float)s->byte[1])};
    if (f->minimum)
        return (block_group){d * (float)(s->byte[group] & 15), -(m * (float)(s->byte[group] >> 4))};
    return (block_group){d * (float)(int8_t)s->byte[group], 0.0f};
}

#endif
