/* Products with quantised weights: exact integer sums by dp4a, one FMA a group in ascending order. */
#include "matmul.h"

/* Of the terms of a group of a row: d * scale, the integer sum as a float, and m. */
ANYWHERE int terms_of(const block_format &f)
{
    return f.minimum ? 3 : 2;
}
ANYWHERE int groups_of(const block_format &f)
{
    return QUANT_BLOCK / f.group;
}

/* The words of one output's 32 elements. */
template <int BITS> DEVICE void load_words(const uint8_t *from, unsigned lane, uint32_t *words)
{
    if (BITS >= 4) {
        uint4 w = *reinterpret_cast<const uint4 *>(from + lane * 16);
        words[0] = w.x, words[1] = w.y, words[2] = w.z, words[3] = w.w;
    }
    if (BITS == 8) {
        uint4 w = *reinterpret_cast<const uint4 *>(from + 512 + lane * 16);
        words[4] = w.x, words[5] = w.y, words[6] = w.z, words[7] = w.w;
    }
    if (BITS == 6) {
        uint2 w = *reinterpret_cast<const uint2 *>(from + 512 + lane * 8);
        words[4] = w.x, words[5] = w.y;
    }
    if (BITS == 5)
        words[4] = *reinterpret_cast<const uint32_t *>(from + 512 + lane * 4);
    if (BITS < 4) {
        uint2 w = *reinterpret_cast<const uint2 *>(from + lane * 8);
        words[0] = w.x, words[1] = w.y;
    }
    if (BITS == 3)
        words[2] = *reinterpret_cast<const uint32_t *>(from + 256 + lane * 4);
}

DEVICE void load_activations(const int8_t *q, uint32_t *quads)
{
    uint4 a = *reinterpret_cast<const uint4 *>(q), b = *reinterpret_cast<const uint4 *>(q + 16);
    quads[0] = a.x, quads[1] = a.y, quads[2] = a.z, quads[3] = a.w;
    quads[4] = b.x, quads[5] = b.y, quads[6] = b.z, quads[7] = b.w;
}

/* This warp's terms of block b, for all rows; `to` is [group][row][term][lane]. */
template <uint32_t DTYPE>
DEVICE void block_terms(const matmul_args &args, const uint8_t *tile, uint32_t b, uint32_t first, uint32_t rows, float *to)
{
    constexpr block_format f = block_format_of(DTYPE);
    constexpr int terms = terms_of(f), groups = groups_of(f), quads = f.group / 4;
    unsigned lane = threadIdx.x % WARP;
    uint32_t k = args.weight[0].k, words[MAX_WORDS] = {}, w[8];
    load_words<f.bits>(tile + static_cast<uint64_t>(b) * block_word_bytes(f), lane, words);
#pragma unroll
    for (unsigned t = 0; t < 8; t++)
        w[t] = block_elements(f, block_quad(f.bits, words, t));
    block_scale scale = block_scale_of(f, tile, k, b, lane);
    for (uint32_t r = 0; r < rows; r++) {
        uint64_t row = first + r;
        uint32_t x[8];
        load_activations(args.in.q + row * k + b * QUANT_BLOCK, x);
        quant_scale s = args.in.scales[row * (k / QUANT_BLOCK) + b];
#pragma unroll
        for (int g = 0; g < groups; g++) {
            int sum = 0, x_sum = groups == 1 ? s.sums[0] + s.sums[1] : s.sums[g];
#pragma unroll
            for (int t = g * quads; t < (g + 1) * quads; t++)
                sum = dot4(w[t], x[t], sum);
            block_group group = block_group_of(f, scale, g);
            float *term = to + (g * args.rows_at_once + r) * terms * WARP + lane;
            term[0] = group.d * s.scale;
            term[WARP] = static_cast<float>(sum - f.offset * x_sum);
            if (f.minimum)
                term[2 * WARP] = group.m;
        }
    }
}

/* Adds the terms of blocks [b, b + count) of a row onto its total. */
template <uint32_t DTYPE>
DEVICE float add_terms(const matmul_args &args, uint32_t row, uint32_t r, uint32_t b, uint32_t count, const float *from,
                       float total)
{
    constexpr block_format f = block_format_of(DTYPE);
    constexpr int terms = terms_of(f), groups = groups_of(f);
    unsigned lane = threadIdx.x % WARP;
    uint64_t scales = static_cast<uint64_t>(row) * (args.weight[0].k / QUANT_BLOCK) + b;
    for (uint32_t i = 0; i < count; i++) {
#pragma unroll
        for (int g = 0; g < groups; g++) {
            const float *term = from + ((i * groups + g) * args.rows_at_once + r) * terms * WARP + lane;
            total = fused(term[0], term[WARP], total);
            if (f.minimum) {
                quant_scale s = args.in.scales[scales + i];
                float x = groups == 1 ? s.scaled_sum : s.scale * static_cast<float>(s.sums[g]);
                total = fused(term[2 * WARP], x, total);
            }
        }
    }
    return total;
}

struct matmul_blocks_args {
    matmul_args at;
    uint32_t blocks_a_warp; /* in a round */
};

/* Grid: [tile][rows / rows_at_once]. */
template <uint32_t DTYPE> __global__ void __launch_bounds__(MATMUL_THREADS, 2) matmul_blocks(matmul_blocks_args arguments)
{
    SHARED_MEMORY(shared);
    constexpr block_format f = block_format_of(DTYPE);
    const matmul_args &args = arguments.at;
    uint32_t warp = threadIdx.x / WARP, lane = threadIdx.x % WARP, blocks = args.weight[0].k / QUANT_BLOCK;
    uint32_t first = blockIdx.y * args.rows_at_once, left = args.rows - first;
    uint32_t rows = smaller(left, args.rows_at_once), mine = arguments.blocks_a_warp;
    uint32_t block_floats = groups_of(f) * args.rows_at_once * terms_of(f) * WARP, round = mine * MATMUL_WARPS, stage = 0;
    float total = 0.0f, first_total = 0.0f; /* first_total: of the weight before, of two */
    for (int part = 0; part < 2 && args.weight[part].n; part++) {
        const uint8_t *tile = args.weight[part].data + blockIdx.x * args.weight[part].tile_bytes;
        first_total = total;
        total = 0.0f;
        for (uint32_t base = 0; base < blocks; base += round, stage ^= 1) {
            float *terms = reinterpret_cast<float *>(shared) + stage * round * block_floats;
            for (uint32_t i = warp * mine; i < (warp + 1) * mine && base + i < blocks; i++)
                block_terms<DTYPE>(args, tile, base + i, first, rows, terms + i * block_floats);
            __syncthreads(); /* the other stage is free by then: who added it up has come here since */
            if (warp < rows) {
                uint32_t count = smaller(blocks - base, round);
                total = add_terms<DTYPE>(args, first + warp, warp, base, count, terms, total);
            }
        }
    }
    if (warp < rows) {
        float gate = args.weight[1].n ? first_total : total;
        finish_output(args, first + warp, blockIdx.x * TILE_COLUMNS + lane, gate, total, lane);
    }
}

/* Few rows leave shared memory for more blocks in a round. */
template <uint32_t DTYPE> static void start(gpu_stream *stream, const matmul_args &args)
{
    constexpr block_format f = block_format_of(DTYPE);
    constexpr unsigned row_bytes = 2 * MATMUL_WARPS * groups_of(f) * terms_of(f) * WARP * sizeof(float);
    constexpr unsigned fit = MATMUL_SHARED / row_bytes, most = fit < 1u * MATMUL_ROWS ? fit : 1u * MATMUL_ROWS;
    if (args.rows > MATMUL_ROWS)
        return launch_matmul_tiles(stream, args);
    matmul_blocks_args with = {args, 1};
    with.at.rows_at_once = args.rows < most ? args.rows : most;
    while (with.blocks_a_warp < 4 && with.blocks_a_warp * 2 * with.at.rows_at_once * row_bytes <= MATMUL_SHARED)
        with.blocks_a_warp *= 2;
    dim3 grid(matmul_tile_count(&args), (args.rows + with.at.rows_at_once - 1) / with.at.rows_at_once);
    launch(stream, matmul_blocks<DTYPE>, grid, MATMUL_THREADS, with.blocks_a_warp * with.at.rows_at_once * row_bytes, with);
}

extern "C" void launch_matmul(gpu_stream *stream, const matmul_args *args)
{
    switch (args->weight[0].dtype) {
#define START(name, ...)                                                                                                   \
    case BP_##name:                                                                                                        \
        return start<BP_##name>(stream, *args);
        BLOCK_FORMATS(START)
#undef START
    default:
        return launch_matmul_floats(stream, *args);
    }
}
