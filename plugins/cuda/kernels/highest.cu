/* The highest logits of each row, descending, ties to the lowest id: the greedy token is the first.
 *
 * A logit and its id are one number: the float's bits made to sort as integers, above the complement of the id. A block has a
 * row and takes the largest number below the one it took last, as often as is asked. -0 equals 0, and infinity the
 * largest finite number; a NaN is above all, so that it is seen. */
#include "device.h"

constexpr float FLOAT_MOST = 3.40282347e+38f;

enum { THREADS = 256, WARPS = THREADS / WARP };

DEVICE unsigned long long number_of(float x, uint32_t id)
{
    uint32_t bits = math_bits(x > FLOAT_MOST ? FLOAT_MOST : x + 0.0f), sorted = bits & 0x80000000u ? ~bits : bits | 0x80000000u;
    if (!(x == x))
        sorted = 0xfffffffeu; /* so that no number is all ones */
    return static_cast<unsigned long long>(sorted) << 32 | (0xffffffffu - id);
}

/* Of the block's threads, in every one of them. */
DEVICE unsigned long long block_largest(unsigned long long number, unsigned long long *told)
{
#pragma unroll
    for (int step = WARP / 2; step > 0; step /= 2) {
        unsigned long long other = __shfl_xor_sync(ALL, number, step);
        number = other > number ? other : number;
    }
    if (threadIdx.x % WARP == 0)
        told[threadIdx.x / WARP] = number;
    __syncthreads(); /* all warps have told */
    for (int i = 0; i < WARPS; i++)
        number = told[i] > number ? told[i] : number;
    __syncthreads(); /* told is written again */
    return number;
}

/* Grid: [row]. */
__global__ void __launch_bounds__(THREADS) highest_of_rows(highest_args args)
{
    SHARED_MEMORY(shared);
    const float *row = args.logits + static_cast<uint64_t>(blockIdx.x) * args.width;
    unsigned long long last = ~0ull;
    for (uint32_t i = 0; i < args.count; i++) {
        unsigned long long largest = 0;
        for (uint32_t id = threadIdx.x; id < args.width; id += THREADS) {
            unsigned long long number = number_of(row[id], id);
            if (number < last && number > largest)
                largest = number;
        }
        last = block_largest(largest, reinterpret_cast<unsigned long long *>(shared));
        if (threadIdx.x == 0) {
            uint32_t id = 0xffffffffu - static_cast<uint32_t>(last);
            uint64_t at = static_cast<uint64_t>(blockIdx.x) * args.count + i;
            args.ids[at] = static_cast<int32_t>(id);
            args.values[at] = row[id];
        }
    }
}

extern "C" void launch_highest(gpu_stream *stream, const highest_args *args)
{
    launch(stream, highest_of_rows, dim3(args->rows), THREADS, WARPS * sizeof(unsigned long long), *args);
}
