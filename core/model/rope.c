/* rope: sine, cosine, exponential and logarithm in double from additions, multiplications and divisions alone.
 *
 * Sine and cosine: Cody and Waite 1980. The angle minus n times pi/2, in three parts of which the first two have 33 bits,
 * so that their products with n < 2^20 are exact; then Taylor polynomials on [-pi/4, pi/4], whose next term is below 2^-58.
 * Exponential and logarithm halve their range by powers of two likewise. They make the dim/2 frequencies only. */
#include "model/rope.h"

#include <math.h>
#include <string.h>

/* Adding and subtracting this rounds a double of less than 2^51 to the nearest integer, ties to even. */
static const double ROUND = 6755399441055744.0; /* 1.5 * 2^52 */

static const double PI_2_A = 0x1.921FB544p+0, PI_2_B = 0x1.0B4611A6p-34, PI_2_C = 0x1.3198A2E037073p-69;
static const double TWO_OVER_PI = 0x1.45F306DC9C883p-1;
static const double LN2_A = 0x1.62E42FEFp-1, LN2_B = 0x1.473DE6AF278EDp-34;

static inline void reduced_sincos(double x, double *sine, double *cosine)
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
    double c = 1.0 / 20922789888000.0; /* 16! */
    c = c * z - 1.0 / 87178291200.0;
    c = c * z + 1.0 / 479001600.0;
    c = c * z - 1.0 / 3628800.0;
    c = c * z + 1.0 / 40320.0;
    c = c * z - 1.0 / 720.0;
    c = c * z + 1.0 / 24.0;
    c = c * z - 0.5;
    *sine = x + x * z * s;
    *cosine = 1.0 + z * c;
}

void rope_sincos(double angle, double *sine, double *cosine)
{
    double shifted = angle * TWO_OVER_PI + ROUND, n = shifted - ROUND;
    uint64_t quadrant; /* the low bits of `shifted` are n modulo 2^51 */
    memcpy(&quadrant, &shifted, sizeof quadrant);
    double x = ((angle - n * PI_2_A) - n * PI_2_B) - n * PI_2_C, s, c;
    reduced_sincos(x, &s, &c);
    double first = quadrant & 1 ? c : s, second = quadrant & 1 ? s : c;
    *sine = quadrant & 2 ? -first : first;
    *cosine = (quadrant + 1) & 2 ? -second : second;
}

double rope_exp(double x)
{
    double n = (x * (1.0 / (LN2_A + LN2_B)) + ROUND) - ROUND;
    double r = (x - n * LN2_A) - n * LN2_B, sum = 1.0;
    for (int k = 18; k > 0; k--)
        sum = 1.0 + sum * r / k;
    return ldexp(sum, (int)n);
}

/* log(m * 2^e) with m in [sqrt(1/2), sqrt(2)): e log 2 + 2 artanh((m - 1) / (m + 1)). */
double rope_log(double x)
{
    int e;
    double m = frexp(x, &e);
    if (m < 0.70710678118654752) {
        m *= 2;
        e--;
    }
    double t = (m - 1) / (m + 1), z = t * t, sum = 0;
    for (int k = 25; k > 0; k -= 2)
        sum = sum * z + 1.0 / k;
    return e * LN2_A + (2 * t * sum + e * LN2_B);
}

void rope_table(const rope_spec *spec, double *frequencies, float *out)
{
    uint32_t half = spec->dim / 2;
    double log_base = rope_log(spec->base);
    for (uint32_t i = 0; i < half; i++) {
        double exponent = -2.0 * i / spec->dim;
        frequencies[i] = rope_exp(exponent * log_base) * spec->scale / (spec->factors ? (double)spec->factors[i] : 1.0);
    }
    for (uint32_t p = 0; p < spec->positions; p++) {
        float *row = out + (uint64_t)p * spec->dim;
        for (uint32_t i = 0; i < half; i++) {
            double sine, cosine;
            rope_sincos(p * frequencies[i], &sine, &cosine);
            row[i] = (float)cosine;
            row[half + i] = (float)sine;
        }
    }
}
