/* Matrix products: a table of tiles of R rows by C packed tiles, and the walk over them.
 *
 * Lanes are outputs, so the order along K is that of the generic kernels whatever R and C are. R and C are compile-time
 * constants of each instance; the walk picks the largest that fit. */
#ifndef CPU_KERNELS_VECTOR_MATMUL_H
#define CPU_KERNELS_VECTOR_MATMUL_H

typedef struct tile_args {
    const uint8_t *packed;
    size_t tile_bytes, k;
    const matmul_input *x;
    size_t row;
    float *out;
    size_t out_stride;
} tile_args;

typedef void tile_fn(const tile_args *args);

/* Instances of one type: rows[R - 1][0] one tile wide, rows[R - 1][1] of the width in `widths`. */
typedef struct tile_table {
    size_t max_rows;
    const uint8_t *widths; /* [max_rows] tiles of the wide instance: 1, 2 or 4 */
    tile_fn *const (*rows)[2];
} tile_table;

/* Groups of four tiles stay in the nearest cache while all rows pass over them. */
static void run_tiles(const tile_table *table, tile_args args, size_t tiles, size_t rows)
{
    const uint8_t *packed = args.packed;
    size_t first_row = args.row;
    float *out = args.out;
    for (size_t group = 0; group < tiles; group += 4) {
        size_t end = tiles - group < 4 ? tiles : group + 4;
        for (size_t r = 0; r < rows;) {
            size_t count = rows - r < table->max_rows ? rows - r : table->max_rows;
            /* Two middling tiles beat a full one and a sliver. */
            if (rows - r > table->max_rows && rows - r < table->max_rows + table->max_rows / 2) count = (rows - r + 1) / 2;
            size_t width = table->widths[count - 1];
            for (size_t t = group; t < end;) {
                bool wide = t + width <= end;
                args.packed = packed + t * args.tile_bytes;
                args.row = first_row + r;
                args.out = out + r * args.out_stride + t * TILE_COLUMNS;
                table->rows[count - 1][wide](&args);
                t += wide ? width : 1;
            }
            r += count;
        }
    }
}

#define TILE_INSTANCE(name, body, R, C) \
    static void name##_##R##_##C(const tile_args *args) { body(R, C, args); }

#define MATMUL_ENTRY(type, table)                                                                                       \
    void SIMD(type)(const uint8_t *packed, size_t tile_bytes, size_t k, size_t tiles, const matmul_input *x, size_t row, \
                    size_t rows, float *out, size_t out_stride) {                                                        \
        run_tiles(&(table), (tile_args){packed, tile_bytes, k, x, row, out, out_stride}, tiles, rows);                   \
    }

#endif
