/* Opening and describing the device. */
#include "model.h"

#include <stdlib.h>

bp_status device_open(const bp_host *host, const void *config, bp_device **out, bp_error *error)
{
    if (!host || !config || !out)
        return fail(error, BP_EINVAL, "%s: open needs a host, a configuration and a place for the device",
                    gpu_backend_name);
    bp_device *device = calloc(1, sizeof *device);
    if (!device)
        return fail(error, BP_ENOMEM, "%s: no memory for the device", gpu_backend_name);
    device->host = host;
    gpu_facts facts = {0};
    bp_status status = gpu_open(host, config, &device->gpu, error);
    if (status == BP_OK)
        status = gpu_describe(device->gpu, &facts, error);
    if (status != BP_OK) {
        device_close(device);
        return status;
    }
    device->processors = facts.processors;
    *out = device;
    return BP_OK;
}

void device_close(bp_device *device)
{
    if (!device)
        return;
    gpu_close(device->gpu);
    free(device);
}

bp_status device_info(bp_device *device, bp_device_info *out, bp_error *error)
{
    bp_device_info info = {.size = sizeof info, .caps = BP_CAP_COPY | BP_CAP_ASYNC | BP_CAP_TOPK};
    gpu_facts facts;
    if (!device || !out || out->size < sizeof out->size)
        return fail(error, BP_EINVAL, "%s: info needs a device and a sized struct", gpu_backend_name);
    bp_status status = gpu_describe(device->gpu, &facts, error);
    if (status != BP_OK)
        return status;
    info.memory_total = facts.memory_total;
    info.memory_free = facts.memory_free;
    snprintf(info.name, sizeof info.name, "%s (%s)", gpu_backend_name, facts.name);
    size_t bytes = size_min(out->size, sizeof info);
    info.size = (uint32_t)bytes;
    memcpy(out, &info, bytes);
    return BP_OK;
}
