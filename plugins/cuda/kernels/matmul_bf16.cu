/* Products with BF16 weights in `numerics: stable`, by the tensor cores' BF16 instruction, for any number of rows.
 *
 * K is cut into blocks of 256. A warp computes a block's sums of 16 rows and the 32 outputs of a tile, from zero, in steps
 * of 16; how a step adds its products is the device's own affair. The blocks' sums are added in ascending order. So the
 * order depends on K alone, and a row's result on nothing but the row: it is repeatable on one kind of device, and differs
 * from docs/numerics.md's chain, which `numerics: portable` has.
 *
 * Fragments are those of matmul_tiles.cu with two elements of K in a word: at 2 (l % 4) and at 8 beyond (PTX:
 * mma.m16n8k16 of bf16). */
#include "matmul.h"

enum { TILE_ROWS = 16, FRAGMENTS = TILE_COLUMNS / 8, STEP = 16, TERM_FLOATS = TILE_ROWS * TILE_COLUMNS };

/* Elements at and at + 1 of a row, zeros beyond K; of an odd K the row has a zero behind its last. */
DEVICE uint32_t two_elements(const uint16_t *row, uint32_t at, uint32_t k)
{
    return at < k ? *reinterpret_cast<const uint32_t *>(row + at) : 0;
}

/* Sums of elements [start, end) of K; x: rows l / 4 and l / 4 + 8. */
DEVICE void block_products(const packed &weight, const uint8_t *tile, const uint16_t *const *x, uint32_t start, uint32_t end,
                           unsigned lane, float (*sums)[4])
{
    for (uint32_t k = start; k < end; k += STEP) {
        uint32_t at = k + lane % 4 * 2;
        const uint32_t a[4] = {two_elements(x[0], at, weight.k), two_elements(x[1], at, weight.k),
                               two_elements(x[0], at + 8, weight.k), two_elements(x[1], at + 8, weight.k)};
        const uint8_t *pieces = tile + static_cast<uint64_t>(k) * 2 * TILE_COLUMNS + lane % 4 * 4;
#pragma unroll
        for (uint32_t j = 0; j < FRAGMENTS; j++) {
            const uint8_t *from = pieces + (j * 8 + lane / 4) * 16;
            uint32_t b[2] = {*reinterpret_cast<const uint32_t *>(from), 0};
            if (k + 8 < weight.k)
                b[1] = *reinterpret_cast<const uint32_t *>(from + 16 * TILE_COLUMNS);
            mma_bf16(sums[j], a, b);
        }
    }
}

/* Grid: [tile][rows / 16]. Rows that do not exist repeat the last. */
__global__ void __launch_bounds__(MATMUL_THREADS, 2) matmul_bf16_tiles(matmul_args args)
{
    SHARED_MEMORY(shared);
    uint32_t warp = threadIdx.x / WARP, lane = threadIdx.x % WARP, k = args.weight[0].k, stage = 0;
    uint32_t first = blockIdx.y * TILE_ROWS;
    float totals[2] = {0.0f, 0.0f}, before[2] = {0.0f, 0.0f}; /* of rows warp and warp + 8; before: of the first of two weights */
    const uint16_t *x[2];
#pragma unroll
    for (uint32_t r = 0; r < 2; r++)
        x[r] = args.in.halves + static_cast<uint64_t>(smaller(first + lane / 4 + r * 8, args.rows - 1)) * args.in.stride;
    for (int part = 0; part < 2 && args.weight[part].n; part++) {
        const uint8_t *tile = args.weight[part].data + blockIdx.x * args.weight[part].tile_bytes;
        before[0] = totals[0], before[1] = totals[1];
        totals[0] = totals[1] = 0.0f;
        for (uint32_t base = 0; base < k; base += MATMUL_WARPS * K_BLOCK, stage ^= 1) {
            float *terms = reinterpret_cast<float *>(shared) + stage * MATMUL_WARPS * TERM_FLOATS; /* [warp][row][lane] */
            uint32_t start = base + warp * K_BLOCK;
            if (start < k) {
                float sums[FRAGMENTS][4] = {};
                block_products(args.weight[part], tile, x, start, smaller(start + K_BLOCK, k), lane, sums);
                spread_fragments(terms + warp * TERM_FLOATS, sums, lane);
            }
            __syncthreads(); /* the other stage is free by then, as in matmul.cu */
            for (uint32_t i = 0; i < MATMUL_WARPS && base + i * K_BLOCK < k; i++)
#pragma unroll
                for (uint32_t r = 0; r < 2; r++)
                    totals[r] = totals[r] + terms[i * TERM_FLOATS + (warp + r * 8) * WARP + lane];
        }
    }
#pragma unroll
    for (uint32_t r = 0; r < 2; r++) {
        uint32_t row = first + warp + r * 8;
        float gate = args.weight[1].n ? before[r] : totals[r];
        if (row < args.rows)
            finish_output(args, row, blockIdx.x * TILE_COLUMNS + lane, gate, totals[r], lane);
    }
}

void launch_matmul_bf16_tiles(gpu_stream *stream, const matmul_args &args)
{
    dim3 grid(matmul_tile_count(&args), (args.rows + TILE_ROWS - 1) / TILE_ROWS);
    launch(stream, matmul_bf16_tiles, grid, MATMUL_THREADS, 2 * MATMUL_WARPS * TERM_FLOATS * sizeof(float), args);
}
