/* rope_rows: the rows of a table, from its frequencies. Compiled for each instruction set (base/wide.h). */
#include "base/wide.h"
#include "model/rope_angle.h"
#include "model/rope_rows.h"

void WIDE(rope_rows)(const double *restrict frequencies, uint32_t half, uint32_t positions, double magnitude,
                     float *restrict out)
{
    for (uint32_t p = 0; p < positions; p++) {
        float *cosines = out + (uint64_t)p * 2 * half, *sines = cosines + half;
        double position = p;
        for (uint32_t i = 0; i < half; i++) {
            double sine, cosine;
            rope_turn(position * frequencies[i], &sine, &cosine);
            cosines[i] = (float)(magnitude * cosine);
            sines[i] = (float)(magnitude * sine);
        }
    }
}
