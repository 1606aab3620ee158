/* Matrix products of floating-point weights with AVX2 and FMA: instances of the tile of vector_float.h. */
#include "simd_avx2.h"

#include "vector_math.h"

#include "vector_matmul.h"

#include "vector_float.h"

static const uint8_t float_widths[6] = {4, 2, 2, 1, 1, 1};

#define FLOAT_MATMUL(name, TYPE)                                                                                       \
    static ALWAYS_INLINE void name##_body(const int R, const int C, const tile_args *args) {                           \
        float_tile(TYPE, R, C, args);                                                                                  \
    }                                                                                                                  \
    TILE_INSTANCE(name, name##_body, 1, 1)                                                                             \
    TILE_INSTANCE(name, name##_body, 2, 1)                                                                             \
    TILE_INSTANCE(name, name##_body, 3, 1)                                                                             \
    TILE_INSTANCE(name, name##_body, 4, 1)                                                                             \
    TILE_INSTANCE(name, name##_body, 5, 1)                                                                             \
    TILE_INSTANCE(name, name##_body, 6, 1)                                                                             \
    TILE_INSTANCE(name, name##_body, 1, 4)                                                                             \
    TILE_INSTANCE(name, name##_body, 2, 2)                                                                             \
    TILE_INSTANCE(name, name##_body, 3, 2)                                                                             \
    static tile_fn *const name##_rows[6][2] = {                                                                        \
        {name##_1_1, name##_1_4}, {name##_2_1, name##_2_2}, {name##_3_1, name##_3_2}, {name##_4_1, name##_4_1},        \
        {name##_5_1, name##_5_1}, {name##_6_1, name##_6_1}};                                                           \
    static const tile_table name##_table = {6, float_widths, name##_rows};                                             \
    MATMUL_ENTRY(name, name##_table)

FLOAT_MATMUL(f32, KV_F32)
FLOAT_MATMUL(f16, KV_F16)
FLOAT_MATMUL(bf16, KV_BF16)
