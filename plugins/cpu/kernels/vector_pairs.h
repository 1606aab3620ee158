/* Pairs of BF16 as two vectors of floats, for vector_bf16.h where no instruction multiplies them.
 *
 * That denormals count as zero is left to the processor: the control word is set around a product and restored. */
#ifndef CPU_KERNELS_VECTOR_PAIRS_H
#define CPU_KERNELS_VECTOR_PAIRS_H

typedef struct pairs {
    v16 first, second;
} pairs;

static ALWAYS_INLINE pairs load_pairs(const uint8_t *at)
{
    pairs w;
    v_load_pairs(at, &w.first, &w.second);
    return w;
}

static ALWAYS_INLINE pairs spread_pair(const uint16_t *at)
{
    pairs x;
    v_set_pair(at, &x.first, &x.second);
    return x;
}

static ALWAYS_INLINE v16 add_pairs(v16 sum, pairs x, pairs w)
{
    return v_fma(x.first, w.first, v_fma(x.second, w.second, sum));
}

enum { MXCSR_DENORMALS_ARE_ZERO = 0x8040 }; /* as operands and as results */

/* As MATMUL_ENTRY. */
#define FLUSHING_ENTRY(type, table)                                                                                     \
    void SIMD(type)(const uint8_t *packed, size_t tile_bytes, size_t k, size_t tiles, const matmul_input *x, size_t row, \
                    size_t rows, float *out, size_t out_stride) {                                                        \
        unsigned before = _mm_getcsr();                                                                                  \
        _mm_setcsr(before | MXCSR_DENORMALS_ARE_ZERO);                                                                   \
        run_tiles(&(table), (tile_args){packed, tile_bytes, k, x, row, out, out_stride}, tiles, rows);                   \
        _mm_setcsr(before);                                                                                              \
    }

#endif
