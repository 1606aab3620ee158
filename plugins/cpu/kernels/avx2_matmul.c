/* Matrix products with AVX2 and FMA, over the same packed tiles as the AVX-512 set, half a tile (8 outputs) at a time.
 *
 * vpmaddubsw saturates its 16-bit sums of two products. 4-bit weights stay far below (8 * 2 * 15 * 127 fits 16 bits).
 * 8-bit ones use |w| times x with w's sign: 2 * 128 * 127 fits, and x is never -128, so its negation does not wrap. */
#include "simd_avx2.h"

#include "vector_math.h"

#include "vector_matmul.h"

enum { Q8_0, Q4_0, Q4_1 };

static ALWAYS_INLINE __m256i quad(const int8_t *q) { return _mm256_set1_epi32((int32_t)load_u32(q)); }

static ALWAYS_INLINE __m256 widen_scales(const uint8_t *at)
{
    return _mm256_cvtph_ps(_mm_load_si128((const __m128i *)(const void *)at));
}

static ALWAYS_INLINE __m256i load_bytes(const uint8_t *at) { return _mm256_load_si256((const __m256i *)(const void *)at); }

/* The integer sums of R rows over one block, in 32-bit lanes. */
static ALWAYS_INLINE void block_sums(const int type, const int R, const uint8_t *weights, const quant_block *x, size_t blocks,
                                     __m256i *sum) {
    __m256i low_bits = _mm256_set1_epi8(15), ones = _mm256_set1_epi16(1), flip = _mm256_set1_epi8(INT8_MIN);
    UNROLL for (int r = 0; r < R; r++) sum[r] = _mm256_setzero_si256();
    if (type == Q8_0) {
        UNROLL for (int j = 0; j < 8; j++) {
            __m256i w = _mm256_xor_si256(load_bytes(weights + j * 64), flip), magnitude = _mm256_abs_epi8(w);
            UNROLL for (int r = 0; r < R; r++) {
                __m256i signed_x = _mm256_sign_epi8(quad(x[(size_t)r * blocks].q + j * 4), w);
                sum[r] = _mm256_add_epi32(sum[r], _mm256_madd_epi16(_mm256_maddubs_epi16(magnitude, signed_x), ones));
            }
        }
        return;
    }
    UNROLL for (int j = 0; j < 4; j++) {
        __m256i w = load_bytes(weights + j * 64);
        __m256i low = _mm256_and_si256(w, low_bits), high = _mm256_and_si256(_mm256_srli_epi16(w, 4), low_bits);
        UNROLL for (int r = 0; r < R; r++) {
            const int8_t *q = x[(size_t)r * blocks].q + j * 4;
            sum[r] = _mm256_add_epi16(sum[r], _mm256_maddubs_epi16(low, quad(q)));
            sum[r] = _mm256_add_epi16(sum[r], _mm256_maddubs_epi16(high, quad(q + 16)));
        }
    }
    UNROLL for (int r = 0; r < R; r++) {
        sum[r] = _mm256_madd_epi16(sum[r], ones);
        if (type == Q4_0) sum[r] = _mm256_add_epi32(sum[r], _mm256_set1_epi32(x[(size_t)r * blocks].minus_8));
    }
}

static ALWAYS_INLINE void quant_half(const int type, const int R, const tile_args *args, size_t half)
{
    const size_t blocks = args->k / QUANT_BLOCK;
    const size_t block_bytes = type == Q8_0 ? 512 : 256, scale_bytes = type == Q4_1 ? 64 : 32;
    const uint8_t *weights = args->packed + half * 32, *scales = args->packed + blocks * block_bytes + half * 16;
    const quant_block *x = args->x->blocks + args->row * blocks;
    __m256 total[4];
    UNROLL for (int r = 0; r < R; r++) total[r] = _mm256_setzero_ps();
    for (size_t b = 0; b < blocks; b++, weights += block_bytes, scales += scale_bytes, x++) {
        __m256i sum[4];
        block_sums(type, R, weights, x, blocks, sum);
        __m256 d = widen_scales(scales), m = type == Q4_1 ? widen_scales(scales + 32) : d;
        UNROLL for (int r = 0; r < R; r++) {
            const quant_block *xr = x + (size_t)r * blocks;
            __m256 s = _mm256_mul_ps(d, _mm256_set1_ps(xr->scale));
            total[r] = _mm256_fmadd_ps(s, _mm256_cvtepi32_ps(sum[r]), total[r]);
            if (type == Q4_1) total[r] = _mm256_fmadd_ps(m, _mm256_set1_ps(xr->scaled_sum), total[r]);
        }
    }
    UNROLL for (int r = 0; r < R; r++) _mm256_storeu_ps(args->out + (size_t)r * args->out_stride + half * 8, total[r]);
}

static const uint8_t one_wide[6] = {1, 1, 1, 1, 1, 1};

#define QUANT_MATMUL(name, TYPE)                                                                                       \
    static ALWAYS_INLINE void name##_body(const int R, const int C, const tile_args *args) {                           \
        (void)C;                                                                                                       \
        quant_half(TYPE, R, args, 0);                                                                                  \
        quant_half(TYPE, R, args, 1);                                                                                  \
    }                                                                                                                  \
    TILE_INSTANCE(name, name##_body, 1, 1)                                                                             \
    TILE_INSTANCE(name, name##_body, 2, 1)                                                                             \
    TILE_INSTANCE(name, name##_body, 3, 1)                                                                             \
    TILE_INSTANCE(name, name##_body, 4, 1)                                                                             \
    static tile_fn *const name##_rows[4][2] = {                                                                        \
        {name##_1_1, name##_1_1}, {name##_2_1, name##_2_1}, {name##_3_1, name##_3_1}, {name##_4_1, name##_4_1}};       \
    static const tile_table name##_table = {4, one_wide, name##_rows};                                                 \
    MATMUL_ENTRY(name, name##_table)

QUANT_MATMUL(q8_0, Q8_0)
QUANT_MATMUL(q4_0, Q4_0)
QUANT_MATMUL(q4_1, Q4_1)
