/* Matrix products: what they share.
 *
 * A block of threads computes a tile of 32 outputs, a lane each, for a few rows. K is walked in rounds. In a round each
 * warp computes terms of blocks of K of its own, for all rows, into shared memory (a term is what the contract adds at
 * once: of a quantised weight an exact integer and its factors, of F32 and F16 the sum of 256 products). Then warp r
 * adds the terms of row r onto its total, in ascending order of K. So work is split over K, and the order of the sum is
 * not. */
#ifndef CUDA_MATMUL_H
#define CUDA_MATMUL_H

#include "blocks.h"

enum {
    MATMUL_WARPS = 8,
    MATMUL_THREADS = MATMUL_WARPS * WARP,
    MATMUL_ROWS = MATMUL_WARPS, /* most rows at once: a warp adds up one */
    MATMUL_SHARED = 48 * 1024
};

/* What follows the product, and where it goes. `second` is the other product of GATED_MLP. */
DEVICE void finish_output(const matmul_args &args, uint32_t row, uint32_t column, float y, float second, unsigned lane)
{
    bool inside = column < args.out.width;
    if (args.bias && inside)
        y = y + args.bias[column];
    y = activate(args.activation, y);
    if (args.weight[1].n)
        y = y * second;
    if (args.factor && inside)
        y = y * args.factor[static_cast<uint64_t>(row) * args.out.stride + column];
    if (args.residual && inside)
        y = y + args.residual[static_cast<uint64_t>(row) * args.residual_stride + column];
    if (args.scale != 1.0f)
        y = y * args.scale;
    if (args.soft_cap != 0.0f)
        y = math_soft_cap(y, args.soft_cap);
    warp_store(args.out, row, column, y, lane);
}

/* From the fragments of the tensor cores' instructions (matmul_tiles.cu) to rows: to is [16][32]. */
DEVICE void spread_fragments(float *to, const float (*totals)[4], unsigned lane)
{
#pragma unroll
    for (uint32_t j = 0; j < TILE_COLUMNS / 8; j++) {
#pragma unroll
        for (uint32_t i = 0; i < 4; i++)
            to[(lane / 4 + i / 2 * 8) * TILE_COLUMNS + j * 8 + lane % 4 * 2 + i % 2] = totals[j][i];
    }
}

static inline unsigned matmul_tile_count(const matmul_args *args)
{
    return (args->weight[0].n + TILE_COLUMNS - 1) / TILE_COLUMNS;
}

static inline unsigned smaller_of(unsigned a, unsigned b)
{
    return a < b ? a : b;
}

/* matmul_tiles.cu: of quantised weights and more rows than MATMUL_ROWS. */
void launch_matmul_tiles(gpu_stream *stream, const matmul_args &args);
/* matmul_floats.cu */
void launch_matmul_floats(gpu_stream *stream, const matmul_args &args);
/* matmul_bf16.cu: of BF16, where `stable` is enough */
void launch_matmul_bf16_tiles(gpu_stream *stream, const matmul_args &args);

#endif
