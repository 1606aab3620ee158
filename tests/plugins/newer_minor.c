/* newer_minor: built against headers newer than the host. */
#include <backplane/backend.h>

static const bp_backend_ops ops = {.size = sizeof ops};

static const bp_plugin descriptor = {
    .size = sizeof descriptor,
    .abi_major = BP_ABI_MAJOR,
    .abi_minor = BP_ABI_MINOR + 1,
    .kind = BP_PLUGIN_BACKEND,
    .name = "newer_minor",
    .ops = &ops,
};

const bp_plugin *bp_plugin_entry(void)
{
    return &descriptor;
}
