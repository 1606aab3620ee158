/* fails_open: loads, and cannot open its device. */
#include <backplane/backend.h>

#include <stdio.h>

static bp_status fails_open(const bp_host *host, const void *config, bp_device **out, bp_error *error)
{
    (void)host, (void)config, (void)out;
    if (error) {
        error->code = BP_EDEVICE;
        snprintf(error->message, sizeof error->message, "fails_open: there is no such device");
    }
    return BP_EDEVICE;
}

static const bp_backend_ops ops = {.size = sizeof ops, .open = fails_open};

static const bp_plugin descriptor = {
    .size = sizeof descriptor,
    .abi_major = BP_ABI_MAJOR,
    .abi_minor = BP_ABI_MINOR,
    .kind = BP_PLUGIN_BACKEND,
    .name = "fails_open",
    .ops = &ops,
};

const bp_plugin *bp_plugin_entry(void)
{
    return &descriptor;
}
