/* short_messages: a frontend of the minor whose messages were shorter. */
#include <backplane/engine.h>

static const bp_frontend_ops ops = {.size = sizeof ops};

static const bp_plugin descriptor = {
    .size = sizeof descriptor,
    .abi_major = BP_ABI_MAJOR,
    .abi_minor = 0,
    .kind = BP_PLUGIN_FRONTEND,
    .name = "short_messages",
    .ops = &ops,
};

const bp_plugin *bp_plugin_entry(void)
{
    return &descriptor;
}
