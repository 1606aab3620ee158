/* oversized: says that its descriptor is larger than the host's, under the same ABI version. */
#include <backplane/backend.h>

static const bp_backend_ops ops = {.size = sizeof ops};

static const bp_plugin descriptor = {
    .size = sizeof descriptor + 8,
    .abi_major = BP_ABI_MAJOR,
    .abi_minor = BP_ABI_MINOR,
    .kind = BP_PLUGIN_BACKEND,
    .name = "oversized",
    .ops = &ops,
};

const bp_plugin *bp_plugin_entry(void)
{
    return &descriptor;
}
