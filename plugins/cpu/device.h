/* The opened backend: its threads and the kernel set it chose. One device may hold many models; they run in turn. */
#ifndef CPU_DEVICE_H
#define CPU_DEVICE_H

#include "kernels/kernels.h"
#include "pool.h"
#include "support.h"

enum { ISA_AUTO = 0, ISA_GENERIC = 1, ISA_AVX2 = 2, ISA_AVX512 = 3, ISA_COUNT = 4 }; /* the order of the option's words */

/* Filled by the host from the option table in plugin.c. */
typedef struct cpu_config {
    int64_t threads; /* INT64_MIN: automatic */
    int64_t spin_us;
    int32_t isa;
    int32_t numa; /* NUMA_AUTO or NUMA_OFF */
} cpu_config;

enum { NUMA_AUTO = 0, NUMA_OFF = 1 };

struct bp_device {
    const bp_host *host;
    const kernels *kernels;
    int isa; /* ISA_GENERIC, ISA_AVX2 or ISA_AVX512 */
    matmul_fn *multiply_bf16;
    pool *threads;
    struct pack *packs; /* share.c: weights of the models that there are */
};

bp_status device_open(const bp_host *host, const void *config, bp_device **out, bp_error *error);
/* The same with workers placed by the caller: the options say the rest. */
bp_status device_open_placed(const bp_host *host, const cpu_config *options, const placement *where, bp_device **out,
                             bp_error *error);
void device_close(bp_device *device);
/* bf16.c: products with BF16 weights on the instruction set. Where the processor has an instruction for them it is tried
 * against fused multiply-adds first, for a millisecond, and passed over, with a warning, if a bit differs. */
matmul_fn *choose_bf16(const bp_host *host, int isa);

bp_status device_info(bp_device *device, bp_device_info *out, bp_error *error);
bp_status device_roofs(bp_device *device, bp_roofs *out, bp_error *error); /* roofs.c */

#endif
