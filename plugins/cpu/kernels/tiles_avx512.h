/* The tiles of floating-point products with AVX-512: up to 12 rows, and wide for few rows, so that enough independent chains are
 * in flight. NAME_body(R, C, args) computes one. */
#ifndef CPU_KERNELS_TILES_AVX512_H
#define CPU_KERNELS_TILES_AVX512_H

static const uint8_t float_widths[12] = {4, 4, 4, 4, 4, 4, 2, 2, 2, 2, 2, 2};

#define FLOAT_WIDE(X) X(1, 4) X(2, 4) X(3, 4) X(4, 4) X(5, 4) X(6, 4) X(7, 2) X(8, 2) X(9, 2) X(10, 2) X(11, 2) X(12, 2)
#define NARROW(X) X(1, 1) X(2, 1) X(3, 1) X(4, 1) X(5, 1) X(6, 1) X(7, 1) X(8, 1) X(9, 1) X(10, 1) X(11, 1) X(12, 1)

/* NAME_table, of instances that NAME_INSTANCE(R, C) defines. */
#define FLOAT_TABLE(name)                                                                                                \
    FLOAT_WIDE(name##_INSTANCE)                                                                                          \
    NARROW(name##_INSTANCE)                                                                                              \
    static tile_fn *const name##_rows[12][2] = {                                                                         \
        {name##_1_1, name##_1_4}, {name##_2_1, name##_2_4}, {name##_3_1, name##_3_4}, {name##_4_1, name##_4_4},          \
        {name##_5_1, name##_5_4}, {name##_6_1, name##_6_4}, {name##_7_1, name##_7_2}, {name##_8_1, name##_8_2},          \
        {name##_9_1, name##_9_2}, {name##_10_1, name##_10_2}, {name##_11_1, name##_11_2}, {name##_12_1, name##_12_2}};   \
    static const tile_table name##_table = {12, float_widths, name##_rows};

#endif
