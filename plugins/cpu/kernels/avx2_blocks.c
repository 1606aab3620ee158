/* Matrix products of block weights with AVX2 and FMA: one tile for all formats of blocks.h, half a packed tile (8 outputs) wide.
 *
 * vpmaddubsw saturates its 16-bit sums of two products, so as many quads as fit are added before they widen to 32 bits: of
 * elements up to 15, eight (8 * 2 * 15 * 127 < 2^15), up to 31, four, up to 63, two. Formats of the offset 128 use |w| times x
 * with w's sign, one quad at a time: 2 * 128 * 127 fits, and x is never -128, so its negation does not wrap. */
#include "simd_avx2.h"

#include "blocks.h"
#include "vector_math.h"

#include "vector_matmul.h"

enum { MAX_ROWS = 4 }; /* of a tile: more sums than registers do not pay */

static ALWAYS_INLINE __m256i load_vector(const uint8_t *at) { return _mm256_load_si256((const __m256i *)(const void *)at); }

/* Bits of each byte move left, or right where `left` is negative; what crosses into a neighbour is masked by the caller. */
static ALWAYS_INLINE __m256i shift_bits(__m256i v, const int left)
{
    return left > 0 ? _mm256_slli_epi16(v, left) : left < 0 ? _mm256_srli_epi16(v, -left) : v;
}

static ALWAYS_INLINE __m256i masked(__m256i v, const int mask) { return _mm256_and_si256(v, _mm256_set1_epi8((char)mask)); }

static ALWAYS_INLINE bool is_signed(const block_format *f) { return f->offset == 128; }

/* Quad t of 8 outputs: stored elements, of Q3_K times 8; of signed formats, the elements. */
static ALWAYS_INLINE __m256i decode(const block_format *f, const uint8_t *vectors, const int t, __m256i table)
{
    if (f->bits == 8) return _mm256_xor_si256(load_vector(vectors + t * 64), _mm256_set1_epi8(INT8_MIN));
    if (f->bits < 4) {
        __m256i low = load_vector(vectors + t / 4 * 64);
        if (f->bits == 2) return masked(shift_bits(low, -2 * (t % 4)), 3);
        __m256i third = masked(shift_bits(load_vector(vectors + 128), 5 - t), 0x20);
        return _mm256_or_si256(masked(shift_bits(low, 3 - 2 * (t % 4)), 0x18), third);
    }
    __m256i nibbles = masked(shift_bits(load_vector(vectors + t % 4 * 64), t < 4 ? 0 : -4), 15);
    if (f->bits == 5) {
        return _mm256_or_si256(nibbles, masked(shift_bits(load_vector(vectors + 256), 4 - t), 0x10));
    }
    if (f->bits == 6) {
        __m256i high = shift_bits(load_vector(vectors + 256 + t / 4 * 64), 4 - 2 * (t % 4));
        return _mm256_or_si256(nibbles, masked(high, 0x30));
    }
    return f->table ? _mm256_shuffle_epi8(table, nibbles) : nibbles;
}

static ALWAYS_INLINE __m256i decoding_table(const block_format *f)
{
    if (!f->table) return _mm256_setzero_si256();
    __m256i table = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)(const void *)f->table));
    return is_signed(f) ? table : _mm256_add_epi8(table, _mm256_set1_epi8((char)f->offset));
}

/* How many quads add up in 16 bits. */
static ALWAYS_INLINE int quads_in_16_bits(const block_format *f)
{
    return f->bits == 6 || f->bits == 3 ? 2 : f->bits == 5 || f->table ? 4 : 8;
}

/* What the offset adds to a group's sum. */
static ALWAYS_INLINE __m256i start_of(const block_format *f, const quant_block *x, const int group)
{
    switch (f->offset) {
    case 0:
    case 128: return _mm256_setzero_si256();
    case 8: return _mm256_set1_epi32(x->minus_8);
    case 16: return _mm256_set1_epi32(x->minus_16);
    default: return _mm256_set1_epi32(x->minus_32[group]); /* of Q3_K 4, times 8 */
    }
}

static ALWAYS_INLINE __m256 widen_halves(const uint8_t *at)
{
    return _mm256_cvtph_ps(_mm_load_si128((const __m128i *)(const void *)at));
}

static ALWAYS_INLINE __m128i load_bytes(const uint8_t *at) { return _mm_loadl_epi64((const __m128i *)(const void *)at); }

static ALWAYS_INLINE __m256 widen_exponents(const uint8_t *at)
{
    __m256i e = _mm256_cvtepu8_epi32(load_bytes(at)), denormal = _mm256_cmpgt_epi32(_mm256_set1_epi32(2), e);
    __m256i bits = _mm256_slli_epi32(_mm256_sub_epi32(e, _mm256_set1_epi32(1)), 23);
    __m256i small = _mm256_sllv_epi32(_mm256_set1_epi32(0x00200000), e);
    return _mm256_castsi256_ps(_mm256_blendv_epi8(bits, small, denormal));
}

/* The scales and minima of a group. `half` is which 8 outputs: halves and bytes lie 16 of a kind in a row. */
static ALWAYS_INLINE void scales_of(const block_format *f, const uint8_t *scales, size_t b, const int group, size_t half,
                                    __m256 *d, __m256 *m) {
    *d = f->scales == SCALES_EXPONENT ? widen_exponents(scales + half * 8) : widen_halves(scales + half * 16);
    *m = f->minimum ? widen_halves(scales + 32 + half * 16) : _mm256_setzero_ps();
    if (f->scales != SCALES_SUPER) return;
    const uint8_t *bytes = block_scale_bytes(f, scales, b) + group * 16 + half * 8;
    __m256i scale = _mm256_cvtepu8_epi32(load_bytes(bytes)), minimum = _mm256_setzero_si256();
    if (f->minimum && f->group == 16) {
        minimum = _mm256_srli_epi32(scale, 4);
        scale = _mm256_and_si256(scale, _mm256_set1_epi32(15));
    } else if (f->minimum) {
        minimum = _mm256_cvtepu8_epi32(load_bytes(bytes + 16));
    } else {
        scale = _mm256_cvtepi8_epi32(load_bytes(bytes));
    }
    *d = _mm256_mul_ps(*d, _mm256_cvtepi32_ps(scale));
    *m = _mm256_xor_ps(_mm256_mul_ps(*m, _mm256_cvtepi32_ps(minimum)), _mm256_set1_ps(-0.0f));
}

static ALWAYS_INLINE __m256 scaled_sum_of(const block_format *f, const quant_block *x, const int group)
{
    if (f->group == QUANT_BLOCK) return _mm256_set1_ps(x->scaled_sum);
    return _mm256_set1_ps(x->scale * (float)-(x->minus_32[group] / 32));
}

/* The integer sums of a group over R rows. */
static ALWAYS_INLINE void group_sums(const block_format *f, const int R, const uint8_t *vectors, const int group,
                                     const quant_block *x, size_t blocks, __m256i table, __m256i *sum) {
    const __m256i ones = _mm256_set1_epi16(1);
    const int quads = f->group / 4, wide = is_signed(f) ? 1 : quads_in_16_bits(f);
    __m256i pairs[MAX_ROWS];
    UNROLL for (int r = 0; r < R; r++) sum[r] = start_of(f, x + (size_t)r * blocks, group);
    UNROLL for (int i = 0; i < quads; i++) {
        const int t = quads == 4 ? group * 4 + i : i / 2 + i % 2 * 4; /* both quads of a vector of nibbles in a row */
        __m256i w = decode(f, vectors, t, table), size = is_signed(f) ? _mm256_abs_epi8(w) : w;
        UNROLL for (int r = 0; r < R; r++) {
            __m256i q = _mm256_set1_epi32((int32_t)load_u32(x[(size_t)r * blocks].q + t * 4));
            __m256i product = _mm256_maddubs_epi16(size, is_signed(f) ? _mm256_sign_epi8(q, w) : q);
            pairs[r] = i % wide == 0 ? product : _mm256_add_epi16(pairs[r], product);
            if (i % wide == wide - 1 || i == quads - 1)
                sum[r] = _mm256_add_epi32(sum[r], _mm256_madd_epi16(pairs[r], ones));
        }
    }
}

/* The same block of the tile that comes next. Without this the products of few rows wait for memory and then multiply, one after
 * the other: a tile is too short for the processor to foresee the next. */
static ALWAYS_INLINE void prefetch_next(const block_format *f, const uint8_t *vectors, const uint8_t *scales,
                                        size_t tile_bytes) {
    UNROLL for (int i = 0; i < f->bits; i++) _mm_prefetch((const char *)vectors + tile_bytes + i * 64, _MM_HINT_T1);
    _mm_prefetch((const char *)scales + tile_bytes, _MM_HINT_T1);
}

static ALWAYS_INLINE void block_half(const block_format *f, const int R, const tile_args *args, size_t half)
{
    const size_t blocks = args->k / QUANT_BLOCK;
    const uint8_t *vectors = args->packed + half * 32;
    const quant_block *x = args->x->blocks + args->row * blocks;
    const __m256i table = decoding_table(f);
    __m256 total[MAX_ROWS];
    UNROLL for (int r = 0; r < R; r++) total[r] = _mm256_setzero_ps();
    for (size_t b = 0; b < blocks; b++, vectors += block_vector_bytes(f), x++) {
        const uint8_t *scales = block_scales_at(f, args->packed, args->k, b);
        if (half == 0) {
            const uint8_t *bytes = f->scales == SCALES_SUPER ? block_scale_bytes(f, scales, b) : scales;
            prefetch_next(f, vectors, bytes, args->tile_bytes);
        }
        UNROLL for (int group = 0; group < QUANT_BLOCK / f->group; group++) {
            __m256i sum[MAX_ROWS];
            __m256 d, m;
            group_sums(f, R, vectors, group, x, blocks, table, sum);
            scales_of(f, scales, b, group, half, &d, &m);
            UNROLL for (int r = 0; r < R; r++) {
                const quant_block *xr = x + (size_t)r * blocks;
                __m256i s = f->bits == 3 ? _mm256_srai_epi32(sum[r], 3) : sum[r];
                __m256 scale = _mm256_mul_ps(d, _mm256_set1_ps(xr->scale));
                total[r] = _mm256_fmadd_ps(scale, _mm256_cvtepi32_ps(s), total[r]);
                if (f->minimum) total[r] = _mm256_fmadd_ps(m, scaled_sum_of(f, xr, group), total[r]);
            }
        }
    }
    UNROLL for (int r = 0; r < R; r++) _mm256_storeu_ps(args->out + (size_t)r * args->out_stride + half * 8, total[r]);
}

static ALWAYS_INLINE void block_tile(const block_format *f, const int R, const tile_args *args)
{
    block_half(f, R, args, 0);
    block_half(f, R, args, 1);
}

static const uint8_t one_wide[MAX_ROWS] = {1, 1, 1, 1};

#define BLOCK_INSTANCE(name, R) \
    static void name##_##R(const tile_args *args) { block_tile(&block_formats[BLOCK_##name], R, args); }

#define BLOCK_MATMUL(name, ...)                                                                                           \
    BLOCK_INSTANCE(name, 1)                                                                                               \
    BLOCK_INSTANCE(name, 2)                                                                                               \
    BLOCK_INSTANCE(name, 3)                                                                                               \
    BLOCK_INSTANCE(name, 4)                                                                                               \
    static tile_fn *const name##_rows[MAX_ROWS][2] = {                                                                    \
        {name##_1, name##_1}, {name##_2, name##_2}, {name##_3, name##_3}, {name##_4, name##_4}};                          \
    static const tile_table name##_table = {MAX_ROWS, one_wide, name##_rows};                                             \
    MATMUL_ENTRY(name, name##_table)

BLOCK_FORMATS(BLOCK_MATMUL)
