/* The table of weight types; packing (layouts in kernels/kernels.h) and dequantisation of the floating-point ones. */
#include "weights.h"

#include "weights_blocks.h"

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

/* 16 rows of 16-bit elements become [k/2][16][2]. */
static void pack_pairs(const uint8_t *source, size_t row_bytes, size_t rows, size_t k, uint8_t *tile)
{
    for (size_t i = 0; i < k / 2; i++) {
        for (size_t r = 0; r < rows; r++)
            memcpy(tile + (i * TILE_COLUMNS + r) * 4, source + r * row_bytes + i * 4, 4);
    }
    for (size_t r = 0; k % 2 != 0 && r < rows; r++)
        memcpy(tile + (k / 2 * TILE_COLUMNS + r) * 4, source + r * row_bytes + (k - 1) * 2, 2);
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

static void unpack_pairs(const uint8_t *tile, size_t column, size_t k, uint8_t *row)
{
    for (size_t i = 0; i < k; i++)
        memcpy(row + i * 2, tile + (i / 2 * TILE_COLUMNS + column) * 4 + i % 2 * 2, 2);
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

#define BLOCKS(name, type, elements, bytes, tile_bytes)                                                                    \
    {                                                                                                                      \
        BP_##name, #name, elements, bytes, true, tile_bytes, pack_##type, unpack_##type, dequantise_##type, MATMULS(type)  \
    }

static const weight_type types[] = {
    {BP_F32, "F32", 1, 4, false, 64, pack_32, unpack_32, dequantise_f32, MATMULS(f32)},
    {BP_F16, "F16", 1, 2, false, 32, pack_16, unpack_16, dequantise_f16, MATMULS(f16)},
    {BP_BF16, "BF16", 1, 2, false, 32, pack_pairs, unpack_pairs, dequantise_bf16, MATMULS(bf16)},
    BLOCKS(Q8_0, q8_0, 32, 34, 544),
    BLOCKS(Q4_0, q4_0, 32, 18, 288),
    BLOCKS(Q4_1, q4_1, 32, 20, 320),
    BLOCKS(Q5_0, q5_0, 32, 22, 352),
    BLOCKS(Q5_1, q5_1, 32, 24, 384),
    BLOCKS(IQ4_NL, iq4_nl, 32, 18, 288),
    BLOCKS(MXFP4, mxfp4, 32, 17, 272),
    BLOCKS(Q4_K, q4_k, 256, 144, 2368),
    BLOCKS(Q5_K, q5_k, 256, 176, 2880),
    BLOCKS(Q6_K, q6_k, 256, 210, 3360),
    BLOCKS(Q3_K, q3_k, 256, 110, 1824),
    BLOCKS(Q2_K, q2_k, 256, 84, 1344),
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
