/* Matrix products of floating-point weights with AVX2 and FMA: instances of the tiles of vector_float.h and vector_bf16.h. */
#include "simd_avx2.h"

#include "vector_math.h"

#include "vector_matmul.h"

#include "vector_float.h"
#include "vector_pairs.h"

#include "vector_bf16.h"

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

TILE_INSTANCE(bf16, bf16_tile, 1, 1)
TILE_INSTANCE(bf16, bf16_tile, 2, 1)
TILE_INSTANCE(bf16, bf16_tile, 3, 1)
TILE_INSTANCE(bf16, bf16_tile, 4, 1)
TILE_INSTANCE(bf16, bf16_tile, 1, 2)
TILE_INSTANCE(bf16, bf16_tile, 2, 2)
static const uint8_t bf16_widths[4] = {2, 2, 1, 1};
static tile_fn *const bf16_rows[4][2] = {{bf16_1_1, bf16_1_2}, {bf16_2_1, bf16_2_2}, {bf16_3_1, bf16_3_1}, {bf16_4_1, bf16_4_1}};
static const tile_table bf16_table = {4, bf16_widths, bf16_rows};
FLUSHING_ENTRY(bf16, bf16_table)
