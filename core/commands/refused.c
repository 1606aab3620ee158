#include "commands/refused.h"

#include "base/error.h"

struct bp_device {
    bp_error why;
};

bp_device *refused_device(arena *memory, const bp_error *why)
{
    bp_device *device = arena_alloc(memory, sizeof *device);
    if (device)
        device->why = *why;
    return device;
}

static bp_status refuse(bp_device *device, const bp_program *program, bp_error *error)
{
    (void)program;
    return error_set(error, device->why.code, "%s", device->why.message);
}

static bp_status refuse_compile(bp_device *device, const bp_program *program, const bp_limits *limits, bp_model **out,
                                bp_error *error)
{
    (void)limits, (void)out;
    return refuse(device, program, error);
}

static void release_nothing(bp_model *model)
{
    (void)model;
}

/* Nothing is ever compiled, so nothing is ever run. */
const bp_backend_ops *refused_ops(void)
{
    static const bp_backend_ops ops = {
        .size = sizeof ops, .supports = refuse, .compile = refuse_compile, .release = release_nothing};
    return &ops;
}
