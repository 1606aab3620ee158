/* talkative: a backend that exports more than its entry, because it is linked without a version script. */
#include <backplane/backend.h>

BP_EXPORT int talkative_helper(void);

int talkative_helper(void)
{
    return 1;
}

static const bp_backend_ops ops = {.size = sizeof ops};
static const bp_plugin descriptor = {.size = sizeof descriptor, .abi_major = BP_ABI_MAJOR, .abi_minor = BP_ABI_MINOR,
    .kind = BP_PLUGIN_BACKEND, .name = "talkative", .version = "1", .summary = "Exports what nobody asked for.", .ops = &ops};

const bp_plugin *bp_plugin_entry(void)
{
    return &descriptor;
}
