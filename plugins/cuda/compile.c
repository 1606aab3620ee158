/* From a program to a model: tables of our own, memory for all of it, and packed weights.
 *
 * The program is checked first (plugins/common), so its numbers and shapes are trusted here; sizes are not, and go
 * through size_add and size_multiply. Uses of weights and values come from the ops that read them: a weight is packed if
 * a product or EMBED reads it, a vector of floats if the rest does; a value is stored as floats, BF16, blocks, or
 * several of them. */
#include "model.h"

#include <stdlib.h>

enum { MOST_TOKENS = 65535 /* blocks in the second dimension of a grid */, MOST_COLUMNS = MOST_TOKENS * 128 };

static void copy_args(step *s, const bp_op *op)
{
    static const size_t sizes[] = {
        [BP_OP_EMBED] = sizeof(bp_embed_args),      [BP_OP_NORM] = sizeof(bp_norm_args),
        [BP_OP_LINEAR] = sizeof(bp_linear_args),    [BP_OP_QKV] = sizeof(bp_qkv_args),
        [BP_OP_GATED_MLP] = sizeof(bp_linear_args), [BP_OP_ATTENTION] = sizeof(bp_attention_args),
        [BP_OP_SCALE] = sizeof(bp_scale_args),      [BP_OP_LOGITS] = sizeof(bp_logits_args),
        [BP_OP_POOL] = sizeof(bp_pool_args)};
    s->op = *op;
    s->op.args = NULL;
    if (op->kind < sizeof sizes / sizeof *sizes && sizes[op->kind] > 0)
        memcpy(&s->args, op->args, sizes[op->kind]);
}

/* Weights [first, last] of the op multiply its in0. */
static void use_products(bp_model *model, const bp_op *op, int first, int last)
{
    value *in = &model->values[op->in[0]];
    for (int i = first; i <= last; i++) {
        weight *w = &model->weights[op->weight[i]];
        w->packs = true;
        if (w->type->block > 1)
            in->needs_blocks = true;
        else if (w->type->dtype == BP_BF16)
            in->needs_halves = true;
        else
            in->needs_floats = true;
    }
}

static void use_vectors(bp_model *model, const bp_op *op, int first, int last)
{
    for (int i = first; i <= last; i++)
        if (op->weight[i] >= 0)
            model->weights[op->weight[i]].is_vector = true;
}

static void use_floats(bp_model *model, const bp_op *op, int first, int last)
{
    for (int i = first; i <= last; i++)
        if (op->in[i] >= 0)
            model->values[op->in[i]].needs_floats = true;
}

static void note_uses(bp_model *model, const step *s)
{
    const bp_op *op = &s->op;
    switch (op->kind) {
    case BP_OP_EMBED:
        model->weights[op->weight[0]].packs = true;
        break;
    case BP_OP_NORM:
        use_floats(model, op, 0, 1);
        use_vectors(model, op, 0, 1);
        break;
    case BP_OP_LINEAR:
        use_products(model, op, 0, 0);
        use_vectors(model, op, 1, 1);
        use_floats(model, op, 1, 1);
        break;
    case BP_OP_GATED_MLP:
        use_products(model, op, 0, 1);
        break;
    case BP_OP_QKV:
        use_products(model, op, 0, 2);
        use_vectors(model, op, 3, 7);
        if (s->args.qkv.rope_mode != BP_ROPE_NONE)
            model->weights[s->args.qkv.rope_table].is_vector = true;
        break;
    case BP_OP_LOGITS:
        use_products(model, op, 0, 0);
        break;
    case BP_OP_ATTENTION:
        model->values[op->in[0]].needs_blocks |= model->limits.kv_dtype == BP_KV_Q8_0;
        model->values[op->in[0]].needs_floats |= model->limits.kv_dtype != BP_KV_Q8_0;
        break;
    default:
        use_floats(model, op, 0, 1);
    }
}

/* A warp quantises 32 columns: a value that is written head by head is quantised afterwards if its heads are not whole
 * blocks. */
static void note_stored_later(bp_model *model, const step *s)
{
    if (s->op.kind != BP_OP_QKV && s->op.kind != BP_OP_ATTENTION)
        return;
    value *out = &model->values[s->op.out[0]];
    out->stored_later = model->caches[s->op.cache].head_dim % QUANT_BLOCK != 0 && (out->needs_blocks || out->needs_halves);
    out->needs_floats |= out->stored_later;
}

static bp_status build_tables(bp_model *model, const bp_program *program)
{
    model->values = calloc(program->value_count, sizeof *model->values);
    model->weights = calloc((size_t)program->weight_count + 1, sizeof *model->weights);
    model->caches = calloc((size_t)program->cache_count + 1, sizeof *model->caches);
    model->steps = calloc(program->op_count, sizeof *model->steps);
    if (!model->values || !model->weights || !model->caches || !model->steps)
        return BP_ENOMEM;
    model->value_count = program->value_count;
    model->weight_count = program->weight_count;
    model->cache_count = program->cache_count;
    model->step_count = program->op_count;
    for (size_t i = 0; i < model->value_count; i++) {
        const bp_value *from = &program->values[i];
        model->values[i] = (value){
            .width = from->width, .stride = size_round_up(from->width, 32), .outputs = from->rows == BP_ROWS_OUTPUTS};
    }
    for (size_t i = 0; i < model->weight_count; i++) {
        const bp_weight *from = &program->weights[i];
        weight *w = &model->weights[i];
        *w = (weight){
            .type = dtype_of(from->dtype), .k = (size_t)from->shape[0], .n = (size_t)from->shape[1], .source = from->data};
        w->row_bytes = dtype_row_bytes(w->type, w->k);
    }
    return BP_OK;
}

/* The caches' places, one after the other: SIZE_MAX where they do not fit. */
static size_t plan_caches(bp_model *model, const bp_program *program)
{
    const bp_limits *limits = &model->limits;
    size_t bytes = 0;
    for (size_t i = 0; i < model->cache_count; i++) {
        const bp_cache *from = &program->caches[i];
        cache *c = &model->caches[i];
        *c = (cache){.kv_heads = from->kv_heads, .head_dim = from->head_dim, .window = from->window, .offset = bytes};
        c->head_bytes = kv_head_bytes(limits->kv_dtype, limits->page_tokens, c->head_dim);
        c->page_bytes = size_multiply(size_multiply(2, c->kv_heads), c->head_bytes);
        bytes = size_add(bytes, size_multiply(c->page_bytes, limits->page_count));
    }
    return bytes;
}

static bp_status allocate(bp_model *model, size_t bytes, uint8_t **out, size_t *has, const char *advice, bp_error *error)
{
    void *memory;
    bp_error cause = {0};
    bp_status status = gpu_allocate(model->device->gpu, bytes, &memory, &cause);
    if (status != BP_OK)
        return fail(error, status, "%.400s; %s", cause.message, advice);
    *out = memory;
    *has = bytes;
    return BP_OK;
}

static bp_status build(bp_model *model, const bp_program *program, bp_error *error)
{
    if (build_tables(model, program) != BP_OK)
        return fail(error, BP_ENOMEM, "%s: no memory for the model's tables", gpu_backend_name);
    size_t kv = plan_caches(model, program);
    for (uint32_t i = 0; i < program->op_count; i++) {
        copy_args(&model->steps[i], &program->ops[i]);
        note_uses(model, &model->steps[i]);
    }
    for (uint32_t i = 0; i < program->op_count; i++)
        note_stored_later(model, &model->steps[i]);
    bp_status status = batch_new(model, error);
    if (status == BP_OK)
        status = allocate(model, kv, &model->kv, &model->kv_bytes, "lower the context or the cache's size", error);
    if (status == BP_OK)
        status = allocate(model, plan_workspace(model), &model->workspace, &model->workspace_bytes,
                          "lower the tokens of a step", error);
    if (status != BP_OK)
        return status;
    place_values(model);
    return load_weights(model, error);
}

/* What a grid of blocks cannot count. */
static bp_status check_grid(const bp_program *program, const bp_limits *limits, bp_error *error)
{
    if (limits->max_tokens > MOST_TOKENS)
        return fail(error, BP_EUNSUPPORTED, "%s: steps of %u tokens; %d are possible", gpu_backend_name, limits->max_tokens,
                    MOST_TOKENS);
    for (uint32_t i = 0; i < program->value_count; i++)
        if (program->values[i].width > MOST_COLUMNS)
            return fail(error, BP_EUNSUPPORTED, "%s: value %u has %u columns; %d are possible", gpu_backend_name, i,
                        program->values[i].width, MOST_COLUMNS);
    return BP_OK;
}

bp_status model_compile(bp_device *device, const bp_program *program, const bp_limits *limits, bp_model **out,
                        bp_error *error)
{
    if (!device || !out)
        return fail(error, BP_EINVAL, "%s: compile needs a device and a place for the model", gpu_backend_name);
    bp_status status = validate_program(gpu_backend_name, BP_EMBED_POSITION | BP_EMBED_TYPE, program, error);
    if (status == BP_OK)
        status = validate_limits(gpu_backend_name, program, limits, error);
    if (status == BP_OK)
        status = check_grid(program, limits, error);
    if (status != BP_OK)
        return status;
    bp_model *model = calloc(1, sizeof *model);
    if (!model)
        return fail(error, BP_ENOMEM, "%s: no memory for the model", gpu_backend_name);
    model->device = device;
    model->limits = *limits;
    model->vocab_size = program->vocab_size;
    model->output_width = program->output_width;
    model->types = program_token_types(program);
    model->stable = program->numerics == BP_NUMERICS_STABLE;
    model->pools = program->ops[program->op_count - 1].kind == BP_OP_POOL;
    status = build(model, program, error);
    if (status != BP_OK) {
        model_release(model);
        return status;
    }
    *out = model;
    return BP_OK;
}

void model_release(bp_model *model)
{
    if (!model)
        return;
    gpu *g = model->device->gpu;
    graphs_drop(model);
    batch_free(model);
    gpu_free(g, model->packed);
    gpu_free(g, model->vectors);
    gpu_free(g, model->kv);
    gpu_free(g, model->workspace);
    free_results(model);
    free(model->values);
    free(model->weights);
    free(model->caches);
    free(model->steps);
    free(model);
}

bp_status model_memory(bp_model *model, bp_model_memory *out, bp_error *error)
{
    if (!model || !out || out->size < sizeof out->size)
        return fail(error, BP_EINVAL, "%s: memory needs a model and a sized struct", gpu_backend_name);
    size_t results = model->result_rows * model->output_width * sizeof(float);
    bp_model_memory used = {.weights = model->packed_bytes + model->vectors_bytes,
                            .kv = model->kv_bytes,
                            .workspace = model->workspace_bytes + results};
    size_t bytes = size_min(out->size, sizeof used);
    used.size = (uint32_t)bytes;
    memcpy(out, &used, bytes);
    return BP_OK;
}
