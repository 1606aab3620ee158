/* A tile of products with floating-point weights: R rows by C packed tiles, one FMA chain a lane and K block. */
#ifndef CPU_KERNELS_VECTOR_FLOAT_H
#define CPU_KERNELS_VECTOR_FLOAT_H

static ALWAYS_INLINE void float_tile(const int type, const int R, const int C, const tile_args *args)
{
    size_t k = args->k, stride = args->x->stride;
    const float *x = args->x->values + args->row * stride;
    for (size_t start = 0; start < k; start += K_BLOCK) {
        size_t end = k - start < K_BLOCK ? k : start + K_BLOCK;
        v16 sum[24];
        UNROLL for (int i = 0; i < R * C; i++) sum[i] = v_set(0.0f);
        for (size_t i = start; i < end; i++) {
            v16 w[4];
            UNROLL for (int c = 0; c < C; c++) {
                w[c] = v_widen(type, args->packed + (size_t)c * args->tile_bytes, i * TILE_COLUMNS);
            }
            UNROLL for (int r = 0; r < R; r++) {
                v16 xr = v_set(x[(size_t)r * stride + i]);
                UNROLL for (int c = 0; c < C; c++) sum[r * C + c] = v_fma(xr, w[c], sum[r * C + c]);
            }
        }
        UNROLL for (int r = 0; r < R; r++) {
            UNROLL for (int c = 0; c < C; c++) {
                float *out = args->out + (size_t)r * args->out_stride + c * TILE_COLUMNS;
                v16 total = start == 0 ? v_set(0.0f) : v_load(out);
                v_store(out, v_add(total, sum[r * C + c]));
            }
        }
    }
}

#endif
