/* Matrix products of floating-point weights with AVX-512: instances of the tile of vector_float.h. */
#include "simd_avx512.h"

#include "vector_math.h"

#include "vector_matmul.h"

#include "vector_float.h"

/* Tiles wide for few rows, so that enough independent chains are in flight. */
static const uint8_t float_widths[12] = {4, 4, 4, 4, 4, 4, 2, 2, 2, 2, 2, 2};

#define FLOAT_WIDE(X) X(1, 4) X(2, 4) X(3, 4) X(4, 4) X(5, 4) X(6, 4) X(7, 2) X(8, 2) X(9, 2) X(10, 2) X(11, 2) X(12, 2)
#define NARROW(X) X(1, 1) X(2, 1) X(3, 1) X(4, 1) X(5, 1) X(6, 1) X(7, 1) X(8, 1) X(9, 1) X(10, 1) X(11, 1) X(12, 1)

#define FLOAT_MATMUL(name, TYPE)                                                                                         \
    static ALWAYS_INLINE void name##_body(const int R, const int C, const tile_args *args) {                             \
        float_tile(TYPE, R, C, args);                                                                                    \
    }                                                                                                                    \
    FLOAT_WIDE(name##_INSTANCE)                                                                                          \
    NARROW(name##_INSTANCE)                                                                                              \
    static tile_fn *const name##_rows[12][2] = {                                                                         \
        {name##_1_1, name##_1_4}, {name##_2_1, name##_2_4}, {name##_3_1, name##_3_4}, {name##_4_1, name##_4_4},          \
        {name##_5_1, name##_5_4}, {name##_6_1, name##_6_4}, {name##_7_1, name##_7_2}, {name##_8_1, name##_8_2},          \
        {name##_9_1, name##_9_2}, {name##_10_1, name##_10_2}, {name##_11_1, name##_11_2}, {name##_12_1, name##_12_2}};   \
    static const tile_table name##_table = {12, float_widths, name##_rows};                                              \
    MATMUL_ENTRY(name, name##_table)

#define f32_INSTANCE(R, C) TILE_INSTANCE(f32, f32_body, R, C)
#define f16_INSTANCE(R, C) TILE_INSTANCE(f16, f16_body, R, C)
#define bf16_INSTANCE(R, C) TILE_INSTANCE(bf16, bf16_body, R, C)
FLOAT_MATMUL(f32, KV_F32)
FLOAT_MATMUL(f16, KV_F16)
FLOAT_MATMUL(bf16, KV_BF16)
