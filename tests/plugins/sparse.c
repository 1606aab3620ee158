/* sparse: a backend with an older, shorter operations table and nothing in it; the host fills every slot. */
#include <backplane/backend.h>

static const uint32_t ops[2] = {sizeof ops, 0};

static const bp_plugin descriptor = {
    .size = sizeof descriptor,
    .abi_major = BP_ABI_MAJOR,
    .abi_minor = BP_ABI_MINOR,
    .kind = BP_PLUGIN_BACKEND,
    .name = "sparse",
    .ops = ops,
};

const bp_plugin *bp_plugin_entry(void)
{
    return &descriptor;
}
