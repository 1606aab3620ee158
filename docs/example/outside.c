/* outside: a whole backend in one file, built against an installed Backplane and nothing of its sources.
 *
 * It runs every program, because it computes nothing of it: after token t its favourite is token t + step, so that an answer
 * shows at a glance which backend wrote it. What is here is what any backend has: options, a device, a compiled model, and
 * steps that are submitted and waited for. */
#include <backplane/backend.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct config {
    int64_t step;
} config;

static const bp_option options[] = {
    {.name = "step", .type = BP_OPTION_INT, .fallback = "100", .min = 1, .max = 1000, .offset = offsetof(config, step),
     .help = "How far the next token is from the last."},
    {0},
};

struct bp_device {
    const config *config; /* the host's, filled from YAML by the table above; lives until close() */
};

/* A step waits between submit and wait as the tokens whose successors are asked for. */
struct bp_model {
    const bp_device *device;
    uint32_t width, row_count, row_capacity;
    int32_t tokens[]; /* [row_capacity], row_count of them in use */
};

/* An error is a status and one sentence in the caller's memory. */
static bp_status fail(bp_error *error, bp_status code, const char *sentence)
{
    if (error) {
        error->code = code;
        snprintf(error->message, sizeof error->message, "outside: %s", sentence);
    }
    return code;
}

static bp_status open_device(const bp_host *host, const void *filled, bp_device **out, bp_error *error)
{
    host->log(host->context, BP_LOG_DEBUG, "outside: opened");
    if (!(*out = calloc(1, sizeof **out)))
        return fail(error, BP_ENOMEM, "out of memory");
    (*out)->config = filled;
    return BP_OK;
}

static void close_device(bp_device *device)
{
    free(device);
}

static bp_status supports(bp_device *device, const bp_program *program, bp_error *error)
{
    (void)device;
    return program->output_width ? BP_OK : fail(error, BP_EUNSUPPORTED, "the program has no output");
}

static bp_status compile(bp_device *device, const bp_program *program, const bp_limits *limits, bp_model **out, bp_error *error)
{
    if (!(*out = calloc(1, sizeof **out + limits->max_rows * sizeof *(*out)->tokens)))
        return fail(error, BP_ENOMEM, "out of memory");
    **out = (bp_model){.device = device, .width = program->output_width, .row_capacity = limits->max_rows};
    return BP_OK;
}

static void release(bp_model *model)
{
    free(model);
}

static bp_status submit(bp_model *model, const bp_batch *batch, bp_error *error)
{
    if (batch->row_count > model->row_capacity)
        return fail(error, BP_EINVAL, "more rows than the limits promised");
    model->row_count = batch->row_count;
    for (uint32_t row = 0; row < batch->row_count; row++)
        model->tokens[row] = batch->tokens[batch->rows[row]];
    return BP_OK;
}

/* out: [row_count][width]. */
static bp_status wait(bp_model *model, float *out, uint64_t count, bp_error *error)
{
    if (count != (uint64_t)model->row_count * model->width)
        return fail(error, BP_EINVAL, "not as many floats as the step has");
    memset(out, 0, count * sizeof *out);
    for (uint32_t row = 0; row < model->row_count; row++)
        out[(size_t)row * model->width + (size_t)(model->tokens[row] + model->device->config->step) % model->width] = 100.0f;
    return BP_OK;
}

/* What is left out, the host answers with "unsupported". */
static const bp_backend_ops ops = {.size = sizeof ops, .open = open_device, .close = close_device, .supports = supports,
    .compile = compile, .release = release, .submit = submit, .wait = wait};

static const bp_plugin descriptor = {.size = sizeof descriptor, .abi_major = BP_ABI_MAJOR, .abi_minor = BP_ABI_MINOR,
    .kind = BP_PLUGIN_BACKEND, .name = "outside", .version = "1.0", .summary = "Counts upwards from the last token.",
    .config_size = sizeof(config), .options = options, .ops = &ops};

const bp_plugin *bp_plugin_entry(void)
{
    return &descriptor;
}
