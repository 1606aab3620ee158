/* Checks of a program before it is compiled.
 *
 * Established here, and relied on everywhere else: every number names an existing value, weight or cache; a value is
 * written once, before it is read; every weight is as large as its shape says and its shape fits its use; K is a multiple
 * of the type's block; head sizes are multiples of 16; the last op, and only that, yields the result. */
#include "validate.h"

#include "support.h"

#include <stdlib.h>

enum {
    MAX_COUNT = 1 << 20,
    MAX_WIDTH = 1 << 24,
    MAX_HEAD_DIM = 1024,
    MAX_HEADS = 1 << 14,
    HEAD_UNIT = 16,
    KV_BLOCK = 32,
    CHUNK = 256
};

static const dtype_facts dtypes[] = {
#define DTYPE_ROW(name, number, elements, bytes) {number, #name, elements, bytes},
    BP_DTYPES(DTYPE_ROW)
#undef DTYPE_ROW
};

const dtype_facts *dtype_of(uint32_t dtype)
{
    for (size_t i = 0; i < sizeof dtypes / sizeof *dtypes; i++)
        if (dtypes[i].dtype == dtype)
            return &dtypes[i];
    return NULL;
}

typedef struct checker {
    const char *backend;
    uint32_t embeds; /* flags of EMBED that it runs */
    const bp_program *program;
    const bp_op *op; /* the op being checked */
    uint32_t index;
    uint8_t *written; /* [value_count] */
    bp_error *error;
} checker;

static const char *const names[] = {"op 0", "EMBED", "NORM",  "LINEAR", "QKV",    "ATTENTION", "GATED_MLP",
                                    "MOE",  "ADD",   "SCALE", "ROWS",   "LOGITS", "POOL",      "ALL_REDUCE"};

const char *op_name(unsigned kind)
{
    return kind < sizeof names / sizeof *names ? names[kind] : "an unknown op";
}

/* "op 7 (LINEAR, layer 3): " then the rest; returns `code`. */
static bp_status wrong(const checker *c, bp_status code, const char *format, ...) BP_PRINTF(3, 4);
static bp_status wrong(const checker *c, bp_status code, const char *format, ...)
{
    char text[320];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    return fail(c->error, code, "%s: op %u (%s, layer %d) %s", c->backend, c->index, op_name(c->op->kind), c->op->layer,
                text);
}

#define CHECK(expression)                                                                                                  \
    do {                                                                                                                   \
        bp_status check_status = (expression);                                                                             \
        if (check_status != BP_OK)                                                                                         \
            return check_status;                                                                                           \
    } while (0)

static bp_status check_weight(const char *backend, const bp_program *program, uint32_t number, bp_error *error)
{
    const bp_weight *w = &program->weights[number];
    const char *name = w->name ? w->name : "(unnamed)";
    const dtype_facts *type = dtype_of(w->dtype);
    if (!type)
        return fail(error, BP_EUNSUPPORTED, "%s: weight %s has type %u, which this backend does not run", backend, name,
                    w->dtype);
    if (w->rank < 1 || w->rank > 2)
        return fail(error, BP_EINVAL, "%s: weight %s has rank %u; 1 or 2 is expected", backend, name, w->rank);
    for (int i = 0; i < 4; i++) {
        int64_t limit = i < (int)w->rank ? INT32_MAX : 1;
        if (w->shape[i] < 1 || w->shape[i] > limit) {
            return fail(error, BP_EINVAL, "%s: weight %s has %lld elements in dimension %d", backend, name,
                        (long long)w->shape[i], i);
        }
    }
    if ((uint64_t)w->shape[0] % type->block != 0) {
        return fail(error, BP_EUNSUPPORTED, "%s: weight %s has %lld columns, not a multiple of %s's block of %zu", backend,
                    name, (long long)w->shape[0], type->name, type->block);
    }
    size_t bytes = size_multiply(dtype_row_bytes(type, (size_t)w->shape[0]), (size_t)w->shape[1]);
    if (!w->data || bytes == SIZE_MAX || w->bytes != bytes) {
        return fail(error, BP_EINVAL, "%s: weight %s holds %llu bytes where its shape and type need %zu", backend, name,
                    (unsigned long long)w->bytes, bytes);
    }
    return BP_OK;
}

/* A value that the op reads, `width` columns if that is not 0. */
static bp_status check_in(const checker *c, int slot, bool required, uint32_t width)
{
    int32_t v = c->op->in[slot];
    if (v == -1 && !required)
        return BP_OK;
    if (v < 0 || (uint32_t)v >= c->program->value_count)
        return wrong(c, BP_EINVAL, "reads value %d, which does not exist", v);
    if (!c->written[v])
        return wrong(c, BP_EINVAL, "reads value %d before it is written", v);
    if (width && c->program->values[v].width != width) {
        return wrong(c, BP_EINVAL, "reads value %d of %u columns where %u are needed", v, c->program->values[v].width,
                     width);
    }
    return BP_OK;
}

static bp_status check_out(const checker *c, int slot, bool required, uint64_t width, uint32_t rows)
{
    int32_t v = c->op->out[slot];
    if (v == -1 && !required)
        return BP_OK;
    if (v < 0 || (uint32_t)v >= c->program->value_count)
        return wrong(c, BP_EINVAL, "writes value %d, which does not exist", v);
    if (c->written[v])
        return wrong(c, BP_EINVAL, "writes value %d a second time", v);
    if (c->program->values[v].width != width || c->program->values[v].rows != rows) {
        return wrong(c, BP_EINVAL, "writes value %d, whose shape is not that of its result (%llu columns)", v,
                     (unsigned long long)width);
    }
    c->written[v] = 1;
    return BP_OK;
}

/* A weight of n rows and k columns; k 0 asks for a vector of n. */
static bp_status check_matrix(const checker *c, int32_t number, bool required, uint64_t n, uint64_t k)
{
    if (number == -1 && !required)
        return BP_OK;
    if (number < 0 || (uint32_t)number >= c->program->weight_count) {
        return wrong(c, BP_EINVAL, "uses weight %d, which does not exist", number);
    }
    const bp_weight *w = &c->program->weights[number];
    uint64_t columns = (uint64_t)w->shape[0], rows = (uint64_t)w->shape[1];
    bool vector = k == 0;
    if (vector ? columns != n || rows != 1 : columns != k || rows != n) {
        return wrong(c, BP_EINVAL, "uses weight %s of [%llu][%llu] where [%llu][%llu] is needed",
                     w->name ? w->name : "(unnamed)", (unsigned long long)rows, (unsigned long long)columns,
                     (unsigned long long)(vector ? 1 : n), (unsigned long long)(vector ? n : k));
    }
    if (vector && dtype_of(w->dtype)->block > 1) {
        return wrong(c, BP_EUNSUPPORTED, "has a quantised vector, weight %s", w->name ? w->name : "(unnamed)");
    }
    return BP_OK;
}

static bp_status check_args(const checker *c, size_t bytes)
{
    if (!c->op->args || c->op->args_size < bytes)
        return wrong(c, BP_EINVAL, "has no arguments of its kind");
    return BP_OK;
}

static uint32_t in_width(const checker *c, int slot)
{
    return c->program->values[c->op->in[slot]].width;
}
static uint32_t in_rows(const checker *c, int slot)
{
    return c->program->values[c->op->in[slot]].rows;
}

static bp_status check_embed(const checker *c)
{
    CHECK(check_args(c, sizeof(bp_embed_args)));
    int32_t out = c->op->out[0];
    if (out < 0 || (uint32_t)out >= c->program->value_count)
        return wrong(c, BP_EINVAL, "writes value %d, which does not exist", out);
    uint32_t flags = c->op->flags;
    if ((flags & ~c->embeds) || (flags & (flags - 1)))
        return wrong(c, BP_EUNSUPPORTED, "has flags that this backend does not run");
    uint32_t width = c->program->values[out].width;
    uint64_t rows = flags == BP_EMBED_POSITION ? c->program->max_context : c->program->vocab_size;
    int32_t table = c->op->weight[0];
    if (flags == BP_EMBED_TYPE && table >= 0 && (uint32_t)table < c->program->weight_count)
        rows = (uint64_t)c->program->weights[table].shape[1];
    CHECK(check_matrix(c, table, true, rows, width));
    return check_out(c, 0, true, width, BP_ROWS_TOKENS);
}

static bp_status check_norm(const checker *c)
{
    CHECK(check_args(c, sizeof(bp_norm_args)));
    const bp_norm_args *args = c->op->args;
    if (args->kind > BP_NORM_LAYER)
        return wrong(c, BP_EUNSUPPORTED, "asks for norm kind %u", args->kind);
    CHECK(check_in(c, 0, true, 0));
    uint32_t width = in_width(c, 0), rows = in_rows(c, 0);
    bool pre = c->op->flags == BP_NORM_PRE_RESIDUAL;
    if (c->op->flags != 0 && !pre && c->op->flags != BP_NORM_POST_RESIDUAL)
        return wrong(c, BP_EUNSUPPORTED, "has unknown flags");
    if ((c->op->in[1] >= 0) != (c->op->flags != 0))
        return wrong(c, BP_EINVAL, "needs in1 exactly when a residual flag is set");
    CHECK(check_in(c, 1, false, width));
    if (c->op->in[1] >= 0 && in_rows(c, 1) != rows)
        return wrong(c, BP_EINVAL, "adds values of different rows");
    CHECK(check_matrix(c, c->op->weight[0], false, width, 0));
    CHECK(check_matrix(c, c->op->weight[1], false, width, 0));
    if (c->op->out[1] >= 0 && !pre)
        return wrong(c, BP_EINVAL, "has out1 without BP_NORM_PRE_RESIDUAL");
    CHECK(check_out(c, 0, true, width, rows));
    return check_out(c, 1, false, width, rows);
}

static bp_status check_activation(const checker *c)
{
    CHECK(check_args(c, sizeof(bp_linear_args)));
    const bp_linear_args *args = c->op->args;
    if (args->activation > BP_ACT_TANH)
        return wrong(c, BP_EUNSUPPORTED, "asks for activation %u", args->activation);
    return check_in(c, 0, true, 0);
}

static bp_status check_linear(const checker *c)
{
    CHECK(check_activation(c));
    int32_t out = c->op->out[0];
    if (out < 0 || (uint32_t)out >= c->program->value_count)
        return wrong(c, BP_EINVAL, "writes value %d, which does not exist", out);
    uint32_t n = c->program->values[out].width;
    CHECK(check_matrix(c, c->op->weight[0], true, n, in_width(c, 0)));
    if (c->op->kind == BP_OP_GATED_MLP) {
        CHECK(check_matrix(c, c->op->weight[1], true, n, in_width(c, 0)));
    } else {
        CHECK(check_matrix(c, c->op->weight[1], false, n, 0));
        CHECK(check_in(c, 1, false, n));
        if (c->op->in[1] >= 0 && in_rows(c, 1) != in_rows(c, 0))
            return wrong(c, BP_EINVAL, "adds values of different rows");
    }
    return check_out(c, 0, true, n, in_rows(c, 0));
}

static bp_status check_cache(const checker *c, const bp_cache **out)
{
    if (c->op->cache < 0 || (uint32_t)c->op->cache >= c->program->cache_count) {
        return wrong(c, BP_EINVAL, "uses cache %d, which does not exist", c->op->cache);
    }
    *out = &c->program->caches[c->op->cache];
    return BP_OK;
}

static bp_status check_rope(const checker *c, const bp_qkv_args *args)
{
    if (args->rope_mode == BP_ROPE_NONE)
        return BP_OK;
    if (args->rope_mode > BP_ROPE_NEOX)
        return wrong(c, BP_EUNSUPPORTED, "asks for rope mode %u", args->rope_mode);
    if (args->rope_dim == 0 || args->rope_dim % 2 != 0 || args->rope_dim > args->head_dim) {
        return wrong(c, BP_EINVAL, "rotates %u of %u dimensions", args->rope_dim, args->head_dim);
    }
    CHECK(check_matrix(c, args->rope_table, true, c->program->max_context, args->rope_dim));
    if (c->program->weights[args->rope_table].dtype != BP_F32)
        return wrong(c, BP_EINVAL, "has a rope table that is not F32");
    return BP_OK;
}

static bp_status check_qkv(const checker *c)
{
    const bp_cache *cache = NULL;
    CHECK(check_args(c, sizeof(bp_qkv_args)));
    const bp_qkv_args *args = c->op->args;
    CHECK(check_in(c, 0, true, 0));
    CHECK(check_cache(c, &cache));
    if (args->kv_heads != cache->kv_heads || args->head_dim != cache->head_dim) {
        return wrong(c, BP_EINVAL, "has other heads than its cache");
    }
    if (in_rows(c, 0) != BP_ROWS_TOKENS)
        return wrong(c, BP_EINVAL, "needs a row for every token");
    if (args->heads == 0 || args->heads > MAX_HEADS)
        return wrong(c, BP_EINVAL, "has %u heads", args->heads);
    uint64_t width = in_width(c, 0), q = (uint64_t)args->heads * args->head_dim,
             kv = (uint64_t)args->kv_heads * args->head_dim;
    const int32_t *w = c->op->weight;
    CHECK(check_matrix(c, w[0], true, q, width));
    CHECK(check_matrix(c, w[1], true, kv, width));
    CHECK(check_matrix(c, w[2], true, kv, width));
    CHECK(check_matrix(c, w[3], false, q, 0));
    CHECK(check_matrix(c, w[4], false, kv, 0));
    CHECK(check_matrix(c, w[5], false, kv, 0));
    CHECK(check_matrix(c, w[6], false, args->head_dim, 0));
    CHECK(check_matrix(c, w[7], false, args->head_dim, 0));
    CHECK(check_rope(c, args));
    return check_out(c, 0, true, q, BP_ROWS_TOKENS);
}

static bp_status check_attention(const checker *c)
{
    const bp_cache *cache = NULL;
    CHECK(check_args(c, sizeof(bp_attention_args)));
    const bp_attention_args *args = c->op->args;
    CHECK(check_cache(c, &cache));
    if (args->sinks != -1)
        return wrong(c, BP_EUNSUPPORTED, "has attention sinks, which this backend does not run");
    if (args->mask > BP_MASK_NONE)
        return wrong(c, BP_EUNSUPPORTED, "asks for mask %u", args->mask);
    if (args->mask == BP_MASK_NONE && cache->window)
        return wrong(c, BP_EUNSUPPORTED, "has a window without a causal mask");
    if (args->heads == 0 || args->heads > MAX_HEADS || args->heads % cache->kv_heads != 0) {
        return wrong(c, BP_EINVAL, "has %u heads over %u heads of keys", args->heads, cache->kv_heads);
    }
    uint64_t width = (uint64_t)args->heads * cache->head_dim;
    if (width > MAX_WIDTH)
        return wrong(c, BP_EINVAL, "has %u heads", args->heads);
    CHECK(check_in(c, 0, true, (uint32_t)width));
    if (in_rows(c, 0) != BP_ROWS_TOKENS)
        return wrong(c, BP_EINVAL, "needs a row for every token");
    return check_out(c, 0, true, width, BP_ROWS_TOKENS);
}

static bp_status check_elementwise(const checker *c)
{
    bool add = c->op->kind == BP_OP_ADD;
    if (!add)
        CHECK(check_args(c, sizeof(bp_scale_args)));
    CHECK(check_in(c, 0, true, 0));
    if (add) {
        CHECK(check_in(c, 1, true, in_width(c, 0)));
        if (in_rows(c, 1) != in_rows(c, 0))
            return wrong(c, BP_EINVAL, "adds values of different rows");
    }
    return check_out(c, 0, true, in_width(c, 0), in_rows(c, 0));
}

static bp_status check_rows(const checker *c)
{
    CHECK(check_in(c, 0, true, 0));
    if (in_rows(c, 0) != BP_ROWS_TOKENS)
        return wrong(c, BP_EINVAL, "needs a row for every token");
    return check_out(c, 0, true, in_width(c, 0), BP_ROWS_OUTPUTS);
}

static bp_status check_result(const checker *c)
{
    bool logits = c->op->kind == BP_OP_LOGITS;
    if (c->index + 1 != c->program->op_count)
        return wrong(c, BP_EINVAL, "yields the result but is not the last op");
    CHECK(check_args(c, logits ? sizeof(bp_logits_args) : sizeof(bp_pool_args)));
    CHECK(check_in(c, 0, true, 0));
    if (logits) {
        if (in_rows(c, 0) != BP_ROWS_OUTPUTS)
            return wrong(c, BP_EINVAL, "needs the rows that ROWS selects");
        return check_matrix(c, c->op->weight[0], true, c->program->output_width, in_width(c, 0));
    }
    if (((const bp_pool_args *)c->op->args)->pooling > BP_POOL_FIRST)
        return wrong(c, BP_EUNSUPPORTED, "asks for an unknown pooling");
    if (in_rows(c, 0) != BP_ROWS_TOKENS || in_width(c, 0) != c->program->output_width) {
        return wrong(c, BP_EINVAL, "pools a value that is not [tokens][%u]", c->program->output_width);
    }
    return BP_OK;
}

static bp_status check_op(const checker *c)
{
    switch (c->op->kind) {
    case BP_OP_EMBED:
        return check_embed(c);
    case BP_OP_NORM:
        return check_norm(c);
    case BP_OP_LINEAR:
    case BP_OP_GATED_MLP:
        return check_linear(c);
    case BP_OP_QKV:
        return check_qkv(c);
    case BP_OP_ATTENTION:
        return check_attention(c);
    case BP_OP_ADD:
    case BP_OP_SCALE:
        return check_elementwise(c);
    case BP_OP_ROWS:
        return check_rows(c);
    case BP_OP_LOGITS:
    case BP_OP_POOL:
        return check_result(c);
    default:
        return wrong(c, BP_EUNSUPPORTED, "is not an op that this backend runs");
    }
}

static bp_status check_tables(const char *backend, const bp_program *p, bp_error *error)
{
    if (p->op_count < 1 || p->op_count > MAX_COUNT || p->value_count < 1 || p->value_count > MAX_COUNT ||
        p->weight_count > MAX_COUNT || p->cache_count > MAX_COUNT) {
        return fail(error, BP_EINVAL, "%s: the program has %u ops, %u values, %u weights and %u caches", backend,
                    p->op_count, p->value_count, p->weight_count, p->cache_count);
    }
    if (!p->ops || !p->values || (p->weight_count && !p->weights) || (p->cache_count && !p->caches)) {
        return fail(error, BP_EINVAL, "%s: the program has a table missing", backend);
    }
    if (p->vocab_size < 1 || p->vocab_size > INT32_MAX || p->output_width < 1 || p->output_width > MAX_WIDTH ||
        p->max_context < 1 || p->max_context > INT32_MAX) {
        return fail(error, BP_EINVAL, "%s: the program has a vocabulary of %u, %u outputs and a context of %u", backend,
                    p->vocab_size, p->output_width, p->max_context);
    }
    for (uint32_t i = 0; i < p->value_count; i++) {
        if (p->values[i].width < 1 || p->values[i].width > MAX_WIDTH || p->values[i].rows > BP_ROWS_OUTPUTS) {
            return fail(error, BP_EINVAL, "%s: value %u has %u columns and rows of kind %u", backend, i, p->values[i].width,
                        p->values[i].rows);
        }
    }
    for (uint32_t i = 0; i < p->cache_count; i++) {
        const bp_cache *cache = &p->caches[i];
        if (cache->kv_heads < 1 || cache->kv_heads > MAX_HEADS || cache->head_dim < 1 || cache->head_dim > MAX_HEAD_DIM) {
            return fail(error, BP_EINVAL, "%s: cache %u has %u heads of %u", backend, i, cache->kv_heads, cache->head_dim);
        }
        if (cache->head_dim % HEAD_UNIT != 0) {
            return fail(error, BP_EUNSUPPORTED, "%s: cache %u has heads of %u, not a multiple of %d", backend, i,
                        cache->head_dim, HEAD_UNIT);
        }
    }
    for (uint32_t i = 0; i < p->weight_count; i++)
        CHECK(check_weight(backend, p, i, error));
    return BP_OK;
}

size_t program_token_types(const bp_program *program)
{
    int64_t fewest = 0;
    for (uint32_t i = 0; i < program->op_count; i++) {
        const bp_op *op = &program->ops[i];
        if (op->kind != BP_OP_EMBED || op->flags != BP_EMBED_TYPE)
            continue;
        int64_t rows = program->weights[op->weight[0]].shape[1];
        fewest = fewest == 0 || rows < fewest ? rows : fewest;
    }
    return (size_t)fewest;
}

bp_status validate_program(const char *backend, uint32_t embeds, const bp_program *program, bp_error *error)
{
    if (!program || program->size < sizeof *program)
        return fail(error, BP_EINVAL, "%s: the program is of an older or unknown form", backend);
    CHECK(check_tables(backend, program, error));
    uint8_t *written = calloc(program->value_count, 1);
    if (!written)
        return fail(error, BP_ENOMEM, "%s: no memory to check the program", backend);
    checker c = {.backend = backend, .embeds = embeds, .program = program, .written = written, .error = error};
    bp_status status = BP_OK;
    for (; c.index < program->op_count && status == BP_OK; c.index++) {
        c.op = &program->ops[c.index];
        status = check_op(&c);
    }
    unsigned last = program->ops[program->op_count - 1].kind;
    if (status == BP_OK && last != BP_OP_LOGITS && last != BP_OP_POOL) {
        status = fail(error, BP_EINVAL, "%s: the last op is %s, which yields no result", backend, op_name(last));
    }
    free(written);
    return status;
}

bp_status validate_limits(const char *backend, const bp_program *program, const bp_limits *limits, bp_error *error)
{
    if (!limits || limits->size < sizeof *limits)
        return fail(error, BP_EINVAL, "%s: the limits are of an older or unknown form", backend);
    if (limits->max_tokens < 1 || limits->max_tokens > MAX_COUNT || limits->max_seqs < 1 ||
        limits->max_seqs > limits->max_tokens || limits->max_rows > limits->max_tokens) {
        return fail(error, BP_EINVAL, "%s: limits of %u tokens, %u sequences and %u rows a step", backend,
                    limits->max_tokens, limits->max_seqs, limits->max_rows);
    }
    if (limits->max_context < 1 || limits->max_context > program->max_context) {
        return fail(error, BP_EINVAL, "%s: a context of %u where the model has %u", backend, limits->max_context,
                    program->max_context);
    }
    if (limits->kv_dtype > BP_KV_Q8_0)
        return fail(error, BP_EUNSUPPORTED, "%s: cache type %u is not one of F16, F32, BF16 and Q8_0", backend,
                    limits->kv_dtype);
    for (uint32_t i = 0; limits->kv_dtype == BP_KV_Q8_0 && i < program->cache_count; i++) {
        if (program->caches[i].head_dim % KV_BLOCK != 0) {
            return fail(
                error, BP_EUNSUPPORTED,
                "%s: a cache in q8_0 needs heads of a multiple of 32 elements, and cache %u has %u; use kv_type: f16",
                backend, i, program->caches[i].head_dim);
        }
    }
    if (program->cache_count == 0)
        return BP_OK;
    uint32_t page = limits->page_tokens;
    if (page < 16 || page > CHUNK || page % 16 != 0 || CHUNK % page != 0) {
        return fail(error, BP_EINVAL, "%s: pages of %u tokens; 16, 32, 64, 128 or 256 are possible", backend, page);
    }
    if (limits->page_count < 1 || limits->page_count > INT32_MAX)
        return fail(error, BP_EINVAL, "%s: %u cache pages", backend, limits->page_count);
    return BP_OK;
}
