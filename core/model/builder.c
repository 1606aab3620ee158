#include "model/builder.h"

#include "base/error.h"
#include "model/dtype.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { WEIGHTS_PER_OP = 8 };

static const bp_op empty_op = {.in = {-1, -1, -1, -1}, .out = {-1, -1}, .weight = {-1, -1, -1, -1, -1, -1, -1, -1},
                               .cache = -1, .layer = -1};

bp_status builder_fail(builder *b, bp_status code, const char *format, ...)
{
    if (b->status != BP_OK)
        return b->status;
    char text[400];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    return b->status = error_set(b->error, code, "%s", text);
}

void builder_begin(builder *b, const gguf *file, arena *memory, uint32_t ops, bp_error *error)
{
    *b = (builder){.file = file, .memory = memory, .error = error, .op_room = ops, .weight_room = ops * WEIGHTS_PER_OP,
                   .cache_room = ops, .value_room = ops, .layer = -1};
    b->ops = arena_array(memory, ops, sizeof *b->ops);
    b->weights = arena_array(memory, b->weight_room, sizeof *b->weights);
    b->caches = arena_array(memory, b->cache_room, sizeof *b->caches);
    b->values = arena_array(memory, b->value_room, sizeof *b->values);
    b->used = arena_alloc(memory, gguf_tensor_count(file) + 1);
    if (!b->ops || !b->weights || !b->caches || !b->values || !b->used)
        builder_fail(b, BP_ENOMEM, "no memory for the program of a model");
}

void builder_mark_used(builder *b, const bp_weight *tensor)
{
    if (b->status == BP_OK)
        b->used[tensor - gguf_tensor(b->file, 0)] = 1;
}

static int32_t add_weight(builder *b, bp_weight weight)
{
    if (b->weight_count == b->weight_room) {
        builder_fail(b, BP_EINTERNAL, "the program of a model has more weights than it planned");
        return -1;
    }
    b->weights[b->weight_count] = weight;
    return (int32_t)b->weight_count++;
}

static int32_t add_tensor(builder *b, const char *name, uint32_t n, uint32_t k, bool vector, bool optional)
{
    char full[80];
    if (b->status != BP_OK)
        return -1;
    if (b->layer >= 0)
        snprintf(full, sizeof full, "blk.%" PRId32 ".%s", b->layer, name);
    else
        snprintf(full, sizeof full, "%s", name);
    const bp_weight *w = gguf_find_tensor(b->file, full);
    if (!w) {
        if (!optional)
            builder_fail(b, BP_EINVAL, "tensor \"%s\" is missing", full);
        return -1;
    }
    int64_t columns = vector ? n : k, rows = vector ? 1 : n;
    if (w->shape[0] != columns || w->shape[1] != rows || w->shape[2] != 1 || w->shape[3] != 1) {
        char dimensions[32] = "";
        if (w->shape[2] != 1 || w->shape[3] != 1)
            snprintf(dimensions, sizeof dimensions, " in %" PRIu32 " dimensions", w->rank);
        builder_fail(b, BP_EINVAL,
                     "tensor \"%s\" has %" PRId64 " columns and %" PRId64 " rows%s where the model's keys ask for %" PRId64
                     " and %" PRId64,
                     full, w->shape[0], w->shape[1] * w->shape[2] * w->shape[3], dimensions, columns, rows);
        return -1;
    }
    if (vector && dtype_find(w->dtype)->elements > 1) {
        builder_fail(b, BP_EUNSUPPORTED, "tensor \"%s\" is a vector of type %s; F32, F16 and BF16 are read", full,
                     dtype_name(w->dtype));
        return -1;
    }
    builder_mark_used(b, w);
    bp_weight copy = *w;
    copy.rank = vector ? 1 : 2;
    return add_weight(b, copy);
}

int32_t builder_matrix(builder *b, const char *name, uint32_t n, uint32_t k)
{
    return add_tensor(b, name, n, k, false, false);
}

int32_t builder_matrix_rows(builder *b, const char *name, uint32_t rows, uint32_t k, uint32_t first, uint32_t n)
{
    int32_t number = add_tensor(b, name, rows, k, false, false);
    if (number < 0)
        return number;
    bp_weight *w = &b->weights[number];
    uint64_t row_bytes = w->bytes / rows;
    w->shape[1] = n;
    w->data = (const char *)w->data + first * row_bytes;
    w->bytes = n * row_bytes;
    return number;
}

int32_t builder_optional_matrix(builder *b, const char *name, uint32_t n, uint32_t k)
{
    return add_tensor(b, name, n, k, false, true);
}

int32_t builder_vector(builder *b, const char *name, uint32_t n)
{
    return add_tensor(b, name, n, 0, true, false);
}

int32_t builder_optional_vector(builder *b, const char *name, uint32_t n)
{
    return add_tensor(b, name, n, 0, true, true);
}

int32_t builder_table(builder *b, const char *name, const float *data, uint32_t rows, uint32_t columns)
{
    if (b->status != BP_OK)
        return -1;
    return add_weight(b, (bp_weight){.name = name, .dtype = BP_F32, .rank = 2, .shape = {columns, rows, 1, 1}, .data = data,
                                     .bytes = (uint64_t)rows * columns * sizeof *data});
}

int32_t builder_cache(builder *b, uint32_t kv_heads, uint32_t head_dim, uint32_t window)
{
    if (b->status != BP_OK)
        return -1;
    if (b->cache_count == b->cache_room) {
        builder_fail(b, BP_EINTERNAL, "the program of a model has more caches than it planned");
        return -1;
    }
    b->caches[b->cache_count] = (bp_cache){.kv_heads = kv_heads, .head_dim = head_dim, .window = window};
    return (int32_t)b->cache_count++;
}

bp_op *builder_last(builder *b)
{
    return b->status == BP_OK && b->op_count ? &b->ops[b->op_count - 1] : &b->nowhere;
}

int32_t builder_op(builder *b, bp_op_kind kind, uint32_t width, uint32_t rows, int32_t in0, const void *args,
                   uint32_t args_size)
{
    if (b->status != BP_OK)
        return -1;
    if (b->op_count == b->op_room) {
        builder_fail(b, BP_EINTERNAL, "the program of a model has more ops than it planned");
        return -1;
    }
    bp_op *op = &b->ops[b->op_count++];
    *op = empty_op;
    op->kind = (uint16_t)kind;
    op->layer = b->layer;
    op->in[0] = in0;
    op->args_size = args_size;
    if (args_size) {
        void *copy = arena_alloc(b->memory, args_size);
        if (!copy) {
            builder_fail(b, BP_ENOMEM, "no memory for the program of a model");
            return -1;
        }
        op->args = memcpy(copy, args, args_size);
    }
    if (width == 0)
        return -1;
    b->values[b->value_count] = (bp_value){.width = width, .rows = rows};
    return op->out[0] = (int32_t)b->value_count++;
}

bp_status builder_finish(builder *b, bp_program *out)
{
    for (uint64_t i = 0; i < gguf_tensor_count(b->file) && b->status == BP_OK; i++)
        if (!b->used[i])
            builder_fail(b, BP_EUNSUPPORTED, "tensor \"%s\" has no place in this architecture as this build knows it",
                         gguf_tensor(b->file, i)->name);
    if (b->status != BP_OK)
        return b->status;
    out->ops = b->ops;
    out->weights = b->weights;
    out->caches = b->caches;
    out->values = b->values;
    out->op_count = b->op_count;
    out->weight_count = b->weight_count;
    out->cache_count = b->cache_count;
    out->value_count = b->value_count;
    return BP_OK;
}
