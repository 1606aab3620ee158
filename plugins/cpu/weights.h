/* Weight types: how each is laid out in a file and packed for the kernels, and which kernel multiplies by it.
 *
 * One table, one row a type; a new type is one row, one packing function and one kernel an instruction set. */
#ifndef CPU_WEIGHTS_H
#define CPU_WEIGHTS_H

#include "device.h"

typedef struct weight_type {
    uint32_t dtype; /* bp_dtype */
    const char *name;
    size_t block;                /* elements that share a scale in the file; K is a multiple of it */
    size_t block_bytes;          /* in the file */
    bool quantised;              /* multiplies quantised activations */
    size_t tile_bytes_per_block; /* packed, all 16 columns */
    /* Packs rows [0, rows) of 16 into one zeroed tile; `row_bytes` apart in the file. */
    void (*pack)(const uint8_t *source, size_t row_bytes, size_t rows, size_t k, uint8_t *tile);
    /* The opposite: one row of a tile, as in the file. */
    void (*unpack)(const uint8_t *tile, size_t column, size_t k, uint8_t *row);
    /* out[k] = the dequantised row. */
    void (*dequantise)(const uint8_t *row, size_t k, float *out);
    matmul_fn *matmul[ISA_COUNT];
} weight_type;

/* NULL for a type this backend has no row for. */
const weight_type *weight_type_of(uint32_t dtype);

/* SIZE_MAX where it does not fit. */
size_t weight_row_bytes(const weight_type *type, size_t k);
size_t weight_tile_bytes(const weight_type *type, size_t k);

#endif
