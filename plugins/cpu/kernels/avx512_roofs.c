/* The roofs of AVX-512 with VNNI. */
#include "roofs.h"

#include <immintrin.h>

/* As many chains as hide the latency of an instruction that two ports take. */
enum { CHAINS = 16 };

static inline __m512i read_line(__m512i sum, const uint8_t *at)
{
    return _mm512_xor_si512(sum, _mm512_load_si512(at));
}

static uint32_t read_memory(const uint8_t *data, size_t bytes, size_t streams)
{
    __m512i a = _mm512_setzero_si512(), b = a, c = a, d = a;
    size_t part = bytes / streams;
    for (size_t i = 0; streams == 1 && i < part; i += 256) {
        a = read_line(a, data + i);
        b = read_line(b, data + i + 64);
        c = read_line(c, data + i + 128);
        d = read_line(d, data + i + 192);
    }
    for (size_t i = 0; streams != 1 && i < part; i += 64) {
        a = read_line(a, data + i);
        b = read_line(b, data + i + part);
        c = read_line(c, data + i + 2 * part);
        d = read_line(d, data + i + 3 * part);
    }
    return (uint32_t)_mm512_reduce_add_epi32(_mm512_xor_si512(_mm512_xor_si512(a, b), _mm512_xor_si512(c, d)));
}

static uint32_t multiply_bytes(size_t rounds)
{
    __m512i sum[CHAINS], x = _mm512_set1_epi8(3), y = _mm512_set1_epi8((char)rounds);
    for (int i = 0; i < CHAINS; i++)
        sum[i] = _mm512_set1_epi32(i);
    for (size_t r = 0; r < rounds; r++) {
#pragma GCC unroll 16
        for (int i = 0; i < CHAINS; i++)
            sum[i] = _mm512_dpbusd_epi32(sum[i], x, y);
    }
    for (int i = 1; i < CHAINS; i++)
        sum[0] = _mm512_xor_si512(sum[0], sum[i]);
    return (uint32_t)_mm512_reduce_add_epi32(sum[0]);
}

static float multiply_floats(size_t rounds)
{
    __m512 sum[CHAINS], x = _mm512_set1_ps((float)rounds), y = _mm512_set1_ps(0x1p-30f);
    for (int i = 0; i < CHAINS; i++)
        sum[i] = _mm512_set1_ps((float)i);
    for (size_t r = 0; r < rounds; r++) {
#pragma GCC unroll 16
        for (int i = 0; i < CHAINS; i++)
            sum[i] = _mm512_fmadd_ps(x, y, sum[i]);
    }
    for (int i = 1; i < CHAINS; i++)
        sum[0] = _mm512_add_ps(sum[0], sum[i]);
    return _mm512_reduce_add_ps(sum[0]);
}

const roof_kernels avx512_roofs = {.read = read_memory,
                                   .int8 = multiply_bytes,
                                   .fp32 = multiply_floats,
                                   .int8_ops = (size_t)CHAINS * 64 * 2,
                                   .fp32_ops = (size_t)CHAINS * 16 * 2};
