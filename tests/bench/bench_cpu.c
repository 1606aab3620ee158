/* bench_cpu PLUGIN [threads [isa [context [type]]]]: times the CPU plugin alone on a model of SmolLM2-135M's shape with random
 * weights: loading, a prompt of 512 tokens, and decoding 1, 8 and 32 sequences. `isa` is the number of the option's word (0 is
 * auto), `type` is that of the layers' weights (Q4_1; types with blocks of 256 get a width of 768). For figures of the whole
 * program use `backplane bench`. */
#include "../../plugins/cpu/device.h"
#include "../../conformance/block_scales.h"

#include <dlfcn.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    LAYERS = 30,
    HIDDEN = 1536,
    HEAD_DIM = 64,
    VOCABULARY = 49152,
    CONTEXT = 8192,
    PAGE = 64,
    PAGES = 1024,
    MAX_SEQS = 64,
    MAX_TOKENS = 512
};

typedef struct builder {
    bp_weight weights[LAYERS * 16 + 8];
    bp_op ops[LAYERS * 8 + 8];
    bp_value values[LAYERS * 8 + 8];
    bp_cache caches[LAYERS];
    uint32_t weight_count, op_count, value_count;
    uint32_t type, width, heads, kv_heads;
    uint64_t random;
} builder;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void check(bp_status status, const bp_error *error)
{
    if (status == BP_OK)
        return;
    fprintf(stderr, "bench_cpu: %s\n", error->message);
    exit(1);
}

static uint32_t next(builder *b)
{
    b->random = b->random * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(b->random >> 32);
}

typedef struct type_row {
    const char *name;
    uint32_t number;
    size_t elements, bytes;
} type_row;

static const type_row types[] = {
#define TYPE_ROW(name, number, elements, bytes) {#name, number, elements, bytes},
    BP_DTYPES(TYPE_ROW)
#undef TYPE_ROW
};

static const type_row *type_of(const char *name, uint32_t number)
{
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (name ? strcmp(types[i].name, name) == 0 : types[i].number == number)
            return &types[i];
    fprintf(stderr, "bench_cpu: there is no weight type %s\n", name ? name : "of that number");
    exit(2);
}

/* Random blocks whose values are of the size of a trained weight's. */
static int32_t matrix(builder *b, uint32_t dtype, size_t k, size_t n)
{
    const type_row *type = type_of(NULL, dtype);
    size_t bytes = k / type->elements * type->bytes * n;
    uint8_t *data = aligned_alloc(4096, (bytes + 4095) / 4096 * 4096);
    if (!data)
        exit(1);
    for (size_t i = 0; i < bytes; i += 4) {
        uint32_t word = next(b);
        memcpy(data + i, &word, bytes - i < 4 ? bytes - i : 4);
    }
    float size = 2.0f / sqrtf((float)k);
    for (size_t i = 0; i < bytes; i += type->bytes) {
        float x = size * ((float)next(b) * 0x1p-31f - 1.0f);
        uint16_t half = dtype == BP_BF16 ? bfloat_from_float(x) : half_from_float(x);
        if (type->elements == 1)
            memcpy(data + i, type->bytes == 4 ? (const void *)&x : (const void *)&half, type->bytes);
        else
            block_set_scales(dtype, data + i, size, -size);
    }
    b->weights[b->weight_count] = (bp_weight){
        .name = "random", .dtype = dtype, .rank = 2, .shape = {(int64_t)k, (int64_t)n, 1, 1}, .data = data, .bytes = bytes};
    return (int32_t)b->weight_count++;
}

static int32_t floats(builder *b, size_t k, size_t n, float value)
{
    float *data = calloc(k * n, sizeof *data);
    for (size_t i = 0; data && i < k * n; i++)
        data[i] = n > 1 ? (i % k < k / 2 ? 0.8f : 0.6f) : value;
    b->weights[b->weight_count] = (bp_weight){.name = "floats",
                                              .dtype = BP_F32,
                                              .rank = n > 1 ? 2 : 1,
                                              .shape = {(int64_t)k, (int64_t)n, 1, 1},
                                              .data = data,
                                              .bytes = k * n * 4};
    return (int32_t)b->weight_count++;
}

static int32_t value(builder *b, uint32_t width, uint32_t rows)
{
    b->values[b->value_count] = (bp_value){width, rows};
    return (int32_t)b->value_count++;
}

static bp_op *op(builder *b, uint16_t kind, const void *args, uint32_t bytes)
{
    bp_op *o = &b->ops[b->op_count++];
    memset(o, -1, sizeof *o);
    o->kind = kind;
    o->flags = 0;
    o->args = args;
    o->args_size = bytes;
    return o;
}

static int32_t norm(builder *b, int32_t in, int32_t residual, int32_t *sum, uint32_t rows)
{
    static const bp_norm_args args = {BP_NORM_RMS, 1e-5f};
    bp_op *o = op(b, BP_OP_NORM, &args, sizeof args);
    o->in[0] = in;
    o->in[1] = residual;
    o->flags = residual >= 0 ? BP_NORM_PRE_RESIDUAL : 0;
    o->weight[0] = floats(b, b->width, 1, 1.0f);
    o->out[0] = value(b, b->width, rows);
    if (sum)
        *sum = o->out[1] = value(b, b->width, rows);
    return o->out[0];
}

static int32_t linear(builder *b, int32_t in, uint32_t width, uint32_t n, int32_t residual)
{
    static const bp_linear_args args = {BP_ACT_NONE};
    bp_op *o = op(b, BP_OP_LINEAR, &args, sizeof args);
    o->in[0] = in;
    o->in[1] = residual;
    o->weight[0] = matrix(b, b->type, width, n);
    o->out[0] = value(b, n, BP_ROWS_TOKENS);
    return o->out[0];
}

static int32_t layer(builder *b, int32_t index, int32_t x, int32_t rope)
{
    static bp_qkv_args qkv = {0, 0, HEAD_DIM, BP_ROPE_NORMAL, HEAD_DIM, 0, 0.0f};
    static bp_attention_args attention = {0, BP_MASK_CAUSAL, 0.125f, 0.0f, -1};
    static const bp_linear_args silu = {BP_ACT_SILU};
    qkv.rope_table = rope;
    qkv.heads = attention.heads = b->heads;
    qkv.kv_heads = b->kv_heads;
    int32_t h = norm(b, x, -1, NULL, BP_ROWS_TOKENS);
    bp_op *o = op(b, BP_OP_QKV, &qkv, sizeof qkv);
    o->in[0] = h;
    o->weight[0] = matrix(b, b->type, b->width, b->heads * HEAD_DIM);
    o->weight[1] = matrix(b, b->type, b->width, b->kv_heads * HEAD_DIM);
    o->weight[2] = matrix(b, b->type, b->width, b->kv_heads * HEAD_DIM);
    o->cache = index;
    int32_t q = o->out[0] = value(b, b->heads * HEAD_DIM, BP_ROWS_TOKENS);
    o = op(b, BP_OP_ATTENTION, &attention, sizeof attention);
    o->in[0] = q;
    o->cache = index;
    int32_t a = o->out[0] = value(b, b->heads * HEAD_DIM, BP_ROWS_TOKENS);
    x = linear(b, a, b->heads * HEAD_DIM, b->width, x);
    h = norm(b, x, -1, NULL, BP_ROWS_TOKENS);
    o = op(b, BP_OP_GATED_MLP, &silu, sizeof silu);
    o->in[0] = h;
    o->weight[0] = matrix(b, b->type, b->width, HIDDEN);
    o->weight[1] = matrix(b, b->type, b->width, HIDDEN);
    int32_t m = o->out[0] = value(b, HIDDEN, BP_ROWS_TOKENS);
    b->caches[index] = (bp_cache){.kv_heads = b->kv_heads, .head_dim = HEAD_DIM};
    return linear(b, m, HIDDEN, b->width, x);
}

static bp_program build(builder *b)
{
    static const bp_embed_args embed = {1.0f};
    static const bp_logits_args logits = {1.0f, 0.0f};
    int32_t table = matrix(b, BP_Q8_0, b->width, VOCABULARY), rope = floats(b, HEAD_DIM, CONTEXT, 0.0f);
    bp_op *o = op(b, BP_OP_EMBED, &embed, sizeof embed);
    o->weight[0] = table;
    int32_t x = o->out[0] = value(b, b->width, BP_ROWS_TOKENS);
    for (int32_t i = 0; i < LAYERS; i++)
        x = layer(b, i, x, rope);
    o = op(b, BP_OP_ROWS, NULL, 0);
    o->in[0] = x;
    x = o->out[0] = value(b, b->width, BP_ROWS_OUTPUTS);
    x = norm(b, x, -1, NULL, BP_ROWS_OUTPUTS);
    o = op(b, BP_OP_LOGITS, &logits, sizeof logits);
    o->in[0] = x;
    o->weight[0] = table;
    return (bp_program){.size = sizeof(bp_program),
                        .family = "llama",
                        .op_count = b->op_count,
                        .weight_count = b->weight_count,
                        .cache_count = LAYERS,
                        .value_count = b->value_count,
                        .ops = b->ops,
                        .weights = b->weights,
                        .caches = b->caches,
                        .values = b->values,
                        .vocab_size = VOCABULARY,
                        .output_width = VOCABULARY,
                        .max_context = CONTEXT};
}

typedef struct runner {
    const bp_backend_ops *ops;
    bp_model *model;
    int32_t pages[MAX_SEQS * PAGES];
    int32_t tokens[MAX_TOKENS], positions[MAX_TOKENS], first[MAX_SEQS + 1], context[MAX_SEQS], rows[MAX_SEQS];
    float *out;
    uint32_t pages_each;
} runner;

/* One step: `count` tokens of each sequence from `start`, an output row for the last of each. Seconds. */
static double step(runner *r, uint32_t seqs, uint32_t count, uint32_t start)
{
    bp_error error = {0};
    for (uint32_t s = 0; s < seqs; s++) {
        r->first[s] = (int32_t)(s * count);
        r->context[s] = (int32_t)(start + count);
        r->rows[s] = (int32_t)(s * count + count - 1);
        for (uint32_t i = 0; i < count; i++) {
            r->tokens[s * count + i] = (int32_t)((s * 7919u + (start + i) * 104729u) % VOCABULARY);
            r->positions[s * count + i] = (int32_t)(start + i);
        }
    }
    r->first[seqs] = (int32_t)(seqs * count);
    bp_batch batch = {sizeof batch, seqs,         seqs * count, seqs,       r->pages_each, 0,
                      r->tokens,    r->positions, r->first,     r->context, r->pages,      r->rows, NULL};
    double begin = now();
    check(r->ops->submit(r->model, &batch, &error), &error);
    check(r->ops->wait(r->model, r->out, (uint64_t)seqs * VOCABULARY, &error), &error);
    return now() - begin;
}

static void spread_pages(runner *r, uint32_t seqs)
{
    r->pages_each = PAGES / seqs;
    for (uint32_t i = 0; i < PAGES; i++)
        r->pages[i] = (int32_t)i;
}

static void decode(runner *r, uint32_t seqs, uint32_t context)
{
    enum { STEPS = 40 };
    spread_pages(r, seqs);
    for (uint32_t at = 0, chunk = MAX_TOKENS / seqs; at < context; at += chunk)
        step(r, seqs, context - at < chunk ? context - at : chunk, at);
    double best = 1e9, total = 0;
    for (uint32_t i = 0; i < STEPS; i++) {
        double t = step(r, seqs, 1, context + i);
        best = t < best ? t : best;
        total += t;
    }
    printf("decode %2u at %4u   %8.1f tokens/s   (best step %.3f ms: %.1f tokens/s)\n", seqs, context, seqs * STEPS / total,
           best * 1e3, seqs / best);
}

static void log_line(void *context, int level, const char *format, ...)
{
    (void)context, (void)level, (void)format;
}

int main(int count, char **words)
{
    static builder b = {.random = 1};
    static runner r;
    if (count < 2)
        return fprintf(stderr, "usage: bench_cpu PLUGIN [threads [isa [context [type]]]]\n"), 2;
    void *library = dlopen(words[1], RTLD_NOW | RTLD_LOCAL);
    if (!library)
        return fprintf(stderr, "bench_cpu: %s\n", dlerror()), 1;
    bp_plugin_entry_fn entry;
    *(void **)&entry = dlsym(library, BP_PLUGIN_ENTRY_SYMBOL);
    bp_host host = {.size = sizeof host, .log = log_line};
    cpu_config config = {.threads = count > 2 ? atoi(words[2]) : INT64_MIN, .spin_us = 100};
    config.isa = count > 3 ? atoi(words[3]) : 0;
    uint32_t context = count > 4 ? (uint32_t)atoi(words[4]) : 64;
    const type_row *type = type_of(count > 5 ? words[5] : "Q4_1", 0);
    b.type = type->number;
    b.heads = type->elements == 256 ? 12 : 9;
    b.kv_heads = b.heads / 3;
    b.width = b.heads * HEAD_DIM;
    bp_program program = build(&b);
    bp_limits limits = {sizeof limits, MAX_TOKENS, MAX_SEQS, MAX_SEQS, PAGE, PAGES, CONTEXT, BP_KV_F16};
    bp_error error = {0};
    bp_device *device = NULL;
    bp_device_info info = {.size = sizeof info};
    r.ops = entry()->ops;
    check(r.ops->open(&host, &config, &device, &error), &error);
    check(r.ops->info(device, &info, &error), &error);
    double begin = now();
    check(r.ops->compile(device, &program, &limits, &r.model, &error), &error);
    printf("%s\ncompile          %8.1f ms\n", info.name, (now() - begin) * 1e3);
    r.out = calloc((size_t)MAX_SEQS * VOCABULARY, sizeof *r.out);
    if (!r.out)
        return 1;
    spread_pages(&r, 1);
    printf("first token of 32%8.1f ms\n", step(&r, 1, 32, 0) * 1e3);
    for (int i = 0; i < 4; i++) {
        double t = step(&r, 1, MAX_TOKENS, 0);
        printf("prefill %u      %8.1f tokens/s\n", MAX_TOKENS, MAX_TOKENS / t);
    }
    decode(&r, 1, context);
    decode(&r, 8, context);
    decode(&r, 32, context);
    r.ops->release(r.model);
    r.ops->close(device);
    return 0;
}
