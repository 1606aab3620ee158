/* Matrix products of block weights with AVX-512 and VNNI: one tile for all formats of blocks.h.
 *
 * vpdpbusd multiplies unsigned by signed bytes: weights are decoded to unsigned bytes and the integer sum starts from what
 * their offset adds. A quad of activations is the broadcast operand, so that a decoded vector serves all rows of a tile. */
#include "simd_avx512.h"

#include "blocks.h"
#include "vector_math.h"

#include "vector_matmul.h"

enum { MAX_TILE = 12 }; /* sums of a tile: two registers each */

/* Bits of each byte move left, or right where `left` is negative; what crosses into a neighbour is masked by the caller. */
static ALWAYS_INLINE __m512i shift_bits(__m512i v, const int left)
{
    return left > 0 ? _mm512_slli_epi32(v, (unsigned)left) : left < 0 ? _mm512_srli_epi32(v, (unsigned)-left) : v;
}

static ALWAYS_INLINE __m512i masked(__m512i v, const int mask) { return _mm512_and_si512(v, _mm512_set1_epi8((char)mask)); }

/* (a & mask) | b */
static ALWAYS_INLINE __m512i masked_or(__m512i a, const int mask, __m512i b)
{
    return _mm512_ternarylogic_epi32(a, _mm512_set1_epi8((char)mask), b, 0xea);
}

/* Quad t of 16 outputs as unsigned bytes: stored elements, of Q3_K times 8. */
static ALWAYS_INLINE __m512i decode(const block_format *f, const uint8_t *vectors, const int t, __m512i table)
{
    if (f->bits == 8) return _mm512_load_si512(vectors + t * 64);
    if (f->bits < 4) {
        __m512i low = _mm512_load_si512(vectors + t / 4 * 64);
        if (f->bits == 2) return masked(shift_bits(low, -2 * (t % 4)), 3);
        __m512i third = masked(shift_bits(_mm512_load_si512(vectors + 128), 5 - t), 0x20);
        return masked_or(shift_bits(low, 3 - 2 * (t % 4)), 0x18, third);
    }
    __m512i nibbles = shift_bits(_mm512_load_si512(vectors + t % 4 * 64), t < 4 ? 0 : -4);
    if (f->bits == 5) {
        return masked_or(nibbles, 15, masked(shift_bits(_mm512_load_si512(vectors + 256), 4 - t), 0x10));
    }
    if (f->bits == 6) {
        __m512i high = shift_bits(_mm512_load_si512(vectors + 256 + t / 4 * 64), 4 - 2 * (t % 4));
        return masked_or(nibbles, 15, masked(high, 0x30));
    }
    nibbles = masked(nibbles, 15);
    return f->table ? _mm512_shuffle_epi8(table, nibbles) : nibbles;
}

static ALWAYS_INLINE __m512i decoding_table(const block_format *f)
{
    if (!f->table) return _mm512_setzero_si512();
    __m512i table = _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)(const void *)f->table));
    return _mm512_add_epi8(table, _mm512_set1_epi8((char)f->offset));
}

/* What the offset adds to a group's sum. */
static ALWAYS_INLINE __m512i start_of(const block_format *f, const quant_block *x, const int group)
{
    switch (f->offset) {
    case 0: return _mm512_setzero_si512();
    case 8: return _mm512_set1_epi32(x->minus_8);
    case 16: return _mm512_set1_epi32(x->minus_16);
    case 128: return _mm512_set1_epi32(x->minus_128);
    default: return _mm512_set1_epi32(x->minus_32[group]); /* of Q3_K 4, times 8 */
    }
}

static ALWAYS_INLINE __m512 widen_halves(const uint8_t *at)
{
    return _mm512_cvtph_ps(_mm256_load_si256((const __m256i *)(const void *)at));
}

static ALWAYS_INLINE __m512i widen_bytes(const uint8_t *at)
{
    return _mm512_cvtepu8_epi32(_mm_load_si128((const __m128i *)(const void *)at));
}

static ALWAYS_INLINE __m512 widen_exponents(const uint8_t *at)
{
    __m512i e = widen_bytes(at), least = _mm512_set1_epi32(0x00200000);
    __mmask16 denormal = _mm512_cmplt_epi32_mask(e, _mm512_set1_epi32(2));
    __m512i bits = _mm512_slli_epi32(_mm512_sub_epi32(e, _mm512_set1_epi32(1)), 23);
    return _mm512_castsi512_ps(_mm512_mask_sllv_epi32(bits, denormal, least, e));
}

/* The scales and minima of a group. */
static ALWAYS_INLINE void scales_of(const block_format *f, const uint8_t *scales, size_t b, const int group, __m512 *d,
                                    __m512 *m) {
    *d = f->scales == SCALES_EXPONENT ? widen_exponents(scales) : widen_halves(scales);
    *m = f->minimum ? widen_halves(scales + 32) : _mm512_setzero_ps();
    if (f->scales != SCALES_SUPER) return;
    const uint8_t *bytes = block_scale_bytes(f, scales, b) + group * 16;
    __m512i scale = widen_bytes(bytes), minimum = _mm512_setzero_si512();
    if (f->minimum && f->group == 16) {
        minimum = _mm512_srli_epi32(scale, 4);
        scale = _mm512_and_si512(scale, _mm512_set1_epi32(15));
    } else if (f->minimum) {
        minimum = widen_bytes(bytes + 16);
    } else {
        scale = _mm512_cvtepi8_epi32(_mm_load_si128((const __m128i *)(const void *)bytes));
    }
    *d = _mm512_mul_ps(*d, _mm512_cvtepi32_ps(scale));
    *m = _mm512_xor_ps(_mm512_mul_ps(*m, _mm512_cvtepi32_ps(minimum)), _mm512_set1_ps(-0.0f));
}

static ALWAYS_INLINE __m512 scaled_sum_of(const block_format *f, const quant_block *x, const int group)
{
    if (f->group == QUANT_BLOCK) return _mm512_set1_ps(x->scaled_sum);
    return _mm512_set1_ps(x->scale * (float)-(x->minus_32[group] / 32));
}

/* One group of R rows and C tiles: the integer sums, then what they add to the totals. */
static ALWAYS_INLINE void add_group(const block_format *f, const int R, const int C, const uint8_t *vectors,
                                    const uint8_t *scales, size_t tile_bytes, size_t b, const int group, const quant_block *x,
                                    size_t blocks, __m512i table, __m512 *total) {
    __m512i sum[MAX_TILE];
    UNROLL for (int r = 0; r < R; r++) {
        UNROLL for (int c = 0; c < C; c++) sum[r * C + c] = start_of(f, x + (size_t)r * blocks, group);
    }
    const int quads = f->group / 4;
    UNROLL for (int i = 0; i < quads; i++) {
        const int t = quads == 4 ? group * 4 + i : i / 2 + i % 2 * 4; /* both quads of a vector of nibbles in a row */
        UNROLL for (int c = 0; c < C; c++) {
            __m512i w = decode(f, vectors + (size_t)c * tile_bytes, t, table);
            UNROLL for (int r = 0; r < R; r++) {
                __m512i q = _mm512_set1_epi32((int32_t)load_u32(x[(size_t)r * blocks].q + t * 4));
                sum[r * C + c] = _mm512_dpbusd_epi32(sum[r * C + c], w, q);
            }
        }
    }
    UNROLL for (int c = 0; c < C; c++) {
        __m512 d, m;
        scales_of(f, scales + (size_t)c * tile_bytes, b, group, &d, &m);
        UNROLL for (int r = 0; r < R; r++) {
            const quant_block *xr = x + (size_t)r * blocks;
            __m512i s = f->bits == 3 ? _mm512_srai_epi32(sum[r * C + c], 3) : sum[r * C + c];
            __m512 *t = &total[r * C + c];
            *t = _mm512_fmadd_ps(_mm512_mul_ps(d, _mm512_set1_ps(xr->scale)), _mm512_cvtepi32_ps(s), *t);
            if (f->minimum) *t = _mm512_fmadd_ps(m, scaled_sum_of(f, xr, group), *t);
        }
    }
}

/* The same block of the tiles that come next. Without this the products of few rows wait for memory and then multiply, one
 * after the other: a tile is too short for the processor to foresee the next. */
static ALWAYS_INLINE void prefetch_next(const block_format *f, const int C, const uint8_t *vectors, const uint8_t *scales,
                                        size_t tile_bytes) {
    UNROLL for (int c = 0; c < C; c++) {
        const size_t next = (size_t)(C + c) * tile_bytes;
        UNROLL for (int i = 0; i < f->bits; i++) _mm_prefetch((const char *)vectors + next + i * 64, _MM_HINT_T1);
        _mm_prefetch((const char *)scales + next, _MM_HINT_T1);
    }
}

static ALWAYS_INLINE void block_tile(const block_format *f, const int R, const int C, const tile_args *args)
{
    const size_t blocks = args->k / QUANT_BLOCK;
    const uint8_t *vectors = args->packed;
    const quant_block *x = args->x->blocks + args->row * blocks;
    const __m512i table = decoding_table(f);
    __m512 total[MAX_TILE];
    UNROLL for (int i = 0; i < R * C; i++) total[i] = _mm512_setzero_ps();
    for (size_t b = 0; b < blocks; b++, vectors += block_vector_bytes(f), x++) {
        const uint8_t *scales = block_scales_at(f, args->packed, args->k, b);
        prefetch_next(f, C, vectors, f->scales == SCALES_SUPER ? block_scale_bytes(f, scales, b) : scales, args->tile_bytes);
        UNROLL for (int group = 0; group < QUANT_BLOCK / f->group; group++) {
            add_group(f, R, C, vectors, scales, args->tile_bytes, b, group, x, blocks, table, total);
        }
    }
    UNROLL for (int r = 0; r < R; r++) {
        UNROLL for (int c = 0; c < C; c++) {
            _mm512_storeu_ps(args->out + (size_t)r * args->out_stride + c * TILE_COLUMNS, total[r * C + c]);
        }
    }
}

/* Tiles wide for few rows, so that enough independent chains are in flight. */
static const uint8_t block_widths[12] = {4, 4, 4, 2, 2, 2, 1, 1, 1, 1, 1, 1};

#define INSTANCES(X, n)                                                                                                   \
    X(n, 1, 4) X(n, 2, 4) X(n, 3, 4) X(n, 4, 2) X(n, 5, 2) X(n, 6, 2) X(n, 1, 1) X(n, 2, 1) X(n, 3, 1) X(n, 4, 1) X(n, 5, 1) \
    X(n, 6, 1) X(n, 7, 1) X(n, 8, 1) X(n, 9, 1) X(n, 10, 1) X(n, 11, 1) X(n, 12, 1)

#define BLOCK_INSTANCE(name, R, C)                                                                                        \
    static void name##_##R##_##C(const tile_args *args) { block_tile(&block_formats[BLOCK_##name], R, C, args); }

#define BLOCK_MATMUL(name, ...)                                                                                           \
    INSTANCES(BLOCK_INSTANCE, name)                                                                                       \
    static tile_fn *const name##_rows[12][2] = {                                                                          \
        {name##_1_1, name##_1_4}, {name##_2_1, name##_2_4}, {name##_3_1, name##_3_4}, {name##_4_1, name##_4_2},           \
        {name##_5_1, name##_5_2}, {name##_6_1, name##_6_2}, {name##_7_1, name##_7_1}, {name##_8_1, name##_8_1},           \
        {name##_9_1, name##_9_1}, {name##_10_1, name##_10_1}, {name##_11_1, name##_11_1}, {name##_12_1, name##_12_1}};    \
    static const tile_table name##_table = {12, block_widths, name##_rows};                                               \
    MATMUL_ENTRY(name, name##_table)

BLOCK_FORMATS(BLOCK_MATMUL)
