/* Sixteen floats in two AVX2 registers: the vocabulary that the vector_*.h kernels are written in. */
#ifndef CPU_KERNELS_SIMD_H
#define CPU_KERNELS_SIMD_H

#include "half.h"
#include "kernels.h"

#include <immintrin.h>

#define SIMD(name) avx2_##name
#define SIMD_NAME "avx2"

typedef struct v16 {
    __m256 a, b;
} v16;
typedef v16 mask16; /* all ones or all zeros in a lane */

#define V2(expression_a, expression_b) ((v16){(expression_a), (expression_b)})

static inline v16 v_set(float x) { return V2(_mm256_set1_ps(x), _mm256_set1_ps(x)); }
static inline v16 v_load(const float *at) { return V2(_mm256_loadu_ps(at), _mm256_loadu_ps(at + 8)); }
static inline void v_store(float *at, v16 x) {
    _mm256_storeu_ps(at, x.a);
    _mm256_storeu_ps(at + 8, x.b);
}
static inline mask16 lanes_between(size_t from, size_t to) {
    __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    __m256i low = _mm256_set1_epi32((int)(from > 16 ? 16 : from) - 1), high = _mm256_set1_epi32((int)(to > 16 ? 16 : to));
    __m256i upper = _mm256_add_epi32(lane, _mm256_set1_epi32(8));
    __m256i a = _mm256_and_si256(_mm256_cmpgt_epi32(lane, low), _mm256_cmpgt_epi32(high, lane));
    __m256i b = _mm256_and_si256(_mm256_cmpgt_epi32(upper, low), _mm256_cmpgt_epi32(high, upper));
    return V2(_mm256_castsi256_ps(a), _mm256_castsi256_ps(b));
}
static inline mask16 lanes_below(size_t n) { return lanes_between(0, n); }
static inline v16 v_load_n(const float *at, size_t n) {
    mask16 mask = lanes_below(n);
    __m256 a = _mm256_maskload_ps(at, _mm256_castps_si256(mask.a));
    return V2(a, n > 8 ? _mm256_maskload_ps(at + 8, _mm256_castps_si256(mask.b)) : _mm256_setzero_ps());
}
static inline void v_store_n(float *at, v16 x, size_t n) {
    mask16 mask = lanes_below(n);
    _mm256_maskstore_ps(at, _mm256_castps_si256(mask.a), x.a);
    if (n > 8) _mm256_maskstore_ps(at + 8, _mm256_castps_si256(mask.b), x.b);
}
static inline v16 v_load_f16(const void *at) {
    const __m128i *half = at;
    return V2(_mm256_cvtph_ps(_mm_loadu_si128(half)), _mm256_cvtph_ps(_mm_loadu_si128(half + 1)));
}
static inline v16 v_load_bf16(const void *at) {
    const __m128i *half = at;
    __m256i a = _mm256_cvtepu16_epi32(_mm_loadu_si128(half)), b = _mm256_cvtepu16_epi32(_mm_loadu_si128(half + 1));
    return V2(_mm256_castsi256_ps(_mm256_slli_epi32(a, 16)), _mm256_castsi256_ps(_mm256_slli_epi32(b, 16)));
}
static inline v16 v_load_i8(const int8_t *at) {
    __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)at);
    return V2(_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes)),
              _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_unpackhi_epi64(bytes, bytes))));
}
/* Sixteen pairs of BF16 as floats: the first of each pair, and the second. */
static inline __m256 pair_first(__m256i pairs) { return _mm256_castsi256_ps(_mm256_slli_epi32(pairs, 16)); }
static inline __m256 pair_second(__m256i pairs) {
    return _mm256_castsi256_ps(_mm256_and_si256(pairs, _mm256_set1_epi32((int)0xffff0000u)));
}
static inline void v_load_pairs(const void *at, v16 *first, v16 *second) {
    __m256i a = _mm256_loadu_si256((const __m256i *)at), b = _mm256_loadu_si256((const __m256i *)at + 1);
    *first = V2(pair_first(a), pair_first(b));
    *second = V2(pair_second(a), pair_second(b));
}
static inline void v_set_pair(const void *at, v16 *first, v16 *second) {
    __m256i pair = _mm256_set1_epi32((int)load_u32(at));
    *first = V2(pair_first(pair), pair_first(pair));
    *second = V2(pair_second(pair), pair_second(pair));
}
static inline void v_store_f16(void *at, v16 x) {
    __m128i *half = at;
    _mm_storeu_si128(half, _mm256_cvtps_ph(x.a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
    _mm_storeu_si128(half + 1, _mm256_cvtps_ph(x.b, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
static inline v16 v_add(v16 x, v16 y) { return V2(_mm256_add_ps(x.a, y.a), _mm256_add_ps(x.b, y.b)); }
static inline v16 v_sub(v16 x, v16 y) { return V2(_mm256_sub_ps(x.a, y.a), _mm256_sub_ps(x.b, y.b)); }
static inline v16 v_mul(v16 x, v16 y) { return V2(_mm256_mul_ps(x.a, y.a), _mm256_mul_ps(x.b, y.b)); }
static inline v16 v_div(v16 x, v16 y) { return V2(_mm256_div_ps(x.a, y.a), _mm256_div_ps(x.b, y.b)); }
static inline v16 v_fma(v16 x, v16 y, v16 z) {
    return V2(_mm256_fmadd_ps(x.a, y.a, z.a), _mm256_fmadd_ps(x.b, y.b, z.b));
}
static inline v16 v_max(v16 x, v16 y) { /* y where either is NaN */
    return V2(_mm256_max_ps(x.a, y.a), _mm256_max_ps(x.b, y.b));
}
static inline mask16 v_less(v16 x, v16 y) {
    return V2(_mm256_cmp_ps(x.a, y.a, _CMP_LT_OQ), _mm256_cmp_ps(x.b, y.b, _CMP_LT_OQ));
}
static inline mask16 v_nan(v16 x) {
    return V2(_mm256_cmp_ps(x.a, x.a, _CMP_UNORD_Q), _mm256_cmp_ps(x.b, x.b, _CMP_UNORD_Q));
}
static inline v16 v_select(mask16 mask, v16 yes, v16 no) {
    return V2(_mm256_blendv_ps(no.a, yes.a, mask.a), _mm256_blendv_ps(no.b, yes.b, mask.b));
}
static inline v16 v_xor(v16 x, v16 y) { return V2(_mm256_xor_ps(x.a, y.a), _mm256_xor_ps(x.b, y.b)); }
static inline v16 v_abs(v16 x) {
    __m256 sign = _mm256_set1_ps(-0.0f);
    return V2(_mm256_andnot_ps(sign, x.a), _mm256_andnot_ps(sign, x.b));
}
static inline v16 v_copysign(v16 x, v16 y) {
    __m256 sign = _mm256_set1_ps(-0.0f);
    return V2(_mm256_or_ps(_mm256_andnot_ps(sign, x.a), _mm256_and_ps(sign, y.a)),
              _mm256_or_ps(_mm256_andnot_ps(sign, x.b), _mm256_and_ps(sign, y.b)));
}
static inline __m256 scale_exponent_8(__m256 p, __m256 z) {
    return _mm256_castsi256_ps(
        _mm256_add_epi32(_mm256_castps_si256(p), _mm256_slli_epi32(_mm256_castps_si256(z), 23)));
}
/* The bits of p plus the bits of z shifted left by 23. */
static inline v16 v_scale_exponent(v16 p, v16 z) { return V2(scale_exponent_8(p.a, z.a), scale_exponent_8(p.b, z.b)); }
static inline __m128i narrow_bf16_8(__m256 x) {
    __m256i bits = _mm256_castps_si256(x), one = _mm256_set1_epi32(1);
    __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), one);
    __m256i rounded = _mm256_add_epi32(_mm256_add_epi32(bits, _mm256_set1_epi32(0x7fff)), odd);
    __m256i quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x400000));
    __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(x, x, _CMP_UNORD_Q));
    rounded = _mm256_srli_epi32(_mm256_blendv_epi8(rounded, quiet, nan), 16);
    return _mm_packus_epi32(_mm256_castsi256_si128(rounded), _mm256_extracti128_si256(rounded, 1));
}
static inline void v_store_bf16(void *at, v16 x) {
    __m128i *half = at;
    _mm_storeu_si128(half, narrow_bf16_8(x.a));
    _mm_storeu_si128(half + 1, narrow_bf16_8(x.b));
}
/* Lanes i and i + 8 are added, then 4, 2, 1. */
static inline float v_sum(v16 x) {
    __m256 h = _mm256_add_ps(x.a, x.b);
    __m128 q = _mm_add_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));
    q = _mm_add_ps(q, _mm_movehl_ps(q, q));
    return _mm_cvtss_f32(_mm_add_ss(q, _mm_movehdup_ps(q)));
}
static inline float v_largest(v16 x) { /* of lanes that are not NaN */
    __m256 h = _mm256_max_ps(x.a, x.b);
    __m128 q = _mm_max_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));
    q = _mm_max_ps(q, _mm_movehl_ps(q, q));
    return _mm_cvtss_f32(_mm_max_ss(q, _mm_movehdup_ps(q)));
}
static inline void deinterleave_8(__m256 x, __m256 y, __m256 *even, __m256 *odd) {
    __m256 e = _mm256_shuffle_ps(x, y, 0x88), o = _mm256_shuffle_ps(x, y, 0xdd);
    *even = _mm256_castpd_ps(_mm256_permute4x64_pd(_mm256_castps_pd(e), 0xd8));
    *odd = _mm256_castpd_ps(_mm256_permute4x64_pd(_mm256_castps_pd(o), 0xd8));
}
static inline void interleave_8(__m256 even, __m256 odd, __m256 *x, __m256 *y) {
    __m256 low = _mm256_unpacklo_ps(even, odd), high = _mm256_unpackhi_ps(even, odd);
    *x = _mm256_permute2f128_ps(low, high, 0x20);
    *y = _mm256_permute2f128_ps(low, high, 0x31);
}
/* a0 b0 a1 b1 ... over 32 floats <-> a, b. */
static inline void v_deinterleave(v16 x, v16 y, v16 *even, v16 *odd) {
    deinterleave_8(x.a, x.b, &even->a, &odd->a);
    deinterleave_8(y.a, y.b, &even->b, &odd->b);
}
static inline void v_interleave(v16 even, v16 odd, v16 *x, v16 *y) {
    interleave_8(even.a, odd.a, &x->a, &x->b);
    interleave_8(even.b, odd.b, &y->a, &y->b);
}

/* The largest of 32 floats without signs, as bits: infinity and NaN are above everything finite. */
static inline uint32_t v_largest_bits(v16 x, v16 y) {
    __m256i a = _mm256_max_epu32(_mm256_castps_si256(x.a), _mm256_castps_si256(x.b));
    __m256i b = _mm256_max_epu32(_mm256_castps_si256(y.a), _mm256_castps_si256(y.b));
    __m256i top = _mm256_max_epu32(a, b);
    __m128i q = _mm_max_epu32(_mm256_castsi256_si128(top), _mm256_extracti128_si256(top, 1));
    q = _mm_max_epu32(q, _mm_shuffle_epi32(q, 0x4e));
    q = _mm_max_epu32(q, _mm_shuffle_epi32(q, 0xb1));
    return (uint32_t)_mm_cvtsi128_si32(q);
}
/* Whole numbers from -128 to 127. */
static inline void v_store_i8(int8_t *at, v16 x) {
    __m256i pairs = _mm256_packs_epi32(_mm256_cvtps_epi32(x.a), _mm256_cvtps_epi32(x.b));
    __m256i bytes = _mm256_packs_epi16(_mm256_permute4x64_epi64(pairs, 0xd8), _mm256_setzero_si256());
    __m128i low = _mm256_castsi256_si128(bytes), high = _mm256_extracti128_si256(bytes, 1);
    _mm_storeu_si128((__m128i *)(void *)at, _mm_unpacklo_epi64(low, high));
}

#endif
