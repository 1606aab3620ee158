/* What the host sees of this plugin. Name, summary and options are those of the runtime that is linked. */
#include "model.h"
#include "validate.h"

static bp_status device_supports(bp_device *device, const bp_program *program, bp_error *error)
{
    (void)device;
    return validate_program(gpu_backend_name, BP_EMBED_POSITION | BP_EMBED_TYPE, program, error);
}

static const bp_backend_ops ops = {
    .size = sizeof ops,
    .open = device_open,
    .close = device_close,
    .info = device_info,
    .supports = device_supports,
    .compile = model_compile,
    .release = model_release,
    .memory = model_memory,
    .submit = model_submit,
    .wait = model_wait,
    .wait_topk = model_wait_topk,
    .copy_pages = model_copy_pages,
    .read_kv = model_read_kv,
};

static const bp_plugin descriptor = {
    .size = sizeof descriptor,
    .abi_major = BP_ABI_MAJOR,
    .abi_minor = BP_ABI_MINOR,
    .kind = BP_PLUGIN_BACKEND,
    .config_size = sizeof(gpu_config),
    .name = gpu_backend_name,
    .version = "0.1.0",
    .summary = gpu_backend_summary,
    .options = gpu_options,
    .ops = &ops,
};

const bp_plugin *bp_plugin_entry(void)
{
    return &descriptor;
}
