/* Ops on single rows: EMBED, ADD, SCALE, ROWS, POOL, and putting floats into their readers' forms. */
#include "unpack.h"

enum { THREADS = 128 };

static inline unsigned divide(unsigned a, unsigned b)
{
    return (a + b - 1) / b;
}

struct embed_rows_args {
    embed_args at;
    block_format format;
};

/* Grid: [row][columns / 128]. A warp that is beyond the row's last column has nothing to store. */
__global__ void embed_rows(embed_rows_args args)
{
    const embed_args &a = args.at;
    uint32_t column = blockIdx.y * THREADS + threadIdx.x, row = blockIdx.x;
    float x =
        column < a.out.width ? packed_element(a.weight, args.format, static_cast<uint32_t>(a.index[row]), column) : 0.0f;
    if (column / WARP * WARP < a.out.width)
        warp_store(a.out, row, column, x * a.scale, threadIdx.x % WARP);
}

extern "C" void launch_embed(gpu_stream *stream, const embed_args *args)
{
    launch(stream, embed_rows, dim3(args->rows, divide(args->out.width, THREADS)), THREADS, 0,
           embed_rows_args{*args, block_format_of(args->weight.dtype)});
}

/* The same grid. */
__global__ void elements(elements_args args)
{
    uint32_t column = blockIdx.y * THREADS + threadIdx.x, row = blockIdx.x;
    float x = 0.0f;
    if (column < args.out.width) {
        uint32_t from = args.what == ELEMENTS_SELECT ? static_cast<uint32_t>(args.index[row]) : row;
        x = args.a.floats[static_cast<uint64_t>(from) * args.a.stride + column];
        if (args.what == ELEMENTS_ADD)
            x = x + args.b.floats[static_cast<uint64_t>(row) * args.b.stride + column];
        if (args.what == ELEMENTS_SCALE)
            x = x * args.scale;
    }
    if (column / WARP * WARP < args.out.width)
        warp_store(args.out, row, column, x, threadIdx.x % WARP);
}

extern "C" void launch_elements(gpu_stream *stream, const elements_args *args)
{
    launch(stream, elements, dim3(args->rows, divide(args->out.width, THREADS)), THREADS, 0, *args);
}

/* --- POOL ------------------------------------------------------------------------------------------------------------- */

/* This thread's columns of a sequence's vector. */
DEVICE void pool_columns(const pool_args &args, uint32_t seq, float *out)
{
    int32_t from = args.first[seq], to = args.first[seq + 1];
    for (uint32_t c = threadIdx.x; c < args.in.width; c += THREADS) {
        const float *column = args.in.floats + c;
        uint64_t stride = args.in.stride;
        float sum = column[static_cast<uint64_t>(args.pooling == BP_POOL_LAST ? to - 1 : from) * stride];
        if (args.pooling == BP_POOL_MEAN) {
            for (int32_t t = from + 1; t < to; t++)
                sum = sum + column[static_cast<uint64_t>(t) * stride];
            sum = sum / static_cast<float>(to - from);
        }
        out[c] = sum;
    }
}

/* Grid: [sequence]. */
__global__ void pool_sequences(pool_args args)
{
    SHARED_MEMORY(shared);
    float *length = reinterpret_cast<float *>(shared);
    uint32_t seq = blockIdx.x, width = args.in.width;
    float *out = args.out + static_cast<uint64_t>(seq) * width;
    pool_columns(args, seq, out);
    if (!args.normalise)
        return;
    __syncthreads();
    if (threadIdx.x < WARP) {
        float sum = 0.0f;
        for (uint32_t i = threadIdx.x; i < width; i += WARP)
            sum = fused(out[i], out[i], sum);
        sum = square_root(warp_sum<WARP>(sum));
        if (threadIdx.x == 0)
            *length = sum;
    }
    __syncthreads();
    for (uint32_t c = threadIdx.x; c < width && *length != 0.0f; c += THREADS)
        out[c] = out[c] / *length;
}

extern "C" void launch_pool(gpu_stream *stream, const pool_args *args)
{
    launch(stream, pool_sequences, dim3(args->seqs), THREADS, sizeof(float), *args);
}
