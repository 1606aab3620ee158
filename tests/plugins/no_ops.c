/* no_ops: no operations table. */
#include <backplane/backend.h>

static const bp_plugin descriptor = {
    .size = sizeof descriptor,
    .abi_major = BP_ABI_MAJOR,
    .abi_minor = BP_ABI_MINOR,
    .kind = BP_PLUGIN_BACKEND,
    .name = "no_ops",
    .ops = NULL,
};

const bp_plugin *bp_plugin_entry(void)
{
    return &descriptor;
}
