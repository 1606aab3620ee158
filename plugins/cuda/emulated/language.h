/* The language of the kernels where the host's own compiler compiles them: what of CUDA they use, by its definition.
 *
 * A block's threads take turns on one thread of the host. Each runs until it waits for others (at a barrier, or at an
 * exchange within its warp), and whose turn it is may be drawn at random, so that a barrier which is missing shows as a
 * wrong result: no thread may count on what another has or has not done between two barriers. Shared memory and fresh
 * device memory hold NaN. A wait that nobody ends (threads at different barriers, an exchange with lanes that have left)
 * is an error of the launch. */
#ifndef CUDA_LANGUAGE_H
#define CUDA_LANGUAGE_H

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>

#define __global__ static
#define __device__
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __restrict__ __restrict
#define SHARED_MEMORY(name) unsigned char *const name = emulated_self->shared
#define DEVICE_TABLE        static const

struct dim3 {
    unsigned x, y, z;
    dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_)
    {
    }
};
struct uint2 {
    unsigned x, y;
};
struct alignas(16) uint4 {
    unsigned x, y, z, w;
};
struct alignas(16) float4 {
    float x, y, z, w;
};

/* What a running thread knows of itself. */
struct emulated_thread {
    dim3 thread_index, block_index, block_size, grid_size;
    unsigned char *shared;
};
extern __thread emulated_thread *emulated_self;
#define threadIdx (emulated_self->thread_index)
#define blockIdx  (emulated_self->block_index)
#define blockDim  (emulated_self->block_size)
#define gridDim   (emulated_self->grid_size)

/* --- waiting ---------------------------------------------------------------------------------------------------------- */

/* Both return once every thread of the block, or every lane of `mask`, has come. */
void __syncthreads();
void __syncwarp(unsigned mask = 0xffffffffu);
/* Gives the values, and once every lane of the mask has: all values, [32], until the lane's next exchange but one. */
struct emulated_slot {
    uint64_t x, y, z;
};
const emulated_slot *emulated_exchange(unsigned mask, uint64_t x, uint64_t y = 0, uint64_t z = 0);
unsigned emulated_lane();

template <typename T> inline T emulated_shuffle(unsigned mask, T value, unsigned source)
{
    static_assert(sizeof(T) == 4 || sizeof(T) == 8, "shuffles are of 32 or 64 bits");
    uint64_t bits = 0;
    std::memcpy(&bits, &value, sizeof value);
    const emulated_slot *all = emulated_exchange(mask, bits);
    if (mask >> source & 1)
        std::memcpy(&value, &all[source].x, sizeof value);
    return value;
}

template <typename T> inline T __shfl_xor_sync(unsigned mask, T value, int lanes)
{
    return emulated_shuffle(mask, value, emulated_lane() ^ static_cast<unsigned>(lanes));
}

template <typename T> inline T __shfl_sync(unsigned mask, T value, int source)
{
    return emulated_shuffle(mask, value, static_cast<unsigned>(source) % 32);
}

inline unsigned __reduce_max_sync(unsigned mask, unsigned value)
{
    const emulated_slot *all = emulated_exchange(mask, value);
    for (unsigned i = 0; i < 32; i++)
        if (mask >> i & 1 && all[i].x > value)
            value = static_cast<unsigned>(all[i].x);
    return value;
}

inline int __reduce_add_sync(unsigned mask, int value)
{
    const emulated_slot *all = emulated_exchange(mask, static_cast<uint32_t>(value));
    uint32_t sum = 0;
    for (unsigned i = 0; i < 32; i++)
        sum += mask >> i & 1 ? static_cast<uint32_t>(all[i].x) : 0;
    return static_cast<int>(sum);
}

/* --- arithmetic ------------------------------------------------------------------------------------------------------- */

static inline int dot4(uint32_t a, uint32_t b, int c)
{
    int low = static_cast<int8_t>(a) * static_cast<int8_t>(b) + static_cast<int8_t>(a >> 8) * static_cast<int8_t>(b >> 8);
    int high = static_cast<int8_t>(a >> 16) * static_cast<int8_t>(b >> 16) +
               static_cast<int8_t>(a >> 24) * static_cast<int8_t>(b >> 24);
    return c + low + high;
}

/* c += a * b, of signed bytes in 16 x 16 by 16 x 8, by all lanes of a warp together. Lane l brings four elements of K, from
 * 4 (l % 4), of rows l / 4 and l / 4 + 8 (the halves of its a) and of column l / 4; it gets these rows of columns 2 (l % 4) and
 * the next. */
static inline void emulated_mma(int *c, const uint64_t *a, const uint32_t *b)
{
    for (unsigned i = 0; i < 4; i++)
        for (unsigned t = 0; t < 4; t++)
            c[i] = dot4(static_cast<uint32_t>(a[t] >> i / 2 * 32), b[i % 2 * 4 + t], c[i]);
}

static inline void mma_16(int *c, const uint32_t *a, uint32_t b)
{
    unsigned lane = emulated_lane();
    const emulated_slot *all = emulated_exchange(0xffffffffu, a[0] | static_cast<uint64_t>(a[1]) << 32, b);
    uint64_t rows[4];
    uint32_t columns[8];
    for (unsigned t = 0; t < 4; t++)
        rows[t] = all[lane / 4 * 4 + t].x;
    for (unsigned t = 0; t < 8; t++)
        columns[t] = static_cast<uint32_t>(all[lane % 4 * 8 + t].y);
    emulated_mma(c, rows, columns);
}

/* The same of 16 x 32 by 32 x 8: a[2], a[3] and b[1] are 16 beyond in K. */
static inline void mma_32(int *c, const uint32_t *a, const uint32_t *b)
{
    unsigned lane = emulated_lane();
    const emulated_slot *all =
        emulated_exchange(0xffffffffu, a[0] | static_cast<uint64_t>(a[1]) << 32, a[2] | static_cast<uint64_t>(a[3]) << 32,
                          b[0] | static_cast<uint64_t>(b[1]) << 32);
    for (unsigned half = 0; half < 2; half++) {
        uint64_t rows[4];
        uint32_t columns[8];
        for (unsigned t = 0; t < 4; t++)
            rows[t] = half ? all[lane / 4 * 4 + t].y : all[lane / 4 * 4 + t].x;
        for (unsigned t = 0; t < 8; t++)
            columns[t] = static_cast<uint32_t>(all[lane % 4 * 8 + t].z >> half * 32);
        emulated_mma(c, rows, columns);
    }
}

static inline float emulated_bf16(uint64_t words, unsigned k)
{
    uint32_t bits = static_cast<uint32_t>(words >> k * 16) << 16;
    float x;
    std::memcpy(&x, &bits, sizeof x);
    return x;
}

/* c += a * b, of BF16 in 16 x 16 by 16 x 8: lane l brings elements 2 (l % 4), the next, and those 8 beyond, of the same rows
 * and column as above. A device's order is its own; here it is one chain of FMA in ascending K. */
static inline void mma_bf16(float *c, const uint32_t *a, const uint32_t *b)
{
    unsigned lane = emulated_lane();
    const emulated_slot *all =
        emulated_exchange(0xffffffffu, a[0] | static_cast<uint64_t>(a[2]) << 32, a[1] | static_cast<uint64_t>(a[3]) << 32,
                          b[0] | static_cast<uint64_t>(b[1]) << 32);
    for (unsigned i = 0; i < 4; i++) {
        for (unsigned k = 0; k < 16; k++) {
            unsigned t = k % 8 / 2, half = k / 8 * 2 + k % 2;
            const emulated_slot &row = all[lane / 4 * 4 + t], &column = all[(lane % 4 * 2 + i % 2) * 4 + t];
            c[i] = std::fma(emulated_bf16(i < 2 ? row.x : row.y, half), emulated_bf16(column.z, half), c[i]);
        }
    }
}

static inline float fused(float a, float b, float c)
{
    return std::fma(a, b, c);
}

static inline float square_root(float x)
{
    return std::sqrt(x);
}

/* --- launches --------------------------------------------------------------------------------------------------------- */

struct gpu_stream;
using emulated_call = void(const void *kernel, const void *args);
using emulated_kernel = void();
/* Runs all blocks before it returns, or keeps the launch where they are recorded. `call` calls the kernel with its arguments,
 * once a thread. */
void emulated_launch(gpu_stream *stream, emulated_call *call, emulated_kernel *kernel, const void *args, size_t args_bytes,
                     dim3 grid, unsigned threads, size_t shared);

template <typename Args>
inline void launch(gpu_stream *stream, void (*kernel)(Args), dim3 grid, unsigned threads, size_t shared, const Args &args)
{
    emulated_call *call = [](const void *function, const void *with) {
        auto itself = *static_cast<emulated_kernel *const *>(function);
        reinterpret_cast<void (*)(Args)>(itself)(*static_cast<const Args *>(with));
    };
    emulated_launch(stream, call, reinterpret_cast<emulated_kernel *>(kernel), &args, sizeof args, grid, threads, shared);
}

#endif
