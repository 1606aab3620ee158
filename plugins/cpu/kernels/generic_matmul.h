/* What the scalar matrix products share: one output at a time, in the K order that depends on shape and type only. */
#ifndef CPU_KERNELS_GENERIC_MATMUL_H
#define CPU_KERNELS_GENERIC_MATMUL_H

#include "half.h"
#include "kernels.h"

typedef float column_fn(const uint8_t *tile, size_t k, size_t column, const matmul_input *x, size_t row);

static inline void each_output(column_fn *dot, const uint8_t *packed, size_t tile_bytes, size_t k, size_t tiles,
                               const matmul_input *x, size_t row, size_t rows, float *out, size_t out_stride)
{
    for (size_t r = 0; r < rows; r++) {
        for (size_t t = 0; t < tiles; t++) {
            for (size_t c = 0; c < TILE_COLUMNS; c++) {
                out[r * out_stride + t * TILE_COLUMNS + c] = dot(packed + t * tile_bytes, k, c, x, row + r);
            }
        }
    }
}

#define GENERIC_MATMUL(type)                                                                                               \
    void generic_##type(const uint8_t *packed, size_t tile_bytes, size_t k, size_t tiles, const matmul_input *x,           \
                        size_t row, size_t rows, float *out, size_t out_stride)                                            \
    {                                                                                                                      \
        each_output(dot_##type, packed, tile_bytes, k, tiles, x, row, rows, out, out_stride);                              \
    }

#endif
