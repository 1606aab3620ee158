/* unresolved: needs a function that nobody has. */
#include <backplane/backend.h>

static const bp_backend_ops ops = {.size = sizeof ops};

extern int unresolved_function(void);
BP_EXPORT int unresolved_caller(void);

int unresolved_caller(void)
{
    return unresolved_function();
}

static const bp_plugin descriptor = {
    .size = sizeof descriptor,
    .abi_major = BP_ABI_MAJOR,
    .abi_minor = BP_ABI_MINOR,
    .kind = BP_PLUGIN_BACKEND,
    .name = "unresolved",
    .ops = &ops,
};

const bp_plugin *bp_plugin_entry(void)
{
    return &descriptor;
}
