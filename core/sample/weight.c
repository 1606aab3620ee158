#include "sample/weight.h"

/* ln(m · 2^n) = n ln 2 + 2 artanh((m - 1) / (m + 1)) with m in [sqrt ½, sqrt 2). */
double weight_log(double x)
{
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    int64_t n = (int64_t)(bits >> 52) - 1023;
    bits = (bits & 0xfffffffffffffu) | ((uint64_t)1023 << 52);
    double m;
    memcpy(&m, &bits, sizeof m);
    if (m > 0x1.6a09e667f3bcdp+0) {
        m = m * 0.5;
        n++;
    }
    double s = (m - 1.0) / (m + 1.0), t = s * s;
    double p = 1.0 / 23.0;
    for (int k = 21; k >= 1; k -= 2)
        p = p * t + 1.0 / (double)k;
    return (double)n * 0x1.62e42feep-1 + ((double)n * 0x1.a39ef35793c76p-33 + (2.0 * s) * p);
}

uint64_t weight_share(float share, uint64_t mass)
{
    double product = (double)share * (double)mass;
    uint64_t whole = product < 0x1p+63 ? (uint64_t)product : mass;
    if ((double)whole < product)
        whole++;
    return whole < 1 ? 1 : whole < mass ? whole : mass;
}
