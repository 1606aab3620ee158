#include "host/plugin_ops.h"

#include "base/error.h"

#include <string.h>

static bp_status unsupported(const char *operation, bp_error *error)
{
    return error_set(error, BP_EUNSUPPORTED, "the plugin has no %s operation", operation);
}

static bp_status backend_open(const bp_host *host, const void *config, bp_device **out, bp_error *error)
{
    (void)host, (void)config, (void)out;
    return unsupported("open", error);
}

static void backend_close(bp_device *device)
{
    (void)device;
}

static bp_status backend_info(bp_device *device, bp_device_info *out, bp_error *error)
{
    (void)device, (void)out;
    return unsupported("info", error);
}

static bp_status backend_supports(bp_device *device, const bp_program *program, bp_error *error)
{
    (void)device, (void)program;
    return unsupported("supports", error);
}

static bp_status backend_compile(bp_device *device, const bp_program *program, const bp_limits *limits, bp_model **out,
                                 bp_error *error)
{
    (void)device, (void)program, (void)limits, (void)out;
    return unsupported("compile", error);
}

static void backend_release(bp_model *model)
{
    (void)model;
}

static bp_status backend_memory(bp_model *model, bp_model_memory *out, bp_error *error)
{
    (void)model, (void)out;
    return unsupported("memory", error);
}

static bp_status backend_submit(bp_model *model, const bp_batch *batch, bp_error *error)
{
    (void)model, (void)batch;
    return unsupported("submit", error);
}

static bp_status backend_wait(bp_model *model, float *out, uint64_t count, bp_error *error)
{
    (void)model, (void)out, (void)count;
    return unsupported("wait", error);
}

static bp_status backend_wait_topk(bp_model *model, uint32_t k, int32_t *ids, float *logits, bp_error *error)
{
    (void)model, (void)k, (void)ids, (void)logits;
    return unsupported("wait_topk", error);
}

static bp_status backend_copy_pages(bp_model *model, const int32_t *from, const int32_t *to, uint32_t count, bp_error *error)
{
    (void)model, (void)from, (void)to, (void)count;
    return unsupported("copy_pages", error);
}

static bp_status backend_read_kv(bp_model *model, uint32_t cache, int32_t page, uint32_t slot, float *k, float *v, bp_error *error)
{
    (void)model, (void)cache, (void)page, (void)slot, (void)k, (void)v;
    return unsupported("read_kv", error);
}

static bp_status backend_roofs(bp_device *device, bp_roofs *out, bp_error *error)
{
    (void)device, (void)out;
    return unsupported("roofs", error);
}

static bp_status frontend_open(const bp_host *host, const bp_engine_api *api, bp_engine *engine, const void *config,
                               bp_frontend **out, bp_error *error)
{
    (void)host, (void)api, (void)engine, (void)config, (void)out;
    return unsupported("open", error);
}

static bp_status frontend_run(bp_frontend *frontend, bp_error *error)
{
    (void)frontend;
    return unsupported("run", error);
}

static void frontend_stop(bp_frontend *frontend)
{
    (void)frontend;
}

static void frontend_close(bp_frontend *frontend)
{
    (void)frontend;
}

/* Puts the functions that the plugin gives over those in `out`. After two words both tables are slots and nothing else. */
static void overlay(void *out, const void *from, size_t bytes)
{
    typedef void (*slot)(void);
    uint32_t size;
    memcpy(&size, from, sizeof size);
    for (size_t at = 2 * sizeof size; at + sizeof(slot) <= size && at + sizeof(slot) <= bytes; at += sizeof(slot)) {
        slot given;
        memcpy(&given, (const char *)from + at, sizeof given);
        if (given)
            memcpy((char *)out + at, &given, sizeof given);
    }
}

void plugin_ops_copy_backend(const void *from, bp_backend_ops *out)
{
    *out = (bp_backend_ops){.size = sizeof *out, .open = backend_open, .close = backend_close, .info = backend_info,
                            .supports = backend_supports, .compile = backend_compile, .release = backend_release,
                            .memory = backend_memory, .submit = backend_submit, .wait = backend_wait,
                            .wait_topk = backend_wait_topk, .copy_pages = backend_copy_pages, .read_kv = backend_read_kv,
                            .roofs = backend_roofs};
    overlay(out, from, sizeof *out);
}

void plugin_ops_copy_frontend(const void *from, bp_frontend_ops *out)
{
    *out = (bp_frontend_ops){.size = sizeof *out, .open = frontend_open, .run = frontend_run, .stop = frontend_stop,
                             .close = frontend_close};
    overlay(out, from, sizeof *out);
}
