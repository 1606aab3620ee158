#include "net.h"

#include "block_scales.h"

#include "kernels/half.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

void net_stop(const char *what, const char *why)
{
    fprintf(stderr, "%s: %s\n", what, why);
    exit(1);
}

void net_begin(net *n, uint64_t seed)
{
    memset(n, 0, sizeof *n);
    n->random = seed * 2 + 1;
    n->max_context = 1024;
}

void net_end(net *n)
{
    for (uint32_t i = 0; i < n->owned_count; i++)
        free(n->owned[i]);
    n->weight_count = n->op_count = n->value_count = n->cache_count = n->owned_count = 0;
}

bp_program net_program(const net *n)
{
    return (bp_program){.size = sizeof(bp_program),
                        .family = n->family ? n->family : "test",
                        .op_count = n->op_count,
                        .weight_count = n->weight_count,
                        .cache_count = n->cache_count,
                        .value_count = n->value_count,
                        .ops = n->ops,
                        .weights = n->weights,
                        .caches = n->caches,
                        .values = n->values,
                        .vocab_size = n->vocab_size,
                        .output_width = n->output_width,
                        .max_context = n->max_context};
}

uint32_t net_next(net *n)
{
    n->random = n->random * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(n->random >> 32);
}

float net_uniform(net *n)
{
    return (float)(int32_t)(net_next(n) >> 8 & 0xffffffu) * 0x1p-23f - 1.0f;
}

static void *own(net *n, size_t bytes)
{
    void *data = malloc(bytes ? bytes : 1);
    if (!data || n->owned_count == NET_LIMIT)
        net_stop("net", "out of memory");
    n->owned[n->owned_count++] = data;
    return data;
}

static int32_t add_weight(net *n, uint32_t dtype, size_t k, size_t rows, const void *data, size_t bytes)
{
    if (n->weight_count == NET_LIMIT)
        net_stop("net", "too many weights");
    n->weights[n->weight_count] = (bp_weight){.name = "w",
                                              .dtype = dtype,
                                              .rank = rows > 1 ? 2 : 1,
                                              .shape = {(int64_t)k, (int64_t)rows, 1, 1},
                                              .data = data,
                                              .bytes = bytes};
    return (int32_t)n->weight_count++;
}

static void dtype_block(uint32_t dtype, size_t *elements, size_t *bytes)
{
    *elements = *bytes = 1;
    switch (dtype) {
#define DTYPE_CASE(name, number, e, b)                                                                                     \
    case number:                                                                                                           \
        *elements = (e);                                                                                                   \
        *bytes = (b);                                                                                                      \
        break;
        BP_DTYPES(DTYPE_CASE)
#undef DTYPE_CASE
    default:
        net_stop("net", "unknown type");
    }
}

const uint32_t net_dtypes[NET_DTYPES] = {
#define DTYPE_NUMBER(name, number, ...) number,
    BP_DTYPES(DTYPE_NUMBER)
#undef DTYPE_NUMBER
};

size_t net_block_elements(uint32_t dtype)
{
    size_t elements, bytes;
    dtype_block(dtype, &elements, &bytes);
    return elements;
}

int32_t net_raw_weight(net *n, uint32_t dtype, size_t k, size_t rows, const void *data)
{
    size_t elements, bytes;
    dtype_block(dtype, &elements, &bytes);
    bytes = k / elements * bytes * rows;
    void *copy = own(n, bytes);
    memcpy(copy, data, bytes);
    return add_weight(n, dtype, k, rows, copy, bytes);
}

int32_t net_float_weight(net *n, const float *data, size_t k, size_t rows)
{
    return net_raw_weight(n, BP_F32, k, rows, data);
}

/* One block: bytes at random, scales of the right size. */
static void fill_block(net *n, uint32_t dtype, float size, uint8_t *block, size_t bytes)
{
    float x = net_uniform(n) * size;
    uint16_t half = dtype == BP_BF16 ? bfloat_from_float(x) : half_from_float(x);
    if (bytes == 4) {
        memcpy(block, &x, 4);
    } else if (bytes == 2) {
        memcpy(block, &half, 2);
    } else {
        for (size_t i = 0; i < bytes; i++)
            block[i] = (uint8_t)(net_next(n) >> 13);
        if (!block_set_scales(dtype, block, x, net_uniform(n) * size))
            net_stop("net", "a type without a place for its scale");
    }
}

int32_t net_random_weight(net *n, uint32_t dtype, size_t k, size_t rows)
{
    size_t elements, bytes;
    dtype_block(dtype, &elements, &bytes);
    size_t blocks = k / elements * rows;
    uint8_t *data = own(n, blocks * bytes);
    float size = 2.0f / sqrtf((float)k);
    for (size_t i = 0; i < blocks; i++)
        fill_block(n, dtype, size, data + i * bytes, bytes);
    return add_weight(n, dtype, k, rows, data, blocks * bytes);
}

void net_name(net *n, int32_t weight, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(n->names[weight], sizeof n->names[weight], format, arguments);
    va_end(arguments);
    n->weights[weight].name = n->names[weight];
}

int32_t net_rope_table(net *n, size_t positions, size_t dim)
{
    float *table = own(n, positions * dim * sizeof *table);
    for (size_t p = 0; p < positions; p++) {
        for (size_t i = 0; i < dim / 2; i++) {
            double angle = (double)p * pow(10000.0, -2.0 * (double)i / (double)dim);
            table[p * dim + i] = (float)cos(angle);
            table[p * dim + dim / 2 + i] = (float)sin(angle);
        }
    }
    return add_weight(n, BP_F32, dim, positions, table, positions * dim * sizeof *table);
}

int32_t net_value(net *n, uint32_t width, uint32_t rows)
{
    if (n->value_count == NET_LIMIT)
        net_stop("net", "too many values");
    n->values[n->value_count] = (bp_value){width, rows};
    return (int32_t)n->value_count++;
}

bp_op *net_op(net *n, uint16_t kind, const void *args, size_t bytes)
{
    if (n->op_count == NET_LIMIT)
        net_stop("net", "too many ops");
    bp_op *o = &n->ops[n->op_count];
    memset(o, -1, sizeof *o);
    if (bytes)
        memcpy(&n->args[n->op_count], args, bytes);
    o->kind = kind;
    o->flags = 0;
    o->args = bytes ? &n->args[n->op_count] : NULL;
    o->args_size = (uint32_t)bytes;
    n->op_count++;
    return o;
}

int32_t net_embed(net *n, int32_t table)
{
    bp_embed_args args = {1.0f};
    n->vocab_size = (uint32_t)n->weights[table].shape[1];
    bp_op *o = net_op(n, BP_OP_EMBED, &args, sizeof args);
    o->weight[0] = table;
    return o->out[0] = net_value(n, (uint32_t)n->weights[table].shape[0], BP_ROWS_TOKENS);
}

int32_t net_linear(net *n, int32_t in, int32_t weight, int32_t bias, int32_t residual, uint32_t activation)
{
    bp_linear_args args = {activation};
    bp_op *o = net_op(n, BP_OP_LINEAR, &args, sizeof args);
    o->in[0] = in;
    o->in[1] = residual;
    o->weight[0] = weight;
    o->weight[1] = bias;
    return o->out[0] = net_value(n, (uint32_t)n->weights[weight].shape[1], n->values[in].rows);
}

int32_t net_gated(net *n, int32_t in, int32_t gate, int32_t up, uint32_t activation)
{
    bp_linear_args args = {activation};
    bp_op *o = net_op(n, BP_OP_GATED_MLP, &args, sizeof args);
    o->in[0] = in;
    o->weight[0] = gate;
    o->weight[1] = up;
    return o->out[0] = net_value(n, (uint32_t)n->weights[gate].shape[1], n->values[in].rows);
}

int32_t net_norm(net *n, int32_t in, int32_t residual, uint16_t flags, int32_t weight, int32_t bias, uint32_t kind,
                 int32_t *sum)
{
    bp_norm_args args = {kind, 1e-5f};
    bp_op *o = net_op(n, BP_OP_NORM, &args, sizeof args);
    o->flags = flags;
    o->in[0] = in;
    o->in[1] = residual;
    o->weight[0] = weight;
    o->weight[1] = bias;
    if (sum)
        *sum = o->out[1] = net_value(n, n->values[in].width, n->values[in].rows);
    return o->out[0] = net_value(n, n->values[in].width, n->values[in].rows);
}

int32_t net_qkv(net *n, int32_t in, const int32_t weights[8], int32_t cache, const bp_qkv_args *args)
{
    bp_op *o = net_op(n, BP_OP_QKV, args, sizeof *args);
    o->in[0] = in;
    memcpy(o->weight, weights, sizeof o->weight);
    o->cache = cache;
    return o->out[0] = net_value(n, args->heads * args->head_dim, BP_ROWS_TOKENS);
}

int32_t net_attention(net *n, int32_t q, int32_t cache, const bp_attention_args *args)
{
    bp_op *o = net_op(n, BP_OP_ATTENTION, args, sizeof *args);
    o->in[0] = q;
    o->cache = cache;
    return o->out[0] = net_value(n, n->values[q].width, BP_ROWS_TOKENS);
}

int32_t net_rows(net *n, int32_t in)
{
    bp_op *o = net_op(n, BP_OP_ROWS, NULL, 0);
    o->in[0] = in;
    return o->out[0] = net_value(n, n->values[in].width, BP_ROWS_OUTPUTS);
}

void net_logits(net *n, int32_t in, int32_t weight, float scale, float soft_cap)
{
    bp_logits_args args = {scale, soft_cap};
    bp_op *o = net_op(n, BP_OP_LOGITS, &args, sizeof args);
    o->in[0] = in;
    o->weight[0] = weight;
    n->output_width = (uint32_t)n->weights[weight].shape[1];
}

void net_pool(net *n, int32_t in, uint32_t pooling, uint32_t normalise)
{
    bp_pool_args args = {pooling, normalise};
    net_op(n, BP_OP_POOL, &args, sizeof args)->in[0] = in;
    n->output_width = n->values[in].width;
}

long different_bits(const float *a, const float *b, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        bool nan_a = a[i] != a[i], nan_b = b[i] != b[i];
        if (nan_a != nan_b || (!nan_a && math_bits(a[i]) != math_bits(b[i])))
            return (long)i;
    }
    return -1;
}
