/* Asks the processor, where it is one that can be asked. */
#include "base/wide.h"

wide_set wide_best(void)
{
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512dq"))
        return WIDE_AVX512;
    if (__builtin_cpu_supports("avx2"))
        return WIDE_AVX2;
#endif
    return WIDE_BASELINE;
}
