/* Opening and describing the device. */
#include "device.h"

#include "memory.h"
#include "platform.h"

#include <stdlib.h>
#include <string.h>

static const kernels *kernels_of(int isa)
{
    switch (isa) {
#if defined(__x86_64__)
    case ISA_AVX2:
        return &avx2_kernels;
    case ISA_AVX512:
        return &avx512_kernels;
#endif
    default:
        return &generic_kernels;
    }
}

static bp_status choose_isa(int32_t wanted, int *out, bp_error *error)
{
    platform_features has = platform_processor();
    if (wanted < ISA_AUTO || wanted >= ISA_COUNT)
        return fail(error, BP_EINVAL, "cpu: isa %d is not one of the choices", wanted);
    if (wanted == ISA_AVX512 && !has.avx512) {
        return fail(error, BP_EUNSUPPORTED,
                    "cpu: isa avx512 needs a processor with AVX-512 F, BW, VL, DQ and VNNI; use isa: auto");
    }
    if (wanted == ISA_AVX2 && !has.avx2) {
        return fail(error, BP_EUNSUPPORTED, "cpu: isa avx2 needs a processor with AVX2, FMA and F16C; use isa: auto");
    }
    int best = has.avx512 ? ISA_AVX512 : has.avx2 ? ISA_AVX2 : ISA_GENERIC;
    *out = wanted == ISA_AUTO ? best : wanted;
    return BP_OK;
}

bp_status device_open(const bp_host *host, const void *config, bp_device **out, bp_error *error)
{
    const cpu_config *options = config;
    if (!host || !options || !out)
        return fail(error, BP_EINVAL, "cpu: open needs a host, a configuration and a place for the device");
    size_t wanted = options->threads == INT64_MIN ? 0 : (size_t)options->threads;
    if (options->threads != INT64_MIN && (options->threads < 1 || options->threads > MAX_WORKERS))
        return fail(error, BP_EINVAL, "cpu: threads must be auto or 1 to %d", MAX_WORKERS);
    placement where = place_here(wanted, options->numa == NUMA_AUTO);
    return device_open_placed(host, options, &where, out, error);
}

bp_status device_open_placed(const bp_host *host, const cpu_config *options, const placement *where, bp_device **out,
                             bp_error *error)
{
    int isa = ISA_GENERIC;
    bp_status status = choose_isa(options->isa, &isa, error);
    if (status != BP_OK)
        return status;
    bp_device *device = calloc(1, sizeof *device);
    if (!device)
        return fail(error, BP_ENOMEM, "cpu: no memory for the device");
    device->host = host;
    device->isa = isa;
    device->kernels = kernels_of(isa);
    device->multiply_bf16 = choose_bf16(host, isa);
    device->threads = pool_new(where, options->spin_us > 0 ? (uint64_t)options->spin_us * 1000u : 0);
    if (!device->threads) {
        free(device);
        return fail(error, BP_ENOMEM, "cpu: cannot start %zu threads", where->workers);
    }
    *out = device;
    return BP_OK;
}

void device_close(bp_device *device)
{
    if (!device)
        return;
    pool_free(device->threads);
    free(device);
}

bp_status device_info(bp_device *device, bp_device_info *out, bp_error *error)
{
    bp_device_info info = {.size = sizeof info, .caps = BP_CAP_COPY | BP_CAP_SHARE};
    if (!device || !out || out->size < sizeof out->size)
        return fail(error, BP_EINVAL, "cpu: info needs a device and a sized struct");
    memory_of_machine(&info.memory_total, &info.memory_free);
    size_t workers = pool_workers(device->threads);
    const placement *where = pool_placement(device->threads);
    char nodes[32] = "";
    if (where->binds)
        snprintf(nodes, sizeof nodes, " on %zu node%s", where->nodes, where->nodes == 1 ? "" : "s");
    snprintf(info.name, sizeof info.name, "cpu (%zu thread%s%s, %s)", workers, workers == 1 ? "" : "s", nodes,
             device->kernels->name);
    size_t bytes = size_min(out->size, sizeof info);
    info.size = (uint32_t)bytes;
    memcpy(out, &info, bytes);
    return BP_OK;
}
