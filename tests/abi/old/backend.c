/* old_backend: a backend of plugin ABI 1.0. It computes as docs/example/outside.c does, nothing: after token t its favourite is
 * t + step. What it does instead is look at all that the host hands over, in the layout of its time, and fail where that is no
 * program, no limits or no batch. Its own tables end where memory does. */
#include "backend.h"
#include "guarded.h"
#include "offsets_backend.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

typedef struct config {
    int64_t step;
} config;

static const bp_option options[] = {
    {.name = "step", .type = BP_OPTION_INT, .fallback = "100", .min = 1, .max = 1000, .offset = offsetof(config, step),
     .help = "How far the next token is from the last."},
    {0},
};

struct bp_device {
    const bp_host *host;
    const config *config;
};

struct bp_model {
    const bp_device *device;
    bp_limits limits;
    uint32_t width, vocabulary, row_count;
    int32_t tokens[]; /* [limits.max_rows], row_count of them in use */
};

static bp_status fail(bp_error *error, bp_status code, const char *format, ...)
{
    if (error) {
        va_list arguments;
        va_start(arguments, format);
        size_t used = (size_t)snprintf(error->message, sizeof error->message, "old_backend: ");
        vsnprintf(error->message + used, sizeof error->message - used, format, arguments);
        va_end(arguments);
        error->code = code;
    }
    return code;
}

/* --- device ----------------------------------------------------------------------------------------------------------- */

static bp_status open_device(const bp_host *host, const void *filled, bp_device **out, bp_error *error)
{
    if (host->size < sizeof *host || host->now(host->context) == 0)
        return fail(error, BP_EINVAL, "the host is not that of ABI 1.0");
    host->log(host->context, BP_LOG_INFO, "old_backend: opened by a host of %u bytes", host->size);
    if (!(*out = calloc(1, sizeof **out)))
        return fail(error, BP_ENOMEM, "out of memory");
    **out = (bp_device){.host = host, .config = filled};
    return BP_OK;
}

static void close_device(bp_device *device)
{
    free(device);
}

static bp_status info(bp_device *device, bp_device_info *out, bp_error *error)
{
    (void)device;
    if (out->size < sizeof *out)
        return fail(error, BP_EINVAL, "an info of %u bytes", out->size);
    *out = (bp_device_info){.size = sizeof *out, .memory_total = 1 << 30, .memory_free = 1 << 29, .name = "a device of ABI 1.0"};
    return BP_OK;
}

/* --- programs --------------------------------------------------------------------------------------------------------- */

/* Numbers of values or weights: below `count`, or -1 where a slot is empty. */
static int are_below(const int32_t *numbers, size_t length, uint32_t count)
{
    for (size_t i = 0; i < length; i++)
        if (numbers[i] < -1 || (numbers[i] >= 0 && (uint32_t)numbers[i] >= count))
            return 0;
    return 1;
}

static bp_status check_weight(const bp_weight *w, bp_error *error)
{
    int plain = w->dtype == BP_F32 || w->dtype == BP_F16;
    uint64_t elements = (uint64_t)w->shape[0] * (uint64_t)w->shape[1];
    if (!w->name || !w->data || !w->bytes || w->dtype > BP_MXFP4 || w->rank < 1 || w->rank > 2 || w->shape[0] < 1 ||
        w->shape[1] < 1 || w->shape[2] != 1 || w->shape[3] != 1 ||
        (plain && w->bytes != elements * (w->dtype == BP_F32 ? 4 : 2)))
        return fail(error, BP_EINVAL, "a weight is none: %s", w->name ? w->name : "it has no name");
    return BP_OK;
}

static bp_status check_op(const bp_program *p, const bp_op *op, bp_error *error)
{
    if (op->kind < BP_OP_EMBED || op->kind > BP_OP_ALL_REDUCE || (op->kind == BP_OP_EMBED && op->flags))
        return fail(error, BP_EUNSUPPORTED, "an op of the kind %u with flags %u", op->kind, op->flags);
    if (!are_below(op->in, 4, p->value_count) || !are_below(op->out, 2, p->value_count) ||
        !are_below(op->weight, 8, p->weight_count) || !are_below(&op->cache, 1, p->cache_count) ||
        (op->args_size && !op->args))
        return fail(error, BP_EINVAL, "an op of the kind %u names what is not there", op->kind);
    const bp_qkv_args *qkv = op->args;
    if (op->kind == BP_OP_QKV && (op->args_size != sizeof *qkv || qkv->kv_heads != p->caches[op->cache].kv_heads ||
                                  qkv->head_dim != p->caches[op->cache].head_dim))
        return fail(error, BP_EINVAL, "the cache of an op is not of its shape");
    return BP_OK;
}

static bp_status supports(bp_device *device, const bp_program *p, bp_error *error)
{
    (void)device;
    if (p->size < sizeof *p || !p->family || !p->op_count || !p->output_width || !p->vocab_size || !p->max_context)
        return fail(error, BP_EINVAL, "the program is not one of ABI 1.0");
    bp_status status = BP_OK;
    for (uint32_t i = 0; i < p->weight_count && status == BP_OK; i++)
        status = check_weight(&p->weights[i], error);
    for (uint32_t i = 0; i < p->op_count && status == BP_OK; i++)
        status = check_op(p, &p->ops[i], error);
    for (uint32_t i = 0; i < p->value_count && status == BP_OK; i++)
        if (!p->values[i].width || p->values[i].rows > BP_ROWS_OUTPUTS)
            status = fail(error, BP_EINVAL, "value %u is none", i);
    return status;
}

static bp_status compile(bp_device *device, const bp_program *program, const bp_limits *limits, bp_model **out, bp_error *error)
{
    if (limits->size < sizeof *limits || !limits->max_tokens || !limits->max_seqs || !limits->max_rows || !limits->page_tokens ||
        !limits->page_count || !limits->max_context || limits->kv_dtype > BP_KV_BF16)
        return fail(error, BP_EINVAL, "the limits are not those of ABI 1.0");
    if (!(*out = calloc(1, sizeof **out + limits->max_rows * sizeof *(*out)->tokens)))
        return fail(error, BP_ENOMEM, "out of memory");
    **out = (bp_model){.device = device, .limits = *limits, .width = program->output_width, .vocabulary = program->vocab_size};
    for (uint32_t i = 0; i < program->weight_count; i++)
        device->host->weight_consumed(device->host->context, program->weights[i].data, program->weights[i].bytes);
    return BP_OK;
}

static void release(bp_model *model)
{
    free(model);
}

static bp_status memory(bp_model *model, bp_model_memory *out, bp_error *error)
{
    (void)model;
    if (out->size < sizeof *out)
        return fail(error, BP_EINVAL, "a memory of %u bytes", out->size);
    *out = (bp_model_memory){.size = sizeof *out, .weights = 3 << 20, .kv = 2 << 20, .workspace = 1 << 20};
    return BP_OK;
}

/* --- steps ------------------------------------------------------------------------------------------------------------ */

static bp_status check_sequence(const bp_model *m, const bp_batch *b, uint32_t s, bp_error *error)
{
    int32_t begin = b->first[s], end = b->first[s + 1];
    if (begin < 0 || end <= begin || (uint32_t)end > b->token_count)
        return fail(error, BP_EINVAL, "sequence %u has the tokens %d to %d", s, begin, end);
    for (int32_t t = begin; t < end; t++) {
        int32_t position = b->positions[t], page = b->pages[s * b->page_stride + (uint32_t)position / m->limits.page_tokens];
        if (b->tokens[t] < 0 || (uint32_t)b->tokens[t] >= m->vocabulary || position != b->positions[begin] + (t - begin) ||
            (uint32_t)position >= m->limits.max_context || page < 0 || (uint32_t)page >= m->limits.page_count)
            return fail(error, BP_EINVAL, "token %d at position %d on page %d of sequence %u", b->tokens[t], position, page, s);
    }
    if (b->context[s] != b->positions[end - 1] + 1)
        return fail(error, BP_EINVAL, "sequence %u has the length %d", s, b->context[s]);
    return BP_OK;
}

static bp_status submit(bp_model *model, const bp_batch *batch, bp_error *error)
{
    if (batch->size < sizeof *batch || batch->row_count > model->limits.max_rows || batch->seq_count > model->limits.max_seqs ||
        batch->token_count > model->limits.max_tokens)
        return fail(error, BP_EINVAL, "the batch is not one of ABI 1.0");
    bp_status status = BP_OK;
    for (uint32_t s = 0; s < batch->seq_count && status == BP_OK; s++)
        status = check_sequence(model, batch, s, error);
    model->row_count = batch->row_count;
    for (uint32_t row = 0; row < batch->row_count && status == BP_OK; row++) {
        if (batch->rows[row] < 0 || (uint32_t)batch->rows[row] >= batch->token_count)
            status = fail(error, BP_EINVAL, "row %u is of token %d", row, batch->rows[row]);
        else
            model->tokens[row] = batch->tokens[batch->rows[row]];
    }
    return status;
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

static const bp_backend_ops ops = {.size = sizeof ops, .open = open_device, .close = close_device, .info = info,
    .supports = supports, .compile = compile, .release = release, .memory = memory, .submit = submit, .wait = wait};

static const bp_plugin descriptor = {.size = sizeof descriptor, .abi_major = 1, .abi_minor = 0, .kind = BP_PLUGIN_BACKEND,
    .name = "old_backend", .version = "1.0", .summary = "Counts upwards from the last token, as plugin ABI 1.0 has it.",
    .config_size = sizeof(config), .options = options};

const bp_plugin *bp_plugin_entry(void)
{
    static bp_plugin *copy;
    if (!copy && (copy = guarded_copy(&descriptor, sizeof descriptor)))
        copy->ops = guarded_copy(&ops, sizeof ops);
    return copy;
}
