/* Sixteen floats in one AVX-512 register: the vocabulary that the vector_*.h kernels are written in. */
#ifndef CPU_KERNELS_SIMD_H
#define CPU_KERNELS_SIMD_H

#include "half.h"
#include "kernels.h"

#include <immintrin.h>

#define SIMD(name) avx512_##name
#define SIMD_NAME "avx512-vnni"

typedef __m512 v16;
typedef __mmask16 mask16;

static inline v16 v_set(float x) { return _mm512_set1_ps(x); }
static inline v16 v_load(const float *at) { return _mm512_loadu_ps(at); }
static inline void v_store(float *at, v16 x) { _mm512_storeu_ps(at, x); }
static inline mask16 lanes_below(size_t n) { return n >= 16 ? (mask16)0xffff : (mask16)((1u << n) - 1u); }
static inline mask16 lanes_between(size_t from, size_t to) {
    return (mask16)(lanes_below(to) & ~(unsigned)lanes_below(from));
}
static inline v16 v_load_n(const float *at, size_t n) { return _mm512_maskz_loadu_ps(lanes_below(n), at); }
static inline void v_store_n(float *at, v16 x, size_t n) { _mm512_mask_storeu_ps(at, lanes_below(n), x); }
static inline v16 v_load_f16(const void *at) { return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)at)); }
static inline v16 v_load_bf16(const void *at) {
    __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)at));
    return _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16));
}
static inline v16 v_load_i8(const int8_t *at) {
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)(const void *)at)));
}
/* Sixteen pairs of BF16 as floats: the first of each pair, and the second. */
static inline void v_load_pairs(const void *at, v16 *first, v16 *second) {
    __m512i pairs = _mm512_loadu_si512(at);
    *first = _mm512_castsi512_ps(_mm512_slli_epi32(pairs, 16));
    *second = _mm512_castsi512_ps(_mm512_and_si512(pairs, _mm512_set1_epi32((int)0xffff0000u)));
}
static inline void v_set_pair(const void *at, v16 *first, v16 *second) {
    __m512i pair = _mm512_set1_epi32((int)load_u32(at));
    *first = _mm512_castsi512_ps(_mm512_slli_epi32(pair, 16));
    *second = _mm512_castsi512_ps(_mm512_and_si512(pair, _mm512_set1_epi32((int)0xffff0000u)));
}
static inline void v_store_f16(void *at, v16 x) {
    _mm256_storeu_si256((__m256i *)at, _mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
static inline v16 v_add(v16 a, v16 b) { return _mm512_add_ps(a, b); }
static inline v16 v_sub(v16 a, v16 b) { return _mm512_sub_ps(a, b); }
static inline v16 v_mul(v16 a, v16 b) { return _mm512_mul_ps(a, b); }
static inline v16 v_div(v16 a, v16 b) { return _mm512_div_ps(a, b); }
static inline v16 v_fma(v16 a, v16 b, v16 c) { return _mm512_fmadd_ps(a, b, c); }
static inline v16 v_max(v16 a, v16 b) { return _mm512_max_ps(a, b); } /* b where either is NaN */
static inline mask16 v_less(v16 a, v16 b) { return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ); }
static inline mask16 v_nan(v16 a) { return _mm512_cmp_ps_mask(a, a, _CMP_UNORD_Q); }
static inline v16 v_select(mask16 mask, v16 yes, v16 no) { return _mm512_mask_mov_ps(no, mask, yes); }
static inline v16 v_abs(v16 a) { return _mm512_abs_ps(a); }
static inline v16 v_xor(v16 a, v16 b) { return _mm512_xor_ps(a, b); }
static inline v16 v_copysign(v16 a, v16 sign) {
    __m512i mask = _mm512_set1_epi32(INT32_MIN); /* bitwise sign ? sign : a */
    return _mm512_castsi512_ps(
        _mm512_ternarylogic_epi32(mask, _mm512_castps_si512(sign), _mm512_castps_si512(a), 0xca));
}
/* The bits of p plus the bits of z shifted left by 23. */
static inline v16 v_scale_exponent(v16 p, v16 z) {
    return _mm512_castsi512_ps(
        _mm512_add_epi32(_mm512_castps_si512(p), _mm512_slli_epi32(_mm512_castps_si512(z), 23)));
}
static inline void v_store_bf16(void *at, v16 x) {
    __m512i bits = _mm512_castps_si512(x);
    __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    __m512i rounded = _mm512_add_epi32(_mm512_add_epi32(bits, _mm512_set1_epi32(0x7fff)), odd);
    rounded = _mm512_mask_or_epi32(rounded, v_nan(x), bits, _mm512_set1_epi32(0x400000));
    _mm256_storeu_si256((__m256i *)at, _mm512_cvtepi32_epi16(_mm512_srli_epi32(rounded, 16)));
}
/* Lanes i and i + 8 are added, then 4, 2, 1. */
static inline float v_sum(v16 a) {
    __m256 h = _mm256_add_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1));
    __m128 q = _mm_add_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));
    q = _mm_add_ps(q, _mm_movehl_ps(q, q));
    return _mm_cvtss_f32(_mm_add_ss(q, _mm_movehdup_ps(q)));
}
static inline float v_largest(v16 a) { return _mm512_reduce_max_ps(a); } /* of lanes that are not NaN */
/* a0 b0 a1 b1 ... over 32 floats <-> a, b. */
static inline void v_deinterleave(v16 x, v16 y, v16 *even, v16 *odd) {
    __m512i e = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    *even = _mm512_permutex2var_ps(x, e, y);
    *odd = _mm512_permutex2var_ps(x, _mm512_add_epi32(e, _mm512_set1_epi32(1)), y);
}
static inline void v_interleave(v16 even, v16 odd, v16 *x, v16 *y) {
    __m512i e = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
    *x = _mm512_permutex2var_ps(even, e, odd);
    *y = _mm512_permutex2var_ps(even, _mm512_add_epi32(e, _mm512_set1_epi32(8)), odd);
}

/* The largest of 32 floats without signs, as bits: infinity and NaN are above everything finite. */
static inline uint32_t v_largest_bits(v16 a, v16 b) {
    return _mm512_reduce_max_epu32(_mm512_max_epu32(_mm512_castps_si512(a), _mm512_castps_si512(b)));
}
/* Whole numbers from -128 to 127. */
static inline void v_store_i8(int8_t *at, v16 x) {
    _mm_storeu_si128((__m128i *)(void *)at, _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(x)));
}

#endif
