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

static __device__ __forceinline__ float fused(float a, float b, float c)
{
    return __fmaf_rn(a, b, c);
}

static __device__ __forceinline__ float square_root(float x)
{
    return __fsqrt_rn(x);
}

#endif
