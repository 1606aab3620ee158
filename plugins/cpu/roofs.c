/* What this machine can do at most: bytes read from memory and operations a second, by all threads of the pool together, with
 * the device's instruction set. The best of a few short runs counts: others on the machine only ever make one slower.
 *
 * Memory is read in a buffer several times the last cache, each worker its own contiguous share, as decoding reads
 * weights; so the figure is memory's and not the cache's. */
#include "device.h"

#include "kernels/roofs.h"
#include "memory.h"
#include "platform.h"

#include <stdlib.h>
#include <string.h>

enum { RUNS = 5, MEBIBYTE = 1 << 20, LEAST_BUFFER = 128 * MEBIBYTE, MOST_BUFFER = 1024 * MEBIBYTE, RUN_NS = 20000000 };

typedef enum measure { READ_ONE_STREAM, READ_STREAMS, INT8, FP32, BF16 } measure;

/* One run: what every worker does. */
typedef struct run {
    const roof_kernels *kernels;
    const roof_bf16 *bf16; /* NULL where BF16 is multiplied as binary32 */
    measure what;
    const uint8_t *data;
    size_t share; /* bytes of each worker */
    size_t rounds;
    volatile uint32_t *results; /* [workers] so that no work is left out */
} run;

static const roof_kernels *roofs_of(int isa)
{
    switch (isa) {
#if defined(__x86_64__)
    case ISA_AVX2:
        return &avx2_roofs;
    case ISA_AVX512:
        return &avx512_roofs;
#endif
    default:
        return NULL; /* the specification in plain C, which has no roof of its own */
    }
}

static const roof_bf16 *bf16_of(const bp_device *device)
{
#if defined(__x86_64__)
    if (device->multiply_bf16 == avx512_bf16_dot)
        return &avx512_bf16_roof;
#endif
    (void)device;
    return NULL;
}

static void work(void *context, pool *threads, size_t worker)
{
    const run *r = context;
    uint32_t result = 0;
    (void)threads;
    switch (r->what) {
    case READ_ONE_STREAM:
        result = r->kernels->read(r->data + worker * r->share, r->share, 1);
        break;
    case READ_STREAMS:
        result = r->kernels->read(r->data + worker * r->share, r->share, ROOF_STREAMS);
        break;
    case INT8:
        result = r->kernels->int8(r->rounds);
        break;
    case FP32:
        result = r->kernels->fp32(r->rounds) > 0.0f;
        break;
    case BF16:
        result = r->bf16->multiply(r->rounds) > 0.0f;
        break;
    }
    r->results[worker] = result;
}

static double seconds_of(pool *threads, run *r)
{
    uint64_t begin = platform_now();
    pool_run(threads, work, r);
    return (double)(platform_now() - begin) / 1e9;
}

/* `amount` of all workers in one run, a second. */
static double best_rate(pool *threads, run *r, double amount)
{
    double best = 0;
    for (int i = 0; i < RUNS; i++) {
        double rate = amount / seconds_of(threads, r);
        best = rate > best ? rate : best;
    }
    return best;
}

/* `ops` of one round by one worker. The rounds are first doubled until a run takes long enough to be timed. */
static double best_ops(pool *threads, run *r, size_t ops)
{
    for (r->rounds = 4096; seconds_of(threads, r) < RUN_NS / 1e9; r->rounds *= 2)
        ;
    return best_rate(threads, r, (double)r->rounds * (double)ops * (double)pool_workers(threads));
}

/* Every page is written once: pages that nobody wrote are all the same one. */
static void touch(void *context, pool *threads, size_t worker)
{
    const run *r = context;
    (void)threads;
    memset((uint8_t *)(uintptr_t)r->data + worker * r->share, (int)worker + 1, r->share);
}

static bp_status measure_memory(bp_device *device, run *r, bp_roofs *out, bp_error *error)
{
    size_t workers = pool_workers(device->threads), bytes = size_min(4 * platform_last_cache(), MOST_BUFFER);
    uint64_t total, available;
    memory_of_machine(&total, &available);
    bytes = size_max(bytes, LEAST_BUFFER);
    if (available / 2 < bytes)
        return fail(error, BP_ENOMEM, "cpu: reading from memory cannot be measured in less than %zu MiB of free memory",
                    2 * bytes / MEBIBYTE);
    memory buffer;
    if (memory_map(bytes, MEMORY_HUGE, &buffer) != 0)
        return fail(error, BP_ENOMEM, "cpu: no memory to measure reading from it");
    r->data = buffer.data;
    r->share = bytes / workers / ROOF_BYTES * ROOF_BYTES;
    pool_run(device->threads, touch, r);
    for (r->what = READ_ONE_STREAM; r->what <= READ_STREAMS; r->what++) {
        double rate = best_rate(device->threads, r, (double)r->share * (double)workers);
        out->read_bandwidth = rate > out->read_bandwidth ? rate : out->read_bandwidth;
    }
    memory_unmap(&buffer);
    return BP_OK;
}

bp_status device_roofs(bp_device *device, bp_roofs *out, bp_error *error)
{
    if (!device || !out || out->size < sizeof out->size)
        return fail(error, BP_EINVAL, "cpu: roofs needs a device and a sized struct");
    bp_roofs roofs = {.size = sizeof roofs};
    run r = {.kernels = roofs_of(device->isa), .bf16 = bf16_of(device)};
    if (!r.kernels)
        return fail(error, BP_EUNSUPPORTED, "cpu: isa generic has no measured limits; use isa: auto");
    uint32_t *results = calloc(pool_workers(device->threads), sizeof *results);
    if (!results)
        return fail(error, BP_ENOMEM, "cpu: no memory for a result of each thread");
    r.results = results;
    bp_status status = measure_memory(device, &r, &roofs, error);
    if (status == BP_OK) {
        r.what = INT8;
        roofs.int8_ops = best_ops(device->threads, &r, r.kernels->int8_ops);
        r.what = FP32;
        roofs.fp32_ops = roofs.bf16_ops = best_ops(device->threads, &r, r.kernels->fp32_ops);
        r.what = BF16;
        if (r.bf16)
            roofs.bf16_ops = best_ops(device->threads, &r, r.bf16->ops);
    }
    free(results);
    if (status != BP_OK)
        return status;
    size_t bytes = size_min(out->size, sizeof roofs);
    roofs.size = (uint32_t)bytes;
    memcpy(out, &roofs, bytes);
    return BP_OK;
}
