/* NORM: a warp a row. Lane l sums elements l, l + 32, … in ascending order, which is the contract's order.
 *
 * The row with its residual is formed anew in each pass rather than kept: it is the same sum. */
#include "device.h"

enum { THREADS = 128, WARPS = THREADS / WARP };

struct row_input {
    const float *in, *residual; /* residual: of PRE_RESIDUAL, or NULL */
};

DEVICE float element(const row_input &row, uint32_t i)
{
    return row.residual ? row.in[i] + row.residual[i] : row.in[i];
}

/* The mean (0 of RMS), and 1 / sqrt of the mean square around it. */
DEVICE void statistics(const norm_args &args, const row_input &row, unsigned lane, float *mean, float *r)
{
    float n = static_cast<float>(args.in.width), sum = 0.0f;
    *mean = 0.0f;
    if (args.kind == BP_NORM_LAYER) {
        for (uint32_t i = lane; i < args.in.width; i += WARP)
            sum = sum + element(row, i);
        *mean = warp_sum<WARP>(sum) / n;
    }
    sum = 0.0f;
    for (uint32_t i = lane; i < args.in.width; i += WARP) {
        float x = element(row, i) - *mean;
        sum = fused(x, x, sum);
    }
    *r = 1.0f / square_root(warp_sum<WARP>(sum) / n + args.epsilon);
}

/* Grid: [rows / 4]. */
__global__ void norm_rows(norm_args args)
{
    uint32_t row = blockIdx.x * WARPS + threadIdx.x / WARP, lane = threadIdx.x % WARP, width = args.in.width;
    if (row >= args.rows)
        return;
    const float *other =
        args.residual.floats ? args.residual.floats + static_cast<uint64_t>(row) * args.residual.stride : nullptr;
    row_input in = {args.in.floats + static_cast<uint64_t>(row) * args.in.stride,
                    args.flags == BP_NORM_PRE_RESIDUAL ? other : nullptr};
    float mean, r;
    statistics(args, in, lane, &mean, &r);
    for (uint32_t base = 0; base < width; base += WARP) {
        uint32_t i = base + lane;
        float x = i < width ? element(in, i) : 0.0f;
        if (args.sum.width)
            warp_store(args.sum, row, i, x, lane);
        float y = (x - mean) * r;
        if (args.weight && i < width)
            y = y * args.weight[i];
        if (args.bias && i < width)
            y = y + args.bias[i];
        if (args.flags == BP_NORM_POST_RESIDUAL && i < width)
            y = other[i] + y;
        warp_store(args.out, row, i, y, lane);
    }
}

extern "C" void launch_norm(gpu_stream *stream, const norm_args *args)
{
    launch(stream, norm_rows, dim3((args->rows + WARPS - 1) / WARPS), THREADS, 0, *args);
}
