/* rope_angle: sine and cosine of one angle without a branch, so that a loop over it vectorises. */
#ifndef BACKPLANE_MODEL_ROPE_ANGLE_H
#define BACKPLANE_MODEL_ROPE_ANGLE_H

#include <stdint.h>
#include <string.h>

/* Adding and subtracting this rounds a double of less than 2^51 to the nearest integer, ties to even. */
#define ROPE_ROUND 6755399441055744.0 /* 1.5 * 2^52 */

static inline uint64_t rope_bits(double x)
{
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static inline double rope_double(uint64_t bits)
{
    double x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static inline double rope_reduced_sine(double x)
{
    double z = x * x;
    double s = 1.0 / 355687428096000.0; /* 17! */
    s = s * z - 1.0 / 1307674368000.0;
    s = s * z + 1.0 / 6227020800.0;
    s = s * z - 1.0 / 39916800.0;
    s = s * z + 1.0 / 362880.0;
    s = s * z - 1.0 / 5040.0;
    s = s * z + 1.0 / 120.0;
    s = s * z - 1.0 / 6.0;
    return x + x * z * s;
}

static inline double rope_reduced_cosine(double x)
{
    double z = x * x;
    double c = 1.0 / 20922789888000.0; /* 16! */
    c = c * z - 1.0 / 87178291200.0;
    c = c * z + 1.0 / 479001600.0;
    c = c * z - 1.0 / 3628800.0;
    c = c * z + 1.0 / 40320.0;
    c = c * z - 1.0 / 720.0;
    c = c * z + 1.0 / 24.0;
    c = c * z - 0.5;
    return 1.0 + z * c;
}

/* The quarter turns that were taken off say which of the two is which, and their signs. */
static inline void rope_turn(double angle, double *sine, double *cosine)
{
    const double pi_2_a = 0x1.921FB544p+0, pi_2_b = 0x1.0B4611A6p-34, pi_2_c = 0x1.3198A2E037073p-69;
    double shifted = angle * 0x1.45F306DC9C883p-1 + ROPE_ROUND, n = shifted - ROPE_ROUND; /* 2 / pi */
    double x = ((angle - n * pi_2_a) - n * pi_2_b) - n * pi_2_c;
    uint64_t quadrant = rope_bits(shifted); /* its low bits are n modulo 2^51 */
    uint64_t s = rope_bits(rope_reduced_sine(x)), c = rope_bits(rope_reduced_cosine(x));
    uint64_t swapped = (s ^ c) & (0 - (quadrant & 1));
    *sine = rope_double((s ^ swapped) ^ (quadrant & 2) << 62);
    *cosine = rope_double((c ^ swapped) ^ ((quadrant + 1) & 2) << 62);
}

#endif
