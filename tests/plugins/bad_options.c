/* bad_options: an option stored outside of its config struct. */
#include <backplane/backend.h>

static const bp_option options[] = {
    {.name = "threads", .type = BP_OPTION_INT, .offset = 8},
    {0},
};

static const bp_backend_ops ops = {.size = sizeof ops};

static const bp_plugin descriptor = {
    .size = sizeof descriptor,
    .abi_major = BP_ABI_MAJOR,
    .abi_minor = BP_ABI_MINOR,
    .kind = BP_PLUGIN_BACKEND,
    .name = "bad_options",
    .config_size = 8,
    .options = options,
    .ops = &ops,
};

const bp_plugin *bp_plugin_entry(void)
{
    return &descriptor;
}
