/* From a program to a model: tables of our own, a step an op, memory for all of it, and packed weights.
 *
 * The program is checked first (plugins/common), so its numbers and shapes are trusted here; sizes are not, and go through
 * size_add and size_multiply. Uses of weights and values come from the ops that read them: a weight is packed if a product
 * reads it, kept in place if EMBED does, widened if it is a vector; a value is stored as floats, BF16, blocks, or several of them. */
#include "compile.h"

#include "share.h"
#include "validate.h"

#include <stdlib.h>

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

static step_fn *runner(unsigned kind)
{
    static step_fn *const runners[] = {
        [BP_OP_EMBED] = run_embed,     [BP_OP_NORM] = run_norm,         [BP_OP_LINEAR] = run_linear,
        [BP_OP_QKV] = run_qkv,         [BP_OP_GATED_MLP] = run_gated,   [BP_OP_ATTENTION] = run_attention,
        [BP_OP_ADD] = run_elementwise, [BP_OP_SCALE] = run_elementwise, [BP_OP_ROWS] = run_rows,
        [BP_OP_LOGITS] = run_logits,   [BP_OP_POOL] = run_pool};
    return runners[kind];
}

/* Weights [first, last] of the op multiply its in0. */
static void use_products(bp_model *model, const bp_op *op, int first, int last)
{
    value *in = &model->values[op->in[0]];
    for (int i = first; i <= last; i++) {
        weight *w = &model->weights[op->weight[i]];
        w->packs = true;
        if (w->type->quantised) {
            in->needs_blocks = true;
        } else if (w->type->dtype == BP_BF16) {
            in->needs_halves = true;
        } else {
            in->needs_floats = true;
        }
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
        model->weights[op->weight[0]].embeds = true;
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

/* The head size of an op that writes a value head by head, else 0. */
static size_t written_by_head(const bp_model *model, const step *s)
{
    return s->op.kind == BP_OP_QKV || s->op.kind == BP_OP_ATTENTION ? model->caches[s->op.cache].head_dim : 0;
}

/* Row-wise ops cost less than a barrier where there is one row. Their results may be each worker's own unless an op reads them
 * that shares its work out by other things than columns. From the last step to the first: readers before writers. */
static void mark_own(bp_model *model)
{
    for (size_t i = model->step_count; i-- > 0;) {
        step *s = &model->steps[i];
        s->own = s->run == run_embed || s->run == run_norm || s->run == run_elementwise || s->run == run_rows;
        for (int slot = 0; slot < 2; slot++)
            s->own = s->own && (s->op.out[slot] < 0 || model->values[s->op.out[slot]].own);
        for (int slot = 0; slot < 2; slot++)
            if (s->op.out[slot] >= 0)
                model->values[s->op.out[slot]].own = s->own;
        for (int slot = 0; slot < 4 && (s->run == run_attention || s->run == run_pool); slot++)
            if (s->op.in[slot] >= 0)
                model->values[s->op.in[slot]].own = false;
    }
}

/* A step an op, and one more after an op whose heads are not whole blocks while a reader wants blocks. */
static bp_status build_steps(bp_model *model, const bp_program *program)
{
    model->steps = calloc(2 * (size_t)program->op_count, sizeof *model->steps);
    if (!model->steps)
        return BP_ENOMEM;
    for (uint32_t i = 0; i < program->op_count; i++) {
        step *s = &model->steps[i];
        copy_args(s, &program->ops[i]);
        s->run = runner(s->op.kind);
        note_uses(model, s);
    }
    size_t more = 0;
    for (uint32_t i = 0; i < program->op_count; i++) {
        size_t dim = written_by_head(model, &model->steps[i]);
        value *out = dim > 0 ? &model->values[model->steps[i].op.out[0]] : NULL;
        if (!out || !out->needs_blocks || dim % QUANT_BLOCK == 0)
            continue;
        out->needs_floats = out->quantised_later = true;
        more++;
    }
    model->step_count = program->op_count + more;
    for (size_t from = program->op_count, to = model->step_count; more > 0;) {
        step s = model->steps[--from];
        bool later = written_by_head(model, &s) > 0 && model->values[s.op.out[0]].quantised_later;
        if (later) {
            model->steps[--to] = s;
            model->steps[to].run = run_quantise;
            more--;
        }
        model->steps[--to] = s;
    }
    mark_own(model);
    return BP_OK;
}

static bp_status build_tables(bp_model *model, const bp_program *program)
{
    model->values = calloc(program->value_count, sizeof *model->values);
    model->weights = calloc((size_t)program->weight_count + 1, sizeof *model->weights);
    model->caches = calloc((size_t)program->cache_count + 1, sizeof *model->caches);
    model->pending_count = 4 * pool_workers(model->device->threads);
    model->pending = calloc(model->pending_count, sizeof *model->pending);
    if (!model->values || !model->weights || !model->caches || !model->pending)
        return BP_ENOMEM;
    model->value_count = program->value_count;
    model->weight_count = program->weight_count;
    model->cache_count = program->cache_count;
    for (size_t i = 0; i < model->value_count; i++) {
        const bp_value *from = &program->values[i];
        model->values[i] = (value){.width = from->width,
                                   .stride = size_round_up(from->width, 16),
                                   .outputs = from->rows == BP_ROWS_OUTPUTS,
                                   .own = true};
    }
    for (size_t i = 0; i < model->weight_count; i++) {
        const bp_weight *from = &program->weights[i];
        weight *w = &model->weights[i];
        *w = (weight){.type = weight_type_of(from->dtype),
                      .k = (size_t)from->shape[0],
                      .n = (size_t)from->shape[1],
                      .source = from->data};
        w->tiles = divide_up(w->n, TILE_COLUMNS);
        w->row_bytes = weight_row_bytes(w->type, w->k);
        w->multiply = from->dtype == BP_BF16 ? model->device->multiply_bf16 : w->type->matmul[model->device->isa];
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

static bp_status build(bp_model *model, const bp_program *program, bp_error *error)
{
    bp_status status = build_tables(model, program);
    size_t kv = plan_caches(model, program);
    if (status == BP_OK)
        status = build_steps(model, program);
    if (status == BP_OK)
        status = batch_new(model);
    if (status != BP_OK)
        return fail(error, status, "cpu: no memory for the model's tables");
    size_t workspace = plan_workspace(model);
    if (memory_map(kv, MEMORY_SPARSE, &model->kv) != 0) {
        return fail(error, BP_ENOMEM, "cpu: no memory for a cache of %zu bytes; lower the context or the cache's size", kv);
    }
    if (memory_map(workspace, MEMORY_SPARSE, &model->workspace) != 0) {
        return fail(error, BP_ENOMEM, "cpu: no memory for a workspace of %zu bytes; lower the tokens of a step", workspace);
    }
    place_values(model);
    return load_weights(model, error);
}

bp_status model_compile(bp_device *device, const bp_program *program, const bp_limits *limits, bp_model **out,
                        bp_error *error)
{
    if (!device || !out)
        return fail(error, BP_EINVAL, "cpu: compile needs a device and a place for the model");
    bp_status status = validate_program("cpu", BP_EMBED_POSITION | BP_EMBED_TYPE, program, error);
    if (status == BP_OK)
        status = validate_limits("cpu", program, limits, error);
    if (status != BP_OK)
        return status;
    bp_model *model = calloc(1, sizeof *model);
    if (!model)
        return fail(error, BP_ENOMEM, "cpu: no memory for the model");
    model->device = device;
    model->limits = *limits;
    model->vocab_size = program->vocab_size;
    model->output_width = program->output_width;
    model->types = program_token_types(program);
    model->max_context = limits->max_context;
    model->max_pages = program->cache_count ? divide_up(limits->max_context, limits->page_tokens) : 0;
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
    batch_free(&model->batch);
    share_leave(model);
    memory_unmap(&model->vectors);
    memory_unmap(&model->kv);
    memory_unmap(&model->workspace);
    free(model->values);
    free(model->weights);
    free(model->caches);
    free(model->steps);
    free(model->pending);
    free(model);
}

bp_status model_memory(bp_model *model, bp_model_memory *out, bp_error *error)
{
    if (!model || !out || out->size < sizeof out->size)
        return fail(error, BP_EINVAL, "cpu: memory needs a model and a sized struct");
    bp_model_memory used = {
        .weights = share_bytes(model) + model->vectors.bytes, .kv = model->kv.bytes, .workspace = model->workspace.bytes};
    size_t bytes = size_min(out->size, sizeof used);
    used.size = (uint32_t)bytes;
    memcpy(out, &used, bytes);
    return BP_OK;
}
