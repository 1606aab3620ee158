/* rope: the table of rotations, Su et al. 2021, that QKV reads instead of computing angles.
 *
 * Row p holds cos(p * f_i), then sin(p * f_i), for i in 0 .. dim/2 - 1, both times the magnitude, with
 * f_i = base^(-2i / dim) * scale / divisors[i].
 * Everything is computed in double and rounded once to float32. No libm function takes part, only IEEE +, -, * and /, so
 * that the table is the same bits on every machine. */
#ifndef BACKPLANE_MODEL_ROPE_H
#define BACKPLANE_MODEL_ROPE_H

#include <stdint.h>

enum { ROPE_MAX_POSITIONS = 1 << 20 }; /* up to here the reduction of angles is exact */

typedef struct rope_spec {
    uint32_t positions, dim; /* dim is even */
    double base, scale;      /* base >= 1; scale in (0, 1]: positions are multiplied by it */
    double magnitude;
    const double *divisors;  /* [dim/2], each >= 1; NULL: all 1 */
} rope_spec;

/* out: [positions][dim]; frequencies: room for dim/2. */
void rope_table(const rope_spec *spec, double *frequencies, float *out);

/* What it is made of, for its test. |angle| below 1.6e6; |x| below 700; x > 0. Each within 1e-15 relative or absolute. */
void rope_sincos(double angle, double *sine, double *cosine);
double rope_exp(double x);
double rope_log(double x);

#endif
