/* decoder: the family of llama, pre-norm transformers with RMS norms, rotary positions, grouped heads and a gated MLP
 * (Touvron et al. 2023).
 *
 *   x = EMBED(token)
 *   each layer:  h = NORM(x); q = QKV(h); a = ATTENTION(q); x = LINEAR(a) + x
 *                h = NORM(x); g = GATED_MLP(h);             x = LINEAR(g) + x
 *   LOGITS(NORM(x))
 *
 * In the last layer ROWS comes right after the attention: what follows is needed only for the rows that want output. */
#include "base/error.h"
#include "model/architecture.h"
#include "model/builder.h"
#include "model/rope.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum {
    MAX_LAYERS = 4096, MAX_WIDTH = 1 << 24, MAX_HEADS = 1 << 14, MAX_HEAD_DIM = 1024,
    OPS_PER_LAYER = 7, OTHER_OPS = 5 /* EMBED, two ROWS, NORM, LOGITS */
};

typedef struct decoder {
    const architecture_job *job;
    uint32_t layers, width, ffn_width, heads, kv_heads, head_dim, rope_dim, vocab_size, train_context, context;
    float epsilon, rope_base, rope_scale;
    const float *rope_factors; /* [rope_dim / 2] or NULL */
    int32_t rope_table;
    bp_error *error;
} decoder;

/* --- keys ------------------------------------------------------------------------------------------------------------- */

static const char *full_key(const decoder *d, const char *name, char out[96])
{
    snprintf(out, 96, "%s.%s", d->job->arch->name, name);
    return out;
}

/* A key in [1, limit]; without a fallback (0) it must be there. */
static bp_status count_key(const decoder *d, const char *name, uint32_t fallback, uint32_t limit, uint32_t *out)
{
    char key[96];
    bool present;
    bp_status status = gguf_u32(d->job->file, full_key(d, name, key), fallback, &present, out, d->error);
    if (status != BP_OK)
        return status;
    if (!present && fallback == 0)
        return error_set(d->error, BP_EINVAL, "key \"%s\" is missing", key);
    if (*out < 1 || *out > limit)
        return error_set(d->error, BP_EINVAL, "key \"%s\" is %" PRIu32 "; 1 to %" PRIu32 " are possible", key, *out, limit);
    return BP_OK;
}

static bp_status real_key(const decoder *d, const char *name, float fallback, float low, float high, float *out)
{
    char key[96];
    bool present;
    bp_status status = gguf_f32(d->job->file, full_key(d, name, key), fallback, &present, out, d->error);
    if (status != BP_OK)
        return status;
    if (!present && fallback == 0)
        return error_set(d->error, BP_EINVAL, "key \"%s\" is missing", key);
    if (!(*out >= low && *out <= high))
        return error_set(d->error, BP_EINVAL, "key \"%s\" is %g; %g to %g are possible", key, (double)*out, (double)low,
                         (double)high);
    return BP_OK;
}

static bp_status read_sizes(decoder *d)
{
    bp_status status;
    if ((status = count_key(d, "block_count", 0, MAX_LAYERS, &d->layers)) != BP_OK ||
        (status = count_key(d, "context_length", 0, INT32_MAX, &d->train_context)) != BP_OK ||
        (status = count_key(d, "embedding_length", 0, MAX_WIDTH, &d->width)) != BP_OK ||
        (status = count_key(d, "feed_forward_length", 0, MAX_WIDTH, &d->ffn_width)) != BP_OK)
        return status;
    return real_key(d, "attention.layer_norm_rms_epsilon", 0, 1e-30f, 1, &d->epsilon);
}

static bp_status read_heads(decoder *d)
{
    bp_status status;
    uint32_t value_dim;
    const char *arch = d->job->arch->name;
    if ((status = count_key(d, "attention.head_count", 0, MAX_HEADS, &d->heads)) != BP_OK ||
        (status = count_key(d, "attention.head_count_kv", d->heads, MAX_HEADS, &d->kv_heads)) != BP_OK)
        return status;
    if (d->heads % d->kv_heads != 0)
        return error_set(d->error, BP_EINVAL,
                         "key \"%s.attention.head_count\" is %" PRIu32 ", not a multiple of head_count_kv, %" PRIu32, arch,
                         d->heads, d->kv_heads);
    if ((status = count_key(d, "attention.key_length", d->width / d->heads, MAX_HEAD_DIM, &d->head_dim)) != BP_OK)
        return status;
    char key[96];
    bool given;
    uint32_t unused;
    if ((status = gguf_u32(d->job->file, full_key(d, "attention.key_length", key), 0, &given, &unused, d->error)) != BP_OK)
        return status;
    if (!given && d->width % d->heads != 0)
        return error_set(d->error, BP_EINVAL,
                         "key \"%s.embedding_length\" is %" PRIu32 ", which %" PRIu32 " heads do not divide, and "
                         "\"%s.attention.key_length\" is missing", arch, d->width, d->heads, arch);
    if ((uint64_t)d->heads * d->head_dim > MAX_WIDTH)
        return error_set(d->error, BP_EINVAL, "%" PRIu32 " heads of %" PRIu32 " are more than this build can run", d->heads,
                         d->head_dim);
    if ((status = count_key(d, "attention.value_length", d->head_dim, MAX_HEAD_DIM, &value_dim)) != BP_OK)
        return status;
    if (value_dim != d->head_dim)
        return error_set(d->error, BP_EUNSUPPORTED, "keys of %" PRIu32 " and values of %" PRIu32 " a head are not the same",
                         d->head_dim, value_dim);
    return BP_OK;
}

/* Divisors of the frequencies, Llama 3.1's: the tensor that llama.cpp's converter computes them into. */
static bp_status read_rope_factors(decoder *d, builder *b)
{
    const bp_weight *w = gguf_find_tensor(d->job->file, "rope_freqs.weight");
    if (!w)
        return BP_OK;
    uint32_t half = d->rope_dim / 2;
    if (w->dtype != BP_F32 || w->shape[0] != (int64_t)half || w->bytes != half * sizeof(float))
        return error_set(d->error, BP_EINVAL, "tensor \"%s\" is not a vector of %" PRIu32 " numbers of type F32", w->name,
                         half);
    float *factors = arena_array(d->job->memory, half, sizeof *factors);
    if (!factors)
        return error_set(d->error, BP_ENOMEM, "no memory for the rope table");
    memcpy(factors, w->data, w->bytes);
    for (uint32_t i = 0; i < half; i++)
        if (!(factors[i] >= 1.0f && factors[i] <= 1e6f))
            return error_set(d->error, BP_EINVAL, "tensor \"%s\" holds %g at %" PRIu32 "; 1 to 1e6 are possible", w->name,
                             (double)factors[i], i);
    d->rope_factors = factors;
    builder_mark_used(b, w);
    return BP_OK;
}

static bool is_word(gguf_string text, const char *word)
{
    return text.length == strlen(word) && memcmp(text.bytes, word, text.length) == 0;
}

static bp_status read_rope(decoder *d)
{
    char key[96];
    bool present;
    gguf_string type;
    bp_status status;
    float factor = 1;
    if ((status = count_key(d, "rope.dimension_count", d->head_dim, d->head_dim, &d->rope_dim)) != BP_OK ||
        (status = real_key(d, "rope.freq_base", 10000, 1, 1e30f, &d->rope_base)) != BP_OK ||
        (status = gguf_text(d->job->file, full_key(d, "rope.scaling.type", key), &present, &type, d->error)) != BP_OK)
        return status;
    if (d->rope_dim % 2 != 0)
        return error_set(d->error, BP_EINVAL, "key \"%s.rope.dimension_count\" is %" PRIu32 ", which is odd",
                         d->job->arch->name, d->rope_dim);
    if (is_word(type, "linear"))
        status = real_key(d, "rope.scaling.factor", 0, 1, 1e6f, &factor);
    else if (present && !is_word(type, "none"))
        return error_set(d->error, BP_EUNSUPPORTED, "key \"%s\" is \"%.*s\"; this build knows none and linear", key,
                         (int)(type.length < 40 ? type.length : 40), type.bytes);
    else
        status = real_key(d, "rope.scale_linear", 1, 1, 1e6f, &factor);
    d->rope_scale = factor;
    return status;
}

/* The vocabulary has as many tokens as the embedding has rows, and as the key says where it is there. */
static bp_status read_vocabulary(decoder *d)
{
    const bp_weight *embedding = gguf_find_tensor(d->job->file, "token_embd.weight");
    if (!embedding)
        return error_set(d->error, BP_EINVAL, "tensor \"token_embd.weight\" is missing");
    if (embedding->shape[1] > MAX_WIDTH)
        return error_set(d->error, BP_EINVAL, "tensor \"token_embd.weight\" has %" PRId64 " rows; up to %d are possible",
                         embedding->shape[1], MAX_WIDTH);
    uint32_t rows = (uint32_t)embedding->shape[1];
    bp_status status = count_key(d, "vocab_size", rows, MAX_WIDTH, &d->vocab_size);
    if (status != BP_OK)
        return status;
    if (d->vocab_size != rows)
        return error_set(d->error, BP_EINVAL,
                         "key \"%s.vocab_size\" is %" PRIu32 " and tensor \"token_embd.weight\" has %" PRIu32 " rows",
                         d->job->arch->name, d->vocab_size, rows);
    if (d->job->vocabulary->count && d->job->vocabulary->count != rows)
        return error_set(d->error, BP_EINVAL,
                         "the vocabulary has %" PRIu32 " tokens and tensor \"token_embd.weight\" %" PRIu32 " rows",
                         d->job->vocabulary->count, rows);
    return BP_OK;
}

static bp_status choose_context(decoder *d)
{
    uint32_t wanted = d->job->options->context;
    if (wanted > d->train_context)
        return error_set(d->error, BP_EINVAL, "a context of %" PRIu32 " was asked for; the model was trained for %" PRIu32,
                         wanted, d->train_context);
    d->context = wanted ? wanted : d->train_context;
    if (d->context > ROPE_MAX_POSITIONS)
        d->context = ROPE_MAX_POSITIONS;
    return BP_OK;
}

/* --- the program ------------------------------------------------------------------------------------------------------ */

static bp_status fill_rope_table(const decoder *d, builder *b)
{
    size_t count = (size_t)d->context * d->rope_dim;
    float *table = arena_array(d->job->memory, count, sizeof *table);
    double *frequencies = arena_array(d->job->memory, d->rope_dim / 2, sizeof *frequencies);
    if (!table || !frequencies)
        return error_set(d->error, BP_ENOMEM, "no memory for a rope table of %" PRIu32 " positions", d->context);
    rope_spec spec = {.positions = d->context, .dim = d->rope_dim, .base = (double)d->rope_base,
                      .scale = 1 / (double)d->rope_scale, .factors = d->rope_factors};
    rope_table(&spec, frequencies, table);
    b->weights[d->rope_table].data = table;
    return BP_OK;
}

static int32_t add_norm(const decoder *d, builder *b, const char *weight, uint32_t rows, int32_t x)
{
    bp_norm_args args = {.kind = BP_NORM_RMS, .epsilon = d->epsilon};
    int32_t norm = builder_vector(b, weight, d->width);
    int32_t out = builder_op(b, BP_OP_NORM, d->width, rows, x, &args, sizeof args);
    builder_last(b)->weight[0] = norm;
    return out;
}

/* x + weight · in (+ bias). */
static int32_t add_projection(const decoder *d, builder *b, const char *weight, const char *bias, uint32_t columns,
                              uint32_t rows, int32_t in, int32_t x)
{
    bp_linear_args args = {.activation = BP_ACT_NONE};
    int32_t matrix = builder_matrix(b, weight, d->width, columns), vector = builder_optional_vector(b, bias, d->width);
    int32_t out = builder_op(b, BP_OP_LINEAR, d->width, rows, in, &args, sizeof args);
    bp_op *op = builder_last(b);
    op->weight[0] = matrix;
    op->weight[1] = vector;
    op->in[1] = x;
    return out;
}

static int32_t add_attention(const decoder *d, builder *b, int32_t h)
{
    uint32_t q = d->heads * d->head_dim, kv = d->kv_heads * d->head_dim;
    bp_qkv_args args = {.heads = d->heads, .kv_heads = d->kv_heads, .head_dim = d->head_dim,
                        .rope_mode = d->job->arch->rope_mode, .rope_dim = d->rope_dim, .rope_table = d->rope_table,
                        .norm_epsilon = d->epsilon};
    bp_attention_args attention = {.heads = d->heads, .mask = BP_MASK_CAUSAL,
                                   .scale = (float)(1 / sqrt((double)d->head_dim)), .sinks = -1};
    int32_t weights[6] = {builder_matrix(b, "attn_q.weight", q, d->width), builder_matrix(b, "attn_k.weight", kv, d->width),
                          builder_matrix(b, "attn_v.weight", kv, d->width), builder_optional_vector(b, "attn_q.bias", q),
                          builder_optional_vector(b, "attn_k.bias", kv), builder_optional_vector(b, "attn_v.bias", kv)};
    int32_t cache = builder_cache(b, d->kv_heads, d->head_dim, 0);
    int32_t rotated = builder_op(b, BP_OP_QKV, q, BP_ROWS_TOKENS, h, &args, sizeof args);
    memcpy(builder_last(b)->weight, weights, sizeof weights);
    builder_last(b)->cache = cache;
    int32_t out = builder_op(b, BP_OP_ATTENTION, q, BP_ROWS_TOKENS, rotated, &attention, sizeof attention);
    builder_last(b)->cache = cache;
    return out;
}

static int32_t add_mlp(const decoder *d, builder *b, uint32_t rows, int32_t h)
{
    bp_linear_args args = {.activation = BP_ACT_SILU};
    int32_t gate = builder_matrix(b, "ffn_gate.weight", d->ffn_width, d->width);
    int32_t up = builder_matrix(b, "ffn_up.weight", d->ffn_width, d->width);
    int32_t out = builder_op(b, BP_OP_GATED_MLP, d->ffn_width, rows, h, &args, sizeof args);
    builder_last(b)->weight[0] = gate;
    builder_last(b)->weight[1] = up;
    return out;
}

static int32_t add_layer(const decoder *d, builder *b, int32_t x)
{
    uint32_t q = d->heads * d->head_dim, rows = BP_ROWS_TOKENS;
    int32_t a = add_attention(d, b, add_norm(d, b, "attn_norm.weight", rows, x));
    if ((uint32_t)b->layer + 1 == d->layers) {
        rows = BP_ROWS_OUTPUTS;
        a = builder_op(b, BP_OP_ROWS, q, rows, a, NULL, 0);
        x = builder_op(b, BP_OP_ROWS, d->width, rows, x, NULL, 0);
    }
    x = add_projection(d, b, "attn_output.weight", "attn_output.bias", q, rows, a, x);
    int32_t g = add_mlp(d, b, rows, add_norm(d, b, "ffn_norm.weight", rows, x));
    return add_projection(d, b, "ffn_down.weight", "ffn_down.bias", d->ffn_width, rows, g, x);
}

static void add_network(const decoder *d, builder *b)
{
    bp_embed_args embed = {.scale = 1};
    bp_logits_args logits = {.scale = 1};
    int32_t embedding = builder_matrix(b, "token_embd.weight", d->vocab_size, d->width);
    int32_t x = builder_op(b, BP_OP_EMBED, d->width, BP_ROWS_TOKENS, -1, &embed, sizeof embed);
    builder_last(b)->weight[0] = embedding;
    for (uint32_t layer = 0; layer < d->layers; layer++) {
        b->layer = (int32_t)layer;
        x = add_layer(d, b, x);
    }
    b->layer = -1;
    x = add_norm(d, b, "output_norm.weight", BP_ROWS_OUTPUTS, x);
    int32_t head = builder_optional_matrix(b, "output.weight", d->vocab_size, d->width);
    builder_op(b, BP_OP_LOGITS, 0, 0, x, &logits, sizeof logits);
    builder_last(b)->weight[0] = head >= 0 ? head : embedding; /* a tied head */
}

bp_status decoder_build(const architecture_job *job, bp_error *error)
{
    decoder d = {.job = job, .error = error};
    builder b;
    bp_status status;
    if ((status = read_sizes(&d)) != BP_OK || (status = read_heads(&d)) != BP_OK || (status = read_rope(&d)) != BP_OK ||
        (status = read_vocabulary(&d)) != BP_OK || (status = choose_context(&d)) != BP_OK)
        return status;
    builder_begin(&b, job->file, job->memory, d.layers * OPS_PER_LAYER + OTHER_OPS, error);
    if ((status = b.status) != BP_OK || (status = read_rope_factors(&d, &b)) != BP_OK)
        return status;
    /* Its numbers, the one thing that costs time, come after everything that can be wrong. */
    d.rope_table = builder_table(&b, "rope table", NULL, d.context, d.rope_dim);
    add_network(&d, &b);
    if ((status = builder_finish(&b, job->program)) != BP_OK)
        return status;
    job->program->vocab_size = job->program->output_width = d.vocab_size;
    job->program->max_context = d.context;
    *job->shape = (model_shape){.layers = d.layers, .width = d.width, .heads = d.heads, .kv_heads = d.kv_heads,
                                .head_dim = d.head_dim, .ffn_width = d.ffn_width, .vocab_size = d.vocab_size,
                                .train_context = d.train_context};
    return fill_rope_table(&d, &b);
}
