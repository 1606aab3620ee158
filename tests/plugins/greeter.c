/* greeter: a frontend that does nothing, with a required option and one that names a model. */
#include <backplane/engine.h>

typedef struct config {
    const char *model, *greeting;
} config;

static const bp_option options[] = {
    {.name = "model", .type = BP_OPTION_STRING, .offset = offsetof(config, model), .help = "The model that it talks to."},
    {.name = "greeting", .type = BP_OPTION_STRING, .flags = BP_OPTION_REQUIRED, .offset = offsetof(config, greeting),
     .help = "What it says."},
    {0},
};

static const bp_frontend_ops ops = {.size = sizeof ops};

static const bp_plugin descriptor = {
    .size = sizeof descriptor,
    .abi_major = BP_ABI_MAJOR,
    .abi_minor = BP_ABI_MINOR,
    .kind = BP_PLUGIN_FRONTEND,
    .config_size = sizeof(config),
    .name = "greeter",
    .version = "0.1",
    .summary = "Greets.",
    .options = options,
    .ops = &ops,
};

const bp_plugin *bp_plugin_entry(void)
{
    return &descriptor;
}
