/* bert: encoders of the BERT family (Devlin et al. 2018), post-norm transformers in which every token sees all others, and
 * whose rows are pooled to one vector a text (Reimers and Gurevych 2019).
 *
 *   x = NORM(EMBED(token) + EMBED(position))
 *   each layer:  a = ATTENTION(QKV(x));                  x = NORM(LINEAR(a) + x)
 *                h = gelu(LINEAR(x));                    x = NORM(LINEAR(h) + x)
 *   POOL(x), or of a reranker (Nogueira and Cho 2019) POOL(LINEAR(tanh(LINEAR(x)))), of the first row
 *
 * An embedder's text is one segment: the vector of the first token type is added to the positions here. A reranker's pair is two,
 * and the vector of each token's type is added to its position's. Keys and values are read in the layer that wrote them and
 * never again, so that all layers share one cache. The head works on all rows, of which one is wanted: a few percent of a layer. */
#include "base/error.h"
#include "model/architecture.h"
#include "model/builder.h"
#include "model/dtype.h"
#include "model/pooling.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum {
    MAX_LAYERS = 4096, MAX_WIDTH = 1 << 24, MAX_HEADS = 1 << 14, MAX_HEAD_DIM = 1024, MAX_POSITIONS = 1 << 20,
    OPS_PER_LAYER = 7, OTHER_OPS = 8 /* three EMBED, ADD, NORM, two LINEAR, POOL */
};

typedef struct bert {
    const architecture_job *job;
    uint32_t layers, width, ffn_width, heads, head_dim, vocab_size, train_context, context;
    uint32_t activation;
    model_pooling pooling;
    bool ranks, pairs; /* pairs: tokens are of two types */
    bool sigmoid;      /* of a reranker's scores */
    float epsilon;
    int32_t cache;
    const float *positions; /* [context][width], with the first token type's vector added */
    bp_error *error;
} bert;

/* --- keys ------------------------------------------------------------------------------------------------------------- */

static const char *full_key(const bert *m, const char *name, char out[96])
{
    snprintf(out, 96, "%s.%s", m->job->arch->name, name);
    return out;
}

/* A key in [1, limit]. */
static bp_status count_key(const bert *m, const char *name, uint32_t limit, uint32_t *out)
{
    char key[96];
    bool present;
    bp_status status = gguf_u32(m->job->file, full_key(m, name, key), 0, &present, out, m->error);
    if (status != BP_OK)
        return status;
    if (!present)
        return error_set(m->error, BP_EINVAL, "key \"%s\" is missing", key);
    if (*out < 1 || *out > limit)
        return error_set(m->error, BP_EINVAL, "key \"%s\" is %" PRIu32 "; 1 to %" PRIu32 " are possible", key, *out, limit);
    return BP_OK;
}

static bp_status read_sizes(bert *m)
{
    char key[96];
    bp_status status;
    if ((status = count_key(m, "block_count", MAX_LAYERS, &m->layers)) != BP_OK ||
        (status = count_key(m, "context_length", MAX_POSITIONS, &m->train_context)) != BP_OK ||
        (status = count_key(m, "embedding_length", MAX_WIDTH, &m->width)) != BP_OK ||
        (status = count_key(m, "feed_forward_length", MAX_WIDTH, &m->ffn_width)) != BP_OK ||
        (status = count_key(m, "attention.head_count", MAX_HEADS, &m->heads)) != BP_OK ||
        (status = gguf_f32(m->job->file, full_key(m, "attention.layer_norm_epsilon", key), 1e-12f, NULL, &m->epsilon,
                           m->error)) != BP_OK)
        return status;
    if (!(m->epsilon >= 1e-30f && m->epsilon <= 1.0f))
        return error_set(m->error, BP_EINVAL, "key \"%s\" is %g; 1e-30 to 1 are possible", key, (double)m->epsilon);
    m->head_dim = m->width / m->heads;
    if (m->width % m->heads != 0 || m->head_dim > MAX_HEAD_DIM)
        return error_set(m->error, BP_EINVAL,
                         "key \"%s.embedding_length\" is %" PRIu32 ", which %" PRIu32 " heads do not divide into up to %d",
                         m->job->arch->name, m->width, m->heads, MAX_HEAD_DIM);
    return BP_OK;
}

static bool is_word(gguf_string text, const char *word)
{
    return text.length == strlen(word) && memcmp(text.bytes, word, text.length) == 0;
}

static bp_status read_activation(bert *m)
{
    char key[96];
    bool present;
    gguf_string word;
    bp_status status =
        gguf_text(m->job->file, full_key(m, "feed_forward_activation", key), &present, &word, m->error);
    m->activation = is_word(word, "gelu_tanh") ? BP_ACT_GELU_TANH : BP_ACT_GELU;
    if (status == BP_OK && present && !is_word(word, "gelu_tanh") && !is_word(word, "gelu"))
        return error_set(m->error, BP_EUNSUPPORTED, "key \"%s\" is \"%.*s\"; this build knows gelu and gelu_tanh", key,
                         (int)(word.length < 40 ? word.length : 40), word.bytes);
    return status;
}

static bp_status read_pooling(bert *m)
{
    char key[96];
    bool causal;
    bp_status status = gguf_bool(m->job->file, full_key(m, "attention.causal", key), false, NULL, &causal, m->error);
    if (status == BP_OK && causal)
        return error_set(m->error, BP_EUNSUPPORTED, "key \"%s.attention.causal\" is true; this build knows %s without",
                         m->job->arch->name, m->job->arch->name);
    if (status == BP_OK)
        status = pooling_read(m->job, MODEL_POOLING_MEAN, &m->pooling, m->error);
    m->ranks = m->pooling.kind == MODEL_POOLING_RANK;
    return status;
}

/* What becomes of a reranker's number (a key of ours): "sigmoid", which is the default, or "none". */
static bp_status read_score(bert *m)
{
    char key[96];
    bool present;
    gguf_string word;
    bp_status status = gguf_text(m->job->file, full_key(m, "score_activation", key), &present, &word, m->error);
    m->sigmoid = m->ranks && (!present || is_word(word, "sigmoid"));
    if (status == BP_OK && present && !is_word(word, "sigmoid") && !is_word(word, "none"))
        return error_set(m->error, BP_EUNSUPPORTED, "key \"%s\" is \"%.*s\"; this build knows sigmoid and none", key,
                         (int)(word.length < 40 ? word.length : 40), word.bytes);
    const bp_weight *head = m->ranks ? gguf_find_tensor(m->job->file, "cls.output.weight") : NULL;
    if (status == BP_OK && head && head->shape[1] != 1)
        return error_set(m->error, BP_EUNSUPPORTED, "its head has %" PRId64 " labels; this build knows rerankers, whose heads have one",
                         head->shape[1]);
    return status;
}

static bp_status read_vocabulary(bert *m)
{
    const bp_weight *embedding = gguf_find_tensor(m->job->file, "token_embd.weight");
    if (!embedding)
        return error_set(m->error, BP_EINVAL, "tensor \"token_embd.weight\" is missing");
    if (embedding->shape[1] > MAX_WIDTH)
        return error_set(m->error, BP_EINVAL, "tensor \"token_embd.weight\" has %" PRId64 " rows; up to %d are possible",
                         embedding->shape[1], MAX_WIDTH);
    m->vocab_size = (uint32_t)embedding->shape[1];
    if (m->job->vocabulary->count && m->job->vocabulary->count != m->vocab_size)
        return error_set(m->error, BP_EINVAL,
                         "the vocabulary has %" PRIu32 " tokens and tensor \"token_embd.weight\" %" PRIu32 " rows",
                         m->job->vocabulary->count, m->vocab_size);
    return BP_OK;
}

static bp_status choose_context(bert *m)
{
    uint32_t wanted = m->job->options->context;
    if (wanted > m->train_context)
        return error_set(m->error, BP_EINVAL, "a context of %" PRIu32 " was asked for; the model was trained for %" PRIu32,
                         wanted, m->train_context);
    m->context = wanted ? wanted : m->train_context;
    return BP_OK;
}

/* --- positions -------------------------------------------------------------------------------------------------------- */

/* A table of vectors that is read here: of a floating-point type, with at least `rows` rows. */
static bp_status find_table(const bert *m, builder *b, const char *name, uint32_t rows, const bp_weight **out)
{
    const bp_weight *w = *out = gguf_find_tensor(m->job->file, name);
    if (!w)
        return BP_OK;
    if (!dtype_is_float(w->dtype))
        return error_set(m->error, BP_EUNSUPPORTED, "tensor \"%s\" is of type %s; F32, F16 and BF16 are read", name,
                         dtype_name(w->dtype));
    if (w->shape[0] != (int64_t)m->width || w->shape[1] < (int64_t)rows || w->shape[2] != 1 || w->shape[3] != 1)
        return error_set(m->error, BP_EINVAL,
                         "tensor \"%s\" has %" PRId64 " rows of %" PRId64 " where the model's keys ask for %" PRIu32
                         " of %" PRIu32, name, w->shape[1], w->shape[0], rows, m->width);
    builder_mark_used(b, w);
    return BP_OK;
}

static bp_status fill_positions(bert *m, builder *b)
{
    const bp_weight *positions, *types;
    bp_status status = find_table(m, b, "position_embd.weight", m->train_context, &positions);
    if (status == BP_OK)
        status = find_table(m, b, "token_types.weight", 1, &types);
    if (status != BP_OK)
        return status;
    if (!positions)
        return error_set(m->error, BP_EINVAL, "tensor \"position_embd.weight\" is missing");
    size_t count = (size_t)m->context * m->width;
    float *table = arena_array(m->job->memory, count, sizeof *table);
    float *type = arena_array(m->job->memory, m->width, sizeof *type); /* zeros where nothing is added */
    if (!table || !type)
        return error_set(m->error, BP_ENOMEM, "no memory for the vectors of %" PRIu32 " positions", m->context);
    dtype_widen(positions->dtype, positions->data, count, table);
    m->pairs = m->ranks && types && types->shape[1] >= 2;
    bool adds = types && !m->pairs;
    if (adds)
        dtype_widen(types->dtype, types->data, m->width, type);
    for (size_t i = 0; adds && i < count; i++)
        table[i] += type[i % m->width];
    m->positions = table;
    return BP_OK;
}

/* --- the program ------------------------------------------------------------------------------------------------------ */

static int32_t add_norm(const bert *m, builder *b, const char *weight, const char *bias, int32_t x, int32_t residual)
{
    bp_norm_args args = {.kind = BP_NORM_LAYER, .epsilon = m->epsilon};
    int32_t vectors[2] = {builder_vector(b, weight, m->width), builder_vector(b, bias, m->width)};
    int32_t out = builder_op(b, BP_OP_NORM, m->width, BP_ROWS_TOKENS, x, &args, sizeof args);
    bp_op *op = builder_last(b);
    memcpy(op->weight, vectors, sizeof vectors);
    op->in[1] = residual;
    op->flags = residual >= 0 ? BP_NORM_PRE_RESIDUAL : 0;
    return out;
}

static int32_t add_linear(builder *b, const char *weight, const char *bias, uint32_t n, uint32_t k, uint32_t activation,
                          int32_t in, int32_t residual)
{
    bp_linear_args args = {.activation = activation};
    int32_t matrix = builder_matrix(b, weight, n, k), vector = builder_vector(b, bias, n);
    int32_t out = builder_op(b, BP_OP_LINEAR, n, BP_ROWS_TOKENS, in, &args, sizeof args);
    bp_op *op = builder_last(b);
    op->weight[0] = matrix;
    op->weight[1] = vector;
    op->in[1] = residual;
    return out;
}

static int32_t add_attention(const bert *m, builder *b, int32_t x)
{
    uint32_t n = m->width;
    bp_qkv_args args = {.heads = m->heads, .kv_heads = m->heads, .head_dim = m->head_dim, .rope_mode = BP_ROPE_NONE,
                        .rope_table = -1, .norm_epsilon = m->epsilon};
    bp_attention_args attention = {.heads = m->heads, .mask = BP_MASK_NONE,
                                   .scale = (float)(1 / sqrt((double)m->head_dim)), .sinks = -1};
    int32_t weights[6] = {builder_matrix(b, "attn_q.weight", n, n), builder_matrix(b, "attn_k.weight", n, n),
                          builder_matrix(b, "attn_v.weight", n, n), builder_vector(b, "attn_q.bias", n),
                          builder_vector(b, "attn_k.bias", n),      builder_vector(b, "attn_v.bias", n)};
    int32_t q = builder_op(b, BP_OP_QKV, n, BP_ROWS_TOKENS, x, &args, sizeof args);
    memcpy(builder_last(b)->weight, weights, sizeof weights);
    builder_last(b)->cache = m->cache;
    int32_t out = builder_op(b, BP_OP_ATTENTION, n, BP_ROWS_TOKENS, q, &attention, sizeof attention);
    builder_last(b)->cache = m->cache;
    return out;
}

static int32_t add_layer(const bert *m, builder *b, int32_t x)
{
    int32_t a = add_attention(m, b, x);
    x = add_linear(b, "attn_output.weight", "attn_output.bias", m->width, m->width, BP_ACT_NONE, a, x);
    x = add_norm(m, b, "attn_output_norm.weight", "attn_output_norm.bias", x, -1);
    int32_t h = add_linear(b, "ffn_up.weight", "ffn_up.bias", m->ffn_width, m->width, m->activation, x, -1);
    x = add_linear(b, "ffn_down.weight", "ffn_down.bias", m->width, m->ffn_width, BP_ACT_NONE, h, x);
    return add_norm(m, b, "layer_output_norm.weight", "layer_output_norm.bias", x, -1);
}

static int32_t add_embed(const bert *m, builder *b, int32_t weight, uint16_t flags)
{
    bp_embed_args args = {.scale = 1};
    int32_t out = builder_op(b, BP_OP_EMBED, m->width, BP_ROWS_TOKENS, -1, &args, sizeof args);
    builder_last(b)->weight[0] = weight;
    builder_last(b)->flags = flags;
    return out;
}

/* What is added to the tokens' vectors. */
static int32_t add_places(const bert *m, builder *b)
{
    int32_t table = builder_table(b, "positions", m->positions, m->context, m->width);
    int32_t position = add_embed(m, b, table, BP_EMBED_POSITION);
    if (!m->pairs)
        return position;
    const bp_weight *types = gguf_find_tensor(m->job->file, "token_types.weight");
    int32_t type = add_embed(m, b, builder_matrix(b, types->name, (uint32_t)types->shape[1], m->width), BP_EMBED_TYPE);
    int32_t sum = builder_op(b, BP_OP_ADD, m->width, BP_ROWS_TOKENS, position, NULL, 0);
    builder_last(b)->in[1] = type;
    return sum;
}

static void add_network(bert *m, builder *b)
{
    m->cache = builder_cache(b, m->heads, m->head_dim, 0);
    int32_t token = add_embed(m, b, builder_matrix(b, "token_embd.weight", m->vocab_size, m->width), 0);
    int32_t x = add_norm(m, b, "token_embd_norm.weight", "token_embd_norm.bias", token, add_places(m, b));
    for (uint32_t layer = 0; layer < m->layers; layer++) {
        b->layer = (int32_t)layer;
        x = add_layer(m, b, x);
    }
    b->layer = -1;
    if (m->ranks) {
        x = add_linear(b, "cls.weight", "cls.bias", m->width, m->width, BP_ACT_TANH, x, -1);
        x = add_linear(b, "cls.output.weight", "cls.output.bias", 1, m->width, BP_ACT_NONE, x, -1);
    }
    pooling_add(&m->pooling, b, x);
}

bp_status bert_build(const architecture_job *job, bp_error *error)
{
    bert m = {.job = job, .error = error};
    builder b;
    bp_status status;
    if ((status = read_sizes(&m)) != BP_OK || (status = read_activation(&m)) != BP_OK ||
        (status = read_pooling(&m)) != BP_OK || (status = read_score(&m)) != BP_OK || (status = read_vocabulary(&m)) != BP_OK ||
        (status = choose_context(&m)) != BP_OK)
        return status;
    builder_begin(&b, job->file, job->memory, m.layers * OPS_PER_LAYER + OTHER_OPS, error);
    if ((status = b.status) != BP_OK || (status = fill_positions(&m, &b)) != BP_OK)
        return status;
    add_network(&m, &b);
    if ((status = builder_finish(&b, job->program)) != BP_OK)
        return status;
    job->program->vocab_size = m.vocab_size;
    job->program->output_width = m.ranks ? 1 : m.width;
    job->program->max_context = m.context;
    *job->shape = (model_shape){.layers = m.layers, .width = m.width, .heads = m.heads, .kv_heads = m.heads,
                                .head_dim = m.head_dim, .ffn_width = m.ffn_width, .vocab_size = m.vocab_size,
                                .train_context = m.train_context, .task = pooling_task(&m.pooling),
                                .pooling = m.pooling.kind, .sigmoid = m.sigmoid};
    return BP_OK;
}
