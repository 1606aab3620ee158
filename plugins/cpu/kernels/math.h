/* The elementary functions of the numerics contract (docs/numerics.md), for C and for CUDA.
 *
 * Each is one fixed sequence of IEEE single-precision add, subtract, multiply, divide, fused multiply-add, comparison and
 * integer operations, so every implementation that follows it gives the same bits. The SIMD versions in
 * kernels/vector_math.h mirror these lines one for one. Nothing here may be contracted or reassociated by the compiler.
 *
 * Including file may define MATH_FN (qualifiers) and MATH_FMA (a correctly rounded fused multiply-add) first. */
#ifndef CPU_KERNELS_MATH_H
#define CPU_KERNELS_MATH_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#ifndef MATH_FN
#define MATH_FN static inline
#endif
#ifndef MATH_FMA
#define MATH_FMA(a, b, c) fmaf((a), (b), (c))
#endif

/* exp: below LOW the result is +0 (no denormals are produced), above HIGH it is +infinity. */
#define MATH_EXP_LOW (-87.33654022216796875f)
#define MATH_EXP_HIGH 88.72283172607421875f
#define MATH_LOG2E 1.44269502162933349609375f
#define MATH_ROUND 12582912.0f /* 1.5 * 2^23: adding it rounds to an integer, held in the low mantissa bits */
#define MATH_LN2_HIGH 0.693359375f
#define MATH_LN2_LOW (-2.12194440e-4f)
#define MATH_EXP_C2 0x1.fffffcp-2f
#define MATH_EXP_C3 0x1.555492p-3f
#define MATH_EXP_C4 0x1.5558f2p-5f
#define MATH_EXP_C5 0x1.1239e4p-7f
#define MATH_EXP_C6 0x1.6a2430p-10f

/* erf, in two ranges of |x| (N. Juffa's approximation, within 1 ulp). */
#define MATH_ERF_SPLIT 0.927734375f
#define MATH_ERF_A0 (-1.72853470e-5f)
#define MATH_ERF_A1 3.83197126e-4f
#define MATH_ERF_A2 (-3.88396438e-3f)
#define MATH_ERF_A3 2.42546219e-2f
#define MATH_ERF_A4 (-1.06777877e-1f)
#define MATH_ERF_A5 (-6.34846687e-1f)
#define MATH_ERF_A6 (-1.28717512e-1f)
#define MATH_ERF_B0 (-5.96761703e-4f)
#define MATH_ERF_B1 4.99119423e-3f
#define MATH_ERF_B2 (-2.67681349e-2f)
#define MATH_ERF_B3 1.12819925e-1f
#define MATH_ERF_B4 (-3.76125336e-1f)
#define MATH_ERF_B5 1.28379166e-1f

#define MATH_SQRT_HALF 0.707106769084930419921875f
#define MATH_GELU_CUBE 0.044714998453855514526f
#define MATH_GELU_SLOPE 1.5957691216057308f /* 2 * sqrt(2 / pi), rounded to float */

MATH_FN uint32_t math_bits(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

MATH_FN float math_from_bits(uint32_t bits) {
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* e^x, within one ulp where the result is a normal number. exp(0) is exactly 1. NaN gives NaN. */
MATH_FN float math_exp(float x) {
    if (x != x) return x;
    if (x < MATH_EXP_LOW) return 0.0f;
    if (x > MATH_EXP_HIGH) return math_from_bits(0x7f800000u);
    float z = MATH_FMA(x, MATH_LOG2E, MATH_ROUND);
    float n = z - MATH_ROUND;
    float r = MATH_FMA(n, -MATH_LN2_HIGH, x);
    r = MATH_FMA(n, -MATH_LN2_LOW, r);
    float p = MATH_EXP_C6;
    p = MATH_FMA(p, r, MATH_EXP_C5);
    p = MATH_FMA(p, r, MATH_EXP_C4);
    p = MATH_FMA(p, r, MATH_EXP_C3);
    p = MATH_FMA(p, r, MATH_EXP_C2);
    p = MATH_FMA(p, r, 1.0f);
    p = MATH_FMA(p, r, 1.0f);
    return math_from_bits(math_bits(p) + (math_bits(z) << 23));
}

MATH_FN float math_abs(float x) { return math_from_bits(math_bits(x) & 0x7fffffffu); }

/* Magnitude of the first, sign of the second. */
MATH_FN float math_copysign(float x, float sign) {
    return math_from_bits((math_bits(x) & 0x7fffffffu) | (math_bits(sign) & 0x80000000u));
}

MATH_FN float math_tanh(float x) {
    float e = math_exp(-2.0f * math_abs(x));
    return math_copysign((1.0f - e) / (1.0f + e), x);
}

MATH_FN float math_erf(float x) {
    float t = math_abs(x), s = x * x;
    if (t > MATH_ERF_SPLIT) {
        float r = MATH_FMA(MATH_ERF_A0, t, MATH_ERF_A1);
        float u = MATH_FMA(MATH_ERF_A2, t, MATH_ERF_A3);
        r = MATH_FMA(r, s, u);
        r = MATH_FMA(r, t, MATH_ERF_A4);
        r = MATH_FMA(r, t, MATH_ERF_A5);
        r = MATH_FMA(r, t, MATH_ERF_A6);
        r = MATH_FMA(r, t, -t);
        return math_copysign(1.0f - math_exp(r), x);
    }
    float r = MATH_ERF_B0;
    r = MATH_FMA(r, s, MATH_ERF_B1);
    r = MATH_FMA(r, s, MATH_ERF_B2);
    r = MATH_FMA(r, s, MATH_ERF_B3);
    r = MATH_FMA(r, s, MATH_ERF_B4);
    r = MATH_FMA(r, s, MATH_ERF_B5);
    return MATH_FMA(r, x, x);
}

MATH_FN float math_silu(float x) { return x / (1.0f + math_exp(-x)); }

MATH_FN float math_gelu(float x) { return (0.5f * x) * (1.0f + math_erf(x * MATH_SQRT_HALF)); }

/* x * sigmoid(2u) with u = sqrt(2/pi) (x + 0.044715 x^3), which is 0.5 x (1 + tanh u). */
MATH_FN float math_gelu_tanh(float x) {
    float u = MATH_FMA(MATH_GELU_CUBE * (x * x), x, x);
    return x / (1.0f + math_exp(-(MATH_GELU_SLOPE * u)));
}

MATH_FN float math_soft_cap(float x, float cap) { return cap * math_tanh(x / cap); }

#endif
