/* Products with floating-point weights, in the order of docs/numerics.md: F32 and F16 in chains of 256 products whose
 * sums are added in ascending order, BF16 in one chain of pairs (of `numerics: stable`, see matmul_bf16.cu). */
#include "matmul.h"

enum { ROWS = 4 /* a lane's chains at once */ };

/* --- F32 and F16 ------------------------------------------------------------------------------------------------------ */

/* Elements [0, 16 / sizeof(T)) of a piece. */
DEVICE void load_piece(const float *from, float *w)
{
    float4 v = *reinterpret_cast<const float4 *>(from);
    w[0] = v.x, w[1] = v.y, w[2] = v.z, w[3] = v.w;
}

DEVICE void load_piece(const uint16_t *from, float *w)
{
    uint4 v = *reinterpret_cast<const uint4 *>(from);
    const uint32_t words[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
    for (int i = 0; i < 8; i++)
        w[i] = half_to_float(static_cast<uint16_t>(words[i / 2] >> i % 2 * 16));
}

/* The sums of the block of 256 from `start`, of this lane's output, for each of the rows. */
template <typename T>
DEVICE void block_sums(const T *tile, const float *const *x, uint32_t start, uint32_t end, unsigned lane, float *sums)
{
    constexpr uint32_t piece = 16 / sizeof(T);
    float w[piece];
#pragma unroll
    for (int r = 0; r < ROWS; r++)
        sums[r] = 0.0f;
    for (uint32_t i = start; i < end; i += piece) {
        load_piece(tile + (static_cast<uint64_t>(i) * TILE_COLUMNS + lane * piece), w);
#pragma unroll
        for (uint32_t e = 0; e < piece; e++)
            if (i + e < end)
#pragma unroll
                for (int r = 0; r < ROWS; r++)
                    sums[r] = fused(x[r][i + e], w[e], sums[r]);
    }
}

/* Grid: [tile][rows / 4]. Rows that do not exist repeat the last. */
template <typename T> __global__ void __launch_bounds__(MATMUL_THREADS, 2) matmul_floats(matmul_args args)
{
    SHARED_MEMORY(shared);
    uint32_t warp = threadIdx.x / WARP, lane = threadIdx.x % WARP, k = args.weight[0].k, stage = 0;
    uint32_t first = blockIdx.y * ROWS, rows = smaller(args.rows - first, ROWS);
    float total = 0.0f, first_total = 0.0f, sums[ROWS]; /* first_total: of the weight before, of two */
    const float *x[ROWS];
    for (uint32_t r = 0; r < ROWS; r++)
        x[r] = args.in.floats + static_cast<uint64_t>(first + (r < rows ? r : rows - 1)) * args.in.stride;
    for (int part = 0; part < 2 && args.weight[part].n; part++) {
        const T *tile = reinterpret_cast<const T *>(args.weight[part].data + blockIdx.x * args.weight[part].tile_bytes);
        first_total = total;
        total = 0.0f;
        for (uint32_t base = 0; base < k; base += MATMUL_WARPS * K_BLOCK, stage ^= 1) {
            float *terms = reinterpret_cast<float *>(shared) + stage * MATMUL_WARPS * ROWS * WARP; /* [warp][row][lane] */
            uint32_t start = base + warp * K_BLOCK;
            if (start < k) {
                block_sums(tile, x, start, smaller(start + K_BLOCK, k), lane, sums);
                for (uint32_t r = 0; r < ROWS; r++)
                    terms[(warp * ROWS + r) * WARP + lane] = sums[r];
            }
            __syncthreads();
            for (uint32_t i = 0; warp < rows && i < MATMUL_WARPS && base + i * K_BLOCK < k; i++)
                total = total + terms[(i * ROWS + warp) * WARP + lane];
        }
    }
    if (warp < rows) {
        float gate = args.weight[1].n ? first_total : total;
        finish_output(args, first + warp, blockIdx.x * TILE_COLUMNS + lane, gate, total, lane);
    }
}

/* --- BF16 ------------------------------------------------------------------------------------------------------------- */

DEVICE float normal_or_zero(uint32_t h)
{
    return bfloat_to_float(static_cast<uint16_t>((h & 0x7f80u) != 0 ? h : h & 0x8000u));
}

/* fma(a, b, c) of numbers of which none is denormal, and whose result becomes a zero where it would round to less than
 * 2^-126 if exponents had no bound. Near that the product and the sum are exact in double. */
DEVICE float normal_step(float a, float b, float c)
{
    float result = fused(a, b, c);
    if (math_abs(result) <= 0x1p-126f) {
        double exact = static_cast<double>(a) * static_cast<double>(b) + static_cast<double>(c);
        if (fabs(exact) < 0x1.ffffffp-127)
            result = math_copysign(0.0f, result);
    }
    return result;
}

/* A warp's tile for up to 4 rows: one chain each over all of K, the second element of a pair first. */
DEVICE void bf16_chains(const matmul_args &args, const packed &weight, uint32_t tile, const uint16_t *const *x,
                        unsigned lane, float *sums)
{
    const uint8_t *data = weight.data + tile * weight.tile_bytes;
    uint32_t k = args.weight[0].k;
#pragma unroll
    for (int r = 0; r < ROWS; r++)
        sums[r] = 0.0f;
    for (uint32_t i = 0; i < k; i += 8) {
        uint4 v = *reinterpret_cast<const uint4 *>(data + static_cast<uint64_t>(i) * 2 * TILE_COLUMNS + lane * 16);
        const uint32_t words[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
        for (uint32_t pair = 0; pair < 4; pair++) {
            if (i + pair * 2 >= k)
                continue;
            float low = normal_or_zero(words[pair] & 0xffffu), high = normal_or_zero(words[pair] >> 16);
#pragma unroll
            for (int r = 0; r < ROWS; r++) {
                uint32_t halves = *reinterpret_cast<const uint32_t *>(x[r] + i + pair * 2);
                sums[r] = normal_step(normal_or_zero(halves >> 16), high, sums[r]);
                sums[r] = normal_step(normal_or_zero(halves & 0xffffu), low, sums[r]);
            }
        }
    }
}

enum { BF16_WARPS = 4 };

/* Grid: [tiles / 4][rows / 4]; a warp a tile. */
__global__ void __launch_bounds__(BF16_WARPS *WARP) matmul_bf16(matmul_args args)
{
    uint32_t tile = blockIdx.x * BF16_WARPS + threadIdx.x / WARP, lane = threadIdx.x % WARP;
    uint32_t first = blockIdx.y * ROWS, rows = smaller(args.rows - first, ROWS);
    if (tile * TILE_COLUMNS >= args.weight[0].n)
        return;
    const uint16_t *x[ROWS];
    for (uint32_t r = 0; r < ROWS; r++)
        x[r] = args.in.halves + static_cast<uint64_t>(first + (r < rows ? r : rows - 1)) * args.in.stride;
    float sums[ROWS], second[ROWS] = {0.0f, 0.0f, 0.0f, 0.0f};
    bf16_chains(args, args.weight[0], tile, x, lane, sums);
    if (args.weight[1].n)
        bf16_chains(args, args.weight[1], tile, x, lane, second);
#pragma unroll
    for (uint32_t r = 0; r < ROWS; r++)
        if (r < rows)
            finish_output(args, first + r, tile * TILE_COLUMNS + lane, sums[r], second[r], lane);
}

void launch_matmul_floats(gpu_stream *stream, const matmul_args &args)
{
    unsigned tiles = matmul_tile_count(&args), rows = (args.rows + ROWS - 1) / ROWS;
    size_t shared = 2 * MATMUL_WARPS * ROWS * WARP * sizeof(float);
    if (args.weight[0].dtype == BP_F32)
        launch(stream, matmul_floats<float>, dim3(tiles, rows), MATMUL_THREADS, shared, args);
    else if (args.weight[0].dtype == BP_F16)
        launch(stream, matmul_floats<uint16_t>, dim3(tiles, rows), MATMUL_THREADS, shared, args);
    else if (args.stable)
        launch_matmul_bf16_tiles(stream, args);
    else
        launch(stream, matmul_bf16, dim3((tiles + BF16_WARPS - 1) / BF16_WARPS, rows), BF16_WARPS * WARP, 0, args);
}
