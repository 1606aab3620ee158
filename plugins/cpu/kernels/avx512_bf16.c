/* Matrix products of BF16 weights with vdpbf16ps, which is two fused multiply-adds a lane where it keeps to docs/numerics.md;
 * bf16.c sees whether it does. It takes denormals as zero whatever the control word says. */
#include "simd_avx512.h"

#include "vector_math.h"

#include "vector_matmul.h"

#include "tiles_avx512.h"

typedef __m512bh pairs;

static ALWAYS_INLINE pairs load_pairs(const uint8_t *at) { return (__m512bh)_mm512_load_si512(at); }
static ALWAYS_INLINE pairs spread_pair(const uint16_t *at) { return (__m512bh)_mm512_set1_epi32((int)load_u32(at)); }
static ALWAYS_INLINE v16 add_pairs(v16 sum, pairs x, pairs w) { return _mm512_dpbf16_ps(sum, w, x); }

#include "vector_bf16.h"

#define bf16_dot_INSTANCE(R, C) TILE_INSTANCE(bf16_dot, bf16_tile, R, C)
FLOAT_TABLE(bf16_dot)
MATMUL_ENTRY(bf16_dot, bf16_dot_table)
