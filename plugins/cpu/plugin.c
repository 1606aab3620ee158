/* What the host sees of this plugin: its options and its operations. */
#include "model.h"
#include "validate.h"

static const bp_option options[] = {
    {.name = "threads",
     .fallback = "auto",
     .help = "Worker threads; auto is one a physical core that this process may use, and no more than its control group's "
             "quota pays for.",
     .type = BP_OPTION_INT,
     .flags = BP_OPTION_AUTO,
     .offset = offsetof(cpu_config, threads),
     .min = 1,
     .max = 256},
    {.name = "isa",
     .fallback = "auto",
     .help = "Instruction set of the kernels; each gives the same bits, and auto is the widest that the processor has.",
     .choices = "auto|generic|avx2|avx512",
     .type = BP_OPTION_ENUM,
     .offset = offsetof(cpu_config, isa)},
    {.name = "spin_us",
     .fallback = "100",
     .help = "Microseconds that a thread waits awake for the others, or for the next step, before it sleeps.",
     .type = BP_OPTION_INT,
     .offset = offsetof(cpu_config, spin_us),
     .min = 0,
     .max = 1000000},
    {.name = "numa",
     .fallback = "auto",
     .help = "auto: on a machine with several memory nodes threads stay on their node and weights lie where they are read; "
             "off: the system decides.",
     .choices = "auto|off",
     .type = BP_OPTION_ENUM,
     .offset = offsetof(cpu_config, numa)},
    {0},
};

static bp_status device_supports(bp_device *device, const bp_program *program, bp_error *error)
{
    (void)device;
    return validate_program("cpu", BP_EMBED_POSITION | BP_EMBED_TYPE, program, error);
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
    .copy_pages = model_copy_pages,
    .read_kv = model_read_kv,
    .roofs = device_roofs,
};

static const bp_plugin descriptor = {
    .size = sizeof descriptor,
    .abi_major = BP_ABI_MAJOR,
    .abi_minor = BP_ABI_MINOR,
    .kind = BP_PLUGIN_BACKEND,
    .config_size = sizeof(cpu_config),
    .name = "cpu",
    .version = "0.1.0",
    .summary = "Runs models on the processor, with the same bits on every instruction set and thread count.",
    .options = options,
    .ops = &ops,
};

const bp_plugin *bp_plugin_entry(void)
{
    return &descriptor;
}
