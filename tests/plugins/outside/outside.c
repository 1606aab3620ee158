/* outside: a whole backend in one file, built against an installed Backplane and nothing of its sources.
 *
 * It runs every program, because it computes nothing of it: after token t its favourite is token t + step, so that an
 * answer shows at a glance which backend wrote it. What is here is what any backend has: options, a device, a compiled
 * model, and steps that are submitted and waited for. */
#include <backplane/backend.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct config {
    int64_t step;
} config;

static const bp_option options[] = {
    {.name = "step", .type = BP_OPTION_INT, .fallback = "1", .min = 1, .max = 1000, .offset = offsetof(config, step),
     .help = "How far the next token is from the last."},
    {0},
};

struct bp_device {
    const bp_host *host;
    const config *config;
};

/* A step waits between submit and wait as the tokens whose successors are asked for. */
struct bp_model {
    const bp_device *device;
    uint32_t width, row_count, row_capacity;
    int32_t *tokens; /* [row_capacity], row_count of them in use */
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

static bp_status outside_open(const bp_host *host, const void *filled, bp_device **out, bp_error *error)
{
    bp_device *device = calloc(1, sizeof *device);
    if (!device)
        return fail(error, BP_ENOMEM, "out of memory");
    *device = (bp_device){.host = host, .config = filled};
    *out = device;
    return BP_OK;
}

static void outside_close(bp_device *device)
{
    free(device);
}

static bp_status outside_info(bp_device *device, bp_device_info *out, bp_error *error)
{
    (void)error;
    *out = (bp_device_info){.size = sizeof *out};
    snprintf(out->name, sizeof out->name, "outside (step %lld)", (long long)device->config->step);
    return BP_OK;
}

static bp_status outside_supports(bp_device *device, const bp_program *program, bp_error *error)
{
    (void)device, (void)program, (void)error;
    return BP_OK;
}

static bp_status outside_compile(bp_device *device, const bp_program *program, const bp_limits *limits, bp_model **out,
                                 bp_error *error)
{
    bp_model *model = calloc(1, sizeof *model);
    int32_t *tokens = calloc(limits->max_rows ? limits->max_rows : 1, sizeof *tokens);
    if (!model || !tokens) {
        free(model);
        free(tokens);
        return fail(error, BP_ENOMEM, "out of memory");
    }
    *model = (bp_model){.device = device, .width = program->output_width, .row_capacity = limits->max_rows, .tokens = tokens};
    device->host->log(device->host->context, BP_LOG_DEBUG, "outside: compiled %u ops", program->op_count);
    *out = model;
    return BP_OK;
}

static void outside_release(bp_model *model)
{
    if (model)
        free(model->tokens);
    free(model);
}

static bp_status outside_memory(bp_model *model, bp_model_memory *out, bp_error *error)
{
    (void)error;
    *out = (bp_model_memory){.size = sizeof *out, .workspace = (uint64_t)model->row_capacity * sizeof *model->tokens};
    return BP_OK;
}

static bp_status outside_submit(bp_model *model, const bp_batch *batch, bp_error *error)
{
    if (batch->row_count > model->row_capacity)
        return fail(error, BP_EINVAL, "more rows than the limits promised");
    for (uint32_t row = 0; row < batch->row_count; row++)
        model->tokens[row] = batch->tokens[batch->rows[row]];
    model->row_count = batch->row_count;
    return BP_OK;
}

/* out: [row_count][width]. */
static bp_status outside_wait(bp_model *model, float *out, uint64_t count, bp_error *error)
{
    if (count != (uint64_t)model->row_count * model->width)
        return fail(error, BP_EINVAL, "not as many floats as the step has");
    memset(out, 0, count * sizeof *out);
    for (uint32_t row = 0; row < model->row_count; row++) {
        uint64_t favourite = ((uint64_t)model->tokens[row] + (uint64_t)model->device->config->step) % model->width;
        out[(uint64_t)row * model->width + favourite] = 100.0f;
    }
    return BP_OK;
}

/* What is left out, the host answers with "unsupported". */
static const bp_backend_ops ops = {
    .size = sizeof ops,
    .open = outside_open,
    .close = outside_close,
    .info = outside_info,
    .supports = outside_supports,
    .compile = outside_compile,
    .release = outside_release,
    .memory = outside_memory,
    .submit = outside_submit,
    .wait = outside_wait,
};

static const bp_plugin descriptor = {
    .size = sizeof descriptor,
    .abi_major = BP_ABI_MAJOR,
    .abi_minor = BP_ABI_MINOR,
    .kind = BP_PLUGIN_BACKEND,
    .config_size = sizeof(config),
    .name = "outside",
    .version = "1.0",
    .summary = "Counts upwards from the last token, whatever the model.",
    .options = options,
    .ops = &ops,
};

const bp_plugin *bp_plugin_entry(void)
{
    return &descriptor;
}
