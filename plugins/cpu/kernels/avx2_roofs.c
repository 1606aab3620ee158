/* The roofs of AVX2 with FMA. A product of bytes is three instructions here: pairs to 16 bits, pairs of those to 32, a sum. */
#include "roofs.h"

#include <immintrin.h>

enum { CHAINS = 10 }; /* of 16 registers, with two operands and the ones that a product of bytes needs */

static inline __m256i read_half_line(__m256i sum, const uint8_t *at)
{
    return _mm256_xor_si256(sum, _mm256_load_si256((const __m256i *)(const void *)at));
}

static inline uint32_t fold_integers(__m256i x)
{
    __m128i half = _mm_xor_si128(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1));
    half = _mm_xor_si128(half, _mm_unpackhi_epi64(half, half));
    return (uint32_t)_mm_cvtsi128_si32(half) ^ (uint32_t)_mm_extract_epi32(half, 1);
}

static uint32_t read_memory(const uint8_t *data, size_t bytes, size_t streams)
{
    __m256i a = _mm256_setzero_si256(), b = a, c = a, d = a;
    size_t part = bytes / streams;
    for (size_t i = 0; streams == 1 && i < part; i += 128) {
        a = read_half_line(a, data + i);
        b = read_half_line(b, data + i + 32);
        c = read_half_line(c, data + i + 64);
        d = read_half_line(d, data + i + 96);
    }
    for (size_t i = 0; streams != 1 && i < part; i += 32) {
        a = read_half_line(a, data + i);
        b = read_half_line(b, data + i + part);
        c = read_half_line(c, data + i + 2 * part);
        d = read_half_line(d, data + i + 3 * part);
    }
    return fold_integers(_mm256_xor_si256(_mm256_xor_si256(a, b), _mm256_xor_si256(c, d)));
}

static uint32_t multiply_bytes(size_t rounds)
{
    __m256i sum[CHAINS], x = _mm256_set1_epi8(3), y = _mm256_set1_epi8((char)rounds), ones = _mm256_set1_epi16(1);
    for (int i = 0; i < CHAINS; i++)
        sum[i] = _mm256_set1_epi32(i);
    for (size_t r = 0; r < rounds; r++) {
        __asm__ volatile("" : "+x"(y)); /* the products of a round are not those of the last */
#pragma GCC unroll 16
        for (int i = 0; i < CHAINS; i++) {
            __m256i pairs = _mm256_maddubs_epi16(_mm256_xor_si256(x, sum[i]), y);
            sum[i] = _mm256_add_epi32(sum[i], _mm256_madd_epi16(pairs, ones));
        }
    }
    for (int i = 1; i < CHAINS; i++)
        sum[0] = _mm256_xor_si256(sum[0], sum[i]);
    return fold_integers(sum[0]);
}

static float multiply_floats(size_t rounds)
{
    __m256 sum[CHAINS], x = _mm256_set1_ps((float)rounds), y = _mm256_set1_ps(0x1p-30f);
    for (int i = 0; i < CHAINS; i++)
        sum[i] = _mm256_set1_ps((float)i);
    for (size_t r = 0; r < rounds; r++) {
#pragma GCC unroll 16
        for (int i = 0; i < CHAINS; i++)
            sum[i] = _mm256_fmadd_ps(x, y, sum[i]);
    }
    float lanes[8], total = 0.0f;
    for (int i = 1; i < CHAINS; i++)
        sum[0] = _mm256_add_ps(sum[0], sum[i]);
    _mm256_storeu_ps(lanes, sum[0]);
    for (int i = 0; i < 8; i++)
        total += lanes[i];
    return total;
}

const roof_kernels avx2_roofs = {.read = read_memory,
                                 .int8 = multiply_bytes,
                                 .fp32 = multiply_floats,
                                 .int8_ops = (size_t)CHAINS * 32 * 2,
                                 .fp32_ops = (size_t)CHAINS * 8 * 2};
