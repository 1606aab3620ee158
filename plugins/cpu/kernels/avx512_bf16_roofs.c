/* The roof of vdpbf16ps, which makes two products and two sums a lane. */
#include "roofs.h"

#include <immintrin.h>

enum { CHAINS = 16 };

static float multiply_bf16(size_t rounds)
{
    __m512 sum[CHAINS];
    __m512bh x = (__m512bh)_mm512_set1_epi32(0x3f803f80), y = (__m512bh)_mm512_set1_epi32(0x3a803a80); /* 1 and 2^-10, twice */
    for (int i = 0; i < CHAINS; i++)
        sum[i] = _mm512_set1_ps((float)i);
    for (size_t r = 0; r < rounds; r++) {
#pragma GCC unroll 16
        for (int i = 0; i < CHAINS; i++)
            sum[i] = _mm512_dpbf16_ps(sum[i], x, y);
    }
    for (int i = 1; i < CHAINS; i++)
        sum[0] = _mm512_add_ps(sum[0], sum[i]);
    return _mm512_reduce_add_ps(sum[0]);
}

const roof_bf16 avx512_bf16_roof = {.multiply = multiply_bf16, .ops = (size_t)CHAINS * 32 * 2};
