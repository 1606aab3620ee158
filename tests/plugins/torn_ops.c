/* torn_ops: an operations table that ends inside a slot. */
#include <backplane/backend.h>

static const bp_backend_ops ops = {.size = sizeof ops - 3};

static const bp_plugin descriptor = {
    .size = sizeof descriptor,
    .abi_major = BP_ABI_MAJOR,
    .abi_minor = BP_ABI_MINOR,
    .kind = BP_PLUGIN_BACKEND,
    .name = "torn_ops",
    .ops = &ops,
};

const bp_plugin *bp_plugin_entry(void)
{
    return &descriptor;
}
