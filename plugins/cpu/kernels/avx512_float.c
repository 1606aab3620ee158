/* Matrix products of floating-point weights with AVX-512: instances of the tiles of vector_float.h and vector_bf16.h. BF16 has a
 * faster form in avx512_bf16.c, for processors that have the instruction. */
#include "simd_avx512.h"

#include "vector_math.h"

#include "vector_matmul.h"

#include "vector_float.h"
#include "vector_pairs.h"

#include "tiles_avx512.h"
#include "vector_bf16.h"

#define FLOAT_BODY(name, TYPE)                                                                                           \
    static ALWAYS_INLINE void name##_body(const int R, const int C, const tile_args *args) {                             \
        float_tile(TYPE, R, C, args);                                                                                    \
    }
FLOAT_BODY(f32, KV_F32)
FLOAT_BODY(f16, KV_F16)

#define f32_INSTANCE(R, C) TILE_INSTANCE(f32, f32_body, R, C)
#define f16_INSTANCE(R, C) TILE_INSTANCE(f16, f16_body, R, C)
#define bf16_INSTANCE(R, C) TILE_INSTANCE(bf16, bf16_tile, R, C)
FLOAT_TABLE(f32)
FLOAT_TABLE(f16)
FLOAT_TABLE(bf16)
MATMUL_ENTRY(f32, f32_table)
MATMUL_ENTRY(f16, f16_table)

FLUSHING_ENTRY(bf16, bf16_table)
