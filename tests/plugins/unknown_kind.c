/* unknown_kind: neither a backend nor a frontend. */
#include <backplane/backend.h>

static const bp_backend_ops ops = {.size = sizeof ops};

static const bp_plugin descriptor = {
    .size = sizeof descriptor,
    .abi_major = BP_ABI_MAJOR,
    .abi_minor = BP_ABI_MINOR,
    .kind = 77,
    .name = "unknown_kind",
    .ops = &ops,
};

const bp_plugin *bp_plugin_entry(void)
{
    return &descriptor;
}
