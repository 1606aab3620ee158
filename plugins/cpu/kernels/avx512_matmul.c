/* Matrix products with AVX-512 and VNNI.
 *
 * vpdpbusd multiplies unsigned by signed bytes: weights are stored unsigned and the integer accumulator starts from what the
 * offset adds. A quad of activations is the broadcast operand, so one weight register serves all rows of a tile. */
#include "simd_avx512.h"

#include "vector_math.h"

#include "vector_matmul.h"

static ALWAYS_INLINE __m512i quad(const int8_t *q) { return _mm512_set1_epi32((int32_t)load_u32(q)); }

enum { Q8_0, Q4_0, Q4_1 };

static ALWAYS_INLINE __m512 widen_scales(const uint8_t *at)
{
    return _mm512_cvtph_ps(_mm256_load_si256((const __m256i *)(const void *)at));
}

/* The integer sums of R rows and C tiles over one block. */
static ALWAYS_INLINE void block_sums(const int type, const int R, const int C, const uint8_t *weights, size_t tile_bytes,
                                     const quant_block *x, size_t blocks, __m512i *sum) {
    __m512i low_bits = _mm512_set1_epi8(15);
    UNROLL for (int r = 0; r < R; r++) {
        const quant_block *xr = x + (size_t)r * blocks;
        __m512i start = type == Q8_0 ? _mm512_set1_epi32(xr->minus_128)
                        : type == Q4_0 ? _mm512_set1_epi32(xr->minus_8) : _mm512_setzero_si512();
        UNROLL for (int c = 0; c < C; c++) sum[r * C + c] = start;
    }
    const int vectors = type == Q8_0 ? 8 : 4;
    UNROLL for (int j = 0; j < vectors; j++) {
        UNROLL for (int c = 0; c < C; c++) {
            __m512i w = _mm512_load_si512(weights + (size_t)c * tile_bytes + j * 64);
            if (type == Q8_0) {
                UNROLL for (int r = 0; r < R; r++) {
                    sum[r * C + c] = _mm512_dpbusd_epi32(sum[r * C + c], w, quad(x[(size_t)r * blocks].q + j * 4));
                }
                continue;
            }
            __m512i low = _mm512_and_si512(w, low_bits), high = _mm512_and_si512(_mm512_srli_epi16(w, 4), low_bits);
            UNROLL for (int r = 0; r < R; r++) {
                sum[r * C + c] = _mm512_dpbusd_epi32(sum[r * C + c], low, quad(x[(size_t)r * blocks].q + j * 4));
            }
            UNROLL for (int r = 0; r < R; r++) {
                sum[r * C + c] = _mm512_dpbusd_epi32(sum[r * C + c], high, quad(x[(size_t)r * blocks].q + 16 + j * 4));
            }
        }
    }
}

static ALWAYS_INLINE void quant_tile(const int type, const int R, const int C, const tile_args *args)
{
    const size_t blocks = args->k / QUANT_BLOCK, tile_bytes = args->tile_bytes;
    const size_t block_bytes = type == Q8_0 ? 512 : 256, scale_bytes = type == Q4_1 ? 64 : 32;
    const uint8_t *weights = args->packed, *scales = args->packed + blocks * block_bytes;
    const quant_block *x = args->x->blocks + args->row * blocks;
    __m512 total[12];
    UNROLL for (int i = 0; i < R * C; i++) total[i] = _mm512_setzero_ps();
    for (size_t b = 0; b < blocks; b++, weights += block_bytes, scales += scale_bytes, x++) {
        __m512i sum[12];
        block_sums(type, R, C, weights, tile_bytes, x, blocks, sum);
        UNROLL for (int c = 0; c < C; c++) {
            __m512 d = widen_scales(scales + (size_t)c * tile_bytes);
            __m512 m = type == Q4_1 ? widen_scales(scales + (size_t)c * tile_bytes + 32) : d;
            UNROLL for (int r = 0; r < R; r++) {
                const quant_block *xr = x + (size_t)r * blocks;
                __m512 *t = &total[r * C + c];
                *t = _mm512_fmadd_ps(_mm512_mul_ps(d, _mm512_set1_ps(xr->scale)), _mm512_cvtepi32_ps(sum[r * C + c]), *t);
                if (type == Q4_1) *t = _mm512_fmadd_ps(m, _mm512_set1_ps(xr->scaled_sum), *t);
            }
        }
    }
    UNROLL for (int r = 0; r < R; r++) {
        UNROLL for (int c = 0; c < C; c++) {
            _mm512_storeu_ps(args->out + (size_t)r * args->out_stride + c * TILE_COLUMNS, total[r * C + c]);
        }
    }
}

/* Tiles wide for few rows, so that enough independent chains are in flight. */
static const uint8_t quant_widths[12] = {4, 4, 4, 2, 2, 2, 1, 1, 1, 1, 1, 1};

#define QUANT_WIDE(X) X(1, 4) X(2, 4) X(3, 4) X(4, 2) X(5, 2) X(6, 2)
#define NARROW(X) X(1, 1) X(2, 1) X(3, 1) X(4, 1) X(5, 1) X(6, 1) X(7, 1) X(8, 1) X(9, 1) X(10, 1) X(11, 1) X(12, 1)

#define QUANT_MATMUL(name, TYPE)                                                                                        \
    static ALWAYS_INLINE void name##_body(const int R, const int C, const tile_args *args) {                            \
        quant_tile(TYPE, R, C, args);                                                                                   \
    }                                                                                                                   \
    QUANT_WIDE(name##_INSTANCE)                                                                                         \
    NARROW(name##_INSTANCE)                                                                                             \
    static tile_fn *const name##_rows[12][2] = {                                                                        \
        {name##_1_1, name##_1_4}, {name##_2_1, name##_2_4}, {name##_3_1, name##_3_4}, {name##_4_1, name##_4_2},         \
        {name##_5_1, name##_5_2}, {name##_6_1, name##_6_2}, {name##_7_1, name##_7_1}, {name##_8_1, name##_8_1},         \
        {name##_9_1, name##_9_1}, {name##_10_1, name##_10_1}, {name##_11_1, name##_11_1}, {name##_12_1, name##_12_1}};  \
    static const tile_table name##_table = {12, quant_widths, name##_rows};                                             \
    MATMUL_ENTRY(name, name##_table)

#define q8_0_INSTANCE(R, C) TILE_INSTANCE(q8_0, q8_0_body, R, C)
#define q4_0_INSTANCE(R, C) TILE_INSTANCE(q4_0, q4_0_body, R, C)
#define q4_1_INSTANCE(R, C) TILE_INSTANCE(q4_1, q4_1_body, R, C)
QUANT_MATMUL(q8_0, Q8_0)
QUANT_MATMUL(q4_0, Q4_0)
QUANT_MATMUL(q4_1, Q4_1)
