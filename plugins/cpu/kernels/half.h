/* 16-bit floating point in integer arithmetic: exact widening, round-to-nearest-even narrowing.
 *
 * These are the reference for the hardware conversions (vcvtph2ps, vcvtps2ph) and serve processors without them. NaN stays
 * NaN; its payload is not specified. */
#ifndef CPU_KERNELS_HALF_H
#define CPU_KERNELS_HALF_H

#include "math.h"

MATH_FN float half_to_float(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000u) << 16, exponent = (h >> 10) & 31u, mantissa = h & 1023u;
    if (exponent == 31)
        return math_from_bits(sign | 0x7f800000u | mantissa << 13);
    if (exponent != 0)
        return math_from_bits(sign | (exponent + 112) << 23 | mantissa << 13);
    /* A denormal half is mantissa * 2^-24, an exact product. */
    return math_copysign((float)mantissa * 0x1p-24f, math_from_bits(sign));
}

MATH_FN uint16_t half_from_float(float x)
{
    uint32_t bits = math_bits(x), sign = bits >> 16 & 0x8000u, magnitude = bits & 0x7fffffffu;
    if (magnitude > 0x7f800000u)
        return (uint16_t)(sign | 0x7e00u);
    if (magnitude >= 0x477ff000u)
        return (uint16_t)(sign | 0x7c00u); /* rounds to infinity */
    if (magnitude < 0x38800000u) {
        /* Denormal: adding 0.5 leaves round-to-nearest-even multiples of 2^-24 in the low bits. */
        return (uint16_t)(sign | (math_bits(math_from_bits(magnitude) + 0.5f) - 0x3f000000u));
    }
    uint32_t rounded = magnitude + 0xfffu + (magnitude >> 13 & 1u);
    return (uint16_t)(sign | ((rounded - 0x38000000u) >> 13));
}

MATH_FN float bfloat_to_float(uint16_t h)
{
    return math_from_bits((uint32_t)h << 16);
}

MATH_FN uint16_t bfloat_from_float(float x)
{
    uint32_t bits = math_bits(x);
    if ((bits & 0x7fffffffu) > 0x7f800000u)
        return (uint16_t)(bits >> 16 | 0x40u);
    return (uint16_t)((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

static inline uint16_t load_u16(const void *at)
{
    uint16_t value;
    memcpy(&value, at, sizeof value);
    return value;
}

static inline uint32_t load_u32(const void *at)
{
    uint32_t value;
    memcpy(&value, at, sizeof value);
    return value;
}

#endif
