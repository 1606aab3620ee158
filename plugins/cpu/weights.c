/* The table of weight types, their packing and unpacking (layouts in kernels/kernels.h) and dequantisation. */
#include "weights.h"

#include "kernels/half.h"

/* 16 rows of 32-bit or 16-bit elements become [k][16]. */
static void pack_32(const uint8_t *source, size_t row_bytes, size_t rows, size_t k, uint8_t *tile)
{
    for (size_t i = 0; i < k; i++) {
        for (size_t r = 0; r < rows; r++)
            memcpy(tile + (i * TILE_COLUMNS + r) * 4, source + r * row_bytes + i * 4, 4);
    }
}

static void pack_16(const uint8_t *source, size_t row_bytes, size_t rows, size_t k, uint8_t *tile)
{
    for (size_t i = 0; i < k; i++) {
        for (size_t r = 0; r < rows; r++)
            memcpy(tile + (i * TILE_COLUMNS + r) * 2, source + r * row_bytes + i * 2, 2);
    }
}

/* Four neighbouring 32-bit words of a row. */
typedef uint32_t words __attribute__((vector_size(16)));

static words load_words(const uint8_t *from, uint32_t flip)
{
    words w;
    memcpy(&w, from, sizeof w);
    return w ^ flip;
}

/* Words [0, 4) of four rows go to four neighbouring columns of four vectors: a transposition in registers. */
static void scatter_words(const uint8_t *from, size_t row_bytes, uint32_t flip, uint8_t *vectors)
{
    words a = load_words(from, flip), b = load_words(from + row_bytes, flip);
    words c = load_words(from + 2 * row_bytes, flip), d = load_words(from + 3 * row_bytes, flip);
    words ab = __builtin_shufflevector(a, b, 0, 4, 1, 5), cd = __builtin_shufflevector(c, d, 0, 4, 1, 5);
    words out[4] = {__builtin_shufflevector(ab, cd, 0, 1, 4, 5), __builtin_shufflevector(ab, cd, 2, 3, 6, 7)};
    ab = __builtin_shufflevector(a, b, 2, 6, 3, 7);
    cd = __builtin_shufflevector(c, d, 2, 6, 3, 7);
    out[2] = __builtin_shufflevector(ab, cd, 0, 1, 4, 5);
    out[3] = __builtin_shufflevector(ab, cd, 2, 3, 6, 7);
    for (size_t j = 0; j < 4; j++)
        memcpy(vectors + j * 64, &out[j], sizeof out[j]);
}

/* The same block of each row: its quad j of bytes, exclusive-or `flip`, goes to the row's column of 64-byte vector j. `quads`
 * is a multiple of 4. */
static void scatter_quads(const uint8_t *bytes, size_t row_bytes, size_t rows, size_t quads, uint32_t flip, uint8_t *vectors)
{
    size_t r = 0;
    for (; r + 4 <= rows; r += 4)
        for (size_t j = 0; j < quads; j += 4)
            scatter_words(bytes + r * row_bytes + j * 4, row_bytes, flip, vectors + j * 64 + r * 4);
    for (; r < rows; r++) {
        for (size_t j = 0; j < quads; j++) {
            uint32_t quad = load_u32(bytes + r * row_bytes + j * 4) ^ flip;
            memcpy(vectors + j * 64 + r * 4, &quad, sizeof quad);
        }
    }
}

static void pack_q8_0(const uint8_t *source, size_t row_bytes, size_t rows, size_t k, uint8_t *tile)
{
    uint8_t *scales = tile + k * TILE_COLUMNS;
    for (size_t b = 0; b < k / QUANT_BLOCK; b++) {
        const uint8_t *block = source + b * 34;
        scatter_quads(block + 2, row_bytes, rows, 8, 0x80808080u, tile + b * 512);
        for (size_t r = 0; r < rows; r++)
            memcpy(scales + b * 32 + r * 2, block + r * row_bytes, 2);
    }
}

static void pack_q4_0(const uint8_t *source, size_t row_bytes, size_t rows, size_t k, uint8_t *tile)
{
    uint8_t *scales = tile + k * TILE_COLUMNS / 2;
    for (size_t b = 0; b < k / QUANT_BLOCK; b++) {
        const uint8_t *block = source + b * 18;
        scatter_quads(block + 2, row_bytes, rows, 4, 0, tile + b * 256);
        for (size_t r = 0; r < rows; r++)
            memcpy(scales + b * 32 + r * 2, block + r * row_bytes, 2);
    }
}

static void pack_q4_1(const uint8_t *source, size_t row_bytes, size_t rows, size_t k, uint8_t *tile)
{
    uint8_t *scales = tile + k * TILE_COLUMNS / 2;
    for (size_t b = 0; b < k / QUANT_BLOCK; b++) {
        const uint8_t *block = source + b * 20;
        scatter_quads(block + 4, row_bytes, rows, 4, 0, tile + b * 256);
        for (size_t r = 0; r < rows; r++) {
            memcpy(scales + b * 64 + r * 2, block + r * row_bytes, 2);
            memcpy(scales + b * 64 + 32 + r * 2, block + r * row_bytes + 2, 2);
        }
    }
}

static void unpack_32(const uint8_t *tile, size_t column, size_t k, uint8_t *row)
{
    for (size_t i = 0; i < k; i++)
        memcpy(row + i * 4, tile + (i * TILE_COLUMNS + column) * 4, 4);
}

static void unpack_16(const uint8_t *tile, size_t column, size_t k, uint8_t *row)
{
    for (size_t i = 0; i < k; i++)
        memcpy(row + i * 2, tile + (i * TILE_COLUMNS + column) * 2, 2);
}

static void gather_quads(const uint8_t *vectors, size_t quads, size_t column, uint32_t flip, uint8_t *bytes)
{
    for (size_t j = 0; j < quads; j++) {
        uint32_t quad = load_u32(vectors + j * 64 + column * 4) ^ flip;
        memcpy(bytes + j * 4, &quad, sizeof quad);
    }
}

static void unpack_q8_0(const uint8_t *tile, size_t column, size_t k, uint8_t *row)
{
    const uint8_t *scales = tile + k * TILE_COLUMNS;
    for (size_t b = 0; b < k / QUANT_BLOCK; b++) {
        memcpy(row + b * 34, scales + b * 32 + column * 2, 2);
        gather_quads(tile + b * 512, 8, column, 0x80808080u, row + b * 34 + 2);
    }
}

static void unpack_q4_0(const uint8_t *tile, size_t column, size_t k, uint8_t *row)
{
    const uint8_t *scales = tile + k * TILE_COLUMNS / 2;
    for (size_t b = 0; b < k / QUANT_BLOCK; b++) {
        memcpy(row + b * 18, scales + b * 32 + column * 2, 2);
        gather_quads(tile + b * 256, 4, column, 0, row + b * 18 + 2);
    }
}

static void unpack_q4_1(const uint8_t *tile, size_t column, size_t k, uint8_t *row)
{
    const uint8_t *scales = tile + k * TILE_COLUMNS / 2;
    for (size_t b = 0; b < k / QUANT_BLOCK; b++) {
        memcpy(row + b * 20, scales + b * 64 + column * 2, 2);
        memcpy(row + b * 20 + 2, scales + b * 64 + 32 + column * 2, 2);
        gather_quads(tile + b * 256, 4, column, 0, row + b * 20 + 4);
    }
}

static void dequantise_f32(const uint8_t *row, size_t k, float *out)
{
    memcpy(out, row, k * sizeof *out);
}

static void dequantise_f16(const uint8_t *row, size_t k, float *out)
{
    for (size_t i = 0; i < k; i++)
        out[i] = half_to_float(load_u16(row + i * 2));
}

static void dequantise_bf16(const uint8_t *row, size_t k, float *out)
{
    for (size_t i = 0; i < k; i++)
        out[i] = bfloat_to_float(load_u16(row + i * 2));
}

static void dequantise_q8_0(const uint8_t *row, size_t k, float *out)
{
    for (size_t b = 0; b < k / QUANT_BLOCK; b++) {
        const uint8_t *block = row + b * 34;
        float d = half_to_float(load_u16(block));
        for (size_t i = 0; i < QUANT_BLOCK; i++)
            out[b * QUANT_BLOCK + i] = d * (float)(int8_t)block[2 + i];
    }
}

static void dequantise_q4_0(const uint8_t *row, size_t k, float *out)
{
    for (size_t b = 0; b < k / QUANT_BLOCK; b++) {
        const uint8_t *block = row + b * 18;
        float d = half_to_float(load_u16(block));
        for (size_t i = 0; i < 16; i++) {
            out[b * QUANT_BLOCK + i] = d * (float)((block[2 + i] & 15) - 8);
            out[b * QUANT_BLOCK + 16 + i] = d * (float)((block[2 + i] >> 4) - 8);
        }
    }
}

static void dequantise_q4_1(const uint8_t *row, size_t k, float *out)
{
    for (size_t b = 0; b < k / QUANT_BLOCK; b++) {
        const uint8_t *block = row + b * 20;
        float d = half_to_float(load_u16(block)), m = half_to_float(load_u16(block + 2));
        for (size_t i = 0; i < 16; i++) {
            out[b * QUANT_BLOCK + i] = d * (float)(block[4 + i] & 15) + m;
            out[b * QUANT_BLOCK + 16 + i] = d * (float)(block[4 + i] >> 4) + m;
        }
    }
}

#if defined(__x86_64__)
#define MATMULS(type)                                                                                                      \
    {                                                                                                                      \
        NULL, generic_##type, avx2_##type, avx512_##type                                                                   \
    }
#else
#define MATMULS(type)                                                                                                      \
    {                                                                                                                      \
        NULL, generic_##type, NULL, NULL                                                                                   \
    }
#endif

static const weight_type types[] = {
    {BP_F32, "F32", 1, 4, false, 64, pack_32, unpack_32, dequantise_f32, MATMULS(f32)},
    {BP_F16, "F16", 1, 2, false, 32, pack_16, unpack_16, dequantise_f16, MATMULS(f16)},
    {BP_BF16, "BF16", 1, 2, false, 32, pack_16, unpack_16, dequantise_bf16, MATMULS(bf16)},
    {BP_Q8_0, "Q8_0", 32, 34, true, 544, pack_q8_0, unpack_q8_0, dequantise_q8_0, MATMULS(q8_0)},
    {BP_Q4_0, "Q4_0", 32, 18, true, 288, pack_q4_0, unpack_q4_0, dequantise_q4_0, MATMULS(q4_0)},
    {BP_Q4_1, "Q4_1", 32, 20, true, 320, pack_q4_1, unpack_q4_1, dequantise_q4_1, MATMULS(q4_1)},
};

const weight_type *weight_type_of(uint32_t dtype)
{
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        if (types[i].dtype == dtype)
            return &types[i];
    }
    return NULL;
}

size_t weight_row_bytes(const weight_type *type, size_t k)
{
    return size_multiply(k / type->block, type->block_bytes);
}

size_t weight_tile_bytes(const weight_type *type, size_t k)
{
    return size_round_up(size_multiply(k / type->block, type->tile_bytes_per_block), 64);
}
