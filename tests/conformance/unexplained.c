/* unexplained: a backend with an option that has no help. */
#include <backplane/backend.h>

typedef struct config {
    int64_t first;
} config;

static const bp_option options[] = {
    {.name = "first", .type = BP_OPTION_INT, .fallback = "1", .offset = offsetof(config, first)},
    {0},
};
static const bp_backend_ops ops = {.size = sizeof ops};
static const bp_plugin descriptor = {.size = sizeof descriptor, .abi_major = BP_ABI_MAJOR, .abi_minor = BP_ABI_MINOR,
    .kind = BP_PLUGIN_BACKEND, .config_size = sizeof(config), .name = "unexplained", .version = "1",
    .summary = "Has an option that nobody explains.", .options = options, .ops = &ops};

const bp_plugin *bp_plugin_entry(void)
{
    return &descriptor;
}
