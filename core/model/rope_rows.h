/* rope_rows: the rows [0, positions) of a table of rotations: `half` cosines, then as many sines, times the magnitude. One
 * copy an instruction set, all with the same bits. */
#ifndef BACKPLANE_MODEL_ROPE_ROWS_H
#define BACKPLANE_MODEL_ROPE_ROWS_H

#include <stdint.h>

typedef void rope_rows_fn(const double *frequencies, uint32_t half, uint32_t positions, double magnitude, float *out);
rope_rows_fn rope_rows_baseline, rope_rows_avx2, rope_rows_avx512;

#endif
