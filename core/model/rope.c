/* rope: sine, cosine, exponential and logarithm in double from additions, multiplications and divisions alone.
 *
 * Sine and cosine: Cody and Waite 1980. The angle minus n times pi/2, in three parts of which the first two have 33 bits,
 * so that their products with n < 2^20 are exact; then Taylor polynomials on [-pi/4, pi/4], whose next term is below 2^-58.
 * Exponential and logarithm halve their range by powers of two likewise. They make the dim/2 frequencies only. */
#include "model/rope.h"

#include "base/wide.h"
#include "model/rope_angle.h"
#include "model/rope_rows.h"

#include <math.h>

static const double LN2_A = 0x1.62E42FEFp-1, LN2_B = 0x1.473DE6AF278EDp-34;

void rope_sincos(double angle, double *sine, double *cosine)
{
    rope_turn(angle, sine, cosine);
}

double rope_exp(double x)
{
    double n = (x * (1.0 / (LN2_A + LN2_B)) + ROPE_ROUND) - ROPE_ROUND;
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
        frequencies[i] = rope_exp(exponent * log_base) * spec->scale / (spec->divisors ? spec->divisors[i] : 1.0);
    }
    static rope_rows_fn *const rows[WIDE_SETS] = WIDE_TABLE(rope_rows);
    rows[wide_best()](frequencies, half, spec->positions, spec->magnitude, out);
}
