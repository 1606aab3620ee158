/* The language of the kernels where nvcc compiles them: CUDA itself, and the few names that emulated/language.h must spell
 * otherwise. */
#ifndef CUDA_LANGUAGE_H
#define CUDA_LANGUAGE_H

#include <cuda_runtime.h>

/* The block's dynamic shared memory. */
#define SHARED_MEMORY(name) extern __shared__ __align__(16) unsigned char name[]

/* Values of this table are read by all threads. */
#define DEVICE_TABLE __device__ const

struct gpu_stream; /* a cudaStream_t */

/* Starts `grid` blocks of `threads` threads; what goes wrong is told by gpu_wait. */
template <typename Args>
inline void launch(gpu_stream *stream, void (*kernel)(Args), dim3 grid, unsigned threads, size_t shared, const Args &args)
{
    kernel<<<grid, threads, shared, reinterpret_cast<cudaStream_t>(stream)>>>(args);
}

/* The sum of the four products of signed bytes, and c. */
static __device__ __forceinline__ int dot4(uint32_t a, uint32_t b, int c)
{
    return __dp4a(static_cast<int>(a), static_cast<int>(b), c);
}

/* c += a * b, of signed bytes in 16 x 32 by 32 x 8 and 16 x 16 by 16 x 8: by all lanes of a warp together, which hold
 * what PTX says. */
static __device__ __forceinline__ void mma_32(int *c, const uint32_t *a, const uint32_t *b)
{
    asm("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+r"(c[0]), "+r"(c[1]), "+r"(c[2]), "+r"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

static __device__ __forceinline__ void mma_16(int *c, const uint32_t *a, uint32_t b)
{
    asm("mma.sync.aligned.m16n8k16.row.col.s32.s8.s8.s32 {%0, %1, %2, %3}, {%4, %5}, {%6}, {%0, %1, %2, %3};"
        : "+r"(c[0]), "+r"(c[1]), "+r"(c[2]), "+r"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(b));
}

/* c += a * b, of BF16 in 16 x 16 by 16 x 8, likewise; the order and rounding of its sums are the device's own. */
static __device__ __forceinline__ void mma_bf16(float *c, const uint32_t *a, const uint32_t *b)
{
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

static __device__ __forceinline__ float fused(float a, float b, float c)
{
    return __fmaf_rn(a, b, c);
}

static __device__ __forceinline__ float square_root(float x)
{
    return __fsqrt_rn(x);
}

#endif
