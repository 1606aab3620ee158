/* Products with quantised weights of many rows: exact integer sums by the tensor cores' 8-bit instruction, one FMA a
 * group in ascending order, so the bits are those of matmul.cu.
 *
 * A warp has 16 rows and the 32 outputs of a tile, as four fragments of 16 x 8. Of a fragment, lane l holds rows l / 4
 * and l / 4 + 8 of the outputs 2 (l % 4) and the next; it brings to each instruction 4 neighbouring elements of K of
 * those two rows, and of output l / 4, at 4 (l % 4) and at 16 beyond (PTX: mma.m16n8k32 and mma.m16n8k16 of s8). */
#include "matmul.h"

enum { TILE_WARPS = 4, TILE_ROWS = 16, FRAGMENTS = TILE_COLUMNS / 8 };

/* Quads t and t + 4 of output `lane`, t < 4, without the offset. */
template <int BITS> DEVICE void load_quads(const uint8_t *from, uint32_t lane, unsigned t, uint32_t *low, uint32_t *high)
{
    auto word = [&](uint32_t j) { return *reinterpret_cast<const uint32_t *>(from + block_word_at(BITS, j, lane)); };
    if (BITS == 8) {
        *low = word(t);
        *high = word(t + 4);
        return;
    }
    if (BITS < 4) {
        *low = word(0) >> 2 * t & 0x03030303u;
        *high = word(1) >> 2 * t & 0x03030303u;
    } else {
        uint32_t nibbles = word(t);
        *low = nibbles & 0x0f0f0f0fu;
        *high = nibbles >> 4 & 0x0f0f0f0fu;
    }
    if (BITS == 3 || BITS == 5) {
        uint32_t bits = word(BITS - 1);
        *low |= (bits >> t & 0x01010101u) << (BITS - 1);
        *high |= (bits >> (t + 4) & 0x01010101u) << (BITS - 1);
    }
    if (BITS == 6) {
        *low |= (word(4) >> 2 * t & 0x03030303u) << 4;
        *high |= (word(5) >> 2 * t & 0x03030303u) << 4;
    }
}

/* What a block of activations brings to a lane: its elements of two rows, and what those rows have beside them. */
struct rows_block {
    uint32_t a[4];
    quant_scale scale[2];
};

DEVICE rows_block load_rows(const matmul_args &args, const uint64_t *rows, uint32_t b, unsigned lane)
{
    uint32_t k = args.weight[0].k;
    rows_block x;
#pragma unroll
    for (int r = 0; r < 2; r++) {
        const int8_t *q = args.in.q + rows[r] * k + b * QUANT_BLOCK + lane % 4 * 4;
        x.a[r] = *reinterpret_cast<const uint32_t *>(q);
        x.a[2 + r] = *reinterpret_cast<const uint32_t *>(q + 16);
        x.scale[r] = args.in.scales[rows[r] * (k / QUANT_BLOCK) + b];
    }
    return x;
}

/* Adds group g, whose integer sums of a fragment are c, onto its totals. */
template <uint32_t DTYPE>
DEVICE void add_group(const rows_block &x, const block_scale *scales, int g, const int *c, float *totals)
{
    constexpr block_format f = block_format_of(DTYPE);
#pragma unroll
    for (int i = 0; i < 4; i++) {
        const quant_scale &s = x.scale[i / 2];
        block_group group = block_group_of(f, scales[i % 2], g);
        int x_sum = f.group == QUANT_BLOCK ? s.sums[0] + s.sums[1] : s.sums[g];
        totals[i] = fused(group.d * s.scale, static_cast<float>(c[i] - f.offset * x_sum), totals[i]);
        if (f.minimum)
            totals[i] =
                fused(group.m, f.group == QUANT_BLOCK ? s.scaled_sum : s.scale * static_cast<float>(x_sum), totals[i]);
    }
}

/* Adds block b of a weight onto the totals of all fragments. */
template <uint32_t DTYPE>
DEVICE void add_block(const packed &weight, const uint8_t *tile, uint32_t b, const rows_block &x, unsigned lane,
                      float (*totals)[4])
{
    constexpr block_format f = block_format_of(DTYPE);
    const uint8_t *from = tile + static_cast<uint64_t>(b) * block_word_bytes(f);
#pragma unroll
    for (uint32_t j = 0; j < FRAGMENTS; j++) {
        uint32_t w[2], output = j * 8 + lane % 4 * 2;
        load_quads<f.bits>(from, j * 8 + lane / 4, lane % 4, &w[0], &w[1]);
        w[0] = block_elements(f, w[0]);
        w[1] = block_elements(f, w[1]);
        const block_scale scales[2] = {block_scale_of(f, tile, weight.k, b, output),
                                       block_scale_of(f, tile, weight.k, b, output + 1)};
        int c[4] = {0, 0, 0, 0};
        if (f.group == QUANT_BLOCK) {
            mma_32(c, x.a, w);
            add_group<DTYPE>(x, scales, 0, c, totals[j]);
        } else {
            mma_16(c, x.a, w[0]);
            add_group<DTYPE>(x, scales, 0, c, totals[j]);
            c[0] = c[1] = c[2] = c[3] = 0;
            mma_16(c, x.a + 2, w[1]);
            add_group<DTYPE>(x, scales, 1, c, totals[j]);
        }
    }
}

/* Grid: [tile][rows / 16 a warp]. Rows that do not exist repeat the last. */
template <uint32_t DTYPE> __global__ void __launch_bounds__(TILE_WARPS *WARP, 2) matmul_tiles(matmul_args args)
{
    SHARED_MEMORY(shared);
    uint32_t lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, blocks = args.weight[0].k / QUANT_BLOCK;
    uint32_t first = (blockIdx.y * (blockDim.x / WARP) + warp) * TILE_ROWS;
    float *products = reinterpret_cast<float *>(shared) + warp * 2 * TILE_ROWS * TILE_COLUMNS;
    if (first >= args.rows)
        return;
    const uint64_t rows[2] = {smaller(first + lane / 4, args.rows - 1), smaller(first + lane / 4 + 8, args.rows - 1)};
    for (int part = 0; part < 2 && args.weight[part].n; part++) {
        const uint8_t *tile = args.weight[part].data + blockIdx.x * args.weight[part].tile_bytes;
        float totals[FRAGMENTS][4] = {};
        for (uint32_t b = 0; b < blocks; b++)
            add_block<DTYPE>(args.weight[part], tile, b, load_rows(args, rows, b, lane), lane, totals);
        spread_fragments(products + part * TILE_ROWS * TILE_COLUMNS, totals, lane);
    }
    __syncwarp();
    for (uint32_t r = 0; r < TILE_ROWS && first + r < args.rows; r++) {
        const float *row = products + r * TILE_COLUMNS + lane;
        float second = args.weight[1].n ? row[TILE_ROWS * TILE_COLUMNS] : 0.0f;
        finish_output(args, first + r, blockIdx.x * TILE_COLUMNS + lane, *row, second, lane);
    }
}

template <uint32_t DTYPE> static void start(gpu_stream *stream, const matmul_args &args)
{
    unsigned needed = (args.rows + TILE_ROWS - 1) / TILE_ROWS, warps = smaller_of(needed, TILE_WARPS);
    dim3 grid(matmul_tile_count(&args), (needed + warps - 1) / warps);
    launch(stream, matmul_tiles<DTYPE>, grid, warps * WARP, warps * 2 * TILE_ROWS * TILE_COLUMNS * sizeof(float), args);
}

void launch_matmul_tiles(gpu_stream *stream, const matmul_args &args)
{
    switch (args.weight[0].dtype) {
#define START(name, ...)                                                                                                   \
    case BP_##name:                                                                                                        \
        return start<BP_##name>(stream, args);
        BLOCK_FORMATS(START)
#undef START
    }
}
