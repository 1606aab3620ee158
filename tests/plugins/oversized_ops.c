/* oversized_ops: an operations table with a slot that this ABI does not have. */
#include <backplane/backend.h>

static const struct {
    bp_backend_ops known;
    void (*further)(void);
} ops = {.known.size = sizeof ops};

static const bp_plugin descriptor = {
    .size = sizeof descriptor,
    .abi_major = BP_ABI_MAJOR,
    .abi_minor = BP_ABI_MINOR,
    .kind = BP_PLUGIN_BACKEND,
    .name = "oversized_ops",
    .ops = &ops,
};

const bp_plugin *bp_plugin_entry(void)
{
    return &descriptor;
}
