/* A tile of products with BF16 weights: R rows by C packed tiles, one chain a lane over pairs of k.
 *
 * The including file says how a pair is held (`pairs`), loaded from weights (load_pairs), spread from activations (spread_pair)
 * and added to a sum (add_pairs): two fused multiply-adds, the second element first, or the instruction that is both. */
#ifndef CPU_KERNELS_VECTOR_BF16_H
#define CPU_KERNELS_VECTOR_BF16_H

static ALWAYS_INLINE void bf16_tile(const int R, const int C, const tile_args *args)
{
    size_t stride = args->x->stride, count = (args->k + 1) / 2;
    const uint16_t *x = args->x->halves + args->row * stride;
    v16 sum[24];
    UNROLL for (int i = 0; i < R * C; i++) sum[i] = v_set(0.0f);
    for (size_t i = 0; i < count; i++) {
        pairs w[4];
        UNROLL for (int c = 0; c < C; c++) w[c] = load_pairs(args->packed + (size_t)c * args->tile_bytes + i * 64);
        UNROLL for (int r = 0; r < R; r++)
        {
            pairs xr = spread_pair(x + (size_t)r * stride + 2 * i);
            UNROLL for (int c = 0; c < C; c++) sum[r * C + c] = add_pairs(sum[r * C + c], xr, w[c]);
        }
    }
    UNROLL for (int r = 0; r < R; r++)
    {
        UNROLL for (int c = 0; c < C; c++)
        {
            v_store(args->out + (size_t)r * args->out_stride + c * TILE_COLUMNS, sum[r * C + c]);
        }
    }
}

#endif
