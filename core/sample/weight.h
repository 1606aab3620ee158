/* weight: the arithmetic of probabilities, defined operation by operation in docs/sampling.md.
 *
 * A probability is an integer weight: round(2^40 · e^-distance), where distance = (highest logit - logit) / temperature.
 * Sums of weights are exact, so they are the same in any order, on any machine, with any vector width. Only IEEE
 * single and double additions and multiplications are used, each rounded by itself: nothing of libm, no fused operations,
 * because processors that the core runs on lack them and a vectorised loop must give the same bits.
 *
 * Invariants:
 *   W1  weight_of(0) = WEIGHT_ONE and weight_of(d) <= WEIGHT_ONE for every d >= 0, infinity included.
 *   W2  weight_of(d) = 0 for every d >= WEIGHT_REACH.
 *   W3  Any number of weights up to WEIGHT_TOKENS adds up to less than 2^63. */
#ifndef BACKPLANE_SAMPLE_WEIGHT_H
#define BACKPLANE_SAMPLE_WEIGHT_H

#include <stdint.h>
#include <string.h>

#define WEIGHT_ONE ((uint64_t)1 << 40)
#define WEIGHT_REACH 30.0f
#define WEIGHT_TOKENS ((uint32_t)1 << 22)

/* Floats that are at least 0 order as these integers do. Loops choose between integers, because compilers do not vectorise
 * choices between floats: comparing them may trap. */
static inline int32_t weight_bits(float x)
{
    int32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

/* e^-distance in fixed point; distance >= 0. No branches: loops over it vectorise. */
static inline uint64_t weight_of(float distance)
{
    int32_t near = weight_bits(distance), reach = weight_bits(WEIGHT_REACH);
    near = near < reach ? near : reach;
    float x;
    memcpy(&x, &near, sizeof x);
    x = -x;
    float z = x * 0x1.715476p+0f + 0x1.8p+23f; /* log2 e; adding 1.5 · 2^23 leaves the integer in the low bits */
    float n = z - 0x1.8p+23f;
    float r = (x - n * 0x1.63p-1f) + n * 0x1.bd0106p-13f; /* ln 2 in two parts: the first product is exact */
    float p = 0x1.6a2430p-10f;
    p = p * r + 0x1.1239e4p-7f;
    p = p * r + 0x1.5558f2p-5f;
    p = p * r + 0x1.555492p-3f;
    p = p * r + 0x1.fffffcp-2f;
    p = (p * (r * r) + r) + 1.0f;
    uint32_t bits, shift;
    memcpy(&bits, &p, sizeof bits);
    memcpy(&shift, &z, sizeof shift);
    bits += (shift + 40u) << 23; /* p · 2^(n + 40) */
    memcpy(&p, &bits, sizeof p);
    double d = (double)p + 0x1p+52; /* rounds to an integer, half to even, held in the low bits */
    uint64_t fixed;
    memcpy(&fixed, &d, sizeof fixed);
    return fixed - ((uint64_t)0x433 << 52);
}

/* A sum of weights as a multiple of the heaviest possible one: of the highest logit's. */
static inline double weight_ratio(uint64_t weight)
{
    return (double)weight * 0x1p-40;
}

/* The natural logarithm of a normal positive number, within 2 units in the last place. */
double weight_log(double x);

/* The smallest integer weight that is at least `share` of `mass` as doubles multiply, and 1 … mass. mass > 0. */
uint64_t weight_share(float share, uint64_t mass);

#endif
